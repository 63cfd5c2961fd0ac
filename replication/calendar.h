/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_CALENDAR_H
#define REPLICATION_CALENDAR_H

#include <stdint.h>

#include "core/err.h"

/* How much may be sent at which time of the week: "mon-fri 08:00-18:00 20M; sat,sun 22:00-06:00
 * none". The first rule that fits counts. Local time is the machine's, as with schedules
 * (snapshots/snapshots.h): the clock on the wall, so that an hour that a change to summer time
 * leaves out is left out, and one that comes twice counts twice. Times that go past midnight
 * belong to the day they begin on; 24:00 is the end of a day. Context: any one thread. */

#define CALENDAR_RULES_MAX 16u
#define CALENDAR_TEXT_MAX  512u /* bytes of one, with its end */

struct calendar_rule {
	uint8_t days;         /* bit n: n days after Sunday */
	uint16_t from, until; /* minutes after midnight */
	uint64_t bytes;       /* a second; 0: no limit */
};
struct calendar {
	unsigned count;
	struct calendar_rule rule[CALENDAR_RULES_MAX];
};

/* calendar_parse: "" and "none" are an empty one. -EINVAL. */
int calendar_parse(const char *text, struct calendar *ret_calendar, struct err *err)
    __attribute__((warn_unused_result));
/* calendar_limit: what holds at @time (seconds since 1970); @otherwise where no rule fits. */
uint64_t calendar_limit(const struct calendar *calendar, int64_t time, uint64_t otherwise);

#endif
