/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "iscsi/iscsi.h"
#include "iscsi/isns.h"
#include "iscsi/pdu.h"

static void attributes_written_and_read(void **state)
{
	struct isns_writer writer = {0};
	struct isns_attribute attribute;
	struct in6_addr address = {.s6_addr = {[10] = 0xff, 0xff, 10, 0, 0, 2}};
	size_t at = 0;

	(void)state;
	isns_put_text(&writer, ISNS_NAME, "abc");
	isns_put_text(&writer, ISNS_ENTITY, "abcd");
	isns_put_empty(&writer, ISNS_DELIMITER);
	isns_put_number(&writer, ISNS_PERIOD, 300);
	isns_put_address(&writer, ISNS_PORTAL_ADDRESS, &address);
	assert_false(writer.failed);
	assert_int_equal(isns_attribute_next(writer.bytes, writer.length, &at, &attribute), 1);
	assert_int_equal(attribute.tag, ISNS_NAME);
	assert_int_equal(attribute.length, 4); /* with its NUL */
	assert_true(isns_attribute_is(&attribute, "abc"));
	assert_false(isns_attribute_is(&attribute, "ab"));
	assert_false(isns_attribute_is(&attribute, "abcd"));
	assert_int_equal(isns_attribute_next(writer.bytes, writer.length, &at, &attribute), 1);
	assert_int_equal(attribute.length, 8);
	assert_true(isns_attribute_is(&attribute, "abcd"));
	assert_int_equal(isns_attribute_next(writer.bytes, writer.length, &at, &attribute), 1);
	assert_int_equal(attribute.tag, ISNS_DELIMITER);
	assert_int_equal(attribute.length, 0);
	assert_true(isns_attribute_find(writer.bytes, writer.length, ISNS_PERIOD, 4, &attribute));
	assert_int_equal(isns_attribute_number(&attribute), 300);
	assert_false(isns_attribute_find(writer.bytes, writer.length, ISNS_PERIOD, 8, &attribute));
	assert_true(
	    isns_attribute_find(writer.bytes, writer.length, ISNS_PORTAL_ADDRESS, 16, &attribute));
	assert_memory_equal(attribute.value, &address, 16);
	isns_writer_finish(&writer);
}

static void attributes_bad(void **state)
{
	static const struct {
		uint8_t bytes[16];
		size_t length;
	} bad[] = {
	    {{0, 0, 0, 1, 0, 0, 0}, 7},                 /* no whole header */
	    {{0, 0, 0, 1, 0, 0, 0, 4, 1, 2, 3}, 11},    /* a byte too few */
	    {{0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 0}, 12}, /* no whole words */
	    {{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfc}, 8},  /* past everything */
	};
	struct isns_attribute attribute;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t at = 0;

		assert_int_equal(isns_attribute_next(bad[i].bytes, bad[i].length, &at, &attribute),
				 -EINVAL);
		assert_int_equal(at, 0);
		assert_false(isns_attribute_find(bad[i].bytes, bad[i].length, 1, 0, &attribute));
	}
}

/* One that does not fit a PDU becomes several, in order, whatever the cut. */
static void long_message(void **state)
{
	struct isns_writer writer = {0};
	struct isns_header header;
	size_t total, left, length, at = 0;
	uint8_t *message, *joined;

	(void)state;
	for (uint32_t i = 0; i < 20000; i++)
		isns_put_number(&writer, ISNS_NODE_TYPE, i);
	total = left = writer.length;
	joined = heap_alloc(total);
	message = isns_message(&writer, ISNS_REGISTER, ISNS_CLIENT | ISNS_REPLACE, 77, &length);
	assert_non_null(message);
	assert_null(writer.bytes);
	for (uint16_t i = 0; at < length; i++) {
		assert_int_equal(isns_header_get(message + at, &header), 0);
		assert_int_equal(header.function, ISNS_REGISTER);
		assert_int_equal(header.xid, 77);
		assert_int_equal(header.sequence, i);
		assert_int_equal(!!(header.flags & ISNS_FIRST), i == 0);
		assert_int_equal(!!(header.flags & ISNS_LAST), header.length == left);
		assert_true(header.flags & ISNS_REPLACE);
		memcpy(joined + total - left, message + at + ISNS_HEADER, header.length);
		left -= header.length;
		at += ISNS_HEADER + header.length;
	}
	assert_int_equal(left, 0);
	assert_int_equal(at, length);
	assert_int_equal(pdu_get32(joined + total - 4), 19999);
	heap_free(joined);
	heap_free(message);
}

static void no_memory(void **state)
{
	struct isns_writer writer = {0};
	size_t length;

	(void)state;
	heap_fail_after(0);
	isns_put_number(&writer, ISNS_PERIOD, 1);
	heap_fail_after(-1);
	assert_true(writer.failed);
	isns_put_number(&writer, ISNS_PERIOD, 1);
	assert_null(isns_message(&writer, ISNS_QUERY, ISNS_CLIENT, 1, &length));
}

static size_t make_inquiry(uint8_t *bytes, uint16_t function, uint16_t length)
{
	struct isns_header header = {.function = function,
				     .length = length,
				     .flags = ISNS_SERVER | ISNS_FIRST | ISNS_LAST,
				     .xid = 9};

	memset(bytes, 0x5a, ISNS_HEADER + length);
	isns_header_put(&header, bytes);
	return ISNS_HEADER + length;
}

static void inquiries(void **state)
{
	static uint8_t bytes[ISNS_HEADER + 4096], answer[ISNS_ANSWER_MAX];
	struct isns_header header;
	size_t length = make_inquiry(bytes, ISNS_ESI, 40), out = 0;

	(void)state;
	for (size_t i = 0; i < length; i++)
		assert_int_equal(isns_answer(bytes, i, answer, &out), 0);
	assert_int_equal(isns_answer(bytes, length + 100, answer, &out), length);
	assert_int_equal(out, ISNS_HEADER + 44);
	assert_int_equal(isns_header_get(answer, &header), 0);
	assert_int_equal(header.function, ISNS_ESI | ISNS_RESPONSE);
	assert_int_equal(header.xid, 9);
	assert_true(header.flags & ISNS_CLIENT);
	assert_int_equal(pdu_get32(answer + ISNS_HEADER), 0);
	assert_memory_equal(answer + ISNS_HEADER + 4, bytes + ISNS_HEADER, 40);

	length = make_inquiry(bytes, 8, 16); /* SCN */
	assert_int_equal(isns_answer(bytes, length, answer, &out), length);
	assert_int_equal(out, ISNS_HEADER + 4);
	assert_int_equal(pdu_get32(answer + ISNS_HEADER), ISNS_NOT_SUPPORTED);

	make_inquiry(bytes, ISNS_ESI, ISNS_REQUEST_MAX + 4);
	assert_int_equal(isns_answer(bytes, ISNS_HEADER, answer, &out), -EPROTO);
	make_inquiry(bytes, ISNS_ESI | ISNS_RESPONSE, 0);
	assert_int_equal(isns_answer(bytes, ISNS_HEADER, answer, &out), -EPROTO);
	make_inquiry(bytes, ISNS_ESI, 6);
	assert_int_equal(isns_answer(bytes, ISNS_HEADER, answer, &out), -EPROTO);
	make_inquiry(bytes, ISNS_ESI, 0);
	bytes[1] = 2; /* version */
	assert_int_equal(isns_answer(bytes, ISNS_HEADER, answer, &out), -EPROTO);
}

static void places(void **state)
{
	static const struct {
		const char *text, *address;
		uint16_t port;
	} good[] = {
	    {"10.0.0.5", "10.0.0.5", 3205},  {"10.0.0.5:77", "10.0.0.5", 77},
	    {"[fd00::1]:77", "fd00::1", 77}, {"[fd00::1]", "fd00::1", 3205},
	    {"fd00::1", "fd00::1", 3205},
	};
	static const char *const bad[] = {
	    "",
	    "isns.example.org",
	    "10.0.0.5:",
	    "10.0.0.5:0",
	    "10.0.0.5:65536",
	    "10.0.0.5x",
	    "[fd00::1",
	    "[fd00::1]77",
	    "[]",
	    "10.0.0.5:7x",
	    ":3205",
	    "10.0.0.5:-1",
	    "10.0.0.5:99999999999999999999",
	};
	struct iscsi_isns_options options;

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(iscsi_isns_parse(good[i].text, &options, NULL), 0);
		assert_string_equal(options.address, good[i].address);
		assert_int_equal(options.port, good[i].port);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(iscsi_isns_parse(bad[i], &options, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(attributes_written_and_read),
	    cmocka_unit_test(attributes_bad),
	    cmocka_unit_test(long_message),
	    cmocka_unit_test(no_memory),
	    cmocka_unit_test(inquiries),
	    cmocka_unit_test(places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
