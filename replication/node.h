/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_NODE_H
#define REPLICATION_NODE_H

#include <netinet/in.h>

#include "core/config.h"
#include "core/list.h"
#include "core/stream.h"
#include "replication/address.h"
#include "replication/calendar.h"
#include "replication/group.h"
#include "replication/replication.h"
#include "replication/tls.h"
#include "snapshots/snapshots.h"

/* Inside replication/: the node: what it knows, whom it talks to. */

#define PEER_NAME_MAX 63
#define LISTENERS_MAX 16
#define ADDRESSES_MAX 8   /* of a group */
#define CODE_DIGITS   12u /* of base 32: 60 bits */
#define RPO_NS        (5 * 1000000000ull)

struct peer {
	struct list link;
	uint8_t uuid[16], fingerprint[TLS_FINGERPRINT];
	char name[PEER_NAME_MAX + 1];
	char address[256];
	uint16_t port;
	/* rekey.c. The certificate that it is about to show, durable: it may show either. */
	uint8_t next[TLS_FINGERPRINT];
	bool has_next;
	/* Of our own new key: it knows it; it is being told. */
	bool told, telling;
	uint64_t rekey_retry_ns, rekey_tries;
	char rekey_reason[160];
};

/* What is under way with a group's shipped seed, or was last. */
struct seat_seed {
	const char *state; /* "none", "exporting", "exported", "importing", "imported", "failed" */
	bool running, importing, cancelled;
	bool tidied; /* no snapshot of an export is left, as far as is known */
	char path[1024], reason[200];
	uint64_t epoch, done_bytes, total_bytes, file_bytes;
};

/* A group and the session it has with the peer, if any. */
struct seat {
	struct list link;
	struct replication *replication;
	struct group group;
	struct channel channel;
	uint8_t peer[16];
	uint64_t rpo_ns, clean; /* clean: stopped with all of this epoch sealed; 0: not */
	uint64_t limit_bytes;   /* where the calendar has nothing; group.limit_bytes: now */
	struct calendar calendar;
	bool protect; /* guests' changes are held when the RPO would not be kept */
	bool paused, started;
	bool session; /* a fiber runs */
	bool acting;  /* an administrator's action is under way */
	/* Fibers that look at it after a wait; when it is gone (off the list), the last one frees
	 * it. */
	unsigned users;
	bool gone;
	char *definition; /* JSON */
	/* Standby: who is let in and what is reserved, sealed by the host. Heap; NULL: not known.
	 */
	uint8_t *access;
	size_t access_length;
	bool access_large; /* primary: too large, said */
	/* exports.c: what it was promoted with is not all made and dropped, durably; it is being
	 * made; what is being made is not what it has now. */
	bool exports_due, exporting, exports_void;
	uint64_t exports_retry_ns;
	struct keep keep; /* which points are kept; all zero: none. Of the definition */
	struct service_address addresses[ADDRESSES_MAX];
	unsigned address_count, announce_left;
	bool addresses_up;          /* some may be on the interfaces */
	bool addresses_again;       /* not all could be set, or taken away */
	uint64_t addresses_from_ns; /* also without an answer of the other node */
	char addresses_trouble[200];
	bool points_kept; /* there may be some */
	bool points_failed;
	char points_trouble[200]; /* why the last one could not be kept; "" */
	char *sent_definition;
	struct tls_dial *dial;
	uint64_t retry_ns, retries;
	char unavailable[200]; /* why it was not started */
	struct seat_seed seed;
	uint64_t rate_at_ns, rate_bytes, rate;
	/* Of the definition; whether a conversation with it, or with the other node, is under way.
	 */
	uint8_t witness[16];
	bool lease_calls[LEASE_OTHERS];
	uint64_t lease_retry_ns[LEASE_OTHERS];
	uint64_t witness_heard_ns; /* or since when it should have answered */
	uint64_t heard_ns;         /* of a session, or since when there should be one */
	unsigned alarms;           /* bits, by enum seat_alarm */
};

enum seat_alarm {
	SEAT_ALARM_RPO,      /* what the standby has is older than was asked for */
	SEAT_ALARM_LINK,     /* there has been no session for a while */
	SEAT_ALARM_MISMATCH, /* the last comparison found something */
	SEAT_ALARM_HELD,     /* guests' changes wait for the standby */
	SEAT_ALARM_LEASE,    /* guests wait for a lease */
	SEAT_ALARM_WITNESS,  /* the witness does not answer */
	SEAT_ALARM_PROMOTED, /* this node has promoted itself, and has no standby yet */
	SEAT_ALARMS
};

struct replication {
	struct replication_options options;
	struct config *config;
	struct tls_identity *identity;
	struct tls_identity *next; /* durable, and not shown yet; NULL: none */
	bool rekeying;             /* peers are to be told */
	unsigned pairing;          /* calls under way */
	uint8_t node[16];
	char name[PEER_NAME_MAX + 1];
	struct listener *listeners[LISTENERS_MAX];
	unsigned listener_count;
	uint16_t port;
	struct list peers, seats;
	struct recorder *retired; /* of groups that ended with requests on their way */
	struct timer clock;
	struct lease_book leases; /* of the groups that this node is the witness of */
	unsigned lease_talks;
	bool stopping;
	unsigned busy; /* connections, dials and fibers that refer to this */
	void (*stopped)(void *context);
	void *stopped_context;
	/* the code that is good for one pairing */
	char code[CODE_DIGITS + 1];
	uint64_t code_until_ns;
	unsigned code_tries;
};

/* A connection that came in or goes out, until it is somebody's. */
struct visit {
	struct replication *replication;
	struct channel channel;
	struct tls_peer tls;
	struct seat *seat;             /* going out to its peer */
	struct replication_call *call; /* going out to pair */
	struct seat *lease_seat;       /* going out to ask for its lease */
	enum lease_other lease_other;
	bool pairs;  /* counted in pairing */
	bool rekeys; /* going out to tell of a new key, to this node */
	uint8_t rekey[16];
	char code[CODE_DIGITS + 1];
	char address[256]; /* the other end */
	uint16_t port;
	struct tls_dial *dial;
};

struct peer *peer_find(struct replication *replication, const uint8_t uuid[16]);
struct peer *peer_by_fingerprint(struct replication *replication, const uint8_t *fingerprint);
struct peer *peer_by_name(struct replication *replication, const char *text);

/* pair.c: inside a fiber on an open channel. */
void pair_answer(struct visit *visit, const struct wire_message *message);
void pair_ask(struct visit *visit);
int code_normalize(const char *text, char ret_code[CODE_DIGITS + 1]);

/* rekey.c. peer_is: may it show this certificate? peer_shows: it does, over a connection.
 * rekey_answer, rekey_ask: inside a fiber on an open channel; rekey_hung_up: the visit is over,
 * @why when there was no channel. rekey_load: what self has of a next one. rekey_follow: often. */
bool peer_is(const struct peer *peer, const uint8_t fingerprint[TLS_FINGERPRINT]);
void peer_shows(struct replication *replication, struct peer *peer,
		const uint8_t fingerprint[TLS_FINGERPRINT]);
void rekey_answer(struct visit *visit, struct peer *peer, const struct wire_message *message);
void rekey_ask(struct visit *visit);
void rekey_hung_up(struct visit *visit, const char *why);
void rekey_load(struct replication *replication, const char *key, const char *certificate);
void rekey_follow(struct replication *replication, uint64_t now);

/* seats.c */
struct seat *seat_find(struct replication *replication, const char *name);
struct seat *seat_by_uuid(struct replication *replication, const uint8_t uuid[16]);
struct seat *seat_new(struct replication *replication, const char *name, const uint8_t uuid[16],
		      const uint8_t peer[16]);
/* seat_free: at once, or when the last of those that seat_enter() has left. The volumes' requests
 * may go on meanwhile. */
void seat_free(struct seat *seat);
void seat_enter(struct seat *seat);
void seat_leave(struct seat *seat);
int seats_load(struct replication *replication, struct err *err);
void seats_start(struct replication *replication);
void seats_tick(struct replication *replication);
/* seat_take_settings: what of @definition the seat has in its own fields. */
void seat_take_settings(struct seat *seat, const json_t *definition);
/* In a fiber: a group's primary has come with @hello. */
void seat_receive(struct visit *visit, const struct wire_message *hello);
/* In a fiber: to the group's standby. */
void seat_send(struct visit *visit);
/* seat_end_session: break it and wait for its end. Fiber. */
void seat_end_session(struct seat *seat, const char *why);
/* seat_store: its row, durably. seat_save: the same as a group's host; says so when it fails. */
int seat_store(struct seat *seat, struct err *err);
int seat_save(struct group *group);
void seat_set_rpo(struct seat *seat, uint64_t rpo_ns); /* 0: the default */
/* seat_follow: the group has what its settings say for now: limit, protection. Often. */
void seat_follow(struct seat *seat);
/* seat_close: orderly: sessions are over; flush, remember what is clean, let go. Fiber. */
void seat_close(struct seat *seat);

/* members.c. seat_open_members: those of @definition and the staging log, made where @make and they
 * are not there. Fiber where it makes something, or may. */
extern const struct group_host seat_host;
int seat_open_members(struct seat *seat, json_t *definition, bool make, struct err *err);
int seat_open_staging(struct seat *seat, struct err *err);
/* seat_snapshot: of every member, named @name, a pool after the other; nobody writes to them
 * meanwhile. Fiber. */
int seat_snapshot(struct seat *seat, const char *name, struct err *err);

/* access_seat.c: who is let in and what is reserved (access.h), as the group's host.
 * seat_access_open: what is kept of it; NULL: nothing, or it can not be opened (said). The
 * caller's. seat_access_drop: it is over; in memory, the row follows with the next save. */
int seat_access(struct group *group, uint8_t **ret_data, size_t *ret_length);
int seat_keep_access(struct group *group, const uint8_t *data, size_t length, struct err *err);
int seat_guard(struct group *group, bool planned, struct err *err);
json_t *seat_access_open(const struct seat *seat);
void seat_access_drop(struct seat *seat);
unsigned seat_member_uuids(const struct seat *seat, uint8_t (*uuids)[16]);

/* exports.c: what a promoted node has to export. exports_look: is anything due, as role and
 * definition have it now? exports_follow: make it; often, once guests come. */
void exports_look(struct seat *seat);
void exports_follow(struct seat *seat, uint64_t now);

/* action.c: something that is done to a group, in a fiber of its own; one at a time. */
struct seat_work {
	/* Required. 0 or -errno; the reply is the group's state unless it sets another. */
	int (*run)(struct seat_work *work, struct err *err);
	/* Required. Frees it. */
	void (*release)(struct seat_work *work);
	bool always; /* also when the group is not available */
	bool gone;   /* set by run(): there is no group any more */
	struct seat *seat;
	struct replication_call *call;
};
/* seat_work_start: run @work (NULL: there was no memory for it) on the group @name. Ends @call, and
 * releases @work, in any case. */
void seat_work_start(struct replication *replication, const char *name, struct seat_work *work,
		     struct replication_call *call);

/* A member as the definition has it. */
json_t *seat_member(unsigned index, const struct volume *volume);
/* What a definition says, as seat_show() has it of its group: for a plan of what would be
 * different; the caller's. */
json_t *seat_plan(const json_t *definition);
/* The reply of a dry run; steals both. */
json_t *dry_reply(json_t *before, json_t *after);

/* service.c: the group's service addresses. services_follow: on or off the interfaces, as the group
 * is served here; services_clear: off. services_start: before the node knows. services_define: what
 * @definition says of them. */
void services_follow(struct seat *seat);
void services_clear(struct seat *seat);
void services_start(struct seat *seat);
void services_define(struct seat *seat, const json_t *definition);
json_t *services_show(const struct seat *seat);

/* seed.c: the first image on a disk (seed.h). seed_tidy: snapshots that
 * nobody needs any more go, once there is a sealed image; often. seed_stop: ends what is under way;
 * fiber. seed_show: the caller's. */
void seed_tidy(struct seat *seat);
void seed_stop(struct seat *seat);
json_t *seed_show(const struct seat *seat);
/* "wire" or "ship". */
int seed_way_check(const char *way, struct err *err);

/* witness.c. leases_load: the book; once. leases_receive: somebody asks; leases_ask: we do; in the
 * visit's fiber. leases_hung_up: the visit is over. leases_follow: ask who is to be asked; often.
 * leases_close: the group's conversations are over; fiber. leases_end: the book's. */
int leases_load(struct replication *replication, struct err *err);
void leases_receive(struct visit *visit, const struct wire_message *ask);
void leases_ask(struct visit *visit);
void leases_hung_up(struct visit *visit);
const uint8_t *lease_node(const struct seat *seat, enum lease_other other);
void leases_follow(struct seat *seat, uint64_t now);
void leases_close(struct seat *seat);
void leases_end(struct replication *replication);
int leases_take_over(struct group *group, struct err *err);
void leases_show(const struct seat *seat, json_t *json);

/* change.c: @definition is the group's from now on, durably. */
int seat_redefine(struct seat *seat, json_t *definition, struct err *err);

/* show.c. seat_look: which alarms there are at @now, and what is logged of them. */
json_t *seat_show(const struct seat *seat);
void seat_look(struct seat *seat, uint64_t now);

/* replication.c: one more thing that has to end before the node is gone; and its end. */
void node_hold(struct replication *replication);
void node_release(struct replication *replication);
int node_dial(struct visit *visit, const char *address, uint16_t port, struct err *err);
void uuid_text(const uint8_t uuid[16], char text[33]);
void fingerprint_text(const uint8_t fingerprint[TLS_FINGERPRINT],
		      char text[2 * TLS_FINGERPRINT + 1]);
bool uuid_parse(const char *text, uint8_t uuid[16]);

#endif
