/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/lineage.h"
#include "replication/node.h"

/* Leases in the daemon (lease.h): the book of a node that is a witness, in replication.db;
 * conversations over connections of their own; the administrator's side. */

#define RETRY_NS  (1000000000ull)
#define ANSWER_NS (8 * 1000000000ull)
#define POLL_NS   (20 * 1000000ull)
#define TALKS_MAX 256u

/* ---- the book ---- */
static int book_save(struct lease_book *book, const struct lease_record *record)
{
	struct replication *replication = book->context;
	char group[33], holder[33], head[33];
	struct err err = {0};
	int result;

	uuid_text(record->group, group);
	uuid_text(record->holder, holder);
	uuid_text(record->head, head);
	result = config_run(replication->config, &err,
			    "insert into lease(grp, holder, head, lease_ns, retired)"
			    " values(?, ?, ?, ?, ?) on conflict(grp) do update set"
			    " holder = excluded.holder, head = excluded.head,"
			    " lease_ns = excluded.lease_ns, retired = excluded.retired",
			    "sssii", group, holder, head, (int64_t)record->lease_ns,
			    (int64_t)record->retired);
	if (result < 0)
		log_error("a lease could not be saved, and is not granted: %s", err.text);
	return result;
}

static uint64_t book_clock(struct lease_book *book)
{
	const struct replication *replication = book->context;

	return loop_clock(replication->options.loop);
}

static int load_row(struct lease_book *book, struct config_statement *row, struct err *err)
{
	struct lease_record record = {.lease_ns = (uint64_t)config_number(row, 3),
				      .retired = config_number(row, 4) != 0};

	if (!uuid_parse(config_text(row, 0), record.group) ||
	    !uuid_parse(config_text(row, 1), record.holder) ||
	    !uuid_parse(config_text(row, 2), record.head))
		return err_set(err, -EINVAL, "a lease is damaged");
	return lease_book_load(book, &record) < 0 ? err_set(err, -ENOMEM, "out of memory") : 0;
}

int leases_load(struct replication *replication, struct err *err)
{
	struct lease_book *book = &replication->leases;
	struct config_statement *row;
	int result;

	lease_book_init(book);
	book->save = book_save;
	book->clock = book_clock;
	book->context = replication;
	result =
	    config_prepare(replication->config,
			   "select grp, holder, head, lease_ns, retired from lease", &row, err);
	if (result < 0)
		return result;
	while ((result = config_step(row, err)) > 0) {
		result = load_row(book, row, err);
		if (result < 0)
			break;
	}
	config_finish(row);
	return result;
}

/* ---- asked ---- */
static void answer_promises(struct visit *visit, struct seat *seat, const struct wire_message *ask)
{
	seat_enter(seat);
	lease_answer_run(&seat->group.lease.server, &visit->channel, ask);
	seat_leave(seat);
}

void leases_receive(struct visit *visit, const struct wire_message *ask)
{
	struct replication *replication = visit->replication;
	struct wire_message first = *ask; /* nothing of it is borrowed */
	struct seat *seat = seat_by_uuid(replication, first.group);
	bool ours = seat && memcmp(seat->peer, first.node, 16) == 0;

	if (ours && !seat->started) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL, "%s",
			       seat->unavailable[0] ? seat->unavailable : "not started");
		return;
	}
	if (replication->lease_talks >= TALKS_MAX) {
		channel_refuse(&visit->channel, WIRE_REFUSED_SPACE, NULL,
			       "too many ask for leases here");
		return;
	}
	replication->lease_talks++;
	if (ours)
		answer_promises(visit, seat, &first);
	else
		lease_answer_run(&replication->leases.server, &visit->channel, &first);
	replication->lease_talks--;
}

void leases_end(struct replication *replication)
{
	lease_server_end(&replication->leases.server, "stopping");
}

/* ---- asking ---- */
const uint8_t *lease_node(const struct seat *seat, enum lease_other other)
{
	return other == LEASE_WITNESS ? seat->witness : seat->peer;
}

void leases_ask(struct visit *visit)
{
	lease_ask_run(&visit->lease_seat->group, visit->lease_other, &visit->channel);
}

void leases_hung_up(struct visit *visit)
{
	struct seat *seat = visit->lease_seat;

	seat->lease_calls[visit->lease_other] = false;
	seat_leave(seat);
}

static void call_other(struct seat *seat, enum lease_other other)
{
	struct replication *replication = seat->replication;
	struct peer *peer = peer_find(replication, lease_node(seat, other));
	struct lease *lease = &seat->group.lease;
	struct visit *visit;
	struct err err = {0};

	if (!peer) {
		snprintf(lease->reason[other], sizeof lease->reason[0],
			 "it is not paired with this node");
		return;
	}
	visit = heap_zalloc(sizeof *visit);
	if (!visit)
		return;
	visit->replication = replication;
	visit->lease_seat = seat;
	visit->lease_other = other;
	seat->lease_calls[other] = true;
	seat_enter(seat);
	(void)node_dial(visit, peer->address, peer->port, &err);
}

/* A standby of before has no promise to give. */
static bool too_old(const struct seat *seat, enum lease_other other)
{
	return other == LEASE_PEER && seat->group.spoken && seat->group.spoken < WIRE_VERSION_LEASE;
}

static void nothing(void *context)
{
	(void)context;
}

/* The volumes of a group that could not start are not watched; with a lease their guests must not
 * be served all the same, for the other node may. */
static void keep_guests_out(struct seat *seat)
{
	const struct replication_host *host = &seat->replication->options.host;
	struct group *group = &seat->group;
	json_t *definition = json_loads(seat->definition ? seat->definition : "{}", 0, NULL);
	json_t *members = json_object_get(definition, "members"), *member;
	size_t at;

	if (!group->recorder) {
		struct recorder_options options = {
		    .loop = group->loop, .first_epoch = 1, .wake = nothing, .context = seat};

		if (recorder_create(&options, &group->recorder) == 0)
			recorder_set_mode(group->recorder, RECORDER_REFUSES);
	}
	json_array_foreach(members, at, member)
	{
		const char *text = json_string_value(json_object_get(member, "uuid"));
		struct volume *volume;
		uint8_t uuid[16];

		if (!group->recorder || at >= WIRE_MEMBERS_MAX || group->members[at].volume ||
		    !text || !uuid_parse(text, uuid))
			continue;
		volume = host->volume(host->context, uuid);
		if (!volume)
			continue;
		group_set_member(group, (unsigned)at, volume);
		if (recorder_add(group->recorder, (unsigned)at, volume, false) < 0)
			log_error("group %s: volume %s is served without a lease", group->name,
				  volume->name);
		volume_unref(volume);
	}
	json_decref(definition);
}

void leases_follow(struct seat *seat, uint64_t now)
{
	struct lease *lease = &seat->group.lease;

	if (!seat->started && lease->on && seat->unavailable[0])
		keep_guests_out(seat);
	lease->barred = seat->paused || seat->acting || seat->seed.importing;
	for (unsigned other = 0; other < LEASE_OTHERS; other++) {
		if (seat->replication->stopping || !seat->started || seat->lease_calls[other] ||
		    now < seat->lease_retry_ns[other] || too_old(seat, other) ||
		    !lease_asks(&seat->group, other))
			continue;
		seat->lease_retry_ns[other] = now + RETRY_NS;
		call_other(seat, other);
	}
}

void leases_close(struct seat *seat)
{
	struct lease *lease = &seat->group.lease;

	lease_server_end(&lease->server, "the group ends");
	for (unsigned other = 0; other < LEASE_OTHERS; other++) {
		while (seat->lease_calls[other]) {
			if (lease->talk[other])
				channel_break(lease->talk[other], -ECANCELED, "the group ends");
			fiber_sleep(POLL_NS / 10);
		}
	}
}

/* ---- taking over ---- */
int leases_take_over(struct group *group, struct err *err)
{
	struct seat *seat = group->host_context;
	const struct replication_host *host = &seat->replication->options.host;
	int result;

	if (seat->acting || seat->replication->stopping)
		return err_set(err, -EBUSY, "something else is being done to it");
	seat->acting = true;
	seat_end_session(seat, "promoted");
	result = group_promote(group, false, err);
	seat->acting = false;
	if (result == 0 && host->promoted)
		host->promoted(host->context, group->name);
	return result;
}

/* ---- the administrator ---- */
struct witnessing {
	struct seat_work work;
	char node[256];
	uint64_t lease_ns;
	bool force;
};

static int redefine(struct seat *seat, const char *witness, uint64_t lease_ns, struct err *err)
{
	json_t *definition = json_loads(seat->definition, 0, NULL);
	int result;

	if (!definition)
		return err_set(err, -ENOMEM, "out of memory");
	json_object_set_new(definition, "witness", json_string(witness));
	json_object_set_new(definition, "lease_ns", json_integer((json_int_t)lease_ns));
	result = seat_redefine(seat, definition, err);
	json_decref(definition);
	return result;
}

static bool wait_for(struct seat *seat, bool (*reached)(const struct seat *seat))
{
	uint64_t limit = loop_now(seat->group.loop) + ANSWER_NS;

	while (!reached(seat) && loop_now(seat->group.loop) < limit && !seat->group.stopping) {
		leases_follow(seat, loop_now(seat->group.loop));
		fiber_sleep(POLL_NS);
	}
	return reached(seat);
}

static bool witness_answers(const struct seat *seat)
{
	return seat->group.lease.answered[LEASE_WITNESS];
}

static bool guests_go_on(const struct seat *seat)
{
	return lease_holds(&seat->group);
}

static bool is_retired(const struct seat *seat)
{
	return seat->group.lease.retired || !seat->group.lease.on;
}

static const char *why_not(const struct seat *seat)
{
	const char *reason = seat->group.lease.reason[LEASE_WITNESS];

	return reason[0] ? reason : "it does not answer";
}

static int turn_off(struct seat *seat, bool force, struct err *err)
{
	struct lease *lease = &seat->group.lease;
	int result;

	if (!lease->on)
		return 0;
	if (!force) {
		lease->retire = true;
		lease_wake(&seat->group);
		if (!wait_for(seat, is_retired)) {
			lease->retire = false;
			return err_set(err, -ETIMEDOUT,
				       "the witness has not agreed (%s), so the standby may be "
				       "promoted yet; when it certainly is not, and will not be, "
				       "force it",
				       why_not(seat));
		}
	}
	result = redefine(seat, "", lease->length_ns, err);
	lease->retired = false;
	if (result == 0)
		log_notice("group %s: no standby promotes itself any more%s", seat->group.name,
			   force ? "; the witness was not asked" : "");
	return result;
}

static json_t *plan_witness(const char *node, uint64_t lease_ns)
{
	return json_pack("{s:s,s:f}", "witness", node, "lease_seconds",
			 node[0] ? (double)lease_ns / 1e9 : 0.0);
}

/* What would be different; whether the witness answers is seen when it is asked. */
static int plan(struct seat_work *work, const char *node, uint64_t lease_ns)
{
	const struct lease *lease = &work->seat->group.lease;
	const struct peer *now = peer_find(work->seat->replication, work->seat->witness);

	work->call->reply = dry_reply(plan_witness(!lease->on ? ""
						   : now      ? now->name
							      : "?",
						   lease->length_ns),
				      plan_witness(node, lease_ns));
	return 0;
}

static int may_turn_on(const struct seat *seat, const struct peer *peer, const char *name,
		       struct err *err)
{
	const struct group *group = &seat->group;

	if (!peer)
		return err_set(err, -ENOENT, "no node %s is paired", name);
	if (memcmp(peer->uuid, seat->peer, 16) == 0)
		return err_set(err, -EINVAL,
			       "%s is the group's other node: a witness is a third one", name);
	if (group->lease.on)
		return err_set(err, -EBUSY, "group %s has a witness: turn it off first",
			       group->name);
	if (!group->spoken)
		return err_set(err, -ENOTCONN,
			       "the standby is not connected, and has to be told of it");
	if (group->spoken < WIRE_VERSION_LEASE)
		return err_set(err, -EOPNOTSUPP,
			       "the other node is of a version that knows no leases");
	return 0;
}

static int turn_on(struct seat *seat, struct witnessing *what, struct err *err)
{
	struct peer *peer = peer_by_name(seat->replication, what->node);
	struct lease *lease = &seat->group.lease;
	int result = may_turn_on(seat, peer, what->node, err);
	char uuid[33];

	if (result < 0)
		return result;
	if (what->work.call->dry)
		return plan(&what->work, peer->name, what->lease_ns);
	memcpy(seat->witness, peer->uuid, 16);
	uuid_text(peer->uuid, uuid);
	lease->length_ns = what->lease_ns;
	lease->reason[LEASE_WITNESS][0] = '\0';
	/* Guests wait from the moment that it is on: not for one that does not answer. */
	lease->wanted = true;
	if (wait_for(seat, witness_answers))
		result = redefine(seat, uuid, what->lease_ns, err);
	else
		result = err_set(err, -ETIMEDOUT, "%s: %s", what->node, why_not(seat));
	lease->wanted = false;
	lease_wake(&seat->group);
	if (result < 0)
		return result;
	if (!wait_for(seat, guests_go_on)) {
		struct err off = {0};

		err_set(err, -ETIMEDOUT, "%s grants no lease: %s", what->node, why_not(seat));
		if (turn_off(seat, false, &off) < 0)
			log_error("group %s: guests wait for a lease: %s", seat->group.name,
				  off.text);
		return -ETIMEDOUT;
	}
	log_notice("group %s: %s is its witness: the standby promotes itself", seat->group.name,
		   peer->name);
	return 0;
}

static int witnessing_run(struct seat_work *work, struct err *err)
{
	struct witnessing *what = container_of(work, struct witnessing, work);
	struct seat *seat = work->seat;

	if (seat->group.role != GROUP_PRIMARY)
		return err_set(err, -EINVAL, "group %s is %s here: change it on its primary",
			       seat->group.name, group_role_name(seat->group.role));
	if (what->node[0])
		return turn_on(seat, what, err);
	return work->call->dry ? plan(work, "", seat->group.lease.length_ns)
			       : turn_off(seat, what->force, err);
}

static void witnessing_release(struct seat_work *work)
{
	heap_free(container_of(work, struct witnessing, work));
}

void replication_group_witness(struct replication *replication, const char *name, const char *node,
			       uint64_t lease_ns, bool force, struct replication_call *call)
{
	struct witnessing *what;

	if (lease_ns == 0)
		lease_ns = LEASE_NS;
	if (lease_ns < LEASE_NS_MIN || lease_ns > LEASE_NS_MAX) {
		call->done(call, err_set(&call->err, -EINVAL, "a lease is 5 seconds to 5 minutes"));
		return;
	}
	what = heap_zalloc(sizeof *what);
	if (what) {
		what->work =
		    (struct seat_work){.run = witnessing_run, .release = witnessing_release};
		snprintf(what->node, sizeof what->node, "%s", node);
		what->lease_ns = lease_ns;
		what->force = force;
	}
	seat_work_start(replication, name, what ? &what->work : NULL, call);
}

/* ---- shown ---- */
static const char *state_of(const struct seat *seat)
{
	const struct lease *lease = &seat->group.lease;

	if (!lease->on)
		return "off";
	if (seat->group.role == GROUP_PRIMARY)
		return lease_holds(&seat->group) ? "held" : lease->forked ? "taken" : "waiting";
	return lease->taking ? "taking" : "standby";
}

static json_t *show_promotion(const struct lease *lease)
{
	return json_pack(
	    "{s:I,s:I,s:I,s:I,s:I}", "time_ms", (json_int_t)(lease->took_wall_ns / 1000000),
	    "epoch", (json_int_t)lease->took_epoch, "as_of_ms",
	    (json_int_t)(lease->took_as_of_ns / 1000000), "primary_epoch",
	    (json_int_t)lease->took_word.epoch, "lost_bytes", (json_int_t)lease->took_word.bytes);
}

void leases_show(const struct seat *seat, json_t *json)
{
	const struct group *group = &seat->group;
	const struct lease *lease = &group->lease;
	const struct peer *peer = lease->on ? peer_find(seat->replication, seat->witness) : NULL;
	uint64_t now = loop_clock(group->loop);
	struct recorder_lag lag = {0};
	json_t *shown;

	if (group->recorder && group->role == GROUP_PRIMARY)
		recorder_lag(group->recorder, &lag);
	shown = json_pack(
	    "{s:s,s:s,s:f,s:f,s:b,s:b,s:b,s:s,s:s,s:i}", "node",
	    !lease->on ? ""
	    : peer     ? peer->name
		       : "?",
	    "state", state_of(seat), "seconds", (double)lease->length_ns / 1e9, "left_seconds",
	    lease->on && lease->until_ns > now ? (double)(lease->until_ns - now) / 1e9 : 0.0,
	    "answers", (int)lease->answered[LEASE_WITNESS], "standby_promises",
	    (int)lease->answered[LEASE_PEER], "standby_ready", (int)lease->peer_ready, "reason",
	    lease->on ? lease->reason[LEASE_WITNESS] : "", "standby_reason",
	    lease->on && group->role == GROUP_PRIMARY ? lease->reason[LEASE_PEER] : "", "waiting",
	    (int)lag.parked);
	json_object_set_new(json, "witness", shown);
	if (lease->took_wall_ns)
		json_object_set_new(json, "promoted", show_promotion(lease));
}

json_t *replication_leases(struct replication *replication)
{
	json_t *list = json_array();
	uint64_t now = loop_clock(replication->options.loop);

	list_for_each (it, &replication->leases.records) {
		const struct lease_record *record = list_entry(it, struct lease_record, link);
		const struct peer *peer = peer_find(replication, record->holder);
		char group[33], holder[33];

		uuid_text(record->group, group);
		uuid_text(record->holder, holder);
		json_array_append_new(list,
				      json_pack("{s:s,s:s,s:f,s:f,s:b}", "group", group, "holder",
						peer ? peer->name : holder, "seconds",
						(double)record->lease_ns / 1e9, "left_seconds",
						!record->retired && record->until_ns > now
						    ? (double)(record->until_ns - now) / 1e9
						    : 0.0,
						"off", (int)record->retired));
	}
	return list;
}
