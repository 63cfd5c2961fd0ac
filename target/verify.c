/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c: VERIFY and WRITE AND VERIFY (SBC-3 5.27, 5.38), which really read the medium, and
 * really compare when BYTCHK says so. */
#include <string.h>

#include "target/internal.h"

#define BYTCHK_SHIFT 1
#define BYTCHK_NONE  0 /* the medium can be read */
#define BYTCHK_ALL   1 /* ... and is what data-out says */
#define BYTCHK_ONE   3 /* ... and each block is the one block of data-out */

static unsigned byte_check(const struct scsi_task *task)
{
	return task->cdb[1] >> BYTCHK_SHIFT & 3;
}

static void wants(struct scsi_task *task, uint64_t blocks)
{
	task->data_out_wanted = (uint32_t)(blocks << SCSI_BLOCK_SHIFT);
	task->direction = blocks ? SCSI_DATA_OUT : SCSI_NO_DATA;
}

bool verify_decode(struct scsi_task *task)
{
	if (byte_check(task) == 2)
		return sense_set_cdb_field(task, 1, 2);
	if (!block_decode_limited(task, SCSI_TRANSFER_BLOCKS))
		return false;
	if (byte_check(task) == BYTCHK_ALL)
		wants(task, task->blocks);
	else if (byte_check(task) == BYTCHK_ONE)
		wants(task, task->blocks ? 1 : 0);
	return true;
}

bool verify_decode_write(struct scsi_task *task)
{
	if (byte_check(task) > BYTCHK_ALL)
		return sense_set_cdb_field(task, 1, 2);
	if (!block_decode_limited(task, SCSI_TRANSFER_BLOCKS))
		return false;
	wants(task, task->blocks);
	return true;
}

/* Offset of the first byte that differs, or @length. */
static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t length)
{
	size_t i = 0;

	if (memcmp(a, b, length) == 0)
		return length;
	while (a[i] == b[i])
		i++;
	return i;
}

/* The data-out bytes at @offset that lie together, at most @length of them. */
static const uint8_t *data_out_at(const struct scsi_task *task, size_t offset, size_t *length)
{
	for (unsigned i = 0; i < task->data_out_count; i++) {
		const struct iovec *iov = &task->data_out[i];

		if (offset < iov->iov_len) {
			if (*length > iov->iov_len - offset)
				*length = iov->iov_len - offset;
			return (const uint8_t *)iov->iov_base + offset;
		}
		offset -= iov->iov_len;
	}
	return NULL;
}

size_t verify_same(const struct scsi_task *task, size_t offset, const uint8_t *medium,
		   size_t length)
{
	size_t at = 0;

	while (at < length) {
		size_t piece = length - at;
		const uint8_t *expected = data_out_at(task, offset + at, &piece);
		size_t same = expected ? first_difference(medium + at, expected, piece) : 0;

		at += same;
		if (!expected || same < piece)
			break;
	}
	return at;
}

/* SBC-3 5.27: a miscompare names the offset of the first byte that differs. */
static void compare(struct scsi_task *task)
{
	const uint8_t *medium = task->buffer->data;
	size_t total = task->blocks << SCSI_BLOCK_SHIFT;
	bool one = byte_check(task) == BYTCHK_ONE && !(task->opcode->flags & OPCODE_WRITES);
	size_t at = 0;

	while (at < total) {
		size_t length = one ? VOLUME_BLOCK : total;
		size_t same = verify_same(task, 0, medium + at, length);

		at += same;
		if (same < length) {
			sense_set_information(task, SENSE_MISCOMPARE, ASC_MISCOMPARE, at);
			return;
		}
	}
}

static void medium_read(struct scsi_task *task)
{
	if (byte_check(task) != BYTCHK_NONE || task->opcode->flags & OPCODE_WRITES)
		compare(task);
	task_finish(task);
}

static void read_medium(struct scsi_task *task)
{
	task->request_iov[0] = (struct iovec){task->buffer->data, task->blocks << SCSI_BLOCK_SHIFT};
	task->request.iov = task->request_iov;
	task->request.iov_count = 1;
	task_volume(task, VOLUME_READ, task->lba, task->blocks, 0, medium_read);
}

void verify_execute(struct scsi_task *task)
{
	if (task->blocks == 0)
		task_finish(task);
	else if (task->data_out_length < task->data_out_wanted)
		/* There is nothing to compare the rest with. */
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD_IN_IU);
	else
		task_get_buffer(task, task->blocks << SCSI_BLOCK_SHIFT, read_medium);
}

/* What is verified has to be on the medium, so the write is durable whatever the caching page
 * says. */
static void write_medium(struct scsi_task *task)
{
	block_use_data_out(task, 0, task->data_out_length);
	task_volume(task, VOLUME_WRITE, task->lba, task->blocks, VOLUME_FUA, read_medium);
}

/* Another's write in between would look like a miscompare. */
static void lock_medium(struct scsi_task *task)
{
	task_lock(task, task->lba, task->blocks, write_medium);
}

void verify_write(struct scsi_task *task)
{
	if (task->direction == SCSI_DATA_OUT)
		block_use_data_out(task, 0, task->data_out_length);
	if (task->blocks == 0)
		task_finish(task);
	else
		task_get_buffer(task, task->blocks << SCSI_BLOCK_SHIFT, lock_medium);
}
