/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_SLOW_H
#define NFS_SLOW_H

#include <stdint.h>

/* Inside nfs/: what a call notes of itself, in case it is slow. Context: its loop. */

#define NFS_SLOW_OPERATIONS 16u /* of a COMPOUND by name; the others are counted */
#define NFS_SLOW_UNKNOWN    0xffu

struct nfs_slow_notes {
	uint64_t arrived_ns;             /* its last byte */
	uint64_t submitted_ns, share_ns; /* to the share; there, all together */
	uint64_t longest_ns, bytes;
	unsigned count;  /* operations that have ended; of v3 one */
	uint8_t longest; /* the operation that took longest */
	uint8_t operations[NFS_SLOW_OPERATIONS];
};

struct nfs_call;

/* nfs_slow_operation: one of @call has ended after @ns, and moved @bytes. nfs_slow_ends: all of it
 * has, and call->export is still there. */
void nfs_slow_operation(struct nfs_call *call, unsigned operation, uint64_t ns, uint32_t bytes);
void nfs_slow_ends(const struct nfs_call *call);

#endif
