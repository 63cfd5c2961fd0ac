/* SPDX-License-Identifier: Apache-2.0 */
/* log.c: LOG SENSE (SPC-4 6.6, 7.3; SBC-3 6.4). One row a page; the pages that list the pages are
 * printed from the rows. Counters are those of the logical unit since it was first mapped; they
 * can not be set and have no thresholds. */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"
#include "volumes/pool.h"

#define CUMULATIVE   1
#define UNKNOWN_TEMP 0xff

/* Parameters of a page that begin at the parameter pointer. */
struct builder {
	const struct scsi_lu *lu;
	struct scsi_counters counters;
	unsigned from; /* parameter pointer */
	uint8_t *p;
	unsigned last; /* code of the last parameter, whether shown or not */
};

/* Room for a parameter's @length bytes, zeroed, or NULL when it is not asked for. */
static uint8_t *parameter(struct builder *builder, uint16_t code, uint8_t control, uint8_t length)
{
	uint8_t *p = builder->p;

	builder->last = code;
	if (code < builder->from)
		return NULL;
	put_be16(p, code);
	p[2] = control;
	p[3] = length;
	builder->p += 4 + length;
	return p + 4;
}

#define BINARY_LIST 0x03 /* FORMAT AND LINKING: a binary list parameter */

static void counter(struct builder *builder, uint16_t code, uint64_t value)
{
	uint8_t *p = parameter(builder, code, 0, 8);

	if (p)
		put_be64(p, value);
}

/* Error counters (SPC-4 7.3.5 ...): nothing is corrected on the way, what can not be read fails. */
static void errors(struct builder *builder, uint64_t bytes, const uint64_t *uncorrected)
{
	counter(builder, 0x0003, 0); /* total errors corrected */
	counter(builder, 0x0005, bytes);
	counter(builder, 0x0006, __atomic_load_n(uncorrected, __ATOMIC_RELAXED));
}

static void write_errors(struct builder *builder)
{
	errors(builder, builder->counters.write_bytes, &builder->lu->write_errors);
}

static void read_errors(struct builder *builder)
{
	errors(builder, builder->counters.read_bytes, &builder->lu->read_errors);
}

/* SBC-3 6.4.4: what the pool has left and what this unit uses, in units of the threshold set that
 * VPD page B2h names. */
static void resource(struct builder *builder, uint16_t code, uint64_t bytes, uint8_t scope)
{
	uint8_t *p = parameter(builder, code, BINARY_LIST, 8);
	uint64_t units = bytes >> (SCSI_THRESHOLD_EXPONENT + SCSI_BLOCK_SHIFT);

	if (!p)
		return;
	put_be32(p, units > UINT32_MAX ? UINT32_MAX : (uint32_t)units);
	p[4] = scope;
}

static void provisioning(struct builder *builder)
{
	struct volume *volume = builder->lu->volume;
	struct pool_info info = {.free_bytes = volume_size(volume)};

	if (volume->pool)
		pool_get_info(volume->pool, &info);
	resource(builder, 0x0001, info.free_bytes, 2); /* shared with other logical units */
	resource(builder, 0x0002, volume_used_bytes(volume), 1);
}

/* SPC-4 7.3.21: a volume has no temperature. */
static void temperature(struct builder *builder)
{
	for (uint16_t code = 0; code < 2; code++) {
		uint8_t *p = parameter(builder, code, BINARY_LIST, 2);

		if (p)
			p[1] = UNKNOWN_TEMP;
	}
}

/* General statistics and performance (SPC-4 7.3.9); intervals are not measured and stay 0. */
static void statistics(struct builder *builder)
{
	uint8_t *p = parameter(builder, 0x0001, BINARY_LIST, 0x40);

	if (!p)
		return;
	put_be64(p, builder->counters.read_ops);
	put_be64(p + 8, builder->counters.write_ops);
	put_be64(p + 16, builder->counters.write_bytes >> SCSI_BLOCK_SHIFT);
	put_be64(p + 24, builder->counters.read_bytes >> SCSI_BLOCK_SHIFT);
}

/* Informational exceptions (SPC-4 7.3.11): none. */
static void exceptions(struct builder *builder)
{
	uint8_t *p = parameter(builder, 0x0000, BINARY_LIST, 4);

	if (p)
		p[2] = UNKNOWN_TEMP;
}

static const struct {
	uint8_t code;
	void (*build)(struct builder *builder); /* NULL: the list of pages */
} pages[] = {
    {0x00, NULL},        {0x02, write_errors}, {0x03, read_errors}, {0x0c, provisioning},
    {0x0d, temperature}, {0x19, statistics},   {0x2f, exceptions},
};
#define PAGE_COUNT   (sizeof(pages) / sizeof(pages[0]))
#define ALL_SUBPAGES 0xff

static void reply_list(struct scsi_task *task, bool subpages)
{
	uint8_t *data = task->buffer->data, *p = data + 4;

	for (unsigned i = 0; i < PAGE_COUNT; i++) {
		*p++ = pages[i].code;
		if (subpages)
			*p++ = 0;
		if (subpages && pages[i].code == 0) {
			*p++ = 0;
			*p++ = ALL_SUBPAGES;
		}
	}
	if (subpages) {
		data[0] = 0x40; /* SPF */
		data[1] = ALL_SUBPAGES;
	}
	put_be16(data + 2, (uint16_t)(p - data - 4));
	task_reply(task, (uint32_t)(p - data));
}

static void sum_counters(struct scsi_lu *lu, struct scsi_counters *ret_sum)
{
	*ret_sum = (struct scsi_counters){0};
	topology_lock();
	list_for_each (it, &lu->mappings)
		target_sum_counters(list_entry(it, struct scsi_lun_mapping, lu_link), ret_sum);
	topology_unlock();
}

static void reply_page(struct scsi_task *task, unsigned index)
{
	uint8_t *data = task->buffer->data;
	struct builder builder = {
	    .lu = task->itl->lu, .from = get_be16(task->cdb + 5), .p = data + 4};

	sum_counters(task->itl->lu, &builder.counters);
	pages[index].build(&builder);
	if (builder.from > builder.last) {
		sense_set_cdb_field(task, 5, -1);
		task_finish(task);
		return;
	}
	data[0] = pages[index].code;
	put_be16(data + 2, (uint16_t)(builder.p - data - 4));
	task_reply(task, (uint32_t)(builder.p - data));
}

static void refuse(struct scsi_task *task, unsigned byte, int bit)
{
	sense_set_cdb_field(task, byte, bit);
	task_finish(task);
}

void log_sense(struct scsi_task *task)
{
	uint8_t code = task->cdb[2] & 0x3f, subpage = task->cdb[3];
	unsigned index = 0;

	while (index < PAGE_COUNT && pages[index].code != code)
		index++;
	if (index == PAGE_COUNT)
		refuse(task, 2, 5);
	else if (subpage != 0 && (code != 0 || subpage != ALL_SUBPAGES))
		refuse(task, 3, -1);
	else if (code == 0)
		reply_list(task, subpage != 0);
	else if (task->cdb[2] >> 6 != CUMULATIVE)
		refuse(task, 2, 7);
	else
		reply_page(task, index);
}
