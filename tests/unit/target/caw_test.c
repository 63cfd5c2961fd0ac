/* SPDX-License-Identifier: Apache-2.0 */
/* COMPARE AND WRITE, ORWRITE, WRITE ATOMIC, and the range locks under them. */
#include "tests/unit/target/rig.h"

#define WRITE16 0x8a
#define CAW     0x89
#define ORW     0x8b
#define ATOMIC  0x9c

static void fill(uint8_t *p, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		p[i] = (uint8_t)(seed + i * 7 + (i >> 9) * 13);
}

static void make_cdb(uint8_t cdb[16], uint8_t opcode, uint64_t lba, uint32_t blocks)
{
	memset(cdb, 0, 16);
	cdb[0] = opcode;
	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
}

static struct io *run(uint8_t opcode, uint64_t lba, uint32_t blocks, uint32_t out_length)
{
	uint8_t cdb[16];

	make_cdb(cdb, opcode, lba, blocks);
	return run_on(rig.a, cdb, 16, out_length);
}

static void assert_medium(uint64_t lba, const uint8_t *expected, uint32_t blocks)
{
	struct io *io = run(0x88, lba, blocks, 0);

	assert_good(io);
	assert_int_equal(io->in_length, blocks * 512);
	assert_memory_equal(io->in, expected, blocks * 512);
}

static void compare_and_write(void **state)
{
	static const uint64_t lbas[] = {0, 5, 8, 100, RIG_LAST - 254};
	static const uint32_t sizes[] = {1, 2, 8, 9, 255};
	static uint8_t fresh[255 * 512];

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned s = 0; s < 5; s++) {
			uint32_t n = sizes[s];

			fill(io0.out, n * 512, i * 5 + s);
			assert_good(run(WRITE16, lbas[i], n, n * 512));
			fill(io0.out + n * 512, n * 512, 99 + s);
			memcpy(fresh, io0.out + n * 512, n * 512);
			assert_good(run(CAW, lbas[i], n, 2 * n * 512));
			assert_medium(lbas[i], fresh, n);
		}
	}
}

static void never_written(void **state)
{
	static uint8_t fresh[9 * 512];

	(void)state;
	memset(io0.out, 0, 9 * 512);
	fill(io0.out + 9 * 512, 9 * 512, 3);
	memcpy(fresh, io0.out + 9 * 512, sizeof(fresh));
	assert_good(run(CAW, 1001, 9, 18 * 512));
	assert_medium(1001, fresh, 9);
}

static void miscompare(void **state)
{
	static const size_t where[] = {0, 1, 511, 512, 4095, 4096, 9 * 512 - 1};
	static uint8_t before[9 * 512];
	struct io *io;

	(void)state;
	fill(io0.out, sizeof(before), 1);
	memcpy(before, io0.out, sizeof(before));
	assert_good(run(WRITE16, 7, 9, sizeof(before)));
	for (unsigned i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		unsigned writes = rig.test->writes;

		memcpy(io0.out, before, sizeof(before));
		memset(io0.out + sizeof(before), 0xee, sizeof(before));
		io0.out[where[i]] ^= 0x10;
		io = run(CAW, 7, 9, 2 * sizeof(before));
		assert_sense(io, 0xe, 0x1d00);
		assert_true(io->has_information);
		assert_int_equal(io->information, where[i]);
		assert_int_equal(rig.test->writes, writes);
		assert_medium(7, before, 9);
	}
}

static void hostile(void **state)
{
	(void)state;
	assert_sense(run(CAW, RIG_LAST, 2, 2048), 5, 0x2100);
	assert_sense(run(CAW, UINT64_MAX, 1, 1024), 5, 0x2100);
	assert_cdb_field(run(CAW, 0, 256, 512 * 512), 12); /* reserved above one byte */
	assert_good(run(CAW, 0, 0, 0));
	assert_cdb_field(run(CAW, 0, 2, 1024), 13);
	assert_cdb_field(run(CAW, 0, 1, 0), 13);
	assert_cdb_field(run(CAW, 0, 1, 1536), 13);
	assert_cdb_field(run(CAW, 0, 0, 512), 13);
	assert_sense(run(ORW, 0, 2, 512), 5, 0x0e03);
	assert_sense(run(ATOMIC, 0, 2, 512), 5, 0x0e03);
	assert_good(run(ORW, 0, 0, 0));
	assert_good(run(ATOMIC, 0, 0, 0));
	assert_cdb_field(run(ATOMIC, 0, 2049, 4096), 12);
	assert_cdb_field(RUN(rig.a, 512, ATOMIC, [11] = 8, [13] = 1), 11); /* boundary */
	assert_cdb_field(RUN(rig.a, 1024, CAW, 0x20, [13] = 1), 1);
	assert_int_equal(rig.test->writes, 0);
}

static void block_limits(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x12, 1, 0xb0, 0, 64);
	assert_int_equal(io->in[5], 255);
	assert_int_equal(get_be32(io->in + 44), 2048);
	assert_int_equal(get_be32(io->in + 60), 0);
}

static void or_write(void **state)
{
	static uint8_t expected[9 * 512];

	(void)state;
	fill(io0.out, sizeof(expected), 1);
	memcpy(expected, io0.out, sizeof(expected));
	assert_good(run(WRITE16, 13, 9, sizeof(expected)));
	fill(io0.out, sizeof(expected), 77);
	for (size_t i = 0; i < sizeof(expected); i++)
		expected[i] |= io0.out[i];
	assert_good(run(ORW, 13, 9, sizeof(expected)));
	assert_medium(13, expected, 9);
}

static void flags_reach_the_volume(void **state)
{
	uint8_t cdb[16];
	unsigned fua = rig.test->fua;

	(void)state;
	fill(io0.out, 8192, 5);
	memset(io0.out, 0, 512);
	make_cdb(cdb, CAW, 0, 1);
	assert_good(run_on(rig.a, cdb, 16, 1024)); /* durable without FUA, too: a lock is taken */
	assert_int_equal(rig.test->fua, fua + 1);
	assert_int_equal(rig.test->atomic, 1);
	assert_good(run(ATOMIC, 3, 16, 16 * 512));
	assert_int_equal(rig.test->atomic, 2);
	assert_int_equal(rig.test->fua, fua + 1);
}

/* ---- who waits for whom */

#define OTHERS 4
static struct io others[OTHERS];

static void start(unsigned index, struct scsi_nexus *nexus, const uint8_t *cdb, uint32_t out)
{
	if (!others[index].out) {
		others[index].out = aligned_alloc(4096, 65536);
		others[index].in = aligned_alloc(4096, 65536);
		memset(others[index].out, 0, 65536);
	}
	others[index].out_length = out;
	io_start(&others[index], nexus, cdb, 16);
	settle();
}

static int others_gone(void **state)
{
	for (unsigned i = 0; i < OTHERS; i++) {
		free(others[i].out);
		free(others[i].in);
	}
	memset(others, 0, sizeof(others));
	return teardown(state);
}

static void others_wait(void **state)
{
	static uint8_t caw[16], read[16], write[16], far[16];
	uint8_t ones[512];

	(void)state;
	make_cdb(caw, CAW, 10, 2);
	make_cdb(read, 0x88, 11, 8);
	make_cdb(write, WRITE16, 4, 7);
	make_cdb(far, 0x88, 12, 8);
	rig.test->hold = true;
	start(0, rig.a, caw, 4 * 512); /* its read is held */
	assert_int_equal(rig.test->reads, 1);
	start(1, rig.b, read, 0);
	memset(others[1].out, 0, 512);
	start(2, rig.b, write, 7 * 512);
	start(3, rig.b, far, 0); /* not in the way */
	assert_int_equal(rig.test->reads, 2);
	assert_int_equal(rig.test->writes, 0);
	memset(others[0].out + 1024, 0xff, 1024);
	test_volume_release(rig.test);
	for (unsigned i = 0; i < OTHERS; i++) {
		io_wait(&others[i]);
		assert_good(&others[i]);
	}
	/* The read came after: it saw the new block 11, all of it. */
	memset(ones, 0xff, sizeof(ones));
	assert_memory_equal(others[1].in, ones, 512);
	/* The write came after, too: block 10 is its zeros, block 11 is not. */
	memset(ones, 0, sizeof(ones));
	assert_medium(10, ones, 1);
}

static void no_starving(void **state)
{
	static uint8_t caw[16], read[16];

	(void)state;
	make_cdb(caw, CAW, 10, 2);
	make_cdb(read, 0x88, 8, 8);
	rig.test->hold = true;
	start(0, rig.a, read, 0);
	start(1, rig.b, caw, 4 * 512); /* waits for the read */
	start(2, rig.a, read, 0);      /* waits for the other, though a read is under way */
	assert_int_equal(rig.test->reads, 1);
	test_volume_release(rig.test);
	for (unsigned i = 0; i < 3; i++) {
		io_wait(&others[i]);
		assert_good(&others[i]);
	}
}

static void answered(struct scsi_tmf_request *request, enum scsi_tmf_response response)
{
	request->response = response;
	request->order = NULL;
	request->tag = UINT64_MAX;
}

static struct scsi_tmf_request tmf;

static void submit_tmf(void *context)
{
	scsi_tmf_submit(context);
}

static void abort_set(struct scsi_nexus *nexus)
{
	tmf = (struct scsi_tmf_request){
	    .function = SCSI_ABORT_TASK_SET, .nexus = nexus, .answered = answered};
	on_loop(submit_tmf, &tmf);
	settle();
}

/* Aborted while it waits for the range: at once, and whoever waits behind it goes on. */
static void abort_the_waiting(void **state)
{
	static uint8_t caw[16], read[16];

	(void)state;
	make_cdb(caw, CAW, 10, 2);
	make_cdb(read, 0x88, 8, 8);
	rig.test->hold = true;
	start(0, rig.a, read, 0);
	start(1, rig.b, caw, 4 * 512);
	start(2, rig.a, read, 0);
	assert_int_equal(rig.test->reads, 1);
	abort_set(rig.b);
	assert_int_equal(tmf.tag, UINT64_MAX);
	assert_true(others[1].done && others[1].aborted);
	assert_int_equal(rig.test->reads, 2);
	test_volume_release(rig.test);
	io_wait(&others[0]);
	io_wait(&others[2]);
	assert_good(&others[2]);
	assert_int_equal(rig.test->writes, 0);
}

/* Aborted between its read and its write: nothing is written, the range is free. */
static void abort_the_holder(void **state)
{
	static uint8_t caw[16], read[16];

	(void)state;
	make_cdb(caw, CAW, 10, 2);
	make_cdb(read, 0x88, 8, 8);
	rig.test->hold = rig.test->deaf = true;
	start(0, rig.b, caw, 4 * 512);
	start(1, rig.a, read, 0);
	abort_set(rig.b);
	assert_int_not_equal(tmf.tag, UINT64_MAX);
	test_volume_release(rig.test);
	settle();
	assert_int_equal(tmf.tag, UINT64_MAX);
	assert_true(others[0].done && others[0].aborted);
	io_wait(&others[1]);
	assert_good(&others[1]);
	assert_int_equal(rig.test->writes, 0);
}

static void failed_read_lets_go(void **state)
{
	(void)state;
	rig.test->fail_op = VOLUME_READ;
	rig.test->fail_with = -EIO;
	rig.test->fail_offset = 11 * 512;
	memset(io0.out, 0, 2048);
	assert_sense(run(CAW, 10, 2, 2048), 3, 0x1100);
	assert_int_equal(io0.information, 11);
	rig.test->fail_op = -1;
	assert_good(run(CAW, 10, 2, 2048));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, others_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(compare_and_write), TEST(never_written),    TEST(miscompare),
	    TEST(hostile),           TEST(block_limits),     TEST(or_write),
	    TEST(others_wait),       TEST(no_starving),      TEST(flags_reach_the_volume),
	    TEST(abort_the_waiting), TEST(abort_the_holder), TEST(failed_read_lets_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
