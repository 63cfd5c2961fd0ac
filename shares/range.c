/* SPDX-License-Identifier: Apache-2.0 */
/* range.c: DEALLOCATE. It goes in steps, each a transaction; the blocks are locked from the first
 * to the last. */
#include <errno.h>
#include <string.h>

#include "shares/internal.h"

struct change {
	struct op *op;
	uint64_t number, offset, end; /* bytes */
	uint64_t at, last;            /* blocks still to do: [at, last) */
};

static int look(void *context)
{
	struct op *op = context;
	struct vfs_request *request = op->request;
	int result = object_load(op->share, &request->object, &op->object[0]);

	if (result)
		return result;
	request->before[0] = request->after[0] = op->object[0].inode.attr;
	return need_file(&op->object[0], request, VFS_WRITE_DATA);
}

static int changed(struct change *change, struct inode *inode)
{
	struct op *op = change->op;
	int result;

	rules_written(&inode->attr, op->request->credentials, op->now);
	result = inode_store(op->share, inode);
	op->request->after[0] = inode->attr;
	return result;
}

static int deallocate_step(void *context)
{
	struct change *change = context;
	struct share *share = change->op->share;
	struct cut cut = {0};
	struct inode inode;
	int result = inode_load(share, change->number, &inode);

	if (result)
		return result == -ENOENT ? -ESTALE : result;
	if (change->at < change->last)
		result =
		    extent_cut(share, change->number, KEY_EXTENT, change->at, change->last, &cut);
	if (result)
		return result;
	result = inode_count(share, &inode, -(int64_t)cut.blocks);
	if (result == 0)
		result = changed(change, &inode);
	return result ? result : cut.more;
}

/* The parts of blocks at both ends become zeros. */
static int zero_edges(struct op *op, const struct change *change)
{
	uint64_t first = change->at * BLOCK_SIZE, last = change->last * BLOCK_SIZE;
	int result = 0;

	if (change->at > change->last) /* inside one block */
		return file_write_zeros(op, change->number, change->offset,
					change->end - change->offset);
	if (change->offset < first)
		result =
		    file_write_zeros(op, change->number, change->offset, first - change->offset);
	if (result == 0 && last < change->end)
		result = file_write_zeros(op, change->number, last, change->end - last);
	return result;
}

int op_deallocate(struct op *op)
{
	struct vfs_request *request = op->request;
	struct store *store = op->share->store;
	struct change change = {.op = op, .offset = request->offset};
	uint64_t size;
	struct range range;
	int result = store_look(store, look, op);

	if (result)
		return result;
	change.number = op->object[0].number;
	result = range_lock(op->share, change.number, 0, UINT64_MAX, &range);
	if (result)
		return result;
	result = store_look(store, look, op);
	size = op->object[0].inode.attr.size;
	change.end = request->offset + request->length;
	change.at = request->offset / BLOCK_SIZE + (request->offset % BLOCK_SIZE != 0);
	change.last = change.end / BLOCK_SIZE;
	if (change.end >= size) { /* the last block is whole when its contents are */
		change.last = change.end / BLOCK_SIZE + (change.end % BLOCK_SIZE != 0);
		if (change.last > FILE_BLOCKS_MAX)
			change.last = FILE_BLOCKS_MAX;
		change.end = size;
	}
	if (result == 0 && change.offset < size) {
		struct vfs_attr before = request->before[0];

		result = zero_edges(op, &change);
		request->before[0] = before;
	}
	do
		if (result == 0 || result == 1)
			result = store_transact(store, deallocate_step, &change, &op->sequence);
	while (result == 1);
	range_unlock(op->share, &range);
	return result ? result : store_wait(store, op->sequence);
}
