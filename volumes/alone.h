/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_ALONE_H
#define VOLUMES_ALONE_H

#include "core/disk.h"
#include "volumes/format.h"

/* In a fiber: the rows that the pool has gone on without, a bit each, as the device on @disk knows
 * by itself, of which @sb is the newest label. -EIO, -ENOMEM. */
int alone_rows(struct disk *disk, const struct superblock *sb, uint64_t *ret_rows);

#endif
