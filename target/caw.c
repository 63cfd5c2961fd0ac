/* SPDX-License-Identifier: Apache-2.0 */
/* caw.c: commands that are one step to everybody else: COMPARE AND WRITE (SBC-3 5.2), which
 * clusters take their locks with, ORWRITE (SBC-3 5.7) and WRITE ATOMIC (SBC-4 5.44). Each holds
 * its blocks exclusively while it reads, decides and writes; the write is atomic to a power loss
 * where the command promises it. */
#include "target/internal.h"

#define CDB_FUA 0x08

static unsigned write_flags(const struct scsi_task *task, unsigned atomic)
{
	return task_write_flags(task, task->cdb[1] & CDB_FUA) | atomic;
}

/* Half an atomic write is none. */
static bool has_all_data(struct scsi_task *task)
{
	if (task->data_out_length == task->data_out_wanted)
		return true;
	task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD_IN_IU);
	return false;
}

static void lock_blocks(struct scsi_task *task, void (*next)(struct scsi_task *task))
{
	task_lock(task, task->lba, task->blocks, next);
}

static void read_blocks(struct scsi_task *task, void (*next)(struct scsi_task *task))
{
	task->request_iov[0] = (struct iovec){task->buffer->data, task->blocks << SCSI_BLOCK_SHIFT};
	task->request.iov = task->request_iov;
	task->request.iov_count = 1;
	task_volume(task, VOLUME_READ, task->lba, task->blocks, 0, next);
}

/* ---- COMPARE AND WRITE: data-out is what must be there, then what shall be there. */

bool caw_decode(struct scsi_task *task)
{
	/* What must be whole after a power loss: a device that gives no such word keeps one block.
	 */
	if (!block_decode_limited(task, task->itl->lu->volume->torn ? 1 : SCSI_COMPARE_BLOCKS))
		return false;
	task->direction = task->blocks ? SCSI_DATA_OUT : SCSI_NO_DATA;
	task->data_out_wanted = (uint32_t)(2 * task->blocks << SCSI_BLOCK_SHIFT);
	/* More or less than the two halves: the CDB does not say what was meant. */
	return task->data_out_expected == task->data_out_wanted ||
	       sense_set_cdb_field(task, 13, -1);
}

static void compare(struct scsi_task *task)
{
	size_t bytes = task->blocks << SCSI_BLOCK_SHIFT;
	size_t same = verify_same(task, 0, task->buffer->data, bytes);

	if (same < bytes) {
		sense_set_information(task, SENSE_MISCOMPARE, ASC_MISCOMPARE, same);
		task_finish(task);
		return;
	}
	block_use_data_out(task, bytes, bytes);
	/* Whatever FUA and the write cache say: it is a lock that was taken, and one that was given
	 * and is lost in a crash is given twice. */
	task_volume(task, VOLUME_WRITE, task->lba, task->blocks, VOLUME_ATOMIC | VOLUME_FUA,
		    task_finish);
}

static void read_to_compare(struct scsi_task *task)
{
	read_blocks(task, compare);
}

static void lock_to_compare(struct scsi_task *task)
{
	lock_blocks(task, read_to_compare);
}

void caw_execute(struct scsi_task *task)
{
	if (task->blocks == 0)
		task_finish(task);
	else
		task_get_buffer(task, task->blocks << SCSI_BLOCK_SHIFT, lock_to_compare);
}

/* ---- ORWRITE: data-out is set in what is there. */

static void set_bits(struct scsi_task *task)
{
	uint8_t *medium = task->buffer->data;

	for (unsigned i = 0; i < task->data_out_count; i++) {
		const uint8_t *bits = task->data_out[i].iov_base;

		for (size_t at = 0; at < task->data_out[i].iov_len; at++)
			medium[at] |= bits[at];
		medium += task->data_out[i].iov_len;
	}
	task_volume(task, VOLUME_WRITE, task->lba, task->blocks, write_flags(task, 0), task_finish);
}

static void read_to_or(struct scsi_task *task)
{
	read_blocks(task, set_bits);
}

static void lock_to_or(struct scsi_task *task)
{
	lock_blocks(task, read_to_or);
}

void orwrite_execute(struct scsi_task *task)
{
	if (task->blocks == 0)
		task_finish(task);
	else if (has_all_data(task))
		task_get_buffer(task, task->blocks << SCSI_BLOCK_SHIFT, lock_to_or);
}

/* ---- WRITE ATOMIC(16): VPD page B0h says what length, and that there are no atomic
 * boundaries. */

bool atomic_decode(struct scsi_task *task)
{
	if (!block_decode_lba(task))
		return false;
	if (task->blocks > (task->itl->lu->volume->torn ? 0 : SCSI_TRANSFER_BLOCKS))
		return sense_set_cdb_field(task, 12, -1);
	task->direction = task->blocks ? SCSI_DATA_OUT : SCSI_NO_DATA;
	task->data_out_wanted = (uint32_t)(task->blocks << SCSI_BLOCK_SHIFT);
	return true;
}

static void write_atomic(struct scsi_task *task)
{
	block_use_data_out(task, 0, task->data_out_length);
	task_volume(task, VOLUME_WRITE, task->lba, task->blocks, write_flags(task, VOLUME_ATOMIC),
		    task_finish);
}

void atomic_execute(struct scsi_task *task)
{
	if (task->blocks == 0)
		task_finish(task);
	else if (has_all_data(task))
		lock_blocks(task, write_atomic);
}
