/* SPDX-License-Identifier: Apache-2.0 */
/* Read-only LUNs, and a volume as a CD-ROM: MMC commands, the tray, what is refused. */
#include "tests/unit/target/rig.h"

#define CD_LUN    5
#define CD_BLOCKS (RIG_SIZE / 2048)

static struct test_volume *disc;

static void map_disc(void *context)
{
	unsigned lun;
	struct scsi_lun_mode mode = {.cdrom = true};

	assert_int_equal(scsi_target_map_as(rig.target, context, CD_LUN, NULL, &mode, &lun, NULL),
			 0);
}

static int setup_disc(void **state)
{
	rig_up(RIG_SIZE, false);
	(void)state;
	disc = test_volume_new("disc", RIG_SIZE);
	on_loop(map_disc, &disc->volume);
	io0.lun = CD_LUN;
	eat_attentions(rig.a);
	eat_attentions(rig.b);
	return 0;
}

static int teardown_disc(void **state)
{
	rig_down();
	assert_int_equal(disc->volume.refs, 1);
	volume_unref(&disc->volume);
	(void)state;
	return 0;
}

static void drive_is_described(void **state)
{
	static const uint8_t pages[] = {0x00, 0x80, 0x83, 0x86};
	static const uint8_t commands[] = {0x00, 0x03, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b,
					   0x1e, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x52,
					   0x55, 0x5a, 0xa0, 0xa3, 0xa8, 0xad, 0xbd, 0xbe};
	struct io *io = RUN(rig.a, 0, 0x12, 0, 0, 1, 0);

	(void)state;
	assert_good(io);
	assert_int_equal(io->in[0], 0x05);
	assert_int_equal(io->in[1], 0x80);
	assert_memory_equal(io->in + 16, "DVD-ROM ", 8);
	io = RUN(rig.a, 0, 0x12, 1, 0, 0, 255);
	assert_int_equal(io->in_length, 4 + sizeof(pages));
	assert_memory_equal(io->in + 4, pages, sizeof(pages));
	assert_cdb_field(RUN(rig.a, 0, 0x12, 1, 0xb0, 0, 255), 2);
	io = RUN(rig.a, 0, 0x25);
	assert_int_equal(get_be32(io->in), CD_BLOCKS - 1);
	assert_int_equal(get_be32(io->in + 4), 2048);
	/* what a drive has is reported and known, shared with disks or not; the rest is not there
	 */
	io = RUN(rig.a, 0, 0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0);
	assert_int_equal(get_be32(io->in), 8 * (sizeof(commands) + 2)); /* A3h is three */
	for (unsigned opcode = 0, i = 0; opcode < 256; opcode++) {
		uint8_t cdb[16] = {(uint8_t)opcode};

		if (i < sizeof(commands) && commands[i] == opcode) {
			assert_true(opcode_cdrom.of[opcode].count == (opcode == 0xa3 ? 3 : 1));
			i++;
		} else {
			assert_sense(run_on(rig.a, cdb, 16, 0), 5, 0x2000);
		}
	}
	assert_sense(RUN(rig.a, 2048, 0x2a, [8] = 1), 5, 0x2000);
}

static void blocks_of_2048(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x28, [8] = 1);
	assert_good(io);
	assert_int_equal(io->in_length, 2048);
	assert_int_equal(disc->reads, 1);
	io = RUN(rig.a, 0, 0xa8, [9] = 3);
	assert_int_equal(io->in_length, 3 * 2048);
	/* more than one buffer */
	io = RUN(rig.a, 0, 0x28, 0, 0, 0, 0, 0, 0, 0x02, 0x80);
	assert_good(io);
	assert_int_equal(io->in_length, 640 * 2048);
	assert_int_equal(disc->reads, 4);
	assert_cdb_field(RUN(rig.a, 0, 0x28, 0, 0, 0, 0, 0, 0, 0x04, 0x01), 7);
	/* the last block, one past it, far away */
	assert_good(RUN(rig.a, 0, 0x28, 0, 0, 0, 0x0f, 0xff, 0, 0, 1));
	io = RUN(rig.a, 0, 0x28, 0, 0, 0, 0x0f, 0xff, 0, 0, 2);
	assert_sense(io, 5, 0x2100);
	assert_int_equal(io->information, CD_BLOCKS);
	assert_sense(RUN(rig.a, 0, 0xa8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 5,
		     0x2100);
	/* READ CD: user data of any or mode 1 sectors, nothing raw, no audio */
	io = RUN(rig.a, 0, 0xbe, 0, 0, 0, 0, 0, 0, 0, 2, 0x10);
	assert_good(io);
	assert_int_equal(io->in_length, 4096);
	assert_int_equal(RUN(rig.a, 0, 0xbe, 0, 0, 0, 0, 0, 0, 0, 2, 0)->in_length, 0);
	assert_cdb_field(RUN(rig.a, 0, 0xbe, 0, 0, 0, 0, 0, 0, 0, 2, 0xf8), 9);
	assert_sense(RUN(rig.a, 0, 0xbe, 0x04, 0, 0, 0, 0, 0, 0, 2, 0x10), 5, 0x6400);
	disc->fail_op = VOLUME_READ;
	disc->fail_with = -EIO;
	disc->fail_offset = 7 * 2048;
	io = RUN(rig.a, 0, 0x28, 0, 0, 0, 0, 4, 0, 0, 8);
	assert_sense(io, 3, 0x1100);
	assert_int_equal(io->information, 7); /* in blocks of this device */
}

static void table_of_contents(void **state)
{
	struct io *io = RUN(rig.a, 0, 0x43, 0, 0, 0, 0, 0, 1, 4, 0);

	(void)state;
	assert_good(io);
	assert_int_equal(io->in_length, 20);
	assert_int_equal(get_be16(io->in), 18);
	assert_int_equal(io->in[2], 1);
	assert_int_equal(io->in[5], 0x14);
	assert_int_equal(io->in[6], 1);
	assert_int_equal(get_be32(io->in + 8), 0);
	assert_int_equal(io->in[14], 0xaa);
	assert_int_equal(get_be32(io->in + 16), CD_BLOCKS);
	io = RUN(rig.a, 0, 0x43, 2, 0, 0, 0, 0, 0xaa, 4, 0); /* MSF, the lead-out alone */
	assert_int_equal(io->in_length, 12);
	assert_int_equal(io->in[9] * 60u * 75u + io->in[10] * 75u + io->in[11], CD_BLOCKS + 150);
	assert_cdb_field(RUN(rig.a, 0, 0x43, 0, 0, 0, 0, 0, 2, 4, 0), 6);
	io = RUN(rig.a, 0, 0x43, 0, 1, 0, 0, 0, 0, 4, 0);
	assert_int_equal(io->in_length, 12);
	io = RUN(rig.a, 0, 0x43, 2, 2, 0, 0, 0, 0, 4, 0);
	assert_int_equal(io->in_length, 4 + 4 * 11);
	assert_int_equal(io->in[4 + 3], 0xa0);
	assert_int_equal(io->in[4 + 8], 1);
	assert_cdb_field(RUN(rig.a, 0, 0x43, 0, 5, 0, 0, 0, 0, 4, 0), 2);
	io = RUN(rig.a, 0, 0x51, 0, 0, 0, 0, 0, 0, 4, 0);
	assert_int_equal(io->in_length, 34);
	assert_int_equal(io->in[2], 0x0e);
	io = RUN(rig.a, 0, 0x52, 1, 0, 0, 0, 1, 0, 4, 0);
	assert_int_equal(io->in_length, 36);
	assert_int_equal(get_be32(io->in + 24), CD_BLOCKS);
	assert_cdb_field(RUN(rig.a, 0, 0x52, 1, 0, 0, 0, 2, 0, 4, 0), 2);
}

static void configuration(void **state)
{
	struct io *io = RUN(rig.a, 0, 0x46, 0, 0, 0, 0, 0, 0, 4, 0);
	unsigned at = 8, count = 0;

	(void)state;
	assert_good(io);
	assert_int_equal(get_be32(io->in), io->in_length - 4);
	assert_int_equal(get_be16(io->in + 6), 0x0008); /* 8 MiB are a CD */
	for (int before = -1; at < io->in_length; at += 4u + io->in[at + 3], count++) {
		assert_true((int)get_be16(io->in + at) > before);
		before = get_be16(io->in + at);
	}
	assert_int_equal(at, io->in_length);
	assert_int_equal(count, 8);
	io = RUN(rig.a, 0, 0x46, 2, 0, 0x1e, 0, 0, 0, 4, 0);
	assert_int_equal(io->in_length, 8 + 8);
	assert_int_equal(io->in[10] & 1, 1); /* CD read is current, DVD read is not */
	io = RUN(rig.a, 0, 0x46, 2, 0, 0x1f, 0, 0, 0, 4, 0);
	assert_int_equal(io->in[10] & 1, 0);
	assert_cdb_field(RUN(rig.a, 0, 0x46, 3, 0, 0, 0, 0, 0, 4, 0), 1);
	assert_sense(RUN(rig.a, 0, 0xad, [8] = 8), 5, 0x3002); /* no DVD */
	disc->volume.size_bytes = 2ull << 30;
	io = RUN(rig.a, 0, 0x46, 1, 0, 0, 0, 0, 0, 4, 0);
	assert_int_equal(get_be16(io->in + 6), 0x0010);
	io = RUN(rig.a, 0, 0xad, [8] = 0x10);
	assert_int_equal(io->in_length, 2052);
	assert_int_equal(get_be32(io->in + 12) - get_be32(io->in + 8) + 1, 1u << 20);
	disc->volume.size_bytes = RIG_SIZE;
}

static uint8_t media_event(struct scsi_nexus *nexus, uint8_t *ret_status)
{
	struct io *io = RUN(nexus, 0, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8);

	assert_good(io);
	assert_int_equal(io->in[2], 4);
	*ret_status = io->in[5];
	return io->in[4];
}

static void tray_of_ones_own(void **state)
{
	uint8_t status;

	(void)state;
	assert_int_equal(media_event(rig.a, &status), 0);
	assert_int_equal(status, 2);
	assert_good(RUN(rig.a, 0, 0x1e, 0, 0, 0, 1)); /* prevent */
	assert_sense(RUN(rig.a, 0, 0x1b, 0, 0, 0, 2), 5, 0x5302);
	assert_good(RUN(rig.a, 0, 0x1e));
	assert_good(RUN(rig.a, 0, 0x1b, 0, 0, 0, 2)); /* eject */
	assert_sense(RUN(rig.a, 0, 0x00), 2, 0x3a02);
	assert_sense(RUN(rig.a, 0, 0x28, [8] = 1), 2, 0x3a02);
	assert_good(RUN(rig.a, 0, 0x12, [4] = 36));
	assert_int_equal(media_event(rig.a, &status), 3);
	assert_int_equal(status, 1);
	assert_int_equal(media_event(rig.a, &status), 0);
	assert_int_equal(RUN(rig.a, 0, 0xbd, [9] = 8)->in[1], 0x10);
	assert_good(RUN(rig.b, 0, 0x00)); /* its disc is where it was */
	assert_good(RUN(rig.b, 0, 0x28, [8] = 1));
	assert_good(RUN(rig.a, 0, 0x1b, 0, 0, 0, 3)); /* load */
	assert_int_equal(media_event(rig.a, &status), 2);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2800);
	assert_good(RUN(rig.a, 0, 0x00));
	assert_cdb_field(RUN(rig.a, 0, 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8), 1); /* not polled */
	assert_int_equal(RUN(rig.a, 0, 0x4a, 1, 0, 0, 0x40, 0, 0, 0, 8)->in[2], 0x80);
}

static void drive_modes(void **state)
{
	struct io *io = RUN(rig.a, 0, 0x5a, 0, 0x3f, 0, 0, 0, 0, 4, 0);

	(void)state;
	assert_good(io);
	assert_int_equal(get_be16(io->in + 6), 0); /* no block descriptor */
	assert_int_equal(io->in[8], 0x01);
	assert_int_equal(io->in[8 + 12], 0x2a);
	assert_int_equal(io->in_length, 8 + 12 + 20);
	assert_cdb_field(RUN(rig.a, 0, 0x5a, 0, 0x08, 0, 0, 0, 0, 4, 0), 2);
	assert_cdb_field(RUN(rig.a, 0, 0x5a, 0, 0x1c, 2, 0, 0, 0, 4, 0), 3);
}

/* ---- read-only LUNs */

static void set_read_only(void *context)
{
	assert_int_equal(scsi_target_set_read_only(rig.target, 0, context != NULL, NULL), 0);
}

static void read_only_while_in_use(void **state)
{
	struct scsi_lun_info info;

	(void)state;
	memset(io0.out, 7, 512);
	assert_good(RUN(rig.a, 512, 0x2a, [8] = 1));
	on_loop(set_read_only, &rig);
	assert_true(scsi_target_next_lun(rig.target, -1, &info));
	assert_true(info.mode.read_only);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a01);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a01);
	assert_sense(RUN(rig.a, 512, 0x2a, [8] = 1), 7, 0x2700);
	assert_sense(RUN(rig.a, 512, 0x93, [13] = 1), 7, 0x2700);
	assert_sense(RUN(rig.a, 24, 0x42, [8] = 24), 7, 0x2700);
	assert_int_equal(RUN(rig.a, 0, 0x1a, 0, 0x3f, 0, 255)->in[2] & 0x80, 0x80);
	assert_int_equal(RUN(rig.a, 0, 0x28, [8] = 1)->in[0], 7);
	on_loop(set_read_only, &rig); /* nothing new */
	assert_good(RUN(rig.a, 0, 0x00));
	on_loop(set_read_only, NULL);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a01);
	assert_int_equal(RUN(rig.a, 0, 0x1a, 0, 0x3f, 0, 255)->in[2] & 0x80, 0);
	assert_good(RUN(rig.a, 512, 0x2a, [8] = 1));
}

static void not_both(void **state)
{
	struct scsi_lun_mode cdrom = {.cdrom = true}, disk = {0};
	struct err err = {0};
	unsigned lun;

	(void)state;
	assert_int_equal(scsi_target_map_as(rig.target, rig.volume, 9, NULL, &cdrom, &lun, &err),
			 -EBUSY);
	assert_int_equal(scsi_target_map_as(rig.target, &disc->volume, 9, NULL, &disk, &lun, &err),
			 -EBUSY);
	assert_int_equal(scsi_target_set_read_only(rig.target, CD_LUN, false, &err), -EINVAL);
	assert_int_equal(scsi_target_set_read_only(rig.target, CD_LUN, true, &err), 0);
	assert_int_equal(scsi_target_set_read_only(rig.target, 77, true, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(drive_is_described, setup_disc, teardown_disc),
	    cmocka_unit_test_setup_teardown(blocks_of_2048, setup_disc, teardown_disc),
	    cmocka_unit_test_setup_teardown(table_of_contents, setup_disc, teardown_disc),
	    cmocka_unit_test_setup_teardown(configuration, setup_disc, teardown_disc),
	    cmocka_unit_test_setup_teardown(tray_of_ones_own, setup_disc, teardown_disc),
	    cmocka_unit_test_setup_teardown(drive_modes, setup_disc, teardown_disc),
	    cmocka_unit_test_setup_teardown(read_only_while_in_use, setup, teardown),
	    cmocka_unit_test_setup_teardown(not_both, setup_disc, teardown_disc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
