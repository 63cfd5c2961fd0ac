/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/heap.h"
#include "volumes/marks.h"

#define CHUNKS 70000u /* more than two leaves */

static bool plain[CHUNKS];
static struct marks marks;

static void same(void)
{
	uint64_t count = 0, at = 0, length, offset, seen = 0;

	for (unsigned i = 0; i < CHUNKS; i++)
		count += plain[i];
	assert_true(marks.count == count);
	while (marks_next(&marks, at, UINT64_MAX, &offset, &length)) {
		for (uint64_t i = 0; i < length / MARKS_CHUNK; i++)
			assert_true(plain[offset / MARKS_CHUNK + i]);
		seen += length / MARKS_CHUNK;
		at = offset + length;
	}
	assert_true(seen == count);
}

static void test_against_an_array(void **state)
{
	(void)state;
	srandom(7);
	assert_int_equal(marks_init(&marks, (uint64_t)CHUNKS * MARKS_CHUNK), 0);
	for (unsigned round = 0; round < 300; round++) {
		uint64_t first = (uint64_t)random() % CHUNKS;
		uint64_t count = 1 + (uint64_t)random() % (round % 7 ? 100 : CHUNKS - first);
		bool on;

		if (count > CHUNKS - first)
			count = CHUNKS - first;
		if (round % 50 == 49) {
			marks_set_all(&marks);
			memset(plain, 1, sizeof plain);
		}
		on = random() % 2;
		if (on)
			marks_set(&marks, first * MARKS_CHUNK, count * MARKS_CHUNK);
		else
			assert_int_equal(
			    marks_clear(&marks, first * MARKS_CHUNK, count * MARKS_CHUNK), 0);
		for (uint64_t i = first; i < first + count; i++)
			plain[i] = on;
		same();
	}
	marks_finish(&marks);
}

static void test_parts_of_chunks(void **state)
{
	uint64_t offset, length;

	(void)state;
	assert_int_equal(marks_init(&marks, 5 * MARKS_CHUNK + 4096), 0);
	marks_set(&marks, MARKS_CHUNK - 512, 1024);
	assert_true(marks.count == 2);
	assert_int_equal(marks_clear(&marks, 512, MARKS_CHUNK), 0);
	assert_true(marks.count == 2);
	marks_set(&marks, 5 * MARKS_CHUNK, 512);
	assert_true(marks_next(&marks, 2 * MARKS_CHUNK, UINT64_MAX, &offset, &length));
	assert_true(offset == 5 * MARKS_CHUNK && length == 4096);
	assert_false(marks_next(&marks, offset + length, UINT64_MAX, &offset, &length));
	assert_int_equal(marks_clear(&marks, 5 * MARKS_CHUNK, 4096), 0);
	assert_true(marks.count == 2);
	assert_int_equal(marks_grow(&marks, 3ull << 31), 0);
	assert_true(marks.count == 2);
	marks_set_all(&marks);
	assert_true(marks_bytes(&marks) == 3ull << 31);
	marks_finish(&marks);
}

static void test_no_further_than_asked(void **state)
{
	uint64_t offset, length, leaf = 2ull << 30;

	(void)state;
	assert_int_equal(marks_init(&marks, 3 * leaf), 0);
	assert_false(marks_next(&marks, 0, leaf, &offset, &length));
	marks_set(&marks, MARKS_CHUNK, 2 * leaf);
	assert_false(marks_any(&marks, 0, MARKS_CHUNK));
	assert_true(marks_any(&marks, 0, MARKS_CHUNK + 1));
	assert_true(marks_any(&marks, 2 * leaf, 4 * leaf));
	assert_false(marks_any(&marks, 2 * leaf + MARKS_CHUNK, 4 * leaf));
	assert_false(marks_any(&marks, 5 * leaf, leaf) || marks_any(&marks, leaf, 0));
	assert_true(marks_next(&marks, 0, leaf, &offset, &length));
	assert_true(offset == MARKS_CHUNK && length == leaf);
	assert_true(marks_next(&marks, 0, MARKS_CHUNK + 512, &offset, &length));
	assert_true(offset == MARKS_CHUNK && length == MARKS_CHUNK + 512);
	assert_true(marks_next(&marks, 2 * leaf, leaf, &offset, &length));
	assert_true(offset == 2 * leaf && length == MARKS_CHUNK);
	assert_false(marks_next(&marks, 5 * leaf, leaf, &offset, &length));
	marks_finish(&marks);
}

static void test_no_memory_marks_more(void **state)
{
	(void)state;
	assert_int_equal(marks_init(&marks, 5ull << 30), 0);
	heap_fail_after(0);
	marks_set(&marks, 3ull << 30, 512);
	heap_fail_after(-1);
	assert_true(marks_any(&marks, 3ull << 30, 512));
	assert_true(marks.count == 32768);
	heap_fail_after(0);
	assert_int_equal(marks_clear(&marks, 3ull << 30, MARKS_CHUNK), -ENOMEM);
	heap_fail_after(-1);
	assert_true(marks_any(&marks, 3ull << 30, 512));
	marks_finish(&marks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_against_an_array),
	    cmocka_unit_test(test_parts_of_chunks),
	    cmocka_unit_test(test_no_further_than_asked),
	    cmocka_unit_test(test_no_memory_marks_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
