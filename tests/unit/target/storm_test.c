/* SPDX-License-Identifier: Apache-2.0 */
/* 200,000 commands at random from two nexuses, each answer compared with a model that is
 * nothing but an array of bytes and a flag a slot. The seed is fixed; STORM_SEED=N another. */
#include "tests/unit/target/rig.h"

#define COMMANDS 200000
#define BLOCKS   (RIG_SIZE / 512)
#define SLOTS    (RIG_SIZE / 4096)

static uint8_t model[RIG_SIZE];
static bool mapped[SLOTS];
static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 11) % below;
}

static uint64_t random_lba(void)
{
	switch (rnd(20)) {
	case 0:
		return BLOCKS - rnd(8);
	case 1:
		return UINT64_MAX - rnd(2);
	case 2:
		return rnd(1u << 31);
	default:
		return rnd(BLOCKS);
	}
}

static uint32_t random_blocks(void)
{
	switch (rnd(40)) {
	case 0:
		return 0;
	case 1:
		return 2046 + rnd(4);
	default:
		return 1 + rnd(40);
	}
}

static struct scsi_nexus *any_nexus(void)
{
	return rnd(2) ? rig.a : rig.b;
}

struct range {
	uint64_t lba;
	uint32_t blocks;
	uint8_t cdb[16];
};

/* A block CDB of one of four lengths; the range is cut to what its fields can say. */
static struct range make_cdb(const uint8_t opcodes[4], uint8_t byte1)
{
	struct range range = {.lba = random_lba(), .blocks = random_blocks()};
	unsigned form = rnd(4);
	uint8_t *cdb = range.cdb;

	while (!opcodes[form])
		form = rnd(4);
	cdb[0] = opcodes[form];
	if (form == 0) {
		range.lba &= 0x1fffff;
		range.blocks = 1 + range.blocks % 256;
		put_be32(cdb, (uint32_t)cdb[0] << 24 | (uint32_t)range.lba);
		cdb[4] = (uint8_t)range.blocks;
		return range;
	}
	cdb[1] = byte1;
	if (form < 3)
		range.lba &= UINT32_MAX;
	if (form == 1) {
		put_be32(cdb + 2, (uint32_t)range.lba);
		put_be16(cdb + 7, (uint16_t)range.blocks);
	} else if (form == 2) {
		put_be32(cdb + 2, (uint32_t)range.lba);
		put_be32(cdb + 6, range.blocks);
	} else {
		put_be64(cdb + 2, range.lba);
		put_be32(cdb + 10, range.blocks);
	}
	return range;
}

/* True when the range is one that works. */
static bool expect_range(const struct io *io, const struct range *range, uint32_t limit)
{
	if (range->lba > BLOCKS || range->blocks > BLOCKS - range->lba) {
		assert_sense(io, 5, 0x2100);
		return false;
	}
	if (range->blocks > limit) {
		assert_sense(io, 5, 0x2400);
		return false;
	}
	return true;
}

static void random_out(size_t length)
{
	uint8_t value = (uint8_t)rnd(256);

	for (size_t i = 0; i < length; i++)
		io0.out[i] = (uint8_t)(value + i / 512 + i);
}

static void model_map(const struct range *range)
{
	if (range->blocks == 0)
		return;
	for (uint64_t slot = range->lba / 8; slot <= (range->lba + range->blocks - 1) / 8; slot++)
		mapped[slot] = true;
}

static void model_discard(uint64_t lba, uint64_t blocks)
{
	memset(model + lba * 512, 0, blocks * 512);
	for (uint64_t slot = (lba + 7) / 8; (slot + 1) * 8 <= lba + blocks; slot++)
		mapped[slot] = false;
}

static void do_read(void)
{
	struct range range = make_cdb((uint8_t[4]){0x08, 0x28, 0xa8, 0x88}, 0);
	struct io *io = run_on(any_nexus(), range.cdb, 16, 0);

	if (!expect_range(io, &range, 2048))
		return;
	assert_good(io);
	assert_int_equal(io->in_length, range.blocks * 512);
	assert_memory_equal(io->in, model + range.lba * 512, io->in_length);
}

static void do_write(void)
{
	bool verify = rnd(4) == 0;
	struct range range =
	    verify ? make_cdb((uint8_t[4]){0, 0x2e, 0xae, 0x8e}, (uint8_t)(rnd(2) << 1))
		   : make_cdb((uint8_t[4]){0x0a, 0x2a, 0xaa, 0x8a}, (uint8_t)(rnd(4) << 3));
	struct io *io;

	random_out(range.blocks * 512);
	io = run_on(any_nexus(), range.cdb, 16, range.blocks * 512);
	if (!expect_range(io, &range, 2048))
		return;
	assert_good(io);
	memcpy(model + range.lba * 512, io->out, range.blocks * 512);
	model_map(&range);
}

static void do_verify(void)
{
	struct range range = make_cdb((uint8_t[4]){0, 0x2f, 0xaf, 0x8f}, 2);
	bool fits =
	    range.lba <= BLOCKS && range.blocks <= BLOCKS - range.lba && range.blocks <= 2048;
	uint32_t spoil = UINT32_MAX;
	struct io *io;

	if (fits) {
		memcpy(io0.out, model + range.lba * 512, range.blocks * 512);
		if (range.blocks && rnd(2)) {
			spoil = rnd(range.blocks * 512);
			io0.out[spoil] ^= (uint8_t)(1 + rnd(255));
		}
	}
	io = run_on(any_nexus(), range.cdb, 16, range.blocks * 512);
	if (!expect_range(io, &range, 2048))
		return;
	if (spoil == UINT32_MAX) {
		assert_good(io);
	} else {
		assert_sense(io, 0xe, 0x1d00);
		assert_int_equal(io->information, spoil);
	}
}

static void do_write_same(void)
{
	bool unmap = rnd(2), zero = rnd(2);
	struct range range = make_cdb((uint8_t[4]){0, 0x41, 0, 0x93}, unmap ? 8 : 0);
	struct io *io;

	random_out(512);
	if (zero)
		memset(io0.out, 0, 512);
	io = run_on(any_nexus(), range.cdb, 16, 512);
	if (!expect_range(io, &range, SCSI_SAME_BLOCKS))
		return;
	if (range.blocks == 0) {
		assert_sense(io, 5, 0x2400);
		return;
	}
	assert_good(io);
	if (unmap && zero) {
		model_discard(range.lba, range.blocks);
		return;
	}
	for (uint32_t i = 0; i < range.blocks; i++)
		memcpy(model + (range.lba + i) * 512, io->out, 512);
	model_map(&range);
}

static void do_unmap(void)
{
	unsigned count = rnd(6);
	uint8_t cdb[16] = {0x42};
	bool fits = true;
	struct io *io;

	memset(io0.out, 0, 8 + 16 * 6);
	put_be16(io0.out, (uint16_t)(6 + 16 * count));
	put_be16(io0.out + 2, (uint16_t)(16 * count));
	put_be16(cdb + 7, (uint16_t)(8 + 16 * count));
	for (unsigned i = 0; i < count; i++) {
		uint64_t lba = rnd(8) ? rnd(BLOCKS) : random_lba();
		uint32_t blocks = random_blocks();

		put_be64(io0.out + 8 + 16 * i, lba);
		put_be32(io0.out + 16 + 16 * i, blocks);
		fits = fits && lba <= BLOCKS && blocks <= BLOCKS - lba;
	}
	io = run_on(any_nexus(), cdb, 16, 8 + 16 * count);
	if (!fits) {
		assert_sense(io, 5, 0x2100);
		return;
	}
	assert_good(io);
	for (unsigned i = 0; i < count; i++)
		model_discard(get_be64(io->out + 8 + 16 * i), get_be32(io->out + 16 + 16 * i));
}

static void do_status(void)
{
	uint8_t cdb[16] = {0x9e, 0x12, [12] = (uint8_t)rnd(5), [13] = (uint8_t)rnd(256)};
	uint64_t lba = rnd(BLOCKS), at = lba;
	struct io *io;

	put_be64(cdb + 2, lba);
	io = run_on(any_nexus(), cdb, 16, 0);
	assert_good(io);
	for (unsigned i = 8; i + 16 <= io->in_length; i += 16) {
		const uint8_t *p = io->in + i;
		uint64_t end = at + get_be32(p + 8);

		assert_int_equal(get_be64(p), at);
		assert_true(end > at && end <= BLOCKS);
		for (uint64_t slot = at / 8; slot * 8 < end; slot++)
			assert_int_equal(p[12], mapped[slot] ? 0 : 1);
		at = end;
	}
}

static bool changes_something(uint8_t opcode)
{
	static const uint8_t list[] = {0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e,
				       0x41, 0x93, 0x42, 0x15, 0x55, 0x16};

	return memchr(list, opcode, sizeof(list)) != NULL;
}

/* Anything at all: it must be answered, and change nothing. */
static void do_garbage(void)
{
	uint8_t cdb[16];

	for (unsigned i = 0; i < 16; i++)
		cdb[i] = rnd(3) ? (uint8_t)rnd(256) : 0;
	if (rnd(2))
		cdb[0] = opcode_row(rnd(36))->opcode;
	if (changes_something(cdb[0]))
		return;
	run_on(any_nexus(), cdb, 16, rnd(3) * 512);
}

static void storm(void **state)
{
	static void (*const actions[])(void) = {do_read,  do_write,  do_verify, do_write_same,
						do_unmap, do_status, do_garbage};
	const char *seed = getenv("STORM_SEED");

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 0) | 1 : 0x9e3779b97f4a7c15ull;
	for (unsigned i = 0; i < COMMANDS; i++)
		actions[rnd(sizeof(actions) / sizeof(actions[0]))]();
	for (uint64_t lba = 0; lba < BLOCKS; lba += 2048) {
		uint8_t cdb[16] = {0x88};
		struct io *io;

		put_be64(cdb + 2, lba);
		put_be32(cdb + 10, 2048);
		io = run_on(rig.a, cdb, 16, 0);
		assert_good(io);
		assert_memory_equal(io->in, model + lba * 512, 2048 * 512);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(storm, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
