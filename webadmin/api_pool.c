/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/bin.h"
#include "webadmin/move.h"
#include "webadmin/passthrough.h"

static struct model_pool *find_pool(struct api_request *request)
{
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);

	if (!pool)
		api_reply_error(request, 404, "pool_not_found", "no pool named %s",
				request->match.param[0]);
	return pool;
}

void api_pool_list(struct api_request *request)
{
	api_reply(request, 200, show_pools(request->model));
}

void api_pool_show(struct api_request *request)
{
	struct model_pool *pool = find_pool(request);

	if (pool)
		api_reply(request, 200, show_pool(pool));
}

/* Creating and importing: the pool is opened first and recorded then; when it can not be
 * recorded it is closed again. */
struct opening {
	struct model_pool *pool; /* in the model, without a live pool until it is recorded */
	struct pool_create_options options;
	struct pool_device devices[POOL_DEVICES_MAX];
	bool absent[POOL_DEVICES_MAX]; /* the file was not there before */
	char address[1024];            /* of an RBD pool */
	struct pool *live;
	struct pool_info would; /* of a dry run */
	bool again;             /* the pool was known, and away */
	const char *rename;     /* of an import: the name it gets; NULL: it has it already */
};

static bool device_path_good(struct api_request *request, const char *path)
{
	if (path[0] == '/' && strlen(path) < 4096)
		return true;
	api_reply_error(request, 400, "bad_request", "device path %.200s is not absolute", path);
	return false;
}

/* A path or {"path", "size"}. */
bool api_read_device(struct api_request *request, const json_t *item, struct pool_device *device,
		     bool *ret_absent)
{
	const json_t *path = json_is_object(item) ? json_object_get(item, "path") : item;
	const json_t *size = json_object_get(item, "size");
	struct stat info;

	if (!json_is_string(path)) {
		api_reply_error(request, 400, "bad_request", "a device needs a path");
		return false;
	}
	device->path = json_string_value(path);
	if (!device_path_good(request, device->path) ||
	    (size && !json_is_null(size) && !api_size(request, size, &device->size)))
		return false;
	*ret_absent = stat(device->path, &info) < 0 && errno == ENOENT;
	return true;
}

static bool read_devices(struct api_request *request, const json_t *items, struct opening *opening)
{
	size_t count = json_array_size(items);

	if (!json_is_array(items) || count == 0 || count > POOL_DEVICES_MAX) {
		api_reply_error(request, 400, "bad_request", "a pool has 1 to %d devices",
				POOL_DEVICES_MAX);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		if (!api_read_device(request, json_array_get(items, i), &opening->devices[i],
				     &opening->absent[i]))
			return false;
		opening->options.device_count++;
	}
	opening->options.devices = opening->devices;
	return true;
}

static bool pool_name_good(struct api_request *request, const char *name)
{
	if (strlen(name) > POOL_NAME_MAX) {
		api_reply_error(request, 400, "bad_name", "a pool's name has at most %d bytes",
				POOL_NAME_MAX);
		return false;
	}
	if (volume_name_check(name, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return false;
	}
	if (strcmp(name, PASSTHROUGH_POOL) == 0) {
		api_reply_error(request, 409, "pool_exists",
				"pool %s is the one of volumes that are devices", name);
		return false;
	}
	if (!model_pool_find(request->model, name))
		return true;
	api_reply_error(request, 409, "pool_exists", "there is a pool named %s already", name);
	return false;
}

/* Files that creation made and that hold no pool now. */
static void remove_new_files(const struct opening *opening)
{
	for (unsigned i = 0; i < opening->options.device_count; i++) {
		if (opening->absent[i] && opening->devices[i].size)
			unlink(opening->devices[i].path);
	}
}

static void opening_undone(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (result < 0)
		log_error("closing a pool that could not be recorded: %s", call->err.text);
	api_reply_failure(request, NULL);
}

/* A pool that is configured and could not be opened at the start: its devices may be elsewhere. */
static int record_paths(struct api_request *request, struct opening *opening)
{
	struct config *config = request->admin->options.config;
	struct model_pool *pool = opening->pool;
	char **paths = pool->paths;
	unsigned count = pool->path_count;
	int result = 0;

	pool->paths = NULL;
	pool->path_count = 0;
	for (unsigned i = 0; result == 0 && i < opening->options.device_count; i++)
		result = model_pool_add_path(pool, opening->devices[i].path);
	if (result < 0)
		err_set(&request->err, result, "out of memory");
	if (result == 0)
		result = config_begin(config, &request->err);
	if (result == 0)
		result = store_set_pool_paths(config, pool, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0) { /* as it was */
		char **fresh = pool->paths;
		unsigned fresh_count = pool->path_count;

		pool->paths = paths;
		pool->path_count = count;
		paths = fresh;
		count = fresh_count;
	}
	for (unsigned i = 0; i < count; i++)
		heap_free(paths[i]);
	heap_free(paths);
	return result;
}

static const struct model_pool *find_uuid(const struct model *model, const uint8_t uuid[16])
{
	list_for_each (it, &model->pools) {
		const struct model_pool *pool = list_entry(it, struct model_pool, link);

		if (memcmp(pool->uuid, uuid, sizeof pool->uuid) == 0)
			return pool;
	}
	return NULL;
}

/* Is it one that is known, and away? -EEXIST: another has its name. */
static int find_known(struct api_request *request, struct opening *opening,
		      const struct pool_info *info)
{
	const struct model_pool *known = find_uuid(request->model, info->uuid);

	if (opening->rename && known && strcmp(known->name, opening->rename) != 0)
		return err_set(&request->err, -EBUSY,
			       "it is known here as pool %s, which LUNs and shares may go by: "
			       "import it with that name",
			       known->name);
	opening->pool = model_pool_find(request->model, info->name);
	opening->again = opening->pool && !opening->pool->pool &&
			 memcmp(opening->pool->uuid, info->uuid, sizeof info->uuid) == 0;
	if (opening->pool && !opening->again)
		return err_set(
		    &request->err, -EEXIST, "there is a pool named %s already%s", info->name,
		    opening->options.name ? ""
					  : ": give the one that comes another name (\"name\")");
	return 0;
}

static int record_pool(struct api_request *request, struct opening *opening)
{
	struct config *config = request->admin->options.config;
	struct pool_info info;
	int result;
	const char *path;

	pool_get_info(opening->live, &info);
	result = find_known(request, opening, &info);
	if (result < 0)
		return result;
	if (opening->again)
		return record_paths(request, opening);
	opening->pool = model_pool_add(request->model, info.name);
	if (!opening->pool)
		return err_set(&request->err, -ENOMEM, "out of memory");
	memcpy(opening->pool->uuid, info.uuid, sizeof info.uuid);
	for (unsigned i = 0; result == 0 && i < opening->options.device_count; i++) {
		path = opening->devices[i].path;
		result = model_pool_add_path(opening->pool, path);
	}
	if (result < 0)
		err_set(&request->err, result, "out of memory");
	if (result == 0)
		result = config_begin(config, &request->err);
	if (result == 0)
		result = store_add_pool(config, opening->pool, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result == 0)
		return 0;
	model_pool_remove(opening->pool);
	return result;
}

/* Somebody else may have written to its volumes since: nothing is erased now that was to be erased
 * then. */
static void came_from_elsewhere(struct pool *pool)
{
	struct volume *volume = NULL;

	while ((volume = pool_volume_next(pool, volume)))
		scsi_sanitize_interrupted(volume->identity.uuid);
}

/* What would be made of these devices, or was found on them. */
static void reply_dry_opening(struct api_request *request, struct opening *opening)
{
	const struct pool_info *info = &opening->would;
	json_t *before, *after, *devices = json_array();

	if (find_known(request, opening, info) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	for (unsigned i = 0; i < opening->options.device_count; i++)
		json_array_append_new(devices, json_string(opening->devices[i].path));
	before = opening->again ? show_pool(opening->pool) : json_object();
	after =
	    json_pack("{s:s,s:s,s:o}", "name", info->name, "state", "online", "devices", devices);
	if (!opening->options.name)
		json_object_set_new(after, "volumes", json_integer(info->volume_count));
	if (opening->again)
		json_object_update_missing(after, before);
	api_reply_dry(request, json_sprintf("pool %s", info->name), before, after);
}

static void close_opened(struct api_request *request, struct opening *opening)
{
	request->call = (struct pool_call){.done = opening_undone};
	pool_close(opening->live, &request->call);
}

static void serve_opened(struct api_request *request, struct opening *opening)
{
	if (record_pool(request, opening) < 0) {
		close_opened(request, opening);
		return;
	}
	opening->pool->pool = opening->live;
	opening->pool->reason[0] = '\0';
	came_from_elsewhere(opening->live);
	if (opening->again) {
		timer_stop(&opening->pool->retry);
		opening->pool->late = false;
		webadmin_start_luns(request->admin, opening->pool->name);
	}
	pool_paths_sync(request->admin->options.config, opening->pool);
	scrub_plan_load(request->admin, opening->pool);
	bin_settle(request->admin, opening->pool);
	log_notice("pool %s %s", opening->pool->name,
		   opening->options.name ? "created" : "imported");
	api_reply(request, 201, show_pool(opening->pool));
}

static void pool_is_named(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (result == 0) {
		serve_opened(request, request->state);
		return;
	}
	request->err = call->err;
	request->err.code = result;
	close_opened(request, request->state);
}

/* Not before it is known that it can be taken in by that name. */
static void rename_opened(struct api_request *request, struct opening *opening)
{
	struct pool_info info;

	pool_get_info(opening->live, &info);
	snprintf(info.name, sizeof info.name, "%s", opening->rename);
	if (find_known(request, opening, &info) < 0) {
		close_opened(request, opening);
		return;
	}
	request->call = (struct pool_call){.done = pool_is_named};
	pool_rename(opening->live, opening->rename, &request->call);
}

static void pool_is_open(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct opening *opening = request->state;

	if (result == 0 && call->dry) {
		if (opening->rename)
			snprintf(opening->would.name, sizeof opening->would.name, "%s",
				 opening->rename);
		reply_dry_opening(request, opening);
		return;
	}
	if (result < 0) {
		request->err = call->err;
		request->err.code = result;
		if (opening->options.name && !call->dry)
			remove_new_files(opening);
		api_reply_failure(request, NULL);
		return;
	}
	opening->live = call->pool;
	if (opening->rename)
		rename_opened(request, opening);
	else
		serve_opened(request, opening);
}

/* api_body_check() has seen to its type; NULL: not given. */
static const char *body_text(const struct api_request *request, const char *name)
{
	return json_string_value(json_object_get(request->body, name));
}

/* Where in a Ceph cluster an RBD pool is, instead of devices. */
static bool read_cluster(struct api_request *request, struct opening *opening)
{
	const char *conf = body_text(request, "conf"), *id = body_text(request, "ceph_id");
	const char *ceph_pool = body_text(request, "ceph_pool");
	const char *space = body_text(request, "ceph_namespace");
	uint8_t random[8];
	int length;

	if (!ceph_pool || json_object_get(request->body, "devices")) {
		api_reply_error(request, 400, "bad_request",
				"an RBD pool needs \"ceph_pool\", and has no \"devices\"");
		return false;
	}
	loop_random(request->admin->options.control, random, sizeof random);
	length =
	    snprintf(opening->address, sizeof opening->address,
		     "rbd:%s?pool=%s%s%s%s%s&gateway=%02x%02x%02x%02x%02x%02x%02x%02x",
		     conf ? conf : "/etc/ceph/ceph.conf", ceph_pool, id ? "&id=" : "", id ? id : "",
		     space ? "&namespace=" : "", space ? space : "", random[0], random[1],
		     random[2], random[3], random[4], random[5], random[6], random[7]);
	if (length < 0 || (size_t)length >= sizeof opening->address) {
		api_reply_error(request, 400, "bad_request", "these names are too long");
		return false;
	}
	opening->devices[0].path = opening->address;
	opening->options.devices = opening->devices;
	opening->options.device_count = 1;
	return true;
}

static bool read_place(struct api_request *request, struct opening *opening)
{
	const char *backend = body_text(request, "backend");

	if (backend && strcmp(backend, "rbd") == 0)
		return read_cluster(request, opening);
	if (!backend || strcmp(backend, "native") == 0)
		return read_devices(request, json_object_get(request->body, "devices"), opening);
	api_reply_error(request, 400, "bad_request", "backend is one of native and rbd");
	return false;
}

static struct opening *opening_new(struct api_request *request)
{
	request->state = heap_zalloc(sizeof(struct opening));
	if (!request->state)
		api_reply_error(request, 503, "no_memory", "out of memory");
	return request->state;
}

static void devices_are_good(struct api_request *request)
{
	struct opening *opening = request->state;

	api_pool_call(request, pool_is_open)->would = &opening->would;
	pool_create(request->admin->options.world, request->admin->options.control,
		    &opening->options, &request->call);
}

void api_pool_create(struct api_request *request)
{
	const char *name = body_text(request, "name");
	bool force = json_is_true(json_object_get(request->body, "force"));
	const char *paths[POOL_DEVICES_MAX];
	unsigned count = 0;
	struct opening *opening;

	if (!pool_name_good(request, name) || !(opening = opening_new(request)) ||
	    !read_place(request, opening))
		return;
	opening->options.name = name;
	opening->options.force = force;
	for (unsigned i = 0; i < opening->options.device_count; i++)
		if (!opening->absent[i] && opening->options.devices[i].path != opening->address)
			paths[count++] = opening->devices[i].path;
	api_devices_check(request, paths, count, force, devices_are_good);
}

void api_pool_import(struct api_request *request)
{
	bool rewind = json_is_true(json_object_get(request->body, "rewind"));
	bool degraded = json_is_true(json_object_get(request->body, "degraded"));
	const char *name = body_text(request, "name");
	struct opening *opening;
	const char *paths[POOL_DEVICES_MAX];

	if (rewind && degraded) {
		api_reply_error(request, 400, "bad_request",
				"a pool can not be opened both degraded and with an older root");
		return;
	}
	if ((name && !pool_name_good(request, name)) || !(opening = opening_new(request)) ||
	    !read_place(request, opening))
		return;
	opening->rename = name;
	for (unsigned i = 0; i < opening->options.device_count; i++)
		paths[i] = opening->devices[i].path;
	api_pool_call(request, pool_is_open)->would = &opening->would;
	if (degraded)
		pool_open_degraded(request->admin->options.world, request->admin->options.control,
				   paths, opening->options.device_count, &request->call);
	else if (rewind)
		pool_rewind(request->admin->options.world, request->admin->options.control, paths,
			    opening->options.device_count, &request->call);
	else
		pool_open(request->admin->options.world, request->admin->options.control, paths,
			  opening->options.device_count, &request->call);
}

/* "80,90,95"; pool_set_watermarks() judges their order. */
static bool parse_watermarks(const char *text, uint8_t percent[WATERMARKS])
{
	for (unsigned i = 0; i < WATERMARKS; i++) {
		char *end;
		unsigned long value;

		if (*text < '0' || *text > '9')
			return false;
		value = strtoul(text, &end, 10);
		if (value > 100 || *end != (i + 1 < WATERMARKS ? ',' : '\0'))
			return false;
		percent[i] = (uint8_t)value;
		text = end + 1;
	}
	return true;
}

static void reply_dry_change(struct api_request *request)
{
	const struct model_pool *pool = find_pool(request);
	json_t *before = show_pool(pool), *after = json_copy(before);
	json_t *hours = json_object_get(request->body, "undelete_hours");
	const char *text = json_string_value(json_object_get(request->body, "watermarks"));
	json_t *every = json_object_get(request->body, "scrub_every");
	uint8_t percent[WATERMARKS];

	if (every)
		json_object_set(after, "scrub_every", every);
	if (hours)
		json_object_set(after, "undelete_hours", hours);
	if (text && parse_watermarks(text, percent))
		json_object_set_new(after, "watermarks",
				    json_pack("[i,i,i]", percent[0], percent[1], percent[2]));
	api_reply_dry(request, json_sprintf("pool %s", pool->name), before, after);
}

static void pool_changed(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	request->err = call->err;
	request->err.code = result;
	if (result < 0)
		api_reply_failure(request, NULL);
	else if (call->dry)
		reply_dry_change(request);
	else
		api_reply(request, 200, show_pool(find_pool(request)));
}

/* False: it was answered. */
static bool set_hours(struct api_request *request, unsigned hours)
{
	struct model_pool *pool = find_pool(request);

	if (hours > BIN_HOURS_MAX) {
		api_reply_error(request, 400, "bad_request",
				"what was deleted is kept for %u hours at most", BIN_HOURS_MAX);
		return false;
	}
	if (!bin_offered(pool)) {
		api_reply_error(request, 409, "not_supported",
				"pool %s keeps nothing that was deleted: it has no bin",
				pool->name);
		return false;
	}
	if (api_is_dry(request) || bin_set_hours(request->admin, pool, hours, &request->err) == 0)
		return true;
	api_reply_failure(request, NULL);
	return false;
}

/* Likewise. */
static bool set_scrub(struct api_request *request, struct pool *pool, const char *every)
{
	int result;

	if (!pool_can(pool, POOL_SCRUBS)) {
		api_reply_error(request, 409, "not_supported", "pool %s is not scrubbed here",
				request->match.param[0]);
		return false;
	}
	result = api_is_dry(request)
		     ? scrub_plan_check(every, &request->err)
		     : scrub_plan_set(request->admin, find_pool(request), every, &request->err);
	if (result < 0)
		api_reply_failure(request, NULL);
	return result == 0;
}

void api_pool_change(struct api_request *request)
{
	const char *text = NULL, *every = NULL, *code = NULL;
	uint8_t percent[WATERMARKS];
	json_int_t hours = -1;
	struct pool *pool;

	if (!api_unpack(request, "{s?:s,s?:I,s?:s}", "watermarks", &text, "undelete_hours", &hours,
			"scrub_every", &every))
		return;
	if (!text && hours < 0 && !every) {
		api_reply_error(request, 400, "bad_request",
				"nothing to set: give watermarks, undelete_hours or scrub_every");
		return;
	}
	if (text && !parse_watermarks(text, percent)) {
		api_reply_error(request, 400, "bad_request",
				"watermarks are three percents such as 80,90,95");
		return;
	}
	pool = model_pool_usable(request->model, request->match.param[0], &code, &request->err);
	if (!pool) {
		api_reply_failure(request, code);
		return;
	}
	if (hours >= 0 &&
	    !set_hours(request, (unsigned)(hours > BIN_HOURS_MAX ? BIN_HOURS_MAX + 1 : hours)))
		return;
	if (every && !set_scrub(request, pool, every))
		return;
	if (text)
		pool_set_watermarks(pool, percent, api_pool_call(request, pool_changed));
	else if (api_is_dry(request))
		reply_dry_change(request);
	else
		api_reply(request, 200, show_pool(find_pool(request)));
}

/* Forgetting: the store first (durable), then the live pool. */
static int forget_pool(struct api_request *request, struct model_pool *pool)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = store_remove_pool(config, pool->name, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	return result;
}

static void pool_is_closed(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct model_pool *pool = request->state;
	char name[POOL_NAME_MAX + 1];

	request->state = NULL;
	pool->busy = false;
	if (result < 0) {
		pool->pool = call->pool;
		pool->reason[0] = '\0';
		request->err = call->err;
		request->err.code = result;
		api_reply_failure(request, NULL);
		return;
	}
	snprintf(pool->reason, sizeof pool->reason, "closed");
	snprintf(name, sizeof name, "%s", pool->name);
	if (forget_pool(request, pool) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	model_pool_remove(pool);
	log_notice("pool %s forgotten; its devices are left as they are", name);
	api_reply(request, 200, json_pack("{s:s}", "deleted", name));
}

static bool pool_has_luns(struct model *model, const char *name)
{
	list_for_each (t, &model->targets) {
		list_for_each (l, &list_entry(t, struct model_target, link)->luns) {
			if (strcmp(list_entry(l, struct model_lun, link)->pool, name) == 0)
				return true;
		}
	}
	return false;
}

/* What would be closed and forgotten; its devices hold it all afterwards. */
static void reply_dry(struct api_request *request, const struct model_pool *pool)
{
	json_t *names = json_array(), *devices = json_array();
	struct volume *volume = NULL;

	while (pool->pool && (volume = pool_volume_next(pool->pool, volume)))
		json_array_append_new(names, json_string(volume->name));
	for (unsigned i = 0; i < pool->path_count; i++)
		json_array_append_new(devices, json_string(pool->paths[i]));
	api_reply(request, 200,
		  json_pack("{s:b,s:s,s:o,s:o}", "dry_run", 1, "deleted", pool->name, "volumes",
			    names, "devices", devices));
}

/* Close and forget; with @empty only a pool without volumes. */
static void let_go(struct api_request *request, bool empty)
{
	struct model_pool *pool = find_pool(request);
	const char *moving;
	struct pool_info info;

	if (!pool)
		return;
	if (pool->busy) {
		api_reply_error(request, 409, "busy", "pool %s is being opened or closed",
				pool->name);
		return;
	}
	moving = move_uses_pool(request->model, pool->name);
	if (moving) {
		api_reply_error(request, 409, "pool_in_use",
				"volume %s is on its way to pool %s or from it", moving,
				pool->name);
		return;
	}
	if (pool_has_luns(request->model, pool->name)) {
		api_reply_error(request, 409, "pool_in_use",
				"pool %s has volumes that are mapped as LUNs", pool->name);
		return;
	}
	if (pool->pool && empty) {
		pool_get_info(pool->pool, &info);
		if (info.volume_count > bin_count(pool)) {
			api_reply_error(request, 409, "pool_has_volumes",
					"pool %s has %u volumes; delete them first", pool->name,
					info.volume_count - bin_count(pool));
			return;
		}
	}
	if (api_is_dry(request)) {
		reply_dry(request, pool);
		return;
	}
	request->state = pool; /* taken back in pool_is_closed() */
	request->call = (struct pool_call){.done = pool_is_closed, .pool = pool->pool};
	if (!pool->pool) {
		pool_is_closed(&request->call, 0);
		return;
	}
	/* It is gone on its own loop before that is told here: nobody else looks at it from now on.
	 */
	pool->pool = NULL;
	pool->busy = true;
	snprintf(pool->reason, sizeof pool->reason, "it is being closed");
	pool_close(request->call.pool, &request->call);
}

void api_pool_delete(struct api_request *request)
{
	let_go(request, true);
}

void api_pool_export(struct api_request *request)
{
	let_go(request, false);
}

#define FINDINGS_MAX 1000u

struct checking {
	struct pool_check_report report;
	json_t *findings;
	unsigned left_out;
	char name[POOL_NAME_MAX + 1];
};

static void check_finding(struct pool_check_report *report, const char *sentence)
{
	struct checking *checking = container_of(report, struct checking, report);

	if (json_array_size(checking->findings) < FINDINGS_MAX)
		json_array_append_new(checking->findings, json_string(sentence));
	else
		checking->left_out++;
}

static void check_done(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct checking *checking = request->state;
	json_t *findings = checking->findings;

	if (result < 0) {
		json_decref(findings);
		request->err = call->err;
		request->err.code = result;
		api_reply_failure(request, NULL);
		return;
	}
	api_reply(request, 200,
		  json_pack("{s:s,s:b,s:I,s:I,s:I,s:I,s:o,s:i}", "pool", checking->name, "clean",
			    checking->report.errors == 0, "nodes",
			    (json_int_t)checking->report.nodes, "slots",
			    (json_int_t)checking->report.slots, "errors",
			    (json_int_t)checking->report.errors, "leaked_slots",
			    (json_int_t)checking->report.leaked_slots, "findings", findings,
			    "findings_left_out", (int)checking->left_out));
}

static struct checking *checking_new(struct api_request *request, const char *name)
{
	struct checking *checking = heap_zalloc(sizeof *checking);

	request->state = checking;
	if (!checking || !(checking->findings = json_array())) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return NULL;
	}
	snprintf(checking->name, sizeof checking->name, "%s", name);
	checking->report.finding = check_finding;
	request->call = (struct pool_call){.done = check_done};
	return checking;
}

void api_pool_check(struct api_request *request)
{
	const char *code = NULL;
	int data = 0;
	struct pool *pool;
	struct checking *checking;

	if (!api_unpack(request, "{s?:b}", "data", &data))
		return;
	pool = model_pool_usable(request->model, request->match.param[0], &code, &request->err);
	if (!pool) {
		api_reply_failure(request, code);
		return;
	}
	checking = checking_new(request, request->match.param[0]);
	if (checking)
		pool_check(pool, data, &checking->report, &request->call);
}

void api_pool_check_devices(struct api_request *request)
{
	const char *paths[POOL_DEVICES_MAX];
	json_t *devices;
	unsigned count;
	int data = 0;
	struct opening *opening;
	struct checking *checking;

	if (!api_unpack(request, "{s:o,s?:b}", "devices", &devices, "data", &data) ||
	    !(opening = opening_new(request)) || !read_devices(request, devices, opening))
		return;
	count = opening->options.device_count;
	for (unsigned i = 0; i < count; i++)
		paths[i] = opening->devices[i].path;
	heap_free(opening);
	checking = checking_new(request, "");
	if (checking)
		pool_check_devices(request->admin->options.world, request->admin->options.control,
				   paths, count, data, &checking->report, &request->call);
}
