/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/evacuate.h"

/* A table with open addressing, at most half full; chunk CHUNK_NONE is an empty slot. */

#define ROOM_FIRST 256u

static struct chunkbit *slot_of(const struct chunkbits *set, uint64_t chunk)
{
	uint64_t at = chunk * 0x9e3779b97f4a7c15ull >> 20 & (set->room - 1);

	while (set->slots[at].chunk != chunk && set->slots[at].chunk != CHUNK_NONE)
		at = (at + 1) & (set->room - 1);
	return &set->slots[at];
}

static int grow(struct chunkbits *set)
{
	struct chunkbits larger = {.room = set->room ? set->room * 2 : ROOM_FIRST,
				   .count = set->count};

	larger.slots = heap_zalloc_array(larger.room, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < larger.room; i++)
		larger.slots[i] = (struct chunkbit){.chunk = CHUNK_NONE};
	for (uint64_t i = 0; i < set->room; i++)
		if (set->slots[i].chunk != CHUNK_NONE)
			*slot_of(&larger, set->slots[i].chunk) = set->slots[i];
	heap_free(set->slots);
	*set = larger;
	return 0;
}

int chunkbits_add(struct chunkbits *set, uint64_t chunk, uint64_t bits)
{
	struct chunkbit *slot;

	if (set->count * 2 >= set->room && grow(set) < 0)
		return -ENOMEM;
	slot = slot_of(set, chunk);
	set->count += slot->chunk == CHUNK_NONE;
	slot->chunk = chunk;
	slot->bits |= bits;
	return 0;
}

uint64_t chunkbits_of(const struct chunkbits *set, uint64_t chunk)
{
	return set->room ? slot_of(set, chunk)->bits : 0;
}

void chunkbits_clear(struct chunkbits *set)
{
	heap_free(set->slots);
	*set = (struct chunkbits){0};
}
