/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in and what is reserved, as another node says it: what is taken for that, and what is
 * refused, with which words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "webadmin/replica_access.h"

#define VOLUME "0123456789abcdef0123456789abcdef"
/* "GRPR", version 1, type, APTPL, 0, generation, count */
#define NOBODY                                                                                     \
	"4752505201000000"                                                                         \
	"00000007"                                                                                 \
	"00000000"
#define ONE                                                                                        \
	"4752505201050000"                                                                         \
	"00000007"                                                                                 \
	"00000001"                                                                                 \
	"c1d5000000000001"                                                                         \
	"0001"                                                                                     \
	"01"                                                                                       \
	"00"                                                                                       \
	"0003"                                                                                     \
	"0003"                                                                                     \
	"612c69"                                                                                   \
	"746774"

static int check(const char *text, char *ret_said, size_t size)
{
	struct err err = {0};
	json_t *access = json_loads(text, 0, NULL);
	int result;

	assert_non_null(access);
	result = access_check(NULL, access, &err);
	snprintf(ret_said, size, "%s", err.text);
	json_decref(access);
	return result;
}

static void taken(void **state)
{
	static const char *const good[] = {
	    "{\"targets\": [], \"reservations\": []}",
	    "{\"targets\": [], \"reservations\": [{\"volume\": \"" VOLUME "\", \"state\": \"" NOBODY
	    "\"}]}",
	    "{\"targets\": [], \"reservations\": [{\"volume\": \"" VOLUME "\", \"state\": \"" ONE
	    "\"}]}",
	    "{\"targets\": [{\"iqn\": \"iqn.2026-11.org.example:a\", \"rules\": [{\"initiator\": "
	    "\"\","
	    " \"network\": \"\", \"chap_user\": \"\", \"mutual_user\": \"\"}]}],"
	    " \"reservations\": [], \"later\": 1}",
	    "{\"targets\": [{\"iqn\": \"iqn.2026-11.org.example:a\", \"rules\": [{\"initiator\": "
	    "\"\","
	    " \"network\": \"10.0.0.0/8\", \"chap_user\": \"u\", \"chap_secret\": "
	    "\"twelve-bytes-1\","
	    " \"mutual_user\": \"m\", \"mutual_secret\": \"other-twelve-2\"}]}],"
	    " \"reservations\": []}",
	    "{\"hosts\": [{\"name\": \"g\", \"initiators\": [\"iqn.2026-11.org.example:h\"]}],"
	    " \"targets\": [{\"iqn\": \"iqn.2026-11.org.example:a\", \"rules\": [],"
	    " \"masks\": [{\"volume\": \"" VOLUME "\", \"hosts\": [\"g\"]}]}],"
	    " \"reservations\": []}",
	    /* a secret that nobody knows there */
	    "{\"targets\": [{\"iqn\": \"iqn.2026-11.org.example:a\", \"rules\": [{\"initiator\": "
	    "\"\","
	    " \"network\": \"\", \"chap_user\": \"u\", \"mutual_user\": \"\"}]}],"
	    " \"reservations\": []}",
	};
	char said[512];

	(void)state;
	for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
		int result = check(good[i], said, sizeof said);

		if (result < 0)
			fail_msg("%s: %s", good[i], said);
	}
}

#define RULE(fields)                                                                               \
	"{\"targets\": [{\"iqn\": \"iqn.2026-11.org.example:a\", \"rules\": [{" fields "}]}], "    \
	"\"reservations\": []}"
#define HOSTS(hosts) "{\"hosts\": " hosts ", \"targets\": [], \"reservations\": []}"
#define MASKS(masks)                                                                               \
	"{\"targets\": [{\"iqn\": \"iqn.2026-11.org.example:a\", \"rules\": [], \"masks\": " masks \
	"}], \"reservations\": []}"
#define STATE(volume, state)                                                                       \
	"{\"targets\": [], \"reservations\": [{\"volume\": " volume ", \"state\": " state "}]}"

static void refused(void **state)
{
	static const char *const bad[] = {
	    "[]",
	    "{}",
	    "{\"targets\": []}",
	    "{\"targets\": {}, \"reservations\": []}",
	    "{\"targets\": [], \"reservations\": 7}",
	    "{\"targets\": [7], \"reservations\": []}",
	    "{\"targets\": [{\"iqn\": 7, \"rules\": []}], \"reservations\": []}",
	    "{\"targets\": [{\"iqn\": \"iqn.2026-11.org.example:a\"}], \"reservations\": []}",
	    RULE(""),
	    RULE("\"initiator\": 7, \"network\": \"\", \"chap_user\": \"\", \"mutual_user\": \"\""),
	    RULE("\"initiator\": \"\", \"network\": \"nowhere\", \"chap_user\": \"\","
		 " \"mutual_user\": \"\""),
	    RULE("\"initiator\": \"\", \"network\": \"\", \"chap_user\": \"u\","
		 " \"chap_secret\": \"hush-short\", \"mutual_user\": \"\""),
	    RULE("\"initiator\": \"\", \"network\": \"\", \"chap_user\": \"u\","
		 " \"chap_secret\": {}, \"mutual_user\": \"\""),
	    HOSTS("7"),
	    HOSTS("[7]"),
	    HOSTS("[{\"name\": 7, \"initiators\": []}]"),
	    HOSTS("[{\"name\": \"g\"}]"),
	    HOSTS("[{\"name\": \"g\", \"initiators\": [7]}]"),
	    MASKS("7"),
	    MASKS("[7]"),
	    MASKS("[{\"volume\": \"0123\", \"hosts\": []}]"),
	    MASKS("[{\"volume\": \"" VOLUME "\"}]"),
	    MASKS("[{\"volume\": \"" VOLUME "\", \"hosts\": [7]}]"),
	    STATE("7", "\"" NOBODY "\""),
	    STATE("\"0123\"", "\"" NOBODY "\""),
	    STATE("\"" VOLUME "00\"", "\"" NOBODY "\""),
	    STATE("\"0123456789abcdef0123456789abcdeX\"", "\"" NOBODY "\""),
	    STATE("\"" VOLUME "\"", "7"),
	    STATE("\"" VOLUME "\"", "\"\""),
	    STATE("\"" VOLUME "\"", "\"" NOBODY "0\""),
	    STATE("\"" VOLUME "\"", "\"47525052\""),
	    STATE("\"" VOLUME "\"", "\"x752505201000000"
				    "00000007"
				    "00000000\""),
	    STATE("\"" VOLUME "\"", "\"4752505201050000"
				    "00000007"
				    "00000001\""),
	};
	char said[512];

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (check(bad[i], said, sizeof said) != -EPROTO)
			fail_msg("%s was taken, or for another reason: %s", bad[i], said);
		assert_true(strncmp(said, "who is let in, as it was told", 29) == 0 ||
			    strncmp(said, "what is reserved, as it was told", 32) == 0);
		assert_null(strstr(said, "hush")); /* a secret in what is said */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(taken),
	    cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
