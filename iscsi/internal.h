/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_INTERNAL_H
#define ISCSI_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/buf.h"
#include "core/list.h"
#include "core/loop.h"
#include "core/stream.h"
#include "iscsi/chap.h"
#include "iscsi/iscsi.h"
#include "iscsi/keys.h"
#include "iscsi/pdu.h"
#include "iscsi/text.h"
#include "target/target.h"
#include "target/task.h"

/*~ The inside of the iSCSI server, shared by its files only.
 *
 *   portal.c   listeners, connections handed to lanes       server.c  targets, rules, sessions
 *   conn.c     bytes -> PDUs, back-pressure, end of life    login.c   the login phase
 *   command.c  SCSI commands: gather, execute, answer       tmf.c     task management
 *   request.c  NOP, text, logout, reject                    reply.c   PDUs on their way out
 *
 * Threads: a lane is one I/O loop; a connection lives on one lane, and so does its session (one
 * connection a session). server->lock guards the list of targets, their rules and the register
 * of sessions; it is taken at login, logout and by configuration calls, never per command. */

#define ISCSI_DEPTH           128u /* commands in the window */
#define ISCSI_PORTAL_GROUP    1u
#define ISCSI_TEXT_TOTAL_MAX  (64u << 10) /* a text over all its continued PDUs, bytes */
#define ISCSI_SEND_QUEUED_MAX (4u << 20)  /* bytes queued before reading is paused */
#define ISCSI_LOGIN_STEPS_MAX 64u

struct iscsi_lane {
	struct iscsi_server *server;
	struct loop *loop;
	struct list conns;
	struct list free_tasks, free_replies;
	atomic_uint load;
};

struct iscsi_portal {
	struct list link;
	struct iscsi_server *server;
	struct listener *listener;
	char *address;
	uint16_t port;
};

struct iscsi_target {
	struct list link;
	struct iscsi_server *server;
	char iqn[SCSI_NAME_MAX + 1];
	char alias[SCSI_NAME_MAX + 1];
	struct scsi_target *scsi;
	struct iscsi_rule *rules;
	unsigned rule_count;
	unsigned sessions; /* and logins under way that may become one */
	bool dying;
	void (*destroyed)(void *context);
	void *destroyed_context;
};

struct iscsi_server {
	struct loop *control;
	struct iscsi_lane *lanes;
	unsigned lane_count;
	uint64_t login_limit_ns;
	unsigned connections_max;
	atomic_uint connections;
	pthread_mutex_t lock;
	struct list portals;
	struct list targets;
	struct list sessions; /* struct iscsi_conn through session_link */
	struct iscsi_rule *discovery_rule;
	unsigned chap;
	uint64_t next_id;
	uint16_t next_tsih;
	bool stopping;
	void (*stopped)(void *context);
	void *stopped_context;
	struct timer stop_timer;
};

/* A PDU on its way out. */
struct iscsi_reply {
	struct stream_send send;
	struct list link;
	struct iscsi_conn *conn;
	struct iscsi_task *task; /* holds a reference on it until sent, or NULL */
	struct buf *buf;
	uint8_t header[PDU_BHS_LENGTH + PDU_DIGEST_LENGTH];
	uint8_t tail[8]; /* padding and data digest */
};

enum iscsi_task_state {
	ISCSI_TASK_QUEUED,    /* ahead of a gap in CmdSN */
	ISCSI_TASK_GATHERING, /* waits for data-out */
	ISCSI_TASK_RUNNING,
	ISCSI_TASK_ANSWERED,
};

struct iscsi_task {
	struct scsi_task scsi;
	struct list link; /* conn->tasks */
	struct iscsi_conn *conn;
	enum iscsi_task_state state;
	unsigned refs; /* one until answered, one per Data-In on its way */
	uint32_t itt, cmdsn, edtl;
	uint8_t flags;
	bool immediate, begun, dropped;
	bool misnumbered;     /* a DataSN was wrong: not to be executed */
	struct buf *buf;      /* data-out */
	uint32_t buffered;    /* room in buf for data-out: min(EDTL, the largest transfer) */
	uint32_t received;    /* data-out bytes that came, in order */
	uint32_t unsolicited; /* end of the unsolicited data, 0 when none is on its way */
	uint32_t requested;   /* R2Ts were sent for everything below */
	uint32_t r2tsn;
	unsigned r2t_count;
	struct {
		uint32_t ttt, offset, end, datasn, next;
	} r2t[KEYS_R2T_MAX];
	uint32_t unsolicited_datasn;
};

struct iscsi_tmf {
	struct scsi_tmf_request scsi;
	struct iscsi_conn *conn;
	struct list link;
	uint32_t itt;
};

enum conn_phase { CONN_LOGIN, CONN_FULL, CONN_LOGOUT, CONN_CLOSING };
enum conn_receive { CONN_HEADER, CONN_DATA, CONN_STALLED };

struct iscsi_conn {
	struct list link; /* lane->conns */
	struct iscsi_lane *lane;
	struct iscsi_server *server;
	struct stream *stream; /* NULL once closed */
	enum conn_phase phase;
	struct sockaddr_storage peer;
	char peer_text[64], portal_text[64];
	struct message arrive;
	int fd;

	/* receiving */
	enum conn_receive receiving;
	uint8_t header[PDU_HEADER_MAX];
	size_t header_have;
	uint8_t *data; /* where the data segment lands, pure bytes */
	struct buf *data_buf;
	struct iscsi_task *data_task;
	uint8_t tail[8];
	struct iovec receive_iov[2];
	struct stream_receive receive;
	struct buf_waiter buf_waiter;
	bool waiting_buf;

	/* sequence numbers */
	uint32_t statsn;
	struct pdu_window window;

	/* login */
	struct timer timer; /* login limit, then idle pings */
	struct iscsi_params params;
	uint64_t keys_seen;
	uint8_t login_stage; /* CSG */
	bool first_login, authenticated, need_chap, declared;
	unsigned login_steps;
	struct chap chap;
	struct iscsi_rule *rule;     /* a copy */
	struct iscsi_target *target; /* counted in target->sessions */
	char *text;                  /* a text over several PDUs */
	size_t text_length;
	uint32_t login_itt;
	struct message reinstated;
	bool waiting_reinstatement;

	/* session */
	struct list session_link;
	bool registered;
	uint64_t id;
	uint8_t isid[6];
	uint16_t tsih, cid;
	struct scsi_nexus *nexus;
	struct list tasks, tmfs;
	unsigned task_count, tmf_count;
	uint32_t next_ttt;
	uint64_t since_ns, commands, read_bytes, write_bytes;
	uint64_t heard_ns; /* loop_now() of the last PDU */
	bool pinged;
	struct list waiters; /* logins of the same initiator port that wait for our end */
	struct message kick;
	bool kicked;
	unsigned references; /* replies, messages */
	bool draining;
	struct deferred teardown;
};

/* conn.c */
void conn_attach(struct message *message);
/* End this connection now; @why goes to the log (NULL: not worth a line). */
void conn_end(struct iscsi_conn *conn, const char *why);
/* Send what is queued, then end. */
void conn_finish(struct iscsi_conn *conn);
void conn_kick(struct iscsi_conn *conn); /* any thread, under server->lock: conn_end soon */
void conn_resume(struct iscsi_conn *conn);
void conn_maybe_free(struct iscsi_conn *conn);

/* login.c */
void login_pdu(struct iscsi_conn *conn, const uint8_t *data, uint32_t length);
void login_continue(struct message *message);

/* server.c */
const struct iscsi_rule *rule_match(const struct iscsi_rule *rules, unsigned count,
				    const char *initiator, const struct sockaddr_storage *peer);
void session_register(struct iscsi_conn *conn);
void session_gone(struct iscsi_conn *conn);
void server_check_stopped(struct iscsi_server *server);
void send_targets(struct iscsi_conn *conn, const char *which, struct text_writer *writer);

/* command.c */
bool command_receive(struct iscsi_conn *conn, uint32_t length); /* header is here; false: stall */
bool data_out_receive(struct iscsi_conn *conn, uint32_t length);
void command_data_done(struct iscsi_conn *conn, struct iscsi_task *task, uint32_t length);
void data_out_done(struct iscsi_conn *conn, struct iscsi_task *task, uint32_t length);
void task_unref(struct iscsi_task *task);
void task_drop(struct iscsi_task *task); /* not executed yet: forget it */
void command_advance(struct iscsi_conn *conn);

/* request.c */
void request_pdu(struct iscsi_conn *conn, const uint8_t *data, uint32_t length);
void request_ping(struct iscsi_conn *conn);

/* tmf.c */
void tmf_pdu(struct iscsi_conn *conn);

/* reply.c */
struct iscsi_reply *reply_new(struct iscsi_conn *conn, uint8_t opcode, uint8_t flags, uint32_t itt);
/* @data (length bytes) stays valid until sent: it belongs to @task or reply->buf. */
void reply_send(struct iscsi_reply *reply, const struct iovec *data, unsigned count,
		uint32_t length, bool status);
void reply_reject(struct iscsi_conn *conn, enum pdu_reject_reason reason);
void reply_async(struct iscsi_conn *conn, uint8_t event, uint16_t parameter);
void reply_free_all(struct iscsi_lane *lane);

#endif
