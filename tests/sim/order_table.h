/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_ORDER_TABLE_H
#define TESTS_SIM_ORDER_TABLE_H

#include <stdbool.h>

/* The ordering lines of a room, as the table in the comment of its order.h lists them. */
#define ORDER_NAMES_MAX 128

struct order_table {
	char names[ORDER_NAMES_MAX][64];
	unsigned count;
};

/* order_table_read: " * name   file.c   what it keeps". order_table_agrees: the sources that
 * @sources (a glob pattern) names ask for these lines, all of them and no others; what is amiss is
 * printed. Context: the tree's top directory. */
bool order_table_read(struct order_table *table, const char *path);
bool order_table_agrees(const struct order_table *table, const char *sources);

#endif
