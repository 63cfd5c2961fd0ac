/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/volume_io.h"

static void done(struct volume_request *request, int result)
{
	struct volume_io *io = container_of(request, struct volume_io, request);

	io->result = result;
	io->busy = false;
	fiber_wake(io->fiber);
}

void volume_io_prepare(struct volume_io *io, enum volume_op op, unsigned flags, uint64_t offset,
		       void *data, uint64_t length)
{
	*io = (struct volume_io){.fiber = fiber_current(), .busy = true};
	io->iov = (struct iovec){data, length};
	io->request = (struct volume_request){.op = op,
					      .flags = flags | VOLUME_UNTAPPED,
					      .offset = offset,
					      .length = length,
					      .iov = data ? &io->iov : NULL,
					      .iov_count = data ? 1 : 0,
					      .done = done};
}

void volume_io_start(struct volume_io *io, struct volume *volume, enum volume_op op, unsigned flags,
		     uint64_t offset, void *data, uint64_t length)
{
	volume_io_prepare(io, op, flags, offset, data, length);
	volume_submit(volume, &io->request);
}

int volume_io_wait(struct volume_io *io)
{
	while (io->busy)
		fiber_wait();
	return io->result;
}

int volume_io(struct volume *volume, enum volume_op op, unsigned flags, uint64_t offset, void *data,
	      uint64_t length)
{
	struct volume_io io;

	volume_io_start(&io, volume, op, flags, offset, data, length);
	return volume_io_wait(&io);
}
