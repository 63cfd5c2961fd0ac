/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"

static const struct column columns[] = {
    {"KEY", "key", TEXT},         {"INITIATOR PORT", "initiator_port", TEXT},
    {"TARGET", "target", TEXT},   {"PORT", "port", NUMBER},
    {"HOLDER", "holder", YES_NO}, {"CONNECTED", "connected", YES_NO},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

int run_lun_reservations(struct command *command)
{
	struct lun_name lun;
	json_t *reply;
	const char *reserve6;
	int status = command_lun(command, &lun);

	if (status == 0)
		status = command_call(command, "GET", NULL, &reply,
				      "/api/v1/targets/%s/luns/%s/reservations", lun.iqn, lun.lun);
	if (status)
		return status;
	if (command->json)
		return table_print(command, reply, columns, COLUMN_COUNT);
	reserve6 = json_string_value(json_object_get(reply, "reserve6"));
	printf("Reserved: %s%s%s%s\n\n", json_string_value(json_object_get(reply, "type")),
	       json_is_true(json_object_get(reply, "persistent")) ? ", survives power loss" : "",
	       reserve6 && *reserve6 ? "; RESERVE(6) by " : "", reserve6 ? reserve6 : "");
	table_rows(json_object_get(reply, "registrations"), columns, COLUMN_COUNT);
	json_decref(reply);
	return EXIT_GOOD;
}

int run_lun_release(struct command *command)
{
	struct lun_name lun;
	json_t *reply;
	int status = command_lun(command, &lun);

	if (status)
		return status;
	status = command_confirm(
	    command, "Take this LUN's reservations and registrations away from its hosts?");
	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply,
			      "/api/v1/targets/%s/luns/%s/reservations", lun.iqn, lun.lun);
	return status ? status
		      : say(command, reply, "target %s LUN %s: nothing is reserved any more",
			    lun.iqn, lun.lun);
}
