/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_IO_H
#define VOLUMES_IO_H

#include "volumes/native.h"

/* The I/O path, private to io*.c. A request (struct io) is cut into pieces, one per 64 KiB chunk;
 * a piece moves its data in transfers, one per run of adjacent physical slots. All three come
 * from the lane's free lists. */
#define TRANSFER_IOVS 20u

struct piece;

struct transfer {
	struct list link;
	struct disk_request request;
	struct piece *piece;
	struct pv *pv;
	bool paired;       /* what is written has another copy */
	uint64_t begun_ns; /* handed to the device */
	struct iovec iov[TRANSFER_IOVS];
};

/* Where mending a piece is (io_mend.c). */
struct mend {
	unsigned slot;
	enum { MEND_SECOND, MEND_FIRST, MEND_AGAIN, MEND_WRITE, MEND_BAD } step;
	bool good[2], unreadable;
	bool accepted; /* neither fits, and the first counts */
	bool single;   /* for a time only one copy counted */
	const uint32_t *crc;
	void (*done)(struct piece *piece, int result, unsigned slot);
};

enum piece_kind { PIECE_READ, PIECE_WRITE, PIECE_ZERO, PIECE_UNMAP };

struct piece {
	struct list link;      /* free list */
	struct list bucket;    /* native->inflight while registered */
	struct piece *leader;  /* first of an atomic write, else itself */
	struct piece *sibling; /* next of an atomic write */
	struct io *io;
	enum piece_kind kind;
	uint64_t chunk;
	uint32_t begin, end;    /* bytes in the chunk */
	uint16_t mask, partial; /* slots touched; those only in part */
	bool registered, waiting, summed, merged;
	bool mending;  /* a read of both copies */
	bool degraded; /* what was written is in one of two copies */
	struct mend mend;
	unsigned attempts;
	unsigned space_waits; /* leader: checkpoints waited for, for room */
	struct waiter waiter;
	struct buf_waiter buf_waiter;
	struct buf *bounce; /* holds the slots of mask, from the first on, at memory */
	char *memory;
	struct outstanding data;
	struct reader reader;
	unsigned transfers; /* in flight */
	unsigned batch;     /* leader: pieces with data in flight */
	int result;
	uint64_t reserved;       /* chunk or slot held for it, SLOT_NONE */
	unsigned reserved_slots; /* 0: a whole chunk */
	uint16_t valid;          /* read: mapped slots */
	uint16_t in_place, fresh, replaced;
	uint16_t shared;               /* of replaced: a snapshot's */
	uint16_t writing[CHUNK_SLOTS]; /* buckets of native->writes it counts in, plus 1; 0: none */
	bool unsummed;                 /* its data is in native->unsummed[generation & 1] */
	uint64_t generation;
	uint64_t address[CHUNK_SLOTS], old[CHUNK_SLOTS];
	uint32_t old_birth[CHUNK_SLOTS]; /* low bits */
	uint32_t crc[CHUNK_SLOTS], old_crc[CHUNK_SLOTS];
	struct record record[2];
	unsigned records;
};

struct io {
	struct list link;
	struct lane *lane;
	struct nvolume *volume;
	struct volume_request *request;
	unsigned pending;
	int result;
	bool flushed;
	uint64_t needed_lsn; /* of the last record without which what it did would be lost */
	bool lost;           /* away_flush_begin() .. */
	uint64_t rows;       /* .. both of them */
	unsigned aways;
	uint64_t next; /* discard: bytes; extents: slot */
	uint64_t next_end;
	struct waiter waiter;
	struct message yield;
};

/* io.c */
struct piece *piece_new(struct io *io, enum piece_kind kind, uint64_t offset, uint64_t end);
void piece_done(struct piece *piece, int result, unsigned slot); /* without the lock */
bool piece_blocked(const struct piece *piece);                   /* under the lock */
/* Is a change of these slots of the volume's @chunk under way? Under the lock. */
bool io_changes(const struct nvolume *volume, uint64_t chunk, uint16_t mask);
void piece_register(struct piece *piece);
void piece_unregister(struct piece *piece);
int piece_bounce(struct piece *piece, void (*ready)(struct buf_waiter *waiter, struct buf *buf));
void piece_set_bounce(struct piece *piece, struct buf *buf, char *memory);
bool piece_needs_bounce(const struct piece *piece);
/* The memory of @count slots from @slot on; returns how many iovs, 0: more than @max. */
unsigned piece_iov(const struct piece *piece, unsigned slot, unsigned count, struct iovec *iov,
		   unsigned max);
uint32_t piece_crc(const struct piece *piece, unsigned slot);
/* Start transfers for @mask of piece->address; piece->transfers holds one more count for the
 * caller, who drops it with transfer_drop(). @done when all have ended. */
void piece_transfer(struct piece *piece, enum disk_op op, uint16_t mask,
		    void (*done)(struct disk_request *request, int result));
/* One transfer at a place; @paired: there is another copy. 0; -ENOMEM, -EIO (its device is away):
 * nothing was started. */
int piece_transfer_to(struct piece *piece, enum disk_op op, unsigned slot, unsigned count,
		      const struct pv_place *place, bool paired,
		      void (*done)(struct disk_request *request, int result));
bool transfer_end(struct disk_request *request, int result, struct piece **ret_piece);
/* Note that @slots from @slot on are bad; without the lock. */
void piece_finding(const struct piece *piece, enum pool_finding_kind kind, unsigned slot,
		   unsigned slots);
static inline enum volume_checksum piece_checksum(const struct piece *piece)
{
	return piece->io->volume->volume.checksum;
}
/* Copy between the request's memory and the bounce buffer, [begin, end). */
void piece_copy(struct piece *piece, bool to_request);
static inline unsigned piece_first(const struct piece *piece)
{
	return (unsigned)__builtin_ctz(piece->mask);
}

/* May the slots of @mask have second copies? */
static inline bool piece_mirrored(const struct piece *piece)
{
	return piece->io->volume->volume.mirror;
}

/* io_mend.c. Read both copies of the slots of piece->valid, at piece->address, which must sum to
 * @crc; mend what is bad in one. @done: 0, and the piece's memory has the good contents; -EILSEQ,
 * -EIO: neither copy of @slot is good (mend_accept(): what was read of the first counts all the
 * same; it goes on from there); -ENOMEM. */
void mend_start(struct piece *piece, const uint32_t *crc,
		void (*done)(struct piece *piece, int result, unsigned slot));
void mend_accept(struct piece *piece);

/* io_write.c */
void write_start(struct piece *leader);

#endif
