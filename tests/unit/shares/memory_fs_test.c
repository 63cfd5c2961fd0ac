/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/shares/contract.h"

static void contract_open(struct fs_bench *fs)
{
	static const uint8_t uuid[16] = {1};

	assert_int_equal(memory_fs_create(uuid, &fs->vfs, &fs->err), 0);
}

static void contract_close(struct fs_bench *fs)
{
	fs_stop(fs);
}

static void limits(void **state)
{
	struct fs_bench fs;
	struct vfs_object file;

	(void)state;
	contract_begin(&fs);
	memory_fs_limit(fs.vfs, 16384, 8192);
	assert_int_equal(fs_create(&fs, &fs.vfs->root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, fs.data, 8192), 0);
	assert_int_equal(fs_write(&fs, &file, 8192, fs.data, 1), -EDQUOT);
	assert_int_equal(fs_write(&fs, &file, 100, fs.data, 4096), 0);
	memory_fs_limit(fs.vfs, 8192, 0);
	assert_int_equal(fs_write(&fs, &file, 8192, fs.data, 1), -ENOSPC);
	fs_new(&fs, VFS_FSSTAT, &file);
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(fs.request.fsstat.total_bytes, 8192);
	assert_int_equal(fs.request.fsstat.free_bytes, 0);
	fs_stop(&fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {CONTRACT_TESTS, cmocka_unit_test(limits)};

	return cmocka_run_group_tests_name("shares/memory_fs", tests, NULL, NULL);
}
