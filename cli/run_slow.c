/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

int run_slow_list(struct command *command)
{
	static const struct column columns[] = {
	    {"ENDED", "at_ms", TIME_MS},        {"PROTOCOL", "protocol", TEXT},
	    {"HOST", "initiator", TEXT},        {"POOL", "pool", TEXT},
	    {"VOLUME", "volume", TEXT},         {"SHARE", "share", TEXT},
	    {"COMMAND", "operation", TEXT},     {"BLOCKS", "blocks", NUMBER},
	    {"BYTES", "bytes", SIZE},           {"MS", "total_ms", RATIO},
	    {"WAITED FOR", "waited_for", TEXT}, {"INITIATOR", "initiator_ms", RATIO},
	    {"QUEUE", "queue_ms", RATIO},       {"ENGINE", "engine_ms", RATIO},
	    {"DEVICE", "device_ms", RATIO},     {"SHARE MS", "share_ms", RATIO},
	};
	json_t *reply, *list;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/slow");

	if (status)
		return status;
	list = json_incref(json_object_get(reply, "commands"));
	json_decref(reply);
	return table_print(command, list, columns, COUNT_OF(columns));
}

int run_slow_set(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "PATCH", json_pack("{s:s}", "limit", command->position[0]),
			 &reply, "/api/v1/slow");

	return status
		   ? status
		   : say(command, reply, "the limit of slow commands is %s", command->position[0]);
}
