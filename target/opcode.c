/* SPDX-License-Identifier: Apache-2.0 */
/* opcode.c: the table of commands. Everything that is said about what this device server can do
 * (REPORT SUPPORTED OPERATION CODES, which reserved bits are refused, what a reservation lets
 * through) is read from these rows, so nothing can be claimed that has no row. */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

/* A CD or DVD drive has it too, and whether there is a disc in it or not. */
#define SHARED (OPCODE_ANY_TYPE | OPCODE_NO_MEDIUM_OK)
#define ALWAYS                                                                                     \
	(OPCODE_NO_ATTENTION | OPCODE_RESERVED_OK | OPCODE_PR_OK | OPCODE_ANY_LUN |                \
	 OPCODE_ANY_ACCESS | OPCODE_SANITIZE_OK | SHARED)
#define READS (OPCODE_PROTECT | OPCODE_GROUP | OPCODE_PR_READ)
/* Allowed whatever is reserved. */
#define FREE   (OPCODE_RESERVED_OK | OPCODE_PR_OK)
#define WRITES (OPCODE_PROTECT | OPCODE_GROUP | OPCODE_WRITES)

/* Byte ranges of a usage map. */
#define LBA32            [2] = 0xff, [3] = 0xff, [4] = 0xff, [5] = 0xff
#define LBA64            LBA32, [6] = 0xff, [7] = 0xff, [8] = 0xff, [9] = 0xff
#define LEN16            [7] = 0xff, [8] = 0xff
#define LEN12            [6] = 0xff, [7] = 0xff, [8] = 0xff, [9] = 0xff
#define LEN32            [10] = 0xff, [11] = 0xff, [12] = 0xff, [13] = 0xff
#define PARAMETER_MAX    4096
#define LUN_LIST_MAX     65536
#define PR_LENGTH        [5] = 0xff, [6] = 0xff, [7] = 0xff, [8] = 0xff
#define RESERVATIONS_MAX 65536

static const struct scsi_opcode rows[] = {
    {"TEST UNIT READY",
     0x00,
     0,
     6,
     OPCODE_PR_OK | OPCODE_ANY_TYPE,
     {0},
     0,
     spc_decode_none,
     spc_test_unit_ready},
    {"REQUEST SENSE",
     0x03,
     0,
     6,
     ALWAYS,
     {[1] = 0x01, [4] = 0xff},
     PARAMETER_MAX,
     spc_decode_alloc8,
     spc_request_sense},
    {"READ(6)",
     0x08,
     0,
     6,
     OPCODE_PR_READ,
     {[1] = 0x1f, [2] = 0xff, [3] = 0xff, [4] = 0xff},
     0,
     block_decode_read,
     block_read},
    {"WRITE(6)",
     0x0a,
     0,
     6,
     OPCODE_WRITES,
     {[1] = 0x1f, [2] = 0xff, [3] = 0xff, [4] = 0xff},
     0,
     block_decode_write,
     block_write},
    {"INQUIRY",
     0x12,
     0,
     6,
     ALWAYS,
     {[1] = 0x01, [2] = 0xff, [3] = 0xff, [4] = 0xff},
     PARAMETER_MAX,
     spc_decode_inquiry,
     inquiry_execute},
    {"MODE SELECT(6)",
     0x15,
     0,
     6,
     OPCODE_STANDBY_OK | SHARED,
     {[1] = 0x11, [4] = 0xff},
     0,
     mode_decode_select6,
     mode_select},
    {"RESERVE(6)", 0x16, 0, 6, OPCODE_PR_OK | SHARED, {0}, 0, spc_decode_none, spc_reserve},
    {"RELEASE(6)", 0x17, 0, 6, FREE | SHARED, {0}, 0, spc_decode_none, spc_release},
    {"MODE SENSE(6)",
     0x1a,
     0,
     6,
     OPCODE_PR_OK | OPCODE_STANDBY_OK | SHARED,
     {[1] = 0x08, [2] = 0xff, [3] = 0xff, [4] = 0xff},
     PARAMETER_MAX,
     spc_decode_alloc8,
     mode_sense},
    {"START STOP UNIT",
     0x1b,
     0,
     6,
     0,
     {[1] = 0x01, [3] = 0x0f, [4] = 0xf7},
     0,
     block_decode_start_stop,
     block_start_stop},
    {"READ CAPACITY(10)",
     0x25,
     0,
     10,
     FREE | OPCODE_STANDBY_OK, /* or an initiator takes a path in standby for a unit of no size */
     {0},
     PARAMETER_MAX,
     block_decode_capacity10,
     block_read_capacity10},
    {"READ(10)", 0x28, 0, 10, READS, {[1] = 0x18, LBA32, LEN16}, 0, block_decode_read, block_read},
    {"WRITE(10)",
     0x2a,
     0,
     10,
     WRITES,
     {[1] = 0x18, LBA32, LEN16},
     0,
     block_decode_write,
     block_write},
    {"WRITE AND VERIFY(10)",
     0x2e,
     0,
     10,
     WRITES,
     {[1] = 0x16, LBA32, LEN16},
     0,
     verify_decode_write,
     verify_write},
    {"VERIFY(10)",
     0x2f,
     0,
     10,
     READS,
     {[1] = 0x16, LBA32, LEN16},
     0,
     verify_decode,
     verify_execute},
    {"PRE-FETCH(10)",
     0x34,
     0,
     10,
     OPCODE_GROUP | OPCODE_PR_READ,
     {[1] = 0x02, LBA32, LEN16},
     0,
     block_decode_range,
     block_prefetch},
    {"SYNCHRONIZE CACHE(10)",
     0x35,
     0,
     10,
     OPCODE_GROUP,
     {[1] = 0x02, LBA32, LEN16},
     0,
     block_decode_range,
     block_synchronize_cache},
    {"WRITE SAME(10)",
     0x41,
     0,
     10,
     WRITES,
     {[1] = 0x08, LBA32, LEN16},
     0,
     provision_decode_same,
     provision_write_same},
    {"UNMAP",
     0x42,
     0,
     10,
     OPCODE_GROUP | OPCODE_WRITES,
     {LEN16},
     0,
     provision_decode_unmap,
     provision_unmap},
    /* Byte 1 has no bits to spare (OPCODE_PROTECT), reservations and write protection count. */
    {"SANITIZE, OVERWRITE",
     0x48,
     0x01,
     10,
     OPCODE_SERVICE | OPCODE_SANITIZES | OPCODE_PROTECT | OPCODE_WRITES,
     {[1] = 0xa0, LEN16},
     0,
     sanitize_decode_overwrite,
     sanitize_execute},
    {"SANITIZE, BLOCK ERASE",
     0x48,
     0x02,
     10,
     OPCODE_SERVICE | OPCODE_SANITIZES | OPCODE_PROTECT | OPCODE_WRITES,
     {[1] = 0xa0},
     0,
     sanitize_decode,
     sanitize_execute},
    {"SANITIZE, EXIT FAILURE MODE",
     0x48,
     0x1f,
     10,
     OPCODE_SERVICE | OPCODE_SANITIZES | OPCODE_PROTECT | OPCODE_WRITES,
     {[1] = 0xa0},
     0,
     sanitize_decode_exit,
     sanitize_exit},
    {"LOG SENSE",
     0x4d,
     0,
     10,
     OPCODE_PR_OK | OPCODE_SANITIZE_OK,
     {[2] = 0xff, [3] = 0xff, [5] = 0xff, [6] = 0xff, LEN16},
     PARAMETER_MAX,
     spc_decode_alloc16,
     log_sense},
    {"MODE SELECT(10)",
     0x55,
     0,
     10,
     OPCODE_STANDBY_OK | SHARED,
     {[1] = 0x11, LEN16},
     0,
     mode_decode_select10,
     mode_select},
    {"MODE SENSE(10)",
     0x5a,
     0,
     10,
     OPCODE_PR_OK | OPCODE_STANDBY_OK | SHARED,
     {[1] = 0x18, [2] = 0xff, [3] = 0xff, LEN16},
     PARAMETER_MAX,
     spc_decode_alloc16,
     mode_sense},
    {"PERSISTENT RESERVE IN, READ KEYS",
     0x5e,
     0x00,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {LEN16},
     RESERVATIONS_MAX,
     spc_decode_alloc16,
     pr_in_read_keys},
    {"PERSISTENT RESERVE IN, READ RESERVATION",
     0x5e,
     0x01,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {LEN16},
     RESERVATIONS_MAX,
     spc_decode_alloc16,
     pr_in_read_reservation},
    {"PERSISTENT RESERVE IN, REPORT CAPABILITIES",
     0x5e,
     0x02,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {LEN16},
     RESERVATIONS_MAX,
     spc_decode_alloc16,
     pr_in_report_capabilities},
    {"PERSISTENT RESERVE IN, READ FULL STATUS",
     0x5e,
     0x03,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {LEN16},
     RESERVATIONS_MAX,
     spc_decode_alloc16,
     pr_in_read_full_status},
    {"PERSISTENT RESERVE OUT, REGISTER",
     0x5f,
     0x00,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"PERSISTENT RESERVE OUT, RESERVE",
     0x5f,
     0x01,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"PERSISTENT RESERVE OUT, RELEASE",
     0x5f,
     0x02,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"PERSISTENT RESERVE OUT, CLEAR",
     0x5f,
     0x03,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"PERSISTENT RESERVE OUT, PREEMPT",
     0x5f,
     0x04,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"PERSISTENT RESERVE OUT, PREEMPT AND ABORT",
     0x5f,
     0x05,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY",
     0x5f,
     0x06,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"PERSISTENT RESERVE OUT, REGISTER AND MOVE",
     0x5f,
     0x07,
     10,
     OPCODE_SERVICE | OPCODE_PR_OK | OPCODE_STANDBY_OK,
     {[2] = 0xff, PR_LENGTH},
     0,
     pr_decode_out,
     pr_out},
    {"EXTENDED COPY(LID1)",
     0x83,
     0x00,
     16,
     OPCODE_SERVICE,
     {LEN32},
     0,
     xcopy_decode,
     xcopy_execute},
    {"POPULATE TOKEN",
     0x83,
     0x10,
     16,
     OPCODE_SERVICE | OPCODE_GROUP | OPCODE_PR_READ,
     {LEN12, LEN32},
     0,
     odx_decode_populate,
     odx_populate},
    {"WRITE USING TOKEN",
     0x83,
     0x11,
     16,
     OPCODE_SERVICE | OPCODE_GROUP | OPCODE_WRITES,
     {LEN12, LEN32},
     0,
     odx_decode_write,
     odx_write},
    {"RECEIVE COPY STATUS(LID1)",
     0x84,
     0x00,
     16,
     OPCODE_SERVICE | FREE,
     {[2] = 0xff, LEN32},
     PARAMETER_MAX,
     xcopy_decode_results,
     xcopy_status},
    {"RECEIVE COPY OPERATING PARAMETERS",
     0x84,
     0x03,
     16,
     OPCODE_SERVICE | FREE,
     {[2] = 0xff, LEN32},
     PARAMETER_MAX,
     xcopy_decode_results,
     xcopy_parameters},
    {"RECEIVE ROD TOKEN INFORMATION",
     0x84,
     0x07,
     16,
     OPCODE_SERVICE | FREE,
     {[2] = 0xff, [3] = 0xff, [4] = 0xff, [5] = 0xff, LEN32},
     PARAMETER_MAX,
     odx_decode_information,
     odx_information},
    {"READ(16)", 0x88, 0, 16, READS, {[1] = 0x18, LBA64, LEN32}, 0, block_decode_read, block_read},
    {"WRITE(16)",
     0x8a,
     0,
     16,
     WRITES,
     {[1] = 0x18, LBA64, LEN32},
     0,
     block_decode_write,
     block_write},
    {"COMPARE AND WRITE",
     0x89,
     0,
     16,
     WRITES,
     {[1] = 0x18, LBA64, [13] = 0xff},
     0,
     caw_decode,
     caw_execute},
    {"ORWRITE(16)",
     0x8b,
     0,
     16,
     WRITES,
     {[1] = 0x18, LBA64, LEN32},
     0,
     block_decode_write,
     orwrite_execute},
    {"WRITE AND VERIFY(16)",
     0x8e,
     0,
     16,
     WRITES,
     {[1] = 0x16, LBA64, LEN32},
     0,
     verify_decode_write,
     verify_write},
    {"VERIFY(16)",
     0x8f,
     0,
     16,
     READS,
     {[1] = 0x16, LBA64, LEN32},
     0,
     verify_decode,
     verify_execute},
    {"PRE-FETCH(16)",
     0x90,
     0,
     16,
     OPCODE_GROUP | OPCODE_PR_READ,
     {[1] = 0x02, LBA64, LEN32},
     0,
     block_decode_range,
     block_prefetch},
    {"SYNCHRONIZE CACHE(16)",
     0x91,
     0,
     16,
     OPCODE_GROUP,
     {[1] = 0x02, LBA64, LEN32},
     0,
     block_decode_range,
     block_synchronize_cache},
    {"WRITE SAME(16)",
     0x93,
     0,
     16,
     WRITES,
     {[1] = 0x09, LBA64, LEN32},
     0,
     provision_decode_same,
     provision_write_same},
    {"WRITE ATOMIC(16)",
     0x9c,
     0,
     16,
     WRITES,
     {[1] = 0x18, LBA64, [12] = 0xff, [13] = 0xff},
     0,
     atomic_decode,
     atomic_execute},
    {"READ CAPACITY(16)",
     0x9e,
     0x10,
     16,
     OPCODE_SERVICE | FREE | OPCODE_STANDBY_OK,
     {LEN32},
     PARAMETER_MAX,
     block_decode_capacity16,
     block_read_capacity16},
    {"GET LBA STATUS",
     0x9e,
     0x12,
     16,
     OPCODE_SERVICE | OPCODE_PR_READ,
     {LBA64, LEN32},
     PARAMETER_MAX,
     provision_decode_status,
     provision_lba_status},
    {"REPORT LUNS",
     0xa0,
     0,
     12,
     ALWAYS,
     {[2] = 0xff, LEN12},
     LUN_LIST_MAX,
     spc_decode_alloc32,
     spc_report_luns},
    {"REPORT TARGET PORT GROUPS",
     0xa3,
     0x0a,
     12,
     OPCODE_SERVICE | FREE | OPCODE_ANY_ACCESS | OPCODE_SANITIZE_OK | SHARED,
     {[1] = 0xe0, LEN12},
     PARAMETER_MAX,
     spc_decode_alloc32,
     alua_report},
    {"REPORT SUPPORTED OPERATION CODES",
     0xa3,
     0x0c,
     12,
     OPCODE_SERVICE | FREE | OPCODE_ANY_ACCESS | OPCODE_SANITIZE_OK | SHARED,
     {[2] = 0x87, [3] = 0xff, [4] = 0xff, [5] = 0xff, LEN12},
     PARAMETER_MAX,
     spc_decode_alloc32,
     report_opcodes},
    {"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
     0xa3,
     0x0d,
     12,
     OPCODE_SERVICE | FREE | OPCODE_ANY_ACCESS | OPCODE_SANITIZE_OK | SHARED,
     {[2] = 0x80, LEN12},
     PARAMETER_MAX,
     spc_decode_alloc32,
     report_tmfs},
    {"SET TARGET PORT GROUPS",
     0xa4,
     0x0a,
     12,
     OPCODE_SERVICE | OPCODE_ANY_ACCESS,
     {LEN12},
     0,
     alua_decode_set,
     alua_set},
    {"READ(12)", 0xa8, 0, 12, READS, {[1] = 0x18, LBA32, LEN12}, 0, block_decode_read, block_read},
    {"WRITE(12)",
     0xaa,
     0,
     12,
     WRITES,
     {[1] = 0x18, LBA32, LEN12},
     0,
     block_decode_write,
     block_write},
    {"WRITE AND VERIFY(12)",
     0xae,
     0,
     12,
     WRITES,
     {[1] = 0x16, LBA32, LEN12},
     0,
     verify_decode_write,
     verify_write},
    {"VERIFY(12)",
     0xaf,
     0,
     12,
     READS,
     {[1] = 0x16, LBA32, LEN12},
     0,
     verify_decode,
     verify_execute},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

struct scsi_opcode_table opcode_disk = {.rows = rows, .count = ROW_COUNT};

const struct scsi_opcode *opcode_row(unsigned index)
{
	return index < ROW_COUNT ? &rows[index] : NULL;
}

static void index_row(struct scsi_opcode_table *table, const struct scsi_opcode *row)
{
	struct scsi_opcode_rows *of = &table->of[row->opcode];

	if (of->count == 0)
		of->first = row;
	if (of->first + of->count == row)
		of->count++;
}

/* A type's own rows come before those that all types share. */
void opcode_index(struct scsi_opcode_table *table)
{
	for (unsigned i = 0; i < table->count; i++)
		index_row(table, &table->rows[i]);
	for (unsigned i = 0; table != &opcode_disk && i < ROW_COUNT; i++)
		if (rows[i].flags & OPCODE_ANY_TYPE)
			index_row(table, &rows[i]);
}

__attribute__((constructor)) static void index_rows(void)
{
	opcode_index(&opcode_disk);
}

const struct scsi_opcode_table *opcode_table(const struct scsi_itl *itl)
{
	return itl && itl->lu->cdrom ? &opcode_cdrom : &opcode_disk;
}

const struct scsi_opcode *opcode_find(const struct scsi_opcode_table *table, const uint8_t *cdb,
				      bool *ret_known_opcode)
{
	const struct scsi_opcode_rows *of = &table->of[cdb[0]];

	*ret_known_opcode = of->count > 0;
	for (unsigned i = 0; i < of->count; i++) {
		const struct scsi_opcode *row = &of->first[i];

		if (!(row->flags & OPCODE_SERVICE) || row->service_action == (cdb[1] & 0x1f))
			return row;
	}
	return NULL;
}

/* Bits that are neither used nor refused. The three top bits of byte 1 were the LUN in SCSI-2,
 * and some initiators still fill them in. */
static uint8_t tolerated_bits(const struct scsi_opcode *row, unsigned byte)
{
	static const uint8_t group_byte[17] = {[10] = 6, [12] = 10, [16] = 14};

	if (byte == 0)
		return 0xff;
	if (byte == 1)
		return (uint8_t)((row->flags & OPCODE_PROTECT ? 0 : 0xe0) |
				 (row->flags & OPCODE_SERVICE ? 0x1f : 0));
	if (row->flags & OPCODE_GROUP && byte == group_byte[row->cdb_length])
		return 0x1f;
	return 0;
}

bool opcode_reserved_bit(const struct scsi_opcode *row, const uint8_t *cdb, unsigned *ret_byte,
			 int *ret_bit)
{
	for (unsigned i = 1; i < row->cdb_length; i++) {
		unsigned bad = cdb[i] & ~(unsigned)(row->usage[i] | tolerated_bits(row, i));

		if (bad) {
			*ret_byte = i;
			*ret_bit = 31 - __builtin_clz(bad);
			return true;
		}
	}
	return false;
}

/* ---- REPORT SUPPORTED OPERATION CODES (SPC-4 6.35) */

#define RCTD            0x80
#define TIMEOUTS_LENGTH 12
#define TIMEOUT_SECONDS 30 /* recommended command timeout */

static unsigned put_timeouts(uint8_t *p)
{
	put_be16(p, TIMEOUTS_LENGTH - 2);
	put_be32(p + 8, TIMEOUT_SECONDS);
	return TIMEOUTS_LENGTH;
}

static uint8_t *put_command(uint8_t *p, const struct scsi_opcode *row, bool timeouts)
{
	p[0] = row->opcode;
	put_be16(p + 2, row->service_action);
	p[5] = (uint8_t)((timeouts ? 0x02 : 0) | (row->flags & OPCODE_SERVICE ? 0x01 : 0));
	put_be16(p + 6, row->cdb_length);
	p += 8;
	if (timeouts)
		p += put_timeouts(p);
	return p;
}

static bool is_offered(const struct scsi_itl *itl, const struct scsi_opcode *row)
{
	return !(row->flags & OPCODE_SANITIZES) || sanitize_offered(itl);
}

static void report_all(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data, *p = data + 4;
	const struct scsi_opcode_table *table = opcode_table(task->itl);

	for (unsigned opcode = 0; opcode < 256; opcode++)
		for (unsigned i = 0; i < table->of[opcode].count; i++)
			if (is_offered(task->itl, &table->of[opcode].first[i]))
				p = put_command(p, &table->of[opcode].first[i],
						task->cdb[2] & RCTD);
	put_be32(data, (uint32_t)(p - data - 4));
	task_reply(task, (uint32_t)(p - data));
}
_Static_assert(4 + ROW_COUNT * (8 + TIMEOUTS_LENGTH) <= PARAMETER_MAX, "the table outgrew RSOC");

static void report_one(struct scsi_task *task, const struct scsi_opcode *row)
{
	uint8_t *data = task->buffer->data;
	bool timeouts = task->cdb[2] & RCTD && row;
	uint32_t length = 4;

	data[1] = row ? 0x03 : 0x01; /* as the standard has it, or not supported */
	if (row) {
		if (timeouts)
			data[1] |= 0x80;
		put_be16(data + 2, row->cdb_length);
		memcpy(data + 4, row->usage, row->cdb_length);
		data[4] = row->opcode;
		if (row->flags & OPCODE_SERVICE)
			data[5] |= row->service_action;
		length += row->cdb_length;
	}
	if (timeouts)
		length += put_timeouts(data + length);
	task_reply(task, length);
}

void report_opcodes(struct scsi_task *task)
{
	uint8_t option = task->cdb[2] & 7;
	uint16_t action = get_be16(task->cdb + 4);
	uint8_t wanted[2] = {task->cdb[3], (uint8_t)(action & 0x1f)};
	bool known, by_action;
	const struct scsi_opcode_table *table = opcode_table(task->itl);
	const struct scsi_opcode *row = opcode_find(table, wanted, &known);

	if (option == 0) {
		report_all(task);
		return;
	}
	by_action = known && table->of[wanted[0]].first->flags & OPCODE_SERVICE;
	if (option > 3 || (option == 1 && by_action) || (option == 2 && known && !by_action)) {
		if (option > 3)
			sense_set_cdb_field(task, 2, 2);
		else
			sense_set_cdb_field(task, option == 1 ? 3 : 4, -1);
		task_finish(task);
		return;
	}
	if (action > 0x1f || (option == 3 && !by_action && action != 0) ||
	    (row && !is_offered(task->itl, row)))
		row = NULL;
	report_one(task, row);
}

/* ---- REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36): what tmf.c does. */
void report_tmfs(struct scsi_task *task)
{
	uint8_t *data = task->buffer->data;

	/* ATS ATSS CACAS CTSS LURS QTS TRS WAKES: all but CLEAR ACA and WAKEUP */
	data[0] = 0x80 | 0x40 | 0x10 | 0x08 | 0x04 | 0x02;
	data[1] = 0x04 | 0x02 | 0x01; /* QAES QTSS ITNRS */
	if (!(task->cdb[2] & 0x80)) {
		task_reply(task, 4);
		return;
	}
	data[3] = 0x0c; /* SPC-4 table: extended data; no timeouts are stated */
	task_reply(task, 16);
}
