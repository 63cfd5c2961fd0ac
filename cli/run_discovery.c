/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static const struct column columns[] = {
    {"CHAP USER", "chap_user", TEXT},
    {"MUTUAL USER", "mutual_user", TEXT},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

int run_discovery_show(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/discovery");

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

int run_discovery_require(struct command *command)
{
	json_t *body = json_object(), *reply;
	int status = command_add_chap(command, body, "chap");

	if (!status)
		status = command_add_chap(command, body, "mutual");
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "PUT", body, &reply, "/api/v1/discovery");
	return status ? status : say(command, reply, "discovery asks for CHAP");
}

int run_discovery_open(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, "/api/v1/discovery");

	return status ? status
		      : say(command, reply,
			    "discovery asks for nothing; it shows each initiator its own targets");
}
