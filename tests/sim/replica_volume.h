/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_REPLICA_VOLUME_H
#define TESTS_SIM_REPLICA_VOLUME_H

#include "core/loop.h"
#include "tests/sim/rng.h"
#include "volumes/volume.h"

/* A machine's power, which goes when so many requests more were submitted to its volumes: what
 * comes after that, and what was under way then, has no effect. */
struct replica_power {
	uint64_t left; /* 0: it stays */
	bool lost;
};

/* A volume by the letter of volume.h and no better: requests take effect in any order, what was
 * not flushed may be lost at a power loss, in any subset, torn at 512 bytes. */
struct replica_volume {
	struct volume volume;
	struct loop *loop;
	struct rng *rng;
	uint64_t size;
	uint8_t *live, *durable;
	bool *mapped, *touched;   /* by slot: holds data; was ever written */
	struct list pending;      /* requests that are under way */
	struct list dirty;        /* writes that took effect and are not durable */
	uint64_t submitted, slow; /* slow: times as long, 0 = no */
	uint64_t full_after; /* -ENOSPC for writes to new slots once so many were done; 0: never */
	bool dead;           /* its machine lost power: nothing has an effect any more */
	struct replica_power *power; /* or NULL */
};

struct replica_volume *replica_volume_create(struct loop *loop, struct rng *rng, const char *name,
					     uint64_t size);
/* replica_volume_crash: the machine of @volume loses power now: what is under way ends with -EIO
 * soon. Returns the volume as it comes up again. */
struct replica_volume *replica_volume_crash(struct replica_volume *volume);

#endif
