/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/native.h"

/* How fast the devices of a pool are, and what that is to where space is taken.
 *
 * Measured are the guests' writes, from when they are handed to a device to when they are answered,
 * small ones by the request and large ones by the byte. What counts is the typical one, the
 * geometric mean: one that takes seconds is not to outweigh a thousand others. So all sums are of
 * logarithms, in 1/256 of a doubling. Whoever completes a write adds to two counters; they are
 * looked at under the lock when a row is to be chosen, and nothing here reads a clock.
 *
 * Each device is compared with the (geometric) mean of those that were measured lately:
 *
 * D1 One that was not is as fast as the mean. So is a pool's only device, and each of them while
 *    the fastest is not SPREAD_MIN faster than the slowest: like devices share by free space alone.
 * D2 Free space counts twice as much at most, and half as much at least. So no device's share is
 *    more than four times, or less than a quarter, of what free space alone would give it, and what
 *    is slow still gets writes, by which it is seen to be fast again.
 * D3 A fast device does not fill up long before the others: they may have something that has to be
 *    on two devices. Speed counts less when a fast one has less than three quarters of its share of
 *    the free space, and not at all from a half on; and likewise as the pool itself fills up.
 *
 * It is in memory only: after an open free space decides until enough was written. */

#define DOUBLING   256
#define NEUTRAL    256 /* weight */
#define SMALL_MAX  16384u
#define LARGE      65536u /* what is measured by the byte is said for so many */
#define ROUND_MIN  256u   /* writes to a device until all are looked at */
#define RECENT_MIN 256u   /* that count: less says nothing */
#define RECENT_MAX 4096u
#define OLD_WEIGHT 768u
#define SPREAD_MIN 150 /* 1.5 times */
#define FULL_SOON  256 /* of 1024: less is free in the pool .. */
#define FULL       102 /* .. and here */

/* log2, in 1/256; within 1 %. */
static unsigned log_of(uint64_t value)
{
	unsigned whole, part;

	value = value ? value : 1;
	whole = 63 - (unsigned)__builtin_clzll(value);
	part = (unsigned)(value << (63 - whole) << 1 >> 56);
	return whole * DOUBLING + part + (part * (DOUBLING - part) * 88 >> 16);
}

/* 256 times 2 to the power of @log. */
static uint64_t power_of(int64_t log)
{
	int64_t whole = log >> 8, part = log & (DOUBLING - 1);
	uint64_t value = (uint64_t)(DOUBLING + part - (part * (DOUBLING - part) * 88 >> 16));

	return whole >= 0 ? value << (whole < 48 ? whole : 48)
			  : value >> (-whole < 48 ? -whole : 48);
}

void speed_count(struct pv *device, uint64_t length, uint64_t ns)
{
	bool large = length > SMALL_MAX;
	struct speed *speed = &device->speed[large];

	if (large)
		ns = ns * LARGE / length;
	__atomic_add_fetch(&speed->sum, log_of(ns), __ATOMIC_RELAXED);
	__atomic_add_fetch(&speed->writes, 1, __ATOMIC_RELAXED);
}

void speed_forget(struct pv *device)
{
	for (unsigned i = 0; i < 2; i++)
		device->speed[i] = (struct speed){0};
}

static bool is_known(const struct speed *speed)
{
	return speed->recent >= RECENT_MIN;
}

/* ---- rounds ---- */
static uint64_t unseen(const struct speed *speed)
{
	return __atomic_load_n(&speed->writes, __ATOMIC_RELAXED) - speed->seen_writes;
}

static bool is_round(const struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct speed *speed = native->pv[i].speed;

		if (unseen(&speed[0]) + unseen(&speed[1]) >= ROUND_MIN)
			return true;
	}
	return false;
}

/* What was written long ago fades, that of others is the measure. A write that ends just now may
 * have its sum in this round and its number in the next. */
static void see(struct speed *speed)
{
	uint64_t writes = unseen(speed), sum = __atomic_load_n(&speed->sum, __ATOMIC_RELAXED);
	uint64_t old = speed->recent < OLD_WEIGHT ? speed->recent : OLD_WEIGHT;
	int64_t mean;

	speed->recent -= (speed->recent + 7) / 8;
	if (!writes)
		return;
	mean = (int64_t)((sum - speed->seen_sum) / writes);
	speed->typical += (mean - speed->typical) * (int64_t)writes / (int64_t)(writes + old);
	speed->recent =
	    speed->recent + writes < RECENT_MAX ? speed->recent + (unsigned)writes : RECENT_MAX;
	speed->seen_writes += writes;
	speed->seen_sum = sum;
}

/* ---- weights ---- */
/* How much faster than the mean each device is, from writes of both kinds; the span between them.
 */
static int64_t compare(const struct native *native, int64_t *faster)
{
	int64_t mean[2] = {0}, low = 0, high = 0, count[2] = {0};

	for (unsigned i = 0; i < 2 * native->pv_count; i++)
		if (balance_takes(&native->pv[i / 2]) &&
		    is_known(&native->pv[i / 2].speed[i & 1])) {
			mean[i & 1] += native->pv[i / 2].speed[i & 1].typical;
			count[i & 1]++;
		}
	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		int64_t sum = 0, writes = 0;

		for (unsigned j = 0; j < 2 && balance_takes(pv); j++) {
			if (!is_known(&pv->speed[j]) || count[j] < 2)
				continue;
			sum += (mean[j] / count[j] - pv->speed[j].typical) * pv->speed[j].recent;
			writes += pv->speed[j].recent;
		}
		faster[i] = writes ? sum / writes : 0;
		low = faster[i] < low ? faster[i] : low;
		high = faster[i] > high ? faster[i] : high;
	}
	return high - low;
}

/* 256 at @from and above, 0 at @to and below. */
static uint64_t ramp(uint64_t value, uint64_t to, uint64_t from)
{
	return value >= from ? 256 : value <= to ? 0 : (value - to) * 256 / (from - to);
}

/* D3: how much speed counts, of 256. */
static uint64_t counts(const struct native *native, const int64_t *faster)
{
	uint64_t free[POOL_DEVICES_MAX] = {0}, data[POOL_DEVICES_MAX] = {0};
	uint64_t all_free = 0, all = 0, least;

	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		unsigned device = pv_device_row(native, pv->device);

		if (!balance_takes(pv))
			continue;
		free[device] += pv->free_chunks;
		data[device] += pv->data_chunks - pv->moved;
		all_free += pv->free_chunks;
		all += pv->data_chunks - pv->moved;
	}
	if (!all || !all_free)
		return 0;
	least = ramp(all_free * 1024 / all, FULL, FULL_SOON);
	for (unsigned i = 0; i < native->pv_count; i++) {
		double part = data[i] ? (double)free[i] / (double)data[i] : 0;
		double pools = (double)all_free / (double)all;
		uint64_t here = ramp((uint64_t)(part / pools * 1024), 512, 768);

		if (faster[i] > 0 && here < least)
			least = here;
	}
	return least;
}

void speed_weigh(struct native *native)
{
	int64_t faster[POOL_DEVICES_MAX];
	bool differ;
	int64_t many;

	if (is_round(native))
		for (unsigned i = 0; i < 2 * native->pv_count; i++)
			see(&native->pv[i / 2].speed[i & 1]);
	differ = compare(native, faster) >= SPREAD_MIN;
	many = differ ? (int64_t)counts(native, faster) : 0;
	for (unsigned i = 0; i < native->pv_count; i++) {
		int64_t log = faster[i] < -DOUBLING  ? -DOUBLING
			      : faster[i] > DOUBLING ? DOUBLING
						     : faster[i];

		native->pv[i].weight = (uint32_t)power_of(log * many / 256);
	}
}

uint64_t speed_weighed(const struct pv *row)
{
	return row->free_chunks * row->device->weight;
}

/* ---- telling ---- */
static uint64_t typical_ns(const struct speed *speed)
{
	return is_known(speed) ? power_of(speed->typical) / 256 : 0;
}

void speed_info(struct native *native, const struct pv *device, struct pool_device_info *info)
{
	uint64_t mine = 0, all = 0;

	speed_weigh(native);
	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t weighed = balance_takes(pv) ? speed_weighed(pv) : 0;

		all += weighed;
		mine += pv->device == device ? weighed : 0;
	}
	info->small_write_ns = typical_ns(&device->speed[0]);
	info->large_write_ns = typical_ns(&device->speed[1]);
	info->share = all ? (double)mine / (double)all : 0;
}
