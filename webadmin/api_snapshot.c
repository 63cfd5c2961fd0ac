/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/nfs.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/expiry.h"
#include "webadmin/move.h"
#include "webadmin/replica.h"
#include "webadmin/share.h"

/* Snapshots and clones. A snapshot is named in the path as {pool}, {volume}, {snapshot}; in bodies
 * as POOL/VOLUME@SNAPSHOT. */

#define DIFF_EXTENTS 4096u
#define MEASURE_MAX  60u /* seconds that a list waits for */

/* ---- finding ---- */
static bool find_volume(struct api_request *request)
{
	const char *code = NULL;

	request->volume = model_find_volume(request->model, request->match.param[0],
					    request->match.param[1], &code, &request->err);
	if (request->volume)
		return true;
	api_reply_failure(request, code); /* which ends it */
	return false;
}

static struct volume *snapshot_named(struct api_request *request, const char *name)
{
	const char *code = NULL;
	char path[VOLUME_PATH_MAX + 2];
	struct volume *snapshot;

	snprintf(path, sizeof path, "%.*s@%.*s", VOLUME_NAME_MAX, request->match.param[1],
		 SNAPSHOT_NAME_MAX + 1, name);
	snapshot =
	    model_find_volume(request->model, request->match.param[0], path, &code, &request->err);
	if (snapshot)
		return snapshot;
	if (request->err.code == -ENOENT)
		api_reply_error(request, 404, "snapshot_not_found", "no snapshot named %s/%s",
				request->match.param[0], path);
	else
		api_reply_failure(request, code);
	return NULL;
}

static bool find_snapshot(struct api_request *request)
{
	struct volume *snapshot = snapshot_named(request, request->match.param[2]);

	if (snapshot) /* or the request has ended */
		request->volume = snapshot;
	return snapshot != NULL;
}

/* ---- showing ---- */
static json_t *show_snapshot(struct volume *volume)
{
	struct volume *of = snapshot_of(volume);
	struct snapshot_info info;
	json_t *object;

	if (!snapshot_get_info(volume, &info)) {
		volume_unref(of);
		return json_null();
	}
	object = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:i,s:b,s:b}", "pool",
			   pool_name(volume->pool), "volume", of ? of->name : "", "name", info.name,
			   "created", (json_int_t)(info.created_ns / 1000000000ull), "group",
			   (json_int_t)info.group, "size_bytes", (json_int_t)info.size_bytes,
			   "used_bytes", (json_int_t)info.used_bytes, "clones", (int)info.clones,
			   "automatic", info.automatic, "held", info.held);
	json_object_set_new(object, "expendable", json_boolean(info.expendable));
	json_object_set_new(object, "exclusive_bytes",
			    info.measured ? json_integer((json_int_t)info.exclusive_bytes)
					  : json_null());
	json_object_set_new(object, "reclaimable_bytes",
			    info.reclaim_known ? json_integer((json_int_t)info.reclaimable_bytes)
					       : json_null());
	json_object_set_new(object, "space",
			    json_string(info.measuring       ? "computing"
					: info.reclaim_known ? "known"
							     : "unknown"));
	json_object_set_new(object, "hold_until",
			    info.hold_until_ns
				? json_integer((json_int_t)(info.hold_until_ns / 1000000000ull))
				: json_null());
	json_object_set_new(object, "path",
			    json_sprintf("%s/%s", pool_name(volume->pool), volume->name));
	volume_unref(of);
	return object;
}

/* ---- the list, page by page: a volume may have tens of thousands ----
 * A cursor is CREATED-NAME of a page's last one, CREATED in nanoseconds. Should that one be deleted
 * before the next page is asked for, it begins with what is younger. */
static void write_cursor(struct volume *snapshot, char cursor[API_CURSOR_MAX])
{
	struct snapshot_info info = {0};
	const char *own = strrchr(snapshot->name, '@');

	(void)snapshot_get_info(snapshot, &info); /* without it, it goes by the name alone */
	snprintf(cursor, API_CURSOR_MAX, "%llu-%s", (unsigned long long)info.created_ns,
		 own ? own + 1 : "");
}

static bool is_named(const struct volume *snapshot, const char *name)
{
	const char *own = strrchr(snapshot->name, '@');

	return own && strcmp(own + 1, name) == 0;
}

static bool is_younger(struct volume *snapshot, uint64_t than_ns)
{
	struct snapshot_info info;

	return snapshot_get_info(snapshot, &info) && info.created_ns > than_ns;
}

/* The first one behind the cursor @after, or NULL: a reference. */
static struct volume *behind(struct volume *of, uint64_t created_ns, const char *name)
{
	struct volume *it = snapshot_next(of, NULL);

	while (it && !is_named(it, name))
		it = snapshot_next(of, it);
	if (it)
		return snapshot_next(of, it);
	it = snapshot_next(of, NULL);
	while (it && !is_younger(it, created_ns))
		it = snapshot_next(of, it);
	return it;
}

/* Where the page begins; false = a 400 has been sent. */
static bool first_of_page(struct api_request *request, const struct api_page *page,
			  struct volume **ret_first)
{
	char *end;
	unsigned long long created = strtoull(page->after, &end, 10);

	if (!page->after[0]) {
		*ret_first = snapshot_next(request->volume, NULL);
		return true;
	}
	if (end == page->after || *end != '-') {
		api_reply_error(request, 400, "bad_query",
				"a cursor is what came with the page before");
		return false;
	}
	*ret_first = behind(request->volume, created, end + 1);
	return true;
}

static void reply_list(struct api_request *request)
{
	char cursor[API_CURSOR_MAX] = "";
	struct volume *it;
	struct api_page page;
	json_t *list;

	if (!api_page_asked(request, &page) || !first_of_page(request, &page, &it))
		return;
	list = json_array();
	while (it && json_array_size(list) < page.limit) {
		json_array_append_new(list, show_snapshot(it));
		if (json_array_size(list) == page.limit)
			write_cursor(it, cursor);
		it = snapshot_next(request->volume, it);
	}
	api_page_more(request, it ? cursor : NULL);
	volume_unref(it);
	api_reply(request, 200, list);
}

static void all_measured(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (result == -EOPNOTSUPP || api_step_good(request, result, NULL))
		reply_list(request);
}

/* ?measure=SECONDS: what each holds alone is looked for, and waited for that long. */
void api_snapshot_list(struct api_request *request)
{
	char seconds[8], *end = seconds;
	unsigned long limit = 0;
	bool measure = api_query(request, "measure", seconds, sizeof seconds);

	if (measure)
		limit = strtoul(seconds, &end, 10);
	if (measure && (end == seconds || *end || limit > MEASURE_MAX)) {
		api_reply_error(request, 400, "bad_query", "measure is a number of seconds to %u",
				MEASURE_MAX);
		return;
	}
	if (!find_volume(request))
		return;
	if (!measure) {
		reply_list(request);
		return;
	}
	request->call = (struct pool_call){.done = all_measured};
	snapshot_measure_all(request->volume, limit * 1000000000ull, &request->call);
}

static void measured(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	/* A back end that does not know its size has snapshots all the same. */
	if (result == -EOPNOTSUPP || api_step_good(request, result, NULL))
		api_reply(request, 200, show_snapshot(request->volume));
}

void api_snapshot_show(struct api_request *request)
{
	if (!find_snapshot(request))
		return;
	request->call = (struct pool_call){.done = measured};
	snapshot_measure(request->volume, &request->call);
}

/* ---- making ---- */
struct group {
	unsigned count;
	struct snapshot_spec spec[SNAPSHOT_GROUP_MAX];
	char name[SNAPSHOT_GROUP_MAX][SNAPSHOT_NAME_MAX + 2];
};

static void group_release(struct group *group)
{
	for (unsigned i = 0; i < group->count; i++)
		volume_unref(group->spec[i].volume);
	group->count = 0;
}

static void reply_dry_group(struct api_request *request, struct group *group)
{
	json_t *names = json_copy(json_object_get(request->body, "snapshots"));
	bool expendable = group->spec[0].expendable;

	group_release(group);
	api_reply_dry(request, json_string("snapshots"), json_object(),
		      json_pack("{s:o,s:b}", "snapshots", names, "expendable", expendable));
}

static void snapshots_made(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct group *group = request->state;
	json_t *list;

	if (result == 0 && call->dry) {
		reply_dry_group(request, group);
		return;
	}
	list = result == 0 ? json_array() : NULL;
	for (unsigned i = 0; i < group->count && result == 0; i++) {
		const struct volume *volume = group->spec[i].volume;
		char path[VOLUME_PATH_MAX + 2];
		struct volume *snapshot;

		snprintf(path, sizeof path, "%.*s@%s", VOLUME_NAME_MAX, volume->name,
			 group->name[i]);
		snapshot = pool_find_volume(volume->pool, path);
		log_notice("snapshot %s/%s made", pool_name(volume->pool), path);
		if (snapshot)
			json_array_append_new(list, show_snapshot(snapshot));
		volume_unref(snapshot);
	}
	group_release(group);
	if (api_step_good(request, result, "snapshot_exists"))
		api_reply(request, 201, list);
}

/* POOL/VOLUME@SNAPSHOT to a volume and a name. NULL, or the code of what is wrong. */
static const char *group_add(struct api_request *request, struct group *group, const char *text)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	const char *at = slash ? strchr(slash, '@') : NULL, *code = NULL;
	char pool[POOL_NAME_MAX + 1], name[VOLUME_NAME_MAX + 1];
	struct volume *volume;

	if (!at || (size_t)(slash - text) >= sizeof pool || (size_t)(at - slash) > sizeof name ||
	    strlen(at + 1) > SNAPSHOT_NAME_MAX || group->count == SNAPSHOT_GROUP_MAX) {
		err_set(&request->err, -EINVAL, "a snapshot is named POOL/VOLUME@SNAPSHOT, not %s",
			text ? text : "");
		return "bad_name";
	}
	snprintf(pool, sizeof pool, "%.*s", (int)(slash - text), text);
	snprintf(name, sizeof name, "%.*s", (int)(at - slash - 1), slash + 1);
	volume = model_find_volume(request->model, pool, name, &code, &request->err);
	if (!volume)
		return code;
	code = move_blocks(request->model, volume, &request->err);
	if (code) {
		volume_unref(volume);
		return code;
	}
	snprintf(group->name[group->count], sizeof group->name[0], "%s", at + 1);
	group->spec[group->count] =
	    (struct snapshot_spec){.volume = volume, .name = group->name[group->count]};
	group->count++;
	return NULL;
}

void api_snapshot_create(struct api_request *request)
{
	const json_t *names = json_object_get(request->body, "snapshots");
	bool expendable = json_is_true(json_object_get(request->body, "expendable"));
	struct group *group = heap_zalloc(sizeof *group);
	size_t count = json_array_size(names);
	const char *code = NULL;

	request->state = group;
	if (!group) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	for (size_t i = 0; i < count && !code; i++)
		code = group_add(request, group, json_string_value(json_array_get(names, i)));
	for (unsigned i = 0; i < group->count; i++)
		group->spec[i].expendable = expendable;
	if (!code && count == 0) {
		err_set(&request->err, -EINVAL, "no snapshot is named");
		code = "bad_request";
	}
	if (code) {
		group_release(group);
		api_reply_failure(request, code);
		return;
	}
	snapshot_create(group->spec[0].volume->pool, group->spec, group->count,
			api_pool_call(request, snapshots_made));
}

/* ---- changing ---- */
static json_t *what(const struct volume *snapshot)
{
	return json_sprintf("snapshot %s/%s", pool_name(snapshot->pool), snapshot->name);
}

static void reply_dry_change(struct api_request *request)
{
	json_t *before = show_snapshot(request->volume), *after = json_copy(before);
	const json_t *held = json_object_get(request->body, "held");

	json_object_update(after, request->body);
	if (json_is_false(held))
		json_object_set_new(after, "hold_until", json_null());
	else if (json_object_get(request->body, "hold_until"))
		json_object_set_new(after, "held", json_true());
	api_reply_dry(request, what(request->volume), before, after);
}

static void changed(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (!api_step_good(request, result, "snapshot_exists"))
		return;
	if (call->dry) {
		reply_dry_change(request);
		return;
	}
	log_notice("snapshot %s/%s@%s changed: now %s, %s", request->match.param[0],
		   request->match.param[1], request->match.param[2], request->volume->name,
		   json_object_get(request->body, "held")         ? "hold"
		   : json_object_get(request->body, "expendable") ? "whether it may be given up"
								  : "as it was");
	api_reply(request, 200, show_snapshot(request->volume));
}

void api_snapshot_change(struct api_request *request)
{
	const char *name = NULL;
	json_int_t until = -1;
	int held = -1, expendable = -1;

	if (!api_unpack(request, "{s?:s,s?:b,s?:I,s?:b}", "name", &name, "held", &held,
			"hold_until", &until, "expendable", &expendable))
		return;
	if (!!name + (held >= 0) + (until >= 0) + (expendable >= 0) != 1) {
		api_reply_error(request, 400, "bad_request",
				"give one of name, held, hold_until and expendable");
		return;
	}
	if (!find_snapshot(request))
		return;
	api_pool_call(request, changed);
	if (name)
		snapshot_rename(request->volume, name, &request->call);
	else if (expendable >= 0)
		snapshot_approve(request->volume, expendable, &request->call);
	else if (held == 0)
		snapshot_release(request->volume, &request->call);
	else
		snapshot_hold(request->volume, until > 0 ? (uint64_t)until * 1000000000ull : 0,
			      &request->call);
}

static void deleted(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (result == 0 && call->dry) {
		api_reply_dry(request, what(request->volume), show_snapshot(request->volume),
			      json_object());
		return;
	}
	if (result == 0) /* the reference went with it */
		request->volume = NULL;
	if (!api_step_good(request, result, NULL))
		return;
	log_notice("snapshot %s/%s@%s deleted", request->match.param[0], request->match.param[1],
		   request->match.param[2]);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[2]));
}

void api_snapshot_delete(struct api_request *request)
{
	struct model_target *target;
	struct model_lun *lun;

	if (!find_snapshot(request))
		return;
	lun = model_lun_of_volume(request->model, request->volume->identity.uuid, NULL, &target);
	if (lun) {
		api_reply_error(request, 409, "volume_mapped",
				"snapshot %s is LUN %u of target %s; unmap it first",
				request->volume->name, lun->lun, target->iqn);
		return;
	}
	snapshot_delete(request->volume, api_pool_call(request, deleted));
}

/* ---- given up, in a pool at its end: expiry.h ---- */
static void given_up(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	char name[VOLUME_PATH_MAX + 1];

	if (result == 0) /* the reference went with it */
		request->volume = NULL;
	if (!api_step_good(request, result, NULL))
		return;
	snprintf(name, sizeof name, "%.*s@%.*s", VOLUME_NAME_MAX, request->match.param[1],
		 SNAPSHOT_NAME_MAX, request->match.param[2]);
	expiry_note(request->admin, request->match.param[0], name);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[2]));
}

void api_snapshot_give_up(struct api_request *request)
{
	const char *why;

	if (!find_snapshot(request))
		return;
	why = expiry_refusal(request->model, request->volume);
	if (why) {
		api_reply_error(request, 409, "snapshot_stays", "snapshot %s is not given up: %s",
				request->volume->name, why);
		return;
	}
	request->call = (struct pool_call){.done = given_up};
	snapshot_delete(request->volume, &request->call);
}

/* ---- clones and going back ---- */
static void cloned(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (!api_step_good(request, result, "volume_exists"))
		return;
	if (call->dry) {
		const char *name = json_string_value(json_object_get(request->body, "name"));

		api_reply_dry(request, json_sprintf("volume %s/%s", request->match.param[0], name),
			      json_object(),
			      json_pack("{s:s,s:s,s:I,s:s}", "pool", request->match.param[0],
					"name", name, "size_bytes",
					(json_int_t)volume_size(request->volume), "origin",
					request->volume->name));
		return;
	}
	volume_unref(request->volume);
	request->volume = call->volume;
	log_notice("volume %s/%s made from snapshot %s@%s", request->match.param[0],
		   request->volume->name, request->match.param[1], request->match.param[2]);
	api_reply(request, 201, show_volume(request->model, request->volume));
}

void api_snapshot_clone(struct api_request *request)
{
	const char *name;

	if (!api_unpack(request, "{s:s}", "name", &name) || !find_snapshot(request))
		return;
	volume_clone(request->volume, name, api_pool_call(request, cloned));
}

static void promoted(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);

	if (!api_step_good(request, result, "snapshot_exists"))
		return;
	if (call->dry) {
		json_t *before = show_volume(request->model, request->volume);
		json_t *after = json_copy(before);

		json_object_set_new(after, "origin", json_string(""));
		api_reply_dry(
		    request,
		    json_sprintf("volume %s/%s", request->match.param[0], request->match.param[1]),
		    before, after);
		return;
	}
	log_notice("volume %s/%s promoted", request->match.param[0], request->match.param[1]);
	api_reply(request, 200, show_volume(request->model, request->volume));
}

void api_volume_promote(struct api_request *request)
{
	if (!find_volume(request))
		return;
	volume_promote(request->volume, api_pool_call(request, promoted));
}

/* It would be what @back is; what is written since is kept in a snapshot. */
static void reply_dry_rollback(struct api_request *request, struct volume *back)
{
	const json_t *keep = json_object_get(request->body, "keep");
	json_t *before = show_volume(request->model, request->volume), *after = json_copy(before);
	struct snapshot_info info;

	if (snapshot_get_info(back, &info)) {
		json_object_set_new(after, "size_bytes", json_integer((json_int_t)info.size_bytes));
		json_object_set_new(after, "used_bytes", json_integer((json_int_t)info.used_bytes));
	}
	json_object_set_new(after, "content", json_string(back->name));
	if (keep)
		json_object_set_new(after, "keep", json_copy((json_t *)keep));
	api_reply_dry(
	    request, json_sprintf("volume %s/%s", request->match.param[0], request->match.param[1]),
	    before, after);
}

static void rolled_back(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct volume *back = request->state;

	request->state = NULL;
	if (api_step_good(request, result, "snapshot_exists") && call->dry) {
		reply_dry_rollback(request, back);
		volume_unref(back);
		return;
	}
	volume_unref(back);
	if (result < 0)
		return;
	log_notice("volume %s/%s rolled back", request->match.param[0], request->match.param[1]);
	api_reply(request, 200, show_volume(request->model, request->volume));
}

/* A share goes back without being closed: who uses it waits. */
struct share_back {
	struct share_call call;
	struct api_request *request;
	struct volume *back;
};

static void share_rolled_back(struct share_call *call, int result)
{
	struct share_back *mine = container_of(call, struct share_back, call);
	struct api_request *request = mine->request;
	struct volume *back = mine->back;
	const struct model_share *share;

	request->call.err = call->err;
	if (result == 0 && call->dry) {
		reply_dry_rollback(request, back); /* and the request has ended */
		volume_unref(back);
		return;
	}
	volume_unref(back);
	if (!api_step_good(request, result, "snapshot_exists"))
		return;
	share = model_share_of_volume(request->model, request->volume->identity.uuid);
	if (share && share->vfs)
		nfs_share_changed(request->admin->options.nfs, share->vfs);
	log_notice("share %s/%s rolled back to %s", request->match.param[0],
		   request->match.param[1],
		   json_string_value(json_object_get(request->body, "snapshot")));
	api_reply(request, 200, show_volume(request->model, request->volume));
}

static void roll_share_back(struct api_request *request, struct model_share *share,
			    const char *snapshot, const char *keep)
{
	struct share_back *mine;
	struct volume *back;

	if (!share->vfs) {
		api_reply_error(request, 409, "share_unavailable",
				"share %s/%s is not available: %s", share->pool, share->name,
				share->reason);
		return;
	}
	back = snapshot_named(request, snapshot);
	if (!back) /* and the request has ended */
		return;
	request->state = mine = heap_zalloc(sizeof *mine);
	if (!mine) {
		volume_unref(back);
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	mine->back = back;
	mine->request = request;
	mine->call.done = share_rolled_back;
	mine->call.dry = api_is_dry(request);
	share_rollback(share->vfs, back, keep, &mine->call);
}

void api_volume_rollback(struct api_request *request)
{
	const char *snapshot, *keep = NULL;
	struct model_share *share;
	struct volume *back;

	if (!api_unpack(request, "{s:s,s?:s}", "snapshot", &snapshot, "keep", &keep) ||
	    !find_volume(request))
		return;
	if (replica_refuses(request, request->volume, REPLICA_ROLLBACK))
		return;
	share = model_share_of_volume(request->model, request->volume->identity.uuid);
	if (share) {
		roll_share_back(request, share, snapshot, keep);
		return;
	}
	back = snapshot_named(request, snapshot);
	if (!back)
		return;
	if (volume_size(back) < volume_size(request->volume) &&
	    replica_refuses(request, request->volume, REPLICA_SHRINK)) {
		volume_unref(back);
		return;
	}
	request->state = back;
	volume_rollback(request->volume, back, keep, api_pool_call(request, rolled_back));
}

/* ---- differences ---- */
struct difference {
	struct volume_diff diff;
	struct volume_extent extents[DIFF_EXTENTS];
	json_t *list;
};

static void difference_end(struct api_request *request, int result)
{
	struct difference *mine = request->state;
	json_t *list = mine->list;
	json_t *next =
	    mine->diff.finished ? json_null() : json_integer((json_int_t)mine->diff.offset);

	volume_unref(mine->diff.to);
	mine->list = NULL;
	if (!api_step_good(request, result, NULL)) {
		json_decref(list);
		json_decref(next);
		return;
	}
	api_reply(request, 200, json_pack("{s:o,s:o}", "extents", list, "next", next));
}

static void difference_went_on(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct difference *mine = request->state;

	for (unsigned i = 0; i < mine->diff.extent_count && result == 0; i++)
		json_array_append_new(mine->list,
				      json_pack("{s:I,s:I,s:b}", "offset",
						(json_int_t)mine->extents[i].offset, "length",
						(json_int_t)mine->extents[i].length, "mapped",
						mine->extents[i].mapped));
	if (result < 0 || mine->diff.finished || json_array_size(mine->list) >= 16 * DIFF_EXTENTS) {
		difference_end(request, result);
		return;
	}
	request->call = (struct pool_call){.done = difference_went_on};
	volume_diff(&mine->diff, &request->call);
}

/* ?to=SNAPSHOT, without: the volume as it is. ?offset=BYTES: from "next" of an answer before. */
void api_snapshot_diff(struct api_request *request)
{
	struct difference *mine;
	struct volume *other;
	char to[SNAPSHOT_NAME_MAX + 2], offset[24];
	const char *code = NULL;

	if (!find_snapshot(request))
		return;
	request->state = mine = heap_zalloc(sizeof *mine);
	if (!mine) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (api_query(request, "to", to, sizeof to)) {
		other = snapshot_named(request, to);
		if (!other)
			return;
	} else {
		other = model_find_volume(request->model, request->match.param[0],
					  request->match.param[1], &code, &request->err);
		if (!other) {
			api_reply_failure(request, code);
			return;
		}
	}
	mine->diff.to = other;
	if (api_query(request, "offset", offset, sizeof offset))
		mine->diff.offset = strtoull(offset, NULL, 10);
	mine->diff.from = request->volume;
	mine->diff.extents = mine->extents;
	mine->diff.extent_max = DIFF_EXTENTS;
	mine->list = json_array();
	request->call = (struct pool_call){.done = difference_went_on};
	volume_diff(&mine->diff, &request->call);
}
