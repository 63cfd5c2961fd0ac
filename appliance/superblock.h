/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_SUPERBLOCK_H
#define APPLIANCE_SUPERBLOCK_H

#include <stdbool.h>

#include "core/err.h"

/* ext4's superblock is two sectors of a disk with sectors of 512 bytes, and of what that file
 * system keeps for itself the only thing that is written in place beside the journal and changes in
 * two. The second one changes by the checksum alone: when the power goes between them, each half is
 * whole, and only the checksum does not fit. The kernel then refuses the mount and e2fsck -p the
 * check, before either has looked at the journal. */

/* superblock_mend: puts down the checksum that fits, in one sector, where that is what happened:
 * the geometry, features (but those that come by themselves) and UUID are those of the backup in
 * group 1, whose own checksum fits. What happened meanwhile is then in place: e2fsck -p goes on
 * from the journal, where -y would go by the backup and by what was in it when the file system was
 * made.
 * @fd: the file system, open for reading and writing, not mounted.
 * Returns 0 with *@ret_mended (false: the checksum fits, or it is no ext4 with checksums), -EUCLEAN
 * when it is damaged otherwise, and is left as it is, or what reading and writing gave. */
int superblock_mend(int fd, bool *ret_mended, struct err *err);

#endif
