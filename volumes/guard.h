/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_GUARD_H
#define VOLUMES_GUARD_H

#include "volumes/native.h"

/* What watches over the data of an open pool: the ledger of findings (findings.c) and the scrub
 * (scrub.c). Private to the native engine. */

#define FINDINGS_MAX 1024u
/* Of the ledger's copies in the head area of a device; nothing else is behind it. */
#define LEDGER_OFFSET (256u << 10)

/* One finding, as kept in the ledger. */
struct finding {
	uint64_t time_ns; /* wall, of the last time it was met */
	uint64_t volume;  /* id; 0: the pool's own */
	uint64_t offset;  /* bytes of the volume; of a node: its index; of a label: the device */
	uint64_t length;  /* bytes; of a label: the copy */
	uint8_t kind;     /* enum pool_finding_kind */
	uint8_t tree, level;
};

static inline bool finding_repaired(const struct finding *finding)
{
	return finding->kind == FINDING_NODE_REPAIRED || finding->kind == FINDING_LABEL ||
	       finding->kind == FINDING_DATA_REPAIRED;
}

/* What a scrub has to know after a restart. */
struct scrub_state {
	uint8_t state; /* enum pool_scrub_state */
	uint64_t started_ns, ended_ns;
	uint64_t rate; /* bytes a second */
	uint64_t volume, offset;
	uint64_t done, total, nodes, slots, errors, repaired;
};

struct ledger {
	struct finding finding[FINDINGS_MAX];
	unsigned count;
	uint64_t dropped; /* for want of room */
	uint64_t sequence;
	bool dirty;
	struct scrub_state scrub;
};

/* ---- findings.c ---- */
/* Under the lock, any loop: met again, a finding keeps its row. */
void finding_note(struct native *native, const struct finding *finding);
/* In a fiber, at open, before anything can be found: what is there, or an empty ledger. -ENOMEM. */
int ledger_read(struct native *native);
/* In the keeper's fiber: write it when it changed. A failure is logged; nothing depends on it. */
void ledger_write(struct native *native);
void ledger_dirty(struct native *native); /* under the lock: have it written soon */
bool native_finding(struct pool *pool, unsigned index, struct pool_finding *ret_finding);
void native_findings_clear(struct pool *pool);

/* ---- reserve.c; under the lock ---- */
void reserve_setup(struct native *native); /* at open, after the trees are loaded */
/* watermark_look: on the home loop, without the lock. */
void watermark_look(struct native *native);
const uint8_t *watermarks_of(const struct native *native);

/* ---- scrub.c ---- */
struct scrub;
int native_scrub(struct pool *pool, enum pool_scrub_action action, uint64_t rate, bool dry,
		 struct err *err);
void native_scrub_info(struct pool *pool, struct pool_scrub_info *ret_info);
int scrub_new(struct native *native);     /* -ENOMEM */
void scrub_opened(struct native *native); /* go on where the last life stopped */
void scrub_halt(struct native *native);   /* in a fiber, before the pool closes */
void scrub_free(struct native *native);
/* In a fiber of its own: mend every copy of a metadata node that is bad, quietly, for a device is
 * known to have old ones. -EINTR: halted; -ENOMEM. */
int scrub_nodes(struct native *native, struct lane *lane, const bool *halt);

#endif
