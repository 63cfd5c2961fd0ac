/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/points.h"

/* What of a group is changed while it runs. The primary's definition is the group's: the standby
 * has it with the next DEFINE. */

struct change {
	struct seat_work work;
	json_t *settings; /* of the definition; an object */
	struct volume *add[WIRE_MEMBERS_MAX], *remove[WIRE_MEMBERS_MAX]; /* references */
	unsigned add_count, remove_count;
};

/* A definition in which @settings are as said. Durable on 0. */
int seat_redefine(struct seat *seat, json_t *definition, struct err *err)
{
	char *text = json_dumps(definition, JSON_COMPACT), *copy = text ? heap_strdup(text) : NULL;
	char *before = seat->definition;
	int result;

	free(text);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	seat->definition = copy;
	result = seat_store(seat, err);
	if (result < 0) {
		seat->definition = before;
		heap_free(copy);
		return result;
	}
	heap_free(before);
	seat_take_settings(seat, definition);
	if (seat->group.channel) {
		seat->group.channel->limit_bytes = seat->group.limit_bytes;
		channel_wake(seat->group.channel);
	}
	return 0;
}

/* ---- members ---- */
static int free_index(const struct group *group, unsigned *ret_index)
{
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (group->members[i].volume)
			continue;
		*ret_index = i;
		return 0;
	}
	return -ENOSPC;
}

static int add_one(struct seat *seat, struct volume *volume, json_t *definition, struct err *err)
{
	struct replication_hold hold;
	unsigned index;
	int result;

	if (replication_holds(seat->replication, volume->identity.uuid, &hold))
		return err_set(err, -EBUSY, "volume %s is in group %s", volume->name, hold.group);
	if (free_index(&seat->group, &index) < 0)
		return err_set(err, -EINVAL, "a group has 1 to %u members", WIRE_MEMBERS_MAX);
	group_set_member(&seat->group, index, volume);
	result = group_add_member(&seat->group, index, true, err);
	if (result == 0)
		json_array_append_new(json_object_get(definition, "members"),
				      seat_member(index, volume));
	return result;
}

static unsigned index_of(const struct seat *seat, const struct volume *volume)
{
	unsigned index = 0;

	while (index < seat->group.member_max && seat->group.members[index].volume != volume)
		index++;
	return index;
}

static int remove_one(const struct seat *seat, const struct volume *volume, json_t *definition,
		      struct err *err)
{
	json_t *members = json_object_get(definition, "members"), *member;
	unsigned index = index_of(seat, volume);
	size_t at;

	if (index == seat->group.member_max)
		return err_set(err, -ENOENT, "volume %s is no member of group %s", volume->name,
			       seat->group.name);
	json_array_foreach(members, at, member)
	{
		if (json_integer_value(json_object_get(member, "index")) != (json_int_t)index)
			continue;
		json_array_remove(members, at);
		break;
	}
	if (json_array_size(members) == 0)
		return err_set(err, -EINVAL, "a group has 1 to %u members: delete it instead",
			       WIRE_MEMBERS_MAX);
	return 0;
}

/* The definition says it first, durably: a member that is in it is watched from the next start on,
 * one that is not, is not. */
static int change_members(struct change *change, json_t *definition, struct err *err)
{
	struct seat *seat = change->work.seat;
	unsigned added = 0;
	int result = 0;

	for (unsigned i = 0; i < change->remove_count && result == 0; i++)
		result = remove_one(seat, change->remove[i], definition, err);
	while (added < change->add_count && result == 0) {
		result = add_one(seat, change->add[added], definition, err);
		added += result == 0;
	}
	if (result == 0)
		result = seat_open_staging(seat, err);
	if (result == 0)
		result = seat_redefine(seat, definition, err);
	while (result < 0 && added-- > 0)
		group_drop_member(&seat->group, index_of(seat, change->add[added]));
	for (unsigned i = 0; i < change->remove_count && result == 0; i++)
		group_drop_member(&seat->group, index_of(seat, change->remove[i]));
	return result;
}

/* Without a session: its fiber has the members in its hands. */
static int between_sessions(struct change *change, json_t *definition, struct err *err)
{
	struct seat *seat = change->work.seat;
	int result;

	seat->retry_ns = UINT64_MAX;
	seat_end_session(seat, "its members change");
	result = change_members(change, definition, err);
	seat->retry_ns = seat->retries = 0;
	seat->group.host->serving_changed(&seat->group);
	return result;
}

static int change_run(struct seat_work *work, struct err *err)
{
	struct change *change = container_of(work, struct change, work);
	struct seat *seat = work->seat;
	json_t *definition;
	int result;

	if (seat->group.role != GROUP_PRIMARY)
		return err_set(err, -EINVAL, "group %s is %s here: change it on its primary",
			       seat->group.name, group_role_name(seat->group.role));
	definition = json_loads(seat->definition, 0, NULL);
	if (!definition || json_object_update(definition, change->settings) < 0)
		result = err_set(err, -ENOMEM, "out of memory");
	else if (change->add_count || change->remove_count)
		result = between_sessions(change, definition, err);
	else
		result = seat_redefine(seat, definition, err);
	json_decref(definition);
	return result;
}

static void change_release(struct seat_work *work)
{
	struct change *change = container_of(work, struct change, work);

	for (unsigned i = 0; i < change->add_count; i++)
		volume_unref(change->add[i]);
	for (unsigned i = 0; i < change->remove_count; i++)
		volume_unref(change->remove[i]);
	json_decref(change->settings);
	heap_free(change);
}

static json_t *settings_of(const struct replication_change *change)
{
	json_t *settings = json_object();

	if (change->points)
		json_object_set_new(settings, "points", json_string(change->points));
	if (change->rpo_ns)
		json_object_set_new(settings, "rpo_ns", json_integer((json_int_t)*change->rpo_ns));
	if (change->limit_bytes)
		json_object_set_new(settings, "limit_bytes",
				    json_integer((json_int_t)*change->limit_bytes));
	return settings;
}

static void take_change(struct change *change, const struct replication_change *what)
{
	change->work = (struct seat_work){.run = change_run, .release = change_release};
	change->settings = settings_of(what);
	for (unsigned i = 0; i < what->add_count; i++)
		change->add[change->add_count++] = volume_ref(what->add[i]);
	for (unsigned i = 0; i < what->remove_count; i++)
		change->remove[change->remove_count++] = volume_ref(what->remove[i]);
}

void replication_group_change(struct replication *replication, const char *name,
			      const struct replication_change *what, struct replication_call *call)
{
	struct change *change;
	struct keep keep;

	if (what->add_count > WIRE_MEMBERS_MAX || what->remove_count > WIRE_MEMBERS_MAX) {
		err_set(&call->err, -EINVAL, "a group has 1 to %u members", WIRE_MEMBERS_MAX);
		call->done(call, -EINVAL);
		return;
	}
	if (what->points && points_parse(what->points, &keep, &call->err) < 0) {
		call->done(call, -EINVAL);
		return;
	}
	change = heap_zalloc(sizeof *change);
	if (change)
		take_change(change, what);
	seat_work_start(replication, name, change ? &change->work : NULL, call);
}

/* ---- clones of a point ---- */
struct cloning {
	struct seat_work work;
	uint64_t epoch;
	json_t *names;
};

static int cloning_run(struct seat_work *work, struct err *err)
{
	struct cloning *cloning = container_of(work, struct cloning, work);
	int result =
	    points_clone(work->seat, cloning->epoch, cloning->names, &work->call->reply, err);

	if (result == 0)
		log_notice("group %s: clones of epoch %llu are made", work->seat->group.name,
			   (unsigned long long)cloning->epoch);
	return result;
}

static void cloning_release(struct seat_work *work)
{
	struct cloning *cloning = container_of(work, struct cloning, work);

	json_decref(cloning->names);
	heap_free(cloning);
}

void replication_point_clone(struct replication *replication, const char *name, uint64_t epoch,
			     const json_t *names, struct replication_call *call)
{
	struct cloning *cloning = heap_zalloc(sizeof *cloning);

	if (cloning)
		*cloning = (struct cloning){
		    {.run = cloning_run, .release = cloning_release}, epoch, json_deep_copy(names)};
	seat_work_start(replication, name, cloning ? &cloning->work : NULL, call);
}
