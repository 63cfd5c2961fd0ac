/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/evacuate.h"
#include "volumes/spread.h"

/* One chunk of a device that is being evacuated, from its place to another (forward.c).
 *
 * A crash before a root with the entry leaves the old place, which has all; one after it the new
 * place, which has all, too. The old one is given up when both roots that could be opened say so.
 *
 * What has another copy keeps it on another device:
 *
 * E1 A chunk of a pair goes to a device that the pair's other chunk is not on. Writers of a pair
 *    are counted by its first chunk, whichever of both is being copied; both places of either are
 *    written to.
 * E2 A chunk with nodes goes to a device that has none of their other copies. Where there is no
 *    such device, the one that it goes to is pinned (spread.c) by the root that has the entry.
 * E3 A device that fails while chunks are in both places is gone on without, but for the target of
 *    one that has no other copy: that is durable with the root, and with nothing before. What is
 *    moved to a device that is away does not count, as nothing there does (away.c, A1).
 *
 * A chunk with a slot in use that can not be read stays where it is, with its old entry; of a pair
 * the other copy is read first. Free slots are not worth a read, so what can not be read there is
 * no matter. */

#define LOOKS_MAX   20000u        /* for writes to end: then it is tried again later */
#define BAD_LOOKS   64u           /* such chunks whose owners are looked for in a pass */
#define BAD_LOOK_NS 1000000000ull /* and how long for one, at most */
#define BAD_LEAVES  256u          /* looked at between other work */

/* ---- reading ---- */
/* The chunk that maps and checksums know: of a pair the first one. */
static uint64_t known_as(const struct relocation *now)
{
	return now->first != CHUNK_NONE ? now->first : now->chunk;
}

/* A slot from the pair's other copy, where its checksum says that it is right. */
static bool read_other(struct native *native, const struct relocation *now, unsigned slot,
		       uint8_t *bytes)
{
	uint64_t address = now->first * CHUNK_SLOTS + slot;
	struct pv_place place;

	if (!now->rescue || !now->expected[slot] ||
	    !(mirror_usable(native, address) & (now->copy ? 1 : 2)))
		return false;
	if (!(now->copy ? pv_locate(native, address, &place.pv, &place.offset)
			: mirror_place(native, address, &place)))
		return false;
	return pv_io(place.pv, DISK_READ, 0, place.offset, bytes, VOLUME_SLOT) == 0 &&
	       csum_of(crc32c(0, bytes, VOLUME_SLOT)) == now->expected[slot];
}

/* All of a chunk at once or, when that fails, the slots of @wanted one by one, the others as zeros:
 * *bad gains those that can not be read. */
static int read_chunk(struct native *native, const struct relocation *now, uint16_t wanted,
		      uint8_t *buffer, uint16_t *bad)
{
	struct pv *pv = NULL;
	uint64_t at;
	int result = pv_locate(native, now->chunk * CHUNK_SLOTS, &pv, &at) ? 0 : -EIO;

	if (result == 0 && pv_io(pv, DISK_READ, 0, at, buffer, CHUNK) == 0)
		return 0;
	for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0; slot++) {
		uint8_t *bytes = buffer + (size_t)slot * VOLUME_SLOT;

		memset(bytes, 0, VOLUME_SLOT);
		if (wanted & 1u << slot &&
		    pv_io(pv, DISK_READ, 0, at + slot * (uint64_t)VOLUME_SLOT, bytes, VOLUME_SLOT) <
			0 &&
		    !read_other(native, now, slot, bytes))
			*bad |= (uint16_t)(1u << slot);
	}
	return result == 0 && *bad ? BAD_CHUNK : result;
}

/* What a transfer bends or loses would be believed where there are no checksums, so it is read
 * back. A device of which that can not be read is written to once more: a write tells whether it is
 * gone.
 */
static int write_target(struct native *native, struct lane *lane, uint8_t *buffer)
{
	struct pv *target;
	uint64_t at;
	int result = -EIO;

	if (!pv_locate(native, native->evacuation->now.target * CHUNK_SLOTS, &target, &at))
		return -EIO;
	for (unsigned tries = 0; tries < 2 && result < 0; tries++) {
		result = pv_io(target, DISK_WRITE, 0, at, buffer, CHUNK);
		if (result < 0) {
			(void)away_lost(lane, target, result);
			return result;
		}
		result = pv_io(target, DISK_READ, 0, at, buffer + CHUNK, CHUNK);
	}
	return result;
}

static int copy_once(struct native *native, struct lane *lane, uint16_t wanted, uint16_t *bad)
{
	struct evacuation *evacuation = native->evacuation;
	uint8_t *buffer = evacuation->buffer;
	int result = read_chunk(native, &evacuation->now, wanted, buffer, bad);

	if (result == 0)
		result = write_target(native, lane, buffer);
	if (result == 0)
		result = read_chunk(native, &evacuation->now, wanted, buffer, bad);
	for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0; slot++)
		if (wanted & 1u << slot &&
		    memcmp(buffer + (size_t)slot * VOLUME_SLOT,
			   buffer + CHUNK + (size_t)slot * VOLUME_SLOT, VOLUME_SLOT) != 0)
			result = -EAGAIN;
	return result;
}

static int copy_wanted(struct native *native, struct lane *lane, uint16_t wanted, uint16_t *bad)
{
	int result = -EAGAIN;

	for (unsigned tries = 0; tries < 3 && result == -EAGAIN; tries++) {
		*bad = 0;
		result = copy_once(native, lane, wanted, bad);
	}
	return result == -EAGAIN ? -EIO : result;
}

/* ---- what can not be read ---- */
struct bad {
	uint64_t chunk;
	uint16_t mask, mapped;
	unsigned looks;
	uint64_t until_ns;
};

/* map_look_fn: the bad slots that @volume maps in a leaf, as findings. */
static void note_owners(void *context, const struct nvolume *volume, uint64_t leaf,
			const struct map_entry *entries)
{
	struct native *native = volume->native;
	struct evacuation *evacuation = native->evacuation;
	struct bad *bad = context;

	for (unsigned i = 0; i < MAP_CHUNKS * CHUNK_SLOTS; i++) {
		const struct map_entry *entry = &entries[i / CHUNK_SLOTS];
		uint64_t offset = (leaf * MAP_CHUNKS * CHUNK_SLOTS + i) * VOLUME_SLOT, address;

		if (!map_slot(entry, i % CHUNK_SLOTS, &address) ||
		    address / CHUNK_SLOTS != bad->chunk ||
		    !(bad->mask & 1u << address % CHUNK_SLOTS))
			continue;
		bad->mapped |= (uint16_t)(1u << address % CHUNK_SLOTS);
		if (map_birth(entry, i % CHUNK_SLOTS) <= nvolume_limit(volume, leaf + 1))
			continue; /* an older one tells */
		finding_note(native, &(struct finding){.volume = volume->id,
						       .offset = offset,
						       .length = VOLUME_SLOT,
						       .kind = FINDING_MEDIUM});
		if (evacuation->bad_slots++)
			continue;
		snprintf(evacuation->bad_volume, sizeof(evacuation->bad_volume), "%s",
			 volume->volume.name);
		evacuation->bad_offset = offset;
	}
}

static int look_at_map(struct native *native, struct lane *lane, struct nvolume *volume,
		       struct bad *bad)
{
	uint64_t leaf = 0;
	int result = 0;

	while (leaf != UINT64_MAX && (result == 0 || result == -EINPROGRESS)) {
		/* The journal's room, and others' calls, are not to wait for this. */
		if (native->checkpoint_due || !list_empty(&native->calls) ||
		    loop_now(native->home) >= bad->until_ns)
			return -ETIME;
		if (++bad->looks % BAD_LEAVES == 0)
			fiber_sleep(0); /* others on this loop */
		result = map_look(volume, lane, &leaf, note_owners, bad);
	}
	return result;
}

/* Whose the bad slots are: nothing but the maps knows, so all of them are looked through. An error:
 * one could not be, or it would take too long. */
static int find_owners(struct native *native, struct lane *lane, struct bad *bad)
{
	struct tree *table = &native->tree[ROOT_VOLUMES];
	uint64_t leaf = 0;
	struct node *node;
	int result = 0;

	while (result == 0 && tree_next(table, leaf, NULL, &leaf) == 0 && leaf != UINT64_MAX &&
	       tree_find(table, leaf, false, NULL, &node) == 0) {
		for (unsigned i = 0; node && i < VOLUMES_PER_LEAF && result == 0; i++)
			if (node->body->volumes.volume[i])
				result =
				    look_at_map(native, lane, node->body->volumes.volume[i], bad);
		leaf++;
	}
	return result;
}

/* Under BUSY, so nobody's data gets to where it can not be read meanwhile. Takes from @wanted what
 * is in use and yet nobody's: the rest of a chunk that a volume has to itself. */
static void spare_unmapped(struct native *native, struct lane *lane, uint16_t bad, uint16_t *wanted)
{
	struct evacuation *evacuation = native->evacuation;
	uint64_t chunk = known_as(&evacuation->now);
	struct bad found = {
	    .chunk = chunk, .mask = bad, .until_ns = loop_now(native->home) + BAD_LOOK_NS};
	uint16_t used, held;

	if (evacuation->bad_chunks >= BAD_LOOKS || !space_chunk_is_data(native, chunk) ||
	    find_owners(native, lane, &found) < 0)
		return;
	native_lock(native);
	used = space_used_slots(native, chunk);
	held = space_held_slots(native, chunk);
	native_unlock(lane);
	*wanted &= (uint16_t) ~(bad & used & ~held & ~found.mapped);
}

/* What the slots of the pair sum to, for the other copy is read where this one can not be. */
static void look_up_sums(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	uint16_t wanted;

	evacuation->now.expected = evacuation->expected;
	evacuation->now.rescue =
	    csum_look_up(native, lane, evacuation->now.first, evacuation->expected, &wanted) == 0;
}

/* Nobody writes to the chunk meanwhile, so what is wanted of it becomes less at most. */
static int copy(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	struct relocation *now = &evacuation->now;
	uint16_t wanted, before, bad = 0;
	int result;

	native_lock(native);
	wanted = space_used_slots(native, known_as(now)) | space_held_slots(native, known_as(now));
	native_unlock(lane);
	result = copy_wanted(native, lane, wanted, &bad);
	if (result == BAD_CHUNK && now->first != CHUNK_NONE) {
		look_up_sums(native, lane);
		result = copy_wanted(native, lane, wanted, &bad);
	}
	before = wanted;
	if (result == BAD_CHUNK)
		spare_unmapped(native, lane, bad, &wanted);
	if (result == BAD_CHUNK && wanted != before)
		result = copy_wanted(native, lane, wanted, &bad);
	if (result == BAD_CHUNK) {
		evacuation->bad_chunks++;
		evacuation->bad_meta += !space_chunk_is_data(native, now->chunk);
	}
	return result;
}

/* ---- where to ---- */
static uint64_t device_bit(const struct native *native, uint64_t chunk)
{
	const struct pv *pv = pv_of(native, pv_resolve(native, chunk));

	return pv ? 1ull << pv_device_row(native, pv) : 0;
}

/* The pair of @now as it was chosen; it may have been undone. */
static bool is_still(const struct native *native, const struct relocation *now)
{
	uint64_t second;

	if (now->first == CHUNK_NONE)
		return true;
	second = mirror_of(native, now->first);
	return second && pv_resolve(native, now->copy ? second : now->first) == now->chunk &&
	       !pv_forward(pv_of(native, now->chunk), now->chunk);
}

/* Under the lock (E1, E2). */
static int take_target(struct native *native, struct relocation *now)
{
	uint64_t avoid = now->nodes;
	int result;

	if (now->first != CHUNK_NONE && ORDER(moved_beside_its_pair))
		avoid = device_bit(native, now->copy ? now->first : mirror_of(native, now->first));
	result = space_take_target(native, avoid, &now->target);
	now->spare = avoid != 0;
	if (result != -ENOSPC || !now->nodes)
		return result;
	result = space_take_target(native, 0, &now->target);
	if (result == 0 && ORDER(moved_nodes_are_pinned))
		spread_pinned(native, pv_of(native, now->target)->device);
	return result;
}

/* Under the lock: a target, the entry BUSY. *ret_bucket: of the writes that are to end. */
static int begin(struct native *native, unsigned *ret_bucket)
{
	struct relocation *now = &native->evacuation->now;
	uint64_t *entry = NULL;
	int result = forward_entry(native, now->chunk, &entry);

	if (result == 0)
		result = take_target(native, now);
	if (result < 0)
		return result;
	forward_set(entry, now->target | FORWARD_BUSY);
	*ret_bucket = native_bucket(pv_resolve(native, known_as(now)));
	if (!ORDER(pair_is_counted_by_its_first))
		*ret_bucket = native_bucket(now->chunk);
	native->busy_bucket = *ret_bucket;
	native->busy = true;
	return 0;
}

/* Under the lock: the copy is there, or (@result) it could not be made. */
static int end(struct native *native, int result)
{
	struct relocation *now = &native->evacuation->now;
	uint64_t *entry = NULL;

	if (forward_entry(native, now->chunk, &entry) < 0 || space_touch(native, now->target) < 0)
		result = result < 0 ? result : -ENOMEM;
	if (entry && result == 0) {
		if (space_chunk_is_data(native, now->chunk))
			space_uncount(native, now->chunk);
		*forward_count(native, now->chunk) += 1;
		space_use(native, now->target, 0xffff);
		forward_set(entry, now->target | FORWARD_BOTH);
	} else {
		if (entry)
			forward_set(entry, 0);
		space_unhold(native, now->target, 0xffff);
	}
	native->busy = false;
	waiters_wake(&native->busy_waiters, 0);
	return result;
}

static void add_to_batch(struct native *native)
{
	struct evacuation *evacuation = native->evacuation;

	evacuation->batch[evacuation->count++] =
	    (struct relocated){.chunk = evacuation->now.chunk,
			       .target = evacuation->now.target,
			       .spare = evacuation->now.spare};
	evacuation->generation = native->generation;
}

int relocate(struct native *native, struct lane *lane)
{
	struct relocation *now = &native->evacuation->now;
	bool still;
	unsigned bucket = 0;
	int result = 0;

	native_lock(native);
	now->target = CHUNK_NONE;
	still = is_still(native, now);
	if (still)
		result = begin(native, &bucket);
	native_unlock(lane);
	if (!still || result < 0)
		return result;
	for (unsigned looks = 0;
	     result == 0 && __atomic_load_n(&native->writes[bucket], __ATOMIC_ACQUIRE); looks++) {
		fiber_sleep(POLL_NS / 10);
		result = looks < LOOKS_MAX ? 0 : -EAGAIN;
	}
	if (result == 0)
		result = copy(native, lane);
	native_lock(native);
	result = end(native, result);
	if (result == 0)
		add_to_batch(native);
	now->target = CHUNK_NONE;
	native_unlock(lane);
	return result;
}
