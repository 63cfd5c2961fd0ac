/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/life.h"
#include "tests/sim/share_life.h"

void share_campaign_run(struct share_campaign *totals, const struct share_run *options)
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
			 "%llu --ios %u --each %u%s",
			 (unsigned long long)run.seed, run.operations,
			 (unsigned long long)run.states_max, run.ios_between, run.states_per_crash,
			 run.ios_between ? "" : " --no-crashes");
		alarm(600);
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

void share_campaign_show(unsigned point, const struct share_campaign *totals, const char *what)
{
	printf("%s %u - %s: %llu runs, %llu operations (%llu refused alike), %llu crashes, %llu "
	       "states (%llu in a recovery), %llu failed\n",
	       totals->failed ? "not ok" : "ok", point, what, (unsigned long long)totals->runs,
	       (unsigned long long)totals->sum.done, (unsigned long long)totals->sum.failed_alike,
	       (unsigned long long)totals->sum.crashes, (unsigned long long)totals->sum.states,
	       (unsigned long long)totals->sum.deep_states, (unsigned long long)totals->failed);
}
