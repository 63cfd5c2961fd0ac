/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/lineage.h"
#include "replication/points.h"
#include "volumes/pool_wait.h"

/* What the administrator does with groups, each in a fiber of its own. */

#define SWITCH_NS   (30 * 1000000000ull)
#define FAILBACK_NS (45 * 1000000000ull)

struct action {
	struct seat_work work;
	enum replication_action action;
};

static int set_paused(struct seat *seat, bool paused, struct err *err)
{
	seat->paused = paused;
	seat->retry_ns = 0;
	seat_follow(seat); /* guests do not wait for a standby that gets nothing */
	if (paused)
		seat_end_session(seat, "paused");
	else
		seat->group.reason[0] = '\0'; /* it was that */
	return seat_store(seat, err);
}

/* The staging log goes with its group: one of the same name begins with its own. */
static void delete_staging(struct volume *staging)
{
	struct pool_wait waiting = POOL_WAIT;
	struct err err = {0};

	if (!staging)
		return;
	volume_delete(staging, &waiting.call);
	if (pool_wait(&waiting, &err) == 0)
		return;
	log_warning("volume %s could not be deleted: %s", staging->name, err.text);
	volume_unref(staging);
}

static int may_delete(const struct seat *seat, struct err *err)
{
	const struct group *group = &seat->group;

	if (group->role == GROUP_STANDBY && group->channel)
		return err_set(err, -EBUSY,
			       "group %s: its primary is connected and would make it again; delete "
			       "it there first",
			       group->name);
	if (group->role == GROUP_PRIMARY && group->lease.on)
		return err_set(err, -EBUSY,
			       "group %s: its standby would promote itself: turn its witness off "
			       "first",
			       group->name);
	if (seat->seed.running)
		return err_set(err, -EBUSY,
			       "group %s: its seed is being exported: cancel that first",
			       group->name);
	return 0;
}

static int delete_seat(struct seat *seat, struct err *err)
{
	const struct replication_host *host = &seat->replication->options.host;
	struct group *group = &seat->group;
	bool paused = seat->paused;
	struct volume *staging;
	char uuid[33];
	int result;

	seat->paused = true;
	seat_end_session(seat, "the group is deleted");
	leases_close(seat);
	uuid_text(group->uuid, uuid);
	result =
	    config_run(seat->replication->config, err, "delete from grp where uuid = ?", "s", uuid);
	if (result < 0) {
		seat->paused = paused;
		return result;
	}
	staging = group->staging_volume;
	group->staging_volume = NULL;
	seat_free(seat);
	host->serving_changed(host->context); /* its volumes are this node's own again */
	delete_staging(staging);
	return 0;
}

static int fail_back(struct seat *seat, struct err *err)
{
	struct group *group = &seat->group;

	if (group->role != GROUP_STANDBY) {
		seat->retry_ns = UINT64_MAX;
		seat_end_session(seat, "demoted");
		seat->retry_ns = 0;
	}
	return group_failback(group, FAILBACK_NS, err);
}

/* In which roles an action is good, and the role after it: GROUP_NONE: as it is. */
static const struct {
	unsigned roles;
	enum group_role after;
} rules[] = {
    [REPLICATION_PROMOTE] = {1u << GROUP_STANDBY, GROUP_PRIMARY},
    [REPLICATION_DEMOTE] = {1u << GROUP_PRIMARY | 1u << GROUP_HANDOVER | 1u << GROUP_FENCED,
			    GROUP_STANDBY},
    [REPLICATION_SWITCHOVER] = {1u << GROUP_PRIMARY, GROUP_STANDBY},
    [REPLICATION_FAILBACK] = {1u << GROUP_STANDBY | 1u << GROUP_HANDOVER | 1u << GROUP_FENCED,
			      GROUP_PRIMARY},
    [REPLICATION_VERIFY] = {1u << GROUP_PRIMARY, GROUP_NONE},
    [REPLICATION_PAUSE] = {~0u, GROUP_NONE},
    [REPLICATION_RESUME] = {~0u, GROUP_NONE},
    [REPLICATION_DELETE] = {~0u, GROUP_NONE},
};

/* What it is refused before anything is different. */
static int may_act(const struct seat *seat, enum replication_action action, struct err *err)
{
	const struct group *group = &seat->group;

	if (!(rules[action].roles >> group->role & 1))
		return err_set(err, -EINVAL, "group %s is %s here", group->name,
			       group_role_name(group->role));
	switch (action) {
	case REPLICATION_SWITCHOVER:
	case REPLICATION_VERIFY:
		return group_may_ask(group, err);
	case REPLICATION_DELETE:
		return may_delete(seat, err);
	default:
		return 0;
	}
}

/* ---- what would be different ---- */
/* POOL/NAME of each member; @promoted: of those that the sealed image has, for a promotion leaves
 * the others out. */
static json_t *members_of(const struct group *group, bool promoted)
{
	json_t *members = json_array();

	for (unsigned i = 0; i < group->member_max; i++) {
		const struct volume *volume = group->members[i].volume;

		if (group_has_member(group, i, promoted))
			json_array_append_new(
			    members, json_sprintf("%s/%s", pool_name(volume->pool), volume->name));
	}
	return members;
}

static int plan_act(const struct seat *seat, enum replication_action action, json_t **ret_reply,
		    struct err *err)
{
	const struct group *group = &seat->group;
	bool promotes = action == REPLICATION_PROMOTE, pauses = action == REPLICATION_PAUSE;
	const char *role = group_role_name(group->role);
	int result = promotes ? group_may_promote(group, err) : 0;
	json_t *before = json_object(), *after = json_object();

	if (action == REPLICATION_DELETE) {
		json_object_update_new(before,
				       json_pack("{s:s,s:s,s:o}", "name", group->name, "role", role,
						 "members", members_of(group, false)));
	} else if (action == REPLICATION_VERIFY) {
		json_object_set_new(before, "comparing", json_boolean(group->verify.running));
		json_object_set_new(after, "comparing", json_true());
	} else if (pauses || action == REPLICATION_RESUME) {
		json_object_set_new(before, "paused", json_boolean(seat->paused));
		json_object_set_new(after, "paused", json_boolean(pauses));
	} else {
		json_object_set_new(before, "role", json_string(role));
		json_object_set_new(after, "role",
				    json_string(group_role_name(rules[action].after)));
	}
	if (promotes && result == 0) {
		json_object_set_new(before, "members", members_of(group, false));
		json_object_set_new(after, "members", members_of(group, true));
	}
	*ret_reply = dry_reply(before, after);
	if (result == 0)
		return 0;
	json_decref(*ret_reply);
	*ret_reply = NULL;
	return result;
}

static int act(struct action *action, struct err *err)
{
	struct seat *seat = action->work.seat;
	struct group *group = &seat->group;

	switch (action->action) {
	case REPLICATION_PROMOTE:
		seat_end_session(seat, "promoted");
		return group_promote(group, false, err);
	case REPLICATION_DEMOTE:
		seat->retry_ns = UINT64_MAX;
		seat_end_session(seat, "demoted");
		seat->retry_ns = 0;
		return group_demote(group, err);
	case REPLICATION_SWITCHOVER:
		return group_switchover(group, SWITCH_NS, err);
	case REPLICATION_FAILBACK:
		return fail_back(seat, err);
	case REPLICATION_VERIFY:
		return group_verify(group, err);
	case REPLICATION_PAUSE:
	case REPLICATION_RESUME:
		return set_paused(seat, action->action == REPLICATION_PAUSE, err);
	case REPLICATION_DELETE:
		return delete_seat(seat, err);
	}
	return -EINVAL;
}

static int act_run(struct seat_work *work, struct err *err)
{
	struct action *action = container_of(work, struct action, work);
	int result = may_act(work->seat, action->action, err);

	if (result < 0)
		return result;
	if (work->call->dry)
		return plan_act(work->seat, action->action, &work->call->reply, err);
	work->gone = action->action == REPLICATION_DELETE;
	return act(action, err);
}

static void act_release(struct seat_work *work)
{
	heap_free(container_of(work, struct action, work));
}

void replication_group_act(struct replication *replication, const char *name,
			   enum replication_action kind, struct replication_call *call)
{
	struct action *action = heap_zalloc(sizeof *action);

	if (action)
		*action = (struct action){
		    {.run = act_run, .release = act_release, .always = kind == REPLICATION_DELETE},
		    kind};
	seat_work_start(replication, name, action ? &action->work : NULL, call);
}

/* ---- work on a group ---- */
static void work_main(void *context)
{
	struct seat_work *work = context;
	struct replication *replication = work->seat->replication;
	struct replication_call *call = work->call;
	struct seat *seat = work->seat;
	int result = seat->started || work->always
			 ? work->run(work, &call->err)
			 : err_set(&call->err, -ENXIO, "group %s is not available: %s",
				   seat->group.name, seat->unavailable);

	if (result == 0 && !work->gone && !call->reply)
		call->reply = seat_show(seat);
	seat->acting = false;
	seat_leave(seat);
	work->release(work);
	call->done(call, result);
	node_release(replication);
}

static int work_refused(const struct seat *seat, const struct seat_work *work, const char *name,
			struct err *err)
{
	if (!seat)
		return err_set(err, -ENOENT, "no group named %s", name);
	if (seat->acting || seat->seed.importing)
		return err_set(err, -EBUSY, "something else is being done to group %s", name);
	return work ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void seat_work_start(struct replication *replication, const char *name, struct seat_work *work,
		     struct replication_call *call)
{
	struct seat *seat = seat_find(replication, name);
	int result = work_refused(seat, work, name, &call->err);

	if (result == 0) {
		work->seat = seat;
		work->call = call;
		node_hold(replication);
		seat_enter(seat);
		seat->acting = true;
		result = fiber_start(replication->options.loop, work_main, work);
		if (result == 0)
			return;
		seat->acting = false;
		seat_leave(seat);
		node_release(replication);
		err_set(&call->err, result, "out of memory");
	}
	if (work)
		work->release(work);
	call->done(call, result);
}

/* ---- a new group ---- */
struct creation {
	struct replication *replication;
	struct seat *seat;
	struct replication_call *call;
};

static json_t *define(const struct replication_spec *spec)
{
	json_t *members = json_array();

	for (unsigned i = 0; i < spec->count; i++)
		json_array_append_new(members, seat_member(i, spec->volumes[i]));
	return json_pack("{s:s,s:o,s:s,s:I,s:I,s:s,s:s,s:b,s:s}", "name", spec->name, "members",
			 members, "points", spec->points ? spec->points : "0", "rpo_ns",
			 (json_int_t)(spec->rpo_ns ? spec->rpo_ns : RPO_NS), "limit_bytes",
			 (json_int_t)spec->limit_bytes, "compression",
			 spec->compression ? spec->compression : "off", "limit_at",
			 spec->limit_at ? spec->limit_at : "", "protect", (int)spec->protect,
			 "seed", spec->seed ? spec->seed : "wire");
}

static json_t *plan_create(struct replication *replication, const struct replication_spec *spec)
{
	json_t *definition = define(spec), *after = seat_plan(definition);

	json_object_set_new(after, "name", json_string(spec->name));
	json_object_set_new(after, "role", json_string(group_role_name(GROUP_PRIMARY)));
	json_object_set_new(after, "peer",
			    json_string(peer_by_name(replication, spec->peer)->name));
	json_decref(definition);
	return dry_reply(json_object(), after);
}

static int spec_check(struct replication *replication, const struct replication_spec *spec,
		      struct err *err)
{
	enum pack_kind compression;
	struct calendar calendar;
	struct keep keep;

	if (volume_name_check(spec->name, err) < 0 || strlen(spec->name) > GROUP_NAME_MAX)
		return err_set(err, -EINVAL, "that is no name for a group");
	if (seat_find(replication, spec->name))
		return err_set(err, -EEXIST, "there is already a group named %s", spec->name);
	if (!peer_by_name(replication, spec->peer))
		return err_set(err, -ENOENT, "no node %s is paired", spec->peer);
	if ((spec->points && points_parse(spec->points, &keep, err) < 0) ||
	    (spec->compression && pack_kind_parse(spec->compression, &compression, err) < 0) ||
	    (spec->limit_at && calendar_parse(spec->limit_at, &calendar, err) < 0) ||
	    (spec->seed && seed_way_check(spec->seed, err) < 0))
		return -EINVAL;
	if (spec->count == 0 || spec->count > WIRE_MEMBERS_MAX)
		return err_set(err, -EINVAL, "a group has 1 to %u members", WIRE_MEMBERS_MAX);
	for (unsigned i = 0; i < spec->count; i++) {
		struct replication_hold hold;

		if (replication_holds(replication, spec->volumes[i]->identity.uuid, &hold))
			return err_set(err, -EBUSY, "volume %s is in group %s",
				       spec->volumes[i]->name, hold.group);
		for (unsigned j = 0; j < i; j++) {
			if (spec->volumes[j] == spec->volumes[i])
				return err_set(err, -EINVAL, "volume %s is named twice",
					       spec->volumes[i]->name);
		}
	}
	return 0;
}

static struct seat *seat_of_spec(struct replication *replication,
				 const struct replication_spec *spec)
{
	json_t *definition = define(spec);
	uint8_t uuid[16];
	struct seat *seat;
	char *text = json_dumps(definition, JSON_COMPACT);

	loop_random(replication->options.loop, uuid, sizeof uuid);
	seat = seat_new(replication, spec->name, uuid, peer_by_name(replication, spec->peer)->uuid);
	if (seat)
		seat_take_settings(seat, definition);
	json_decref(definition);
	if (!seat || !text) {
		free(text);
		return NULL;
	}
	seat->definition = heap_strdup(text);
	free(text);
	seat->group.role = GROUP_PRIMARY;
	loop_random(replication->options.loop, uuid, sizeof uuid);
	lineage_start(&seat->group.lineage, uuid);
	for (unsigned i = 0; i < spec->count; i++)
		group_set_member(&seat->group, i, spec->volumes[i]);
	return seat;
}

static void create_main(void *context)
{
	struct creation *creation = context;
	struct replication *replication = creation->replication;
	struct replication_call *call = creation->call;
	struct seat *seat = creation->seat;
	int result = seat_open_staging(seat, &call->err);

	if (result == 0)
		result = group_start(&seat->group, true, &call->err);
	seat->started = result == 0;
	if (result == 0)
		result = seat_store(seat, &call->err);
	if (result == 0)
		call->reply = seat_show(seat);
	else
		seat_free(seat);
	heap_free(creation);
	seat->acting = false;
	seat_leave(seat);
	call->done(call, result);
	node_release(replication);
}

void replication_group_create(struct replication *replication, const struct replication_spec *spec,
			      struct replication_call *call)
{
	int result = spec_check(replication, spec, &call->err);
	struct creation *creation;
	struct seat *seat;

	if (result < 0 || call->dry) {
		if (result == 0)
			call->reply = plan_create(replication, spec);
		call->done(call, result);
		return;
	}
	creation = heap_zalloc(sizeof *creation);
	seat = creation ? seat_of_spec(replication, spec) : NULL;
	if (!seat)
		result = err_set(&call->err, -ENOMEM, "out of memory");
	if (result == 0) {
		*creation = (struct creation){replication, seat, call};
		node_hold(replication);
		seat_enter(seat);
		seat->acting = true;
		result = fiber_start(replication->options.loop, create_main, creation);
		if (result == 0)
			return;
		node_release(replication);
		seat_free(seat);
		seat_leave(seat);
	}
	heap_free(creation);
	call->done(call, result);
}
