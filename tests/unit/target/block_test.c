/* SPDX-License-Identifier: Apache-2.0 */
/* READ, WRITE, VERIFY, SYNCHRONIZE CACHE, READ CAPACITY, provisioning: good and hostile. */
#include "tests/unit/target/rig.h"

static void fill(uint8_t *p, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		p[i] = (uint8_t)(seed + i * 7 + (i >> 9) * 13);
}

static struct io *read16(uint64_t lba, uint32_t blocks)
{
	uint8_t cdb[16] = {0x88};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
	return run_on(rig.a, cdb, 16, 0);
}

static struct io *write16(uint64_t lba, uint32_t blocks, uint8_t flags)
{
	uint8_t cdb[16] = {0x8a, flags};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
	return run_on(rig.a, cdb, 16, blocks * 512);
}

static struct io *range16(uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks,
			  uint32_t out_length)
{
	uint8_t cdb[16] = {opcode, flags};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
	return run_on(rig.a, cdb, 16, out_length);
}

static void all_sizes_agree(void **state)
{
	static const struct {
		uint8_t write[16], read[16];
	} pairs[] = {
	    {{0x0a, 0, 0, 5, 3}, {0x08, 0, 0, 5, 3}},
	    {{0x2a, 0, 0, 0, 0, 5, 0, 0, 3}, {0x28, 0, 0, 0, 0, 5, 0, 0, 3}},
	    {{0xaa, 0, 0, 0, 0, 5, 0, 0, 0, 3}, {0xa8, 0, 0, 0, 0, 5, 0, 0, 0, 3}},
	    {{0x8a, [9] = 5, [13] = 3}, {0x88, [9] = 5, [13] = 3}},
	    {{0x8e, 2, [9] = 5, [13] = 3}, {0x88, 0x18, [9] = 5, [13] = 3}},
	};
	uint8_t expected[3 * 512];

	(void)state;
	for (unsigned w = 0; w < 5; w++) {
		fill(io0.out, sizeof(expected), w * 31);
		memcpy(expected, io0.out, sizeof(expected));
		assert_good(run_on(rig.a, pairs[w].write, 16, sizeof(expected)));
		for (unsigned r = 0; r < 5; r++) {
			struct io *io = run_on(rig.b, pairs[r].read, 16, 0);

			assert_good(io);
			assert_int_equal(io->in_length, sizeof(expected));
			assert_memory_equal(io->in, expected, sizeof(expected));
		}
	}
}

static void six_byte_zero_is_256(void **state)
{
	struct io *io;

	(void)state;
	fill(io0.out, 256 * 512, 3);
	io = RUN(rig.a, 256 * 512, 0x0a, 0, 0, 0, 0);
	assert_good(io);
	io = RUN(rig.a, 0, 0x08, 0, 0, 0, 0);
	assert_int_equal(io->in_length, 256 * 512);
	assert_memory_equal(io->in, io->out, 256 * 512);
}

static void ranges(void **state)
{
	static const uint8_t opcodes[] = {0x88, 0x8a, 0x8e, 0x8f, 0x93};

	(void)state;
	for (unsigned i = 0; i < sizeof(opcodes); i++) {
		uint8_t op = opcodes[i];
		struct io *io;

		assert_sense(range16(op, 0, RIG_LAST + 1, 1, 512), 5, 0x2100);
		io = range16(op, 0, RIG_LAST, 2, 1024);
		assert_sense(io, 5, 0x2100);
		assert_true(io->has_information);
		assert_int_equal(io->information, RIG_LAST + 1);
		assert_sense(range16(op, 0, UINT64_MAX, 1, 512), 5, 0x2100);
		assert_sense(range16(op, 0, UINT64_MAX, 0xffffffff, 512), 5, 0x2100);
		assert_sense(range16(op, 0, 1ull << 63, 1, 512), 5, 0x2100);
		assert_sense(range16(op, 0, (1ull << 55) - 1, 2, 512), 5, 0x2100);
		assert_sense(range16(op, 0, 2, 0xfffffffe, 512), 5, 0x2100);
		if (op != 0x93) {
			assert_cdb_field(range16(op, 0, 0, 2049, 512), 10);
			assert_good(range16(op, 0, RIG_LAST, 0, 0));
		}
	}
	assert_sense(RUN(rig.a, 0, 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1), 5, 0x2100);
	assert_cdb_field(RUN(rig.a, 0, 0x28, 0, 0, 0, 0, 0, 0, 0x08, 0x01), 7);
	assert_good(RUN(rig.a, 0, 0x28, 0, 0, 0, 0, 0, 0, 0x08, 0x00));
	assert_int_equal(io0.in_length, 1u << 20);
	assert_sense(RUN(rig.a, 0, 0x08, 0x1f, 0xff, 0xff, 1), 5, 0x2100);
}

static void capacity(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x25);
	assert_int_equal(io->in_length, 8);
	assert_int_equal(get_be32(io->in), RIG_LAST);
	assert_int_equal(get_be32(io->in + 4), 512);
	io = RUN(rig.a, 0, 0x9e, 0x10, [13] = 32);
	assert_int_equal(io->in_length, 32);
	assert_int_equal(get_be64(io->in), RIG_LAST);
	assert_int_equal(io->in[13], 3);
	assert_int_equal(io->in[14], 0xc0);
	for (uint8_t allocation = 0; allocation < 5; allocation++)
		assert_int_equal(RUN(rig.a, 0, 0x9e, 0x10, [13] = allocation)->in_length,
				 allocation);
}

static void capacity_beyond_2_tib(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x25);
	assert_int_equal(get_be32(io->in), UINT32_MAX);
	io = RUN(rig.a, 0, 0x9e, 0x10, [13] = 32);
	assert_int_equal(get_be64(io->in), (8ull << 40) / 512 - 1);
	fill(io0.out, 512, 9);
	assert_good(write16((8ull << 40) / 512 - 1, 1, 0));
	io = read16((8ull << 40) / 512 - 1, 1);
	assert_memory_equal(io->in, io->out, 512);
	/* an LBA fixed sense data has no room for */
	rig.test->fail_op = VOLUME_READ;
	rig.test->fail_with = -EILSEQ;
	rig.test->fail_offset = 6ull << 40;
	io = read16(0, 1);
	assert_sense(io, 3, 0x1100);
	assert_false(io->has_information);
}

static void fua(void **state)
{
	(void)state;
	assert_good(write16(0, 1, 0));
	assert_int_equal(rig.test->fua, 0);
	assert_good(write16(0, 1, 0x08));
	assert_int_equal(rig.test->fua, 1);
	assert_good(RUN(rig.a, 512, 0x2a, 0x18, [8] = 1));
	assert_int_equal(rig.test->fua, 2);
	assert_int_equal(rig.test->flushes, 0);
	assert_good(RUN(rig.a, 0, 0x28, 0x08, [8] = 1));
	assert_int_equal(rig.test->flushes, 1);
	assert_good(RUN(rig.a, 0, 0x35));
	assert_good(RUN(rig.a, 0, 0x35, 0x02));
	assert_good(RUN(rig.a, 0, 0x91));
	assert_int_equal(rig.test->flushes, 4);
	assert_sense(RUN(rig.a, 0, 0x35, 0, 0xff, 0xff, 0xff, 0xff), 5, 0x2100);
	/* no write cache: every write is durable */
	memcpy(io0.out, "\0\0\0\0\x08\x12\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
	assert_good(RUN(rig.a, 24, 0x15, 0x10, 0, 0, 24));
	assert_int_equal(rig.test->flushes, 5); /* what the cache held is durable by now */
	assert_good(write16(0, 1, 0));
	assert_int_equal(rig.test->fua, 3);
}

static void short_data_out(void **state)
{
	struct io *io;

	(void)state;
	memset(io0.out, 0x55, 1024);
	assert_good(write16(0, 2, 0));
	memset(io0.out, 0xaa, 1024);
	io = RUN(rig.a, 700, 0x2a, [8] = 2); /* one block and a bit */
	assert_good(io);
	assert_int_equal(io->task.data_out_wanted, 1024);
	assert_int_equal(io->task.data_out_length, 700);
	io = read16(0, 2);
	assert_int_equal(io->in[511], 0xaa);
	assert_int_equal(io->in[512], 0x55);
	assert_good(RUN(rig.a, 0, 0x2a, [8] = 2));
	assert_sense(RUN(rig.a, 100, 0x93, 0, [13] = 1), 5, 0x0e03);
	assert_sense(RUN(rig.a, 1024, 0x93, 0, [13] = 1), 5, 0x0e03);
	assert_sense(RUN(rig.a, 512, 0x8f, 2, [13] = 2), 5, 0x0e03);
}

static void verify(void **state)
{
	struct io *io;

	(void)state;
	fill(io0.out, 64 * 512, 1);
	assert_good(write16(8, 64, 0));
	assert_good(range16(0x8f, 0, 8, 64, 0));
	assert_good(range16(0x8f, 2, 8, 64, 64 * 512));
	io0.out[20000] ^= 1;
	io = range16(0x8f, 2, 8, 64, 64 * 512);
	assert_sense(io, 0xe, 0x1d00);
	assert_true(io->has_information);
	assert_int_equal(io->information, 20000);
	assert_cdb_field(range16(0x8f, 4, 8, 1, 512), 1); /* BYTCHK 2 */
	/* one block against many */
	for (unsigned i = 0; i < 16; i++)
		fill(io0.out + i * 512, 512, 77);
	assert_good(write16(0, 16, 0));
	assert_good(range16(0x8f, 6, 0, 16, 512));
	assert_good(RUN(rig.a, 512, 0x2f, 6, [8] = 16));
	assert_good(RUN(rig.a, 512, 0xaf, 6, [9] = 16));
	memset(io0.out, 0, 512);
	assert_good(write16(7, 1, 0));
	fill(io0.out, 512, 77);
	io = range16(0x8f, 6, 0, 16, 512);
	assert_sense(io, 0xe, 0x1d00);
	assert_int_equal(io->information / 512, 7);
	rig.test->fail_op = VOLUME_READ;
	rig.test->fail_with = -EIO;
	rig.test->fail_offset = 512 * 3;
	io = range16(0x8f, 0, 0, 16, 0); /* really reads */
	assert_sense(io, 3, 0x1100);
	assert_int_equal(io->information, 3);
}

static void write_and_verify(void **state)
{
	struct io *io;

	(void)state;
	fill(io0.out, 16 * 512, 4);
	for (unsigned check = 0; check < 2; check++) {
		unsigned fua_before = rig.test->fua, reads = rig.test->reads;

		assert_good(range16(0x8e, (uint8_t)(check << 1), 4, 16, 16 * 512));
		assert_int_equal(rig.test->fua, fua_before + 1);
		assert_int_equal(rig.test->reads, reads + 1);
	}
	io = read16(4, 16);
	assert_memory_equal(io->in, io->out, 16 * 512);
	assert_cdb_field(range16(0x8e, 6, 4, 1, 512), 1);
}

static struct io *unmap(unsigned count, uint16_t list_length, uint16_t descriptor_length)
{
	uint8_t cdb[16] = {0x42};

	put_be16(cdb + 7, (uint16_t)(8 + 16 * count));
	put_be16(io0.out, list_length);
	put_be16(io0.out + 2, descriptor_length);
	memset(io0.out + 4, 0, 4);
	return run_on(rig.a, cdb, 16, 8 + 16 * count);
}

static void put_range(unsigned index, uint64_t lba, uint32_t blocks)
{
	memset(io0.out + 8 + 16 * index, 0, 16);
	put_be64(io0.out + 8 + 16 * index, lba);
	put_be32(io0.out + 16 + 16 * index, blocks);
}

static bool is_mapped(uint64_t lba)
{
	struct io *io = range16(0x9e, 0x12, lba, 24, 0);

	assert_good(io);
	assert_int_equal(get_be64(io->in + 8), lba);
	return io->in[20] == 0;
}

static void unmap_good(void **state)
{
	struct io *io;

	(void)state;
	memset(io0.out, 0xee, 64 * 512);
	assert_good(write16(0, 64, 0));
	assert_true(is_mapped(0));
	put_range(0, 0, 8);
	put_range(1, 15, 2); /* parts of slots */
	put_range(2, 16, 0);
	put_range(3, 32, 16);
	assert_good(unmap(4, 6 + 64, 64));
	assert_false(is_mapped(0));
	assert_true(is_mapped(8));
	assert_true(is_mapped(16));
	assert_false(is_mapped(32));
	assert_false(is_mapped(47));
	assert_true(is_mapped(48));
	io = read16(0, 64);
	for (unsigned lba = 0; lba < 64; lba++) {
		bool gone = lba < 8 || (lba >= 15 && lba < 17) || (lba >= 32 && lba < 48);

		assert_int_equal(io->in[lba * 512], gone ? 0 : 0xee);
		assert_int_equal(io->in[lba * 512 + 511], gone ? 0 : 0xee);
	}
}

static void unmap_lies(void **state)
{
	unsigned before;

	(void)state;
	memset(io0.out, 0xee, 64 * 512);
	assert_good(write16(0, 64, 0));
	before = rig.test->discards;
	assert_good(RUN(rig.a, 0, 0x42)); /* list length 0 */
	for (uint8_t length = 1; length < 8; length++)
		assert_sense(RUN(rig.a, length, 0x42, [8] = length), 5, 0x1a00);
	memset(io0.out, 0, 8);
	assert_good(RUN(rig.a, 8, 0x42, [8] = 8));
	put_range(0, RIG_LAST, 2);
	assert_sense(unmap(1, 22, 16), 5, 0x2100);
	put_range(0, UINT64_MAX - 1, 0xffffffff);
	assert_sense(unmap(1, 22, 16), 5, 0x2100);
	/* the second is out of range: the first is not carried out either */
	put_range(0, 0, 8);
	put_range(1, RIG_LAST + 5, 8);
	assert_sense(unmap(2, 38, 32), 5, 0x2100);
	assert_int_equal(rig.test->discards, before);
	/* promises more descriptors than came: those that came count */
	put_range(0, 0, 8);
	assert_good(unmap(1, 0xffff, 0xffff));
	assert_int_equal(rig.test->discards, before + 1);
	put_range(0, 8, 8);
	assert_good(unmap(1, 22, 15)); /* half a descriptor is none */
	assert_int_equal(rig.test->discards, before + 1);
	/* too many */
	memset(io0.out, 0, 8 + 300 * 16);
	assert_sense(unmap(300, 6 + 4800, 4800), 5, 0x2600);
	assert_good(unmap(256, 6 + 4096, 4096));
	assert_cdb_field(RUN(rig.a, 0, 0x42, 1), 1); /* ANCHOR */
}

static void write_same(void **state)
{
	struct io *io;

	(void)state;
	fill(io0.out, 512, 5);
	assert_good(range16(0x93, 0, 3, 4096, 512));
	io = read16(3, 2048);
	for (unsigned i = 0; i < 2048; i++)
		assert_memory_equal(io->in + 512 * i, io->out, 512);
	assert_true(is_mapped(8));
	/* UNMAP with data that is not zero writes */
	assert_good(range16(0x93, 8, 0, 64, 512));
	assert_true(is_mapped(8));
	memset(io0.out, 0, 512);
	assert_good(range16(0x93, 8, 8, 64, 512));
	assert_false(is_mapped(8));
	assert_false(is_mapped(71));
	assert_true(is_mapped(72));
	assert_good(range16(0x93, 0, 8, 64, 512)); /* zeros without UNMAP have space */
	assert_true(is_mapped(8));
	assert_good(range16(0x93, 9, 8, 64, 0)); /* NDOB */
	assert_false(is_mapped(8));
	assert_good(RUN(rig.a, 512, 0x41, 0x08, [5] = 80, [8] = 16));
	assert_false(is_mapped(80));
	assert_cdb_field(range16(0x93, 0, 0, 0, 512), 10);
	assert_cdb_field(RUN(rig.a, 512, 0x41), 7);
	assert_cdb_field(range16(0x93, 0x10, 0, 1, 512), 1); /* ANCHOR */
	assert_cdb_field(RUN(rig.a, 512, 0x41, 0x01, [8] = 1), 1);
}

static void write_same_limit(void **state)
{
	(void)state;
	assert_cdb_field(range16(0x93, 8, 0, SCSI_SAME_BLOCKS + 1, 512), 10);
	memset(io0.out, 0, 512);
	assert_good(range16(0x93, 8, 0, SCSI_SAME_BLOCKS, 512));
}

static void lba_status(void **state)
{
	struct io *io;

	(void)state;
	memset(io0.out, 1, 8 * 512);
	for (unsigned i = 0; i < 100; i++)
		assert_good(write16(i * 16, 8, 0));
	io = range16(0x9e, 0x12, 4, 4096, 0);
	assert_good(io);
	assert_int_equal(io->in_length, 8 + 64 * 16);
	assert_int_equal(get_be32(io->in), io->in_length - 4);
	assert_int_equal(get_be64(io->in + 8), 4);
	assert_int_equal(get_be32(io->in + 16), 4);
	for (unsigned i = 0; i < 64; i++) {
		const uint8_t *p = io->in + 8 + 16 * i;

		assert_int_equal(p[12], i % 2);
		if (i > 0)
			assert_int_equal(get_be64(p), get_be64(p - 16) + get_be32(p - 8));
	}
	for (uint8_t allocation = 0; allocation < 5; allocation++)
		assert_int_equal(range16(0x9e, 0x12, 0, allocation, 0)->in_length, allocation);
	assert_good(range16(0x9e, 0x12, 0, 1031, 0));
	assert_sense(range16(0x9e, 0x12, RIG_LAST + 1, 24, 0), 5, 0x2100);
	assert_sense(range16(0x9e, 0x12, UINT64_MAX, 24, 0), 5, 0x2100);
	io = range16(0x9e, 0x12, RIG_LAST, 24, 0);
	assert_int_equal(get_be32(io->in + 16), 1);
}

static void errors(void **state)
{
	static const struct {
		int error;
		uint8_t key;
		uint16_t asc;
	} cases[] = {
	    {-ENOSPC, 7, 0x2707}, {-EROFS, 7, 0x2700},  {-EIO, 3, 0x0c00},
	    {-EINVAL, 5, 0x2100}, {-EPROTO, 4, 0x4400}, {-ECANCELED, 0xb, 0x0000},
	};

	(void)state;
	rig.test->fail_op = VOLUME_WRITE;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rig.test->fail_with = cases[i].error;
		rig.test->fail_offset = 4096;
		assert_sense(write16(8, 1, 0), cases[i].key, cases[i].asc);
		if (cases[i].error == -EIO)
			assert_int_equal(io0.information, 8);
	}
	rig.test->fail_op = VOLUME_READ;
	rig.test->fail_with = -EILSEQ;
	assert_sense(read16(8, 1), 3, 0x1100);
	assert_int_equal(io0.information, 8);
	rig.test->fail_with = -ENOMEM;
	assert_int_equal(read16(8, 1)->status, SCSI_BUSY);
	rig.test->fail_op = -1;
	rig.volume->read_only = true;
	assert_sense(write16(0, 1, 0), 7, 0x2700);
	assert_sense(unmap(0, 6, 0), 7, 0x2700);
	assert_good(read16(0, 1));
	assert_good(RUN(rig.a, 0, 0x35));
	assert_int_equal(RUN(rig.a, 0, 0x1a, 8, 0x3f, 0, 255)->in[2], 0x90);
	rig.volume->read_only = false;
}

static void start_stop_and_prefetch(void **state)
{
	(void)state;
	assert_good(RUN(rig.a, 0, 0x1b, 0, 0, 0, 1));
	assert_good(RUN(rig.a, 0, 0x1b, 1, 0, 0, 0));
	assert_int_equal(rig.test->flushes, 1);
	assert_good(RUN(rig.a, 0, 0x1b, 0, 0, 0, 4)); /* NO_FLUSH */
	assert_int_equal(rig.test->flushes, 1);
	assert_cdb_field(RUN(rig.a, 0, 0x1b, 0, 0, 0, 2), 4);
	assert_cdb_field(RUN(rig.a, 0, 0x1b, 0, 0, 0, 3), 4);
	for (unsigned condition = 1; condition < 16; condition++)
		assert_cdb_field(RUN(rig.a, 0, 0x1b, 0, 0, 0, (uint8_t)(condition << 4)), 4);
	assert_good(RUN(rig.a, 0, 0x00));
	assert_int_equal(RUN(rig.a, 0, 0x34, [8] = 1)->status, SCSI_CONDITION_MET);
	assert_int_equal(RUN(rig.a, 0, 0x90, 2, [13] = 0)->status, SCSI_CONDITION_MET);
	assert_sense(RUN(rig.a, 0, 0x34, 0, 0xff, [8] = 1), 5, 0x2100);
}

static int setup_big(void **state)
{
	(void)state;
	rig_up(8ull << 40, false);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(all_sizes_agree, setup, teardown),
	    cmocka_unit_test_setup_teardown(six_byte_zero_is_256, setup, teardown),
	    cmocka_unit_test_setup_teardown(ranges, setup, teardown),
	    cmocka_unit_test_setup_teardown(capacity, setup, teardown),
	    cmocka_unit_test_setup_teardown(capacity_beyond_2_tib, setup_big, teardown),
	    cmocka_unit_test_setup_teardown(fua, setup, teardown),
	    cmocka_unit_test_setup_teardown(short_data_out, setup, teardown),
	    cmocka_unit_test_setup_teardown(verify, setup, teardown),
	    cmocka_unit_test_setup_teardown(write_and_verify, setup, teardown),
	    cmocka_unit_test_setup_teardown(unmap_good, setup, teardown),
	    cmocka_unit_test_setup_teardown(unmap_lies, setup, teardown),
	    cmocka_unit_test_setup_teardown(write_same, setup, teardown),
	    cmocka_unit_test_setup_teardown(write_same_limit, setup_big, teardown),
	    cmocka_unit_test_setup_teardown(lba_status, setup, teardown),
	    cmocka_unit_test_setup_teardown(errors, setup, teardown),
	    cmocka_unit_test_setup_teardown(start_stop_and_prefetch, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
