/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_MEDIUM_H
#define APPLIANCE_MEDIUM_H

#include <stdbool.h>

#include "appliance/install.h"

/* The disks of install_release(): a bundle that is open at its first file, the folder granary/ of
 * the ESP (esp_open()), the partition of the slot that is not running. */
struct medium {
	int source, esp;
	char target;
	int fd;                /* of the file being written; private */
	bool (*stopped)(void); /* is it to be given up? NULL: it never is */
};

extern const struct install_ops medium_ops; /* context: struct medium */

/* medium_take: the next @length bytes of the bundle. -ENODATA: it ends before; -ECANCELED:
 * stopped() says so, also while there are none to be had. medium_forget: what is in the target slot
 * is no release to start from any more; after a failure, when some of it has been written. */
int medium_take(const struct medium *medium, void *data, size_t length);
int medium_forget(const struct medium *medium, struct err *err);

/* medium_read: @length bytes of @fd; -ENODATA when it ends before. */
int medium_read(int fd, void *data, size_t length);

#endif
