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
#include "replication/seed.h"
#include "replication/seed_file.h"

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

struct job {
	struct seat *seat; /* NULL: not known yet whose seed it is */
	struct replication *replication;
	struct seed_work work;
	struct seed_bytes bytes;
	char part[1040]; /* of an export: as it is called until it is whole */
	bool again;      /* an export that was begun before goes on */
	unsigned looks;
};

static struct job *job_of(struct seed_work *work)
{
	return container_of(work, struct job, work);
}

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

static void tidy_main(void *context)
{
	struct seat *seat = context;
	struct replication *replication = seat->replication;

	if (!seat->gone && seat->started)
		seed_snapshots_drop(&seat->group, 0);
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

static int file_cut(struct seed_bytes *bytes, uint64_t length)
{
	struct job *job = bytes->context;

	job->seat->seed.file_bytes = length;
	return seed_file_cut(job->replication->options.loop, bytes->fd, length);
}

/* After each frame or piece: a small file may be much to unpack and to sum up. */
static bool stopped(struct seed_reading *reading)
{
	struct job *job = container_of(reading, struct job, work.reading);

	if (++job->looks % 16 == 0)
		fiber_sleep(0);
	return job->seat->seed.cancelled || job->replication->stopping;
}

static void job_belongs(struct job *job, struct seat *seat)
{
	job->seat = seat;
	job->work.group = &seat->group;
	job->work.done_bytes = &seat->seed.done_bytes;
	job->work.total_bytes = &seat->seed.total_bytes;
}

static const struct seed_host seed_host;

static struct job *job_new(struct replication *replication, struct seat *seat)
{
	struct job *job = heap_zalloc(sizeof *job);

	if (!job)
		return NULL;
	job->replication = replication;
	job->bytes = (struct seed_bytes){
	    .read = file_read, .write = file_write, .cut = file_cut, .context = job, .fd = -1};
	job->work = (struct seed_work){
	    .host = &seed_host, .bytes = &job->bytes, .reading.stop = stopped, .name = job->part};
	if (seat)
		job_belongs(job, seat);
	if (seed_work_open(&job->work) == 0)
		return job;
	heap_free(job);
	return NULL;
}

static void job_free(struct job *job)
{
	if (!job)
		return;
	seed_file_close(job->bytes.fd);
	seed_work_close(&job->work);
	heap_free(job);
}

/* The seat's from here on; @path is what is told. */
static int job_start(struct job *job, const char *state, const char *path,
		     void (*main)(void *context), struct err *err)
{
	struct replication *replication = job->replication;
	struct seat *seat = job->seat;
	int result;

	seat->seed =
	    (struct seat_seed){.state = state, .running = true, .epoch = job->work.seed.epoch};
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

/* The reply of a dry run. */
static json_t *would_be(const struct seat *seat, const char *state, const char *path)
{
	json_t *plan =
	    dry_reply(json_pack("{s:s,s:s}", "seed", seat->seed.state, "path", seat->seed.path),
		      json_pack("{s:s,s:s}", "seed", state, "path", path));

	json_object_set_new(plan, "name", json_string(seat->group.name));
	return plan;
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
	else if (!call->dry)
		seat->seed.cancelled = true;
	if (result == 0)
		call->reply =
		    call->dry ? would_be(seat, "failed", seat->seed.path) : seat_show(seat);
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

/* By the seed's own definition: members come and go. */
static int host_sources(struct seed_work *work, struct volume *sources[WIRE_MEMBERS_MAX])
{
	const struct replication_host *host = &job_of(work)->replication->options.host;
	json_t *definition = json_loads(work->seed.definition, 0, NULL), *member;
	char name[SNAPSHOT_NAME_MAX + 1];
	int result = 0;
	size_t at;

	seed_snapshot_name(work->group, work->seed.epoch, name);
	json_array_foreach(json_object_get(definition, "members"), at, member)
	{
		json_int_t index = json_integer_value(json_object_get(member, "index"));
		const char *text = json_string_value(json_object_get(member, "uuid"));
		struct volume *volume = NULL;
		uint8_t uuid[16];

		if (text && strlen(text) == 32 && uuid_parse(text, uuid))
			volume = host->volume(host->context, uuid);
		if (volume && index >= 0 && index < WIRE_MEMBERS_MAX && !sources[index])
			sources[index] = seed_snapshot_find(volume, name);
		if (!volume || index < 0 || index >= WIRE_MEMBERS_MAX || !sources[index])
			result = -ENOENT;
		volume_unref(volume);
	}
	json_decref(definition);
	return result;
}

static int host_number(struct seed_work *work, uint64_t epoch, struct err *err)
{
	struct seat *seat = job_of(work)->seat;
	json_t *definition = json_loads(seat->definition, 0, NULL);
	int result;

	json_object_set_new(definition, "seed_epoch", json_integer((json_int_t)epoch));
	result = seat_redefine(seat, definition, err);
	json_decref(definition);
	return result;
}

static int host_snapshot(struct seed_work *work, const char *name, struct err *err)
{
	return seat_snapshot(job_of(work)->seat, name, err);
}

static void host_taken(struct seed_work *work)
{
	job_of(work)->seat->seed.state = "importing";
}

static const struct seed_host seed_host = {
    .number = host_number, .snapshot = host_snapshot, .sources = host_sources, .taken = host_taken};

static void export_main(void *context)
{
	struct job *job = context;
	struct seat_seed *seed = &job->seat->seed;
	struct err err = {0};
	int result = job->again ? seed_export_again(&job->work, &err) : 0;

	seed->file_bytes = job->work.seed.at;
	if (result == 0 && !job->work.seed.sealed)
		result = seed_export_stream(&job->work, &err);
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
		result = export_name(job, path, (enum seed_file_kind)kind,
				     job->seat->group.seed_epoch, name, err);
	if (result < 0)
		return result;
	there = seed_file_open(loop, job->part, SEED_FILE_AGAIN);
	if (there >= 0) {
		job->bytes.fd = there;
		job->again = true;
		return seed_export_look(&job->work, err);
	}
	if (there != -ENOENT)
		return file_error(job->part, there, err);
	if (kind == SEED_NOTHING) /* before guests are held: it may not be possible at all */
		result = make_part(job, err);
	if (result == 0)
		result = seed_export_moment(&job->work, err);
	if (result == 0 && kind == SEED_DIRECTORY)
		result = export_name(job, path, SEED_DIRECTORY, job->work.seed.epoch, name, err);
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

/* As export_open(), as far as that goes without making anything. */
static int export_try(struct seat_work *work, const char *path, struct err *err)
{
	struct loop *loop = work->seat->replication->options.loop;
	int kind = seed_file_kind(loop, path);
	char part[1040], folder[1024];

	if (kind < 0)
		return file_error(path, kind, err);
	if (kind != SEED_NOTHING && kind != SEED_DIRECTORY)
		return file_error(path, -EEXIST, err);
	snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path + 1), path);
	snprintf(part, sizeof part, "%s.part", path);
	if (kind == SEED_NOTHING && seed_file_kind(loop, folder) != SEED_DIRECTORY)
		return file_error(part, -ENOENT, err);
	work->call->reply = would_be(work->seat, "exporting", path);
	return 0;
}

static int export_run(struct seat_work *work, struct err *err)
{
	struct export_work *export = container_of(work, struct export_work, work);
	struct seat *seat = work->seat;
	struct job *job = NULL;
	char name[1024];
	int result = may_export(seat, err);

	if (result == 0 && work->call->dry)
		return export_try(work, export->path, err);
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
static int may_import(const struct seat *seat, const struct seed *seed, struct err *err)
{
	int result = seed_import_allowed(&seat->group, seed, seat->peer, err);

	if (result == 0 && !seat->started)
		result = err_set(err, -ENXIO, "group %s is not available: %s", seat->group.name,
				 seat->unavailable);
	return result;
}

static void import_main(void *context)
{
	struct job *job = context;
	struct seat *seat = job->seat;
	struct err err = {0};
	int result;

	seat_end_session(seat, "a seed is being imported");
	result = seed_import(&job->work, seat->peer, &err);
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
					   : seed_peek(&job->bytes, &job->work.seed, err);
	}
	if (result == 0) {
		size = lseek(job->bytes.fd, 0, SEEK_END);
		seat = seat_by_uuid(replication, job->work.seed.group);
		if (!seat)
			result = err_set(err, -ENOENT,
					 "no group here is that seed's: it has to have been "
					 "connected with its primary once");
		else if (seat->acting || seat->seed.running)
			result = err_set(err, -EBUSY, "something else is being done to group %s",
					 seat->group.name);
		else
			result = may_import(seat, &job->work.seed, err);
	}
	if (result == 0 && import->call->dry) {
		import->call->reply = would_be(seat, "checking", import->path);
		job_free(job);
		return 0;
	}
	if (result == 0) {
		job_belongs(job, seat);
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
