/* SPDX-License-Identifier: Apache-2.0 */
/* LOG SENSE, and what an initiator hears of thin provisioning. */
#include "tests/unit/target/rig.h"

static struct io *log_page(uint8_t page, uint8_t subpage, uint16_t pointer, uint16_t length)
{
	uint8_t cdb[16] = {0x4d, 0, (uint8_t)(0x40 | page), subpage};

	put_be16(cdb + 5, pointer);
	put_be16(cdb + 7, length);
	return run_on(rig.a, cdb, 16, 0);
}

/* The parameter's data, or NULL. */
static const uint8_t *find(const struct io *io, uint16_t code)
{
	for (unsigned at = 4; at < io->in_length; at += 4u + io->in[at + 3])
		if (get_be16(io->in + at) == code)
			return io->in + at + 4;
	return NULL;
}

static void lists(void **state)
{
	static const uint8_t pages[] = {0x00, 0x02, 0x03, 0x0c, 0x0d, 0x19, 0x2f};
	struct io *io;

	(void)state;
	io = log_page(0, 0, 0, 255);
	assert_good(io);
	assert_int_equal(get_be16(io->in + 2), sizeof(pages));
	assert_memory_equal(io->in + 4, pages, sizeof(pages));
	io = log_page(0, 0xff, 0, 255);
	assert_good(io);
	assert_int_equal(io->in[0], 0x40);
	assert_int_equal(get_be16(io->in + 2), 2 * (sizeof(pages) + 1));
	for (unsigned i = 1; i < sizeof(pages); i++) {
		unsigned at = 4;

		io = log_page(pages[i], 0, 0, 512);
		assert_good(io);
		assert_int_equal(io->in[0], pages[i]);
		assert_int_equal(get_be16(io->in + 2) + 4, io->in_length);
		while (at < io->in_length)
			at += 4u + io->in[at + 3];
		assert_int_equal(at, io->in_length);
	}
}

static void refusals(void **state)
{
	(void)state;
	assert_cdb_field(log_page(0x01, 0, 0, 255), 2);
	assert_cdb_field(log_page(0x02, 1, 0, 255), 3);
	assert_cdb_field(log_page(0x02, 0, 7, 255), 5);
	assert_cdb_field(RUN(rig.a, 0, 0x4d, 0, 0x02, [8] = 255), 2); /* thresholds */
	assert_cdb_field(RUN(rig.a, 0, 0x4d, 1, 0x42, [8] = 255), 1); /* SP */
}

static void counters(void **state)
{
	struct io *io;

	(void)state;
	memset(io0.out, 1, 8192);
	assert_good(RUN(rig.a, 8192, 0x8a, [13] = 16));
	assert_good(RUN(rig.b, 0, 0x88, [13] = 5));
	io = log_page(0x19, 0, 0, 512);
	assert_int_equal(get_be64(find(io, 1)), 1);
	assert_int_equal(get_be64(find(io, 1) + 8), 1);
	assert_int_equal(get_be64(find(io, 1) + 16), 16);
	assert_int_equal(get_be64(find(io, 1) + 24), 5);
	io = log_page(0x02, 0, 5, 512);
	assert_null(find(io, 3));
	assert_int_equal(get_be64(find(io, 5)), 8192);
	assert_int_equal(get_be64(find(io, 6)), 0);
	rig.test->fail_op = VOLUME_READ;
	rig.test->fail_with = -EIO;
	assert_sense(RUN(rig.a, 0, 0x88, [13] = 1), 3, 0x1100);
	io = log_page(0x03, 0, 0, 512);
	assert_int_equal(get_be64(find(io, 6)), 1);
}

static void space(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x12, 1, 0xb2, 0, 255);
	assert_int_equal(io->in[4], 11);
	io = log_page(0x0c, 0, 0, 512);
	assert_int_equal(get_be32(find(io, 1)), RIG_SIZE >> 20);
	assert_int_equal(find(io, 1)[4], 2);
	assert_non_null(find(io, 2));
}

static void threshold(void *context)
{
	volume_notify(rig.volume, *(enum volume_change *)context);
}

static void soft_threshold(void **state)
{
	enum volume_change change = VOLUME_THRESHOLD;

	(void)state;
	on_loop(threshold, &change);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x3807);
	assert_good(RUN(rig.a, 0, 0x00));
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x3807);
}

/* Without a pool there are no watermarks; the page is there all the same. */
static void threshold_page(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x5a, 8, 0x1c, 2, [8] = 255);
	assert_good(io);
	assert_int_equal(io->in[8], 0x5c);
	assert_int_equal(io->in[9], 2);
	assert_int_equal(get_be16(io->in + 10), 12);
	assert_int_equal(io->in_length, 8 + 16);
	assert_cdb_field(RUN(rig.a, 0, 0x5a, 8, 0x1c, 1, [8] = 255), 3);
	assert_cdb_field(RUN(rig.a, 0, 0x5a, 8, 0x3f, 2, [8] = 255), 3);
	io = RUN(rig.a, 0, 0x5a, 8, 0x1c, 0xff, [8] = 255);
	assert_int_equal(io->in_length, 8 + 12 + 16);
	io = RUN(rig.a, 0, 0x5a, 8, 0x1c, 0, [8] = 255);
	assert_int_equal(io->in_length, 8 + 12);
}

static void full(void **state)
{
	(void)state;
	rig.test->fail_op = VOLUME_WRITE;
	rig.test->fail_with = -ENOSPC;
	memset(io0.out, 0, 1024);
	assert_sense(RUN(rig.a, 512, 0x8a, [13] = 1), 7, 0x2707);
	assert_sense(RUN(rig.a, 1024, 0x89, [13] = 1), 7, 0x2707);
	assert_sense(RUN(rig.a, 512, 0x93, [13] = 1), 7, 0x2707);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(lists),          TEST(refusals),       TEST(counters), TEST(space),
	    TEST(soft_threshold), TEST(threshold_page), TEST(full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
