/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SNAPSHOTS_ZURICH_H
#define TESTS_UNIT_SNAPSHOTS_ZURICH_H

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* The machine is in Zurich: summer from the last Sunday of March to the last of October. */
#define ZURICH "CET-1CEST,M3.5.0,M10.5.0/3"

static inline int in_zurich(void **state)
{
	(void)state;
	setenv("TZ", ZURICH, 1);
	tzset();
	return 0;
}

static inline int64_t utc(int year, int month, int day, int hour, int minute)
{
	struct tm tm = {.tm_year = year - 1900,
			.tm_mon = month - 1,
			.tm_mday = day,
			.tm_hour = hour,
			.tm_min = minute};

	return (int64_t)timegm(&tm);
}

#endif
