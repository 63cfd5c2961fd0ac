/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LATENCY_H
#define CORE_LATENCY_H

#include <stdint.h>

/* How long things took, in buckets: powers of two, so that one is found by counting zeros. A bucket
 * counts what took no longer than its bound, and longer than the one before it; the last has none.
 *
 * One thread counts, without a lock; any may read meanwhile, and sums over threads are made by who
 * asks. */
#define LATENCY_BUCKETS 18
struct latency {
	uint64_t sum_ns, bucket[LATENCY_BUCKETS];
};

unsigned latency_bucket(uint64_t ns);
uint64_t latency_bound_ns(unsigned bucket); /* 65.536 us and up; 0: the last one */

/* latency_raise: a counter that this thread alone writes, up by @by. latency_count: one more that
 * took @ns, which is in @bucket. */
static inline void latency_raise(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

static inline void latency_count(struct latency *latency, unsigned bucket, uint64_t ns)
{
	latency_raise(&latency->bucket[bucket], 1);
	latency_raise(&latency->sum_ns, ns);
}

/* How many were counted, of those that are a sum already. */
static inline uint64_t latency_total(const struct latency *latency)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		total += latency->bucket[i];
	return total;
}

/* What @from, which another thread may count in, has by now, on top of *@sum. */
void latency_add(const struct latency *from, struct latency *sum);

/* latency_slowest_ns: no more than one of a hundred that were counted between @before and @now took
 * longer: the bound of its bucket, twice the largest for the last one. 0: none were counted, or
 * counts were lost in between. */
uint64_t latency_slowest_ns(const struct latency *before, const struct latency *now);

/* What takes longer than a limit is slow, and kept by who serves it (target/, nfs/).
 * latency_slow_limit: 0: nothing is kept. latency_slow_number: the next one's, from 1, over all
 * that keep some, so that their lists can be made one. Context: any. */
uint64_t latency_slow_limit(void);
void latency_set_slow_limit(uint64_t ns);
uint64_t latency_slow_number(void);

#endif
