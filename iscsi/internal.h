/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_INTERNAL_H
#define ISCSI_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/stream.h"
#include "iscsi/iscsi.h"
#include "iscsi/keys.h"
#include "iscsi/login.h"
#include "iscsi/order.h"
#include "iscsi/pdu.h"
#include "iscsi/rules.h"
#include "target/task.h"

/*~ The tour. A connection is accepted on the control loop (portal.c), given to the I/O loop with
 * the fewest and lives there to its end (conn.c: bytes to PDUs and back). login.c decides the
 * login; what only the control loop knows (rules, targets: server.c; sessions: registry.c) is asked
 * by a message to and fro. A login that names a session (its TSIH) is moved to that session's loop
 * after its first request, while the initiator waits for the answer: a session with all its
 * connections lives on one loop (mcs.c: who joins, who leaves). In full feature phase session.c
 * hands each request to its row, in the order that order.c finds; transfer.c moves a SCSI command's
 * data, tmf.c maps task management.
 *
 * Who owns what:
 *  - struct iscsi_server, iscsi_target, the registries of connections and sessions and all fields
 *    under "control loop" of struct iscsi_conn and struct iscsi_session: the control loop;
 *  - everything else of a connection or session: its I/O loop.
 * No lock anywhere; only messages. A connection is freed by its own loop in answer to the
 * control loop's last message, so that no earlier message can still be under way. */

#define ISCSI_IMMEDIATE_MAX     32u  /* immediate requests of a session outstanding */
#define ISCSI_OUT_MAX           320u /* PDUs handed to the socket and not yet taken */
#define ISCSI_OUT_RESERVE       16u  /* of these kept for what is not data */
#define ISCSI_OUT_SLAB          16u
#define ISCSI_BACKLOG_MAX       (32u << 20) /* bytes of finished reads waiting for the peer */
#define ISCSI_TEXT_MAX          65536u      /* text request, all PDUs together */
#define ISCSI_CONNECTIONS_MAX   1024u
#define ISCSI_HALF_OPEN_MAX     128u
#define ISCSI_LOGIN_LIMIT_NS    (15ull * 1000000000)
#define ISCSI_PING_NS           (15ull * 1000000000) /* idle time before a NOP-In */
#define ISCSI_PING_LIMIT_NS     (30ull * 1000000000) /* idle time before the end */
#define ISCSI_DRAIN_NS          (2ull * 1000000000)  /* for last words */
#define ISCSI_ABORT_NS          (4ull * 1000000000)  /* for a session's tasks to end */
#define ISCSI_GAP_NS            (15ull * 1000000000) /* for a CmdSN that others wait for */
#define ISCSI_FENCE_NS          (10ull * 1000000000) /* for a StatSN to be acknowledged */
#define ISCSI_RULES_MAX         1024u
#define ISCSI_PORTALS_MAX       32u
#define ISCSI_DATA_PIECES       4u
#define ISCSI_EXECUTE_BYTES_MAX (ISCSI_DATA_PIECES * BUF_MAX)

struct iscsi_conn;
struct iscsi_session;
struct iscsi_task;

/* ---- one PDU on its way out */
struct iscsi_out {
	struct stream_send send;
	struct list link; /* free list */
	struct iscsi_conn *conn;
	struct iscsi_task *task;                         /* ends when this has been sent; NULL */
	void *text;                                      /* heap memory freed afterwards; NULL */
	struct buf *buf;                                 /* let go afterwards; NULL */
	uint8_t bhs[PDU_BHS_LENGTH + PDU_DIGEST_LENGTH]; /* the digest follows at once */
	uint8_t small[PDU_BHS_LENGTH]; /* short data: sense length, a rejected header */
	uint8_t tail[3 + PDU_DIGEST_LENGTH];
};

/* ---- one request */
enum task_state {
	TASK_RECEIVING, /* its own PDU is still coming in */
	TASK_HELD,      /* ahead of a CmdSN gap */
	TASK_GATHERING, /* data-out is coming in */
	TASK_EXECUTING,
	TASK_SENDING, /* in conn->tx or its last PDU is in the socket */
	TASK_FREE,
};

struct iscsi_r2t {
	uint32_t ttt, offset, length, received, datasn;
	bool active;
};

struct iscsi_task {
	struct scsi_task scsi;
	struct scsi_tmf_request tmf;
	struct iscsi_conn *conn; /* its allegiance: data, R2T and answer go there */
	struct iscsi_session *session;
	struct list link; /* session->tasks */
	struct list tx_link;
	struct order_entry order;
	struct iscsi_task *next; /* hash chain, or free list */
	uint8_t bhs[PDU_BHS_LENGTH];
	uint32_t itt;
	enum task_state state;
	bool immediate, counted, hashed, begun;
	bool given_up;             /* its connection ends: scsi_task_abandon() was called */
	bool fenced;               /* its answer keeps its place among those of all connections */
	struct iscsi_conn *closes; /* of a LOGOUT that waits */
	bool dropped;              /* ends without an answer */
	bool crc_failed;           /* a Data-Out was lost to its digest */
	bool no_buffers;           /* answered BUSY: its immediate data had nowhere to go */
	uint8_t response;          /* TMF response code; SCSI response is always 0 */

	uint8_t read, write;
	uint32_t edtl;
	/* data-out */
	struct buf *bufs[ISCSI_DATA_PIECES]; /* 1 MiB each but the last */
	uint32_t room;                       /* bytes in bufs */
	uint32_t received;                   /* contiguous bytes here, from 0 */
	bool unsolicited;                    /* more is to come unasked */
	uint32_t unsolicited_datasn;
	uint32_t r2t_offset; /* next byte to ask for */
	uint32_t r2tsn;
	unsigned r2t_active;
	struct iscsi_r2t r2ts[KEYS_R2T_MAX];
	bool waiting_for_buffers;
	struct buf_waiter waiter;
	/* data-in */
	uint32_t sent, datasn, burst;
	uint32_t backlog;    /* counted in conn->backlog */
	struct buf *payload; /* NOP-Out data, text */
	uint32_t payload_length;
};

/* ---- a session: all its connections, and what they share */
#define SESSION_HASH 256u
struct iscsi_session {
	struct scsi_nexus *nexus; /* NULL in discovery */
	struct order order;
	struct list link;  /* io->sessions */
	struct list conns; /* on the loop and not finished; the oldest first */
	unsigned active;   /* of these: not on their way out */
	struct list tasks; /* every task in use */
	struct iscsi_task *hash[SESSION_HASH];
	struct iscsi_task *free_tasks;
	unsigned task_count, immediate_count;
	bool running; /* a request has its turn (session.c) */
	uint32_t next_ttt;
	bool aborting, drained;    /* scsi_nexus_abort_all() was called, has ended */
	uint32_t aborted_itts[64]; /* whose late Data-Out is swallowed */
	unsigned aborted_next;
	uint64_t gap_since; /* something has waited for a CmdSN since then; 0: nothing does */
	bool untold;        /* the window has moved, and perhaps no PDU has said so */
	struct deferred tell_window;
	uint64_t commands, read_bytes, write_bytes;
	uint64_t started_ns;
	/* the response fence (mcs.c) */
	enum session_fence {
		FENCE_NONE,
		FENCE_BEFORE, /* what is older than the fenced answer is made into PDUs */
		FENCE_ACKNOWLEDGED,
		FENCE_SENDING, /* the fenced answer itself */
		FENCE_AFTER,   /* it has to be acknowledged */
	} fence;
	struct iscsi_task *fenced; /* until it is a PDU */
	struct iscsi_conn *fence_conn;
	struct list later; /* younger answers of all connections; iscsi_task.tx_link */
	struct timer fence_timer;

	/* set by the control loop before the I/O loop knows it, and the same ever after */
	struct iscsi_io_loop *io;
	struct iscsi_params params; /* what the leading connection agreed on */
	char chap_user[256];
	uint64_t id; /* of the leading connection */
	uint16_t tsih, group;
	uint8_t isid[6];

	/* control loop */
	struct list all_link; /* server->sessions; in none: its initiator port is free */
	struct list members;  /* iscsi_conn.member_link: those that count */
	unsigned refs;        /* connections that point here */
	struct list waiters;  /* connections that replace it */
	bool dropped;         /* on its way out: nobody joins */
	struct iscsi_target *target;
	struct message free_message;
};

/* ---- a connection's text negotiation */
struct iscsi_exchange {
	char *text; /* heap */
	size_t text_length, text_sent;
	uint32_t text_ttt, text_itt;
	char *text_in;
	size_t text_in_length;
	struct iscsi_task *text_task; /* waits for the control loop's list of targets */
};

enum conn_state { CONN_LOGIN, CONN_FULL_FEATURE, CONN_DRAINING, CONN_CLOSING };

enum conn_question { ASK_NOTHING, ASK_RULE, ASK_SESSION, ASK_TARGETS };

enum conn_drop {
	DROP_NOT,
	DROP_HALF_OPEN,  /* too many: the oldest gives way */
	DROP_REINSTATED, /* the same initiator port logged in again */
	DROP_ADMIN,      /* session drop, rule change */
	DROP_TARGET,     /* the target goes away or is reset */
	DROP_SHUTDOWN,   /* the server stops */
};

struct iscsi_io_loop {
	struct loop *loop;
	struct iscsi_server *server;
	struct list conns, sessions; /* that loop's */
	unsigned load;               /* control loop's count */
};

struct iscsi_conn {
	struct iscsi_server *server;
	struct iscsi_io_loop *io;
	struct stream *stream;
	struct list link; /* io->conns */
	int fd;           /* until attached, and on the way from loop to loop */
	uint16_t group;   /* portal group it came in through */
	struct sockaddr_storage peer, local;
	char peer_text[64], local_text[64];
	enum conn_state state;
	struct login *login; /* heap, during login only */
	struct iscsi_params params;
	struct iscsi_session *session; /* NULL until it is known which */
	struct list session_link;      /* session->conns */
	struct pdu_window login_window;
	const struct pdu_window *window; /* what its PDUs tell: login_window or the session's */
	uint16_t cid;
	unsigned task_count; /* of the session's tasks */
	struct iscsi_exchange exchange;
	struct timer timer;
	uint64_t last_heard, pinged; /* loop_now(); pinged 0 = no NOP-In outstanding */
	uint64_t started_ns;
	uint32_t statsn;
	uint32_t acknowledged; /* ExpStatSN */
	uint32_t fence_statsn; /* has to be acknowledged first */
	bool stream_closed, finished, paused, chap;
	bool joins;                /* not the leading one */
	bool moving;               /* to the loop of the session it joins */
	bool waits;                /* until the connection it replaces is gone */
	bool leaving;              /* session->active does not count it any more */
	bool stuck;                /* its tasks hang: it is not waited for any more */
	bool logged_out;           /* nothing more is heard */
	bool late;                 /* it has not acknowledged fence_statsn in time */
	struct iscsi_task *logout; /* that closes it, on whatever connection; waits for its tasks */
	uint64_t grace_end;
	bool header_digest, data_digest; /* in force */
	enum conn_drop dropping;

	/* receiving: conn.c */
	bool in_payload;
	uint8_t header[PDU_HEADER_MAX];
	uint32_t payload_length; /* without padding and digest */
	struct iscsi_task *rx_task;
	struct iscsi_r2t *rx_r2t; /* NULL: unsolicited */
	struct iovec rx_iov[8], rx_cursor[8];
	unsigned rx_count, rx_at;
	size_t rx_left;
	uint8_t rx_tail[3 + PDU_DIGEST_LENGTH];
	struct stream_receive rx_into;
	bool rx_into_active;
	char *rx_text; /* login data: heap, KEYS_LOGIN_MAX */

	/* sending */
	struct list tx; /* tasks with PDUs to make */
	struct list free_outs;
	struct list slabs;
	unsigned out_count, out_used;
	size_t backlog; /* bytes of data-in in tx */

	/* the question to the control loop */
	struct message message;
	enum conn_question question;
	enum login_status answer;
	struct iscsi_rule answer_rule;
	char answer_alias[TEXT_VALUE_MAX + 1];
	char answer_redirect[ISCSI_REDIRECT_MAX + 1];
	struct scsi_target *answer_target;
	enum rules_full answer_full;
	char *answer_text; /* heap */
	size_t answer_length;
	char asked_targets[SCSI_NAME_MAX + 1];

	/* control loop */
	struct iscsi_io_loop *destination; /* where the session is that it wants to join, or io */
	struct list all_link;              /* server->conns */
	struct list half_link;             /* server->half_open */
	struct list wait_link;             /* the older session's waiters */
	struct list member_link;           /* session->members */
	struct iscsi_target *target;
	bool drop_posted, gone;
	struct message drop_message, free_message, attach_message, stuck_message;
	enum conn_drop drop_reason;
	uint64_t id;
	uint16_t login_cid; /* what cid will be */
	char initiator[SCSI_NAME_MAX + 1];
	bool discovery;
	bool replaces; /* a session of its own port: the place of that one is its */
};

struct iscsi_portal {
	struct iscsi_server *server;
	struct listener *listener;
	char address[64];
	uint16_t port, group;
};

struct iscsi_target {
	struct iscsi_server *server;
	struct list link;
	char name[SCSI_NAME_MAX + 1];
	char alias[TEXT_VALUE_MAX + 1];
	char redirect[ISCSI_REDIRECT_MAX + 1]; /* "": served here */
	struct scsi_target *scsi;
	struct iscsi_rule *rules;
	unsigned rule_count;
	struct iscsi_session_limits limits;
	unsigned users; /* connections that hold it */
	bool dying;
	void (*destroyed)(void *context);
	void *destroyed_context;
};

/* limit.c: failed logins of a source (address, or IPv6 /64). Any loop: the lock is taken once for a
 * connection and once for a failure. */
#define ISCSI_LOGIN_SOURCES     256u
#define ISCSI_LOGIN_BURST       64u /* failures in a row */
#define ISCSI_LOGIN_INTERVAL_NS 250000000ull
struct login_source {
	uint64_t source, until; /* 0: the slot is free */
};
struct login_limit {
	pthread_mutex_t lock;
	struct login_source sources[ISCSI_LOGIN_SOURCES];
	uint64_t refused; /* connections, since the start */
};
void limit_init(struct login_limit *limit);
void limit_finish(struct login_limit *limit);
bool limit_allows(struct login_limit *limit, const struct sockaddr *peer, uint64_t now);
void limit_failed(struct login_limit *limit, const struct sockaddr *peer, uint64_t now);

/* refusal.c: who was not let in. Any loop. @now: since 1970. */
struct refusals {
	pthread_mutex_t lock;
	struct iscsi_refusal entries[ISCSI_REFUSALS_MAX];
};
void refusals_init(struct refusals *refusals);
void refusals_finish(struct refusals *refusals);
void refusals_note(struct refusals *refusals, const char *initiator, const char *target,
		   const char *peer, enum iscsi_refusal_reason reason, uint64_t now);

struct iscsi_server {
	struct login_limit login_limit;
	struct refusals refusals;
	struct iscsi_server_options options;
	struct iscsi_io_loop *loops;
	struct iscsi_portal *portals[ISCSI_PORTALS_MAX];
	unsigned portal_count;
	struct list targets;
	struct list conns;
	struct list sessions;
	struct list half_open; /* oldest first */
	unsigned conn_count, half_open_count;
	struct iscsi_rule *discovery_rule;
	unsigned chap;
	uint64_t next_id;
	uint16_t next_tsih;
	struct isns_client *isns; /* NULL: none is set */
	struct list isns_clients; /* with those that are on their way out */
	bool stopping;
	uint64_t grace_ns; /* written before the DROP_SHUTDOWN messages are posted */
	void (*stopped)(void *context);
	void *stopped_context;
	struct deferred finish;
};

/* server.c: control loop */
void server_accepted(struct iscsi_server *server, uint16_t group, int fd,
		     const struct sockaddr *peer, socklen_t peer_length);
/* Every target has a port for portal group @group from now on. */
void server_add_group(struct iscsi_server *server, uint16_t group);
/* server.c: any loop. conn->question is answered by conn_answered(); one at a time. */
void server_ask(struct iscsi_conn *conn, enum conn_question question);
void server_conn_gone(struct iscsi_conn *conn); /* last word of a connection */
/* It has left its loop for conn->destination. */
void server_conn_moves(struct iscsi_conn *conn);
/* It ends, but its tasks hang: its initiator port is free from now on. Once. */
void server_conn_stuck(struct iscsi_conn *conn);
void server_reset_target(struct iscsi_conn *conn);
void server_try_stop(struct iscsi_server *server); /* when it stops and nothing is left: stopped */
/* isns_esi.c: control loop. Where an iSNS server asks whether we are there. */
struct isns_esi {
	struct loop *loop;
	struct listener *listener; /* NULL: not open */
	struct list conns;
	unsigned count;    /* of them */
	uint64_t answered; /* questions */
	void (*closed)(struct isns_esi *esi);
};
/* closed(): a connection is gone; after isns_esi_close() the last word when @count is 0. */
void isns_esi_init(struct isns_esi *esi, void (*closed)(struct isns_esi *esi));
int isns_esi_open(struct isns_esi *esi, struct loop *loop, const char *address, uint16_t port,
		  struct err *err) __attribute__((warn_unused_result));
void isns_esi_close(struct isns_esi *esi);
/* isns_registration.c: control loop. */
struct isns_registration {
	const char *source, *entity;  /* a target's name; what the server knows us by */
	uint32_t period;              /* seconds */
	const struct sockaddr *local; /* ours, as the server sees us */
	uint16_t esi_port;            /* there, or 0 */
	unsigned targets, portals;    /* out */
};
struct isns_writer;
void isns_put_registration(struct iscsi_server *server, struct isns_registration *registration,
			   struct isns_writer *writer);
/* isns_client.c: control loop */
void isns_changed(struct iscsi_server *server); /* a target, a portal */
void isns_stop(struct iscsi_server *server);    /* server_try_stop() when the last is gone */
void isns_destroy(struct iscsi_server *server); /* of a server that never ran */
/* portal.c */
/* As IPv6, IPv4 mapped. */
void portal_mapped(const struct sockaddr *address, struct in6_addr *ret_address);
/* Where @portal is for a peer that reaches us at @local; false: it does not have an address that
 * such a peer can use. */
bool portal_address(const struct iscsi_portal *portal, const struct sockaddr *local,
		    struct in6_addr *ret_address);
void portal_text(const struct sockaddr *address, char *text, size_t room);
/* Append the TargetAddress lines a client of @local should see. */
void portal_list(const struct iscsi_server *server, const struct sockaddr *local,
		 struct text_writer *writer);
void portal_close_all(struct iscsi_server *server);

/* conn.c: the connection's loop, all of what follows */
void conn_attach(struct message *message);
void conn_moved(struct message *message); /* the same on the second loop */
void conn_answered(struct message *message);
void conn_drop(struct message *message);
void conn_free(struct message *message);
struct iscsi_out *conn_out(struct iscsi_conn *conn, uint8_t opcode);
/* Send @out with @count pieces of data, @length bytes; numbers and digests are filled in here.
 * @take_statsn: this PDU uses up a StatSN. */
void conn_send(struct iscsi_conn *conn, struct iscsi_out *out, const struct iovec *data,
	       unsigned count, bool take_statsn);
void conn_out_release(struct iscsi_conn *conn, struct iscsi_out *out);
bool conn_out_available(const struct iscsi_conn *conn);
void conn_reject(struct iscsi_conn *conn, enum pdu_reject_reason reason);
void conn_reject_header(struct iscsi_conn *conn, const uint8_t *bhs, enum pdu_reject_reason reason);
/* conn_fail: this connection's protocol is broken: log, last words, close. */
void conn_fail(struct iscsi_conn *conn, const char *why);
void conn_drain(struct iscsi_conn *conn);
void conn_close(struct iscsi_conn *conn);
/* The answer to a login that joins: the rest of it. */
void conn_joined(struct iscsi_conn *conn, enum login_status status);
void conn_update_pause(struct iscsi_conn *conn);
/* Where the payload of the PDU being received goes. */
void conn_rx_iov(struct iscsi_conn *conn, void *base, size_t length); /* base NULL: nowhere */
void conn_try_finish(struct iscsi_conn *conn);

/* session.c */
void session_init(struct iscsi_session *session); /* any loop, before it is known */
int session_start(struct iscsi_conn *conn, struct scsi_target *target);
bool session_header(struct iscsi_conn *conn); /* false: the connection has ended */
void session_pdu(struct iscsi_conn *conn, bool digest_good);
void session_targets_listed(struct iscsi_conn *conn);
void session_ping(struct iscsi_conn *conn);
void session_async(struct iscsi_conn *conn, uint8_t event, uint16_t p1, uint16_t p2, uint16_t p3);
bool session_quiet(const struct iscsi_conn *conn); /* no command of it runs */
void session_abort(struct iscsi_session *session); /* with its last connection */
void session_stream_closed(struct iscsi_conn *conn);
bool session_finished(const struct iscsi_conn *conn);
void session_finish(struct iscsi_conn *conn);
struct iscsi_task *session_find(struct iscsi_session *session, uint32_t itt);
/* Its place in what the initiator sent: one that is immediate has the number of the next. */
static inline uint32_t session_task_number(const struct iscsi_task *task)
{
	return task->order.cmdsn - task->order.immediate;
}
void session_task_done(struct iscsi_task *task);       /* the command no longer fills the window */
void session_task_unanswered(struct iscsi_task *task); /* nor will an answer say so */
void session_tell_window(struct iscsi_session *session);
void session_task_free(struct iscsi_task *task);
/* End a request that has not been executed, without an answer. */
void session_task_drop(struct iscsi_task *task);
void session_was_aborted(struct iscsi_session *session, uint32_t itt);
bool session_itt_aborted(const struct iscsi_session *session, uint32_t itt);
uint32_t session_ttt(struct iscsi_session *session);
void session_pump(struct iscsi_conn *conn);
void session_queue(struct iscsi_task *task);
void session_run_held(struct iscsi_session *session);
/* What waited for @conn to be closed is answered, or @conn closes now. */
void session_logout_ready(struct iscsi_conn *conn, bool clean);

/* mcs.c: the connections of a session */
void mcs_enter(struct iscsi_conn *conn);
void mcs_join(struct iscsi_conn *conn); /* answered by conn_joined(), perhaps later */
void mcs_leave(struct iscsi_conn *conn);
void mcs_gone(struct iscsi_conn *conn); /* it is in session->conns no more */
void mcs_stuck(struct iscsi_conn *conn);
/* End the tasks of @conn but @except while the session goes on. */
void mcs_give_up(struct iscsi_conn *conn, const struct iscsi_task *except);
void mcs_tell_others(struct iscsi_conn *conn); /* that we drop it */
void mcs_look_at_gap(struct iscsi_session *session);
struct iscsi_conn *mcs_find(struct iscsi_session *session, uint16_t cid);
/* One that is not on its way out; NULL: none. Ending one may end others: who ends several searches
 * anew each time. */
struct iscsi_conn *mcs_next_active(const struct iscsi_session *session);
void mcs_end(struct iscsi_conn *conn); /* with its last words, if it has a say */
/* mcs_fence: does the answer @task have to wait for others (it is queued again, then), or is a
 * fence needed for it (which begins)? */
bool mcs_fence(struct iscsi_task *task);
void mcs_fence_step(struct iscsi_session *session);
void mcs_fenced_ends(struct iscsi_session *session); /* its answer is freed */

/* registry.c: the control loop's sessions */
void registry_find(struct iscsi_conn *conn); /* conn->session: which it wants to join, or NULL */
void registry_ask(struct iscsi_conn *conn);
void registry_drop(struct iscsi_conn *conn, enum conn_drop reason); /* its session, or itself */
/* registry_forget: its place in the session is free; registry_release: it is gone. */
void registry_forget(struct iscsi_conn *conn);
void registry_release(struct iscsi_conn *conn);
/* server.c, for it */
void server_post_drop(struct iscsi_conn *conn, enum conn_drop reason);
void server_answer(struct iscsi_conn *conn, enum login_status status);
void server_login_through(struct iscsi_conn *conn); /* not half open any more */

/* transfer.c */
bool transfer_command_header(struct iscsi_conn *conn, struct iscsi_task *task);
void transfer_command(struct iscsi_task *task);
bool transfer_data_out_header(struct iscsi_conn *conn);
void transfer_data_out(struct iscsi_conn *conn, bool digest_good);
bool transfer_make_pdu(struct iscsi_task *task); /* true: task has nothing more to make */
void transfer_release(struct iscsi_task *task);  /* give back buffers and the scsi task */
void transfer_backlog(struct iscsi_task *task);  /* its data has left */
/* Finish with CHECK CONDITION of our own (transport errors, RFC 7143 11.4.7.2). */
/* It needs no buffer any more. */
void transfer_wait_no_more(struct iscsi_task *task);
void transfer_fail(struct iscsi_task *task, uint8_t key, uint8_t asc, uint8_t ascq);

/* tmf.c */
/* Does it reach commands that may still be on their way over other connections? */
bool tmf_waits_for_others(const struct iscsi_task *task);
void tmf_request(struct iscsi_task *task);
void tmf_make_pdu(struct iscsi_task *task);

#endif
