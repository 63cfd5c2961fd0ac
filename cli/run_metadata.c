/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Objects are named as the other verbs name them; the API goes by their paths. */
static const struct {
	const char *kind, *path;
	bool in_pool; /* POOL/NAME, of a snapshot with @SNAPSHOT */
} kinds[] = {
    {"pool", "pools", false},
    {"volume", "volumes", true},
    {"snapshot", "volumes", true},
    {"share", "shares", true},
    {"target", "targets", false},
    {"schedule", "snapshot-schedules", false},
    {"group", "replica/groups", false},
    {"channel", "alert-channels", false},
    {"directory", "directories", false},
    {"host", "hosts", false},
};

/* 0, or the exit status with the sentence printed. */
static int object_path(const struct command *command, char path[600])
{
	const char *kind = command->position[0], *name = command->position[1];
	const char *slash = strchr(name, '/'), *at = strchr(name, '@');
	bool snapshot = strcmp(kind, "snapshot") == 0;
	unsigned i = 0;

	while (i < sizeof kinds / sizeof kinds[0] && strcmp(kinds[i].kind, kind) != 0)
		i++;
	if (i == sizeof kinds / sizeof kinds[0])
		return command_fail(
		    "%s is none of pool, volume, snapshot, share, target, schedule, "
		    "group, channel, directory and host",
		    kind);
	if (strlen(name) > 400 || strpbrk(name, "?%#") || (slash != NULL) != kinds[i].in_pool ||
	    (slash && strchr(slash + 1, '/')) || (at != NULL) != snapshot)
		return command_fail("a %s is not named %s", kind, name);
	snprintf(path, 600, "/api/v1/%s/%.*s%s%s", kinds[i].path,
		 (int)(at ? (size_t)(at - name) : strlen(name)), name, at ? "/snapshots/" : "",
		 at ? at + 1 : "");
	return 0;
}

/* What the object at @path has: new, maybe empty. */
static int fetch(struct command *command, const char *path, json_t **ret_values)
{
	json_t *object, *values;
	int status = command_get(command, path, &object);

	if (status)
		return status;
	values = json_object_get(object, "metadata");
	*ret_values = values ? json_deep_copy(values) : json_object();
	json_decref(object);
	return 0;
}

static int print(const struct command *command, json_t *values)
{
	const char *name;
	json_t *value;

	if (command->json)
		json_dumpf(values, stdout, JSON_INDENT(2));
	if (command->json)
		printf("\n");
	json_object_foreach(values, name, value)
	{
		if (!command->json)
			printf("%s=%s\n", name, json_string_value(value));
	}
	json_decref(values);
	return EXIT_GOOD;
}

int run_metadata_show(struct command *command)
{
	char path[600];
	json_t *values;
	int status = object_path(command, path);

	if (status == 0)
		status = fetch(command, path, &values);
	return status ? status : print(command, values);
}

/* NAME=TEXT, or NAME= for none. */
static int change(const struct command *command, json_t *values)
{
	for (unsigned i = 2; i < command->count; i++) {
		const char *word = command->position[i], *equals = strchr(word, '=');
		size_t length = equals ? (size_t)(equals - word) : 0;

		if (length == 0)
			return command_fail("%s is not NAME=TEXT", word);
		if (!equals[1])
			(void)json_object_deln(values, word, length);
		else if (json_object_setn_new(values, word, length, json_string(equals + 1)) < 0)
			return command_fail("%s is not UTF-8", word);
	}
	return 0;
}

int run_metadata_set(struct command *command)
{
	char path[600];
	json_t *values, *reply;
	int status = object_path(command, path);

	if (status == 0)
		status = fetch(command, path, &values);
	if (status)
		return status;
	if (command_option(command, "clear"))
		json_object_clear(values);
	status = change(command, values);
	if (status) {
		json_decref(values);
		return status;
	}
	status =
	    command_call(command, "PUT", json_pack("{s:s,s:o}", "object", path, "metadata", values),
			 &reply, "/api/v1/metadata");
	if (status)
		return status;
	if (command_option(command, "dry-run"))
		return say(command, reply, "%s", "");
	values = json_incref(json_object_get(reply, "metadata"));
	json_decref(reply);
	return print(command, values);
}
