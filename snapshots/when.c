/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/size.h"
#include "snapshots/zone.h"

#define NS_PER_S 1000000000ull
#define DAY      86400
#define YEARS    9 /* the 29th of February comes within that many */

/* ---- parsing ---- */
struct field {
	unsigned least, most;
};

static bool read_number(const char **at, unsigned *ret_number)
{
	char *end;
	unsigned long number;

	if (**at < '0' || **at > '9')
		return false;
	number = strtoul(*at, &end, 10);
	if (number > 1000)
		return false;
	*at = end;
	*ret_number = (unsigned)number;
	return true;
}

/* One of "*", "5", "1-5", each with "/2" behind it or not. */
static bool read_range(const char **at, const struct field *field, uint64_t *bits)
{
	unsigned first = field->least, last = field->most, step = 1;

	if (**at == '*') {
		(*at)++;
	} else {
		if (!read_number(at, &first))
			return false;
		last = first;
		if (**at == '-') {
			(*at)++;
			if (!read_number(at, &last))
				return false;
		}
	}
	if (**at == '/') {
		(*at)++;
		if (!read_number(at, &step) || step == 0)
			return false;
		if (last == first)
			last = field->most; /* "5/15": from 5 on */
	}
	if (first < field->least || last > field->most || first > last)
		return false;
	for (unsigned i = first; i <= last; i += step)
		*bits |= 1ull << i;
	return true;
}

static bool read_field(const char **at, const struct field *field, uint64_t *ret_bits,
		       bool *ret_any)
{
	uint64_t bits = 0;

	while (**at == ' ' || **at == '\t')
		(*at)++;
	*ret_any = **at == '*' && (*at)[1] != '/';
	for (;;) {
		if (!read_range(at, field, &bits))
			return false;
		if (**at != ',')
			break;
		(*at)++;
	}
	*ret_bits = bits;
	return **at == ' ' || **at == '\t' || !**at;
}

static bool parse_fields(const char *text, struct when *when)
{
	static const struct field fields[] = {{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}};
	uint64_t bits[5];
	bool any[5];

	for (unsigned i = 0; i < 5; i++)
		if (!read_field(&text, &fields[i], &bits[i], &any[i]))
			return false;
	if (*text)
		return false;
	if (bits[4] & 1u << 7) /* Sunday is 0 and 7 */
		bits[4] |= 1;
	*when = (struct when){.minutes = bits[0],
			      .hours = (uint32_t)bits[1],
			      .days = (uint32_t)bits[2],
			      .months = (uint32_t)bits[3],
			      .weekdays = (uint32_t)bits[4] & 0x7f,
			      .any_day = any[2],
			      .any_weekday = any[4]};
	return true;
}

int when_parse(const char *text, struct when *ret_when, struct err *err)
{
	static const struct {
		const char *word, *means;
	} words[] = {{"hourly", "1h"},
		     {"daily", "0 0 * * *"},
		     {"weekly", "0 0 * * 1"},
		     {"monthly", "0 0 1 * *"}};
	struct when when = {0};
	uint64_t ns;

	for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(text, words[i].word) == 0)
			text = words[i].means;
	if (!strchr(text, ' ')) {
		if (duration_parse(text, &ns, err) < 0 || ns % NS_PER_S ||
		    ns / NS_PER_S < WHEN_INTERVAL_MIN || ns / NS_PER_S > 366ull * DAY)
			return err_set(
			    err, -EINVAL,
			    "a time is an interval of 1m to 366d, hourly, daily, weekly, "
			    "monthly or five fields as cron has them, not %s",
			    text);
		when.interval = (uint32_t)(ns / NS_PER_S);
	} else if (!parse_fields(text, &when)) {
		return err_set(
		    err, -EINVAL,
		    "\"%s\" is no time: minute (0-59) hour (0-23) day (1-31) month (1-12) "
		    "weekday (0-7), each *, a number, 1-5, 1,3 or */2",
		    text);
	}
	*ret_when = when;
	return 0;
}

/* ---- counting ---- */
/* The first moment behind @before, up to @after, that has another offset than @before. */
static int64_t change_between(const struct zone *zone, int64_t before, int64_t after)
{
	long offset = zone_offset(zone, before);

	while (after - before > 1) {
		int64_t middle = before + (after - before) / 2;

		if (zone_offset(zone, middle) == offset)
			before = middle;
		else
			after = middle;
	}
	return after;
}

/* The local time @tm as a moment. Of two the earlier; where there is none, the change that leaves
 * it out. By the offsets of a day before and a day after: which of the two a zone calls its summer
 * time is its own affair (Dublin's is the winter's). */
static int64_t moment_of(const struct zone *zone, const struct tm *tm)
{
	struct tm copy = *tm;
	int64_t local = (int64_t)timegm(&copy);
	long before = zone_offset(zone, local - DAY), after = zone_offset(zone, local + DAY);
	int64_t first = local - before, second = local - after;

	if (first > second) { /* the clock is put forward */
		first = second;
		second = local - before;
	}
	if (first + zone_offset(zone, first) == local)
		return first;
	if (second + zone_offset(zone, second) == local)
		return second;
	return change_between(zone, first, second);
}

static bool day_fits(const struct when *when, const struct tm *tm)
{
	bool day = when->days >> tm->tm_mday & 1, weekday = when->weekdays >> tm->tm_wday & 1;

	if (!(when->months >> (tm->tm_mon + 1) & 1))
		return false;
	if (when->any_day || when->any_weekday)
		return day && weekday;
	return day || weekday;
}

/* The first of the day's times behind @after, INT64_MAX: none. Those before its minute @from are
 * known not to be. */
static int64_t first_of_day(const struct when *when, const struct zone *zone, const struct tm *day,
			    int from, int64_t after)
{
	for (int minute = from > 0 ? from : 0; minute < 24 * 60; minute++) {
		struct tm tm = {.tm_year = day->tm_year,
				.tm_mon = day->tm_mon,
				.tm_mday = day->tm_mday,
				.tm_hour = minute / 60,
				.tm_min = minute % 60};
		int64_t moment;

		if (!(when->hours >> tm.tm_hour & 1) || !(when->minutes >> tm.tm_min & 1))
			continue;
		moment = moment_of(zone, &tm);
		if (moment > after)
			return moment;
	}
	return INT64_MAX;
}

int64_t when_next(const struct when *when, const struct zone *zone, int64_t after)
{
	struct tm day;

	if (when->interval)
		return after - after % when->interval + when->interval;
	tzset();
	if (!zone_local(zone, after, &day))
		return INT64_MAX;
	for (int i = 0; i < YEARS * 366; i++) {
		struct tm noon = {.tm_year = day.tm_year,
				  .tm_mon = day.tm_mon,
				  .tm_mday = day.tm_mday + i,
				  .tm_hour = 12,
				  .tm_isdst = -1};
		int64_t found;

		timegm(&noon); /* only the calendar: the 32nd is the first, and its weekday */
		if (!day_fits(when, &noon))
			continue;
		/* No change of the clock is more than three hours. */
		found = first_of_day(when, zone, &noon, i ? 0 : day.tm_hour * 60 + day.tm_min - 180,
				     after);
		if (found != INT64_MAX)
			return found;
	}
	return INT64_MAX;
}

unsigned when_count(const struct when *when, const struct zone *zone, int64_t from, int64_t to)
{
	unsigned count = 0;

	for (int64_t at = when_next(when, zone, from); at <= to && count < 1000;
	     at = when_next(when, zone, at))
		count++;
	return count;
}
