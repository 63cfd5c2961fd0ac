/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/node.h"

/* Groups as the node keeps them: rows of replication.db and their sessions. */

#define RETRY_NS   (1000000000ull)
#define PERIOD_MIN (200 * 1000000ull)
#define PERIOD_MAX (5 * 1000000000ull)

/* ---- rows ---- */
static void lineage_text(const struct wire_lineage *lineage, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < lineage->count && at + 64 < size; i++) {
		char uuid[33];

		uuid_text(lineage->link[i].uuid, uuid);
		at += (size_t)snprintf(text + at, size - at, "%s:%llu ", uuid,
				       (unsigned long long)lineage->link[i].fork);
	}
}

static void lineage_parse(const char *text, struct wire_lineage *lineage)
{
	lineage->count = 0;
	while (lineage->count < WIRE_LINEAGE_MAX && strlen(text) > 33) {
		char uuid[33] = {0}, *end;

		memcpy(uuid, text, 32);
		if (text[32] != ':' || !uuid_parse(uuid, lineage->link[lineage->count].uuid))
			return;
		lineage->link[lineage->count++].fork = strtoull(text + 33, &end, 10);
		text = end + (*end == ' ');
	}
}

int seat_store(struct seat *seat, struct err *err)
{
	struct group *group = &seat->group;
	char uuid[33], peer[33], taking[33] = "", lineage[WIRE_LINEAGE_MAX * 64];

	uuid_text(group->uuid, uuid);
	uuid_text(seat->peer, peer);
	if (group->lease.taking)
		uuid_text(group->lease.fork, taking);
	lineage_text(&group->lineage, lineage, sizeof lineage);
	return config_run(
	    seat->replication->config, err,
	    "insert into grp(uuid, name, peer, role, lineage, accept_any, rpo_ns, limit_bytes,"
	    " paused, clean, armed, definition, taking, waits)"
	    " values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	    " on conflict(uuid) do update set role = excluded.role, lineage = excluded.lineage,"
	    " accept_any = excluded.accept_any, rpo_ns = excluded.rpo_ns,"
	    " limit_bytes = excluded.limit_bytes, paused = excluded.paused,"
	    " clean = excluded.clean, armed = excluded.armed, definition = excluded.definition,"
	    " taking = excluded.taking, waits = excluded.waits,"
	    /* A primary has none once it is in force: that counts then. */
	    " access = case when ? then access else null end",
	    "sssisiiiiiissii", uuid, group->name, peer, (int64_t)group->role, lineage,
	    (int64_t)group->accept_any, (int64_t)seat->rpo_ns, (int64_t)seat->limit_bytes,
	    (int64_t)seat->paused, (int64_t)seat->clean, (int64_t)group->armed,
	    seat->definition ? seat->definition : "{}", taking, (int64_t)group->lease.waits,
	    (int64_t)(seat->access != NULL));
}

int seat_save(struct group *group)
{
	struct seat *seat = group->host_context;
	struct err err = {0};
	int result = seat_store(seat, &err);

	if (result < 0)
		log_error("group %s: its state could not be saved: %s", group->name, err.text);
	return result;
}

/* ---- seats ---- */
struct seat *seat_find(struct replication *replication, const char *name)
{
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);

		if (strcmp(seat->group.name, name) == 0)
			return seat;
	}
	return NULL;
}

struct seat *seat_by_uuid(struct replication *replication, const uint8_t uuid[16])
{
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);

		if (memcmp(seat->group.uuid, uuid, 16) == 0)
			return seat;
	}
	return NULL;
}

void seat_set_rpo(struct seat *seat, uint64_t rpo_ns)
{
	uint64_t period;

	seat->rpo_ns = rpo_ns ? rpo_ns : RPO_NS;
	period = seat->rpo_ns / 5;
	period = period < PERIOD_MIN ? PERIOD_MIN : period;
	seat->group.period_ns = period > PERIOD_MAX ? PERIOD_MAX : period;
}

void seat_follow(struct seat *seat)
{
	struct group *group = &seat->group;
	uint64_t now = loop_wall(group->loop) / 1000000000ull;

	group->limit_bytes = calendar_limit(&seat->calendar, (int64_t)now, seat->limit_bytes);
	if (group->channel && group->role == GROUP_PRIMARY)
		channel_limit(group->channel, group->limit_bytes);
	group->protect_ns = seat->protect && !seat->paused ? seat->rpo_ns : 0;
	if (seat->started)
		group_protect(group);
}

struct seat *seat_new(struct replication *replication, const char *name, const uint8_t uuid[16],
		      const uint8_t peer[16])
{
	struct seat *seat = heap_zalloc(sizeof *seat);

	if (!seat)
		return NULL;
	seat->replication = replication;
	group_init(&seat->group, replication->options.loop, &seat_host);
	seat->group.host_context = seat;
	snprintf(seat->group.name, sizeof seat->group.name, "%s", name);
	memcpy(seat->group.uuid, uuid, 16);
	memcpy(seat->group.node, replication->node, 16);
	memcpy(seat->peer, peer, 16);
	seat_set_rpo(seat, 0);
	seat->points_kept = true; /* as far as is known */
	seat->seed.state = "none";
	list_push_back(&replication->seats, &seat->link);
	return seat;
}

static void seat_destroy(struct seat *seat)
{
	heap_free(seat->definition);
	seat_access_drop(seat);
	free(seat->sent_definition);
	heap_free(seat);
}

void seat_free(struct seat *seat)
{
	list_remove(&seat->link);
	group_retire(&seat->group, &seat->replication->retired);
	seat->started = false;
	seat->gone = true;
	if (seat->users == 0)
		seat_destroy(seat);
}

void seat_enter(struct seat *seat)
{
	seat->users++;
}

void seat_leave(struct seat *seat)
{
	if (--seat->users == 0 && seat->gone)
		seat_destroy(seat);
}

static int load_access(struct seat *seat, struct config_statement *row, int column)
{
	int length;
	const void *sealed = config_blob(row, column, &length);

	if (length <= 0)
		return 0;
	seat->access = heap_alloc((size_t)length);
	if (!seat->access)
		return -ENOMEM;
	memcpy(seat->access, sealed, (size_t)length);
	seat->access_length = (size_t)length;
	return 0;
}

static int load_one(struct replication *replication, struct config_statement *row, struct err *err)
{
	uint8_t uuid[16], peer[16];
	struct seat *seat;

	if (!uuid_parse(config_text(row, 0), uuid) || !uuid_parse(config_text(row, 2), peer))
		return err_set(err, -EINVAL, "group %s is damaged", config_text(row, 1));
	seat = seat_new(replication, config_text(row, 1), uuid, peer);
	if (!seat)
		return err_set(err, -ENOMEM, "out of memory");
	seat->group.role = (enum group_role)config_number(row, 3);
	lineage_parse(config_text(row, 4), &seat->group.lineage);
	seat->group.accept_any = config_number(row, 5) != 0;
	seat_set_rpo(seat, (uint64_t)config_number(row, 6));
	seat->limit_bytes = (uint64_t)config_number(row, 7);
	seat->paused = config_number(row, 8) != 0;
	seat->clean = (uint64_t)config_number(row, 9);
	seat->definition = heap_strdup(config_text(row, 10));
	seat->group.armed = config_number(row, 11) != 0;
	seat->group.starting = true;
	seat->group.lease.taking = uuid_parse(config_text(row, 12), seat->group.lease.fork);
	seat->group.lease.waits = config_number(row, 13) != 0;
	return seat->definition && load_access(seat, row, 14) == 0
		   ? 0
		   : err_set(err, -ENOMEM, "out of memory");
}

int seats_load(struct replication *replication, struct err *err)
{
	struct config_statement *row;
	int result = config_prepare(replication->config,
				    "select uuid, name, peer, role, lineage, accept_any, rpo_ns,"
				    " limit_bytes, paused, clean, definition, armed, taking, waits,"
				    " access from grp",
				    &row, err);

	if (result < 0)
		return result;
	while ((result = config_step(row, err)) > 0) {
		result = load_one(replication, row, err);
		if (result < 0)
			break;
	}
	config_finish(row);
	return result;
}

/* What was sealed when the node stopped in order is known; else nothing is. */
static int seat_start(struct seat *seat, struct err *err)
{
	struct group *group = &seat->group;
	json_t *definition = json_loads(seat->definition, 0, NULL);
	bool clean = seat->clean != 0;
	int result;

	seat_take_settings(seat, definition);
	exports_look(seat);
	services_start(seat);
	/* Once only, and first: a group that can not start is not watched, and guests may write. */
	group->acked = seat->clean;
	seat->clean = 0;
	if (clean && seat_save(group) < 0) {
		group->acked = 0;
		clean = false;
	}
	result = seat_open_members(seat, definition, false, err);
	json_decref(definition);
	if (result == 0)
		result = group_start(group, group->role == GROUP_PRIMARY && !clean, err);
	seat->started = result == 0;
	if (result < 0) {
		group->acked = 0;
		group_finish(group);
	}
	return result;
}

/* What a standby holds is known before its primary comes: it may never come. */
static void look_at_image(void *context)
{
	struct seat *seat = context;
	struct replication *replication = seat->replication;
	struct err err = {0};

	if (group_open_staging(&seat->group, &err) < 0)
		snprintf(seat->group.reason, sizeof seat->group.reason, "%.199s", err.text);
	seat->session = false;
	seat_leave(seat);
	node_release(replication);
}

static void standby_start(struct seat *seat)
{
	seat_enter(seat);
	node_hold(seat->replication);
	seat->session = true;
	if (fiber_start(seat->replication->options.loop, look_at_image, seat) == 0)
		return;
	seat->session = false;
	node_release(seat->replication);
	seat_leave(seat);
}

void seats_start(struct replication *replication)
{
	list_for_each (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);
		struct err err = {0};

		if (seat_start(seat, &err) < 0) {
			snprintf(seat->unavailable, sizeof seat->unavailable, "%.199s", err.text);
			log_error("group %s is not replicated: %s", seat->group.name, err.text);
		}
		if (seat->started && seat->group.role == GROUP_STANDBY)
			standby_start(seat);
	}
}

/* ---- sessions ---- */
void seat_send(struct visit *visit)
{
	struct seat *seat = visit->seat;

	seat->retries = 0;
	sender_run(&seat->group, &visit->channel);
	log_info("group %s: session over: %s", seat->group.name, visit->channel.why);
}

void seat_end_session(struct seat *seat, const char *why)
{
	if (seat->dial)
		tls_dial_cancel(seat->dial);
	while (seat->session) {
		if (seat->group.channel)
			channel_break(seat->group.channel, -ECANCELED, "%s", why);
		fiber_sleep(2000000);
	}
}

static struct seat *seat_welcome(struct visit *visit, const struct wire_message *hello)
{
	struct replication *replication = visit->replication;
	struct seat *seat = seat_by_uuid(replication, hello->group);

	if (!seat) /* the definition that follows names it */
		seat = seat_new(replication, "", hello->group, hello->node);
	if (!seat || memcmp(seat->peer, hello->node, 16) != 0) {
		channel_refuse(&visit->channel, WIRE_REFUSED_GROUP, NULL,
			       "that group is another node's");
		return NULL;
	}
	if (seat->paused) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL,
			       "the group is paused there");
		return NULL;
	}
	if (seat->seed.importing) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL,
			       "a seed is being imported there");
		return NULL;
	}
	if (seat->unavailable[0]) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL, "%s", seat->unavailable);
		return NULL;
	}
	return seat;
}

void seat_receive(struct visit *visit, const struct wire_message *hello)
{
	struct wire_message first = *hello; /* nothing of it is borrowed */
	struct seat *seat = seat_welcome(visit, &first);

	if (!seat)
		return;
	seat_enter(seat);
	/* A new connection of the same primary: the old one is dead, whether it knows or not. */
	seat_end_session(seat, "the primary has connected again");
	if (!seat->gone && !visit->channel.broken && !visit->replication->stopping &&
	    !seat->seed.importing) {
		seat->session = true;
		receiver_run(&seat->group, &visit->channel, &first);
		log_info("group %s: session over: %s", seat->group.name, visit->channel.why);
		seat->session = false;
	}
	/* It was never defined, and nobody else waits for it. */
	if (!seat->gone && seat->group.role == GROUP_NONE && seat->users == 1)
		seat_free(seat);
	seat_leave(seat);
}

static void call_peer(struct seat *seat)
{
	struct replication *replication = seat->replication;
	struct peer *peer = peer_find(replication, seat->peer);
	struct visit *visit;
	struct err err = {0};

	if (!peer) {
		snprintf(seat->group.reason, sizeof seat->group.reason,
			 "its node is not paired any more");
		return;
	}
	visit = heap_zalloc(sizeof *visit);
	if (!visit)
		return;
	visit->replication = replication;
	visit->seat = seat;
	seat->session = true;
	if (node_dial(visit, peer->address, peer->port, &err) == 0)
		seat->dial = visit->dial;
}

static void measure(struct seat *seat, uint64_t now)
{
	const struct channel *channel = seat->group.channel;
	uint64_t bytes = channel ? channel->bytes_out + channel->bytes_in : 0;

	if (now - seat->rate_at_ns < 1000000000ull)
		return;
	seat->rate = bytes > seat->rate_bytes
			 ? (bytes - seat->rate_bytes) * 1000000000ull / (now - seat->rate_at_ns)
			 : 0;
	seat->rate_bytes = bytes;
	seat->rate_at_ns = now;
}

void seats_tick(struct replication *replication)
{
	uint64_t now = loop_now(replication->options.loop);

	list_for_each_safe (it, &replication->seats) {
		struct seat *seat = list_entry(it, struct seat, link);
		enum group_role role = seat->group.role;

		measure(seat, now);
		seat_follow(seat);
		seat_look(seat, now);
		leases_follow(seat, now);
		services_follow(seat);
		if (lease_holds(&seat->group)) /* a share that is opened writes */
			exports_follow(seat, now);
		seed_tidy(seat);
		if (replication->stopping || !seat->started || seat->session || seat->paused ||
		    now < seat->retry_ns || (role != GROUP_PRIMARY && role != GROUP_HANDOVER))
			continue;
		seat->retry_ns = now + RETRY_NS * (seat->retries < 5 ? 1 + seat->retries++ : 5);
		call_peer(seat);
	}
}

void seat_close(struct seat *seat)
{
	struct group *group = &seat->group;

	seat->clean = seat->started ? group_stop(group) : 0;
	if (seat->clean)
		(void)seat_save(group);
	seat->started = false;
	services_clear(seat);
	group_finish(group);
}
