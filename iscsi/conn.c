/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c: one connection: bytes to PDUs, PDUs to bytes, and its beginning and end.
 *
 *   LOGIN -> FULL_FEATURE -> DRAINING -> CLOSING
 *
 * It ends when the stream is closed, no task of it is left, no question to the control loop is open
 * and, if it is its session's last, the nexus is drained; then the control loop hears of it and
 * lets it be freed. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"

#define INTO_MIN          (16u << 10) /* a remainder this long is received in place */
#define TICK_NS           (5ull * 1000000000)
#define GRACE_TICK        (20ull * 1000000)
#define DISCOVERY_IDLE_NS (60ull * 1000000000)

static const struct stream_handlers handlers;
static void login_next(struct iscsi_conn *conn, enum login_next next);

/* ---- sending */

struct out_slab {
	struct list link;
	struct iscsi_out outs[ISCSI_OUT_SLAB];
};

bool conn_out_available(const struct iscsi_conn *conn)
{
	return conn->out_used < ISCSI_OUT_MAX - ISCSI_OUT_RESERVE;
}

static bool add_slab(struct iscsi_conn *conn)
{
	struct out_slab *slab = heap_zalloc(sizeof(*slab));

	if (!slab)
		return false;
	list_push_back(&conn->slabs, &slab->link);
	for (unsigned i = 0; i < ISCSI_OUT_SLAB; i++)
		list_push_back(&conn->free_outs, &slab->outs[i].link);
	return true;
}

struct iscsi_out *conn_out(struct iscsi_conn *conn, uint8_t opcode)
{
	struct iscsi_out *out;

	if (list_empty(&conn->free_outs) && !add_slab(conn)) {
		conn_close(conn);
		return NULL;
	}
	out = list_entry(list_pop_front(&conn->free_outs), struct iscsi_out, link);
	conn->out_used++;
	out->conn = conn;
	out->task = NULL;
	out->text = NULL;
	out->buf = NULL;
	memset(out->bhs, 0, sizeof(out->bhs));
	out->bhs[PDU_AT_OPCODE] = opcode;
	return out;
}

void conn_out_release(struct iscsi_conn *conn, struct iscsi_out *out)
{
	conn->out_used--;
	heap_free(out->text);
	buf_unref(out->buf);
	list_push_front(&conn->free_outs, &out->link);
}

static void out_sent(struct stream_send *send, int result)
{
	struct iscsi_out *out = container_of(send, struct iscsi_out, send);
	struct iscsi_conn *conn = out->conn;
	struct iscsi_task *task = out->task;

	(void)result; /* a failed connection is told by ended() */
	conn_out_release(conn, out);
	if (task)
		session_task_free(task);
	if (conn->state != CONN_FULL_FEATURE)
		return;
	if (!list_empty(&conn->tx))
		session_pump(conn);
	if (conn->paused)
		conn_update_pause(conn);
}

static void put_numbers(struct iscsi_conn *conn, struct iscsi_out *out, bool take_statsn)
{
	uint8_t *bhs = out->bhs;
	bool without = bhs[0] == PDU_DATA_IN && !(bhs[PDU_AT_FLAGS] & PDU_DATA_IN_STATUS);

	if (!without)
		pdu_put32(bhs + PDU_AT_STATSN, conn->statsn);
	if (take_statsn)
		conn->statsn++;
	pdu_put32(bhs + PDU_AT_EXPCMDSN, conn->window->expected);
	pdu_put32(bhs + PDU_AT_MAXCMDSN, conn->window->maximum);
	if (conn->state == CONN_FULL_FEATURE)
		conn->session->untold = false;
}

static void put_tail(struct iscsi_conn *conn, struct iscsi_out *out, unsigned count,
		     uint32_t length)
{
	uint32_t padding = pdu_padding(length);

	memset(out->tail, 0, padding);
	out->send.iov[3] = (struct iovec){out->tail, padding};
	if (!conn->data_digest || length == 0)
		return;
	pdu_put_digest(out->tail + padding, pdu_data_digest(&out->send.iov[1], count, length));
	out->send.iov[3].iov_len += PDU_DIGEST_LENGTH;
}

void conn_send(struct iscsi_conn *conn, struct iscsi_out *out, const struct iovec *data,
	       unsigned count, bool take_statsn)
{
	uint32_t length = 0;

	for (unsigned i = 0; i < 2; i++) {
		out->send.iov[1 + i] = i < count ? data[i] : (struct iovec){0};
		length += (uint32_t)out->send.iov[1 + i].iov_len;
	}
	pdu_put24(out->bhs + PDU_AT_DATA_LENGTH, length);
	put_numbers(conn, out, take_statsn);
	out->send.iov[0] = (struct iovec){out->bhs, PDU_BHS_LENGTH};
	if (conn->header_digest) {
		pdu_put_digest(out->bhs + PDU_BHS_LENGTH, crc32c(0, out->bhs, PDU_BHS_LENGTH));
		out->send.iov[0].iov_len += PDU_DIGEST_LENGTH;
	}
	put_tail(conn, out, count, length);
	out->send.done = out_sent;
	stream_send(conn->stream, &out->send);
}

void conn_reject_header(struct iscsi_conn *conn, const uint8_t *bhs, enum pdu_reject_reason reason)
{
	struct iscsi_out *out = conn_out(conn, PDU_REJECT);
	struct iovec data;

	if (!out)
		return;
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	out->bhs[2] = (uint8_t)reason;
	pdu_put32(out->bhs + PDU_AT_ITT, PDU_TAG_NONE);
	memcpy(out->small, bhs, PDU_BHS_LENGTH);
	data = (struct iovec){out->small, PDU_BHS_LENGTH};
	conn_send(conn, out, &data, 1, true);
}

void conn_reject(struct iscsi_conn *conn, enum pdu_reject_reason reason)
{
	conn_reject_header(conn, conn->header, reason);
}

/* ---- back-pressure */

/* What a fence keeps back is not for want of a peer that takes it. */
static bool too_much(const struct iscsi_conn *conn)
{
	return conn->backlog > ISCSI_BACKLOG_MAX &&
	       !(conn->state == CONN_FULL_FEATURE && conn->session->fence);
}

void conn_update_pause(struct iscsi_conn *conn)
{
	bool pause = conn->question != ASK_NOTHING || conn->waits || conn->logged_out ||
		     !conn_out_available(conn) || too_much(conn);

	if (pause == conn->paused || conn->state >= CONN_DRAINING)
		return;
	conn->paused = pause;
	if (pause)
		stream_pause(conn->stream);
	else
		stream_resume(conn->stream);
}

/* ---- the end */

void conn_try_finish(struct iscsi_conn *conn)
{
	if (conn->state < CONN_DRAINING || !conn->stream_closed || conn->finished ||
	    conn->question != ASK_NOTHING || !session_finished(conn))
		return;
	conn->finished = true;
	timer_stop(&conn->timer);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	session_finish(conn);
	login_finish(conn->login);
	heap_free(conn->login);
	conn->login = NULL;
	heap_free(conn->rx_text);
	conn->rx_text = NULL;
	list_remove(&conn->link);
	server_conn_gone(conn);
}

void conn_free(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, free_message);

	for (struct list *it; (it = list_pop_front(&conn->slabs));)
		heap_free(list_entry(it, struct out_slab, link));
	OPENSSL_cleanse(&conn->answer_rule, sizeof(conn->answer_rule));
	heap_free(conn);
}

static void closed(struct stream *stream)
{
	struct iscsi_conn *conn = stream_context(stream);

	conn->stream_closed = true;
	conn->stream = NULL;
	if (conn->moving && conn->state == CONN_LOGIN) {
		server_conn_moves(conn);
		return;
	}
	if (conn->moving) /* the answer is here, what was to come after it will not be */
		conn->question = ASK_NOTHING;
	session_stream_closed(conn);
	conn_try_finish(conn);
}

/* A back end that hangs may keep the tasks, and with them the connection's memory, as long as it
 * likes; it may not keep the initiator from logging in again. */
static void leave(struct iscsi_conn *conn)
{
	if (conn->leaving)
		return;
	conn->leaving = true;
	timer_start(&conn->timer, ISCSI_ABORT_NS);
	mcs_leave(conn);
}

void conn_close(struct iscsi_conn *conn)
{
	if (conn->state == CONN_CLOSING)
		return;
	conn->state = CONN_CLOSING;
	if (conn->stream)
		stream_close(conn->stream);
	leave(conn);
	/* Between two loops there is no stream that could say it is closed. */
	conn_try_finish(conn);
}

void conn_drain(struct iscsi_conn *conn)
{
	if (conn->state >= CONN_DRAINING)
		return;
	conn->state = CONN_DRAINING;
	stream_drain(conn->stream, ISCSI_DRAIN_NS);
	leave(conn);
}

static const char *who(const struct iscsi_conn *conn)
{
	return conn->params.initiator[0] ? conn->params.initiator : "initiator";
}

void conn_fail(struct iscsi_conn *conn, const char *why)
{
	if (conn->state >= CONN_DRAINING)
		return;
	log_notice("%s from %s: %s; connection dropped", who(conn), conn->peer_text, why);
	mcs_tell_others(conn);
	conn_drain(conn);
}

static void ended(struct stream *stream, int error)
{
	struct iscsi_conn *conn = stream_context(stream);

	if (conn->state == CONN_FULL_FEATURE && !conn->logged_out)
		log_info("%s from %s: connection %s", who(conn), conn->peer_text,
			 error ? strerror(-error) : "closed by the initiator");
	conn_close(conn);
}

/* ---- being dropped from outside */

static void grace(struct iscsi_conn *conn)
{
	bool late = loop_now(conn->io->loop) >= conn->grace_end;

	if (!late && (!session_quiet(conn) || conn->out_used > 0)) {
		timer_start(&conn->timer, GRACE_TICK);
		return;
	}
	session_async(conn, 3, 0, 0, 0);
	conn_drain(conn);
}

void conn_drop(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, drop_message);

	if (conn->state >= CONN_DRAINING)
		return;
	conn->dropping = conn->drop_reason;
	if (conn->state == CONN_LOGIN || conn->dropping == DROP_REINSTATED) {
		conn_close(conn);
		return;
	}
	if (conn->dropping == DROP_SHUTDOWN && !conn->params.discovery) {
		session_async(conn, 1, 0, 0, 3);
		conn->grace_end = loop_now(conn->io->loop) + conn->server->grace_ns;
		grace(conn);
		return;
	}
	log_info("%s from %s: session ended by the administrator", who(conn), conn->peer_text);
	session_async(conn, 3, 0, (uint16_t)conn->params.time2wait, 0);
	conn_drain(conn);
}

static void tick(struct timer *timer)
{
	struct iscsi_conn *conn = container_of(timer, struct iscsi_conn, timer);
	uint64_t idle = loop_now(conn->io->loop) - conn->last_heard;

	if (conn->state >= CONN_DRAINING) {
		mcs_stuck(conn);
		server_conn_stuck(conn);
		return;
	}
	if (conn->state == CONN_LOGIN) {
		limit_failed(&conn->server->login_limit, (struct sockaddr *)&conn->peer,
			     loop_now(conn->io->loop));
		log_notice("audit: %s: login not finished in time; connection dropped",
			   conn->peer_text);
		conn_close(conn);
		return;
	}
	if (conn->dropping == DROP_SHUTDOWN) {
		grace(conn);
		return;
	}
	if (idle >= (conn->params.discovery ? DISCOVERY_IDLE_NS : ISCSI_PING_LIMIT_NS)) {
		conn_fail(conn, "no sign of life");
		return;
	}
	if (idle >= ISCSI_PING_NS && !conn->params.discovery && !conn->pinged &&
	    conn_out_available(conn))
		session_ping(conn);
	if (conn->logged_out)
		session_logout_ready(conn, false);
	else
		mcs_look_at_gap(conn->session);
	if (conn->state < CONN_DRAINING)
		timer_start(&conn->timer, TICK_NS);
}

/* ---- login */

static void send_login_reply(struct iscsi_conn *conn)
{
	struct login *login = conn->login;
	struct iscsi_out *out = conn_out(conn, PDU_LOGIN_RESPONSE);
	struct iovec data = {NULL, login->reply.length};

	if (!out)
		return;
	login_reply_header(login, out->bhs);
	if (data.iov_len) {
		out->text = heap_alloc(data.iov_len);
		if (!out->text) {
			conn_out_release(conn, out);
			conn_close(conn);
			return;
		}
		memcpy(out->text, login->reply.data, data.iov_len);
		data.iov_base = out->text;
	}
	conn_send(conn, out, &data, data.iov_len ? 1 : 0, true);
}

static void enter_full_feature(struct iscsi_conn *conn)
{
	conn->header_digest = conn->params.header_digest;
	conn->data_digest = conn->params.data_digest;
	conn->state = CONN_FULL_FEATURE;
	if (conn->params.discovery)
		log_debug("%s from %s: discovery", who(conn), conn->peer_text);
	else
		log_info("%s from %s: %s %s", who(conn), conn->peer_text,
			 conn->joins ? "one more connection to" : "logged in to",
			 conn->params.target);
	login_finish(conn->login);
	heap_free(conn->login);
	conn->login = NULL;
	heap_free(conn->rx_text);
	conn->rx_text = NULL;
	timer_start(&conn->timer, TICK_NS);
	if (conn->dropping != DROP_NOT)
		conn_close(conn);
}

static void login_done(struct iscsi_conn *conn)
{
	conn->params = conn->login->params;
	if (!conn->joins && session_start(conn, conn->answer_target) < 0) {
		login_next(conn, login_session(conn->login, LOGIN_OUT_OF_RESOURCES, 0));
		return;
	}
	send_login_reply(conn);
	if (conn->state == CONN_LOGIN)
		enter_full_feature(conn);
}

static void note_refused(struct iscsi_conn *conn, const struct login *login)
{
	enum iscsi_refusal_reason reason = conn->answer_full                  ? ISCSI_REFUSED_FULL
					   : login->status == LOGIN_FORBIDDEN ? ISCSI_REFUSED_RULE
					   : login->status == LOGIN_AUTHENTICATION_FAILED
					       ? ISCSI_REFUSED_CHAP
					   : login->status == LOGIN_NOT_FOUND ? ISCSI_REFUSED_ABSENT
									      : ISCSI_REFUSED_OTHER;

	refusals_note(&conn->server->refusals, login->params.initiator, login->params.target,
		      conn->peer_text, reason, loop_wall(conn->io->loop));
}

/* To be sent elsewhere is no failure of the initiator's. */
static void tell_refused(struct iscsi_conn *conn)
{
	static const char *const full[] = {
	    [RULES_NOT_FULL] = "",
	    [RULES_TARGET_FULL] = ": the target has as many sessions as it may",
	    [RULES_INITIATOR_FULL] = ": it has as many sessions there as it may",
	};
	const struct login *login = conn->login;
	const char *target = login->params.target[0] ? login->params.target : "discovery";

	if (login->status == LOGIN_MOVED_TEMPORARILY) {
		log_info("%s from %s: sent to %s for %s", login->params.initiator, conn->peer_text,
			 conn->answer_redirect, target);
		return;
	}
	limit_failed(&conn->server->login_limit, (struct sockaddr *)&conn->peer,
		     loop_now(conn->io->loop));
	note_refused(conn, login);
	log_notice("audit: %s from %s: login to %s refused (status %04x%s)",
		   login->params.initiator[0] ? login->params.initiator : "initiator",
		   conn->peer_text, target, login->status, full[conn->answer_full]);
}

static void login_next(struct iscsi_conn *conn, enum login_next next)
{
	switch (next) {
	case LOGIN_REPLY:
		send_login_reply(conn);
		break;
	case LOGIN_ASK_RULE:
		server_ask(conn, ASK_RULE);
		break;
	case LOGIN_ASK_SESSION:
		server_ask(conn, ASK_SESSION);
		break;
	case LOGIN_DONE:
		login_done(conn);
		break;
	case LOGIN_FAILED:
		tell_refused(conn);
		send_login_reply(conn);
		conn_drain(conn);
		break;
	}
	if (conn->state < CONN_DRAINING)
		conn_update_pause(conn);
}

static void rule_answered(struct iscsi_conn *conn)
{
	conn->chap = conn->answer_rule.chap_user[0];
	conn->login->target_alias = conn->answer_alias;
	conn->login->redirect = conn->answer_redirect;
	if (conn->session) {
		conn->login->session = &conn->session->params;
		conn->window = &conn->session->order.window;
	}
	login_next(conn, login_rule(conn->login, conn->answer, &conn->answer_rule));
	OPENSSL_cleanse(&conn->answer_rule, sizeof(conn->answer_rule));
}

void conn_joined(struct iscsi_conn *conn, enum login_status status)
{
	uint16_t tsih = status == LOGIN_SUCCESS ? conn->session->tsih : 0;

	conn->waits = false;
	login_next(conn, login_session(conn->login, status, tsih));
}

static void session_answered(struct iscsi_conn *conn)
{
	conn->joins = conn->answer == LOGIN_SUCCESS && conn->login->tsih != 0;
	conn->cid = conn->login->cid;
	if (conn->joins)
		mcs_join(conn);
	else
		conn_joined(conn, conn->answer);
}

/* To the session's loop. The initiator waits for our answer, so nothing is on its way here; if it
 * does not wait, what it says too early is lost. */
static void move(struct iscsi_conn *conn)
{
	conn->fd = fcntl(stream_fd(conn->stream), F_DUPFD_CLOEXEC, 0);
	if (conn->fd < 0) {
		conn->question = ASK_NOTHING;
		login_next(conn, login_rule(conn->login, LOGIN_OUT_OF_RESOURCES, NULL));
		return;
	}
	conn->moving = true;
	timer_stop(&conn->timer);
	list_remove(&conn->link);
	stream_close(conn->stream);
}

void conn_answered(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, message);
	enum conn_question question = conn->question;

	if (conn->destination != conn->io && conn->state < CONN_DRAINING) {
		move(conn);
		return;
	}
	conn->question = ASK_NOTHING;
	if (conn->state >= CONN_DRAINING) {
		heap_free(conn->answer_text);
		conn->answer_text = NULL;
		conn_try_finish(conn);
		return;
	}
	if (question == ASK_RULE)
		rule_answered(conn);
	else if (question == ASK_SESSION)
		session_answered(conn);
	else if (question == ASK_TARGETS)
		session_targets_listed(conn);
	if (conn->state < CONN_DRAINING)
		conn_update_pause(conn);
}

static bool login_header(struct iscsi_conn *conn)
{
	const uint8_t *bhs = conn->header;

	if (pdu_opcode(bhs) != PDU_LOGIN || pdu_ahs_length(bhs) ||
	    conn->payload_length > KEYS_LOGIN_MAX) {
		conn_fail(conn, "not a login request");
		return false;
	}
	conn_rx_iov(conn, conn->rx_text, conn->payload_length);
	return true;
}

static void login_pdu(struct iscsi_conn *conn)
{
	struct login *login = conn->login;
	bool first = !login->begun;
	enum login_next next =
	    login_request(login, conn->header, conn->rx_text, conn->payload_length);

	if (first) {
		conn->statsn = login->expstatsn;
		pdu_window_init(&conn->login_window, login->cmdsn, ORDER_WINDOW);
	}
	login_next(conn, next);
}

/* ---- receiving */

void conn_rx_iov(struct iscsi_conn *conn, void *base, size_t length)
{
	if (length == 0)
		return;
	conn->rx_iov[conn->rx_count++] = (struct iovec){base, length};
	conn->rx_left += length;
}

static bool header_complete(struct iscsi_conn *conn)
{
	if (conn->header_digest && !pdu_header_digest_ok(conn->header)) {
		conn_fail(conn, "header digest error");
		return false;
	}
	conn->payload_length = pdu_data_length(conn->header);
	conn->rx_count = conn->rx_at = 0;
	conn->rx_left = 0;
	conn->rx_task = NULL;
	conn->rx_r2t = NULL;
	if (conn->payload_length > KEYS_RECEIVE_MAX) {
		if (conn->state == CONN_FULL_FEATURE)
			conn_reject(conn, PDU_REJECT_PROTOCOL_ERROR);
		conn_fail(conn, "data segment longer than allowed");
		return false;
	}
	if (!(conn->state == CONN_LOGIN ? login_header(conn) : session_header(conn)))
		return false;
	if (conn->payload_length)
		conn_rx_iov(conn, conn->rx_tail,
			    pdu_padding(conn->payload_length) +
				(conn->data_digest ? PDU_DIGEST_LENGTH : 0));
	memcpy(conn->rx_cursor, conn->rx_iov, conn->rx_count * sizeof(conn->rx_iov[0]));
	conn->in_payload = true;
	return true;
}

/* Bytes of @data that complete the header; 0 = more are needed. */
static size_t take_header(struct iscsi_conn *conn, const uint8_t *data, size_t length)
{
	size_t need;

	if (length < PDU_BHS_LENGTH)
		return 0;
	need = pdu_header_length(data, conn->header_digest);
	if (length < need)
		return 0;
	memcpy(conn->header, data, need);
	return need;
}

static size_t take_payload(struct iscsi_conn *conn, const uint8_t *data, size_t length)
{
	size_t taken = 0;

	while (taken < length && conn->rx_left > 0) {
		struct iovec *iov = &conn->rx_cursor[conn->rx_at];
		size_t n = length - taken < iov->iov_len ? length - taken : iov->iov_len;

		if (iov->iov_base) {
			memcpy(iov->iov_base, data + taken, n);
			iov->iov_base = (uint8_t *)iov->iov_base + n;
		}
		iov->iov_len -= n;
		if (iov->iov_len == 0)
			conn->rx_at++;
		taken += n;
		conn->rx_left -= n;
	}
	return taken;
}

/* The digest covers the padding as it came. What went nowhere is not checked. */
static bool payload_good(const struct iscsi_conn *conn)
{
	uint32_t crc = 0, padding = pdu_padding(conn->payload_length);

	if (!conn->data_digest || conn->payload_length == 0)
		return true;
	for (unsigned i = 0; i + 1 < conn->rx_count; i++) {
		if (!conn->rx_iov[i].iov_base)
			return true;
		crc = crc32c(crc, conn->rx_iov[i].iov_base, conn->rx_iov[i].iov_len);
	}
	crc = crc32c(crc, conn->rx_tail, padding);
	return crc == pdu_get_digest(conn->rx_tail + padding);
}

static void pdu_complete(struct iscsi_conn *conn)
{
	conn->in_payload = false;
	if (conn->state == CONN_LOGIN)
		login_pdu(conn);
	else if (conn->state == CONN_FULL_FEATURE)
		session_pdu(conn, payload_good(conn));
	if (conn->state < CONN_DRAINING)
		conn_update_pause(conn);
}

static void into_done(struct stream_receive *receive, int result)
{
	struct iscsi_conn *conn = container_of(receive, struct iscsi_conn, rx_into);

	conn->rx_into_active = false;
	if (result < 0 || conn->state >= CONN_DRAINING)
		return;
	conn->rx_left = 0;
	pdu_complete(conn);
}

static void receive_in_place(struct iscsi_conn *conn)
{
	for (unsigned i = conn->rx_at; i < conn->rx_count; i++)
		if (!conn->rx_cursor[i].iov_base)
			return;
	conn->rx_into = (struct stream_receive){
	    .iov = &conn->rx_cursor[conn->rx_at],
	    .iov_count = conn->rx_count - conn->rx_at,
	    .length = conn->rx_left,
	    .done = into_done,
	};
	conn->rx_into_active = true;
	stream_receive_into(conn->stream, &conn->rx_into);
}

static size_t received(struct stream *stream, const void *data, size_t length)
{
	struct iscsi_conn *conn = stream_context(stream);
	const uint8_t *bytes = data;
	size_t used = 0;

	conn->last_heard = loop_now(conn->io->loop);
	conn->pinged = 0;
	while (conn->state < CONN_DRAINING && !conn->paused) {
		if (!conn->in_payload) {
			size_t header = take_header(conn, bytes + used, length - used);

			used += header;
			if (header == 0 || !header_complete(conn))
				break;
		}
		used += take_payload(conn, bytes + used, length - used);
		if (conn->rx_left >= INTO_MIN)
			receive_in_place(conn);
		if (conn->rx_left > 0)
			break;
		pdu_complete(conn);
	}
	return conn->state < CONN_DRAINING ? used : length;
}

static const struct stream_handlers handlers = {
    .received = received,
    .ended = ended,
    .closed = closed,
};

/* ---- the beginning */

/* On its loop, whether it is the first or the one it moved to. */
static bool settle(struct iscsi_conn *conn)
{
	struct err err = {0};
	int fd = conn->fd;

	conn->moving = conn->paused = conn->stream_closed = false;
	conn->login->random_context = conn->io->loop;
	if (stream_attach(conn->io->loop, fd, &handlers, conn, &conn->stream, &err) < 0)
		return false;
	conn->fd = -1;
	timer_start(&conn->timer, conn->server->options.login_limit_ns);
	return true;
}

static void come_to_loop(struct iscsi_conn *conn)
{
	list_push_back(&conn->io->conns, &conn->link);
	timer_init(&conn->timer, conn->io->loop, tick);
	conn->last_heard = loop_now(conn->io->loop);
}

static void could_not_settle(struct iscsi_conn *conn)
{
	conn->stream_closed = true;
	conn->question = ASK_NOTHING;
	conn_close(conn);
}

static bool prepare(struct iscsi_conn *conn)
{
	conn->login = heap_alloc(sizeof(*conn->login));
	conn->rx_text = heap_alloc(KEYS_LOGIN_MAX);
	if (!conn->login || !conn->rx_text)
		return false;
	login_init(conn->login);
	conn->login->random = (void (*)(void *, void *, size_t))loop_random;
	return settle(conn);
}

void conn_attach(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, attach_message);

	list_init(&conn->tx);
	list_init(&conn->free_outs);
	list_init(&conn->slabs);
	list_init(&conn->session_link);
	conn->window = &conn->login_window;
	come_to_loop(conn);
	if (!prepare(conn))
		could_not_settle(conn);
}

void conn_moved(struct message *message)
{
	struct iscsi_conn *conn = container_of(message, struct iscsi_conn, attach_message);

	come_to_loop(conn);
	if (settle(conn))
		conn_answered(&conn->message);
	else
		could_not_settle(conn);
}
