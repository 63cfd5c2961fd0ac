/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/size.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/bin.h"
#include "webadmin/limits.h"
#include "webadmin/move.h"
#include "webadmin/passthrough.h"
#include "webadmin/replica.h"
#include "webadmin/share.h"

/* The volume the path names goes to request->volume; false = an error has been sent. */
static bool find_volume(struct api_request *request)
{
	const char *code = NULL;

	request->volume = model_find_volume(request->model, request->match.param[0],
					    request->match.param[1], &code, &request->err);
	if (request->volume)
		return true;
	api_reply_failure(request, code);
	return false;
}

/* A share's volume is managed through the share; false = an error has been sent. */
static bool no_share(struct api_request *request)
{
	if (!model_share_of_volume(request->model, request->volume->identity.uuid))
		return true;
	api_reply_error(request, 409, "volume_is_share", "volume %s/%s is a share",
			request->match.param[0], request->match.param[1]);
	return false;
}

void api_volume_list(struct api_request *request)
{
	json_t *volumes = json_array(), *mapped = show_all_mappings(request->model);

	list_for_each (it, &request->model->pools) {
		struct pool *pool = list_entry(it, struct model_pool, link)->pool;
		struct volume *volume = NULL;

		while (pool && (volume = pool_volume_next(pool, volume)))
			if (!model_hides(request->model, volume))
				json_array_append_new(volumes, show_volume_mapped(volume, mapped));
	}
	json_decref(mapped);
	api_reply(request, 200, volumes);
}

void api_volume_show(struct api_request *request)
{
	if (find_volume(request))
		api_reply(request, 200, show_volume(request->model, request->volume));
}

bool api_volume_size_good(struct api_request *request, uint64_t size)
{
	if (size >= (1u << 20) && size <= VOLUME_SIZE_MAX && size % VOLUME_SLOT == 0)
		return true;
	api_reply_error(request, 400, "bad_size",
			"a volume has 1 MiB to 64 TiB, in multiples of 4096 bytes (asked: %llu "
			"bytes)",
			(unsigned long long)size);
	return false;
}

static bool checksum_good(struct api_request *request, const char *word,
			  enum volume_checksum *ret_checksum)
{
	for (unsigned i = 0; i <= VOLUME_CHECKSUM_STRICT; i++) {
		if (strcmp(word, show_checksum((enum volume_checksum)i)) == 0) {
			*ret_checksum = (enum volume_checksum)i;
			return true;
		}
	}
	api_reply_error(request, 400, "bad_request", "checksum is one of off, standard and strict");
	return false;
}

/* A size of the member @name, or null, "none" or 0 for none; false = a 400 has been sent. */
static bool read_share(struct api_request *request, const char *name, const json_t *value,
		       uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	if (!value || json_is_null(value) || api_is_none(value))
		return true;
	request->about = name;
	if (!api_size(request, value, ret_bytes))
		return false;
	request->about = NULL;
	return true;
}

/* What a volume would be; its UUID and what follows from that it is given when it is made. */
static void reply_dry_create(struct api_request *request)
{
	const struct volume_spec *spec = request->state;
	const char *pool = json_string_value(json_object_get(request->body, "pool"));

	api_reply_dry(request, json_sprintf("volume %s/%s", pool, spec->name), json_object(),
		      json_pack("{s:s,s:s,s:I,s:s,s:b,s:I,s:I}", "pool", pool, "name", spec->name,
				"size_bytes", (json_int_t)spec->size_bytes, "checksum",
				show_checksum(spec->checksum), "mirror", spec->mirror,
				"reserve_bytes", (json_int_t)spec->reserve_bytes, "quota_bytes",
				(json_int_t)spec->quota_bytes));
}

/* What would be different of the request's volume: @after, which is stolen. */
static void reply_dry_change(struct api_request *request, json_t *after)
{
	json_t *before = show_volume(request->model, request->volume), *wanted = after;

	after = json_copy(before);
	json_object_update(after, wanted);
	json_decref(wanted);
	api_reply_dry(
	    request, json_sprintf("volume %s/%s", request->match.param[0], request->match.param[1]),
	    before, after);
}

static void volume_created(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (!api_step_good(request, result, "volume_exists"))
		return;
	if (call->dry) {
		reply_dry_create(request);
		return;
	}
	request->volume = call->volume;
	log_notice("volume %s/%s created", pool_name(request->volume->pool), request->volume->name);
	api_reply(request, 201, show_volume(request->model, request->volume));
}

void api_volume_create(struct api_request *request)
{
	const char *pool_text, *name, *checksum = "standard", *code = NULL;
	struct volume_spec *spec;
	struct pool *pool;
	json_t *size, *reserve = NULL, *quota = NULL;
	int mirror = 0;

	if (json_object_get(request->body, "device")) {
		passthrough_volume_create(request);
		return;
	}
	if (!api_unpack(request, "{s:s,s:s,s:o,s?:s,s?:o,s?:o,s?:b}", "pool", &pool_text, "name",
			&name, "size", &size, "checksum", &checksum, "reserve", &reserve, "quota",
			&quota, "mirror", &mirror))
		return;
	request->state = spec = heap_zalloc(sizeof *spec);
	if (!spec) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (volume_name_check(name, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return;
	}
	spec->name = name;
	spec->mirror = mirror;
	if (!api_size(request, size, &spec->size_bytes) ||
	    !api_volume_size_good(request, spec->size_bytes) ||
	    !checksum_good(request, checksum, &spec->checksum) ||
	    !read_share(request, "reserve", reserve, &spec->reserve_bytes) ||
	    !read_share(request, "quota", quota, &spec->quota_bytes))
		return;
	pool = model_pool_usable(request->model, pool_text, &code, &request->err);
	if (!pool) {
		api_reply_failure(request, code);
		return;
	}
	volume_create(pool, spec, api_pool_call(request, volume_created));
}

static void volume_resized(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (!api_step_good(request, result, NULL))
		return;
	if (call->dry) {
		reply_dry_change(request, json_pack("{s:I}", "size_bytes",
						    (json_int_t) * (uint64_t *)request->state));
		return;
	}
	log_notice("volume %s/%s resized to %llu bytes", request->match.param[0],
		   request->match.param[1], (unsigned long long)volume_size(request->volume));
	api_reply(request, 200, show_volume(request->model, request->volume));
}

/* After the pool's rename, which counts: the store's copy of the name is for people only and is
 * mended at the next start, so its failure is logged and not an error. */
static void volume_renamed(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct config *config = request->admin->options.config;
	const uint8_t *uuid = request->volume->identity.uuid;
	struct model_target *target;
	struct model_lun *lun = NULL;

	if (!api_step_good(request, result, "volume_exists"))
		return;
	if (call->dry) {
		reply_dry_change(
		    request, json_pack("{s:O}", "name", json_object_get(request->body, "name")));
		return;
	}
	while ((lun = model_lun_of_volume(request->model, uuid, lun, &target)))
		snprintf(lun->volume_name, sizeof lun->volume_name, "%s", request->volume->name);
	if (config_begin(config, &request->err) < 0 ||
	    store_rename_device(config, uuid, request->volume->name, &request->err) < 0 ||
	    store_rename_volume(config, uuid, request->volume->name, &request->err) < 0 ||
	    config_commit(config, &request->err) < 0)
		log_warning("volume %s: its new name is not in the configuration yet: %s",
			    request->volume->name, request->err.text);
	log_notice("volume %s/%s renamed to %s", request->match.param[0], request->match.param[1],
		   request->volume->name);
	api_reply(request, 200, show_volume(request->model, request->volume));
}

static const char one_at_a_time[] =
    "give a size, a name, limits (iops, bandwidth, burst) or a share of the pool (reserve, quota), "
    "one of these at a time";

struct space_wanted {
	struct volume_space space; /* points to these: */
	uint64_t reserve_bytes, quota_bytes;
};

static void reply_dry_space(struct api_request *request)
{
	const struct space_wanted *wanted = request->state;
	json_t *after = json_object();

	if (wanted->space.reserve_bytes)
		json_object_set_new(after, "reserve_bytes",
				    json_integer((json_int_t)wanted->reserve_bytes));
	if (wanted->space.quota_bytes)
		json_object_set_new(after, "quota_bytes",
				    json_integer((json_int_t)wanted->quota_bytes));
	reply_dry_change(request, after);
}

static void volume_space_set(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	const struct volume *volume = request->volume;

	if (!api_step_good(request, result, NULL))
		return;
	if (call->dry) {
		reply_dry_space(request);
		return;
	}
	log_notice("volume %s/%s: %llu bytes reserved, quota %llu", request->match.param[0],
		   request->match.param[1], (unsigned long long)volume->reserve_bytes,
		   (unsigned long long)volume->quota_bytes);
	api_reply(request, 200, show_volume(request->model, request->volume));
}

static void change_space(struct api_request *request)
{
	struct space_wanted *wanted = heap_zalloc(sizeof *wanted);
	json_t *reserve = NULL, *quota = NULL;

	request->state = wanted;
	if (!wanted) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (json_object_get(request->body, "name") || json_object_get(request->body, "size") ||
	    limits_asked(request)) {
		api_reply_error(request, 400, "bad_request", one_at_a_time);
		return;
	}
	if (!api_unpack(request, "{s?:o,s?:o}", "reserve", &reserve, "quota", &quota) ||
	    !read_share(request, "reserve", reserve, &wanted->reserve_bytes) ||
	    !read_share(request, "quota", quota, &wanted->quota_bytes) || !find_volume(request) ||
	    !no_share(request))
		return;
	wanted->space.reserve_bytes = reserve ? &wanted->reserve_bytes : NULL;
	wanted->space.quota_bytes = quota ? &wanted->quota_bytes : NULL;
	volume_set_space(request->volume, &wanted->space, api_pool_call(request, volume_space_set));
}

static void change_limits(struct api_request *request)
{
	if (json_object_get(request->body, "name") || json_object_get(request->body, "size"))
		api_reply_error(request, 400, "bad_request", one_at_a_time);
	else if (find_volume(request))
		limits_change(request);
}

static void change_size(struct api_request *request, const json_t *size, bool shrink)
{
	uint64_t bytes, *kept;
	char before[32];

	if (!api_size(request, size, &bytes) || !api_volume_size_good(request, bytes))
		return;
	if (bytes < volume_size(request->volume) && !shrink) {
		size_format(volume_size(request->volume), before, sizeof before);
		api_reply_error(
		    request, 400, "bad_size",
		    "volume %s/%s has %s (%llu bytes), and would become smaller: say "
		    "\"shrink\" if that is meant; nothing may be mapped behind its new end",
		    request->match.param[0], request->match.param[1], before,
		    (unsigned long long)volume_size(request->volume));
		return;
	}
	if (bytes < volume_size(request->volume) &&
	    replica_refuses(request, request->volume, REPLICA_SHRINK))
		return;
	request->state = kept = heap_zalloc(sizeof *kept);
	if (!kept) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	*kept = bytes;
	if (shrink)
		volume_shrink(request->volume, bytes, api_pool_call(request, volume_resized));
	else
		volume_resize(request->volume, bytes, api_pool_call(request, volume_resized));
}

void api_volume_change(struct api_request *request)
{
	const char *name = NULL;
	json_t *size = NULL;
	int shrink = 0;

	if (json_object_get(request->body, "reserve") || json_object_get(request->body, "quota")) {
		change_space(request);
		return;
	}
	if (limits_asked(request)) {
		change_limits(request);
		return;
	}
	if (!api_unpack(request, "{s?:s,s?:o,s?:b}", "name", &name, "size", &size, "shrink",
			&shrink))
		return;
	if (!name == !size) {
		api_reply_error(request, 400, "bad_request", one_at_a_time);
		return;
	}
	if (!find_volume(request) || !no_share(request))
		return;
	if (name) {
		if (volume_name_check(name, &request->err) < 0) {
			api_reply_failure(request, "bad_name");
			return;
		}
		volume_rename(request->volume, name, api_pool_call(request, volume_renamed));
		return;
	}
	change_size(request, size, shrink);
}

static void volume_taken(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (api_step_good(request, result, NULL))
		api_reply(request, 200, show_volume(request->model, request->volume));
}

void api_volume_take(struct api_request *request)
{
	if (!find_volume(request))
		return;
	request->call = (struct pool_call){.done = volume_taken};
	volume_take(request->volume, &request->call);
}

struct deletion {
	uint8_t uuid[16]; /* for when it is gone */
};

static void volume_deleted(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct deletion *deletion = request->state;

	if (result == 0) /* the reference went with it */
		request->volume = NULL;
	if (!api_step_good(request, result, NULL))
		return;
	scsi_reservations_forget(deletion->uuid);
	if (store_remove_device(request->admin->options.config, deletion->uuid, &request->err) <
		0 ||
	    limits_forget(request->admin->options.config, deletion->uuid, &request->err) < 0)
		log_error("volume %s/%s is still in the configuration: %s", request->match.param[0],
			  request->match.param[1], request->err.text);
	log_notice("volume %s/%s deleted", request->match.param[0], request->match.param[1]);
	api_reply(request, 200, bin_answer(request->match.param[0], request->match.param[1], NULL));
}

static void volume_purged(struct api_request *request, int result)
{
	request->call.err = request->err;
	volume_deleted(&request->call, result);
}

static void volume_binned(struct api_request *request, struct bin_entry *entry)
{
	if (!entry) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("volume %s/%s deleted, and kept in the bin for a while", request->match.param[0],
		   entry->name);
	api_reply(request, 200, bin_answer(request->match.param[0], entry->name, entry));
}

/* Nobody but this request has it. False: a 409 has been sent. */
static bool is_unused(struct api_request *request)
{
	if (__atomic_load_n(&request->volume->refs, __ATOMIC_ACQUIRE) == 1)
		return true;
	err_set(&request->err, -EBUSY, "volume %s is in use", request->volume->name);
	api_reply_failure(request, NULL);
	return false;
}

void api_volume_delete(struct api_request *request)
{
	struct model_target *target;
	struct deletion *deletion;
	struct model_lun *lun;

	if (!find_volume(request) || !no_share(request))
		return;
	if (model_move_of(request->model, request->volume->identity.uuid)) {
		api_reply_error(request, 409, "volume_moving",
				"volume %s/%s can not be deleted: it has just been moved, and what "
				"is left of it in its old pool is not gone yet",
				request->match.param[0], request->match.param[1]);
		return;
	}
	lun = model_lun_of_volume(request->model, request->volume->identity.uuid, NULL, &target);
	if (lun) {
		api_reply_error(request, 409, "volume_mapped",
				"volume %s/%s is LUN %u of target %s; unmap it first",
				request->match.param[0], request->match.param[1], lun->lun,
				target->iqn);
		return;
	}
	request->state = deletion = heap_zalloc(sizeof *deletion);
	if (!deletion) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	memcpy(deletion->uuid, request->volume->identity.uuid, 16);
	/* Before anything goes: its snapshots would be the first, and then it would be in use. */
	if (replica_refuses(request, request->volume, REPLICA_DELETE) ||
	    bin_refuses(request, false) || bin_missing(request, request->match.param[0]))
		return;
	if (api_is_dry(request))
		bin_reply_dry(request, "volume", request->volume);
	else if (!bin_wanted(request, request->match.param[0]))
		bin_purge(request, volume_purged);
	else if (is_unused(request))
		bin_put(request, false, volume_binned);
}

static void volume_rescanned(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct config *config = request->admin->options.config;
	uint64_t size = volume_size(request->volume);

	if (!api_step_good(request, result, NULL))
		return;
	if (config_begin(config, &request->err) < 0 ||
	    store_size_device(config, request->volume->identity.uuid, size, &request->err) < 0 ||
	    config_commit(config, &request->err) < 0)
		log_warning("volume %s: its size is not in the configuration yet: %s",
			    request->volume->name, request->err.text);
	log_notice("volume %s/%s has %llu bytes", request->match.param[0], request->match.param[1],
		   (unsigned long long)size);
	api_reply(request, 200, show_volume(request->model, request->volume));
}

void api_volume_rescan(struct api_request *request)
{
	if (!find_volume(request))
		return;
	request->call = (struct pool_call){.done = volume_rescanned};
	volume_rescan(request->volume, &request->call);
}
