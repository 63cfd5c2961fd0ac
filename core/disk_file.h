/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_DISK_FILE_H
#define CORE_DISK_FILE_H

#include "core/disk.h"
#include "core/disk_gate.h"

/* What the two real worlds share: opening and describing files and block devices, checking
 * requests, and the arithmetic of transfers that came back short. Private to core/. */

struct file_disk {
	struct disk base;
	int fd;
	bool memory;           /* a file in RAM (tmpfs): calls never wait for a device */
	bool refuses_discard;  /* answered EOPNOTSUPP once; benign race, any loop may set it */
	struct disk_gate gate; /* before all that goes into the kernel and may wait there */
};

int file_disk_open(const struct world_ops *world, const char *path, unsigned flags, uint64_t size,
		   struct disk **ret_disk, struct err *err);
void file_disk_close(struct disk *disk);
int file_disk_rescan(struct disk *disk);

/* file_disk_check: 0, or -EINVAL for a request out of range, misaligned or inconsistent. */
int file_disk_check(const struct disk *disk, const struct disk_request *request);

/* file_disk_at_once: would file_disk_now() answer it? */
bool file_disk_at_once(const struct disk_request *request);
/* file_disk_now: requests that are best answered at once: a memory file's reads and writes (a
 * plain preadv2 costs a third of a trip through either engine, which would hand it to a worker
 * thread), flushes that mean nothing. Returns true with *ret_result set. Never waits for a
 * device. */
bool file_disk_now(struct disk_request *request, int *ret_result);

/* file_disk_advance: @count bytes more have been moved. Returns true when @request is through
 * (*ret_result is set), false when the rest must be submitted: file_disk_rest(). @count may be
 * -errno; -EINTR and -EAGAIN are tried again. */
bool file_disk_advance(struct disk_request *request, int64_t count, int *ret_result);

/* What is left of a request after a short transfer: one contiguous piece. */
struct iovec file_disk_rest(const struct disk_request *request);

/* file_disk_block: carry out @request with calls that block (helper threads). 0 or -errno. */
int file_disk_block(struct disk_request *request);

#endif
