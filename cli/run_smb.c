/* SPDX-License-Identifier: Apache-2.0 */
/* share smb: shares over SMB, and their users. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define SMB_PATH "/api/v1/shares/%s/%s/smb"

static const struct column share_columns[] = {
    {"POOL", "pool", TEXT},
    {"NAME", "name", TEXT},
    {"GUEST", "guest", YES_NO},
    {"USERS", "users", JOINED},
    {"READ-ONLY", "read_only", YES_NO},
};
static const struct column user_columns[] = {
    {"USER", "name", TEXT}, {"UID", "uid", NUMBER}, {"GID", "gid", NUMBER}};

/* "alice,bob" as a list; NULL for NULL. */
static json_t *split_names(const char *text)
{
	json_t *list = text ? json_array() : NULL;

	while (text && list) {
		size_t length = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, length));
		text = text[length] ? text + length + 1 : NULL;
	}
	return list;
}

/* Whether and where it is served, for people. */
static void tell_service(const json_t *reply)
{
	const json_t *service = json_object_get(reply, "service");
	const char *reason = json_string_value(json_object_get(service, "reason"));

	if (json_is_true(json_object_get(service, "running")))
		printf("served on port %lld\n",
		       (long long)json_integer_value(json_object_get(service, "port")));
	else
		printf("not served yet: %s\n", reason ? reason : "");
}

int run_smb_enable(struct command *command)
{
	struct object_name name;
	const char *warning;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status = command_call(
		    command, "PUT",
		    json_pack("{s:b,s:b,s:o*}", "guest", command_option(command, "guest") != NULL,
			      "read_only", command_option(command, "ro") != NULL, "users",
			      split_names(command_option(command, "user"))),
		    &reply, SMB_PATH, name.pool, name.name);
	if (status)
		return status;
	warning = json_string_value(json_object_get(reply, "warning"));
	if (warning && *warning)
		fprintf(stderr, "granary: warning: %s\n", warning);
	return say(command, reply, "share %s is \\\\HOST\\%s over SMB%s", command->position[0],
		   name.name, command_option(command, "ro") ? ", read-only" : "");
}

int run_smb_disable(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status =
		    command_call(command, "DELETE", NULL, &reply, SMB_PATH, name.pool, name.name);
	return status
		   ? status
		   : say(command, reply, "share %s is not served over SMB", command->position[0]);
}

int run_smb_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/smb");

	if (status)
		return status;
	if (command->json)
		return say(command, reply, "%s", "");
	table_rows(json_object_get(reply, "shares"), share_columns,
		   sizeof share_columns / sizeof *share_columns);
	if (json_array_size(json_object_get(reply, "users"))) {
		printf("\n");
		table_rows(json_object_get(reply, "users"), user_columns,
			   sizeof user_columns / sizeof *user_columns);
	}
	printf("\n");
	tell_service(reply);
	json_decref(reply);
	return EXIT_GOOD;
}

static int add_id(struct command *command, json_t *body, const char *option)
{
	const char *text = command_option(command, option);
	long long id;
	char *end;

	if (!text)
		return 0;
	id = strtoll(text, &end, 10);
	if (!*text || *end || id < 0 || id > UINT32_MAX)
		return command_fail("--%s %s is no id", option, text);
	json_object_set_new(body, option, json_integer(id));
	return 0;
}

int run_smb_user(struct command *command)
{
	json_t *body = json_object(), *reply;
	int status = command_password(command, body, true);

	if (!status)
		status = add_id(command, body, "uid");
	if (!status)
		status = add_id(command, body, "gid");
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "PUT", body, &reply, "/api/v1/smb/users/%s",
			      command->position[0]);
	return status
		   ? status
		   : say(command, reply, "SMB user %s has this password now", command->position[0]);
}

int run_smb_forget(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, "/api/v1/smb/users/%s",
				  command->position[0]);

	return status ? status : say(command, reply, "SMB user %s is gone", command->position[0]);
}
