/* SPDX-License-Identifier: Apache-2.0 */
/* extent.c: where files have their blocks, and what space is left. */
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "shares/internal.h"
#include "volumes/pool.h"

#define SEARCH_MAX 64u /* pieces of free space looked at for a long one */

static int decode(struct share *share, const struct key *key, const uint8_t *value, size_t length,
		  struct extent *ret_extent)
{
	return extent_decode(key->offset, value, length, share->store->sb.data_start,
			     share->store->sb.volume_blocks, ret_extent);
}

static int extent_store(struct share *share, uint64_t number, uint8_t type,
			const struct extent *extent)
{
	struct key key = {number, type, extent->file_block};
	uint8_t value[EXTENT_BYTES];

	extent_encode(extent, value);
	return store_put(share->store, &key, value, sizeof(value));
}

static int extent_remove(struct share *share, uint64_t number, uint8_t type, uint64_t file_block)
{
	struct key key = {number, type, file_block};

	return store_delete(share->store, &key);
}

int extent_at(struct share *share, uint64_t number, uint8_t type, uint64_t block,
	      struct extent *ret_extent)
{
	struct key key = {number, type, block};
	const uint8_t *value;
	size_t length;
	int result = btree_previous(share->store, &key, &value, &length);

	if (result)
		return result;
	if (key.object != number || key.type != type)
		return -ENOENT;
	result = decode(share, &key, value, length, ret_extent);
	if (result)
		return result;
	return block < ret_extent->file_block + ret_extent->count ? 0 : -ENOENT;
}

int extent_from(struct share *share, uint64_t number, uint8_t type, uint64_t block,
		struct extent *ret_extent)
{
	struct key key = {number, type, block};
	const uint8_t *value;
	size_t length;
	int result = extent_at(share, number, type, block, ret_extent);

	if (result != -ENOENT)
		return result;
	result = btree_next(share->store, &key, &value, &length);
	if (result)
		return result;
	if (key.object != number || key.type != type)
		return -ENOENT;
	return decode(share, &key, value, length, ret_extent);
}

static bool adjoins(const struct extent *left, const struct extent *right)
{
	return left->file_block + left->count == right->file_block &&
	       left->block + left->count == right->block && left->flags == right->flags &&
	       left->count + right->count <= EXTENT_BLOCKS_MAX;
}

/* Nothing is there; neighbours that continue it become one with it. */
int extent_add(struct share *share, uint64_t number, uint8_t type, struct extent extent)
{
	struct extent other;
	int result = extent.file_block
			 ? extent_at(share, number, type, extent.file_block - 1, &other)
			 : -ENOENT;

	if (result == 0 && adjoins(&other, &extent)) {
		result = extent_remove(share, number, type, other.file_block);
		extent.file_block = other.file_block;
		extent.block = other.block;
		extent.count += other.count;
	}
	if (result && result != -ENOENT)
		return result;
	result = extent_at(share, number, type, extent.file_block + extent.count, &other);
	if (result == 0 && adjoins(&extent, &other)) {
		result = extent_remove(share, number, type, other.file_block);
		extent.count += other.count;
	}
	if (result && result != -ENOENT)
		return result;
	return extent_store(share, number, type, &extent);
}

int extent_share(struct share *share, uint64_t number, struct extent *extent)
{
	if (extent->flags & EXTENT_SHARED)
		return 0;
	extent->flags |= EXTENT_SHARED;
	return extent_store(share, number, KEY_EXTENT, extent);
}

/* Take [first, end) out of @extent; what is beside it stays. */
static int cut_one(struct share *share, uint64_t number, uint8_t type, struct extent extent,
		   uint64_t first, uint64_t end, struct cut *cut)
{
	uint64_t from = extent.file_block > first ? extent.file_block : first;
	uint64_t to =
	    extent.file_block + extent.count < end ? extent.file_block + extent.count : end;
	int result = extent_remove(share, number, type, extent.file_block);

	if (result == 0 && extent.file_block < from) {
		struct extent left = extent;

		left.count = (uint32_t)(from - extent.file_block);
		result = extent_store(share, number, type, &left);
	}
	if (result == 0 && to < extent.file_block + extent.count) {
		struct extent right = extent;

		right.file_block = to;
		right.block += to - extent.file_block;
		right.count -= (uint32_t)(to - extent.file_block);
		result = extent_store(share, number, type, &right);
	}
	if (result == 0 && !cut->keep) {
		uint64_t block = extent.block + (from - extent.file_block);

		result = extent.flags & EXTENT_SHARED ? shared_drop(share, block, to - from)
						      : blocks_free(share, block, to - from);
	}
	cut->blocks += to - from;
	cut->extents++;
	return result;
}

/* *stop no further than the blocks of @extent behind @first have as many owners each. */
static int alike(struct share *share, const struct extent *extent, uint64_t first, uint64_t *stop)
{
	uint64_t from = extent->file_block > first ? extent->file_block : first;
	uint64_t count = extent->file_block + extent->count - from;
	uint32_t owners;
	int result =
	    shared_look(share, extent->block + (from - extent->file_block), &count, &owners);

	if (result == 0 && from + count < *stop)
		*stop = from + count;
	return result;
}

int extent_cut(struct share *share, uint64_t number, uint8_t type, uint64_t first, uint64_t end,
	       struct cut *cut)
{
	while (first < end) {
		struct extent extent;
		uint64_t stop;
		int result = extent_from(share, number, type, first, &extent);

		if (result == -ENOENT || (result == 0 && extent.file_block >= end))
			return 0;
		if (result)
			return result;
		if (cut->extents >= CUT_MAX) {
			cut->more = true;
			return 0;
		}
		stop = end;
		if (extent.flags & EXTENT_SHARED)
			result = alike(share, &extent, first, &stop);
		if (result == 0)
			result = cut_one(share, number, type, extent, first, stop, cut);
		if (result)
			return result;
		first = extent.file_block + extent.count;
		first = first < stop ? first : stop;
	}
	return 0;
}

/* ---- space ---- */
static int space_put(struct share *share, uint8_t type, uint64_t block, uint64_t count)
{
	struct key key = {SPACE_OBJECT, type, block};
	uint8_t value[8];

	put64(value, count);
	return store_put(share->store, &key, value, sizeof(value));
}

static int space_decode(struct share *share, const struct key *key, const uint8_t *value,
			size_t length, uint64_t *ret_count)
{
	uint64_t end = share->store->sb.volume_blocks;

	if (length != 8)
		return -EUCLEAN;
	*ret_count = get64(value);
	if (*ret_count == 0 || key->offset < share->store->sb.data_start || key->offset >= end ||
	    *ret_count > end - key->offset)
		return -EUCLEAN;
	return 0;
}

/* The first piece of free space at or behind *block. */
static int space_from(struct share *share, uint64_t *block, uint64_t *ret_count)
{
	struct key key = {SPACE_OBJECT, KEY_FREE, *block};
	const uint8_t *value;
	size_t length;
	int result = btree_next(share->store, &key, &value, &length);

	if (result)
		return result;
	if (key.object != SPACE_OBJECT || key.type != KEY_FREE)
		return -ENOENT;
	*block = key.offset;
	return space_decode(share, &key, value, length, ret_count);
}

/* Next fit: the first piece long enough behind the last one, or the longest of those seen. */
static int space_search(struct share *share, uint32_t want, uint64_t *ret_block,
			uint64_t *ret_count)
{
	uint64_t at = share->alloc_cursor;
	bool wrapped = at == 0;

	*ret_count = 0;
	for (unsigned seen = 0; seen < SEARCH_MAX && *ret_count < want; seen++) {
		uint64_t count;
		int result = space_from(share, &at, &count);

		if (result == -ENOENT && !wrapped) {
			wrapped = true;
			at = 0;
			continue;
		}
		if (result == -ENOENT)
			break;
		if (result)
			return result;
		if (count > *ret_count) {
			*ret_block = at;
			*ret_count = count;
		}
		at += count;
	}
	return *ret_count ? 0 : -ENOSPC;
}

int blocks_take(struct share *share, uint32_t want, uint64_t *ret_block, uint32_t *ret_count)
{
	uint64_t block = 0, count;
	struct key key = {SPACE_OBJECT, KEY_FREE, 0};
	int result = space_search(share, want, &block, &count);

	if (result)
		return result;
	key.offset = block;
	result = store_delete(share->store, &key);
	if (result == 0 && count > want)
		result = space_put(share, KEY_FREE, block + want, count - want);
	if (result)
		return result;
	*ret_block = block;
	*ret_count = count < want ? (uint32_t)count : want;
	share->alloc_cursor = block + *ret_count;
	share->store->counters[COUNT_FREE_BLOCKS] -= *ret_count;
	return 0;
}

int blocks_free(struct share *share, uint64_t block, uint64_t count)
{
	share->store->counters[COUNT_FREE_BLOCKS] += count;
	share->discard_wanted = true;
	return space_put(share, KEY_PENDING, block, count);
}

/* Free space [block, block + count), joined with its neighbours. */
int blocks_return(struct share *share, uint64_t block, uint64_t count)
{
	struct key key = {SPACE_OBJECT, KEY_PENDING, block};
	const uint8_t *value;
	size_t length;
	uint64_t other;
	int result = store_delete(share->store, &key);

	if (result)
		return result;
	key = (struct key){SPACE_OBJECT, KEY_FREE, block};
	result = btree_previous(share->store, &key, &value, &length);
	if (result == 0 && key.object == SPACE_OBJECT && key.type == KEY_FREE) {
		result = space_decode(share, &key, value, length, &other);
		if (result == 0 && key.offset + other == block) {
			result = store_delete(share->store, &key);
			block = key.offset;
			count += other;
		}
	}
	if (result && result != -ENOENT)
		return result;
	key = (struct key){SPACE_OBJECT, KEY_FREE, block + count};
	result = btree_get(share->store, &key, &value, &length);
	if (result == 0) {
		result = space_decode(share, &key, value, length, &other);
		if (result == 0)
			result = store_delete(share->store, &key);
		count += other;
	}
	if (result && result != -ENOENT)
		return result;
	return space_put(share, KEY_FREE, block, count);
}

bool blocks_wait(struct share *share)
{
	struct store *store = share->store;
	struct waiter waiter;
	bool hope;

	store_lock(store);
	hope = share->keepers && !share->stopping &&
	       (share->discard_wanted || share->discarding || share->reap_wanted);
	if (hope) {
		share_keeper_kick(share);
		waiter_wait(store, &waiter, &share->space);
	}
	store_unlock(store);
	return hope;
}

int quota_check(const struct share *share, uint64_t more)
{
	const struct store *store = share->store;
	uint64_t quota = store->quota_blocks;

	if (!more) /* what a file has already it may write, also over a quota made smaller */
		return 0;
	return quota && store->counters[COUNT_USED_BLOCKS] + more > quota ? -EDQUOT : 0;
}

uint64_t share_pool_room(const struct share *share)
{
	struct pool_info info = {0};

	if (share->volume->pool)
		pool_get_info(share->volume->pool, &info);
	if (info.size_bytes == 0)
		return UINT64_MAX;
	if (share->volume->mirror)
		return info.mirror_free_bytes;
	return info.free_bytes > info.reserved_bytes ? info.free_bytes - info.reserved_bytes : 0;
}

/* What there is: the quota, the pool's room, the volume's addresses; the least of them. */
void share_fsstat(struct share *share, struct vfs_fsstat *ret_fsstat)
{
	struct store *store = share->store;
	uint64_t used = store->counters[COUNT_USED_BLOCKS] * BLOCK_SIZE; /* by each owner */
	uint64_t taken = used - store->counters[COUNT_SHARED_BLOCKS] * BLOCK_SIZE;
	uint64_t free = store->counters[COUNT_FREE_BLOCKS] * BLOCK_SIZE;
	uint64_t quota = store->quota_blocks * BLOCK_SIZE;
	uint64_t inodes = store->counters[COUNT_INODES], room = share_pool_room(share);

	if (room < free)
		free = room;
	if (quota && free > (quota > used ? quota - used : 0))
		free = quota > used ? quota - used : 0;
	*ret_fsstat = (struct vfs_fsstat){.total_bytes = quota ? quota : taken + free,
					  .free_bytes = free,
					  .available_bytes = free,
					  .total_files = inodes + (1ull << 32),
					  .free_files = 1ull << 32,
					  .available_files = 1ull << 32};
}
