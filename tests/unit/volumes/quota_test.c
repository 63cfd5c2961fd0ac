/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas of volumes with their snapshots, and reservations that change: what is taken against a
 * model, what is refused at the end and what is not, over deletions, clones, rollbacks, restarts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the four before it */
#include <cmocka.h>
#include <errno.h>

#include "tests/unit/volumes/bench_snapshot.h"

#define BLOCK_SIZE 4096u
#define BLOCKS     (VOLUME_SIZE / BLOCK_SIZE)
#define KEPT       4u

static int set_space(struct bench *bench, struct volume *volume, const uint64_t *reserve,
		     const uint64_t *quota)
{
	struct bench_call call = {.call.done = bench_call_done};
	const struct volume_space space = {.reserve_bytes = reserve, .quota_bytes = quota};

	volume_set_space(volume, &space, &call.call);
	return bench_ended(bench, &call);
}

static int set_quota(struct bench *bench, uint64_t quota)
{
	return set_space(bench, bench->volume, NULL, &quota);
}

static int set_reserve(struct bench *bench, uint64_t reserve)
{
	return set_space(bench, bench->volume, &reserve, NULL);
}

static int write_blocks(struct bench *bench, uint64_t block, unsigned count)
{
	return bench_write(bench, block * BLOCK_SIZE, room, (uint64_t)count * BLOCK_SIZE, 0);
}

static uint64_t taken(struct bench *bench)
{
	uint64_t bytes = volume_quota_used(bench->volume);

	assert_int_equal(bytes % BLOCK_SIZE, 0);
	return bytes / BLOCK_SIZE;
}

static void test_end(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	assert_int_equal(write_blocks(&bench, 0, 8), 0);
	assert_int_equal(taken(&bench), 0); /* nobody asked */
	assert_int_equal(set_quota(&bench, 16 * BLOCK_SIZE), 0);
	assert_int_equal(taken(&bench), 8);
	assert_int_equal(write_blocks(&bench, 100, 8), 0);
	assert_int_equal(taken(&bench), 16);
	assert_int_equal(write_blocks(&bench, 16, 1), -ENOSPC);
	assert_int_equal(write_blocks(&bench, 8, 1), -ENOSPC); /* of a chunk that it has */
	assert_int_equal(write_blocks(&bench, 4, 4), 0);
	assert_int_equal(bench_read(&bench, 0, room, sizeof(room)), 0);
	assert_int_equal(bench_discard(&bench, 0, BLOCK_SIZE), 0);
	assert_int_equal(taken(&bench), 15);
	assert_int_equal(write_blocks(&bench, 300, 2), -ENOSPC);
	assert_int_equal(write_blocks(&bench, 300, 1), 0);
	/* less than what is taken stands, and lets nothing more in */
	assert_int_equal(set_quota(&bench, 4 * BLOCK_SIZE), 0);
	assert_int_equal(bench_discard(&bench, 100 * BLOCK_SIZE, 8 * BLOCK_SIZE), 0);
	assert_int_equal(write_blocks(&bench, 100, 1), -ENOSPC);
	assert_int_equal(set_quota(&bench, 0), 0);
	assert_int_equal(write_blocks(&bench, 100, 64), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* What snapshots keep counts, until it has been given back. */
static void test_snapshots(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	assert_int_equal(set_quota(&bench, 100 * BLOCK_SIZE), 0);
	assert_int_equal(write_blocks(&bench, 0, 64), 0);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	assert_int_equal(taken(&bench), 64);
	assert_int_equal(write_blocks(&bench, 0, 36), 0);
	assert_int_equal(taken(&bench), 100);
	assert_int_equal(write_blocks(&bench, 40, 1), -ENOSPC); /* a's, and mapped */
	assert_int_equal(write_blocks(&bench, 0, 36), 0);       /* the volume's own by now */
	assert_int_equal(bench_discard(&bench, 0, 36 * BLOCK_SIZE), 0);
	assert_int_equal(taken(&bench), 64);
	assert_int_equal(write_blocks(&bench, 0, 36), 0);
	assert_int_equal(drop(&bench, "v@a"), 0);
	assert_in_range(taken(&bench), 64, 100); /* not before it is given back */
	settle(&bench);
	assert_int_equal(taken(&bench), 64);
	assert_int_equal(write_blocks(&bench, 40, 1), 0);
	assert_int_equal(write_blocks(&bench, 64, 36), 0);
	assert_int_equal(write_blocks(&bench, 200, 1), -ENOSPC);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* What a deletion has given back can be used before its last word, which may be hours away. */
static void test_given_back(void **state)
{
	struct native *native;
	struct bench bench;
	unsigned seen = 0;

	(void)state;
	begin(&bench);
	native = native_of(bench.pool);
	assert_int_equal(set_quota(&bench, 100 * BLOCK_SIZE), 0);
	assert_int_equal(write_blocks(&bench, 0, 64), 0);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	assert_int_equal(write_blocks(&bench, 0, 36), 0);
	assert_int_equal(drop(&bench, "v@a"), 0);
	assert_int_equal(taken(&bench), 100);
	for (unsigned i = 0; i < 120000 && !list_empty(&native->deleting); i++) {
		const struct nvolume *row = list_entry(native->deleting.next, struct nvolume, link);

		if (row->reaped_slots == 36) {
			assert_int_equal(taken(&bench), 64);
			seen++;
		}
		loop_poll(bench.loop, 1000000);
	}
	assert_true(seen > 0);
	settle(&bench);
	assert_int_equal(taken(&bench), 64);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* A clone is a volume of its own; promoted, it has the snapshots, and what they keep. */
static void test_clones(void **state)
{
	struct bench bench;
	struct volume *clone, *first;
	uint64_t quota = 20 * BLOCK_SIZE;

	(void)state;
	begin(&bench);
	assert_int_equal(set_quota(&bench, 40 * BLOCK_SIZE), 0);
	assert_int_equal(write_blocks(&bench, 0, 32), 0);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	assert_int_equal(make_clone(&bench, "v@a", "c", &clone), 0);
	assert_int_equal(volume_quota_used(clone), 0);
	assert_int_equal(set_space(&bench, clone, NULL, &quota), 0);
	first = bench.volume;
	bench.volume = clone;
	assert_int_equal(write_blocks(&bench, 0, 16), 0);
	assert_int_equal(write_blocks(&bench, 100, 4), 0);
	assert_int_equal(write_blocks(&bench, 200, 1), -ENOSPC);
	assert_int_equal(taken(&bench), 20);
	bench.volume = first;
	assert_int_equal(taken(&bench), 32);
	assert_int_equal(write_blocks(&bench, 0, 8), 0);
	assert_int_equal(write_blocks(&bench, 100, 1), -ENOSPC);
	assert_int_equal(promote(&bench, clone), 0);
	assert_int_equal(taken(&bench), 8);
	assert_int_equal(write_blocks(&bench, 100, 1), 0);
	bench.volume = clone;
	assert_int_equal(taken(&bench), 52);
	assert_int_equal(write_blocks(&bench, 200, 1), -ENOSPC);
	bench.volume = first;
	volume_unref(clone);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static int create(struct bench *bench, const char *name, uint64_t reserve, uint64_t quota)
{
	struct volume_spec spec = {.name = name,
				   .size_bytes = VOLUME_SIZE,
				   .reserve_bytes = reserve,
				   .quota_bytes = quota};

	return bench_volume_as(bench, &spec);
}

/* The first quota of a pool, which a volume is made with; and what none can be made with. */
static void test_from_the_start(void **state)
{
	struct bench bench;
	struct volume *first;

	(void)state;
	begin(&bench);
	first = bench.volume;
	assert_int_equal(create(&bench, "a", 0, 4097), -EINVAL);
	assert_int_equal(create(&bench, "b", 0, VOLUME_QUOTA_MAX + BLOCK_SIZE), -EINVAL);
	assert_int_equal(create(&bench, "c", 8 * BLOCK_SIZE, 4 * BLOCK_SIZE), -EINVAL);
	assert_int_equal(create(&bench, "d", VOLUME_SIZE + BLOCK_SIZE, 0), -EINVAL);
	assert_int_equal(create(&bench, "e", 0, 4 * BLOCK_SIZE), 0);
	assert_int_equal(write_blocks(&bench, 0, 4), 0);
	assert_int_equal(write_blocks(&bench, 10, 1), -ENOSPC);
	volume_unref(bench.volume);
	bench.volume = first;
	assert_int_equal(write_blocks(&bench, 0, 64), 0);
	bench_finish(&bench);
}

static void test_kept(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	assert_int_equal(set_quota(&bench, 16 * BLOCK_SIZE), 0);
	assert_int_equal(set_reserve(&bench, 8 * BLOCK_SIZE), 0);
	assert_int_equal(write_blocks(&bench, 0, 16), 0);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	reopen(&bench);
	assert_int_equal(bench.volume->quota_bytes, 16 * BLOCK_SIZE);
	assert_int_equal(bench.volume->reserve_bytes, 8 * BLOCK_SIZE);
	assert_int_equal(taken(&bench), 16);
	assert_int_equal(write_blocks(&bench, 0, 1), -ENOSPC);
	/* and after a crash, when the journal is replayed: also behind a deletion that goes on */
	assert_int_equal(set_quota(&bench, 32 * BLOCK_SIZE), 0);
	assert_int_equal(write_blocks(&bench, 4, 16), 0);
	assert_int_equal(bench_flush(&bench), 0);
	assert_int_equal(drop(&bench, "v@a"), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 1), 0);
	bench.volume = found(&bench, "v");
	assert_int_equal(bench.volume->quota_bytes, 32 * BLOCK_SIZE);
	assert_in_range(taken(&bench), 20, 32);
	settle(&bench);
	assert_int_equal(taken(&bench), 20);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static uint64_t reserved(struct bench *bench)
{
	struct pool_info info;

	pool_get_info(bench->pool, &info);
	return info.reserved_bytes;
}

static void test_refused(void **state)
{
	struct bench bench;
	uint64_t reserve = 8 * BLOCK_SIZE, quota = 4 * BLOCK_SIZE;
	struct volume_spec spec = {.name = "w", .size_bytes = 64ull << 30};
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *volume;

	(void)state;
	begin(&bench);
	volume = bench.volume;
	assert_int_equal(set_space(&bench, volume, &reserve, &quota), -EINVAL);
	assert_int_equal(set_reserve(&bench, VOLUME_SIZE + BLOCK_SIZE), -EINVAL);
	assert_int_equal(set_quota(&bench, 4097), -EINVAL);
	assert_int_equal(set_quota(&bench, VOLUME_QUOTA_MAX + BLOCK_SIZE), -EINVAL);
	assert_int_equal(volume->quota_bytes, 0);
	assert_int_equal(volume->reserve_bytes, 0);
	/* more than the pool has; what was promised before stays so */
	volume_create(bench.pool, &spec, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	bench.volume = call.call.volume;
	assert_int_equal(set_reserve(&bench, 8 << 20), 0);
	assert_int_equal(reserved(&bench), 8 << 20);
	assert_int_equal(set_reserve(&bench, 32ull << 30), -ENOSPC);
	assert_int_equal(bench.volume->reserve_bytes, 8 << 20);
	assert_int_equal(reserved(&bench), 8 << 20);
	assert_int_equal(set_reserve(&bench, 0), 0);
	assert_int_equal(reserved(&bench), 0);
	volume_unref(bench.volume);
	bench.volume = volume;
	/* none of a snapshot */
	assert_int_equal(take(&bench, volume, "a"), 0);
	volume = found(&bench, "v@a");
	assert_int_equal(set_space(&bench, volume, NULL, &quota), -EINVAL);
	volume_unref(volume);
	bench_finish(&bench);
}

/* ---- against a model: what was last written to each block, of the volume and each snapshot ----
 */
static uint32_t kept[KEPT + 1][BLOCKS]; /* the last one: of the volume */
static bool is_there[KEPT + 1];

static uint64_t distinct(void)
{
	uint64_t sum = 0;

	for (unsigned block = 0; block < BLOCKS; block++)
		for (unsigned i = 0; i <= KEPT; i++) {
			bool first = is_there[i] && kept[i][block];

			for (unsigned before = 0; first && before < i; before++)
				first = !is_there[before] || kept[before][block] != kept[i][block];
			sum += first;
		}
	return sum;
}

static void draw_change(struct bench *bench)
{
	static uint32_t last;
	uint64_t first = draw(BLOCKS), count = 1 + draw(32);
	uint32_t stamp = draw(4) ? ++last : 0; /* 0: nothing there */

	if (count > BLOCKS - first)
		count = BLOCKS - first;
	if (stamp)
		assert_int_equal(write_blocks(bench, first, (unsigned)count), 0);
	else
		assert_int_equal(bench_discard(bench, first * BLOCK_SIZE, count * BLOCK_SIZE), 0);
	for (uint64_t i = 0; i < count; i++)
		kept[KEPT][first + i] = stamp;
}

static void draw_snapshot(struct bench *bench)
{
	unsigned i = (unsigned)draw(KEPT);
	char name[8];

	snprintf(name, sizeof(name), "v@s%u", i);
	if (is_there[i]) {
		assert_int_equal(drop(bench, name), 0);
	} else {
		assert_int_equal(take(bench, bench->volume, name + 2), 0);
		memcpy(kept[i], kept[KEPT], sizeof(kept[i]));
	}
	is_there[i] = !is_there[i];
}

static void test_model(void **state)
{
	struct bench bench;
	unsigned looks = 0;

	(void)state;
	begin(&bench);
	is_there[KEPT] = true;
	assert_int_equal(set_quota(&bench, 1 << 30), 0);
	for (unsigned i = 0; i < 600; i++) {
		unsigned what = (unsigned)draw(40);

		if (what < 32)
			draw_change(&bench);
		else if (what < 38)
			draw_snapshot(&bench);
		else if (what == 38)
			reopen(&bench);
		if (list_empty(&native_of(bench.pool)->deleting)) {
			assert_int_equal(taken(&bench), distinct());
			looks++;
		} else {
			assert_true(taken(&bench) >= distinct());
		}
		if (draw(20) == 0)
			settle(&bench);
	}
	assert_true(looks > 200);
	settle(&bench);
	assert_int_equal(taken(&bench), distinct());
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_end),        cmocka_unit_test(test_snapshots),
	    cmocka_unit_test(test_given_back), cmocka_unit_test(test_clones),
	    cmocka_unit_test(test_kept),       cmocka_unit_test(test_from_the_start),
	    cmocka_unit_test(test_refused),    cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
