/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct column account_columns[] = {
    {"NAME", "name", TEXT},
    {"ROLE", "role", TEXT},
    {"SESSIONS", "sessions", NUMBER},
};
static const struct column token_columns[] = {
    {"NAME", "name", TEXT},       {"ROLE", "role", TEXT},   {"CREATED", "created", TIME},
    {"EXPIRES", "expires", TIME}, {"MAKER", "maker", TEXT},
};
static const struct column audit_columns[] = {
    {"ID", "id", NUMBER},         {"AT", "at_ms", TIME_MS},   {"WHO", "who", TEXT},
    {"ADDRESS", "address", TEXT}, {"METHOD", "method", TEXT}, {"PATH", "path", TEXT},
    {"STATUS", "status", NUMBER}, {"CODE", "code", TEXT},
};

int command_password(struct command *command, json_t *body, bool required)
{
	const char *path = command_option(command, "password-file");
	char text[COMMAND_SECRET_MAX + 1];
	int status;

	if (!path)
		return required ? command_fail("--password-file is missing") : 0;
	status = command_secret(path, "password", 10, 256, text);
	if (status)
		return status;
	status = json_object_set_new(body, "password", json_string(text)) < 0
		     ? command_fail("%s: a password is UTF-8 text", path)
		     : 0;
	explicit_bzero(text, sizeof text);
	return status;
}

int run_setup_code(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/setup");
	const char *code;

	if (status)
		return status;
	code = json_string_value(json_object_get(reply, "code"));
	if (code || command->json)
		return say(command, reply, "%s", code ? code : "");
	json_decref(reply);
	return command_fail("it is set up already: there is an account");
}

int run_account_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/accounts");

	return status ? status
		      : table_print(command, reply, account_columns,
				    sizeof account_columns / sizeof *account_columns);
}

int run_account_create(struct command *command)
{
	const char *role = command_option(command, "role");
	json_t *body =
	    json_pack("{s:s,s:s}", "name", command->position[0], "role", role ? role : "viewer");
	json_t *reply;
	int status = command_password(command, body, true);

	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/accounts");
	return status ? status
		      : say(command, reply, "account %s made, role %s", command->position[0],
			    role ? role : "viewer");
}

int run_account_change(struct command *command)
{
	const char *role = command_option(command, "role");
	json_t *body = json_pack("{s:s*}", "role", role), *reply;
	int status = command_password(command, body, false);

	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "PATCH", body, &reply, "/api/v1/accounts/%s",
			      command->position[0]);
	return status ? status : say(command, reply, "account %s changed", command->position[0]);
}

int run_account_delete(struct command *command)
{
	json_t *reply;
	int status = command_confirm(command, "Delete the account?");

	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/accounts/%s",
			      command->position[0]);
	return status ? status : say(command, reply, "account %s deleted", command->position[0]);
}

int run_token_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/tokens");

	return status ? status
		      : table_print(command, reply, token_columns,
				    sizeof token_columns / sizeof *token_columns);
}

int run_token_create(struct command *command)
{
	const char *role = command_option(command, "role"), *days = command_option(command, "days");
	json_t *body =
	    json_pack("{s:s,s:s}", "name", command->position[0], "role", role ? role : "viewer");
	json_t *reply;
	char *end;
	int status;

	if (days) {
		json_object_set_new(body, "days", json_integer(strtol(days, &end, 10)));
		if (end == days || *end) {
			json_decref(body);
			return command_fail("--days %s is not a number", days);
		}
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/tokens");
	return status
		   ? status
		   : say(command, reply, "%s", json_string_value(json_object_get(reply, "token")));
}

int run_token_delete(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, "/api/v1/tokens/%s",
				  command->position[0]);

	return status ? status : say(command, reply, "token %s deleted", command->position[0]);
}

int run_audit_list(struct command *command)
{
	const char *after = command_option(command, "after");
	json_t *reply;
	int status =
	    after ? command_call(command, "GET", NULL, &reply, "/api/v1/audit?after=%s", after)
		  : command_call(command, "GET", NULL, &reply, "/api/v1/audit");

	return status ? status
		      : table_print(command, reply, audit_columns,
				    sizeof audit_columns / sizeof *audit_columns);
}

int run_audit_export(struct command *command)
{
	const char *given = command_option(command, "after");
	json_t *reply, *entry;
	char after[32];
	size_t index, count;

	snprintf(after, sizeof after, "%s", given ? given : "0");
	do {
		int status = command_call(command, "GET", NULL, &reply,
					  "/api/v1/audit?limit=1000&after=%s", after);

		if (status)
			return status;
		count = json_array_size(reply);
		json_array_foreach(reply, index, entry)
		{
			json_dumpf(entry, stdout, JSON_COMPACT);
			putchar('\n');
			snprintf(after, sizeof after, "%lld",
				 (long long)json_integer_value(json_object_get(entry, "id")));
		}
		json_decref(reply);
	} while (count);
	return fflush(stdout) == EOF ? command_fail("the output can not be written") : EXIT_GOOD;
}

int run_audit_check(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/audit/check");
	long long broken;

	if (status)
		return status;
	broken = json_integer_value(json_object_get(reply, "broken_at"));
	if (broken && !command->json) {
		json_decref(reply);
		return command_fail("the chain is broken at entry %lld", broken);
	}
	return say(command, reply, "the chain holds over %lld entries, newest hash %s",
		   (long long)json_integer_value(json_object_get(reply, "entries")),
		   json_string_value(json_object_get(reply, "newest_hash")));
}
