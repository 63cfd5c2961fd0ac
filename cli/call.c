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
#define PAGE            "1000" /* items of a list that come at a time */

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

/* "volumes[3].name: ..." of a document is told with its file, and the line where it is known. */
static int fail_in_document(const struct command *command, const char *detail)
{
	const char *colon = strstr(detail, ": ");
	char path[256] = "";
	json_int_t line;

	if (colon && (size_t)(colon - detail) < sizeof path)
		snprintf(path, sizeof path, "%.*s", (int)(colon - detail), detail);
	line = json_integer_value(json_object_get(command->lines, path));
	if (line)
		return command_fail("%s: line %lld: %s", command->document, (long long)line,
				    detail);
	return command_fail("%s: %s", command->document, detail);
}

/* The reply's body, or its error told. */
static int take_reply(const struct command *command, const json_t *reply, json_t **ret_body)
{
	json_int_t status = json_integer_value(json_object_get(reply, "status"));
	json_t *body = json_object_get(reply, "body");
	const char *detail = json_string_value(json_object_get(body, "detail"));

	if (status == 422 && command->document && detail)
		return fail_in_document(command, detail);
	if (status < 200 || status >= 300 || !body)
		return command_fail("%s", detail ? detail : "granaryd gave no answer we know");
	*ret_body = json_incref(body);
	return EXIT_GOOD;
}

/* *ret_reply: the whole reply, the caller's; NULL unless there was one. */
static int converse(struct command *command, const char *method, json_t *body, const char *target,
		    json_t **ret_reply, json_t **ret_body)
{
	char *socket = heap_printf("%s/control.sock", command->state);
	json_t *request =
	    json_pack("{s:s,s:s,s:o*}", "method", method, "path", target, "body", body);
	struct err err = {0};
	int result;

	*ret_reply = NULL;
	if (!socket || !request)
		result = command_fail("the request holds text that is not UTF-8, or out of memory");
	else if (control_call(socket, request, ANSWER_LIMIT_MS, ret_reply, &err) < 0)
		result = command_fail("%s (is granaryd running? --state picks it)", err.text);
	else
		result = take_reply(command, *ret_reply, ret_body);
	json_decref(request);
	heap_free(socket);
	return result;
}

int command_call(struct command *command, const char *method, json_t *body, json_t **ret_body,
		 const char *path, ...)
{
	char target[2048];
	json_t *reply;
	va_list values;
	int result;

	va_start(values, path);
	expand_path(target, sizeof target, path, values);
	va_end(values);
	/* Whoever asks for a dry run gets one or nothing: a path that says so itself stays. */
	if (command_option(command, "dry-run") && strcmp(method, "GET") != 0 &&
	    !strstr(target, "dry_run=1")) {
		size_t length = strlen(target);

		if (length + sizeof "?dry_run=1" > sizeof target)
			return command_fail("these names are too long");
		snprintf(target + length, sizeof target - length, "%cdry_run=1",
			 strchr(target, '?') ? '&' : '?');
	}
	result = converse(command, method, body, target, &reply, ret_body);
	json_decref(reply);
	return result;
}

int command_get(struct command *command, const char *path, json_t **ret_body)
{
	json_t *reply;
	int result = converse(command, "GET", NULL, path, &reply, ret_body);

	json_decref(reply);
	return result;
}

/* Where the page behind @reply is; false: it was the last one. */
static bool next_page(const json_t *reply, const char *path, char *target, size_t size)
{
	const char *cursor = json_string_value(json_object_get(reply, "next"));

	snprintf(target, size, "%s?limit=" PAGE "&cursor=", path);
	if (cursor)
		append_encoded(target, size, cursor);
	return cursor != NULL;
}

int command_list(struct command *command, const char *query, json_t **ret_list, const char *path,
		 ...)
{
	char whole[2048], target[4096];
	json_t *list = json_array();
	bool more = true;
	va_list values;
	int result = EXIT_GOOD;

	va_start(values, path);
	expand_path(whole, sizeof whole, path, values);
	va_end(values);
	snprintf(target, sizeof target, "%s?%slimit=" PAGE, whole, query);
	while (more && result == EXIT_GOOD) {
		json_t *reply, *page = NULL;

		result = converse(command, "GET", NULL, target, &reply, &page);
		if (result == EXIT_GOOD && json_array_extend(list, page) < 0)
			result = command_fail("out of memory");
		more = next_page(reply, whole, target, sizeof target);
		json_decref(page);
		json_decref(reply);
	}
	if (result == EXIT_GOOD)
		*ret_list = list;
	else
		json_decref(list);
	return result;
}

static bool needs_no_question(const struct command *command)
{
	return command->yes || command_option(command, "dry-run");
}

int command_confirm(struct command *command, const char *question)
{
	if (needs_no_question(command) || isatty(STDIN_FILENO))
		return command_ask(command, question);
	fprintf(stderr, "granary: %s %s needs --yes where nobody can be asked: %s\n",
		command->verb->noun, command->verb->verb, question);
	return EXIT_USAGE;
}

int command_ask(struct command *command, const char *question)
{
	char answer[16] = "";

	if (needs_no_question(command) || !isatty(STDIN_FILENO))
		return -1;
	fprintf(stderr, "%s [y/N] ", question);
	if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return -1;
	return command_fail("not confirmed, nothing was changed");
}
