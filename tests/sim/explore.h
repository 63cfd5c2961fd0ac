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
	uint64_t operations, ios, checks, outstanding_max, torn, replayed, failures, faults;
};

/* explore_run: one run from its seed: create a pool, work, crash at chosen I/Os, end clean.
 * @counts is added to while it goes. */
void explore_run(const struct profile *profile, const struct explore_limits *limits,
		 struct explore_counts *counts);

/* explore_faults: one run in which I/O @index (0: drawn from the seed) meets @fault: reads are
 * right or fail, never wrong; the pool survives a reopen without the fault. */
void explore_faults(const struct profile *profile, enum sim_fault fault, uint64_t index,
		    struct explore_counts *counts);

#endif
