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

#include "iscsi/keys.h"
#include "iscsi/text.h"

static struct text_pair pairs[TEXT_PAIRS_MAX];

static int parse(const char *data, size_t length)
{
	static char copy[1 << 16];

	memcpy(copy, data, length);
	return text_parse(copy, length, pairs);
}
#define PARSE(literal) parse(literal, sizeof(literal) - 1)

static void pairs_good(void **state)
{
	(void)state;
	assert_int_equal(PARSE("A=1\0B=\0C=x=y\0"), 3);
	assert_string_equal(text_find(pairs, 3, "A"), "1");
	assert_string_equal(text_find(pairs, 3, "B"), "");
	assert_string_equal(text_find(pairs, 3, "C"), "x=y");
	assert_null(text_find(pairs, 3, "D"));
	assert_int_equal(PARSE(""), 0);
	assert_int_equal(PARSE("\0\0"), 0);
}

static void pairs_bad(void **state)
{
	(void)state;
	assert_int_equal(PARSE("A=1"), -EINVAL);        /* not terminated */
	assert_int_equal(PARSE("A\0"), -EINVAL);        /* no = */
	assert_int_equal(PARSE("=1\0"), -EINVAL);       /* no key */
	assert_int_equal(PARSE("A b=1\0"), -EINVAL);    /* blank in a key */
	assert_int_equal(PARSE("A=1\0A=2\0"), -EINVAL); /* twice */
}

static void pairs_bounds(void **state)
{
	char data[4096];
	int length = 0;

	(void)state;
	memset(data, 'k', sizeof(data));
	memcpy(data + 63, "=v", 3);
	assert_int_equal(parse(data, 66), 1);
	memset(data, 'k', sizeof(data));
	memcpy(data + 64, "=v", 3);
	assert_int_equal(parse(data, 67), -EINVAL);
	memset(data, 'v', sizeof(data));
	memcpy(data, "A=", 2);
	data[2 + 255] = '\0';
	assert_int_equal(parse(data, 258), 1);
	data[2 + 255] = 'v';
	data[2 + 256] = '\0';
	assert_int_equal(parse(data, 259), -EINVAL);
	for (unsigned i = 0; i < TEXT_PAIRS_MAX; i++)
		length += snprintf(data + length, 16, "k%u=", i) + 1;
	assert_int_equal(parse(data, (size_t)length), TEXT_PAIRS_MAX);
	length += snprintf(data + length, 16, "more=") + 1;
	assert_int_equal(parse(data, (size_t)length), -E2BIG);
}

static void numbers(void **state)
{
	uint32_t number = 0;

	(void)state;
	assert_int_equal(text_number("4294967295", &number), 0);
	assert_int_equal(number, 4294967295u);
	assert_int_equal(text_number("0xFfff", &number), 0);
	assert_int_equal(number, 65535);
	assert_int_equal(text_number("4294967296", &number), -EINVAL);
	assert_int_equal(text_number("", &number), -EINVAL);
	assert_int_equal(text_number("0x", &number), -EINVAL);
	assert_int_equal(text_number("-1", &number), -EINVAL);
	assert_int_equal(text_number("1 ", &number), -EINVAL);
}

static void expect_binary(const char *text, const char *bytes, size_t length)
{
	uint8_t data[16];
	size_t got;

	assert_int_equal(text_decode(text, data, sizeof(data), &got), 0);
	assert_int_equal(got, length);
	assert_memory_equal(data, bytes, length);
}

static void binary(void **state)
{
	uint8_t data[4];
	size_t length;

	(void)state;
	expect_binary("0x0aB1", "\x0a\xb1", 2);
	expect_binary("0xabc", "\x0a\xbc", 2); /* odd */
	expect_binary("0bAQID", "\1\2\3", 3);
	expect_binary("0bAQI=", "\1\2", 2);
	expect_binary("0BAQ==", "\1", 1);
	expect_binary("0bAQ", "\1", 1);
	assert_int_equal(text_decode("0x", data, 4, &length), -EINVAL);
	assert_int_equal(text_decode("", data, 4, &length), -EINVAL);
	assert_int_equal(text_decode("0xzz", data, 4, &length), -EINVAL);
	assert_int_equal(text_decode("0bA", data, 4, &length), -EINVAL);
	assert_int_equal(text_decode("0bA===", data, 4, &length), -EINVAL);
	assert_int_equal(text_decode("0bAQ=D", data, 4, &length), -EINVAL);
	assert_int_equal(text_decode("0bAQ*D", data, 4, &length), -EINVAL);
	assert_int_equal(text_decode("0x0102030405", data, 4, &length), -E2BIG);
	assert_int_equal(text_decode("0bAQIDBAU=", data, 4, &length), -E2BIG);
	assert_int_equal(text_decode("12", data, 4, &length), -EINVAL);
}

static struct iscsi_params params;
static uint64_t seen;
static char reply[512];

/* Negotiate one pair from defaults; the answer, "" for none, NULL for a protocol error. */
static const char *answer(const char *key, const char *value)
{
	struct text_writer writer = {.data = reply, .room = sizeof(reply)};
	struct text_pair pair = {key, value};
	bool discovery = params.discovery;

	keys_defaults(&params);
	params.discovery = discovery;
	seen = 0;
	reply[0] = '\0';
	return keys_answer(&params, &seen, KEYS_LOGIN, &pair, &writer) < 0 ? NULL : reply;
}

static void negotiation(void **state)
{
	static const char *const rows[][3] = {
	    {"HeaderDigest", "CRC32C,None", "HeaderDigest=CRC32C"},
	    {"HeaderDigest", "None,CRC32C", "HeaderDigest=None"},
	    {"DataDigest", "X-md5,CRC32C", "DataDigest=CRC32C"},
	    {"DataDigest", "X-md5", "DataDigest=Reject"},
	    {"MaxConnections", "1", "MaxConnections=1"},
	    {"MaxConnections", "8", "MaxConnections=8"},
	    {"MaxConnections", "65535", "MaxConnections=8"},
	    {"MaxConnections", "0", "MaxConnections=Reject"},
	    {"InitialR2T", "No", "InitialR2T=No"},
	    {"InitialR2T", "Yes", "InitialR2T=Yes"},
	    {"InitialR2T", "yes", "InitialR2T=Reject"},
	    {"ImmediateData", "No", "ImmediateData=No"},
	    {"ImmediateData", "Yes", "ImmediateData=Yes"},
	    {"MaxRecvDataSegmentLength", "65536", ""},
	    {"MaxRecvDataSegmentLength", "511", "MaxRecvDataSegmentLength=Reject"},
	    {"MaxRecvDataSegmentLength", "16777216", "MaxRecvDataSegmentLength=Reject"},
	    {"MaxBurstLength", "512", "MaxBurstLength=512"},
	    {"MaxBurstLength", "16777215", "MaxBurstLength=1048576"},
	    {"FirstBurstLength", "0x10000", "FirstBurstLength=65536"},
	    {"DefaultTime2Wait", "0", "DefaultTime2Wait=2"},
	    {"DefaultTime2Wait", "5", "DefaultTime2Wait=5"},
	    {"DefaultTime2Retain", "20", "DefaultTime2Retain=0"},
	    {"MaxOutstandingR2T", "65535", "MaxOutstandingR2T=8"},
	    {"DataPDUInOrder", "No", "DataPDUInOrder=Yes"},
	    {"DataSequenceInOrder", "No", "DataSequenceInOrder=Yes"},
	    {"ErrorRecoveryLevel", "2", "ErrorRecoveryLevel=0"},
	    {"ErrorRecoveryLevel", "3", "ErrorRecoveryLevel=Reject"},
	    {"iSCSIProtocolLevel", "31", "iSCSIProtocolLevel=2"},
	    {"TaskReporting", "FastAbort,RFC3720", "TaskReporting=RFC3720"},
	    {"IFMarker", "Yes", "IFMarker=No"},
	    {"OFMarkInt", "2048", "OFMarkInt=Irrelevant"},
	    {"X-com.example.key", "1", "X-com.example.key=NotUnderstood"},
	    {"Nonsense", "1", "Nonsense=NotUnderstood"},
	    {"Nonsense", "NotUnderstood", ""},
	};

	(void)state;
	params.discovery = false;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(answer(rows[i][0], rows[i][1]), rows[i][2]);
	assert_null(answer("TargetAddress", "127.0.0.1"));
	assert_null(answer("SendTargets", "All")); /* not during login */
	params.discovery = true;
	assert_string_equal(answer("MaxBurstLength", "512"), "MaxBurstLength=Irrelevant");
	assert_string_equal(answer("HeaderDigest", "CRC32C"), "HeaderDigest=CRC32C");
}

/* Negotiate one pair on a connection that joins a session of @session. */
static const char *joined(const struct iscsi_params *session, const char *key, const char *value)
{
	struct text_writer writer = {.data = reply, .room = sizeof(reply)};
	struct text_pair pair = {key, value};

	keys_defaults(&params);
	keys_join(&params, session);
	seen = 0;
	reply[0] = '\0';
	return keys_answer(&params, &seen, KEYS_LOGIN, &pair, &writer) < 0 ? NULL : reply;
}

/* What the leading connection settled stays; the rest is each connection's own. */
static void joining(void **state)
{
	static const char *const rows[][3] = {
	    {"MaxBurstLength", "65536", "MaxBurstLength=65536"},
	    {"MaxBurstLength", "1048576", "MaxBurstLength=65536"},
	    {"MaxBurstLength", "512", "MaxBurstLength=Reject"},
	    {"MaxConnections", "4", "MaxConnections=4"},
	    {"MaxConnections", "8", "MaxConnections=4"},
	    {"MaxConnections", "2", "MaxConnections=Reject"},
	    {"DefaultTime2Wait", "0", "DefaultTime2Wait=5"},
	    {"DefaultTime2Wait", "6", "DefaultTime2Wait=Reject"},
	    {"InitialR2T", "No", "InitialR2T=No"},
	    {"InitialR2T", "Yes", "InitialR2T=Reject"},
	    {"ImmediateData", "Yes", "ImmediateData=No"},
	    {"ImmediateData", "No", "ImmediateData=No"},
	    {"ErrorRecoveryLevel", "2", "ErrorRecoveryLevel=0"},
	    {"HeaderDigest", "CRC32C", "HeaderDigest=CRC32C"},
	    {"MaxRecvDataSegmentLength", "4096", ""},
	};
	struct iscsi_params session;

	(void)state;
	keys_defaults(&session);
	session.max_burst = 65536;
	session.max_connections = 4;
	session.time2wait = 5;
	session.initial_r2t = session.immediate_data = 0;
	session.send_max = 512;
	session.header_digest = 1;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_string_equal(joined(&session, rows[i][0], rows[i][1]), rows[i][2]);
		assert_int_equal(params.max_burst, 65536);
		assert_int_equal(params.max_connections, 4);
		assert_int_equal(params.time2wait, 5);
		assert_int_equal(params.initial_r2t, 0);
	}
	assert_int_equal(params.send_max, 4096);
	assert_int_equal(params.header_digest, 0);
}

static void once_only(void **state)
{
	struct text_writer writer = {.data = reply, .room = sizeof(reply)};
	struct text_pair pair = {"MaxBurstLength", "1024"};

	(void)state;
	keys_defaults(&params);
	seen = 0;
	assert_int_equal(keys_answer(&params, &seen, KEYS_LOGIN, &pair, &writer), 0);
	assert_int_equal(keys_answer(&params, &seen, KEYS_LOGIN, &pair, &writer), -EPROTO);
	keys_settle(&params);
	assert_int_equal(params.first_burst, 1024);
}

static void overflow(void **state)
{
	char small[8];
	struct text_writer writer = {.data = small, .room = sizeof(small)};

	(void)state;
	text_add(&writer, "abc", "def");
	assert_int_equal(writer.length, 8);
	assert_false(writer.overflow);
	text_add(&writer, "a", "");
	assert_true(writer.overflow);
	assert_int_equal(writer.length, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pairs_good),   cmocka_unit_test(pairs_bad),
	    cmocka_unit_test(pairs_bounds), cmocka_unit_test(numbers),
	    cmocka_unit_test(binary),       cmocka_unit_test(negotiation),
	    cmocka_unit_test(joining),      cmocka_unit_test(once_only),
	    cmocka_unit_test(overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
