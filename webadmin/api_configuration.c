/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/bin.h"
#include "webadmin/directory.h"
#include "webadmin/export.h"
#include "webadmin/host.h"
#include "webadmin/metadata.h"
#include "webadmin/plan.h"
#include "webadmin/schedule.h"

/* The whole configuration as one document, and back: GET shows it, PUT carries out the steps that
 * plan.c finds, one after the other, each a change of its own (checked, audited, told to who
 * listens). A step that fails ends it; what was done stays, and the same document again goes on
 * from there. */

/* --- showing -------------------------------------------------------------------------------- */

/* A copy of @object with these members only, stolen. */
static json_t *only(json_t *object, const char *const *keys)
{
	json_t *copy = json_object();

	for (; *keys; keys++) {
		json_t *value = json_object_get(object, *keys);

		if (value)
			json_object_set(copy, *keys, value);
	}
	json_decref(object);
	return copy;
}

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Likewise, with what is noted of it, where it is something. Its path ends with @name. */
static json_t *only_noted(struct webadmin *admin, const char *kind, const char *name,
			  json_t *object, const char *const *keys)
{
	char path[ROUTE_PATH_MAX + 1];
	json_t *copy, *noted;

	snprintf(path, sizeof path, "/api/v1/%s/%s", kind, name);
	metadata_dress(admin, path, object);
	noted = json_incref(json_object_get(object, "metadata"));
	copy = only(object, keys);
	if (json_object_size(noted))
		json_object_set(copy, "metadata", noted);
	json_decref(noted);
	return copy;
}

static json_t *only_each(json_t *list, const char *const *keys)
{
	json_t *copy = json_array(), *item;
	size_t index;

	json_array_foreach(list, index, item)
	    json_array_append_new(copy, only(json_incref(item), keys));
	json_decref(list);
	return copy;
}

static json_t *show_pool_wanted(struct webadmin *admin, const struct model_pool *pool)
{
	json_t *object = only_noted(admin, "pools", pool->name, show_pool(pool),
				    KEYS("name", "scrub_every", "undelete_hours"));
	struct pool_info info;

	if (!pool->pool)
		return object;
	pool_get_info(pool->pool, &info);
	json_object_set_new(
	    object, "watermarks",
	    json_sprintf("%u,%u,%u", info.watermark[0], info.watermark[1], info.watermark[2]));
	return object;
}

static void show_volumes_of(struct webadmin *admin, const struct model_pool *pool, json_t *volumes)
{
	struct model *model = &admin->model;
	struct volume *volume = NULL;

	while (pool->pool && (volume = pool_volume_next(pool->pool, volume))) {
		char name[600];

		if (model_share_of_volume(model, volume->identity.uuid) ||
		    model_hides(model, volume))
			continue;
		snprintf(name, sizeof name, "%s/%s", pool->name, volume->name);
		json_array_append_new(
		    volumes, only_noted(admin, "volumes", name, show_volume(model, volume),
					KEYS("pool", "name", "size_bytes", "checksum", "mirror",
					     "reserve_bytes", "quota_bytes", "iops_limit",
					     "bandwidth_limit_bytes", "burst_ms")));
	}
}

static json_t *show_share_wanted(struct webadmin *admin, const struct model_share *share)
{
	json_t *whole = show_share(share), *object;
	char name[600];

	snprintf(name, sizeof name, "%s/%s", json_string_value(json_object_get(whole, "pool")),
		 json_string_value(json_object_get(whole, "name")));
	object = only_noted(admin, "shares", name, whole,
			    KEYS("pool", "name", "quota_bytes", "mirror", "versions", "snapshots"));
	json_object_set_new(object, "rules", show_share_rules(NULL, share));
	return object;
}

static json_t *show_directory_wanted(struct webadmin *admin,
				     const struct model_directory *directory)
{
	json_t *object = only_noted(admin, "directories", directory->name,
				    show_directory(directory), KEYS("name", "path", "versions"));

	json_object_set_new(object, "rules",
			    show_rules_of(NULL, directory->rules, directory->rule_count));
	return object;
}

static json_t *show_luns_wanted(const struct model_target *target)
{
	json_t *luns = only_each(show_luns(target), KEYS("lun", "pool", "volume", "hosts", "type",
							 "read_only", "write_cache"));
	json_t *lun;
	size_t index;

	json_array_foreach(luns, index, lun)
	{
		const char *type = json_string_value(json_object_get(lun, "type"));

		if (type && strcmp(type, "cdrom") == 0) /* there is nothing to set */
			json_object_del(lun, "write_cache");
	}
	return luns;
}

static json_t *show_target_wanted(struct webadmin *admin, const struct model_target *target)
{
	json_t *object = only_noted(admin, "targets", target->iqn, show_target(target),
				    KEYS("iqn", "alias", "redirect", "async_events", "max_sessions",
					 "max_sessions_per_initiator"));

	json_object_set_new(object, "luns", show_luns_wanted(target));
	json_object_set_new(object, "rules",
			    only_each(show_rules(target),
				      KEYS("initiator", "network", "chap_user", "mutual_user")));
	json_object_set_new(object, "groups", groups_show_wanted(target));
	return object;
}

static json_t *show_schedules_wanted(struct webadmin *admin)
{
	json_t *list = json_array();

	list_for_each (it, &admin->schedules) {
		const struct schedule *schedule = list_entry(it, struct schedule, link);

		json_array_append_new(list, only_noted(admin, "snapshot-schedules", schedule->name,
						       schedule_show(&admin->model, schedule),
						       KEYS("name", "volumes", "every", "keep",
							    "prefix", "zone", "expendable")));
	}
	return list;
}

#define NOTE                                                                                       \
	"Secrets are not in this document: CHAP secrets, accounts, tokens, keys, certificates, "   \
	"passwords, URLs of webhooks. A backup has them. Replication, SMB, limits of users and "   \
	"the machine's network and time are not in it either: they have commands of their own."

/* What watches over the box. */
static void show_watch(struct webadmin *admin, json_t *document)
{
	json_t *channels = channels_show_wanted(admin), *channel;
	size_t index;

	json_array_foreach(channels, index, channel)
	{
		char path[ROUTE_PATH_MAX + 1];

		snprintf(path, sizeof path, "/api/v1/alert-channels/%s",
			 json_string_value(json_object_get(channel, "name")));
		metadata_dress(admin, path, channel);
	}
	json_object_set_new(document, "alert_rules", alert_rules_show_wanted(admin));
	json_object_set_new(document, "alert_channels", channels);
	json_object_set_new(document, "slow_limit", slow_show_wanted());
	json_object_set_new(document, "ups", ups_show_wanted(admin));
}

static json_t *show_configuration(struct webadmin *admin)
{
	json_t *document;
	struct model *model = &admin->model;
	json_t *pools = json_array(), *volumes = json_array(), *hosts = json_array();
	json_t *shares = json_array(), *targets = json_array(), *directories = json_array();

	list_for_each (it, &model->pools) {
		const struct model_pool *pool = list_entry(it, struct model_pool, link);

		json_array_append_new(pools, show_pool_wanted(admin, pool));
		show_volumes_of(admin, pool, volumes);
	}
	list_for_each (it, &model->hosts) {
		const struct model_host *host = list_entry(it, struct model_host, link);

		json_array_append_new(hosts, only_noted(admin, "hosts", host->name, show_host(host),
							KEYS("name", "initiators")));
	}
	list_for_each (it, &model->shares)
		json_array_append_new(
		    shares, show_share_wanted(admin, list_entry(it, struct model_share, link)));
	list_for_each (it, &model->directories) {
		const struct model_directory *directory =
		    list_entry(it, struct model_directory, link);

		if (!directory->hidden)
			json_array_append_new(directories, show_directory_wanted(admin, directory));
	}
	list_for_each (it, &model->targets)
		json_array_append_new(
		    targets, show_target_wanted(admin, list_entry(it, struct model_target, link)));
	document = json_pack("{s:i,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "version", 1, "note",
			     NOTE, "pools", pools, "hosts", hosts, "volumes", volumes, "shares",
			     shares, "directories", directories, "targets", targets, "schedules",
			     show_schedules_wanted(admin), "isns", isns_show_wanted(admin));
	show_watch(admin, document);
	return document;
}

static void show_tag(struct api_request *request, const json_t *document)
{
	char tag[17];

	if (api_tag(document, tag))
		api_extra(request, "etag", json_sprintf("\"%s\"", tag));
}

/* Is @document what If-Match names? False: it was answered. No turn is waited for, since each step
 * waits for its own; the plan is made of what is compared here. */
static bool is_fresh(struct api_request *request, const json_t *document)
{
	char tag[17], wanted[24];

	if (!request->if_match || strcmp(request->if_match, "*") == 0)
		return true;
	snprintf(wanted, sizeof wanted, "\"%s\"", api_tag(document, tag) ? tag : "-");
	if (strcmp(request->if_match, wanted) == 0)
		return true;
	api_reply_error(request, 412, "stale", "it has been changed since; look at it again");
	return false;
}

void api_configuration_show(struct api_request *request)
{
	json_t *document = show_configuration(request->admin);

	show_tag(request, document);
	api_reply(request, 200, document);
}

/* --- carrying out --------------------------------------------------------------------------- */

struct applying { /* a request's state */
	struct api_request *request;
	json_t *steps;
	size_t done;
	struct message next; /* the steps do not nest in each other's answers */
};

static void next_step(struct message *message);

static json_t *show_steps(json_t *steps, size_t done, bool dry)
{
	return json_pack("{s:b,s:i,s:O}", "dry_run", dry, "done", (int)done, "steps", steps);
}

static void finish(struct applying *applying)
{
	struct api_request *request = applying->request;
	json_t *steps = applying->steps, *body = show_steps(steps, applying->done, false);

	request->admin->applying = false;
	json_decref(steps);
	api_reply(request, 200, body);
}

static void fail(struct applying *applying, int status, const json_t *problem)
{
	struct api_request *request = applying->request;
	json_t *step = json_array_get(applying->steps, applying->done);
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	const char *code = json_string_value(json_object_get(problem, "code"));
	char text[400], known[64];

	snprintf(text, sizeof text, "step %zu of %zu, %.120s: %.200s", applying->done + 1,
		 json_array_size(applying->steps), json_string_value(json_object_get(step, "text")),
		 detail ? detail : "no answer");
	snprintf(known, sizeof known, "%s", code ? code : "failed");
	request->admin->applying = false;
	json_decref(applying->steps);
	api_reply_error(request, status, known, "%s", text);
}

static void step_done(void *context, int status, const json_t *body)
{
	struct applying *applying = context;

	if (status >= 300) {
		fail(applying, status, body);
		return;
	}
	applying->done++;
	loop_post(applying->request->admin->options.control, &applying->next, next_step);
}

static void next_step(struct message *message)
{
	struct applying *applying = container_of(message, struct applying, next);
	json_t *step = json_array_get(applying->steps, applying->done);

	if (!step) {
		finish(applying);
		return;
	}
	webadmin_call(applying->request->admin, json_string_value(json_object_get(step, "method")),
		      json_string_value(json_object_get(step, "path")),
		      json_incref(json_object_get(step, "body")), step_done, applying);
}

static json_t *make_steps(struct api_request *request)
{
	bool prune = json_is_true(json_object_get(request->body, "prune"));
	json_t *current = show_configuration(request->admin), *steps = NULL;

	if (!is_fresh(request, current)) {
		json_decref(current);
		return NULL;
	}
	steps =
	    plan_make(current, json_object_get(request->body, "document"), prune, &request->err);
	if (steps && api_is_dry(request))
		show_tag(request, current);
	json_decref(current);
	if (!steps)
		api_reply_error(request, 422, "bad_document", "%s", request->err.text);
	return steps;
}

void api_configuration_apply(struct api_request *request)
{
	json_t *steps = make_steps(request);
	struct applying *applying;
	json_t *body;

	if (!steps)
		return;
	if (api_is_dry(request)) {
		body = show_steps(steps, 0, true);
		json_decref(steps);
		api_reply(request, 200, body);
		return;
	}
	applying = request->admin->applying ? NULL : heap_zalloc(sizeof *applying);
	if (!applying) {
		json_decref(steps);
		api_reply_error(request, 409, "busy", "another document is being carried out");
		return;
	}
	request->state = applying;
	request->admin->applying = true;
	applying->request = request;
	applying->steps = steps;
	loop_post(request->admin->options.control, &applying->next, next_step);
}
