/* SPDX-License-Identifier: Apache-2.0 */
#include "core/fiber.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "core/heap.h"

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#define FIBER_STACK (256u << 10)

struct fiber {
	ucontext_t context, caller;
	struct deferred resume;
	struct timer timer;
	struct loop *loop;
	void (*main)(void *context);
	void *argument;
	void *stack;
	struct fiber *outer; /* the fiber that resumed this one, or NULL */
	bool woken, waiting, finished;
	const void *caller_stack; /* address sanitizer: the stack we came from */
	size_t caller_stack_size;
	void *fake, *caller_fake;
};

static __thread struct fiber *current;

static void entered(struct fiber *fiber)
{
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(fiber->fake, &fiber->caller_stack,
					&fiber->caller_stack_size);
#else
	(void)fiber;
#endif
}

/* From the fiber back to the loop. */
static void leave(struct fiber *fiber)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(fiber->finished ? NULL : &fiber->fake, fiber->caller_stack,
				       fiber->caller_stack_size);
#endif
	swapcontext(&fiber->context, &fiber->caller);
	entered(fiber);
}

static void run(void)
{
	struct fiber *fiber = current;

	entered(fiber);
	fiber->main(fiber->argument);
	fiber->finished = true;
	leave(fiber);
}

/* From the loop into the fiber. */
static void enter(struct fiber *fiber)
{
	fiber->outer = current;
	current = fiber;
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(&fiber->caller_fake, fiber->stack, FIBER_STACK);
#endif
	swapcontext(&fiber->caller, &fiber->context);
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(fiber->caller_fake, NULL, NULL);
#endif
	current = fiber->outer;
	if (fiber->finished) {
		munmap(fiber->stack, FIBER_STACK);
		heap_free(fiber);
	}
}

static void resume(struct deferred *deferred)
{
	enter(container_of(deferred, struct fiber, resume));
}

int fiber_start(struct loop *loop, void (*main)(void *context), void *context)
{
	struct fiber *fiber = heap_zalloc(sizeof(*fiber));

	if (!fiber)
		return -ENOMEM;
	fiber->stack = mmap(NULL, FIBER_STACK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (fiber->stack == MAP_FAILED) {
		heap_free(fiber);
		return -ENOMEM;
	}
	mprotect(fiber->stack, 4096, PROT_NONE); /* an overrun faults, it does not spread */
	fiber->loop = loop;
	fiber->main = main;
	fiber->argument = context;
	getcontext(&fiber->context);
	fiber->context.uc_stack.ss_sp = fiber->stack;
	fiber->context.uc_stack.ss_size = FIBER_STACK;
	fiber->context.uc_link = NULL;
	makecontext(&fiber->context, run, 0);
	deferred_init(&fiber->resume, resume);
	loop_defer(loop, &fiber->resume);
	return 0;
}

struct fiber *fiber_current(void)
{
	return current;
}

struct loop *fiber_loop(const struct fiber *fiber)
{
	return fiber->loop;
}

void fiber_wait(void)
{
	struct fiber *fiber = current;

	assert(fiber);
	if (!fiber->woken) {
		fiber->waiting = true;
		leave(fiber);
		fiber->waiting = false;
	}
	fiber->woken = false;
}

void fiber_wake(struct fiber *fiber)
{
	fiber->woken = true;
	if (fiber->waiting)
		loop_defer(fiber->loop, &fiber->resume);
}

static void slept(struct timer *timer)
{
	enter(container_of(timer, struct fiber, timer));
}

void fiber_sleep(uint64_t delay_ns)
{
	struct fiber *fiber = current;

	timer_init(&fiber->timer, fiber->loop, slept);
	timer_start(&fiber->timer, delay_ns);
	leave(fiber);
}
