/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/size.h"

static const struct column share_columns[] = {
    {"POOL", "pool", TEXT},         {"NAME", "name", TEXT},       {"STATE", "state", TEXT},
    {"QUOTA", "quota_bytes", SIZE}, {"USED", "used_bytes", SIZE}, {"FILES", "files", NUMBER},
};

struct share_name {
	char pool[128];
	const char *name;
};

static int split_name(const char *text, struct share_name *ret_name)
{
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : 0;

	if (length == 0 || length >= sizeof ret_name->pool || !slash[1] || strchr(slash + 1, '/'))
		return command_fail("a share is named POOL/NAME, not %s", text);
	memcpy(ret_name->pool, text, length);
	ret_name->pool[length] = '\0';
	ret_name->name = slash + 1;
	return 0;
}

int run_share_create(struct command *command)
{
	const char *quota = command_option(command, "quota");
	struct share_name name;
	struct err err = {0};
	uint64_t bytes;
	json_t *reply, *body;
	int status = split_name(command->position[0], &name);

	if (status)
		return status;
	if (quota && size_parse(quota, &bytes, &err) < 0)
		return command_fail("%s", err.text);
	body = json_pack("{s:s,s:s,s:s*}", "pool", name.pool, "name", name.name, "quota", quota);
	status = command_call(command, "POST", body, &reply, "/api/v1/shares");
	return status ? status : say(command, reply, "share %s created", command->position[0]);
}

int run_share_import(struct command *command)
{
	struct share_name name;
	json_t *reply;
	int status = split_name(command->position[0], &name);

	if (!status)
		status = command_call(command, "POST",
				      json_pack("{s:s,s:s}", "pool", name.pool, "name", name.name),
				      &reply, "/api/v1/shares/import");
	return status ? status : say(command, reply, "share %s imported", command->position[0]);
}

int run_share_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/shares");

	return status ? status
		      : table_print(command, reply, share_columns,
				    sizeof share_columns / sizeof *share_columns);
}

int run_share_show(struct command *command)
{
	struct share_name name;
	json_t *reply;
	int status = split_name(command->position[0], &name);

	if (!status)
		status = command_call(command, "GET", NULL, &reply, "/api/v1/shares/%s/%s",
				      name.pool, name.name);
	return status ? status
		      : table_print(command, reply, share_columns,
				    sizeof share_columns / sizeof *share_columns);
}

int run_share_quota(struct command *command)
{
	struct share_name name;
	struct err err = {0};
	uint64_t bytes;
	json_t *reply;
	int status = split_name(command->position[0], &name);

	if (!status && size_parse(command->position[1], &bytes, &err) < 0)
		status = command_fail("%s", err.text);
	if (!status)
		status = command_call(command, "PATCH",
				      json_pack("{s:s}", "quota", command->position[1]), &reply,
				      "/api/v1/shares/%s/%s", name.pool, name.name);
	return status ? status
		      : say(command, reply, "share %s has a quota of %s now", command->position[0],
			    command->position[1]);
}

int run_share_check(struct command *command)
{
	struct share_name name;
	json_t *reply, *finding;
	size_t index;
	bool clean;
	int status = split_name(command->position[0], &name);

	if (!status)
		status = command_call(command, "POST", NULL, &reply, "/api/v1/shares/%s/%s/check",
				      name.pool, name.name);
	if (status)
		return status;
	clean = json_is_true(json_object_get(reply, "clean"));
	if (!command->json) {
		json_array_foreach(json_object_get(reply, "findings"), index, finding)
		{
			printf("%s\n", json_string_value(finding));
		}
	}
	say(command, reply, "share %s: %s", command->position[0],
	    clean ? "no errors" : "errors were found");
	return clean ? EXIT_GOOD : EXIT_FAILED;
}

int run_share_delete(struct command *command)
{
	struct share_name name;
	json_t *reply;
	int status = split_name(command->position[0], &name);

	if (status)
		return status;
	status = command_confirm(command, "Delete this share and all its files?");
	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/shares/%s/%s", name.pool,
			      name.name);
	return status ? status : say(command, reply, "share %s deleted", command->position[0]);
}
