/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/node.h"
#include "replication/seed_file.h"
#include "replication/seed_stream.h"
#include "volumes/pool_wait.h"
#include "volumes/volume_io.h"

/*~ The first image on a disk that is carried to the standby, for where the link is too slow.
 *
 * An export is one moment of the primary: guests' changes are held while every member gets a
 * snapshot, and what the snapshots hold goes to a file, while guests go on. That moment is an epoch
 * of the group, which no other export has. The standby takes the file in place of a seed over the
 * link: it is a sealed image then, and could be promoted. When it says at the next session that it
 * holds this epoch, what lies between the snapshots and now is marked, and nothing else is sent.
 * Without the snapshots everything is marked, and compared by hashes as after a crash.
 *
 * The image is no image before the whole of the file has been checked twice: once before anything
 * is touched, once while it is written. */

#define PIECE   WIRE_DATA_MAX
#define EXTENTS 64u
#define DISCARD ((uint64_t)64 << 30)

struct job {
	struct seat *seat;
	struct replication *replication;
	struct seed seed;
	struct seed_bytes bytes;
	struct seed_reading reading;
	char part[1040]; /* of an export: as it is called until it is whole */
	uint8_t *data;   /* PIECE */
	bool again;      /* an export that was begun before goes on */
	unsigned frames; /* that were read */
};

int seed_way_check(const char *way, struct err *err)
{
	if (strcmp(way, "wire") == 0 || strcmp(way, "ship") == 0)
		return 0;
	return err_set(err, -EINVAL, "a seed goes by wire or ship, not %s", way);
}

json_t *seed_show(const struct seat *seat)
{
	const struct seat_seed *seed = &seat->seed;

	return json_pack("{s:s,s:b,s:s,s:s,s:I,s:I,s:I,s:I}", "state", seed->state, "running",
			 (int)seed->running, "path", seed->path, "reason", seed->reason, "epoch",
			 (json_int_t)seed->epoch, "done_bytes", (json_int_t)seed->done_bytes,
			 "total_bytes", (json_int_t)seed->total_bytes, "file_bytes",
			 (json_int_t)seed->file_bytes);
}

/* ---- the snapshots of exports ---- */
#define PREFIX_TEXT 16

static void prefix_of(const struct group *group, char prefix[PREFIX_TEXT])
{
	snprintf(prefix, PREFIX_TEXT, "seed-%02x%02x%02x%02x-", group->uuid[0], group->uuid[1],
		 group->uuid[2], group->uuid[3]);
}

static void name_of(const struct group *group, uint64_t epoch, char name[SNAPSHOT_NAME_MAX + 1])
{
	char prefix[PREFIX_TEXT];

	prefix_of(group, prefix);
	snprintf(name, SNAPSHOT_NAME_MAX + 1, "%s%" PRIu64, prefix, epoch);
}

/* The snapshot @name of @volume, a reference; NULL: there is none. */
static struct volume *find_snapshot(struct volume *volume, const char *name)
{
	struct volume *snapshot = NULL;
	struct snapshot_info info;

	while ((snapshot = snapshot_next(volume, snapshot))) {
		if (snapshot_get_info(snapshot, &info) && strcmp(info.name, name) == 0)
			break;
	}
	return snapshot;
}

/* One that is of an export, but not @but; NULL: none. */
static struct volume *find_other(const struct group *group, struct volume *volume, const char *but)
{
	struct volume *snapshot = NULL;
	struct snapshot_info info;
	char prefix[PREFIX_TEXT];

	prefix_of(group, prefix);
	while ((snapshot = snapshot_next(volume, snapshot))) {
		if (snapshot_get_info(snapshot, &info) &&
		    strncmp(info.name, prefix, strlen(prefix)) == 0 &&
		    strcmp(info.name, but) != 0 && !info.in_use && !info.held && !info.clones)
			break;
	}
	return snapshot;
}

/* Those of all exports but @epoch's. What can not be deleted is tried again at the next start. */
static void drop_snapshots(struct seat *seat, uint64_t epoch)
{
	struct group *group = &seat->group;
	char but[SNAPSHOT_NAME_MAX + 1];

	name_of(group, epoch, but);
	for (unsigned i = 0; i < group->member_max; i++) {
		struct volume *snapshot;

		while (group->members[i].volume &&
		       (snapshot = find_other(group, group->members[i].volume, but))) {
			struct pool_wait waiting = POOL_WAIT;
			struct err err = {0};

			snapshot_delete(snapshot, &waiting.call);
			if (pool_wait(&waiting, &err) == 0)
				continue;
			log_warning("group %s: snapshot %s could not be deleted: %s", group->name,
				    snapshot->name, err.text);
			volume_unref(snapshot);
			break;
		}
	}
}

static void tidy_main(void *context)
{
	struct seat *seat = context;
	struct replication *replication = seat->replication;

	if (!seat->gone && seat->started)
		drop_snapshots(seat, 0);
	seat_leave(seat);
	node_release(replication);
}

void seed_tidy(struct seat *seat)
{
	struct replication *replication = seat->replication;

	if (seat->seed.tidied || !seat->started || seat->group.role != GROUP_PRIMARY ||
	    !seat->group.acked || seat->seed.running || replication->stopping)
		return;
	seat->seed.tidied = true;
	seat_enter(seat);
	node_hold(replication);
	if (fiber_start(replication->options.loop, tidy_main, seat) == 0)
		return;
	seat_leave(seat);
	node_release(replication);
}

/* ---- what has changed since ---- */
static int mark_difference(struct group *group, unsigned member, struct volume *from)
{
	struct volume_extent extents[EXTENTS];
	struct volume_diff diff = {.from = from,
				   .to = group->members[member].volume,
				   .extents = extents,
				   .extent_max = EXTENTS};
	int result = 0;

	while (result == 0 && !diff.finished) {
		struct pool_wait waiting = POOL_WAIT;
		struct err err = {0};

		diff.extent_count = 0;
		volume_diff(&diff, &waiting.call);
		result = pool_wait(&waiting, &err);
		for (unsigned i = 0; i < diff.extent_count && result == 0; i++)
			recorder_mark(group->recorder, member, extents[i].offset,
				      extents[i].length);
		if (result < 0)
			log_warning("group %s: volume %s can not be compared with its seed: %s",
				    group->name, group->members[member].volume->name, err.text);
	}
	return result;
}

static void clear_marks(struct group *group, unsigned member)
{
	uint64_t offset, length;

	while (recorder_take(group->recorder, member, 0, UINT64_MAX, &offset, &length))
		;
	marks_clear_all(&group->members[member].sent);
}

/* The marks go first: whatever changes from then on is marked again, and what had changed before is
 * in the difference. */
int seed_mark_since(struct group *group, uint64_t epoch)
{
	struct volume *from[WIRE_MEMBERS_MAX] = {0};
	char name[SNAPSHOT_NAME_MAX + 1];
	int result = -ENOENT;

	name_of(group, epoch, name);
	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume)
			from[i] = find_snapshot(group->members[i].volume, name);
		if (from[i])
			result = 0;
	}
	if (result == 0)
		recorder_fall_back(group->recorder);
	for (unsigned i = 0; i < group->member_max; i++) {
		struct volume *volume = group->members[i].volume;

		if (!volume || result < 0) {
			volume_unref(from[i]);
			continue;
		}
		clear_marks(group, i);
		if (from[i])
			result = mark_difference(group, i, from[i]);
		else /* it has joined since */
			recorder_mark(group->recorder, i, 0, volume_size(volume));
		volume_unref(from[i]);
	}
	if (result < 0 && result != -ENOENT)
		recorder_mark_all(group->recorder);
	return result;
}

/* ---- jobs ---- */
static int64_t file_read(struct seed_bytes *bytes, void *data, size_t length, uint64_t offset)
{
	struct job *job = bytes->context;

	return seed_file_read(job->replication->options.loop, bytes->fd, data, length, offset);
}

static int file_write(struct seed_bytes *bytes, const void *data, size_t length, uint64_t offset)
{
	struct job *job = bytes->context;

	job->seat->seed.file_bytes = offset + length;
	return seed_file_write(job->replication->options.loop, bytes->fd, data, length, offset);
}

static bool stopped(const struct job *job)
{
	return job->seat->seed.cancelled || job->replication->stopping;
}

/* After each frame: a small file may be much to unpack and to sum up. */
static bool reading_stopped(struct seed_reading *reading)
{
	struct job *job = container_of(reading, struct job, reading);

	if (++job->frames % 16 == 0)
		fiber_sleep(0);
	return stopped(job);
}

static struct job *job_new(struct replication *replication, struct seat *seat)
{
	struct job *job = heap_zalloc(sizeof *job);

	if (!job)
		return NULL;
	job->replication = replication;
	job->seat = seat;
	job->bytes =
	    (struct seed_bytes){.read = file_read, .write = file_write, .context = job, .fd = -1};
	job->reading.stop = reading_stopped;
	job->data = heap_aligned(4096, PIECE);
	if (job->data)
		return job;
	heap_free(job);
	return NULL;
}

static void job_free(struct job *job)
{
	if (!job)
		return;
	seed_file_close(job->bytes.fd);
	seed_finish(&job->seed);
	heap_free(job->data);
	heap_free(job);
}

/* The seat's from here on; @path is what is told. */
static int job_start(struct job *job, const char *state, const char *path,
		     void (*main)(void *context), struct err *err)
{
	struct replication *replication = job->replication;
	struct seat *seat = job->seat;
	int result;

	seat->seed = (struct seat_seed){.state = state, .running = true, .epoch = job->seed.epoch};
	snprintf(seat->seed.path, sizeof seat->seed.path, "%s", path);
	seat_enter(seat);
	node_hold(replication);
	result = fiber_start(replication->options.loop, main, job);
	if (result == 0)
		return 0;
	seat->seed.running = false;
	seat->seed.state = "none";
	seat_leave(seat);
	node_release(replication);
	return err_set(err, result, "out of memory");
}

static void job_end(struct job *job, int result, const char *state, const struct err *err)
{
	struct replication *replication = job->replication;
	struct seat *seat = job->seat;
	struct seat_seed *seed = &seat->seed;

	seed->state = result < 0 ? "failed" : state;
	if (result < 0)
		snprintf(seed->reason, sizeof seed->reason, "%.199s", err->text);
	if (result < 0)
		log_warning("group %s: seed %s: %s", seat->group.name, seed->path, err->text);
	else
		log_notice("group %s: seed %s is %s, epoch %llu", seat->group.name, seed->path,
			   state, (unsigned long long)seed->epoch);
	seed->running = seed->importing = false;
	job_free(job);
	seat_leave(seat);
	node_release(replication);
}

void seed_stop(struct seat *seat)
{
	seat->seed.cancelled = true;
	while (seat->seed.running)
		fiber_sleep(2000000);
}

void replication_seed_cancel(struct replication *replication, const char *name,
			     struct replication_call *call)
{
	struct seat *seat = seat_find(replication, name);
	int result = 0;

	if (!seat)
		result = err_set(&call->err, -ENOENT, "no group named %s", name);
	else if (!seat->seed.running)
		result = err_set(&call->err, -EINVAL, "group %s: no seed is under way", name);
	else
		seat->seed.cancelled = true;
	if (result == 0)
		call->reply = seat_show(seat);
	call->done(call, result);
}

static int file_error(const char *path, int error, struct err *err)
{
	return err_set(err, error, "%s: %s", path,
		       error == -ELOOP    ? "is a symbolic link"
		       : error == -EINVAL ? "is no file"
					  : strerror(-error));
}

static int path_check(const char *path, struct err *err)
{
	if (path[0] != '/')
		return err_set(err, -EINVAL, "%s is not the whole path of a file", path);
	if (strlen(path) >= sizeof((struct seat_seed *)0)->path - 100)
		return err_set(err, -ENAMETOOLONG, "that path is too long");
	return 0;
}

/* ---- export ---- */
struct export_work {
	struct seat_work work;
	char *path;
};

/* One run of slots that hold something, or none at all. */
static int export_piece(struct job *job, struct seed_writer *writer, unsigned member,
			uint64_t offset, uint64_t length)
{
	uint64_t slots = length / VOLUME_SLOT, first = 0;
	int result = 0;

	while (result == 0 && first < slots) {
		uint64_t end = first;

		while (end < slots && !all_zero(job->data + end * VOLUME_SLOT, VOLUME_SLOT))
			end++;
		if (end > first) {
			struct pack_record record = {member, offset + first * VOLUME_SLOT,
						     (end - first) * VOLUME_SLOT,
						     job->data + first * VOLUME_SLOT};

			result = seed_record(writer, &record);
		}
		first = end + 1;
	}
	return result;
}

static int export_extent(struct job *job, struct seed_writer *writer, unsigned member,
			 struct volume *snapshot, const struct volume_extent *extent,
			 struct err *err)
{
	for (uint64_t at = 0; at < extent->length && extent->mapped; at += PIECE) {
		uint64_t length = extent->length - at < PIECE ? extent->length - at : PIECE;
		int result;

		if (stopped(job))
			return err_set(err, -ECANCELED,
				       "cancelled; the same export again goes on from here");
		result =
		    volume_io(snapshot, VOLUME_READ, 0, extent->offset + at, job->data, length);
		if (result < 0)
			return err_set(err, result, "snapshot %s can not be read: %s",
				       snapshot->name, strerror(-result));
		result = export_piece(job, writer, member, extent->offset + at, length);
		if (result < 0)
			return err_set(err, result,
				       "%s: %s; the same export again goes on from here", job->part,
				       strerror(-result));
		job->seat->seed.done_bytes += length;
	}
	return 0;
}

static int export_member(struct job *job, struct seed_writer *writer, unsigned member,
			 struct volume *snapshot, struct err *err)
{
	uint64_t at = member == job->seed.member ? job->seed.end : 0;
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
			result = export_extent(job, writer, member, snapshot, &extents[i], err);
			at = extents[i].offset + extents[i].length;
		}
	}
	return result;
}

/* Of the members that the seed has, a reference each; -ENOENT: not all are there. */
static int open_sources(struct job *job, struct volume *sources[WIRE_MEMBERS_MAX])
{
	const struct replication_host *host = &job->replication->options.host;
	json_t *definition = json_loads(job->seed.definition, 0, NULL), *member;
	char name[SNAPSHOT_NAME_MAX + 1];
	int result = 0;
	size_t at;

	name_of(&job->seat->group, job->seed.epoch, name);
	json_array_foreach(json_object_get(definition, "members"), at, member)
	{
		json_int_t index = json_integer_value(json_object_get(member, "index"));
		const char *text = json_string_value(json_object_get(member, "uuid"));
		struct volume *volume = NULL;
		uint8_t uuid[16];

		if (text && strlen(text) == 32 && uuid_parse(text, uuid))
			volume = host->volume(host->context, uuid);
		if (volume && index >= 0 && index < WIRE_MEMBERS_MAX && !sources[index])
			sources[index] = find_snapshot(volume, name);
		if (!volume || index < 0 || index >= WIRE_MEMBERS_MAX || !sources[index])
			result = -ENOENT;
		volume_unref(volume);
	}
	json_decref(definition);
	return result;
}

static void close_sources(struct volume *sources[WIRE_MEMBERS_MAX])
{
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++)
		volume_unref(sources[i]);
}

/* How much there is, and, where an export goes on, of when it is. */
static void look_at_sources(struct job *job, struct volume *const sources[WIRE_MEMBERS_MAX])
{
	struct snapshot_info info;
	uint64_t used = 0;

	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (!sources[i] || !snapshot_get_info(sources[i], &info))
			continue;
		used += info.used_bytes;
		if (!job->seed.wall_ns)
			job->seed.wall_ns = info.created_ns;
	}
	job->seat->seed.total_bytes = used;
	job->seat->seed.done_bytes = job->seed.data_bytes;
}

static int export_all(struct job *job, struct seed_writer *writer, struct err *err)
{
	struct volume *sources[WIRE_MEMBERS_MAX] = {0};
	int result = open_sources(job, sources);

	if (result < 0)
		err_set(err, result, "the snapshots of the export are not there any more");
	look_at_sources(job, sources);
	for (unsigned i = job->seed.records ? job->seed.member : 0;
	     i < WIRE_MEMBERS_MAX && result == 0; i++) {
		if (sources[i])
			result = export_member(job, writer, i, sources[i], err);
	}
	close_sources(sources);
	return result;
}

static int export_stream(struct job *job, struct err *err)
{
	const struct group *group = &job->seat->group;
	enum pack_kind kind = group->compression == PACK_OFF ? PACK_LZ4 : group->compression;
	struct seed_writer writer;
	int result = seed_writer_open(&writer, &job->bytes, &job->seed, kind);

	if (result < 0)
		return err_set(err, result, "out of memory");
	if (job->seed.at == 0)
		result = seed_begin(&writer);
	if (result < 0)
		err_set(err, result, "%s: %s", job->part, strerror(-result));
	if (result == 0)
		result = export_all(job, &writer, err);
	if (result == 0) {
		result = seed_seal(&writer);
		if (result < 0)
			err_set(err, result, "%s: %s", job->part, strerror(-result));
	}
	seed_writer_close(&writer);
	return result;
}

/* Nothing changes while they are made, so that they are one moment over all pools, and nothing is
 * under way that they may have or not. */
static int hold_and_snapshot(struct seat *seat, const char *name, uint64_t *ret_wall_ns,
			     struct err *err)
{
	struct group *group = &seat->group;
	int result;

	recorder_set_mode(group->recorder, RECORDER_HOLDS);
	group_drain(group);
	*ret_wall_ns = loop_wall(group->loop);
	result = seat_snapshot(seat, name, err);
	if (recorder_mode(group->recorder) == RECORDER_HOLDS)
		recorder_set_mode(group->recorder, RECORDER_RECORDS);
	else if (result == 0) /* the end of a session has let them go on */
		result = err_set(err, -EAGAIN, "the link was lost at that moment: ask again");
	return result;
}

/* The number of the last export, which no later one has again. */
static uint64_t last_epoch(const struct seat *seat)
{
	json_t *definition = json_loads(seat->definition, 0, NULL);
	json_int_t epoch = json_integer_value(json_object_get(definition, "seed_epoch"));

	json_decref(definition);
	return epoch > 0 ? (uint64_t)epoch : 0;
}

static int next_epoch(struct seat *seat, uint64_t *ret_epoch, struct err *err)
{
	uint64_t epoch = last_epoch(seat) + 1, open = recorder_open_epoch(seat->group.recorder);
	json_t *definition = json_loads(seat->definition, 0, NULL);
	int result;

	epoch = epoch < open ? open : epoch;
	json_object_set_new(definition, "seed_epoch", json_integer((json_int_t)epoch));
	result = seat_redefine(seat, definition, err);
	json_decref(definition);
	if (result == 0)
		seat->group.seed_epoch = epoch;
	*ret_epoch = epoch;
	return result;
}

/* A moment of its own; what was kept for the export before it goes. */
static int new_moment(struct job *job, struct err *err)
{
	struct seat *seat = job->seat;
	char name[SNAPSHOT_NAME_MAX + 1];
	int result = next_epoch(seat, &job->seed.epoch, err);

	if (result < 0)
		return result;
	name_of(&seat->group, job->seed.epoch, name);
	result = hold_and_snapshot(seat, name, &job->seed.wall_ns, err);
	drop_snapshots(seat, result < 0 ? 0 : job->seed.epoch);
	if (result < 0)
		return result;
	job->seed.lineage = seat->group.lineage;
	memcpy(job->seed.node, seat->group.node, 16);
	memcpy(job->seed.group, seat->group.uuid, 16);
	job->seed.definition = heap_strdup(seat->group.host->definition(&seat->group));
	return job->seed.definition ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int not_ours(const struct job *job, struct err *err)
{
	return err_set(err, -EEXIST, "%s is not of the last export of this group: delete it first",
		       job->part);
}

/* Is what is at job->part of an export that can go on? */
static int look_at_part(struct job *job, struct err *err)
{
	struct volume *sources[WIRE_MEMBERS_MAX] = {0};
	struct err why = {0};
	int result = seed_peek(&job->bytes, &job->seed, &why);

	if (result < 0 || memcmp(job->seed.group, job->seat->group.uuid, 16) != 0 ||
	    open_sources(job, sources) < 0)
		result = not_ours(job, err);
	close_sources(sources);
	job->again = result == 0;
	return result;
}

/* It goes on where it ended, or has all but its name. */
static int take_up(struct job *job, struct err *err)
{
	struct err why = {0};
	int result;

	seed_finish(&job->seed);
	result = seed_read(&job->bytes, &job->reading, &job->seed, &why);
	if (result < 0 && result != -ENODATA && result != -EBADMSG) /* not where it ended */
		return err_set(err, result, "%s", why.text);
	if (!job->seed.sealed && !job->seed.digest.state)
		return not_ours(job, err);
	job->seat->seed.file_bytes = job->seed.at;
	if (job->seed.sealed)
		return 0;
	result = seed_file_cut(job->replication->options.loop, job->bytes.fd, job->seed.at);
	return result < 0 ? file_error(job->part, result, err) : 0;
}

static void export_main(void *context)
{
	struct job *job = context;
	struct seat_seed *seed = &job->seat->seed;
	struct err err = {0};
	int result = job->again ? take_up(job, &err) : 0;

	if (result == 0 && !job->seed.sealed)
		result = export_stream(job, &err);
	if (result == 0) {
		result = seed_file_finish(job->replication->options.loop, job->bytes.fd, job->part,
					  seed->path);
		if (result < 0)
			(void)file_error(seed->path, result, &err);
	}
	if (result == 0)
		seed->done_bytes = seed->total_bytes;
	job_end(job, result, "exported", &err);
}

static int make_part(struct job *job, struct err *err)
{
	int fd = seed_file_open(job->replication->options.loop, job->part, SEED_FILE_NEW);

	if (fd < 0)
		return file_error(job->part, fd, err);
	job->bytes.fd = fd;
	return 0;
}

/* @path, or GROUP-EPOCH.seed in it. */
static int export_name(struct job *job, const char *path, enum seed_file_kind kind, uint64_t epoch,
		       char name[1024], struct err *err)
{
	int length = kind == SEED_DIRECTORY ? snprintf(name, 1024, "%s/%s-%" PRIu64 ".seed", path,
						       job->seat->group.name, epoch)
					    : snprintf(name, 1024, "%s", path);

	if (length >= 1000)
		return err_set(err, -ENAMETOOLONG, "that path is too long");
	snprintf(job->part, sizeof job->part, "%s.part", name);
	return 0;
}

static int export_open(struct job *job, const char *path, char name[1024], struct err *err)
{
	struct loop *loop = job->replication->options.loop;
	int kind = seed_file_kind(loop, path), there;
	int result = kind < 0 ? file_error(path, kind, err) : 0;

	if (result == 0 && kind != SEED_NOTHING && kind != SEED_DIRECTORY)
		return file_error(path, -EEXIST, err);
	if (result == 0)
		result = export_name(job, path, (enum seed_file_kind)kind, last_epoch(job->seat),
				     name, err);
	if (result < 0)
		return result;
	there = seed_file_open(loop, job->part, SEED_FILE_AGAIN);
	if (there >= 0) {
		job->bytes.fd = there;
		return look_at_part(job, err);
	}
	if (there != -ENOENT)
		return file_error(job->part, there, err);
	if (kind == SEED_NOTHING) /* before guests are held: it may not be possible at all */
		result = make_part(job, err);
	if (result == 0)
		result = new_moment(job, err);
	if (result == 0 && kind == SEED_DIRECTORY)
		result = export_name(job, path, SEED_DIRECTORY, job->seed.epoch, name, err);
	if (result == 0 && kind == SEED_DIRECTORY)
		result = make_part(job, err);
	if (result < 0 && job->bytes.fd >= 0) /* nothing is in it */
		(void)unlink(job->part);
	return result;
}

static int may_export(const struct seat *seat, struct err *err)
{
	const struct group *group = &seat->group;

	if (group->role != GROUP_PRIMARY)
		return err_set(err, -EINVAL, "group %s is %s here: export its seed on its primary",
			       group->name, group_role_name(group->role));
	if (seat->seed.running)
		return err_set(err, -EBUSY, "group %s: a seed is under way", group->name);
	if (!group->ship)
		return err_set(err, -EINVAL,
			       "group %s is seeded over the wire; first: granary replica group set "
			       "%s --seed ship",
			       group->name, group->name);
	if (group->acked)
		return err_set(err, -EINVAL, "group %s: its standby has an image already",
			       group->name);
	if (recorder_mode(group->recorder) != RECORDER_RECORDS)
		return err_set(err, -EBUSY, "group %s is being handed over", group->name);
	if (strcmp(group->phase, "seeding") == 0 || strcmp(group->phase, "catching up") == 0)
		return err_set(err, -EBUSY, "group %s is being sent over the wire", group->name);
	return 0;
}

static int export_run(struct seat_work *work, struct err *err)
{
	struct export_work *export = container_of(work, struct export_work, work);
	struct seat *seat = work->seat;
	struct job *job = NULL;
	char name[1024];
	int result = may_export(seat, err);

	if (result == 0) {
		seat->seed.cancelled = false;
		job = job_new(seat->replication, seat);
		result = job ? export_open(job, export->path, name, err)
			     : err_set(err, -ENOMEM, "out of memory");
	}
	if (result == 0)
		result = job_start(job, "exporting", name, export_main, err);
	if (result < 0)
		job_free(job);
	return result;
}

static void export_release(struct seat_work *work)
{
	struct export_work *export = container_of(work, struct export_work, work);

	heap_free(export->path);
	heap_free(export);
}

void replication_seed_export(struct replication *replication, const char *name, const char *path,
			     struct replication_call *call)
{
	struct export_work *export = NULL;
	int result = path_check(path, &call->err);

	if (result < 0) {
		call->done(call, result);
		return;
	}
	export = heap_zalloc(sizeof *export);
	if (export) {
		export->work = (struct seat_work){.run = export_run, .release = export_release};
		export->path = heap_strdup(path);
	}
	if (export && !export->path) {
		heap_free(export);
		export = NULL;
	}
	seat_work_start(replication, name, export ? &export->work : NULL, call);
}

/* ---- import ---- */
static int import_record(struct seed_reading *reading, const struct pack_record *record,
			 struct err *err)
{
	struct job *job = container_of(reading, struct job, reading);
	struct volume *volume = job->seat->group.members[record->member].volume;
	int result;

	if (!record->data)
		return 0; /* it has nothing yet */
	if (!volume || record->offset + record->length > volume_size(volume))
		return err_set(err, -EINVAL, "the seed has a member that the group has not");
	memcpy(job->data, record->data, record->length);
	result = volume_io(volume, VOLUME_WRITE, 0, record->offset, job->data, record->length);
	return result < 0 ? err_set(err, result, "volume %s: %s", volume->name, strerror(-result))
			  : 0;
}

/* Whatever was begun before. */
static int empty_members(struct job *job, struct err *err)
{
	struct group *group = &job->seat->group;

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

static int may_import(const struct seat *seat, const struct seed *seed, struct err *err)
{
	const struct group *group = &seat->group;

	if (group->role != GROUP_STANDBY)
		return err_set(err, -EINVAL, "group %s is %s here: import its seed on its standby",
			       group->name, group_role_name(group->role));
	if (!seat->started)
		return err_set(err, -ENXIO, "group %s is not available: %s", group->name,
			       seat->unavailable);
	if (memcmp(seed->node, seat->peer, 16) != 0)
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
static int import_define(struct job *job, struct err *err)
{
	struct group *group = &job->seat->group;
	const char *text = job->seed.definition;
	int result = group->host->define(group, text, strlen(text), err);

	if (result == 0)
		result = group_open_staging(group, err);
	return result < 0 ? result : may_import(job->seat, &job->seed, err);
}

static int import_image(struct job *job, struct err *err)
{
	struct group *group = &job->seat->group;
	int result = staging_seed_begin(&group->staging);

	if (result < 0)
		return err_set(err, result, "the staging log: %s", strerror(-result));
	result = empty_members(job, err);
	if (result < 0)
		return result;
	seed_finish(&job->seed);
	job->reading.record = import_record;
	job->seat->seed.done_bytes = 0;
	result = seed_read(&job->bytes, &job->reading, &job->seed, err);
	if (result < 0)
		return result;
	result = staging_seed_end(&group->staging, job->seed.epoch, job->seed.wall_ns,
				  &job->seed.lineage);
	if (result < 0)
		return err_set(err, result, "the staging log: %s", strerror(-result));
	group->accept_any = false;
	if (group->host->save(group) < 0)
		return err_set(err, -EIO, "the group could not be saved");
	group->host->sealed(group);
	return 0;
}

static void import_main(void *context)
{
	struct job *job = context;
	struct seat *seat = job->seat;
	struct err err = {0};
	int result;

	seat_end_session(seat, "a seed is being imported");
	seed_finish(&job->seed);
	job->reading.progress = &seat->seed.done_bytes;
	seat->seed.state = "checking";
	result = seed_read(&job->bytes, &job->reading, &job->seed, &err);
	seat->seed.state = "importing";
	if (result == 0)
		result = import_define(job, &err);
	if (result == 0)
		result = import_image(job, &err);
	job_end(job, result, "imported", &err);
}

struct import {
	struct replication *replication;
	struct replication_call *call;
	char *path;
};

static int import_begin(struct import *import, struct err *err)
{
	struct replication *replication = import->replication;
	struct job *job = job_new(replication, NULL);
	struct seat *seat = NULL;
	int result = job ? 0 : err_set(err, -ENOMEM, "out of memory");
	int64_t size = 0;

	if (result == 0) {
		job->bytes.fd =
		    seed_file_open(replication->options.loop, import->path, SEED_FILE_READ);
		result = job->bytes.fd < 0 ? file_error(import->path, job->bytes.fd, err)
					   : seed_peek(&job->bytes, &job->seed, err);
	}
	if (result == 0) {
		size = lseek(job->bytes.fd, 0, SEEK_END);
		seat = seat_by_uuid(replication, job->seed.group);
		if (!seat)
			result = err_set(err, -ENOENT,
					 "no group here is that seed's: it has to have been "
					 "connected with its primary once");
		else if (seat->acting || seat->seed.running)
			result = err_set(err, -EBUSY, "something else is being done to group %s",
					 seat->group.name);
		else
			result = may_import(seat, &job->seed, err);
	}
	if (result == 0) {
		job->seat = seat;
		result = job_start(job, "checking", import->path, import_main, err);
	}
	if (result < 0) {
		job_free(job);
		return result;
	}
	seat->seed.importing = true;
	seat->seed.total_bytes = size > 0 ? (uint64_t)size : 0;
	seat->seed.file_bytes = seat->seed.total_bytes;
	import->call->reply = seat_show(seat);
	return 0;
}

static void import_begin_main(void *context)
{
	struct import *import = context;
	struct replication *replication = import->replication;
	struct replication_call *call = import->call;
	int result = import_begin(import, &call->err);

	heap_free(import->path);
	heap_free(import);
	call->done(call, result);
	node_release(replication);
}

void replication_seed_import(struct replication *replication, const char *path,
			     struct replication_call *call)
{
	int result = path_check(path, &call->err);
	struct import *import = result == 0 ? heap_zalloc(sizeof *import) : NULL;

	if (import)
		*import = (struct import){replication, call, heap_strdup(path)};
	if (result == 0 && import && import->path) {
		node_hold(replication);
		result = fiber_start(replication->options.loop, import_begin_main, import);
		if (result == 0)
			return;
		node_release(replication);
	} else if (result == 0) {
		result = -ENOMEM;
	}
	if (import)
		heap_free(import->path);
	heap_free(import);
	if (!call->err.text[0])
		err_set(&call->err, result, "out of memory");
	call->done(call, result);
}
