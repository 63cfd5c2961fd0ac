/* SPDX-License-Identifier: Apache-2.0 */
/* INQUIRY, VPD, REPORT LUNS, REQUEST SENSE, modes, RSOC: good and hostile. */
#include "tests/unit/target/rig.h"

static void inquiry_standard(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x12, 0, 0, 1, 0);
	assert_good(io);
	assert_int_equal(io->in_length, 96);
	assert_int_equal(io->in[0], 0);
	assert_int_equal(io->in[2], 6);
	assert_memory_equal(io->in + 8, "GRANARY VOLUME          0001", 28);
	for (unsigned allocation = 0; allocation < 5; allocation++) {
		io = RUN(rig.a, 0, 0x12, 0, 0, 0, (uint8_t)allocation);
		assert_good(io);
		assert_int_equal(io->in_length, allocation);
	}
	assert_cdb_field(RUN(rig.a, 0, 0x12, 0, 0x80, 0, 96), 2); /* page without EVPD */
	assert_cdb_field(RUN(rig.a, 0, 0x12, 2, 0, 0, 96), 1);    /* CMDDT */
	assert_cdb_field(RUN(rig.a, 0, 0x12, 0, 0, 0, 96, 4), 5); /* NACA */
	assert_cdb_field(RUN(rig.a, 0, 0x12, 1, 0x99, 0, 96), 2); /* no such page */
	io0.lun = 9;
	io = RUN(rig.a, 0, 0x12, 0, 0, 0, 96);
	assert_good(io);
	assert_int_equal(io->in[0], 0x7f);
	assert_sense(RUN(rig.a, 0, 0x12, 1, 0, 0, 96), 5, 0x2500);
	assert_sense(RUN(rig.a, 0, 0x00), 5, 0x2500);
	assert_sense(RUN(rig.a, 0, 0xff), 5, 0x2500);
}

static void vital_pages(void **state)
{
	static const uint8_t pages[] = {0x00, 0x80, 0x83, 0x86, 0x8f, 0xb0, 0xb1, 0xb2};
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x12, 1, 0, 0, 255);
	assert_good(io);
	assert_int_equal(io->in_length, 4 + sizeof(pages));
	assert_memory_equal(io->in + 4, pages, sizeof(pages));
	for (unsigned i = 0; i < sizeof(pages); i++) {
		io = RUN(rig.a, 0, 0x12, 1, pages[i], 4, 0);
		assert_good(io);
		assert_int_equal(io->in[1], pages[i]);
		assert_int_equal(io->in_length, 4 + get_be16(io->in + 2));
		for (unsigned allocation = 0; allocation < 5; allocation++)
			assert_int_equal(
			    RUN(rig.a, 0, 0x12, 1, pages[i], 0, (uint8_t)allocation)->in_length,
			    allocation);
	}
	io = RUN(rig.a, 0, 0x12, 1, 0x80, 0, 255);
	assert_memory_equal(io->in + 4, rig.volume->identity.serial, 32);
	io = RUN(rig.a, 0, 0x12, 1, 0xb0, 0, 255);
	assert_int_equal(io->in_length, 64);
	assert_int_equal(io->in[4], 1);
	assert_int_equal(io->in[5], 255); /* of COMPARE AND WRITE */
	assert_int_equal(get_be16(io->in + 6), 8);
	assert_int_equal(get_be32(io->in + 8), 2048);
	assert_int_equal(get_be32(io->in + 28), 8);
	io = RUN(rig.a, 0, 0x12, 1, 0xb2, 0, 255);
	assert_int_equal(io->in[5], 0xe4);
	assert_int_equal(io->in[6], 2);
}

static void identification_is_well_formed(void **state)
{
	struct io *io;
	unsigned kinds = 0;

	(void)state;
	io = RUN(rig.a, 0, 0x12, 1, 0x83, 4, 0);
	assert_good(io);
	for (unsigned at = 4; at < io->in_length; at += 4u + io->in[at + 3]) {
		uint8_t kind = io->in[at + 1] & 0x3f;

		assert_true(at + 4u + io->in[at + 3] <= io->in_length);
		if (kind == 3) {
			assert_int_equal(io->in[at + 3], 16);
			assert_int_equal(io->in[at + 4] >> 4, 6);
			assert_memory_equal(io->in + at + 4, rig.volume->identity.naa, 16);
		}
		if ((kind & 0xf) == 8)
			assert_int_equal(io->in[at + 3] % 4, 0);
		kinds |= 1u << (kind & 0xf);
	}
	assert_int_equal(kinds, 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 8);
}

static void report_luns(void **state)
{
	struct io *io;
	unsigned lun;

	(void)state;
	assert_int_equal(scsi_target_map(rig.target, rig.volume, 300, &lun, NULL), 0);
	assert_int_equal(scsi_target_map(rig.target, rig.volume, -1, &lun, NULL), 0);
	assert_int_equal(lun, 1);
	io = RUN(rig.a, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_good(io);
	assert_int_equal(io->in_length, 8 + 24);
	assert_int_equal(get_be32(io->in), 24);
	assert_int_equal(get_be16(io->in + 8), 0);
	assert_int_equal(get_be16(io->in + 16), 1);
	assert_int_equal(get_be16(io->in + 24), 0x4000 | 300);
	io = RUN(rig.a, 0, 0xa0, 0, 1, 0, 0, 0, 0, 0, 1, 0);
	assert_int_equal(get_be32(io->in), 0);
	assert_int_equal(RUN(rig.a, 0, 0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0)->in_length, 32);
	assert_cdb_field(RUN(rig.a, 0, 0xa0, 0, 3, 0, 0, 0, 0, 0, 1, 0), 2);
	io0.lun = 300;
	eat_attentions(rig.a);
	assert_good(RUN(rig.a, 0, 0x00));
	io0.lun = 4000; /* answered where nothing is */
	assert_good(RUN(rig.a, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0));
}

static void lun_numbers(void **state)
{
	static const uint8_t bad[][8] = {
	    {0, 0, 1}, {1, 0}, {0x80, 0}, {0xc1, 0x01}, {0, 0, 0, 0, 0, 0, 0, 1}};
	uint8_t wire[8];

	(void)state;
	for (unsigned lun = 0; lun <= SCSI_LUN_MAX; lun++) {
		lun_encode(lun, wire);
		assert_int_equal(lun_decode(wire), lun);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(lun_decode(bad[i]), LUN_NONE);
}

static void request_sense(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x03, 0, 0, 0, 252);
	assert_good(io);
	assert_int_equal(io->in_length, 18);
	assert_int_equal(io->in[2], 0);
	io = RUN(rig.a, 0, 0x03, 1, 0, 0, 252);
	assert_int_equal(io->in[0], 0x72);
	assert_int_equal(io->in_length, 8);
	io0.lun = 5;
	io = RUN(rig.a, 0, 0x03, 0, 0, 0, 252);
	assert_good(io);
	assert_int_equal(io->in[2], 5);
	assert_int_equal(get_be16(io->in + 12), 0x2500);
}

static void mode_sense_pages(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x1a, 0, 0x3f, 0, 255);
	assert_good(io);
	assert_int_equal(io->in[0] + 1u, io->in_length);
	assert_int_equal(io->in[2], 0x10);
	assert_int_equal(io->in[3], 8);
	assert_int_equal(io->in_length, 4 + 8 + 12 + 20 + 12 + 12);
	io = RUN(rig.a, 0, 0x1a, 8, 0x08, 0, 255);
	assert_int_equal(io->in_length, 4 + 20);
	assert_int_equal(io->in[4 + 2] & 4, 4);
	io = RUN(rig.a, 0, 0x1a, 8, 0x48, 0, 255); /* changeable */
	assert_int_equal(io->in[4 + 2], 4);
	io = RUN(rig.a, 0, 0x5a, 0x10, 0x0a, 0xff, 0, 0, 0, 1, 0);
	assert_good(io);
	assert_int_equal(io->in_length, 8 + 16 + 12);
	assert_int_equal(get_be64(io->in + 8), RIG_SIZE / 512);
	assert_sense(RUN(rig.a, 0, 0x1a, 8, 0xc8, 0, 255), 5, 0x3900);
	assert_cdb_field(RUN(rig.a, 0, 0x1a, 8, 0x05, 0, 255), 2);
	assert_cdb_field(RUN(rig.a, 0, 0x1a, 8, 0x0a, 0x01, 255), 3);
	for (unsigned allocation = 0; allocation < 5; allocation++)
		assert_int_equal(RUN(rig.a, 0, 0x1a, 0, 0x3f, 0, (uint8_t)allocation)->in_length,
				 allocation);
}

static struct io *select_control(struct scsi_nexus *nexus, uint8_t byte2, uint8_t byte4)
{
	uint8_t list[] = {0, 0, 0, 0, 0x0a, 0x0a, byte2, 0x10, byte4, 0, 0, 0, 0, 0, 0, 0};

	memcpy(io0.out, list, sizeof(list));
	return RUN(nexus, sizeof(list), 0x15, 0x10, 0, 0, sizeof(list));
}

static void mode_select_values(void **state)
{
	struct io *io;

	(void)state;
	assert_good(select_control(rig.a, 0x04, 0)); /* D_SENSE */
	assert_good(RUN(rig.a, 0, 0x00));            /* not to the one who did it */
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a01);
	assert_good(RUN(rig.b, 0, 0x00));
	io = RUN(rig.a, 0, 0x12, 0, 1, 0, 96);
	assert_int_equal(io->task.sense[0], 0x72);
	assert_cdb_field(io, 2);
	assert_good(select_control(rig.a, 0x04, 0)); /* no change, no attention */
	assert_good(RUN(rig.b, 0, 0x00));
	assert_good(select_control(rig.a, 0, 0x08)); /* SWP */
	eat_attentions(rig.b);
	assert_sense(RUN(rig.b, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1), 7, 0x2702);
	assert_good(RUN(rig.b, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1));
	io = RUN(rig.a, 0, 0x1a, 8, 0x0a, 0, 255);
	assert_int_equal(io->in[2], 0x90);
	assert_good(select_control(rig.a, 0, 0));
	io = select_control(rig.a, 0x01, 0); /* not changeable */
	assert_sense(io, 5, 0x2600);
	assert_true(io->has_field);
	assert_int_equal(io->field, 6);
}

static void mode_select_lies(void **state)
{
	(void)state;
	assert_good(RUN(rig.a, 0, 0x15, 0x10, 0, 0, 0));
	memset(io0.out, 0, 64);
	for (unsigned length = 1; length < 4; length++)
		assert_sense(RUN(rig.a, length, 0x15, 0x10, 0, 0, (uint8_t)length), 5, 0x1a00);
	assert_good(RUN(rig.a, 4, 0x15, 0x10, 0, 0, 4));
	assert_sense(RUN(rig.a, 5, 0x15, 0x10, 0, 0, 5), 5, 0x1a00);
	assert_sense(RUN(rig.a, 8, 0x15, 0x10, 0, 0, 8), 5, 0x2600); /* page 00 */
	io0.out[3] = 8;                                              /* descriptor missing */
	assert_sense(RUN(rig.a, 4, 0x15, 0x10, 0, 0, 4), 5, 0x1a00);
	io0.out[3] = 255;
	assert_sense(RUN(rig.a, 64, 0x15, 0x10, 0, 0, 64), 5, 0x2600);
	memset(io0.out, 0, 64);
	io0.out[4] = 0x08;
	io0.out[5] = 0xff; /* page length lies */
	assert_sense(RUN(rig.a, 32, 0x15, 0x10, 0, 0, 32), 5, 0x2600);
	io0.out[5] = 0x12; /* right, but the list ends */
	assert_sense(RUN(rig.a, 12, 0x15, 0x10, 0, 0, 12), 5, 0x1a00);
	assert_sense(RUN(rig.a, 0, 0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff), 5, 0x1a00);
	assert_cdb_field(RUN(rig.a, 4, 0x15, 0x11, 0, 0, 4), 1); /* SP */
	/* fewer bytes than the CDB says */
	memset(io0.out, 0, 64);
	assert_sense(RUN(rig.a, 2, 0x15, 0x10, 0, 0, 24), 5, 0x1a00);
}

static void opcodes_report(void **state)
{
	struct io *io;
	unsigned count = 0;

	(void)state;
	io = RUN(rig.a, 0, 0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0);
	assert_good(io);
	while (opcode_row(count))
		count++;
	assert_int_equal(get_be32(io->in), 8 * count);
	io = RUN(rig.a, 0, 0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 0x10, 0);
	assert_int_equal(get_be32(io->in), 20 * count);
	/* every row can be asked for by itself, and says what it is */
	for (unsigned i = 0; i < count; i++) {
		const struct scsi_opcode *row = opcode_row(i);

		io = RUN(rig.a, 0, 0xa3, 0x0c, 0x83, row->opcode, 0, row->service_action, 0, 0,
			 0x10, 0);
		assert_good(io);
		assert_int_equal(io->in[1], 0x83);
		assert_int_equal(get_be16(io->in + 2), row->cdb_length);
		assert_int_equal(io->in[4], row->opcode);
		assert_int_equal(io->in_length, 4 + row->cdb_length + 12);
	}
	assert_int_equal(RUN(rig.a, 0, 0xa3, 0x0c, 1, 0x39, 0, 0, 0, 0, 1, 0)->in[1], 1);
	assert_int_equal(RUN(rig.a, 0, 0xa3, 0x0c, 2, 0x9e, 0, 0x10, 0, 0, 1, 0)->in[1], 3);
	assert_int_equal(RUN(rig.a, 0, 0xa3, 0x0c, 2, 0x9e, 0, 0x11, 0, 0, 1, 0)->in[1], 1);
	assert_cdb_field(RUN(rig.a, 0, 0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 1, 0), 3);
	assert_cdb_field(RUN(rig.a, 0, 0xa3, 0x0c, 2, 0x28, 0, 0, 0, 0, 1, 0), 4);
	assert_cdb_field(RUN(rig.a, 0, 0xa3, 0x0c, 4, 0x28, 0, 0, 0, 0, 1, 0), 2);
	assert_cdb_field(RUN(rig.a, 0, 0xa3, 0x1f), 1);
	io = RUN(rig.a, 0, 0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 1, 0);
	assert_int_equal(io->in_length, 4);
	assert_int_equal(io->in[0], 0xde);
	assert_int_equal(io->in[1], 0x07);
	assert_int_equal(RUN(rig.a, 0, 0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 1, 0)->in_length, 16);
}

static void unknown_opcodes(void **state)
{
	(void)state;
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		uint8_t cdb[16] = {(uint8_t)opcode, 0x1f};
		bool known;
		const struct scsi_opcode *row = opcode_find(&opcode_disk, cdb, &known);

		if (!row && !known)
			assert_sense(run_on(rig.a, cdb, 16, 0), 5, 0x2000);
	}
}

/* Every row refuses every bit its usage map does not name, or is known to tolerate it. */
static void reserved_bits(void **state)
{
	(void)state;
	for (unsigned i = 0; opcode_row(i); i++) {
		const struct scsi_opcode *row = opcode_row(i);

		for (unsigned bit = 8; bit < row->cdb_length * 8u; bit++) {
			uint8_t cdb[16] = {row->opcode, row->service_action};
			uint8_t mask = (uint8_t)(1u << bit % 8);
			unsigned byte;
			int which;

			if (row->usage[bit / 8] & mask || bit / 8 == 1)
				continue;
			cdb[bit / 8] |= mask;
			if (!opcode_reserved_bit(row, cdb, &byte, &which))
				continue; /* GROUP NUMBER */
			assert_int_equal(byte, bit / 8);
			assert_cdb_field(run_on(rig.a, cdb, 16, 0), (uint16_t)byte);
		}
	}
	assert_cdb_field(RUN(rig.a, 0, 0x28, 0x20, 0, 0, 0, 0, 0, 0, 1), 1); /* RDPROTECT */
	assert_cdb_field(RUN(rig.a, 512, 0x8a, 0x20, [13] = 1), 1);          /* WRPROTECT */
	assert_good(RUN(rig.a, 0, 0x00, 0x20));                              /* SCSI-2 LUN field */
	assert_good(RUN(rig.a, 0, 0x28, 0, 0, 0, 0, 0, 0x1f, 0, 1));         /* group number */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(inquiry_standard, setup, teardown),
	    cmocka_unit_test_setup_teardown(vital_pages, setup, teardown),
	    cmocka_unit_test_setup_teardown(identification_is_well_formed, setup, teardown),
	    cmocka_unit_test_setup_teardown(report_luns, setup, teardown),
	    cmocka_unit_test(lun_numbers),
	    cmocka_unit_test_setup_teardown(request_sense, setup, teardown),
	    cmocka_unit_test_setup_teardown(mode_sense_pages, setup, teardown),
	    cmocka_unit_test_setup_teardown(mode_select_values, setup, teardown),
	    cmocka_unit_test_setup_teardown(mode_select_lies, setup, teardown),
	    cmocka_unit_test_setup_teardown(opcodes_report, setup, teardown),
	    cmocka_unit_test_setup_teardown(unknown_opcodes, setup, teardown),
	    cmocka_unit_test_setup_teardown(reserved_bits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
