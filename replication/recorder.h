/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_RECORDER_H
#define REPLICATION_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"
#include "replication/wire.h"
#include "volumes/marks.h"
#include "volumes/volume.h"

/* What a group's members have been changed by, in epochs: the tap of each member's volume.
 *
 * R1 A change is given the open epoch's number when it is admitted. One that was acknowledged
 *    before another was submitted has no higher number, over all members. (E1)
 * R2 Overlapping changes of a member take turns, so that the order of their records is the order
 *    of their effect. Nothing else waits.
 * R3 A change is recorded when it completes, with the data it wrote, in its epoch's log; when
 *    there is no room, or it failed, its chunks are marked. Log and marks together hold
 *    everything that the standby's sealed image may lack. (E4)
 * R4 An epoch is complete when it is closed and no change of it is in flight. From then on its
 *    log does not change.
 *
 * R5 While there is a time limit (recorder_protect), no change is admitted after it but those that
 *    wait for an overlapping one: but for what these take, the standby's image is at most so much
 *    older than anything that was acknowledged.
 *
 * R6 While the owner has a lease that is to be kept (recorder_lease), nothing is told to a guest
 *    after its end: neither that a change is done nor what was read. Changes are not let in any
 *    more, what is done is kept; both go on when it is renewed, and end with an error when the
 *    image is not this node's any more.
 *
 * The log is in RAM and bounded. When it is full, nobody waits: from then on changes only mark,
 * and the owner turns the log into marks as well (recorder_fall_back) and sends chunks. */

#define RECORDER_EPOCHS  64u
#define RECORDER_SEGMENT (512u << 10) /* bytes of log memory taken at a time */

struct recorder;

enum recorder_mode {
	RECORDER_RECORDS, /* changes pass and are recorded */
	RECORDER_HOLDS,   /* changes wait for the next mode (planned switchover) */
	RECORDER_REFUSES, /* the image is not this node's to change: -EROFS; reads: -EAGAIN */
};

#define RECORD_NOBODY UINT32_MAX
struct record {
	uint64_t offset, length;
	uint32_t member; /* or RECORD_NOBODY: of one that has been removed */
	uint32_t zeros;  /* 1: reads as zeros, no data */
	uint8_t data[];
};

/* One epoch as the owner reads it. */
struct recorder_epoch {
	uint64_t number;
	uint64_t first_wall_ns, closed_wall_ns;     /* first change; 0: none, or still open */
	uint64_t bytes, zeroed, records, in_flight; /* zeroed: bytes that were discarded */
	struct segment *first, *last;
	bool closed;
};

struct recorder_options {
	struct loop *loop;     /* the owner's */
	uint64_t budget_bytes; /* of log memory */
	uint64_t first_epoch;
	/* Something happened that the owner may be waiting for. Context: the owner's loop. */
	void (*wake)(void *context);
	/* Monotonic ns on any thread, of recorder_lease(). NULL: loop_clock(). */
	uint64_t (*clock)(void *context, struct loop *loop);
	void *context;
};

/* Context of all of it, where nothing else is said: the owner's loop. */
int recorder_create(const struct recorder_options *options, struct recorder **ret_recorder)
    __attribute__((warn_unused_result));
/* Every member's requests have to be done, or the volumes quiet. NULL is fine. */
void recorder_destroy(struct recorder *recorder);
/* recorder_retire: the volumes are not watched any more, and whatever was held back goes on; but
 * requests are still on their way through the taps. Log and references are gone at once; what is
 * left is in front of @retired, for recorder_destroy_retired() once the volumes are quiet for
 * good. NULL is fine. */
void recorder_retire(struct recorder *recorder, struct recorder **retired);
void recorder_destroy_retired(struct recorder *retired);

/* recorder_add: watch @volume (a reference of its own) as @member; everything is marked, and
 * sent before any epoch that is in the log, if @marked. -ENOMEM, -EBUSY (it has a tap). */
int recorder_add(struct recorder *recorder, unsigned member, struct volume *volume, bool marked)
    __attribute__((warn_unused_result));
/* recorder_remove: the member's volume is watched no more; what waits for it goes on, what was
 * recorded of it is forgotten. Its index may be used again. */
void recorder_remove(struct recorder *recorder, unsigned member);
void recorder_set_mode(struct recorder *recorder, enum recorder_mode mode);
enum recorder_mode recorder_mode(struct recorder *recorder);
/* recorder_protect: changes pass until @until_wall_ns (loop_wall); those that come later wait, and
 * can be cancelled, until it is put off. RECORDER_FREE: they pass at any time. */
#define RECORDER_FREE UINT64_MAX
void recorder_protect(struct recorder *recorder, uint64_t until_wall_ns);
/* recorder_lease: R6: guests are answered until @until_ns; @refuse: what would wait for another
 * lease is refused, -EROFS, a read -EAGAIN. Not @on: at any time. */
void recorder_lease(struct recorder *recorder, bool on, uint64_t until_ns, bool refuse);
/* Are all changes that were in flight when the taps were set over? */
bool recorder_quiet(struct recorder *recorder);

/* recorder_close: end the open epoch and begin the next. Its number, or 0 when there is no room
 * for another. recorder_complete: R4, for it and all before it. */
uint64_t recorder_close(struct recorder *recorder);
bool recorder_complete(struct recorder *recorder, uint64_t epoch);
uint64_t recorder_open_epoch(struct recorder *recorder);
/* Is anything in the log, in flight, or marked? */
bool recorder_idle(struct recorder *recorder);
bool recorder_busy(struct recorder *recorder); /* is a change in flight? */
/* The epoch @number, complete, for reading; NULL when it is not kept (any more). */
const struct recorder_epoch *recorder_epoch(struct recorder *recorder, uint64_t number);
/* The next record of @epoch, NULL at the end; @cursor is zeroed before the first. */
struct recorder_cursor {
	const struct segment *segment;
	size_t at;
};
const struct record *recorder_next(const struct recorder_epoch *epoch,
				   struct recorder_cursor *cursor);
/* recorder_drop: the standby has sealed @epoch: it and all before it are forgotten. */
void recorder_drop(struct recorder *recorder, uint64_t epoch);
/* recorder_skip: the standby knows of @epoch already: numbers go on behind it. Before anything
 * is sent. */
void recorder_skip(struct recorder *recorder, uint64_t epoch);

/* recorder_spoiled: does the log lack a change of epoch @epoch or of one before it? */
bool recorder_spoiled(struct recorder *recorder, uint64_t epoch);
/* recorder_next_step: what is next to be sent: the marks, when the log lacks a change of epoch
 * @epoch or of one before it, or anything else is marked; else the log of @epoch, which is
 * complete; else nothing yet. One look: a change that ends meanwhile is in the log, or seen. */
enum recorder_step {
	RECORDER_WAIT,
	RECORDER_SYNC,
	RECORDER_SEND,
};
enum recorder_step recorder_next_step(struct recorder *recorder, uint64_t epoch);
uint64_t recorder_oldest_epoch(struct recorder *recorder);
/* recorder_close_used: recorder_close(), when something was recorded in the open epoch. */
uint64_t recorder_close_used(struct recorder *recorder);
/* recorder_fall_back: what is in the log is marked instead. Changes keep marking until
 * recorder_log_again(). */
void recorder_fall_back(struct recorder *recorder);
/* recorder_forget: log and marks are empty: the standby lacks nothing. Of a former primary they
 * tell of an image that is none any more. No change may be in flight. */
void recorder_forget(struct recorder *recorder);
/* recorder_log_again: from here on changes are in the log, all of them, until the next time the
 * recorder falls behind. */
void recorder_log_again(struct recorder *recorder);

/* Marks, by member. recorder_take: the first marked run of @member from @from on, at most @most
 * bytes; it is not marked any more, and what changes it from now on marks or logs it again, so
 * that the caller reads it after this. False: none. */
bool recorder_take(struct recorder *recorder, unsigned member, uint64_t from, uint64_t most,
		   uint64_t *ret_offset, uint64_t *ret_length);
void recorder_mark(struct recorder *recorder, unsigned member, uint64_t offset, uint64_t length);
void recorder_mark_all(struct recorder *recorder);
/* recorder_touched: which slots of @member from @offset on (aligned) may have been changed since
 * the last epoch that was dropped: marked, in flight or in the log. */
void recorder_touched(struct recorder *recorder, unsigned member, uint64_t offset, unsigned slots,
		      bool *ret_touched);

struct recorder_lag {
	uint64_t marked_bytes, log_bytes;
	uint64_t zeroed_bytes;   /* that the log has discarded, besides */
	uint64_t oldest_wall_ns; /* first change that is not dropped; 0: none that is known */
	uint64_t open_bytes;     /* in the open epoch */
	uint64_t delayed;        /* changes that waited for an overlapping one, since the start */
	/* R5: the time limit is over since then (0: it is not), so many changes wait for another,
	 * and nothing has changed since the last one ended (0: some are in flight). */
	uint64_t held_wall_ns, still_wall_ns;
	unsigned held;
	bool unleased;   /* R6: the lease is over, */
	unsigned parked; /* and so many requests wait for the next */
};
/* Context: any. */
void recorder_lag(struct recorder *recorder, struct recorder_lag *ret_lag);

#endif
