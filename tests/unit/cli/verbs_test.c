/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "webadmin/route.h"

/* The verb table against itself, the API's table, the completion and the manual page. */

static char *read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 65536);

	if (!file)
		fail_msg("%s is not there (tests run at the top of the tree)", path);
	assert_true(fread(text, 1, 65535, file) > 0);
	fclose(file);
	return text;
}

/* What @print says on stdout. */
static char *output_of(void (*print)(void))
{
	char path[] = "/tmp/verbs_test.XXXXXX";
	int fd = mkstemp(path), kept = dup(STDOUT_FILENO);
	char *text;

	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	print();
	fflush(stdout);
	dup2(kept, STDOUT_FILENO);
	close(kept);
	close(fd);
	text = read_file(path);
	unlink(path);
	return text;
}

/* What the parser says of words that it does not take. */
static char *refusal_of(const char *words)
{
	char path[] = "/tmp/verbs_test.XXXXXX";
	int fd = mkstemp(path), kept = dup(STDERR_FILENO);
	char *copy = strdup(words), *argv[32], *rest = NULL, *text;
	struct command command;
	int argc = 0;

	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	fflush(stderr);
	dup2(fd, STDERR_FILENO);
	assert_int_equal(command_parse(argc, argv, &command), EXIT_USAGE);
	fflush(stderr);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(fd);
	text = read_file(path);
	unlink(path);
	free(copy);
	return text;
}

static void refusals_say_what_was_meant(void **state)
{
	static const struct {
		const char *words, *said;
	} cases[] = {
	    {"granary pol list", "there is no noun \"pol\": did you mean \"pool\"?"},
	    {"granary volmue list", "did you mean \"volume\"?"},
	    {"granary pool creat x",
	     "there is no verb \"pool creat\": did you mean \"pool create\"?"},
	    {"granary pool sotrage", "(granary pool --help shows what there is)"},
	    {"granary zfs list", "there is no noun \"zfs\" (granary --help shows what there is)"},
	    {"granary pool import --rewnid f",
	     "pool import has no option --rewnid: did you mean --rewind?"},
	    {"granary pool import --rewnid=3 f", "no option --rewnid: did you mean --rewind?"},
	    {"granary pool list --quota 1G",
	     "pool list has no option --quota (granary pool list --help"},
	    {"granary volume resize tank/v",
	     "usage: granary volume resize POOL/NAME SIZE, as in: granary volume resize "},
	    {"granary --whatever pool list", "unknown option --whatever"},
	    {"granary help pool creat", "did you mean \"pool create\"?"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *said = refusal_of(cases[i].words);

		if (!strstr(said, cases[i].said))
			fail_msg("%s: %s", cases[i].words, said);
		free(said);
	}
}

static void rows_are_whole_and_unique(void **state)
{
	unsigned count;
	const struct verb *table = verb_table(&count);

	(void)state;
	for (unsigned i = 0; i < count; i++) {
		assert_non_null(table[i].run);
		assert_true(strlen(table[i].summary) > 10);
		assert_true(table[i].least <= table[i].most);
		assert_true(table[i].most < POSITION_MAX);
		for (unsigned j = 0; j < i; j++)
			assert_false(strcmp(table[i].noun, table[j].noun) == 0 &&
				     strcmp(table[i].verb, table[j].verb) == 0);
	}
}

/* The parser meets an option before it knows the verb: its name takes a value, or never does. */
static void options_are_of_one_kind(void **state)
{
	unsigned count;
	const struct verb *table = verb_table(&count);

	(void)state;
	for (unsigned i = 0; i < count * OPTIONS_MAX; i++) {
		const struct option_spec *one = &table[i / OPTIONS_MAX].options[i % OPTIONS_MAX];

		for (unsigned j = 0; one->name && j < i; j++) {
			const struct option_spec *other =
			    &table[j / OPTIONS_MAX].options[j % OPTIONS_MAX];

			if (other->name && strcmp(one->name, other->name) == 0 &&
			    !one->argument != !other->argument)
				fail_msg("--%s of %s %s", one->name, table[i / OPTIONS_MAX].noun,
					 table[i / OPTIONS_MAX].verb);
		}
	}
}

/* An example is a call that the parser takes for just this verb. */
static void examples_are_good_calls(void **state)
{
	unsigned count;
	const struct verb *table = verb_table(&count);

	(void)state;
	for (unsigned i = 0; i < count; i++) {
		char *copy = strdup(table[i].example), *words[32], *rest = NULL;
		struct command command;
		int argc = 0;

		for (char *word = strtok_r(copy, " ", &rest); word && strcmp(word, ">") != 0;
		     word = strtok_r(NULL, " ", &rest))
			words[argc++] = word;
		assert_string_equal(words[0], "granary");
		if (command_parse(argc, words, &command) != -1)
			fail_msg("not taken: %s", table[i].example);
		assert_ptr_equal(command.verb, &table[i]);
		free(copy);
	}
}

static void routes_exist(void **state)
{
	unsigned verbs, routes;
	const struct verb *table = verb_table(&verbs);
	const struct route *known = route_table(&routes);

	(void)state;
	for (unsigned i = 0; i < verbs; i++) {
		bool found = table[i].route == NULL;

		for (unsigned j = 0; !found && j < routes; j++) {
			char text[200];

			snprintf(text, sizeof text, "%s %s", known[j].method, known[j].path);
			found = strcmp(text, table[i].route) == 0;
		}
		if (!found)
			fail_msg("%s %s: no route %s", table[i].noun, table[i].verb,
				 table[i].route);
	}
}

static void help_shows_every_verb(void **state)
{
	unsigned count;
	const struct verb *table = verb_table(&count);
	char *help = output_of(help_all);

	(void)state;
	for (unsigned i = 0; i < count; i++) {
		char words[80];

		snprintf(words, sizeof words, "  %s%s%s %s", table[i].noun,
			 *table[i].verb ? " " : "", table[i].verb, table[i].arguments);
		if (!strstr(help, words) || !strstr(help, table[i].summary))
			fail_msg("help lacks %s", words);
	}
	free(help);
}

static void completion_is_the_committed_one(void **state)
{
	char *printed = output_of(completion_print);
	char *committed = read_file("cli/completion/granary.bash");

	(void)state;
	if (strcmp(printed, committed) != 0)
		fail_msg("granary completion > cli/completion/granary.bash");
	free(printed);
	free(committed);
}

static void manual_has_every_verb_and_option(void **state)
{
	unsigned count;
	const struct verb *table = verb_table(&count);
	char *page = read_file("docs/man/granary.1");

	(void)state;
	for (unsigned i = 0; i < count; i++) {
		char words[80];

		snprintf(words, sizeof words, ".B %s%s%s", table[i].noun, *table[i].verb ? " " : "",
			 table[i].verb);
		if (!strstr(page, words))
			fail_msg("docs/man/granary.1 lacks \"%s\"", words);
		for (unsigned j = 0; j < OPTIONS_MAX && table[i].options[j].name; j++) {
			char option[80] = "\\-\\-";

			for (const char *at = table[i].options[j].name; *at; at++) {
				size_t length = strlen(option);

				snprintf(option + length, sizeof option - length,
					 *at == '-' ? "\\-" : "%c", *at);
			}
			if (!strstr(page, option))
				fail_msg("docs/man/granary.1 lacks \"%s\"", option);
		}
	}
	free(page);
}

static int parse(struct command *command, const char *line)
{
	char *copy = strdup(line), *words[32], *rest = NULL;
	int argc = 0, status;

	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		words[argc++] = word;
	status = command_parse(argc, words, command);
	free(copy); /* positions point into it: only the status and the switches count below */
	return status;
}

static void wrong_usage_is_two(void **state)
{
	static const char *const lines[] = {
	    "granary",
	    "granary nonsense",
	    "granary pool",
	    "granary pool nonsense",
	    "granary volume create",
	    "granary volume resize tank/a",
	    "granary volume create tank/a 1G more",
	    "granary volume list extra",
	    "granary --nonsense status",
	    "granary -x status",
	    "granary -o yaml status",
	    "granary -o",
	    "granary status --state",
	    "granary status --lun 3",
	    "granary lun map i t/v --lun",
	    "granary lun map i t/v --lun 1 --lun 2",
	    "granary pool create a b --force=yes",
	    "granary help nonsense",
	};
	struct command command;

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		if (parse(&command, lines[i]) != EXIT_USAGE)
			fail_msg("taken: %s", lines[i]);
	}
}

static void options_stand_anywhere(void **state)
{
	static const char *const lines[] = {
	    "granary -o json --state /x --yes lun map i t/v --lun 3",
	    "granary lun --lun=3 map -ojson i --state=/x t/v -y",
	    "granary lun map i t/v --lun 3 --output json --yes --state /x",
	};
	struct command command;

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		assert_int_equal(parse(&command, lines[i]), -1);
		assert_true(command.json);
		assert_true(command.yes);
		assert_int_equal(command.count, 2);
		assert_non_null(command_option(&command, "lun"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows_are_whole_and_unique),
	    cmocka_unit_test(refusals_say_what_was_meant),
	    cmocka_unit_test(options_are_of_one_kind),
	    cmocka_unit_test(examples_are_good_calls),
	    cmocka_unit_test(routes_exist),
	    cmocka_unit_test(help_shows_every_verb),
	    cmocka_unit_test(completion_is_the_committed_one),
	    cmocka_unit_test(manual_has_every_verb_and_option),
	    cmocka_unit_test(wrong_usage_is_two),
	    cmocka_unit_test(options_stand_anywhere),
	};

	return cmocka_run_group_tests_name("cli/verbs", tests, NULL, NULL);
}
