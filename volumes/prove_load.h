/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_PROVE_LOAD_H
#define VOLUMES_PROVE_LOAD_H

#include "core/disk.h"
#include "volumes/volume.h"

/* The load of a proof, of a pool's storage (webadmin/prove.c) or of a device (prove_device.c): what
 * there is is written in several ways, one phase after the other, then read back and compared with
 * what was written. */

enum prove_phase {
	PROVE_SEQUENTIAL,
	PROVE_RANDOM,
	PROVE_FLUSHED, /* each write with a flush behind it */
	PROVE_FORCED,  /* FUA */
	PROVE_VERIFY,  /* to the end, however long it takes */
	PROVE_PHASES
};
extern const char *const prove_phase_names[PROVE_PHASES];

#define PROVE_DEPTH_MAX 16u
#define PROVE_SIZE_MAX  (1ull << 30)
#define PROVE_SIZE_MIN  (16ull << 20)
#define PROVE_BUCKETS   160u /* four to a power of two */

struct prove_outcome {
	uint64_t count, bytes, ns; /* of reads or writes; the phase's time */
	uint64_t flushes;
	uint64_t io[PROVE_BUCKETS], flush[PROVE_BUCKETS];
};
/* How long so large a part of what was counted took at most, in us; 0: nothing was counted. */
double prove_quantile_us(const uint64_t histogram[PROVE_BUCKETS], double part);

enum prove_op { PROVE_READ, PROVE_WRITE, PROVE_FORCED_WRITE, PROVE_FLUSH };

struct prove_load;
struct prove_slot {
	struct prove_load *load;
	enum prove_op op;
	uint64_t offset, length, started_ns;
	struct iovec iov;
	union { /* for submit() */
		struct volume_request volume;
		struct disk_request disk;
	} request;
};

/* Caller-allocated; the first group is the caller's to fill in. */
struct prove_load {
	struct loop *loop;
	uint64_t size; /* bytes, of whole MiB */
	uint64_t budget_ns;
	bool zeros;                              /* what was never written reads as zeros */
	void (*submit)(struct prove_slot *slot); /* ends with prove_slot_done(), never inside */
	bool (*stopped)(struct prove_load *load);
	void (*finished)(struct prove_load *load); /* nothing is in flight any more */

	struct prove_outcome outcome[PROVE_PHASES];
	uint64_t verified, mismatches, errors; /* blocks of VOLUME_SLOT; requests */

	/* private */
	uint64_t seed, cursor, begun_ns;
	unsigned phase, in_flight;
	uint32_t *version; /* of each block: how often it was written; 0: never */
	struct prove_slot slots[PROVE_DEPTH_MAX];
};

/* prove_load_setup: -ENOMEM. prove_load_free: after finished(), or instead of prove_load_start().
 * Context: the loop. */
int prove_load_setup(struct prove_load *load);
void prove_load_free(struct prove_load *load);
void prove_load_start(struct prove_load *load);
void prove_slot_done(struct prove_slot *slot, int result);

/* What block @block holds that was written for the @version-th time. */
void prove_fill(uint64_t seed, uint64_t block, uint32_t version, uint8_t to[VOLUME_SLOT]);
uint64_t prove_mix(uint64_t x);

#endif
