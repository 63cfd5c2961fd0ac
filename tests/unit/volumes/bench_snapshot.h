/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_VOLUMES_BENCH_SNAPSHOT_H
#define TESTS_UNIT_VOLUMES_BENCH_SNAPSHOT_H

#include "tests/unit/volumes/bench_pool.h"

/* Snapshots and clones on a bench: calls by name, contents held against images in memory. */

#define POOL_SIZE   (96ull << 20)
#define VOLUME_SIZE (8ull << 20)

static char images[8][VOLUME_SIZE] __attribute__((aligned(4096)));
static char room[1 << 20] __attribute__((aligned(4096)));
static uint64_t random_state = 88172645463325252ull;

static inline uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

/* ---- calls ---- */
static inline int take(struct bench *bench, struct volume *volume, const char *name)
{
	struct snapshot_spec spec = {.volume = volume, .name = name};
	struct bench_call call = {.call.done = bench_call_done};

	snapshot_create(bench->pool, &spec, 1, &call.call);
	return bench_ended(bench, &call);
}

static inline struct volume *found(struct bench *bench, const char *name)
{
	struct volume *volume = pool_find_volume(bench->pool, name);

	assert_non_null(volume);
	return volume;
}

static inline int drop(struct bench *bench, const char *name)
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

static inline int remove_volume(struct bench *bench, const char *name)
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

static inline int make_clone(struct bench *bench, const char *snapshot, const char *name,
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

static inline int promote(struct bench *bench, struct volume *volume)
{
	struct bench_call call = {.call.done = bench_call_done};

	volume_promote(volume, &call.call);
	return bench_ended(bench, &call);
}

static inline int roll_back(struct bench *bench, struct volume *volume, const char *name,
			    const char *keep)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *snapshot = found(bench, name);
	int result;

	volume_rollback(volume, snapshot, keep, &call.call);
	result = bench_ended(bench, &call);
	volume_unref(snapshot);
	return result;
}

static inline uint64_t exclusive(struct bench *bench, const char *name)
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
static inline void change(struct bench *bench, struct volume *volume, char *image, unsigned count)
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

static inline void compare(struct bench *bench, struct volume *volume, const char *image)
{
	struct volume *before = bench->volume;

	bench->volume = volume;
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room)) {
		assert_int_equal(bench_read(bench, at, room, sizeof(room)), 0);
		assert_memory_equal(room, image + at, sizeof(room));
	}
	bench->volume = before;
}

static inline void compare_named(struct bench *bench, const char *name, const char *image)
{
	struct volume *volume = found(bench, name);

	compare(bench, volume, image);
	volume_unref(volume);
}

/* Until what is deleted has gone, and its space is free to use. */
static inline void settle(struct bench *bench)
{
	struct native *native = native_of(bench->pool);

	for (unsigned i = 0; i < 120000 && !list_empty(&native->deleting); i++)
		loop_poll(bench->loop, 1000000);
	assert_true(list_empty(&native->deleting));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(bench_checkpoint(bench), 0);
	assert_true(list_empty(&native->retired));
}

static inline uint64_t used(struct bench *bench)
{
	struct pool_info info;

	pool_get_info(bench->pool, &info);
	return info.used_bytes;
}

static inline void begin(struct bench *bench)
{
	bench_setup(bench);
	assert_int_equal(bench_create(bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(bench, "v", VOLUME_SIZE), 0);
	memset(images, 0, sizeof(images));
}

static inline void reopen(struct bench *bench)
{
	assert_int_equal(bench_close(bench), 0);
	assert_int_equal(bench_open(bench, 1), 0);
	bench->volume = found(bench, "v");
}

#endif
