/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "volumes/native.h"

/* How fast devices are, and what that is to where space is taken (speed.c, balance.c). */

#define DEVICES 4
#define MS      1000000ull

static struct native native;

static void setup(unsigned devices, uint64_t chunks)
{
	memset(&native, 0, sizeof(native));
	native.pv_count = devices;
	for (unsigned i = 0; i < devices; i++)
		native.pv[i] = (struct pv){.device = &native.pv[i],
					   .allocates = true,
					   .data_chunks = chunks,
					   .free_chunks = chunks};
}

/* @rounds looks at @writes to each device, which took as long as @ns says; 0: none there. */
static void write_all(unsigned rounds, unsigned writes, uint64_t length, const uint64_t *ns)
{
	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned j = 0; j < native.pv_count * writes; j++)
			if (ns[j / writes])
				speed_count(&native.pv[j / writes], length, ns[j / writes]);
		speed_weigh(&native);
	}
}

static void assert_weights(const unsigned *weights)
{
	speed_weigh(&native);
	for (unsigned i = 0; i < native.pv_count; i++)
		if (native.pv[i].weight + 6 < weights[i] || native.pv[i].weight > weights[i] + 6)
			fail_msg("device %u weighs %u, not %u", i, native.pv[i].weight, weights[i]);
}

#define ASSERT_WEIGHTS(...) assert_weights((const unsigned[DEVICES]){__VA_ARGS__})

static void test_alike(void **state)
{
	(void)state;
	setup(3, 1000);
	ASSERT_WEIGHTS(256, 256, 256);
	write_all(5, 400, 65536, (const uint64_t[]){MS, MS, MS});
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(native.pv[i].weight, 256);
	/* 1.4 times: nothing to be told from chance */
	write_all(20, 400, 65536, (const uint64_t[]){MS, MS * 14 / 10, MS * 12 / 10});
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(native.pv[i].weight, 256);
}

static void test_bounds(void **state)
{
	(void)state;
	setup(2, 1000);
	write_all(20, 400, 65536, (const uint64_t[]){MS, 2 * MS});
	ASSERT_WEIGHTS(362, 181);
	write_all(40, 400, 65536, (const uint64_t[]){MS, 1000 * MS});
	ASSERT_WEIGHTS(512, 128);
	setup(3, 1000);
	write_all(10, 400, 4096, (const uint64_t[]){MS, 8 * MS, 64 * MS});
	ASSERT_WEIGHTS(512, 256, 128);
}

/* By the byte or by the request, and each kind is compared with itself alone. */
static void test_kinds(void **state)
{
	(void)state;
	setup(2, 1000);
	write_all(10, 400, 65536, (const uint64_t[]){MS, 0});
	write_all(10, 400, 4096, (const uint64_t[]){0, 50 * MS});
	ASSERT_WEIGHTS(256, 256);
	setup(2, 1000);
	for (unsigned i = 0; i < 10; i++) {
		for (unsigned j = 0; j < 400; j++) {
			speed_count(&native.pv[0], 65536, 2 * MS);
			speed_count(&native.pv[1], 32768, MS);
		}
		speed_weigh(&native);
	}
	ASSERT_WEIGHTS(256, 256);
	assert_int_equal(native.pv[0].weight, 256);
	/* both kinds count, by their number */
	setup(2, 1000);
	write_all(20, 400, 65536, (const uint64_t[]){MS, MS});
	for (unsigned i = 0; i < 20; i++) {
		write_all(1, 200, 65536, (const uint64_t[]){MS, MS});
		write_all(1, 200, 4096, (const uint64_t[]){MS, 4 * MS});
	}
	assert_true(native.pv[0].weight > 300 && native.pv[0].weight < 420);
	assert_true(native.pv[1].weight > 150 && native.pv[1].weight < 215);
}

/* One stall is not what is typical. */
static void test_stall(void **state)
{
	(void)state;
	setup(2, 1000);
	for (unsigned i = 0; i < 20; i++) {
		write_all(1, 99, 65536, (const uint64_t[]){MS, MS});
		speed_count(&native.pv[1], 65536, 3000 * MS);
	}
	ASSERT_WEIGHTS(256, 256);
}

static void test_few(void **state)
{
	(void)state;
	setup(3, 1000);
	write_all(1, 80, 65536, (const uint64_t[]){MS, 100 * MS, 0});
	ASSERT_WEIGHTS(256, 256, 256);
	write_all(4, 80, 65536, (const uint64_t[]){MS, 100 * MS, 0});
	ASSERT_WEIGHTS(512, 128, 256);
}

static void test_follow(void **state)
{
	unsigned rounds = 0;

	(void)state;
	setup(2, 1000);
	write_all(20, 400, 65536, (const uint64_t[]){MS, 10 * MS});
	ASSERT_WEIGHTS(512, 128);
	while (native.pv[1].weight < 500 && ++rounds < 100)
		write_all(1, 256, 65536, (const uint64_t[]){10 * MS, MS});
	assert_in_range(rounds, 2, 20);
	ASSERT_WEIGHTS(128, 512);
	/* nothing is written to one any more: it is as any other */
	rounds = 0;
	while (native.pv[0].weight != 256 && ++rounds < 100)
		write_all(1, 400, 65536, (const uint64_t[]){0, MS});
	assert_in_range(rounds, 5, 60);
	ASSERT_WEIGHTS(256, 256);
	/* another disk in its place */
	write_all(20, 400, 65536, (const uint64_t[]){10 * MS, MS});
	ASSERT_WEIGHTS(128, 512);
	speed_forget(&native.pv[0]);
	ASSERT_WEIGHTS(256, 256);
}

/* Free space decides as the fast one, or the pool, fills up. */
static void test_full(void **state)
{
	(void)state;
	setup(2, 1000);
	write_all(20, 400, 65536, (const uint64_t[]){MS, 10 * MS});
	native.pv[0].free_chunks = 300;
	native.pv[1].free_chunks = 500; /* 0.75 of its share */
	ASSERT_WEIGHTS(512, 128);
	native.pv[0].free_chunks = 300;
	native.pv[1].free_chunks = 660; /* 0.625 */
	ASSERT_WEIGHTS(362, 181);
	native.pv[1].free_chunks = 900; /* a half */
	ASSERT_WEIGHTS(256, 256);
	native.pv[0].free_chunks = 1000; /* the slow one may: that is what is wanted */
	native.pv[1].free_chunks = 10;
	ASSERT_WEIGHTS(512, 128);
	native.pv[0].free_chunks = native.pv[1].free_chunks = 95;
	ASSERT_WEIGHTS(256, 256);
	native.pv[0].free_chunks = native.pv[1].free_chunks = 0;
	ASSERT_WEIGHTS(256, 256);
}

static void take(unsigned turns, unsigned *taken)
{
	memset(taken, 0, DEVICES * sizeof(*taken));
	for (unsigned i = 0; i < turns; i++)
		taken[balance_turn(&native)]++;
}

static void test_turns(void **state)
{
	struct pool_device_info info = {0};
	static const unsigned order[] = {0, 1, 2, 0, 1};
	unsigned taken[DEVICES];

	(void)state;
	setup(3, 1000);
	native.pv[2].free_chunks = 500;
	write_all(20, 400, 65536, (const uint64_t[]){MS, MS, MS});
	/* like ones, in the order that free space alone gives */
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(balance_turn(&native), order[i % 5]);
	write_all(20, 400, 65536, (const uint64_t[]){MS, 64 * MS, 8 * MS});
	take(6500, taken);
	assert_in_range(taken[0], 4300, 4370); /* 512 : 128 : 256 / 2 */
	assert_in_range(taken[1], 1065, 1100);
	speed_info(&native, &native.pv[1], &info);
	assert_true(info.share > 0.16 && info.share < 0.17);
	assert_in_range(info.large_write_ns, 63 * MS, 65 * MS);
	assert_int_equal(info.small_write_ns, 0);
	/* one that is away takes nothing, and is nobody's measure */
	native.pv[0].away = true;
	write_all(1, 400, 65536, (const uint64_t[]){0, 64 * MS, 64 * MS});
	take(100, taken);
	assert_int_equal(taken[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_alike), cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_kinds), cmocka_unit_test(test_stall),
	    cmocka_unit_test(test_few),   cmocka_unit_test(test_follow),
	    cmocka_unit_test(test_full),  cmocka_unit_test(test_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
