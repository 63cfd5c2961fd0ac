/* SPDX-License-Identifier: Apache-2.0 */
/* directory_look.c: looking at a directory of the machine, on a thread: the disk it is on may hang,
 * and then that thread does, alone. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "shares/host_directory.h"
#include "volumes/pool.h"
#include "webadmin/admin.h"
#include "webadmin/directory.h"

/* Everything a thread needs: the model may change, and the directory go, while it hangs. */
struct job {
	struct directory_look look; /* the caller's side */
	struct message message;
	struct loop *loop;
	bool left; /* under the lock */
	struct host_directory_options options;
	char *path, **guarded;
	uint8_t uuid[16], secret[16];
	struct vfs *seen;
	int result;
	struct err err;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned job_count; /* under the lock */

/* With what it has opened, if nobody has taken that. */
static void job_free(struct job *job)
{
	vfs_unref(job->look.vfs);
	vfs_unref(job->seen);
	explicit_bzero(job->secret, sizeof job->secret);
	for (unsigned i = 0; job->guarded && i < job->options.guarded_count; i++)
		heap_free(job->guarded[i]);
	heap_free(job->guarded);
	heap_free(job->path);
	heap_free(job);
}

static void job_done(struct message *message)
{
	struct job *job = container_of(message, struct job, message);

	if (!job->left) {
		job->look.done(&job->look, job->result, &job->err);
		job->look.vfs = NULL;
	}
	job_free(job);
}

static void *job_run(void *argument)
{
	struct job *job = argument;
	bool left;

	job->result =
	    job->seen ? host_directory_look(job->seen, &job->options, &job->err) : -ENOTUNIQ;
	if (job->result == -ENOTUNIQ)
		job->result = host_directory_open(&job->options, &job->look.vfs, &job->err);
	pthread_mutex_lock(&lock);
	job_count--;
	left = job->left;
	if (!left)
		loop_post(job->loop, &job->message, job_done);
	pthread_mutex_unlock(&lock);
	if (left)
		job_free(job);
	return NULL;
}

void directory_look_leave(struct directory_look *look)
{
	struct job *job = container_of(look, struct job, look);

	pthread_mutex_lock(&lock);
	job->left = true; /* what was posted frees itself when it arrives */
	pthread_mutex_unlock(&lock);
}

static unsigned count_paths(struct model *model)
{
	unsigned count = 1;

	list_for_each (it, &model->pools)
		count += list_entry(it, struct model_pool, link)->path_count;
	return count;
}

static bool guard(struct job *job, const char *path)
{
	char *copy = heap_strdup(path);

	if (copy)
		job->guarded[job->options.guarded_count++] = copy;
	return copy != NULL;
}

/* The daemon's secrets, and the disks of others' guests. */
static bool guard_all(struct job *job, struct webadmin *admin)
{
	bool good;

	job->guarded = heap_zalloc_array(count_paths(&admin->model), sizeof *job->guarded);
	good = job->guarded && guard(job, admin->options.state_dir);
	list_for_each (it, &admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		for (unsigned i = 0; good && i < pool->path_count; i++)
			good = pool_is_remote(pool->paths[i]) || guard(job, pool->paths[i]);
	}
	job->options.guarded = (const char *const *)job->guarded;
	return good;
}

static bool job_admit(void)
{
	bool good;

	pthread_mutex_lock(&lock);
	good = job_count < DIRECTORY_LOOKS_MAX;
	job_count += good;
	pthread_mutex_unlock(&lock);
	return good;
}

static void job_dismiss(void)
{
	pthread_mutex_lock(&lock);
	job_count--;
	pthread_mutex_unlock(&lock);
}

static struct job *job_new(struct webadmin *admin, const struct model_directory *directory,
			   struct vfs *seen)
{
	struct job *job = heap_zalloc(sizeof *job);

	if (!job)
		return NULL;
	job->loop = admin->options.control;
	job->seen = seen ? vfs_ref(seen) : NULL;
	job->path = heap_strdup(directory->path);
	memcpy(job->uuid, directory->uuid, sizeof job->uuid);
	memcpy(job->secret, directory->secret, sizeof job->secret);
	job->options = (struct host_directory_options){
	    .allowed = admin->options.directories,
	    .allowed_count = admin->options.directory_count,
	    .path = job->path,
	    .uuid = job->uuid,
	    .secret = job->secret,
	};
	if (job->path && guard_all(job, admin))
		return job;
	job_free(job);
	return NULL;
}

struct directory_look *
directory_look(struct webadmin *admin, const struct model_directory *directory, struct vfs *seen,
	       void (*done)(struct directory_look *look, int result, struct err *err),
	       void *context, struct err *err)
{
	struct job *job;
	pthread_t thread;

	if (!admin->options.directory_count) {
		err_set(err, -EACCES,
			"granaryd was started without --directories-in: no directory of this "
			"machine may be served");
		return NULL;
	}
	if (!job_admit()) {
		err_set(err, -EAGAIN, "too many directories do not answer");
		return NULL;
	}
	job = job_new(admin, directory, seen);
	if (job) {
		job->look.done = done;
		job->look.context = context;
		if (pthread_create(&thread, NULL, job_run, job) == 0) {
			pthread_setname_np(thread, "host-dir-look");
			pthread_detach(thread);
			return &job->look;
		}
		job_free(job);
	}
	job_dismiss();
	err_set(err, -ENOMEM, "no memory for a thread that looks at a directory");
	return NULL;
}
