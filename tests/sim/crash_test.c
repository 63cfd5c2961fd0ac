/* SPDX-License-Identifier: Apache-2.0 */
/* crash_test: the engine under simulated power loss, the quick round of "make test". Options and
 * how to look into a failure: tests/sim/README.md.
 * granary-test: timeout=900 exclusive asan */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/campaign.h"

/* A seed that is not a run is of no use to anybody who has to look into it. */
static bool same_twice(void)
{
	struct campaign campaign[2];

	for (unsigned i = 0; i < 2; i++) {
		campaign[i] = (struct campaign){
		    .subject = &native_subject,
		    .first_seed = 77,
		    .runs_max = 1,
		    .states = 1000,
		    .failures_max = 1,
		    .run_seconds = 120,
		    .limits = {.states_per_crash = 4, .exhaustive = 2, .states_max = 60},
		    .quiet = true,
		};
		campaign_run(&campaign[i]);
	}
	return memcmp(&campaign[0].counts, &campaign[1].counts, sizeof(campaign[0].counts)) == 0;
}

int main(int argc, char **argv)
{
	struct campaign campaign = {
	    .first_seed = 1,
	    .runs_max = UINT64_MAX,
	    .states = getenv("GRANARY_TEST_QUICK") ? 800 : 100000,
	    .failures_max = 3,
	    .run_seconds = 300,
	    .jobs = 2,
	    .limits = {.states_per_crash = 24, .exhaustive = 8, .states_max = 800},
	};

	bool right = campaign_main(argc, argv, &campaign) == 0, same = true;

	if (argc == 1) {
		same = same_twice();
		printf("%s 2 - a seed run twice is the same run\n", same ? "ok" : "not ok");
	}
	printf("1..%d\n", argc == 1 ? 2 : 1);
	return right && same ? 0 : 1;
}
