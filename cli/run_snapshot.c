/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

static const struct column snapshot_columns[] = {
    {"VOLUME", "volume", TEXT},
    {"NAME", "name", TEXT},
    {"CREATED", "created", TIME},
    {"SIZE", "size_bytes", SIZE},
    {"USED", "used_bytes", SIZE},
    {"EXCLUSIVE", "exclusive_bytes", SIZE},
    {"RECLAIMABLE", "reclaimable_bytes", SIZE},
    {"HELD", "held", YES_NO},
    {"EXPENDABLE", "expendable", YES_NO},
    {"CLONES", "clones", NUMBER},
};
/* Of all volumes. */
static const struct column all_columns[] = {
    {"POOL", "pool", TEXT},       {"VOLUME", "volume", TEXT},   {"NAME", "name", TEXT},
    {"CREATED", "created", TIME}, {"SIZE", "size_bytes", SIZE}, {"USED", "used_bytes", SIZE},
    {"HELD", "held", YES_NO},     {"CLONES", "clones", NUMBER},
};
static const struct column snapshot_fields[] = {
    {"POOL", "pool", TEXT},
    {"VOLUME", "volume", TEXT},
    {"NAME", "name", TEXT},
    {"CREATED", "created", TIME},
    {"GROUP", "group", NUMBER},
    {"SIZE", "size_bytes", SIZE},
    {"USED", "used_bytes", SIZE},
    {"EXCLUSIVE", "exclusive_bytes", SIZE},
    {"RECLAIMABLE", "reclaimable_bytes", SIZE},
    {"CLONES", "clones", NUMBER},
    {"BY ROLLBACK", "automatic", YES_NO},
    {"HELD", "held", YES_NO},
    {"HELD UNTIL", "hold_until", TIME},
    {"EXPENDABLE", "expendable", YES_NO},
};
static const struct column extent_columns[] = {
    {"OFFSET", "offset", NUMBER}, {"LENGTH", "length", NUMBER}, {"DATA", "mapped", YES_NO}};

/* POOL/VOLUME@SNAPSHOT; without @SNAPSHOT when that is allowed. */
struct snapshot_name {
	char pool[128], volume[256];
	const char *snapshot; /* NULL */
};

static int split(const char *text, bool whole, struct snapshot_name *ret_name)
{
	const char *slash = strchr(text, '/'), *at = slash ? strchr(slash, '@') : NULL;
	size_t pool = slash ? (size_t)(slash - text) : 0;
	size_t volume = slash ? (at ? (size_t)(at - slash - 1) : strlen(slash + 1)) : 0;

	if (pool == 0 || pool >= sizeof ret_name->pool || volume == 0 ||
	    volume >= sizeof ret_name->volume || (at && !at[1]) || (whole && !at))
		return command_fail(whole ? "a snapshot is named POOL/VOLUME@SNAPSHOT, not %s"
					  : "a volume is named POOL/NAME, not %s",
				    text);
	memcpy(ret_name->pool, text, pool);
	ret_name->pool[pool] = 0;
	memcpy(ret_name->volume, slash + 1, volume);
	ret_name->volume[volume] = 0;
	ret_name->snapshot = at ? at + 1 : NULL;
	return 0;
}

#define SNAPSHOT_PATH "/api/v1/volumes/%s/%s/snapshots/%s"

int run_snapshot_create(struct command *command)
{
	json_t *names = json_array(), *reply, *body;
	struct snapshot_name name;
	int status = 0;

	for (unsigned i = 0; i < command->count && !status; i++) {
		status = split(command->position[i], true, &name);
		json_array_append_new(names, json_string(command->position[i]));
	}
	if (status) {
		json_decref(names);
		return status;
	}
	body = json_pack("{s:o}", "snapshots", names);
	if (command_option(command, "expendable"))
		json_object_set_new(body, "expendable", json_true());
	status = command_call(command, "POST", body, &reply, "/api/v1/snapshots");
	if (status)
		return status;
	if (command->count == 1)
		return say(command, reply, "snapshot %s created", command->position[0]);
	return say(command, reply, "%u snapshots of the same instant created", command->count);
}

/* In a table, numbers that are not there yet say so. */
static void say_computing(json_t *list)
{
	static const char *const keys[] = {"exclusive_bytes", "reclaimable_bytes"};
	size_t index;
	json_t *item;

	json_array_foreach(list, index, item)
	{
		const char *state = json_string_value(json_object_get(item, "space"));

		for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
			if (state && json_is_null(json_object_get(item, keys[i])))
				json_object_set_new(item, keys[i], json_string(state));
	}
}

/* Of all volumes, without what each holds alone: that is computed by a walk. */
static int list_all(struct command *command)
{
	json_t *volumes, *list, *all = json_array(), *volume;
	int status = command_list(command, "", &volumes, "/api/v1/volumes");
	size_t index;

	if (status) {
		json_decref(all);
		return status;
	}
	json_array_foreach(volumes, index, volume)
	{
		const char *pool = json_string_value(json_object_get(volume, "pool"));
		const char *name = json_string_value(json_object_get(volume, "name"));
		const char *backend = json_string_value(json_object_get(volume, "backend"));

		if (!pool || !name || !backend || strcmp(backend, "passthrough") == 0)
			continue; /* there are none of it */
		status =
		    command_list(command, "", &list, "/api/v1/volumes/%s/%s/snapshots", pool, name);
		if (status)
			break;
		json_array_extend(all, list);
		json_decref(list);
	}
	json_decref(volumes);
	if (status) {
		json_decref(all);
		return status;
	}
	return table_print(command, all, all_columns, sizeof all_columns / sizeof *all_columns);
}

int run_snapshot_list(struct command *command)
{
	struct snapshot_name name;
	json_t *reply;
	int status;

	if (command->count == 0)
		return list_all(command);
	status = split(command->position[0], false, &name);
	if (!status)
		status = command_list(command, "measure=5&", &reply,
				      "/api/v1/volumes/%s/%s/snapshots", name.pool, name.volume);
	if (!status && !command->json)
		say_computing(reply);
	return status ? status
		      : table_print(command, reply, snapshot_columns,
				    sizeof snapshot_columns / sizeof *snapshot_columns);
}

int run_snapshot_show(struct command *command)
{
	struct snapshot_name name;
	json_t *reply;
	int status = split(command->position[0], true, &name);

	if (!status)
		status = command_call(command, "GET", NULL, &reply, SNAPSHOT_PATH, name.pool,
				      name.volume, name.snapshot);
	return status ? status
		      : table_print(command, reply, snapshot_fields,
				    sizeof snapshot_fields / sizeof *snapshot_fields);
}

int run_snapshot_delete(struct command *command)
{
	struct snapshot_name name;
	json_t *reply;
	int status = split(command->position[0], true, &name);

	if (status)
		return status;
	status = command_ask(command, "Delete this snapshot?");
	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, SNAPSHOT_PATH, name.pool,
			      name.volume, name.snapshot);
	return status ? status : say(command, reply, "snapshot %s deleted", command->position[0]);
}

int run_snapshot_rename(struct command *command)
{
	struct snapshot_name name;
	json_t *reply;
	int status = split(command->position[0], true, &name);

	if (!status)
		status =
		    command_call(command, "PATCH", json_pack("{s:s}", "name", command->position[1]),
				 &reply, SNAPSHOT_PATH, name.pool, name.volume, name.snapshot);
	return status ? status
		      : say(command, reply, "snapshot %s is named %s/%s@%s now",
			    command->position[0], name.pool, name.volume, command->position[1]);
}

int run_snapshot_set(struct command *command)
{
	bool on = command_option(command, "expendable");
	struct snapshot_name name;
	json_t *reply;
	int status = split(command->position[0], true, &name);

	if (!status && on == !!command_option(command, "needed"))
		status = command_fail("give --expendable or --needed");
	if (!status)
		status = command_call(command, "PATCH", json_pack("{s:b}", "expendable", on),
				      &reply, SNAPSHOT_PATH, name.pool, name.volume, name.snapshot);
	return status ? status
		      : say(command, reply, "snapshot %s %s be given up", command->position[0],
			    on ? "may" : "may not");
}

/* A date, 2027-01-31 or 2027-01-31T18:00, of local time. */
static int parse_date(const char *text, json_int_t *ret_seconds)
{
	struct tm tm = {.tm_isdst = -1};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M", &tm);

	if (!end || *end) {
		tm = (struct tm){.tm_isdst = -1};
		end = strptime(text, "%Y-%m-%d", &tm);
	}
	if (!end || *end)
		return command_fail("%s is no date such as 2027-01-31 or 2027-01-31T18:00", text);
	*ret_seconds = (json_int_t)mktime(&tm);
	return 0;
}

int run_snapshot_hold(struct command *command)
{
	const char *until = command_option(command, "until");
	struct snapshot_name name;
	json_int_t seconds = 0;
	json_t *reply, *body;
	int status = split(command->position[0], true, &name);

	if (!status && until)
		status = parse_date(until, &seconds);
	if (status)
		return status;
	body = until ? json_pack("{s:I}", "hold_until", seconds) : json_pack("{s:b}", "held", 1);
	status = command_call(command, "PATCH", body, &reply, SNAPSHOT_PATH, name.pool, name.volume,
			      name.snapshot);
	return status ? status : say(command, reply, "snapshot %s is held", command->position[0]);
}

int run_snapshot_release(struct command *command)
{
	struct snapshot_name name;
	json_t *reply;
	int status = split(command->position[0], true, &name);

	if (!status)
		status = command_call(command, "PATCH", json_pack("{s:b}", "held", 0), &reply,
				      SNAPSHOT_PATH, name.pool, name.volume, name.snapshot);
	return status ? status
		      : say(command, reply, "snapshot %s is no longer held", command->position[0]);
}

int run_volume_clone(struct command *command)
{
	struct snapshot_name name, wanted;
	json_t *reply;
	int status = split(command->position[0], true, &name);

	if (!status)
		status = split(command->position[1], false, &wanted);
	if (!status && (strcmp(name.pool, wanted.pool) != 0 || wanted.snapshot))
		status = command_fail("a clone is a volume of pool %s", name.pool);
	if (!status)
		status =
		    command_call(command, "POST", json_pack("{s:s}", "name", wanted.volume), &reply,
				 SNAPSHOT_PATH "/clone", name.pool, name.volume, name.snapshot);
	return status ? status
		      : say(command, reply, "volume %s created, SCSI ID %s", command->position[1],
			    json_string_value(json_object_get(reply, "scsi_id")));
}

int run_volume_promote(struct command *command)
{
	struct snapshot_name name;
	json_t *reply;
	int status = split(command->position[0], false, &name);

	if (!status)
		status = command_call(command, "POST", NULL, &reply,
				      "/api/v1/volumes/%s/%s/promote", name.pool, name.volume);
	return status ? status : say(command, reply, "volume %s promoted", command->position[0]);
}

int run_volume_rollback(struct command *command)
{
	const char *keep = command_option(command, "keep");
	struct snapshot_name name;
	json_t *reply, *body;
	int status = split(command->position[0], true, &name);

	if (status)
		return status;
	status = command_ask(command, "Make this volume what it was at the snapshot?");
	if (status >= 0)
		return status;
	body = json_pack("{s:s}", "snapshot", name.snapshot);
	if (keep)
		json_object_set_new(body, "keep", json_string(keep));
	status = command_call(command, "POST", body, &reply, "/api/v1/volumes/%s/%s/rollback",
			      name.pool, name.volume);
	return status ? status
		      : say(command, reply, "volume %s/%s is what it was at %s", name.pool,
			    name.volume, name.snapshot);
}

static int diff_part(struct command *command, const struct snapshot_name *name, const char *to,
		     json_int_t offset, json_t **ret_reply)
{
	char at[24];

	snprintf(at, sizeof at, "%lld", (long long)offset);
	if (to)
		return command_call(command, "GET", NULL, ret_reply,
				    SNAPSHOT_PATH "/diff?to=%s&offset=%s", name->pool, name->volume,
				    name->snapshot, to, at);
	return command_call(command, "GET", NULL, ret_reply, SNAPSHOT_PATH "/diff?offset=%s",
			    name->pool, name->volume, name->snapshot, at);
}

int run_snapshot_diff(struct command *command)
{
	const char *to = command->count > 1 ? command->position[1] : NULL;
	json_t *all = json_array();
	struct snapshot_name name;
	json_int_t offset = 0;
	int status = split(command->position[0], true, &name);

	if (to && strchr(to, '@')) /* "@b", and "tank/vm1@b" is meant well too */
		to = strchr(to, '@') + 1;
	while (!status && offset >= 0) {
		json_t *reply = NULL, *next;

		status = diff_part(command, &name, to, offset, &reply);
		if (status)
			break;
		json_array_extend(all, json_object_get(reply, "extents"));
		next = json_object_get(reply, "next");
		offset = json_is_integer(next) ? json_integer_value(next) : -1;
		json_decref(reply);
	}
	if (status) {
		json_decref(all);
		return status;
	}
	return table_print(command, all, extent_columns,
			   sizeof extent_columns / sizeof *extent_columns);
}
