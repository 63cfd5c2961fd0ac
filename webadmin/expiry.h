/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_EXPIRY_H
#define WEBADMIN_EXPIRY_H

#include "volumes/pool.h"

/* Inside webadmin/: a pool at its end gives up snapshots, of those that were approved for it
 * beforehand (snapshot_approve()), before writes fail.
 *
 *   pool_spends() -> the oldest that may go: POST .../give-up, a change like any other, by the
 *   daemon -> what it held comes back -> enough, or the next one
 *
 * One at a time, and the next not before the space of the last is back or some seconds have passed.
 * What is held, has clones, is mapped, in use, on its way to another pool, or replication's, stays,
 * whatever it was approved for.
 * Context: the control loop. */
struct webadmin;
struct model;

/* Of a pool. */
struct expiry {
	uint64_t given_up;              /* since the daemon's start */
	int64_t at;                     /* the last one, seconds since 1970; 0: none yet */
	char name[VOLUME_PATH_MAX + 1]; /* VOLUME@SNAPSHOT of it */
	bool recent;                    /* it is not long ago: an alert says so */
	bool asked;                     /* one is on its way */
	uint64_t until_ns;              /* loop_now(): so long its space is waited for */
	uint64_t rest_ns;               /* likewise: none is tried */
	/* the last that could not be deleted: older ones are not tried again in this round */
	uint64_t passed_group;
	char passed[VOLUME_PATH_MAX + 1];
};

void expiry_start(struct webadmin *admin);
void expiry_stop(struct webadmin *admin);

/* expiry_refusal: why @snapshot is not given up now, a constant; NULL: it may be. */
const char *expiry_refusal(struct model *model, struct volume *snapshot);
/* expiry_note: @name of pool @pool was given up. */
void expiry_note(struct webadmin *admin, const char *pool, const char *name);

#endif
