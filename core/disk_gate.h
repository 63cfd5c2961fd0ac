/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DISK_GATE_H
#define CORE_DISK_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/disk.h"

/* No more requests of a device in the kernel than it has places for; the rest waits here, in the
 * order of its coming. Whoever submits beyond that waits inside the kernel: io_submit() itself, or
 * one of the few threads that io_uring has for all devices together. A device that hangs would
 * hold up the others so. Private to core/, for the two real worlds; any loop. */
struct disk_gate {
	unsigned depth; /* places to be used */
	uint64_t piece; /* bytes that one place takes, at least */
	unsigned used;  /* atomic */
	unsigned waits; /* atomic: length of waiting, and who is about to join */
	pthread_mutex_t lock;
	struct list waiting;
};

/* disk_gate_init: for what is on @device (a disk, a partition, or one made of others). May block
 * (sysfs). */
void disk_gate_init(struct disk_gate *gate, dev_t device);
void disk_gate_destroy(struct disk_gate *gate);

/* disk_gate_enter: true: @request may go. False: @start will be called with it, on its loop, once.
 * disk_gate_leave: it is through; @start as above, for whoever may go now. */
typedef void disk_gate_start(struct disk_request *request);
bool disk_gate_enter(struct disk_gate *gate, struct disk_request *request, disk_gate_start *start);
void disk_gate_leave(struct disk_gate *gate, const struct disk_request *request);

#endif
