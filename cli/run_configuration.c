/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* The whole configuration as a document: shown, compared, made so. */

int run_export(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/configuration");

	if (status)
		return status;
	if (json_dumpf(reply, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
		status = command_fail("the document could not be written");
	json_decref(reply);
	return status;
}

/* The document in a file, or on standard input for "-"; NULL with the reason told. */
static json_t *read_document(const char *path)
{
	json_error_t error;
	json_t *document = strcmp(path, "-") == 0
			       ? json_loadf(stdin, JSON_REJECT_DUPLICATES, &error)
			       : json_load_file(path, JSON_REJECT_DUPLICATES, &error);

	if (json_is_object(document))
		return document;
	command_fail("%s: line %d: %s", path, document ? 1 : error.line,
		     document ? "this is no JSON object" : error.text);
	json_decref(document);
	return NULL;
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
	json_t *document = read_document(command->position[0]), *reply;
	int status;

	if (!document)
		return EXIT_FAILED;
	status =
	    command_call(command, "PUT",
			 json_pack("{s:o,s:b}", "document", document, "prune",
				   command_option(command, "prune") != NULL),
			 &reply, dry ? "/api/v1/configuration?dry_run=1" : "/api/v1/configuration");
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
