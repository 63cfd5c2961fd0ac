/* SPDX-License-Identifier: Apache-2.0 */
/* share_torture_test: share_test with fresh seeds, for TORTURE_MINUTES (60) or until ten million
 * operations have been compared.
 * granary-test: torture timeout=100000 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/sim/share_life.h"

int main(void)
{
	const char *minutes = getenv("TORTURE_MINUTES");
	time_t limit = time(NULL) + 60 * (minutes ? strtol(minutes, NULL, 10) : 60);
	struct share_campaign with = {0}, without = {0};
	uint64_t seed = (uint64_t)time(NULL) * 1000;

	while (time(NULL) < limit && with.sum.done + without.sum.done < 10000000) {
		struct share_run crashing = {.seed = ++seed,
					     .operations = 20000,
					     .ios_between = 80,
					     .states_per_crash = 6,
					     .states_max = 2000};
		struct share_run calm = {.seed = seed, .operations = 100000};

		share_campaign_run(&with, &crashing);
		share_campaign_run(&without, &calm);
	}
	share_campaign_show(1, &with, "power losses");
	share_campaign_show(2, &without, "without");
	puts("1..2");
	return with.failed || without.failed;
}
