/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/nearest.h"

/* granary [OPTION]... NOUN VERB [ARGUMENT]... Options stand anywhere, as "--name value" or
 * "--name=value"; "--" ends them. */
struct parse {
	char **argv;
	int argc, at;
	const char *words[POSITION_MAX + 2]; /* noun, verb, arguments */
	unsigned word_count;
	const char *option[OPTIONS_MAX * 2], *value[OPTIONS_MAX * 2]; /* of the verb, unresolved */
	unsigned option_count;
	struct command *command;
};

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage(const char *format, ...)
{
	va_list values;

	fputs("granary: ", stderr);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputs(" (granary --help shows what there is)\n", stderr);
	return EXIT_USAGE;
}

/* What was probably meant, if anything; else where it can be looked up. */
static int no_such_noun(const char *noun)
{
	struct nearest nearest = {.typed = noun};
	unsigned count;
	const struct verb *table = verb_table(&count);

	for (unsigned i = 0; i < count; i++)
		nearest_consider(&nearest, table[i].noun);
	if (!nearest.found)
		return usage("there is no noun \"%s\"", noun);
	fprintf(stderr, "granary: there is no noun \"%s\": did you mean \"%s\"?\n", noun,
		nearest.found);
	return EXIT_USAGE;
}

static int no_such_verb(const char *noun, const char *verb)
{
	struct nearest nearest = {.typed = verb};
	unsigned count;
	const struct verb *table = verb_table(&count);

	for (unsigned i = 0; i < count; i++)
		if (strcmp(table[i].noun, noun) == 0)
			nearest_consider(&nearest, table[i].verb);
	fprintf(stderr, "granary: there is no verb \"%s %s\"", noun, verb);
	if (nearest.found)
		fprintf(stderr, ": did you mean \"%s %s\"?\n", noun, nearest.found);
	else
		fprintf(stderr, " (granary %s --help shows what there is)\n", noun);
	return EXIT_USAGE;
}

static int no_such_option(const struct verb *verb, const char *name)
{
	struct nearest nearest = {.typed = name};

	for (unsigned i = 0; i < OPTIONS_MAX && verb->options[i].name; i++)
		nearest_consider(&nearest, verb->options[i].name);
	fprintf(stderr, "granary: %s%s%s has no option --%s", verb->noun, *verb->verb ? " " : "",
		verb->verb, name);
	if (nearest.found)
		fprintf(stderr, ": did you mean --%s?\n", nearest.found);
	else
		fprintf(stderr, " (granary %s%s%s --help shows what there is)\n", verb->noun,
			*verb->verb ? " " : "", verb->verb);
	return EXIT_USAGE;
}

/* Whether the verb option @name takes a value: some verb's table says so. */
static const struct option_spec *any_option(const char *name, size_t length)
{
	unsigned count;
	const struct verb *table = verb_table(&count);

	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < OPTIONS_MAX && table[i].options[j].name; j++) {
			const struct option_spec *option = &table[i].options[j];

			if (strlen(option->name) == length &&
			    memcmp(option->name, name, length) == 0)
				return option;
		}
	}
	return NULL;
}

/* A verb of two words ("schedule create") goes before one of one. */
static const struct verb *find_verb(const struct parse *parse, unsigned *ret_used)
{
	const struct verb *found = NULL;
	char pair[64];

	if (parse->word_count > 2) {
		snprintf(pair, sizeof pair, "%s %s", parse->words[1], parse->words[2]);
		found = verb_find(parse->words[0], pair);
	}
	*ret_used = found ? 3 : 2;
	return found ? found : verb_find(parse->words[0], parse->words[1]);
}

static int wrong_count(const struct verb *verb)
{
	fprintf(stderr, "granary: usage: granary %s%s%s%s%s, as in: %s\n", verb->noun,
		*verb->verb ? " " : "", verb->verb, *verb->arguments ? " " : "", verb->arguments,
		verb->example);
	return EXIT_USAGE;
}

/* An option that no verb has. Its verb is known when it stands before it, as it mostly does. */
static int unknown_option(const struct parse *parse, const char *name, size_t length)
{
	const struct verb *verb = NULL;
	char alone[64];
	unsigned used;

	snprintf(alone, sizeof alone, "%.*s", (int)length, name);
	if (parse->word_count > 0)
		verb = verb_find(parse->words[0], "");
	if (!verb && parse->word_count > 1)
		verb = find_verb(parse, &used);
	return verb ? no_such_option(verb, alone) : usage("unknown option --%s", alone);
}

/* The value of the option at hand: behind "=", or the next word. */
static const char *take_value(struct parse *parse, const char *equals)
{
	if (equals)
		return equals + 1;
	return parse->at < parse->argc ? parse->argv[parse->at++] : NULL;
}

static int take_format(struct parse *parse, const char *value)
{
	if (!value || (strcmp(value, "json") != 0 && strcmp(value, "table") != 0 &&
		       strcmp(value, "yaml") != 0))
		return usage("-o takes json or table, of export yaml too");
	parse->command->json = strcmp(value, "json") == 0;
	parse->command->yaml = strcmp(value, "yaml") == 0;
	return -1;
}

static int take_verb_option(struct parse *parse, const char *name, const char *equals)
{
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	const struct option_spec *option = any_option(name, length);
	const char *value = "";

	if (!option)
		return unknown_option(parse, name, length);
	if (!option->argument && equals)
		return usage("--%s takes no value", option->name);
	if (option->argument && !(value = take_value(parse, equals)))
		return usage("--%s needs a value", option->name);
	if (parse->option_count == OPTIONS_MAX * 2)
		return usage("too many options");
	parse->option[parse->option_count] = option->name;
	parse->value[parse->option_count++] = value;
	return -1;
}

static int take_option(struct parse *parse, const char *word)
{
	const char *equals = strchr(word, '=');

	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
		parse->command->help = true;
	} else if (strcmp(word, "-y") == 0 || strcmp(word, "--yes") == 0) {
		parse->command->yes = true;
	} else if (strncmp(word, "-o", 2) == 0) {
		return take_format(parse, word[2] ? word + 2 : take_value(parse, NULL));
	} else if (strcmp(word, "--output") == 0 || strncmp(word, "--output=", 9) == 0) {
		return take_format(parse, take_value(parse, equals));
	} else if (strcmp(word, "--state") == 0 || strncmp(word, "--state=", 8) == 0) {
		parse->command->state = take_value(parse, equals);
		if (!parse->command->state || !*parse->command->state)
			return usage("--state needs a directory");
	} else if (strncmp(word, "--", 2) == 0) {
		return take_verb_option(parse, word + 2, equals ? equals : NULL);
	} else {
		return usage("unknown option %s", word);
	}
	return -1;
}

static int take_words(struct parse *parse)
{
	bool options = true;
	int status;

	while (parse->at < parse->argc) {
		const char *word = parse->argv[parse->at++];

		if (options && strcmp(word, "--") == 0) {
			options = false;
		} else if (options && word[0] == '-' && word[1] &&
			   !isdigit((unsigned char)word[1])) {
			status = take_option(parse, word);
			if (status >= 0)
				return status;
		} else if (parse->word_count == POSITION_MAX + 2) {
			return usage("too many arguments");
		} else {
			parse->words[parse->word_count++] = word;
		}
	}
	return -1;
}

/* @more: of a verb of two words ("schedule create") the second. */
static int give_help(const char *noun, const char *verb, const char *more)
{
	const struct verb *found;
	char pair[64];

	if (noun && verb && more) {
		snprintf(pair, sizeof pair, "%s %s", verb, more);
		if (verb_find(noun, pair))
			verb = pair;
	}
	if (!noun) {
		help_all();
		return EXIT_GOOD;
	}
	if (!verb_noun_known(noun))
		return no_such_noun(noun);
	found = verb_find(noun, verb ? verb : "");
	if (found)
		help_verb(found);
	else if (!verb)
		help_noun(noun);
	else
		return no_such_verb(noun, verb);
	return EXIT_GOOD;
}

/* The options seen, into the places the verb's table gives them. */
static int resolve_options(struct parse *parse)
{
	struct command *command = parse->command;

	for (unsigned i = 0; i < parse->option_count; i++) {
		unsigned slot = 0;

		while (slot < OPTIONS_MAX && command->verb->options[slot].name &&
		       strcmp(command->verb->options[slot].name, parse->option[i]) != 0)
			slot++;
		if (slot == OPTIONS_MAX || !command->verb->options[slot].name)
			return no_such_option(command->verb, parse->option[i]);
		if (command->value[slot])
			return usage("--%s is given twice", parse->option[i]);
		command->value[slot] = parse->value[i];
	}
	return -1;
}

static int resolve_verb(struct parse *parse)
{
	struct command *command = parse->command;
	const char *noun = parse->words[0], *verb = parse->word_count > 1 ? parse->words[1] : NULL;
	unsigned used = 1;

	if (!verb_noun_known(noun))
		return no_such_noun(noun);
	command->verb = verb_find(noun, "");
	if (!command->verb) {
		if (!verb)
			return usage("%s needs a verb", noun);
		command->verb = find_verb(parse, &used);
		if (!command->verb)
			return no_such_verb(noun, verb);
	}
	if (command->yaml && command->verb->run != run_export)
		return usage("-o yaml is for export alone");
	command->count = parse->word_count - used;
	for (unsigned i = 0; i < command->count; i++)
		command->position[i] = parse->words[used + i];
	if (command->count < command->verb->least || command->count > command->verb->most)
		return wrong_count(command->verb);
	return resolve_options(parse);
}

int command_parse(int argc, char **argv, struct command *ret_command)
{
	struct parse parse = {.argv = argv, .argc = argc, .at = 1, .command = ret_command};
	int status;

	*ret_command = (struct command){.state = getenv("GRANARY_STATE")};
	status = take_words(&parse);
	if (status >= 0)
		return status;
	if (parse.word_count && strcmp(parse.words[0], "help") == 0)
		return give_help(parse.word_count > 1 ? parse.words[1] : NULL,
				 parse.word_count > 2 ? parse.words[2] : NULL,
				 parse.word_count > 3 ? parse.words[3] : NULL);
	if (ret_command->help)
		return give_help(parse.word_count ? parse.words[0] : NULL,
				 parse.word_count > 1 ? parse.words[1] : NULL,
				 parse.word_count > 2 ? parse.words[2] : NULL);
	if (parse.word_count == 0)
		return usage("what? granary NOUN VERB");
	if (!ret_command->state || !*ret_command->state)
		ret_command->state = "/var/lib/granary";
	return resolve_verb(&parse);
}
