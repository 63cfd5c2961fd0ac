/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_RECORDER_LOG_H
#define REPLICATION_RECORDER_LOG_H

#include <pthread.h>

#include "replication/recorder.h"

/* Private to recorder.c (taps, marks, epochs), recorder_log.c (what the log's memory holds) and
 * recorder_lease.c (R6). */

#define BUCKETS      64u
#define FOLD_ENTRIES 16384u /* at most; a power of two */
#define FOLD_PROBES  8u
#define RECORD_MAX   WIRE_DATA_MAX

enum tap_state {
	TAP_REFUSED,
	TAP_HELD,
	TAP_WAITS,
	TAP_POSTED,
	TAP_PASSED,
	TAP_KEPT,  /* R6: done, and not told; its result in tap_ticket */
	TAP_ENDED, /* the same, to be told on its loop */
};

struct segment {
	struct segment *next;
	size_t used;
	uint8_t bytes[];
};
#define SEGMENT_ROOM (RECORDER_SEGMENT - sizeof(struct segment))

/* The last record of the open epoch that touches a slot. */
struct fold {
	uint64_t stamp; /* of the table's life that it belongs to */
	uint64_t slot;
	uint32_t member;
	struct record *record;
};

struct member {
	struct volume_tap tap;
	struct recorder *recorder;
	unsigned index;
	struct volume *volume; /* NULL: it has left */
	uint64_t size;         /* of it, as it was heard last */
	struct volume_watcher watcher;
	struct marks marks;
	struct list busy[BUCKETS]; /* writes in flight, by the MiB they begin in */
	struct list wide;          /* discards in flight: any length */
	struct list waiting;       /* R2 */
	bool lost;                 /* no memory to mark with: everything is */
	uint64_t in_flight;        /* changes that were admitted and are not over */
	bool gone;                 /* removed: what still comes by passes, and is not recorded */
	struct member *next;       /* gone */
};

struct recorder {
	struct recorder_options options;
	pthread_mutex_t lock; /* everything below */
	enum recorder_mode mode;
	bool logging;
	uint64_t spoiled;      /* the first epoch whose log is not whole; UINT64_MAX: none */
	uint64_t open, oldest; /* epoch numbers: the open one, the first that is kept */
	struct recorder_epoch epochs[RECORDER_EPOCHS];
	uint64_t segments, segments_max;
	struct segment *free;
	struct member *members[WIRE_MEMBERS_MAX]; /* NULL: none */
	struct member *gone; /* requests may be inside their taps: they stay to the end */
	struct list held;
	uint64_t until_wall_ns, last_wall_ns; /* R5; the last change that ended */
	/* R6. Atomic: whether, and until when by clock_of(); what may not be told yet. */
	bool leased, lease_refuses;
	uint64_t lease_until_ns;
	struct list kept;
	struct fold *folds;
	unsigned fold_entries; /* a power of two */
	uint64_t fold_stamp;
	uint64_t delayed;
	struct message message;
	bool posted;
	bool retired;
	struct recorder *next; /* retired */
};

static inline struct recorder_epoch *epoch_at(struct recorder *recorder, uint64_t number)
{
	return &recorder->epochs[number % RECORDER_EPOCHS];
}

/* Context of all of it: the lock is held. recorder_log_change: false: no room. recorder_log_forget:
 * the records of a member are nobody's any more. */
bool recorder_log_change(struct member *member, struct recorder_epoch *epoch,
			 const struct volume_request *request);
void recorder_log_free(struct recorder *recorder, struct recorder_epoch *epoch);
void recorder_log_forget(struct recorder *recorder, unsigned index);

/* Lock held, where nothing else is said. recorder_post: on with @request, on its loop.
 * recorder_held_let_go: what is held goes on, as far as it may now.
 * recorder_lease_over: any context. recorder_keep: may its guest not be told that @request is done?
 * recorder_end_kept: on its loop, no lock. recorder_kept_let_go: what is kept is told, or refused,
 * as things are now. */
void recorder_post(struct volume_request *request, enum tap_state state);
void recorder_held_let_go(struct recorder *recorder);
bool recorder_lease_over(struct recorder *recorder, struct loop *loop);
bool recorder_keep(struct member *member, struct volume_request *request);
void recorder_end_kept(struct volume_request *request);
void recorder_kept_let_go(struct recorder *recorder);
void recorder_look_at_parked(struct recorder *recorder, struct recorder_lag *lag);

/* Which slots of a range are touched. */
struct recorder_touch {
	uint64_t offset;
	unsigned slots;
	bool *touched;
};
void recorder_touch(const struct recorder_touch *touched, uint64_t offset, uint64_t length);
void recorder_log_touch(const struct recorder_touch *touched, unsigned index,
			const struct recorder_epoch *epoch);

#endif
