/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_API_SCHEDULE_H
#define WEBADMIN_API_SCHEDULE_H

#include "webadmin/schedule.h"

/* Between schedule.c (rows, timer) and api_schedule.c (routes). */
struct schedule *schedule_find(struct webadmin *admin, const char *name);
void schedule_insert(struct webadmin *admin, struct schedule *schedule);
void schedule_remove(struct webadmin *admin, struct schedule *schedule); /* and free it */
void schedule_free(struct schedule *schedule);
/* schedule_read_zone: from its name; the one it had stays when that fails. */
int schedule_read_zone(struct schedule *schedule, struct err *err);
/* Inside a transaction of the caller: a new row; another meaning of it; what its last run came to.
 */
int schedule_store(struct config *config, const struct schedule *schedule, struct err *err);
int schedule_store_change(struct config *config, const struct schedule *schedule, struct err *err);
int schedule_store_run(struct config *config, const struct schedule *schedule, struct err *err);
void schedule_look_soon(struct webadmin *admin);

#endif
