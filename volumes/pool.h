/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_POOL_H
#define VOLUMES_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/list.h"
#include "core/loop.h"
#include "volumes/volume.h"

/* A pool: physical volumes (files, block devices) and the volumes on them. Management calls are
 * asynchronous like everything that may touch a disk: the caller's pool_call is handed back on
 * the loop that made the call. Context of all of them: the control loop (one at a time changes
 * a pool; a second is queued). */

#define POOL_NAME_MAX    63
#define POOL_DEVICES_MAX 64
#define WATERMARKS       3
#define POOL_SIZE_MIN    (64ull << 20) /* bytes, of one PV */

struct pool;
struct pool_info;

struct pool_call {
	/* result 0 or -errno with err.text. */
	void (*done)(struct pool_call *call, int result);
	/* Set: nothing is changed, and done() says what it would say of the change, without the
	 * pool or volume. For pools that are created and opened, their devices, volumes that are
	 * made, resized, renamed, rolled back, promoted, their snapshots and clones, what they
	 * reserve, and watermarks; anything else refuses it. */
	bool dry;
	/* A pool that is created or opened, dry: what it would be; of one that is opened, as its
	 * newest root has it, without its journal. NULL: nobody asks. */
	struct pool_info *would;
	struct err err;
	const char *about;     /* result < 0: "quota", "reserve"; NULL: not one of these */
	struct pool *pool;     /* pool_create, pool_open: the open pool */
	struct volume *volume; /* volume_create, volume_clone: a reference for the caller */
	/* progress of long work, for whoever looks: 0..total */
	uint64_t progress, total;
	/* private */
	struct loop *loop;
	struct list link;
	struct message message;
	int result;
	void *backend;
};

/* A path that begins with "rbd:" is the address of a pool in a Ceph cluster, and the pool's only
 * device: "rbd:CONF?pool=CEPH-POOL[&id=USER][&namespace=NAMESPACE]". */
struct pool_device {
	const char *path;
	uint64_t size; /* bytes; nonzero: create a sparse file of that size if there is none */
};

struct pool_create_options {
	const char *name;
	const struct pool_device *devices;
	unsigned device_count;
	/* 0: 1 % of the pool, 4 MiB to 1 GiB. Else that many bytes, 1 MiB to half of the first
	 * device, rounded down to whole MiB: a short journal means frequent checkpoints. */
	uint64_t journal_bytes;
	bool force; /* overwrite a device that carries another pool's label or a file system */
};

/* pool_create: write labels and an empty pool, and open it. A device with a pool label or a
 * known signature is refused (-EEXIST) without force; one open elsewhere -EBUSY. Durable. */
void pool_create(const struct world_ops *world, struct loop *loop,
		 const struct pool_create_options *options, struct pool_call *call);
/* pool_open: read labels, choose the newest valid root, replay the journal, serve. @paths must
 * be all PVs. Errors: -ENOENT, -EBUSY (open elsewhere), -EPROTO (newer format, or not a pool),
 * -EUCLEAN (no valid superblock or a needed structure is lost), ... */
/* Errors of an RBD pool besides: -ETIMEDOUT and whatever says that the cluster is away; see
 * pool_is_remote(). */
void pool_open(const struct world_ops *world, struct loop *loop, const char *const *paths,
	       unsigned path_count, struct pool_call *call);
/* pool_is_remote: a pool at @path may be away for a while and come back by itself, so that opening
 * it is worth another try. */
bool pool_is_remote(const char *path);
/* pool_rewind: as pool_open, and makes do with an older root when the newest may be lost, which
 * pool_open refuses (-EUCLEAN, with the sentence to show to whoever decides). Data is not at
 * stake: a root whose journal has been written over since is refused here too. */
void pool_rewind(const struct world_ops *world, struct loop *loop, const char *const *paths,
		 unsigned path_count, struct pool_call *call);
/* pool_open_degraded: as pool_open, and does without one device that is missing, if there are
 * mirrored volumes and, should it be the first, a second copy of the journal: mirrored volumes have
 * one copy then, others can not be read or written where the device is. A pool that has gone on
 * without the device needs no such consent. -EUCLEAN: writes to what has one copy there were under
 * way when the pool went down, or another device is not whole. Of two devices that have each gone
 * on without the other neither is opened with the other (-EUCLEAN). */
void pool_open_degraded(const struct world_ops *world, struct loop *loop, const char *const *paths,
			unsigned path_count, struct pool_call *call);
/* pool_close: wait for requests in flight, checkpoint, mark clean, release the devices. Every
 * volume reference from outside must be gone: -EBUSY otherwise. The pool is freed on 0. */
void pool_close(struct pool *pool, struct pool_call *call);

/* pool_label: get devices ready for pool_add(): an open of the pool from now on takes them for what
 * they are, not yet a part of it, so that their paths may be kept with the pool's others. pool_add:
 * they are a part of it at done(0), durably, and space is taken from them. A crash meanwhile leaves
 * the pool with all of them or with none. @devices and @force as in pool_create(); they may go
 * after the call returns. -EEXIST, -EBUSY, -EINVAL (too small, too many), -EOPNOTSUPP. */
void pool_label(struct pool *pool, const struct pool_device *devices, unsigned count, bool force,
		struct pool_call *call);
void pool_add(struct pool *pool, const struct pool_device *devices, unsigned count, bool force,
	      struct pool_call *call);
/* pool_grow: look how large the devices are now, and use what they have gained (17 MiB or more
 * each); call->total has the bytes, 0 when there were none. Durable at done(0). */
void pool_grow(struct pool *pool, struct pool_call *call);

/* pool_evacuate: what is on the device @path moves to the others, in the background, over restarts;
 * nothing new goes there from done(0) on. One device at a time; never the first, which has the
 * journal. Guests go on. PAUSE and RESUME, also after a failure; STOP: the device is one like the
 * others again, what has moved stays where it is. pool_device_info() says how far it is.
 * -ENOSPC (the others have not that much room), -EBUSY, -EINVAL, -ENOENT (no such device).
 * pool_remove: an evacuated device that is empty is no part of the pool any more at done(0), and
 * carries no label. -EBUSY: it is not empty. */
enum pool_evacuate_action {
	POOL_EVACUATE_START,
	POOL_EVACUATE_PAUSE,
	POOL_EVACUATE_RESUME,
	POOL_EVACUATE_STOP
};
void pool_evacuate(struct pool *pool, const char *path, enum pool_evacuate_action action,
		   struct pool_call *call);
void pool_remove(struct pool *pool, const char *path, struct pool_call *call);

/* pool_online: the device that the pool goes on without is back, at @path or (NULL) where it was.
 * It takes part at done(0), durably, and is made good in the background, over restarts:
 * pool_device_info() says how far that is. -EINVAL (none is away), -EPROTO (it is another one),
 * -EUCLEAN, -EBUSY, -ENOENT .. */
void pool_online(struct pool *pool, const char *path, struct pool_call *call);

/* pool_offline: the pool goes on without the device at @path from done(0) on, durably, as if it had
 * failed: to take it out, or to have another in its place (pool_replace()). Mirrored volumes have
 * one copy until then. -EBUSY: there is data with its only copy on it (the sentence says of which
 * volumes), the pool does not go on without it, or another is away; -ENOENT. */
void pool_offline(struct pool *pool, const char *path, struct pool_call *call);

/* pool_replace: the device that the pool goes on without, @old (its path, or "missing" where the
 * pool does not know it), is given up for good: @device, as large at least, takes its place at
 * done(0), durably, and what has a copy there is copied in the background, over restarts, as in
 * pool_online(). The old one is not the pool's any more, should it turn up. A crash meanwhile
 * leaves the pool going on without the old one, or without the new one, or with it. The rest of a
 * larger device is for pool_grow(). @force: whatever is on @device.
 * -EBUSY: there is data with its only copy on the old one (the sentence says of which volumes), or
 * @device is in use; -EINVAL (none is away, too small), -ENOENT (@old is not the one), -EEXIST,
 * -EOPNOTSUPP, ..
 * pool_label_replacement: likewise checked, and labelled, but not yet a part of it: an open of the
 * pool from now on takes @device for what it is, so that its path may be kept with the others. */
void pool_label_replacement(struct pool *pool, const char *old, const struct pool_device *device,
			    bool force, struct pool_call *call);
void pool_replace(struct pool *pool, const char *old, const struct pool_device *device, bool force,
		  struct pool_call *call);

struct volume_spec {
	const char *name;    /* without the pool's name */
	uint64_t size_bytes; /* 1 MiB .. VOLUME_SIZE_MAX, multiple of 4096 */
	enum volume_checksum checksum;
	/* Two copies of every slot, on two devices; what is read and is bad in one is mended from
	 * the other. -EINVAL without checksums, which tell the good one, with a reservation, or in
	 * a pool of one device; -EBUSY while a device is evacuated. */
	bool mirror;
	uint64_t reserve_bytes; /* thick guarantee: this much space is the volume's own */
	uint64_t quota_bytes;   /* 0: none; see volume_set_space() */
	/* NULL: a fresh one. A replica has the identity of what it replaces; whoever gives one
	 * sees to it that the pool has no other volume with it. */
	const struct volume_identity *identity;
	bool pinned; /* from the start: VOLUME_PIN_HERE */
};
/* Durable at done(0). -EEXIST, -EINVAL, -ENOSPC. */
void volume_create(struct pool *pool, const struct volume_spec *spec, struct pool_call *call);
/* Takes over the caller's reference when it succeeds. -EBUSY when anyone else holds the volume, or
 * it has snapshots. Space comes back
 * in the background; durable at done(0). */
void volume_delete(struct volume *volume, struct pool_call *call);
/* Growing; smaller is -EINVAL. Watchers hear VOLUME_RESIZED. */
void volume_resize(struct volume *volume, uint64_t size_bytes, struct pool_call *call);
/* Making it smaller (or larger): -EBUSY when something is mapped behind the new end, which has to
 * be discarded first. */
void volume_shrink(struct volume *volume, uint64_t size_bytes, struct pool_call *call);
void volume_rename(struct volume *volume, const char *name, struct pool_call *call);

/* volume_set_space: what is promised to @volume, and what it may take, from done(0) on, durably; 0
 * takes it away, NULL leaves it. A quota is for what the volume and its snapshots map together,
 * each block once; clones count for themselves. Behind it a write that needs more is -ENOSPC, up
 * to what is under way at once; other writes, discards and deletions go on. One that is less than
 * what is taken already stands all the same. -ENOSPC when the pool has not so much to promise;
 * -EINVAL (more promised than the volume's size or its quota, or for a mirrored one), -EOPNOTSUPP.
 * volume_quota_used: bytes that count for the quota, 0 without one. Context: any. */
struct volume_space {
	const uint64_t *reserve_bytes, *quota_bytes;
};
void volume_set_space(struct volume *volume, const struct volume_space *space,
		      struct pool_call *call);
uint64_t volume_quota_used(struct volume *volume);

/* volume_take: a standby volume is served here from done(0) on; the gateway that serves it lets go
 * first, without an error to any request of its initiators beyond "standby". -ETIMEDOUT when it
 * does not within some seconds; -EOPNOTSUPP where there are no gateways. */
void volume_take(struct volume *volume, struct pool_call *call);

/* volume_pin: where a pool is one of several gateways', says which of them may serve @volume: any;
 * this one alone, which nobody takes it from, not even when it is dead; none, not even this one
 * once it has let go. Elsewhere nothing is to be done. Durable at done(0). -EREMOTE: it is not
 * served here. */
enum volume_pin { VOLUME_PIN_NONE, VOLUME_PIN_HERE, VOLUME_PIN_NOBODY };
void volume_pin(struct volume *volume, enum volume_pin pin, struct pool_call *call);

/* ---- notes: what gateways agree on beside a volume's data ----
 * A shared volume has a note that all gateways see, and a number that grows with each change of it.
 * VOLUME_NOTE_GET: both; number 0: there is none yet. @data is heap, the caller's, or NULL.
 * VOLUME_NOTE_SET: @data takes its place, if @number is still its number (-ESTALE); the new number.
 *   By a gateway that does not serve the volume it is done when the one that does has seen it, or
 *   this one serves it. After any other error it may have been changed all the same.
 * VOLUME_NOTE_SEEN: the gateway that serves the volume goes by @number.
 * Watchers hear VOLUME_NOTED, some time later, and not of each change. Context: any loop; done() is
 * called on it. The volume has to be referenced until then. */
#define VOLUME_NOTE_MAX (1u << 20)
enum volume_note_kind { VOLUME_NOTE_GET, VOLUME_NOTE_SET, VOLUME_NOTE_SEEN };
struct volume_note_call {
	enum volume_note_kind kind;
	void (*done)(struct volume_note_call *call, int result);
	uint64_t number;
	uint8_t *data;
	size_t length; /* 1 to VOLUME_NOTE_MAX */

	/* private */
	struct loop *loop;
	struct volume *volume;
	struct message message;
	struct pool_call call;
};
void volume_note(struct volume *volume, struct volume_note_call *call);

/* volume_rescan: look how large the device behind a volume is now. Watchers hear VOLUME_RESIZED.
 * -EOPNOTSUPP for a volume that is not a device's. */
void volume_rescan(struct volume *volume, struct pool_call *call);

/* pool_find_volume: a reference, or NULL. pool_volume_next: iterate in name order; pass NULL
 * first; takes over the reference it is given and returns a new one. */
struct volume *pool_find_volume(struct pool *pool, const char *name);
struct volume *pool_volume_next(struct pool *pool, struct volume *previous);

/* ---- snapshots and clones ----
 * A snapshot is a read-only volume named VOLUME@SNAPSHOT (pool_find_volume() finds it by that name,
 * pool_volume_next() passes it over): read like any other, exported like any other. It shares
 * space with its volume; making one costs the same however large or old the volume is.
 * A back end without them answers -EOPNOTSUPP with a sentence. */
#define SNAPSHOT_GROUP_MAX 256

struct snapshot_spec {
	struct volume *volume;
	const char *name; /* as volume_name_check() has it, at most SNAPSHOT_NAME_MAX */
	bool expendable;  /* snapshot_approve() */
};
/* snapshot_create: one snapshot of each of @count volumes, all of the same instant: every write
 * that was done() before the call is in them, and what is in one of them is in the others if it
 * was done() before. Guests are not stopped. @specs may go after the call returns. Durable, all
 * or none. -EEXIST, -EINVAL, -ENOSPC (also when reservations could no longer be honoured), -EIO
 * (a write under way failed; nothing was made). */
void snapshot_create(struct pool *pool, const struct snapshot_spec *specs, unsigned count,
		     struct pool_call *call);

struct snapshot_info {
	char name[SNAPSHOT_NAME_MAX + 1];
	uint64_t created_ns;      /* wall clock */
	uint64_t group;           /* equal: of the same instant. Later ones are higher */
	uint64_t size_bytes;      /* of the volume at that time */
	uint64_t used_bytes;      /* what it maps, shared or not */
	uint64_t exclusive_bytes; /* what only it holds */
	bool measured;            /* ... which is known */
	uint64_t
	    reclaimable_bytes; /* what the pool has free, in whole chunks, when it is deleted */
	bool reclaim_known;
	bool measuring;         /* they are being looked for */
	unsigned clones;        /* volumes that stand on it */
	bool automatic;         /* made by a rollback */
	bool expendable;        /* may be given up when the pool is full */
	bool held;              /* may not be deleted, now: by hold_until_ns or without end */
	uint64_t hold_until_ns; /* wall clock; 0: without end, when it is held */
	bool in_use;            /* somebody else than the caller has a reference */
};
/* snapshot_next: the snapshots of @volume, oldest first; as pool_volume_next(). */
struct volume *snapshot_next(struct volume *volume, struct volume *previous);
/* snapshot_get_info: false when @volume is none. Context: control loop. */
bool snapshot_get_info(struct volume *volume, struct snapshot_info *ret_info);
/* snapshot_of: the volume a snapshot is of; of a clone: the snapshot it stands on. A reference,
 * or NULL. Context: control loop. */
struct volume *snapshot_of(struct volume *volume);

/* snapshot_delete: takes over the caller's reference when it succeeds. -EBUSY when it is held, has
 * clones or is in use. Gone at done(0); its space comes back in the background, over restarts if
 * need be. */
void snapshot_delete(struct volume *snapshot, struct pool_call *call);
/* A new name (behind the '@') for a snapshot. */
void snapshot_rename(struct volume *snapshot, const char *name, struct pool_call *call);
/* snapshot_hold: from now on it can not be deleted, until @until_ns of the wall clock (0: until it
 * is released). A hold with a date can be made longer, not shorter. snapshot_release: ends one
 * without a date (-EPERM for a date to come). */
void snapshot_hold(struct volume *snapshot, uint64_t until_ns, struct pool_call *call);
void snapshot_release(struct volume *snapshot, struct pool_call *call);
/* snapshot_approve: from now on it may be given up, deleted without being asked, when the pool's
 * space is at its end (pool_spends()), or not. Whoever looks after the pool does that
 * (webadmin/expiry.h). -EOPNOTSUPP where POOL_EXPENDABLES is not offered. */
void snapshot_approve(struct volume *snapshot, bool expendable, struct pool_call *call);
/* snapshot_measure: what it holds alone and what deleting it would give back, by comparing it with
 * its neighbours where that is not known: snapshot_get_info() has the first at done(0), and the
 * second, if the pool held still for the moment that takes. In the background, some milliseconds
 * or, where much differs, longer (after a minute the answer comes without it, and sooner where
 * clones that are written to take it back each time); -EIO: its map can not be read.
 * snapshot_measure_all: the same for all of @volume's; what is not known after @limit_ns is
 * looked for further, and has measuring set. */
void snapshot_measure(struct volume *snapshot, struct pool_call *call);
void snapshot_measure_all(struct volume *volume, uint64_t limit_ns, struct pool_call *call);

/* volume_clone: a writable volume named @name that starts as @snapshot. */
void volume_clone(struct volume *snapshot, const char *name, struct pool_call *call);
/* volume_promote: @clone takes over the snapshot it stands on and the older ones; the volume they
 * were of stands on that snapshot afterwards, as a clone of it. -EINVAL for no clone, -EEXIST. */
void volume_promote(struct volume *clone, struct pool_call *call);
/* volume_rollback: @volume becomes what it was at @snapshot, one of its own. What it is now stays
 * as snapshot @keep (NULL: a name is made up). Requests wait meanwhile, some milliseconds; watchers
 * hear VOLUME_ROLLED_BACK. */
void volume_rollback(struct volume *volume, struct volume *snapshot, const char *keep,
		     struct pool_call *call);

/* volume_diff: where @to differs from @from: both snapshots, or @to a volume, of one family (a
 * volume, its snapshots and clones; -EINVAL else). @from NULL: from an empty volume, that is: what
 * @to maps. Fills extents[] with adjacent-free ascending ranges from @offset on (whole slots;
 * mapped: there is data in @to; else it reads as zeros). @offset moves to where the next call is to
 * begin, @to's or @from's end when all is said. It may report a range that is equal after all,
 * never the reverse. Its cost is that of the differences. */
struct volume_diff {
	struct volume *from, *to;
	uint64_t offset; /* bytes */
	struct volume_extent *extents;
	unsigned extent_max, extent_count;
	bool finished;
};
void volume_diff(struct volume_diff *diff, struct pool_call *call);

struct pool_info {
	char name[POOL_NAME_MAX + 1];
	uint8_t uuid[16];
	unsigned device_count, volume_count;
	unsigned quotas;     /* volumes that have one */
	uint64_t size_bytes; /* for data */
	uint64_t used_bytes; /* allocated to data, whole chunks */
	uint64_t free_bytes;
	uint64_t
	    reserved_bytes; /* of the free ones: promised to volumes, not used yet, each copy */
	/* Bytes of mirrored volumes that the pool can have, and that are left beside what is
	 * promised: less than half of the free ones where one device has more than all others. 0:
	 * it has one. */
	uint64_t mirror_size_bytes, mirror_free_bytes;
	bool mirrors; /* it has any mirrored data, or has promised space for some */
	uint8_t watermark[WATERMARKS]; /* percent */
	unsigned watermark_level;      /* how many of them are reached */
	bool reclaiming; /* what was deleted still gives back its space, in the background */
	uint64_t provisioned_bytes; /* sum of volume sizes; / size = over-commit */
	uint64_t metadata_size_bytes, metadata_used_bytes;
	uint64_t generation;       /* checkpoints since creation */
	uint64_t checksum_errors;  /* since open */
	uint64_t data_repairs;     /* likewise: slots of one copy mended from the other */
	uint64_t metadata_repairs; /* since open: a bad copy served and mended from the other */
	bool degraded;             /* a device is away */
	bool resilvering;          /* one is back and is being made good */
	unsigned journal_copies;   /* on devices that are there and whole */
	uint64_t hot_resummed;     /* slots re-summed at the last replay */
	uint64_t replayed_records; /* at open */
	const char *kind;          /* of back end: "native", "rbd" */
	bool full;                 /* a write has found no space, and none has found any since */
	bool waiting;              /* what holds it does not answer at present; requests wait */
	bool read_only;            /* I8: after an error on journal or superblock */
	char read_only_reason[200];
};
/* Context: any. */
void pool_get_info(struct pool *pool, struct pool_info *ret_info);

/* The percent of use, halfway from the last watermark to full, from which on snapshots are given up
 * that may be. What is promised counts as used, as with watermarks. */
static inline unsigned pool_spend_percent(const struct pool_info *info)
{
	return (info->watermark[WATERMARKS - 1] + 100u) / 2;
}

static inline bool pool_is_used(const struct pool_info *info, unsigned percent)
{
	double used = (double)(info->used_bytes + info->reserved_bytes);
	double paired = (double)(info->mirror_size_bytes - info->mirror_free_bytes);

	return (info->size_bytes && used * 100 >= (double)info->size_bytes * percent) ||
	       (info->mirrors && paired * 100 >= (double)info->mirror_size_bytes * percent);
}

static inline bool pool_spends(const struct pool_info *info)
{
	return pool_is_used(info, pool_spend_percent(info));
}

/* What not every kind of pool can do; what one can not is refused with a sentence. Context: any. */
enum pool_feature {
	POOL_CHECKSUMS, /* a volume's mode of checksums */
	POOL_MIRRORS,   /* volumes with two copies */
	POOL_RESERVES,  /* space reserved for a volume */
	POOL_CHECKS,    /* pool_check() */
	POOL_SCRUBS,
	POOL_DEVICES, /* devices come and go */
	POOL_WATERMARKS,
	POOL_SNAPSHOTS,   /* and clones, rollback, differences */
	POOL_EXPENDABLES, /* snapshots that may be given up when it is full: snapshot_approve() */
	POOL_GATEWAYS,    /* other daemons may serve its volumes: volume_take() */
	POOL_FEATURES
};
bool pool_can(const struct pool *pool, enum pool_feature feature);
const char *pool_name(const struct pool *pool);
/* Path of the @index-th device, NULL past the end. */
const char *pool_device_path(const struct pool *pool, unsigned index);
enum pool_device_state {
	DEVICE_ACTIVE,
	DEVICE_EVACUATING,
	DEVICE_PAUSED,
	DEVICE_STUCK,
	DEVICE_EMPTY,      /* may be removed */
	DEVICE_AWAY,       /* the pool goes on without it */
	DEVICE_RESILVERING /* it is back, and its copies are made good */
};
struct pool_device_info {
	const char *path;                /* valid until the device is removed */
	uint64_t size_bytes;             /* of the device, as far as it is used */
	uint64_t data_bytes, free_bytes; /* room for data, and what of it is free */
	enum pool_device_state state;
	uint64_t moved_bytes,
	    left_bytes;        /* while it is evacuated; RESILVERING: looked at, to look at */
	uint64_t copied_bytes; /* RESILVERING: what differed */
	bool vital; /* there are mirrored volumes, and the pool would not go on without it .. */
	char reason[400]; /* .. why; DEVICE_STUCK: what is in the way */
	/* How long a guest's write typically takes there, one of 16 KiB and less, and 64 KiB of
	 * larger ones; 0: there were not enough of them lately. */
	uint64_t small_write_ns, large_write_ns;
	double share; /* of what is written to new space, by free space and speed: 0 to 1 */
};
/* pool_device_info: of the @index-th device; false past the end, or where a pool's devices are not
 * its own. Context: control loop. */
bool pool_device_info(struct pool *pool, unsigned index, struct pool_device_info *ret_info);
/* Mapped bytes of a volume (whole slots). Context: any. */
uint64_t volume_used_bytes(struct volume *volume);

/* pool_check: walk every structure of an open, quiet pool or of closed devices and compare:
 * reachability, double references, space counts, both metadata copies, and with @data every
 * slot's checksum. Findings go to @report, one sentence each; changes nothing. */
struct pool_check_report {
	uint64_t nodes, slots, errors, leaked_slots;
	void (*finding)(struct pool_check_report *report, const char *sentence);
	void *context;
};
void pool_check(struct pool *pool, bool data, struct pool_check_report *report,
		struct pool_call *call);

/* pool_check_devices: the same for the devices of a pool that is not open: the newest root as it
 * is, without the journal (data, which the journal may have changed since, is verified after an
 * orderly close only; the report says so otherwise). Opens them read-only and for itself:
 * -EBUSY when the pool is open. */
void pool_check_devices(const struct world_ops *world, struct loop *loop, const char *const *paths,
			unsigned path_count, bool data, struct pool_check_report *report,
			struct pool_call *call);

/* pool_set_watermarks: percents, ascending, 1 to 99; durable with the answer. Reaching one, and
 * falling below it again, is logged and told to the watchers of all volumes (VOLUME_THRESHOLD). */
void pool_set_watermarks(struct pool *pool, const uint8_t percent[WATERMARKS],
			 struct pool_call *call);

/* ---- scrub ----
 * Reads every superblock copy, both copies of every metadata node and every mapped slot beside the
 * guests' I/O, at most @rate bytes a second (0: as before, at first 200 MiB) and less while
 * guests are at it. Bad copies of metadata are written again from the other one. A scrub that
 * is under way goes on after a restart. Context: control loop. */
enum pool_scrub_action { POOL_SCRUB_START, POOL_SCRUB_PAUSE, POOL_SCRUB_RESUME, POOL_SCRUB_STOP };
enum pool_scrub_state { SCRUB_NEVER, SCRUB_RUNNING, SCRUB_PAUSED, SCRUB_DONE, SCRUB_STOPPED };

struct pool_scrub_info {
	enum pool_scrub_state state;
	uint64_t started_ns, ended_ns; /* wall */
	uint64_t rate_bytes, done_bytes, total_bytes, eta_seconds;
	uint64_t nodes, slots;     /* looked at */
	uint64_t errors, repaired; /* of this pass */
	uint64_t findings, findings_dropped;
};
/* -EALREADY, -EBUSY, -EINVAL (nothing to pause ..), -EROFS, -EOPNOTSUPP. */
int pool_scrub(struct pool *pool, enum pool_scrub_action action, uint64_t rate, struct err *err);
/* pool_scrub_try: what pool_scrub() would say, and no more. */
int pool_scrub_try(struct pool *pool, enum pool_scrub_action action, struct err *err);
void pool_get_scrub(struct pool *pool, struct pool_scrub_info *ret_info);

/* ---- findings ----
 * What reads and scrubs have met, kept with the pool (1,024 at most). What a whole scrub does not
 * meet again goes; what was repaired stays until it is cleared. */
enum pool_finding_kind {
	FINDING_DATA = 1,      /* data does not fit its checksum */
	FINDING_MEDIUM,        /* data can not be read */
	FINDING_NODE_REPAIRED, /* a copy of a metadata node, mended from the other */
	FINDING_NODE_LOST,     /* both copies */
	FINDING_LABEL,         /* a superblock copy, written again */
	FINDING_DATA_REPAIRED  /* a copy of a mirrored volume's data, mended from the other */
};
struct pool_finding {
	enum pool_finding_kind kind;
	uint64_t time_ns;                 /* wall, when it was last met */
	char volume[VOLUME_PATH_MAX + 1]; /* "" for the pool's own, or a deleted volume */
	uint64_t offset, length;          /* of data: bytes of the volume */
	bool repaired;
	char text[VOLUME_PATH_MAX + 192];
};
/* pool_finding: the @index-th; false past the end. */
bool pool_finding(struct pool *pool, unsigned index, struct pool_finding *ret_finding);
void pool_findings_clear(struct pool *pool);

/* pool_rename: durable at done(0). Before the pool serves anything: what reads its name meanwhile
 * may read either. -EINVAL; -EOPNOTSUPP, also of a dry run. */
void pool_rename(struct pool *pool, const char *name, struct pool_call *call);

/* pool_checkpoint: make the journal empty now (tests, clean shutdown). */
void pool_checkpoint(struct pool *pool, struct pool_call *call);

#endif
