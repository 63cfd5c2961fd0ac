/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/nearest.h"

#include <string.h>

#define WORD_MAX 40u

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Damerau-Levenshtein distance (optimal string alignment): letters that were added, left out,
 * replaced, or swapped with the next. */
unsigned nearest_distance(const char *typed, const char *known)
{
	size_t rows = strlen(typed), columns = strlen(known);
	unsigned cost[WORD_MAX + 1][WORD_MAX + 1];

	if (rows > WORD_MAX || columns > WORD_MAX)
		return UINT32_MAX;
	for (size_t i = 0; i <= rows; i++)
		for (size_t j = 0; j <= columns; j++) {
			if (i == 0 || j == 0) {
				cost[i][j] = (unsigned)(i + j);
				continue;
			}
			cost[i][j] = least(least(cost[i - 1][j], cost[i][j - 1]) + 1,
					   cost[i - 1][j - 1] + (typed[i - 1] != known[j - 1]));
			if (i > 1 && j > 1 && typed[i - 1] == known[j - 2] &&
			    typed[i - 2] == known[j - 1])
				cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
		}
	return cost[rows][columns];
}

void nearest_consider(struct nearest *nearest, const char *known)
{
	unsigned distance = nearest_distance(nearest->typed, known);
	unsigned limit = strlen(nearest->typed) < 5 ? 1 : 2;

	if (distance > limit || (nearest->found && distance >= nearest->distance))
		return;
	nearest->found = known;
	nearest->distance = distance;
}
