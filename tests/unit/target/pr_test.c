/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent reservations with two nexuses: every service action, who may do what under which
 * type, unit attentions, TransportIDs, what survives a restart. */
#include <unistd.h>

#include "tests/unit/target/rig.h"

#define KEY_A 0xaaaa000000000001ull
#define KEY_B 0xbbbb000000000002ull

enum { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, IGNORE, MOVE };

static const char *const port_a = "iqn.2026-11.test:a,i,0x000000000001";
static const char *const port_b = "iqn.2026-11.test:b,i,0x000000000002";

static struct io *out_list(struct scsi_nexus *nexus, uint8_t action, uint8_t type, uint64_t key,
			   uint64_t action_key, uint8_t flags, uint32_t length)
{
	uint8_t cdb[16] = {0x5f, action, type};

	put_be32(cdb + 5, length);
	memset(io0.out, 0, 24);
	put_be64(io0.out, key);
	put_be64(io0.out + 8, action_key);
	io0.out[20] = flags;
	return run_on(nexus, cdb, 16, length);
}

static struct io *out(struct scsi_nexus *nexus, uint8_t action, uint8_t type, uint64_t key,
		      uint64_t action_key)
{
	return out_list(nexus, action, type, key, action_key, 0, 24);
}

static void assert_conflict(const struct io *io)
{
	assert_int_equal(io->status, SCSI_RESERVATION_CONFLICT);
}

static struct io *in(struct scsi_nexus *nexus, uint8_t action)
{
	return RUN(nexus, 0, 0x5e, action, [7] = 0xff, [8] = 0xff);
}

static unsigned key_count(void)
{
	assert_good(in(rig.a, 0));
	assert_int_equal(get_be32(io0.in + 4) + 8, io0.in_length);
	return get_be32(io0.in + 4) / 8;
}

static uint32_t generation(void)
{
	assert_good(in(rig.a, 0));
	return get_be32(io0.in);
}

/* Type of what is reserved, and by which key. */
static uint8_t reserved(uint64_t *ret_key)
{
	assert_good(in(rig.a, 1));
	*ret_key = io0.in_length > 8 ? get_be64(io0.in + 8) : 0;
	return io0.in_length > 8 ? io0.in[21] : 0;
}

static struct io *read_on(struct scsi_nexus *nexus)
{
	return RUN(nexus, 0, 0x28, [8] = 1);
}

static struct io *write_on(struct scsi_nexus *nexus)
{
	return RUN(nexus, 512, 0x2a, [8] = 1);
}

static void register_both(void)
{
	assert_good(out(rig.a, REGISTER, 0, 0, KEY_A));
	assert_good(out(rig.b, REGISTER, 0, 0, KEY_B));
}

static void registering(void **state)
{
	uint64_t key;

	(void)state;
	assert_int_equal(key_count(), 0);
	assert_conflict(out(rig.a, REGISTER, 0, KEY_A, KEY_A)); /* nobody is registered with it */
	assert_good(out(rig.a, REGISTER, 0, 0, 0));             /* nothing to do */
	assert_int_equal(key_count(), 0);
	register_both();
	assert_int_equal(key_count(), 2);
	assert_int_equal(get_be64(io0.in + 8), KEY_A);
	assert_int_equal(get_be64(io0.in + 16), KEY_B);
	assert_conflict(out(rig.a, REGISTER, 0, 0, KEY_A));
	assert_good(out(rig.a, REGISTER, 0, KEY_A, KEY_A + 1));
	assert_good(out(rig.a, IGNORE, 0, 77, KEY_A));
	assert_int_equal(key_count(), 2);
	assert_good(out(rig.a, REGISTER, 0, KEY_A, 0));
	assert_good(out(rig.b, IGNORE, 0, 0, 0));
	assert_int_equal(key_count(), 0);
	assert_int_equal(reserved(&key), 0);
	assert_int_equal(generation(), 7);
	/* unregistered: everything else conflicts */
	for (int action = RESERVE; action <= PREEMPT_ABORT; action++)
		assert_conflict(out(rig.a, (uint8_t)action, 1, KEY_A, KEY_B));
}

static void bad_lists(void **state)
{
	(void)state;
	assert_sense(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0, 23), 5, 0x1a00);
	assert_sense(out_list(rig.a, RESERVE, 1, 0, KEY_A, 0, 28), 5, 0x1a00);
	assert_sense(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0, 28), 5, 0x1a00); /* no SPEC_I_PT */
	assert_sense(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0, 65536), 5, 0x1a00);
	assert_sense(out_list(rig.a, IGNORE, 0, 0, KEY_A, 0x08, 24), 5, 0x2600);
	assert_sense(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x01, 24), 5, 0x2600); /* no store */
	assert_int_equal(key_count(), 0);
	register_both();
	assert_cdb_field(out(rig.a, RESERVE, 2, KEY_A, 0), 2);
	assert_cdb_field(out(rig.a, RESERVE, 0x11, KEY_A, 0), 2);
	assert_sense(out(rig.a, PREEMPT, 1, KEY_A, 0), 5, 0x2600);
	assert_cdb_field(RUN(rig.a, 0, 0x5e, 4, [8] = 8), 1);
	assert_cdb_field(RUN(rig.a, 24, 0x5f, 8, [8] = 24), 1);
}

static const struct {
	uint8_t type;
	bool read, write, registered; /* what the other may: registered means all */
} rights[] = {
    {1, true, false, false}, {3, false, false, false}, {5, true, false, true},
    {6, false, false, true}, {7, true, false, true},   {8, false, false, true},
};

static void expect(struct io *io, bool allowed)
{
	if (allowed)
		assert_good(io);
	else
		assert_conflict(io);
}

static void types(void **state)
{
	uint64_t key;

	(void)state;
	for (unsigned i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
		uint8_t type = rights[i].type;
		bool all = type >= 7;

		assert_good(out(rig.a, REGISTER, 0, 0, KEY_A));
		assert_good(out(rig.a, RESERVE, type, KEY_A, 0));
		assert_good(out(rig.a, RESERVE, type, KEY_A, 0)); /* has it already */
		assert_conflict(out(rig.a, RESERVE, type == 1 ? 3 : 1, KEY_A, 0));
		assert_int_equal(reserved(&key), type);
		assert_true(key == (all ? 0 : KEY_A));
		assert_good(read_on(rig.a));
		assert_good(write_on(rig.a));
		expect(read_on(rig.b), rights[i].read);
		expect(write_on(rig.b), rights[i].write);
		/* always allowed */
		assert_good(RUN(rig.b, 0, 0x00));
		assert_good(RUN(rig.b, 0, 0x12, 0, 0, 0, 96));
		assert_good(RUN(rig.b, 0, 0x25));
		assert_conflict(RUN(rig.b, 0, 0x35)); /* SYNCHRONIZE CACHE */
		assert_good(out(rig.b, REGISTER, 0, 0, KEY_B));
		expect(read_on(rig.b), rights[i].read || rights[i].registered);
		expect(write_on(rig.b), rights[i].write || rights[i].registered);
		expect(out(rig.b, RESERVE, type, KEY_B, 0), all);
		if (!all) {
			assert_good(out(rig.b, RELEASE, type, KEY_B, 0)); /* not the holder */
			assert_int_equal(reserved(&key), type);
		}
		assert_sense(out(rig.a, RELEASE, type == 1 ? 3 : 1, KEY_A, 0), 5, 0x2604);
		assert_good(out(rig.a, RELEASE, type, KEY_A, 0));
		if (rights[i].registered)
			assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a04);
		assert_good(write_on(rig.b));
		assert_good(out(rig.b, REGISTER, 0, KEY_B, 0));
		assert_good(out(rig.a, REGISTER, 0, KEY_A, 0));
	}
}

static void unregistering_the_holder(void **state)
{
	uint64_t key;

	(void)state;
	register_both();
	assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
	assert_good(out(rig.a, REGISTER, 0, KEY_A, 0));
	assert_int_equal(reserved(&key), 0);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a04);
	/* all registrants: the last one turns off the light */
	assert_good(out(rig.a, REGISTER, 0, 0, KEY_A));
	assert_good(out(rig.a, RESERVE, 8, KEY_A, 0));
	assert_good(out(rig.a, REGISTER, 0, KEY_A, 0));
	assert_int_equal(reserved(&key), 8);
	assert_good(write_on(rig.b));
	assert_conflict(write_on(rig.a));
	assert_good(out(rig.b, REGISTER, 0, KEY_B, 0));
	assert_int_equal(reserved(&key), 0);
}

static void clearing(void **state)
{
	uint64_t key;

	(void)state;
	register_both();
	assert_good(out(rig.a, RESERVE, 3, KEY_A, 0));
	assert_good(out(rig.b, CLEAR, 0, KEY_B, 0));
	assert_int_equal(RUN(rig.a, 0, 0x5e, 0, [8] = 8)->asc, 0x2a03);
	assert_int_equal(key_count(), 0);
	assert_int_equal(reserved(&key), 0);
	assert_good(write_on(rig.b));
	assert_good(write_on(rig.a));
}

static void preempting(void **state)
{
	uint64_t key;

	(void)state;
	register_both();
	assert_good(out(rig.a, RESERVE, 1, KEY_A, 0));
	assert_conflict(write_on(rig.b));
	assert_conflict(out(rig.b, PREEMPT, 1, KEY_B, 12345)); /* nobody has that key */
	assert_good(out(rig.b, PREEMPT, 3, KEY_B, KEY_A));
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a05);
	assert_int_equal(reserved(&key), 3);
	assert_true(key == KEY_B);
	assert_int_equal(key_count(), 1);
	assert_conflict(read_on(rig.a));
	assert_good(write_on(rig.b));
	/* the holder's own key: it changes the type, and stays registered */
	assert_good(out(rig.a, REGISTER, 0, 0, KEY_A));
	assert_good(out(rig.b, PREEMPT, 5, KEY_B, KEY_B));
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a04);
	assert_int_equal(reserved(&key), 5);
	/* not the holder's: only the registration goes */
	assert_good(out(rig.b, PREEMPT, 1, KEY_B, KEY_A));
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a05);
	assert_int_equal(reserved(&key), 5);
	assert_conflict(write_on(rig.a));
	/* all registrants: key 0 names them */
	assert_good(out(rig.b, PREEMPT, 7, KEY_B, KEY_B));
	assert_good(out(rig.a, REGISTER, 0, 0, KEY_A));
	assert_good(out(rig.a, PREEMPT, 1, KEY_A, 0));
	assert_int_equal(reserved(&key), 1);
	assert_true(key == KEY_A);
	assert_int_equal(key_count(), 1);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a05);
}

static const uint8_t write_one[16] = {0x2a, [8] = 1};

static void preempt_and_abort(void **state)
{
	static const uint8_t preempt[16] = {0x5f, PREEMPT_ABORT, 1, [8] = 24};
	struct io theirs = {.out = io0.out + 65536, .out_length = 512, .in = io0.in + 65536};
	struct io mine = theirs, waiting = {.out = io0.out, .out_length = 24, .in = io0.in};

	(void)state;
	register_both();
	assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
	rig.test->hold = rig.test->deaf = true;
	io_start(&theirs, rig.a, write_one, 16);
	io_start(&mine, rig.b, write_one, 16);
	put_be64(io0.out, KEY_B);
	put_be64(io0.out + 8, KEY_A);
	io0.out[20] = 0;
	io_start(&waiting, rig.b, preempt, 16);
	settle();
	/* two things to hear: what became of its commands, and of its registration */
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2f00);
	assert_sense(RUN(rig.a, 0, 0x00), 6, 0x2a05);
	/* in force at once, GOOD only when nothing of theirs can reach the medium any more */
	assert_conflict(write_on(rig.a));
	assert_false(waiting.done);
	test_volume_release(rig.test);
	rig.test->deaf = false;
	io_wait(&waiting);
	assert_good(&waiting);
	assert_true(theirs.done && theirs.aborted);
	io_wait(&mine);
	assert_good(&mine);
}

static void begin_only(void *context)
{
	io_begin(context);
}

static void execute_only(void *context)
{
	io_execute(context);
}

/* Data that was still on its way when its sender was preempted goes nowhere. */
static void preempted_while_gathering(void **state)
{
	struct io late = {.out = io0.out + 65536,
			  .in = io0.in,
			  .out_length = 512,
			  .nexus = rig.a,
			  .cdb = write_one,
			  .cdb_length = 16};

	(void)state;
	register_both();
	assert_good(out(rig.a, RESERVE, 1, KEY_A, 0));
	on_loop(begin_only, &late);
	assert_false(late.task.finished);
	assert_good(out(rig.b, PREEMPT, 1, KEY_B, KEY_A));
	on_loop(execute_only, &late);
	io_wait(&late);
	assert_conflict(&late);
	assert_int_equal(rig.test->writes, 0);
}

/* A TransportID at io0.out + @at; returns its length. */
static uint32_t put_id(uint32_t at, const char *name)
{
	return transport_id_write(name, io0.out + at);
}

static void moving(void **state)
{
	uint32_t length = put_id(24, port_b);
	uint64_t key;

	(void)state;
	assert_good(out(rig.a, REGISTER, 0, 0, KEY_A));
	memset(io0.out + 16, 0, 8);
	assert_good(out(rig.a, RESERVE, 3, KEY_A, 0));
	put_id(24, port_b);
#define MOVE_TO(relative, unregister)                                                              \
	(put_be64(io0.out, KEY_A), put_be64(io0.out + 8, KEY_B), io0.out[16] = 0,                  \
	 io0.out[17] = (unregister), put_be16(io0.out + 18, relative),                             \
	 put_be32(io0.out + 20, length),                                                           \
	 RUN(rig.a, 24 + length, 0x5f, MOVE, 0, [8] = (uint8_t)(24 + length)))
	assert_sense(MOVE_TO(9, 0), 5, 0x2600); /* no such port */
	assert_good(MOVE_TO(1, 2));
	assert_int_equal(reserved(&key), 3);
	assert_true(key == KEY_B);
	assert_int_equal(key_count(), 1);
	assert_conflict(write_on(rig.a));
	assert_good(write_on(rig.b));
	assert_conflict(MOVE_TO(1, 0)); /* not the holder any more */
#undef MOVE_TO
}

static void specified_ports(void **state)
{
	uint32_t length = put_id(28, port_b);

	(void)state;
	put_be32(io0.out + 24, length);
	assert_good(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x08, 28 + length));
	assert_int_equal(key_count(), 2);
	assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
	assert_good(write_on(rig.b)); /* registered by the other */
	assert_sense(out_list(rig.a, REGISTER, 0, KEY_A, KEY_A, 0x08, 28 + length), 5, 0x2600);
	assert_good(out(rig.b, CLEAR, 0, KEY_A, 0));
	eat_attentions(rig.a);
	/* a node's name means its sessions; one that has none is nobody */
	length = put_id(28, "iqn.2026-11.test:b");
	put_be32(io0.out + 24, length);
	assert_good(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x08, 28 + length));
	assert_int_equal(key_count(), 2);
	assert_good(out(rig.b, CLEAR, 0, KEY_A, 0));
	eat_attentions(rig.a);
	length = put_id(28, "iqn.2026-11.test:nobody");
	put_be32(io0.out + 24, length);
	assert_sense(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x08, 28 + length), 5, 0x2600);
	/* lists that lie */
	put_be32(io0.out + 24, length + 4);
	assert_sense(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x08, 28 + length), 5, 0x1a00);
	put_be32(io0.out + 24, length);
	io0.out[30] = 0xff;
	assert_sense(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x08, 28 + length), 5, 0x2600);
	assert_int_equal(key_count(), 0);
}

static void transport_ids(void **state)
{
	uint8_t id[TRANSPORT_ID_MAX];
	char name[SCSI_PORT_NAME_MAX];
	char longest[SCSI_PORT_NAME_MAX];
	unsigned length = transport_id_write(port_a, id);
	bool port;

	(void)state;
	assert_int_equal(length % 4, 0);
	assert_int_equal(id[0], 0x45);
	assert_int_equal(transport_id_parse(id, length, name, &port), length);
	assert_string_equal(name, port_a);
	assert_true(port);
	for (unsigned cut = 0; cut < length; cut++)
		assert_int_equal(transport_id_parse(id, cut, name, &port), 0);
	memcpy(id + 4, "IQN.X:y,i,0x1F", 15); /* upper case, short ISID */
	assert_int_equal(transport_id_parse(id, length, name, &port), length);
	assert_string_equal(name, "iqn.x:y,i,0x00000000001f");
	id[0] = 0x05; /* a node's name has no ISID */
	assert_int_equal(transport_id_parse(id, length, name, &port), 0);
	id[0] = 0x46; /* another protocol */
	assert_int_equal(transport_id_parse(id, length, name, &port), 0);
	memset(longest, 'x', sizeof(longest));
	snprintf(longest + SCSI_NAME_MAX, sizeof(longest) - SCSI_NAME_MAX, ",i,0x%012x", 5);
	length = transport_id_write(longest, id);
	assert_true(length <= sizeof(id));
	assert_int_equal(transport_id_parse(id, length, name, &port), length);
	assert_string_equal(name, longest);
}

static void full_status(void **state)
{
	uint32_t first;

	(void)state;
	register_both();
	assert_good(out(rig.b, RESERVE, 6, KEY_B, 0));
	assert_good(in(rig.a, 3));
	assert_int_equal(get_be32(io0.in + 4) + 8, io0.in_length);
	assert_true(get_be64(io0.in + 8) == KEY_A);
	assert_int_equal(io0.in[8 + 12], 0);
	first = get_be32(io0.in + 8 + 20);
	assert_string_equal((char *)io0.in + 8 + 24 + 4, port_a);
	assert_true(get_be64(io0.in + 8 + 24 + first) == KEY_B);
	assert_int_equal(io0.in[8 + 24 + first + 12], 1);
	assert_int_equal(io0.in[8 + 24 + first + 13], 6);
	assert_int_equal(get_be16(io0.in + 8 + 24 + first + 18), 1);
	/* a short allocation cuts, the length stays */
	assert_good(RUN(rig.a, 0, 0x5e, 3, [8] = 9));
	assert_int_equal(io0.in_length, 9);
	assert_true(get_be32(io0.in + 4) > 40);
}

static void with_reserve6(void **state)
{
	(void)state;
	assert_good(RUN(rig.a, 0, 0x16));
	assert_conflict(out(rig.a, REGISTER, 0, 0, KEY_A)); /* SPC-2: whoever asks */
	assert_conflict(out(rig.b, REGISTER, 0, 0, KEY_B));
	assert_conflict(in(rig.a, 0));
	assert_good(RUN(rig.a, 0, 0x17));
	register_both();
	assert_conflict(RUN(rig.a, 0, 0x16));
	assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
	/* CRH: nothing happens, and GOOD */
	assert_good(RUN(rig.a, 0, 0x16));
	assert_good(RUN(rig.b, 0, 0x16));
	assert_good(write_on(rig.b));
	assert_good(RUN(rig.a, 0, 0x17));
	assert_good(out(rig.b, REGISTER, 0, KEY_B, 0));
	assert_conflict(RUN(rig.b, 0, 0x16));
	assert_conflict(RUN(rig.b, 0, 0x17));
}

static void nexus_loss_changes_nothing(void **state)
{
	(void)state;
	register_both();
	assert_good(out(rig.a, RESERVE, 3, KEY_A, 0));
	on_loop(destroy_nexus, rig.a);
	assert_conflict(write_on(rig.b));
	on_loop(make_nexus_a, NULL);
	eat_attentions(rig.a);
	assert_good(write_on(rig.a)); /* the same port is the same holder */
	assert_int_equal(key_count(), 2);
}

static void cleared(void *context, int result)
{
	assert_int_equal(result, 0);
	*(bool *)context = true;
}

static void clear_now(void *context)
{
	scsi_reservations_clear(rig.volume->identity.uuid, cleared, context);
}

static void clear_by_admin(void)
{
	bool done = false;

	on_loop(clear_now, &done);
	for (int i = 0; i < 60000 && !done; i++)
		loop_poll(rig.loop, 1000000);
	assert_true(done);
}

static void administrator(void **state)
{
	struct scsi_reservations *all;

	(void)state;
	register_both();
	assert_good(out(rig.a, RESERVE, 3, KEY_A, 0));
	on_loop(destroy_nexus, rig.a);
	rig.a = NULL;
	all = scsi_reservations_get(rig.volume->identity.uuid);
	assert_non_null(all);
	assert_int_equal(all->count, 2);
	assert_string_equal(all->type, "exclusive access");
	assert_string_equal(all->registrations[0].initiator_port, port_a);
	assert_true(all->registrations[0].holder && !all->registrations[0].connected);
	assert_true(!all->registrations[1].holder && all->registrations[1].connected);
	heap_free(all);
	clear_by_admin();
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a03);
	assert_good(write_on(rig.b));
	assert_good(RUN(rig.b, 0, 0x16));
	clear_by_admin();
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a03);
	all = scsi_reservations_get(rig.volume->identity.uuid);
	assert_string_equal(all->reserve6, "");
	heap_free(all);
}

static void capacity(void **state)
{
	struct pr_state pr = {0};
	struct pr_identity self = {.target = "t", .relative_port = 1};
	struct pr_command command = {.action_key = 1, .self = &self};

	(void)state;
	for (unsigned i = 0; i < SCSI_REGISTRATIONS_MAX; i++) {
		snprintf(self.initiator_port, sizeof(self.initiator_port), "i%u", i);
		assert_int_equal(pr_state_execute(&pr, &command), PR_GOOD);
	}
	snprintf(self.initiator_port, sizeof(self.initiator_port), "one too many");
	assert_int_equal(pr_state_execute(&pr, &command), ASC_INSUFFICIENT_REGISTRATION);
	pr_state_finish(&pr);
}

/* ---- what survives */

static char store_path[] = "/tmp/granary-pr-XXXXXX";

static void open_store(void)
{
	const struct world_ops *world;

	assert_int_equal(world_select("aio", &world, NULL), 0);
	assert_int_equal(scsi_reservations_open(world, store_path, NULL), 0);
}

/* The rig is made anew around the same volume, as after a restart. */
static void restart(void)
{
	struct volume_identity identity = rig.volume->identity;

	rig_down();
	open_store();
	rig_identity = &identity;
	rig_up(RIG_SIZE, false);
	rig_identity = NULL;
}

static int setup_store(void **state)
{
	int fd;

	snprintf(store_path, sizeof(store_path), "/tmp/granary-pr-XXXXXX");
	fd = mkstemp(store_path);
	assert_true(fd >= 0);
	close(fd);
	open_store();
	return setup(state);
}

static int teardown_store(void **state)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char path[64];

	teardown(state);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s%s", store_path, suffixes[i]);
		unlink(path);
	}
	return 0;
}

static void survives(void **state)
{
	uint64_t key;

	(void)state;
	assert_good(in(rig.a, 2));
	assert_int_equal(io0.in[2], 0x1d);
	assert_int_equal(io0.in[3], 0x80);
	assert_good(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x01, 24));
	assert_good(out_list(rig.b, REGISTER, 0, 0, KEY_B, 0x01, 24));
	assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
	restart();
	assert_good(in(rig.a, 2));
	assert_int_equal(io0.in[3], 0x81); /* PTPL_A */
	assert_int_equal(key_count(), 2);
	assert_int_equal(generation(), 0);
	assert_int_equal(reserved(&key), 5);
	assert_true(key == KEY_A);
	/* the last REGISTER decides: without APTPL nothing is kept */
	assert_good(out(rig.b, REGISTER, 0, KEY_B, KEY_B));
	restart();
	assert_int_equal(key_count(), 0);
	assert_int_equal(reserved(&key), 0);
	/* what was cleared stays cleared */
	assert_good(out_list(rig.a, REGISTER, 0, 0, KEY_A, 0x01, 24));
	clear_by_admin();
	restart();
	assert_int_equal(key_count(), 0);
}

/* ---- what goes with the volume to another node */

struct bytes {
	uint8_t *data;
	size_t length;
	bool done;
};

static void imported(void *context, int result)
{
	assert_int_equal(result, 0);
	((struct bytes *)context)->done = true;
}

static void import_now(void *context)
{
	struct bytes *bytes = context;

	scsi_reservations_import(rig.volume->identity.uuid, bytes->data, bytes->length, imported,
				 bytes);
}

static void import(struct bytes *bytes)
{
	bytes->done = false;
	on_loop(import_now, bytes);
	for (int i = 0; i < 60000 && !bytes->done; i++)
		loop_poll(rig.loop, 1000000);
	assert_true(bytes->done);
}

static struct bytes export_now(void)
{
	struct bytes bytes = {0};

	assert_int_equal(
	    scsi_reservations_export(rig.volume->identity.uuid, &bytes.data, &bytes.length), 0);
	assert_int_equal(scsi_reservations_check(bytes.data, bytes.length), 0);
	return bytes;
}

static void carried(void **state)
{
	struct bytes bytes, nothing;
	uint32_t before;
	uint64_t key;

	(void)state;
	nothing = export_now();
	register_both();
	assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
	before = generation();
	bytes = export_now();
	/* in place of what there is: who is not registered any more is told */
	import(&nothing);
	assert_sense(RUN(rig.b, 0, 0x00), 6, 0x2a05);
	eat_attentions(rig.a);
	eat_attentions(rig.b);
	assert_int_equal(key_count(), 0);
	assert_int_equal(reserved(&key), 0);
	assert_good(write_on(rig.b));
	assert_good(RUN(rig.b, 0, 0x16)); /* RESERVE(6) */
	import(&bytes);
	eat_attentions(rig.a);
	eat_attentions(rig.b);
	assert_int_equal(key_count(), 2);
	assert_int_equal(generation(), before);
	assert_int_equal(reserved(&key), 5);
	assert_true(key == KEY_A);
	assert_good(write_on(rig.b)); /* a registrant */
	assert_good(out(rig.b, REGISTER, 0, KEY_B, 0));
	assert_conflict(write_on(rig.b));
	assert_int_equal(scsi_reservations_check(bytes.data, bytes.length - 1), -EPROTO);
	heap_free(bytes.data);
	heap_free(nothing.data);
}

/* Before the volume is a LUN: with APTPL it lasts, without it is the first unit's. */
static void carried_before_the_unit(void **state)
{
	static const uint8_t flags[] = {0, 0x01};
	struct pr_state nobody = {0};
	uint64_t key;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct volume_identity identity = rig.volume->identity;
		struct pr_state brought = {0};
		struct bytes bytes;
		uint32_t before;

		assert_good(out_list(rig.a, REGISTER, 0, 0, KEY_A, flags[i], 24));
		assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
		before = generation();
		bytes = export_now();
		rig_down();
		assert_int_equal(pr_store_save(identity.uuid, &nobody), 0);
		assert_int_equal(pr_note_decode(bytes.data, bytes.length, &brought), 0);
		assert_int_equal(pr_store_bring(identity.uuid, &brought), 0);
		rig_identity = &identity;
		rig_up(RIG_SIZE, false);
		rig_identity = NULL;
		assert_int_equal(key_count(), 1);
		assert_int_equal(generation(), before);
		assert_int_equal(reserved(&key), 5);
		restart();
		assert_int_equal(key_count(), i);
		assert_int_equal(generation(), 0);
		clear_by_admin();
		eat_attentions(rig.a);
		pr_state_finish(&brought);
		heap_free(bytes.data);
	}
}

/* Another node's, or about to be: nothing changes here. */
static void away(void **state)
{
	(void)state;
	register_both();
	volume_set_guests(rig.volume, VOLUME_GUESTS_LEAVE);
	assert_sense(out(rig.a, RESERVE, 5, KEY_A, 0), 2, 0x040a);
	volume_set_guests(rig.volume, VOLUME_GUESTS_AWAY);
	assert_sense(out(rig.a, PREEMPT, 5, KEY_A, KEY_B), 2, 0x040b);
	assert_int_equal(key_count(), 2);
	volume_set_guests(rig.volume, VOLUME_GUESTS_HERE);
	assert_good(out(rig.a, RESERVE, 5, KEY_A, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	    WITH_RIG(registering),
	    WITH_RIG(bad_lists),
	    WITH_RIG(types),
	    WITH_RIG(unregistering_the_holder),
	    WITH_RIG(clearing),
	    WITH_RIG(preempting),
	    WITH_RIG(preempt_and_abort),
	    WITH_RIG(preempted_while_gathering),
	    WITH_RIG(moving),
	    WITH_RIG(specified_ports),
	    cmocka_unit_test(transport_ids),
	    WITH_RIG(full_status),
	    WITH_RIG(with_reserve6),
	    WITH_RIG(nexus_loss_changes_nothing),
	    WITH_RIG(administrator),
	    WITH_RIG(carried),
	    WITH_RIG(away),
	    cmocka_unit_test(capacity),
	    cmocka_unit_test_setup_teardown(survives, setup_store, teardown_store),
	    cmocka_unit_test_setup_teardown(carried_before_the_unit, setup_store, teardown_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
