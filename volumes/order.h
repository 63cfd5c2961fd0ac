/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_ORDER_H
#define VOLUMES_ORDER_H

/* Every line of the engine on which crash safety hangs asks ORDER(name) first. In the product
 * that is the constant 1; in a build with -DGRANARY_MUTATION the mutation check of tests/sim
 * switches one off at a time and expects the simulator to catch the damage.
 * Readers that drain before a slot is reused (I3, space.c) are not in the table, for nothing can
 * tell: a read of a summed slot would see a wrong crc and look again, and one of a slot without a
 * checksum stays registered, so that what would free the slot waits for it (io.c). Neither is a
 * copy out of an unconfirmed slot (io_write.c) and the wait of a deletion (keeper.c): the simulator
 * sees their lack, but not within a mutant's time.
 *
 * Nor is that a copy begins when no write to its chunk is in flight (evacuate.c, away.c), nor, of a
 * device that was away, the flush before its copies count again and that a flush which failed with
 * it is done once more without it, nor that both roots say that it is away before another gets a
 * label in its place (replace.c), nor that the journal's second copy is written to before the
 * freeze of the first root that names it (journal.c, J1), nor that the labels of a device that is
 * to be a new one go before the journal on it is zeros (journal.c): the moments are too short.
 *
 * name                              file            what it keeps
 * cycle_commit_before_flush         flush.c         I5: records are on the PV before its flush
 * cycle_flush_devices               flush.c         I5: a flush cycle really flushes
 * cycle_confirm_only_complete       flush.c         I4: confirmed stops at data in flight
 * cycle_flush_takes_new_cycle       flush.c         I5: no sharing of a cycle already under way
 * fua_joins_cycle                   io.c            FUA is durable at done(0)
 * answer_waits_for_record           io.c            done(0) outlives the process
 * overwrite_waits_for_confirm       io_write.c      I2
 * remap_waits_for_confirm           io_write.c      I3: an unmapped slot of a chunk one keeps
 * hot_mark_before_overwrite         io_write.c      hot mark durable before the first touch
 * strict_never_in_place             io_write.c      a strict slot is the old or the new one
 * write_waits_for_overlap           io.c            overlapping writes of a slot take turns
 * quarantine_waits_for_confirm      space.c         I3: free record durable before reuse
 * checkpoint_waits_for_data         checkpoint.c    I7: data of frozen records is complete
 * checkpoint_flush_before_superblock checkpoint.c   I7: nodes durable before the root
 * superblock_fua                    checkpoint.c    I7: root durable before the tail moves
 * superblock_alternates             checkpoint.c    the older root survives a torn write
 * root_whole_before_next            open.c          a torn root is mended before it gets old
 * nodes_reused_after_next           checkpoint.c    I7: nodes of the last two roots are kept
 * older_root_held_at_open           rewind.c        ... from the open on
 * checkpoint_confirms_by_journal    journal.c       I2 holds for the older root too
 * tail_moves_after_superblock       checkpoint.c    I7: the journal is kept until then
 * checkpoint_keeps_hot_set          csum.c          touched regions stay hot over a checkpoint
 * journal_writes_both               journal.c       J1: either copy has all that is durable
 * replay_looks_at_both              replay.c        a newer block in either: the root is an old one
 * away_adds_no_journal              replay.c        J3: a root reads the same with who was away
 * journal_named_by_both_roots       journal.c       J2: the first device is not spared before
 * journal_left_by_both_roots        journal.c       J1: written to while a root names it
 * journal_cleared_of_others         journal.c       R6: no journal that has gone on elsewhere
 * replay_verifies_unconfirmed       replay.c        I1: a record without its data is undone
 * replay_new_epoch                  replay.c        an older root does not take the chain for ended
 * replay_reverts_whole_group        replay.c        atomic writes: all or nothing
 * replayed_is_held_once             space.c         M3: of pairs given up, after a replay, too
 * shared_is_redirected              map.c           a snapshot's slot is not written in place
 * shared_is_not_freed               map.c           ... and not freed by who replaces it
 * shared_node_is_kept               node.c          a snapshot's node is not freed by its copy
 * retired_until_next_root           space.c         what a snapshot gave up: whole in both roots
 * deletion_in_two_roots             reap.c          a root to go back to has all of the snapshot
 * snapshot_waits_for_unsummed       checkpoint.c    overwrites without a record are over
 * added_in_both_roots               extend.c        new rows are known before chunks of them are
 * label_before_root                 extend.c        a root names devices that have a label
 * writes_wait_for_copy              io_write.c      no write is in the middle of its chunk's copy
 * moving_is_written_twice           io.c            both places of a chunk have all that is written
 * moved_in_both_roots               evacuate.c      ... until both roots know the new one
 * moved_beside_its_pair             relocate.c      E1: both copies of a pair on one device: none
 * pair_is_counted_by_its_first      relocate.c      E1: no write to the pair is in the middle of it
 * moved_nodes_are_pinned            relocate.c      E2: who has both copies of a node is not spared
 * moved_alone_is_not_spared         evacuate.c      E3: nor what is moved there and nowhere durable
 * label_wiped_after_both_roots      evacuate.c      an older root finds the device it names
 * mirror_writes_both                io.c            a write is in both copies
 * mirror_record_before_use          mirror.c        M1: who knows a slot knows both its places
 * mirror_kept_for_both_roots        mirror.c        M3: no root has one of a pair in other use
 * mirror_levelled_at_replay         mirror.c        M2: both copies are the same after a crash
 * away_is_recorded                  away.c          A2: a device that is back has old data
 * gone_is_said_by_the_root          checkpoint.c    A2: a root that it has not all nodes of
 * away_doubts_an_older_root         away.c          a newer one may be lost: it had no part in it
 * resilver_before_whole             away.c          A1: its copies count when all are good again
 * stale_needs_the_other             away.c          A6: one at a time, until it is whole
 * whole_in_both_roots               away.c          A7: both roots are on it by then
 * pinned_is_not_spared              away.c          no node is only on the device that goes
 * pinned_until_looked_at            spread.c        S1: all nodes have been looked at before
 * spread_root_is_recorded           spread.c        a volume's record says where its root is now
 * pinned_is_said                    spread.c        S2: ... and after the next open, too
 * opened_alone_is_another           open.c          two halves that went on are told apart
 * consent_before_writes             open.c          ... as soon as one has written anything
 * replacement_labelled              replace.c       R3: a root or record finds the row's device
 * replaced_in_both_roots            replace.c       R4: the journal speaks of the new device
 */
#ifdef GRANARY_MUTATION
#include <stdbool.h>
bool order_enabled(const char *name);
#define ORDER(name) order_enabled(#name)
#else
#define ORDER(name) 1
#endif

#endif
