/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/histogram.h"

#define SUB_BITS 5u
#define SUB      (1u << SUB_BITS)

/* Values below SUB have a bucket each; above, the top SUB_BITS bits after the leading one choose
 * the bucket inside the power of two. */
static unsigned bucket_of(uint64_t ns)
{
	if (ns < SUB)
		return (unsigned)ns;
	unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
	return (shift + 1) * SUB + (unsigned)((ns >> shift) & (SUB - 1));
}

static uint64_t bucket_top(unsigned bucket)
{
	if (bucket < SUB)
		return bucket;
	unsigned shift = bucket / SUB - 1;
	return ((uint64_t)(SUB + bucket % SUB + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
	unsigned bucket = bucket_of(ns);

	if (bucket >= HISTOGRAM_BUCKETS)
		bucket = HISTOGRAM_BUCKETS - 1;
	histogram->buckets[bucket]++;
	histogram->count++;
	histogram->sum += ns;
	if (ns > histogram->max)
		histogram->max = ns;
}

uint64_t histogram_quantile(const struct histogram *histogram, double fraction)
{
	uint64_t wanted = (uint64_t)(fraction * (double)histogram->count + 0.5), seen = 0;

	if (wanted == 0)
		wanted = 1;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= wanted) {
			uint64_t top = bucket_top(i);
			return top < histogram->max ? top : histogram->max;
		}
	}
	return histogram->max;
}
