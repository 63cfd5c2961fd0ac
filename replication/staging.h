/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_STAGING_H
#define REPLICATION_STAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "replication/wire.h"
#include "volumes/volume.h"

/* The standby's write-ahead log: an epoch is here, whole and durable, before a byte of it goes to
 * the members. On a thin volume of its own in the members' pool (docs/FORMAT.md, "Staging log").
 *
 *	header A | header B | ... 1 MiB: block, block, ...
 *
 * S1 The two headers take turns; the valid one with the higher generation counts.
 * S2 A header that says "sealed N" is written after the blocks of N are durable, and is durable
 *    before anybody is told.
 * S3 A header that says "applied N" is written after the members' flush.
 * S4 The promotable image is: the members of it, and sealed > applied: the blocks over them (redo,
 *    which may run any number of times).
 * S5 A member that is not in the image is filled in place, and flushed before the header whose
 *    image it is in.
 *
 * state: empty -> (seed_begin) seeding -> sealed = applied = N -> blocks of an open epoch,
 * unknown to the header -> sealed = N+k > applied -> applied = sealed -> ...
 *
 * Context of all of it: inside a fiber of one loop; one at a time. */

#define STAGING_BLOCK ((uint64_t)1 << 20)

struct staging {
	struct volume *volume;
	struct volume **members; /* borrowed; NULL: none with that index */
	unsigned member_max;
	/* as the newest header has it */
	uint64_t generation;
	uint8_t group[16];
	uint64_t sealed, applied;
	uint64_t sealed_wall_ns;     /* when the primary closed the sealed epoch */
	uint64_t blocks;             /* of the sealed epoch */
	struct wire_lineage lineage; /* that the sealed epoch belongs to */
	bool seeding;                /* members are being filled and are no image */
	uint64_t image;              /* which members the sealed epoch has, a bit each */
	/* the open epoch */
	uint8_t *block; /* the one being filled */
	uint64_t used;  /* bytes of it */
	uint64_t open_blocks;
	uint64_t touched; /* blocks that may take space; UINT64_MAX: all */
};

/* staging_open: the log on @volume for @group; a volume of zeros is a new one. Borrows all.
 * -ENOMEM, -EIO, -EPROTO (another group's, or no log). */
int staging_open(struct staging *staging, struct volume *volume, const uint8_t group[16],
		 struct volume **members, unsigned member_max, struct err *err)
    __attribute__((warn_unused_result));
void staging_close(struct staging *staging);

/* staging_has: is @member in the sealed image? staging_leave_out: it is not any more, durably on 0;
 * between epochs. */
bool staging_has(const struct staging *staging, unsigned member);
int staging_leave_out(struct staging *staging, unsigned member) __attribute__((warn_unused_result));

/* staging_begin: forget the open epoch. staging_add: a record of it; @data NULL: @length zeros.
 * -ENOSPC (the log is full, or its pool), -EIO. */
void staging_begin(struct staging *staging);
int staging_add(struct staging *staging, uint32_t member, uint64_t offset, uint64_t length,
		const void *data) __attribute__((warn_unused_result));
/* staging_seal: durable on 0. staging_apply: redo what is sealed and not applied. */
int staging_seal(struct staging *staging, uint64_t epoch, uint64_t wall_ns,
		 const struct wire_lineage *lineage) __attribute__((warn_unused_result));
int staging_apply(struct staging *staging) __attribute__((warn_unused_result));

/* Without a log, onto members that are no image yet. staging_seed_begin: say so, durably.
 * staging_seed_end: they are one now. */
int staging_seed_begin(struct staging *staging) __attribute__((warn_unused_result));
int staging_seed_end(struct staging *staging, uint64_t epoch, uint64_t wall_ns,
		     const struct wire_lineage *lineage) __attribute__((warn_unused_result));
/* staging_restart: this node's own image, as it is at @wall_ns, is what stands for @epoch. */
int staging_restart(struct staging *staging, uint64_t epoch, uint64_t wall_ns,
		    const struct wire_lineage *lineage) __attribute__((warn_unused_result));

#endif
