/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static const struct column schedule_columns[] = {
    {"NAME", "name", TEXT}, {"EVERY", "every", TEXT}, {"KEEP", "keep", TEXT},
    {"NEXT", "next", TIME}, {"LAST", "last", TIME},   {"RESULT", "result", TEXT},
};
static const struct column schedule_fields[] = {
    {"NAME", "name", TEXT},         {"VOLUMES", "volumes", JOINED},
    {"EVERY", "every", TEXT},       {"KEEP", "keep", TEXT},
    {"PREFIX", "prefix", TEXT},     {"NEXT", "next", TIME},
    {"LAST", "last", TIME},         {"RESULT", "result", TEXT},
    {"RUNS", "runs", NUMBER},       {"MISSED", "missed", NUMBER},
    {"SKIPPED", "skipped", NUMBER}, {"EXPENDABLE", "expendable", YES_NO},
};

#define SCHEDULE_PATH "/api/v1/snapshot-schedules/%s"

int run_schedule_create(struct command *command)
{
	const char *every = command_option(command, "every");
	const char *keep = command_option(command, "keep");
	const char *prefix = command_option(command, "prefix");
	json_t *volumes, *body, *reply;
	int status;

	if (!every)
		return command_fail("--every says when: 15m, hourly, daily, weekly, monthly or "
				    "\"30 2 * * 1-5\"");
	volumes = json_array();
	for (unsigned i = 1; i < command->count; i++)
		json_array_append_new(volumes, json_string(command->position[i]));
	body = json_pack("{s:s,s:o,s:s}", "name", command->position[0], "volumes", volumes, "every",
			 every);
	if (keep)
		json_object_set_new(body, "keep", json_string(keep));
	if (prefix)
		json_object_set_new(body, "prefix", json_string(prefix));
	if (command_option(command, "expendable"))
		json_object_set_new(body, "expendable", json_true());
	status = command_call(command, "POST", body, &reply, "/api/v1/snapshot-schedules");
	return status ? status
		      : say(command, reply, "snapshot schedule %s created", command->position[0]);
}

int run_schedule_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/snapshot-schedules");

	return status ? status
		      : table_print(command, reply, schedule_columns,
				    sizeof schedule_columns / sizeof *schedule_columns);
}

int run_schedule_show(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "GET", NULL, &reply, SCHEDULE_PATH, command->position[0]);

	return status ? status
		      : table_print(command, reply, schedule_fields,
				    sizeof schedule_fields / sizeof *schedule_fields);
}

int run_schedule_run(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "POST", NULL, &reply, SCHEDULE_PATH "/run", command->position[0]);

	return status ? status
		      : table_print(command, reply, schedule_fields,
				    sizeof schedule_fields / sizeof *schedule_fields);
}

int run_schedule_delete(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "DELETE", NULL, &reply, SCHEDULE_PATH, command->position[0]);

	return status ? status
		      : say(command, reply, "snapshot schedule %s deleted; its snapshots stay",
			    command->position[0]);
}
