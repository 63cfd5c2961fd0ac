/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* Updates of the appliance. The helper has the bundle and starts granary-update, which alone
 * decides whether it is one; here it is waited for what that says of it. */
#define CHECKED_MS 10000 /* who asked for an update learns what is wrong with it at once */
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
