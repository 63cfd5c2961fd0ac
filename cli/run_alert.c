/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct column alert_columns[] = {
    {"ID", "id", NUMBER},         {"SEVERITY", "severity", TEXT}, {"STATE", "state", TEXT},
    {"SINCE", "fired", TIME},     {"CLEARED", "cleared", TIME},   {"WHAT", "text", TEXT},
    {"WHAT TO DO", "todo", TEXT},
};
static const struct column alert_columns_zh[] = {
    {"ID", "id", NUMBER},
    {"SEVERITY", "severity", TEXT},
    {"STATE", "state", TEXT},
    {"SINCE", "fired", TIME},
    {"CLEARED", "cleared", TIME},
    {"WHAT", "text_zh", TEXT},
    {"WHAT TO DO", "todo_zh", TEXT},
};
static const struct column rule_columns[] = {
    {"RULE", "rule", TEXT},
    {"ENABLED", "enabled", YES_NO},
    {"SEVERITY", "severity", TEXT},
    {"AFTER", "after_seconds", DURATION},
    {"CLEAR", "clear_seconds", DURATION},
    {"LEVEL", "level", NUMBER},
    {"UNIT", "unit", TEXT},
};
static const struct column silence_columns[] = {
    {"ID", "id", NUMBER},     {"RULE", "rule", TEXT}, {"OBJECT", "object", TEXT},
    {"UNTIL", "until", TIME}, {"BY", "by", TEXT},     {"REASON", "reason", TEXT},
};
static const struct column channel_columns[] = {
    {"NAME", "name", TEXT},
    {"KIND", "kind", TEXT},
    {"PRESET", "preset", TEXT},
    {"PLACE", "place", TEXT},
    {"FROM SEVERITY", "severity", TEXT},
    {"ENABLED", "enabled", YES_NO},
    {"QUEUED", "queued", NUMBER},
    {"DELIVERED", "delivered", NUMBER},
    {"ERROR", "error", TEXT},
};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* LANG=zh_CN.UTF-8 and its like. */
static bool reads_chinese(void)
{
	static const char *const names[] = {"LC_ALL", "LC_MESSAGES", "LANG"};

	for (unsigned i = 0; i < COUNT_OF(names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return strncmp(value, "zh", 2) == 0;
	}
	return false;
}

static int print_alerts(struct command *command, json_t *reply)
{
	return reads_chinese()
		   ? table_print(command, reply, alert_columns_zh, COUNT_OF(alert_columns_zh))
		   : table_print(command, reply, alert_columns, COUNT_OF(alert_columns));
}

int run_alert_list(struct command *command)
{
	json_t *reply;
	int status = command_option(command, "all")
			 ? command_call(command, "GET", NULL, &reply, "/api/v1/alerts?all=1")
			 : command_call(command, "GET", NULL, &reply, "/api/v1/alerts");

	return status ? status : print_alerts(command, reply);
}

int run_alert_ack(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", NULL, &reply, "/api/v1/alerts/%s/ack",
				  command->position[0]);

	return status ? status
		      : say(command, reply,
			    "alert %s is acknowledged: it says no more until it has "
			    "cleared",
			    command->position[0]);
}

int run_alert_silence(struct command *command)
{
	const char *duration = command_option(command, "for");
	const char *reason = command_option(command, "reason");
	const char *object = command->count > 1 ? command->position[1] : "";
	json_t *body, *reply;
	int status;

	if (command_option(command, "list")) {
		status = command_call(command, "GET", NULL, &reply, "/api/v1/alert-silences");
		return status ? status
			      : table_print(command, reply, silence_columns,
					    COUNT_OF(silence_columns));
	}
	if (command_option(command, "end")) {
		status = command_call(command, "DELETE", NULL, &reply, "/api/v1/alert-silences/%s",
				      command_option(command, "end"));
		return status ? status : say(command, reply, "the silence has ended");
	}
	if (!command->count || !duration)
		return command_fail(
		    "say which rule (\"all\" for every one), and --for how long: 2h");
	body = json_pack("{s:s,s:s,s:s,s:s}", "for", duration, "rule",
			 strcmp(command->position[0], "all") == 0 ? "" : command->position[0],
			 "object", object, "reason", reason ? reason : "");
	status = command_call(command, "POST", body, &reply, "/api/v1/alert-silences");
	return status ? status
		      : say(command, reply,
			    "silenced for %s; \"granary alert silence --end %lld\" ends "
			    "it",
			    duration, (long long)json_integer_value(json_object_get(reply, "id")));
}

int run_alert_rule_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/alert-rules");

	return status ? status : table_print(command, reply, rule_columns, COUNT_OF(rule_columns));
}

/* The options that are given, under the names that the API has. */
static void add_options(struct command *command, json_t *body, const char *const *names,
			unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const char *value = command_option(command, names[i]);

		if (value)
			json_object_set_new(body, names[i], json_string(value));
	}
}

static int add_on_off(struct command *command, json_t *body)
{
	bool on = command_option(command, "on") != NULL,
	     off = command_option(command, "off") != NULL;

	if (on && off)
		return command_fail("--on or --off, not both");
	if (on || off)
		json_object_set_new(body, "enabled", json_boolean(on));
	return 0;
}

int run_alert_rule_set(struct command *command)
{
	static const char *const names[] = {"severity", "after"};
	const char *clear = command_option(command, "clear-after");
	const char *level = command_option(command, "level");
	json_t *body = json_object(), *reply;
	int status;
	char *end;

	add_options(command, body, names, COUNT_OF(names));
	if (clear)
		json_object_set_new(body, "clear", json_string(clear));
	status = add_on_off(command, body);
	if (!status && level) {
		long number = strtol(level, &end, 10);

		if (*end || number < 1)
			status = command_fail("%s is no level", level);
		json_object_set_new(body, "level", json_integer(number));
	}
	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "PATCH", body, &reply, "/api/v1/alert-rules/%s",
			      command->position[0]);
	return status ? status : table_print(command, reply, rule_columns, COUNT_OF(rule_columns));
}

/* ---- channels ---- */
static int add_secret(struct command *command, json_t *body, const char *option, const char *member)
{
	const char *path = command_option(command, option);
	char text[COMMAND_SECRET_MAX + 1];
	int status = path ? command_secret(path, member, 1, 255, text) : 0;

	if (path && !status && json_object_set_new(body, member, json_string(text)) < 0)
		status = command_fail("%s: it is UTF-8 text", path);
	explicit_bzero(text, sizeof text);
	return status;
}

#define CA_MAX 16384

static int add_ca(struct command *command, json_t *body)
{
	const char *path = command_option(command, "ca-file");
	char text[CA_MAX + 2]; /* a byte too many is for the daemon to refuse */
	ssize_t length;
	int fd;

	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? -1 : read(fd, text, CA_MAX + 1);
	if (fd >= 0)
		close(fd);
	if (length < 0)
		return command_fail("%s: %s", path, strerror(errno));
	text[length] = '\0';
	json_object_set_new(body, "ca", json_string(text));
	return 0;
}

static int add_audit(struct command *command, json_t *body)
{
	const char *audit = command_option(command, "audit");

	if (audit && strcmp(audit, "yes") != 0 && strcmp(audit, "no") != 0)
		return command_fail("--audit is yes or no");
	if (audit)
		json_object_set_new(body, "audit", json_boolean(*audit == 'y'));
	return 0;
}

/* What "channel create" and "channel set" have in common; @body is wiped of what could not be. */
static int read_channel(struct command *command, json_t *body)
{
	static const char *const names[] = {"url",  "preset",   "from",
					    "user", "language", "severity"};
	const char *to = command_option(command, "to");
	json_t *list = json_array();
	int status;

	add_options(command, body, names, COUNT_OF(names));
	for (const char *at = to; at && *at;) {
		size_t length = strcspn(at, ",");

		json_array_append_new(list, json_stringn(at, length));
		at += length + (at[length] == ',');
	}
	if (to)
		json_object_set(body, "to", list);
	json_decref(list);
	if (command_option(command, "no-tls"))
		json_object_set_new(body, "tls", json_false());
	if (command_option(command, "tls"))
		json_object_set_new(body, "tls", json_true());
	status = add_on_off(command, body);
	if (!status)
		status = add_audit(command, body);
	if (!status)
		status = add_secret(command, body, "url-file", "url");
	if (!status)
		status = add_secret(command, body, "secret-file", "secret");
	return status ? status : add_ca(command, body);
}

int run_alert_channel_create(struct command *command)
{
	json_t *body =
	    json_pack("{s:s,s:s}", "name", command->position[0], "kind", command->position[1]);
	json_t *reply;
	int status = read_channel(command, body);

	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "POST", body, &reply, "/api/v1/alert-channels");
	return status ? status
		      : say(command, reply,
			    "alert channel %s created; \"granary alert channel test "
			    "%s\" tries it",
			    command->position[0], command->position[0]);
}

int run_alert_channel_set(struct command *command)
{
	json_t *body = json_object(), *reply;
	int status = read_channel(command, body);

	if (status) {
		json_decref(body);
		return status;
	}
	status = command_call(command, "PATCH", body, &reply, "/api/v1/alert-channels/%s",
			      command->position[0]);
	return status ? status
		      : say(command, reply, "alert channel %s changed", command->position[0]);
}

int run_alert_channel_list(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, "/api/v1/alert-channels");

	return status ? status
		      : table_print(command, reply, channel_columns, COUNT_OF(channel_columns));
}

int run_alert_channel_delete(struct command *command)
{
	json_t *reply;
	int status = command_confirm(command, "Send no alerts there any more?");

	if (status >= 0)
		return status;
	status = command_call(command, "DELETE", NULL, &reply, "/api/v1/alert-channels/%s",
			      command->position[0]);
	return status ? status
		      : say(command, reply, "alert channel %s deleted", command->position[0]);
}

int run_alert_channel_test(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", NULL, &reply, "/api/v1/alert-channels/%s/test",
				  command->position[0]);

	return status ? status
		      : say(command, reply, "alert channel %s has taken a test message",
			    command->position[0]);
}
