/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/expiry.h"

#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/replication.h"
#include "webadmin/admin.h"
#include "webadmin/bin.h"
#include "webadmin/move.h"

#define NS_PER_S  1000000000ull
#define LOOK_NS   200000000ull    /* between looks */
#define CLOSE_NS  20000000ull     /* ... from the last watermark on */
#define WAIT_NS   (5 * NS_PER_S)  /* at most for the space of one, before the next */
#define REST_NS   (60 * NS_PER_S) /* before those that could not be deleted are tried again */
#define RECENT_S  3600
#define STEP_PATH "/api/v1/volumes/%s/%.*s/snapshots/%s/give-up"
#define BIN_PATH  "/api/v1/bin/%s/%s/give-up"

/* ---- which ---- */
static bool spends(struct pool *pool)
{
	struct pool_info info;

	pool_get_info(pool, &info);
	return pool_spends(&info);
}

/* ... whatever the pool's space is. */
static const char *stays(struct model *model, struct volume *snapshot,
			 const struct snapshot_info *info)
{
	struct volume *of = snapshot_of(snapshot);
	struct model_target *target;
	struct err err = {0};
	const char *why = NULL;

	if (!info->expendable)
		why = "it was not approved for that";
	else if (info->held)
		why = "it is held";
	else if (info->clones)
		why = "it has clones";
	else if (model_lun_of_volume(model, snapshot->identity.uuid, NULL, &target))
		why = "it is a LUN";
	else if (replication_owns_snapshot(info->name))
		why = "it is replication's";
	else if (of && move_blocks(model, of, &err))
		why = "its volume is on its way to another pool";
	volume_unref(of);
	return why;
}

const char *expiry_refusal(struct model *model, struct volume *snapshot)
{
	struct snapshot_info info;
	const char *why;

	if (!snapshot_get_info(snapshot, &info))
		return "it is not a snapshot";
	why = stays(model, snapshot, &info);
	if (!why && !spends(snapshot->pool))
		why = "its pool has space";
	return why;
}

/* Older ones first; of one instant by name. */
static int order(uint64_t group, const char *name, uint64_t than_group, const char *than)
{
	return group != than_group ? (group < than_group ? -1 : 1) : strcmp(name, than);
}

/* The oldest behind the one that was passed over: POOL's VOLUME@SNAPSHOT and its group. */
struct choice {
	char name[VOLUME_PATH_MAX + 1];
	uint64_t group;
	bool found;
};

static void consider(struct model *model, const struct expiry *expiry, struct volume *snapshot,
		     struct choice *choice)
{
	struct snapshot_info info;

	if (!snapshot_get_info(snapshot, &info) || !info.expendable ||
	    order(info.group, snapshot->name, expiry->passed_group, expiry->passed) <= 0)
		return;
	if (choice->found && order(info.group, snapshot->name, choice->group, choice->name) >= 0)
		return;
	if (stays(model, snapshot, &info))
		return;
	choice->found = true;
	choice->group = info.group;
	snprintf(choice->name, sizeof choice->name, "%s", snapshot->name);
}

static struct choice choose(struct model *model, const struct model_pool *pool)
{
	struct choice choice = {0};
	struct volume *volume = NULL;

	while ((volume = pool_volume_next(pool->pool, volume))) {
		struct volume *it = NULL;

		while (!model_hides(model, volume) && (it = snapshot_next(volume, it)))
			consider(model, &pool->expiry, it, &choice);
	}
	return choice;
}

/* ---- giving up ---- */
struct step {
	struct webadmin *admin;
	char pool[POOL_NAME_MAX + 1];
	struct choice choice;
};

void expiry_note(struct webadmin *admin, const char *pool_name, const char *name)
{
	struct model_pool *pool = model_pool_find(&admin->model, pool_name);

	log_warning("pool %s is at its end: snapshot %s/%s, which might be given up for that, "
		    "was deleted",
		    pool_name, pool_name, name);
	if (!pool)
		return;
	pool->expiry.given_up++;
	pool->expiry.at = (int64_t)(loop_wall(admin->options.control) / NS_PER_S);
	pool->expiry.recent = true;
	pool->expiry.until_ns = loop_now(admin->options.control) + WAIT_NS;
	snprintf(pool->expiry.name, sizeof pool->expiry.name, "%s", name);
}

static void answered(void *context, int status, const json_t *body)
{
	struct step *step = context;
	struct model_pool *pool = model_pool_find(&step->admin->model, step->pool);
	const char *why = json_string_value(json_object_get(body, "detail"));

	if (pool)
		pool->expiry.asked = false;
	if (pool && status != 200) { /* the next one, then */
		log_notice("pool %s is at its end, and snapshot %s/%s stays: %s", step->pool,
			   step->pool, step->choice.name, why ? why : "it could not be deleted");
		pool->expiry.passed_group = step->choice.group;
		memcpy(pool->expiry.passed, step->choice.name, sizeof pool->expiry.passed);
	}
	heap_free(step);
}

static void give_up(struct webadmin *admin, struct model_pool *pool, const struct choice *choice)
{
	const char *at = strchr(choice->name, '@');
	struct step *step = heap_zalloc(sizeof *step);
	char path[ROUTE_PATH_MAX];

	if (!step || !at) {
		heap_free(step);
		return; /* the next look tries again */
	}
	step->admin = admin;
	step->choice = *choice;
	memcpy(step->pool, pool->name, sizeof step->pool);
	snprintf(path, sizeof path, STEP_PATH, pool->name, (int)(at - choice->name), choice->name,
		 at + 1);
	pool->expiry.asked = true;
	webadmin_call(admin, "POST", path, NULL, answered, step);
}

/* ---- what was deleted goes first ---- */
static void bin_answered(void *context, int status, const json_t *body)
{
	struct step *step = context;
	struct model_pool *pool = model_pool_find(&step->admin->model, step->pool);
	const char *why = json_string_value(json_object_get(body, "detail"));

	if (pool)
		pool->expiry.asked = false;
	if (pool && status == 200)
		pool->expiry.until_ns = loop_now(step->admin->options.control) + WAIT_NS;
	if (status != 200 && status != 404 && status != 409)
		log_notice("pool %s: what was deleted stays: %s", step->pool,
			   why ? why : "it could not be deleted for good");
	heap_free(step);
}

/* True: one is on its way out. */
static bool bin_gives_way(struct webadmin *admin, struct model_pool *pool, bool spends)
{
	struct bin_entry *entry = pool->expiry.asked ? NULL : bin_next(admin, pool, spends);
	struct step *step = entry ? heap_zalloc(sizeof *step) : NULL;
	char path[ROUTE_PATH_MAX], id[BIN_ID];

	if (!step)
		return false;
	step->admin = admin;
	memcpy(step->pool, pool->name, sizeof step->pool);
	snprintf(path, sizeof path, BIN_PATH, pool->name, bin_id(entry, id));
	pool->expiry.asked = true;
	webadmin_call(admin, "POST", path, NULL, bin_answered, step);
	return true;
}

/* ---- looking ---- */
static void look_back(struct webadmin *admin, struct expiry *expiry)
{
	int64_t wall = (int64_t)(loop_wall(admin->options.control) / NS_PER_S);

	if (wall - expiry->at >= RECENT_S || wall < expiry->at)
		expiry->recent = false;
}

/* From the last watermark on it is looked at more often. */
static bool is_close(struct model_pool *pool, struct pool_info *ret_info)
{
	if (!pool->pool || pool->busy || !pool_can(pool->pool, POOL_EXPENDABLES))
		return false;
	pool_get_info(pool->pool, ret_info);
	return !ret_info->read_only && pool_is_used(ret_info, ret_info->watermark[WATERMARKS - 1]);
}

static void end_round(struct expiry *expiry)
{
	expiry->passed_group = 0;
	expiry->passed[0] = '\0';
}

/* True: a snapshot is on its way out, and the list of pools may be another one. */
static bool look_at(struct webadmin *admin, struct model_pool *pool, const struct pool_info *info)
{
	uint64_t now = loop_now(admin->options.control);
	struct expiry *expiry = &pool->expiry;
	struct choice choice;

	if (!pool_spends(info)) {
		end_round(expiry);
		expiry->rest_ns = 0;
		return false;
	}
	if (expiry->asked || now < expiry->rest_ns || (info->reclaiming && now < expiry->until_ns))
		return false;
	if (bin_gives_way(admin, pool, true))
		return true;
	choice = choose(&admin->model, pool);
	if (choice.found) {
		give_up(admin, pool, &choice);
	} else if (expiry->passed[0]) {
		expiry->rest_ns = now + REST_NS;
		end_round(expiry);
	}
	return choice.found;
}

static void look(struct timer *timer)
{
	struct webadmin *admin = container_of(timer, struct webadmin, expiry_timer);
	uint64_t next = LOOK_NS;

	if (admin->phase)
		return;
	list_for_each (it, &admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);
		struct pool_info info;

		look_back(admin, &pool->expiry);
		if (pool->pool && !pool->busy && bin_gives_way(admin, pool, false))
			break;
		if (!is_close(pool, &info))
			continue;
		next = CLOSE_NS;
		if (look_at(admin, pool, &info))
			break;
	}
	timer_start(timer, next);
}

void expiry_start(struct webadmin *admin)
{
	timer_init(&admin->expiry_timer, admin->options.control, look);
	timer_start(&admin->expiry_timer, LOOK_NS);
}

void expiry_stop(struct webadmin *admin)
{
	timer_stop(&admin->expiry_timer);
}
