/* SPDX-License-Identifier: Apache-2.0 */
/* fault_test: one I/O of a run goes wrong, at any index, in each way the simulator knows. What is
 * asked: explore_fault() in explore.h.
 * granary-test: timeout=600 asan */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/campaign.h"

static bool try_fault(unsigned number, enum sim_fault fault, uint64_t runs)
{
	char repeat[40];
	struct campaign campaign = {
	    .subject = &native_subject,
	    .fault = fault,
	    .first_seed = 1,
	    .runs_max = runs,
	    .states = UINT64_MAX,
	    .failures_max = 3,
	    .run_seconds = 200, /* one that writes on until the fault is met takes its time */
	    .options = repeat,
	};
	bool right;

	snprintf(repeat, sizeof(repeat), " --fault %d", (int)fault);
	campaign_run(&campaign);
	right = campaign.failed == 0 && campaign.counts.faults > 0;
	printf("%s %u - fault %s: met %llu times in %llu runs, %llu operations failed, %llu opens "
	       "refused, %llu runs with violations\n",
	       right ? "ok" : "not ok", number, sim_fault_name(fault),
	       (unsigned long long)campaign.counts.faults, (unsigned long long)campaign.runs,
	       (unsigned long long)campaign.counts.failures,
	       (unsigned long long)campaign.counts.refusals, (unsigned long long)campaign.failed);
	return right;
}

int main(void)
{
	uint64_t runs = getenv("GRANARY_TEST_QUICK") ? 4 : 100;
	bool right = true;
	unsigned number = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (enum sim_fault fault = SIM_FAULT_EIO; fault < SIM_FAULT_COUNT; fault++)
		right &= try_fault(++number, fault, runs);
	printf("1..%u\n", number);
	return right ? 0 : 1;
}
