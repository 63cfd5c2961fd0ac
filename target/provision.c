/* SPDX-License-Identifier: Apache-2.0 */
/* provision.c: thin provisioning (SBC-3 4.7): UNMAP, WRITE SAME, GET LBA STATUS. Long work goes
 * to the volume in bounded pieces, one after the other. */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- UNMAP (SBC-3 5.28) */

#define UNMAP_HEADER     8u
#define UNMAP_DESCRIPTOR 16u

bool provision_decode_unmap(struct scsi_task *task)
{
	task->data_out_wanted = get_be16(task->cdb + 7);
	task->direction = task->data_out_wanted ? SCSI_DATA_OUT : SCSI_NO_DATA;
	return true;
}

static void descriptor_at(const struct scsi_task *task, unsigned index, uint64_t *ret_lba,
			  uint32_t *ret_blocks)
{
	uint8_t raw[UNMAP_DESCRIPTOR];

	task_copy_out(task, UNMAP_HEADER + index * UNMAP_DESCRIPTOR, raw, sizeof(raw));
	*ret_lba = get_be64(raw);
	*ret_blocks = get_be32(raw + 8);
}

/* Every descriptor is looked at before the first is carried out. */
static bool check_descriptors(struct scsi_task *task, unsigned count)
{
	uint64_t capacity = lu_blocks(task->itl->lu), total = 0;

	if (count > SCSI_UNMAP_RANGES)
		return sense_set_list_field(task, 2, -1);
	for (unsigned i = 0; i < count; i++) {
		uint64_t lba;
		uint32_t blocks;

		descriptor_at(task, i, &lba, &blocks);
		if (lba > capacity || blocks > capacity - lba)
			return sense_set_information(task, SENSE_ILLEGAL_REQUEST,
						     ASC_LBA_OUT_OF_RANGE, lba);
		total += blocks;
		if (total > SCSI_UNMAP_BLOCKS)
			return sense_set_list_field(task, UNMAP_HEADER + i * UNMAP_DESCRIPTOR + 8,
						    -1);
	}
	return true;
}

/* task->step: descriptor under way; task->progress: blocks of it that are done. */
static void unmap_next(struct scsi_task *task)
{
	while (task->step < task->blocks) {
		uint64_t lba, piece;
		uint32_t blocks;

		descriptor_at(task, task->step, &lba, &blocks);
		piece = smaller(blocks - task->progress, SCSI_PIECE_BLOCKS);
		if (piece > 0) {
			lba += task->progress;
			task->progress += piece;
			task_volume(task, VOLUME_DISCARD, lba, piece, task_write_flags(task, false),
				    unmap_next);
			return;
		}
		task->step++;
		task->progress = 0;
	}
	task_finish(task);
}

void provision_unmap(struct scsi_task *task)
{
	uint8_t header[UNMAP_HEADER];
	unsigned length;

	if (task->data_out_wanted == 0) {
		task_finish(task);
		return;
	}
	if (task->data_out_length < UNMAP_HEADER) {
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		return;
	}
	task_copy_out(task, 0, header, sizeof(header));
	/* The two lengths in the header may promise more than came; what came counts. */
	length = get_be16(header + 2);
	if (length > task->data_out_length - UNMAP_HEADER)
		length = task->data_out_length - UNMAP_HEADER;
	task->blocks = length / UNMAP_DESCRIPTOR;
	if (check_descriptors(task, (unsigned)task->blocks))
		unmap_next(task);
	else
		task_finish(task);
}

/* ---- WRITE SAME (SBC-3 5.43, 5.44) */

#define CDB_UNMAP 0x08
#define CDB_NDOB  0x01

static bool no_data(const struct scsi_task *task)
{
	return task->opcode->cdb_length == 16 && task->cdb[1] & CDB_NDOB;
}

bool provision_decode_same(struct scsi_task *task)
{
	if (!block_decode_limited(task, SCSI_SAME_BLOCKS))
		return false;
	if (task->blocks == 0) /* WSNZ is 1 */
		return sense_set_cdb_field(task, task->opcode->cdb_length == 16 ? 10 : 7, -1);
	if (no_data(task))
		return true;
	/* More or less than the one block can not be what was meant. */
	if (task->data_out_expected != VOLUME_BLOCK)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD_IN_IU);
	task->direction = SCSI_DATA_OUT;
	task->data_out_wanted = VOLUME_BLOCK;
	return true;
}

static void same_next(struct scsi_task *task)
{
	uint64_t lba = task->lba + task->progress;
	uint64_t piece =
	    smaller(task->blocks - task->progress,
		    task->buffer ? task->buffer_size >> SCSI_BLOCK_SHIFT : SCSI_PIECE_BLOCKS);

	if (piece == 0) {
		task_finish(task);
		return;
	}
	task->progress += piece;
	if (!task->buffer) {
		task_volume(task, VOLUME_DISCARD, lba, piece, task_write_flags(task, false),
			    same_next);
		return;
	}
	task->request_iov[0] = (struct iovec){task->buffer->data, piece << SCSI_BLOCK_SHIFT};
	task->request.iov = task->request_iov;
	task->request.iov_count = 1;
	task_volume(task, VOLUME_WRITE, lba, piece, task_write_flags(task, false), same_next);
}

static void fill_buffer(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data;

	memset(data, 0, VOLUME_BLOCK);
	if (!no_data(task))
		task_copy_out(task, 0, data, VOLUME_BLOCK);
	for (size_t at = VOLUME_BLOCK; at < task->buffer_size; at += VOLUME_BLOCK)
		memcpy(data + at, data, VOLUME_BLOCK);
	same_next(task);
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* With UNMAP blocks are deallocated if that leaves what was asked for: zeros, as LBPRZ says.
 * Without it they are written, zeros included, and so have space afterwards. */
void provision_write_same(struct scsi_task *task)
{
	uint8_t block[VOLUME_BLOCK] = {0};
	uint64_t bytes = task->blocks << SCSI_BLOCK_SHIFT;

	if (!no_data(task))
		task_copy_out(task, 0, block, VOLUME_BLOCK);
	if (task->cdb[1] & CDB_UNMAP && is_zero(block, VOLUME_BLOCK))
		same_next(task);
	else
		task_get_buffer(task, smaller(bytes, BUF_MAX), fill_buffer);
}

/* ---- GET LBA STATUS (SBC-3 5.4) */

#define STATUS_HEADER     8u
#define STATUS_DESCRIPTOR 16u
#define STATUS_EXTENTS_AT 2048u /* in the reply buffer: the extents, before they are encoded */
#define DEALLOCATED       1

_Static_assert(STATUS_HEADER + SCSI_STATUS_EXTENTS * STATUS_DESCRIPTOR <= STATUS_EXTENTS_AT,
	       "descriptors and extents share the buffer");
_Static_assert(STATUS_EXTENTS_AT + SCSI_STATUS_EXTENTS * sizeof(struct volume_extent) <= 4096,
	       "descriptors and extents share the buffer");

bool provision_decode_status(struct scsi_task *task)
{
	uint64_t capacity = lu_blocks(task->itl->lu);

	task->lba = get_be64(task->cdb + 2);
	task->allocation = get_be32(task->cdb + 10);
	task->direction = task->allocation ? SCSI_DATA_IN : SCSI_NO_DATA;
	if (task->lba >= capacity)
		return sense_set_information(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE,
					     task->lba);
	/* What fits one descriptor; the initiator asks on from there. */
	task->blocks = smaller(capacity - task->lba, UINT32_MAX & ~7u);
	return true;
}

static void status_done(struct scsi_task *task)
{
	const struct volume_extent *extents = task->request.extents;
	uint8_t *data = task->buffer->data, *p = data + STATUS_HEADER;

	for (unsigned i = 0; i < task->request.extent_count; i++) {
		put_be64(p, extents[i].offset >> SCSI_BLOCK_SHIFT);
		put_be32(p + 8, (uint32_t)(extents[i].length >> SCSI_BLOCK_SHIFT));
		p[12] = extents[i].mapped ? 0 : DEALLOCATED;
		p += STATUS_DESCRIPTOR;
	}
	put_be32(data, (uint32_t)(p - data - 4));
	task_reply(task, (uint32_t)(p - data));
}

void provision_lba_status(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data;

	task->request.extents = (struct volume_extent *)(void *)(data + STATUS_EXTENTS_AT);
	task->request.extent_max =
	    (unsigned)smaller(task->allocation / STATUS_DESCRIPTOR + 1, SCSI_STATUS_EXTENTS);

	task_volume(task, VOLUME_EXTENTS, task->lba, task->blocks, 0, status_done);
}
