/* SPDX-License-Identifier: Apache-2.0 */
/* sense.c: sense data in both formats (SPC-4 4.5). */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

/* SPC-4 4.5.2.4.2: sense key specific data for ILLEGAL REQUEST is a field pointer. */
static void put_field_pointer(const struct sense *sense, uint8_t *p)
{
	p[0] = 0x80 | (sense->in_cdb ? 0x40 : 0);
	if (sense->bit >= 0)
		p[0] |= 0x08 | (sense->bit & 7);
	put_be16(p + 1, sense->byte);
}

/* SPC-4 4.5.2.4.4: of NOT READY, a progress indication. */
static void put_progress(const struct sense *sense, uint8_t *p)
{
	p[0] = 0x80;
	put_be16(p + 1, sense->progress);
}

static unsigned build_fixed(const struct sense *sense, uint8_t *p)
{
	memset(p, 0, 18);
	p[0] = 0x70;
	p[2] = sense->key;
	p[7] = 10;
	put_be16(p + 12, sense->asc);
	if (sense->has_information && sense->information <= UINT32_MAX) {
		p[0] |= 0x80; /* VALID; an LBA that does not fit is left out (SPC-4 4.5.3) */
		put_be32(p + 3, (uint32_t)sense->information);
	}
	if (sense->has_field)
		put_field_pointer(sense, p + 15);
	else if (sense->has_progress)
		put_progress(sense, p + 15);
	return 18;
}

static unsigned build_descriptor(const struct sense *sense, uint8_t *p)
{
	unsigned length = 8;

	memset(p, 0, 32);
	p[0] = 0x72;
	p[1] = sense->key;
	put_be16(p + 2, sense->asc);
	if (sense->has_information) { /* SPC-4 4.5.2.2 */
		p[length + 1] = 0x0a;
		p[length + 2] = 0x80;
		put_be64(p + length + 4, sense->information);
		length += 12;
	}
	if (sense->has_field || sense->has_progress) { /* SPC-4 4.5.2.4 */
		p[length] = 0x02;
		p[length + 1] = 0x06;
		if (sense->has_field)
			put_field_pointer(sense, p + length + 4);
		else
			put_progress(sense, p + length + 4);
		length += 8;
	}
	p[7] = (uint8_t)(length - 8);
	return length;
}

unsigned sense_build(const struct sense *sense, bool descriptor, uint8_t *ret_bytes)
{
	return descriptor ? build_descriptor(sense, ret_bytes) : build_fixed(sense, ret_bytes);
}

bool sense_set_all(struct scsi_task *task, const struct sense *sense)
{
	bool descriptor =
	    task->itl && __atomic_load_n(&task->itl->lu->descriptor_sense, __ATOMIC_RELAXED);

	task->status = SCSI_CHECK_CONDITION;
	task->sense_length = sense_build(sense, descriptor, task->sense);
	return false;
}

bool sense_set(struct scsi_task *task, enum sense_key key, uint16_t asc)
{
	return sense_set_all(task, &(struct sense){.key = key, .asc = asc});
}

bool sense_set_information(struct scsi_task *task, enum sense_key key, uint16_t asc,
			   uint64_t information)
{
	return sense_set_all(
	    task, &(struct sense){
		      .key = key, .asc = asc, .has_information = true, .information = information});
}

bool sense_set_cdb_field(struct scsi_task *task, unsigned byte, int bit)
{
	return sense_set_all(task, &(struct sense){.key = SENSE_ILLEGAL_REQUEST,
						   .asc = ASC_INVALID_FIELD_IN_CDB,
						   .has_field = true,
						   .in_cdb = true,
						   .byte = (uint16_t)byte,
						   .bit = bit});
}

bool sense_set_list_field(struct scsi_task *task, unsigned byte, int bit)
{
	return sense_set_all(task, &(struct sense){.key = SENSE_ILLEGAL_REQUEST,
						   .asc = ASC_INVALID_FIELD_IN_LIST,
						   .has_field = true,
						   .byte = (uint16_t)byte,
						   .bit = bit});
}
