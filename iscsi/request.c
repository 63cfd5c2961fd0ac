/* SPDX-License-Identifier: Apache-2.0 */
/* request.c: the small requests of the full feature phase: NOP (RFC 7143 11.18, 11.19), text
 * (11.10, 11.11), logout (11.14, 11.15), and the refusal of everything else. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "iscsi/internal.h"

#define PING_TTT 0x50494e47u

/* Non-immediate requests take their place in CmdSN order; false: dropped in silence. */
static bool take_number(struct iscsi_conn *conn)
{
	if (pdu_immediate(conn->header))
		return true;
	if (pdu_window_place(&conn->window, pdu_get32(conn->header + PDU_AT_CMDSN)) !=
	    PDU_WINDOW_NEXT)
		return false;
	conn->window.expected++;
	conn->window.maximum++;
	return true;
}

static void send_copy(struct iscsi_reply *reply, const void *data, uint32_t length)
{
	struct iscsi_conn *conn = reply->conn;
	struct iovec piece = {0};

	if (length) {
		reply->buf = buf_get(loop_buffers(conn->lane->loop), length);
		if (!reply->buf) {
			list_push_front(&conn->lane->free_replies, &reply->link);
			conn_end(conn, "out of buffers for a response");
			return;
		}
		memcpy(reply->buf->data, data, length);
		piece = (struct iovec){reply->buf->data, length};
	}
	reply_send(reply, &piece, length ? 1 : 0, length, true);
}

static void nop(struct iscsi_conn *conn, const uint8_t *data, uint32_t length)
{
	uint32_t itt = pdu_get32(conn->header + PDU_AT_ITT);
	struct iscsi_reply *reply;

	if (itt == PDU_TAG_NONE)
		return; /* the answer to our ping; hearing it was the point */
	reply = reply_new(conn, PDU_NOP_IN, PDU_FINAL, itt);
	if (!reply)
		return;
	if (length > conn->params.send_max)
		length = conn->params.send_max;
	send_copy(reply, data, length);
}

void request_ping(struct iscsi_conn *conn)
{
	struct iscsi_reply *reply = reply_new(conn, PDU_NOP_IN, PDU_FINAL, PDU_TAG_NONE);

	if (!reply)
		return;
	pdu_put32(reply->header + PDU_AT_TTT, PING_TTT);
	reply_send(reply, NULL, 0, 0, false);
}

/* --- text --------------------------------------------------------------------------------- */

static void text_forget(struct iscsi_conn *conn)
{
	heap_free(conn->text);
	conn->text = NULL;
	conn->text_length = 0;
}

static void text_answer(struct iscsi_conn *conn, bool final, const char *text, uint32_t length)
{
	struct iscsi_reply *reply = reply_new(conn, PDU_TEXT_RESPONSE, final ? PDU_FINAL : 0,
					      pdu_get32(conn->header + PDU_AT_ITT));

	if (!reply)
		return;
	if (!final)
		pdu_put32(reply->header + PDU_AT_TTT, 1);
	send_copy(reply, text, length);
}

static int text_collect(struct iscsi_conn *conn, const uint8_t *data, uint32_t length)
{
	char *grown;

	if (conn->text_length + length > ISCSI_TEXT_TOTAL_MAX)
		return -E2BIG;
	grown = heap_resize(conn->text, conn->text_length + length + 1);
	if (!grown)
		return -ENOMEM;
	memcpy(grown + conn->text_length, data, length);
	conn->text = grown;
	conn->text_length += length;
	return 0;
}

static void text_negotiate(struct iscsi_conn *conn)
{
	struct text_pair *pairs = heap_zalloc_array(TEXT_PAIRS_MAX, sizeof(*pairs));
	struct text_writer writer = {.room = ISCSI_TEXT_TOTAL_MAX};
	const char *which;
	uint64_t seen = 0;
	int count;

	writer.data = heap_alloc(writer.room);
	count = pairs && writer.data ? text_parse(conn->text, conn->text_length, pairs) : -ENOMEM;
	for (int i = 0; i < count; i++)
		if (strcmp(pairs[i].key, "SendTargets") != 0 &&
		    keys_answer(&conn->params, &seen, KEYS_FULL_FEATURE, &pairs[i], &writer) < 0)
			count = -EPROTO;
	which = count > 0 ? text_find(pairs, (unsigned)count, "SendTargets") : NULL;
	if (which)
		send_targets(conn, which, &writer);
	if (count < 0 || writer.overflow)
		reply_reject(conn,
			     writer.overflow ? PDU_REJECT_NO_RESOURCE : PDU_REJECT_PROTOCOL_ERROR);
	else
		text_answer(conn, true, writer.data, (uint32_t)writer.length);
	heap_free(writer.data);
	heap_free(pairs);
}

static void text(struct iscsi_conn *conn, const uint8_t *data, uint32_t length)
{
	uint8_t flags = conn->header[PDU_AT_FLAGS];

	if (pdu_get32(conn->header + PDU_AT_TTT) == PDU_TAG_NONE && conn->text &&
	    !(flags & PDU_CONTINUE) && pdu_get32(conn->header + PDU_AT_ITT) != conn->login_itt)
		text_forget(conn); /* a new negotiation resets the old one */
	conn->login_itt = pdu_get32(conn->header + PDU_AT_ITT);
	if (text_collect(conn, data, length) < 0) {
		text_forget(conn);
		reply_reject(conn, PDU_REJECT_NO_RESOURCE);
		return;
	}
	if (flags & PDU_CONTINUE) {
		text_answer(conn, false, NULL, 0);
		return;
	}
	text_negotiate(conn);
	text_forget(conn);
}

/* --- logout ------------------------------------------------------------------------------- */

static void logout(struct iscsi_conn *conn)
{
	uint8_t reason = conn->header[PDU_AT_FLAGS] & 0x7f;
	struct iscsi_reply *reply =
	    reply_new(conn, PDU_LOGOUT_RESPONSE, PDU_FINAL, pdu_get32(conn->header + PDU_AT_ITT));
	bool other = reason == 1 && pdu_get16(conn->header + 20) != conn->cid;

	if (!reply)
		return;
	pdu_put32(reply->header + PDU_AT_TTT, 0);
	if (reason > 1 || other) /* for recovery: not at ERL 0; another CID: there is none */
		reply->header[2] = other ? 1 : 2;
	pdu_put16(reply->header + 40, (uint16_t)conn->params.time2wait);
	reply_send(reply, NULL, 0, 0, true);
	if (!reply->header[2])
		conn_finish(conn);
}

void request_pdu(struct iscsi_conn *conn, const uint8_t *data, uint32_t length)
{
	uint8_t opcode = pdu_opcode(conn->header);

	if (opcode == PDU_SNACK) {
		reply_reject(conn, PDU_REJECT_SNACK);
		return;
	}
	if (opcode != PDU_NOP_OUT && opcode != PDU_TEXT && opcode != PDU_LOGOUT) {
		reply_reject(conn, opcode == PDU_LOGIN ? PDU_REJECT_PROTOCOL_ERROR
						       : PDU_REJECT_NOT_SUPPORTED);
		return;
	}
	if (!take_number(conn))
		return;
	if (opcode == PDU_NOP_OUT)
		nop(conn, data, length);
	else if (opcode == PDU_TEXT)
		text(conn, data, length);
	else
		logout(conn);
	if (conn->phase == CONN_FULL)
		command_advance(conn);
}
