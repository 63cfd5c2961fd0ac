/* SPDX-License-Identifier: Apache-2.0 */
/* What the installer writes: pieces at their places, read back; nothing to start from while
 * anything else is missing; damaged media and lists are refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "appliance/payload.h"

#define MIB  (1u << 20)
#define DISK (8 * MIB)

static char folder[] = "/tmp/granary-payload-XXXXXX";
static int medium, disk;
static uint8_t head[2 * MIB], root[MIB + 512], seen[2 * MIB];
static struct payload payload;

static void put_file(const char *name, const uint8_t *data, size_t length)
{
	int fd = openat(medium, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, length), length);
	close(fd);
}

static void digest_of(const uint8_t *data, size_t length, char hex[65])
{
	uint8_t digest[32];

	EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL);
	for (unsigned i = 0; i < sizeof digest; i++)
		snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
}

static json_t *list(void)
{
	char of_head[65], of_root[65];

	digest_of(head, sizeof head, of_head);
	digest_of(root, sizeof root, of_root);
	return json_pack("{s:i,s:s,s:i,s:[{s:s,s:s,s:[[ii],[ii]]},{s:s,s:s,s:[[ii]]}]}", "format",
			 1, "version", "1.2", "size", DISK, "files", "name", "disk.img", "sha256",
			 of_head, "pieces", 0, MIB, 2 * MIB, MIB, "name", "root", "sha256", of_root,
			 "pieces", 4 * MIB, MIB + 512);
}

static int setup(void **state)
{
	unsigned seed = 3;
	json_t *object;

	(void)state;
	for (unsigned i = 0; i < sizeof head; i++)
		head[i] = (uint8_t)rand_r(&seed);
	for (unsigned i = 0; i < sizeof root; i++)
		root[i] = (uint8_t)rand_r(&seed);
	medium = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put_file("disk.img", head, sizeof head);
	put_file("root", root, sizeof root);
	disk = openat(medium, "disk", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	object = list();
	if (disk < 0 || ftruncate(disk, DISK) < 0 || payload_parse(object, &payload, NULL) < 0)
		return -1;
	json_decref(object);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlinkat(medium, "disk.img", 0);
	unlinkat(medium, "root", 0);
	unlinkat(medium, "disk", 0);
	close(disk);
	close(medium);
	return 0;
}

static unsigned percent;

static void progress(unsigned now)
{
	assert_in_range(now, percent, 100);
	percent = now;
}

static void all_in_place(void **state)
{
	(void)state;
	percent = 0;
	assert_int_equal(payload_write(&payload, medium, disk, progress, NULL), 0);
	assert_int_equal(percent, 100);
	assert_int_equal(pread(disk, seen, MIB, 0), MIB);
	assert_memory_equal(seen, head, MIB);
	assert_int_equal(pread(disk, seen, MIB, 2 * MIB), MIB);
	assert_memory_equal(seen, head + MIB, MIB);
	assert_int_equal(pread(disk, seen, sizeof root, 4 * MIB), sizeof root);
	assert_memory_equal(seen, root, sizeof root);
}

static void nothing_to_start_from(void)
{
	static const uint8_t empty[MIB];

	assert_int_equal(pread(disk, seen, MIB, 0), MIB);
	assert_memory_equal(seen, empty, MIB);
}

static void a_damaged_medium(void **state)
{
	(void)state;
	percent = 0;
	root[MIB] ^= 1;
	put_file("root", root, sizeof root);
	assert_int_equal(payload_write(&payload, medium, disk, progress, NULL), -EBADMSG);
	nothing_to_start_from();
	percent = 0;
	put_file("root", root, MIB);
	assert_int_equal(payload_write(&payload, medium, disk, progress, NULL), -ENODATA);
	nothing_to_start_from();
}

static void damaged_lists(void **state)
{
	static const char *const changes[] = {
	    "{\"format\":2}",
	    "{\"version\":7}",
	    "{\"size\":4096}",
	    "{\"size\":4194304}",
	    "{\"files\":[]}",
	    "{\"files\":[{\"name\":\"a/b\"}]}",
	    "{\"files\":[{\"name\":\"a\",\"sha256\":\"00\"}]}",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
		json_t *object = list(), *change = json_loads(changes[i], 0, NULL);
		struct err err = {0};

		json_object_update(object, change);
		assert_int_equal(payload_parse(object, &payload, &err), -EPROTO);
		assert_true(err.text[0]);
		json_decref(change);
		json_decref(object);
	}
	assert_int_equal(payload_parse(NULL, &payload, NULL), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(all_in_place, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_damaged_medium, setup, teardown),
	    cmocka_unit_test_setup_teardown(damaged_lists, setup, teardown),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
