/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/native.h"

/* Space: 16 bits per chunk, all leaves in memory while the pool is open (2 MiB per TiB written).
 * used[] is what the next checkpoint will hold; held[] keeps space from being allocated for
 * reasons the disk need not know: taken but not yet used, freed but in quarantine, or no data
 * chunk at all (metadata, past the end). */

static bool is_meta(const struct native *native, uint64_t chunk)
{
	const struct ag *ag = &native->ag[ag_of(native, chunk)];

	return chunk - ag->first < ag->meta;
}

bool space_chunk_is_data(const struct native *native, uint64_t chunk)
{
	return chunk < native->chunks && !is_meta(native, chunk);
}

void space_leaf_init(struct native *native, struct node *node)
{
	uint64_t first = node->index * SPACE_CHUNKS;

	node->body->space.free = 0;
	for (unsigned i = 0; i < SPACE_CHUNKS; i++) {
		if (space_chunk_is_data(native, first + i))
			node->body->space.free++;
		else
			node->body->space.held[i] = 0xffff;
	}
	if (native->space)
		native->space[node->index] = node;
}

void meta_leaf_init(struct native *native, struct node *node)
{
	struct ag *ag = &native->ag[node->index];

	for (unsigned i = 0; i < SPACE_CHUNKS; i++)
		if (i >= ag->meta)
			node->body->space.held[i] = 0xffff;
	ag->node = node;
}

/* The chunks of a row in a leaf: [*ret_from, *ret_to), by their place in it. */
static void part_of(const struct pv *pv, uint64_t leaf, unsigned *ret_from, unsigned *ret_to)
{
	uint64_t first = leaf * SPACE_CHUNKS, end = first + SPACE_CHUNKS;
	uint64_t row = pv->format.first_chunk, row_end = row + pv->format.chunks;

	*ret_from = row > first ? (unsigned)(row - first) : 0;
	*ret_to = row_end < end ? (unsigned)(row_end - first) : SPACE_CHUNKS;
}

static void count_row(struct native *native, struct pv *pv)
{
	uint64_t end = pv->format.first_chunk + pv->format.chunks;

	pv->free_chunks = pv->data_chunks;
	for (uint64_t leaf = pv->format.first_chunk / SPACE_CHUNKS; leaf * SPACE_CHUNKS < end;
	     leaf++) {
		struct node *node = native->space[leaf];
		unsigned from, to;

		if (!node)
			continue;
		part_of(pv, leaf, &from, &to);
		for (unsigned i = from; i < to; i++) {
			if (node->body->space.held[i] || !node->body->space.used[i])
				continue;
			node->body->space.free--;
			pv->free_chunks--;
			native->chunks_used += !pv_forward(pv, leaf * SPACE_CHUNKS + i);
		}
	}
}

static void count_used(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++)
		count_row(native, &native->pv[i]);
	for (uint64_t i = 0; i < native->ag_count; i++)
		for (unsigned j = 0; native->ag[i].node && j < native->ag[i].meta; j++)
			native->meta_used +=
			    (uint64_t)__builtin_popcount(native->ag[i].node->body->space.used[j]);
}

/* What the rows have to give, from what is free in each. */
void space_totals(struct native *native)
{
	native->chunks_total = native->chunks_free = native->meta_total = 0;
	native->active_devices = 0;
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];

		if (!pv->allocates)
			continue;
		if (pv->device == pv)
			pv->ordinal = native->active_devices++;
		native->chunks_total += pv->data_chunks - pv->moved; /* theirs are elsewhere */
		native->chunks_free += pv->free_chunks;
		native->meta_total += pv->meta_chunks * CHUNK_SLOTS;
	}
	native->slop_chunks = native->chunks_total * 3 / 100;
	native->slop_pairs = balance_pairs(native, false) * 3 / 100;
}

static void count_chunks(struct native *native, uint64_t first_ag)
{
	for (uint64_t i = first_ag; i < native->ag_count; i++) {
		const struct ag *ag = &native->ag[i];

		native->pv[ag->pv].data_chunks += ag->chunks - ag->meta;
		native->pv[ag->pv].meta_chunks += ag->meta;
	}
}

int space_setup(struct native *native)
{
	count_chunks(native, 0);
	native->log_chunk[0] = native->log_chunk[1] = CHUNK_NONE;
	for (unsigned i = 0; i < native->pv_count; i++)
		native->pv_cursor[i] = native->pv[i].format.first_chunk;
	count_used(native);
	space_totals(native);
	return 0;
}

/* The leaf that held the last chunks there were ends with some of the new ones. */
void space_activate(struct native *native, unsigned first, uint64_t before)
{
	uint64_t leaf = before / SPACE_CHUNKS, chunk = before, first_ag = ag_of(native, before);
	struct node *node = before % SPACE_CHUNKS ? native->space[leaf] : NULL;

	for (; node && chunk < native->chunks && chunk < (leaf + 1) * SPACE_CHUNKS; chunk++)
		if (space_chunk_is_data(native, chunk)) {
			node->body->space.held[chunk % SPACE_CHUNKS] = 0;
			node->body->space.free++;
		}
	count_chunks(native, first_ag);
	for (unsigned i = first; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];

		native->pv_cursor[i] = pv->format.first_chunk;
		pv->free_chunks = pv->data_chunks;
		pv->allocates = true;
	}
	space_totals(native);
}

/* A leaf that is not there is all free: make it. */
static struct node *leaf_of(struct native *native, uint64_t chunk)
{
	struct node *node = native->space[chunk / SPACE_CHUNKS];

	if (!node &&
	    tree_find(&native->tree[ROOT_SPACE], chunk / SPACE_CHUNKS, true, NULL, &node) < 0)
		return NULL;
	return node;
}

/* What is neither used nor held moves the counts of free chunks. */
static void set_bits(struct native *native, struct node *node, uint64_t chunk, uint16_t used,
		     uint16_t held)
{
	struct pv *pv = native->pv_count > 1 ? pv_of(native, chunk) : &native->pv[0];
	unsigned i = chunk % SPACE_CHUNKS;
	bool was_free = !node->body->space.used[i] && !node->body->space.held[i];
	bool was_used = node->body->space.used[i] != 0;
	uint64_t forward = pv_forward(pv, chunk);
	uint16_t before = node->body->space.used[i];

	/* Whole chunks have one owner; who shares one with others may have it alone now, or not. */
	if (used != before && ((before && before != 0xffff) || (used && used != 0xffff)))
		native->partial_changes++;
	node->body->space.used[i] = used;
	node->body->space.held[i] = held;
	if (was_free != (!used && !held)) {
		node->body->space.free += was_free ? -1u : 1u;
		pv->free_chunks += was_free ? UINT64_MAX : 1;
		if (pv->allocates)
			native->chunks_free += was_free ? UINT64_MAX : 1;
	}
	if (was_used != (used != 0) && (!forward || forward & FORWARD_BUSY)) {
		native->chunks_used += was_used ? UINT64_MAX : 1;
		native->slop_taken -= was_used && native->slop_taken;
	}
}

/* The first wholly free chunk of [@from, @end). */
static uint64_t find_free(struct native *native, uint64_t from, uint64_t end)
{
	while (from < end) {
		struct node *node = leaf_of(native, from);
		uint64_t stop = (from / SPACE_CHUNKS + 1) * SPACE_CHUNKS;

		if (!node)
			return CHUNK_NONE;
		stop = stop < end ? stop : end;
		for (; from < stop && node->body->space.free; from++)
			if (!node->body->space.used[from % SPACE_CHUNKS] &&
			    !node->body->space.held[from % SPACE_CHUNKS])
				return from;
		from = stop;
	}
	return CHUNK_NONE;
}

static uint64_t take_from_pv(struct native *native, unsigned index)
{
	const struct format_pv *pv = &native->pv[index].format;
	uint64_t end = pv->first_chunk + pv->chunks;
	uint64_t chunk = CHUNK_NONE;

	if (!native->pv[index].allocates || !native->pv[index].free_chunks)
		return chunk;
	chunk = find_free(native, native->pv_cursor[index], end);
	if (chunk == CHUNK_NONE)
		chunk = find_free(native, pv->first_chunk, native->pv_cursor[index]);
	if (chunk == CHUNK_NONE)
		return chunk;
	native->pv_cursor[index] = chunk + 1 < end ? chunk + 1 : pv->first_chunk;
	return chunk;
}

/* How many chunks a volume takes from one PV before it moves on to the next: 16 MiB. */
#define PV_STRIDE 256

static uint64_t take_from_any(struct native *native, unsigned first)
{
	uint64_t chunk = CHUNK_NONE;

	for (unsigned i = 0; i < native->pv_count && chunk == CHUNK_NONE; i++)
		if (balance_takes(&native->pv[(first + i) % native->pv_count]))
			chunk = take_from_pv(native, (first + i) % native->pv_count);
	return chunk;
}

/* For @volume, from row @turn where there is no reason for another. */
static uint64_t take_first(struct native *native, const struct nvolume *volume, enum room room,
			   unsigned turn)
{
	unsigned row = balance_first(native, volume, room, turn);

	return row < native->pv_count ? take_from_any(native, row) : CHUNK_NONE;
}

uint64_t space_take_second(struct native *native, uint64_t chunk)
{
	unsigned row = balance_second(native, pv_of(native, pv_resolve(native, chunk)));

	chunk = row < native->pv_count ? take_from_pv(native, row) : CHUNK_NONE;
	if (chunk != CHUNK_NONE)
		set_bits(native, leaf_of(native, chunk), chunk, 0, 0xffff);
	return chunk;
}

/* What is held of @chunk has a second chunk, or is given back. */
static int pair(struct native *native, const struct nvolume *volume, uint64_t chunk, uint16_t mask)
{
	int result = volume->volume.mirror ? mirror_pair(native, chunk) : 0;

	if (result < 0)
		space_unhold(native, chunk, mask);
	return result;
}

int space_take_chunk(struct native *native, struct nvolume *volume, enum room room,
		     struct waiter *waiter, uint64_t *ret_chunk)
{
	int result = volume->volume.mirror ? journal_reserve(native, waiter) : 0;
	uint64_t chunk;

	if (result < 0)
		return result;
	if (!reserve_room(native, volume, room))
		return -ENOSPC;
	if (volume->pv_left == 0 || !balance_takes(&native->pv[volume->pv])) {
		volume->pv = balance_turn(native);
		volume->pv_left = PV_STRIDE;
	}
	volume->pv_left--;
	chunk = take_first(native, volume, room, volume->pv);
	if (chunk == CHUNK_NONE)
		return -ENOSPC;
	set_bits(native, leaf_of(native, chunk), chunk, 0, 0xffff);
	result = pair(native, volume, chunk, 0xffff);
	if (result < 0)
		return result;
	reserve_taken(native, volume, room);
	*ret_chunk = chunk;
	return 0;
}

int space_take_target(struct native *native, uint64_t avoid, uint64_t *ret_chunk)
{
	unsigned row = balance_target(native, avoid);
	uint64_t chunk = row < native->pv_count ? take_from_pv(native, row) : CHUNK_NONE;

	if (chunk == CHUNK_NONE)
		return -ENOSPC;
	set_bits(native, leaf_of(native, chunk), chunk, 0, 0xffff);
	/* free, but its number still stands for another, or has a pair */
	if (pv_forward(pv_of(native, chunk), chunk) || mirror_of(native, chunk)) {
		space_unhold(native, chunk, 0xffff);
		return -EAGAIN;
	}
	*ret_chunk = chunk;
	return 0;
}

void space_uncount(struct native *native, uint64_t chunk)
{
	native->chunks_used -= space_chunk_holds(native, chunk);
}

/* Used and held bits of a chunk, whatever it is for. */
static void bits_of(const struct native *native, uint64_t chunk, uint16_t *ret_used,
		    uint16_t *ret_held)
{
	const struct ag *ag = &native->ag[ag_of(native, chunk)];
	const struct node *node = native->space[chunk / SPACE_CHUNKS];
	uint64_t i = chunk % SPACE_CHUNKS;

	if (chunk - ag->first < ag->meta) {
		node = ag->node;
		i = chunk - ag->first;
	}
	*ret_used = node ? node->body->space.used[i] : 0;
	*ret_held = node ? node->body->space.held[i] : 0;
}

bool space_chunk_holds(const struct native *native, uint64_t chunk)
{
	uint16_t used, held;

	bits_of(native, chunk, &used, &held);
	return used != 0;
}

bool space_chunk_in_use(const struct native *native, uint64_t chunk)
{
	uint16_t used, held;

	bits_of(native, chunk, &used, &held);
	return (used | held) != 0;
}

uint16_t space_used_slots(const struct native *native, uint64_t chunk)
{
	uint16_t used, held;

	bits_of(native, chunk, &used, &held);
	return used;
}

uint16_t space_held_slots(const struct native *native, uint64_t chunk)
{
	uint16_t used, held;

	bits_of(native, chunk, &used, &held);
	return held;
}

static uint16_t run_mask(unsigned first, unsigned count)
{
	return (uint16_t)(((1u << count) - 1) << first);
}

/* @count free slots in a row in @chunk, or -1. */
static int free_run(struct native *native, uint64_t chunk, unsigned count)
{
	struct node *node = leaf_of(native, chunk);
	unsigned i = chunk % SPACE_CHUNKS;
	uint16_t taken;

	if (!node ||
	    (native->active_devices != native->pv_count && !pv_of(native, chunk)->allocates))
		return -1;
	taken = node->body->space.used[i] | node->body->space.held[i];
	for (unsigned first = 0; first + count <= CHUNK_SLOTS; first++)
		if (!(taken & run_mask(first, count)))
			return (int)first;
	return -1;
}

/* A chunk in part use with room: looked for a bounded number of steps from where we were, but where
 * another can not be had. */
static uint64_t find_partial(struct native *native, bool mirror, unsigned count, bool room)
{
	uint64_t looks = room && native->chunks_free > native->slop_chunks ? 64 : native->chunks;

	for (; looks--; native->log_scan = (native->log_scan + 1) % native->chunks) {
		struct node *node = native->space[native->log_scan / SPACE_CHUNKS];

		if (node && node->body->space.used[native->log_scan % SPACE_CHUNKS] &&
		    !away_has(native, native->log_scan) &&
		    free_run(native, native->log_scan, count) >= 0 &&
		    (mirror_of(native, native->log_scan) != 0) == mirror)
			return native->log_scan;
	}
	return CHUNK_NONE;
}

int space_take_slots(struct native *native, struct nvolume *volume, unsigned count, enum room room,
		     struct waiter *waiter, uint64_t *ret_slot)
{
	bool mirror = volume->volume.mirror, has_room = reserve_room(native, volume, room);
	int first, result = mirror ? journal_reserve(native, waiter) : 0;
	uint64_t chunk = native->log_chunk[mirror];
	bool fresh = false;
	struct node *node;
	uint16_t mask;

	if (result < 0)
		return result;
	if (room == ROOM_PLAIN && !has_room)
		return -ENOSPC;
	if (chunk == CHUNK_NONE || away_has(native, chunk) ||
	    (mirror_of(native, chunk) != 0) != mirror || free_run(native, chunk, count) < 0)
		chunk = find_partial(native, mirror, count, has_room);
	if (chunk == CHUNK_NONE && has_room) {
		chunk = take_first(native, volume, room, balance_turn(native));
		fresh = chunk != CHUNK_NONE;
	}
	if (chunk == CHUNK_NONE)
		return -ENOSPC;
	node = leaf_of(native, chunk);
	first = free_run(native, chunk, count);
	mask = run_mask((unsigned)first, count);
	set_bits(native, node, chunk, node->body->space.used[chunk % SPACE_CHUNKS],
		 node->body->space.held[chunk % SPACE_CHUNKS] | mask);
	result = pair(native, volume, chunk, mask);
	if (result < 0)
		return result;
	if (fresh)
		reserve_taken(native, volume, room);
	native->log_chunk[mirror] = chunk;
	*ret_slot = chunk * CHUNK_SLOTS + (unsigned)first;
	return 0;
}

void space_unhold(struct native *native, uint64_t chunk, uint16_t mask)
{
	struct node *node = leaf_of(native, chunk);
	unsigned i = chunk % SPACE_CHUNKS;

	set_bits(native, node, chunk, node->body->space.used[i],
		 node->body->space.held[i] & (uint16_t)~mask);
}

bool space_is_used(struct native *native, uint64_t slot)
{
	struct node *node = leaf_of(native, slot / CHUNK_SLOTS);

	return node &&
	       node->body->space.used[slot / CHUNK_SLOTS % SPACE_CHUNKS] & 1u << slot % CHUNK_SLOTS;
}

int space_touch(struct native *native, uint64_t chunk)
{
	struct node *node = leaf_of(native, chunk);

	return node ? node_touch(node) : -ENOMEM;
}

void space_use(struct native *native, uint64_t chunk, uint16_t mask)
{
	struct node *node = leaf_of(native, chunk);
	unsigned i = chunk % SPACE_CHUNKS;

	set_bits(native, node, chunk, node->body->space.used[i] | mask,
		 node->body->space.held[i] & (uint16_t)~mask);
}

int space_prepare_frees(struct native *native, unsigned count)
{
	for (; native->quarantine_spares < count; native->quarantine_spares++) {
		struct quarantine *item = heap_alloc(sizeof(*item));

		if (!item)
			return -ENOMEM;
		list_push_back(&native->quarantine_spare, &item->link);
	}
	return 0;
}

static struct quarantine *hold_freed(struct native *native, uint64_t chunk, uint16_t mask)
{
	struct quarantine *item =
	    list_entry(list_pop_front(&native->quarantine_spare), struct quarantine, link);
	struct node *node = leaf_of(native, chunk);
	unsigned i = chunk % SPACE_CHUNKS;

	native->quarantine_spares--;
	set_bits(native, node, chunk, node->body->space.used[i] & (uint16_t)~mask,
		 node->body->space.held[i] | mask);
	*item = (struct quarantine){.chunk = chunk, .mask = mask, .ticket = native->next_ticket};
	return item;
}

void space_free(struct native *native, uint64_t chunk, uint16_t mask, uint64_t lsn)
{
	struct quarantine *item = hold_freed(native, chunk, mask);

	item->lsn = lsn;
	list_push_back(&native->quarantine, &item->link);
}

void space_retire(struct native *native, uint64_t chunk, uint16_t mask)
{
	struct quarantine *item = hold_freed(native, chunk, mask);

	item->generation = native->generation;
	list_push_back(&native->retired, &item->link);
	native->retired_count++;
}

bool space_retired_presses(const struct native *native)
{
	return native->retired_count > 64 && native->retired_count * 4 > native->chunks_free;
}

/* By then their records are confirmed; readers there may be. */
void space_retired_release(struct native *native)
{
	while (!list_empty(&native->retired)) {
		struct quarantine *item = list_entry(native->retired.next, struct quarantine, link);

		if (item->generation + ORDER(retired_until_next_root) > native->sb.generation)
			break;
		list_remove(&item->link);
		list_push_back(&native->quarantine, &item->link);
		native->retired_count--;
	}
	space_release(native);
}

static void forget_freed(struct list *list, uint64_t chunk, uint16_t mask)
{
	list_for_each (it, list) {
		struct quarantine *item = list_entry(it, struct quarantine, link);

		if (item->chunk == chunk)
			item->mask &= (uint16_t)~mask;
	}
}

/* Rare: the undo of a failed write. The quarantine still holds the slots. */
void space_unfree(struct native *native, uint64_t chunk, uint16_t mask)
{
	struct node *node = leaf_of(native, chunk);
	unsigned i = chunk % SPACE_CHUNKS;

	forget_freed(&native->quarantine, chunk, mask);
	forget_freed(&native->retired, chunk, mask);
	set_bits(native, node, chunk, node->body->space.used[i] | mask,
		 node->body->space.held[i] & (uint16_t)~mask);
}

/* Each slot that is held is one item's, the newest of @list; what is used again is no item's. What
 * is retired has to wait longest: it claims first. */
static void claim(struct native *native, struct list *list)
{
	for (struct list *it = list->prev; it != list; it = it->prev) {
		struct quarantine *item = list_entry(it, struct quarantine, link);
		struct node *node = leaf_of(native, item->chunk);

		item->mask &= node->body->space.held[item->chunk % SPACE_CHUNKS];
		node->body->space.held[item->chunk % SPACE_CHUNKS] &= (uint16_t)~item->mask;
	}
}

static void hold_claimed(struct native *native, const struct list *list)
{
	list_for_each (it, list) {
		struct quarantine *item = list_entry(it, struct quarantine, link);

		leaf_of(native, item->chunk)->body->space.held[item->chunk % SPACE_CHUNKS] |=
		    item->mask;
	}
}

void space_replayed(struct native *native)
{
	if (!ORDER(replayed_is_held_once))
		return;
	claim(native, &native->retired);
	claim(native, &native->quarantine);
	hold_claimed(native, &native->retired);
	hold_claimed(native, &native->quarantine);
}

static uint64_t oldest_reader(const struct native *native)
{
	if (list_empty(&native->readers))
		return UINT64_MAX;
	return list_entry(native->readers.next, struct reader, link)->ticket;
}

void space_release(struct native *native)
{
	uint64_t readers = oldest_reader(native);

	while (!list_empty(&native->quarantine)) {
		struct quarantine *item =
		    list_entry(native->quarantine.next, struct quarantine, link);
		uint64_t chunk;

		if (ORDER(quarantine_waits_for_confirm) && item->lsn > native->journal.confirmed)
			break;
		if (item->ticket > readers)
			break; /* they would only see a wrong crc and look again; spare them */
		chunk = item->chunk;
		space_unhold(native, chunk, item->mask);
		list_remove(&item->link);
		if (native->quarantine_spares >= 4096) {
			heap_free(item);
		} else {
			list_push_front(&native->quarantine_spare, &item->link);
			native->quarantine_spares++;
		}
		mirror_drop(native, chunk); /* the pair before what says where it is (forward.c) */
		forward_drop(native, chunk);
	}
}

/* ---- metadata space: only the checkpoint allocates and frees here ---- */
/* Nothing new goes to a chunk that has moved: the FORWARD tree is read before it is known. */
static bool meta_taken(const struct native *native, const struct ag *ag, unsigned slot)
{
	const struct node *node = ag->node;
	unsigned i = slot / CHUNK_SLOTS;

	if (pv_forward(&native->pv[ag->pv], ag->first + i))
		return true;

	return node &&
	       (node->body->space.used[i] | node->body->space.held[i]) & 1u << slot % CHUNK_SLOTS;
}

/* Sixteen at a time, where nothing is free. */
static bool meta_chunk_taken(const struct native *native, const struct ag *ag, unsigned chunk)
{
	const struct node *node = ag->node;

	if (pv_forward(&native->pv[ag->pv], ag->first + chunk))
		return true;
	return node && (node->body->space.used[chunk] | node->body->space.held[chunk]) == 0xffff;
}

/* hint[0] slots at the front and hint[1] at the back are known to be taken. */
static int find_slots(const struct native *native, struct ag *ag, unsigned slots, bool backwards)
{
	unsigned total = (unsigned)(ag->meta * CHUNK_SLOTS), run = 0;
	unsigned *hint = &ag->hint[backwards];
	bool all_taken = true;

	for (unsigned i = *hint; i < total; i++) {
		unsigned slot = backwards ? total - 1 - i : i;
		bool whole =
		    i % CHUNK_SLOTS == 0 && meta_chunk_taken(native, ag, slot / CHUNK_SLOTS);

		if (whole)
			i += CHUNK_SLOTS - 1;
		if (whole || meta_taken(native, ag, slot)) {
			run = 0;
			if (all_taken)
				*hint = i + 1;
			continue;
		}
		all_taken = false;
		if (++run == slots)
			return (int)(backwards ? slot : slot - slots + 1);
	}
	return -1;
}

static int meta_set(struct native *native, struct ag *ag, unsigned first, unsigned slots, bool used)
{
	if (!ag->node && tree_find(&native->tree[ROOT_META], (uint64_t)(ag - native->ag), true,
				   NULL, &ag->node) < 0)
		return -ENOMEM;
	for (unsigned slot = first; slot < first + slots; slot++) {
		uint16_t bit = (uint16_t)(1u << slot % CHUNK_SLOTS);

		if (used)
			ag->node->body->space.used[slot / CHUNK_SLOTS] |= bit;
		else
			ag->node->body->space.used[slot / CHUNK_SLOTS] &= (uint16_t)~bit;
		if (!used)
			ag->node->body->space.held[slot / CHUNK_SLOTS] |= bit;
	}
	native->meta_used += used ? slots : -(uint64_t)slots;
	node_mark_dirty(ag->node);
	return 0;
}

/* Does @ag suit copy @copy of a node whose other copy is at @other? The first pass keeps to one
 * half of the devices for each copy, so that a device holds not both; the second to another device
 * at least; the last takes what there is. */
static bool meta_suits(const struct native *native, const struct ag *ag, unsigned pass,
		       unsigned copy, uint64_t other)
{
	const struct pv *pv = &native->pv[ag->pv];

	if (copy && !pv_is_here(pv) && away_has(native, other / CHUNK_SLOTS))
		return false; /* it would be nowhere */
	if (!pv->allocates || (native->active_devices < 2 && pass < 2))
		return false;
	if (pass == 0)
		return pv->device->ordinal % 2 == copy;
	return pass == 2 || copy == 0 || pv->device != pv_of(native, other / CHUNK_SLOTS)->device;
}

/* Copy 0 of small nodes grows from the front of an AG's metadata chunks, copy 1 and large nodes
 * from the back; on several PVs the copies are on different ones. */
int meta_allocate(struct native *native, unsigned slots, unsigned copy, uint64_t other,
		  uint64_t *ret_address)
{
	for (unsigned pass = native->active_devices > 1 ? 0 : 2; pass < 3; pass++)
		for (uint64_t i = 0; i < native->ag_count; i++) {
			struct ag *ag = &native->ag[i];
			int first;

			if (!meta_suits(native, ag, pass, copy, other))
				continue;
			first = find_slots(native, ag, slots, copy == 1 || slots > 1);
			if (first < 0)
				continue;
			*ret_address = ag->first * CHUNK_SLOTS + (unsigned)first;
			return meta_set(native, ag, (unsigned)first, slots, true);
		}
	return -ENOSPC;
}

void meta_free(struct native *native, uint64_t address, unsigned slots)
{
	struct ag *ag = &native->ag[ag_of(native, address / CHUNK_SLOTS)];
	struct meta_extent *extent;

	if (address < ag->first * CHUNK_SLOTS ||
	    address + slots > (ag->first + ag->meta) * CHUNK_SLOTS)
		return; /* a damaged pointer: leave it to the check */
	meta_set(native, ag, (unsigned)(address - ag->first * CHUNK_SLOTS), slots, false);
	extent = heap_alloc(sizeof(*extent));
	if (!extent)
		return; /* stays held until the next open: leaks nothing on disk */
	extent->address = address;
	extent->slots = slots;
	list_push_back(&native->meta_freed[0], &extent->link);
}

/* Old and new tree of two generations have to fit beside each other: three times what lives. */
bool meta_room(const struct native *native, unsigned nodes)
{
	return (native->meta_used + 2 * (native->meta_pending + nodes)) * 3 <= native->meta_total;
}
