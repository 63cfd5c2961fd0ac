/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_MOVE_H
#define VOLUMES_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "volumes/volume.h"

/* The data's half of moving a volume to another pool while it is used: a tap at the source notes
 * what changes while everything is copied, holds changes for the moment of the switch, and passes
 * on to the destination whatever still comes to the source afterwards. Which of the two is the
 * truth is for the caller to say, and to keep (webadmin/move.h).
 *
 * V1 Until volume_move_forward() every request is carried out by the source, and done() there.
 * V2 A chunk is marked when a change of it ends, whatever came of it, and unmarked before it is
 *    read: what is not marked, with no change in flight, is the same in the destination.
 * V3 volume_move_hold() returns 0 with no change in flight, nothing marked and the destination
 *    flushed; no change begins until volume_move_forward() or volume_move_let_go(), at most
 *    MOVE_HOLD_NS: then it lets go by itself, and volume_move_held() says so.
 * V4 A guest that writes faster than is copied is slowed down, after MOVE_PASSES rounds: as much
 *    of it goes on as half of what was copied, so that less is left after each round. */

#define MOVE_PASSES  4u
#define MOVE_REST    (4ull << 20) /* bytes that may be left for the time of the hold */
#define MOVE_HOLD_NS (5 * 1000000000ull)

struct volume_move;

/* volume_move_create: set the tap. @fresh: the destination has never been written to. Otherwise
 * both are read and only what differs is written. The caller's references to both volumes have to
 * outlast the move. From now on the destination is read only for everybody else. Context: the loop
 * that the other calls come from, too. -EBUSY (the source has a tap), -EINVAL (sizes), -ENOMEM. */
int volume_move_create(struct volume *source, struct volume *destination, bool fresh,
		       struct volume_move **ret_move, struct err *err)
    __attribute__((warn_unused_result));
/* volume_move_copy: until MOVE_REST or less is left. -ECANCELED (volume_move_cancel()), or what a
 * read or a write failed with: the move is good for volume_move_retire() then. Context: a fiber. */
int volume_move_copy(struct volume_move *move, struct err *err);
/* volume_move_hold: V3. -EAGAIN: it took too long, changes go on; copy once more. -ECANCELED, or
 * as volume_move_copy(); changes go on. Context: a fiber. */
int volume_move_hold(struct volume_move *move, struct err *err);
/* volume_move_held: are changes still held? Ends V3's limit when they are: from then on only the
 * two below end the hold. Context: the loop, with nothing waited for since volume_move_hold(). */
bool volume_move_held(struct volume_move *move);
void volume_move_let_go(struct volume_move *move);
/* volume_move_forward: the destination is the truth. The tap stays until volume_move_retire(). */
void volume_move_forward(struct volume_move *move);
/* volume_move_retire: the tap is off; whatever waits goes on. The source's if it was not forwarded.
 * volume_move_quiet: nothing of it is under way any more. volume_move_free: once it is quiet and no
 * request can be on its way to the source that was submitted before it was retired. NULL is fine.
 */
void volume_move_retire(struct volume_move *move);
bool volume_move_quiet(struct volume_move *move);
void volume_move_free(struct volume_move *move);

/* volume_move_cancel: a copy or hold under way ends soon, with -ECANCELED. volume_move_pause: it
 * waits, and notes. volume_move_rate: bytes a second at most; 0: as fast as it goes. */
void volume_move_cancel(struct volume_move *move);
void volume_move_pause(struct volume_move *move, bool pause);
void volume_move_rate(struct volume_move *move, uint64_t rate);

struct volume_move_progress {
	uint64_t size, left;      /* bytes */
	uint64_t copied, written; /* looked at in the source, written to the destination */
	unsigned passes;
	bool slowing; /* V4 */
};
void volume_move_get_progress(struct volume_move *move, struct volume_move_progress *ret_progress);

#endif
