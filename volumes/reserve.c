/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/guard.h"

/* Space that is promised, and how full the pool is.
 *
 * A volume with a reservation is promised that many bytes of slots. What of it is not used yet is
 * outstanding; the sum over all volumes, of each in whole chunks, is kept from everybody else's
 * allocations, beside the slop. Slots are counted, chunks are allocated: small writes scattered
 * over many chunks leave more outstanding than needed, so the promise holds and others stop a
 * little earlier.
 *
 * A mirrored volume is promised pairs: each counts as two chunks in the sum, and as one of those
 * that two devices have beside each other (balance.c). What a pool has for mirrored volumes is the
 * lesser of both.
 *
 * Vital writes (VOLUME_VITAL) may have as much beside that as the slop is. What they take is
 * counted, as long as there is no room for others: for who was promised space so much less of the
 * slop is kept.
 *
 * The level of fullness (0, or 1 to 3 for the watermark that was reached) is looked at once a
 * second; a change is logged and told to the watchers of all volumes, who turn it into unit
 * attentions. It falls back when the use is a percent below the mark. */

static const uint8_t default_marks[WATERMARKS] = {80, 90, 95};

static bool owned_negative(const struct nvolume *volume)
{
	return (int64_t)volume->owned_slots < 0;
}

static uint64_t outstanding(const struct nvolume *volume)
{
	uint64_t promised = volume->volume.reserve_bytes / VOLUME_SLOT;

	/* What snapshots have may have to be written anew. (While one that is being deleted hands
	 * over to the volume, owned_slots may be too small, even below 0.) */
	uint64_t owned = volume->taking || owned_negative(volume) ? 0 : volume->owned_slots;

	if (volume->state != VOLUME_STATE_LIVE || promised <= owned)
		return 0;
	return promised - owned;
}

uint64_t reserve_chunks_for(uint64_t bytes)
{
	return (bytes + CHUNK - 1) / CHUNK;
}

void reserve_changed(struct nvolume *volume)
{
	struct native *native = volume->native;
	uint64_t now = reserve_chunks_for(outstanding(volume) * VOLUME_SLOT);
	uint64_t *sum = volume->volume.mirror ? &native->promised_pairs : &native->promised;

	quota_use_changed(volume);
	*sum += now - volume->reserve_counted;
	volume->reserve_counted = now;
}

void reserve_setup(struct native *native)
{
	list_for_each (it, &native->volumes)
		reserve_changed(list_entry(it, struct nvolume, link));
}

uint64_t reserve_chunks(const struct native *native)
{
	return native->promised + 2 * native->promised_pairs;
}

uint64_t reserve_pairs_of_others(const struct native *native, const struct nvolume *volume)
{
	return native->promised_pairs - (volume->volume.mirror ? volume->reserve_counted : 0);
}

static uint64_t chunks_of_others(const struct native *native, const struct nvolume *volume)
{
	return reserve_chunks(native) - (volume->volume.mirror + 1u) * volume->reserve_counted;
}

/* What an earlier life took of the slop, as far as it can be told. */
static void slop_settle(struct native *native)
{
	uint64_t total = native->chunks_total;
	uint64_t wanted = native->chunks_used + native->slop_chunks + reserve_chunks(native);

	if (native->slop_counted)
		return;
	native->slop_counted = true;
	if (wanted > total)
		native->slop_taken =
		    wanted - total < native->slop_chunks ? wanted - total : native->slop_chunks;
}

/* Of the slop, what vital writes have not taken yet. */
static uint64_t slop_left(const struct native *native)
{
	return native->slop_taken < native->slop_chunks ? native->slop_chunks - native->slop_taken
							: 0;
}

/* Is there room for a chunk beside so many that are kept? */
static bool beside(const struct native *native, const struct nvolume *volume, uint64_t kept)
{
	return native->chunks_used + kept + volume->volume.mirror < native->chunks_total;
}

bool reserve_room(struct native *native, const struct nvolume *volume, enum room room)
{
	uint64_t others = chunks_of_others(native, volume);

	if (room == ROOM_EXCHANGE)
		return beside(native, volume, 0);
	slop_settle(native);
	if (beside(native, volume, native->slop_chunks + reserve_chunks(native)))
		native->slop_taken = 0;
	if (beside(native, volume, native->slop_chunks + others))
		return true;
	if (room == ROOM_VITAL)
		return slop_left(native) > volume->volume.mirror;
	/* what was promised was promised beside the slop: it is there, whoever has taken that */
	return volume->reserve_counted && beside(native, volume, slop_left(native) + others);
}

void reserve_taken(struct native *native, const struct nvolume *volume, enum room room)
{
	uint64_t others = chunks_of_others(native, volume);

	if (room == ROOM_VITAL && !beside(native, volume, native->slop_chunks + others))
		native->slop_taken += 1u + volume->volume.mirror;
}

bool reserve_pairs_fit(const struct native *native, uint64_t pairs)
{
	return native->promised_pairs + pairs + native->slop_pairs <= balance_pairs(native, true);
}

bool reserve_fits(const struct native *native, uint64_t chunks, uint64_t pairs)
{
	uint64_t more = chunks + 2 * pairs + native->slop_chunks + reserve_chunks(native);

	return native->chunks_used + more <= native->chunks_total &&
	       (pairs == 0 || reserve_pairs_fit(native, pairs));
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t without(uint64_t all, uint64_t some)
{
	return all > some ? all - some : 0;
}

uint64_t reserve_mirror_room(const struct native *native, uint64_t *ret_total)
{
	uint64_t slop = native->slop_pairs, total = native->chunks_total - native->slop_chunks;
	uint64_t left = without(total, native->chunks_used + reserve_chunks(native));

	*ret_total = least(total / 2, without(balance_pairs(native, false), slop));
	return least(left / 2, without(balance_pairs(native, true), slop + native->promised_pairs));
}

const uint8_t *watermarks_of(const struct native *native)
{
	return native->sb.watermark[0] ? native->sb.watermark : default_marks;
}

static unsigned level_of(const struct native *native, uint64_t used, uint64_t total)
{
	const uint8_t *marks = watermarks_of(native);
	unsigned level = 0;

	while (level < WATERMARKS && used * 100 >= marks[level] * total)
		level++;
	/* not down before it is a percent below */
	while (level < native->watermark_level &&
	       used * 100 + total >= marks[native->watermark_level - 1] * total)
		return native->watermark_level;
	return level;
}

/* Where there are mirrored volumes a pool is as full as it is for them, if that is more. */
static unsigned level_now(const struct native *native)
{
	uint64_t pairs, left, total = native->chunks_total - native->slop_chunks;
	unsigned level = level_of(native, native->chunks_used + reserve_chunks(native), total),
		 more;

	if (native->mirrors == 0 && native->promised_pairs == 0)
		return level;
	left = reserve_mirror_room(native, &pairs);
	more = level_of(native, without(pairs, left), pairs);
	return more > level ? more : level;
}

void watermark_look(struct native *native)
{
	unsigned level, before = native->watermark_level;

	native_lock(native);
	level = level_now(native);
	native->watermark_level = level;
	pthread_mutex_unlock(&native->lock);
	if (level == before)
		return;
	if (level > before)
		log_warning("pool %s is %u %% full", native->sb.name,
			    watermarks_of(native)[level - 1]);
	else
		log_notice("pool %s is less than %u %% full again", native->sb.name,
			   watermarks_of(native)[level]);
	list_for_each_safe (it, &native->volumes)
		volume_notify(&list_entry(it, struct nvolume, link)->volume, VOLUME_THRESHOLD);
}
