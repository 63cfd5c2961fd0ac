/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/order_table.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

static bool known(const struct order_table *table, const char *name)
{
	for (unsigned i = 0; i < table->count; i++) {
		if (strcmp(table->names[i], name) == 0)
			return true;
	}
	return false;
}

bool order_table_read(struct order_table *table, const char *path)
{
	FILE *file = fopen(path, "r");
	char line[300], name[64], source[64];

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file) && table->count < ORDER_NAMES_MAX) {
		if (sscanf(line, " * %63[a-z0-9_] %63[a-z0-9_.]", name, source) != 2)
			continue;
		if (strlen(source) > 2 && strcmp(source + strlen(source) - 2, ".c") == 0 &&
		    !known(table, name))
			memcpy(table->names[table->count++], name, sizeof(name));
	}
	fclose(file);
	return table->count > 0;
}

/* Every ORDER(name) in @path is in the table; @used notes which. */
static bool source_agrees(const struct order_table *table, const char *path, bool *used)
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
				used[i] |= strcmp(table->names[i], name) == 0;
		}
	}
	if (file)
		fclose(file);
	return right;
}

bool order_table_agrees(const struct order_table *table, const char *sources)
{
	bool used[ORDER_NAMES_MAX] = {false}, right = true;
	glob_t paths;

	if (glob(sources, 0, NULL, &paths) != 0)
		return false;
	for (size_t i = 0; i < paths.gl_pathc; i++)
		right &= source_agrees(table, paths.gl_pathv[i], used);
	globfree(&paths);
	for (unsigned i = 0; i < table->count; i++) {
		if (!used[i])
			printf("# %s is in the table and nowhere else\n", table->names[i]);
		right &= used[i];
	}
	return right;
}
