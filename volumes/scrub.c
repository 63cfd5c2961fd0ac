/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/bytes.h"
#include "volumes/guard.h"

/* The scrub: every superblock copy, both copies of every metadata node, every mapped slot of every
 * volume and snapshot, at a bounded rate and behind the guests. In a fiber of its own, beside the
 * keeper's; reads and writes, checkpoints and changes of volumes go on meanwhile. Of a snapshot
 * that is what the one before it has not, so that a thousand of them cost what they differ.
 *
 *   idle/done/stopped --start--> running --end--> done
 *                                 ^    |--pause--> paused --resume--> running
 *                     next open --+    |--stop--> stopped
 *
 * Metadata is looked at by place (tree, level, index), with the pointer as it is at that moment; a
 * copy that is bad counts only when no checkpoint, whose nodes are on their way to the disk, was
 * under way meanwhile; else it is looked at again. Data is read as guests read it, so what counts
 * as bad is decided in one place (io.c), which also notes the finding. */

#define READ_STEP     (256u << 10) /* bytes of data at a time */
#define EXTENTS       32u
#define EXTENTS_REACH (256ull << 20) /* bytes of a volume asked about at a time */
#define RATE_DEFAULT  (200ull << 20) /* bytes a second */
#define YIELD_FACTOR  4u             /* with guests about: rest so many times as long as it took */
#define YIELD_MIN_NS  2000000ull
#define SAVE_NS       (20 * 1000000000ull)
#define PATIENCE_NS   20000000ull /* a checkpoint takes its time, and a scrub is in no hurry */
#define TRIES         64u

struct scrub {
	struct native *native;
	struct lane *lane;
	struct scrub_state *state; /* of scrub_nodes(); NULL: the ledger's */
	const bool *halt_nodes;
	bool running, halt;
	bool stopped; /* seen by the pass that runs, which ends even if it is resumed since */
	uint64_t run_ns, run_done; /* when this run began, and with how much done */
	uint64_t saved_ns;
	uint8_t *node; /* two copies */
	uint8_t *data;
	struct volume_extent extent[EXTENTS];
};

static struct scrub_state *state_of(struct scrub *scrub)
{
	return scrub->state ? scrub->state : &scrub->native->ledger->scrub;
}

static bool halted(struct scrub *scrub)
{
	struct native *native = scrub->native;

	if (scrub->halt || (scrub->halt_nodes && *scrub->halt_nodes) || native->closing ||
	    native->read_only || state_of(scrub)->state != SCRUB_RUNNING)
		scrub->stopped = true;
	return scrub->stopped;
}

/* After @bytes that took @took: keep to the rate, rest when guests are about, save at times. */
static void pace(struct scrub *scrub, uint64_t bytes, uint64_t began)
{
	struct native *native = scrub->native;
	struct scrub_state *state = state_of(scrub);
	uint64_t now = loop_now(native->home), took = now - began;
	uint64_t due = bytes * 1000000000ull / state->rate, rest = due > took ? due - took : 0;

	if (__atomic_load_n(&native->requests, __ATOMIC_ACQUIRE)) {
		uint64_t yield = took * YIELD_FACTOR;

		yield = yield < YIELD_MIN_NS ? YIELD_MIN_NS : yield;
		rest = rest < yield ? yield : rest;
	}
	native_lock(native);
	state->done += bytes;
	if (!scrub->state && now - scrub->saved_ns >= SAVE_NS) {
		scrub->saved_ns = now;
		ledger_dirty(native);
	}
	native_unlock(scrub->lane);
	if (rest)
		fiber_sleep(rest);
}

/* ---- metadata ---- */
struct place {
	struct scrub *scrub;
	int root;        /* of the pool's trees; -1: the map of a volume */
	uint64_t volume; /* its id */
};

/* Under the lock. NULL: the volume is gone. Of one that is being deleted the nodes that are left
 * are the resilver's business, too: a snapshot that others stand on may stay for years. */
static struct tree *tree_of(const struct place *place)
{
	struct native *native = place->scrub->native;
	struct nvolume *volume;

	if (place->root >= 0)
		return &native->tree[place->root];
	volume = nvolume_by_id(native, place->volume);
	if (!volume || (volume->state == VOLUME_STATE_DELETING && !place->scrub->state))
		return NULL;
	return &volume->map;
}

/* Its pointer as it is now; none where it has been given up (reap.c). Under the lock. */
static int pointer_in(struct tree *tree, unsigned level, uint64_t index, struct waiter *waiter,
		      struct node_pointer *ret_pointer)
{
	const struct nvolume *volume = container_of(tree, struct nvolume, map);

	*ret_pointer = (struct node_pointer){0};
	if (!tree || level > tree->levels ||
	    (tree->kind == NODE_MAP && volume->state == VOLUME_STATE_DELETING &&
	     (index + 1) << 6 * level <= volume->reaped))
		return 0;
	return tree_pointer(tree, level, index, waiter, ret_pointer);
}

/* What is in a snapshot's map and not younger than this is looked at with the one before it. One
 * that is being deleted is not looked at, and does not count. Under the lock. */
static uint64_t looked_at_before(const struct nvolume *volume)
{
	const struct nvolume *parent = volume->parent;

	if (volume->state != VOLUME_STATE_SNAPSHOT)
		return 0;
	while (parent && parent->state == VOLUME_STATE_DELETING)
		parent = parent->parent;
	return parent ? parent->generation : 0;
}

static bool is_anothers(const struct place *place, const struct node_pointer *pointer)
{
	struct native *native = place->scrub->native;
	const struct nvolume *volume;
	bool anothers;

	if (place->root >= 0)
		return false;
	native_lock(native);
	volume = nvolume_by_id(native, place->volume);
	anothers = volume && pointer->generation <= looked_at_before(volume);
	native_unlock(place->scrub->lane);
	return anothers;
}

/* The pointer to a node as it is now, and what the node must say of itself. */
static int pointer_now(const struct place *place, unsigned level, uint64_t index,
		       struct node_pointer *ret_pointer, struct node_header *ret_header)
{
	struct native *native = place->scrub->native;

	for (;;) {
		struct fiber_waiter wait;
		struct tree *tree;
		int result;

		fiber_waiter_init(&wait, place->scrub->lane);
		native_lock(native);
		tree = tree_of(place);
		result = pointer_in(tree, level, index, &wait.waiter, ret_pointer);
		if (tree)
			*ret_header = (struct node_header){.kind = (uint8_t)tree->kind,
							   .level = (uint8_t)level,
							   .owner = tree->owner,
							   .index = index,
							   .pool_hash = native->hash};
		native_unlock(place->scrub->lane);
		if (result != -EINPROGRESS)
			return result;
		result = fiber_waiter_wait(&wait);
		if (result < 0)
			return result;
	}
}

static void note_node(const struct place *place, const struct node_header *header, uint8_t kind)
{
	struct scrub *scrub = place->scrub;
	struct scrub_state *state = state_of(scrub);
	struct finding finding = {.kind = kind,
				  .volume = place->root < 0 ? place->volume : 0,
				  .offset = header->index,
				  .tree = header->kind,
				  .level = header->level};

	native_lock(scrub->native);
	state->errors++;
	state->repaired += kind == FINDING_NODE_REPAIRED;
	if (!scrub->state || kind != FINDING_NODE_REPAIRED)
		finding_note(scrub->native, &finding);
	native_unlock(scrub->lane);
}

/* Write copy @bad again from the other one. The pointer is looked at once more under the lock; a
 * checkpoint that begins later waits for us, and one under way reuses nothing of the last roots. */
static bool repair(const struct place *place, const struct node_header *header,
		   const struct node_pointer *pointer, unsigned bad)
{
	struct native *native = place->scrub->native;
	uint8_t *good = place->scrub->node + (size_t)(bad ^ 1) * NODE_LENGTH_MAX;
	struct node_pointer now;
	struct pv *pv;
	uint64_t offset;
	int result = -ESTALE;

	native_lock(native);
	if (pointer_in(tree_of(place), header->level, header->index, NULL, &now) == 0 &&
	    memcmp(&now, pointer, sizeof(now)) == 0 && !native->read_only &&
	    pv_locate(native, pointer->address[bad], &pv, &offset)) {
		native->repairs_in_flight++;
		result = 0;
	}
	native_unlock(place->scrub->lane);
	if (result < 0)
		return false;
	node_set_address(good, pointer->address[bad]);
	result = pv_node_io(native, DISK_WRITE, DISK_FUA, pointer->address[bad], good,
			    (pointer->length + BLOCK - 1) / BLOCK * BLOCK);
	native_lock(native);
	native->repairs_in_flight--;
	native->metadata_repairs += result == 0 && !place->scrub->state;
	native_unlock(place->scrub->lane);
	return result == 0;
}

static void wait_checkpoint(struct scrub *scrub)
{
	while (__atomic_load_n(&scrub->native->checkpointing, __ATOMIC_ACQUIRE) && !halted(scrub))
		fiber_sleep(PATIENCE_NS);
}

/* A copy on a device that is away can not be looked at; one that may be old is known to be, and the
 * resilver's business (which is us, with a state of our own). */
static bool is_expected(const struct scrub *scrub, uint64_t address)
{
	return scrub->state ? away_has(scrub->native, address / CHUNK_SLOTS)
			    : away_has_node(scrub->native, address);
}

/* Both copies of a node. -ESTALE: look again; 1: there is none, or not here. */
static int look_at_node(const struct place *place, unsigned level, uint64_t index)
{
	struct scrub *scrub = place->scrub;
	struct node_pointer pointer, now;
	struct node_header header;
	unsigned bad = 0, which = 0;
	uint64_t generation = scrub->native->sb.generation;
	bool moving = scrub->native->checkpointing;
	int result = pointer_now(place, level, index, &pointer, &header);

	if (result < 0 || !pointer.generation || is_anothers(place, &pointer))
		return result < 0 ? result : 1;
	for (unsigned copy = 0; copy < 2; copy++)
		if (node_read_copy(scrub->native, &pointer, copy, &header,
				   scrub->node + (size_t)copy * NODE_LENGTH_MAX) < 0 &&
		    !is_expected(scrub, pointer.address[copy])) {
			which = copy;
			bad++;
		}
	if (!bad)
		return 0;
	if (moving || scrub->native->checkpointing || scrub->native->sb.generation != generation)
		return -ESTALE; /* it may have been on its way to the disk */
	result = pointer_now(place, level, index, &now, &header);
	if (result < 0 || memcmp(&now, &pointer, sizeof(now)) != 0)
		return result < 0 ? result : -ESTALE;
	if (bad == 2)
		note_node(place, &header, FINDING_NODE_LOST);
	else if (repair(place, &header, &pointer, which))
		note_node(place, &header, FINDING_NODE_REPAIRED);
	else
		return -ESTALE;
	return 0;
}

static void scrub_node(const struct place *place, unsigned level, uint64_t index)
{
	struct scrub *scrub = place->scrub;
	uint64_t began = loop_now(scrub->native->home);
	unsigned tries = 0;
	int result = -ESTALE;

	for (; result == -ESTALE && tries < TRIES && !halted(scrub); tries++) {
		if (tries)
			wait_checkpoint(scrub);
		result = look_at_node(place, level, index);
	}
	if (result)
		return; /* no such node; or its parent is lost, which was noted */
	state_of(scrub)->nodes++;
	pace(scrub, 2ull * BLOCK, began);
	for (unsigned i = 0; level && i < NODE_FANOUT && !halted(scrub); i++)
		scrub_node(place, level - 1, index * NODE_FANOUT + i);
}

static void scrub_tree(struct scrub *scrub, int root, uint64_t volume)
{
	struct place place = {.scrub = scrub, .root = root, .volume = volume};
	struct tree *tree;
	unsigned levels = 0;

	native_lock(scrub->native);
	tree = tree_of(&place);
	if (tree)
		levels = tree->levels;
	native_unlock(scrub->lane);
	if (tree)
		scrub_node(&place, levels, 0);
}

/* ---- superblocks ---- */
static bool label_is_bad(struct scrub *scrub, unsigned index, unsigned copy)
{
	struct native *native = scrub->native;
	struct pv *pv = &native->pv[index];
	struct superblock sb;
	uint64_t generation;
	int result;

	do { /* not while it is being written */
		wait_checkpoint(scrub);
		if (!pv_is_device(pv) || !pv_is_here(pv))
			return false; /* it was taken out of the pool meanwhile, or is away */
		generation = native->sb.generation;
		result = pv_io(pv, DISK_READ, 0, superblock_position(pv->format.size, copy),
			       scrub->node, BLOCK);
	} while (!halted(scrub) && (native->checkpointing || native->sb.generation != generation));
	if (!pv_is_device(pv) || !pv_is_here(pv))
		return false;
	if (result == 0)
		result = superblock_decode(scrub->node, &sb, NULL);
	if (generation <= pv->since)
		return false; /* not all are where they are to be */
	return result < 0 || sb.generation + 1 < generation || sb.pv_index != index ||
	       memcmp(&sb.pool_uuid, &native->sb.pool_uuid, sizeof(sb.pool_uuid)) != 0;
}

/* Checkpoints until generation @wanted is there. */
static void reach_generation(struct scrub *scrub, uint64_t wanted)
{
	struct native *native = scrub->native;

	while (native->sb.generation < wanted && !halted(scrub)) {
		native_lock(native);
		checkpoint_want(native);
		native_unlock(scrub->lane);
		fiber_sleep(PATIENCE_NS);
	}
}

static void scrub_labels(struct scrub *scrub)
{
	struct native *native = scrub->native;
	unsigned found = 0;

	/* A crash may have torn a copy; the first two checkpoints after an open write all. */
	reach_generation(scrub, native->opened_generation + 1);
	for (unsigned i = 0; i < native->pv_count; i++)
		for (unsigned copy = 0; copy < 4 && !halted(scrub); copy++) {
			if (!pv_is_device(&native->pv[i]))
				break;
			struct finding finding = {
			    .kind = FINDING_LABEL, .offset = i, .length = copy};

			if (!label_is_bad(scrub, i, copy) || halted(scrub))
				continue;
			found++;
			native_lock(native);
			state_of(scrub)->errors++;
			state_of(scrub)->repaired++;
			finding_note(native, &finding);
			native_unlock(scrub->lane);
		}
	if (found) /* a checkpoint writes the copies of one side: two write all */
		reach_generation(scrub, native->sb.generation + 2);
}

/* ---- data ---- */
/* Requests on a volume by id: it may be deleted between any two of them. -ENOENT: it is. */
static int volume_io(struct scrub *scrub, uint64_t id, struct volume_request *request)
{
	struct nvolume *volume;
	int result = -ENOENT;

	native_lock(scrub->native);
	volume = nvolume_by_id(scrub->native, id);
	if (volume && volume->state == VOLUME_STATE_DELETING)
		volume = NULL;
	if (volume)
		volume->visitors++;
	native_unlock(scrub->lane);
	if (!volume)
		return result;
	if (request->offset + request->length <= volume_size(&volume->volume))
		result = io_request_fiber(volume, request);
	volume->visitors--;
	return result;
}

static int read_data(struct scrub *scrub, uint64_t id, uint64_t offset, uint64_t length)
{
	struct iovec iov = {.iov_base = scrub->data, .iov_len = (size_t)length};
	struct volume_request request = {.op = VOLUME_READ,
					 .flags = REQUEST_BOTH_COPIES,
					 .offset = offset,
					 .length = length,
					 .iov = &iov,
					 .iov_count = 1};

	return volume_io(scrub, id, &request);
}

/* Slot by slot where a larger read failed: the bad ones are counted; io.c has noted them. */
static void narrow_down(struct scrub *scrub, uint64_t id, uint64_t offset, uint64_t length)
{
	for (uint64_t at = offset; at < offset + length && !halted(scrub); at += VOLUME_SLOT) {
		int result = read_data(scrub, id, at, VOLUME_SLOT);

		if (result == -EILSEQ || result == -EIO)
			state_of(scrub)->errors++;
	}
}

static int scrub_extent(struct scrub *scrub, uint64_t id, uint64_t offset, uint64_t end)
{
	struct scrub_state *state = state_of(scrub);

	while (offset < end && !halted(scrub)) {
		uint64_t length = end - offset < READ_STEP ? end - offset : READ_STEP;
		uint64_t began = loop_now(scrub->native->home);
		int result = read_data(scrub, id, offset, length);

		if (result == -ENOENT)
			return result;
		if (result < 0)
			narrow_down(scrub, id, offset, length);
		if (result < 0 && halted(scrub))
			return 0; /* the whole step again when it goes on */
		offset += length;
		state->offset = offset;
		state->slots += length / VOLUME_SLOT;
		pace(scrub, length, began);
	}
	return 0;
}

static void scrub_volume(struct scrub *scrub, uint64_t id, uint64_t size)
{
	struct scrub_state *state = state_of(scrub);

	while (state->offset < size && !halted(scrub)) {
		uint64_t from = state->offset, reach = size - from;
		struct volume_request request = {.op = VOLUME_EXTENTS,
						 .offset = from,
						 .length =
						     reach < EXTENTS_REACH ? reach : EXTENTS_REACH,
						 .extents = scrub->extent,
						 .extent_max = EXTENTS};
		int result = volume_io(scrub, id, &request);

		if (result == -ENOENT)
			return;
		if (result < 0) { /* its map is lost there, which was noted: behind it */
			state->offset = from + MAP_CHUNKS * CHUNK;
			state->offset -= state->offset % (MAP_CHUNKS * CHUNK);
			continue;
		}
		for (unsigned i = 0; i < request.extent_count && !halted(scrub); i++) {
			const struct volume_extent *extent = &scrub->extent[i];

			if (extent->mapped && scrub_extent(scrub, id, extent->offset,
							   extent->offset + extent->length) < 0)
				return;
			if (!halted(scrub))
				state->offset = extent->offset + extent->length;
		}
	}
}

/* ---- data of snapshots ---- */
/* The first leaf from @leaf on that is younger than @limit; UINT64_MAX: none. Under the lock;
 * -EINPROGRESS: wait, and look again. */
static int next_own_leaf(struct tree *tree, uint64_t limit, uint64_t leaf, struct waiter *waiter,
			 uint64_t *ret_leaf)
{
	*ret_leaf = UINT64_MAX;
	while (leaf < tree_capacity(tree)) {
		struct node_pointer pointer = {0};
		unsigned level = tree->levels;

		for (;; level--) {
			int result = tree_pointer(tree, level, leaf >> 6 * level, waiter, &pointer);

			if (result < 0)
				return result;
			if (level == 0 || pointer.generation <= limit)
				break;
		}
		if (pointer.generation > limit) {
			*ret_leaf = leaf;
			return 0;
		}
		leaf = ((leaf >> 6 * level) + 1) << 6 * level;
	}
	return 0;
}

struct own { /* a part of a snapshot, within a leaf */
	uint64_t begin, end;
	unsigned count; /* of scrub->extent */
};

static void own_add(struct scrub *scrub, struct own *own, uint64_t offset)
{
	struct volume_extent *last = own->count ? &scrub->extent[own->count - 1] : NULL;

	if (last && last->offset + last->length == offset)
		last->length += VOLUME_SLOT;
	else
		scrub->extent[own->count++] =
		    (struct volume_extent){.offset = offset, .length = VOLUME_SLOT, .mapped = true};
}

/* The leaf's slots that are mapped and younger than @limit, from own->begin on. */
static void own_slots(struct scrub *scrub, struct own *own, const struct map_entry *entries,
		      uint64_t limit)
{
	const uint64_t leaf_bytes = (uint64_t)MAP_CHUNKS * CHUNK;

	own->count = 0;
	own->end = own->begin - own->begin % leaf_bytes + leaf_bytes;
	for (uint64_t at = own->begin; at < own->end; at += VOLUME_SLOT) {
		const struct map_entry *entry = &entries[at / CHUNK % MAP_CHUNKS];
		unsigned slot = (unsigned)(at / VOLUME_SLOT % CHUNK_SLOTS);
		uint64_t address;

		if (own->count == EXTENTS) {
			own->end = at;
			return;
		}
		if (map_slot(entry, slot, &address) && map_birth(entry, slot) > limit)
			own_add(scrub, own, at);
	}
}

/* What comes next of a snapshot from own->begin on. -ENOENT: nothing, or it is deleted. */
static int own_next(struct scrub *scrub, uint64_t id, struct own *own)
{
	const uint64_t leaf_bytes = (uint64_t)MAP_CHUNKS * CHUNK;
	struct native *native = scrub->native;

	for (;;) {
		struct fiber_waiter wait;
		struct nvolume *volume;
		struct node *node = NULL;
		uint64_t leaf = UINT64_MAX, limit;
		int result = -ENOENT;

		fiber_waiter_init(&wait, scrub->lane);
		native_lock(native);
		nodes_evict(native);
		volume = nvolume_by_id(native, id);
		if (volume && volume->state == VOLUME_STATE_SNAPSHOT) {
			limit = looked_at_before(volume);
			result = next_own_leaf(&volume->map, limit, own->begin / leaf_bytes,
					       &wait.waiter, &leaf);
			if (result == 0 && leaf == UINT64_MAX)
				result = -ENOENT;
			if (result == 0 && leaf * leaf_bytes > own->begin)
				own->begin = leaf * leaf_bytes;
			if (result == 0)
				result = tree_find(&volume->map, leaf, false, &wait.waiter, &node);
			if (result == 0 && node)
				own_slots(scrub, own, node->body->map.entry, limit);
		}
		native_unlock(scrub->lane);
		if (result != -EINPROGRESS)
			return result;
		result = fiber_waiter_wait(&wait);
		if (result < 0)
			return result;
	}
}

static void scrub_snapshot(struct scrub *scrub, uint64_t id)
{
	struct scrub_state *state = state_of(scrub);
	const uint64_t leaf_bytes = (uint64_t)MAP_CHUNKS * CHUNK;

	while (!halted(scrub)) {
		struct own own = {.begin = state->offset};
		int result = own_next(scrub, id, &own);

		if (result == -ENOENT)
			return;
		if (result < 0) { /* its map is lost there, which was noted: behind it */
			state->offset = own.begin - own.begin % leaf_bytes + leaf_bytes;
			continue;
		}
		for (unsigned i = 0; i < own.count && !halted(scrub); i++)
			if (scrub_extent(scrub, id, scrub->extent[i].offset,
					 scrub->extent[i].offset + scrub->extent[i].length) < 0)
				return;
		if (!halted(scrub))
			state->offset = own.end;
	}
}

/* ---- the whole ---- */
struct subject {
	uint64_t id, size; /* id 0: none */
	bool snapshot;
};

/* The volume or snapshot with the lowest id from @id on, as tree_of() has them. The table of
 * volumes is in memory. */
static struct subject next_subject(struct scrub *scrub, uint64_t id)
{
	struct native *native = scrub->native;
	struct tree *table = &native->tree[ROOT_VOLUMES];
	struct subject best = {0};
	uint64_t leaf = (id - 1) / VOLUMES_PER_LEAF;
	struct node *node;

	native_lock(native);
	while (!best.id && tree_next(table, leaf, NULL, &leaf) == 0 && leaf != UINT64_MAX &&
	       tree_find(table, leaf, false, NULL, &node) == 0) {
		for (unsigned i = 0; node && !best.id && i < VOLUMES_PER_LEAF; i++) {
			const struct nvolume *volume = node->body->volumes.volume[i];

			if (volume && volume->id >= id && !volume->pending &&
			    (volume->state != VOLUME_STATE_DELETING || scrub->state))
				best = (struct subject){.id = volume->id,
							.size = volume->volume.size_bytes,
							.snapshot = volume->of != NULL};
		}
		leaf++;
	}
	native_unlock(scrub->lane);
	return best;
}

static void count_total(struct scrub *scrub)
{
	struct native *native = scrub->native;
	struct scrub_state *state = state_of(scrub);

	native_lock(native);
	state->total = native->meta_used * BLOCK;
	list_for_each (it, &native->volumes) {
		const struct nvolume *volume = list_entry(it, struct nvolume, link);

		state->total += volume->used_slots * (uint64_t)VOLUME_SLOT;
		list_for_each (its, &volume->snapshots)
			state->total += list_entry(its, struct nvolume, listed)->owned_slots *
					(uint64_t)VOLUME_SLOT;
	}
	state->total = state->total > state->done ? state->total : state->done;
	native_unlock(scrub->lane);
}

/* What a whole pass has not met again is no more: overwritten, deleted, or a passing fault. */
static void forget_old(struct native *native)
{
	struct ledger *ledger = native->ledger;
	unsigned kept = 0;

	for (unsigned i = 0; i < ledger->count; i++) {
		const struct finding *finding = &ledger->finding[i];

		if (finding_repaired(finding) || finding->time_ns >= ledger->scrub.started_ns)
			ledger->finding[kept++] = *finding;
	}
	ledger->count = kept;
}

/* True: it was paused and resumed before the pass had come to its end; go on. */
static bool end(struct scrub *scrub)
{
	struct native *native = scrub->native;
	struct scrub_state *state = state_of(scrub);
	bool again = false;

	native_lock(native);
	if (state->state == SCRUB_RUNNING && !halted(scrub)) {
		forget_old(native);
		state->state = SCRUB_DONE;
		state->ended_ns = loop_wall(native->home);
		state->done = state->total;
		log_notice("scrub of pool %s: %llu nodes, %llu slots, %llu errors, %llu repaired",
			   native->sb.name, (unsigned long long)state->nodes,
			   (unsigned long long)state->slots, (unsigned long long)state->errors,
			   (unsigned long long)state->repaired);
	}
	if (scrub->stopped) {
		scrub->stopped = false;
		again = !halted(scrub);
	}
	ledger_dirty(native);
	scrub->running = again;
	native_unlock(scrub->lane);
	return again;
}

static void scrub_trees(struct scrub *scrub)
{
	struct subject next;

	for (int i = 0; i < ROOT_COUNT && !halted(scrub); i++)
		scrub_tree(scrub, i, 0);
	for (uint64_t id = 1; !halted(scrub) && (next = next_subject(scrub, id)).id;
	     id = next.id + 1)
		scrub_tree(scrub, -1, next.id);
}

int scrub_nodes(struct native *native, struct lane *lane, const bool *halt)
{
	struct scrub *scrub = heap_zalloc(sizeof(*scrub));
	struct scrub_state state = {.state = SCRUB_RUNNING, .rate = RATE_DEFAULT};
	int result = -ENOMEM;

	if (scrub) {
		scrub->native = native;
		scrub->lane = lane;
		scrub->state = &state;
		scrub->halt_nodes = halt;
		scrub->node = heap_aligned(BLOCK, 2 * NODE_LENGTH_MAX);
	}
	if (scrub && lane && scrub->node) {
		scrub_trees(scrub);
		result = halted(scrub) ? -EINTR : 0;
	}
	heap_free(scrub ? scrub->node : NULL);
	heap_free(scrub);
	return result;
}

/* From where the state says on. */
static void scrub_pass(struct scrub *scrub)
{
	struct scrub_state *state = state_of(scrub);
	struct subject next;

	count_total(scrub);
	if (!state->volume) { /* metadata: once a pass */
		scrub_labels(scrub);
		scrub_trees(scrub);
		if (!halted(scrub))
			state->volume = 1;
	}
	while (!halted(scrub) && (next = next_subject(scrub, state->volume)).id) {
		if (next.id != state->volume)
			state->offset = 0;
		state->volume = next.id;
		if (next.snapshot)
			scrub_snapshot(scrub, next.id);
		else
			scrub_volume(scrub, next.id, next.size);
		if (halted(scrub))
			break;
		state->volume = next.id + 1;
		state->offset = 0;
	}
}

static void scrub_main(void *context)
{
	struct scrub *scrub = context;

	scrub->lane = lane_get(scrub->native);
	scrub->node = heap_aligned(BLOCK, 2 * NODE_LENGTH_MAX);
	scrub->data = heap_aligned(BLOCK, READ_STEP);
	if (scrub->lane && scrub->node && scrub->data) {
		do
			scrub_pass(scrub);
		while (end(scrub));
	}
	heap_free(scrub->node);
	heap_free(scrub->data);
	scrub->running = false;
}

static int run(struct native *native)
{
	struct scrub *scrub = native->scrub;
	int result;

	if (scrub->running)
		return 0;
	scrub->halt = scrub->stopped = false;
	scrub->run_ns = scrub->saved_ns = loop_now(native->home);
	scrub->run_done = state_of(scrub)->done;
	result = fiber_start(native->home, scrub_main, scrub);
	scrub->running = result == 0;
	return result;
}

int scrub_new(struct native *native)
{
	native->scrub = heap_zalloc(sizeof(*native->scrub));
	if (!native->scrub)
		return -ENOMEM;
	native->scrub->native = native;
	return 0;
}

void scrub_opened(struct native *native)
{
	if (native->ledger->scrub.state != SCRUB_RUNNING || native->read_only)
		return;
	if (run(native) == 0)
		log_notice("scrub of pool %s goes on where it was", native->sb.name);
}

void scrub_halt(struct native *native)
{
	native->scrub->halt = true;
	while (native->scrub->running)
		fiber_sleep(POLL_NS);
}

void scrub_free(struct native *native)
{
	heap_free(native->scrub);
	heap_free(native->ledger);
}

/* May @action be now? */
static int allowed(struct native *native, enum pool_scrub_action action, struct err *err)
{
	const struct scrub_state *state = &native->ledger->scrub;

	if (action == POOL_SCRUB_START && state->state == SCRUB_RUNNING)
		return err_set(err, -EALREADY, "pool %s is being scrubbed already",
			       native->sb.name);
	if (action == POOL_SCRUB_START && native->scrub->running)
		return err_set(err, -EBUSY, "the last scrub of pool %s is just ending",
			       native->sb.name);
	if (action == POOL_SCRUB_RESUME && state->state != SCRUB_PAUSED)
		return err_set(err, -EINVAL, "no scrub of pool %s is paused", native->sb.name);
	if (action == POOL_SCRUB_PAUSE && state->state != SCRUB_RUNNING)
		return err_set(err, -EINVAL, "pool %s is not being scrubbed", native->sb.name);
	if (action == POOL_SCRUB_STOP && state->state != SCRUB_RUNNING &&
	    state->state != SCRUB_PAUSED)
		return err_set(err, -EINVAL, "pool %s is not being scrubbed", native->sb.name);
	return 0;
}

static void change(struct native *native, enum pool_scrub_action action)
{
	struct scrub_state *state = &native->ledger->scrub;

	if (action == POOL_SCRUB_START) {
		*state = (struct scrub_state){.state = SCRUB_RUNNING,
					      .started_ns = loop_wall(native->home),
					      .rate = state->rate ? state->rate : RATE_DEFAULT};
		return;
	}
	state->state = action == POOL_SCRUB_RESUME  ? SCRUB_RUNNING
		       : action == POOL_SCRUB_PAUSE ? SCRUB_PAUSED
						    : SCRUB_STOPPED;
	if (action == POOL_SCRUB_STOP)
		state->ended_ns = loop_wall(native->home);
}

int native_scrub(struct pool *pool, enum pool_scrub_action action, uint64_t rate, bool dry,
		 struct err *err)
{
	struct native *native = native_of(pool);
	int result;

	if (native->read_only)
		return err_set(err, -EROFS, "pool %s is read-only: %s", native->sb.name,
			       native->read_only_reason);
	native_lock(native);
	result = allowed(native, action, err);
	if (result == 0 && !dry) {
		change(native, action);
		if (rate)
			native->ledger->scrub.rate = rate;
		ledger_dirty(native);
	}
	pthread_mutex_unlock(&native->lock);
	if (result == 0 && !dry && native->ledger->scrub.state == SCRUB_RUNNING)
		result = run(native);
	return result == -ENOMEM ? err_set(err, result, "out of memory") : result;
}

void native_scrub_info(struct pool *pool, struct pool_scrub_info *ret_info)
{
	struct native *native = native_of(pool);
	const struct scrub *scrub = native->scrub;
	const struct scrub_state *state;
	struct pool_scrub_info info = {0};
	uint64_t took, moved;

	native_lock(native);
	state = &native->ledger->scrub;
	info = (struct pool_scrub_info){.state = state->state,
					.started_ns = state->started_ns,
					.ended_ns = state->ended_ns,
					.rate_bytes = state->rate ? state->rate : RATE_DEFAULT,
					.done_bytes = state->done,
					.total_bytes = state->total,
					.nodes = state->nodes,
					.slots = state->slots,
					.errors = state->errors,
					.repaired = state->repaired,
					.findings = native->ledger->count,
					.findings_dropped = native->ledger->dropped};
	if (info.total_bytes < info.done_bytes)
		info.total_bytes = info.done_bytes;
	took = loop_now(native->home) - scrub->run_ns;
	moved = state->done > scrub->run_done ? state->done - scrub->run_done : 0;
	if (state->state == SCRUB_RUNNING && moved)
		info.eta_seconds = (uint64_t)((double)(info.total_bytes - info.done_bytes) /
					      (double)moved * (double)took / 1e9) +
				   1;
	pthread_mutex_unlock(&native->lock);
	*ret_info = info;
}
