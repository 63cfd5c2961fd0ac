/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/size.h"

static const struct column volume_columns[] = {
    {"POOL", "pool", TEXT},       {"NAME", "name", TEXT}, {"SIZE", "size_bytes", SIZE},
    {"USED", "used_bytes", SIZE}, {"NAA", "naa", TEXT},   {"LUNS", "mapped", COUNT},
};
static const struct column volume_fields[] = {
    {"POOL", "pool", TEXT},
    {"NAME", "name", TEXT},
    {"SIZE", "size_bytes", SIZE},
    {"USED", "used_bytes", SIZE},
    {"UUID", "uuid", TEXT},
    {"NAA", "naa", TEXT},
    {"SERIAL", "serial", TEXT},
    {"SCSI ID", "scsi_id", TEXT},
    {"LUNS", "mapped", COUNT},
    {"CHECKSUM", "checksum", TEXT},
    {"MIRROR", "mirror", YES_NO},
    {"IOPS LIMIT", "iops_limit", NUMBER},
    {"BANDWIDTH LIMIT", "bandwidth_limit_bytes", SIZE},
    {"BURST MS", "burst_ms", NUMBER},
    {"DELAYED", "delayed", NUMBER},
    {"BACKEND", "backend", TEXT},
    {"DEVICE", "device", TEXT},
    {"STATE", "state", TEXT},
    {"REASON", "reason", TEXT},
    {"RESERVED", "reserve_bytes", SIZE},
    {"QUOTA", "quota_bytes", SIZE},
    {"OF IT TAKEN", "quota_used_bytes", SIZE},
};

static int check_size(const char *text)
{
	struct err err = {0};
	uint64_t bytes;

	return size_parse(text, &bytes, &err) < 0 ? command_fail("%s", err.text) : 0;
}

/* The options as members of the body, as far as they were given. */
static int add_options(struct command *command, json_t *body)
{
	static const char *const texts[] = {"checksum", "reserve", "quota",   "naa",
					    "serial",   "vendor",  "product", "t10"};
	const char *device = command_option(command, "device");
	char *path = device ? realpath(device, NULL) : NULL;

	for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
		const char *value = command_option(command, texts[i]);

		if (value)
			json_object_set_new(body, texts[i], json_string(value));
	}
	if (command_option(command, "read-only"))
		json_object_set_new(body, "read_only", json_true());
	if (command_option(command, "mirror"))
		json_object_set_new(body, "mirror", json_true());
	/* A link below /dev, by-id or of LVM, stays right when disks change places. */
	if (device && device[0] != '/' && !path) {
		free(path);
		return command_fail("%s is not there", device);
	}
	if (device)
		json_object_set_new(body, "device", json_string(device[0] == '/' ? device : path));
	free(path);
	return 0;
}

int run_volume_create(struct command *command)
{
	struct object_name name;
	const char *reserve = command_option(command, "reserve");
	const char *quota = command_option(command, "quota");
	const char *size = command->count > 1 ? command->position[1] : NULL;
	json_t *reply, *body;
	int status = command_split(command->position[0], "volume", &name);

	if (!status && !size && !command_option(command, "device")) {
		command_fail("a volume needs a size, or --device");
		return EXIT_USAGE;
	}
	if (!status && size)
		status = check_size(size);
	if (!status && reserve)
		status = check_size(reserve);
	if (!status && quota)
		status = check_size(quota);
	if (status)
		return status;
	body = json_pack("{s:s,s:s}", "pool", name.pool, "name", name.name);
	if (size)
		json_object_set_new(body, "size", json_string(size));
	status = add_options(command, body);
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/volumes");
	return status ? status
		      : say(command, reply, "volume %s created, SCSI ID %s", command->position[0],
			    json_string_value(json_object_get(reply, "scsi_id")));
}

/* The limits that were given, as members of a body; 0, or the exit status. */
static int read_limits(struct command *command, json_t *body)
{
	const char *iops = command_option(command, "iops"), *number = iops;
	const char *bandwidth = command_option(command, "bandwidth");
	const char *burst = command_option(command, "burst");

	if (iops &&
	    (strspn(number, "0123456789") != strlen(number) || !*number || strlen(number) > 15))
		return command_fail("--iops is a number, not %s", iops);
	if (iops)
		json_object_set_new(body, "iops", json_integer(strtoll(iops, NULL, 10)));
	if (bandwidth && strcmp(bandwidth, "0") != 0 && check_size(bandwidth))
		return EXIT_FAILED;
	if (bandwidth)
		json_object_set_new(body, "bandwidth", json_string(bandwidth));
	if (burst)
		json_object_set_new(body, "burst", json_string(burst));
	return 0;
}

/* Likewise --reserve and --quota. */
static int read_space(struct command *command, json_t *body)
{
	static const char *const names[] = {"reserve", "quota"};

	for (unsigned i = 0; i < 2; i++) {
		const char *value = command_option(command, names[i]);

		if (value && strcmp(value, "0") != 0 && check_size(value))
			return EXIT_FAILED;
		if (value)
			json_object_set_new(body, names[i], json_string(value));
	}
	return 0;
}

static const char *limit_text(const json_t *reply, const char *key, bool size, char *text)
{
	uint64_t limit = (uint64_t)json_integer_value(json_object_get(reply, key));

	if (limit == 0)
		return "no limit of";
	if (size)
		size_format(limit, text, 32);
	else
		snprintf(text, 32, "%llu", (unsigned long long)limit);
	return text;
}

static int say_space(struct command *command, json_t *reply)
{
	char reserve[32], quota[32], used[32];
	uint64_t limit = (uint64_t)json_integer_value(json_object_get(reply, "quota_bytes"));

	size_format((uint64_t)json_integer_value(json_object_get(reply, "reserve_bytes")), reserve,
		    sizeof reserve);
	size_format((uint64_t)json_integer_value(json_object_get(reply, "quota_used_bytes")), used,
		    sizeof used);
	size_format(limit, quota, sizeof quota);
	if (limit == 0)
		return say(command, reply, "volume %s: %s reserved, no quota", command->position[0],
			   reserve);
	return say(command, reply, "volume %s: %s reserved, a quota of %s, %s of it taken",
		   command->position[0], reserve, quota, used);
}

int run_volume_set(struct command *command)
{
	struct object_name name;
	char iops[32], bandwidth[32];
	json_t *reply, *body;
	bool space = command_option(command, "reserve") || command_option(command, "quota");
	int status = command_split(command->position[0], "volume", &name);

	if (status)
		return status;
	body = json_object();
	status = read_limits(command, body);
	if (!status)
		status = read_space(command, body);
	if (!status && json_object_size(body) == 0) {
		command_fail("nothing to set: give --iops, --bandwidth, --burst, --reserve or "
			     "--quota");
		status = EXIT_USAGE;
	}
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "PATCH", body, &reply, "/api/v1/volumes/%s/%s", name.pool,
			      name.name);
	if (status || space)
		return status ? status : say_space(command, reply);
	return say(command, reply, "volume %s: %s operations, %s bandwidth a second",
		   command->position[0], limit_text(reply, "iops_limit", false, iops),
		   limit_text(reply, "bandwidth_limit_bytes", true, bandwidth));
}

int run_volume_rescan(struct command *command)
{
	struct object_name name;
	char size[32];
	json_t *reply;
	int status = command_split(command->position[0], "volume", &name);

	if (!status)
		status = command_call(command, "POST", NULL, &reply, "/api/v1/volumes/%s/%s/rescan",
				      name.pool, name.name);
	if (status)
		return status;
	size_format((uint64_t)json_integer_value(json_object_get(reply, "size_bytes")), size,
		    sizeof size);
	return say(command, reply, "volume %s has %s", command->position[0], size);
}

int run_volume_list(struct command *command)
{
	json_t *reply;
	int status = command_list(command, "", &reply, "/api/v1/volumes");

	return status ? status
		      : table_print(command, reply, volume_columns,
				    sizeof volume_columns / sizeof *volume_columns);
}

int run_volume_show(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "volume", &name);

	if (!status)
		status = command_call(command, "GET", NULL, &reply, "/api/v1/volumes/%s/%s",
				      name.pool, name.name);
	return status ? status
		      : table_print(command, reply, volume_fields,
				    sizeof volume_fields / sizeof *volume_fields);
}

int run_volume_resize(struct command *command)
{
	struct object_name name;
	char size[32];
	json_t *reply;
	int status = command_split(command->position[0], "volume", &name);

	if (!status)
		status = check_size(command->position[1]);
	if (!status)
		status = command_call(command, "PATCH",
				      json_pack("{s:s,s:b}", "size", command->position[1], "shrink",
						command_option(command, "shrink") != NULL),
				      &reply, "/api/v1/volumes/%s/%s", name.pool, name.name);
	if (status)
		return status;
	size_format((uint64_t)json_integer_value(json_object_get(reply, "size_bytes")), size,
		    sizeof size);
	return say(command, reply, "volume %s has %s now", command->position[0], size);
}

int run_volume_rename(struct command *command)
{
	struct object_name name;
	const char *new_name = command->position[1];
	json_t *reply;
	int status = command_split(command->position[0], "volume", &name);

	/* "tank/old tank/new" is meant well too. */
	if (!status && strchr(new_name, '/')) {
		struct object_name wanted;

		status = command_split(new_name, "volume", &wanted);
		if (!status && strcmp(wanted.pool, name.pool) != 0)
			status = command_fail("a volume stays in its pool %s", name.pool);
		if (!status)
			new_name = strchr(new_name, '/') + 1;
	}
	if (!status)
		status = command_call(command, "PATCH", json_pack("{s:s}", "name", new_name),
				      &reply, "/api/v1/volumes/%s/%s", name.pool, name.name);
	return status ? status
		      : say(command, reply, "volume %s is named %s/%s now", command->position[0],
			    name.pool, new_name);
}

int run_volume_take(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "volume", &name);

	if (status)
		return status;
	status = command_call(command, "POST", NULL, &reply, "/api/v1/volumes/%s/%s/take",
			      name.pool, name.name);
	return status ? status
		      : say(command, reply, "volume %s is served here", command->position[0]);
}

int run_volume_delete(struct command *command)
{
	struct object_name name;
	json_t *reply;
	int status = command_split(command->position[0], "volume", &name);

	if (status)
		return status;
	status = command_confirm(command, "Delete this volume and all its data?");
	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/volumes/%s/%s", name.pool,
			      name.name);
	return status ? status : say(command, reply, "volume %s deleted", command->position[0]);
}
