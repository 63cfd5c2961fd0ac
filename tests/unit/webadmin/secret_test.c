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

#include "webadmin/secret.h"

static char folder[] = "/tmp/granary-secret-XXXXXX";
static char path[sizeof folder + 16];
static const uint8_t plain[] = "twelve bytes or more";

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
