/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct column target_columns[] = {
    {"IQN", "iqn", TEXT},
    {"STATE", "state", TEXT},
    {"LUNS", "luns", COUNT},
    {"RULES", "rules", COUNT},
    {"SESSIONS MAX", "max_sessions", NUMBER},
    {"PER INITIATOR", "max_sessions_per_initiator", NUMBER},
    {"ALIAS", "alias", TEXT},
    {"REASON", "reason", TEXT},
};
static const struct column rule_columns[] = {
    {"RULE", "rule", NUMBER},
    {"INITIATOR", "initiator", TEXT},
    {"NETWORK", "network", TEXT},
    {"CHAP USER", "chap_user", TEXT},
    {"MUTUAL USER", "mutual_user", TEXT},
};
static const struct column lun_columns[] = {
    {"LUN", "lun", NUMBER},
    {"POOL", "pool", TEXT},
    {"VOLUME", "volume", TEXT},
    {"TYPE", "type", TEXT},
    {"READ ONLY", "read_only", YES_NO},
    {"CACHE", "write_cache", YES_NO},
    {"STATE", "state", TEXT},
    {"REASON", "reason", TEXT},
};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

int run_target_create(struct command *command)
{
	const char *alias = command_option(command, "alias");
	json_t *reply;
	int status = command_call(
	    command, "POST",
	    json_pack("{s:s,s:s}", "iqn", command->position[0], "alias", alias ? alias : ""),
	    &reply, "/api/v1/targets");

	return status ? status
		      : say(command, reply,
			    "target %s created; \"granary target allow\" lets "
			    "initiators in",
			    command->position[0]);
}

int run_target_list(struct command *command)
{
	json_t *reply;
	int status = command_list(command, "", &reply, "/api/v1/targets");

	return status ? status
		      : table_print(command, reply, target_columns, COUNT_OF(target_columns));
}

int run_target_show(struct command *command)
{
	json_t *reply;
	int status =
	    command_call(command, "GET", NULL, &reply, "/api/v1/targets/%s", command->position[0]);

	if (status)
		return status;
	if (!command->json) {
		json_incref(reply);
		table_print(command, reply, target_columns, COUNT_OF(target_columns));
		printf("\n");
		table_rows(json_object_get(reply, "luns"), lun_columns, COUNT_OF(lun_columns));
		printf("\n");
		table_rows(json_object_get(reply, "rules"), rule_columns, COUNT_OF(rule_columns));
		json_decref(reply);
		return EXIT_GOOD;
	}
	return table_print(command, reply, target_columns, COUNT_OF(target_columns));
}

int run_target_redirect(struct command *command)
{
	const char *to = command->count > 1 ? command->position[1] : "";
	json_t *reply;
	int status = command_call(command, "PATCH", json_pack("{s:s}", "redirect", to), &reply,
				  "/api/v1/targets/%s", command->position[0]);

	if (status)
		return status;
	to = json_string_value(json_object_get(reply, "redirect"));
	return say(command, reply, "logins to %s are %s%s", command->position[0],
		   to && *to ? "sent to " : "served here", to ? to : "");
}

/* --@option into @body, if it was given; false: it is no number. */
static bool add_limit(struct command *command, json_t *body, const char *option, const char *member)
{
	const char *text = command_option(command, option);
	size_t digits = text ? strspn(text, "0123456789") : 0;

	if (!text)
		return true;
	if (digits == 0 || digits > 9 || text[digits]) {
		fprintf(stderr, "granary: --%s is a number; 0: no limit\n", option);
		return false;
	}
	return json_object_set_new(body, member, json_integer(strtol(text, NULL, 10))) == 0;
}

static bool add_events(struct command *command, json_t *body)
{
	const char *events = command_option(command, "async-events");

	if (!events)
		return true;
	if (strcmp(events, "on") != 0 && strcmp(events, "off") != 0) {
		fprintf(stderr, "granary: say --async-events on or off\n");
		return false;
	}
	return json_object_set_new(body, "async_events", json_boolean(!strcmp(events, "on"))) == 0;
}

int run_target_set(struct command *command)
{
	json_t *reply, *body = json_object();
	int status;

	if (!add_events(command, body) ||
	    !add_limit(command, body, "max-sessions", "max_sessions") ||
	    !add_limit(command, body, "max-sessions-per-initiator", "max_sessions_per_initiator")) {
		json_decref(body);
		return EXIT_USAGE;
	}
	if (json_object_size(body) == 0) {
		fprintf(stderr, "granary: say what to set: --async-events, --max-sessions or "
				"--max-sessions-per-initiator\n");
		json_decref(body);
		return EXIT_USAGE;
	}
	status = command_call(command, "PATCH", body, &reply, "/api/v1/targets/%s",
			      command->position[0]);
	return status ? status : say(command, reply, "target %s changed", command->position[0]);
}

int run_target_delete(struct command *command)
{
	json_t *reply;
	int status = command_confirm(command, "Drop this target's sessions and delete it?");

	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/targets/%s",
			      command->position[0]);
	return status ? status : say(command, reply, "target %s deleted", command->position[0]);
}

static int read_secret(const char *path, json_t **ret_secret)
{
	char text[COMMAND_SECRET_MAX + 1];
	int status = command_secret(path, "CHAP secret", 12, 255, text);

	if (status)
		return status;
	*ret_secret = json_string(text);
	explicit_bzero(text, sizeof text);
	return *ret_secret ? 0 : command_fail("%s: a CHAP secret is UTF-8 text", path);
}

/* --WHAT-user and --WHAT-secret-file into @body; both or none. */
int command_add_chap(struct command *command, json_t *body, const char *what)
{
	char user_option[32], file_option[32], user_key[32], secret_key[32];
	const char *user, *file;
	json_t *secret = NULL;
	int status;

	snprintf(user_option, sizeof user_option, "%s-user", what);
	snprintf(file_option, sizeof file_option, "%s-secret-file", what);
	snprintf(user_key, sizeof user_key, "%s_user", what);
	snprintf(secret_key, sizeof secret_key, "%s_secret", what);
	user = command_option(command, user_option);
	file = command_option(command, file_option);
	if (!user && !file)
		return 0;
	if (!user || !file) {
		fprintf(stderr, "granary: --%s and --%s belong together\n", user_option,
			file_option);
		return EXIT_USAGE;
	}
	status = read_secret(file, &secret);
	if (status)
		return status;
	json_object_set_new(body, user_key, json_string(user));
	json_object_set_new(body, secret_key, secret);
	return 0;
}

int run_target_allow(struct command *command)
{
	const char *initiator = command_option(command, "initiator");
	const char *network = command_option(command, "network");
	json_t *body = json_pack("{s:s,s:s}", "initiator", initiator ? initiator : "any", "network",
				 network ? network : "any");
	json_t *reply;
	int status = command_add_chap(command, body, "chap");

	if (!status)
		status = command_add_chap(command, body, "mutual");
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/targets/%s/rules",
			      command->position[0]);
	return status ? status
		      : say(command, reply, "target %s lets in initiator %s from %s",
			    command->position[0], initiator ? initiator : "any",
			    network ? network : "anywhere");
}

int run_target_deny(struct command *command)
{
	const char *rule = command_option(command, "rule");
	const char *initiator = command_option(command, "initiator");
	const char *network = command_option(command, "network");
	json_t *body, *reply;
	char *end;
	int status;

	if (command_option(command, "all")) {
		body = json_pack("{s:b}", "all", 1);
	} else if (rule) {
		long long id = strtoll(rule, &end, 10);

		if (*end || id < 1)
			return command_fail("%s is no rule's id", rule);
		body = json_pack("{s:I}", "rule", (json_int_t)id);
	} else if (initiator || network) {
		body = json_pack("{s:s,s:s}", "initiator", initiator ? initiator : "any", "network",
				 network ? network : "any");
	} else {
		fprintf(stderr, "granary: say which: --rule, --initiator, --network or --all\n");
		return EXIT_USAGE;
	}
	status = command_call(command, "DELETE", body, &reply, "/api/v1/targets/%s/rules",
			      command->position[0]);
	return status ? status
		      : say(command, reply, "target %s has %zu rules left", command->position[0],
			    json_array_size(json_object_get(reply, "rules")));
}

int run_target_rules(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/targets/%s/rules",
				  command->position[0]);

	return status ? status : table_print(command, reply, rule_columns, COUNT_OF(rule_columns));
}

static bool read_number(const char *text, unsigned long *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9' || strlen(text) > 9)
		return false;
	*ret_number = strtoul(text, &end, 10);
	return *end == '\0';
}

int run_lun_map(struct command *command)
{
	const char *lun = command_option(command, "lun"), *volume = command->position[1];
	const char *slash = strchr(volume, '/');
	unsigned long number;
	json_t *body, *reply;
	int status;

	if (!slash || slash == volume || !slash[1])
		return command_fail("a volume is named POOL/NAME, not %s", volume);
	body =
	    json_pack("{s:s%,s:s}", "pool", volume, (size_t)(slash - volume), "volume", slash + 1);
	if (lun && !read_number(lun, &number)) {
		json_decref(body);
		return command_fail("a LUN is a number from 0 to 16383, not %s", lun);
	}
	if (lun)
		json_object_set_new(body, "lun", json_integer((json_int_t)number));
	if (command_option(command, "ro"))
		json_object_set_new(body, "read_only", json_true());
	if (command_option(command, "cdrom"))
		json_object_set_new(body, "type", json_string("cdrom"));
	status = command_call(command, "POST", body, &reply, "/api/v1/targets/%s/luns",
			      command->position[0]);
	return status
		   ? status
		   : say(command, reply, "volume %s is LUN %lld of %s", volume,
			 json_integer_value(json_object_get(reply, "lun")), command->position[0]);
}

int run_lun_set(struct command *command)
{
	bool read_only = command_option(command, "ro") != NULL;
	bool writable = command_option(command, "rw") != NULL;
	const char *cache = command_option(command, "write-cache");
	json_t *reply, *body;
	int status;

	if ((read_only && writable) || (!read_only && !writable && !cache) ||
	    (cache && strcmp(cache, "on") != 0 && strcmp(cache, "off") != 0)) {
		fprintf(stderr, "granary: say --ro or --rw, --write-cache on or off\n");
		return EXIT_USAGE;
	}
	body = json_object();
	if (read_only || writable)
		json_object_set_new(body, "read_only", json_boolean(read_only));
	if (cache)
		json_object_set_new(body, "write_cache", json_boolean(strcmp(cache, "on") == 0));
	status = command_call(command, "PATCH", body, &reply, "/api/v1/targets/%s/luns/%s",
			      command->position[0], command->position[1]);
	if (status)
		return status;
	read_only = json_is_true(json_object_get(reply, "read_only"));
	return say(command, reply, "LUN %s of %s is %s%s%s", command->position[1],
		   command->position[0], read_only ? "read only" : "writable",
		   cache ? "; its write cache is " : "", cache ? cache : "");
}

int run_lun_unmap(struct command *command)
{
	unsigned long number;
	json_t *reply;
	int status;

	if (!read_number(command->position[1], &number))
		return command_fail("a LUN is a number from 0 to 16383, not %s",
				    command->position[1]);
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/targets/%s/luns/%s",
			      command->position[0], command->position[1]);
	return status ? status
		      : say(command, reply, "LUN %lu of %s is gone", number, command->position[0]);
}

/* The LUNs of all targets, each with its target's name. */
static json_t *all_luns(const json_t *targets)
{
	json_t *list = json_array(), *target, *lun;
	size_t i, j;

	json_array_foreach(targets, i, target)
	{
		json_array_foreach(json_object_get(target, "luns"), j, lun)
		{
			json_object_set(lun, "target", json_object_get(target, "iqn"));
			json_array_append(list, lun);
		}
	}
	return list;
}

int run_lun_list(struct command *command)
{
	static const struct column with_target[] = {
	    {"TARGET", "target", TEXT},       {"LUN", "lun", NUMBER},
	    {"POOL", "pool", TEXT},           {"VOLUME", "volume", TEXT},
	    {"TYPE", "type", TEXT},           {"READ ONLY", "read_only", YES_NO},
	    {"CACHE", "write_cache", YES_NO}, {"STATE", "state", TEXT},
	    {"REASON", "reason", TEXT},
	};
	json_t *reply, *list;
	int status;

	if (command->count == 1) {
		status = command_call(command, "GET", NULL, &reply, "/api/v1/targets/%s/luns",
				      command->position[0]);
		return status ? status
			      : table_print(command, reply, lun_columns, COUNT_OF(lun_columns));
	}
	status = command_call(command, "GET", NULL, &reply, "/api/v1/targets");
	if (status)
		return status;
	list = all_luns(reply);
	json_decref(reply);
	return table_print(command, list, with_target, COUNT_OF(with_target));
}
