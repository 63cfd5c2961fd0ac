/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct column columns[] = {
    {"GROUP", "group", NUMBER},
    {"ACCESS", "access", TEXT},
    {"PREFERRED", "preferred", YES_NO},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

int run_target_groups(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/targets/%s/groups",
				  command->position[0]);

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

int run_target_group(struct command *command)
{
	const char *access = command_option(command, "access");
	const char *preferred = command_option(command, "preferred");
	json_t *body, *reply;
	int status;

	if ((!access && !preferred) ||
	    (preferred && strcmp(preferred, "yes") != 0 && strcmp(preferred, "no") != 0)) {
		fprintf(stderr, "granary: --access STATE, --preferred yes or --preferred no\n");
		return EXIT_USAGE;
	}
	body = json_object();
	if (access)
		json_object_set_new(body, "access", json_string(access));
	if (preferred)
		json_object_set_new(body, "preferred", json_boolean(strcmp(preferred, "yes") == 0));
	status = command_call(command, "PATCH", body, &reply, "/api/v1/targets/%s/groups/%s",
			      command->position[0], command->position[1]);
	if (status)
		return status;
	return table_print(command, reply, columns, COLUMN_COUNT);
}
