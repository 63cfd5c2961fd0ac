/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_ORDER_H
#define REPLICATION_ORDER_H

/* Every line of replication on which the standby's image hangs asks ORDER(name) first, as in
 * volumes/order.h: the mutation check leaves out one at a time and expects the two-node simulator
 * to catch the damage.
 *
 * name                              file         what it keeps
 * overlapping_changes_take_turns    recorder.c   R2: order of records is order of effect
 * unlogged_change_is_marked         recorder.c   R3
 * fall_back_marks_the_log           recorder.c   R3
 * joining_member_comes_first        recorder.c   R3: no epoch is sealed before it is filled
 * seal_waits_for_flight             recorder.c   R4: an epoch is whole when it is sent
 * sync_takes_before_it_reads        sender.c     a chunk changed while it is read is sent again
 * cut_sync_is_marked_again          sender.c     what a broken epoch carried is sent again
 * ack_before_drop                   sender.c     E5: the log is kept until the seal is durable
 * staging_flush_before_seal         staging.c    S2: the records are durable before their header
 * members_flush_before_applied      staging.c    S3: the image is durable before its log goes
 * joining_member_flush              staging.c    S5: a member is durable before it is in the image
 * apply_waits_for_seal              receiver.c   E3: nothing of an open epoch in the image
 * header_is_durable                 staging.c    S2: a seal is durable before it is told
 * access_before_hand_over           sender.c     who is let in there is who is let in here
 * hand_over_flush                   sender.c     the image that is handed over is durable here too
 * demote_flush                      group.c      the image that hashes are answered of is durable
 * lease_over_nothing_is_told        recorder_lease.c R6: no guest hears of what was done too late
 * lease_counts_from_the_asking      lease_ask.c  L1: the primary's time is over first
 * lease_is_saved_before_told        lease.c      L3: a witness that starts knows who has it
 * lease_witness_waits_after_start   lease.c      L3: and lets what it granted run out
 * lease_of_another_runs_out         lease.c      L4
 * lease_descends_from_the_last      lease.c      L4: who lost the lease does not get it back
 * lease_waits_for_the_promise       lease_ask.c  L5
 * lease_no_promise_while_taking     lease_ask.c  L5
 * lease_promises_outlast_a_start    lease_ask.c  L5
 * lease_taking_is_saved             lease_ask.c  L5: who starts is promoted as what it asked for
 * lease_older_talk_ends             lease.c      L6: no request comes late
 * seed_number_before_snapshots      seed_export.c  no two exports are the same epoch
 * seed_holds_before_snapshots       seed_export.c  the snapshots of all members are one moment
 * seed_is_whole_before_members      seed_import.c  a damaged seed changes nothing
 * seed_begins_before_members        seed_import.c  what broke off is not taken for zeros
 * seed_clears_before_it_marks       seed_since.c   what has changed since is sent
 */
#ifdef GRANARY_MUTATION
#include <stdbool.h>
bool order_enabled(const char *name);
#define ORDER(name) order_enabled(#name)
#else
#define ORDER(name) 1
#endif

#endif
