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
	unsigned add_index[WIRE_MEMBERS_MAX];               /* of those that are added: planned */
	struct service_address add_address, remove_address; /* family 0: none */
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
	if (seat->group.channel)
		channel_wake(seat->group.channel);
	return 0;
}

/* ---- members ---- */
static bool has_index(const struct change *change, unsigned planned, unsigned index)
{
	for (unsigned i = 0; i < planned; i++) {
		if (change->add_index[i] == index)
			return true;
	}
	return group_has_member(&change->work.seat->group, index, false);
}

static int plan_add(struct change *change, unsigned at, json_t *definition, struct err *err)
{
	struct seat *seat = change->work.seat;
	const struct volume *volume = change->add[at];
	struct replication_hold hold;
	unsigned index = 0;

	if (replication_holds(seat->replication, volume->identity.uuid, &hold))
		return err_set(err, -EBUSY, "volume %s is in group %s", volume->name, hold.group);
	for (unsigned i = 0; i < at; i++) {
		if (change->add[i] == volume)
			return err_set(err, -EINVAL, "volume %s is named twice", volume->name);
	}
	while (index < WIRE_MEMBERS_MAX && has_index(change, at, index))
		index++;
	if (index == WIRE_MEMBERS_MAX)
		return err_set(err, -EINVAL, "a group has 1 to %u members", WIRE_MEMBERS_MAX);
	change->add_index[at] = index;
	json_array_append_new(json_object_get(definition, "members"), seat_member(index, volume));
	return 0;
}

static unsigned index_of(const struct seat *seat, const struct volume *volume)
{
	unsigned index = 0;

	while (index < seat->group.member_max && seat->group.members[index].volume != volume)
		index++;
	return index;
}

static int plan_remove(const struct seat *seat, const struct volume *volume, json_t *definition,
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
		if (json_integer_value(json_object_get(member, "index")) == (json_int_t)index)
			break;
	}
	if (at == json_array_size(members))
		return err_set(err, -EINVAL, "volume %s is named twice", volume->name);
	json_array_remove(members, at);
	return 0;
}

/* What the definition will say; nothing else is different yet. */
static int plan_members(struct change *change, json_t *definition, struct err *err)
{
	const struct group *group = &change->work.seat->group;
	int result = 0;

	/* The standby may not hear of it, and serve the volume that left. */
	if (change->remove_count && group->lease.on)
		return err_set(err, -EBUSY, "group %s: turn its witness off first", group->name);
	for (unsigned i = 0; i < change->remove_count && result == 0; i++)
		result = plan_remove(change->work.seat, change->remove[i], definition, err);
	for (unsigned i = 0; i < change->add_count && result == 0; i++)
		result = plan_add(change, i, definition, err);
	if (result == 0 && json_array_size(json_object_get(definition, "members")) == 0)
		return err_set(err, -EINVAL, "a group has 1 to %u members: delete it instead",
			       WIRE_MEMBERS_MAX);
	return result;
}

/* The definition says it first, durably: a member that is in it is watched from the next start on,
 * one that is not, is not. */
static int change_members(struct change *change, json_t *definition, struct err *err)
{
	struct seat *seat = change->work.seat;
	unsigned added = 0;
	int result = 0;

	while (added < change->add_count && result == 0) {
		unsigned index = change->add_index[added];

		group_set_member(&seat->group, index, change->add[added]);
		result = group_add_member(&seat->group, index, true, err);
		added += result == 0;
	}
	if (result == 0)
		result = seat_open_staging(seat, err);
	if (result == 0)
		result = seat_redefine(seat, definition, err);
	while (result < 0 && added-- > 0)
		group_drop_member(&seat->group, change->add_index[added]);
	for (unsigned i = 0; i < change->remove_count && result == 0; i++)
		group_drop_member(&seat->group, index_of(seat, change->remove[i]));
	return result;
}

/* ---- service addresses ---- */
static bool has_address(const struct seat *seat, const struct service_address *address)
{
	for (unsigned i = 0; i < seat->address_count; i++) {
		if (seat->addresses[i].family == address->family &&
		    memcmp(seat->addresses[i].bytes, address->bytes, sizeof address->bytes) == 0)
			return true;
	}
	return false;
}

static int may_add(const struct seat *seat, const struct service_address *address, struct err *err)
{
	char text[ADDRESS_TEXT];

	address_print(address, text);
	list_for_each (it, &seat->replication->seats) {
		const struct seat *other = list_entry(it, struct seat, link);

		if (has_address(other, address))
			return err_set(err, -EEXIST, "address %s is group %s's", text,
				       other->group.name);
	}
	if (seat->address_count == ADDRESSES_MAX)
		return err_set(err, -EINVAL, "a group has at most %d addresses", ADDRESSES_MAX);
	/* This machine's own would go with the group when it is handed over. */
	if (address_is_here(address))
		return err_set(err, -EADDRINUSE, "address %s is on an interface here already",
			       text);
	return address_may(err);
}

static int plan_add_address(struct change *change, json_t *definition, struct err *err)
{
	const struct service_address *address = &change->add_address;
	json_t *list = json_object_get(definition, "addresses");
	char text[ADDRESS_TEXT];
	int result = may_add(change->work.seat, address, err);

	if (result < 0)
		return result;
	if (!list) {
		list = json_array();
		json_object_set_new(definition, "addresses", list);
	}
	address_print(address, text);
	json_array_append_new(
	    list, json_pack("{s:s,s:s}", "address", text, "interface", address->interface));
	return 0;
}

static int plan_remove_address(struct change *change, json_t *definition, struct err *err)
{
	json_t *list = json_object_get(definition, "addresses");
	char text[ADDRESS_TEXT];

	address_print(&change->remove_address, text);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *one =
		    json_string_value(json_object_get(json_array_get(list, i), "address"));

		if (one && strcmp(one, text) == 0)
			return json_array_remove(list, i) < 0 ? -ENOMEM : 0;
	}
	return err_set(err, -ENOENT, "group %s has no address %s", change->work.seat->group.name,
		       text);
}

static int plan_addresses(struct change *change, json_t *definition, struct err *err)
{
	int result = 0;

	if (change->remove_address.family)
		result = plan_remove_address(change, definition, err);
	if (result == 0 && change->add_address.family)
		result = plan_add_address(change, definition, err);
	return result;
}

/* On its interface first: what can not be set is not said to be. */
static int change_addresses(struct change *change, json_t *definition, struct err *err)
{
	struct seat *seat = change->work.seat;
	bool set = change->add_address.family;
	struct err why = {0};
	int result = set ? address_set(&change->add_address, err) : 0;

	if (result < 0)
		return result;
	result = seat_redefine(seat, definition, err);
	if (result < 0 && set && address_clear(&change->add_address, &why) < 0)
		log_warning("group %s: %s", seat->group.name, why.text);
	if (result < 0)
		return result;
	services_follow(seat);
	if (set && !seat->addresses_up) /* it was to see that it can be; its time comes */
		services_clear(seat);
	return 0;
}

static int must_be_primary(const struct seat *seat, struct err *err)
{
	if (seat->group.role == GROUP_PRIMARY)
		return 0;
	return err_set(err, -EINVAL, "group %s is %s here: change it on its primary",
		       seat->group.name, group_role_name(seat->group.role));
}

/* Without a session: its fiber has the members in its hands. */
static int between_sessions(struct change *change, json_t *definition, struct err *err)
{
	struct seat *seat = change->work.seat;
	int result;

	seat->retry_ns = UINT64_MAX;
	seat_end_session(seat, "its members change");
	result = must_be_primary(seat, err); /* the session may have handed it over yet */
	if (result == 0)
		result = change_members(change, definition, err);
	seat->retry_ns = seat->retries = 0;
	seat->group.host->serving_changed(&seat->group);
	return result;
}

static bool of_members(const struct change *change)
{
	return change->add_count || change->remove_count;
}

static bool of_addresses(const struct change *change)
{
	return change->add_address.family || change->remove_address.family;
}

/* What of it is refused before anything is different. */
static int change_plan(struct change *change, json_t *definition, struct err *err)
{
	if (json_object_update(definition, change->settings) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (of_members(change))
		return plan_members(change, definition, err);
	return of_addresses(change) ? plan_addresses(change, definition, err) : 0;
}

static int change_run(struct seat_work *work, struct err *err)
{
	struct change *change = container_of(work, struct change, work);
	struct seat *seat = work->seat;
	json_t *definition, *before;
	int result;

	result = must_be_primary(seat, err);
	if (result < 0)
		return result;
	definition = json_loads(seat->definition, 0, NULL);
	if (!definition)
		return err_set(err, -ENOMEM, "out of memory");
	before = seat_plan(definition);
	result = change_plan(change, definition, err);
	if (result == 0 && work->call->dry)
		work->call->reply = dry_reply(json_incref(before), seat_plan(definition));
	else if (result == 0 && of_members(change))
		result = between_sessions(change, definition, err);
	else if (result == 0 && of_addresses(change))
		result = change_addresses(change, definition, err);
	else if (result == 0)
		result = seat_redefine(seat, definition, err);
	json_decref(before);
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
	if (change->compression)
		json_object_set_new(settings, "compression", json_string(change->compression));
	if (change->limit_at)
		json_object_set_new(settings, "limit_at", json_string(change->limit_at));
	if (change->seed)
		json_object_set_new(settings, "seed", json_string(change->seed));
	if (change->protect)
		json_object_set_new(settings, "protect", json_boolean(*change->protect));
	if (change->rpo_ns)
		json_object_set_new(settings, "rpo_ns", json_integer((json_int_t)*change->rpo_ns));
	if (change->limit_bytes)
		json_object_set_new(settings, "limit_bytes",
				    json_integer((json_int_t)*change->limit_bytes));
	return settings;
}

static int read_address(const char *text, const char *interface,
			struct service_address *ret_address, struct err *err)
{
	return text ? address_parse(text, interface, ret_address, err) : 0;
}

static void take_change(struct change *change, const struct replication_change *what)
{
	struct err err = {0};

	/* They have been looked at already. */
	(void)read_address(what->add_address, what->interface, &change->add_address, &err);
	(void)read_address(what->remove_address, NULL, &change->remove_address, &err);
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
	struct service_address address;
	enum pack_kind compression;
	struct calendar calendar;
	struct change *change;
	struct keep keep;

	if (what->add_count > WIRE_MEMBERS_MAX || what->remove_count > WIRE_MEMBERS_MAX) {
		err_set(&call->err, -EINVAL, "a group has 1 to %u members", WIRE_MEMBERS_MAX);
		call->done(call, -EINVAL);
		return;
	}
	if ((what->points && points_parse(what->points, &keep, &call->err) < 0) ||
	    (what->compression &&
	     pack_kind_parse(what->compression, &compression, &call->err) < 0) ||
	    (what->limit_at && calendar_parse(what->limit_at, &calendar, &call->err) < 0) ||
	    (what->seed && seed_way_check(what->seed, &call->err) < 0) ||
	    read_address(what->add_address, what->interface, &address, &call->err) < 0 ||
	    read_address(what->remove_address, NULL, &address, &call->err) < 0) {
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
	bool dry = work->call->dry;
	int result =
	    points_clone(work->seat, cloning->epoch, cloning->names, dry, &work->call->reply, err);

	if (result == 0 && !dry)
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
