/* SPDX-License-Identifier: Apache-2.0 */
/* granary-test: timeout=400 asan=never */
/* Each ordering line of replication/order.h left out in turn: the two-node simulator has to see
 * the damage.
 *
 *	replica_mutation_test [--only NAME] [--seed S] [--runs N] [--short N]
 *
 * --short: with so many short lives (replica_short.c) in place of long ones; they see most of the
 * lines, not all. A seed that is carried, and a member that joins while epochs wait, are in
 * short lives alone; a witness in its own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "tests/sim/mutation.h"
#include "tests/sim/replica_campaign.h"
#include "tests/sim/replica_lease.h"

#define RUNS       400u
#define RUNS_WHOLE 40u
#define RUNS_SHORT 19000u
#define RUNS_LEASE 4000u

static struct mutation_table table;

enum { SEEN, NOT_SEEN, NEITHER };

static unsigned long short_runs;
static bool leases;

static bool life(uint64_t seed, char complaint[400])
{
	struct replica_lease_tally tally = {0};
	unsigned kind;
	bool met;

	if (leases)
		return replica_lease_run(seed, &tally, complaint);
	return short_runs ? replica_short_run(seed, &kind, &met, complaint)
			  : replica_run(seed, complaint);
}

/* @name: the line that is left out, "" for none. */
static int hunt(const char *name, unsigned long seed, unsigned long runs)
{
	char complaint[400];

	if (!mutation_disable(name[0] ? name : NULL)) {
		printf("# this is no mutation build\n");
		return NEITHER;
	}
	log_set_level(LOG_LEVEL_ERROR);
	for (unsigned long i = 0; i < runs; i++) {
		if (!life(seed + i, complaint)) {
			printf("# %s: seed %lu: %s\n", name, seed + i, complaint);
			return SEEN;
		}
	}
	if (name[0])
		printf("# %s: not seen in %lu runs, asked for %lu times\n", name, runs,
		       mutation_hits());
	return NOT_SEEN;
}

/* In a process of its own: a mutant may do anything. A failed assertion is damage seen; to be
 * killed for want of memory is not. */
static int hunt_apart(const char *name, unsigned long seed, unsigned long runs)
{
	int status = 0, signal;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		int result = hunt(name, seed, runs);

		fflush(stdout);
		_exit(result);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return NEITHER;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	signal = WTERMSIG(status);
	return signal == SIGABRT || signal == SIGSEGV || signal == SIGBUS ? SEEN : NEITHER;
}

/* What long lives meet too seldom. */
static bool is_of_short_lives(const char *name)
{
	return strncmp(name, "seed_", 5) == 0 || strcmp(name, "joining_member_comes_first") == 0;
}

static int hunt_line(const char *name, unsigned long seed, unsigned long runs)
{
	unsigned long before = short_runs;
	int result;

	if (is_of_short_lives(name) && !short_runs)
		short_runs = runs = RUNS_SHORT;
	leases = strncmp(name, "lease_", 6) == 0;
	result = hunt_apart(name, seed, leases ? RUNS_LEASE : runs);
	short_runs = before;
	leases = false;
	return result;
}

static unsigned count, bad;

static void point(bool good, const char *subject, const char *says)
{
	count++;
	bad += !good;
	printf("%s %u - %s: %s\n", good ? "ok" : "not ok", count, subject, says);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	unsigned long seed = 1, runs = RUNS;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--only") == 0)
			only = argv[i + 1];
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--runs") == 0)
			runs = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--short") == 0)
			runs = short_runs = strtoul(argv[i + 1], NULL, 0);
	}
	point(mutation_table_read(&table, "replication/order.h"), "replication/order.h",
	      "lists the ordering lines");
	point(mutation_table_agrees(&table, "replication/*.c"), "the sources",
	      "name the same lines as the table");
	/* Or the catches below mean nothing. */
	point(hunt_apart("", seed, RUNS_WHOLE) == NOT_SEEN, "with every line in place",
	      "nothing is wrong");
	for (unsigned i = 0; i < table.count; i++)
		if (!only || strcmp(only, table.name[i]) == 0)
			point(hunt_line(table.name[i], seed, runs) == SEEN, table.name[i],
			      "left out the image is wrong, and that is seen");
	printf("1..%u\n", count);
	return bad != 0;
}
