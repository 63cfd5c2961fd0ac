/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/world.h"
#include "replication/recorder.h"

/* A volume that ends requests when it is told to. */

#define SIZE      ((uint64_t)8 << 20)
#define DATA      ((uint64_t)64 << 10)
#define UNDER_WAY 16u

static struct loop *loop;
static struct volume volume;
static struct volume_request requests[UNDER_WAY];
static struct iovec iov;
static _Alignas(4096) uint8_t data[DATA];
static unsigned ended, woken;
static int last_result;

static void submit(struct volume *self, struct volume_request *request)
{
	(void)self, (void)request;
}

static void release(struct volume *self)
{
	(void)self;
}

static const struct volume_ops ops = {.name = "waits", .submit = submit, .release = release};

static void done(struct volume_request *request, int result)
{
	(void)request;
	last_result = result;
	ended++;
}

static void wake(void *context)
{
	(void)context;
	woken++;
}

struct step {
	struct deferred deferred;
	void (*run)(void);
	bool over;
};

static void run_step(struct deferred *deferred)
{
	struct step *step = container_of(deferred, struct step, deferred);

	step->run();
	step->over = true;
}

/* @run on the loop, and what it posted. */
static void on_loop(void (*run)(void))
{
	struct step step = {.run = run};

	deferred_init(&step.deferred, run_step);
	loop_defer(loop, &step.deferred);
	while (!step.over)
		loop_poll(loop, 0);
	for (unsigned i = 0; i < 10; i++)
		loop_poll(loop, 0);
}

static void begin(unsigned i, enum volume_op op, uint64_t offset, uint64_t length)
{
	requests[i] = (struct volume_request){.op = op,
					      .offset = offset,
					      .length = length,
					      .iov = op == VOLUME_DISCARD ? NULL : &iov,
					      .iov_count = op != VOLUME_DISCARD,
					      .done = done};
	iov = (struct iovec){data, length};
	volume_submit(&volume, &requests[i]);
}

static void finish(unsigned i, int result)
{
	requests[i].done(&requests[i], result);
}

static uint64_t lease_now;

static uint64_t lease_clock(void *context, struct loop *of)
{
	(void)context, (void)of;
	return lease_now;
}

static struct recorder *recorder_new(uint64_t budget)
{
	struct recorder_options options = {.loop = loop,
					   .budget_bytes = budget,
					   .first_epoch = 1,
					   .wake = wake,
					   .clock = lease_clock};
	struct recorder *recorder;

	assert_int_equal(recorder_create(&options, &recorder), 0);
	assert_int_equal(recorder_add(recorder, 0, &volume, false), 0);
	recorder_log_again(recorder);
	return recorder;
}

static int set_up(void **state)
{
	(void)state;
	volume = (struct volume){.ops = &ops, .size_bytes = SIZE, .refs = 1, .name = "v"};
	list_init(&volume.watchers);
	return loop_create(&world_aio, &loop, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	loop_destroy(loop);
	return 0;
}

static void one_write(void)
{
	begin(0, VOLUME_WRITE, 0, 4096);
}

static void write_fails(void)
{
	finish(0, -EIO);
}

static void write_ends(void)
{
	finish(0, 0);
}

static void test_what_ends_late_is_not_forgotten(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);
	uint64_t epoch, offset, length;

	(void)state;
	assert_int_equal(recorder_next_step(recorder, 1), RECORDER_WAIT);
	on_loop(one_write);
	epoch = recorder_close(recorder);
	assert_true(epoch == 1);
	assert_int_equal(recorder_next_step(recorder, epoch), RECORDER_WAIT);
	woken = 0;
	on_loop(write_fails); /* the epoch is complete, and not whole */
	assert_true(woken > 0 && recorder_complete(recorder, epoch));
	assert_int_equal(recorder_next_step(recorder, epoch), RECORDER_SYNC);
	assert_true(recorder_take(recorder, 0, 0, SIZE, &offset, &length));
	assert_true(offset == 0 && length == MARKS_CHUNK);
	recorder_destroy(recorder);
}

static void test_a_whole_epoch_is_sent(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);

	(void)state;
	on_loop(one_write);
	(void)recorder_close(recorder);
	on_loop(write_ends);
	assert_int_equal(recorder_next_step(recorder, 1), RECORDER_SEND);
	assert_true(recorder_epoch(recorder, 1)->records == 1);
	recorder_drop(recorder, 1);
	assert_true(recorder_idle(recorder));
	recorder_destroy(recorder);
}

/* Logged behind the old end: the marks have not heard of the new one. */
static void far_write(void)
{
	begin(0, VOLUME_WRITE, SIZE + MARKS_CHUNK, 4096);
}

static void test_all_is_what_it_has_grown_to(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);
	struct recorder_lag lag;

	(void)state;
	volume.size_bytes = 2 * SIZE;
	on_loop(far_write);
	on_loop(write_ends);
	recorder_mark_all(recorder);
	recorder_lag(recorder, &lag);
	assert_true(lag.marked_bytes == 2 * SIZE);
	recorder_destroy(recorder);
}

static void test_growth_is_marked(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);
	uint64_t offset, length;

	(void)state;
	volume.size_bytes = 2 * SIZE;
	volume_notify(&volume, VOLUME_RESIZED);
	assert_true(recorder_take(recorder, 0, 0, UINT64_MAX, &offset, &length));
	assert_true(offset == SIZE && length == SIZE);
	recorder_destroy(recorder);
}

/* One of each: under way, behind it, a read. */
static void three(void)
{
	begin(0, VOLUME_WRITE, 0, 4096);
	begin(1, VOLUME_WRITE, 0, 8192);
	begin(2, VOLUME_READ, 4096, 4096);
}

static void three_end(void)
{
	finish(0, 0);
	finish(1, 0);
	finish(2, 0);
}

static void nothing(void)
{
}

static void one_later(void)
{
	begin(3, VOLUME_WRITE, 0, 4096);
	begin(4, VOLUME_READ, 0, 4096);
}

static void later_end(void)
{
	finish(3, 0);
	finish(4, 0);
}

static void test_retired_with_requests_under_way(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20), *retired = NULL, *next;

	(void)state;
	on_loop(three);
	recorder_retire(recorder, &retired);
	next = recorder_new(1 << 20);
	assert_false(recorder_quiet(next)); /* it has not seen two changes */
	woken = ended = 0;
	on_loop(three_end);
	assert_true(ended == 3 && recorder_quiet(next) && recorder_idle(next));
	on_loop(one_later);
	assert_true(recorder_busy(next));
	on_loop(later_end);
	assert_false(recorder_idle(next));
	recorder_destroy(next);
	recorder_destroy_retired(retired);
	assert_true(volume.refs == 1 && volume.tap == NULL && volume.untapped == 0);
}

static void test_retired_while_guests_are_held(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20), *retired = NULL;

	(void)state;
	recorder_set_mode(recorder, RECORDER_HOLDS);
	on_loop(one_write);
	recorder_retire(recorder, &retired);
	assert_true(volume.untapped == 1);
	ended = 0;
	on_loop(write_ends);
	assert_true(ended == 1 && volume.untapped == 0);
	recorder_destroy_retired(retired);
}

/* ---- R5 ---- */
static void read_ends(void)
{
	finish(2, 0);
}

static void second_ends(void)
{
	finish(1, 0);
}

static void first_is_cancelled(void)
{
	volume_cancel(&requests[0]);
}

static struct recorder_lag lag_of(struct recorder *recorder)
{
	struct recorder_lag lag;

	recorder_lag(recorder, &lag);
	return lag;
}

static void far_discard(void)
{
	begin(0, VOLUME_DISCARD, MARKS_CHUNK, 8192);
}

/* It is as much newer as a write would be, though nothing of it is in memory. */
static void test_a_discard_counts(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);
	struct recorder_lag lag;

	(void)state;
	on_loop(far_discard);
	on_loop(write_ends);
	lag = lag_of(recorder);
	assert_true(lag.zeroed_bytes == 8192 && lag.log_bytes == 0);
	recorder_drop(recorder, recorder_close(recorder));
	assert_true(lag_of(recorder).zeroed_bytes == 0);
	recorder_destroy(recorder);
}

static void test_beyond_its_time_a_change_waits(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);
	struct recorder_lag lag;

	(void)state;
	recorder_protect(recorder, 1); /* long ago */
	ended = 0;
	on_loop(three);
	lag = lag_of(recorder);
	assert_true(lag.held == 2 && lag.held_wall_ns == 1 && lag.still_wall_ns > 1);
	assert_false(recorder_busy(recorder));
	on_loop(read_ends); /* it was not held */
	recorder_set_mode(recorder, RECORDER_RECORDS);
	recorder_protect(recorder, 2);
	on_loop(nothing);
	assert_true(lag_of(recorder).held == 2 && !recorder_busy(recorder) && ended == 1);
	recorder_protect(recorder, UINT64_MAX - 1); /* not yet */
	assert_true(lag_of(recorder).held == 0 && recorder_busy(recorder));
	on_loop(write_ends);
	on_loop(second_ends); /* which overlaps the first, and came after it */
	lag = lag_of(recorder);
	assert_true(ended == 3 && lag.held_wall_ns == 0 && lag.still_wall_ns == 0);
	recorder_destroy(recorder);
}

static void test_what_waits_is_cancelled_or_refused(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);

	(void)state;
	recorder_protect(recorder, 1);
	ended = 0;
	on_loop(three);
	on_loop(first_is_cancelled);
	assert_true(ended == 1 && last_result == -ECANCELED && lag_of(recorder).held == 1);
	recorder_set_mode(recorder, RECORDER_REFUSES);
	on_loop(nothing);
	assert_true(ended == 2 && last_result == -EROFS && lag_of(recorder).held == 0);
	on_loop(read_ends);
	recorder_destroy(recorder);
}

static void test_a_member_that_leaves_is_not_held(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);

	(void)state;
	recorder_protect(recorder, 1);
	ended = 0;
	on_loop(one_write);
	recorder_remove(recorder, 0);
	on_loop(write_ends);
	assert_true(ended == 1 && volume.untapped == 0);
	recorder_destroy(recorder);
}

/* ---- R6 ---- */
static void third_is_cancelled(void)
{
	volume_cancel(&requests[2]);
}

static void test_nothing_is_told_after_the_lease(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);
	struct recorder_lag lag;

	(void)state;
	lease_now = 100;
	ended = 0;
	recorder_lease(recorder, true, 200, false);
	on_loop(three);
	on_loop(write_ends);
	assert_true(ended == 1 && last_result == 0 && !lag_of(recorder).unleased);
	lease_now = 200; /* what was let in before that ends after it */
	on_loop(second_ends);
	on_loop(read_ends);
	on_loop(one_later);
	lag = lag_of(recorder);
	assert_true(ended == 1 && lag.unleased && lag.parked == 3);
	assert_false(recorder_busy(recorder)); /* the image is whole all the same */
	recorder_lease(recorder, true, 200, false);
	on_loop(nothing);
	assert_int_equal(ended, 1);
	recorder_lease(recorder, true, 300, false);
	on_loop(nothing);
	assert_true(ended == 3 && last_result == 0 && lag_of(recorder).parked == 0);
	on_loop(later_end);
	assert_int_equal(ended, 5);
	recorder_destroy(recorder);
}

static void test_what_is_kept_ends_with_the_role(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);

	(void)state;
	lease_now = 100;
	ended = 0;
	recorder_lease(recorder, true, 100, false);
	on_loop(three); /* the changes are not let in */
	on_loop(read_ends);
	assert_true(ended == 0 && lag_of(recorder).parked == 3);
	on_loop(third_is_cancelled);
	assert_true(ended == 1 && last_result == -ECANCELED && lag_of(recorder).parked == 2);
	recorder_lease(recorder, true, 200, false);
	on_loop(nothing);
	lease_now = 200;
	on_loop(write_ends);
	recorder_set_mode(recorder, RECORDER_REFUSES);
	on_loop(nothing);
	assert_true(ended == 2 && last_result == -EROFS);
	on_loop(second_ends); /* it was let in, and ends too late */
	assert_true(ended == 3 && last_result == -EROFS);
	recorder_destroy(recorder);
}

static void test_who_stops_refuses_what_waits(void **state)
{
	struct recorder *recorder = recorder_new(1 << 20);

	(void)state;
	lease_now = 100;
	ended = 0;
	recorder_lease(recorder, true, 100, false);
	on_loop(one_write);
	assert_int_equal(ended, 0);
	recorder_lease(recorder, true, 100, true);
	on_loop(nothing);
	assert_true(ended == 1 && last_result == -EROFS);
	on_loop(one_write);
	assert_true(ended == 2 && last_result == -EROFS);
	recorder_lease(recorder, false, 0, false);
	on_loop(one_write);
	on_loop(write_ends);
	assert_true(ended == 3 && last_result == 0);
	recorder_destroy(recorder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(test_what_ends_late_is_not_forgotten),
	    TEST(test_a_whole_epoch_is_sent),
	    TEST(test_all_is_what_it_has_grown_to),
	    TEST(test_growth_is_marked),
	    TEST(test_retired_with_requests_under_way),
	    TEST(test_retired_while_guests_are_held),
	    TEST(test_a_discard_counts),
	    TEST(test_beyond_its_time_a_change_waits),
	    TEST(test_what_waits_is_cancelled_or_refused),
	    TEST(test_a_member_that_leaves_is_not_held),
	    TEST(test_nothing_is_told_after_the_lease),
	    TEST(test_what_is_kept_ends_with_the_role),
	    TEST(test_who_stops_refuses_what_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
