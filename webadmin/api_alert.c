/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/size.h"
#include "webadmin/admin.h"
#include "webadmin/alert.h"
#include "webadmin/api.h"

/* Alerts, their rules, silences. */

static int64_t wall_of(const struct api_request *request)
{
	return (int64_t)(loop_wall(request->admin->options.control) / 1000000000u);
}

/* ---- alerts ---- */
static void show_list(json_t *list, const struct alerts *alerts, const struct list *of,
		      int64_t wall)
{
	list_for_each (it, (struct list *)of) {
		const struct alert *alert = list_entry(it, struct alert, link);

		if (alert->id)
			json_array_append_new(list, alert_show(alerts, alert, wall));
	}
}

void api_alert_list(struct api_request *request)
{
	const struct alerts *alerts = alert_watch_alerts(request->admin);
	json_t *list = json_array();
	char all[8];

	show_list(list, alerts, &alerts->active, wall_of(request));
	if (api_query(request, "all", all, sizeof all) && strcmp(all, "1") == 0)
		show_list(list, alerts, &alerts->cleared, wall_of(request));
	api_reply(request, 200, list);
}

static struct alert *find_alert(struct api_request *request)
{
	char *end;
	long long id = strtoll(request->match.param[0], &end, 10);
	struct alert *alert =
	    *end ? NULL : alerts_find(alert_watch_alerts(request->admin), (int64_t)id);

	if (!alert)
		api_reply_error(request, 404, "alert_not_found", "there is no alert %s",
				request->match.param[0]);
	return alert;
}

void api_alert_show(struct api_request *request)
{
	const struct alert *alert = find_alert(request);

	if (alert)
		api_reply(request, 200,
			  alert_show(alert_watch_alerts(request->admin), alert, wall_of(request)));
}

static int store_now(struct api_request *request, struct alert *alert)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = alert_store(config, alert, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	return result;
}

void api_alert_ack(struct api_request *request)
{
	struct alert *alert = find_alert(request);

	if (!alert)
		return;
	if (alert->cleared || alert->acked) {
		api_reply_error(request, 409,
				alert->cleared ? "alert_cleared" : "alert_acknowledged",
				"alert %lld %s already", (long long)alert->id,
				alert->cleared ? "has cleared" : "is acknowledged");
		return;
	}
	alert->acked = wall_of(request);
	snprintf(alert->acked_by, sizeof alert->acked_by, "%s", request->who.name);
	if (store_now(request, alert) < 0) {
		alert->acked = 0;
		alert->acked_by[0] = '\0';
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("alert %lld is acknowledged by %s", (long long)alert->id, alert->acked_by);
	api_reply(request, 200,
		  alert_show(alert_watch_alerts(request->admin), alert, wall_of(request)));
}

/* ---- rules ---- */
static json_t *show_rule(const struct alerts *alerts, unsigned index)
{
	unsigned count;
	const struct alert_rule *rule = &alert_rules(&count)[index];
	const struct alert_tuning *tuning = &alerts->tuning[index];
	json_t *object =
	    json_pack("{s:s,s:b,s:s,s:i,s:i,s:s,s:s}", "rule", rule->code, "enabled",
		      (int)tuning->enabled, "severity", alert_severity_name(tuning->severity),
		      "after_seconds", (int)tuning->after_s, "clear_seconds", (int)tuning->clear_s,
		      "text", rule->text[ALERT_ENGLISH], "text_zh", rule->text[ALERT_CHINESE]);

	if (object && rule->level) {
		json_object_set_new(object, "level", json_integer(tuning->level));
		json_object_set_new(object, "unit", json_string(rule->unit));
	}
	return object;
}

json_t *alert_rules_show_wanted(struct webadmin *admin)
{
	static const char *const names[] = {"rule",          "enabled",       "severity",
					    "after_seconds", "clear_seconds", "level"};
	const struct alerts *alerts = alert_watch_alerts(admin);
	json_t *list = json_array();
	unsigned count;
	const struct alert_rule *rules = alert_rules(&count);

	for (unsigned i = 0; i < count; i++) {
		const struct alert_tuning *tuning = &alerts->tuning[i];
		json_t *whole, *object;

		if (tuning->enabled && tuning->severity == rules[i].severity &&
		    tuning->after_s == rules[i].after_s && tuning->clear_s == rules[i].clear_s &&
		    tuning->level == rules[i].level)
			continue;
		whole = show_rule(alerts, i);
		object = json_object();
		for (unsigned j = 0; j < sizeof names / sizeof *names; j++)
			if (json_object_get(whole, names[j]))
				json_object_set(object, names[j], json_object_get(whole, names[j]));
		json_array_append_new(list, object);
		json_decref(whole);
	}
	return list;
}

void api_alert_rule_list(struct api_request *request)
{
	json_t *list = json_array();
	unsigned count;

	alert_rules(&count);
	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, show_rule(alert_watch_alerts(request->admin), i));
	api_reply(request, 200, list);
}

static bool read_seconds(struct api_request *request, const char *name, unsigned *seconds)
{
	const char *text = json_string_value(json_object_get(request->body, name));
	uint64_t ns;

	if (!text)
		return true;
	if (duration_parse(text, &ns, &request->err) < 0 || ns / 1000000000u > ALERT_TIME_MAX) {
		api_reply_error(request, 400, "bad_time", "%s is a time up to a day: 30s, 5m, 1h",
				name);
		return false;
	}
	*seconds = (unsigned)(ns / 1000000000u);
	return true;
}

static bool read_tuning(struct api_request *request, const struct alert_rule *rule,
			struct alert_tuning *tuning)
{
	const json_t *enabled = json_object_get(request->body, "enabled");
	const json_t *level = json_object_get(request->body, "level");
	const char *severity = json_string_value(json_object_get(request->body, "severity"));

	if (enabled)
		tuning->enabled = json_is_true(enabled);
	if (severity && !alert_severity_parse(severity, &tuning->severity)) {
		api_reply_error(request, 400, "bad_severity",
				"a severity is info, warning or critical, not %.20s", severity);
		return false;
	}
	if (level && (!rule->level || json_integer_value(level) < 1 ||
		      json_integer_value(level) > (strcmp(rule->unit, "%") == 0 ? 100 : 1000))) {
		api_reply_error(request, 400, "bad_level", "%s",
				rule->level ? "the level is out of range"
					    : "this rule has no level");
		return false;
	}
	if (level)
		tuning->level = (unsigned)json_integer_value(level);
	return read_seconds(request, "after", &tuning->after_s) &&
	       read_seconds(request, "clear", &tuning->clear_s);
}

void api_alert_rule_change(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct alerts *alerts = alert_watch_alerts(request->admin);
	int index = alert_rule_find(request->match.param[0]);
	struct alert_tuning tuning;
	unsigned count;
	int result;

	if (index < 0) {
		api_reply_error(request, 404, "alert_rule_not_found", "there is no alert rule %s",
				request->match.param[0]);
		return;
	}
	tuning = alerts->tuning[index];
	if (!read_tuning(request, &alert_rules(&count)[index], &tuning))
		return;
	result = config_begin(config, &request->err);
	if (result == 0)
		result = alert_store_tuning(config, (unsigned)index, &tuning, &request->err);
	if (result == 0)
		result = api_commit(request);
	if (result < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		struct alert_tuning now = alerts->tuning[index];
		json_t *before = show_rule(alerts, (unsigned)index), *after;

		alerts->tuning[index] = tuning;
		after = show_rule(alerts, (unsigned)index);
		alerts->tuning[index] = now;
		api_reply_dry(request, json_sprintf("alert rule %s", request->match.param[0]),
			      before, after);
		return;
	}
	alerts->tuning[index] = tuning;
	log_notice("alert rule %s changed", request->match.param[0]);
	api_reply(request, 200, show_rule(alerts, (unsigned)index));
}

/* ---- silences ---- */
static json_t *show_silence(const struct alert_silence *silence)
{
	return json_pack("{s:I,s:s,s:s,s:I,s:s,s:s}", "id", (json_int_t)silence->id, "rule",
			 silence->rule, "object", silence->object, "until",
			 (json_int_t)silence->until, "by", silence->by, "reason", silence->reason);
}

void api_silence_list(struct api_request *request)
{
	struct alerts *alerts = alert_watch_alerts(request->admin);
	json_t *list = json_array();

	list_for_each (it, &alerts->silences)
		json_array_append_new(list,
				      show_silence(list_entry(it, struct alert_silence, link)));
	api_reply(request, 200, list);
}

#define SILENCE_MAX_NS (366ull * 86400 * 1000000000)

static bool read_silence(struct api_request *request, struct alert_silence *silence)
{
	const char *rule = "", *object = "", *duration = "", *reason = "";
	uint64_t ns;

	if (!api_unpack(request, "{s:s,s?:s,s?:s,s?:s}", "for", &duration, "rule", &rule, "object",
			&object, "reason", &reason))
		return false;
	if (*rule && alert_rule_find(rule) < 0) {
		api_reply_error(request, 404, "alert_rule_not_found",
				"there is no alert rule %.40s", rule);
		return false;
	}
	if (strlen(object) >= sizeof silence->object || strlen(reason) >= sizeof silence->reason) {
		api_reply_error(request, 400, "bad_request", "that is too long");
		return false;
	}
	if (duration_parse(duration, &ns, &request->err) < 0 || ns < 1000000000u ||
	    ns > SILENCE_MAX_NS) {
		api_reply_error(request, 400, "bad_time",
				"a silence lasts 1 s to a year: 30m, 2h, 7d");
		return false;
	}
	snprintf(silence->rule, sizeof silence->rule, "%s", rule);
	snprintf(silence->object, sizeof silence->object, "%s", object);
	snprintf(silence->reason, sizeof silence->reason, "%s", reason);
	snprintf(silence->by, sizeof silence->by, "%s", request->who.name);
	silence->until = wall_of(request) + (int64_t)(ns / 1000000000u);
	return true;
}

static int store_silence(struct api_request *request, struct alert_silence *silence)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);
	char now[24];

	snprintf(now, sizeof now, "%lld", (long long)wall_of(request));
	if (result == 0)
		result = config_run(config, &request->err,
				    "delete from alert_silence where until <= cast(? as integer)",
				    "s", now);
	if (result == 0)
		result = alert_store_silence(config, silence, &request->err);
	return result == 0 ? api_commit(request) : result;
}

void api_silence_create(struct api_request *request)
{
	struct alerts *alerts = alert_watch_alerts(request->admin);
	struct alert_silence *silence;

	if (alerts->silence_count >= ALERT_SILENCES_MAX) {
		api_reply_error(request, 409, "too_many", "there are %u silences at most",
				ALERT_SILENCES_MAX);
		return;
	}
	silence = heap_zalloc(sizeof *silence);
	if (!silence) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (!read_silence(request, silence)) {
		heap_free(silence);
		return;
	}
	if (store_silence(request, silence) < 0) {
		heap_free(silence);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		json_t *after = show_silence(silence);

		heap_free(silence);
		json_object_del(after, "id"); /* of no row that stays */
		api_reply_dry(request, json_string("silence"), json_object(), after);
		return;
	}
	list_push_back(&alerts->silences, &silence->link);
	alerts->silence_count++;
	log_notice("alerts of rule %s, object %s are silenced by %s",
		   silence->rule[0] ? silence->rule : "any",
		   silence->object[0] ? silence->object : "any", silence->by);
	api_reply(request, 201, show_silence(silence));
}

void api_silence_delete(struct api_request *request)
{
	struct alerts *alerts = alert_watch_alerts(request->admin);
	struct alert_silence *found = NULL;
	char number[24];

	list_for_each (it, &alerts->silences) {
		struct alert_silence *silence = list_entry(it, struct alert_silence, link);

		snprintf(number, sizeof number, "%lld", (long long)silence->id);
		if (strcmp(number, request->match.param[0]) == 0)
			found = silence;
	}
	if (!found) {
		api_reply_error(request, 404, "silence_not_found", "there is no silence %s",
				request->match.param[0]);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, json_sprintf("silence %s", request->match.param[0]),
			      show_silence(found), json_object());
		return;
	}
	if (config_run(request->admin->options.config, &request->err,
		       "delete from alert_silence where id = cast(? as integer)", "s",
		       request->match.param[0]) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	list_remove(&found->link);
	alerts->silence_count--;
	heap_free(found);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[0]));
}
