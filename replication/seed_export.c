/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "replication/order.h"
#include "replication/seed.h"
#include "volumes/volume_io.h"

#define EXTENTS 64u

static bool stopped(struct seed_work *work)
{
	return work->reading.stop && work->reading.stop(&work->reading);
}

int seed_work_open(struct seed_work *work)
{
	work->data = heap_scratch(4096, SEED_PIECE);
	return work->data ? 0 : -ENOMEM;
}

void seed_work_close(struct seed_work *work)
{
	seed_finish(&work->seed);
	heap_free(work->data);
	work->data = NULL;
}

/* ---- what is in it ---- */
/* One run of slots that hold something, or none at all. */
static int export_piece(struct seed_work *work, struct seed_writer *writer, unsigned member,
			uint64_t offset, uint64_t length)
{
	uint64_t slots = length / VOLUME_SLOT, first = 0;
	int result = 0;

	while (result == 0 && first < slots) {
		uint64_t end = first;

		while (end < slots && !all_zero(work->data + end * VOLUME_SLOT, VOLUME_SLOT))
			end++;
		if (end > first) {
			struct pack_record record = {member, offset + first * VOLUME_SLOT,
						     (end - first) * VOLUME_SLOT,
						     work->data + first * VOLUME_SLOT};

			result = seed_record(writer, &record);
		}
		first = end + 1;
	}
	return result;
}

static int export_extent(struct seed_work *work, struct seed_writer *writer, unsigned member,
			 struct volume *snapshot, const struct volume_extent *extent,
			 struct err *err)
{
	for (uint64_t at = 0; at < extent->length && extent->mapped; at += SEED_PIECE) {
		uint64_t length =
		    extent->length - at < SEED_PIECE ? extent->length - at : SEED_PIECE;
		int result;

		if (stopped(work))
			return err_set(err, -ECANCELED,
				       "cancelled; the same export again goes on from here");
		result =
		    volume_io(snapshot, VOLUME_READ, 0, extent->offset + at, work->data, length);
		if (result < 0)
			return err_set(err, result, "snapshot %s can not be read: %s",
				       snapshot->name, strerror(-result));
		result = export_piece(work, writer, member, extent->offset + at, length);
		if (result < 0)
			return err_set(err, result,
				       "%s: %s; the same export again goes on from here",
				       work->name, strerror(-result));
		*work->done_bytes += length;
	}
	return 0;
}

static int export_member(struct seed_work *work, struct seed_writer *writer, unsigned member,
			 struct volume *snapshot, struct err *err)
{
	uint64_t at = member == work->seed.member ? work->seed.end : 0;
	int result = 0;

	while (result == 0 && at < volume_size(snapshot)) {
		struct volume_extent extents[EXTENTS];
		struct volume_io io;

		volume_io_prepare(&io, VOLUME_EXTENTS, 0, at, NULL, volume_size(snapshot) - at);
		io.request.extents = extents;
		io.request.extent_max = EXTENTS;
		volume_submit(snapshot, &io.request);
		result = volume_io_wait(&io);
		if (result < 0 || io.request.extent_count == 0)
			return err_set(err, result ? result : -EIO, "snapshot %s has no map",
				       snapshot->name);
		for (unsigned i = 0; i < io.request.extent_count && result == 0; i++) {
			result = export_extent(work, writer, member, snapshot, &extents[i], err);
			at = extents[i].offset + extents[i].length;
		}
	}
	return result;
}

static void close_sources(struct volume *sources[WIRE_MEMBERS_MAX])
{
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++)
		volume_unref(sources[i]);
}

/* How much there is, and, where an export goes on, of when it is. */
static void look_at_sources(struct seed_work *work, struct volume *const sources[WIRE_MEMBERS_MAX])
{
	struct snapshot_info info;
	uint64_t used = 0;

	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (!sources[i] || !snapshot_get_info(sources[i], &info))
			continue;
		used += info.used_bytes;
		if (!work->seed.wall_ns)
			work->seed.wall_ns = info.created_ns;
	}
	*work->total_bytes = used;
	*work->done_bytes = work->seed.data_bytes;
}

static int export_all(struct seed_work *work, struct seed_writer *writer, struct err *err)
{
	struct volume *sources[WIRE_MEMBERS_MAX] = {0};
	int result = work->host->sources(work, sources);

	if (result < 0)
		err_set(err, result, "the snapshots of the export are not there any more");
	look_at_sources(work, sources);
	for (unsigned i = work->seed.records ? work->seed.member : 0;
	     i < WIRE_MEMBERS_MAX && result == 0; i++) {
		if (sources[i])
			result = export_member(work, writer, i, sources[i], err);
	}
	close_sources(sources);
	return result;
}

int seed_export_stream(struct seed_work *work, struct err *err)
{
	const struct group *group = work->group;
	enum pack_kind kind = group->compression == PACK_OFF ? PACK_LZ4 : group->compression;
	struct seed_writer writer;
	int result = seed_writer_open(&writer, work->bytes, &work->seed, kind);

	if (result < 0)
		return err_set(err, result, "out of memory");
	if (work->seed.at == 0)
		result = seed_begin(&writer);
	if (result < 0)
		err_set(err, result, "%s: %s", work->name, strerror(-result));
	if (result == 0)
		result = export_all(work, &writer, err);
	if (result == 0) {
		result = seed_seal(&writer);
		if (result < 0)
			err_set(err, result, "%s: %s", work->name, strerror(-result));
	}
	seed_writer_close(&writer);
	return result;
}

/* Nothing changes while they are made, so that they are one moment over all pools, and nothing is
 * under way that they may have or not. */
static int hold_and_snapshot(struct seed_work *work, const char *name, struct err *err)
{
	struct group *group = work->group;
	bool holds = ORDER(seed_holds_before_snapshots);
	int result;

	if (holds)
		recorder_set_mode(group->recorder, RECORDER_HOLDS);
	if (holds)
		group_drain(group);
	work->seed.wall_ns = loop_wall(group->loop);
	result = work->host->snapshot(work, name, err);
	if (!holds)
		return result;
	if (recorder_mode(group->recorder) == RECORDER_HOLDS)
		recorder_set_mode(group->recorder, RECORDER_RECORDS);
	else if (result == 0) /* the end of a session has let them go on */
		result = err_set(err, -EAGAIN, "the link was lost at that moment: ask again");
	return result;
}

/* A number that no session's epoch has, nor the seed of an earlier export. */
static int next_number(struct seed_work *work, struct err *err)
{
	struct group *group = work->group;
	uint64_t epoch = group->seed_epoch + 1, open = recorder_open_epoch(group->recorder);
	int result = 0;

	epoch = epoch < open ? open : epoch;
	if (ORDER(seed_number_before_snapshots))
		result = work->host->number(work, epoch, err);
	if (result == 0)
		work->seed.epoch = group->seed_epoch = epoch;
	return result;
}

int seed_export_moment(struct seed_work *work, struct err *err)
{
	struct group *group = work->group;
	char name[SNAPSHOT_NAME_MAX + 1];
	int result = next_number(work, err);

	if (result < 0)
		return result;
	seed_snapshot_name(group, work->seed.epoch, name);
	result = hold_and_snapshot(work, name, err);
	seed_snapshots_drop(group, result < 0 ? 0 : work->seed.epoch);
	if (result < 0)
		return result;
	work->seed.lineage = group->lineage;
	memcpy(work->seed.node, group->node, 16);
	memcpy(work->seed.group, group->uuid, 16);
	work->seed.definition = heap_strdup(group->host->definition(group));
	return work->seed.definition ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int not_ours(const struct seed_work *work, struct err *err)
{
	return err_set(err, -EEXIST, "%s is not of the last export of this group: delete it first",
		       work->name);
}

int seed_export_look(struct seed_work *work, struct err *err)
{
	struct volume *sources[WIRE_MEMBERS_MAX] = {0};
	struct err why = {0};
	int result = seed_peek(work->bytes, &work->seed, &why);

	if (result < 0 || memcmp(work->seed.group, work->group->uuid, 16) != 0 ||
	    work->host->sources(work, sources) < 0)
		result = not_ours(work, err);
	close_sources(sources);
	return result;
}

int seed_export_again(struct seed_work *work, struct err *err)
{
	struct err why = {0};
	int result;

	seed_finish(&work->seed);
	result = seed_read(work->bytes, &work->reading, &work->seed, &why);
	if (result < 0 && result != -ENODATA && result != -EBADMSG) /* not where it ended */
		return err_set(err, result, "%s", why.text);
	if (!work->seed.sealed && !work->seed.digest.state)
		return not_ours(work, err);
	result = work->seed.sealed ? 0 : work->bytes->cut(work->bytes, work->seed.at);
	return result < 0 ? err_set(err, result, "%s: %s", work->name, strerror(-result)) : 0;
}
