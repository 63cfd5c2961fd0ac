/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/native.h"

/* Checksums of slots, by physical place, and hot regions.
 *
 * An in-place overwrite runs beside its journal record, so after a crash a slot may hold data
 * whose crc nobody knows. That is tolerated (the slot is summed again and counted) only in
 * regions marked hot, and the mark is durable before the first overwrite:
 *
 *   cold --first overwrite: HOT record--> warming --record durable--> hot
 *    ^                                                                 |
 *    +------ a checkpoint finds it untouched since the one before -----+
 *
 * A region is what one checksum leaf covers. */

int csum_find(struct native *native, uint64_t chunk, bool create, struct waiter *waiter,
	      struct node **ret_node)
{
	return tree_find(&native->tree[ROOT_CSUM], chunk / CSUM_CHUNKS, create, waiter, ret_node);
}

static int hot_list_room(struct native *native)
{
	uint64_t *grown;

	if (native->hot_count < native->hot_room)
		return 0;
	grown = heap_resize(native->hot_list, (native->hot_room * 2 + 64) * sizeof(uint64_t));
	if (!grown)
		return -ENOMEM;
	native->hot_list = grown;
	native->hot_room = native->hot_room * 2 + 64;
	return 0;
}

int csum_look_up(struct native *native, struct lane *lane, uint64_t chunk,
		 uint32_t expected[CHUNK_SLOTS], uint16_t *ret_wanted)
{
	for (;;) {
		struct fiber_waiter wait;
		struct node *sums = NULL;
		int result;

		fiber_waiter_init(&wait, lane);
		memset(expected, 0, CHUNK_SLOTS * sizeof(*expected));
		native_lock(native);
		result = csum_find(native, chunk, false, &wait.waiter, &sums);
		if (result == 0 && sums)
			memcpy(expected, csum_at(sums, chunk), CHUNK_SLOTS * sizeof(*expected));
		*ret_wanted = space_used_slots(native, chunk) | space_held_slots(native, chunk);
		native_unlock(lane);
		if (result == -EINPROGRESS)
			result = fiber_waiter_wait(&wait);
		else
			return result;
		if (result < 0)
			return result;
	}
}

int hot_set(struct native *native, uint64_t region, enum hot_state state)
{
	uint8_t *hot = &native->hot[region];

	if ((*hot & HOT_STATE) == HOT_COLD) {
		if (hot_list_room(native) < 0)
			return -ENOMEM;
		native->hot_list[native->hot_count++] = region;
	}
	*hot = (uint8_t)((*hot & ~HOT_STATE) | state | HOT_TOUCHED);
	return 0;
}

static int warm(struct native *native, uint64_t region, struct waiter *waiter)
{
	struct record record = {.type = RECORD_HOT, .where = region};
	struct warming *warming;
	int result = journal_reserve(native, waiter);

	if (result < 0)
		return result;
	warming = heap_alloc(sizeof(*warming));
	if (!warming || hot_set(native, region, HOT_WARMING) < 0) {
		heap_free(warming);
		return -ENOMEM;
	}
	warming->region = region;
	warming->lsn = journal_append(native, &record, 1);
	list_push_back(&native->warming, &warming->link);
	return 0;
}

int hot_check(struct native *native, uint64_t chunk, struct waiter *waiter)
{
	uint64_t region = chunk / CSUM_CHUNKS;
	uint8_t *hot = &native->hot[region];
	int result;

	if ((*hot & HOT_STATE) == HOT_HOT) {
		*hot |= HOT_TOUCHED;
		return 0;
	}
	if (!ORDER(hot_mark_before_overwrite))
		return 0;
	if ((*hot & HOT_STATE) == HOT_COLD) {
		result = warm(native, region, waiter);
		if (result < 0)
			return result;
	}
	flush_join(native, waiter);
	return -EINPROGRESS;
}

void hot_warmed(struct native *native, uint64_t durable_lsn)
{
	while (!list_empty(&native->warming)) {
		struct warming *warming = list_entry(native->warming.next, struct warming, link);

		if (warming->lsn > durable_lsn)
			return;
		hot_set(native, warming->region, HOT_HOT);
		list_remove(&warming->link);
		heap_free(warming);
	}
}

bool hot_suspect(const struct native *native, uint64_t chunk)
{
	return __atomic_load_n(&native->hot, __ATOMIC_ACQUIRE)[chunk / CSUM_CHUNKS] & HOT_SUSPECT;
}

void hot_look_done(struct native *native, uint64_t region)
{
	native->hot[region] &= (uint8_t)~HOT_SUSPECT;
}

/* Set or clear the bit of @region in the HOT tree. */
static int set_bit(struct native *native, uint64_t region, bool on)
{
	struct node *node;
	uint8_t *byte, bit = (uint8_t)(1u << region % 8);
	int result = tree_find(&native->tree[ROOT_HOT], region / HOT_REGIONS, on, NULL, &node);

	if (result < 0 || !node)
		return result;
	byte = &node->body->hot.bits[region % HOT_REGIONS / 8];
	if (!(*byte & bit) == !on)
		return 0;
	result = node_touch(node);
	if (result == 0)
		*byte ^= bit;
	return result;
}

int hot_freeze(struct native *native)
{
	size_t kept = 0;

	for (size_t i = 0; i < native->hot_count; i++) {
		uint64_t region = native->hot_list[i];
		uint8_t *hot = &native->hot[region];
		bool keep =
		    (*hot & (HOT_TOUCHED | HOT_SUSPECT)) || (*hot & HOT_STATE) == HOT_WARMING;
		int result = set_bit(native, region, keep && ORDER(checkpoint_keeps_hot_set));

		if (result < 0)
			return result;
		if (keep)
			native->hot_list[kept++] = region;
		*hot = keep ? (uint8_t)(*hot & ~HOT_TOUCHED) : HOT_COLD;
	}
	native->hot_count = kept;
	return 0;
}

int hot_setup(struct native *native)
{
	struct tree *tree = &native->tree[ROOT_HOT];
	uint64_t index = 0;
	struct node *node;

	for (;; index++) {
		if (tree_next(tree, index, NULL, &index) < 0 || index == UINT64_MAX)
			return 0;
		if (tree_find(tree, index, false, NULL, &node) < 0 || !node)
			continue;
		for (uint64_t i = 0; i < HOT_REGIONS; i++) {
			uint64_t region = index * HOT_REGIONS + i;

			if (!(node->body->hot.bits[i / 8] & 1u << i % 8) ||
			    region >= native->hot_regions)
				continue;
			if (hot_set(native, region, HOT_HOT) < 0)
				return -ENOMEM;
			if (!native->sb.clean) /* else nothing was in flight: rot is rot */
				native->hot[region] |= HOT_SUSPECT;
		}
	}
}
