/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/schedule.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api_schedule.h"

/* Rows and timer; what the routes do is in api_schedule.c. */

#define NS_PER_S 1000000000ull
#define LOOK_S   20   /* at most between looks: the wall clock may be set */
#define AHEAD_S  3600 /* settled later than that from now: it was set back */

static int64_t now_of(struct webadmin *admin)
{
	return (int64_t)(loop_wall(admin->options.control) / NS_PER_S);
}

/* ---- in memory ---- */
struct schedule *schedule_find(struct webadmin *admin, const char *name)
{
	list_for_each (it, &admin->schedules) {
		struct schedule *schedule = list_entry(it, struct schedule, link);

		if (strcmp(schedule->name, name) == 0)
			return schedule;
	}
	return NULL;
}

void schedule_insert(struct webadmin *admin, struct schedule *schedule)
{
	struct list *before = admin->schedules.prev;

	while (before != &admin->schedules &&
	       strcmp(list_entry(before, struct schedule, link)->name, schedule->name) > 0)
		before = before->prev;
	list_insert_after(before, &schedule->link);
	admin->schedule_count++;
}

void schedule_remove(struct webadmin *admin, struct schedule *schedule)
{
	list_remove(&schedule->link);
	admin->schedule_count--;
	schedule_free(schedule);
}

void schedule_free(struct schedule *schedule)
{
	if (!schedule)
		return;
	zone_free(schedule->zone);
	heap_free(schedule->volumes);
	heap_free(schedule);
}

int64_t schedule_next(const struct schedule *schedule)
{
	if (schedule->zone_name[0] && !schedule->zone)
		return INT64_MAX;
	return when_next(&schedule->when, schedule->zone, schedule->settled);
}

int schedule_read_zone(struct schedule *schedule, struct err *err)
{
	struct zone *zone = NULL;
	int result = schedule->zone_name[0] ? zone_load(schedule->zone_name, &zone, err) : 0;

	if (result < 0)
		return result;
	zone_free(schedule->zone);
	schedule->zone = zone;
	return 0;
}

/* ---- the store ---- */
static int finish(struct config_statement *statement, struct err *err)
{
	int result = config_step(statement, err);

	config_finish(statement);
	return result < 0 ? result : 0;
}

static int write_volume(struct config *config, const struct schedule *schedule, unsigned position,
			struct err *err)
{
	const struct schedule_volume *volume = &schedule->volumes[position];
	struct config_statement *statement;
	int result = config_prepare(config,
				    "insert into snapshot_schedule_volume(schedule, position,"
				    " volume, name) values(?, ?, ?, ?)",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, schedule->name);
	config_bind_number(statement, 2, position);
	config_bind_blob(statement, 3, volume->uuid, sizeof volume->uuid);
	config_bind_text(statement, 4, volume->name);
	return finish(statement, err);
}

static int write_volumes(struct config *config, const struct schedule *schedule, struct err *err)
{
	int result = 0;

	for (unsigned i = 0; result == 0 && i < schedule->volume_count; i++)
		result = write_volume(config, schedule, i, err);
	return result;
}

int schedule_store(struct config *config, const struct schedule *schedule, struct err *err)
{
	char keep[KEEP_TEXT_MAX];
	struct config_statement *statement;
	int result = config_prepare(config,
				    "insert into snapshot_schedule(name, pool, prefix, every, keep,"
				    " settled, expendable, zone) values(?, ?, ?, ?, ?, ?, ?, ?)",
				    &statement, err);

	if (result < 0)
		return result;
	keep_print(&schedule->keep, keep);
	config_bind_text(statement, 1, schedule->name);
	config_bind_text(statement, 2, schedule->pool);
	config_bind_text(statement, 3, schedule->prefix);
	config_bind_text(statement, 4, schedule->every);
	config_bind_text(statement, 5, keep);
	config_bind_number(statement, 6, schedule->settled);
	config_bind_number(statement, 7, schedule->expendable);
	config_bind_text(statement, 8, schedule->zone_name);
	result = finish(statement, err);
	return result == 0 ? write_volumes(config, schedule, err) : result;
}

int schedule_store_change(struct config *config, const struct schedule *schedule, struct err *err)
{
	char keep[KEEP_TEXT_MAX];
	struct config_statement *statement;
	int result =
	    config_prepare(config,
			   "update snapshot_schedule set pool = ?, prefix = ?, every = ?,"
			   " keep = ?, settled = ?, expendable = ?, zone = ? where name = ?",
			   &statement, err);

	if (result < 0)
		return result;
	keep_print(&schedule->keep, keep);
	config_bind_text(statement, 1, schedule->pool);
	config_bind_text(statement, 2, schedule->prefix);
	config_bind_text(statement, 3, schedule->every);
	config_bind_text(statement, 4, keep);
	config_bind_number(statement, 5, schedule->settled);
	config_bind_number(statement, 6, schedule->expendable);
	config_bind_text(statement, 7, schedule->zone_name);
	config_bind_text(statement, 8, schedule->name);
	result = finish(statement, err);
	if (result == 0)
		result = config_run(config, err,
				    "delete from snapshot_schedule_volume where schedule = ?", "s",
				    schedule->name);
	return result == 0 ? write_volumes(config, schedule, err) : result;
}

int schedule_store_run(struct config *config, const struct schedule *schedule, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "update snapshot_schedule set settled = ?, ran = ?, runs = ?,"
				    " missed = ?, skipped = ?, result = ? where name = ?",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_number(statement, 1, schedule->settled);
	config_bind_number(statement, 2, schedule->ran);
	config_bind_number(statement, 3, schedule->runs);
	config_bind_number(statement, 4, schedule->missed);
	config_bind_number(statement, 5, schedule->skipped);
	config_bind_text(statement, 6, schedule->result);
	config_bind_text(statement, 7, schedule->name);
	return finish(statement, err);
}

static int load_volumes(struct config *config, struct schedule *schedule, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "select volume, name from snapshot_schedule_volume where"
				    " schedule = ? order by position",
				    &statement, err);

	if (result < 0)
		return result;
	schedule->volumes = heap_zalloc_array(SCHEDULE_VOLUMES_MAX, sizeof *schedule->volumes);
	if (!schedule->volumes)
		result = err_set(err, -ENOMEM, "out of memory");
	config_bind_text(statement, 1, schedule->name);
	while (result == 0 && schedule->volume_count < SCHEDULE_VOLUMES_MAX &&
	       (result = config_step(statement, err)) > 0) {
		struct schedule_volume *volume = &schedule->volumes[schedule->volume_count];
		int length;
		const void *uuid = config_blob(statement, 0, &length);

		result = 0;
		if (length != (int)sizeof volume->uuid)
			continue;
		memcpy(volume->uuid, uuid, sizeof volume->uuid);
		snprintf(volume->name, sizeof volume->name, "%s", config_text(statement, 1));
		schedule->volume_count++;
	}
	config_finish(statement);
	return result;
}

/* The daemon starts without it. */
static void load_zone(struct schedule *schedule)
{
	struct err err = {0};

	if (schedule_read_zone(schedule, &err) == 0)
		return;
	log_error("snapshot schedule %s: %s", schedule->name, err.text);
	schedule->seen = schedule->troubled = true;
	snprintf(schedule->result, sizeof schedule->result, "%.250s", err.text);
}

static struct schedule *read_row(struct config_statement *statement, struct err *err)
{
	struct schedule *schedule = heap_zalloc(sizeof *schedule);

	if (!schedule) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	list_init(&schedule->link);
	snprintf(schedule->name, sizeof schedule->name, "%s", config_text(statement, 0));
	snprintf(schedule->pool, sizeof schedule->pool, "%s", config_text(statement, 1));
	snprintf(schedule->prefix, sizeof schedule->prefix, "%s", config_text(statement, 2));
	snprintf(schedule->every, sizeof schedule->every, "%s", config_text(statement, 3));
	schedule->settled = config_number(statement, 5);
	schedule->ran = config_number(statement, 6);
	schedule->runs = config_number(statement, 7);
	schedule->missed = config_number(statement, 8);
	schedule->skipped = config_number(statement, 9);
	snprintf(schedule->result, sizeof schedule->result, "%s", config_text(statement, 10));
	schedule->expendable = config_number(statement, 11) != 0;
	snprintf(schedule->zone_name, sizeof schedule->zone_name, "%s", config_text(statement, 12));
	load_zone(schedule);
	if (when_parse(schedule->every, &schedule->when, err) == 0 &&
	    keep_parse(config_text(statement, 4), &schedule->keep, err) == 0)
		return schedule;
	schedule_free(schedule);
	return NULL;
}

int schedules_load(struct webadmin *admin, struct err *err)
{
	struct config *config = admin->options.config;
	struct config_statement *statement;
	int result =
	    config_prepare(config,
			   "select name, pool, prefix, every, keep, settled, ran, runs,"
			   " missed, skipped, result, expendable, zone from snapshot_schedule",
			   &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		struct schedule *schedule = read_row(statement, err);

		result = schedule ? load_volumes(config, schedule, err) : err->code;
		if (result < 0) {
			schedule_free(schedule);
			break;
		}
		schedule_insert(admin, schedule);
	}
	config_finish(statement);
	return result;
}

/* ---- the timer ---- */
struct due_run {
	struct webadmin *admin;
	char name[SCHEDULE_NAME_MAX + 1];
};

static void run_answered(void *context, int status, const json_t *body)
{
	struct due_run *due = context;
	struct schedule *schedule = schedule_find(due->admin, due->name);

	(void)body;
	if (schedule)
		schedule->running = false;
	if (status != 200)
		log_warning("snapshot schedule %s: a run was refused (%d)", due->name, status);
	heap_free(due);
}

static void run_due(struct webadmin *admin, struct schedule *schedule)
{
	struct due_run *due = heap_zalloc(sizeof *due);
	char path[ROUTE_PATH_MAX];

	if (!due)
		return; /* the next look tries again */
	due->admin = admin;
	memcpy(due->name, schedule->name, sizeof due->name);
	schedule->running = true;
	snprintf(path, sizeof path, "/api/v1/snapshot-schedules/%s/run", schedule->name);
	webadmin_call(admin, "POST", path, NULL, run_answered, due);
}

static struct schedule *take_due(struct webadmin *admin)
{
	list_for_each (it, &admin->schedules) {
		struct schedule *schedule = list_entry(it, struct schedule, link);

		if (schedule->due) {
			schedule->due = false;
			return schedule;
		}
	}
	return NULL;
}

static void look(struct timer *timer)
{
	struct webadmin *admin = container_of(timer, struct webadmin, schedule_timer);
	int64_t now = now_of(admin), wait = LOOK_S;
	struct schedule *ready;

	list_for_each (it, &admin->schedules) {
		struct schedule *schedule = list_entry(it, struct schedule, link);
		int64_t next;

		if (schedule->settled > now + AHEAD_S) /* the clock was ahead once */
			schedule->settled = now;
		next = schedule_next(schedule);
		schedule->due = !schedule->running && next <= now;
		if (next > now && next - now < wait)
			wait = next - now;
	}
	scrub_plan_look(admin, now);
	/* A run that is answered at once may take others out of the list: from the start again. */
	while ((ready = take_due(admin)))
		run_due(admin, ready);
	if (!admin->phase)
		timer_start(timer, (uint64_t)wait * NS_PER_S);
}

void schedule_look_soon(struct webadmin *admin)
{
	timer_start(&admin->schedule_timer, 1);
}

void schedules_start(struct webadmin *admin)
{
	list_for_each (it, &admin->model.pools) /* who asks at once is told */
		scrub_plan_load(admin, list_entry(it, struct model_pool, link));
	timer_init(&admin->schedule_timer, admin->options.control, look);
	timer_start(&admin->schedule_timer, NS_PER_S); /* not before who waits for the start */
}

void schedules_stop(struct webadmin *admin)
{
	timer_stop(&admin->schedule_timer);
}

void schedules_free(struct webadmin *admin)
{
	while (!list_empty(&admin->schedules))
		schedule_remove(admin, list_entry(admin->schedules.next, struct schedule, link));
}
