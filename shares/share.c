/* SPDX-License-Identifier: Apache-2.0 */
/* share.c: requests, the workers that run them, and the life of a share. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "core/log.h"
#include "shares/internal.h"
#include "shares/siphash.h"

#define WINDOW_MAX 256u /* blocks */
#define LIST_STEP  256u /* users looked at with the lock held */

/* ---- the table ---- */
enum how {
	LOOK,     /* reads the tree */
	TRANSACT, /* one transaction, durable when it is done */
	FREE,     /* takes the lock itself */
};
static const struct {
	int (*run)(struct op *op);
	enum how how;
} table[VFS_OP_COUNT] = {
    [VFS_GETATTR] = {op_getattr, LOOK},
    [VFS_SETATTR] = {op_setattr, TRANSACT},
    [VFS_LOOKUP] = {op_lookup, LOOK},
    [VFS_LOOKUP_PARENT] = {op_lookup_parent, LOOK},
    [VFS_ACCESS] = {op_access, LOOK},
    [VFS_READLINK] = {op_readlink, LOOK},
    [VFS_READ] = {op_read, FREE},
    [VFS_WRITE] = {op_write, FREE},
    [VFS_COMMIT] = {op_commit, FREE},
    [VFS_CREATE] = {op_create, TRANSACT},
    [VFS_REMOVE] = {op_remove, TRANSACT},
    [VFS_RENAME] = {op_rename, TRANSACT},
    [VFS_LINK] = {op_link, TRANSACT},
    [VFS_READDIR] = {op_readdir, LOOK},
    [VFS_FSSTAT] = {op_fsstat, LOOK},
    [VFS_SEEK] = {op_seek, FREE},
    [VFS_ALLOCATE] = {op_allocate, FREE},
    [VFS_DEALLOCATE] = {op_deallocate, FREE},
    [VFS_CLONE] = {op_clone, FREE},
    [VFS_XATTR_GET] = {op_xattr_get, LOOK},
    [VFS_XATTR_SET] = {op_xattr_set, TRANSACT},
    [VFS_XATTR_REMOVE] = {op_xattr_remove, TRANSACT},
    [VFS_XATTR_LIST] = {op_xattr_list, LOOK},
    [VFS_ACL_GET] = {op_acl_get, LOOK},
    [VFS_ACL_SET] = {op_acl_set, TRANSACT},
    [VFS_HOLD] = {op_hold, LOOK},
    [VFS_RELEASE] = {op_release, LOOK},
};

static int run_table(void *context)
{
	struct op *op = context;

	return table[op->request->op].run(op);
}

/* UNCHECKED create of a file that is there, with size 0. */
static int cut_existing(struct op *op)
{
	struct vfs_request *request = op->request;
	struct vfs_object object = request->object;
	struct vfs_attr before = request->before[0], after = request->after[0];
	unsigned flags = request->flags;
	int result;

	if (request->op != VFS_CREATE || request->created || request->type != VFS_REGULAR ||
	    !(request->set.mask & VFS_SET_SIZE) || request->set.size != 0 ||
	    request->result_attr.size == 0)
		return 0;
	request->object = request->result_object;
	request->flags |= VFS_OPENED; /* rights were checked */
	request->set.mask = VFS_SET_SIZE;
	result = op_resize(op);
	request->result_attr = request->after[0];
	request->object = object;
	request->flags = flags;
	request->before[0] = before;
	request->after[0] = after;
	return result;
}

int share_request_run(struct op *op)
{
	struct vfs_request *request = op->request;
	struct store *store = op->share->store;
	bool changes = request->op == VFS_REMOVE || request->op == VFS_RENAME, held;
	int result;

	if (!table[request->op].run)
		return -EOPNOTSUPP;
	if (request->op == VFS_SETATTR && request->set.mask & VFS_SET_SIZE)
		return op_resize(op);
	if (table[request->op].how == FREE)
		return table[request->op].run(op);
	if (table[request->op].how == LOOK)
		return store_look(store, run_table, op);
	result = store_transact(store, run_table, op, &op->sequence);
	held = result == 0 && request->op == VFS_CREATE && request->flags & VFS_HOLD_RESULT;
	if (result == 0)
		result = store_wait(store, op->sequence);
	if (result == 0)
		result = cut_existing(op);
	if (held && result < 0) { /* whoever asked hears of no object, and lets go of none */
		store_lock(store);
		(void)unhold(op->share, op->object[1].number);
		store_unlock(store);
	}
	if (changes && result == 0) {
		store_lock(store);
		if (op->share->reap_wanted || op->share->discard_wanted)
			share_keeper_kick(op->share);
		store_unlock(store);
	}
	return result;
}

static void finish(struct vfs_request *request, int result)
{
	vfs_finish(request, result == -EUCLEAN ? -EIO : result);
}

/* Its objects are large, and filled as they are loaded. */
static void op_init(struct op *op, struct share *share, struct vfs_request *request)
{
	op->share = share;
	op->request = request;
	op->now = (int64_t)loop_wall(request->loop);
	op->sequence = 0;
}

/* What needs nothing but memory is done at once, without a worker. */
static bool try_now(struct share *share, struct vfs_request *request)
{
	struct op op;
	int result;

	if (!table[request->op].run || table[request->op].how != LOOK || !share->store ||
	    snapshots_concern(share, request))
		return false;
	op_init(&op, share, request);
	store_lock(share->store);
	result = run_table(&op);
	store_unlock(share->store);
	if (result == -EINPROGRESS)
		return false;
	finish(request, result);
	return true;
}

/* ---- workers ---- */
/* Changed by the lane's loop alone; share_stop() looks from another thread. */
static void count_workers(struct lane *lane, int change)
{
	__atomic_store_n(&lane->workers, lane->workers + (unsigned)change, __ATOMIC_RELEASE);
}

static void work(struct share *share, struct vfs_request *request)
{
	struct op op;

	op_init(&op, share, request);
	if (!share->store)
		finish(request, -EIO); /* it could not be opened again */
	else
		finish(request, snapshots_concern(share, request) ? snapshots_run(&op)
								  : share_request_run(&op));
}

static void worker_main(void *context)
{
	struct worker worker = {.lane = context, .fiber = fiber_current()};
	struct lane *lane = worker.lane;
	unsigned idle = 0;

	for (;;) {
		struct list *link = lane->paused ? NULL : list_pop_front(&lane->queue);

		if (link) {
			work(lane->share, list_entry(link, struct vfs_request, link));
			continue;
		}
		list_for_each (it, &lane->idle)
			idle++;
		if (idle >= WORKERS_IDLE || lane->share->stopping)
			break;
		idle = 0;
		list_push_front(&lane->idle, &worker.link);
		fiber_wait();
		if (worker.quit)
			break;
	}
	count_workers(lane, -1); /* the last word: share_stop() waits for it */
}

static struct lane *lane_of(struct share *share, struct loop *loop)
{
	unsigned count = __atomic_load_n(&share->lane_count, __ATOMIC_ACQUIRE);
	struct lane *lane = NULL;

	for (unsigned i = 0; i < count; i++)
		if (share->lane[i].loop == loop)
			return &share->lane[i];
	pthread_mutex_lock(&share->lanes_lock);
	if (share->lane_count < LANES_MAX) {
		lane = &share->lane[share->lane_count];
		lane->share = share;
		lane->loop = loop;
		lane->paused = share->pausing;
		list_init(&lane->idle);
		list_init(&lane->queue);
		__atomic_store_n(&share->lane_count, share->lane_count + 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&share->lanes_lock);
	return lane;
}

/* One worker more for what is in the queue. False: there is none, and none would ever come. */
static bool call_worker(struct lane *lane)
{
	struct list *link = list_pop_front(&lane->idle);

	if (link) {
		fiber_wake(list_entry(link, struct worker, link)->fiber);
	} else if (lane->workers < WORKERS_MAX) {
		count_workers(lane, 1);
		if (fiber_start(lane->loop, worker_main, lane) == 0)
			return true;
		count_workers(lane, -1);
		return lane->workers > 0;
	}
	return true;
}

static void submit(struct vfs *vfs, struct vfs_request *request)
{
	struct share *share = container_of(vfs, struct share, vfs);
	struct lane *lane = lane_of(share, request->loop);

	if (!lane) {
		finish(request, -ENOMEM);
		return;
	}
	if (lane->paused) {
		list_push_back(&lane->queue, &request->link);
		return;
	}
	if (try_now(share, request))
		return;
	list_push_back(&lane->queue, &request->link);
	if (!call_worker(lane)) {
		list_remove(&request->link);
		finish(request, -ENOMEM);
	}
}

/* ---- life ---- */
static void release(struct vfs *vfs)
{
	/* share_close() has the last word: its reference is the last */
	(void)vfs;
}

static const struct vfs_ops share_ops = {
    .name = "share",
    .submit = submit,
    .release = release,
};

static struct share *share_of(struct vfs *vfs)
{
	return container_of(vfs, struct share, vfs);
}

static int make_root(void *context)
{
	struct share *share = context;
	struct key key = inode_key(ROOT_INODE);
	struct inode root = {.attr = {.type = VFS_DIRECTORY,
				      .fileid = ROOT_INODE,
				      .mode = 0755,
				      .links = 2,
				      .change = 1},
			     .parent = ROOT_INODE};
	const uint8_t *value;
	size_t length;
	int result = btree_get(share->store, &key, &value, &length);

	if (result != -ENOENT)
		return result;
	root.attr.generation = (uint32_t)++share->store->counters[COUNT_GENERATION];
	root.attr.atime = root.attr.mtime = root.attr.ctime = root.attr.btime =
	    (int64_t)loop_wall(share->home);
	share->store->counters[COUNT_INODES]++;
	return inode_store(share, &root);
}

struct root {
	struct share *share;
	struct inode *inode;
};

static int look_root(void *context)
{
	struct root *root = context;
	int result = inode_load(root->share, ROOT_INODE, root->inode);

	if (result == 0 && root->inode->attr.type != VFS_DIRECTORY)
		result = -EUCLEAN;
	return result == -ENOENT ? -EUCLEAN : result;
}

int share_root(struct share *share, struct inode *ret_root)
{
	struct root root = {share, ret_root};

	return store_look(share->store, look_root, &root);
}

void share_fsstat_now(struct share *share, struct vfs_fsstat *ret_fsstat)
{
	store_lock(share->store);
	share_fsstat(share, ret_fsstat);
	store_unlock(share->store);
}

/* Another number with every opening, even where the count of them went back with the volume: it
 * takes the time in. */
uint64_t share_make_verifier(struct share *share)
{
	struct superblock *sb = &share->store->sb;
	uint8_t seed[24];

	memcpy(seed, sb->uuid, 8);
	put64(seed + 8, sb->mounts);
	put64(seed + 16, loop_wall(share->home));
	return siphash(sb->secret, seed, sizeof(seed));
}

static void setup(struct share *share, bool read_only)
{
	struct superblock *sb = &share->store->sb;
	uint64_t room = (sb->volume_blocks - sb->data_start) / 4096, window = 1;

	while (window < WINDOW_MAX && window * 2 <= room)
		window *= 2;
	share->window = (uint32_t)window;
	share->vfs =
	    (struct vfs){.ops = &share_ops,
			 .root_fileid = ROOT_INODE,
			 .file_max = VFS_FILE_MAX,
			 .link_max = 1000000,
			 .can = VFS_CAN_LINK | VFS_CAN_SYMLINK | VFS_CAN_XATTR | VFS_CAN_ACL |
				VFS_CAN_CLONE | VFS_CAN_ALLOCATE | VFS_CAN_SEEK,
			 .read_only = read_only,
			 .verifier = share_make_verifier(share),
			 .refs = 1};
	memcpy(share->vfs.uuid, sb->uuid, 16);
	memcpy(share->vfs.secret, sb->secret, 16);
}

static struct share *share_new(struct volume *volume, struct loop *loop)
{
	struct share *share = heap_zalloc(sizeof(*share));

	if (!share)
		return NULL;
	share->volume = volume_ref(volume);
	share->home = loop;
	for (unsigned i = 0; i < STATE_BUCKETS; i++)
		list_init(&share->states[i]);
	list_init(&share->drained);
	list_init(&share->keeper_sleeps);
	list_init(&share->space);
	pthread_mutex_init(&share->lanes_lock, NULL);
	snapshots_init(share);
	return share;
}

static void share_free(struct share *share)
{
	if (!share)
		return;
	snapshots_finish(share);
	pthread_mutex_destroy(&share->lanes_lock);
	store_free(share->store);
	volume_unref(share->volume);
	heap_free(share);
}

static void end_workers(struct message *message)
{
	struct lane *lane = container_of(message, struct lane, message);
	struct list *link;

	while ((link = list_pop_front(&lane->idle)) != NULL) {
		struct worker *worker = list_entry(link, struct worker, link);

		worker->quit = true;
		fiber_wake(worker->fiber);
	}
	__atomic_fetch_sub(&lane->share->pausing_left, 1, __ATOMIC_ACQ_REL);
}

static bool workers_left(const struct share *share)
{
	for (unsigned i = 0; i < share->lane_count; i++)
		if (__atomic_load_n(&share->lane[i].workers, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/* Requests that still run may wait for a checkpoint when there is no keeper any more. */
static bool checkpoint_is_left(struct share *share)
{
	bool left;

	if (!share->store)
		return false;
	store_lock(share->store);
	left = !share->keepers && share->store->checkpoint_wanted && !share->store->failed;
	store_unlock(share->store);
	return left;
}

/* One that nobody waits for; the store is its buffers'. */
static bool commit_is_left(struct share *share)
{
	bool left;

	if (!share->store)
		return false;
	store_lock(share->store);
	left = share->store->committing;
	store_unlock(share->store);
	return left;
}

/* No keeper, no workers any more, and no lane's message on its way: it is posted again, or freed,
 * right afterwards. */
void share_stop(struct share *share)
{
	unsigned count;

	if (share->store) {
		store_lock(share->store);
		share->stopping = true;
		share_keeper_kick(share);
		store_unlock(share->store);
	}
	share->stopping = true;
	pthread_mutex_lock(&share->lanes_lock);
	count = share->lane_count;
	pthread_mutex_unlock(&share->lanes_lock);
	__atomic_store_n(&share->pausing_left, count, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < count; i++)
		loop_post(share->lane[i].loop, &share->lane[i].message, end_workers);
	while (__atomic_load_n(&share->pausing_left, __ATOMIC_ACQUIRE) || workers_left(share) ||
	       __atomic_load_n(&share->keepers, __ATOMIC_ACQUIRE) || share->keeper_posted ||
	       commit_is_left(share)) {
		if (checkpoint_is_left(share))
			(void)store_checkpoint(share->store, false);
		fiber_sleep(1000000);
	}
}

/* What is done before anything is served. */
int share_go(struct share *share, bool read_only)
{
	struct inode root;
	int result = 0;

	/* an inode number may come again after a rollback; with the same generation it does not */
	share->salt = (uint32_t)share_make_verifier(share);
	share->unshared = 0; /* sequences of this store */
	if (!read_only)
		result = store_transact(share->store, make_root, share, NULL);
	if (result == 0)
		result = share_root(share, &root);
	if (result == 0)
		share->vfs.root = object_make(&root);
	if (result == 0 && !read_only)
		result = share_keeper_start(share);
	if (result == 0 && !read_only)
		result = share_keeper_finish_truncations(share);
	return result;
}

int share_can_not_open(struct share *share, int result, struct err *err)
{
	return err_set(err, result, "the share on volume %s can not be opened",
		       share->volume->name);
}

static int open_to(struct share *share, bool read_only, struct err *err)
{
	struct store_options options = {
	    .volume = share->volume, .loop = share->home, .read_only = read_only};
	int result = store_open(&options, &share->store, err);

	if (result)
		return result;
	setup(share, read_only);
	result = share_go(share, read_only);
	if (result == 0)
		return 0;
	share_not_open(share);
	return share_can_not_open(share, result, err);
}

/* In a full pool it is read, and takes changes when there is space. */
static int open_share(struct share *share, struct share_call *call)
{
	struct err err = {0};
	int result = open_to(share, call->read_only, &call->err);

	if (result != -ENOSPC || call->read_only || open_to(share, true, &err))
		return result;
	share->vfs.read_only = false;
	share_no_space(share);
	log_warning("%s: it takes no changes until its pool has space", call->err.text);
	share_revive(share);
	return 0;
}

int share_view_open(struct volume *volume, struct loop *loop, struct share **ret_view)
{
	struct store_options options = {
	    .volume = volume, .loop = loop, .read_only = true, .node_max = VIEW_PAGES};
	struct share *view = share_new(volume, loop);
	struct err err = {0};
	int result = view ? store_open(&options, &view->store, &err) : -ENOMEM;

	if (result == 0) {
		setup(view, true);
		result = share_go(view, true);
	}
	if (result == 0) {
		*ret_view = view;
		return 0;
	}
	log_warning("snapshot %s can not be looked into: %s", volume->name,
		    err.text[0] ? err.text : strerror(-result));
	share_free(view);
	return result;
}

void share_view_close(struct share *view)
{
	share_free(view);
}

static void open_main(void *context)
{
	struct share_call *call = context;
	struct share *share = share_new(call->volume, call->loop);
	int result = share ? open_share(share, call) : err_set(&call->err, -ENOMEM, "no memory");

	if (result)
		share_free(share);
	else
		call->vfs = &share->vfs;
	call->done(call, result);
}

/* Each call runs in a fiber of its loop. */
static void start(struct share_call *call, struct loop *loop, void (*main)(void *context))
{
	call->loop = loop;
	if (fiber_start(loop, main, call) < 0)
		call->done(call, err_set(&call->err, -ENOMEM, "no memory for a fiber"));
}

void share_open(struct volume *volume, struct loop *loop, bool read_only, struct share_call *call)
{
	call->volume = volume;
	call->read_only = read_only;
	start(call, loop, open_main);
}

/* 0: by the volume's size. A log is no more than a 256th of the pool, so that it finds room in what
 * a full one keeps back (VOLUME_VITAL). */
static uint64_t log_blocks_for(const struct volume *volume)
{
	uint64_t by_volume = volume->size_bytes / BLOCK_SIZE / 64, by_pool;
	struct pool_info info = {0};

	if (volume->pool)
		pool_get_info(volume->pool, &info);
	by_pool = info.size_bytes / BLOCK_SIZE / 256;
	return by_pool && by_pool < by_volume ? by_pool : 0;
}

static void format_main(void *context)
{
	struct share_call *call = context;
	struct store_options options = {.volume = call->volume,
					.loop = call->loop,
					.log_blocks = log_blocks_for(call->volume),
					.quota_blocks = call->quota_bytes / BLOCK_SIZE};
	struct share *share;
	int result = store_format(&options, call->uuid, call->secret, &call->err);

	/* opened once, so that the root is there */
	share = result == 0 ? share_new(call->volume, call->loop) : NULL;
	if (result == 0 && !share)
		result = err_set(&call->err, -ENOMEM, "no memory");
	if (result == 0)
		result = store_open(&options, &share->store, &call->err);
	if (result == 0)
		result = store_transact(share->store, make_root, share, NULL);
	if (result == 0)
		result = store_close(share->store);
	share_free(share);
	call->done(call, result);
}

void share_format(struct volume *volume, struct loop *loop, uint64_t quota_bytes,
		  struct share_call *call)
{
	call->volume = volume;
	call->quota_bytes = quota_bytes;
	loop_random(loop, call->uuid, sizeof(call->uuid));
	loop_random(loop, call->secret, sizeof(call->secret));
	start(call, loop, format_main);
}

static void probe_main(void *context)
{
	struct share_call *call = context;
	struct superblock sb;
	int result = share_superblock_read(call->volume, &sb, &call->err);

	call->done(call, result == 0 ? 1 : result == -EPROTO ? 0 : result);
}

void share_probe(struct volume *volume, struct loop *loop, struct share_call *call)
{
	call->volume = volume;
	start(call, loop, probe_main);
}

/* ---- closing ---- */
static void close_main(void *context)
{
	struct share_call *call = context;
	struct share *share = call->share;
	int result;

	restores_end(share);
	while (share->reviving)
		fiber_sleep(1000000);
	if (__atomic_load_n(&share->vfs.refs, __ATOMIC_ACQUIRE) != 1) {
		share->restores_end = false;
		share_revive(share); /* that ended, too */
		call->done(call, err_set(&call->err, -EBUSY, "the share is in use"));
		return;
	}
	snapshots_close(share);
	share_stop(share);
	result = share->store ? store_close(share->store) : -EIO;
	if (result)
		err_set(&call->err, result, "the share on volume %s was not closed cleanly",
			share->volume->name);
	share_free(share);
	call->done(call, result);
}

void share_close(struct vfs *vfs, struct share_call *call)
{
	call->share = share_of(vfs);
	start(call, call->share->home, close_main);
}

/* ---- pausing ---- */
static void lane_pause(struct message *message)
{
	struct lane *lane = container_of(message, struct lane, message);

	lane->paused = true;
	__atomic_fetch_sub(&lane->share->pausing_left, 1, __ATOMIC_ACQ_REL);
}

static void lane_go_on(struct message *message)
{
	struct lane *lane = container_of(message, struct lane, message);
	unsigned waiting = 0;
	bool hopeless = false;

	lane->paused = false;
	list_for_each (it, &lane->queue)
		waiting++;
	while (waiting-- && !hopeless)
		hopeless = !call_worker(lane);
	while (hopeless && !list_empty(&lane->queue))
		finish(list_entry(list_pop_front(&lane->queue), struct vfs_request, link), -ENOMEM);
	__atomic_fetch_sub(&lane->share->pausing_left, 1, __ATOMIC_ACQ_REL);
}

/* Every lane, and those that come meanwhile. */
static void tell_lanes(struct share *share, bool pausing, void (*run)(struct message *message))
{
	unsigned count;

	pthread_mutex_lock(&share->lanes_lock);
	share->pausing = pausing;
	count = share->lane_count;
	pthread_mutex_unlock(&share->lanes_lock);
	__atomic_store_n(&share->pausing_left, count, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < count; i++)
		loop_post(share->lane[i].loop, &share->lane[i].message, run);
	while (__atomic_load_n(&share->pausing_left, __ATOMIC_ACQUIRE))
		fiber_sleep(100000);
}

void share_pause(struct share *share)
{
	tell_lanes(share, true, lane_pause);
}

void share_go_on(struct share *share)
{
	tell_lanes(share, false, lane_go_on);
}

/* A call on an open share has a reference of its own: the share is not closed under it. */
void share_start_on(struct vfs *vfs, struct share_call *call, void (*main)(void *context))
{
	call->share = share_of(vfs_ref(vfs));
	call->loop = call->share->home;
	call->share->calls++;
	if (fiber_start(call->loop, main, call) == 0)
		return;
	call->share->calls--;
	vfs_unref(vfs);
	call->done(call, err_set(&call->err, -ENOMEM, "no memory for a fiber"));
}

void share_ended(struct share_call *call, int result)
{
	call->share->calls--;
	vfs_unref(&call->share->vfs);
	call->done(call, result);
}

void share_show_snapshots(struct vfs *vfs, enum share_snapshots how)
{
	__atomic_store_n(&share_of(vfs)->snapshots.how, how, __ATOMIC_RELAXED);
}

void share_get_info(struct vfs *vfs, struct share_info *ret_info)
{
	struct store *store = share_of(vfs)->store;

	*ret_info = (struct share_info){.failed = true};
	if (!store) /* on its way back, or it did not come back */
		return;
	store_lock(store);
	*ret_info = (struct share_info){
	    .quota_bytes = store->quota_blocks * BLOCK_SIZE,
	    .used_bytes = store->counters[COUNT_USED_BLOCKS] * BLOCK_SIZE,
	    .files = store->counters[COUNT_INODES],
	    .commits = store->commits,
	    .checkpoints = store->checkpoints,
	    .read_only = store->read_only,
	    .failed = store->failed,
	    .no_space = store->failed && store->error == -ENOSPC,
	    .mirror = store->volume->mirror,
	};
	store_unlock(store);
}

static bool is_open(const struct share *share)
{
	return share->store && !share->going_back;
}

/* On its way back, or it did not come back. */
static void not_open(struct share_call *call)
{
	share_ended(call, err_set(&call->err, -EIO, "the share is not open"));
}

static void quota_main(void *context)
{
	struct share_call *call = context;
	struct share *share = call->share;
	int result;

	if (!is_open(share)) {
		not_open(call);
		return;
	}
	if (call->dry) {
		share_ended(call, 0);
		return;
	}
	store_lock(share->store);
	share->store->quota_blocks = call->quota_bytes / BLOCK_SIZE;
	store_unlock(share->store);
	result = store_checkpoint(share->store, false);
	share_ended(call, result ? err_set(&call->err, result, "the quota can not be stored") : 0);
}

void share_set_quota(struct vfs *vfs, uint64_t quota_bytes, struct share_call *call)
{
	call->quota_bytes = quota_bytes;
	share_start_on(vfs, call, quota_main);
}

static int limit_body(void *context)
{
	struct share_call *call = context;

	return users_limit(call->share, &call->user);
}

static void user_main(void *context)
{
	struct share_call *call = context;
	struct share *share = call->share;
	uint64_t sequence;
	int result;

	if (!is_open(share)) {
		not_open(call);
		return;
	}
	result = users_start(share);
	if (result == 0)
		result = store_transact(share->store, limit_body, call, &sequence);
	if (result == 0)
		result = store_wait(share->store, sequence);
	share_ended(call, result == -E2BIG
			      ? err_set(&call->err, result, "its files have more than 4096 owners")
			  : result ? err_set(&call->err, result, "the limit can not be stored")
				   : 0);
}

void share_set_user(struct vfs *vfs, const struct share_user *user, struct share_call *call)
{
	call->user = *user;
	share_start_on(vfs, call, user_main);
}

/* 1: more to see. */
static int list_body(void *context)
{
	struct share_call *call = context;
	uint64_t from = call->user_count ? call->users[call->user_count - 1].uid + 1ull : 0;
	unsigned steps = 0;
	int result = 0;

	while (call->user_count < call->user_room) {
		struct share_user *user = &call->users[call->user_count];

		if (steps++ == LIST_STEP)
			return 1;
		result = users_next(call->share, from, user);
		if (result)
			break;
		from = user->uid + 1ull;
		call->user_count++;
	}
	return result == -ENOENT ? 0 : result;
}

static void list_main(void *context)
{
	struct share_call *call = context;
	int result;

	if (!is_open(call->share)) {
		not_open(call);
		return;
	}
	do
		result = store_look(call->share->store, list_body, call);
	while (result == 1);
	share_ended(call, result ? err_set(&call->err, result, "the users can not be read") : 0);
}

void share_list_users(struct vfs *vfs, struct share_user *users, unsigned room,
		      struct share_call *call)
{
	call->users = users;
	call->user_room = room;
	call->user_count = 0;
	share_start_on(vfs, call, list_main);
}

static void check_main(void *context)
{
	struct share_call *call = context;
	int result;

	if (!is_open(call->share)) {
		not_open(call);
		return;
	}
	result = store_check(call->share->store, call->report);
	share_ended(call, result ? err_set(&call->err, result, "the share can not be read") : 0);
}

void share_check(struct vfs *vfs, struct share_check_report *report, struct share_call *call)
{
	call->report = report;
	share_start_on(vfs, call, check_main);
}

static void check_volume_main(void *context)
{
	struct share_call *call = context;
	struct store_options options = {
	    .volume = call->volume, .loop = call->loop, .read_only = true};
	struct store *store;
	int result = store_open(&options, &store, &call->err);

	if (result == 0) {
		result = store_check(store, call->report);
		store_free(store);
		if (result)
			err_set(&call->err, result, "the share can not be read");
	}
	call->done(call, result);
}

void share_check_volume(struct volume *volume, struct loop *loop, struct share_check_report *report,
			struct share_call *call)
{
	call->volume = volume;
	call->report = report;
	start(call, loop, check_volume_main);
}
