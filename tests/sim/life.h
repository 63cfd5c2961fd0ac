/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_LIFE_H
#define TESTS_SIM_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"
#include "tests/sim/model.h"
#include "tests/sim/rng.h"
#include "tests/sim/sim_world.h"
#include "volumes/format.h"
#include "volumes/pool.h"
#include "volumes/volume.h"

/* One life of a storage server inside a simulated world, from open to power loss: its loops, its
 * pool, the clients that use it through the public API, and the oracle that watches them. */

/* What is proved: the native engine, or one of the toys that prove the proof (toy.h). */
struct subject {
	const char *name;
	void (*create)(const struct world_ops *world, struct loop *loop,
		       const struct pool_create_options *options, struct pool_call *call);
	void (*open)(const struct world_ops *world, struct loop *loop, const char *const *paths,
		     unsigned path_count, struct pool_call *call);
	bool only_data; /* it can not do volume management */
	/* Open with an older root; NULL when only_data. */
	void (*rewind)(const struct world_ops *world, struct loop *loop, const char *const *paths,
		       unsigned path_count, struct pool_call *call);
};

/* What a run is like: drawn from the seed. */
struct profile {
	uint64_t seed;
	const struct subject *subject;
	unsigned devices, io_loops, clients, volumes;
	uint64_t device_size, volume_size; /* bytes; of the largest volume */
	bool volatile_cache, overlaps, full;
	/* of 1000 operations */
	unsigned reads, flushes, discards, manage, checkpoints, scrubs, snapshots;
	unsigned disks;       /* of 4000 rounds: a change of the pool's devices; 0: they stay */
	unsigned fua, atomic; /* of 1000 writes */
	unsigned size_class;  /* 0 sub-slot .. 3 up to 1 MiB */
	unsigned hot;         /* of 1000: operations inside the hot area */
	uint64_t hot_bytes;
	unsigned ios_between;   /* crashes of the first life, on average */
	unsigned operations;    /* of the first life */
	uint64_t journal_bytes; /* 0: the default */
	bool turns;        /* slots of a small area are written, discarded, written ..: never in
			    * place, so that their region stays cold */
	unsigned checksum; /* of all volumes: enum volume_checksum; CHECKSUM_MIXED */
	bool calm;         /* a new slot made durable, a checkpoint with nothing beside it, the slot
			    * written again: what the older root knows only from the journal */
	unsigned rewinds;  /* one in so many crash states also loses its newest root */
	unsigned slow_fua; /* one in so many FUA writes takes seconds; 0: none */
	unsigned slow_writes; /* likewise, of all writes */
	bool after_deletions; /* crashes come some writes after a snapshot is deleted */
	bool mirror;          /* most volumes have two copies */
	bool mirror_all;      /* all of them, and no single fault is to fail a read */
	bool moves;           /* ... and devices that have copies are evacuated */
	unsigned pulls;       /* of 4000 rounds: one of the two devices is pulled, or is back */
	unsigned replaces;    /* one in so many times another is put in its place; 0: never */
	unsigned victim;      /* 0, 1: the first or the second device goes first; .. */
	bool takes_turns;     /* .. and the other one later */
	bool grows;     /* it is made with one device: what is written then is there, both copies */
	bool before;    /* .. of a volume with one copy, LIFE_BEFORE, that stays, .. */
	bool before_at; /* .. and has a snapshot of that time, until that is deleted */
	unsigned family; /* of 1000 steps with snapshots: clones, promotions, rollbacks */
};
#define CHECKSUM_MIXED 3u
void profile_draw(struct profile *profile, uint64_t seed, const struct subject *subject);

#define LIFE_LOOPS   4
#define LIFE_CLIENTS 24

struct life;
struct client {
	struct life *life;
	struct volume_request request;
	struct message message;
	struct iovec iov[3];
	uint8_t *data;
	struct volume_extent extents[8];
	unsigned volume, token;
	uint32_t op;
	uint64_t begun;
	bool busy, verify; /* verify: the answer is looked at by whoever waits for !busy */
	int result;
};

enum manage {
	MANAGE_CREATE,
	MANAGE_DELETE,
	MANAGE_RESIZE,
	MANAGE_RENAME,
	MANAGE_CHECKPOINT,
	MANAGE_SCRUB,
	MANAGE_DISK,
	MANAGE_ONLINE,
	MANAGE_REPLACE,
	MANAGE_SNAPSHOT, /* from here on: life_snapshot.c */
	MANAGE_SNAPSHOT_DELETE,
	MANAGE_CLONE,
	MANAGE_ROLLBACK,
	MANAGE_PROMOTE
};

/* The devices there are, some of them the pool's: the first profile->devices when it is made. */
#define LIFE_DEVICES 4u
extern const char *const life_device_paths[LIFE_DEVICES];
static inline unsigned life_devices(const struct profile *profile)
{
	return profile->moves                        ? LIFE_DEVICES
	       : profile->disks || profile->replaces ? 3
						     : profile->devices;
}

struct life {
	struct sim *sim;
	const struct profile *profile;
	struct rng rng;
	struct loop *loops[LIFE_LOOPS]; /* 0: the control loop */
	unsigned loop_count;
	struct pool *pool;
	struct model *model;
	struct volume *handles[MODEL_VOLUMES];
	struct client clients[LIFE_CLIENTS];
	struct pool_call call;
	struct message call_message;
	void (*call_start)(struct life *life);
	bool call_done;
	int call_result;
	struct pool_check_report report;
	bool report_data;
	enum manage manage;
	int manage_volume; /* being managed: no new requests; -1 none */
	bool manage_sent;
	unsigned snapshot;              /* being made or deleted */
	struct volume *snapshot_handle; /* of the call, while it lasts */
	int snapshot_token;
	unsigned rollback_to;
	struct volume_diff diff;
	unsigned deletions; /* of snapshots */
	bool unsettled;     /* a change has failed, and may yet be there after the next open */
	bool rewound;       /* open with an older root */
	unsigned pulled;    /* of life_device_paths, + 1: it is gone; 0: none */
	unsigned pulls;     /* so many times, in this life */
	unsigned instead;   /* of life_device_paths: to replace the victim, or be it again */
	unsigned gone;      /* roots since the pool has gone on without the victim */
	bool cache_lost;    /* its cache went with a pull, and no root says so yet */
	enum { CALM_NEW, CALM_CHECKPOINT, CALM_AGAIN, CALM_REST } calm_step;
	uint64_t calm_slot;
	bool before_gone; /* LIFE_BEFORE was deleted */
	bool single; /* one FUA write after the other: what the last crash left is still about */
	uint64_t manage_size;
	const char *manage_path;
	char manage_name[MODEL_NAME_MAX];
	unsigned operations;  /* started */
	uint64_t turned;      /* profile->turns: slots to be discarded next */
	bool tolerate_faults; /* I/O errors are not violations: faults were injected */
	uint64_t scrub_known; /* errors the scrub had counted when this life began */
	bool write_failed;    /* of a client, with a fault */
	bool device_lied;     /* it lost or bent a write: old data may be back after a crash */
	unsigned failures;    /* tolerated ones */
	unsigned depth;
};

struct life *life_new(struct sim *sim, const struct profile *profile, struct model *model,
		      unsigned depth);
void life_free(struct life *life); /* pool closed */

/* Calls of the pool, one at a time: start, then step the world until life->call_done. */
void life_call(struct life *life, void (*start)(struct life *life));
void life_start_create(struct life *life);
void life_start_grow(struct life *life);
/* The volume of the time with one device: made, before there is another; its snapshot deleted, if
 * there is one; looked at (no data is read: that may be on the device that is gone); deleted. */
#define LIFE_BEFORE "before"
bool life_is_before(const struct life *life, const struct volume *volume);
void life_before_make(struct life *life);
void life_before_forget(struct life *life);
void life_before_look(struct life *life);
void life_before_delete(struct life *life);
void life_start_open(struct life *life);
void life_start_rewind(struct life *life);
void life_start_degraded(struct life *life);
/* The victim (model.h) is gone; it is back, or another is in its place, and the pool has made it
 * good. */
void life_pull(struct life *life);
void life_plug(struct life *life);
/* The newest root that the device of @row has a label of; no version: none. */
struct superblock life_newest_on(const struct profile *profile, struct sim *sim, unsigned row);
/* What the victim had not flushed may be gone, and whoever opens the pool next can not know. */
bool life_lost_unseen(struct life *life);
void life_heal(struct life *life);
void life_start_close(struct life *life);
void life_start_checkpoint(struct life *life);
void life_start_check(struct life *life); /* report_data says whether slots are read */
/* life_wait: run the world until the call is done; a violation when it never is. */
int life_wait(struct life *life, const char *what);

/* After an open: take handles of the volumes found and hold them against the model. */
void life_match_volumes(struct life *life);
/* Would they match? */
bool life_volumes_fit(struct life *life);
/* Read @length bytes and check them; the data stays in the returned client until the next. */
const uint8_t *life_read(struct life *life, unsigned volume, uint64_t offset, uint64_t length);
void life_flush(struct life *life, unsigned volume);
/* life_snapshot.c: after an open; would they match; hold them against what they held; a change of
 * them, begun and ended; delete all. */
void life_snapshots_match(struct life *life);
bool life_snapshots_fit(struct life *life);
void life_snapshots_look(struct life *life, bool all);
bool life_has_snapshots(const struct life *life, unsigned volume);
/* life_family_match: before life_snapshots_match(): clones, promotions and rollbacks that a crash
 * came into. */
void life_family_match(struct life *life);
void life_rollback_begin(struct life *life); /* its volume is quiet */
unsigned life_volumes_here(const struct life *life);
void life_manage_name(struct life *life);
bool life_snapshot_plan(struct life *life);
void life_snapshot_start(struct life *life);
void life_snapshot_ended(struct life *life);
void life_snapshots_delete(struct life *life);
/* One step of work: start operations on idle clients while @more, one round of the world. */
void life_work(struct life *life, bool more);
bool life_quiet(const struct life *life);
const char *life_busy(const struct life *life); /* what is not quiet, in words */
void life_drop_handles(struct life *life);

/* violation: print what is wrong, with the seed and the command that shows it again; end the
 * process with status 1. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
extern char violation_command[400];

#endif
