/* SPDX-License-Identifier: Apache-2.0 */
#include "core/yaml.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define PATH_ROOM 512

struct reading {
	yaml_parser_t parser;
	const struct yaml_rules *rules;
	json_t *lines;
	unsigned values;
	char path[PATH_ROOM]; /* of what is being read */
	const char *member;   /* whose value that is, or whose list; NULL: none's */
	struct err *err;
};

static json_t *read_value(struct reading *reading, yaml_event_t *event, unsigned depth);

static json_t *refuse_at(struct reading *reading, const yaml_mark_t *mark, const char *why)
{
	err_set(reading->err, -EINVAL, "line %zu, column %zu: %s%s%s", mark->line + 1,
		mark->column + 1, reading->path, reading->path[0] ? ": " : "", why);
	return NULL;
}

static json_t *refuse(struct reading *reading, const yaml_event_t *event, const char *why)
{
	return refuse_at(reading, &event->start_mark, why);
}

static bool next(struct reading *reading, yaml_event_t *event)
{
	const yaml_parser_t *parser = &reading->parser;
	const char *why = "this is no YAML";

	if (yaml_parser_parse(&reading->parser, event))
		return true;
	if (parser->error ==
	    YAML_READER_ERROR) /* its mark is where the reader was, not the scanner */
		refuse_at(reading, &parser->mark,
			  "this is no UTF-8, or a character that YAML has not");
	else if (parser->error == YAML_SCANNER_ERROR && parser->problem &&
		 strstr(parser->problem, "cannot start any token"))
		refuse_at(reading, &parser->problem_mark,
			  "no value begins with this character (a tab does not indent; @ and ` "
			  "need quotes)");
	else
		refuse_at(reading, &parser->problem_mark, parser->problem ? parser->problem : why);
	return false;
}

/* --- where ---------------------------------------------------------------------------------- */

/* The length before, for leave(). What does not fit is left out: the path is for people. */
static size_t enter(struct reading *reading, const char *format, const char *name, size_t index)
{
	size_t length = strlen(reading->path);

	if (name)
		snprintf(reading->path + length, PATH_ROOM - length, format, length ? "." : "",
			 name);
	else
		snprintf(reading->path + length, PATH_ROOM - length, format, index);
	return length;
}

static void leave(struct reading *reading, size_t length)
{
	reading->path[length] = '\0';
}

static void note_line(struct reading *reading, const yaml_event_t *event)
{
	if (reading->lines && strlen(reading->path) < PATH_ROOM - 1)
		json_object_set_new(reading->lines, reading->path,
				    json_integer((json_int_t)event->start_mark.line + 1));
}

/* --- scalars -------------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *names)
{
	while (*names && strcmp(text, *names) != 0)
		names++;
	return *names != NULL;
}

static bool is_null(const char *text)
{
	static const char *const nothing[] = {"", "~", "null", "Null", "NULL", NULL};

	return is_one_of(text, nothing);
}

static json_t *scalar_of_cloud_init(const char *text)
{
	static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes",
					  "YES",  "on",   "On",   "ON",  NULL};
	static const char *const no[] = {"false", "False", "FALSE", "no",  "No",
					 "NO",    "off",   "Off",   "OFF", NULL};
	size_t length = strlen(text);

	if (is_one_of(text, yes) || is_one_of(text, no))
		return json_boolean(is_one_of(text, yes));
	/* A number with a leading zero is a text: in 1.1 it would be octal. */
	if (length <= 15 && strspn(text, "0123456789") == length && (text[0] != '0' || !text[1]))
		return json_integer(strtoll(text, NULL, 10));
	return json_string(text);
}

/* [-+]?[0-9]+, 0o[0-7]+, 0x[0-9a-fA-F]+; the base, 0: none of them. */
static int base_of_integer(const char *text)
{
	const char *digits = text + (*text == '-' || *text == '+');

	if (strncmp(text, "0o", 2) == 0 && text[2] && !text[2 + strspn(text + 2, "01234567")])
		return 8;
	if (strncmp(text, "0x", 2) == 0 && text[2] &&
	    !text[2 + strspn(text + 2, "0123456789abcdefABCDEF")])
		return 16;
	return *digits && !digits[strspn(digits, "0123456789")] ? 10 : 0;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_real(const char *text)
{
	size_t before, after = 0;

	text += *text == '-' || *text == '+';
	before = strspn(text, "0123456789");
	text += before;
	if (*text == '.') {
		after = strspn(text + 1, "0123456789");
		text += 1 + after;
	}
	if (before + after == 0)
		return false;
	if (*text != 'e' && *text != 'E')
		return !*text;
	text++;
	text += *text == '-' || *text == '+';
	return *text && !text[strspn(text, "0123456789")];
}

static bool is_no_number(const char *text)
{
	static const char *const names[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};

	return is_one_of(text + (*text == '-' || *text == '+'), names);
}

/* YAML 1.2.2, 10.3.2. */
static json_t *scalar_of_core(struct reading *reading, const yaml_event_t *event, const char *text)
{
	static const char *const yes[] = {"true", "True", "TRUE", NULL};
	static const char *const no[] = {"false", "False", "FALSE", NULL};
	int base = base_of_integer(text);
	long long number;

	if (is_one_of(text, yes) || is_one_of(text, no))
		return json_boolean(is_one_of(text, yes));
	if (base) {
		errno = 0;
		number = strtoll(text + (base == 10 ? 0 : 2), NULL, base);
		return errno ? refuse(reading, event, "this number is too large")
			     : json_integer(number);
	}
	if (is_no_number(text))
		return refuse(reading, event, "infinity, and what is no number, are not taken");
	if (is_real(text)) {
		json_t *real = json_real(strtod(text, NULL));

		return real ? real : refuse(reading, event, "this number is too large");
	}
	return json_string(text);
}

static json_t *plain_scalar(struct reading *reading, const yaml_event_t *event, const char *text)
{
	const struct yaml_rules *rules = reading->rules;

	if (rules->core && reading->member && rules->is_text && rules->is_text(reading->member))
		return is_null(text) ? refuse(reading, event,
					      "a text is wanted here, and this is none (null); "
					      "write it in quotes")
				     : json_string(text);
	if (is_null(text))
		return json_null();
	return rules->core ? scalar_of_core(reading, event, text) : scalar_of_cloud_init(text);
}

static json_t *read_scalar(struct reading *reading, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	json_t *value;

	if (event->data.scalar.anchor || event->data.scalar.tag)
		return refuse(reading, event, "anchors and tags are not taken");
	if (strlen(text) != event->data.scalar.length)
		return refuse(reading, event, "a text with a zero byte in it");
	value = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE
		    ? plain_scalar(reading, event, text)
		    : json_string(text);
	return value || reading->err->code ? value : refuse(reading, event, "this is no UTF-8");
}

/* --- what holds others ---------------------------------------------------------------------- */

static json_t *read_list(struct reading *reading, unsigned depth)
{
	json_t *list = json_array();
	yaml_event_t event;

	for (;;) {
		size_t outer = enter(reading, "[%zu]", NULL, json_array_size(list));
		json_t *value = NULL;
		bool end = false;

		if (next(reading, &event)) {
			end = event.type == YAML_SEQUENCE_END_EVENT;
			value = end ? NULL : read_value(reading, &event, depth);
			yaml_event_delete(&event);
		}
		leave(reading, outer);
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
		refuse(reading, event, "a member's name has to be a simple text");
		return NULL;
	}
	return key;
}

/* False with a sentence. */
static bool read_member(struct reading *reading, json_t *object, const yaml_event_t *name,
			unsigned depth)
{
	const char *key = key_of(reading, name), *member = reading->member;
	json_t *value = NULL;
	yaml_event_t event;
	size_t outer;

	if (!key)
		return false;
	outer = enter(reading, "%s%s", key, 0);
	if (json_object_get(object, key)) {
		refuse(reading, name, "a member that is there twice");
		return false;
	}
	reading->member = key;
	if (next(reading, &event)) {
		value = read_value(reading, &event, depth);
		yaml_event_delete(&event);
	}
	reading->member = member;
	if (value && json_object_set_new(object, key, value) < 0) {
		refuse(reading, name, "this is no UTF-8");
		return false;
	}
	leave(reading, outer);
	return value != NULL;
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
	if (depth == reading->rules->depth_max || ++reading->values > reading->rules->values_max)
		return refuse(reading, event, "this goes too deep, or is too much");
	note_line(reading, event);
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return read_scalar(reading, event);
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor || event->data.sequence_start.tag
			   ? refuse(reading, event, "anchors and tags are not taken")
			   : read_list(reading, depth + 1);
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor || event->data.mapping_start.tag
			   ? refuse(reading, event, "anchors and tags are not taken")
			   : read_mapping(reading, depth + 1);
	default:
		return refuse(reading, event, "aliases are not taken");
	}
}

/* --- the document --------------------------------------------------------------------------- */

/* Stream and document begin; then there is a value, or nothing, which is an empty object. */
static json_t *read_document(struct reading *reading, bool *ret_ended)
{
	json_t *value = NULL;
	yaml_event_t event;
	bool done = false;

	while (!done && next(reading, &event)) {
		if (event.type == YAML_STREAM_END_EVENT) {
			value = json_object();
			*ret_ended = done = true;
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
		if (!good && !more)
			refuse(reading, &event, "there is more than one document");
		yaml_event_delete(&event);
	}
	return good;
}

json_t *yaml_read(const char *text, size_t length, const struct yaml_rules *rules, json_t *lines,
		  struct err *err)
{
	struct err mine = {0};
	struct reading reading = {.rules = rules, .lines = lines, .err = &mine};
	bool ended = false;
	json_t *value;

	if (!yaml_parser_initialize(&reading.parser)) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (rules->core) /* else libyaml looks for a mark of UTF-16 too */
		yaml_parser_set_encoding(&reading.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reading.parser, (const unsigned char *)text, length);
	value = read_document(&reading, &ended);
	if (value && !ended && !ends(&reading)) {
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

/* --- writing -------------------------------------------------------------------------------- */

/* Begins with a letter, has nothing that means something, and is no word that does. */
static bool may_be_plain(const char *text)
{
	static const char *const words[] = {"y",   "n",    "yes",   "no",   "on",
					    "off", "true", "false", "null", NULL};
	size_t length = strlen(text);

	if (!isalpha((unsigned char)text[0]) || length > 200 || text[length - 1] == ':')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-_./:@", text[i]))
			return false;
	for (unsigned i = 0; words[i]; i++)
		if (strcasecmp(text, words[i]) == 0)
			return false;
	return true;
}

static bool emit_text(yaml_emitter_t *emitter, const char *text, bool plain)
{
	yaml_event_t event;

	return yaml_scalar_event_initialize(
		   &event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), plain, true,
		   plain ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE) &&
	       yaml_emitter_emit(emitter, &event);
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *value);

static bool emit_list(yaml_emitter_t *emitter, const json_t *list)
{
	yaml_event_t event;
	size_t index;
	json_t *item;

	if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
						  YAML_BLOCK_SEQUENCE_STYLE) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	json_array_foreach((json_t *)list, index, item)
	{
		if (!emit_value(emitter, item))
			return false;
	}
	return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_object(yaml_emitter_t *emitter, const json_t *object)
{
	yaml_event_t event;
	const char *key;
	json_t *value;

	if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	json_object_foreach((json_t *)object, key, value)
	{
		if (!emit_text(emitter, key, may_be_plain(key)) || !emit_value(emitter, value))
			return false;
	}
	return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *value)
{
	const char *text = json_string_value(value);
	char *printed;
	bool good;

	if (json_is_object(value))
		return emit_object(emitter, value);
	if (json_is_array(value))
		return emit_list(emitter, value);
	if (text)
		return emit_text(emitter, text, may_be_plain(text));
	printed = json_dumps(value, JSON_ENCODE_ANY); /* numbers, truth, null: the same in both */
	good = printed && emit_text(emitter, printed, true);
	free(printed);
	return good;
}

static int write_bytes(void *context, unsigned char *bytes, size_t length)
{
	return fwrite(bytes, 1, length, context) == length;
}

static bool emit_document(yaml_emitter_t *emitter, const json_t *value)
{
	yaml_event_t event;

	return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
	       yaml_emitter_emit(emitter, &event) &&
	       yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
	       yaml_emitter_emit(emitter, &event) && emit_value(emitter, value) &&
	       yaml_document_end_event_initialize(&event, 1) &&
	       yaml_emitter_emit(emitter, &event) && yaml_stream_end_event_initialize(&event) &&
	       yaml_emitter_emit(emitter, &event);
}

int yaml_write(const json_t *value, FILE *file)
{
	yaml_emitter_t emitter;
	bool good;

	if (!yaml_emitter_initialize(&emitter))
		return -ENOMEM;
	yaml_emitter_set_output(&emitter, write_bytes, file);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, -1);
	good = emit_document(&emitter, value);
	yaml_emitter_delete(&emitter);
	return good && fflush(file) == 0 ? 0 : -EIO;
}
