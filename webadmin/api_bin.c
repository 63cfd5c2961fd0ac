/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/bin.h"
#include "webadmin/export.h"
#include "webadmin/share.h"

/* The bin: what DELETE of a volume or a share does with it, and what can be done to what is in it.
 */

#define NS_PER_S 1000000000ull
#define REST_NS  (60 * NS_PER_S) /* before one that could not be deleted is tried again */

static bool asked(const struct api_request *request, const char *name)
{
	char value[8];

	return api_query(request, name, value, sizeof value) && strcmp(value, "0") != 0;
}

bool bin_wanted(struct api_request *request, const char *pool_name)
{
	const struct model_pool *pool = model_pool_find(request->model, pool_name);

	return pool && bin_offered(pool) && pool->undelete_hours && asked(request, "to_bin");
}

bool bin_missing(struct api_request *request, const char *pool_name)
{
	if (!asked(request, "to_bin") || bin_wanted(request, pool_name))
		return false;
	api_reply_error(
	    request, 409, "no_bin",
	    "pool %s keeps nothing of what is deleted: delete it for good, or set for how "
	    "long the pool is to keep it (undelete_hours; not with RBD or passthrough)",
	    pool_name);
	return true;
}

/* ---- may it go? ---- */
/* What keeps a snapshot from being deleted with its volume; NULL: nothing. */
static const char *stays(struct model *model, struct volume *snapshot, const char **ret_code)
{
	struct model_target *target;
	struct snapshot_info info;

	if (!snapshot_get_info(snapshot, &info))
		return NULL;
	*ret_code = "snapshot_in_use";
	if (info.clones)
		return "has clones";
	if (model_lun_of_volume(model, snapshot->identity.uuid, NULL, &target))
		return "is a LUN";
	*ret_code = "snapshot_held";
	return info.held ? "is held" : NULL;
}

bool bin_refuses(struct api_request *request, bool share)
{
	bool with = asked(request, "snapshots");
	struct volume *it = NULL;

	while ((it = snapshot_next(request->volume, it))) {
		const char *code = "volume_has_snapshots";
		const char *why = with ? stays(request->model, it, &code) : "";

		if (!why)
			continue;
		if (*why)
			api_reply_error(request, 409, code, "its snapshot %s %s", it->name, why);
		else
			api_reply_error(request, 409, code,
					"%s %s/%s has snapshots (%s), which have to be deleted "
					"first, or with it",
					share ? "share" : "volume", request->match.param[0],
					request->match.param[1], it->name);
		volume_unref(it);
		return true;
	}
	return false;
}

/* ---- into the bin ---- */
struct putting {
	struct pool_call call;
	struct api_request *request;
	struct bin_entry *entry;
	void (*done)(struct api_request *request, struct bin_entry *entry);
};

static void put_failed(struct putting *putting)
{
	struct api_request *request = putting->request;
	void (*done)(struct api_request *, struct bin_entry *) = putting->done;

	heap_free(putting->entry);
	heap_free(putting);
	done(request, NULL);
}

static void put_renamed(struct pool_call *call, int result)
{
	struct putting *putting = container_of(call, struct putting, call);
	struct api_request *request = putting->request;
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);
	struct bin_entry *entry = putting->entry;
	void (*done)(struct api_request *, struct bin_entry *) = putting->done;
	struct config *config = request->admin->options.config;
	struct err err = {0};

	if (result < 0) {
		request->err = call->err;
		request->err.code = result;
		if (config_begin(config, &err) < 0 ||
		    bin_remove_row(config, entry->uuid, &err) < 0 ||
		    config_commit(config, &err) < 0)
			log_error("the bin: %s", err.text); /* the next start sees to it */
		put_failed(putting);
		return;
	}
	list_push_back(&pool->bin, &entry->link);
	heap_free(putting);
	done(request, entry);
}

/* Another name, so that its own is free; the UUID makes it nobody else's. */
static void keep_as(struct bin_entry *entry)
{
	const uint8_t *id = entry->uuid;

	snprintf(entry->kept_as, sizeof entry->kept_as, "deleted-%02x%02x%02x%02x-%.*s", id[0],
		 id[1], id[2], id[3], (int)(sizeof entry->kept_as - 18), entry->name);
}

void bin_put(struct api_request *request, bool share,
	     void (*done)(struct api_request *request, struct bin_entry *entry))
{
	struct config *config = request->admin->options.config;
	const struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);
	struct putting *putting = heap_zalloc(sizeof *putting);
	struct bin_entry *entry = heap_zalloc(sizeof *entry);
	int result;

	if (!putting || !entry) {
		heap_free(putting);
		heap_free(entry);
		err_set(&request->err, -ENOMEM, "out of memory");
		done(request, NULL);
		return;
	}
	*putting = (struct putting){
	    .call.done = put_renamed, .request = request, .entry = entry, .done = done};
	memcpy(entry->uuid, request->volume->identity.uuid, 16);
	snprintf(entry->name, sizeof entry->name, "%.*s", VOLUME_NAME_MAX, request->volume->name);
	snprintf(entry->who, sizeof entry->who, "%s", request->who.name);
	entry->deleted = (int64_t)(loop_wall(request->admin->options.control) / NS_PER_S);
	entry->until = entry->deleted + (int64_t)pool->undelete_hours * 3600;
	entry->share = share;
	keep_as(entry);
	result = config_begin(config, &request->err);
	if (result == 0)
		result = bin_add_row(config, pool->name, entry, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0) {
		put_failed(putting);
		return;
	}
	volume_rename(request->volume, entry->kept_as, &putting->call);
}

json_t *bin_answer(const char *pool, const char *name, const struct bin_entry *entry)
{
	json_t *body = json_pack("{s:s,s:s}", "pool", pool, "deleted", name);
	char id[BIN_ID];

	if (!entry)
		return body;
	json_object_set_new(body, "bin", json_string(bin_id(entry, id)));
	json_object_set_new(body, "until", json_integer((json_int_t)entry->until));
	return body;
}

void bin_reply_dry(struct api_request *request, const char *kind, struct volume *volume)
{
	const struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);
	bool keeps = bin_wanted(request, request->match.param[0]) && volume;
	json_t *names = json_array(), *body;
	struct volume *it = NULL;

	while (volume && (it = snapshot_next(volume, it)))
		json_array_append_new(names, json_string(it->name));
	body = json_pack("{s:b,s:s,s:s,s:s,s:b,s:I,s:o}", "dry_run", 1, "pool",
			 request->match.param[0], "deleted", request->match.param[1], "kind", kind,
			 "for_good", !keeps, "used_bytes",
			 (json_int_t)(volume ? volume_used_bytes(volume) : 0), "snapshots", names);
	if (keeps)
		json_object_set_new(body, "undelete_hours", json_integer(pool->undelete_hours));
	api_reply(request, 200, body);
}

/* ---- for good ---- */
struct purging {
	struct pool_call call;
	struct api_request *request;
	struct volume *snapshot;
	void (*done)(struct api_request *request, int result);
};

static void purge_ended(struct purging *purging, int result)
{
	struct api_request *request = purging->request;
	void (*done)(struct api_request *, int) = purging->done;

	if (result < 0) {
		request->err = purging->call.err;
		request->err.code = result;
	} else {
		request->volume = NULL; /* the reference went with it */
	}
	heap_free(purging);
	done(request, result);
}

static void purge_volume_gone(struct pool_call *call, int result)
{
	purge_ended(container_of(call, struct purging, call), result);
}

static void purge_step(struct purging *purging);

static void purge_snapshot_gone(struct pool_call *call, int result)
{
	struct purging *purging = container_of(call, struct purging, call);

	if (result == 0) {
		purge_step(purging);
		return;
	}
	volume_unref(purging->snapshot);
	purge_ended(purging, result);
}

static void purge_step(struct purging *purging)
{
	purging->snapshot = snapshot_next(purging->request->volume, NULL);
	purging->call =
	    (struct pool_call){.done = purging->snapshot ? purge_snapshot_gone : purge_volume_gone};
	if (purging->snapshot)
		snapshot_delete(purging->snapshot, &purging->call);
	else
		volume_delete(purging->request->volume, &purging->call);
}

void bin_purge(struct api_request *request, void (*done)(struct api_request *request, int result))
{
	struct purging *purging = heap_zalloc(sizeof *purging);

	if (!purging) {
		done(request, err_set(&request->err, -ENOMEM, "out of memory"));
		return;
	}
	purging->request = request;
	purging->done = done;
	purge_step(purging);
}

/* ---- the routes ---- */
static struct model_pool *find_pool(struct api_request *request)
{
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);

	if (!pool)
		api_reply_error(request, 404, "pool_not_found", "no pool named %s",
				request->match.param[0]);
	else if (!pool->pool)
		api_reply_error(request, 409, "pool_unavailable", "pool %s is not available: %s",
				pool->name, pool->reason);
	return pool && pool->pool ? pool : NULL;
}

/* The entry that the path names, with its volume in request->volume; NULL: it was answered. */
static struct bin_entry *find_entry(struct api_request *request, struct model_pool **ret_pool)
{
	struct model_pool *pool = find_pool(request);
	struct bin_entry *entry = pool ? bin_find(pool, request->match.param[1]) : NULL;

	*ret_pool = pool;
	if (entry)
		request->volume = bin_volume(pool, entry);
	if (pool && (!entry || !request->volume)) {
		api_reply_error(request, 404, "not_in_bin", "the bin of pool %s has no %s",
				pool->name, request->match.param[1]);
		return NULL;
	}
	return entry;
}

void api_bin_list(struct api_request *request)
{
	json_t *list = json_array();

	list_for_each (it, &request->model->pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		list_for_each (e, &pool->bin)
			json_array_append_new(
			    list, bin_show(pool, list_entry(e, struct bin_entry, link)));
	}
	api_reply(request, 200, list);
}

struct emptying { /* a request's state */
	struct model_pool *pool;
	struct bin_entry *entry;
	unsigned count;
	bool all;
};

static void purge_next(struct api_request *request);

static void purged(struct api_request *request, int result)
{
	struct emptying *emptying = request->state;
	struct bin_entry *entry = emptying->entry;
	struct config *config = request->admin->options.config;
	struct err err = {0};

	if (result < 0) {
		snprintf(entry->reason, sizeof entry->reason, "%s", request->err.text);
		entry->rest_ns = loop_now(request->admin->options.control) + REST_NS;
		api_reply_failure(request, NULL);
		return;
	}
	scsi_reservations_forget(entry->uuid);
	if (config_begin(config, &err) < 0 || bin_forget(config, entry->uuid, &err) < 0 ||
	    config_commit(config, &err) < 0) {
		config_abort(config);
		log_error("what was in the bin is still in the configuration: %s", err.text);
	}
	log_notice("%s %s/%s is deleted for good", entry->share ? "share" : "volume",
		   emptying->pool->name, entry->name);
	emptying->count++;
	if (emptying->all) {
		bin_drop(entry);
		purge_next(request);
		return;
	}
	emptying->entry = NULL;
	api_reply(request, 200,
		  json_pack("{s:s,s:s}", "pool", emptying->pool->name, "deleted", entry->name));
	bin_drop(entry);
}

static void purge_next(struct api_request *request)
{
	struct emptying *emptying = request->state;
	struct model_pool *pool = emptying->pool;

	if (list_empty(&pool->bin)) {
		api_reply(
		    request, 200,
		    json_pack("{s:s,s:i}", "pool", pool->name, "deleted", (int)emptying->count));
		return;
	}
	emptying->entry = list_entry(pool->bin.next, struct bin_entry, link);
	request->volume = bin_volume(pool, emptying->entry);
	if (request->volume)
		bin_purge(request, purged);
	else
		purged(request, 0);
}

/* False: it was answered. */
static bool emptying_new(struct api_request *request, struct model_pool *pool,
			 struct bin_entry *entry)
{
	struct emptying *emptying = heap_zalloc(sizeof *emptying);

	request->state = emptying;
	if (!emptying) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return false;
	}
	*emptying = (struct emptying){.pool = pool, .entry = entry, .all = !entry};
	return true;
}

/* What would be deleted for good: @only, or all. */
static void reply_dry(struct api_request *request, struct model_pool *pool,
		      const struct bin_entry *only)
{
	json_t *list = json_array();

	list_for_each (it, &pool->bin) {
		const struct bin_entry *entry = list_entry(it, struct bin_entry, link);

		if (!only || entry == only)
			json_array_append_new(list, bin_show(pool, entry));
	}
	api_reply(request, 200,
		  json_pack("{s:b,s:s,s:o}", "dry_run", 1, "pool", pool->name, "for_good", list));
}

void api_bin_empty(struct api_request *request)
{
	struct model_pool *pool = find_pool(request);

	if (pool && api_is_dry(request))
		reply_dry(request, pool, NULL);
	else if (pool && emptying_new(request, pool, NULL))
		purge_next(request);
}

void api_bin_delete(struct api_request *request)
{
	struct model_pool *pool;
	struct bin_entry *entry = find_entry(request, &pool);

	if (entry && api_is_dry(request))
		reply_dry(request, pool, entry);
	else if (entry && emptying_new(request, pool, entry))
		bin_purge(request, purged);
}

void api_bin_give_up(struct api_request *request)
{
	struct pool_info info;
	struct model_pool *pool;
	struct bin_entry *entry = find_entry(request, &pool);

	if (!entry)
		return;
	pool_get_info(pool->pool, &info);
	if (bin_next(request->admin, pool, pool_spends(&info)) != entry) {
		api_reply_error(request, 409, "not_due",
				"%s/%s stays: its time is not over, and its pool has space",
				pool->name, entry->name);
		return;
	}
	if (entry->until > (int64_t)(loop_wall(request->admin->options.control) / NS_PER_S))
		log_warning("pool %s: %s %s, which was deleted, goes before its time: %s",
			    pool->name, entry->share ? "share" : "volume", entry->name,
			    pool_spends(&info) ? "the pool is at its end" : "there are too many");
	if (emptying_new(request, pool, entry))
		bin_purge(request, purged);
}

/* ---- and back ---- */
struct restoring { /* a request's state */
	struct share_call call;
	struct api_request *request;
	struct model_pool *pool;
	struct bin_entry *entry;
	struct model_share *share;
};

static void share_is_back(struct share_call *call, int result)
{
	struct restoring *restoring = container_of(call, struct restoring, call);
	struct api_request *request = restoring->request;
	struct model_share *share = restoring->share;
	struct err err = {0};

	share->vfs = result < 0 ? NULL : call->vfs;
	if (result < 0)
		snprintf(share->reason, sizeof share->reason, "%s", call->err.text);
	else
		share->reason[0] = '\0';
	if (share->vfs)
		share_show_snapshots(share->vfs, share->snapshots);
	if (export_apply(request->admin, NULL, NULL, NULL, &err) < 0)
		log_error("exports: %s", err.text);
	webadmin_follow_shares(request->admin);
	api_reply(request, 200, show_share(share));
}

static int restore_rows(struct api_request *request, struct restoring *restoring)
{
	struct config *config = request->admin->options.config;
	const struct bin_entry *entry = restoring->entry;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = bin_remove_row(config, entry->uuid, &request->err);
	if (result == 0 && entry->share)
		result =
		    store_load_share_of(config, request->model, entry->uuid, request->volume->name,
					&restoring->share, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0 && restoring->share) {
		model_share_remove(restoring->share);
		restoring->share = NULL;
	}
	return result;
}

/* What the bin shows of it would be there again, by its name. */
static void reply_dry_restore(struct api_request *request)
{
	const struct restoring *restoring = request->state;
	const struct bin_entry *entry = restoring->entry;
	const char *name = json_string_value(json_object_get(request->body, "name"));

	name = name ? name : entry->name;
	api_reply_dry(request,
		      json_sprintf("%s %s/%s", entry->share ? "share" : "volume",
				   restoring->pool->name, name),
		      json_object(),
		      json_pack("{s:s,s:s,s:I}", "pool", restoring->pool->name, "name", name,
				"size_bytes", (json_int_t)volume_size(request->volume)));
}

static void restore_renamed(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct restoring *restoring = request->state;

	if (!api_step_good(request, result, "volume_exists"))
		return;
	if (call->dry) {
		reply_dry_restore(request);
		return;
	}
	/* It has its name: what can not be written now the next start sees to. */
	result = restore_rows(request, restoring);
	log_notice("%s %s/%s is back from the bin", restoring->entry->share ? "share" : "volume",
		   restoring->pool->name, request->volume->name);
	bin_drop(restoring->entry);
	if (result < 0) {
		api_reply_failure(request, NULL);
	} else if (restoring->share) {
		restoring->call.done = share_is_back;
		share_open(request->volume, request->admin->options.control, false,
			   &restoring->call);
	} else {
		api_reply(request, 200, show_volume(request->model, request->volume));
	}
}

/* Meanwhile another one may be served by the name. False: a 409 has been sent. */
static bool name_is_free(struct api_request *request, const struct bin_entry *entry,
			 const char *name)
{
	struct config *config = request->admin->options.config;
	struct config_statement *statement;
	bool taken = false;

	if (config_prepare(
		config,
		"select 1 from share where name = ?2 collate nocase and volume <> ?1"
		" and volume not in (select volume from bin) and"
		" ((name = ?2 and exists (select 1 from share_rule where volume = share.volume)"
		"   and exists (select 1 from share_rule where volume = ?1)) or"
		"  (exists (select 1 from smb_share where volume = share.volume)"
		"   and exists (select 1 from smb_share where volume = ?1)))",
		&statement, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return false;
	}
	config_bind_blob(statement, 1, entry->uuid, 16);
	config_bind_text(statement, 2, name);
	taken = config_step(statement, NULL) > 0;
	config_finish(statement);
	if (taken)
		api_reply_error(request, 409, "share_exists",
				"another share is served as %s now: bring it back by another name",
				name);
	return !taken;
}

void api_bin_restore(struct api_request *request)
{
	const char *name = NULL;
	struct restoring *restoring;
	struct model_pool *pool;
	struct bin_entry *entry;

	if (!api_unpack(request, "{s?:s}", "name", &name) || !(entry = find_entry(request, &pool)))
		return;
	if (!name)
		name = entry->name;
	if (volume_name_check(name, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return;
	}
	if (entry->share && !name_is_free(request, entry, name))
		return;
	request->state = restoring = heap_zalloc(sizeof *restoring);
	if (!restoring) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	*restoring = (struct restoring){.request = request, .pool = pool, .entry = entry};
	volume_rename(request->volume, name, api_pool_call(request, restore_renamed));
}
