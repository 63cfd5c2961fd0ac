/* SPDX-License-Identifier: Apache-2.0 */
/* rbd_job.c: work that blocks, on a worker, and its way back (R1 in rbd.h). */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/rbd.h"

int rbd_worker_start(struct rbd_worker *worker, const struct world_ops *world, const char *name,
		     struct err *err)
{
	int result = loop_create(world, &worker->loop, err);

	if (result == 0)
		result = loop_start_thread(worker->loop, name, err);
	worker->started = result == 0;
	return result;
}

/* Only of a worker that has nothing to do any more. */
void rbd_worker_stop(struct rbd_worker *worker)
{
	if (worker->started)
		loop_join(worker->loop);
	loop_destroy(worker->loop);
	*worker = (struct rbd_worker){0};
}

struct rbd_job *rbd_job_new(struct rbd_pool *pool, struct rbd_volume *volume,
			    struct pool_call *call)
{
	struct rbd_job *job = heap_zalloc(sizeof *job);

	if (call)
		call->loop = pool->home;
	if (!job) {
		if (call)
			pool_answer(call, err_set(&call->err, -ENOMEM, "out of memory"));
		return NULL;
	}
	job->pool = pool;
	job->call = call;
	job->started_ns = loop_now(pool->home);
	job->limit_ns = job->started_ns + RBD_JOB_LIMIT_NS;
	list_init(&job->found);
	list_push_back(&pool->jobs, &job->link);
	if (volume) {
		job->volume = volume;
		volume_ref(&volume->volume);
	}
	return job;
}

static void deliver_end(struct message *message)
{
	struct rbd_job *job = container_of(message, struct rbd_job, message);

	job->ended(job);
}

static void work(struct message *message)
{
	struct rbd_job *job = container_of(message, struct rbd_job, message);

	job->result = job->work(job);
	loop_post(job->pool->home, &job->message, deliver_end);
}

static void run_on(struct rbd_worker *worker, struct rbd_job *job, int (*run)(struct rbd_job *job),
		   void (*ended)(struct rbd_job *job))
{
	job->work = run;
	job->ended = ended;
	loop_post(worker->loop, &job->message, work);
}

void rbd_job_run(struct rbd_job *job, int (*run)(struct rbd_job *job),
		 void (*ended)(struct rbd_job *job))
{
	run_on(&job->pool->change, job, run, ended);
}

void rbd_job_look(struct rbd_job *job, int (*run)(struct rbd_job *job),
		  void (*ended)(struct rbd_job *job))
{
	run_on(&job->pool->look, job, run, ended);
}

void rbd_job_count(struct rbd_job *job, int (*run)(struct rbd_job *job),
		   void (*ended)(struct rbd_job *job))
{
	run_on(&job->pool->count, job, run, ended);
}

void rbd_job_gate(struct rbd_job *job, int (*run)(struct rbd_job *job),
		  void (*ended)(struct rbd_job *job))
{
	run_on(&job->pool->gate, job, run, ended);
}

static void answer(struct rbd_job *job, int result)
{
	struct pool_call *call = job->call;

	job->call = NULL;
	if (!call)
		return;
	if (result < 0 && job->err.code)
		call->err = job->err;
	else if (result < 0)
		err_set(&call->err, result, "pool %s: %s", job->pool->name, strerror(-result));
	pool_answer(call, result);
}

void rbd_job_end(struct rbd_job *job, int result)
{
	answer(job, result);
	list_remove(&job->link);
	if (job->volume)
		volume_unref(&job->volume->volume);
	for (unsigned i = 0; i < job->volume_count; i++)
		volume_unref(&job->volumes[i]->volume);
	heap_free(job->volumes);
	heap_free(job->names);
	heap_free(job->note);
	heap_free(job->uuids);
	heap_free(job->diff.extents);
	heap_free(job);
}

/* The job goes on; whoever waits for it does so no longer. Not so with a close: what it is about is
 * in use until it ends, so try_close() alone says when that is enough. */
void rbd_jobs_expire(struct rbd_pool *pool)
{
	list_for_each_safe (it, &pool->jobs) {
		struct rbd_job *job = list_entry(it, struct rbd_job, link);

		if (!job->call || job == pool->closing || loop_now(pool->home) < job->limit_ns)
			continue;
		err_set(&job->call->err, -ETIMEDOUT,
			"the cluster of pool %s does not answer; what was asked for may still "
			"come about",
			pool->name);
		pool_answer(job->call, -ETIMEDOUT);
		job->call = NULL;
	}
}
