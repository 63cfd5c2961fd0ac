/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/heap.h"
#include "core/size.h"

static const struct column pool_columns[] = {
    {"NAME", "name", TEXT},
    {"STATE", "state", TEXT},
    {"SIZE", "size_bytes", SIZE},
    {"USED", "used_bytes", SIZE},
    {"FREE", "free_bytes", SIZE},
    {"PROVISIONED", "provisioned_bytes", SIZE},
    {"OVERCOMMIT", "overcommit", RATIO},
    {"VOLUMES", "volumes", NUMBER},
    {"DEVICES", "devices", JOINED},
    {"EVACUATION", "evacuation", TEXT},
    {"SCRUB", "scrub_summary", TEXT},
    {"EVERY", "scrub_every", TEXT},
    {"REASON", "reason", TEXT},
};
#define POOL_COLUMNS (sizeof pool_columns / sizeof *pool_columns)

static const struct column device_columns[] = {
    {"DEVICE", "path", TEXT},
    {"STATE", "state", TEXT},
    {"SIZE", "size_bytes", SIZE},
    {"FREE", "free_bytes", SIZE},
    {"SHARE%", "share_percent", RATIO},
    {"SMALL-US", "small_write_us", RATIO},
    {"LARGE-US", "large_write_us", RATIO},
};
#define DEVICE_COLUMNS (sizeof device_columns / sizeof *device_columns)

static json_t *absolute_path(const char *path, size_t length)
{
	char *dir;
	json_t *text;

	if (path[0] == '/')
		return json_stringn(path, length);
	dir = getcwd(NULL, 0);
	text = dir ? json_sprintf("%s/%.*s", dir, (int)length, path) : NULL;
	free(dir);
	return text;
}

/* PATH or PATH:SIZE. A path that exists as it is written has no size, colons or not. */
static json_t *read_device(const char *argument)
{
	const char *colon = strrchr(argument, ':'), *slash = strrchr(argument, '/');
	size_t length = strlen(argument);
	json_t *device = json_object();
	struct err err = {0};
	uint64_t size;

	if (colon && (!slash || colon > slash) && access(argument, F_OK) != 0) {
		length = (size_t)(colon - argument);
		if (size_parse(colon + 1, &size, &err) < 0 || size == 0 || length == 0) {
			command_fail("%s: %s", argument,
				     err.code ? err.text : "a file needs a name and a size");
			json_decref(device);
			return NULL;
		}
		json_object_set_new(device, "size", json_integer((json_int_t)size));
	}
	if (json_object_set_new(device, "path", absolute_path(argument, length)) < 0) {
		command_fail("device path is not UTF-8");
		json_decref(device);
		return NULL;
	}
	return device;
}

static json_t *read_devices(struct command *command, unsigned first)
{
	json_t *devices = json_array();

	for (unsigned i = first; i < command->count; i++) {
		json_t *device = read_device(command->position[i]);

		if (!device) {
			json_decref(devices);
			return NULL;
		}
		json_array_append_new(devices, device);
	}
	return devices;
}

/* Where the pool is, into @body: devices, or a place in a cluster. 0 or the exit status. */
static int add_place(struct command *command, json_t *body, unsigned first)
{
	static const struct {
		const char *option, *member;
	} options[] = {
	    {"ceph-pool", "ceph_pool"}, {"id", "ceph_id"}, {"namespace", "ceph_namespace"}};
	const char *backend = command_option(command, "backend");
	const char *conf = command_option(command, "conf");
	bool any = conf != NULL;
	json_t *devices;

	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		const char *value = command_option(command, options[i].option);

		if (value)
			json_object_set_new(body, options[i].member, json_string(value));
		any |= value != NULL;
	}
	if (conf)
		json_object_set_new(body, "conf", absolute_path(conf, strlen(conf)));
	if (backend)
		json_object_set_new(body, "backend", json_string(backend));
	if (command->count > first) {
		devices = read_devices(command, first);
		return devices ? json_object_set_new(body, "devices", devices) : EXIT_FAILED;
	}
	if (any || backend)
		return EXIT_GOOD;
	command_fail("give the pool's devices or files, or --backend rbd and where it is");
	return EXIT_USAGE;
}

int run_pool_create(struct command *command)
{
	json_t *body, *reply;
	int status;

	body = json_pack("{s:s,s:b}", "name", command->position[0], "force",
			 command_option(command, "force") != NULL);
	status = add_place(command, body, 1);
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/pools");
	return status ? status : say(command, reply, "pool %s created", command->position[0]);
}

/* As the pool was given it; a path that exists is made absolute. */
static json_t *device_path(const char *path)
{
	return absolute_path(path, strlen(path));
}

static const json_t *device_of(const json_t *reply, const char *path)
{
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(reply, "device_details"), i, device)
	{
		const char *text = json_string_value(json_object_get(device, "path"));

		if (text && strcmp(text, path) == 0)
			return device;
	}
	return NULL;
}

static const char *device_text(const json_t *device, const char *key)
{
	const char *text = json_string_value(json_object_get(device, key));

	return text ? text : "";
}

/* Until the device is empty, or nothing moves. */
static int evacuate_wait(struct command *command, const char *path, json_t **reply)
{
	const struct timespec pause = {.tv_nsec = 200000000};

	while (strcmp(device_text(device_of(*reply, path), "state"), "evacuating") == 0) {
		int status;

		json_decref(*reply);
		nanosleep(&pause, NULL);
		status = command_call(command, "GET", NULL, reply, "/api/v1/pools/%s",
				      command->position[0]);
		if (status)
			return status;
	}
	return EXIT_GOOD;
}

static int evacuate_say(struct command *command, const char *path, json_t *reply)
{
	const json_t *device = device_of(reply, path);
	char *state = strdup(device_text(device, "state"));
	char *reason = strdup(device_text(device, "reason"));
	char left[32];
	int status;

	if (!device) { /* --status: the daemon was asked about the pool only */
		free(state);
		free(reason);
		json_decref(reply);
		return command_fail("%s is not a device of pool %s", path, command->position[0]);
	}
	size_format((uint64_t)json_integer_value(json_object_get(device, "left_bytes")), left,
		    sizeof left);
	status = say(command, reply, "%s of pool %s: %s, %s left", path, command->position[0],
		     state ? state : "", left);
	if (status == EXIT_GOOD && state && strcmp(state, "stuck") == 0)
		status = command_fail("%s", reason);
	free(state);
	free(reason);
	return status;
}

int run_pool_evacuate(struct command *command)
{
	static const char *const actions[] = {"pause", "resume", "stop"};
	json_t *path = device_path(command->position[1]), *reply;
	const char *action = "start";
	unsigned given = 0;
	int status;

	for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++)
		if (command_option(command, actions[i])) {
			action = actions[i];
			given++;
		}
	if (given > 1 || !path) {
		json_decref(path);
		command_fail("only one of --pause, --resume and --stop");
		return EXIT_USAGE;
	}
	if (command_option(command, "status"))
		status = command_call(command, "GET", NULL, &reply, "/api/v1/pools/%s",
				      command->position[0]);
	else
		status = command_call(command, "POST",
				      json_pack("{s:O,s:s}", "device", path, "action", action),
				      &reply, "/api/v1/pools/%s/evacuate", command->position[0]);
	if (status == EXIT_GOOD && command_option(command, "dry-run")) {
		json_decref(path);
		return say(command, reply, "nothing would be different");
	}
	if (status == EXIT_GOOD && command_option(command, "wait"))
		status = evacuate_wait(command, json_string_value(path), &reply);
	if (status == EXIT_GOOD)
		status = evacuate_say(command, json_string_value(path), reply);
	json_decref(path);
	return status;
}

static int devices_say(struct command *command, json_t *reply)
{
	char size[32];

	size_format((uint64_t)json_integer_value(json_object_get(reply, "size_bytes")), size,
		    sizeof size);
	return say(command, reply, "pool %s has %s on %zu device%s", command->position[0], size,
		   json_array_size(json_object_get(reply, "devices")),
		   json_array_size(json_object_get(reply, "devices")) == 1 ? "" : "s");
}

int run_pool_add(struct command *command)
{
	json_t *devices = read_devices(command, 1), *reply;
	int status;

	if (!devices)
		return EXIT_FAILED;
	status = command_call(command, "POST",
			      json_pack("{s:o,s:b}", "devices", devices, "force",
					command_option(command, "force") != NULL),
			      &reply, "/api/v1/pools/%s/devices", command->position[0]);
	return status ? status : devices_say(command, reply);
}

int run_pool_remove(struct command *command)
{
	json_t *reply;
	int status = command_ask(command, "Take this device out of the pool?");

	if (status >= 0)
		return status;
	status = command_call(command, "POST",
			      json_pack("{s:o}", "device", device_path(command->position[1])),
			      &reply, "/api/v1/pools/%s/remove", command->position[0]);
	return status ? status : devices_say(command, reply);
}

/* The device that is being made good, NULL when there is none (any more). */
static const json_t *resilvering(const json_t *reply)
{
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(reply, "device_details"), i, device)
	{
		if (strcmp(device_text(device, "state"), "resilvering") == 0)
			return device;
	}
	return NULL;
}

/* With --wait: until it is good. */
static int resilver_say(struct command *command, int status, json_t *reply)
{
	const struct timespec pause = {.tv_nsec = 200000000};

	while (status == EXIT_GOOD && command_option(command, "wait") && resilvering(reply)) {
		json_decref(reply);
		nanosleep(&pause, NULL);
		status = command_call(command, "GET", NULL, &reply, "/api/v1/pools/%s",
				      command->position[0]);
	}
	if (status)
		return status;
	return say(command, reply, "pool %s is %s", command->position[0],
		   device_text(reply, "state"));
}

int run_pool_online(struct command *command)
{
	json_t *reply = NULL, *body = json_object();
	int status;

	if (command->count > 1)
		json_object_set_new(body, "device", device_path(command->position[1]));
	status = command_call(command, "POST", body, &reply, "/api/v1/pools/%s/online",
			      command->position[0]);
	return resilver_say(command, status, reply);
}

int run_pool_offline(struct command *command)
{
	json_t *reply = NULL;
	int status =
	    command_confirm(command, "Go on without this device? Mirrored volumes have one "
				     "copy until it, or another, is there.");

	if (status >= 0)
		return status;
	status = command_call(command, "POST",
			      json_pack("{s:o}", "device", device_path(command->position[1])),
			      &reply, "/api/v1/pools/%s/offline", command->position[0]);
	return resilver_say(command, status, reply);
}

int run_pool_replace(struct command *command)
{
	const char *old = command->position[1];
	json_t *devices, *reply = NULL;
	int status = command_confirm(command, "Give the old device up for good?");

	if (status >= 0)
		return status;
	devices = read_devices(command, 2);
	if (!devices)
		return EXIT_FAILED;
	status = command_call(
	    command, "POST",
	    json_pack("{s:o,s:o,s:b}", "device",
		      strcmp(old, "missing") == 0 ? json_string(old) : device_path(old), "devices",
		      devices, "force", command_option(command, "force") != NULL),
	    &reply, "/api/v1/pools/%s/replace", command->position[0]);
	return resilver_say(command, status, reply);
}

int run_pool_grow(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", NULL, &reply, "/api/v1/pools/%s/grow",
				  command->position[0]);

	return status ? status : devices_say(command, reply);
}

int run_pool_import(struct command *command)
{
	json_t *body, *reply;
	int status;

	body = json_pack("{s:b,s:b}", "rewind", command_option(command, "rewind") != NULL,
			 "degraded", command_option(command, "degraded") != NULL);
	status = add_place(command, body, 0);
	if (status) {
		json_decref(body);
		return status;
	}
	if (command_option(command, "name"))
		json_object_set_new(body, "name", json_string(command_option(command, "name")));
	status = command_call(command, "POST", body, &reply, "/api/v1/pools/import");
	return status ? status
		      : say(command, reply, "pool %s imported",
			    json_string_value(json_object_get(reply, "name")));
}

/* Back under its old name: nothing refers to a pool that could be exported. */
static int rename_failed(struct command *command, json_t *devices, int status)
{
	json_t *reply;
	int back = command_call(command, "POST", json_pack("{s:o}", "devices", devices), &reply,
				"/api/v1/pools/import");

	if (back)
		return command_fail("pool %s is exported now: \"granary pool import\" takes it in "
				    "again",
				    command->position[0]);
	json_decref(reply);
	return status;
}

/* Exported and taken in by the other name, which is the way to a name. */
int run_pool_rename(struct command *command)
{
	const char *name = command->position[0], *other = command->position[1];
	json_t *reply, *devices;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/pools/%s", name);

	if (status)
		return status;
	devices = json_incref(json_object_get(reply, "devices"));
	json_decref(reply);
	status = command_call(command, "POST", NULL, &reply, "/api/v1/pools/%s/export", name);
	if (status) {
		json_decref(devices);
		return status;
	}
	json_decref(reply);
	status =
	    command_call(command, "POST", json_pack("{s:O,s:s}", "devices", devices, "name", other),
			 &reply, "/api/v1/pools/import");
	if (status)
		return rename_failed(command, devices, status);
	json_decref(devices);
	return say(command, reply, "pool %s is named %s", name, other);
}

int run_pool_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/pools");

	return status ? status : table_print(command, reply, pool_columns, POOL_COLUMNS);
}

int run_pool_show(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "GET", NULL, &reply, "/api/v1/pools/%s", command->position[0]);
	json_t *devices;

	if (status)
		return status;
	devices = json_incref(json_object_get(reply, "device_details"));
	status = table_print(command, reply, pool_columns, POOL_COLUMNS);
	if (status == EXIT_GOOD && !command->json && json_array_size(devices)) {
		putchar('\n');
		table_rows(devices, device_columns, DEVICE_COLUMNS);
	}
	json_decref(devices);
	return status;
}

int run_pool_check(struct command *command)
{
	bool offline = command_option(command, "offline") != NULL, clean;
	json_t *reply, *finding, *body;
	size_t index;
	int status;

	if (!offline && command->count > 1) {
		command_fail("one pool at a time; for devices or files say --offline");
		return EXIT_USAGE;
	}
	body = json_pack("{s:b}", "data", command_option(command, "data") != NULL);
	if (offline) {
		json_t *devices = read_devices(command, 0);

		if (!devices) {
			json_decref(body);
			return EXIT_FAILED;
		}
		json_object_set_new(body, "devices", devices);
		status = command_call(command, "POST", body, &reply, "/api/v1/pools/check");
	} else {
		status = command_call(command, "POST", body, &reply, "/api/v1/pools/%s/check",
				      command->position[0]);
	}
	if (status)
		return status;
	clean = json_is_true(json_object_get(reply, "clean"));
	if (!command->json) {
		json_array_foreach(json_object_get(reply, "findings"), index, finding)
		    printf("%s\n", json_string_value(finding));
	}
	status =
	    say(command, json_incref(reply), "%lld nodes, %lld slots, %lld leaked, %lld errors",
		json_integer_value(json_object_get(reply, "nodes")),
		json_integer_value(json_object_get(reply, "slots")),
		json_integer_value(json_object_get(reply, "leaked_slots")),
		json_integer_value(json_object_get(reply, "errors")));
	json_decref(reply);
	if (status == EXIT_GOOD && !clean)
		return command_fail("pool %s is damaged", command->position[0]);
	return status;
}

static void prove_line(const json_t *reply, const char *key, const char *words)
{
	const json_t *phase = json_object_get(reply, key);
	double bytes = json_number_value(json_object_get(phase, "bytes_per_second"));
	const json_t *flush = json_object_get(phase, "flush_p50_us");
	char size[32];

	size_format((uint64_t)bytes, size, sizeof size);
	printf("%-22s %10.0f a second, %s/s, %.0f us (99 %%: %.0f us)", words,
	       json_number_value(json_object_get(phase, "operations_per_second")), size,
	       json_number_value(json_object_get(phase, "p50_us")),
	       json_number_value(json_object_get(phase, "p99_us")));
	if (flush)
		printf(", a flush %.0f us (99 %%: %.0f us)", json_number_value(flush),
		       json_number_value(json_object_get(phase, "flush_p99_us")));
	printf("\n");
}

static void prove_phases(const json_t *reply)
{
	prove_line(reply, "sequential_write", "1 MiB in order:");
	prove_line(reply, "random_write", "4 KiB anywhere:");
	prove_line(reply, "write_and_flush", "4 KiB and a flush:");
	prove_line(reply, "forced_write", "4 KiB forced (FUA):");
	prove_line(reply, "verify", "read back, 1 MiB:");
}

static const char *prove_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "not tried";
}

static double prove_number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* What is known of a device besides how fast it is. */
static void prove_device(const json_t *reply)
{
	const json_t *flush = json_object_get(reply, "flush"), *fua = json_object_get(reply, "fua");
	const json_t *atomic = json_object_get(reply, "atomic_write");
	const json_t *crashes = json_object_get(reply, "crashes");

	printf("%-22s %s (%s)\n", "keeps its flushes:", prove_text(flush, "promise"),
	       prove_text(flush, "why"));
	printf("%-22s %s (%s)\n", "keeps forced writes:", prove_text(fua, "promise"),
	       prove_text(fua, "why"));
	printf("%-22s %.0f us idle, %.0f us behind 4 KiB, %.0f us behind 32 MiB\n",
	       "a flush takes:", prove_number(flush, "idle_us"), prove_number(flush, "after_4k_us"),
	       prove_number(flush, "after_32m_us"));
	printf("%-22s %.0f bytes (%s)\n", "writes whole:", prove_number(atomic, "bytes"),
	       prove_text(atomic, "source"));
	if (prove_number(crashes, "states") > 0)
		printf("%-22s %.0f states of a pool on it, %.0f lost something\n",
		       "crashes:", prove_number(crashes, "states"),
		       prove_number(crashes, "failed"));
	else
		printf("%-22s none tried: that needs 64 MiB\n", "crashes:");
}

static int prove_verdict(struct command *command, json_t *reply, const char *what)
{
	const char *reason = prove_text(reply, "reason"), *verdict = prove_text(reply, "verdict");
	bool bad = strcmp(verdict, "bad") == 0;
	int status = say(command, json_incref(reply), "%.0f blocks verified, %.0f wrong: %s%s%s",
			 prove_number(reply, "verified_blocks"), prove_number(reply, "mismatches"),
			 verdict, *reason ? ": " : "", reason);

	json_decref(reply);
	return status == EXIT_GOOD && bad
		   ? command_fail("%s %s is not to be trusted", what, command->position[0])
		   : status;
}

/* A device or file that is no pool's yet. */
static int run_disk_prove(struct command *command, json_t *body)
{
	json_t *device = read_device(command->position[0]), *reply;
	int status;

	if (!device) {
		json_decref(body);
		return EXIT_FAILED;
	}
	json_object_update(body, device);
	json_decref(device);
	if (command_option(command, "force"))
		json_object_set_new(body, "force", json_true());
	status = command_call(command, "POST", body, &reply, "/api/v1/disks/prove");
	if (status)
		return status;
	if (command_option(command, "dry-run"))
		return say(command, reply, "%s", "");
	if (!command->json) {
		prove_phases(reply);
		prove_device(reply);
	}
	return prove_verdict(command, reply, "the storage of");
}

int run_pool_prove(struct command *command)
{
	const char *seconds = command_option(command, "seconds");
	json_t *reply, *body = json_object();
	char *end = NULL;
	int status;

	if (seconds)
		json_object_set_new(body, "seconds", json_integer(strtol(seconds, &end, 10)));
	if (end && (*end || end == seconds)) {
		json_decref(body);
		return command_fail("--seconds is a number, not %s", seconds);
	}
	if (strchr(command->position[0], '/'))
		return run_disk_prove(command, body);
	if (command_option(command, "force")) {
		json_decref(body);
		return command_fail("--force is for a device or file: nothing is written over in "
				    "a pool");
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/pools/%s/prove",
			      command->position[0]);
	if (status)
		return status;
	if (command_option(command, "dry-run"))
		return say(command, reply, "%s", "");
	if (!command->json)
		prove_phases(reply);
	return prove_verdict(command, reply, "the storage of pool");
}

static const struct column finding_columns[] = {
    {"TIME", "time", TEXT},     {"KIND", "kind", TEXT},
    {"VOLUME", "volume", TEXT}, {"OFFSET", "offset_bytes", NUMBER},
    {"LBA", "lba", NUMBER},     {"USED BY", "used_by", JOINED},
    {"TEXT", "text", TEXT},
};

int run_pool_findings(struct command *command)
{
	json_t *reply;
	bool clear = command_option(command, "clear") != NULL;
	int status = command_call(command, clear ? "DELETE" : "GET", NULL, &reply,
				  "/api/v1/pools/%s/findings", command->position[0]);

	if (status)
		return status;
	if (clear)
		return say(command, reply, "findings of pool %s cleared", command->position[0]);
	return table_print(command, reply, finding_columns,
			   sizeof finding_columns / sizeof *finding_columns);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int scrub_say(struct command *command, json_t *reply)
{
	long long errors = json_integer_value(json_object_get(reply, "errors"));
	long long repaired = json_integer_value(json_object_get(reply, "repaired"));
	char *state = strdup(text_of(reply, "state"));
	bool running = state && strcmp(state, "running") == 0;
	char eta[64] = "";
	int status;

	if (running)
		snprintf(eta, sizeof eta, ", %lld s to go",
			 json_integer_value(json_object_get(reply, "eta_seconds")));
	status =
	    say(command, reply, "scrub of pool %s: %s, %.0f %%, %lld errors, %lld repaired%s",
		command->position[0], state ? state : "",
		json_number_value(json_object_get(reply, "progress")) * 100, errors, repaired, eta);
	free(state);
	if (status == EXIT_GOOD && errors > repaired)
		return command_fail("pool %s is damaged: see \"granary pool findings %s\"",
				    command->position[0], command->position[0]);
	return status;
}

/* Until it runs no more. */
static int scrub_wait(struct command *command, json_t **reply)
{
	const struct timespec pause = {.tv_nsec = 200000000};

	while (strcmp(text_of(*reply, "state"), "running") == 0) {
		int status;

		json_decref(*reply);
		nanosleep(&pause, NULL);
		status = command_call(command, "GET", NULL, reply, "/api/v1/pools/%s/scrub",
				      command->position[0]);
		if (status)
			return status;
	}
	return EXIT_GOOD;
}

int run_pool_scrub(struct command *command)
{
	static const char *const actions[] = {"pause", "resume", "stop"};
	const char *action = "start", *rate = command_option(command, "rate");
	json_t *reply, *body;
	unsigned given = 0;
	int status;

	for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++)
		if (command_option(command, actions[i])) {
			action = actions[i];
			given++;
		}
	if (given > 1) {
		command_fail("only one of --pause, --resume and --stop");
		return EXIT_USAGE;
	}
	if (command_option(command, "status")) {
		status = command_call(command, "GET", NULL, &reply, "/api/v1/pools/%s/scrub",
				      command->position[0]);
	} else {
		body = json_pack("{s:s}", "action", action);
		if (rate)
			json_object_set_new(body, "rate", json_string(rate));
		status = command_call(command, "POST", body, &reply, "/api/v1/pools/%s/scrub",
				      command->position[0]);
	}
	if (status == EXIT_GOOD && command_option(command, "dry-run") &&
	    !command_option(command, "status"))
		return say(command, reply, "%s", "");
	if (status == EXIT_GOOD && command_option(command, "wait"))
		status = scrub_wait(command, &reply);
	return status ? status : scrub_say(command, reply);
}

int run_pool_set(struct command *command)
{
	const char *watermarks = command_option(command, "watermarks");
	const char *hours = command_option(command, "undelete-hours");
	const char *every = command_option(command, "scrub-every");
	json_t *body = json_object(), *reply;
	char *end;
	int status;

	if (!watermarks && !hours && !every) {
		json_decref(body);
		command_fail("nothing to set: give --watermarks, --scrub-every or "
			     "--undelete-hours");
		return EXIT_USAGE;
	}
	if (hours && (*hours < '0' || *hours > '9' || strtoul(hours, &end, 10) > 8760 || *end)) {
		json_decref(body);
		return command_fail("--undelete-hours is a number from 0 to 8760, not %s", hours);
	}
	if (every)
		json_object_set_new(body, "scrub_every", json_string(every));
	if (watermarks)
		json_object_set_new(body, "watermarks", json_string(watermarks));
	if (hours)
		json_object_set_new(body, "undelete_hours",
				    json_integer((json_int_t)strtoul(hours, NULL, 10)));
	status =
	    command_call(command, "PATCH", body, &reply, "/api/v1/pools/%s", command->position[0]);
	if (status)
		return status;
	if (every && !watermarks && !hours)
		return strcmp(every, "none") == 0
			   ? say(command, reply, "pool %s is scrubbed when somebody says so",
				 command->position[0])
			   : say(command, reply, "pool %s is scrubbed by itself: %s",
				 command->position[0], every);
	return watermarks
		   ? say(command, reply, "pool %s warns at %s %%", command->position[0], watermarks)
		   : say(command, reply, "pool %s keeps what is deleted for %s hours",
			 command->position[0], hours);
}

int run_pool_export(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", NULL, &reply, "/api/v1/pools/%s/export",
				  command->position[0]);

	return status ? status : say(command, reply, "pool %s exported", command->position[0]);
}

int run_pool_delete(struct command *command)
{
	json_t *reply;
	int status = command_confirm(command, "Delete this pool?");

	if (status >= 0)
		return status;
	status =
	    command_call(command, "DELETE", NULL, &reply, "/api/v1/pools/%s", command->position[0]);
	return status ? status : say(command, reply, "pool %s deleted", command->position[0]);
}
