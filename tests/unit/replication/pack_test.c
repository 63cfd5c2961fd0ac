/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "replication/pack.h"

static uint8_t data[WIRE_DATA_MAX];
static const enum pack_kind kinds[] = {PACK_LZ4, PACK_ZSTD};

static void fill_with_text(void)
{
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t) "a guest's record "[i % 17];
}

static void fill_with_noise(void)
{
	uint64_t state = 42;

	for (size_t i = 0; i < sizeof data; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		data[i] = (uint8_t)(state >> 56);
	}
}

static struct wire_message message_of(const struct packer *packer, size_t size)
{
	return (struct wire_message){.type = WIRE_PACKED,
				     .kind = (uint8_t)packer->kind,
				     .length = packer->used,
				     .data = packer->packed,
				     .data_length = size};
}

/* Three records: some data, zeros of any length, the smallest. */
static size_t pack_three(struct packer *packer)
{
	const struct pack_record records[] = {{1, 8192, 65536, data},
					      {63, 0, (uint64_t)1 << 40, NULL},
					      {0, (uint64_t)1 << 50, 512, data}};

	fill_with_text();
	packer_clear(packer);
	for (unsigned i = 0; i < 3; i++)
		assert_true(packer_add(packer, &records[i]));
	assert_true(packer->plain == 2 * WIRE_WRITE_HEAD + 65536 + 512 + WIRE_ZERO_HEAD);
	return packer_squeeze(packer);
}

static void expect(const struct unpacker *unpacker, size_t length)
{
	struct pack_record record;
	size_t at = 0;

	assert_int_equal(pack_next(unpacker->raw, length, &at, &record), 1);
	assert_true(record.member == 1 && record.offset == 8192 && record.length == 65536);
	assert_memory_equal(record.data, data, 65536);
	assert_int_equal(pack_next(unpacker->raw, length, &at, &record), 1);
	assert_true(record.member == 63 && record.length == (uint64_t)1 << 40 && !record.data);
	assert_int_equal(pack_next(unpacker->raw, length, &at, &record), 1);
	assert_true(record.offset == (uint64_t)1 << 50);
	assert_memory_equal(record.data, data, 512);
	assert_int_equal(pack_next(unpacker->raw, length, &at, &record), 0);
}

static void test_there_and_back(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct unpacker unpacker = {0};
		struct packer packer;
		struct wire_message message;
		size_t size;

		assert_int_equal(packer_open(&packer, kinds[i]), 0);
		size = pack_three(&packer);
		assert_true(size > 0 && size < 4096);
		message = message_of(&packer, size);
		assert_int_equal(unpack(&unpacker, &message), 0);
		expect(&unpacker, message.length);
		unpacker_close(&unpacker);
		packer_close(&packer);
	}
}

static void test_noise_is_left_as_it_is(void **state)
{
	(void)state;
	fill_with_noise();
	for (unsigned i = 0; i < 2; i++) {
		const struct pack_record record = {0, 0, WIRE_DATA_MAX, data};
		struct packer packer;
		unsigned tried = 0;

		assert_int_equal(packer_open(&packer, kinds[i]), 0);
		assert_true(packer_add(&packer, &record));
		assert_false(packer_add(&packer, &record)); /* there is room for one */
		for (unsigned n = 0; n < 200; n++) {
			tried += packer.skip == 0;
			assert_true(packer_squeeze(&packer) == 0);
		}
		assert_true(tried < 20); /* it is not looked for all the time */
		packer_clear(&packer);
		fill_with_text();
		assert_true(packer_add(&packer, &record));
		for (unsigned n = 0; packer_squeeze(&packer) == 0; n++)
			assert_true(n < 40); /* and found again */
		assert_true(packer_squeeze(&packer) > 0);
		fill_with_noise();
		packer_close(&packer);
	}
}

/* Every length but the true one, every cut, many a flip: nothing but what was packed comes out, and
 * never more than there was said to be. */
static void test_what_is_damaged(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct unpacker unpacker = {0};
		struct packer packer;
		struct wire_message message, other;
		size_t size;

		assert_int_equal(packer_open(&packer, kinds[i]), 0);
		size = pack_three(&packer);
		message = other = message_of(&packer, size);
		other.length++;
		assert_int_equal(unpack(&unpacker, &other), -EPROTO);
		other.length = 512;
		assert_int_equal(unpack(&unpacker, &other), -EPROTO);
		other.length = WIRE_RAW_MAX + 1;
		assert_int_equal(unpack(&unpacker, &other), -EPROTO);
		other.length = 0;
		assert_int_equal(unpack(&unpacker, &other), -EPROTO);
		for (unsigned kind = 0; kind < 256; kind++) {
			other = message;
			other.kind = (uint8_t)kind;
			if (kind != packer.kind)
				assert_int_equal(unpack(&unpacker, &other), -EPROTO);
		}
		for (size_t cut = 0; cut < size; cut++) {
			other = message;
			other.data_length = cut;
			assert_int_equal(unpack(&unpacker, &other), -EPROTO);
		}
		for (size_t bit = 0; bit < size * 8; bit++) {
			packer.packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_in_range(-unpack(&unpacker, &message), 0, EPROTO);
			packer.packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		assert_int_equal(unpack(&unpacker, &message), 0);
		expect(&unpacker, message.length);
		unpacker_close(&unpacker);
		packer_close(&packer);
	}
}

/* 4 GiB in a few bytes: no more than WIRE_RAW_MAX of it is ever written. */
static void test_bombs(void **state)
{
	/* Zstandard (RFC 8878): a frame with a content size of 4 GiB - 1, a block of 128 KiB of one
	 * byte, again and again. LZ4: a match that goes on for as long as there are bytes of 255.
	 */
	static uint8_t bomb[4096];
	struct unpacker unpacker = {0};
	struct wire_message message = {.type = WIRE_PACKED,
				       .kind = PACK_ZSTD,
				       .length = WIRE_RAW_MAX,
				       .data = bomb,
				       .data_length = sizeof bomb};
	size_t at = 9;

	(void)state;
	put32(bomb, 0xfd2fb528);
	bomb[4] = 0xa0;
	put32(bomb + 5, UINT32_MAX);
	while (at + 4 <= sizeof bomb) {
		bomb[at] = 0x02; /* RLE, not the last, 128 KiB */
		bomb[at + 1] = 0x00;
		bomb[at + 2] = 0x10;
		bomb[at + 3] = 0x77;
		at += 4;
	}
	assert_int_equal(unpack(&unpacker, &message), -EPROTO);
	memset(bomb, 0xff, sizeof bomb);
	bomb[0] = 0x1f; /* a literal, then a match of 15 and more */
	bomb[1] = 0x77;
	put16(bomb + 2, 1);
	message.kind = PACK_LZ4;
	assert_int_equal(unpack(&unpacker, &message), -EPROTO);
	unpacker_close(&unpacker);
}

static void test_what_is_no_record(void **state)
{
	static const struct {
		unsigned at;
		uint64_t value;
		unsigned bytes;
	} wrong[] = {{0, WIRE_MEMBERS_MAX, 2},
		     {2, 2, 1},
		     {3, 1, 1},
		     {4, 0, 8},
		     {4, 511, 8},
		     {4, WIRE_DATA_MAX + 512, 8},
		     {4, UINT64_MAX - 511, 8},
		     {12, 1, 8},
		     {12, UINT64_MAX - 511, 8}};
	uint8_t raw[PACK_HEAD + 512];
	struct pack_record record;

	(void)state;
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		size_t at = 0;
		uint8_t field[8];

		memset(raw, 0, sizeof raw);
		put64(raw + 4, 512);
		assert_int_equal(pack_next(raw, sizeof raw, &at, &record), 1);
		assert_int_equal(at, sizeof raw);
		at = 0;
		assert_int_equal(pack_next(raw, sizeof raw - 1, &at, &record), -EPROTO);
		assert_int_equal(pack_next(raw, PACK_HEAD - 1, &at, &record), -EPROTO);
		put64(field, wrong[i].value);
		memcpy(raw + wrong[i].at, field, wrong[i].bytes);
		assert_int_equal(pack_next(raw, sizeof raw, &at, &record), -EPROTO);
		assert_int_equal(at, 0);
	}
}

static void test_names(void **state)
{
	enum pack_kind kind;
	struct err err = {0};

	(void)state;
	for (unsigned i = 0; i < PACK_KINDS; i++) {
		assert_int_equal(pack_kind_parse(pack_kind_name((enum pack_kind)i), &kind, &err),
				 0);
		assert_int_equal(kind, i);
	}
	assert_int_equal(pack_kind_parse("", &kind, &err), -EINVAL);
	assert_int_equal(pack_kind_parse("gzip", &kind, &err), -EINVAL);
	assert_int_equal(pack_kind_parse("LZ4", &kind, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),    cmocka_unit_test(test_noise_is_left_as_it_is),
	    cmocka_unit_test(test_what_is_damaged),   cmocka_unit_test(test_bombs),
	    cmocka_unit_test(test_what_is_no_record), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
