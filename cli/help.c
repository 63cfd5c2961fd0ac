/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static void print_row(const struct verb *verb)
{
	char left[80];

	snprintf(left, sizeof left, "%s%s%s %s", verb->noun, *verb->verb ? " " : "", verb->verb,
		 verb->arguments);
	printf("  %-40s %s\n", left, verb->summary);
}

static void print_globals(void)
{
	printf("\noptions:\n"
	       "  --state DIR           the daemon's state directory (default $GRANARY_STATE or\n"
	       "                        /var/lib/granary)\n"
	       "  -o json|table         how to print (default table)\n"
	       "  -y, --yes             do not ask before something is deleted\n"
	       "  -h, --help            help, also behind a noun and a verb\n");
}

void help_all(void)
{
	unsigned count;
	const struct verb *table = verb_table(&count);

	printf("granary: manage a running granaryd\n\n"
	       "usage: granary [--state DIR] [-o json|table] NOUN VERB [ARGUMENT]...\n\n");
	for (unsigned i = 0; i < count; i++) {
		if (i && strcmp(table[i].noun, table[i - 1].noun) != 0 && *table[i].verb)
			printf("\n");
		print_row(&table[i]);
	}
	print_globals();
	printf("\nSizes are written 512M, 100G, 1.5TiB (powers of 1024) or 100GB (of 1000).\n"
	       "Exit status: 0, or 1 with one line on stderr, or 2 for wrong usage.\n"
	       "granary NOUN VERB --help shows an example.\n");
}

void help_noun(const char *noun)
{
	unsigned count;
	const struct verb *table = verb_table(&count);

	for (unsigned i = 0; i < count; i++) {
		if (strcmp(table[i].noun, noun) == 0)
			print_row(&table[i]);
	}
	printf("\ngranary %s VERB --help shows an example.\n", noun);
}

void help_verb(const struct verb *verb)
{
	printf("%s\n\nusage: granary %s%s%s%s%s", verb->summary, verb->noun, *verb->verb ? " " : "",
	       verb->verb, *verb->arguments ? " " : "", verb->arguments);
	for (unsigned i = 0; i < OPTIONS_MAX && verb->options[i].name; i++)
		printf(" [--%s%s%s]", verb->options[i].name, verb->options[i].argument ? " " : "",
		       verb->options[i].argument ? verb->options[i].argument : "");
	printf("\n\n");
	for (unsigned i = 0; i < OPTIONS_MAX && verb->options[i].name; i++) {
		char left[40];

		snprintf(left, sizeof left, "--%s %s", verb->options[i].name,
			 verb->options[i].argument ? verb->options[i].argument : "");
		printf("  %-26s %s\n", left, verb->options[i].help);
	}
	if (verb->options[0].name)
		printf("\n");
	printf("example: %s\n", verb->example);
}

/* Verbs of two words ("schedule create") are a group; @length: of the first one. */
static bool is_group(const struct verb *verb, size_t *ret_length)
{
	const char *space = strchr(verb->verb, ' ');

	*ret_length = space ? (size_t)(space - verb->verb) : strlen(verb->verb);
	return space != NULL;
}

static bool same_first(const struct verb *verb, const struct verb *other, size_t length)
{
	size_t theirs;

	is_group(other, &theirs);
	return strcmp(verb->noun, other->noun) == 0 && theirs == length &&
	       strncmp(verb->verb, other->verb, length) == 0;
}

/* Is row @i the first of its noun that begins with its word? */
static bool is_first(const struct verb *table, unsigned i, size_t length)
{
	for (unsigned j = 0; j < i; j++)
		if (same_first(&table[i], &table[j], length))
			return false;
	return true;
}

/* "NOUN WORD" | ... : where a third word belongs to the verb. */
static void print_groups(const struct verb *table, unsigned count)
{
	bool some = false;
	size_t length;

	for (unsigned i = 0; i < count; i++) {
		if (!is_group(&table[i], &length) || !is_first(table, i, length))
			continue;
		printf("%s\"%s %.*s\"", some ? " | " : "", table[i].noun, (int)length,
		       table[i].verb);
		some = true;
	}
}

/* "NOUN) list="verb verb ...";;" for each noun, nouns of one word left out. */
static void print_noun_cases(const struct verb *table, unsigned count)
{
	size_t length;

	for (unsigned i = 0; i < count; i++) {
		if (!*table[i].verb || (i && strcmp(table[i].noun, table[i - 1].noun) == 0))
			continue;
		printf("\t%s) list=\"", table[i].noun);
		for (unsigned j = i; j < count && strcmp(table[j].noun, table[i].noun) == 0; j++) {
			is_group(&table[j], &length);
			if (is_first(table, j, length))
				printf("%s%.*s", j > i ? " " : "", (int)length, table[j].verb);
		}
		printf("\" ;;\n");
	}
}

/* "NOUN WORD") list="second words";; */
static void print_group_cases(const struct verb *table, unsigned count)
{
	size_t length;

	for (unsigned i = 0; i < count; i++) {
		if (!is_group(&table[i], &length) || !is_first(table, i, length))
			continue;
		printf("\t\"%s %.*s\") list=\"", table[i].noun, (int)length, table[i].verb);
		for (unsigned j = i; j < count; j++)
			if (same_first(&table[i], &table[j], length))
				printf("%s%s", j > i ? " " : "", table[j].verb + length + 1);
		printf("\" ;;\n");
	}
}

static void print_option_cases(const struct verb *table, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (!table[i].options[0].name || !*table[i].verb)
			continue;
		printf("\t\"%s %s\") list=\"", table[i].noun, table[i].verb);
		for (unsigned j = 0; j < OPTIONS_MAX && table[i].options[j].name; j++)
			printf("--%s ", table[i].options[j].name);
		printf("$globals\" ;;\n");
	}
}

void completion_print(void)
{
	unsigned count;
	const struct verb *table = verb_table(&count);

	printf("# SPDX-License-Identifier: Apache-2.0\n"
	       "# bash completion for granary; printed by \"granary completion\".\n"
	       "_granary()\n{\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]}\n"
	       "\tlocal globals=\"--state -o --yes --help\" noun= verb= list= i\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tcase ${COMP_WORDS[i]} in\n"
	       "\t\t--state | -o) ((i++)) ;;\n"
	       "\t\t-*) ;;\n"
	       "\t\t*) if [ -z \"$noun\" ]; then noun=${COMP_WORDS[i]}\n"
	       "\t\t\telif [ -z \"$verb\" ]; then verb=${COMP_WORDS[i]}\n"
	       "\t\t\telse case \"$noun $verb\" in ");
	print_groups(table, count);
	printf(") verb=\"$verb ${COMP_WORDS[i]}\" ;; esac; fi ;;\n"
	       "\t\tesac\n\tdone\n"
	       "\tcase $last in\n"
	       "\t-o) COMPREPLY=($(compgen -W \"json table\" -- \"$word\")); return ;;\n"
	       "\t--state) COMPREPLY=($(compgen -d -- \"$word\")); return ;;\n"
	       "\t--*-file) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
	       "\tesac\n"
	       "\tif [ -z \"$noun\" ]; then\n\t\tlist=\"");
	for (unsigned i = 0; i < count; i++) {
		if (i == 0 || strcmp(table[i].noun, table[i - 1].noun) != 0)
			printf("%s ", table[i].noun);
	}
	printf("help $globals\"\n"
	       "\telif [ -z \"$verb\" ]; then case $noun in\n");
	print_noun_cases(table, count);
	printf("\tesac\n\telse case \"$noun $verb\" in\n");
	print_group_cases(table, count);
	print_option_cases(table, count);
	printf("\t*) list=$globals ;;\n"
	       "\tesac; fi\n"
	       "\tCOMPREPLY=($(compgen -W \"$list\" -- \"$word\"))\n"
	       "\tif [ -n \"$verb\" ] && [ ${#COMPREPLY[@]} -eq 0 ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -f -- \"$word\"))\n"
	       "\tfi\n"
	       "}\ncomplete -F _granary granary\n");
}
