/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "replication/wire.h"

static uint8_t frame[WIRE_FRAME_MAX];

static size_t build(const struct wire_message *message)
{
	size_t head = wire_encode(message, frame);

	if (message->data_length)
		memcpy(frame + head, message->data, message->data_length);
	return head + message->data_length;
}

static void reseal(size_t length)
{
	put32(frame + 12, 0);
	put32(frame + 12, crc32c(0, frame, length));
}

static struct wire_message sample(unsigned type)
{
	static const uint8_t data[1024] = {1, 2, 3};
	struct wire_message message = {.type = (enum wire_type)type,
				       .sequence = 0x1122334455667788,
				       .version = WIRE_VERSION,
				       .member = 3,
				       .kind = 2,
				       .fresh = true,
				       .epoch = 77,
				       .offset = 8192,
				       .length = 4096,
				       .wall_ns = 123456789,
				       .records = 9};

	memset(message.node, 0xaa, 16);
	memset(message.group, 0xbb, 16);
	memset(message.digest, 0xcc, sizeof message.digest);
	message.lineage.count = 2;
	message.lineage.link[0].fork = 12;
	message.lineage.link[1].uuid[5] = 9;
	if (type == WIRE_WRITE || type == WIRE_HASHES || type == WIRE_DEFINE ||
	    type == WIRE_PACKED || type == WIRE_ACCESS) {
		message.data = data;
		message.data_length = sizeof data;
	} else if (type == WIRE_REFUSE || type == WIRE_PAIR || type == WIRE_PAIRED) {
		message.data = (const uint8_t *)"no";
		message.data_length = 2;
	}
	return message;
}

static void test_there_and_back(void **state)
{
	(void)state;
	for (unsigned type = 1; type < WIRE_TYPE_END; type++) {
		struct wire_message in = sample(type), out;
		size_t length = build(&in);
		uint8_t again[WIRE_FRAME_MAX];

		assert_int_equal(wire_decode(frame, length, &out), length);
		assert_int_equal(out.type, type);
		assert_true(out.sequence == in.sequence);
		/* What was not sent is zero; what was is what it was: sent again it is the same. */
		memcpy(again, frame, length);
		assert_int_equal(build(&out), length);
		assert_memory_equal(again, frame, length);
	}
}

static void test_heads_are_as_long_as_said(void **state)
{
	static const struct {
		unsigned type;
		size_t head;
	} heads[] = {{WIRE_WRITE, WIRE_WRITE_HEAD},
		     {WIRE_ZERO, WIRE_ZERO_HEAD},
		     {WIRE_PACKED, WIRE_PACKED_HEAD}};

	(void)state;
	for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++) {
		struct wire_message in = sample(heads[i].type);

		assert_int_equal(wire_encode(&in, frame), heads[i].head);
	}
}

static void test_every_cut_waits(void **state)
{
	(void)state;
	for (unsigned type = 1; type < WIRE_TYPE_END; type++) {
		struct wire_message in = sample(type), out;
		size_t length = build(&in);

		for (size_t cut = 0; cut < length; cut++)
			assert_int_equal(wire_decode(frame, cut, &out), 0);
	}
}

static void test_every_flip_is_seen(void **state)
{
	(void)state;
	for (unsigned type = 1; type < WIRE_TYPE_END; type++) {
		struct wire_message in = sample(type), out;
		size_t length = build(&in);

		for (size_t bit = 0; bit < length * 8; bit++) {
			frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
			/* A longer length asks for more bytes, which is no frame either. */
			assert_true(wire_decode(frame, length, &out) <= 0);
			frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void test_sealed_nonsense(void **state)
{
	struct wire_message in = sample(WIRE_ZERO), out;
	size_t length = build(&in);

	(void)state;
	frame[5] = WIRE_FRAME + 1;
	reseal(length);
	assert_int_equal(wire_decode(frame, length, &out), -EPROTONOSUPPORT);
	frame[5] = WIRE_FRAME;
	frame[4] = WIRE_TYPE_END;
	reseal(length);
	assert_int_equal(wire_decode(frame, length, &out), -EPROTO);
	in.length = 0;
	assert_int_equal(wire_decode(frame, build(&in), &out), -EPROTO);
	in.length = 100;
	assert_int_equal(wire_decode(frame, build(&in), &out), -EPROTO);
	in.length = 512;
	in.member = WIRE_MEMBERS_MAX;
	assert_int_equal(wire_decode(frame, build(&in), &out), -EPROTO);
	in = sample(WIRE_WRITE);
	in.data_length = 0;
	assert_int_equal(wire_decode(frame, build(&in), &out), -EPROTO);
	in = sample(WIRE_PACKED);
	in.length = WIRE_RAW_MAX + 1;
	assert_int_equal(wire_decode(frame, build(&in), &out), -EPROTO);
	in.length = 0;
	assert_int_equal(wire_decode(frame, build(&in), &out), -EPROTO);
	in.length = WIRE_RAW_MAX;
	in.data_length = 0;
	assert_int_equal(wire_decode(frame, build(&in), &out), -EPROTO);
	in = sample(WIRE_HELLO);
	length = build(&in);
	frame[WIRE_HEADER + 42] = WIRE_LINEAGE_MAX + 1; /* the count of the lineage */
	reseal(length);
	assert_int_equal(wire_decode(frame, length, &out), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_heads_are_as_long_as_said),
	    cmocka_unit_test(test_every_cut_waits),
	    cmocka_unit_test(test_every_flip_is_seen),
	    cmocka_unit_test(test_sealed_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
