/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c: PDUs on their way out. A reply is a preallocated header, up to two pieces of data
 * that belong to its task or buffer, and a tail of padding and digest; core/stream sends all
 * replies of a round together. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "iscsi/internal.h"

static void sent(struct stream_send *send, int result)
{
	struct iscsi_reply *reply = container_of(send, struct iscsi_reply, send);
	struct iscsi_conn *conn = reply->conn;
	struct iscsi_task *task = reply->task;

	(void)result; /* a failed send ends the stream, which says so itself */
	buf_unref(reply->buf);
	reply->buf = NULL;
	reply->task = NULL;
	list_push_front(&conn->lane->free_replies, &reply->link);
	if (task)
		task_unref(task);
	conn->references--;
	if (conn->receiving == CONN_STALLED && conn->phase != CONN_CLOSING)
		conn_resume(conn);
	conn_maybe_free(conn);
}

struct iscsi_reply *reply_new(struct iscsi_conn *conn, uint8_t opcode, uint8_t flags, uint32_t itt)
{
	struct list *link = list_pop_front(&conn->lane->free_replies);
	struct iscsi_reply *reply =
	    link ? list_entry(link, struct iscsi_reply, link) : heap_zalloc(sizeof(*reply));

	if (!reply) {
		conn_end(conn, "out of memory for a response");
		return NULL;
	}
	memset(reply->header, 0, sizeof(reply->header));
	list_init(&reply->link);
	reply->conn = conn;
	reply->header[PDU_AT_OPCODE] = opcode;
	reply->header[PDU_AT_FLAGS] = flags;
	pdu_put32(reply->header + PDU_AT_ITT, itt);
	pdu_put32(reply->header + PDU_AT_TTT, PDU_TAG_NONE);
	return reply;
}

void reply_send(struct iscsi_reply *reply, const struct iovec *data, unsigned count,
		uint32_t length, bool status)
{
	struct iscsi_conn *conn = reply->conn;
	uint8_t *header = reply->header;
	size_t header_length = PDU_BHS_LENGTH, tail_length = pdu_padding(length);
	bool full = conn->phase == CONN_FULL || conn->phase == CONN_LOGOUT;
	unsigned used = 1;

	pdu_put24(header + PDU_AT_DATA_LENGTH, length);
	if (header[PDU_AT_OPCODE] != PDU_DATA_IN || status) {
		pdu_put32(header + PDU_AT_STATSN, conn->statsn);
		if (status)
			conn->statsn++;
	}
	pdu_put32(header + PDU_AT_EXPCMDSN, conn->window.expected);
	pdu_put32(header + PDU_AT_MAXCMDSN, conn->window.maximum);
	if (full && conn->params.header_digest) {
		struct iovec one = {header, PDU_BHS_LENGTH};

		pdu_put_digest(header + PDU_BHS_LENGTH, pdu_data_digest(&one, 1, PDU_BHS_LENGTH));
		header_length += PDU_DIGEST_LENGTH;
	}
	memset(reply->tail, 0, sizeof(reply->tail));
	if (length && full && conn->params.data_digest) {
		pdu_put_digest(reply->tail + tail_length, pdu_data_digest(data, count, length));
		tail_length += PDU_DIGEST_LENGTH;
	}
	memset(reply->send.iov, 0, sizeof(reply->send.iov));
	reply->send.iov[0] = (struct iovec){header, header_length};
	for (unsigned i = 0; i < count; i++)
		reply->send.iov[used++] = data[i];
	if (tail_length)
		reply->send.iov[used] = (struct iovec){reply->tail, tail_length};
	reply->send.done = sent;
	conn->references++;
	if (reply->task)
		reply->task->refs++;
	if (conn->phase == CONN_CLOSING || !conn->stream)
		sent(&reply->send, -ECANCELED);
	else
		stream_send(conn->stream, &reply->send);
}

/* RFC 7143 11.17: the header that is refused goes back as data. */
void reply_reject(struct iscsi_conn *conn, enum pdu_reject_reason reason)
{
	struct iscsi_reply *reply = reply_new(conn, PDU_REJECT, PDU_FINAL, PDU_TAG_NONE);
	struct iovec data;

	if (!reply)
		return;
	reply->buf = buf_get(loop_buffers(conn->lane->loop), PDU_BHS_LENGTH);
	if (!reply->buf) {
		list_push_front(&conn->lane->free_replies, &reply->link);
		conn_end(conn, "out of buffers for a reject");
		return;
	}
	memcpy(reply->buf->data, conn->header, PDU_BHS_LENGTH);
	reply->header[2] = (uint8_t)reason;
	pdu_put32(reply->header + PDU_AT_TTT, 0);
	data = (struct iovec){reply->buf->data, PDU_BHS_LENGTH};
	reply_send(reply, &data, 1, PDU_BHS_LENGTH, true);
}

/* RFC 7143 11.9.1: 1 please log out within parameter seconds, 2 we drop this connection,
 * 3 we drop all connections. */
void reply_async(struct iscsi_conn *conn, uint8_t event, uint16_t parameter)
{
	struct iscsi_reply *reply = reply_new(conn, PDU_ASYNC, PDU_FINAL, PDU_TAG_NONE);

	if (!reply)
		return;
	pdu_put32(reply->header + PDU_AT_TTT, 0);
	reply->header[PDU_AT_ASYNC_EVENT] = event;
	if (event == 1)
		pdu_put16(reply->header + PDU_AT_ASYNC_PARAMETER + 4, parameter);
	else
		pdu_put16(reply->header + PDU_AT_ASYNC_PARAMETER, conn->cid);
	reply_send(reply, NULL, 0, 0, true);
}

void reply_free_all(struct iscsi_lane *lane)
{
	struct list *link;

	while ((link = list_pop_front(&lane->free_replies)))
		heap_free(list_entry(link, struct iscsi_reply, link));
}
