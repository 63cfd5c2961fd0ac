/* SPDX-License-Identifier: Apache-2.0 */
#include "core/fiber.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
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

#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif

#define FIBER_STACK (256u << 10)

/* swapcontext() keeps the signal mask, with a system call for each switch. All fibers of a thread
 * have the thread's, so on x86-64 the registers that a call preserves are all there is to a switch
 * (System V ABI, AMD64 supplement 3.2.1): pushed, with the control words of the floating point
 * units, on the stack that is left. With shadow stacks, and elsewhere, it is swapcontext(). */
#if defined(__x86_64__) && !defined(__CET__) && !defined(FIBER_TSAN)

typedef void *place; /* stack pointer of what does not run */

void fiber_switch(place *from, place to);
__asm__(".text\n"
	".type fiber_switch, @function\n"
	".globl fiber_switch\n"
	".hidden fiber_switch\n"
	"fiber_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	subq $8, %rsp\n"
	"	stmxcsr (%rsp)\n"
	"	fnstcw 4(%rsp)\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	ldmxcsr (%rsp)\n"
	"	fldcw 4(%rsp)\n"
	"	addq $8, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size fiber_switch, . - fiber_switch\n");

#define SAVED_WORDS 7u /* what fiber_switch() takes off before it returns */

/* @main is returned to by the first switch: with the stack as a call would leave it, and no caller
 * to go back to. */
static void place_make(place *ret_place, void *stack, size_t size, void (*main)(void))
{
	uintptr_t *top = (uintptr_t *)((char *)stack + size);
	uint32_t words[2] = {0};

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(words[0]), "=m"(words[1]));
	top[-1] = 0;
	top[-2] = (uintptr_t)main;
	for (unsigned i = 0; i < SAVED_WORDS; i++)
		top[-3 - (int)i] = 0;
	memcpy(&top[-2 - (int)SAVED_WORDS], words, sizeof(words));
	*ret_place = &top[-2 - (int)SAVED_WORDS];
}

static void place_switch(place *from, const place *to)
{
	fiber_switch(from, *to);
}

#else

typedef ucontext_t place;

static void place_make(place *ret_place, void *stack, size_t size, void (*main)(void))
{
	getcontext(ret_place);
	ret_place->uc_stack.ss_sp = stack;
	ret_place->uc_stack.ss_size = size;
	ret_place->uc_link = NULL;
	makecontext(ret_place, main, 0);
}

static void place_switch(place *from, const place *to)
{
	swapcontext(from, to);
}

#endif

struct fiber {
	place context, caller;
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

/* Stacks of fibers that are over, for the next ones: a mapping costs more than a short fiber does.
 * The lock is held for a few instructions. The address sanitizer keeps notes of what is on a stack,
 * which go with its mapping alone. */
#ifdef FIBER_ASAN
#define SPARES 0
#else
#define SPARES 8
#endif
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;
static void *spares[SPARES + 1];
static int spare_count;

static void *stack_get(void)
{
	void *stack = NULL;

	pthread_mutex_lock(&spare_lock);
	if (spare_count)
		stack = spares[--spare_count];
	pthread_mutex_unlock(&spare_lock);
	if (stack)
		return stack;
	stack = mmap(NULL, FIBER_STACK, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return NULL;
	mprotect(stack, 4096, PROT_NONE); /* an overrun faults, it does not spread */
	return stack;
}

static void stack_put(void *stack)
{
	bool kept;

	pthread_mutex_lock(&spare_lock);
	kept = spare_count < SPARES;
	if (kept)
		spares[spare_count++] = stack;
	pthread_mutex_unlock(&spare_lock);
	if (!kept)
		munmap(stack, FIBER_STACK);
}

/* From the fiber back to the loop. */
static void leave(struct fiber *fiber)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(fiber->finished ? NULL : &fiber->fake, fiber->caller_stack,
				       fiber->caller_stack_size);
#endif
	place_switch(&fiber->context, &fiber->caller);
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
	place_switch(&fiber->caller, &fiber->context);
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(fiber->caller_fake, NULL, NULL);
#endif
	current = fiber->outer;
	if (fiber->finished) {
		stack_put(fiber->stack);
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
	fiber->stack = stack_get();
	if (!fiber->stack) {
		heap_free(fiber);
		return -ENOMEM;
	}
	fiber->loop = loop;
	fiber->main = main;
	fiber->argument = context;
	place_make(&fiber->context, fiber->stack, FIBER_STACK, run);
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
