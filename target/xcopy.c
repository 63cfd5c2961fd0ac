/* SPDX-License-Identifier: Apache-2.0 */
/* xcopy.c: EXTENDED COPY(LID1), block device to block device, and what RECEIVE COPY RESULTS says
 * of it (SPC-4 6.4, 6.24). Sources and destinations are named by NAA designator and looked for
 * among the logical units this very nexus can see, nowhere else. The whole list is checked before
 * the first block is copied. */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

#define HEADER          16u
#define TARGET_LENGTH   32u
#define SEGMENT_LENGTH  28u
#define IDENTIFICATION  0xe4 /* CSCD descriptor */
#define BLOCK_TO_BLOCK  0x02 /* segment descriptor */
#define ITSELF          0xffff
#define USAGE_DISCARD   2
#define USAGE_DISABLE   3
#define MAX_LIST_LENGTH (HEADER + COPY_LIST_MAX)

bool xcopy_decode(struct scsi_task *task)
{
	uint32_t length = get_be32(task->cdb + 10);

	if (length > 2 * MAX_LIST_LENGTH)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	task->data_out_wanted = length;
	task->direction = length ? SCSI_DATA_OUT : SCSI_NO_DATA;
	return true;
}

struct list_header {
	unsigned usage, targets, segments; /* bytes of descriptors */
	uint8_t id;
};

static bool list_length_error(struct scsi_task *task)
{
	return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
}

static bool read_header(struct scsi_task *task, struct list_header *ret_header)
{
	uint8_t raw[HEADER];
	uint32_t targets, segments, inline_data;

	if (task->data_out_length < HEADER)
		return list_length_error(task);
	task_copy_out(task, 0, raw, HEADER);
	targets = get_be16(raw + 2);
	segments = get_be32(raw + 8);
	inline_data = get_be32(raw + 12);
	*ret_header = (struct list_header){raw[1] >> 3 & 3, targets, segments, raw[0]};
	if (inline_data > 0)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_INLINE_DATA);
	if (segments > COPY_LIST_MAX || targets + segments > COPY_LIST_MAX ||
	    HEADER + targets + segments > task->data_out_length)
		return list_length_error(task);
	if (raw[1] & 0xc0 || ret_header->usage == 1)
		return sense_set_list_field(task, 1, ret_header->usage == 1 ? 4 : 7);
	if (ret_header->usage == USAGE_DISABLE && ret_header->id != 0)
		return sense_set_list_field(task, 0, -1);
	if (targets % TARGET_LENGTH)
		return sense_set_list_field(task, 2, -1);
	if (targets > COPY_TARGETS * TARGET_LENGTH)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_TOO_MANY_TARGETS);
	if (segments > COPY_SEGMENTS * SEGMENT_LENGTH)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_TOO_MANY_SEGMENTS);
	return true;
}

/* What can be said of a target descriptor without looking for what it names. */
static bool check_target(struct scsi_task *task, unsigned at)
{
	uint8_t raw[TARGET_LENGTH];

	task_copy_out(task, at, raw, sizeof(raw));
	if (raw[0] != IDENTIFICATION)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_TARGET_DESCRIPTOR);
	if (raw[7] > 20) /* LU ID TYPE does not apply to identification descriptors */
		return sense_set_list_field(task, at + 7, -1);
	return true;
}

static struct scsi_itl *fail_target(struct scsi_task *task, uint16_t asc)
{
	sense_set(task, SENSE_COPY_ABORTED, asc);
	return NULL;
}

/* What descriptor @index names; NULL: sense is set, and is the same for what another nexus can
 * see and what does not exist. */
static struct scsi_itl *find_target(struct scsi_task *task, const struct list_header *header,
				    unsigned index)
{
	uint8_t raw[TARGET_LENGTH];
	struct scsi_itl *itl;

	if (index == ITSELF)
		return task->itl;
	if (index >= header->targets / TARGET_LENGTH)
		return fail_target(task, ASC_UNREACHABLE_TARGET);
	task_copy_out(task, HEADER + index * TARGET_LENGTH, raw, sizeof(raw));
	if (raw[1] & 0x20) /* a null device */
		return fail_target(task, ASC_UNREACHABLE_TARGET);
	if ((raw[1] & 0x1f) != 0)
		return fail_target(task, ASC_TARGET_TYPE);
	/* binary, of the logical unit, NAA, 16 bytes */
	if ((raw[4] & 0x0f) != 1 || (raw[5] & 0x3f) != 3 || raw[7] != 16)
		return fail_target(task, ASC_TARGET_NOT_REACHABLE);
	if (get_be24(raw + 29) != VOLUME_BLOCK)
		return fail_target(task, ASC_TARGET_TYPE);
	itl = nexus_find_naa(task->nexus, raw + 8);
	return itl ? itl : fail_target(task, ASC_TARGET_NOT_REACHABLE);
}

struct segment {
	struct scsi_itl *from, *to;
	uint64_t from_lba, to_lba;
	uint32_t blocks;
};

static bool inside(const struct scsi_itl *itl, uint64_t lba, uint32_t blocks)
{
	uint64_t capacity = lu_blocks(itl->lu);

	return lba <= capacity && blocks <= capacity - lba;
}

/* Two steps: the form first, for all of them; then what it means. */
static bool check_segment(struct scsi_task *task, unsigned at, unsigned end)
{
	uint8_t raw[4];

	if (end - at < sizeof(raw))
		return list_length_error(task);
	task_copy_out(task, at, raw, sizeof(raw));
	if (raw[0] != BLOCK_TO_BLOCK)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_SEGMENT_DESCRIPTOR);
	if (get_be16(raw + 2) != SEGMENT_LENGTH - 4)
		return sense_set_list_field(task, at + 2, -1);
	if (end - at < SEGMENT_LENGTH)
		return list_length_error(task);
	return true;
}

static bool find_segment(struct scsi_task *task, const struct list_header *header, unsigned index,
			 struct segment *ret_segment)
{
	uint8_t raw[SEGMENT_LENGTH];
	struct segment segment;

	task_copy_out(task, HEADER + header->targets + index * SEGMENT_LENGTH, raw, sizeof(raw));
	segment.from = find_target(task, header, get_be16(raw + 4));
	if (!segment.from)
		return false;
	segment.to = find_target(task, header, get_be16(raw + 6));
	if (!segment.to)
		return false;
	segment.blocks = get_be16(raw + 10);
	segment.from_lba = get_be64(raw + 12);
	segment.to_lba = get_be64(raw + 20);
	if (!inside(segment.from, segment.from_lba, segment.blocks) ||
	    !inside(segment.to, segment.to_lba, segment.blocks))
		return sense_set(task, SENSE_COPY_ABORTED, ASC_TARGET_NOT_REACHABLE);
	*ret_segment = segment;
	return true;
}

static bool check_list(struct scsi_task *task, const struct list_header *header)
{
	unsigned end = HEADER + header->targets + header->segments;
	struct segment segment;

	for (unsigned at = 0; at < header->targets; at += TARGET_LENGTH)
		if (!check_target(task, HEADER + at))
			return false;
	for (unsigned at = 0; at < header->segments; at += SEGMENT_LENGTH)
		if (!check_segment(task, HEADER + header->targets + at, end))
			return false;
	for (unsigned i = 0; i < header->segments / SEGMENT_LENGTH; i++)
		if (!find_segment(task, header, i, &segment))
			return false;
	return true;
}

/* task->step: the segment whose turn it is. What it names is looked for again: it may be gone. */
static void run_segment(struct scsi_task *task);

static void segment_done(struct scsi_task *task)
{
	if (task->result)
		task->result->segments++;
	task->step++;
	run_segment(task);
}

static void run_segment(struct scsi_task *task)
{
	struct list_header header;
	struct segment segment;

	if (read_header(task, &header) && task->step < header.segments / SEGMENT_LENGTH &&
	    find_segment(task, &header, task->step, &segment))
		copy_run(task, segment.from, segment.from_lba, segment.to, segment.to_lba,
			 segment.blocks, NULL, segment_done);
	else
		task_finish(task);
}

void xcopy_execute(struct scsi_task *task)
{
	struct list_header header;

	if (task->data_out_wanted == 0 || !read_header(task, &header) ||
	    !check_list(task, &header) ||
	    (header.usage != USAGE_DISABLE &&
	     !copy_result_start(task, 0, header.id, header.usage == USAGE_DISCARD)))
		task_finish(task);
	else if (header.segments == 0)
		task_finish(task);
	else
		task_get_buffer(task, COPY_BUFFER, run_segment);
}

/* ---- RECEIVE COPY RESULTS */

bool xcopy_decode_results(struct scsi_task *task)
{
	task->allocation = get_be32(task->cdb + 10);
	task->direction = task->allocation ? SCSI_DATA_IN : SCSI_NO_DATA;
	return true;
}

/* RECEIVE COPY STATUS(LID1) (SPC-4 6.24.2). */
void xcopy_status(struct scsi_task *task)
{
	const struct copy_result *result = copy_result_find(task->itl, true, task->cdb[2]);
	uint8_t *p = task->buffer->data;
	uint64_t bytes;

	if (!result) {
		sense_set_cdb_field(task, 2, -1);
		task_finish(task);
		return;
	}
	bytes = result->blocks << SCSI_BLOCK_SHIFT;
	put_be32(p, 8);
	if (!result->running)
		p[4] = result->status == SCSI_GOOD ? 1 : 2;
	put_be16(p + 5, result->segments);
	p[7] = bytes > UINT32_MAX ? 1 : 0; /* KiB or bytes */
	put_be32(p + 8, (uint32_t)(bytes > UINT32_MAX ? bytes >> 10 : bytes));
	task_reply(task, 12);
}

/* RECEIVE COPY OPERATING PARAMETERS (SPC-4 6.22). */
void xcopy_parameters(struct scsi_task *task)
{
	uint8_t *p = task->buffer->data;

	put_be32(p, 46 - 4);
	put_be16(p + 8, COPY_TARGETS);
	put_be16(p + 10, COPY_SEGMENTS);
	put_be32(p + 12, COPY_LIST_MAX);
	put_be32(p + 16, COPY_SEGMENT_MAX);
	put_be16(p + 34, COPY_RESULTS);
	p[36] = COPY_RESULTS;
	p[37] = SCSI_BLOCK_SHIFT; /* data segment granularity */
	p[43] = 2;
	p[44] = BLOCK_TO_BLOCK;
	p[45] = IDENTIFICATION;
	task_reply(task, 46);
}
