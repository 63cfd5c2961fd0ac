/* SPDX-License-Identifier: Apache-2.0 */
/* session.c: full feature phase: the command window, tasks, and the requests that are not SCSI.
 * CmdSN order is kept here and nowhere else: a request is received into a task, waits in held
 * while it is ahead of a gap, and is handed to its row's run() in order. */
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

static struct iscsi_task **bucket(struct iscsi_conn *conn, uint32_t itt)
{
	return &conn->session.hash[(itt ^ itt >> 8 ^ itt >> 16 ^ itt >> 24) % SESSION_HASH];
}

struct iscsi_task *session_find(struct iscsi_conn *conn, uint32_t itt)
{
	struct iscsi_task *task = *bucket(conn, itt);

	while (task && task->itt != itt)
		task = task->next;
	return task;
}

static void unhash(struct iscsi_task *task)
{
	struct iscsi_task **at = bucket(task->conn, task->itt);

	if (!task->hashed)
		return;
	while (*at != task)
		at = &(*at)->next;
	*at = task->next;
	task->hashed = false;
}

static void hash(struct iscsi_task *task)
{
	struct iscsi_task **at = bucket(task->conn, task->itt);

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
	list_init(&task->held_link);
	task->next = NULL;
}

static struct iscsi_task *task_new(struct iscsi_conn *conn)
{
	struct iscsi_session *session = &conn->session;
	struct iscsi_task *task = session->free_tasks;

	if (task)
		session->free_tasks = task->next;
	else
		task = heap_zalloc(sizeof(*task));
	if (!task)
		return NULL;
	task_reset(task);
	task->conn = conn;
	memcpy(task->bhs, conn->header, PDU_BHS_LENGTH);
	task->itt = pdu_get32(task->bhs + PDU_AT_ITT);
	task->cmdsn = pdu_get32(task->bhs + PDU_AT_CMDSN);
	task->immediate = pdu_immediate(task->bhs);
	list_push_back(&session->tasks, &task->link);
	session->task_count++;
	session->immediate_count += task->immediate;
	if (task->itt != PDU_TAG_NONE)
		hash(task);
	return task;
}

void session_task_done(struct iscsi_task *task)
{
	struct iscsi_session *session = &task->conn->session;

	unhash(task);
	if (task->counted)
		session->window.maximum++;
	task->counted = false;
	session->immediate_count -= task->immediate;
	task->immediate = false;
}

void session_task_free(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct iscsi_session *session = &conn->session;

	session_task_done(task);
	transfer_release(task);
	buf_unref(task->payload);
	task->payload = NULL;
	list_remove(&task->link);
	list_remove(&task->tx_link);
	list_remove(&task->held_link);
	if (conn->rx_task == task)
		conn->rx_task = NULL;
	session->task_count--;
	task->next = session->free_tasks;
	session->free_tasks = task;
	if (conn->state >= CONN_DRAINING)
		conn_try_finish(conn);
}

void session_task_drop(struct iscsi_task *task)
{
	session_was_aborted(task->conn, task->itt);
	if (!task->waiting_for_buffers) {
		session_task_free(task);
		return;
	}
	/* The buffer pool still knows it: freed when it is called back. */
	session_task_done(task);
	list_remove(&task->tx_link);
	task->dropped = true;
}

void session_was_aborted(struct iscsi_conn *conn, uint32_t itt)
{
	struct iscsi_session *session = &conn->session;

	session->aborted_itts[session->aborted_next++ % 64] = itt;
}

bool session_itt_aborted(const struct iscsi_conn *conn, uint32_t itt)
{
	unsigned count = conn->session.aborted_next;

	for (unsigned i = 0; i < 64 && i < count; i++)
		if (conn->session.aborted_itts[i] == itt)
			return true;
	return false;
}

uint32_t session_ttt(struct iscsi_conn *conn)
{
	if (++conn->session.next_ttt == PDU_TAG_NONE)
		conn->session.next_ttt = 1;
	return conn->session.next_ttt;
}

/* ---- answers */

void session_queue(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;

	if (conn->state != CONN_FULL_FEATURE) {
		if (task->state == TASK_SENDING)
			session_task_free(task);
		return;
	}
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

void session_ping(struct iscsi_conn *conn)
{
	struct iscsi_out *out = conn_out(conn, PDU_NOP_IN);

	if (!out)
		return;
	conn->pinged = loop_now(conn->io->loop);
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	pdu_put32(out->bhs + PDU_AT_ITT, PDU_TAG_NONE);
	pdu_put32(out->bhs + PDU_AT_TTT, session_ttt(conn));
	conn_send(conn, out, NULL, 0, false);
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
	struct iscsi_conn *conn = context;
	struct iscsi_out *out = conn_out_available(conn) ? async_out(conn, 0) : NULL;
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

static void text_reset(struct iscsi_session *session)
{
	heap_free(session->text);
	heap_free(session->text_in);
	session->text = session->text_in = NULL;
	session->text_length = session->text_sent = session->text_in_length = 0;
}

static void text_refuse(struct iscsi_task *task, enum pdu_reject_reason reason)
{
	text_reset(&task->conn->session);
	conn_reject_header(task->conn, task->bhs, reason);
	session_task_free(task);
}

static bool text_gather(struct iscsi_task *task)
{
	struct iscsi_session *session = &task->conn->session;
	size_t length = task->payload ? task->payload_length : 0;

	if (!session->text_in)
		session->text_in = heap_alloc(ISCSI_TEXT_MAX);
	if (!session->text_in || length > ISCSI_TEXT_MAX - session->text_in_length ||
	    (!task->payload && task->payload_length))
		return false;
	if (length)
		memcpy(session->text_in + session->text_in_length, task->payload->data, length);
	session->text_in_length += length;
	return true;
}

/* The whole request is here: keys are answered at once, SendTargets asks the control loop. */
static void text_process(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct iscsi_session *session = &conn->session;
	struct text_pair pairs[TEXT_PAIRS_MAX];
	int count = text_parse(session->text_in, session->text_in_length, pairs);
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
	session->text = writer.data;
	session->text_length = writer.length;
	session->text_sent = 0;
	if (!targets) {
		queue_answer(task);
		return;
	}
	snprintf(conn->asked_targets, sizeof(conn->asked_targets), "%s", targets);
	session->text_task = task;
	server_ask(conn, ASK_TARGETS);
}

void session_targets_listed(struct iscsi_conn *conn)
{
	struct iscsi_session *session = &conn->session;
	struct iscsi_task *task = session->text_task;
	size_t total = session->text_length + conn->answer_length;
	char *text = heap_resize(session->text, total + 1);

	session->text_task = NULL;
	if (conn->answer != LOGIN_SUCCESS || !text) {
		if (text)
			session->text = text;
		heap_free(conn->answer_text);
		conn->answer_text = NULL;
		text_refuse(task, PDU_REJECT_NO_RESOURCE);
		return;
	}
	memcpy(text + session->text_length, conn->answer_text, conn->answer_length);
	session->text = text;
	session->text_length = total;
	heap_free(conn->answer_text);
	conn->answer_text = NULL;
	queue_answer(task);
}

/* The same ITT goes on with an unfinished request, whatever its TTT says: an endless chain meets
 * its bound. */
static bool text_goes_on(const struct iscsi_session *session, const struct iscsi_task *task)
{
	return session->text_in && !session->text && task->itt == session->text_itt;
}

static void text_run(struct iscsi_task *task)
{
	struct iscsi_session *session = &task->conn->session;
	uint8_t flags = task->bhs[PDU_AT_FLAGS];
	uint32_t ttt = pdu_get32(task->bhs + PDU_AT_TTT);

	if (ttt == PDU_TAG_NONE && !text_goes_on(session, task))
		text_reset(session); /* a new exchange ends the old one */
	else if (ttt != PDU_TAG_NONE && ttt != session->text_ttt) {
		text_refuse(task, PDU_REJECT_INVALID_FIELD);
		return;
	}
	session->text_itt = task->itt;
	if (session->text) { /* more of the answer is asked for */
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
	struct iscsi_session *session = &conn->session;
	size_t left = session->text_length - session->text_sent;
	size_t length = left < conn->params.send_max ? left : conn->params.send_max;
	bool last = session->text && length == left;
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
		memcpy(out->text, session->text + session->text_sent, length);
		data.iov_base = out->text;
	}
	session->text_sent += length;
	session->text_ttt = last ? PDU_TAG_NONE : session_ttt(conn);
	/* F only answers F: with more keys to come from the initiator we keep the exchange open. */
	out->bhs[PDU_AT_FLAGS] = last ? PDU_FINAL : session->text ? PDU_CONTINUE : 0;
	memcpy(out->bhs + PDU_AT_LUN, task->bhs + PDU_AT_LUN, 8);
	pdu_put32(out->bhs + PDU_AT_TTT, session->text_ttt);
	if (last)
		text_reset(session);
	conn_send(conn, out, &data, length ? 1 : 0, true);
}

/* ---- LOGOUT (RFC 7143 11.14, 11.15) */

static void logout_run(struct iscsi_task *task)
{
	queue_answer(task);
}

static uint8_t logout_response(const struct iscsi_task *task)
{
	uint8_t reason = task->bhs[PDU_AT_FLAGS] & 0x7f;

	if (reason == 2)
		return 2; /* connection recovery is not supported */
	return 0;
}

static void logout_make(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	uint8_t response = logout_response(task);
	struct iscsi_out *out = last_out(task, PDU_LOGOUT_RESPONSE);

	if (!out)
		return;
	out->bhs[2] = response;
	pdu_put16(out->bhs + 40, (uint16_t)conn->params.time2wait);
	conn_send(conn, out, NULL, 0, true);
	if (response != 0)
		return;
	conn->session.logging_out = true;
	if (!conn->params.discovery)
		log_info("%s from %s: logged out of %s", conn->params.initiator, conn->peer_text,
			 conn->params.target);
	conn_drain(conn);
}

/* ---- requests in order */

static void run(struct iscsi_task *task)
{
	find_row(pdu_opcode(task->bhs))->run(task);
}

static void run_held(struct iscsi_conn *conn)
{
	struct iscsi_session *session = &conn->session;

	while (!list_empty(&session->held) && conn->state == CONN_FULL_FEATURE) {
		struct iscsi_task *task =
		    list_entry(session->held.next, struct iscsi_task, held_link);

		if (task->cmdsn != session->window.expected)
			return;
		list_remove(&task->held_link);
		session->window.expected++;
		task->counted = true;
		run(task);
	}
}

static void hold(struct iscsi_task *task)
{
	struct iscsi_session *session = &task->conn->session;
	struct list *at = session->held.prev;

	while (at != &session->held &&
	       pdu_sn_before(task->cmdsn, list_entry(at, struct iscsi_task, held_link)->cmdsn))
		at = at->prev;
	if (at != &session->held &&
	    list_entry(at, struct iscsi_task, held_link)->cmdsn == task->cmdsn) {
		session_task_free(task); /* the same number again: in silence, as the RFC says */
		return;
	}
	task->state = TASK_HELD;
	list_insert_after(at, &task->held_link);
}

/* A request that is refused has used its CmdSN all the same, or the session would stand still. */
static void consume(struct iscsi_conn *conn)
{
	struct pdu_window *window = &conn->session.window;
	uint32_t cmdsn = pdu_get32(conn->header + PDU_AT_CMDSN);

	if (pdu_immediate(conn->header) || pdu_window_place(window, cmdsn) != PDU_WINDOW_NEXT)
		return;
	window->expected++;
	window->maximum++;
	run_held(conn);
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
	struct iscsi_session *session = &conn->session;
	const uint8_t *bhs = conn->header;
	uint32_t itt = pdu_get32(bhs + PDU_AT_ITT);
	struct iscsi_task *task;

	if (!pdu_immediate(bhs) &&
	    pdu_window_place(&session->window, pdu_get32(bhs + PDU_AT_CMDSN)) ==
		PDU_WINDOW_OUTSIDE) {
		if (itt != PDU_TAG_NONE && !session_find(conn, itt))
			session_was_aborted(conn, itt);
		return swallow(conn);
	}
	if (pdu_immediate(bhs) && session->immediate_count >= ISCSI_IMMEDIATE_MAX)
		return refuse(conn, PDU_REJECT_IMMEDIATE);
	if (itt == PDU_TAG_NONE && row->opcode != PDU_NOP_OUT)
		return refuse(conn, PDU_REJECT_INVALID_FIELD);
	if (itt != PDU_TAG_NONE && session_find(conn, itt))
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

bool session_header(struct iscsi_conn *conn)
{
	uint8_t opcode = pdu_opcode(conn->header);
	const struct request_row *row = find_row(opcode);

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

void session_pdu(struct iscsi_conn *conn, bool digest_good)
{
	struct iscsi_task *task = conn->rx_task;

	if (!task)
		return;
	conn->rx_task = NULL;
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
	if (task->immediate) {
		run(task);
		return;
	}
	if (pdu_window_place(&conn->session.window, task->cmdsn) == PDU_WINDOW_AHEAD) {
		hold(task);
		return;
	}
	conn->session.window.expected++;
	task->counted = true;
	run(task);
	run_held(conn);
}

/* ---- beginning and end */

int session_start(struct iscsi_conn *conn, struct scsi_target *target)
{
	char initiator[SCSI_NAME_MAX + 24], port[SCSI_NAME_MAX + 16];
	const uint8_t *isid = conn->login->isid;
	struct err err = {0};

	conn->session.started_ns = loop_now(conn->io->loop);
	if (conn->params.discovery)
		return 0;
	snprintf(initiator, sizeof(initiator), "%s,i,0x%02x%02x%02x%02x%02x%02x",
		 conn->params.initiator, isid[0], isid[1], isid[2], isid[3], isid[4], isid[5]);
	snprintf(port, sizeof(port), "%s,t,0x%04x", conn->params.target, conn->group);
	if (scsi_nexus_create(target, initiator, port, conn->group, &conn->session.nexus, &err) ==
	    0) {
		scsi_nexus_listen(conn->session.nexus, told, conn);
		return 0;
	}
	log_error("%s: %s", conn->params.initiator, err.text);
	return -ENOMEM;
}

bool session_quiet(const struct iscsi_conn *conn)
{
	return conn->session.task_count == 0;
}

static void drained(void *context)
{
	struct iscsi_conn *conn = context;

	conn->session.drained = true;
	conn_try_finish(conn);
}

void session_abort(struct iscsi_conn *conn)
{
	struct iscsi_session *session = &conn->session;

	if (session->aborting)
		return;
	session->aborting = true;
	if (session->nexus)
		scsi_nexus_abort_all(session->nexus, drained, conn);
	else
		session->drained = true;
}

void session_stream_closed(struct iscsi_conn *conn)
{
	struct iscsi_session *session = &conn->session;
	struct list *it = session->tasks.next, *next;

	for (; it != &session->tasks; it = next) {
		struct iscsi_task *task = list_entry(it, struct iscsi_task, link);

		next = it->next;
		if (task->state == TASK_EXECUTING || task->dropped)
			continue;
		session_task_drop(task);
	}
}

bool session_finished(const struct iscsi_conn *conn)
{
	return conn->session.drained && conn->session.task_count == 0;
}

void session_finish(struct iscsi_conn *conn)
{
	struct iscsi_session *session = &conn->session;

	text_reset(session);
	while (session->free_tasks) {
		struct iscsi_task *task = session->free_tasks;

		session->free_tasks = task->next;
		heap_free(task);
	}
	scsi_nexus_destroy(session->nexus);
	session->nexus = NULL;
}
