/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshots/snapshots.h"
#include "tests/unit/snapshots/zurich.h"

/* Years of schedules. The clock is the test's. */

static struct tm local(int64_t time)
{
	time_t moment = (time_t)time;
	struct tm tm;

	assert_non_null(localtime_r(&moment, &tm));
	return tm;
}

static struct when parsed(const char *text)
{
	struct when when;
	struct err err = {0};

	assert_int_equal(when_parse(text, &when, &err), 0);
	return when;
}

static void times_are_read_strictly(void **state)
{
	static const char *const bad[] = {
	    "",           "often",       "30s",           "400d",
	    "1.5h x",     "* * * *",     "* * * * * *",   "60 * * * *",
	    "* 24 * * *", "* * 0 * *",   "* * 32 * *",    "* * * 13 *",
	    "* * * * 8",  "5-1 * * * *", "*/0 * * * *",   "1,,2 * * * *",
	    "a * * * *",  "-1 * * * *",  "1-2-3 * * * *", "99999999999 * * * *"};
	struct when when;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (when_parse(bad[i], &when, &err) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(parsed("15m").interval, 900);
	assert_int_equal(parsed("hourly").interval, 3600);
	assert_true(parsed("0 0 * * 7").weekdays == 1);
	assert_true(parsed("5/20 * * * *").minutes == (1ull << 5 | 1ull << 25 | 1ull << 45));
	assert_int_equal(when_next(&(struct when){.days = 0}, NULL, 0), INT64_MAX);
	when = parsed("0 0 31 2 *");
	assert_int_equal(when_next(&when, NULL, utc(2027, 1, 1, 0, 0)), INT64_MAX);
	when = parsed("0 0 29 2 *");
	assert_int_equal(when_next(&when, NULL, utc(2027, 1, 1, 0, 0)), utc(2028, 2, 28, 23, 0));
}

/* Each day of a year once, at the same local time; on the day without it with the change. */
static void a_year_of_days(void **state)
{
	struct when when = parsed("30 2 * * *");
	int64_t at = utc(2026, 12, 31, 23, 0);
	int day_before = -1;
	unsigned runs = 0;

	(void)state;
	for (at = when_next(&when, NULL, at); at < utc(2027, 12, 31, 23, 0);
	     at = when_next(&when, NULL, at)) {
		struct tm tm = local(at);

		assert_int_equal(tm.tm_yday, day_before + 1);
		day_before = tm.tm_yday;
		if (tm.tm_mon == 2 && tm.tm_mday == 28) {
			assert_int_equal(at, utc(2027, 3, 28, 1, 0)); /* 03:00, and no 02:30 */
		} else {
			assert_int_equal(tm.tm_hour, 2);
			assert_int_equal(tm.tm_min, 30);
		}
		if (tm.tm_mon == 9 && tm.tm_mday == 31)
			assert_int_equal(at, utc(2027, 10, 31, 0, 30)); /* the first of the two */
		runs++;
	}
	assert_int_equal(runs, 365);
}

/* Zones whose rules say it the other way round, or change by half an hour, or at midnight: each day
 * of the year once, the hour left out with the change, of the hour that comes twice the first. */
static void zones_of_all_kinds(void **state)
{
	static const struct {
		const char *zone, *every;
		int64_t left_out,
		    twice; /* runs on the days of the two changes; seconds since 1970 */
	} rows[] = {
	    /* Dublin: the winter is the "summer" time, an hour back. 28 March, 31 October. */
	    {"IST-1GMT0,M10.5.0,M3.5.0/1", "30 1 * * *", 1806195600, 1824942600},
	    {"CET-1CEST,M3.5.0,M10.5.0/3", "30 2 * * *", 1806195600, 1824942600},
	    /* Lord Howe: half an hour. 3 October, 4 April. */
	    {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "15 2 * * *", 1822491000, 1806767100},
	    /* Havana: from midnight to one. 14 March, 7 November. */
	    {"CST5CDT,M3.2.0/0,M11.1.0/1", "30 0 * * *", 1805000400, 1825561800},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct when when = parsed(rows[i].every);
		int64_t at = utc(2027, 1, 1, 12, 0), end = utc(2028, 1, 1, 12, 0);
		bool left_out = false, twice = false;
		unsigned runs = 0;

		setenv("TZ", rows[i].zone, 1);
		tzset();
		for (at = when_next(&when, NULL, at); at <= end; at = when_next(&when, NULL, at)) {
			left_out |= at == rows[i].left_out;
			twice |= at == rows[i].twice;
			runs++;
		}
		assert_int_equal(runs, 365);
		if (!left_out || !twice)
			fail_msg("%s: %s%s", rows[i].zone, left_out ? "" : "the hour left out ",
				 twice ? "" : "the hour that comes twice");
	}
	in_zurich(state);
}

static unsigned in_2027(const char *text)
{
	struct when when = parsed(text);
	unsigned count = 0;

	for (int64_t at = when_next(&when, NULL, utc(2026, 12, 31, 23, 0) - 1);
	     at < utc(2027, 12, 31, 23, 0); at = when_next(&when, NULL, at))
		count++;
	return count;
}

static void other_years(void **state)
{
	(void)state;
	assert_int_equal(in_2027("hourly"), 8760);
	assert_int_equal(in_2027("6h"), 4 * 365);
	assert_int_equal(in_2027("daily"), 365);
	assert_int_equal(in_2027("weekly"), 52);
	assert_int_equal(in_2027("monthly"), 12);
	assert_int_equal(in_2027("0 9 * * 1-5"), 261);
	assert_int_equal(in_2027("0 0 13 * 5"), 12 + 53 - 1);    /* either; one Friday the 13th */
	assert_int_equal(in_2027("*/15 * * * *"), 96 * 365 - 4); /* an hour of March is not there */
}

/* From each minute of the days of both changes: the same as from the start of the day on. */
static void any_minute_of_a_day(void **state)
{
	static const int64_t off[] = {0, 217 * 86400}; /* 28 March, 31 October */
	struct when when = parsed("7-59/13 * * * *");

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int64_t start = utc(2027, 3, 27, 23, 0) + off[i],
			next = when_next(&when, NULL, start);

		for (int64_t at = start; at < start + 86400; at += 60) {
			assert_true(next > at);
			assert_int_equal(when_next(&when, NULL, at), next);
			if (next == at + 60)
				next = when_next(&when, NULL, next);
		}
	}
}

static void runs_are_counted(void **state)
{
	struct when when = parsed("daily");
	int64_t from = utc(2027, 6, 1, 12, 0);

	(void)state;
	assert_int_equal(when_count(&when, NULL, from, from), 0);
	assert_int_equal(when_count(&when, NULL, from, from + 3 * 86400), 3);
	when = parsed("1m");
	assert_int_equal(when_count(&when, NULL, from, from + 86400), 1000);
	assert_int_equal(when_next(&when, NULL, from), from + 60);
	assert_int_equal(when_next(&when, NULL, from + 59), from + 60);
}

/* A snapshot every hour of a year; after each what is kept no longer goes. */
static void a_year_is_kept(void **state)
{
	enum { ROOM = 64 };
	struct keep keep;
	struct err err;
	struct when when = parsed("hourly");
	int64_t times[ROOM], at = utc(2026, 12, 31, 22, 0), months[ROOM];
	unsigned count = 0, month_count = 0;

	(void)state;
	assert_int_equal(keep_parse("last=2,hourly=24,daily=7,weekly=4,monthly=12", &keep, &err),
			 0);
	for (at = when_next(&when, NULL, at); at < utc(2027, 12, 31, 23, 0);
	     at = when_next(&when, NULL, at)) {
		bool kept[ROOM];
		unsigned left = 0;

		memmove(times + 1, times, count * sizeof *times);
		times[0] = at;
		count++;
		keep_choose(&keep, NULL, times, count, kept);
		for (unsigned i = 0; i < count; i++)
			if (kept[i])
				times[left++] = times[i];
		count = left;
		assert_true(count <= 24 + 7 + 4 + 12);
		for (unsigned i = 0; i < count && i < 24; i++)
			assert_int_equal(times[i], at - (int64_t)i * 3600);
	}
	/* the last hour of each of 12 months is among them */
	for (unsigned i = 0; i < count; i++) {
		struct tm tm = local(times[i]), next = local(times[i] + 3600);

		if (tm.tm_mon != next.tm_mon)
			months[month_count++] = tm.tm_mon;
	}
	assert_int_equal(month_count, 12);
	for (unsigned i = 0; i < month_count; i++)
		assert_int_equal(months[i], 11 - i);
	/* today's hours, six days before, the Sundays before those, the months before this one */
	assert_int_equal(count, 24 + 6 + 2 + 11);
}

static void what_is_kept_is_read_and_shown(void **state)
{
	static const char *const bad[] = {"weekly",      "hourly=", "hourly=x", "daily=7,",
					  "daily=10001", "years=4", "last=-1",  "=4"};
	struct keep keep;
	struct err err;
	char text[KEEP_TEXT_MAX];
	int64_t times[3] = {300, 200, 100};
	bool kept[3];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (keep_parse(bad[i], &keep, &err) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(keep_parse("daily=7,last=10000", &keep, &err), 0);
	keep_print(&keep, text);
	assert_string_equal(text, "last=10000,daily=7");
	assert_int_equal(keep_parse("all", &keep, &err), 0);
	keep_print(&keep, text);
	assert_string_equal(text, "all");
	keep_choose(&keep, NULL, times, 3, kept);
	assert_true(kept[0] && kept[1] && kept[2]);
	assert_int_equal(keep_parse("last=1", &keep, &err), 0);
	keep_choose(&keep, NULL, times, 3, kept);
	assert_true(kept[0] && !kept[1] && !kept[2]);
}

static void names_say_when(void **state)
{
	char name[AUTO_NAME_MAX + 1];
	struct err err;

	(void)state;
	auto_name("auto", NULL, utc(2026, 11, 21, 13, 0), false, name);
	assert_string_equal(name, "auto-2026-11-21_14-00");
	assert_true(auto_name_is("auto", name));
	auto_name("auto", NULL, utc(2027, 10, 31, 1, 30), true, name);
	assert_string_equal(name, "auto-2027-10-31_02-30b");
	assert_true(auto_name_is("auto", name));
	assert_false(auto_name_is("aut", name));
	assert_false(auto_name_is("auto-2027", name));
	assert_false(auto_name_is("auto", "auto-2027-10-31_02-30bb"));
	assert_false(auto_name_is("auto", "auto-2027-10-31_02-3"));
	assert_false(auto_name_is("auto", "auto-monday"));
	assert_int_equal(prefix_check("auto", &err), 0);
	assert_int_equal(prefix_check("", &err), -EINVAL);
	assert_int_equal(prefix_check("a@b", &err), -EINVAL);
	assert_int_equal(prefix_check("-a", &err), -EINVAL);
	assert_int_equal(prefix_check("a234567890123456789012345", &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(times_are_read_strictly),
	    cmocka_unit_test(a_year_of_days),
	    cmocka_unit_test(zones_of_all_kinds),
	    cmocka_unit_test(other_years),
	    cmocka_unit_test(any_minute_of_a_day),
	    cmocka_unit_test(runs_are_counted),
	    cmocka_unit_test(a_year_is_kept),
	    cmocka_unit_test(what_is_kept_is_read_and_shown),
	    cmocka_unit_test(names_say_when),
	};

	return cmocka_run_group_tests(tests, in_zurich, NULL);
}
