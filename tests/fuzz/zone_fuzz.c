/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a time zone: refused, or a zone that answers for any moment, and schedules that come
 * to an end. */
#include <assert.h>
#include <stdlib.h>

#include "snapshots/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t moments[] = {-62135596800, -1,         0,
					  1800000000,   4102444800, 253402300799};
	struct when when;
	struct zone *zone;
	struct err err = {0};

	if (size > ZONE_BYTES_MAX)
		return 0;
	if (zone_parse(data, size, &zone, &err) < 0) {
		assert(err.text[0]);
		return 0;
	}
	for (unsigned i = 0; i < sizeof moments / sizeof *moments; i++)
		assert(labs(zone_offset(zone, moments[i])) < 26 * 3600);
	assert(when_parse("30 2 * * *", &when, &err) == 0);
	assert(when_next(&when, zone, moments[3]) > moments[3]);
	zone_free(zone);
	return 0;
}
