/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/heap.h"
#include "replication/seed_stream.h"

/* A seed in memory: written, read, cut at each byte, each byte of it another. */

#define ROOM (256u << 10)

static struct memory {
	struct seed_bytes bytes;
	uint8_t at[ROOM];
	size_t length;
} memory;

static int64_t memory_read(struct seed_bytes *bytes, void *data, size_t length, uint64_t offset)
{
	(void)bytes;
	if (offset >= memory.length)
		return 0;
	if (length > memory.length - offset)
		length = memory.length - offset;
	memcpy(data, memory.at + offset, length);
	return (int64_t)length;
}

static int memory_write(struct seed_bytes *bytes, const void *data, size_t length, uint64_t offset)
{
	(void)bytes;
	if (offset > ROOM || length > ROOM - offset)
		return -ENOSPC;
	memcpy(memory.at + offset, data, length);
	if (offset + length > memory.length)
		memory.length = offset + length;
	return 0;
}

#define RECORDS 12u

static uint8_t content[RECORDS][4096];
static unsigned seen;

static struct pack_record record_of(unsigned i)
{
	return (struct pack_record){i < 8 ? 0 : 3, (uint64_t)(i < 8 ? i : i - 8) * 8192, 4096,
				    content[i]};
}

static int look(struct seed_reading *reading, const struct pack_record *record, struct err *err)
{
	struct pack_record want = record_of(seen);

	(void)reading;
	(void)err;
	assert_true(seen < RECORDS);
	assert_int_equal(record->member, want.member);
	assert_int_equal(record->offset, want.offset);
	assert_memory_equal(record->data, want.data, 4096);
	seen++;
	return 0;
}

static struct seed_reading reading = {.record = look};

static void head(struct seed *seed)
{
	*seed = (struct seed){.epoch = 7, .wall_ns = 99, .lineage = {.count = 1}};
	memset(seed->group, 5, 16);
	seed->definition = heap_strdup("{\"members\":[{\"index\":0,\"size\":1048576},"
				       "{\"index\":3,\"size\":65536}]}");
}

/* Records from the @first on, and the end. */
static void write_rest(struct seed *seed, enum pack_kind kind, unsigned first)
{
	struct seed_writer writer;

	assert_int_equal(seed_writer_open(&writer, &memory.bytes, seed, kind), 0);
	if (seed->at == 0)
		assert_int_equal(seed_begin(&writer), 0);
	for (unsigned i = first; i < RECORDS; i++) {
		struct pack_record record = record_of(i);

		assert_int_equal(seed_record(&writer, &record), 0);
	}
	assert_int_equal(seed_seal(&writer), 0);
	seed_writer_close(&writer);
}

static void make(enum pack_kind kind)
{
	struct seed seed;

	memory.bytes = (struct seed_bytes){.read = memory_read, .write = memory_write};
	memory.length = 0;
	for (unsigned i = 0; i < RECORDS; i++)
		memset(content[i], (int)(i + 1), sizeof content[i]);
	for (unsigned i = 0; i < RECORDS; i += 3) /* not everything gets smaller */
		for (unsigned k = 0; k < sizeof content[i]; k++)
			content[i][k] = (uint8_t)((k * 2654435761u + i) >> 13);
	head(&seed);
	write_rest(&seed, kind, 0);
	seed_finish(&seed);
}

static int go_through(struct seed *seed)
{
	struct err err = {0};
	int result;

	seen = 0;
	result = seed_read(&memory.bytes, &reading, seed, &err);
	assert_true(result == 0 || err.text[0]);
	return result;
}

static void comes_back(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < PACK_KINDS; kind++) {
		struct seed seed;

		make((enum pack_kind)kind);
		assert_int_equal(go_through(&seed), 0);
		assert_true(seed.sealed && seed.epoch == 7 && seed.wall_ns == 99 &&
			    seen == RECORDS);
		assert_int_equal(seed.at, memory.length);
		assert_int_equal(seed.size[3], 65536);
		seed_finish(&seed);
	}
}

/* Whole only when it is; and what is there goes on to a whole one. */
static void goes_on(void **state)
{
	size_t whole;

	(void)state;
	make(PACK_OFF);
	whole = memory.length;
	for (size_t cut = 0; cut < whole; cut += cut < 1024 ? 1 : 97) {
		struct seed seed;

		make(PACK_OFF);
		memory.length = cut;
		assert_int_equal(go_through(&seed), -ENODATA);
		assert_true(seed.at <= cut && !seed.sealed);
		if (seed.definition && seed.digest.state) {
			memory.length = seed.at;
			write_rest(&seed, PACK_LZ4, seen);
			seed_finish(&seed);
			assert_int_equal(go_through(&seed), 0);
			assert_int_equal(seen, RECORDS);
		}
		seed_finish(&seed);
	}
}

static void each_byte_counts(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 2; kind++) {
		make((enum pack_kind)kind);
		for (size_t at = 0; at < memory.length; at += at < 600 ? 1 : 13) {
			struct seed seed;
			int result;

			memory.at[at] ^= 0x10;
			result = go_through(&seed);
			assert_true(result < 0 && !seed.sealed);
			memory.at[at] ^= 0x10;
			seed_finish(&seed);
		}
	}
}

static void nothing_behind(void **state)
{
	struct seed seed;

	(void)state;
	make(PACK_LZ4);
	memory.at[memory.length++] = 0;
	assert_int_equal(go_through(&seed), -EBADMSG);
	assert_false(seed.sealed);
	seed_finish(&seed);
}

/* Beyond a member, of none, or back to where one has been. */
static void records_are_bounded(void **state)
{
	const struct pack_record wrong[] = {{3, 65536, 4096, content[0]},
					    {3, 61440, 8192, NULL},
					    {1, 0, 4096, content[0]},
					    {0, 0, 4096, content[0]}};

	(void)state;
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct pack_record first = {0, 0, 4096, content[1]};
		struct seed_writer writer;
		struct seed seed;
		struct err err = {0};
		struct seed_reading plain = {0};

		make(PACK_OFF);
		memory.length = 0;
		head(&seed);
		assert_int_equal(seed_writer_open(&writer, &memory.bytes, &seed, PACK_OFF), 0);
		assert_int_equal(seed_begin(&writer), 0);
		assert_int_equal(seed_record(&writer, &first), 0);
		assert_int_equal(seed_record(&writer, &wrong[i]), 0);
		assert_int_equal(seed_seal(&writer), 0);
		seed_writer_close(&writer);
		seed_finish(&seed);
		assert_int_equal(seed_read(&memory.bytes, &plain, &seed, &err), -EBADMSG);
		seed_finish(&seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(comes_back),          cmocka_unit_test(goes_on),
	    cmocka_unit_test(each_byte_counts),    cmocka_unit_test(nothing_behind),
	    cmocka_unit_test(records_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
