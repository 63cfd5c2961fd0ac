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
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "nfs/export.h"

static struct nfs_rule rule(const char *client)
{
	struct nfs_rule made = {0};

	memcpy(made.client, client, strlen(client) + 1);
	return made;
}

static int decide(const struct nfs_rule *rules, unsigned count, const char *client)
{
	int index = -9;

	assert_int_equal(nfs_rules_explain(NULL, rules, count, client, &index, NULL), 0);
	return index;
}

static void longest_prefix(void **state)
{
	const struct nfs_rule rules[] = {rule("*"),         rule("10.0.0.0/8"), rule("10.1.0.0/16"),
					 rule("10.1.2.3"),  rule("fd00::/8"),   rule("10.1.2.0/23"),
					 rule("0.0.0.0/0"), rule("10.1.2.3/32")};
	unsigned count = sizeof(rules) / sizeof(rules[0]);

	(void)state;
	assert_int_equal(decide(rules, count, "10.1.2.3"), 3); /* the earlier of two equal ones */
	assert_int_equal(decide(rules, count, "10.1.3.3"), 5);
	assert_int_equal(decide(rules, count, "10.1.4.3"), 2);
	assert_int_equal(decide(rules, count, "10.2.0.1"), 1);
	assert_int_equal(decide(rules, count, "11.0.0.1"), 6);
	assert_int_equal(decide(rules, count, "fd00::1"), 4);
	assert_int_equal(decide(rules, count, "fe00::1"), 0);
	assert_int_equal(decide(rules + 1, 3, "11.0.0.1"), -1);
	assert_int_equal(decide(NULL, 0, "10.0.0.1"), -1);
}

static void bad_text(void **state)
{
	static const char *const bad[] = {"",           "10.0.0.0/33", "10.0.0/8",    "10.0.0.0/",
					  "10.0.0.0/x", "fd00::/129",  "host..name",  "**",
					  "@group",     "*.host.name", "10.0.0.0/-1", "10.0.0.0/8 ",
					  "999.0.0.1"};
	int index;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct nfs_rule one = rule(bad[i]);
		struct err err = {0};

		assert_int_equal(nfs_rule_check(&one, &err), -EINVAL);
		assert_true(err.text[0]);
		assert_int_equal(nfs_rules_explain(NULL, NULL, 0, bad[i], &index, &err), -EINVAL);
	}
	assert_int_equal(nfs_rules_explain(NULL, NULL, 0, "*", &index, NULL), -EINVAL);
	assert_int_equal(nfs_rules_explain(NULL, NULL, 0, "10.0.0.0/8", &index, NULL), -EINVAL);
}

/* A name in a certificate is closer than any address, and asks for one whatever the rule says. */
static void certificates(void **state)
{
	static const char *const bad[] = {"cert:", "cert:two words", "cert:\x7f", "CERT:name"};
	const struct nfs_rule rules[] = {rule("10.0.0.1"), rule("cert:Laptop.Example"),
					 rule("cert:other"), rule("*")};
	struct nfs_peer peer = {.proved = true, .name_count = 2};
	uint8_t uuid[16] = {9};
	struct nfs_address address = {.family = AF_INET, .bytes = {10, 0, 0, 1}};
	struct nfs_table *table;
	const struct nfs_rule *found;
	struct vfs *vfs;
	bool whole = false;

	(void)state;
	assert_int_equal(decide(rules, 4, "cert:laptop.example"), 1);
	assert_int_equal(decide(rules, 4, "cert:laptop"), -1);
	assert_int_equal(decide(rules, 4, "10.0.0.1"), 0);
	assert_int_equal(decide(rules + 1, 2, "10.0.0.1"), -1);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct nfs_rule one = rule(bad[i]);

		assert_int_equal(nfs_rule_check(&one, NULL), -EINVAL);
	}
	assert_int_equal(nfs_rule_check(&rules[1], NULL), 0);
	assert_int_equal(memory_fs_create(uuid, &vfs, NULL), 0);
	assert_int_equal(
	    nfs_table_create(&(struct nfs_share){"/a", vfs, rules, 4, NFS_VERSIONS_ALL, 0}, 1, 1,
			     NULL, &table, NULL),
	    0);
	snprintf(peer.names[0], sizeof(peer.names[0]), "nobody.example");
	snprintf(peer.names[1], sizeof(peer.names[1]), "laptop.example");
	found = nfs_export_rule(&table->exports[0], &address, &peer, &whole);
	assert_string_equal(found->client, "cert:Laptop.Example");
	assert_int_equal(found->security, NFS_SECURITY_MTLS);
	assert_true(whole);
	peer.name_count = 1;
	found = nfs_export_rule(&table->exports[0], &address, &peer, &whole);
	assert_string_equal(found->client, "10.0.0.1");
	found = nfs_export_rule(&table->exports[0], &address, NULL, NULL);
	assert_string_equal(found->client, "10.0.0.1");
	address.bytes[3] = 2;
	found = nfs_export_rule(&table->exports[0], &address, NULL, &whole);
	assert_string_equal(found->client, "*");
	assert_false(whole);
	nfs_table_unref(table);
	vfs_unref(vfs);
}

static void mapped_addresses(void **state)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(700)};
	struct nfs_address address;

	(void)state;
	inet_pton(AF_INET6, "::ffff:10.1.2.3", &six.sin6_addr);
	assert_true(nfs_address_from((struct sockaddr *)&six, &address));
	assert_int_equal(address.family, AF_INET);
	assert_memory_equal(address.bytes, "\x0a\1\2\3", 4);
	assert_int_equal(address.port, 700);
}

static struct vfs *memory(uint8_t number)
{
	uint8_t uuid[16] = {number};
	struct vfs *vfs;

	assert_int_equal(memory_fs_create(uuid, &vfs, NULL), 0);
	return vfs;
}

/* What nobody can write, nobody is let write, whatever the rule says. */
static void read_only_systems(void **state)
{
	struct vfs *one = memory(1), *two = memory(2);
	struct nfs_rule rules[] = {rule("*")};
	struct nfs_share shares[] = {{"/a", one, rules, 1, NFS_VERSIONS_ALL, 0},
				     {"/b", two, rules, 1, NFS_VERSIONS_ALL, 0}};
	struct nfs_address address = {.family = AF_INET, .bytes = {10, 0, 0, 1}};
	struct nfs_table *table, *renewed;

	(void)state;
	two->read_only = true;
	assert_int_equal(nfs_table_create(shares, 2, 1, NULL, &table, NULL), 0);
	assert_int_equal(nfs_table_renew(table, 2, NULL, &renewed, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct nfs_table *each = i ? renewed : table;
		const struct nfs_export *a = nfs_table_by_path(each, "/a", 2);
		const struct nfs_export *b = nfs_table_by_path(each, "/b", 2);

		assert_false(nfs_export_rule(a, &address, NULL, NULL)->read_only);
		assert_true(nfs_export_rule(b, &address, NULL, NULL)->read_only);
	}
	nfs_table_unref(renewed);
	nfs_table_unref(table);
	vfs_unref(one);
	vfs_unref(two);
}

/* Of what is away, only handles that may be its may be good another time. */
static void away(void **state)
{
	struct nfs_rule rules[] = {rule("*")};
	struct nfs_share shares[] = {{"/a", NULL, rules, 1, NFS_VERSIONS_ALL, 7},
				     {"/b", NULL, rules, 1, NFS_VERSIONS_ALL, 8},
				     {"/c", NULL, rules, 1, NFS_VERSIONS_ALL, 0}};
	struct nfs_table *table, *renewed;

	(void)state;
	assert_int_equal(nfs_table_create(shares, 2, 1, NULL, &table, NULL), 0);
	assert_int_equal(nfs_table_renew(table, 2, NULL, &renewed, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(nfs_table_is_away(i ? renewed : table, 7));
		assert_true(nfs_table_is_away(i ? renewed : table, 8));
		assert_false(nfs_table_is_away(i ? renewed : table, 9));
	}
	nfs_table_unref(renewed);
	nfs_table_unref(table);
	assert_int_equal(nfs_table_create(shares, 3, 1, NULL, &table, NULL), 0);
	assert_true(nfs_table_is_away(table, 9)); /* nobody knows whose it is */
	nfs_table_unref(table);
}

static void tables(void **state)
{
	struct vfs *one = memory(1), *two = memory(2);
	struct nfs_rule rules[] = {rule("*")};
	struct nfs_share shares[] = {{"/b", two, rules, 1, NFS_VERSIONS_ALL, 0},
				     {"/a", one, rules, 1, NFS_VERSIONS_ALL, 0}};
	struct nfs_table *table;

	(void)state;
	assert_int_equal(nfs_table_create(shares, 2, 1, NULL, &table, NULL), 0);
	assert_string_equal(nfs_table_by_path(table, "/a/x", 2)->path, "/a");
	assert_null(nfs_table_by_path(table, "/ab", 3));
	for (unsigned i = 0; i < table->count; i++)
		assert_ptr_equal(nfs_table_by_id(table, table->exports[i].id), &table->exports[i]);
	assert_null(nfs_table_by_id(table, 77));
	nfs_table_unref(table);
	shares[0].path = "/a";
	assert_int_equal(nfs_table_create(shares, 2, 1, NULL, &table, NULL), -EEXIST);
	shares[0].path = "/x/y";
	assert_int_equal(nfs_table_create(shares, 2, 1, NULL, &table, NULL), -EINVAL);
	shares[0].path = "/b";
	rules[0] = rule("bad host");
	assert_int_equal(nfs_table_create(shares, 2, 1, NULL, &table, NULL), -EINVAL);
	vfs_unref(one);
	vfs_unref(two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(longest_prefix),
	    cmocka_unit_test(bad_text),
	    cmocka_unit_test(certificates),
	    cmocka_unit_test(mapped_addresses),
	    cmocka_unit_test(read_only_systems),
	    cmocka_unit_test(away),
	    cmocka_unit_test(tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
