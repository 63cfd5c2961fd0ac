/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static const struct column disk_columns[] = {
    {"PATH", "path", TEXT},       {"KIND", "kind", TEXT},     {"SIZE", "size_bytes", SIZE},
    {"MODEL", "model", TEXT},     {"SERIAL", "serial", TEXT}, {"CARRIES", "carries", TEXT},
    {"USED BY", "used_by", TEXT}, {"FREE", "free", YES_NO},   {"HEALTH", "health", TEXT},
    {"BY ID", "by_id", TEXT},
};

static const struct column health_columns[] = {
    {"DISK", "name", TEXT},
    {"STATUS", "status", TEXT},
    {"DEGREES", "temperature_c", NUMBER},
    {"HOURS", "power_on_hours", NUMBER},
    {"WEAR %", "wear_percent", NUMBER},
    {"SECTORS", "sectors", NUMBER},
    {"MODEL", "model", TEXT},
    {"SERIAL", "serial", TEXT},
    {"DETAIL", "detail", TEXT},
};

int run_disk_list(struct command *command)
{
	json_t *reply, *disk, *shown;
	size_t index;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/disks");

	if (status)
		return status;
	shown = json_array();
	json_array_foreach(reply, index, disk)
	{
		if (!command_option(command, "free") || json_is_true(json_object_get(disk, "free")))
			json_array_append(shown, disk);
	}
	json_decref(reply);
	return table_print(command, shown, disk_columns,
			   sizeof disk_columns / sizeof *disk_columns);
}

int run_disk_health(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/disks/health");

	if (status)
		return status;
	if (command->json)
		return say(command, reply, "%s", "");
	if (json_is_true(json_object_get(reply, "stale"))) {
		json_decref(reply);
		return command_fail("nothing is known of the disks (does granary-smart run?)");
	}
	status = table_print(command, json_incref(json_object_get(reply, "disks")), health_columns,
			     sizeof health_columns / sizeof *health_columns);
	json_decref(reply);
	return status;
}
