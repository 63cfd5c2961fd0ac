/* SPDX-License-Identifier: Apache-2.0 */
/* share_test: random operations on a share over the simulated engine, against the memory file
 * system; with power losses. --seed S, --runs N, --operations N, --states N, --ios N, --each N,
 * --no-crashes.
 * granary-test: timeout=300 asan */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/share_life.h"

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise)
{
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return strtoull(argv[i + 1], NULL, 0);
	return otherwise;
}

static bool flag(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	bool quick = getenv("GRANARY_TEST_QUICK") != NULL;
	uint64_t seed = option(argc, argv, "--seed", 1);
	uint64_t runs = option(argc, argv, "--runs", quick ? 1 : 4);
	struct share_run crashing = {
	    .operations = (unsigned)option(argc, argv, "--operations", 1500),
	    .ios_between = (unsigned)option(argc, argv, "--ios", 60),
	    .states_per_crash = (unsigned)option(argc, argv, "--each", 3),
	    .states_max = option(argc, argv, "--states", quick ? 40 : 250),
	};
	struct share_run calm = {
	    .operations = (unsigned)option(argc, argv, "--operations", quick ? 1000 : 4000)};
	struct share_campaign with = {0}, without = {0};

	for (uint64_t i = 0; i < runs; i++) {
		crashing.seed = calm.seed = seed + i;
		if (!flag(argc, argv, "--no-crashes"))
			share_campaign_run(&with, &crashing);
		if (argc == 1 || flag(argc, argv, "--no-crashes"))
			share_campaign_run(&without, &calm);
	}
	share_campaign_show(1, &with, "power losses");
	share_campaign_show(2, &without, "without");
	puts("1..2");
	return with.failed || without.failed;
}
