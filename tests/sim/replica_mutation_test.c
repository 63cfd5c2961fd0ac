/* SPDX-License-Identifier: Apache-2.0 */
/* granary-test: timeout=400 */
/* Each ordering line of replication/order.h left out in turn: the two-node simulator has to see
 * the damage.
 *
 *	replica_mutation_test [--only NAME] [--seed S] [--runs N] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "tests/sim/mutation.h"
#include "tests/sim/replica_campaign.h"

#define RUNS 400u

static const char *const names[] = {
    "overlapping_changes_take_turns",
    "unlogged_change_is_marked",
    "fall_back_marks_the_log",
    "seal_waits_for_flight",
    "sync_takes_before_it_reads",
    "cut_sync_is_marked_again",
    "ack_before_drop",
    "staging_flush_before_seal",
    "members_flush_before_applied",
    "apply_waits_for_seal",
};
#define COUNT (sizeof names / sizeof *names)

/* In a process of its own: a mutant may do anything. */
static int hunt(const char *name, unsigned long seed, unsigned long runs)
{
	char complaint[400];

	if (!mutation_disable(name)) {
		printf("# this is no mutation build\n");
		return 2;
	}
	log_set_level(LOG_LEVEL_ERROR);
	for (unsigned long i = 0; i < runs; i++) {
		if (!replica_run(seed + i, complaint)) {
			printf("# %s: seed %lu: %s\n", name, seed + i, complaint);
			return 0;
		}
	}
	printf("# %s: not seen in %lu runs, asked for %lu times\n", name, runs, mutation_hits());
	return 1;
}

static bool caught(const char *name, unsigned long seed, unsigned long runs)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		int result = hunt(name, seed, runs);

		fflush(stdout);
		_exit(result);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return false;
	return WIFSIGNALED(status) || WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	unsigned long seed = 1, runs = RUNS;
	unsigned count = 0, bad = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--only") == 0)
			only = argv[i + 1];
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--runs") == 0)
			runs = strtoul(argv[i + 1], NULL, 0);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		bool good;

		if (only && strcmp(only, names[i]) != 0)
			continue;
		good = caught(names[i], seed, runs);
		bad += !good;
		printf("%s %u - without %s the image is wrong, and that is seen\n",
		       good ? "ok" : "not ok", ++count, names[i]);
	}
	printf("1..%u\n", count);
	return bad != 0;
}
