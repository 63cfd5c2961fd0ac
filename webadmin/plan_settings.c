/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "core/size.h"
#include "webadmin/alert.h"
#include "webadmin/plan_step.h"

/* --- alerts --------------------------------------------------------------------------------- */

/* @name of the wanted object into @body as @as, where it is otherwise there. */
static void want(json_t *body, const json_t *there, const json_t *wanted, const char *name)
{
	json_t *value = json_object_get(wanted, name);

	if (value && !json_equal(value, json_object_get(there, name)))
		json_object_set(body, name, value);
}

static void want_seconds(json_t *body, const json_t *there, const json_t *wanted, const char *name,
			 const char *as)
{
	const json_t *value = json_object_get(wanted, name);

	if (value && !json_equal(value, json_object_get(there, name)))
		json_object_set_new(body, as,
				    json_sprintf("%llds", (long long)json_integer_value(value)));
}

/* A rule as it is: those that nobody changed are not shown. NULL: there is none of this name. */
static json_t *rule_there(const json_t *shown, const json_t *wanted)
{
	const json_t *there = plan_find(shown, wanted, "rule", NULL);
	int index = alert_rule_find(plan_text(wanted, "rule"));
	unsigned count;
	const struct alert_rule *rule;

	if (there)
		return json_incref((json_t *)there);
	if (index < 0)
		return NULL;
	rule = &alert_rules(&count)[index];
	return json_pack("{s:b,s:s,s:i,s:i,s:i}", "enabled", true, "severity",
			 alert_severity_name(rule->severity), "after_seconds", (int)rule->after_s,
			 "clear_seconds", (int)rule->clear_s, "level", (int)rule->level);
}

static void plan_alert_rules(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)plan_list(plan, wanted, "alert_rules"), index, rule)
	{
		json_t *there = rule_there(plan_list(plan, now, "alert_rules"), rule);
		json_t *body = json_object();

		plan_look_at(plan, "alert_rules", index);
		if (!there)
			plan_refuse(plan, "there is no alert rule %s", plan_text(rule, "rule"));
		want(body, there, rule, "enabled");
		want(body, there, rule, "severity");
		want(body, there, rule, "level");
		want_seconds(body, there, rule, "after_seconds", "after");
		want_seconds(body, there, rule, "clear_seconds", "clear");
		if (json_object_size(body))
			plan_step(plan, "PATCH", "/alert-rules/%", PARTS(plan_text(rule, "rule")),
				  json_incref(body), "alert rule %s", plan_text(rule, "rule"));
		json_decref(body);
		json_decref(there);
	}
	plan->where[0] = 0;
}

/* What is there is changed, but for its secrets, and the URL of a webhook, which is one: nobody is
 * shown what they are, so that nobody can say whether they differ. */
static void plan_channel(struct plan *plan, const json_t *there, const json_t *channel)
{
	static const char *const names[] = {"preset", "from",     "to",       "user",   "tls",
					    "audit",  "language", "severity", "enabled"};
	const char *name = plan_text(channel, "name"), *kind = plan_text(channel, "kind");
	json_t *body = json_object();

	if (there && strcmp(kind, plan_text(there, "kind")) != 0)
		plan_refuse(plan, "the kind of a channel does not change");
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		want(body, there, channel, names[i]);
	if (!there || strcmp(kind, "webhook") != 0)
		want(body, there, channel, "url");
	if (!there) {
		want(body, NULL, channel, "name");
		want(body, NULL, channel, "kind");
		want(body, NULL, channel, "secret");
		plan_step(plan, "POST", "/alert-channels", PARTS(""), json_incref(body),
			  "create alert channel %s", name);
	} else if (json_object_size(body)) {
		plan_step(plan, "PATCH", "/alert-channels/%", PARTS(name), json_incref(body),
			  "change alert channel %s", name);
	}
	json_decref(body);
}

static void plan_channels(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = plan_list(plan, now, "alert_channels");
	size_t index;
	json_t *channel;

	json_array_foreach((json_t *)plan_list(plan, wanted, "alert_channels"), index, channel)
	{
		plan_look_at(plan, "alert_channels", index);
		plan_channel(plan, plan_find(current, channel, "name", NULL), channel);
	}
	plan->where[0] = 0;
}

/* --- the machine ---------------------------------------------------------------------------- */

/* Nanoseconds, 0 for none; what is no time is for the step to refuse. */
static uint64_t limit_of(const char *text)
{
	struct err err = {0};
	uint64_t limit = 0;

	if (strcmp(text, "none") == 0 || strcmp(text, "0") == 0)
		return 0;
	return duration_parse(text, &limit, &err) < 0 ? UINT64_MAX : limit;
}

static void plan_slow(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const char *limit = plan_text(wanted, "slow_limit");

	if (*limit && limit_of(limit) != limit_of(plan_text(now, "slow_limit")))
		plan_step(plan, "PATCH", "/slow", PARTS(""), json_pack("{s:s}", "limit", limit),
			  "commands count as slow from %s on", limit);
}

/* Members that are left out are what they are without them: a UPS is set as a whole. */
static void plan_ups(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *there = json_object_get(now, "ups");
	json_t *ups = json_object_get(wanted, "ups"), *whole;

	if (!ups)
		return;
	if (!*plan_text(ups, "host")) {
		if (*plan_text(there, "host"))
			plan_step(plan, "DELETE", "/ups", PARTS(""), NULL, "watch no UPS");
		return;
	}
	whole = json_pack("{s:i,s:s}", "port", 3493, "shutdown_at", "low");
	json_object_update(whole, ups);
	if (!json_equal(whole, there))
		plan_step(plan, "PUT", "/ups", PARTS(""), json_incref(whole), "watch UPS %s of %s",
			  plan_text(ups, "ups"), plan_text(ups, "host"));
	json_decref(whole);
}

/* --- what is noted of objects --------------------------------------------------------------- */

static void plan_metadata(struct plan *plan, const json_t *there, const json_t *object,
			  const char *path, const char *what)
{
	json_t *values = json_object_get(object, "metadata");
	const json_t *is = json_object_get(there, "metadata");

	if (values && (is ? !json_equal(values, is) : json_object_size(values) > 0))
		plan_step(plan, "PUT", "/metadata", PARTS(""),
			  json_pack("{s:s,s:O}", "object", path, "metadata", values),
			  "what is noted of %s", what);
}

static void plan_noted(struct plan *plan, const json_t *now, const json_t *wanted)
{
	static const struct {
		const char *list, *path, *name, *more;
	} kinds[] = {
	    {"pools", "pools", "name", NULL},
	    {"hosts", "hosts", "name", NULL},
	    {"volumes", "volumes", "pool", "name"},
	    {"shares", "shares", "pool", "name"},
	    {"directories", "directories", "name", NULL},
	    {"targets", "targets", "iqn", NULL},
	    {"schedules", "snapshot-schedules", "name", NULL},
	    {"alert_channels", "alert-channels", "name", NULL},
	};
	size_t index;
	json_t *object;

	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		const json_t *current = plan_list(plan, now, kinds[i].list);

		json_array_foreach((json_t *)plan_list(plan, wanted, kinds[i].list), index, object)
		{
			const char *more = kinds[i].more ? plan_text(object, kinds[i].more) : "";
			char what[600], path[700];

			snprintf(what, sizeof what, "%s%s%s", plan_text(object, kinds[i].name),
				 *more ? "/" : "", more);
			snprintf(path, sizeof path, "/api/v1/%s/%s", kinds[i].path, what);
			plan_metadata(plan,
				      plan_find(current, object, kinds[i].name, kinds[i].more),
				      object, path, what);
		}
	}
}

void plan_settings(struct plan *plan, const json_t *now, const json_t *wanted)
{
	plan_alert_rules(plan, now, wanted);
	plan_channels(plan, now, wanted);
	plan_slow(plan, now, wanted);
	plan_ups(plan, now, wanted);
	plan_noted(plan, now, wanted);
}
