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

static int run(struct op *op)
{
	struct vfs_request *request = op->request;
	struct store *store = op->share->store;
	bool changes = request->op == VFS_REMOVE || request->op == VFS_RENAME;
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
	if (result == 0)
		result = store_wait(store, op->sequence);
	if (result == 0)
		result = cut_existing(op);
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

	if (!table[request->op].run || table[request->op].how != LOOK)
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
static void work(struct share *share, struct vfs_request *request)
{
	struct op op;

	op_init(&op, share, request);
	finish(request, run(&op));
}

static void worker_main(void *context)
{
	struct worker worker = {.lane = context, .fiber = fiber_current()};
	struct lane *lane = worker.lane;
	unsigned idle = 0;

	for (;;) {
		struct list *link = list_pop_front(&lane->queue);

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
	lane->workers--;
}

static struct lane *lane_of(struct share *share, struct loop *loop)
{
	unsigned count = __atomic_load_n(&share->lane_count, __ATOMIC_ACQUIRE);
	struct lane *lane = NULL;

	for (unsigned i = 0; i < count; i++)
		if (share->lane[i].loop == loop)
			return &share->lane[i];
	store_lock(share->store);
	if (share->lane_count < LANES_MAX) {
		lane = &share->lane[share->lane_count];
		lane->share = share;
		lane->loop = loop;
		list_init(&lane->idle);
		list_init(&lane->queue);
		__atomic_store_n(&share->lane_count, share->lane_count + 1, __ATOMIC_RELEASE);
	}
	store_unlock(share->store);
	return lane;
}

static void submit(struct vfs *vfs, struct vfs_request *request)
{
	struct share *share = container_of(vfs, struct share, vfs);
	struct lane *lane = lane_of(share, request->loop);
	struct list *link;

	if (!lane) {
		finish(request, -ENOMEM);
		return;
	}
	if (try_now(share, request))
		return;
	list_push_back(&lane->queue, &request->link);
	link = list_pop_front(&lane->idle);
	if (link) {
		fiber_wake(list_entry(link, struct worker, link)->fiber);
	} else if (lane->workers < WORKERS_MAX) {
		lane->workers++;
		if (fiber_start(lane->loop, worker_main, lane) == 0)
			return;
		if (--lane->workers == 0) { /* nobody would ever come */
			list_remove(&request->link);
			finish(request, -ENOMEM);
		}
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

static int look_root(void *context)
{
	struct share *share = context;
	struct inode root;
	int result = inode_load(share, ROOT_INODE, &root);

	if (result == 0 && root.attr.type != VFS_DIRECTORY)
		result = -EUCLEAN;
	if (result == 0)
		share->vfs.root = object_make(&root);
	return result == -ENOENT ? -EUCLEAN : result;
}

static void setup(struct share *share, struct share_call *call)
{
	struct superblock *sb = &share->store->sb;
	uint64_t room = (sb->volume_blocks - sb->data_start) / 4096, window = 1;
	uint8_t seed[16];

	while (window < WINDOW_MAX && window * 2 <= room)
		window *= 2;
	share->window = (uint32_t)window;
	memcpy(seed, sb->uuid, 8);
	put64(seed + 8, sb->mounts);
	share->vfs = (struct vfs){.ops = &share_ops,
				  .root_fileid = ROOT_INODE,
				  .file_max = VFS_FILE_MAX,
				  .link_max = 1000000,
				  /* ALLOCATE sets addresses and quota aside, but no space of the
				   * pool, so nobody is told that it can be relied on. */
				  .can = VFS_CAN_LINK | VFS_CAN_SYMLINK | VFS_CAN_XATTR |
					 VFS_CAN_ACL | VFS_CAN_SEEK,
				  .read_only = call->read_only,
				  .verifier = siphash(sb->secret, seed, sizeof(seed)),
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
	return share;
}

static void share_free(struct share *share)
{
	if (!share)
		return;
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
}

static bool workers_left(const struct share *share)
{
	for (unsigned i = 0; i < share->lane_count; i++)
		if (__atomic_load_n(&share->lane[i].workers, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/* No keeper, no workers any more. */
static void stop(struct share *share)
{
	store_lock(share->store);
	share->stopping = true;
	share_keeper_kick(share);
	store_unlock(share->store);
	for (unsigned i = 0; i < share->lane_count; i++)
		loop_post(share->lane[i].loop, &share->lane[i].message, end_workers);
	while (workers_left(share) || __atomic_load_n(&share->keepers, __ATOMIC_ACQUIRE))
		fiber_sleep(1000000);
}

static int open_share(struct share *share, struct share_call *call)
{
	struct store_options options = {
	    .volume = share->volume, .loop = share->home, .read_only = call->read_only};
	int result = store_open(&options, &share->store, &call->err);

	if (result)
		return result;
	setup(share, call);
	if (!call->read_only)
		result = store_transact(share->store, make_root, share, NULL);
	if (result == 0)
		result = store_look(share->store, look_root, share);
	if (result == 0 && !call->read_only)
		result = share_keeper_start(share);
	if (result == 0 && !call->read_only)
		result = share_keeper_finish_truncations(share);
	if (result)
		stop(share);
	return result ? err_set(&call->err, result, "the share on volume %s can not be opened",
				share->volume->name)
		      : 0;
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

static void format_main(void *context)
{
	struct share_call *call = context;
	struct store_options options = {.volume = call->volume,
					.loop = call->loop,
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

	stop(share);
	result = store_close(share->store);
	if (result)
		err_set(&call->err, result, "the share on volume %s was not closed cleanly",
			share->volume->name);
	share_free(share);
	call->done(call, result);
}

void share_close(struct vfs *vfs, struct share_call *call)
{
	call->share = share_of(vfs);
	if (__atomic_load_n(&vfs->refs, __ATOMIC_ACQUIRE) != 1) {
		call->done(call, err_set(&call->err, -EBUSY, "the share is in use"));
		return;
	}
	start(call, call->share->home, close_main);
}

void share_get_info(struct vfs *vfs, struct share_info *ret_info)
{
	struct store *store = share_of(vfs)->store;

	store_lock(store);
	*ret_info = (struct share_info){
	    .quota_bytes = store->quota_blocks * BLOCK_SIZE,
	    .used_bytes = store->counters[COUNT_USED_BLOCKS] * BLOCK_SIZE,
	    .files = store->counters[COUNT_INODES],
	    .commits = store->commits,
	    .checkpoints = store->checkpoints,
	    .read_only = store->read_only,
	    .failed = store->failed,
	};
	store_unlock(store);
}

static void quota_main(void *context)
{
	struct share_call *call = context;
	struct share *share = call->share;
	int result;

	store_lock(share->store);
	share->store->quota_blocks = call->quota_bytes / BLOCK_SIZE;
	store_unlock(share->store);
	result = store_checkpoint(share->store, false);
	call->done(call, result ? err_set(&call->err, result, "the quota can not be stored") : 0);
}

void share_set_quota(struct vfs *vfs, uint64_t quota_bytes, struct share_call *call)
{
	call->share = share_of(vfs);
	call->quota_bytes = quota_bytes;
	start(call, call->share->home, quota_main);
}

static void check_main(void *context)
{
	struct share_call *call = context;
	int result = store_check(call->share->store, call->report);

	call->done(call, result ? err_set(&call->err, result, "the share can not be read") : 0);
}

void share_check(struct vfs *vfs, struct share_check_report *report, struct share_call *call)
{
	call->share = share_of(vfs);
	call->report = report;
	start(call, call->share->home, check_main);
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
