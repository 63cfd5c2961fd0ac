/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static const struct column schedule_columns[] = {
    {"NAME", "name", TEXT}, {"EVERY", "every", TEXT}, {"KEEP", "keep", TEXT},
    {"NEXT", "next", TIME}, {"LAST", "last", TIME},   {"RESULT", "result", TEXT},
};
static const struct column schedule_fields[] = {
    {"NAME", "name", TEXT},
    {"VOLUMES", "volumes", JOINED},
    {"EVERY", "every", TEXT},
    {"ZONE", "zone", TEXT},
    {"KEEP", "keep", TEXT},
    {"PREFIX", "prefix", TEXT},
    {"NEXT", "next", TIME},
    {"LAST", "last", TIME},
    {"RESULT", "result", TEXT},
    {"RUNS", "runs", NUMBER},
    {"MISSED", "missed", NUMBER},
    {"SKIPPED", "skipped", NUMBER},
    {"EXPENDABLE", "expendable", YES_NO},
};

#define SCHEDULE_PATH "/api/v1/snapshot-schedules/%s"

/* Those options that are texts of the same name in a body. */
static void add_options(struct command *command, json_t *body)
{
	static const char *const names[] = {"every", "keep", "prefix", "zone"};

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		const char *value = command_option(command, names[i]);

		if (value)
			json_object_set_new(body, names[i], json_string(value));
	}
}

static json_t *read_volumes(struct command *command)
{
	json_t *volumes = json_array();

	for (unsigned i = 1; i < command->count; i++)
		json_array_append_new(volumes, json_string(command->position[i]));
	return volumes;
}

int run_schedule_create(struct command *command)
{
	json_t *body, *reply;
	int status;

	if (!command_option(command, "every"))
		return command_fail("--every says when: 15m, hourly, daily, weekly, monthly or "
				    "\"30 2 * * 1-5\"");
	body =
	    json_pack("{s:s,s:o}", "name", command->position[0], "volumes", read_volumes(command));
	add_options(command, body);
	if (command_option(command, "expendable"))
		json_object_set_new(body, "expendable", json_true());
	status = command_call(command, "POST", body, &reply, "/api/v1/snapshot-schedules");
	return status ? status
		      : say(command, reply, "snapshot schedule %s created", command->position[0]);
}

int run_schedule_set(struct command *command)
{
	bool expendable = command_option(command, "expendable"),
	     needed = command_option(command, "needed");
	json_t *body, *reply;
	int status;

	if (expendable && needed)
		return command_fail("give --expendable or --needed");
	body = json_object();
	if (command->count > 1)
		json_object_set_new(body, "volumes", read_volumes(command));
	add_options(command, body);
	if (expendable || needed)
		json_object_set_new(body, "expendable", json_boolean(expendable));
	if (json_object_size(body) == 0) {
		json_decref(body);
		return command_fail("say what is to be different: --every, --zone, --keep, "
				    "--prefix, --expendable, --needed or volumes");
	}
	status = command_call(command, "PATCH", body, &reply, SCHEDULE_PATH, command->position[0]);
	return status ? status
		      : say(command, reply, "snapshot schedule %s changed", command->position[0]);
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
