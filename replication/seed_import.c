/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "replication/order.h"
#include "replication/seed.h"
#include "volumes/volume_io.h"

#define DISCARD ((uint64_t)64 << 30)

static int import_record(struct seed_reading *reading, const struct pack_record *record,
			 struct err *err)
{
	struct seed_work *work = container_of(reading, struct seed_work, reading);
	struct volume *volume = work->group->members[record->member].volume;
	int result;

	if (!record->data)
		return 0; /* it has nothing yet */
	if (!volume || record->offset + record->length > volume_size(volume))
		return err_set(err, -EINVAL, "the seed has a member that the group has not");
	memcpy(work->data, record->data, record->length);
	result = volume_io(volume, VOLUME_WRITE, 0, record->offset, work->data, record->length);
	return result < 0 ? err_set(err, result, "volume %s: %s", volume->name, strerror(-result))
			  : 0;
}

/* Whatever was begun before. */
static int empty_members(struct seed_work *work, struct err *err)
{
	struct group *group = work->group;

	for (unsigned i = 0; i < group->member_max; i++) {
		struct volume *volume = group->members[i].volume;
		uint64_t size = volume ? volume_size(volume) : 0;

		for (uint64_t at = 0; at < size; at += DISCARD) {
			uint64_t length = size - at < DISCARD ? size - at : DISCARD;
			int result = volume_io(volume, VOLUME_DISCARD, 0, at, NULL, length);

			if (result < 0)
				return err_set(err, result, "volume %s: %s", volume->name,
					       strerror(-result));
		}
	}
	return 0;
}

int seed_import_allowed(const struct group *group, const struct seed *seed, const uint8_t peer[16],
			struct err *err)
{
	if (group->role != GROUP_STANDBY)
		return err_set(err, -EINVAL, "group %s is %s here: import its seed on its standby",
			       group->name, group_role_name(group->role));
	if (memcmp(seed->node, peer, 16) != 0)
		return err_set(err, -EINVAL, "the seed is of another node than group %s's primary",
			       group->name);
	if (group->staging_good && group->staging.sealed)
		return err_set(err, -EEXIST,
			       "group %s has a sealed image here, of epoch %" PRIu64
			       "; a seed, of epoch %" PRIu64 ", is for a standby without one",
			       group->name, group->staging.sealed, seed->epoch);
	return 0;
}

/* As at the primary at that moment; nothing of the image is touched. */
static int define(struct seed_work *work, const uint8_t peer[16], struct err *err)
{
	struct group *group = work->group;
	const char *text = work->seed.definition;
	int result = group->host->define(group, text, strlen(text), err);

	if (result == 0)
		result = group_open_staging(group, err);
	return result < 0 ? result : seed_import_allowed(group, &work->seed, peer, err);
}

static int make_image(struct seed_work *work, struct err *err)
{
	struct group *group = work->group;
	int result = ORDER(seed_begins_before_members) ? staging_seed_begin(&group->staging) : 0;

	if (result < 0)
		return err_set(err, result, "the staging log: %s", strerror(-result));
	result = empty_members(work, err);
	if (result < 0)
		return result;
	seed_finish(&work->seed);
	work->reading.record = import_record;
	*work->done_bytes = 0;
	result = seed_read(work->bytes, &work->reading, &work->seed, err);
	if (result < 0)
		return result;
	result = staging_seed_end(&group->staging, work->seed.epoch, work->seed.wall_ns,
				  &work->seed.lineage);
	if (result < 0)
		return err_set(err, result, "the staging log: %s", strerror(-result));
	group->accept_any = false;
	if (group->host->save(group) < 0)
		return err_set(err, -EIO, "the group could not be saved");
	if (group->host->sealed)
		group->host->sealed(group);
	return 0;
}

int seed_import(struct seed_work *work, const uint8_t peer[16], struct err *err)
{
	int result = 0;

	work->reading.progress = work->done_bytes;
	seed_finish(&work->seed);
	if (ORDER(seed_is_whole_before_members))
		result = seed_read(work->bytes, &work->reading, &work->seed, err);
	else
		result = seed_peek(work->bytes, &work->seed, err);
	if (result == 0 && work->host->taken)
		work->host->taken(work);
	if (result == 0)
		result = define(work, peer, err);
	return result == 0 ? make_image(work, err) : result;
}
