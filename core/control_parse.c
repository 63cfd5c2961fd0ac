/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/control.h"
#include "core/heap.h"

/* What jansson does not bound, a scan before it does: depth (its parser recurses) and the number
 * of values (each costs some hundred bytes, so 4 MiB of "[],[],.." would cost a hundred times
 * that). Strings are skipped over; whether the text is JSON at all is jansson's to say. */
struct scan {
	const unsigned char *at, *end;
	unsigned depth, depth_max;
	size_t values;
};

/* @at is behind the opening quote. Returns behind the closing one, or the end. */
static const unsigned char *skip_string(const unsigned char *at, const unsigned char *end)
{
	while (at < end && *at != '"')
		at += *at == '\\' && at + 1 < end ? 2 : 1;
	return at < end ? at + 1 : end;
}

static void scan_text(struct scan *scan)
{
	while (scan->at < scan->end) {
		switch (*scan->at++) {
		case '"':
			scan->at = skip_string(scan->at, scan->end);
			break;
		case '[':
		case '{':
			scan->values++;
			if (++scan->depth > scan->depth_max)
				scan->depth_max = scan->depth;
			break;
		case ']':
		case '}':
			if (scan->depth)
				scan->depth--;
			break;
		case ',':
			scan->values++;
			break;
		}
	}
}

void control_wipe_json(void)
{
	json_set_alloc_funcs(malloc, heap_wipe);
}

json_t *control_parse(const void *data, size_t length, struct err *err)
{
	struct scan scan = {.at = data, .end = (const unsigned char *)data + length};
	json_error_t error;
	json_t *value;

	if (length == 0 || length > CONTROL_MESSAGE_MAX) {
		err_set(err, -EMSGSIZE, "a message has 1 to %u bytes, this one %zu",
			CONTROL_MESSAGE_MAX, length);
		return NULL;
	}
	if (memchr(data, '\0', length)) {
		err_set(err, -EBADMSG, "not JSON: it holds a NUL byte");
		return NULL;
	}
	scan_text(&scan);
	if (scan.depth_max > CONTROL_JSON_DEPTH_MAX) {
		err_set(err, -EBADMSG, "JSON nested deeper than %u", CONTROL_JSON_DEPTH_MAX);
		return NULL;
	}
	if (scan.values > CONTROL_JSON_VALUES_MAX) {
		err_set(err, -EBADMSG, "JSON of more than %u values", CONTROL_JSON_VALUES_MAX);
		return NULL;
	}
	/* Without JSON_ALLOW_NUL an escaped NUL is refused; numbers beyond 64 bits always are. */
	value = json_loadb(data, length, JSON_REJECT_DUPLICATES, &error);
	if (!value)
		err_set(err, -EBADMSG, "not JSON we take: %s at byte %d", error.text,
			error.position);
	return value;
}

json_t *control_text(const char *bytes)
{
	json_t *text = json_string(bytes);
	char *shown;

	if (text || !(shown = strdup(bytes)))
		return text;
	for (char *at = shown; *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	text = json_string(shown);
	free(shown);
	return text;
}
