/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/utf8.h"
#include "webadmin/api.h"

/* The newest lines of this process's log (core/log.h), as they are kept in memory: the journal has
 * all of them. */

#define LINES_MAX     1000u
#define LINES_DEFAULT 200u

static const char *const severities[] = {[LOG_LEVEL_ERROR] = "error",
					 [LOG_LEVEL_WARNING] = "warning",
					 [LOG_LEVEL_NOTICE] = "notice",
					 [LOG_LEVEL_INFO] = "info",
					 [LOG_LEVEL_DEBUG] = "debug"};
#define SEVERITIES (sizeof severities / sizeof *severities)

/* Names from outside may be anything: what is no UTF-8 is shown as '?'. */
static json_t *clean(char *text, size_t length)
{
	for (size_t i = 0; i < length;) {
		size_t good = utf8_length(text + i, length - i);

		if (good == 0)
			text[i] = '?';
		i += good ? good : 1;
	}
	return json_stringn(text, length);
}

/* "2026-11-24T04:00:00Z <5> text": NULL when it is none, or less severe than @least. */
static json_t *line_of(char *line, size_t length, unsigned least)
{
	char *mark = memchr(line, ' ', length);
	size_t at = mark ? (size_t)(mark - line) : length;
	unsigned level;

	if (length < at + 5 || mark[1] != '<' || mark[3] != '>' || mark[4] != ' ')
		return NULL;
	level = (unsigned)(mark[2] - '0');
	if (level >= SEVERITIES || !severities[level] || level > least)
		return NULL;
	return json_pack("{s:s#,s:s,s:o}", "at", line, (int)at, "severity", severities[level],
			 "text", clean(mark + 5, length - at - 5));
}

static json_t *lines_of(char *text, size_t length, unsigned least, size_t most)
{
	json_t *list = json_array();
	char *end = text + length;

	while (text < end) {
		char *stop = memchr(text, '\n', (size_t)(end - text));
		json_t *line;

		if (!stop)
			break;
		line = line_of(text, (size_t)(stop - text), least);
		if (line)
			json_array_append_new(list, line);
		if (json_array_size(list) > most)
			json_array_remove(list, 0);
		text = stop + 1;
	}
	return list;
}

/* False: it was answered. */
static bool read_query(struct api_request *request, unsigned *ret_least, size_t *ret_most)
{
	char text[24], *end;

	*ret_least = LOG_LEVEL_DEBUG;
	*ret_most = LINES_DEFAULT;
	if (api_query(request, "severity", text, sizeof text)) {
		unsigned level = LOG_LEVEL_ERROR;

		while (level < SEVERITIES && strcmp(severities[level], text) != 0)
			level++;
		*ret_least = level;
	}
	if (api_query(request, "lines", text, sizeof text)) {
		*ret_most = strtoul(text, &end, 10);
		if (text[0] < '0' || text[0] > '9' || *end)
			*ret_most = 0;
	}
	if (*ret_least < SEVERITIES && *ret_most >= 1 && *ret_most <= LINES_MAX)
		return true;
	api_reply_error(request, 400, "bad_query",
			"severity is the least: error, warning, notice, info or debug; lines is 1 "
			"to %u",
			LINES_MAX);
	return false;
}

void api_log_list(struct api_request *request)
{
	unsigned least;
	size_t most, length;
	char *text;

	if (!read_query(request, &least, &most))
		return;
	text = heap_alloc(LOG_KEPT + 1);
	if (!text) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	length = log_tail(text, LOG_KEPT + 1);
	api_reply(request, 200, json_pack("{s:o}", "lines", lines_of(text, length, least, most)));
	heap_free(text);
}
