/* SPDX-License-Identifier: Apache-2.0 */
/* granary-test: timeout=600 asan=never */
/* Short lives of two nodes, each with one fault at one place (replica_short.c), and 1,000
 * failovers and failbacks of one group.
 *
 *	replica_quick_test [--seed S] [--runs N] [--cycles N] [--parts N] */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "tests/sim/options.h"
#include "tests/sim/replica_campaign.h"

#define RUNS      100000u
#define CYCLES    1000u
#define PARTS     2u
#define PARTS_MAX 64u
#define BAD_MAX   5u

/* What the parts found, each in its own. */
struct tally {
	uint64_t lives[REPLICA_SHORT_KINDS], met[REPLICA_SHORT_KINDS];
};

/* Every @parts-th block of seeds, so that each part has all kinds. */
static int part(uint64_t seed, uint64_t runs, unsigned which, unsigned parts, struct tally *tally)
{
	unsigned bad = 0;

	for (uint64_t i = 0; i < runs && bad < BAD_MAX; i++) {
		char complaint[400];
		unsigned kind;
		bool met;

		if (i / REPLICA_SHORT_KINDS % parts != which)
			continue;
		if (!replica_short_run(seed + i, &kind, &met, complaint)) {
			bad++;
			printf("# VIOLATION: %s: %s\n# again: replica_quick_test --seed %llu "
			       "--runs 1 --cycles 0\n",
			       replica_short_kind(kind), complaint, (unsigned long long)(seed + i));
		}
		tally->lives[kind]++;
		tally->met[kind] += met;
	}
	fflush(stdout);
	return bad ? 1 : 0;
}

static unsigned count, failed;

static void point(bool good, const char *says)
{
	failed += !good;
	printf("%s %u - %s\n", good ? "ok" : "not ok", ++count, says);
}

static void lives(uint64_t seed, uint64_t runs, unsigned parts, struct tally *tallies)
{
	pid_t children[PARTS_MAX];
	bool good = true;
	char says[120];

	fflush(stdout);
	for (unsigned i = 0; i < parts; i++) {
		children[i] = fork();
		if (children[i] == 0)
			_exit(part(seed, runs, i, parts, &tallies[i]));
	}
	for (unsigned i = 0; i < parts; i++) {
		int status;

		good &= children[i] > 0 && waitpid(children[i], &status, 0) == children[i] &&
			status == 0;
	}
	snprintf(says, sizeof says, "%llu short lives: a prefix-closed cut in each",
		 (unsigned long long)runs);
	point(good, says);
}

/* Or the lives say nothing. */
static void faults_were_met(const struct tally *tallies, unsigned parts)
{
	bool good = true;

	for (unsigned kind = 0; kind < REPLICA_SHORT_KINDS; kind++) {
		uint64_t all = 0, met = 0;

		for (unsigned i = 0; i < parts; i++) {
			all += tallies[i].lives[kind];
			met += tallies[i].met[kind];
		}
		printf("# %s: %llu lives, met in %llu\n", replica_short_kind(kind),
		       (unsigned long long)all, (unsigned long long)met);
		good &= met > all / 8;
	}
	point(good, "the faults were met");
}

int main(int argc, char **argv)
{
	uint64_t seed = number_after(argc, argv, "--seed", 0);
	uint64_t runs = number_after(argc, argv, "--runs", RUNS);
	uint64_t cycles = number_after(argc, argv, "--cycles", CYCLES);
	unsigned parts = (unsigned)number_after(argc, argv, "--parts", PARTS);
	size_t size = PARTS_MAX * sizeof(struct tally);
	struct tally *tallies =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	time_t begun = time(NULL);
	char complaint[400];

	if (tallies == MAP_FAILED || parts == 0 || parts > PARTS_MAX)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(LOG_LEVEL_ERROR);
	/* Each life takes and gives back the same few MiB. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	lives(seed, runs, parts, tallies);
	printf("# in %ld s\n", (long)(time(NULL) - begun));
	if (runs >= RUNS)
		faults_were_met(tallies, parts);
	if (cycles) {
		bool good = replica_cycles(seed, (unsigned)cycles, complaint);

		if (!good)
			printf("# VIOLATION: %s\n", complaint);
		point(good, "failed over and back, the images the same after each");
	}
	printf("# %llu cycles, in all %ld s\n1..%u\n", (unsigned long long)cycles,
	       (long)(time(NULL) - begun), count);
	return failed != 0;
}
