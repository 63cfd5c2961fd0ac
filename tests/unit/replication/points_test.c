/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "replication/points.h"

static const uint8_t group[16] = {0x1a, 0x2b, 0x3c, 0x4d, 5}, other[16] = {0x1a, 0x2b, 0x3c, 0x4e};

static void a_name_tells_epoch_and_time(void **state)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	uint64_t epoch = 0, wall_ms = 0;

	(void)state;
	points_name(group, 4711, 1700000000123456789ull, name);
	assert_string_equal(name, "point-1a2b3c4d-4711-1700000000123");
	assert_true(points_name_read(name, group, &epoch, &wall_ms));
	assert_int_equal(epoch, 4711);
	assert_int_equal(wall_ms, 1700000000123);
	assert_false(points_name_read(name, other, &epoch, &wall_ms));
}

static void the_largest_numbers_fit(void **state)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	uint64_t epoch, wall_ms;

	(void)state;
	points_name(group, UINT64_MAX, UINT64_MAX, name);
	assert_true(strlen(name) < SNAPSHOT_NAME_MAX);
	assert_true(points_name_read(name, group, &epoch, &wall_ms));
	assert_true(epoch == UINT64_MAX && wall_ms == UINT64_MAX / 1000000);
}

static void other_names_are_none(void **state)
{
	static const char *const names[] = {
	    "",
	    "point-",
	    "point-1a2b3c4d",
	    "point-1a2b3c4d-",
	    "point-1a2b3c4d-5",
	    "point-1a2b3c4d-5-",
	    "point-1a2b3c4d-05-7",
	    "point-1a2b3c4d-5-7x",
	    "point-1a2b3c4d--5-7",
	    "point-1a2b3c4d-+5-7",
	    "point-1A2B3C4D-5-7",
	    "xpoint-1a2b3c4d-5-7",
	    "point-1a2b3c4d-99999999999999999999999-7",
	    "point-1a2b3c4d-5-99999999999999999999999",
	    "conflict-1a2b3c4d5e6f-1700000000",
	};
	uint64_t epoch, wall_ms;

	(void)state;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		assert_false(points_name_read(names[i], group, &epoch, &wall_ms));
}

static void rules(void **state)
{
	struct keep keep;
	struct err err = {0};
	char text[16];

	(void)state;
	assert_int_equal(points_parse("10", &keep, &err), 0);
	assert_int_equal(keep.count[KEEP_LAST], 10);
	assert_int_equal(points_parse("0", &keep, &err), 0);
	for (unsigned i = 0; i < KEEP_KINDS; i++)
		assert_int_equal(keep.count[i], 0);
	assert_int_equal(points_parse("last=4,hourly=24,daily=7", &keep, &err), 0);
	assert_int_equal(keep.count[KEEP_LAST], 4);
	assert_int_equal(keep.count[KEEP_HOURLY], 24);
	assert_int_equal(keep.count[KEEP_DAILY], 7);
	snprintf(text, sizeof text, "%u", POINTS_MAX);
	assert_int_equal(points_parse(text, &keep, &err), 0);
	snprintf(text, sizeof text, "%u", POINTS_MAX + 1);
	assert_int_equal(points_parse(text, &keep, &err), -EINVAL);
	assert_int_equal(points_parse("all", &keep, &err), -EINVAL);
	assert_int_equal(points_parse("", &keep, &err), -EINVAL);
	assert_int_equal(points_parse("-1", &keep, &err), -EINVAL);
	assert_int_equal(points_parse("10x", &keep, &err), -EINVAL);
	assert_int_equal(points_parse("last=500,hourly=500", &keep, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_name_tells_epoch_and_time),
	    cmocka_unit_test(the_largest_numbers_fit),
	    cmocka_unit_test(other_names_are_none),
	    cmocka_unit_test(rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
