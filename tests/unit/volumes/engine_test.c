/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_pool.h"

/* The engine over real files: what is written is read, over reopening and kills. */

#define POOL_SIZE   (96ull << 20)
#define VOLUME_SIZE (32ull << 20)

static char *pattern(uint64_t seed, size_t length)
{
	static char buffer[1 << 20] __attribute__((aligned(4096)));

	for (size_t i = 0; i + 8 <= length; i += 8) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(buffer + i, &seed, 8);
	}
	return buffer;
}

static char room[1 << 20] __attribute__((aligned(4096)));

static void test_straight_path(void **state)
{
	struct bench bench;
	struct pool_info info;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	assert_int_equal(bench_read(&bench, 0, room, 65536), 0);
	assert_int_equal(room[1234], 0);
	assert_int_equal(bench_write(&bench, 4096, pattern(1, 8192), 8192, 0), 0);
	assert_int_equal(bench_read(&bench, 4096, room, 8192), 0);
	assert_memory_equal(room, pattern(1, 8192), 8192);
	assert_int_equal(volume_used_bytes(bench.volume), 8192);
	assert_int_equal(bench_write(&bench, 4096, pattern(2, 4096), 4096, 0), 0);
	assert_int_equal(bench_read(&bench, 4096, room, 4096), 0);
	assert_memory_equal(room, pattern(2, 4096), 4096);
	assert_int_equal(bench_write(&bench, 1 << 20, pattern(3, 1 << 20), 1 << 20, VOLUME_FUA), 0);
	assert_int_equal(bench_write(&bench, 512, pattern(4, 1024), 1024, 0), 0);
	assert_int_equal(bench_flush(&bench), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_discard(&bench, 1 << 20, 1 << 19), 0);
	assert_int_equal(bench_read(&bench, 1 << 20, room, 1 << 20), 0);
	assert_int_equal(room[0], 0);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 1), 0);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.replayed_records, 0);
	assert_int_equal(info.volume_count, 1);
	bench.volume = pool_find_volume(bench.pool, "v");
	assert_non_null(bench.volume);
	assert_int_equal(bench_read(&bench, 512, room, 1024), 0);
	assert_memory_equal(room, pattern(4, 1024), 1024);
	assert_int_equal(bench_read(&bench, 1 << 20, room, 1 << 20), 0);
	assert_memory_equal(room + (1 << 19), pattern(3, 1 << 20) + (1 << 19), 1 << 19);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_kill_after_flush(void **state)
{
	struct bench bench;
	struct pool_info info;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(bench_write(&bench, i * 12288, pattern(i, 8192), 8192,
					     i % 3 ? 0 : VOLUME_ATOMIC),
				 0);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 1), 0);
	pool_get_info(bench.pool, &info);
	assert_true(info.replayed_records >= 64);
	bench.volume = pool_find_volume(bench.pool, "v");
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(bench_read(&bench, i * 12288, room, 8192), 0);
		assert_memory_equal(room, pattern(i, 8192), 8192);
	}
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_straight_path),
	    cmocka_unit_test(test_kill_after_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
