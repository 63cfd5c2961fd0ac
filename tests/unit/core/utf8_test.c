/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/utf8.h"

static size_t encode(uint32_t code, unsigned length, unsigned char out[4])
{
	static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};

	if (length == 1) {
		out[0] = (unsigned char)code;
		return 1;
	}
	for (unsigned i = length - 1; i > 0; i--) {
		out[i] = (unsigned char)(0x80 | (code & 0x3f));
		code >>= 6;
	}
	out[0] = (unsigned char)(first[length] | code);
	return length;
}

/* Every code point, in every length that has room for it: one of them is right. */
static void code_points(void **state)
{
	static const uint32_t end[] = {0, 0x80, 0x800, 0x10000, 0x200000};
	unsigned char text[4];

	(void)state;
	for (uint32_t code = 0; code < 0x200000; code++)
		for (unsigned length = 1; length <= 4; length++) {
			bool right = code < end[length] && code >= end[length - 1] &&
				     code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);

			if (code >= end[length])
				continue;
			encode(code, length, text);
			assert_int_equal(utf8_length(text, 4), right ? length : 0);
			if (right)
				for (unsigned left = 1; left < length; left++)
					assert_int_equal(utf8_length(text, left), 0);
		}
}

static void bytes(void **state)
{
	unsigned char text[4];

	(void)state;
	for (unsigned first = 0x80; first < 0x100;
	     first++) { /* nothing follows that continues it */
		memset(text, 'a', sizeof text);
		text[0] = (unsigned char)first;
		assert_int_equal(utf8_length(text, 4), 0);
	}
	for (unsigned first = 0xf5; first < 0x100; first++) {
		memset(text, 0x80, sizeof text);
		text[0] = (unsigned char)first;
		assert_int_equal(utf8_length(text, 4), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(code_points),
	    cmocka_unit_test(bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
