/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/alert.h"

#include <stdio.h>
#include <string.h>

#include "core/heap.h"

/* The states of alerts; nothing here knows a clock, a pool or a channel. */

static const char *const severities[] = {
    [ALERT_INFO] = "info",
    [ALERT_WARNING] = "warning",
    [ALERT_CRITICAL] = "critical",
};

const char *alert_severity_name(enum alert_severity severity)
{
	return severities[severity];
}

bool alert_severity_parse(const char *name, enum alert_severity *ret_severity)
{
	for (unsigned i = 0; i < ALERT_SEVERITIES; i++) {
		if (strcmp(severities[i], name) == 0) {
			*ret_severity = i;
			return true;
		}
	}
	return false;
}

int alert_rule_find(const char *code)
{
	unsigned count;
	const struct alert_rule *rules = alert_rules(&count);

	for (unsigned i = 0; i < count; i++)
		if (strcmp(rules[i].code, code) == 0)
			return (int)i;
	return -1;
}

void alerts_init(struct alerts *alerts)
{
	unsigned count;
	const struct alert_rule *rules = alert_rules(&count);

	*alerts = (struct alerts){0};
	list_init(&alerts->active);
	list_init(&alerts->cleared);
	list_init(&alerts->silences);
	for (unsigned i = 0; i < count && i < ALERT_RULES_MAX; i++)
		alerts->tuning[i] = (struct alert_tuning){true, rules[i].severity, rules[i].after_s,
							  rules[i].clear_s, rules[i].level};
}

static void free_all(struct list *list)
{
	struct list *link;

	while ((link = list_pop_front(list)))
		heap_free(list_entry(link, struct alert, link));
}

void alerts_finish(struct alerts *alerts)
{
	struct list *link;

	free_all(&alerts->active);
	free_all(&alerts->cleared);
	while ((link = list_pop_front(&alerts->silences)))
		heap_free(list_entry(link, struct alert_silence, link));
}

/* ---- a round ---- */
static void drop_oldest(struct alerts *alerts)
{
	struct list *link = alerts->cleared.prev;

	list_remove(link);
	heap_free(list_entry(link, struct alert, link));
	alerts->cleared_count--;
}

static bool too_many_kept(const struct alerts *alerts)
{
	const struct alert *oldest = list_entry(alerts->cleared.prev, struct alert, link);

	return alerts->cleared_count > ALERT_KEPT_MAX &&
	       (!oldest->dirty || alerts->cleared_count > ALERT_KEPT_MAX + ALERT_ACTIVE_MAX);
}

/* What cleared in the last round has been told and stored by now: not before may it be dropped. */
void alerts_begin(struct alerts *alerts)
{
	while (too_many_kept(alerts))
		drop_oldest(alerts);
	alerts->left_out = 0;
	list_for_each (it, &alerts->active) {
		struct alert *alert = list_entry(it, struct alert, link);

		alert->observed = alert->stays = alert->unknown = false;
	}
}

static struct alert *find_active(struct alerts *alerts, unsigned rule, const char *object)
{
	list_for_each (it, &alerts->active) {
		struct alert *alert = list_entry(it, struct alert, link);

		if (alert->rule == rule && strcmp(alert->object, object) == 0)
			return alert;
	}
	return NULL;
}

/* Names and reasons come from outside: one line of UTF-8, whatever it was. */
static void copy_text(char *to, size_t size, const char *from)
{
	json_t *text;

	snprintf(to, size, "%s", from);
	text = json_string(to);
	for (char *at = to; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f ||
		    (!text && (unsigned char)*at >= 0x80))
			*at = '?';
	json_decref(text);
}

static struct alert *add(struct alerts *alerts, unsigned rule, const char *object)
{
	struct alert *alert =
	    alerts->active_count < ALERT_ACTIVE_MAX ? heap_zalloc(sizeof *alert) : NULL;

	if (!alert) {
		alerts->left_out++;
		return NULL;
	}
	alert->rule = rule;
	alert->turned = -1;
	copy_text(alert->object, sizeof alert->object, object);
	list_push_back(&alerts->active, &alert->link);
	alerts->active_count++;
	return alert;
}

void alerts_observe(struct alerts *alerts, unsigned rule, const char *object, bool begins,
		    int64_t value, const char *detail)
{
	char name[ALERT_OBJECT_MAX];
	struct alert *alert;

	if (!alerts->tuning[rule].enabled)
		return;
	copy_text(name, sizeof name, object); /* as it is kept, to be found again */
	alert = find_active(alerts, rule, name);
	if (!alert && begins)
		alert = add(alerts, rule, name);
	if (!alert)
		return;
	alert->observed = begins;
	alert->stays = true;
	alert->value = value;
	copy_text(alert->detail, sizeof alert->detail, detail);
}

void alerts_unknown(struct alerts *alerts, unsigned rule, const char *object)
{
	char name[ALERT_OBJECT_MAX];
	struct alert *alert;

	copy_text(name, sizeof name, object);
	alert = find_active(alerts, rule, name);
	if (alert && alerts->tuning[rule].enabled)
		alert->unknown = true;
}

static void fire(struct alerts *alerts, struct alert *alert, int64_t wall)
{
	alert->on = alert->dirty = alerts->changed = true;
	alert->id = ++alerts->last_id;
	alert->severity = alerts->tuning[alert->rule].severity;
	alert->fired = wall;
}

static void clear(struct alerts *alerts, struct alert *alert, int64_t wall)
{
	alert->on = false;
	alert->dirty = alerts->changed = true;
	alert->cleared = wall;
	list_remove(&alert->link);
	alerts->active_count--;
	list_push_front(&alerts->cleared, &alert->link);
	alerts->cleared_count++;
}

static void settle(struct alerts *alerts, struct alert *alert, int64_t now, int64_t wall)
{
	const struct alert_tuning *tuning = &alerts->tuning[alert->rule];
	bool wanted = alert->on ? alert->stays : alert->observed;

	alert->clears = 0;
	if (alert->unknown || wanted == alert->on) {
		alert->turned = -1;
		if (!alert->on && !alert->unknown) { /* it was about to, and is not any more */
			list_remove(&alert->link);
			alerts->active_count--;
			heap_free(alert);
		}
		return;
	}
	if (alert->turned < 0)
		alert->turned = now;
	if (now - alert->turned < (int64_t)(wanted ? tuning->after_s : tuning->clear_s)) {
		alert->clears = wanted ? 0 : wall + tuning->clear_s - (now - alert->turned);
		return;
	}
	alert->turned = -1;
	if (wanted)
		fire(alerts, alert, wall);
	else
		clear(alerts, alert, wall);
}

void alerts_end(struct alerts *alerts, int64_t now, int64_t wall)
{
	struct list *next;

	alerts->changed = false;
	for (struct list *it = alerts->active.next; it != &alerts->active; it = next) {
		next = it->next;
		settle(alerts, list_entry(it, struct alert, link), now, wall);
	}
}

/* ---- looking at them ---- */
static struct alert *find_in(struct list *list, int64_t id)
{
	list_for_each (it, list) {
		struct alert *alert = list_entry(it, struct alert, link);

		if (alert->id == id)
			return alert;
	}
	return NULL;
}

struct alert *alerts_find(struct alerts *alerts, int64_t id)
{
	struct alert *alert = id > 0 ? find_in(&alerts->active, id) : NULL;

	return alert || id <= 0 ? alert : find_in(&alerts->cleared, id);
}

bool alerts_silenced(const struct alerts *alerts, const struct alert *alert, int64_t wall)
{
	unsigned count;
	const char *code = alert_rules(&count)[alert->rule].code;

	list_for_each (it, &alerts->silences) {
		const struct alert_silence *silence = list_entry(it, struct alert_silence, link);

		if (silence->until > wall &&
		    (!silence->rule[0] || strcmp(silence->rule, code) == 0) &&
		    (!silence->object[0] || strcmp(silence->object, alert->object) == 0))
			return true;
	}
	return false;
}

const char *alert_state(const struct alerts *alerts, const struct alert *alert, int64_t wall)
{
	if (alert->cleared)
		return "cleared";
	if (alerts_silenced(alerts, alert, wall))
		return "silenced";
	return alert->acked ? "acknowledged" : "firing";
}

void alert_expand(const struct alert *alert, const char *text, char *out, size_t size)
{
	size_t at = 0;
	char number[24];

	snprintf(number, sizeof number, "%lld", (long long)alert->value);
	while (*text && at + 1 < size) {
		const struct {
			const char *name, *value;
		} names[] = {
		    {"{object}", alert->object}, {"{value}", number}, {"{detail}", alert->detail}};
		const char *value = NULL;

		for (unsigned i = 0; !value && i < sizeof names / sizeof *names; i++) {
			if (strncmp(text, names[i].name, strlen(names[i].name)) == 0) {
				value = names[i].value;
				text += strlen(names[i].name);
			}
		}
		if (!value)
			out[at++] = *text++;
		for (; value && *value && at + 1 < size; value++)
			out[at++] = *value;
	}
	out[at] = '\0';
}

static json_t *text_of(const struct alert *alert, const char *text)
{
	char out[1024];

	alert_expand(alert, text, out, sizeof out);
	return json_string(out);
}

static json_t *time_or_null(int64_t seconds)
{
	return seconds ? json_integer((json_int_t)seconds) : json_null();
}

/* It would not begin any more, and is not over, either: at how many percent it is. */
static json_t *clears_below(const struct alerts *alerts, const struct alert *alert)
{
	unsigned count, level = alerts->tuning[alert->rule].level;
	const char *unit = alert_rules(&count)[alert->rule].unit;
	bool between = alert->on && alert->stays && !alert->observed;

	return between && level > ALERT_MARGIN && unit && strcmp(unit, "%") == 0
		   ? json_integer(level - ALERT_MARGIN)
		   : json_null();
}

json_t *alert_show(const struct alerts *alerts, const struct alert *alert, int64_t wall)
{
	unsigned count;
	const struct alert_rule *rule = &alert_rules(&count)[alert->rule];
	json_t *object = json_pack("{s:I,s:s,s:s,s:s,s:s,s:I,s:s}", "id", (json_int_t)alert->id,
				   "rule", rule->code, "object", alert->object, "severity",
				   alert_severity_name(alert->severity), "state",
				   alert_state(alerts, alert, wall), "value",
				   (json_int_t)alert->value, "detail", alert->detail);

	if (!object)
		return NULL;
	json_object_set_new(object, "text", text_of(alert, rule->text[ALERT_ENGLISH]));
	json_object_set_new(object, "todo", text_of(alert, rule->todo[ALERT_ENGLISH]));
	json_object_set_new(object, "text_zh", text_of(alert, rule->text[ALERT_CHINESE]));
	json_object_set_new(object, "todo_zh", text_of(alert, rule->todo[ALERT_CHINESE]));
	json_object_set_new(object, "fired", json_integer((json_int_t)alert->fired));
	json_object_set_new(object, "cleared", time_or_null(alert->cleared));
	json_object_set_new(object, "clears", time_or_null(alert->on ? alert->clears : 0));
	json_object_set_new(object, "clears_below", clears_below(alerts, alert));
	json_object_set_new(object, "acknowledged", time_or_null(alert->acked));
	json_object_set_new(object, "acknowledged_by", json_string(alert->acked_by));
	return object;
}
