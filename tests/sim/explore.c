/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/explore.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "volumes/format.h"

#define DEPTH_MAX 3

struct explorer {
	const struct profile *profile;
	const struct explore_limits *limits;
	struct explore_counts *counts;
	uint64_t states_at_start;
	unsigned rewinds;      /* one in so many states also loses its newest root */
	uint64_t recovery_ios; /* how many a recovery takes, of late: to crash in the middle */
};

static void explore_crash(struct explorer *explorer, struct sim *sim, const struct model *crashed,
			  unsigned states, unsigned depth);
static void explore_kill(struct explorer *explorer, struct life *life, const struct model *crashed);

static bool enough(const struct explorer *explorer)
{
	return explorer->counts->states - explorer->states_at_start >= explorer->limits->states_max;
}

/* Looking at a recovered pool */

#define LOOK_MAX (64u << 10)

/* Read every slot with more than one possible past, neighbours together. */
static void look_at_open_slots(struct life *life, unsigned volume)
{
	uint64_t size = life->model->volumes[volume].size;
	uint64_t slot = model_next_open_slot(life->model, volume, 0);

	while (slot != UINT64_MAX && slot * 4096 < size) {
		uint64_t from = slot, next;

		do {
			slot++;
			next = model_next_open_slot(life->model, volume, slot);
		} while (next == slot && (slot - from) * 4096 < LOOK_MAX && slot * 4096 < size);
		life_read(life, volume, from * 4096, (slot - from) * 4096);
		slot = next;
	}
}

static void look_at_some(struct life *life, unsigned volume, unsigned count)
{
	uint64_t slots = life->model->volumes[volume].size / 4096;

	while (count-- > 0) {
		uint64_t slot = rng_below(&life->rng, slots);

		for (unsigned i = 0; i < 64 && !model_slot_used(life->model, volume, slot); i++)
			slot = (slot + 1) % slots;
		life_read(life, volume, slot * 4096, 4096);
	}
}

static void look_at_all(struct life *life, unsigned volume)
{
	uint64_t size = life->model->volumes[volume].size;

	for (uint64_t at = 0; at < size; at += 1 << 20)
		life_read(life, volume, at, size - at < 1 << 20 ? size - at : 1 << 20);
}

static void look_at_atomics(struct life *life, const struct model *crashed)
{
	for (unsigned i = 0; i < crashed->atomic_count; i++) {
		const struct model_atomic *atomic = &crashed->atomics[i];
		const uint8_t *data;
		const char *wrong;

		if (!life->handles[atomic->volume] || life->model->volumes[atomic->volume].uid !=
							  crashed->volumes[atomic->volume].uid)
			continue; /* gone, or rolled back */
		data = life_read(life, atomic->volume, atomic->offset, atomic->length);
		wrong = data ? model_atomic_check(crashed, atomic, data) : NULL;
		if (wrong)
			violation("%s (depth %u)", wrong, life->depth);
	}
}

/* No read of a strict volume accepts what does not fit. */
static void look_at_strictness(struct life *life)
{
	struct pool_info info;

	if (life->profile->subject->only_data || life->profile->checksum != VOLUME_CHECKSUM_STRICT)
		return;
	pool_get_info(life->pool, &info);
	if (info.hot_resummed)
		violation("%llu slots of strict volumes were summed again (depth %u)",
			  (unsigned long long)info.hot_resummed, life->depth);
}

static void look(struct life *life, const struct model *crashed, bool all)
{
	if (crashed)
		look_at_atomics(life, crashed);
	for (unsigned i = 0; i < MODEL_VOLUMES; i++) {
		if (!life->handles[i])
			continue;
		look_at_open_slots(life, i);
		if (all)
			look_at_all(life, i);
		else
			look_at_some(life, i, 6);
	}
	look_at_strictness(life);
}

/* A scrub beside all that goes on takes nothing that moves for damage. */
static void check_scrub(struct life *life)
{
	struct pool_scrub_info info;
	struct pool_finding finding;
	bool labels = life->model->pulled; /* of one that is gone, before that is known */

	pool_get_scrub(life->pool, &info);
	if (info.errors <= life->scrub_known || info.errors <= life->model->forgiven ||
	    life->tolerate_faults)
		return;
	for (unsigned i = 0; labels && pool_finding(life->pool, i, &finding); i++)
		labels = finding.kind == FINDING_LABEL ||
			 strncmp(finding.volume, LIFE_BEFORE, strlen(LIFE_BEFORE)) == 0;
	if (labels)
		return;
	for (unsigned i = 0; pool_finding(life->pool, i, &finding); i++)
		fprintf(stderr, "# finding: %s, byte %llu\n", finding.text,
			(unsigned long long)finding.offset);
	violation("the scrub found %llu errors (depth %u)", (unsigned long long)info.errors,
		  life->depth);
}

/* All labels have been written since: from here on a bad one is damage. */
static void scrub_was_forgiven(struct life *life)
{
	struct pool_scrub_info info;

	pool_get_scrub(life->pool, &info);
	life->model->forgiven = info.errors;
	life->model->pulled = false;
}

/* The structures: a checkpoint, then nothing wrong and nothing leaked. */
static void check(struct explorer *explorer, struct life *life, bool data)
{
	if (life->profile->subject->only_data)
		return;
	explorer->counts->checks++;
	if (life->profile->pulls && (data || rng_one_in(&life->rng, 4))) {
		life_heal(life); /* then both copies are held against the checksums */
		data = true;
	}
	life_before_look(life);
	check_scrub(life);
	if (life->profile->pulls && data)
		scrub_was_forgiven(life);
	life_call(life, life_start_checkpoint);
	if (life_wait(life, "pool_checkpoint") != 0)
		violation("pool_checkpoint: %s (depth %u)", life->call.err.text, life->depth);
	life->report_data = data;
	life_call(life, life_start_check);
	if (life_wait(life, "pool_check") != 0)
		violation("pool_check: %s (depth %u)", life->call.err.text, life->depth);
	if (life->report.errors > 0 || life->report.leaked_slots > 0)
		violation("pool_check: %llu errors, %llu slots leaked (depth %u)",
			  (unsigned long long)life->report.errors,
			  (unsigned long long)life->report.leaked_slots, life->depth);
}

static void close_pool(struct life *life)
{
	life_drop_handles(life);
	life_call(life, life_start_close);
	if (life_wait(life, "pool_close") != 0)
		violation("pool_close: %s (depth %u)", life->call.err.text, life->depth);
	model_settle(life->model);
}

/* Recovering */

static void note_replay(struct explorer *explorer, struct life *life)
{
	struct pool_info info;

	pool_get_info(life->pool, &info);
	explorer->counts->replayed += info.replayed_records;
	if (info.read_only)
		violation("the pool is read-only after recovery: %s", info.read_only_reason);
}

/* Open the pool of @life; with @crash_at, crash at that I/O of the recovery as well. */
static void recover(struct explorer *explorer, struct life *life, const struct model *crashed,
		    uint64_t crash_at)
{
	uint64_t steps = 0, base = sim_io_count(life->sim);

	life_call(life, life_start_open);
	while (!life->call_done) {
		if (!sim_step(life->sim) || ++steps > 2000000)
			violation("pool_open never ended (depth %u)", life->depth);
		if (crash_at && crashed && sim_io_count(life->sim) - base >= crash_at) {
			uint64_t before = explorer->counts->states;

			crash_at = 0;
			explore_crash(explorer, life->sim, crashed, 3, life->depth + 1);
			explorer->counts->recovery_states += explorer->counts->states - before;
		}
	}
	if (life->pulled && (life->call_result == -ENOENT || life->call_result == -EPROTO)) {
		life_call(life, life_start_degraded);
		(void)life_wait(life, "pool_open_degraded");
	}
	if (life->pulled && explorer->profile->before &&
	    strstr(life->call.err.text, "were under way")) {
		/* what has one copy there is in a region that was hot: that is refused */
		life_plug(life);
		life_call(life, life_start_open);
		(void)life_wait(life, "pool_open");
	}
	if (life->call_result != 0)
		violation("pool_open after a crash: %s (%s) (depth %u)", life->call.err.text,
			  strerror(-life->call_result), life->depth);
	if (sim_complaint(life->sim))
		violation("%s", sim_complaint(life->sim));
	life->pool = life->call.pool;
	explorer->recovery_ios = sim_io_count(life->sim) - base + 1;
	note_replay(explorer, life);
}

/* Working */

static void work(struct explorer *explorer, struct life *life, unsigned operations,
		 unsigned ios_between, unsigned states)
{
	uint64_t base = sim_io_count(life->sim), next = UINT64_MAX, ios = 0, idle = 0;

	if (ios_between)
		next = base + rng_range(&life->rng, 1, ios_between * 2);
	for (;;) {
		bool more = life->operations < operations && !enough(explorer);
		uint64_t fua = sim_fua_count(life->sim);
		unsigned deletions = life->deletions;

		if (!more && life_quiet(life))
			break;
		if (sim_io_count(life->sim) != ios || more) {
			ios = sim_io_count(life->sim);
			idle = 0;
		} else if (++idle > 4000000) {
			violation("requests never end (depth %u)", life->depth);
		}
		life_work(life, more);
		if (ios_between && sim_fua_count(life->sim) != fua && rng_one_in(&life->rng, 6))
			/* a root has just become durable: now or soon is an interesting moment */
			next = sim_io_count(life->sim) + rng_below(&life->rng, 16);
		if (ios_between && life->profile->after_deletions && life->deletions != deletions)
			next = sim_io_count(life->sim) + rng_range(&life->rng, 10, 60);
		if (ios_between && life->profile->calm && life->calm_step == CALM_REST &&
		    rng_one_in(&life->rng, 60))
			next = 0;
		if (sim_io_count(life->sim) < next)
			continue;
		if (life->profile->subject->only_data && !life->handles[0])
			continue; /* a toy always has its volume */
		struct model *crashed = model_crash(life->model);

		explore_crash(explorer, life->sim, crashed, states, life->depth + 1);
		if (!life->profile->subject->only_data)
			explore_kill(explorer, life, crashed);
		model_destroy(crashed);
		next = sim_io_count(life->sim) + rng_range(&life->rng, 1, ios_between * 2);
	}
	explorer->counts->operations += life->operations;
	explorer->counts->ios += sim_io_count(life->sim) - base;
	explorer->counts->failures += life->failures;
}

/* All copies of the newest root rot. When the crash left one more copy of that side, its root is
 * older and the newest had not been finished: the pool opens as after any crash. Else it is
 * refused, and asked to go back to the root before; that one is there, opens unless the journal
 * has been written over since (then the pool says so), and all that was durable is in it.
 * Volumes made, deleted, resized or renamed with the lost root are a matter of that root. */
static uint64_t newest_generation(struct sim *sim, const struct profile *profile, bool rot)
{
	uint64_t newest = 0;

	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < life_devices(profile) * 4; i++) {
			const char *path = life_device_paths[i / 4];
			uint64_t at = superblock_position(sim_disk_size(sim, path), i % 4);
			static uint8_t block[4096];
			struct superblock sb;

			sim_disk_peek(sim, path, at, block, sizeof(block));
			if (superblock_decode(block, &sb, NULL) != 0)
				continue;
			if (pass == 0 && sb.generation > newest)
				newest = sb.generation;
			else if (pass == 1 && rot && sb.generation == newest)
				sim_disk_rot(sim, path, at + 64);
		}
	}
	return newest;
}

static void look_at_rewound(struct explorer *explorer, struct life *life, bool asked)
{
	life->pool = life->call.pool;
	life->rewound = true;
	if (life_volumes_fit(life)) {
		life_match_volumes(life);
		look(life, NULL, rng_one_in(&life->rng, 4));
		life_snapshots_look(life, rng_one_in(&life->rng, 4));
	} else if (!asked) {
		violation("an older root was opened without being asked for (depth %u)",
			  life->depth);
	} else { /* managed since: what a root says about volumes is in no journal */
		explorer->counts->refusals++;
	}
	check(explorer, life, false);
	close_pool(life);
}

static void visit_rewound(struct explorer *explorer, struct sim *sim, const struct sim_plan *plan,
			  const struct model *crashed, unsigned depth)
{
	struct sim *after = sim_crash(sim, plan);
	uint64_t newest = newest_generation(after, explorer->profile, true);
	bool refused;
	struct life *life;

	explorer->counts->states++;
	explorer->counts->rewinds++;
	if (newest_generation(after, explorer->profile, false) + 1 != newest)
		violation("there is no root before generation %llu (depth %u)",
			  (unsigned long long)newest, depth);
	sim_enter(after);
	life = life_new(after, explorer->profile, model_copy(crashed), depth);
	life_call(life, life_start_open);
	refused = life_wait(life, "pool_open of the older root") != 0;
	/* a device that was pulled or removed since may look as if there had been no newer one;
	 * then the journal shows that there was, and that going back is no use */
	if (refused && !strstr(life->call.err.text, "rewind") &&
	    !((explorer->profile->pulls || explorer->profile->disks) &&
	      strstr(life->call.err.text, "moved on")))
		violation("pool_open of the older root: %s (depth %u)", life->call.err.text, depth);
	if (refused)
		life_call(life, life_start_rewind);
	if (life_wait(life, "pool_rewind") == 0)
		look_at_rewound(explorer, life, refused);
	else if (strstr(life->call.err.text, "moved on"))
		explorer->counts->refusals++;
	else
		violation("pool_rewind: %s (depth %u)", life->call.err.text, depth);
	life_free(life);
	sim_leave(after);
	sim_destroy(after);
}

/* Work after a recovery, and crash again. Without a checkpoint first and with one FUA write after
 * the other, what the last crash and its recovery left is still about. */
static void live_on(struct explorer *explorer, struct life *life, struct rng *rng)
{
	bool deeper = life->depth < DEPTH_MAX && rng_one_in(rng, 2) && !enough(explorer);

	life->single = deeper && rng_one_in(rng, 2);
	if (life->single) {
		explorer->rewinds = 2;
		work(explorer, life, 4, 3, 3);
		explorer->rewinds = explorer->profile->rewinds;
		return;
	}
	check(explorer, life, rng_one_in(rng, 12));
	if (explorer->profile->before_at && rng_one_in(rng, 2))
		life_before_forget(life);
	work(explorer, life, (unsigned)rng_range(rng, 5, 150), deeper ? 80 : 0, 4);
	look(life, NULL, false);
	check(explorer, life, false);
}

/* May the pool be opened without the device that comes and goes? Not before it has had a mirrored
 * volume, nor when that is the first and has the journal alone, nor when it may have both copies of
 * a node, or the other one's copies do not count, by the newest root there is without it. */
static bool may_be_missing(const struct explorer *explorer, struct sim *sim, unsigned victim)
{
	unsigned other = victim ^ 1;
	struct superblock newest = life_newest_on(explorer->profile, sim, other);

	return newest.version >= FORMAT_MIRRORS && !(newest.pv[other].flags & PV_STALE) &&
	       !(newest.pv[victim].flags & PV_PINNED) && (victim || newest.journal_row);
}

/* One crash state: recover it, look at it, sometimes live on in it. */
static void visit(struct explorer *explorer, struct sim *sim, const struct sim_plan *plan,
		  const struct model *crashed, unsigned depth)
{
	struct sim *after = sim_crash(sim, plan);
	struct rng *rng = sim_rng(after);
	uint64_t crash_at = 0;
	struct life *life;

	explorer->counts->states++;
	explorer->counts->deep_states += depth > 1;
	sim_enter(after);
	life = life_new(after, explorer->profile, model_copy(crashed), depth);
	if (depth < DEPTH_MAX && rng_one_in(rng, 5) && !enough(explorer))
		crash_at = rng_range(rng, 1, explorer->recovery_ios + 1);
	if (explorer->profile->pulls && rng_one_in(rng, 6) &&
	    may_be_missing(explorer, after, life->model->victim))
		life_pull(life); /* it does not come back with the power */
	recover(explorer, life, crashed, crash_at);
	life_match_volumes(life);
	look(life, crashed, rng_one_in(rng, 24));
	if (explorer->profile->snapshots)
		life_snapshots_look(life, rng_one_in(rng, 8));
	if (rng_one_in(rng, 10))
		live_on(explorer, life, rng);
	else
		check(explorer, life, rng_one_in(rng, 12));
	close_pool(life);
	life_free(life);
	sim_leave(after);
	sim_destroy(after);
}

/* Plans */

static void plan_subset(uint8_t *fates, unsigned count, uint64_t subset)
{
	for (unsigned i = 0; i < count; i++)
		fates[i] = subset >> i & 1 ? SIM_KEEP : SIM_DROP;
}

/* The @number-th plan beyond the exhaustive ones: none, all, prefixes, all but one, one alone,
 * and random subsets, in turn. */
static void plan_sample(struct rng *rng, uint8_t *fates, unsigned count, unsigned number)
{
	unsigned pick = count ? (unsigned)rng_below(rng, count) : 0;
	unsigned odds = (unsigned)(const unsigned[]){10, 50, 90}[rng_below(rng, 3)];

	for (unsigned i = 0; i < count; i++) {
		bool keep = rng_below(rng, 100) < odds;

		if (number == 0)
			keep = false;
		else if (number == 1)
			keep = true;
		else if (number % 5 == 2)
			keep = i < pick;
		else if (number % 5 == 3)
			keep = i != pick;
		else if (number % 5 == 4)
			keep = i == pick;
		fates[i] = keep ? SIM_KEEP : SIM_DROP;
	}
}

static bool plan_tear(struct rng *rng, uint8_t *fates, unsigned count)
{
	bool torn = false;

	for (unsigned i = 0; i < count; i++) {
		if (fates[i] == SIM_KEEP && rng_one_in(rng, count < 4 ? 2 : count / 2)) {
			fates[i] = SIM_TEAR;
			torn = true;
		}
	}
	return torn;
}

static void visit_plan(struct explorer *explorer, struct sim *sim, const uint8_t *fates,
		       unsigned count, const struct model *crashed, unsigned depth, struct rng *rng)
{
	struct sim_plan plan = {.fates = fates, .count = count, .seed = rng_next(rng)};

	visit(explorer, sim, &plan, crashed, depth);
	if (!explorer->profile->subject->only_data && rng_one_in(rng, explorer->rewinds))
		visit_rewound(explorer, sim, &plan, crashed, depth);
}

static bool worth_all(const struct explorer *explorer, struct rng *rng, unsigned count,
		      unsigned states)
{
	if (count > 12)
		return false;
	if (1u << count <= states)
		return true;
	return count <= explorer->limits->exhaustive && rng_one_in(rng, 12);
}

/* The process alone has ended: what it has acknowledged is there. After a flush by its successor
 * that is durable, which hosts count on: none of them knows that it was another's. @crashed: what
 * a power cut in the middle of the recovery may leave. */
static void visit_killed(struct explorer *explorer, struct sim *sim, const struct sim_plan *plan,
			 const struct model *killed, const struct model *crashed, unsigned depth)
{
	struct sim *after = sim_crash(sim, plan);
	struct rng *rng = sim_rng(after);
	uint64_t ios = explorer->recovery_ios, crash_at = 0;
	struct life *life;

	explorer->counts->kills++;
	sim_enter(after);
	life = life_new(after, explorer->profile, model_copy(killed), depth);
	if (depth < DEPTH_MAX && rng_one_in(rng, 3))
		crash_at = rng_range(rng, 1, ios + 1);
	recover(explorer, life, crashed, crash_at);
	life_match_volumes(life);
	look(life, killed, rng_one_in(rng, 8));
	if (explorer->profile->snapshots)
		life_snapshots_look(life, rng_one_in(rng, 8));
	for (unsigned i = 0; i < MODEL_VOLUMES; i++)
		if (life->handles[i])
			life_flush(life, i);
	if (depth < DEPTH_MAX && !life->pulled) {
		struct model *flushed = model_crash(life->model);

		explore_crash(explorer, after, flushed, 2, depth + 1);
		model_destroy(flushed);
	}
	check(explorer, life, rng_one_in(rng, 12));
	close_pool(life);
	life_free(life);
	sim_leave(after);
	sim_destroy(after);
	explorer->recovery_ios = ios;
}

static void explore_kill(struct explorer *explorer, struct life *life, const struct model *crashed)
{
	unsigned count = sim_outstanding(life->sim);
	/* of its own, so that it takes nothing from what else there is to a run */
	struct rng rng = {rng_mix(life->profile->seed ^ sim_io_count(life->sim) << 20)};
	/* a device that lost its cache a moment ago, and looks whole to who comes next: no more
	 * than what was flushed is sure */
	struct model *killed =
	    life_lost_unseen(life) ? model_crash(life->model) : model_kill(life->model);
	struct sim_plan plan = {.count = count, .seed = rng_next(&rng), .killed = true};
	uint8_t *fates = malloc(count + 1);

	assert(fates);
	/* what is in flight happens or not: no kernel leaves a request half done for that */
	plan_sample(&rng, fates, count, (unsigned)rng_below(&rng, 1000));
	plan.fates = fates;
	visit_killed(explorer, life->sim, &plan, killed, crashed, life->depth + 1);
	model_destroy(killed);
	free(fates);
}

static void explore_crash(struct explorer *explorer, struct sim *sim, const struct model *crashed,
			  unsigned states, unsigned depth)
{
	unsigned count = sim_outstanding(sim);
	uint8_t *fates = malloc(count + 1);
	struct rng rng = {rng_next(sim_rng(sim))};
	bool all = worth_all(explorer, &rng, count, states);

	assert(fates);
	explorer->counts->crashes++;
	explorer->counts->exhaustive_crashes += all;
	if (count > explorer->counts->outstanding_max)
		explorer->counts->outstanding_max = count;
	for (uint64_t subset = 0; all && subset < 1u << count; subset++) {
		plan_subset(fates, count, subset);
		visit_plan(explorer, sim, fates, count, crashed, depth, &rng);
	}
	/* Small sets once more with tears; large ones sampled, a third of them torn. */
	for (unsigned i = 0; count > 0 && i < (all ? states / 2 : states); i++) {
		plan_sample(&rng, fates, count, all ? (unsigned)rng_below(&rng, 1000) + 1 : i);
		if (all || rng_one_in(&rng, 3))
			explorer->counts->torn += plan_tear(&rng, fates, count);
		visit_plan(explorer, sim, fates, count, crashed, depth, &rng);
	}
	free(fates);
}

/* Runs */

static struct life *first_life(const struct profile *profile, struct sim *sim)
{
	struct life *life = life_new(sim, profile, model_create(), 0);

	life_call(life, life_start_create);
	if (life_wait(life, "pool_create") != 0)
		violation("pool_create: %s", life->call.err.text);
	life->pool = life->call.pool;
	life->model->victim = profile->victim;
	if (!profile->grows)
		return life;
	life_before_make(life);
	life_call(life, life_start_grow);
	if (life_wait(life, "pool_add") != 0)
		violation("pool_add: %s", life->call.err.text);
	return life;
}

static void disks_create(const struct profile *profile, struct sim *sim)
{
	for (unsigned i = 0; i < life_devices(profile); i++) {
		sim_disk_create(sim, life_device_paths[i], profile->device_size);
		sim_disk_set_cache(sim, life_device_paths[i], profile->volatile_cache);
	}
	sim_set_slow_fua(sim, profile->slow_fua);
	sim_set_slow_writes(sim, profile->slow_writes);
}

static void start_delete(struct life *life)
{
	volume_delete(life->handles[life->manage_volume], &life->call);
}

/* Without volumes there is no used space: what is still used was leaked. */
static void reclaim(struct explorer *explorer, struct life *life)
{
	struct pool_info info;

	if (life->profile->subject->only_data)
		return;
	life_before_delete(life);
	for (unsigned i = 0; i < 2 * MODEL_VOLUMES * MODEL_VOLUMES; i++) {
		unsigned volume = i % MODEL_VOLUMES;

		if (volume == 0) /* what a clone stands on goes after it */
			life_snapshots_delete(life);
		if (!life->handles[volume] || life_has_snapshots(life, volume))
			continue;
		life->manage_volume = (int)volume;
		life_call(life, start_delete);
		if (life_wait(life, "volume_delete") != 0)
			violation("volume_delete: %s", life->call.err.text);
		life->handles[volume] = NULL;
		model_volume_deleted(life->model, volume, 0);
	}
	life->manage_volume = -1;
	pool_get_info(life->pool, &info);
	for (unsigned steps = 0; steps < 200000 && info.used_bytes > 0; steps++) {
		sim_step(life->sim);
		pool_get_info(life->pool, &info);
	}
	if (info.used_bytes > 0 || info.volume_count > 0)
		violation("all volumes are deleted, but %llu bytes are used, %u volumes counted",
			  (unsigned long long)info.used_bytes, info.volume_count);
	check(explorer, life, false);
}

/* Open once more what was closed clean: everything must be as it was. */
static void reopen_clean(struct explorer *explorer, struct life *life)
{
	recover(explorer, life, NULL, 0);
	life_match_volumes(life);
	look(life, NULL, true);
	life_snapshots_look(life, true);
	check(explorer, life, true);
	reclaim(explorer, life);
	close_pool(life);
}

void explore_run(const struct profile *profile, const struct explore_limits *limits,
		 struct explore_counts *counts)
{
	struct explorer explorer = {.profile = profile,
				    .limits = limits,
				    .counts = counts,
				    .states_at_start = counts->states,
				    .rewinds = profile->rewinds,
				    .recovery_ios = 20};
	struct sim *sim = sim_create(profile->seed);
	struct life *life;

	if (profile->pulls) /* that a device is gone is an error, and told each time */
		log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1));
	sim_enter(sim);
	disks_create(profile, sim);
	life = first_life(profile, sim);
	work(&explorer, life, profile->operations, profile->ios_between, limits->states_per_crash);
	look(life, NULL, true);
	check(&explorer, life, true);
	close_pool(life);
	reopen_clean(&explorer, life);
	life_free(life);
	sim_leave(sim);
	sim_destroy(sim);
}

/* Faults */

/* Volumes first: a fault is for what comes after. */
static void work_until_furnished(struct life *life)
{
	unsigned here = 0;

	for (uint64_t steps = 0; here < life->profile->volumes || !life_quiet(life); steps++) {
		if (steps > 1000000)
			violation("the volumes were never made");
		here = 0;
		for (unsigned i = 0; i < MODEL_VOLUMES; i++)
			here += life->handles[i] != NULL;
		life_work(life, here < life->profile->volumes);
	}
}

static void work_on(struct life *life, unsigned operations)
{
	uint64_t hung_since = 0, started = life->operations;

	while (life->operations < operations || !life_quiet(life)) {
		bool more = life->operations < operations;

		life_work(life, more);
		if (life->operations != started) {
			started = life->operations;
			hung_since = 0;
		}
		if (++hung_since % 5000 == 4999)
			sim_release_hung(life->sim);
		if (hung_since > 1000000)
			violation("requests never ended after a fault: %s", life_busy(life));
	}
}

static bool device_lied(struct sim *sim, enum sim_fault fault)
{
	enum disk_op op;

	if (!sim_fault_fired(sim, &op) || op == DISK_READ)
		return false;
	return fault == SIM_FAULT_LOST || fault == SIM_FAULT_FLIP || fault == SIM_FAULT_MISDIRECT;
}

/* The morning after: power is back, the fault is gone. */
static void reopen_after_fault(const struct profile *profile, struct life *before,
			       enum sim_fate fate, bool lied, struct explore_counts *counts)
{
	unsigned count = sim_outstanding(before->sim);
	uint8_t *fates = malloc(count + 1);
	struct explorer explorer = {
	    .profile = profile, .counts = counts, .rewinds = profile->rewinds};
	struct model *crashed = model_crash(before->model);
	struct sim *after;
	struct life *life;

	assert(fates);
	memset(fates, fate, count + 1);
	after = sim_crash(
	    before->sim, &(struct sim_plan){.fates = fates, .count = count, .seed = profile->seed});
	sim_enter(after);
	life = life_new(after, profile, model_copy(crashed), 1);
	life->device_lied = life->tolerate_faults = lied;
	counts->states++;
	life_call(life, life_start_open);
	if (life_wait(life, "pool_open") != 0) {
		counts->refusals++;
		if (!lied)
			violation("pool_open after a fault: %s", life->call.err.text);
	} else {
		struct pool_scrub_info info;

		life->pool = life->call.pool;
		/* A scrub that met the fault has counted it, and its count is kept. */
		pool_get_scrub(life->pool, &info);
		life->scrub_known = info.errors;
		life_match_volumes(life);
		look(life, lied ? NULL : crashed, true);
		life_snapshots_look(life, true);
		if (!lied)
			check(&explorer, life, true);
		close_pool(life);
	}
	life_free(life);
	sim_leave(after);
	sim_destroy(after);
	model_destroy(crashed);
	free(fates);
}

void explore_fault(const struct profile *profile, enum sim_fault fault,
		   struct explore_counts *counts)
{
	struct sim *sim = sim_create(profile->seed);
	struct rng rng = {rng_mix(profile->seed ^ 0x6661756c)};
	struct life *life;
	uint64_t base;
	bool lied;
	enum disk_op op;

	sim_enter(sim);
	disks_create(profile, sim);
	life = first_life(profile, sim);
	work_until_furnished(life);
	base = sim_io_count(sim);
	sim_fault_at(sim, base + rng_below(&rng, profile->operations * 2), fault);
	life->tolerate_faults = true;
	work_on(life, life->operations + profile->operations);
	counts->ios += sim_io_count(sim) - base;
	counts->operations += life->operations;
	counts->failures += life->failures;
	counts->faults += sim_fault_fired(sim, &op);
	look(life, NULL, false);
	lied = device_lied(sim, fault);
	reopen_after_fault(profile, life, SIM_KEEP, lied, counts);
	reopen_after_fault(profile, life, SIM_DROP, lied, counts);
	/* The pool may be past closing; the process ends here and takes it along. */
}
