/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_worn.h"

#include <fcntl.h>

/* Pools whose devices change: added, grown, evacuated, removed.
 * granary-test: timeout=200 */

#define POOL_SIZE (64ull << 20)
#define DATA      (4u << 20)

static int add(struct bench *bench, unsigned index, uint64_t size, bool force)
{
	struct pool_device device = {.path = bench->path[index], .size = size};
	struct bench_call call = {.call.done = bench_call_done};

	pool_add(bench->pool, &device, 1, force, &call.call);
	return bench_ended(bench, &call);
}

static int label(struct bench *bench, unsigned index, uint64_t size)
{
	struct pool_device device = {.path = bench->path[index], .size = size};
	struct bench_call call = {.call.done = bench_call_done};

	pool_label(bench->pool, &device, 1, false, &call.call);
	return bench_ended(bench, &call);
}

static int grow(struct bench *bench, uint64_t *ret_bytes)
{
	struct bench_call call = {.call.done = bench_call_done};
	int result;

	pool_grow(bench->pool, &call.call);
	result = bench_ended(bench, &call);
	*ret_bytes = call.call.total;
	return result;
}

static void fill(struct bench *bench, uint64_t at, uint8_t seed)
{
	uint8_t *data = heap_aligned(4096, DATA);

	for (size_t i = 0; i < DATA; i++)
		data[i] = (uint8_t)(seed + i / 4096 + i % 251);
	for (size_t i = 0; i < DATA; i += 1 << 20)
		assert_int_equal(bench_write(bench, at + i, data + i, 1 << 20, 0), 0);
	assert_int_equal(bench_flush(bench), 0);
	heap_free(data);
}

static void verify(struct bench *bench, uint64_t at, uint8_t seed)
{
	uint8_t *data = heap_aligned(4096, DATA);

	for (size_t i = 0; i < DATA; i += 1 << 20)
		assert_int_equal(bench_read(bench, at + i, data + i, 1 << 20), 0);
	for (size_t i = 0; i < DATA; i++)
		if (data[i] != (uint8_t)(seed + i / 4096 + i % 251))
			fail_msg("byte %zu differs", i);
	heap_free(data);
}

static struct pool_device_info device(struct bench *bench, unsigned index)
{
	struct pool_device_info info = {0};

	assert_true(pool_device_info(bench->pool, index, &info));
	return info;
}

static uint64_t used(struct bench *bench, unsigned index)
{
	struct pool_device_info info = device(bench, index);

	return info.data_bytes - info.free_bytes;
}

static void test_add(void **state)
{
	struct bench bench;
	struct pool_info before, after;
	struct pool_device_info info;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 100ull << 20), 0);
	fill(&bench, 0, 1);
	pool_get_info(bench.pool, &before);
	assert_int_equal(before.device_count, 1);
	assert_int_equal(add(&bench, 1, POOL_SIZE, false), 0);
	pool_get_info(bench.pool, &after);
	assert_int_equal(after.device_count, 2);
	assert_true(after.size_bytes > before.size_bytes + (44ull << 20));
	assert_true(after.free_bytes > before.free_bytes + (44ull << 20));
	assert_string_equal(pool_device_path(bench.pool, 1), bench.path[1]);
	assert_null(pool_device_path(bench.pool, 2));
	assert_int_equal(used(&bench, 1), 0);
	/* what comes now goes to both, more of it to the empty one */
	for (unsigned i = 1; i < 10; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_true(used(&bench, 1) > 4u << 20);
	assert_true(used(&bench, 0) < 36u << 20);
	assert_int_equal(bench_check(&bench, true), 0);
	verify(&bench, 0, 1);
	verify(&bench, 9 * (uint64_t)DATA, 9);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 1), -ENOENT);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	verify(&bench, 5 * (uint64_t)DATA, 5);
	info = device(&bench, 1);
	assert_int_equal(info.size_bytes, POOL_SIZE);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

static void test_add_refusals(void **state)
{
	struct bench bench;
	int fd;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(add(&bench, 0, 0, false), -EBUSY);
	assert_int_equal(add(&bench, 1, 0, false), -ENOENT);
	assert_int_equal(add(&bench, 1, 32u << 20, false), -EINVAL);
	assert_non_null(strstr(bench.err.text, "64 MiB"));
	fd = open(bench.path[2], O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, POOL_SIZE), 0);
	assert_int_equal(pwrite(fd, "XFSB", 4, 0), 4);
	close(fd);
	assert_int_equal(add(&bench, 2, 0, false), -EEXIST);
	assert_non_null(strstr(bench.err.text, "XFS"));
	assert_int_equal(add(&bench, 2, 0, true), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

/* The paths that are kept may know more than the pool: a device that was only labelled, a file that
 * has gone, a foreign file. */
static void test_superset(void **state)
{
	struct bench bench;
	int fd;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(label(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 2), 0);
	assert_null(pool_device_path(bench.pool, 1));
	/* and what was begun can be done after all, without force */
	assert_int_equal(add(&bench, 1, 0, false), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 3), 0); /* the third is not there */
	assert_non_null(pool_device_path(bench.pool, 1));
	assert_int_equal(bench_close(&bench), 0);
	fd = open(bench.path[2], O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, POOL_SIZE), 0);
	close(fd);
	assert_int_equal(bench_open(&bench, 3), 0);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

static void test_add_and_crash(void **state)
{
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 100ull << 20), 0);
	assert_int_equal(add(&bench, 1, POOL_SIZE, false), 0);
	for (unsigned i = 0; i < 10; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	for (unsigned i = 0; i < 10; i++)
		verify(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

static void test_grow(void **state)
{
	struct bench bench;
	struct pool_info before, after;
	uint64_t bytes = 1;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 400ull << 20), 0);
	assert_int_equal(grow(&bench, &bytes), 0);
	assert_int_equal(bytes, 0);
	pool_get_info(bench.pool, &before);
	assert_int_equal(truncate(bench.path[0], (off_t)(2 * POOL_SIZE)), 0);
	assert_int_equal(grow(&bench, &bytes), 0);
	assert_int_equal(bytes, POOL_SIZE);
	pool_get_info(bench.pool, &after);
	assert_int_equal(after.device_count, 2);
	assert_true(after.size_bytes > before.size_bytes + (44ull << 20));
	assert_int_equal(device(&bench, 0).size_bytes, 2 * POOL_SIZE);
	/* all of it can be filled */
	for (unsigned i = 0; i < 30; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	for (unsigned i = 0; i < 30; i++)
		verify(&bench, i * (uint64_t)DATA, (uint8_t)i);
	/* once more, and smaller */
	assert_int_equal(truncate(bench.path[0], (off_t)(3 * POOL_SIZE)), 0);
	assert_int_equal(grow(&bench, &bytes), 0);
	assert_int_equal(bytes, POOL_SIZE);
	assert_int_equal(bench_check(&bench, false), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(truncate(bench.path[0], (off_t)(2 * POOL_SIZE)), 0);
	assert_int_equal(bench_open(&bench, 2), -EUCLEAN);
	bench_finish(&bench);
}

static int evacuate(struct bench *bench, unsigned index, enum pool_evacuate_action action)
{
	struct bench_call call = {.call.done = bench_call_done};

	pool_evacuate(bench->pool, bench->path[index], action, &call.call);
	return bench_ended(bench, &call);
}

static int take_out(struct bench *bench, unsigned index)
{
	struct bench_call call = {.call.done = bench_call_done};

	pool_remove(bench->pool, bench->path[index], &call.call);
	return bench_ended(bench, &call);
}

/* The state of the device at @path[index]; -1: it is none. */
static int device_state(struct bench *bench, unsigned index, struct pool_device_info *info)
{
	for (unsigned i = 0; pool_device_info(bench->pool, i, info); i++)
		if (strcmp(info->path, bench->path[index]) == 0)
			return (int)info->state;
	return -1;
}

static void wait_empty(struct bench *bench, unsigned index)
{
	struct pool_device_info info;

	for (unsigned i = 0; i < 120000 && device_state(bench, index, &info) != DEVICE_EMPTY; i++)
		loop_poll(bench->loop, 1000000);
	assert_int_equal(device_state(bench, index, &info), DEVICE_EMPTY);
}

static void verify_all(struct bench *bench, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		verify(bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_int_equal(bench_check(bench, true), 0);
}

static void test_evacuate(void **state)
{
	struct bench bench;
	struct pool_info info;
	struct pool_device_info device_info;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 200ull << 20), 0);
	for (unsigned i = 0; i < 6; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_true(used(&bench, 1) > 4u << 20);
	assert_int_equal(evacuate(&bench, 0, POOL_EVACUATE_START), -EINVAL);
	assert_non_null(strstr(bench.err.text, "journal"));
	assert_int_equal(take_out(&bench, 1), -EBUSY);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), -ENOENT);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_PAUSE), -EINVAL);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), 0);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), -EBUSY);
	wait_empty(&bench, 1);
	verify_all(&bench, 6);
	assert_int_equal(take_out(&bench, 1), 0);
	assert_int_equal(device_state(&bench, 1, &device_info), -1);
	assert_int_equal(unlink(bench.path[1]), 0);
	verify_all(&bench, 6);
	for (unsigned i = 2; i < 8; i++) /* some of it again, over what has moved */
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	verify_all(&bench, 8);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 1), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	verify_all(&bench, 8);
	/* what is given up gives its place back */
	assert_int_equal(bench_discard(&bench, 0, 200ull << 20), 0);
	assert_int_equal(bench_flush(&bench), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(bench_checkpoint(&bench), 0);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.used_bytes, 0);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

/* Writes all the time, a crash in the middle, a pause over a restart. */
static void test_evacuate_busy(void **state)
{
	struct bench bench;
	struct pool_device_info info;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 3, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 200ull << 20), 0);
	for (unsigned i = 0; i < 12; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), 0);
	for (unsigned i = 0; i < 12; i += 3)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	assert_true(device_state(&bench, 1, &info) >= DEVICE_EVACUATING);
	verify_all(&bench, 12);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_PAUSE), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	assert_true(device_state(&bench, 1, &info) >= DEVICE_PAUSED);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_RESUME), 0);
	wait_empty(&bench, 1);
	assert_int_equal(take_out(&bench, 1), 0);
	/* the next one: what has moved there moves on */
	assert_int_equal(add(&bench, 1, 0, false), 0);
	assert_int_equal(evacuate(&bench, 2, POOL_EVACUATE_START), 0);
	for (unsigned i = 1; i < 12; i += 3)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	wait_empty(&bench, 2);
	verify_all(&bench, 12);
	assert_int_equal(take_out(&bench, 2), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	verify_all(&bench, 12);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

/* One slot of what fill() wrote, again. */
static void fill_slot(struct bench *bench, uint64_t at, uint8_t seed, unsigned slot)
{
	uint8_t *data = heap_aligned(4096, 4096);

	for (size_t i = 0; i < 4096; i++)
		data[i] = (uint8_t)(seed + slot + (slot * 4096u + i) % 251);
	assert_int_equal(bench_write(bench, at + slot * 4096u, data, 4096, 0), 0);
	heap_free(data);
}

/* Map leaves of several blocks lie across two chunks, which move each to a device of its own. */
static void test_evacuate_long_nodes(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};
	struct snapshot_spec spec = {.name = "kept"};
	struct pool_info info;
	uint64_t free_bytes = 0;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 3, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 64ull << 20), 0);
	for (unsigned i = 0; i < 12; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	spec.volume = bench.volume;
	snapshot_create(bench.pool, &spec, 1, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	for (unsigned round = 0; round < 8; round++) { /* every chunk in pieces, nodes everywhere */
		for (unsigned i = 0; i < 12; i++)
			for (unsigned chunk = 0; chunk < DATA / 65536; chunk++)
				fill_slot(&bench, i * (uint64_t)DATA, (uint8_t)i,
					  chunk * 16 + round * 2 + (chunk + i) % 2);
		assert_int_equal(bench_checkpoint(&bench), 0);
	}
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), 0);
	wait_empty(&bench, 1);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = pool_find_volume(bench.pool, "disk");
	verify_all(&bench, 12);
	assert_int_equal(bench_check(&bench, true), 0);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.metadata_repairs, 0);
	/* it stays after all: what is promised is there */
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_STOP), 0);
	pool_get_info(bench.pool, &info);
	for (unsigned i = 0; i < 3; i++)
		free_bytes += device(&bench, i).free_bytes;
	assert_true(info.free_bytes <= free_bytes);
	verify_all(&bench, 12);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

static void test_evacuate_no_room(void **state)
{
	struct bench bench;
	struct pool_device_info info;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 400ull << 20), 0);
	for (unsigned i = 0; i < 18; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), -ENOSPC);
	assert_non_null(strstr(bench.err.text, "room"));
	assert_int_equal(device_state(&bench, 1, &info), DEVICE_ACTIVE);
	assert_int_equal(bench_discard(&bench, 9 * (uint64_t)DATA, 9 * (uint64_t)DATA), 0);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), 0);
	/* and back: it is a device like the other again */
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_STOP), 0);
	assert_int_equal(device_state(&bench, 1, &info), DEVICE_ACTIVE);
	for (unsigned i = 9; i < 18; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	verify_all(&bench, 18);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

/* ---- a device with sectors that can not be read ---- */
/* The slot of the volume's byte @at: which device, and where on it. */
static unsigned place_of(struct bench *bench, uint64_t at, uint64_t *ret_slot, uint64_t *ret_offset)
{
	struct native *native = native_of(bench->pool);
	struct nvolume *volume = nvolume_of(bench->volume);
	struct node *node = NULL;
	struct pv *pv = NULL;

	native_lock(native);
	assert_int_equal(tree_find(&volume->map, at / 65536 / MAP_CHUNKS, false, NULL, &node), 0);
	assert_true(
	    map_slot(&node->body->map.entry[at / 65536 % MAP_CHUNKS], at / 4096 % 16, ret_slot));
	assert_true(pv_locate(native, *ret_slot, &pv, ret_offset));
	pthread_mutex_unlock(&native->lock);
	return (unsigned)(pv - native->pv);
}

/* The first byte of a chunk of @index that holds data of the volume, from @at on. */
static uint64_t next_on(struct bench *bench, unsigned index, uint64_t at, uint64_t *ret_offset)
{
	uint64_t slot;

	while (place_of(bench, at, &slot, ret_offset) != index)
		at += 65536;
	return at;
}

static int wait_stuck(struct bench *bench, unsigned index, struct pool_device_info *info)
{
	for (unsigned i = 0; i < 120000; i++) {
		int now = device_state(bench, index, info);

		if (now != DEVICE_EVACUATING)
			return now;
		loop_poll(bench->loop, 1000000);
	}
	return -1;
}

/* A sector with data stops nothing but its own chunk, and is told by volume and byte. */
static void test_evacuate_unreadable(void **state)
{
	struct bench bench;
	struct pool_device_info info;
	struct pool_finding finding;
	uint64_t at, offset, left;
	char place[64];

	(void)state;
	worn_setup(&bench);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 200ull << 20), 0);
	for (unsigned i = 0; i < 6; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_int_equal(bench_checkpoint(&bench), 0);
	at = next_on(&bench, 1, DATA, &offset) + 3 * 4096;
	scratches.path = bench.path[1];
	scratches.offset[scratches.count++] = offset + 3ull * 4096;
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), 0);
	assert_int_equal(wait_stuck(&bench, 1, &info), DEVICE_STUCK);
	snprintf(place, sizeof(place), "can not be read: 1 ");
	assert_non_null(strstr(info.reason, place));
	snprintf(place, sizeof(place), "byte %llu of disk", (unsigned long long)at);
	assert_non_null(strstr(info.reason, place));
	left = info.left_bytes;
	assert_int_equal(left, 65536);
	assert_true(pool_finding(bench.pool, 0, &finding));
	assert_int_equal(finding.kind, FINDING_MEDIUM);
	assert_string_equal(finding.volume, "disk");
	assert_int_equal(finding.offset, at);
	assert_int_equal(take_out(&bench, 1), -EBUSY);
	/* again the same; then its data is given up, and it is no more in the way */
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_RESUME), 0);
	assert_int_equal(wait_stuck(&bench, 1, &info), DEVICE_STUCK);
	assert_int_equal(info.left_bytes, left);
	assert_int_equal(bench_discard(&bench, at / 65536 * 65536, 65536), 0);
	assert_int_equal(bench_flush(&bench), 0);
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_RESUME), 0);
	wait_empty(&bench, 1);
	assert_int_equal(take_out(&bench, 1), 0);
	for (unsigned i = 0; i < 6; i++)
		if (i != at / DATA)
			verify(&bench, i * (uint64_t)DATA, (uint8_t)i);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

/* What nobody's data is in is not missed: the rest of a chunk that was written in part. */
static void test_evacuate_unreadable_free(void **state)
{
	struct bench bench;
	uint64_t offset, slot, at = 100ull << 20;
	uint8_t *data = heap_aligned(4096, 4096);

	(void)state;
	worn_setup(&bench);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "disk", 200ull << 20), 0);
	for (unsigned i = 0; i < 6; i++)
		fill(&bench, i * (uint64_t)DATA, (uint8_t)i);
	memset(data, 77, 4096);
	for (unsigned i = 0; i < 600; i++, at += 65536) { /* until one is on the second device */
		assert_int_equal(bench_write(&bench, at, data, 4096, 0), 0);
		if (place_of(&bench, at, &slot, &offset) == 1)
			break;
	}
	assert_int_equal(place_of(&bench, at, &slot, &offset), 1);
	assert_int_equal(bench_checkpoint(&bench), 0);
	scratches.path = bench.path[1];
	scratches.offset[scratches.count++] = offset + 5ull * 4096;
	assert_int_equal(evacuate(&bench, 1, POOL_EVACUATE_START), 0);
	wait_empty(&bench, 1);
	assert_int_equal(take_out(&bench, 1), 0);
	memset(data, 0, 4096);
	assert_int_equal(bench_read(&bench, at, data, 4096), 0);
	assert_int_equal(data[0], 77);
	assert_int_equal(data[4095], 77);
	verify_all(&bench, 6);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
	heap_free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_add),
	    cmocka_unit_test(test_add_refusals),
	    cmocka_unit_test(test_superset),
	    cmocka_unit_test(test_add_and_crash),
	    cmocka_unit_test(test_grow),
	    cmocka_unit_test(test_evacuate),
	    cmocka_unit_test(test_evacuate_busy),
	    cmocka_unit_test(test_evacuate_no_room),
	    cmocka_unit_test(test_evacuate_long_nodes),
	    cmocka_unit_test(test_evacuate_unreadable),
	    cmocka_unit_test(test_evacuate_unreadable_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
