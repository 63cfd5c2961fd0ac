/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, sizes, checksums, lists, the heap's failure injection. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/crc32c.h"
#include "core/err.h"
#include "core/heap.h"
#include "core/list.h"
#include "core/size.h"

/* RFC 3720 B.4 */
static void test_crc32c_vectors(void **state)
{
	uint8_t zeros[32] = {0}, ones[32], up[32], down[32];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (unsigned i = 0; i < 32; i++) {
		up[i] = (uint8_t)i;
		down[i] = (uint8_t)(31 - i);
	}
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(crc32c(0, up, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, down, 32), 0x113fdb5c);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
}

/* The three-stream path, the word path and the byte path agree at every split and length. */
static void test_crc32c_chained(void **state)
{
	static uint8_t data[3 * 4096 + 7];
	uint32_t by_byte = 0, whole;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 13);
	for (size_t i = 0; i < sizeof(data); i++)
		by_byte = crc32c(by_byte, data + i, 1);
	whole = crc32c(0, data, sizeof(data));
	assert_int_equal(whole, by_byte);
	for (size_t split = 0; split <= sizeof(data); split += 61) {
		struct iovec iov[2] = {{data, split}, {data + split, sizeof(data) - split}};

		assert_int_equal(crc32c_iov(0, iov, 2), whole);
	}
}

/* Whatever the processor, each way it can do is the same: at every length, start and alignment. */
static void test_crc32c_ways(void **state)
{
	static uint8_t data[1100];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * i * 31 + i / 3);
	for (enum crc32c_way way = CRC32C_WORDS; way <= CRC32C_FOLDS; way++)
		for (size_t length = 0; length <= sizeof(data); length++) {
			size_t at = length % 64 < sizeof(data) - length ? length % 64 : 0;
			uint32_t crc = (uint32_t)length * 0x9e3779b9u, by_table = crc;

			if (!crc32c_by(way, &crc, data + at, length))
				break;
			assert_true(crc32c_by(CRC32C_TABLES, &by_table, data + at, length));
			assert_int_equal(crc, by_table);
		}
}

static void test_size_parse(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
	    {"0", 0},
	    {"512", 512},
	    {"4K", 4096},
	    {"1KiB", 1024},
	    {"1kB", 1000},
	    {"100G", 100ull << 30},
	    {"1TiB", 1ull << 40},
	    {"1.5T", 3ull << 39},
	    {"0.5G", 1ull << 29},
	    {"16777215T", 16777215ull << 40},
	};
	static const char *const bad[] = {"",
					  "-1",
					  "+1",
					  " 1",
					  "1 G",
					  "G",
					  "1X",
					  "1g",
					  "1..5",
					  "1.",
					  "0x10",
					  "1.5.5",
					  "1GG",
					  "1e3",
					  "NaN",
					  "16777216T",
					  "18446744073709551616"};
	uint64_t bytes;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(size_parse(good[i].text, &bytes, &err), 0);
		assert_true(bytes == good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bytes = 77;
		memset(&err, 0, sizeof(err));
		assert_true(size_parse(bad[i], &bytes, &err) < 0);
		assert_true(bytes == 77);
		assert_non_null(strstr(err.text, bad[i]));
	}
}

static void test_size_format(void **state)
{
	char text[32];

	(void)state;
	assert_string_equal(size_format(0, text, sizeof(text)), "0 B");
	assert_string_equal(size_format(512, text, sizeof(text)), "512 B");
	assert_string_equal(size_format(20ull << 30, text, sizeof(text)), "20 GiB");
	assert_string_equal(size_format(3ull << 39, text, sizeof(text)), "1.5 TiB");
	assert_string_equal(size_format(UINT64_MAX, text, sizeof(text)), "16.0 EiB");
}

static void test_duration_parse(void **state)
{
	uint64_t ns;

	(void)state;
	assert_int_equal(duration_parse("500ms", &ns, NULL), 0);
	assert_true(ns == 500000000);
	assert_int_equal(duration_parse("10m", &ns, NULL), 0);
	assert_true(ns == 600ull * 1000000000);
	assert_true(duration_parse("5 s", &ns, NULL) < 0);
	assert_true(duration_parse("300000000d", &ns, NULL) == -ERANGE);
}

static void test_err_wrap(void **state)
{
	struct err err = {0};
	char longest[600];

	(void)state;
	assert_int_equal(err_wrap(&err, "nothing"), 0);
	assert_int_equal(err_set(&err, -ENOSPC, "pool %s is full", "tank"), -ENOSPC);
	assert_int_equal(err_wrap(&err, "volume %s", "a"), -ENOSPC);
	assert_string_equal(err.text, "volume a: pool tank is full");
	assert_int_equal(err_set(NULL, -EIO, "nobody listens"), -EIO);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	err_set(&err, -EIO, "%s", longest);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	err_wrap(&err, "disk");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_memory_equal(err.text, "disk: xxx", 9);
}

struct item {
	int value;
	struct list link;
};

static void test_list(void **state)
{
	struct list head, other;
	struct item items[4];
	int expected = 0;

	(void)state;
	list_init(&head);
	list_init(&other);
	assert_true(list_empty(&head));
	assert_null(list_pop_front(&head));
	for (int i = 0; i < 4; i++) {
		items[i].value = i;
		list_push_back(i < 2 ? &head : &other, &items[i].link);
	}
	list_splice_back(&head, &other);
	assert_true(list_empty(&other));
	list_for_each (it, &head)
		assert_int_equal(list_entry(it, struct item, link)->value, expected++);
	assert_int_equal(expected, 4);
	list_for_each_safe (it, &head)
		list_remove(it);
	assert_true(list_empty(&head));
	list_remove(&items[0].link); /* again: harmless */
}

static void test_heap_fails_on_demand(void **state)
{
	void *memory;

	(void)state;
	heap_fail_after(1);
	memory = heap_alloc(8);
	assert_non_null(memory);
	assert_null(heap_zalloc(8));
	assert_null(heap_strdup("x"));
	assert_null(heap_printf("%d", 1));
	assert_null(heap_aligned(4096, 4096));
	heap_fail_after(-1);
	heap_free(memory);
	memory = heap_aligned(4096, 8192);
	assert_int_equal((uintptr_t)memory % 4096, 0);
	heap_free(memory);
	assert_null(heap_zalloc_array(SIZE_MAX / 2, 8));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_crc32c_vectors),
	    cmocka_unit_test(test_crc32c_chained),
	    cmocka_unit_test(test_crc32c_ways),
	    cmocka_unit_test(test_size_parse),
	    cmocka_unit_test(test_size_format),
	    cmocka_unit_test(test_duration_parse),
	    cmocka_unit_test(test_err_wrap),
	    cmocka_unit_test(test_list),
	    cmocka_unit_test(test_heap_fails_on_demand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
