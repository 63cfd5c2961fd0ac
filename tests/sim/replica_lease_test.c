/* SPDX-License-Identifier: Apache-2.0 */
/* granary-test: timeout=600 asan=never */
/* Two nodes and a witness: whatever is cut, stalled or without power, at most one answers guests.
 *
 *	replica_lease_test [--seed S] [--runs N] */
#include <stdio.h>
#include <time.h>

#include "core/log.h"
#include "tests/sim/options.h"
#include "tests/sim/replica_lease.h"

#define RUNS 700u

int main(int argc, char **argv)
{
	uint64_t seed = number_after(argc, argv, "--seed", 1);
	uint64_t runs = number_after(argc, argv, "--runs", RUNS), bad = 0;
	struct replica_lease_tally tally = {0};
	time_t begun = time(NULL);
	bool good;

	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(LOG_LEVEL_ERROR);
	for (uint64_t i = 0; i < runs && bad < 5; i++) {
		char complaint[400];

		if (!replica_lease_run(seed + i, &tally, complaint)) {
			bad++;
			printf("# VIOLATION: %s\n# again: %s --seed %llu --runs 1\n", complaint,
			       argv[0], (unsigned long long)(seed + i));
		}
	}
	printf("# %llu runs in %ld s\n", (unsigned long long)runs, (long)(time(NULL) - begun));
	printf("%s 1 - one node answers at any moment, in %llu runs\n", bad ? "not ok" : "ok",
	       (unsigned long long)runs);
	/* Or the first point says little. */
	good = runs < 100 || (tally.taken > runs / 4 && tally.promised && tally.waited &&
			      tally.handed > runs / 50 && tally.late);
	printf("# taken %llu, on the promise alone %llu, waited %llu, handed over %llu, given back "
	       "late %llu\n",
	       (unsigned long long)tally.taken, (unsigned long long)tally.promised,
	       (unsigned long long)tally.waited, (unsigned long long)tally.handed,
	       (unsigned long long)tally.late);
	printf("%s 2 - leases were taken, and requests waited for them\n1..2\n",
	       good ? "ok" : "not ok");
	return bad != 0 || !good;
}
