/* SPDX-License-Identifier: Apache-2.0 */
/* file.c: contents. A request is done in rounds of at most ROUND_BLOCKS; in a round, its blocks
 * become pieces, runs that adjoin on the volume. Memory that the volume can take as it is goes
 * there without a copy; everything else goes through a buffer. */
#include <errno.h>
#include <string.h>

#include "core/buf.h"
#include "shares/internal.h"

#define ROUND_BLOCKS  256u /* 1 MiB */
#define BOUNCE_BLOCKS 128u
#define PIECES_MAX    32u
#define IOVS_MAX      320u
#define SEEK_STEP     512u /* extents looked at with the lock held */

struct piece {
	uint64_t file_block, block;
	uint32_t count;
	bool hole;     /* reads as zeros */
	bool fresh;    /* becomes a written extent when it is written */
	bool reserved; /* fresh: from the reservations, not an unwritten extent */
};

struct round {
	struct op *op;
	uint64_t number;
	uint64_t first, end; /* file blocks; end shrinks to what the pieces cover */
	struct piece piece[PIECES_MAX];
	unsigned count;
	bool placeless; /* some block has no place yet: first such, and how many */
	uint64_t missing, missing_count, uncounted;
	unsigned epoch;
	/* the end of a write */
	uint64_t offset, length;
	bool keeps_size;
	bool over_tail; /* it replaces what is behind the end of the file in its last block */
};

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
static unsigned slice(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length,
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

static void copy(const struct iovec *iov, unsigned count, uint64_t offset, uint8_t *memory,
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
static bool is_direct(const struct vfs_request *request)
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
	bool ready;
};

static void buffer_ready(struct buf_waiter *waiter)
{
	struct buffer_wait *wait = container_of(waiter, struct buffer_wait, waiter);

	wait->ready = true;
	fiber_wake(wait->fiber);
}

static struct buf *buffer(struct loop *loop, size_t size)
{
	for (;;) {
		struct buffer_wait wait = {.fiber = fiber_current(), .waiter.ready = buffer_ready};
		struct buf *buf = buf_get(loop_buffers(loop), size);

		if (buf)
			return buf;
		buf_wait(loop_buffers(loop), &wait.waiter);
		while (!wait.ready)
			fiber_wait();
	}
}

/* ---- where the blocks are ---- */
static bool adjoins(const struct piece *a, const struct piece *b)
{
	return a->hole == b->hole && a->fresh == b->fresh && a->reserved == b->reserved &&
	       (a->hole || a->block + a->count == b->block);
}

/* false: no room for it. */
static bool piece_add(struct round *round, struct piece piece)
{
	struct piece *last = round->count ? &round->piece[round->count - 1] : NULL;

	if (last && adjoins(last, &piece)) {
		last->count += piece.count;
		return true;
	}
	if (round->count == PIECES_MAX)
		return false;
	round->piece[round->count++] = piece;
	return true;
}

static uint32_t run(uint64_t from, uint64_t extent_end, uint64_t end)
{
	return (uint32_t)((extent_end < end ? extent_end : end) - from);
}

/* What is at @at: an extent's blocks, or a hole up to the next extent. */
static int look_at(struct share *share, uint64_t number, uint64_t at, uint64_t end,
		   struct piece *ret_piece, uint32_t *ret_flags)
{
	struct extent extent;
	int result = extent_from(share, number, KEY_EXTENT, at, &extent);

	*ret_flags = 0;
	*ret_piece = (struct piece){.file_block = at, .hole = true};
	if (result == -ENOENT || (result == 0 && extent.file_block >= end)) {
		ret_piece->count = (uint32_t)(end - at);
		return 0;
	}
	if (result)
		return result;
	if (extent.file_block > at) {
		ret_piece->count = (uint32_t)(extent.file_block - at);
		return 0;
	}
	*ret_flags = extent.flags;
	ret_piece->hole = false;
	ret_piece->block = extent.block + (at - extent.file_block);
	ret_piece->count = run(at, extent.file_block + extent.count, end);
	return 0;
}

static void epoch_enter(struct share *share, struct round *round)
{
	round->epoch = share->epoch & 1;
	share->readers[round->epoch]++;
}

static void epoch_leave(struct share *share, struct round *round)
{
	store_lock(share->store);
	if (--share->readers[round->epoch] == 0)
		waiters_resume(&share->drained, 0);
	store_unlock(share->store);
}

static int plan_read(void *context)
{
	struct round *round = context;
	struct share *share = round->op->share;
	uint64_t at = round->first;

	round->count = 0;
	while (at < round->end) {
		struct piece piece;
		uint32_t flags;
		int result = look_at(share, round->number, at, round->end, &piece, &flags);

		if (result)
			return result;
		piece.hole |= (flags & EXTENT_UNWRITTEN) != 0;
		if (!piece_add(round, piece))
			break;
		at += piece.count;
	}
	round->end = at;
	epoch_enter(share, round);
	return 0;
}

/* A place for what has no contents yet: an unwritten extent, or reserved blocks. */
static int place(struct round *round, uint32_t flags, struct piece *piece)
{
	struct share *share = round->op->share;
	struct extent extent;
	int result;

	piece->fresh = piece->hole || flags & EXTENT_UNWRITTEN;
	if (!piece->hole)
		return 0;
	piece->hole = false;
	piece->reserved = true;
	result = extent_from(share, round->number, KEY_RESERVED, piece->file_block, &extent);
	if (result && result != -ENOENT)
		return result;
	if (result == 0 && extent.file_block <= piece->file_block) {
		piece->block = extent.block + (piece->file_block - extent.file_block);
		piece->count = run(piece->file_block, extent.file_block + extent.count,
				   piece->file_block + piece->count);
		return 0;
	}
	if (result == 0)
		piece->count =
		    run(piece->file_block, extent.file_block, piece->file_block + piece->count);
	round->placeless = true;
	round->missing = piece->file_block;
	round->missing_count = piece->count;
	return 1;
}

static int plan_write(void *context)
{
	struct round *round = context;
	uint64_t at = round->first;

	round->count = 0;
	round->placeless = false;
	round->uncounted = 0;
	while (at < round->end) {
		struct piece piece;
		uint32_t flags;
		int result =
		    look_at(round->op->share, round->number, at, round->end, &piece, &flags);
		bool hole = piece.hole;

		if (result == 0)
			result = place(round, flags, &piece);
		if (hole)
			round->uncounted += piece.count;
		if (result)
			return result < 0 ? result
					  : quota_check(round->op->share, round->uncounted);
		if (!piece_add(round, piece))
			break;
		at += piece.count;
	}
	round->end = at;
	return quota_check(round->op->share, round->uncounted);
}

/* Reserve blocks around the first that has none: what is written next to it later will lie next to
 * it on the volume too. */
static int reserve(void *context)
{
	struct round *round = context;
	struct share *share = round->op->share;
	uint64_t first = round->missing, end = first + round->missing_count, low, high;
	struct extent extent;
	/* a write next to this one may have reserved these blocks since they were looked at */
	int result = extent_from(share, round->number, KEY_RESERVED, first, &extent);

	if (result == 0 && extent.file_block <= first)
		return 0;
	if (result == 0 && extent.file_block < end)
		end = extent.file_block;
	if (result && result != -ENOENT)
		return result;
	low = first / share->window * share->window;
	high = (end + share->window - 1) / share->window * share->window;
	if (high > FILE_BLOCKS_MAX)
		high = FILE_BLOCKS_MAX;
	/* only what is a hole here, on both sides */
	result = extent_from(share, round->number, KEY_EXTENT, low, &extent);
	if (result == 0 && extent.file_block < high) {
		low = first;
		high = end;
	}
	if (result && result != -ENOENT)
		return result;
	result = extent_from(share, round->number, KEY_RESERVED, low, &extent);
	if (result == 0 && extent.file_block < high) {
		low = first;
		high = end;
	}
	if (result && result != -ENOENT)
		return result;
	extent = (struct extent){.file_block = low};
	result = blocks_take(share, (uint32_t)(high - low), &extent.block, &extent.count);
	if (result == 0 && low + extent.count <= first) { /* too short: where it is needed */
		extent.file_block = first;
		if (extent.count > end - first) {
			uint32_t rest = extent.count - (uint32_t)(end - first);

			extent.count -= rest;
			result = blocks_free(share, extent.block + extent.count, rest);
		}
	}
	return result ? result : extent_add(share, round->number, KEY_RESERVED, extent);
}

/* Every block of the round has a place; or -EDQUOT, -ENOSPC. */
static int prepare(struct round *round)
{
	struct share *share = round->op->share;
	bool waited = false;
	int result;

	for (;;) {
		result = store_look(share->store, plan_write, round);
		if (result || !round->placeless)
			return result;
		result = store_transact(share->store, reserve, round, NULL);
		if (result == -ENOSPC && !waited) {
			waited = true;
			if (blocks_wait(share))
				continue;
		}
		if (result < 0)
			return result;
	}
}

/* ---- moving data ---- */
/* All pieces: @iov is the memory, @skip bytes before it belong to the first block. */
static int transfer_pieces(struct round *round, enum volume_op op, unsigned flags,
			   const struct iovec *iov, unsigned iov_count, uint64_t skip,
			   uint64_t length)
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
			copy(iov, iov_count, from - skip, NULL, to - from, true);
			continue;
		}
		count = slice(iov, iov_count, from - skip, to - from, part + used, IOVS_MAX - used);
		if (count == 0) {
			batch.result = -EIO; /* cannot be: is_direct() bounds them */
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

/* ---- READ ---- */
static int read_round(struct op *op, uint64_t number, uint64_t offset, uint64_t length, bool direct,
		      uint64_t *ret_done)
{
	struct vfs_request *request = op->request;
	uint64_t limit = (direct ? ROUND_BLOCKS : BOUNCE_BLOCKS) * (uint64_t)BLOCK_SIZE;
	uint64_t skip = offset % BLOCK_SIZE, done = offset - request->offset;
	struct round round = {.op = op, .number = number, .first = offset / BLOCK_SIZE};
	int result;

	if (length > limit - skip)
		length = limit - skip;
	round.end = (offset + length + BLOCK_SIZE - 1) / BLOCK_SIZE;
	result = store_look(op->share->store, plan_read, &round);
	if (result)
		return result;
	if (round.end * BLOCK_SIZE < offset + length)
		length = round.end * BLOCK_SIZE - offset;
	*ret_done = length;
	if (direct) {
		struct iovec all[ROUND_BLOCKS + 8];
		/* up to whole sectors: the memory is there, is_direct() saw to it */
		uint64_t whole = (length + VOLUME_BLOCK - 1) / VOLUME_BLOCK * VOLUME_BLOCK;
		unsigned count =
		    slice(request->iov, request->iov_count, done, whole, all, ROUND_BLOCKS + 8);

		result = transfer_pieces(&round, VOLUME_READ, 0, all, count, skip, whole);
	} else {
		struct buf *buf = buffer(request->loop, (round.end - round.first) * BLOCK_SIZE);
		struct iovec iov = {.iov_base = buf->data,
				    .iov_len = (round.end - round.first) * BLOCK_SIZE};

		result = transfer_pieces(&round, VOLUME_READ, 0, &iov, 1, 0, iov.iov_len);
		if (result == 0)
			copy(request->iov, request->iov_count, done, (uint8_t *)buf->data + skip,
			     length, true);
		buf_unref(buf);
	}
	epoch_leave(op->share, &round);
	return result;
}

int need_file(const struct object *object, const struct vfs_request *request, uint32_t rights)
{
	if (object->inode.attr.type == VFS_DIRECTORY)
		return -EISDIR;
	if (object->inode.attr.type != VFS_REGULAR)
		return -EINVAL;
	return rules_need(&object->rules, request->credentials, rights, request->flags);
}

static int look_file(struct op *op, uint32_t rights)
{
	struct vfs_request *request = op->request;
	struct object *file = &op->object[0];
	int result = object_load(op->share, &request->object, file);

	if (result)
		return result;
	request->before[0] = request->after[0] = file->inode.attr;
	return need_file(file, request, rights);
}

static int look_reader(void *context)
{
	struct op *op = context;
	int result = look_file(op, VFS_READ_DATA);

	/* who may execute a file has to be able to read it (RFC 1813 4.4) */
	if (result == -EACCES && op->request->flags & VFS_OWNER_OVERRIDE)
		result = look_file(op, VFS_EXECUTE);
	return result;
}

int op_read(struct op *op)
{
	struct vfs_request *request = op->request;
	int result = store_look(op->share->store, look_reader, op);
	uint64_t size, left, done = 0;
	bool direct;

	if (result)
		return result;
	size = op->object[0].inode.attr.size;
	left = request->offset < size ? size - request->offset : 0;
	if (left > request->length)
		left = request->length;
	direct = request->offset % VOLUME_BLOCK == 0 && is_direct(request);
	while (done < left && result == 0) {
		uint64_t part;

		result = read_round(op, op->object[0].number, request->offset + done, left - done,
				    direct, &part);
		if (result == 0)
			done += part;
	}
	if (result)
		return result;
	request->count = (uint32_t)done;
	request->eof = request->offset >= size || request->offset + done == size;
	return 0;
}

/* ---- WRITE ---- */
/* Turn what was written into extents. */
static int flip(struct share *share, uint64_t number, const struct piece *piece,
		struct inode *inode)
{
	uint64_t end = piece->file_block + piece->count;
	struct cut cut = {.keep = true};
	struct extent extent;
	uint64_t added = piece->reserved ? piece->count : 0;
	int result = extent_cut(share, number, piece->reserved ? KEY_RESERVED : KEY_EXTENT,
				piece->file_block, end, &cut);

	if (result == 0 && (cut.more || cut.blocks != piece->count))
		result = -EUCLEAN; /* its blocks are locked: they are as they were planned */
	if (result)
		return result;
	inode->blocks += added;
	share->store->counters[COUNT_USED_BLOCKS] += added;
	extent = (struct extent){
	    .file_block = piece->file_block, .block = piece->block, .count = piece->count};
	return extent_add(share, number, KEY_EXTENT, extent);
}

static int write_finish(void *context)
{
	struct round *round = context;
	struct op *op = round->op;
	struct object *file = &op->object[1];
	uint64_t end = round->offset + round->length;
	int result = inode_load(op->share, round->number, &file->inode);

	if (result == 0)
		result = quota_check(op->share, round->uncounted);
	op->request->before[0] = file->inode.attr;
	for (unsigned i = 0; i < round->count && result == 0; i++)
		if (round->piece[i].fresh)
			result = flip(op->share, round->number, &round->piece[i], &file->inode);
	if (result)
		return result == -ENOENT ? -ESTALE : result;
	if (!round->keeps_size && end > file->inode.attr.size)
		file->inode.attr.size = end;
	rules_written(&file->inode.attr, op->request->credentials, op->now);
	result = inode_store(op->share, &file->inode);
	op->request->after[0] = file->inode.attr;
	return result;
}

struct block_look {
	struct round round;
	uint64_t size;
};

static int plan_block(void *context)
{
	struct block_look *look = context;
	struct inode inode;
	int result = inode_load(look->round.op->share, look->round.number, &inode);

	if (result)
		return result == -ENOENT ? -ESTALE : result;
	look->size = inode.attr.size;
	return plan_read(&look->round);
}

/* One block as it reads, zeros behind the end of the file. *ret_hole: there is nothing. */
static int read_block(struct op *op, uint64_t number, uint64_t block, uint8_t *memory,
		      bool *ret_hole)
{
	struct block_look look = {
	    .round = {.op = op, .number = number, .first = block, .end = block + 1}};
	struct iovec iov = {.iov_base = memory, .iov_len = BLOCK_SIZE};
	uint64_t start = block * BLOCK_SIZE;
	int result = store_look(op->share->store, plan_block, &look);

	if (result)
		return result;
	*ret_hole = look.round.piece[0].hole;
	result = transfer_pieces(&look.round, VOLUME_READ, 0, &iov, 1, 0, BLOCK_SIZE);
	epoch_leave(op->share, &look.round);
	if (look.size < start + BLOCK_SIZE) {
		uint64_t good = look.size > start ? look.size - start : 0;

		memset(memory + good, 0, BLOCK_SIZE - good);
	}
	return result;
}

/* The blocks [first, end) of a write of [offset, offset + length), with what is around it. */
static int fill_bounce(struct round *round, const struct iovec *iov, unsigned iov_count,
		       uint64_t done, uint8_t *memory)
{
	uint64_t start = round->first * BLOCK_SIZE, end = round->end * BLOCK_SIZE;
	int result = 0;
	bool hole;

	if (round->offset > start)
		result = read_block(round->op, round->number, round->first, memory, &hole);
	if (result == 0 && round->offset + round->length < end &&
	    (round->offset <= start || round->end - round->first > 1))
		result = read_block(round->op, round->number, round->end - 1,
				    memory + (end - start) - BLOCK_SIZE, &hole);
	if (result)
		return result;
	if (iov)
		copy(iov, iov_count, done, memory + (round->offset - start), round->length, false);
	else
		memset(memory + (round->offset - start), 0, round->length);
	return 0;
}

static int write_data(struct round *round, const struct iovec *iov, unsigned iov_count,
		      uint64_t done, bool direct)
{
	/* Behind the end in the last block may be anything (file_zero_tail): it has to be gone
	 * for good before the new size can be. */
	bool unstable = iov && round->op->request->stable == VFS_UNSTABLE && !round->over_tail;
	unsigned flags = unstable ? 0 : VOLUME_FUA;
	uint64_t length = (round->end - round->first) * BLOCK_SIZE;
	struct buf *buf;
	int result;

	if (direct) {
		struct iovec all[ROUND_BLOCKS + 8];
		unsigned count = slice(iov, iov_count, done, length, all, ROUND_BLOCKS + 8);

		return transfer_pieces(round, VOLUME_WRITE, flags, all, count, 0, length);
	}
	buf = buffer(round->op->request->loop, length);
	result = fill_bounce(round, iov, iov_count, done, buf->data);
	if (result == 0) {
		struct iovec all = {.iov_base = buf->data, .iov_len = length};

		result = transfer_pieces(round, VOLUME_WRITE, flags, &all, 1, 0, length);
	}
	buf_unref(buf);
	return result;
}

/* Write [offset, offset + length), or zeros without @iov. Its blocks are locked. */
static int write_rounds(struct op *op, uint64_t number, uint64_t offset, uint64_t length,
			const struct iovec *iov, unsigned iov_count, bool keeps_size)
{
	bool direct =
	    iov && offset % BLOCK_SIZE == 0 && length % BLOCK_SIZE == 0 && is_direct(op->request);
	uint64_t limit = direct ? ROUND_BLOCKS : BOUNCE_BLOCKS, done = 0;
	uint64_t size = op->object[0].inode.attr.size;

	while (done < length) {
		struct round round = {.op = op,
				      .number = number,
				      .offset = offset + done,
				      .length = length - done,
				      .keeps_size = keeps_size};
		uint64_t sequence;
		int result;

		round.first = round.offset / BLOCK_SIZE;
		round.end = (round.offset + round.length + BLOCK_SIZE - 1) / BLOCK_SIZE;
		if (round.end > round.first + limit)
			round.end = round.first + limit;
		result = prepare(&round);
		if (result)
			return result;
		if (round.end * BLOCK_SIZE < round.offset + round.length)
			round.length = round.end * BLOCK_SIZE - round.offset;
		round.over_tail = !keeps_size && size % BLOCK_SIZE &&
				  round.first <= size / BLOCK_SIZE &&
				  round.offset + round.length > size;
		result = write_data(&round, iov, iov_count, done, direct);
		if (result == 0)
			result = store_transact(op->share->store, write_finish, &round, &sequence);
		if (result)
			return result;
		op->sequence = sequence;
		done += round.length;
	}
	return 0;
}

int file_write_zeros(struct op *op, uint64_t number, uint64_t offset, uint64_t length)
{
	uint8_t *block;
	struct buf *buf;
	bool hole;
	int result;

	if (length == 0)
		return 0;
	buf = buffer(op->request->loop, BLOCK_SIZE);
	block = buf->data;
	result = read_block(op, number, offset / BLOCK_SIZE, block, &hole);
	buf_unref(buf);
	if (result || hole)
		return result;
	return write_rounds(op, number, offset, length, NULL, 0, true);
}

/* What is behind the end of the file in its last block may be anything; before the file grows over
 * it, it becomes zeros. The block is locked. */
int file_zero_tail(struct op *op, uint64_t number)
{
	struct block_look look = {.round = {.op = op, .number = number}};
	int result = store_look(op->share->store, plan_block, &look); /* an empty range: the size */
	uint64_t in = look.size % BLOCK_SIZE;
	struct vfs_attr before = op->request->before[0], after = op->request->after[0];

	if (result)
		return result;
	epoch_leave(op->share, &look.round);
	if (in == 0)
		return 0;
	result = file_write_zeros(op, number, look.size, BLOCK_SIZE - in);
	op->request->before[0] = before;
	op->request->after[0] = after;
	return result;
}

static int look_writer(void *context)
{
	return look_file(context, VFS_WRITE_DATA);
}

/* Lock the blocks of a change of [offset, end), and those from the end of the file to there. */
static int lock_change(struct op *op, uint64_t offset, uint64_t end, struct range *range)
{
	for (;;) {
		uint64_t first = offset / BLOCK_SIZE, last = end ? (end - 1) / BLOCK_SIZE : 0;
		uint64_t size = op->object[0].inode.attr.size, now;
		int result;

		if (size < offset && size / BLOCK_SIZE < first)
			first = size / BLOCK_SIZE;
		result = range_lock(op->share, op->object[0].number, first, last, range);
		if (result)
			return result;
		result = store_look(op->share->store, look_writer, op);
		now = op->object[0].inode.attr.size;
		if (result == 0 && (now >= offset || now / BLOCK_SIZE >= first))
			return 0;
		range_unlock(op->share, range);
		if (result)
			return result;
	}
}

int op_write(struct op *op)
{
	struct vfs_request *request = op->request;
	uint64_t end = request->offset + request->length, number;
	struct vfs_attr before;
	struct range range;
	int result = store_look(op->share->store, look_writer, op);

	if (result || request->length == 0)
		return result;
	number = op->object[0].number;
	result = lock_change(op, request->offset, end, &range);
	if (result)
		return result;
	before = request->before[0];
	if (op->object[0].inode.attr.size < request->offset &&
	    op->object[0].inode.attr.size / BLOCK_SIZE < request->offset / BLOCK_SIZE)
		result = file_zero_tail(op, number);
	if (result == 0)
		result = write_rounds(op, number, request->offset, request->length, request->iov,
				      request->iov_count, false);
	if (request->length > ROUND_BLOCKS * BLOCK_SIZE / 2 && result == 0)
		request->before[0] = before; /* of the first round */
	range_unlock(op->share, &range);
	if (result)
		return result;
	request->count = (uint32_t)request->length;
	if (request->stable == VFS_UNSTABLE)
		return 0;
	request->stable = VFS_FILE_SYNC;
	return store_wait(op->share->store, op->sequence);
}

int op_commit(struct op *op)
{
	struct store *store = op->share->store;
	int result = store_look(store, look_writer, op);
	uint64_t sequence;

	if (result == -EACCES) /* who wrote it may no longer be allowed to; it is durable for all */
		result = 0;
	if (result || op->share->vfs.read_only)
		return result;
	result = store_io(store, VOLUME_FLUSH, 0, 0, NULL, 0);
	if (result)
		return result;
	store_lock(store);
	sequence = store_last_sequence(store);
	store_unlock(store);
	return store_wait(store, sequence);
}

/* ---- a new size ---- */
static int resize_begin(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *file = &op->object[0];
	struct vfs_set set = request->set;
	uint64_t old;
	int result = look_file(op, 0);

	if (result)
		return result;
	if (request->flags & VFS_GUARD_CTIME && file->inode.attr.ctime != request->guard)
		return -EAGAIN;
	result = rules_may_set(&file->rules, request->credentials, &set, request->flags);
	if (result)
		return result;
	old = file->inode.attr.size;
	file->inode.attr.size = set.size;
	rules_written(&file->inode.attr, request->credentials, op->now);
	set.mask &= ~(unsigned)VFS_SET_SIZE;
	if (set.mask)
		rules_set(&file->inode.attr, request->credentials, &set, op->now);
	if (set.mask & VFS_SET_MODE)
		result = aces_chmod(op->share, file);
	if (result == 0)
		result = inode_store(op->share, &file->inode);
	/* one without a name is an orphan already, and stays one */
	if (result == 0 && set.size < old && file->inode.attr.links)
		result = orphan_put(op->share, file->number, ORPHAN_TRUNCATED);
	request->after[0] = file->inode.attr;
	return result;
}

struct resize {
	struct share *share;
	uint64_t number;
	struct vfs_attr attr;
};

/* Free what is behind the end; 1: more to do. */
static int resize_step(void *context)
{
	struct resize *resize = context;
	struct share *share = resize->share;
	struct cut cut = {0};
	struct inode inode;
	uint64_t end, blocks;
	int result = inode_load(share, resize->number, &inode);

	if (result)
		return result == -ENOENT ? 0 : result;
	end = (inode.attr.size + BLOCK_SIZE - 1) / BLOCK_SIZE;
	result = extent_cut(share, resize->number, KEY_EXTENT, end, FILE_BLOCKS_MAX, &cut);
	blocks = cut.blocks;
	if (result == 0 && !cut.more)
		result =
		    extent_cut(share, resize->number, KEY_RESERVED, end, FILE_BLOCKS_MAX, &cut);
	if (result)
		return result;
	inode.blocks -= blocks;
	share->store->counters[COUNT_USED_BLOCKS] -= blocks;
	result = inode_store(share, &inode);
	if (result == 0 && !cut.more && inode.attr.links)
		result = orphan_delete(share, resize->number);
	resize->attr = inode.attr;
	return result ? result : cut.more;
}

int file_resize_steps(struct share *share, uint64_t number)
{
	struct resize resize = {.share = share, .number = number};
	int result;

	do
		result = store_transact(share->store, resize_step, &resize, NULL);
	while (result == 1);
	return result;
}

static int look_size(void *context)
{
	struct op *op = context;
	struct vfs_request *request = op->request;
	int result = look_file(op, 0);

	return result ? result
		      : rules_may_set(&op->object[0].rules, request->credentials, &request->set,
				      request->flags);
}

static int resize_body(void *context)
{
	return resize_begin(context);
}

int op_resize(struct op *op)
{
	struct vfs_request *request = op->request;
	struct share *share = op->share;
	struct range range;
	struct resize resize;
	int result = store_look(share->store, look_size, op);

	if (result)
		return result;
	resize = (struct resize){.share = share, .number = op->object[0].number};
	/* against writes that are behind the new end, or grow the file */
	result = range_lock(share, resize.number, 0, UINT64_MAX, &range);
	if (result)
		return result;
	result = store_look(share->store, look_size, op);
	if (result == 0 && request->set.size > op->object[0].inode.attr.size &&
	    !(request->flags & VFS_GUARD_CTIME && op->object[0].inode.attr.ctime != request->guard))
		result = file_zero_tail(op, resize.number);
	if (result == 0)
		result = store_transact(share->store, resize_body, op, &op->sequence);
	while (result == 0 && request->set.size < request->before[0].size) {
		result = store_transact(share->store, resize_step, &resize, &op->sequence);
		if (result == 0) {
			request->after[0] = resize.attr;
			break;
		}
		if (result == 1)
			result = 0;
	}
	range_unlock(share, &range);
	return result ? result : store_wait(share->store, op->sequence);
}

/* ---- SEEK ---- */
static int seek_step(void *context)
{
	struct op *op = context;
	struct vfs_request *request = op->request;
	uint64_t size, at;
	int result = look_file(op, VFS_READ_DATA);

	if (result)
		return result;
	size = op->object[0].inode.attr.size;
	if (request->offset >= size)
		return -ENXIO;
	at = request->offset / BLOCK_SIZE;
	for (unsigned i = 0; i < SEEK_STEP; i++) {
		struct extent extent;
		bool data;

		if (at * BLOCK_SIZE >= size)
			goto found;
		result = extent_from(op->share, op->object[0].number, KEY_EXTENT, at, &extent);
		if (result && result != -ENOENT)
			return result;
		data = result == 0 && !(extent.flags & EXTENT_UNWRITTEN);
		if (request->seek == VFS_SEEK_DATA && result == -ENOENT)
			return -ENXIO;
		if (request->seek == VFS_SEEK_DATA && data) {
			at = extent.file_block > at ? extent.file_block : at;
			goto found;
		}
		if (request->seek == VFS_SEEK_HOLE && (!data || extent.file_block > at))
			goto found;

		at = extent.file_block + extent.count;
	}
	request->offset = at * BLOCK_SIZE;
	return 1;
found:
	if (at * BLOCK_SIZE > request->offset)
		request->offset = at * BLOCK_SIZE;
	if (request->offset >= size) {
		if (request->seek == VFS_SEEK_DATA)
			return -ENXIO;
		request->offset = size;
		request->eof = true;
	}
	return 0;
}

int op_seek(struct op *op)
{
	int result;

	do
		result = store_look(op->share->store, seek_step, op);
	while (result == 1);
	return result;
}
