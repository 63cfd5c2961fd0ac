/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/mutation.h"

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
	bool off = disabled && strcmp(name, disabled) == 0;

	hits += off;
	return !off;
}
#endif
