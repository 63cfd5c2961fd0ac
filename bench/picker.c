/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/picker.h"

#include <assert.h>

void picker_init(struct picker *picker, const struct options *options, uint64_t blocks)
{
	assert(blocks > 0);
	*picker = (struct picker){
	    .pattern = options->pattern,
	    .once = options->once,
	    .blocks = blocks,
	    .random = options->seed * UINT64_C(0x9e3779b97f4a7c15) | 1,
	    .seed = options->seed,
	};
	while ((UINT64_C(1) << picker->bits) < blocks)
		picker->bits++;
}

static uint64_t random_word(struct picker *picker)
{
	picker->random ^= picker->random << 13;
	picker->random ^= picker->random >> 7;
	picker->random ^= picker->random << 17;
	return picker->random;
}

/* A permutation of 0 .. 2^bits-1: each step (odd factor, fold of the upper half) has an inverse. */
static uint64_t permute(const struct picker *picker, uint64_t value)
{
	uint64_t mask = (UINT64_C(1) << picker->bits) - 1;
	unsigned fold = picker->bits / 2 + 1;

	for (unsigned round = 0; round < 3; round++) {
		value = (value * UINT64_C(0x9e3779b97f4a7c15) + picker->seed) & mask;
		value ^= value >> fold;
	}
	return value;
}

/* The next of a random order in which every block comes once. */
static bool next_once(struct picker *picker, uint64_t *ret_block)
{
	while (picker->position < UINT64_C(1) << picker->bits) {
		uint64_t block = permute(picker, picker->position++);
		if (block < picker->blocks) {
			*ret_block = block;
			return true;
		}
	}
	return false;
}

static bool next_in_sequence(struct picker *picker, uint64_t *ret_block)
{
	if (picker->once && picker->position == picker->blocks)
		return false;
	*ret_block = picker->position++ % picker->blocks;
	return true;
}

bool picker_next(struct picker *picker, uint64_t *ret_block, bool *ret_write)
{
	if (picker->pattern == PATTERN_RANDRW)
		*ret_write = random_word(picker) >> 63;
	else
		*ret_write =
		    picker->pattern == PATTERN_RANDWRITE || picker->pattern == PATTERN_WRITE;
	if (!pattern_random(picker->pattern))
		return next_in_sequence(picker, ret_block);
	if (picker->once)
		return next_once(picker, ret_block);
	/* The upper bits times the range, instead of a division. */
	*ret_block = (uint64_t)((unsigned __int128)random_word(picker) * picker->blocks >> 64);
	return true;
}
