/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_WATCH_H
#define WEBADMIN_WATCH_H

#include "core/err.h"

/* Inside webadmin/: what has happened lately, for those who look on: a ring of events and a ring
 * of samples of the load, both in memory and bounded.
 *
 *   a change that was carried out, or what the look round of each second finds -> an event with
 *   the next id -> whoever waits in GET /events is answered
 *
 * Ids begin with the daemon's start time, so that those of its life before are known to be old:
 * who asks from one of them is told that it has missed some ("lost").
 * Context: the control loop. */
struct webadmin;
struct watch;

#define EVENTS_MAX         256u
#define EVENT_WAITERS_MAX  64u
#define EVENT_WAIT_SECONDS 25u
#define SAMPLES_MAX        300u /* one a second */

int watch_open(struct webadmin *admin, struct watch **ret_watch, struct err *err)
    __attribute__((warn_unused_result));
/* watch_quiet: answers all that wait; no look round begins any more. Before watch_close(). */
void watch_quiet(struct watch *watch);
void watch_close(struct watch *watch);

/* watch_tell: an event; @kind is a constant of "change", "sessions", "pools", "alerts". @method and
 * @path may be "". */
void watch_tell(struct watch *watch, const char *kind, const char *method, const char *path);

#endif
