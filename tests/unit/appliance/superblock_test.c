/* SPDX-License-Identifier: Apache-2.0 */
/* A superblock that was written by half is mended so that e2fsck -p takes it, which it did not
 * before; what is damaged otherwise, or is none, stays as it is to the byte. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "appliance/superblock.h"
#include "core/bytes.h"

enum {
	MIB = 1 << 20,
	FREE_BLOCKS = 0x0c,
	BLOCKS = 0x04,
	WRITTEN = 0x30, /* when it was */
	MOUNTS = 0x34,
	INCOMPAT = 0x60,
	UUID = 0x68,
	CHECKSUM = 0x3fc,
};

extern char **environ;

static char path[] = "/tmp/granary-superblock-XXXXXX";
static int fd;
static uint8_t super[1024];

static int program(const char *const *words)
{
	posix_spawn_file_actions_t quiet;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawnp(&pid, words[0], &quiet, NULL, (char *const *)words, environ),
			 0);
	posix_spawn_file_actions_destroy(&quiet);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int check(void)
{
	const char *words[] = {"/sbin/e2fsck", "-p", path, NULL};

	return program(words);
}

static void make(const char *block_size, const char *features)
{
	const char *words[] = {"/sbin/mkfs.ext4", "-q", "-F", "-b", block_size, "-O",
			       features,          path, NULL};

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, 256L * MIB), 0);
	assert_int_equal(program(words), 0);
	assert_int_equal(pread(fd, super, sizeof super, 1024), sizeof super);
}

/* The first sector of what is in @super, and not the second. */
static void put_half(void)
{
	assert_int_equal(pwrite(fd, super, 512, 1024), 512);
}

/* As a later write of the kernel's would have it. */
static void tear(void)
{
	put32(super + WRITTEN, get32(super + WRITTEN) + 7);
	put32(super + FREE_BLOCKS, get32(super + FREE_BLOCKS) - 100);
	put16(super + MOUNTS, (uint16_t)(get16(super + MOUNTS) + 1));
	put_half();
}

static void left_alone(int wanted)
{
	uint8_t before[4096], after[4096];
	struct err err = {0};
	bool mended = true;

	assert_int_equal(pread(fd, before, sizeof before, 0), sizeof before);
	assert_int_equal(superblock_mend(fd, &mended, &err), wanted);
	assert_false(mended);
	assert_int_equal(err.text[0] != '\0', wanted < 0);
	assert_int_equal(pread(fd, after, sizeof after, 0), sizeof after);
	assert_memory_equal(before, after, sizeof before);
}

static void mended(void)
{
	uint8_t now[1024];
	bool mended;

	assert_int_equal(check(), 8); /* or all of this is for nothing */
	assert_int_equal(superblock_mend(fd, &mended, NULL), 0);
	assert_true(mended);
	assert_int_equal(pread(fd, now, sizeof now, 1024), sizeof now);
	assert_memory_equal(now, super, CHECKSUM);
	assert_memory_not_equal(now + CHECKSUM, super + CHECKSUM, 4);
	left_alone(0);
	assert_true(check() <= 1);
}

static void written_by_half(void **state)
{
	(void)state;
	make("4096", "metadata_csum");
	tear();
	mended();
	make("1024", "metadata_csum");
	tear();
	mended();
	make("4096", "metadata_csum,metadata_csum_seed");
	tear();
	mended();
}

/* The kernel says in the first one that the journal is to be looked at, and takes that back. */
static void while_it_is_mounted(void **state)
{
	(void)state;
	make("4096", "metadata_csum");
	put32(super + INCOMPAT, get32(super + INCOMPAT) | 0x4);
	tear();
	mended();
}

static void whole(void **state)
{
	(void)state;
	make("4096", "metadata_csum");
	left_alone(0);
	make("4096", "^metadata_csum");
	tear();
	left_alone(0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, MIB), 0);
	left_alone(0);
}

static void damaged_otherwise(void **state)
{
	static const uint16_t places[] = {0x00, BLOCKS, 0x14,     0x18, 0x20, 0x28,
					  0x4c, 0x58,   INCOMPAT, 0x64, UUID, UUID + 15,
					  0xe0, 0xec,   0xfe,     0x150};

	(void)state;
	make("4096", "metadata_csum");
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
		super[places[i]] ^= 1;
		put_half();
		left_alone(-EUCLEAN);
		super[places[i]] ^= 1;
	}
	super[0x18] = 60; /* a block size that would be shifted out */
	put_half();
	left_alone(-EUCLEAN);
}

static void without_backup(void **state)
{
	(void)state;
	make("4096", "metadata_csum");
	tear();
	assert_int_equal(pwrite(fd, "?", 1, 32768L * 4096 + MOUNTS), 1);
	left_alone(-EUCLEAN);
	assert_int_equal(ftruncate(fd, 64L * MIB), 0);
	left_alone(-EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(written_by_half), cmocka_unit_test(while_it_is_mounted),
	    cmocka_unit_test(whole),           cmocka_unit_test(damaged_otherwise),
	    cmocka_unit_test(without_backup),
	};
	int failed;

	fd = mkstemp(path);
	if (fd < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	close(fd);
	unlink(path);
	return failed;
}
