/* SPDX-License-Identifier: Apache-2.0 */
/* Commands at random from two nexuses, good and hostile, each answer compared with a model
 * (storm_model.h): bytes, a flag a slot, tokens, reservations, mode bits, and a table of what the
 * standards reserve: same data, same sense, same unit attentions. The seed is fixed; STORM_SEED=N
 * another, STORM_COMMANDS=N more of them (the long run is ten million). */
#include "tests/unit/target/storm_model.h"

#define COMMANDS 200000

static uint64_t random_state;
static bool write_cache = true, descriptor_sense;
/* How often what is rare came about; a storm in which it never does shows nothing. */
static struct {
	unsigned forbidden, reserved, preempted, copied, revoked, sanitized;
} seen;

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

/* What a reservation has to say about the command. */
static enum reach reach_of(const uint8_t *cdb)
{
	static const uint8_t reads[] = {0x08, 0x28, 0xa8, 0x88, 0x2f, 0xaf, 0x8f, 0x34, 0x90};
	static const uint8_t free_ones[] = {0x00, 0x03, 0x12, 0x4d, 0x84, 0x5e, 0x5f};
	uint8_t action = cdb[1] & 0x1f;

	if (memchr(reads, cdb[0], sizeof(reads)) || (cdb[0] == 0x9e && action == 0x12) ||
	    (cdb[0] == 0x83 && action == 0x10))
		return REACH_READS;
	if (memchr(free_ones, cdb[0], sizeof(free_ones)) || cdb[0] == 0x9e)
		return REACH_NOTHING;
	return REACH_WRITES;
}

/* The command from either host; NULL when a reservation forbids it, and so it was answered. */
static struct io *issue_from(int host, const uint8_t *cdb, uint32_t out_length)
{
	struct io *io = run_on(host ? rig.b : rig.a, cdb, 16, out_length);
	bool forbidden = pr_forbids(host, reach_of(cdb));

	assert_int_equal(io->status == SCSI_RESERVATION_CONFLICT, forbidden);
	if (io->status == SCSI_CHECK_CONDITION)
		assert_int_equal(io->task.sense[0] & 0x7f, descriptor_sense ? 0x72 : 0x70);
	seen.forbidden += forbidden;
	return forbidden ? NULL : io;
}

static struct io *issue(const uint8_t *cdb, uint32_t out_length)
{
	return issue_from((int)rnd(2), cdb, out_length);
}

static void do_read(void)
{
	struct range range = make_cdb((uint8_t[4]){0x08, 0x28, 0xa8, 0x88}, 0);
	struct io *io = issue(range.cdb, 0);

	if (!io || !expect_range(io, &range, 2048))
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
	unsigned durable = rig.test->fua;
	struct io *io;

	random_out(range.blocks * 512);
	io = issue(range.cdb, range.blocks * 512);
	if (!io)
		return;
	if (!expect_range(io, &range, 2048))
		return;
	assert_good(io);
	memcpy(model + range.lba * 512, io->out, range.blocks * 512);
	model_map(&range);
	if (range.blocks && !verify)
		assert_int_equal(rig.test->fua > durable,
				 !write_cache || (range.cdb[0] != 0x0a && range.cdb[1] & 0x08));
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
	io = issue(range.cdb, range.blocks * 512);
	if (!io)
		return;
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
	io = issue(range.cdb, 512);
	if (!io)
		return;
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
	io = issue(cdb, 8 + 16 * count);
	if (!io)
		return;
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
	io = issue(cdb, 0);
	if (!io)
		return;
	assert_good(io);
	for (unsigned i = 8; i + 16 <= io->in_length; i += 16) {
		const uint8_t *p = io->in + i;
		uint64_t end = at + get_be32(p + 8);

		assert_int_equal(get_be64(p), at);
		assert_true(end > at && end <= BLOCKS);
		for (uint64_t slot = at / 8; slot * 8 < end; slot++)
			assert_true(unsure[slot] || p[12] == (mapped[slot] ? 0 : 1));
		at = end;
	}
}

/* ---- commands that read and write in one */

/* An LBA of its own form, and a length that is mostly short. */
static struct range make_cdb16(uint8_t opcode, uint32_t blocks)
{
	struct range range = {.lba = random_lba(), .blocks = blocks};

	range.cdb[0] = opcode;
	put_be64(range.cdb + 2, range.lba);
	put_be32(range.cdb + 10, blocks);
	return range;
}

static void do_compare_and_write(void)
{
	struct range range = make_cdb16(0x89, rnd(20) ? rnd(12) : rnd(256));
	size_t bytes = range.blocks * 512u;
	bool fits = range.lba <= BLOCKS && range.blocks <= BLOCKS - range.lba;
	bool short_data = rnd(30) == 0;
	uint32_t spoil = UINT32_MAX;
	struct io *io;

	random_out(2 * bytes + 512);
	if (fits)
		memcpy(io0.out, model + range.lba * 512, bytes);
	if (fits && bytes && rnd(2)) {
		spoil = rnd((uint32_t)bytes);
		io0.out[spoil] ^= (uint8_t)(1 + rnd(255));
	}
	range.cdb[1] = (uint8_t)(rnd(4) << 3);
	io = issue(range.cdb, (uint32_t)(2 * bytes) + (short_data ? 512 : 0));
	if (!io)
		return;
	if (!expect_range(io, &range, 255))
		return;
	if (short_data) {
		assert_cdb_field(io, 13);
	} else if (spoil != UINT32_MAX) {
		assert_sense(io, 0xe, 0x1d00);
		assert_int_equal(io->information, spoil);
	} else {
		assert_good(io);
		memcpy(model + range.lba * 512, io->out + bytes, bytes);
		model_map(&range);
	}
}

static void do_or_write(void)
{
	struct range range = make_cdb16(0x8b, random_blocks());
	struct io *io;

	random_out(range.blocks * 512);
	io = issue(range.cdb, range.blocks * 512);
	if (!io)
		return;
	if (!expect_range(io, &range, 2048))
		return;
	assert_good(io);
	for (size_t i = 0; i < range.blocks * 512u; i++)
		model[range.lba * 512 + i] |= io->out[i];
	model_map(&range);
}

static void do_write_atomic(void)
{
	struct range range = make_cdb16(0x9c, random_blocks());
	struct io *io;

	random_out(range.blocks * 512);
	io = issue(range.cdb, range.blocks * 512);
	if (!io)
		return;
	if (!expect_range(io, &range, 2048))
		return;
	assert_good(io);
	memcpy(model + range.lba * 512, io->out, range.blocks * 512);
	model_map(&range);
}

/* ---- EXTENDED COPY within the unit */

static void do_extended_copy(void)
{
	uint8_t cdb[16] = {0x83, [13] = 44}, *p;
	uint64_t from = random_lba(), to = random_lba();
	uint32_t blocks = random_blocks();
	struct io *io;

	/* Ranges of whole slots, or the model would have to know where pieces end. */
	if (rnd(3)) {
		from &= ~7ull;
		to &= ~7ull;
		blocks &= ~7u;
	}
	memset(io0.out, 0, 44);
	io0.out[1] = 3 << 3; /* nothing is kept */
	io0.out[11] = 28;
	p = io0.out + 16;
	p[0] = 2;
	p[3] = 0x18;
	put_be32(p + 4, rnd(50) ? 0xffffffffu : 0xffff0001u);
	put_be16(p + 10, (uint16_t)blocks);
	put_be64(p + 12, from);
	put_be64(p + 20, to);
	io = issue(cdb, 44);
	if (!io)
		return;
	if (get_be32(p + 4) != 0xffffffffu)
		assert_sense(io, 0xa, 0x0804);
	else if (from > BLOCKS || blocks > BLOCKS - from || to > BLOCKS || blocks > BLOCKS - to)
		assert_sense(io, 0xa, 0x0d02);
	else {
		assert_good(io);
		model_copy(from, to, blocks);
	}
}

/* ---- one reserved bit, by the standards' own tables */

static const struct {
	uint8_t opcode, action, length;
	uint8_t reserved[16];
} forms[] = {
    {0x00, 0, 6, {[1] = 0x1f, [2] = 0xff, [3] = 0xff, [4] = 0xff}},
    {0x08, 0, 6, {0}},
    {0x28, 0, 10, {[1] = 0x07, [6] = 0xe0}},
    {0x2a, 0, 10, {[1] = 0x07, [6] = 0xe0}},
    {0x35, 0, 10, {[1] = 0x1d, [6] = 0xe0}},
    {0x41, 0, 10, {[1] = 0x07, [6] = 0xe0}},
    {0x42, 0, 10, {[1] = 0x1f, [2] = 0xff, [3] = 0xff, [4] = 0xff, [5] = 0xff, [6] = 0xe0}},
    {0x4d, 0, 10, {[1] = 0x1f, [4] = 0xff}},
    {0x88, 0, 16, {[1] = 0x07, [14] = 0xe0}},
    {0x89, 0, 16, {[1] = 0x07, [10] = 0xff, [11] = 0xff, [12] = 0xff, [14] = 0xe0}},
    {0x8a, 0, 16, {[1] = 0x07, [14] = 0xe0}},
    {0x8b, 0, 16, {[1] = 0x07, [14] = 0xe0}},
    {0x93, 0, 16, {[1] = 0x06, [14] = 0xe0}},
    {0x9c, 0, 16, {[1] = 0x07, [10] = 0xff, [11] = 0xff, [14] = 0xe0}},
    {0x9e, 0x10, 16, {[14] = 0xff}},
    {0x9e, 0x12, 16, {[14] = 0xff}},
    {0x83, 0x00, 16, {[2] = 0xff, [3] = 0xff, [4] = 0xff, [5] = 0xff, [14] = 0xff}},
    {0x83, 0x11, 16, {[2] = 0xff, [3] = 0xff, [4] = 0xff, [5] = 0xff, [14] = 0xe0}},
    {0x84, 0x07, 16, {[6] = 0xff, [7] = 0xff, [8] = 0xff, [9] = 0xff, [14] = 0xff}},
};

static void do_reserved_bit(void)
{
	unsigned form = rnd(sizeof(forms) / sizeof(forms[0]));
	uint8_t cdb[16] = {forms[form].opcode, forms[form].action};
	unsigned byte = 1 + rnd(forms[form].length - 2u), bit = rnd(8);
	struct io *io;

	if (!(forms[form].reserved[byte] & 1u << bit))
		return;
	cdb[byte] |= (uint8_t)(1u << bit);
	io = issue(cdb, rnd(3) * 512);
	if (!io)
		return;
	assert_cdb_field(io, (uint16_t)byte);
}

static bool changes_something(uint8_t opcode)
{
	static const uint8_t list[] = {0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e,
				       0x41, 0x93, 0x42, 0x15, 0x55, 0x16, 0x5f,
				       0x5e, 0x89, 0x8b, 0x9c, 0x83, 0xa4, 0x48};

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

/* ---- tokens */

static struct io *token_command(uint8_t action, uint32_t length)
{
	uint8_t cdb[16] = {0x83, action, [9] = 1};

	put_be32(cdb + 10, length);
	return issue_from(0, cdb, length);
}

/* The ranges from @at of the list on; what the answer has to be. */
static uint16_t put_ranges(struct model_token *token, unsigned at)
{
	uint16_t asc = 0;

	token->blocks = 0;
	for (unsigned i = 0; i < token->count; i++) {
		uint64_t lba = random_lba();
		uint32_t blocks = 1 + rnd(40);

		put_be64(io0.out + at + 16 * i, lba);
		put_be32(io0.out + at + 16 * i + 8, blocks);
		if (asc)
			continue;
		if (lba > BLOCKS || blocks > BLOCKS - lba)
			asc = 0x2100;
		for (unsigned k = 0; k < i && !asc; k++)
			if (lba < token->range[k].lba + token->range[k].blocks &&
			    token->range[k].lba < lba + blocks)
				asc = 0x2600;
		token->range[i].lba = lba;
		token->range[i].blocks = blocks;
		token->blocks += blocks;
	}
	return asc;
}

static void receive_token(struct model_token *token)
{
	uint8_t cdb[16] = {0x84, 0x07, [5] = 1, [12] = 4};
	struct io *io = issue_from(0, cdb, 0);
	unsigned at;

	assert_non_null(io);
	assert_good(io);
	at = 32u + io->in[13];
	assert_int_equal(get_be32(io->in + at), TOKEN + 2);
	memcpy(token->bytes, io->in + at + 6, TOKEN);
	token->there = true;
}

static void do_populate(void)
{
	struct model_token fresh = {.count = 1 + rnd(TOKEN_RANGES)};
	uint32_t length = 16 + 16 * fresh.count;
	uint16_t asc;
	struct io *io;

	memset(io0.out, 0, length);
	put_be16(io0.out, (uint16_t)(length - 2));
	put_be32(io0.out + 4, 600);
	put_be16(io0.out + 14, (uint16_t)(16 * fresh.count));
	asc = put_ranges(&fresh, 16);
	io = token_command(0x10, length);
	if (!io)
		return;
	if (asc) {
		assert_sense(io, 5, asc);
		return;
	}
	if (io->key == 5 && io->asc == 0x550d) /* too many are valid */
		return;
	assert_good(io);
	receive_token(&fresh);
	tokens[rnd(4)] = fresh;
}

static void copy_by_token(const struct model_token *token, uint64_t offset, uint64_t lba,
			  uint32_t blocks)
{
	for (uint32_t i = 0; i < blocks; i++)
		memcpy(model + (lba + i) * 512, model + token_lba(token, offset + i) * 512, 512);
	for (uint64_t slot = lba / 8; slot * 8 < lba + blocks; slot++)
		unsure[slot] = true;
	model_touch(lba, blocks);
}

static void do_write_using(void)
{
	struct model_token *token = &tokens[rnd(4)];
	uint64_t lba = random_lba(), offset = rnd(60);
	uint32_t blocks = 1 + rnd(40);
	bool zero = rnd(4) == 0, forged = !zero && rnd(8) == 0;
	struct io *io;

	/* Over its own source: what is copied before it revokes itself is the target's choice. */
	if (!zero && (!token->there || token_touches(token, lba, blocks)))
		return;
	memset(io0.out, 0, 552);
	put_be16(io0.out, 550);
	put_be64(io0.out + 8, offset);
	if (zero) {
		put_be32(io0.out + 16, 0xffff0001);
		put_be16(io0.out + 22, TOKEN - 8);
	} else {
		memcpy(io0.out + 16, token->bytes, TOKEN);
	}
	if (forged)
		io0.out[16 + rnd(160)] ^= (uint8_t)(1u << rnd(8));
	io0.out[535] = 16;
	put_be64(io0.out + 536, lba);
	put_be32(io0.out + 544, blocks);
	io = token_command(0x11, 552);
	if (!io)
		return;
	if (lba > BLOCKS || blocks > BLOCKS - lba) {
		assert_sense(io, 5, 0x2100);
	} else if (zero) {
		assert_good(io);
		model_discard(lba, blocks);
	} else if (forged) {
		assert_int_equal(io->key, 5);
		assert_int_equal(io->asc >> 8, 0x23);
	} else if (token->revoked) {
		/* its place may be another token's by now */
		assert_int_equal(io->key, 5);
		assert_true(io->asc == 0x2306 || io->asc == 0x2304);
		seen.revoked++;
	} else if (offset + blocks > token->blocks) {
		assert_sense(io, 5, 0x2600);
	} else {
		assert_good(io);
		copy_by_token(token, offset, lba, blocks);
		seen.copied++;
	}
}

/* ---- reservations */

static void expect_attention(int host, uint16_t asc)
{
	struct io *io = RUN(host ? rig.b : rig.a, 0, 0x00);

	if (asc) {
		assert_sense(io, 6, asc);
		io = RUN(host ? rig.b : rig.a, 0, 0x00);
	}
	assert_good(io);
}

static void expect_reservations(void)
{
	unsigned count = (pr.key[0] != 0) + (pr.key[1] != 0);
	struct io *io = RUN(rig.a, 0, 0x5e, 0, [8] = 0xff);

	assert_good(io);
	assert_int_equal(get_be32(io->in + 4), 8 * count);
	for (unsigned i = 0; i < count; i++) {
		uint64_t key = get_be64(io->in + 8 + 8 * i);

		assert_true(key == pr.key[0] || key == pr.key[1]);
	}
	io = RUN(rig.b, 0, 0x5e, 1, [8] = 0xff);
	assert_good(io);
	assert_int_equal(get_be32(io->in + 4), pr.type ? 16 : 0);
	if (!pr.type)
		return;
	assert_int_equal(io->in[21], pr.type);
	assert_int_equal(get_be64(io->in + 8), pr.holder == NOBODY ? 0 : pr.key[pr.holder]);
}

static void do_reserve(void)
{
	static const uint8_t types[] = {1, 3, 5, 6, 7, 8, 1, 3, 0, 2, 4, 9};
	int host = (int)rnd(2);
	unsigned action = rnd(8) ? rnd(7) : CLEAR, type = types[rnd(sizeof(types))];
	uint64_t key = rnd(6) ? pr.key[host] : 99, action_key;
	uint8_t cdb[16] = {0x5f, (uint8_t)action, (uint8_t)type, [8] = 24};
	struct pr_outcome outcome;
	struct io *io;

	if (!pr.key[host] && rnd(2))
		cdb[1] = (uint8_t)(action = REGISTER);
	if (action == PREEMPT || action == PREEMPT_ABORT)
		action_key = (uint64_t[]){pr.key[!host], pr.key[host], 0, 77}[rnd(4)];
	else
		action_key = rnd(4) ? 10u + 10u * (unsigned)host + rnd(3) : 0;
	if (pr.type && rnd(3) == 0)
		type = cdb[2] = (uint8_t)pr.type;
	memset(io0.out, 0, 24);
	put_be64(io0.out, key);
	put_be64(io0.out + 8, action_key);
	io = run_on(host ? rig.b : rig.a, cdb, 16, 24);
	outcome = reserve_out(host, action, type, key, action_key);
	assert_int_equal(io->status, outcome.status);
	if (outcome.asc)
		assert_sense(io, 5, outcome.asc);
	expect_attention(!host, outcome.other);
	expect_attention(host, 0);
	expect_reservations();
	seen.reserved += action == RESERVE && outcome.status == SCSI_GOOD;
	seen.preempted += action >= PREEMPT && outcome.other == 0x2a05;
}

/* ---- mode pages */

static void do_mode_select(void)
{
	bool control = rnd(2), spoilt = rnd(4) == 0;
	unsigned length = control ? 12 : 20;
	bool *now = control ? &descriptor_sense : &write_cache, on = rnd(3) != 0;
	int host = (int)rnd(2);
	uint8_t cdb[16] = {0x15, 0x10, [4] = (uint8_t)(4 + length)}, *page = io0.out + 4;
	unsigned flushes = rig.test->flushes;
	struct io *io;

	memset(io0.out, 0, 4 + length);
	page[0] = control ? 0x0a : 0x08;
	page[1] = (uint8_t)(length - 2);
	page[2] = on ? 0x04 : 0;
	if (control)
		page[3] = 0x10;
	if (spoilt)
		page[5 + rnd(length - 5)] ^= (uint8_t)(1u << rnd(8));
	io = issue_from(host, cdb, 4 + length);
	if (!io)
		return;
	if (spoilt) {
		assert_sense(io, 5, 0x2600);
		on = *now;
	} else {
		assert_good(io);
	}
	expect_attention(!host, on != *now ? 0x2a01 : 0);
	*now = on;
	if (!spoilt && !write_cache)
		assert_true(rig.test->flushes > flushes);
	io = RUN(host ? rig.b : rig.a, 0, 0x1a, 0x08, control ? 0x0a : 0x08, [4] = 64);
	assert_good(io);
	assert_int_equal(io->in[6] & 0x04, on ? 0x04 : 0);
}

/* ---- commands that move nothing */

static void do_range(void)
{
	bool fetch = rnd(2);
	struct range range = fetch ? make_cdb((uint8_t[4]){0, 0x34, 0, 0x90}, 0)
				   : make_cdb((uint8_t[4]){0, 0x35, 0, 0x91}, 0);
	struct io *io = issue(range.cdb, 0);

	if (!io || !expect_range(io, &range, UINT32_MAX))
		return;
	assert_int_equal(io->status, fetch ? SCSI_CONDITION_MET : SCSI_GOOD);
}

/* All of it gone; seldom, for it is much work. */
static void do_sanitize(void)
{
	uint8_t cdb[16] = {0x48, 0x02};
	struct io *io;

	if (rnd(200))
		return;
	io = issue(cdb, 0);
	if (!io)
		return;
	assert_good(io);
	model_discard(0, BLOCKS);
	seen.sanitized++;
}

static void storm(void **state)
{
	static void (*const actions[])(void) = {
	    do_read,
	    do_write,
	    do_verify,
	    do_write_same,
	    do_unmap,
	    do_status,
	    do_garbage,
	    do_or_write,
	    do_reserved_bit,
	    do_extended_copy,
	    do_compare_and_write,
	    do_write_atomic,
	    do_populate,
	    do_write_using,
	    do_reserve,
	    do_mode_select,
	    do_range,
	    do_sanitize,
	};
	const char *wanted = getenv("STORM_COMMANDS");
	unsigned commands = wanted ? (unsigned)strtoul(wanted, NULL, 0) : COMMANDS;
	const char *seed = getenv("STORM_SEED");

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 0) | 1 : 0x9e3779b97f4a7c15ull;
	for (unsigned i = 0; i < commands; i++)
		actions[rnd(sizeof(actions) / sizeof(actions[0]))]();
	print_message(
	    "forbidden %u, reserved %u, preempted %u, copied %u, revoked %u, sanitized %u\n",
	    seen.forbidden, seen.reserved, seen.preempted, seen.copied, seen.revoked,
	    seen.sanitized);
	if (commands >= COMMANDS)
		assert_true(seen.forbidden && seen.reserved && seen.preempted && seen.copied &&
			    seen.revoked && seen.sanitized);
	if (pr.key[0] || pr.key[1]) { /* so that all can be read */
		int host = pr.key[0] ? 0 : 1;
		uint8_t cdb[16] = {0x5f, CLEAR, [8] = 24};

		memset(io0.out, 0, 24);
		put_be64(io0.out, pr.key[host]);
		assert_good(run_on(host ? rig.b : rig.a, cdb, 16, 24));
		eat_attentions(rig.a);
	}
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
