/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_ADMIN_H
#define WEBADMIN_ADMIN_H

#include <stdatomic.h>

#include "webadmin/access.h"
#include "webadmin/certificate.h"
#include "webadmin/health.h"
#include "webadmin/model.h"
#include "webadmin/support.h"
#include "webadmin/watch.h"
#include "webadmin/webadmin.h"

/* api_certificate.c: when the web front's certificate expires, seconds since 1970; 0: not known.
 * Read again each minute. */
int64_t certificate_expires(struct webadmin *admin);

/* api_appliance.c: the thread that waits for the appliance's helper, one request after the other.
 */
struct relay_thread {
	struct loop *loop;
	struct list waiting; /* struct relay */
	unsigned waiting_count;
	pthread_t thread;
	bool runs;
	atomic_bool stop; /* no more asking how far it is */
};
/* relay_stop: what waits is refused; the call under way is waited for, seconds at most, and its
 * answer is still to be delivered by the loop. */
void relay_stop(struct relay_thread *thread);

/* relay_send: @message (stolen) to the helper, and answered() with its reply, NULL when it gave
 * none (a @request that can not be sent is refused at once). @follow_ms: a reply of 202 is the
 * beginning of an update: so long at most until it is past its checks, and the reply is its state
 * then, or of a DELETE, until it has ended; 0: not. */
void relay_send(struct api_request *request, json_t *message, unsigned follow_ms,
		void (*answered)(struct api_request *request, const json_t *reply));
/* relay_look: GET @path of the helper, apart from what waits for it: answered() with NULL when
 * there is none, or it does not answer in a moment. */
void relay_look(struct api_request *request, const char *path,
		void (*answered)(struct api_request *request, const json_t *reply));
/* api_update.c: the last update of the appliance as a job, new; of what relay_look() was told.
 * NULL: there was none. */
json_t *update_show_job(const json_t *reply);
/* relay_answer: the helper's reply as it is. */
void relay_answer(struct api_request *request, const json_t *reply);

/* api_smb.c: what granary-smb has said last. */
struct smb_report {
	uint64_t heard_ns; /* 0: never */
	uint16_t port;     /* 0: it does not serve */
	char reason[256];
};

/* api_isns.c: register with the server that is configured, if one is. */
void isns_load(struct webadmin *admin);
/* As a document has it; new. alert_rules: those that were changed. */
json_t *isns_show_wanted(struct webadmin *admin);
json_t *alert_rules_show_wanted(struct webadmin *admin);
json_t *channels_show_wanted(struct webadmin *admin);
json_t *ups_show_wanted(struct webadmin *admin);
json_t *slow_show_wanted(void);
json_t *groups_show_wanted(const struct model_target *target);

/* Inside webadmin/: the administration itself. */
struct webadmin {
	struct webadmin_options options;
	struct model model;
	struct list changes;        /* ROUTE_CHANGE requests that wait for their turn */
	struct api_request *change; /* the one that runs */
	json_t *held;               /* its reply, until what it changed is in force */
	struct timer in_force;
	uint64_t in_force_limit_ns;
	uint64_t started_wall_ns;
	struct access *access; /* access.h */
	struct replication *replication;
	unsigned replica_calls;              /* of exports that are being made after a promotion */
	struct replica_batch *replica_batch; /* while such calls are begun: theirs */
	struct relay_thread relay, looks;    /* what changes something may take its time */
	struct backups *backups;             /* backup.h; NULL: not asked for yet */
	json_t *metadata;                    /* metadata.h */
	struct device_proof *proof;          /* prove_device.c: the one that runs; NULL: none */
	struct gather *gather;               /* a support bundle that is being made; NULL: none */
	bool applying;                       /* a document of the whole configuration */
	struct certificate certificate;
	int64_t expires;         /* certificate_expires() */
	int64_t nfs_tls_expires; /* nfs_tls.h */
	bool nfs_tls_believes;
	uint64_t expires_read_ns;
	struct smb_report smb;
	struct disk_health health;
	struct ups *ups;         /* ups.h */
	struct watch *watch;     /* watch.h */
	struct history *history; /* history.h */
	struct alert_watch *alert_watch;
	struct channels *channels;
	int64_t usage_hour;  /* usage.h: the last that was kept */
	struct list replays; /* replay.c: answers to Idempotency-Keys, oldest first */
	unsigned replay_count;
	struct api_request *turn; /* in place of a change: webadmin_turn_take() */
	unsigned moves_running;   /* move.h */
	bool moves_stopping;
	void (*moves_stopped)(struct webadmin *admin);
	struct list retired_moves;
	struct list uploads;   /* image.h: of images, the one that was used last in front */
	struct list schedules; /* schedule.h, by name */
	unsigned schedule_count;
	struct timer schedule_timer, expiry_timer;

	/* start.c: bringing up and taking down */
	unsigned pending, failures;
	unsigned shares_pending;
	bool shares_stopping;
	void (*shares_done)(struct webadmin *admin);
	void (*started)(void *context);
	void (*stopped)(void *context, unsigned failures);
	void *phase_context;
	const char *phase;                    /* NULL: running */
	void (*idle)(struct webadmin *admin); /* once, when no change runs any more */
};

/* replay.c: a change with an Idempotency-Key is carried out once; who sends it again within a day
 * gets the first answer. Answers are kept in memory, the last REPLAY_MAX of them. */
#define REPLAY_MAX        512u
#define REPLAY_KEY_LENGTH 128u
/* replay_answer: true when @request has been answered (again, or with an error). */
bool replay_answer(struct api_request *request);
void replay_keep(struct api_request *request, json_t *reply);
void replay_finish(struct webadmin *admin);

/* webadmin.c: no change runs until the turn is given back, as if one did: for what changes the
 * configuration by itself, and waits in between. False: one runs now. */
bool webadmin_turn_take(struct webadmin *admin);
void webadmin_turn_give(struct webadmin *admin);

/* webadmin.c, for api.c: the end of @request. The answer to a change goes out when every I/O loop
 * goes by the exports it has made: who is told that a client is shut out is told the truth. Takes
 * @reply. */
void webadmin_reply(struct api_request *request, json_t *reply);

/* start.c: serve the LUNs of a pool that has come back. */
void webadmin_start_luns(struct webadmin *admin, const char *pool);

/* The setting that says when the copy of the configuration was made that is in force. */
#define WEBADMIN_COPIED "configuration-copied"

#endif
