/* SPDX-License-Identifier: Apache-2.0 */
/* command.c: a SCSI command from its PDU to its status (RFC 7143 11.3, 11.4, 11.7, 11.8).
 *
 *   QUEUED (ahead of a gap in CmdSN) -> begin -> GATHERING (immediate, unsolicited, R2T)
 *          -> RUNNING (in target/) -> ANSWERED (last PDU of the answer queued)
 *
 * CmdSN order is kept here and nowhere else. */
#include <string.h>

#include "core/heap.h"
#include "iscsi/internal.h"

static void task_done(struct scsi_task *scsi);
static void task_go_on(struct iscsi_task *task);

static struct iscsi_task *task_new(struct iscsi_conn *conn)
{
	struct list *link = list_pop_front(&conn->lane->free_tasks);
	struct iscsi_task *task =
	    link ? list_entry(link, struct iscsi_task, link) : heap_alloc(sizeof(*task));

	if (!task)
		return NULL;
	task->conn = conn;
	task->refs = 1;
	task->begun = task->dropped = task->misnumbered = false;
	task->buf = NULL;
	task->received = task->unsolicited = task->requested = 0;
	task->r2tsn = 0;
	task->r2t_count = 0;
	task->unsolicited_datasn = 0;
	list_push_back(&conn->tasks, &task->link);
	conn->task_count++;
	return task;
}

void task_unref(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;

	if (--task->refs)
		return;
	if (task->begun)
		scsi_task_end(&task->scsi);
	buf_unref(task->buf);
	task->buf = NULL;
	list_remove(&task->link);
	list_push_front(&conn->lane->free_tasks, &task->link);
	conn->task_count--;
	conn_maybe_free(conn);
}

/* One more command may come: its place in the window is free. */
static void window_open(struct iscsi_conn *conn, const struct iscsi_task *task)
{
	if (!task->immediate)
		conn->window.maximum++;
}

void task_drop(struct iscsi_task *task)
{
	if (task->dropped)
		return;
	task->dropped = true;
	task->state = ISCSI_TASK_ANSWERED;
	window_open(task->conn, task);
	task_unref(task);
}

/* --- the answer --------------------------------------------------------------------------- */

static uint8_t residual(const struct iscsi_task *task, uint32_t *ret_count)
{
	const struct scsi_task *scsi = &task->scsi;
	uint64_t wanted = scsi->data_in_length;

	if (task->flags & PDU_WRITE)
		wanted = scsi->data_out_wanted;
	if (!(task->flags & (PDU_READ | PDU_WRITE)))
		wanted =
		    scsi->direction == SCSI_DATA_OUT ? scsi->data_out_wanted : scsi->data_in_length;
	if (wanted > task->edtl) {
		*ret_count = (uint32_t)(wanted - task->edtl);
		return PDU_OVERFLOW;
	}
	*ret_count = (uint32_t)(task->edtl - wanted);
	return *ret_count ? PDU_UNDERFLOW : 0;
}

static void send_response(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct scsi_task *scsi = &task->scsi;
	struct iscsi_reply *reply = reply_new(conn, PDU_SCSI_RESPONSE, PDU_FINAL, task->itt);
	struct iovec data = {0};
	uint32_t length = 0, count;

	if (!reply)
		return;
	reply->header[PDU_AT_FLAGS] |= residual(task, &count);
	reply->header[3] = (uint8_t)scsi->status;
	pdu_put32(reply->header + PDU_AT_TTT, 0);
	pdu_put32(reply->header + PDU_AT_RESIDUAL, count);
	if (scsi->sense_length) {
		reply->buf = buf_get(loop_buffers(conn->lane->loop), SCSI_SENSE_MAX + 2);
		if (reply->buf) {
			pdu_put16(reply->buf->data, (uint16_t)scsi->sense_length);
			memcpy((uint8_t *)reply->buf->data + 2, scsi->sense, scsi->sense_length);
			length = scsi->sense_length + 2;
			data = (struct iovec){reply->buf->data, length};
		}
	}
	reply_send(reply, &data, length ? 1 : 0, length, true);
}

static unsigned cut(const struct scsi_task *scsi, uint32_t offset, uint32_t length,
		    struct iovec out[2])
{
	unsigned used = 0;

	for (unsigned i = 0; i < scsi->data_in_count && length && used < 2; i++) {
		const struct iovec *piece = &scsi->data_in[i];
		size_t part;

		if (offset >= piece->iov_len) {
			offset -= (uint32_t)piece->iov_len;
			continue;
		}
		part = piece->iov_len - offset;
		if (part > length)
			part = length;
		out[used++] = (struct iovec){(uint8_t *)piece->iov_base + offset, part};
		length -= (uint32_t)part;
		offset = 0;
	}
	return used;
}

/* Data-In PDUs of at most the initiator's segment size, F at the end of each burst, the status
 * in the last one when it is GOOD. */
static void send_data(struct iscsi_task *task, uint32_t total)
{
	struct iscsi_conn *conn = task->conn;
	uint32_t count, flags, datasn = 0;

	for (uint32_t at = 0, part; at < total; at += part) {
		uint32_t burst_left = conn->params.max_burst - at % conn->params.max_burst;
		struct iscsi_reply *reply;
		struct iovec data[2];
		bool last;

		part = total - at;
		if (part > conn->params.send_max)
			part = conn->params.send_max;
		if (part > burst_left)
			part = burst_left;
		last = at + part == total;
		flags = last || part == burst_left ? PDU_FINAL : 0;
		if (last)
			flags |= PDU_DATA_IN_STATUS | residual(task, &count);
		reply = reply_new(conn, PDU_DATA_IN, (uint8_t)flags, task->itt);
		if (!reply)
			return;
		pdu_put32(reply->header + PDU_AT_DATASN, datasn++);
		pdu_put32(reply->header + PDU_AT_OFFSET, at);
		if (last) {
			reply->header[3] = (uint8_t)task->scsi.status;
			pdu_put32(reply->header + PDU_AT_RESIDUAL, count);
		}
		reply->task = task;
		reply_send(reply, data, cut(&task->scsi, at, part, data), part, last);
	}
}

static void answer(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct scsi_task *scsi = &task->scsi;
	uint32_t total = scsi->data_in_length;

	task->state = ISCSI_TASK_ANSWERED;
	window_open(conn, task);
	conn->commands++;
	if (total > task->edtl || !(task->flags & PDU_READ))
		total = task->flags & PDU_READ ? task->edtl : 0;
	if (conn->phase != CONN_CLOSING && !(task->begun && scsi->aborted)) {
		if (task->flags & PDU_WRITE)
			conn->write_bytes += task->received;
		conn->read_bytes += total;
		if (total && scsi->status == SCSI_GOOD)
			send_data(task, total);
		else
			send_response(task);
	}
	task_unref(task);
}

static void task_done(struct scsi_task *scsi)
{
	answer(container_of(scsi, struct iscsi_task, scsi));
}

/* --- gathering ---------------------------------------------------------------------------- */

static void send_r2t(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	uint32_t total = task->scsi.data_out_length, length = total - task->requested;
	struct iscsi_reply *reply = reply_new(conn, PDU_R2T, PDU_FINAL, task->itt);
	unsigned slot = task->r2t_count;

	if (!reply)
		return;
	if (length > conn->params.max_burst)
		length = conn->params.max_burst;
	if (++conn->next_ttt == PDU_TAG_NONE)
		conn->next_ttt = 1;
	task->r2t[slot].ttt = conn->next_ttt;
	task->r2t[slot].offset = task->r2t[slot].next = task->requested;
	task->r2t[slot].end = task->requested + length;
	task->r2t[slot].datasn = 0;
	task->r2t_count++;
	memcpy(reply->header + PDU_AT_LUN, task->scsi.lun, 8);
	pdu_put32(reply->header + PDU_AT_TTT, conn->next_ttt);
	pdu_put32(reply->header + PDU_AT_DATASN, task->r2tsn++);
	pdu_put32(reply->header + PDU_AT_OFFSET, task->requested);
	pdu_put32(reply->header + PDU_AT_RESIDUAL, length);
	task->requested += length;
	reply_send(reply, NULL, 0, 0, false); /* an R2T carries StatSN but does not use one up */
}

static void execute(struct iscsi_task *task)
{
	struct scsi_task *scsi = &task->scsi;

	task->state = ISCSI_TASK_RUNNING;
	scsi->data_out_count = 0;
	if (scsi->data_out_length) {
		scsi->data_out[0] = (struct iovec){task->buf->data, scsi->data_out_length};
		scsi->data_out_count = 1;
	}
	scsi_task_execute(scsi);
}

/* All unsolicited data is here, or an R2T was served: what next? */
static void task_go_on(struct iscsi_task *task)
{
	uint32_t total = task->scsi.data_out_length;
	unsigned outstanding = task->conn->params.max_outstanding_r2t;

	if (task->unsolicited > task->received)
		return; /* more is on its way without being asked */
	if (task->scsi.finished) {
		answer(task);
		return;
	}
	if (task->requested < task->received)
		task->requested = task->received;
	while (task->requested < total && task->r2t_count < outstanding &&
	       task->r2t_count < KEYS_R2T_MAX && task->conn->phase != CONN_CLOSING)
		send_r2t(task);
	if (task->received < total)
		return;
	if (task->misnumbered) {
		scsi_task_reject(&task->scsi, SCSI_ASC_PROTOCOL_SERVICE_CRC_ERROR);
		answer(task);
	} else {
		execute(task);
	}
}

static void task_begin(struct iscsi_task *task)
{
	task->state = ISCSI_TASK_GATHERING;
	task->scsi.done = task_done;
	scsi_task_begin(&task->scsi);
	task->begun = true;
	if (task->scsi.data_out_length > task->buffered)
		task->scsi.data_out_length = task->buffered;
	task_go_on(task);
}

/* Begin every queued command whose turn it is. */
void command_advance(struct iscsi_conn *conn)
{
	bool again = true;

	while (again && conn->phase != CONN_CLOSING) {
		again = false;
		list_for_each (link, &conn->tasks) {
			struct iscsi_task *task = list_entry(link, struct iscsi_task, link);

			if (task->state != ISCSI_TASK_QUEUED || task == conn->data_task ||
			    task->cmdsn != conn->window.expected)
				continue;
			conn->window.expected++;
			task_begin(task);
			again = true;
			break;
		}
	}
}

/* --- command PDUs ------------------------------------------------------------------------- */

static bool tag_in_use(const struct iscsi_conn *conn, uint32_t itt)
{
	list_for_each (link, &conn->tasks) {
		const struct iscsi_task *task = list_entry(link, struct iscsi_task, link);

		if (task->itt == itt && task->state != ISCSI_TASK_ANSWERED)
			return true;
	}
	return false;
}

/* The CDB and what extends it. False: the header does not make sense. */
static bool read_cdb(struct iscsi_conn *conn, struct iscsi_task *task)
{
	const uint8_t *header = conn->header;
	struct pdu_ahs ahs;
	size_t at = 0;
	int rc;

	memcpy(task->scsi.cdb, header + PDU_AT_CDB, 16);
	task->scsi.cdb_length = 16;
	while ((rc = pdu_ahs_next(header + PDU_BHS_LENGTH, pdu_ahs_length(header), &at, &ahs)) >
	       0) {
		if (ahs.type != PDU_AHS_EXTENDED_CDB || ahs.length > SCSI_CDB_MAX - 16 ||
		    task->scsi.cdb_length > 16)
			return false;
		memcpy(task->scsi.cdb + 16, ahs.data, ahs.length);
		task->scsi.cdb_length += (unsigned)ahs.length;
	}
	return rc == 0;
}

static bool data_flags_ok(const struct iscsi_conn *conn, const struct iscsi_task *task,
			  uint32_t length)
{
	bool write = task->flags & PDU_WRITE, final = task->flags & PDU_FINAL;

	if ((task->flags & (PDU_READ | PDU_WRITE)) == (PDU_READ | PDU_WRITE))
		return false; /* bidirectional commands are not in SPC-4's scope here */
	if (!write)
		return final && !length;
	if (length && (!conn->params.immediate_data || length > conn->params.first_burst ||
		       length > task->edtl))
		return false;
	return final || !conn->params.initial_r2t;
}

static bool read_command(struct iscsi_conn *conn, struct iscsi_task *task, uint32_t length)
{
	const uint8_t *header = conn->header;
	static const enum scsi_attribute attributes[8] = {SCSI_SIMPLE, SCSI_SIMPLE, SCSI_ORDERED,
							  SCSI_HEAD_OF_QUEUE, SCSI_ACA};

	task->flags = header[PDU_AT_FLAGS];
	task->itt = pdu_get32(header + PDU_AT_ITT);
	task->edtl = pdu_get32(header + PDU_AT_EDTL);
	task->cmdsn = pdu_get32(header + PDU_AT_CMDSN);
	task->immediate = pdu_immediate(header);
	task->state = ISCSI_TASK_QUEUED;
	memcpy(task->scsi.lun, header + PDU_AT_LUN, 8);
	task->scsi.nexus = conn->nexus;
	task->scsi.attribute = attributes[task->flags & PDU_ATTRIBUTES];
	task->scsi.tag = task->itt;
	task->scsi.data_out_expected = task->flags & PDU_WRITE ? task->edtl : 0;
	task->scsi.data_in_expected = task->flags & PDU_READ ? task->edtl : 0;
	task->buffered = task->flags & PDU_WRITE ? task->edtl : 0;
	if (task->buffered > VOLUME_TRANSFER_MAX)
		task->buffered = VOLUME_TRANSFER_MAX;
	if (!read_cdb(conn, task) || !data_flags_ok(conn, task, length))
		return false;
	if (task->flags & PDU_WRITE && !(task->flags & PDU_FINAL)) {
		task->unsolicited = task->edtl;
		if (task->unsolicited > conn->params.first_burst)
			task->unsolicited = conn->params.first_burst;
	}
	if (task->unsolicited > task->buffered)
		task->unsolicited = task->buffered;
	return true;
}

/* The header of a command is here; data of @length bytes follows. False: no buffer now. */
bool command_receive(struct iscsi_conn *conn, uint32_t length)
{
	struct iscsi_task *task = task_new(conn);

	if (!task) {
		conn_end(conn, "out of memory for a command");
		return true;
	}
	if (!read_command(conn, task, length) || length > task->buffered) {
		task->immediate = true; /* no place in the window was taken */
		task_drop(task);
		conn_end(conn, "sent a command whose flags and lengths contradict each other");
		return true;
	}
	if (task->buffered) {
		task->buf = buf_get(loop_buffers(conn->lane->loop), task->buffered);
		if (!task->buf) {
			task->immediate = true;
			task_drop(task);
			return false;
		}
		conn->data = task->buf->data;
	}
	conn->data_task = task;
	return true;
}

/* The command and its immediate data are here. */
void command_data_done(struct iscsi_conn *conn, struct iscsi_task *task, uint32_t length)
{
	enum pdu_window_place place = pdu_window_place(&conn->window, task->cmdsn);

	task->received = length;
	if (conn->phase == CONN_LOGOUT || (!task->immediate && place == PDU_WINDOW_OUTSIDE)) {
		task->immediate = true; /* RFC 7143 4.2.2.1: dropped in silence */
		task_drop(task);
		return;
	}
	list_remove(&task->link);
	if (tag_in_use(conn, task->itt) || task->itt == PDU_TAG_NONE) {
		list_push_back(&conn->tasks, &task->link);
		task->immediate = true;
		task_drop(task);
		reply_reject(conn, PDU_REJECT_TASK_IN_PROGRESS);
		return;
	}
	list_push_back(&conn->tasks, &task->link);
	if (task->immediate) {
		task_begin(task);
		return;
	}
	if (place == PDU_WINDOW_NEXT) {
		conn->window.expected++;
		task_begin(task);
		command_advance(conn);
	}
}

/* --- Data-Out ----------------------------------------------------------------------------- */

static struct iscsi_task *find_task(struct iscsi_conn *conn, uint32_t itt)
{
	list_for_each (link, &conn->tasks) {
		struct iscsi_task *task = list_entry(link, struct iscsi_task, link);

		if (task->itt == itt &&
		    (task->state == ISCSI_TASK_QUEUED || task->state == ISCSI_TASK_GATHERING))
			return task;
	}
	return NULL;
}

static bool solicited_fits(const struct iscsi_task *task, uint32_t ttt, uint32_t offset,
			   uint32_t length)
{
	/* DataSequenceInOrder and DataPDUInOrder are Yes: always the oldest R2T's next bytes. */
	return task->r2t_count && task->r2t[0].ttt == ttt && task->r2t[0].next == offset &&
	       length <= task->r2t[0].end - offset;
}

static bool unsolicited_fits(const struct iscsi_task *task, uint32_t offset, uint32_t length)
{
	return task->unsolicited > task->received && offset == task->received &&
	       length <= task->unsolicited - offset;
}

bool data_out_receive(struct iscsi_conn *conn, uint32_t length)
{
	const uint8_t *header = conn->header;
	uint32_t ttt = pdu_get32(header + PDU_AT_TTT), offset = pdu_get32(header + PDU_AT_OFFSET);
	uint32_t expected, datasn = pdu_get32(header + PDU_AT_DATASN);
	struct iscsi_task *task = find_task(conn, pdu_get32(header + PDU_AT_ITT));
	bool fits;

	conn->data_task = NULL;
	if (!task) { /* aborted meanwhile, or never there: swallow it */
		if (!length)
			return true;
		conn->data_buf = buf_get(loop_buffers(conn->lane->loop), length);
		conn->data = conn->data_buf ? conn->data_buf->data : NULL;
		return conn->data_buf != NULL;
	}
	fits = ttt == PDU_TAG_NONE ? unsolicited_fits(task, offset, length)
				   : solicited_fits(task, ttt, offset, length);
	if (!fits) {
		conn_end(conn, "sent data out of order or outside of what was asked for");
		return true;
	}
	/* The bytes are in their place, but a number says that a PDU is missing: the command
	 * alone fails, once its data has passed (RFC 7143 7.9, 11.4.7.2). */
	expected = ttt == PDU_TAG_NONE ? task->unsolicited_datasn : task->r2t[0].datasn;
	if (datasn != expected)
		task->misnumbered = true;
	conn->data = (uint8_t *)task->buf->data + offset;
	conn->data_task = task;
	return true;
}

static void unsolicited_done(struct iscsi_conn *conn, struct iscsi_task *task, bool final)
{
	task->unsolicited_datasn++;
	if (final)
		task->unsolicited = task->received; /* it chose to stop here */
	else if (task->received == task->unsolicited) {
		conn_end(conn, "ended its unsolicited data without the F bit");
		return;
	}
	if (task->state == ISCSI_TASK_GATHERING)
		task_go_on(task);
}

static void solicited_done(struct iscsi_conn *conn, struct iscsi_task *task, uint32_t length,
			   bool final)
{
	task->r2t[0].datasn++;
	task->r2t[0].next += length;
	if (final != (task->r2t[0].next == task->r2t[0].end)) {
		conn_end(conn, "ended a data sequence early or late");
		return;
	}
	if (!final)
		return;
	task->r2t_count--;
	memmove(&task->r2t[0], &task->r2t[1], task->r2t_count * sizeof(task->r2t[0]));
	task_go_on(task);
}

void data_out_done(struct iscsi_conn *conn, struct iscsi_task *task, uint32_t length)
{
	bool final = conn->header[PDU_AT_FLAGS] & PDU_FINAL;

	if (!task || task->state == ISCSI_TASK_ANSWERED)
		return;
	task->received += length;
	if (pdu_get32(conn->header + PDU_AT_TTT) == PDU_TAG_NONE)
		unsolicited_done(conn, task, final);
	else
		solicited_done(conn, task, length, final);
}
