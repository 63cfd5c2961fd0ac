/* SPDX-License-Identifier: Apache-2.0 */
/* block.c: SBC-3 commands that read, write and describe the medium. */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

#define CDB_FUA 0x08

/* Transfer length of READ, WRITE, VERIFY ...: where it is depends on the CDB's length only. */
static unsigned length_field(const struct scsi_task *task)
{
	static const uint8_t byte[17] = {[6] = 4, [10] = 7, [12] = 6, [16] = 10};

	return byte[task->opcode->cdb_length];
}

static void decode_range(struct scsi_task *task)
{
	const uint8_t *cdb = task->cdb;

	switch (task->opcode->cdb_length) {
	case 6:
		task->lba = get_be24(cdb + 1) & 0x1fffff;
		task->blocks = cdb[4] ? cdb[4] : 256; /* SBC-3 5.8: 0 is 256 */
		break;
	case 10:
		task->lba = get_be32(cdb + 2);
		task->blocks = get_be16(cdb + 7);
		break;
	case 12:
		task->lba = get_be32(cdb + 2);
		task->blocks = get_be32(cdb + 6);
		break;
	default:
		task->lba = get_be64(cdb + 2);
		task->blocks = get_be32(cdb + 10);
	}
}

bool block_decode_lba(struct scsi_task *task)
{
	uint64_t capacity = lu_blocks(task->itl->lu);

	decode_range(task);
	/* SBC-3 4.5.3: also an LBA just past the end with length 0 is outside; no sum can wrap. */
	if (task->lba >= capacity && (task->lba > capacity || task->blocks > 0))
		return sense_set_information(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE,
					     task->lba);
	if (task->blocks > capacity - task->lba)
		return sense_set_information(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE,
					     capacity);
	return true;
}

bool block_decode_limited(struct scsi_task *task, uint64_t limit)
{
	if (!block_decode_lba(task))
		return false;
	return task->blocks <= limit || sense_set_cdb_field(task, length_field(task), -1);
}

bool block_decode_range(struct scsi_task *task)
{
	decode_range(task);
	if (task->lba > lu_blocks(task->itl->lu) ||
	    task->blocks > lu_blocks(task->itl->lu) - task->lba)
		return block_decode_lba(task);
	return true;
}

bool block_decode_read(struct scsi_task *task)
{
	if (!block_decode_limited(task, SCSI_TRANSFER_BLOCKS))
		return false;
	task->direction = task->blocks ? SCSI_DATA_IN : SCSI_NO_DATA;
	return true;
}

bool block_decode_write(struct scsi_task *task)
{
	if (!block_decode_limited(task, SCSI_TRANSFER_BLOCKS))
		return false;
	task->direction = task->blocks ? SCSI_DATA_OUT : SCSI_NO_DATA;
	task->data_out_wanted = (uint32_t)(task->blocks << SCSI_BLOCK_SHIFT);
	return true;
}

static bool has_fua(const struct scsi_task *task)
{
	return task->opcode->cdb_length > 6 && task->cdb[1] & CDB_FUA;
}

/* ---- READ */

static void read_done(struct scsi_task *task)
{
	task->data_in_length = (uint32_t)(task->blocks << SCSI_BLOCK_SHIFT);
	task->data_in[0] = task->request_iov[0];
	task->data_in_count = 1;
	task_finish(task);
}

static void read_medium(struct scsi_task *task)
{
	task->request_iov[0] = (struct iovec){task->buffer->data, task->blocks << SCSI_BLOCK_SHIFT};
	task->request.iov = task->request_iov;
	task->request.iov_count = 1;
	task_volume(task, VOLUME_READ, task->lba, task->blocks, 0, read_done);
}

/* SBC-3 5.9: with FUA what is read must be on the medium. */
static void read_with_buffer(struct scsi_task *task)
{
	if (has_fua(task))
		task_volume(task, VOLUME_FLUSH, 0, 0, 0, read_medium);
	else
		read_medium(task);
}

void block_read(struct scsi_task *task)
{
	if (task->blocks == 0)
		task_finish(task);
	else
		task_get_buffer(task, task->blocks << SCSI_BLOCK_SHIFT, read_with_buffer);
}

/* ---- WRITE */

/* An initiator may announce less data than the CDB asks for (RFC 7143 11.4.5.1): whole blocks of
 * what came are written, the transport reports the rest as residual. */
void block_use_data_out(struct scsi_task *task, size_t offset, size_t length)
{
	uint64_t left = length & ~(uint64_t)(VOLUME_BLOCK - 1);
	unsigned count = 0;

	task->blocks = left >> SCSI_BLOCK_SHIFT;
	for (unsigned i = 0; i < task->data_out_count && left > 0; i++) {
		struct iovec iov = task->data_out[i];

		if (offset >= iov.iov_len) {
			offset -= iov.iov_len;
			continue;
		}
		iov.iov_base = (uint8_t *)iov.iov_base + offset;
		iov.iov_len -= offset;
		offset = 0;
		if (iov.iov_len > left)
			iov.iov_len = left;
		left -= iov.iov_len;
		task->request_iov[count++] = iov;
	}
	task->blocks -= left >> SCSI_BLOCK_SHIFT;
	task->request.iov = task->request_iov;
	task->request.iov_count = count;
}

void block_write(struct scsi_task *task)
{
	if (task->direction == SCSI_DATA_OUT)
		block_use_data_out(task, 0, task->data_out_length);
	if (task->blocks == 0)
		task_finish(task);
	else
		task_volume(task, VOLUME_WRITE, task->lba, task->blocks,
			    task_write_flags(task, has_fua(task)), task_finish);
}

/* ---- the rest */

/* Done when it is durable, whatever IMMED says: status that comes later than it might is allowed
 * for, status that lies is not. The whole volume is flushed; the range is checked only. */
void block_synchronize_cache(struct scsi_task *task)
{
	task_volume(task, VOLUME_FLUSH, 0, 0, 0, task_finish);
}

/* SBC-3 5.7: nothing is gained by reading ahead into a cache the host already has; blocks that
 * are in range are as good as cached. */
void block_prefetch(struct scsi_task *task)
{
	task->status = SCSI_CONDITION_MET;
	task_finish(task);
}

/* START STOP UNIT (SBC-3 5.25): one host's stop must not take the unit from the others, so STOP
 * makes data durable and changes no power condition. Power conditions are not supported, and
 * there is nothing to load or eject. */
bool block_decode_start_stop(struct scsi_task *task)
{
	if (task->cdb[4] >> 4)
		return sense_set_cdb_field(task, 4, 7);
	if (task->cdb[3])
		return sense_set_cdb_field(task, 3, 3);
	if (task->cdb[4] & 0x02)
		return sense_set_cdb_field(task, 4, 1);
	return true;
}

void block_start_stop(struct scsi_task *task)
{
	bool start = task->cdb[4] & 0x01, no_flush = task->cdb[4] & 0x04;

	if (start || no_flush)
		task_finish(task);
	else
		task_volume(task, VOLUME_FLUSH, 0, 0, 0, task_finish);
}

bool block_decode_capacity10(struct scsi_task *task)
{
	task->direction = SCSI_DATA_IN;
	task->allocation = 8;
	return true;
}

void block_read_capacity10(struct scsi_task *task)
{
	uint64_t last = lu_blocks(task->itl->lu) - 1;
	uint8_t *p = task->buffer->data;

	put_be32(p, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
	put_be32(p + 4, VOLUME_BLOCK);
	task_reply(task, 8);
}

bool block_decode_capacity16(struct scsi_task *task)
{
	task->allocation = get_be32(task->cdb + 10);
	task->direction = task->allocation ? SCSI_DATA_IN : SCSI_NO_DATA;
	return true;
}

void block_read_capacity16(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data;

	put_be64(p, lu_blocks(task->itl->lu) - 1);
	put_be32(p + 8, VOLUME_BLOCK);
	p[13] = 3;           /* 2^3 logical blocks per physical block */
	p[14] = 0x80 | 0x40; /* LBPME LBPRZ, lowest aligned LBA 0 */
	task_reply(task, 32);
}
