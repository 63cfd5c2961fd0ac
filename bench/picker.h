/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_PICKER_H
#define BENCH_PICKER_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/options.h"

/* Which block comes next, and whether it is read or written. Blocks are numbered 0..blocks-1 in
 * the span, in units of the I/O size. */
struct picker {
	enum pattern pattern;
	bool once;
	uint64_t blocks;
	uint64_t position; /* sequential and once: how many were given */
	uint64_t random;   /* xorshift state, never 0 */
	unsigned bits;     /* once: the permutation is over 0 .. 2^bits-1 */
	uint64_t seed;
};

void picker_init(struct picker *picker, const struct options *options, uint64_t blocks);
/* picker_next: false when every block was visited once and that was all that was asked. */
bool picker_next(struct picker *picker, uint64_t *ret_block, bool *ret_write);

#endif
