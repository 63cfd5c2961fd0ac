/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "core/size.h"

/* The bin: what was deleted, and is kept for a while. */

static const struct column columns[] = {
    {"POOL", "pool", TEXT},
    {"NAME", "name", TEXT},
    {"KIND", "kind", TEXT},
    {"USED", "used_bytes", SIZE},
    {"SNAPSHOTS", "snapshots", NUMBER},
    {"DELETED", "deleted", TIME},
    {"UNTIL", "until", TIME},
    {"ID", "id", TEXT},
};

static int tell_plan(struct command *command, json_t *reply, const char *what)
{
	uint64_t used = (uint64_t)json_integer_value(json_object_get(reply, "used_bytes"));
	size_t snapshots = json_array_size(json_object_get(reply, "snapshots"));
	bool for_good = json_is_true(json_object_get(reply, "for_good"));
	long long hours = json_integer_value(json_object_get(reply, "undelete_hours"));
	char size[32];

	size_format(used, size, sizeof size);
	if (for_good)
		return say(command, reply, "would delete %s %s for good: %s, %zu snapshots", what,
			   command->position[0], size, snapshots);
	return say(command, reply,
		   "would delete %s %s into the bin for %lld hours: %s, %zu snapshots", what,
		   command->position[0], hours, size, snapshots);
}

int command_delete(struct command *command, const char *what, const char *many)
{
	static const char *const queries[] = {"", "?to_bin=1", "?snapshots=1",
					      "?to_bin=1&snapshots=1"};
	bool keep = command_option(command, "to-bin"),
	     snapshots = command_option(command, "with-snapshots");
	const char *name = command->position[0];
	char path[64], when[32] = "";
	struct object_name split;
	json_t *reply;
	time_t until;
	struct tm parts;
	int status = command_split(name, what, &split);

	if (status)
		return status;
	status = command_confirm(command, keep ? "Delete it and all its data?"
					       : "Delete it and all its data for good?");
	if (status >= 0)
		return status;
	snprintf(path, sizeof path, "/api/v1/%s/%%s/%%s%s", many, queries[keep + 2 * snapshots]);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	status = command_call(command, "DELETE", NULL, &reply, path, split.pool, split.name);
#pragma GCC diagnostic pop
	if (status)
		return status;
	if (command_option(command, "dry-run"))
		return tell_plan(command, reply, what);
	until = (time_t)json_integer_value(json_object_get(reply, "until"));
	if (!json_object_get(reply, "bin"))
		return say(command, reply, "%s %s deleted", what, name);
	if (localtime_r(&until, &parts))
		strftime(when, sizeof when, "%F %R", &parts);
	return say(command, reply,
		   "%s %s deleted; its space is free on %s, until then it can be had back with: "
		   "granary bin restore %s",
		   what, name, when, name);
}

int run_bin_list(struct command *command)
{
	json_t *reply;
	int status = command_list(command, "", &reply, "/api/v1/bin");

	return status ? status
		      : table_print(command, reply, columns, sizeof columns / sizeof *columns);
}

int run_bin_restore(struct command *command)
{
	const char *as = command_option(command, "as"), *name;
	struct object_name split;
	json_t *reply;
	int status = command_split(command->position[0], "volume or share", &split);

	if (!status)
		status = command_call(command, "POST", as ? json_pack("{s:s}", "name", as) : NULL,
				      &reply, "/api/v1/bin/%s/%s/restore", split.pool, split.name);
	if (status)
		return status;
	name = json_string_value(json_object_get(reply, "name"));
	return say(command, reply, "%s/%s is back", split.pool, name ? name : split.name);
}

int run_bin_delete(struct command *command)
{
	struct object_name split;
	json_t *reply;
	int status = command_split(command->position[0], "volume or share", &split);

	if (status)
		return status;
	status = command_confirm(command, "Delete it and all its data for good?");
	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/bin/%s/%s", split.pool,
			      split.name);
	return status ? status
		      : say(command, reply, "%s is deleted for good", command->position[0]);
}

int run_bin_empty(struct command *command)
{
	json_t *reply;
	int status = command_confirm(command, "Delete all that is in the bin for good?");

	if (status >= 0)
		return status;
	status =
	    command_call(command, "DELETE", NULL, &reply, "/api/v1/bin/%s", command->position[0]);
	return status ? status
		      : say(command, reply, "the bin of pool %s is empty", command->position[0]);
}
