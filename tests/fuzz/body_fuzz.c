/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request, JSON, against its row of the route table; and as a document of the whole
 * configuration, which is compared with another one. Two bytes say which row. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/control.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned answers;
static int last_status;

static void replied(struct api_request *request, json_t *reply)
{
	const json_t *body = json_object_get(reply, "body");
	char *text = json_dumps(reply, JSON_COMPACT);

	(void)request;
	answers++;
	last_status = (int)json_integer_value(json_object_get(reply, "status"));
	assert(last_status == 400 && text); /* a refusal that can be sent */
	assert(json_string_value(json_object_get(body, "code")) &&
	       json_string_value(json_object_get(body, "detail")));
	free(text);
	json_decref(reply);
}

/* What a handler may rely on. */
static void has_its_types(const struct route *route, json_t *body)
{
	const char *name;
	json_t *value;

	for (const struct route_field *field = route->body; field && field->name; field++) {
		value = json_object_get(body, field->name);
		assert(value || !field->required);
		assert(!value || field->type != FIELD_TEXT || json_is_string(value));
		assert(!value || field->type != FIELD_SWITCH || json_is_boolean(value));
		assert(!value || field->type != FIELD_NUMBER ||
		       (json_is_integer(value) && json_integer_value(value) >= 0));
		assert(!value ||
		       (field->type != FIELD_TEXTS && field->type != FIELD_OBJECTS &&
			field->type != FIELD_DEVICES) ||
		       json_is_array(value));
	}
	json_object_foreach(body, name, value)
	{
		bool known = false;

		for (const struct route_field *field = route->body; field && field->name; field++)
			known = known || strcmp(field->name, name) == 0;
		assert(known);
	}
}

static void try_row(const struct route *route, json_t *body)
{
	static struct webadmin admin;
	struct api_request request = {
	    .admin = &admin, .body = body, .query = "", .replied = replied};
	bool good;

	request.match.route = route;
	answers = 0;
	good = api_body_check(&request);
	assert(answers == !good);
	if (good)
		has_its_types(route, body);
	json_decref(request.extra);
}

static void try_sizes(json_t *body)
{
	static struct webadmin admin;
	const char *name;
	json_t *value;

	json_object_foreach(body, name, value)
	{
		struct api_request request = {
		    .admin = &admin, .body = body, .query = "", .replied = replied};
		uint64_t bytes = 0;

		answers = 0;
		if (api_size(&request, value, &bytes))
			assert(answers == 0);
		else
			assert(answers == 1);
		(void)api_is_none(value);
		json_decref(request.extra);
	}
}

/* Nothing is to be done to make a document what it is; and what it says comes out as steps. */
static void try_document(json_t *body)
{
	json_t *nothing = json_pack("{s:i,s:[{s:s}]}", "version", 1, "pools", "name", "tank");
	json_t *steps[2], *step;
	struct err err = {0};
	size_t index;

	steps[0] = plan_make(nothing, body, true, &err);
	assert(steps[0] || (err.code && err.text[0]));
	json_array_foreach(steps[0], index, step)
	{
		struct route_match match;

		assert(json_string_value(json_object_get(step, "method")) &&
		       json_string_value(json_object_get(step, "path")) &&
		       json_string_value(json_object_get(step, "text")));
		route_find(json_string_value(json_object_get(step, "method")),
			   json_string_value(json_object_get(step, "path")), &match);
	}
	err = (struct err){0};
	steps[1] = plan_make(body, nothing, true, &err);
	assert(steps[1] || (err.code && err.text[0]));
	json_decref(steps[0]);
	json_decref(steps[1]);
	json_decref(nothing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned count;
	const struct route *routes = route_table(&count);
	struct err err = {0};
	json_t *body;
	char tag[17];

	if (size < 2)
		return 0;
	body = control_parse(data + 2, size - 2, &err);
	if (json_is_object(body)) {
		try_row(&routes[(data[0] << 8 | data[1]) % count], body);
		try_sizes(body);
		try_document(body);
		if (api_tag(body, tag))
			assert(strlen(tag) == 16);
	}
	json_decref(body);
	return 0;
}
