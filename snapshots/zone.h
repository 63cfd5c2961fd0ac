/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOTS_ZONE_H
#define SNAPSHOTS_ZONE_H

#include <time.h>

#include "snapshots/snapshots.h"

/* Inside snapshots/. */
#define ZONE_BYTES_MAX (256u << 10) /* of a file; the largest of today's has 4 KiB */
#define ZONE_TIMES_MAX 4096u

/* zone_parse: a zone from the contents of its file (TZif, RFC 8536, version 2 and later). Pure;
 * hostile input welcome. */
int zone_parse(const uint8_t *bytes, size_t length, struct zone **ret_zone, struct err *err)
    __attribute__((warn_unused_result));
/* zone_offset: seconds that local time is ahead of UTC at @moment; NULL: the machine's.
 * zone_local: local time in the members of @ret_tm that gmtime_r() fills in. */
long zone_offset(const struct zone *zone, int64_t moment);
bool zone_local(const struct zone *zone, int64_t moment, struct tm *ret_tm);

#endif
