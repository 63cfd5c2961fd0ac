/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_ROUND_H
#define SHARES_ROUND_H

#include "shares/internal.h"

/* A request about contents is done in rounds of at most ROUND_BLOCKS; in a round, its blocks become
 * pieces, runs that adjoin on the volume. Memory that the volume can take as it is goes there
 * without a copy; everything else goes through a buffer. */

#define ROUND_BLOCKS  256u /* 1 MiB */
#define BOUNCE_BLOCKS 128u
#define PIECES_MAX    32u

struct buf;

struct piece {
	uint64_t file_block, block;
	uint32_t count;
	bool hole;     /* reads as zeros */
	bool fresh;    /* becomes a written extent when it is written */
	bool reserved; /* fresh: from the reservations, not an unwritten extent */
	bool moves;    /* reserved: in the place of blocks that somebody else has too */
};

struct round {
	struct op *op;
	uint64_t number;
	uint64_t first, end; /* file blocks; end shrinks to what the pieces cover */
	struct piece piece[PIECES_MAX];
	unsigned count;
	bool placeless; /* some block has no place yet: first such, and how many */
	uint64_t missing, missing_count, uncounted;
	bool missing_moves;
	unsigned epoch;
	/* the end of a write */
	uint64_t offset, length;
	bool keeps_size;
	bool over_tail; /* it replaces what is behind the end of the file in its last block */
};

/* ---- round.c: fibers, without the lock ---- */
/* The part [offset, offset + length) of the request's memory; 0: more than @max pieces. */
unsigned round_slice(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t length,
		     struct iovec *ret_iov, unsigned max);
/* Between that part and @memory (NULL: zeros). */
void round_copy(const struct iovec *iov, unsigned count, uint64_t offset, uint8_t *memory,
		uint64_t length, bool to_request);
bool round_is_direct(const struct vfs_request *request); /* may the volume take it as it is? */
/* Waits for one. Never with one in hand: core/buf.h, BUF_FOR_FILE. */
struct buf *round_buffer(struct loop *loop, size_t size);
/* All pieces: @iov is the memory, @skip bytes before it belong to the first block. */
int round_transfer(struct round *round, enum volume_op op, unsigned flags, const struct iovec *iov,
		   unsigned iov_count, uint64_t skip, uint64_t length);

/* ---- place.c ---- */
/* Where to read; then round_end(), when it was read (S4). Under the lock. */
int round_plan_read(struct round *round);
void round_end(struct share *share, struct round *round); /* without the lock */
/* Every block of a write has a place; or -EDQUOT, -ENOSPC. A fiber, without the lock. */
int round_place(struct round *round);
/* What was written becomes extents of @inode: in a transaction. */
int round_settle(struct share *share, uint64_t number, const struct piece *piece,
		 struct inode *inode);

#endif
