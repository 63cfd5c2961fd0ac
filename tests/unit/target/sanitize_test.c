/* SPDX-License-Identifier: Apache-2.0 */
/* SANITIZE: what it leaves, what it refuses, what other commands hear meanwhile, task management,
 * failures and the way out of them, and what survives a restart. */
#include <unistd.h>

#include "tests/unit/target/rig.h"

#define IN_PROGRESS 0x041b
#define FAILED      0x3103

static char store_path[64];

static void open_store(void)
{
	const struct world_ops *world;

	assert_int_equal(world_select("aio", &world, NULL), 0);
	assert_int_equal(scsi_reservations_open(world, store_path, NULL), 0);
}

static int setup_stored(void **state)
{
	snprintf(store_path, sizeof(store_path), "/tmp/granary-sanitize-%d", (int)getpid());
	unlink(store_path);
	open_store();
	return setup(state);
}

static int teardown_stored(void **state)
{
	scsi_reservations_close(); /* its thread may be about to wake the loop */
	unlink(store_path);
	return teardown(state);
}

static void write_blocks(uint64_t lba, uint16_t blocks, uint8_t value)
{
	uint8_t cdb[16] = {0x2a};

	put_be32(cdb + 2, (uint32_t)lba);
	put_be16(cdb + 7, blocks);
	memset(io0.out, value, blocks * 512u);
	assert_good(run_on(rig.a, cdb, 16, blocks * 512u));
}

static void expect_blocks(uint64_t lba, uint16_t blocks, uint8_t value)
{
	uint8_t cdb[16] = {0x28};
	struct io *io;

	put_be32(cdb + 2, (uint32_t)lba);
	put_be16(cdb + 7, blocks);
	io = run_on(rig.a, cdb, 16, 0);
	assert_good(io);
	assert_int_equal(io->in_length, blocks * 512u);
	for (unsigned i = 0; i < io->in_length; i++)
		assert_int_equal(io->in[i], value);
}

static bool is_mapped(uint64_t lba)
{
	uint8_t cdb[16] = {0x9e, 0x12, [13] = 24};
	struct io *io;

	put_be64(cdb + 2, lba);
	io = run_on(rig.a, cdb, 16, 0);
	assert_good(io);
	return io->in[20] == 0;
}

static struct io *erase(uint8_t bits)
{
	return RUN(rig.a, 0, 0x48, bits | 0x02);
}

/* OVERWRITE with a pattern of @length times @value. */
static struct io *overwrite(uint8_t bits, uint8_t first, uint16_t length, uint8_t value)
{
	uint8_t cdb[16] = {0x48, bits | 0x01};

	put_be16(cdb + 7, 4 + length);
	memset(io0.out, value, 4u + length);
	put_be32(io0.out, (uint32_t)first << 24 | length);
	return run_on(rig.a, cdb, 16, 4u + length);
}

/* Wait until the operation is over. */
static void over(void)
{
	for (int i = 0; i < 100000; i++) {
		struct io *io = RUN(rig.b, 0, 0x00);

		if (io->status == SCSI_GOOD)
			return;
		if (io->key != 6)
			assert_sense(io, 2, IN_PROGRESS);
	}
	fail_msg("it does not end");
}

static void block_erase(void **state)
{
	(void)state;
	write_blocks(0, 64, 0xaa);
	write_blocks(4096, 8, 0xbb);
	rig.test->writes = rig.test->discards = rig.test->flushes = 0;
	assert_good(erase(0));
	/* Overwritten before it is unmapped, and nothing but what was mapped. */
	assert_int_equal(rig.test->in_place, 2);
	assert_int_equal(rig.test->writes, 2);
	assert_int_equal(rig.test->discards, 2);
	assert_int_equal(rig.test->flushes, 2);
	expect_blocks(0, 64, 0);
	expect_blocks(4096, 8, 0);
	assert_false(is_mapped(0));
	assert_false(is_mapped(4096));
	write_blocks(0, 8, 0xcc);
	expect_blocks(0, 8, 0xcc);
}

static void pattern(void **state)
{
	struct io *io;

	(void)state;
	write_blocks(0, 24, 0xaa);
	write_blocks(2048, 2048, 0xbb);
	assert_good(overwrite(0, 1, 512, 0x5a));
	expect_blocks(0, 24, 0x5a);
	expect_blocks(2048, 2048, 0x5a);
	expect_blocks(24, 8, 0);
	assert_true(is_mapped(0));
	assert_false(is_mapped(24));
	/* It begins anew in every block. */
	memcpy(io0.out, (uint8_t[]){1, 0, 0, 3, 'x', 'y', 'z'}, 7);
	assert_good(RUN(rig.a, 7, 0x48, 0x01, [8] = 7));
	io = RUN(rig.a, 0, 0x28, [8] = 2);
	assert_good(io);
	assert_memory_equal(io->in, "xyzxyz", 6);
	assert_memory_equal(io->in + 509, "zxyxyz", 6); /* 512 is 170 times 3 and 2 */
}

/* Inverted between passes, so that the last one is as given; each is flushed. */
static void passes(void **state)
{
	(void)state;
	write_blocks(0, 8, 0xaa);
	for (uint8_t count = 1; count <= 4; count++) {
		rig.test->in_place = rig.test->flushes = 0;
		assert_good(overwrite(0, 0x80 | count, 4, 0x11));
		assert_int_equal(rig.test->in_place, count);
		assert_int_equal(rig.test->flushes, count);
		expect_blocks(0, 8, 0x11);
	}
	rig.test->in_place = 0;
	assert_good(overwrite(0, 31, 1, 0x22));
	assert_int_equal(rig.test->in_place, 31);
}

static void refusals(void **state)
{
	(void)state;
	write_blocks(0, 8, 0xaa);
	assert_cdb_field(RUN(rig.a, 0, 0x48, 0x00), 1); /* service actions that are not there */
	assert_cdb_field(RUN(rig.a, 0, 0x48, 0x03), 1);
	assert_cdb_field(RUN(rig.a, 0, 0x48, 0x42), 1); /* ZNR */
	assert_cdb_field(RUN(rig.a, 8, 0x48, 0x02, [8] = 8), 8);
	assert_cdb_field(RUN(rig.a, 8, 0x48, 0x1f, [8] = 8), 8);
	assert_cdb_field(RUN(rig.a, 4, 0x48, 0x01, [8] = 4), 7);
	assert_cdb_field(RUN(rig.a, 517, 0x48, 0x01, [7] = 2, [8] = 5), 7);
	for (unsigned test = 1; test < 4; test++)
		assert_sense(overwrite(0, (uint8_t)(test << 5 | 1), 4, 0), 5, 0x2600);
	assert_sense(overwrite(0, 0, 4, 0), 5, 0x2600);
	memset(io0.out, 0, 16);
	io0.out[0] = 1;
	assert_sense(RUN(rig.a, 16, 0x48, 0x01, [8] = 16), 5, 0x2600); /* length 0 */
	io0.out[2] = 2, io0.out[3] = 1;
	assert_sense(RUN(rig.a, 16, 0x48, 0x01, [8] = 16), 5, 0x2600); /* 513 */
	io0.out[2] = 0, io0.out[3] = 13;
	assert_sense(RUN(rig.a, 16, 0x48, 0x01, [8] = 16), 5, 0x1a00); /* more than there is */
	assert_sense(RUN(rig.a, 8, 0x48, 0x01, [8] = 16), 5, 0x1a00);  /* less came */
	rig.test->erasable = -EBUSY;                                   /* a snapshot */
	assert_sense(erase(0), 5, 0x2c00);
	rig.test->erasable = -EOPNOTSUPP;
	assert_sense(erase(0), 5, 0x2000);
	rig.test->erasable = 0;
	expect_blocks(0, 8, 0xaa);
	assert_int_equal(rig.test->in_place, 0);
}

/* Offered where it works: the operation codes and VPD page B1. */
static void offered(void **state)
{
	struct io *io;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		rig.test->erasable = i ? -EOPNOTSUPP : -EBUSY;
		io = RUN(rig.a, 0, 0xa3, 0x0c, 2, 0x48, 0, 2, [9] = 64);
		assert_good(io);
		assert_int_equal(io->in[1] & 7, i ? 1 : 3);
		io = RUN(rig.a, 0, 0x12, 1, 0xb1, 0, 64);
		assert_good(io);
		assert_int_equal(io->in[7], i ? 0 : 0x40);
	}
}

static void protection(void **state)
{
	(void)state;
	assert_good(RUN(rig.b, 0, 0x16)); /* RESERVE(6) */
	assert_int_equal(erase(0)->status, SCSI_RESERVATION_CONFLICT);
	assert_good(RUN(rig.b, 0, 0x17));
	rig.volume->read_only = true;
	assert_sense(erase(0), 7, 0x2700);
	rig.volume->read_only = false;
	assert_good(erase(0));
}

static unsigned progress(void)
{
	struct io *io = RUN(rig.b, 0, 0x03, 0, 0, 0, 252);

	assert_good(io);
	assert_int_equal(io->in[2], 2);
	assert_int_equal(get_be16(io->in + 12), IN_PROGRESS);
	assert_int_equal(io->in[15], 0x80);
	return get_be16(io->in + 16);
}

/* Submit what is held, until the operation's next request is held. */
static void let_one_go(void)
{
	struct list *link = NULL;

	for (int i = 0; i < 60000 && !(link = list_pop_front(&rig.test->held)); i++)
		loop_poll(rig.loop, 1000000);
	assert_non_null(link);
	test_pass(rig.test, list_entry(link, struct volume_request, link));
	settle();
}

static void immediate(void **state)
{
	unsigned before, refused[] = {0x00, 0x1b, 0x28, 0x25, 0x1a, 0x42, 0x48};

	(void)state;
	write_blocks(0, 2048, 0xaa);
	write_blocks(8192, 2048, 0xaa);
	rig.test->hold = true;
	assert_good(erase(0x80));
	before = progress();
	let_one_go(); /* EXTENTS */
	let_one_go(); /* the first write */
	let_one_go(); /* the second */
	assert_true(progress() > before);
	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct io *io = RUN(rig.b, 0, (uint8_t)refused[i],
				    refused[i] == 0x48 ? 0x02 : 0, [8] = refused[i] == 0x28);

		assert_sense(io, 2, IN_PROGRESS);
		assert_int_equal(io->task.sense[15], 0x80);
	}
	assert_good(RUN(rig.b, 0, 0x12, 0, 0, 0, 96));
	assert_good(RUN(rig.b, 0, 0xa0, [9] = 64));
	assert_good(RUN(rig.b, 0, 0x4d, 0, 0x40, [8] = 64));
	assert_good(RUN(rig.b, 0, 0xa3, 0x0c, [9] = 64));
	assert_good(RUN(rig.b, 0, 0xa3, 0x0d, [9] = 16));
	assert_good(RUN(rig.b, 0, 0xa3, 0x0a, [9] = 64));
	test_volume_release(rig.test);
	over();
	expect_blocks(0, 2048, 0);
	assert_good(RUN(rig.b, 0, 0x03, 0, 0, 0, 252));
	assert_int_equal(io0.in[2], 0);
}

/* What is under way when it comes is ended, on both nexuses, and has no effect afterwards. */
static void others_end(void **state)
{
	static uint8_t out[4096] __attribute__((aligned(4096)));
	struct io write = {.out = out, .out_length = sizeof(out)}, sanitize = {0};
	struct scsi_lun_info info;

	(void)state;
	write_blocks(0, 8, 0xaa);
	memset(out, 0xee, sizeof(out));
	rig.test->hold = rig.test->deaf = true;
	io_start(&write, rig.b, (uint8_t[16]){0x2a, [8] = 8}, 16);
	io_start(&sanitize, rig.a, (uint8_t[16]){0x48, 0x02}, 16);
	settle();
	assert_false(write.done);
	assert_int_equal(rig.test->in_place, 0); /* it waits for the write */
	assert_sense(RUN(rig.b, 0, 0x00), 2, IN_PROGRESS);
	assert_true(scsi_target_next_lun(rig.target, -1, &info));
	assert_int_equal(info.tasks, 0); /* hours of it are no LUN that hangs */
	test_volume_release(rig.test);
	io_wait(&write);
	assert_sense(&write, 2, IN_PROGRESS);
	assert_false(write.aborted);
	io_wait(&sanitize);
	assert_good(&sanitize);
	expect_blocks(0, 8, 0);
	rig.test->deaf = false;
}

static enum scsi_tmf_response response;
static bool answered;

static void tmf_answered(struct scsi_tmf_request *request, enum scsi_tmf_response with)
{
	(void)request;
	response = with;
	answered = true;
}

static void submit_tmf(void *context)
{
	scsi_tmf_submit(context);
}

static void tmf(enum scsi_tmf function, struct scsi_nexus *nexus, uint64_t tag)
{
	struct scsi_tmf_request request = {
	    .function = function, .nexus = nexus, .tag = tag, .answered = tmf_answered};

	answered = false;
	on_loop(submit_tmf, &request);
	for (int i = 0; i < 60000 && !answered; i++)
		loop_poll(rig.loop, i < 1000 ? 0 : 1000000);
	assert_true(answered);
	assert_int_equal(response, SCSI_TMF_COMPLETE);
}

static void task_management(void **state)
{
	struct io sanitize = {0};

	(void)state;
	write_blocks(0, 64, 0xaa);
	rig.test->hold = true;
	io_start(&sanitize, rig.a, (uint8_t[16]){0x48, 0x02}, 16);
	let_one_go();
	tmf(SCSI_ABORT_TASK, rig.a, sanitize.task.tag);
	io_wait(&sanitize);
	assert_true(sanitize.aborted);
	tmf(SCSI_LOGICAL_UNIT_RESET, rig.b, 0);
	tmf(SCSI_TARGET_WARM_RESET, rig.b, 0);
	for (unsigned i = 0; i < 3 && RUN(rig.a, 0, 0x00)->key == 6; i++)
		;
	assert_sense(RUN(rig.a, 0, 0x00), 2, IN_PROGRESS);
	test_volume_release(rig.test);
	over();
	eat_attentions(rig.a);
	expect_blocks(0, 64, 0);
}

static void fail_once(uint8_t bits)
{
	write_blocks(0, 8, 0xaa);
	rig.test->fail_op = VOLUME_WRITE;
	rig.test->fail_with = -EIO;
	assert_sense(erase(bits), 3, FAILED);
	assert_sense(RUN(rig.b, 0, 0x00), 3, FAILED);
	assert_sense(RUN(rig.b, 0, 0x28, [8] = 1), 3, FAILED);
	assert_good(RUN(rig.b, 0, 0x12, 0, 0, 0, 96));
	assert_good(RUN(rig.b, 0, 0x03, 0, 0, 0, 252));
	assert_int_equal(get_be16(io0.in + 12), FAILED);
	rig.test->fail_op = -1;
}

static void failure(void **state)
{
	(void)state;
	assert_good(RUN(rig.a, 0, 0x48, 0x1f)); /* nothing to leave */
	fail_once(0x20);                        /* AUSE */
	assert_good(RUN(rig.a, 0, 0x48, 0x1f));
	expect_blocks(0, 8, 0xaa);
	fail_once(0);
	assert_cdb_field(RUN(rig.a, 0, 0x48, 0x1f), 1);
	assert_cdb_field(erase(0x20), 1);
	assert_sense(RUN(rig.b, 0, 0x00), 3, FAILED);
	assert_good(erase(0));
	expect_blocks(0, 8, 0);
	/* A snapshot that is taken meanwhile. */
	write_blocks(0, 8, 0xaa);
	rig.test->fail_op = VOLUME_WRITE;
	rig.test->fail_with = -EBUSY;
	assert_sense(erase(0), 3, FAILED);
	rig.test->fail_op = -1;
	assert_good(overwrite(0, 1, 1, 0x77));
	expect_blocks(0, 8, 0x77);
}

static void unmapped(void *context)
{
	*(bool *)context = true;
}

static void unmap(void *context)
{
	assert_int_equal(scsi_target_unmap(rig.target, 0, unmapped, context, NULL), 0);
}

/* The unit goes and comes back, and so does the daemon: it goes on, and it has failed still. */
static void comes_back(void **state)
{
	bool gone = false;

	(void)state;
	write_blocks(0, 2048, 0xaa);
	write_blocks(4096, 2048, 0xaa);
	rig.test->hold = true;
	assert_good(erase(0x80));
	on_loop(unmap, &gone);
	settle();
	assert_false(gone); /* a request is at the volume */
	let_one_go();
	assert_true(gone);
	assert_int_equal(rig.volume->refs, 1);
	scsi_reservations_close();
	open_store();
	rig.test->hold = false;
	rig.test->in_place = 0;
	on_loop(map_volume, NULL);
	over();
	assert_true(rig.test->in_place > 0);
	eat_attentions(rig.a);
	eat_attentions(rig.b);
	expect_blocks(0, 2048, 0);
	expect_blocks(4096, 2048, 0);
	fail_once(0);
	on_loop(unmap, &gone);
	settle();
	scsi_reservations_close();
	open_store();
	on_loop(map_volume, NULL);
	for (int i = 0; i < 4 && RUN(rig.a, 0, 0x00)->key == 6; i++)
		;
	assert_sense(RUN(rig.a, 0, 0x00), 3, FAILED);
	assert_cdb_field(RUN(rig.a, 0, 0x48, 0x1f), 1);
	assert_good(erase(0));
	eat_attentions(rig.b);
	scsi_reservations_close();
	open_store();
	expect_blocks(0, 8, 0);
}

/* Unmapped and mapped again before it has stopped. */
static void turns_back(void **state)
{
	bool gone = false;

	(void)state;
	write_blocks(0, 2048, 0xaa);
	rig.test->hold = true;
	assert_good(erase(0x80));
	on_loop(unmap, &gone);
	on_loop(map_volume, NULL);
	test_volume_release(rig.test);
	over();
	assert_true(gone);
	eat_attentions(rig.a);
	expect_blocks(0, 2048, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(block_erase, setup_stored, teardown_stored),
	    cmocka_unit_test_setup_teardown(pattern, setup, teardown),
	    cmocka_unit_test_setup_teardown(passes, setup, teardown),
	    cmocka_unit_test_setup_teardown(refusals, setup, teardown),
	    cmocka_unit_test_setup_teardown(offered, setup, teardown),
	    cmocka_unit_test_setup_teardown(protection, setup, teardown),
	    cmocka_unit_test_setup_teardown(immediate, setup_stored, teardown_stored),
	    cmocka_unit_test_setup_teardown(others_end, setup_stored, teardown_stored),
	    cmocka_unit_test_setup_teardown(task_management, setup_stored, teardown_stored),
	    cmocka_unit_test_setup_teardown(failure, setup_stored, teardown_stored),
	    cmocka_unit_test_setup_teardown(comes_back, setup_stored, teardown_stored),
	    cmocka_unit_test_setup_teardown(turns_back, setup_stored, teardown_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
