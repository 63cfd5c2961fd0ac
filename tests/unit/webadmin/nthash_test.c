/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "webadmin/nthash.h"

static void expect(const char *password, const char *digits)
{
	uint8_t hash[NTHASH_LENGTH];
	char text[2 * NTHASH_LENGTH + 1];

	assert_true(nthash(password, hash));
	for (unsigned i = 0; i < NTHASH_LENGTH; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", hash[i]);
	assert_string_equal(text, digits);
}

/* The empty message is RFC 1320's; "Password" is [MS-NLMP] 4.2.2.1.2's. */
static void known_hashes(void **state)
{
	(void)state;
	expect("", "31d6cfe0d16ae931b73c59d7e0c089c0");
	expect("Password", "a4f49c406510bdcab6824ee7c30fd852");
	expect("password", "8846f7eaee8fb117ad06bdd830b7586c");
}

/* Every length around the ends of blocks: the hash has to be one of its own. */
static void every_length(void **state)
{
	static uint8_t seen[NTHASH_PASSWORD_MAX + 1][NTHASH_LENGTH];
	char password[NTHASH_PASSWORD_MAX + 2] = "";
	uint8_t hash[NTHASH_LENGTH];

	(void)state;
	for (unsigned i = 0; i <= NTHASH_PASSWORD_MAX; i++) {
		assert_true(nthash(password, seen[i]));
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(seen[i], seen[j], NTHASH_LENGTH);
		password[i] = 'x';
	}
	assert_false(nthash(password, hash));
}

static void utf8_is_checked(void **state)
{
	static const char *const bad[] = {"\x80",
					  "\xc0\x80",
					  "\xc3",
					  "\xe0\x80\x80",
					  "\xed\xa0\x80",
					  "\xf4\x90\x80\x80",
					  "\xf8\x88\x80\x80\x80",
					  "a\xff"};
	uint8_t hash[NTHASH_LENGTH], other[NTHASH_LENGTH];

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(nthash(bad[i], hash));
	assert_true(nthash("\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91", hash));
	assert_true(nthash("\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92", other));
	assert_memory_not_equal(hash, other, NTHASH_LENGTH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(known_hashes),
	    cmocka_unit_test(every_length),
	    cmocka_unit_test(utf8_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
