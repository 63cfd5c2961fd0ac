/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/buf.h"
#include "core/loop.h"
#include "core/world.h"

/* The buffer pool: alignment, no overlap, the budget, waiters. */

#define MIB (1u << 20)

static void sizes_and_alignment(void **state)
{
	struct buf_pool *pool;

	(void)state;
	assert_int_equal(buf_pool_create(8 * MIB, &pool), 0);
	for (size_t size = 1; size <= BUF_MAX; size = size * 2 + 1) {
		struct buf *buf = buf_get(pool, size);

		assert_true(buf->size >= size && buf->size >= 4096 && buf->size < 2 * size + 4096);
		assert_int_equal((uintptr_t)buf->data % 4096, 0);
		assert_int_equal(buf_pool_used(pool), buf->size);
		memset(buf->data, 1, buf->size);
		assert_ptr_equal(buf_ref(buf), buf);
		buf_unref(buf);
		assert_int_equal(buf_pool_used(pool), buf->size);
		buf_unref(buf);
	}
	buf_unref(NULL);
	assert_int_equal(buf_pool_used(pool), 0);
	buf_pool_destroy(pool);
	buf_pool_destroy(NULL);
}

static void fill(struct buf *buf, unsigned mark)
{
	for (size_t i = 0; i < buf->size; i += 4096)
		memcpy((char *)buf->data + i, &mark, sizeof mark);
}

static void check(const struct buf *buf, unsigned mark)
{
	for (size_t i = 0; i < buf->size; i += 4096)
		assert_memory_equal((char *)buf->data + i, &mark, sizeof mark);
}

/* Random gets and unrefs in a tight budget: nobody's bytes are another's, and in the end all of
 * the budget can be had in the largest buffers again. */
static void no_two_share_a_page(void **state)
{
	struct buf *held[512] = {0};
	struct buf_pool *pool;
	uint32_t seed = 42;
	unsigned refused = 0;

	(void)state;
	assert_int_equal(buf_pool_create(16 * MIB, &pool), 0);
	for (unsigned step = 0; step < 200000; step++) {
		unsigned slot = (seed = seed * 1664525u + 1013904223u) >> 23;

		if (held[slot]) {
			check(held[slot], slot);
			buf_unref(held[slot]);
			held[slot] = NULL;
			continue;
		}
		held[slot] = buf_get(pool, 4096u << ((seed >> 8) % 9));
		if (held[slot])
			fill(held[slot], slot);
		else
			refused++;
		assert_true(buf_pool_used(pool) <= 16 * MIB);
	}
	assert_true(refused > 0);
	for (unsigned slot = 0; slot < 512; slot++)
		buf_unref(held[slot]);
	for (unsigned i = 0; i < 16; i++) {
		held[i] = buf_get(pool, BUF_MAX);
		assert_non_null(held[i]);
	}
	assert_null(buf_get(pool, 1));
	for (unsigned i = 0; i < 16; i++)
		buf_unref(held[i]);
	buf_pool_destroy(pool);
}

struct waiter {
	struct buf_waiter waiter;
	struct buf_pool *pool;
	struct buf *buf;
	unsigned calls;
};

static void ready(struct buf_waiter *waiter)
{
	struct waiter *w = container_of(waiter, struct waiter, waiter);

	w->calls++;
	w->buf = buf_get(w->pool, MIB);
	if (!w->buf)
		buf_wait(w->pool, waiter);
}

static void waiters_hear_once_and_in_order(void **state)
{
	struct loop *loop;
	struct buf_pool *pool;
	struct buf *first, *second;
	struct waiter w[2];

	(void)state;
	assert_int_equal(loop_create(&world_aio, &loop, NULL), 0);
	loop_set_buffer_budget(loop, 2 * MIB);
	pool = loop_buffers(loop);
	first = buf_get(pool, MIB);
	second = buf_get(pool, MIB);
	assert_null(buf_get(pool, 4096));
	for (int i = 0; i < 2; i++) {
		w[i] = (struct waiter){.waiter.ready = ready, .pool = pool};
		buf_wait(pool, &w[i].waiter);
	}
	buf_unref(first);
	assert_int_equal(w[0].calls, 0); /* not inside unref */
	loop_poll(loop, 0);
	assert_non_null(w[0].buf);
	assert_null(w[1].buf);
	buf_unref(second);
	loop_poll(loop, 0);
	assert_non_null(w[1].buf);
	assert_int_equal(w[0].calls, 1);
	assert_int_equal(w[1].calls, 2);
	buf_unref(w[0].buf);
	buf_unref(w[1].buf);
	loop_poll(loop, 0);
	assert_int_equal(w[0].calls + w[1].calls, 3);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_and_alignment),
	    cmocka_unit_test(no_two_share_a_page),
	    cmocka_unit_test(waiters_hear_once_and_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
