/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_MUTATION_H
#define TESTS_SIM_MUTATION_H

#include <stdbool.h>

/* In a build with -DGRANARY_MUTATION: make the engine leave out the ordering line @name (see
 * volumes/order.h). False in any other build. */
bool mutation_disable(const char *name);
/* How often the engine asked for the disabled line: 0 = the runs never came by it. */
unsigned long mutation_hits(void);

#endif
