/* SPDX-License-Identifier: Apache-2.0 */
/* session.c: full feature phase: tasks, and the requests that are not SCSI. A request is received
 * into a task, waits in session->order while it is ahead of a gap, and is handed to its row's run()
 * in order. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"

static void nop_run(struct iscsi_task *task);
static void text_run(struct iscsi_task *task);
static void logout_run(struct iscsi_task *task);
static void nop_make(struct iscsi_task *task);
static void text_make(struct iscsi_task *task);
static void logout_make(struct iscsi_task *task);

/* run(): in CmdSN order. make(): build the answer, when there is room to send. */
static const struct request_row {
	uint8_t opcode;
	bool discovery; /* also in a discovery session */
	uint32_t payload_max;
	void (*run)(struct iscsi_task *task);
	void (*make)(struct iscsi_task *task);
} rows[] = {
    {PDU_SCSI_COMMAND, false, KEYS_RECEIVE_MAX, transfer_command, NULL},
    {PDU_NOP_OUT, true, KEYS_RECEIVE_MAX, nop_run, nop_make},
    {PDU_TASK_MANAGEMENT, false, 0, tmf_request, tmf_make_pdu},
    {PDU_TEXT, true, ISCSI_TEXT_MAX, text_run, text_make},
    {PDU_LOGOUT, true, KEYS_LOGIN_MAX, logout_run, logout_make},
};

static const struct request_row *find_row(uint8_t opcode)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].opcode == opcode)
			return &rows[i];
	return NULL;
}

/* ---- tasks */

static struct iscsi_task **bucket(struct iscsi_session *session, uint32_t itt)
{
	return &session->hash[(itt ^ itt >> 8 ^ itt >> 16 ^ itt >> 24) % SESSION_HASH];
}

struct iscsi_task *session_find(struct iscsi_session *session, uint32_t itt)
{
	struct iscsi_task *task = *bucket(session, itt);

	while (task && task->itt != itt)
		task = task->next;
	return task;
}

static void unhash(struct iscsi_task *task)
{
	struct iscsi_task **at = bucket(task->session, task->itt);

	if (!task->hashed)
		return;
	while (*at != task)
		at = &(*at)->next;
	*at = task->next;
	task->hashed = false;
}

static void hash(struct iscsi_task *task)
{
	struct iscsi_task **at = bucket(task->session, task->itt);

	task->next = *at;
	*at = task;
	task->hashed = true;
}

/* The big embedded parts are set up by their users; only our own words are cleared. */
static void task_reset(struct iscsi_task *task)
{
	memset(task->bhs, 0, sizeof(*task) - offsetof(struct iscsi_task, bhs));
	list_init(&task->link);
	list_init(&task->tx_link);
	list_init(&task->order.link);
	task->next = NULL;
}

static struct iscsi_task *task_new(struct iscsi_conn *conn)
{
	struct iscsi_session *session = conn->session;
	struct iscsi_task *task = session->free_tasks;

	if (task)
		session->free_tasks = task->next;
	else
		task = heap_zalloc(sizeof(*task));
	if (!task)
		return NULL;
	task_reset(task);
	task->conn = conn;
	task->session = session;
	memcpy(task->bhs, conn->header, PDU_BHS_LENGTH);
	task->itt = pdu_get32(task->bhs + PDU_AT_ITT);
	task->order.cmdsn = pdu_get32(task->bhs + PDU_AT_CMDSN);
	task->immediate = task->order.immediate = pdu_immediate(task->bhs);
	list_push_back(&session->tasks, &task->link);
	session->task_count++;
	conn->task_count++;
	session->immediate_count += task->immediate;
	if (task->itt != PDU_TAG_NONE)
		hash(task);
	return task;
}

void session_task_done(struct iscsi_task *task)
{
	struct iscsi_session *session = task->session;

	unhash(task);
	if (task->counted)
		session->order.window.maximum++;
	task->counted = false;
	session->immediate_count -= task->immediate;
	task->immediate = false;
}

/* At the end of the round, if nothing has told it by then. */
void session_tell_window(struct iscsi_session *session)
{
	session->untold = true;
	loop_defer(session->io->loop, &session->tell_window);
}

void session_task_unanswered(struct iscsi_task *task)
{
	if (task->counted)
		session_tell_window(task->session);
	session_task_done(task);
}

/* A task of @conn has ended; @closes: it was a LOGOUT of that one. */
static void logout_look(struct iscsi_conn *conn, struct iscsi_conn *closes)
{
	if (closes)
		closes->logout = NULL;
	if (conn->logout && conn->logout->conn == conn && conn->task_count == 1 &&
	    conn->state == CONN_FULL_FEATURE)
		session_logout_ready(conn, true);
}

void session_task_free(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn, *closes = task->closes;
	struct iscsi_session *session = task->session;

	assert(task->state != TASK_FREE);
	session_task_unanswered(task); /* what has an answer is done already */
	transfer_release(task);
	buf_unref(task->payload);
	task->payload = NULL;
	list_remove(&task->link);
	list_remove(&task->tx_link);
	order_forget(&task->order);
	if (conn->rx_task == task)
		conn->rx_task = NULL;
	session->task_count--;
	conn->task_count--;
	task->state = TASK_FREE;
	task->next = session->free_tasks;
	session->free_tasks = task;
	/* Whoever waited for its end may take the task anew. */
	if (session->fenced == task)
		mcs_fenced_ends(session);
	if (conn->logout || closes)
		logout_look(conn, closes);
	if (conn->state >= CONN_DRAINING)
		conn_try_finish(conn);
}

void session_task_drop(struct iscsi_task *task)
{
	session_was_aborted(task->session, task->itt);
	if (task->state == TASK_HELD) { /* nobody will come with its number any more */
		order_forget(&task->order);
		if (!task->order.immediate) /* those have none of their own */
			order_plug(&task->session->order, task->order.cmdsn);
		task->state = TASK_RECEIVING;
	}
	transfer_wait_no_more(task);
	if (task->conn->rx_task != task) {
		session_task_free(task);
		return;
	}
	/* The stream still knows it: freed when it is called back. */
	session_task_unanswered(task);
	list_remove(&task->tx_link);
	task->dropped = true;
}

void session_was_aborted(struct iscsi_session *session, uint32_t itt)
{
	session->aborted_itts[session->aborted_next++ % 64] = itt;
}

bool session_itt_aborted(const struct iscsi_session *session, uint32_t itt)
{
	unsigned count = session->aborted_next;

	for (unsigned i = 0; i < 64 && i < count; i++)
		if (session->aborted_itts[i] == itt)
			return true;
	return false;
}

uint32_t session_ttt(struct iscsi_session *session)
{
	if (++session->next_ttt == PDU_TAG_NONE)
		session->next_ttt = 1;
	return session->next_ttt;
}

/* ---- answers */

void session_queue(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;

	assert(task->state != TASK_FREE);
	if (conn->state != CONN_FULL_FEATURE) {
		if (task->state == TASK_SENDING)
			session_task_free(task);
		return;
	}
	if ((task->session->active > 1 || task->session->fence) && mcs_fence(task))
		return;
	if (list_empty(&task->tx_link))
		list_push_back(&conn->tx, &task->tx_link);
	session_pump(conn);
}

void session_pump(struct iscsi_conn *conn)
{
	while (!list_empty(&conn->tx) && conn_out_available(conn) &&
	       conn->state == CONN_FULL_FEATURE) {
		struct iscsi_task *task = list_entry(conn->tx.next, struct iscsi_task, tx_link);

		if (pdu_opcode(task->bhs) == PDU_SCSI_COMMAND) {
			if (transfer_make_pdu(task))
				list_remove(&task->tx_link);
			continue;
		}
		list_remove(&task->tx_link);
		find_row(pdu_opcode(task->bhs))->make(task);
	}
	if (conn->session->fence)
		mcs_fence_step(conn->session);
}

/* The header of the one PDU that answers @task; the task is freed once it is sent. */
static struct iscsi_out *last_out(struct iscsi_task *task, uint8_t opcode)
{
	struct iscsi_out *out;

	session_task_done(task);
	out = conn_out(task->conn, opcode);
	if (!out)
		return NULL;
	out->task = task;
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	pdu_put32(out->bhs + PDU_AT_ITT, task->itt);
	return out;
}

/* Its answer is a Reject. */
static void refuse_task(struct iscsi_task *task, enum pdu_reject_reason reason)
{
	session_task_done(task);
	conn_reject_header(task->conn, task->bhs, reason);
	session_task_free(task);
}

static void queue_answer(struct iscsi_task *task)
{
	task->state = TASK_SENDING;
	session_queue(task);
}

/* ---- NOP */

static void nop_run(struct iscsi_task *task)
{
	if (task->itt == PDU_TAG_NONE)
		session_task_free(task); /* answer to our ping: being heard was all */
	else
		queue_answer(task);
}

static void nop_make(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct iscsi_out *out = last_out(task, PDU_NOP_IN);
	struct iovec data = {0};

	if (!out)
		return;
	pdu_put32(out->bhs + PDU_AT_TTT, PDU_TAG_NONE);
	memcpy(out->bhs + PDU_AT_LUN, task->bhs + PDU_AT_LUN, 8);
	if (task->payload) {
		data.iov_base = task->payload->data;
		data.iov_len = task->payload_length < conn->params.send_max ? task->payload_length
									    : conn->params.send_max;
	}
	conn_send(conn, out, &data, data.iov_len ? 1 : 0, true);
}

static void nop_in(struct iscsi_conn *conn, uint32_t ttt)
{
	struct iscsi_out *out = conn_out(conn, PDU_NOP_IN);

	if (!out)
		return;
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	pdu_put32(out->bhs + PDU_AT_ITT, PDU_TAG_NONE);
	pdu_put32(out->bhs + PDU_AT_TTT, ttt);
	conn_send(conn, out, NULL, 0, false);
}

void session_ping(struct iscsi_conn *conn)
{
	conn->pinged = loop_now(conn->io->loop);
	nop_in(conn, session_ttt(conn->session));
}

static struct iscsi_conn *first_conn(const struct iscsi_session *session)
{
	list_for_each (it, &session->conns) {
		struct iscsi_conn *conn = list_entry(it, struct iscsi_conn, session_link);

		if (conn->state == CONN_FULL_FEATURE && !conn->logged_out &&
		    conn_out_available(conn))
			return conn;
	}
	return NULL;
}

/* An initiator that has used up the window sends nothing until it hears that it has opened, and of
 * tasks that end without an answer it hears nothing (RFC 7143 11.19). */
static void tell_window(struct deferred *deferred)
{
	struct iscsi_session *session = container_of(deferred, struct iscsi_session, tell_window);
	struct iscsi_conn *conn = session->untold ? first_conn(session) : NULL;

	if (conn && !conn->params.discovery)
		nop_in(conn, PDU_TAG_NONE);
}

static struct iscsi_out *async_out(struct iscsi_conn *conn, uint8_t event)
{
	struct iscsi_out *out = NULL;

	if (!conn->params.discovery && conn->state == CONN_FULL_FEATURE)
		out = conn_out(conn, PDU_ASYNC);
	if (!out)
		return NULL;
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	pdu_put32(out->bhs + PDU_AT_ITT, PDU_TAG_NONE);
	out->bhs[PDU_AT_ASYNC_EVENT] = event;
	return out;
}

/* Event 0, a SCSI asynchronous event (RFC 7143 11.9): the unit attention that pends, as sense
 * data of fixed format. Left out when the initiator does not take what is sent: a command of its
 * own tells it. */
#define EVENT_SENSE 18u
static void told(void *context, const uint8_t lun[8], uint16_t asc)
{
	struct iscsi_conn *conn = first_conn(context);
	struct iscsi_out *out = conn ? async_out(conn, 0) : NULL;
	struct iovec data;
	uint8_t *sense;

	if (!out)
		return;
	memcpy(out->bhs + PDU_AT_LUN, lun, 8);
	sense = out->small + 2;
	memset(sense, 0, EVENT_SENSE);
	pdu_put16(out->small, EVENT_SENSE);
	sense[0] = 0x70;
	sense[2] = 6; /* UNIT ATTENTION */
	sense[7] = EVENT_SENSE - 8;
	pdu_put16(sense + 12, asc);
	data = (struct iovec){out->small, 2 + EVENT_SENSE};
	conn_send(conn, out, &data, 1, true);
}

void session_async(struct iscsi_conn *conn, uint8_t event, uint16_t p1, uint16_t p2, uint16_t p3)
{
	struct iscsi_out *out = async_out(conn, event);

	if (!out)
		return;
	pdu_put16(out->bhs + PDU_AT_ASYNC_PARAMETER, p1);
	pdu_put16(out->bhs + PDU_AT_ASYNC_PARAMETER + 2, p2);
	pdu_put16(out->bhs + PDU_AT_ASYNC_PARAMETER + 4, p3);
	conn_send(conn, out, NULL, 0, true);
}

/* ---- TEXT (RFC 7143 11.10, 11.11) */

static void text_reset(struct iscsi_exchange *exchange)
{
	heap_free(exchange->text);
	heap_free(exchange->text_in);
	exchange->text = exchange->text_in = NULL;
	exchange->text_length = exchange->text_sent = exchange->text_in_length = 0;
}

static void text_refuse(struct iscsi_task *task, enum pdu_reject_reason reason)
{
	text_reset(&task->conn->exchange);
	refuse_task(task, reason);
}

static bool text_gather(struct iscsi_task *task)
{
	struct iscsi_exchange *exchange = &task->conn->exchange;
	size_t length = task->payload ? task->payload_length : 0;

	if (!exchange->text_in)
		exchange->text_in = heap_alloc(ISCSI_TEXT_MAX);
	if (!exchange->text_in || length > ISCSI_TEXT_MAX - exchange->text_in_length ||
	    (!task->payload && task->payload_length))
		return false;
	if (length)
		memcpy(exchange->text_in + exchange->text_in_length, task->payload->data, length);
	exchange->text_in_length += length;
	return true;
}

/* The whole request is here: keys are answered at once, SendTargets asks the control loop. */
static void text_process(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct iscsi_exchange *exchange = &conn->exchange;
	struct text_pair pairs[TEXT_PAIRS_MAX];
	int count = text_parse(exchange->text_in, exchange->text_in_length, pairs);
	struct text_writer writer = {.data = heap_alloc(KEYS_LOGIN_MAX), .room = KEYS_LOGIN_MAX};
	const char *targets;
	uint64_t seen = 0;
	bool good = count >= 0 && writer.data;

	for (int i = 0; good && i < count; i++)
		good =
		    keys_answer(&conn->params, &seen, KEYS_FULL_FEATURE, &pairs[i], &writer) == 0;
	targets = good ? text_find(pairs, (unsigned)count, "SendTargets") : NULL;
	if (good && targets && strlen(targets) > SCSI_NAME_MAX)
		good = false;
	if (good && targets && !strcmp(targets, "All") && !conn->params.discovery) {
		text_add(&writer, "SendTargets", "Reject");
		targets = NULL;
	}
	if (!good || writer.overflow) {
		heap_free(writer.data);
		text_refuse(task, PDU_REJECT_PROTOCOL_ERROR);
		return;
	}
	exchange->text = writer.data;
	exchange->text_length = writer.length;
	exchange->text_sent = 0;
	if (!targets) {
		queue_answer(task);
		return;
	}
	snprintf(conn->asked_targets, sizeof(conn->asked_targets), "%s", targets);
	exchange->text_task = task;
	server_ask(conn, ASK_TARGETS);
}

void session_targets_listed(struct iscsi_conn *conn)
{
	struct iscsi_exchange *exchange = &conn->exchange;
	struct iscsi_task *task = exchange->text_task;
	size_t total = exchange->text_length + conn->answer_length;
	char *text = heap_resize(exchange->text, total + 1);

	exchange->text_task = NULL;
	if (conn->answer != LOGIN_SUCCESS || !text) {
		if (text)
			exchange->text = text;
		heap_free(conn->answer_text);
		conn->answer_text = NULL;
		text_refuse(task, PDU_REJECT_NO_RESOURCE);
		return;
	}
	memcpy(text + exchange->text_length, conn->answer_text, conn->answer_length);
	exchange->text = text;
	exchange->text_length = total;
	heap_free(conn->answer_text);
	conn->answer_text = NULL;
	queue_answer(task);
}

/* The same ITT goes on with an unfinished request, whatever its TTT says: an endless chain meets
 * its bound. */
static bool text_goes_on(const struct iscsi_exchange *exchange, const struct iscsi_task *task)
{
	return exchange->text_in && !exchange->text && task->itt == exchange->text_itt;
}

static void text_run(struct iscsi_task *task)
{
	struct iscsi_exchange *exchange = &task->conn->exchange;
	uint8_t flags = task->bhs[PDU_AT_FLAGS];
	uint32_t ttt = pdu_get32(task->bhs + PDU_AT_TTT);

	if (exchange->text_task) { /* one at a time (RFC 7143 11.10); it may have waited its turn */
		refuse_task(task, PDU_REJECT_PROTOCOL_ERROR);
		return;
	}
	if (ttt == PDU_TAG_NONE && !text_goes_on(exchange, task))
		text_reset(exchange); /* a new exchange ends the old one */
	else if (ttt != PDU_TAG_NONE && ttt != exchange->text_ttt) {
		text_refuse(task, PDU_REJECT_INVALID_FIELD);
		return;
	}
	exchange->text_itt = task->itt;
	if (exchange->text) { /* more of the answer is asked for */
		queue_answer(task);
		return;
	}
	if ((flags & PDU_CONTINUE) && (flags & PDU_FINAL)) {
		text_refuse(task, PDU_REJECT_PROTOCOL_ERROR);
		return;
	}
	if (!text_gather(task))
		text_refuse(task, PDU_REJECT_NO_RESOURCE);
	else if (flags & PDU_CONTINUE)
		queue_answer(task);
	else
		text_process(task);
}

static void text_make(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct iscsi_exchange *exchange = &conn->exchange;
	size_t left = exchange->text_length - exchange->text_sent;
	size_t length = left < conn->params.send_max ? left : conn->params.send_max;
	bool last = exchange->text && length == left;
	struct iscsi_out *out = last_out(task, PDU_TEXT_RESPONSE);
	struct iovec data = {NULL, length};

	if (!out)
		return;
	if (length) {
		out->text = heap_alloc(length);
		if (!out->text) {
			out->task = NULL;
			conn_out_release(conn, out);
			text_refuse(task, PDU_REJECT_NO_RESOURCE);
			return;
		}
		memcpy(out->text, exchange->text + exchange->text_sent, length);
		data.iov_base = out->text;
	}
	exchange->text_sent += length;
	exchange->text_ttt = last ? PDU_TAG_NONE : session_ttt(conn->session);
	/* F only answers F: with more keys to come from the initiator we keep the exchange open. */
	out->bhs[PDU_AT_FLAGS] = last ? PDU_FINAL : exchange->text ? PDU_CONTINUE : 0;
	memcpy(out->bhs + PDU_AT_LUN, task->bhs + PDU_AT_LUN, 8);
	pdu_put32(out->bhs + PDU_AT_TTT, exchange->text_ttt);
	if (last)
		text_reset(exchange);
	conn_send(conn, out, &data, length ? 1 : 0, true);
}

/* ---- LOGOUT (RFC 7143 11.14, 11.15) */

enum logout_response {
	LOGOUT_CLOSED = 0,
	LOGOUT_NO_SUCH_CID = 1,
	LOGOUT_NO_RECOVERY = 2,
	LOGOUT_NOT_CLEAN = 3
};

#define LOGOUT_SESSION    0
#define LOGOUT_CONNECTION 1
#define LOGOUT_RECOVERY   2
#define LOGOUT_AT_CID     20

static uint8_t logout_reason(const struct iscsi_task *task)
{
	return task->bhs[PDU_AT_FLAGS] & 0x7f;
}

static void logout_answer(struct iscsi_task *task, enum logout_response response)
{
	task->response = (uint8_t)response;
	queue_answer(task);
}

/* While the session goes on its initiator has to know that what it sent before can not come after
 * what it sends on other connections: the answer waits until none of it runs any more. */
static void logout_of_one(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct iscsi_session *session = task->session;
	struct iscsi_conn *closing = mcs_find(session, pdu_get16(task->bhs + LOGOUT_AT_CID));

	if (!closing) {
		logout_answer(task, LOGOUT_NO_SUCH_CID);
	} else if (closing == conn && session->active == 1) {
		logout_answer(task, LOGOUT_CLOSED);
	} else if (closing->logout) {
		logout_answer(task, LOGOUT_NOT_CLEAN); /* another one is at it */
	} else {
		task->state = TASK_EXECUTING;
		task->closes = closing;
		closing->logout = task;
		if (closing != conn) {
			conn_close(closing);
			return;
		}
		conn->logged_out = true;
		timer_start(&conn->timer, ISCSI_ABORT_NS);
		mcs_give_up(conn, task);
		if (conn->logout && conn->task_count == 1)
			session_logout_ready(conn, true);
		mcs_fence_step(session); /* it is not waited for any more */
	}
}

void session_logout_ready(struct iscsi_conn *conn, bool clean)
{
	struct iscsi_task *task = conn->logout;

	if (!task)
		return;
	conn->logout = NULL;
	task->closes = NULL;
	logout_answer(task, clean ? LOGOUT_CLOSED : LOGOUT_NOT_CLEAN);
}

static void logout_run(struct iscsi_task *task)
{
	switch (logout_reason(task)) {
	case LOGOUT_SESSION:
		logout_answer(task, LOGOUT_CLOSED);
		break;
	case LOGOUT_CONNECTION:
		logout_of_one(task);
		break;
	case LOGOUT_RECOVERY:
		logout_answer(task, LOGOUT_NO_RECOVERY);
		break;
	default:
		refuse_task(task, PDU_REJECT_INVALID_FIELD);
	}
}

static void end_session(struct iscsi_session *session)
{
	struct iscsi_conn *conn;

	list_for_each (it, &session->conns)
		list_entry(it, struct iscsi_conn, session_link)->logged_out = true;
	while ((conn = mcs_next_active(session)))
		mcs_end(conn);
}

static void logout_make(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	bool closes_session = logout_reason(task) == LOGOUT_SESSION;
	bool closes_this = closes_session || (logout_reason(task) == LOGOUT_CONNECTION &&
					      task->response != LOGOUT_NO_SUCH_CID &&
					      pdu_get16(task->bhs + LOGOUT_AT_CID) == conn->cid);
	struct iscsi_out *out = last_out(task, PDU_LOGOUT_RESPONSE);

	if (!out)
		return;
	out->bhs[2] = task->response;
	pdu_put16(out->bhs + 40, (uint16_t)conn->params.time2wait);
	conn_send(conn, out, NULL, 0, true);
	if (!closes_this)
		return;
	conn->logged_out = true;
	if (!conn->params.discovery)
		log_info("%s from %s: logged out of %s", conn->params.initiator, conn->peer_text,
			 conn->params.target);
	if (closes_session)
		end_session(conn->session);
	else
		conn_drain(conn);
}

/* ---- requests in order */

static void run(struct iscsi_task *task)
{
	struct iscsi_session *session = task->session;

	session->running = true;
	find_row(pdu_opcode(task->bhs))->run(task);
	session->running = false;
}

void session_run_held(struct iscsi_session *session)
{
	struct order_entry *entry;
	bool moved = false;

	if (session->running) /* one after the other: who runs it looks again afterwards */
		return;
	while (session->active > 0 && (entry = order_next(&session->order))) {
		struct iscsi_task *task = container_of(entry, struct iscsi_task, order);

		task->counted = !entry->immediate;
		task->state = TASK_RECEIVING;
		moved = true;
		run(task);
	}
	if (!order_gap(&session->order))
		session->gap_since = 0;
	else if (moved || !session->gap_since)
		session->gap_since = loop_now(session->io->loop);
}

/* A request that is refused has used its CmdSN all the same, or the session would stand still. */
static void consume(struct iscsi_conn *conn)
{
	if (pdu_immediate(conn->header))
		return;
	order_plug(&conn->session->order, pdu_get32(conn->header + PDU_AT_CMDSN));
	session_run_held(conn->session);
}

static bool refuse(struct iscsi_conn *conn, enum pdu_reject_reason reason)
{
	conn_rx_iov(conn, NULL, conn->payload_length);
	if (pdu_opcode(conn->header) != PDU_SNACK)
		consume(conn);
	conn_reject(conn, reason);
	return true;
}

static bool swallow(struct iscsi_conn *conn)
{
	conn_rx_iov(conn, NULL, conn->payload_length);
	return true;
}

static bool request_header(struct iscsi_conn *conn, const struct request_row *row)
{
	struct iscsi_session *session = conn->session;
	const uint8_t *bhs = conn->header;
	uint32_t itt = pdu_get32(bhs + PDU_AT_ITT);
	struct iscsi_task *task;

	if (!pdu_immediate(bhs) &&
	    pdu_window_place(&session->order.window, pdu_get32(bhs + PDU_AT_CMDSN)) ==
		PDU_WINDOW_OUTSIDE) {
		if (itt != PDU_TAG_NONE && !session_find(session, itt))
			session_was_aborted(session, itt);
		return swallow(conn);
	}
	if (pdu_immediate(bhs) && session->immediate_count >= ISCSI_IMMEDIATE_MAX)
		return refuse(conn, PDU_REJECT_IMMEDIATE);
	if (itt == PDU_TAG_NONE && row->opcode != PDU_NOP_OUT)
		return refuse(conn, PDU_REJECT_INVALID_FIELD);
	if (itt != PDU_TAG_NONE && session_find(session, itt))
		return refuse(conn, PDU_REJECT_TASK_IN_PROGRESS);
	if (conn->payload_length > row->payload_max)
		return refuse(conn, PDU_REJECT_PROTOCOL_ERROR);
	task = task_new(conn);
	if (!task)
		return refuse(conn, PDU_REJECT_NO_RESOURCE);
	conn->rx_task = task;
	if (row->opcode == PDU_SCSI_COMMAND) {
		if (transfer_command_header(conn, task))
			return true;
		session_task_free(task);
		return refuse(conn, PDU_REJECT_PROTOCOL_ERROR);
	}
	task->payload_length = conn->payload_length;
	if (conn->payload_length)
		task->payload = buf_get(loop_buffers(conn->io->loop), conn->payload_length);
	conn_rx_iov(conn, task->payload ? task->payload->data : NULL, conn->payload_length);
	return true;
}

/* Every request says what the initiator has heard. */
static void acknowledge(struct iscsi_conn *conn)
{
	uint32_t expstatsn = pdu_get32(conn->header + PDU_AT_EXPSTATSN);

	if (pdu_sn_before(conn->acknowledged, expstatsn) && !pdu_sn_before(conn->statsn, expstatsn))
		conn->acknowledged = expstatsn;
	if (conn->session->fence)
		mcs_fence_step(conn->session);
}

bool session_header(struct iscsi_conn *conn)
{
	uint8_t opcode = pdu_opcode(conn->header);
	const struct request_row *row = find_row(opcode);

	acknowledge(conn);
	if (opcode == PDU_DATA_OUT && !conn->params.discovery)
		return transfer_data_out_header(conn);
	if (opcode == PDU_LOGIN) {
		conn_reject(conn, PDU_REJECT_PROTOCOL_ERROR);
		conn_fail(conn, "login request in full feature phase");
		return false;
	}
	if (opcode == PDU_SNACK)
		return refuse(conn, PDU_REJECT_SNACK);
	if (!row)
		return refuse(conn, PDU_REJECT_NOT_SUPPORTED);
	if (conn->params.discovery && !row->discovery)
		return refuse(conn, PDU_REJECT_PROTOCOL_ERROR);
	return request_header(conn, row);
}

/* On one connection what is immediate waits for nothing: whatever was sent before it is here. */
static enum order_verdict place(struct iscsi_task *task)
{
	if (task->order.immediate && (task->session->active == 1 || !tmf_waits_for_others(task)))
		return ORDER_RUN;
	return order_arrived(&task->session->order, &task->order);
}

static void arrived(struct iscsi_task *task)
{
	switch (place(task)) {
	case ORDER_RUN:
		task->counted = !task->order.immediate;
		run(task);
		break;
	case ORDER_HELD:
		task->state = TASK_HELD;
		break;
	case ORDER_TWICE: /* in silence, as the RFC says */
		session_was_aborted(task->session, task->itt);
		session_task_free(task);
		break;
	}
}

void session_pdu(struct iscsi_conn *conn, bool digest_good)
{
	struct iscsi_task *task = conn->rx_task;

	if (!task)
		return;
	conn->rx_task = NULL;
	if (task->dropped || conn->logged_out) {
		session_task_free(task);
		return;
	}
	if (pdu_opcode(conn->header) == PDU_DATA_OUT) {
		conn->rx_task = task;
		transfer_data_out(conn, digest_good);
		return;
	}
	if (!digest_good) { /* ERL 0: nobody would send it again (RFC 7143 7.8) */
		conn_reject(conn, PDU_REJECT_DATA_DIGEST);
		conn_fail(conn, "data digest error");
		return;
	}
	arrived(task);
	session_run_held(conn->session);
}

/* ---- beginning and end */

void session_init(struct iscsi_session *session)
{
	list_init(&session->link);
	list_init(&session->conns);
	list_init(&session->tasks);
	list_init(&session->later);
	order_init(&session->order, 0);
	deferred_init(&session->tell_window, tell_window);
}

int session_start(struct iscsi_conn *conn, struct scsi_target *target)
{
	char initiator[SCSI_NAME_MAX + 24], port[SCSI_NAME_MAX + 16];
	struct iscsi_session *session = conn->session;
	const uint8_t *isid = conn->login->isid;
	struct err err = {0};

	snprintf(initiator, sizeof(initiator), "%s,i,0x%02x%02x%02x%02x%02x%02x",
		 conn->params.initiator, isid[0], isid[1], isid[2], isid[3], isid[4], isid[5]);
	snprintf(port, sizeof(port), "%s,t,0x%04x", conn->params.target, conn->group);
	if (!conn->params.discovery &&
	    scsi_nexus_create(target, initiator, port, conn->group, &session->nexus, &err) < 0) {
		log_error("%s: %s", conn->params.initiator, err.text);
		return -ENOMEM;
	}
	if (session->nexus)
		scsi_nexus_listen(session->nexus, told, session);
	session->started_ns = loop_now(conn->io->loop);
	session->order.window = conn->login_window;
	list_push_back(&conn->io->sessions, &session->link);
	mcs_enter(conn);
	return 0;
}

bool session_quiet(const struct iscsi_conn *conn)
{
	return conn->task_count == 0;
}

/* Only the last one has waited for this. */
static void drained(void *context)
{
	struct iscsi_session *session = context;
	struct list *it = session->conns.next;

	session->drained = true;
	while (it != &session->conns) { /* one that ends may end others: from the beginning then */
		struct iscsi_conn *conn = list_entry(it, struct iscsi_conn, session_link);

		conn_try_finish(conn);
		it = conn->finished ? session->conns.next : it->next;
	}
}

void session_abort(struct iscsi_session *session)
{
	if (session->aborting)
		return;
	session->aborting = true;
	if (session->nexus)
		scsi_nexus_abort_all(session->nexus, drained, session);
	else
		session->drained = true;
}

static struct iscsi_task *next_to_drop(const struct iscsi_conn *conn)
{
	list_for_each (it, &conn->session->tasks) {
		struct iscsi_task *task = list_entry(it, struct iscsi_task, link);

		if (task->conn == conn && (task->state != TASK_EXECUTING || task->closes))
			return task;
	}
	return NULL;
}

/* Ending one may end others: search anew each time. */
void session_stream_closed(struct iscsi_conn *conn)
{
	struct iscsi_task *task;

	if (list_empty(&conn->session_link))
		return;
	conn->rx_task = NULL;
	while ((task = next_to_drop(conn)))
		session_task_drop(task);
}

static bool is_last(const struct iscsi_conn *conn)
{
	const struct list *conns = &conn->session->conns;

	return conns->next == &conn->session_link && conns->prev == &conn->session_link;
}

bool session_finished(const struct iscsi_conn *conn)
{
	if (list_empty(&conn->session_link))
		return true;
	if (conn->task_count > 0)
		return false;
	return !is_last(conn) || (conn->session->drained && conn->session->task_count == 0);
}

static void end(struct iscsi_session *session)
{
	timer_stop(&session->fence_timer);
	deferred_cancel(&session->tell_window);
	list_remove(&session->link);
	while (session->free_tasks) {
		struct iscsi_task *task = session->free_tasks;

		session->free_tasks = task->next;
		heap_free(task);
	}
	scsi_nexus_destroy(session->nexus);
	session->nexus = NULL;
}

void session_finish(struct iscsi_conn *conn)
{
	struct iscsi_session *session = conn->session;

	text_reset(&conn->exchange);
	if (list_empty(&conn->session_link))
		return;
	list_remove(&conn->session_link);
	if (list_empty(&session->conns))
		end(session);
	else
		mcs_gone(conn);
}
