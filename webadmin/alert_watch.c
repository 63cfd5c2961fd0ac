/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/alert.h"
#include "webadmin/alert_channel.h"
#include "webadmin/usage.h"

/* Once a second: look, settle, tell, store. */

#define ROUND_NS (1000 * 1000000ull)

struct alert_watch {
	struct webadmin *admin;
	struct alerts alerts;
	struct timer timer;
	bool store_failed; /* said so */
};

static int64_t wall_of(struct webadmin *admin)
{
	return (int64_t)(loop_wall(admin->options.control) / 1000000000u);
}

/* ---- telling ---- */
static const struct {
	enum alert_channel_event event;
	unsigned told;
} steps[] = {{CHANNEL_FIRED, ALERT_TOLD_FIRED}, {CHANNEL_CLEARED, ALERT_TOLD_CLEARED}};

static unsigned told_by(enum alert_channel_event event)
{
	return steps[event == CHANNEL_CLEARED].told;
}

/* Nobody has it any more: the store will know. */
static void mark(struct alert *alert, enum alert_channel_event event)
{
	alert->told |= told_by(event);
	alert->dirty = true;
}

void alert_delivered(struct webadmin *admin, int64_t id, enum alert_channel_event event)
{
	struct alert *alert = alerts_find(&admin->alert_watch->alerts, id);

	if (alert)
		mark(alert, event);
}

static void tell(struct webadmin *admin, struct alert *alert, enum alert_channel_event event)
{
	alert->asked |= told_by(event);
	if (alert_channels_tell(admin, alert, event) == 0)
		mark(alert, event);
}

static void tell_active(struct alert_watch *watch, struct alert *alert, int64_t wall)
{
	if (alert->on && !((alert->told | alert->asked) & ALERT_TOLD_FIRED) && !alert->acked &&
	    !alerts_silenced(&watch->alerts, alert, wall))
		tell(watch->admin, alert, CHANNEL_FIRED);
}

/* Who has not heard that it fires need not hear that it does not any more, nor who is silenced. */
static void tell_cleared(struct alert_watch *watch, struct alert *alert, int64_t wall)
{
	if ((alert->told | alert->asked) & ALERT_TOLD_CLEARED)
		return;
	if ((alert->told | alert->asked) & ALERT_TOLD_FIRED &&
	    !alerts_silenced(&watch->alerts, alert, wall))
		tell(watch->admin, alert, CHANNEL_CLEARED);
	else
		mark(alert, CHANNEL_CLEARED);
}

static void tell_all(struct alert_watch *watch, int64_t wall)
{
	list_for_each (it, &watch->alerts.active)
		tell_active(watch, list_entry(it, struct alert, link), wall);
	list_for_each (it, &watch->alerts.cleared)
		tell_cleared(watch, list_entry(it, struct alert, link), wall);
}

/* ---- the store ---- */
static int store_list(struct config *config, const struct list *list, struct err *err)
{
	int result = 0;

	list_for_each (it, (struct list *)list) {
		const struct alert *alert = list_entry(it, struct alert, link);

		if (result == 0 && alert->dirty)
			result = alert_store(config, alert, err);
	}
	return result;
}

static bool any_dirty(struct list *list)
{
	list_for_each (it, list)
		if (list_entry(it, struct alert, link)->dirty)
			return true;
	return false;
}

static void all_clean(struct list *list)
{
	list_for_each (it, list)
		list_entry(it, struct alert, link)->dirty = false;
}

/* A change that is under way may have a transaction open: then the next round does it. */
static void store(struct alert_watch *watch)
{
	struct config *config = watch->admin->options.config;
	struct alerts *alerts = &watch->alerts;
	struct err err = {0};
	int result;

	if (watch->admin->change || (!any_dirty(&alerts->active) && !any_dirty(&alerts->cleared)))
		return;
	result = config_begin(config, &err);
	if (result == 0)
		result = store_list(config, &alerts->active, &err);
	if (result == 0)
		result = store_list(config, &alerts->cleared, &err);
	if (result == 0)
		result = alerts_prune(config, &err);
	if (result == 0)
		result = config_commit(config, &err);
	config_abort(config);
	if (result == 0) {
		all_clean(&alerts->active);
		all_clean(&alerts->cleared);
	} else if (!watch->store_failed) {
		log_error("alerts can not be stored: %s", err.text);
	}
	watch->store_failed = result < 0;
}

/* ---- rounds ---- */
static void log_changes(struct alert_watch *watch, int64_t wall)
{
	unsigned count;
	const struct alert_rule *rules = alert_rules(&count);

	list_for_each (it, &watch->alerts.active) {
		const struct alert *alert = list_entry(it, struct alert, link);

		if (alert->on && alert->fired == wall && alert->dirty && !alert->told)
			log_warning("alert %lld %s: %s %s", (long long)alert->id,
				    rules[alert->rule].code, alert->object, alert->detail);
	}
	list_for_each (it, &watch->alerts.cleared) {
		const struct alert *alert = list_entry(it, struct alert, link);

		if (alert->cleared != wall)
			break; /* the newest come first */
		log_notice("alert %lld %s: %s has cleared", (long long)alert->id,
			   rules[alert->rule].code, alert->object);
	}
}

/* Silences that are over go; their rows with the next change of them. */
static void end_silences(struct alerts *alerts, int64_t wall)
{
	struct list *next;

	for (struct list *it = alerts->silences.next; it != &alerts->silences; it = next) {
		struct alert_silence *silence = list_entry(it, struct alert_silence, link);

		next = it->next;
		if (silence->until > wall)
			continue;
		list_remove(it);
		alerts->silence_count--;
		alerts->changed = true;
		heap_free(silence);
	}
}

static void look_round(struct timer *timer)
{
	struct alert_watch *watch = container_of(timer, struct alert_watch, timer);
	struct webadmin *admin = watch->admin;
	struct loop *control = admin->options.control;
	int64_t wall = wall_of(admin);

	if (admin->phase)
		return;
	timer_start(timer, ROUND_NS);
	usage_look(admin);
	alert_channels_audit(admin);
	alerts_begin(&watch->alerts);
	alert_look(admin, &watch->alerts);
	alerts_end(&watch->alerts, (int64_t)(loop_now(control) / 1000000000u), wall);
	end_silences(&watch->alerts, wall);
	if (watch->alerts.changed) {
		log_changes(watch, wall);
		watch_tell(admin->watch, "alerts", "", "");
	}
	tell_all(watch, wall);
	store(watch);
}

/* ---- life ---- */
int alert_watch_create(struct webadmin *admin, struct err *err)
{
	struct alert_watch *watch = heap_zalloc(sizeof *watch);
	int result;

	if (!watch)
		return err_set(err, -ENOMEM, "out of memory");
	admin->alert_watch = watch;
	watch->admin = admin;
	alerts_init(&watch->alerts);
	timer_init(&watch->timer, admin->options.control, look_round);
	result = alerts_load(admin->options.config, &watch->alerts, err);
	/* What cleared and was not told to the end before a crash is told now. */
	list_for_each (it, &watch->alerts.cleared) {
		struct alert *alert = list_entry(it, struct alert, link);

		if (!(alert->told & ALERT_TOLD_CLEARED))
			alert->asked |= ALERT_TOLD_FIRED;
	}
	return result;
}

void alert_watch_start(struct webadmin *admin)
{
	timer_start(&admin->alert_watch->timer, ROUND_NS);
}

void alert_watch_stop(struct webadmin *admin)
{
	timer_stop(&admin->alert_watch->timer);
	store(admin->alert_watch);
}

void alert_watch_destroy(struct webadmin *admin)
{
	if (!admin->alert_watch)
		return;
	timer_stop(&admin->alert_watch->timer);
	alerts_finish(&admin->alert_watch->alerts);
	heap_free(admin->alert_watch);
	admin->alert_watch = NULL;
}

struct alerts *alert_watch_alerts(struct webadmin *admin)
{
	return &admin->alert_watch->alerts;
}
