/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "core/crc32c.h"
#include "volumes/native.h"

/* Volumes with two copies. A chunk that is taken for one gets a second chunk, on another device,
 * and keeps it as long as anything refers to it. Maps, snapshots, clones and checksums know the
 * first alone; the MIRROR tree says which the second one is, and every write to the first goes to
 * the second, too (io.c).
 *
 *   free --taken, MIRROR record--> pair --nothing refers to it, two roots--> both free
 *
 * M1 The record is in the journal before any that maps a slot of the chunk, so a root or replay
 *    that knows the slot knows both its places.
 * M2 A write has ended when both copies have; a flush is of all devices. So what is confirmed
 *    is in both, and only slots of writes in flight may differ after a crash. Replay looks at both
 *    copies of those and makes them the same (replay.c): what is read once is read ever after.
 * M3 The second copy counts as used, all of it. When the first is given up, the pair is undone, and
 *    both are kept until both roots know: an older one would still write, or read, both.
 * M4 Which of two copies is right is for the checksum to say; without one there is no mirror.
 *
 * Either chunk may be moved to another device, as any chunk is (forward.c). What happens when a
 * device is gone: away.c. */

/* ---- the tree ---- */
static struct node *leaf_at(const struct pv *pv, uint64_t chunk)
{
	struct node **leaves = __atomic_load_n(&pv->mirror, __ATOMIC_ACQUIRE);
	uint64_t first = pv->format.first_chunk / FORWARD_CHUNKS;

	return leaves ? __atomic_load_n(&leaves[chunk / FORWARD_CHUNKS - first], __ATOMIC_ACQUIRE)
		      : NULL;
}

uint64_t mirror_of(const struct native *native, uint64_t chunk)
{
	const struct pv *pv;
	struct node *leaf;

	if (!__atomic_load_n(&native->mirrored, __ATOMIC_ACQUIRE))
		return 0;
	pv = pv_of(native, chunk);
	leaf = pv ? leaf_at(pv, chunk) : NULL;
	return leaf ? __atomic_load_n(&leaf->body->forward.target[chunk % FORWARD_CHUNKS],
				      __ATOMIC_ACQUIRE)
		    : 0;
}

unsigned mirror_places(const struct native *native, uint64_t slot, struct pv_place ret_places[2])
{
	uint64_t second = mirror_of(native, slot / CHUNK_SLOTS);

	return second ? pv_places(native, second * CHUNK_SLOTS + slot % CHUNK_SLOTS, ret_places)
		      : 0;
}

bool mirror_place(const struct native *native, uint64_t slot, struct pv_place *ret_place)
{
	struct pv_place places[2];

	if (!mirror_places(native, slot, places))
		return false;
	*ret_place = places[0];
	return true;
}

void mirror_leaf_init(struct native *native, struct node *node)
{
	uint64_t first = node->index * FORWARD_CHUNKS, end = first + FORWARD_CHUNKS;

	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t row = pv->format.first_chunk;

		if (pv->mirror && first < row + pv->format.chunks && end > row)
			__atomic_store_n(&pv->mirror[node->index - row / FORWARD_CHUNKS], node,
					 __ATOMIC_RELEASE);
	}
}

/* A leaf that a new row shares with the one before it is there already. */
static void find_leaves(struct native *native, const struct pv *pv)
{
	uint64_t end = pv->format.first_chunk + pv->format.chunks;

	for (uint64_t i = pv->format.first_chunk / FORWARD_CHUNKS; i * FORWARD_CHUNKS < end; i++) {
		struct node *leaf = NULL;

		if (tree_find(&native->tree[ROOT_MIRROR], i, false, NULL, &leaf) == 0 && leaf)
			mirror_leaf_init(native, leaf);
	}
}

static int make_rooms(struct native *native, bool loaded)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk / FORWARD_CHUNKS;
		uint64_t last = (pv->format.first_chunk + pv->format.chunks - 1) / FORWARD_CHUNKS;
		struct node **leaves;

		if (pv->mirror || !pv->format.chunks)
			continue;
		leaves = heap_zalloc_array(last - first + 1, sizeof(*leaves));
		if (!leaves)
			return -ENOMEM;
		__atomic_store_n(&pv->mirror, leaves, __ATOMIC_RELEASE);
		if (loaded)
			find_leaves(native, pv);
	}
	__atomic_store_n(&native->mirrored, true, __ATOMIC_RELEASE);
	return 0;
}

int mirror_rooms(struct native *native)
{
	return make_rooms(native, false);
}

int mirror_begin(struct native *native)
{
	struct tree *tree = &native->tree[ROOT_MIRROR];
	int result = make_rooms(native, true);

	while (result == 0 && tree_capacity(tree) <= native->chunks / FORWARD_CHUNKS)
		result = tree_grow(tree);
	if (result == 0)
		native->sb.version =
		    native->sb.version < FORMAT_MIRRORS ? FORMAT_MIRRORS : native->sb.version;
	return result;
}

/* Of a chunk, with its leaf made and touched. */
static int entry_of(struct native *native, uint64_t chunk, uint64_t **ret_entry)
{
	struct node *leaf;
	int result = make_rooms(native, true);

	if (result == 0)
		result = tree_find(&native->tree[ROOT_MIRROR], chunk / FORWARD_CHUNKS, true, NULL,
				   &leaf);
	if (result == 0)
		result = node_touch(leaf);
	if (result == 0)
		*ret_entry = &leaf->body->forward.target[chunk % FORWARD_CHUNKS];
	return result;
}

static void set_entry(struct native *native, uint64_t *entry, uint64_t second)
{
	native->mirrors += (second != 0) - (uint64_t)(*entry != 0);
	__atomic_store_n(entry, second, __ATOMIC_RELEASE);
}

bool mirror_plausible(const struct native *native, uint64_t chunk, uint64_t second)
{
	const struct pv *first = pv_of(native, pv_resolve(native, chunk));
	const struct pv *other = pv_of(native, pv_resolve(native, second));

	return space_chunk_is_data(native, chunk) && space_chunk_is_data(native, second) && first &&
	       other && first->device != other->device;
}

uint64_t mirror_next(const struct pv *pv, uint64_t chunk)
{
	uint64_t end = pv->format.first_chunk + pv->format.chunks;

	while (chunk < end) {
		const struct node *leaf = leaf_at(pv, chunk);

		if (!leaf)
			chunk = (chunk / FORWARD_CHUNKS + 1) * FORWARD_CHUNKS;
		else if (leaf->body->forward.target[chunk % FORWARD_CHUNKS])
			return chunk;
		else
			chunk++;
	}
	return end;
}

int mirror_setup(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = mirror_next(pv, first); at < end; at = mirror_next(pv, at + 1)) {
			if (!mirror_plausible(native, at, mirror_of(native, at)))
				return -EIO;
			native->mirrors++;
		}
	}
	return 0;
}

uint64_t mirror_seconds(const struct native *native,
			bool (*is_one)(const struct native *native, uint64_t chunk))
{
	uint64_t count = 0;

	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = mirror_next(pv, first); at < end; at = mirror_next(pv, at + 1))
			count += is_one(native, mirror_of(native, at));
	}
	return count;
}

bool mirror_any(const struct native *native)
{
	bool any = native->mirrors != 0;

	list_for_each (it, &native->volumes)
		any |= list_entry(it, struct nvolume, link)->volume.mirror;
	return any;
}

/* ---- pairs ---- */
int mirror_pair(struct native *native, uint64_t chunk)
{
	struct record record = {.type = RECORD_MIRROR, .chunk = chunk};
	uint64_t second, *entry = NULL;
	int result = 0;

	if (mirror_of(native, chunk))
		return 0;
	if (!pv_of(native, pv_resolve(native, chunk))->allocates)
		return -ENOSPC; /* its contents are on a device that is being evacuated */
	second = space_take_second(native, chunk);
	if (second == CHUNK_NONE)
		return -ENOSPC;
	/* its number stands for something elsewhere, or for a pair that could not be undone */
	if (pv_resolve(native, second) != second || mirror_of(native, second))
		result = -ENOSPC;
	if (result == 0)
		result = space_touch(native, second);
	if (result == 0)
		result = entry_of(native, chunk, &entry);
	if (result < 0) {
		space_unhold(native, second, 0xffff);
		return result;
	}
	record.where = second;
	if (ORDER(mirror_record_before_use))
		journal_append(native, &record, 1);
	set_entry(native, entry, second);
	space_use(native, second, 0xffff);
	return 0;
}

void mirror_drop(struct native *native, uint64_t chunk)
{
	uint64_t second = mirror_of(native, chunk), *entry = NULL;

	if (!second || space_chunk_in_use(native, chunk) || space_prepare_frees(native, 2) < 0 ||
	    space_touch(native, chunk) < 0 || space_touch(native, second) < 0 ||
	    entry_of(native, chunk, &entry) < 0)
		return; /* it stays, and may be used again */
	set_entry(native, entry, 0);
	if (ORDER(mirror_kept_for_both_roots)) {
		space_retire(native, second, 0xffff);
		space_retire(native, chunk, 0xffff);
	} else {
		space_free(native, second, 0xffff, 0);
	}
	if (space_retired_presses(native))
		checkpoint_want(native);
}

void mirror_sweep(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = mirror_next(pv, first); at < end; at = mirror_next(pv, at + 1))
			mirror_drop(native, at);
	}
}

/* ---- replay ---- */
/* A root from before the first mirrored volume may have no room in its tree: then it has none of
 * the chunk's slots, either. */
int mirror_link(struct native *native, const struct record *record)
{
	uint64_t *entry = NULL;
	int result;

	if (record->chunk / FORWARD_CHUNKS >= tree_capacity(&native->tree[ROOT_MIRROR]))
		return 0;
	result = entry_of(native, record->chunk, &entry);
	if (result == 0)
		set_entry(native, entry, record->where);
	return result;
}

int mirror_apply(struct native *native, const struct record *record)
{
	int result;

	if (mirror_of(native, record->chunk) != record->where)
		return 0;
	result = space_touch(native, record->where);
	if (result == 0)
		space_use(native, record->where, 0xffff);
	return result;
}

/* The device of a copy counts, for data that has two, or one. */
static bool counts(const struct pv *pv, bool paired)
{
	return pv_is_here(pv) && !(paired && pv_is_stale(pv));
}

unsigned mirror_usable(const struct native *native, uint64_t slot)
{
	bool paired = mirror_of(native, slot / CHUNK_SLOTS) != 0;
	struct pv_place place;
	unsigned usable = 0;

	if (pv_locate(native, slot, &place.pv, &place.offset) && counts(place.pv, paired))
		usable |= 1;
	if (paired && mirror_place(native, slot, &place) && counts(place.pv, true))
		usable |= 2;
	return usable;
}

void mirror_read(struct native *native, uint64_t address, struct copies *copies)
{
	struct pv_place place;

	copies->address = address;
	copies->count = mirror_of(native, address / CHUNK_SLOTS) ? 2 : 1;
	copies->usable = mirror_usable(native, address);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *data = copies->data + (size_t)i * VOLUME_SLOT;

		copies->crc[i] = 0;
		if (!(copies->usable & 1u << i) ||
		    !(i ? mirror_place(native, address, &place)
			: pv_locate(native, address, &place.pv, &place.offset)))
			continue;
		if (pv_io(place.pv, DISK_READ, 0, place.offset, data, VOLUME_SLOT) == 0)
			copies->crc[i] = csum_of(crc32c(0, data, VOLUME_SLOT));
	}
}

/* A copy that can not be written is met again by a read, or a scrub; one that does not count is
 * made good later (away.c). */
void mirror_level(struct native *native, struct copies *copies, unsigned good)
{
	uint8_t *data = copies->data + (size_t)good * VOLUME_SLOT;
	struct pv_place place;

	if (copies->usable != 3 || copies->crc[0] == copies->crc[1] || native->read_only ||
	    !ORDER(mirror_levelled_at_replay))
		return;
	if (good ? pv_locate(native, copies->address, &place.pv, &place.offset)
		 : mirror_place(native, copies->address, &place))
		(void)pv_io(place.pv, DISK_WRITE, 0, place.offset, data, VOLUME_SLOT);
}
