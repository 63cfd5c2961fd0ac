/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/evacuate.h"
#include "volumes/spread.h"

/* Taking a device out of a pool: its chunks are copied elsewhere, a few at a time (relocate.c),
 * then it goes. In the keeper's fiber, beside the guests' I/O.
 *
 * A pass goes over the pairs of mirrored volumes that have a copy there, then over the device: what
 * is left are chunks with one copy, and metadata. Which devices the other copies of the nodes there
 * are on is asked of all trees once (E2), in a pool that may go on without a device.
 *
 * A chunk that can not be read stays; the others go on. When a pass has moved nothing more the
 * evacuation stops, and says where such slots are (volume and byte; as findings, too): overwritten
 * or discarded, they are no more in the way.
 *
 * The nodes of the FORWARD tree are read by their own addresses, so they are never on a device that
 * is being evacuated: they are written anew when that begins, before the first entry.
 *
 * While another device is away, or being made good, nothing is moved: the batch is finished before
 * that begins, so that each chunk has one place. */

#define STEP_CHUNKS 16u
#define SCAN_MAX    4096u /* chunks looked at under the lock at a time */

static bool is_of(const struct native *native, unsigned row, unsigned device)
{
	return native->pv[row].device == &native->pv[device];
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

/* ---- the walk ---- */
static const struct pv *device_of(const struct native *native)
{
	return &native->pv[native->evacuation->device];
}

/* The next copy of a pair on the device, in at most @looks; false, *ret_end: there is none. */
static bool next_pair(struct native *native, unsigned looks, bool *ret_end)
{
	struct evacuation *evacuation = native->evacuation;
	struct relocation *now = &evacuation->now;

	for (; evacuation->pair_row < native->pv_count;
	     evacuation->pair_row++, evacuation->pair = 0) {
		const struct pv *pv = &native->pv[evacuation->pair_row];
		uint64_t end = pv->format.first_chunk + pv->format.chunks;

		if (evacuation->pair < pv->format.first_chunk)
			evacuation->pair = pv->format.first_chunk;
		for (;; evacuation->pair++) {
			uint64_t first = evacuation->pair = mirror_next(pv, evacuation->pair);
			unsigned copy;

			if (first >= end)
				break;
			if (looks-- == 0)
				return false;
			copy = away_copy_on(native, first, device_of(native));
			if (copy == 2)
				continue;
			*now = (struct relocation){.first = first, .copy = copy};
			now->chunk = pv_resolve(native, copy ? mirror_of(native, first) : first);
			if (!space_chunk_holds(native, now->chunk) ||
			    pv_forward(pv_of(native, now->chunk), now->chunk))
				continue;
			evacuation->pair++;
			return true;
		}
	}
	*ret_end = true;
	return false;
}

/* A pair's chunk that has stayed, or come into use behind the walk over the pairs. */
static bool is_pairs(const struct native *native, uint64_t chunk)
{
	return mirror_of(native, chunk) || chunkbits_of(&native->evacuation->left, chunk);
}

/* The next chunk of the device from the cursor on that is in use and not moved, likewise. */
static bool next_chunk(struct native *native, unsigned looks, bool any, bool *ret_end)
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
			uint64_t chunk = evacuation->cursor;

			if (looks-- == 0)
				return false;
			if (!space_chunk_holds(native, chunk) || pv_forward(pv, chunk) ||
			    (!any && is_pairs(native, chunk)))
				continue;
			evacuation->cursor++;
			evacuation->now =
			    (struct relocation){.chunk = chunk,
						.first = CHUNK_NONE,
						.nodes = chunkbits_of(&evacuation->nodes, chunk)};
			return true;
		}
	}
	*ret_end = true;
	return false;
}

/* What is to be moved next; false: the pass is over. A device has millions of chunks: the pool's
 * lock is not held over all of them. */
static bool choose(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	bool found = false, end = false;

	while (!found && !end) {
		native_lock(native);
		if (!evacuation->pairs_done && native->mirrored)
			found = next_pair(native, SCAN_MAX, &evacuation->pairs_done);
		else
			found = next_chunk(native, SCAN_MAX, false, &end);
		native_unlock(lane);
	}
	return found;
}

/* Is there anything on the device, whatever it is? Looked at, not only counted. */
static bool holds_any(struct native *native, struct lane *lane)
{
	bool found = false, end = false;

	native->evacuation->cursor = 0;
	while (!found && !end) {
		native_lock(native);
		found = next_chunk(native, SCAN_MAX, true, &end);
		native_unlock(lane);
	}
	return found;
}

/* ---- metadata ---- */
static int note_copy(struct native *native, const uint64_t address[2], unsigned blocks,
		     unsigned copy)
{
	uint64_t bits = 0;
	int result = 0;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t slot = address[copy ^ 1] + (i ? blocks - 1 : 0);
		const struct pv *pv = pv_of(native, pv_resolve(native, slot / CHUNK_SLOTS));

		if (pv)
			bits |= 1ull << pv_device_row(native, pv);
	}
	for (unsigned i = 0; i < 2 && result == 0; i++) {
		uint64_t slot = address[copy] + (i ? blocks - 1 : 0);
		uint64_t chunk = pv_resolve(native, slot / CHUNK_SLOTS);
		const struct pv *pv = pv_of(native, chunk);

		if (pv && pv->device == device_of(native))
			result = chunkbits_add(&native->evacuation->nodes, chunk, bits);
	}
	return result;
}

/* spread_look_fn */
static int note_node(struct native *native, const struct node_pointer *pointer)
{
	unsigned blocks = blocks_of(pointer->length);
	int result = note_copy(native, pointer->address, blocks, 0);

	return result == 0 ? note_copy(native, pointer->address, blocks, 1) : result;
}

/* None comes to the device since it is being evacuated, so what is known stays true. */
static int learn_nodes(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	int result;

	if (evacuation->nodes_known || !native->sb.journal_row)
		return 0;
	chunkbits_clear(&evacuation->nodes);
	result = spread_each(native, lane, note_node);
	evacuation->nodes_known = result == 0;
	return result;
}

/* ---- passes ---- */
/* Both roots have what was copied: from here on the new places are the only ones. */
static void switch_over(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;

	native_lock(native);
	while (evacuation->count) {
		uint64_t chunk = evacuation->batch[--evacuation->count].chunk;
		struct pv *pv = pv_of(native, chunk);
		uint64_t target = pv_forward(pv, chunk) & FORWARD_TARGET;
		struct node *leaf = pv_forward_leaf(pv, chunk);

		forward_set(&leaf->body->forward.target[chunk % FORWARD_CHUNKS], target);
		forward_drop(native, chunk);
	}
	native_unlock(lane);
}

static int finish_batch(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	int result = 0;

	while (result == 0 && evacuation->count && ORDER(moved_in_both_roots) &&
	       native->sb.generation < evacuation->generation + 1)
		result = checkpoint_run(native, lane, false);
	if (result == 0)
		switch_over(native, lane);
	return result;
}

int evacuate_settle(struct native *native, struct lane *lane)
{
	return native->evacuation ? finish_batch(native, lane) : 0;
}

bool evacuate_spares(const struct native *native, const struct pv *device)
{
	const struct evacuation *evacuation = native->evacuation;
	bool spares = true;

	if (!evacuation || !ORDER(moved_alone_is_not_spared))
		return true;
	for (unsigned i = 0; i < evacuation->count; i++)
		spares &= evacuation->batch[i].spare ||
			  pv_of(native, evacuation->batch[i].target)->device != device;
	return spares &&
	       (!native->busy || evacuation->now.target == CHUNK_NONE || evacuation->now.spare ||
		pv_of(native, evacuation->now.target)->device != device);
}

static bool is_paused(const struct native *native)
{
	return native->pv[native->evacuation->device].format.flags & PV_PAUSED;
}

bool evacuate_runs(const struct native *native)
{
	const struct evacuation *evacuation = native->evacuation;

	return evacuation && !evacuation->failed && !evacuation->empty && !is_paused(native) &&
	       !native->read_only && !away_any(native);
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
	const char *path = away_path(&native->pv[evacuation->device]);

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
	evacuation->cursor = evacuation->pair = 0;
	evacuation->pair_row = 0;
	evacuation->pairs_done = false;
	chunkbits_clear(&evacuation->left);
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
			   away_path(&native->pv[evacuation->device]));
	/* What is left has been given up, and is kept for a root or two, or for a reader. */
	evacuation->waited = left && !evacuation->waited;
	return evacuation->waited && checkpoint_run(native, lane, false) == 0 &&
	       checkpoint_run(native, lane, false) == 0;
}

/* One chunk. What can not be read is met again in the next pass: the others first. */
static int move_one(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	int result = relocate(native, lane);

	if (result != BAD_CHUNK || evacuation->now.first == CHUNK_NONE)
		return result == BAD_CHUNK ? 0 : result;
	return chunkbits_add(&evacuation->left, evacuation->now.chunk, 1);
}

bool evacuate_some(struct native *native, struct lane *lane)
{
	struct evacuation *evacuation = native->evacuation;
	uint64_t began = loop_now(native->home);
	bool found = true;
	int result = learn_nodes(native, lane);

	if (result == -EINTR)
		return false;
	for (unsigned i = 0; i < STEP_CHUNKS && result == 0 && found && !away_any(native) &&
			     evacuation->count < BATCH_CHUNKS;
	     i++) {
		found = choose(native, lane);
		if (found)
			result = move_one(native, lane);
	}
	/* Anew, from the pairs on: what has not been moved now is met there, and as what it is. */
	if (result == -EAGAIN || away_any(native)) {
		begin_pass(evacuation);
		return false;
	}
	if (result < 0) {
		fail(native, result);
		return evacuation->count && finish_batch(native, lane) == 0;
	}
	if (!found)
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
	chunkbits_clear(&native->evacuation->left);
	chunkbits_clear(&native->evacuation->nodes);
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
	evacuation->now.target = CHUNK_NONE;
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

/* Under the lock: of the pairs that have a copy on the device, how many have the other one on each
 * of the others, by row. */
static uint64_t count_pairs(const struct native *native, unsigned device, uint64_t *ret_beside)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < native->pv_count && native->mirrored; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t end = pv->format.first_chunk + pv->format.chunks;
		uint64_t at = mirror_next(pv, pv->format.first_chunk);

		for (; at < end; at = mirror_next(pv, at + 1)) {
			unsigned copy = away_copy_on(native, at, &native->pv[device]);
			uint64_t other = copy ? at : mirror_of(native, at);

			if (copy == 2)
				continue;
			ret_beside[pv_device_row(native,
						 pv_of(native, pv_resolve(native, other)))]++;
			count++;
		}
	}
	return count;
}

/* Under the lock, with the device out of use: do the others take its copies of pairs, each beside
 * the pair's other one, and what is promised? */
static bool pairs_fit(const struct native *native, unsigned device)
{
	uint64_t beside[POOL_DEVICES_MAX] = {0}, free[POOL_DEVICES_MAX] = {0}, sum = 0;
	uint64_t count = count_pairs(native, device, beside);
	bool fit = true;

	if (!mirror_any(native))
		return true;
	for (unsigned i = 0; i < native->pv_count; i++)
		if (native->pv[i].allocates) {
			free[pv_device_row(native, &native->pv[i])] += native->pv[i].free_chunks;
			sum += native->pv[i].free_chunks;
		}
	for (unsigned i = 0; i < native->pv_count; i++)
		fit &= beside[i] <= sum - free[i];
	return fit && (!native->promised_pairs ||
		       native->promised_pairs + count <= balance_pairs(native, true));
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
			       away_path(device_of(native)));
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
	if (native->active_devices < 2 && mirror_any(native))
		result = err_set(&mine->call->err, -EBUSY,
				 "pool %s has mirrored volumes, which need two devices beside %s",
				 native->sb.name, mine->devices[0].path);
	else if (!room_for(native, meta) || !pairs_fit(native, device))
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
		result = away_refuse(native, &mine->call->err);
	if (result == 0)
		result = settle(native, lane, device);
	if (result < 0)
		return result;
	if (native->evacuation && native->evacuation->device == device) {
		all = !holds_any(native, lane);
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
