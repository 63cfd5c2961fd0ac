/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/plan_step.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_ROOM 2048

const char *plan_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

void plan_refuse(struct plan *plan, const char *format, ...)
{
	char text[400];
	va_list values;

	if (plan->failed)
		return;
	plan->failed = true;
	va_start(values, format);
	vsnprintf(text, sizeof text, format, values);
	va_end(values);
	err_set(plan->err, -EINVAL, "%s%s%s", plan->where, plan->where[0] ? ": " : "", text);
}

void plan_look_at(struct plan *plan, const char *list, size_t index)
{
	snprintf(plan->where, sizeof plan->where, "%s[%zu]", list, index);
}

/* --- steps ---------------------------------------------------------------------------------- */

static void append_part(char *path, const char *text)
{
	size_t at = strlen(path);

	for (; *text && at + 4 < PATH_ROOM; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~:", *text))
			path[at++] = *text;
		else
			at += (size_t)snprintf(path + at, PATH_ROOM - at, "%%%02X",
					       (unsigned char)*text);
	}
	path[at] = '\0';
}

/* "/volumes/%/%": each "%" is the next text, encoded. */
static void fill_path(char path[PATH_ROOM], const char *pattern, const char *const *parts)
{
	snprintf(path, PATH_ROOM, "/api/v1");
	for (; *pattern; pattern++) {
		size_t at = strlen(path);

		if (*pattern == '%') {
			append_part(path, *parts++);
		} else if (at + 1 < PATH_ROOM) {
			path[at] = *pattern;
			path[at + 1] = '\0';
		}
	}
}

void plan_step(struct plan *plan, const char *method, const char *pattern, const char *const *parts,
	       json_t *body, const char *format, ...)
{
	char path[PATH_ROOM], text[700];
	va_list values;

	fill_path(path, pattern, parts);
	va_start(values, format);
	vsnprintf(text, sizeof text, format, values);
	va_end(values);
	json_array_append_new(plan->steps,
			      json_pack("{s:s,s:s,s:o,s:s}", "method", method, "path", path, "body",
					body ? body : json_object(), "text", text));
}

/* --- looking things up ---------------------------------------------------------------------- */

const json_t *plan_list(struct plan *plan, const json_t *object, const char *name)
{
	const json_t *list = json_object_get(object, name);
	size_t index;
	json_t *item;

	if (list && !json_is_array(list))
		plan_refuse(plan, "\"%s\" is a list", name);
	json_array_foreach((json_t *)list, index, item)
	{
		if (!json_is_object(item))
			plan_refuse(plan, "\"%s\" is a list of objects", name);
	}
	return plan->failed ? NULL : list;
}

json_t *plan_find(const json_t *list, const json_t *like, const char *a, const char *b)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)list, index, item)
	{
		if (strcmp(plan_text(item, a), plan_text(like, a)) == 0 &&
		    (!b || strcmp(plan_text(item, b), plan_text(like, b)) == 0))
			return item;
	}
	return NULL;
}
