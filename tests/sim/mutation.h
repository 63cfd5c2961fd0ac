/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_MUTATION_H
#define TESTS_SIM_MUTATION_H

#include <stdbool.h>

/* In a build with -DGRANARY_MUTATION: make the engine leave out the ordering line @name (see
 * volumes/order.h). False in any other build. */
bool mutation_disable(const char *name);
/* How often the engine asked for the disabled line: 0 = the runs never came by it. */
unsigned long mutation_hits(void);

/* The lines of a room: the table in the comment of its order.h, " * name   file.c   what it keeps".
 * mutation_table_read: false when there is none. mutation_table_agrees: the table and every
 * ORDER(name) of the sources that @pattern (a glob) names are the same; what is not is printed. */
#define MUTATION_NAMES_MAX 128
struct mutation_table {
	char name[MUTATION_NAMES_MAX][64];
	unsigned count;
};
bool mutation_table_read(struct mutation_table *table, const char *path);
bool mutation_table_agrees(const struct mutation_table *table, const char *pattern);

#endif
