/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "appliance/seed.h"

/* YAML 1.1 as far as such files use it: mappings with plain keys, lists, scalars. Plain scalars
 * that look like a truth value or a decimal number are one; all else is text. */
#define DEPTH_MAX  16
#define VALUES_MAX 4096u

struct reading {
	yaml_parser_t parser;
	unsigned values;
	struct err *err;
};

static json_t *read_value(struct reading *reading, yaml_event_t *event, unsigned depth);

static json_t *refuse(struct reading *reading, const char *why)
{
	err_set(reading->err, -EINVAL, "line %zu: %s", reading->parser.mark.line + 1, why);
	return NULL;
}

static bool next(struct reading *reading, yaml_event_t *event)
{
	if (yaml_parser_parse(&reading->parser, event))
		return true;
	err_set(reading->err, -EINVAL, "line %zu: %s", reading->parser.problem_mark.line + 1,
		reading->parser.problem ? reading->parser.problem : "this is no YAML");
	return false;
}

static bool is_one_of(const char *text, const char *const *names)
{
	while (*names && strcmp(text, *names) != 0)
		names++;
	return *names != NULL;
}

static json_t *plain_scalar(const char *text)
{
	static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes",
					  "YES",  "on",   "On",   "ON",  NULL};
	static const char *const no[] = {"false", "False", "FALSE", "no",  "No",
					 "NO",    "off",   "Off",   "OFF", NULL};
	static const char *const nothing[] = {"", "~", "null", "Null", "NULL", NULL};
	size_t length = strlen(text);

	if (is_one_of(text, nothing))
		return json_null();
	if (is_one_of(text, yes) || is_one_of(text, no))
		return json_boolean(is_one_of(text, yes));
	/* A number with a leading zero is a text: in 1.1 it would be octal. */
	if (length <= 15 && strspn(text, "0123456789") == length && (text[0] != '0' || !text[1]))
		return json_integer(strtoll(text, NULL, 10));
	return json_string(text);
}

static json_t *read_scalar(struct reading *reading, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	json_t *value;

	if (event->data.scalar.anchor || event->data.scalar.tag)
		return refuse(reading, "anchors and tags are not taken");
	if (strlen(text) != event->data.scalar.length)
		return refuse(reading, "a text with a zero byte in it");
	value = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(text)
								    : json_string(text);
	return value ? value : refuse(reading, "this is no UTF-8");
}

static json_t *read_list(struct reading *reading, unsigned depth)
{
	json_t *list = json_array();
	yaml_event_t event;

	for (;;) {
		json_t *value;
		bool end;

		if (!next(reading, &event))
			break;
		end = event.type == YAML_SEQUENCE_END_EVENT;
		value = end ? NULL : read_value(reading, &event, depth);
		yaml_event_delete(&event);
		if (end)
			return list;
		if (!value || json_array_append_new(list, value) < 0)
			break;
	}
	json_decref(list);
	return NULL;
}

/* The key of @event; NULL with a sentence when it is none. */
static const char *key_of(struct reading *reading, const yaml_event_t *event)
{
	const char *key = (const char *)event->data.scalar.value;

	if (event->type != YAML_SCALAR_EVENT || event->data.scalar.anchor ||
	    event->data.scalar.tag || strlen(key) != event->data.scalar.length) {
		refuse(reading, "a member's name has to be a simple text");
		return NULL;
	}
	return key;
}

/* False with a sentence. */
static bool read_member(struct reading *reading, json_t *object, const yaml_event_t *name,
			unsigned depth)
{
	const char *key = key_of(reading, name);
	yaml_event_t event;
	json_t *value;

	if (!key || !next(reading, &event))
		return false;
	value = read_value(reading, &event, depth);
	yaml_event_delete(&event);
	if (!value)
		return false;
	if (json_object_get(object, key)) {
		json_decref(value);
		refuse(reading, "a member that is there twice");
		return false;
	}
	if (json_object_set_new(object, key, value) == 0)
		return true;
	refuse(reading, "this is no UTF-8");
	return false;
}

static json_t *read_mapping(struct reading *reading, unsigned depth)
{
	json_t *object = json_object();
	yaml_event_t event;
	bool good = true;

	while (good && next(reading, &event)) {
		bool end = event.type == YAML_MAPPING_END_EVENT;

		if (!end)
			good = read_member(reading, object, &event, depth);
		yaml_event_delete(&event);
		if (end)
			return object;
	}
	json_decref(object);
	return NULL;
}

static json_t *read_value(struct reading *reading, yaml_event_t *event, unsigned depth)
{
	if (depth == DEPTH_MAX || ++reading->values > VALUES_MAX)
		return refuse(reading, "this goes too deep, or is too much");
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return read_scalar(reading, event);
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor || event->data.sequence_start.tag
			   ? refuse(reading, "anchors and tags are not taken")
			   : read_list(reading, depth + 1);
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor || event->data.mapping_start.tag
			   ? refuse(reading, "anchors and tags are not taken")
			   : read_mapping(reading, depth + 1);
	default:
		return refuse(reading, "aliases are not taken");
	}
}

/* Stream and document begin; then there is a value, or nothing, which is an empty object. */
static json_t *read_document(struct reading *reading)
{
	json_t *value = NULL;
	yaml_event_t event;
	bool done = false;

	while (!done && next(reading, &event)) {
		if (event.type == YAML_STREAM_END_EVENT) {
			value = json_object();
			done = true;
		} else if (event.type != YAML_STREAM_START_EVENT &&
			   event.type != YAML_DOCUMENT_START_EVENT) {
			value = read_value(reading, &event, 0);
			done = true;
		}
		yaml_event_delete(&event);
	}
	return value;
}

/* Nothing stands behind the document. */
static bool ends(struct reading *reading)
{
	yaml_event_t event;
	bool more = true, good = false;

	while (more && next(reading, &event)) {
		good = event.type == YAML_STREAM_END_EVENT;
		more = event.type == YAML_DOCUMENT_END_EVENT;
		yaml_event_delete(&event);
	}
	if (!good && !more)
		refuse(reading, "there is more than one document");
	return good;
}

json_t *seed_yaml(const char *text, size_t length, struct err *err)
{
	struct err mine = {0};
	struct reading reading = {.err = &mine};
	json_t *value;
	bool empty;

	if (!yaml_parser_initialize(&reading.parser)) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	yaml_parser_set_input_string(&reading.parser, (const unsigned char *)text, length);
	value = read_document(&reading);
	empty = json_is_object(value) && json_object_size(value) == 0;
	if (value && !empty && !ends(&reading)) {
		json_decref(value);
		value = NULL;
	}
	if (json_is_null(value)) { /* nothing but comments, or a "~" */
		json_decref(value);
		value = json_object();
	}
	yaml_parser_delete(&reading.parser);
	if (!value)
		err_set(err, mine.code ? mine.code : -ENOMEM, "%s",
			mine.code ? mine.text : "out of memory");
	return value;
}
