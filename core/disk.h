/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DISK_H
#define CORE_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/err.h"
#include "core/list.h"
#include "core/loop.h"

/* A file or block device, opened for direct I/O. Any loop may submit to it. */
struct disk {
	const struct world_ops *world;
	char *path;
	uint64_t size;             /* bytes, multiple of 4096 (rounded down) */
	uint64_t exact_size;       /* bytes, as the device has it; 0: the same as size */
	uint32_t logical_block;    /* smallest write, bytes: 512 or 4096 */
	uint32_t memory_alignment; /* of buffers, bytes */
	/* Of the device, or of the one a file is on: what the medium writes at once, and what it
	 * says that it writes whole or not at all, also when the power goes; bytes, 0: not known.
	 */
	uint32_t physical_block, atomic_write;
	bool block_device;
	bool volatile_cache; /* a flush means something (false on memory-backed files) */
	bool memory;         /* nothing of it is there after a power cut */
	bool rotational;
	bool discards; /* punch hole or discard works */
};

enum disk_flags {
	DISK_READ_ONLY = 1,
	DISK_CREATE = 2,    /* create the file if it is not there; size from disk_open's argument */
	DISK_EXCLUSIVE = 4, /* O_EXCL on a block device, an exclusive OFD lock on a file; -EBUSY */
	/* Instead of DISK_CREATE: a file that is not there could be made: 0, and no disk. A world
	 * without it says -ENOENT. */
	DISK_WOULD_CREATE = 8,
};

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,   /* every write completed before this was submitted is durable at done(0) */
	DISK_DISCARD, /* reads of the range return zeros or old data; a hint, may do nothing */
};

enum disk_request_flags {
	DISK_FUA = 1,   /* DISK_WRITE: durable at done(0) */
	DISK_ZERO = 2,  /* DISK_DISCARD: no hint; zeros at done(0), -EOPNOTSUPP when it can not */
	DISK_GROUP = 4, /* a hint: what follows done() is cheaper for many answered together */
};

/* Caller-allocated; handed back by done() on the loop that submitted it. Short transfers are
 * continued inside; result is 0 or -errno: -EIO for whatever a device fails with. A request past
 * the end of the disk fails -EINVAL. */
struct disk_request {
	enum disk_op op;
	unsigned flags;
	uint64_t offset, length; /* bytes; length must equal the iov's total for read and write */
	const struct iovec *iov; /* unchanged until done(); may be &own_iov */
	unsigned iov_count;
	void (*done)(struct disk_request *request, int result);

	struct iovec own_iov; /* room for the common single buffer */
	/* private to the world */
	struct loop *loop;
	struct disk *disk;
	struct list link;
	uint64_t progress;
	uint64_t scratch[10];
};

/* disk_open: open @path in @world. @size is used with DISK_CREATE (sparse, ftruncate).
 * Context: any thread; may block (start-up and administration only).
 * Errors: -ENOENT, -EBUSY, -EACCES, -EINVAL (neither file nor block device), ... with text. */
int disk_open(const struct world_ops *world, const char *path, unsigned flags, uint64_t size,
	      struct disk **ret_disk, struct err *err) __attribute__((warn_unused_result));
void disk_close(struct disk *disk); /* no request may be in flight; NULL is fine */

/* disk_rescan: ask again how large the device or file is: size and exact_size change (any loop may
 * read them meanwhile). Requests past the old end are taken from then on. Context: any one thread;
 * administration only. 0 or -errno; a world whose disks never change answers 0. */
int disk_rescan(struct disk *disk) __attribute__((warn_unused_result));

/* disk_submit: Context: @loop's thread. done() never runs inside this call. */
void disk_submit(struct loop *loop, struct disk *disk, struct disk_request *request);

#endif
