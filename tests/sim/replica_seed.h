/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_SEED_H
#define TESTS_SIM_REPLICA_SEED_H

#include "tests/sim/replica_life.h"

/* A seed on a disk that is carried from one node to the other (replication/seed.h), with what may
 * become of the disk. */
struct replica_disk {
	uint8_t *bytes;
	size_t length, room;
	bool whole;     /* an export came to its end; else it is a part of one */
	unsigned reads; /* so many, then -EIO; 0: it can always be read */
	uint64_t epoch; /* of what is on it when it is whole, and of when that is */
	uint64_t wall_ns;
	uint32_t era;
};
void replica_disk_finish(struct replica_disk *disk);
/* replica_disk_spoil: anything but what was written. */
void replica_disk_spoil(struct replica_disk *disk, struct rng *rng);

/* replica_seed_export: the primary @node's seed on @disk, new or gone on with; whatever the node
 * says. replica_seed_import: from @disk, by @node, of which @peer is the primary. Both while
 * clients write; -EIO when its power goes. */
int replica_seed_export(struct replica_life *life, unsigned node, struct replica_disk *disk);
int replica_seed_import(struct replica_life *life, unsigned node, struct replica_disk *disk,
			unsigned peer);
/* replica_seed_wire: the primary @node sends it after all. */
void replica_seed_wire(struct replica_life *life, unsigned node);

#endif
