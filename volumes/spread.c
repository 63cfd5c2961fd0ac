/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/spread.h"

/* A pool that is to live without one of its devices has no node with both copies there. New nodes
 * are placed that way where there is room (space.c), but not those of the time when there was one
 * device, or when the others were full. So before the first mirrored volume is there, at each open
 * of a pool that has some, and when it gets devices, all pointers to nodes are looked at, and what
 * has both copies on one device is written anew, a number of nodes at a time, with a root behind
 * each lot. What is left then pins its device: the pool does not go on without that (away.c).
 *
 * A node of a snapshot's, or that a snapshot's children read on, has its place in more than one
 * tree, and stays where it is. It goes with the snapshot. */

#define STEP_NODES 1024u /* that are written anew before a root */
#define STEPS_MAX  4096u
#define TRIES      8u /* to look at all of them without a checkpoint in between */

struct spread {
	struct native *native;
	struct lane *lane;
	bool counting; /* nothing is written anew */
	bool moved;    /* a checkpoint has placed nodes meanwhile */
	unsigned touched;
	uint64_t pins, left; /* rows of devices; nodes that stay */
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
	return result < 0 || !node ? result : node_touch(node);
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
	pin = spread_pin(native, &pointer);
	if (!pin)
		return 0;
	if (!spread->counting && !is_fixed(tree) && spread->touched < STEP_NODES) {
		result = touch(tree, level, index, waiter);
		if (result < 0)
			return result;
		spread->touched++;
		return 0;
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

static int walk(struct spread *spread, struct tree *tree, unsigned level, uint64_t index)
{
	bool there = false;
	int result;

	if (level && spread->native->checkpoint_due && spread->native->opened) {
		/* the journal's room is not to wait for this */
		spread->moved = true;
		result = checkpoint_run(spread->native, spread->lane, false);
		if (result < 0)
			return result;
	}
	result = look_waiting(spread, tree, level, index, &there);
	for (unsigned i = 0; level && there && result == 0 && i < NODE_FANOUT; i++)
		result = walk(spread, tree, level - 1, index * NODE_FANOUT + i);
	if (result != -EIO)
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
	return result;
}

static void set_pins(struct spread *spread)
{
	struct native *native = spread->native;

	native_lock(native);
	for (unsigned i = 0; i < native->pv_count; i++)
		native->pv[i].pinned =
		    pv_is_device(&native->pv[i]) &&
		    (spread->pins & 1ull << i || (spread->moved && native->pv[i].pinned));
	native_unlock(spread->lane);
	if (spread->left)
		log_notice("pool %s: %llu metadata nodes have both copies on one device, without "
			   "which the pool does not go on: of snapshots, or for want of space",
			   native->sb.name, (unsigned long long)spread->left);
}

static int run(struct spread *spread, bool counting)
{
	struct native *native = spread->native;
	int result = 0;

	for (unsigned step = 0; step < STEPS_MAX; step++) {
		uint64_t before = spread->left + spread->touched;

		*spread =
		    (struct spread){.native = native, .lane = spread->lane, .counting = counting};
		result = walk_all(spread);
		if (result == 0 && spread->touched)
			result = checkpoint_run(native, spread->lane, false);
		if (result < 0 || (!spread->touched && !(spread->moved && step < TRIES)))
			break;
		/* what is placed as badly again is left there */
		counting |=
		    (step && spread->left + spread->touched >= before) || step == STEPS_MAX - 2;
	}
	return result;
}

bool spread_is_wanted(struct native *native)
{
	bool wanted;

	pthread_mutex_lock(&native->lock);
	wanted = native->active_devices > 1 && native->mirrored && mirror_any(native);
	pthread_mutex_unlock(&native->lock);
	return wanted;
}

void spread_run(struct native *native, struct lane *lane)
{
	struct spread spread = {.native = native, .lane = lane};

	if (!spread_is_wanted(native))
		return;
	if (run(&spread, away_any(native) != NULL) < 0)
		spread.pins = UINT64_MAX; /* not known */
	set_pins(&spread);
}
