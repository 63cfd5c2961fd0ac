/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "iscsi/chap.h"

#define SECRET "a secret of some size"
#define OTHER  "the other way around"

static struct iscsi_rule rule = {
    .chap_user = "alice",
    .chap_secret = SECRET,
    .chap_secret_length = sizeof(SECRET) - 1,
    .mutual_user = "target",
    .mutual_secret = OTHER,
    .mutual_secret_length = sizeof(OTHER) - 1,
};
static char reply_text[4096];
static struct text_writer reply;
static struct chap chap;

/* From openssl dgst over 5a || secret || 00..0f. */
static void vectors(void **state)
{
	static const struct {
		unsigned algorithm;
		const char *hash;
	} rows[] = {
	    {5, "0xfbcd48a671fe84822302f019bad16f0c"},
	    {6, "0xe36a8f639824449186a6380845596e055dd8d788"},
	    {7, "0xa34b874be00985bb77f20003fc18153805d612a6d97ea99e4af6ac7243d3dd2d"},
	    {8, "0xdf33dac89f3b9002b3f894170a9c3e2957735c9b91668bd15d6618a9c14864e1"},
	};
	uint8_t challenge[16], hash[CHAP_HASH_MAX];
	char text[2 * CHAP_HASH_MAX + 3];
	size_t length;

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		challenge[i] = (uint8_t)i;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(chap_response(rows[i].algorithm, 0x5a, rule.chap_secret,
					       rule.chap_secret_length, challenge, 16, hash,
					       &length),
				 0);
		text_encode(hash, length, text);
		assert_string_equal(text, rows[i].hash);
	}
	assert_int_equal(chap_response(9, 0, rule.chap_secret, 12, challenge, 16, hash, &length),
			 -EINVAL);
}

static int step(const struct text_pair *pairs, unsigned count)
{
	reply = (struct text_writer){.data = reply_text, .room = sizeof(reply_text)};
	memset(reply_text, 0, sizeof(reply_text));
	return chap_step(&chap, &rule, pairs, count, &reply);
}

static void start(unsigned algorithms)
{
	uint8_t random[CHAP_CHALLENGE_LENGTH + 1];

	for (unsigned i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)(i * 7 + 3);
	chap_begin(&chap, algorithms, random);
}

static void right_answer(char text[2 * CHAP_HASH_MAX + 3])
{
	uint8_t hash[CHAP_HASH_MAX];
	size_t length;

	assert_int_equal(chap_response(chap.algorithm, chap.id, rule.chap_secret,
				       rule.chap_secret_length, chap.challenge,
				       sizeof(chap.challenge), hash, &length),
			 0);
	text_encode(hash, length, text);
}

static int begin_with(const char *algorithms, unsigned offered)
{
	struct text_pair pair = {"CHAP_A", algorithms};

	start(offered);
	return step(&pair, 1);
}

static void choice(void **state)
{
	(void)state;
	assert_int_equal(begin_with("9,7,5", 15), 0);
	assert_string_equal(reply_text, "CHAP_A=7");
	assert_int_equal(begin_with("5,7", ISCSI_CHAP_SHA256), 0);
	assert_string_equal(reply_text, "CHAP_A=7");
	assert_int_equal(begin_with("5", ISCSI_CHAP_SHA256), -EACCES);
	assert_int_equal(begin_with("", 15), -EACCES);
}

static void one_way(void **state)
{
	char text[2 * CHAP_HASH_MAX + 3];
	struct text_pair pairs[2] = {{"CHAP_N", "alice"}, {"CHAP_R", text}};

	(void)state;
	begin_with("8", 15);
	right_answer(text);
	assert_int_equal(step(pairs, 2), 0);
	assert_int_equal(chap.state, CHAP_PASSED);
	assert_int_equal(reply.length, 0);
}

static void refused(void **state)
{
	char text[2 * CHAP_HASH_MAX + 3];
	struct text_pair pairs[2] = {{"CHAP_N", "alice"}, {"CHAP_R", text}};

	(void)state;
	begin_with("5", 15);
	right_answer(text);
	text[3] ^= 1;
	assert_int_equal(step(pairs, 2), -EACCES);
	right_answer(text);
	text[strlen(text) - 2] = '\0'; /* a byte short */
	assert_int_equal(step(pairs, 2), -EACCES);
	right_answer(text);
	pairs[0].value = "alicf";
	assert_int_equal(step(pairs, 2), -EACCES);
	assert_int_equal(step(pairs, 1), -EPROTO);
	pairs[0].value = "alice";
	pairs[1].value = "0x";
	assert_int_equal(step(pairs, 2), -EACCES);
	assert_int_equal(chap.state, CHAP_EXPECT_RESPONSE);
}

static void mutual(void **state)
{
	char text[2 * CHAP_HASH_MAX + 3], challenge[2 * CHAP_CHALLENGE_LENGTH + 3];
	struct text_pair pairs[4] = {
	    {"CHAP_N", "alice"}, {"CHAP_R", text}, {"CHAP_I", "17"}, {"CHAP_C", challenge}};

	(void)state;
	begin_with("7", 15);
	right_answer(text);
	text_encode(chap.challenge, sizeof(chap.challenge), challenge);
	assert_int_equal(step(pairs, 4), -EACCES); /* our own challenge, reflected */
	challenge[2] = challenge[2] == '0' ? '1' : '0';
	assert_int_equal(step(pairs, 3), -EPROTO); /* CHAP_I without CHAP_C */
	pairs[2].value = "256";
	assert_int_equal(step(pairs, 4), -EACCES);
	pairs[2].value = "17";
	assert_int_equal(step(pairs, 4), 0);
	assert_string_equal(reply_text, "CHAP_N=target");
	rule.mutual_user[0] = '\0';
	begin_with("7", 15);
	right_answer(text);
	assert_int_equal(step(pairs, 4), -EACCES); /* asked for, not configured */
	rule.mutual_user[0] = 't';
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vectors), cmocka_unit_test(choice), cmocka_unit_test(one_way),
	    cmocka_unit_test(refused), cmocka_unit_test(mutual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
