/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of a session (mcs.c) with the session and its order of requests as they are;
 * sockets, SCSI commands, the control loop and the clock are those of this file. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"

#define FIRST          0xfffffff8u /* so that numbers wrap */
#define MEMBERS        4u
#define SECOND         1000000000ull
#define ABORT_TASK_SET 2 /* RFC 7143 11.5.1 */
#define TASK_REASSIGN  8

static struct iscsi_io_loop io;
static struct iscsi_session session;
static struct iscsi_conn conns[MEMBERS];
static struct iscsi_conn *const a = &conns[0], *const b = &conns[1], *const c = &conns[2];

/* ---- the clock */

static uint64_t now;

uint64_t loop_now(const struct loop *loop)
{
	(void)loop;
	return now;
}

void timer_init(struct timer *timer, struct loop *loop, void (*fire)(struct timer *timer))
{
	(void)loop;
	timer->fire = fire;
	timer->deadline = 0;
}

void timer_start(struct timer *timer, uint64_t delay_ns)
{
	timer->deadline = now + delay_ns;
}

void timer_stop(struct timer *timer)
{
	timer->deadline = 0;
}

static void wait_until(uint64_t when)
{
	struct timer *timer = &session.fence_timer;

	now = when;
	if (timer->deadline && timer->deadline <= now) {
		timer->deadline = 0;
		timer->fire(timer);
	}
}

static unsigned window_told; /* times that somebody wanted it told */

void deferred_init(struct deferred *deferred, void (*run)(struct deferred *deferred))
{
	deferred->run = run;
}

void loop_defer(struct loop *loop, struct deferred *deferred)
{
	(void)loop;
	(void)deferred;
	window_told++;
}

void deferred_cancel(struct deferred *deferred)
{
	(void)deferred;
}

struct buf_pool *loop_buffers(struct loop *loop)
{
	(void)loop;
	return NULL;
}

struct buf *buf_get(struct buf_pool *pool, size_t size)
{
	(void)pool;
	(void)size;
	return NULL;
}

void buf_unref(struct buf *buf)
{
	assert_null(buf);
}

/* ---- what is sent, and what the socket does with it */

static struct sent {
	struct iscsi_conn *conn;
	uint8_t opcode, response, event;
	uint32_t itt;
	uint16_t parameter;
} sent[512];
static unsigned sent_count, heard_count;
static struct iscsi_out outs[64];
static struct iscsi_task *leaving_tasks[64]; /* their last PDU is in the socket */
static unsigned leaving_count;
static bool takes[MEMBERS]; /* false: there is no room for its PDUs */

static unsigned index_of(const struct iscsi_conn *conn)
{
	return (unsigned)(conn - conns);
}

bool conn_out_available(const struct iscsi_conn *conn)
{
	return takes[index_of(conn)];
}

struct iscsi_out *conn_out(struct iscsi_conn *conn, uint8_t opcode)
{
	struct iscsi_out *out = &outs[sent_count % 64];

	memset(out, 0, sizeof(*out));
	out->conn = conn;
	out->bhs[PDU_AT_OPCODE] = opcode;
	return out;
}

void conn_out_release(struct iscsi_conn *conn, struct iscsi_out *out)
{
	(void)conn;
	(void)out;
}

void conn_send(struct iscsi_conn *conn, struct iscsi_out *out, const struct iovec *data,
	       unsigned count, bool take_statsn)
{
	(void)data;
	(void)count;
	assert_true(sent_count < 512);
	assert_true(conn->state == CONN_FULL_FEATURE);
	sent[sent_count++] =
	    (struct sent){.conn = conn,
			  .opcode = out->bhs[PDU_AT_OPCODE],
			  .response = out->bhs[2],
			  .event = out->bhs[PDU_AT_ASYNC_EVENT],
			  .parameter = pdu_get16(out->bhs + PDU_AT_ASYNC_PARAMETER),
			  .itt = pdu_get32(out->bhs + PDU_AT_ITT)};
	conn->statsn += take_statsn;
	heap_free(out->text);
	if (out->task)
		leaving_tasks[leaving_count++] = out->task;
}

/* The next PDU that nobody has looked at; NULL: there is none. */
static const struct sent *heard(void)
{
	return heard_count < sent_count ? &sent[heard_count++] : NULL;
}

static void assert_heard(struct iscsi_conn *conn, uint8_t opcode, uint32_t itt)
{
	const struct sent *pdu = heard();

	assert_non_null(pdu);
	assert_ptr_equal(pdu->conn, conn);
	assert_int_equal(pdu->opcode, opcode);
	assert_int_equal(pdu->itt, itt);
}

static void assert_logout(struct iscsi_conn *conn, uint32_t itt, uint8_t response)
{
	assert_heard(conn, PDU_LOGOUT_RESPONSE, itt);
	assert_int_equal(sent[heard_count - 1].response, response);
}

static void assert_silent(void)
{
	assert_int_equal(heard_count, sent_count);
}

/* The socket has taken all. */
static void taken(void)
{
	for (unsigned i = 0; i < leaving_count; i++)
		session_task_free(leaving_tasks[i]);
	leaving_count = 0;
}

/* ---- a connection: the parts of conn.c that have to do with its session */

static unsigned failed, looked_at_pauses;
static int joined[MEMBERS]; /* the status of its login; -1: none */

void conn_try_finish(struct iscsi_conn *conn)
{
	if (conn->state < CONN_DRAINING || !conn->stream_closed || conn->finished ||
	    conn->question != ASK_NOTHING || !session_finished(conn))
		return;
	conn->finished = true;
	session_finish(conn);
}

static void leave(struct iscsi_conn *conn, enum conn_state state)
{
	conn->state = state;
	if (!conn->leaving) {
		conn->leaving = true;
		mcs_leave(conn);
	}
	conn_try_finish(conn);
}

void conn_close(struct iscsi_conn *conn)
{
	if (conn->state != CONN_CLOSING)
		leave(conn, CONN_CLOSING);
}

void conn_drain(struct iscsi_conn *conn)
{
	assert_true(conn->state != CONN_LOGIN);
	if (conn->state < CONN_DRAINING)
		leave(conn, CONN_DRAINING);
}

void conn_fail(struct iscsi_conn *conn, const char *why)
{
	(void)why;
	failed++;
	mcs_tell_others(conn);
	conn_drain(conn);
}

/* As stream.c reports it, after conn_close(). */
static void stream_closed(struct iscsi_conn *conn)
{
	unsigned kept = 0;

	conn->stream_closed = true;
	for (unsigned i = 0; i < leaving_count; i++)
		if (leaving_tasks[i]->conn == conn)
			session_task_free(leaving_tasks[i]);
		else
			leaving_tasks[kept++] = leaving_tasks[i];
	leaving_count = kept;
	session_stream_closed(conn);
	conn_try_finish(conn);
}

static void lose(struct iscsi_conn *conn)
{
	conn_close(conn);
	stream_closed(conn);
}

void conn_joined(struct iscsi_conn *conn, enum login_status status)
{
	assert_int_equal(joined[index_of(conn)], -1);
	joined[index_of(conn)] = (int)status;
	assert_true(conn->state == CONN_LOGIN);
	conn->waits = false; /* and the login goes on */
}

void conn_update_pause(struct iscsi_conn *conn)
{
	(void)conn;
	looked_at_pauses++;
}

void conn_reject_header(struct iscsi_conn *conn, const uint8_t *bhs, enum pdu_reject_reason reason)
{
	struct iscsi_out *out = conn_out(conn, PDU_REJECT);

	out->bhs[2] = (uint8_t)reason;
	pdu_put32(out->bhs + PDU_AT_ITT, pdu_get32(bhs + PDU_AT_ITT));
	conn_send(conn, out, NULL, 0, true);
}

void conn_reject(struct iscsi_conn *conn, enum pdu_reject_reason reason)
{
	conn_reject_header(conn, conn->header, reason);
}

void conn_rx_iov(struct iscsi_conn *conn, void *base, size_t length)
{
	(void)conn;
	(void)base;
	(void)length;
}

void server_ask(struct iscsi_conn *conn, enum conn_question question)
{
	conn->question = question;
}

void server_reset_target(struct iscsi_conn *conn)
{
	(void)conn;
}

static void lists_targets(struct iscsi_conn *conn)
{
	conn->question = ASK_NOTHING;
	conn->answer = LOGIN_SUCCESS;
	conn->answer_text = heap_zalloc(16);
	conn->answer_length = 16;
	session_targets_listed(conn);
}

/* ---- SCSI: a command executes until finish(), one that writes gathers data before */

static uint32_t ran[64], abandoned[64];
static unsigned ran_count, abandoned_count, aborted_all;
static bool hangs; /* what is abandoned goes on all the same */
static struct scsi_tmf_request *functions[8];
static unsigned function_count;

bool transfer_command_header(struct iscsi_conn *conn, struct iscsi_task *task)
{
	(void)conn;
	task->write = task->bhs[PDU_AT_FLAGS] & PDU_WRITE;
	return true;
}

void transfer_command(struct iscsi_task *task)
{
	ran[ran_count++] = task->itt;
	task->state = task->write ? TASK_GATHERING : TASK_EXECUTING;
	task->begun = true;
	task->scsi.status = SCSI_GOOD;
	task->scsi.sense_length = 0;
}

bool transfer_data_out_header(struct iscsi_conn *conn)
{
	(void)conn;
	return false;
}

void transfer_data_out(struct iscsi_conn *conn, bool digest_good)
{
	(void)conn;
	(void)digest_good;
}

bool transfer_make_pdu(struct iscsi_task *task)
{
	bool asks = task->state == TASK_GATHERING;
	struct iscsi_out *out = conn_out(task->conn, asks ? PDU_R2T : PDU_SCSI_RESPONSE);

	if (!asks) {
		session_task_done(task);
		out->task = task;
	}
	pdu_put32(out->bhs + PDU_AT_ITT, task->itt);
	conn_send(task->conn, out, NULL, 0, !asks);
	return true;
}

void transfer_release(struct iscsi_task *task)
{
	task->begun = false;
}

void transfer_wait_no_more(struct iscsi_task *task)
{
	(void)task;
}

void scsi_task_abandon(struct scsi_task *scsi)
{
	struct iscsi_task *task = container_of(scsi, struct iscsi_task, scsi);

	assert_true(task->begun); /* of another one @scsi says nothing */
	assert_true(task->state == TASK_GATHERING || task->state == TASK_EXECUTING);
	for (unsigned i = 0; i < abandoned_count; i++)
		assert_int_not_equal(abandoned[i], task->itt);
	abandoned[abandoned_count++] = task->itt;
	if (task->state == TASK_EXECUTING && !hangs)
		session_task_free(task);
}

void scsi_tmf_submit(struct scsi_tmf_request *request)
{
	functions[function_count++] = request;
}

int scsi_nexus_create(struct scsi_target *target, const char *initiator_port,
		      const char *target_port, uint16_t relative_port,
		      struct scsi_nexus **ret_nexus, struct err *err)
{
	(void)target, (void)initiator_port, (void)target_port, (void)relative_port;
	(void)ret_nexus, (void)err;
	return -1;
}

void scsi_nexus_listen(struct scsi_nexus *nexus, scsi_told told, void *context)
{
	(void)nexus, (void)told, (void)context;
}

void scsi_nexus_destroy(struct scsi_nexus *nexus)
{
	(void)nexus;
}

void scsi_nexus_abort_all(struct scsi_nexus *nexus, void (*drained)(void *context), void *context)
{
	(void)nexus, (void)drained, (void)context;
	aborted_all++;
}

static void finish(uint32_t itt)
{
	struct iscsi_task *task = session_find(&session, itt);

	assert_non_null(task);
	task->state = TASK_SENDING;
	session_queue(task);
}

static void finish_with(uint32_t itt, const uint8_t *sense, unsigned length)
{
	struct scsi_task *scsi = &session_find(&session, itt)->scsi;

	scsi->status = SCSI_CHECK_CONDITION;
	memcpy(scsi->sense, sense, 18); /* behind @length lies what was there before */
	scsi->sense_length = (uint8_t)length;
	finish(itt);
}

static void assert_ran(unsigned count, ...)
{
	va_list itts;

	va_start(itts, count);
	assert_int_equal(ran_count, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(ran[i], va_arg(itts, unsigned));
	va_end(itts);
}

/* ---- the initiator */

static void member(struct iscsi_conn *conn, uint16_t cid, enum conn_state state)
{
	memset(conn, 0, sizeof(*conn));
	list_init(&conn->session_link);
	list_init(&conn->tx);
	list_init(&conn->link);
	conn->io = &io;
	conn->session = &session;
	conn->cid = cid;
	conn->state = state;
	conn->params.send_max = 8192;
	conn->params.time2wait = 2;
	conn->statsn = 100 + cid;
	takes[index_of(conn)] = true;
	joined[index_of(conn)] = -1;
}

/* A session of @count connections, CID 0 and up. */
static void begin(unsigned count)
{
	memset(&session, 0, sizeof(session));
	session_init(&session);
	session.io = &io;
	session.nexus = (struct scsi_nexus *)&io; /* only compared with NULL */
	order_init(&session.order, FIRST);
	now = 1000 * SECOND;
	sent_count = heard_count = leaving_count = window_told = failed = looked_at_pauses = 0;
	ran_count = abandoned_count = aborted_all = function_count = 0;
	hangs = false;
	for (unsigned i = 0; i < MEMBERS; i++) {
		member(&conns[i], (uint16_t)i, CONN_FULL_FEATURE);
		if (i < count)
			mcs_enter(&conns[i]);
	}
}

/* All memory back, whatever state the test left. */
static void end(void)
{
	for (unsigned i = 0; i < MEMBERS; i++) {
		heap_free(conns[i].exchange.text);
		heap_free(conns[i].exchange.text_in);
	}
	for (struct list *it; (it = list_pop_front(&session.tasks));)
		heap_free(list_entry(it, struct iscsi_task, link));
	for (struct iscsi_task *task; (task = session.free_tasks);) {
		session.free_tasks = task->next;
		heap_free(task);
	}
}

/* A PDU whose header is here, and whose rest is still to come. It acknowledges @expstatsn. */
static bool header(struct iscsi_conn *conn, uint8_t opcode, uint8_t flags, uint32_t itt,
		   uint32_t cmdsn, uint32_t expstatsn)
{
	memset(conn->header, 0, sizeof(conn->header));
	conn->header[PDU_AT_OPCODE] = opcode;
	conn->header[PDU_AT_FLAGS] = PDU_FINAL | flags;
	pdu_put32(conn->header + PDU_AT_ITT, itt);
	pdu_put32(conn->header + PDU_AT_TTT, PDU_TAG_NONE);
	pdu_put32(conn->header + PDU_AT_CMDSN, cmdsn);
	pdu_put32(conn->header + PDU_AT_EXPSTATSN, expstatsn);
	return session_header(conn);
}

static void comes(struct iscsi_conn *conn, uint8_t opcode, uint8_t flags, uint32_t itt,
		  uint32_t cmdsn)
{
	assert_true(header(conn, opcode, flags, itt, cmdsn, conn->acknowledged));
	session_pdu(conn, true);
}

static void command(struct iscsi_conn *conn, uint32_t itt, uint32_t number)
{
	comes(conn, PDU_SCSI_COMMAND, 0, itt, FIRST + number);
}

static void write_command(struct iscsi_conn *conn, uint32_t itt, uint32_t number)
{
	comes(conn, PDU_SCSI_COMMAND, PDU_WRITE, itt, FIRST + number);
}

/* An answer to a ping, and nothing else: it acknowledges what was sent on @conn. */
static void acknowledge(struct iscsi_conn *conn)
{
	assert_true(header(conn, PDU_NOP_OUT | PDU_IMMEDIATE, 0, PDU_TAG_NONE,
			   session.order.window.expected, conn->statsn));
	session_pdu(conn, true);
}

static void logout(struct iscsi_conn *conn, uint8_t reason, uint16_t cid, uint32_t itt)
{
	uint8_t opcode = PDU_LOGOUT | PDU_IMMEDIATE;

	memset(conn->header, 0, sizeof(conn->header));
	assert_true(
	    header(conn, opcode, reason, itt, session.order.window.expected, conn->acknowledged));
	pdu_put16(conn->rx_task->bhs + 20, cid);
	session_pdu(conn, true);
}

static void function(struct iscsi_conn *conn, uint8_t which, uint32_t itt, uint32_t number)
{
	comes(conn, PDU_TASK_MANAGEMENT | PDU_IMMEDIATE, which, itt, FIRST + number);
}

/* ---- the order of what comes */

static void overtaking(void **state)
{
	(void)state;
	begin(2);
	command(b, 11, 1);
	command(a, 13, 3);
	assert_ran(0);
	assert_true(session.gap_since);
	command(a, 12, 2);
	command(b, 10, 0);
	assert_ran(4, 10u, 11u, 12u, 13u);
	assert_false(session.gap_since);
	assert_int_equal(session.order.window.expected, FIRST + 4);
	assert_int_equal(session.order.window.maximum, FIRST + ORDER_WINDOW - 1); /* they fill it */
	finish(13);
	finish(10);
	assert_heard(a, PDU_SCSI_RESPONSE, 13);
	assert_heard(b, PDU_SCSI_RESPONSE, 10);
	assert_int_equal(session.order.window.maximum, FIRST + ORDER_WINDOW + 1);
	command(a, 10, 2); /* a number that was */
	assert_ran(4, 10u, 11u, 12u, 13u);
	assert_silent();
	end();
}

static void at_once(void **state)
{
	(void)state;
	begin(2);
	command(b, 11, 1);
	comes(a, PDU_SCSI_COMMAND | PDU_IMMEDIATE, 0, 20, FIRST);
	assert_ran(1, 20u); /* it waits for nobody */
	/* A function that means other connections' commands waits for those that were sent before
	 * it. */
	function(a, ABORT_TASK_SET, 30, 2);
	assert_int_equal(function_count, 0);
	command(b, 10, 0);
	assert_ran(3, 20u, 10u, 11u);
	assert_int_equal(function_count, 1);
	assert_int_equal(functions[0]->before, FIRST + 2);
	assert_int_equal(session.order.window.expected, FIRST + 2); /* neither has used a number */
	end();
}

/* ---- a connection that goes */

/* What waited on it is to be sent again; what waits on others stays. */
static void hole(void **state)
{
	(void)state;
	begin(3);
	command(b, 11, 1);
	command(c, 12, 2);
	lose(b);
	assert_true(b->finished);
	command(a, 10, 0);
	assert_ran(1, 10u);
	assert_true(session.gap_since);
	command(a, 11, 1);
	assert_ran(3, 10u, 11u, 12u);
	assert_false(session.gap_since);
	assert_int_equal(session.order.window.expected, FIRST + 3);
	assert_ptr_equal(session_find(&session, 11)->conn, a);
	end();
}

/* With the last that waited goes the gap: nothing is missing any more. */
static void hole_alone(void **state)
{
	(void)state;
	begin(2);
	command(b, 11, 1);
	assert_true(session.gap_since);
	lose(b);
	assert_false(session.gap_since);
	now += 10 * ISCSI_GAP_NS;
	mcs_look_at_gap(&session);
	assert_int_equal(a->state, CONN_FULL_FEATURE);
	end();
}

/* Levels of recovery above 0: who asks for them is told that there are none, and nothing changes.
 */
static void reassignment(void **state)
{
	(void)state;
	begin(2);
	write_command(b, 10, 0);
	logout(a, 2, 1, 30);
	assert_logout(a, 30, 2); /* connection recovery is not supported */
	function(a, TASK_REASSIGN, 31, 1);
	assert_heard(a, PDU_TASK_MANAGEMENT_RESPONSE, 31);
	assert_int_equal(sent[heard_count - 1].response, 4); /* nor is allegiance reassignment */
	assert_int_equal(abandoned_count, 0);
	assert_int_equal(b->state, CONN_FULL_FEATURE);
	lose(b);
	assert_int_equal(abandoned_count, 1);
	function(a, TASK_REASSIGN, 32, 1);
	assert_int_equal(sent[sent_count - 1].response, 4);
	assert_null(session_find(&session, 10)); /* it ended with its connection */
	end();
}

/* Each command that has begun is given up once, and nothing that has not. */
static void given_up(void **state)
{
	struct iscsi_task *refused;

	(void)state;
	begin(3);
	hangs = true;
	command(b, 10, 0);
	write_command(b, 11, 1);
	command(a, 12, 2);
	write_command(b, 13, 3);
	refused = session_find(&session, 13); /* BUSY already, and its data still to come */
	refused->begun = false;
	function(b, ABORT_TASK_SET, 30, 0);  /* sent before them */
	assert_int_equal(function_count, 1); /* executes, and is no command */
	command(b, 14, 4);
	finish(14);
	assert_heard(b, PDU_SCSI_RESPONSE, 14); /* in the socket */
	lose(b);
	assert_int_equal(abandoned_count, 2);
	assert_int_equal(abandoned[0], 10);
	assert_int_equal(abandoned[1], 11);
	assert_false(b->finished); /* two still execute */
	assert_int_equal(b->task_count, 2);
	assert_non_null(session_find(&session, 12));
	assert_null(session_find(&session, 10)); /* its tag is free, and its place in the window */
	/* All but the one of the connection that goes on. */
	assert_int_equal(session.order.window.maximum, FIRST + ORDER_WINDOW - 1 + 4);
	assert_true(window_told > 0);
	assert_int_equal(session.active, 2);
	assert_int_equal(aborted_all, 0);
	lose(a);
	assert_int_equal(abandoned_count, 3);
	command(c, 15, 5);
	lose(c);
	assert_int_equal(abandoned_count, 3);
	assert_int_equal(session.active, 0);
	assert_int_equal(aborted_all, 1); /* with the last one all goes */
	end();
}

/* What the stream is still filling stays until it lets go; once given up it is not looked at. */
static void half_a_command(void **state)
{
	struct iscsi_task *half;

	(void)state;
	begin(2);
	command(a, 9, 1);
	write_command(b, 10, 0);
	assert_true(header(b, PDU_SCSI_COMMAND, 0, 11, FIRST + 2, b->acknowledged));
	half = b->rx_task;
	logout(a, 1, 1, 30); /* closes the other */
	assert_int_equal(b->state, CONN_CLOSING);
	assert_silent();
	assert_ptr_equal(b->rx_task, half);
	assert_int_equal(b->task_count, 2);
	stream_closed(b);
	assert_true(b->finished);
	assert_logout(a, 30, 0);
	assert_int_equal(session.order.window.expected, FIRST + 2); /* 11 has not come */
	end();
}

/* A connection that logs itself out while it is read: what has not had its turn goes at once. */
static void logs_itself_out(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	write_command(b, 11, 1);
	command(b, 13, 3); /* ahead of a gap */
	write_command(a, 12, 2);
	assert_int_equal(session.order.window.expected, FIRST + 4);
	command(b, 15, 5);
	command(a, 16, 6);
	logout(b, 1, 1, 30);
	assert_silent();
	assert_int_equal(abandoned_count, 3); /* 10, 11, 13 */
	assert_int_equal(b->task_count, 3);   /* 10, 13 and the LOGOUT */
	assert_non_null(session_find(&session, 30));
	assert_null(session_find(&session, 11));
	assert_null(session_find(&session, 15));
	assert_non_null(session_find(&session, 12));
	assert_non_null(session_find(&session, 16));
	logout(a, 1, 1, 31);
	assert_logout(a, 31, 3); /* one is at it */
	for (struct list *it = session.tasks.next, *next; it != &session.tasks; it = next) {
		struct iscsi_task *task = list_entry(it, struct iscsi_task, link);

		next = it->next;
		if (task->given_up)
			session_task_free(task);
	}
	assert_logout(b, 30, 0);
	assert_int_equal(b->state, CONN_DRAINING);
	stream_closed(b);
	assert_true(b->finished);
	command(a, 14, 4);
	command(a, 15, 5);
	assert_int_equal(session.order.window.expected, FIRST + 7);
	end();
}

/* The same by a LOGOUT with a number of its own, whose turn comes amidst another PDU. */
static void logs_out_in_between(void **state)
{
	struct iscsi_task *half;

	(void)state;
	begin(2);
	assert_true(header(b, PDU_LOGOUT, 1, 30, FIRST + 1, b->acknowledged));
	pdu_put16(b->rx_task->bhs + 20, 1);
	session_pdu(b, true);
	assert_true(header(b, PDU_SCSI_COMMAND, 0, 31, FIRST + 2, b->acknowledged));
	half = b->rx_task;
	command(a, 10, 0);
	assert_ptr_equal(b->rx_task, half); /* freed when the stream has filled it */
	assert_true(half->dropped);
	assert_silent();
	assert_true(b->logged_out);
	session_pdu(b, true);
	assert_null(b->rx_task);
	assert_ran(1, 10u);
	assert_logout(b, 30, 0);
	end();
}

/* Its stream neither drains nor closes: the LOGOUT goes with it, not before. */
static void logs_out_and_hangs(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	logout(b, 1, 1, 30);
	conn_close(b);
	mcs_stuck(b);
	assert_int_equal(b->task_count, 2);
	assert_silent();
	stream_closed(b);
	assert_int_equal(b->task_count, 1);
	assert_null(b->logout);
	end();
}

/* What was told on an idle connection was perhaps not heard either. */
static void window_is_told(void **state)
{
	(void)state;
	begin(2);
	lose(b);
	assert_int_equal(window_told, 1);
	end();
}

/* A text request waits for the control loop, which answers it: until then it is not to be freed. */
static void text_waits(void **state)
{
	struct iscsi_task *text;

	(void)state;
	begin(2);
	b->exchange.text_in = heap_alloc(ISCSI_TEXT_MAX);
	b->exchange.text_itt = 40;
	memcpy(b->exchange.text_in, "SendTargets=", sizeof("SendTargets="));
	b->exchange.text_in_length = sizeof("SendTargets=");
	comes(b, PDU_TEXT, 0, 40, FIRST + 1);
	assert_int_equal(b->question, ASK_NOTHING); /* it has a number of its own */
	command(a, 10, 0);
	assert_int_equal(b->question, ASK_TARGETS);
	assert_int_equal(session.order.window.expected, FIRST + 2);
	text = b->exchange.text_task;
	assert_ptr_equal(text, session_find(&session, 40));
	logout(b, 1, 1, 30);
	assert_silent(); /* the logout as well */
	assert_int_equal(b->task_count, 2);
	lists_targets(b);
	assert_heard(b, PDU_TEXT_RESPONSE, 40);
	taken();
	assert_logout(b, 30, 0);
	end();
}

/* ---- who joins, and who is replaced */

static void enters(void **state)
{
	(void)state;
	begin(1);
	member(b, 7, CONN_LOGIN);
	b->statsn = 55;
	mcs_join(b);
	assert_int_equal(joined[1], LOGIN_SUCCESS);
	assert_int_equal(session.active, 2);
	assert_ptr_equal(b->window, &session.order.window);
	assert_int_equal(b->acknowledged, 55);
	assert_int_equal(b->fence_statsn, 55);
	assert_true(b->started_ns == now);
	assert_ptr_equal(mcs_find(&session, 7), b);
	assert_ptr_equal(mcs_find(&session, 0), a);
	assert_null(mcs_find(&session, 1));
	lose(a);
	lose(b);
	member(c, 8, CONN_LOGIN);
	c->joins = true;
	mcs_join(c); /* to a session that ends */
	assert_int_equal(joined[2], LOGIN_NO_SESSION);
	assert_false(c->joins);
	assert_true(list_empty(&c->session_link));
	end();
}

static void replaced(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	member(c, 1, CONN_LOGIN); /* b's */
	mcs_join(c);
	assert_int_equal(b->state, CONN_CLOSING);
	assert_int_equal(a->state, CONN_FULL_FEATURE);
	assert_int_equal(joined[2], -1); /* b is not gone */
	assert_true(c->waits);
	assert_int_equal(session.active, 2);
	assert_ptr_equal(mcs_find(&session, 1), b);
	stream_closed(b);
	assert_int_equal(joined[2], -1);
	session_task_free(list_entry(session.tasks.next, struct iscsi_task, link));
	assert_true(b->finished);
	assert_int_equal(joined[2], LOGIN_SUCCESS);
	assert_ptr_equal(mcs_find(&session, 1), c);
	end();
}

/* Two that follow each other: the first of them is replaced before it has begun. */
static void replaced_twice(void **state)
{
	struct iscsi_conn *d = &conns[3];

	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	member(c, 1, CONN_LOGIN);
	mcs_join(c);
	member(d, 1, CONN_LOGIN);
	mcs_join(d);
	assert_int_equal(c->state, CONN_CLOSING);
	stream_closed(b);
	mcs_stuck(b); /* its command hangs: it is not waited for any more */
	assert_int_equal(joined[2], -1);
	assert_int_equal(joined[3], -1);
	assert_null(mcs_find(&session, 1)); /* neither of them is there yet */
	stream_closed(c);
	assert_true(c->finished);
	assert_int_equal(joined[2], -1);
	assert_int_equal(joined[3], LOGIN_SUCCESS);
	assert_ptr_equal(mcs_find(&session, 1), d);
	assert_false(b->finished);
	end();
}

/* The one that is replaced hangs: the new one begins without it. */
static void hangs_while_it_waits(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	member(c, 1, CONN_LOGIN);
	mcs_join(c);
	stream_closed(b);
	assert_int_equal(joined[2], -1);
	mcs_stuck(b);
	assert_int_equal(joined[2], LOGIN_SUCCESS);
	assert_ptr_equal(mcs_find(&session, 1), c);
	assert_false(b->finished);
	end();
}

/* One that is gone itself by then does not begin. */
static void gone_while_it_waits(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	member(c, 1, CONN_LOGIN);
	mcs_join(c);
	conn_close(c);
	stream_closed(b);
	mcs_stuck(b);
	assert_int_equal(joined[2], -1);
	end();
}

/* Its login goes on for a while; whoever leaves meanwhile has nothing to do with it. */
static void joins_once(void **state)
{
	(void)state;
	begin(2);
	member(c, 5, CONN_LOGIN);
	mcs_join(c);
	assert_int_equal(joined[2], LOGIN_SUCCESS);
	lose(b);
	assert_int_equal(session.active, 2);
	end();
}

/* Nobody but who has the same CID is waited for. */
static void not_replaced(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	conn_close(b);
	member(c, 5, CONN_LOGIN);
	mcs_join(c);
	assert_int_equal(joined[2], LOGIN_SUCCESS);
	end();
}

static void stuck(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(b, 10, 0);
	logout(a, 1, 1, 30);
	stream_closed(b);
	assert_silent();
	mcs_stuck(b);
	assert_logout(a, 30, 3); /* not clean */
	assert_null(mcs_find(&session, 1));
	logout(a, 1, 1, 31);
	assert_logout(a, 31, 1); /* no such CID */
	session_task_free(list_entry(session.tasks.next, struct iscsi_task, link));
	assert_true(b->finished);
	mcs_stuck(b); /* that comes too late */
	member(c, 2, CONN_CLOSING);
	c->session = NULL; /* one of which no session is known */
	mcs_stuck(c);
	mcs_tell_others(c);
	mcs_leave(c);
	assert_silent();
	assert_int_equal(session.active, 1);
	end();
}

static void told(void **state)
{
	const struct sent *pdu;

	(void)state;
	begin(4);
	a->state = CONN_DRAINING;
	conn_fail(b, "for a reason");
	pdu = heard();
	assert_non_null(pdu);
	assert_ptr_equal(pdu->conn, c);
	assert_int_equal(pdu->opcode, PDU_ASYNC);
	assert_int_equal(pdu->event, 2);
	assert_int_equal(pdu->parameter, 1); /* b's CID */
	assert_silent();
	end();
}

/* Without its number in the list of what goes on, one that fails tells nobody. */
static void told_by_nobody(void **state)
{
	(void)state;
	begin(1);
	mcs_tell_others(b);
	mcs_tell_others(a);
	assert_silent();
	mcs_leave(b);
	assert_int_equal(session.active, 1);
	end();
}

/* ---- a number that does not come */

static void gap_ends(void **state)
{
	(void)state;
	begin(2);
	member(c, 2, CONN_LOGIN); /* one whose login is not through */
	mcs_enter(c);
	command(b, 11, 1);
	now += ISCSI_GAP_NS - 1;
	mcs_look_at_gap(&session);
	assert_silent();
	assert_int_equal(session.active, 3);
	now += 1;
	mcs_look_at_gap(&session);
	assert_heard(a, PDU_ASYNC, PDU_TAG_NONE);
	assert_int_equal(sent[0].event, 3);
	assert_heard(b, PDU_ASYNC, PDU_TAG_NONE);
	assert_silent();
	assert_int_equal(a->state, CONN_DRAINING);
	assert_int_equal(b->state, CONN_DRAINING);
	assert_int_equal(c->state, CONN_CLOSING);
	assert_int_equal(session.active, 0);
	assert_int_equal(aborted_all, 1);
	end();
}

/* A connection that we do not read may have it: time begins anew. */
static void gap_not_read(void **state)
{
	(void)state;
	begin(3);
	command(b, 11, 1);
	a->paused = true;
	now += 2 * ISCSI_GAP_NS;
	mcs_look_at_gap(&session);
	a->paused = false;
	c->paused = true; /* nothing can come from it any more */
	c->state = CONN_DRAINING;
	now += ISCSI_GAP_NS - 1;
	mcs_look_at_gap(&session);
	assert_int_equal(a->state, CONN_FULL_FEATURE);
	now += 1;
	mcs_look_at_gap(&session);
	assert_int_equal(a->state, CONN_DRAINING);
	end();
}

static void no_gap(void **state)
{
	(void)state;
	begin(2);
	command(b, 10, 0);
	now += 10 * ISCSI_GAP_NS;
	mcs_look_at_gap(&session);
	assert_silent();
	assert_int_equal(session.active, 2);
	end();
}

/* ---- the fence */

static const uint8_t reset_fixed[18] = {0x70, 0, 6, [7] = 10, [12] = 0x29, [13] = 3};
static const uint8_t reset_descriptors[18] = {0x72, 6, 0x29, 3};

static bool fenced_by(const uint8_t *sense, unsigned length)
{
	bool fence;

	begin(2);
	command(b, 10, 0);
	finish(10); /* not acknowledged */
	command(a, 11, 1);
	finish_with(11, sense, length);
	fence = session.fence != FENCE_NONE;
	assert_ptr_equal(session.fenced, fence ? session_find(&session, 11) : NULL);
	end();
	return fence;
}

static void whom_it_tells(void **state)
{
	uint8_t sense[18];

	(void)state;
	assert_true(fenced_by(reset_fixed, 18));
	assert_true(fenced_by(reset_fixed, 13));
	assert_false(fenced_by(reset_fixed, 12)); /* too short to say it */
	assert_true(fenced_by(reset_descriptors, 8));
	assert_true(fenced_by(reset_descriptors, 3));
	assert_false(fenced_by(reset_descriptors, 2));
	memcpy(sense, reset_fixed, 18);
	sense[2] |= 0x20; /* a bit beside the key */
	assert_true(fenced_by(sense, 18));
	sense[2] = 5;
	assert_false(fenced_by(sense, 18));
	sense[2] = 6;
	sense[12] = 0x2f;
	assert_true(fenced_by(sense, 18));
	sense[12] = 0x47;
	assert_true(fenced_by(sense, 18));
	sense[12] = 0x2a; /* capacity, mode parameters: of no task */
	assert_false(fenced_by(sense, 18));
	memset(sense, 0, sizeof(sense));
	memcpy(sense, reset_descriptors, 18);
	sense[1] = 5;
	assert_false(fenced_by(sense, 8));
	/* Good status: what the sense buffer held before says nothing. */
	begin(2);
	command(b, 10, 0);
	finish(10);
	command(a, 11, 1);
	memcpy(session_find(&session, 11)->scsi.sense, reset_fixed, 18);
	session_find(&session, 11)->scsi.sense_length = 18;
	finish(11);
	assert_int_equal(session.fence, FENCE_NONE);
	end();
}

static void fenced(void **state)
{
	(void)state;
	begin(3);
	for (unsigned i = 0; i < 5; i++)
		command(i == 3 ? a : i == 4 ? c : b, 10 + i, i);
	takes[1] = false; /* no room for b's PDUs now */
	finish(10);
	finish_with(13, reset_fixed, 18); /* on a */
	assert_int_equal(session.fence, FENCE_BEFORE);
	assert_int_equal(looked_at_pauses, 3);
	assert_silent();
	takes[1] = true;
	session_pump(b);
	assert_heard(b, PDU_SCSI_RESPONSE, 10);
	assert_heard(b, PDU_NOP_IN, PDU_TAG_NONE); /* did it hear? c was sent nothing */
	assert_silent();
	assert_int_equal(session.fence, FENCE_ACKNOWLEDGED);
	write_command(b, 15, 5);
	session_queue(session_find(&session, 15));
	assert_heard(b, PDU_R2T, 15); /* no answer */
	finish(11);
	finish(14);
	finish(14);      /* queued once */
	assert_silent(); /* the younger wait, wherever they go */
	acknowledge(b);
	assert_heard(a, PDU_SCSI_RESPONSE, 13);
	assert_heard(a, PDU_NOP_IN, PDU_TAG_NONE);
	assert_int_equal(session.fence, FENCE_AFTER);
	assert_null(session.fenced);
	assert_silent();
	finish(12);
	assert_silent();
	acknowledge(a);
	assert_heard(b, PDU_SCSI_RESPONSE, 11);
	assert_heard(c, PDU_SCSI_RESPONSE, 14);
	assert_heard(b, PDU_SCSI_RESPONSE, 12);
	assert_silent();
	assert_int_equal(session.fence, FENCE_NONE);
	assert_null(session.fence_conn);
	assert_false(session.fence_timer.deadline);
	assert_int_equal(looked_at_pauses, 6);
	end();
}

/* Its own connection need not acknowledge what came before it there; nor is one waited for that is
 * logged out, begins or leaves, nor with a single connection the last answer. */
static void fence_of_whom(void **state)
{
	(void)state;
	begin(4);
	for (unsigned i = 0; i < 4; i++)
		command(&conns[i], 10 + i, i);
	finish(10);
	finish(11);
	finish(12);
	b->logged_out = true;
	c->state = CONN_DRAINING;
	takes[2] = false;
	list_push_back(&c->tx, &session_find(&session, 13)->tx_link); /* goes nowhere */
	heard_count = sent_count;
	command(a, 14, 4);
	list_remove(&session_find(&session, 13)->tx_link);
	finish_with(14, reset_fixed, 18);
	assert_heard(a, PDU_SCSI_RESPONSE, 14);
	assert_heard(a, PDU_NOP_IN, PDU_TAG_NONE);
	assert_int_equal(session.fence, FENCE_AFTER);
	end();
}

static void fence_not_made(void **state)
{
	(void)state;
	begin(2);
	command(b, 10, 0);
	command(a, 11, 1);
	takes[1] = false;
	finish(10);
	finish_with(11, reset_fixed, 18);
	assert_int_equal(session.fence, FENCE_BEFORE);
	b->logged_out = true; /* no room will be made for it */
	mcs_fence_step(&session);
	assert_heard(a, PDU_SCSI_RESPONSE, 11);
	end();
}

/* The fenced answer is made, but lies there. */
static void fence_sending(void **state)
{
	(void)state;
	begin(2);
	command(a, 11, 0);
	takes[0] = false;
	finish_with(11, reset_fixed, 18);
	assert_int_equal(session.fence, FENCE_SENDING);
	mcs_fence_step(&session);
	assert_silent();
	assert_int_equal(session.fence, FENCE_SENDING);
	takes[0] = true;
	session_pump(a);
	assert_heard(a, PDU_SCSI_RESPONSE, 11);
	end();
}

/* Another that wants a fence of its own has it when the first is through. */
static void fence_after_fence(void **state)
{
	(void)state;
	begin(2);
	command(a, 10, 0);
	command(b, 11, 1);
	finish_with(10, reset_fixed, 18);
	finish_with(11, reset_fixed, 18);
	assert_heard(a, PDU_SCSI_RESPONSE, 10);
	assert_heard(a, PDU_NOP_IN, PDU_TAG_NONE);
	assert_silent();
	acknowledge(a);
	assert_heard(b, PDU_SCSI_RESPONSE, 11);
	assert_heard(b, PDU_NOP_IN, PDU_TAG_NONE);
	assert_int_equal(session.fence, FENCE_AFTER);
	assert_ptr_equal(session.fence_conn, b);
	acknowledge(b);
	assert_int_equal(session.fence, FENCE_NONE);
	end();
}

/* What does not acknowledge in time goes: before the answer the others, after it its own. */
static void fence_late_before(void **state)
{
	(void)state;
	begin(3);
	for (unsigned i = 0; i < 3; i++)
		command(&conns[i], 10 + i, i);
	finish(11);
	command(a, 13, 3);
	finish(13); /* older than the answer, on its connection: not asked for */
	finish_with(10, reset_fixed, 18);
	heard_count = sent_count;
	wait_until(now + ISCSI_FENCE_NS - 1);
	assert_int_equal(failed, 0);
	wait_until(now + 1);
	assert_int_equal(failed, 1);
	assert_int_equal(b->state, CONN_DRAINING);
	assert_int_equal(a->state, CONN_FULL_FEATURE);
	assert_int_equal(c->state, CONN_FULL_FEATURE);
	assert_heard(a, PDU_ASYNC, PDU_TAG_NONE);
	assert_heard(a, PDU_SCSI_RESPONSE, 10);
	end();
}

static void fence_late_after(void **state)
{
	(void)state;
	begin(3);
	for (unsigned i = 0; i < 3; i++)
		command(&conns[i], 10 + i, i);
	takes[0] = false;
	finish_with(10, reset_fixed, 18);
	assert_int_equal(session.fence, FENCE_SENDING);
	now += SECOND;
	takes[0] = true;
	session_pump(a);
	assert_int_equal(session.fence, FENCE_AFTER);
	finish(11);
	heard_count = sent_count;
	wait_until(now + ISCSI_FENCE_NS - 1);
	assert_int_equal(failed, 0);
	wait_until(now + 1);
	assert_int_equal(failed, 1);
	assert_int_equal(a->state, CONN_DRAINING);
	assert_int_equal(b->state, CONN_FULL_FEATURE);
	assert_heard(b, PDU_ASYNC, PDU_TAG_NONE);
	assert_heard(b, PDU_SCSI_RESPONSE, 11); /* what waited behind it */
	assert_int_equal(session.fence, FENCE_NONE);
	end();
}

/* The connection of the fenced answer goes, in each stage. */
static void fence_conn_goes(void **state)
{
	(void)state;
	begin(3);
	command(b, 10, 0);
	command(c, 11, 1);
	command(a, 12, 2);
	finish(10);
	finish_with(12, reset_fixed, 18);
	finish(11);
	heard_count = sent_count;
	assert_int_equal(session.fence, FENCE_ACKNOWLEDGED);
	conn_close(a);
	assert_int_equal(session.fence, FENCE_NONE);
	assert_null(session.fenced);
	assert_heard(c, PDU_SCSI_RESPONSE, 11);
	stream_closed(a);
	assert_true(a->finished);
	end();

	begin(2); /* the other one goes instead: nothing to acknowledge is left */
	command(b, 10, 0);
	command(a, 12, 1);
	finish(10);
	finish_with(12, reset_fixed, 18);
	heard_count = sent_count;
	assert_int_equal(session.fence, FENCE_ACKNOWLEDGED);
	lose(b);
	assert_heard(a, PDU_SCSI_RESPONSE, 12);
	assert_int_equal(session.fence, FENCE_NONE); /* and nobody is left to come after it */
	end();
}

/* And it is the last one: the answer is freed with its stream, and nobody comes back to it. */
static void fence_goes_with_all(void **state)
{
	(void)state;
	begin(2);
	hangs = true;
	command(a, 10, 0);
	command(a, 11, 1);
	takes[0] = false;
	finish_with(11, reset_fixed, 18);
	assert_int_equal(session.fence, FENCE_SENDING);
	lose(b);
	conn_close(a);
	stream_closed(a);
	assert_false(a->finished); /* 10 executes still */
	assert_int_equal(session.fence, FENCE_NONE);
	assert_null(session.fenced);
	assert_false(session.fence_timer.deadline);
	end();
}

/* A function that ended tasks of others has one, an answer that has nothing to tell has none,
 * whatever the memory it is made in was before. */
static void fence_of_what(void **state)
{
	(void)state;
	begin(2);
	command(a, 10, 0);
	finish_with(10, reset_fixed, 18);
	acknowledge(a);
	taken();
	heard_count = sent_count;
	assert_int_equal(session.fence, FENCE_NONE);
	comes(a, PDU_NOP_OUT | PDU_IMMEDIATE, 0, 20, FIRST + 1);
	assert_heard(a, PDU_NOP_IN, 20);
	assert_int_equal(session.fence, FENCE_NONE);
	command(b, 11, 1);
	finish(11);
	heard_count = sent_count;
	function(a, ABORT_TASK_SET, 30, 2);
	functions[0]->answered(functions[0], SCSI_TMF_COMPLETE);
	assert_int_equal(session.fence, FENCE_ACKNOWLEDGED);
	assert_heard(b, PDU_NOP_IN, PDU_TAG_NONE);
	assert_silent();
	acknowledge(b);
	assert_heard(a, PDU_TASK_MANAGEMENT_RESPONSE, 30);
	end();
}

/* What was asked of a connection for a fence that is no more is not asked of it for its own. */
static void fence_asked_before(void **state)
{
	(void)state;
	begin(3);
	command(a, 10, 0);
	command(b, 11, 1);
	command(c, 12, 2);
	command(a, 13, 3);
	finish(10);
	finish_with(11, reset_fixed, 18); /* asks a */
	assert_true(pdu_sn_before(a->acknowledged, a->fence_statsn));
	lose(b);
	assert_int_equal(session.fence, FENCE_NONE);
	heard_count = sent_count;
	finish_with(13, reset_fixed, 18);
	assert_heard(a, PDU_SCSI_RESPONSE, 13);
	end();

	begin(3); /* nor is it late with it */
	command(a, 10, 0);
	command(b, 11, 1);
	command(c, 12, 2);
	command(a, 13, 3);
	finish(10);
	finish_with(11, reset_fixed, 18);
	lose(b);
	finish(12);
	finish_with(13, reset_fixed, 18); /* asks c */
	assert_int_equal(session.fence, FENCE_ACKNOWLEDGED);
	wait_until(now + ISCSI_FENCE_NS);
	assert_int_equal(failed, 1);
	assert_int_equal(c->state, CONN_DRAINING);
	assert_int_equal(a->state, CONN_FULL_FEATURE);
	end();
}

/* One that joins meanwhile does not stop the clock. */
static void fence_and_joiner(void **state)
{
	(void)state;
	begin(2);
	command(b, 10, 0);
	command(a, 11, 1);
	finish(10);
	finish_with(11, reset_fixed, 18);
	assert_true(session.fence_timer.deadline);
	member(c, 2, CONN_LOGIN);
	mcs_join(c);
	assert_true(session.fence_timer.deadline);
	wait_until(now + ISCSI_FENCE_NS);
	assert_int_equal(b->state, CONN_DRAINING);
	assert_int_equal(session.fence, FENCE_AFTER);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(overtaking),
	    cmocka_unit_test(at_once),
	    cmocka_unit_test(hole),
	    cmocka_unit_test(hole_alone),
	    cmocka_unit_test(reassignment),
	    cmocka_unit_test(given_up),
	    cmocka_unit_test(half_a_command),
	    cmocka_unit_test(logs_itself_out),
	    cmocka_unit_test(logs_out_in_between),
	    cmocka_unit_test(logs_out_and_hangs),
	    cmocka_unit_test(window_is_told),
	    cmocka_unit_test(text_waits),
	    cmocka_unit_test(enters),
	    cmocka_unit_test(replaced),
	    cmocka_unit_test(replaced_twice),
	    cmocka_unit_test(hangs_while_it_waits),
	    cmocka_unit_test(gone_while_it_waits),
	    cmocka_unit_test(joins_once),
	    cmocka_unit_test(not_replaced),
	    cmocka_unit_test(stuck),
	    cmocka_unit_test(told),
	    cmocka_unit_test(told_by_nobody),
	    cmocka_unit_test(gap_ends),
	    cmocka_unit_test(gap_not_read),
	    cmocka_unit_test(no_gap),
	    cmocka_unit_test(whom_it_tells),
	    cmocka_unit_test(fenced),
	    cmocka_unit_test(fence_of_whom),
	    cmocka_unit_test(fence_not_made),
	    cmocka_unit_test(fence_sending),
	    cmocka_unit_test(fence_after_fence),
	    cmocka_unit_test(fence_late_before),
	    cmocka_unit_test(fence_late_after),
	    cmocka_unit_test(fence_conn_goes),
	    cmocka_unit_test(fence_goes_with_all),
	    cmocka_unit_test(fence_of_what),
	    cmocka_unit_test(fence_asked_before),
	    cmocka_unit_test(fence_and_joiner),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
