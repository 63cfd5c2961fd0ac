/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* The devices of a pool in use. New ones are labelled, then their paths are kept, then the pool
 * takes them: after a crash anywhere the paths that are kept are all it needs. An open passes over
 * those that are not, or no more, the pool's, and what is kept is made to agree. */

static int store_paths(struct config *config, const struct model_pool *pool, struct err *err)
{
	int result = config_begin(config, err);

	if (result < 0)
		return result; /* what is under way is not ours */
	result = store_set_pool_paths(config, pool, err);
	if (result == 0)
		result = config_commit(config, err);
	if (result < 0)
		config_abort(config);
	return result;
}

static void drop_paths(struct model_pool *pool, unsigned from)
{
	while (pool->path_count > from)
		heap_free(pool->paths[--pool->path_count]);
}

int pool_paths_add(struct config *config, struct model_pool *pool,
		   const struct pool_device *devices, unsigned count, struct err *err)
{
	unsigned before = pool->path_count;
	int result = 0;

	for (unsigned i = 0; i < count && result == 0; i++)
		result = model_pool_add_path(pool, devices[i].path);
	if (result < 0)
		err_set(err, result, "out of memory");
	if (result == 0)
		result = store_paths(config, pool, err);
	if (result < 0)
		drop_paths(pool, before);
	return result;
}

static bool same_paths(const struct model_pool *pool)
{
	unsigned i = 0;
	const char *path;

	while ((path = pool_device_path(pool->pool, i)) != NULL) {
		if (i >= pool->path_count || strcmp(pool->paths[i], path) != 0)
			return false;
		i++;
	}
	return i == pool->path_count;
}

void pool_paths_sync(struct config *config, struct model_pool *pool)
{
	struct model_pool before = *pool;
	struct pool_info info = {0};
	struct err err = {0};
	const char *path;
	int result = 0;

	if (!pool->pool || strcmp(model_pool_kind(pool), "native") != 0 || same_paths(pool))
		return;
	pool_get_info(pool->pool, &info);
	if (info.degraded) /* where the device is that is away need not be known */
		return;
	pool->paths = NULL;
	pool->path_count = 0;
	for (unsigned i = 0; result == 0 && (path = pool_device_path(pool->pool, i)); i++)
		result = model_pool_add_path(pool, path);
	if (result == 0)
		result = store_paths(config, pool, &err);
	if (result < 0) {
		struct model_pool fresh = *pool;

		log_warning("pool %s: its paths could not be kept: %s", pool->name, err.text);
		pool->paths = before.paths;
		pool->path_count = before.path_count;
		before = fresh;
	}
	drop_paths(&before, 0);
	heap_free(before.paths);
}

static struct model_pool *usable(struct api_request *request)
{
	const char *code = NULL;

	if (!model_pool_usable(request->model, request->match.param[0], &code, &request->err)) {
		api_reply_failure(request, code);
		return NULL;
	}
	return model_pool_find(request->model, request->match.param[0]);
}

static void changed(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);

	if (pool)
		pool_paths_sync(request->admin->options.config, pool);
	request->err = call->err;
	request->err.code = result;
	if (result < 0 || !pool)
		api_reply_failure(request, NULL);
	else
		api_reply(request, 200, show_pool(pool));
}

/* ---- adding ---- */
struct adding {
	struct pool_device devices[POOL_DEVICES_MAX];
	bool absent[POOL_DEVICES_MAX]; /* the file was not there before */
	unsigned count;
};

static void labelled(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct adding *adding = request->state;
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);
	bool force = json_is_true(json_object_get(request->body, "force"));

	if (result == 0 && (!pool || !pool->pool))
		result = err_set(&call->err, -ENOENT, "the pool has gone");
	if (result == 0)
		result = pool_paths_add(request->admin->options.config, pool, adding->devices,
					adding->count, &call->err);
	for (unsigned i = 0; i < adding->count && result < 0; i++)
		if (adding->absent[i] && adding->devices[i].size)
			unlink(adding->devices[i].path);
	if (result < 0) {
		changed(call, result);
		return;
	}
	request->call = (struct pool_call){.done = changed};
	pool_add(pool->pool, adding->devices, adding->count, force, &request->call);
}

/* @pool with @count more devices. */
static void reply_dry_devices(struct api_request *request, const struct model_pool *pool,
			      const struct pool_device *devices, unsigned count)
{
	json_t *shown = show_pool(pool), *was = json_object_get(shown, "devices");
	json_t *will = json_copy(was);

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(will, json_string(devices[i].path));
	api_reply_dry(request, json_sprintf("pool %s", pool->name),
		      json_pack("{s:O}", "devices", was), json_pack("{s:o}", "devices", will));
	json_decref(shown);
}

/* NULL: it was refused, which has been answered. */
static struct model_pool *tried(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);

	if (result == 0 && pool)
		return pool;
	request->err = call->err;
	request->err.code = result;
	api_reply_failure(request, NULL);
	return NULL;
}

static void would_be_added(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct model_pool *pool = tried(call, result);
	struct adding *adding = request->state;

	if (pool)
		reply_dry_devices(request, pool, adding->devices, adding->count);
}

static void devices_are_good(struct api_request *request)
{
	struct adding *adding = request->state;
	struct model_pool *pool = usable(request);

	if (!pool)
		return;
	if (api_is_dry(request)) {
		pool_add(pool->pool, adding->devices, adding->count,
			 json_is_true(json_object_get(request->body, "force")),
			 api_pool_call(request, would_be_added));
		return;
	}
	request->call = (struct pool_call){.done = labelled};
	pool_label(pool->pool, adding->devices, adding->count,
		   json_is_true(json_object_get(request->body, "force")), &request->call);
}

void api_pool_add(struct api_request *request)
{
	const json_t *items = json_object_get(request->body, "devices");
	bool force = json_is_true(json_object_get(request->body, "force"));
	const char *paths[POOL_DEVICES_MAX];
	unsigned count = 0;
	struct adding *adding;

	if (!usable(request))
		return;
	if (json_array_size(items) == 0 || json_array_size(items) >= POOL_DEVICES_MAX) {
		api_reply_error(request, 400, "bad_request", "a pool has 1 to %d devices",
				POOL_DEVICES_MAX);
		return;
	}
	adding = request->state = heap_zalloc(sizeof *adding);
	if (!adding) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	for (; adding->count < json_array_size(items); adding->count++) {
		unsigned i = adding->count;

		if (!api_read_device(request, json_array_get(items, i), &adding->devices[i],
				     &adding->absent[i]))
			return;
		if (!adding->absent[i])
			paths[count++] = adding->devices[i].path;
	}
	api_devices_check(request, paths, count, force, devices_are_good);
}

/* call->total: what the devices have gained. */
static void would_have_grown(struct pool_call *call, int result)
{
	struct model_pool *pool = tried(call, result);
	uint64_t size = 0;
	struct pool_device_info info;

	if (!pool)
		return;
	for (unsigned i = 0; pool_device_info(pool->pool, i, &info); i++)
		size += info.size_bytes;
	api_reply_dry(api_request_of(call), json_sprintf("pool %s", pool->name),
		      json_pack("{s:I}", "devices_bytes", (json_int_t)size),
		      json_pack("{s:I}", "devices_bytes", (json_int_t)(size + call->total)));
}

void api_pool_grow(struct api_request *request)
{
	struct model_pool *pool = usable(request);

	if (!pool)
		return;
	pool_grow(pool->pool,
		  api_pool_call(request, api_is_dry(request) ? would_have_grown : changed));
}

/* ---- evacuating and removing ---- */
/* The device of @path as its pool shows it; the caller's. */
static json_t *show_device(const struct model_pool *pool, const char *path)
{
	json_t *shown = show_pool(pool), *device, *found = NULL;
	size_t index;

	json_array_foreach(json_object_get(shown, "device_details"), index, device)
	{
		if (strcmp(json_string_value(json_object_get(device, "path")), path) == 0)
			found = json_copy(device);
	}
	json_decref(shown);
	return found ? found : json_object();
}

/* @state: of the device afterwards; NULL: it goes. */
static void reply_device(struct pool_call *call, int result, const char *state)
{
	struct api_request *request = api_request_of(call);
	const struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);
	const char *device = json_string_value(json_object_get(request->body, "device"));
	json_t *before, *after;

	request->err = call->err;
	request->err.code = result;
	if (result < 0 || !pool) {
		api_reply_failure(request, NULL);
		return;
	}
	before = show_device(pool, device);
	after = state ? json_copy(before) : json_object();
	if (state)
		json_object_set_new(after, "state", json_string(state));
	api_reply_dry(request, json_sprintf("device %s of pool %s", device, pool->name), before,
		      after);
}

static const struct {
	const char *name, *state; /* of the device then */
} evacuations[] = {[POOL_EVACUATE_START] = {"start", "evacuating"},
		   [POOL_EVACUATE_PAUSE] = {"pause", "paused"},
		   [POOL_EVACUATE_RESUME] = {"resume", "evacuating"},
		   [POOL_EVACUATE_STOP] = {"stop", "active"}};
#define EVACUATIONS (sizeof evacuations / sizeof *evacuations)

/* EVACUATIONS: there is no such. */
static unsigned evacuation_of(const struct api_request *request)
{
	const char *action = json_string_value(json_object_get(request->body, "action"));
	unsigned found = action ? 0 : POOL_EVACUATE_START;

	while (action && found < EVACUATIONS && strcmp(action, evacuations[found].name) != 0)
		found++;
	return found;
}

static void would_be_evacuated(struct pool_call *call, int result)
{
	reply_device(call, result, evacuations[evacuation_of(api_request_of(call))].state);
}

static void would_be_removed(struct pool_call *call, int result)
{
	reply_device(call, result, NULL);
}

void api_pool_evacuate(struct api_request *request)
{
	const char *device = json_string_value(json_object_get(request->body, "device"));
	unsigned found = evacuation_of(request);
	bool dry = api_is_dry(request);
	struct model_pool *pool;

	if (found == EVACUATIONS) {
		api_reply_error(request, 400, "bad_request",
				"action is one of start, pause, resume and stop");
		return;
	}
	pool = usable(request);
	if (!pool)
		return;
	if (!dry)
		log_notice("pool %s: evacuating %s: %s", pool->name, device,
			   evacuations[found].name);
	pool_evacuate(pool->pool, device, (enum pool_evacuate_action)found,
		      api_pool_call(request, dry ? would_be_evacuated : changed));
}

void api_pool_remove(struct api_request *request)
{
	struct model_pool *pool;
	const char *device;

	if (!api_unpack(request, "{s:s}", "device", &device))
		return;
	pool = usable(request);
	if (!pool)
		return;
	pool_remove(pool->pool, device,
		    api_pool_call(request, api_is_dry(request) ? would_be_removed : changed));
}

/* ---- a device that is back ---- */
/* What becomes of the one that is away; NULL: it is none. */
static json_t *show_away(const struct model_pool *pool)
{
	json_t *shown = show_pool(pool), *device, *found = NULL;
	size_t index;

	json_array_foreach(json_object_get(shown, "device_details"), index, device)
	{
		if (strcmp(json_string_value(json_object_get(device, "state")), "away") == 0)
			found = json_pack("{s:O,s:O}", "path", json_object_get(device, "path"),
					  "state", json_object_get(device, "state"));
	}
	json_decref(shown);
	return found;
}

/* @path: where it is then; NULL: where it was. */
static void reply_dry_away(struct api_request *request, const struct model_pool *pool,
			   const char *path)
{
	json_t *before = show_away(pool), *after = json_copy(before);
	json_t *was = json_object_get(before, "path");

	if (after && path)
		json_object_set_new(after, "path", json_string(path));
	if (after)
		json_object_set_new(after, "state", json_string("resilvering"));
	api_reply_dry(request,
		      json_sprintf("device %s of pool %s", json_string_value(was), pool->name),
		      before, after);
}

static void would_be_online(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct model_pool *pool = tried(call, result);

	if (pool)
		reply_dry_away(request, pool,
			       json_string_value(json_object_get(request->body, "device")));
}

void api_pool_online(struct api_request *request)
{
	const char *device = NULL;
	struct model_pool *pool;

	if (!api_unpack(request, "{s?:s}", "device", &device))
		return;
	pool = usable(request);
	if (!pool)
		return;
	pool_online(pool->pool, device,
		    api_pool_call(request, api_is_dry(request) ? would_be_online : changed));
}

static void would_be_offline(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct model_pool *pool = tried(call, result);

	if (pool)
		api_reply_dry(
		    request,
		    json_sprintf("device %s of pool %s",
				 json_string_value(json_object_get(request->body, "device")),
				 pool->name),
		    json_pack("{s:s}", "state", "active"), json_pack("{s:s}", "state", "away"));
}

void api_pool_offline(struct api_request *request)
{
	const char *device;
	struct model_pool *pool;

	if (!api_unpack(request, "{s:s}", "device", &device))
		return;
	pool = usable(request);
	if (!pool)
		return;
	pool_offline(pool->pool, device,
		     api_pool_call(request, api_is_dry(request) ? would_be_offline : changed));
}

/* ---- another in the place of one that is dead ---- */
struct replacing {
	const char *old;
	struct pool_device device;
	bool absent; /* the file was not there before */
};

static bool has_path(const struct model_pool *pool, const char *path)
{
	for (unsigned i = 0; i < pool->path_count; i++)
		if (strcmp(pool->paths[i], path) == 0)
			return true;
	return false;
}

static void replacement_labelled(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct replacing *replacing = request->state;
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);
	bool force = json_is_true(json_object_get(request->body, "force"));

	if (result == 0 && (!pool || !pool->pool))
		result = err_set(&call->err, -ENOENT, "the pool has gone");
	if (result == 0 && !has_path(pool, replacing->device.path))
		result = pool_paths_add(request->admin->options.config, pool, &replacing->device, 1,
					&call->err);
	if (result < 0 && replacing->absent && replacing->device.size)
		unlink(replacing->device.path);
	if (result < 0) {
		changed(call, result);
		return;
	}
	request->call = (struct pool_call){.done = changed};
	pool_replace(pool->pool, replacing->old, &replacing->device, force, &request->call);
}

static void would_be_replaced(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	const struct replacing *replacing = request->state;
	struct model_pool *pool = tried(call, result);

	if (pool)
		reply_dry_away(request, pool, replacing->device.path);
}

static void replacement_is_good(struct api_request *request)
{
	struct replacing *replacing = request->state;
	struct model_pool *pool = usable(request);

	if (!pool)
		return;
	if (api_is_dry(request)) {
		pool_replace(pool->pool, replacing->old, &replacing->device,
			     json_is_true(json_object_get(request->body, "force")),
			     api_pool_call(request, would_be_replaced));
		return;
	}
	log_notice("pool %s: %s is to take the place of %s", pool->name, replacing->device.path,
		   replacing->old);
	request->call = (struct pool_call){.done = replacement_labelled};
	pool_label_replacement(pool->pool, replacing->old, &replacing->device,
			       json_is_true(json_object_get(request->body, "force")),
			       &request->call);
}

void api_pool_replace(struct api_request *request)
{
	const json_t *items = json_object_get(request->body, "devices");
	bool force = json_is_true(json_object_get(request->body, "force"));
	struct replacing *replacing;

	if (!usable(request))
		return;
	if (json_array_size(items) != 1) {
		api_reply_error(request, 400, "bad_request",
				"one device takes the place of another");
		return;
	}
	replacing = request->state = heap_zalloc(sizeof *replacing);
	if (!replacing) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	replacing->old = json_string_value(json_object_get(request->body, "device"));
	if (!api_read_device(request, json_array_get(items, 0), &replacing->device,
			     &replacing->absent))
		return;
	/* at the path of the old one it looks as if it were in use, by the pool itself */
	if (replacing->absent || strcmp(replacing->device.path, replacing->old) == 0)
		replacement_is_good(request);
	else
		api_devices_check(request, (const char *[]){replacing->device.path}, 1, force,
				  replacement_is_good);
}
