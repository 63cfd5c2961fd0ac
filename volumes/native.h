/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_NATIVE_H
#define VOLUMES_NATIVE_H

#include <pthread.h>

#include "core/buf.h"
#include "core/disk.h"
#include "core/heap.h"
#include "core/list.h"
#include "core/log.h"
#include "core/world.h"
#include "volumes/backend.h"
#include "volumes/fiber.h"
#include "volumes/format.h"
#include "volumes/lanes.h"
#include "volumes/order.h"

/*~ The native engine, inside. README.md is the guided tour; this header is its map. Only the
 * files of this room that implement the engine include it.
 *
 * Locking: one adaptive mutex per pool, native->lock, guards everything below that is not said
 * to be otherwise. It is held for memory work only: no disk I/O, checksum or copy of user data
 * happens under it. It earns its place on the I/O path by making the freeze of a checkpoint,
 * the order of journal records and the state of map, space and checksums one thing. There is
 * no other lock in the engine but that of lanes_add().
 *
 * Waiting: who has to wait parks a struct waiter and starts again from the top when it is
 * resumed; nothing read under the lock is believed after the lock was given up. */

#define REAPED_ALL UINT64_MAX
#define POLL_NS    1000000ull /* between looks at what tells nobody when it is over */

struct native;
struct node;
struct ledger;
struct scrub;
struct evacuation;
struct measure;
struct resilver;

/* Data in flight that belongs to journal records up to @lsn; a reader that may still look at
 * slots freed after @ticket. */
struct outstanding {
	struct list link;
	uint64_t lsn;
};
struct reader {
	struct list link;
	uint64_t ticket;
};

/* A cold region whose mark is on its way to the disk. */
struct warming {
	struct list link;
	uint64_t region, lsn;
};

/* What the engine keeps per loop: free lists, and the list of what may go on. */
struct lane {
	struct native *native;
	struct loop *loop;
	struct list ready; /* waiters to resume; under the lock */
	bool scheduled;
	struct deferred deferred;
	struct message message;
	struct list ios, pieces, transfers; /* free; this loop only */
	struct list finished;               /* ios to hand back; this loop only */
	struct deferred finish;
	bool commit; /* what this turn of the loop has appended is to be written, as one */
	struct list slabs;
};

/* resume() runs from the lane's deferred work, without the lock. */
struct waiter {
	struct list link;
	struct lane *lane;
	void (*resume)(struct waiter *waiter);
	int result;
	uint64_t lsn; /* what it waits for, where that matters */
};

/* Writes of one kind to a device, and how long they typically took: logarithms (speed.c). */
struct speed {
	uint64_t writes, sum;           /* atomic: since the open */
	uint64_t seen_writes, seen_sum; /* under the lock; of them */
	unsigned recent;                /* likewise: how many @typical is of, the old ones less */
	int64_t typical;
};

/* A row of the pool's table of PVs: a device, or what it has grown by. Rows are only added; those
 * up to pv_count (atomic) are there for readers without the lock. */
struct pv {
	struct disk *disk; /* of a row that is removed: NULL */
	struct pv *device; /* the row of its device, maybe itself; the next five are that one's */
	bool dirty;        /* atomic: something was written since the last flush was issued */
	bool needs_flush;
	bool away;   /* atomic: the pool goes on without it, nothing is sent to it */
	bool stale;  /* atomic: its copies of mirrored data do not count (away.c) */
	bool pinned; /* it may have nodes with both copies: the pool does not go on without it */
	bool pinned_again;  /* ... one that was placed since the last look at all of them began */
	bool was_away;      /* the root that was opened says so (replay.c) */
	char *path;         /* of one that was not there at the open, where that is known */
	uint32_t in_flight; /* atomic; requests on the disk */
	uint32_t memory_alignment, logical_block; /* of the disk */
	unsigned ordinal;                         /* among the devices that space is taken from */
	struct format_pv format;
	bool allocates; /* under the lock: space is taken from it */
	/* Under the lock; chunks for data: all, wholly free; and all chunks for metadata. */
	uint64_t data_chunks, free_chunks, meta_chunks;
	uint64_t moved, meta_moved; /* of them: their contents are elsewhere (evacuate.c) */
	int64_t credit;             /* its turn, see balance.c */
	struct speed speed[2];      /* of a device: small writes, large ones */
	uint32_t weight;       /* of a device, under the lock: what speed makes of free space */
	uint64_t since;        /* generation of the first root with its labels where they are now */
	struct node **forward; /* atomic: leaves of the FORWARD tree over its chunks; NULL: none */
	struct node **mirror;  /* likewise, of the MIRROR tree */
};

/* An allocation group: its first chunks hold metadata. */
struct ag {
	uint64_t first, chunks, meta;
	unsigned pv;
	struct node *node; /* of the META tree; NULL: all free */
	unsigned hint[2];  /* no free slot before / behind */
};

/* ---- metadata nodes in memory (node.c) ---- */
struct tree {
	struct native *native;
	enum node_kind kind;
	uint64_t owner; /* volume id, 0 for the pool's */
	unsigned levels;
	unsigned loads; /* of nodes, under way */
	struct node_pointer root;
	struct node *node;
	bool resident; /* never evicted */
};

struct node {
	struct tree *tree;
	struct node *parent;
	uint64_t index; /* among the nodes of its level */
	uint8_t level;
	bool loading, dirty, frozen, referenced;
	uint16_t children; /* in memory */
	uint8_t *image;    /* frozen, encoded; header room in front. NULL: encode the body */
	uint32_t image_length;
	struct list lru, dirty_link, frozen_link, waiters;
	union {
		struct {
			struct node_pointer pointer[NODE_FANOUT];
			struct node *child[NODE_FANOUT];
		} inner;
		struct {
			struct map_entry entry[MAP_CHUNKS];
		} map;
		struct {
			uint16_t used[SPACE_CHUNKS]; /* as on disk */
			uint16_t
			    held[SPACE_CHUNKS]; /* not to be allocated now (I3), or no data chunk */
			uint32_t free;          /* chunks with neither */
		} space;                        /* SPACE and META */
		struct {
			uint32_t crc[CSUM_CHUNKS * CHUNK_SLOTS]; /* 0: none recorded */
		} csum;
		struct {
			uint64_t target[FORWARD_CHUNKS]; /* atomic; 0: not elsewhere; FORWARD_* */
		} forward;
		struct {
			uint8_t bits[HOT_REGIONS / 8];
		} hot;
		struct {
			struct nvolume *volume[VOLUMES_PER_LEAF];
		} volumes;
	} body[];
};

/* What forward.target[] says of a chunk: 0: it is at its place. A chunk number: its contents are
 * there (or, with FORWARD_BOTH, at both places). FORWARD_BUSY: it is just being copied. */
#define FORWARD_TARGET ((1ull << 48) - 1)
#define FORWARD_BOTH   (1ull << 62)
#define FORWARD_BUSY   (1ull << 63)

enum { DIRTY_TREES, DIRTY_VOLUMES, DIRTY_META, DIRTY_CLASSES };
struct dirty_lists {
	struct list list[DIRTY_CLASSES][NODE_LEVELS_MAX + 1];
	uint64_t count;
};

struct nvolume {
	struct volume volume;
	struct native *native;
	uint64_t id;
	enum volume_state state;
	struct tree map;
	uint64_t used_slots, frozen_used;
	uint64_t stored_size; /* as the next checkpoint will say */
	bool dirty;           /* record differs from the last checkpoint's */
	struct list link;     /* native->volumes, by name; DELETING ones in native->deleting */
	struct list dirty_link;
	uint64_t reserve_counted; /* chunks of it in native->promised, or pairs in promised_pairs */
	/* quota.c, while the pool has quotas: the volume this row counts for, with how many slots;
	 * of a volume: all that count for it (below 0 for a moment, while a deletion hands over) */
	struct nvolume *tree;
	uint64_t tree_counted, tree_slots;
	/* The snapshot whose state this one started from, or NULL. What is in both maps and is not
	 * younger than the parent belongs to the parent: nvolume_limit(). */
	struct nvolume *parent;
	struct list offspring; /* whose parent this is */
	struct list sibling;
	uint64_t parent_id, of_id;          /* as loaded */
	uint64_t owned_slots, frozen_owned; /* mapped and younger than the parent */
	/* snapshots */
	struct nvolume *of;    /* the volume it is listed with */
	struct list snapshots; /* of a volume: by age */
	struct list listed;    /* in of->snapshots, pool's table */
	struct list bucket;
	uint64_t generation, created_ns, hold_until_ns;
	uint32_t flags;
	bool pending; /* its checkpoint is under way */
	bool taking;  /* of a volume: a snapshot of it is pending */
	bool undone;  /* ... and a write of it failed meanwhile */
	/* measure.c: what it holds alone, while that is known; chunks that are free without it */
	bool measured;
	uint64_t exclusive_slots, reclaim_chunks, reclaim_epoch;
	struct list measure_link;      /* native->measuring */
	uint64_t reaped, reaped_slots; /* DELETING: leaves done, mapped slots given up in them */
	bool stopped;                  /* requests wait in waiting; atomic */
	struct list waiting;           /* struct io */
	uint64_t requests;             /* in flight; atomic */
	unsigned visitors; /* of the home loop's, in a request on it: not to be freed now */
	uint64_t doomed;   /* DELETING: generation of the first root that says so */
	unsigned pv;       /* where it allocates, and how many chunks before it moves on */
	unsigned pv_left;
	/* away.c: devices that have what it wrote with one copy since its last flush, by row, and
	 * since the open; and whether some of that may be lost with its device, which the next
	 * flush has to say. All atomic. */
	uint64_t plain_rows, plain_ever;
	bool lost;
};

/* ---- journal (journal.c) and flush cycles (flush.c) ---- */
struct journal_block {
	struct list link;
	uint64_t seq, first_lsn;
	uint16_t count, used;
	uint8_t *data;
};

struct journal {
	uint64_t offset, blocks; /* region on PV 0, and on .. */
	unsigned twin;           /* .. this row, which is written to, too; 0: none. Atomic */
	uint64_t twin_since;     /* of the first root that names it; or does no more */
	uint64_t epoch, next_seq, tail_seq;
	uint64_t next_lsn, written_lsn;
	uint32_t hash; /* of the last block sealed for writing */
	struct journal_block *open;
	struct list sealed, writing, spare;
	unsigned sealed_count, spare_count;
	bool commit_due, committing;
	uint64_t confirmed;         /* in memory (I4) */
	uint64_t confirmed_written; /* in the header of a block that is written */
	uint64_t confirmed_durable; /* ... and flushed: replay will know */
	uint64_t commit_confirmed;  /* of the commit in flight */
	struct list outstanding;    /* data in flight, by LSN */
	struct list waiters;        /* for room */
	struct list unwritten;      /* waiters for written_lsn >= lsn */
	unsigned requests;          /* disk requests of the commit in flight */
	int result;
	bool confirm_wanted; /* write a block even without records */
	struct lane *leader;
	struct journal_write *write;
};

enum cycle_state { CYCLE_IDLE, CYCLE_COMMIT, CYCLE_FLUSH_DUE, CYCLE_FLUSHING };
struct cycle {
	enum cycle_state state;
	uint64_t target; /* LSN to be written before the flush */
	uint64_t candidate, candidate_written, flushing_lsn;
	bool again; /* a device went away in it: the waiters take part in the next one */
	struct list current, next; /* waiters */
	struct list confirm;       /* waiters for confirmed_durable >= lsn */
	unsigned requests;
	int result;
	struct lane *leader;
	struct disk_request request[POOL_DEVICES_MAX];
};

/* Freed space that may not be reused yet (I3). @generation: of what a snapshot gave up, the first
 * root without it. */
struct quarantine {
	struct list link;
	uint64_t chunk;
	uint16_t mask;
	uint64_t lsn, ticket, generation;
};

/* Slots whose mapping replay might still undo (I2), by physical chunk. */
struct unconfirmed {
	struct list link, bucket;
	uint64_t chunk, lsn;
	uint16_t mask;
};

#define TABLE_BUCKETS 4096u

enum hot_state { HOT_COLD, HOT_WARMING, HOT_HOT };
#define HOT_TOUCHED 0x10u
#define HOT_SUSPECT 0x20u /* was hot at a crash and has not been looked through */
#define HOT_STATE   0x0fu

struct native {
	struct pool pool;
	struct turns *turns;
	pthread_mutex_t lock;
	const struct world_ops *world;
	struct loop *home;    /* management, checkpoints, timers */
	struct superblock sb; /* geometry and the last root */
	uint64_t hash;
	struct pv pv[POOL_DEVICES_MAX];
	unsigned pv_count;       /* atomic */
	unsigned active_devices; /* that space is taken from */
	uint64_t chunks;
	struct ag *ag;
	uint64_t ag_count;

	struct lanes lanes;

	struct tree tree[ROOT_COUNT];
	struct dirty_lists *dirty, *frozen; /* the two below, swapped at a freeze */
	struct dirty_lists dirty_lists[2];
	struct list lru;
	size_t cache_bytes, cache_budget;
	unsigned repairs_in_flight;

	struct node **space; /* leaves of the SPACE tree by index */
	uint64_t space_leaves;
	uint64_t chunks_total, chunks_used; /* for data */
	uint64_t chunks_free;               /* wholly free now */
	uint64_t slop_chunks, slop_taken;   /* taken: by vital writes (reserve.c) */
	uint64_t slop_pairs;                /* likewise, of what can be pairs (balance.c) */
	bool slop_counted;
	/* Chunks promised and not used yet, of all volumes with one copy; of those with two, so
	 * many pairs of chunks. */
	uint64_t promised, promised_pairs;
	unsigned quotas;  /* volumes that have one */
	bool trees_stale; /* what counts for them has to be summed anew */
	unsigned watermark_level;
	uint64_t log_chunk[2]; /* open log chunk, CHUNK_NONE: of one copy, of two */
	uint64_t log_scan;
	uint64_t pv_cursor[POOL_DEVICES_MAX];
	uint64_t meta_total, meta_used, meta_pending; /* slots; pending: nodes without address */
	struct list meta_freed[2]; /* struct meta_extent: freed by this checkpoint, the last */

	struct list quarantine, quarantine_spare;
	unsigned quarantine_spares;
	struct list retired; /* struct quarantine, until the older root is without it, too */
	uint64_t retired_count;
	uint64_t generation; /* that what changes now will be in: the next freeze's */
	struct list readers; /* by ticket */
	uint64_t next_ticket;
	struct list unconfirmed, unconfirmed_spare;
	unsigned unconfirmed_spares;
	struct list *unconfirmed_table;
	struct list *inflight; /* TABLE_BUCKETS of struct piece */

	uint8_t *hot; /* per region; the pointer atomic, for hot_suspect() */
	uint8_t *hot_before[POOL_DEVICES_MAX]; /* smaller ones, that may still be looked at */
	unsigned hot_befores;
	uint64_t hot_regions;
	uint64_t *hot_list; /* regions that are not cold */
	size_t hot_count, hot_room;
	struct list warming;
	uint64_t *slot_spare[2 * RECORD_GROUP_MAX]; /* arrays for exploded entries */
	unsigned slot_spares;

	struct journal journal;
	struct cycle cycle;

	struct list volumes, deleting, dirty_volumes;
	struct nvolume *reaping;     /* of deleting: the one in the middle of its map, NULL */
	struct list *snapshot_table; /* TABLE_BUCKETS, by name */
	struct list taking;          /* snapshots to be frozen by the next checkpoint */
	uint64_t unsummed[2];        /* overwrites in flight without a record, by generation & 1 */
	uint64_t volume_count, next_volume_id;
	uint64_t requests; /* volume requests in flight */

	bool read_only;
	char read_only_reason[200];

	struct ledger *ledger; /* guard.h; NULL while opening */
	struct scrub *scrub;
	uint64_t opened_generation; /* of the first root after the open */
	bool checkpointing;         /* nodes are on their way to the disk */

	/* keeper.c: management, one thing at a time, on the home loop */
	bool keeper_running, checkpoint_due, closing, opened;
	struct list calls; /* struct native_call */
	struct message keeper_message;
	bool keeper_posted;
	struct timer timer;
	unsigned ticks;
	struct waiter tick_waiter;
	bool tick_flushing;
	struct list checkpoint_waiters; /* for data of frozen records */
	struct list space_waiters;      /* for what has been given up to be free */

	/* evacuate.c: what is under way, NULL; data writes in flight, by native_bucket() of the
	 * chunk they go to; whether a chunk is just being copied, its bucket, and who waits for
	 * that. */
	struct evacuation *evacuation;
	uint32_t *writes;
	bool busy;
	unsigned busy_bucket;
	struct list busy_waiters;

	/* measure.c */
	struct list measuring;     /* snapshots to be looked at */
	struct list measure_calls; /* struct native_call */
	struct measure *measure;   /* the one that is being looked at */
	uint64_t partial_changes;  /* of which slots are used in chunks that are used in part */

	/* spread.c */
	bool spread_wanted; /* all nodes are to be looked at */
	uint64_t unspread;  /* of them: with both copies on one device, as of the last look */

	/* mirror.c */
	bool mirrored;    /* atomic: there may be chunks with two copies */
	uint64_t mirrors; /* such chunks */
	uint64_t repair_logged_ns;

	/* away.c. away_lsn: of the record that says so; pending: it is not durable yet. aways: how
	 * many times one has gone (atomic). newly_missing: row + 1 of a device that an
	 * administrator has the pool opened without; consent: it may turn out to be one. doubted:
	 * rows whose labels alone say that there is no newer root (rewind.c). */
	uint64_t away_lsn;
	bool away_pending, consent;
	unsigned aways, newly_missing;
	uint64_t doubted;
	struct resilver *resilver;

	uint64_t checksum_errors, metadata_repairs, hot_resummed, replayed_records, data_repairs;
};

static inline unsigned native_bucket(uint64_t chunk)
{
	return (unsigned)(chunk * 0x9e3779b97f4a7c15ull >> 52);
}

static inline struct native *native_of(struct pool *pool)
{
	return container_of(pool, struct native, pool);
}

static inline struct nvolume *nvolume_of(struct volume *volume)
{
	return container_of(volume, struct nvolume, volume);
}

/* ---- native.c: lock, lanes, waiting ---- */
void native_lock(struct native *native);
/* Gives the lock up and does what became due under it (journal commit, device flush). */
void native_unlock(struct lane *lane);
/* The lane of the loop this thread runs, made on first use; NULL: out of memory or lanes. */
struct lane *lane_get(struct native *native);
void waiter_init(struct waiter *waiter, struct lane *lane, void (*resume)(struct waiter *));
/* Under the lock: resume later, on the waiter's loop. */
void waiter_wake(struct waiter *waiter, int result);
void waiters_wake(struct list *waiters, int result);
/* I8. Under the lock. Every waiter fails, writes are refused from now on. */
void native_fail(struct native *native, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
extern const struct volume_ops native_volume_ops;
struct nvolume *nvolume_create(struct native *native, uint64_t id, const char *name,
			       uint64_t size_bytes);
void nvolume_free(struct nvolume *volume);

/* What reads on through it first; NULL when nothing does. */
static inline struct nvolume *nvolume_child(const struct nvolume *volume)
{
	return list_empty(&volume->offspring)
		   ? NULL
		   : list_entry(volume->offspring.next, struct nvolume, sibling);
}

static inline bool nvolume_has_one_child_at_most(const struct nvolume *volume)
{
	return list_empty(&volume->offspring) || volume->offspring.next == volume->offspring.prev;
}

/* Slots and nodes of a map born up to this belong to the parent, not to @volume. @end: the leaf
 * behind the last one the slot or node covers. A parent that is being deleted has given up the
 * leaves before parent->reaped: there its own parent counts. */
static inline uint64_t nvolume_limit(const struct nvolume *volume, uint64_t end)
{
	const struct nvolume *parent = volume->parent;

	while (parent && end <= parent->reaped)
		parent = parent->parent;
	return parent ? parent->generation : 0;
}

/* A fiber's way to wait for what takes a waiter. */
struct fiber_waiter {
	struct waiter waiter;
	struct fiber *fiber;
	bool done;
};
void fiber_waiter_init(struct fiber_waiter *waiter, struct lane *lane);
int fiber_waiter_wait(struct fiber_waiter *waiter); /* its result */

/* ---- pv.c ---- */
/* Where a slot is. False: no such slot. */
bool pv_locate(const struct native *native, uint64_t slot, struct pv **ret_pv,
	       uint64_t *ret_offset);
/* The same, and where a write has to go, too, while a chunk is being moved: how many places. */
struct pv_place {
	struct pv *pv;
	uint64_t offset;
};
unsigned pv_places(const struct native *native, uint64_t slot, struct pv_place ret_places[2]);
/* The chunk that has the contents of @chunk: itself, or where it was moved to. */
uint64_t pv_resolve(const struct native *native, uint64_t chunk);
/* The row of a chunk, wherever its contents are; NULL: no such chunk. */
struct pv *pv_of(const struct native *native, uint64_t chunk);
/* The leaf of the FORWARD tree over a chunk of @pv, NULL; its entry for it (FORWARD_*). */
static inline struct node *pv_forward_leaf(const struct pv *pv, uint64_t chunk)
{
	struct node **leaves = __atomic_load_n(&pv->forward, __ATOMIC_ACQUIRE);

	if (!leaves)
		return NULL;
	return __atomic_load_n(
	    &leaves[chunk / FORWARD_CHUNKS - pv->format.first_chunk / FORWARD_CHUNKS],
	    __ATOMIC_ACQUIRE);
}
static inline uint64_t pv_forward(const struct pv *pv, uint64_t chunk)
{
	struct node *leaf = pv_forward_leaf(pv, chunk);

	return leaf ? __atomic_load_n(&leaf->body->forward.target[chunk % FORWARD_CHUNKS],
				      __ATOMIC_ACQUIRE)
		    : 0;
}
static inline unsigned pv_rows(const struct native *native)
{
	return __atomic_load_n(&native->pv_count, __ATOMIC_ACQUIRE);
}
/* A row with a device that is there: what has labels, a disk, and is flushed. */
static inline bool pv_is_device(const struct pv *pv)
{
	return pv->device == pv && pv->format.state != PV_STATE_REMOVED;
}
static inline void pv_wrote(struct pv *pv)
{
	__atomic_store_n(&pv->device->dirty, true, __ATOMIC_RELEASE);
}
/* Around every request on a disk that may be taken out of the pool. */
static inline void pv_enter(struct pv *pv)
{
	__atomic_add_fetch(&pv->device->in_flight, 1, __ATOMIC_ACQ_REL);
}
static inline void pv_leave(struct pv *pv)
{
	__atomic_sub_fetch(&pv->device->in_flight, 1, __ATOMIC_ACQ_REL);
}
/* What the row needs to know of the disk it is on. */
void pv_attach(struct native *native, unsigned index, struct disk *disk);
/* In a fiber: one transfer of one buffer; flush of every dirty PV. */
int pv_io(struct pv *pv, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	  uint64_t length);
/* A node may lie across two chunks, of which each may have moved. pv_node_part: how much of
 * @length bytes from slot @address on is in one piece; pv_node_io: in a fiber, all of it; -EBADMSG:
 * no such place. */
uint64_t pv_node_part(uint64_t address, uint64_t length);
int pv_node_io(struct native *native, enum disk_op op, unsigned flags, uint64_t address,
	       uint8_t *buffer, uint64_t length);
int pv_flush_all(struct native *native);
int disk_io(struct disk *disk, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	    uint64_t length);
/* Geometry of a new pool over sb->pv[].size, sb->journal_blocks when it is not 0; of the loaded
 * one: the table of AGs. */
int pv_layout(struct superblock *sb, struct err *err);
/* In a fiber: the labels that @disk has are gone, durably: those of a row of @size, and what
 * another pool has left at its end. */
int pv_wipe_labels(struct disk *disk, uint64_t size);
/* Bytes for a second copy of the journal before the data of row @row, which is new; 0: a row before
 * it has that room, or it is too small. */
uint64_t pv_journal_room(struct superblock *sb, unsigned row);
int pv_make_ags(struct native *native);
/* Chunks and groups of the rows from @first on; @ag (NULL: counting only) has room for the groups.
 */
uint64_t pv_fill_ags(const struct format_pv *rows, unsigned first, unsigned end, struct ag *ag);
/* -EEXIST, with a sentence: something is on @disk. A label that an interrupted pool_add() of pool
 * @sb (NULL: none) has left does not count. In a fiber. */
int pv_check_empty(struct disk *disk, const struct superblock *sb, struct err *err);
/* pv_open_new: a device that is to be a pool's, for us alone; a file of @size bytes, if that is
 * not 0, is made. @dry: it is not; *ret_disk is NULL then. *ret_size is how large it is. */
int pv_open_new(const struct world_ops *world, const char *path, uint64_t size, bool dry,
		struct disk **ret_disk, uint64_t *ret_size, struct err *err);
unsigned pv_levels_for(uint64_t leaves);
uint64_t ag_of(const struct native *native, uint64_t chunk);

/* ---- node.c ---- */
void tree_init(struct tree *tree, struct native *native, enum node_kind kind, uint64_t owner,
	       unsigned levels, const struct node_pointer *root);
uint64_t tree_capacity(const struct tree *tree); /* leaves */
/* All under the lock.
 * tree_find: leaf @index. 0 with *ret_node, NULL when there is none (and not @create);
 * -EINPROGRESS: @waiter will be resumed, start over; else the node can not be read. */
int tree_find(struct tree *tree, uint64_t index, bool create, struct waiter *waiter,
	      struct node **ret_node);
/* The pointer to the node at @level, @index; generation 0: there is none. Same results; a waiter of
 * NULL finds what is in memory only (-ENOENT otherwise). */
int tree_pointer(struct tree *tree, unsigned level, uint64_t index, struct waiter *waiter,
		 struct node_pointer *ret_pointer);
/* The same, and the node where it is in memory. A @waiter is required. */
int tree_place(struct tree *tree, unsigned level, uint64_t index, struct waiter *waiter,
	       struct node_pointer *ret_pointer, struct node **ret_node);
/* The first leaf at or after @index that may exist; UINT64_MAX: none. Same results. */
int tree_next(struct tree *tree, uint64_t index, struct waiter *waiter, uint64_t *ret_index);
/* Call before changing a leaf. -ENOMEM: do not change it. */
int node_touch(struct node *node);
void node_mark_dirty(struct node *node);
struct node_pointer *node_where(struct node *node);
uint64_t tree_volume_id(const struct tree *tree);
bool node_is_shared(struct node *node, uint64_t making);
static inline unsigned blocks_of(size_t length)
{
	return (unsigned)((length + BLOCK - 1) / BLOCK);
}
size_t node_encode(struct node *node, uint8_t *bytes); /* NODE_LENGTH_MAX; returns the length */
int tree_grow(struct tree *tree);
bool node_empty(const struct node *node);
void node_drop(struct node *node); /* clean, childless: forget it */
void tree_drop(struct tree *tree); /* forget all nodes, at close */
void nodes_evict(struct native *native);
/* In a fiber, before anything runs: load every node of a resident tree. */
int tree_load_all(struct tree *tree, struct lane *lane);
int node_read_copy(struct native *native, const struct node_pointer *pointer, unsigned copy,
		   const struct node_header *expected, uint8_t *buffer);
void node_header_of(const struct node *node, struct node_header *ret_header);
struct meta_extent {
	struct list link;
	uint64_t address;
	unsigned slots;
};

/* ---- reserve.c; all under the lock ---- */
/* The volume's use, reservation or state has changed. */
void reserve_changed(struct nvolume *volume);
/* What a chunk is taken for. */
enum room {
	ROOM_PLAIN,
	ROOM_VITAL,    /* VOLUME_VITAL: the slop is for it */
	ROOM_EXCHANGE, /* as much is given back */
};
/* May @volume take another chunk? reserve_taken: it has. */
bool reserve_room(struct native *native, const struct nvolume *volume, enum room room);
void reserve_taken(struct native *native, const struct nvolume *volume, enum room room);
/* May so many more chunks, and pairs, be promised? Pairs alone: whatever there is in sum. */
bool reserve_fits(const struct native *native, uint64_t chunks, uint64_t pairs);
bool reserve_pairs_fit(const struct native *native, uint64_t pairs);
/* Chunks for so many bytes of a volume's, and those promised to @volume that nothing is in yet. */
uint64_t reserve_chunks_for(uint64_t bytes);
/* Promised and not used yet: chunks, those of pairs, too; pairs of volumes other than @volume. */
uint64_t reserve_chunks(const struct native *native);
uint64_t reserve_pairs_of_others(const struct native *native, const struct nvolume *volume);
/* What all mirrored volumes can have, and what of that is left, beside the slop and promises. */
uint64_t reserve_mirror_room(const struct native *native, uint64_t *ret_total);

/* ---- speed.c ---- */
/* A write of @length bytes took so long. Context: the loop that it ended on. */
void speed_count(struct pv *device, uint64_t length, uint64_t ns);
/* Another disk is there; no request may be on its way. */
void speed_forget(struct pv *device);
/* Under the lock: weigh all devices as of now; what is free on a row, weighed. */
void speed_weigh(struct native *native);
uint64_t speed_weighed(const struct pv *row);
/* Under the lock: what is known of a device. */
void speed_info(struct native *native, const struct pv *device, struct pool_device_info *info);

/* ---- balance.c; all under the lock ---- */
/* May chunks be taken from @pv for what is written now? */
bool balance_takes(const struct pv *pv);
/* The row whose turn it is: each gains its free space in credit, weighed by the device's speed, the
 * one with most of it pays the sum. So rows are taken in proportion to what is free on them where
 * the devices are alike, and evenly where it is the same. */
unsigned balance_turn(struct native *native);
/* The row for @volume's next chunk, which is @turn where nothing is against it; pv_count: there is
 * none, for what is left of pairs is others'. */
unsigned balance_first(const struct native *native, const struct nvolume *volume, enum room room,
		       unsigned turn);
/* The row for a chunk that is moved, on none of the devices @avoid (rows, by bit); pv_count: none.
 */
unsigned balance_target(struct native *native, uint64_t avoid);
/* The row for the second chunk of a pair whose first one is on @first; pv_count: none. */
unsigned balance_second(const struct native *native, const struct pv *first);
/* So many pairs can be made at most, of what is @free, or of all there is, whatever their sum. */
uint64_t balance_pairs(const struct native *native, bool free);

/* ---- quota.c; all under the lock ---- */
/* All is summed anew: at open, when the rows are known, and when a quota has come or gone. */
void quota_setup(struct native *native);
/* Rows were made, have other parents, or are to go. */
void quota_rows_changed(struct native *native);
/* What @volume owns is more or less. */
void quota_use_changed(struct nvolume *volume);
/* May @slots more be mapped in @volume that were not, or that a snapshot keeps? */
bool quota_allows(struct nvolume *volume, unsigned slots);

/* ---- space.c; all under the lock ---- */
int space_setup(struct native *native); /* after the trees are loaded */
/* Rows, or what they are for, have changed: the pool's totals. */
void space_totals(struct native *native);
/* The rows from @first on, with chunks from @before on, are taken into use. */
void space_activate(struct native *native, unsigned first, uint64_t before);
void space_leaf_init(struct native *native, struct node *node);
void meta_leaf_init(struct native *native, struct node *node);
/* Take a wholly free chunk for @volume / @slots consecutive free slots; they are held (nobody
 * else gets them) until space_use() or space_unhold(). @slop: may use the last 3 %. Of a mirrored
 * volume the chunk has its second one with the answer; -EINPROGRESS: @waiter will be resumed. */
int space_take_chunk(struct native *native, struct nvolume *volume, enum room room,
		     struct waiter *waiter, uint64_t *ret_chunk);
int space_take_slots(struct native *native, struct nvolume *volume, unsigned count, enum room room,
		     struct waiter *waiter, uint64_t *ret_slot);
/* A free chunk of another device than @chunk's, held; CHUNK_NONE. */
uint64_t space_take_second(struct native *native, uint64_t chunk);
void space_unhold(struct native *native, uint64_t chunk, uint16_t mask);
bool space_is_used(struct native *native, uint64_t slot);
/* Set used bits (clears held). -ENOMEM only from space_touch(), to be called before. */
int space_touch(struct native *native, uint64_t chunk);
void space_use(struct native *native, uint64_t chunk, uint16_t mask);
/* Any chunk, also of metadata: has it slots in use; or in use or held? */
bool space_chunk_holds(const struct native *native, uint64_t chunk);
bool space_chunk_in_use(const struct native *native, uint64_t chunk);
/* A free chunk for the contents of another one, held as above, on none of the devices @avoid (rows,
 * by bit). -EAGAIN: not just now. */
int space_take_target(struct native *native, uint64_t avoid, uint64_t *ret_chunk);
/* It is being moved: its target counts instead. */
void space_uncount(struct native *native, uint64_t chunk);
/* Clear used bits; reusable when the record @lsn is confirmed and readers have gone (I3).
 * space_prepare_frees: -ENOMEM, or @count following frees can not fail. */
int space_prepare_frees(struct native *native, unsigned count);
void space_free(struct native *native, uint64_t chunk, uint16_t mask, uint64_t lsn);
/* The same for what a snapshot that is being deleted had: a root that still knows it is to find it
 * whole, so it is kept until the older root does not either. */
void space_retire(struct native *native, uint64_t chunk, uint16_t mask);
void space_retired_release(struct native *native); /* after a checkpoint */
/* What is retired comes back after two checkpoints: are they not to be long in coming, as the pool
 * has little else? */
bool space_retired_presses(const struct native *native);
/* The undo of a free: @mask is used again. */
void space_unfree(struct native *native, uint64_t chunk, uint16_t mask);
void space_release(struct native *native); /* what may leave the quarantine does */
/* After replay. What is in quarantine is not taken, so live it holds a slot once. In a journal
 * slots have been freed, taken and freed again: the first that leaves would end the hold of the
 * others, and the one for a pair, or a moved chunk, that has been undone meanwhile, too. */
void space_replayed(struct native *native);
bool space_chunk_is_data(const struct native *native, uint64_t chunk);
/* @other: where copy 0 is, for copy 1. */
int meta_allocate(struct native *native, unsigned slots, unsigned copy, uint64_t other,
		  uint64_t *ret_address);
void meta_free(struct native *native, uint64_t address, unsigned slots);
/* Room in the reserved metadata space for @nodes more of one block each? */
bool meta_room(const struct native *native, unsigned nodes);

/* The slots of a chunk that are in use; those that are held: given up of late, and kept for a
 * reader or an older root. */
uint16_t space_used_slots(const struct native *native, uint64_t chunk);
uint16_t space_held_slots(const struct native *native, uint64_t chunk);

/* ---- measure.c; under the lock ---- */
/* What a neighbour is has changed: what deleting @snapshot (NULL: none) gives is not known. */
void measure_forget(struct nvolume *snapshot);
/* Is what the volume above gives up at @leaf to be told? Then that, by how many slots. */
bool measure_follows(const struct nvolume *snapshot, uint64_t leaf);
void measure_changed(struct nvolume *snapshot, int slots);
/* How many chunks are free when it goes; false: not known. */
bool measure_reclaimable(const struct nvolume *snapshot, uint64_t *ret_chunks);
void measure_slot(struct measure *measure, uint64_t address); /* for map_reap() */
void measure_free(struct native *native);

/* ---- forward.c, evacuate.c; under the lock, but for those of pool.h ---- */
void forward_leaf_init(struct native *native, struct node *node);
int forward_rooms(struct native *native);  /* before leaves are loaded or made */
int forward_setup(struct native *native);  /* with all trees loaded, before space_setup() */
void forward_sweep(struct native *native); /* after replay */
/* How many chunks that others were moved to, or are being moved to, are what @is_one says. */
uint64_t forward_targets(const struct native *native,
			 bool (*is_one)(const struct native *native, uint64_t chunk));
/* Nothing refers to a chunk any more: if it was moved, its target is given up. */
void forward_drop(struct native *native, uint64_t chunk);
int evacuate_opened(struct native *native); /* go on where the last life stopped */
bool evacuate_runs(const struct native *native);
/* One step, in the keeper's fiber, without the lock. False: nothing to do for now. */
bool evacuate_some(struct native *native, struct lane *lane);
void evacuate_free(struct native *native);
/* In the keeper's fiber: what is in two places now has one when it returns 0. */
int evacuate_settle(struct native *native, struct lane *lane);
/* Is there another copy of all that is just being moved to @device? */
bool evacuate_spares(const struct native *native, const struct pv *device);
void native_evacuate(struct pool *pool, const char *path, enum pool_evacuate_action action,
		     struct pool_call *call);
void native_remove(struct pool *pool, const char *path, struct pool_call *call);
/* What of the device of row @device is told while it is being evacuated. */
void evacuate_info(const struct native *native, unsigned device, struct pool_device_info *info);

/* ---- mirror.c; under the lock unless said otherwise ---- */
/* The chunk with the second copy of @chunk's contents, 0: there is none. Context: any. */
uint64_t mirror_of(const struct native *native, uint64_t chunk);
bool mirror_place(const struct native *native, uint64_t slot, struct pv_place *ret_place);
/* Where a write of the second copy has to go, as pv_places() says it of the first; 0: nowhere. */
unsigned mirror_places(const struct native *native, uint64_t slot, struct pv_place ret_places[2]);
void mirror_leaf_init(struct native *native, struct node *node);
/* In the keeper, before its checkpoint: the tree is as large as the pool. */
int mirror_begin(struct native *native);
int mirror_rooms(struct native *native);      /* before leaves are loaded */
int mirror_setup(struct native *native);      /* with all trees loaded */
void mirror_sweep(struct native *native);     /* after replay: pairs that nothing uses */
bool mirror_any(const struct native *native); /* mirrored volumes, or what is left of them */
/* How many second chunks are what @is_one says. */
uint64_t mirror_seconds(const struct native *native,
			bool (*is_one)(const struct native *native, uint64_t chunk));
/* Give @chunk, which is held, a second one. journal_reserve() was called. -ENOSPC, -ENOMEM. */
int mirror_pair(struct native *native, uint64_t chunk);
/* Nothing refers to a chunk any more: its second one is given up. */
void mirror_drop(struct native *native, uint64_t chunk);
/* Replay of a record: what it says of places, as soon as it is seen; of space, in its turn. */
int mirror_link(struct native *native, const struct record *record);
int mirror_apply(struct native *native, const struct record *record);
bool mirror_plausible(const struct native *native, uint64_t chunk, uint64_t second);

/* Which copies of a slot count: bit 0 the first, bit 1 the second. Those on a device that is away
 * or stale do not; what has one copy only is good on a stale device, too. Context: any. */
unsigned mirror_usable(const struct native *native, uint64_t slot);

/* Both copies of a slot, in a fiber, without the lock. crc 0: it can not be read, or does not count
 * (usable, as above). */
struct copies {
	uint64_t address;
	unsigned count, usable;
	uint8_t *data; /* two slots */
	uint32_t crc[2];
};
void mirror_read(struct native *native, uint64_t address, struct copies *copies);
/* The other one becomes what @good is. */
void mirror_level(struct native *native, struct copies *copies, unsigned good);
/* The first chunk of @pv from @chunk on with a second one; the end of its chunks: none. */
uint64_t mirror_next(const struct pv *pv, uint64_t chunk);

/* ---- away.c ---- */
static inline bool pv_is_here(const struct pv *pv)
{
	return !__atomic_load_n(&pv->device->away, __ATOMIC_SEQ_CST);
}
static inline bool pv_is_stale(const struct pv *pv)
{
	return __atomic_load_n(&pv->device->stale, __ATOMIC_SEQ_CST);
}
static inline unsigned pv_device_row(const struct native *native, const struct pv *pv)
{
	return (unsigned)(pv->device - native->pv);
}
/* Is @chunk's place on a device that is away? Context: any. */
bool away_has(const struct native *native, uint64_t chunk);
/* Likewise of a node's copy at slot @address; on one whose copies do not count yet, too. */
bool away_has_node(const struct native *native, uint64_t address);
/* A write, or a flush, of @pv has failed with @result, and what it was about has another copy, or
 * none is needed. 0: the pool goes on without the device from now on (or did before); else @result.
 * Without the lock; any loop. */
int away_lost(struct lane *lane, struct pv *pv, int result);
/* A device that is away or whose copies do not count yet; NULL: all are whole. Under the lock. */
const struct pv *away_any(const struct native *native);
/* -EBUSY with a sentence: as above, so that the pool's devices are not to be changed now. */
int away_refuse(struct native *native, struct err *err);
/* The row's flags, at open and by records; its disk may be there. */
void away_set(struct native *native, unsigned row, uint8_t flags);
int away_record(struct native *native,
		const struct record *record); /* -EUCLEAN, -ENOENT, -ESTALE */
/* Would what is to be written to @chunk be nowhere? Then nothing is begun. Under the lock. */
static inline bool away_from(const struct native *native, uint64_t chunk)
{
	return native->mirrored && away_has(native, chunk) && !mirror_of(native, chunk);
}
/* A volume with one copy has written to @pv. 0; -EIO: it went away meanwhile. Any loop. */
int away_plain_written(struct nvolume *volume, const struct pv *pv);
/* Of a flush: what has to be asked before (lost: it fails in any case), and after (@rows, @aways as
 * it was before). */
uint64_t away_flush_begin(struct nvolume *volume, bool *ret_lost);
bool away_flush_failed(struct nvolume *volume, uint64_t rows, unsigned aways);
bool resilver_due(const struct native *native);
/* One step of making a stale device's copies good, in the keeper's fiber, without the lock. False:
 * nothing to do for now. */
bool resilver_some(struct native *native, struct lane *lane);
void resilver_halt(struct native *native); /* in a fiber, before the pool closes */
void resilver_free(struct native *native);
void native_online(struct pool *pool, const char *path, struct pool_call *call);
void native_offline(struct pool *pool, const char *path, struct pool_call *call);
/* Where a device is, or was; "(missing)": that is not known. */
const char *away_path(const struct pv *pv);
/* Which copy of @chunk's pair is on @device: 0, 1; 2: none. */
unsigned away_copy_on(const struct native *native, uint64_t chunk, const struct pv *device);
/* What of a device is told: away, or being made good. Under the lock. */
void away_info(const struct native *native, unsigned row, struct pool_device_info *info);

/* ---- replace.c ---- */
void native_replace(struct pool *pool, const char *old, const struct pool_device *device,
		    bool force, bool label, struct pool_call *call);

/* ---- map.c; all under the lock ---- */
static inline bool map_slot(const struct map_entry *entry, unsigned slot, uint64_t *ret_address)
{
	if (!(entry->mask & 1u << slot))
		return false;
	*ret_address = entry->slots ? entry->slots[slot] : entry->chunk * CHUNK_SLOTS + slot;
	return true;
}
/* Apply a record to map, space and checksums: the same code live and at replay. Everything it
 * needs is loaded and touched: map_prepare() with the record made that sure.
 * map_prepare: 0, -EINPROGRESS (waiter), or an error. */
int map_prepare(struct nvolume *volume, const struct record *record, struct waiter *waiter);
void map_apply(struct nvolume *volume, const struct record *record, uint64_t lsn);
/* The slots of @mask that are mapped and belong to the volume's parent. */
uint16_t map_shared(const struct nvolume *volume, uint64_t chunk, const struct map_entry *entry);
/* A leaf of a snapshot or volume @from that is being deleted, its @entries against those of its
 * only child, or NULL: what it owns (younger than @limit) and the child does not have is given up
 * (@dry: only counted, there). Returns by how many mapped slots what the two own becomes less.
 * map_prepare_reap() first. */
int map_prepare_reap(struct native *native, const struct map_entry *entries);
int map_reap(const struct nvolume *from, uint64_t limit, const struct map_entry *entries,
	     const struct map_entry *child, struct measure *dry);
/* map_look: one leaf of @volume's map, the first from *@leaf on, is shown to @look, under the lock;
 * *@leaf is then the place after it, UINT64_MAX when there was none. In a fiber, without the lock.
 * 0, -EINPROGRESS (something was read meanwhile: once more), or an error. */
typedef void map_look_fn(void *context, const struct nvolume *volume, uint64_t leaf,
			 const struct map_entry *entries);
int map_look(struct nvolume *volume, struct lane *lane, uint64_t *leaf, map_look_fn *look,
	     void *context);
void nvolume_mark_dirty(struct nvolume *volume);

/* ---- csum.c; all under the lock ---- */
static inline uint32_t csum_of(uint32_t crc)
{
	return crc ? crc : 1; /* 0 says: none recorded */
}
int csum_find(struct native *native, uint64_t chunk, bool create, struct waiter *waiter,
	      struct node **ret_node);
/* In a fiber, without the lock: what the slots of a chunk must sum to (0: not known), and which of
 * them matter. */
int csum_look_up(struct native *native, struct lane *lane, uint64_t chunk,
		 uint32_t expected[CHUNK_SLOTS], uint16_t *ret_wanted);
static inline uint32_t *csum_at(struct node *node, uint64_t chunk)
{
	return &node->body->csum.crc[chunk % CSUM_CHUNKS * CHUNK_SLOTS];
}
/* hot_check: may the region of @chunk be overwritten in place now? 0, -EINPROGRESS. */
int hot_check(struct native *native, uint64_t chunk, struct waiter *waiter);
int hot_set(struct native *native, uint64_t region, enum hot_state state);
int hot_freeze(struct native *native); /* the hot set as the checkpoint will hold it */
/* After the trees are loaded: all suspect, but after an orderly close. */
int hot_setup(struct native *native);
bool hot_suspect(const struct native *native, uint64_t chunk);
void hot_warmed(struct native *native, uint64_t durable_lsn);
void hot_look_done(struct native *native, uint64_t region); /* no longer suspect */

/* ---- journal.c; under the lock unless said otherwise ---- */
int journal_setup(struct native *native);
void journal_finish(struct native *native);
/* Room for one block's worth of records? 0, -EINPROGRESS, -EROFS, -ENOMEM. */
int journal_reserve(struct native *native, struct waiter *waiter);
/* Room for a record that can not wait; the ring keeps some for that. -ENOMEM, -ENOSPC. */
int journal_reserve_now(struct native *native);
/* Append @count records as a unit; returns the LSN of the first. */
uint64_t journal_append(struct native *native, struct record *records, unsigned count);
uint64_t journal_freeze(struct native *native, uint64_t *ret_tail); /* last LSN before */
void journal_tail_moved(struct native *native, uint64_t tail, uint64_t lsn);
void journal_outstanding(struct native *native, struct outstanding *data, uint64_t lsn);
void journal_data_done(struct native *native, struct outstanding *data);
uint64_t journal_complete_lsn(const struct native *native); /* all data up to it is complete */
bool journal_pending(const struct native *native);
void journal_commit(struct lane *lane); /* without the lock; committing is set */
/* Is the record @lsn where the end of this process would not lose it? 0: written it is, if not
 * flushed. -EINPROGRESS: @waiter is woken when it is. -EROFS. */
int journal_wait_written(struct native *native, uint64_t lsn, struct waiter *waiter);
/* Where it is written to: one or two rows, of which one may be away. Context: any. */
unsigned journal_copies(const struct native *native, struct pv *ret_copies[2]);
unsigned journal_complete_copies(const struct native *native); /* under the lock */
/* Can it be done without @device? */
bool journal_spares(const struct native *native, const struct pv *device);
/* Does the next root begin a second copy? Until then no device is known that can be done without
 * (spread.c). Under the lock. */
bool journal_twin_due(const struct native *native);
/* In the keeper's fiber: the places of the ledger and of the journal on @disk, which is not the
 * pool's yet, are zeros, and durably: of a device that was the pool's before they may hold a list
 * of findings and a journal that have gone on elsewhere, and replay would take that for a sign that
 * the root is an old one. The labels it has, of a row of @size, go before that: with them it would
 * be one of the pool's, with nothing in its journal. */
int journal_clear(struct native *native, struct lane *lane, struct disk *disk, uint64_t size);
/* Not yet, but with the next root? */
bool journal_wants_root(const struct native *native);
/* At the freeze of root @generation: has the pool a second copy from it on, or none any more? */
void journal_twin_look(struct native *native, uint64_t generation);
void unconfirmed_add(struct native *native, uint64_t chunk, uint16_t mask, uint64_t lsn);
uint64_t unconfirmed_lsn(struct native *native, uint64_t chunk, uint16_t mask); /* 0: none */
int unconfirmed_prepare(struct native *native, unsigned count);
void confirmed_advance(struct native *native);

/* ---- flush.c; under the lock ---- */
void flush_setup(struct native *native);
void flush_join(struct native *native, struct waiter *waiter);
void flush_confirm(struct native *native, uint64_t lsn, struct waiter *waiter);
void flush_kick(struct native *native);
bool flush_needed(const struct native *native);
void flush_commit_done(struct native *native);
void flush_devices(struct lane *lane); /* without the lock */

/* ---- io.c, io_write.c ---- */
void io_submit(struct volume *volume, struct volume_request *request);
/* io_stop: in a fiber: no request is under way and new ones wait, until io_go(). */
void io_stop(struct nvolume *volume);
void io_go(struct nvolume *volume, struct lane *lane);
void lane_finish_run(struct deferred *deferred);
/* A request of the engine's own, in a fiber on the home loop; inside the volume. Its result. */
int io_request_fiber(struct nvolume *volume, struct volume_request *request);

/* ---- erase.c ---- */
int native_erasable(struct volume *volume);
/* Flag of such a request, a read: look at both copies of a mirrored volume. */
#define REQUEST_BOTH_COPIES (1u << 16)

/* ---- rewind.c ---- */
/* The superblocks of a device: the newest, and the generation each side holds (0: none that can
 * be read; generation 0 itself, of a pool just made, counts as 1). */
struct labels {
	struct superblock newest, older;
	uint64_t size[2];       /* of the device, by the heads; 0: not known */
	uint64_t generation[2]; /* by side: even, odd */
	struct {
		uint64_t generation, epoch;
	} copy[4]; /* 0, 0: none that can be read */
};
bool rewind_side_is_lost(const struct labels *labels, unsigned count, uint64_t newest);
/* -EUCLEAN, with what an administrator can do about a root that may be lost. */
int rewind_refuse(const struct native *native, struct err *err);
/* In a fiber, after the trees are loaded: keep the nodes that @older uses and the newest root
 * does not until the first checkpoint. A damaged older root is logged and left. -ENOMEM. */
int rewind_hold(struct native *native, const struct superblock *older);

/* ---- keeper.c, checkpoint.c, replay.c, check.c: fibers on the home loop ---- */
void keeper_start(struct native *native); /* the pool is open: timer, background work */
void keeper_kick(struct native *native);  /* under the lock, any loop */
/* As loaded: by name, the deleted apart, snapshots with their volumes; -EBADMSG: the table makes no
 * sense. */
int native_link_volumes(struct native *native);
/* snapshot.c, for the checkpoint; under the lock: the ones being made get the state of this moment,
 * and the maps that were written. */
void snapshots_freeze(struct native *native, struct superblock *sb);
void snapshots_written(struct native *native);
void nvolume_set_parent(struct nvolume *volume, struct nvolume *parent); /* under the lock */
void native_snapshot_create(struct pool *pool, const struct snapshot_spec *specs, unsigned count,
			    struct pool_call *call);
struct volume *native_snapshot_next(struct volume *volume, struct volume *previous);
bool native_snapshot_info(struct volume *volume, struct snapshot_info *ret_info);
struct volume *native_snapshot_of(struct volume *volume);
void native_snapshot_delete(struct volume *snapshot, struct pool_call *call);
void native_snapshot_rename(struct volume *snapshot, const char *name, struct pool_call *call);
void native_snapshot_hold(struct volume *snapshot, uint64_t until_ns, struct pool_call *call);
void native_snapshot_approve(struct volume *snapshot, bool expendable, struct pool_call *call);
void native_snapshot_release(struct volume *snapshot, struct pool_call *call);
void native_snapshot_measure(struct volume *snapshot, struct pool_call *call);
void native_snapshot_measure_all(struct volume *volume, uint64_t limit_ns, struct pool_call *call);
void native_volume_clone(struct volume *snapshot, const char *name, struct pool_call *call);
void native_volume_promote(struct volume *clone, struct pool_call *call);
void native_volume_rollback(struct volume *volume, struct volume *snapshot, const char *keep,
			    struct pool_call *call);
void native_volume_diff(struct volume_diff *diff, struct pool_call *call);
void native_volume_create(struct pool *pool, const struct volume_spec *spec,
			  struct pool_call *call);
void native_volume_delete(struct volume *volume, struct pool_call *call);
void native_volume_resize(struct volume *volume, uint64_t size_bytes, struct pool_call *call);
void native_volume_shrink(struct volume *volume, uint64_t size_bytes, struct pool_call *call);
void native_volume_set_space(struct volume *volume, const struct volume_space *space,
			     struct pool_call *call);
uint64_t native_quota_used(struct volume *volume);
void native_set_watermarks(struct pool *pool, const uint8_t percent[WATERMARKS],
			   struct pool_call *call);
void native_rename(struct pool *pool, const char *name, struct pool_call *call);
void native_volume_rename(struct volume *volume, const char *name, struct pool_call *call);
void native_checkpoint(struct pool *pool, struct pool_call *call);
void native_check(struct pool *pool, bool data, struct pool_check_report *report,
		  struct pool_call *call);
void native_close(struct pool *pool, struct pool_call *call);
/* extend.c */
void native_add(struct pool *pool, const struct pool_device *devices, unsigned count, bool force,
		bool label, struct pool_call *call);
void native_grow(struct pool *pool, struct pool_call *call);
const char *native_device_path(const struct pool *pool, unsigned index);
bool native_device_info(struct pool *pool, unsigned index, struct pool_device_info *ret_info);
struct volume *native_find_volume(struct pool *pool, const char *name);
struct volume *native_volume_next(struct pool *pool, struct volume *previous);
void checkpoint_want(struct native *native); /* under the lock, any loop */
int checkpoint_run(struct native *native, struct lane *lane, bool clean);
struct nvolume *nvolume_by_id(struct native *native, uint64_t id);
int replay_run(struct native *native, struct lane *lane, struct err *err);
int check_run(struct native *native, struct lane *lane, bool data,
	      struct pool_check_report *report);
struct native *native_new(const struct world_ops *world, struct loop *loop);
void native_free(struct native *native);
int superblock_write_all(struct native *native, const struct superblock *sb);
/* The copies of one row's device, with sb's generation. */
int superblock_write_one(struct native *native, const struct superblock *sb, unsigned index);

#endif
