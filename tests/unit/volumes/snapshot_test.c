/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_snapshot.h"

/* Snapshots and clones over real files: what they hold, over writes, deletions and reopening.
 * granary-test: timeout=200 */

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
	assert_false(info.in_use);
	volume_ref(snapshot);
	assert_true(snapshot_get_info(snapshot, &info) && info.in_use);
	volume_unref(snapshot);
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
	assert_int_equal(volume_erasable(bench.volume), 0);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	/* What the snapshot has, too, is not to be overwritten. */
	assert_int_equal(volume_erasable(bench.volume), -EBUSY);
	assert_int_equal(bench_write(&bench, 0, room, 65536, VOLUME_IN_PLACE), -EBUSY);
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
	assert_int_equal(volume_erasable(bench.volume), 0);
	assert_int_equal(bench_write(&bench, 0, room, 65536, VOLUME_IN_PLACE), 0);
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

static char other_room[65536] __attribute__((aligned(4096)));
static char slot_data[32][4096] __attribute__((aligned(4096)));

/* The slots of writes that are under way meanwhile: some beside each other, some far apart. */
static uint64_t slot_of(unsigned i)
{
	return (i * 37ull % 64 * 8 + i % 8) * 4096;
}

static void start_slot(struct bench *bench, struct bench_io *io, unsigned i)
{
	memset(slot_data[i], (int)(0x80 + i), 4096);
	bench_io_start(bench, io, VOLUME_WRITE, 0, slot_of(i), slot_data[i], 4096);
}

static bool slot_has(struct bench *bench, const char *name, unsigned i)
{
	struct volume *before = bench->volume;

	bench->volume = found(bench, name);
	assert_int_equal(bench_read(bench, slot_of(i), other_room, 4096), 0);
	volume_unref(bench->volume);
	bench->volume = before;
	return memcmp(other_room, slot_data[i], 4096) == 0;
}

/* Going back beside I/O: all of it ends, and is either in what was kept or in what came after. */
#define UNDER_WAY 32u

static void test_rollback_under_way(void **state)
{
	struct bench bench;
	struct bench_io io[UNDER_WAY], read;
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *snapshot;
	unsigned before = 0, after = 0;

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 60);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	change(&bench, bench.volume, images[0], 60);
	snapshot = found(&bench, "v@a");
	/* Half before the call, half while requests are being held back. */
	for (unsigned i = 0; i < UNDER_WAY / 2; i++)
		start_slot(&bench, &io[i], i);
	bench_io_start(&bench, &read, VOLUME_READ, 0, 0, other_room, sizeof(other_room));
	volume_rollback(bench.volume, snapshot, "kept", &call.call);
	for (unsigned i = UNDER_WAY / 2; i < UNDER_WAY; i++)
		start_slot(&bench, &io[i], i);
	for (unsigned i = 0; i < UNDER_WAY; i++) {
		bench_wait(&bench, &io[i].done);
		assert_int_equal(io[i].result, 0);
	}
	bench_wait(&bench, &read.done);
	assert_int_equal(read.result, 0);
	assert_int_equal(bench_ended(&bench, &call), 0);
	volume_unref(snapshot);
	/* Each write is in one of the two, whole: what was kept, or what the volume became. */
	memcpy(images[2], images[0], VOLUME_SIZE);
	memcpy(images[0], images[1], VOLUME_SIZE);
	for (unsigned i = 0; i < UNDER_WAY; i++) {
		bool kept = slot_has(&bench, "v@kept", i), now = slot_has(&bench, "v", i);

		assert_true(kept != now);
		before += kept;
		after += now;
		memcpy(images[kept ? 2 : 0] + slot_of(i), slot_data[i], 4096);
	}
	assert_int_equal(before + after, UNDER_WAY);
	assert_true(before && after);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@kept", images[2]);
	compare_named(&bench, "v@a", images[1]);
	assert_int_equal(bench_check(&bench, true), 0);
	reopen(&bench);
	compare(&bench, bench.volume, images[0]);
	compare_named(&bench, "v@kept", images[2]);
	bench_finish(&bench);
}

static int reserved_volume(struct bench *bench, const char *name, uint64_t size, uint64_t reserve)
{
	struct volume_spec spec = {.name = name, .size_bytes = size, .reserve_bytes = reserve};

	return bench_volume_as(bench, &spec);
}

/* Writes from @offset on until there is no space; how many bytes it took. */
static uint64_t fill_up(struct bench *bench, struct volume *volume, unsigned flags)
{
	struct volume *before = bench->volume;
	uint64_t at = 0;
	int result = 0;

	bench->volume = volume;
	for (; result == 0 && at < volume_size(volume); at += 65536)
		result = bench_write(bench, at, room, 65536, flags);
	assert_int_equal(result, -ENOSPC);
	bench->volume = before;
	return at;
}

/* What is reserved is reserved beside snapshots: one that would break the promise is refused, and
 * after one that does not the volume can be written anew to the last byte, also when vital writes
 * of another volume have had all that a full pool keeps back. */
static void test_reserve(void **state)
{
	struct bench bench;
	struct volume *mine, *other;
	uint64_t plain, vital;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	memset(room, 3, sizeof(room));
	assert_int_equal(reserved_volume(&bench, "v", VOLUME_SIZE, VOLUME_SIZE), 0);
	mine = bench.volume;
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room))
		assert_int_equal(bench_write(&bench, at, room, sizeof(room), 0), 0);
	assert_int_equal(reserved_volume(&bench, "other", 1ull << 30, 0), 0);
	other = bench.volume;
	fill_up(&bench, other, 0);
	bench.volume = mine;
	assert_int_equal(take(&bench, mine, "a"), -ENOSPC);
	assert_null(pool_find_volume(bench.pool, "v@a"));
	/* What it has of its own may be written as before. */
	assert_int_equal(bench_write(&bench, 0, room, sizeof(room), 0), 0);
	bench.volume = other;
	assert_int_equal(bench_discard(&bench, 0, VOLUME_SIZE + (4u << 20)), 0);
	settle(&bench);
	assert_int_equal(take(&bench, mine, "a"), 0);
	plain = fill_up(&bench, other, 0);
	assert_true(plain <= VOLUME_SIZE);
	vital = fill_up(&bench, other, VOLUME_VITAL);
	assert_int_equal((vital - plain) / CHUNK, native_of(bench.pool)->slop_chunks);
	bench.volume = mine;
	memset(room, 4, sizeof(room));
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room))
		assert_int_equal(bench_write(&bench, at, room, sizeof(room), 0), 0);
	memset(images[1], 3, VOLUME_SIZE);
	compare_named(&bench, "v@a", images[1]);
	memset(images[1], 4, VOLUME_SIZE);
	compare(&bench, mine, images[1]);
	assert_int_equal(bench_check(&bench, true), 0);
	volume_unref(other);
	bench_finish(&bench);
}

static bool expendable(struct bench *bench, const char *name)
{
	struct volume *snapshot = found(bench, name);
	struct snapshot_info info;

	assert_true(snapshot_get_info(snapshot, &info));
	volume_unref(snapshot);
	return info.expendable;
}

static int approve(struct bench *bench, const char *name, bool on)
{
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *snapshot = found(bench, name);
	int result;

	snapshot_approve(snapshot, on, &call.call);
	result = bench_ended(bench, &call);
	volume_unref(snapshot);
	return result;
}

/* That one may be given up is said when it is made, or later, and lasts; a rollback's own, a clone
 * and the volume are not meant. */
static void test_expendable(void **state)
{
	struct bench bench;
	struct snapshot_spec specs[2] = {{.name = "a", .expendable = true}, {.name = "b"}};
	struct bench_call call = {.call.done = bench_call_done};
	struct volume *clone;

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 10);
	specs[0].volume = bench.volume;
	assert_int_equal(bench_volume(&bench, "w", VOLUME_SIZE), 0);
	specs[1].volume = bench.volume;
	bench.volume = specs[0].volume;
	snapshot_create(bench.pool, specs, 2, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	volume_unref(specs[1].volume);
	assert_true(expendable(&bench, "v@a"));
	assert_false(expendable(&bench, "w@b"));
	assert_int_equal(approve(&bench, "w@b", true), 0);
	assert_int_equal(approve(&bench, "v@a", false), 0);
	assert_int_equal(approve(&bench, "v", true), -EINVAL);
	reopen(&bench);
	assert_false(expendable(&bench, "v@a"));
	assert_true(expendable(&bench, "w@b"));
	assert_int_equal(approve(&bench, "v@a", true), 0);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 1), 0);
	bench.volume = found(&bench, "v");
	assert_true(expendable(&bench, "v@a"));
	assert_int_equal(roll_back(&bench, bench.volume, "v@a", "kept"), 0);
	assert_false(expendable(&bench, "v@kept"));
	assert_int_equal(make_clone(&bench, "v@a", "c", &clone), 0);
	assert_int_equal(take(&bench, clone, "x"), 0);
	assert_false(expendable(&bench, "c@x"));
	volume_unref(clone);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* Where snapshots begin to be given up: halfway from the last watermark, promises included. */
static void test_spends(void **state)
{
	struct pool_info info = {.size_bytes = 1000, .watermark = {80, 90, 95}};

	(void)state;
	assert_int_equal(pool_spend_percent(&info), 97);
	info.used_bytes = 969;
	assert_false(pool_spends(&info));
	info.used_bytes = 970;
	assert_true(pool_spends(&info));
	info.used_bytes = 500;
	info.reserved_bytes = 470;
	assert_true(pool_spends(&info));
	info.watermark[WATERMARKS - 1] = 99;
	assert_int_equal(pool_spend_percent(&info), 99);
	assert_false(pool_spends(&info));
	info = (struct pool_info){.watermark = {80, 90, 95}};
	assert_false(pool_spends(&info)); /* one that is not known */
}

/* Three changes of one checkpoint: a snapshot, a new name of its volume, a snapshot under it. */
static void test_rename_beside(void **state)
{
	struct bench bench;
	struct snapshot_spec spec = {.name = "s"};
	struct bench_call calls[3] = {{.call.done = bench_call_done},
				      {.call.done = bench_call_done},
				      {.call.done = bench_call_done}};

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 10);
	assert_int_equal(take(&bench, bench.volume, "old"), 0);
	spec.volume = bench.volume;
	snapshot_create(bench.pool, &spec, 1, &calls[0].call);
	volume_rename(bench.volume, "w", &calls[1].call);
	snapshot_create(bench.pool, &spec, 1, &calls[2].call);
	assert_int_equal(bench_ended(&bench, &calls[0]), 0);
	assert_int_equal(bench_ended(&bench, &calls[1]), 0);
	assert_int_equal(bench_ended(&bench, &calls[2]), -EEXIST);
	assert_null(pool_find_volume(bench.pool, "v@s"));
	assert_null(pool_find_volume(bench.pool, "v@old"));
	compare_named(&bench, "w@s", images[0]);
	compare_named(&bench, "w@old", images[0]);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 1), 0);
	compare_named(&bench, "w@s", images[0]);
	compare_named(&bench, "w@old", images[0]);
	bench_finish(&bench);
}

static unsigned clones(struct bench *bench, const char *name)
{
	struct volume *snapshot = found(bench, name);
	struct snapshot_info info;

	assert_true(snapshot_get_info(snapshot, &info));
	volume_unref(snapshot);
	return info.clones;
}

/* A clone stands on its snapshot also when what is between them is being deleted. */
static void test_clone_behind_deleted(void **state)
{
	struct bench bench;
	struct volume *clone, *origin;
	struct snapshot_info info;

	(void)state;
	begin(&bench);
	change(&bench, bench.volume, images[0], 40);
	assert_int_equal(take(&bench, bench.volume, "s"), 0);
	memcpy(images[1], images[0], VOLUME_SIZE);
	assert_int_equal(exclusive(&bench, "v@s"), 0);
	change(&bench, bench.volume, images[0], 40);
	assert_true(exclusive(&bench, "v@s") > 0);
	assert_int_equal(make_clone(&bench, "v@s", "c", &clone), 0);
	origin = found(&bench, "v@s"); /* another one keeps all of it now */
	assert_true(snapshot_get_info(origin, &info));
	assert_false(info.measured);
	volume_unref(origin);
	assert_int_equal(exclusive(&bench, "v@s"), 0);
	assert_int_equal(take(&bench, clone, "x"), 0);
	assert_int_equal(roll_back(&bench, clone, "c@x", "kept"), 0);
	assert_int_equal(clones(&bench, "v@s"), 1);
	assert_int_equal(drop(&bench, "c@x"), 0); /* two stand on it: it waits */
	assert_false(list_empty(&native_of(bench.pool)->deleting));
	assert_int_equal(clones(&bench, "v@s"), 1);
	assert_int_equal(drop(&bench, "v@s"), -EBUSY);
	origin = snapshot_of(clone);
	assert_string_equal(origin->name, "v@s");
	volume_unref(origin);
	assert_int_equal(promote(&bench, clone), 0);
	compare_named(&bench, "c@s", images[1]);
	compare(&bench, clone, images[1]);
	assert_int_equal(drop(&bench, "c@kept"), 0);
	settle(&bench);
	assert_int_equal(clones(&bench, "c@s"), 1);
	compare(&bench, clone, images[1]);
	assert_int_equal(bench_check(&bench, true), 0);
	volume_unref(clone);
	bench_finish(&bench);
}

/* ---- deletions that fail ---- */
/* A world in which the next FUA write of one block, a superblock, fails when it is broken. */
static struct world_ops breaking;
static const struct world_ops *whole;
static bool broken;
static struct disk_request *failing;
static struct deferred failed;

static void fail_now(struct deferred *deferred)
{
	struct disk_request *request = failing;

	(void)deferred;
	failing = NULL;
	request->done(request, -EIO);
}

static void breaking_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	if (!broken || request->op != DISK_WRITE || !(request->flags & DISK_FUA) ||
	    request->length != BLOCK) {
		whole->disk_submit(loop, disk, request);
		return;
	}
	broken = false;
	failing = request;
	deferred_init(&failed, fail_now);
	loop_defer(loop, &failed);
}

static int breaking_open(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
			 struct err *err)
{
	int result = whole->disk_open(path, flags, size, ret_disk, err);

	if (result == 0)
		(*ret_disk)->world = &breaking;
	return result;
}

static void begin_breaking(struct bench *bench)
{
	bench_setup(bench);
	loop_destroy(bench->loop);
	whole = bench->world;
	breaking = *whole;
	breaking.disk_open = breaking_open;
	breaking.disk_submit = breaking_submit;
	bench->world = &breaking;
	assert_int_equal(loop_create(bench->world, &bench->loop, &bench->err), 0);
	assert_int_equal(bench_create(bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(bench, "v", VOLUME_SIZE), 0);
}

/* The caller keeps its reference, and gives it up as after any other failure. */
static void test_delete_fails(void **state)
{
	for (unsigned which = 0; which < 2; which++) {
		struct bench bench;
		struct volume *volume;
		struct bench_call call = {.call.done = bench_call_done};

		(void)state;
		begin_breaking(&bench);
		assert_int_equal(take(&bench, bench.volume, "a"), 0);
		volume_unref(bench.volume);
		assert_int_equal(bench_volume(&bench, "w", VOLUME_SIZE), 0);
		volume_unref(bench.volume);
		bench.volume = NULL;
		broken = true;
		volume = found(&bench, which ? "v@a" : "w");
		if (which)
			snapshot_delete(volume, &call.call);
		else
			volume_delete(volume, &call.call);
		assert_int_equal(bench_ended(&bench, &call), -EIO);
		assert_int_equal(volume->refs, 1);
		volume_unref(volume);
		bench_finish(&bench);
	}
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

/* ---- what each holds alone, against a walk over all maps ---- */
#define FAMILY_MAX 24

struct family {
	struct nvolume *member[FAMILY_MAX];
	unsigned count;
};

/* Every volume and snapshot of the pool that has not gone. */
static struct family family_of(struct bench *bench)
{
	struct native *native = native_of(bench->pool);
	struct family all = {0};

	for (uint64_t id = 1; id < native->next_volume_id; id++) {
		struct nvolume *volume = nvolume_by_id(native, id);

		if (!volume)
			continue;
		assert_true(all.count < FAMILY_MAX);
		all.member[all.count++] = volume;
	}
	return all;
}

/* The address of a slot in a map, loaded if need be; SLOT_NONE. @ret_whole: the chunk is its own.
 */
static uint64_t address_of(struct nvolume *volume, uint64_t slot, bool *ret_whole)
{
	uint64_t chunk = slot / CHUNK_SLOTS, address = SLOT_NONE;
	struct node *node = NULL;

	assert_int_equal(tree_find(&volume->map, chunk / MAP_CHUNKS, false, NULL, &node), 0);
	if (!node ||
	    !map_slot(&node->body->map.entry[chunk % MAP_CHUNKS], slot % CHUNK_SLOTS, &address))
		return SLOT_NONE;
	*ret_whole = !node->body->map.entry[chunk % MAP_CHUNKS].slots;
	return address;
}

/* Maps are read from the disk by what reads data. */
static void load_maps(struct bench *bench, const struct family *all)
{
	struct volume *before = bench->volume;

	for (unsigned i = 0; i < all->count; i++)
		for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room)) {
			bench->volume = &all->member[i]->volume;
			assert_int_equal(bench_read(bench, at, room, sizeof(room)), 0);
		}
	bench->volume = before;
}

struct walked {
	uint64_t slots, chunks;
};

/* Slots that are in @snapshot's map and in no other; chunks of which all that is used is among
 * them, or lies unused in a chunk that is wholly its own. */
static struct walked walk_alone(struct bench *bench, const struct family *all,
				struct nvolume *snapshot)
{
	struct native *native = native_of(bench->pool);
	uint16_t *mine = heap_zalloc_array(native->chunks, 2);
	uint16_t *others = heap_zalloc_array(native->chunks, 2);
	struct walked found = {0};
	bool whole = false;

	for (unsigned i = 0; i < all->count; i++)
		for (uint64_t slot = 0; slot < VOLUME_SIZE / 4096; slot++) {
			uint64_t address = address_of(all->member[i], slot, &whole);
			uint16_t *map = all->member[i] == snapshot ? mine : others;

			if (address == SLOT_NONE)
				continue;
			map[address / CHUNK_SLOTS] |= (uint16_t)(1u << address % CHUNK_SLOTS);
		}
	for (uint64_t chunk = 0; chunk < native->chunks; chunk++) {
		uint16_t alone = mine[chunk] & (uint16_t)~others[chunk];

		found.slots += (unsigned)__builtin_popcount(alone);
		/* what is used and in no map is the rest of a chunk of its own */
		found.chunks += alone && !others[chunk] && space_used_slots(native, chunk) != 0;
	}
	heap_free(mine);
	heap_free(others);
	return found;
}

static void measure_all(struct bench *bench, struct volume *volume)
{
	struct bench_call call = {.call.done = bench_call_done};

	snapshot_measure_all(volume, 60 * 1000000000ull, &call.call);
	assert_int_equal(bench_ended(bench, &call), 0);
}

/* @asked: it was asked for; else what is known has to be right. */
static void compare_space(struct bench *bench, struct volume *volume, bool asked, unsigned *known)
{
	struct family all = family_of(bench);
	struct snapshot_info info;

	load_maps(bench, &all);
	for (struct volume *it = snapshot_next(volume, NULL); it; it = snapshot_next(volume, it)) {
		struct walked alone = walk_alone(bench, &all, nvolume_of(it));

		assert_true(snapshot_get_info(it, &info));
		if (asked)
			assert_true(info.measured && info.reclaim_known && !info.measuring);
		*known += info.measured;
		if (info.measured)
			assert_int_equal(info.exclusive_bytes, alone.slots * 4096);
		if (info.reclaim_known)
			assert_int_equal(info.reclaimable_bytes,
					 info.clones ? 0 : alone.chunks * 65536);
	}
}

/* Random life: at every moment what is said to be known is what a walk finds, and what is asked for
 * becomes known; and a deletion gives back what was foretold. */
static void test_space_exactly(void **state)
{
	struct bench bench;
	struct snapshot_info info;
	struct volume *copy = NULL;
	bool there[8] = {false};
	unsigned known = 0;
	char name[16];

	(void)state;
	begin(&bench);
	for (unsigned step = 0; step < 60; step++) {
		unsigned i = 1 + (unsigned)draw(7);
		uint64_t before;

		if (step == 40) { /* and what clones have in common with it */
			assert_int_equal(take(&bench, bench.volume, "base"), 0);
			assert_int_equal(make_clone(&bench, "v@base", "copy", &copy), 0);
			change(&bench, copy, images[1], 12);
			volume_unref(copy);
		}
		if (step == 55) {
			assert_int_equal(remove_volume(&bench, "copy"), 0);
			settle(&bench); /* who is compared does not go meanwhile */
		}
		change(&bench, bench.volume, images[0], 1 + (unsigned)draw(12));
		snprintf(name, sizeof(name), there[i] ? "v@s%u" : "s%u", i);
		if (there[i]) {
			struct volume *snapshot = found(&bench, name);

			exclusive(&bench, name);
			assert_true(snapshot_get_info(snapshot, &info));
			volume_unref(snapshot);
			settle(&bench);
			before = used(&bench);
			assert_int_equal(drop(&bench, name), 0);
			settle(&bench);
			assert_true(info.reclaim_known);
			assert_int_equal(before - used(&bench), info.reclaimable_bytes);
		} else {
			assert_int_equal(take(&bench, bench.volume, name), 0);
		}
		there[i] = !there[i];
		if (draw(9) == 0)
			reopen(&bench);
		compare_space(&bench, bench.volume, false, &known);
		if (draw(3) == 0) {
			measure_all(&bench, bench.volume);
			compare_space(&bench, bench.volume, true, &known);
		}
	}
	assert_true(known > 100);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* Without a walk: a new one has nothing of its own, and gains what the volume gives up of it. */
static void test_space_is_counted(void **state)
{
	struct bench bench;
	struct snapshot_info info;
	struct volume *snapshot;

	(void)state;
	begin(&bench);
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room))
		assert_int_equal(bench_write(&bench, at, room, sizeof(room), 0), 0);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	snapshot = found(&bench, "v@a");
	assert_true(snapshot_get_info(snapshot, &info));
	assert_true(info.measured && info.reclaim_known);
	assert_int_equal(info.exclusive_bytes, 0);
	assert_int_equal(info.reclaimable_bytes, 0);
	assert_int_equal(bench_discard(&bench, 0, 131072), 0);
	assert_int_equal(bench_write(&bench, 1 << 20, room, 8192, 0), 0);
	assert_true(snapshot_get_info(snapshot, &info));
	assert_true(info.measured && !info.reclaim_known && !info.measuring);
	assert_int_equal(info.exclusive_bytes, 131072 + 8192);
	measure_all(&bench, bench.volume);
	assert_true(snapshot_get_info(snapshot, &info));
	assert_true(info.reclaim_known);
	assert_int_equal(info.exclusive_bytes, 131072 + 8192);
	assert_int_equal(info.reclaimable_bytes, 131072);
	volume_unref(snapshot);
	assert_int_equal(take(&bench, bench.volume, "b"), 0);
	assert_int_equal(bench_discard(&bench, 131072, 65536), 0); /* b's, and a's: a has it, too */
	snapshot = found(&bench, "v@b");
	assert_true(snapshot_get_info(snapshot, &info));
	assert_int_equal(info.exclusive_bytes, 0);
	volume_unref(snapshot);
	assert_int_equal(exclusive(&bench, "v@a"), 131072 + 8192);
	bench_finish(&bench);
}

struct reaping {
	struct bench *bench;
	uint64_t reaped, generation;
	bool go_on;
};

/* The deletion of what the volume stands on: how far it is. Its next step waits, or does not. */
static void look_at_reaping(void *context)
{
	struct reaping *look = context;
	struct nvolume *volume = nvolume_of(look->bench->volume);
	struct nvolume *parent = volume->parent;

	native_lock(volume->native);
	look->reaped = parent->reaped;
	look->generation = volume->native->generation;
	parent->visitors = look->go_on && !look->reaped ? 0 : 1;
	native_unlock(lane_get(volume->native));
}

#define REAPING_LEAVES 200u /* three steps and more */

/* True: the volume's parent has been given up at the front, and no root says so. */
static bool reaped_in_part(struct bench *bench)
{
	struct reaping look = {.bench = bench};
	uint64_t generation;

	bench_run(bench, look_at_reaping, &look);
	look.go_on = true;
	assert_int_equal(drop(bench, "v@gone"), 0);
	for (unsigned i = 0; i < 1000000 && !look.reaped; i++) {
		bench_run(bench, look_at_reaping, &look);
		loop_poll(bench->loop, 0);
	}
	generation = look.generation;
	assert_int_equal(bench_write(bench, 12288, room, 4096, VOLUME_FUA), 0);
	assert_int_equal(bench_write(bench, 0, room, 4096, VOLUME_FUA | VOLUME_ATOMIC), 0);
	bench_run(bench, look_at_reaping, &look);
	return look.reaped < REAPING_LEAVES && look.generation == generation;
}

/* A slot of a chunk that a snapshot has in part is mapped where the snapshot has been given up, one
 * beside it goes elsewhere, and a crash comes before a root says so: a replay counts what the
 * volume owns as it was counted. */
static void test_counts_over_a_crash_while_reaped(void **state)
{
	struct bench bench;
	bool met = false;

	(void)state;
	memset(room, 7, 65536);
	for (unsigned round = 0; round < 10 && !met; round++) { /* a root may come between */
		bench_setup(&bench);
		assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
		assert_int_equal(bench_volume(&bench, "v", (uint64_t)REAPING_LEAVES << 22), 0);
		assert_int_equal(take(&bench, bench.volume, "old"), 0);
		for (uint64_t leaf = 0; leaf < REAPING_LEAVES; leaf++)
			assert_int_equal(bench_write(&bench, leaf << 22, room, 65536, 0), 0);
		assert_int_equal(bench_discard(&bench, 12288, 8192), 0);
		assert_int_equal(take(&bench, bench.volume, "gone"), 0);
		for (uint64_t leaf = 1; leaf < REAPING_LEAVES; leaf++)
			assert_int_equal(bench_discard(&bench, leaf << 22, 4096), 0);
		met = reaped_in_part(&bench);
		bench_drop(&bench);
		assert_int_equal(bench_open(&bench, 1), 0);
		bench.volume = found(&bench, "v");
		settle(&bench);
		assert_int_equal(bench_check(&bench, true), 0);
		bench_finish(&bench);
	}
	assert_true(met);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counts_over_a_crash_while_reaped),
	    cmocka_unit_test(test_straight_path),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_space),
	    cmocka_unit_test(test_clones),
	    cmocka_unit_test(test_rollback),
	    cmocka_unit_test(test_diff),
	    cmocka_unit_test(test_hold),
	    cmocka_unit_test(test_group),
	    cmocka_unit_test(test_rollback_under_way),
	    cmocka_unit_test(test_reserve),
	    cmocka_unit_test(test_expendable),
	    cmocka_unit_test(test_spends),
	    cmocka_unit_test(test_rename_beside),
	    cmocka_unit_test(test_clone_behind_deleted),
	    cmocka_unit_test(test_delete_fails),
	    cmocka_unit_test(test_space_exactly),
	    cmocka_unit_test(test_space_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
