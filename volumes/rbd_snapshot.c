/* SPDX-License-Identifier: Apache-2.0 */
/* rbd_snapshot.c: snapshots and clones of RBD pools behind pool.h. Home loop; what blocks is in
 * rbd_snap.c. A snapshot is a struct rbd_volume on its volume's list; its image is opened when it
 * is read for the first time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/fiber.h"
#include "core/heap.h"
#include "core/log.h"
#include "volumes/rbd.h"

#define LEAVE_NS (2 * 1000000000ull) /* for who looks at a snapshot that is to be deleted */
#define POLL_NS  2000000ull

static void refuse(struct rbd_pool *pool, struct pool_call *call, int code, const char *format,
		   const char *what)
{
	call->loop = pool->home;
	err_set(&call->err, code, format, what); /* NOLINT(clang-diagnostic-format-nonliteral) */
	pool_answer(call, code);
}

void rbd_snapshot_name(struct rbd_volume *snapshot, const char *of)
{
	snprintf(snapshot->volume.name, sizeof snapshot->volume.name, "%.*s@%s", VOLUME_NAME_MAX,
		 of, snapshot->snap.name);
}

/* ---- the list ---- */
static struct rbd_volume *snapshot_of_serial(struct rbd_volume *volume, const char *serial)
{
	list_for_each (it, &volume->snapshots) {
		struct rbd_volume *snapshot = list_entry(it, struct rbd_volume, link);

		if (strcmp(snapshot->volume.identity.serial, serial) == 0)
			return snapshot;
	}
	return NULL;
}

static void link_snapshot(struct rbd_volume *volume, struct rbd_volume *snapshot)
{
	struct list *after = volume->snapshots.prev;

	while (after != &volume->snapshots &&
	       list_entry(after, struct rbd_volume, link)->snap.id > snapshot->snap.id)
		after = after->prev;
	list_insert_after(after, &snapshot->link);
}

static void unlink_snapshot(struct rbd_volume *snapshot)
{
	list_remove(&snapshot->link);
	list_init(&snapshot->link);
}

static void leave(struct rbd_volume *snapshot)
{
	unlink_snapshot(snapshot);
	rbd_let_go(snapshot);
}

void rbd_snapshots_merge(struct rbd_volume *volume, struct list *found, bool all)
{
	struct list *link;

	list_for_each (it, &volume->snapshots)
		list_entry(it, struct rbd_volume, link)->seen = false;
	while ((link = list_pop_front(found))) {
		struct rbd_volume *snapshot = list_entry(link, struct rbd_volume, link);
		struct rbd_volume *known =
		    snapshot_of_serial(volume, snapshot->volume.identity.serial);

		list_init(&snapshot->link);
		if (!known) {
			snapshot->seen = true;
			rbd_snapshot_name(snapshot, volume->volume.name);
			link_snapshot(volume, snapshot);
			continue;
		}
		known->seen = true;
		known->snap = snapshot->snap;
		rbd_snapshot_name(known, volume->volume.name);
		volume_unref(&snapshot->volume);
	}
	if (!all)
		return;
	list_for_each_safe (it, &volume->snapshots) {
		struct rbd_volume *snapshot = list_entry(it, struct rbd_volume, link);

		/* Deleted by another gateway; who uses it here still hears of errors. */
		if (!snapshot->seen &&
		    __atomic_load_n(&snapshot->volume.refs, __ATOMIC_ACQUIRE) == 1)
			leave(snapshot);
	}
}

void rbd_snapshots_forget(struct list *found)
{
	struct list *link;

	while ((link = list_pop_front(found)))
		volume_unref(&list_entry(link, struct rbd_volume, link)->volume);
}

void rbd_snapshots_drop(struct rbd_volume *volume)
{
	rbd_snapshots_forget(&volume->snapshots);
}

struct rbd_volume *rbd_snapshot_find(struct rbd_pool *pool, const char *path)
{
	const char *at = strchr(path, '@');
	char name[VOLUME_NAME_MAX + 1];
	struct rbd_volume *volume;

	if (!at || (size_t)(at - path) > VOLUME_NAME_MAX)
		return NULL;
	snprintf(name, sizeof name, "%.*s", (int)(at - path), path);
	volume = rbd_volume_of(pool, name);
	if (!volume)
		return NULL;
	list_for_each (it, &volume->snapshots) {
		struct rbd_volume *snapshot = list_entry(it, struct rbd_volume, link);

		if (!snapshot->gone && strcmp(snapshot->snap.name, at + 1) == 0)
			return snapshot;
	}
	return NULL;
}

static bool is_used(const struct rbd_volume *snapshot, uint32_t own)
{
	return __atomic_load_n(&snapshot->volume.refs, __ATOMIC_ACQUIRE) != own + snapshot->inside;
}

bool rbd_snapshots_held(struct rbd_volume *volume)
{
	list_for_each (it, &volume->snapshots)
		if (is_used(list_entry(it, struct rbd_volume, link), 1))
			return true;
	return false;
}

static unsigned clones_of(const struct rbd_volume *snapshot)
{
	unsigned count = 0;

	list_for_each (it, &snapshot->pool->volumes) {
		const struct rbd_volume *volume = list_entry(it, struct rbd_volume, link);

		if (volume->is_clone &&
		    memcmp(volume->parent, snapshot->volume.identity.uuid, 16) == 0)
			count++;
	}
	return count;
}

static bool is_dated(const struct rbd_volume *snapshot)
{
	return snapshot->snap.hold_until_ns > loop_wall(snapshot->pool->home);
}

static bool is_held(const struct rbd_volume *snapshot)
{
	return snapshot->snap.held || is_dated(snapshot);
}

/* ---- making ---- */
static bool room_for(struct rbd_job *job, unsigned count)
{
	job->volumes = heap_zalloc_array(count, sizeof(struct rbd_volume *));
	job->names = heap_zalloc_array(count, sizeof *job->names);
	job->uuids = heap_zalloc_array(count, sizeof *job->uuids);
	return job->volumes && job->names && job->uuids;
}

static void add_to(struct rbd_job *job, struct rbd_volume *volume, const char *name)
{
	struct volume_identity identity;
	unsigned at = job->volume_count++;
	uint8_t random[16];

	job->volumes[at] = volume;
	volume_ref(&volume->volume);
	volume->inside++;
	volume->changing = true;
	snprintf(job->names[at], sizeof job->names[at], "%s", name);
	loop_random(job->pool->home, random, sizeof random);
	volume_identity_make(random, &identity);
	memcpy(job->uuids[at], identity.uuid, 16);
}

static void describe(struct rbd_job *job, bool automatic)
{
	job->snap = (struct rbd_snap){.created_ns = loop_wall(job->pool->home),
				      .of_count = job->volume_count,
				      .automatic = automatic};
	job->snap.group = job->snap.created_ns;
	if (job->snap.group <= job->pool->last_group)
		job->snap.group = job->pool->last_group + 1;
	job->pool->last_group = job->snap.group;
	job->limit_ns = loop_now(job->pool->home) + RBD_LONG_LIMIT_NS;
}

/* Guests' changes go on where they have waited. */
static void go_on(struct rbd_job *job)
{
	for (unsigned i = 0; i < job->volume_count; i++) {
		rbd_io_resume(job->volumes[i]);
		job->volumes[i]->changing = false;
		job->volumes[i]->inside--;
	}
}

static void take_made(struct rbd_job *job)
{
	for (unsigned i = 0; i < job->volume_count; i++) {
		struct rbd_volume *volume = job->volumes[i];
		struct list mine = {&mine, &mine};

		list_for_each_safe (it, &job->found) {
			if (list_entry(it, struct rbd_volume, link)->of != volume)
				continue;
			list_remove(it);
			list_push_back(&mine, it);
		}
		rbd_snapshots_merge(volume, &mine, false);
	}
	rbd_snapshots_forget(&job->found);
}

static void made(struct rbd_job *job)
{
	take_made(job);
	go_on(job);
	rbd_job_end(job, job->result);
}

static int spec_good(struct rbd_pool *pool, const struct snapshot_spec *spec, struct err *err)
{
	struct rbd_volume *volume = (struct rbd_volume *)spec->volume;
	char path[VOLUME_PATH_MAX + 1];

	if (strlen(spec->name) > SNAPSHOT_NAME_MAX)
		return err_set(err, -EINVAL, "a snapshot's name has at most %d bytes",
			       SNAPSHOT_NAME_MAX);
	if (volume_name_check(spec->name, err) < 0)
		return -EINVAL;
	if (volume->of)
		return err_set(err, -EINVAL, "%s is a snapshot; make a clone of it",
			       volume->volume.name);
	if (volume_standby(&volume->volume))
		return err_set(err, -EREMOTE,
			       "volume %s is served by another gateway; make its snapshot there",
			       volume->volume.name);
	if (volume->changing || volume->gone)
		return err_set(err, -EBUSY, "something else is being done to volume %s",
			       volume->volume.name);
	snprintf(path, sizeof path, "%.*s@%s", VOLUME_NAME_MAX, volume->volume.name, spec->name);
	if (rbd_snapshot_find(pool, path))
		return err_set(err, -EEXIST, "there is already a snapshot %s", path);
	return 0;
}

static int specs_good(struct rbd_pool *pool, const struct snapshot_spec *specs, unsigned count,
		      struct err *err)
{
	int result = count && count <= SNAPSHOT_GROUP_MAX
			 ? 0
			 : err_set(err, -EINVAL, "1 to %d snapshots at a time", SNAPSHOT_GROUP_MAX);

	for (unsigned i = 0; i < count && result == 0; i++) {
		result = spec_good(pool, &specs[i], err);
		for (unsigned j = 0; j < i && result == 0; j++)
			if (specs[i].volume == specs[j].volume)
				result = err_set(err, -EINVAL, "volume %s is named twice",
						 specs[i].volume->name);
	}
	return result;
}

void rbd_snapshot_create(struct pool *base, const struct snapshot_spec *specs, unsigned count,
			 struct pool_call *call)
{
	struct rbd_pool *pool = (struct rbd_pool *)base;
	struct rbd_job *job;

	call->loop = pool->home;
	if (specs_good(pool, specs, count, &call->err) < 0) {
		pool_answer(call, call->err.code);
		return;
	}
	job = rbd_job_new(pool, NULL, call);
	if (!job)
		return;
	if (!room_for(job, count)) {
		rbd_job_end(job, -ENOMEM);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		add_to(job, (struct rbd_volume *)specs[i].volume, specs[i].name);
	describe(job, false);
	rbd_job_run(job, rbd_snaps_make, made);
}

/* ---- questions ---- */
struct volume *rbd_snapshot_next(struct volume *base, struct volume *previous)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct list *it =
	    previous ? ((struct rbd_volume *)previous)->link.next : volume->snapshots.next;
	struct volume *next = NULL;

	while (it != &volume->snapshots && list_entry(it, struct rbd_volume, link)->gone)
		it = it->next;
	if (it != &volume->snapshots)
		next = volume_ref(&list_entry(it, struct rbd_volume, link)->volume);
	volume_unref(previous);
	return next;
}

bool rbd_snapshot_get_info(struct volume *base, struct snapshot_info *ret_info)
{
	const struct rbd_volume *snapshot = (struct rbd_volume *)base;
	struct snapshot_info info = {.created_ns = snapshot->snap.created_ns,
				     .group = snapshot->snap.group,
				     .size_bytes = volume_size(base),
				     .used_bytes = volume_used_bytes(base),
				     .automatic = snapshot->snap.automatic};

	if (!snapshot->of)
		return false;
	snprintf(info.name, sizeof info.name, "%s", snapshot->snap.name);
	info.clones = clones_of(snapshot);
	info.held = is_held(snapshot);
	info.hold_until_ns = is_dated(snapshot) ? snapshot->snap.hold_until_ns : 0;
	info.in_use = is_used(snapshot, 2); /* the list's, the caller's */
	*ret_info = info;
	return true;
}

struct volume *rbd_snapshot_of(struct volume *base)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;

	if (volume->of)
		return volume_ref(&volume->of->volume);
	list_for_each (it, &volume->pool->volumes) {
		struct rbd_volume *other = list_entry(it, struct rbd_volume, link);

		if (!volume->is_clone)
			break;
		list_for_each (its, &other->snapshots) {
			struct rbd_volume *snapshot = list_entry(its, struct rbd_volume, link);

			if (memcmp(snapshot->volume.identity.uuid, volume->parent, 16) == 0)
				return volume_ref(&snapshot->volume);
		}
	}
	return NULL;
}

/* ---- changes of one ---- */
static struct rbd_job *job_for(struct rbd_volume *snapshot, struct pool_call *call)
{
	if (!snapshot->of) {
		refuse(snapshot->pool, call, -EINVAL, "%s is not a snapshot",
		       snapshot->volume.name);
		return NULL;
	}
	if (snapshot->gone || snapshot->changing) {
		refuse(snapshot->pool, call, -EBUSY, "something else is being done to snapshot %s",
		       snapshot->volume.name);
		return NULL;
	}
	return rbd_job_new(snapshot->pool, snapshot, call);
}

/* What changes the snapshot is for the gateway that serves its volume, as making it is: the others
 * can not know who uses it there. */
static struct rbd_job *served_job_for(struct rbd_volume *snapshot, struct pool_call *call)
{
	if (snapshot->of && volume_standby(&snapshot->of->volume)) {
		refuse(snapshot->pool, call, -EREMOTE,
		       "the volume of snapshot %s is served by another gateway; change it there",
		       snapshot->volume.name);
		return NULL;
	}
	return job_for(snapshot, call);
}

static void erased(struct rbd_job *job)
{
	struct rbd_volume *snapshot = job->volume;

	snapshot->gone = false;
	if (job->result == 0) {
		unlink_snapshot(snapshot);
		volume_unref(&snapshot->volume); /* the list's */
		if (job->call)
			volume_unref(&snapshot->volume); /* the caller's */
	}
	rbd_job_end(job, job->result);
}

static int nothing(struct rbd_job *job)
{
	(void)job;
	return 0;
}

/* After whatever the looking worker had to do with its image. The counting one has nothing to do
 * with those of snapshots, and may be at a large volume for a minute. */
static void looked_last(struct rbd_job *job)
{
	rbd_job_run(job, rbd_snap_erase, erased);
}

/* Who only looks at it lets go when he is told; nobody finds it any more. */
static void delete_main(void *context)
{
	struct rbd_job *job = context;
	struct rbd_volume *snapshot = job->volume;
	const uint32_t own = 3; /* the list's, the caller's, the job's */

	if (is_used(snapshot, own) && !list_empty(&snapshot->volume.watchers))
		volume_notify(&snapshot->volume, VOLUME_LEAVING);
	for (uint64_t waited = 0; is_used(snapshot, own) && waited < LEAVE_NS; waited += POLL_NS)
		fiber_sleep(POLL_NS);
	if (!is_used(snapshot, own)) {
		rbd_job_look(job, nothing, looked_last);
		return;
	}
	snapshot->gone = false;
	err_set(&job->err, -EBUSY, "snapshot %s is in use", snapshot->volume.name);
	rbd_job_end(job, -EBUSY);
}

void rbd_snapshot_delete(struct volume *base, struct pool_call *call)
{
	struct rbd_volume *snapshot = (struct rbd_volume *)base;
	struct rbd_job *job;

	if (snapshot->of && is_held(snapshot))
		refuse(snapshot->pool, call, -EBUSY, "snapshot %s is held", base->name);
	else if (snapshot->of && clones_of(snapshot))
		refuse(snapshot->pool, call, -EBUSY, "snapshot %s has clones", base->name);
	else if (snapshot->of && is_used(snapshot, 2) && list_empty(&base->watchers))
		refuse(snapshot->pool, call, -EBUSY, "snapshot %s is in use", base->name);
	else if ((job = served_job_for(snapshot, call))) {
		snapshot->gone = true;
		job->limit_ns = loop_now(snapshot->pool->home) + RBD_LONG_LIMIT_NS;
		if (fiber_start(snapshot->pool->home, delete_main, job) == 0)
			return;
		snapshot->gone = false;
		rbd_job_end(job, -ENOMEM);
	}
}

static void renamed(struct rbd_job *job)
{
	struct rbd_volume *snapshot = job->volume;

	snapshot->changing = false;
	__atomic_store_n(&snapshot->volume.standby, snapshot->pool->rejoining, __ATOMIC_RELEASE);
	if (job->result == 0) {
		snprintf(snapshot->snap.name, sizeof snapshot->snap.name, "%.*s", SNAPSHOT_NAME_MAX,
			 job->name);
		rbd_snapshot_name(snapshot, snapshot->of->volume.name);
		volume_notify(&snapshot->volume, VOLUME_RENAMED);
	}
	rbd_job_end(job, job->result);
}

void rbd_snapshot_rename(struct volume *base, const char *name, struct pool_call *call)
{
	struct rbd_volume *snapshot = (struct rbd_volume *)base;
	struct rbd_job *job = served_job_for(snapshot, call);
	char path[VOLUME_PATH_MAX + 1];

	if (!job)
		return;
	snprintf(path, sizeof path, "%.*s@%s", VOLUME_NAME_MAX, snapshot->of->volume.name, name);
	if (strlen(name) > SNAPSHOT_NAME_MAX || volume_name_check(name, &job->err) < 0) {
		rbd_job_end(job, -EINVAL);
	} else if (rbd_snapshot_find(snapshot->pool, path)) {
		err_set(&job->err, -EEXIST, "there is already a snapshot %s", path);
		rbd_job_end(job, -EEXIST);
	} else if (!rbd_io_is_quiet(snapshot)) {
		err_set(&job->err, -EBUSY, "snapshot %s is being read", base->name);
		rbd_job_end(job, -EBUSY);
	} else {
		snprintf(job->name, sizeof job->name, "%s", name);
		snapshot->changing = true;
		__atomic_store_n(&snapshot->volume.standby, true, __ATOMIC_RELEASE);
		rbd_job_run(job, rbd_snap_rename_work, renamed);
	}
}

static void hold_changed(struct rbd_job *job)
{
	job->volume->changing = false;
	if (job->result == 0) {
		job->volume->snap.held = job->snap.held;
		job->volume->snap.hold_until_ns = job->snap.hold_until_ns;
	}
	rbd_job_end(job, job->result);
}

static void change_hold(struct rbd_volume *snapshot, bool held, uint64_t until_ns,
			struct pool_call *call)
{
	struct rbd_job *job = served_job_for(snapshot, call);

	if (!job)
		return;
	job->snap = snapshot->snap;
	job->snap.held = held;
	job->snap.hold_until_ns = until_ns;
	snapshot->changing = true;
	rbd_job_run(job, rbd_snap_hold_work, hold_changed);
}

void rbd_snapshot_hold(struct volume *base, uint64_t until_ns, struct pool_call *call)
{
	struct rbd_volume *snapshot = (struct rbd_volume *)base;
	const struct rbd_snap *snap = &snapshot->snap;

	if (until_ns && until_ns < snap->hold_until_ns)
		refuse(snapshot->pool, call, -EPERM,
		       "snapshot %s is held for longer than that already", base->name);
	else
		change_hold(snapshot, snap->held || !until_ns,
			    until_ns ? until_ns : snap->hold_until_ns, call);
}

void rbd_snapshot_release(struct volume *base, struct pool_call *call)
{
	struct rbd_volume *snapshot = (struct rbd_volume *)base;

	if (snapshot->of && is_dated(snapshot))
		refuse(snapshot->pool, call, -EPERM,
		       "snapshot %s is held until a date that is to come; that can not be taken "
		       "back",
		       base->name);
	else
		change_hold(snapshot, false, 0, call);
}

/* ---- clones ---- */
void rbd_snapshot_clone(struct volume *base, const char *name, struct pool_call *call)
{
	struct rbd_volume *snapshot = (struct rbd_volume *)base;
	struct volume_identity identity;
	struct rbd_job *job;
	uint8_t random[16];

	if (rbd_volume_of(snapshot->pool, name)) {
		refuse(snapshot->pool, call, -EEXIST, "there is already a volume named %s", name);
		return;
	}
	job = job_for(snapshot, call);
	if (!job)
		return;
	snprintf(job->name, sizeof job->name, "%s", name);
	loop_random(snapshot->pool->home, random, sizeof random);
	volume_identity_make(random, &identity);
	memcpy(job->uuid, identity.uuid, sizeof job->uuid);
	rbd_job_run(job, rbd_snap_clone, rbd_volume_created);
}

static void flattened(struct rbd_job *job)
{
	if (job->result == 0)
		job->volume->is_clone = false;
	rbd_job_end(job, job->result);
}

/* In Ceph a snapshot stays with its image: the clone gets all it needs for itself. */
void rbd_clone_promote(struct volume *base, struct pool_call *call)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct rbd_job *job;

	if (!volume->is_clone || volume_standby(base)) {
		refuse(volume->pool, call, volume->is_clone ? -EREMOTE : -EINVAL,
		       volume->is_clone ? "volume %s is served by another gateway"
					: "volume %s is not a clone",
		       base->name);
		return;
	}
	job = rbd_job_new(volume->pool, volume, call);
	if (!job)
		return;
	job->limit_ns = loop_now(volume->pool->home) + RBD_LONG_LIMIT_NS;
	rbd_job_run(job, rbd_clone_flatten, flattened);
}

/* ---- back ---- */
static void is_back(struct rbd_volume *volume, uint64_t bytes)
{
	uint64_t size = bytes & ~(uint64_t)(VOLUME_SLOT - 1);
	bool resized = size != volume_size(&volume->volume);

	__atomic_store_n(&volume->volume.size_bytes, size, __ATOMIC_RELEASE);
	rbd_sum_sizes(volume->pool);
	volume_notify(&volume->volume, VOLUME_ROLLED_BACK);
	if (resized)
		volume_notify(&volume->volume, VOLUME_RESIZED);
}

static void rolled_back(struct rbd_job *job)
{
	take_made(job);
	if (job->result == 0)
		is_back(job->volumes[0], job->size);
	go_on(job);
	rbd_job_end(job, job->result);
}

/* Served by the next look, which finds that it is not rolling any more. */
static void finished(struct rbd_job *job)
{
	struct rbd_volume *volume = job->volume;

	volume->changing = false;
	volume->inside--;
	if (job->result == 0) {
		log_notice("volume %s/%s: its way back to a snapshot is finished",
			   volume->pool->name, volume->volume.name);
		is_back(volume, job->size);
		__atomic_store_n(&volume->rolling, false, __ATOMIC_RELEASE);
	}
	rbd_job_end(job, job->result);
}

void rbd_rollback_go_on(struct rbd_volume *volume)
{
	struct rbd_job *job;

	if (volume->changing || volume->pool->closing ||
	    !(job = rbd_job_new(volume->pool, volume, NULL)))
		return;
	volume->changing = true;
	volume->inside++;
	rbd_job_run(job, rbd_snap_finish_rollback, finished);
}

void rbd_volume_rollback(struct volume *base, struct volume *to, const char *keep,
			 struct pool_call *call)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct rbd_volume *snapshot = (struct rbd_volume *)to;
	char made_up[SNAPSHOT_NAME_MAX + 1];
	struct snapshot_spec spec = {.volume = base, .name = keep};
	struct rbd_job *job;

	call->loop = volume->pool->home;
	if (snapshot->of != volume) {
		pool_answer(call, err_set(&call->err, -EINVAL, "%s is not a snapshot of volume %s",
					  to->name, base->name));
		return;
	}
	if (!keep) {
		snprintf(made_up, sizeof made_up, "before-rollback-%llu",
			 (unsigned long long)(loop_wall(volume->pool->home) / 1000000000ull));
		spec.name = made_up;
	}
	if (specs_good(volume->pool, &spec, 1, &call->err) < 0) {
		pool_answer(call, call->err.code);
		return;
	}
	job = job_for(snapshot, call);
	if (!job)
		return;
	if (!room_for(job, 1)) {
		rbd_job_end(job, -ENOMEM);
		return;
	}
	add_to(job, volume, spec.name);
	describe(job, true);
	rbd_job_run(job, rbd_snap_back, rolled_back);
}

/* ---- differences ---- */
static void differed(struct rbd_job *job)
{
	struct volume_diff *diff = job->asked_diff;

	if (job->call && job->result == 0) { /* who gave up has taken his memory along */
		memcpy(diff->extents, job->diff.extents,
		       job->diff.extent_count * sizeof *diff->extents);
		diff->extent_count = job->diff.extent_count;
		diff->offset = job->diff.offset;
		diff->finished = job->diff.finished;
	}
	rbd_job_end(job, job->result);
}

void rbd_volume_diff(struct volume_diff *diff, struct pool_call *call)
{
	struct rbd_volume *from = (struct rbd_volume *)diff->from;
	struct rbd_volume *to = (struct rbd_volume *)diff->to;
	struct rbd_job *job;

	if (from && (!from->of || (to->of ? to->of : to) != from->of)) {
		refuse(to->pool, call, -EINVAL,
		       "%s: an RBD pool compares a volume and its own snapshots", diff->to->name);
		return;
	}
	job = rbd_job_new(to->pool, to, call);
	if (!job)
		return;
	job->asked_diff = diff;
	job->diff = (struct volume_diff){.offset = diff->offset, .extent_max = diff->extent_max};
	job->diff.extents = heap_zalloc_array(diff->extent_max, sizeof *diff->extents);
	if (!job->diff.extents) {
		rbd_job_end(job, -ENOMEM);
		return;
	}
	if (from)
		snprintf(job->name, sizeof job->name, "%s", from->snap.name);
	job->limit_ns = loop_now(to->pool->home) + RBD_LONG_LIMIT_NS;
	rbd_job_look(job, rbd_snap_differ, differed);
}
