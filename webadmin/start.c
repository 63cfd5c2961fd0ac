/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/replication.h"
#include "volumes/devices.h"
#include "volumes/prove_device.h"
#include "webadmin/admin.h"
#include "webadmin/alert.h"
#include "webadmin/alert_channel.h"
#include "webadmin/backup.h"
#include "webadmin/bin.h"
#include "webadmin/directory.h"
#include "webadmin/expiry.h"
#include "webadmin/export.h"
#include "webadmin/limits.h"
#include "webadmin/move.h"
#include "webadmin/passthrough.h"
#include "webadmin/schedule.h"
#include "webadmin/ups.h"

/* Bringing up what is configured and taking it down again.
 *
 * start: open all pools at once -> when the last has answered: shares -> targets, rules, LUNs ->
 *        started
 *   A pool that is in use is tried again for a while: after kill -9 the kernel may hold the old
 *   process's files, and so their locks, until its last I/O is done.
 *   A pool of a cluster that is away holds nothing up: it is tried again for as long as it takes,
 *   and what is on it is served when it comes.
 * stop:  disconnect all targets at once -> when the last is gone: shares -> all pools -> stopped */

#define BUSY_RETRY_NS (50 * 1000000ull)
#define BUSY_LIMIT_NS (5 * 1000000000ull)
#define LATE_RETRY_NS (2 * 1000000000ull)

/* The volumes of all open pools by UUID, so that a thousand LUNs find theirs quickly. */
struct directory {
	struct volume **volumes; /* referenced */
	unsigned count, room;
};

static int compare_volumes(const void *a, const void *b)
{
	return memcmp((*(struct volume *const *)a)->identity.uuid,
		      (*(struct volume *const *)b)->identity.uuid, 16);
}

static int compare_uuid(const void *uuid, const void *entry)
{
	return memcmp(uuid, (*(struct volume *const *)entry)->identity.uuid, 16);
}

static bool directory_add_pool(struct directory *directory, struct model *model, struct pool *pool)
{
	struct volume *volume = NULL;

	while ((volume = pool_volume_next(pool, volume))) {
		if (move_hides(model, volume))
			continue;
		if (directory->count == directory->room) {
			unsigned room = directory->room ? directory->room * 2 : 64;
			struct volume **grown =
			    heap_resize(directory->volumes, room * sizeof *grown);

			if (!grown) {
				volume_unref(volume);
				return false;
			}
			directory->volumes = grown;
			directory->room = room;
		}
		directory->volumes[directory->count++] = volume_ref(volume);
	}
	return true;
}

static void directory_fill(struct directory *directory, struct model *model)
{
	list_for_each (it, &model->pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		if (pool->pool && !directory_add_pool(directory, model, pool->pool))
			log_error("pool %s: out of memory while its volumes are listed",
				  pool->name);
	}
	if (directory->count)
		qsort(directory->volumes, directory->count, sizeof(struct volume *),
		      compare_volumes);
}

static struct volume *directory_find(struct directory *directory, const uint8_t uuid[16])
{
	struct volume **found = NULL;

	if (directory->count)
		found = bsearch(uuid, directory->volumes, directory->count, sizeof *found,
				compare_uuid);
	return found ? *found : NULL;
}

static void directory_finish(struct directory *directory)
{
	for (unsigned i = 0; i < directory->count; i++)
		volume_unref(directory->volumes[i]);
	heap_free(directory->volumes);
}

static struct volume *find_for_limits(void *context, const uint8_t uuid[16])
{
	return directory_find(context, uuid);
}

static void lun_missing(struct model *model, struct model_lun *lun)
{
	struct model_pool *pool = model_pool_find(model, lun->pool);

	if (pool && !pool->pool)
		snprintf(lun->reason, sizeof lun->reason, "pool %s is not available", lun->pool);
	else
		snprintf(lun->reason, sizeof lun->reason, "volume %s/%s is not there any more",
			 lun->pool, lun->volume_name);
}

/* Of the snapshots only those are looked at that a LUN may be: there can be very many. A reference;
 * its volume may have another name than when it was mapped. */
static struct volume *find_snapshot(struct model *model, const struct model_lun *lun)
{
	struct model_pool *pool = model_pool_find(model, lun->pool);
	struct volume *volume = NULL, *snapshot;

	if (!pool || !pool->pool || !strchr(lun->volume_name, '@'))
		return NULL;
	snapshot = pool_find_volume(pool->pool, lun->volume_name);
	if (snapshot && memcmp(snapshot->identity.uuid, lun->volume, 16) == 0)
		return snapshot;
	volume_unref(snapshot);
	while ((volume = pool_volume_next(pool->pool, volume))) {
		snapshot = NULL;
		while ((snapshot = snapshot_next(volume, snapshot)))
			if (memcmp(snapshot->identity.uuid, lun->volume, 16) == 0) {
				volume_unref(volume);
				return snapshot;
			}
	}
	return NULL;
}

static void start_lun(struct webadmin *admin, struct model_target *target, struct model_lun *lun,
		      struct directory *directory)
{
	struct volume *volume = directory_find(directory, lun->volume), *snapshot = NULL;
	struct err err = {0};

	if (!volume)
		volume = snapshot = find_snapshot(&admin->model, lun);
	if (!volume) {
		lun_missing(&admin->model, lun);
	} else {
		/* A rename that was cut off between the pool and the store. */
		snprintf(lun->volume_name, sizeof lun->volume_name, "%s", volume->name);
		if (model_lun_connect(target, lun, volume, &err) == 0) {
			volume_unref(snapshot);
			return;
		}
	}
	volume_unref(snapshot);
	log_error("target %s LUN %u is not served: %s", target->iqn, lun->lun, lun->reason);
}

static void start_targets(struct webadmin *admin)
{
	struct directory directory = {0};

	directory_fill(&directory, &admin->model);
	limits_apply(admin, find_for_limits, &directory);
	list_for_each (t, &admin->model.targets) {
		struct model_target *target = list_entry(t, struct model_target, link);
		struct err err = {0};

		if (model_target_connect(target, admin->options.iscsi, &err) < 0) {
			snprintf(target->reason, sizeof target->reason, "%s", err.text);
			log_error("target %s is not served: %s", target->iqn, err.text);
		} else if (group_restore(admin->options.config, target, &err) < 0) {
			log_error("target %s: its portal groups: %s", target->iqn, err.text);
		}
		list_for_each (l, &target->luns)
			start_lun(admin, target, list_entry(l, struct model_lun, link), &directory);
	}
	directory_finish(&directory);
}

void webadmin_start_luns(struct webadmin *admin, const char *pool)
{
	struct directory directory = {0};

	directory_fill(&directory, &admin->model);
	limits_apply(admin, find_for_limits, &directory);
	list_for_each (t, &admin->model.targets) {
		struct model_target *target = list_entry(t, struct model_target, link);

		list_for_each (l, &target->luns) {
			struct model_lun *lun = list_entry(l, struct model_lun, link);

			if (!lun->mapped && strcmp(lun->pool, pool) == 0)
				start_lun(admin, target, lun, &directory);
		}
	}
	directory_finish(&directory);
}

static void shares_opened(struct webadmin *admin)
{
	void (*started)(void *context) = admin->started;
	struct err err = {0};

	replication_serve(admin->replication);
	if (export_apply(admin, NULL, NULL, NULL, &err) < 0)
		log_error("no share is exported: %s", err.text);
	directories_start(admin); /* nobody waits for them */
	start_targets(admin);
	admin->phase = NULL;
	moves_start(admin);
	schedules_start(admin);
	expiry_start(admin);
	alert_watch_start(admin);
	ups_start(admin);
	started(admin->phase_context);
}

static void pools_opened(struct webadmin *admin)
{
	list_for_each (it, &admin->model.pools)
		bin_settle(admin, list_entry(it, struct model_pool, link));
	/* Before anybody writes: from the first change on, all of them are seen. */
	replication_start(admin->replication);
	webadmin_start_shares(admin, shares_opened);
}

/* The store says which pool belongs on these devices; another one there is not served. */
static bool pool_is_ours(struct model_pool *pool)
{
	struct pool_info info;

	pool_get_info(pool->pool, &info);
	if (memcmp(info.uuid, pool->uuid, sizeof info.uuid) == 0)
		return true;
	snprintf(pool->reason, sizeof pool->reason,
		 "its devices hold another pool (named %s); import that one, or bring back the "
		 "devices",
		 info.name);
	return false;
}

static void stranger_closed(struct pool_call *call, int result)
{
	struct model_pool *pool = container_of(call, struct model_pool, call);
	struct webadmin *admin = pool->opening;

	pool->busy = false;
	if (result < 0)
		log_error("pool %s: closing what is on its devices: %s", pool->name,
			  call->err.text);
	if (--admin->pending == 0)
		pools_opened(admin);
}

static void late_stranger_closed(struct pool_call *call, int result)
{
	struct model_pool *pool = container_of(call, struct model_pool, call);

	if (result < 0)
		log_error("pool %s: closing what is in its place: %s", pool->name, call->err.text);
}

static void try_later(struct model_pool *pool, const struct pool_call *call, int result)
{
	const char *why = call->err.text[0] ? call->err.text : strerror(-result);

	if (strcmp(pool->reason, why) != 0)
		log_warning("pool %s waits for its cluster: %s", pool->name, why);
	snprintf(pool->reason, sizeof pool->reason, "%s", why);
	timer_start(&pool->retry, LATE_RETRY_NS);
}

static void pool_came(struct model_pool *pool, struct pool_call *call)
{
	struct webadmin *admin = pool->opening;

	pool->pool = call->pool;
	pool->late = false;
	if (!pool_is_ours(pool)) {
		struct pool *stranger = pool->pool;

		log_error("pool %s is not available: %s", pool->name, pool->reason);
		pool->pool = NULL;
		pool->call = (struct pool_call){.done = late_stranger_closed};
		pool_close(stranger, &pool->call);
		return;
	}
	pool->reason[0] = '\0';
	log_notice("pool %s is here now", pool->name);
	bin_settle(admin, pool);
	webadmin_start_pool_shares(admin, pool->name);
	webadmin_start_luns(admin, pool->name);
}

/* True when the start has nothing to do with it any more. */
static bool opened_late(struct model_pool *pool, struct pool_call *call, int result)
{
	bool remote = pool->path_count && pool_is_remote(pool->paths[0]);
	bool was_late = pool->late;

	if (pool->opening->phase && strcmp(pool->opening->phase, "stopping") == 0)
		return true;
	if (result < 0 && remote) {
		pool->late = true;
		try_later(pool, call, result);
	} else if (was_late) {
		pool_came(pool, call);
	}
	return was_late;
}

static void pool_opened(struct pool_call *call, int result)
{
	struct model_pool *pool = container_of(call, struct model_pool, call);
	struct webadmin *admin = pool->opening;

	pool->busy = false;
	if (opened_late(pool, call, result))
		return;
	if (result == -EBUSY && loop_now(admin->options.control) < pool->busy_limit_ns) {
		timer_start(&pool->retry, BUSY_RETRY_NS);
		return;
	}
	if (result < 0 && !pool->late) {
		snprintf(pool->reason, sizeof pool->reason, "%s",
			 call->err.text[0] ? call->err.text : strerror(-result));
		log_error("pool %s is not available: %s", pool->name, pool->reason);
	} else if (result == 0) {
		pool->pool = call->pool;
		if (!pool_is_ours(pool)) {
			struct pool *stranger = pool->pool;

			log_error("pool %s is not available: %s", pool->name, pool->reason);
			pool->pool = NULL;
			pool->call = (struct pool_call){.done = stranger_closed};
			pool_close(stranger, &pool->call);
			return;
		}
		pool->reason[0] = '\0';
		pool_paths_sync(admin->options.config, pool);
	}
	if (--admin->pending == 0)
		pools_opened(admin);
}

static void start_passthrough(struct model_pool *pool)
{
	struct webadmin *admin = pool->opening;
	bool last = loop_now(admin->options.control) >= pool->busy_limit_ns;

	if (passthrough_start(admin, pool, last) == -EBUSY)
		timer_start(&pool->retry, BUSY_RETRY_NS);
	else if (--admin->pending == 0)
		pools_opened(admin);
}

static void start_pool(struct timer *retry)
{
	struct model_pool *pool = container_of(retry, struct model_pool, retry);
	const struct webadmin_options *options = &pool->opening->options;

	if (model_pool_is_passthrough(pool)) {
		start_passthrough(pool);
		return;
	}
	pool->busy = true;
	pool->call = (struct pool_call){.done = pool_opened};
	pool_open(options->world, options->control, (const char *const *)pool->paths,
		  pool->path_count, &pool->call);
}

void webadmin_start(struct webadmin *admin, void (*started)(void *context), void *context)
{
	admin->started = started;
	admin->phase_context = context;
	admin->phase = "starting";
	admin->pending = 1; /* ours: nothing is over before all are under way */
	list_for_each (it, &admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		admin->pending++;
		pool->opening = admin;
		pool->busy_limit_ns = loop_now(admin->options.control) + BUSY_LIMIT_NS;
		timer_init(&pool->retry, admin->options.control, start_pool);
		start_pool(&pool->retry);
	}
	if (--admin->pending == 0)
		pools_opened(admin);
}

static void pool_stopped(struct pool_call *call, int result)
{
	struct model_pool *pool = container_of(call, struct model_pool, call);
	struct webadmin *admin = pool->opening;

	pool->busy = false;
	if (result < 0) {
		admin->failures++;
		log_error("pool %s was not closed cleanly: %s", pool->name, call->err.text);
	} else {
		pool->pool = NULL;
	}
	if (--admin->pending == 0)
		admin->stopped(admin->phase_context, admin->failures);
}

static void moves_are_stopped(struct webadmin *admin)
{
	admin->pending = 1;
	list_for_each (it, &admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		if (!pool->pool)
			continue;
		admin->pending++;
		pool->busy = true;
		pool->opening = admin;
		pool->call = (struct pool_call){.done = pool_stopped};
		pool_close(pool->pool, &pool->call);
	}
	if (--admin->pending == 0)
		admin->stopped(admin->phase_context, admin->failures);
}

static void replication_stopped(void *context)
{
	moves_stop(context, moves_are_stopped);
}

static void shares_stopped(struct webadmin *admin)
{
	replication_stop(admin->replication, replication_stopped, admin);
}

static void target_stopped(void *context)
{
	struct webadmin *admin = context;

	if (--admin->pending == 0)
		webadmin_stop_shares(admin, shares_stopped);
}

static void stop_targets(struct webadmin *admin)
{
	admin->pending = 1;
	list_for_each (it, &admin->model.targets) {
		struct model_target *target = list_entry(it, struct model_target, link);

		admin->pending++;
		model_target_disconnect(target, target_stopped, admin);
	}
	target_stopped(admin);
}

void webadmin_stop(struct webadmin *admin, void (*stopped)(void *context, unsigned failures),
		   void *context)
{
	admin->stopped = stopped;
	admin->phase_context = context;
	admin->phase = "stopping";
	list_for_each (it, &admin->model.pools)
		timer_stop(&list_entry(it, struct model_pool, link)->retry);
	access_quiet(admin->access);
	relay_stop(&admin->relay);
	relay_stop(&admin->looks);
	gather_stop(admin);
	backups_stop(admin);
	ups_stop(admin);
	watch_quiet(admin->watch);
	replication_quiet(admin->replication); /* what runs may be a failback, which waits */
	schedules_stop(admin);
	expiry_stop(admin);
	moves_cancel(admin);
	directories_stop(admin);
	alert_channels_stop(admin);
	alert_watch_stop(admin);
	devices_stop(admin->options.control);
	if (admin->proof)
		device_proof_stop(admin->proof);
	if (admin->change) /* its transaction ends first; those behind it are refused */
		admin->idle = stop_targets;
	else
		stop_targets(admin);
}

bool webadmin_progress(struct webadmin *admin, char *line, size_t size)
{
	list_for_each (it, &admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);
		uint64_t total = pool->call.total;

		if (!pool->busy)
			continue;
		if (total)
			snprintf(line, size, "%s: pool %s: %u %%", admin->phase, pool->name,
				 (unsigned)(pool->call.progress * 100 / total));
		else
			snprintf(line, size, "%s: pool %s", admin->phase, pool->name);
		return true;
	}
	return false;
}
