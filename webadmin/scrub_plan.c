/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/scrub_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

#define NS_PER_S  1000000000ull
#define NAME_SIZE 64 /* of the setting: by UUID, so that it stays when the pool comes back */

static int64_t now_of(struct webadmin *admin)
{
	return (int64_t)(loop_wall(admin->options.control) / NS_PER_S);
}

static void setting_name(const struct model_pool *pool, char name[NAME_SIZE])
{
	int length = snprintf(name, NAME_SIZE, "scrub-every-");

	for (unsigned i = 0; i < sizeof pool->uuid; i++)
		length +=
		    snprintf(name + length, NAME_SIZE - (size_t)length, "%02x", pool->uuid[i]);
}

static bool is_none(const char *every)
{
	return strcmp(every, "none") == 0;
}

int scrub_plan_check(const char *every, struct err *err)
{
	struct when when;

	if (strlen(every) > SCRUB_EVERY_MAX)
		return err_set(err, -EINVAL, "a rule has at most %d bytes", SCRUB_EVERY_MAX);
	return is_none(every) ? 0 : when_parse(every, &when, err);
}

/* A rule that is not understood any more is the default's: better once too often. */
static void take(struct scrub_plan *plan, const char *every, int64_t since)
{
	if (scrub_plan_check(every, NULL) < 0)
		every = SCRUB_EVERY_DEFAULT;
	snprintf(plan->every, sizeof plan->every, "%s", every);
	plan->since = since;
	if (!is_none(every) && when_parse(every, &plan->when, NULL) < 0)
		snprintf(plan->every, sizeof plan->every, "none");
}

/* The setting is "SINCE EVERY". */
void scrub_plan_load(struct webadmin *admin, struct model_pool *pool)
{
	char name[NAME_SIZE], value[SCRUB_EVERY_MAX + 32] = "", *every;
	long long since;

	if (pool->scrub_plan.every[0])
		return;
	setting_name(pool, name);
	webadmin_setting(admin, name, value, sizeof value);
	since = strtoll(value, &every, 10);
	if (every == value || *every != ' ')
		take(&pool->scrub_plan, SCRUB_EVERY_DEFAULT, now_of(admin));
	else
		take(&pool->scrub_plan, every + 1, since);
}

int scrub_plan_set(struct webadmin *admin, struct model_pool *pool, const char *every,
		   struct err *err)
{
	char name[NAME_SIZE], value[SCRUB_EVERY_MAX + 32];
	int64_t now = now_of(admin);
	int result = scrub_plan_check(every, err);

	if (result < 0)
		return result;
	setting_name(pool, name);
	snprintf(value, sizeof value, "%lld %s", (long long)now, every);
	result = webadmin_set_setting(admin, name, value, err);
	if (result == 0)
		take(&pool->scrub_plan, every, now);
	return result;
}

/* ---- runs ---- */
struct due_scrub {
	struct webadmin *admin;
	uint8_t uuid[16];
};

static void begun(void *context, int status, const json_t *body)
{
	struct due_scrub *due = context;

	list_for_each (it, &due->admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		if (memcmp(pool->uuid, due->uuid, sizeof due->uuid) != 0)
			continue;
		pool->scrub_plan.asked = false;
		if (status >= 300)
			log_warning("pool %s: the scrub that is due was refused (%d): %s",
				    pool->name, status,
				    json_string_value(json_object_get(body, "detail")));
	}
	heap_free(due);
}

static bool is_due(const struct model_pool *pool, int64_t now)
{
	const struct scrub_plan *plan = &pool->scrub_plan;
	struct pool_scrub_info info;
	int64_t last = plan->since, started;

	if (!pool->pool || !pool_can(pool->pool, POOL_SCRUBS) || plan->asked ||
	    is_none(plan->every))
		return false;
	pool_get_scrub(pool->pool, &info);
	if (info.state == SCRUB_RUNNING || info.state == SCRUB_PAUSED)
		return false;
	started = (int64_t)(info.started_ns / NS_PER_S);
	if (info.state != SCRUB_NEVER && started > last && started <= now)
		last = started; /* not one of a clock that was ahead */
	return when_next(&plan->when, NULL, last) <= now;
}

static void run(struct webadmin *admin, struct model_pool *pool)
{
	struct due_scrub *due = heap_zalloc(sizeof *due);
	char path[ROUTE_PATH_MAX];

	if (!due)
		return; /* the next look tries again */
	due->admin = admin;
	memcpy(due->uuid, pool->uuid, sizeof due->uuid);
	pool->scrub_plan.asked = true;
	snprintf(path, sizeof path, "/api/v1/pools/%s/scrub", pool->name);
	log_notice("pool %s: a scrub is due (%s)", pool->name, pool->scrub_plan.every);
	webadmin_call(admin, "POST", path, NULL, begun, due);
}

/* A clock that was ahead once: from now on. */
static void mend_since(struct webadmin *admin, struct model_pool *pool, int64_t now)
{
	scrub_plan_load(admin, pool);
	if (pool->scrub_plan.since > now)
		pool->scrub_plan.since = now;
}

void scrub_plan_look(struct webadmin *admin, int64_t now)
{
	list_for_each_safe (it, &admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		mend_since(admin, pool, now);
		if (is_due(pool, now))
			run(admin, pool);
	}
}
