/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_RNG_H
#define TESTS_SIM_RNG_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

/* Seeded numbers (splitmix64: small, and any 64-bit seed is a good one). Every choice the
 * simulator makes comes from one of these, so that a seed is a run. */
struct rng {
	uint64_t state;
};

static inline uint64_t rng_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline uint64_t rng_next(struct rng *rng)
{
	rng->state += 0x9e3779b97f4a7c15ull;
	return rng_mix(rng->state);
}

/* 0 .. below-1; below > 0. */
static inline uint64_t rng_below(struct rng *rng, uint64_t below)
{
	assert(below > 0);
	return rng_next(rng) % below;
}

/* low .. high, both included. */
static inline uint64_t rng_range(struct rng *rng, uint64_t low, uint64_t high)
{
	return low + rng_below(rng, high - low + 1);
}

static inline bool rng_one_in(struct rng *rng, uint64_t n)
{
	return rng_below(rng, n) == 0;
}

#endif
