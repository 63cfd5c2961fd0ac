/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

/* Latencies in nanoseconds, 32 buckets per power of two: a quantile is at most 3 % too high. */
#define HISTOGRAM_BUCKETS (32u * 60u)

struct histogram {
	uint64_t count, sum, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t ns);
/* histogram_quantile: the value that @fraction (0..1) of all are not above; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);

#endif
