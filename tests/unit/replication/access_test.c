/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in, in parts: put together, bounded, and told only when it has changed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/heap.h"
#include "replication/access.h"

static uint8_t part[WIRE_TEXT_MAX];

static int add(struct access_heard *heard, size_t length, bool more)
{
	struct wire_message message = {
	    .type = WIRE_ACCESS, .fresh = more, .data = part, .data_length = length};

	return access_add(heard, &message);
}

static void put_together(void **state)
{
	struct access_heard heard = {0};

	(void)state;
	memset(part, 'a', sizeof part);
	assert_int_equal(add(&heard, sizeof part, true), 0);
	assert_false(heard.whole);
	memset(part, 'b', sizeof part);
	assert_int_equal(add(&heard, 3, false), 0);
	assert_true(heard.whole);
	assert_int_equal(heard.length, sizeof part + 3);
	assert_int_equal(heard.data[sizeof part - 1], 'a');
	assert_int_equal(heard.data[sizeof part + 2], 'b');
	/* the next one is not behind it */
	assert_int_equal(add(&heard, 2, false), 0);
	assert_int_equal(heard.length, 2);
	assert_memory_equal(heard.data, "bb", 2);
	assert_int_equal(add(&heard, 0, false), 0);
	assert_true(heard.whole && heard.length == 0);
	access_clear(&heard);
	assert_null(heard.data);
}

static void bounded(void **state)
{
	struct access_heard heard = {0};

	(void)state;
	for (unsigned i = 0; i < ACCESS_MAX / sizeof part; i++)
		assert_int_equal(add(&heard, sizeof part, true), 0);
	assert_int_equal(heard.length, ACCESS_MAX);
	assert_int_equal(add(&heard, 1, true), -EFBIG);
	access_clear(&heard);
	heap_fail_after(0);
	assert_int_equal(add(&heard, 1, true), -ENOMEM);
	heap_fail_after(-1);
	access_clear(&heard);
}

static void told_once(void **state)
{
	struct access_told told = {0};

	(void)state;
	assert_true(access_is_new(&told, (const uint8_t *)"", 0));
	assert_false(access_is_new(&told, (const uint8_t *)"", 0));
	assert_true(access_is_new(&told, (const uint8_t *)"one", 3));
	assert_false(access_is_new(&told, (const uint8_t *)"one", 3));
	assert_true(access_is_new(&told, (const uint8_t *)"two", 3));
	assert_true(access_is_new(&told, (const uint8_t *)"one", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(put_together),
	    cmocka_unit_test(bounded),
	    cmocka_unit_test(told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
