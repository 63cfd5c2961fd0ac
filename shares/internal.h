/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_INTERNAL_H
#define SHARES_INTERNAL_H

#include "shares/rules.h"
#include "shares/shares.h"
#include "shares/store.h"
#include "shares/vfs.h"

/*~ A share: files over the store. Each request is run by a worker, a fiber of the loop that brought
 * it; straight-line code that takes the store's lock for work in memory (a transaction or a look)
 * and gives it up for every disk access. README.md has the reading order.
 *
 * A write of file contents:
 *   1. its blocks are locked against other changes (struct range)
 *   2. blocks without a place get one: a transaction moves free space to the file's reservations,
 *      which are no contents: a crash leaves nothing but an address taken
 *   3. the data is written
 *   4. a transaction turns the reservations into extents and changes the inode (S1)
 *   5. if it is to be stable, that transaction is waited for
 *
 * Under store->lock: everything below that is not said to be otherwise. */

#define LANES_MAX     64u
#define STATE_BUCKETS 1024u
#define WORKERS_MAX   512u /* of a lane; more requests wait */
#define WORKERS_IDLE  64u  /* kept when there is nothing to do */
#define CUT_MAX       256u /* extents changed by one transaction */
#define VIEWS_MAX     8u   /* snapshots that are open at a time */
#define VIEW_PAGES    512u /* of each in memory, beside its replayed log */
#define OBJECT_BYTES  12u  /* of an identity: inode number, generation */

/* What is known of an inode beside its record: who holds it, who changes which of its blocks. */
struct inode_state {
	struct list link;
	uint64_t inode;
	uint32_t holds, users;
	struct list ranges, waiters;
};
struct range {
	struct list link;
	struct inode_state *state;
	uint64_t first, last; /* file blocks */
};

struct worker {
	struct list link;
	struct lane *lane;
	struct fiber *fiber;
	struct vfs_request *request;
	bool quit;
};

/* Per loop; used on that loop only. */
struct lane {
	struct share *share;
	struct loop *loop;
	struct list idle, queue; /* workers; requests that wait for one */
	unsigned workers;
	bool paused;            /* what comes waits in the queue */
	struct message message; /* to end the workers, to pause */
};

/* `.snapshot`: snapshots.c. */
struct snap;
struct snapshots {
	pthread_mutex_t lock; /* of the list of views and their users; a leaf */
	struct list views;    /* most recently used first */
	unsigned view_count;
	bool opening; /* one at a time */
	struct {
		uint64_t id, until_ns;
	} leaving[VIEWS_MAX]; /* snapshots that are being deleted */
	unsigned leaving_next;
	enum share_snapshots how; /* atomic */
	struct snap *snaps;       /* as they were last listed, by id */
	unsigned count;
	int64_t changed_ns; /* when the list was seen to be another one */
	struct timer timer;
};

struct share {
	struct vfs vfs;
	struct store *store;
	struct volume *volume;
	struct loop *home;
	struct lane lane[LANES_MAX];
	unsigned lane_count;        /* atomic: grows */
	pthread_mutex_t lanes_lock; /* for growing; a leaf */
	bool pausing;               /* lanes_lock */
	unsigned pausing_left;      /* atomic: lanes that have not heard of it */
	uint32_t salt;              /* of generations; another one with each opening */
	struct snapshots snapshots;
	unsigned restores; /* that run; home loop */
	bool restores_end; /* the share is to be closed */
	unsigned calls;    /* on the open share, that run; home loop */
	bool going_back;   /* none but the rollback looks at the store; home loop */
	bool reviving;     /* revive.c: a fiber waits for space; home loop */
	bool full;         /* the pool was, a moment ago: nothing new is made */
	struct list states[STATE_BUCKETS];
	uint64_t alloc_cursor; /* block: where space is looked for */
	uint64_t unshared;     /* sequence: the last commit that left a shared block one owner */
	uint32_t window;       /* blocks reserved around a write */
	/* readers of data blocks, by epoch: the keeper waits for an old one to empty (S4) */
	unsigned epoch;
	uint64_t readers[2];
	struct list drained; /* waiter */
	/* the keeper and the cleaner: fibers of home. Two, because cleaning waits for room in the
	 * log, which the keeper makes, and for requests, which wait for it too. */
	struct list keeper_sleeps; /* waiters: both */
	struct timer keeper_timer;
	struct message keeper_message;
	bool keeper_posted, stopping, reap_wanted, discard_wanted;
	bool reap_skipped; /* an orphan whose blocks were locked */
	unsigned keepers;  /* of the two, running */
	struct list space; /* waiters for freed space */
	unsigned discarding;
};

/* An object as an operation sees it, loaded under the lock. */
struct object {
	uint64_t number;
	struct inode inode;
	struct vfs_ace aces[VFS_ACES_MAX + 2 * RULES_MODE_ACES];
	struct rules_object rules;
};

struct op {
	struct share *share;
	struct vfs_request *request;
	int64_t now;
	uint64_t sequence; /* of its transaction */
	struct object object[3];
};

/* ---- share.c ---- */
/* Run a request of a worker, waiting for what it needs. Context: a fiber, without the lock. */
int share_request_run(struct op *op);
int share_root(struct share *share, struct inode *ret_root); /* likewise */
void share_fsstat_now(struct share *share, struct vfs_fsstat *ret_fsstat);
/* A snapshot's share: read-only, nothing runs in it by itself. Context: a fiber of @loop. */
int share_view_open(struct volume *volume, struct loop *loop, struct share **ret_view);
void share_view_close(struct share *view); /* NULL is fine */

/* Requests that come wait until share_go_on(). Context: home loop, a fiber. */
void share_pause(struct share *share);
void share_go_on(struct share *share);
/* share_go: what is done before anything is served. share_stop: no fiber works in it any more.
 * Context: likewise. */
int share_go(struct share *share, bool read_only);
void share_stop(struct share *share);
uint64_t share_make_verifier(struct share *share);
int share_can_not_open(struct share *share, int result, struct err *err);
/* A call on an open share: @main runs in a fiber of home, and ends with share_ended(). */
void share_start_on(struct vfs *vfs, struct share_call *call, void (*main)(void *context));
void share_ended(struct share_call *call, int result);

/* ---- reopen.c ----
 * share_not_open: what has begun of an opening ends. share_no_space: the store was opened to be
 * read, with the log replayed in memory alone, for want of space: it is as one that met the end of
 * the pool now (S5), without a keeper; share_revive() is to be called. Context: home loop, a fiber.
 */
void share_not_open(struct share *share);
void share_no_space(struct share *share);
/* The store is closed, @between run (NULL: nothing), and opened anew, with requests waiting. No
 * more than @calls are the caller's own. -ENOSPC: it is read, and takes no changes; share_revive()
 * is to be called. -EIO and the like, and when it can not be read either: it is not open; requests
 * hear -EIO. Context: home loop, a fiber, share->going_back set. */
int share_open_anew(struct share *share, unsigned calls, void (*between)(void *context),
		    void *context, struct err *err);

/* ---- revive.c: a share that had no space for itself takes changes again when there is some.
 * Context: home loop, a fiber, without the lock; as often as one likes. ---- */
void share_revive(struct share *share);

/* ---- snapshots.c ---- */
/* Is @request about `.snapshot` or what is in it? snapshots_run: then it is run here. Context: as
 * share_request_run(). */
bool snapshots_concern(const struct share *share, const struct vfs_request *request);
int snapshots_run(struct op *op);
/* Can @snapshot be looked into? Home loop, a fiber. */
int snapshots_try(struct share *share, struct volume *snapshot);
void snapshots_init(struct share *share);
void snapshots_close(struct share *share); /* home loop, a fiber: no view is open any more */
void snapshots_finish(struct share *share);

/* ---- restore.c: home loop, a fiber: none runs any more ---- */
void restores_end(struct share *share);

/* ---- inode.c ---- */
struct vfs_object object_make(const struct inode *inode);
int inode_load(struct share *share, uint64_t number, struct inode *ret_inode); /* -ENOENT */
int inode_store(struct share *share, struct inode *inode);
/* By identity: -ESTALE when it is not there any more. With its ACL. */
int object_load(struct share *share, const struct vfs_object *identity, struct object *ret_object);
int object_load_number(struct share *share, uint64_t number, struct object *ret_object);
int aces_store(struct share *share, struct object *object, const struct vfs_ace *aces,
	       unsigned count);
int aces_chmod(struct share *share, struct object *object);
/* The request's ACL, and the mode that follows from it; the inode is the caller's to store. */
int aces_set(struct share *share, struct object *object, const struct vfs_request *request);
void give(struct vfs_request *request, const struct inode *inode);
struct inode_state *state_find(struct share *share, uint64_t number);
struct inode_state *state_take(struct share *share, uint64_t number); /* one more user */
void state_drop(struct share *share, struct inode_state *state);
int hold(struct share *share, uint64_t number);
int unhold(struct share *share, uint64_t number);
/* Without the lock, in a fiber: wait until no range overlaps. */
int range_lock(struct share *share, uint64_t number, uint64_t first, uint64_t last,
	       struct range *range);
/* Likewise without waiting: -EAGAIN. The cleaner is kicked when a range is free again. */
int range_try_lock(struct share *share, uint64_t number, struct range *range);
void range_unlock(struct share *share, struct range *range);

/* ---- extent.c: in transactions ---- */
/* The extent that covers @block: -ENOENT. */
int extent_at(struct share *share, uint64_t number, uint8_t type, uint64_t block,
	      struct extent *ret_extent);
/* ... or the next one behind it. */
int extent_from(struct share *share, uint64_t number, uint8_t type, uint64_t block,
		struct extent *ret_extent);
int extent_add(struct share *share, uint64_t number, uint8_t type, struct extent extent);
struct cut {
	uint64_t blocks; /* that were in extents */
	unsigned extents;
	bool more; /* CUT_MAX reached */
	bool keep; /* the space is not freed: somebody else has it now */
};
int extent_cut(struct share *share, uint64_t number, uint8_t type, uint64_t first, uint64_t end,
	       struct cut *cut);
/* One that has another owner from now on. */
int extent_share(struct share *share, uint64_t number, struct extent *extent);
/* Space. blocks_take: up to @want blocks in a row, at least one. */
int blocks_take(struct share *share, uint32_t want, uint64_t *ret_block, uint32_t *ret_count);
int blocks_free(struct share *share, uint64_t block, uint64_t count);
int blocks_return(struct share *share, uint64_t block, uint64_t count); /* from PENDING to FREE */
/* Without the lock: after -ENOSPC, wait once for what is being discarded. */
bool blocks_wait(struct share *share);
int quota_check(const struct share *share, uint64_t more);
/* Bytes that the volume's pool still has for it; one that does not know has enough. */
uint64_t share_pool_room(const struct share *share);
void share_fsstat(struct share *share, struct vfs_fsstat *ret_fsstat);

/* ---- users.c: what each user has. Under the lock, in a transaction ----
 * users_change: so many blocks and files more, or fewer, of @uid. -EDQUOT: over a limit.
 * users_check: would it be -EDQUOT? users_move: @inode was @from's.
 * inode_count: the same for the blocks of an inode, its own count and the share's. */
int users_change(struct share *share, uint32_t uid, int64_t blocks, int64_t files);
int users_check(struct share *share, uint32_t uid, uint64_t blocks);
int users_move(struct share *share, const struct inode *inode, uint32_t from);
int inode_count(struct share *share, struct inode *inode, int64_t blocks);
/* users_limit: the limits that @user->set names; then @user is what there is. */
int users_limit(struct share *share, struct share_user *user);
/* Likewise, without changes. users_next: the first from uid @from on; -ENOENT. */
int users_fsstat(struct share *share, uint32_t uid, struct vfs_fsstat *fsstat);
int users_next(struct share *share, uint64_t from, struct share_user *ret_user);
/* Count from here on, if it is not done yet. Context: a fiber, without the lock. -E2BIG: files have
 * too many owners. */
int users_start(struct share *share);

/* ---- shared.c: blocks that several extents point to ---- */
/* How many owners the blocks from @block on have, and how many of *count have as many. */
int shared_look(struct share *share, uint64_t block, uint64_t *count, uint32_t *ret_owners);
/* May blocks with so many owners, all but the file's own gone, be written where they are? (S6) */
bool shared_in_place(const struct share *share, uint32_t owners);
/* One owner more, for as many of the blocks as have as many owners: *count becomes that. */
int shared_add(struct share *share, uint64_t block, uint64_t *count);
/* One owner less; all of them have as many. The last one's are freed. */
int shared_drop(struct share *share, uint64_t block, uint64_t count);

/* ---- what runs a request: table in share.c ---- */
int op_lookup(struct op *op); /* dir.c */
int op_lookup_parent(struct op *op);
int op_create(struct op *op);
int op_remove(struct op *op);
int op_link(struct op *op);
int op_rename(struct op *op);
int op_readdir(struct op *op);
/* Room for an entry in the listing, zeroed, with its name (NULL: none), and then its keeping. */
struct vfs_dirent *listing_room(struct vfs_request *request, const char *name, unsigned length);
void listing_keep(struct vfs_request *request, const struct vfs_dirent *made);
int op_getattr(struct op *op); /* attr.c */
int op_setattr(struct op *op); /* no size */
int op_access(struct op *op);
int op_readlink(struct op *op);
int op_fsstat(struct op *op);
int op_hold(struct op *op);
int op_release(struct op *op);
int op_xattr_get(struct op *op); /* xattr.c */
int op_xattr_set(struct op *op);
int op_xattr_remove(struct op *op);
int op_xattr_list(struct op *op);
int op_acl_get(struct op *op);
int op_acl_set(struct op *op);
int op_read(struct op *op); /* file.c: these are called without the lock */
int op_write(struct op *op);
int op_commit(struct op *op);
int op_resize(struct op *op); /* size.c */
int op_seek(struct op *op);
int op_clone(struct op *op);      /* clone.c */
int op_allocate(struct op *op);   /* allocate.c */
int op_deallocate(struct op *op); /* range.c */

int need_file(const struct object *object, const struct vfs_request *request, uint32_t rights);
/* One step of an inode's end, in a transaction: 1: more to do. */
int inode_destroy_step(struct share *share, struct inode *inode);
int orphan_put(struct share *share, uint64_t number, enum orphan_kind kind);
int orphan_delete(struct share *share, uint64_t number);
int xattrs_destroy_step(struct share *share, uint64_t number); /* 1: more */
int pieces_put(struct share *share, uint64_t object, uint8_t type, const uint8_t *data,
	       size_t length);
int pieces_get(struct share *share, uint64_t object, uint8_t type, uint8_t *data, size_t length);
int pieces_delete(struct share *share, uint64_t object, uint8_t type, size_t length);

/* file.c */
/* The request's object, with @rights on it: op->object[0], before and after. Under the lock. */
int file_look(struct op *op, uint32_t rights);
int file_write_zeros(struct op *op, uint64_t number, uint64_t offset, uint64_t length);
int file_zero_tail(struct op *op, uint64_t number);
int file_resize_steps(struct share *share, uint64_t number); /* size.c */

/* ---- check.c: a fiber, without the lock ---- */
int store_check(struct store *store, struct share_check_report *report);

/* ---- keeper.c ---- */
int share_keeper_start(struct share *share);
void share_keeper_kick(struct share *share);              /* under the lock, any loop */
int share_keeper_finish_truncations(struct share *share); /* a fiber, before anything is served */

static inline struct key inode_key(uint64_t number)
{
	return (struct key){number, KEY_INODE, 0};
}

#endif
