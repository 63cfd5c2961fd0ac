/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* Updates of the appliance. The helper has the bundle and starts granary-update, which alone
 * decides whether it is one; here it is waited for what that says of it. */
#define CHECKED_MS 10000 /* who asked for an update learns what is wrong with it at once */
#define CANCEL_MS  15000 /* a block is written, and the slot made none to start from */
#define DRY_MS     60000 /* a dry run is nothing without what it says */

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* False: it failed, which was answered. */
static bool went_well(struct api_request *request, const json_t *reply)
{
	const json_t *update = json_object_get(json_object_get(reply, "body"), "update");

	if (json_integer_value(json_object_get(reply, "status")) >= 400 || !update) {
		relay_answer(request, reply);
		return false;
	}
	if (strcmp(text_of(update, "state"), "failed") != 0)
		return true;
	api_reply_error(request, 422, text_of(update, "code"), "%s", text_of(update, "detail"));
	return false;
}

static void asked(struct api_request *request, const json_t *reply)
{
	json_t *body = json_object_get(reply, "body");

	if (!went_well(request, reply))
		return;
	log_notice("audit: %s has the appliance %s", request->who.name,
		   strstr(request->path, "rollback") ? "go back to its other slot" : "updated");
	api_reply(request, 202, json_incref(body));
}

static void tried(struct api_request *request, const json_t *reply)
{
	const json_t *body = json_object_get(reply, "body");
	const json_t *update = json_object_get(body, "update");
	const char *version = text_of(update, "version");
	json_t *before, *after;

	if (!went_well(request, reply))
		return;
	if (strcmp(text_of(update, "state"), "would") != 0) {
		api_reply_error(request, 504, "no_answer",
				"the bundle could not be looked at in %d s", DRY_MS / 1000);
		return;
	}
	before = json_pack("{s:s}", "slot", text_of(body, "slot"));
	after = json_pack("{s:s}", "slot", text_of(update, "slot"));
	if (*version) {
		json_object_set_new(before, "release", json_string(text_of(body, "release")));
		json_object_set_new(after, "release", json_string(version));
	}
	api_reply_dry(request, json_string("appliance"), before, after);
}

/* An install and going back. */
void api_update(struct api_request *request)
{
	bool dry = api_is_dry(request);
	json_t *body = json_copy(request->body);

	if (body)
		json_object_set_new(body, "dry_run", json_boolean(dry));
	relay_send(
	    request,
	    json_pack("{s:s,s:s,s:o}", "method", "POST", "path", request->path, "body", body),
	    dry ? DRY_MS : CHECKED_MS, dry ? tried : asked);
}

static void cancelled(struct api_request *request, const json_t *reply)
{
	const json_t *body = json_object_get(reply, "body");
	const json_t *update = json_object_get(body, "update");

	if (json_integer_value(json_object_get(reply, "status")) >= 400 || !update) {
		relay_answer(request, reply);
		return;
	}
	if (json_is_true(json_object_get(body, "under_way"))) {
		api_reply(request, 202, json_copy((json_t *)body));
		return;
	}
	if (strcmp(text_of(update, "code"), "update_cancelled") != 0) {
		api_reply_error(request, 409, "too_late",
				"the update ended before it could be cancelled: %s %s",
				text_of(update, "state"), text_of(update, "detail"));
		return;
	}
	log_notice("audit: %s has cancelled the update: %s", request->who.name,
		   text_of(update, "detail"));
	api_reply(request, 200, json_copy((json_t *)body));
}

/* An install that is under way. */
void api_update_cancel(struct api_request *request)
{
	relay_send(request, json_pack("{s:s,s:s}", "method", "DELETE", "path", request->path),
		   CANCEL_MS, cancelled);
}

/* --- as a job --------------------------------------------------------------------------------- */

static const char *job_state(const json_t *update, bool under_way)
{
	if (under_way)
		return "running";
	if (strcmp(text_of(update, "state"), "done") == 0)
		return "done";
	return strcmp(text_of(update, "code"), "update_cancelled") == 0 ? "stopped" : "failed";
}

json_t *update_show_job(const json_t *reply)
{
	const json_t *body = json_object_get(reply, "body");
	const json_t *update = json_object_get(body, "update");
	double done = (double)json_integer_value(json_object_get(update, "done_bytes"));
	double size = (double)json_integer_value(json_object_get(update, "size_bytes"));
	bool under_way = json_is_true(json_object_get(body, "under_way"));
	const char *state = job_state(update, under_way);

	if (!update || strcmp(text_of(update, "state"), "would") == 0)
		return NULL;
	if (strcmp(state, "done") == 0)
		done = size = 1;
	return json_pack("{s:s,s:s,s:s,s:s,s:f,s:s,s:s,s:I,s:s,s:s}", "id", "update", "kind",
			 strcmp(text_of(update, "kind"), "rollback") == 0 ? "rollback" : "update",
			 "object", text_of(update, "version"), "state", state, "progress",
			 size > 0 ? done / size : 0.0, "started", text_of(update, "started"),
			 "ended", text_of(update, "ended"), "eta_seconds",
			 json_integer_value(json_object_get(update, "eta_seconds")), "step",
			 text_of(update, "state"), "text", text_of(update, "detail"));
}

/* The offset of the query goes with the piece. */
void api_update_piece(struct api_request *request)
{
	char text[24] = "", *end = text;
	unsigned long long offset = 0;
	json_t *body;

	if (api_query(request, "offset", text, sizeof text) && text[0] >= '0' && text[0] <= '9')
		offset = strtoull(text, &end, 10);
	if (end == text || *end || offset > INT64_MAX) {
		api_reply_error(request, 400, "bad_request", "offset is a number of bytes");
		return;
	}
	body = json_pack("{s:O,s:I}", "data", json_object_get(request->body, "data"), "offset",
			 (json_int_t)offset);
	relay_send(request,
		   json_pack("{s:s,s:s,s:o}", "method", "PUT", "path", request->path, "body", body),
		   0, relay_answer);
}
