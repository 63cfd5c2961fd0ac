/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/size.h"

static const struct column peer_columns[] = {
    {"NODE", "name", TEXT},
    {"ADDRESS", "address", TEXT},
    {"PORT", "port", NUMBER},
    {"UUID", "uuid", TEXT},
};
static const struct column key_fields[] = {
    {"CERTIFICATE", "fingerprint", TEXT}, {"STATE", "state", TEXT},
    {"NEXT", "next_fingerprint", TEXT},   {"NOT CONFIRMED BY", "waiting_nodes", JOINED},
    {"REASONS", "reasons", JOINED},
};
static const struct column group_columns[] = {
    {"GROUP", "name", TEXT},
    {"ROLE", "role", TEXT},
    {"STATE", "state", TEXT},
    {"PEER", "peer", TEXT},
    {"LAG (S)", "lag_seconds", NUMBER},
    {"EPOCH", "sealed_epoch", NUMBER},
};
static const struct column group_fields[] = {
    {"GROUP", "name", TEXT},
    {"ROLE", "role", TEXT},
    {"STATE", "state", TEXT},
    {"ALARMS", "alarms", JOINED},
    {"REASON", "reason", TEXT},
    {"PEER", "peer", TEXT},
    {"MEMBERS", "members", JOINED},
    {"SEALED EPOCH", "sealed_epoch", NUMBER},
    {"LAG (SECONDS)", "lag_seconds", NUMBER},
    {"LAG (BYTES)", "lag_bytes", SIZE},
    {"LAG (BYTES) SAID (SECONDS AGO)", "lag_bytes_age_seconds", NUMBER},
    {"LAG (EPOCHS)", "lag_epochs", NUMBER},
    {"RPO (SECONDS)", "rpo_seconds", NUMBER},
    {"LIMIT (A SECOND)", "limit_bytes", SIZE},
    {"LIMIT AT", "limit_at", TEXT},
    {"LIMIT NOW (A SECOND)", "limit_now_bytes", SIZE},
    {"RATE (A SECOND)", "bytes_per_second", SIZE},
    {"SENT", "sent_bytes", SIZE},
    {"SENT, UNCOMPRESSED", "uncompressed_bytes", SIZE},
    {"COMPRESSION", "compression", TEXT},
    {"PROTECTION", "protection", TEXT},
    {"WRITES HELD (SECONDS)", "held_seconds", NUMBER},
    {"PROTOCOL", "protocol", NUMBER},
    {"WITNESS", "witness_node", TEXT},
    {"LEASE", "witness_state", TEXT},
    {"LEASE LEFT (SECONDS)", "witness_left_seconds", NUMBER},
    {"WITNESS SAYS", "witness_reason", TEXT},
    {"REQUESTS WAITING", "witness_waiting", NUMBER},
    {"POINTS KEPT", "points", TEXT},
    {"POINTS TROUBLE", "points_trouble", TEXT},
};
static const struct column point_columns[] = {
    {"EPOCH", "epoch", NUMBER},
    {"TIME", "time", TIME},
    {"IN USE", "in_use", YES_NO},
    {"SNAPSHOTS", "snapshots", JOINED},
};
static const struct column lease_columns[] = {
    {"GROUP", "group", TEXT},         {"HOLDER", "holder", TEXT},
    {"LEASE (S)", "seconds", NUMBER}, {"LEFT (S)", "left_seconds", NUMBER},
    {"GIVEN UP", "off", YES_NO},
};
static const struct column clone_columns[] = {
    {"VOLUME", "volume", TEXT},
    {"SNAPSHOT", "snapshot", TEXT},
};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

int run_replica_code(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", NULL, &reply, "/api/v1/replica/code");

	return status ? status
		      : say(command, reply,
			    "%s\nType it on the other node within ten minutes:\n"
			    "  granary replica pair THIS-NODE CODE",
			    json_string_value(json_object_get(reply, "code")));
}

int run_replica_pair(struct command *command)
{
	json_t *reply;
	int status = command_call(
	    command, "POST",
	    json_pack("{s:s,s:s}", "address", command->position[0], "code", command->position[1]),
	    &reply, "/api/v1/replica/peers");

	return status ? status : say(command, reply, "paired with %s", command->position[0]);
}

int run_replica_peers(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/replica/peers");

	return status ? status : table_print(command, reply, peer_columns, COUNT_OF(peer_columns));
}

/* An array of objects: the texts of one member of each. */
static json_t *pick(const json_t *list, const char *key)
{
	json_t *texts = json_array(), *item;
	size_t index;

	json_array_foreach((json_t *)list, index, item)
	    json_array_append(texts, json_object_get(item, key));
	return texts;
}

static int show_key(struct command *command, json_t *reply)
{
	const json_t *waiting = json_object_get(reply, "waiting");

	json_object_set_new(reply, "waiting_nodes", pick(waiting, "name"));
	json_object_set_new(reply, "reasons", pick(waiting, "reason"));
	return table_print(command, reply, key_fields, COUNT_OF(key_fields));
}

int run_replica_key(struct command *command)
{
	const char *what = command->count ? command->position[0] : "show";
	json_t *reply;
	int status;

	if (strcmp(what, "show") == 0) {
		status = command_call(command, "GET", NULL, &reply, "/api/v1/replica/key");
		return status ? status : show_key(command, reply);
	}
	if (strcmp(what, "cancel") == 0) {
		status = command_call(command, "DELETE", NULL, &reply, "/api/v1/replica/key/next");
		return status ? status : say(command, reply, "the key stays what it is");
	}
	if (strcmp(what, "renew") != 0)
		return command_fail("key show, key renew or key cancel");
	status = command_call(command, "POST", NULL, &reply, "/api/v1/replica/key");
	return status ? status
		      : say(command, reply,
			    "paired nodes are being told of the new key; it is this node's when "
			    "each of them has confirmed it (granary replica key)");
}

int run_replica_peer(struct command *command)
{
	const char *address = command_option(command, "address");
	json_t *reply;
	int status;

	if (strcmp(command->position[0], "set") != 0 || !address)
		return command_fail("peer set NODE --address ADDR[:PORT]");
	status = command_call(command, "PATCH", json_pack("{s:s}", "address", address), &reply,
			      "/api/v1/replica/peers/%s", command->position[1]);
	return status ? status
		      : say(command, reply, "%s is called at %s port %lld from now on",
			    json_string_value(json_object_get(reply, "name")),
			    json_string_value(json_object_get(reply, "address")),
			    (long long)json_integer_value(json_object_get(reply, "port")));
}

int run_replica_unpair(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "DELETE", NULL, &reply, "/api/v1/replica/peers/%s",
				  command->position[0]);

	return status ? status : say(command, reply, "%s is forgotten", command->position[0]);
}

static const struct {
	const char *option, *key;
} settings[] = {{"rpo", "rpo"},
		{"limit", "limit"},
		{"limit-at", "limit_at"},
		{"points", "points"},
		{"compression", "compression"},
		{"seed", "seed"}};

/* False with the sentence printed. */
static bool add_settings(const struct command *command, json_t *body)
{
	const char *protect = command_option(command, "protect");

	for (unsigned i = 0; i < COUNT_OF(settings); i++) {
		const char *value = command_option(command, settings[i].option);

		if (value)
			json_object_set_new(body, settings[i].key, json_string(value));
	}
	if (!protect)
		return true;
	if (strcmp(protect, "on") != 0 && strcmp(protect, "off") != 0) {
		fprintf(stderr, "granary: --protect is on or off\n");
		return false;
	}
	json_object_set_new(body, "protect", json_boolean(strcmp(protect, "on") == 0));
	return true;
}

static int group_create(struct command *command)
{
	const char *peer = command_option(command, "peer");
	json_t *members = json_array(), *body, *reply;
	int status;

	for (unsigned i = 2; i < command->count; i++)
		json_array_append_new(members, json_string(command->position[i]));
	if (!peer || json_array_size(members) == 0) {
		json_decref(members);
		return command_fail("a group needs --peer NODE and at least one member POOL/NAME");
	}
	body = json_pack("{s:s,s:s,s:o}", "name", command->position[1], "peer", peer, "members",
			 members);
	if (!add_settings(command, body)) {
		json_decref(body);
		return EXIT_USAGE;
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/replica/groups");
	return status ? status
		      : say(command, reply, "group %s is replicated to %s", command->position[1],
			    peer);
}

/* A table's columns are keys of one object. */
static void flatten_witness(json_t *group)
{
	json_t *witness = json_object_get(group, "witness"), *value;
	const char *key;

	json_object_foreach(witness, key, value)
	{
		char flat[64];

		snprintf(flat, sizeof flat, "witness_%s", key);
		json_object_set(group, flat, value);
	}
}

static int group_status(struct command *command)
{
	json_t *reply;
	int status = command->count > 1
			 ? command_call(command, "GET", NULL, &reply, "/api/v1/replica/groups/%s",
					command->position[1])
			 : command_call(command, "GET", NULL, &reply, "/api/v1/replica/groups");

	if (status)
		return status;
	if (!command->json && command->count > 1) {
		flatten_witness(reply);
		if (!json_object_get(reply, "lag_bytes"))
			json_object_set_new(reply, "lag_bytes", json_string("not known"));
	}
	return command->count > 1
		   ? table_print(command, reply, group_fields, COUNT_OF(group_fields))
		   : table_print(command, reply, group_columns, COUNT_OF(group_columns));
}

static int act(struct command *command, const char *group, const char *action)
{
	json_t *reply;
	int status = command_call(command, "POST", json_pack("{s:s}", "action", action), &reply,
				  "/api/v1/replica/groups/%s", group);

	return status ? status : say(command, reply, "group %s: %s done", group, action);
}

static int group_delete(struct command *command)
{
	int status = command_confirm(command, "Stop replicating this group? Volumes stay.");

	return status >= 0 ? status : act(command, command->position[1], "delete");
}

static int group_set(struct command *command)
{
	json_t *body = json_object(), *reply;
	int status;

	if (!add_settings(command, body)) {
		json_decref(body);
		return EXIT_USAGE;
	}
	if (json_object_size(body) == 0) {
		json_decref(body);
		return command_fail("group set needs one of --rpo, --limit, --limit-at, --points, "
				    "--compression, --seed and --protect");
	}
	status = command_call(command, "PATCH", body, &reply, "/api/v1/replica/groups/%s",
			      command->position[1]);
	return status ? status : say(command, reply, "group %s is changed", command->position[1]);
}

static int change_members(struct command *command, const char *how, const char *said)
{
	json_t *members = json_array(), *reply;
	int status;

	for (unsigned i = 2; i < command->count; i++)
		json_array_append_new(members, json_string(command->position[i]));
	status = command_call(command, "PATCH", json_pack("{s:o}", how, members), &reply,
			      "/api/v1/replica/groups/%s", command->position[1]);
	return status ? status : say(command, reply, "group %s: %s", command->position[1], said);
}

static int group_address(struct command *command)
{
	const char *how = command->position[1], *group = command->position[2];
	const char *address = command->position[3],
		   *interface = command_option(command, "interface");
	bool add = strcmp(how, "add") == 0;
	json_t *body, *reply;
	int status;

	if (!add && strcmp(how, "remove") != 0)
		return command_fail("group address add|remove GROUP ADDR/PREFIX [--interface IF]");
	body = json_pack("{s:s}", add ? "add_address" : "remove_address", address);
	if (interface)
		json_object_set_new(body, "interface", json_string(interface));
	status = command_call(command, "PATCH", body, &reply, "/api/v1/replica/groups/%s", group);
	return status ? status
		      : say(command, reply,
			    add ? "address %s is where group %s is served"
				: "address %s is not group %s's any more",
			    address, group);
}

static int witness_off(struct command *command)
{
	bool force = command_option(command, "force") != NULL;
	int status =
	    force ? command_confirm(command, "Go on without asking the witness? When the other "
					     "machine has promoted itself, or does so yet, both "
					     "serve the group and their images part.")
		  : -1;
	json_t *reply;

	if (status >= 0)
		return status;
	status = command_call(command, "POST", json_pack("{s:s,s:b}", "node", "", "force", force),
			      &reply, "/api/v1/replica/groups/%s/witness", command->position[1]);
	return status
		   ? status
		   : say(command, reply, "group %s: its standby does not promote itself any more",
			 command->position[1]);
}

static int group_witness(struct command *command)
{
	const char *node = command->position[2], *lease = command_option(command, "lease");
	json_t *body, *reply;
	int status;

	if (strcmp(node, "off") == 0)
		return witness_off(command);
	body = json_pack("{s:s}", "node", node);
	if (lease)
		json_object_set_new(body, "lease", json_string(lease));
	status = command_call(command, "POST", body, &reply, "/api/v1/replica/groups/%s/witness",
			      command->position[1]);
	return status
		   ? status
		   : say(command, reply,
			 "group %s: %s grants its lease, and its standby promotes itself when it "
			 "has got it",
			 command->position[1], node);
}

int run_replica_leases(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/replica/leases");

	return status ? status
		      : table_print(command, reply, lease_columns, COUNT_OF(lease_columns));
}

static int group_add(struct command *command)
{
	return change_members(command, "add",
			      "its standby is being filled, and has them from an epoch to come on");
}

static int group_remove(struct command *command)
{
	return change_members(command, "remove", "replicated no more; the volumes stay");
}

static int group_points(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/replica/groups/%s/points",
				  command->position[1]);

	return status ? status
		      : table_print(command, reply, point_columns, COUNT_OF(point_columns));
}

int run_replica_point(struct command *command)
{
	json_t *names = json_array(), *reply;
	int status;

	if (strcmp(command->position[0], "clone") != 0) {
		json_decref(names);
		return command_fail("point clone GROUP EPOCH [POOL/NEW...]");
	}
	for (unsigned i = 3; i < command->count; i++)
		json_array_append_new(names, json_string(command->position[i]));
	status = command_call(command, "POST", json_pack("{s:o}", "names", names), &reply,
			      "/api/v1/replica/groups/%s/points/%s/clones", command->position[1],
			      command->position[2]);
	return status ? status
		      : table_print(command, reply, clone_columns, COUNT_OF(clone_columns));
}

int run_replica_group(struct command *command)
{
	static const struct {
		const char *name;
		unsigned least;
		int (*run)(struct command *command);
	} table[] = {
	    {"create", 3, group_create}, {"status", 1, group_status},
	    {"list", 1, group_status},   {"delete", 2, group_delete},
	    {"set", 2, group_set},       {"add", 3, group_add},
	    {"remove", 3, group_remove}, {"address", 4, group_address},
	    {"points", 2, group_points}, {"witness", 3, group_witness},
	};

	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		if (strcmp(table[i].name, command->position[0]) == 0 &&
		    command->count >= table[i].least)
			return table[i].run(command);
	}
	return command_fail("group create GROUP MEMBER... --peer NODE, group status [GROUP], group "
			    "add|remove GROUP MEMBER..., group address add|remove GROUP "
			    "ADDR/PREFIX, group set GROUP, group points GROUP, group witness GROUP "
			    "NODE|off or group delete GROUP");
}

/* ---- a seed on a disk ---- */
static bool whole_path(const char *path, char whole[PATH_MAX])
{
	char here[PATH_MAX];

	if (path[0] == '/')
		return snprintf(whole, PATH_MAX, "%s", path) < PATH_MAX;
	return getcwd(here, sizeof here) &&
	       snprintf(whole, PATH_MAX, "%s/%s", here, path) < PATH_MAX;
}

static void show_progress(const json_t *seed, bool last)
{
	json_int_t done = json_integer_value(json_object_get(seed, "done_bytes"));
	json_int_t total = json_integer_value(json_object_get(seed, "total_bytes"));

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r%-12s %3d %%%s", json_string_value(json_object_get(seed, "state")),
		total > 0 ? (int)((double)done * 100 / (double)total) : 0, last ? "\n" : "");
}

/* Until it is over; @group is how it began, and is let go of. */
static int watch_seed(struct command *command, json_t *group)
{
	const struct timespec pause = {.tv_nsec = 300000000};
	json_t *seed = json_object_get(group, "seed");

	while (json_is_true(json_object_get(seed, "running"))) {
		char name[128];
		int status;

		show_progress(seed, false);
		nanosleep(&pause, NULL);
		snprintf(name, sizeof name, "%s",
			 json_string_value(json_object_get(group, "name")));
		json_decref(group);
		status =
		    command_call(command, "GET", NULL, &group, "/api/v1/replica/groups/%s", name);
		if (status)
			return status;
		seed = json_object_get(group, "seed");
	}
	show_progress(seed, true);
	if (strcmp(json_string_value(json_object_get(seed, "state")), "failed") == 0) {
		int status = command_fail("%s", json_string_value(json_object_get(seed, "reason")));

		json_decref(group);
		return status;
	}
	return say(command, group, "%s is %s, as of epoch %lld of group %s",
		   json_string_value(json_object_get(seed, "path")),
		   json_string_value(json_object_get(seed, "state")),
		   (long long)json_integer_value(json_object_get(seed, "epoch")),
		   json_string_value(json_object_get(group, "name")));
}

int run_replica_seed(struct command *command)
{
	const char *what = command->position[0];
	char path[PATH_MAX];
	json_t *group;
	int status;

	if (strcmp(what, "cancel") == 0 && command->count == 2) {
		status = command_call(command, "DELETE", NULL, &group,
				      "/api/v1/replica/groups/%s/seed", command->position[1]);
		return status ? status : say(command, group, "it is being stopped");
	}
	if (!((strcmp(what, "export") == 0 && command->count == 3) ||
	      (strcmp(what, "import") == 0 && command->count == 2)))
		return command_fail("seed export GROUP FILE|DIR, seed import FILE or seed cancel "
				    "GROUP");
	if (!whole_path(command->position[command->count - 1], path))
		return command_fail("that path is too long");
	if (command->count == 3)
		status = command_call(command, "POST", json_pack("{s:s}", "path", path), &group,
				      "/api/v1/replica/groups/%s/seed", command->position[1]);
	else
		status = command_call(command, "POST", json_pack("{s:s}", "path", path), &group,
				      "/api/v1/replica/seeds");
	if (status == EXIT_GOOD && command_option(command, "dry-run"))
		return say(command, group, "%s", "");
	return status ? status : watch_seed(command, group);
}

static void say_newer(const json_t *group, char *text, size_t size)
{
	const json_t *bytes = json_object_get(group, "lag_bytes");
	char amount[32];

	if (!bytes) {
		snprintf(text, size, "how many bytes is not known");
		return;
	}
	size_format((uint64_t)json_integer_value(bytes), amount, sizeof amount);
	snprintf(text, size, "at most %s when that spoke last, %.1f seconds ago", amount,
		 json_number_value(json_object_get(group, "lag_bytes_age_seconds")));
}

/* What is lost is said before it is asked; and afterwards, for where nobody is asked. */
int run_replica_promote(struct command *command)
{
	char question[400], newer[200];
	json_t *reply;
	double seconds;
	long long epoch;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/replica/groups/%s",
				  command->position[0]);

	if (status)
		return status;
	say_newer(reply, newer, sizeof newer);
	seconds = json_number_value(json_object_get(reply, "lag_seconds"));
	epoch = json_integer_value(json_object_get(reply, "sealed_epoch"));
	json_decref(reply);
	snprintf(question, sizeof question,
		 "Promote group %s as it was %.1f seconds ago (epoch %lld)? What its primary took "
		 "since then is not in it: %s.",
		 command->position[0], seconds, epoch, newer);
	status = command_ask(command, question);
	if (status < 0)
		status = command_call(command, "POST", json_pack("{s:s}", "action", "promote"),
				      &reply, "/api/v1/replica/groups/%s", command->position[0]);
	return status ? status
		      : say(command, reply,
			    "group %s: promote done, as it was %.1f seconds before (epoch %lld); "
			    "what its "
			    "primary took since then is not in it: %s",
			    command->position[0], seconds, epoch, newer);
}

int run_replica_demote(struct command *command)
{
	int status = command_ask(command, "Demote this node? What only it holds of the group "
					  "is replaced by what the new primary sends.");

	return status >= 0 ? status : act(command, command->position[0], "demote");
}

int run_replica_switchover(struct command *command)
{
	return act(command, command->position[0], "switchover");
}

int run_replica_failback(struct command *command)
{
	int status = command_ask(command, "Make this node the primary again? What only it "
					  "holds of the group is replaced by what the present "
					  "primary sends first.");

	return status >= 0 ? status : act(command, command->position[0], "failback");
}

int run_replica_verify(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", json_pack("{s:s}", "action", "verify"), &reply,
				  "/api/v1/replica/groups/%s", command->position[0]);

	return status ? status
		      : say(command, reply,
			    "group %s is being compared with its standby; see granary replica "
			    "group status %s -o json",
			    command->position[0], command->position[0]);
}

int run_replica_pause(struct command *command)
{
	return act(command, command->position[0], "pause");
}

int run_replica_resume(struct command *command)
{
	return act(command, command->position[0], "resume");
}
