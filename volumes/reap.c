/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/keeper.h"
#include "volumes/spread.h"

/* Deleting snapshots and volumes, and other walks over two maps at once.
 *
 * A snapshot and who stands on it (its child: the next snapshot, or a volume) have most of their
 * maps in common: the same nodes on disk. So comparing them costs what differs: equal pointers
 * are equal contents, and the walk goes on behind them. What the deleted one owns (younger than
 * its parent) and the child does not have at the same place is given up; all else the child
 * takes over, by being next in line: nvolume_limit() passes over leaves that are done.
 *
 *   state DELETING in two roots -> leaves, in order, X->reaped behind each -> done in two roots
 *   -> the child stands on X's parent, the record goes
 *
 * Why this is safe: leaf by leaf, one holding of the lock decides what is given up and moves
 * X->reaped, and a checkpoint freezes both together. What is given up, by us or by the child
 * (space_retire()), is used again only when both roots that could be opened know of it; so a
 * replay that begins at an older place finds all slots that X still has there untouched and
 * comes to them again.
 *
 * With two children or more (clones, rollbacks) a snapshot can not go: it waits, without a name,
 * until it has one. At most one is in the middle of its map at a time. */

#define LEAVES_PER_STEP 64u
#define LOOKS_PER_STEP  1024u
#define RETIRED_MAX     65536u /* chunks given up between two checkpoints */
#define DONE_MAX        64u    /* that wait for their roots: others step over each of them */

struct walk {
	struct native *native;
	struct lane *lane;
	struct nvolume *mine, *theirs; /* theirs: NULL for nothing */
	uint64_t limit;                /* nodes not younger are passed over; 0 */
	bool both;                     /* what only theirs has counts, too (diff) */
};

static uint64_t leaves_of(const struct nvolume *volume)
{
	return tree_capacity(&volume->map);
}

static bool changing(const struct node *node)
{
	return node && (node->dirty || node->frozen);
}

/* Is there nothing to see at a place? Under the lock; -EINPROGRESS: wait, and look again. */
static int same(const struct walk *walk, unsigned level, uint64_t index, struct waiter *waiter,
		bool *ret_same)
{
	struct node_pointer mine = {0}, theirs = {0};
	struct node *my_node = NULL, *their_node = NULL;
	int result = 0;

	*ret_same = false;
	if (level > walk->mine->map.levels || (walk->theirs && level > walk->theirs->map.levels))
		return 0;
	result = tree_place(&walk->mine->map, level, index, waiter, &mine, &my_node);
	if (result < 0)
		return result;
	if (!walk->both && !changing(my_node) && mine.generation <= walk->limit) {
		*ret_same = true;
		return 0;
	}
	if (walk->theirs)
		result = tree_place(&walk->theirs->map, level, index, waiter, &theirs, &their_node);
	if (result < 0)
		return result;
	*ret_same = memcmp(&mine, &theirs, sizeof(mine)) == 0 && !changing(my_node) &&
		    !changing(their_node);
	return 0;
}

/* From leaf @at on: *ret_at is the first that has to be looked at, or the end of the first part
 * that has not (*ret_leaf false). */
static int seek(const struct walk *walk, uint64_t at, struct waiter *waiter, uint64_t *ret_at,
		bool *ret_leaf)
{
	unsigned top = walk->mine->map.levels;

	if (walk->theirs && walk->both && walk->theirs->map.levels > top)
		top = walk->theirs->map.levels;
	for (unsigned level = top + 1; level-- > 0;) {
		bool nothing;
		int result;

		if (level && at & ((1ull << 6 * level) - 1))
			continue; /* in the middle of it: decided when it was entered */
		result = same(walk, level, at >> 6 * level, waiter, &nothing);
		if (result < 0)
			return result;
		if (nothing) {
			*ret_at = ((at >> 6 * level) + 1) << 6 * level;
			*ret_leaf = false;
			return 0;
		}
	}
	*ret_at = at;
	*ret_leaf = true;
	return 0;
}

static int find_entries(struct nvolume *volume, uint64_t leaf, struct waiter *waiter,
			const struct map_entry **ret_entries)
{
	struct node *node = NULL;
	int result = 0;

	*ret_entries = NULL;
	if (volume && leaf < leaves_of(volume))
		result = tree_find(&volume->map, leaf, false, waiter, &node);
	if (result == 0 && node)
		*ret_entries = node->body->map.entry;
	return result;
}

/* Waits for what @result says and is to be tried again. */
static bool again(struct fiber_waiter *wait, int *result)
{
	if (*result != -EINPROGRESS)
		return false;
	*result = fiber_waiter_wait(wait);
	return *result == 0;
}

/* ---- deleting ---- */
/* The nodes of @walk->mine that end at leaf @end, from @level up: all of them are done. What is not
 * the child's, too, goes. Nothing is changed before all is known. */
static int finish_nodes(const struct walk *walk, unsigned level, uint64_t end,
			struct waiter *waiter)
{
	struct tree *tree = &walk->mine->map;
	struct node_pointer gone[NODE_LEVELS_MAX + 1];
	unsigned count = 0;

	for (; level <= tree->levels && (end & ((1ull << 6 * level) - 1)) == 0; level++) {
		struct node_pointer mine, theirs = {0};
		struct node *node;
		uint64_t index = (end - 1) >> 6 * level;
		int result = tree_place(tree, level, index, waiter, &mine, &node);

		if (result == 0 && walk->theirs)
			result =
			    tree_place(&walk->theirs->map, level, index, waiter, &theirs, &node);
		if (result < 0)
			return result;
		if (mine.generation > walk->limit && memcmp(&mine, &theirs, sizeof(mine)) != 0)
			gone[count++] = mine;
	}
	while (count--)
		for (unsigned copy = 0; copy < 2; copy++)
			meta_free(walk->native, gone[count].address[copy],
				  blocks_of(gone[count].length));
	return 0;
}

/* REAPED_ALL says more than the number of leaves: the child may have grown. */
static void reaped_to(struct nvolume *volume, uint64_t leaf)
{
	volume->reaped = leaf < leaves_of(volume) ? leaf : REAPED_ALL;
}

/* The next leaf, or part of the map that has nothing for us. Under the lock. */
static int reap_next(const struct walk *walk, struct waiter *waiter, bool *ret_leaf)
{
	struct nvolume *volume = walk->mine;
	const struct map_entry *mine, *theirs;
	uint64_t at;
	unsigned level = 0;
	int result = seek(walk, volume->reaped, waiter, &at, ret_leaf);

	if (result < 0)
		return result;
	if (!*ret_leaf) { /* the place itself is not ours; what it ends is */
		while (level <= volume->map.levels &&
		       at - volume->reaped > ((1ull << 6 * level) - 1))
			level++;
		result = finish_nodes(walk, level, at, waiter);
		if (result == 0)
			reaped_to(volume, at);
		return result;
	}
	result = find_entries(volume, at, waiter, &mine);
	if (result == 0)
		result = find_entries(walk->theirs, at, waiter, &theirs);
	if (result == 0 && mine)
		result = map_prepare_reap(walk->native, mine);
	if (result == 0)
		result = finish_nodes(walk, 0, at + 1, waiter);
	if (result < 0)
		return result;
	if (mine)
		volume->reaped_slots +=
		    (uint64_t)(int64_t)map_reap(volume, walk->limit, mine, theirs, NULL);
	quota_use_changed(volume);
	reaped_to(volume, at + 1);
	return 0;
}

static int reap_step(struct native *native, struct lane *lane, struct nvolume *volume)
{
	struct walk walk = {.native = native,
			    .lane = lane,
			    .mine = volume,
			    .theirs = nvolume_child(volume),
			    .limit = nvolume_limit(volume, leaves_of(volume))};
	unsigned leaves = 0, looks = 0;
	int result = 0;

	while (result == 0 && volume->reaped < leaves_of(volume) && leaves < LEAVES_PER_STEP &&
	       looks++ < LOOKS_PER_STEP && native->retired_count < RETIRED_MAX) {
		struct fiber_waiter wait;
		bool leaf = false;

		fiber_waiter_init(&wait, lane);
		native_lock(native);
		nodes_evict(native);
		result = reap_next(&walk, &wait.waiter, &leaf);
		if (result == 0)
			nvolume_mark_dirty(volume);
		native_unlock(lane);
		leaves += leaf;
		if (again(&wait, &result))
			continue;
	}
	return result;
}

/* Whoever stands on it stands on its parent from now on. */
static void remove_record(struct native *native, struct lane *lane, struct nvolume *volume)
{
	struct nvolume *child = nvolume_child(volume);
	struct node *node;

	while (volume->map.loads || volume->visitors)
		fiber_sleep(POLL_NS);
	native_lock(native);
	if (child) {
		nvolume_set_parent(child, volume->parent);
		child->owned_slots += volume->owned_slots - volume->reaped_slots;
		reserve_changed(child);
		nvolume_mark_dirty(child);
	}
	measure_forget(volume->parent);
	if (tree_find(&native->tree[ROOT_VOLUMES], (volume->id - 1) / VOLUMES_PER_LEAF, false, NULL,
		      &node) == 0 &&
	    node) {
		node->body->volumes.volume[(volume->id - 1) % VOLUMES_PER_LEAF] = NULL;
		node_mark_dirty(node);
	}
	nvolume_free(volume);
	spread_again(native);
	native_unlock(lane);
}

static bool is_reaped(const struct nvolume *volume)
{
	return volume->reaped == REAPED_ALL;
}

static bool may_reap(const struct native *native, const struct nvolume *volume)
{
	const struct nvolume *child = nvolume_child(volume);

	return (native->sb.generation > volume->doomed || !ORDER(deletion_in_two_roots)) &&
	       nvolume_has_one_child_at_most(volume) &&
	       !(child && child->reaped); /* its map is not whole any more */
}

/* The list: those that are done, then the others by age, the oldest first; thousands may be in it.
 */
void reap_enlist(struct nvolume *volume)
{
	struct native *native = volume->native;
	struct list *before;

	list_remove(&volume->link);
	if (volume->reaped && !is_reaped(volume))
		native->reaping = volume;
	if (is_reaped(volume)) {
		list_push_front(&native->deleting, &volume->link);
		return;
	}
	for (before = native->deleting.prev; before != &native->deleting; before = before->prev) {
		const struct nvolume *other = list_entry(before, struct nvolume, link);

		if (is_reaped(other) || other->generation <= volume->generation)
			break;
	}
	list_insert_after(before, &volume->link);
}

/* The one in the middle of its map; else one that may go; else the oldest that may begin. */
static struct nvolume *choose(struct native *native, bool *ret_wait)
{
	unsigned done = 0;

	*ret_wait = false;
	if (native->reaping)
		return native->reaping;
	list_for_each (it, &native->deleting) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);

		if (native->sb.generation <= volume->doomed && ORDER(deletion_in_two_roots)) {
			*ret_wait = true;
			if (is_reaped(volume) && ++done == DONE_MAX)
				return NULL;
		} else if (is_reaped(volume) || may_reap(native, volume)) {
			return volume;
		}
	}
	return NULL;
}

bool reap_some(struct native *native, struct lane *lane)
{
	bool wait;
	struct nvolume *volume = choose(native, &wait);
	int result;

	if (!volume && !wait)
		return false;
	if (!volume || native->retired_count >= RETIRED_MAX) {
		checkpoint_run(native, lane, false);
		return true;
	}
	while (volume->visitors || __atomic_load_n(&volume->requests, __ATOMIC_ACQUIRE))
		fiber_sleep(POLL_NS);
	if (is_reaped(volume)) {
		remove_record(native, lane, volume);
		return true;
	}
	native->reaping = volume;
	result = reap_step(native, lane, volume);
	if (result < 0) {
		log_error("pool %s: a deleted volume can not be taken apart (error %d); the next "
			  "import tries again",
			  native->sb.name, -result);
		native->reaping = NULL;
		list_remove(&volume->link);
		return true;
	}
	if (is_reaped(volume)) {
		while (volume->map.loads)
			fiber_sleep(POLL_NS);
		native_lock(native);
		tree_drop(&volume->map);
		volume->doomed = native->sb.generation + 1;
		native->reaping = NULL;
		reap_enlist(volume);
		native_unlock(lane);
	}
	if (__atomic_load_n(&native->requests, __ATOMIC_ACQUIRE))
		fiber_sleep(POLL_NS); /* guests first */
	return true;
}

/* ---- looking ---- */
static void mark_kept(const struct map_entry *mine, const struct map_entry *theirs, uint16_t *kept)
{
	for (unsigned i = 0; theirs && i < MAP_CHUNKS * CHUNK_SLOTS; i++) {
		unsigned chunk = i / CHUNK_SLOTS, slot = i % CHUNK_SLOTS;
		uint64_t address, their;

		if (map_slot(&mine[chunk], slot, &address) &&
		    map_slot(&theirs[chunk], slot, &their) && their == address)
			kept[chunk] |= (uint16_t)(1u << slot);
	}
}

static unsigned not_kept(const struct map_entry *mine, const uint16_t *kept, uint64_t limit)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MAP_CHUNKS * CHUNK_SLOTS; i++) {
		const struct map_entry *entry = &mine[i / CHUNK_SLOTS];
		unsigned bit = 1u << i % CHUNK_SLOTS;

		count += entry->mask & bit && !(kept[i / CHUNK_SLOTS] & bit) &&
			 map_birth(entry, i % CHUNK_SLOTS) > limit;
	}
	return count;
}

int reap_look_many(struct nvolume *snapshot, struct waiter *waiter, uint64_t *at, uint64_t *slots)
{
	struct walk walk = {.native = snapshot->native,
			    .mine = snapshot,
			    .limit = nvolume_limit(snapshot, leaves_of(snapshot))};
	const struct map_entry *mine = NULL, *theirs;
	uint16_t kept[MAP_CHUNKS] = {0};
	uint64_t next = *at;
	bool leaf = true;
	int result = 0;

	list_for_each (it,
		       &snapshot->offspring) { /* what one of them has left as it was, is kept */
		walk.theirs = list_entry(it, struct nvolume, sibling);
		result = seek(&walk, *at, waiter, &next, &leaf);
		if (result == 0 && !leaf)
			*at = next;
		if (result < 0 || !leaf)
			return result;
	}
	result = find_entries(snapshot, *at, waiter, &mine);
	list_for_each (it, &snapshot->offspring) {
		if (result == 0)
			result = find_entries(list_entry(it, struct nvolume, sibling), *at, waiter,
					      &theirs);
		if (result == 0 && mine)
			mark_kept(mine, theirs, kept);
	}
	if (result < 0)
		return result;
	*slots += mine ? not_kept(mine, kept, walk.limit) : 0;
	*at += 1;
	return 0;
}

int reap_look(struct nvolume *snapshot, struct waiter *waiter, struct measure *measure,
	      uint64_t *at, uint64_t *slots)
{
	struct walk walk = {.native = snapshot->native,
			    .mine = snapshot,
			    .theirs = nvolume_child(snapshot),
			    .limit = nvolume_limit(snapshot, leaves_of(snapshot))};
	const struct map_entry *mine = NULL, *theirs = NULL;
	uint64_t next = *at;
	bool leaf = false;
	int result = seek(&walk, *at, waiter, &next, &leaf);

	if (result == 0 && leaf)
		result = find_entries(snapshot, next, waiter, &mine);
	if (result == 0 && leaf)
		result = find_entries(walk.theirs, next, waiter, &theirs);
	if (result < 0)
		return result;
	if (mine)
		*slots += (uint64_t)(int64_t)map_reap(snapshot, walk.limit, mine, theirs, measure);
	*at = next + leaf;
	return 0;
}

static bool diff_add(struct volume_diff *diff, uint64_t slot, bool mapped)
{
	struct volume_extent *last =
	    diff->extent_count ? &diff->extents[diff->extent_count - 1] : NULL;
	uint64_t offset = slot * VOLUME_SLOT;

	if (last && last->mapped == mapped && last->offset + last->length == offset) {
		last->length += VOLUME_SLOT;
		return true;
	}
	if (diff->extent_count == diff->extent_max)
		return false;
	diff->extents[diff->extent_count++] =
	    (struct volume_extent){.offset = offset, .length = VOLUME_SLOT, .mapped = mapped};
	return true;
}

/* The slots of a leaf from diff->offset on. False: no room for another extent. */
static bool diff_leaf(struct volume_diff *diff, uint64_t leaf, const struct map_entry *from,
		      const struct map_entry *to)
{
	const uint64_t slots = MAP_CHUNKS * CHUNK_SLOTS;

	for (uint64_t slot = diff->offset / VOLUME_SLOT; slot < (leaf + 1) * slots; slot++) {
		unsigned chunk = (unsigned)(slot / CHUNK_SLOTS % MAP_CHUNKS);
		unsigned i = (unsigned)(slot % CHUNK_SLOTS);
		uint64_t before = SLOT_NONE, after = SLOT_NONE;
		bool mapped = to && map_slot(&to[chunk], i, &after);

		if (from && !map_slot(&from[chunk], i, &before))
			before = SLOT_NONE;
		if (before != after && !diff_add(diff, slot, mapped))
			return false;
		diff->offset = (slot + 1) * VOLUME_SLOT;
	}
	return true;
}

int reap_diff(struct native *native, struct lane *lane, struct volume_diff *diff)
{
	struct nvolume *to = nvolume_of(diff->to);
	struct nvolume *from = diff->from ? nvolume_of(diff->from) : NULL;
	struct walk walk = {
	    .native = native, .lane = lane, .mine = to, .theirs = from, .both = true};
	const uint64_t leaf_bytes = (uint64_t)MAP_CHUNKS * CHUNK;
	uint64_t end = leaves_of(to);
	unsigned looks = 0;
	bool room = true;
	int result = 0;

	if (from && leaves_of(from) > end)
		end = leaves_of(from);
	diff->extent_count = 0;
	while (result == 0 && room && diff->offset / leaf_bytes < end && looks++ < LOOKS_PER_STEP) {
		uint64_t at = diff->offset / leaf_bytes, next = at;
		const struct map_entry *before = NULL, *after = NULL;
		struct fiber_waiter wait;
		bool leaf = false;

		fiber_waiter_init(&wait, lane);
		native_lock(native);
		nodes_evict(native);
		result = seek(&walk, at, &wait.waiter, &next, &leaf);
		if (result == 0 && leaf)
			result = find_entries(from, next, &wait.waiter, &before);
		if (result == 0 && leaf)
			result = find_entries(to, next, &wait.waiter, &after);
		if (result == 0 && leaf)
			room = diff_leaf(diff, next, before, after);
		else if (result == 0)
			diff->offset = next * leaf_bytes;
		native_unlock(lane);
		if (again(&wait, &result))
			continue;
	}
	diff->finished = result == 0 && diff->offset / leaf_bytes >= end;
	return result;
}
