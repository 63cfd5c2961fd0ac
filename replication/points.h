/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_POINTS_H
#define REPLICATION_POINTS_H

#include "replication/node.h"

/* Inside replication/: retained points: sealed epochs that the standby keeps, as one snapshot of
 * every member, "point-GROUP-EPOCH-TIME" (first 8 digits of the group's UUID; when the primary
 * closed the epoch, ms since 1970). The pool alone knows of them; a member that has none of an
 * epoch was not there then, or left the group since.
 *
 * P1 A point is made when its epoch is in the members and before any of the next one is.
 * P2 What a clone stands on, a LUN shows or somebody holds is never deleted, nor the rest of its
 *    point. */

#define POINTS_MAX 512u /* that a rule may ask for; also what is looked at */

/* points_parse: "10" (the last ten), "last=10,hourly=24,..." or "0". *ret_keep is all zero for
 * none. -EINVAL. */
int points_parse(const char *text, struct keep *ret_keep, struct err *err)
    __attribute__((warn_unused_result));

/* points_name, points_name_read: of a snapshot, behind its '@'; false: it is no point of @group. */
void points_name(const uint8_t group[16], uint64_t epoch, uint64_t wall_ns,
		 char name[SNAPSHOT_NAME_MAX + 1]);
bool points_name_read(const char *name, const uint8_t group[16], uint64_t *ret_epoch,
		      uint64_t *ret_wall_ms);

/* points_sealed: P1: keep the sealed epoch, let go of what the rule does not keep any more. What
 * fails is told in the seat. Fiber, of the standby's session. */
void points_sealed(struct seat *seat);
/* points_clone: a volume of each of the point's snapshots, named @names (array of NAME or
 * POOL/NAME, as the point's members are listed; NULL or empty: MEMBER-EPOCH), all or none.
 * *ret_reply: what was made, or, @dry, would be. -ENOENT, -EINVAL, -EEXIST, ... Fiber. */
int points_clone(struct seat *seat, uint64_t epoch, const json_t *names, bool dry,
		 json_t **ret_reply, struct err *err) __attribute__((warn_unused_result));

#endif
