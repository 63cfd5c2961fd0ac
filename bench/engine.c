/* SPDX-License-Identifier: Apache-2.0 */
/* The volume engine by itself: what of a server's CPU is the network's and what is storage's. */
#include "bench/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/picker.h"
#include "core/disk.h"
#include "core/loop.h"
#include "core/world.h"
#include "volumes/pool.h"

#define SPAN_DEFAULT (64ull << 20)
#define POOL_EXTRA   (1ull << 30) /* sparse: metadata and journal */
#define KEPT         4u           /* snapshots at a time; as much space again for each */

struct rig;

/* One I/O in flight, on either seam. */
struct slot {
	struct rig *rig;
	struct volume_request volume;
	struct disk_request disk;
	struct iovec iov;
	uint64_t started;
};

struct rig {
	const struct options *options;
	struct loop *loop;
	struct pool *pool;
	struct volume *volume;
	struct disk *disk;
	struct slot *slots;
	uint8_t *data;
	struct picker picker;
	uint64_t io_bytes, in_flight, submitted;
	bool stop;
	struct deferred start;
	int failed;
	struct result result;
	struct snapshots *snapshots;
};

struct call {
	struct pool_call base;
	bool done;
	int result;
};

/* Made and deleted in turn beside the load. */
struct snapshots {
	struct call call;
	struct snapshot_spec spec;
	char name[32];
	unsigned made, deleted;
	uint64_t next;
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void call_done(struct pool_call *base, int result)
{
	struct call *call = (struct call *)base;

	call->result = result;
	call->done = true;
}

static int call_wait(struct rig *rig, struct call *call, struct err *err)
{
	while (!call->done)
		loop_poll(rig->loop, 100000000);
	return call->result < 0 ? err_set(err, call->result, "%s", call->base.err.text) : 0;
}

static int make_volume(struct rig *rig, const struct world_ops *world, uint64_t span,
		       struct err *err)
{
	uint64_t copies = rig->options->snapshot_ns != 0 ? KEPT + 4 : 1;
	const struct pool_device device = {rig->options->engine_file, copies * span + POOL_EXTRA};
	const struct pool_create_options create = {
	    .name = "bench",
	    .devices = &device,
	    .device_count = 1,
	};
	const struct volume_spec spec = {.name = "load", .size_bytes = span};
	struct call made = {.base.done = call_done}, volume = {.base.done = call_done};

	pool_create(world, rig->loop, &create, &made.base);
	int r = call_wait(rig, &made, err);
	if (r < 0)
		return r;
	rig->pool = made.base.pool;
	volume_create(rig->pool, &spec, &volume.base);
	r = call_wait(rig, &volume, err);
	rig->volume = volume.base.volume;
	return r;
}

static void submit(struct slot *slot);

static void finished(struct slot *slot, int result)
{
	struct rig *rig = slot->rig;
	uint64_t now = loop_now(rig->loop);

	rig->in_flight--;
	rig->result.ios++;
	histogram_add(&rig->result.latency, now - slot->started);
	if (result < 0)
		rig->failed = result;
	if (!rig->stop && result == 0)
		submit(slot);
}

static void volume_done(struct volume_request *request, int result)
{
	finished((struct slot *)((char *)request - offsetof(struct slot, volume)), result);
}

static void disk_done(struct disk_request *request, int result)
{
	finished((struct slot *)((char *)request - offsetof(struct slot, disk)), result);
}

static void submit(struct slot *slot)
{
	struct rig *rig = slot->rig;
	uint64_t block, length = rig->io_bytes;
	bool write;

	if (!picker_next(&rig->picker, &block, &write)) {
		rig->stop = true;
		return;
	}
	slot->started = loop_now(rig->loop);
	slot->iov.iov_len = length;
	rig->in_flight++;
	rig->submitted++;
	if (rig->volume != NULL) {
		slot->volume = (struct volume_request){
		    .op = write ? VOLUME_WRITE : VOLUME_READ,
		    .flags = write && rig->options->fua ? VOLUME_FUA : 0,
		    .offset = block * length,
		    .length = length,
		    .iov = &slot->iov,
		    .iov_count = 1,
		    .done = volume_done,
		};
		volume_submit(rig->volume, &slot->volume);
	} else {
		slot->disk = (struct disk_request){
		    .op = write ? DISK_WRITE : DISK_READ,
		    .offset = block * length,
		    .length = length,
		    .iov = &slot->iov,
		    .iov_count = 1,
		    .done = disk_done,
		};
		disk_submit(rig->loop, rig->disk, &slot->disk);
	}
}

/* Requests are made on the loop. */
static void start_all(struct deferred *deferred)
{
	struct rig *rig = (struct rig *)((char *)deferred - offsetof(struct rig, start));

	for (uint64_t i = 0; i < rig->options->depth && !rig->stop; i++)
		submit(&rig->slots[i]);
}

static void snapshot_step(struct rig *rig)
{
	struct snapshots *all = rig->snapshots;
	struct volume *old;

	if (!all->call.done)
		return;
	if (all->call.result < 0)
		rig->failed = all->call.result;
	if (rig->stop || all->call.result < 0)
		return;
	all->call = (struct call){.base.done = call_done};
	if (all->made > KEPT + all->deleted) {
		snprintf(all->name, sizeof(all->name), "load@s%u", all->deleted++);
		old = pool_find_volume(rig->pool, all->name);
		all->call.done = old == NULL;
		if (old != NULL)
			snapshot_delete(old, &all->call.base);
		return;
	}
	all->call.done = loop_now(rig->loop) < all->next;
	if (all->call.done)
		return;
	all->next = loop_now(rig->loop) + rig->options->snapshot_ns;
	snprintf(all->name, sizeof(all->name), "s%u", all->made++);
	all->spec = (struct snapshot_spec){.volume = rig->volume, .name = all->name};
	snapshot_create(rig->pool, &all->spec, 1, &all->call.base);
	rig->result.snapshots++;
}

/* Until @run_ns have passed, or every block was visited once. */
static int run(struct rig *rig, const struct options *options, uint64_t span, uint64_t run_ns,
	       struct err *err)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

	picker_init(&rig->picker, options, span / options->block_bytes);
	rig->io_bytes = options->block_bytes;
	rig->stop = false;
	deferred_init(&rig->start, start_all);
	memset(&rig->result, 0, sizeof(rig->result));
	loop_defer(rig->loop, &rig->start);
	do {
		loop_poll(rig->loop, 100000000);
		if (rig->snapshots != NULL)
			snapshot_step(rig);
		if (loop_now(rig->loop) - start >= run_ns)
			rig->stop = true;
	} while (rig->in_flight > 0);
	rig->result.elapsed_ns = clock_ns(CLOCK_MONOTONIC) - start;
	rig->result.client_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	while (rig->snapshots != NULL && !rig->snapshots->call.done)
		loop_poll(rig->loop, 100000000);
	return rig->failed < 0
		   ? err_set(err, rig->failed, "an I/O failed: %s", strerror(-rig->failed))
		   : 0;
}

static int make_slots(struct rig *rig, struct err *err)
{
	size_t size = rig->options->block_bytes > 65536 ? rig->options->block_bytes : 65536;
	uint64_t depth = rig->options->depth;

	rig->slots = calloc(depth, sizeof(*rig->slots));
	rig->data = aligned_alloc(4096, (size_t)depth * ((size + 4095) & ~(size_t)4095));
	if (rig->slots == NULL || rig->data == NULL)
		return err_set(err, -ENOMEM, "no memory for %ju I/Os", (uintmax_t)depth);
	memset(rig->data, 0x5a, (size_t)depth * size);
	for (uint64_t i = 0; i < depth; i++) {
		rig->slots[i].rig = rig;
		rig->slots[i].iov.iov_base = rig->data + i * size;
	}
	return 0;
}

static int open_all(struct rig *rig, uint64_t span, struct err *err)
{
	const struct world_ops *world;
	int r = world_select(rig->options->io_engine, &world, err);

	if (r == 0)
		r = loop_create(world, &rig->loop, err);
	if (r < 0)
		return r;
	r = make_slots(rig, err);
	if (r == 0 && rig->options->raw)
		r = disk_open(world, rig->options->engine_file, DISK_CREATE, span, &rig->disk, err);
	else if (r == 0)
		r = make_volume(rig, world, span, err);
	return r;
}

static void close_all(struct rig *rig)
{
	struct call call = {.base.done = call_done};

	volume_unref(rig->volume);
	if (rig->pool != NULL) {
		pool_close(rig->pool, &call.base);
		call_wait(rig, &call, NULL);
	}
	if (rig->disk != NULL)
		disk_close(rig->disk);
	loop_destroy(rig->loop);
	free(rig->slots);
	free(rig->data);
}

int engine(const struct options *options, struct result *ret_result, struct err *err)
{
	struct snapshots snapshots = {.call.done = true};
	struct rig rig = {.options = options};
	struct options fill = *options;
	uint64_t span = options->span_bytes != 0 ? options->span_bytes : SPAN_DEFAULT;
	int r = access(options->engine_file, F_OK) == 0
		    ? err_set(err, -EEXIST, "%s exists", options->engine_file)
		    : open_all(&rig, span, err);

	fill.pattern = PATTERN_WRITE;
	fill.block_bytes = 65536;
	fill.once = true;
	if (r == 0 && !options->once)
		r = run(&rig, &fill, span, UINT64_MAX, err);
	if (r == 0 && options->warmup_ns != 0)
		r = run(&rig, options, span, options->warmup_ns, err);
	if (options->snapshot_ns != 0 && !options->raw)
		rig.snapshots = &snapshots;
	if (r == 0)
		r = run(&rig, options, span, options->once ? UINT64_MAX : options->run_ns, err);
	*ret_result = rig.result;
	close_all(&rig);
	return r;
}
