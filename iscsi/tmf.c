/* SPDX-License-Identifier: Apache-2.0 */
/* tmf.c: task management (RFC 7143 11.5, 11.6; RFC 7144 4). Commands that still gather data are
 * ended here; what has been executed is target/'s to abort, and the answer waits for that. */
#include "iscsi/internal.h"

enum tmf_reply { /* RFC 7143 11.6.1 */
		 TMF_COMPLETE = 0,
		 TMF_NO_TASK = 1,
		 TMF_NO_LUN = 2,
		 TMF_REASSIGN_NOT_SUPPORTED = 4,
		 TMF_NOT_SUPPORTED = 5,
		 TMF_SUCCEEDED = 7,
		 TMF_REJECTED = 255,
};

enum tmf_reach { REACH_TASK, REACH_LUN, REACH_ALL, REACH_NOTHING };

static const struct tmf_row {
	uint8_t function;
	enum scsi_tmf scsi;
	enum tmf_reach ends; /* which gathering tasks it ends */
} rows[] = {
    {1, SCSI_ABORT_TASK, REACH_TASK},
    {2, SCSI_ABORT_TASK_SET, REACH_LUN},
    {3, SCSI_CLEAR_ACA, REACH_NOTHING},
    {4, SCSI_CLEAR_TASK_SET, REACH_LUN},
    {5, SCSI_LOGICAL_UNIT_RESET, REACH_LUN},
    {6, SCSI_TARGET_WARM_RESET, REACH_ALL},
    {7, SCSI_TARGET_COLD_RESET, REACH_ALL},
    {9, SCSI_QUERY_TASK, REACH_NOTHING},
    {10, SCSI_QUERY_TASK_SET, REACH_NOTHING},
    {11, SCSI_NEXUS_RESET, REACH_ALL},
    {12, SCSI_QUERY_ASYNC_EVENT, REACH_NOTHING},
};

#define TASK_REASSIGN 8

static const struct tmf_row *find_row(uint8_t function)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].function == function)
			return &rows[i];
	return NULL;
}

static void answer(struct iscsi_task *task, enum tmf_reply reply)
{
	task->response = (uint8_t)reply;
	task->state = TASK_SENDING;
	session_queue(task);
}

static bool not_executed(const struct iscsi_task *task)
{
	return pdu_opcode(task->bhs) == PDU_SCSI_COMMAND && !task->dropped &&
	       (task->state == TASK_GATHERING || task->state == TASK_HELD);
}

static bool same_lun(const struct iscsi_task *a, const struct iscsi_task *b)
{
	for (unsigned i = 0; i < 8; i++)
		if (a->bhs[PDU_AT_LUN + i] != b->bhs[PDU_AT_LUN + i])
			return false;
	return true;
}

/* Commands the initiator sent after the function are not touched. */
static bool reaches(const struct iscsi_task *tmf, const struct iscsi_task *task,
		    enum tmf_reach reach)
{
	if (!not_executed(task) || !pdu_sn_before(session_task_number(task), tmf->order.cmdsn))
		return false;
	return reach == REACH_ALL || (reach == REACH_LUN && same_lun(tmf, task));
}

static struct iscsi_task *next_reached(struct iscsi_task *tmf, enum tmf_reach reach)
{
	list_for_each (it, &tmf->session->tasks) {
		struct iscsi_task *task = list_entry(it, struct iscsi_task, link);

		if (task != tmf && reaches(tmf, task, reach))
			return task;
	}
	return NULL;
}

/* Ending one may end others: search anew each time. */
static void end_gathering(struct iscsi_task *tmf, enum tmf_reach reach)
{
	struct iscsi_task *task;

	while ((task = next_reached(tmf, reach)))
		session_task_drop(task);
}

static void answered(struct scsi_tmf_request *request, enum scsi_tmf_response response)
{
	static const enum tmf_reply replies[] = {
	    [SCSI_TMF_COMPLETE] = TMF_COMPLETE,           [SCSI_TMF_SUCCEEDED] = TMF_SUCCEEDED,
	    [SCSI_TMF_NO_SUCH_TASK] = TMF_NO_TASK,        [SCSI_TMF_NO_SUCH_LUN] = TMF_NO_LUN,
	    [SCSI_TMF_NOT_SUPPORTED] = TMF_NOT_SUPPORTED, [SCSI_TMF_REJECTED] = TMF_REJECTED,
	};
	struct iscsi_task *task = container_of(request, struct iscsi_task, tmf);
	bool cold = request->function == SCSI_TARGET_COLD_RESET && response == SCSI_TMF_COMPLETE;

	if (cold)
		server_reset_target(task->conn);
	answer(task, replies[response]);
}

static void submit(struct iscsi_task *task, enum scsi_tmf function)
{
	struct scsi_tmf_request *request = &task->tmf;

	request->function = function;
	request->nexus = task->session->nexus;
	for (unsigned i = 0; i < 8; i++)
		request->lun[i] = task->bhs[PDU_AT_LUN + i];
	request->tag = pdu_get32(task->bhs + PDU_AT_REFERENCED_TAG);
	/* Over several connections what was sent after the function may have come before it: it has
	 * to be answered (RFC 7143 11.5.1). */
	request->overtaken = function != SCSI_ABORT_TASK && task->session->active > 1;
	request->before = task->order.cmdsn;
	request->answered = answered;
	task->state = TASK_EXECUTING;
	scsi_tmf_submit(request);
}

/* RFC 7143 11.5.5: a task that never arrived, although its RefCmdSN lies in the window, counts
 * as received and aborted; one outside the window does not exist. */
static void abort_unknown(struct iscsi_task *task)
{
	struct order *order = &task->session->order;
	uint32_t cmdsn = pdu_get32(task->bhs + PDU_AT_REFERENCED_CMDSN);
	bool coming = pdu_window_place(&order->window, cmdsn) != PDU_WINDOW_OUTSIDE &&
		      pdu_sn_before(cmdsn, task->order.cmdsn);

	if (coming) {
		session_was_aborted(task->session, pdu_get32(task->bhs + PDU_AT_REFERENCED_TAG));
		order_plug(order, cmdsn);
	}
	answer(task, coming ? TMF_COMPLETE : TMF_NO_TASK);
}

static void abort_task(struct iscsi_task *task)
{
	uint32_t tag = pdu_get32(task->bhs + PDU_AT_REFERENCED_TAG);
	struct iscsi_task *other = session_find(task->session, tag);

	task->fenced = other && other->conn != task->conn;
	if (!other || other->state == TASK_RECEIVING) {
		abort_unknown(task);
	} else if (other == task || pdu_opcode(other->bhs) != PDU_SCSI_COMMAND) {
		answer(task, TMF_NO_TASK);
	} else if (not_executed(other)) {
		session_task_drop(other);
		answer(task, TMF_COMPLETE);
	} else if (other->state == TASK_EXECUTING) {
		submit(task, SCSI_ABORT_TASK);
	} else {
		answer(task, TMF_NO_TASK); /* its answer is on the way */
	}
}

bool tmf_waits_for_others(const struct iscsi_task *task)
{
	const struct tmf_row *row = find_row(task->bhs[PDU_AT_FLAGS] & 0x7f);

	return pdu_opcode(task->bhs) == PDU_TASK_MANAGEMENT && row &&
	       (row->ends == REACH_LUN || row->ends == REACH_ALL);
}

void tmf_request(struct iscsi_task *task)
{
	uint8_t function = task->bhs[PDU_AT_FLAGS] & 0x7f;
	const struct tmf_row *row = find_row(function);

	if (function == TASK_REASSIGN) {
		answer(task, TMF_REASSIGN_NOT_SUPPORTED);
		return;
	}
	if (!row || (function > TASK_REASSIGN && task->conn->params.protocol_level < 2)) {
		answer(task, TMF_NOT_SUPPORTED);
		return;
	}
	if (row->ends == REACH_TASK) {
		abort_task(task);
		return;
	}
	task->fenced = row->ends != REACH_NOTHING;
	end_gathering(task, row->ends);
	submit(task, row->scsi);
}

void tmf_make_pdu(struct iscsi_task *task)
{
	struct iscsi_out *out;

	session_task_done(task);
	out = conn_out(task->conn, PDU_TASK_MANAGEMENT_RESPONSE);
	if (!out)
		return;
	out->task = task;
	out->bhs[PDU_AT_FLAGS] = PDU_FINAL;
	out->bhs[2] = task->response;
	pdu_put32(out->bhs + PDU_AT_ITT, task->itt);
	conn_send(task->conn, out, NULL, 0, true);
}
