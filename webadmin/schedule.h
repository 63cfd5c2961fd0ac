/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_SCHEDULE_H
#define WEBADMIN_SCHEDULE_H

#include <jansson.h>

#include "core/config.h"
#include "core/err.h"
#include "snapshots/snapshots.h"
#include "volumes/pool.h"

/* Inside webadmin/: schedules of snapshots. What they mean is in snapshots/; here are their rows,
 * their timer and their runs. A run is a change like any other (POST .../run), so it waits for its
 * turn, is in the audit log and told as an event.
 *
 *   due -> run: snapshots of all volumes at one instant -> what is kept no longer is deleted
 *       -> the row says what came of it
 *
 * A run that is due while the daemon is down is missed and counted; one is made up for when it is
 * back. A run that can not be carried out is skipped, counted, and says why.
 *
 * The file of a zone is read when the schedule is made, changed or loaded, and before each run, as
 * zones change their rules. Where it is gone nothing is due, and an alert says so: a run at a time
 * that nobody meant would be worse. */
struct webadmin;
struct model;

#define SCHEDULES_MAX        256u
#define SCHEDULE_VOLUMES_MAX 64u
#define SCHEDULE_NAME_MAX    63

struct schedule_volume {
	uint8_t uuid[16];
	char name[VOLUME_NAME_MAX + 1]; /* when it was last seen */
};

struct schedule {
	struct list link; /* by name */
	char name[SCHEDULE_NAME_MAX + 1], pool[POOL_NAME_MAX + 1], prefix[PREFIX_MAX + 1];
	char every[128]; /* as it was given */
	struct when when;
	char zone_name[ZONE_NAME_MAX + 1]; /* empty: the machine's */
	struct zone *zone;                 /* NULL: the machine's, or it could not be read */
	struct keep keep;
	struct schedule_volume *volumes;
	unsigned volume_count;
	int64_t
	    settled; /* runs due up to then are over, one way or the other; seconds since 1970 */
	int64_t ran; /* 0: never */
	int64_t runs, missed, skipped;
	char result[256]; /* of the last run */
	bool seen,
	    troubled;    /* the last run: in this life; skipped, or some before it were missed */
	bool expendable; /* its snapshots may be given up when the pool is at its end */
	bool running;
	bool due; /* within a look */
};

/* Context of all: the control loop. schedules_load: from the store; at creation. schedules_start:
 * runs begin, what was missed is counted. schedules_stop: no run begins any more. */
int schedules_load(struct webadmin *admin, struct err *err);
void schedules_start(struct webadmin *admin);
void schedules_stop(struct webadmin *admin);
void schedules_free(struct webadmin *admin);
/* schedule_show: as the API has it; new. */
json_t *schedule_show(struct model *model, const struct schedule *schedule);
/* schedule_next: the first run that is not settled yet; INT64_MAX: none. */
int64_t schedule_next(const struct schedule *schedule);

#endif
