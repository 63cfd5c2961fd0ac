/* SPDX-License-Identifier: Apache-2.0 */
/* Target port groups: two nexuses through two portal groups of one target. */
#include "tests/unit/target/rig.h"

static void make_b_on_two(void *context)
{
	(void)context;
	assert_int_equal(scsi_nexus_create(rig.target, "iqn.2026-11.test:b,i,0x000000000002",
					   "iqn.2026-11.test:t,t,0x0002", 2, &rig.b, NULL),
			 0);
}

static int setup_two(void **state)
{
	setup(state);
	on_loop(destroy_nexus, rig.b);
	on_loop(make_b_on_two, NULL);
	eat_attentions(rig.b);
	return 0;
}

/* State byte of group @index as @nexus is told. */
static uint8_t reported(struct scsi_nexus *nexus, unsigned index)
{
	assert_good(RUN(nexus, 0, 0xa3, 0x0a, [9] = 255));
	assert_int_equal(get_be32(io0.in) + 4, io0.in_length);
	assert_int_equal(io0.in_length, 4 + 12 * 2);
	assert_int_equal(get_be16(io0.in + 4 + 12 * index + 2), index + 1);
	assert_int_equal(get_be16(io0.in + 4 + 12 * index + 10), index + 1);
	return io0.in[4 + 12 * index];
}

static void set_access(uint16_t group, enum scsi_access access, bool preferred)
{
	assert_int_equal(scsi_target_set_access(rig.target, group, access, preferred, NULL), 0);
}

static void reports(void **state)
{
	(void)state;
	assert_int_equal(reported(rig.a, 0), 0);
	assert_int_equal(reported(rig.b, 1), 0);
	assert_good(RUN(rig.a, 0, 0xa3, 0x2a, [9] = 255)); /* extended header */
	assert_int_equal(io0.in[4], 0x10);
	assert_int_equal(get_be16(io0.in + 8 + 2), 1);
	assert_cdb_field(RUN(rig.a, 0, 0xa3, 0x4a, [9] = 255), 1);
	assert_good(RUN(rig.a, 0, 0x12, 0, 0, 0, 96));
	assert_int_equal(io0.in[5] & 0x30, 0x30);
	/* a group that is configured, without a portal so far */
	set_access(9, SCSI_STANDBY, false);
	eat_attentions(rig.a);
	assert_int_equal(reported(rig.a, 0), 0);
}

/* Relative port and target port group of VPD page 83h are those of the nexus. */
static void identifies(void **state)
{
	unsigned seen = 0;

	(void)state;
	assert_good(RUN(rig.b, 0, 0x12, 1, 0x83, 1, 0));
	for (unsigned at = 4; at < io0.in_length; at += 4u + io0.in[at + 3]) {
		unsigned kind = io0.in[at + 1] & 0x3f;

		if (kind != 0x14 && kind != 0x15)
			continue;
		assert_int_equal(get_be16(io0.in + at + 6), 2);
		seen++;
	}
	assert_int_equal(seen, 2);
}

static void implicit(void **state)
{
	(void)state;
	set_access(2, SCSI_NON_OPTIMIZED, false);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a06);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a06);
	set_access(2, SCSI_NON_OPTIMIZED, false); /* no change, nothing to hear */
	assert_good(RUN(rig.a, 0, 0x00));
	assert_good(RUN(rig.b, 0, 0x28, [8] = 1));
	set_access(1, SCSI_OPTIMIZED, true);
	eat_attentions(rig.a);
	assert_int_equal(reported(rig.a, 0), 0x80);
	assert_int_equal(reported(rig.a, 1), 0x01);
	set_access(2, SCSI_STANDBY, false);
	eat_attentions(rig.a);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a06);
	assert_sense(RUN(rig.b, 0, 0x00), 2, 0x040b);
	assert_sense(RUN(rig.b, 0, 0x28, [8] = 1), 2, 0x040b);
	assert_good(RUN(rig.b, 0, 0x12, 0, 0, 0, 96));
	assert_good(RUN(rig.b, 0, 0x5e, 0, [8] = 8));
	assert_good(RUN(rig.b, 0, 0x25)); /* a path in standby is a unit as large as the others */
	assert_good(RUN(rig.b, 0, 0x9e, 0x10, [13] = 32));
	assert_good(RUN(rig.a, 0, 0x28, [8] = 1)); /* the other path is as before */
	set_access(2, SCSI_UNAVAILABLE, false);
	assert_int_equal(RUN(rig.b, 0, 0x00)->asc, 0x2a06);
	assert_sense(RUN(rig.b, 0, 0x5e, 0, [8] = 8), 2, 0x040c);
	assert_int_equal(reported(rig.b, 1), 0x03);
}

static struct io *set_groups(struct scsi_nexus *nexus, uint8_t one, uint8_t two, uint16_t second)
{
	memset(io0.out, 0, 12);
	io0.out[4] = one;
	put_be16(io0.out + 6, 1);
	io0.out[8] = two;
	put_be16(io0.out + 10, second);
	return RUN(nexus, 12, 0xa4, 0x0a, [9] = 12);
}

static void explicit(void **state)
{
	(void)state;
	assert_good(set_groups(rig.a, 1, 0, 2));
	assert_good(RUN(rig.a, 0, 0x00)); /* who asked is not told */
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a06);
	assert_int_equal(reported(rig.b, 0), 1);
	assert_int_equal(io0.in[4 + 5], 1); /* by SET TARGET PORT GROUPS */
	/* all or nothing */
	assert_sense(set_groups(rig.a, 0, 2, 7), 5, 0x2600);
	assert_sense(set_groups(rig.a, 0, 0x0e, 2), 5, 0x2600);
	assert_int_equal(reported(rig.b, 0), 1);
	assert_sense(RUN(rig.a, 7, 0xa4, 0x0a, [9] = 7), 5, 0x1a00);
	assert_good(RUN(rig.a, 0, 0xa4, 0x0a));
}

/* ALL_TG_PT and relative ports of registrations. */
static void registered_through_all_ports(void **state)
{
	(void)state;
	memset(io0.out, 0, 24);
	io0.out[15] = 5;
	io0.out[20] = 0x04;
	assert_good(RUN(rig.a, 24, 0x5f, 0, [8] = 24));
	assert_good(RUN(rig.a, 0, 0x5e, 0, [8] = 64));
	assert_int_equal(get_be32(io0.in + 4), 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_TWO(test) cmocka_unit_test_setup_teardown(test, setup_two, teardown)
	    WITH_TWO(reports),
	    WITH_TWO(identifies),
	    WITH_TWO(implicit),
	    WITH_TWO(explicit),
	    WITH_TWO(registered_through_all_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
