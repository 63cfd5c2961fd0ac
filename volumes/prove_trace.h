/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_PROVE_TRACE_H
#define VOLUMES_PROVE_TRACE_H

#include "core/fiber.h"
#include "volumes/prove_device.h"

/* Inside the proof of a device. Everything here runs on its thread. */

/* A request that the trace has seen, by its clock, which counts events. */
struct prove_event {
	bool flush, forced;
	uint64_t offset, length;
	uint64_t submitted, completed; /* UINT64_MAX: not yet */
	uint8_t *data;
};

/* The disks that a proof opens are the device itself, with its requests passing by here. */
struct prove_trace {
	const struct world_ops *outer; /* the world it is of */
	struct disk *real;
	uint64_t limit; /* bytes of it that are shown; 0: all */
	bool records;
	uint64_t clock;
	struct prove_event *events;
	size_t count, room;
	uint64_t bytes;
	uint8_t *image; /* of the first PROVE_CRASH_BYTES as they are now; NULL: nobody asks */
	int result;     /* -ENOMEM: not all was recorded */
};

/* prove_trace_world: @outer with disks that are @trace's. What is opened in it has no path of its
 * own. recorder_free: no disk of it is open any more but trace->real, which is closed. */
void prove_trace_world(const struct world_ops *outer, struct world_ops *ret_world);
void prove_trace_use(struct prove_trace *trace); /* by this thread's disk_open() */
void prove_trace_forget(struct prove_trace *trace);
/* What a power cut at time @at may have left of the first @size bytes: into @image, zeros before.
 * @random decides about what was not flushed. */
void prove_trace_crash(const struct prove_trace *trace, uint64_t at, uint32_t torn_at,
		       uint64_t *random, uint8_t *image, uint64_t size);

/* In a fiber: one request of one buffer; and zeros on the first @size bytes. 0 or -errno. */
int prove_disk(struct disk *disk, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	       uint64_t length);
int prove_zero(struct device_proof *proof, uint64_t size);
/* In the proof's fiber: until @budget_ns are over. proof->crashes. 0 or an error of the device. */
int prove_crash_run(struct device_proof *proof, uint64_t budget_ns);

static inline bool proof_stopped(const struct device_proof *proof)
{
	return __atomic_load_n(&proof->stop, __ATOMIC_ACQUIRE);
}

#endif
