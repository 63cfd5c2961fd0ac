/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_UPS_H
#define WEBADMIN_UPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* Inside webadmin/: a UPS, as a server of Network UPS Tools (NUT) tells of it. Every UPS_EVERY_NS a
 * thread asks it, over TCP, read-only and without an account; what it says is judged here, shown,
 * told as alerts, and when the time has come the appliance's helper powers the machine off, so that
 * the daemon ends in order.
 *
 * U1 Once it has been decided to power off nothing takes that back but other settings.
 * U2 A server that is silent means nothing while there is power; one that falls silent while the
 *    machine is on battery means that the battery is at its end after UPS_SILENT_S. */

struct alerts;
struct webadmin;

#define UPS_PORT        3493 /* IANA: nut */
#define UPS_EVERY_NS    (5 * 1000000000ull)
#define UPS_LIMIT_MS    5000 /* for connecting, and for each answer */
#define UPS_LINE_MAX    512u
#define UPS_SILENT_S    60
#define UPS_HOST_TEXT   254u
#define UPS_NAME_TEXT   64u
#define UPS_SECONDS_MAX 86400u

struct ups_settings {
	char host[UPS_HOST_TEXT]; /* "": there is none */
	uint16_t port;
	char name[UPS_NAME_TEXT];
	unsigned seconds; /* on battery, then power off; 0: when the battery is low */
};

struct ups_reading {
	bool reached;
	char error[200];           /* why it was not */
	char status[64];           /* ups.status: "OL CHRG", "OB LB", .. */
	int charge, load, runtime; /* percent, percent, seconds; -1: not told */
};

/* ups_client.c. ups_line: takes one line of the server's answer to GET VAR @name @variable: its
 * value into @value, or -EPROTO, or -ENOENT with the server's own word (ERR ..) in @err. Pure.
 * ups_ask: the whole reading; blocks, for a multiple of UPS_LIMIT_MS at most and for as long as a
 * name takes to be looked up. */
int ups_line(const char *line, const char *name, const char *variable, char *value, size_t size,
	     struct err *err) __attribute__((warn_unused_result));
void ups_ask(const struct ups_settings *settings, struct ups_reading *ret_reading);

/* ups_judge: pure. @now: seconds, only ever forward. */
struct ups_watch {
	int64_t battery_since, silent_since; /* 0: not */
};
enum ups_verdict {
	UPS_FINE,
	UPS_ON_BATTERY,
	UPS_SILENT, /* it does not answer, and there was power */
	UPS_POWER_OFF
};
enum ups_verdict ups_judge(struct ups_watch *watch, const struct ups_settings *settings,
			   const struct ups_reading *reading, int64_t now);
/* Has @status the word @flag? */
bool ups_has(const char *status, const char *flag);

/* The daemon's (ups.c). Context: the control loop. ups_open: what is stored; ups_start: from now on
 * it is asked. ups_set: other settings, stored and durable; host "": none. */
struct ups;
int ups_open(struct webadmin *admin, struct err *err);
void ups_start(struct webadmin *admin);
void ups_stop(struct webadmin *admin);
void ups_close(struct webadmin *admin);
int ups_set(struct webadmin *admin, const struct ups_settings *settings, struct err *err);
int ups_check(const struct ups_settings *settings, struct err *err);

enum ups_rule { UPS_RULE_BATTERY, UPS_RULE_LOW, UPS_RULE_SILENT, UPS_RULE_REPLACE, UPS_RULES };
void ups_look(struct webadmin *admin, struct alerts *alerts, const unsigned rules[UPS_RULES]);

/* What is known now; false: there is no UPS. */
struct ups_shown {
	struct ups_settings settings;
	struct ups_reading reading;
	bool asked; /* at least once */
	bool powering_off;
	int64_t battery_seconds;
};
bool ups_show(struct webadmin *admin, struct ups_shown *ret_shown);

#endif
