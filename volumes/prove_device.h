/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_PROVE_DEVICE_H
#define VOLUMES_PROVE_DEVICE_H

#include "core/world.h"
#include "volumes/prove_load.h"

/* The proof of a device or file that is nobody's yet: can a pool be trusted to it?
 *
 * What the kernel knows of it; how fast it is and how long its flushes take, by a load of its own;
 * and whether a pool on it survives crashes: the engine makes one there, writes, flushes, and every
 * write that reaches the device is recorded with its order. Then, as often as the time allows, what
 * a power cut at some moment may have left (all that was flushed; of the rest any part, cut at the
 * smallest unit) is written to the device, the pool is opened from it, and everything that was
 * acknowledged as durable has to be there, and everything else old or new.
 *
 * What it can not do is cut the power. A device that forgets what it has confirmed is found by how
 * long its flushes take, or not at all. */

/* What can be said of a promise of the device's. */
enum prove_promise {
	PROVE_KEPT,       /* it takes the time that keeping it takes */
	PROVE_NOT_NEEDED, /* there is no cache to be flushed */
	PROVE_DOUBTFUL,   /* it takes no time */
	PROVE_BROKEN      /* it can not be kept, or has failed */
};

struct prove_crashes {
	uint64_t states, failed;
	uint64_t writes, flushes; /* that were recorded */
	uint64_t seed;
	uint32_t torn_at;  /* bytes: where a write may be cut */
	char finding[200]; /* of the first that failed */
};

/* Caller-allocated; zeros but for the first group. */
struct device_proof {
	const char *path;
	uint64_t create_bytes; /* of a file that is made for it; 0: it is there */
	uint64_t budget_ns;
	bool force; /* whatever is on it */
	bool dry;   /* nothing is written: only would it be refused, and tested_bytes */
	/* On the loop of device_proof_start(). 0; -EEXIST (there is data), -EINVAL (too small),
	 * -EBUSY, -ENOENT, -ECANCELED .., with a sentence. @created: the file is there, for the
	 * caller to remove, after errors, too. */
	void (*done)(struct device_proof *proof, int result);
	struct err err;
	bool created;

	/* What was found; valid after 0. */
	struct disk facts; /* numbers and flags alone */
	uint64_t tested_bytes;
	/* Medians in us: a flush with nothing to do, behind 4 KiB, behind 32 MiB. */
	double flush_idle_us, flush_small_us, flush_large_us;
	enum prove_promise flush, forced;
	const char *flush_why, *forced_why;
	struct prove_load load;
	struct prove_crashes crashes;

	/* private */
	const struct world_ops *outer;
	struct world_ops world;
	struct loop *home, *loop;
	struct message message;
	struct fiber *fiber;
	struct disk *disk;
	struct prove_trace *trace;
	bool stop; /* atomic */
	bool idle;
	int result;
};

/* device_proof_start: on a thread of its own. What is on the first GiB of the device is zeros at
 * done(). Context: the control loop. device_proof_stop: done() comes soon, with -ECANCELED. */
void device_proof_start(const struct world_ops *world, struct loop *loop,
			struct device_proof *proof);
void device_proof_stop(struct device_proof *proof);

#define PROVE_CRASH_BYTES (64ull << 20) /* of the device, that crashes are replayed on */

#endif
