/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "cli/cli.h"

static const struct column columns[] = {
    {"SERVER", "server", TEXT},        {"STATE", "state", TEXT},
    {"ENTITY", "entity", TEXT},        {"TARGETS", "targets", NUMBER},
    {"PORTALS", "portals", NUMBER},    {"ESI PORT", "esi_port", NUMBER},
    {"ASKED", "esi_answered", NUMBER}, {"REASON", "reason", TEXT},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

int run_isns_show(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/isns");

	return status ? status : table_print(command, reply, columns, COLUMN_COUNT);
}

int run_isns_set(struct command *command)
{
	const char *port = command_option(command, "esi-port");
	json_t *body = json_pack("{s:s}", "server", command->position[0]), *reply;
	int status;

	if (port) {
		char *end;
		unsigned long number = strtoul(port, &end, 10);

		if (*port < '0' || *port > '9' || *end || number > 65535) {
			json_decref(body);
			return command_fail("a port is a number from 1 to 65535, not %s", port);
		}
		json_object_set_new(body, "esi_port", json_integer((json_int_t)number));
	}
	status = command_call(command, "PUT", body, &reply, "/api/v1/isns");
	return status ? status
		      : say(command, reply, "targets are registered with the iSNS server %s",
			    command->position[0]);
}

int run_isns_remove(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, "/api/v1/isns");

	return status ? status : say(command, reply, "targets are registered with no iSNS server");
}
