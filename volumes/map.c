/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/native.h"

/* The map of a volume: 64 KiB chunk -> where its slots are. A compact entry owns its whole
 * physical chunk, so that its unmapped slots can be written without asking for space; an
 * exploded one owns each slot by itself.
 *
 * Snapshots. A slot knows the generation that first held it (a compact entry: for all its chunk).
 * Up to nvolume_limit() it belongs to the volume's parent, a snapshot: it is neither written in
 * place nor freed, and the free slots of a compact entry's chunk are not used. The map refers to
 * it all the same. Whoever replaces such a slot leaves it to the parent; when the parent goes,
 * map_reap() finds it by comparing the two maps. Maps never move a slot to another logical
 * place, so what is at the same place in both is all they share. */

static int find_leaf(struct nvolume *volume, uint64_t chunk, bool create, struct waiter *waiter,
		     struct node **ret_node, struct map_entry **ret_entry)
{
	int result = tree_find(&volume->map, chunk / MAP_CHUNKS, create, waiter, ret_node);

	*ret_entry = NULL;
	if (result == 0 && *ret_node)
		*ret_entry = &(*ret_node)->body->map.entry[chunk % MAP_CHUNKS];
	return result;
}

static bool summed(const struct nvolume *volume)
{
	return volume->volume.checksum != VOLUME_CHECKSUM_OFF;
}

/* ---- preparing: everything that may wait or fail ---- */
static int touch_csum(struct native *native, uint64_t chunk, bool create, struct waiter *waiter)
{
	struct node *node;
	int result;

	if (chunk >= native->chunks)
		return -EIO;
	result = csum_find(native, chunk, create, waiter, &node);
	if (result < 0)
		return result;
	return node ? node_touch(node) : -EIO;
}

/* The space leaves of the slots in @mask, and of the whole entry when it may be taken apart. */
static int touch_space(struct native *native, const struct map_entry *entry, uint16_t mask)
{
	uint64_t address;
	int result = 0;

	if (!entry->mask)
		return 0;
	if (!entry->slots)
		return space_touch(native, entry->chunk);
	for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0; slot++)
		if (mask & 1u << slot && map_slot(entry, slot, &address))
			result = space_touch(native, address / CHUNK_SLOTS);
	return result;
}

static int touch_overwritten(struct native *native, const struct map_entry *entry, uint16_t mask,
			     struct waiter *waiter)
{
	uint64_t address, last = CHUNK_NONE;
	int result = 0;

	for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0; slot++) {
		if (!(mask & 1u << slot) || !map_slot(entry, slot, &address) ||
		    address / CHUNK_SLOTS == last)
			continue;
		last = address / CHUNK_SLOTS;
		result = touch_csum(native, last, true, waiter);
	}
	return result;
}

static int prepare_spares(struct native *native)
{
	for (; native->slot_spares < 2 * RECORD_GROUP_MAX; native->slot_spares++) {
		uint64_t *slots = heap_zalloc(MAP_SLOTS_SIZE);

		if (!slots)
			return -ENOMEM;
		native->slot_spare[native->slot_spares] = slots;
	}
	if (space_prepare_frees(native, RECORD_GROUP_MAX * (CHUNK_SLOTS + 2)) < 0)
		return -ENOMEM;
	return unconfirmed_prepare(native, RECORD_GROUP_MAX);
}

int map_prepare(struct nvolume *volume, const struct record *record, struct waiter *waiter)
{
	struct native *native = volume->native;
	bool remap = record->type == RECORD_REMAP || record->type == RECORD_RESTORE;
	bool create = record->type == RECORD_MAP || record->type == RECORD_MAP_RUN || remap;
	struct node *node;
	struct map_entry *entry;
	int result = prepare_spares(native);

	if (result == 0)
		result = find_leaf(volume, record->chunk, create, waiter, &node, &entry);
	if (result < 0 || !node)
		return result;
	result = node_touch(node);
	nvolume_mark_dirty(volume); /* its root will move */
	if (result == 0 && record->type == RECORD_OVERWRITE)
		return touch_overwritten(native, entry, record->mask, waiter);
	if (result == 0)
		result = touch_space(native, entry, record->mask);
	if (result == 0 && record->type == RECORD_MAP) {
		result = space_touch(native, record->where);
		return result < 0 || !summed(volume)
			   ? result
			   : touch_csum(native, record->where, true, waiter);
	}
	if (result == 0 && record->type == RECORD_MAP_RUN) {
		result = space_touch(native, record->where / CHUNK_SLOTS);
		return result < 0 || !summed(volume)
			   ? result
			   : touch_csum(native, record->where / CHUNK_SLOTS, true, waiter);
	}
	for (unsigned slot = 0; result == 0 && remap && slot < CHUNK_SLOTS; slot++)
		if (record->mask & 1u << slot)
			result = space_touch(native, record->slot[slot] / CHUNK_SLOTS);
	return result;
}

/* ---- applying ---- */
struct freeing {
	struct native *native;
	bool summed;
	uint64_t limit;   /* what is not younger belongs to the parent */
	uint64_t retired; /* what is not younger was a snapshot's that is being deleted */
	uint64_t chunk, lsn;
	uint16_t mask;
	bool retire; /* the run in @mask */
};

static void free_flush(struct freeing *freeing)
{
	if (freeing->mask && freeing->retire)
		space_retire(freeing->native, freeing->chunk, freeing->mask);
	else if (freeing->mask)
		space_free(freeing->native, freeing->chunk, freeing->mask, freeing->lsn);
	freeing->mask = 0;
}

static void free_slot(struct freeing *freeing, uint64_t address, uint64_t birth)
{
	bool retire = birth <= freeing->retired;

	if (birth <= freeing->limit && ORDER(shared_is_not_freed))
		return;
	if (freeing->chunk != address / CHUNK_SLOTS || freeing->retire != retire)
		free_flush(freeing);
	freeing->chunk = address / CHUNK_SLOTS;
	freeing->retire = retire;
	freeing->mask |= (uint16_t)(1u << address % CHUNK_SLOTS);
}

static void entry_clear(struct native *native, struct map_entry *entry)
{
	if (entry->slots)
		native->cache_bytes -= MAP_SLOTS_SIZE;
	heap_free(entry->slots);
	*entry = (struct map_entry){0};
}

static void free_entry(struct freeing *freeing, struct map_entry *entry)
{
	uint64_t address;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		if (entry->mask && !entry->slots)
			free_slot(freeing, entry->chunk * CHUNK_SLOTS + slot, entry->birth);
		else if (map_slot(entry, slot, &address))
			free_slot(freeing, address, map_birth(entry, slot));
	}
	free_flush(freeing);
	entry_clear(freeing->native, entry);
}

/* From compact to exploded: the slots it does not use are given back. */
static void explode(struct freeing *freeing, struct map_entry *entry)
{
	struct native *native = freeing->native;
	uint64_t *slots;

	if (entry->slots)
		return;
	slots = native->slot_spare[--native->slot_spares];
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		slots[slot] = SLOT_NONE;
		if (entry->mask & 1u << slot)
			slots[slot] = entry->chunk * CHUNK_SLOTS + slot;
		else if (entry->mask)
			free_slot(freeing, entry->chunk * CHUNK_SLOTS + slot, entry->birth);
	}
	free_flush(freeing);
	entry->slots = slots;
	native->cache_bytes += MAP_SLOTS_SIZE;
}

/* The birth to remember of a slot that is new now. Only its place among the snapshots counts, so
 * where the entry is young enough the slot is as old as the entry, which needs no age. */
static uint64_t birth_now(const struct freeing *freeing, const struct map_entry *entry)
{
	uint64_t shared = freeing->retired > freeing->limit ? freeing->retired : freeing->limit;

	return entry->mask && entry->birth > shared ? entry->birth : freeing->native->generation;
}

static void set_birth(struct map_entry *entry, unsigned slot, uint64_t birth)
{
	uint32_t *ages = map_ages(entry);
	uint64_t age;

	if (!entry->mask)
		entry->birth = birth;
	if (birth < entry->birth) { /* an undo brings back something old */
		for (unsigned i = 0; i < CHUNK_SLOTS; i++) {
			age = ages[i] + (entry->birth - birth);
			ages[i] = age < UINT32_MAX ? (uint32_t)age : UINT32_MAX;
		}
		entry->birth = birth;
	}
	age = birth - entry->birth;
	ages[slot] = age < UINT32_MAX ? (uint32_t)age : UINT32_MAX;
}

static void point(struct freeing *freeing, struct map_entry *entry, unsigned slot, uint64_t address,
		  uint64_t birth)
{
	uint64_t old;

	if (map_slot(entry, slot, &old)) {
		free_slot(freeing, old, map_birth(entry, slot));
		free_flush(freeing);
	}
	set_birth(entry, slot, birth);
	entry->slots[slot] = address;
	entry->mask |= 1u << slot;
}

static void set_csums(const struct freeing *freeing, uint64_t chunk, uint64_t slot, uint32_t crc)
{
	struct native *native = freeing->native;
	struct node *node;

	if (freeing->summed && csum_find(native, chunk, true, NULL, &node) == 0 && node)
		csum_at(node, chunk)[slot] = crc;
}

/* New mappings at @where + slot (MAP), into the chunk an entry owns or one it gets. */
static void apply_map(struct freeing *freeing, struct map_entry *entry, const struct record *record)
{
	struct native *native = freeing->native;
	uint64_t chunk = record->where;
	bool fresh;

	if (entry->mask && record->mask == 0xffff)
		free_entry(freeing, entry);
	fresh = entry->mask == 0;
	if (fresh) {
		entry_clear(native, entry);
		entry->chunk = chunk;
		entry->birth = native->generation;
		space_use(native, chunk, 0xffff);
	} else if (entry->slots || entry->chunk != chunk) {
		explode(freeing, entry);
		space_use(native, chunk, record->mask);
	}
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		if (!(record->mask & 1u << slot)) {
			if (fresh)
				set_csums(freeing, chunk, slot, 0);
			continue;
		}
		if (entry->slots)
			point(freeing, entry, slot, chunk * CHUNK_SLOTS + slot,
			      birth_now(freeing, entry));
		set_csums(freeing, chunk, slot, record->crc[slot]);
	}
	entry->mask |= record->mask;
	unconfirmed_add(native, chunk, record->mask, freeing->lsn);
}

static void apply_run(struct freeing *freeing, struct map_entry *entry, const struct record *record)
{
	uint64_t address = record->where;
	unsigned first = (unsigned)(address % CHUNK_SLOTS);
	unsigned count = (unsigned)__builtin_popcount(record->mask);
	uint16_t mask = (uint16_t)(((1u << count) - 1) << first);

	explode(freeing, entry);
	space_use(freeing->native, address / CHUNK_SLOTS, mask);
	unconfirmed_add(freeing->native, address / CHUNK_SLOTS, mask, freeing->lsn);
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (record->mask & 1u << slot) {
			point(freeing, entry, slot, address, birth_now(freeing, entry));
			set_csums(freeing, address / CHUNK_SLOTS, address % CHUNK_SLOTS,
				  record->crc[slot]);
			address++;
		}
}

static void apply_unmap(struct freeing *freeing, struct map_entry *entry, uint16_t mask)
{
	uint64_t address;

	if (!(entry->mask & ~mask)) {
		free_entry(freeing, entry);
		return;
	}
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (mask & 1u << slot && entry->slots && map_slot(entry, slot, &address)) {
			free_slot(freeing, address, map_birth(entry, slot));
			entry->slots[slot] = SLOT_NONE;
		}
	free_flush(freeing);
	if (!entry->slots) /* its own slots, but not to be written before this is sure */
		unconfirmed_add(freeing->native, entry->chunk, entry->mask & mask, freeing->lsn);
	entry->mask &= ~(unsigned)mask & 0xffffu;
}

/* A birth of which the record has the low bits. */
static uint64_t birth_of(const struct native *native, uint32_t low)
{
	uint64_t birth = (native->generation & ~(uint64_t)UINT32_MAX) | low;

	return birth > native->generation ? birth - UINT32_MAX - 1 : birth;
}

/* The undo of a redirect: back to slots that are in quarantine, or that a snapshot has kept. */
static void apply_remap(struct freeing *freeing, struct map_entry *entry,
			const struct record *record)
{
	explode(freeing, entry);
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (record->mask & 1u << slot) {
			uint64_t address = record->slot[slot];
			uint64_t birth = birth_now(freeing, entry);

			if (space_is_used(freeing->native, address))
				birth = birth_of(freeing->native, record->birth[slot]);
			else
				space_unfree(freeing->native, address / CHUNK_SLOTS,
					     (uint16_t)(1u << address % CHUNK_SLOTS));
			point(freeing, entry, slot, address, birth);
		}
}

static void apply_overwrite(const struct freeing *freeing, const struct map_entry *entry,
			    const struct record *record)
{
	uint64_t address;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (record->mask & 1u << slot && map_slot(entry, slot, &address))
			set_csums(freeing, address / CHUNK_SLOTS, address % CHUNK_SLOTS,
				  record->crc[slot]);
}

void nvolume_mark_dirty(struct nvolume *volume)
{
	if (volume->dirty)
		return;
	volume->dirty = true;
	list_push_back(&volume->native->dirty_volumes, &volume->dirty_link);
}

static struct freeing freeing_of(const struct nvolume *volume, uint64_t leaf, uint64_t lsn)
{
	return (struct freeing){.native = volume->native,
				.summed = summed(volume),
				.limit = nvolume_limit(volume, leaf + 1),
				.retired = volume->parent ? volume->parent->generation : 0,
				.lsn = lsn};
}

/* Mapped slots that are younger than @limit. */
static unsigned owned(const struct map_entry *entry, uint64_t limit)
{
	unsigned count = 0;

	if (!entry->slots || !limit)
		return entry->birth > limit ? (unsigned)__builtin_popcount(entry->mask) : 0;
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		count += entry->mask & 1u << slot && map_birth(entry, slot) > limit;
	return count;
}

uint16_t map_shared(const struct nvolume *volume, uint64_t chunk, const struct map_entry *entry)
{
	uint64_t limit = nvolume_limit(volume, chunk / MAP_CHUNKS + 1);
	uint16_t shared = 0;

	if (!limit || !entry->mask || !ORDER(shared_is_redirected))
		return 0;
	if (!entry->slots)
		return entry->birth <= limit ? (uint16_t)entry->mask : 0;
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (entry->mask & 1u << slot && map_birth(entry, slot) <= limit)
			shared |= (uint16_t)(1u << slot);
	return shared;
}

/* Slots of the snapshot the volume stands on, and of no older one; 0 where nobody counts them. */
static unsigned lent(const struct nvolume *volume, const struct record *record,
		     const struct map_entry *entry)
{
	const struct nvolume *parent = volume->parent;
	uint64_t leaf = record->chunk / MAP_CHUNKS;

	if (!parent || record->type == RECORD_OVERWRITE || !measure_follows(parent, leaf))
		return 0;
	return owned(entry, nvolume_limit(parent, leaf + 1)) - owned(entry, parent->generation);
}

void map_apply(struct nvolume *volume, const struct record *record, uint64_t lsn)
{
	struct freeing freeing = freeing_of(volume, record->chunk / MAP_CHUNKS, lsn);
	struct map_entry *entry;
	struct node *node;
	unsigned before, owned_before, lent_before;

	if (find_leaf(volume, record->chunk, false, NULL, &node, &entry) < 0 || !node)
		return;
	lent_before = lent(volume, record, entry);
	before = (unsigned)__builtin_popcount(entry->mask);
	owned_before = owned(entry, freeing.limit);
	switch (record->type) {
	case RECORD_MAP:
		apply_map(&freeing, entry, record);
		break;
	case RECORD_MAP_RUN:
		apply_run(&freeing, entry, record);
		break;
	case RECORD_OVERWRITE:
		apply_overwrite(&freeing, entry, record);
		break;
	case RECORD_UNMAP:
		apply_unmap(&freeing, entry, record->mask);
		break;
	case RECORD_REMAP:
	case RECORD_RESTORE:
		apply_remap(&freeing, entry, record);
		break;
	default:
		break;
	}
	volume->used_slots += (uint64_t)__builtin_popcount(entry->mask) - before;
	volume->owned_slots += (uint64_t)owned(entry, freeing.limit) - owned_before;
	lent_before -= lent(volume, record, entry);
	if (lent_before)
		measure_changed(volume->parent, (int)lent_before);
	reserve_changed(volume);
	nvolume_mark_dirty(volume);
}

/* ---- the end of a snapshot ---- */
int map_prepare_reap(struct native *native, const struct map_entry *entries)
{
	int result = space_prepare_frees(native, MAP_CHUNKS * CHUNK_SLOTS);

	for (unsigned i = 0; i < MAP_CHUNKS && result == 0; i++) {
		uint64_t address;

		if (!entries[i].slots && entries[i].mask)
			result = space_touch(native, entries[i].chunk);
		for (unsigned slot = 0; entries[i].slots && slot < CHUNK_SLOTS && result == 0;
		     slot++)
			if (map_slot(&entries[i], slot, &address))
				result = space_touch(native, address / CHUNK_SLOTS);
	}
	return result;
}

/* A compact entry owns its whole chunk, so the child's, which is the same, does from now on. */
static int reap_entry(struct freeing *freeing, uint64_t limit, const struct map_entry *entry,
		      const struct map_entry *child, struct measure *dry)
{
	bool same =
	    child && child->mask && !child->slots && !entry->slots && child->chunk == entry->chunk;
	int count = 0;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint64_t address = entry->chunk * CHUNK_SLOTS + slot, theirs = SLOT_NONE;
		bool mapped = entry->mask & 1u << slot, kept = false;

		if (entry->slots && !map_slot(entry, slot, &address))
			continue;
		if (map_birth(entry, slot) <= limit)
			continue;
		if (child && map_slot(child, slot, &theirs))
			kept = theirs == address;
		count += mapped && !kept;
		count -= kept && !mapped; /* filled by a replay, before it counted as the child's */
		if (kept || same)
			continue;
		if (dry)
			measure_slot(dry, address);
		else
			free_slot(freeing, address, UINT64_MAX - 1);
	}
	free_flush(freeing);
	return count;
}

int map_reap(const struct nvolume *from, uint64_t limit, const struct map_entry *entries,
	     const struct map_entry *child, struct measure *dry)
{
	struct freeing freeing = {.native = from->native, .retired = UINT64_MAX};
	int count = 0;

	for (unsigned i = 0; i < MAP_CHUNKS; i++)
		if (entries[i].mask)
			count +=
			    reap_entry(&freeing, limit, &entries[i], child ? &child[i] : NULL, dry);
	return count;
}

int map_look(struct nvolume *volume, struct lane *lane, uint64_t *leaf, map_look_fn *look,
	     void *context)
{
	struct native *native = volume->native;
	struct fiber_waiter wait;
	struct node *node = NULL;
	int result;

	fiber_waiter_init(&wait, lane);
	native_lock(native);
	nodes_evict(native);
	result = tree_next(&volume->map, *leaf, &wait.waiter, leaf);
	if (result == 0 && *leaf != UINT64_MAX)
		result = tree_find(&volume->map, *leaf, false, &wait.waiter, &node);
	if (result == 0 && node)
		look(context, volume, *leaf, node->body->map.entry);
	native_unlock(lane);
	if (result == -EINPROGRESS)
		return fiber_waiter_wait(&wait) < 0 ? -EIO : -EINPROGRESS;
	*leaf += result == 0 && *leaf != UINT64_MAX;
	return result;
}
