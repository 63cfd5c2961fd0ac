/* SPDX-License-Identifier: Apache-2.0 */
/* tmf.c: task management (RFC 7143 11.5, 11.6). Tasks that have not been executed are ended
 * here; target/ ends the others and says when all of them are through. */
#include <string.h>

#include "core/heap.h"
#include "iscsi/internal.h"

#define TMF_MAX 16u /* under way on one connection */

enum response {
	COMPLETE,
	NO_TASK,
	NO_LUN,
	STILL_ALLEGIANT,
	NO_REASSIGN,
	NOT_SUPPORTED,
	REJECTED = 255
};

/* Function codes of RFC 7143 11.5.1 and RFC 7144. -1: not ours. */
static int function_of(uint8_t code)
{
	switch (code) {
	case 1:
		return SCSI_ABORT_TASK;
	case 2:
		return SCSI_ABORT_TASK_SET;
	case 3:
		return SCSI_CLEAR_ACA;
	case 4:
		return SCSI_CLEAR_TASK_SET;
	case 5:
		return SCSI_LOGICAL_UNIT_RESET;
	case 6:
		return SCSI_TARGET_WARM_RESET;
	case 7:
		return SCSI_TARGET_COLD_RESET;
	case 9:
		return SCSI_QUERY_TASK;
	case 10:
		return SCSI_QUERY_TASK_SET;
	case 11:
		return SCSI_NEXUS_RESET;
	case 12:
		return SCSI_QUERY_ASYNC_EVENT;
	default:
		return -1;
	}
}

static void respond(struct iscsi_conn *conn, uint32_t itt, uint8_t code)
{
	struct iscsi_reply *reply = reply_new(conn, PDU_TASK_MANAGEMENT_RESPONSE, PDU_FINAL, itt);

	if (!reply)
		return;
	reply->header[2] = code;
	pdu_put32(reply->header + PDU_AT_TTT, 0);
	reply_send(reply, NULL, 0, 0, true);
}

static uint8_t response_code(enum scsi_tmf_response response)
{
	switch (response) {
	case SCSI_TMF_COMPLETE:
		return COMPLETE;
	case SCSI_TMF_SUCCEEDED:
		return 7; /* RFC 7144 4.2: function succeeded */
	case SCSI_TMF_NO_SUCH_TASK:
		return NO_TASK;
	case SCSI_TMF_NO_SUCH_LUN:
		return NO_LUN;
	case SCSI_TMF_NOT_SUPPORTED:
		return NOT_SUPPORTED;
	default:
		return REJECTED;
	}
}

static void answered(struct scsi_tmf_request *scsi, enum scsi_tmf_response response)
{
	struct iscsi_tmf *tmf = container_of(scsi, struct iscsi_tmf, scsi);
	struct iscsi_conn *conn = tmf->conn;

	if (conn->phase != CONN_CLOSING) {
		respond(conn, tmf->itt, response_code(response));
		/* RFC 7143 11.5.1: a cold reset ends all sessions; ours is one of them. */
		if (scsi->function == SCSI_TARGET_COLD_RESET && response == SCSI_TMF_COMPLETE)
			conn_finish(conn);
	}
	list_remove(&tmf->link);
	heap_free(tmf);
	conn->tmf_count--;
	conn_maybe_free(conn);
}

/* Is @task, not executed yet, what @function is about? */
static bool concerns(const struct iscsi_task *task, enum scsi_tmf function, uint32_t tag,
		     const uint8_t *lun)
{
	if (task->state != ISCSI_TASK_QUEUED && task->state != ISCSI_TASK_GATHERING)
		return false;
	switch (function) {
	case SCSI_ABORT_TASK:
		return task->itt == tag;
	case SCSI_ABORT_TASK_SET:
	case SCSI_CLEAR_TASK_SET:
	case SCSI_LOGICAL_UNIT_RESET:
		return memcmp(task->scsi.lun, lun, 8) == 0;
	case SCSI_TARGET_WARM_RESET:
	case SCSI_TARGET_COLD_RESET:
	case SCSI_NEXUS_RESET:
		return true;
	default:
		return false;
	}
}

static bool drop_ungathered(struct iscsi_conn *conn, enum scsi_tmf function, uint32_t tag,
			    const uint8_t *lun)
{
	bool any = false;

	list_for_each_safe (link, &conn->tasks) {
		struct iscsi_task *task = list_entry(link, struct iscsi_task, link);

		if (!concerns(task, function, tag, lun))
			continue;
		any = true;
		task_drop(task);
	}
	return any;
}

static bool query_ungathered(const struct iscsi_conn *conn, uint32_t tag)
{
	list_for_each (link, &conn->tasks) {
		const struct iscsi_task *task = list_entry(link, struct iscsi_task, link);

		if (task->itt == tag && task->state <= ISCSI_TASK_GATHERING)
			return true;
	}
	return false;
}

static void run(struct iscsi_conn *conn, enum scsi_tmf function)
{
	const uint8_t *header = conn->header;
	uint32_t tag = pdu_get32(header + PDU_AT_REFERENCED_TAG);
	uint32_t itt = pdu_get32(header + PDU_AT_ITT);
	struct iscsi_tmf *tmf;

	if (drop_ungathered(conn, function, tag, header + PDU_AT_LUN) &&
	    function == SCSI_ABORT_TASK) {
		respond(conn, itt, COMPLETE);
		return;
	}
	if (function == SCSI_QUERY_TASK && query_ungathered(conn, tag)) {
		respond(conn, itt, 7);
		return;
	}
	tmf = conn->tmf_count < TMF_MAX ? heap_zalloc(sizeof(*tmf)) : NULL;
	if (!tmf) {
		respond(conn, itt, REJECTED);
		return;
	}
	tmf->conn = conn;
	tmf->itt = itt;
	tmf->scsi.function = function;
	tmf->scsi.nexus = conn->nexus;
	tmf->scsi.tag = tag;
	tmf->scsi.answered = answered;
	memcpy(tmf->scsi.lun, header + PDU_AT_LUN, 8);
	list_push_back(&conn->tmfs, &tmf->link);
	conn->tmf_count++;
	scsi_tmf_submit(&tmf->scsi);
}

void tmf_pdu(struct iscsi_conn *conn)
{
	const uint8_t *header = conn->header;
	uint8_t code = header[PDU_AT_FLAGS] & 0x7f;
	uint32_t cmdsn = pdu_get32(header + PDU_AT_CMDSN);
	int function = function_of(code);

	if (!pdu_immediate(header)) {
		if (pdu_window_place(&conn->window, cmdsn) != PDU_WINDOW_NEXT)
			return; /* outside: dropped in silence */
		conn->window.expected++;
		conn->window.maximum++;
	}
	if (!conn->nexus || conn->phase != CONN_FULL)
		reply_reject(conn, PDU_REJECT_PROTOCOL_ERROR);
	else if (code == 8) /* TASK REASSIGN needs ERL 2 */
		respond(conn, pdu_get32(header + PDU_AT_ITT), NO_REASSIGN);
	else if (function < 0)
		respond(conn, pdu_get32(header + PDU_AT_ITT), NOT_SUPPORTED);
	else
		run(conn, (enum scsi_tmf)function);
	if (conn->phase != CONN_CLOSING)
		command_advance(conn);
}
