/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOTS_SNAPSHOTS_H
#define SNAPSHOTS_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

/* When snapshots are made, what they are called, and which of them are kept: arithmetic on times
 * that the caller brings (seconds since 1970), without a clock or a timer of its own. Local time is
 * that of a zone; NULL: the machine's (TZ, /etc/localtime). Context: any one thread. */

/* ---- where ----
 * A zone of the machine's tzdata by its name, "Asia/Shanghai", as it is when it is read. */
struct zone;
#define ZONE_NAME_MAX 63
/* zone_load: -EINVAL: there is none of this name, or its file is not one; -EIO. */
int zone_load(const char *name, struct zone **ret_zone, struct err *err)
    __attribute__((warn_unused_result));
void zone_free(struct zone *zone); /* NULL is taken */

/* ---- when ----
 * An interval ("15m", "hourly", "6h": multiples of it since 1970, so that neither a restart nor a
 * change to summer time moves them), or five fields as cron has them ("30 2 * * 1-5", "daily",
 * "weekly", "monthly"), in local time. A local time that a change to summer time leaves out comes
 * with the change, one that happens twice counts once. */
struct when {
	uint32_t interval; /* seconds; 0: the fields count */
	uint64_t minutes;  /* bit n: minute n */
	uint32_t hours, days, months, weekdays;
	bool any_day, any_weekday; /* as cron: when both are restricted, either is enough */
};
#define WHEN_INTERVAL_MIN 60u
int when_parse(const char *text, struct when *ret_when, struct err *err)
    __attribute__((warn_unused_result));
/* when_next: the first time after @after; INT64_MAX: never ("0 0 31 2 *"). */
int64_t when_next(const struct when *when, const struct zone *zone, int64_t after);
/* when_count: how many there are after @from up to @to, 1,000 at most. */
unsigned when_count(const struct when *when, const struct zone *zone, int64_t from, int64_t to);

/* ---- which are kept ----
 * So many of the newest, and of so many hours, days, weeks (ISO 8601: from Monday) and months the
 * newest of each. What one rule keeps is kept. */
enum keep_kind { KEEP_LAST, KEEP_HOURLY, KEEP_DAILY, KEEP_WEEKLY, KEEP_MONTHLY, KEEP_KINDS };
struct keep {
	unsigned count[KEEP_KINDS]; /* all 0: everything is kept */
};
#define KEEP_MAX 10000u
/* "last=4,hourly=24,daily=7,weekly=4,monthly=12", any of them; "all". */
int keep_parse(const char *text, struct keep *ret_keep, struct err *err)
    __attribute__((warn_unused_result));
#define KEEP_TEXT_MAX 96
void keep_print(const struct keep *keep, char text[KEEP_TEXT_MAX]);
/* keep_choose: of @count snapshots made at @times, the newest first: which are kept. */
void keep_choose(const struct keep *keep, const struct zone *zone, const int64_t *times,
		 unsigned count, bool *ret_kept);

/* ---- names ----
 * PREFIX-2026-11-21_14-00, of local time; with "b" behind it in the hour that comes twice. */
#define PREFIX_MAX 24
int prefix_check(const char *prefix, struct err *err) __attribute__((warn_unused_result));
#define AUTO_NAME_MAX (PREFIX_MAX + 20)
void auto_name(const char *prefix, const struct zone *zone, int64_t time, bool again,
	       char name[AUTO_NAME_MAX + 1]);
/* auto_name_is: is it such a name with this prefix? */
bool auto_name_is(const char *prefix, const char *name);

#endif
