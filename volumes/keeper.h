/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_KEEPER_H
#define VOLUMES_KEEPER_H

#include "volumes/native.h"

/* The keeper's queue, private to keeper.c and snapshot.c. Everything here runs on the home loop;
 * what takes a lane, in the keeper's fiber. */

enum call_kind {
	CALL_CREATE,
	CALL_DELETE,
	CALL_RESIZE,
	CALL_RENAME,
	CALL_SPACE,
	CALL_POOL_RENAME,
	CALL_WATERMARKS,
	CALL_SNAPSHOT,
	CALL_SNAPSHOT_DELETE,
	CALL_SNAPSHOT_RENAME,
	CALL_HOLD,
	CALL_RELEASE,
	CALL_APPROVE,
	CALL_CLONE,
	CALL_PROMOTE, /* the last of those that change something and share a checkpoint */
	CALL_ROLLBACK,
	CALL_MEASURE, /* both: measure.c */
	CALL_MEASURE_ALL,
	CALL_DIFF,
	CALL_ADD,
	CALL_GROW,
	CALL_EVACUATE,
	CALL_REMOVE,
	CALL_ONLINE,
	CALL_OFFLINE,
	CALL_REPLACE,
	CALL_CHECKPOINT,
	CALL_CHECK,
	CALL_CLOSE
};

struct new_device {
	char path[1024];
	uint64_t size; /* to be created with, 0 */
};

struct wanted_snapshot {
	char name[SNAPSHOT_NAME_MAX + 1];
	uint32_t flags; /* of its record */
};

struct native_call {
	struct list link;
	enum call_kind kind;
	struct pool_call *call;
	struct native *native;
	struct nvolume *volume, *other;
	char name[VOLUME_NAME_MAX + 1];
	uint64_t size;
	enum volume_checksum checksum;
	bool mirror;
	bool identified; /* by identity */
	struct volume_identity identity;
	uint64_t reserve, quota, until_ns;
	bool set_reserve, set_quota; /* CALL_SPACE: which of them */
	bool shrink, expendable;
	uint8_t watermark[WATERMARKS];
	bool data;
	struct pool_check_report *report;
	struct volume_diff *diff;
	/* CALL_ADD: count devices, or CALL_REMOVE ..: one path, of CALL_ONLINE maybe none; of
	 * CALL_REPLACE: the old one's path and the new device */
	struct new_device *devices;
	bool force, label;
	enum pool_evacuate_action action;
	/* CALL_SNAPSHOT */
	unsigned count;
	struct nvolume **of, **made;
	struct wanted_snapshot *wanted;
};

/* ---- keeper.c ---- */
struct native_call *call_new(struct native *native, struct pool_call *call, enum call_kind kind);
void call_queue(struct native_call *mine);
void call_refuse(struct native_call *mine, int result);
void call_end(struct native_call *mine, int result);
struct nvolume *keeper_find(struct native *native, const char *name); /* not a snapshot */
void keeper_insert_sorted(struct native *native, struct nvolume *volume);
/* A new record with an identity of its own, in the table of volumes but in no list. NULL: no room
 * (*ret_result says why). Takes the lock. */
int keeper_room(const struct native *native); /* for one more volume or snapshot: 0, -ENOSPC */
struct nvolume *keeper_new_volume(struct native *native, struct lane *lane, const char *name,
				  uint64_t size, int *ret_result);
int keeper_name_is_taken(struct native_call *mine);

/* ---- snapshot.c: the changes, the work of the others, and what follows their checkpoint ---- */
int snapshot_change(struct native_call *mine, struct lane *lane);
int snapshot_changed(struct native_call *mine); /* the answer */
int snapshot_work(struct native_call *mine, struct lane *lane);
void snapshot_renamed(struct nvolume *volume); /* a volume has a new name: so have its snapshots */
bool snapshot_listed(const struct nvolume *volume); /* has the volume any? */

/* ---- quota.c ---- */
/* err_set() for @call, whose refusal is about "quota" or "reserve". */
int quota_refuse(struct pool_call *call, const char *about, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* May a volume of that size reserve and take so much? -EINVAL. */
int quota_spec_check(struct pool_call *call, const char *name, uint64_t size, uint64_t reserve,
		     uint64_t quota);
int quota_change(struct native_call *mine);

/* ---- extend.c ---- */
int extend_add(struct native_call *mine, struct lane *lane);
int extend_grow(struct native_call *mine, struct lane *lane);

/* ---- evacuate.c ---- */
int evacuate_change(struct native_call *mine, struct lane *lane);
int evacuate_remove(struct native_call *mine, struct lane *lane);

/* ---- away.c ---- */
int away_online(struct native_call *mine, struct lane *lane);
/* Under the lock: the pool goes on without @device, which nobody has lost. -EBUSY: it can not. */
int away_send(struct native *native, struct pv *device);
bool away_may_go(const struct native *native, const struct pv *device);
/* The disk of a device that is away is closed, when nothing is under way on it any more: the path
 * it had may be opened again, here or elsewhere. -EBUSY, -ENOMEM. */
int away_let_go(struct native *native, struct pv *device, struct err *err);
/* How to open @path beside that, for a dry run, which lets nothing go. */
unsigned away_open_flags(const struct pv *device, const char *path);
/* @disk, which is the pool's now, is that of @device, which is here again, stale; durably. */
int away_take(struct native *native, struct lane *lane, struct pv *device, struct disk *disk);

/* ---- replace.c ---- */
int replace_device(struct native_call *mine, struct lane *lane);
int replace_offline(struct native_call *mine, struct lane *lane);

/* ---- reap.c ---- */
/* Into the list of what is being deleted. */
void reap_enlist(struct nvolume *volume);
/* One step of deleting what the deleting list holds. False: nothing can be done now. */
bool reap_some(struct native *native, struct lane *lane);
/* Under the lock: what deleting @snapshot would give back in the leaves from *at on, as far as one
 * look goes; *at moves, *slots gains. 0, -EINPROGRESS, or an error. */
int reap_look(struct nvolume *snapshot, struct waiter *waiter, struct measure *measure,
	      uint64_t *at, uint64_t *slots);
/* The same where more than one stands on it: what none of them has. (Deleting it gives nothing.) */
int reap_look_many(struct nvolume *snapshot, struct waiter *waiter, uint64_t *at, uint64_t *slots);
/* See pool.h. */
int reap_diff(struct native *native, struct lane *lane, struct volume_diff *diff);

/* ---- measure.c ---- */
/* The call is answered when what it asks for is known. */
void measure_ask(struct native_call *mine);
bool measure_is_due(const struct native *native);
/* One step. False: nothing can be done now. */
bool measure_some(struct native *native, struct lane *lane);

#endif
