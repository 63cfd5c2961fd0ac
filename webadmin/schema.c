/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "webadmin/api.h"

/* A request's body against its route's row, before the handler sees it: nothing required is
 * missing, nothing unknown is there, everything has its type. What the values mean is the
 * handler's. */

static bool devices_good(const json_t *value)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)value, index, item)
	{
		if (!json_is_string(item) && !json_is_object(item))
			return false;
	}
	return json_is_array(value);
}

static bool objects_good(const json_t *value)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)value, index, item)
	{
		if (!json_is_object(item))
			return false;
	}
	return json_is_array(value);
}

static bool texts_good(const json_t *value)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)value, index, item)
	{
		if (!json_is_string(item))
			return false;
	}
	return json_is_array(value);
}

/* NULL when @value is of @type, else what it has to be. */
static const char *type_wanted(enum field_type type, const json_t *value)
{
	switch (type) {
	case FIELD_TEXT:
		return json_is_string(value) ? NULL : "a text";
	case FIELD_NUMBER:
		return json_is_integer(value) && json_integer_value(value) >= 0
			   ? NULL
			   : "an integer that is not negative";
	case FIELD_SIZE:
		return json_is_string(value) || json_is_integer(value)
			   ? NULL
			   : "a number of bytes or a text such as \"20G\"";
	case FIELD_SWITCH:
		return json_is_boolean(value) ? NULL : "true or false";
	case FIELD_TEXTS:
		return texts_good(value) ? NULL : "an array of texts";
	case FIELD_OBJECTS:
		return objects_good(value) ? NULL : "an array of objects";
	case FIELD_DEVICES:
		return devices_good(value) ? NULL : "an array of paths or objects";
	case FIELD_OBJECT:
		return json_is_object(value) ? NULL : "an object";
	default:
		return "left out";
	}
}

static const struct route_field *find_field(const struct route_field *fields, const char *name)
{
	for (; fields && fields->name; fields++) {
		if (strcmp(fields->name, name) == 0)
			return fields;
	}
	return NULL;
}

bool api_body_check(struct api_request *request)
{
	const struct route_field *fields = request->match.route->body;
	const char *name, *wanted;
	json_t *value;

	json_object_foreach(request->body, name, value)
	{
		const struct route_field *field = find_field(fields, name);

		if (!field) {
			api_reply_error(request, 400, "unknown_member",
					"this request has no member \"%.100s\"", name);
			return false;
		}
		wanted = type_wanted(field->type, value);
		if (wanted) {
			api_reply_error(request, 400, "bad_request", "\"%s\" has to be %s", name,
					wanted);
			return false;
		}
	}
	for (; fields && fields->name; fields++) {
		if (fields->required && !json_object_get(request->body, fields->name)) {
			api_reply_error(request, 400, "bad_request", "\"%s\" is missing",
					fields->name);
			return false;
		}
	}
	return true;
}
