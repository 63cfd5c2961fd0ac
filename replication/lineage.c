/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/lineage.h"

#include <string.h>

void lineage_start(struct wire_lineage *lineage, const uint8_t uuid[16])
{
	*lineage = (struct wire_lineage){.count = 1};
	memcpy(lineage->link[0].uuid, uuid, 16);
}

void lineage_fork(struct wire_lineage *lineage, const uint8_t uuid[16], uint64_t epoch)
{
	if (lineage->count == 0) {
		lineage_start(lineage, uuid);
		return;
	}
	lineage->link[lineage->count - 1].fork = epoch;
	if (lineage->count == WIRE_LINEAGE_MAX) {
		memmove(&lineage->link[0], &lineage->link[1],
			sizeof lineage->link[0] * (WIRE_LINEAGE_MAX - 1));
		lineage->count--;
	}
	memcpy(lineage->link[lineage->count].uuid, uuid, 16);
	lineage->link[lineage->count].fork = 0;
	lineage->count++;
}

const uint8_t *lineage_head(const struct wire_lineage *lineage)
{
	return lineage->count ? lineage->link[lineage->count - 1].uuid : NULL;
}

bool lineage_left(const struct wire_lineage *ours, const struct wire_lineage *theirs,
		  uint64_t *ret_fork)
{
	const uint8_t *head = lineage_head(ours);

	for (unsigned i = 0; head && i + 1 < theirs->count; i++) {
		if (memcmp(theirs->link[i].uuid, head, 16) == 0) {
			*ret_fork = theirs->link[i].fork;
			return true;
		}
	}
	return false;
}

enum lineage_relation lineage_compare(const struct wire_lineage *ours, uint64_t our_epoch,
				      const struct wire_lineage *theirs, uint64_t their_epoch)
{
	const uint8_t *our_head = lineage_head(ours), *their_head = lineage_head(theirs);
	uint64_t fork;

	if (!our_head || !their_head)
		return our_head ? LINEAGE_THEIRS_OLDER : LINEAGE_OURS_OLDER;
	if (memcmp(our_head, their_head, 16) == 0)
		return LINEAGE_SAME;
	if (lineage_left(theirs, ours, &fork))
		return their_epoch <= fork ? LINEAGE_THEIRS_OLDER : LINEAGE_DIVERGED;
	if (lineage_left(ours, theirs, &fork))
		return our_epoch <= fork ? LINEAGE_OURS_OLDER : LINEAGE_DIVERGED;
	return LINEAGE_DIVERGED;
}
