/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_OPTIONS_H
#define TESTS_SIM_OPTIONS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The number behind option @name; @otherwise when it is not given. */
static inline uint64_t number_after(int argc, char **argv, const char *name, uint64_t otherwise)
{
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], name) == 0)
			return strtoull(argv[i + 1], NULL, 0);
	}
	return otherwise;
}

#endif
