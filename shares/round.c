/* SPDX-License-Identifier: Apache-2.0 */
/* round.c: the memory of a request, and the transfers of a round between it and the volume. */
#include "shares/round.h"

#include <errno.h>
#include <string.h>

#include "core/buf.h"

#define IOVS_MAX 320u

/* ---- memory ---- */
struct batch {
	struct fiber *fiber;
	unsigned pending;
	int result;
};
struct transfer {
	struct volume_request request;
	struct batch *batch;
};

static void transfer_done(struct volume_request *request, int result)
{
	struct batch *batch = container_of(request, struct transfer, request)->batch;

	if (result && batch->result == 0)
		batch->result = result;
	if (--batch->pending == 0)
		fiber_wake(batch->fiber);
}

static void batch_wait(struct batch *batch)
{
	while (batch->pending)
		fiber_wait();
}

/* The part [offset, offset + length) of the request's memory. */
unsigned round_slice(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length,
		     struct iovec *ret_iov, unsigned max)
{
	unsigned made = 0;

	for (unsigned i = 0; i < count && length > 0; i++) {
		uint64_t part = iov[i].iov_len;

		if (offset >= part) {
			offset -= part;
			continue;
		}
		part -= offset;
		if (part > length)
			part = length;
		if (made == max)
			return 0;
		ret_iov[made++] =
		    (struct iovec){.iov_base = (char *)iov[i].iov_base + offset, .iov_len = part};
		offset = 0;
		length -= part;
	}
	return made;
}

void round_copy(const struct iovec *iov, unsigned count, uint64_t offset, uint8_t *memory,
		uint64_t length, bool to_request)
{
	for (unsigned i = 0; i < count && length > 0; i++) {
		uint64_t part = iov[i].iov_len;
		uint8_t *there;

		if (offset >= part) {
			offset -= part;
			continue;
		}
		part = part - offset < length ? part - offset : length;
		there = (uint8_t *)iov[i].iov_base + offset;
		if (to_request && memory)
			memcpy(there, memory, part);
		else if (to_request)
			memset(there, 0, part);
		else
			memcpy(memory, there, part);
		offset = 0;
		length -= part;
		memory = memory ? memory + part : NULL;
	}
}

/* May the volume take this memory as it is? */
bool round_is_direct(const struct vfs_request *request)
{
	if (request->iov_count > ROUND_BLOCKS + 8)
		return false;
	for (unsigned i = 0; i < request->iov_count; i++)
		if ((uintptr_t)request->iov[i].iov_base % VOLUME_BLOCK ||
		    request->iov[i].iov_len % VOLUME_BLOCK)
			return false;
	return true;
}

struct buffer_wait {
	struct buf_waiter waiter;
	struct fiber *fiber;
	struct buf *buf;
};

static void buffer_ready(struct buf_waiter *waiter, struct buf *buf)
{
	struct buffer_wait *wait = container_of(waiter, struct buffer_wait, waiter);

	wait->buf = buf;
	fiber_wake(wait->fiber);
}

struct buf *round_buffer(struct loop *loop, size_t size)
{
	struct buffer_wait wait = {
	    .waiter = {.size = size, .stage = BUF_FOR_FILE, .ready = buffer_ready},
	    .fiber = fiber_current(),
	    .buf = buf_get(loop_buffers(loop), size),
	};

	if (wait.buf)
		return wait.buf;
	buf_wait(loop_buffers(loop), &wait.waiter);
	while (!wait.buf)
		fiber_wait();
	return wait.buf;
}

/* ---- moving data ---- */
/* All pieces: @iov is the memory, @skip bytes before it belong to the first block. */
int round_transfer(struct round *round, enum volume_op op, unsigned flags, const struct iovec *iov,
		   unsigned iov_count, uint64_t skip, uint64_t length)
{
	struct share *share = round->op->share;
	struct transfer transfer[PIECES_MAX];
	struct batch batch = {.fiber = fiber_current(), .pending = 1};
	struct iovec part[IOVS_MAX];
	unsigned used = 0;

	for (unsigned i = 0; i < round->count; i++) {
		struct piece *piece = &round->piece[i];
		uint64_t from = (piece->file_block - round->first) * BLOCK_SIZE;
		uint64_t to = from + (uint64_t)piece->count * BLOCK_SIZE;
		unsigned count;

		from = from > skip ? from : skip;
		to = to < skip + length ? to : skip + length;
		if (from >= to)
			continue;
		if (piece->hole) {
			round_copy(iov, iov_count, from - skip, NULL, to - from, true);
			continue;
		}
		count = round_slice(iov, iov_count, from - skip, to - from, part + used,
				    IOVS_MAX - used);
		if (count == 0) {
			batch.result = -EIO; /* cannot be: round_is_direct() bounds them */
			break;
		}
		transfer[i].batch = &batch;
		transfer[i].request = (struct volume_request){
		    .op = op,
		    .flags = flags,
		    .offset = piece->block * BLOCK_SIZE + from -
			      (piece->file_block - round->first) * BLOCK_SIZE,
		    .length = to - from,
		    .iov = part + used,
		    .iov_count = count,
		    .done = transfer_done};
		used += count;
		batch.pending++;
		volume_submit(share->volume, &transfer[i].request);
	}
	if (--batch.pending)
		batch_wait(&batch);
	return batch.result;
}
