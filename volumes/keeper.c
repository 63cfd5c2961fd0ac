/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/guard.h"
#include "volumes/keeper.h"
#include "volumes/spread.h"

/* The keeper: everything that changes or looks at a pool as a whole, one thing after the other,
 * in a fiber on the pool's home loop. Changes to volumes that are queued together share one
 * checkpoint, which is what makes them durable. The I/O path never waits for the keeper except
 * for room in the journal. */

#define TICK_NS          1000000000ull
#define CHECKPOINT_TICKS 30
#define SPREAD_TICKS     3600

/* ---- ends ---- */
void call_end(struct native_call *mine, int result)
{
	if (result < 0 && !mine->call->err.code)
		err_set(&mine->call->err, result, "pool %s: %s", mine->native->sb.name,
			mine->native->read_only ? mine->native->read_only_reason
						: strerror(-result));
	pool_answer(mine->call, result);
	heap_free(mine->of);
	heap_free(mine->made);
	heap_free(mine->wanted);
	heap_free(mine->devices);
	heap_free(mine);
}

/* ---- changes ---- */
struct nvolume *keeper_find(struct native *native, const char *name)
{
	list_for_each (it, &native->volumes) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);
		int order = strcmp(volume->volume.name, name);

		if (order == 0)
			return volume;
		if (order > 0)
			break;
	}
	return NULL;
}

void keeper_insert_sorted(struct native *native, struct nvolume *volume)
{
	struct list *before = &native->volumes;

	list_remove(&volume->link);
	for (struct list *it = native->volumes.prev; it != &native->volumes; it = it->prev)
		if (strcmp(list_entry(it, struct nvolume, link)->volume.name, volume->volume.name) <
		    0) {
			before = it;
			break;
		}
	list_insert_after(before, &volume->link);
}

int keeper_name_is_taken(struct native_call *mine)
{
	return err_set(&mine->call->err, -EEXIST, "there is already a volume named %s in pool %s",
		       mine->name, mine->native->sb.name);
}

int keeper_room(const struct native *native)
{
	return meta_room(native, 16) ? 0 : -ENOSPC;
}

struct nvolume *keeper_new_volume(struct native *native, struct lane *lane, const char *name,
				  uint64_t size, int *ret_result)
{
	struct tree *tree = &native->tree[ROOT_VOLUMES];
	struct nvolume *volume = NULL;
	struct node *node;
	uint64_t id, leaf;
	uint8_t random[16];
	int result = keeper_room(native);

	loop_random(lane->loop, random, sizeof(random));
	native_lock(native);
	id = native->next_volume_id;
	leaf = (id - 1) / VOLUMES_PER_LEAF;
	while (result == 0 && leaf >= tree_capacity(tree))
		result = tree_grow(tree);
	if (result == 0)
		result = tree_find(tree, leaf, true, NULL, &node);
	if (result == 0)
		volume = nvolume_create(native, id, name, size);
	if (volume) {
		native->next_volume_id++;
		list_remove(&volume->link);
		volume_identity_make(random, &volume->volume.identity);
		node->body->volumes.volume[(id - 1) % VOLUMES_PER_LEAF] = volume;
		nvolume_mark_dirty(volume);
	}
	native_unlock(lane);
	*ret_result = result < 0 ? result : volume ? 0 : -ENOMEM;
	return volume;
}

/* May a volume have two copies here? */
static int check_mirror(struct native_call *mine)
{
	struct native *native = mine->native;
	struct err *err = &mine->call->err;

	if (mine->checksum == VOLUME_CHECKSUM_OFF)
		return err_set(err, -EINVAL,
			       "a mirrored volume needs checksums: they tell which copy is right");
	if (native->active_devices < 2)
		return err_set(err, -EINVAL, "a mirrored volume needs two devices, pool %s has one",
			       native->sb.name);
	/* The first one gives the journal its second copy, on a device that stays. */
	if (native->evacuation && !native->sb.journal_row)
		return err_set(err, -EBUSY, "a device of pool %s is being evacuated",
			       native->sb.name);
	return 0;
}

static int check_reserve(struct native_call *mine)
{
	uint64_t chunks = reserve_chunks_for(mine->reserve);

	if (!chunks ||
	    reserve_fits(mine->native, mine->mirror ? 0 : chunks, mine->mirror ? chunks : 0))
		return 0;
	return quota_refuse(mine->call, "reserve", -ENOSPC,
			    "pool %s has not that much space left to reserve",
			    mine->native->sb.name);
}

static int begin_mirror(struct native *native, struct lane *lane)
{
	int result;

	native_lock(native);
	result = mirror_begin(native);
	native_unlock(lane);
	return result;
}

static int do_create(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct nvolume *volume;
	int result;

	if (keeper_find(native, mine->name))
		return keeper_name_is_taken(mine);
	result = mine->mirror ? check_mirror(mine) : 0;
	if (result == 0)
		result = check_reserve(mine);
	if (result == 0 && mine->call->dry)
		result = keeper_room(native);
	else if (result == 0 && mine->mirror)
		result = begin_mirror(native, lane);
	if (result < 0 || mine->call->dry)
		return result;
	volume = keeper_new_volume(native, lane, mine->name, mine->size, &result);
	if (!volume)
		return result;
	native_lock(native);
	if (mine->identified) {
		volume->volume.identity = mine->identity;
		nvolume_mark_dirty(volume);
	}
	volume->volume.checksum = mine->checksum;
	volume->volume.mirror = mine->mirror;
	volume->volume.reserve_bytes = mine->reserve;
	volume->volume.quota_bytes = mine->quota;
	reserve_changed(volume);
	keeper_insert_sorted(native, volume);
	if (mine->quota)
		quota_setup(native);
	mine->volume = volume;
	native_unlock(lane);
	return 0;
}

/* Where the first thing mapped at or behind @offset is, UINT64_MAX: nothing. */
static int first_mapped(struct nvolume *volume, uint64_t offset, uint64_t end, uint64_t *ret_at)
{
	*ret_at = UINT64_MAX;
	while (offset < end) {
		struct volume_extent extent[2];
		struct volume_request request = {.op = VOLUME_EXTENTS,
						 .offset = offset,
						 .length = end - offset,
						 .extents = extent,
						 .extent_max = 2};
		int result = io_request_fiber(volume, &request);

		if (result < 0)
			return result;
		for (unsigned i = 0; i < request.extent_count; i++) {
			if (extent[i].mapped) {
				*ret_at = extent[i].offset;
				return 0;
			}
			offset = extent[i].offset + extent[i].length;
		}
	}
	return 0;
}

/* New requests see the new end at once; when those under way are over, nothing may be mapped
 * behind it. */
static int do_shrink(struct native_call *mine)
{
	struct nvolume *volume = mine->volume;
	uint64_t before = volume->stored_size, at;
	int result;

	if (!mine->shrink)
		return err_set(&mine->call->err, -EINVAL,
			       "volume %s would become smaller, which has to be asked for",
			       volume->volume.name);
	if (volume->volume.reserve_bytes > mine->size)
		return err_set(&mine->call->err, -EINVAL, "volume %s reserves more than that",
			       volume->volume.name);
	if (!mine->call->dry) {
		__atomic_store_n(&volume->volume.size_bytes, mine->size, __ATOMIC_RELEASE);
		while (__atomic_load_n(&volume->requests, __ATOMIC_ACQUIRE))
			fiber_sleep(POLL_NS);
	}
	result = first_mapped(volume, mine->size, before, &at);
	if (result == 0 && at != UINT64_MAX)
		result = err_set(&mine->call->err, -EBUSY,
				 "volume %s holds data behind its new end, at byte %llu: discard "
				 "it first",
				 volume->volume.name, (unsigned long long)at);
	if (result == 0 && mine->call->dry)
		return 0;
	if (result < 0) {
		__atomic_store_n(&volume->volume.size_bytes, before, __ATOMIC_RELEASE);
		return result;
	}
	native_lock(mine->native);
	volume->stored_size = mine->size;
	nvolume_mark_dirty(volume);
	pthread_mutex_unlock(&mine->native->lock);
	return 0;
}

static int do_resize(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct nvolume *volume = mine->volume;
	int result = 0;

	if (mine->size < volume->stored_size)
		return do_shrink(mine);
	if (mine->call->dry)
		return 0;
	native_lock(native);
	while (result == 0 && tree_capacity(&volume->map) * MAP_CHUNKS * CHUNK < mine->size)
		result = tree_grow(&volume->map);
	if (result == 0) {
		volume->stored_size = mine->size; /* to be seen when it is durable */
		nvolume_mark_dirty(volume);
	}
	native_unlock(lane);
	return result;
}

static int do_rename(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct nvolume *volume = mine->volume, *other = keeper_find(native, mine->name);

	if (other && other != volume)
		return keeper_name_is_taken(mine);
	if (mine->call->dry)
		return 0;
	native_lock(native);
	snprintf(volume->volume.name, sizeof(volume->volume.name), "%s", mine->name);
	keeper_insert_sorted(native, volume);
	nvolume_mark_dirty(volume);
	snapshot_renamed(volume);
	native_unlock(lane);
	return 0;
}

/* The name is free at once; the space comes back in the background, over restarts if need be. */
static int do_delete(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct nvolume *volume = mine->volume;

	if (__atomic_load_n(&volume->volume.refs, __ATOMIC_ACQUIRE) != 1)
		return err_set(&mine->call->err, -EBUSY, "volume %s is in use",
			       volume->volume.name);
	if (snapshot_listed(volume))
		return err_set(&mine->call->err, -EBUSY,
			       "volume %s has snapshots, which have to be deleted first",
			       volume->volume.name);
	native_lock(native);
	volume->state = VOLUME_STATE_DELETING;
	volume->doomed = native->sb.generation + 1;
	measure_forget(volume->parent);
	reserve_changed(volume);
	reap_enlist(volume);
	nvolume_mark_dirty(volume);
	native_unlock(lane);
	return 0;
}

static int change(struct native_call *mine, struct lane *lane)
{
	bool wants_volume = mine->kind == CALL_DELETE || mine->kind == CALL_RESIZE ||
			    mine->kind == CALL_RENAME || mine->kind == CALL_SPACE;

	if (mine->native->read_only)
		return -EROFS;
	if (wants_volume && mine->volume->state != VOLUME_STATE_LIVE)
		return err_set(&mine->call->err, -EINVAL, "%s is not a volume",
			       mine->volume->volume.name);
	switch (mine->kind) {
	case CALL_CREATE:
		return do_create(mine, lane);
	case CALL_DELETE:
		return do_delete(mine, lane);
	case CALL_RESIZE:
		return do_resize(mine, lane);
	case CALL_WATERMARKS:
		if (mine->call->dry)
			return 0;
		memcpy(mine->native->sb.watermark, mine->watermark, WATERMARKS);
		return 0;
	case CALL_RENAME:
		return do_rename(mine, lane);
	case CALL_POOL_RENAME:
		snprintf(mine->native->sb.name, sizeof(mine->native->sb.name), "%.63s", mine->name);
		return 0;
	case CALL_SPACE:
		return quota_change(mine);
	default:
		return snapshot_change(mine, lane);
	}
}

static int changed(struct native_call *mine)
{
	/* The caller's reference goes with what it was to; before now it could still fail. */
	if (mine->kind == CALL_DELETE || mine->kind == CALL_SNAPSHOT_DELETE)
		mine->volume->volume.refs = 0;
	if (mine->kind > CALL_WATERMARKS)
		return snapshot_changed(mine);
	if (mine->kind == CALL_CREATE) {
		mine->call->volume = volume_ref(&mine->volume->volume);
		mine->call->pool = &mine->native->pool;
	} else if (mine->kind == CALL_RESIZE) {
		__atomic_store_n(&mine->volume->volume.size_bytes, mine->size, __ATOMIC_RELEASE);
		volume_notify(&mine->volume->volume, VOLUME_RESIZED);
	} else if (mine->kind == CALL_RENAME) {
		volume_notify(&mine->volume->volume, VOLUME_RENAMED);
	}
	return 0;
}

/* All changes at the head of the queue, one checkpoint, then the answers. */
static void run_changes(struct native *native, struct lane *lane)
{
	struct list batch;
	int result;

	list_init(&batch);
	while (!list_empty(&native->calls)) {
		struct native_call *mine = list_entry(native->calls.next, struct native_call, link);

		if (mine->kind > CALL_PROMOTE)
			break;
		list_remove(&mine->link);
		result = change(mine, lane);
		if (result < 0 || mine->call->dry)
			call_end(mine, result);
		else
			list_push_back(&batch, &mine->link);
	}
	if (list_empty(&batch))
		return;
	result = checkpoint_run(native, lane, false);
	while (!list_empty(&batch)) {
		struct native_call *mine =
		    list_entry(list_pop_front(&batch), struct native_call, link);

		call_end(mine, result == 0 ? changed(mine) : result);
	}
}

/* ---- closing ---- */
static int close_pool(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;

	list_for_each (it, &native->volumes) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);

		if (__atomic_load_n(&volume->volume.refs, __ATOMIC_ACQUIRE))
			return err_set(&mine->call->err, -EBUSY, "volume %s of pool %s is in use",
				       volume->volume.name, native->sb.name);
		list_for_each (its, &volume->snapshots) {
			volume = list_entry(its, struct nvolume, listed);
			if (__atomic_load_n(&volume->volume.refs, __ATOMIC_ACQUIRE))
				return err_set(&mine->call->err, -EBUSY,
					       "snapshot %s of pool %s is in use",
					       volume->volume.name, native->sb.name);
			volume = volume->of;
		}
	}
	list_for_each (it, &native->deleting) /* a deletion that has failed leaves its caller's */
		if (__atomic_load_n(&list_entry(it, struct nvolume, link)->volume.refs,
				    __ATOMIC_ACQUIRE))
			return err_set(&mine->call->err, -EBUSY,
				       "a volume of pool %s whose deletion failed is in use",
				       native->sb.name);
	native->closing = true;
	scrub_halt(native);
	resilver_halt(native);
	while (__atomic_load_n(&native->requests, __ATOMIC_ACQUIRE) || native->tick_flushing)
		fiber_sleep(POLL_NS);
	timer_stop(&native->timer);
	if (!native->read_only)
		checkpoint_run(native, lane, true);
	/* a device has failed in just that one */
	if (!native->read_only && native->away_lsn >= native->sb.next_lsn)
		checkpoint_run(native, lane, true);
	if (native->ledger->dirty)
		ledger_write(native);
	while (native->journal.committing || native->cycle.state == CYCLE_FLUSHING ||
	       native->repairs_in_flight)
		fiber_sleep(POLL_NS);
	return 0;
}

/* ---- the fiber ---- */
static void look_at_nodes(struct native *native, struct lane *lane)
{
	native_lock(native);
	spread_again(native);
	native_unlock(lane);
}

static bool run_one(struct native *native, struct lane *lane)
{
	struct native_call *mine;
	int result;

	run_changes(native, lane);
	if (list_empty(&native->calls))
		return false;
	mine = list_entry(list_pop_front(&native->calls), struct native_call, link);
	if (mine->kind == CALL_CLOSE) {
		result = close_pool(mine, lane);
		call_end(mine, result);
		if (result == 0)
			native_free(native);
		return result == 0;
	}
	if (mine->kind == CALL_MEASURE || mine->kind == CALL_MEASURE_ALL) {
		measure_ask(mine);
		return false;
	}
	if (mine->kind == CALL_CHECKPOINT)
		result = checkpoint_run(native, lane, false);
	else if (mine->kind == CALL_CHECK)
		result = check_run(native, lane, mine->data, mine->report);
	else if (mine->kind == CALL_ADD)
		result = extend_add(mine, lane);
	else if (mine->kind == CALL_GROW)
		result = extend_grow(mine, lane);
	else if (mine->kind == CALL_EVACUATE)
		result = evacuate_change(mine, lane);
	else if (mine->kind == CALL_REMOVE)
		result = evacuate_remove(mine, lane);
	else if (mine->kind == CALL_ONLINE)
		result = away_online(mine, lane);
	else if (mine->kind == CALL_OFFLINE)
		result = replace_offline(mine, lane);
	else if (mine->kind == CALL_REPLACE)
		result = replace_device(mine, lane);
	else if (mine->kind > CALL_PROMOTE)
		result = snapshot_work(mine, lane);
	else { /* a change that came in between */
		list_push_front(&native->calls, &mine->link);
		return false;
	}
	if (result == 0 && (mine->kind == CALL_ADD || mine->kind == CALL_GROW ||
			    mine->kind == CALL_REMOVE || mine->kind == CALL_ONLINE))
		look_at_nodes(native, lane); /* where they may be is another matter now */
	call_end(mine, result);
	return false;
}

static void keeper_main(void *context)
{
	struct native *native = context;
	struct lane *lane = lane_get(native);
	bool due, measured;

	for (;;) {
		while (!list_empty(&native->calls))
			if (run_one(native, lane))
				return;
		native_lock(native);
		due = native->checkpoint_due;
		if (native->checkpoint_due && !native->read_only) {
			native_unlock(lane);
			checkpoint_run(native, lane, false);
			continue;
		}
		native_unlock(lane);
		measured = measure_some(native, lane); /* and others between its steps */
		native_lock(native);
		if (!list_empty(&native->deleting) && !native->read_only) {
			native_unlock(lane);
			if (reap_some(native, lane))
				continue;
			native_lock(native);
		}
		if (resilver_due(native)) {
			native_unlock(lane);
			if (resilver_some(native, lane))
				continue;
			native_lock(native);
		}
		if (spread_due(native)) {
			native_unlock(lane);
			spread_some(native, lane);
			continue;
		}
		if (evacuate_runs(native)) {
			native_unlock(lane);
			if (evacuate_some(native, lane))
				continue;
			native_lock(native);
		}
		if (!list_empty(&native->calls) || native->checkpoint_due != due || measured) {
			native_unlock(lane);
			continue;
		}
		if (native->ledger->dirty && !native->read_only) {
			native_unlock(lane);
			ledger_write(native);
			continue;
		}
		native->keeper_running = false;
		native_unlock(lane);
		return;
	}
}

static void keeper_posted(struct message *message)
{
	struct native *native = container_of(message, struct native, keeper_message);

	pthread_mutex_lock(&native->lock);
	native->keeper_posted = false;
	if (!native->keeper_running && fiber_start(native->home, keeper_main, native) == 0)
		native->keeper_running = true;
	pthread_mutex_unlock(&native->lock);
}

void keeper_kick(struct native *native)
{
	if (native->keeper_running || native->keeper_posted || !native->opened)
		return;
	native->keeper_posted = true;
	loop_post(native->home, &native->keeper_message, keeper_posted);
}

void checkpoint_want(struct native *native)
{
	if (native->checkpoint_due)
		return;
	native->checkpoint_due = true;
	keeper_kick(native);
}

/* ---- the timer: what nobody waits for becomes durable all the same ---- */
static void tick_flushed(struct waiter *waiter)
{
	container_of(waiter, struct native, tick_waiter)->tick_flushing = false;
}

static void tick(struct timer *timer)
{
	struct native *native = container_of(timer, struct native, timer);
	struct lane *lane = lane_get(native);

	timer_start(timer, TICK_NS);
	if (!lane)
		return;
	native_lock(native);
	if (!native->tick_flushing && !native->read_only && !native->closing &&
	    flush_needed(native)) {
		native->tick_flushing = true;
		waiter_init(&native->tick_waiter, lane, tick_flushed);
		flush_join(native, &native->tick_waiter);
	}
	if (++native->ticks % CHECKPOINT_TICKS == 0 && native->dirty->count && !native->closing)
		checkpoint_want(native);
	if (native->ticks % SPREAD_TICKS == 0)
		spread_again(native);
	if ((evacuate_runs(native) || measure_is_due(native) || resilver_due(native) ||
	     spread_due(native)) &&
	    !native->closing)
		keeper_kick(native);
	native_unlock(lane);
	watermark_look(native);
}

void keeper_start(struct native *native)
{
	native->opened = true;
	native->opened_generation = native->sb.generation;
	timer_init(&native->timer, native->home, tick);
	timer_start(&native->timer, TICK_NS);
	scrub_opened(native);
	if (!list_empty(&native->deleting) || native->ledger->dirty || native->checkpoint_due ||
	    resilver_due(native) || spread_due(native)) {
		native_lock(native);
		keeper_kick(native);
		pthread_mutex_unlock(&native->lock);
	}
}

/* ---- pool.h ---- */
static bool can_be_dry(enum call_kind kind)
{
	return kind == CALL_CREATE || kind == CALL_RESIZE || kind == CALL_RENAME ||
	       kind == CALL_SPACE || kind == CALL_SNAPSHOT || kind == CALL_CLONE ||
	       kind == CALL_ROLLBACK || kind == CALL_SNAPSHOT_DELETE ||
	       kind == CALL_SNAPSHOT_RENAME || kind == CALL_HOLD || kind == CALL_RELEASE ||
	       kind == CALL_APPROVE || kind == CALL_PROMOTE || kind == CALL_WATERMARKS ||
	       kind == CALL_EVACUATE || kind == CALL_REMOVE || kind == CALL_ADD ||
	       kind == CALL_GROW || kind == CALL_ONLINE || kind == CALL_OFFLINE ||
	       kind == CALL_REPLACE;
}

struct native_call *call_new(struct native *native, struct pool_call *call, enum call_kind kind)
{
	struct native_call *mine = heap_zalloc(sizeof(*mine));

	call->loop = loop_current() ? loop_current() : native->home;
	call->err.code = 0;
	call->err.text[0] = 0;
	call->about = NULL;
	call->volume = NULL;
	if (!mine) {
		pool_answer(call, err_set(&call->err, -ENOMEM, "out of memory"));
		return NULL;
	}
	mine->kind = kind;
	mine->call = call;
	mine->native = native;
	if (call->dry && !can_be_dry(kind)) { /* never carried out by mistake */
		call_refuse(mine, err_set(&call->err, -EOPNOTSUPP, "this has no dry run"));
		return NULL;
	}
	return mine;
}

void call_queue(struct native_call *mine)
{
	struct native *native = mine->native;

	native_lock(native);
	list_push_back(&native->calls, &mine->link);
	keeper_kick(native);
	pthread_mutex_unlock(&native->lock);
}

void call_refuse(struct native_call *mine, int result)
{
	pool_answer(mine->call, result);
	heap_free(mine->of);
	heap_free(mine->made);
	heap_free(mine->wanted);
	heap_free(mine->devices);
	heap_free(mine);
}

void native_volume_create(struct pool *pool, const struct volume_spec *spec, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_CREATE);
	int result;

	if (!mine)
		return;
	result = volume_name_check(spec->name, &call->err);
	if (result == 0 && (spec->size_bytes < 1u << 20 || spec->size_bytes > VOLUME_SIZE_MAX ||
			    spec->size_bytes % VOLUME_SLOT))
		result = err_set(&call->err, -EINVAL,
				 "a volume's size is 1 MiB to 64 TiB, a multiple of 4096 bytes");
	if (result == 0)
		result = quota_spec_check(call, spec->name, spec->size_bytes, spec->reserve_bytes,
					  spec->quota_bytes);
	if (result < 0) {
		call_refuse(mine, result);
		return;
	}
	snprintf(mine->name, sizeof(mine->name), "%s", spec->name);
	mine->size = spec->size_bytes;
	mine->checksum = spec->checksum;
	mine->mirror = spec->mirror;
	mine->identified = spec->identity != NULL;
	if (spec->identity)
		mine->identity = *spec->identity;
	mine->reserve = spec->reserve_bytes;
	mine->quota = spec->quota_bytes;
	call_queue(mine);
}

void native_volume_delete(struct volume *volume, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, CALL_DELETE);

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	call_queue(mine);
}

void native_volume_resize(struct volume *volume, uint64_t size_bytes, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, CALL_RESIZE);

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	mine->size = size_bytes;
	if (size_bytes > VOLUME_SIZE_MAX || size_bytes % VOLUME_SLOT)
		call_refuse(mine, err_set(&call->err, -EINVAL,
					  "a volume's size is a multiple of 4096 bytes, at most "
					  "64 TiB"));
	else
		call_queue(mine);
}

void native_volume_shrink(struct volume *volume, uint64_t size_bytes, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, CALL_RESIZE);

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	mine->size = size_bytes;
	mine->shrink = true;
	if (size_bytes < 1u << 20 || size_bytes > VOLUME_SIZE_MAX || size_bytes % VOLUME_SLOT)
		call_refuse(mine, err_set(&call->err, -EINVAL,
					  "a volume's size is 1 MiB to 64 TiB, a multiple of 4096 "
					  "bytes"));
	else
		call_queue(mine);
}

void native_set_watermarks(struct pool *pool, const uint8_t percent[WATERMARKS],
			   struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_WATERMARKS);

	if (!mine)
		return;
	memcpy(mine->watermark, percent, WATERMARKS);
	for (unsigned i = 0; i < WATERMARKS; i++)
		if (percent[i] < 1 || percent[i] > 99 || (i && percent[i] <= percent[i - 1])) {
			call_refuse(mine, err_set(&call->err, -EINVAL,
						  "watermarks are three percents from 1 to 99, "
						  "each higher than the one before"));
			return;
		}
	call_queue(mine);
}

void native_rename(struct pool *pool, const char *name, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_POOL_RENAME);
	int result = volume_name_check(name, &call->err);

	if (!mine)
		return;
	if (result == 0 && strlen(name) > POOL_NAME_MAX)
		result = err_set(&call->err, -EINVAL, "a pool's name has at most %d bytes",
				 POOL_NAME_MAX);
	if (result < 0) {
		call_refuse(mine, result);
		return;
	}
	snprintf(mine->name, sizeof(mine->name), "%s", name);
	call_queue(mine);
}

void native_volume_rename(struct volume *volume, const char *name, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, CALL_RENAME);
	int result;

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	result = volume_name_check(name, &call->err);
	if (result < 0) {
		call_refuse(mine, result);
		return;
	}
	snprintf(mine->name, sizeof(mine->name), "%s", name);
	call_queue(mine);
}

void native_checkpoint(struct pool *pool, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_CHECKPOINT);

	if (mine)
		call_queue(mine);
}

void native_check(struct pool *pool, bool data, struct pool_check_report *report,
		  struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_CHECK);

	if (!mine)
		return;
	mine->data = data;
	mine->report = report;
	call_queue(mine);
}

void native_close(struct pool *pool, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_CLOSE);

	if (mine)
		call_queue(mine);
}

struct volume *native_volume_next(struct pool *pool, struct volume *previous)
{
	struct native *native = native_of(pool);
	struct list *next = previous ? nvolume_of(previous)->link.next : native->volumes.next;

	volume_unref(previous);
	if (next == &native->volumes)
		return NULL;
	return volume_ref(&list_entry(next, struct nvolume, link)->volume);
}
