/* SPDX-License-Identifier: Apache-2.0 */
/* Space for mirrored volumes on devices of unlike sizes: what is promised to them, what others may
 * have beside that, and how full the pool is said to be. */
#include "tests/unit/volumes/bench_snapshot.h"

#define MIB       (1ull << 20)
#define CHUNK_ROW 65536u

static void create_on(struct bench *bench, const uint64_t *mib, unsigned devices)
{
	struct pool_device list[4];
	struct pool_create_options options = {
	    .name = "tank", .devices = list, .device_count = devices};
	struct bench_call call = {.call.done = bench_call_done};

	bench_setup(bench);
	for (unsigned i = 0; i < devices; i++)
		list[i] = (struct pool_device){.path = bench->path[i], .size = mib[i] * MIB};
	pool_create(bench->world, bench->loop, &options, &call.call);
	assert_int_equal(bench_ended(bench, &call), 0);
	bench->pool = call.call.pool;
}

static int make(struct bench *bench, const char *name, bool mirror, uint64_t reserve,
		struct volume **ret_volume)
{
	int result = bench_volume_as(bench, &(struct volume_spec){.name = name,
								  .size_bytes = 512 * MIB,
								  .mirror = mirror,
								  .reserve_bytes = reserve});

	*ret_volume = result == 0 ? bench->volume : NULL;
	bench->volume = NULL;
	return result;
}

static int reserve(struct bench *bench, struct volume *volume, uint64_t bytes)
{
	struct bench_call call = {.call.done = bench_call_done};
	const struct volume_space space = {.reserve_bytes = &bytes};

	volume_set_space(volume, &space, &call.call);
	return bench_ended(bench, &call);
}

/* A slot takes a chunk of its own there, too; what was promised is used by whole ones. */
static int write_some(struct bench *bench, struct volume *volume, uint64_t chunk, uint64_t bytes)
{
	int result;

	bench->volume = volume;
	result = bench_write(bench, chunk * CHUNK_ROW, room, bytes, 0);
	bench->volume = NULL;
	return result;
}

static int write_chunk(struct bench *bench, struct volume *volume, uint64_t chunk)
{
	return write_some(bench, volume, chunk, CHUNK_ROW);
}

static struct pool_info info_of(struct bench *bench)
{
	struct pool_info info;

	pool_get_info(bench->pool, &info);
	return info;
}

/* From chunk *@at on until there is no space; how many. */
static uint64_t fill(struct bench *bench, struct volume *volume, uint64_t *at)
{
	uint64_t count = 0;
	int result = 0;

	while ((result = write_some(bench, volume, *at, 4096)) == 0) {
		++*at;
		count++;
	}
	assert_int_equal(result, -ENOSPC);
	return count;
}

static void check_and_end(struct bench *bench)
{
	assert_int_equal(bench_check(bench, true), 0);
	bench_finish(bench);
}

/* Two devices of one size: half of what there is can be promised, and it counts twice. */
static void test_promised(void **state)
{
	static const uint64_t mib[] = {96, 96};
	struct volume *kept, *other, *single;
	uint64_t at = 0, behind = 0;
	struct bench bench;
	struct pool_info info;

	(void)state;
	create_on(&bench, mib, 2);
	info = info_of(&bench);
	assert_true(info.mirror_free_bytes == info.mirror_size_bytes &&
		    info.mirror_size_bytes <= info.size_bytes / 2 && !info.mirrors);
	assert_int_equal(make(&bench, "much", true, info.mirror_free_bytes + 65536, &kept),
			 -ENOSPC);
	assert_string_equal(bench.err.text, "pool tank has not that much space left to reserve");
	assert_int_equal(make(&bench, "kept", true, 32 * MIB, &kept), 0);
	info = info_of(&bench);
	assert_int_equal(info.reserved_bytes, 64 * MIB);
	assert_true(info.mirrors);
	assert_int_equal(make(&bench, "other", true, 0, &other), 0);
	assert_int_equal(make(&bench, "single", false, 0, &single), 0);
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(write_chunk(&bench, other, at++), 0);
	fill(&bench, single, &behind);
	fill(&bench, other, &at);
	assert_int_equal(reserve(&bench, kept, 33 * MIB), -ENOSPC);
	assert_int_equal(reserve(&bench, kept, 31 * MIB), 0);
	assert_true(fill(&bench, other, &at) <=
		    16); /* or the other one, of which a chunk is half */
	for (uint64_t i = 0; i < 31 * MIB / CHUNK_ROW; i++)
		assert_int_equal(write_chunk(&bench, kept, i), 0);
	assert_int_equal(info_of(&bench).reserved_bytes, 0);
	volume_unref(kept);
	volume_unref(other);
	volume_unref(single);
	check_and_end(&bench);
}

/* One device has more than the others: what they have is what mirrored volumes can have. */
static void test_unlike(void **state)
{
	static const uint64_t mib[] = {192, 64, 64};
	struct volume *kept, *single, *greedy;
	uint64_t at = 0, first = 0, room_for;
	struct bench bench;
	struct pool_info info;

	(void)state;
	create_on(&bench, mib, 3);
	info = info_of(&bench);
	assert_in_range(info.mirror_size_bytes, 100 * MIB, 128 * MIB);
	room_for = info.mirror_free_bytes;
	assert_int_equal(make(&bench, "much", true, room_for + 65536, &kept), -ENOSPC);
	room_for -= 8 * MIB;
	assert_int_equal(make(&bench, "kept", true, room_for, &kept), 0);
	assert_int_equal(info_of(&bench).mirror_free_bytes, 8 * MIB);
	assert_int_equal(make(&bench, "greedy", true, 0, &greedy), 0);
	assert_int_equal(fill(&bench, greedy, &first), 8 * MIB / CHUNK_ROW);
	assert_int_equal(info_of(&bench).mirror_free_bytes, 0);
	assert_int_equal(make(&bench, "more", true, 65536, &single), -ENOSPC);
	assert_int_equal(make(&bench, "single", false, 0, &single), 0);
	assert_true(fill(&bench, single, &at) > 32 * MIB / CHUNK_ROW);
	for (uint64_t i = 0; i < room_for / CHUNK_ROW; i++)
		assert_int_equal(write_chunk(&bench, kept, (i * 7919) % (512 * MIB / CHUNK_ROW)),
				 0);
	volume_unref(kept);
	volume_unref(single);
	volume_unref(greedy);
	check_and_end(&bench);
}

/* As full as it is for mirrored volumes, though the large device is nearly empty. */
static void test_marks(void **state)
{
	static const uint64_t mib[] = {64, 384};
	struct volume *volume;
	uint64_t at = 0;
	struct bench bench;
	struct pool_info info;

	(void)state;
	create_on(&bench, mib, 2);
	assert_int_equal(make(&bench, "v", true, 0, &volume), 0);
	do {
		assert_int_equal(write_some(&bench, volume, at++, 4096), 0);
		info = info_of(&bench);
	} while (!pool_is_used(&info, info.watermark[0]));
	assert_true(info.used_bytes < info.size_bytes / 3);
	for (unsigned i = 0; i < 1000 && info_of(&bench).watermark_level == 0; i++)
		loop_poll(bench.loop, 10000000); /* looked at once a second */
	assert_int_equal(info_of(&bench).watermark_level, 1);
	assert_false(pool_is_used(&info, 99));
	fill(&bench, volume, &at);
	info = info_of(&bench);
	assert_int_equal(info.mirror_free_bytes, 0);
	assert_true(pool_spends(&info));
	/* What a pool keeps back for what has to go on is there for a mirrored volume, too. */
	bench.volume = volume;
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(bench_write(&bench, at++ * CHUNK_ROW, room, 4096, VOLUME_VITAL),
				 0);
	bench.volume = NULL;
	volume_unref(volume);
	check_and_end(&bench);
}

struct owner {
	struct volume *volume;
	uint64_t at, left; /* chunks that it is still promised */
	bool promised;
};

/* Who is promised what, and how much is taken by whom, as it comes: what was promised is there. */
static void play(uint64_t seed)
{
	static const uint64_t sizes[][3] = {
	    {64, 64, 64}, {192, 64, 64}, {64, 128, 64}, {64, 64, 128}};
	struct owner owner[8];
	struct bench bench;
	char name[4];

	random_state = seed * 2654435761u + 88172645463325252ull;
	create_on(&bench, sizes[draw(4)], draw(2) ? 3 : 2);
	for (unsigned i = 0; i < 8; i++) {
		bool mirror = draw(3) != 0;
		uint64_t left = draw(3) ? draw(200) : 0;

		snprintf(name, sizeof(name), "v%u", i);
		owner[i] = (struct owner){.left = left, .promised = left};
		if (make(&bench, name, mirror, left * CHUNK_ROW, &owner[i].volume) == 0)
			continue;
		owner[i].left = owner[i].promised = 0;
		assert_int_equal(make(&bench, name, mirror, 0, &owner[i].volume), 0);
	}
	for (unsigned i = 0, none = 0; none < 40 && i < 6000; i++) {
		struct owner *one = &owner[draw(8)];
		int result;

		if (draw(4) && one->left) /* others first */
			continue;
		result = write_some(&bench, one->volume, one->at, one->promised ? CHUNK_ROW : 4096);
		if (result == 0)
			one->at++;
		else
			none++;
		assert_true(result == 0 || (result == -ENOSPC && one->left == 0));
		one->left -= result == 0 && one->left;
	}
	for (unsigned i = 0; i < 8; i++)
		volume_unref(owner[i].volume);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, access(bench.path[2], F_OK) == 0 ? 3 : 2), 0);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		owner[i].volume = found(&bench, name);
	}
	for (unsigned i = 0; i < 8; i++) {
		for (; owner[i].left; owner[i].left--)
			assert_int_equal(write_chunk(&bench, owner[i].volume, owner[i].at++), 0);
	}
	for (unsigned i = 0; i < 8; i++)
		volume_unref(owner[i].volume);
	check_and_end(&bench);
}

static void test_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		play(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_promised),
	    cmocka_unit_test(test_unlike),
	    cmocka_unit_test(test_marks),
	    cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
