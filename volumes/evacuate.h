/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_EVACUATE_H
#define VOLUMES_EVACUATE_H

#include "volumes/guard.h"
#include "volumes/keeper.h"

/* Between the files of an evacuation: forward.c (where things are), relocate.c (one chunk from its
 * place to another), evacuate.c (which chunks, and when the device is empty). In the keeper's fiber
 * but for forward_*(), which are under the lock. */

#define BATCH_CHUNKS 1024u
#define BAD_CHUNK    -EREMOTEIO /* a chunk has slots that can not be read */

/* ---- chunkbits.c: bits of some chunks, by number ---- */
struct chunkbits {
	struct chunkbit {
		uint64_t chunk, bits;
	} * slots;
	uint64_t room, count; /* of slots: a power of two, or 0; used */
};
int chunkbits_add(struct chunkbits *set, uint64_t chunk, uint64_t bits); /* 0, -ENOMEM */
uint64_t chunkbits_of(const struct chunkbits *set, uint64_t chunk);
void chunkbits_clear(struct chunkbits *set);

/* ---- what is under way ---- */
/* A chunk of the device, and what is in it. */
struct relocation {
	uint64_t chunk;
	uint64_t first; /* it has a copy of this chunk's pair; CHUNK_NONE: of none */
	unsigned copy;  /* which: 0, 1 */
	uint64_t nodes; /* rows of the devices with the other copies of its nodes, by bit */
	uint64_t target;
	bool spare;         /* another copy of all of it is on another device */
	bool rescue;        /* what can not be read is taken from the pair's other copy */
	uint32_t *expected; /* ... where its slots sum to this */
};

struct evacuation {
	unsigned device;
	bool pairs_done; /* of this pass; the rest of the device is next */
	unsigned pair_row;
	uint64_t pair, cursor;
	struct chunkbits left;  /* chunks of pairs that stay where they are in this pass */
	bool nodes_known;       /* since the open */
	struct chunkbits nodes; /* by chunk of the device: as in struct relocation */
	struct relocation now;  /* with a target while it is BUSY */
	struct relocated {
		uint64_t chunk, target;
		bool spare;
	} batch[BATCH_CHUNKS]; /* BOTH */
	unsigned count;
	uint64_t generation; /* of the first root that has all of them */
	uint8_t *buffer;     /* two chunks */
	uint32_t expected[CHUNK_SLOTS];
	bool waited, empty;
	bool failed; /* since the open or the last resume */
	/* What could not be read in this pass: chunks, those of them with metadata, slots that are
	 * somebody's, and the first of these. */
	uint64_t bad_chunks, bad_meta, bad_slots;
	char bad_volume[VOLUME_PATH_MAX + 1];
	uint64_t bad_offset;
	char reason[400];
};

/* ---- forward.c ---- */
/* The entry of a chunk, with its leaf made and touched. 0, -ENOMEM. */
int forward_entry(struct native *native, uint64_t chunk, uint64_t **ret_entry);
static inline void forward_set(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}
/* Of the row of @chunk: how many of its chunks, of this kind, have been moved. */
uint64_t *forward_count(struct native *native, uint64_t chunk);

/* ---- relocate.c ---- */
/* Copies native->evacuation->now elsewhere and adds it to the batch. 0: so it is, or there was
 * nothing to do; BAD_CHUNK; -EAGAIN: later; -ENOSPC; or an error of the copy. */
int relocate(struct native *native, struct lane *lane);

#endif
