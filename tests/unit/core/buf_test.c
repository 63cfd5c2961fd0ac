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

/* ---- owners */

static const char who[8];

static unsigned take_all(struct buf_pool *pool, const void *owner, struct buf **held)
{
	unsigned count = 0;

	while ((held[count] = buf_get_for(pool, owner, MIB)))
		count++;
	return count;
}

/* However many there are who give nothing back, there is something for the next one. */
static void each_leaves_as_much_as_it_has(void **state)
{
	static const unsigned parts[] = {8, 4, 2, 1};
	struct buf_pool *pool;
	struct loop *loop = loop_with(16 * MIB, &pool);
	struct buf *held[4][32];
	unsigned used = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(take_all(pool, &who[i], held[i]), parts[i]);
		used += parts[i];
		assert_int_equal(buf_pool_used(pool), used * MIB);
	}
	held[0][9] = buf_get(pool, MIB); /* nobody's: what is needed to go on */
	assert_non_null(held[0][9]);
	buf_unref(held[0][9]);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < parts[i]; j++)
			buf_unref(held[i][j]);
	assert_int_equal(take_all(pool, &who[7], held[0]), 8);
	for (unsigned j = 0; j < 8; j++)
		buf_unref(held[0][j]);
	loop_destroy(loop);
}

static void wait_as(struct waiter *w, struct buf_pool *pool, const void *owner, size_t size)
{
	*w = (struct waiter){
	    .waiter = {.size = size, .owner = owner, .stage = BUF_FOR_INPUT, .ready = ready},
	    .pool = pool};
	buf_wait(pool, &w->waiter);
}

/* One that has its part waits for its own, not even a stage's own is for it; others pass it. */
static void who_has_its_part_is_in_nobodys_way(void **state)
{
	struct buf_pool *pool;
	struct loop *loop = loop_with(4 * MIB, &pool);
	struct buf *held[2][8], *rest;
	struct waiter hog[2], other[2];

	(void)state;
	assert_int_equal(take_all(pool, &who[0], held[0]), 2);
	wait_as(&hog[0], pool, &who[0], MIB);
	wait_as(&hog[1], pool, &who[0], 4096);
	loop_poll(loop, 0);
	assert_int_equal(hog[0].calls + hog[1].calls, 0);
	/* those of it who wait were first, small as the next may be */
	assert_null(buf_get_for(pool, &who[0], 4096));
	held[1][0] = buf_get_for(pool, &who[1], MIB);
	assert_non_null(held[1][0]);
	rest = buf_get(pool, MIB);
	assert_non_null(rest);
	wait_as(&other[0], pool, &who[2], MIB);
	wait_as(&other[1], pool, &who[3], MIB);
	loop_poll(loop, 0);
	assert_non_null(other[0].buf); /* the stage's own */
	assert_int_equal(hog[0].calls + hog[1].calls + other[1].calls, 0);
	buf_unref(rest);
	loop_poll(loop, 0);
	assert_non_null(other[1].buf);
	assert_int_equal(hog[0].calls + hog[1].calls, 0);
	/* in its own order: the small one does not pass the large one */
	buf_unref(held[0][0]);
	loop_poll(loop, 0);
	assert_int_equal(hog[0].calls + hog[1].calls, 0);
	buf_unref(held[0][1]);
	loop_poll(loop, 0);
	assert_int_equal(hog[0].calls, 1);
	give_back(&other[0]);
	give_back(&other[1]);
	loop_poll(loop, 0);
	assert_int_equal(hog[1].calls, 1);
	give_back(&hog[0]);
	give_back(&hog[1]);
	buf_unref(held[1][0]);
	assert_int_equal(buf_pool_used(pool), 0);
	loop_destroy(loop);
}

struct canceller {
	struct waiter waiter;
	struct waiter *others[2];
};

static void cancels_others(struct buf_waiter *waiter, struct buf *buf)
{
	struct canceller *c = container_of(waiter, struct canceller, waiter.waiter);

	ready(waiter, buf);
	for (unsigned i = 0; i < 2; i++)
		assert_true(buf_wait_cancel(c->waiter.pool, &c->others[i]->waiter));
}

static void cancelled_ones_are_not_called(void **state)
{
	struct buf_pool *pool;
	struct loop *loop = loop_with(2 * MIB, &pool);
	struct buf *all[2] = {buf_get(pool, MIB), buf_get(pool, MIB)};
	struct waiter w[4], last;
	struct canceller c = {.others = {&w[2], &w[3]}};

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		wait_as(&w[i], pool, &who[i], MIB);
	assert_true(buf_wait_cancel(pool, &w[0].waiter));
	assert_false(buf_wait_cancel(pool, &w[0].waiter));
	loop_poll(loop, 0);
	assert_int_equal(w[0].calls, 0);
	assert_int_equal(w[1].calls, 1); /* it is the first now */
	wait_as(&w[2], pool, &who[2], MIB);
	wait_as(&c.waiter, pool, &who[4], MIB);
	c.waiter.waiter.ready = cancels_others;
	wait_as(&w[3], pool, &who[3], MIB);
	wait_as(&last, pool, &who[5], 4096);
	/* while they are called: the one behind who is called, and one that was passed */
	buf_unref(all[0]);
	w[2].waiter.size = MIB;
	assert_true(buf_wait_cancel(pool, &w[2].waiter));
	wait_as(&w[2], pool, &who[2], MIB);
	loop_poll(loop, 0);
	assert_int_equal(c.waiter.calls, 1);
	assert_int_equal(w[2].calls + w[3].calls, 0);
	buf_unref(all[1]);
	loop_poll(loop, 0);
	assert_int_equal(last.calls, 1);
	give_back(&w[1]);
	give_back(&c.waiter);
	give_back(&last);
	loop_poll(loop, 0);
	assert_int_equal(w[2].calls + w[3].calls, 0);
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
	    cmocka_unit_test(each_leaves_as_much_as_it_has),
	    cmocka_unit_test(who_has_its_part_is_in_nobodys_way),
	    cmocka_unit_test(cancelled_ones_are_not_called),
	    cmocka_unit_test(small_ones_need_not_wait),
	    cmocka_unit_test(a_turn_is_one_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
