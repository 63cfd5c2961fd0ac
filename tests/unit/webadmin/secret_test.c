/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/heap.h"
#include "webadmin/secret.h"

static char folder[] = "/tmp/granary-secret-XXXXXX";
static char path[sizeof folder + 16];
static const uint8_t plain[] = "twelve bytes or more";

/* Bytes of any length, as a standby keeps what its primary tells it. */
static void longer_sealed_and_opened(void)
{
	static uint8_t text[100000];
	uint8_t *sealed = NULL, *again = NULL, *opened = NULL;
	size_t length = 0, more = 0, out = 0;

	memset(text, 'x', sizeof text);
	assert_int_equal(secret_seal_bytes(text, sizeof text, "g", "a", &sealed, &length), 0);
	assert_int_equal(secret_seal_bytes(text, sizeof text, "g", "a", &again, &more), 0);
	assert_int_equal(length, more);
	assert_memory_not_equal(sealed, again, length);
	assert_null(memmem(sealed, length, "xxxxxxxx", 8));
	assert_int_equal(secret_unseal_bytes(sealed, length, "g", "a", &opened, &out), 0);
	assert_int_equal(out, sizeof text);
	assert_memory_equal(opened, text, out);
	assert_int_equal(secret_unseal_bytes(sealed, length, "h", "a", &opened, &out), -5);
	assert_int_equal(secret_unseal_bytes(sealed, length, "g", "b", &opened, &out), -5);
	for (size_t cut = 0; cut < 40; cut++)
		assert_int_equal(secret_unseal_bytes(sealed, cut, "g", "a", &again, &out), -5);
	sealed[length / 2] ^= 1;
	assert_int_equal(secret_unseal_bytes(sealed, length, "g", "a", &again, &out), -5);
	heap_wipe(opened);
	heap_wipe(sealed);
	heap_wipe(again);
}

static void sealed_and_opened(void **state)
{
	uint8_t sealed[SECRET_SEALED], again[SECRET_SEALED], text[SECRET_MAX + 1];
	unsigned length;
	int bytes;

	(void)state;
	assert_int_equal(secret_seal(plain, sizeof plain, "t", "CHAP", sealed), -5); /* no key */
	assert_int_equal(secret_open(folder, NULL), 0);
	assert_int_equal(secret_seal(plain, 0, "t", "CHAP", sealed), 0);
	bytes = secret_seal(plain, sizeof plain, "t", "CHAP", sealed);
	assert_int_equal(bytes, 29 + sizeof plain);
	assert_null(memmem(sealed, (size_t)bytes, plain, 6));
	assert_true(secret_unseal(sealed, (unsigned)bytes, "t", "CHAP", text, &length));
	assert_int_equal(length, sizeof plain);
	assert_memory_equal(text, plain, length);
	/* never the same twice, good for one use only, and not to be changed */
	assert_int_equal(secret_seal(plain, sizeof plain, "t", "CHAP", again), bytes);
	assert_memory_not_equal(sealed, again, (size_t)bytes);
	assert_false(secret_unseal(sealed, (unsigned)bytes, "t", "mutual CHAP", text, &length));
	assert_false(secret_unseal(sealed, (unsigned)bytes, "u", "CHAP", text, &length));
	for (int i = 0; i < bytes; i++) {
		sealed[i] ^= 1;
		assert_false(secret_unseal(sealed, (unsigned)bytes, "t", "CHAP", text, &length));
		sealed[i] ^= 1;
		assert_false(secret_unseal(sealed, (unsigned)i, "t", "CHAP", text, &length) && i);
	}
	longer_sealed_and_opened();
	/* the key is the file's, and private */
	secret_close();
	assert_false(secret_unseal(sealed, (unsigned)bytes, "t", "CHAP", text, &length));
	assert_int_equal(secret_open(folder, NULL), 0);
	assert_true(secret_unseal(sealed, (unsigned)bytes, "t", "CHAP", text, &length));
	secret_close();
	assert_int_equal(unlink(path), 0);
	assert_int_equal(secret_open(folder, NULL), 0);
	assert_false(secret_unseal(sealed, (unsigned)bytes, "t", "CHAP", text, &length));
	secret_impossible(text, &length);
	assert_true(length >= 12);
	secret_close();
}

static void key_file(void **state)
{
	struct stat info;
	struct err err = {0};

	(void)state;
	assert_int_equal(secret_open(folder, NULL), 0);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(secret_open(folder, NULL), 0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	assert_int_equal(truncate(path, 31), 0);
	assert_int_equal(secret_open(folder, &err), -22);
	assert_non_null(strstr(err.text, "secret.key"));
	secret_close();
	unlink(path);
}

static int make_folder(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/secret.key", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sealed_and_opened),
	    cmocka_unit_test(key_file),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
