/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_snapshot.h"

#include <fcntl.h>

/* Volumes with two copies: where they are, what is refused, and what damage to one of them does. */

static int create(struct bench *bench, const char *name, enum volume_checksum checksum,
		  uint64_t reserve)
{
	struct volume_spec spec = {.name = name,
				   .size_bytes = VOLUME_SIZE,
				   .checksum = checksum,
				   .mirror = true,
				   .reserve_bytes = reserve};

	return bench_volume_as(bench, &spec);
}

static void start(struct bench *bench, enum volume_checksum checksum)
{
	bench_setup(bench);
	assert_int_equal(bench_create(bench, 2, POOL_SIZE), 0);
	assert_int_equal(create(bench, "v", checksum, 0), 0);
	memset(images, 0, sizeof(images));
}

static void again(struct bench *bench)
{
	assert_int_equal(bench_close(bench), 0);
	assert_int_equal(bench_open(bench, 2), 0);
	bench->volume = found(bench, "v");
}

/* ---- places ---- */
struct place {
	struct bench *bench;
	uint64_t slot;
	unsigned device[2];
	uint64_t offset[2];
	bool mapped, mirrored;
};

static void look_up(void *context)
{
	struct place *place = context;
	struct native *native = native_of(place->bench->pool);
	struct tree *map = &nvolume_of(place->bench->volume)->map;
	struct pv_place second;
	struct node *node = NULL;
	uint64_t address = 0;
	struct pv *pv = NULL;

	native_lock(native);
	if (tree_find(map, place->slot / (MAP_CHUNKS * CHUNK_SLOTS), false, NULL, &node) == 0 &&
	    node)
		place->mapped =
		    map_slot(&node->body->map.entry[place->slot / CHUNK_SLOTS % MAP_CHUNKS],
			     place->slot % CHUNK_SLOTS, &address);
	if (place->mapped && pv_locate(native, address, &pv, &place->offset[0])) {
		place->device[0] = (unsigned)(pv->device - native->pv);
		place->mirrored = mirror_place(native, address, &second);
	}
	if (place->mirrored) {
		place->device[1] = (unsigned)(second.pv->device - native->pv);
		place->offset[1] = second.offset;
	}
	native_unlock(lane_get(native));
}

static struct place place_of(struct bench *bench, uint64_t slot)
{
	struct place place = {.bench = bench, .slot = slot};

	assert_int_equal(bench_read(bench, slot * 4096, room, 4096), 0); /* leaf in memory */
	bench_run(bench, look_up, &place);
	assert_true(place.mapped);
	return place;
}

static void flip(struct bench *bench, const struct place *place, unsigned copy)
{
	int fd = open(bench->path[place->device[copy]], O_RDWR);
	off_t at = (off_t)place->offset[copy] + 99;
	char byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte = (char)~byte;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* Do both devices hold what the image does? */
static bool same(struct bench *bench, const struct place *place, const char *image)
{
	bool right = true;

	for (unsigned copy = 0; copy < 2; copy++) {
		int fd = open(bench->path[place->device[copy]], O_RDONLY);

		assert_true(fd >= 0);
		assert_int_equal(pread(fd, room, 4096, (off_t)place->offset[copy]), 4096);
		right &= memcmp(room, image + place->slot * 4096, 4096) == 0;
		close(fd);
	}
	return right;
}

static uint64_t repairs(struct bench *bench)
{
	struct pool_info info;

	pool_get_info(bench->pool, &info);
	return info.data_repairs;
}

static unsigned findings(struct bench *bench, enum pool_finding_kind kind)
{
	struct pool_finding finding;
	unsigned count = 0;

	for (unsigned i = 0; pool_finding(bench->pool, i, &finding); i++)
		count += finding.kind == kind;
	return count;
}

/* ---- tests ---- */
static void test_refusals(void **state)
{
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(create(&bench, "v", VOLUME_CHECKSUM_STANDARD, 0), -EINVAL);
	assert_non_null(strstr(bench.err.text, "two devices"));
	assert_int_equal(bench_close(&bench), 0);
	unlink(bench.path[0]);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(create(&bench, "v", VOLUME_CHECKSUM_OFF, 0), -EINVAL);
	assert_non_null(strstr(bench.err.text, "checksums"));
	assert_int_equal(create(&bench, "v", VOLUME_CHECKSUM_STANDARD, 1 << 20), 0);
	bench_finish(&bench);
}

/* All that a volume does, with snapshots and clones; every slot is in two places, and all the
 * space comes back. */
static void test_both_places(void **state)
{
	(void)state;
	for (unsigned mode = 0; mode < 2; mode++) {
		struct bench bench;
		struct volume *clone;
		uint64_t empty;

		start(&bench, mode ? VOLUME_CHECKSUM_STRICT : VOLUME_CHECKSUM_STANDARD);
		empty = used(&bench);
		change(&bench, bench.volume, images[0], 200);
		assert_int_equal(take(&bench, bench.volume, "a"), 0);
		memcpy(images[1], images[0], VOLUME_SIZE);
		change(&bench, bench.volume, images[0], 200);
		assert_int_equal(make_clone(&bench, "v@a", "c", &clone), 0);
		memcpy(images[2], images[1], VOLUME_SIZE);
		change(&bench, clone, images[2], 100);
		assert_true(clone->mirror);
		volume_unref(clone);
		assert_int_equal(bench_check(&bench, true), 0);
		again(&bench);
		compare(&bench, bench.volume, images[0]);
		compare_named(&bench, "v@a", images[1]);
		compare_named(&bench, "c", images[2]);
		assert_int_equal(bench_check(&bench, true), 0);
		assert_true(bench.volume->mirror);
		assert_int_equal(remove_volume(&bench, "c"), 0);
		assert_int_equal(drop(&bench, "v@a"), 0);
		assert_int_equal(bench_discard(&bench, 0, VOLUME_SIZE), 0);
		settle(&bench);
		assert_int_equal(used(&bench), empty);
		assert_int_equal(native_of(bench.pool)->mirrors, 0);
		assert_int_equal(bench_check(&bench, true), 0);
		assert_int_equal(repairs(&bench), 0);
		bench_finish(&bench);
	}
}

/* Beside a volume with one copy, which keeps to chunks of its own. */
static void test_beside_others(void **state)
{
	struct bench bench;
	struct volume *mirrored;

	(void)state;
	start(&bench, VOLUME_CHECKSUM_STANDARD);
	mirrored = bench.volume;
	assert_int_equal(bench_volume(&bench, "one", VOLUME_SIZE), 0);
	for (unsigned round = 0; round < 4; round++) {
		assert_int_equal(take(&bench, mirrored, (char[]){(char)('a' + round), 0}), 0);
		assert_int_equal(take(&bench, bench.volume, (char[]){(char)('k' + round), 0}), 0);
		change(&bench, mirrored, images[0], 60);
		change(&bench, bench.volume, images[1], 60);
	}
	for (uint64_t slot = 0; slot < VOLUME_SIZE / 4096; slot += 7) {
		struct place place = {.bench = &bench, .slot = slot};

		bench_run(&bench, look_up, &place);
		assert_false(place.mirrored);
	}
	compare(&bench, mirrored, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	volume_unref(mirrored);
	bench_finish(&bench);
}

/* What is bad in one copy is read from the other, and mended; in both, it is an error. */
static void test_read_repair(void **state)
{
	struct bench bench;
	struct place place;

	(void)state;
	start(&bench, VOLUME_CHECKSUM_STANDARD);
	change(&bench, bench.volume, images[0], 100);
	memset(room, 7, 65536);
	assert_int_equal(bench_write(&bench, 65536, room, 65536, 0), 0);
	memset(images[0] + 65536, 7, 65536);
	place = place_of(&bench, 17);
	assert_true(place.mirrored && place.device[0] != place.device[1]);
	assert_true(same(&bench, &place, images[0]));
	memset(room, 8, 4096); /* where it is, in both */
	memset(images[0] + 17 * 4096, 8, 4096);
	assert_int_equal(bench_write(&bench, 17 * 4096, room, 4096, VOLUME_IN_PLACE), 0);
	assert_int_equal(bench_flush(&bench), 0);
	assert_true(same(&bench, &place, images[0]));
	flip(&bench, &place, 0);
	compare(&bench, bench.volume, images[0]);
	assert_true(same(&bench, &place, images[0]));
	assert_int_equal(repairs(&bench), 1);
	assert_int_equal(findings(&bench, FINDING_DATA_REPAIRED), 1);

	flip(&bench, &place, 0); /* a part of a slot is written over a bad one */
	memset(room, 9, 512);
	memset(images[0] + 17 * 4096 + 512, 9, 512);
	assert_int_equal(bench_write(&bench, 17 * 4096 + 512, room, 512, 0), 0);
	assert_int_equal(repairs(&bench), 2);
	compare(&bench, bench.volume, images[0]);
	place = place_of(&bench, 17);
	assert_true(same(&bench, &place, images[0]));

	flip(&bench, &place, 0);
	flip(&bench, &place, 1);
	assert_int_equal(bench_read(&bench, 17 * 4096, room, 4096), -EILSEQ);
	assert_int_equal(findings(&bench, FINDING_DATA), 1);
	assert_int_equal(bench_read(&bench, 18 * 4096, room, 4096), 0);
	assert_true(bench_check(&bench, true) > 0);
	bench_finish(&bench);
}

static void scrub(struct bench *bench, struct pool_scrub_info *ret_info)
{
	*ret_info = (struct pool_scrub_info){.state = SCRUB_RUNNING};
	assert_int_equal(pool_scrub(bench->pool, POOL_SCRUB_START, 1u << 30, &bench->err), 0);
	for (unsigned i = 0; i < 120000 && ret_info->state == SCRUB_RUNNING; i++) {
		loop_poll(bench->loop, 1000000);
		pool_get_scrub(bench->pool, ret_info);
	}
	assert_int_equal(ret_info->state, SCRUB_DONE);
}

/* Rot in either copy, of a volume and of what only a snapshot has: found by a scrub, and mended. */
static void test_scrub_repair(void **state)
{
	struct bench bench;
	struct pool_scrub_info info;
	struct place places[3];
	struct volume *volume;

	(void)state;
	start(&bench, VOLUME_CHECKSUM_STANDARD);
	memset(images[0], 5, VOLUME_SIZE);
	memset(room, 5, sizeof(room));
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room))
		assert_int_equal(bench_write(&bench, at, room, sizeof(room), 0), 0);
	places[0] = place_of(&bench, 3);
	places[1] = place_of(&bench, 500);
	places[2] = place_of(&bench, 70);
	assert_int_equal(take(&bench, bench.volume, "a"), 0);
	memset(room, 6, 4096);
	assert_int_equal(bench_write(&bench, 70 * 4096, room, 4096, 0), 0);
	volume = bench.volume;
	scrub(&bench, &info);
	assert_int_equal(info.errors, 0);
	for (unsigned i = 0; i < 3; i++)
		flip(&bench, &places[i], i & 1);
	scrub(&bench, &info);
	assert_true(info.errors >= 3);
	assert_int_equal(info.repaired, info.errors);
	assert_int_equal(repairs(&bench), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(same(&bench, &places[i], images[0]));
	scrub(&bench, &info);
	assert_int_equal(info.errors, 0);
	assert_int_equal(bench_check(&bench, true), 0);
	bench.volume = volume;
	bench_finish(&bench);
}

/* After a kill the pool is whole, whatever was under way. */
static void test_kill(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench, VOLUME_CHECKSUM_STANDARD);
	change(&bench, bench.volume, images[0], 100);
	assert_int_equal(bench_checkpoint(&bench), 0);
	change(&bench, bench.volume, images[0], 200);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

struct held {
	struct bench *bench;
	unsigned chunks;
};

/* Chunks that nothing refers to and nobody may take. */
static void count_held(void *context)
{
	struct held *held = context;
	struct native *native = native_of(held->bench->pool);

	native_lock(native);
	held->chunks = 0;
	for (uint64_t chunk = 0; chunk < native->chunks; chunk++)
		held->chunks += space_chunk_is_data(native, chunk) &&
				!space_used_slots(native, chunk) &&
				space_held_slots(native, chunk) == 0xffff;
	native_unlock(lane_get(native));
}

static unsigned held_of(struct bench *bench)
{
	struct held held = {.bench = bench};

	bench_run(bench, count_held, &held);
	return held.chunks;
}

/* Slots that were freed and taken over and over, and given up at last, all in one journal: the
 * chunks are taken by nobody before both roots know that they are pairs no more. */
static void test_given_up_at_replay(void **state)
{
	struct bench bench;

	(void)state;
	start(&bench, VOLUME_CHECKSUM_STRICT); /* each write is a redirect */
	assert_int_equal(bench_checkpoint(&bench), 0);
	for (unsigned i = 0; i < 40; i++) {
		memset(room, (int)i + 1, 32768);
		assert_int_equal(bench_write(&bench, 0, room, 32768, 0), 0);
		assert_int_equal(bench_flush(&bench), 0);
	}
	assert_int_equal(bench_discard(&bench, 0, VOLUME_SIZE), 0);
	assert_int_equal(bench_flush(&bench), 0);
	assert_int_equal(held_of(&bench), 4); /* two pairs: one is whole, the other in parts */
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	assert_int_equal(held_of(&bench), 4);
	bench.volume = found(&bench, "v");
	change(&bench, bench.volume, images[0], 50);
	assert_int_equal(bench_flush(&bench), 0);
	bench_drop(&bench);
	assert_int_equal(bench_open(&bench, 2), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* Half the pool's space is what a mirrored volume can have; what it gives back can be had again. */
static void test_full(void **state)
{
	struct bench bench;
	struct pool_info info;
	uint64_t written = 0;
	int result = 0;

	(void)state;
	start(&bench, VOLUME_CHECKSUM_STANDARD);
	pool_get_info(bench.pool, &info);
	for (unsigned i = 0; result == 0 && i < 32; i++) {
		char name[8];

		snprintf(name, sizeof(name), "w%u", i);
		volume_unref(bench.volume);
		assert_int_equal(create(&bench, name, VOLUME_CHECKSUM_STANDARD, 0), 0);
		for (uint64_t at = 0; result == 0 && at < VOLUME_SIZE; at += sizeof(room)) {
			result = bench_write(&bench, at, room, sizeof(room), 0);
			written += result == 0 ? sizeof(room) : 0;
		}
	}
	assert_int_equal(result, -ENOSPC);
	assert_true(2 * written > info.size_bytes - info.size_bytes / 10 &&
		    2 * written <= info.size_bytes);
	assert_int_equal(bench_write(&bench, 0, room, 4096, 0), 0);
	assert_int_equal(bench_discard(&bench, 0, VOLUME_SIZE), 0);
	settle(&bench);
	assert_int_equal(bench_write(&bench, 0, room, 1 << 20, 0), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* More devices; what is moved from them: mirror_moves_test.c. */
static void test_devices(void **state)
{
	struct bench bench;
	struct pool_device device;
	struct bench_call call = {.call.done = bench_call_done};

	(void)state;
	start(&bench, VOLUME_CHECKSUM_STANDARD);
	change(&bench, bench.volume, images[0], 100);
	device = (struct pool_device){.path = bench.path[2], .size = 3 * POOL_SIZE};
	pool_add(bench.pool, &device, 1, false, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	change(&bench, bench.volume, images[0], 300);
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 3), 0);
	bench.volume = found(&bench, "v");
	compare(&bench, bench.volume, images[0]);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

/* Nothing is left but what is kept back for exchanges, and each of these wants two chunks whose
 * predecessors come back two roots later: it waits for them. */
static void test_full_written_over(void **state)
{
	enum { CHUNKS = 4 * POOL_SIZE / 65536, AT_ONCE = 24 };
	static char data[65536] __attribute__((aligned(4096)));
	static struct bench_io io[AT_ONCE];
	struct bench bench;
	unsigned full = 0;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(
	    bench_volume_as(&bench, &(struct volume_spec){.name = "v",
							  .size_bytes = CHUNKS * 65536ull,
							  .checksum = VOLUME_CHECKSUM_STRICT,
							  .mirror = true}),
	    0);
	while (full < CHUNKS && bench_write(&bench, full * 65536ull, data, sizeof(data), 0) == 0)
		full++;
	assert_in_range(full, AT_ONCE, CHUNKS - 1);
	for (unsigned round = 0; round < 20; round++) {
		memset(data, (int)round + 1, sizeof(data));
		for (unsigned i = 0; i < AT_ONCE; i++)
			bench_io_start(&bench, &io[i], VOLUME_WRITE, 0,
				       (round * AT_ONCE + i) % full * 65536ull, data, sizeof(data));
		for (unsigned i = 0; i < AT_ONCE; i++) {
			bench_wait(&bench, &io[i].done);
			assert_int_equal(io[i].result, 0);
		}
		assert_int_equal(bench_discard(&bench, round * 65536ull + 512, 512), 0);
	}
	/* what is new has no room, at once */
	assert_int_equal(bench_write(&bench, full * 65536ull, data, sizeof(data), 0), -ENOSPC);
	bench_finish(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_full_written_over),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_both_places),
	    cmocka_unit_test(test_beside_others),
	    cmocka_unit_test(test_read_repair),
	    cmocka_unit_test(test_scrub_repair),
	    cmocka_unit_test(test_kill),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_devices),
	    cmocka_unit_test(test_given_up_at_replay),
	};

	cmocka_set_test_filter(getenv("GRANARY_TEST_FILTER")); /* NULL: all */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
