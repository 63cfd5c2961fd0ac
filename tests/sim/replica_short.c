/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/replica_campaign.h"
#include "tests/sim/replica_moves.h"
#include "tests/sim/replica_seed.h"

/* Lives of a millisecond. Each has one kind of fault, at a place that goes through all there are as
 * the seed grows; what the clients do and how the life ends is drawn. */

#define SOON 20000u /* rounds that are far more than anything here takes */

static unsigned met; /* how often the fault of the life under way was met */

/* ---- parts ---- */
static bool up(struct replica_life *life)
{
	for (unsigned n = 0; n < 2; n++) {
		life->nodes[n].power = (struct replica_power){0};
		if (!life->nodes[n].boot)
			node_boot(&life->nodes[n]);
	}
	return !life->complaint[0];
}

/* Whoever lost its power gets it again. */
static bool lives_for(struct replica_life *life, bool (*reached)(struct replica_life *life),
		      unsigned rounds)
{
	for (unsigned i = 0; i < rounds && !life->complaint[0]; i++) {
		if (reached(life))
			return true;
		for (unsigned n = 0; n < 2; n++) {
			if (life->nodes[n].boot)
				continue;
			met++;
			node_boot(&life->nodes[n]);
		}
		replica_life_run(life, 1);
	}
	return false;
}

static bool lives_until(struct replica_life *life, bool (*reached)(struct replica_life *life))
{
	return lives_for(life, reached, SOON);
}

static bool all_written(struct replica_life *life)
{
	return life->write_limit && life->write_count >= life->write_limit;
}

/* Or as many as are let in: the protection may hold them. */
static void written_out(struct replica_life *life)
{
	(void)lives_for(life, all_written, 1000);
}

static void more_writes(struct replica_life *life, unsigned count)
{
	life->write_limit = life->write_count + count;
	replica_life_write(life, life->primary);
}

static void begin(struct replica_life *life)
{
	life->primary = life->writer_node = 0;
	up(life);
	more_writes(life, 4 + (unsigned)rng_below(&life->rng, 16));
	replica_life_run(life, (unsigned)rng_below(&life->rng, 60));
	life->connected = true;
}

static bool seeded(struct replica_life *life)
{
	/* A length that was damaged is waited for as long as the peer says that it lives. TLS,
	 * which is not there, would have ended that. */
	if (!lives_for(life, move_standby_sealed, 4000))
		replica_life_cut(life);
	if (!lives_until(life, move_standby_sealed))
		replica_life_complain(life, "the seed does not end");
	more_writes(life, 4 + (unsigned)rng_below(&life->rng, 12));
	return !life->complaint[0];
}

static void settle(struct replica_life *life)
{
	if (!up(life))
		return;
	if (!lives_for(life, move_all_sealed, 2000))
		replica_life_cut(life);
	move_settle(life);
}

static void lose_primary(struct replica_life *life)
{
	life->connected = life->writing = false;
	if (life->nodes[life->primary].boot)
		node_crash(&life->nodes[life->primary]);
	replica_life_cut(life);
}

static bool old_knows(struct replica_life *life)
{
	const struct boot *boot = life->nodes[1 - life->primary].boot;

	return boot && boot->group.role != GROUP_PRIMARY && !boot->session;
}

/* The other one is the primary now, and the old one finds out. */
static bool turned(struct replica_life *life)
{
	life->primary = life->writer_node = 1 - life->primary;
	up(life);
	more_writes(life, 6);
	life->connected = true;
	if (!lives_until(life, old_knows))
		replica_life_complain(life, "the old primary does not find out");
	return !life->complaint[0];
}

static void give_in(struct replica_life *life)
{
	unsigned old = 1 - life->primary;

	if (life->nodes[old].boot->group.role != GROUP_STANDBY &&
	    replica_life_demote(life, old) < 0)
		replica_life_complain(life, "the old primary can not be demoted");
	settle(life);
}

/* As the life began to: both the same, or the primary lost and its standby promoted. */
static void end(struct replica_life *life)
{
	unsigned way = (unsigned)rng_below(&life->rng, 4);

	if (!up(life))
		return;
	if (way == 0) {
		settle(life);
		return;
	}
	if (rng_one_in(&life->rng, 2))
		written_out(life);
	lose_primary(life);
	move_promote(life, 1 - life->primary);
	if (way == 1 && !life->complaint[0] && turned(life))
		give_in(life);
}

/* ---- kinds of faults ---- */
/* The link is cut at a byte of the first session. */
static void cut_first(struct replica_life *life, uint64_t place)
{
	life->faults.cut_after = place % 40000;
	life->faults.fired = &met;
	begin(life);
	if (seeded(life))
		end(life);
}

static bool no_session(struct replica_life *life)
{
	return !life->pipe;
}

/* At a byte of one that goes on where another was. */
static void cut_again(struct replica_life *life, uint64_t place)
{
	begin(life);
	if (!seeded(life))
		return;
	replica_life_run(life, (unsigned)rng_below(&life->rng, 100));
	replica_life_cut(life);
	(void)lives_until(life, no_session);
	life->faults.cut_after = place % 12000;
	life->faults.fired = &met;
	written_out(life);
	end(life);
}

static void spoil(struct replica_life *life, uint64_t place)
{
	life->faults.frame_fault = (enum replica_frame_fault)(place % REPLICA_FRAME_FAULTS);
	life->faults.frame = 1 + (unsigned)(place / REPLICA_FRAME_FAULTS % 100);
	life->faults.fired = &met;
	begin(life);
	if (!seeded(life))
		return;
	written_out(life);
	end(life);
}

/* Pieces of the stream, whatever is in them. */
static void damage(struct replica_life *life, uint64_t place)
{
	life->faults.damage_one_in = 1 + (unsigned)(place % 60);
	met++;
	begin(life);
	if (seeded(life))
		end(life);
}

/* One of @all I/Os: of the first third three times in four, for few lives have more. */
static unsigned io_at(uint64_t place, unsigned all)
{
	return 1 + (unsigned)(place / 4 % (place % 4 ? all / 3 : all));
}

static void kill_at(struct replica_life *life, uint64_t place, unsigned nodes)
{
	bool early = place % 2;

	place /= 2;
	begin(life);
	for (unsigned n = 0; early && n < 2; n++)
		life->nodes[n].power.left = nodes >> n & 1 ? io_at(place, 160) : 0;
	if (!seeded(life))
		return;
	for (unsigned n = 0; !early && n < 2; n++)
		life->nodes[n].power.left =
		    nodes >> n & 1 ? io_at(place + (n ? place / 80 : 0), 80) : 0;
	written_out(life);
	replica_life_run(life, 60);
	end(life);
}

static void kill_standby(struct replica_life *life, uint64_t place)
{
	kill_at(life, place, 2);
}

static void kill_primary(struct replica_life *life, uint64_t place)
{
	kill_at(life, place, 1);
}

static void kill_both(struct replica_life *life, uint64_t place)
{
	kill_at(life, place, 3);
}

static void full(struct replica_life *life, uint64_t place)
{
	struct node *standby = &life->nodes[1];
	struct replica_volume *volume;

	begin(life);
	if (place % 4 && !seeded(life)) /* or while it is seeded */
		return;
	volume = place / 4 % 2 ? standby->staging : standby->members[place / 8 % LIFE_MEMBERS];
	volume->full_after = volume->submitted + 1 + place / 24 % 24;
	written_out(life);
	replica_life_run(life, 200);
	met++;
	move_make_room(life);
	if (!lives_until(life, move_standby_sealed))
		replica_life_complain(life, "the seed does not end");
	else
		end(life);
}

static bool catching_up(struct replica_life *life)
{
	const struct boot *boot = life->nodes[life->primary].boot;

	return boot && boot->channel.link && strcmp(boot->group.phase, "catching up") == 0;
}

/* The log ran over while there was no link, and the primary is lost in the midst of the catch-up;
 * or nothing is. */
static void overflow(struct replica_life *life, uint64_t place)
{
	life->nodes[1].staging->slow = place % 3 ? 0 : 4;
	begin(life);
	if (!seeded(life))
		return;
	life->connected = false;
	replica_life_cut(life);
	(void)lives_until(life, no_session);
	written_out(life);
	recorder_fall_back(life->nodes[0].boot->group.recorder);
	more_writes(life, 6);
	life->connected = true;
	met += lives_until(life, catching_up);
	replica_life_run(life, (unsigned)(place % 250));
	if (place % 5 == 0) {
		settle(life);
		return;
	}
	lose_primary(life);
	move_promote(life, 1);
	if (place % 3 == 0 && !life->complaint[0] && turned(life))
		give_in(life);
}

static void promote_killed(struct replica_life *life, uint64_t place)
{
	struct node *standby = &life->nodes[1];

	begin(life);
	if (!seeded(life))
		return;
	if (place % 2)
		(void)lives_until(life, move_applying);
	lose_primary(life);
	node_crash(standby);
	node_boot(standby);
	standby->power.left = 1 + place / 2 % 24;
	(void)replica_life_promote(life, 1);
	met += !standby->boot;
	if (!up(life))
		return;
	life->nodes[0].power.left = 0;
	if (standby->boot->group.role == GROUP_PRIMARY)
		replica_life_check_promoted(life, 1);
	else
		move_promote(life, 1);
	if (!life->complaint[0] && turned(life))
		give_in(life);
}

static void demote_killed(struct replica_life *life, uint64_t place)
{
	struct node *old = &life->nodes[0];

	begin(life);
	if (!seeded(life))
		return;
	lose_primary(life);
	move_promote(life, 1);
	if (life->complaint[0] || !turned(life))
		return;
	old->power.left = 1 + place % 16;
	(void)replica_life_demote(life, 0);
	met += !old->boot;
	if (place % 3 && old->boot) /* what is sent to it, too */
		old->power.left = 1 + place / 3 % 40;
	replica_life_run(life, 150);
	met += !old->boot;
	if (up(life))
		give_in(life);
}

static bool decided(struct replica_life *life)
{
	const struct boot *a = life->nodes[0].boot, *b = life->nodes[1].boot;

	return a && b && a->calls + b->calls == 0 &&
	       ((a->group.role == GROUP_PRIMARY && b->group.role == GROUP_STANDBY) ||
		(a->group.role == GROUP_STANDBY && b->group.role == GROUP_PRIMARY)) &&
	       !a->group.switching && !b->group.switching;
}

/* A planned switchover in which the link, or a node, goes. Nothing that was acknowledged may be
 * lost, whoever has it in the end. */
static void switchover(struct replica_life *life, uint64_t place)
{
	uint64_t at = place / 3;

	begin(life);
	if (!seeded(life))
		return;
	written_out(life);
	if (!life->pipe || !life->nodes[0].boot->group.channel)
		return;
	if (place % 3 == 0)
		replica_pipe_cut_after(life->pipe, at % 1200);
	else
		life->nodes[place % 3 - 1].power.left = 1 + at % 30;
	(void)replica_life_switchover(life, 0, 60000000000ull);
	met++;
	if (!lives_until(life, decided)) {
		replica_life_complain(life, "nobody has what was handed over");
		return;
	}
	up(life);
	replica_life_quiet(life);
	if (life->nodes[1].boot->group.role == GROUP_PRIMARY) {
		life->floor_ns = loop_wall(life->loop);
		replica_life_check_promoted(life, 1);
		life->primary = 1;
	}
	more_writes(life, 6);
	settle(life);
}

/* Two primaries, both written to. */
static void dual(struct replica_life *life, uint64_t place)
{
	begin(life);
	if (!seeded(life))
		return;
	life->connected = false;
	replica_life_cut(life);
	replica_life_run(life, (unsigned)(place % 97));
	life->writing = false;
	move_promote(life, 1);
	met += life->nodes[0].boot && life->nodes[0].boot->group.role == GROUP_PRIMARY;
	if (life->complaint[0])
		return;
	if (place % 2) { /* the old one goes on, which nobody will see */
		replica_life_quiet(life);
		life->writer_node = 0;
		node_crash(&life->nodes[0]);
		node_boot(&life->nodes[0]);
		more_writes(life, 6);
		written_out(life);
		replica_life_quiet(life);
		life->writer_node = 1;
		node_crash(&life->nodes[1]);
		node_boot(&life->nodes[1]);
		life->floor_era = life->era;
		life->floor_ns = 0;
	}
	if (!turned(life))
		return;
	give_in(life);
	replica_life_quiet(life);
	life->floor_ns = loop_wall(life->loop);
	replica_life_check_promoted(life, 1);
}

/* Epochs wait in the log, and it lacks a change of a later one. */
static bool behind_later(struct replica_life *life)
{
	const struct boot *boot = life->nodes[0].boot;
	struct recorder *recorder = boot ? boot->group.recorder : NULL;

	return recorder && recorder_spoiled(recorder, UINT64_MAX - 1) &&
	       !recorder_spoiled(recorder, recorder_oldest_epoch(recorder));
}

static uint64_t acked_before;

static bool sealed_one_more(struct replica_life *life)
{
	const struct boot *boot = life->nodes[0].boot;

	return boot && boot->group.acked > acked_before;
}

/* A member joins, or leaves and comes again, while epochs wait that were recorded before: none of
 * them is an image of all. */
static void joined_behind(struct replica_life *life, uint64_t place)
{
	bool again = place % 2;

	if (!again)
		life->nodes[0].saved_set &= ~(1u << (LIFE_MEMBERS - 1));
	begin(life);
	if (!seeded(life))
		return;
	life->nodes[1].staging->slow = 12;
	more_writes(life, 40);
	replica_life_run(life, 40 + (unsigned)(place / 2 % 100));
	for (unsigned i = 0; i < LIFE_MEMBERS; i++) /* a change that fails is not in the log */
		life->nodes[0].members[i]->full_after = life->nodes[0].members[i]->submitted + 1;
	met += lives_for(life, behind_later, 1500);
	move_make_room(life);
	if (!up(life))
		return;
	life->connected = false;
	if (again)
		replica_life_join(life, 0, false);
	replica_life_join(life, 0, true);
	life->nodes[1].staging->slow = 0;
	acked_before = life->nodes[0].boot->group.acked;
	life->connected = true;
	if (!lives_until(life, sealed_one_more))
		replica_life_complain(life, "nothing is sealed after a member joined");
	else if (place / 2 % 4)
		end(life);
	else
		settle(life);
}

/* Whoever asks for it, and however often: a role changes once. */
static void asked_thrice(struct replica_life *life, uint64_t place)
{
	begin(life);
	if (!seeded(life))
		return;
	if (place % 2)
		(void)lives_until(life, move_applying);
	lose_primary(life);
	met++;
	if (replica_life_promote_thrice(life, 1) != 1) {
		replica_life_complain(life, "a group is not promoted once");
		return;
	}
	replica_life_check_promoted(life, 1);
	if (life->complaint[0] || !turned(life))
		return;
	if (replica_life_demote_thrice(life, 0) != 1)
		replica_life_complain(life, "a group is not demoted once");
	else
		settle(life);
}

/* ---- a seed that is carried ---- */
static bool waits_for_seed(struct replica_life *life)
{
	const struct boot *boot = life->nodes[0].boot;

	return boot && life->nodes[1].defined &&
	       strcmp(boot->group.phase, "waiting for its seed") == 0;
}

static bool awaits_seed(struct replica_life *life)
{
	life->ship = true;
	begin(life);
	if (!lives_until(life, waits_for_seed))
		replica_life_complain(life, "the standby is not defined");
	return !life->complaint[0];
}

/* As often as it takes, with a power that goes once. */
static bool exported(struct replica_life *life, struct replica_disk *disk)
{
	for (unsigned tries = 0; tries < 6 && !life->complaint[0]; tries++) {
		const struct boot *boot = life->nodes[0].boot;
		int result = replica_seed_export(life, 0, disk);

		if (result == 0)
			return true;
		if (boot == life->nodes[0].boot && result != -EAGAIN)
			replica_life_complain(life, "a seed is not exported: %d", result);
		met += !life->nodes[0].boot;
		if (!life->nodes[0].boot)
			up(life);
	}
	replica_life_complain(life, "a seed is never exported");
	return false;
}

/* What was acknowledged before the export is in its image. */
static void imported(struct replica_life *life, const struct replica_disk *disk)
{
	life->floor_era = disk->era;
	life->floor_ns = disk->wall_ns;
}

/* A node that lost its power in it begins anew. */
static bool import(struct replica_life *life, struct replica_disk *disk)
{
	for (unsigned tries = 0; tries < 3 && !life->complaint[0]; tries++) {
		int result = replica_seed_import(life, 1, disk, 0);

		if (result == 0 || (result == -EEXIST && tries > 0)) { /* all but the answer */
			imported(life, disk);
			return true;
		}
		if (life->nodes[1].boot) {
			replica_life_complain(life, "a seed is not imported: %d", result);
			break;
		}
		met++;
		up(life);
	}
	return false;
}

/* The primary goes on from there; or it is lost before it has sent anything. */
static void carried(struct replica_life *life, uint64_t place)
{
	unsigned standby = (unsigned)(place % 2);

	if (rng_one_in(&life->rng, 3)) {
		lose_primary(life);
		move_promote(life, 1);
		if (rng_one_in(&life->rng, 2) && !life->complaint[0] && turned(life))
			give_in(life);
		return;
	}
	life->nodes[standby].power.left = rng_one_in(&life->rng, 2) ? io_at(place / 2, 120) : 0;
	more_writes(life, 4 + (unsigned)rng_below(&life->rng, 12));
	if (!lives_until(life, move_standby_sealed))
		replica_life_complain(life, "what has changed since the seed is not sent");
	else
		end(life);
}

/* Whatever may be between the two. */
static void time_goes_by(struct replica_life *life)
{
	more_writes(life, 4 + (unsigned)rng_below(&life->rng, 10));
	if (rng_one_in(&life->rng, 2))
		written_out(life);
	if (rng_one_in(&life->rng, 3) && life->nodes[0].boot) {
		node_crash(&life->nodes[0]);
		node_boot(&life->nodes[0]);
		more_writes(life, 4);
	}
}

static void export_killed(struct replica_life *life, uint64_t place)
{
	struct replica_disk disk = {0};

	if (!awaits_seed(life))
		return;
	written_out(life);
	more_writes(life, 4 + (unsigned)rng_below(&life->rng, 12));
	life->nodes[0].power.left = 1 + place / 2 % 48;
	if (exported(life, &disk)) {
		life->nodes[0].power.left = 0;
		time_goes_by(life);
		if (import(life, &disk))
			carried(life, place);
	}
	replica_disk_finish(&disk);
}

static void import_killed(struct replica_life *life, uint64_t place)
{
	struct replica_disk disk = {0};

	if (!awaits_seed(life))
		return;
	if (exported(life, &disk)) {
		time_goes_by(life);
		life->nodes[1].power.left = 1 + place / 2 % 48;
		if (import(life, &disk)) {
			life->nodes[1].power.left = 0;
			carried(life, place);
		}
	}
	replica_disk_finish(&disk);
}

static uint64_t changes_of(const struct node *node)
{
	uint64_t changes = node->staging->submitted;

	for (unsigned i = 0; i < LIFE_MEMBERS; i++)
		changes += node->members[i]->submitted;
	return changes;
}

/* One that is damaged, or of another primary, is refused and leaves no trace. */
static void import_refused(struct replica_life *life, struct replica_disk *disk, bool foreign)
{
	struct replica_disk copy = *disk;
	uint64_t changes;
	int result;

	copy.bytes = malloc(disk->room);
	if (!copy.bytes)
		abort();
	memcpy(copy.bytes, disk->bytes, disk->length);
	if (!foreign)
		replica_disk_spoil(&copy, &life->rng);
	replica_life_disconnect(life, 1);
	changes = changes_of(&life->nodes[1]);
	result = replica_seed_import(life, 1, &copy, foreign ? 1 : 0);
	if (result == 0)
		replica_life_complain(life, "a seed that is not good is taken");
	if (changes != changes_of(&life->nodes[1]))
		replica_life_complain(life, "a seed that is refused changes something: %d", result);
	replica_disk_finish(&copy);
}

/* It can not be read any more in the midst of it, or there is no room for all of it. The image goes
 * over the link, or once more on the disk. */
static void import_fails(struct replica_life *life, struct replica_disk *disk, uint64_t place)
{
	struct replica_volume *member = life->nodes[1].members[place / 4 % LIFE_MEMBERS];

	if (place % 2)
		disk->reads = 2 + (unsigned)(place / 4 % 12);
	else
		member->full_after = member->submitted + 1 + place / 4 / LIFE_MEMBERS % 8;
	if (replica_seed_import(life, 1, disk, 0) == 0) {
		imported(life, disk);
		carried(life, place);
		return;
	}
	disk->reads = 0;
	move_make_room(life);
	if (place / 2 % 2) {
		life->zeros_one_in = 2; /* of what had data in the seed */
		more_writes(life, 16);
		written_out(life);
		replica_seed_wire(life, 0);
		if (seeded(life))
			end(life);
	} else if (import(life, disk)) {
		carried(life, place);
	}
}

static void bad_seed(struct replica_life *life, uint64_t place)
{
	struct replica_disk disk = {0}, later = {0};

	if (!awaits_seed(life))
		return;
	met++;
	written_out(life);
	more_writes(life, 8);
	if (exported(life, &disk)) {
		time_goes_by(life);
		switch (place % 4) {
		case 0:
			import_refused(life, &disk, rng_one_in(&life->rng, 4));
			break;
		case 1: /* another one is made after it, which the primary knows of alone */
			(void)exported(life, &later);
			if (later.epoch <= disk.epoch)
				replica_life_complain(life, "two exports have the same number");
			time_goes_by(life);
			break;
		default:
			import_fails(life, &disk, place / 4);
			goto out;
		}
		if (!life->complaint[0] &&
		    import(life, place % 4 == 1 && place / 4 % 2 ? &later : &disk))
			carried(life, place / 8);
	}
out:
	replica_disk_finish(&disk);
	replica_disk_finish(&later);
}

static void anything(struct replica_life *life, uint64_t place)
{
	begin(life);
	if (!seeded(life))
		return;
	met++;
	for (uint64_t i = 0; i <= place % 2 && !life->complaint[0]; i++)
		move_bad_luck(life);
	if (!life->complaint[0])
		end(life);
}

static const struct kind {
	const char *name;
	void (*run)(struct replica_life *life, uint64_t place);
	unsigned first; /* of the places that this row takes, which has so many rows in all */
	unsigned rows;
} kinds[REPLICA_SHORT_KINDS] = {
    {"the first session is cut at a byte", cut_first, 0, 3},
    {"the first session is cut at a byte", cut_first, 1, 3},
    {"the first session is cut at a byte", cut_first, 2, 3},
    {"a later session is cut at a byte", cut_again, 0, 1},
    {"a frame is flipped, doubled, late or lost", spoil, 0, 1},
    {"the stream is damaged", damage, 0, 1},
    {"the standby loses power at an I/O", kill_standby, 0, 1},
    {"the primary loses power at an I/O", kill_primary, 0, 1},
    {"both lose power at an I/O", kill_both, 0, 1},
    {"the standby is full", full, 0, 1},
    {"lost while it catches up after an overflow", overflow, 0, 1},
    {"power is lost at an I/O of a promotion", promote_killed, 0, 1},
    {"power is lost at an I/O of a demotion", demote_killed, 0, 1},
    {"a switchover is cut off", switchover, 0, 1},
    {"two primaries", dual, 0, 1},
    {"a member joins while epochs wait", joined_behind, 0, 1},
    {"a promotion and a demotion are asked for thrice", asked_thrice, 0, 1},
    {"power is lost at an I/O of an export", export_killed, 0, 1},
    {"power is lost at an I/O of an import", import_killed, 0, 1},
    {"a seed is damaged, lost, foreign or old", bad_seed, 0, 1},
    {"anything", anything, 0, 1},
};

const char *replica_short_kind(unsigned kind)
{
	return kinds[kind].name;
}

static void choose(struct replica_life *life, uint64_t seed)
{
	struct rng rng = {.state = seed};

	if (rng_one_in(&rng, 8))
		life->compression = rng_one_in(&rng, 3) ? PACK_LZ4 : PACK_ZSTD;
	life->noisy = rng_one_in(&rng, 4);
	if (rng_one_in(&rng, 8))
		life->nodes[rng_below(&rng, 2)].protocol =
		    rng_one_in(&rng, 2) ? WIRE_VERSION_PACKED - 1 : WIRE_VERSION_ACCESS - 1;
	if (rng_one_in(&rng, 8))
		life->protect_ns = rng_range(&rng, 60, 300) * 1000000;
	if (rng_one_in(&rng, 8))
		life->leave_ns = rng_range(&rng, 1, 4) * 1000000;
	if (rng_one_in(&rng, 3))
		life->log_bytes = RECORDER_SEGMENT;
}

struct world {
	struct sim *sim;
	struct replica_life *life;
};

static void world_make(struct world *world, uint64_t seed)
{
	world->sim = sim_create(seed);
	sim_enter(world->sim);
	world->life = replica_life_create(world->sim, seed ^ 0x73686f7274ull, &replica_quick);
	choose(world->life, seed ^ 0x71756963ull);
}

static bool world_end(struct world *world, char complaint[400])
{
	bool good = world->life->complaint[0] == '\0';

	snprintf(complaint, 400, "%s", world->life->complaint);
	replica_life_destroy(world->life);
	sim_leave(world->sim);
	sim_destroy(world->sim);
	return good;
}

bool replica_short_run(uint64_t seed, unsigned *ret_kind, bool *ret_met, char complaint[400])
{
	const struct kind *kind = &kinds[seed % REPLICA_SHORT_KINDS];
	struct world world;

	met = 0;
	world_make(&world, seed);
	kind->run(world.life, seed / REPLICA_SHORT_KINDS * kind->rows + kind->first);
	*ret_kind = (unsigned)(seed % REPLICA_SHORT_KINDS);
	*ret_met = met > 0;
	return world_end(&world, complaint);
}

/* ---- there and back ---- */
/* An unplanned failover, and the planned way back: nothing of that may be lost. */
static void cycle(struct replica_life *life)
{
	unsigned old = life->primary;

	more_writes(life, 3 + (unsigned)rng_below(&life->rng, 6));
	written_out(life);
	lose_primary(life);
	move_promote(life, 1 - old);
	if (life->complaint[0] || !turned(life))
		return;
	written_out(life);
	replica_life_quiet(life);
	if (replica_life_failback(life, old) < 0) {
		replica_life_complain(life, "a failback does not end");
		return;
	}
	life->floor_ns = loop_wall(life->loop);
	replica_life_check_promoted(life, old);
	life->primary = old;
	replica_life_write(life, old);
	settle(life);
	if (!life->complaint[0])
		replica_life_forget(life, old);
}

bool replica_cycles(uint64_t seed, unsigned cycles, char complaint[400])
{
	struct world world;

	world_make(&world, seed);
	world.life->protect_ns = 0;
	begin(world.life);
	(void)seeded(world.life);
	for (unsigned i = 0; i < cycles && !world.life->complaint[0]; i++)
		cycle(world.life);
	return world_end(&world, complaint);
}
