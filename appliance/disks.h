/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_DISKS_H
#define APPLIANCE_DISKS_H

#include <stdint.h>

#define DISKS_MAX 64

struct host_disk {
	char name[32], model[64], serial[64];
	uint64_t size; /* bytes */
};

/* disks_find: the machine's disks of @least bytes and more that can be written, by name; no CD, no
 * loop device, none that is made of others. How many of at most @most were found. Blocking. */
unsigned disks_find(struct host_disk *disks, unsigned most, uint64_t least);

#endif
