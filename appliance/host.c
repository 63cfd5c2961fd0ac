/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/host.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "appliance/answer.h"
#include "core/log.h"

#define ROOM(type, member, base) ((type *)(void *)((char *)(member)-offsetof(type, base)))

/* --- trying and going back ------------------------------------------------------------------- */

static int enforce_network(struct host *host, const struct settings *before,
			   const struct settings *next, struct err *err)
{
	int result = host->ops->files(next, err);

	return result == 0 ? host->ops->network(before, next, err) : result;
}

static int go_back(struct host *host, struct err *err)
{
	struct settings tried = host->now;

	timer_stop(&host->trial);
	host->now = host->before;
	return enforce_network(host, &tried, &host->now, err);
}

static void not_confirmed(struct timer *timer)
{
	struct host *host = ROOM(struct host, timer, trial);
	struct err err = {0};

	if (go_back(host, &err) == 0)
		log_notice("network settings were not confirmed: back to those before");
	else
		log_error("network settings were not confirmed, and can not go back: %s", err.text);
}

int host_open(struct host *host, struct loop *loop, const struct host_ops *ops, const char *path,
	      struct err *err)
{
	struct err mine = {0};
	char aside[256];
	int result;

	*host = (struct host){.ops = ops, .path = path, .trial_ns = HOST_TRIAL_NS};
	timer_init(&host->trial, loop, not_confirmed);
	update_init(&host->update, path, REPORT_FOLDER, ops->update);
	settings_default(&host->now);
	result = settings_load(path, &host->now, &mine);
	if (result < 0 && result != -ENOENT) {
		snprintf(aside, sizeof aside, "%s.bad", path);
		rename(path, aside);
		err_set(err, -EUCLEAN, "%s", mine.text);
	}
	return result == 0 || result == -ENOENT ? 0 : -EUCLEAN;
}

void host_close(struct host *host)
{
	timer_stop(&host->trial);
}

/* --- routes ---------------------------------------------------------------------------------- */

static json_t *refused(const struct err *err)
{
	if (err->code == -EINVAL)
		return answer_problem(400, "bad_setting", "%s", err->text);
	return answer_problem(500, "host_failed", "%s", err->text);
}

#define CARDS ".cards" /* behind the settings' path */

json_t *host_cards(struct host *host)
{
	const struct settings *lasting = timer_active(&host->trial) ? &host->before : &host->now;
	char path[256];

	snprintf(path, sizeof path, "%s" CARDS, host->path);
	return cards_changed(path, lasting, host->ops->card);
}

/* What is confirmed has reached somebody by these cards. That it can not be noted down is no reason
 * to take the network away again. */
static void note_cards(struct host *host)
{
	struct err err = {0};
	char path[256];

	snprintf(path, sizeof path, "%s" CARDS, host->path);
	if (cards_note(path, &host->now, host->ops->card, &err) < 0)
		log_warning("network cards: %s", err.text);
}

static json_t *show(struct host *host, const json_t *body)
{
	bool trial = timer_active(&host->trial);
	uint64_t left = trial ? host->trial.deadline - loop_now(host->trial.loop) : 0;

	(void)body;
	return answer(200,
		      json_pack("{s:o,s:b,s:I,s:o*}", "settings", settings_show(&host->now),
				"trial", trial, "trial_seconds", (json_int_t)(left / 1000000000ull),
				"changed_cards", host_cards(host)));
}

#define DRY "dry_run" /* of a body: nothing is to change */

static bool is_dry(const json_t *body)
{
	return json_is_true(json_object_get(body, DRY));
}

/* @body may have members of @known only. */
static int take(const json_t *body, struct settings *next, const char *const *known,
		struct err *err)
{
	json_t *given = json_object();
	const char *name;
	json_t *value;
	int result;

	json_object_foreach((json_t *)body, name, value)
	{
		if (strcmp(name, DRY) == 0)
			continue;
		if (strcmp(name, known[0]) != 0 && strcmp(name, known[1]) != 0) {
			json_decref(given);
			return err_set(err, -EINVAL, "there is no member %s here", name);
		}
		json_object_set(given, name, value);
	}
	result = settings_parse(given, next, err);
	json_decref(given);
	return result;
}

/* Each link a member of its own: what is alike before and after is left out by who shows it. */
static json_t *plain(const struct settings *settings, bool trial)
{
	json_t *all = settings_show(settings), *links = json_incref(json_object_get(all, "links"));
	size_t index;
	json_t *link;

	json_object_del(all, "links");
	json_array_foreach(links, index, link)
	{
		char name[sizeof "link " + LINK_NAME];

		snprintf(name, sizeof name, "link %s",
			 json_string_value(json_object_get(link, "name")));
		json_object_del(link, "name");
		json_object_set(all, name, link);
	}
	json_decref(links);
	json_object_set_new(all, "trial", json_boolean(trial));
	return all;
}

static json_t *would(const struct host *host, const struct settings *next, bool trial)
{
	return answer(200, json_pack("{s:o,s:o}", "before",
				     plain(&host->now, timer_active(&host->trial)), "after",
				     plain(next, trial)));
}

static json_t *set_network(struct host *host, const json_t *body)
{
	static const char *const known[] = {"links", "dns"};
	struct settings next = host->now;
	struct err err = {0};

	if (take(body, &next, known, &err) < 0)
		return refused(&err);
	if (is_dry(body))
		return would(host, &next, true);
	if (!timer_active(&host->trial))
		host->before = host->now;
	if (enforce_network(host, &host->now, &next, &err) < 0) {
		struct settings failed = next;

		host->now = host->before;
		timer_stop(&host->trial);
		enforce_network(host, &failed, &host->now, NULL);
		return refused(&err);
	}
	host->now = next;
	timer_start(&host->trial, host->trial_ns);
	return show(host, NULL);
}

static json_t *confirm(struct host *host, const json_t *body)
{
	struct err err = {0};

	if (!timer_active(&host->trial))
		return answer_problem(409, "no_trial", "no settings wait to be confirmed");
	if (is_dry(body))
		return would(host, &host->now, false);
	if (settings_save(host->path, &host->now, &err) < 0)
		return refused(&err);
	timer_stop(&host->trial);
	note_cards(host);
	return show(host, NULL);
}

static json_t *revert(struct host *host, const json_t *body)
{
	struct err err = {0};

	if (!timer_active(&host->trial))
		return answer_problem(409, "no_trial", "no settings wait to be confirmed");
	if (is_dry(body))
		return would(host, &host->before, false);
	return go_back(host, &err) < 0 ? refused(&err) : show(host, NULL);
}

/* Into force first: what does not work is not kept. While a network is on trial the file keeps
 * the one before. */
static int keep(struct host *host, const struct settings *next, struct err *err)
{
	struct settings file = *next;

	if (timer_active(&host->trial)) {
		file = host->before;
		memcpy(file.name, next->name, sizeof file.name);
		memcpy(file.zone, next->zone, sizeof file.zone);
		memcpy(file.time, next->time, sizeof file.time);
		file.time_count = next->time_count;
		host->before = file;
	}
	host->now = *next;
	return settings_save(host->path, &file, err);
}

static json_t *set_time(struct host *host, const json_t *body)
{
	static const char *const known[] = {"timezone", "time_servers"};
	struct settings next = host->now;
	struct err err = {0};

	if (take(body, &next, known, &err) < 0 || host->ops->zone(next.zone, &err) < 0)
		return refused(&err);
	if (is_dry(body))
		return would(host, &next, timer_active(&host->trial));
	if (host->ops->files(&next, &err) < 0 || host->ops->time(&next, &err) < 0 ||
	    keep(host, &next, &err) < 0)
		return refused(&err);
	return show(host, NULL);
}

static json_t *set_name(struct host *host, const json_t *body)
{
	static const char *const known[] = {"name", "name"};
	struct settings next = host->now;
	struct err err = {0};

	if (take(body, &next, known, &err) < 0)
		return refused(&err);
	if (is_dry(body))
		return would(host, &next, timer_active(&host->trial));
	if (host->ops->name(next.name, &err) < 0 || keep(host, &next, &err) < 0)
		return refused(&err);
	return show(host, NULL);
}

static json_t *restart(struct host *host, const json_t *body)
{
	struct err err = {0};

	(void)body;
	return host->ops->restart(&err) < 0 ? refused(&err) : answer(202, json_object());
}

static json_t *power_off(struct host *host, const json_t *body)
{
	struct err err = {0};

	(void)body;
	return host->ops->power_off(&err) < 0 ? refused(&err) : answer(202, json_object());
}

#define BASE   "/api/v1/appliance"
#define UPDATE BASE "/update"
static const struct {
	const char *method, *path;
	json_t *(*serve)(struct host *host, const json_t *body);
	bool body; /* an object has to come along */
} routes[] = {
    {"GET", BASE, show, false},
    {"PUT", BASE "/network", set_network, true},
    {"POST", BASE "/network/confirm", confirm, false},
    {"POST", BASE "/network/revert", revert, false},
    {"PUT", BASE "/time", set_time, true},
    {"PUT", BASE "/name", set_name, true},
    {"POST", BASE "/restart", restart, false},
    {"POST", BASE "/poweroff", power_off, false},
};
static const struct {
	const char *method, *path;
	json_t *(*serve)(struct host_update *update, const json_t *body, uint64_t now);
} update_routes[] = {
    {"GET", UPDATE, update_show},
    {"POST", UPDATE, update_ask},
    {"DELETE", UPDATE, update_cancel},
    {"POST", UPDATE "/rollback", update_rollback},
    {"POST", UPDATE "/bundle", bundle_begin},
    {"PUT", UPDATE "/bundle", bundle_piece},
    {"POST", UPDATE "/bundle/done", bundle_end},
    {"DELETE", UPDATE "/bundle", bundle_drop},
};

json_t *host_answer(struct host *host, const json_t *message)
{
	const char *method = json_string_value(json_object_get(message, "method"));
	const char *path = json_string_value(json_object_get(message, "path"));
	const json_t *body = json_object_get(message, "body");

	for (unsigned i = 0; method && path && i < sizeof routes / sizeof *routes; i++) {
		if (strcmp(routes[i].method, method) != 0 || strcmp(routes[i].path, path) != 0)
			continue;
		if (routes[i].body && !json_is_object(body))
			return answer_problem(400, "no_body", "a JSON object is missing");
		return routes[i].serve(host, body);
	}
	for (unsigned i = 0; method && path && i < sizeof update_routes / sizeof *update_routes;
	     i++) {
		if (strcmp(update_routes[i].method, method) == 0 &&
		    strcmp(update_routes[i].path, path) == 0)
			return update_routes[i].serve(&host->update, body,
						      loop_now(host->trial.loop));
	}
	return answer_problem(404, "no_route", "the host helper has no such route");
}
