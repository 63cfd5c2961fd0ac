/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/alert_channel.h"
#include "webadmin/api.h"

/* Channels of alerts. Secrets, and the URLs of webhooks, go in and are never shown. */

/* ---- showing ---- */
static json_t *show_recipients(const char *to)
{
	json_t *list = json_array();

	while (*to) {
		size_t length = strcspn(to, ",");

		json_array_append_new(list, json_stringn(to, length));
		to += length + (to[length] == ',');
	}
	return list;
}

static json_t *show_channel(const struct alert_channel_info *info)
{
	const struct alert_channel_settings *settings = info->settings;
	char place[CHANNEL_URL_MAX + 1];
	json_t *object;

	alert_channel_place(settings, place);
	object = json_pack(
	    "{s:s,s:s,s:s,s:s,s:s,s:o,s:s,s:b,s:b,s:b,s:s,s:s,s:b}", "name", settings->name, "kind",
	    alert_channel_kind_name(settings->kind), "preset",
	    settings->kind == CHANNEL_WEBHOOK ? alert_channel_preset_name(settings->preset) : "",
	    "place", place, "from", settings->from, "to", show_recipients(settings->to), "user",
	    settings->user, "has_secret", settings->secret[0] != '\0', "has_ca",
	    settings->ca != NULL, "tls", !settings->plain, "language",
	    settings->language == ALERT_CHINESE ? "zh-CN" : "en", "severity",
	    alert_severity_name(settings->least), "enabled", (int)settings->enabled);
	if (!object)
		return NULL;
	json_object_set_new(object, "audit", json_boolean(settings->audit));
	json_object_set_new(object, "queued", json_integer(info->queued));
	json_object_set_new(object, "failures", json_integer(info->failures));
	json_object_set_new(object, "error", json_string(info->error));
	json_object_set_new(object, "delivered", json_integer((json_int_t)info->delivered));
	json_object_set_new(object, "given_up", json_integer((json_int_t)info->given_up));
	json_object_set_new(object, "dropped", json_integer((json_int_t)info->dropped));
	json_object_set_new(object, "last_delivery",
			    info->last ? json_integer((json_int_t)info->last) : json_null());
	return object;
}

/* What a document says of a channel: what can be set of its kind, and shown. */
json_t *channels_show_wanted(struct webadmin *admin)
{
	static const struct {
		const char *name, *kind; /* NULL: of every one */
	} members[] = {
	    {"name", NULL},     {"kind", NULL},     {"preset", "webhook"}, {"from", "email"},
	    {"to", "email"},    {"user", "email"},  {"tls", "email"},      {"audit", "syslog"},
	    {"language", NULL}, {"severity", NULL}, {"enabled", NULL},
	};
	struct alert_channel_info info;
	json_t *list = json_array();

	for (unsigned i = 0; alert_channel_info(admin, i, &info); i++) {
		json_t *whole = show_channel(&info), *object = json_object();
		const char *kind = alert_channel_kind_name(info.settings->kind);

		for (unsigned j = 0; j < sizeof members / sizeof *members; j++)
			if (!members[j].kind || strcmp(members[j].kind, kind) == 0)
				json_object_set(object, members[j].name,
						json_object_get(whole, members[j].name));
		if (info.settings->kind != CHANNEL_WEBHOOK)
			json_object_set(object, "url", json_object_get(whole, "place"));
		json_array_append_new(list, object);
		json_decref(whole);
	}
	return list;
}

void api_channel_list(struct api_request *request)
{
	json_t *list = json_array();
	struct alert_channel_info info;

	for (unsigned i = 0; alert_channel_info(request->admin, i, &info); i++)
		json_array_append_new(list, show_channel(&info));
	api_reply(request, 200, list);
}

static bool find(struct api_request *request, struct alert_channel_info *ret_info)
{
	if (alert_channel_find(request->admin, request->match.param[0], ret_info))
		return true;
	api_reply_error(request, 404, "channel_not_found", "there is no alert channel %s",
			request->match.param[0]);
	return false;
}

void api_channel_show(struct api_request *request)
{
	struct alert_channel_info info;

	if (find(request, &info))
		api_reply(request, 200, show_channel(&info));
}

/* ---- reading ---- */
/* The text @name of the body into @to; false: it is too long. */
static bool take_text(const struct api_request *request, const char *name, char *to, size_t size)
{
	const char *text = json_string_value(json_object_get(request->body, name));

	if (text && strlen(text) >= size)
		return false;
	if (text)
		memcpy(to, text, strlen(text) + 1);
	return true;
}

static bool take_recipients(const struct api_request *request, char to[CHANNEL_TO_MAX])
{
	json_t *list = json_object_get(request->body, "to"), *item;
	size_t index, at = 0;

	if (!list)
		return true;
	to[0] = '\0';
	json_array_foreach(list, index, item)
	{
		const char *text = json_string_value(item);
		int length = snprintf(to + at, CHANNEL_TO_MAX - at, "%s%s", index ? "," : "", text);

		if (length < 0 || (size_t)length >= CHANNEL_TO_MAX - at || strchr(text, ','))
			return false;
		at += (size_t)length;
	}
	return true;
}

static int take_ca(struct api_request *request, struct alert_channel_settings *settings)
{
	const char *ca = json_string_value(json_object_get(request->body, "ca"));

	if (!ca)
		return 0;
	if (strlen(ca) > CHANNEL_CA_MAX || (*ca && !strstr(ca, "-----BEGIN CERTIFICATE-----")))
		return err_set(&request->err, -EINVAL, "ca is certificates in PEM, 16 KiB at most");
	heap_free(settings->ca);
	settings->ca = *ca ? heap_strdup(ca) : NULL;
	return *ca && !settings->ca ? err_set(&request->err, -ENOMEM, "out of memory") : 0;
}

static int take_words(struct api_request *request, struct alert_channel_settings *settings)
{
	const char *preset = json_string_value(json_object_get(request->body, "preset"));
	const char *language = json_string_value(json_object_get(request->body, "language"));
	const char *severity = json_string_value(json_object_get(request->body, "severity"));

	if (preset && (settings->kind != CHANNEL_WEBHOOK ||
		       !alert_channel_preset_parse(preset, &settings->preset)))
		return err_set(&request->err, -EINVAL,
			       "the preset of a webhook is generic, dingtalk, wecom, feishu or "
			       "slack");
	if (language && strcmp(language, "en") != 0 && strcmp(language, "zh-CN") != 0)
		return err_set(&request->err, -EINVAL, "the language is en or zh-CN");
	if (severity && !alert_severity_parse(severity, &settings->least))
		return err_set(&request->err, -EINVAL, "a severity is info, warning or critical");
	if (language)
		settings->language = *language == 'z' ? ALERT_CHINESE : ALERT_ENGLISH;
	return 0;
}

/* A secret goes where it was meant to go: another place needs it again. */
static bool moves_secret(const struct api_request *request,
			 const struct alert_channel_settings *before,
			 const struct alert_channel_settings *settings)
{
	char old_place[CHANNEL_URL_MAX + 1], place[CHANNEL_URL_MAX + 1];

	alert_channel_place(before, old_place);
	alert_channel_place(settings, place);
	return before->secret[0] && settings->secret[0] &&
	       !json_object_get(request->body, "secret") && strcmp(old_place, place) != 0;
}

static int read_settings(struct api_request *request, struct alert_channel_settings *settings)
{
	const json_t *enabled = json_object_get(request->body, "enabled");
	const json_t *tls = json_object_get(request->body, "tls");
	const json_t *audit = json_object_get(request->body, "audit");
	struct alert_channel_settings before = *settings;
	int result;

	if (!take_text(request, "url", settings->url, sizeof settings->url) ||
	    !take_text(request, "from", settings->from, sizeof settings->from) ||
	    !take_text(request, "user", settings->user, sizeof settings->user) ||
	    !take_text(request, "secret", settings->secret, sizeof settings->secret) ||
	    !take_recipients(request, settings->to))
		return err_set(&request->err, -EINVAL, "that is too long");
	if (enabled)
		settings->enabled = json_is_true(enabled);
	if (audit)
		settings->audit = json_is_true(audit);
	if (tls)
		settings->plain = json_is_false(tls);
	result = take_words(request, settings);
	if (result == 0)
		result = take_ca(request, settings);
	if (result == 0)
		result = alert_channel_check(settings, &request->err);
	if (result == 0 && moves_secret(request, &before, settings))
		result = err_set(&request->err, -EINVAL,
				 "its secret has to be given again for another place");
	explicit_bzero(&before, sizeof before);
	return result;
}

/* ---- changing ---- */
static void put(struct api_request *request, struct alert_channel_settings *settings, int status)
{
	struct alert_channel_info info = {.error = ""};
	char name[CHANNEL_NAME_MAX + 1];
	json_t *before, *after;

	if (read_settings(request, settings) < 0) {
		alert_channel_settings_wipe(settings);
		api_reply_failure(request, "bad_channel");
		return;
	}
	memcpy(name, settings->name, sizeof name);
	before =
	    alert_channel_find(request->admin, name, &info) ? show_channel(&info) : json_object();
	info.settings = settings;
	after = show_channel(&info);
	if (json_object_get(request->body, "secret")) /* never what it is */
		json_object_set_new(after, "secret", json_string("another one"));
	if (alert_channel_put(request->admin, settings, api_is_dry(request), &request->err) < 0) {
		json_decref(before);
		json_decref(after);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, json_sprintf("alert channel %s", name), before, after);
		return;
	}
	json_decref(before);
	json_decref(after);
	log_notice("alert channel %s is set", name);
	if (alert_channel_find(request->admin, name, &info))
		api_reply(request, status, show_channel(&info));
}

void api_channel_create(struct api_request *request)
{
	struct alert_channel_settings settings = {.least = ALERT_WARNING, .enabled = true};
	const char *kind = json_string_value(json_object_get(request->body, "kind"));
	struct alert_channel_info info;
	unsigned count = 0;

	while (alert_channel_info(request->admin, count, &info))
		count++;
	if (!take_text(request, "name", settings.name, sizeof settings.name) ||
	    volume_name_check(settings.name, &request->err) < 0)
		api_reply_error(request, 400, "bad_name",
				"a channel's name is too long or has "
				"other than letters, digits and . _ -");
	else if (!alert_channel_kind_parse(kind, &settings.kind))
		api_reply_error(request, 400, "bad_channel",
				"a channel is email, webhook, syslog or snmp, not %.30s", kind);
	else if (alert_channel_find(request->admin, settings.name, &info))
		api_reply_error(request, 409, "channel_exists", "there is an alert channel %s",
				settings.name);
	else if (count >= CHANNELS_MAX)
		api_reply_error(request, 409, "too_many", "there are %u channels at most",
				CHANNELS_MAX);
	else
		put(request, &settings, 201);
}

void api_channel_change(struct api_request *request)
{
	struct alert_channel_settings settings;
	struct alert_channel_info info;

	if (!find(request, &info))
		return;
	settings = *info.settings;
	if (settings.ca && !(settings.ca = heap_strdup(settings.ca))) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	put(request, &settings, 200);
}

void api_channel_delete(struct api_request *request)
{
	struct alert_channel_info info;

	if (!find(request, &info))
		return;
	if (api_is_dry(request)) {
		api_reply_dry(request, json_sprintf("alert channel %s", request->match.param[0]),
			      show_channel(&info), json_object());
		return;
	}
	if (alert_channel_remove(request->admin, request->match.param[0], &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("alert channel %s is gone", request->match.param[0]);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[0]));
}

/* ---- trying ---- */
static void tested(void *context, int result, const struct err *err)
{
	struct api_request *request = context;

	if (result == 0)
		api_reply(request, 200, json_pack("{s:b}", "delivered", 1));
	else
		api_reply_error(request, 409, "not_delivered", "%s", err->text);
}

void api_channel_test(struct api_request *request)
{
	struct alert_channel_info info;

	if (!find(request, &info))
		return;
	if (alert_channel_test(request->admin, request->match.param[0], tested, request) < 0)
		api_reply_error(request, 503, "busy", "it can not be tried now");
}
