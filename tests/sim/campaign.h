/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_CAMPAIGN_H
#define TESTS_SIM_CAMPAIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/explore.h"

/* Many runs, each in a process of its own: a violation, a failed assertion, a crash or a hang
 * ends that run alone and is reported with its seed. */
struct campaign {
	const struct subject *subject;
	enum sim_fault fault; /* with one: explore_fault() instead of crashes */
	uint64_t first_seed, runs_max, states;
	unsigned seconds;      /* stop starting runs after that; 0 = no limit */
	unsigned failures_max; /* stop after so many failed runs */
	unsigned run_seconds;  /* one run's limit */
	unsigned jobs;         /* runs side by side, 8 at most; 0 = 1 */
	struct explore_limits limits;
	const char *program; /* NULL = crash_test */
	const char *options; /* for the command that reproduces a failure */
	bool quiet;          /* failures are expected: do not show them */
	/* out */
	struct explore_counts counts;
	uint64_t runs, failed, failed_seed;
	unsigned seconds_taken;
	unsigned long mutation_hits;
};
void campaign_run(struct campaign *campaign);

/* The native engine. */
extern const struct subject native_subject;

/* campaign_main: options over the defaults in @campaign, run, point 1 of the TAP (the plan is
 * the caller's); the exit status. */
int campaign_main(int argc, char **argv, struct campaign *campaign);

#endif
