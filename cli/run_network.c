/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/cli.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Fails where large packets are lost, for scripts. */
int run_network_check(struct command *command)
{
	static const struct column columns[] = {
	    {"ADDRESS", "address", TEXT}, {"INTERFACE", "interface", TEXT},
	    {"MTU", "mtu", NUMBER},       {"CARRIED", "carried", NUMBER},
	    {"STATE", "state", TEXT},     {"WHAT IT MEANS", "detail", TEXT},
	};
	json_t *body = json_object(), *list = json_array(), *reply;
	const json_t *row;
	size_t index;
	bool lost = false;
	int status;

	for (unsigned i = 0; i < command->count; i++)
		json_array_append_new(list, json_string(command->position[i]));
	if (command->count)
		json_object_set(body, "addresses", list);
	json_decref(list);
	status = command_call(command, "POST", body, &reply, "/api/v1/network/check");
	if (status)
		return status;
	json_array_foreach(reply, index, row)
	{
		const char *state = json_string_value(json_object_get(row, "state"));

		lost = lost ||
		       (state && strcmp(state, "carried") != 0 && strcmp(state, "silent") != 0);
	}
	status = table_print(command, reply, columns, COUNT_OF(columns));
	return status ? status : lost ? EXIT_FAILED : EXIT_GOOD;
}
