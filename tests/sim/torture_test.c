/* SPDX-License-Identifier: Apache-2.0 */
/* torture_test: crash_test for as long as one likes, with seeds nobody has tried: 8 minutes when
 * nothing is said (TORTURE_MINUTES or --minutes M), --states N, --seed S. Every crash of up to
 * 12 outstanding writes is gone through exhaustively now and then.
 * granary-test: torture timeout=100000 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/campaign.h"

int main(int argc, char **argv)
{
	const char *minutes = getenv("TORTURE_MINUTES"), *states = getenv("TORTURE_STATES");
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct campaign campaign = {
	    .first_seed = (uint64_t)time(NULL) * 1000,
	    .runs_max = UINT64_MAX,
	    .states = states ? strtoull(states, NULL, 10) : UINT64_MAX,
	    .jobs = processors < 1   ? 1
		    : processors > 8 ? 8
				     : (unsigned)processors,
	    .seconds = minutes ? (unsigned)strtoul(minutes, NULL, 10) * 60 : 480,
	    .failures_max = 10,
	    .run_seconds = 3600,
	    .limits = {.states_per_crash = 60, .exhaustive = 12, .states_max = 20000},
	    .program = "build/tests/sim/torture_test",
	};

	int status = campaign_main(argc, argv, &campaign);

	puts("1..1");
	return status;
}
