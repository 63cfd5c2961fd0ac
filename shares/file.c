/* SPDX-License-Identifier: Apache-2.0 */
/* file.c: contents: READ, WRITE, COMMIT. */
#include <errno.h>
#include <string.h>

#include "core/buf.h"
#include "shares/round.h"

/* ---- READ ---- */
static int plan_read(void *context)
{
	return round_plan_read(context);
}

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
		/* up to whole sectors: the memory is there, round_is_direct() saw to it */
		uint64_t whole = (length + VOLUME_BLOCK - 1) / VOLUME_BLOCK * VOLUME_BLOCK;
		unsigned count = round_slice(request->iov, request->iov_count, done, whole, all,
					     ROUND_BLOCKS + 8);

		result = round_transfer(&round, VOLUME_READ, 0, all, count, skip, whole);
	} else {
		struct buf *buf =
		    round_buffer(request->loop, (round.end - round.first) * BLOCK_SIZE);
		struct iovec iov = {.iov_base = buf->data,
				    .iov_len = (round.end - round.first) * BLOCK_SIZE};

		result = round_transfer(&round, VOLUME_READ, 0, &iov, 1, 0, iov.iov_len);
		if (result == 0)
			round_copy(request->iov, request->iov_count, done,
				   (uint8_t *)buf->data + skip, length, true);
		buf_unref(buf);
	}
	round_end(op->share, &round);
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

int file_look(struct op *op, uint32_t rights)
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
	int result = file_look(op, VFS_READ_DATA);

	/* who may execute a file has to be able to read it (RFC 1813 4.4) */
	if (result == -EACCES && op->request->flags & VFS_OWNER_OVERRIDE)
		result = file_look(op, VFS_EXECUTE);
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
	direct = request->offset % VOLUME_BLOCK == 0 && round_is_direct(request);
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
			result =
			    round_settle(op->share, round->number, &round->piece[i], &file->inode);
	if (result)
		return result == -ENOENT ? -ESTALE : result;
	if (!round->keeps_size && end > file->inode.attr.size)
		file->inode.attr.size = end;
	/* zeros behind the end change nothing that anybody sees */
	if (!round->keeps_size || round->offset < file->inode.attr.size)
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
	return round_plan_read(&look->round);
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
	result = round_transfer(&look.round, VOLUME_READ, 0, &iov, 1, 0, BLOCK_SIZE);
	round_end(op->share, &look.round);
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
		round_copy(iov, iov_count, done, memory + (round->offset - start), round->length,
			   false);
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
		unsigned count = round_slice(iov, iov_count, done, length, all, ROUND_BLOCKS + 8);

		return round_transfer(round, VOLUME_WRITE, flags, all, count, 0, length);
	}
	buf = round_buffer(round->op->request->loop, length);
	result = fill_bounce(round, iov, iov_count, done, buf->data);
	if (result == 0) {
		struct iovec all = {.iov_base = buf->data, .iov_len = length};

		result = round_transfer(round, VOLUME_WRITE, flags, &all, 1, 0, length);
	}
	buf_unref(buf);
	return result;
}

/* Write [offset, offset + length), or zeros without @iov. Its blocks are locked. */
static int write_rounds(struct op *op, uint64_t number, uint64_t offset, uint64_t length,
			const struct iovec *iov, unsigned iov_count, bool keeps_size)
{
	bool direct = iov && offset % BLOCK_SIZE == 0 && length % BLOCK_SIZE == 0 &&
		      round_is_direct(op->request);
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
		result = round_place(&round);
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
	buf = round_buffer(op->request->loop, BLOCK_SIZE);
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
	round_end(op->share, &look.round);
	if (in == 0)
		return 0;
	result = file_write_zeros(op, number, look.size, BLOCK_SIZE - in);
	op->request->before[0] = before;
	op->request->after[0] = after;
	return result;
}

static int look_writer(void *context)
{
	return file_look(context, VFS_WRITE_DATA);
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
