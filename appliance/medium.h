/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_MEDIUM_H
#define APPLIANCE_MEDIUM_H

#include "appliance/install.h"

/* The disks of install_release(): a bundle that is open at its first file, the folder granary/ of
 * the ESP (esp_open()), the partition of the slot that is not running. */
struct medium {
	int source, esp;
	char target;
	int fd; /* of the file being written; private */
};

extern const struct install_ops medium_ops; /* context: struct medium */

/* medium_read: @length bytes of @fd; -ENODATA when it ends before. */
int medium_read(int fd, void *data, size_t length);

#endif
