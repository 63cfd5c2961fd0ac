/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_ORDER_H
#define SHARES_ORDER_H

/* Lines on which a share's crash safety hangs, as volumes/order.h has them for the engine: in a
 * build with -DGRANARY_MUTATION, tests/sim/share_mutation_test.c leaves out one at a time.
 *
 * name                          file           what it keeps
 * share_commit_fua              commit.c       S2: a commit is durable when it is done
 * share_wait_for_commit         commit.c       what was answered is durable
 * share_pages_before_superblock checkpoint.c   the new root's pages are there first
 * share_superblock_alternates   checkpoint.c   the older superblock survives a torn write
 * share_live_blocks_held        bitmap.c       S3
 * share_unshared_is_durable     shared.c       S6
 * share_space_before_extent     allocate.c     S7
 *
 * Not here, because the native engine's FUA takes along whatever was written before it: the FUA of
 * data and superblock, the flushes of checkpoint and COMMIT. They stay for other back ends. And S4,
 * which takes several clients at once to break. */
#ifdef GRANARY_MUTATION
#include <stdbool.h>
bool order_enabled(const char *name);
#define KEEPS(name) order_enabled(#name)
#else
#define KEEPS(name) 1
#endif

#endif
