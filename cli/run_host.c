/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static const struct column columns[] = {
    {"HOST", "name", TEXT},
    {"INITIATORS", "initiators", JOINED},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

/* The arguments from @first on. */
static json_t *rest(const struct command *command, unsigned first)
{
	json_t *list = json_array();

	for (unsigned i = first; i < command->count; i++)
		json_array_append_new(list, json_string(command->position[i]));
	return list;
}

int run_host_create(struct command *command)
{
	json_t *reply;
	int status = command_call(
	    command, "POST",
	    json_pack("{s:s,s:o}", "name", command->position[0], "initiators", rest(command, 1)),
	    &reply, "/api/v1/hosts");

	return status ? status : say(command, reply, "host group %s created", command->position[0]);
}

int run_host_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/hosts");

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

int run_host_show(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "GET", NULL, &reply, "/api/v1/hosts/%s", command->position[0]);

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

static int change(struct command *command, const char *how)
{
	json_t *reply;
	int status = command_call(command, "PATCH", json_pack("{s:o}", how, rest(command, 1)),
				  &reply, "/api/v1/hosts/%s", command->position[0]);

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

int run_host_add(struct command *command)
{
	return change(command, "add");
}

int run_host_remove(struct command *command)
{
	return change(command, "remove");
}

int run_host_delete(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "DELETE", NULL, &reply, "/api/v1/hosts/%s", command->position[0]);

	return status ? status : say(command, reply, "host group %s deleted", command->position[0]);
}

int run_lun_mask(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "PUT", json_pack("{s:o}", "hosts", rest(command, 2)),
				  &reply, "/api/v1/targets/%s/luns/%s/hosts", command->position[0],
				  command->position[1]);

	return status ? status
		      : say(command, reply, "target %s LUN %s is shown to %s", command->position[0],
			    command->position[1],
			    command->count > 2 ? "these hosts only" : "everybody who may log in");
}
