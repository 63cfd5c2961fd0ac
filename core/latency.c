/* SPDX-License-Identifier: Apache-2.0 */
#include "core/latency.h"

#define FIRST_BITS 16 /* 65.536 us */

unsigned latency_bucket(uint64_t ns)
{
	uint64_t above = ns ? (ns - 1) >> FIRST_BITS : 0;
	unsigned bucket = above ? 64 - (unsigned)__builtin_clzll(above) : 0;

	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

uint64_t latency_bound_ns(unsigned bucket)
{
	return bucket < LATENCY_BUCKETS - 1 ? 1ull << (FIRST_BITS + bucket) : 0;
}

void latency_add(const struct latency *from, struct latency *sum)
{
	sum->sum_ns += __atomic_load_n(&from->sum_ns, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		sum->bucket[i] += __atomic_load_n(&from->bucket[i], __ATOMIC_RELAXED);
}

uint64_t latency_slowest_ns(const struct latency *before, const struct latency *now)
{
	uint64_t all = 0, sum = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		if (now->bucket[i] < before->bucket[i])
			return 0;
		all += now->bucket[i] - before->bucket[i];
	}
	for (unsigned i = 0; all && i < LATENCY_BUCKETS; i++) {
		sum += now->bucket[i] - before->bucket[i];
		if (sum * 100 >= all * 99)
			return i < LATENCY_BUCKETS - 1 ? latency_bound_ns(i)
						       : 2 * latency_bound_ns(i - 1);
	}
	return 0;
}

static uint64_t slow_limit, slow_count; /* atomic */

uint64_t latency_slow_limit(void)
{
	return __atomic_load_n(&slow_limit, __ATOMIC_RELAXED);
}

void latency_set_slow_limit(uint64_t ns)
{
	__atomic_store_n(&slow_limit, ns, __ATOMIC_RELAXED);
}

uint64_t latency_slow_number(void)
{
	return __atomic_add_fetch(&slow_count, 1, __ATOMIC_RELAXED);
}
