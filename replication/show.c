/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "replication/lineage.h"
#include "replication/node.h"

/* What is seen of a group: lag, alarms, state. */

#define LINK_NS (10 * 1000000000ull)

static double seconds_since(uint64_t now, uint64_t then)
{
	return then && now > then ? (double)(now - then) / 1e9 : 0;
}

static const struct {
	const char *name, *text;
} alarms[SEAT_ALARMS] = {
    [SEAT_ALARM_RPO] = {"rpo", "the standby's image is older than the RPO"},
    [SEAT_ALARM_LINK] = {"link", "there is no connection to the other node"},
    [SEAT_ALARM_MISMATCH] = {"mismatch", "the standby's image was found to differ"},
    [SEAT_ALARM_HELD] = {"held", "guests' writes wait for the standby"},
    [SEAT_ALARM_LEASE] = {"lease", "guests wait for a lease"},
    [SEAT_ALARM_WITNESS] = {"witness", "the witness does not answer"},
    [SEAT_ALARM_PROMOTED] = {"promoted", "this node has promoted itself"},
};

/* While changes are held the image is no older than the last one is newer. */
static double primary_lag(const struct seat *seat)
{
	const struct group *group = &seat->group;
	struct recorder_lag lag = {0};

	if (!seat->started || (group->acked && group_level(group)))
		return 0;
	recorder_lag(group->recorder, &lag);
	return seconds_since(lag.still_wall_ns ? lag.still_wall_ns
					       : loop_wall(seat->replication->options.loop),
			     group->acked_wall_ns ? group->acked_wall_ns : lag.oldest_wall_ns);
}

static unsigned lease_alarms(struct seat *seat, uint64_t now)
{
	const struct group *group = &seat->group;
	unsigned found = 0;

	if (group->lease.answered[LEASE_WITNESS] || !group->lease.on || !seat->witness_heard_ns)
		seat->witness_heard_ns = now;
	if (now - seat->witness_heard_ns > LINK_NS)
		found |= 1u << SEAT_ALARM_WITNESS;
	if (group->role == GROUP_PRIMARY && !group->starting && !lease_holds(group))
		found |= 1u << SEAT_ALARM_LEASE;
	if (group->role == GROUP_PRIMARY && group->lease.took_wall_ns && !group->acked)
		found |= 1u << SEAT_ALARM_PROMOTED;
	return found;
}

static unsigned alarms_of(struct seat *seat, uint64_t now)
{
	const struct group *group = &seat->group;
	struct recorder_lag lag = {0};
	unsigned found = 0;

	if (group->channel || seat->paused || !seat->heard_ns)
		seat->heard_ns = now;
	if (group->role != GROUP_PRIMARY && group->role != GROUP_STANDBY)
		return 0;
	if (now - seat->heard_ns > LINK_NS)
		found |= 1u << SEAT_ALARM_LINK;
	if (group->role == GROUP_PRIMARY)
		recorder_lag(group->recorder, &lag);
	if (lag.held_wall_ns)
		found |= 1u << SEAT_ALARM_HELD;
	else if (group->role == GROUP_PRIMARY && primary_lag(seat) > (double)seat->rpo_ns / 1e9)
		found |= 1u << SEAT_ALARM_RPO;
	if (group->role == GROUP_PRIMARY && group->verify.mismatches)
		found |= 1u << SEAT_ALARM_MISMATCH;
	return found | lease_alarms(seat, now);
}

void seat_look(struct seat *seat, uint64_t now)
{
	unsigned found = seat->started ? alarms_of(seat, now) : 0, before = seat->alarms;

	seat->alarms = found;
	for (unsigned i = 0; i < SEAT_ALARMS; i++) {
		if ((found ^ before) >> i & 1 && found >> i & 1)
			log_warning("group %s: %s", seat->group.name, alarms[i].text);
		else if ((found ^ before) >> i & 1)
			log_notice("group %s: no more: %s", seat->group.name, alarms[i].text);
	}
}

static json_t *show_alarms(const struct seat *seat)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < SEAT_ALARMS; i++) {
		if (seat->alarms >> i & 1)
			json_array_append_new(list, json_string(alarms[i].name));
	}
	return list;
}

/* Of the protection: not asked for; not in force before the standby has caught up; in force; held.
 */
static const char *protection_of(const struct seat *seat, const struct recorder_lag *lag)
{
	if (!seat->protect)
		return "off";
	if (seat->paused || !seat->started || !seat->group.armed)
		return "waiting";
	return lag->held_wall_ns ? "holding" : "on";
}

static void show_protection(const struct seat *seat, const struct recorder_lag *lag, json_t *json)
{
	uint64_t now = loop_wall(seat->replication->options.loop);
	uint64_t since = lag->held_wall_ns ? lag->held_wall_ns : now;

	/* After a start nobody knows since when; since the last change at the least. */
	since = since < lag->still_wall_ns ? lag->still_wall_ns : since;
	json_object_set_new(json, "protection", json_string(protection_of(seat, lag)));
	json_object_set_new(json, "held_seconds", json_real(seconds_since(now, since)));
	json_object_set_new(json, "held_changes", json_integer((json_int_t)lag->held));
}

static void show_primary(const struct seat *seat, json_t *json)
{
	struct recorder_lag lag = {0};
	uint64_t sealed = seat->group.acked;
	bool level = true;

	if (seat->started) {
		recorder_lag(seat->group.recorder, &lag);
		level = group_level(&seat->group);
	}
	show_protection(seat, &lag, json);
	json_object_set_new(json, "sealed_epoch", json_integer((json_int_t)sealed));
	json_object_set_new(json, "lag_seconds", json_real(primary_lag(seat)));
	json_object_set_new(
	    json, "lag_bytes",
	    json_integer((json_int_t)(seat->started ? lag_bytes(&seat->group) : 0)));
	json_object_set_new(
	    json, "lag_epochs",
	    json_integer(seat->started && sealed && !level
			     ? (json_int_t)(recorder_open_epoch(seat->group.recorder) - sealed)
			     : 0));
}

static json_t *show_verify(const struct group *group)
{
	const struct group_verify *verify = &group->verify;
	uint64_t total = 0;

	for (unsigned i = 0; i < group->member_max; i++)
		total += group->members[i].volume ? volume_size(group->members[i].volume) : 0;
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "state",
			 verify->running         ? "running"
			 : verify->ended_wall_ns ? "done"
						 : "never",
			 "begun", (json_int_t)(verify->begun_wall_ns / 1000000000ull), "ended",
			 (json_int_t)(verify->ended_wall_ns / 1000000000ull), "done_bytes",
			 (json_int_t)verify->done_bytes, "total_bytes", (json_int_t)total,
			 "mismatches", (json_int_t)verify->mismatches, "repaired",
			 (json_int_t)verify->repaired);
}

static void show_standby(const struct seat *seat, json_t *json)
{
	const struct group *group = &seat->group;
	uint64_t now = loop_wall(seat->replication->options.loop);
	uint64_t sealed = group->staging_good ? group->staging.sealed : 0;
	uint64_t as_of = group->staging_good ? group->staging.sealed_wall_ns : 0;
	uint64_t bytes, word_ns;

	/* The primary has said since that nothing is newer. */
	if (group->heard.level_epoch == sealed && group->heard.level_wall_ns > as_of)
		as_of = group->heard.level_wall_ns;
	if (lag_known(group, &bytes, &word_ns) == 0) {
		json_object_set_new(json, "lag_bytes", json_integer((json_int_t)bytes));
		json_object_set_new(json, "lag_bytes_age_seconds",
				    json_real(seconds_since(now, word_ns)));
	}
	json_object_set_new(json, "sealed_epoch", json_integer((json_int_t)sealed));
	json_object_set_new(json, "lag_seconds", json_real(seconds_since(now, as_of)));
	json_object_set_new(json, "as_of_ms", json_integer((json_int_t)(as_of / 1000000)));
	json_object_set_new(json, "promotable", json_boolean(sealed && !group->staging.seeding));
}

static json_t *show_lineage(const struct group *group)
{
	const struct wire_lineage *lineage = group->role == GROUP_STANDBY && group->staging_good
						 ? &group->staging.lineage
						 : &group->lineage;
	json_t *chain = json_array();

	for (unsigned i = 0; i < lineage->count; i++) {
		char uuid[33];

		uuid_text(lineage->link[i].uuid, uuid);
		json_array_append_new(chain, json_pack("{s:s,s:I}", "uuid", uuid, "fork_epoch",
						       (json_int_t)lineage->link[i].fork));
	}
	return chain;
}

static const char *state_of(const struct seat *seat)
{
	if (!seat->started)
		return "unavailable";
	if (seat->paused)
		return "paused";
	if (seat->group.role == GROUP_FENCED)
		return "split-brain";
	return seat->group.channel ? seat->group.phase : "disconnected";
}

/* Of a definition: POOL/NAME of each. */
static json_t *show_members(const json_t *definition)
{
	json_t *members = json_array(), *member;
	size_t index;

	json_array_foreach(json_object_get(definition, "members"), index, member)
	    json_array_append_new(
		members, json_sprintf("%s/%s", json_string_value(json_object_get(member, "pool")),
				      json_string_value(json_object_get(member, "name"))));
	return members;
}

static const char *text_or(const json_t *definition, const char *name, const char *other)
{
	const char *text = json_string_value(json_object_get(definition, name));

	return text ? text : other;
}

json_t *seat_plan(const json_t *definition)
{
	json_t *addresses = json_object_get(definition, "addresses");

	return json_pack(
	    "{s:o,s:f,s:I,s:s,s:s,s:b,s:s,s:s,s:o}", "members", show_members(definition),
	    "rpo_seconds", (double)json_integer_value(json_object_get(definition, "rpo_ns")) / 1e9,
	    "limit_bytes", json_integer_value(json_object_get(definition, "limit_bytes")),
	    "compression", text_or(definition, "compression", "off"), "limit_at",
	    text_or(definition, "limit_at", ""), "protect",
	    json_is_true(json_object_get(definition, "protect")), "points",
	    text_or(definition, "points", "0"), "seed_by", text_or(definition, "seed", "wire"),
	    "addresses", addresses ? json_deep_copy(addresses) : json_array());
}

json_t *dry_reply(json_t *before, json_t *after)
{
	return json_pack("{s:o,s:o}", "before", before, "after", after);
}

json_t *seat_show(const struct seat *seat)
{
	const struct group *group = &seat->group;
	struct peer *peer = peer_find(seat->replication, seat->peer);
	json_t *definition = json_loads(seat->definition ? seat->definition : "{}", 0, NULL);
	char uuid[33];
	uint64_t sent = group->sent_bytes + (group->channel ? group->channel->bytes_out : 0);
	json_t *json = json_pack(
	    "{s:s,s:s,s:s,s:s,s:s,s:f,s:I,s:I,s:I}", "name", group->name, "role",
	    group_role_name(group->role), "state", state_of(seat), "peer", peer ? peer->name : "?",
	    "reason", seat->unavailable[0] ? seat->unavailable : group->reason, "rpo_seconds",
	    (double)seat->rpo_ns / 1e9, "limit_bytes", (json_int_t)seat->limit_bytes,
	    "bytes_per_second", (json_int_t)seat->rate, "sent_bytes", (json_int_t)sent);

	json_object_set_new(json, "uncompressed_bytes",
			    json_integer((json_int_t)(sent + group->saved_bytes)));
	if (group->spoken)
		json_object_set_new(json, "protocol", json_integer((json_int_t)group->spoken));
	json_object_set_new(json, "members", show_members(definition));
	uuid_text(seat->peer, uuid);
	json_object_set_new(json, "peer_uuid", json_string(uuid));
	json_object_set_new(json, "limit_at", json_string(text_or(definition, "limit_at", "")));
	json_object_set_new(json, "limit_now_bytes", json_integer((json_int_t)group->limit_bytes));
	json_object_set_new(json, "protect", json_boolean(seat->protect));
	json_object_set_new(json, "compression", json_string(pack_kind_name(group->compression)));
	json_object_set_new(json, "addresses", services_show(seat));
	json_object_set_new(json, "addresses_trouble", json_string(seat->addresses_trouble));
	json_object_set_new(json, "points", json_string(text_or(definition, "points", "0")));
	json_object_set_new(json, "points_trouble", json_string(seat->points_trouble));
	json_object_set_new(json, "seed_by", json_string(group->ship ? "ship" : "wire"));
	json_object_set_new(json, "seed", seed_show(seat));
	json_object_set_new(json, "alarms", show_alarms(seat));
	json_object_set_new(json, "lineage", show_lineage(group));
	leases_show(seat, json);
	if (group->role == GROUP_STANDBY)
		show_standby(seat, json);
	else
		show_primary(seat, json);
	if (group->role == GROUP_PRIMARY)
		json_object_set_new(json, "verify", show_verify(group));
	json_decref(definition);
	return json;
}

json_t *replication_group_show(struct replication *replication, const char *name)
{
	struct seat *seat = seat_find(replication, name);

	return seat ? seat_show(seat) : NULL;
}

json_t *replication_group_list(struct replication *replication)
{
	json_t *groups = json_array();

	list_for_each (it, &replication->seats)
		json_array_append_new(groups, seat_show(list_entry(it, struct seat, link)));
	return groups;
}

static bool is_volume(const struct volume *volume, const uint8_t uuid[16])
{
	return volume && memcmp(volume->identity.uuid, uuid, 16) == 0;
}

bool replication_holds(struct replication *replication, const uint8_t uuid[16],
		       struct replication_hold *ret_hold)
{
	list_for_each (it, &replication->seats) {
		const struct seat *seat = list_entry(it, struct seat, link);
		const struct group *group = &seat->group;
		bool staging = is_volume(group->staging_volume, uuid), held = staging;

		for (unsigned i = 0; i < group->member_max && !held; i++)
			held = is_volume(group->members[i].volume, uuid);
		if (held) {
			/* One that could not start with a lease is not served (witness.c). */
			*ret_hold = (struct replication_hold){
			    group->name, staging,
			    group_serves(group) && (seat->started || !group->lease.on)};
			return true;
		}
	}
	return false;
}
