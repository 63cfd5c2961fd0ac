/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_GRUBENV_H
#define APPLIANCE_GRUBENV_H

#include <stdbool.h>

#include "core/err.h"

/* GRUB's environment block (grubenv), which holds what the boot loader and the system tell each
 * other: exactly 1024 bytes, a comment line, NAME=VALUE lines, the rest '#'. GRUB writes the
 * blocks of the file in place, so the file is never replaced or moved, only overwritten.
 *
 * slot   a or b: what to boot
 * good   1: the slot has been seen to work; 0: it is on trial
 * tries  how many more starts a slot on trial has (GRUB counts down, at 0 it takes the other)
 * failed the slot that was given up, or empty
 * half   the slot that is being written, or whose writing was cut off: not to be started; or empty
 */
#define GRUBENV_SIZE 1024

struct grubenv {
	char slot, failed, half; /* 'a', 'b'; failed, half: 0 for none */
	bool good;
	unsigned tries;
};

/* grubenv_parse: read @block (GRUBENV_SIZE bytes). -EUCLEAN: no environment block, or no slot in
 * it. Unknown names are left out. Context: any. */
int grubenv_parse(const char *block, struct grubenv *ret_env, struct err *err);
/* grubenv_format: the block for @env. Context: any. */
void grubenv_format(const struct grubenv *env, char block[GRUBENV_SIZE]);

#endif
