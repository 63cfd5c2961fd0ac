/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_LINEAGE_H
#define REPLICATION_LINEAGE_H

#include "replication/wire.h"

/* Whose image descends from whose (E6). A promotion forks a lineage: the chain gets one more
 * link, and the link before it the epoch at which that happened. Context: any; no memory. */

enum lineage_relation {
	LINEAGE_SAME,
	LINEAGE_THEIRS_OLDER, /* their image is an ancestor of ours */
	LINEAGE_OURS_OLDER,   /* ours is one of theirs */
	LINEAGE_DIVERGED,     /* each has what the other has not, or nothing in common */
};

/* lineage_start: a chain of one. lineage_fork: @uuid leaves the present one at @epoch; the oldest
 * link goes when the chain is full. */
void lineage_start(struct wire_lineage *lineage, const uint8_t uuid[16]);
void lineage_fork(struct wire_lineage *lineage, const uint8_t uuid[16], uint64_t epoch);

/* lineage_compare: @ours at @our_epoch with @theirs at @their_epoch (the newest epoch each holds
 * changes of). */
enum lineage_relation lineage_compare(const struct wire_lineage *ours, uint64_t our_epoch,
				      const struct wire_lineage *theirs, uint64_t their_epoch);
/* lineage_left: did @theirs fork from our present lineage; at which epoch? */
bool lineage_left(const struct wire_lineage *ours, const struct wire_lineage *theirs,
		  uint64_t *ret_fork);
const uint8_t *lineage_head(const struct wire_lineage *lineage); /* NULL: none */

#endif
