/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "core/loop.h"
#include "core/world.h"

/* Loops in both real worlds: timers, deferred work, messages, threads. */

#define MS 1000000ull

static struct loop *loop;

static int open_loop(void **state)
{
	return loop_create(*state, &loop, NULL);
}

static int close_loop(void **state)
{
	(void)state;
	loop_destroy(loop);
	loop = NULL;
	return 0;
}

static void run_until(const int *count, int wanted)
{
	for (int i = 0; i < 100000 && *count < wanted; i++)
		loop_poll(loop, 100 * MS);
	assert_int_equal(*count, wanted);
}

/* Timers */

struct numbered {
	struct timer timer;
	struct deferred deferred;
	struct message message;
	int number;
};

static int order[4096];
static int ordered;

static void note_timer(struct timer *timer)
{
	order[ordered++] = container_of(timer, struct numbered, timer)->number;
}

static void timers_fire_in_order(void **state)
{
	static struct numbered n[500];
	unsigned seed = 7;

	(void)state;
	ordered = 0;
	for (int i = 0; i < 500; i++) {
		n[i].number = i;
		timer_init(&n[i].timer, loop, note_timer);
	}
	/* Started in a scrambled order, equal deadlines in pairs, every fifth stopped again. */
	for (int i = 0; i < 500; i++) {
		int k = (i * 241) % 500;

		timer_start(&n[k].timer, (uint64_t)(seed = seed * 69069 + 1) % (5 * MS));
		timer_start(&n[k].timer, (uint64_t)(k / 2) * 20000);
	}
	for (int i = 0; i < 500; i += 5)
		timer_stop(&n[i].timer);
	run_until(&ordered, 400);
	for (int i = 1; i < 400; i++)
		assert_true(order[i - 1] / 2 <= order[i] / 2);
	for (int i = 0; i < 400; i++)
		assert_true(order[i] % 5 != 0);
	assert_false(timer_active(&n[1].timer));
}

static void timer_is_not_early(void **state)
{
	struct numbered n = {.number = 1};
	uint64_t start = loop_now(loop);

	(void)state;
	ordered = 0;
	timer_init(&n.timer, loop, note_timer);
	timer_start(&n.timer, 20 * MS);
	assert_true(timer_active(&n.timer));
	run_until(&ordered, 1);
	assert_true(loop_now(loop) - start >= 20 * MS);
}

static int rearmed;

static void rearm(struct timer *timer)
{
	if (++rearmed < 10)
		timer_start(timer, 0);
}

static void zero_delay_waits_a_round(void **state)
{
	struct timer timer;

	(void)state;
	rearmed = 0;
	timer_init(&timer, loop, rearm);
	timer_start(&timer, 0);
	loop_poll(loop, 0);
	assert_int_equal(rearmed, 1);
	run_until(&rearmed, 10);
}

/* Deferred work */

static struct numbered deferred[4];

static void note_deferred(struct deferred *d)
{
	struct numbered *n = container_of(d, struct numbered, deferred);

	order[ordered++] = n->number;
	if (n->number == 0) {
		loop_defer(loop, &deferred[3].deferred);
		deferred_cancel(&deferred[2].deferred);
	}
}

static void deferred_runs_in_order_once(void **state)
{
	(void)state;
	ordered = 0;
	for (int i = 0; i < 4; i++) {
		deferred[i].number = i;
		deferred_init(&deferred[i].deferred, note_deferred);
	}
	for (int i = 0; i < 3; i++)
		loop_defer(loop, &deferred[i].deferred);
	loop_defer(loop, &deferred[0].deferred);
	loop_poll(loop, 1000 * MS);
	assert_int_equal(ordered, 3);
	assert_int_equal(order[0], 0);
	assert_int_equal(order[1], 1);
	assert_int_equal(order[2], 3);
}

/* Messages */

#define SENDERS 3
#define EACH    20000

static struct numbered *messages[SENDERS];
static int last_seen[SENDERS], received;

static void note_message(struct message *message)
{
	struct numbered *n = container_of(message, struct numbered, message);
	int sender = n->number / EACH, index = n->number % EACH;

	assert_ptr_equal(loop_current(), loop);
	assert_int_equal(index, last_seen[sender] + 1);
	last_seen[sender] = index;
	received++;
}

static void *send_messages(void *argument)
{
	struct numbered *mine = argument;

	for (int i = 0; i < EACH; i++) {
		loop_post(loop, &mine[i].message, note_message);
		if (i % 1000 == 0)
			sched_yield();
	}
	return NULL;
}

static void messages_keep_each_senders_order(void **state)
{
	pthread_t threads[SENDERS];

	(void)state;
	received = 0;
	for (int s = 0; s < SENDERS; s++) {
		messages[s] = test_calloc(EACH, sizeof **messages);
		last_seen[s] = -1;
		for (int i = 0; i < EACH; i++)
			messages[s][i].number = s * EACH + i;
		assert_int_equal(pthread_create(&threads[s], NULL, send_messages, messages[s]), 0);
	}
	while (received < SENDERS * EACH)
		loop_poll(loop, UINT64_MAX);
	for (int s = 0; s < SENDERS; s++) {
		pthread_join(threads[s], NULL);
		test_free(messages[s]);
	}
}

/* Two loops on two threads throw one message to and fro: each throw wakes a sleeper. */
struct ball {
	struct message message;
	struct loop *sides[2];
	atomic_int throws;
};

static void throw_back(struct message *message)
{
	struct ball *ball = container_of(message, struct ball, message);
	int throws = atomic_fetch_add(&ball->throws, 1) + 1;

	if (throws < 2000)
		loop_post(ball->sides[throws % 2], message, throw_back);
	else
		loop_stop(ball->sides[0]);
}

static void messages_wake_a_sleeping_loop(void **state)
{
	struct ball ball = {.sides = {loop}};

	assert_int_equal(loop_create(*state, &ball.sides[1], NULL), 0);
	assert_int_equal(loop_start_thread(ball.sides[1], "other", NULL), 0);
	loop_post(loop, &ball.message, throw_back);
	loop_run(loop);
	assert_int_equal(atomic_load(&ball.throws), 2000);
	loop_join(ball.sides[1]);
	loop_destroy(ball.sides[1]);
}

static void stop_before_run_is_kept(void **state)
{
	(void)state;
	loop_stop(loop);
	loop_run(loop);
}

static void clocks_and_random(void **state)
{
	uint8_t a[600] = {0}, b[600] = {0};
	uint64_t before = loop_now(loop);

	(void)state;
	loop_random(loop, a, sizeof a);
	loop_random(loop, b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	assert_memory_not_equal(a + 550, b + 550, 50);
	assert_true(loop_wall(loop) > 1600000000ull * 1000 * MS);
	loop_poll(loop, 2 * MS);
	assert_true(loop_now(loop) >= before + 2 * MS);
	assert_null(loop_current());
}

#define IN(world, test)                                                                            \
	{                                                                                          \
#test " (" #world ")", test, open_loop, close_loop, (void *)&world_##world         \
	}
#define BOTH(test) IN(uring, test), IN(aio, test)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOTH(timers_fire_in_order),
	    BOTH(timer_is_not_early),
	    BOTH(zero_delay_waits_a_round),
	    BOTH(deferred_runs_in_order_once),
	    BOTH(messages_keep_each_senders_order),
	    BOTH(messages_wake_a_sleeping_loop),
	    BOTH(stop_before_run_is_kept),
	    BOTH(clocks_and_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
