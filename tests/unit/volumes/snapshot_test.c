/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_pool.h"

/* Snapshots and clones over real files: what they hold, over writes, deletions and reopening. */

#define POOL_SIZE   (96ull << 20)
#define VOLUME_SIZE (8ull << 20)

static char images[8][VOLUME_SIZE];
static char room[1 << 20] __attribute__((aligned(4096)));
static uint64_t random_state = 88172645463325252ull;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

/* ---- calls ---- */
static int take(struct bench *bench, struct volume *volume, const char *name)
{
	struct snapshot_spec spec = {.volume = volume, .name = name};
	struct bench_call call = {.call.done = bench_call_done};

	snapshot_create(bench->pool, &spec, 1, &call.call);
	return bench_ended(bench, &call);
}

static struct volume *found(struct bench *bench, const char *name)
{
	struct volume *volume = pool_find_volume(bench->pool, name);

	assert_non_null(volume);
	return volume;
}

static int drop(struct bench *bench, const char *name)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *volume = found(bench, name);
	int result;

	snapshot_delete(volume, &call.call);
	result = bench_ended(bench, &call);
	if (result < 0)
		volume_unref(volume);
	return result;
}

static int remove_volume(struct bench *bench, const char *name)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *volume = found(bench, name);
	int result;

	volume_delete(volume, &call.call);
	result = bench_ended(bench, &call);
	if (result < 0)
		volume_unref(volume);
	return result;
}

static int make_clone(struct bench *bench, const char *snapshot, const char *name,
		      struct volume **ret_clone)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *from = found(bench, snapshot);
	int result;

	volume_clone(from, name, &call.call);
	result = bench_ended(bench, &call);
	volume_unref(from);
	*ret_clone = result == 0 ? call.call.volume : NULL;
	return result;
}

static int promote(struct bench *bench, struct volume *volume)
{
	struct bench_call call = {.call.done = bench_call_done};

	volume_promote(volume, &call.call);
	return bench_ended(bench, &call);
}

static int roll_back(struct bench *bench, struct volume *volume, const char *name, const char *keep)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *snapshot = found(bench, name);
	int result;

	volume_rollback(volume, snapshot, keep, &call.call);
	result = bench_ended(bench, &call);
	volume_unref(snapshot);
	return result;
}

static uint64_t exclusive(struct bench *bench, const char *name)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *snapshot = found(bench, name);
	struct snapshot_info info;

	snapshot_measure(snapshot, &call.call);
	assert_int_equal(bench_ended(bench, &call), 0);
	assert_true(snapshot_get_info(snapshot, &info));
	assert_true(info.measured);
	volume_unref(snapshot);
	return info.exclusive_bytes;
}

/* ---- contents ---- */
static void change(struct bench *bench, struct volume *volume, char *image, unsigned count)
{
	struct volume *before = bench->volume;

	bench->volume = volume;
	while (count--) {
		uint64_t length = (1 + draw(draw(4) ? 24 : 512)) * 512;
		uint64_t offset = draw((VOLUME_SIZE - length) / 512) * 512;

		if (draw(8) == 0) {
			assert_int_equal(bench_discard(bench, offset, length), 0);
			memset(image + offset, 0, length);
			continue;
		}
		for (uint64_t i = 0; i < length; i += 8) {
			uint64_t word = draw(UINT64_MAX);

			memcpy(room + i, &word, 8);
		}
		memcpy(image + offset, room, length);
		assert_int_equal(
		    bench_write(bench, offset, room, length, draw(6) ? 0 : VOLUME_ATOMIC), 0);
	}
	bench->volume = before;
}

static void compare(struct bench *bench, struct volume *volume, const char *image)
{
	struct volume *before = bench->volume;

	bench->volume = volume;
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room)) {
		assert_int_equal(bench_read(bench, at, room, sizeof(room)), 0);
		assert_memory_equal(room, image + at, sizeof(room));
	}
	bench->volume = before;
}

static void compare_named(struct bench *bench, const char *name, const char *image)
{
	struct volume *volume = found(bench, name);

	compare(bench, volume, image);
	volume_unref(volume);
}

/* Until what is deleted has gone, and its space is free to use. */
static void settle(struct bench *bench)
{
	struct native *native = native_of(bench->pool);

	for (unsigned i = 0; i < 5000 && !list_empty(&native->deleting); i++)
		loop_poll(bench->loop, 1000000);
	assert_true(list_empty(&native->deleting));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(bench_checkpoint(bench), 0);
	assert_true(list_empty(&native->retired));
}

static uint64_t used(struct bench *bench)
{
	struct pool_info info;

	pool_get_info(bench->pool, &info);
	return info.used_bytes;
}

static void begin(struct bench *bench)
{
	bench_setup(bench);
	assert_int_equal(bench_create(bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(bench, "v", VOLUME_SIZE), 0);
	memset(images, 0, sizeof(images));
}

static void reopen(struct bench *bench)
{
	assert_int_equal(bench_close(bench), 0);
	assert_int_equal(bench_open(bench, 1), 0);
	bench->volume = found(bench, "v");
}

/* ---- the tests ---- */
static void test_straight_path(void **state)
{
	struct bench bench;
	struct volume *snapshot;
	struct snapshot_info info;

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 100);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	assert_int_equal(bench_check(&bench, true), 0);
	change(&bench, bench.volume, images[0], 100);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@a", images[1]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(take(&bench, bench.volume, "a"), -EEXIST);
	assert_int_equal(take(&bench, bench.volume, "a@b"), -EINVAL);
	snapshot = found(&bench, "v@a");
	assert_true(snapshot->read_only);
	assert_true(snapshot_get_info(snapshot, &info));
	assert_string_equal(info.name, "a");
	assert_int_equal(info.size_bytes, VOLUME_SIZE);
	assert_int_equal(take(&bench, snapshot, "b"), -EINVAL);
	bench.volume = (volume_unref(bench.volume), snapshot);
	assert_int_equal(bench_write(&bench, 0, room, 4096, 0), -EROFS);
	assert_int_equal(bench_discard(&bench, 0, 4096), -EROFS);
	reopen(&bench);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@a", images[1]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(remove_volume(&bench, "v"), -EBUSY);
	bench_finish(&bench);
}

/* Many, deleted in any order, beside writes, reopenings and kills; what each holds never changes,
 * and when all have gone their space is back. */
static void test_many(void **state)
{
	struct bench bench;
	bool there[8] = {false};
	char name[16];

	(void)state;
	begin(&bench);
	for (unsigned step = 0; step < 120; step++) {
		unsigned i = 1 + (unsigned)draw(7);

		change(&bench, bench.volume, images[0], 1 + (unsigned)draw(40));
		snprintf(name, sizeof(name), there[i] ? "v@s%u" : "s%u", i);
		if (there[i]) {
			compare_named(&bench, name, images[i]);
			assert_int_equal(drop(&bench, name), 0);
		} else {
			memcpy(images[i], images[0], VOLUME_SIZE);
			assert_int_equal(take(&bench, bench.volume, name), 0);
		}
		there[i] = !there[i];
		if (draw(10) == 0)
			reopen(&bench);
		if (draw(12) == 0) {
			assert_int_equal(bench_flush(&bench), 0);
			bench_drop(&bench);
			assert_int_equal(bench_open(&bench, 1), 0);
			bench.volume = found(&bench, "v");
		}
		if (draw(8) == 0)
			assert_int_equal(bench_check(&bench, true), 0);
		compare(&bench, bench.volume, images[0]);
	}
	for (unsigned i = 1; i < 8; i++) {
		snprintf(name, sizeof(name), "v@s%u", i);
		if (!there[i])
			continue;
		compare_named(&bench, name, images[i]);
		assert_int_equal(drop(&bench, name), 0);
	}
	settle(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	volume_unref(bench.volume);
	bench.volume = NULL;
	assert_int_equal(remove_volume(&bench, "v"), 0);
	settle(&bench);
	assert_int_equal(used(&bench), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_space(void **state)
{
	struct bench bench;
	uint64_t before;

	(void)state;
	begin(&bench);
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room))
		assert_int_equal(bench_write(&bench, at, room, sizeof(room), 0), 0);
	assert_int_equal(used(&bench), VOLUME_SIZE);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	assert_int_equal(used(&bench), VOLUME_SIZE);
	assert_int_equal(exclusive(&bench, "v@a"), 0);
	for (uint64_t at = 0; at < 16; at++) /* 16 slots of 16 chunks */
		assert_int_equal(bench_write(&bench, at * 65536, room, 4096, 0), 0);
	assert_int_equal(used(&bench), VOLUME_SIZE + 65536);
	assert_int_equal(exclusive(&bench, "v@a"), 16 * 4096);
	assert_int_equal(take(&bench, bench.volume, "b"), 0);
	assert_int_equal(exclusive(&bench, "v@a"), 16 * 4096);
	assert_int_equal(bench_discard(&bench, 0, 65536), 0);
	assert_int_equal(exclusive(&bench, "v@a"), 16 * 4096);
	assert_int_equal(exclusive(&bench, "v@b"), 4096);
	before = used(&bench);
	assert_int_equal(drop(&bench, "v@a"), 0);
	settle(&bench);
	/* b has what a had to itself no more: one chunk's slot stays with 15 others of b's */
	assert_int_equal(used(&bench), before);
	assert_int_equal(exclusive(&bench, "v@b"), 65536);
	assert_int_equal(drop(&bench, "v@b"), 0);
	settle(&bench);
	assert_int_equal(used(&bench), VOLUME_SIZE);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_clones(void **state)
{
	struct bench bench;
	struct volume *other, *origin;
	struct snapshot_info info;

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 80);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	change(&bench, bench.volume, images[0], 80);
	assert_int_equal(take(&bench, bench.volume, "b"), 0);
	memcpy(images[2], images[0], VOLUME_SIZE);
	change(&bench, bench.volume, images[0], 80);
	assert_int_equal(make_clone(&bench, "v@b", "c", &other), 0);
	memcpy(images[3], images[2], VOLUME_SIZE);
	compare(&bench, other, images[3]);
	assert_memory_not_equal(other->identity.uuid, bench.volume->identity.uuid, 16);
	change(&bench, other, images[3], 80);
	assert_int_equal(take(&bench, other, "x"), 0);
	memcpy(images[4], images[3], VOLUME_SIZE);
	change(&bench, other, images[3], 80);
	compare(&bench, bench.volume, images[0]);
	compare(&bench, other, images[3]);
	compare_named(&bench, "v@a", images[1]);
	compare_named(&bench, "v@b", images[2]);
	compare_named(&bench, "c@x", images[4]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(drop(&bench, "v@b"), -EBUSY);
	assert_non_null(strstr(bench.err.text, "clone"));
	origin = snapshot_of(other);
	assert_string_equal(origin->name, "v@b");
	volume_unref(origin);
	/* v's snapshots become c's, and v stands on one of them */
	assert_int_equal(promote(&bench, bench.volume), -EINVAL);
	assert_int_equal(promote(&bench, other), 0);
	assert_null(pool_find_volume(bench.pool, "v@b"));
	compare_named(&bench, "c@a", images[1]);
	compare_named(&bench, "c@b", images[2]);
	origin = found(&bench, "c@b");
	assert_true(snapshot_get_info(origin, &info));
	assert_int_equal(info.clones, 1);
	volume_unref(origin);
	volume_unref(other);
	reopen(&bench);
	compare_named(&bench, "c@b", images[2]);
	assert_int_equal(drop(&bench, "c@b"), -EBUSY);
	assert_int_equal(drop(&bench, "c@a"), 0);
	volume_unref(bench.volume);
	bench.volume = NULL;
	assert_int_equal(remove_volume(&bench, "v"), 0);
	assert_int_equal(drop(&bench, "c@b"), 0);
	settle(&bench);
	compare_named(&bench, "c", images[3]);
	compare_named(&bench, "c@x", images[4]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(drop(&bench, "c@x"), 0);
	assert_int_equal(remove_volume(&bench, "c"), 0);
	settle(&bench);
	assert_int_equal(used(&bench), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_rollback(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 80);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	change(&bench, bench.volume, images[0], 80);
	assert_int_equal(take(&bench, bench.volume, "b"), 0);
	memcpy(images[2], images[0], VOLUME_SIZE);
	change(&bench, bench.volume, images[0], 80);
	memcpy(images[3], images[0], VOLUME_SIZE);
	assert_int_equal(roll_back(&bench, bench.volume, "v@a", "kept"), 0);
	memcpy(images[0], images[1], VOLUME_SIZE);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@kept", images[3]);
	change(&bench, bench.volume, images[0], 80);
	reopen(&bench);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@a", images[1]);
	compare_named(&bench, "v@b", images[2]);
	compare_named(&bench, "v@kept", images[3]);
	assert_int_equal(bench_check(&bench, true), 0);
	/* a is what two others stand on: its name goes, it stays until one of them does */
	assert_int_equal(drop(&bench, "v@a"), 0);
	assert_null(pool_find_volume(bench.pool, "v@a"));
	compare_named(&bench, "v@b", images[2]);
	change(&bench, bench.volume, images[0], 40);
	assert_int_equal(bench_check(&bench, true), 0);
	reopen(&bench);
	assert_int_equal(drop(&bench, "v@b"), 0);
	assert_int_equal(drop(&bench, "v@kept"), 0);
	settle(&bench);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	volume_unref(bench.volume);
	bench.volume = NULL;
	assert_int_equal(remove_volume(&bench, "v"), 0);
	settle(&bench);
	assert_int_equal(used(&bench), 0);
	bench_finish(&bench);
}

/* What the diff does not name is equal, and it names nothing else that is not changed by slots. */
static void check_diff(struct bench *bench, const char *from, const char *to, const char *before,
		       const char *after)
{
	struct volume_extent extents[5];
	struct volume_diff diff = {.from = from ? found(bench, from) : NULL,
				   .to = found(bench, to),
				   .extents = extents,
				   .extent_max = 5};
	uint64_t at = 0;

	while (!diff.finished) {
		struct bench_call call = {.call.done = bench_call_done};

		volume_diff(&diff, &call.call);
		assert_int_equal(bench_ended(bench, &call), 0);
		for (unsigned i = 0; i < diff.extent_count; i++) {
			assert_true(extents[i].offset >= at);
			assert_memory_equal(before + at, after + at, extents[i].offset - at);
			at = extents[i].offset + extents[i].length;
			assert_true(at <= VOLUME_SIZE);
		}
	}
	assert_memory_equal(before + at, after + at, VOLUME_SIZE - at);
	volume_unref(diff.from);
	volume_unref(diff.to);
}

static void test_diff(void **state)
{
	struct bench bench;
	struct volume_extent extents[4];
	struct volume_diff diff = {.extents = extents, .extent_max = 4};
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 60);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	check_diff(&bench, NULL, "v@a", images[7], images[1]);
	change(&bench, bench.volume, images[0], 60);
	check_diff(&bench, "v@a", "v", images[1], images[0]);
	assert_int_equal(take(&bench, bench.volume, "b"), 0);
	memcpy(images[2], images[0], VOLUME_SIZE);
	check_diff(&bench, "v@a", "v@b", images[1], images[2]);
	check_diff(&bench, "v@b", "v@a", images[2], images[1]);
	check_diff(&bench, "v@b", "v", images[2], images[0]);
	memset(room, 7, 4096);
	assert_int_equal(bench_write(&bench, 40960, room, 4096, 0), 0);
	diff.from = found(&bench, "v@b");
	diff.to = bench.volume;
	volume_diff(&diff, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_true(diff.finished);
	assert_int_equal(diff.extent_count, 1);
	assert_int_equal(extents[0].offset, 40960);
	assert_int_equal(extents[0].length, 4096);
	assert_true(extents[0].mapped);
	volume_unref(diff.from);
	bench_finish(&bench);
}

static void test_hold(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *snapshot;

	(void)state;
	begin(&bench);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	snapshot = found(&bench, "v@a");
	snapshot_hold(snapshot, 0, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	volume_unref(snapshot);
	reopen(&bench);
	assert_int_equal(drop(&bench, "v@a"), -EBUSY);
	snapshot = found(&bench, "v@a");
	call.done = false;
	snapshot_release(snapshot, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	call.done = false;
	snapshot_hold(snapshot, loop_wall(bench.loop) + 3600 * 1000000000ull, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	call.done = false;
	snapshot_release(snapshot, &call.call);
	assert_int_equal(bench_ended(&bench, &call), -EPERM);
	call.done = false;
	snapshot_hold(snapshot, loop_wall(bench.loop) + 60 * 1000000000ull, &call.call);
	assert_int_equal(bench_ended(&bench, &call), -EPERM);
	call.done = false;
	snapshot_rename(snapshot, "b", &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	volume_unref(snapshot);
	assert_int_equal(drop(&bench, "v@b"), -EBUSY);
	bench_finish(&bench);
}

static void test_group(void **state)
{
	struct bench bench;
	struct volume *first, *second;
	struct snapshot_spec specs[2];
	struct bench_call call = {.call.done = bench_call_done};
	struct snapshot_info one, two;

	(void)state;
	begin(&bench);
	first = bench.volume;
	assert_int_equal(bench_volume(&bench, "w", VOLUME_SIZE), 0);
	second = bench.volume;
	specs[0] = (struct snapshot_spec){.volume = first, .name = "g"};
	specs[1] = (struct snapshot_spec){.volume = second, .name = "g"};
	snapshot_create(bench.pool, specs, 2, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	volume_unref(first);
	volume_unref(second);
	first = found(&bench, "v@g");
	second = found(&bench, "w@g");
	assert_true(snapshot_get_info(first, &one) && snapshot_get_info(second, &two));
	assert_int_equal(one.group, two.group);
	volume_unref(first);
	volume_unref(second);
	/* all or none */
	specs[0] = (struct snapshot_spec){.volume = found(&bench, "v"), .name = "h"};
	specs[1] = (struct snapshot_spec){.volume = found(&bench, "w"), .name = "g"};
	call.done = false;
	snapshot_create(bench.pool, specs, 2, &call.call);
	assert_int_equal(bench_ended(&bench, &call), -EEXIST);
	assert_null(pool_find_volume(bench.pool, "v@h"));
	volume_unref(specs[0].volume);
	volume_unref(specs[1].volume);
	bench.volume = NULL;
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_straight_path), cmocka_unit_test(test_many),
	    cmocka_unit_test(test_space),         cmocka_unit_test(test_clones),
	    cmocka_unit_test(test_rollback),      cmocka_unit_test(test_diff),
	    cmocka_unit_test(test_hold),          cmocka_unit_test(test_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
