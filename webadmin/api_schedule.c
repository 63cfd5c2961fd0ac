/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/api_schedule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/bin.h"
#include "webadmin/move.h"

/* Schedules of snapshots: making, showing, changing, deleting them, and a run of one. */

/* ---- showing ---- */
/* A reference to the volume with this identity, NULL: there is none, or the pool is away. */
static struct volume *volume_of(struct model *model, const char *pool_name, const uint8_t uuid[16])
{
	struct model_pool *pool = model_pool_find(model, pool_name);
	struct volume *volume = NULL;

	if (!pool || !pool->pool)
		return NULL;
	while ((volume = pool_volume_next(pool->pool, volume)))
		if (memcmp(volume->identity.uuid, uuid, 16) == 0 && !model_hides(model, volume))
			return volume;
	return NULL;
}

static json_t *show_volumes(struct model *model, const struct schedule *schedule)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < schedule->volume_count; i++) {
		const struct schedule_volume *known = &schedule->volumes[i];
		struct volume *volume = volume_of(model, schedule->pool, known->uuid);

		json_array_append_new(list, json_sprintf("%s/%s", schedule->pool,
							 volume ? volume->name : known->name));
		volume_unref(volume);
	}
	return list;
}

json_t *schedule_show(struct model *model, const struct schedule *schedule)
{
	int64_t next = schedule_next(schedule);
	char keep[KEEP_TEXT_MAX];
	json_t *object;

	keep_print(&schedule->keep, keep);
	object = json_pack("{s:s,s:o,s:s,s:s,s:s,s:I,s:I,s:I,s:s}", "name", schedule->name,
			   "volumes", show_volumes(model, schedule), "every", schedule->every,
			   "keep", keep, "prefix", schedule->prefix, "runs",
			   (json_int_t)schedule->runs, "missed", (json_int_t)schedule->missed,
			   "skipped", (json_int_t)schedule->skipped, "result", schedule->result);
	json_object_set_new(object, "zone", json_string(schedule->zone_name));
	json_object_set_new(object, "expendable", json_boolean(schedule->expendable));
	json_object_set_new(object, "next",
			    next == INT64_MAX ? json_null() : json_integer((json_int_t)next));
	json_object_set_new(object, "last",
			    schedule->ran ? json_integer((json_int_t)schedule->ran) : json_null());
	return object;
}

void api_schedule_list(struct api_request *request)
{
	json_t *list = json_array();

	list_for_each (it, &request->admin->schedules)
		json_array_append_new(
		    list, schedule_show(request->model, list_entry(it, struct schedule, link)));
	api_reply(request, 200, list);
}

static struct schedule *find(struct api_request *request)
{
	struct schedule *schedule = schedule_find(request->admin, request->match.param[0]);

	if (!schedule)
		api_reply_error(request, 404, "schedule_not_found", "no snapshot schedule named %s",
				request->match.param[0]);
	return schedule;
}

void api_schedule_show(struct api_request *request)
{
	struct schedule *schedule = find(request);

	if (schedule)
		api_reply(request, 200, schedule_show(request->model, schedule));
}

/* ---- making ---- */
/* POOL/VOLUME; all of one pool. 0, or the error with a code for programs. */
static int add_volume(struct api_request *request, struct schedule *schedule, const char *text,
		      const char **ret_code)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	struct schedule_volume *known = &schedule->volumes[schedule->volume_count];
	char pool[POOL_NAME_MAX + 1];
	struct volume *volume;

	*ret_code = "bad_name";
	if (!slash || (size_t)(slash - text) >= sizeof pool || strchr(text, '@'))
		return err_set(&request->err, -EINVAL, "a volume is named POOL/NAME, not %s",
			       text ? text : "");
	snprintf(pool, sizeof pool, "%.*s", (int)(slash - text), text);
	if (schedule->pool[0] && strcmp(schedule->pool, pool) != 0)
		return err_set(&request->err, -EINVAL,
			       "one instant is for volumes of one pool: %s is not in %s", text,
			       schedule->pool);
	volume = model_find_volume(request->model, pool, slash + 1, ret_code, &request->err);
	if (!volume)
		return request->err.code;
	*ret_code = move_blocks(request->model, volume, &request->err);
	if (*ret_code) {
		volume_unref(volume);
		return request->err.code;
	}
	memcpy(schedule->pool, pool, sizeof pool);
	memcpy(known->uuid, volume->identity.uuid, sizeof known->uuid);
	snprintf(known->name, sizeof known->name, "%.*s", VOLUME_NAME_MAX, volume->name);
	volume_unref(volume);
	for (unsigned i = 0; i < schedule->volume_count; i++)
		if (memcmp(schedule->volumes[i].uuid, known->uuid, sizeof known->uuid) == 0)
			return err_set(&request->err, -EINVAL, "volume %s is named twice", text);
	schedule->volume_count++;
	return 0;
}

/* Two of one volume with one prefix would delete each other's snapshots. */
static int check_prefix(struct webadmin *admin, const struct schedule *mine, struct err *err)
{
	list_for_each (it, &admin->schedules) {
		const struct schedule *other = list_entry(it, struct schedule, link);

		if (strcmp(other->prefix, mine->prefix) != 0 ||
		    strcmp(other->name, mine->name) == 0)
			continue;
		for (unsigned i = 0; i < other->volume_count; i++)
			for (unsigned j = 0; j < mine->volume_count; j++)
				if (memcmp(other->volumes[i].uuid, mine->volumes[j].uuid, 16) == 0)
					return err_set(
					    err, -EEXIST,
					    "schedule %s names its snapshots of %s/%s \"%s-...\" "
					    "already: give this one another prefix",
					    other->name, mine->pool, mine->volumes[j].name,
					    mine->prefix);
	}
	return 0;
}

static int read_volumes(struct api_request *request, struct schedule *schedule, const json_t *names,
			const char **ret_code)
{
	size_t count = json_array_size(names);

	if (count == 0 || count > SCHEDULE_VOLUMES_MAX) {
		*ret_code = "bad_request";
		return err_set(&request->err, -EINVAL, "a schedule is for 1 to %u volumes",
			       SCHEDULE_VOLUMES_MAX);
	}
	schedule->volumes = heap_zalloc_array(SCHEDULE_VOLUMES_MAX, sizeof *schedule->volumes);
	if (!schedule->volumes)
		return err_set(&request->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		int result = add_volume(request, schedule,
					json_string_value(json_array_get(names, i)), ret_code);

		if (result < 0)
			return result;
	}
	return 0;
}

struct wanted {
	const char *name, *every, *keep, *prefix, *zone;
	const json_t *volumes; /* NULL: those it has */
	int expendable;
};

/* Better now than in a run at night. */
static int check_expendable(struct model *model, const struct schedule *schedule, struct err *err)
{
	const struct model_pool *pool = model_pool_find(model, schedule->pool);

	if (pool && pool->pool && pool_can(pool->pool, POOL_EXPENDABLES))
		return 0;
	return err_set(err, -EOPNOTSUPP, "pool %s does not offer snapshots that may be given up",
		       schedule->pool);
}

/* What can be read without a look at what there is. */
static int read_texts(struct schedule *schedule, const struct wanted *wanted, struct err *err)
{
	int result;

	if (strlen(wanted->name) > SCHEDULE_NAME_MAX ||
	    strlen(wanted->every) >= sizeof schedule->every || strlen(wanted->zone) > ZONE_NAME_MAX)
		return err_set(err, -EINVAL, "that is too long");
	snprintf(schedule->name, sizeof schedule->name, "%s", wanted->name);
	snprintf(schedule->every, sizeof schedule->every, "%s", wanted->every);
	snprintf(schedule->zone_name, sizeof schedule->zone_name, "%s", wanted->zone);
	schedule->expendable = wanted->expendable;
	result = volume_name_check(wanted->name, err);
	if (result == 0)
		result = when_parse(wanted->every, &schedule->when, err);
	if (result == 0)
		result = schedule_read_zone(schedule, err);
	if (result == 0)
		result = keep_parse(wanted->keep, &schedule->keep, err);
	if (result == 0)
		result = prefix_check(wanted->prefix, err);
	if (result == 0)
		snprintf(schedule->prefix, sizeof schedule->prefix, "%s", wanted->prefix);
	return result;
}

/* A schedule is new, or a new one for what is there: its counts, and its volumes if no others are
 * named. */
static int read_schedule(struct api_request *request, struct schedule *schedule,
			 const struct wanted *wanted, const char **ret_code)
{
	struct err *err = &request->err;
	int result;

	*ret_code = "bad_request";
	result = read_texts(schedule, wanted, err);
	if (result < 0)
		return result;
	if (schedule_next(schedule) == INT64_MAX)
		return err_set(err, -EINVAL, "\"%s\" never comes", wanted->every);
	if (wanted->volumes)
		result = read_volumes(request, schedule, wanted->volumes, ret_code);
	if (result == 0 && schedule->expendable) {
		*ret_code = "not_supported";
		result = check_expendable(request->model, schedule, err);
	}
	if (result == 0)
		*ret_code = "prefix_taken";
	return result < 0 ? result : check_prefix(request->admin, schedule, err);
}

static int store(struct api_request *request, const struct schedule *schedule,
		 int (*write)(struct config *, const struct schedule *, struct err *))
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = write(config, schedule, &request->err);
	return result == 0 ? api_commit(request) : result;
}

static json_t *what(const struct schedule *schedule)
{
	return json_sprintf("snapshot schedule %s", schedule->name);
}

/* Nothing is missed, for what is due counts from now on. */
static struct schedule *schedule_new(struct api_request *request)
{
	struct schedule *schedule = heap_zalloc(sizeof *schedule);

	if (schedule) {
		list_init(&schedule->link);
		schedule->settled =
		    (int64_t)(loop_wall(request->admin->options.control) / 1000000000ull);
	}
	return schedule;
}

void api_schedule_create(struct api_request *request)
{
	struct wanted wanted = {.keep = "all", .prefix = "auto", .zone = ""};
	const char *code = NULL;
	struct schedule *schedule;

	if (!api_unpack(request, "{s:s,s:o,s:s,s?:s,s?:s,s?:s,s?:b}", "name", &wanted.name,
			"volumes", &wanted.volumes, "every", &wanted.every, "keep", &wanted.keep,
			"prefix", &wanted.prefix, "zone", &wanted.zone, "expendable",
			&wanted.expendable))
		return;
	if (schedule_find(request->admin, wanted.name)) {
		api_reply_error(request, 409, "schedule_exists",
				"there is already a snapshot schedule named %s", wanted.name);
		return;
	}
	if (request->admin->schedule_count >= SCHEDULES_MAX) {
		api_reply_error(request, 409, "too_many", "there are %u schedules at most",
				SCHEDULES_MAX);
		return;
	}
	schedule = schedule_new(request);
	if (!schedule) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (read_schedule(request, schedule, &wanted, &code) < 0) {
		schedule_free(schedule);
		api_reply_failure(request, code);
		return;
	}
	if (store(request, schedule, schedule_store) < 0) {
		schedule_free(schedule);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		json_t *made = what(schedule), *after = schedule_show(request->model, schedule);

		schedule_free(schedule);
		api_reply_dry(request, made, json_object(), after);
		return;
	}
	schedule_insert(request->admin, schedule);
	schedule_look_soon(request->admin);
	log_notice("snapshot schedule %s made: %u volumes of pool %s, %s", schedule->name,
		   schedule->volume_count, schedule->pool, schedule->every);
	api_reply(request, 201, schedule_show(request->model, schedule));
}

/* @old with all that does not change; NULL: out of memory. */
static struct schedule *copy_of(struct api_request *request, const struct schedule *old,
				bool volumes)
{
	struct schedule *copy = schedule_new(request);

	if (!copy)
		return NULL;
	copy->ran = old->ran;
	copy->runs = old->runs;
	copy->missed = old->missed;
	copy->skipped = old->skipped;
	copy->seen = old->seen;
	copy->troubled = old->troubled && (!old->zone_name[0] || old->zone);
	copy->running = old->running;
	memcpy(copy->result, old->result, sizeof copy->result);
	if (!volumes)
		return copy;
	memcpy(copy->pool, old->pool, sizeof copy->pool);
	copy->volumes = heap_zalloc_array(SCHEDULE_VOLUMES_MAX, sizeof *copy->volumes);
	if (!copy->volumes) {
		schedule_free(copy);
		return NULL;
	}
	memcpy(copy->volumes, old->volumes, old->volume_count * sizeof *copy->volumes);
	copy->volume_count = old->volume_count;
	return copy;
}

/* Runs that were due go on being due when the times stay as they were. */
static void settle(struct schedule *changed, const struct schedule *old)
{
	if (strcmp(changed->every, old->every) == 0 &&
	    strcmp(changed->zone_name, old->zone_name) == 0 && old->settled < changed->settled)
		changed->settled = old->settled;
}

static void change(struct api_request *request, struct schedule *old, struct schedule *changed)
{
	settle(changed, old);
	if (store(request, changed, schedule_store_change) < 0) {
		schedule_free(changed);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		json_t *name = what(old), *after = schedule_show(request->model, changed);

		schedule_free(changed);
		api_reply_dry(request, name, schedule_show(request->model, old), after);
		return;
	}
	schedule_remove(request->admin, old);
	schedule_insert(request->admin, changed);
	schedule_look_soon(request->admin);
	log_notice("snapshot schedule %s changed: %u volumes of pool %s, %s%s%s", changed->name,
		   changed->volume_count, changed->pool, changed->every,
		   changed->zone_name[0] ? ", time of " : "", changed->zone_name);
	api_reply(request, 200, schedule_show(request->model, changed));
}

void api_schedule_change(struct api_request *request)
{
	struct schedule *old = find(request), *changed;
	const char *code = NULL;
	char keep[KEEP_TEXT_MAX];
	struct wanted wanted;

	if (!old)
		return;
	keep_print(&old->keep, keep);
	wanted = (struct wanted){.name = old->name,
				 .every = old->every,
				 .keep = keep,
				 .prefix = old->prefix,
				 .zone = old->zone_name,
				 .expendable = old->expendable};
	if (!api_unpack(request, "{s?:o,s?:s,s?:s,s?:s,s?:s,s?:b}", "volumes", &wanted.volumes,
			"every", &wanted.every, "keep", &wanted.keep, "prefix", &wanted.prefix,
			"zone", &wanted.zone, "expendable", &wanted.expendable))
		return;
	if (json_object_size(request->body) == 0) {
		api_reply_error(request, 400, "nothing_to_change",
				"say volumes, every, keep, prefix, zone or expendable");
		return;
	}
	changed = copy_of(request, old, !wanted.volumes);
	if (!changed) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (read_schedule(request, changed, &wanted, &code) < 0) {
		schedule_free(changed);
		api_reply_failure(request, code);
		return;
	}
	change(request, old, changed);
}

void api_schedule_delete(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct schedule *schedule = find(request);
	int result;

	if (!schedule)
		return;
	result = config_begin(config, &request->err);
	if (result == 0)
		result =
		    config_run(config, &request->err,
			       "delete from snapshot_schedule where name = ?", "s", schedule->name);
	if (result == 0)
		result = api_commit(request);
	if (result < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, what(schedule), schedule_show(request->model, schedule),
			      json_object());
		return;
	}
	log_notice("snapshot schedule %s deleted; its snapshots stay", schedule->name);
	schedule_remove(request->admin, schedule);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[0]));
}

/* ---- a run ---- */
#define DELETIONS_MAX 1024u /* of one run; the next one goes on */

struct run {
	struct snapshot_spec specs[SCHEDULE_VOLUMES_MAX];
	unsigned count;
	char name[AUTO_NAME_MAX + 1];
	struct volume *old[DELETIONS_MAX];
	unsigned old_count, deleted, left; /* left: could not be deleted */
	int64_t now;
	bool made;
};

/* Of the runs that were due since the last one this is one. */
static bool count_missed(struct schedule *schedule, int64_t now)
{
	unsigned due = schedule_next(schedule) == INT64_MAX
			   ? 0
			   : when_count(&schedule->when, schedule->zone, schedule->settled, now);

	if (due <= 1)
		return false;
	schedule->missed += due - 1;
	log_warning("snapshot schedule %s: %u runs were missed", schedule->name, due - 1);
	return true;
}

/* A zone whose rules have changed in the meantime; one that can not be read stays what it was. */
static void read_zone_again(struct schedule *schedule)
{
	struct err err = {0};

	if (schedule_read_zone(schedule, &err) < 0)
		log_warning("snapshot schedule %s: %s", schedule->name, err.text);
}

static void run_end(struct api_request *request, const char *why)
{
	struct schedule *schedule = schedule_find(request->admin, request->match.param[0]);
	struct config *config = request->admin->options.config;
	struct run *run = request->state;
	int result;

	for (unsigned i = 0; i < run->count; i++)
		volume_unref(run->specs[i].volume);
	run->count = 0;
	schedule->seen = true;
	schedule->troubled = count_missed(schedule, run->now) || !run->made;
	schedule->ran = schedule->settled = run->now;
	schedule->runs += run->made;
	schedule->skipped += !run->made;
	if (run->made)
		snprintf(schedule->result, sizeof schedule->result,
			 "%s made; %u deleted, %u could not be", run->name, run->deleted,
			 run->left);
	else
		snprintf(schedule->result, sizeof schedule->result, "skipped: %s", why);
	if (run->made)
		log_notice("snapshot schedule %s: %s", schedule->name, schedule->result);
	else
		log_warning("snapshot schedule %s: %s", schedule->name, schedule->result);
	result = config_begin(config, &request->err);
	if (result == 0)
		result = schedule_store_run(config, schedule, &request->err);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0)
		log_error("snapshot schedule %s: %s", schedule->name, request->err.text);
	api_reply(request, 200, schedule_show(request->model, schedule));
}

static void delete_next(struct api_request *request);

static void old_deleted(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct run *run = request->state;

	run->old_count--;
	run->deleted += result == 0;
	run->left += result < 0;
	if (result < 0)
		volume_unref(run->old[run->old_count]);
	delete_next(request);
}

static void delete_next(struct api_request *request)
{
	struct run *run = request->state;

	if (run->old_count == 0) {
		run_end(request, NULL);
		return;
	}
	request->call = (struct pool_call){.done = old_deleted};
	snapshot_delete(run->old[run->old_count - 1], &request->call);
}

/* A snapshot that nobody has asked to stay. */
static bool may_go(struct model *model, struct volume *snapshot, const struct snapshot_info *info)
{
	struct model_target *target;

	return !info->held && !info->clones &&
	       !model_lun_of_volume(model, snapshot->identity.uuid, NULL, &target);
}

struct candidate {
	struct volume *snapshot;
	uint64_t group; /* says which is newer, whatever the clock was set to */
	int64_t time;
	bool may_go;
};

static int newest_first(const void *a, const void *b)
{
	const struct candidate *one = a, *other = b;

	return one->group < other->group ? 1 : one->group > other->group ? -1 : 0;
}

static unsigned count_snapshots(struct volume *volume)
{
	unsigned count = 0;

	for (struct volume *it = snapshot_next(volume, NULL); it; it = snapshot_next(volume, it))
		count++;
	return count;
}

static unsigned gather(struct api_request *request, const struct schedule *schedule,
		       struct volume *volume, struct candidate *candidates, unsigned room)
{
	unsigned count = 0;

	for (struct volume *it = snapshot_next(volume, NULL); it; it = snapshot_next(volume, it)) {
		struct snapshot_info info;

		if (count < room && snapshot_get_info(it, &info) &&
		    auto_name_is(schedule->prefix, info.name))
			candidates[count++] =
			    (struct candidate){.snapshot = volume_ref(it),
					       .group = info.group,
					       .time = (int64_t)(info.created_ns / 1000000000ull),
					       .may_go = may_go(request->model, it, &info)};
	}
	qsort(candidates, count, sizeof *candidates, newest_first);
	return count;
}

/* What of a volume's automatic snapshots is kept no longer. */
static void choose_old(struct api_request *request, const struct schedule *schedule,
		       struct volume *volume)
{
	struct run *run = request->state;
	unsigned room = count_snapshots(volume), count;
	struct candidate *candidates = heap_zalloc_array(room, sizeof *candidates);
	int64_t *times = heap_zalloc_array(room, sizeof *times);
	bool *kept = heap_zalloc_array(room, sizeof *kept);

	count =
	    candidates && times && kept ? gather(request, schedule, volume, candidates, room) : 0;
	for (unsigned i = 0; i < count; i++)
		times[i] = candidates[i].time;
	if (count)
		keep_choose(&schedule->keep, schedule->zone, times, count, kept);
	for (unsigned i = 0; i < count; i++) {
		if (!kept[i] && candidates[i].may_go && run->old_count < DELETIONS_MAX) {
			run->old[run->old_count++] = candidates[i].snapshot;
			continue;
		}
		run->left += !kept[i];
		volume_unref(candidates[i].snapshot);
	}
	heap_free(candidates);
	heap_free(times);
	heap_free(kept);
}

static void snapshots_made(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct schedule *schedule = schedule_find(request->admin, request->match.param[0]);
	struct run *run = request->state;

	if (result < 0) {
		run_end(request, call->err.text[0] ? call->err.text : strerror(-result));
		return;
	}
	run->made = true;
	for (unsigned i = 0; i < run->count; i++)
		choose_old(request, schedule, run->specs[i].volume);
	delete_next(request);
}

static bool name_is_taken(const struct run *run)
{
	bool taken = false;

	for (unsigned i = 0; i < run->count; i++) {
		struct volume *volume = run->specs[i].volume, *found;
		char path[VOLUME_PATH_MAX + 2];

		snprintf(path, sizeof path, "%.*s@%s", VOLUME_NAME_MAX, volume->name, run->name);
		found = pool_find_volume(volume->pool, path);
		taken |= found != NULL;
		volume_unref(found);
	}
	return taken;
}

/* References to all volumes; false with *ret_why when one is not there. */
static bool find_all(struct api_request *request, struct schedule *schedule, const char **ret_why)
{
	struct run *run = request->state;
	const struct model_pool *pool = model_pool_find(request->model, schedule->pool);

	*ret_why = "its pool is not available";
	if (!pool || !pool->pool)
		return false;
	*ret_why = "a volume of it is not there any more";
	for (unsigned i = 0; i < schedule->volume_count; i++) {
		struct schedule_volume *known = &schedule->volumes[i];
		struct volume *volume = volume_of(request->model, schedule->pool, known->uuid);

		if (!volume)
			return false;
		snprintf(known->name, sizeof known->name, "%.*s", VOLUME_NAME_MAX, volume->name);
		run->specs[run->count++] = (struct snapshot_spec){
		    .volume = volume, .name = run->name, .expendable = schedule->expendable};
	}
	return true;
}

void api_schedule_run(struct api_request *request)
{
	struct schedule *schedule = find(request);
	const char *why;
	struct run *run;

	if (!schedule)
		return;
	request->state = run = heap_zalloc(sizeof *run);
	if (!run) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	run->now = (int64_t)(loop_wall(request->admin->options.control) / 1000000000ull);
	read_zone_again(schedule);
	if (schedule->zone_name[0] && !schedule->zone) {
		run_end(request, "its time zone can not be read");
		return;
	}
	if (!find_all(request, schedule, &why)) {
		run_end(request, why);
		return;
	}
	auto_name(schedule->prefix, schedule->zone, run->now, false, run->name);
	if (name_is_taken(run))
		auto_name(schedule->prefix, schedule->zone, run->now, true, run->name);
	if (name_is_taken(run)) {
		run_end(request, "this minute has its snapshot already");
		return;
	}
	request->call = (struct pool_call){.done = snapshots_made};
	snapshot_create(run->specs[0].volume->pool, run->specs, run->count, &request->call);
}
