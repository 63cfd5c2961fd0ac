/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/calendar.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/size.h"

#define DAY_MINUTES (24u * 60u)
#define ALL_DAYS    0x7fu
#define WORD_MAX    64u

static const char *const day_names[7] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

/* The next word up to one of @ends, with blanks before it left out; false: there is none, or it is
 * too long. */
static bool take_word(const char **at, const char *ends, char word[WORD_MAX])
{
	size_t length;

	*at += strspn(*at, " \t");
	length = strcspn(*at, ends);
	if (length == 0 || length >= WORD_MAX)
		return false;
	memcpy(word, *at, length);
	word[length] = '\0';
	*at += length;
	return true;
}

/* ---- days ---- */
static bool take_day(const char **at, unsigned *ret_day)
{
	for (unsigned i = 0; i < 7; i++) {
		if (strncasecmp(*at, day_names[i], 3) != 0)
			continue;
		*at += 3;
		*ret_day = i;
		return true;
	}
	return false;
}

/* "mon", "mon-fri", "sat,sun", "daily". */
static bool parse_days(const char *text, uint8_t *ret_days)
{
	uint8_t days = 0;

	if (strcasecmp(text, "daily") == 0) {
		*ret_days = ALL_DAYS;
		return true;
	}
	for (;;) {
		unsigned first, last;

		if (!take_day(&text, &first))
			return false;
		last = first;
		if (*text == '-') {
			text++;
			if (!take_day(&text, &last))
				return false;
		}
		for (unsigned day = first;; day = (day + 1) % 7) {
			days |= (uint8_t)(1u << day);
			if (day == last)
				break;
		}
		if (*text != ',')
			break;
		text++;
	}
	*ret_days = days;
	return *text == '\0';
}

/* ---- times ---- */
static bool take_digits(const char **at, unsigned *ret_number)
{
	const char *text = *at;

	if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
		return false;
	*ret_number = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
	*at += 2;
	return true;
}

static bool take_minute(const char **at, uint16_t *ret_minute)
{
	unsigned hour, minute;

	if (!take_digits(at, &hour) || *(*at)++ != ':' || !take_digits(at, &minute) ||
	    minute > 59 || hour * 60 + minute > DAY_MINUTES)
		return false;
	*ret_minute = (uint16_t)(hour * 60 + minute);
	return true;
}

/* "08:00-18:00"; the same twice is no time. */
static bool parse_times(const char *text, uint16_t *ret_from, uint16_t *ret_until)
{
	if (!take_minute(&text, ret_from) || *text++ != '-' || !take_minute(&text, ret_until))
		return false;
	return *text == '\0' && *ret_from != *ret_until && *ret_from < DAY_MINUTES;
}

/* ---- rules ---- */
static int parse_rule(const char **at, struct calendar *calendar, struct err *err)
{
	char days[WORD_MAX], times[WORD_MAX], rate[WORD_MAX];
	const char *begin = *at;
	struct calendar_rule *rule;

	if (calendar->count == CALENDAR_RULES_MAX)
		return err_set(err, -EINVAL, "a calendar has at most %u rules", CALENDAR_RULES_MAX);
	rule = &calendar->rule[calendar->count];
	if (!take_word(at, " \t;", days) || !parse_days(days, &rule->days) ||
	    !take_word(at, " \t;", times) || !parse_times(times, &rule->from, &rule->until) ||
	    !take_word(at, " \t;", rate))
		return err_set(err, -EINVAL,
			       "a rule is DAYS FROM-UNTIL RATE, such as mon-fri 08:00-18:00 20M, "
			       "not \"%.60s\"",
			       begin);
	rule->bytes = 0;
	if (strcasecmp(rate, "none") != 0 && size_parse(rate, &rule->bytes, err) < 0)
		return -EINVAL;
	*at += strspn(*at, " \t");
	if (**at && **at != ';')
		return err_set(err, -EINVAL, "rules are separated by \";\", not \"%.20s\"", *at);
	calendar->count++;
	return 0;
}

int calendar_parse(const char *text, struct calendar *ret_calendar, struct err *err)
{
	struct calendar calendar = {0};

	if (strlen(text) >= CALENDAR_TEXT_MAX)
		return err_set(err, -EINVAL, "a calendar is at most %u characters",
			       CALENDAR_TEXT_MAX - 1);
	if (strcmp(text, "none") == 0)
		text = "";
	while (*text) {
		int result = parse_rule(&text, &calendar, err);

		if (result < 0)
			return result;
		text += *text == ';';
		text += text[strspn(text, " \t")] ? 0 : strlen(text); /* nothing behind the last */
	}
	*ret_calendar = calendar;
	return 0;
}

static bool fits(const struct calendar_rule *rule, unsigned day, unsigned minute)
{
	bool today = rule->days >> day & 1, yesterday = rule->days >> (day + 6) % 7 & 1;

	if (rule->from < rule->until)
		return today && minute >= rule->from && minute < rule->until;
	return (today && minute >= rule->from) || (yesterday && minute < rule->until);
}

uint64_t calendar_limit(const struct calendar *calendar, int64_t time, uint64_t otherwise)
{
	time_t moment = (time_t)time;
	struct tm tm;

	if (calendar->count == 0)
		return otherwise;
	tzset();
	if (!localtime_r(&moment, &tm))
		return otherwise;
	for (unsigned i = 0; i < calendar->count; i++) {
		if (fits(&calendar->rule[i], (unsigned)tm.tm_wday,
			 (unsigned)(tm.tm_hour * 60 + tm.tm_min)))
			return calendar->rule[i].bytes;
	}
	return otherwise;
}
