/* SPDX-License-Identifier: Apache-2.0 */
/* allocate.c: ALLOCATE (RFC 7862 15.1): what has no place gets one, and has space of the pool from
 * then on.
 *
 * The volume is thin, so a place on it alone promises nothing. Where it has nothing yet, zeros are
 * written, as cheap as a write of them and no cheaper: then the pool's space is this file's, and
 * what is written there later goes where the zeros are. The extent is one that reads as zeros all
 * the same: a hole, for SEEK. An extent that was there is made sure of in the same way.
 *
 * The way is that of a write (internal.h): blocks are reserved, written, and become extents in a
 * transaction, so that no extent is set aside without its space (S7). It goes in strides, so that
 * others get at the file in between; the size grows with the last one. */
#include <errno.h>
#include <string.h>

#include "shares/order.h"
#include "shares/round.h"

#define STRIDE_BLOCKS  4096u        /* locked, and set aside, at a time */
#define SPOTS_MAX      64u          /* runs of blocks in one step of a stride */
#define SURVEY_EXTENTS 512u         /* looked at with the lock held */
#define FILLED_MAX     (16u << 10)  /* blocks filled by one request, about: 64 MiB */
#define LOOKED_MAX     (256u << 10) /* ... and made sure of: 1 GiB */
#define EXTENTS_MAX    32u

struct spot {
	uint64_t block; /* on the volume */
	uint64_t count;
};

struct allocation {
	struct op *op;
	uint64_t number;
	uint64_t end;             /* bytes: the range's */
	uint64_t at, stop, last;  /* blocks of the file still to do; of this stride; of all */
	uint64_t surveyed, holes; /* blocks: up to here it is known how many have no place */
	uint64_t filled, looked;  /* blocks, of this request */
	bool waited;              /* for space that is being discarded */
	/* this step: [at, to) is in spots, or shared with other files */
	uint64_t to;
	struct spot spot[SPOTS_MAX];
	unsigned count, runs;
	bool fresh;                      /* some of it is reserved, and becomes extents */
	uint64_t missing, missing_count; /* what has to be reserved first */
};

static int look(void *context)
{
	return file_look(context, VFS_WRITE_DATA);
}

/* ---- is there room for all of it? Nothing is begun that can not be ended as things are ---- */

/* 1: more to see. */
static int survey(void *context)
{
	struct allocation *all = context;
	uint64_t at = all->surveyed, holes = all->holes;

	for (unsigned i = 0; at < all->last && i < SURVEY_EXTENTS; i++) {
		struct extent extent;
		int result = extent_from(all->op->share, all->number, KEY_EXTENT, at, &extent);

		if (result && result != -ENOENT)
			return result;
		if (result == -ENOENT || extent.file_block >= all->last) {
			holes += all->last - at;
			at = all->last;
		} else {
			if (extent.file_block > at)
				holes += extent.file_block - at;
			at = extent.file_block + extent.count;
		}
	}
	all->surveyed = at;
	all->holes = holes;
	return at < all->last;
}

static int has_room(void *context)
{
	const struct allocation *all = context;
	struct share *share = all->op->share;
	int result = quota_check(share, all->holes);

	if (result == 0)
		result = users_check(share, all->op->object[0].inode.attr.uid, all->holes);
	if (result || all->holes == 0)
		return result;
	return all->holes > share->store->counters[COUNT_FREE_BLOCKS] ||
		       all->holes > share_pool_room(share) / BLOCK_SIZE
		   ? -ENOSPC
		   : 0;
}

static int may_begin(struct allocation *all)
{
	struct store *store = all->op->share->store;
	int result;

	do
		result = store_look(store, survey, all);
	while (result == 1);
	if (result == 0)
		result = store_look(store, has_room, all);
	if (result == -ENOSPC && blocks_wait(all->op->share))
		result = store_look(store, has_room, all);
	return result;
}

/* ---- a step ---- */

static void add_spot(struct allocation *all, uint64_t block, uint64_t count)
{
	struct spot *last = all->count ? &all->spot[all->count - 1] : NULL;

	if (last && last->block + last->count == block)
		last->count += count;
	else
		all->spot[all->count++] = (struct spot){block, count};
}

/* The run of @extent from @at on, no further than @end. */
static uint64_t run_of(const struct extent *extent, uint64_t at, uint64_t end)
{
	uint64_t stop = extent->file_block + extent->count;

	return (stop < end ? stop : end) - at;
}

/* Where the blocks from all->at on are. 1: some have no place, they are to be reserved first. */
static int gather(void *context)
{
	struct allocation *all = context;
	struct share *share = all->op->share;
	uint64_t at = all->at, count;

	all->count = all->runs = 0;
	all->fresh = false;
	for (; at < all->stop && all->runs < SPOTS_MAX; at += count, all->runs++) {
		uint64_t end = all->stop;
		struct extent extent;
		int result = extent_from(share, all->number, KEY_EXTENT, at, &extent);

		if (result && result != -ENOENT)
			return result;
		if (result == 0 && extent.file_block <= at) {
			count = run_of(&extent, at, end);
			if (!(extent.flags & EXTENT_SHARED)) /* it is written, and not only ours */
				add_spot(all, extent.block + (at - extent.file_block), count);
			continue;
		}
		if (result == 0 && extent.file_block < end)
			end = extent.file_block;
		result = extent_from(share, all->number, KEY_RESERVED, at, &extent);
		if (result && result != -ENOENT)
			return result;
		if (result == -ENOENT || extent.file_block > at) {
			if (result == 0 && extent.file_block < end)
				end = extent.file_block;
			all->missing = at;
			all->missing_count = end - at;
			return 1;
		}
		count = run_of(&extent, at, end);
		add_spot(all, extent.block + (at - extent.file_block), count);
		all->fresh = true;
	}
	all->to = at;
	return 0;
}

/* A write next to these blocks may have reserved some of them since. */
static int reserve(void *context)
{
	struct allocation *all = context;
	struct share *share = all->op->share;
	uint64_t end = all->missing + all->missing_count;
	struct extent extent;
	int result = extent_from(share, all->number, KEY_RESERVED, all->missing, &extent);

	if (result && result != -ENOENT)
		return result;
	if (result == 0 && extent.file_block <= all->missing)
		return 0;
	if (result == 0 && extent.file_block < end)
		end = extent.file_block;
	extent = (struct extent){.file_block = all->missing};
	result = blocks_take(share, (uint32_t)(end - all->missing), &extent.block, &extent.count);
	return result ? result : extent_add(share, all->number, KEY_RESERVED, extent);
}

/* Zeros where the volume has nothing. */
static int fill(struct allocation *all, const struct spot *spot)
{
	struct store *store = all->op->share->store;
	uint64_t at = spot->block * BLOCK_SIZE, end = at + spot->count * BLOCK_SIZE;
	int result = 0;

	while (at < end && result == 0) {
		struct volume_extent extents[EXTENTS_MAX];
		unsigned count;

		result = store_extents(store, at, end - at, extents, EXTENTS_MAX, &count);
		for (unsigned i = 0; i < count && result == 0; i++) {
			at = extents[i].offset + extents[i].length;
			if (extents[i].mapped)
				continue;
			all->filled += extents[i].length / BLOCK_SIZE;
			result = store_zeros(store, extents[i].offset, extents[i].length);
		}
	}
	return result;
}

/* What is reserved in [at, to) becomes extents that read as zeros. */
static int settle(void *context)
{
	struct allocation *all = context;
	struct op *op = all->op;
	struct share *share = op->share;
	struct inode inode;
	uint64_t count;
	int result = inode_load(share, all->number, &inode);

	if (result)
		return result == -ENOENT ? -ESTALE : result;
	for (uint64_t at = all->at; at < all->to && result == 0; at += count) {
		struct cut cut = {.keep = true};
		uint64_t end = all->to;
		struct extent extent;

		result = extent_from(share, all->number, KEY_EXTENT, at, &extent);
		if (result == 0 && extent.file_block <= at) {
			count = run_of(&extent, at, end);
			continue;
		}
		/* what is reserved may go on below it: a place to move to, for what is shared */
		if (result == 0 && extent.file_block < end)
			end = extent.file_block;
		if (result == 0 || result == -ENOENT)
			result = extent_at(share, all->number, KEY_RESERVED, at, &extent);
		if (result)
			return result == -ENOENT ? -EUCLEAN : result; /* its blocks are locked */
		count = run_of(&extent, at, end);
		result = extent_cut(share, all->number, KEY_RESERVED, at, at + count, &cut);
		if (result == 0 && (cut.more || cut.blocks != count))
			result = -EUCLEAN;
		if (result == 0)
			result = quota_check(share, count);
		extent = (struct extent){.file_block = at,
					 .block = extent.block + (at - extent.file_block),
					 .count = (uint32_t)count,
					 .flags = EXTENT_UNWRITTEN};
		if (result == 0)
			result = extent_add(share, all->number, KEY_EXTENT, extent);
		if (result == 0)
			result = inode_count(share, &inode, (int64_t)count);
	}
	if (result)
		return result;
	if (all->to == all->last && all->end > inode.attr.size)
		inode.attr.size = all->end;
	rules_written(&inode.attr, op->request->credentials, op->now);
	result = inode_store(share, &inode);
	op->request->after[0] = inode.attr;
	return result;
}

static int gather_all(struct allocation *all)
{
	struct store *store = all->op->share->store;
	int result = store_look(store, gather, all);

	while (result == 1) {
		result = store_transact(store, reserve, all, NULL);
		if (result == 0)
			result = store_look(store, gather, all);
	}
	return result;
}

/* Some of the stride, from all->at on. */
static int step(struct allocation *all)
{
	struct op *op = all->op;
	struct store *store = op->share->store;
	int result = gather_all(all);

	for (unsigned i = 0; i < all->count && result == 0 && KEEPS(share_space_before_extent); i++)
		result = fill(all, &all->spot[i]);
	/* what was mapped before may not be durable either */
	if (result == 0 && (all->fresh || all->to == all->last))
		result = store_io(store, VOLUME_FLUSH, 0, 0, NULL, 0);
	if (result == 0 && (all->fresh || all->to == all->last))
		result = store_transact(store, settle, all, &op->sequence);
	if (result == 0) {
		all->looked += all->to - all->at;
		all->at = all->to;
	}
	return result;
}

/* What a stride that failed has reserved, and filled in part, is given back. 1: more to do. */
static int give_back(void *context)
{
	const struct allocation *all = context;
	struct cut cut = {0};
	int result =
	    extent_cut(all->op->share, all->number, KEY_RESERVED, all->at, all->stop, &cut);

	return result ? result : cut.more;
}

static int stride(struct allocation *all)
{
	struct op *op = all->op;
	struct share *share = op->share;
	struct range range;
	bool last = all->last - all->at <= STRIDE_BLOCKS;
	int result;

	all->stop = last ? all->last : all->at + STRIDE_BLOCKS;
	/* the end of the file stays where it is while the size grows */
	result = range_lock(share, all->number, last ? 0 : all->at,
			    last ? UINT64_MAX : all->stop - 1, &range);
	if (result)
		return result;
	result = store_look(share->store, look, op);
	if (result == 0 && last && all->end > op->object[0].inode.attr.size)
		result = file_zero_tail(op, all->number);
	while (result == 0 && all->at < all->stop) {
		result = step(all);
		if (result == -ENOSPC && !all->waited && blocks_wait(share)) {
			all->waited = true;
			result = 0;
		}
	}
	if (result)
		while (store_transact(share->store, give_back, all, NULL) == 1)
			;
	range_unlock(share, &range);
	return result;
}

int op_allocate(struct op *op)
{
	struct vfs_request *request = op->request;
	struct allocation all = {
	    .op = op, .end = request->offset + request->length, .at = request->offset / BLOCK_SIZE};
	int result = store_look(op->share->store, look, op);

	if (result)
		return result;
	all.number = op->object[0].number;
	all.surveyed = all.at;
	all.last = (all.end + BLOCK_SIZE - 1) / BLOCK_SIZE;
	result = may_begin(&all);
	while (result == 0 && all.at < all.last && all.filled < FILLED_MAX &&
	       all.looked < LOOKED_MAX)
		result = stride(&all);
	if (all.at >= all.last)
		request->offset = all.end;
	else if (all.at * BLOCK_SIZE > request->offset)
		request->offset = all.at * BLOCK_SIZE;
	return result ? result : store_wait(op->share->store, op->sequence);
}
