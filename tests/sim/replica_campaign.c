/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_campaign.h"

#include <stdio.h>
#include <string.h>

#include "tests/sim/replica_moves.h"

/* What one seed does: seed the standby, write, be unlucky, lose the primary, promote, look; then
 * the way back. */

static void run(struct replica_life *life)
{
	unsigned rounds = 1 + (unsigned)rng_below(&life->rng, 5);

	life->primary = 0;
	if (rng_one_in(&life->rng, 3))
		life->log_bytes = RECORDER_SEGMENT; /* falls behind all the time */
	life->writer_node = 0;
	if (rng_one_in(&life->rng, 3)) {
		for (unsigned i = 0; i < LIFE_MEMBERS; i++)
			life->nodes[0].members[i]->volume.size_bytes = life->shape->member_size / 2;
	}
	if (rng_one_in(&life->rng, 3)) /* the last one joins later, or never */
		life->nodes[0].saved_set &= ~(1u << (LIFE_MEMBERS - 1));
	node_boot(&life->nodes[0]);
	node_boot(&life->nodes[1]);
	replica_life_write(life, 0);
	replica_life_run(life, (unsigned)rng_below(&life->rng, 200));
	life->connected = true;
	if (rng_one_in(&life->rng, 4))
		move_bad_luck(life); /* while it is seeded */
	replica_life_run(life, 300);
	move_make_room(life);
	if (!replica_life_until(life, move_standby_sealed, 60000)) {
		replica_life_complain(life, "the seed does not end");
		return;
	}
	if (rng_one_in(&life->rng, 6)) {
		replica_life_regroup(life, 0);
		if (!replica_life_until(life, move_standby_sealed, 60000)) {
			replica_life_complain(life, "the second seed does not end");
			return;
		}
	}
	while (rounds-- > 0 && !life->complaint[0]) {
		replica_life_run(life, (unsigned)rng_below(&life->rng, 700));
		move_bad_luck(life);
	}
	if (life->nodes[life->primary].boot && life->nodes[life->primary].armed) {
		replica_life_demote_fails(life, life->primary);
		replica_life_run(life, 300);
	}
	if (rng_one_in(&life->rng, 4)) {
		move_settle(life);
		if (!life->complaint[0] && rng_one_in(&life->rng, 2)) {
			move_verify(life);
			move_settle(life);
		}
		if (!life->complaint[0] && rng_one_in(&life->rng, 2))
			move_hand_over(life);
		return;
	}
	if (rng_one_in(&life->rng, 3)) { /* all is sealed there, and not all is flushed here */
		move_make_room(life);
		replica_life_quiet(life);
		(void)replica_life_until(life, move_all_sealed, 60000);
	}
	life->connected = false;
	life->writing = false;
	if (rng_one_in(&life->rng, 2) && life->nodes[life->primary].boot)
		node_crash(&life->nodes[life->primary]);
	replica_life_cut(life);
	move_promote(life, 1 - life->primary);
	if (!life->complaint[0] && rng_one_in(&life->rng, 2)) {
		move_fail_back(life);
		if (!life->complaint[0])
			move_settle(life);
	}
}

/* Whether the link is compressed, and whether a node is of a version before: of the seed alone, so
 * that the rest of a life is the same. */
static void choose_link(struct replica_life *life, uint64_t seed)
{
	struct rng rng = {.state = seed};

	life->compression = (enum pack_kind)rng_below(&rng, PACK_KINDS);
	life->noisy = rng_one_in(&rng, 2);
	if (rng_one_in(&rng, 4))
		life->nodes[rng_below(&rng, 2)].protocol =
		    rng_one_in(&rng, 2) ? WIRE_VERSION_PACKED - 1 : WIRE_VERSION_ACCESS - 1;
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

static unsigned long looks, losses;

unsigned long replica_lag_looks(unsigned long *ret_losses)
{
	*ret_losses = losses;
	return looks;
}

static void look_at_savings(struct replica_life *life)
{
	for (unsigned n = 0; n < 2; n++) {
		if (life->nodes[n].boot)
			life->packed += life->nodes[n].boot->group.saved_bytes;
	}
	saved += life->packed;
	if (life->packed &&
	    (life->compression == PACK_OFF || life->nodes[0].protocol < WIRE_VERSION_PACKED ||
	     life->nodes[1].protocol < WIRE_VERSION_PACKED))
		replica_life_complain(life, "something was packed that may not be");
}

bool replica_run(uint64_t seed, char complaint[400])
{
	struct sim *sim = sim_create(seed);
	struct replica_life *life;
	bool good;

	sim_enter(sim);
	life = replica_life_create(sim, seed ^ 0x7265706cull, &replica_deep);
	choose_link(life, seed ^ 0x7061636bull);
	run(life);
	look_at_savings(life);
	looks += life->lag.checks;
	losses += life->lag.losses;
	snprintf(complaint, 400, "%s", life->complaint);
	good = life->complaint[0] == '\0';
	replica_life_destroy(life);
	sim_leave(sim);
	sim_destroy(sim);
	return good;
}
