/* SPDX-License-Identifier: Apache-2.0 */
/* clone.c: CLONE: the target's extents point to the source's blocks, which have one owner more then
 * (shared.c). What it costs goes by the number of extents. The blocks of both are locked, so that
 * no write is on its way to what is shared; it is durable before the target can be seen to have it,
 * so that a crash gives the target what it was given, or what it had. One transaction, unless there
 * are very many extents: then others see the target change in steps. */
#include <errno.h>

#include "shares/internal.h"

#define STEP_MAX 4096u /* extents looked at by one transaction */

struct clone {
	struct op *op;
	uint64_t from, to;                /* inodes */
	uint64_t offset, offset2, length; /* bytes */
	uint64_t at, last;                /* the source's blocks still to do: [at, last) */
	uint64_t target_size;             /* before */
};

/* What is asked for, by the files as they are now (RFC 7862 15.13.3). */
static int look(void *context)
{
	struct clone *clone = context;
	struct op *op = clone->op;
	struct vfs_request *request = op->request;
	struct object *from = &op->object[0], *to = &op->object[1];
	int result = object_load(op->share, &request->object, from);

	if (result == 0)
		result = object_load(op->share, &request->object2, to);
	if (result)
		return result;
	request->before[0] = request->after[0] = from->inode.attr;
	request->before[1] = request->after[1] = to->inode.attr;
	result = need_file(from, request, VFS_READ_DATA);
	if (result == 0)
		result = need_file(to, request, VFS_WRITE_DATA);
	if (result)
		return result;
	clone->from = from->number;
	clone->to = to->number;
	clone->target_size = to->inode.attr.size;
	return vfs_clone_check(request, from->inode.attr.size, &clone->length);
}

static int lock_one(struct share *share, uint64_t number, struct range *range)
{
	return range_lock(share, number, 0, UINT64_MAX, range);
}

/* Two files in the order of their numbers: nobody waits in a circle. */
static int lock_both(struct clone *clone, struct range ranges[2])
{
	struct share *share = clone->op->share;
	uint64_t low = clone->from < clone->to ? clone->from : clone->to;
	uint64_t high = clone->from < clone->to ? clone->to : clone->from;
	int result = lock_one(share, low, &ranges[0]);

	ranges[1].state = NULL;
	if (result || low == high)
		return result;
	result = lock_one(share, high, &ranges[1]);
	if (result)
		range_unlock(share, &ranges[0]);
	return result;
}

/* The next extent of the source at or behind *at: the target gets it. *added: blocks of it. */
static int share_one(struct clone *clone, uint64_t *at, uint64_t *added)
{
	struct share *share = clone->op->share;
	uint64_t shift = clone->offset2 / BLOCK_SIZE - clone->offset / BLOCK_SIZE, count;
	struct extent extent;
	int result = extent_from(share, clone->from, KEY_EXTENT, *at, &extent);

	*added = 0;
	if (result == -ENOENT || (result == 0 && extent.file_block >= clone->last)) {
		*at = clone->last;
		return 0;
	}
	if (result)
		return result;
	if (*at < extent.file_block)
		*at = extent.file_block;
	count = extent.file_block + extent.count - *at;
	if (count > clone->last - *at)
		count = clone->last - *at;
	if (extent.flags & EXTENT_UNWRITTEN) { /* reads as zeros: a hole, over there */
		*at += count;
		return 0;
	}
	result = extent_share(share, clone->from, &extent);
	extent.block += *at - extent.file_block;
	if (result == 0)
		result = shared_add(share, extent.block, &count);
	extent.file_block = *at + shift;
	extent.count = (uint32_t)count;
	*at += count;
	*added = count;
	return result ? result : extent_add(share, clone->to, KEY_EXTENT, extent);
}

/* 1: more to do. */
static int step(void *context)
{
	struct clone *clone = context;
	struct op *op = clone->op;
	struct share *share = op->share;
	struct store *store = share->store;
	uint64_t at = clone->at, shift = clone->offset2 / BLOCK_SIZE - clone->offset / BLOCK_SIZE;
	uint64_t end = clone->offset2 + clone->length, more = 0;
	struct cut cut = {0};
	struct inode inode;
	int result = inode_load(share, clone->to, &inode);

	if (result)
		return result == -ENOENT ? -ESTALE : result;
	result = extent_cut(share, clone->to, KEY_EXTENT, at + shift, clone->last + shift, &cut);
	for (unsigned i = 0; at < clone->last && result == 0 && !cut.more; i++) {
		uint64_t added;

		if (i == STEP_MAX || store->redo.length > store->commit_max / 4)
			break;
		result = share_one(clone, &at, &added);
		more += added;
	}
	store->counters[COUNT_USED_BLOCKS] -= cut.blocks;
	if (result == 0 && more > cut.blocks)
		result = quota_check(share, more);
	if (result)
		return result;
	store->counters[COUNT_USED_BLOCKS] +=
	    cut.blocks; /* as it was: what changes is counted once */
	result = inode_count(share, &inode, (int64_t)more - (int64_t)cut.blocks);
	if (result)
		return result;
	if (at == clone->last && end > inode.attr.size)
		inode.attr.size = end;
	rules_written(&inode.attr, op->request->credentials, op->now);
	result = inode_store(share, &inode);
	if (result)
		return result;
	op->request->after[1] = inode.attr;
	clone->at = at;
	return at < clone->last;
}

/* Behind the end of a file, in its last block, may be anything: zeros have to be where the target
 * goes on behind it, and where it has grown over its old end. */
static int zero_tails(struct clone *clone)
{
	uint64_t end = clone->offset2 + clone->length;
	int result = 0;

	if (clone->length % BLOCK_SIZE && end < clone->target_size)
		result = file_zero_tail(clone->op, clone->from);
	if (result == 0 && clone->target_size < clone->offset2)
		result = file_zero_tail(clone->op, clone->to);
	return result;
}

static int run(struct clone *clone)
{
	struct op *op = clone->op;
	struct store *store = op->share->store;
	int result = store_look(store, look, clone);

	if (result || clone->length == 0)
		return result;
	result = store_need_version(store, FORMAT_CLONES);
	if (result == 0)
		result = zero_tails(clone);
	if (result == 0)
		result = store_io(store, VOLUME_FLUSH, 0, 0, NULL, 0);
	clone->at = clone->offset / BLOCK_SIZE;
	clone->last = (clone->offset + clone->length + BLOCK_SIZE - 1) / BLOCK_SIZE;
	while (result == 0) {
		result = store_transact(store, step, clone, &op->sequence);
		if (result == 0)
			break;
		if (result == 1)
			result = 0;
	}
	return result;
}

int op_clone(struct op *op)
{
	struct vfs_request *request = op->request;
	struct share *share = op->share;
	struct clone clone = {.op = op, .offset = request->offset, .offset2 = request->offset2};
	struct range ranges[2];
	int result = store_look(share->store, look, &clone);

	if (result == 0)
		result = lock_both(&clone, ranges);
	if (result)
		return result;
	result = run(&clone);
	range_unlock(share, &ranges[0]);
	if (ranges[1].state)
		range_unlock(share, &ranges[1]);
	return result ? result : store_wait(share->store, op->sequence);
}
