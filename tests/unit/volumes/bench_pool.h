/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_VOLUMES_BENCH_POOL_H
#define TESTS_UNIT_VOLUMES_BENCH_POOL_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/heap.h"
#include "core/world.h"
#include "volumes/native.h"
#include "volumes/pool.h"

/* A pool on files of a temporary directory, driven by the test's own thread: every helper waits
 * for its result and fails the test after some seconds. */
struct bench {
	char directory[64];
	char path[4][80];
	const struct world_ops *world;
	struct loop *loop;
	struct pool *pool;
	struct volume *volume;
	struct err err; /* of the last call */
};

/* Run @work(@context) on the loop's thread, in one round. */
struct bench_job {
	struct message message;
	void (*work)(void *context);
	void *context;
	bool done;
};

static void bench_job_run(struct message *message)
{
	struct bench_job *job = container_of(message, struct bench_job, message);

	job->work(job->context);
	job->done = true;
}

static inline void bench_run(struct bench *bench, void (*work)(void *context), void *context)
{
	struct bench_job job = {.work = work, .context = context};

	loop_post(bench->loop, &job.message, bench_job_run);
	while (!job.done)
		loop_poll(bench->loop, 10000000);
}

static inline void bench_wait(struct bench *bench, const bool *done)
{
	for (unsigned i = 0; i < 200000 && !*done; i++)
		loop_poll(bench->loop, 1000000);
	assert_true(*done);
}

struct bench_call {
	struct pool_call call;
	int result;
	bool done;
};

static void bench_call_done(struct pool_call *call, int result)
{
	struct bench_call *mine = container_of(call, struct bench_call, call);

	mine->result = result;
	mine->done = true;
}

struct bench_io {
	struct volume_request request;
	struct volume *volume;
	struct iovec iov;
	int result;
	bool done;
};

static void bench_io_done(struct volume_request *request, int result)
{
	struct bench_io *io = container_of(request, struct bench_io, request);

	io->result = result;
	io->done = true;
}

static void bench_io_submit(void *context)
{
	struct bench_io *io = context;

	volume_submit(io->volume, &io->request);
}

static inline void bench_io_start(struct bench *bench, struct bench_io *io, enum volume_op op,
				  unsigned flags, uint64_t offset, void *data, uint64_t length)
{
	memset(io, 0, sizeof(*io));
	io->volume = bench->volume;
	io->iov = (struct iovec){.iov_base = data, .iov_len = length};
	io->request = (struct volume_request){.op = op,
					      .flags = flags,
					      .offset = offset,
					      .length = length,
					      .iov = &io->iov,
					      .iov_count = data ? 1 : 0,
					      .done = bench_io_done};
	bench_run(bench, bench_io_submit, io);
}

static inline int bench_io(struct bench *bench, enum volume_op op, unsigned flags, uint64_t offset,
			   void *data, uint64_t length)
{
	struct bench_io io;

	bench_io_start(bench, &io, op, flags, offset, data, length);
	bench_wait(bench, &io.done);
	return io.result;
}

static inline int bench_write(struct bench *bench, uint64_t offset, void *data, uint64_t length,
			      unsigned flags)
{
	return bench_io(bench, VOLUME_WRITE, flags, offset, data, length);
}

static inline int bench_read(struct bench *bench, uint64_t offset, void *data, uint64_t length)
{
	return bench_io(bench, VOLUME_READ, 0, offset, data, length);
}

static inline int bench_flush(struct bench *bench)
{
	return bench_io(bench, VOLUME_FLUSH, 0, 0, NULL, 0);
}

static inline int bench_discard(struct bench *bench, uint64_t offset, uint64_t length)
{
	return bench_io(bench, VOLUME_DISCARD, 0, offset, NULL, length);
}

static inline int bench_ended(struct bench *bench, struct bench_call *call)
{
	bench_wait(bench, &call->done);
	bench->err = call->call.err;
	return call->result;
}

static inline int bench_create(struct bench *bench, unsigned devices, uint64_t size)
{
	struct pool_device list[4];
	struct pool_create_options options = {
	    .name = "tank", .devices = list, .device_count = devices};
	struct bench_call call = {.call.done = bench_call_done};
	int result;

	for (unsigned i = 0; i < devices; i++)
		list[i] = (struct pool_device){.path = bench->path[i], .size = size};
	pool_create(bench->world, bench->loop, &options, &call.call);
	result = bench_ended(bench, &call);
	bench->pool = call.call.pool;
	return result;
}

static inline int bench_open(struct bench *bench, unsigned devices)
{
	const char *paths[4] = {bench->path[0], bench->path[1], bench->path[2], bench->path[3]};
	struct bench_call call = {.call.done = bench_call_done};
	int result;

	pool_open(bench->world, bench->loop, paths, devices, &call.call);
	result = bench_ended(bench, &call);
	bench->pool = call.call.pool;
	return result;
}

static inline int bench_close(struct bench *bench)
{
	struct bench_call call = {.call.done = bench_call_done};

	if (bench->volume)
		volume_unref(bench->volume);
	bench->volume = NULL;
	pool_close(bench->pool, &call.call);
	if (bench_ended(bench, &call) == 0)
		bench->pool = NULL;
	return call.result;
}

/* It is bench->volume from then on. */
static inline int bench_volume_as(struct bench *bench, const struct volume_spec *spec)
{
	struct bench_call call = {.call.done = bench_call_done};
	int result;

	volume_create(bench->pool, spec, &call.call);
	result = bench_ended(bench, &call);
	if (result == 0)
		bench->volume = call.call.volume;
	return result;
}

static inline int bench_volume(struct bench *bench, const char *name, uint64_t size)
{
	return bench_volume_as(bench, &(struct volume_spec){.name = name, .size_bytes = size});
}

static inline int bench_checkpoint(struct bench *bench)
{
	struct bench_call call = {.call.done = bench_call_done};

	pool_checkpoint(bench->pool, &call.call);
	return bench_ended(bench, &call);
}

static void bench_finding(struct pool_check_report *report, const char *sentence)
{
	(void)report;
	print_message("check: %s\n", sentence);
}

/* The number of errors the check finds. */
static inline uint64_t bench_check(struct bench *bench, bool data)
{
	struct pool_check_report report = {.finding = bench_finding};
	struct bench_call call = {.call.done = bench_call_done};

	pool_check(bench->pool, data, &report, &call.call);
	assert_int_equal(bench_ended(bench, &call), 0);
	return report.errors;
}

static inline bool bench_busy(const struct native *native)
{
	return native->keeper_running || native->journal.committing ||
	       native->cycle.state == CYCLE_FLUSHING || native->repairs_in_flight ||
	       __atomic_load_n(&native->requests, __ATOMIC_ACQUIRE);
}

/* As after a kill: what was submitted to the disk is done, nothing else happens, nothing is
 * written any more. Who waits is let go: the keeper would wait for a flush that never comes. */
static inline void bench_drop(struct bench *bench)
{
	struct native *native = native_of(bench->pool);

	native_lock(native);
	native_fail(native, "it is dropped");
	pthread_mutex_unlock(&native->lock);
	timer_stop(&native->timer);
	for (unsigned i = 0; i < 50 || (bench_busy(native) && i < 10000); i++)
		loop_poll(bench->loop, 1000000);
	native_free(native);
	bench->pool = NULL;
	bench->volume = NULL;
}

static inline void bench_setup(struct bench *bench)
{
	memset(bench, 0, sizeof(*bench));
	snprintf(bench->directory, sizeof(bench->directory), "/tmp/granary-test-XXXXXX");
	assert_non_null(mkdtemp(bench->directory));
	for (unsigned i = 0; i < 4; i++)
		snprintf(bench->path[i], sizeof(bench->path[i]), "%s/pv%u", bench->directory, i);
	assert_int_equal(world_select("auto", &bench->world, &bench->err), 0);
	assert_int_equal(loop_create(bench->world, &bench->loop, &bench->err), 0);
}

static inline void bench_finish(struct bench *bench)
{
	if (bench->pool)
		assert_int_equal(bench_close(bench), 0);
	for (unsigned i = 0; i < 4; i++)
		unlink(bench->path[i]);
	rmdir(bench->directory);
	loop_destroy(bench->loop);
}

#endif
