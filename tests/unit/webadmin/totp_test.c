/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "webadmin/access.h"
#include "webadmin/totp.h"

static const uint8_t key[TOTP_KEY + 1] = "12345678901234567890";

/* RFC 6238, appendix B, SHA-1: 8 digits there, the last 6 of them here. */
static void test_vectors(void **state)
{
	static const struct {
		uint64_t seconds;
		uint32_t code;
	} vectors[] = {{59, 287082},       {1111111109, 81804},  {1111111111, 50471},
		       {1234567890, 5924}, {2000000000, 279037}, {20000000000, 353130}};

	(void)state;
	for (unsigned i = 0; i < sizeof vectors / sizeof *vectors; i++)
		assert_int_equal(totp_code(key, vectors[i].seconds / 30), vectors[i].code);
}

static void test_window(void **state)
{
	const uint64_t now = 1111111111;
	char text[8];

	(void)state;
	for (int offset = -3; offset <= 3; offset++) {
		struct totp totp = {.on = true};
		enum totp_verdict wanted = offset >= -1 && offset <= 1 ? TOTP_GOOD : TOTP_WRONG;

		memcpy(totp.key, key, TOTP_KEY);
		snprintf(text, sizeof text, "%06u", totp_code(key, now / 30 + (uint64_t)offset));
		assert_int_equal(totp_check(&totp, text, now), wanted);
		assert_int_equal(totp_check(&totp, text, now), TOTP_WRONG);
	}
}

static void test_recovery(void **state)
{
	static const char *const wrong[] = {"",         "ABCD-EFGH-JKM",
					    "000000",   "ABCD-EFGH-JKMN-P",
					    "\xff\xfe", "abcdefghjkmnabcdefghjkmnabcdefghjkmn"};
	struct totp totp = {.on = true, .recovery_count = 2};

	(void)state;
	access_digest("ABCDEFGHJKMN", totp.recovery[0]);
	access_digest("0123456789AB", totp.recovery[1]);
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(totp_check(&totp, wrong[i], 59), TOTP_WRONG);
	assert_int_equal(totp_check(&totp, "abcd efgh-jkmn", 59), TOTP_RECOVERED);
	assert_int_equal(totp.recovery_count, 1);
	assert_int_equal(totp_check(&totp, "ABCD-EFGH-JKMN", 59), TOTP_WRONG);
	assert_int_equal(totp_check(&totp, "0123-4567-89AB", 59), TOTP_RECOVERED);
	assert_int_equal(totp.recovery_count, 0);
}

static void test_base32(void **state)
{
	char text[TOTP_BASE32];

	(void)state;
	totp_base32(key, text);
	assert_string_equal(text, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_window),
	    cmocka_unit_test(test_recovery),
	    cmocka_unit_test(test_base32),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
