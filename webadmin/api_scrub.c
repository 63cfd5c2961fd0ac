/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/share.h"

/* Scrubbing a pool, and what was found. */

static struct pool *open_pool(struct api_request *request)
{
	const char *code = NULL;
	struct pool *pool =
	    model_pool_usable(request->model, request->match.param[0], &code, &request->err);

	if (!pool)
		api_reply_failure(request, code);
	return pool;
}

void api_scrub_show(struct api_request *request)
{
	struct pool *pool = open_pool(request);

	if (pool)
		api_reply(request, 200, show_scrub(pool));
}

/* What @action would make of the scrub. */
static void try_scrub(struct api_request *request, struct pool *pool, enum pool_scrub_action action,
		      uint64_t rate)
{
	static const char *const states[] = {[POOL_SCRUB_START] = "running",
					     [POOL_SCRUB_PAUSE] = "paused",
					     [POOL_SCRUB_RESUME] = "running",
					     [POOL_SCRUB_STOP] = "stopped"};
	json_t *shown, *before, *after;

	if (pool_scrub_try(pool, action, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	shown = show_scrub(pool);
	before = json_pack("{s:O*,s:O*}", "state", json_object_get(shown, "state"), "rate_bytes",
			   json_object_get(shown, "rate_bytes"));
	after = json_copy(before);
	json_object_set_new(after, "state", json_string(states[action]));
	if (rate)
		json_object_set_new(after, "rate_bytes", json_integer((json_int_t)rate));
	json_decref(shown);
	api_reply_dry(request, json_sprintf("scrub of pool %s", pool_name(pool)), before, after);
}

void api_scrub_change(struct api_request *request)
{
	static const char *const actions[] = {[POOL_SCRUB_START] = "start",
					      [POOL_SCRUB_PAUSE] = "pause",
					      [POOL_SCRUB_RESUME] = "resume",
					      [POOL_SCRUB_STOP] = "stop"};
	const char *action = "start";
	json_t *rate = NULL;
	uint64_t rate_bytes = 0;
	unsigned found = 0;
	struct pool *pool;

	if (!api_unpack(request, "{s?:s,s?:o}", "action", &action, "rate", &rate) ||
	    (rate && !json_is_null(rate) && !api_size(request, rate, &rate_bytes)))
		return;
	while (found < sizeof actions / sizeof *actions && strcmp(action, actions[found]) != 0)
		found++;
	if (found == sizeof actions / sizeof *actions) {
		api_reply_error(request, 400, "bad_request",
				"action is one of start, pause, resume and stop");
		return;
	}
	pool = open_pool(request);
	if (!pool)
		return;
	if (api_is_dry(request)) {
		try_scrub(request, pool, (enum pool_scrub_action)found, rate_bytes);
		return;
	}
	if (pool_scrub(pool, (enum pool_scrub_action)found, rate_bytes, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("scrub of pool %s: %s", pool_name(pool), action);
	api_reply(request, 200, show_scrub(pool));
}

/* What goes by a volume, in words: who sees the damage. */
static json_t *users_of(struct model *model, struct pool *pool, const char *name)
{
	struct volume *volume = *name ? pool_find_volume(pool, name) : NULL;
	const struct model_share *share;
	struct model_target *target;
	struct model_lun *lun = NULL;
	json_t *users = json_array();

	if (!volume)
		return users;
	while ((lun = model_lun_of_volume(model, volume->identity.uuid, lun, &target)))
		json_array_append_new(users, show_lun_name(target, lun));
	share = model_share_of_volume(model, volume->identity.uuid);
	if (share)
		json_array_append_new(users, json_sprintf("share %s/%s", share->pool, share->name));
	volume_unref(volume);
	return users;
}

void api_finding_list(struct api_request *request)
{
	struct pool *pool = open_pool(request);
	json_t *findings, *finding;
	size_t index;

	if (!pool)
		return;
	findings = show_findings(pool);
	json_array_foreach(findings, index, finding)
	{
		const char *volume = json_string_value(json_object_get(finding, "volume"));

		json_object_set_new(finding, "used_by",
				    users_of(request->model, pool, volume ? volume : ""));
	}
	api_reply(request, 200, findings);
}

void api_finding_clear(struct api_request *request)
{
	struct pool *pool = open_pool(request);

	if (!pool)
		return;
	if (api_is_dry(request)) {
		json_t *found = show_findings(pool);

		api_reply_dry(request, json_sprintf("pool %s", pool_name(pool)),
			      json_pack("{s:i}", "findings", (int)json_array_size(found)),
			      json_pack("{s:i}", "findings", 0));
		json_decref(found);
		return;
	}
	pool_findings_clear(pool);
	api_reply(request, 200, json_pack("{s:s}", "cleared", pool_name(pool)));
}
