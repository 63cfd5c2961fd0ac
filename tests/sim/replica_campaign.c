/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_campaign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/replica_life.h"

/* What one seed does: seed the standby, write, be unlucky, lose the primary, promote, look; then
 * the way back. */

static unsigned primary_now; /* of the run under way */

static bool standby_sealed(struct replica_life *life)
{
	const struct boot *boot = life->nodes[primary_now].boot;

	return boot && boot->group.acked > 0;
}

static bool all_sealed(struct replica_life *life)
{
	const struct boot *boot = life->nodes[primary_now].boot;
	const struct boot *other = life->nodes[1 - primary_now].boot;

	return boot && other && strcmp(boot->group.phase, "streaming") == 0 &&
	       boot->group.acked > 0 && boot->group.sealing == 0 &&
	       recorder_idle(boot->group.recorder) && other->group.staging_good &&
	       other->group.staging.applied == boot->group.acked;
}

static bool handed_over(struct replica_life *life)
{
	return life->nodes[1 - primary_now].boot &&
	       life->nodes[1 - primary_now].boot->group.role == GROUP_PRIMARY;
}

static bool became_standby(struct replica_life *life)
{
	return life->nodes[primary_now].boot &&
	       life->nodes[primary_now].boot->group.role == GROUP_STANDBY;
}

static void fill_up(struct replica_life *life, unsigned node)
{
	struct replica_volume *volume =
	    rng_one_in(&life->rng, 2)
		? life->nodes[node].staging
		: life->nodes[node].members[rng_below(&life->rng, LIFE_MEMBERS)];

	volume->full_after = volume->submitted + 1 + rng_below(&life->rng, 20);
}

static void make_room(struct replica_life *life)
{
	for (unsigned n = 0; n < 2; n++) {
		life->nodes[n].staging->full_after = 0;
		for (unsigned i = 0; i < LIFE_MEMBERS; i++)
			life->nodes[n].members[i]->full_after = 0;
	}
}

/* A catch-up has sent all there is, and is not acknowledged. */
static bool all_carried(struct replica_life *life)
{
	const struct boot *boot = life->nodes[primary_now].boot;

	return boot && boot->group.acked && boot->group.members[0].sent.count > 0 &&
	       recorder_idle(boot->group.recorder);
}

static bool no_session(struct replica_life *life)
{
	return !life->nodes[primary_now].boot->session;
}

/* The primary stops in order, in the midst of a catch-up or not, and comes again. What it then
 * believes to be sealed is not sent any more. */
static void stop_in_order(struct replica_life *life)
{
	struct node *node = &life->nodes[primary_now];

	if (life->era >= 8)
		return;
	replica_life_quiet(life);
	if (rng_one_in(&life->rng, 2)) { /* as after a log that ran over */
		life->connected = false;
		replica_life_cut(life);
		(void)replica_life_until(life, no_session, 30000);
		recorder_fall_back(node->boot->group.recorder);
		life->connected = true;
		(void)replica_life_until(life, all_carried, 3000);
	} else {
		replica_life_run(life, (unsigned)rng_below(&life->rng, 1200));
	}
	if (life->complaint[0])
		return;
	node_stop(node);
	node_boot(node);
	replica_life_write(life, primary_now);
}

static bool applying(struct replica_life *life);

/* A member joins or leaves; the standby may lose its power right when it has it in its image. */
static void join(struct replica_life *life)
{
	struct node *standby = &life->nodes[1 - primary_now];
	bool in = !(life->nodes[primary_now].set >> (LIFE_MEMBERS - 1) & 1);

	if (!life->nodes[primary_now].boot ||
	    life->nodes[primary_now].boot->group.role != GROUP_PRIMARY)
		return;
	replica_life_join(life, primary_now, in);
	if (!in || !standby->defined || rng_one_in(&life->rng, 3))
		return;
	if (rng_one_in(&life->rng, 2))
		(void)replica_life_until(life, applying, 3000);
	else
		replica_life_run(life, (unsigned)rng_below(&life->rng, 400));
	node_crash(standby);
	replica_life_run(life, (unsigned)rng_below(&life->rng, 100));
	node_boot(standby);
}

static void bad_luck(struct replica_life *life)
{
	struct rng *rng = &life->rng;
	unsigned standby = 1 - primary_now;

	switch (rng_below(rng, 13)) {
	case 0:
		replica_life_cut(life);
		break;
	case 1:
		life->faults.cut_after = rng_below(rng, 200000);
		replica_life_cut(life);
		break;
	case 2:
		life->faults.damage_one_in = 2 + (unsigned)rng_below(rng, 40);
		replica_life_cut(life);
		break;
	case 3:
		if (life->nodes[standby].defined) {
			node_crash(&life->nodes[standby]);
			replica_life_run(life, (unsigned)rng_below(rng, 100));
			node_boot(&life->nodes[standby]);
		}
		break;
	case 4:
		if (life->era < 8) {
			node_crash(&life->nodes[primary_now]);
			replica_life_run(life, (unsigned)rng_below(rng, 100));
			node_boot(&life->nodes[primary_now]);
		}
		break;
	case 5: /* no link for a while */
		life->connected = false;
		replica_life_cut(life);
		replica_life_run(life, 200 + (unsigned)rng_below(rng, 600));
		life->connected = true;
		break;
	case 6:
		life->nodes[standby].staging->slow = rng_below(rng, 12);
		break;
	case 7:
		stop_in_order(life);
		break;
	case 8:
		fill_up(life, standby);
		break;
	case 9:
		replica_life_grow(life, primary_now, MEMBER_SIZE);
		break;
	case 10:
	case 11:
		join(life);
		break;
	default:
		break;
	}
}

/* The standby's own bad day on the way to its promotion. */
static void promote(struct replica_life *life, unsigned node)
{
	make_room(life);
	if (rng_one_in(&life->rng, 2)) {
		node_crash(&life->nodes[node]);
		replica_life_run(life, 10);
		node_boot(&life->nodes[node]);
	}
	if (replica_life_promote(life, node) < 0)
		replica_life_complain(life, "the sealed image can not be promoted");
	else
		replica_life_check_promoted(life, node);
}

static bool applying(struct replica_life *life)
{
	const struct boot *boot = life->nodes[1 - primary_now].boot;

	return boot && boot->group.staging_good &&
	       boot->group.staging.sealed > boot->group.staging.applied;
}

/* @old becomes the primary again, without loss. */
static void go_back(struct replica_life *life, unsigned old)
{
	if (replica_life_failback(life, old) < 0) {
		replica_life_complain(life, "a failback does not end");
		return;
	}
	life->writing = false;
	life->floor_ns = loop_wall(life->loop);
	replica_life_quiet(life);
	replica_life_check_promoted(life, old);
	primary_now = old;
	replica_life_write(life, primary_now);
}

/* The old primary comes back, finds out, gives in, and is filled up. */
static void fail_back(struct replica_life *life)
{
	unsigned old = primary_now;

	primary_now = 1 - old;
	replica_life_write(life, primary_now);
	life->writing =
	    rng_one_in(&life->rng, 2); /* else much of the old image is as good as new */
	if (!life->nodes[old].boot)    /* its time as primary is over, whatever it believes */
		node_boot(&life->nodes[old]);
	life->connected = true;
	replica_life_run(life, 300);
	if (life->nodes[old].boot->group.role == GROUP_FENCED && rng_one_in(&life->rng, 3)) {
		go_back(life, old);
		return;
	}
	if (life->nodes[old].boot->group.role != GROUP_STANDBY &&
	    replica_life_demote(life, old) < 0)
		replica_life_complain(life, "the old primary can not be demoted");
	if (rng_one_in(&life->rng, 2)) { /* what it was demoted with has to last */
		(void)replica_life_until(life, applying, 30000);
		replica_life_run(life, (unsigned)rng_below(&life->rng, 60));
		node_crash(&life->nodes[old]);
		node_boot(&life->nodes[old]);
	}
	replica_life_run(life, 500 + (unsigned)rng_below(&life->rng, 1500));
	if (rng_one_in(&life->rng, 3))
		bad_luck(life);
	if (rng_one_in(&life->rng, 3)) /* perhaps the old one had already */
		replica_life_grow(life, primary_now, MEMBER_SIZE);
}

static void settle(struct replica_life *life)
{
	life->connected = true;
	life->nodes[0].staging->slow = life->nodes[1].staging->slow = 0;
	make_room(life);
	replica_life_quiet(life);
	if (!replica_life_until(life, all_sealed, 60000))
		replica_life_complain(life, "the standby does not catch up");
	else if (!replica_life_same(life))
		replica_life_complain(life, "all is sealed, and the images differ");
}

static bool verified(struct replica_life *life)
{
	const struct boot *boot = life->nodes[primary_now].boot;

	return boot && !boot->group.verify.running &&
	       boot->group.verify.repaired == boot->group.verify.mismatches;
}

/* The two are compared while clients write: nothing differs but what was spoiled. */
static void verify(struct replica_life *life)
{
	struct group *group = &life->nodes[primary_now].boot->group;
	bool spoil = rng_one_in(&life->rng, 2);
	struct err err = {0};

	if (spoil)
		replica_life_spoil(life, 1 - primary_now);
	replica_life_write(life, primary_now);
	replica_life_run(life, (unsigned)rng_below(&life->rng, 300));
	if (!group->channel || group_verify(group, &err) < 0)
		replica_life_complain(life, "verifying does not begin");
	else if (!replica_life_until(life, verified, 60000))
		replica_life_complain(life, "verifying does not end");
	else if (group->verify.mismatches > spoil)
		replica_life_complain(life, "%llu slots are said to differ that do not",
				      (unsigned long long)(group->verify.mismatches - spoil));
}

static void hand_over(struct replica_life *life)
{
	unsigned old = primary_now;
	uint64_t begun;

	replica_life_write(life, primary_now);
	replica_life_run(life, 200);
	/* Too little time: its guests go on as if nothing had been asked. */
	if (rng_one_in(&life->rng, 2) &&
	    replica_life_switchover(life, old, rng_below(&life->rng, 20000000)) < 0 &&
	    life->nodes[old].boot->group.role == GROUP_PRIMARY) {
		replica_life_quiet(life);
		replica_life_write(life, old);
		replica_life_run(life, 200);
	}
	begun = loop_now(life->loop);
	if (life->nodes[old].boot->group.role == GROUP_PRIMARY &&
	    replica_life_switchover(life, old, 60000000000ull) < 0 &&
	    life->nodes[old].boot->group.role == GROUP_PRIMARY) {
		if (loop_now(life->loop) - begun >= 60000000000ull)
			replica_life_complain(life, "a switchover waits for what waits for it");
		return;
	}
	life->writing = false;
	if (!replica_life_until(life, handed_over, 30000)) {
		replica_life_complain(life, "nobody has what was handed over");
		return;
	}
	if (!replica_life_until(life, became_standby, 30000))
		replica_life_complain(life, "who handed over is no standby");
	life->floor_ns = loop_wall(life->loop); /* no loss: whatever was acknowledged */
	replica_life_quiet(life);
	replica_life_check_promoted(life, 1 - primary_now);
	primary_now = 1 - primary_now;
	if (rng_one_in(&life->rng, 2)) { /* what was handed over is durable here too */
		node_crash(&life->nodes[old]);
		node_boot(&life->nodes[old]);
	}
	replica_life_write(life, primary_now);
	replica_life_run(life, 300);
	settle(life);
}

static void run(struct replica_life *life)
{
	unsigned rounds = 1 + (unsigned)rng_below(&life->rng, 5);

	primary_now = 0;
	if (rng_one_in(&life->rng, 3))
		life->log_bytes = RECORDER_SEGMENT; /* falls behind all the time */
	life->writer_node = 0;
	if (rng_one_in(&life->rng, 3)) {
		for (unsigned i = 0; i < LIFE_MEMBERS; i++)
			life->nodes[0].members[i]->volume.size_bytes = MEMBER_SIZE / 2;
	}
	if (rng_one_in(&life->rng, 3)) /* the last one joins later, or never */
		life->nodes[0].saved_set &= ~(1u << (LIFE_MEMBERS - 1));
	node_boot(&life->nodes[0]);
	node_boot(&life->nodes[1]);
	replica_life_write(life, 0);
	replica_life_run(life, (unsigned)rng_below(&life->rng, 200));
	life->connected = true;
	if (rng_one_in(&life->rng, 4))
		bad_luck(life); /* while it is seeded */
	replica_life_run(life, 300);
	make_room(life);
	if (!replica_life_until(life, standby_sealed, 60000)) {
		replica_life_complain(life, "the seed does not end");
		return;
	}
	if (rng_one_in(&life->rng, 6)) {
		replica_life_regroup(life, 0);
		if (!replica_life_until(life, standby_sealed, 60000)) {
			replica_life_complain(life, "the second seed does not end");
			return;
		}
	}
	while (rounds-- > 0 && !life->complaint[0]) {
		replica_life_run(life, (unsigned)rng_below(&life->rng, 700));
		bad_luck(life);
	}
	if (life->nodes[primary_now].boot && life->nodes[primary_now].armed) {
		replica_life_demote_fails(life, primary_now);
		replica_life_run(life, 300);
	}
	if (rng_one_in(&life->rng, 4)) {
		settle(life);
		if (!life->complaint[0] && rng_one_in(&life->rng, 2)) {
			verify(life);
			settle(life);
		}
		if (!life->complaint[0] && rng_one_in(&life->rng, 2))
			hand_over(life);
		return;
	}
	if (rng_one_in(&life->rng, 3)) { /* all is sealed there, and not all is flushed here */
		make_room(life);
		replica_life_quiet(life);
		(void)replica_life_until(life, all_sealed, 60000);
	}
	life->connected = false;
	life->writing = false;
	if (rng_one_in(&life->rng, 2) && life->nodes[primary_now].boot)
		node_crash(&life->nodes[primary_now]);
	replica_life_cut(life);
	promote(life, 1 - primary_now);
	if (!life->complaint[0] && rng_one_in(&life->rng, 2)) {
		fail_back(life);
		if (!life->complaint[0])
			settle(life);
	}
}

/* Whether the link is compressed, and whether a node is one version behind: of the seed alone, so
 * that the rest of a life is the same. */
static void choose_link(struct replica_life *life, uint64_t seed)
{
	struct rng rng = {.state = seed};

	life->compression = (enum pack_kind)rng_below(&rng, PACK_KINDS);
	life->noisy = rng_one_in(&rng, 2);
	if (rng_one_in(&rng, 4))
		life->nodes[rng_below(&rng, 2)].protocol = WIRE_VERSION - 1;
	if (rng_one_in(&rng, 3))
		life->protect_ns = rng_range(&rng, 60, 300) * 1000000;
	if (rng_one_in(&rng, 2))
		life->leave_ns = rng_range(&rng, 1, 400) * 1000000;
}

static uint64_t saved;

uint64_t replica_saved_bytes(void)
{
	return saved;
}

static void look_at_savings(struct replica_life *life)
{
	for (unsigned n = 0; n < 2; n++) {
		if (life->nodes[n].boot)
			life->packed += life->nodes[n].boot->group.saved_bytes;
	}
	saved += life->packed;
	if (life->packed && (life->compression == PACK_OFF ||
			     life->nodes[0].protocol + life->nodes[1].protocol < 2 * WIRE_VERSION))
		replica_life_complain(life, "something was packed that may not be");
}

bool replica_run(uint64_t seed, char complaint[400])
{
	struct sim *sim = sim_create(seed);
	struct replica_life *life;
	bool good;

	sim_enter(sim);
	life = replica_life_create(sim, seed ^ 0x7265706cull);
	choose_link(life, seed ^ 0x7061636bull);
	run(life);
	look_at_savings(life);
	snprintf(complaint, 400, "%s", life->complaint);
	good = life->complaint[0] == '\0';
	replica_life_destroy(life);
	sim_leave(sim);
	sim_destroy(sim);
	return good;
}
