/* SPDX-License-Identifier: Apache-2.0 */
/* EXTENDED COPY and copies by token: what is copied, what is refused, and that no copy leaves the
 * LUNs of its nexus. LUN 0 is the rig's volume, LUN 1 a second one; a third is another target's. */
#include "tests/unit/target/rig.h"

#define TOKEN 512

static struct volume *second, *hidden;
static struct scsi_target *elsewhere;
static struct scsi_nexus *there;

static void map_more(void *context)
{
	unsigned lun;

	(void)context;
	assert_int_equal(scsi_target_map(rig.target, second, 1, &lun, NULL), 0);
	assert_int_equal(scsi_target_create("iqn.2026-11.test:other", &elsewhere, NULL), 0);
	assert_int_equal(scsi_target_map(elsewhere, hidden, 0, &lun, NULL), 0);
	assert_int_equal(scsi_nexus_create(elsewhere, "iqn.2026-11.test:c,i,0x000000000003",
					   "iqn.2026-11.test:other,t,0x0001", 1, &there, NULL),
			 0);
}

static void identify(struct volume *volume, uint8_t seed)
{
	uint8_t uuid[16];

	memset(uuid, seed, sizeof(uuid));
	volume_identity_make(uuid, &volume->identity);
}

static int copy_setup(void **state)
{
	setup(state);
	assert_int_equal(memory_volume_create("second", RIG_SIZE, &second, NULL), 0);
	assert_int_equal(memory_volume_create("hidden", RIG_SIZE, &hidden, NULL), 0);
	identify(second, 0x22);
	identify(hidden, 0x33);
	on_loop(map_more, NULL);
	for (io0.lun = 0; io0.lun < 2; io0.lun++) {
		eat_attentions(rig.a);
		eat_attentions(rig.b);
	}
	io0.lun = 0;
	eat_attentions(there);
	return 0;
}

static int copy_teardown(void **state)
{
	on_loop(destroy_nexus, there);
	teardown(state);
	assert_int_equal(scsi_target_destroy(elsewhere, NULL), 0);
	volume_unref(second);
	volume_unref(hidden);
	return 0;
}

static struct io *on_lun(struct scsi_nexus *nexus, unsigned lun, uint8_t opcode, uint64_t lba,
			 uint32_t blocks, uint32_t out_length)
{
	uint8_t cdb[16] = {opcode};
	struct io *io;

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
	io0.lun = lun;
	io = run_on(nexus, cdb, 16, out_length);
	io0.lun = 0;
	return io;
}

static void write_pattern(struct scsi_nexus *nexus, unsigned lun, uint64_t lba, uint32_t blocks,
			  unsigned seed)
{
	for (size_t i = 0; i < blocks * 512u; i++)
		io0.out[i] = (uint8_t)(seed + lba + i / 512 + i * 3);
	assert_good(on_lun(nexus, lun, 0x8a, lba, blocks, blocks * 512));
}

/* The pattern that was written at @at stands at @lba. */
static void assert_pattern(unsigned lun, uint64_t lba, uint64_t at, uint32_t blocks, unsigned seed)
{
	struct io *io = on_lun(rig.a, lun, 0x88, lba, blocks, 0);

	assert_good(io);
	for (size_t i = 0; i < blocks * 512u; i++)
		if (io->in[i] != (uint8_t)(seed + at + i / 512 + i * 3))
			fail_msg("byte %zu of LBA %lu differs", i, (unsigned long)lba);
}

static bool is_mapped(unsigned lun, uint64_t lba)
{
	uint8_t cdb[16] = {0x9e, 0x12, [13] = 24};

	put_be64(cdb + 2, lba);
	io0.lun = lun;
	assert_good(run_on(rig.a, cdb, 16, 0));
	io0.lun = 0;
	return io0.in[20] == 0;
}

/* ---- EXTENDED COPY */

static unsigned list_length;

static void list_begin(uint8_t id, uint8_t usage)
{
	memset(io0.out, 0, 8192);
	io0.out[0] = id;
	io0.out[1] = (uint8_t)(usage << 3);
	list_length = 16;
}

static void list_target(const struct volume *volume)
{
	uint8_t *p = io0.out + list_length;

	p[0] = 0xe4;
	p[4] = 1;
	p[5] = 3;
	p[7] = 16;
	memcpy(p + 8, volume->identity.naa, 16);
	put_be16(p + 30, 512);
	list_length += 32;
	put_be16(io0.out + 2, (uint16_t)(get_be16(io0.out + 2) + 32));
}

static void list_segment(uint16_t from, uint64_t from_lba, uint16_t to, uint64_t to_lba,
			 uint16_t blocks)
{
	uint8_t *p = io0.out + list_length;

	p[0] = 2;
	p[3] = 0x18;
	put_be16(p + 4, from);
	put_be16(p + 6, to);
	put_be16(p + 10, blocks);
	put_be64(p + 12, from_lba);
	put_be64(p + 20, to_lba);
	list_length += 28;
	put_be32(io0.out + 8, get_be32(io0.out + 8) + 28);
}

static void list_both(uint8_t id)
{
	list_begin(id, 0);
	list_target(rig.volume);
	list_target(second);
}

static struct io *xcopy(struct scsi_nexus *nexus)
{
	uint8_t cdb[16] = {0x83};

	put_be32(cdb + 10, list_length);
	return run_on(nexus, cdb, 16, list_length);
}

static void between_units(void **state)
{
	struct io *io;

	(void)state;
	write_pattern(rig.a, 0, 3, 2000, 1);
	write_pattern(rig.a, 0, 2003, 2000, 1);
	list_both(7);
	list_segment(0, 3, 1, 100, 4000);
	list_segment(1, 100, 0xffff, 8001, 10); /* and back to the one that was asked */
	assert_good(xcopy(rig.a));
	assert_pattern(1, 100, 3, 2000, 1);
	assert_pattern(1, 2100, 2003, 2000, 1);
	assert_pattern(0, 8001, 3, 10, 1);
	io = RUN(rig.a, 0, 0x84, 0, 7, [13] = 12);
	assert_good(io);
	assert_int_equal(get_be32(io->in), 8);
	assert_int_equal(io->in[4], 1);
	assert_int_equal(get_be16(io->in + 5), 2);
	assert_int_equal(get_be32(io->in + 8), 4010 * 512);
	assert_cdb_field(RUN(rig.a, 0, 0x84, 0, 8, [13] = 12), 2);
	assert_cdb_field(RUN(rig.b, 0, 0x84, 0, 7, [13] = 12), 2); /* another's list */
}

static void overlapping(void **state)
{
	(void)state;
	write_pattern(rig.a, 0, 1000, 2000, 9);
	list_both(1);
	list_segment(0, 1000, 0, 1005, 2000);
	assert_good(xcopy(rig.a));
	assert_pattern(0, 1005, 1000, 2000, 9);
	write_pattern(rig.a, 0, 4000, 2000, 5);
	list_both(1);
	list_segment(0, 4000, 0, 3990, 2000);
	assert_good(xcopy(rig.a));
	assert_pattern(0, 3990, 4000, 2000, 5);
}

static void holes_stay_holes(void **state)
{
	(void)state;
	write_pattern(rig.a, 0, 64, 8, 1);
	for (unsigned lba = 0; lba < 128; lba += 8)
		write_pattern(rig.a, 1, lba, 8, 77);
	list_both(1);
	list_segment(0, 0, 1, 0, 128);
	assert_good(xcopy(rig.a));
	assert_pattern(1, 64, 64, 8, 1);
	assert_true(is_mapped(1, 64));
	assert_false(is_mapped(1, 0));
	assert_false(is_mapped(1, 72));
}

static void no_way_out(void **state)
{
	(void)state;
	write_pattern(there, 0, 0, 64, 200);
	list_begin(1, 0);
	list_target(hidden);
	list_target(second);
	list_segment(0, 0, 1, 0, 64);
	assert_sense(xcopy(rig.a), 0xa, 0x0d02);
	assert_false(is_mapped(1, 0));
	list_begin(1, 0);
	list_target(second);
	list_target(hidden);
	write_pattern(rig.a, 1, 0, 8, 1);
	list_begin(1, 0);
	list_target(second);
	list_target(hidden);
	list_segment(0, 0, 1, 0, 8);
	assert_sense(xcopy(rig.a), 0xa, 0x0d02);
	/* what does not exist anywhere sounds the same */
	list_begin(1, 0);
	list_target(second);
	list_target(second);
	memset(io0.out + 16 + 8, 0x5a, 16);
	list_segment(0, 0, 1, 0, 8);
	assert_sense(xcopy(rig.a), 0xa, 0x0d02);
	assert_good(on_lun(there, 0, 0x88, 0, 1, 0));
	assert_int_equal(io0.in[0], 200);
}

/* A LUN of the same target that is shown to others only is as far away as another target's. */
static void map_masked(void *context)
{
	static const char others[1][SCSI_NAME_MAX + 1] = {"iqn.2026-11.test:b"};
	const struct scsi_names names = {.count = 1, .names = (void *)others};
	unsigned lun;

	(void)context;
	assert_int_equal(scsi_target_map_for(rig.target, hidden, 5, &names, &lun, NULL), 0);
}

static void masked(void **state)
{
	(void)state;
	on_loop(map_masked, NULL);
	eat_attentions(rig.a);
	eat_attentions(rig.b);
	list_begin(1, 0);
	list_target(hidden);
	list_target(rig.volume);
	list_segment(0, 0, 1, 0, 8);
	assert_sense(xcopy(rig.a), 0xa, 0x0d02);
	assert_good(xcopy(rig.b));
}

static void bad_lists(void **state)
{
	(void)state;
	list_length = 0;
	assert_good(xcopy(rig.a));
	list_length = 15;
	assert_sense(xcopy(rig.a), 5, 0x1a00);
	list_both(1);
	list_segment(0, 0, 2, 0, 8);
	assert_sense(xcopy(rig.a), 0xa, 0x0804);
	list_both(1);
	list_segment(0, 0, 1, RIG_LAST, 2);
	assert_sense(xcopy(rig.a), 0xa, 0x0d02);
	list_both(1);
	list_segment(0, UINT64_MAX - 3, 1, 0, 8);
	assert_sense(xcopy(rig.a), 0xa, 0x0d02);
	list_both(1);
	list_segment(0, 0, 1, 0, 8);
	list_length--;
	assert_sense(xcopy(rig.a), 5, 0x1a00);
	list_length++;
	io0.out[16] = 0xe0;
	assert_sense(xcopy(rig.a), 5, 0x2607);
	io0.out[16] = 0xe4;
	io0.out[16 + 64] = 3;
	assert_sense(xcopy(rig.a), 5, 0x2609);
	io0.out[16 + 64] = 2;
	io0.out[16 + 7] = 21;
	assert_sense(xcopy(rig.a), 5, 0x2600);
	io0.out[16 + 7] = 16;
	io0.out[17] = 0x20;
	assert_sense(xcopy(rig.a), 0xa, 0x0804);
	io0.out[17] = 0x05;
	assert_sense(xcopy(rig.a), 0xa, 0x0d03);
	io0.out[17] = 0;
	io0.out[15] = 1;
	assert_sense(xcopy(rig.a), 5, 0x260b);
	io0.out[15] = 0;
	assert_good(xcopy(rig.a));
	list_begin(1, 0);
	for (unsigned i = 0; i < COPY_TARGETS + 1; i++)
		list_target(second);
	assert_sense(xcopy(rig.a), 5, 0x2606);
	list_begin(1, 0);
	list_target(second);
	for (unsigned i = 0; i < COPY_SEGMENTS + 1; i++)
		list_segment(0, 0, 0, 8, 8);
	assert_sense(xcopy(rig.a), 5, 0x2608);
	list_begin(1, 1);
	assert_sense(xcopy(rig.a), 5, 0x2600);
	list_begin(1, 3);
	assert_sense(xcopy(rig.a), 5, 0x2600);
}

static void reserved_elsewhere(void **state)
{
	(void)state;
	io0.lun = 1;
	assert_good(RUN(rig.b, 0, 0x16));
	io0.lun = 0;
	list_both(1);
	list_segment(0, 0, 1, 0, 8);
	assert_sense(xcopy(rig.a), 0xa, 0x0d01);
	assert_good(xcopy(rig.b));
}

static void parameters(void **state)
{
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x84, 3, [13] = 255);
	assert_good(io);
	assert_int_equal(get_be32(io->in) + 4, io->in_length);
	assert_int_equal(get_be16(io->in + 8), COPY_TARGETS);
	assert_int_equal(get_be16(io->in + 10), COPY_SEGMENTS);
	assert_int_equal(io->in[43], 2);
	io = RUN(rig.a, 0, 0x12, [4] = 96);
	assert_int_equal(io->in[5] & 8, 8);
}

/* ---- a copy that is under way */

static struct io slow;

static void start_slow(void)
{
	static uint8_t cdb[16];

	write_pattern(rig.a, 0, 0, 2048, 1);
	list_both(5);
	list_segment(0, 0, 0, 8000, 2048);
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x83;
	put_be32(cdb + 10, list_length);
	rig.test->hold = true;
	slow.out = malloc(8192);
	memcpy(slow.out, io0.out, 8192);
	slow.in = malloc(4096);
	slow.out_length = list_length;
	io_start(&slow, rig.a, cdb, 16);
	settle();
	assert_false(slow.done);
}

static void end_slow(void)
{
	free(slow.out);
	free(slow.in);
	memset(&slow, 0, sizeof(slow));
}

static void others_go_on(void **state)
{
	struct io *io;

	(void)state;
	start_slow();
	io = RUN(rig.a, 0, 0x84, 0, 5, [13] = 12);
	assert_int_equal(io->in[4], 0); /* in progress */
	list_both(5);
	assert_sense(xcopy(rig.a), 5, 0x2600); /* that number is in use */
	assert_good(RUN(rig.b, 0, 0x00));
	write_pattern(rig.b, 1, 0, 8, 3);
	test_volume_release(rig.test);
	io_wait(&slow);
	assert_good(&slow);
	assert_pattern(0, 8000, 0, 1024, 1);
	end_slow();
}

static struct scsi_tmf_request tmf;
static bool tmf_answered;

static void answered(struct scsi_tmf_request *request, enum scsi_tmf_response response)
{
	(void)request;
	tmf_answered = response == SCSI_TMF_COMPLETE;
}

static void submit_tmf(void *context)
{
	scsi_tmf_submit(context);
}

static void aborted(void **state)
{
	(void)state;
	start_slow();
	tmf_answered = false;
	tmf = (struct scsi_tmf_request){
	    .function = SCSI_ABORT_TASK_SET, .nexus = rig.a, .answered = answered};
	on_loop(submit_tmf, &tmf);
	settle();
	assert_true(tmf_answered);
	assert_true(slow.done && slow.aborted);
	end_slow();
	test_volume_release(rig.test);
	assert_int_equal(RUN(rig.a, 0, 0x84, 0, 5, [13] = 12)->in[4], 2);
	assert_false(is_mapped(0, 8000));
}

/* ---- tokens */

static uint8_t token[TOKEN];

static struct io *populate(struct scsi_nexus *nexus, uint64_t lba, uint32_t blocks,
			   uint32_t timeout)
{
	uint8_t cdb[16] = {0x83, 0x10, [9] = 1, [13] = 32};

	memset(io0.out, 0, 32);
	io0.out[1] = 30;
	put_be32(io0.out + 4, timeout);
	io0.out[15] = 16;
	put_be64(io0.out + 16, lba);
	put_be32(io0.out + 24, blocks);
	return run_on(nexus, cdb, 16, 32);
}

static void receive_token(struct scsi_nexus *nexus)
{
	uint8_t cdb[16] = {0x84, 0x07, [5] = 1, [12] = 4};
	struct io *io = run_on(nexus, cdb, 16, 0);
	unsigned at;

	assert_good(io);
	assert_int_equal(io->in[4], 0x10);
	assert_int_equal(io->in[5], 1);
	assert_int_equal(get_be32(io->in) + 4, io->in_length);
	at = 32u + io->in[13];
	assert_int_equal(get_be32(io->in + at), TOKEN + 2);
	memcpy(token, io->in + at + 6, TOKEN);
}

static void make_token(struct scsi_nexus *nexus, uint64_t lba, uint32_t blocks)
{
	assert_good(populate(nexus, lba, blocks, 0));
	receive_token(nexus);
}

static struct io *write_using(struct scsi_nexus *nexus, unsigned lun, uint8_t flags,
			      uint64_t offset, uint64_t lba, uint32_t blocks)
{
	uint8_t cdb[16] = {0x83, 0x11, [9] = 2, [12] = 2, [13] = 0x28};
	struct io *io;

	memset(io0.out, 0, 552);
	put_be16(io0.out, 550);
	io0.out[2] = flags;
	put_be64(io0.out + 8, offset);
	memcpy(io0.out + 16, token, TOKEN);
	io0.out[535] = 16;
	put_be64(io0.out + 536, lba);
	put_be32(io0.out + 544, blocks);
	io0.lun = lun;
	io = run_on(nexus, cdb, 16, 552);
	io0.lun = 0;
	return io;
}

static void by_token(void **state)
{
	uint8_t cdb[16] = {0x84, 0x07, [5] = 2, [12] = 4};
	struct io *io;

	(void)state;
	write_pattern(rig.a, 0, 17, 2000, 1);
	make_token(rig.a, 17, 2000);
	assert_int_equal(get_be32(token), 0x00800001);
	assert_good(write_using(rig.a, 1, 0, 0, 33, 2000));
	assert_pattern(1, 33, 17, 2000, 1);
	assert_good(write_using(rig.b, 1, 0, 100, 5000, 50)); /* by a host that sees both */
	assert_pattern(1, 5000, 17 + 100, 50, 1);
	io0.lun = 1;
	io = run_on(rig.b, cdb, 16, 0);
	io0.lun = 0;
	assert_good(io);
	assert_int_equal(io->in[4], 0x11);
	assert_int_equal(io->in[5], 1);
	assert_int_equal(io->in[15], 0xf1);
	assert_int_equal(get_be64(io->in + 16), 50);
	assert_sense(write_using(rig.a, 1, 0, 1990, 0, 11), 5, 0x2600);
	assert_sense(write_using(rig.a, 1, 0, 0, RIG_LAST, 2), 5, 0x2100);
	assert_good(write_using(rig.a, 1, 2, 0, 0, 8));
	assert_sense(write_using(rig.a, 1, 0, 0, 0, 8), 5, 0x2309);
}

static void zero_token(void **state)
{
	(void)state;
	write_pattern(rig.a, 1, 0, 64, 1);
	memset(token, 0, TOKEN);
	put_be32(token, 0xffff0001);
	put_be16(token + 6, 504);
	assert_good(write_using(rig.a, 1, 0, 0, 8, 48));
	assert_false(is_mapped(1, 8));
	assert_true(is_mapped(1, 0));
	assert_true(is_mapped(1, 56));
}

static void revoked_by_writes(void **state)
{
	static const uint8_t writers[] = {0x8a, 0x93, 0x89, 0x8b};

	(void)state;
	for (unsigned i = 0; i < sizeof(writers); i++) {
		write_pattern(rig.a, 0, 0, 64, 1);
		make_token(rig.a, 0, 64);
		write_pattern(rig.b, 0, 64, 8, 1); /* beside it */
		write_pattern(rig.b, 1, 0, 8, 1);  /* another unit */
		assert_good(write_using(rig.a, 1, 0, 0, 100, 64));
		assert_good(on_lun(rig.b, 0, 0x88, 63, 1, 0));
		memcpy(io0.out, io0.in, 512);
		assert_good(on_lun(rig.b, 0, writers[i], 63, 1, writers[i] == 0x89 ? 1024 : 512));
		assert_sense(write_using(rig.a, 1, 0, 0, 100, 64), 5, 0x2306);
	}
}

static void expires(void **state)
{
	(void)state;
	assert_good(populate(rig.a, 0, 8, 1));
	receive_token(rig.a);
	assert_good(write_using(rig.a, 1, 0, 0, 0, 8));
	for (unsigned i = 0; i < 24; i++)
		loop_poll(rig.loop, 50000000);
	assert_sense(write_using(rig.a, 1, 0, 0, 0, 8), 5, 0x2307);
}

static void forged(void **state)
{
	(void)state;
	write_pattern(there, 0, 0, 8, 200);
	make_token(there, 0, 8);
	/* a real one, of a unit this nexus can not see */
	assert_sense(write_using(rig.a, 1, 0, 0, 0, 8), 5, 0x2304);
	make_token(rig.a, 0, 8);
	token[60] ^= 1;
	assert_sense(write_using(rig.a, 1, 0, 0, 0, 8), 5, 0x2305);
	token[60] ^= 1;
	token[130] ^= 1;
	assert_sense(write_using(rig.a, 1, 0, 0, 0, 8), 5, 0x2304);
	token[7] = 0;
	assert_sense(write_using(rig.a, 1, 0, 0, 0, 8), 5, 0x230a);
	token[7] = 0xf8;
	token[3] = 0;
	assert_sense(write_using(rig.a, 1, 0, 0, 0, 8), 5, 0x2301);
	assert_false(is_mapped(1, 0));
	assert_cdb_field(RUN(rig.a, 0, 0x84, 0x07, [5] = 99, [12] = 4), 2);
	assert_sense(populate(rig.a, 0, 8, 601), 5, 0x2600);
	assert_sense(populate(rig.a, RIG_LAST, 2, 0), 5, 0x2100);
}

/* The token is handed over when the writes from before it are done. */
static void waits_for_writes(void **state)
{
	static uint8_t write[16] = {0x8a, [9] = 4, [13] = 1};
	static uint8_t cdb[16] = {0x83, 0x10, [9] = 1, [13] = 32};
	struct io writer = {
	    .out = aligned_alloc(4096, 4096), .in = malloc(4096), .out_length = 512};

	(void)state;
	slow = (struct io){.out = calloc(1, 4096), .in = malloc(4096), .out_length = 32};
	rig.test->hold = true;
	io_start(&writer, rig.b, write, 16);
	settle();
	slow.out[1] = 30;
	slow.out[15] = 16;
	slow.out[27] = 8;
	io_start(&slow, rig.a, cdb, 16);
	settle();
	assert_false(slow.done);
	test_volume_release(rig.test);
	io_wait(&writer);
	io_wait(&slow);
	assert_good(&slow);
	receive_token(rig.a);
	assert_good(write_using(rig.a, 1, 0, 0, 0, 8));
	free(writer.out);
	free(writer.in);
	end_slow();
}

static void third_party_page(void **state)
{
	uint16_t before = 0, type;
	unsigned at = 4, count = 0;
	struct io *io;

	(void)state;
	io = RUN(rig.a, 0, 0x12, 1, 0x8f, 4, 0);
	assert_good(io);
	assert_int_equal(get_be16(io->in + 2) + 4, io->in_length);
	while (at < io->in_length) {
		type = get_be16(io->in + at);
		assert_true(count == 0 || type > before);
		assert_int_equal(get_be16(io->in + at + 2) % 4, 0);
		if (type == 1) {
			static const uint8_t commands[] = {12,   0x83, 3, 0, 0x10, 0x11,
							   0x84, 3,    0, 3, 7};

			assert_memory_equal(io->in + at + 5, commands + 1, 10);
		}
		before = type;
		count++;
		at += 4u + get_be16(io->in + at + 2);
	}
	assert_int_equal(at, io->in_length);
	assert_int_equal(count, 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, copy_setup, copy_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(between_units),
	    TEST(overlapping),
	    TEST(holes_stay_holes),
	    TEST(no_way_out),
	    TEST(bad_lists),
	    TEST(masked),
	    TEST(reserved_elsewhere),
	    TEST(parameters),
	    TEST(others_go_on),
	    TEST(aborted),
	    TEST(by_token),
	    TEST(zero_token),
	    TEST(revoked_by_writes),
	    TEST(expires),
	    TEST(forged),
	    TEST(waits_for_writes),
	    TEST(third_party_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
