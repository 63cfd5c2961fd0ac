/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshots/zone.h"

static const char *const words[KEEP_KINDS] = {[KEEP_LAST] = "last",
					      [KEEP_HOURLY] = "hourly",
					      [KEEP_DAILY] = "daily",
					      [KEEP_WEEKLY] = "weekly",
					      [KEEP_MONTHLY] = "monthly"};

static int bad(const char *text, struct err *err)
{
	return err_set(
	    err, -EINVAL,
	    "what is kept is said as last=4,hourly=24,daily=7,weekly=4,monthly=12 (any of "
	    "them) or all, not %s",
	    text);
}

int keep_parse(const char *text, struct keep *ret_keep, struct err *err)
{
	struct keep keep = {0};
	const char *at = text;

	while (*at && strcmp(text, "all") != 0) {
		const char *equals = strchr(at, '=');
		char *end;
		unsigned long count;
		unsigned kind = 0;

		while (equals && kind < KEEP_KINDS &&
		       (strlen(words[kind]) != (size_t)(equals - at) ||
			memcmp(words[kind], at, (size_t)(equals - at)) != 0))
			kind++;
		if (!equals || kind == KEEP_KINDS || equals[1] < '0' || equals[1] > '9')
			return bad(text, err);
		count = strtoul(equals + 1, &end, 10);
		if (count > KEEP_MAX || (*end && *end != ',') || (*end == ',' && !end[1]))
			return bad(text, err);
		keep.count[kind] = (unsigned)count;
		at = *end ? end + 1 : end;
	}
	*ret_keep = keep;
	return 0;
}

void keep_print(const struct keep *keep, char text[KEEP_TEXT_MAX])
{
	size_t used = 0;

	snprintf(text, KEEP_TEXT_MAX, "all");
	for (unsigned kind = 0; kind < KEEP_KINDS; kind++)
		if (keep->count[kind] && used < KEEP_TEXT_MAX - 1)
			used += (size_t)snprintf(text + used, KEEP_TEXT_MAX - used, "%s%s=%u",
						 used ? "," : "", words[kind], keep->count[kind]);
}

/* A number that is the same within a period and no other. */
static int64_t period_of(enum keep_kind kind, const struct zone *zone, int64_t time)
{
	struct tm tm, day;

	if (kind == KEEP_HOURLY) /* the hour that comes twice is two */
		return time / 3600;
	if (!zone_local(zone, time, &tm))
		return 0;
	if (kind == KEEP_MONTHLY)
		return (int64_t)tm.tm_year * 12 + tm.tm_mon;
	day = (struct tm){.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday};
	if (kind == KEEP_WEEKLY)
		day.tm_mday -= (tm.tm_wday + 6) % 7;
	return (int64_t)timegm(&day) / 86400;
}

static void keep_periods(enum keep_kind kind, unsigned wanted, const struct zone *zone,
			 const int64_t *times, unsigned count, bool *kept)
{
	int64_t last = 0;
	unsigned have = 0;

	for (unsigned i = 0; i < count && have < wanted; i++) {
		int64_t period = kind == KEEP_LAST ? i : period_of(kind, zone, times[i]);

		if (have && period == last)
			continue;
		last = period;
		kept[i] = true;
		have++;
	}
}

void keep_choose(const struct keep *keep, const struct zone *zone, const int64_t *times,
		 unsigned count, bool *ret_kept)
{
	bool all = true;

	for (unsigned kind = 0; kind < KEEP_KINDS; kind++)
		all &= keep->count[kind] == 0;
	for (unsigned i = 0; i < count; i++)
		ret_kept[i] = all;
	tzset();
	for (unsigned kind = 0; kind < KEEP_KINDS; kind++)
		keep_periods((enum keep_kind)kind, keep->count[kind], zone, times, count, ret_kept);
}

/* ---- names ---- */
int prefix_check(const char *prefix, struct err *err)
{
	size_t length = strlen(prefix);

	if (length == 0 || length > PREFIX_MAX || prefix[0] == '-' || prefix[0] == '.')
		return err_set(err, -EINVAL, "a prefix has 1 to %d characters", PREFIX_MAX);
	for (size_t i = 0; i < length; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
			    prefix[i]))
			return err_set(err, -EINVAL, "a prefix has letters, digits and . _ -");
	return 0;
}

void auto_name(const char *prefix, const struct zone *zone, int64_t time, bool again,
	       char name[AUTO_NAME_MAX + 1])
{
	struct tm tm = {0};
	char stamp[24];

	tzset();
	if (!zone_local(zone, time, &tm) ||
	    !strftime(stamp, sizeof stamp, again ? "-%Y-%m-%d_%H-%Mb" : "-%Y-%m-%d_%H-%M", &tm))
		stamp[0] = 0;
	snprintf(name, AUTO_NAME_MAX + 1, "%.*s%.*s", PREFIX_MAX, prefix,
		 AUTO_NAME_MAX - PREFIX_MAX, stamp);
}

bool auto_name_is(const char *prefix, const char *name)
{
	static const char shape[] = "-0000-00-00_00-00";
	size_t length = strlen(prefix);

	if (strncmp(name, prefix, length) != 0)
		return false;
	name += length;
	for (size_t i = 0; shape[i]; i++) {
		bool digit = name[i] >= '0' && name[i] <= '9';

		if (shape[i] == '0' ? !digit : name[i] != shape[i])
			return false;
	}
	name += sizeof shape - 1;
	return !*name || strcmp(name, "b") == 0;
}
