/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_SLOT_H
#define APPLIANCE_SLOT_H

#include <stdint.h>

#include "appliance/grubenv.h"
#include "core/err.h"

/* The two slots of the system disk: root-a and root-b, their kernels in granary/a and granary/b of
 * the ESP, and the environment block that picks one. All of it blocking; for granary-update. */

/* slot_running: the slot this system was started from, from the kernel's command line.
 * -ENODEV: this is not the appliance. */
int slot_running(char *ret_slot, struct err *err);
/* slot_root_path: the block device of a slot's root. @path: 64 bytes. */
void slot_root_path(char slot, char path[64]);

/* esp_open: mount the ESP for ourselves; *ret_folder is a descriptor of its granary/ folder.
 * @for_files: files will be written, not the environment block alone: what a power cut under
 * another update left of them is mended first.
 * esp_close: unmount it, everything on it durable. */
int esp_open(bool for_files, int *ret_folder, struct err *err);
int esp_close(int folder, struct err *err);

/* env_read, env_write: the environment block in the ESP's @folder. Writing is durable at 0. */
int env_read(int folder, struct grubenv *ret_env, struct err *err);
int env_write(int folder, const struct grubenv *env, struct err *err);

#endif
