/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "replication/calendar.h"

#define MIB ((uint64_t)1 << 20)

static struct calendar calendar;
static struct err err;

static void take(const char *text)
{
	assert_int_equal(calendar_parse(text, &calendar, &err), 0);
}

/* The limit at a local time, in MiB; 1000: no rule fits. */
static unsigned at(int year, int month, int day, int hour, int minute)
{
	struct tm tm = {.tm_year = year - 1900,
			.tm_mon = month - 1,
			.tm_mday = day,
			.tm_hour = hour,
			.tm_min = minute,
			.tm_isdst = -1};

	return (unsigned)(calendar_limit(&calendar, (int64_t)mktime(&tm), 1000 * MIB) / MIB);
}

static void zone(const char *name)
{
	setenv("TZ", name, 1);
	tzset();
}

/* 2026-11-16 is a Monday. */
static void test_working_hours(void **state)
{
	(void)state;
	zone("UTC");
	take("mon-fri 08:00-18:00 20M");
	assert_int_equal(at(2026, 11, 16, 7, 59), 1000);
	assert_int_equal(at(2026, 11, 16, 8, 0), 20);
	assert_int_equal(at(2026, 11, 20, 17, 59), 20);
	assert_int_equal(at(2026, 11, 20, 18, 0), 1000);
	assert_int_equal(at(2026, 11, 21, 12, 0), 1000);
	assert_int_equal(at(2026, 11, 22, 12, 0), 1000);
}

static void test_past_midnight(void **state)
{
	(void)state;
	zone("UTC");
	take("sat 22:00-06:00 5M");
	assert_int_equal(at(2026, 11, 21, 21, 59), 1000);
	assert_int_equal(at(2026, 11, 21, 22, 0), 5);
	assert_int_equal(at(2026, 11, 22, 5, 59), 5); /* Saturday's night */
	assert_int_equal(at(2026, 11, 22, 6, 0), 1000);
	assert_int_equal(at(2026, 11, 21, 5, 0), 1000);
	assert_int_equal(at(2026, 11, 22, 23, 0), 1000);
}

static void test_the_first_that_fits(void **state)
{
	(void)state;
	zone("UTC");
	take("wed 12:00-13:00 none; mon-fri 08:00-18:00 20M ;daily 00:00-24:00 80M;");
	assert_int_equal(calendar.count, 3);
	assert_int_equal(at(2026, 11, 18, 12, 30), 0);
	assert_int_equal(at(2026, 11, 18, 13, 0), 20);
	assert_int_equal(at(2026, 11, 19, 12, 30), 20);
	assert_int_equal(at(2026, 11, 22, 0, 0), 80);
	assert_int_equal(at(2026, 11, 22, 23, 59), 80);
	take("fri-mon,Wed 00:00-24:00 1M");
	assert_int_equal(at(2026, 11, 16, 1, 0), 1);
	assert_int_equal(at(2026, 11, 17, 1, 0), 1000);
	assert_int_equal(at(2026, 11, 18, 1, 0), 1);
	assert_int_equal(at(2026, 11, 19, 1, 0), 1000);
	assert_int_equal(at(2026, 11, 22, 1, 0), 1);
	take("none");
	assert_int_equal(at(2026, 11, 22, 1, 0), 1000);
	take("");
	assert_int_equal(calendar.count, 0);
}

/* The clock on the wall: at other moments before and after the change to summer time. */
static void test_summer_time(void **state)
{
	const int64_t day = 86400, saturday = 1774652400; /* 2026-03-28 00:00 +01:00 */

	(void)state;
	zone("CET-1CEST,M3.5.0,M10.5.0/3");
	take("daily 08:00-18:00 20M");
	assert_true(calendar_limit(&calendar, saturday + 8 * 3600, 1) == 20 * MIB);
	assert_true(calendar_limit(&calendar, saturday + 8 * 3600 - 1, 1) == 1);
	assert_true(calendar_limit(&calendar, saturday + day + 7 * 3600, 1) == 20 * MIB);
	assert_true(calendar_limit(&calendar, saturday + day + 7 * 3600 - 1, 1) == 1);
	assert_true(calendar_limit(&calendar, saturday + day + 17 * 3600, 1) == 1);
	zone("UTC");
}

static void test_what_is_no_calendar(void **state)
{
	static const char *const wrong[] = {
	    "mon-fri",
	    "mon-fri 08:00-18:00",
	    "mon-fri 20M",
	    "08:00-18:00 20M",
	    "mun 08:00-18:00 20M",
	    "monday 08:00-18:00 20M",
	    "mon- 08:00-18:00 20M",
	    "mon, 08:00-18:00 20M",
	    "mon 8:00-18:00 20M",
	    "mon 08:00-25:00 20M",
	    "mon 08:60-18:00 20M",
	    "mon 24:00-08:00 20M",
	    "mon 08:00-24:01 20M",
	    "mon 08:00-08:00 20M",
	    "mon 08:00 18:00 20M",
	    "mon 08:00-18:00 fast",
	    "mon 08:00-18:00 -1",
	    "mon 08:00-18:00 20M 30M",
	    "mon 08:00-18:00 20M tue 08:00-18:00 30M",
	    ";",
	    ";;mon 08:00-18:00 20M",
	    "none; mon 08:00-18:00 20M",
	};
	char longer[CALENDAR_TEXT_MAX + 200] = "";
	struct calendar before;

	(void)state;
	take("mon 08:00-18:00 20M");
	before = calendar;
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		err.text[0] = '\0';
		if (calendar_parse(wrong[i], &calendar, &err) != -EINVAL || !err.text[0])
			fail_msg("\"%s\" is taken", wrong[i]);
		assert_memory_equal(&calendar, &before, sizeof before);
	}
	for (unsigned i = 0; i <= CALENDAR_RULES_MAX; i++)
		strncat(longer, "mon 08:00-18:00 20M;", sizeof longer - strlen(longer) - 1);
	assert_int_equal(calendar_parse(longer, &calendar, &err), -EINVAL);
	longer[CALENDAR_RULES_MAX * 20] = '\0';
	assert_int_equal(calendar_parse(longer, &calendar, &err), 0);
	memset(longer, ' ', sizeof longer - 1);
	assert_int_equal(calendar_parse(longer, &calendar, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_working_hours),       cmocka_unit_test(test_past_midnight),
	    cmocka_unit_test(test_the_first_that_fits), cmocka_unit_test(test_summer_time),
	    cmocka_unit_test(test_what_is_no_calendar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
