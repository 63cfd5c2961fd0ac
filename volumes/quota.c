/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "volumes/keeper.h"

/* What a volume may take together with its snapshots, and changes of what is promised to it.
 *
 * Each mapped slot is owned by one row, a volume or a snapshot (nvolume.owned_slots), and each row
 * counts for one volume, its tree: a volume for itself, a snapshot for the volume it is of, and a
 * snapshot that is being deleted for the one it hands over to, since what of it stays will be that
 * one's. So what a deletion gives back counts until it has been given back. A clone is a volume:
 * what it was made of counts for the other, what it has written since for itself.
 *
 * The sums are kept while any volume of the pool has a quota. What rows map changes them one by
 * one; when rows are made, change their parents or go, all is summed anew before the next look. */

static uint64_t quota_slots(const struct nvolume *volume)
{
	return volume->volume.quota_bytes / VOLUME_SLOT;
}

static void add(struct nvolume *row)
{
	row->tree_counted = row->owned_slots - row->reaped_slots;
	if (row->tree)
		row->tree->tree_slots += row->tree_counted;
}

/* @row is one of @tree's, and so are those under it that are being deleted. */
static void assign(struct nvolume *row, struct nvolume *tree)
{
	row->tree = tree;
	add(row);
	for (row = row->parent; row && row->state == VOLUME_STATE_DELETING && !row->tree;
	     row = row->parent)
		row->tree = tree;
}

static void forget_sums(struct native *native)
{
	native->quotas = 0;
	list_for_each (it, &native->volumes) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);

		volume->tree_slots = 0;
		native->quotas += volume->volume.quota_bytes > 0;
	}
	list_for_each (it, &native->deleting)
		list_entry(it, struct nvolume, link)->tree = NULL;
}

void quota_setup(struct native *native)
{
	forget_sums(native);
	list_for_each (it, &native->volumes) {
		struct nvolume *volume = list_entry(it, struct nvolume, link);

		assign(volume, volume);
		list_for_each (its, &volume->snapshots)
			assign(list_entry(its, struct nvolume, listed), volume);
	}
	list_for_each (it, &native->taking) {
		struct nvolume *snapshot = list_entry(it, struct nvolume, link);

		assign(snapshot, snapshot->of);
	}
	list_for_each (it, &native->deleting)
		add(list_entry(it, struct nvolume, link));
	native->trees_stale = false;
}

void quota_rows_changed(struct native *native)
{
	native->trees_stale = true;
}

void quota_use_changed(struct nvolume *volume)
{
	uint64_t now = volume->owned_slots - volume->reaped_slots;

	if (volume->native->quotas == 0 || volume->native->trees_stale || !volume->tree)
		return;
	volume->tree->tree_slots += now - volume->tree_counted;
	volume->tree_counted = now;
}

/* Below 0 for a moment, while what is being deleted hands over. */
static uint64_t taken(struct nvolume *volume)
{
	if (volume->native->trees_stale)
		quota_setup(volume->native);
	return (int64_t)volume->tree_slots < 0 ? 0 : volume->tree_slots;
}

bool quota_allows(struct nvolume *volume, unsigned slots)
{
	return volume->native->quotas == 0 || volume->volume.quota_bytes == 0 ||
	       taken(volume) + slots <= quota_slots(volume);
}

uint64_t native_quota_used(struct volume *volume)
{
	struct nvolume *mine = nvolume_of(volume);
	uint64_t slots;

	native_lock(mine->native);
	slots = volume->quota_bytes ? taken(mine) : 0;
	pthread_mutex_unlock(&mine->native->lock);
	return slots * VOLUME_SLOT;
}

/* ---- changes ---- */
int quota_refuse(struct pool_call *call, const char *about, int code, const char *format, ...)
{
	char text[sizeof call->err.text];
	va_list values;

	va_start(values, format);
	vsnprintf(text, sizeof text, format, values);
	va_end(values);
	call->about = about;
	return err_set(&call->err, code, "%s", text);
}

int quota_spec_check(struct pool_call *call, const char *name, uint64_t size, uint64_t reserve,
		     uint64_t quota)
{
	if (quota > VOLUME_QUOTA_MAX || quota % VOLUME_SLOT || reserve % VOLUME_SLOT)
		return quota_refuse(
		    call, reserve % VOLUME_SLOT ? "reserve" : "quota", -EINVAL,
		    "a quota is a multiple of 4096 bytes, at most 1 EiB; so is a reservation");
	if (reserve > size)
		return quota_refuse(
		    call, "reserve", -EINVAL,
		    "volume %s is smaller than that: it can reserve %llu bytes at most", name,
		    (unsigned long long)size);
	if (quota && quota < reserve)
		return quota_refuse(call, "quota", -EINVAL,
				    "the quota of volume %s would be less than what it reserves",
				    name);
	return 0;
}

int quota_change(struct native_call *mine)
{
	struct nvolume *volume = mine->volume;
	struct native *native = mine->native;
	uint64_t before = volume->volume.reserve_bytes;
	uint64_t reserve = mine->set_reserve ? mine->reserve : before;
	uint64_t quota = mine->set_quota ? mine->quota : volume->volume.quota_bytes;
	bool fits;
	int result =
	    quota_spec_check(mine->call, volume->volume.name, volume->stored_size, reserve, quota);

	if (result < 0)
		return result;
	native_lock(native);
	volume->volume.reserve_bytes = reserve;
	reserve_changed(volume);
	fits = reserve <= before || (reserve_fits(native, 0, 0) &&
				     (!volume->volume.mirror || reserve_pairs_fit(native, 0)));
	if (!fits || mine->call->dry) {
		volume->volume.reserve_bytes = before;
		reserve_changed(volume);
	}
	if (!fits) {
		result = quota_refuse(mine->call, "reserve", -ENOSPC,
				      "pool %s has not that much space left to reserve",
				      native->sb.name);
	} else if (!mine->call->dry) {
		volume->volume.quota_bytes = quota;
		quota_setup(native);
		nvolume_mark_dirty(volume);
	}
	pthread_mutex_unlock(&native->lock);
	return result;
}

void native_volume_set_space(struct volume *volume, const struct volume_space *space,
			     struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(volume->pool), call, CALL_SPACE);

	if (!mine)
		return;
	mine->volume = nvolume_of(volume);
	mine->set_reserve = space->reserve_bytes != NULL;
	mine->set_quota = space->quota_bytes != NULL;
	mine->reserve = mine->set_reserve ? *space->reserve_bytes : 0;
	mine->quota = mine->set_quota ? *space->quota_bytes : 0;
	call_queue(mine);
}
