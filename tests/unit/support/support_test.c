/* SPDX-License-Identifier: Apache-2.0 */
/* A support bundle: what is taken out of texts and JSON, bounds, and that what comes out is a tar
 * that says what it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "core/heap.h"
#include "core/log.h"
#include "support/internal.h"

static struct support *new_support(void)
{
	struct support *support;

	assert_int_equal(support_create(&support, NULL), 0);
	return support;
}

static void shows(const char *from, const char *expected)
{
	struct support *support = new_support();
	size_t length;
	char *text;

	support_secret(support, "Tr0ub4dor", 9);
	support_secret(support, "abc", 3); /* too short to be looked for */
	text = scrub_text(support, from, strlen(from), &length);
	assert_non_null(text);
	assert_string_equal(text, expected);
	assert_int_equal(length, strlen(expected));
	heap_free(text);
	support_free(support);
}

static void secrets_of_texts(void **state)
{
	(void)state;
	shows("", "");
	shows("pool tank: opened in 12 ms\n", "pool tank: opened in 12 ms\n");
	shows("volume Tr0ub4dor and Tr0ub4dor2, abc\n", "volume (removed) and (removed)2, abc\n");
	shows("password=x y\nnext\n", "password=(removed)\nnext\n");
	shows("\"Chap_Secret\" : \"a\",\n", "\"Chap_Secret\" :(removed)\n");
	shows("the secret was not given\n", "the secret was not given\n");
	shows("SETUP code=ABCD-EFGH-IJKL (makes\n", "SETUP code=(removed)\n");
	shows("Authorization: Bearer x\n", "Authorization:(removed)\n");
	shows("token gry_0123456789\n", "token gry_(removed)\n");
	shows("password:", "password:");
	shows("to https://eve:pw@host:8443/hook/T0K?x=1 again\n",
	      "to https://(removed)@host:8443/(removed) again\n");
	shows("to https://host/ again https://host\n", "to https://host/ again https://host\n");
	shows("a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb\n",
	      "a\n(removed)\nb\n");
	shows("-----BEGIN PRIVATE KEY-----\nMHc\n", "(removed)");
	shows("-----BEGIN CERTIFICATE-----\nMHc\n", "-----BEGIN CERTIFICATE-----\nMHc\n");
	shows("\x1b[2J \xff\xc3\xa4\n", "?[2J ?\xc3\xa4\n");
}

static void secrets_of_json(void **state)
{
	struct support *support = new_support();
	json_t *from =
	    json_pack("{s:s,s:s,s:b,s:[s,{s:s,s:s}],s:i}", "name", "x Tr0ub4dor", "chap_secret",
		      "s3cr3t-s3cr3t", "has_secret", 1, "list", "http://h/path/token", "api_token",
		      "t", "state", "online", "n", 7);
	json_t *expected =
	    json_pack("{s:s,s:s,s:b,s:[s,{s:s,s:s}],s:i}", "name", "x (removed)", "chap_secret",
		      "(removed)", "has_secret", 1, "list", "http://h/(removed)", "api_token",
		      "(removed)", "state", "online", "n", 7);
	json_t *shown;

	(void)state;
	support_secret(support, "Tr0ub4dor", 9);
	shown = scrub_json(support, from);
	assert_true(json_equal(shown, expected));
	json_decref(from);
	json_decref(expected);
	json_decref(shown);
	support_free(support);
}

/* The tar in a bundle; the caller free()s it. */
static char *unzip(const uint8_t *data, size_t length, size_t room, size_t *ret_length)
{
	z_stream stream = {.next_in = (Bytef *)data, .avail_in = (uInt)length};
	char *tar = malloc(room);

	assert_non_null(tar);
	stream.next_out = (Bytef *)tar;
	stream.avail_out = (uInt)room;
	assert_int_equal(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	*ret_length = stream.total_out;
	inflateEnd(&stream);
	return tar;
}

/* The contents of @name, and how long they are. */
static const char *member(const char *tar, size_t length, const char *name, size_t *ret_length)
{
	for (size_t at = 0; at + 512 <= length && tar[at];) {
		size_t size = strtoul(tar + at + 124, NULL, 8);

		assert_memory_equal(tar + at + 257, "ustar", 6);
		assert_string_equal(tar + at + 345, "granary-support");
		if (strcmp(tar + at, name) == 0) {
			*ret_length = size;
			return tar + at + 512;
		}
		at += 512 + (size + 511) / 512 * 512;
	}
	return NULL;
}

static void a_bundle(void **state)
{
	struct support *support = new_support();
	size_t length, tar_length, size;
	json_t *contents;
	const char *text;
	uint8_t *data;
	char *tar;

	(void)state;
	support_add(support, "a/b c.txt", SUPPORT_FACT, "hello\n", 6);
	support_add(support, "../../etc/x", SUPPORT_FACT, "x\n", 2);
	support_add_machine(support);
	support_add_journal(support, "/nowhere");
	assert_int_equal(support_finish(support, &data, &length, NULL), 0);
	tar = unzip(data, length, 16u << 20, &tar_length);
	text = member(tar, tar_length, "a/b_c.txt", &size);
	assert_non_null(text);
	assert_memory_equal(text, "hello\n", size);
	assert_non_null(member(tar, tar_length, "__/__/etc/x", &size));
	assert_non_null(member(tar, tar_length, "machine/meminfo", &size));
	assert_non_null(member(tar, tar_length, "logs/journal-not-read.txt", &size));
	text = member(tar, tar_length, "contents.json", &size);
	assert_non_null(text);
	contents = json_loadb(text, size, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(contents, "files")), support->count - 1);
	json_decref(contents);
	free(tar);
	heap_free(data);
	support_free(support);
}

#define MAKER "/lib/systemd/systemd-journal-remote"

static void write_export(const char *path)
{
	static const char *const who[] = {"kernel", "granaryd", "sshd"};
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	for (unsigned i = 0; i < 300; i++)
		fprintf(file,
			"__REALTIME_TIMESTAMP=%llu\n__MONOTONIC_TIMESTAMP=%u\n"
			"_BOOT_ID=4c0e0d3d0b0b4b0f8b0f0b0f0b0f0b0f\n_TRANSPORT=%s\n"
			"SYSLOG_IDENTIFIER=%s\nMESSAGE=line %u password=x\n\n",
			1700000000000000ull + i * 1000u, i + 1, i % 3 ? "stdout" : "kernel",
			who[i % 3], i);
	fclose(file);
}

/* A journal as systemd writes it: the kernel's messages and ours, of others none. */
static void a_journal(void **state)
{
	char folder[] = "/tmp/granary-journal-XXXXXX", made[64], from[64];
	const char *const words[] = {MAKER, "-o", made, from, NULL};
	struct support *support;
	int status;
	pid_t child;

	(void)state;
	if (access(MAKER, X_OK) < 0)
		skip();
	assert_non_null(mkdtemp(folder));
	snprintf(made, sizeof made, "%s/system.journal", folder);
	snprintf(from, sizeof from, "%s/from", folder);
	write_export(from);
	assert_int_equal(posix_spawn(&child, words[0], NULL, NULL, (char *const *)words, NULL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	support = new_support();
	support_add_journal(support, folder);
	assert_int_equal(support->count, 3);
	assert_string_equal(support->files[1].name, "logs/kernel.txt");
	assert_non_null(strstr(support->files[1].text, "Z kernel: line 0 password=(removed)\n"));
	assert_non_null(strstr(support->files[1].text, "Z kernel: line 297 "));
	assert_string_equal(support->files[2].name, "logs/services.txt");
	assert_non_null(strstr(support->files[2].text, "Z granaryd: line 298 "));
	assert_null(strstr(support->files[2].text, "sshd"));
	support_free(support);
	unlink(made);
	unlink(from);
	assert_int_equal(rmdir(folder), 0);
}

/* Numbers that do not compress well. */
static char *noise(size_t length)
{
	char *text = malloc(length + 1);
	uint64_t x = 88172645463325252ull;

	assert_non_null(text);
	for (size_t i = 0; i < length; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		text[i] = i % 80 == 79 ? '\n' : (char)('!' + x % 94);
	}
	text[length] = '\0';
	return text;
}

static void logs_give_way(void **state)
{
	struct support *support = new_support();
	size_t length, tar_length, size, room = SUPPORT_FILE_MAX + 8000;
	char *text = noise(room), *tar;
	const char *log;
	uint8_t *data;

	(void)state;
	memcpy(text + room - 10, "\nthe last\n", 10);
	support_add(support, "logs/one.txt", SUPPORT_LOG, text, room);
	support_add(support, "logs/two.txt", SUPPORT_LOG, text, room);
	support_add(support, "fact.txt", SUPPORT_FACT, "all of it\n", 10);
	assert_int_equal(support_finish(support, &data, &length, NULL), 0);
	assert_in_range(length, SUPPORT_BUNDLE_MAX / 8, SUPPORT_BUNDLE_MAX);
	tar = unzip(data, length, 16u << 20, &tar_length);
	log = member(tar, tar_length, "logs/two.txt", &size);
	assert_in_range(size, 16u << 10, SUPPORT_FILE_MAX / 2);
	assert_memory_equal(log + size - 9, "the last\n", 9);
	assert_non_null(member(tar, tar_length, "fact.txt", &size));
	assert_int_equal(size, 10);
	free(tar);
	heap_free(data);
	support_free(support);
	free(text);
}

static void facts_do_not(void **state)
{
	struct support *support = new_support();
	char *text = noise(SUPPORT_FILE_MAX);
	struct err err = {0};
	size_t length;
	uint8_t *data;

	(void)state;
	support_add(support, "fact.txt", SUPPORT_FACT, text, SUPPORT_FILE_MAX);
	assert_int_equal(support_finish(support, &data, &length, &err), -EFBIG);
	support_free(support);
	free(text);
}

static void too_many_secrets(void **state)
{
	struct support *support = new_support();
	char secret[16];
	size_t length;
	uint8_t *data;

	(void)state;
	for (unsigned i = 0; i <= SUPPORT_SECRETS; i++) {
		snprintf(secret, sizeof secret, "secret-%u", i);
		support_secret(support, secret, strlen(secret));
	}
	support_add(support, "x", SUPPORT_FACT, "x", 1);
	assert_int_equal(support_finish(support, &data, &length, NULL), -ENOMEM);
	support_free(support);
}

static void short_of_memory(void **state)
{
	(void)state;
	for (long after = 0; after < 40; after++) {
		struct support *support;
		size_t length;
		uint8_t *data = NULL;

		heap_fail_after(after);
		if (support_create(&support, NULL) == 0) {
			support_secret(support, "Tr0ub4dor", 9);
			support_add(support, "a", SUPPORT_FACT, "Tr0ub4dor\n", 10);
			if (support_finish(support, &data, &length, NULL) == 0)
				heap_free(data);
			support_free(support);
		}
		heap_fail_after(-1);
	}
}

static void the_log_is_kept(void **state)
{
	static char text[LOG_KEPT + 1];
	int nowhere = open("/dev/null", O_WRONLY), kept;
	char few[64];
	size_t length;

	(void)state;
	log_notice("the %s line", "first");
	length = log_tail(text, sizeof text);
	assert_int_equal(length, strlen(text));
	assert_non_null(strstr(text, "Z <5> the first line\n"));
	fflush(stderr);
	kept = dup(STDERR_FILENO);
	dup2(nowhere, STDERR_FILENO);
	for (unsigned i = 0; i < 20000; i++)
		log_notice("line %u of many", i);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(nowhere);
	length = log_tail(text, sizeof text);
	assert_in_range(length, LOG_KEPT - 200, LOG_KEPT);
	assert_null(strstr(text, "the first line"));
	assert_non_null(strstr(text, "line 19999 of many\n"));
	assert_true(text[4] == '-' && text[length - 1] == '\n');
	length = log_tail(few, sizeof few);
	assert_true(length < sizeof few && strstr(few, "line 19999"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(secrets_of_texts), cmocka_unit_test(secrets_of_json),
	    cmocka_unit_test(a_bundle),         cmocka_unit_test(a_journal),
	    cmocka_unit_test(logs_give_way),    cmocka_unit_test(facts_do_not),
	    cmocka_unit_test(too_many_secrets), cmocka_unit_test(short_of_memory),
	    cmocka_unit_test(the_log_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
