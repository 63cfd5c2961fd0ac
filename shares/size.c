/* SPDX-License-Identifier: Apache-2.0 */
/* size.c: a new size, and what lies where (SEEK). */
#include <errno.h>

#include "shares/internal.h"

#define SEEK_STEP 512u /* extents looked at with the lock held */

/* ---- a new size ---- */
static int resize_begin(struct op *op)
{
	struct vfs_request *request = op->request;
	struct object *file = &op->object[0];
	struct vfs_set set = request->set;
	uint64_t old;
	int result = file_look(op, 0);
	uint32_t owner;

	if (result)
		return result;
	owner = file->inode.attr.uid;
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
	result = users_move(op->share, &file->inode, owner);
	if (result == 0 && set.mask & VFS_SET_MODE)
		result = aces_chmod(op->share, file);
	if (result == 0 && set.mask & VFS_SET_ACL)
		result = aces_set(op->share, file, request);
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
	result = inode_count(share, &inode, -(int64_t)blocks);
	if (result == 0)
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
	int result = file_look(op, 0);

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
	int result = file_look(op, VFS_READ_DATA);

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
