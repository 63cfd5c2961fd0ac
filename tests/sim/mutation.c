/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/mutation.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volumes/order.h"

static const char *disabled;
static unsigned long hits;

bool mutation_disable(const char *name)
{
	disabled = name;
#ifdef GRANARY_MUTATION
	return true;
#else
	return false;
#endif
}

unsigned long mutation_hits(void)
{
	return hits;
}

#ifdef GRANARY_MUTATION
bool order_enabled(const char *name)
{
	static const char *given;
	bool off;

	if (!given)
		given = getenv("GRANARY_MUTANT") ? getenv("GRANARY_MUTANT") : "";
	off = strcmp(name, disabled ? disabled : given) == 0;

	hits += off;
	return !off;
}
#endif

/* ---- tables ---- */
static bool known(const struct mutation_table *table, const char *name)
{
	for (unsigned i = 0; i < table->count; i++) {
		if (strcmp(table->name[i], name) == 0)
			return true;
	}
	return false;
}

bool mutation_table_read(struct mutation_table *table, const char *path)
{
	FILE *file = fopen(path, "r");
	char line[300], name[64], source[64];

	table->count = 0;
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file) && table->count < MUTATION_NAMES_MAX) {
		if (sscanf(line, " * %63[a-z0-9_] %63[a-z0-9_.]", name, source) != 2)
			continue;
		if (strlen(source) > 2 && strcmp(source + strlen(source) - 2, ".c") == 0 &&
		    !known(table, name))
			memcpy(table->name[table->count++], name, sizeof(name));
	}
	fclose(file);
	return table->count > 0;
}

/* Every ORDER(name) in @path is in the table; @used notes which. */
static bool source_agrees(const struct mutation_table *table, const char *path, bool *used)
{
	FILE *file = fopen(path, "r");
	char line[400], name[64];
	bool right = file != NULL;

	while (file && fgets(line, sizeof(line), file)) {
		const char *at = line;

		while ((at = strstr(at, "ORDER(")) != NULL) {
			at += strlen("ORDER(");
			if (sscanf(at, "%63[a-z0-9_])", name) != 1 || strcmp(name, "name") == 0)
				continue;
			if (!known(table, name)) {
				printf("# %s: %s is not in the table\n", path, name);
				right = false;
			}
			for (unsigned i = 0; i < table->count; i++)
				used[i] |= strcmp(table->name[i], name) == 0;
		}
	}
	if (file)
		fclose(file);
	return right;
}

bool mutation_table_agrees(const struct mutation_table *table, const char *pattern)
{
	bool used[MUTATION_NAMES_MAX] = {false}, right = true;
	glob_t sources;

	if (glob(pattern, 0, NULL, &sources) != 0)
		return false;
	for (size_t i = 0; i < sources.gl_pathc; i++)
		right &= source_agrees(table, sources.gl_pathv[i], used);
	globfree(&sources);
	for (unsigned i = 0; i < table->count; i++) {
		if (!used[i])
			printf("# %s is in the table and nowhere else\n", table->name[i]);
		right &= used[i];
	}
	return right;
}
