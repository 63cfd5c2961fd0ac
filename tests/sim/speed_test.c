/* SPDX-License-Identifier: Apache-2.0 */
/* speed_test: a pool on simulated disks that are not equally fast. Of two alike both take the same;
 * of one that is slower less is taken, never nothing; when it is the other one, that is followed;
 * and the same seed is the same run.
 *
 * granary-test: timeout=120 asan */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "tests/sim/sim_world.h"
#include "volumes/pool.h"

#define SIZE  (640ull << 20)
#define WRITE (256u << 10)
#define MIB   (1ull << 20)
#define STEPS 4000000u

static const char *const paths[] = {"/sim/pv0", "/sim/pv1"};

static struct sim *sim;
static struct loop *loop;
static struct pool *pool;
static struct volume *volume;
static uint64_t cursor;
static unsigned points, bad_points;

static void point(bool good, const char *text, uint64_t first, uint64_t second)
{
	points++;
	bad_points += !good;
	printf("%s %u - %s (%llu, %llu)\n", good ? "ok" : "not ok", points, text,
	       (unsigned long long)first, (unsigned long long)second);
}

static struct {
	void (*start)(void);
	struct message message;
	struct pool_call call;
	struct volume_request request;
	bool done;
	int result;
} now;

static void call_done(struct pool_call *call, int result)
{
	(void)call;
	now.result = result;
	now.done = true;
}

static void run_message(struct message *message)
{
	(void)message;
	now.start();
}

static void on_loop(void (*start)(void))
{
	now.start = start;
	now.done = false;
	now.call = (struct pool_call){.done = call_done};
	loop_post(loop, &now.message, run_message);
	if (!sim_until(sim, &now.done, STEPS) || now.result != 0) {
		printf("Bail out! a call failed or never ended: %s\n", strerror(-now.result));
		exit(1);
	}
}

static void start_create(void)
{
	static const struct pool_device devices[] = {{"/sim/pv0", SIZE}, {"/sim/pv1", SIZE}};
	static const struct pool_create_options options = {
	    .name = "unlike", .devices = devices, .device_count = 2};

	pool_create(&world_sim, loop, &options, &now.call);
}

static void start_volume(void)
{
	struct volume_spec spec = {.name = "data", .size_bytes = 2 * SIZE};

	volume_create(pool, &spec, &now.call);
}

static void start_close(void)
{
	volume_unref(volume);
	pool_close(pool, &now.call);
}

static void request_done(struct volume_request *request, int result)
{
	(void)request;
	now.result = result;
	now.done = true;
}

static void start_request(void)
{
	volume_submit(volume, &now.request);
}

/* @bytes more, to new space; what each device gave of it. */
static void write_more(uint64_t bytes, uint64_t *taken)
{
	static _Alignas(4096) uint8_t data[WRITE];
	struct iovec iov = {data, sizeof(data)};
	struct pool_device_info before[2], after[2];

	pool_device_info(pool, 0, &before[0]);
	pool_device_info(pool, 1, &before[1]);
	memset(data, 0x5a, sizeof(data));
	for (uint64_t end = cursor + bytes; cursor < end; cursor += WRITE) {
		now.request = (struct volume_request){.op = VOLUME_WRITE,
						      .offset = cursor,
						      .length = WRITE,
						      .iov = &iov,
						      .iov_count = 1,
						      .done = request_done};
		on_loop(start_request);
	}
	for (unsigned i = 0; i < 2; i++) {
		pool_device_info(pool, i, &after[i]);
		taken[i] = before[i].free_bytes - after[i].free_bytes;
	}
}

static void begin(uint64_t seed, unsigned first, unsigned second)
{
	sim = sim_create(seed);
	sim_enter(sim);
	loop = sim_loop(sim);
	for (unsigned i = 0; i < 2; i++) {
		sim_disk_create(sim, paths[i], SIZE);
		sim_disk_set_slowness(sim, paths[i], i ? second : first);
	}
	cursor = 0;
	on_loop(start_create);
	pool = now.call.pool;
	on_loop(start_volume);
	volume = now.call.volume;
}

/* How far the world's clock is tells two runs apart. */
static uint64_t end(void)
{
	uint64_t when = sim_now(sim);

	on_loop(start_close);
	loop_destroy(loop);
	sim_leave(sim);
	sim_destroy(sim);
	return when;
}

static void alike(uint64_t seed)
{
	struct pool_device_info info;
	uint64_t taken[2];

	begin(seed, 3, 3);
	write_more(512 * MIB, taken);
	pool_device_info(pool, 0, &info);
	point(taken[0] + 16 * MIB >= taken[1] && taken[1] + 16 * MIB >= taken[0] &&
		  info.share > 0.47 && info.share < 0.53,
	      "of two alike both take the same", taken[0] / MIB, taken[1] / MIB);
	end();
}

static uint64_t unlike(uint64_t seed, bool say)
{
	struct pool_device_info info[2];
	uint64_t taken[2], when;

	begin(seed, 1, 8);
	write_more(256 * MIB, taken);
	pool_device_info(pool, 0, &info[0]);
	pool_device_info(pool, 1, &info[1]);
	if (say) {
		point(taken[0] >= 2 * taken[1] && taken[1] >= 32 * MIB,
		      "of one that is 8 times slower less is taken, and some all the same",
		      taken[0] / MIB, taken[1] / MIB);
		point(info[1].large_write_ns > 5 * info[0].large_write_ns &&
			  info[1].large_write_ns < 12 * info[0].large_write_ns &&
			  info[1].share < 0.35 && info[1].share > 0.1,
		      "so slow is it said to be, and its share so small", info[0].large_write_ns,
		      info[1].large_write_ns);
	}
	sim_disk_set_slowness(sim, paths[0], 8);
	sim_disk_set_slowness(sim, paths[1], 1);
	write_more(64 * MIB, taken);
	write_more(192 * MIB, taken);
	if (say)
		point(taken[1] >= 2 * taken[0] && taken[0] >= 16 * MIB,
		      "when it is the other one, that is followed", taken[0] / MIB, taken[1] / MIB);
	when = sim_now(sim);
	end();
	return when;
}

/* Until there is no space: the fast one keeps room as long as the slow one. */
static void fill(uint64_t seed)
{
	struct pool_device_info info[2];
	uint64_t taken[2] = {0};
	bool room = true;

	begin(seed, 1, 50);
	for (unsigned i = 0; i < 17; i++) {
		write_more(64 * MIB, taken);
		for (unsigned j = 0; j < 2; j++) {
			pool_device_info(pool, j, &info[j]);
			taken[j] = info[j].free_bytes;
		}
		room &= taken[0] + 20 * MIB >= (taken[0] + taken[1]) / 4;
	}
	point(room && taken[0] < taken[1], "the fast one keeps half of its share of what is free",
	      taken[0] / MIB, taken[1] / MIB);
	end();
}

int main(void)
{
	uint64_t when[2];

	log_set_level(LOG_LEVEL_ERROR);
	for (uint64_t seed = 1; seed < 4; seed++)
		alike(seed);
	for (uint64_t seed = 1; seed < 3; seed++)
		unlike(seed, true);
	when[0] = unlike(7, false);
	when[1] = unlike(7, false);
	point(when[0] == when[1], "the same seed is the same run", when[0], when[1]);
	fill(1);
	printf("1..%u\n", points);
	return bad_points ? 1 : 0;
}
