/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_FIBER_H
#define CORE_FIBER_H

#include "core/loop.h"

/* Straight-line code that waits, on a loop: opening a pool, checkpoints, replay, checks. A fiber
 * has its own stack and runs on its loop's thread until it waits; the loop goes on meanwhile.
 * The block I/O path does not use fibers. No lock may be held over fiber_wait(). */
struct fiber;

/* fiber_start: run @main(@context) on @loop, from its deferred work, never inside this call.
 * Context: the loop. -ENOMEM. The fiber frees itself when @main returns. */
int fiber_start(struct loop *loop, void (*main)(void *context), void *context);

struct fiber *fiber_current(void); /* NULL outside of fibers */
struct loop *fiber_loop(const struct fiber *fiber);

/* fiber_wait: let the loop go on until fiber_wake() for this fiber; a wake that came first is
 * not lost. Only one thing is waited for at a time. Context: inside a fiber.
 * fiber_wake: Context: the fiber's loop, outside of fibers or inside another one. */
void fiber_wait(void);
void fiber_wake(struct fiber *fiber);
/* fiber_sleep: for what is rare and tells nobody when it is over. */
void fiber_sleep(uint64_t delay_ns);

#endif
