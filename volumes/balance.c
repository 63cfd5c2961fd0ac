/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/native.h"

/* From which device a chunk is taken.
 *
 * Rows are taken in proportion to what is free on them, and to how fast they are (speed.c). But the
 * chunks of a pair are on two devices: of devices with f1, f2, .. free chunks there can be no more
 * pairs than are free beside the device that has most of them, T - max (and T / 2, which the sum
 * sees to: reserve.c). Of that some are kept, for who was promised pairs and, while there are
 * mirrored volumes, as slop. Where more than what is kept would go:
 *
 * B1 A single chunk is taken from the device that has most: that leaves T - max as it is.
 * B2 Of a pair one chunk is taken from there: that takes one, the least that a pair can take. Who
 *    was promised nothing gets none when that is one too many.
 *
 * The proof that B1 does so also where two devices have the same: then T >= 2 max, T - max is T / 2
 * at least, and what is kept is less than half of what the sum leaves (reserve.c). */

/* Of a device that is away only second copies take space: nothing is written there for now. */
bool balance_takes(const struct pv *pv)
{
	return pv->allocates && pv_is_here(pv);
}

unsigned balance_turn(struct native *native)
{
	int64_t sum = 0;
	unsigned best = 0;

	speed_weigh(native);
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];

		if (!balance_takes(pv))
			continue;
		pv->credit += (int64_t)speed_weighed(pv);
		sum += (int64_t)speed_weighed(pv);
		if (!balance_takes(&native->pv[best]) || pv->credit > native->pv[best].credit)
			best = i;
	}
	native->pv[best].credit -= sum;
	return best;
}

/* Chunks of all rows of @device: free now, or there at all. */
static uint64_t chunks_of(const struct native *native, const struct pv *device, bool free)
{
	uint64_t count = 0;

	for (unsigned i = pv_device_row(native, device); i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];

		if (pv->device == device && pv->allocates)
			count += free ? pv->free_chunks : pv->data_chunks - pv->moved;
	}
	return count;
}

/* The device that has most, and what is beside it. */
static const struct pv *largest(const struct native *native, bool free, uint64_t *ret_beside)
{
	const struct pv *best = NULL;
	uint64_t most = 0, sum = 0;

	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t count;

		if (pv->device != pv)
			continue;
		count = chunks_of(native, pv, free);
		sum += count;
		if (!best || count > most) {
			best = pv;
			most = count;
		}
	}
	*ret_beside = sum - most;
	return best;
}

uint64_t balance_pairs(const struct native *native, bool free)
{
	uint64_t beside;

	(void)largest(native, free, &beside);
	return beside;
}

/* The row of @device with most free; pv_count: none has any. */
static unsigned row_of(const struct native *native, const struct pv *device)
{
	unsigned best = native->pv_count;

	for (unsigned i = pv_device_row(native, device); i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];

		if (pv->device == device && pv->allocates && pv->free_chunks &&
		    (best == native->pv_count || pv->free_chunks > native->pv[best].free_chunks))
			best = i;
	}
	return best;
}

/* @balance_takes of a device, but for those of @avoid. */
static const struct pv *most_free(const struct native *native, uint64_t avoid)
{
	const struct pv *best = NULL;
	uint64_t most = 0;

	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t count = pv->device == pv && !(avoid & 1ull << i) && pv_is_here(pv)
				     ? chunks_of(native, pv, true)
				     : 0;

		if (count > most) {
			best = pv;
			most = count;
		}
	}
	return best;
}

unsigned balance_target(struct native *native, uint64_t avoid)
{
	bool tight = native->mirrored &&
		     balance_pairs(native, true) <= native->promised_pairs + native->slop_pairs;
	unsigned turn = native->active_devices ? balance_turn(native) : 0;
	const struct pv *pv = &native->pv[turn], *best;

	if (!tight && balance_takes(pv) && pv->free_chunks &&
	    !(avoid & 1ull << pv_device_row(native, pv)))
		return turn;
	best = most_free(native, avoid);
	return best ? row_of(native, best) : native->pv_count;
}

unsigned balance_first(const struct native *native, const struct nvolume *volume, enum room room,
		       unsigned turn)
{
	uint64_t pairs, needs = volume->volume.mirror;
	uint64_t others = reserve_pairs_of_others(native, volume), slop = native->slop_pairs;
	bool promised = room != ROOM_PLAIN || volume->reserve_counted;
	const struct pv *device;

	if (!native->mirrored)
		return turn; /* none is promised, and nobody wants any */
	device = largest(native, true, &pairs);
	if (pairs > others + slop + needs)
		return turn;
	if (needs && room != ROOM_EXCHANGE && pairs < others + needs + (promised ? 0 : slop))
		return native->pv_count;
	if (balance_takes(device))
		return row_of(native, device);
	/* It is away. Of a pair the second chunk can be there. */
	return needs || promised || pairs > others ? turn : native->pv_count;
}

unsigned balance_second(const struct native *native, const struct pv *first)
{
	bool tight = balance_pairs(native, true) <= native->promised_pairs;
	const struct pv *best = NULL;
	uint64_t most = 0;

	for (unsigned i = 0; i < native->pv_count && first; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t count;

		if (pv->device != pv || pv == first->device)
			continue;
		count = chunks_of(native, pv, true);
		if (count == 0 || (best && !tight && pv_is_here(best) && !pv_is_here(pv)))
			continue;
		if (!best || count > most || (!tight && pv_is_here(pv) && !pv_is_here(best))) {
			best = pv;
			most = count;
		}
	}
	return best ? row_of(native, best) : native->pv_count;
}
