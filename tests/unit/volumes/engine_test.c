/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumes/bench_pool.h"

#include "core/buf.h"
#include "core/crc32c.h"

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

/* ---- against a model ---- */
static char model[VOLUME_SIZE];

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static void random_step(struct bench *bench)
{
	uint64_t length = (1 + draw(draw(4) ? 16 : 1024)) * 512;
	uint64_t offset = draw((VOLUME_SIZE - length) / 512) * 512;
	char *data;

	switch (draw(8)) {
	case 0:
		assert_int_equal(
		    bench_discard(bench, offset,
				  length * 2 < VOLUME_SIZE - offset ? length * 2 : length),
		    0);
		memset(model + offset, 0, length * 2 < VOLUME_SIZE - offset ? length * 2 : length);
		break;
	case 1:
		assert_int_equal(bench_flush(bench), 0);
		break;
	case 2:
	case 3:
		assert_int_equal(bench_read(bench, offset, room, length), 0);
		assert_memory_equal(room, model + offset, length);
		break;
	default:
		data = pattern(draw(UINT64_MAX), length);
		memcpy(model + offset, data, length);
		assert_int_equal(
		    bench_write(bench, offset, data, length, (unsigned)draw(4) & VOLUME_ATOMIC), 0);
	}
}

static void compare_all(struct bench *bench)
{
	for (uint64_t at = 0; at < VOLUME_SIZE; at += sizeof(room)) {
		assert_int_equal(bench_read(bench, at, room, sizeof(room)), 0);
		assert_memory_equal(room, model + at, sizeof(room));
	}
	assert_int_equal(bench_check(bench, true), 0);
}

static void test_random(void **state)
{
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	random_state = 4711;
	memset(model, 0, sizeof(model));
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	for (unsigned life = 0; life < 8; life++) {
		for (unsigned i = 0; i < 250; i++)
			random_step(&bench);
		compare_all(&bench);
		if (life % 2) {
			assert_int_equal(bench_flush(&bench), 0);
			bench_drop(&bench);
		} else {
			assert_int_equal(bench_close(&bench), 0);
		}
		assert_int_equal(bench_open(&bench, 2), 0);
		bench.volume = pool_find_volume(bench.pool, "v");
		compare_all(&bench);
	}
	bench_finish(&bench);
}

/* ---- two loops on one volume ---- */
struct hammer {
	struct volume *volume;
	struct volume_request request;
	struct iovec iov;
	struct message message;
	unsigned index, rounds, errors;
	uint64_t block;
	bool reading, done; /* done: atomic */
	char *data;
};

static void hammer_next(struct hammer *hammer);

static void hammer_done(struct volume_request *request, int result)
{
	struct hammer *hammer = container_of(request, struct hammer, request);

	if (result != 0)
		hammer->errors++;
	if (hammer->reading)
		for (unsigned i = 0; i < 4096; i += 8) {
			uint64_t word;

			memcpy(&word, hammer->data + i, 8);
			if (word != (hammer->block << 32 | hammer->rounds))
				hammer->errors++;
		}
	if (hammer->reading)
		hammer->rounds++;
	hammer->reading = !hammer->reading;
	hammer_next(hammer);
}

/* Write a block of one's own, read it back; neighbours in the same chunk are the other's. */
static void hammer_next(struct hammer *hammer)
{
	if (hammer->rounds == 400) {
		__atomic_store_n(&hammer->done, true, __ATOMIC_RELEASE);
		return;
	}
	if (!hammer->reading) {
		hammer->block = (uint64_t)hammer->rounds * 7919 % 256 * 8 + hammer->index;
		for (unsigned i = 0; i < 4096; i += 8) {
			uint64_t word = hammer->block << 32 | hammer->rounds;

			memcpy(hammer->data + i, &word, 8);
		}
	} else {
		memset(hammer->data, 0, 4096);
	}
	hammer->iov = (struct iovec){.iov_base = hammer->data, .iov_len = 4096};
	hammer->request = (struct volume_request){
	    .op = hammer->reading ? VOLUME_READ : VOLUME_WRITE,
	    .flags = !hammer->reading && hammer->rounds % 50 == 0 ? VOLUME_FUA : 0,
	    .offset = hammer->block * 4096,
	    .length = 4096,
	    .iov = &hammer->iov,
	    .iov_count = 1,
	    .done = hammer_done};
	volume_submit(hammer->volume, &hammer->request);
}

static void hammer_start(struct message *message)
{
	hammer_next(container_of(message, struct hammer, message));
}

static void test_two_loops(void **state)
{
	struct hammer hammers[8];
	struct loop *loops[2];
	struct bench bench;
	bool all = false;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(loop_create(bench.world, &loops[i], &bench.err), 0);
		assert_int_equal(loop_start_thread(loops[i], "hammer", &bench.err), 0);
	}
	memset(hammers, 0, sizeof(hammers));
	for (unsigned i = 0; i < 8; i++) {
		hammers[i].volume = bench.volume;
		hammers[i].index = i;
		hammers[i].data = heap_aligned(4096, 4096);
		loop_post(loops[i % 2], &hammers[i].message, hammer_start);
	}
	for (unsigned i = 0; i < 60000 && !all; i++) {
		loop_poll(bench.loop, 1000000);
		all = true;
		for (unsigned j = 0; j < 8; j++)
			all &= __atomic_load_n(&hammers[j].done, __ATOMIC_ACQUIRE);
	}
	assert_true(all);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(hammers[i].errors, 0);
		heap_free(hammers[i].data);
	}
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_close(&bench), 0);
	for (unsigned i = 0; i < 2; i++) {
		loop_join(loops[i]);
		loop_destroy(loops[i]);
	}
	bench_finish(&bench);
}

/* ---- damage ---- */
static void flip(struct bench *bench, unsigned device, uint64_t offset)
{
	FILE *file = fopen(bench->path[device], "r+b");
	int byte;

	assert_non_null(file);
	assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
	byte = fgetc(file);
	assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
	fputc(byte ^ 0x10, file);
	fclose(file);
}

static uint64_t place_of(struct bench *bench, uint64_t slot)
{
	struct pv *pv;
	uint64_t offset;

	assert_true(pv_locate(native_of(bench->pool), slot, &pv, &offset));
	return offset;
}

static void test_damaged_node(void **state)
{
	struct bench bench;
	struct pool_info info;
	uint64_t place, used;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	assert_int_equal(bench_write(&bench, 0, pattern(5, 65536), 65536, 0), 0);
	used = volume_used_bytes(bench.volume);
	assert_int_equal(bench_checkpoint(&bench), 0);
	place = place_of(&bench, nvolume_of(bench.volume)->map.root.address[0]);
	assert_int_equal(bench_close(&bench), 0);
	flip(&bench, 0, place + 100);
	assert_int_equal(bench_open(&bench, 1), 0);
	bench.volume = pool_find_volume(bench.pool, "v");
	assert_int_equal(volume_used_bytes(bench.volume), used);
	assert_int_equal(bench_read(&bench, 0, room, 65536), 0);
	assert_memory_equal(room, pattern(5, 65536), 65536);
	for (unsigned i = 0; i < 100; i++)
		loop_poll(bench.loop, 1000000);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.metadata_repairs, 1);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_damaged_data(void **state)
{
	struct bench bench;
	struct pool_info info;
	struct bench_io io;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	assert_int_equal(bench_write(&bench, 1 << 20, pattern(6, 65536), 65536, VOLUME_ATOMIC), 0);
	assert_int_equal(bench_checkpoint(&bench), 0);
	{
		struct nvolume *volume = nvolume_of(bench.volume);
		struct node *leaf = NULL;

		assert_int_equal(tree_find(&volume->map, 0, false, NULL, &leaf), 0);
		flip(&bench, 0,
		     place_of(&bench, leaf->body->map.entry[16].chunk * CHUNK_SLOTS + 3) + 7);
	}
	bench_io_start(&bench, &io, VOLUME_READ, 0, 1 << 20, room, 65536);
	bench_wait(&bench, &io.done);
	assert_int_equal(io.result, -EILSEQ);
	assert_int_equal(io.request.error_offset, (1 << 20) + 3 * 4096);
	assert_int_equal(bench_read(&bench, (1 << 20) + 16384, room, 4096), 0);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.checksum_errors, 1);
	assert_true(bench_check(&bench, true) == 1);
	assert_int_equal(bench_write(&bench, (1 << 20) + 12288, pattern(7, 4096), 4096, 0), 0);
	assert_int_equal(bench_read(&bench, 1 << 20, room, 65536), 0);
	bench_finish(&bench);
}

struct scattered {
	struct bench_io io;
	struct iovec iov[512];
	char memory[1 << 20] __attribute__((aligned(4096)));
};

static void scattered_start(struct bench *bench, struct scattered *one, enum volume_op op,
			    unsigned flags, uint64_t offset)
{
	one->io = (struct bench_io){.volume = bench->volume};
	for (unsigned i = 0; i < 512; i++)
		one->iov[i] = (struct iovec){one->memory + i * 2048, 2048};
	one->io.request = (struct volume_request){.op = op,
						  .flags = flags,
						  .offset = offset,
						  .length = sizeof one->memory,
						  .iov = one->iov,
						  .iov_count = 512,
						  .done = bench_io_done};
	bench_run(bench, bench_io_submit, &one->io);
}

/* Without a budget there is what each stage has of its own. Memory in more parts than a transfer
 * takes, so that all pieces need a bounce buffer, and an atomic write all of its at the same time:
 * 257 slots, of which BUF_MAX has room for 256. */
static void test_scarce_buffers(void **state)
{
	enum { COUNT = 6 };
	static struct scattered all[COUNT];
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	loop_set_buffer_budget(bench.loop, 0);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			memcpy(all[i].memory, pattern(20 + round * COUNT + i, 1 << 20), 1 << 20);
			scattered_start(&bench, &all[i], VOLUME_WRITE, i % 3 ? VOLUME_ATOMIC : 0,
					512 + ((uint64_t)i << 20));
		}
		for (unsigned i = 0; i < COUNT; i++) {
			bench_wait(&bench, &all[i].io.done);
			assert_int_equal(all[i].io.result, 0);
			memset(all[i].memory, 0, 1 << 20);
		}
		for (unsigned i = 0; i < COUNT; i++)
			scattered_start(&bench, &all[i], VOLUME_READ, 0, 512 + ((uint64_t)i << 20));
		for (unsigned i = 0; i < COUNT; i++) {
			bench_wait(&bench, &all[i].io.done);
			assert_int_equal(all[i].io.result, 0);
			assert_memory_equal(all[i].memory, pattern(20 + round * COUNT + i, 1 << 20),
					    1 << 20);
		}
	}
	assert_int_equal(buf_pool_used(loop_buffers(bench.loop)), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

static void test_superblocks(void **state)
{
	struct bench bench;
	uint64_t size, copies[4];

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	assert_int_equal(bench_write(&bench, 0, pattern(8, 4096), 4096, 0), 0);
	size = native_of(bench.pool)->pv[0].format.size;
	for (unsigned i = 0; i < 4; i++)
		copies[i] = superblock_position(size, i);
	assert_int_equal(bench_close(&bench), 0);
	flip(&bench, 0, copies[0] + 100);
	flip(&bench, 0, copies[1] + 100);
	assert_int_equal(bench_open(&bench, 1), 0);
	bench.volume = pool_find_volume(bench.pool, "v");
	assert_int_equal(bench_read(&bench, 0, room, 4096), 0);
	assert_memory_equal(room, pattern(8, 4096), 4096);
	assert_int_equal(bench_close(&bench), 0);
	for (unsigned i = 0; i < 4; i++)
		flip(&bench, 0, copies[i] + 100);
	assert_int_equal(bench_open(&bench, 1), -EUCLEAN);
	assert_non_null(strstr(bench.err.text, "damaged"));
	for (unsigned i = 0; i < 4; i++)
		flip(&bench, 0, copies[i] + 100);
	assert_int_equal(bench_open(&bench, 1), 0);
	bench_finish(&bench);
}

static void test_refusals(void **state)
{
	char newer[32];
	struct bench bench, other;
	struct superblock sb;
	uint8_t block[BLOCK];
	FILE *file;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), 0);
	other = bench;
	assert_int_equal(bench_open(&other, 2), -EBUSY);
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_create(&bench, 2, POOL_SIZE), -EEXIST);
	assert_int_equal(bench_open(&bench, 1), -ENOENT);
	assert_non_null(strstr(bench.err.text, "missing"));
	file = fopen(bench.path[2], "wb");
	assert_int_equal(ftruncate(fileno(file), POOL_SIZE), 0);
	fclose(file);
	snprintf(other.path[0], sizeof(other.path[0]), "%s", bench.path[2]);
	assert_int_equal(bench_open(&other, 1), -EPROTO);
	/* a newer format */
	file = fopen(bench.path[0], "r+b");
	fseek(file, (long)superblock_position(POOL_SIZE, 0), SEEK_SET);
	assert_int_equal(fread(block, 1, BLOCK, file), BLOCK);
	assert_int_equal(superblock_decode(block, &sb, NULL), 0);
	block[8] = FORMAT_VERSION + 1;
	memset(block + 12, 0, 4);
	{
		uint32_t crc = crc32c(0, block, BLOCK);

		memcpy(block + 12, &crc, 4);
	}
	fseek(file, (long)superblock_position(POOL_SIZE, 0), SEEK_SET);
	assert_int_equal(fwrite(block, 1, BLOCK, file), BLOCK);
	fclose(file);
	assert_int_equal(bench_open(&bench, 2), -EPROTO);
	snprintf(newer, sizeof(newer), "format %u", FORMAT_VERSION + 1);
	assert_non_null(strstr(bench.err.text, newer));
	bench_finish(&bench);
}

/* ---- scrub ---- */
static void scrub(void *context)
{
	struct bench *bench = context;
	static unsigned turn;
	struct err err;
	int action = turn++ == 0 ? POOL_SCRUB_START
		     : turn % 2  ? POOL_SCRUB_RESUME
				 : POOL_SCRUB_PAUSE;

	pool_scrub(bench->pool, action, 1ull << 40, &err); /* its end may have come first */
}

/* Paused and resumed faster than it stops: it must not take that for its end. */
static void test_scrub_stutters(void **state)
{
	struct pool_scrub_info info;
	struct bench bench;
	uint64_t seen = 0;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	for (uint64_t at = 0; at < VOLUME_SIZE; at += 1 << 20)
		assert_int_equal(bench_write(&bench, at, pattern(at, 1 << 20), 1 << 20, 0), 0);
	assert_int_equal(bench_flush(&bench), 0);
	random_state = 88172645463325252ull;
	for (unsigned i = 0; i < 101; i++) { /* the last one resumes */
		bench_run(&bench, scrub, &bench);
		for (uint64_t polls = draw(6); polls; polls--)
			loop_poll(bench.loop, 100000);
	}
	for (unsigned i = 0; i < 100000; i++) {
		loop_poll(bench.loop, 1000000);
		pool_get_scrub(bench.pool, &info);
		seen = info.slots;
		if (info.state != SCRUB_RUNNING)
			break;
	}
	assert_int_equal(info.state, SCRUB_DONE);
	assert_true(seen >= VOLUME_SIZE / VOLUME_SLOT);
	assert_int_equal(info.errors, 0);
	bench_finish(&bench);
}

/* ---- full ---- */
static void test_full(void **state)
{
	struct bench bench;
	struct pool_info info;
	uint64_t at = 0;
	int result = 0;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", 1 << 30), 0);
	for (; result == 0; at += 1 << 20)
		result = bench_write(&bench, at, pattern(at, 1 << 20), 1 << 20, 0);
	assert_int_equal(result, -ENOSPC);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.free_bytes, 0);
	assert_int_equal(bench_write(&bench, 0, pattern(9, 65536), 65536, 0), 0);
	assert_int_equal(bench_write(&bench, 65536, pattern(9, 8192), 8192, VOLUME_ATOMIC), 0);
	assert_int_equal(bench_read(&bench, 65536, room, 8192), 0);
	assert_memory_equal(room, pattern(9, 8192), 8192);
	assert_int_equal(bench_discard(&bench, 8 << 20, 8 << 20), 0);
	assert_int_equal(bench_flush(&bench), 0);
	assert_int_equal(bench_write(&bench, 500 << 20, pattern(10, 1 << 20), 1 << 20, 0), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	assert_int_equal(bench_discard(&bench, 0, 1 << 30), 0);
	assert_int_equal(volume_used_bytes(bench.volume), 0);
	assert_int_equal(bench_check(&bench, true), 0);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.used_bytes, 0);
	bench_finish(&bench);
}

/* ---- management ---- */
static void test_volumes(void **state)
{
	struct bench bench;
	struct bench_call call = {.call.done = bench_call_done};
	struct pool_info info;
	struct volume *volume;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	for (unsigned i = 0; i < 20; i++) {
		char name[8];

		snprintf(name, sizeof(name), "v%02u", 19 - i);
		assert_int_equal(bench_volume(&bench, name, VOLUME_SIZE), 0);
		assert_int_equal(bench_write(&bench, i * 4096, pattern(i, 4096), 4096, 0), 0);
		volume_unref(bench.volume);
		bench.volume = NULL;
	}
	assert_int_equal(bench_volume(&bench, "v03", VOLUME_SIZE), -EEXIST);
	assert_int_equal(bench_volume(&bench, "-x", VOLUME_SIZE), -EINVAL);
	bench.volume = pool_find_volume(bench.pool, "v19");
	volume_resize(bench.volume, 1ull << 40, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_int_equal(bench_write(&bench, (1ull << 40) - 4096, pattern(1, 4096), 4096, 0), 0);
	call.done = false;
	volume_rename(bench.volume, "a", &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	volume_unref(bench.volume);
	volume = pool_find_volume(bench.pool, "v07");
	call.done = false;
	volume_delete(volume, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	assert_null(pool_find_volume(bench.pool, "v07"));
	bench.volume = NULL;
	assert_int_equal(bench_close(&bench), 0);
	assert_int_equal(bench_open(&bench, 1), 0);
	volume = pool_volume_next(bench.pool, NULL);
	assert_string_equal(volume->name, "a");
	assert_int_equal(volume_size(volume), 1ull << 40);
	bench.volume = volume;
	assert_int_equal(bench_read(&bench, 0, room, 4096), 0);
	assert_memory_equal(room, pattern(0, 4096), 4096);
	assert_int_equal(bench_read(&bench, (1ull << 40) - 4096, room, 4096), 0);
	assert_memory_equal(room, pattern(1, 4096), 4096);
	for (unsigned i = 0; i < 200; i++)
		loop_poll(bench.loop, 1000000);
	assert_int_equal(bench_check(&bench, true), 0);
	pool_get_info(bench.pool, &info);
	assert_int_equal(info.volume_count, 19);
	assert_int_equal(info.used_bytes, 20 * 65536);
	bench_finish(&bench);
}

/* VOLUME_IN_PLACE: what is mapped is overwritten where it is, the rest stays as it is. */
static bool on_device(struct bench *bench, const char *data)
{
	bool found = false;
	FILE *file = fopen(bench->path[0], "rb");

	assert_non_null(file);
	while (!found && fread(room, 1, 4096, file) == 4096)
		found = memcmp(room, data, 4096) == 0;
	fclose(file);
	return found;
}

static void test_in_place(void **state)
{
	static char old[4096] __attribute__((aligned(4096)));
	struct bench bench;

	(void)state;
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, POOL_SIZE), 0);
	assert_int_equal(bench_volume(&bench, "v", VOLUME_SIZE), 0);
	assert_int_equal(volume_erasable(bench.volume), 0);
	memcpy(old, pattern(1, 4096), 4096);
	assert_int_equal(bench_write(&bench, 8192, old, 4096, VOLUME_FUA), 0);
	assert_true(on_device(&bench, old));
	assert_int_equal(bench_write(&bench, 0, pattern(2, 65536), 65536, VOLUME_IN_PLACE), 0);
	assert_int_equal(bench_flush(&bench), 0);
	assert_int_equal(volume_used_bytes(bench.volume), 4096);
	assert_int_equal(bench_read(&bench, 0, room, 65536), 0);
	assert_memory_equal(room + 8192, pattern(2, 65536) + 8192, 4096);
	assert_int_equal(room[0], 0);
	assert_memory_equal(room, room + 1, 8191);
	assert_memory_equal(room + 12288, room, 8192);
	assert_false(on_device(&bench, old));
	assert_int_equal(bench_check(&bench, true), 0);
	bench_finish(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_straight_path),  cmocka_unit_test(test_kill_after_flush),
	    cmocka_unit_test(test_random),         cmocka_unit_test(test_two_loops),
	    cmocka_unit_test(test_damaged_node),   cmocka_unit_test(test_damaged_data),
	    cmocka_unit_test(test_scarce_buffers), cmocka_unit_test(test_superblocks),
	    cmocka_unit_test(test_refusals),       cmocka_unit_test(test_scrub_stutters),
	    cmocka_unit_test(test_full),           cmocka_unit_test(test_volumes),
	    cmocka_unit_test(test_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
