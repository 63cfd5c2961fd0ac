/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/metadata.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/config.h"
#include "core/heap.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* In the setting table: "metadata KEY", {"path", "metadata"}. In memory the same as one JSON object
 * by key: a UUID, or a path. */

#define PREFIX   "metadata "
#define KEY_SIZE (sizeof PREFIX + ROUTE_PATH_MAX)

static const char *key_of(const json_t *object, const char *path)
{
	const char *uuid = json_string_value(json_object_get(object, "uuid"));

	return uuid && *uuid ? uuid : path;
}

static const json_t *values_of(const json_t *entry)
{
	return json_object_get(entry, "metadata");
}

/* ---- the store ---- */
int metadata_load(struct webadmin *admin, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(admin->options.config,
				    "select name, value from setting where name like '" PREFIX "%'",
				    &statement, err);

	admin->metadata = json_object();
	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		json_t *entry = json_loads(config_text(statement, 1), 0, NULL);

		if (json_is_object(values_of(entry)))
			json_object_set(admin->metadata, config_text(statement, 0) + strlen(PREFIX),
					entry);
		json_decref(entry);
	}
	config_finish(statement);
	return result;
}

void metadata_free(struct webadmin *admin)
{
	json_decref(admin->metadata);
	admin->metadata = NULL;
}

static int forget(struct webadmin *admin, const char *key, struct err *err)
{
	char name[KEY_SIZE];
	int result;

	snprintf(name, sizeof name, PREFIX "%s", key);
	result =
	    config_run(admin->options.config, err, "delete from setting where name = ?", "s", name);
	if (result == 0)
		json_object_del(admin->metadata, key);
	return result;
}

static int keep(struct webadmin *admin, const char *key, const char *path, const json_t *values,
		struct err *err)
{
	json_t *entry = json_pack("{s:s,s:O}", "path", path, "metadata", values);
	char *text = entry ? json_dumps(entry, JSON_COMPACT) : NULL;
	char name[KEY_SIZE];
	int result = text ? 0 : err_set(err, -ENOMEM, "out of memory");

	snprintf(name, sizeof name, PREFIX "%s", key);
	if (result == 0)
		result = webadmin_set_setting(admin, name, text, err);
	if (result == 0)
		json_object_set(admin->metadata, key, entry);
	json_decref(entry);
	heap_free(text);
	return result;
}

/* Whoever has this path: its key may be a UUID that is gone with it. */
void metadata_gone(struct webadmin *admin, const char *path)
{
	const char *key;
	json_t *entry;
	void *next;

	json_object_foreach_safe(admin->metadata, next, key, entry)
	{
		const char *known = json_string_value(json_object_get(entry, "path"));

		if (known && strcmp(known, path) == 0)
			(void)forget(admin, key, NULL); /* what stays is seen by nobody */
	}
}

/* ---- shown ---- */
static void dress_one(struct webadmin *admin, const char *path, json_t *object)
{
	json_t *entry = json_object_get(admin->metadata, key_of(object, path));

	if (!entry || !json_is_object(object) || json_object_get(object, "metadata"))
		return;
	json_object_set(object, "metadata", json_object_get(entry, "metadata"));
	json_object_set_new(entry, "path", json_string(path)); /* it may have another name now */
}

/* The name that the path of an element of a list ends with. */
static const char *name_of(const json_t *object)
{
	static const char *const members[] = {"iqn", "name", "id"};

	for (unsigned i = 0; i < sizeof members / sizeof members[0]; i++) {
		const char *name = json_string_value(json_object_get(object, members[i]));

		if (name)
			return name;
	}
	return NULL;
}

void metadata_dress(struct webadmin *admin, const char *path, json_t *body)
{
	char place[ROUTE_PATH_MAX + 1];
	json_t *object;
	size_t index;

	if (json_object_size(admin->metadata) == 0)
		return;
	if (json_is_object(body))
		dress_one(admin, path, body);
	json_array_foreach(body, index, object)
	{
		const char *name = name_of(object), *uuid = key_of(object, NULL);
		json_t *entry = json_object_get(admin->metadata, uuid ? uuid : "");

		if (entry) {
			json_object_set(object, "metadata", json_object_get(entry, "metadata"));
		} else if (!uuid && name) {
			snprintf(place, sizeof place, "%.*s/%.250s", (int)sizeof place - 260, path,
				 name);
			dress_one(admin, place, object);
		}
	}
}

/* ---- PUT /api/v1/metadata ---- */
static bool name_is_good(const char *name)
{
	size_t length = strlen(name);

	return length && length <= METADATA_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			    "._/-") == length;
}

/* False: an error has been sent. */
static bool values_are_good(struct api_request *request, json_t *values)
{
	const char *name;
	json_t *value;

	if (json_object_size(values) > METADATA_NAMES_MAX) {
		api_reply_error(request, 400, "bad_request",
				"an object has metadata of %u names at most", METADATA_NAMES_MAX);
		return false;
	}
	json_object_foreach(values, name, value)
	{
		if (!name_is_good(name)) {
			api_reply_error(
			    request, 400, "bad_request",
			    "a name has 1 to %u of A-Z, a-z, 0-9, '.', '_', '/' and '-', "
			    "not %.80s",
			    METADATA_NAME_MAX, name);
			return false;
		}
		if (!json_is_string(value) || json_string_length(value) > METADATA_TEXT_MAX) {
			api_reply_error(request, 400, "bad_request",
					"%s: a text of at most %u bytes is needed", name,
					METADATA_TEXT_MAX);
			return false;
		}
	}
	return true;
}

/* May @request look at the object at @path? False: an error has been sent. */
static bool path_is_good(struct api_request *request, const char *path)
{
	struct route_match match;

	if (strlen(path) > ROUTE_PATH_MAX || strchr(path, '?')) {
		api_reply_error(request, 400, "bad_request", "that is no path of an object");
		return false;
	}
	route_find("GET", path, &match);
	if (!match.route || !strchr(match.route->path, '{') ||
	    match.route->flags & (ROUTE_TEXT | ROUTE_FILE | ROUTE_SECRET)) {
		api_reply_error(request, 404, "no_such_object",
				"object is the path of one, such as /api/v1/volumes/POOL/NAME");
		return false;
	}
	if (role_may(request->who.role, match.route))
		return true;
	api_reply_error(request, 403, "role_too_low", "this needs the role %s",
			role_name(match.route->role));
	return false;
}

static void set_values(struct api_request *request, const char *path, const char *key)
{
	json_t *values = json_object_get(request->body, "metadata");
	struct webadmin *admin = request->admin;
	const json_t *before = json_object_get(admin->metadata, key), *now = values_of(before);
	int result;

	if (!before && json_object_size(admin->metadata) >= METADATA_OBJECTS_MAX) {
		api_reply_error(request, 507, "too_many", "%u objects have metadata, which is all",
				METADATA_OBJECTS_MAX);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, json_sprintf("metadata of %s", path),
			      now ? json_deep_copy(now) : json_object(), json_deep_copy(values));
		return;
	}
	result = json_object_size(values) ? keep(admin, key, path, values, &request->err)
					  : forget(admin, key, &request->err);
	if (result < 0)
		api_reply_failure(request, NULL);
	else
		api_reply(request, 200, json_pack("{s:s,s:O}", "object", path, "metadata", values));
}

static void looked(void *context, int status, const json_t *body)
{
	struct api_request *request = context;
	const char *path = json_string_value(json_object_get(request->body, "object"));

	if (status == 200 && json_is_object(body))
		set_values(request, path, key_of(body, path));
	else if (status == 404)
		api_reply_error(request, 404, "no_such_object", "there is no such object: %s",
				json_string_value(json_object_get(body, "detail")));
	else
		api_reply_error(request, 400, "bad_request",
				"that is no object that could have metadata");
}

void api_metadata_set(struct api_request *request)
{
	const char *path = json_string_value(json_object_get(request->body, "object"));

	if (values_are_good(request, json_object_get(request->body, "metadata")) &&
	    path_is_good(request, path))
		webadmin_call(request->admin, "GET", path, NULL, looked, request);
}
