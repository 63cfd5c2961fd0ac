/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/keeper.h"

/* Snapshots and clones: their records, names and relations. What sharing means is in map.c, how
 * they end in reap.c.
 *
 * Every volume and snapshot may have a parent: the snapshot whose state it started from. A
 * snapshot is made between a volume and its parent; a clone and a volume that was rolled back
 * get the snapshot as their parent. So all of a family form a tree, and who owns a slot follows
 * from generations along one path of it (nvolume_limit()). Which volume a snapshot is listed
 * with (of) is a name and no more: promoting a clone changes nothing else.
 *
 *     s1 -- s2 -- s3 -- vol          s1, s2: promoted to clone@s1, clone@s2
 *            \
 *             clone
 *
 * A snapshot is made by a checkpoint: the freeze gives it the volume's counts and becomes the
 * border between what is shared and what is not (snapshots_freeze()); when the map's nodes are
 * written, its root is the volume's (snapshots_written()). It exists when that root is durable.
 * Writes go on all the time; those in flight at the freeze are waited for by the checkpoint, as
 * always (checkpoint.c). Before the answer nobody sees it (pending). */

#define LEAVE_NS   (2 * 1000000000ull) /* for who looks at a snapshot that is to be deleted */
#define MEASURE_NS (60 * 1000000000ull)

/* ---- names ---- */
static struct list *bucket_of(struct native *native, const char *name)
{
	uint64_t hash = 14695981039346656037ull;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 1099511628211ull;
	return &native->snapshot_table[(hash ^ hash >> 32) % TABLE_BUCKETS];
}

static struct nvolume *find_snapshot(struct native *native, const char *name)
{
	list_for_each (it, bucket_of(native, name)) {
		struct nvolume *snapshot = list_entry(it, struct nvolume, bucket);

		if (strcmp(snapshot->volume.name, name) == 0)
			return snapshot;
	}
	return NULL;
}

static void full_name(char name[VOLUME_PATH_MAX + 1], const struct nvolume *volume,
		      const char *snapshot)
{
	snprintf(name, VOLUME_PATH_MAX + 1, "%.*s@%.*s", VOLUME_NAME_MAX, volume->volume.name,
		 SNAPSHOT_NAME_MAX, snapshot);
}

static const char *own_name(const struct nvolume *snapshot)
{
	const char *at = strchr(snapshot->volume.name, '@');

	return at ? at + 1 : snapshot->volume.name;
}

static void set_name(struct nvolume *snapshot, const char *own)
{
	char name[VOLUME_PATH_MAX + 1];

	full_name(name, snapshot->of, own);
	memcpy(snapshot->volume.name, name, sizeof(name));
	list_remove(&snapshot->bucket);
	list_push_back(bucket_of(snapshot->native, name), &snapshot->bucket);
}

/* Into the volume's list, the older first. */
static void enlist(struct nvolume *snapshot, struct nvolume *of)
{
	struct list *before = of->snapshots.prev;

	snapshot->of = of;
	quota_rows_changed(snapshot->native);
	list_remove(&snapshot->listed);
	for (; before != &of->snapshots; before = before->prev) {
		const struct nvolume *other = list_entry(before, struct nvolume, listed);

		if (other->generation < snapshot->generation ||
		    (other->generation == snapshot->generation && other->id < snapshot->id))
			break;
	}
	list_insert_after(before, &snapshot->listed);
}

bool snapshot_listed(const struct nvolume *volume)
{
	return !list_empty(&volume->snapshots) || volume->taking;
}

static void follow_name(struct nvolume *snapshot)
{
	char own[SNAPSHOT_NAME_MAX + 1];

	snprintf(own, sizeof(own), "%.*s", SNAPSHOT_NAME_MAX, own_name(snapshot));
	set_name(snapshot, own);
}

/* One that is being made with the same checkpoint is not listed yet. */
void snapshot_renamed(struct nvolume *volume)
{
	list_for_each (it, &volume->snapshots)
		follow_name(list_entry(it, struct nvolume, listed));
	list_for_each (it, &volume->native->taking)
		if (list_entry(it, struct nvolume, link)->of == volume)
			follow_name(list_entry(it, struct nvolume, link));
}

static int check_name(const char *name, struct err *err)
{
	if (strlen(name) > SNAPSHOT_NAME_MAX)
		return err_set(err, -EINVAL, "a snapshot name has at most %d characters",
			       SNAPSHOT_NAME_MAX);
	return volume_name_check(name, err);
}

static bool is_live(const struct nvolume *volume)
{
	return volume->state == VOLUME_STATE_LIVE;
}

static bool is_snapshot(const struct nvolume *volume)
{
	return volume->state == VOLUME_STATE_SNAPSHOT && !volume->pending;
}

static bool is_held(const struct nvolume *snapshot)
{
	return snapshot->flags & VOLUME_HELD ||
	       snapshot->hold_until_ns > loop_wall(snapshot->native->home);
}

static const struct nvolume *next_of(const struct nvolume *parent, const struct list *child)
{
	return child->next == &parent->offspring ? NULL
						 : list_entry(child->next, struct nvolume, sibling);
}

/* What comes after @at of all that stands on @top: on what is being deleted as on @top itself,
 * which is what they will stand on. NULL: nothing. */
static const struct nvolume *next_below(const struct nvolume *top, const struct nvolume *at)
{
	const struct nvolume *next = NULL;

	if (at == top || at->state == VOLUME_STATE_DELETING)
		next = next_of(at, &at->offspring);
	while (!next && at != top) {
		next = next_of(at->parent, &at->sibling);
		at = at->parent;
	}
	return next;
}

static const struct nvolume *owner_of(const struct nvolume *volume)
{
	return volume->of ? volume->of : volume;
}

/* On what is being deleted a volume may stand more than once: since a rollback. */
static bool met_before(const struct nvolume *top, const struct nvolume *at)
{
	const struct nvolume *it = top;

	if (at->parent == top)
		return false;
	while ((it = next_below(top, it)) != at)
		if (owner_of(it) == owner_of(at))
			return true;
	return false;
}

/* Volumes that stand on it, themselves or with snapshots of theirs. */
static unsigned clones_of(const struct nvolume *snapshot)
{
	const struct nvolume *at = snapshot;
	unsigned count = 0;

	while ((at = next_below(snapshot, at)))
		count += owner_of(at) != snapshot->of && is_live(owner_of(at)) &&
			 !met_before(snapshot, at);
	return count;
}

/* ---- after loading ---- */
static int link_one(struct native *native, struct nvolume *volume)
{
	struct nvolume *parent = NULL;

	if (volume->parent_id) {
		parent = nvolume_by_id(native, volume->parent_id);
		if (!parent || parent == volume || is_live(parent) ||
		    parent->generation > native->sb.generation ||
		    (volume->state == VOLUME_STATE_SNAPSHOT &&
		     volume->generation < parent->generation))
			return -EBADMSG;
	}
	nvolume_set_parent(volume, parent);
	if (volume->state != VOLUME_STATE_SNAPSHOT)
		return 0;
	volume->of = nvolume_by_id(native, volume->of_id);
	if (!volume->of || !is_live(volume->of) || volume->of == volume)
		return -EBADMSG;
	volume->volume.read_only = true;
	list_remove(&volume->link);
	enlist(volume, volume->of);
	return 0;
}

int native_link_volumes(struct native *native)
{
	struct list all;
	int result = 0;

	list_init(&all);
	list_splice_back(&all, &native->volumes);
	list_for_each_safe (it, &all) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);

		if (result == 0)
			result = link_one(native, volume);
	}
	while (!list_empty(&all)) {
		struct nvolume *volume = list_entry(list_pop_front(&all), struct nvolume, link);

		if (volume->state == VOLUME_STATE_DELETING)
			reap_enlist(volume);
		else
			keeper_insert_sorted(native, volume);
		snapshot_renamed(volume);
	}
	return result;
}

/* ---- making them ---- */
static int no_room(struct native_call *mine)
{
	return err_set(&mine->call->err, -ENOSPC,
		       "pool %s has no room left for the maps of another snapshot: delete some, or "
		       "add a device",
		       mine->native->sb.name);
}

/* May @of have a snapshot of that name? All of it goes to @name. */
static int check_snapshot(struct native_call *mine, const struct nvolume *of, const char *own,
			  char name[VOLUME_PATH_MAX + 1])
{
	struct native *native = mine->native;

	full_name(name, of, own);
	if (find_snapshot(native, name))
		return err_set(&mine->call->err, -EEXIST,
			       "there is already a snapshot %s in pool %s", name, native->sb.name);
	return keeper_room(native) < 0 ? no_room(mine) : 0;
}

/* A snapshot of @of with what is known before the freeze; NULL: *ret_result. */
static struct nvolume *prepare(struct native_call *mine, struct lane *lane, struct nvolume *of,
			       const char *own, uint32_t flags, int *ret_result)
{
	struct native *native = mine->native;
	char name[VOLUME_PATH_MAX + 1];
	struct nvolume *snapshot;

	*ret_result = check_snapshot(mine, of, own, name);
	if (*ret_result < 0)
		return NULL;
	snapshot = keeper_new_volume(native, lane, name, of->stored_size, ret_result);
	if (!snapshot && *ret_result == -ENOSPC)
		no_room(mine);
	if (!snapshot)
		return NULL;
	native_lock(native);
	snapshot->state = VOLUME_STATE_SNAPSHOT;
	snapshot->pending = true;
	snapshot->of = of;
	snapshot->map.owner = of->map.owner;
	snapshot->volume.checksum = of->volume.checksum;
	snapshot->volume.mirror = of->volume.mirror;
	snapshot->volume.read_only = true;
	snapshot->created_ns = loop_wall(native->home);
	snapshot->flags = flags;
	set_name(snapshot, own);
	of->taking = true; /* from now on all that is reserved may be written anew */
	reserve_changed(of);
	list_push_back(&native->taking, &snapshot->link);
	native_unlock(lane);
	return snapshot;
}

/* One that no freeze has seen. */
static void discard(struct nvolume *snapshot, struct lane *lane)
{
	struct native *native = snapshot->native;
	struct node *node;

	native_lock(native);
	if (tree_find(&native->tree[ROOT_VOLUMES], (snapshot->id - 1) / VOLUMES_PER_LEAF, false,
		      NULL, &node) == 0 &&
	    node)
		node->body->volumes.volume[(snapshot->id - 1) % VOLUMES_PER_LEAF] = NULL;
	snapshot->of->taking = false;
	list_for_each (it, &native->taking) {
		struct nvolume *other = list_entry(it, struct nvolume, link);

		if (other != snapshot && other->of == snapshot->of)
			snapshot->of->taking = true;
	}
	reserve_changed(snapshot->of);
	nvolume_free(snapshot);
	native_unlock(lane);
}

static int check_group(struct native_call *mine)
{
	for (unsigned i = 0; i < mine->count; i++) {
		struct nvolume *of = mine->of[i];

		if (of->state == VOLUME_STATE_SNAPSHOT)
			return err_set(&mine->call->err, -EINVAL,
				       "%s is a snapshot; a snapshot of it would be the same",
				       of->volume.name);
		if (!is_live(of))
			return err_set(&mine->call->err, -ENOENT, "volume %s is being deleted",
				       of->volume.name);
		for (unsigned j = 0; j < i; j++)
			if (mine->of[j] == of)
				return err_set(&mine->call->err, -EINVAL,
					       "volume %s is named twice", of->volume.name);
	}
	return 0;
}

/* Would all that is promised still be there when what a snapshot keeps is written anew? */
static int check_reserve(struct native_call *mine)
{
	uint64_t more[2] = {0};

	for (unsigned i = 0; i < mine->count; i++) {
		const struct nvolume *of = mine->of[i];
		uint64_t all = reserve_chunks_for(of->volume.reserve_bytes);

		if (all > of->reserve_counted)
			more[of->volume.mirror] += all - of->reserve_counted;
	}
	if (more[0] + more[1] && !reserve_fits(mine->native, more[0], more[1]))
		return err_set(&mine->call->err, -ENOSPC,
			       "pool %s has not enough space left to go on guaranteeing what is "
			       "reserved, beside a snapshot",
			       mine->native->sb.name);
	return 0;
}

static int do_snapshot(struct native_call *mine, struct lane *lane)
{
	int result = check_group(mine);

	if (result == 0)
		result = check_reserve(mine);
	if (mine->call->dry) {
		char name[VOLUME_PATH_MAX + 1];

		for (unsigned i = 0; i < mine->count && result == 0; i++)
			result = check_snapshot(mine, mine->of[i], mine->wanted[i].name, name);
		return result;
	}
	for (unsigned i = 0; i < mine->count && result == 0; i++)
		mine->made[i] = prepare(mine, lane, mine->of[i], mine->wanted[i].name,
					mine->wanted[i].flags, &result);
	for (unsigned i = 0; i < mine->count && result < 0; i++)
		if (mine->made[i])
			discard(mine->made[i], lane);
	return result;
}

void snapshots_freeze(struct native *native, struct superblock *sb)
{
	list_for_each (it, &native->taking) {
		struct nvolume *snapshot = list_entry(it, struct nvolume, link);
		struct nvolume *of = snapshot->of, *before = of->parent;
		bool known = before && before->measured;

		if (sb->version < FORMAT_SNAPSHOTS)
			sb->version = FORMAT_SNAPSHOTS;
		snapshot->generation = sb->generation;
		snapshot->volume.size_bytes = snapshot->stored_size = of->stored_size;
		snapshot->used_slots = of->used_slots;
		snapshot->owned_slots = of->owned_slots;
		nvolume_set_parent(snapshot, before);
		nvolume_set_parent(of, snapshot);
		/* It has all that the volume has; what is under it has the same above it as before.
		 */
		snapshot->measured = true;
		snapshot->exclusive_slots = 0;
		if (known)
			before->measured = true;
		of->owned_slots = 0;
		of->taking = of->undone = false;
		reserve_changed(of);
		nvolume_mark_dirty(snapshot);
		nvolume_mark_dirty(of);
	}
}

/* A write that was under way at the freeze and failed since would be in the snapshot as damage. */
void snapshots_written(struct native *native)
{
	bool undone = false;

	list_for_each (it, &native->taking)
		undone |= list_entry(it, struct nvolume, link)->of->undone;
	list_for_each (it, &native->taking) {
		struct nvolume *snapshot = list_entry(it, struct nvolume, link);

		snapshot->map.root = snapshot->of->map.root;
		snapshot->map.levels = snapshot->of->map.levels;
		if (undone)
			snapshot->state = VOLUME_STATE_DELETING;
	}
}

static void to_deleting(struct nvolume *volume, uint64_t doomed)
{
	volume->state = VOLUME_STATE_DELETING;
	volume->doomed = doomed;
	volume->of = NULL;
	quota_rows_changed(volume->native);
	measure_forget(volume);
	measure_forget(volume->parent);
	list_remove(&volume->measure_link);
	list_for_each (it, &volume->offspring)
		measure_forget(list_entry(it, struct nvolume, sibling));
	list_remove(&volume->bucket);
	list_remove(&volume->listed);
	reap_enlist(volume);
	nvolume_mark_dirty(volume);
}

static int snapshot_made(struct native *native, struct nvolume *snapshot)
{
	int result = 0;

	snapshot->pending = false;
	list_remove(&snapshot->link);
	native_lock(native);
	if (snapshot->state == VOLUME_STATE_DELETING) {
		to_deleting(snapshot, native->sb.generation);
		result = -EIO;
	} else {
		enlist(snapshot, snapshot->of);
	}
	pthread_mutex_unlock(&native->lock);
	return result;
}

/* ---- the other changes ---- */
/* Is nobody at it but who deletes it? A watcher that only looks at it lets go when he is told. */
static bool others_leave(struct nvolume *snapshot)
{
	const uint32_t *refs = &snapshot->volume.refs;

	if (__atomic_load_n(refs, __ATOMIC_ACQUIRE) == 1)
		return true;
	if (list_empty(&snapshot->volume.watchers))
		return false;
	volume_notify(&snapshot->volume, VOLUME_LEAVING);
	for (uint64_t waited = 0; waited < LEAVE_NS; waited += POLL_NS) {
		if (__atomic_load_n(refs, __ATOMIC_ACQUIRE) == 1)
			return true;
		fiber_sleep(POLL_NS);
	}
	return false;
}

static int do_delete(struct native_call *mine, struct lane *lane)
{
	struct nvolume *snapshot = mine->volume;
	struct err *err = &mine->call->err;
	unsigned clones = clones_of(snapshot);
	struct nvolume *of = snapshot->of;

	if (is_held(snapshot))
		return err_set(err, -EBUSY, "snapshot %s is held", snapshot->volume.name);
	if (clones)
		return err_set(err, -EBUSY, "%u clone%s on snapshot %s: promote or delete %s first",
			       clones, clones == 1 ? " stands" : "s stand", snapshot->volume.name,
			       clones == 1 ? "it" : "them");
	if (!others_leave(snapshot))
		return err_set(err, -EBUSY, "snapshot %s is in use", snapshot->volume.name);
	if (mine->call->dry)
		return 0;
	native_lock(mine->native);
	to_deleting(snapshot, mine->native->sb.generation + 1);
	reserve_changed(of);
	native_unlock(lane);
	return 0;
}

static int do_rename(struct native_call *mine, struct lane *lane)
{
	struct nvolume *snapshot = mine->volume, *other;
	char name[VOLUME_PATH_MAX + 1];

	full_name(name, snapshot->of, mine->name);
	other = find_snapshot(mine->native, name);
	if (other && other != snapshot)
		return err_set(&mine->call->err, -EEXIST, "there is already a snapshot %s", name);
	if (mine->call->dry)
		return 0;
	native_lock(mine->native);
	set_name(snapshot, mine->name);
	nvolume_mark_dirty(snapshot);
	native_unlock(lane);
	return 0;
}

static int do_hold(struct native_call *mine, struct lane *lane)
{
	struct nvolume *snapshot = mine->volume;

	if (mine->until_ns && mine->until_ns < snapshot->hold_until_ns)
		return err_set(&mine->call->err, -EPERM,
			       "snapshot %s is held for longer than that already",
			       snapshot->volume.name);
	if (mine->call->dry)
		return 0;
	native_lock(mine->native);
	if (mine->until_ns)
		snapshot->hold_until_ns = mine->until_ns;
	else
		snapshot->flags |= VOLUME_HELD;
	nvolume_mark_dirty(snapshot);
	native_unlock(lane);
	return 0;
}

static int do_release(struct native_call *mine, struct lane *lane)
{
	struct nvolume *snapshot = mine->volume;

	if (snapshot->hold_until_ns > loop_wall(mine->native->home))
		return err_set(&mine->call->err, -EPERM,
			       "snapshot %s is held until a date that is to come; that can not be "
			       "taken back",
			       snapshot->volume.name);
	if (mine->call->dry)
		return 0;
	native_lock(mine->native);
	snapshot->flags &= ~VOLUME_HELD;
	snapshot->hold_until_ns = 0;
	nvolume_mark_dirty(snapshot);
	native_unlock(lane);
	return 0;
}

static void do_approve(struct native_call *mine, struct lane *lane)
{
	struct nvolume *snapshot = mine->volume;

	if (mine->call->dry)
		return;
	native_lock(mine->native);
	snapshot->flags &= ~VOLUME_EXPENDABLE;
	snapshot->flags |= mine->expendable ? VOLUME_EXPENDABLE : 0;
	nvolume_mark_dirty(snapshot);
	native_unlock(lane);
}

static int do_clone(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct nvolume *snapshot = mine->volume, *clone;
	int result;

	if (keeper_find(native, mine->name))
		return keeper_name_is_taken(mine);
	if (mine->call->dry)
		return keeper_room(native);
	clone = keeper_new_volume(native, lane, mine->name, snapshot->stored_size, &result);
	if (!clone)
		return result;
	native_lock(native);
	clone->map.owner = snapshot->map.owner;
	clone->map.root = snapshot->map.root;
	clone->map.levels = snapshot->map.levels;
	clone->volume.checksum = snapshot->volume.checksum;
	clone->volume.mirror = snapshot->volume.mirror;
	clone->used_slots = snapshot->used_slots;
	clone->created_ns = loop_wall(native->home);
	nvolume_set_parent(clone, snapshot);
	keeper_insert_sorted(native, clone);
	native_unlock(lane);
	mine->other = clone;
	return 0;
}

/* The snapshot of another volume that @volume stands on. */
static struct nvolume *origin_of(const struct nvolume *volume)
{
	struct nvolume *at = volume->parent;

	while (at && (at->of == volume || !is_snapshot(at)))
		at = at->parent;
	return at;
}

/* Of the snapshots from @origin up, those listed with the same volume. */
static int do_promote(struct native_call *mine, struct lane *lane)
{
	struct nvolume *clone = mine->volume, *origin = origin_of(clone), *of;
	char name[VOLUME_PATH_MAX + 1];

	if (!origin)
		return err_set(&mine->call->err, -EINVAL, "volume %s is not a clone",
			       clone->volume.name);
	of = origin->of;
	for (const struct nvolume *at = origin; at; at = at->parent) {
		full_name(name, clone, own_name(at));
		if (at->of == of && find_snapshot(mine->native, name))
			return err_set(&mine->call->err, -EEXIST,
				       "there is already a snapshot %s: rename it first", name);
	}
	if (mine->call->dry)
		return 0;
	native_lock(mine->native);
	for (struct nvolume *at = origin; at; at = at->parent) {
		char own[SNAPSHOT_NAME_MAX + 1];

		if (at->of != of || !is_snapshot(at))
			continue;
		snprintf(own, sizeof(own), "%.*s", SNAPSHOT_NAME_MAX, own_name(at));
		enlist(at, clone);
		set_name(at, own);
		nvolume_mark_dirty(at);
	}
	native_unlock(lane);
	return 0;
}

int snapshot_change(struct native_call *mine, struct lane *lane)
{
	bool wants_snapshot = mine->kind >= CALL_SNAPSHOT_DELETE && mine->kind <= CALL_CLONE;

	if (wants_snapshot && !is_snapshot(mine->volume))
		return err_set(&mine->call->err, -EINVAL, "%s is not a snapshot",
			       mine->volume->volume.name);
	if (mine->kind == CALL_PROMOTE && !is_live(mine->volume))
		return err_set(&mine->call->err, -EINVAL, "%s is not a volume",
			       mine->volume->volume.name);
	switch (mine->kind) {
	case CALL_SNAPSHOT:
		return do_snapshot(mine, lane);
	case CALL_SNAPSHOT_DELETE:
		return do_delete(mine, lane);
	case CALL_SNAPSHOT_RENAME:
		return do_rename(mine, lane);
	case CALL_HOLD:
		return do_hold(mine, lane);
	case CALL_RELEASE:
		return do_release(mine, lane);
	case CALL_APPROVE:
		do_approve(mine, lane);
		return 0;
	case CALL_CLONE:
		return do_clone(mine, lane);
	default:
		return do_promote(mine, lane);
	}
}

int snapshot_changed(struct native_call *mine)
{
	int result = 0;

	if (mine->kind == CALL_CLONE) {
		mine->call->volume = volume_ref(&mine->other->volume);
		mine->call->pool = &mine->native->pool;
	} else if (mine->kind == CALL_SNAPSHOT_RENAME) {
		volume_notify(&mine->volume->volume, VOLUME_RENAMED);
	}
	for (unsigned i = 0; i < mine->count; i++)
		if (snapshot_made(mine->native, mine->made[i]) < 0)
			result = -EIO;
	return result < 0
		   ? err_set(&mine->call->err, result, "a write failed while the snapshot was made")
		   : 0;
}

/* ---- going back ---- */
/* The volume's map and what belongs to it become the snapshot's. No request is under way. */
static void switch_map(struct nvolume *volume, struct nvolume *snapshot, struct lane *lane)
{
	struct native *native = volume->native;

	while (volume->map.loads)
		fiber_sleep(POLL_NS);
	native_lock(native);
	tree_drop(&volume->map);
	volume->map.root = snapshot->map.root;
	volume->map.levels = snapshot->map.levels;
	volume->used_slots = snapshot->used_slots;
	volume->owned_slots = 0;
	volume->stored_size = snapshot->stored_size;
	__atomic_store_n(&volume->volume.size_bytes, snapshot->stored_size, __ATOMIC_RELEASE);
	nvolume_set_parent(volume, snapshot);
	reserve_changed(volume);
	nvolume_mark_dirty(volume);
	native_unlock(lane);
}

/* Requests wait until both roots say the same: the journal's records mean one map only. */
static int roll_back(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct nvolume *volume = mine->volume, *kept;
	int result = 0;

	kept = prepare(mine, lane, volume, mine->name, VOLUME_AUTOMATIC, &result);
	if (!kept)
		return result;
	result = checkpoint_run(native, lane, false);
	if (result == 0)
		result = snapshot_made(native, kept);
	if (result < 0)
		return result;
	switch_map(volume, mine->other, lane);
	result = checkpoint_run(native, lane, false);
	if (result == 0)
		result = checkpoint_run(native, lane, false);
	return result;
}

static int do_rollback(struct native_call *mine, struct lane *lane)
{
	struct nvolume *volume = mine->volume, *snapshot = mine->other;
	uint64_t before = volume->stored_size;
	char name[VOLUME_PATH_MAX + 1];
	int result;

	if (!is_live(volume) || !is_snapshot(snapshot) || snapshot->of != volume)
		return err_set(&mine->call->err, -EINVAL, "%s is not a snapshot of volume %s",
			       snapshot->volume.name, volume->volume.name);
	if (!mine->name[0])
		snprintf(mine->name, sizeof(mine->name), "before-rollback-%llu",
			 (unsigned long long)(loop_wall(mine->native->home) / 1000000000ull));
	mine->count = 1;
	mine->of = heap_zalloc_array(1, sizeof(*mine->of));
	if (!mine->of)
		return -ENOMEM;
	mine->of[0] = volume;
	result = check_reserve(mine);
	if (result == 0 && mine->call->dry)
		result = check_snapshot(mine, volume, mine->name, name);
	if (result < 0 || mine->call->dry)
		return result;
	io_stop(volume);
	result = roll_back(mine, lane);
	/* Who watches knows before the first request sees the other data. */
	if (result == 0)
		volume_notify(&volume->volume, VOLUME_ROLLED_BACK);
	if (result == 0 && volume->stored_size != before)
		volume_notify(&volume->volume, VOLUME_RESIZED);
	io_go(volume, lane);
	return result < 0 ? result : 0;
}

static int do_diff(struct native_call *mine, struct lane *lane)
{
	struct volume_diff *diff = mine->diff;
	const struct nvolume *to = nvolume_of(diff->to);
	const struct nvolume *from = diff->from ? nvolume_of(diff->from) : NULL;

	if (from && (from->map.owner != to->map.owner || !is_snapshot(from)))
		return err_set(&mine->call->err, -EINVAL,
			       "%s and %s have nothing in common: a difference is between a "
			       "snapshot and what comes from the same volume",
			       from->volume.name, to->volume.name);
	return reap_diff(mine->native, lane, diff);
}

int snapshot_work(struct native_call *mine, struct lane *lane)
{
	if (mine->kind == CALL_DIFF)
		return do_diff(mine, lane);
	return mine->native->read_only ? -EROFS : do_rollback(mine, lane);
}

/* ---- pool.h ---- */
static bool copy_specs(struct native_call *mine, const struct snapshot_spec *specs, unsigned count)
{
	mine->count = count;
	mine->of = heap_zalloc_array(count, sizeof(*mine->of));
	mine->made = heap_zalloc_array(count, sizeof(*mine->made));
	mine->wanted = heap_zalloc_array(count, sizeof(*mine->wanted));
	if (!mine->of || !mine->made || !mine->wanted)
		return false;
	for (unsigned i = 0; i < count; i++) {
		mine->of[i] = nvolume_of(specs[i].volume);
		snprintf(mine->wanted[i].name, sizeof(mine->wanted[i].name), "%s", specs[i].name);
		mine->wanted[i].flags = specs[i].expendable ? VOLUME_EXPENDABLE : 0;
	}
	return true;
}

void native_snapshot_create(struct pool *pool, const struct snapshot_spec *specs, unsigned count,
			    struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_SNAPSHOT);
	int result = 0;

	if (!mine)
		return;
	if (count == 0 || count > SNAPSHOT_GROUP_MAX)
		result = err_set(&call->err, -EINVAL, "1 to %d volumes have a snapshot at a time",
				 SNAPSHOT_GROUP_MAX);
	for (unsigned i = 0; i < count && result == 0; i++) {
		result = check_name(specs[i].name, &call->err);
		if (result == 0 && specs[i].volume->pool != pool)
			result = err_set(&call->err, -EINVAL, "volume %s is in another pool",
					 specs[i].volume->name);
	}
	if (result == 0 && !copy_specs(mine, specs, count))
		result = err_set(&call->err, -ENOMEM, "out of memory");
	if (result < 0)
		call_refuse(mine, result);
	else
		call_queue(mine);
}

static struct nvolume *next_listed(const struct nvolume *volume, const struct list *from)
{
	if (from->next == &volume->snapshots)
		return NULL;
	return list_entry(from->next, struct nvolume, listed);
}

struct volume *native_snapshot_next(struct volume *volume, struct volume *previous)
{
	struct nvolume *of = nvolume_of(volume);
	struct nvolume *next =
	    next_listed(of, previous ? &nvolume_of(previous)->listed : &of->snapshots);

	volume_unref(previous);
	return next ? volume_ref(&next->volume) : NULL;
}

bool native_snapshot_info(struct volume *volume, struct snapshot_info *ret_info)
{
	struct nvolume *snapshot = nvolume_of(volume);
	struct native *native = snapshot->native;
	uint64_t chunks = 0;

	if (!is_snapshot(snapshot))
		return false;
	*ret_info = (struct snapshot_info){0};
	native_lock(native);
	snprintf(ret_info->name, sizeof(ret_info->name), "%.*s", SNAPSHOT_NAME_MAX,
		 own_name(snapshot));
	ret_info->created_ns = snapshot->created_ns;
	ret_info->group = snapshot->generation;
	ret_info->size_bytes = snapshot->stored_size;
	ret_info->used_bytes = snapshot->used_slots * VOLUME_SLOT;
	ret_info->exclusive_bytes = snapshot->exclusive_slots * VOLUME_SLOT;
	ret_info->measured = snapshot->measured;
	ret_info->reclaim_known = measure_reclaimable(snapshot, &chunks);
	ret_info->reclaimable_bytes = chunks * CHUNK;
	ret_info->measuring = !list_empty(&snapshot->measure_link);
	ret_info->clones = clones_of(snapshot);
	ret_info->automatic = snapshot->flags & VOLUME_AUTOMATIC;
	ret_info->expendable = snapshot->flags & VOLUME_EXPENDABLE;
	ret_info->held = is_held(snapshot);
	ret_info->hold_until_ns = snapshot->flags & VOLUME_HELD ? 0 : snapshot->hold_until_ns;
	ret_info->in_use = __atomic_load_n(&snapshot->volume.refs, __ATOMIC_ACQUIRE) > 1;
	pthread_mutex_unlock(&native->lock);
	return true;
}

struct volume *native_snapshot_of(struct volume *volume)
{
	struct nvolume *mine = nvolume_of(volume);
	struct nvolume *other = is_snapshot(mine) ? mine->of : origin_of(mine);

	return other ? volume_ref(&other->volume) : NULL;
}

static void simple_call(struct volume *volume, struct pool_call *call, enum call_kind kind)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, kind);

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	call_queue(mine);
}

void native_snapshot_delete(struct volume *snapshot, struct pool_call *call)
{
	simple_call(snapshot, call, CALL_SNAPSHOT_DELETE);
}

static void named_call(struct volume *volume, const char *name, struct volume *other,
		       struct pool_call *call, enum call_kind kind)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, kind);
	int result = 0;

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	mine->other = other ? nvolume_of(other) : NULL;
	if (name && kind == CALL_CLONE)
		result = volume_name_check(name, &call->err);
	else if (name)
		result = check_name(name, &call->err);
	if (result < 0) {
		call_refuse(mine, result);
		return;
	}
	if (name)
		snprintf(mine->name, sizeof(mine->name), "%s", name);
	call_queue(mine);
}

void native_snapshot_rename(struct volume *snapshot, const char *name, struct pool_call *call)
{
	named_call(snapshot, name, NULL, call, CALL_SNAPSHOT_RENAME);
}

void native_snapshot_hold(struct volume *snapshot, uint64_t until_ns, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(snapshot->pool), call, CALL_HOLD);

	if (!mine)
		return;
	mine->volume = nvolume_of(snapshot);
	mine->until_ns = until_ns;
	call_queue(mine);
}

void native_snapshot_release(struct volume *snapshot, struct pool_call *call)
{
	simple_call(snapshot, call, CALL_RELEASE);
}

void native_snapshot_approve(struct volume *snapshot, bool expendable, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(snapshot->pool), call, CALL_APPROVE);

	if (!mine)
		return;
	mine->volume = nvolume_of(snapshot);
	mine->expendable = expendable;
	call_queue(mine);
}

void native_snapshot_measure(struct volume *snapshot, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(snapshot->pool), call, CALL_MEASURE);

	if (!mine)
		return;
	mine->volume = nvolume_of(snapshot);
	mine->until_ns = loop_now(mine->native->home) + MEASURE_NS;
	if (is_snapshot(mine->volume))
		call_queue(mine);
	else
		call_refuse(mine,
			    err_set(&call->err, -EINVAL, "%s is not a snapshot", snapshot->name));
}

void native_snapshot_measure_all(struct volume *volume, uint64_t limit_ns, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, CALL_MEASURE_ALL);

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	mine->until_ns = loop_now(mine->native->home) + limit_ns;
	call_queue(mine);
}

void native_volume_clone(struct volume *snapshot, const char *name, struct pool_call *call)
{
	named_call(snapshot, name, NULL, call, CALL_CLONE);
}

void native_volume_promote(struct volume *clone, struct pool_call *call)
{
	simple_call(clone, call, CALL_PROMOTE);
}

void native_volume_rollback(struct volume *volume, struct volume *snapshot, const char *keep,
			    struct pool_call *call)
{
	named_call(volume, keep, snapshot, call, CALL_ROLLBACK);
}

void native_volume_diff(struct volume_diff *diff, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(diff->to->pool), call, CALL_DIFF);
	int result = 0;

	if (!mine)
		return;
	mine->diff = diff;
	if (diff->from && diff->from->pool != diff->to->pool)
		result = err_set(&call->err, -EINVAL, "%s is in another pool", diff->from->name);
	if (diff->extent_max == 0 || diff->offset % VOLUME_SLOT)
		result = err_set(&call->err, -EINVAL, "the range makes no sense");
	if (result < 0)
		call_refuse(mine, result);
	else
		call_queue(mine);
}

struct volume *native_find_volume(struct pool *pool, const char *name)
{
	struct native *native = native_of(pool);
	struct nvolume *volume =
	    strchr(name, '@') ? find_snapshot(native, name) : keeper_find(native, name);

	return volume && !volume->pending ? volume_ref(&volume->volume) : NULL;
}
