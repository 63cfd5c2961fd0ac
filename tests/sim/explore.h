/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_EXPLORE_H
#define TESTS_SIM_EXPLORE_H

#include "tests/sim/life.h"

/* Crashing, recovering and looking: for a world that stands still, make crash states of it; in
 * each open the pool, hold every byte that matters against the oracle, check the structures, go
 * on for a while, crash again. Any violation ends the process. */

struct explore_limits {
	unsigned states_per_crash; /* sampled states of one crash */
	unsigned exhaustive;       /* up to this many outstanding writes: every subset, sometimes */
	uint64_t states_max;       /* stop a run when this many were seen */
};

struct explore_counts {
	uint64_t states, crashes, exhaustive_crashes, recovery_states, deep_states;
	uint64_t operations, ios, checks, outstanding_max, torn, replayed;
	uint64_t rewinds, kills;
	uint64_t faults, failures, refusals; /* fired; operations that failed; opens refused */
};

/* explore_run: one run from its seed: create a pool, work, crash at chosen I/Os, end clean.
 * @counts is added to while it goes. */
void explore_run(const struct profile *profile, const struct explore_limits *limits,
		 struct explore_counts *counts);

/* explore_fault: one short run in which one I/O, drawn from the seed, meets @fault. While it
 * lasts reads are right or fail, never wrong. Then the power goes: the pool opens again and what
 * was acknowledged as durable is there, unless the device itself lied about a write or a flush:
 * then a clear refusal, an error or older data of the same place is all one may get. */
void explore_fault(const struct profile *profile, enum sim_fault fault,
		   struct explore_counts *counts);

#endif
