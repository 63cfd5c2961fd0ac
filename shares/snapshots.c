/* SPDX-License-Identifier: Apache-2.0 */
/* snapshots.c: `.snapshot`, a directory in the root of a share with a directory for each snapshot
 * of its volume: the share as it was, read-only.
 *
 * A snapshot is opened like a share that was cut off at that instant: its log is replayed in memory
 * and nothing is written (a view). Views are opened by the home loop when somebody comes by, kept
 * while they are used, closed when they have been idle, when there are too many, and when the
 * snapshot is to be deleted. What is in a view is read by the worker that has the request, as if it
 * were the share's own.
 *
 * Identities: an object inside is its own identity and behind it 8 bytes of the snapshot's UUID,
 * so it is stale once the snapshot is gone, and a snapshot of the same name is another one. The
 * directory itself is inode 1, which no object has. fileids of one share are told apart by their
 * upper half.
 *
 * snapshots->lock is for the list of views and their users, on all loops; the rest of struct
 * snapshots is the home loop's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "shares/internal.h"
#include "volumes/pool.h"

#define DIRECTORY_NAME   ".snapshot"
#define DIRECTORY_LENGTH 9u
#define DIRECTORY_INODE  1ull
#define DIRECTORY_COOKIE 3ull /* in the root; entries of a share have larger ones */
#define INNER_BYTES      12u
#define INSIDE_BYTES     (INNER_BYTES + 8u)
#define POLL_NS          1000000ull
#define LOOK_ROUND_NS    (5 * 1000000000ull)
#define LEAVE_NS         (3 * 1000000000ull) /* longer than the pool waits */
#define IDLE_NS          (30 * 1000000000ull)
#define READ_RIGHTS                                                                                \
	(VFS_READ_DATA | VFS_READ_NAMED | VFS_EXECUTE | VFS_READ_ATTRIBUTES | VFS_READ_ACL |       \
	 VFS_SYNCHRONIZE)

/* A snapshot of the share's volume; by id. */
struct snap {
	uint64_t id;
	char name[SNAPSHOT_NAME_MAX + 1];
	bool root_known;
	struct vfs_object root; /* as seen from outside */
	struct vfs_attr attr;
};

struct view {
	struct list link;
	struct snapshots *snapshots;
	struct share *share; /* the one that was; without workers, without a keeper */
	uint64_t id, used_ns;
	unsigned users;
	bool leaving; /* is not found any more */
	struct volume_watcher watcher;
};

/* ---- identities ---- */
enum place { OUTSIDE, DIRECTORY, INSIDE };

static enum place place_of(const struct vfs_object *object)
{
	if (object->length == INSIDE_BYTES)
		return INSIDE;
	return object->length == INNER_BYTES && get64(object->bytes) == DIRECTORY_INODE ? DIRECTORY
											: OUTSIDE;
}

static struct vfs_object directory_object(void)
{
	struct vfs_object object = {.length = INNER_BYTES};

	put64(object.bytes, DIRECTORY_INODE);
	return object;
}

static uint64_t id_of(const struct volume *volume)
{
	return get64(volume->identity.uuid);
}

static uint64_t fileid_outside(uint64_t fileid, uint64_t id)
{
	return fileid ^ (1ull << 62 | (id << 32 & INT64_MAX));
}

static void object_outside(struct vfs_object *object, uint64_t id)
{
	if (object->length != INNER_BYTES)
		return;
	put64(object->bytes + INNER_BYTES, id);
	object->length = INSIDE_BYTES;
}

static void attr_outside(struct vfs_attr *attr, uint64_t id)
{
	if (attr->type != VFS_NONE)
		attr->fileid = fileid_outside(attr->fileid, id);
}

static uint64_t cookie_of(uint64_t id)
{
	return (id >> 2) + 256; /* cookies are below INT64_MAX */
}

/* ---- errands: work that the home loop does for a worker ---- */
struct errand {
	struct op *op;
	int (*run)(struct errand *errand);
	uint64_t id;
	struct view *view;
	int result;
	bool done;
	struct fiber *fiber;
	struct loop *loop;
	struct message message;
};

static void errand_back(struct message *message)
{
	struct errand *errand = container_of(message, struct errand, message);

	errand->done = true;
	fiber_wake(errand->fiber);
}

static void errand_main(void *context)
{
	struct errand *errand = context;

	errand->result = errand->run(errand);
	loop_post(errand->loop, &errand->message, errand_back);
}

static void errand_there(struct message *message)
{
	struct errand *errand = container_of(message, struct errand, message);

	if (fiber_start(loop_current(), errand_main, errand) == 0)
		return;
	errand->result = -ENOMEM;
	loop_post(errand->loop, &errand->message, errand_back);
}

static int errand_do(struct errand *errand)
{
	errand->fiber = fiber_current();
	errand->loop = loop_current();
	loop_post(errand->op->share->home, &errand->message, errand_there);
	while (!errand->done)
		fiber_wait();
	return errand->result;
}

/* ---- views ---- */
static struct view *view_find(struct share *share, uint64_t id)
{
	struct snapshots *snapshots = &share->snapshots;
	struct view *found = NULL;

	pthread_mutex_lock(&snapshots->lock);
	list_for_each (it, &snapshots->views) {
		struct view *view = list_entry(it, struct view, link);

		if (view->id != id || view->leaving)
			continue;
		found = view;
		found->users++;
		found->used_ns = loop_now(loop_current());
		list_remove(&found->link);
		list_push_front(&snapshots->views, &found->link);
		break;
	}
	pthread_mutex_unlock(&snapshots->lock);
	return found;
}

static void view_put(struct view *view)
{
	pthread_mutex_lock(&view->snapshots->lock);
	view->users--;
	pthread_mutex_unlock(&view->snapshots->lock);
}

static unsigned users_of(struct view *view)
{
	unsigned users;

	pthread_mutex_lock(&view->snapshots->lock);
	users = view->users;
	pthread_mutex_unlock(&view->snapshots->lock);
	return users;
}

static void view_free(struct view *view)
{
	volume_unwatch(&view->watcher);
	share_view_close(view->share);
	heap_free(view);
}

static void view_end_main(void *context)
{
	struct view *view = context;
	struct snapshots *snapshots = view->snapshots;

	while (users_of(view))
		fiber_sleep(POLL_NS);
	pthread_mutex_lock(&snapshots->lock);
	list_remove(&view->link);
	pthread_mutex_unlock(&snapshots->lock);
	view_free(view);
	snapshots->view_count--;
}

/* It is not found from now on, and goes when its last user has gone. */
static void view_end(struct view *view)
{
	bool already;

	pthread_mutex_lock(&view->snapshots->lock);
	already = view->leaving;
	view->leaving = true;
	pthread_mutex_unlock(&view->snapshots->lock);
	if (already || fiber_start(loop_current(), view_end_main, view) == 0)
		return;
	view->leaving = false; /* the next round tries again */
}

/* It is being deleted: who asks for it now waits until it is gone, or has been left after all;
 * otherwise readers would open it again and again under who deletes it. */
static void leave(struct snapshots *snapshots, uint64_t id)
{
	unsigned at = snapshots->leaving_next++ % VIEWS_MAX;

	snapshots->leaving[at].id = id;
	snapshots->leaving[at].until_ns = loop_now(snapshots->timer.loop) + LEAVE_NS;
}

static bool is_leaving(const struct snapshots *snapshots, uint64_t id)
{
	for (unsigned i = 0; i < VIEWS_MAX; i++)
		if (snapshots->leaving[i].id == id &&
		    snapshots->leaving[i].until_ns > loop_now(snapshots->timer.loop))
			return true;
	return false;
}

static void snapshot_changed(struct volume_watcher *watcher, struct volume *volume,
			     enum volume_change change)
{
	struct view *view = container_of(watcher, struct view, watcher);

	(void)volume;
	if (change != VOLUME_LEAVING)
		return;
	leave(view->snapshots, view->id);
	if (view->share)
		view_end(view);
	else
		view->leaving = true; /* being opened: nobody else knows of it */
}

/* Home loop. The view that was used longest ago, at least @idle ns; NULL: none. */
static struct view *oldest_view(struct snapshots *snapshots, uint64_t idle)
{
	uint64_t now = loop_now(snapshots->timer.loop);
	struct view *oldest = NULL;

	pthread_mutex_lock(&snapshots->lock);
	list_for_each (it, &snapshots->views) {
		struct view *view = list_entry(it, struct view, link);

		if (!view->leaving && (!idle || (!view->users && now - view->used_ns >= idle)))
			oldest = view; /* most recent first */
	}
	pthread_mutex_unlock(&snapshots->lock);
	return oldest;
}

static void look_round(struct timer *timer)
{
	struct snapshots *snapshots = container_of(timer, struct snapshots, timer);
	struct view *view = oldest_view(snapshots, IDLE_NS);

	if (view)
		view_end(view);
	if (snapshots->view_count)
		timer_start(&snapshots->timer, LOOK_ROUND_NS);
}

static void make_room(struct snapshots *snapshots)
{
	while (snapshots->view_count >= VIEWS_MAX) {
		struct view *view = oldest_view(snapshots, 0);

		if (view)
			view_end(view);
		while (snapshots->view_count >= VIEWS_MAX)
			fiber_sleep(POLL_NS);
	}
}

static struct volume *volume_by_id(struct share *share, uint64_t id)
{
	struct volume *volume = NULL;

	if (!share->volume->pool)
		return NULL;
	while ((volume = snapshot_next(share->volume, volume)) && id_of(volume) != id)
		;
	return volume;
}

static bool is_there(struct share *share, uint64_t id)
{
	struct volume *volume = volume_by_id(share, id);

	volume_unref(volume);
	return volume != NULL;
}

static int view_make(struct share *share, struct volume *volume, struct view **ret_view)
{
	struct view *view = heap_zalloc(sizeof(*view));
	int result;

	if (!view)
		return -ENOMEM;
	view->snapshots = &share->snapshots;
	view->id = id_of(volume);
	view->users = 1;
	view->used_ns = loop_now(share->home);
	view->watcher.changed = snapshot_changed;
	list_init(&view->watcher.link);
	volume_watch(volume, &view->watcher);
	result = share_view_open(volume, share->home, &view->share);
	if (result == 0 && view->leaving)
		result = -ESTALE;
	if (result) {
		view_free(view);
		return result;
	}
	*ret_view = view;
	return 0;
}

/* Home loop, in a fiber. With one user more. */
static int view_open(struct share *share, uint64_t id, struct view **ret_view)
{
	struct snapshots *snapshots = &share->snapshots;
	struct volume *volume;
	struct view *view;
	int result;

	while (snapshots->opening || (is_leaving(snapshots, id) && is_there(share, id)))
		fiber_sleep(POLL_NS);
	*ret_view = view_find(share, id);
	if (*ret_view)
		return 0;
	snapshots->opening = true;
	make_room(snapshots);
	volume = volume_by_id(share, id);
	result = volume ? view_make(share, volume, &view) : -ESTALE;
	volume_unref(volume);
	snapshots->opening = false;
	if (result)
		return result;
	pthread_mutex_lock(&snapshots->lock);
	list_push_front(&snapshots->views, &view->link);
	pthread_mutex_unlock(&snapshots->lock);
	snapshots->view_count++;
	if (!timer_active(&snapshots->timer))
		timer_start(&snapshots->timer, LOOK_ROUND_NS);
	*ret_view = view;
	return 0;
}

static int open_errand(struct errand *errand)
{
	return view_open(errand->op->share, errand->id, &errand->view);
}

static int view_get(struct op *op, uint64_t id, struct view **ret_view)
{
	struct errand errand = {.op = op, .run = open_errand, .id = id};
	int result = 0;

	errand.view = view_find(op->share, id);
	if (!errand.view)
		result = errand_do(&errand);
	*ret_view = errand.view;
	return result;
}

int snapshots_try(struct share *share, struct volume *snapshot)
{
	struct view *view;
	int result = view_open(share, id_of(snapshot), &view);

	if (result == 0)
		view_put(view);
	return result;
}

/* ---- the list ---- */
static int compare_snaps(const void *a, const void *b)
{
	const struct snap *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static struct snap *snap_by_id(struct snapshots *snapshots, uint64_t id)
{
	struct snap key = {.id = id};

	return snapshots->count
		   ? bsearch(&key, snapshots->snaps, snapshots->count, sizeof(key), compare_snaps)
		   : NULL;
}

static unsigned count_snapshots(struct share *share)
{
	struct volume *volume = NULL;
	unsigned count = 0;

	while (share->volume->pool && (volume = snapshot_next(share->volume, volume)))
		count++;
	return count;
}

static bool same_snaps(const struct snapshots *snapshots, const struct snap *snaps, unsigned count)
{
	if (count != snapshots->count)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (snaps[i].id != snapshots->snaps[i].id ||
		    strcmp(snaps[i].name, snapshots->snaps[i].name) != 0)
			return false;
	return true;
}

/* Who caches the directory sees by its times that it has changed. */
static void changed_now(struct share *share)
{
	int64_t now = (int64_t)loop_wall(share->home);

	share->snapshots.changed_ns =
	    now > share->snapshots.changed_ns ? now : share->snapshots.changed_ns + 1;
}

static int snaps_look(struct share *share)
{
	struct snapshots *snapshots = &share->snapshots;
	unsigned room = count_snapshots(share), count = 0;
	struct snap *snaps = heap_zalloc_array(room + 1, sizeof(*snaps));
	struct volume *volume = NULL;
	struct snapshot_info info;

	if (!snaps)
		return -ENOMEM;
	while (count < room && (volume = snapshot_next(share->volume, volume))) {
		const struct snap *before = snap_by_id(snapshots, id_of(volume));

		if (!snapshot_get_info(volume, &info))
			continue;
		if (before)
			snaps[count] = *before;
		snaps[count].id = id_of(volume);
		memcpy(snaps[count].name, info.name, sizeof(snaps[count].name));
		count++;
	}
	volume_unref(volume);
	qsort(snaps, count, sizeof(*snaps), compare_snaps);
	if (!snapshots->changed_ns || !same_snaps(snapshots, snaps, count))
		changed_now(share);
	heap_free(snapshots->snaps);
	snapshots->snaps = snaps;
	snapshots->count = count;
	return 0;
}

static struct vfs_attr directory_attr(const struct share *share)
{
	int64_t when = share->snapshots.changed_ns;

	return (struct vfs_attr){.type = VFS_DIRECTORY,
				 .mode = 0555,
				 .links = 2 + share->snapshots.count,
				 .fileid = DIRECTORY_INODE,
				 .size = BLOCK_SIZE,
				 .change = (uint64_t)when,
				 .atime = when,
				 .mtime = when,
				 .ctime = when,
				 .btime = when};
}

/* Fills the root of the snapshot that had @id, if it is still there. */
static int snap_root(struct share *share, uint64_t id)
{
	struct snap *snap = snap_by_id(&share->snapshots, id);
	struct view *view;
	struct inode root;
	int result;

	if (!snap)
		return -ENOENT;
	if (snap->root_known)
		return 0;
	result = view_open(share, id, &view);
	if (result)
		return result;
	result = share_root(view->share, &root);
	view_put(view);
	snap = snap_by_id(&share->snapshots, id); /* the list may be another one now */
	if (result || !snap)
		return result ? result : -ENOENT;
	snap->root = object_make(&root);
	object_outside(&snap->root, id);
	snap->attr = root.attr;
	attr_outside(&snap->attr, id);
	snap->root_known = true;
	return 0;
}

/* ---- the directory's own operations, on the home loop ---- */
static int directory_parent(struct op *op)
{
	struct inode root;
	int result = share_root(op->share, &root);

	if (result == 0)
		give(op->request, &root);
	return result;
}

static int directory_lookup(struct op *op)
{
	struct vfs_request *request = op->request;
	struct snapshots *snapshots = &op->share->snapshots;
	const struct snap *snap;
	uint64_t id = 0;
	int result;

	if (request->name_length == 1 && request->name[0] == '.') {
		request->result_object = directory_object();
		request->result_attr = directory_attr(op->share);
		return 0;
	}
	if (request->name_length == 2 && memcmp(request->name, "..", 2) == 0)
		return directory_parent(op);
	for (unsigned i = 0; i < snapshots->count; i++)
		if (strlen(snapshots->snaps[i].name) == request->name_length &&
		    memcmp(snapshots->snaps[i].name, request->name, request->name_length) == 0)
			id = snapshots->snaps[i].id;
	result = id ? snap_root(op->share, id) : -ENOENT;
	snap = result == 0 ? snap_by_id(snapshots, id) : NULL;
	if (!snap)
		return result == -ESTALE || result == 0 ? -ENOENT : result;
	request->result_object = snap->root;
	request->result_attr = snap->attr;
	return 0;
}

/* The next one behind @cookie. */
static struct snap *snap_after(struct snapshots *snapshots, uint64_t cookie)
{
	for (unsigned i = 0; i < snapshots->count; i++)
		if (cookie_of(snapshots->snaps[i].id) > cookie)
			return &snapshots->snaps[i];
	return NULL;
}

static int directory_entry(struct op *op, uint64_t id)
{
	struct vfs_request *request = op->request;
	bool attr = request->flags & VFS_WANT_ATTR;
	int result = attr ? snap_root(op->share, id) : 0;
	const struct snap *snap = snap_by_id(&op->share->snapshots, id);
	struct vfs_dirent *made;

	if (result || !snap)
		return result ? result : -ENOENT;
	made = listing_room(request, snap->name, (unsigned)strlen(snap->name));
	if (!made)
		return -ERANGE;
	made->type = VFS_DIRECTORY;
	made->cookie = cookie_of(id);
	made->fileid = fileid_outside(ROOT_INODE, id);
	if (attr) {
		made->object = snap->root;
		made->attr = snap->attr;
	}
	listing_keep(request, made);
	return 0;
}

/* One that can not be opened is not listed: what it would be is not known. */
static int directory_list(struct op *op)
{
	struct vfs_request *request = op->request;
	uint64_t cookie = request->cookie;
	struct snap *snap;

	request->data_length = request->entry_count = 0;
	while ((snap = snap_after(&op->share->snapshots, cookie)) != NULL) {
		uint64_t id = snap->id;

		if (directory_entry(op, id) == -ERANGE)
			return request->entry_count ? 0 : -ERANGE;
		cookie = cookie_of(id);
	}
	request->eof = true;
	return 0;
}

static int directory_access(struct op *op)
{
	struct rules_object rules = {.attr = &op->request->after[0]};

	op->request->rights &= rules_granted(&rules, op->request->credentials) & READ_RIGHTS;
	return 0;
}

static int directory_acl(struct op *op)
{
	struct vfs_ace aces[RULES_MODE_ACES];
	struct vfs_request *request = op->request;

	request->ace_count = rules_aces_from_mode(0555, true, aces);
	if (request->ace_count > request->ace_room)
		return -ERANGE;
	memcpy(request->aces, aces, request->ace_count * sizeof(*aces));
	return 0;
}

static int directory_run(struct errand *errand)
{
	struct op *op = errand->op;
	struct vfs_request *request = op->request;
	int result = snaps_look(op->share);

	if (result)
		return result;
	request->after[0] = directory_attr(op->share);
	switch (request->op) {
	case VFS_GETATTR:
	case VFS_HOLD:
	case VFS_RELEASE:
		return 0;
	case VFS_LOOKUP:
		return directory_lookup(op);
	case VFS_LOOKUP_PARENT:
		return directory_parent(op);
	case VFS_READDIR:
		return directory_list(op);
	case VFS_ACCESS:
		return directory_access(op);
	case VFS_ACL_GET:
		return directory_acl(op);
	case VFS_FSSTAT:
		share_fsstat_now(op->share, &request->fsstat);
		return 0;
	case VFS_XATTR_LIST:
		request->data_length = 0;
		request->eof = true;
		return 0;
	case VFS_XATTR_GET:
		return -ENODATA;
	case VFS_READLINK:
		return -EINVAL;
	default:
		return -EISDIR;
	}
}

static int directory_op(struct op *op)
{
	struct errand errand = {.op = op, .run = directory_run};

	return errand_do(&errand);
}

/* ---- in the root ---- */
/* May he look in the root at all? Then it is the directory that he finds. */
static int root_lookup(struct op *op)
{
	struct vfs_request *request = op->request;
	const char *name = request->name;
	unsigned length = request->name_length, flags = request->flags;
	struct vfs_object object = request->object;
	struct vfs_attr after;
	int result;

	request->name = ".";
	request->name_length = 1;
	request->flags &= ~(unsigned)VFS_HOLD_RESULT;
	result = share_request_run(op);
	after = request->after[0];
	if (result == 0) {
		request->object = directory_object();
		result = directory_op(op);
		request->object = object;
	}
	request->name = name;
	request->name_length = length;
	request->flags = flags;
	request->after[0] = after;
	return result;
}

static int list_directory_entry(struct op *op)
{
	struct vfs_request *request = op->request;
	struct vfs_dirent *made = listing_room(request, DIRECTORY_NAME, DIRECTORY_LENGTH);

	if (!made)
		return -ERANGE;
	made->type = VFS_DIRECTORY;
	made->cookie = DIRECTORY_COOKIE;
	made->fileid = DIRECTORY_INODE;
	if (request->flags & VFS_WANT_ATTR) {
		struct vfs_request inner = {.op = VFS_GETATTR, .object = directory_object()};
		struct op about = {.share = op->share, .request = &inner};
		int result = directory_op(&about);

		if (result)
			return result;
		made->object = inner.object;
		made->attr = inner.after[0];
	}
	listing_keep(request, made);
	return 0;
}

/* Its entry comes first, then those of the share. */
static int root_list(struct op *op)
{
	struct vfs_request *request = op->request;
	uint64_t cookie = request->cookie;
	uint32_t used, room = request->data_room;
	char *data = request->data;
	int result;

	if (cookie >= DIRECTORY_COOKIE)
		return share_request_run(op);
	request->data_length = request->entry_count = 0;
	result = list_directory_entry(op);
	if (result)
		return result;
	used = request->data_length;
	request->data = data + used;
	request->data_room -= used;
	request->cookie = DIRECTORY_COOKIE;
	result = share_request_run(op);
	request->data = data;
	request->data_room = room;
	request->cookie = cookie;
	if (result && result != -ERANGE)
		return result;
	if (result)
		request->data_length = request->entry_count = 0;
	request->data_length += used;
	request->entry_count++;
	return 0;
}

/* ---- inside a snapshot ---- */
static void entries_outside(struct vfs_request *request, uint64_t id)
{
	char *at = request->data;

	for (uint32_t i = 0; i < request->entry_count; i++) {
		struct vfs_dirent *entry = (struct vfs_dirent *)(void *)at;

		entry->fileid = fileid_outside(entry->fileid, id);
		attr_outside(&entry->attr, id);
		object_outside(&entry->object, id);
		at += entry->next;
	}
}

static bool asks_for_parent(const struct vfs_request *request)
{
	return request->op == VFS_LOOKUP_PARENT ||
	       (request->op == VFS_LOOKUP && request->name_length == 2 &&
		memcmp(request->name, "..", 2) == 0);
}

/* Run on the share that was. What is held there needs no holding: nothing goes. */
static int run_in_view(struct op *op, struct view *view)
{
	struct vfs_request *request = op->request;
	struct share *share = op->share;
	enum vfs_op asked = request->op;
	unsigned flags = request->flags;
	int result;

	if (asked == VFS_HOLD || asked == VFS_RELEASE)
		request->op = VFS_GETATTR;
	request->flags &= ~(unsigned)VFS_HOLD_RESULT;
	op->share = view->share;
	result = share_request_run(op);
	op->share = share;
	request->op = asked;
	request->flags = flags;
	return result;
}

static int inside_view(struct op *op, struct view *view)
{
	struct vfs_request *request = op->request;
	struct vfs_object outer = request->object;
	int result;

	request->object.length = INNER_BYTES;
	if (asks_for_parent(request) &&
	    vfs_object_equal(&request->object, &view->share->vfs.root)) {
		request->object = directory_object();
		request->name = ".";
		request->name_length = 1;
		request->op = VFS_LOOKUP;
		result = directory_op(op);
		request->after[0].type = VFS_NONE;
	} else {
		result = run_in_view(op, view);
		object_outside(&request->result_object, view->id);
		attr_outside(&request->result_attr, view->id);
		attr_outside(&request->before[0], view->id);
		attr_outside(&request->after[0], view->id);
	}
	request->object = outer;
	if (result == 0 && request->op == VFS_READDIR)
		entries_outside(request, view->id);
	if (request->op == VFS_ACCESS)
		request->rights &= READ_RIGHTS;
	if (request->op == VFS_FSSTAT)
		share_fsstat_now(op->share, &request->fsstat);
	return result;
}

static int inside(struct op *op)
{
	struct vfs_request *request = op->request;
	const char *name = request->name;
	unsigned length = request->name_length;
	enum vfs_op asked = request->op;
	struct view *view;
	int result = view_get(op, get64(request->object.bytes + INNER_BYTES), &view);

	if (result)
		return result;
	result = inside_view(op, view);
	view_put(view);
	request->name = name;
	request->name_length = length;
	request->op = asked;
	return result;
}

/* ---- requests ---- */
static bool has_two(enum vfs_op op)
{
	return op == VFS_RENAME || op == VFS_LINK || op == VFS_CLONE;
}

static bool is_directory_name(const char *name, unsigned length)
{
	return length == DIRECTORY_LENGTH && memcmp(name, DIRECTORY_NAME, length) == 0;
}

static bool in_root(const struct share *share, const struct vfs_object *object, const char *name,
		    unsigned length)
{
	return is_directory_name(name, length) && vfs_object_equal(object, &share->vfs.root);
}

static bool shown(const struct share *share, const struct vfs_request *request)
{
	return request->flags & VFS_SNAPSHOTS ||
	       __atomic_load_n(&share->snapshots.how, __ATOMIC_RELAXED) != SHARE_SNAPSHOTS_NONE;
}

/* Is the name that @request is about the directory's? */
static bool names_it(const struct share *share, const struct vfs_request *request)
{
	switch (request->op) {
	case VFS_LOOKUP:
	case VFS_CREATE:
	case VFS_REMOVE:
		return in_root(share, &request->object, request->name, request->name_length);
	case VFS_RENAME:
		return in_root(share, &request->object, request->name, request->name_length) ||
		       in_root(share, &request->object2, request->name2, request->name2_length);
	case VFS_LINK:
		return in_root(share, &request->object2, request->name2, request->name2_length);
	default:
		return false;
	}
}

bool snapshots_concern(const struct share *share, const struct vfs_request *request)
{
	if (place_of(&request->object) != OUTSIDE ||
	    (has_two(request->op) && place_of(&request->object2) != OUTSIDE))
		return true;
	if (request->op == VFS_READDIR)
		return __atomic_load_n(&share->snapshots.how, __ATOMIC_RELAXED) ==
			   SHARE_SNAPSHOTS_VISIBLE &&
		       vfs_object_equal(&request->object, &share->vfs.root);
	return names_it(share, request) && shown(share, request);
}

static int refuse_change(const struct vfs_request *request)
{
	if (place_of(&request->object) == OUTSIDE &&
	    (request->op == VFS_CREATE ||
	     (request->op == VFS_LINK && place_of(&request->object2) == OUTSIDE)))
		return -EEXIST; /* its name, in the root */
	if ((request->op == VFS_LINK || request->op == VFS_CLONE) &&
	    place_of(&request->object2) == OUTSIDE)
		return -EXDEV;
	return -EROFS;
}

int snapshots_run(struct op *op)
{
	struct vfs_request *request = op->request;
	enum place place = place_of(&request->object);

	if (vfs_changes(request->op))
		return refuse_change(request);
	if (place == OUTSIDE)
		return request->op == VFS_LOOKUP ? root_lookup(op) : root_list(op);
	if (!shown(op->share, request))
		return -ESTALE;
	return place == DIRECTORY ? directory_op(op) : inside(op);
}

/* ---- life ---- */
void snapshots_init(struct share *share)
{
	struct snapshots *snapshots = &share->snapshots;

	pthread_mutex_init(&snapshots->lock, NULL);
	list_init(&snapshots->views);
	timer_init(&snapshots->timer, share->home, look_round);
}

void snapshots_close(struct share *share)
{
	struct snapshots *snapshots = &share->snapshots;

	struct view *view;

	timer_stop(&snapshots->timer);
	while (snapshots->view_count) {
		while ((view = oldest_view(snapshots, 0)) != NULL)
			view_end(view);
		fiber_sleep(POLL_NS);
	}
}

void snapshots_finish(struct share *share)
{
	heap_free(share->snapshots.snaps);
	pthread_mutex_destroy(&share->snapshots.lock);
}
