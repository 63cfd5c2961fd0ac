/* SPDX-License-Identifier: Apache-2.0 */
/* mcs.c: the connections of a session (MC/S): who joins and who leaves, what becomes of the tasks
 * of one that leaves while others stay, and the order of answers over all of them.
 *
 * At error recovery level 0 nothing of a connection outlives it (Time2Retain is 0): its tasks end
 * (RFC 7143 11.14.5, cases a and b), the others go on, and the initiator hears 47h/7Fh. Numbers it
 * had sent there and that never came are left for the initiator to send again or abort; a session
 * whose gap nobody closes is ended as a whole. */
#include <string.h>

#include "core/log.h"
#include "iscsi/internal.h"

static struct iscsi_conn *conn_of(struct list *link)
{
	return list_entry(link, struct iscsi_conn, session_link);
}

/* ---- who joins */

static void fence_late(struct timer *timer);

void mcs_enter(struct iscsi_conn *conn)
{
	struct iscsi_session *session = conn->session;

	if (list_empty(&session->conns))
		timer_init(&session->fence_timer, conn->io->loop, fence_late);
	list_push_back(&session->conns, &conn->session_link);
	session->active++;
	conn->window = &session->order.window;
	conn->started_ns = loop_now(conn->io->loop);
	conn->acknowledged = conn->fence_statsn = conn->statsn;
}

struct iscsi_conn *mcs_find(struct iscsi_session *session, uint16_t cid)
{
	list_for_each (it, &session->conns) {
		struct iscsi_conn *conn = conn_of(it);

		if (conn->cid == cid && !conn->stuck && !conn->waits)
			return conn;
	}
	return NULL;
}

static bool replaces(const struct iscsi_conn *conn)
{
	list_for_each (it, &conn->session->conns) {
		const struct iscsi_conn *other = conn_of(it);

		if (other != conn && other->cid == conn->cid && !other->stuck)
			return true;
	}
	return false;
}

static struct iscsi_conn *next_to_replace(const struct iscsi_conn *conn)
{
	list_for_each (it, &conn->session->conns) {
		struct iscsi_conn *other = conn_of(it);

		if (other != conn && other->cid == conn->cid && other->state != CONN_CLOSING)
			return other;
	}
	return NULL;
}

/* Connection reinstatement (RFC 7143 6.3.4): the same CID again logs the older one out, with its
 * tasks, and begins when that is through. */
void mcs_join(struct iscsi_conn *conn)
{
	struct iscsi_session *session = conn->session;
	struct iscsi_conn *other;

	if (session->active == 0) {
		conn->joins = false;
		conn_joined(conn, LOGIN_NO_SESSION);
		return;
	}
	mcs_enter(conn);
	while ((other = next_to_replace(conn))) {
		log_info("%s from %s: the connection from %s is replaced",
			 session->params.initiator, conn->peer_text, other->peer_text);
		conn_close(other);
	}
	conn->waits = replaces(conn);
	if (!conn->waits)
		conn_joined(conn, LOGIN_SUCCESS);
}

static struct iscsi_conn *next_to_begin(const struct iscsi_session *session)
{
	list_for_each (it, &session->conns) {
		struct iscsi_conn *conn = conn_of(it);

		if (conn->waits && conn->state == CONN_LOGIN && !replaces(conn))
			return conn;
	}
	return NULL;
}

static void look_at_waiting(const struct iscsi_session *session)
{
	struct iscsi_conn *conn;

	while ((conn = next_to_begin(session)))
		conn_joined(conn, LOGIN_SUCCESS);
}

/* ---- who leaves */

static void fence_ends(struct iscsi_session *session);

static struct iscsi_task *next_to_give_up(struct iscsi_conn *conn)
{
	list_for_each (it, &conn->session->tasks) {
		struct iscsi_task *task = list_entry(it, struct iscsi_task, link);

		if (task->conn == conn && task->begun && !task->given_up &&
		    (task->state == TASK_EXECUTING || task->state == TASK_GATHERING))
			return task;
	}
	return NULL;
}

static struct iscsi_task *next_unexecuted(struct iscsi_conn *conn)
{
	list_for_each (it, &conn->session->tasks) {
		struct iscsi_task *task = list_entry(it, struct iscsi_task, link);

		if (task->conn == conn && !task->dropped && task != conn->exchange.text_task &&
		    (task->state == TASK_RECEIVING || task->state == TASK_GATHERING))
			return task;
	}
	return NULL;
}

/* What has not had its turn is discarded, and its number is still to come (RFC 7143 11.14): a
 * command that was not acknowledged may be sent again on another connection. Ending one task may
 * end others: search anew. */
void mcs_give_up(struct iscsi_conn *conn, const struct iscsi_task *except)
{
	struct iscsi_task *task;

	list_for_each (it, &conn->session->tasks) {
		task = list_entry(it, struct iscsi_task, link);
		if (task->conn != conn || task == except)
			continue;
		session_task_unanswered(task);
		if (task->state != TASK_HELD)
			continue;
		order_forget(&task->order);
		task->state = TASK_RECEIVING;
	}
	while ((task = next_to_give_up(conn))) {
		task->given_up = true;
		scsi_task_abandon(&task->scsi);
	}
	/* With the stream the rest goes as well; until then it may be receiving into it. */
	while (conn->state == CONN_FULL_FEATURE && (task = next_unexecuted(conn)))
		session_task_drop(task);
	session_run_held(conn->session);
}

void mcs_leave(struct iscsi_conn *conn)
{
	struct iscsi_session *session = conn->session;

	if (list_empty(&conn->session_link))
		return;
	if (--session->active == 0) {
		session_abort(session);
		return;
	}
	mcs_give_up(conn, NULL);
	session_tell_window(session); /* what was told on this one was perhaps not heard */
	if (session->fence_conn == conn)
		fence_ends(session); /* its answer goes nowhere */
	mcs_fence_step(session);
}

static void logout_through(struct iscsi_conn *conn, bool clean)
{
	if (conn->logout && conn->logout->conn != conn)
		session_logout_ready(conn, clean);
}

void mcs_gone(struct iscsi_conn *conn)
{
	logout_through(conn, true);
	look_at_waiting(conn->session);
}

void mcs_stuck(struct iscsi_conn *conn)
{
	conn->stuck = true;
	if (list_empty(&conn->session_link))
		return;
	logout_through(conn, false);
	look_at_waiting(conn->session);
}

void mcs_tell_others(struct iscsi_conn *conn)
{
	if (list_empty(&conn->session_link))
		return;
	list_for_each (it, &conn->session->conns) {
		struct iscsi_conn *other = conn_of(it);

		if (other == conn || other->state != CONN_FULL_FEATURE)
			continue;
		session_async(other, 2, conn->cid, (uint16_t)conn->params.time2wait, 0);
		return;
	}
}

struct iscsi_conn *mcs_next_active(const struct iscsi_session *session)
{
	list_for_each (it, &session->conns)
		if (!conn_of(it)->leaving)
			return conn_of(it);
	return NULL;
}

void mcs_end(struct iscsi_conn *conn)
{
	if (conn->state == CONN_FULL_FEATURE)
		conn_drain(conn);
	else
		conn_close(conn);
}

/* ---- a number that does not come */

static void drop_all(struct iscsi_session *session)
{
	struct iscsi_conn *conn;

	while ((conn = mcs_next_active(session))) {
		session_async(conn, 3, 0, (uint16_t)conn->params.time2wait, 0);
		mcs_end(conn);
	}
}

void mcs_look_at_gap(struct iscsi_session *session)
{
	uint64_t now = loop_now(session->io->loop);

	if (!session->gap_since)
		return;
	/* What is missing may lie in a connection that is not read at the moment. */
	list_for_each (it, &session->conns)
		if (conn_of(it)->paused && conn_of(it)->state == CONN_FULL_FEATURE)
			session->gap_since = now;
	if (now - session->gap_since < ISCSI_GAP_NS)
		return;
	log_notice("%s: CmdSN %u does not come and others wait for it; session dropped",
		   session->params.initiator, session->order.window.expected);
	drop_all(session);
}

/* ---- the response fence (RFC 7143 4.2.2.3): an answer that says something about tasks of other
 * connections comes after the answers that are older, and before the younger ones, whatever
 * connections they take. */

/* Unit attentions that tell of tasks that are no more. */
static bool tells_of_others(const struct scsi_task *scsi)
{
	bool descriptors = scsi->sense[0] & 2;
	unsigned at_key = descriptors ? 1 : 2, at_asc = descriptors ? 2 : 12;

	if (scsi->status != SCSI_CHECK_CONDITION || scsi->sense_length <= at_asc)
		return false;
	return (scsi->sense[at_key] & 0x0f) == 6 &&
	       (scsi->sense[at_asc] == 0x29 || scsi->sense[at_asc] == 0x2f ||
		scsi->sense[at_asc] == 0x47);
}

static bool wants_fence(const struct iscsi_task *task)
{
	return task->fenced ||
	       (pdu_opcode(task->bhs) == PDU_SCSI_COMMAND && tells_of_others(&task->scsi));
}

/* While there is a fence answers pile up that nobody refuses to take, and what ends it has to be
 * read: conn_update_pause(). */
static void look_at_pauses(struct iscsi_session *session)
{
	list_for_each (it, &session->conns)
		conn_update_pause(conn_of(it));
}

bool mcs_fence(struct iscsi_task *task)
{
	struct iscsi_session *session = task->session;

	if (task->state != TASK_SENDING || task == session->fenced)
		return false;
	if (session->fence) {
		if (list_empty(&task->tx_link))
			list_push_back(&session->later, &task->tx_link);
		return true;
	}
	if (!wants_fence(task))
		return false;
	session->fence = FENCE_BEFORE;
	session->fenced = task;
	session->fence_conn = task->conn;
	look_at_pauses(session);
	mcs_fence_step(session);
	return true;
}

/* One that is logged out is not read any more. */
static bool speaks(const struct iscsi_conn *conn)
{
	return conn->state == CONN_FULL_FEATURE && !conn->logged_out;
}

static bool all_made(struct iscsi_session *session)
{
	list_for_each (it, &session->conns)
		if (speaks(conn_of(it)) && !list_empty(&conn_of(it)->tx))
			return false;
	return true;
}

/* @conn is asked for a sign of having heard what it was sent until now. */
static void solicit(struct iscsi_conn *conn)
{
	conn->fence_statsn = conn->statsn;
	if (pdu_sn_before(conn->acknowledged, conn->statsn))
		session_ping(conn);
}

static bool heard(const struct iscsi_conn *conn)
{
	return !speaks(conn) || !pdu_sn_before(conn->acknowledged, conn->fence_statsn);
}

static bool others_heard(struct iscsi_session *session)
{
	list_for_each (it, &session->conns)
		if (conn_of(it) != session->fence_conn && !heard(conn_of(it)))
			return false;
	return true;
}

static void fence_ends(struct iscsi_session *session)
{
	struct list later;

	timer_stop(&session->fence_timer);
	session->fence = FENCE_NONE;
	session->fenced = NULL;
	session->fence_conn = NULL;
	list_init(&later);
	list_splice_back(&later, &session->later);
	for (struct list *it; (it = list_pop_front(&later));)
		session_queue(list_entry(it, struct iscsi_task, tx_link));
	look_at_pauses(session);
}

/* From stage to stage, as far as it goes now. */
static bool fence_moves(struct iscsi_session *session)
{
	struct iscsi_task *task = session->fenced;
	struct iscsi_conn *conn = session->fence_conn;

	switch (session->fence) {
	case FENCE_NONE:
		return false;
	case FENCE_BEFORE:
		if (!all_made(session))
			return false;
		session->fence = FENCE_ACKNOWLEDGED;
		timer_start(&session->fence_timer, ISCSI_FENCE_NS);
		list_for_each (it, &session->conns)
			if (conn_of(it) != conn && speaks(conn_of(it)))
				solicit(conn_of(it));
		return true;
	case FENCE_ACKNOWLEDGED:
		if (!others_heard(session))
			return false;
		session->fence = FENCE_SENDING;
		session_queue(task);
		return true;
	case FENCE_SENDING:
		if (!list_empty(&task->tx_link))
			return false;
		session->fence = FENCE_AFTER;
		session->fenced = NULL;
		timer_start(&session->fence_timer, ISCSI_FENCE_NS);
		solicit(conn);
		return true;
	case FENCE_AFTER:
		if (session->active > 1 && !heard(conn))
			return false;
		fence_ends(session);
		return true;
	}
	return false;
}

void mcs_fence_step(struct iscsi_session *session)
{
	while (session->fence && fence_moves(session))
		;
}

/* Its connection is gone, and the answer with it. */
void mcs_fenced_ends(struct iscsi_session *session)
{
	fence_ends(session);
}

static struct iscsi_conn *next_late(const struct iscsi_session *session)
{
	list_for_each (it, &session->conns)
		if (conn_of(it)->late)
			return conn_of(it);
	return NULL;
}

/* All are found first: when one goes the fence moves on (mcs_leave()), and another may begin, which
 * asks them anew. */
static void fence_late(struct timer *timer)
{
	struct iscsi_session *session = container_of(timer, struct iscsi_session, fence_timer);
	struct iscsi_conn *conn;

	list_for_each (it, &session->conns) {
		bool last = conn_of(it) == session->fence_conn;

		conn_of(it)->late = (session->fence == FENCE_AFTER) == last && !heard(conn_of(it));
	}
	while ((conn = next_late(session))) {
		conn->late = false;
		conn_fail(conn, "does not acknowledge what it was sent");
	}
}
