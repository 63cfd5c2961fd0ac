/* SPDX-License-Identifier: Apache-2.0 */
/* mutation_test: would the simulator notice? For each ordering line of the engine
 * (volumes/order.h) the line is left out and runs go on until one of them reports a violation. A
 * mutant that survives its budget is a failure: either the simulator is blind there or the line
 * is superfluous. This program is linked with an engine built with -DGRANARY_MUTATION.
 *
 *   mutation_test [--only NAME] [--seconds N]    N: budget of one mutant
 *   mutation_test --only NAME --seed S --runs 1   show what a mutant does
 *
 * granary-test: timeout=1500 asan=never */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/campaign.h"
#include "tests/sim/mutation.h"

static struct mutation_table table;
static uint64_t first_seed = 1, runs_max = UINT64_MAX;

/* Seeds that have caught a mutant which others take long to: tried first. When the simulator or
 * the engine has changed they may catch nothing any more; then it goes on from the first seed. */
static const struct {
	const char *name;
	uint64_t seed;
} hints[] = {
    {"cycle_commit_before_flush", 7},
    {"remap_waits_for_confirm", 33},
    {"quarantine_waits_for_confirm", 9},
    {"checkpoint_waits_for_data", 10},
    {"superblock_fua", 5},
    {"strict_never_in_place", 8},
    {"replay_reverts_whole_group", 4},
    {"shared_is_redirected", 28},
    {"shared_is_not_freed", 5},
    {"shared_node_is_kept", 5},
    {"retired_until_next_root", 32},
    {"snapshot_waits_for_unsummed", 27},
    {"deletion_in_two_roots", 28},
    {"moved_in_both_roots", 69},
    {"label_wiped_after_both_roots", 11},
    {"added_in_both_roots", 6},
    {"label_before_root", 9},
    {"writes_wait_for_copy", 50},
    {"mirror_writes_both", 4},
    {"mirror_record_before_use", 4},
    {"mirror_levelled_at_replay", 4},
    {"mirror_kept_for_both_roots", 32},
    {"away_is_recorded", 64},
    {"away_doubts_an_older_root", 32},
    {"resilver_before_whole", 32},
    {"replacement_labelled", 80},
    {"replaced_in_both_roots", 28},
    {"journal_writes_both", 32},
    {"spread_root_is_recorded", 104},
    {"cycle_confirm_only_complete", 5},
    {"moving_is_written_twice", 6},
    {"answer_waits_for_record", 4},
};

/* What no crash tells within a mutant's time, for it takes an administrator's mistake, or a second
 * failure: a unit test with the engine of the mutants does. */
#define AWAY   "build/mutation/away_test"
#define MIRROR "build/mutation/mirror_test"
#define MOVES  "build/mutation/mirror_moves_test"
static const struct unit {
	const char *name, *program, *test;
} units[] = {
    {"replayed_is_held_once", MIRROR, "test_given_up_at_replay"},
    {"gone_is_said_by_the_root", AWAY, "test_lost_in_root*"},
    {"replay_looks_at_both", AWAY, "test_journal_moved_a_little*"},
    {"away_adds_no_journal", AWAY, "test_journal_left_behind*"},
    {"journal_named_by_both_roots", AWAY, "test_journal_named*"},
    {"journal_left_by_both_roots", AWAY, "test_journal_leaves*"},
    {"journal_cleared_of_others", AWAY, "test_one_journal*"},
    {"stale_needs_the_other", AWAY, "test_one_at_a_time*"},
    {"root_whole_before_next", AWAY, "test_root_cut_off*"},
    {"whole_in_both_roots", AWAY, "test_whole_in_both_roots*"},
    {"pinned_is_not_spared", AWAY, "test_began_with_snapshot*"},
    {"pinned_until_looked_at", AWAY, "test_began_with_snapshot*"},
    {"pinned_is_said", AWAY, "test_began_with_snapshot*"},
    {"opened_alone_is_another", AWAY, "test_split*"},
    {"consent_before_writes", AWAY, "test_consent_said*"},
    {"moved_beside_its_pair", MOVES, "test_moves"},
    {"moved_nodes_are_pinned", MOVES, "test_nodes_pin"},
    {"pair_is_counted_by_its_first", MOVES, "test_late_write"},
    {"moved_alone_is_not_spared", MOVES, "test_alone_keeps_it"},
};
#define UNITS        (sizeof(units) / sizeof(*units))
#define UNIT_SECONDS 300u

/* 0: it passed. One that hangs is ended, and has failed. */
static int run_unit(const char *mutant, const struct unit *unit)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);

		if (null < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
			_exit(99);
		setenv("GRANARY_MUTANT", mutant, 1);
		setenv("GRANARY_TEST_FILTER", unit->test, 1);
		alarm(UNIT_SECONDS);
		execl(unit->program, unit->program, (char *)NULL);
		_exit(99);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return status;
}

/* The test passes with the line and fails without it. */
static bool try_unit(unsigned number, const struct unit *unit)
{
	int with = run_unit("", unit), without = run_unit(unit->name, unit);
	bool ran = with == 0 && !(WIFEXITED(without) && WEXITSTATUS(without) == 99);

	printf("%s %u - without %s: %s %s\n", ran && without ? "ok" : "not ok", number, unit->name,
	       with != 0 ? "fails with it, too:"
	       : without ? "caught by"
			 : "not noticed by",
	       unit->test);
	return ran && without;
}

static const struct unit *unit_of(const char *name)
{
	for (size_t i = 0; i < UNITS; i++)
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

static struct campaign campaign_of(const char *options, unsigned seconds)
{
	return (struct campaign){
	    .subject = &native_subject,
	    .first_seed = first_seed,
	    .runs_max = runs_max,
	    .states = UINT64_MAX,
	    .seconds = seconds,
	    .failures_max = 1,
	    .run_seconds = 40,
	    .limits = {.states_per_crash = 24, .exhaustive = 6, .states_max = 400},
	    .program = "build/tests/sim/mutation_test",
	    .options = options,
	    .quiet = runs_max > 1,
	};
}

static bool try_mutant(unsigned number, const char *name, unsigned seconds)
{
	char repeat[100];
	struct campaign campaign = {0};

	snprintf(repeat, sizeof(repeat), " --only %s", name);
	mutation_disable(name);
	for (size_t i = 0; i < sizeof(hints) / sizeof(*hints) && runs_max > 1; i++) {
		if (strcmp(hints[i].name, name) != 0)
			continue;
		campaign = campaign_of(repeat, seconds);
		campaign.first_seed = hints[i].seed;
		campaign.runs_max = 1;
		campaign_run(&campaign);
		break;
	}
	if (campaign.failed == 0) {
		campaign = campaign_of(repeat, seconds);
		campaign_run(&campaign);
	}
	mutation_disable(NULL);
	if (campaign.failed > 0)
		printf("ok %u - without %s: caught by seed %llu after %llu states, %u s\n", number,
		       name, (unsigned long long)campaign.failed_seed,
		       (unsigned long long)campaign.counts.states, campaign.seconds_taken);
	else
		printf(
		    "not ok %u - without %s: survived %llu states, %llu runs (the line was asked "
		    "for %lu times)\n",
		    number, name, (unsigned long long)campaign.counts.states,
		    (unsigned long long)campaign.runs, campaign.mutation_hits);
	return campaign.failed > 0;
}

/* The same program with all lines in place must pass, or the catches above mean nothing. */
static bool try_whole(unsigned number)
{
	struct campaign campaign = campaign_of("", 10);

	campaign.states = 800;
	campaign.quiet = false;
	campaign_run(&campaign);
	printf("%s %u - with every line in place: %llu states without a violation\n",
	       campaign.failed ? "not ok" : "ok", number,
	       (unsigned long long)campaign.counts.states);
	return campaign.failed == 0;
}

static const struct option options[] = {{"only", required_argument, NULL, 'o'},
					{"seconds", required_argument, NULL, 's'},
					{"seed", required_argument, NULL, 'd'},
					{"runs", required_argument, NULL, 'r'},
					{0}};

int main(int argc, char **argv)
{
	const struct unit *unit;
	const char *only = NULL;
	unsigned seconds = 240, number = 0;
	bool right, listed;
	int option;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'o')
			only = optarg;
		else if (option == 's')
			seconds = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 'd')
			first_seed = strtoull(optarg, NULL, 10);
		else if (option == 'r')
			runs_max = strtoull(optarg, NULL, 10);
		else
			return 2;
	}
	right = mutation_table_read(&table, "volumes/order.h");
	printf("%s %u - volumes/order.h lists %u ordering lines\n", right ? "ok" : "not ok",
	       ++number, table.count);
	listed = mutation_table_agrees(&table, "volumes/*.c");
	printf("%s %u - the sources and the table name the same lines\n", listed ? "ok" : "not ok",
	       ++number);
	right = try_whole(++number) && right && listed;
	for (unsigned i = 0; i < table.count; i++) {
		if (only && strcmp(only, table.name[i]) != 0)
			continue;
		unit = runs_max > 1 ? unit_of(table.name[i]) : NULL;
		right &=
		    unit ? try_unit(++number, unit) : try_mutant(++number, table.name[i], seconds);
	}
	printf("1..%u\n", number);
	return right ? 0 : 1;
}
