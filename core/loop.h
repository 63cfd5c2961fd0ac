/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/list.h"

/* One event loop per thread. Work stays on the loop where it arrived; loops talk by messages.
 * What a loop does with the outside world (clock, random, disk, network, sleep) goes through
 * the world_ops it was created with (world.h): io_uring, libaio + epoll, or the simulator.
 *
 * One round: deliver completions and due timers and messages -> run deferred work until none
 * is left (this is where a connection sends all responses of the round in one system call) ->
 * submit and wait. */

struct loop;
struct world_ops;
struct buf_pool;

/* loop_create: a loop over @world. Context: any; the thread that first runs it owns it. */
int loop_create(const struct world_ops *world, struct loop **ret_loop, struct err *err)
    __attribute__((warn_unused_result));
/* Context: the owner, or any thread once loop_run() has returned. NULL is fine. */
void loop_destroy(struct loop *loop);

/* loop_run: rounds until loop_stop(). */
void loop_run(struct loop *loop);
/* loop_poll: one round, waiting at most @wait_ns (0 = do not wait). Returns true when anything
 * was delivered. For start-up code and tests. */
bool loop_poll(struct loop *loop, uint64_t wait_ns);
/* Context: any thread. */
void loop_stop(struct loop *loop);

/* loop_start_thread: run @loop on a thread of its own named @name (<= 15 bytes).
 * loop_join: stop it and wait for the thread. */
int loop_start_thread(struct loop *loop, const char *name, struct err *err)
    __attribute__((warn_unused_result));
void loop_join(struct loop *loop);

/* The loop running on this thread, NULL on a thread without one. */
struct loop *loop_current(void);
const struct world_ops *loop_world(const struct loop *loop);

/* Monotonic nanoseconds, read once per round. */
uint64_t loop_now(const struct loop *loop);
/* The same clock, read now. Context: any thread. */
uint64_t loop_clock(struct loop *loop);
/* Nanoseconds since 1970 (for stamps, never for waiting). */
uint64_t loop_wall(struct loop *loop);
/* Unpredictable bytes (getrandom; seeded in the simulator). */
void loop_random(struct loop *loop, void *buffer, size_t length);
/* This loop's I/O buffers. */
struct buf_pool *loop_buffers(struct loop *loop);
/* Bound of those buffers, bytes (default LOOP_BUFFER_BUDGET). Context: before the loop runs. */
#define LOOP_BUFFER_BUDGET (256u << 20)
void loop_set_buffer_budget(struct loop *loop, size_t bytes);

/* Timers: caller-allocated, one-shot, on the caller's loop. Starting a started timer moves
 * it; stopping an idle one is harmless. After timer_stop() the callback does not run. */
struct timer {
	void (*fire)(struct timer *timer);
	struct loop *loop;
	uint64_t deadline; /* loop_now() scale */
	/* private: a node of the loop's pairing heap */
	uint64_t sequence;
	struct timer *child, *next, *previous;
	bool active;
};
void timer_init(struct timer *timer, struct loop *loop, void (*fire)(struct timer *timer));
void timer_start(struct timer *timer, uint64_t delay_ns);
void timer_stop(struct timer *timer);
bool timer_active(const struct timer *timer);

/* Deferred work: runs later in this round, after everything that is already due. Deferring
 * twice before it ran runs it once. Context: the loop. */
struct deferred {
	struct list link;
	void (*run)(struct deferred *deferred);
};
void deferred_init(struct deferred *deferred, void (*run)(struct deferred *deferred));
void loop_defer(struct loop *loop, struct deferred *deferred);
void deferred_cancel(struct deferred *deferred);

/* Messages: from any thread to a loop, delivered in the order sent by one thread. The message
 * belongs to the loop until run() is called. */
struct message {
	struct message *next;
	void (*run)(struct message *message);
};
void loop_post(struct loop *loop, struct message *message, void (*run)(struct message *message));

#endif
