/* SPDX-License-Identifier: Apache-2.0 */
/*~ conn.c: one connection, from accept to the last byte. Read it first, from the bottom up:
 * conn_attach() takes the socket over on its lane; received() cuts the stream into headers;
 * header_done() decides where the data segment lands, so that the payload of a write goes
 * straight into the buffer it will be written from; data_done() checks the digest and passes
 * the PDU on to login.c, command.c, request.c or tmf.c. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"

#define PING_AFTER_NS  (30ull * 1000000000) /* of silence */
#define DRAIN_LIMIT_NS (5ull * 1000000000)

/* --- the end ------------------------------------------------------------------------------ */

static void forget_tasks(struct iscsi_conn *conn)
{
	list_for_each_safe (link, &conn->tasks) {
		struct iscsi_task *task = list_entry(link, struct iscsi_task, link);

		if (task->state == ISCSI_TASK_QUEUED || task->state == ISCSI_TASK_GATHERING)
			task_drop(task);
	}
}

static void drained(void *context)
{
	struct iscsi_conn *conn = context;

	conn->draining = false;
	conn_maybe_free(conn);
}

/* The stream has gone: abort what still runs, then let go of everything. */
static void teardown(struct deferred *deferred)
{
	struct iscsi_conn *conn = container_of(deferred, struct iscsi_conn, teardown);

	forget_tasks(conn);
	if (conn->nexus) {
		conn->draining = true;
		scsi_nexus_abort_all(conn->nexus, drained, conn);
	}
	conn->references--;
	conn_maybe_free(conn);
}

void conn_maybe_free(struct iscsi_conn *conn)
{
	struct iscsi_server *server = conn->server;
	struct iscsi_lane *lane = conn->lane;

	if (conn->stream || conn->references || conn->draining || conn->task_count ||
	    conn->tmf_count || conn->kicked || conn->waiting_buf || conn->waiting_reinstatement)
		return;
	list_remove(&conn->link);
	timer_stop(&conn->timer);
	scsi_nexus_destroy(conn->nexus);
	conn->nexus = NULL;
	session_gone(conn);
	heap_free(conn->rule);
	heap_free(conn->text);
	heap_free(conn);
	atomic_fetch_sub(&lane->load, 1);
	atomic_fetch_sub(&server->connections, 1);
	server_check_stopped(server);
}

static void closed(struct stream *stream)
{
	struct iscsi_conn *conn = stream_context(stream);

	conn->stream = NULL;
	conn->references++; /* teardown() gives it back */
	buf_unref(conn->data_buf);
	conn->data_buf = NULL;
	if (conn->data_task) {
		task_drop(conn->data_task);
		conn->data_task = NULL;
	}
	loop_defer(conn->lane->loop, &conn->teardown);
}

void conn_end(struct iscsi_conn *conn, const char *why)
{
	if (conn->phase == CONN_CLOSING)
		return;
	if (why)
		log_info("iscsi: %s (%s) on %s: %s", conn->peer_text,
			 conn->params.initiator[0] ? conn->params.initiator : "no name yet",
			 conn->portal_text, why);
	conn->phase = CONN_CLOSING;
	timer_stop(&conn->timer);
	stream_close(conn->stream);
}

void conn_finish(struct iscsi_conn *conn)
{
	if (conn->phase == CONN_CLOSING)
		return;
	conn->phase = CONN_CLOSING;
	timer_stop(&conn->timer);
	stream_drain(conn->stream, DRAIN_LIMIT_NS);
}

static void ended(struct stream *stream, int error)
{
	struct iscsi_conn *conn = stream_context(stream);

	conn_end(conn, error ? strerror(-error) : NULL);
}

static void kicked(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, kick);

	conn->kicked = false;
	if (conn->phase == CONN_FULL) {
		reply_async(conn, 2, 0);
		conn_finish(conn);
	} else if (conn->phase != CONN_CLOSING) {
		conn_end(conn, "dropped by the administrator or by a newer session");
	}
	conn_maybe_free(conn);
}

void conn_kick(struct iscsi_conn *conn)
{
	if (conn->kicked)
		return;
	conn->kicked = true;
	loop_post(conn->lane->loop, &conn->kick, kicked);
}

/* --- receiving ---------------------------------------------------------------------------- */

static bool digests(const struct iscsi_conn *conn, uint32_t on)
{
	return on && conn->phase != CONN_LOGIN;
}

static void dispatch(struct iscsi_conn *conn, uint32_t length)
{
	const uint8_t *data = conn->data;
	struct iscsi_task *task = conn->data_task;

	conn->data_task = NULL;
	conn->receiving = CONN_HEADER;
	conn->header_have = 0;
	if (conn->phase == CONN_LOGIN)
		login_pdu(conn, data, length);
	else if (pdu_opcode(conn->header) == PDU_SCSI_COMMAND)
		command_data_done(conn, task, length);
	else if (pdu_opcode(conn->header) == PDU_DATA_OUT)
		data_out_done(conn, task, length);
	else if (pdu_opcode(conn->header) == PDU_TASK_MANAGEMENT)
		tmf_pdu(conn);
	else
		request_pdu(conn, data, length);
	buf_unref(conn->data_buf);
	conn->data_buf = NULL;
}

static void data_done(struct stream_receive *receive, int result)
{
	struct iscsi_conn *conn = container_of(receive, struct iscsi_conn, receive);
	uint32_t length = pdu_data_length(conn->header);

	if (result < 0 || conn->phase == CONN_CLOSING)
		return; /* ended() or closed() follows */
	if (digests(conn, conn->params.data_digest)) {
		struct iovec data = {conn->data, length};

		if (pdu_data_digest(&data, 1, length) !=
		    pdu_get_digest(conn->tail + pdu_padding(length))) {
			/* RFC 7143 7.8: at ERL 0 the session ends; the reject says why. */
			reply_reject(conn, PDU_REJECT_DATA_DIGEST);
			conn_finish(conn);
			return;
		}
	}
	dispatch(conn, length);
}

static bool room_for(struct iscsi_conn *conn, uint32_t length)
{
	conn->data_buf = buf_get(loop_buffers(conn->lane->loop), length);
	if (!conn->data_buf)
		return false;
	conn->data = conn->data_buf->data;
	return true;
}

static void receive_data(struct iscsi_conn *conn, uint32_t length)
{
	size_t tail = pdu_padding(length) + (digests(conn, conn->params.data_digest) ? 4 : 0);

	conn->receiving = CONN_DATA;
	conn->receive_iov[0] = (struct iovec){conn->data, length};
	conn->receive_iov[1] = (struct iovec){conn->tail, tail};
	conn->receive = (struct stream_receive){.iov = conn->receive_iov,
						.iov_count = tail ? 2 : 1,
						.length = length + tail,
						.done = data_done};
	stream_receive_into(conn->stream, &conn->receive);
}

static void buffers_back(struct buf_waiter *waiter)
{
	struct iscsi_conn *conn = container_of(waiter, struct iscsi_conn, buf_waiter);

	conn->waiting_buf = false;
	if (conn->phase == CONN_CLOSING)
		conn_maybe_free(conn);
	else
		conn_resume(conn);
}

static void stall(struct iscsi_conn *conn, bool for_buffers)
{
	conn->receiving = CONN_STALLED;
	stream_pause(conn->stream);
	if (for_buffers && !conn->waiting_buf) {
		conn->waiting_buf = true;
		conn->buf_waiter.ready = buffers_back;
		buf_wait(loop_buffers(conn->lane->loop), &conn->buf_waiter);
	}
}

static uint32_t segment_max(const struct iscsi_conn *conn)
{
	return conn->phase == CONN_LOGIN ? KEYS_LOGIN_MAX : KEYS_RECEIVE_MAX;
}

/* A whole header is here, checked. Decide where its data goes. */
static void header_done(struct iscsi_conn *conn)
{
	uint32_t length = pdu_data_length(conn->header);
	uint8_t opcode = pdu_opcode(conn->header);
	bool ready = true;

	if (conn->phase == CONN_LOGIN && opcode != PDU_LOGIN) {
		conn_end(conn, "sent something else before logging in");
		return;
	}
	if (length > segment_max(conn)) {
		conn_end(conn, "sent a data segment longer than was agreed");
		return;
	}
	if (conn->phase != CONN_LOGIN && opcode == PDU_SCSI_COMMAND)
		ready = command_receive(conn, length);
	else if (conn->phase != CONN_LOGIN && opcode == PDU_DATA_OUT)
		ready = data_out_receive(conn, length);
	else if (length)
		ready = room_for(conn, length);
	if (conn->phase == CONN_CLOSING)
		return;
	if (!ready)
		stall(conn, true);
	else if (length)
		receive_data(conn, length);
	else
		dispatch(conn, 0);
}

static void header_check(struct iscsi_conn *conn)
{
	conn->heard_ns = loop_now(conn->lane->loop);
	conn->pinged = false;
	if (digests(conn, conn->params.header_digest) && !pdu_header_digest_ok(conn->header)) {
		/* RFC 7143 7.7: nothing in it can be believed, not even its length. */
		conn_end(conn, "sent a header with a wrong digest");
		return;
	}
	header_done(conn);
}

static size_t header_wants(const struct iscsi_conn *conn)
{
	if (conn->header_have < PDU_BHS_LENGTH)
		return PDU_BHS_LENGTH;
	return pdu_header_length(conn->header, digests(conn, conn->params.header_digest));
}

static size_t received(struct stream *stream, const void *data, size_t length)
{
	struct iscsi_conn *conn = stream_context(stream);
	const uint8_t *bytes = data;
	size_t at = 0;

	while (at < length && conn->receiving == CONN_HEADER && conn->phase != CONN_CLOSING) {
		size_t want = header_wants(conn) - conn->header_have;
		size_t part = want < length - at ? want : length - at;

		memcpy(conn->header + conn->header_have, bytes + at, part);
		conn->header_have += part;
		at += part;
		if (conn->header_have < PDU_BHS_LENGTH || conn->header_have < header_wants(conn))
			continue;
		header_check(conn);
		if (conn->phase != CONN_CLOSING && conn->receiving == CONN_HEADER &&
		    stream_send_pending(stream) > ISCSI_SEND_QUEUED_MAX) {
			conn->receiving = CONN_STALLED;
			stream_pause(stream);
		}
	}
	return at;
}

void conn_resume(struct iscsi_conn *conn)
{
	if (conn->receiving != CONN_STALLED || conn->waiting_buf)
		return;
	if (stream_send_pending(conn->stream) > ISCSI_SEND_QUEUED_MAX / 2)
		return;
	conn->receiving = CONN_HEADER;
	stream_resume(conn->stream);
	if (conn->header_have) /* a PDU that found no buffer: try again */
		header_done(conn);
}

/* --- the beginning ------------------------------------------------------------------------ */

static void timeout(struct timer *timer)
{
	struct iscsi_conn *conn = container_of(timer, struct iscsi_conn, timer);

	if (conn->phase == CONN_LOGIN) {
		conn_end(conn, "did not log in within the limit");
		return;
	}
	if (conn->phase != CONN_FULL)
		return;
	if (loop_now(conn->lane->loop) - conn->heard_ns >= PING_AFTER_NS - 1000000) {
		if (conn->pinged) {
			conn_end(conn, "does not answer pings");
			return;
		}
		request_ping(conn);
		conn->pinged = true;
	}
	timer_start(&conn->timer, PING_AFTER_NS);
}

static const struct stream_handlers handlers = {received, ended, closed};

static void conn_init(struct iscsi_conn *conn)
{
	struct iscsi_lane *lane = conn->lane;

	list_push_back(&lane->conns, &conn->link);
	list_init(&conn->session_link);
	list_init(&conn->tasks);
	list_init(&conn->tmfs);
	list_init(&conn->waiters);
	deferred_init(&conn->teardown, teardown);
	keys_defaults(&conn->params);
	conn->first_login = true;
	conn->heard_ns = loop_now(lane->loop);
	timer_init(&conn->timer, lane->loop, timeout);
}

void conn_attach(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, arrive);
	struct err err = {0};

	conn_init(conn);
	if (stream_attach(conn->lane->loop, conn->fd, &handlers, conn, &conn->stream, &err) < 0) {
		log_warning("iscsi: %s: %s", conn->peer_text, err.text);
		close(conn->fd);
		conn->phase = CONN_CLOSING;
		conn_maybe_free(conn);
		return;
	}
	timer_start(&conn->timer, conn->server->login_limit_ns);
}
