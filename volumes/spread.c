/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "volumes/spread.h"

/* A pool that is to live without one of its devices has no node with both copies there. New nodes
 * are placed that way where there is room (space.c), but not those of the time when there was one
 * device, or when the others were full. So from the root on that names the second copy of the
 * journal each root says, of each device, whether it may have both copies of a node (PV_PINNED):
 * at first of all of them, until all pointers to nodes have been looked at and what is on one
 * device has been written anew; then of those that what is left pins. The pool does not go on
 * without such a device (away.c).
 *
 * S1 That a device has no such node is said after a look at all pointers that found none. It is
 *    the keeper's fiber that looks, which makes the checkpoints, too, and before which no pointer
 *    goes from one tree to another: what is placed meanwhile is noted (pinned_again), and the rest
 *    is where it was.
 * S2 That it may have one is said by the root with the first of them: those that are placed by a
 *    checkpoint are noted before its superblock is written.
 *
 * A look reads all interior nodes (one for each 512 MiB of a map, and for each 252 MiB of
 * checksums), in the background; management goes before it, and it begins anew then. It is once in
 * the life of a pool where nothing is left. What is left is looked at again at an open, when there
 * is another device or a deletion is done, and once an hour.
 *
 * A node of a snapshot's, or that a snapshot's children read on, has its place in more than one
 * tree, and stays where it is. It goes with the snapshot. */

#define STEP_NODES 1024u /* that are written anew before a root */

struct spread {
	struct native *native;
	struct lane *lane;
	unsigned touched;
	uint64_t pins, left;  /* rows of devices; nodes that stay */
	spread_look_fn *each; /* it is for somebody else */
};

struct pv *spread_pin(const struct native *native, const struct node_pointer *pointer)
{
	struct pv *device[2][2];

	for (unsigned i = 0; i < 4; i++) {
		uint64_t slot = pointer->address[i / 2];

		if (i & 1)
			slot += blocks_of(pointer->length) - 1;
		device[i / 2][i & 1] = pv_of(native, pv_resolve(native, slot / CHUNK_SLOTS));
		if (!device[i / 2][i & 1]) /* a damaged one is met by who reads it */
			return NULL;
	}
	for (unsigned i = 0; i < 4; i++)
		if (device[0][i / 2]->device == device[1][i & 1]->device)
			return device[0][i / 2]->device;
	return NULL;
}

/* Of the map of a volume: others may point to its nodes, too, or it is being taken apart. */
static bool is_fixed(const struct tree *tree)
{
	const struct nvolume *volume;

	if (tree->kind != NODE_MAP)
		return false;
	volume = container_of(tree, struct nvolume, map);
	return volume->state != VOLUME_STATE_LIVE || !list_empty(&volume->offspring);
}

/* It is looked at where it belongs. */
static bool is_parents(const struct tree *tree, const struct node_pointer *pointer, unsigned level,
		       uint64_t index)
{
	if (tree->kind != NODE_MAP)
		return false;
	return pointer->generation <=
	       nvolume_limit(container_of(tree, struct nvolume, map), (index + 1) << (6 * level));
}

/* Read, where it is not in memory, and touched. 0, -EINPROGRESS, or an error. */
static int touch(struct tree *tree, unsigned level, uint64_t index, struct waiter *waiter)
{
	struct node_pointer pointer;
	struct node *node = NULL;
	int result;

	if (level == 0)
		result = tree_find(tree, index, false, waiter, &node);
	else
		result = tree_pointer(tree, level - 1, index * NODE_FANOUT, waiter, &pointer);
	if (result == 0 && level)
		result = tree_place(tree, level, index, waiter, &pointer, &node);
	if (result < 0 || !node)
		return result;
	if (tree->kind == NODE_MAP && ORDER(spread_root_is_recorded))
		nvolume_mark_dirty(container_of(tree, struct nvolume, map));
	return node_touch(node);
}

/* One pointer. *ret_there: there is such a node, which is the tree's own. Under the lock. */
static int look(struct spread *spread, struct tree *tree, unsigned level, uint64_t index,
		struct waiter *waiter, bool *ret_there)
{
	struct native *native = spread->native;
	struct node_pointer pointer;
	const struct pv *pin;
	int result = tree_pointer(tree, level, index, waiter, &pointer);

	*ret_there = false;
	if (result < 0 || !pointer.generation || is_parents(tree, &pointer, level, index))
		return result;
	*ret_there = true;
	if (spread->each)
		return spread->each(native, &pointer);
	pin = spread_pin(native, &pointer);
	if (!pin)
		return 0;
	if (!is_fixed(tree)) {
		result = touch(tree, level, index, waiter);
		if (result == 0)
			spread->touched++;
		return result;
	}
	spread->left++;
	spread->pins |= 1ull << pv_device_row(native, pin);
	return 0;
}

static int look_waiting(struct spread *spread, struct tree *tree, unsigned level, uint64_t index,
			bool *ret_there)
{
	struct native *native = spread->native;

	for (;;) {
		struct fiber_waiter wait;
		int result;

		fiber_waiter_init(&wait, spread->lane);
		native_lock(native);
		nodes_evict(native);
		result = look(spread, tree, level, index, &wait.waiter, ret_there);
		native_unlock(spread->lane);
		if (result == -EINPROGRESS)
			result = fiber_waiter_wait(&wait);
		else
			return result;
		if (result < 0)
			return result;
	}
}

/* Others first; and the journal's room is not to wait for this. */
static int make_way(struct spread *spread)
{
	struct native *native = spread->native;

	fiber_sleep(0);
	if (!list_empty(&native->calls) || away_any(native))
		return -EINTR;
	if (!native->checkpoint_due && spread->touched < STEP_NODES)
		return 0;
	spread->touched = 0;
	return checkpoint_run(native, spread->lane, false);
}

static int walk(struct spread *spread, struct tree *tree, unsigned level, uint64_t index)
{
	bool there = false;
	int result = level ? make_way(spread) : 0;

	if (result < 0)
		return result;
	result = look_waiting(spread, tree, level, index, &there);
	for (unsigned i = 0; level && there && result == 0 && i < NODE_FANOUT; i++)
		result = walk(spread, tree, level - 1, index * NODE_FANOUT + i);
	if (result != -EIO || spread->native->read_only)
		return result;
	/* What can not be read is not to be lost twice. */
	spread->left++;
	spread->pins = UINT64_MAX;
	return 0;
}

static int walk_all(struct spread *spread)
{
	struct native *native = spread->native;
	int result = 0;

	for (unsigned i = 0; i < ROOT_COUNT && result == 0; i++)
		result = walk(spread, &native->tree[i], native->tree[i].levels, 0);
	for (uint64_t id = 1; id < native->next_volume_id && result == 0; id++) {
		struct nvolume *volume;

		native_lock(native);
		volume = nvolume_by_id(native, id);
		native_unlock(spread->lane);
		if (volume)
			result = walk(spread, &volume->map, volume->map.levels, 0);
	}
	return result == 0 && spread->touched ? checkpoint_run(native, spread->lane, false)
					      : result;
}

int spread_each(struct native *native, struct lane *lane, spread_look_fn *look)
{
	struct spread spread = {.native = native, .lane = lane, .each = look};

	return walk_all(&spread);
}

void spread_pinned(struct native *native, struct pv *device)
{
	device->pinned = device->pinned_again = true;
	native->spread_wanted = true;
}

static void set_pins(struct spread *spread)
{
	struct native *native = spread->native;
	bool changed = false, left = spread->left && native->unspread != spread->left;

	native_lock(native);
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		bool pinned = pv_is_device(pv) && (spread->pins & 1ull << i || pv->pinned_again);

		changed |= pinned != pv->pinned;
		pv->pinned = pinned;
	}
	native->unspread = spread->left;
	native->spread_wanted = false;
	if (changed)
		checkpoint_want(native);
	native_unlock(spread->lane);
	if (left)
		log_notice("pool %s: %llu metadata nodes have both copies on one device, without "
			   "which the pool does not go on: of snapshots, or for want of space",
			   native->sb.name, (unsigned long long)spread->left);
}

/* ---- when ---- */
static bool is_of_use(const struct native *native)
{
	return native->sb.journal_row && native->active_devices > 1;
}

void spread_doubt(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++)
		native->pv[i].pinned =
		    pv_is_device(&native->pv[i]) && ORDER(pinned_until_looked_at);
	native->spread_wanted = true;
}

void spread_again(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++)
		native->spread_wanted |= native->pv[i].pinned;
}

void spread_say(const struct native *native, struct superblock *sb)
{
	for (unsigned i = 0; i < sb->pv_count; i++) {
		sb->pv[i].flags &= (uint8_t)~PV_PINNED;
		if (sb->journal_row && i < native->pv_count && native->pv[i].pinned &&
		    ORDER(pinned_is_said))
			sb->pv[i].flags |= PV_PINNED;
	}
}

bool spread_due(const struct native *native)
{
	return native->spread_wanted && native->opened && !native->read_only && !native->closing &&
	       is_of_use(native) && !away_any(native);
}

void spread_some(struct native *native, struct lane *lane)
{
	struct spread spread = {.native = native, .lane = lane};
	int result = evacuate_settle(native, lane); /* each node is to be in one place */

	if (result < 0)
		return;
	for (unsigned i = 0; i < native->pv_count; i++)
		native->pv[i].pinned_again = false;
	result = walk_all(&spread);
	if (result == -EINTR)
		return;
	if (result < 0)
		spread.pins = UINT64_MAX; /* not known */
	set_pins(&spread);
}

/* ---- telling ---- */
static void say_why(const struct native *native, const struct pv *device, char *why, size_t room)
{
	if (away_any(native))
		snprintf(why, room, "another is away, or being made good");
	else if (!journal_spares(native, device) && !superblock_journal_room(&native->sb))
		snprintf(why, room,
			 "it has the journal, and no other device has room for a second "
			 "copy: one that is added has");
	else if (!journal_spares(native, device) || journal_twin_due(native))
		snprintf(why, room, "the second copy of the journal has just begun");
	else if (native->spread_wanted)
		snprintf(why, room, "metadata that has both copies there is being looked for");
	else
		snprintf(why, room,
			 "%llu metadata nodes have both copies on one device: of snapshots, with "
			 "which they go, or for want of space on the others",
			 (unsigned long long)native->unspread);
}

void spread_info(const struct native *native, const struct pv *device,
		 struct pool_device_info *info)
{
	const struct pv *other = away_any(native);

	info->vital = native->mirrored && mirror_any(native) &&
		      (device->pinned || !journal_spares(native, device) ||
		       journal_twin_due(native) || (other && other != device));
	if (info->vital && info->state == DEVICE_ACTIVE)
		say_why(native, device, info->reason, sizeof(info->reason));
}
