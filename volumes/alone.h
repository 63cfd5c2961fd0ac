/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_ALONE_H
#define VOLUMES_ALONE_H

#include "core/disk.h"
#include "volumes/format.h"

struct native;
struct lane;

/* In a fiber: the rows that the pool has gone on without, a bit each, as the device on @disk knows
 * by itself, of which @sb is the newest label. @native is open, and this its keeper's fiber, which
 * makes the checkpoints that become due meanwhile; NULL: it is not. -EIO, -ENOMEM; those of a
 * checkpoint. */
int alone_rows(struct disk *disk, const struct superblock *sb, struct native *native,
	       struct lane *lane, uint64_t *ret_rows);

#endif
