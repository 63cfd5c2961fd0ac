/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshots/zone.h"
#include "tests/unit/snapshots/zurich.h"

/* Time zones beside the machine's: the same as the C library says of each of them, files that are
 * damaged in every way, and schedules by the time of a zone while the machine has another. */

static struct zone *loaded(const char *name)
{
	struct zone *zone = NULL;
	struct err err = {0};

	if (zone_load(name, &zone, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	return zone;
}

static long by_library(int64_t moment)
{
	time_t time = (time_t)moment;
	struct tm tm;

	assert_non_null(localtime_r(&time, &tm));
	return tm.tm_gmtoff;
}

/* Every six hours and a bit of 140 years: before the first change of the clock, through those that
 * are listed, and by the rule behind them. */
static void as_the_library_says(void **state)
{
	static const char *const names[] = {"Asia/Shanghai",
					    "Europe/Zurich",
					    "Europe/Dublin",
					    "America/New_York",
					    "Australia/Lord_Howe",
					    "America/Havana",
					    "Asia/Kathmandu",
					    "Pacific/Apia",
					    "Africa/Casablanca",
					    "Africa/Monrovia",
					    "America/Sao_Paulo",
					    "Asia/Tehran",
					    "Antarctica/Troll",
					    "America/Scoresbysund",
					    "Etc/GMT+5",
					    "Asia/Gaza",
					    "UTC",
					    "Pacific/Auckland",
					    "America/St_Johns",
					    "Europe/Istanbul"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct zone *zone = loaded(names[i]);
		char text[80];

		snprintf(text, sizeof text, ":%s", names[i]);
		setenv("TZ", text, 1);
		tzset();
		for (int64_t at = utc(1920, 1, 1, 0, 0); at < utc(2060, 1, 1, 0, 0); at += 22271)
			if (zone_offset(zone, at) != by_library(at))
				fail_msg("%s at %lld: %ld, not %ld", names[i], (long long)at,
					 zone_offset(zone, at), by_library(at));
		zone_free(zone);
	}
	in_zurich(state);
}

/* ---- files of our own ---- */

struct file {
	uint8_t bytes[1024];
	size_t length;
};

static void add(struct file *file, const void *bytes, size_t length)
{
	assert_true(file->length + length <= sizeof file->bytes);
	memcpy(file->bytes + file->length, bytes, length);
	file->length += length;
}

static void big32(uint8_t *bytes, uint32_t value)
{
	value = htobe32(value);
	memcpy(bytes, &value, sizeof value);
}

static void big64(uint8_t *bytes, uint64_t value)
{
	value = htobe64(value);
	memcpy(bytes, &value, sizeof value);
}

static void add_header(struct file *file, char version, uint32_t times, uint32_t kinds)
{
	uint8_t header[44] = "TZif";

	header[4] = (uint8_t)version;
	big32(header + 32, times);
	big32(header + 36, kinds);
	big32(header + 40, 4);
	add(file, header, sizeof header);
}

/* Two kinds of time, @one and @other seconds from UTC, and changes at @first and @second. */
static struct file make(int32_t one, int32_t other, int64_t first, int64_t second,
			const char *footer)
{
	struct file file = {.length = 0};
	uint8_t body[16 + 2 + 12] = {0};

	add_header(&file, '2', 0, 1);
	add(&file, "\0\0\0\0\0\0ABC", 10);
	add_header(&file, '2', 2, 2);
	big64(body, (uint64_t)first);
	big64(body + 8, (uint64_t)second);
	body[16] = 1;
	big32(body + 18, (uint32_t)one);
	big32(body + 24, (uint32_t)other);
	add(&file, body, sizeof body);
	add(&file, "ABC", 4);
	add(&file, "\n", 1);
	add(&file, footer, strlen(footer));
	add(&file, "\n", 1);
	return file;
}

static struct zone *parsed(const struct file *file)
{
	struct zone *zone = NULL;
	struct err err = {0};

	if (zone_parse(file->bytes, file->length, &zone, &err) < 0)
		assert_true(err.text[0]);
	return zone;
}

static void a_file_is_read(void **state)
{
	struct file file = make(3600, 7200, 1000, 2000, "");
	struct zone *zone = parsed(&file);

	(void)state;
	assert_non_null(zone);
	assert_int_equal(zone_offset(zone, 999), 3600);
	assert_int_equal(zone_offset(zone, 1000), 7200);
	assert_int_equal(zone_offset(zone, 1999), 7200);
	assert_int_equal(zone_offset(zone, 2000), 3600);
	assert_int_equal(zone_offset(zone, INT64_MAX / 4), 3600);
	zone_free(zone);
}

static long ruled(const char *rule, int64_t moment)
{
	struct file file = make(0, 0, -2, -1, rule);
	struct zone *zone = parsed(&file);
	long offset;

	if (!zone)
		fail_msg("\"%s\" was not taken", rule);
	offset = zone_offset(zone, moment);
	zone_free(zone);
	return offset;
}

/* RFC 8536 3.3 and POSIX 8.3. */
static void rules_are_followed(void **state)
{
	(void)state;
	assert_int_equal(ruled("<+0545>-5:45", 5), 5 * 3600 + 45 * 60);
	assert_int_equal(ruled("XYZ3:30:15", 5), -(3 * 3600 + 30 * 60 + 15));
	/* 60th day of a common year, the 61st of a leap year: 1 March in both */
	assert_int_equal(ruled("AAA0BBB,J60/0,J300", utc(2027, 3, 1, 0, 0) - 1), 0);
	assert_int_equal(ruled("AAA0BBB,J60/0,J300", utc(2027, 3, 1, 0, 0)), 3600);
	assert_int_equal(ruled("AAA0BBB,J60/0,J300", utc(2028, 3, 1, 0, 0) - 1), 0);
	assert_int_equal(ruled("AAA0BBB,J60/0,J300", utc(2028, 3, 1, 0, 0)), 3600);
	/* counted from 0, the leap day too */
	assert_int_equal(ruled("AAA0BBB,59/0,300", utc(2028, 2, 29, 0, 0)), 3600);
	assert_int_equal(ruled("AAA0BBB,59/0,300", utc(2027, 2, 28, 23, 59)), 0);
	/* summer all year, over the turn of the year */
	assert_int_equal(ruled("XXX3EDT4,0/0,J365/23", utc(2030, 1, 1, 3, 0)), -4 * 3600);
	assert_int_equal(ruled("XXX3EDT4,0/0,J365/23", utc(2030, 7, 1, 3, 0)), -4 * 3600);
	/* times of another day: Nuuk changes on the Saturday evening before the last Sunday */
	assert_int_equal(ruled("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", utc(2027, 3, 28, 1, 0) - 1),
			 -2 * 3600);
	assert_int_equal(ruled("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", utc(2027, 3, 28, 1, 0)), -3600);
	/* the fourth Thursday and 26 hours, as Jerusalem's Friday before the last Sunday */
	assert_int_equal(ruled("IST-2IDT,M3.4.4/26,M10.5.0", utc(2027, 3, 26, 0, 0) - 1), 7200);
	assert_int_equal(ruled("IST-2IDT,M3.4.4/26,M10.5.0", utc(2027, 3, 26, 0, 0)), 10800);
	/* the southern half: the summer is that of two years */
	assert_int_equal(ruled("AEST-10AEDT,M10.1.0,M4.1.0/3", utc(2027, 1, 1, 0, 0)), 39600);
	assert_int_equal(ruled("AEST-10AEDT,M10.1.0,M4.1.0/3", utc(2027, 7, 1, 0, 0)), 36000);
}

static void bad_rules_are_refused(void **state)
{
	static const char *const rules[] = {"A",
					    "AB3",
					    "ABC",
					    "ABC25",
					    "<AB",
					    "<>3",
					    "ABC3:60",
					    "ABC3DEF",
					    "ABC3DEF,",
					    "ABC3DEF,M3.5.0",
					    "ABC3DEF,M13.1.0,J3",
					    "ABC3DEF,M0.1.0,J3",
					    "ABC3DEF,M1.0.0,J3",
					    "ABC3DEF,M1.6.0,J3",
					    "ABC3DEF,M1.1.7,J3",
					    "ABC3DEF,J0,J3",
					    "ABC3DEF,J366,J3",
					    "ABC3DEF,366,J3",
					    "ABC3DEF,J1/168,J3",
					    "ABC3DEF,J1,J3x",
					    "ABC3DEF,M3.5,J3",
					    "ABC3DEF,M3",
					    "ABC99999999999999999999",
					    "ABC3DEF,J1,J3/",
					    "ABC3\nDEF"};

	(void)state;
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		struct file file = make(0, 0, 1, 2, rules[i]);
		struct zone *zone = parsed(&file);

		if (zone)
			fail_msg("\"%s\" was taken", rules[i]);
	}
}

static void must_fail(struct file file, size_t at, const void *bytes, size_t length,
		      const char *what)
{
	struct zone *zone;

	memcpy(file.bytes + at, bytes, length);
	zone = parsed(&file);
	if (zone)
		fail_msg("taken: %s", what);
}

static void bad_files_are_refused(void **state)
{
	struct file good = make(3600, 7200, 1000, 2000, "CET-1CEST,M3.5.0,M10.5.0/3");
	const size_t second = 44 + 10, body = second + 44;
	struct zone *zone = parsed(&good);

	(void)state;
	assert_non_null(zone);
	zone_free(zone);
	must_fail(good, 0, "TZiF", 4, "another magic");
	must_fail(good, 4, "\0", 1, "version 1");
	must_fail(good, second, "TZiF", 4, "another magic in the second header");
	must_fail(good, 32, "\xff\xff\xff\xff", 4, "a first part of 20 GiB");
	must_fail(good, second + 32, "\xff\xff\xff\xff", 4, "2^32-1 changes");
	must_fail(good, second + 36, "\xff\xff\xff\xff", 4, "2^32-1 kinds");
	must_fail(good, second + 36, "\0\0\0\0", 4, "no kind");
	must_fail(good, second + 40, "\xff\xff\xff\xff", 4, "names without an end");
	must_fail(good, second + 28, "\0\0\0\1", 4, "leap seconds");
	must_fail(good, second + 20, "\0\0\0\2", 4, "more than there is");
	must_fail(good, body + 16, "\2", 1, "a kind that is not there");
	must_fail(good, body + 8, "\0\0\0\0\0\0\3\xe8", 8, "two changes at once");
	must_fail(good, body + 8, "\x80\0\0\0\0\0\0\0", 8, "changes that go back");
	must_fail(good, body + 18, "\x7f\xff\xff\xff", 4, "68 years from UTC");
	must_fail(good, body + 18, "\x80\0\0\0", 4, "68 years the other way");
	for (size_t length = 0; length < good.length; length++) {
		struct file cut = good;

		cut.length = length;
		zone = parsed(&cut);
		if (zone)
			fail_msg("taken: %zu of %zu bytes", length, good.length);
	}
}

/* Whatever one byte is: refused, or a zone that answers. */
static void any_byte(void **state)
{
	struct file good = make(3600, 7200, 1000, 2000, "CET-1CEST,M3.5.0,M10.5.0/3");

	(void)state;
	for (size_t at = 0; at < good.length; at++)
		for (unsigned value = 0; value < 256; value++) {
			struct file file = good;
			struct zone *zone;

			file.bytes[at] = (uint8_t)value;
			zone = parsed(&file);
			if (zone)
				assert_true(labs(zone_offset(zone, utc(2027, 6, 1, 0, 0))) <
					    26 * 3600);
			zone_free(zone);
		}
}

static void names_stay_in_the_folder(void **state)
{
	static const char *const bad[] = {
	    "",
	    "/etc/passwd",
	    "../../../etc/localtime",
	    "Europe/../UTC",
	    "./UTC",
	    "Europe//Zurich",
	    "Europe/",
	    "Europe",
	    "Mars/Phobos",
	    "-UTC",
	    "Europe/.Zurich",
	    "tzdata.zi",
	    "Europe/Zurich\n",
	    "UTC/x",
	    "a b",
	    "right/Europe/Zurich",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct zone *zone = NULL;
		struct err err = {0};

		if (zone_load(bad[i], &zone, &err) != -EINVAL || zone || !err.text[0])
			fail_msg("\"%s\" was taken", bad[i]);
	}
}

/* ---- schedules by it, while the machine has the time of Zurich ---- */

static struct when when_of(const char *text)
{
	struct when when;
	struct err err = {0};

	assert_int_equal(when_parse(text, &when, &err), 0);
	return when;
}

static void schedules_go_by_it(void **state)
{
	struct zone *shanghai = loaded("Asia/Shanghai"), *york = loaded("America/New_York");
	struct when when = when_of("30 2 * * *");
	const int64_t times[] = {utc(2027, 1, 1, 17, 0), utc(2027, 1, 1, 15, 0)};
	char name[AUTO_NAME_MAX + 1];
	struct keep keep;
	struct err err;
	bool kept[2];

	(void)state;
	assert_int_equal(when_next(&when, NULL, utc(2027, 1, 1, 0, 0)), utc(2027, 1, 1, 1, 30));
	assert_int_equal(when_next(&when, shanghai, utc(2027, 1, 1, 0, 0)),
			 utc(2027, 1, 1, 18, 30));
	assert_int_equal(when_next(&when, york, utc(2027, 1, 1, 0, 0)), utc(2027, 1, 1, 7, 30));
	assert_int_equal(when_count(&when, shanghai, utc(2027, 1, 1, 0, 0), utc(2028, 1, 1, 0, 0)),
			 365);
	/* 14 March has no 02:30 in New York: with the change, at 03:00. 7 November has 01:30 twice.
	 */
	assert_int_equal(when_next(&when, york, utc(2027, 3, 14, 0, 0)), utc(2027, 3, 14, 7, 0));
	when = when_of("30 1 * * *");
	assert_int_equal(when_next(&when, york, utc(2027, 11, 7, 0, 0)), utc(2027, 11, 7, 5, 30));
	assert_int_equal(when_next(&when, york, utc(2027, 11, 7, 5, 30)), utc(2027, 11, 8, 6, 30));
	/* Friday begins seven hours earlier there */
	when = when_of("0 0 * * 5");
	assert_int_equal(when_next(&when, shanghai, utc(2027, 1, 1, 0, 0)), utc(2027, 1, 7, 16, 0));
	auto_name("auto", shanghai, utc(2027, 1, 1, 18, 30), false, name);
	assert_string_equal(name, "auto-2027-01-02_02-30");
	/* two days in Shanghai, one in Zurich */
	assert_int_equal(keep_parse("daily=7", &keep, &err), 0);
	keep_choose(&keep, NULL, times, 2, kept);
	assert_true(kept[0] && !kept[1]);
	keep_choose(&keep, shanghai, times, 2, kept);
	assert_true(kept[0] && kept[1]);
	zone_free(shanghai);
	zone_free(york);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(as_the_library_says),      cmocka_unit_test(a_file_is_read),
	    cmocka_unit_test(rules_are_followed),       cmocka_unit_test(bad_rules_are_refused),
	    cmocka_unit_test(bad_files_are_refused),    cmocka_unit_test(any_byte),
	    cmocka_unit_test(names_stay_in_the_folder), cmocka_unit_test(schedules_go_by_it),
	};

	return cmocka_run_group_tests(tests, in_zurich, NULL);
}
