/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const struct column session_columns[] = {
    {"ID", "id", NUMBER},
    {"INITIATOR", "initiator", TEXT},
    {"TARGET", "target", TEXT},
    {"PEER", "peer", TEXT},
    {"CONNS", "connections", COUNT},
    {"CHAP", "chap", YES_NO},
    {"SINCE", "seconds", DURATION},
    {"READ", "read_bytes", SIZE},
    {"WRITTEN", "write_bytes", SIZE},
};

int run_session_list(struct command *command)
{
	json_t *reply;
	int status = command_list(command, "", &reply, "/api/v1/sessions");

	return status ? status
		      : table_print(command, reply, session_columns, COUNT_OF(session_columns));
}

int run_session_drop(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, "/api/v1/sessions/%s",
				  command->position[0]);

	return status ? status : say(command, reply, "session %s dropped", command->position[0]);
}

int run_initiator_list(struct command *command)
{
	static const struct column columns[] = {
	    {"INITIATOR", "initiator", TEXT},
	    {"SESSIONS", "sessions", NUMBER},
	    {"RULES FOR", "rules", JOINED},
	};
	json_t *reply;
	int status = command_list(command, "", &reply, "/api/v1/initiators");

	return status ? status : table_print(command, reply, columns, COUNT_OF(columns));
}

static const struct column daemon_columns[] = {
    {"PID", "pid", NUMBER},           {"VERSION", "version", TEXT},
    {"STATE", "state", TEXT},         {"IO ENGINE", "io_engine", TEXT},
    {"IO LOOPS", "io_loops", NUMBER}, {"UP", "uptime_seconds", DURATION},
};
static const struct column endpoint_columns[] = {
    {"PROTOCOL", "protocol", TEXT},
    {"ADDRESS", "address", TEXT},
    {"PORT", "port", NUMBER},
};
static const struct column pool_columns[] = {
    {"POOL", "name", TEXT},         {"STATE", "state", TEXT},
    {"SIZE", "size_bytes", SIZE},   {"USED", "used_bytes", SIZE},
    {"FREE", "free_bytes", SIZE},   {"OVERCOMMIT", "overcommit", RATIO},
    {"VOLUMES", "volumes", NUMBER}, {"REASON", "reason", TEXT},
};
static const struct column target_columns[] = {
    {"TARGET", "iqn", TEXT},
    {"STATE", "state", TEXT},
    {"LUNS", "luns", COUNT},
    {"RULES", "rules", COUNT},
};

static const struct {
	const char *key;
	const struct column *columns;
	unsigned count;
} parts[] = {
    {"endpoints", endpoint_columns, COUNT_OF(endpoint_columns)},
    {"pools", pool_columns, COUNT_OF(pool_columns)},
    {"targets", target_columns, COUNT_OF(target_columns)},
    {"sessions", session_columns, COUNT_OF(session_columns)},
};

int run_status(struct command *command)
{
	json_t *reply, *daemons;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/status");

	if (status)
		return status;
	if (command->json)
		return table_print(command, reply, NULL, 0);
	daemons = json_pack("[O]", json_object_get(reply, "daemon"));
	table_rows(daemons, daemon_columns, COUNT_OF(daemon_columns));
	json_decref(daemons);
	for (unsigned i = 0; i < COUNT_OF(parts); i++) {
		const json_t *part = json_object_get(reply, parts[i].key);

		if (json_array_size(part) == 0)
			continue;
		printf("\n");
		table_rows(part, parts[i].columns, parts[i].count);
	}
	json_decref(reply);
	return EXIT_GOOD;
}

int run_completion(struct command *command)
{
	(void)command;
	completion_print();
	return EXIT_GOOD;
}
