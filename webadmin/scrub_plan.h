/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_SCRUB_PLAN_H
#define WEBADMIN_SCRUB_PLAN_H

#include <stdint.h>

#include "core/err.h"
#include "snapshots/snapshots.h"

/* Inside webadmin/: when pools are scrubbed by themselves. Each has a rule as a schedule of
 * snapshots has it, in the machine's time, or none; who says nothing gets SCRUB_EVERY_DEFAULT. A
 * scrub that is due while the daemon is down, or the pool away, is begun when it is back; one that
 * runs or is paused is left to itself, and one that an administrator began counts. A run is a
 * change like any other (POST .../scrub): it is in the audit log. Context: the control loop. */
struct webadmin;
struct model_pool;

#define SCRUB_EVERY_DEFAULT "monthly"
#define SCRUB_EVERY_MAX     127

struct scrub_plan {
	char every[SCRUB_EVERY_MAX + 1]; /* as it was given; "": not read yet */
	struct when when;
	int64_t since; /* when the rule was made, or first seen; seconds since 1970 */
	bool asked;    /* a run is under way */
};

/* scrub_plan_load: what is stored of @pool, once. scrub_plan_set: @every is a rule or "none";
 * durable. -EINVAL. scrub_plan_check: would that be taken? scrub_plan_look: begins what is due. */
void scrub_plan_load(struct webadmin *admin, struct model_pool *pool);
int scrub_plan_check(const char *every, struct err *err) __attribute__((warn_unused_result));
int scrub_plan_set(struct webadmin *admin, struct model_pool *pool, const char *every,
		   struct err *err) __attribute__((warn_unused_result));
void scrub_plan_look(struct webadmin *admin, int64_t now);

#endif
