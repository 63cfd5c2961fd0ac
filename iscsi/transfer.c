/* SPDX-License-Identifier: Apache-2.0 */
/* transfer.c: the way of a SCSI command's data.
 *
 *   command PDU (+ immediate data) -> scsi_task_begin() in CmdSN order -> unsolicited Data-Out
 *   -> R2T / Data-Out until all is here -> scsi_task_execute() -> Data-In ... response
 *
 * Payload goes straight into the buffers the volume writes from. Buffers for what comes unasked
 * are taken when the command arrives (none left: BUSY); for the rest before its R2T is sent,
 * and that may wait. */
#include <string.h>

#include "iscsi/internal.h"

#define DATA_IN_MAX 262144u /* bytes of one Data-In, if the initiator takes that many */

#define SENSE_ABORTED_COMMAND 0x0b

/* A command that waits for a buffer holds none (BUF_FOR_INPUT): its data-out, VOLUME_TRANSFER_MAX
 * at most, is in one. */

static void advance(struct iscsi_task *task);

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* ---- buffers */

static bool buffers_get(struct iscsi_task *task, uint32_t length)
{
	struct buf_pool *pool = loop_buffers(task->conn->io->loop);
	const void *owner = scsi_buffers_owner(task->session->nexus, task->bhs + PDU_AT_LUN);

	for (unsigned i = 0; task->room < length; i++) {
		uint32_t size = smaller(length - task->room, BUF_MAX);

		if (task->bufs[i])
			continue;
		task->bufs[i] = buf_get_for(pool, task->room ? NULL : owner, size);
		if (!task->bufs[i])
			return false;
		task->room += size;
	}
	return true;
}

static void buffers_release(struct iscsi_task *task)
{
	for (unsigned i = 0; i < ISCSI_DATA_PIECES; i++) {
		buf_unref(task->bufs[i]);
		task->bufs[i] = NULL;
	}
	task->room = 0;
}

void transfer_wait_no_more(struct iscsi_task *task)
{
	if (task->waiting_for_buffers)
		(void)buf_wait_cancel(loop_buffers(task->conn->io->loop), &task->waiter);
	task->waiting_for_buffers = false;
}

/* Direct the coming payload to its place; what is beyond the room goes nowhere. */
static void land(struct iscsi_task *task, uint32_t offset, uint32_t length)
{
	struct iscsi_conn *conn = task->conn;

	while (length > 0 && offset < task->room) {
		uint32_t within = offset % BUF_MAX;
		uint32_t n = smaller(smaller(length, BUF_MAX - within), task->room - offset);

		conn_rx_iov(conn, (uint8_t *)task->bufs[offset / BUF_MAX]->data + within, n);
		offset += n;
		length -= n;
	}
	conn_rx_iov(conn, NULL, length);
}

void transfer_backlog(struct iscsi_task *task)
{
	task->conn->backlog -= task->backlog;
	task->backlog = 0;
}

void transfer_release(struct iscsi_task *task)
{
	transfer_wait_no_more(task);
	if (task->begun)
		scsi_task_end(&task->scsi);
	task->begun = false;
	transfer_backlog(task);
	buffers_release(task);
}

/* ---- the command arrives */

static bool take_cdb(struct iscsi_conn *conn, struct iscsi_task *task)
{
	struct scsi_task *scsi = &task->scsi;
	size_t at = 0;
	struct pdu_ahs ahs;
	int result;

	memcpy(scsi->cdb, conn->header + PDU_AT_CDB, 16);
	scsi->cdb_length = 16;
	while ((result = pdu_ahs_next(conn->header + PDU_BHS_LENGTH, pdu_ahs_length(conn->header),
				      &at, &ahs)) > 0) {
		if (ahs.type != PDU_AHS_EXTENDED_CDB)
			return false; /* bidirectional commands are not offered */
		if (ahs.length > SCSI_CDB_MAX - scsi->cdb_length)
			return false;
		memcpy(scsi->cdb + scsi->cdb_length, ahs.data, ahs.length);
		scsi->cdb_length += (unsigned)ahs.length;
	}
	return result == 0;
}

static bool immediate_data_allowed(const struct iscsi_conn *conn, const struct iscsi_task *task)
{
	uint32_t length = conn->payload_length;

	if (length == 0)
		return true;
	return task->write && conn->params.immediate_data && length <= task->edtl &&
	       length <= conn->params.first_burst;
}

static enum scsi_attribute attribute_of(uint8_t flags)
{
	switch (flags & PDU_ATTRIBUTES) {
	case 2:
		return SCSI_ORDERED;
	case 3:
		return SCSI_HEAD_OF_QUEUE;
	case 4:
		return SCSI_ACA;
	default:
		return SCSI_SIMPLE;
	}
}

bool transfer_command_header(struct iscsi_conn *conn, struct iscsi_task *task)
{
	uint8_t flags = task->bhs[PDU_AT_FLAGS];

	task->edtl = pdu_get32(task->bhs + PDU_AT_EDTL);
	task->read = (flags & PDU_READ) && task->edtl;
	task->write = (flags & PDU_WRITE) && task->edtl;
	task->unsolicited = task->write && !(flags & PDU_FINAL);
	if (!take_cdb(conn, task) || (task->read && task->write))
		return false;
	if (!immediate_data_allowed(conn, task))
		return false;
	if (!(flags & PDU_FINAL) && (!task->write || conn->params.initial_r2t))
		return false;
	if (conn->payload_length || task->unsolicited)
		task->no_buffers = !buffers_get(task, smaller(task->edtl, ISCSI_EXECUTE_BYTES_MAX));
	task->received = conn->payload_length;
	land(task, 0, conn->payload_length);
	return true;
}

/* ---- the command's turn */

static void scsi_done(struct scsi_task *scsi);

static void answer(struct iscsi_task *task)
{
	task->state = TASK_SENDING;
	session_queue(task);
}

static void fail_status(struct iscsi_task *task, enum scsi_status status)
{
	struct scsi_task *scsi = &task->scsi;

	if (task->begun)
		scsi_task_end(scsi);
	task->begun = false;
	scsi->status = status;
	scsi->sense_length = 0;
	scsi->finished = true;
	scsi->direction = SCSI_NO_DATA;
	scsi->data_in_length = scsi->data_in_count = 0;
	scsi->data_out_length = scsi->data_out_wanted = 0;
}

static void fail_sense(struct iscsi_task *task, uint8_t key, uint8_t asc, uint8_t ascq)
{
	struct scsi_task *scsi = &task->scsi;

	fail_status(task, SCSI_CHECK_CONDITION);
	memset(scsi->sense, 0, 18); /* fixed format, SPC-4 4.5.3 */
	scsi->sense[0] = 0x70;
	scsi->sense[2] = key;
	scsi->sense[7] = 10;
	scsi->sense[12] = asc;
	scsi->sense[13] = ascq;
	scsi->sense_length = 18;
}

void transfer_fail(struct iscsi_task *task, uint8_t key, uint8_t asc, uint8_t ascq)
{
	fail_sense(task, key, asc, ascq);
	list_remove(&task->tx_link);
	transfer_wait_no_more(task);
	answer(task);
}

void transfer_command(struct iscsi_task *task)
{
	struct scsi_task *scsi = &task->scsi;

	task->session->commands++;
	scsi->nexus = task->session->nexus;
	memcpy(scsi->lun, task->bhs + PDU_AT_LUN, 8);
	scsi->attribute = attribute_of(task->bhs[PDU_AT_FLAGS]);
	scsi->tag = task->itt;
	scsi->number = session_task_number(task);
	scsi->data_out_expected = task->write ? task->edtl : 0;
	scsi->data_in_expected = task->read ? task->edtl : 0;
	scsi->done = scsi_done;
	task->state = TASK_GATHERING;
	task->r2t_offset = task->received;
	if (task->no_buffers) {
		fail_status(task, SCSI_BUSY);
	} else {
		scsi_task_begin(scsi);
		task->begun = true;
		if (scsi->data_out_length > ISCSI_EXECUTE_BYTES_MAX)
			fail_sense(task, 5, 0x24, 0);
	}
	advance(task);
}

static void execute(struct iscsi_task *task)
{
	struct scsi_task *scsi = &task->scsi;
	uint32_t left = scsi->data_out_length;

	scsi->data_out_count = 0;
	for (unsigned i = 0; left > 0; i++) {
		uint32_t n = smaller(left, BUF_MAX);

		scsi->data_out[scsi->data_out_count++] = (struct iovec){task->bufs[i]->data, n};
		left -= n;
	}
	task->session->write_bytes += scsi->data_out_length;
	task->state = TASK_EXECUTING;
	scsi_task_execute(scsi);
}

static void buffer_ready(struct buf_waiter *waiter, struct buf *buf)
{
	struct iscsi_task *task = container_of(waiter, struct iscsi_task, waiter);

	task->bufs[task->room / BUF_MAX] = buf;
	task->room += (uint32_t)waiter->size;
	task->waiting_for_buffers = false;
	advance(task);
}

/* What comes next for a task that gathers: wait, ask for more, answer, or run. */
static void advance(struct iscsi_task *task)
{
	struct scsi_task *scsi = &task->scsi;

	if (task->unsolicited || task->r2t_active > 0 || task->waiting_for_buffers)
		return;
	if (task->conn->state != CONN_FULL_FEATURE)
		return; /* given up: it goes with its connection */
	if (task->crc_failed && !scsi->finished)
		fail_sense(task, SENSE_ABORTED_COMMAND, 0x47, 0x05);
	if (scsi->finished) {
		answer(task);
		return;
	}
	if (task->r2t_offset >= scsi->data_out_length) {
		execute(task);
		return;
	}
	if (!buffers_get(task, scsi->data_out_length)) {
		task->waiting_for_buffers = true;
		task->waiter = (struct buf_waiter){
		    .size = smaller(scsi->data_out_length - task->room, BUF_MAX),
		    .owner = scsi_buffers_owner(task->session->nexus, task->bhs + PDU_AT_LUN),
		    .stage = BUF_FOR_INPUT,
		    .ready = buffer_ready,
		};
		buf_wait(loop_buffers(task->conn->io->loop), &task->waiter);
		return;
	}
	session_queue(task); /* makes R2Ts */
}

/* ---- Data-Out */

static struct iscsi_r2t *find_r2t(struct iscsi_task *task, uint32_t ttt)
{
	for (unsigned i = 0; i < KEYS_R2T_MAX; i++)
		if (task->r2ts[i].active && task->r2ts[i].ttt == ttt)
			return &task->r2ts[i];
	return NULL;
}

static bool unsolicited_good(const struct iscsi_task *task, uint32_t datasn, uint32_t offset,
			     uint32_t length)
{
	const struct iscsi_params *params = &task->conn->params;
	uint32_t burst = smaller(params->first_burst, task->edtl);

	return task->unsolicited && datasn == task->unsolicited_datasn &&
	       offset == task->received && offset <= burst && length <= burst - offset;
}

/* DataPDUInOrder: every byte of a sequence in order; the last PDU says F, and no other. */
static bool solicited_good(const struct iscsi_r2t *r2t, uint32_t datasn, uint32_t offset,
			   uint32_t length, bool final)
{
	uint32_t left = r2t->length - r2t->received;

	return datasn == r2t->datasn && offset == r2t->offset + r2t->received && length > 0 &&
	       length <= left && final == (length == left);
}

static bool data_out_refused(struct iscsi_conn *conn, enum pdu_reject_reason reason)
{
	conn->rx_task = NULL;
	conn_rx_iov(conn, NULL, conn->payload_length);
	if (!session_itt_aborted(conn->session, pdu_get32(conn->header + PDU_AT_ITT)))
		conn_reject(conn, reason);
	return true;
}

/* A sequence error can not be mended at ERL 0: the command fails, what is still under way for it
 * is swallowed, the session lives. */
static bool data_out_broken(struct iscsi_conn *conn, struct iscsi_task *task)
{
	data_out_refused(conn, PDU_REJECT_PROTOCOL_ERROR);
	session_was_aborted(conn->session, task->itt);
	task->unsolicited = false;
	task->r2t_active = 0;
	memset(task->r2ts, 0, sizeof(task->r2ts));
	transfer_fail(task, SENSE_ABORTED_COMMAND, 0x4b, 0x00);
	return true;
}

bool transfer_data_out_header(struct iscsi_conn *conn)
{
	const uint8_t *bhs = conn->header;
	uint32_t ttt = pdu_get32(bhs + PDU_AT_TTT), datasn = pdu_get32(bhs + PDU_AT_DATASN);
	uint32_t offset = pdu_get32(bhs + PDU_AT_OFFSET), length = conn->payload_length;
	struct iscsi_task *task = session_find(conn->session, pdu_get32(bhs + PDU_AT_ITT));
	bool final = bhs[PDU_AT_FLAGS] & PDU_FINAL, good;

	if (!task || task->conn != conn ||
	    (task->state != TASK_GATHERING && task->state != TASK_HELD))
		return data_out_refused(conn, PDU_REJECT_INVALID_FIELD);
	if (ttt == PDU_TAG_NONE) {
		good = unsolicited_good(task, datasn, offset, length) && (length > 0 || final);
	} else {
		conn->rx_r2t = find_r2t(task, ttt);
		if (!conn->rx_r2t)
			return data_out_refused(conn, PDU_REJECT_INVALID_FIELD);
		good = solicited_good(conn->rx_r2t, datasn, offset, length, final);
	}
	if (!good && task->state == TASK_HELD)
		return data_out_refused(conn, PDU_REJECT_PROTOCOL_ERROR);
	if (!good)
		return data_out_broken(conn, task);
	conn->rx_task = task;
	land(task, offset, length);
	return true;
}

void transfer_data_out(struct iscsi_conn *conn, bool digest_good)
{
	struct iscsi_task *task = conn->rx_task;
	struct iscsi_r2t *r2t = conn->rx_r2t;
	uint32_t length = conn->payload_length;
	bool final = conn->header[PDU_AT_FLAGS] & PDU_FINAL;

	conn->rx_task = NULL;
	if (!digest_good) {
		conn_reject(conn, PDU_REJECT_DATA_DIGEST);
		task->crc_failed = true;
	}
	task->received += length;
	if (!r2t) {
		task->unsolicited_datasn++;
		task->unsolicited = !final;
		task->r2t_offset = task->received;
		if (task->state == TASK_GATHERING)
			advance(task);
		return;
	}
	r2t->datasn++;
	r2t->received += length;
	if (!final)
		return;
	r2t->active = false;
	task->r2t_active--;
	if (task->r2t_offset < task->scsi.data_out_length && !task->crc_failed)
		session_queue(task); /* the next R2T */
	else
		advance(task);
}

/* ---- R2T */

/* True when no (further) R2T may go out now. */
static bool make_r2t(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	const struct iscsi_params *params = &conn->params;
	uint32_t total = task->scsi.data_out_length;
	struct iscsi_r2t *r2t = task->r2ts;
	struct iscsi_out *out;

	if (task->r2t_active >= params->max_outstanding_r2t || task->r2t_offset >= total)
		return true;
	while (r2t->active)
		r2t++;
	out = conn_out(conn, PDU_R2T);
	if (!out)
		return true;
	*r2t = (struct iscsi_r2t){
	    .ttt = session_ttt(conn->session),
	    .offset = task->r2t_offset,
	    .length = smaller(total - task->r2t_offset, params->max_burst),
	    .active = true,
	};
	task->r2t_active++;
	task->r2t_offset += r2t->length;
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	memcpy(out->bhs + PDU_AT_LUN, task->bhs + PDU_AT_LUN, 8);
	pdu_put32(out->bhs + PDU_AT_ITT, task->itt);
	pdu_put32(out->bhs + PDU_AT_TTT, r2t->ttt);
	pdu_put32(out->bhs + PDU_AT_DATASN, task->r2tsn++);
	pdu_put32(out->bhs + PDU_AT_OFFSET, r2t->offset);
	pdu_put32(out->bhs + PDU_AT_RESIDUAL, r2t->length);
	conn_send(conn, out, NULL, 0, false);
	return false;
}

/* ---- the answer */

static bool succeeded(const struct scsi_task *scsi)
{
	return scsi->status == SCSI_GOOD || scsi->status == SCSI_CONDITION_MET;
}

static uint32_t data_in_total(const struct iscsi_task *task)
{
	const struct scsi_task *scsi = &task->scsi;

	return succeeded(scsi) && task->read ? smaller(scsi->data_in_length, task->edtl) : 0;
}

/* RFC 7143 11.4.5: how much more or less the command moved than EDTL said. */
static void put_residual(struct iscsi_task *task, uint8_t *bhs)
{
	const struct scsi_task *scsi = &task->scsi;
	uint32_t wanted = task->write ? scsi->data_out_wanted : scsi->data_in_length;

	if (!task->write && scsi->data_out_wanted > wanted)
		wanted = scsi->data_out_wanted; /* a write without the W bit */
	if (!succeeded(scsi) && !task->write)
		wanted = 0;
	if (wanted > task->edtl) {
		bhs[PDU_AT_FLAGS] |= PDU_OVERFLOW;
		pdu_put32(bhs + PDU_AT_RESIDUAL, wanted - task->edtl);
	} else if (wanted < task->edtl && (task->read || task->write)) {
		bhs[PDU_AT_FLAGS] |= PDU_UNDERFLOW;
		pdu_put32(bhs + PDU_AT_RESIDUAL, task->edtl - wanted);
	}
}

/* The pieces of data-in at [sent, sent + *length): at most two, *length is cut to fit. */
static unsigned find_pieces(const struct iscsi_task *task, uint32_t *length, struct iovec iov[2])
{
	const struct scsi_task *scsi = &task->scsi;
	size_t skip = task->sent, want = *length;
	unsigned count = 0;

	for (unsigned i = 0; i < scsi->data_in_count && want > 0 && count < 2; i++) {
		const struct iovec *piece = &scsi->data_in[i];
		size_t n;

		if (skip >= piece->iov_len) {
			skip -= piece->iov_len;
			continue;
		}
		n = piece->iov_len - skip < want ? piece->iov_len - skip : want;
		iov[count++] = (struct iovec){(uint8_t *)piece->iov_base + skip, n};
		skip = 0;
		want -= n;
	}
	*length -= (uint32_t)want;
	return count;
}

/* Returns true when this PDU also carried the status: the command is over. */
static bool make_data_in(struct iscsi_task *task, uint32_t total)
{
	struct iscsi_conn *conn = task->conn;
	uint32_t limit = smaller(conn->params.send_max, DATA_IN_MAX);
	uint32_t length =
	    smaller(smaller(total - task->sent, limit), conn->params.max_burst - task->burst);
	struct iovec iov[2];
	unsigned count = find_pieces(task, &length, iov);
	bool last = task->sent + length >= total, status = last && task->scsi.status == SCSI_GOOD;
	struct iscsi_out *out;

	if (status)
		session_task_done(task);
	out = conn_out(conn, PDU_DATA_IN);
	if (!out)
		return true;
	pdu_put32(out->bhs + PDU_AT_ITT, task->itt);
	pdu_put32(out->bhs + PDU_AT_TTT, PDU_TAG_NONE);
	pdu_put32(out->bhs + PDU_AT_DATASN, task->datasn++);
	pdu_put32(out->bhs + PDU_AT_OFFSET, task->sent);
	task->sent += length;
	task->burst += length;
	if (last || task->burst >= conn->params.max_burst) {
		out->bhs[PDU_AT_FLAGS] |= PDU_FINAL;
		task->burst = 0;
	}
	if (status) {
		out->bhs[PDU_AT_FLAGS] |= PDU_DATA_IN_STATUS;
		out->bhs[3] = SCSI_GOOD;
		put_residual(task, out->bhs);
		out->task = task;
	}
	conn_send(conn, out, iov, count, status);
	return status;
}

static void make_response(struct iscsi_task *task)
{
	struct iscsi_conn *conn = task->conn;
	struct scsi_task *scsi = &task->scsi;
	struct iscsi_out *out;
	struct iovec data[2];

	session_task_done(task);
	out = conn_out(conn, PDU_SCSI_RESPONSE);
	if (!out)
		return;
	out->task = task;
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	out->bhs[3] = (uint8_t)scsi->status;
	pdu_put32(out->bhs + PDU_AT_ITT, task->itt);
	pdu_put32(out->bhs + PDU_AT_DATASN, task->datasn + task->r2tsn);
	put_residual(task, out->bhs);
	if (scsi->status == SCSI_CHECK_CONDITION && scsi->sense_length) {
		pdu_put16(out->small, (uint16_t)scsi->sense_length);
		data[0] = (struct iovec){out->small, 2};
		data[1] = (struct iovec){scsi->sense, scsi->sense_length};
		conn_send(conn, out, data, 2, true);
		return;
	}
	conn_send(conn, out, NULL, 0, true);
}

bool transfer_make_pdu(struct iscsi_task *task)
{
	uint32_t total;

	if (task->state == TASK_GATHERING)
		return make_r2t(task);
	total = data_in_total(task);
	if (task->sent < total)
		return make_data_in(task, total);
	make_response(task);
	return true;
}

static void scsi_done(struct scsi_task *scsi)
{
	struct iscsi_task *task = container_of(scsi, struct iscsi_task, scsi);
	struct iscsi_conn *conn = task->conn;

	task->state = TASK_SENDING;
	if (scsi->aborted || conn->state != CONN_FULL_FEATURE) {
		session_task_free(task);
		return;
	}
	buffers_release(task); /* data-out is written */
	task->backlog = data_in_total(task);
	conn->backlog += task->backlog;
	task->session->read_bytes += task->backlog;
	session_queue(task);
	if (conn->backlog > ISCSI_BACKLOG_MAX)
		conn_update_pause(conn);
}
