/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/size.h"
#include "webadmin/api.h"
#include "webadmin/move.h"
#include "webadmin/replica.h"

/* Replication: pairing, groups. */

struct replica_work {
	struct replication_call call;
	struct api_request *request;
	int status;
};

/* The group is the one of the path, or is to be made. Steals @plan. */
static void reply_plan(struct api_request *request, json_t *plan)
{
	const char *name = request->match.param[0];

	if (!name[0])
		name = json_string_value(json_object_get(request->body, "name"));
	if (!name) /* who is found out by a file */
		name = json_string_value(json_object_get(plan, "name"));
	api_reply_dry(request, json_sprintf("replication group %s", name),
		      json_incref(json_object_get(plan, "before")),
		      json_incref(json_object_get(plan, "after")));
	json_decref(plan);
}

static void finished(struct replication_call *call, int result)
{
	struct replica_work *work = container_of(call, struct replica_work, call);
	struct api_request *request = work->request;

	if (result < 0) {
		request->err = call->err;
		request->err.code = result;
		json_decref(call->reply);
		api_reply_failure(request, result == -ENODATA ? "not_sealed" : NULL);
		return;
	}
	if (call->dry)
		reply_plan(request, call->reply);
	else
		api_reply(request, work->status, call->reply ? call->reply : json_object());
}

static struct replica_work *work_new(struct api_request *request, int status)
{
	struct replica_work *work = heap_zalloc(sizeof *work);

	request->state = work;
	if (!work) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return NULL;
	}
	*work = (struct replica_work){.call = {.done = finished, .dry = api_is_dry(request)},
				      .request = request,
				      .status = status};
	return work;
}

void api_replica_code(struct api_request *request)
{
	char code[REPLICATION_CODE];

	replication_code(request->admin->replication, code);
	api_reply(request, 201, json_pack("{s:s,s:i}", "code", code, "seconds", 600));
}

void api_replica_pair(struct api_request *request)
{
	const char *address, *code;
	struct replica_work *work;

	if (!api_unpack(request, "{s:s,s:s}", "address", &address, "code", &code))
		return;
	work = work_new(request, 200);
	if (work)
		replication_pair(request->admin->replication, address, code, &work->call);
}

void api_replica_peers(struct api_request *request)
{
	api_reply(request, 200, replication_peers(request->admin->replication));
}

void api_replica_key(struct api_request *request)
{
	api_reply(request, 200, replication_key(request->admin->replication));
}

void api_replica_rekey(struct api_request *request)
{
	if (replication_rekey(request->admin->replication, &request->err) < 0)
		api_reply_failure(request, NULL);
	else
		api_reply(request, 202, replication_key(request->admin->replication));
}

void api_replica_rekey_cancel(struct api_request *request)
{
	if (replication_rekey_cancel(request->admin->replication, &request->err) < 0)
		api_reply_failure(request, NULL);
	else
		api_reply(request, 200, replication_key(request->admin->replication));
}

void api_replica_peer_set(struct api_request *request)
{
	const char *address;
	json_t *peer, *before;

	if (!api_unpack(request, "{s:s}", "address", &address))
		return;
	if (replication_peer_set(request->admin->replication, request->match.param[0], address,
				 api_is_dry(request), &peer, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (!api_is_dry(request)) {
		api_reply(request, 200, peer);
		return;
	}
	before = json_object_get(peer, "before");
	api_reply_dry(
	    request,
	    json_sprintf("paired node %s", json_string_value(json_object_get(before, "name"))),
	    json_incref(before), json_incref(json_object_get(peer, "after")));
	json_decref(peer);
}

void api_replica_unpair(struct api_request *request)
{
	json_t *peer = NULL;

	if (replication_unpair(request->admin->replication, request->match.param[0],
			       api_is_dry(request), &peer, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request))
		api_reply_dry(request,
			      json_sprintf("pairing with %s",
					   json_string_value(json_object_get(peer, "name"))),
			      json_incref(peer), json_object());
	else
		api_reply(request, 200, json_object());
	json_decref(peer);
}

void api_replica_list(struct api_request *request)
{
	api_reply(request, 200, replication_group_list(request->admin->replication));
}

void api_replica_show(struct api_request *request)
{
	json_t *group =
	    replication_group_show(request->admin->replication, request->match.param[0]);

	if (group)
		api_reply(request, 200, group);
	else
		api_reply_error(request, 404, "group_not_found", "no group named %s",
				request->match.param[0]);
}

bool replica_refuses(struct api_request *request, const struct volume *volume,
		     enum replica_change change)
{
	static const char *const what[] = {"given to guests", "made smaller", "rolled back",
					   "deleted"};
	struct replication_hold hold;

	if (!replication_holds(request->admin->replication, volume->identity.uuid, &hold) ||
	    (!hold.staging &&
	     (change == REPLICA_MAP || (change == REPLICA_ROLLBACK && hold.primary))))
		return false;
	api_reply_error(request, 409, "volume_replicated",
			"volume %s is %s of replication group %s and can not be %s", volume->name,
			hold.staging ? "the staging log" : "a member", hold.group, what[change]);
	return true;
}

#define MEMBERS_MAX 64u

/* "POOL/NAME" texts to volumes; a reference each. */
static bool find_members(struct api_request *request, const json_t *members,
			 struct volume **volumes, unsigned *ret_count)
{
	size_t index;
	json_t *item;

	*ret_count = 0;
	json_array_foreach((json_t *)members, index, item)
	{
		const char *text = json_string_value(item), *slash = strchr(text, '/');
		char pool[POOL_NAME_MAX + 1];
		const char *code = NULL;
		struct volume *volume;

		if (!slash || (size_t)(slash - text) >= sizeof pool || *ret_count == MEMBERS_MAX) {
			api_reply_error(request, 400, "bad_request",
					"members are 1 to 64 volumes, each POOL/NAME");
			return false;
		}
		snprintf(pool, sizeof pool, "%.*s", (int)(slash - text), text);
		volume = model_find_volume(request->model, pool, slash + 1, &code, &request->err);
		if (!volume) {
			api_reply_failure(request, code);
			return false;
		}
		volumes[(*ret_count)++] = volume;
		code = move_blocks(request->model, volume, &request->err);
		if (code) {
			api_reply_failure(request, code);
			return false;
		}
	}
	return true;
}

static bool read_rpo(struct api_request *request, const char *rpo, uint64_t *ret_ns)
{
	if (duration_parse(rpo, ret_ns, &request->err) < 0) {
		api_reply_failure(request, "bad_rpo");
		return false;
	}
	if (*ret_ns < 1000000000ull || *ret_ns > 86400 * 1000000000ull) {
		api_reply_error(request, 400, "bad_rpo", "an RPO is 1 second to 1 day");
		return false;
	}
	return true;
}

static bool read_spec(struct api_request *request, struct replication_spec *spec, json_t **members)
{
	const char *rpo = NULL;
	json_t *limit = NULL;
	int protect = 0;

	if (!api_unpack(request, "{s:s,s:o,s:s,s?:s,s?:o,s?:s,s?:s,s?:s,s?:b,s?:s}", "name",
			&spec->name, "members", members, "peer", &spec->peer, "rpo", &rpo, "limit",
			&limit, "points", &spec->points, "compression", &spec->compression,
			"limit_at", &spec->limit_at, "protect", &protect, "seed", &spec->seed))
		return false;
	spec->protect = protect;
	return (!rpo || read_rpo(request, rpo, &spec->rpo_ns)) &&
	       (!limit || api_size(request, limit, &spec->limit_bytes));
}

void api_replica_create(struct api_request *request)
{
	struct replication_spec spec = {0};
	struct volume *volumes[MEMBERS_MAX];
	struct replica_work *work = NULL;
	json_t *members;

	if (!read_spec(request, &spec, &members))
		return;
	if (find_members(request, members, volumes, &spec.count))
		work = work_new(request, 201);
	spec.volumes = volumes;
	if (work)
		replication_group_create(request->admin->replication, &spec, &work->call);
	for (unsigned i = 0; i < spec.count; i++)
		volume_unref(volumes[i]);
}

void api_replica_change(struct api_request *request)
{
	struct replication_change change = {0};
	struct volume *add[MEMBERS_MAX], *remove[MEMBERS_MAX];
	struct replica_work *work = NULL;
	uint64_t rpo_ns, limit_bytes = 0;
	const char *rpo = NULL;
	json_t *limit = NULL, *added = NULL, *removed = NULL;
	int protect = -1;
	bool protects;

	if (!api_unpack(request, "{s?:s,s?:o,s?:s,s?:s,s?:s,s?:b,s?:o,s?:o,s?:s,s?:s,s?:s,s?:s}",
			"rpo", &rpo, "limit", &limit, "points", &change.points, "compression",
			&change.compression, "limit_at", &change.limit_at, "protect", &protect,
			"add", &added, "remove", &removed, "add_address", &change.add_address,
			"interface", &change.interface, "remove_address", &change.remove_address,
			"seed", &change.seed) ||
	    (rpo && !read_rpo(request, rpo, &rpo_ns)) ||
	    (limit && !api_is_none(limit) && !api_size(request, limit, &limit_bytes)))
		return;
	change.rpo_ns = rpo ? &rpo_ns : NULL;
	change.limit_bytes = limit ? &limit_bytes : NULL;
	protects = protect > 0;
	change.protect = protect >= 0 ? &protects : NULL;
	change.add = add;
	change.remove = remove;
	if (find_members(request, added, add, &change.add_count) &&
	    find_members(request, removed, remove, &change.remove_count))
		work = work_new(request, 200);
	if (work)
		replication_group_change(request->admin->replication, request->match.param[0],
					 &change, &work->call);
	for (unsigned i = 0; i < change.add_count; i++)
		volume_unref(add[i]);
	for (unsigned i = 0; i < change.remove_count; i++)
		volume_unref(remove[i]);
}

void api_replica_points(struct api_request *request)
{
	json_t *points =
	    replication_group_points(request->admin->replication, request->match.param[0]);

	if (points)
		api_reply(request, 200, points);
	else
		api_reply_error(request, 404, "group_not_found", "no group named %s",
				request->match.param[0]);
}

void api_replica_clone(struct api_request *request)
{
	json_t *names = NULL, *none = json_array();
	struct replica_work *work = NULL;
	char *end;
	uint64_t epoch = strtoull(request->match.param[1], &end, 10);

	if (*end)
		api_reply_error(request, 400, "bad_epoch", "%s is no epoch",
				request->match.param[1]);
	else if (api_unpack(request, "{s?:o}", "names", &names))
		work = work_new(request, 201);
	if (work)
		replication_point_clone(request->admin->replication, request->match.param[0], epoch,
					names ? names : none, &work->call);
	json_decref(none);
}

void api_replica_seed_export(struct api_request *request)
{
	struct replica_work *work;
	const char *path;

	if (!api_unpack(request, "{s:s}", "path", &path))
		return;
	work = work_new(request, 202);
	if (work)
		replication_seed_export(request->admin->replication, request->match.param[0], path,
					&work->call);
}

void api_replica_seed_cancel(struct api_request *request)
{
	struct replica_work *work = work_new(request, 202);

	if (work)
		replication_seed_cancel(request->admin->replication, request->match.param[0],
					&work->call);
}

void api_replica_seed_import(struct api_request *request)
{
	struct replica_work *work;
	const char *path;

	if (!api_unpack(request, "{s:s}", "path", &path))
		return;
	work = work_new(request, 202);
	if (work)
		replication_seed_import(request->admin->replication, path, &work->call);
}

void api_replica_witness(struct api_request *request)
{
	const char *node, *lease = NULL;
	struct replica_work *work;
	uint64_t lease_ns = 0;
	int force = 0;

	if (!api_unpack(request, "{s:s,s?:s,s?:b}", "node", &node, "lease", &lease, "force",
			&force))
		return;
	if (lease && duration_parse(lease, &lease_ns, &request->err) < 0) {
		api_reply_failure(request, "bad_lease");
		return;
	}
	work = work_new(request, 200);
	if (work)
		replication_group_witness(request->admin->replication, request->match.param[0],
					  node, lease_ns, force, &work->call);
}

void api_replica_leases(struct api_request *request)
{
	api_reply(request, 200, replication_leases(request->admin->replication));
}

void api_replica_act(struct api_request *request)
{
	static const struct {
		const char *name;
		enum replication_action action;
	} actions[] = {
	    {"promote", REPLICATION_PROMOTE},       {"demote", REPLICATION_DEMOTE},
	    {"switchover", REPLICATION_SWITCHOVER}, {"pause", REPLICATION_PAUSE},
	    {"resume", REPLICATION_RESUME},         {"delete", REPLICATION_DELETE},
	    {"failback", REPLICATION_FAILBACK},     {"verify", REPLICATION_VERIFY},
	};
	struct replica_work *work;
	const char *name;

	if (!api_unpack(request, "{s:s}", "action", &name))
		return;
	for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++) {
		if (strcmp(actions[i].name, name) != 0)
			continue;
		work = work_new(request, 200);
		if (work)
			replication_group_act(request->admin->replication, request->match.param[0],
					      actions[i].action, &work->call);
		return;
	}
	api_reply_error(request, 400, "bad_request",
			"an action is promote, demote, switchover, failback, verify, pause, resume "
			"or delete");
}
