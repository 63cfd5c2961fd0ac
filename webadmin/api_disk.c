/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/passthrough.h"

/* The machine's block devices, and the check that comes before one of them is taken. */

static bool same_file(const char *path, const struct stat *other)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return false;
	if (S_ISBLK(status.st_mode) && S_ISBLK(other->st_mode))
		return status.st_rdev == other->st_rdev;
	return status.st_dev == other->st_dev && status.st_ino == other->st_ino;
}

/* Those that hold our own pools: to the kernel they are merely open. */
static void find_pool(struct model *model, struct device_info *info)
{
	struct stat status;

	if (stat(info->path, &status) < 0)
		return;
	list_for_each (it, &model->pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		for (unsigned i = 0; i < pool->path_count; i++) {
			if (!same_file(pool->paths[i], &status))
				continue;
			snprintf(info->used_by, sizeof info->used_by, "pool %s", pool->name);
			info->free = false;
		}
	}
}

/* Those that are volumes. */
static void find_volume(struct model *model, struct device_info *info)
{
	struct model_pool *pool = model_pool_find(model, PASSTHROUGH_POOL);
	struct passthrough_info held;
	struct volume *volume = NULL;
	struct stat status;

	if (!pool || !pool->pool || stat(info->path, &status) < 0)
		return;
	while ((volume = pool_volume_next(pool->pool, volume))) {
		if (!passthrough_get_info(volume, &held) || !held.available ||
		    !same_file(held.path, &status))
			continue;
		snprintf(info->used_by, sizeof info->used_by, "volume %s/%.180s", pool->name,
			 volume->name);
		info->free = false;
	}
}

static void find_own_use(struct model *model, struct device_info *info)
{
	find_pool(model, info);
	find_volume(model, info);
}

/* Names and models come from disks, and are whatever bytes those have. */
static json_t *text_of(const char *text)
{
	json_t *value = json_string(text);

	return value ? value : json_string("?");
}

static json_t *show_disk(struct webadmin *admin, const struct device_info *info)
{
	const json_t *health = health_of(admin, info->name);
	const char *status = json_string_value(json_object_get(health, "status"));
	const char *detail = json_string_value(json_object_get(health, "detail"));

	return json_pack("{s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:I,s:b,s:b,s:o,s:o,s:o,s:b,s:s,s:s}",
			 "name", text_of(info->name), "path", text_of(info->path), "by_id",
			 text_of(info->by_id), "kind", device_kind_name(info->kind), "parent",
			 text_of(info->parent), "model", text_of(info->model), "serial",
			 text_of(info->serial), "wwid", text_of(info->wwid), "size_bytes",
			 (json_int_t)info->size, "rotational", info->rotational, "read_only",
			 info->read_only, "carries", text_of(info->carries), "pool",
			 text_of(info->pool), "used_by", text_of(info->used_by), "free", info->free,
			 "health", status ? status : "", "health_detail", detail ? detail : "");
}

static struct api_request *request_of(struct device_call *call)
{
	return container_of(call, struct api_request, devices);
}

static void listed(struct device_call *call, int result)
{
	struct api_request *request = request_of(call);
	json_t *disks;

	if (result < 0) {
		request->err = call->err;
		api_reply_failure(request, NULL);
		return;
	}
	disks = json_array();
	for (unsigned i = 0; i < call->count; i++) {
		find_own_use(request->model, &call->devices[i]);
		json_array_append_new(disks, show_disk(request->admin, &call->devices[i]));
	}
	heap_free(call->devices);
	api_reply(request, 200, disks);
}

void api_disk_list(struct api_request *request)
{
	request->devices = (struct device_call){.done = listed};
	devices_list(request->admin->options.control, &request->devices);
}

static void checked(struct device_call *call, int result)
{
	struct api_request *request = request_of(call);

	request->err = call->err;
	for (unsigned i = 0; result == 0 && i < call->count; i++) {
		find_own_use(request->model, &call->devices[i]);
		result = device_usable(&call->devices[i], request->force, &request->err);
	}
	heap_free(call->devices);
	if (result < 0)
		api_reply_failure(request, result == -EBUSY ? "device_in_use" : NULL);
	else
		request->devices_checked(request);
}

void api_devices_check(struct api_request *request, const char *const *paths, unsigned count,
		       bool force, void (*good)(struct api_request *request))
{
	request->devices = (struct device_call){.done = checked};
	request->devices_checked = good;
	request->force = force;
	devices_look(request->admin->options.control, paths, count, &request->devices);
}
