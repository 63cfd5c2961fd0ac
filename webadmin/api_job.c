/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/move.h"

/* Long work, the same shape for each kind: the scrub of a pool, a device of one that is being
 * evacuated, a volume on its way to another pool, an update of the appliance. */

static json_t *show_scrub_job(struct pool *pool)
{
	struct pool_scrub_info info;
	json_t *scrub = show_scrub(pool), *job = NULL;

	pool_get_scrub(pool, &info);
	if (scrub && info.state != SCRUB_NEVER) {
		job = json_pack("{s:o,s:s,s:s}", "id", json_sprintf("scrub-%s", pool_name(pool)),
				"kind", "scrub", "object", pool_name(pool));
		for (const char *const *key = (const char *const[]){"state", "progress", "started",
								    "ended", "eta_seconds", NULL};
		     job && *key; key++)
			json_object_set(job, *key, json_object_get(scrub, *key));
	}
	json_decref(scrub);
	return job;
}

static void list_jobs(struct api_request *request, const json_t *update)
{
	json_t *jobs = json_array(), *last = update_show_job(update);

	list_for_each (it, &request->model->pools) {
		struct pool *pool = list_entry(it, struct model_pool, link)->pool;
		json_t *job = pool ? show_scrub_job(pool) : NULL;

		if (job)
			json_array_append_new(jobs, job);
		job = pool ? show_evacuation(pool) : NULL;
		if (job)
			json_array_append_new(jobs, job);
	}
	list_for_each (it, &request->model->moves)
		json_array_append_new(jobs, show_move(list_entry(it, struct model_move, link)));
	if (last)
		json_array_append_new(jobs, last);
	api_reply(request, 200, jobs);
}

void api_job_list(struct api_request *request)
{
	relay_look(request, "/api/v1/appliance/update", list_jobs);
}
