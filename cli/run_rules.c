/* SPDX-License-Identifier: Apache-2.0 */
/* run_rules.c: who may use a share, or a directory of this machine. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct column rule_columns[] = {
    {"CLIENT", "client", TEXT}, {"READ-ONLY", "read_only", TEXT},   {"INSECURE", "insecure", TEXT},
    {"SQUASH", "squash", TEXT}, {"UID", "anon_uid", NUMBER},        {"GID", "anon_gid", NUMBER},
    {"TLS", "security", TEXT},  {"ADDRESSES", "addresses", JOINED},
};

static int no_client(void)
{
	fprintf(stderr, "granary: say which client: --client CIDR, or --client '*' for anybody\n");
	return EXIT_USAGE;
}

static int read_id(struct command *command, const char *option, long long *ret_id)
{
	const char *text = command_option(command, option);
	char *end;

	if (!text)
		return 0;
	*ret_id = strtoll(text, &end, 10);
	if (!*text || *end || *ret_id < 0 || *ret_id > UINT32_MAX)
		return command_fail("--%s %s is no id", option, text);
	return 0;
}

/* The rule that the options say: *ret_body is the caller's. 0, or the exit status. */
static int read_rule(struct command *command, json_t **ret_body)
{
	const char *squash = command_option(command, "no-root-squash") ? "none"
			     : command_option(command, "all-squash")   ? "all"
								       : "root";
	const char *security = command_option(command, "sec");
	long long uid = 65534, gid = 65534;
	int status = read_id(command, "anon-uid", &uid);

	if (!status)
		status = read_id(command, "anon-gid", &gid);
	if (!status)
		*ret_body = json_pack("{s:s,s:b,s:s,s:s,s:I,s:I}", "client",
				      command_option(command, "client"), "insecure",
				      command_option(command, "insecure") != NULL, "squash", squash,
				      "security", security ? security : "any", "anon_uid",
				      (json_int_t)uid, "anon_gid", (json_int_t)gid);
	return status;
}

int run_share_allow(struct command *command)
{
	const char *client = command_option(command, "client");
	struct object_name name;
	json_t *reply, *body;
	int status = command_split(command->position[0], "share", &name);

	if (!client)
		return no_client();
	if (!status)
		status = read_rule(command, &body);
	if (status)
		return status;
	json_object_set_new(body, "read_only", json_boolean(command_option(command, "ro")));
	status = command_call(command, "POST", body, &reply, "/api/v1/shares/%s/%s/rules",
			      name.pool, name.name);
	return status ? status
		      : say(command, reply, "%s may use share %s, mounted as /%s", client,
			    command->position[0], name.name);
}

int run_directory_allow(struct command *command)
{
	const char *client = command_option(command, "client"), *name = command->position[0];
	json_t *reply, *body;
	int status;

	if (!client)
		return no_client();
	status = read_rule(command, &body);
	if (!status)
		status = command_call(command, "POST", body, &reply, "/api/v1/directories/%s/rules",
				      name);
	return status ? status
		      : say(command, reply, "%s may read directory %s, mounted as /%s", client,
			    name, name);
}

int run_share_deny(struct command *command)
{
	const char *client = command_option(command, "client");
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!client)
		return no_client();
	if (!status)
		status = command_call(command, "DELETE", json_pack("{s:s}", "client", client),
				      &reply, "/api/v1/shares/%s/%s/rules", name.pool, name.name);
	return status ? status
		      : say(command, reply, "the rule for %s on share %s is gone", client,
			    command->position[0]);
}

int run_directory_deny(struct command *command)
{
	const char *client = command_option(command, "client"), *name = command->position[0];
	json_t *reply;
	int status;

	if (!client)
		return no_client();
	status = command_call(command, "DELETE", json_pack("{s:s}", "client", client), &reply,
			      "/api/v1/directories/%s/rules", name);
	return status
		   ? status
		   : say(command, reply, "the rule for %s on directory %s is gone", client, name);
}

int run_share_rules(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status = command_call(command, "GET", NULL, &reply, "/api/v1/shares/%s/%s/rules",
				      name.pool, name.name);
	return status ? status
		      : table_print(command, reply, rule_columns,
				    sizeof rule_columns / sizeof *rule_columns);
}

int run_directory_rules(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/directories/%s/rules",
				  command->position[0]);

	return status ? status
		      : table_print(command, reply, rule_columns,
				    sizeof rule_columns / sizeof *rule_columns);
}

static bool speaks(const json_t *reply, const char *version)
{
	const json_t *one;
	size_t index;

	json_array_foreach(json_object_get(reply, "versions"), index, one)
	{
		if (strcmp(json_string_value(one), version) == 0)
			return true;
	}
	return false;
}

/* What the daemon says of @client and the @what ("share") called @name. */
static int tell(struct command *command, json_t *reply, const char *what)
{
	const char *name = command->position[0], *client = command->position[1];
	const char *version = command_option(command, "version");
	bool allowed = json_is_true(json_object_get(reply, "allowed"));
	bool spoken = !version || speaks(reply, version);

	if (spoken)
		say(command, reply, "%s %s use %s %s: %s", client, allowed ? "may" : "may not",
		    what, name, json_string_value(json_object_get(reply, "reason")));
	else
		say(command, reply, "%s may not use %s %s: NFS version %s is not served", client,
		    what, name, version);
	return allowed && spoken ? EXIT_GOOD : EXIT_FAILED;
}

int run_share_explain(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "share", &name);

	if (!status)
		status =
		    command_call(command, "GET", NULL, &reply, "/api/v1/shares/%s/%s/explain/%s",
				 name.pool, name.name, command->position[1]);
	return status ? status : tell(command, reply, "share");
}

int run_directory_explain(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/directories/%s/explain/%s",
				  command->position[0], command->position[1]);

	return status ? status : tell(command, reply, "directory");
}
