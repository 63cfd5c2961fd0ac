/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SHARES_CONTRACT_H
#define TESTS_UNIT_SHARES_CONTRACT_H

#include "tests/unit/shares/fs_bench.h"

/* The contract of vfs.h, as tests for any back end: the includer defines contract_open(), which
 * gives an empty file system, contract_close(), which ends it and the loop, and lists
 * CONTRACT_TESTS. */
static void contract_open(struct fs_bench *fs);
static void contract_close(struct fs_bench *fs);

static void contract_begin(struct fs_bench *fs)
{
	fs_start(fs);
	contract_open(fs);
}

static int create_sized(struct fs_bench *fs, const struct vfs_object *directory, const char *name,
			uint64_t size)
{
	struct vfs_request *request = fs_new(fs, VFS_CREATE, directory);

	fs_name(request, name);
	request->type = VFS_REGULAR;
	request->create_how = VFS_CREATE_UNCHECKED;
	request->set =
	    (struct vfs_set){.mask = VFS_SET_MODE | VFS_SET_SIZE, .mode = 0600, .size = size};
	return fs_submit(fs);
}

/* In done() the vfs is not kept any more: what is closed there, or by another thread from then on,
 * is not in use. */
static void contract_references(void **state)
{
	struct fs_bench fs;
	uint32_t before;

	(void)state;
	contract_begin(&fs);
	before = fs.vfs->refs;
	fs_getattr(&fs, &fs.vfs->root);
	assert_int_equal(fs.refs, before);
	assert_int_equal(fs_lookup(&fs, &fs.vfs->root, "not/a name", NULL), -EINVAL);
	assert_int_equal(fs.refs, before);
	contract_close(&fs);
}

static void contract_files(void **state)
{
	struct fs_bench fs;
	struct vfs_object root, file;
	struct vfs_attr attr;
	char text[32];

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	attr = fs_getattr(&fs, &root);
	assert_int_equal(attr.type, VFS_DIRECTORY);
	assert_int_equal(attr.links, 2);
	assert_int_equal(attr.fileid, fs.vfs->root_fileid);
	assert_int_equal(fs_create(&fs, &root, "a", VFS_REGULAR, 0640, &file), 0);
	assert_true(fs.request.created);
	assert_int_equal(fs.request.result_attr.mode, 0640);
	assert_int_equal(fs.request.before[0].change, attr.change);
	assert_true(fs.request.after[0].change > attr.change);
	assert_int_equal(create_sized(&fs, &root, "large", VFS_FILE_MAX + 1), -EFBIG);
	assert_int_equal(create_sized(&fs, &root, "large", UINT64_MAX), -EFBIG);
	assert_int_equal(fs_lookup(&fs, &root, "large", NULL), -ENOENT);
	assert_int_equal(create_sized(&fs, &root, "large", VFS_FILE_MAX), 0);
	assert_int_equal(fs.request.result_attr.size, VFS_FILE_MAX);
	assert_int_equal(fs_lookup(&fs, &root, "large", NULL), 0);
	assert_int_equal(fs_remove(&fs, &root, "large"), 0);
	assert_int_equal(fs_create(&fs, &root, "a", VFS_REGULAR, 0640, NULL), -EEXIST);
	assert_true(vfs_object_equal(&fs.request.result_object, &file));
	assert_int_equal(fs_write(&fs, &file, 3, "hello", 5), 0);
	assert_int_equal(fs.request.count, 5);
	assert_int_equal(fs.request.stable, VFS_FILE_SYNC);
	assert_int_equal(fs.request.before[0].size, 0);
	assert_int_equal(fs.request.after[0].size, 8);
	assert_int_equal(fs.request.after[0].used, 4096);
	assert_int_equal(fs_read(&fs, &file, 0, text, sizeof(text)), 8);
	assert_true(fs.request.eof);
	assert_memory_equal(text, "\0\0\0hello", 8);
	assert_int_equal(fs_read(&fs, &file, 0, text, 7), 7);
	assert_false(fs.request.eof);
	assert_int_equal(fs_read(&fs, &file, 0, text, 8), 8);
	assert_true(fs.request.eof);
	assert_int_equal(fs_read(&fs, &file, UINT64_MAX, text, 8), 0);
	assert_true(fs.request.eof);
	assert_int_equal(fs_write(&fs, &file, VFS_FILE_MAX, "x", 1), -EFBIG);
	assert_int_equal(fs_write(&fs, &root, 0, "x", 1), -EISDIR);
	assert_int_equal(fs_read(&fs, &root, 0, text, 1), -EISDIR);
	assert_int_equal(fs_remove(&fs, &root, "a"), 0);
	assert_int_equal(fs.request.result_attr.links, 0);
	assert_int_equal(fs_read(&fs, &file, 0, text, 1), -ESTALE);
	assert_int_equal(fs_lookup(&fs, &root, "a", NULL), -ENOENT);
	contract_close(&fs);
}

static void contract_names(void **state)
{
	static char long_name[257];
	struct fs_bench fs;
	struct vfs_object root, directory, file, found;
	struct vfs_request *request;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	memset(long_name, 'n', 256);
	assert_int_equal(fs_create(&fs, &root, long_name, VFS_REGULAR, 0600, NULL), -ENAMETOOLONG);
	assert_int_equal(fs_create(&fs, &root, "", VFS_REGULAR, 0600, NULL), -EINVAL);
	assert_int_equal(fs_create(&fs, &root, "a/b", VFS_REGULAR, 0600, NULL), -EINVAL);
	assert_int_equal(fs_create(&fs, &root, "..", VFS_DIRECTORY, 0700, NULL), -EINVAL);
	assert_int_equal(fs_remove(&fs, &root, "."), -EINVAL);
	request = fs_new(&fs, VFS_LOOKUP, &root);
	request->name = "a\0b";
	request->name_length = 3;
	assert_int_equal(fs_submit(&fs), -EINVAL);
	long_name[255] = 0;
	assert_int_equal(fs_create(&fs, &root, long_name, VFS_REGULAR, 0600, NULL), 0);
	assert_int_equal(fs_create(&fs, &root, "d", VFS_DIRECTORY, 0755, &directory), 0);
	assert_int_equal(fs.request.after[0].links, 3);
	assert_int_equal(fs_create(&fs, &directory, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_lookup(&fs, &directory, "f", &found), 0);
	assert_true(vfs_object_equal(&found, &file));
	assert_int_equal(fs_lookup(&fs, &directory, ".", &found), 0);
	assert_true(vfs_object_equal(&found, &directory));
	assert_int_equal(fs_lookup(&fs, &directory, "..", &found), 0);
	assert_true(vfs_object_equal(&found, &root));
	assert_int_equal(fs_lookup(&fs, &root, "..", &found), 0);
	assert_true(vfs_object_equal(&found, &root));
	assert_int_equal(fs_lookup(&fs, &file, "x", NULL), -ENOTDIR);
	fs_new(&fs, VFS_LOOKUP_PARENT, &root);
	assert_int_equal(fs_submit(&fs), -ENOENT);
	fs_new(&fs, VFS_LOOKUP_PARENT, &directory);
	assert_int_equal(fs_submit(&fs), 0);
	assert_true(vfs_object_equal(&fs.request.result_object, &root));
	assert_int_equal(fs_remove(&fs, &root, "d"), -ENOTEMPTY);
	fs_name(fs_new(&fs, VFS_REMOVE, &root), "d");
	fs.request.remove_kind = VFS_REMOVE_FILE;
	assert_int_equal(fs_submit(&fs), -EISDIR);
	assert_int_equal(fs_remove(&fs, &directory, "f"), 0);
	assert_int_equal(fs_remove(&fs, &root, "d"), 0);
	assert_int_equal(fs.request.after[0].links, 2);
	fs_name(fs_new(&fs, VFS_REMOVE, &root), long_name);
	fs.request.remove_kind = VFS_REMOVE_DIRECTORY;
	assert_int_equal(fs_submit(&fs), -ENOTDIR);
	contract_close(&fs);
}

static void contract_kinds(void **state)
{
	struct fs_bench fs;
	struct vfs_object root, link;
	struct vfs_request *request;
	char text[VFS_SYMLINK_MAX];

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "link", VFS_SYMLINK, 0777, &link), 0);
	assert_int_equal(fs.request.result_attr.size, 10);
	request = fs_new(&fs, VFS_READLINK, &link);
	request->data = text;
	request->data_room = sizeof(text);
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->data_length, 10);
	assert_memory_equal(text, "the/target", 10);
	fs_new(&fs, VFS_READLINK, &root);
	assert_int_equal(fs_submit(&fs), -EINVAL);
	assert_int_equal(fs_read(&fs, &link, 0, text, 1), -EINVAL);
	request = fs_new(&fs, VFS_CREATE, &root);
	fs_name(request, "long");
	memset(text, 't', sizeof(text));
	request->type = VFS_SYMLINK;
	request->create_how = VFS_CREATE_GUARDED;
	request->data = text;
	request->data_length = sizeof(text);
	assert_int_equal(fs_submit(&fs), 0);
	link = request->result_object;
	request = fs_new(&fs, VFS_READLINK, &link);
	request->data = fs.data;
	request->data_room = sizeof(fs.data);
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->data_length, sizeof(text));
	assert_memory_equal(fs.data, text, sizeof(text));
	request = fs_new(&fs, VFS_CREATE, &root);
	fs_name(request, "sda");
	request->type = VFS_BLOCK_DEVICE;
	request->create_how = VFS_CREATE_GUARDED;
	request->rdev_major = 8;
	request->rdev_minor = 1;
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->result_attr.rdev_major, 8);
	assert_int_equal(request->result_attr.rdev_minor, 1);
	assert_int_equal(fs_create(&fs, &root, "pipe", VFS_FIFO, 0600, NULL), 0);
	assert_int_equal(fs.request.result_attr.type, VFS_FIFO);
	fs.who.uid = fs.who.gid = 1000;
	assert_int_equal(fs_create(&fs, &root, "sdb", VFS_BLOCK_DEVICE, 0600, NULL), -EACCES);
	contract_close(&fs);
}

static void contract_create_how(void **state)
{
	struct fs_bench fs;
	struct vfs_object root, file;
	struct vfs_request *request;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	for (unsigned i = 0; i < 2; i++) {
		request = fs_new(&fs, VFS_CREATE, &root);
		fs_name(request, "exclusive");
		request->type = VFS_REGULAR;
		request->create_how = VFS_CREATE_EXCLUSIVE;
		request->verifier = 0x1122334455667788ull;
		assert_int_equal(fs_submit(&fs), 0);
		assert_true(request->created);
	}
	file = request->result_object;
	request->verifier++;
	assert_int_equal(fs_submit(&fs), -EEXIST);
	assert_int_equal(fs_write(&fs, &file, 0, "data", 4), 0);
	request = fs_new(&fs, VFS_CREATE, &root);
	fs_name(request, "exclusive");
	request->type = VFS_REGULAR;
	request->create_how = VFS_CREATE_UNCHECKED;
	request->set.mask = VFS_SET_SIZE;
	request->flags = VFS_HOLD_RESULT;
	assert_int_equal(fs_submit(&fs), 0);
	assert_false(request->created);
	assert_int_equal(request->result_attr.size, 0);
	assert_int_equal(request->result_attr.used, 0);
	/* held: it lives on without a name */
	assert_int_equal(fs_remove(&fs, &root, "exclusive"), 0);
	assert_int_equal(fs_getattr(&fs, &file).links, 0);
	assert_int_equal(fs_write(&fs, &file, 0, "data", 4), 0);
	assert_int_equal(fs_link(&fs, &file, &root, "again"), -ENOENT);
	fs_new(&fs, VFS_RELEASE, &file);
	assert_int_equal(fs_submit(&fs), 0);
	fs_new(&fs, VFS_GETATTR, &file);
	assert_int_equal(fs_submit(&fs), -ESTALE);
	contract_close(&fs);
}

static void contract_rename(void **state)
{
	struct fs_bench fs;
	struct vfs_object root, a, b, file, other, found;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "a", VFS_DIRECTORY, 0755, &a), 0);
	assert_int_equal(fs_create(&fs, &root, "b", VFS_DIRECTORY, 0755, &b), 0);
	assert_int_equal(fs_create(&fs, &a, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_create(&fs, &b, "g", VFS_REGULAR, 0600, &other), 0);
	assert_int_equal(fs_rename(&fs, &a, "x", &b, "y"), -ENOENT);
	assert_int_equal(fs_rename(&fs, &root, "a", &a, "in"), -EINVAL);
	assert_int_equal(fs_rename(&fs, &root, "a", &b, "g"), -ENOTDIR);
	assert_int_equal(fs_rename(&fs, &a, "f", &root, "b"), -EISDIR);
	assert_int_equal(fs_rename(&fs, &root, "a", &root, "b"), -ENOTEMPTY);
	assert_int_equal(fs_rename(&fs, &a, "f", &b, "g"), 0);
	assert_true(vfs_object_equal(&fs.request.result_object, &other));
	assert_int_equal(fs.request.result_attr.links, 0);
	assert_true(fs.request.after[0].change > fs.request.before[0].change);
	assert_true(fs.request.after[1].change > fs.request.before[1].change);
	assert_int_equal(fs_lookup(&fs, &b, "g", &found), 0);
	assert_true(vfs_object_equal(&found, &file));
	fs_new(&fs, VFS_GETATTR, &other);
	assert_int_equal(fs_submit(&fs), -ESTALE);
	/* a directory moves: links, ".." */
	assert_int_equal(fs_rename(&fs, &root, "a", &b, "a"), 0);
	assert_int_equal(fs_getattr(&fs, &root).links, 3);
	assert_int_equal(fs_getattr(&fs, &b).links, 3);
	assert_int_equal(fs_lookup(&fs, &a, "..", &found), 0);
	assert_true(vfs_object_equal(&found, &b));
	/* over an empty directory */
	assert_int_equal(fs_create(&fs, &root, "e", VFS_DIRECTORY, 0755, &other), 0);
	assert_int_equal(fs_rename(&fs, &b, "a", &root, "e"), 0);
	assert_int_equal(fs_getattr(&fs, &root).links, 4);
	/* two names of one object: nothing happens */
	assert_int_equal(fs_link(&fs, &file, &root, "hard"), 0);
	assert_int_equal(fs_getattr(&fs, &file).links, 2);
	assert_int_equal(fs_rename(&fs, &b, "g", &root, "hard"), 0);
	assert_int_equal(fs_lookup(&fs, &b, "g", NULL), 0);
	assert_int_equal(fs_rename(&fs, &root, "hard", &root, "soft"), 0);
	assert_int_equal(fs_getattr(&fs, &file).links, 2);
	assert_int_equal(fs_link(&fs, &a, &root, "dir"), -EISDIR);
	assert_int_equal(fs_link(&fs, &file, &root, "soft"), -EEXIST);
	contract_close(&fs);
}

static void contract_sparse(void **state)
{
	static uint8_t block[3 * 4096], zeros[4096];
	struct fs_bench fs;
	struct vfs_object root, file;
	struct vfs_attr attr;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	memset(block, 0x5a, sizeof(block));
	assert_int_equal(fs_create(&fs, &root, "sparse", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_truncate(&fs, &file, 1ull << 40), 0);
	assert_int_equal(fs_getattr(&fs, &file).used, 0);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_DATA, 0), -ENXIO);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_HOLE, 5), 5);
	assert_int_equal(fs_write(&fs, &file, 1 << 20, block, sizeof(block)), 0);
	assert_int_equal(fs.request.after[0].used, sizeof(block));
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_DATA, 0), 1 << 20);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_DATA, (1 << 20) + 7), (1 << 20) + 7);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_HOLE, 1 << 20), (1 << 20) + 3 * 4096);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_DATA, (1 << 20) + 3 * 4096), -ENXIO);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_HOLE, 1ull << 40), -ENXIO);
	/* a hole in the middle, with ragged ends */
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &file, (1 << 20) + 4000, 4200), 0);
	assert_int_equal(fs.request.after[0].used, 2 * 4096);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_HOLE, 1 << 20), (1 << 20) + 4096);
	assert_int_equal(fs_read(&fs, &file, 1 << 20, block, sizeof(block)), sizeof(block));
	assert_memory_equal(block + 4000, zeros, 4096);
	assert_memory_equal(block + 8096, zeros, 104);
	assert_int_equal(block[3999], 0x5a);
	assert_int_equal(block[8200], 0x5a);
	/* space set aside is a hole that takes space */
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, 0, 10000), 0);
	assert_int_equal(fs.request.after[0].used, 5 * 4096);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_DATA, 0), 1 << 20);
	assert_int_equal(fs_write(&fs, &file, 5000, "x", 1), 0);
	assert_int_equal(fs.request.after[0].used, 5 * 4096);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_DATA, 0), 4096);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_HOLE, 4096), 8192);
	assert_int_equal(fs_read(&fs, &file, 4096, block, 4096), 4096);
	assert_memory_equal(block, zeros, 904);
	assert_int_equal(block[904], 'x');
	assert_memory_equal(block + 905, zeros, 4096 - 905);
	/* cut inside a block and grown again: zeros behind the cut */
	memset(block, 0x77, sizeof(block));
	assert_int_equal(fs_write(&fs, &file, 0, block, 8192), 0);
	assert_int_equal(fs_truncate(&fs, &file, 4100), 0);
	assert_int_equal(fs_getattr(&fs, &file).used, 2 * 4096);
	assert_int_equal(fs_truncate(&fs, &file, 20000), 0);
	assert_int_equal(fs_read(&fs, &file, 0, block, 8192), 8192);
	assert_int_equal(block[4099], 0x77);
	assert_memory_equal(block + 4100, zeros, 4092);
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, 30000, 1), 0);
	assert_int_equal(fs.request.after[0].size, 30001);
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &file, 0, UINT64_MAX), 0);
	attr = fs_getattr(&fs, &file);
	assert_int_equal(attr.used, 0);
	assert_int_equal(attr.size, 30001);
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, VFS_FILE_MAX, 1), -EFBIG);
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, 5, 0), -EINVAL);
	assert_int_equal(fs_truncate(&fs, &file, VFS_FILE_MAX + 1), -EFBIG);
	assert_int_equal(fs_write(&fs, &file, VFS_FILE_MAX - 1, "x", 1), 0);
	assert_int_equal(fs_read(&fs, &file, VFS_FILE_MAX - 1, block, 10), 1);
	assert_true(fs.request.eof);
	contract_close(&fs);
}

static void contract_attributes(void **state)
{
	struct fs_bench fs;
	struct vfs_object root, file;
	struct vfs_attr attr;
	struct vfs_request *request;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	assert_int_equal(fs_set(&fs, &root, (struct vfs_set){.mask = VFS_SET_MODE, .mode = 0777}),
			 0);
	fs.who.uid = fs.who.gid = 1000;
	assert_int_equal(fs_create(&fs, &root, "mine", VFS_REGULAR, 06755, &file), 0);
	attr = fs.request.result_attr;
	assert_int_equal(attr.uid, 1000);
	assert_int_equal(attr.mode, 06755);
	assert_int_equal(fs_write(&fs, &file, 0, "x", 1), 0);
	assert_int_equal(fs.request.after[0].mode, 0755); /* set-id bits go */
	assert_int_equal(
	    fs_set(
		&fs, &file,
		(struct vfs_set){.mask = VFS_SET_ATIME | VFS_SET_MTIME, .atime = 5, .mtime = -7}),
	    0);
	attr = fs_getattr(&fs, &file);
	assert_int_equal(attr.atime, 5);
	assert_int_equal(attr.mtime, -7);
	request = fs_new(&fs, VFS_SETATTR, &file);
	request->set = (struct vfs_set){.mask = VFS_SET_MODE, .mode = 0600};
	request->flags = VFS_GUARD_CTIME;
	request->guard = attr.ctime - 1;
	assert_int_equal(fs_submit(&fs), -EAGAIN);
	assert_int_equal(request->after[0].change, attr.change);
	request->guard = attr.ctime;
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->after[0].mode, 0600);
	assert_int_equal(fs_set(&fs, &file, (struct vfs_set){.mask = VFS_SET_UID, .uid = 0}),
			 -EPERM);
	assert_int_equal(fs_set(&fs, &file, (struct vfs_set){.mask = VFS_SET_GID, .gid = 5}),
			 -EPERM);
	fs.who.uid = fs.who.gid = 1001;
	assert_int_equal(fs_set(&fs, &file, (struct vfs_set){.mask = VFS_SET_MODE}), -EPERM);
	assert_int_equal(fs_truncate(&fs, &file, 0), -EACCES);
	assert_int_equal(fs_write(&fs, &file, 0, "x", 1), -EACCES);
	assert_int_equal(fs_read(&fs, &file, 0, fs.data, 1), -EACCES);
	request = fs_new(&fs, VFS_ACCESS, &file);
	request->rights = VFS_READ_DATA | VFS_WRITE_DATA | VFS_READ_ATTRIBUTES;
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->rights, VFS_READ_ATTRIBUTES);
	/* the owner may, with the override, whatever the mode says */
	fs.who.uid = 1000;
	assert_int_equal(fs_set(&fs, &file, (struct vfs_set){.mask = VFS_SET_MODE}), 0);
	assert_int_equal(fs_read(&fs, &file, 0, fs.data, 1), -EACCES);
	request = fs_new(&fs, VFS_COMMIT, &file);
	request->flags = VFS_OWNER_OVERRIDE;
	assert_int_equal(fs_submit(&fs), 0);
	/* sticky directories */
	fs.who.uid = 0;
	assert_int_equal(fs_set(&fs, &root, (struct vfs_set){.mask = VFS_SET_MODE, .mode = 01777}),
			 0);
	fs.who.uid = 1001;
	assert_int_equal(fs_remove(&fs, &root, "mine"), -EPERM);
	assert_int_equal(fs_rename(&fs, &root, "mine", &root, "yours"), -EPERM);
	fs.who.uid = 1000;
	assert_int_equal(fs_remove(&fs, &root, "mine"), 0);
	contract_close(&fs);
}

/* Entries that stay are seen exactly once while others come and go. */
static void contract_listing(void **state)
{
	enum { COUNT = 1000 };
	static uint8_t seen[COUNT];
	struct fs_bench fs;
	struct vfs_object root;
	uint64_t cookie = VFS_COOKIE_START;
	unsigned round = 0;
	char name[32];

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		assert_int_equal(fs_create(&fs, &root, name, VFS_REGULAR, 0600, NULL), 0);
	}
	assert_int_equal(fs_readdir(&fs, &root, 0, 16, 0), -ERANGE);
	do {
		uint32_t at = 0;

		assert_int_equal(fs_readdir(&fs, &root, cookie, 8192, VFS_WANT_ATTR), 0);
		assert_true(fs.request.eof || fs.request.entry_count > 0);
		while (at < fs.request.data_length) {
			struct vfs_dirent *entry = (void *)(fs.data + at);
			unsigned index;

			at += entry->next;
			cookie = entry->cookie;
			assert_true(cookie > 2 && cookie <= INT64_MAX);
			if (sscanf(entry->name, "file-%u", &index) != 1)
				continue;
			assert_int_equal(entry->attr.type, VFS_REGULAR);
			assert_int_equal(entry->attr.fileid, entry->fileid);
			seen[index]++;
		}
		if (fs.request.eof)
			break;
		snprintf(name, sizeof(name), "file-%u", round * 2); /* even ones go */
		(void)fs_remove(&fs, &root, name);
		snprintf(name, sizeof(name), "new-%u", round++);
		assert_int_equal(fs_create(&fs, &root, name, VFS_REGULAR, 0600, NULL), 0);
	} while (round < 10000);
	for (unsigned i = 1; i < COUNT; i += 2)
		assert_int_equal(seen[i], 1);
	for (unsigned i = 0; i < COUNT; i++)
		assert_true(seen[i] <= 1);
	contract_close(&fs);
}

static void contract_xattrs(void **state)
{
	struct fs_bench fs;
	struct vfs_object root, file;
	struct vfs_request *request;
	static char big[VFS_XATTR_MAX + 1], back[VFS_XATTR_MAX];

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7);
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_GET, &file, "a", back, 10, 0), -ENODATA);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_SET, &file, "a", "12345", 5, VFS_XATTR_REPLACE),
			 -ENODATA);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_SET, &file, "a", "12345", 5, VFS_XATTR_CREATE), 0);
	assert_true(fs.request.after[0].change > fs.request.before[0].change);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_SET, &file, "a", "12345", 5, VFS_XATTR_CREATE),
			 -EEXIST);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_GET, &file, "a", back, 4, 0), -ERANGE);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_GET, &file, "a", back, 10, 0), 0);
	assert_int_equal(fs.request.data_length, 5);
	assert_memory_equal(back, "12345", 5);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_SET, &file, "b", big, sizeof(big), 0), -E2BIG);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_SET, &file, "b", big, VFS_XATTR_MAX, 0), 0);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_GET, &file, "b", back, sizeof(back), 0), 0);
	assert_memory_equal(back, big, VFS_XATTR_MAX);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_SET, &file, "a", "1", 1, 0), 0);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_GET, &file, "a", back, 0, 0), 0);
	assert_int_equal(fs.request.data_length, 1);
	request = fs_new(&fs, VFS_XATTR_LIST, &file);
	request->data = back;
	request->data_room = 100;
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->data_length, 4);
	assert_true(request->eof);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_REMOVE, &file, "b", NULL, 0, 0), 0);
	assert_int_equal(fs_xattr(&fs, VFS_XATTR_REMOVE, &file, "b", NULL, 0, 0), -ENODATA);
	request = fs_new(&fs, VFS_XATTR_LIST, &file);
	request->data = back;
	request->data_room = 100;
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->data_length, 2);
	assert_string_equal(back, "a");
	contract_close(&fs);
}

static void contract_acls(void **state)
{
	struct fs_bench fs;
	struct vfs_object root, directory, file;
	struct vfs_request *request;
	struct vfs_ace aces[VFS_ACES_MAX];
	struct vfs_ace wanted[] = {
	    {VFS_ACE_ALLOW, VFS_WHO_OWNER, 0, 0, VFS_READ_DATA | VFS_WRITE_DATA | VFS_APPEND_DATA},
	    {VFS_ACE_DENY, VFS_WHO_UID, 1001, 0, VFS_READ_DATA},
	    {VFS_ACE_ALLOW, VFS_WHO_EVERYONE, 0, 0, VFS_READ_DATA},
	};
	struct vfs_ace inherited[] = {
	    {VFS_ACE_ALLOW, VFS_WHO_UID, 1002, VFS_ACE_FILE_INHERIT, VFS_READ_DATA},
	    {VFS_ACE_ALLOW, VFS_WHO_EVERYONE, 0, 0, VFS_READ_DATA | VFS_EXECUTE},
	};

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0640, &file), 0);
	request = fs_new(&fs, VFS_ACL_GET, &file);
	request->aces = aces;
	request->ace_room = VFS_ACES_MAX;
	assert_int_equal(fs_submit(&fs), 0);
	assert_true(request->ace_count >= 3);
	assert_false(request->after[0].has_acl);
	request = fs_new(&fs, VFS_ACL_SET, &file);
	request->aces = wanted;
	request->ace_count = 3;
	assert_int_equal(fs_submit(&fs), 0);
	assert_true(request->after[0].has_acl);
	assert_int_equal(request->after[0].mode, 0644);
	fs.who.uid = fs.who.gid = 1001;
	assert_int_equal(fs_read(&fs, &file, 0, fs.data, 1), -EACCES);
	fs_new(&fs, VFS_ACL_SET, &file);
	assert_int_equal(fs_submit(&fs), -EPERM);
	fs.who.uid = fs.who.gid = 1003;
	assert_int_equal(fs_read(&fs, &file, 0, fs.data, 1), 0);
	fs.who.uid = 0;
	assert_int_equal(fs_set(&fs, &file, (struct vfs_set){.mask = VFS_SET_MODE, .mode = 0600}),
			 0);
	fs.who.uid = 1003;
	assert_int_equal(fs_read(&fs, &file, 0, fs.data, 1), -EACCES);
	fs.who.uid = 0;
	assert_int_equal(fs_create(&fs, &root, "d", VFS_DIRECTORY, 0755, &directory), 0);
	request = fs_new(&fs, VFS_ACL_SET, &directory);
	request->aces = inherited;
	request->ace_count = 2;
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(fs_create(&fs, &directory, "f", VFS_REGULAR, 0640, &file), 0);
	assert_true(fs.request.result_attr.has_acl);
	fs.who.uid = fs.who.gid = 1002;
	assert_int_equal(fs_read(&fs, &file, 0, fs.data, 1), 0);
	fs.who.uid = fs.who.gid = 1004;
	assert_int_equal(fs_read(&fs, &file, 0, fs.data, 1), -EACCES);
	contract_close(&fs);
}

/* Together with other attributes, and at creation, where nothing is inherited then. */
static void contract_acl_set(void **state)
{
	struct vfs_ace parents = {
	    .who = VFS_WHO_UID, .id = 7, .flags = VFS_ACE_FILE_INHERIT, .mask = VFS_READ_DATA};
	struct vfs_ace own[2] = {{.who = VFS_WHO_OWNER, .mask = VFS_READ_DATA},
				 {.who = VFS_WHO_EVERYONE, .mask = VFS_EXECUTE}};
	struct vfs_ace bad = {.who = VFS_WHO_OWNER, .mask = 1u << 30}, got[VFS_ACES_MAX];
	struct vfs_request *request;
	struct fs_bench fs;
	struct vfs_object root, file;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	request = fs_new(&fs, VFS_ACL_SET, &root);
	request->aces = &parents;
	request->ace_count = 1;
	assert_int_equal(fs_submit(&fs), 0);
	request = fs_new(&fs, VFS_CREATE, &root);
	fs_name(request, "f");
	request->type = VFS_REGULAR;
	request->create_how = VFS_CREATE_GUARDED;
	request->set = (struct vfs_set){.mask = VFS_SET_MODE | VFS_SET_ACL, .mode = 0666};
	request->aces = own;
	request->ace_count = 2;
	assert_int_equal(fs_submit(&fs), 0);
	file = fs.request.result_object;
	assert_int_equal(fs.request.result_attr.mode, 0511);
	assert_true(fs.request.result_attr.has_acl);
	request = fs_new(&fs, VFS_ACL_GET, &file);
	request->aces = got;
	request->ace_room = VFS_ACES_MAX;
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(request->ace_count, 2);
	assert_memory_equal(got, own, sizeof(own));
	for (unsigned size = 0; size < 2; size++) {
		request = fs_new(&fs, VFS_SETATTR, &file);
		request->set = (struct vfs_set){.mask = VFS_SET_MODE | VFS_SET_ACL |
							(size ? (unsigned)VFS_SET_SIZE : 0),
						.mode = 04777,
						.size = 5000};
		request->aces = own;
		request->ace_count = 1;
		assert_int_equal(fs_submit(&fs), 0);
		assert_int_equal(fs.request.after[0].mode, 04400);
		assert_int_equal(fs.request.after[0].size, size ? 5000 : 0);
		request->aces = &bad;
		request->set.size = 1;
		request->set.mode = 0;
		assert_int_equal(fs_submit(&fs), -EINVAL);
		assert_int_equal(fs_getattr(&fs, &file).mode, 04400);
		assert_int_equal(fs_getattr(&fs, &file).size, size ? 5000 : 0);
	}
	request = fs_new(&fs, VFS_SETATTR, &file);
	request->set.mask = VFS_SET_ACL;
	request->aces = got;
	request->ace_count = VFS_ACES_MAX + 1;
	assert_int_equal(fs_submit(&fs), -E2BIG);
	fs.who.uid = 5;
	request->ace_count = 1;
	assert_int_equal(fs_submit(&fs), -EPERM);
	contract_close(&fs);
}

static void contract_clone(void **state)
{
	static uint8_t block[4 * 4096], back[4 * 4096];
	struct fs_bench fs;
	struct vfs_object root, a, b;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i / 64 + 1);
	assert_int_equal(fs_create(&fs, &root, "a", VFS_REGULAR, 0600, &a), 0);
	assert_int_equal(fs_create(&fs, &root, "b", VFS_REGULAR, 0600, &b), 0);
	assert_int_equal(fs_write(&fs, &a, 8192, block, sizeof(block) - 100), 0);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 0, 0), 0);
	assert_int_equal(fs.request.after[1].size, 8192 + sizeof(block) - 100);
	assert_int_equal(fs_seek(&fs, &b, VFS_SEEK_DATA, 0), 8192);
	/* either may change without the other */
	assert_int_equal(fs_write(&fs, &a, 8192 + 5, "from a", 6), 0);
	assert_int_equal(fs_write(&fs, &b, 8192 + 4096, "from b", 6), 0);
	assert_int_equal(fs_read(&fs, &b, 8192, back, sizeof(back)), (int)sizeof(block) - 100);
	assert_memory_equal(back, block, 4096);
	assert_memory_equal(back + 4096, "from b", 6);
	assert_int_equal(fs_read(&fs, &a, 8192, back, sizeof(back)), (int)sizeof(block) - 100);
	assert_memory_equal(back + 5, "from a", 6);
	assert_memory_equal(back + 4096, block + 4096, sizeof(block) - 4196);
	assert_int_equal(fs_remove(&fs, &root, "a"), 0);
	assert_int_equal(fs_read(&fs, &b, 8192, back, 4096), 4096);
	assert_memory_equal(back, block, 4096);
	assert_int_equal(fs_clone(&fs, &b, 0, &b, 4096, 8192), -EINVAL);
	contract_close(&fs);
}

/* RFC 7862 15.13: offsets, ends, sizes, types, rights. */
static void contract_clone_ranges(void **state)
{
	static uint8_t block[4 * 4096], back[4 * 4096], zeros[4096];
	struct fs_bench fs;
	struct vfs_object root, a, b;
	uint64_t change;

	(void)state;
	contract_begin(&fs);
	root = fs.vfs->root;
	memset(block, 'a', sizeof(block));
	assert_int_equal(fs_create(&fs, &root, "a", VFS_REGULAR, 0600, &a), 0);
	assert_int_equal(fs_create(&fs, &root, "b", VFS_REGULAR, 0600, &b), 0);
	assert_int_equal(fs_write(&fs, &a, 0, block, 3 * 4096), 0);
	assert_int_equal(fs_truncate(&fs, &a, 2 * 4096 + 100), 0);
	assert_int_equal(fs_clone(&fs, &a, 1, &b, 0, 4096), -EINVAL);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 1, 4096), -EINVAL);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 0, 4095), -EINVAL);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 0, 3 * 4096), -EINVAL);
	assert_int_equal(fs_clone(&fs, &a, 3 * 4096, &b, 0, 0), -EINVAL);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, VFS_FILE_MAX, 4096), -EFBIG);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, VFS_FILE_MAX - 4096, 0), -EFBIG);
	assert_int_equal(fs_clone(&fs, &a, 0, &root, 0, 0), -EISDIR);
	assert_int_equal(fs_clone(&fs, &root, 0, &a, 0, 0), -EISDIR);
	fs.who.uid = 1000;
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 0, 0), -EACCES);
	fs.who.uid = 0;
	assert_int_equal(fs_getattr(&fs, &b).size, 0);
	/* over the middle of what is there: zeros behind what is cloned in part */
	memset(block, 'b', sizeof(block));
	assert_int_equal(fs_write(&fs, &b, 0, block, sizeof(block)), 0);
	change = fs_getattr(&fs, &a).change;
	assert_int_equal(fs_clone(&fs, &a, 8192, &b, 4096, 100), 0);
	assert_int_equal(fs.request.after[1].size, sizeof(block));
	assert_int_equal(fs.request.before[1].size, sizeof(block));
	assert_true(fs.request.after[1].change > fs.request.before[1].change);
	assert_int_equal(fs_getattr(&fs, &a).change, change);
	assert_int_equal(fs_read(&fs, &b, 0, back, sizeof(back)), (int)sizeof(back));
	assert_memory_equal(back, block, 4096);
	assert_int_equal(back[4096], 'a');
	assert_int_equal(back[4096 + 99], 'a');
	assert_memory_equal(back + 4096 + 100, zeros, 4096 - 100);
	assert_memory_equal(back + 8192, block, 8192);
	/* far behind the end; what is between is a hole, and zeros */
	assert_int_equal(fs_truncate(&fs, &b, 50), 0);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 1 << 20, 0), 0);
	assert_int_equal(fs_getattr(&fs, &b).size, (1 << 20) + 2 * 4096 + 100);
	assert_int_equal(fs_getattr(&fs, &b).used, 4 * 4096);
	assert_int_equal(fs_read(&fs, &b, 0, back, 8192), 8192);
	assert_memory_equal(back, block, 50);
	assert_memory_equal(back + 50, zeros, 4096 - 50);
	/* inside one file; what grows over its end finds zeros */
	assert_int_equal(fs_clone(&fs, &b, 1 << 20, &b, 4096, 8192), 0);
	assert_int_equal(fs_truncate(&fs, &a, 3 * 4096), 0);
	assert_int_equal(fs_truncate(&fs, &b, (1 << 20) + 3 * 4096), 0);
	assert_int_equal(fs_read(&fs, &b, (1 << 20) + 8192, back, 4096), 4096);
	assert_int_equal(back[99], 'a');
	assert_memory_equal(back + 100, zeros, 4096 - 100);
	assert_int_equal(fs_read(&fs, &a, 8192, back, 4096), 4096);
	assert_memory_equal(back + 100, zeros, 4096 - 100);
	contract_close(&fs);
}

#define CONTRACT_TESTS                                                                             \
	cmocka_unit_test(contract_references), cmocka_unit_test(contract_files),                   \
	    cmocka_unit_test(contract_names), cmocka_unit_test(contract_kinds),                    \
	    cmocka_unit_test(contract_create_how), cmocka_unit_test(contract_rename),              \
	    cmocka_unit_test(contract_sparse), cmocka_unit_test(contract_attributes),              \
	    cmocka_unit_test(contract_listing), cmocka_unit_test(contract_xattrs),                 \
	    cmocka_unit_test(contract_acls), cmocka_unit_test(contract_acl_set),                   \
	    cmocka_unit_test(contract_clone), cmocka_unit_test(contract_clone_ranges)

#endif
