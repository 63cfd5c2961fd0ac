/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_ALERT_H
#define WEBADMIN_ALERT_H

#include <jansson.h>

#include "core/config.h"
#include "core/err.h"
#include "core/list.h"
#include "core/loop.h"

/* Inside webadmin/: what is wrong with the box, told once. One table of rules (alert_rules.c); once
 * a second each rule looks at what the daemon knows and observes the objects that are in trouble.
 *
 *   observed for "after" seconds -> firing -> not observed for "clear" seconds -> cleared
 *                                     |  acknowledged by somebody: stays, says no more
 *                                     |  silenced: stays, says nothing while the silence lasts
 *
 * L1 An object has at most one alert of a rule that is not cleared.
 * L2 Of each alert every channel hears that it fires, once, and that it has cleared, once; after a
 *    crash in between it may hear it again, never not at all (told, in the store).
 * L3 What is shown and told is in memory; the store follows within a second, later when it can not
 *    be written. A full disk keeps no alert from being told.
 * Context: the control loop. */

struct webadmin;
struct schedule;

enum alert_severity { ALERT_INFO, ALERT_WARNING, ALERT_CRITICAL, ALERT_SEVERITIES };
const char *alert_severity_name(enum alert_severity severity);
bool alert_severity_parse(const char *name, enum alert_severity *ret_severity);

enum alert_language { ALERT_ENGLISH, ALERT_CHINESE, ALERT_LANGUAGES };

#define ALERT_OBJECT_MAX 300u
#define ALERT_DETAIL_MAX 400u
#define ALERT_ACTIVE_MAX 1024u /* not cleared; more are counted */
#define ALERT_KEPT_MAX   500u  /* cleared ones; more for as long as the store does not have them */
#define ALERT_TIME_MAX   86400u

/* A row of the table. In the texts {object}, {value} and {detail} stand for what was observed. */
struct alert_rule {
	const char *code; /* stable, for programs */
	enum alert_severity severity;
	unsigned after_s, clear_s;
	unsigned level; /* of what is measured; 0: nothing is */
	const char *unit;
	const char *text[ALERT_LANGUAGES], *todo[ALERT_LANGUAGES];
};
const struct alert_rule *alert_rules(unsigned *ret_count);
#define ALERT_RULES_MAX 64u
#define ALERT_MARGIN    2u /* percent below its level it is over */

/* What the administrator made of it. */
struct alert_tuning {
	bool enabled;
	enum alert_severity severity;
	unsigned after_s, clear_s, level;
};

struct alert {
	struct list link;
	int64_t id; /* 0: does not fire yet */
	unsigned rule;
	char object[ALERT_OBJECT_MAX], detail[ALERT_DETAIL_MAX];
	int64_t value;
	enum alert_severity severity;  /* when it fired */
	int64_t fired, cleared, acked; /* seconds since 1970; 0: not */
	char acked_by[80];
	unsigned told;  /* enum alert_told: heard by all who are to hear it */
	unsigned asked; /* likewise: on its way, in this life of the daemon */
	/* private to alert.c */
	bool on, observed, stays, unknown;
	bool dirty; /* not in the store as it is */
	int64_t
	    turned; /* since when it is observed otherwise, seconds of any clock; -1: it is not */
	int64_t clears; /* seconds since 1970, when it stays as it is; 0: it is not over */
};
enum alert_told { ALERT_TOLD_FIRED = 1, ALERT_TOLD_CLEARED = 2 };

struct alert_silence {
	struct list link;
	int64_t id;
	char rule[40], object[ALERT_OBJECT_MAX]; /* "": any */
	int64_t until;
	char by[80], reason[200];
};
#define ALERT_SILENCES_MAX 256u

/* All of it. */
struct alerts {
	struct list active;  /* on, or about to be; oldest first */
	struct list cleared; /* newest first */
	struct list silences;
	unsigned active_count, cleared_count, silence_count;
	uint64_t left_out; /* in the last round, for want of room */
	int64_t last_id;
	struct alert_tuning tuning[ALERT_RULES_MAX];
	bool changed; /* since the end of the last round: something fires, has cleared */
};

void alerts_init(struct alerts *alerts);
void alerts_finish(struct alerts *alerts);

/* A round: begin; observe what is in trouble; end. @begins: enough to make it fire. Otherwise what
 * fires already stays (hysteresis), and nothing begins. @unknown: it can not be told now, all stays
 * as it is. @now: seconds, only ever forward; @wall: since 1970, for stamps. */
void alerts_begin(struct alerts *alerts);
void alerts_observe(struct alerts *alerts, unsigned rule, const char *object, bool begins,
		    int64_t value, const char *detail);
void alerts_unknown(struct alerts *alerts, unsigned rule, const char *object);
void alerts_end(struct alerts *alerts, int64_t now, int64_t wall);

struct alert *alerts_find(struct alerts *alerts, int64_t id);
bool alerts_silenced(const struct alerts *alerts, const struct alert *alert, int64_t wall);
/* "firing", "acknowledged", "silenced", "cleared". */
const char *alert_state(const struct alerts *alerts, const struct alert *alert, int64_t wall);
/* -1: there is none. */
int alert_rule_find(const char *code);
/* A text of the table with what was observed in it. */
void alert_expand(const struct alert *alert, const char *text, char *out, size_t size);
json_t *alert_show(const struct alerts *alerts, const struct alert *alert, int64_t wall);

/* alert_store.c: rows. alerts_load: at creation. alert_store: one alert as it is. alerts_prune:
 * what is cleared and too old. The last two inside a transaction of the caller's. */
int alerts_load(struct config *config, struct alerts *alerts, struct err *err);
int alert_store(struct config *config, const struct alert *alert, struct err *err);
int alerts_prune(struct config *config, struct err *err);
int alert_store_tuning(struct config *config, unsigned rule, const struct alert_tuning *tuning,
		       struct err *err);
int alert_store_silence(struct config *config, struct alert_silence *silence, struct err *err);

/* alert_rules.c: one look at everything. @alerts has begun a round. */
void alert_look(struct webadmin *admin, struct alerts *alerts);

/* alert_watch.c: the rounds of a daemon, and who is told. alert_watch_start: when all is up.
 * alert_watch_stop: no round begins any more; what the last ones and the channels have left is
 * stored. After alert_channels_stop(). */
struct alert_watch;
int alert_watch_create(struct webadmin *admin, struct err *err);
void alert_watch_start(struct webadmin *admin);
void alert_watch_stop(struct webadmin *admin);
void alert_watch_destroy(struct webadmin *admin);
struct alerts *alert_watch_alerts(struct webadmin *admin);

#endif
