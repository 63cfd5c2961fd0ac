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
#include "tests/sim/order_table.h"
#include "tests/sim/replica_campaign.h"

#define RUNS  400u
#define WHOLE 40u

static struct order_table lines;

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
			printf("# %s: seed %lu: %s\n", name ? name : "whole", seed + i, complaint);
			return 0;
		}
	}
	if (name)
		printf("# %s: not seen in %lu runs, asked for %lu times\n", name, runs,
		       mutation_hits());
	return 1;
}

/* 0: seen, 1: not seen, or what else the process ended with (a signal is no finding). */
static int hunt_apart(const char *name, unsigned long seed, unsigned long runs)
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
		return -1;
	if (WIFSIGNALED(status))
		printf("# %s: ended by signal %d\n", name ? name : "whole", WTERMSIG(status));
	return WIFSIGNALED(status) ? -1 : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	unsigned long seed = 1, runs = RUNS;
	unsigned count = 0;
	bool good, right;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--only") == 0)
			only = argv[i + 1];
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--runs") == 0)
			runs = strtoul(argv[i + 1], NULL, 0);
	}
	good = order_table_read(&lines, "replication/order.h") &&
	       order_table_agrees(&lines, "replication/*.c");
	printf("%s %u - replication/order.h and the sources name the same %u lines\n",
	       good ? "ok" : "not ok", ++count, lines.count);
	right = good;
	/* Or the catches mean nothing. */
	good = hunt_apart(NULL, seed, WHOLE) == 1;
	printf("%s %u - with every line in place %u runs are right\n", good ? "ok" : "not ok",
	       ++count, WHOLE);
	right &= good;
	for (unsigned i = 0; i < lines.count; i++) {
		const char *name = lines.names[i];

		if (only && strcmp(only, name) != 0)
			continue;
		good = hunt_apart(name, seed, runs) == 0;
		right &= good;
		printf("%s %u - without %s the image is wrong, and that is seen\n",
		       good ? "ok" : "not ok", ++count, name);
	}
	printf("1..%u\n", count);
	return right ? 0 : 1;
}
