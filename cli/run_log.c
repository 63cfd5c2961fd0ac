/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

int run_log_list(struct command *command)
{
	static const struct column columns[] = {
	    {"TIME", "at", TEXT}, {"SEVERITY", "severity", TEXT}, {"TEXT", "text", TEXT}};
	const char *severity = command_option(command, "severity");
	const char *lines = command_option(command, "lines");
	json_t *reply, *list;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/logs?severity=%s&lines=%s",
				  severity ? severity : "debug", lines ? lines : "200");

	if (status)
		return status;
	list = json_incref(json_object_get(reply, "lines"));
	json_decref(reply);
	return table_print(command, list, columns, COUNT_OF(columns));
}
