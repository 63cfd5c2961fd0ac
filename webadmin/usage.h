/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_USAGE_H
#define WEBADMIN_USAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Inside webadmin/: how full pools have been, a row an hour for USAGE_DAYS days, and when they will
 * be full if they go on like this. Context: the control loop. */
struct webadmin;

#define USAGE_DAYS     400u
#define FORECAST_HOURS (14u * 24u) /* what is looked back on */
#define FORECAST_LEAST 24u         /* hours between the first and the last row; less says nothing */

struct usage {
	int64_t hour; /* since 1970 */
	uint64_t used, size;
};

/* usage_forecast: hours from the last of @rows (in order of time) until the pool is full, by the
 * line that fits them best; -1: it does not fill, too little is known, or it is years away. */
int64_t usage_forecast(const struct usage *rows, unsigned count);

/* usage_look: once a second or so; keeps what is due. */
void usage_look(struct webadmin *admin);

#endif
