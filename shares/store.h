/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_STORE_H
#define SHARES_STORE_H

#include <pthread.h>

#include "core/fiber.h"
#include "core/list.h"
#include "core/loop.h"
#include "shares/format.h"
#include "shares/page.h"
#include "volumes/volume.h"

/*~ The store: sorted keys and values on a volume, changed in transactions. Everything of a share
 * but the contents of files is in it.
 *
 * The tree is copy-on-write: a page that is changed for the first time after a checkpoint gets
 * another block, and so do its ancestors. A transaction changes pages in memory and leaves its
 * changes, by key, in the open commit. A commit is one sequential write to the log; the next one
 * starts when somebody waits for it and the last has ended, so that transactions gather while a
 * disk is busy. A checkpoint writes the changed pages to their new blocks, flushes, and names the
 * new root in a superblock; what it holds needs no log any more.
 *
 * Why a log, and not the volume's atomic write alone: that writes one run of up to 1 MiB at once,
 * while a transaction touches pages all over the tree; and a small synchronous write should cost
 * one sequential block, not four pages.
 *
 * Invariants
 *   S1 A commit is written only after the data its extents point to has been written.
 *   S2 Commit n+1 is submitted only when n is durable: what replay finds is a prefix.
 *   S3 A block of the tree that the superblock on disk can reach is not written.
 *   S4 Freed data blocks are used again only when the commit that freed them is durable, their
 *      readers have ended and the volume was told to discard them.
 *   S5 After an error of log or checkpoint the store takes no further changes.
 *   S6 A block with two owners is not written. When one of them is left, it is written in place
 *      only when the commit that says so is durable and whoever began to read it before has ended.
 *   S7 An extent is set aside (EXTENT_UNWRITTEN) only where the volume has space for it, durably.
 *
 * Locking: one adaptive mutex per store for everything below; no I/O waits, and none is waited for,
 * with it held. Submitting to the volume is allowed. What is not in memory is loaded by the fiber
 * that missed it, which then starts again from the top. */

/* Somebody who waits in a fiber, on any loop. */
struct waiter {
	struct list link;
	struct fiber *fiber;
	struct loop *loop;
	struct message message;
	uint64_t sequence;
	int result;
};

struct node {
	struct list hash, lru; /* lru: or the dirty list */
	uint64_t block, generation;
	uint8_t *page;
};

/* A page on its way in. */
struct loading {
	struct list link;
	struct list waiters;
	uint64_t block;
};

struct missing {
	struct page_child child;
	uint8_t level;
};

/* Three sets of node blocks; a block in any of them is not given out (S3). */
struct bitmap {
	uint8_t durable[BITMAP_BYTES]; /* of the superblock on disk */
	uint8_t frozen[BITMAP_BYTES];  /* of the checkpoint in flight */
	uint8_t current[BITMAP_BYTES];
	bool dirty, freezing;
};

struct bytes {
	uint8_t *data;
	size_t length, room;
};

struct commit {
	uint8_t *data;
	uint32_t length; /* header included */
	uint64_t sequence;
	struct list waiters;
};

#define NODE_BUCKETS 16384u

struct store {
	struct volume *volume;
	struct loop *home; /* where the keeper runs */
	pthread_mutex_t lock;
	struct superblock sb;   /* of the last checkpoint */
	uint64_t quota_blocks;  /* 0: none; as the next checkpoint will say */
	uint32_t version;       /* of the format; likewise */
	bool read_only, failed; /* failed: S5 */
	int error;
	/* pages */
	struct page_child root;
	uint8_t root_level;
	uint64_t generation; /* of pages changed now; all others are on disk, or on their way */
	struct list hash[NODE_BUCKETS];
	struct list lru, dirty; /* most recent first */
	unsigned node_count, node_max, dirty_count, dirty_max;
	struct list loadings;
	struct missing missing; /* after -EINPROGRESS */
	struct bitmap **bitmaps;
	uint64_t bitmap_cursor; /* node block, relative */
	/* the transaction */
	bool in_transaction;
	struct bytes undo, redo;
	uint64_t counters[COUNTERS], saved_counters[COUNTERS];
	/* log */
	struct commit open, writing;
	bool committing, freezing, replaying;
	unsigned held;        /* no transaction begins: somebody walks the tree */
	struct fiber *holder; /* who may all the same: it is its walk */
	uint32_t commit_max;
	uint64_t next_sequence;                   /* of the open commit */
	uint64_t durable_sequence;                /* commits up to it are durable */
	uint64_t log_head, log_used, log_written; /* blocks */
	struct list room;                         /* waiters for store_ready() */
	struct list quiet;                        /* waiters for the end of commits */
	struct volume_request request;
	struct iovec iov;
	/* asked for by anyone, done by the keeper */
	bool checkpoint_wanted, checkpointing; /* one at a time */
	struct list checkpointed;              /* waiters for its end */
	void (*kick)(struct store *store);     /* under the lock, any loop */
	void *kick_context;
	uint64_t commits, checkpoints; /* statistics */
};

static inline void store_lock(struct store *store)
{
	pthread_mutex_lock(&store->lock);
}
static inline void store_unlock(struct store *store)
{
	pthread_mutex_unlock(&store->lock);
}

/* ---- waiting; store.c ---- */
void waiter_wait(struct store *store, struct waiter *waiter, struct list *list); /* gives up the
	lock meanwhile; has it again after */
void waiters_resume(struct list *list, int result);
/* One request, waited for. Context: a fiber, without the lock. @length bytes, at a block. */
int store_io(struct store *store, enum volume_op op, unsigned flags, uint64_t offset, void *memory,
	     uint64_t length);
int store_io_vector(struct store *store, enum volume_op op, unsigned flags, uint64_t offset,
		    const struct iovec *iov, unsigned iov_count, uint64_t length);
/* What of the range is mapped, at least the beginning of it; *ret_count is 1 or more. */
int store_extents(struct store *store, uint64_t offset, uint64_t length,
		  struct volume_extent *extents, unsigned max, unsigned *ret_count);
int store_zeros(struct store *store, uint64_t offset, uint64_t length); /* writes them; blocks */

/* ---- life; store.c: in fibers, without the lock ---- */
struct store_options {
	struct volume *volume;
	struct loop *loop;
	bool read_only;
	unsigned node_max;   /* pages in memory, 0: the default */
	uint64_t log_blocks; /* store_format: 0: by size */
	uint64_t quota_blocks;
};
int store_format(const struct store_options *options, const uint8_t uuid[16],
		 const uint8_t secret[16], struct err *err);
int store_open(const struct store_options *options, struct store **ret_store, struct err *err);
/* Everything durable, the log empty. */
int store_close(struct store *store);
void store_free(struct store *store); /* after store_close(), or without it, as a crash would */
/* Read the superblock that counts. */
int share_superblock_read(struct volume *volume, struct superblock *ret_superblock,
			  struct err *err);
/* S5; under the lock. store_refusal: what a change hears from then on: -ENOSPC if the pool had no
 * space for the store itself, which passes (revive.c); else -EROFS. */
void store_fail(struct store *store, int error);
int store_refusal(const struct store *store);

/* ---- the tree; tree.c, under the lock. -EINPROGRESS: store->missing is to be loaded ---- */
int store_load_page(struct store *store,
		    const struct missing *missing); /* a fiber, without the lock */
/* -ENOENT; *ret_value is good until the next change. */
int btree_get(struct store *store, const struct key *key, const uint8_t **ret_value,
	      size_t *ret_length);
/* The first key that is not less than *key, which it becomes; -ENOENT: none. */
int btree_next(struct store *store, struct key *key, const uint8_t **ret_value, size_t *ret_length);
/* The last key that is not greater. */
int btree_previous(struct store *store, struct key *key, const uint8_t **ret_value,
		   size_t *ret_length);
int btree_put(struct store *store, const struct key *key, const uint8_t *value, size_t length);
int btree_delete(struct store *store, const struct key *key); /* -ENOENT */
/* The leaf that @key was in goes, if nothing is left in it. */
void btree_prune(struct store *store, const struct key *key);
void btree_trim(struct store *store); /* fewer pages in memory, if there are too many */
int btree_make_root(struct store *store);
void btree_free(struct store *store);
struct node *node_find(struct store *store, uint64_t block);
/* A page in memory, for those who walk them. */
int btree_page(struct store *store, const struct page_child *child, uint8_t level,
	       const uint8_t **ret_page);

/* ---- node blocks; bitmap.c ---- */
int bitmap_take(struct store *store, uint64_t *ret_block);
void bitmap_give(struct store *store, uint64_t block);
int bitmap_need(struct store *store, uint64_t index, struct bitmap **ret_bitmap);
void bitmaps_freeze(struct store *store);
void bitmaps_frozen_is_durable(struct store *store);

/* ---- transactions; commit.c ---- */
/* May a transaction begin? Otherwise wait for store->room. */
bool store_ready(struct store *store);
void store_begin(struct store *store);
int store_put(struct store *store, const struct key *key, const uint8_t *value, size_t length);
int store_delete(struct store *store, const struct key *key);
/* store_end: the changes are in memory and in the open commit; returns its sequence.
 * store_abort: as if nothing had been. */
uint64_t store_end(struct store *store);
void store_abort(struct store *store);
/* Run @body(@context) as a transaction, as often as it takes; a negative result aborts it.
 * Context: a fiber, without the lock. @ret_sequence may be NULL. */
int store_transact(struct store *store, int (*body)(void *context), void *context,
		   uint64_t *ret_sequence);
/* Likewise without changes. */
int store_look(struct store *store, int (*body)(void *context), void *context);
/* Wait until @sequence is durable; 0 or store_refusal(). */
int store_wait(struct store *store, uint64_t sequence);
void commit_start(struct store *store); /* under the lock: write the open commit, if it may */
int commit_setup(struct store *store);
void commit_finish(struct store *store);
uint64_t store_last_sequence(const struct store *store); /* of the newest change; the lock */

/* ---- checkpoint.c; a fiber of home, without the lock ---- */
int store_checkpoint(struct store *store, bool clean);
/* From here on the superblock says @version at least: older programs keep off. Context: a fiber of
 * any loop, while the keeper runs. */
int store_need_version(struct store *store, uint32_t version);

#endif
