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

static void ready(struct buf_waiter *waiter, struct buf *buf)
{
	struct waiter *w = container_of(waiter, struct waiter, waiter);

	assert_null(w->buf);
	assert_true(buf->size >= waiter->size);
	memset(buf->data, 1, waiter->size);
	w->calls++;
	w->buf = buf;
}

static void wait_for(struct waiter *w, struct buf_pool *pool, enum buf_stage stage, size_t size)
{
	*w =
	    (struct waiter){.waiter = {.size = size, .stage = stage, .ready = ready}, .pool = pool};
	buf_wait(pool, &w->waiter);
}

static void give_back(struct waiter *w)
{
	buf_unref(w->buf);
	w->buf = NULL;
}

static struct loop *loop_with(size_t budget, struct buf_pool **ret_pool)
{
	struct loop *loop;

	assert_int_equal(loop_create(&world_aio, &loop, NULL), 0);
	loop_set_buffer_budget(loop, budget);
	*ret_pool = loop_buffers(loop);
	return loop;
}

static void waiters_hear_once_and_in_order(void **state)
{
	struct buf_pool *pool;
	struct loop *loop = loop_with(2 * MIB, &pool);
	struct buf *first = buf_get(pool, MIB), *second = buf_get(pool, MIB);
	struct waiter w[3];

	(void)state;
	assert_null(buf_get(pool, 4096));
	for (int i = 0; i < 3; i++)
		wait_for(&w[i], pool, BUF_FOR_INPUT, MIB);
	assert_int_equal(w[0].calls, 0); /* not inside buf_wait() */
	loop_poll(loop, 0);
	assert_non_null(w[0].buf); /* the stage's own */
	assert_int_equal(buf_pool_used(pool), 3 * MIB);
	assert_null(w[1].buf);
	buf_unref(first);
	assert_int_equal(w[1].calls, 0); /* not inside unref */
	loop_poll(loop, 0);
	assert_non_null(w[1].buf);
	assert_null(w[2].buf);
	give_back(&w[0]);
	loop_poll(loop, 0);
	assert_non_null(w[2].buf);
	buf_unref(second);
	give_back(&w[1]);
	give_back(&w[2]);
	loop_poll(loop, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(w[i].calls, 1);
	assert_int_equal(buf_pool_used(pool), 0);
	loop_destroy(loop);
}

/* More small buffers than fit beside a large one, given back one at a time, with somebody there
 * at once who takes what came back: those who wait for large ones have a turn all the same. */
static void large_ones_have_a_turn(void **state)
{
	enum { SMALL = 300, LARGE = 4 };
	struct buf_pool *pool;
	struct loop *loop = loop_with(2 * MIB, &pool);
	struct buf *small[SMALL];
	struct waiter large[LARGE];
	unsigned served = 0;

	(void)state;
	for (unsigned i = 0; i < SMALL; i++) {
		small[i] = buf_get(pool, 4096);
		assert_non_null(small[i]);
	}
	assert_null(buf_get(pool, MIB));
	for (unsigned i = 0; i < LARGE; i++)
		wait_for(&large[i], pool, BUF_FOR_INPUT, MIB);
	for (unsigned i = 0; i < 100 * LARGE && served < LARGE; i++) {
		buf_unref(small[i % SMALL]);
		small[i % SMALL] = buf_get(pool, 4096);
		assert_non_null(small[i % SMALL]);
		loop_poll(loop, 0);
		if (large[served].buf)
			give_back(&large[served++]);
	}
	assert_int_equal(served, LARGE);
	for (unsigned i = 0; i < SMALL; i++)
		buf_unref(small[i]);
	loop_destroy(loop);
}

/* However much the others have and wait for, one in each stage gets what it waits for. */
static void stages_have_their_own(void **state)
{
	struct buf_pool *pool;
	struct loop *loop = loop_with(MIB, &pool);
	struct buf *all = buf_get(pool, MIB);
	struct waiter w[2][BUF_STAGES];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned stage = 0; stage < BUF_STAGES; stage++)
			wait_for(&w[i][stage], pool, stage, MIB);
	for (unsigned i = 0; i < 5; i++)
		loop_poll(loop, 0);
	for (unsigned stage = 0; stage < BUF_STAGES; stage++) {
		assert_non_null(w[0][stage].buf);
		assert_null(w[1][stage].buf);
	}
	for (unsigned stage = 0; stage < BUF_STAGES; stage++) {
		give_back(&w[0][stage]);
		loop_poll(loop, 0);
		for (unsigned other = 0; other < BUF_STAGES; other++)
			assert_int_equal(w[1][other].calls, other <= stage);
	}
	/* of the budget: the last stage first, as what it has is given back soonest */
	wait_for(&w[0][BUF_FOR_INPUT], pool, BUF_FOR_INPUT, MIB);
	wait_for(&w[0][BUF_FOR_PIECE], pool, BUF_FOR_PIECE, MIB);
	buf_unref(all);
	loop_poll(loop, 0);
	assert_non_null(w[0][BUF_FOR_PIECE].buf);
	assert_null(w[0][BUF_FOR_INPUT].buf);
	for (unsigned stage = 0; stage < BUF_STAGES; stage++)
		give_back(&w[1][stage]);
	loop_poll(loop, 0);
	give_back(&w[0][BUF_FOR_INPUT]);
	give_back(&w[0][BUF_FOR_PIECE]);
	assert_int_equal(buf_pool_used(pool), 0);
	loop_destroy(loop);
}

/* What is too small for the first goes to those behind it; a stage's own does not. */
static void small_ones_need_not_wait(void **state)
{
	struct buf_pool *pool;
	struct loop *loop = loop_with(MIB, &pool);
	struct buf *held[256];
	struct waiter own, large, small[2];

	(void)state;
	for (unsigned i = 0; i < 256; i++)
		held[i] = buf_get(pool, 4096);
	wait_for(&own, pool, BUF_FOR_FILE, 8192);
	loop_poll(loop, 0);
	assert_non_null(own.buf);
	wait_for(&large, pool, BUF_FOR_FILE, MIB);
	for (unsigned i = 0; i < 2; i++)
		wait_for(&small[i], pool, BUF_FOR_FILE, 4096);
	loop_poll(loop, 0);
	assert_int_equal(large.calls + small[0].calls + small[1].calls, 0);
	buf_unref(held[7]);
	loop_poll(loop, 0);
	assert_int_equal(small[0].calls, 1);
	assert_int_equal(large.calls + small[1].calls, 0);
	give_back(&own); /* in one piece again */
	loop_poll(loop, 0);
	assert_int_equal(large.calls, 1);
	assert_int_equal(small[1].calls, 0);
	give_back(&large);
	loop_poll(loop, 0);
	assert_int_equal(small[1].calls, 1);
	give_back(&small[0]);
	give_back(&small[1]);
	for (unsigned i = 0; i < 256; i++)
		if (i != 7)
			buf_unref(held[i]);
	loop_destroy(loop);
}

static void again(struct buf_waiter *waiter, struct buf *buf)
{
	struct waiter *w = container_of(waiter, struct waiter, waiter);

	buf_unref(buf);
	w->calls++;
	buf_wait(w->pool, waiter);
}

/* One that waits again where it is called is not called for ever, and the others are too. */
static void a_turn_is_one_call(void **state)
{
	struct buf_pool *pool;
	struct loop *loop = loop_with(MIB, &pool);
	struct buf *all = buf_get(pool, MIB);
	struct waiter w[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		wait_for(&w[i], pool, BUF_FOR_COMMAND, MIB);
		w[i].waiter.ready = again;
	}
	for (unsigned round = 1; round <= 3; round++) {
		loop_poll(loop, 0);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(w[i].calls >= round);
			assert_int_equal(w[i].calls, w[0].calls);
		}
	}
	for (unsigned i = 0; i < 3; i++)
		w[i].waiter.ready = ready;
	loop_poll(loop, 0);
	assert_non_null(w[0].buf);
	for (unsigned i = 0; i < 3; i++) {
		give_back(&w[i]);
		loop_poll(loop, 0);
	}
	buf_unref(all);
	assert_int_equal(buf_pool_used(pool), 0);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_and_alignment),
	    cmocka_unit_test(no_two_share_a_page),
	    cmocka_unit_test(waiters_hear_once_and_in_order),
	    cmocka_unit_test(large_ones_have_a_turn),
	    cmocka_unit_test(stages_have_their_own),
	    cmocka_unit_test(small_ones_need_not_wait),
	    cmocka_unit_test(a_turn_is_one_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
