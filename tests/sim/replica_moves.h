/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_MOVES_H
#define TESTS_SIM_REPLICA_MOVES_H

#include "tests/sim/replica_life.h"

/* What happens to two nodes, of which life->primary is the primary as far as the clients know. */

/* For replica_life_until(): the standby has a sealed image; nothing is behind it; a sealed epoch is
 * on its way to its members. */
bool move_standby_sealed(struct replica_life *life);
bool move_all_sealed(struct replica_life *life);
bool move_applying(struct replica_life *life);

/* @node has no room any more, soon; both have. */
void move_fill_up(struct replica_life *life, unsigned node);
void move_make_room(struct replica_life *life);
/* One thing of many, from a cut of the link to a member that joins. */
void move_bad_luck(struct replica_life *life);
/* @node is promoted, perhaps after a crash, and looked at. */
void move_promote(struct replica_life *life, unsigned node);
/* The standby is the primary now: the old one finds out, gives in, and is filled up. */
void move_fail_back(struct replica_life *life);
/* Nothing is in the way any more: in the end both sides are the same. */
void move_settle(struct replica_life *life);
/* The two are compared while clients write. */
void move_verify(struct replica_life *life);
/* A planned switchover, without loss. */
void move_hand_over(struct replica_life *life);

#endif
