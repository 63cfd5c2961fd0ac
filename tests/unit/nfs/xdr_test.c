/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>

#include "nfs/xdr.h"

static void there_and_back(void **state)
{
	uint8_t memory[64];
	struct xdr_out out;
	struct xdr_in in;
	uint32_t length;

	(void)state;
	xdr_out_init(&out, memory, sizeof(memory));
	xdr_put_u32(&out, 0x01020304);
	xdr_put_u64(&out, UINT64_MAX - 1);
	xdr_put_bool(&out, true);
	xdr_put_opaque(&out, "abcde", 5);
	xdr_put_string(&out, "");
	xdr_put_fixed(&out, "xyz", 3);
	assert_false(out.full);
	assert_int_equal(xdr_length(&out), 4 + 8 + 4 + 12 + 4 + 4);
	assert_memory_equal(memory, "\1\2\3\4", 4);
	assert_memory_equal(memory + 16, "\0\0\0\5abcde\0\0\0", 12);

	xdr_in_init(&in, memory, xdr_length(&out));
	assert_int_equal(xdr_get_u32(&in), 0x01020304);
	assert_true(xdr_get_u64(&in) == UINT64_MAX - 1);
	assert_true(xdr_get_bool(&in));
	assert_memory_equal(xdr_get_opaque(&in, 5, &length), "abcde", 5);
	assert_int_equal(length, 5);
	assert_non_null(xdr_get_opaque(&in, 0, &length));
	assert_int_equal(length, 0);
	assert_memory_equal(xdr_get_fixed(&in, 3), "xyz", 3);
	assert_int_equal(xdr_left(&in), 0);
	assert_false(in.bad);
}

static void lengths_that_lie(void **state)
{
	static const uint32_t lies[] = {13, 16, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};
	uint8_t memory[16] = {0};
	struct xdr_in in;
	uint32_t length = 1;

	(void)state;
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct xdr_out out;

		xdr_out_init(&out, memory, sizeof(memory));
		xdr_put_u32(&out, lies[i]);
		xdr_in_init(&in, memory, sizeof(memory));
		assert_null(xdr_get_opaque(&in, UINT32_MAX, &length));
		assert_int_equal(length, 0);
		assert_true(in.bad);
		/* once bad, always bad */
		assert_int_equal(xdr_get_u32(&in), 0);
		assert_null(xdr_get_fixed(&in, 0));
	}
	xdr_in_init(&in, memory, 3);
	assert_int_equal(xdr_get_u32(&in), 0);
	assert_true(in.bad);
	xdr_in_init(&in, memory, sizeof(memory));
	assert_null(xdr_get_fixed(&in, SIZE_MAX));
	assert_true(in.bad);
	memory[3] = 2;
	xdr_in_init(&in, memory, sizeof(memory));
	xdr_get_bool(&in);
	assert_true(in.bad);
	xdr_in_init(&in, memory, 4 + 1); /* two bytes of data, no room for the padding */
	xdr_get_opaque(&in, 8, &length);
	assert_true(in.bad);
}

static void payload_apart(void **state)
{
	static const uint8_t record[] = {0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 7};
	struct xdr_in in;
	uint32_t length;

	(void)state;
	xdr_in_init(&in, record, sizeof(record));
	xdr_in_set_payload(&in, 8, "payload!", 8);
	assert_int_equal(xdr_get_u32(&in), 9);
	assert_string_equal((const char *)xdr_get_payload(&in, 100, &length), "payload!");
	assert_int_equal(length, 8);
	assert_int_equal(xdr_get_u32(&in), 7);
	assert_false(in.bad);
	/* nobody reads over the place where it belongs */
	xdr_in_init(&in, record, sizeof(record));
	xdr_in_set_payload(&in, 8, "payload!", 8);
	assert_null(xdr_get_fixed(&in, 12));
	assert_true(in.bad);
	/* longer than allowed */
	xdr_in_init(&in, record, sizeof(record));
	xdr_in_set_payload(&in, 8, "payload!", 8);
	xdr_get_u32(&in);
	assert_null(xdr_get_payload(&in, 7, &length));
	assert_true(in.bad);
	xdr_in_init(&in, record, sizeof(record));
	xdr_in_set_payload(&in, 13, "payload!", 8);
	assert_true(in.bad);
}

static bool grow(struct xdr_out *out, size_t need)
{
	static uint8_t bigger[64];
	size_t length = xdr_length(out);

	if (out->base == bigger || length + need > sizeof(bigger))
		return false;
	memcpy(bigger, out->base, length);
	out->base = bigger;
	out->at = bigger + length;
	out->end = bigger + sizeof(bigger);
	return true;
}

static void full_and_grown(void **state)
{
	uint8_t memory[8];
	struct xdr_out out;

	(void)state;
	xdr_out_init(&out, memory, sizeof(memory));
	xdr_put_u64(&out, 1);
	xdr_put_u32(&out, 2);
	assert_true(out.full);
	assert_int_equal(xdr_length(&out), 8);
	xdr_truncate(&out, 4);
	assert_false(out.full);
	xdr_out_init(&out, memory, sizeof(memory));
	out.grow = grow;
	for (unsigned i = 0; i < 16; i++)
		xdr_put_u32(&out, i);
	assert_false(out.full);
	xdr_patch_u32(&out, 60, 77);
	assert_int_equal(out.base[63], 77);
	xdr_put_u32(&out, 16);
	assert_true(out.full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(there_and_back),
	    cmocka_unit_test(lengths_that_lie),
	    cmocka_unit_test(payload_apart),
	    cmocka_unit_test(full_and_grown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
