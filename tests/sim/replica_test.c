/* SPDX-License-Identifier: Apache-2.0 */
/* granary-test: timeout=400 */
/* Two nodes, a network and their volumes in one thread: what is promoted is a prefix-closed cut
 * of what was written, and not older than what was acknowledged as sealed.
 *
 *	replica_test [--seed S] [--runs N] */
#include <stdio.h>
#include <time.h>

#include "core/log.h"
#include "tests/sim/options.h"
#include "tests/sim/replica_campaign.h"

#define RUNS 120u

int main(int argc, char **argv)
{
	uint64_t seed = number_after(argc, argv, "--seed", 1);
	uint64_t runs = number_after(argc, argv, "--runs", RUNS), bad = 0;
	time_t begun = time(NULL);
	unsigned long looks, losses;
	bool good, told;

	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(LOG_LEVEL_ERROR);
	for (uint64_t i = 0; i < runs && bad < 5; i++) {
		char complaint[400];

		if (!replica_run(seed + i, complaint)) {
			bad++;
			printf("# VIOLATION: %s\n# again: %s --seed %llu --runs 1\n", complaint,
			       argv[0], (unsigned long long)(seed + i));
		}
	}
	printf("# %llu runs in %ld s\n", (unsigned long long)runs, (long)(time(NULL) - begun));
	printf("%s 1 - the promoted image is a prefix-closed cut in %llu runs\n",
	       bad ? "not ok" : "ok", (unsigned long long)runs);
	/* Or the link was never compressed. One life may have nothing to compress. */
	good = replica_saved_bytes() > 0 || runs < 20;
	printf("%s 2 - some of them over a compressed link, which saved %llu bytes\n",
	       good ? "ok" : "not ok", (unsigned long long)replica_saved_bytes());
	looks = replica_lag_looks(&losses);
	told = losses > 0 || runs < 20;
	printf("%s 3 - %lu of %lu promoted nodes that knew what they lacked lost something: no "
	       "more than that\n1..3\n",
	       told ? "ok" : "not ok", losses, looks);
	return bad != 0 || !good || !told;
}
