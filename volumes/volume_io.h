/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_VOLUME_IO_H
#define VOLUMES_VOLUME_IO_H

#include <string.h>

#include "core/fiber.h"
#include "volumes/volume.h"

/* Requests of a fiber to a volume, past its tap. One at a time waits; a batch of them overlaps. */
struct volume_io {
	struct volume_request request;
	struct iovec iov;
	struct fiber *fiber;
	int result;
	bool busy;
};

/* volume_io_prepare: fill it in, for volume_submit(). volume_io_start: and submit it; @data is
 * @length bytes for reads and writes, else NULL. volume_io_wait: its result. Context: inside a
 * fiber; the same one. */
void volume_io_prepare(struct volume_io *io, enum volume_op op, unsigned flags, uint64_t offset,
		       void *data, uint64_t length);
void volume_io_start(struct volume_io *io, struct volume *volume, enum volume_op op, unsigned flags,
		     uint64_t offset, void *data, uint64_t length);
int volume_io_wait(struct volume_io *io);
/* Both. */
int volume_io(struct volume *volume, enum volume_op op, unsigned flags, uint64_t offset, void *data,
	      uint64_t length);

/* Are all of @length (at least 1) bytes zero? */
static inline bool all_zero(const uint8_t *bytes, uint64_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

#endif
