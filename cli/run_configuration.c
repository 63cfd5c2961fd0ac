/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/control.h"
#include "core/document.h"
#include "core/heap.h"

/* The whole configuration as a document: shown, compared, made so. */

int run_export(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/configuration");

	if (status)
		return status;
	if (command->yaml ? yaml_write(reply, stdout) < 0
			  : json_dumpf(reply, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
		status = command_fail("the document could not be written");
	json_decref(reply);
	return status;
}

/* --- reading -------------------------------------------------------------------------------- */

#define DOCUMENT_MAX CONTROL_MESSAGE_MAX /* no longer one gets through */

/* Past the mark of UTF-8 and white space. */
static size_t begin_of(const char *text, size_t length)
{
	size_t at = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	while (at < length && strchr(" \t\r\n", text[at]) && text[at])
		at++;
	return at;
}

/* JSON begins with a brace; so may YAML, which is asked when it is no JSON. @lines is filled for
 * either: what is sent may be refused later. */
static json_t *parse_document(const char *path, const char *text, size_t length, json_t *lines)
{
	size_t begin = begin_of(text, length);
	bool braces = begin < length && text[begin] == '{';
	json_error_t error = {.line = 0};
	struct err err = {0};
	json_t *document = NULL, *yaml;

	if (braces)
		document = json_loadb(text + begin, length - begin, JSON_REJECT_DUPLICATES, &error);
	yaml = yaml_read(text, length, &document_rules, lines, &err);
	if (document) {
		json_decref(yaml);
		return document;
	}
	if (json_is_object(yaml) && json_object_size(yaml))
		return yaml;
	if (braces) {
		for (size_t i = 0; i < begin; i++)
			error.line += text[i] == '\n';
		command_fail("%s: line %d: %s", path, error.line, error.text);
	} else if (yaml) {
		command_fail("%s: line 1: this is no document: it has no members", path);
	} else {
		command_fail("%s: %s", path, err.text);
	}
	json_decref(yaml);
	return NULL;
}

/* NULL with the reason told. */
static json_t *read_document(struct command *command)
{
	const char *path = command->position[0];
	size_t length;
	char *text = command_read_text(path, DOCUMENT_MAX, &length);
	json_t *document = NULL;

	if (!text)
		return NULL;
	command->document = path;
	command->lines = json_object();
	document = parse_document(path, text, length, command->lines);
	explicit_bzero(text, length); /* it may have secrets */
	heap_free(text);
	return document;
}

int print_steps(struct command *command, json_t *reply)
{
	const json_t *steps = json_object_get(reply, "steps");
	bool dry = json_is_true(json_object_get(reply, "dry_run"));
	size_t index;
	json_t *step;

	if (command->json)
		return table_print(command, reply, NULL, 0);
	json_array_foreach((json_t *)steps, index, step) printf(
	    "%s %s\n", dry ? "would" : "done:", json_string_value(json_object_get(step, "text")));
	if (json_array_size(steps) == 0)
		printf("nothing to do\n");
	json_decref(reply);
	return EXIT_GOOD;
}

static int put_document(struct command *command, bool dry)
{
	json_t *document = read_document(command), *reply;
	int status;

	if (!document) {
		json_decref(command->lines);
		return EXIT_FAILED;
	}
	status =
	    command_call(command, "PUT",
			 json_pack("{s:o,s:b}", "document", document, "prune",
				   command_option(command, "prune") != NULL),
			 &reply, dry ? "/api/v1/configuration?dry_run=1" : "/api/v1/configuration");
	json_decref(command->lines);
	command->lines = NULL;
	return status ? status : print_steps(command, reply);
}

int run_diff(struct command *command)
{
	return put_document(command, true);
}

int run_apply(struct command *command)
{
	return put_document(command, false);
}
