/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/control.h"
#include "core/heap.h"

#define ANSWER_LIMIT_MS (600 * 1000)

int command_fail(const char *format, ...)
{
	char line[1024];
	va_list values;

	va_start(values, format);
	vsnprintf(line, sizeof line, format, values);
	va_end(values);
	for (char *at = line; *at; at++) { /* one line, whatever it quotes */
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	}
	fprintf(stderr, "granary: %s\n", line);
	return EXIT_FAILED;
}

static void append_encoded(char *to, size_t size, const char *text)
{
	size_t at = strlen(to);

	for (; *text && at + 4 < size; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~:", *text))
			to[at++] = *text;
		else
			at += (size_t)snprintf(to + at, size - at, "%%%02X", (unsigned char)*text);
	}
	to[at] = '\0';
}

static void expand_path(char *to, size_t size, const char *pattern, va_list values)
{
	to[0] = '\0';
	while (*pattern) {
		const char *hole = strstr(pattern, "%s");
		size_t length = hole ? (size_t)(hole - pattern) : strlen(pattern);
		size_t at = strlen(to);

		snprintf(to + at, size - at, "%.*s", (int)length, pattern);
		pattern += length;
		if (hole) {
			append_encoded(to, size, va_arg(values, const char *));
			pattern += 2;
		}
	}
}

/* The reply's body, or its error told. */
static int take_reply(json_t *reply, json_t **ret_body)
{
	json_int_t status = json_integer_value(json_object_get(reply, "status"));
	json_t *body = json_object_get(reply, "body");
	const char *detail = json_string_value(json_object_get(body, "detail"));
	int result = EXIT_GOOD;

	if (status >= 200 && status < 300 && body)
		*ret_body = json_incref(body);
	else
		result = command_fail("%s", detail ? detail : "granaryd gave no answer we know");
	json_decref(reply);
	return result;
}

int command_call(struct command *command, const char *method, json_t *body, json_t **ret_body,
		 const char *path, ...)
{
	char target[2048];
	char *socket = heap_printf("%s/control.sock", command->state);
	json_t *request, *reply;
	struct err err = {0};
	va_list values;
	int result;

	va_start(values, path);
	expand_path(target, sizeof target, path, values);
	va_end(values);
	request = json_pack("{s:s,s:s,s:o*}", "method", method, "path", target, "body", body);
	if (!socket || !request)
		result = command_fail("the request holds text that is not UTF-8, or out of memory");
	else if (control_call(socket, request, ANSWER_LIMIT_MS, &reply, &err) < 0)
		result = command_fail("%s (is granaryd running? --state picks it)", err.text);
	else
		result = take_reply(reply, ret_body);
	json_decref(request);
	heap_free(socket);
	return result;
}

int command_confirm(struct command *command, const char *question)
{
	char answer[16] = "";

	if (command->yes)
		return -1;
	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "granary: %s %s needs --yes\n", command->verb->noun,
			command->verb->verb);
		return EXIT_USAGE;
	}
	fprintf(stderr, "%s [y/N] ", question);
	if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return -1;
	return command_fail("not confirmed, nothing was changed");
}
