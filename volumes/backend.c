/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/backend.h"

/* The kinds of pools. A new one adds its row; the first is the one pool_create() makes. */
static const struct pool_ops *const backends[] = {&native_pool_ops, &passthrough_pool_ops,
						  &rbd_pool_ops};

const struct pool_ops *backend_find(const char *name)
{
	for (unsigned i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	return NULL;
}

/* By the scheme of the first device's path; without one it is a path. */
static const struct pool_ops *backend_of(const char *path)
{
	for (unsigned i = 1; i < sizeof(backends) / sizeof(backends[0]); i++) {
		size_t length = strlen(backends[i]->name);

		if (strncmp(path, backends[i]->name, length) == 0 && path[length] == ':')
			return backends[i];
	}
	return backends[0];
}

static void deliver(struct message *message)
{
	struct pool_call *call = container_of(message, struct pool_call, message);

	call->done(call, call->result);
}

void pool_answer(struct pool_call *call, int result)
{
	call->result = result;
	loop_post(call->loop, &call->message, deliver);
}

void pool_refuse(const struct pool *pool, struct pool_call *call, const char *what)
{
	call->loop = loop_current();
	pool_answer(call, err_set(&call->err, -EOPNOTSUPP, "a %s pool %s",
				  pool ? pool->ops->name : "memory", what));
}

/* Of a backend that would carry it out; true: it has been refused. */
static bool refuse_dry(const struct pool *pool, struct pool_call *call)
{
	if (!call->dry || (pool && pool->ops->dry))
		return false;
	pool_refuse(pool, call, "does not offer dry runs");
	return true;
}

/* Likewise of a kind, before there is a pool. */
static bool refuse_dry_kind(const struct pool_ops *ops, struct pool_call *call)
{
	const struct pool pool = {.ops = ops};

	return refuse_dry(&pool, call);
}

void pool_create(const struct world_ops *world, struct loop *loop,
		 const struct pool_create_options *options, struct pool_call *call)
{
	const struct pool_ops *ops =
	    backend_of(options->device_count ? options->devices[0].path : "");

	if (!refuse_dry_kind(ops, call))
		ops->create(world, loop, options, call);
}

static void open_pool(const struct world_ops *world, struct loop *loop, const char *const *paths,
		      unsigned path_count, bool rewind, struct pool_call *call)
{
	const struct pool_ops *ops = backend_of(path_count ? paths[0] : "");

	if (!refuse_dry_kind(ops, call))
		ops->open(world, loop, paths, path_count, rewind, call);
}

void pool_open(const struct world_ops *world, struct loop *loop, const char *const *paths,
	       unsigned path_count, struct pool_call *call)
{
	open_pool(world, loop, paths, path_count, false, call);
}

bool pool_is_remote(const char *path)
{
	return backend_of(path) == &rbd_pool_ops;
}

bool pool_can(const struct pool *pool, enum pool_feature feature)
{
	const struct pool_ops *ops = pool->ops;
	const bool can[POOL_FEATURES] = {
	    [POOL_CHECKSUMS] = ops->own_blocks,
	    [POOL_MIRRORS] = ops->own_blocks,
	    [POOL_RESERVES] = ops->own_blocks,
	    [POOL_CHECKS] = ops->own_blocks,
	    [POOL_SCRUBS] = ops->scrub != NULL,
	    [POOL_DEVICES] = ops->add != NULL,
	    [POOL_WATERMARKS] = ops->set_watermarks != NULL,
	    [POOL_SNAPSHOTS] = ops->snapshot_create != NULL,
	    [POOL_EXPENDABLES] = ops->snapshot_approve != NULL,
	    [POOL_GATEWAYS] = ops->volume_take != NULL,
	};

	return can[feature];
}

void pool_rewind(const struct world_ops *world, struct loop *loop, const char *const *paths,
		 unsigned path_count, struct pool_call *call)
{
	open_pool(world, loop, paths, path_count, true, call);
}

void pool_open_degraded(const struct world_ops *world, struct loop *loop, const char *const *paths,
			unsigned path_count, struct pool_call *call)
{
	const struct pool_ops *ops = backend_of(path_count ? paths[0] : "");

	if (refuse_dry_kind(ops, call))
		return;
	if (ops->open_degraded)
		ops->open_degraded(world, loop, paths, path_count, call);
	else
		ops->open(world, loop, paths, path_count, false, call);
}

void pool_online(struct pool *pool, const char *path, struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->online)
		pool->ops->online(pool, path, call);
	else
		pool_refuse(pool, call, "does not go on without a device");
}

void pool_offline(struct pool *pool, const char *path, struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->offline)
		pool->ops->offline(pool, path, call);
	else
		pool_refuse(pool, call, "does not go on without a device");
}

static void replace(struct pool *pool, const char *old, const struct pool_device *device,
		    bool force, bool label, struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->replace)
		pool->ops->replace(pool, old, device, force, label, call);
	else
		pool_refuse(pool, call, "does not go on without a device");
}

void pool_label_replacement(struct pool *pool, const char *old, const struct pool_device *device,
			    bool force, struct pool_call *call)
{
	replace(pool, old, device, force, true, call);
}

void pool_replace(struct pool *pool, const char *old, const struct pool_device *device, bool force,
		  struct pool_call *call)
{
	replace(pool, old, device, force, false, call);
}

void pool_close(struct pool *pool, struct pool_call *call)
{
	pool->ops->close(pool, call);
}

void volume_create(struct pool *pool, const struct volume_spec *spec, struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	pool->ops->volume_create(pool, spec, call);
}

void volume_delete(struct volume *volume, struct pool_call *call)
{
	if (refuse_dry(volume->pool, call))
		return;
	volume->pool->ops->volume_delete(volume, call);
}

void volume_resize(struct volume *volume, uint64_t size_bytes, struct pool_call *call)
{
	if (refuse_dry(volume->pool, call))
		return;
	volume->pool->ops->volume_resize(volume, size_bytes, call);
}

void volume_shrink(struct volume *volume, uint64_t size_bytes, struct pool_call *call)
{
	if (refuse_dry(volume->pool, call))
		return;
	if (volume->pool->ops->volume_shrink)
		volume->pool->ops->volume_shrink(volume, size_bytes, call);
	else
		pool_refuse(volume->pool, call, "can not make a volume smaller");
}

void volume_set_space(struct volume *volume, const struct volume_space *space,
		      struct pool_call *call)
{
	if (refuse_dry(volume->pool, call))
		return;
	if (volume->pool->ops->volume_set_space)
		volume->pool->ops->volume_set_space(volume, space, call);
	else
		pool_refuse(volume->pool, call, "has no quotas and promises no space");
}

uint64_t volume_quota_used(struct volume *volume)
{
	const struct pool *pool = volume->pool;

	return pool && pool->ops->quota_used ? pool->ops->quota_used(volume) : 0;
}

void volume_rescan(struct volume *volume, struct pool_call *call)
{
	if (volume->pool->ops->volume_rescan)
		volume->pool->ops->volume_rescan(volume, call);
	else
		pool_refuse(volume->pool, call,
			    "gives its volumes their size itself; there is nothing to rescan");
}

static void add(struct pool *pool, const struct pool_device *devices, unsigned count, bool force,
		bool label, struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->add)
		pool->ops->add(pool, devices, count, force, label, call);
	else
		pool_refuse(pool, call, "takes no devices");
}

void pool_label(struct pool *pool, const struct pool_device *devices, unsigned count, bool force,
		struct pool_call *call)
{
	add(pool, devices, count, force, true, call);
}

void pool_add(struct pool *pool, const struct pool_device *devices, unsigned count, bool force,
	      struct pool_call *call)
{
	add(pool, devices, count, force, false, call);
}

void pool_grow(struct pool *pool, struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->grow)
		pool->ops->grow(pool, call);
	else
		pool_refuse(pool, call, "has no devices of its own that could grow");
}

void pool_evacuate(struct pool *pool, const char *path, enum pool_evacuate_action action,
		   struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->evacuate)
		pool->ops->evacuate(pool, path, action, call);
	else
		pool_refuse(pool, call, "has no devices of its own");
}

void pool_remove(struct pool *pool, const char *path, struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->remove)
		pool->ops->remove(pool, path, call);
	else
		pool_refuse(pool, call, "has no devices of its own");
}

bool pool_device_info(struct pool *pool, unsigned index, struct pool_device_info *ret_info)
{
	return pool->ops->device_info && pool->ops->device_info(pool, index, ret_info);
}

void pool_set_watermarks(struct pool *pool, const uint8_t percent[WATERMARKS],
			 struct pool_call *call)
{
	if (refuse_dry(pool, call))
		return;
	if (pool->ops->set_watermarks) {
		pool->ops->set_watermarks(pool, percent, call);
		return;
	}
	pool_refuse(pool, call, "has no watermarks");
}

void pool_rename(struct pool *pool, const char *name, struct pool_call *call)
{
	if (pool->ops->rename && !call->dry)
		pool->ops->rename(pool, name, call);
	else
		pool_refuse(pool, call, "keeps the name that it was made with");
}

void volume_rename(struct volume *volume, const char *name, struct pool_call *call)
{
	if (refuse_dry(volume->pool, call))
		return;
	volume->pool->ops->volume_rename(volume, name, call);
}

/* The operations of the pool a volume lies in; those of a volume without one can do nothing. */
static const struct pool_ops *ops_of(const struct volume *volume)
{
	static const struct pool_ops none = {.name = "memory"};

	return volume->pool ? volume->pool->ops : &none;
}

void volume_take(struct volume *volume, struct pool_call *call)
{
	if (ops_of(volume)->volume_take)
		ops_of(volume)->volume_take(volume, call);
	else
		pool_refuse(volume->pool, call, "does not offer several gateways");
}

void volume_note(struct volume *volume, struct volume_note_call *call)
{
	ops_of(volume)->volume_note(volume, call);
}

void volume_pin(struct volume *volume, enum volume_pin pin, struct pool_call *call)
{
	if (ops_of(volume)->volume_pin) {
		ops_of(volume)->volume_pin(volume, pin, call);
		return;
	}
	call->loop = loop_current();
	pool_answer(call, 0);
}

/* ---- snapshots and clones ---- */
static const char no_expendables[] = "does not offer snapshots that may be given up";

void snapshot_create(struct pool *pool, const struct snapshot_spec *specs, unsigned count,
		     struct pool_call *call)
{
	bool expendable = false;

	if (refuse_dry(pool, call))
		return;
	for (unsigned i = 0; i < count; i++)
		expendable |= specs[i].expendable;
	if (expendable && !pool->ops->snapshot_approve)
		pool_refuse(pool, call, no_expendables);
	else if (pool->ops->snapshot_create)
		pool->ops->snapshot_create(pool, specs, count, call);
	else
		pool_refuse(pool, call, "does not offer snapshots");
}

struct volume *snapshot_next(struct volume *volume, struct volume *previous)
{
	return ops_of(volume)->snapshot_next ? ops_of(volume)->snapshot_next(volume, previous)
					     : NULL;
}

bool snapshot_get_info(struct volume *volume, struct snapshot_info *ret_info)
{
	return ops_of(volume)->snapshot_get_info &&
	       ops_of(volume)->snapshot_get_info(volume, ret_info);
}

struct volume *snapshot_of(struct volume *volume)
{
	return ops_of(volume)->snapshot_of ? ops_of(volume)->snapshot_of(volume) : NULL;
}

void snapshot_delete(struct volume *snapshot, struct pool_call *call)
{
	if (refuse_dry(snapshot->pool, call))
		return;
	if (ops_of(snapshot)->snapshot_delete)
		ops_of(snapshot)->snapshot_delete(snapshot, call);
	else
		pool_refuse(snapshot->pool, call, "does not offer snapshots");
}

void snapshot_rename(struct volume *snapshot, const char *name, struct pool_call *call)
{
	if (refuse_dry(snapshot->pool, call))
		return;
	if (ops_of(snapshot)->snapshot_rename)
		ops_of(snapshot)->snapshot_rename(snapshot, name, call);
	else
		pool_refuse(snapshot->pool, call, "does not offer renaming of snapshots");
}

void snapshot_hold(struct volume *snapshot, uint64_t until_ns, struct pool_call *call)
{
	if (refuse_dry(snapshot->pool, call))
		return;
	if (ops_of(snapshot)->snapshot_hold)
		ops_of(snapshot)->snapshot_hold(snapshot, until_ns, call);
	else
		pool_refuse(snapshot->pool, call, "does not offer holds of snapshots");
}

void snapshot_release(struct volume *snapshot, struct pool_call *call)
{
	if (refuse_dry(snapshot->pool, call))
		return;
	if (ops_of(snapshot)->snapshot_release)
		ops_of(snapshot)->snapshot_release(snapshot, call);
	else
		pool_refuse(snapshot->pool, call, "does not offer holds of snapshots");
}

void snapshot_approve(struct volume *snapshot, bool expendable, struct pool_call *call)
{
	if (refuse_dry(snapshot->pool, call))
		return;
	if (ops_of(snapshot)->snapshot_approve)
		ops_of(snapshot)->snapshot_approve(snapshot, expendable, call);
	else
		pool_refuse(snapshot->pool, call, no_expendables);
}

void snapshot_measure(struct volume *snapshot, struct pool_call *call)
{
	if (ops_of(snapshot)->snapshot_measure)
		ops_of(snapshot)->snapshot_measure(snapshot, call);
	else
		pool_refuse(snapshot->pool, call, "does not offer the size of single snapshots");
}

void snapshot_measure_all(struct volume *volume, uint64_t limit_ns, struct pool_call *call)
{
	if (ops_of(volume)->snapshot_measure_all)
		ops_of(volume)->snapshot_measure_all(volume, limit_ns, call);
	else
		pool_refuse(volume->pool, call, "does not offer the size of single snapshots");
}

void volume_clone(struct volume *snapshot, const char *name, struct pool_call *call)
{
	if (refuse_dry(snapshot->pool, call))
		return;
	if (ops_of(snapshot)->volume_clone)
		ops_of(snapshot)->volume_clone(snapshot, name, call);
	else
		pool_refuse(snapshot->pool, call, "does not offer clones");
}

void volume_promote(struct volume *clone, struct pool_call *call)
{
	if (refuse_dry(clone->pool, call))
		return;
	if (ops_of(clone)->volume_promote)
		ops_of(clone)->volume_promote(clone, call);
	else
		pool_refuse(clone->pool, call, "does not offer the promotion of clones");
}

void volume_rollback(struct volume *volume, struct volume *snapshot, const char *keep,
		     struct pool_call *call)
{
	if (refuse_dry(volume->pool, call))
		return;
	if (ops_of(volume)->volume_rollback)
		ops_of(volume)->volume_rollback(volume, snapshot, keep, call);
	else
		pool_refuse(volume->pool, call, "does not offer a way back to snapshots");
}

void volume_diff(struct volume_diff *diff, struct pool_call *call)
{
	if (ops_of(diff->to)->volume_diff)
		ops_of(diff->to)->volume_diff(diff, call);
	else
		pool_refuse(diff->to->pool, call, "does not offer differences between snapshots");
}

struct volume *pool_find_volume(struct pool *pool, const char *name)
{
	return pool->ops->find_volume(pool, name);
}

struct volume *pool_volume_next(struct pool *pool, struct volume *previous)
{
	return pool->ops->volume_next(pool, previous);
}

void pool_get_info(struct pool *pool, struct pool_info *ret_info)
{
	pool->ops->get_info(pool, ret_info);
	ret_info->kind = pool->ops->name;
}

const char *pool_name(const struct pool *pool)
{
	return pool->ops->pool_name(pool);
}

const char *pool_device_path(const struct pool *pool, unsigned index)
{
	return pool->ops->device_path(pool, index);
}

uint64_t volume_used_bytes(struct volume *volume)
{
	return volume->pool ? volume->pool->ops->volume_used_bytes(volume) : 0;
}

void pool_check(struct pool *pool, bool data, struct pool_check_report *report,
		struct pool_call *call)
{
	pool->ops->check(pool, data, report, call);
}

void pool_check_devices(const struct world_ops *world, struct loop *loop, const char *const *paths,
			unsigned path_count, bool data, struct pool_check_report *report,
			struct pool_call *call)
{
	const struct pool_ops *ops = backend_of(path_count ? paths[0] : "");

	if (!ops->check_devices) {
		call->loop = loop;
		pool_answer(call, err_set(&call->err, -EOPNOTSUPP,
					  "a %s pool has no devices to check", ops->name));
		return;
	}
	ops->check_devices(world, loop, paths, path_count, data, report, call);
}

void pool_checkpoint(struct pool *pool, struct pool_call *call)
{
	pool->ops->checkpoint(pool, call);
}

int pool_scrub(struct pool *pool, enum pool_scrub_action action, uint64_t rate, struct err *err)
{
	if (!pool->ops->scrub)
		return err_set(err, -EOPNOTSUPP, "a %s pool can not be scrubbed", pool->ops->name);
	return pool->ops->scrub(pool, action, rate, false, err);
}

int pool_scrub_try(struct pool *pool, enum pool_scrub_action action, struct err *err)
{
	if (!pool->ops->scrub)
		return err_set(err, -EOPNOTSUPP, "a %s pool can not be scrubbed", pool->ops->name);
	return pool->ops->scrub(pool, action, 0, true, err);
}

void pool_get_scrub(struct pool *pool, struct pool_scrub_info *ret_info)
{
	*ret_info = (struct pool_scrub_info){0};
	if (pool->ops->scrub_info)
		pool->ops->scrub_info(pool, ret_info);
}

bool pool_finding(struct pool *pool, unsigned index, struct pool_finding *ret_finding)
{
	return pool->ops->finding && pool->ops->finding(pool, index, ret_finding);
}

void pool_findings_clear(struct pool *pool)
{
	if (pool->ops->findings_clear)
		pool->ops->findings_clear(pool);
}
