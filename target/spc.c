/* SPDX-License-Identifier: Apache-2.0 */
/* spc.c: the small commands of SPC-4: TEST UNIT READY, REQUEST SENSE, REPORT LUNS, and the
 * RESERVE(6) / RELEASE(6) of SPC-2. */
#include <stdio.h>
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

bool spc_decode_none(struct scsi_task *task)
{
	(void)task;
	return true;
}

static bool takes(struct scsi_task *task, uint32_t allocation)
{
	task->direction = allocation ? SCSI_DATA_IN : SCSI_NO_DATA;
	task->allocation = allocation;
	return true;
}

bool spc_decode_inquiry(struct scsi_task *task)
{
	return takes(task, get_be16(task->cdb + 3));
}

bool spc_decode_alloc8(struct scsi_task *task)
{
	return takes(task, task->cdb[4]);
}

bool spc_decode_alloc16(struct scsi_task *task)
{
	return takes(task, get_be16(task->cdb + 7));
}

bool spc_decode_alloc32(struct scsi_task *task)
{
	return takes(task, get_be32(task->cdb + 6));
}

void spc_test_unit_ready(struct scsi_task *task)
{
	task_finish(task);
}

/* SPC-4 6.39: a pending unit attention is delivered as parameter data and cleared. */
void spc_request_sense(struct scsi_task *task)
{
	struct sense sense = {.key = SENSE_NONE};
	uint8_t *data = task->buffer->data;

	if (!task->itl) {
		sense.key = SENSE_ILLEGAL_REQUEST;
		sense.asc = ASC_LUN_NOT_SUPPORTED;
	} else {
		sense.asc = attention_take(task->itl);
		if (sense.asc)
			sense.key = SENSE_UNIT_ATTENTION;
		else
			sanitize_sense(task->itl->lu, &sense);
	}
	task_reply(task, sense_build(&sense, task->cdb[1] & 1, data));
}

/* SPC-4 6.33. There are no well known logical units. */
void spc_report_luns(struct scsi_task *task)
{
	struct scsi_target *target = task->nexus->target;
	uint8_t *data = task->buffer->data, select = task->cdb[2];
	uint32_t count = 0;

	if (select > 2) {
		sense_set_cdb_field(task, 2, -1);
		task_finish(task);
		return;
	}
	attention_clear_everywhere(task->nexus, ATTENTION_LUNS_CHANGED);
	topology_lock();
	if (select != 1)
		list_for_each (it, &target->mappings) {
			const struct scsi_lun_mapping *mapping =
			    list_entry(it, struct scsi_lun_mapping, target_link);

			if (nexus_itl(task->nexus, mapping))
				lun_encode(mapping->lun, data + 8 + 8 * (size_t)count++);
		}
	topology_unlock();
	put_be32(data, count * 8);
	task_reply(task, 8 + count * 8);
}

/* SPC-2 7.21: the whole logical unit, by nobody but the asking nexus. */
void spc_reserve(struct scsi_task *task)
{
	struct scsi_lu *lu = task->itl->lu;

	pthread_mutex_lock(&lu->lock);
	if (pr_settles_reserve6(task)) {
		/* nothing to do */
	} else if (lu->holder && lu->holder != task->nexus) {
		task->status = SCSI_RESERVATION_CONFLICT;
	} else {
		snprintf(lu->reservation, sizeof(lu->reservation), "RESERVE(6) by %s",
			 task->nexus->initiator_port);
		__atomic_store_n(&lu->holder, task->nexus, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lu->lock);
	task_finish(task);
}

/* SPC-2 7.17: releasing what one does not hold is no error. */
void spc_release(struct scsi_task *task)
{
	struct scsi_lu *lu = task->itl->lu;
	bool settled;

	pthread_mutex_lock(&lu->lock);
	settled = pr_settles_reserve6(task);
	pthread_mutex_unlock(&lu->lock);
	if (!settled)
		lu_release_reservation(lu, task->nexus);
	task_finish(task);
}
