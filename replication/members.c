/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/lineage.h"
#include "replication/points.h"
#include "replication/seed.h"
#include "volumes/pool_wait.h"

/* What a group is made of, as its definition says: members, staging log, identities, exports. The
 * standby makes what it does not have. */

#define STAGING_SIZE_MIN ((uint64_t)64 << 30)

unsigned seat_member_uuids(const struct seat *seat, uint8_t (*uuids)[16])
{
	unsigned count = 0;

	for (unsigned i = 0; i < seat->group.member_max; i++) {
		if (seat->group.members[i].volume)
			memcpy(uuids[count++], seat->group.members[i].volume->identity.uuid, 16);
	}
	return count;
}

/* The sizes as they are now, and what is exported, or will be. */
static const char *host_definition(struct group *group)
{
	struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;
	json_t *definition = json_loads(seat->definition, 0, NULL);
	json_t *members = json_object_get(definition, "members"), *member;
	uint8_t uuids[WIRE_MEMBERS_MAX][16];
	size_t index;

	json_array_foreach(members, index, member)
	{
		json_int_t at = json_integer_value(json_object_get(member, "index"));

		if (at >= 0 && at < WIRE_MEMBERS_MAX && group->members[at].volume)
			json_object_set_new(
			    member, "size",
			    json_integer((json_int_t)volume_size(group->members[at].volume)));
	}
	if (!seat->exports_due) /* else it is what the primary of before said */
		json_object_set_new(definition, "exports",
				    host->exports(host->context, (const uint8_t(*)[16])uuids,
						  seat_member_uuids(seat, uuids)));
	free(seat->sent_definition);
	seat->sent_definition = json_dumps(definition, JSON_COMPACT);
	json_decref(definition);
	return seat->sent_definition ? seat->sent_definition : "{}";
}

static int make_volume(struct pool *pool, const struct volume_spec *spec,
		       struct volume **ret_volume, struct err *err)
{
	struct pool_wait waiting = POOL_WAIT;
	int result;

	volume_create(pool, spec, &waiting.call);
	result = pool_wait(&waiting, err);
	if (result == 0)
		*ret_volume = waiting.call.volume;
	return result;
}

static int grow_volume(struct volume *volume, uint64_t size, struct err *err)
{
	struct pool_wait waiting = POOL_WAIT;

	if (volume_size(volume) >= size)
		return 0;
	volume_resize(volume, size, &waiting.call);
	return pool_wait(&waiting, err);
}

static struct pool *first_pool(const struct seat *seat)
{
	for (unsigned i = 0; i < seat->group.member_max; i++) {
		if (seat->group.members[i].volume)
			return seat->group.members[i].volume->pool;
	}
	return NULL;
}

static bool can_mirror(struct pool *pool)
{
	struct pool_info info;

	pool_get_info(pool, &info);
	return info.mirror_size_bytes != 0;
}

/* "GROUP-staging" in the pool of the first member: thin, so that its size is only a bound.
 */
int seat_open_staging(struct seat *seat, struct err *err)
{
	struct pool *pool = first_pool(seat);
	char name[VOLUME_NAME_MAX + 1];
	struct volume_spec spec = {
	    .name = name, .size_bytes = STAGING_SIZE_MIN, .checksum = VOLUME_CHECKSUM_STANDARD};
	uint64_t total = 0;

	for (unsigned i = 0; i < seat->group.member_max; i++) {
		const struct volume *volume = seat->group.members[i].volume;

		if (!volume)
			continue;
		total += volume_size(volume);
		spec.mirror |= volume->mirror; /* what waits to go there is to be as safe */
	}
	spec.mirror = spec.mirror && pool && can_mirror(pool);
	if (total * 2 > spec.size_bytes)
		spec.size_bytes = total * 2 < VOLUME_SIZE_MAX ? total * 2 : VOLUME_SIZE_MAX;
	snprintf(name, sizeof name, "%s-staging", seat->group.name);
	if (!seat->group.staging_volume)
		seat->group.staging_volume = pool_find_volume(pool, name);
	if (!fiber_current()) /* at the start: it is there, and has grown with its members */
		return seat->group.staging_volume
			   ? 0
			   : err_set(err, -ENXIO, "the staging log %s is not there", name);
	if (seat->group.staging_volume)
		return grow_volume(seat->group.staging_volume, spec.size_bytes, err);
	return make_volume(pool, &spec, &seat->group.staging_volume, err);
}

struct member_row {
	json_int_t index, size, checksum;
	int mirror;
	const char *pool, *name, *uuid, *naa;
	struct volume_identity identity;
};

json_t *seat_member(unsigned index, const struct volume *volume)
{
	char uuid[33], naa[33];

	uuid_text(volume->identity.uuid, uuid);
	uuid_text(volume->identity.naa, naa);
	return json_pack("{s:i,s:s,s:s,s:s,s:s,s:I,s:i,s:b}", "index", (int)index, "pool",
			 pool_name(volume->pool), "name", volume->name, "uuid", uuid, "naa", naa,
			 "size", (json_int_t)volume_size(volume), "checksum", (int)volume->checksum,
			 "mirror", volume->mirror);
}

static bool member_read(json_t *json, struct member_row *row)
{
	row->mirror = 0; /* a node of an older release does not say */
	if (json_unpack(json, "{s:I,s:s,s:s,s:s,s:s,s:I,s:I,s?:b}", "index", &row->index, "pool",
			&row->pool, "name", &row->name, "uuid", &row->uuid, "naa", &row->naa,
			"size", &row->size, "checksum", &row->checksum, "mirror", &row->mirror) < 0)
		return false;
	if (row->index < 0 || row->index >= WIRE_MEMBERS_MAX || row->size <= 0 ||
	    row->checksum < 0 || row->checksum > VOLUME_CHECKSUM_STRICT ||
	    strlen(row->uuid) != 32 || !uuid_parse(row->uuid, row->identity.uuid) ||
	    !uuid_parse(row->naa, row->identity.naa))
		return false;
	snprintf(row->identity.serial, sizeof row->identity.serial, "%s", row->uuid);
	return true;
}

/* Where a member is made: in the pool of its pool's name, else with the members that are
 * there. */
static struct pool *pool_for(const struct seat *seat, const char *name)
{
	const struct replication_host *host = &seat->replication->options.host;
	struct pool *pool = host->pool(host->context, name), *first = first_pool(seat);

	return first && (!pool || strcmp(pool_name(pool), name) != 0) ? first : pool;
}

/* Whatever was at @index before, the sealed image has nothing of it now: what comes there may not
 * be taken for a part of it. Before the definition says who is there. */
static int not_in_image(struct seat *seat, unsigned index, struct err *err)
{
	struct group *group = &seat->group;
	int result = group->staging_good ? staging_leave_out(&group->staging, index) : 0;

	return result < 0 ? err_set(err, result, "the staging log: %s", strerror(-result)) : 0;
}

/* The member's volume; made when it is the standby's first time (@make), with two copies if it has
 * them on the other node and there are devices for them here. */
static int member_open(struct seat *seat, const struct member_row *row, bool make, struct err *err)
{
	const struct replication_host *host = &seat->replication->options.host;
	struct volume *volume = host->volume(host->context, row->identity.uuid);
	struct volume_spec spec = {.name = row->name,
				   .size_bytes = (uint64_t)row->size,
				   .checksum = (enum volume_checksum)row->checksum,
				   .identity = &row->identity};
	struct pool *pool;
	int result = 0;

	if (!volume && !make)
		return err_set(err, -ENXIO, "volume %s/%s is not available", row->pool, row->name);
	pool = volume ? volume->pool : pool_for(seat, row->pool);
	if (!pool)
		return err_set(err, -ENXIO, "there is no pool for volume %s", row->name);
	if (volume)
		seat->group.used = true; /* whatever is in it is older than the group */
	else
		spec.mirror = row->mirror && can_mirror(pool);
	if (!volume && row->mirror && !spec.mirror)
		log_notice("volume %s has one copy here: pool %s has no second device for it",
			   row->name, pool_name(pool));
	if (!volume)
		result = make_volume(pool, &spec, &volume, err);
	if (result < 0)
		return result;
	if (seat->started)
		result = not_in_image(seat, (unsigned)row->index, err);
	if (result == 0)
		group_set_member(&seat->group, (unsigned)row->index, volume);
	volume_unref(volume);
	return result == 0 && seat->started
		   ? group_add_member(&seat->group, (unsigned)row->index, false, err)
		   : result;
}

static bool is_member(const struct seat *seat, const struct member_row *row)
{
	const struct volume *volume = seat->group.members[row->index].volume;

	return volume && memcmp(volume->identity.uuid, row->identity.uuid, 16) == 0;
}

/* Members that the definition does not have at their index are volumes like others; first, for one
 * may come back at another index. */
static int members_leave(struct seat *seat, json_t *members, struct err *err)
{
	uint64_t named = 0;
	json_t *member;
	int result = 0;
	size_t at;

	json_array_foreach(members, at, member)
	{
		struct member_row row;

		if (member_read(member, &row) && is_member(seat, &row))
			named |= (uint64_t)1 << row.index;
	}
	for (unsigned i = 0; i < seat->group.member_max; i++) {
		if (!seat->group.members[i].volume || named >> i & 1)
			continue;
		log_notice("group %s: volume %s is no member any more", seat->group.name,
			   seat->group.members[i].volume->name);
		group_drop_member(&seat->group, i);
		if (result == 0)
			result = not_in_image(seat, i, err);
	}
	return result;
}

static int as_large(struct seat *seat, const struct member_row *row, struct err *err)
{
	struct group_member *member = &seat->group.members[row->index];

	member->size = (uint64_t)row->size;
	return grow_volume(member->volume, member->size, err);
}

int seat_open_members(struct seat *seat, json_t *definition, bool make, struct err *err)
{
	json_t *members = json_object_get(definition, "members"), *member;
	size_t index;
	int result;

	if (json_array_size(members) == 0)
		return err_set(err, -EINVAL, "a group without members");
	result = members_leave(seat, members, err);
	json_array_foreach(members, index, member)
	{
		struct member_row row;

		if (!member_read(member, &row))
			return err_set(err, -EINVAL, "a member that can not be");
		if (result == 0 && !seat->group.members[row.index].volume)
			result = member_open(seat, &row, make, err);
		if (result == 0 && make)
			result = as_large(seat, &row, err);
	}
	return result < 0 ? result : seat_open_staging(seat, err);
}

static void take_witness(struct seat *seat, const json_t *definition)
{
	const char *witness = json_string_value(json_object_get(definition, "witness"));
	json_int_t length = json_integer_value(json_object_get(definition, "lease_ns"));
	struct lease *lease = &seat->group.lease;
	bool before = lease->on;

	lease->on = witness && uuid_parse(witness, seat->witness);
	if (lease->on && length > 0)
		lease->length_ns = (uint64_t)length;
	if (lease->on == before)
		return;
	lease->until_ns = 0; /* what was granted before is not of this one */
	lease->took_wall_ns = 0;
	seat->witness_heard_ns = 0;
	lease_start(&seat->group);
	lease_wake(&seat->group);
}

void seat_take_settings(struct seat *seat, const json_t *definition)
{
	const char *points = json_string_value(json_object_get(definition, "points"));
	const json_t *rpo = json_object_get(definition, "rpo_ns");
	const json_t *limit = json_object_get(definition, "limit_bytes");
	const char *compression = json_string_value(json_object_get(definition, "compression"));
	const char *limit_at = json_string_value(json_object_get(definition, "limit_at"));
	const char *seed = json_string_value(json_object_get(definition, "seed"));
	struct err err = {0};

	seat->keep = (struct keep){0};
	seat->group.compression = PACK_OFF;
	if (compression && pack_kind_parse(compression, &seat->group.compression, &err) < 0)
		log_warning("group %s: %s", seat->group.name, err.text);
	if (points && points_parse(points, &seat->keep, &err) < 0)
		log_warning("group %s: %s", seat->group.name, err.text);
	if (json_integer_value(rpo) > 0)
		seat_set_rpo(seat, (uint64_t)json_integer_value(rpo));
	if (limit && json_integer_value(limit) >= 0)
		seat->limit_bytes = (uint64_t)json_integer_value(limit);
	if (calendar_parse(limit_at ? limit_at : "", &seat->calendar, &err) < 0)
		log_warning("group %s: %s", seat->group.name, err.text);
	seat->protect = json_is_true(json_object_get(definition, "protect"));
	take_witness(seat, definition);
	seat->group.ship = seed && strcmp(seed, "ship") == 0;
	seat->group.seed_epoch =
	    (uint64_t)json_integer_value(json_object_get(definition, "seed_epoch"));
	seat_follow(seat);
	services_define(seat, definition);
}

/* A group that is new here has the name it has there. */
static int take_name(struct seat *seat, const json_t *definition, struct err *err)
{
	const char *name = json_string_value(json_object_get(definition, "name"));

	if (seat->group.name[0])
		return 0;
	if (!name || volume_name_check(name, err) < 0 || strlen(name) > GROUP_NAME_MAX)
		return err_set(err, -EINVAL, "a group without a proper name");
	if (seat_find(seat->replication, name))
		return err_set(err, -EEXIST, "there is another group named %s here", name);
	snprintf(seat->group.name, sizeof seat->group.name, "%s", name);
	return 0;
}

static int host_define(struct group *group, const char *text, size_t length, struct err *err)
{
	struct seat *seat = group->host_context;
	json_t *definition = json_loadb(text, length, 0, NULL);
	char *copy = heap_printf("%.*s", (int)length, text), *before = seat->definition;
	int result;

	if (!json_is_object(definition) || !copy) {
		json_decref(definition);
		heap_free(copy);
		return err_set(err, -EINVAL, "a definition that is none");
	}
	seat->definition = copy;
	result = take_name(seat, definition, err);
	seat_take_settings(seat, definition);
	if (result == 0)
		result = seat_open_members(seat, definition, true, err);
	json_decref(definition);
	if (result == 0 && !seat->started) {
		group->role = GROUP_STANDBY;
		result = group_start(group, false, err);
		seat->started = result == 0;
		if (result < 0)
			group_retire(group, &seat->replication->retired);
	}
	if (result == 0 && seat_save(group) < 0)
		result = err_set(err, -EIO, "the group could not be saved");
	group->host->serving_changed(group); /* members come and go */
	/* What could not be made is no part of the group: a promotion goes by what is. */
	seat->definition = result < 0 ? before : copy;
	heap_free(result < 0 ? copy : before);
	return result;
}

/* Snapshots named @name of those members that are in @pool. */
static int snapshot_members(struct group *group, struct pool *pool, const char *name,
			    struct err *err)
{
	struct pool_wait waiting = POOL_WAIT;
	struct snapshot_spec specs[WIRE_MEMBERS_MAX] = {0};
	unsigned count = 0;

	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume && group->members[i].volume->pool == pool)
			specs[count++] = (struct snapshot_spec){.volume = group->members[i].volume,
								.name = name};
	}
	snapshot_create(pool, specs, count, &waiting.call);
	return pool_wait(&waiting, err);
}

/* Of all members, a pool after the other: nobody writes to them meanwhile. */
int seat_snapshot(struct seat *seat, const char *name, struct err *err)
{
	struct group *group = &seat->group;
	int result = 0;

	for (unsigned i = 0; i < group->member_max && result == 0; i++) {
		bool first = group->members[i].volume != NULL;

		for (unsigned j = 0; j < i && first; j++)
			first = !group->members[j].volume ||
				group->members[j].volume->pool != group->members[i].volume->pool;
		if (first)
			result = snapshot_members(group, group->members[i].volume->pool, name, err);
	}
	return result;
}

/* The loser's image, as snapshots: "conflict-" and the lineage it belongs to. */
static int host_keep(struct group *group, struct err *err)
{
	char name[64], head[33] = "none";
	int result;

	if (lineage_head(&group->lineage))
		uuid_text(lineage_head(&group->lineage), head);
	snprintf(name, sizeof name, "conflict-%.12s-%llu", head,
		 (unsigned long long)(loop_wall(group->loop) / 1000000000ull));
	result = seat_snapshot(group->host_context, name, err);
	if (result < 0 && result != -EOPNOTSUPP)
		return result;
	if (result < 0) {
		log_warning("group %s: its image can not be kept: %s", group->name, err->text);
		return 0;
	}
	log_notice("group %s: its image is kept as snapshots %s", group->name, name);
	return 0;
}

static void drop_named(json_t *list, const char *key, const char *uuid)
{
	for (size_t i = json_array_size(list); i-- > 0;) {
		const char *text = json_string_value(json_object_get(json_array_get(list, i), key));

		if (text && strcmp(text, uuid) == 0)
			json_array_remove(list, i);
	}
}

/* Nothing of it is exported either: it is not filled yet. */
static void host_left_out(struct group *group, unsigned index)
{
	struct seat *seat = group->host_context;
	const struct volume *volume = group->members[index].volume;
	json_t *definition = json_loads(seat->definition, 0, NULL), *target;
	json_t *exports = json_object_get(definition, "exports");
	char uuid[33], *text;
	size_t at;

	log_warning("group %s: volume %s was joining it and is not in the sealed image: it is left "
		    "out",
		    group->name, volume->name);
	uuid_text(volume->identity.uuid, uuid);
	drop_named(json_object_get(definition, "members"), "uuid", uuid);
	drop_named(json_object_get(exports, "shares"), "volume", uuid);
	json_array_foreach(json_object_get(exports, "targets"), at, target)
	    drop_named(json_object_get(target, "luns"), "volume", uuid);
	text = json_dumps(definition, JSON_COMPACT);
	json_decref(definition);
	if (text) {
		heap_free(seat->definition);
		seat->definition = heap_strdup(text);
	}
	free(text);
}

static void host_sealed(struct group *group)
{
	points_sealed(group->host_context);
}

static void host_role_changed(struct group *group)
{
	struct seat *seat = group->host_context;

	log_notice("group %s: this node is %s now", group->name, group_role_name(group->role));
	seat->addresses_from_ns = 0; /* it is no guess any more */
	seat->lease_retry_ns[LEASE_WITNESS] = seat->lease_retry_ns[LEASE_PEER] = 0;
	exports_look(seat);
	seat->exports_retry_ns = 0;
	exports_follow(seat, loop_now(group->loop));
}

static void host_serving_changed(struct group *group)
{
	struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;
	bool serves = group_serves(group);

	if (!serves) /* clients are to wait, not to be told that there is nothing */
		services_follow(seat);
	host->serving_changed(host->context);
	if (serves)
		services_follow(seat);
}

static bool host_settled(struct group *group)
{
	const struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;
	uint8_t uuids[WIRE_MEMBERS_MAX][16];
	unsigned count = seat_member_uuids(seat, uuids);

	return host->settled(host->context, (const uint8_t(*)[16])uuids, count);
}

const struct group_host seat_host = {.save = seat_save,
				     .definition = host_definition,
				     .define = host_define,
				     .access = seat_access,
				     .keep_access = seat_keep_access,
				     .guard = seat_guard,
				     .left_out = host_left_out,
				     .keep = host_keep,
				     .sealed = host_sealed,
				     .role_changed = host_role_changed,
				     .serving_changed = host_serving_changed,
				     .settled = host_settled,
				     .mark_since = seed_mark_since,
				     .take_over = leases_take_over};
