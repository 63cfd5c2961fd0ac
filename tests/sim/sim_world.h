/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIM_WORLD_H
#define TESTS_SIM_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/disk.h"
#include "core/loop.h"
#include "core/world.h"
#include "tests/sim/rng.h"

/* The third world: virtual time, seeded random, simulated disks, no threads and no network.
 *
 *	struct sim *sim = sim_create(seed);
 *	sim_enter(sim);                          // world calls without a loop mean this one
 *	struct loop *loop = sim_loop(sim);       // as many as I/O loops are to be modelled
 *	pool_create(&world_sim, loop, ...);      // disk_open(DISK_CREATE) makes disks
 *	while (!done && sim_step(sim)) {}        // one loop_poll() of one loop each
 *	for each state: struct sim *after = sim_crash(sim, plan), sim_enter(after), ...
 *	sim_leave(after); sim_destroy(after);
 *
 * Worlds nest: a crash state is a world of its own whose disks start from its parent's durable
 * bytes plus those volatile writes the plan lets survive. The parent stands still meanwhile.
 * Same seed, same binary, same calls: same run. One thread. */

struct sim;
extern const struct world_ops world_sim;

struct sim *sim_create(uint64_t seed);
void sim_destroy(struct sim *sim); /* loops and disks closed first */
void sim_enter(struct sim *sim);   /* make it current, on top of the others */
void sim_leave(struct sim *sim);   /* must be the current one */

/* sim_loop: a loop in @sim, scheduled by sim_step(); destroy with loop_destroy(). */
struct loop *sim_loop(struct sim *sim);
/* sim_step: one round of one loop chosen by the seed; when no loop has anything to do, time
 * moves to the next completion or timer. False: nothing can happen any more. */
bool sim_step(struct sim *sim);
/* sim_until: step until *@flag; false when @max_steps or all events ran out first. */
bool sim_until(struct sim *sim, const bool *flag, uint64_t max_steps);
uint64_t sim_now(const struct sim *sim);       /* virtual ns */
uint64_t sim_io_count(const struct sim *sim);  /* requests submitted so far */
uint64_t sim_fua_count(const struct sim *sim); /* FUA writes finished so far */
/* One in @one_in FUA writes takes seconds (0: none). Inherited by crash states. */
void sim_set_slow_fua(struct sim *sim, unsigned one_in);
void sim_set_slow_writes(struct sim *sim, unsigned one_in);
unsigned sim_in_flight(const struct sim *sim); /* disk requests not handed back */
struct rng *sim_rng(struct sim *sim);

/* Disks. Closing a disk keeps its bytes: opening the path again finds them. */
void sim_disk_create(struct sim *sim, const char *path, uint64_t size);
/* Without a volatile cache every completed write is durable. Default: with one. */
void sim_disk_set_cache(struct sim *sim, const char *path, bool volatile_cache);
/* Whatever comes from now on takes @times as long as on a disk that nothing was said of. */
void sim_disk_set_slowness(struct sim *sim, const char *path, unsigned times);
uint64_t sim_disk_size(struct sim *sim, const char *path);
/* Medium rot: flip one bit of the byte at @offset, in cache and on the medium. */
void sim_disk_rot(struct sim *sim, const char *path, uint64_t offset);
void sim_disk_peek(struct sim *sim, const char *path, uint64_t offset, void *data, size_t length);

/* sim_disk_pull: the disk is gone: whatever is under way, or comes through a handle that is open,
 * fails with -EIO; what was only in its cache may be lost. It can not be opened before
 * sim_disk_plug(). Crash states have it plugged. */
void sim_disk_pull(struct sim *sim, const char *path);
void sim_disk_plug(struct sim *sim, const char *path);
/* sim_disk_renew: in the place of one that is pulled there is another of the same size, all zeros.
 * False: requests are still on their way. */
bool sim_disk_renew(struct sim *sim, const char *path);

/* What goes wrong with the I/O whose index (from 0, per world, in submission order) is given. */
enum sim_fault {
	SIM_FAULT_NONE,
	SIM_FAULT_EIO,       /* fails; a write or discard changed nothing */
	SIM_FAULT_ENOSPC,    /* fails; likewise */
	SIM_FAULT_SHORT,     /* fails with -EIO after a part of a write got through */
	SIM_FAULT_HANG,      /* no answer until sim_release_hung() */
	SIM_FAULT_MISDIRECT, /* goes to another place of the disk and reports success */
	SIM_FAULT_LOST,      /* a write or flush reports success and does nothing */
	SIM_FAULT_STALE,     /* a read returns what was durable, not what is in the cache */
	SIM_FAULT_FLIP,      /* one bit wrong: read: in the answer; write: on the medium */
	SIM_FAULT_COUNT
};
void sim_fault_at(struct sim *sim, uint64_t io_index, enum sim_fault fault);
/* From @io_index on each I/O of @op fails with -EIO. */
void sim_fault_from(struct sim *sim, uint64_t io_index, enum disk_op op);
/* sim_fault_fired: has a fault of sim_fault_at() met its I/O; what the I/O was. */
bool sim_fault_fired(const struct sim *sim, enum disk_op *ret_op);
void sim_release_hung(struct sim *sim);
const char *sim_fault_name(enum sim_fault fault);

/* Crashes. A plan has one fate per outstanding write (completed but not flushed, or in flight),
 * in submission order, sim_outstanding() of them. */
enum sim_fate { SIM_DROP, SIM_KEEP, SIM_TEAR };
struct sim_plan {
	const uint8_t *fates; /* enum sim_fate */
	unsigned count;
	uint64_t seed; /* tears, order of concurrent writes, the new world's seed */
	bool killed;   /* not the power, the process alone: what was completed is there, and in the
			* new world's cache what was in the old one's */
};
unsigned sim_outstanding(const struct sim *sim);
struct sim *sim_crash(struct sim *sim, const struct sim_plan *plan);

/* Rules every user of a disk keeps; breaking one is reported here (a sentence) once. NULL: none
 * was broken. A write's buffer changed in flight; misaligned request. */
const char *sim_complaint(const struct sim *sim);

#endif
