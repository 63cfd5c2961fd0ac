/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "iscsi/rules.h"

static bool has(const char *network, const char *address)
{
	struct sockaddr_in six_room[2] = {0};
	struct sockaddr_in *four = six_room;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)six_room;

	if (strchr(address, ':')) {
		six->sin6_family = AF_INET6;
		assert_int_equal(inet_pton(AF_INET6, address, &six->sin6_addr), 1);
	} else {
		four->sin_family = AF_INET;
		assert_int_equal(inet_pton(AF_INET, address, &four->sin_addr), 1);
	}
	return rules_network_has(network, (struct sockaddr *)six_room);
}

static void networks(void **state)
{
	(void)state;
	assert_true(has("", "10.1.2.3"));
	assert_true(has("10.0.0.0/8", "10.255.0.1"));
	assert_false(has("10.0.0.0/8", "11.0.0.1"));
	assert_true(has("10.0.0.128/25", "10.0.0.129"));
	assert_false(has("10.0.0.128/25", "10.0.0.127"));
	assert_true(has("0.0.0.0/0", "1.2.3.4"));
	assert_false(has("0.0.0.0/0", "fe80::1"));
	assert_true(has("10.1.2.3", "10.1.2.3"));
	assert_true(has("10.0.0.0/8", "::ffff:10.1.1.1"));
	assert_true(has("fd00::/8", "fdff::1"));
	assert_false(has("fd00::/8", "fe00::1"));
	assert_true(has("2001:db8::1", "2001:db8::1"));
	for (const char *
		 bad[] = {"10.0.0.0/33", "fd00::/129", "10.0.0", "x", "10.0.0.0/", "/8", NULL},
		**at = bad;
	     *at; at++) {
		assert_false(rules_network_valid(*at));
		assert_false(has(*at, "10.0.0.1"));
	}
}

static void first_match(void **state)
{
	struct sockaddr_in peer = {.sin_family = AF_INET};
	static const struct iscsi_rule rules[] = {
	    {.initiator = "iqn.2026-11.org.example:a", .network = "10.0.0.0/8"},
	    {.initiator = "any", .network = "192.168.0.0/16"},
	};
	const struct sockaddr *address = (struct sockaddr *)&peer;

	(void)state;
	inet_pton(AF_INET, "10.1.1.1", &peer.sin_addr);
	assert_ptr_equal(rules_find(rules, 2, "iqn.2026-11.org.example:a", address), &rules[0]);
	assert_null(rules_find(rules, 2, "iqn.2026-11.org.example:ab", address));
	assert_null(rules_find(rules, 0, "iqn.2026-11.org.example:a", address));
	inet_pton(AF_INET, "192.168.3.4", &peer.sin_addr);
	assert_ptr_equal(rules_find(rules, 2, "iqn.2026-11.org.example:a", address), &rules[1]);
}

static void checks(void **state)
{
	struct iscsi_rule rule = {.initiator = "any", .chap_user = "u", .chap_secret_length = 12};
	struct err err = {0};

	(void)state;
	assert_int_equal(iscsi_rule_check(&rule, &err), 0);
	rule.chap_secret_length = 11;
	assert_true(iscsi_rule_check(&rule, &err) < 0);
	rule.chap_secret_length = rule.mutual_secret_length = 12;
	rule.mutual_user[0] = 'm';
	assert_true(iscsi_rule_check(&rule, &err) < 0); /* same secret both ways */
	rule.mutual_secret[0] = 1;
	assert_int_equal(iscsi_rule_check(&rule, &err), 0);
	rule.chap_user[0] = '\0';
	assert_true(iscsi_rule_check(&rule, &err) < 0);
}

static void names(void **state)
{
	(void)state;
	assert_int_equal(iscsi_name_check("iqn.2026-11.org.example:disk.1", NULL), 0);
	assert_int_equal(iscsi_name_check("iqn.2008-11.org.linux-kvm", NULL), 0);
	assert_int_equal(iscsi_name_check("eui.0123456789abcdef", NULL), 0);
	assert_int_equal(iscsi_name_check("naa.0123456789abcdef0123456789abcdef", NULL), 0);
	assert_true(iscsi_name_check("iqn.2026-11.", NULL) < 0);
	assert_true(iscsi_name_check("iqn.2026-11.org.Example", NULL) < 0);
	assert_true(iscsi_name_check("iqn.26-11.org.example", NULL) < 0);
	assert_true(iscsi_name_check("naa.123", NULL) < 0);
	assert_true(iscsi_name_check("", NULL) < 0);
	assert_true(iscsi_name_check("iqn.", NULL) < 0);
}

static enum rules_full full(unsigned target, unsigned initiator, unsigned all, unsigned own)
{
	const struct iscsi_session_limits limits = {target, initiator};

	return rules_full(&limits, all, own);
}

static void session_limits(void **state)
{
	(void)state;
	assert_int_equal(full(0, 0, 70000, 70000), RULES_NOT_FULL);
	assert_int_equal(full(3, 0, 2, 2), RULES_NOT_FULL);
	assert_int_equal(full(3, 0, 3, 0), RULES_TARGET_FULL);
	assert_int_equal(full(3, 0, 9, 0), RULES_TARGET_FULL); /* it was made lower */
	assert_int_equal(full(0, 2, 9, 1), RULES_NOT_FULL);
	assert_int_equal(full(0, 2, 9, 2), RULES_INITIATOR_FULL);
	assert_int_equal(full(9, 2, 2, 2), RULES_INITIATOR_FULL);
	assert_int_equal(full(2, 9, 2, 2), RULES_TARGET_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(networks), cmocka_unit_test(first_match),    cmocka_unit_test(checks),
	    cmocka_unit_test(names),    cmocka_unit_test(session_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
