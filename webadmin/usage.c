/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/usage.h"

#include <errno.h>
#include <string.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

#define YEARS_AWAY (10 * 366 * 24) /* hours: no forecast any more */

int64_t usage_forecast(const struct usage *rows, unsigned count)
{
	double n = count, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0, slope, left, hours;
	const struct usage *last = count ? &rows[count - 1] : NULL;

	if (count < 3 || last->hour - rows[0].hour < (int64_t)FORECAST_LEAST)
		return -1;
	for (unsigned i = 0; i < count; i++) {
		double x = (double)(rows[i].hour - rows[0].hour), y = (double)rows[i].used;

		sum_x += x;
		sum_y += y;
		sum_xx += x * x;
		sum_xy += x * y;
	}
	if (n * sum_xx - sum_x * sum_x <= 0)
		return -1;
	slope = (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
	left = last->size > last->used ? (double)(last->size - last->used) : 0;
	if (slope <= 0)
		return -1;
	hours = left / slope;
	return hours < YEARS_AWAY ? (int64_t)hours : -1;
}

/* ---- rows ---- */
static int store_row(struct config *config, const struct model_pool *pool,
		     const struct usage *usage, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "insert or replace into pool_usage(pool, hour, used, size)"
				    " values(?, ?, ?, ?)",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, pool->uuid, sizeof pool->uuid);
	config_bind_number(statement, 2, usage->hour);
	config_bind_number(statement, 3, (int64_t)usage->used);
	config_bind_number(statement, 4, (int64_t)usage->size);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static bool usage_of(const struct model_pool *pool, int64_t hour, struct usage *ret_usage)
{
	struct pool_info info;

	if (!pool->pool)
		return false;
	pool_get_info(pool->pool, &info);
	*ret_usage = (struct usage){hour, info.size_bytes - info.free_bytes, info.size_bytes};
	return info.size_bytes && !info.waiting;
}

static int prune(struct config *config, int64_t hour, struct err *err)
{
	return config_run(config, err, "delete from pool_usage where hour < ?", "i",
			  (int)(hour - (int64_t)USAGE_DAYS * 24));
}

static int store_all(struct webadmin *admin, int64_t hour, struct err *err)
{
	struct config *config = admin->options.config;
	struct usage usage;
	int result = config_begin(config, err);

	list_for_each (it, &admin->model.pools) {
		const struct model_pool *pool = list_entry(it, struct model_pool, link);

		if (result == 0 && usage_of(pool, hour, &usage))
			result = store_row(config, pool, &usage, err);
	}
	if (result == 0)
		result = prune(config, hour, err);
	if (result == 0)
		result = config_commit(config, err);
	config_abort(config);
	return result;
}

/* ---- forecasts ---- */
static void forecast(struct webadmin *admin, struct model_pool *pool, int64_t hour)
{
	struct usage rows[FORECAST_HOURS + 1];
	struct config_statement *statement;
	unsigned count = 0;

	pool->full_hours = -1;
	if (config_prepare(admin->options.config,
			   "select hour, used, size from pool_usage where pool = ? and hour >= ?"
			   " order by hour",
			   &statement, NULL) < 0)
		return;
	config_bind_blob(statement, 1, pool->uuid, sizeof pool->uuid);
	config_bind_number(statement, 2, hour - (int64_t)FORECAST_HOURS);
	while (count <= FORECAST_HOURS && config_step(statement, NULL) > 0)
		rows[count++] = (struct usage){config_number(statement, 0),
					       (uint64_t)config_number(statement, 1),
					       (uint64_t)config_number(statement, 2)};
	config_finish(statement);
	pool->full_hours = usage_forecast(rows, count);
}

void usage_look(struct webadmin *admin)
{
	int64_t hour = (int64_t)(loop_wall(admin->options.control) / 1000000000u / 3600);
	struct err err = {0};

	if (hour == admin->usage_hour || admin->change) /* its transaction may be open */
		return;
	admin->usage_hour = hour;
	if (store_all(admin, hour, &err) < 0)
		log_warning("the use of pools can not be stored: %s", err.text);
	list_for_each (it, &admin->model.pools)
		forecast(admin, list_entry(it, struct model_pool, link), hour);
}

/* ---- GET /pools/{pool}/usage ---- */
void api_pool_usage(struct api_request *request)
{
	struct model_pool *pool = model_pool_find(request->model, request->match.param[0]);
	struct config_statement *statement;
	json_t *list = json_array(), *body;

	if (!pool) {
		json_decref(list);
		api_reply_error(request, 404, "pool_not_found", "no pool named %s",
				request->match.param[0]);
		return;
	}
	if (config_prepare(request->admin->options.config,
			   "select hour, used, size from pool_usage where pool = ? order by hour",
			   &statement, &request->err) < 0) {
		json_decref(list);
		api_reply_failure(request, NULL);
		return;
	}
	config_bind_blob(statement, 1, pool->uuid, sizeof pool->uuid);
	while (config_step(statement, NULL) > 0)
		json_array_append_new(
		    list, json_pack("[I,I,I]", (json_int_t)config_number(statement, 0) * 3600,
				    (json_int_t)config_number(statement, 1),
				    (json_int_t)config_number(statement, 2)));
	config_finish(statement);
	body = json_pack("{s:[sss],s:o}", "columns", "at", "used_bytes", "size_bytes", "samples",
			 list);
	if (body && pool->full_hours >= 0)
		json_object_set_new(body, "full_in_hours",
				    json_integer((json_int_t)pool->full_hours));
	api_reply(request, 200, body);
}
