/* SPDX-License-Identifier: Apache-2.0 */
/* bitmap.c: which blocks of the node area are in use. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "shares/order.h"
#include "shares/store.h"

int bitmap_need(struct store *store, uint64_t index, struct bitmap **ret_bitmap)
{
	if (!store->bitmaps[index])
		store->bitmaps[index] = heap_zalloc(sizeof(struct bitmap));
	*ret_bitmap = store->bitmaps[index];
	return *ret_bitmap ? 0 : -ENOMEM;
}

/* The first block free in all sets, from bit @from on; BITMAP_BITS: none. */
static unsigned first_free(const struct bitmap *bitmap, unsigned from)
{
	for (unsigned byte = from / 8; byte < BITMAP_BYTES; byte++) {
		unsigned taken = bitmap->frozen[byte] | bitmap->current[byte];

		if (KEEPS(share_live_blocks_held))
			taken |= bitmap->durable[byte];
		if (byte == from / 8)
			taken |= (1u << from % 8) - 1;
		if (taken != 0xff)
			return byte * 8 + (unsigned)__builtin_ctz(~taken);
	}
	return BITMAP_BITS;
}

int bitmap_take(struct store *store, uint64_t *ret_block)
{
	uint64_t first = store->bitmap_cursor / BITMAP_BITS;
	unsigned from = store->bitmap_cursor % BITMAP_BITS;

	for (uint64_t i = 0; i <= store->sb.bitmap_blocks; i++) {
		uint64_t index = (first + i) % store->sb.bitmap_blocks;
		struct bitmap *bitmap;
		unsigned bit;
		int result = bitmap_need(store, index, &bitmap);

		if (result)
			return result;
		bit = first_free(bitmap, from);
		from = 0;
		if (bit == BITMAP_BITS || index * BITMAP_BITS + bit >= store->sb.node_blocks)
			continue;
		bitmap->current[bit / 8] |= (uint8_t)(1u << bit % 8);
		bitmap->dirty = true;
		store->bitmap_cursor = index * BITMAP_BITS + bit;
		*ret_block = store->sb.node_start + store->bitmap_cursor;
		return 0;
	}
	return -ENOSPC;
}

void bitmap_give(struct store *store, uint64_t block)
{
	uint64_t bit = block - store->sb.node_start;
	struct bitmap *bitmap = store->bitmaps[bit / BITMAP_BITS];

	bit %= BITMAP_BITS;
	if (!bitmap) /* a damaged volume: the tree uses what the bitmap does not know */
		return;
	bitmap->current[bit / 8] &= (uint8_t) ~(1u << bit % 8);
	bitmap->dirty = true;
}

void bitmaps_freeze(struct store *store)
{
	for (uint64_t i = 0; i < store->sb.bitmap_blocks; i++) {
		struct bitmap *bitmap = store->bitmaps[i];

		if (!bitmap || !bitmap->dirty)
			continue;
		memcpy(bitmap->frozen, bitmap->current, BITMAP_BYTES);
		bitmap->dirty = false;
		bitmap->freezing = true;
	}
	store->bitmap_cursor = 0; /* keep to the low blocks: what was freed is used again */
}

void bitmaps_frozen_is_durable(struct store *store)
{
	for (uint64_t i = 0; i < store->sb.bitmap_blocks; i++) {
		struct bitmap *bitmap = store->bitmaps[i];

		if (!bitmap || !bitmap->freezing)
			continue;
		memcpy(bitmap->durable, bitmap->frozen, BITMAP_BYTES);
		bitmap->freezing = false;
	}
}
