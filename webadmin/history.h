/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_HISTORY_H
#define WEBADMIN_HISTORY_H

#include <stdint.h>

/* Inside webadmin/: the load and the latency of the last year, in STATE/history.db, a store of its
 * own that a backup of the configuration does not have. A row a minute for HISTORY_MINUTE_DAYS, and
 * of those a row an hour for HISTORY_HOUR_DAYS: some 20,000 rows, 2 MiB, however long it runs.
 * A row is written when its minute is over; what is lost with the power is that minute. A store
 * that can not be opened or written is logged, and nothing else minds. Context: the control loop.
 */
struct webadmin;
struct history;

#define HISTORY_MINUTE_DAYS 7
#define HISTORY_HOUR_DAYS   400
#define HISTORY_SAMPLES_MAX 600 /* of an answer */

/* history_open: NULL when there is no memory; without a store it keeps nothing. */
struct history *history_open(struct webadmin *admin);
void history_close(struct history *history); /* NULL is fine */

/* history_second: the load of the second that is over: bytes read and written, reads and writes. */
void history_second(struct history *history, const uint64_t rate[4]);

#endif
