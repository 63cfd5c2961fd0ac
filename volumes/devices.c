/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/devices_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/heap.h"
#include "volumes/pool.h"

/* Looking at devices in a thread of its own, one per call. A job belongs to its thread until it
 * is posted back; a call that was taken away (devices_stop) leaves a job without one, which the
 * thread frees when its disk lets it go. */

#define JOBS_MAX 4

struct device_job {
	struct list link;
	struct message message;
	struct loop *loop;
	struct device_call *call; /* NULL: nobody waits any more */
	char **paths;             /* NULL: all devices */
	unsigned path_count;
	struct device_table table;
	int result;
	struct err err;
	bool posted;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* jobs, job_count, call, posted */
static struct list jobs = {&jobs, &jobs};
static unsigned job_count;

const char *device_kind_name(enum device_kind kind)
{
	static const char *const names[] = {
	    [DEVICE_DISK] = "disk", [DEVICE_PART] = "partition", [DEVICE_LOOP] = "loop",
	    [DEVICE_LVM] = "lvm",   [DEVICE_CRYPT] = "crypt",    [DEVICE_MULTIPATH] = "multipath",
	    [DEVICE_MAPPED] = "dm", [DEVICE_RAID] = "raid",      [DEVICE_ROM] = "rom",
	    [DEVICE_RAM] = "ram",   [DEVICE_FILE] = "file"};

	return names[kind];
}

struct device_info *device_add(struct device_table *table)
{
	struct device_info *info;

	if (table->count == DEVICES_MAX)
		return NULL;
	if (table->count == table->room) {
		unsigned room = table->room ? table->room * 2 : 16;
		struct device_info *grown = heap_resize(table->devices, room * sizeof *grown);

		if (!grown)
			return NULL;
		table->devices = grown;
		table->room = room;
	}
	info = &table->devices[table->count++];
	memset(info, 0, sizeof *info);
	return info;
}

static void job_free(struct device_job *job)
{
	for (unsigned i = 0; job->paths && i < job->path_count; i++)
		heap_free(job->paths[i]);
	heap_free(job->paths);
	heap_free(job->table.devices);
	heap_free(job);
}

static bool has_partitions(const struct device_table *table, const struct device_info *info)
{
	for (unsigned i = 0; i < table->count; i++)
		if (strcmp(table->devices[i].parent, info->name) == 0)
			return true;
	return false;
}

static void judge(const struct device_table *table, struct device_info *info)
{
	info->free = !info->carries[0] && !info->used_by[0] && !info->read_only &&
		     info->size >= POOL_SIZE_MIN && info->kind != DEVICE_ROM &&
		     info->kind != DEVICE_RAM && !has_partitions(table, info);
}

static int compare(const void *a, const void *b)
{
	return strverscmp(((const struct device_info *)a)->name,
			  ((const struct device_info *)b)->name);
}

static int look_everywhere(struct device_job *job)
{
	struct device_table *table = &job->table;
	int result = sysfs_scan(table, &job->err);

	if (result < 0)
		return result;
	if (table->count)
		qsort(table->devices, table->count, sizeof *table->devices, compare);
	sysfs_uses(table);
	for (unsigned i = 0; i < table->count; i++) {
		device_probe(&table->devices[i]);
		judge(table, &table->devices[i]);
	}
	return 0;
}

/* One path: a row of the machine's devices, or a file. */
static int look_at(struct device_table *all, const char *path, struct device_info *row,
		   struct err *err)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (S_ISREG(status.st_mode)) {
		row->kind = DEVICE_FILE;
		row->size = (uint64_t)status.st_size;
	} else if (!S_ISBLK(status.st_mode)) {
		return err_set(err, -EINVAL, "%s is neither a file nor a block device", path);
	}
	for (unsigned i = 0; S_ISBLK(status.st_mode) && i < all->count; i++)
		if (all->devices[i].number == status.st_rdev)
			*row = all->devices[i];
	snprintf(row->path, sizeof row->path, "%s", path);
	device_probe(row);
	judge(all, row);
	return 0;
}

static int look_at_paths(struct device_job *job)
{
	struct device_table all = {0};
	int result = sysfs_scan(&all, &job->err);

	if (result == 0)
		sysfs_uses(&all);
	for (unsigned i = 0; result == 0 && i < job->path_count; i++) {
		struct device_info *row = device_add(&job->table);

		result = row ? look_at(&all, job->paths[i], row, &job->err)
			     : err_set(&job->err, -ENOMEM, "out of memory");
	}
	heap_free(all.devices);
	return result;
}

static void job_done(struct message *message)
{
	struct device_job *job = container_of(message, struct device_job, message);
	struct device_call *call = job->call;

	pthread_mutex_lock(&lock);
	list_remove(&job->link);
	job_count--;
	pthread_mutex_unlock(&lock);
	call->err = job->err;
	call->devices = job->table.devices;
	call->count = job->table.count;
	job->table.devices = NULL;
	if (job->result < 0) {
		heap_free(call->devices);
		call->devices = NULL;
		call->count = 0;
	}
	call->done(call, job->result);
	job_free(job);
}

static void *job_run(void *argument)
{
	struct device_job *job = argument;
	bool wanted;

	job->result = job->result  ? job->result
		      : job->paths ? look_at_paths(job)
				   : look_everywhere(job);
	pthread_mutex_lock(&lock);
	wanted = job->call != NULL;
	job->posted = wanted;
	if (!wanted) {
		list_remove(&job->link);
		job_count--;
	} else {
		loop_post(job->loop, &job->message, job_done);
	}
	pthread_mutex_unlock(&lock);
	if (!wanted)
		job_free(job);
	return NULL;
}

static bool job_admit(struct device_job *job)
{
	bool good;

	pthread_mutex_lock(&lock);
	good = job_count < JOBS_MAX;
	list_push_back(&jobs, &job->link);
	job_count++;
	pthread_mutex_unlock(&lock);
	return good;
}

static bool copy_paths(struct device_job *job, const char *const *paths, unsigned count)
{
	job->paths = heap_zalloc_array(count ? count : 1, sizeof *job->paths);
	job->path_count = job->paths ? count : 0;
	for (unsigned i = 0; i < job->path_count; i++)
		if (!(job->paths[i] = heap_strdup(paths[i])))
			return false;
	return job->paths != NULL;
}

static void call_failed(struct message *message)
{
	struct device_call *call = container_of(message, struct device_call, message);

	call->done(call, call->result);
}

static void start(struct loop *loop, const char *const *paths, unsigned count,
		  struct device_call *call)
{
	struct device_job *job = heap_zalloc(sizeof *job);
	pthread_t thread;

	call->devices = NULL;
	call->count = 0;
	if (!job) {
		call->result = err_set(&call->err, -ENOMEM, "out of memory");
		loop_post(loop, &call->message, call_failed);
		return;
	}
	job->loop = loop;
	job->call = call;
	list_init(&job->link);
	if (paths && !copy_paths(job, paths, count))
		job->result = err_set(&job->err, -ENOMEM, "out of memory");
	if (!job_admit(job))
		job->result = err_set(&job->err, -EBUSY,
				      "devices are being looked at already, and one of them does "
				      "not answer");
	if (job->result < 0 || pthread_create(&thread, NULL, job_run, job) != 0) {
		if (!job->result)
			job->result = err_set(&job->err, -EAGAIN, "no thread to look at devices");
		job_run(job);
		return;
	}
	pthread_detach(thread);
}

void devices_list(struct loop *loop, struct device_call *call)
{
	start(loop, NULL, 0, call);
}

void devices_look(struct loop *loop, const char *const *paths, unsigned count,
		  struct device_call *call)
{
	start(loop, paths, count, call);
}

static struct device_call *take_call(struct loop *loop)
{
	struct device_call *call = NULL;

	pthread_mutex_lock(&lock);
	list_for_each (it, &jobs) {
		struct device_job *job = list_entry(it, struct device_job, link);

		if (job->loop == loop && job->call && !job->posted) {
			call = job->call;
			job->call = NULL;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	return call;
}

void devices_stop(struct loop *loop)
{
	struct device_call *call;

	while ((call = take_call(loop)))
		call->done(call, err_set(&call->err, -ECANCELED, "the daemon is stopping"));
}

int device_usable(const struct device_info *info, bool force, struct err *err)
{
	if (info->used_by[0])
		return err_set(err, -EBUSY, "%s is in use: %s", info->path, info->used_by);
	if (info->read_only)
		return err_set(err, -EROFS, "%s is read-only", info->path);
	if (info->carries[0] && !force)
		return err_set(err, -EEXIST, "%s carries %s", info->path, info->carries);
	return 0;
}
