/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include <stdint.h>

/* "Did you mean": of the words there are, the one that a word was probably meant to be. One slip of
 * the hand is forgiven in words of up to four letters, two in longer ones. */
struct nearest {
	const char *typed;
	const char *found; /* NULL: none of those considered is near */
	unsigned distance;
};

unsigned nearest_distance(const char *typed, const char *known); /* UINT32_MAX: too long */
void nearest_consider(struct nearest *nearest, const char *known);

#endif
