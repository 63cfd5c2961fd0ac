/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/world.h"
#include "volumes/qos.h"

/* Limits and turns. The buckets' arithmetic runs on times of the test's own; what runs on a loop is
 * judged by order and by lower bounds of time, never by upper ones. */

#define REQUESTS 400

/* ---- buckets ---- */
static void buckets_keep_their_rate(void **state)
{
	struct bucket bucket = {.rate = 1000, .room = 100, .tokens = 100};
	uint64_t now = 0, done = 0;

	(void)state;
	while (now < 10 * 1000000000ull) {
		uint64_t wait = bucket_wait_ns(&bucket);

		if (wait == 0) {
			bucket.tokens -= 1;
			done++;
			continue;
		}
		now += wait;
		bucket_refill(&bucket, (double)wait / 1e9);
	}
	assert_in_range(done, 9900, 10200); /* 10 s at 1,000, and the burst of 100 */
}

static void buckets_bound_the_burst(void **state)
{
	struct bucket bucket = {.rate = 1000, .room = 100, .tokens = 0};
	unsigned done = 0;

	(void)state;
	bucket_refill(&bucket, 3600);
	while (bucket_wait_ns(&bucket) == 0) {
		bucket.tokens -= 1;
		done++;
	}
	assert_in_range(done, 100, 101);
}

static void buckets_lend_to_the_large(void **state)
{
	struct bucket bucket = {.rate = 1e6, .room = 1e6, .tokens = 1};

	(void)state;
	assert_int_equal(bucket_wait_ns(&bucket), 0);
	bucket.tokens -= 5e6; /* more than it ever holds */
	assert_in_range(bucket_wait_ns(&bucket), 4999000000ull, 5001000000ull);
	bucket_refill(&bucket, 5.1);
	assert_int_equal(bucket_wait_ns(&bucket), 0);
	bucket = (struct bucket){0};
	assert_int_equal(bucket_wait_ns(&bucket), 0); /* no limit */
}

/* ---- a loop, and a back end that keeps what it gets ---- */
static struct loop *loop;
static struct list held;
static unsigned held_count, finished;
static char order[REQUESTS + 1]; /* the volumes' letters, as their requests reached the back end */
static unsigned order_count;
static uint8_t data[4096] __attribute__((aligned(4096)));

struct job {
	struct volume_request request;
	struct iovec iov;
	int result;
	bool done;
};

static void keep(struct volume *volume, struct volume_request *request)
{
	order[order_count++] = volume->name[0];
	list_push_back(&held, &request->link);
	held_count++;
}

static void release(struct volume *volume)
{
	qos_free(volume->qos);
}

static const struct volume_ops keeping = {.name = "keeping", .submit = keep, .release = release};

static void volume_init(struct volume *volume, char letter, struct turns *turns)
{
	*volume = (struct volume){.ops = &keeping, .size_bytes = 1 << 20, .refs = 1};
	volume->name[0] = letter;
	volume->turns = turns;
	list_init(&volume->watchers);
}

static void finish_one(void)
{
	struct volume_request *request =
	    list_entry(list_pop_front(&held), struct volume_request, link);

	held_count--;
	request->done(request, 0);
}

static void job_done(struct volume_request *request, int result)
{
	struct job *job = container_of(request, struct job, request);

	job->done = true;
	job->result = result;
	finished++;
}

static void submit(struct job *job, struct volume *volume, enum volume_op op)
{
	*job = (struct job){.iov = {data, sizeof data}};
	job->request = (struct volume_request){.op = op, .done = job_done};
	if (op != VOLUME_FLUSH) {
		job->request.length = sizeof data;
		job->request.iov = &job->iov;
		job->request.iov_count = 1;
	}
	volume_submit(volume, &job->request);
}

/* volume_submit() wants a running loop: each step runs on it. */
static void (*step)(void);
static bool step_done;

static void run_step(struct deferred *deferred)
{
	(void)deferred;
	step();
	step_done = true;
}

static void on_loop(void (*what)(void))
{
	struct deferred deferred;

	step = what;
	step_done = false;
	deferred_init(&deferred, run_step);
	loop_defer(loop, &deferred);
	while (!step_done)
		loop_poll(loop, 0);
}

static int setup(void **state)
{
	const struct world_ops *world;

	(void)state;
	list_init(&held);
	held_count = finished = order_count = 0;
	memset(order, 0, sizeof order);
	return world_select("auto", &world, NULL) < 0 || loop_create(world, &loop, NULL) < 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_destroy(loop);
	return 0;
}

static struct volume a, b;
static struct job jobs[REQUESTS], other[REQUESTS], flush;

static unsigned reached(char letter)
{
	unsigned count = 0;

	for (unsigned i = 0; i < order_count; i++)
		count += order[i] == letter;
	return count;
}

/* ---- limits ---- */
static void limit_step(void)
{
	struct volume_limits limits = {.iops = 100, .burst_ms = 50};

	assert_int_equal(volume_set_limits(&a, &limits, NULL), 0);
	for (unsigned i = 0; i < 40; i++)
		submit(&jobs[i], &a, VOLUME_WRITE);
	submit(&flush, &a, VOLUME_FLUSH);
}

static void drain(void)
{
	while (held_count)
		finish_one();
}

static void limits_hold_back(void **state)
{
	uint64_t begun;
	struct volume_limits shown;

	(void)state;
	volume_init(&a, 'a', NULL);
	loop_poll(loop, 0);
	begun = loop_now(loop);
	on_loop(limit_step);
	assert_in_range(held_count, 5, 8); /* the burst, and the flush that waits for nothing */
	assert_true(order_count == held_count);
	while (finished < 41) {
		on_loop(drain);
		loop_poll(loop, 1000000);
	}
	assert_true(loop_now(loop) - begun > 300000000u); /* 34 of them at 100 a second */
	volume_get_limits(&a, &shown);
	assert_int_equal(shown.iops, 100);
	assert_int_equal(shown.burst_ms, 50);
	assert_in_range(shown.delayed, 30, 36);
	assert_true(shown.delayed_ns > 1000000000u);
	volume_unref(&a);
}

static void cancel_step(void)
{
	volume_cancel(&jobs[20].request);
	volume_cancel(&jobs[0].request); /* at the back end, which does not offer it */
	assert_false(jobs[20].done);     /* never inside the call */
}

static void lift_step(void)
{
	struct volume_limits none = {0};

	assert_int_equal(volume_set_limits(&a, &none, NULL), 0);
}

static void waiting_is_cancelled_and_let_go(void **state)
{
	struct volume_limits limits = {.bandwidth = 4096, .burst_ms = 1000};

	(void)state;
	volume_init(&a, 'a', NULL);
	assert_int_equal(volume_set_limits(&a, &limits, NULL), 0);
	on_loop(limit_step); /* 100 operations a second from here on */
	on_loop(cancel_step);
	loop_poll(loop, 0);
	assert_true(jobs[20].done);
	assert_int_equal(jobs[20].result, -ECANCELED);
	assert_false(jobs[0].done);
	on_loop(lift_step); /* what waits goes with the next look */
	while (finished < 41) {
		on_loop(drain);
		loop_poll(loop, 1000000);
	}
	assert_int_equal(reached('a'), 40); /* 39 writes and the flush */
	volume_unref(&a);
}

static void fill_step(void)
{
	struct volume_limits limits = {.iops = 10, .burst_ms = 100};

	assert_int_equal(volume_set_limits(&a, &limits, NULL), 0);
	for (unsigned i = 0; i < 40; i++)
		submit(&jobs[i], &a, VOLUME_WRITE);
}

static void cancel_all_step(void)
{
	for (unsigned i = 0; i < 40; i++)
		volume_cancel(&jobs[i].request);
}

/* With the last that waited goes the timer; else it would look into what is freed by now. */
static void cancelled_leave_no_timer(void **state)
{
	uint64_t begun;

	(void)state;
	volume_init(&a, 'a', NULL);
	on_loop(fill_step);
	on_loop(cancel_all_step);
	while (finished + held_count < 40)
		loop_poll(loop, 0);
	on_loop(drain);
	assert_int_equal(finished, 40);
	volume_unref(&a);
	begun = loop_now(loop);
	while (loop_now(loop) - begun < 250000000u)
		loop_poll(loop, 50000000);
	assert_int_equal(finished, 40);
}

static void bad_limits_are_refused(void **state)
{
	struct volume_limits slow = {.bandwidth = 100}, long_burst = {.iops = 1, .burst_ms = 60001};

	(void)state;
	volume_init(&a, 'a', NULL);
	assert_int_equal(volume_set_limits(&a, &slow, NULL), -EINVAL);
	assert_int_equal(volume_set_limits(&a, &long_burst, NULL), -EINVAL);
	assert_null(a.qos);
	volume_unref(&a);
}

/* ---- turns ---- */
static void crowd_step(void)
{
	for (unsigned i = 0; i < 300; i++)
		submit(&jobs[i], &a, VOLUME_WRITE);
}

static void few_step(void)
{
	for (unsigned i = 0; i < 3; i++)
		submit(&other[i], &b, VOLUME_READ);
}

static void alone_nothing_is_held_back(void **state)
{
	struct turns *turns = turns_new();

	(void)state;
	volume_init(&a, 'a', turns);
	on_loop(crowd_step);
	assert_int_equal(held_count, 300);
	on_loop(drain);
	assert_int_equal(finished, 300);
	volume_unref(&a);
	turns_free(turns);
}

static void finish_some(void)
{
	for (unsigned i = 0; i < 16; i++)
		finish_one();
}

static void one_can_not_starve_another(void **state)
{
	struct turns *turns = turns_new();
	unsigned steps = 0;

	(void)state;
	volume_init(&a, 'a', turns);
	volume_init(&b, 'b', turns);
	on_loop(few_step); /* both are known to use the loop */
	on_loop(crowd_step);
	assert_int_equal(held_count, TURNS_REQUESTS);
	on_loop(drain); /* goes on until nothing is left */
	assert_int_equal(finished, 303);
	finished = order_count = 0;
	on_loop(crowd_step);
	assert_int_equal(held_count, TURNS_REQUESTS);
	on_loop(few_step);
	while (!other[2].done) {
		on_loop(finish_some);
		steps++;
	}
	/* Behind what is at the back end and a turn of the crowd, not behind all of it. */
	assert_true(steps <= 5);
	assert_true(finished < 100);
	on_loop(drain);
	assert_int_equal(finished, 303);
	volume_unref(&a);
	volume_unref(&b);
	turns_free(turns);
}

static void both_crowds_step(void)
{
	for (unsigned i = 0; i < 150; i++)
		submit(&jobs[i], &a, VOLUME_WRITE);
	for (unsigned i = 0; i < 150; i++)
		submit(&other[i], &b, VOLUME_WRITE);
}

static void shares_are_even(void **state)
{
	struct turns *turns = turns_new();

	(void)state;
	volume_init(&a, 'a', turns);
	volume_init(&b, 'b', turns);
	on_loop(few_step);
	on_loop(drain);
	order_count = finished = 0;
	on_loop(both_crowds_step);
	while (finished < 150)
		on_loop(finish_some);
	/* a came first with a deep queue, and yet */
	assert_in_range(reached('b'), 50, 100);
	on_loop(drain);
	assert_int_equal(finished, 300);
	volume_unref(&a);
	volume_unref(&b);
	turns_free(turns);
}

static void cancel_turn_step(void)
{
	for (unsigned i = 200; i < 300; i++)
		volume_cancel(&jobs[i].request);
}

static void waiting_for_a_turn_is_cancelled(void **state)
{
	struct turns *turns = turns_new();

	(void)state;
	volume_init(&a, 'a', turns);
	volume_init(&b, 'b', turns);
	on_loop(few_step);
	on_loop(drain);
	finished = 0;
	on_loop(crowd_step);
	on_loop(cancel_turn_step);
	loop_poll(loop, 0);
	for (unsigned i = 200; i < 300; i++)
		assert_true(jobs[i].done && jobs[i].result == -ECANCELED);
	on_loop(drain);
	assert_int_equal(finished, 300);
	on_loop(few_step); /* nothing is stuck behind the emptied queue */
	on_loop(drain);
	assert_int_equal(finished, 303);
	volume_unref(&a);
	volume_unref(&b);
	turns_free(turns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(buckets_keep_their_rate),
	    cmocka_unit_test(buckets_bound_the_burst),
	    cmocka_unit_test(buckets_lend_to_the_large),
	    cmocka_unit_test_setup_teardown(limits_hold_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(waiting_is_cancelled_and_let_go, setup, teardown),
	    cmocka_unit_test_setup_teardown(cancelled_leave_no_timer, setup, teardown),
	    cmocka_unit_test_setup_teardown(bad_limits_are_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(alone_nothing_is_held_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(one_can_not_starve_another, setup, teardown),
	    cmocka_unit_test_setup_teardown(shares_are_even, setup, teardown),
	    cmocka_unit_test_setup_teardown(waiting_for_a_turn_is_cancelled, setup, teardown),
	};

	return cmocka_run_group_tests_name("qos", tests, NULL, NULL);
}
