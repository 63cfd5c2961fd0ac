/* SPDX-License-Identifier: Apache-2.0 */
#include "core/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "core/buf.h"
#include "core/heap.h"
#include "core/world.h"

/* A guided tour. Everything in Granary runs on a loop: one thread, one struct loop, and rounds
 * of (run_round() below):
 *
 *   1. the world's poll(): submit what was queued, wait, deliver completions (disk_request
 *      done(), received(), accepted() ...). See uring.c, aio.c, or the simulator of tests/sim.
 *   2. timers that are due, oldest deadline first.
 *   3. messages other threads have posted.
 *   4. deferred work, until none is left.
 *
 * Then the next poll() sends what the streams have queued, so that all the responses of one
 * round leave in one system call.
 *
 * The only state that two threads touch is the mailbox, the stop flag and the sleeping flag,
 * all atomics. Who posts pushes first and reads `sleeping` afterwards; the loop sets `sleeping`
 * first and reads the mailbox afterwards. Both are sequentially consistent, so at least one of
 * them sees the other, and a system call to wake a loop is made only for a loop that sleeps.
 *
 * Timers are a pairing heap made of the timers themselves: starting one never needs memory. */

#define DEFERRED_PASSES 64 /* bound of one round; what is left runs in the next one */

struct loop {
	const struct world_ops *world;
	void *engine;
	uint64_t now;

	struct timer *timers;
	uint64_t timer_sequence;
	struct list deferred;
	struct buf_pool *buffers;

	_Atomic(struct message *) mailbox; /* newest first */
	atomic_bool sleeping, stopping;

	pthread_t thread;
	bool has_thread;
};

static _Thread_local struct loop *current_loop;

struct loop *loop_current(void)
{
	return current_loop;
}

const struct world_ops *loop_world(const struct loop *loop)
{
	return loop->world;
}

void *loop_engine(const struct loop *loop)
{
	return loop->engine;
}

void loop_set_engine(struct loop *loop, void *engine)
{
	loop->engine = engine;
}

int loop_create(const struct world_ops *world, struct loop **ret_loop, struct err *err)
{
	struct loop *loop = heap_zalloc(sizeof *loop);
	int r;

	if (!loop)
		return err_set(err, -ENOMEM, "no memory for an event loop");
	loop->world = world;
	list_init(&loop->deferred);
	r = buf_pool_create(LOOP_BUFFER_BUDGET, &loop->buffers);
	if (r < 0) {
		err_set(err, r, "no memory for an event loop's buffers");
		goto fail_loop;
	}
	buf_pool_set_loop(loop->buffers, loop);
	r = world->loop_open(loop, err);
	if (r < 0)
		goto fail_buffers;
	loop_tick(loop);
	*ret_loop = loop;
	return 0;

fail_buffers:
	buf_pool_destroy(loop->buffers);
fail_loop:
	heap_free(loop);
	return r;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	assert(!loop->has_thread);
	loop->world->loop_close(loop);
	buf_pool_destroy(loop->buffers);
	heap_free(loop);
}

void loop_set_buffer_budget(struct loop *loop, size_t bytes)
{
	buf_pool_set_budget(loop->buffers, bytes);
}

struct buf_pool *loop_buffers(struct loop *loop)
{
	return loop->buffers;
}

void loop_tick(struct loop *loop)
{
	loop->now = loop->world->monotonic(loop);
}

uint64_t loop_now(const struct loop *loop)
{
	return loop->now;
}

uint64_t loop_clock(struct loop *loop)
{
	return loop->world->monotonic(loop);
}

uint64_t loop_wall(struct loop *loop)
{
	return loop->world->wall(loop);
}

void loop_random(struct loop *loop, void *buffer, size_t length)
{
	loop->world->random(loop, buffer, length);
}

/* Timers */

static bool timer_before(const struct timer *a, const struct timer *b)
{
	return a->deadline < b->deadline ||
	       (a->deadline == b->deadline && a->sequence < b->sequence);
}

/* Of two heaps make one; previous is the parent of a first child, else the left sibling. */
static struct timer *heap_meld(struct timer *a, struct timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (timer_before(b, a)) {
		struct timer *swap = a;

		a = b;
		b = swap;
	}
	b->previous = a;
	b->next = a->child;
	if (a->child)
		a->child->previous = b;
	a->child = b;
	return a;
}

static struct timer *heap_take_first(struct timer **list)
{
	struct timer *first = *list;

	if (first) {
		*list = first->next;
		first->next = first->previous = NULL;
	}
	return first;
}

/* The two passes of a pairing heap: meld neighbours from the left, then all from the right. */
static struct timer *heap_meld_siblings(struct timer *list)
{
	struct timer *pairs = NULL, *root = NULL;

	while (list) {
		struct timer *a = heap_take_first(&list);
		struct timer *pair = heap_meld(a, heap_take_first(&list));

		pair->next = pairs;
		pairs = pair;
	}
	while (pairs) {
		struct timer *pair = heap_take_first(&pairs);

		root = heap_meld(root, pair);
	}
	return root;
}

static void heap_detach(struct loop *loop, struct timer *timer)
{
	struct timer *rest = heap_meld_siblings(timer->child);

	if (loop->timers == timer) {
		loop->timers = rest;
	} else {
		if (timer->previous->child == timer)
			timer->previous->child = timer->next;
		else
			timer->previous->next = timer->next;
		if (timer->next)
			timer->next->previous = timer->previous;
		loop->timers = heap_meld(loop->timers, rest);
	}
	timer->child = timer->next = timer->previous = NULL;
}

void timer_init(struct timer *timer, struct loop *loop, void (*fire)(struct timer *timer))
{
	*timer = (struct timer){.fire = fire, .loop = loop};
}

void timer_start(struct timer *timer, uint64_t delay_ns)
{
	struct loop *loop = timer->loop;

	timer_stop(timer);
	timer->deadline = delay_ns > UINT64_MAX - loop->now ? UINT64_MAX : loop->now + delay_ns;
	timer->sequence = loop->timer_sequence++;
	timer->active = true;
	loop->timers = heap_meld(loop->timers, timer);
}

void timer_stop(struct timer *timer)
{
	if (!timer->active)
		return;
	timer->active = false;
	heap_detach(timer->loop, timer);
}

bool timer_active(const struct timer *timer)
{
	return timer->active;
}

/* Those started while this runs wait for the next round, or a delay of 0 would never end. */
static bool run_timers(struct loop *loop)
{
	uint64_t limit = loop->timer_sequence;
	bool any = false;

	while (loop->timers && loop->timers->deadline <= loop->now &&
	       loop->timers->sequence < limit) {
		struct timer *timer = loop->timers;

		timer_stop(timer);
		timer->fire(timer);
		any = true;
	}
	return any;
}

/* Deferred work */

void deferred_init(struct deferred *deferred, void (*run)(struct deferred *deferred))
{
	list_init(&deferred->link);
	deferred->run = run;
}

void loop_defer(struct loop *loop, struct deferred *deferred)
{
	if (list_empty(&deferred->link))
		list_push_back(&loop->deferred, &deferred->link);
}

void deferred_cancel(struct deferred *deferred)
{
	list_remove(&deferred->link);
}

static bool run_deferred(struct loop *loop)
{
	bool any = false;

	for (unsigned pass = 0; pass < DEFERRED_PASSES && !list_empty(&loop->deferred); pass++) {
		struct list batch, *link;

		list_init(&batch);
		list_splice_back(&batch, &loop->deferred);
		while ((link = list_pop_front(&batch))) {
			struct deferred *deferred = list_entry(link, struct deferred, link);

			deferred->run(deferred);
		}
		any = true;
	}
	return any;
}

/* Messages */

static void wake(struct loop *loop)
{
	if (atomic_load(&loop->sleeping) && atomic_exchange(&loop->sleeping, false))
		loop->world->wake(loop);
}

void loop_post(struct loop *loop, struct message *message, void (*run)(struct message *message))
{
	struct message *head = atomic_load_explicit(&loop->mailbox, memory_order_relaxed);

	message->run = run;
	do {
		message->next = head;
	} while (!atomic_compare_exchange_weak(&loop->mailbox, &head, message));
	wake(loop);
}

static bool run_messages(struct loop *loop)
{
	struct message *newest, *oldest = NULL;

	if (!atomic_load_explicit(&loop->mailbox, memory_order_relaxed))
		return false;
	newest = atomic_exchange(&loop->mailbox, NULL);
	while (newest) {
		struct message *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct message *message = oldest;

		oldest = message->next;
		message->next = NULL;
		message->run(message);
	}
	return true;
}

/* Rounds */

static uint64_t wait_limit(const struct loop *loop, uint64_t wait_ns)
{
	uint64_t now, until_timer;

	if (wait_ns == 0 || !list_empty(&loop->deferred))
		return 0;
	if (!loop->timers)
		return wait_ns;
	now = loop->now;
	until_timer = loop->timers->deadline > now ? loop->timers->deadline - now : 0;
	return until_timer < wait_ns ? until_timer : wait_ns;
}

static bool run_round(struct loop *loop, uint64_t wait_ns)
{
	bool any;

	wait_ns = wait_limit(loop, wait_ns);
	if (wait_ns) {
		atomic_store(&loop->sleeping, true);
		if (atomic_load(&loop->mailbox) || atomic_load(&loop->stopping))
			wait_ns = 0;
	}
	any = loop->world->poll(loop, wait_ns);
	atomic_store_explicit(&loop->sleeping, false, memory_order_relaxed);
	loop_tick(loop);
	any |= run_timers(loop);
	any |= run_messages(loop);
	any |= run_deferred(loop);
	return any;
}

void loop_run(struct loop *loop)
{
	struct loop *outer = current_loop;

	current_loop = loop;
	while (!atomic_load(&loop->stopping))
		run_round(loop, UINT64_MAX);
	atomic_store(&loop->stopping, false);
	current_loop = outer;
}

bool loop_poll(struct loop *loop, uint64_t wait_ns)
{
	struct loop *outer = current_loop;
	bool any;

	current_loop = loop;
	any = run_round(loop, wait_ns);
	current_loop = outer;
	return any;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	wake(loop);
}

static void *thread_main(void *argument)
{
	loop_run(argument);
	return NULL;
}

int loop_start_thread(struct loop *loop, const char *name, struct err *err)
{
	sigset_t all, before;
	int r;

	assert(!loop->has_thread);
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&loop->thread, NULL, thread_main, loop);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return err_set(err, -r, "can not start thread %s", name);
	pthread_setname_np(loop->thread, name);
	loop->has_thread = true;
	return 0;
}

void loop_join(struct loop *loop)
{
	if (!loop->has_thread)
		return;
	loop_stop(loop);
	pthread_join(loop->thread, NULL);
	loop->has_thread = false;
	atomic_store(&loop->stopping, false); /* it may have stopped by itself before */
}
