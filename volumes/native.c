/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "volumes/guard.h"
#include "volumes/qos.h"

/* The pool object: its life in memory, the lock, lanes and waiting. */

static int init_lock(struct native *native)
{
	pthread_mutexattr_t attributes;
	int result;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
	result = pthread_mutex_init(&native->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	return -result;
}

static void init_dirty(struct dirty_lists *lists)
{
	for (unsigned i = 0; i < DIRTY_CLASSES; i++)
		for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++)
			list_init(&lists->list[i][level]);
}

static int init_tables(struct native *native)
{
	native->unconfirmed_table = heap_zalloc_array(TABLE_BUCKETS, sizeof(struct list));
	native->inflight = heap_zalloc_array(TABLE_BUCKETS, sizeof(struct list));
	native->snapshot_table = heap_zalloc_array(TABLE_BUCKETS, sizeof(struct list));
	native->writes = heap_zalloc_array(TABLE_BUCKETS, sizeof(*native->writes));
	if (!native->writes || !native->unconfirmed_table || !native->inflight ||
	    !native->snapshot_table)
		return -ENOMEM;
	for (unsigned i = 0; i < TABLE_BUCKETS; i++) {
		list_init(&native->unconfirmed_table[i]);
		list_init(&native->inflight[i]);
		list_init(&native->snapshot_table[i]);
	}
	return 0;
}

struct native *native_new(const struct world_ops *world, struct loop *loop)
{
	struct native *native = heap_zalloc(sizeof(*native));

	if (!native)
		return NULL;
	native->pool.ops = &native_pool_ops;
	native->world = world;
	native->home = loop;
	native->dirty = &native->dirty_lists[0];
	native->frozen = &native->dirty_lists[1];
	init_dirty(native->dirty);
	init_dirty(native->frozen);
	native->cache_budget = 512u << 20;
	native->turns = turns_new();
	lanes_init(&native->lanes);
	list_init(&native->lru);
	list_init(&native->meta_freed[0]);
	list_init(&native->meta_freed[1]);
	list_init(&native->quarantine);
	list_init(&native->quarantine_spare);
	list_init(&native->retired);
	list_init(&native->taking);
	list_init(&native->readers);
	list_init(&native->unconfirmed);
	list_init(&native->unconfirmed_spare);
	list_init(&native->warming);
	list_init(&native->volumes);
	list_init(&native->deleting);
	list_init(&native->dirty_volumes);
	list_init(&native->calls);
	list_init(&native->busy_waiters);
	list_init(&native->checkpoint_waiters);
	list_init(&native->space_waiters);
	list_init(&native->measuring);
	list_init(&native->measure_calls);
	flush_setup(native);
	if (init_lock(native) < 0 || init_tables(native) < 0 || scrub_new(native) < 0) {
		native_free(native);
		return NULL;
	}
	return native;
}

static void free_list(struct list *list, size_t offset)
{
	while (list->next && !list_empty(list))
		heap_free((char *)list_pop_front(list) - offset);
}

static void free_lanes(struct native *native)
{
	for (unsigned i = 0; i < native->lanes.count; i++) {
		struct lane *lane = native->lanes.entry[i].lane;

		free_list(&lane->slabs, 0);
		deferred_cancel(&lane->deferred);
		deferred_cancel(&lane->finish);
		heap_free(lane);
	}
	lanes_finish(&native->lanes);
}

void native_free(struct native *native)
{
	for (unsigned i = 0; i < ROOT_COUNT; i++)
		if (native->tree[i].native)
			tree_drop(&native->tree[i]);
	while (!list_empty(&native->volumes)) {
		struct nvolume *volume = list_entry(native->volumes.next, struct nvolume, link);

		while (!list_empty(&volume->snapshots))
			nvolume_free(list_entry(volume->snapshots.next, struct nvolume, listed));
		nvolume_free(volume);
	}
	while (!list_empty(&native->taking))
		nvolume_free(list_entry(native->taking.next, struct nvolume, link));
	while (!list_empty(&native->deleting))
		nvolume_free(list_entry(native->deleting.next, struct nvolume, link));
	journal_finish(native);
	scrub_free(native);
	evacuate_free(native);
	resilver_free(native);
	measure_free(native);
	heap_free(native->writes);
	free_list(&native->meta_freed[0], offsetof(struct meta_extent, link));
	free_list(&native->meta_freed[1], offsetof(struct meta_extent, link));
	free_list(&native->quarantine, offsetof(struct quarantine, link));
	free_list(&native->quarantine_spare, offsetof(struct quarantine, link));
	free_list(&native->retired, offsetof(struct quarantine, link));
	free_list(&native->unconfirmed, offsetof(struct unconfirmed, link));
	free_list(&native->unconfirmed_spare, offsetof(struct unconfirmed, link));
	free_list(&native->warming, offsetof(struct warming, link));
	while (native->slot_spares)
		heap_free(native->slot_spare[--native->slot_spares]);
	for (unsigned i = 0; i < native->pv_count; i++) {
		if (native->pv[i].device == &native->pv[i])
			disk_close(native->pv[i].disk);
		heap_free(native->pv[i].forward);
		heap_free(native->pv[i].mirror);
		heap_free(native->pv[i].path);
	}
	free_lanes(native);
	turns_free(native->turns);
	heap_free(native->ag);
	heap_free(native->space);
	heap_free(native->hot);
	while (native->hot_befores)
		heap_free(native->hot_before[--native->hot_befores]);
	heap_free(native->hot_list);
	heap_free(native->unconfirmed_table);
	heap_free(native->inflight);
	heap_free(native->snapshot_table);
	pthread_mutex_destroy(&native->lock);
	heap_free(native);
}

/* ---- lock and lanes ---- */
void native_lock(struct native *native)
{
	pthread_mutex_lock(&native->lock);
}

void native_unlock(struct lane *lane)
{
	struct native *native = lane->native;
	struct journal *journal = &native->journal;
	bool commit = journal->commit_due && !journal->committing && !native->read_only;
	bool flush = native->cycle.state == CYCLE_FLUSH_DUE && !native->read_only;

	if (commit)
		journal->committing = true;
	if (flush)
		native->cycle.state = CYCLE_FLUSHING;
	pthread_mutex_unlock(&native->lock);
	if (commit)
		journal_commit(lane);
	if (flush)
		flush_devices(lane);
}

static void run_ready(struct lane *lane)
{
	struct native *native = lane->native;
	struct list ready;

	list_init(&ready);
	native_lock(native);
	lane->scheduled = false;
	list_splice_back(&ready, &lane->ready);
	native_unlock(lane);
	while (!list_empty(&ready)) {
		struct waiter *waiter = list_entry(list_pop_front(&ready), struct waiter, link);

		waiter->resume(waiter);
	}
}

static void run_deferred(struct deferred *deferred)
{
	run_ready(container_of(deferred, struct lane, deferred));
}

static void run_message(struct message *message)
{
	run_ready(container_of(message, struct lane, message));
}

static struct lane *lane_new(struct native *native, struct loop *loop)
{
	struct lane *lane = heap_zalloc(sizeof(*lane));

	if (!lane)
		return NULL;
	lane->native = native;
	lane->loop = loop;
	list_init(&lane->ready);
	list_init(&lane->ios);
	list_init(&lane->pieces);
	list_init(&lane->transfers);
	list_init(&lane->finished);
	list_init(&lane->slabs);
	deferred_init(&lane->deferred, run_deferred);
	deferred_init(&lane->finish, lane_finish_run);
	return lane;
}

struct lane *lane_get(struct native *native)
{
	struct loop *loop = loop_current();
	struct lane *lane = lanes_find(&native->lanes, loop);

	if (lane || !loop)
		return lane;
	lane = lane_new(native, loop);
	if (!lane || lanes_add(&native->lanes, loop, lane))
		return lane;
	heap_free(lane);
	return NULL;
}

void waiter_init(struct waiter *waiter, struct lane *lane, void (*resume)(struct waiter *))
{
	list_init(&waiter->link);
	waiter->lane = lane;
	waiter->resume = resume;
	waiter->result = 0;
}

void waiter_wake(struct waiter *waiter, int result)
{
	struct lane *lane = waiter->lane;

	list_remove(&waiter->link);
	waiter->result = result;
	list_push_back(&lane->ready, &waiter->link);
	if (lane->scheduled)
		return;
	lane->scheduled = true;
	if (loop_current() == lane->loop)
		loop_defer(lane->loop, &lane->deferred);
	else
		loop_post(lane->loop, &lane->message, run_message);
}

void waiters_wake(struct list *waiters, int result)
{
	while (!list_empty(waiters))
		waiter_wake(list_entry(waiters->next, struct waiter, link), result);
}

void native_fail(struct native *native, const char *format, ...)
{
	va_list arguments;

	if (native->read_only)
		return;
	native->read_only = true;
	va_start(arguments, format);
	vsnprintf(native->read_only_reason, sizeof(native->read_only_reason), format, arguments);
	va_end(arguments);
	log_error("pool %s is read-only from now on: %s", native->sb.name,
		  native->read_only_reason);
	waiters_wake(&native->journal.waiters, -EROFS);
	waiters_wake(&native->journal.unwritten, -EIO);
	waiters_wake(&native->cycle.next, -EIO);
	waiters_wake(&native->cycle.current, -EIO);
	waiters_wake(&native->cycle.confirm, -EIO);
	waiters_wake(&native->checkpoint_waiters, -EIO);
	waiters_wake(&native->space_waiters, -EROFS);
}

/* ---- fibers waiting ---- */
static void fiber_waiter_resume(struct waiter *waiter)
{
	struct fiber_waiter *wait = container_of(waiter, struct fiber_waiter, waiter);

	wait->done = true;
	fiber_wake(wait->fiber);
}

void fiber_waiter_init(struct fiber_waiter *wait, struct lane *lane)
{
	waiter_init(&wait->waiter, lane, fiber_waiter_resume);
	wait->fiber = fiber_current();
	wait->done = false;
}

int fiber_waiter_wait(struct fiber_waiter *wait)
{
	while (!wait->done)
		fiber_wait();
	return wait->waiter.result;
}

/* ---- volumes ---- */
static void release(struct volume *volume)
{
	(void)volume; /* the pool keeps it */
}

const struct volume_ops native_volume_ops = {
    .name = "native",
    .submit = io_submit,
    .release = release,
    .erasable = native_erasable,
};

void nvolume_set_parent(struct nvolume *volume, struct nvolume *parent)
{
	measure_forget(volume->parent);
	measure_forget(volume);
	measure_forget(parent);
	quota_rows_changed(volume->native);
	list_remove(&volume->sibling);
	if (parent)
		list_push_back(&parent->offspring, &volume->sibling);
	volume->parent = parent;
}

struct nvolume *nvolume_create(struct native *native, uint64_t id, const char *name,
			       uint64_t size_bytes)
{
	struct nvolume *volume = heap_zalloc(sizeof(*volume));
	unsigned levels = 0;

	if (!volume)
		return NULL;
	volume->native = native;
	volume->id = id;
	volume->state = VOLUME_STATE_LIVE;
	volume->volume.ops = &native_volume_ops;
	volume->volume.pool = &native->pool;
	snprintf(volume->volume.name, sizeof(volume->volume.name), "%s", name);
	volume->volume.size_bytes = volume->stored_size = size_bytes;
	volume->volume.thin = true;
	list_init(&volume->volume.watchers);
	volume->volume.turns = native->turns;
	list_init(&volume->link);
	list_init(&volume->dirty_link);
	list_init(&volume->snapshots);
	list_init(&volume->offspring);
	list_init(&volume->sibling);
	list_init(&volume->listed);
	list_init(&volume->bucket);
	list_init(&volume->waiting);
	list_init(&volume->measure_link);
	while ((uint64_t)MAP_CHUNKS * CHUNK << (6 * levels) < size_bytes)
		levels++;
	tree_init(&volume->map, native, NODE_MAP, id, levels, NULL);
	list_push_back(&native->volumes, &volume->link);
	quota_rows_changed(native);
	native->volume_count++;
	return volume;
}

void nvolume_free(struct nvolume *volume)
{
	qos_free(volume->volume.qos);
	tree_drop(&volume->map);
	list_remove(&volume->link);
	list_remove(&volume->dirty_link);
	list_remove(&volume->listed);
	list_remove(&volume->sibling);
	list_remove(&volume->bucket);
	measure_forget(volume);
	list_remove(&volume->measure_link);
	/* with the whole pool, in any order */
	while (!list_empty(&volume->offspring))
		list_entry(list_pop_front(&volume->offspring), struct nvolume, sibling)->parent =
		    NULL;
	quota_rows_changed(volume->native);
	volume->native->volume_count--;
	heap_free(volume);
}
