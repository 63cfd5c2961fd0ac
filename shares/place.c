/* SPDX-License-Identifier: Apache-2.0 */
/* place.c: where the blocks of a round are, and where those go that have no place yet. */
#include <errno.h>

#include "shares/round.h"

static bool adjoins(const struct piece *a, const struct piece *b)
{
	return a->hole == b->hole && a->fresh == b->fresh && a->reserved == b->reserved &&
	       a->moves == b->moves && (a->hole || a->block + a->count == b->block);
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

void round_end(struct share *share, struct round *round)
{
	store_lock(share->store);
	if (--share->readers[round->epoch] == 0)
		waiters_resume(&share->drained, 0);
	store_unlock(share->store);
}

int round_plan_read(struct round *round)
{
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

/* What somebody else has too is not written: its new contents get another place (S6). */
static int must_move(struct share *share, struct piece *piece)
{
	uint64_t count = piece->count;
	uint32_t owners;
	int result = shared_look(share, piece->block, &count, &owners);

	piece->count = (uint32_t)count;
	piece->moves = !shared_in_place(share, owners);
	return result;
}

/* A place for what has no contents yet: an unwritten extent, or reserved blocks. */
static int place(struct round *round, uint32_t flags, struct piece *piece)
{
	struct share *share = round->op->share;
	struct extent extent;
	int result;

	piece->fresh = piece->hole || piece->moves || flags & EXTENT_UNWRITTEN;
	if (!piece->hole && !piece->moves)
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
	round->missing_moves = piece->moves;
	return 1;
}

/* Of the share and of the file's owner. What is asked here in time is held to when the round is
 * settled. */
static int quotas_check(struct round *round)
{
	const struct object *file = &round->op->object[0];
	int result = quota_check(round->op->share, round->uncounted);

	if (result || file->number != round->number)
		return result;
	return users_check(round->op->share, file->inode.attr.uid, round->uncounted);
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

		if (result == 0 && flags & EXTENT_SHARED)
			result = must_move(round->op->share, &piece);
		if (result == 0)
			result = place(round, flags, &piece);
		if (hole)
			round->uncounted += piece.count;
		if (result)
			return result < 0 ? result : quotas_check(round);
		if (!piece_add(round, piece))
			break;
		at += piece.count;
	}
	round->end = at;
	return quotas_check(round);
}

/* 1: [*low, *high) is a hole; 0: something is there. */
static int within_hole(struct round *round, const uint64_t *low, const uint64_t *high)
{
	struct extent extent;
	int result = extent_from(round->op->share, round->number, KEY_EXTENT, *low, &extent);

	if (result && result != -ENOENT)
		return result;
	return result == -ENOENT || extent.file_block >= *high;
}

/* 1: *low, *high become no more than the extent that is to be moved from. */
static int within_extent(struct round *round, uint64_t *low, uint64_t *high)
{
	struct extent extent;
	int result =
	    extent_at(round->op->share, round->number, KEY_EXTENT, round->missing, &extent);

	if (result)
		return result == -ENOENT ? -EUCLEAN : result; /* its blocks are locked */
	if (*low < extent.file_block)
		*low = extent.file_block;
	if (*high > extent.file_block + extent.count)
		*high = extent.file_block + extent.count;
	return 1;
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
	result = round->missing_moves ? within_extent(round, &low, &high)
				      : within_hole(round, &low, &high);
	if (result < 0)
		return result;
	if (result == 0) {
		low = first;
		high = end;
	}
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
int round_place(struct round *round)
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

/* Turn what was written into extents. */
int round_settle(struct share *share, uint64_t number, const struct piece *piece,
		 struct inode *inode)
{
	uint64_t end = piece->file_block + piece->count;
	struct cut cut = {.keep = true};
	struct extent extent;
	uint64_t added = piece->reserved && !piece->moves ? piece->count : 0;
	struct cut old = {0};
	int result = extent_cut(share, number, piece->reserved ? KEY_RESERVED : KEY_EXTENT,
				piece->file_block, end, &cut);

	if (result == 0 && (cut.more || cut.blocks != piece->count))
		result = -EUCLEAN; /* its blocks are locked: they are as they were planned */
	if (result == 0 && piece->moves)
		result = extent_cut(share, number, KEY_EXTENT, piece->file_block, end, &old);
	if (result == 0 && piece->moves && (old.more || old.blocks != piece->count))
		result = -EUCLEAN;
	if (result)
		return result;
	result = inode_count(share, inode, (int64_t)added);
	if (result)
		return result;
	extent = (struct extent){
	    .file_block = piece->file_block, .block = piece->block, .count = piece->count};
	return extent_add(share, number, KEY_EXTENT, extent);
}
