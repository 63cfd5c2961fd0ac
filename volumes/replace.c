/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/keeper.h"

/* A device that the pool goes on without is dead for good: another takes its rows (away.c tells
 * what it is to be away).
 *
 *   away --labels on the new one, its UUID in both roots--> away, the new one's rows
 *        --record--> stale: the new one is here, all that has a copy there is copied
 *
 * One that is still whole is sent away first, when nothing with one copy is on it.
 *
 * R1 Only what has another copy is lost with a device. While there is a slot in use whose one copy
 *    is on the dead one, it is not replaced: what the new one holds in that place would be read.
 *    New ones do not come about while it is away (A4), but for a write that was under way and is
 *    undone; so it is looked twice, with a checkpoint, which waits for those, in between.
 * R2 The rows get a new UUID. The dead one is not the pool's from the first root on that has it,
 *    whatever its labels say, and wherever it turns up (open.c, check_label()).
 * R3 Before that root the new one has labels, older than any root, so that a crash between the
 *    record and the next root finds a device for the rows. Both roots say by then that the old one
 *    is away: it may be the one that is written to, as if it were new.
 * R4 It is here when both roots have the UUID: the journal goes on from either, and says of a row
 *    that its device is back, or good. With the old UUID that would be the dead one.
 * R5 Nothing on the new one counts before all of it was held against the other copies: a device
 *    that is stale is all that it is, and one that was the pool's before is as good as any.
 * R6 Where it has room for the journal, that place is zeros before it has a label: a device that
 * was the pool's may hold a journal that has gone on elsewhere, which replay would take for a sign
 *    that the root is an old one. The labels that it has go before that: with them it would be one
 *    of the pool's, with nothing in its journal. */

/* ---- what has no other copy ---- */
/* Chunks of a group that hold data in use, and that is not elsewhere. */
static uint64_t used_in(const struct native *native, const struct ag *ag)
{
	const struct pv *pv = &native->pv[ag->pv];
	uint64_t count = 0, chunk = ag->first + ag->meta, end = ag->first + ag->chunks;

	while (chunk < end) {
		uint64_t next = (chunk / SPACE_CHUNKS + 1) * SPACE_CHUNKS;
		const struct node *leaf = native->space[chunk / SPACE_CHUNKS];

		for (next = next < end ? next : end; leaf && chunk < next; chunk++)
			count +=
			    leaf->body->space.used[chunk % SPACE_CHUNKS] && !pv_forward(pv, chunk);
		chunk = next;
	}
	return count;
}

/* Chunks on @device in use whose contents are nowhere else. A pair has one copy there at most, in a
 * chunk that nothing but the pair uses. Under the lock, as the pairs come and go. */
static uint64_t count_alone(const struct native *native, const struct pv *device)
{
	uint64_t used = 0, paired = 0;

	for (uint64_t i = 0; i < native->ag_count; i++)
		if (native->pv[native->ag[i].pv].device == device)
			used += used_in(native, &native->ag[i]);
	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t end = pv->format.first_chunk + pv->format.chunks;
		uint64_t at = mirror_next(pv, pv->format.first_chunk);

		for (; at < end; at = mirror_next(pv, at + 1)) {
			unsigned copy = away_copy_on(native, at, device);
			uint64_t chunk = copy ? mirror_of(native, at) : at;

			paired +=
			    copy < 2 && space_used_slots(native, pv_resolve(native, chunk)) != 0;
		}
	}
	return used > paired ? used - paired : 0;
}

struct owners {
	const struct pv *device;
	bool found; /* in the volume that is looked at */
	unsigned count;
	const struct nvolume *first;
};

static bool is_alone(const struct native *native, const struct pv *device, uint64_t chunk)
{
	const struct pv *pv = pv_of(native, pv_resolve(native, chunk));

	return pv && pv->device == device && !mirror_of(native, chunk);
}

/* map_look_fn: does @volume have a slot there? */
static void find_alone(void *context, const struct nvolume *volume, uint64_t leaf,
		       const struct map_entry *entries)
{
	struct owners *owners = context;

	(void)leaf;
	for (unsigned i = 0; i < MAP_CHUNKS * CHUNK_SLOTS && !owners->found; i++) {
		uint64_t address;

		owners->found = map_slot(&entries[i / CHUNK_SLOTS], i % CHUNK_SLOTS, &address) &&
				is_alone(volume->native, owners->device, address / CHUNK_SLOTS);
	}
}

/* A map that can not be read without the device has data that can not, either. */
static void look_at_map(struct native *native, struct lane *lane, struct nvolume *volume,
			struct owners *owners)
{
	uint64_t leaf = 0;
	int result = 0;

	owners->found = false;
	while (leaf != UINT64_MAX && !owners->found && (result == 0 || result == -EINPROGRESS)) {
		if (native->checkpoint_due) /* the journal's room is not to wait for this */
			(void)checkpoint_run(native, lane, false);
		fiber_sleep(0);
		result = map_look(volume, lane, &leaf, find_alone, owners);
	}
	if (result == 0 && !owners->found)
		return;
	if (owners->count++ == 0)
		owners->first = volume;
}

/* Nothing but the maps knows whose a slot is. All of this is in the keeper's fiber, so no volume
 * comes or goes meanwhile. */
static void find_owners(struct native *native, struct lane *lane, struct owners *owners)
{
	list_for_each (it, &native->volumes) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);

		look_at_map(native, lane, volume, owners);
		list_for_each (its, &volume->snapshots)
			look_at_map(native, lane, list_entry(its, struct nvolume, listed), owners);
	}
}

static int refuse_alone(struct native *native, struct lane *lane, const struct pv *device,
			struct err *err)
{
	struct owners owners = {.device = device};

	find_owners(native, lane, &owners);
	if (owners.count == 0)
		return err_set(err, -EBUSY,
			       "space on %s is still being given up: try again in a while",
			       away_path(device));
	return err_set(err, -EBUSY,
		       "%u volume%s or snapshot%s with one copy %s data on %s, the first is %s/%s: "
		       "delete them, or connect that device again",
		       owners.count, owners.count == 1 ? "" : "s", owners.count == 1 ? "" : "s",
		       owners.count == 1 ? "has" : "have", away_path(device), native->sb.name,
		       owners.first->volume.name);
}

static int check_alone(struct native *native, struct lane *lane, const struct pv *device,
		       struct err *err)
{
	uint64_t alone;

	native_lock(native);
	alone = count_alone(native, device);
	native_unlock(lane);
	return alone ? refuse_alone(native, lane, device, err) : 0;
}

/* A pool that was opened without it by an administrator's word may miss some. */
static int check_nodes(const struct pv *device, bool force, struct err *err)
{
	if (!device->pinned || force)
		return 0;
	return err_set(err, -EBUSY,
		       "metadata may have both copies on %s, and what it is of would be lost: "
		       "connect that device again, or give it up (--force)",
		       away_path(device));
}

/* Who has looked up a place on the dead one meanwhile has met its end: what such a slot held may
 * have been given up since. */
static void wait_readers(struct native *native)
{
	uint64_t ticket = native->next_ticket;
	bool quiet = false;

	while (!quiet) {
		native_lock(native);
		quiet = list_empty(&native->readers) ||
			list_entry(native->readers.next, struct reader, link)->ticket >= ticket;
		pthread_mutex_unlock(&native->lock);
		if (!quiet)
			fiber_sleep(POLL_NS);
	}
}

static int two_roots(struct native *native, struct lane *lane)
{
	int result = checkpoint_run(native, lane, false);

	return result == 0 ? checkpoint_run(native, lane, false) : result;
}

/* ---- one that is whole is sent away ---- */
/* Has a leaf any space of @ag that a write with one copy has been given, and nothing is in yet? */
static bool holds_in(const struct native *native, const struct ag *ag, uint64_t *chunk)
{
	const struct node *leaf = native->space[*chunk / SPACE_CHUNKS];
	uint64_t end = (*chunk / SPACE_CHUNKS + 1) * SPACE_CHUNKS;

	end = end < ag->first + ag->chunks ? end : ag->first + ag->chunks;
	for (; leaf && *chunk < end; ++*chunk)
		if (leaf->body->space.held[*chunk % SPACE_CHUNKS] && !mirror_of(native, *chunk))
			return true;
	*chunk = end;
	return false;
}

static bool is_held(const struct native *native, const struct pv *device)
{
	for (uint64_t i = 0; i < native->ag_count; i++) {
		const struct ag *ag = &native->ag[i];
		uint64_t chunk = ag->first + ag->meta;

		while (native->pv[ag->pv].device == device && chunk < ag->first + ag->chunks)
			if (holds_in(native, ag, &chunk))
				return true;
	}
	return false;
}

static struct pv *find_whole(struct native_call *mine)
{
	struct native *native = mine->native;

	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];

		if (pv_is_device(pv) && pv->disk &&
		    strcmp(pv->disk->path, mine->devices[0].path) == 0)
			return pv;
	}
	err_set(&mine->call->err, -ENOENT, "%s is not a device of pool %s", mine->devices[0].path,
		native->sb.name);
	return NULL;
}

/* Looked at and sent away under one holding of the lock, so that no write with one copy gets there
 * in between. What was given up of late is held there until two roots do not know it. */
int replace_offline(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct err *err = &mine->call->err;
	struct pv *device = find_whole(mine);
	uint64_t alone;
	int result;

	if (native->read_only)
		return -EROFS;
	if (!device)
		return -ENOENT;
	result = away_refuse(native, err);
	if (result == 0 && native->evacuation)
		result =
		    err_set(err, -EBUSY, "a device of pool %s is being evacuated", native->sb.name);
	if (result == 0)
		result = two_roots(native, lane);
	if (result < 0)
		return result;
	native_lock(native);
	alone = count_alone(native, device) + is_held(native, device);
	if (alone == 0 && !mine->call->dry)
		result = away_send(native, device);
	else if (alone == 0)
		result = away_may_go(native, device) ? 0 : -EBUSY;
	native_unlock(lane);
	if (alone)
		return refuse_alone(native, lane, device, err);
	if (result == -EBUSY)
		return err_set(err, result,
			       "pool %s does not go on without %s (pool show says why)",
			       native->sb.name, away_path(device));
	if (result < 0 || mine->call->dry)
		return result;
	log_notice("pool %s goes on without %s, as it was told to: mirrored volumes have one copy",
		   native->sb.name, away_path(device));
	return two_roots(native, lane);
}

void native_offline(struct pool *pool, const char *path, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_OFFLINE);

	if (!mine)
		return;
	mine->devices = heap_zalloc(sizeof(*mine->devices));
	if (!mine->devices)
		call_refuse(mine, err_set(&call->err, -ENOMEM, "out of memory"));
	else if ((size_t)snprintf(mine->devices->path, sizeof(mine->devices->path), "%s", path) >=
		 sizeof(mine->devices->path))
		call_refuse(mine,
			    err_set(&call->err, -ENAMETOOLONG, "the path of a device is too long"));
	else
		call_queue(mine);
}

/* ---- the new one ---- */
static int check_old(const struct native *native, const struct pv *device, const char *old,
		     struct err *err)
{
	if (!device || pv_is_here(device))
		return err_set(err, -EINVAL,
			       "no device of pool %s is away, and only such a one is replaced",
			       native->sb.name);
	if (strcmp(away_path(device), old) == 0 ||
	    (!device->disk && !device->path && strcmp(old, "missing") == 0))
		return 0;
	if (!device->disk && !device->path)
		return err_set(err, -ENOENT,
			       "where the device was that pool %s goes on without is not known: "
			       "\"missing\" stands for it",
			       native->sb.name);
	return err_set(err, -ENOENT,
		       "%s is not the device that pool %s goes on without: that is %s", old,
		       native->sb.name, away_path(device));
}

static int open_new(struct native_call *mine, const struct pv *device, struct disk **ret_disk)
{
	struct native *native = mine->native;
	struct err *err = &mine->call->err;
	const struct new_device *wanted = &mine->devices[1];
	struct disk *disk = NULL;
	uint64_t size;
	unsigned flags = away_open_flags(device, wanted->path);
	int result;

	if (flags & DISK_READ_ONLY) /* a dry run has not let it go */
		result = disk_open(native->world, wanted->path, flags, 0, &disk, err);
	else
		result = pv_open_new(native->world, wanted->path, wanted->size, mine->call->dry,
				     &disk, &size, err);
	if (result == 0 && flags & DISK_READ_ONLY)
		size = disk->size;
	if (result == 0 && size < device->format.size)
		result = err_set(err, -EINVAL, "%s is too small: %llu bytes, the pool needs %llu",
				 wanted->path, (unsigned long long)size,
				 (unsigned long long)device->format.size);
	if (result == 0 && !mine->force && disk)
		result = pv_check_empty(disk, &native->sb, err);
	if (result < 0)
		disk_close(disk);
	else
		*ret_disk = disk;
	return result;
}

/* All copies, of generations older than every root. */
static int write_labels(struct disk *disk, struct superblock *label)
{
	uint64_t size = label->pv[label->pv_index].size;
	uint8_t *block = heap_aligned(BLOCK, BLOCK);
	int result = block ? 0 : -ENOMEM;

	for (unsigned copy = 0; copy < 4 && result == 0; copy++) {
		label->generation = copy & 1;
		superblock_encode(label, block);
		result = disk_io(disk, DISK_WRITE, DISK_FUA, superblock_position(size, copy), block,
				 BLOCK);
	}
	heap_free(block);
	return result;
}

static int make_label(struct native *native, struct disk *disk, unsigned row,
		      const struct uuid *uuid)
{
	struct superblock *label = heap_alloc(sizeof(*label));
	int result;

	if (!label)
		return -ENOMEM;
	*label = native->sb;
	label->pv_index = row;
	for (unsigned i = 0; i < label->pv_count; i++)
		if (i == row || label->pv[i].device == row + 1)
			label->pv[i].uuid = *uuid;
	result = write_labels(disk, label);
	heap_free(label);
	return result;
}

/* As it was made, whether it is written to now or not. */
static bool has_journal_room(const struct pv *device)
{
	return device->format.data_offset > PV_AREA;
}

static int prepare_disk(struct native *native, struct lane *lane, const struct pv *device,
			struct disk *disk, struct err *err)
{
	int result = has_journal_room(device)
			 ? journal_clear(native, lane, disk, device->format.size)
			 : pv_wipe_labels(disk, device->format.size);

	if (result == 0 || native->read_only) /* a checkpoint has failed, not the new device */
		return result;
	return err_set(err, result, "%s can not be written to", disk->path);
}

static void set_uuid(struct native *native, struct lane *lane, const struct pv *device,
		     const struct uuid *uuid)
{
	native_lock(native);
	for (unsigned i = 0; i < native->pv_count; i++)
		if (native->pv[i].device == device)
			native->sb.pv[i].uuid = native->pv[i].format.uuid = *uuid;
	native_unlock(lane);
}

/* @disk is the pool's, or closed. */
static int become(struct native *native, struct lane *lane, struct pv *device, struct disk *disk,
		  const struct uuid *uuid)
{
	int result = 0;

	set_uuid(native, lane, device, uuid);
	if (ORDER(replaced_in_both_roots))
		result = two_roots(native, lane);
	if (result < 0) {
		disk_close(disk);
		return result;
	}
	wait_readers(native);
	log_notice("pool %s: %s takes the place of %s and is being filled", native->sb.name,
		   disk->path, away_path(device));
	return away_take(native, lane, device, disk);
}

int replace_device(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct err *err = &mine->call->err;
	struct pv *device = (struct pv *)away_any(native);
	struct disk *disk = NULL;
	struct uuid uuid;
	int result;

	if (native->read_only)
		return -EROFS;
	result = check_old(native, device, mine->devices[0].path, err);
	if (result == 0)
		result = check_alone(native, lane, device, err);
	if (result == 0)
		result = check_nodes(device, mine->force, err);
	if (result == 0 && !mine->call->dry)
		result = evacuate_settle(native, lane);
	if (result == 0 && !mine->call->dry)
		result = away_let_go(native, device, err);
	if (result == 0)
		result = open_new(mine, device, &disk);
	if (mine->call->dry)
		disk_close(disk);
	if (result < 0 || mine->call->dry)
		return result;
	loop_random(native->home, &uuid, sizeof(uuid));
	result = two_roots(native, lane);
	if (result == 0)
		result = check_alone(native, lane, device, err);
	if (result == 0)
		result = prepare_disk(native, lane, device, disk, err);
	if (result == 0 && ORDER(replacement_labelled)) {
		result = make_label(native, disk, pv_device_row(native, device), &uuid);
		if (result < 0)
			err_set(err, result, "the labels can not be written to %s", disk->path);
	}
	if (result < 0 || mine->label) {
		disk_close(disk);
		return result;
	}
	return become(native, lane, device, disk, &uuid);
}

void native_replace(struct pool *pool, const char *old, const struct pool_device *device,
		    bool force, bool label, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_REPLACE);
	size_t room = sizeof(mine->devices->path);

	if (!mine)
		return;
	mine->force = force;
	mine->label = label;
	mine->devices = heap_zalloc_array(2, sizeof(*mine->devices));
	if (!mine->devices) {
		call_refuse(mine, err_set(&call->err, -ENOMEM, "out of memory"));
		return;
	}
	mine->devices[1].size = device->size;
	if ((size_t)snprintf(mine->devices[0].path, room, "%s", old) >= room ||
	    (size_t)snprintf(mine->devices[1].path, room, "%s", device->path) >= room)
		call_refuse(mine,
			    err_set(&call->err, -ENAMETOOLONG, "the path of a device is too long"));
	else
		call_queue(mine);
}
