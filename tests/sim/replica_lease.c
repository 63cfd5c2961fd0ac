/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_lease.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/lineage.h"
#include "tests/sim/replica_life.h"
#include "tests/sim/replica_moves.h"

#define LENGTH_NS  (30 * 1000000ull)
#define EVENTS_MAX 14u
#define WITNESS    2u /* the third of them */
#define TALKS_MAX  64u
#define SETTLE     400000u /* rounds */

/* A conversation of node `from` with the witness, or with the other node. */
struct talk {
	struct list link;
	struct party *party;
	unsigned from, to;
	enum lease_other other;
	struct boot *boot, *peer; /* of whom; peer NULL: the witness */
	struct replica_pipe *pipe;
	struct channel ends[2];
	bool run[2];
	uint64_t stall_until_ns[2];
};

struct party {
	struct replica_life *life;
	struct rng *rng;
	struct list talks;
	unsigned talk_count;
	struct lease_book *book; /* the witness; NULL: off */
	struct lease_record saved;
	bool any_saved, ending;
	bool late;         /* of the seed alone */
	bool hold_release; /* the next one is stopped on its way to the witness */
	uint64_t cut_until_ns[3][3], off_until_ns[3];
	double rate[3];
	uint64_t offset[3];
	enum group_role role[2];
	struct wire_lineage last; /* whose guests were answered last */
	bool answered;
	struct replica_lease_tally *tally;
};

/* One at a time. */
static struct party *party;

static uint64_t now(void)
{
	return loop_now(party->life->loop);
}

static uint64_t clock_of(unsigned who)
{
	return party->offset[who] + (uint64_t)((double)now() * party->rate[who]);
}

static uint64_t node_clock(const struct replica_life *life, unsigned node)
{
	(void)life;
	return clock_of(node);
}

/* ---- what must be so ---- */
static bool answers(unsigned node)
{
	const struct boot *boot = party->life->nodes[node].boot;

	return boot && !boot->dead && boot->group.role == GROUP_PRIMARY && !boot->group.changing &&
	       lease_holds(&boot->group);
}

static bool descends(const struct wire_lineage *lineage, const uint8_t head[16])
{
	for (unsigned i = 0; i < lineage->count; i++) {
		if (memcmp(lineage->link[i].uuid, head, 16) == 0)
			return true;
	}
	return false;
}

/* A guest was answered: by whom, and is it an image that goes on from the last one that was? */
static void acked(struct replica_life *life, const struct volume *volume)
{
	for (unsigned n = 0; n < 2; n++) {
		const struct boot *boot = life->nodes[n].boot;

		for (unsigned i = 0; boot && i < LIFE_MEMBERS; i++) {
			if (&life->nodes[n].members[i]->volume != volume)
				continue;
			if (answers(1 - n))
				replica_life_complain(life, "node %u answered while the other may",
						      n);
			if (party->answered &&
			    !descends(&boot->group.lineage, lineage_head(&party->last)))
				replica_life_complain(
				    life, "node %u answered as if the other had not been promoted",
				    n);
			party->last = boot->group.lineage;
			party->answered = true;
		}
	}
}

/* ---- conversations ---- */
static void ask_main(void *context)
{
	struct talk *talk = context;

	lease_ask_run(&talk->boot->group, talk->other, &talk->ends[0]);
	channel_close(&talk->ends[0]);
	talk->boot->calls--;
	talk->run[0] = false;
}

static void answer_main(void *context)
{
	struct talk *talk = context;
	struct wire_message first;

	if (channel_receive(&talk->ends[1], &first) == 0 && first.type == WIRE_LEASE_ASK)
		lease_answer_run(talk->peer ? &talk->peer->group.lease.server
					    : &party->book->server,
				 &talk->ends[1], &first);
	channel_close(&talk->ends[1]);
	if (talk->peer)
		talk->peer->calls--;
	talk->run[1] = false;
}

static bool is_cut(unsigned a, unsigned b)
{
	return party->cut_until_ns[a][b] > now();
}

static bool talks_already(const struct boot *boot, enum lease_other other)
{
	list_for_each (it, &party->talks) {
		const struct talk *talk = list_entry(it, struct talk, link);

		if (talk->boot == boot && talk->other == other && talk->run[0])
			return true;
	}
	return false;
}

static void talk_begin(unsigned from, enum lease_other other)
{
	struct replica_life *life = party->life;
	unsigned to = other == LEASE_WITNESS ? WITNESS : 1 - from;
	struct boot *boot = life->nodes[from].boot;
	struct replica_pipe_faults faults = {.cut_after = UINT64_MAX};
	struct link *links[2];
	struct talk *talk;

	if (!boot || boot->dead || !life->nodes[from].defined || !lease_asks(&boot->group, other) ||
	    is_cut(from, to) || talks_already(boot, other) || party->talk_count == TALKS_MAX ||
	    (to == WITNESS
		 ? !party->book || party->ending
		 : !life->nodes[to].boot || life->nodes[to].boot->dead || !life->nodes[to].defined))
		return;
	if (rng_one_in(party->rng, 3))
		faults.cut_after = rng_below(party->rng, 2000);
	talk = calloc(1, sizeof *talk);
	assert(talk);
	*talk = (struct talk){.party = party,
			      .from = from,
			      .to = to,
			      .other = other,
			      .boot = boot,
			      .peer = to == WITNESS ? NULL : life->nodes[to].boot,
			      .run = {true, true}};
	talk->pipe = replica_pipe_create(life->loop, party->rng, &faults, links);
	list_push_back(&party->talks, &talk->link);
	party->talk_count++;
	boot->calls++;
	if (talk->peer)
		talk->peer->calls++;
	if (channel_open(&talk->ends[0], life->loop, links[0]) < 0 ||
	    channel_open(&talk->ends[1], life->loop, links[1]) < 0 ||
	    fiber_start(life->loop, ask_main, talk) < 0 ||
	    fiber_start(life->loop, answer_main, talk) < 0)
		abort();
}

/* What is on its way to one end waits; the other end does not know. */
static void stall(struct talk *talk)
{
	unsigned end = (unsigned)rng_below(party->rng, 2);

	if (!talk->run[end] || talk->ends[end].broken)
		return;
	talk->ends[end].link->ops->pause(talk->ends[end].link, true);
	talk->stall_until_ns[end] = now() + rng_below(party->rng, 3 * LENGTH_NS);
}

static void hold(struct talk *talk)
{
	struct boot *boot = talk->boot;

	if (!party->hold_release || talk->peer || !boot || boot->dead || !talk->run[0] ||
	    !talk->run[1] || !boot->group.lease.release || talk->ends[1].broken)
		return;
	party->hold_release = false;
	talk->ends[1].link->ops->pause(talk->ends[1].link, true);
	talk->stall_until_ns[1] = UINT64_MAX;
}

static void talk_look(struct talk *talk)
{
	for (unsigned end = 0; end < 2; end++) {
		if (!talk->stall_until_ns[end] || talk->stall_until_ns[end] > now())
			continue;
		talk->stall_until_ns[end] = 0;
		if (talk->run[end] && talk->ends[end].link)
			talk->ends[end].link->ops->pause(talk->ends[end].link, false);
	}
	if (is_cut(talk->from, talk->to))
		replica_pipe_cut(talk->pipe);
	if (talk->run[0] || talk->run[1] || !replica_pipe_over(talk->pipe))
		return;
	replica_pipe_destroy(talk->pipe);
	list_remove(&talk->link);
	party->talk_count--;
	free(talk);
}

/* A promotion, of whatever kind, is looked at before anything else is written. */
static void look_at_roles(struct replica_life *life)
{
	for (unsigned n = 0; n < 2; n++) {
		const struct boot *boot = life->nodes[n].boot;
		enum group_role before = party->role[n];

		party->role[n] = boot && !boot->dead ? boot->group.role : life->nodes[n].role;
		if (!boot || boot->dead || before != GROUP_STANDBY ||
		    party->role[n] != GROUP_PRIMARY)
			continue;
		if (boot->group.lease.took_wall_ns == 0 && boot->group.changing)
			party->role[n] = GROUP_STANDBY; /* not yet */
	}
}

static void promoted(struct replica_life *life, unsigned node)
{
	replica_life_check_promoted(life, node);
	life->primary = life->writer_node = node;
}

static void each_round(struct replica_life *life)
{
	enum group_role before[2] = {party->role[0], party->role[1]};

	life->connected = !is_cut(0, 1);
	if (!life->connected)
		replica_life_cut(life);
	list_for_each_safe (it, &party->talks)
		talk_look(list_entry(it, struct talk, link));
	list_for_each (it, &party->talks)
		hold(list_entry(it, struct talk, link));
	for (unsigned n = 0; n < 2; n++) {
		talk_begin(n, LEASE_WITNESS);
		talk_begin(n, LEASE_PEER);
	}
	look_at_roles(life);
	for (unsigned n = 0; n < 2; n++) {
		if (before[n] == GROUP_STANDBY && party->role[n] == GROUP_PRIMARY) {
			struct boot *boot = life->nodes[n].boot;

			party->tally->taken += boot->group.lineage.count &&
					       !boot->group.lease.waits && boot->group.acked == 0;
			promoted(life, n);
		}
	}
	if (answers(0) && answers(1))
		replica_life_complain(life, "both nodes may answer guests");
}

static void crashing(struct replica_life *life, struct boot *boot)
{
	(void)life;
	list_for_each (it, &party->talks) {
		struct talk *talk = list_entry(it, struct talk, link);

		for (unsigned end = 0; end < 2; end++) {
			if ((end ? talk->peer : talk->boot) == boot && talk->run[end])
				channel_break(&talk->ends[end], -EIO, "no power");
		}
	}
}

/* ---- the witness ---- */
static int book_save(struct lease_book *book, const struct lease_record *record)
{
	(void)book;
	party->saved = *record;
	party->any_saved = true;
	return 0;
}

static uint64_t book_clock(struct lease_book *book)
{
	(void)book;
	return clock_of(WITNESS);
}

static void witness_boot(void)
{
	party->book = calloc(1, sizeof *party->book);
	assert(party->book);
	lease_book_init(party->book);
	party->book->save = book_save;
	party->book->clock = book_clock;
	if (party->any_saved && lease_book_load(party->book, &party->saved) < 0)
		abort();
}

static bool at_witness(void)
{
	list_for_each (it, &party->talks) {
		struct talk *talk = list_entry(it, struct talk, link);

		if (!talk->peer && talk->run[1])
			return true;
	}
	return false;
}

static void witness_crash(void)
{
	party->ending = true;
	list_for_each (it, &party->talks) {
		struct talk *talk = list_entry(it, struct talk, link);

		if (!talk->peer && talk->run[1])
			channel_break(&talk->ends[1], -EIO, "no power");
	}
	while (at_witness() && !party->life->complaint[0])
		replica_life_round(party->life);
	if (!at_witness()) {
		lease_book_finish(party->book);
		free(party->book);
	}
	party->book = NULL;
	party->ending = false;
}

/* ---- what happens ---- */
static uint64_t some_time(void)
{
	return rng_below(party->rng, rng_one_in(party->rng, 2) ? LENGTH_NS : 6 * LENGTH_NS);
}

static void cut(unsigned a, unsigned b)
{
	party->cut_until_ns[a][b] = party->cut_until_ns[b][a] = now() + some_time();
}

static void power_back(bool all)
{
	for (unsigned n = 0; n < 2; n++) {
		if (!party->life->nodes[n].boot && (all || party->off_until_ns[n] <= now()))
			node_boot(&party->life->nodes[n]);
	}
	if (!party->book && (all || party->off_until_ns[WITNESS] <= now()))
		witness_boot();
}

static void lose_power(unsigned who)
{
	struct replica_life *life = party->life;

	party->off_until_ns[who] = now() + some_time();
	if (who == WITNESS && party->book)
		witness_crash();
	else if (who != WITNESS && life->nodes[who].boot && life->nodes[who].defined &&
		 life->era + 3 < LIFE_ERAS)
		node_crash(&life->nodes[who]);
}

static void slow_down(bool slow)
{
	for (unsigned n = 0; n < 2; n++) {
		for (unsigned i = 0; i < LIFE_MEMBERS; i++)
			party->life->nodes[n].members[i]->slow = slow ? 400 : 0;
	}
}

static bool good_standby(unsigned node)
{
	const struct boot *boot = party->life->nodes[node].boot;

	return boot && boot->group.role == GROUP_STANDBY && boot->group.staging_good &&
	       boot->group.staging.sealed && !boot->group.staging.seeding &&
	       !boot->group.accept_any;
}

/* Who found out that the other has been promoted becomes its standby. */
static void give_in(void)
{
	struct replica_life *life = party->life;

	for (unsigned n = 0; n < 2; n++) {
		if (life->nodes[n].boot && life->nodes[n].boot->group.role == GROUP_FENCED)
			(void)replica_life_demote(life, n);
	}
}

static void hand_over(void)
{
	struct replica_life *life = party->life;
	unsigned node = life->primary;

	if (!answers(node) || !good_standby(1 - node) || life->era + 3 >= LIFE_ERAS)
		return;
	party->tally->handed += replica_life_switchover(life, node, 4 * LENGTH_NS) == 0;
}

/* Requests that wait at the node that was primary may be given up. */
struct giver {
	struct deferred deferred;
};

static void give_up_some(struct deferred *deferred)
{
	struct replica_life *life = party->life;

	(void)deferred;
	for (unsigned i = 0; i < LIFE_WRITERS; i++) {
		struct writer *writer = &life->writers[i];
		bool here = false;

		for (unsigned m = 0; m < LIFE_MEMBERS; m++)
			here |= writer->request.volume ==
				&life->nodes[life->writer_node].members[m]->volume;
		if (writer->number && !here && !rng_one_in(party->rng, 3))
			volume_cancel(&writer->request);
	}
}

static void give_up(void)
{
	struct giver giver;

	deferred_init(&giver.deferred, give_up_some);
	loop_defer(party->life->loop, &giver.deferred);
	loop_poll(party->life->loop, 0);
}

static void something_happens(void)
{
	struct replica_life *life = party->life;
	unsigned primary = life->primary;

	switch (rng_below(party->rng, 13)) {
	case 0:
		cut(0, 1);
		break;
	case 1:
		cut(primary, WITNESS);
		break;
	case 2:
		cut(1 - primary, WITNESS);
		break;
	case 3: /* the primary is alone */
	case 4:
	case 5:
		cut(0, 1);
		cut(primary, WITNESS);
		break;
	case 6:
		lose_power(primary);
		break;
	case 7:
		lose_power(1 - primary);
		break;
	case 8:
		lose_power(WITNESS);
		break;
	case 9:
		list_for_each (it, &party->talks)
			stall(list_entry(it, struct talk, link));
		break;
	case 10:
		slow_down(true);
		break;
	case 11:
		hand_over();
		break;
	case 12:
		if (good_standby(1 - primary) && life->era + 3 < LIFE_ERAS &&
		    rng_one_in(party->rng, 3))
			(void)replica_life_promote(life, 1 - primary);
		break;
	}
}

static void pass_time(uint64_t ns)
{
	uint64_t until = now() + ns;
	const struct boot *boot;
	struct recorder_lag lag;

	while (now() < until && !party->life->complaint[0]) {
		power_back(false);
		replica_life_round(party->life);
	}
	boot = party->life->nodes[party->life->primary].boot;
	if (!boot || !boot->group.recorder || boot->group.role != GROUP_PRIMARY)
		return;
	recorder_lag(boot->group.recorder, &lag);
	party->tally->waited += lag.parked;
	party->tally->promised +=
	    answers(party->life->primary) && is_cut(party->life->primary, WITNESS);
}

static void drift(void)
{
	for (unsigned i = 0; i < 3; i++) {
		party->rate[i] = 0.96 + (double)rng_below(party->rng, 81) / 1000;
		party->offset[i] = rng_below(party->rng, 1000000000000ull);
	}
}

static bool serves(struct replica_life *life)
{
	return answers(life->primary) && good_standby(1 - life->primary);
}

/* By the promise of its standby alone, one would be without a lease as soon as that is away. */
static bool has_the_lease(struct replica_life *life)
{
	return serves(life) && !life->nodes[life->primary].boot->group.lease.forked;
}

/* All three are there, and all links: one serves, and goes on to, and the other is its standby. */
static void settle(void)
{
	struct replica_life *life = party->life;
	unsigned steps = SETTLE;
	uint64_t since;

	memset(party->cut_until_ns, 0, sizeof party->cut_until_ns);
	slow_down(false);
	power_back(true);
	since = now();
	while (now() - since < 2 * LENGTH_NS && steps-- > 0 && !life->complaint[0]) {
		give_in();
		replica_life_round(life);
		if (!has_the_lease(life))
			since = now();
	}
	if (!serves(life))
		replica_life_complain(life, "nobody serves: %s and %s",
				      group_role_name(life->nodes[0].boot->group.role),
				      group_role_name(life->nodes[1].boot->group.role));
	else if (!has_the_lease(life))
		replica_life_complain(life, "the witness grants nobody the lease");
	else
		move_settle(life);
}

static bool can_hand_over(struct replica_life *life)
{
	struct err err = {0};

	return serves(life) && group_may_ask(&life->nodes[life->primary].boot->group, &err) == 0;
}

/* The lease that a primary gives back as it hands over comes to the witness when it is the
 * primary again, and serves by that lease alone (L6). */
static void late_release(void)
{
	struct replica_life *life = party->life;
	unsigned node = life->primary;

	if (!replica_life_until(life, can_hand_over, SETTLE))
		return;
	party->hold_release = true;
	if (replica_life_switchover(life, node, 4 * LENGTH_NS) < 0 ||
	    !replica_life_until(life, can_hand_over, SETTLE) || life->primary == node ||
	    replica_life_switchover(life, 1 - node, 4 * LENGTH_NS) < 0 ||
	    !replica_life_until(life, can_hand_over, SETTLE) || life->primary != node)
		return;
	party->tally->late += !party->hold_release;
	life->writing = true;
	party->cut_until_ns[0][1] = party->cut_until_ns[1][0] = now() + 4 * LENGTH_NS;
	pass_time(LENGTH_NS + rng_below(party->rng, LENGTH_NS));
	list_for_each (it, &party->talks) {
		struct talk *talk = list_entry(it, struct talk, link);

		if (talk->stall_until_ns[1] == UINT64_MAX)
			talk->stall_until_ns[1] = now();
	}
	pass_time(LENGTH_NS);
}

static void run(void)
{
	struct replica_life *life = party->life;
	unsigned events = 2 + (unsigned)rng_below(party->rng, EVENTS_MAX);

	node_boot(&life->nodes[0]);
	node_boot(&life->nodes[1]);
	witness_boot();
	replica_life_write(life, 0);
	if (!replica_life_until(life, serves, SETTLE)) {
		replica_life_complain(life, "the seed does not end");
		return;
	}
	if (party->late)
		late_release();
	while (events-- > 0 && !life->complaint[0]) {
		something_happens();
		pass_time(some_time());
		if (rng_one_in(party->rng, 3))
			slow_down(false);
		give_up();
		if (rng_one_in(party->rng, 2))
			give_in();
		life->writing = true;
		if (life->write_count > LIFE_WRITES - 400)
			break;
	}
	if (!life->complaint[0])
		settle();
}

bool replica_lease_run(uint64_t seed, struct replica_lease_tally *tally, char complaint[400])
{
	struct sim *sim = sim_create(seed);
	struct party here = {.tally = tally, .late = seed % 8 == 0};
	struct replica_shape shape;
	struct replica_life *life;
	bool good;

	sim_enter(sim);
	shape = replica_quick;
	shape.staging_size = 24u << 20; /* much may come after a while alone */
	life = replica_life_create(sim, seed ^ 0x6c65617365ull, &shape);
	party = &here;
	here.life = life;
	here.rng = &life->rng;
	list_init(&here.talks);
	drift();
	life->watch = (struct replica_watch){.leases = true,
					     .length_ns = LENGTH_NS,
					     .round = each_round,
					     .crashing = crashing,
					     .acked = acked,
					     .clock = node_clock};
	run();
	snprintf(complaint, 400, "%s", life->complaint);
	good = life->complaint[0] == '\0';
	here.ending = true;
	for (unsigned n = 0; n < 2; n++) {
		if (life->nodes[n].boot)
			node_crash(&life->nodes[n]);
	}
	for (unsigned i = 0; i < 2000 && !list_empty(&here.talks); i++)
		replica_life_round(life);
	if (here.book) {
		lease_book_finish(here.book);
		free(here.book);
	}
	life->watch.round = NULL;
	replica_life_destroy(life);
	sim_leave(sim);
	sim_destroy(sim);
	return good;
}
