/* SPDX-License-Identifier: Apache-2.0 */
/* Names of hosts in rules: what is one, who it is at which time, and what a table makes of it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/world.h"
#include "nfs/names.h"

#define SECOND 1000000000ull

static struct loop *loop;
static unsigned changes;
static bool changed_well = true;
static uint64_t refresh_ns, keep_ns; /* of what names_new() makes */

/* What the resolver says of "host.example" now. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *answers[3];
static int answer_error;

static int resolve(const char *name, struct nfs_network *addresses, unsigned *ret_count)
{
	int error;

	pthread_mutex_lock(&lock);
	*ret_count = 0;
	error = strcmp(name, "host.example") == 0 ? answer_error : EAI_NONAME;
	for (unsigned i = 0; error == 0 && i < 3 && answers[i]; i++)
		if (nfs_network_parse(answers[i], &addresses[*ret_count]))
			(*ret_count)++;
	pthread_mutex_unlock(&lock);
	return error;
}

static void say(int error, const char *one, const char *two)
{
	pthread_mutex_lock(&lock);
	answer_error = error;
	answers[0] = one;
	answers[1] = two;
	pthread_mutex_unlock(&lock);
}

static bool changed(void *context)
{
	(void)context;
	changes++;
	return changed_well;
}

static struct nfs_names *names_new(void)
{
	struct nfs_names_options options = {.control = loop,
					    .changed = changed,
					    .resolve = resolve,
					    .refresh_ns = refresh_ns,
					    .keep_ns = keep_ns};
	struct nfs_names *names;

	changes = 0;
	changed_well = true;
	assert_int_equal(nfs_names_create(&options, &names), 0);
	return names;
}

static struct nfs_rule rule(const char *client)
{
	struct nfs_rule made = {0};

	snprintf(made.client, sizeof(made.client), "%s", client);
	return made;
}

/* Looks them up, and waits until the round is through. */
static void want(struct nfs_names *names, const struct nfs_rule *rules, unsigned count)
{
	struct nfs_share share = {.path = "/a", .rules = rules, .rule_count = count};
	struct err err = {0};

	assert_int_equal(nfs_names_want(names, &share, 1, &err), 0);
	nfs_names_settle(names);
	for (unsigned i = 0; i < 3000 && nfs_names_busy(names); i++) /* 30 s at most */
		loop_poll(loop, SECOND / 100);
	assert_false(nfs_names_busy(names));
}

static void what_is_a_name(void **state)
{
	static const char *const good[] = {"host",     "host.example", "a-b.c9",
					   "3com.com", "x.1a",         "HOST.Example"};
	static const char *const bad[] = {
	    "",    "10.0.0", "1.2.3.4", "999.0.0.1", "-a.b", "a-.b",    "a..b",        ".a",  "a.",
	    "a b", "*.a",    "@group",  "a/24",      "a_b",  "fd00::1", "h\xc3\xb6st", "a:b", "**"};
	char text[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(nfs_name_valid(good[i]));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(nfs_name_valid(bad[i]));
	memset(text, 'a', sizeof(text));
	text[64] = '\0';
	assert_false(nfs_name_valid(text)); /* a label of 64 */
	text[63] = '.';
	text[64] = 'a';
	text[65] = '\0';
	assert_true(nfs_name_valid(text));
	for (unsigned i = 0; i < 254; i++)
		text[i] = i % 2 ? '.' : 'a';
	text[254] = '\0';
	assert_false(nfs_name_valid(text));
	text[253] = '\0';
	assert_true(nfs_name_valid(text));
}

static void addresses_come_and_go(void **state)
{
	const struct nfs_rule rules[] = {rule("host.example"), rule("10.0.0.0/8")};
	struct nfs_names *names = names_new();
	const struct nfs_name *name;
	struct nfs_share other = {.path = "/a", .rules = rules + 1, .rule_count = 1};
	struct err err = {0};

	(void)state;
	say(0, "192.0.2.2", "192.0.2.1");
	want(names, rules, 2);
	name = nfs_names_find(names, "host.example");
	assert_non_null(name);
	assert_true(name->answered);
	assert_int_equal(name->count, 2);
	assert_int_equal(changes, 1);
	assert_null(nfs_names_find(names, "10.0.0.0/8"));

	say(0, "192.0.2.1", "192.0.2.2"); /* the order says nothing */
	want(names, rules, 2);
	assert_int_equal(changes, 1);

	say(EAI_AGAIN, NULL, NULL); /* no answer: the last one holds for a while */
	want(names, rules, 2);
	name = nfs_names_find(names, "host.example");
	assert_int_equal(name->count, 2);
	assert_true(name->trouble[0]);
	assert_int_equal(changes, 1);

	say(EAI_NONAME, NULL, NULL); /* an answer: nobody */
	want(names, rules, 2);
	name = nfs_names_find(names, "host.example");
	assert_int_equal(name->count, 0);
	assert_true(name->trouble[0]);
	assert_int_equal(changes, 2);

	assert_int_equal(nfs_names_want(names, &other, 1, &err), 0);
	assert_non_null(nfs_names_find(names, "host.example")); /* of the rules in force */
	nfs_names_settle(names);
	assert_null(nfs_names_find(names, "host.example"));
	nfs_names_destroy(names);
}

static void wait_for_changes(unsigned count)
{
	for (unsigned i = 0; i < 3000 && changes < count; i++) /* 30 s at most */
		loop_poll(loop, SECOND / 100);
	assert_int_equal(changes, count);
}

/* By themselves: other addresses are seen, and old ones go when nobody answers for too long. */
static void followed(void **state)
{
	const struct nfs_rule rules[] = {rule("host.example")};
	struct nfs_names *names;
	const struct nfs_name *name;
	uint64_t since;

	(void)state;
	refresh_ns = SECOND / 50;
	keep_ns = SECOND / 5;
	names = names_new();
	refresh_ns = keep_ns = 0;
	say(0, "192.0.2.2", NULL);
	want(names, rules, 1);
	assert_int_equal(changes, 1);
	say(0, "192.0.2.2", "192.0.2.3");
	since = loop_now(loop);
	wait_for_changes(2);
	name = nfs_names_find(names, "host.example");
	assert_int_equal(name->count, 2);

	say(EAI_AGAIN, NULL, NULL);
	for (unsigned i = 0; i < 3000 && !name->trouble[0]; i++)
		loop_poll(loop, SECOND / 100);
	assert_true(name->trouble[0]);
	wait_for_changes(3);
	assert_int_equal(name->count, 0);
	assert_true(loop_now(loop) - since >= SECOND / 5);
	nfs_names_destroy(names);
}

static void told_again(void **state)
{
	const struct nfs_rule rules[] = {rule("host.example")};
	struct nfs_names *names = names_new();

	(void)state;
	changed_well = false;
	say(0, "192.0.2.2", NULL);
	want(names, rules, 1);
	assert_int_equal(changes, 1);
	changed_well = true;
	want(names, rules, 1);
	assert_int_equal(changes, 2);
	want(names, rules, 1);
	assert_int_equal(changes, 2);
	nfs_names_destroy(names);
}

static void too_many(void **state)
{
	struct nfs_rule *rules = calloc(NFS_NAMES_MAX + 1, sizeof(*rules));
	struct nfs_names *names = names_new();
	struct nfs_share share = {.path = "/a", .rules = rules, .rule_count = NFS_NAMES_MAX + 1};
	struct err err = {0};

	(void)state;
	assert_non_null(rules);
	for (unsigned i = 0; i <= NFS_NAMES_MAX; i++)
		snprintf(rules[i].client, sizeof(rules[i].client), "host%u.example", i);
	assert_int_equal(nfs_names_want(names, &share, 1, &err), -ENOSPC);
	want(names, rules, NFS_NAMES_MAX);
	assert_non_null(nfs_names_find(names, "host0.example"));
	assert_null(nfs_names_find(names, "host256.example"));
	nfs_names_destroy(names);
	free(rules);
}

/* A resolver that hangs outlives who has asked. */
static void left_behind(void **state)
{
	const struct nfs_rule rules[] = {rule("host.example")};
	struct nfs_share share = {.path = "/a", .rules = rules, .rule_count = 1};
	struct nfs_names *names = names_new();
	struct err err = {0};

	(void)state;
	pthread_mutex_lock(&lock);
	assert_int_equal(nfs_names_want(names, &share, 1, &err), 0);
	nfs_names_settle(names);
	nfs_names_destroy(names);
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < 20; i++)
		loop_poll(loop, SECOND / 100);
	assert_int_equal(changes, 0);
}

static bool allowed(const struct nfs_table *table, const char *client)
{
	struct nfs_address address = {.family = strchr(client, ':') ? AF_INET6 : AF_INET};

	inet_pton(address.family, client, address.bytes);
	return nfs_export_rule(&table->exports[0], &address, NULL, NULL) != NULL;
}

static void tables(void **state)
{
	const struct nfs_rule rules[] = {rule("host.example"), rule("gone.example")};
	const uint8_t uuid[16] = {1};
	struct nfs_names *names = names_new();
	struct nfs_share share = {"/a", NULL, rules, 2, NFS_VERSIONS_ALL, 0};
	struct nfs_table *table, *next;
	int index = 7;

	(void)state;
	assert_int_equal(memory_fs_create(uuid, &share.vfs, NULL), 0);
	say(0, "192.0.2.2", "2001:db8::2");
	want(names, rules, 2);
	assert_int_equal(nfs_table_create(&share, 1, 1, names, &table, NULL), 0);
	assert_false(table->exports[0].unsettled);
	assert_true(allowed(table, "192.0.2.2"));
	assert_true(allowed(table, "2001:db8::2"));
	assert_false(allowed(table, "192.0.2.3"));
	assert_int_equal(nfs_rules_explain(names, rules, 2, "192.0.2.2", &index, NULL), 0);
	assert_int_equal(index, 0);
	assert_int_equal(nfs_rules_explain(names, rules, 2, "192.0.2.3", &index, NULL), 0);
	assert_int_equal(index, -1);

	say(0, "192.0.2.3", NULL);
	want(names, rules, 2);
	assert_int_equal(nfs_table_renew(table, 2, names, &next, NULL), 0);
	assert_string_equal(next->exports[0].path, "/a");
	assert_true(allowed(next, "192.0.2.3"));
	assert_false(allowed(next, "192.0.2.2"));
	assert_true(allowed(table, "192.0.2.2")); /* a table never changes */
	nfs_table_unref(table);
	nfs_table_unref(next);

	assert_int_equal(nfs_table_create(&share, 1, 1, NULL, &table, NULL), 0);
	assert_false(allowed(table, "192.0.2.3")); /* nobody knows the name */
	nfs_table_unref(table);
	nfs_names_destroy(names);
	vfs_unref(share.vfs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_a_name), cmocka_unit_test(addresses_come_and_go),
	    cmocka_unit_test(followed),       cmocka_unit_test(told_again),
	    cmocka_unit_test(too_many),       cmocka_unit_test(left_behind),
	    cmocka_unit_test(tables),
	};
	int failed;

	log_set_level(LOG_LEVEL_ERROR); /* of names that are nobody's, here on purpose */
	if (loop_create(&world_aio, &loop, NULL) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_destroy(loop);
	return failed;
}
