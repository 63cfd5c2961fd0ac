/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/campaign.h"

#include <assert.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "tests/sim/mutation.h"
#include "tests/sim/toy.h"

#define JOBS_MAX 8

struct shared {
	struct explore_counts counts;
	unsigned long mutation_hits;
};

/* Last words of a run that dies of an assertion, a bad pointer or its time limit. */
static void dying(int signal_number)
{
	static const char word[] = "# the run died; again: ";

	if (write(STDERR_FILENO, word, sizeof(word) - 1) < 0 ||
	    write(STDERR_FILENO, violation_command, strlen(violation_command)) < 0 ||
	    write(STDERR_FILENO, "\n", 1) < 0)
		_exit(2);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* Short runs, and no management: what a failed one leaves is not the question here. */
static void fault_run(struct profile *profile, enum sim_fault fault, struct explore_counts *counts)
{
	profile->operations = 250;
	profile->manage = 0;
	if (profile->volume_size > 8 << 20)
		profile->volume_size = 8 << 20;
	profile->full = false;
	profile->mirror_all = profile->mirror; /* a fault is then in one copy at most */
	if (profile->checksum == VOLUME_CHECKSUM_OFF || profile->checksum == CHECKSUM_MIXED)
		profile->checksum =
		    VOLUME_CHECKSUM_STRICT; /* without checksums a lie is believed */
	explore_fault(profile, fault, counts);
}

static void run_child(struct campaign *campaign, uint64_t seed, struct shared *shared)
{
	struct profile profile;

	snprintf(violation_command, sizeof(violation_command), "%s --seed %llu --runs 1%s",
		 campaign->program ? campaign->program : "build/tests/sim/crash_test",
		 (unsigned long long)seed, campaign->options ? campaign->options : "");
	signal(SIGABRT, dying);
	signal(SIGSEGV, dying);
	signal(SIGBUS, dying);
	signal(SIGPROF, dying);
	signal(SIGALRM, dying);
	/* By the processor's clock: on a busy machine a run is slow, and no mutant is caught by
	 * that. One that only waits is ended as well. */
	setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = campaign->run_seconds}, NULL);
	alarm(10 * campaign->run_seconds);
	/* What is given back is wanted again in the next state: not by way of the kernel. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	if (campaign->quiet && !freopen("/dev/null", "w", stderr))
		_exit(2);
	log_set_level(LOG_LEVEL_ERROR);
	profile_draw(&profile, seed, campaign->subject);
	if (campaign->fault != SIM_FAULT_NONE)
		fault_run(&profile, campaign->fault, &shared->counts);
	else
		explore_run(&profile, &campaign->limits, &shared->counts);
	shared->mutation_hits += mutation_hits();
	fflush(NULL);
	_exit(0);
}

/* A run under way; what it counts is in a page of its own, for runs side by side. */
struct worker {
	pid_t child; /* 0: none */
	uint64_t seed;
};

static void run_start(struct campaign *campaign, struct worker *worker, struct shared *shared)
{
	worker->seed = campaign->first_seed + campaign->runs++;
	fflush(NULL);
	worker->child = fork();
	assert(worker->child >= 0);
	if (worker->child == 0)
		run_child(campaign, worker->seed, shared);
}

/* Waits for any of the runs; the lowest seed that failed is the one to tell. */
static void run_end(struct campaign *campaign, struct worker *workers)
{
	int status;
	pid_t child = wait(&status);

	assert(child > 0);
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		if (workers[i].child != child)
			continue;
		workers[i].child = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			return;
		if (campaign->failed++ == 0 || workers[i].seed < campaign->failed_seed)
			campaign->failed_seed = workers[i].seed;
	}
}

/* All members are sums of 64 bits but one. */
static void add_up(const struct shared *shared, struct shared *ret_sum)
{
	*ret_sum = (struct shared){0};
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		const uint64_t *from = (const uint64_t *)&shared[i].counts;
		uint64_t *to = (uint64_t *)&ret_sum->counts;
		uint64_t most = ret_sum->counts.outstanding_max;

		for (size_t word = 0; word < sizeof(shared->counts) / sizeof(uint64_t); word++)
			to[word] += from[word];
		if (most < shared[i].counts.outstanding_max)
			most = shared[i].counts.outstanding_max;
		ret_sum->counts.outstanding_max = most;
		ret_sum->mutation_hits += shared[i].mutation_hits;
	}
}

static unsigned seconds_since(time_t start)
{
	return (unsigned)(time(NULL) - start);
}

static bool goes_on(const struct campaign *campaign, const struct shared *shared, time_t start)
{
	struct shared sum;

	add_up(shared, &sum);
	return campaign->runs < campaign->runs_max && sum.counts.states < campaign->states &&
	       campaign->failed < campaign->failures_max &&
	       (!campaign->seconds || seconds_since(start) < campaign->seconds);
}

void campaign_run(struct campaign *campaign)
{
	size_t size = JOBS_MAX * sizeof(struct shared);
	struct shared *shared =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct worker workers[JOBS_MAX] = {0};
	unsigned jobs = campaign->jobs ? campaign->jobs : 1, running = 0;
	time_t start = time(NULL);
	struct shared sum;

	assert(shared != MAP_FAILED && jobs <= JOBS_MAX);
	for (;;) {
		for (unsigned i = 0; i < jobs; i++)
			if (!workers[i].child && goes_on(campaign, shared, start)) {
				run_start(campaign, &workers[i], &shared[i]);
				running++;
			}
		if (!running)
			break;
		run_end(campaign, workers);
		running--;
	}
	add_up(shared, &sum);
	campaign->seconds_taken = seconds_since(start);
	campaign->counts = sum.counts;
	campaign->mutation_hits = sum.mutation_hits;
	munmap(shared, size);
}

/* The command line and the report of crash_test and torture_test */

const struct subject native_subject = {"native", pool_create, pool_open, false, pool_rewind};

static void usage(void)
{
	fputs("options: [--seed S] [--runs N] [--states N] [--minutes M] [--per-crash N]\n"
	      "         [--exhaustive N] [--failures N] [--mutant NAME] [--toy BUG]\n"
	      "Runs from seed S on, until N runs, N crash states, M minutes or N failed runs.\n",
	      stderr);
	exit(2);
}

static const struct option options[] = {{"seed", required_argument, NULL, 's'},
					{"runs", required_argument, NULL, 'r'},
					{"states", required_argument, NULL, 'n'},
					{"minutes", required_argument, NULL, 'm'},
					{"per-crash", required_argument, NULL, 'c'},
					{"exhaustive", required_argument, NULL, 'e'},
					{"failures", required_argument, NULL, 'f'},
					{"mutant", required_argument, NULL, 'u'},
					{"toy", required_argument, NULL, 't'},
					{"seconds", required_argument, NULL, 'x'},
					{"run-states", required_argument, NULL, 'p'},
					{"fault", required_argument, NULL, 'a'},
					{0}};

static char repeat[200]; /* options that belong to a reproduction */

static void remember(const char *name, const char *value)
{
	size_t used = strlen(repeat);

	snprintf(repeat + used, sizeof(repeat) - used, " --%s %s", name, value);
}

static void disable(const char *name)
{
	if (!mutation_disable(name)) {
		fputs("crash_test: --mutant needs a build with MUTATION=1\n", stderr);
		exit(2);
	}
	remember("mutant", name);
}

static void parse(int argc, char **argv, struct campaign *campaign)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 's':
			campaign->first_seed = number;
			break;
		case 'r':
			campaign->runs_max = number;
			break;
		case 'n':
			campaign->states = number;
			break;
		case 'm':
			campaign->seconds = (unsigned)number * 60;
			campaign->states = UINT64_MAX;
			break;
		case 'x':
			campaign->seconds = (unsigned)number;
			break;
		case 'c':
			campaign->limits.states_per_crash = (unsigned)number;
			remember("per-crash", optarg);
			break;
		case 'e':
			campaign->limits.exhaustive = (unsigned)number;
			remember("exhaustive", optarg);
			break;
		case 'p':
			campaign->limits.states_max = number;
			remember("run-states", optarg);
			break;
		case 'f':
			campaign->failures_max = (unsigned)number;
			break;
		case 'a':
			campaign->fault = (enum sim_fault)(number % SIM_FAULT_COUNT);
			remember("fault", optarg);
			break;
		case 'u':
			disable(optarg);
			break;
		case 't':
			campaign->subject = toy_subject((enum toy_bug)number);
			remember("toy", optarg);
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
}

static void report(const struct campaign *campaign)
{
	const struct explore_counts *counts = &campaign->counts;

	printf("# %llu crash states of %llu crashes in %llu runs, %u s; seeds %llu..%llu\n",
	       (unsigned long long)counts->states, (unsigned long long)counts->crashes,
	       (unsigned long long)campaign->runs, campaign->seconds_taken,
	       (unsigned long long)campaign->first_seed,
	       (unsigned long long)(campaign->first_seed + campaign->runs - 1));
	printf("# %llu of them crashed during recovery, %llu at a second or third crash, %llu "
	       "torn; %llu crashes exhaustively, up to %llu writes outstanding\n",
	       (unsigned long long)counts->recovery_states, (unsigned long long)counts->deep_states,
	       (unsigned long long)counts->torn, (unsigned long long)counts->exhaustive_crashes,
	       (unsigned long long)counts->outstanding_max);
	printf("# %llu operations, %llu disk I/Os, %llu structure checks, %llu records replayed\n",
	       (unsigned long long)counts->operations, (unsigned long long)counts->ios,
	       (unsigned long long)counts->checks, (unsigned long long)counts->replayed);
	printf("# %llu times with the newest root damaged, %llu refused; %llu times the process "
	       "alone ended\n",
	       (unsigned long long)counts->rewinds, (unsigned long long)counts->refusals,
	       (unsigned long long)counts->kills);
	if (campaign->failed)
		printf("# %llu runs failed, first: seed %llu\n",
		       (unsigned long long)campaign->failed,
		       (unsigned long long)campaign->failed_seed);
}

int campaign_main(int argc, char **argv, struct campaign *campaign)
{
	bool right;

	setvbuf(stdout, NULL, _IOLBF, 0);
	campaign->subject = &native_subject;
	campaign->options = repeat;
	parse(argc, argv, campaign);
	campaign_run(campaign);
	report(campaign);
	right = campaign->failed == 0 && campaign->counts.states > 0;
	printf("%s 1 - %llu crash states of %s in %llu runs, %llu runs with violations\n",
	       right ? "ok" : "not ok", (unsigned long long)campaign->counts.states,
	       campaign->subject->name, (unsigned long long)campaign->runs,
	       (unsigned long long)campaign->failed);
	return right ? 0 : 1;
}
