/* SPDX-License-Identifier: Apache-2.0 */
/* run_directory.c: directories of the daemon's machine, exported read-only. */
#include <stdio.h>

#include "cli/cli.h"

static const struct column columns[] = {
    {"NAME", "name", TEXT},      {"PATH", "path", TEXT},     {"STATE", "state", TEXT},
    {"NFS", "versions", JOINED}, {"REASON", "reason", TEXT},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

int run_directory_add(struct command *command)
{
	const char *path = command->position[0], *name = command->position[1];
	json_t *versions = command_versions(command_option(command, "versions")), *reply;
	int status = command_call(
	    command, "POST",
	    json_pack("{s:s,s:s,s:o*}", "name", name, "path", path, "versions", versions), &reply,
	    "/api/v1/directories");

	return status ? status
		      : say(command, reply,
			    "directory %s is %s, read-only; nobody may use it yet: granary "
			    "directory allow %s --client CIDR",
			    name, path, name);
}

int run_directory_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/directories");

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

int run_directory_show(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/directories/%s",
				  command->position[0]);

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

int run_directory_set(struct command *command)
{
	const char *versions = command_option(command, "versions");
	json_t *reply;
	int status;

	if (!versions)
		return command_fail("nothing to set: give --versions");
	status = command_call(command, "PATCH",
			      json_pack("{s:o}", "versions", command_versions(versions)), &reply,
			      "/api/v1/directories/%s", command->position[0]);
	return status ? status
		      : say(command, reply, "directory %s is served with NFS %s now",
			    command->position[0], versions);
}

int run_directory_remove(struct command *command)
{
	char question[400];
	json_t *reply;
	int status;

	snprintf(question, sizeof question,
		 "export directory %s no longer (nothing in it is touched)?", command->position[0]);
	status = command_confirm(command, question);
	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/directories/%s",
			      command->position[0]);
	return status ? status
		      : say(command, reply, "directory %s is exported no longer",
			    command->position[0]);
}
