/* SPDX-License-Identifier: Apache-2.0 */
/* share_test: random operations on a share over the simulated engine, against the memory file
 * system; with power losses. --seed S, --runs N, --operations N, --states N, --no-crashes.
 * granary-test: timeout=300 asan */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/life.h"
#include "tests/sim/share_life.h"

struct totals {
	uint64_t runs, failed;
	struct share_run sum;
};

/* Each run in a process of its own. */
static void one(struct totals *totals, const struct share_run *options)
{
	struct share_run run = *options;
	int pipes[2], status = 1;
	pid_t child;

	fflush(stdout);
	if (pipe(pipes) < 0)
		exit(2);
	child = fork();
	if (child == 0) {
		snprintf(violation_command, sizeof(violation_command),
			 "build/tests/sim/share_test --seed %llu --runs 1 --operations %u --states "
			 "%llu%s",
			 (unsigned long long)run.seed, run.operations,
			 (unsigned long long)run.states_max,
			 run.ios_between ? "" : " --no-crashes");
		alarm(280);
		share_run(&run);
		_exit(write(pipes[1], &run, sizeof(run)) != sizeof(run));
	}
	close(pipes[1]);
	if (read(pipes[0], &run, sizeof(run)) == sizeof(run)) {
		totals->sum.states += run.states;
		totals->sum.crashes += run.crashes;
		totals->sum.done += run.done;
		totals->sum.failed_alike += run.failed_alike;
		totals->sum.deep_states += run.deep_states;
	}
	close(pipes[0]);
	if (waitpid(child, &status, 0) != child || status != 0) {
		totals->failed++;
		printf("# run with seed %llu failed (status %x)\n", (unsigned long long)run.seed,
		       (unsigned)status);
	}
	totals->runs++;
}

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

static void show(unsigned point, const struct totals *totals, const char *what)
{
	printf("%s %u - %s: %llu runs, %llu operations (%llu refused alike), %llu crashes, %llu "
	       "states (%llu in a recovery), %llu failed\n",
	       totals->failed ? "not ok" : "ok", point, what, (unsigned long long)totals->runs,
	       (unsigned long long)totals->sum.done, (unsigned long long)totals->sum.failed_alike,
	       (unsigned long long)totals->sum.crashes, (unsigned long long)totals->sum.states,
	       (unsigned long long)totals->sum.deep_states, (unsigned long long)totals->failed);
}

int main(int argc, char **argv)
{
	bool quick = getenv("GRANARY_TEST_QUICK") != NULL;
	uint64_t seed = option(argc, argv, "--seed", 1);
	uint64_t runs = option(argc, argv, "--runs", quick ? 1 : 6);
	struct share_run crashing = {
	    .operations = (unsigned)option(argc, argv, "--operations", 1500),
	    .ios_between = 60,
	    .states_per_crash = 3,
	    .states_max = option(argc, argv, "--states", quick ? 40 : 250),
	};
	struct share_run calm = {
	    .operations = (unsigned)option(argc, argv, "--operations", quick ? 1000 : 6000)};
	struct totals with = {0}, without = {0};

	for (uint64_t i = 0; i < runs; i++) {
		crashing.seed = calm.seed = seed + i;
		if (!flag(argc, argv, "--no-crashes"))
			one(&with, &crashing);
		if (argc == 1 || flag(argc, argv, "--no-crashes"))
			one(&without, &calm);
	}
	show(1, &with, "power losses");
	show(2, &without, "without");
	puts("1..2");
	return with.failed || without.failed;
}
