/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define PATH "/api/v1/ups"

static const struct column columns[] = {
    {"UPS", "ups", TEXT},
    {"HOST", "host", TEXT},
    {"STATE", "state", TEXT},
    {"CHARGE %", "charge_percent", NUMBER},
    {"RUNTIME", "runtime_seconds", DURATION},
    {"LOAD %", "load_percent", NUMBER},
    {"SHUTDOWN AT", "shutdown_at", TEXT},
    {"REASON", "reason", TEXT},
};
#define COLUMNS (sizeof columns / sizeof *columns)

/* HOST, HOST:PORT or [IPv6]:PORT; false: it is none of them. *ret_port 0: none was given. */
static bool split_host(const char *text, char host[256], unsigned *ret_port)
{
	const char *end = strrchr(text, ':');
	char *rest = NULL;

	*ret_port = 0;
	if (text[0] == '[') {
		const char *close = strchr(text, ']');

		if (!close || (close[1] && close[1] != ':') || close - text > 255)
			return false;
		snprintf(host, 256, "%.*s", (int)(close - text - 1), text + 1);
		end = close[1] ? close + 1 : NULL;
	} else {
		if (end && strchr(text, ':') != end) /* an IPv6 address alone */
			end = NULL;
		if (strlen(text) > 255)
			return false;
		snprintf(host, 256, "%.*s", end ? (int)(end - text) : (int)strlen(text), text);
	}
	if (!end)
		return true;
	*ret_port = (unsigned)strtoul(end + 1, &rest, 10);
	return *rest == '\0' && *ret_port >= 1 && *ret_port <= 65535;
}

int run_ups_show(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, PATH);

	return status ? status : table_print(command, reply, columns, COLUMNS);
}

int run_ups_set(struct command *command)
{
	const char *limit = command_option(command, "shutdown-at");
	char host[256];
	unsigned port;
	json_t *body, *reply;
	int status;

	if (!split_host(command->position[0], host, &port))
		return command_fail("%s: HOST, HOST:PORT or [IPv6]:PORT", command->position[0]);
	body = json_pack("{s:s,s:s}", "host", host, "ups", command->position[1]);
	if (port)
		json_object_set_new(body, "port", json_integer(port));
	if (limit)
		json_object_set_new(body, "shutdown_at", json_string(limit));
	status = command_call(command, "PUT", body, &reply, PATH);
	return status ? status : table_print(command, reply, columns, COLUMNS);
}

int run_ups_clear(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, PATH);

	return status ? status : say(command, reply, "no UPS is asked any more");
}
