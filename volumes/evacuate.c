/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/guard.h"
#include "volumes/keeper.h"

/* Taking a device out of a pool: its chunks are copied elsewhere, then it goes. In the keeper's
 * fiber, a few chunks at a time, beside the guests' I/O.
 *
 * Nothing that refers to a chunk is changed: maps, snapshots, clones, checksums and node pointers
 * keep its number. The FORWARD tree says where the contents of such a number are, and pv_locate()
 * asks it. So shared or not, data or metadata, a chunk is moved by one entry:
 *
 *   0 --chosen--> BUSY --copied, compared--> BOTH --two roots have the entry--> moved
 *                  |                           |
 *                  +- writes to it wait        +- writes go to both places, reads to the old one
 *
 * A crash before a root with the entry leaves the old place, which has all; one after it the new
 * place, which has all, too. The old one is given up when both roots that could be opened say
 * so. The target is a chunk of another device that counts as used; when the last slot of a moved
 * chunk is given up, its entry goes and the target with it (space_retire()).
 *
 * A chunk with a slot in use that can not be read stays where it is, with its old entry; the others
 * go on. When a pass has moved nothing more the evacuation stops, and says where such slots are
 * (volume and byte; as findings, too): overwritten or discarded, they are no more in the way. Free
 * slots are not worth a read, so what can not be read there is no matter.
 *
 * The nodes of the FORWARD tree are read by their own addresses, so they are never on a device that
 * is being evacuated: they are written anew when that begins, before the first entry. */

#define STEP_CHUNKS  16u
#define BATCH_CHUNKS 1024u
#define SCAN_MAX     4096u /* chunks looked at under the lock at a time */
#define LOOK_AGAIN   (CHUNK_NONE - 1)
#define LOOKS_MAX    20000u        /* for writes to end: then it is tried again later */
#define BAD_CHUNK    -EREMOTEIO    /* a chunk has slots that can not be read */
#define BAD_LOOKS    64u           /* such chunks whose owners are looked for in a pass */
#define BAD_LOOK_NS  1000000000ull /* and how long for one, at most */
#define BAD_LEAVES   256u          /* looked at between other work */

struct evacuation {
	unsigned device;
	uint64_t cursor;
	uint64_t chunk[BATCH_CHUNKS]; /* BOTH */
	unsigned count;
	uint64_t generation; /* of the first root that has all of them */
	uint8_t *buffer;     /* two chunks */
	bool waited, empty;
	bool failed; /* since the open or the last resume */
	/* What could not be read in this pass: chunks, those of them with metadata, slots that are
	 * somebody's, and the first of these. */
	uint64_t bad_chunks, bad_meta, bad_slots;
	char bad_volume[VOLUME_PATH_MAX + 1];
	uint64_t bad_offset;
	char reason[400];
};

static bool is_of(const struct native *native, unsigned row, unsigned device)
{
	return native->pv[row].device == &native->pv[device];
}

/* ---- entries ---- */
void forward_leaf_init(struct native *native, struct node *node)
{
	uint64_t first = node->index * FORWARD_CHUNKS, end = first + FORWARD_CHUNKS;

	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t row = pv->format.first_chunk;

		if (pv->forward && first < row + pv->format.chunks && end > row)
			__atomic_store_n(&pv->forward[node->index - row / FORWARD_CHUNKS], node,
					 __ATOMIC_RELEASE);
	}
}

int forward_rooms(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk;
		struct node **leaves;

		if (pv->forward)
			continue;
		leaves = heap_zalloc_array((first + pv->format.chunks - 1) / FORWARD_CHUNKS -
					       first / FORWARD_CHUNKS + 1,
					   sizeof(*leaves));
		if (!leaves)
			return -ENOMEM;
		__atomic_store_n(&pv->forward, leaves, __ATOMIC_RELEASE);
	}
	return 0;
}

/* Of a chunk, with its leaf made and touched. */
static int entry_of(struct native *native, uint64_t chunk, uint64_t **ret_entry)
{
	struct node *leaf;
	int result =
	    tree_find(&native->tree[ROOT_FORWARD], chunk / FORWARD_CHUNKS, true, NULL, &leaf);

	if (result == 0)
		result = node_touch(leaf);
	if (result == 0)
		*ret_entry = &leaf->body->forward.target[chunk % FORWARD_CHUNKS];
	return result;
}

static void set_entry(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

static bool is_moved(uint64_t entry)
{
	return entry && !(entry & ~FORWARD_TARGET);
}

static uint64_t *moved_count(struct native *native, uint64_t chunk)
{
	struct pv *pv = pv_of(native, chunk);

	return space_chunk_is_data(native, chunk) ? &pv->moved : &pv->meta_moved;
}

/* A moved chunk that nothing refers to any more: its target is given up. Under the lock. */
void forward_drop(struct native *native, uint64_t chunk)
{
	struct pv *pv = pv_of(native, chunk);
	uint64_t target = pv ? pv_forward(pv, chunk) : 0, *entry = NULL;

	if (!is_moved(target) || space_chunk_in_use(native, chunk) ||
	    space_prepare_frees(native, 2) < 0 || space_touch(native, target) < 0 ||
	    entry_of(native, chunk, &entry) < 0)
		return; /* it stays, and may be used again */
	set_entry(entry, 0);
	*moved_count(native, chunk) -= 1;
	space_retire(native, target, 0xffff);
	/* A root with the entry would look elsewhere for what is written to the chunk itself. */
	if (space_chunk_is_data(native, chunk))
		space_retire(native, chunk, 0xffff);
	if (pv->allocates)
		space_totals(native);
}

/* The first chunk of @pv from @chunk on with an entry; the end of its chunks when there is none. */
static uint64_t next_entry(const struct pv *pv, uint64_t chunk)
{
	uint64_t end = pv->format.first_chunk + pv->format.chunks;

	while (chunk < end) {
		if (!pv_forward_leaf(pv, chunk))
			chunk = (chunk / FORWARD_CHUNKS + 1) * FORWARD_CHUNKS;
		else if (pv_forward(pv, chunk))
			return chunk;
		else
			chunk++;
	}
	return end;
}

/* After replay, before anything is written: what was given up meanwhile. */
void forward_sweep(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = next_entry(pv, first); at < end; at = next_entry(pv, at + 1))
			forward_drop(native, at);
	}
}

/* As loaded: how many there are, each to a place that makes sense. */
int forward_setup(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = next_entry(pv, first); at < end; at = next_entry(pv, at + 1)) {
			uint64_t target = pv_forward(pv, at);

			if (!space_chunk_is_data(native, target) || pv_of(native, target) == pv)
				return -EIO;
			*moved_count(native, at) += 1;
		}
	}
	return 0;
}

/* ---- what is left ---- */
/* Metadata chunks of a row that are in use and not moved. */
static uint64_t meta_left(const struct native *native, unsigned row)
{
	uint64_t left = 0;

	for (uint64_t i = 0; i < native->ag_count; i++) {
		const struct ag *ag = &native->ag[i];

		for (uint64_t j = 0; ag->pv == row && ag->node && j < ag->meta; j++)
			left += (ag->node->body->space.used[j] | ag->node->body->space.held[j]) &&
				!pv_forward(&native->pv[row], ag->first + j);
	}
	return left;
}

/* Chunks on a device, data and metadata, that are not moved; and those that are. Under the lock. */
static uint64_t chunks_left(const struct native *native, unsigned device, uint64_t *ret_moved)
{
	uint64_t left = 0;

	*ret_moved = 0;
	for (unsigned i = device; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];

		if (!is_of(native, i, device))
			continue;
		if (pv->data_chunks > pv->free_chunks + pv->moved)
			left += pv->data_chunks - pv->free_chunks - pv->moved;
		left += meta_left(native, i);
		*ret_moved += pv->moved + pv->meta_moved;
	}
	return left;
}

static bool room_for(const struct native *native, uint64_t chunks)
{
	return native->chunks_used + chunks + native->slop_chunks + reserve_chunks(native) <=
		   native->chunks_total &&
	       native->meta_used * 3 <= native->meta_total;
}

/* ---- moving one chunk ---- */
static uint32_t *writes_of(struct native *native, uint64_t chunk)
{
	return &native->writes[native_bucket(chunk)];
}

/* All of a chunk at once or, when that fails, the slots of @wanted one by one, the others as zeros:
 * *bad gains those that can not be read. */
static int read_chunk(struct native *native, uint64_t chunk, uint16_t wanted, uint8_t *buffer,
		      uint16_t *bad)
{
	struct pv *pv = NULL;
	uint64_t at;
	int result = pv_locate(native, chunk * CHUNK_SLOTS, &pv, &at) ? 0 : -EIO;

	if (result == 0 && pv_io(pv, DISK_READ, 0, at, buffer, CHUNK) == 0)
		return 0;
	for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0; slot++) {
		uint8_t *bytes = buffer + (size_t)slot * VOLUME_SLOT;

		memset(bytes, 0, VOLUME_SLOT);
		if (wanted & 1u << slot &&
		    pv_io(pv, DISK_READ, 0, at + slot * (uint64_t)VOLUME_SLOT, bytes, VOLUME_SLOT) <
			0)
			*bad |= (uint16_t)(1u << slot);
	}
	return result == 0 && *bad ? BAD_CHUNK : result;
}

static int copy_once(struct native *native, uint64_t from, uint64_t to, uint16_t wanted,
		     uint16_t *bad)
{
	uint8_t *buffer = native->evacuation->buffer;
	struct pv *target;
	uint64_t there;
	int result = read_chunk(native, from, wanted, buffer, bad);

	if (result == 0 && !pv_locate(native, to * CHUNK_SLOTS, &target, &there))
		result = -EIO;
	if (result == 0)
		result = pv_io(target, DISK_WRITE, 0, there, buffer, CHUNK);
	/* What a transfer bends or loses would be believed where there are no checksums. */
	if (result == 0)
		result = pv_io(target, DISK_READ, 0, there, buffer + CHUNK, CHUNK);
	if (result == 0)
		result = read_chunk(native, from, wanted, buffer, bad);
	for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0; slot++)
		if (wanted & 1u << slot &&
		    memcmp(buffer + (size_t)slot * VOLUME_SLOT,
			   buffer + CHUNK + (size_t)slot * VOLUME_SLOT, VOLUME_SLOT) != 0)
			result = -EAGAIN;
	return result;
}

static int copy_wanted(struct native *native, uint64_t from, uint64_t to, uint16_t wanted,
		       uint16_t *bad)
{
	int result = -EAGAIN;

	for (unsigned tries = 0; tries < 3 && result == -EAGAIN; tries++)
		result = copy_once(native, from, to, wanted, bad);
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
static void spare_unmapped(struct native *native, struct lane *lane, uint64_t chunk, uint16_t bad,
			   uint16_t *wanted)
{
	struct evacuation *evacuation = native->evacuation;
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

/* Nobody writes to the chunk meanwhile, so what is wanted of it becomes less at most. */
static int copy(struct native *native, struct lane *lane, uint64_t from, uint64_t to)
{
	struct evacuation *evacuation = native->evacuation;
	uint16_t wanted, before, bad = 0;
	int result;

	native_lock(native);
	wanted = before = space_used_slots(native, from) | space_held_slots(native, from);
	native_unlock(lane);
	result = copy_wanted(native, from, to, wanted, &bad);
	if (result == BAD_CHUNK)
		spare_unmapped(native, lane, from, bad, &wanted);
	if (result == BAD_CHUNK && wanted != before) {
		bad = 0;
		result = copy_wanted(native, from, to, wanted, &bad);
	}
	if (result == BAD_CHUNK) {
		evacuation->bad_chunks++;
		evacuation->bad_meta += !space_chunk_is_data(native, from);
	}
	return result;
}

/* Under the lock: a target for @chunk, its entry BUSY. */
static int begin_chunk(struct native *native, uint64_t chunk, uint64_t *ret_target)
{
	uint64_t *entry = NULL;
	int result = entry_of(native, chunk, &entry);

	if (result == 0)
		result = space_take_target(native, ret_target);
	if (result < 0)
		return result;
	set_entry(entry, *ret_target | FORWARD_BUSY);
	native->busy_bucket = native_bucket(chunk);
	native->busy = true;
	return 0;
}

/* Under the lock: the copy is there, or (@result) it could not be made. */
static int end_chunk(struct native *native, uint64_t chunk, uint64_t target, int result)
{
	uint64_t *entry = NULL;

	if (entry_of(native, chunk, &entry) < 0 || space_touch(native, target) < 0)
		result = result < 0 ? result : -ENOMEM;
	if (entry && result == 0) {
		if (space_chunk_is_data(native, chunk))
			space_uncount(native, chunk);
		*moved_count(native, chunk) += 1;
		space_use(native, target, 0xffff);
		set_entry(entry, target | FORWARD_BOTH);
	} else {
		if (entry)
			set_entry(entry, 0);
		space_unhold(native, target, 0xffff);
	}
	native->busy = false;
	waiters_wake(&native->busy_waiters, 0);
	return result;
}

static int move_chunk(struct native *native, struct lane *lane, uint64_t chunk)
{
	struct evacuation *evacuation = native->evacuation;
	uint64_t target;
	int result;

	native_lock(native);
	result = begin_chunk(native, chunk, &target);
	native_unlock(lane);
	if (result < 0)
		return result;
	for (unsigned looks = 0;
	     result == 0 && __atomic_load_n(writes_of(native, chunk), __ATOMIC_ACQUIRE); looks++) {
		fiber_sleep(POLL_NS / 10);
		result = looks < LOOKS_MAX ? 0 : -EAGAIN;
	}
	if (result == 0)
		result = copy(native, lane, chunk, target);
	native_lock(native);
	result = end_chunk(native, chunk, target, result);
	native_unlock(lane);
	if (result == 0) {
		evacuation->chunk[evacuation->count++] = chunk;
		evacuation->generation = native->generation;
	}
	return result == BAD_CHUNK ? 0 : result; /* the others first */
}

/* ---- the walk ---- */
/* The next chunk of the device to move, CHUNK_NONE at the end of the pass. */
static uint64_t next_of_some(struct native *native, unsigned looks)
{
	struct evacuation *evacuation = native->evacuation;

	for (unsigned i = evacuation->device; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t end = pv->format.first_chunk + pv->format.chunks;

		if (!is_of(native, i, evacuation->device) || evacuation->cursor >= end)
			continue;
		if (evacuation->cursor < pv->format.first_chunk)
			evacuation->cursor = pv->format.first_chunk;
		for (; evacuation->cursor < end; evacuation->cursor++) {
			if (looks-- == 0)
				return LOOK_AGAIN;
			if (space_chunk_holds(native, evacuation->cursor) &&
			    !pv_forward(pv, evacuation->cursor))
				return evacuation->cursor++;
		}
	}
	return CHUNK_NONE;
}

/* A device has millions of chunks: the pool's lock is not held over all of them. */
static uint64_t next_chunk(struct native *native, struct lane *lane)
{
	uint64_t chunk;

	do {
		native_lock(native);
		chunk = next_of_some(native, SCAN_MAX);
		native_unlock(lane);
	} while (chunk == LOOK_AGAIN);
	return chunk;
}

/* Both roots have what was copied: from here on the new places are the only ones. */
static void switch_over(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;

	native_lock(native);
	while (evacuation->count) {
		uint64_t chunk = evacuation->chunk[--evacuation->count], *entry;
		struct pv *pv = pv_of(native, chunk);
		uint64_t target = pv_forward(pv, chunk) & FORWARD_TARGET;
		struct node *leaf = pv_forward_leaf(pv, chunk);

		entry = &leaf->body->forward.target[chunk % FORWARD_CHUNKS];
		set_entry(entry, target);
		forward_drop(native, chunk);
	}
	native_unlock(lane);
}

static int finish_batch(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	int result = 0;

	while (result == 0 && ORDER(moved_in_both_roots) &&
	       native->sb.generation < evacuation->generation + 1)
		result = checkpoint_run(native, lane, false);
	if (result == 0)
		switch_over(native, lane);
	return result;
}

static bool is_paused(const struct native *native)
{
	return native->pv[native->evacuation->device].format.flags & PV_PAUSED;
}

bool evacuate_runs(const struct native *native)
{
	const struct evacuation *evacuation = native->evacuation;

	return evacuation && !evacuation->failed && !evacuation->empty && !is_paused(native) &&
	       !native->read_only;
}

static void say_bad(struct evacuation *evacuation)
{
	if (evacuation->bad_slots)
		snprintf(evacuation->reason, sizeof(evacuation->reason),
			 "slots that can not be read: %llu (the findings list them), the first at "
			 "byte %llu of %s; write or discard there, then resume. Chunks that stay: "
			 "%llu",
			 (unsigned long long)evacuation->bad_slots,
			 (unsigned long long)evacuation->bad_offset, evacuation->bad_volume,
			 (unsigned long long)evacuation->bad_chunks);
	else
		snprintf(evacuation->reason, sizeof(evacuation->reason),
			 "chunks that can not be read and stay: %llu, with metadata: %llu; a scrub "
			 "writes metadata again from its other copy, then resume",
			 (unsigned long long)evacuation->bad_chunks,
			 (unsigned long long)evacuation->bad_meta);
}

static void fail(struct native *native, int result)
{
	struct evacuation *evacuation = native->evacuation;
	const char *path = native->pv[evacuation->device].disk->path;

	if (native->read_only)
		return;
	evacuation->failed = true;
	if (result == BAD_CHUNK)
		say_bad(evacuation);
	else if (result == -ENOSPC)
		snprintf(evacuation->reason, sizeof(evacuation->reason),
			 "the other devices have no room left: free some space, or add a device, "
			 "and resume");
	else
		snprintf(evacuation->reason, sizeof(evacuation->reason),
			 "a chunk can not be copied: %s", strerror(-result));
	log_error("pool %s: evacuating %s is stuck: %s", native->sb.name, path, evacuation->reason);
}

static void begin_pass(struct evacuation *evacuation)
{
	evacuation->cursor = 0;
	evacuation->bad_chunks = evacuation->bad_meta = evacuation->bad_slots = 0;
}

/* The end of a pass over the device. */
static bool end_pass(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	uint64_t left, moved, bad = evacuation->bad_chunks;

	if (evacuation->count) {
		begin_pass(evacuation); /* what can not be read is met again */
		return finish_batch(native, lane) == 0;
	}
	if (bad && evacuation->waited) {
		fail(native, BAD_CHUNK);
		return false;
	}
	begin_pass(evacuation);
	native_lock(native);
	left = chunks_left(native, evacuation->device, &moved);
	native_unlock(lane);
	evacuation->empty = left == 0;
	if (evacuation->empty)
		log_notice("pool %s: %s is empty and can be removed", native->sb.name,
			   native->pv[evacuation->device].disk->path);
	/* What is left has been given up, and is kept for a root or two, or for a reader. */
	evacuation->waited = left && !evacuation->waited;
	return evacuation->waited && checkpoint_run(native, lane, false) == 0 &&
	       checkpoint_run(native, lane, false) == 0;
}

bool evacuate_some(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	uint64_t chunk = 0, began = loop_now(native->home);
	int result = 0;

	for (unsigned i = 0; i < STEP_CHUNKS && result == 0 && chunk != CHUNK_NONE &&
			     evacuation->count < BATCH_CHUNKS;
	     i++) {
		chunk = next_chunk(native, lane);
		if (chunk != CHUNK_NONE)
			result = move_chunk(native, lane, chunk);
	}
	if (result == -EAGAIN) {
		begin_pass(evacuation);
		return false;
	}
	if (result < 0) {
		fail(native, result);
		return evacuation->count && finish_batch(native, lane) == 0;
	}
	if (chunk == CHUNK_NONE)
		return end_pass(native, lane);
	if (evacuation->count == BATCH_CHUNKS && finish_batch(native, lane) < 0)
		return false;
	if (__atomic_load_n(&native->requests, __ATOMIC_ACQUIRE)) /* guests first */
		fiber_sleep(loop_now(native->home) - began + POLL_NS);
	return true;
}

/* ---- beginning and ending ---- */
void evacuate_free(struct native *native)
{
	if (!native->evacuation)
		return;
	heap_free(native->evacuation->buffer);
	heap_free(native->evacuation);
	native->evacuation = NULL;
}

static int evacuation_new(struct native *native, unsigned device)
{
	struct evacuation *evacuation = heap_zalloc(sizeof(*evacuation));

	native->evacuation = evacuation;
	if (evacuation)
		evacuation->buffer = heap_aligned(BLOCK, 2 * CHUNK);
	if (!evacuation || !evacuation->buffer) {
		evacuate_free(native);
		return -ENOMEM;
	}
	evacuation->device = device;
	return 0;
}

/* Under the lock: the table for all chunks there are, and in new places, for the old ones may be on
 * the device. */
static int prepare_tree(struct native *native)
{
	struct tree *tree = &native->tree[ROOT_FORWARD];
	uint64_t leaves = native->chunks / FORWARD_CHUNKS + 1;
	int result = forward_rooms(native);

	while (result == 0 && tree_capacity(tree) < leaves)
		result = tree_grow(tree);
	for (uint64_t i = 0; i < leaves && result == 0; i++) {
		struct node *leaf;

		result = tree_find(tree, i, false, NULL, &leaf);
		if (result < 0 || !leaf)
			continue;
		forward_leaf_init(native, leaf);
		result = node_touch(leaf);
	}
	return result;
}

int evacuate_opened(struct native *native)
{
	int result = 0;

	for (unsigned i = 0; i < native->pv_count && result == 0 && !native->evacuation; i++)
		if (native->pv[i].device == &native->pv[i] &&
		    native->pv[i].format.state == PV_STATE_EVACUATING) {
			result = prepare_tree(native);
			if (result == 0)
				result = evacuation_new(native, i);
		}
	return result;
}

/* Under the lock: the rows of a device, here and in the next root. */
static void set_state(struct native *native, unsigned device, enum pv_state state, uint8_t flags)
{
	for (unsigned i = device; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];

		if (!is_of(native, i, device))
			continue;
		pv->format.state = native->sb.pv[i].state = (uint8_t)state;
		pv->format.flags = native->sb.pv[i].flags = flags;
		pv->allocates = state == PV_STATE_ACTIVE;
		pv->credit = 0;
	}
	space_totals(native);
	native->log_chunk[0] = native->log_chunk[1] = CHUNK_NONE;
}

/* The device of a path; -ENOENT. */
static int find_device(struct native_call *mine, unsigned *ret_device)
{
	struct native *native = mine->native;

	for (unsigned i = 0; i < native->pv_count; i++)
		if (pv_is_device(&native->pv[i]) && native->pv[i].disk &&
		    strcmp(native->pv[i].disk->path, mine->devices[0].path) == 0) {
			*ret_device = i;
			return 0;
		}
	return err_set(&mine->call->err, -ENOENT, "%s is not a device of pool %s",
		       mine->devices[0].path, native->sb.name);
}

static int refuse_room(struct native_call *mine, uint64_t left)
{
	return err_set(&mine->call->err, -ENOSPC,
		       "the other devices have not enough room for what is on %s: %llu MiB",
		       mine->devices[0].path, (unsigned long long)(left * CHUNK >> 20) + 1);
}

/* Mirrored volumes were there, and both roots may still say that the journal is there, too. */
static int leave_journal(struct native_call *mine, struct lane *lane, unsigned device)
{
	struct native *native = mine->native;
	int result = 0;

	for (unsigned i = 0; i < 3 && result == 0 && native->journal.twin == device; i++)
		result = checkpoint_run(native, lane, false);
	if (result == 0 && native->journal.twin == device)
		result = err_set(&mine->call->err, -EBUSY, "%s has the journal of pool %s, too",
				 mine->devices[0].path, native->sb.name);
	return result;
}

static int start(struct native_call *mine, struct lane *lane, unsigned device)
{
	struct native *native = mine->native;
	uint64_t left = 0, moved, meta = 0;
	int result;

	if (native->evacuation)
		return err_set(&mine->call->err, -EBUSY, "%s is being evacuated",
			       native->pv[native->evacuation->device].disk->path);
	if (mirror_any(native))
		return err_set(&mine->call->err, -EBUSY,
			       "pool %s has mirrored volumes, whose devices can not be evacuated",
			       native->sb.name);
	if (device == 0)
		return err_set(&mine->call->err, -EINVAL, "%s has the journal of pool %s and stays",
			       mine->devices[0].path, native->sb.name);
	result = leave_journal(mine, lane, device);
	if (result == 0)
		result = evacuation_new(native, device);
	if (result < 0)
		return result;
	native_lock(native);
	set_state(native, device, PV_STATE_EVACUATING, 0);
	left = chunks_left(native, device, &moved);
	for (unsigned i = device; i < native->pv_count; i++)
		if (is_of(native, i, device))
			meta += meta_left(native, i);
	if (!room_for(native, meta))
		result = refuse_room(mine, left);
	if (result == 0 && !mine->call->dry)
		result = prepare_tree(native);
	if (result < 0 || mine->call->dry) {
		set_state(native, device, PV_STATE_ACTIVE, 0);
		evacuate_free(native);
	}
	native_unlock(lane);
	return result < 0 || mine->call->dry ? result : checkpoint_run(native, lane, false);
}

static int change_running(struct native_call *mine, struct lane *lane, unsigned device)
{
	struct native *native = mine->native;
	struct evacuation *evacuation = native->evacuation;
	bool stop = mine->action == POOL_EVACUATE_STOP, pause = mine->action == POOL_EVACUATE_PAUSE;
	int result = 0;

	if (!evacuation || evacuation->device != device)
		return err_set(&mine->call->err, -EINVAL, "%s is not being evacuated",
			       mine->devices[0].path);
	if (mine->call->dry)
		return 0;
	if (evacuation->count)
		result = finish_batch(native, lane);
	if (result < 0)
		return result;
	native_lock(native);
	set_state(native, device, stop ? PV_STATE_ACTIVE : PV_STATE_EVACUATING,
		  pause ? PV_PAUSED : 0);
	evacuation->failed = evacuation->waited = false;
	begin_pass(evacuation);
	if (stop)
		evacuate_free(native);
	native_unlock(lane);
	return checkpoint_run(native, lane, false);
}

int evacuate_change(struct native_call *mine, struct lane *lane)
{
	unsigned device;
	int result = mine->native->read_only ? -EROFS : find_device(mine, &device);

	if (result == 0)
		result = away_refuse(mine->native, &mine->call->err);
	if (result < 0)
		return result;
	return mine->action == POOL_EVACUATE_START ? start(mine, lane, device)
						   : change_running(mine, lane, device);
}

/* ---- removing ---- */
/* Nothing is on its way to the device or from it, and nobody has looked up a place on it. */
static void wait_unused(struct native *native, struct pv *pv)
{
	uint64_t ticket = native->next_ticket;
	bool quiet = false;

	while (!quiet) {
		native_lock(native);
		quiet = list_empty(&native->readers) ||
			list_entry(native->readers.next, struct reader, link)->ticket >= ticket;
		pthread_mutex_unlock(&native->lock);
		(void)__atomic_exchange_n(&pv->dirty, false,
					  __ATOMIC_SEQ_CST); /* before the look */
		quiet &= !__atomic_load_n(&pv->in_flight, __ATOMIC_ACQUIRE) &&
			 !__atomic_load_n(&pv->dirty, __ATOMIC_ACQUIRE) &&
			 native->cycle.state != CYCLE_FLUSHING;
		if (!quiet)
			fiber_sleep(POLL_NS);
	}
}

static void wipe_labels(struct native *native, struct pv *pv)
{
	uint8_t *zeros = heap_aligned(BLOCK, BLOCK);
	int result = zeros ? 0 : -ENOMEM;

	for (unsigned copy = 0; copy < 4 && result == 0; copy++) {
		memset(zeros, 0, BLOCK);
		result = disk_io(pv->disk, DISK_WRITE, DISK_FUA,
				 superblock_position(pv->format.size, copy), zeros, BLOCK);
	}
	if (result < 0)
		log_warning("pool %s: the label of %s, which is removed, could not be wiped",
			    native->sb.name, pv->disk->path);
	heap_free(zeros);
}

/* What was given up of late is kept for a root or two: two checkpoints release it. */
static int settle(struct native *native, struct lane *lane, unsigned device)
{
	uint64_t left, moved;
	int result = 0;

	if (!native->evacuation || native->evacuation->device != device)
		return 0;
	if (native->evacuation->count)
		result = finish_batch(native, lane);
	native_lock(native);
	left = chunks_left(native, device, &moved);
	native_unlock(lane);
	for (unsigned i = 0; i < 3 && result == 0 && left; i++)
		result = checkpoint_run(native, lane, false);
	return result;
}

int evacuate_remove(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct disk *disk;
	uint64_t left, moved;
	unsigned device = 0;
	bool all = false;
	int result = native->read_only ? -EROFS : find_device(mine, &device);

	if (result == 0)
		result = settle(native, lane, device);
	if (result < 0)
		return result;
	if (native->evacuation && native->evacuation->device == device) {
		native->evacuation->cursor = 0; /* looked at, not only counted */
		all = next_chunk(native, lane) == CHUNK_NONE;
	}
	native_lock(native);
	left = chunks_left(native, device, &moved);
	if (!all || left || native->evacuation->count)
		result = err_set(&mine->call->err, -EBUSY, "%s is not empty: evacuate it first",
				 mine->devices[0].path);
	else if (!mine->call->dry)
		set_state(native, device, PV_STATE_REMOVED, 0);
	native_unlock(lane);
	if (result < 0 || mine->call->dry)
		return result;
	evacuate_free(native);
	disk = native->pv[device].disk;
	if (!ORDER(label_wiped_after_both_roots))
		wipe_labels(native, &native->pv[device]);
	result = checkpoint_run(native, lane, false);
	if (result == 0)
		result = checkpoint_run(native, lane, false);
	if (result < 0)
		return result;
	wait_unused(native, &native->pv[device]);
	wipe_labels(native, &native->pv[device]);
	for (unsigned i = device; i < native->pv_count; i++)
		if (is_of(native, i, device))
			native->pv[i].disk = NULL;
	log_notice("pool %s: %s is no part of it any more", native->sb.name, disk->path);
	disk_close(disk);
	return 0;
}

/* ---- pool.h ---- */
void evacuate_info(const struct native *native, unsigned device, struct pool_device_info *info)
{
	const struct evacuation *evacuation = native->evacuation;
	uint64_t left, moved;

	if (!evacuation || evacuation->device != device)
		return;
	left = chunks_left(native, device, &moved);
	info->left_bytes = left * CHUNK;
	info->moved_bytes = moved * CHUNK;
	info->state = evacuation->failed              ? DEVICE_STUCK
		      : left + evacuation->count == 0 ? DEVICE_EMPTY
		      : is_paused(native)             ? DEVICE_PAUSED
						      : DEVICE_EVACUATING;
	if (evacuation->failed)
		snprintf(info->reason, sizeof(info->reason), "%s", evacuation->reason);
}

static void queue(struct pool *pool, enum call_kind kind, const char *path,
		  enum pool_evacuate_action action, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, kind);

	if (!mine)
		return;
	mine->action = action;
	mine->devices = heap_zalloc(sizeof(*mine->devices));
	if (!mine->devices) {
		call_refuse(mine, err_set(&call->err, -ENOMEM, "out of memory"));
		return;
	}
	snprintf(mine->devices->path, sizeof(mine->devices->path), "%s", path);
	call_queue(mine);
}

void native_evacuate(struct pool *pool, const char *path, enum pool_evacuate_action action,
		     struct pool_call *call)
{
	queue(pool, CALL_EVACUATE, path, action, call);
}

void native_remove(struct pool *pool, const char *path, struct pool_call *call)
{
	queue(pool, CALL_REMOVE, path, POOL_EVACUATE_START, call);
}
