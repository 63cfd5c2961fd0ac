/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_moves.h"

#include <string.h>

bool move_standby_sealed(struct replica_life *life)
{
	const struct boot *boot = life->nodes[life->primary].boot;

	return boot && boot->group.acked > 0;
}

bool move_all_sealed(struct replica_life *life)
{
	const struct boot *boot = life->nodes[life->primary].boot;
	const struct boot *other = life->nodes[1 - life->primary].boot;

	return boot && other && strcmp(boot->group.phase, "streaming") == 0 &&
	       boot->group.acked > 0 && boot->group.sealing == 0 &&
	       recorder_idle(boot->group.recorder) && other->group.staging_good &&
	       other->group.staging.applied == boot->group.acked;
}

static bool handed_over(struct replica_life *life)
{
	return life->nodes[1 - life->primary].boot &&
	       life->nodes[1 - life->primary].boot->group.role == GROUP_PRIMARY;
}

/* What was handed over may be lost on a link that is damaged: then it is taken back. */
static bool handed_over_or_back(struct replica_life *life)
{
	const struct boot *boot = life->nodes[life->primary].boot;

	return handed_over(life) || (boot && boot->group.role == GROUP_PRIMARY);
}

static bool became_standby(struct replica_life *life)
{
	return life->nodes[life->primary].boot &&
	       life->nodes[life->primary].boot->group.role == GROUP_STANDBY;
}

void move_fill_up(struct replica_life *life, unsigned node)
{
	struct replica_volume *volume =
	    rng_one_in(&life->rng, 2)
		? life->nodes[node].staging
		: life->nodes[node].members[rng_below(&life->rng, LIFE_MEMBERS)];

	volume->full_after = volume->submitted + 1 + rng_below(&life->rng, 20);
}

void move_make_room(struct replica_life *life)
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
	const struct boot *boot = life->nodes[life->primary].boot;

	return boot && boot->group.acked && boot->group.members[0].sent.count > 0 &&
	       recorder_idle(boot->group.recorder);
}

static bool no_session(struct replica_life *life)
{
	return !life->nodes[life->primary].boot->session;
}

/* The primary stops in order, in the midst of a catch-up or not, and comes again. What it then
 * believes to be sealed is not sent any more. */
static void stop_in_order(struct replica_life *life)
{
	struct node *node = &life->nodes[life->primary];

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
	replica_life_write(life, life->primary);
}

/* A member joins or leaves; the standby may lose its power right when it has it in its image. */
static void join(struct replica_life *life)
{
	struct node *standby = &life->nodes[1 - life->primary];
	bool in = !(life->nodes[life->primary].set >> (LIFE_MEMBERS - 1) & 1);

	if (!life->nodes[life->primary].boot ||
	    life->nodes[life->primary].boot->group.role != GROUP_PRIMARY)
		return;
	replica_life_join(life, life->primary, in);
	if (!in || !standby->defined || rng_one_in(&life->rng, 3))
		return;
	if (rng_one_in(&life->rng, 2))
		(void)replica_life_until(life, move_applying, 3000);
	else
		replica_life_run(life, (unsigned)rng_below(&life->rng, 400));
	node_crash(standby);
	replica_life_run(life, (unsigned)rng_below(&life->rng, 100));
	node_boot(standby);
}

void move_bad_luck(struct replica_life *life)
{
	struct rng *rng = &life->rng;
	unsigned standby = 1 - life->primary;

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
			node_crash(&life->nodes[life->primary]);
			replica_life_run(life, (unsigned)rng_below(rng, 100));
			node_boot(&life->nodes[life->primary]);
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
		move_fill_up(life, standby);
		break;
	case 9:
		replica_life_grow(life, life->primary, life->shape->member_size);
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
void move_promote(struct replica_life *life, unsigned node)
{
	move_make_room(life);
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

bool move_applying(struct replica_life *life)
{
	const struct boot *boot = life->nodes[1 - life->primary].boot;

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
	life->primary = old;
	replica_life_write(life, life->primary);
}

/* The old primary comes back, finds out, gives in, and is filled up. */
void move_fail_back(struct replica_life *life)
{
	unsigned old = life->primary;

	life->primary = 1 - old;
	replica_life_write(life, life->primary);
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
		(void)replica_life_until(life, move_applying, 30000);
		replica_life_run(life, (unsigned)rng_below(&life->rng, 60));
		node_crash(&life->nodes[old]);
		node_boot(&life->nodes[old]);
	}
	replica_life_run(life, 500 + (unsigned)rng_below(&life->rng, 1500));
	if (rng_one_in(&life->rng, 3))
		move_bad_luck(life);
	if (rng_one_in(&life->rng, 3)) /* perhaps the old one had already */
		replica_life_grow(life, life->primary, life->shape->member_size);
}

void move_settle(struct replica_life *life)
{
	life->connected = true;
	life->nodes[0].staging->slow = life->nodes[1].staging->slow = 0;
	move_make_room(life);
	replica_life_quiet(life);
	if (!replica_life_until(life, move_all_sealed, 60000))
		replica_life_complain(life, "the standby does not catch up");
	else if (!replica_life_same(life))
		replica_life_complain(life, "all is sealed, and the images differ");
}

static bool verified(struct replica_life *life)
{
	const struct boot *boot = life->nodes[life->primary].boot;

	return boot && !boot->group.verify.running &&
	       boot->group.verify.repaired == boot->group.verify.mismatches;
}

static bool may_verify(struct replica_life *life)
{
	const struct boot *boot = life->nodes[life->primary].boot;
	struct err err = {0};

	return boot && group_may_ask(&boot->group, &err) == 0;
}

/* The two are compared while clients write: nothing differs but what was spoiled. */
void move_verify(struct replica_life *life)
{
	struct group *group = &life->nodes[life->primary].boot->group;
	bool spoil = rng_one_in(&life->rng, 2);
	struct err err = {0};

	if (spoil)
		replica_life_spoil(life, 1 - life->primary);
	replica_life_write(life, life->primary);
	replica_life_run(life, (unsigned)rng_below(&life->rng, 300));
	/* The session may just have been one over a link that is damaged. */
	if (!replica_life_until(life, may_verify, 60000) || group_verify(group, &err) < 0)
		replica_life_complain(life, "verifying does not begin");
	else if (!replica_life_until(life, verified, 60000))
		replica_life_complain(life, "verifying does not end");
	else if (group->verify.mismatches > spoil)
		replica_life_complain(life, "%llu slots are said to differ that do not",
				      (unsigned long long)(group->verify.mismatches - spoil));
}

void move_hand_over(struct replica_life *life)
{
	unsigned old = life->primary;
	uint64_t begun;

	replica_life_write(life, life->primary);
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
	if (!replica_life_until(life, handed_over_or_back, 30000)) {
		replica_life_complain(life, "nobody has what was handed over");
		return;
	}
	if (!handed_over(life))
		return;
	if (!replica_life_until(life, became_standby, 30000))
		replica_life_complain(life, "who handed over is no standby");
	life->floor_ns = loop_wall(life->loop); /* no loss: whatever was acknowledged */
	replica_life_quiet(life);
	replica_life_check_promoted(life, 1 - life->primary);
	life->primary = 1 - life->primary;
	if (rng_one_in(&life->rng, 2)) { /* what was handed over is durable here too */
		node_crash(&life->nodes[old]);
		node_boot(&life->nodes[old]);
	}
	replica_life_write(life, life->primary);
	replica_life_run(life, 300);
	move_settle(life);
}
