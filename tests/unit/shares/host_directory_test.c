/* SPDX-License-Identifier: Apache-2.0 */
/* The host directory over a folder of this machine, which the test changes beside it: contents,
 * handles, rights, listing. host_guard_test.c: which folders may be served. */
#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>
#include <time.h>

#include "shares/host.h"
#include "tests/unit/shares/host_place.h"

static const uint8_t other_secret[16] = {9};

static int getattr(struct place *place, const struct vfs_object *object)
{
	fs_new(&place->fs, VFS_GETATTR, object);
	return fs_submit(&place->fs);
}

/* ---- reading */

static void contents_and_names(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, folder, file, found;
	struct vfs_request *request;
	struct stat about;
	char text[64];

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	write_file(at(&place, "file"), "hello, host");
	assert_int_equal(mkdir(at(&place, "folder"), 0750), 0);
	write_file(at(&place, "folder/in"), "inside");
	assert_int_equal(fs_getattr(fs, &root).type, VFS_DIRECTORY);
	assert_int_equal(fs_getattr(fs, &root).fileid, fs->vfs->root_fileid);
	file = find(&place, &root, "file");
	assert_int_equal(stat(at(&place, "file"), &about), 0);
	assert_int_equal(fs->request.result_attr.type, VFS_REGULAR);
	assert_int_equal(fs->request.result_attr.mode, about.st_mode & 07777);
	assert_int_equal(fs->request.result_attr.fileid, about.st_ino);
	assert_int_equal(fs->request.result_attr.size, 11);
	assert_int_equal(fs->request.result_attr.used, about.st_blocks * 512);
	assert_int_equal(fs->request.result_attr.mtime,
			 about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec);
	assert_int_equal(fs_read(fs, &file, 0, text, sizeof(text)), 11);
	assert_true(fs->request.eof);
	assert_memory_equal(text, "hello, host", 11);
	assert_int_equal(fs_read(fs, &file, 7, text, 3), 3);
	assert_false(fs->request.eof);
	assert_memory_equal(text, "hos", 3);
	assert_int_equal(fs_read(fs, &file, 7, text, 4), 4);
	assert_true(fs->request.eof);
	assert_int_equal(fs_read(fs, &file, UINT64_MAX, text, 4), 0);
	assert_true(fs->request.eof);
	assert_int_equal(fs_read(fs, &root, 0, text, 4), -EISDIR);
	folder = find(&place, &root, "folder");
	found = find(&place, &folder, "..");
	assert_true(vfs_object_equal(&found, &root));
	found = find(&place, &root, "..");
	assert_true(vfs_object_equal(&found, &root));
	found = find(&place, &folder, ".");
	assert_true(vfs_object_equal(&found, &folder));
	fs_new(fs, VFS_LOOKUP_PARENT, &folder);
	assert_int_equal(fs_submit(fs), 0);
	assert_true(vfs_object_equal(&fs->request.result_object, &root));
	fs_new(fs, VFS_LOOKUP_PARENT, &root);
	assert_int_equal(fs_submit(fs), -ENOENT);
	assert_int_equal(fs_lookup(fs, &file, "x", NULL), -ENOTDIR);
	assert_int_equal(fs_lookup(fs, &root, "absent", NULL), -ENOENT);
	/* nothing is written, and a COMMIT has nothing to do */
	assert_int_equal(fs_write(fs, &file, 0, "x", 1), -EROFS);
	assert_int_equal(fs_create(fs, &root, "new", VFS_REGULAR, 0644, NULL), -EROFS);
	assert_int_equal(fs_remove(fs, &root, "file"), -EROFS);
	assert_int_equal(fs_rename(fs, &root, "file", &root, "other"), -EROFS);
	assert_int_equal(fs_truncate(fs, &file, 0), -EROFS);
	assert_int_equal(fs_link(fs, &file, &root, "hard"), -EROFS);
	fs_new(fs, VFS_COMMIT, &file);
	assert_int_equal(fs_submit(fs), 0);
	request = fs_new(fs, VFS_ACCESS, &file);
	request->rights = VFS_RIGHTS_ALL;
	assert_int_equal(fs_submit(fs), 0);
	assert_true(request->rights & VFS_READ_DATA);
	assert_false(request->rights & (VFS_WRITE_DATA | VFS_APPEND_DATA | VFS_WRITE_ATTRIBUTES));
	fs_new(fs, VFS_FSSTAT, &root);
	assert_int_equal(fs_submit(fs), 0);
	assert_true(fs->request.fsstat.total_bytes >= fs->request.fsstat.free_bytes);
	assert_true(fs->request.fsstat.free_bytes >= fs->request.fsstat.available_bytes);
	assert_true(fs->request.fsstat.total_bytes > 0);
	close_place(&place);
}

/* Several pieces, and more of them than one preadv() takes. */
static void scattered_read(void **state)
{
	static char pieces[100][7];
	struct iovec iov[100];
	struct place place;
	struct vfs_request *request;
	struct vfs_object file;
	char text[702];

	(void)state;
	OPEN_OR_SKIP(&place);
	for (unsigned i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i % 23);
	text[701] = '\0';
	write_file(at(&place, "file"), text);
	file = find(&place, &place.fs.vfs->root, "file");
	request = fs_new(&place.fs, VFS_READ, &file);
	for (unsigned i = 0; i < 100; i++)
		iov[i] = (struct iovec){.iov_base = pieces[i], .iov_len = 7};
	request->offset = 1;
	request->length = 700;
	request->iov = iov;
	request->iov_count = 100;
	assert_int_equal(fs_submit(&place.fs), 0);
	assert_int_equal(request->count, 700);
	assert_true(request->eof);
	assert_memory_equal(pieces, text + 1, 700);
	close_place(&place);
}

static void holes(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object file;
	int fd;

	(void)state;
	OPEN_OR_SKIP(&place);
	fd = open(at(&place, "sparse"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4 << 20), 0);
	assert_int_equal(pwrite(fd, fs->data, 65536, 1 << 20), 65536);
	close(fd);
	file = find(&place, &fs->vfs->root, "sparse");
	assert_int_equal(fs_seek(fs, &file, VFS_SEEK_DATA, 0), 1 << 20);
	assert_int_equal(fs_seek(fs, &file, VFS_SEEK_HOLE, 0), 0);
	assert_false(fs->request.eof);
	assert_int_equal(fs_seek(fs, &file, VFS_SEEK_HOLE, 1 << 20), (1 << 20) + 65536);
	assert_int_equal(fs_seek(fs, &file, VFS_SEEK_DATA, (1 << 20) + 65536), -ENXIO);
	assert_int_equal(fs_seek(fs, &file, VFS_SEEK_DATA, 4 << 20), -ENXIO);
	assert_int_equal(fs_seek(fs, &file, VFS_SEEK_HOLE, UINT64_MAX), -ENXIO);
	write_file(at(&place, "full"), "all of it");
	file = find(&place, &fs->vfs->root, "full");
	assert_int_equal(fs_seek(fs, &file, VFS_SEEK_HOLE, 2), 9);
	assert_true(fs->request.eof);
	close_place(&place);
}

/* ---- handles */

static void stale_handles(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, file, again, moved;
	struct stat before, after;
	bool reused = false;
	char text[8];

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	write_file(at(&place, "file"), "one");
	file = find(&place, &root, "file");
	assert_int_equal(rename(at(&place, "file"), at(&place, "renamed")), 0);
	assert_int_equal(fs_read(fs, &file, 0, text, 3), 3);
	moved = find(&place, &root, "renamed");
	assert_true(vfs_object_equal(&moved, &file));
	assert_int_equal(stat(at(&place, "renamed"), &before), 0);
	assert_int_equal(unlink(at(&place, "renamed")), 0);
	assert_int_equal(getattr(&place, &file), -ESTALE);
	/* The number is given out again, the handle is not good for who has it now. */
	for (unsigned i = 0; i < 200 && !reused; i++) {
		char name[16];

		snprintf(name, sizeof(name), "new%u", i);
		write_file(at(&place, name), "two");
		assert_int_equal(stat(at(&place, name), &after), 0);
		reused = after.st_ino == before.st_ino;
		if (reused) {
			again = find(&place, &root, name);
			assert_false(vfs_object_equal(&again, &file));
			assert_int_equal(fs_read(fs, &again, 0, text, 3), 3);
		}
		assert_int_equal(getattr(&place, &file), -ESTALE);
		assert_int_equal(fs_read(fs, &file, 0, text, 3), -ESTALE);
	}
	if (!reused)
		print_message("this file system does not use the inode again at once\n");
	/* One that somebody else has open and nobody a name of is gone too. */
	write_file(at(&place, "open"), "three");
	file = find(&place, &root, "open");
	int fd = open(at(&place, "open"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(unlink(at(&place, "open")), 0);
	assert_int_equal(getattr(&place, &file), -ESTALE);
	close(fd);
	close_place(&place);
}

static void forged_handles(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct host_directory_options options;
	struct vfs_object root, file, forged, foreign;
	struct vfs *own, *other;

	(void)state;
	OPEN_OR_SKIP(&place);
	own = fs->vfs;
	root = own->root;
	write_file(at(&place, "file"), "one");
	file = find(&place, &root, "file");
	for (unsigned i = 0; i < file.length * 8u; i++) {
		forged = file;
		forged.bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(getattr(&place, &forged), -ESTALE);
		fs_new(fs, VFS_RELEASE, &forged);
		assert_int_equal(fs_submit(fs), -ESTALE);
	}
	for (unsigned length = 0; length <= VFS_OBJECT_MAX; length++) {
		forged = file;
		forged.length = (uint8_t)length;
		assert_int_equal(getattr(&place, &forged), length == file.length ? 0 : -ESTALE);
	}
	forged = file;
	forged.length = 255;
	assert_int_equal(getattr(&place, &forged), -ESTALE);
	/* A handle of the directory above, and of one beside it with another secret: not ours. */
	options = place.options;
	options.path = place.base;
	assert_int_equal(host_directory_open(&options, &other, &fs->err), 0);
	foreign = other->root;
	assert_int_equal(getattr(&place, &foreign), -ESTALE);
	fs->vfs = other;
	assert_int_equal(fs_lookup(fs, &foreign, "served", &foreign), 0);
	assert_int_equal(getattr(&place, &foreign), 0);
	assert_int_equal(getattr(&place, &root), -ESTALE);
	fs->vfs = own;
	assert_int_equal(getattr(&place, &foreign), -ESTALE);
	vfs_unref(other);
	options = place.options;
	options.secret = other_secret;
	assert_int_equal(host_directory_open(&options, &other, &fs->err), 0);
	fs->vfs = other;
	assert_int_equal(getattr(&place, &file), -ESTALE);
	vfs_unref(other);
	/* Opened anew, as after a restart, they are what they were. */
	options = place.options;
	assert_int_equal(host_directory_open(&options, &other, &fs->err), 0);
	fs->vfs = other;
	assert_int_equal(getattr(&place, &file), 0);
	vfs_unref(own);
	close_place(&place);
}

static void moved_out(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, folder, deep;
	char away[100];

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	assert_int_equal(mkdir(at(&place, "folder"), 0755), 0);
	assert_int_equal(mkdir(at(&place, "folder/deep"), 0755), 0);
	write_file(at(&place, "folder/deep/file"), "one");
	folder = find(&place, &root, "folder");
	deep = find(&place, &folder, "deep");
	assert_int_equal(fs_lookup(fs, &deep, "file", NULL), 0);
	snprintf(away, sizeof(away), "%s/away", place.base);
	assert_int_equal(rename(at(&place, "folder"), away), 0);
	assert_int_equal(getattr(&place, &folder), -ESTALE);
	assert_int_equal(getattr(&place, &deep), -ESTALE);
	assert_int_equal(fs_lookup(fs, &deep, "file", NULL), -ESTALE);
	assert_int_equal(fs_lookup(fs, &folder, "..", NULL), -ESTALE);
	assert_int_equal(fs_readdir(fs, &deep, 0, 4096, 0), -ESTALE);
	assert_int_equal(rename(away, at(&place, "back")), 0);
	assert_int_equal(fs_lookup(fs, &deep, "file", NULL), 0);
	close_place(&place);
}

static void symbolic_links(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, link;
	struct vfs_request *request;
	char text[VFS_SYMLINK_MAX];

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	assert_int_equal(symlink("/etc", at(&place, "out")), 0);
	link = find(&place, &root, "out");
	assert_int_equal(fs->request.result_attr.type, VFS_SYMLINK);
	assert_int_equal(fs_lookup(fs, &link, "passwd", NULL), -ENOTDIR);
	assert_int_equal(fs_readdir(fs, &link, 0, 4096, 0), -ENOTDIR);
	assert_int_equal(fs_read(fs, &link, 0, text, 4), -EINVAL);
	request = fs_new(fs, VFS_READLINK, &link);
	request->data = text;
	request->data_room = sizeof(text);
	assert_int_equal(fs_submit(fs), 0);
	assert_int_equal(request->data_length, 4);
	assert_memory_equal(text, "/etc", 4);
	request->data_room = 3;
	assert_int_equal(fs_submit(fs), -ERANGE);
	fs_new(fs, VFS_READLINK, &root);
	assert_int_equal(fs_submit(fs), -EINVAL);
	/* Reading a FIFO would wait for its writer. */
	assert_int_equal(mkfifo(at(&place, "fifo"), 0644), 0);
	link = find(&place, &root, "fifo");
	assert_int_equal(fs_read(fs, &link, 0, text, 4), -EINVAL);
	fs_new(fs, VFS_HOLD, &link);
	assert_int_equal(fs_submit(fs), 0);
	fs_new(fs, VFS_RELEASE, &link);
	assert_int_equal(fs_submit(fs), 0);
	close_place(&place);
}

/* ---- held */

static void held(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, file;
	char text[8];

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	write_file(at(&place, "file"), "kept");
	fs_name(fs_new(fs, VFS_LOOKUP, &root), "file");
	fs->request.flags = VFS_HOLD_RESULT;
	assert_int_equal(fs_submit(fs), 0);
	file = fs->request.result_object;
	fs_new(fs, VFS_HOLD, &file);
	assert_int_equal(fs_submit(fs), 0);
	assert_int_equal(unlink(at(&place, "file")), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fs_read(fs, &file, 0, text, 8), 4);
		assert_memory_equal(text, "kept", 4);
		assert_int_equal(fs_getattr(fs, &file).links, 0);
		fs_new(fs, VFS_RELEASE, &file);
		assert_int_equal(fs_submit(fs), 0);
	}
	assert_int_equal(getattr(&place, &file), -ESTALE);
	fs_new(fs, VFS_RELEASE, &file);
	assert_int_equal(fs_submit(fs), -EINVAL);
	/* What is held when the directory is closed is let go: sanitizers see what is left. */
	write_file(at(&place, "file"), "again");
	file = find(&place, &root, "file");
	fs_new(fs, VFS_HOLD, &file);
	assert_int_equal(fs_submit(fs), 0);
	close_place(&place);
}

/* ---- what clients are told of changes */

static void changes(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, file;
	struct vfs_attr before, after;

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	write_file(at(&place, "file"), "1");
	file = find(&place, &root, "file");
	for (unsigned i = 0; i < 5; i++) { /* a tick of any clock is shorter than the wait */
		static const struct timespec wait = {.tv_nsec = 20000000};

		before = fs_getattr(fs, &file);
		assert_int_equal(fs_getattr(fs, &file).change, before.change);
		nanosleep(&wait, NULL);
		if (i < 3)
			write_file(at(&place, "file"), i % 2 ? "22" : "333");
		else
			assert_int_equal(chmod(at(&place, "file"), 0600 + i), 0);
		after = fs_getattr(fs, &file);
		assert_true(after.change > before.change);
	}
	close_place(&place);
}

/* In one tick of the kernel's clock a size makes the difference; a later tick is always more. Each
 * of the files that grow by a page has another 12 bits, but for some that are alike by chance. */
static void change_attribute(void **state)
{
	const int64_t time = 1700000000123456789;
	unsigned alike = 0;

	(void)state;
	for (uint64_t size = 0; size < 1000 * 4096; size += 4096) {
		alike += host_change(time, time, size) == host_change(time, time, size + 4096);
		assert_true(host_change(time + 4096, time, size) > host_change(time, time, 0));
	}
	assert_true(alike < 5);
	assert_true(host_change(time, time, 5) != host_change(time, time - 1000000, 5));
}

/* ---- rights */

static void set_acl(const char *path, uint32_t uid, unsigned named, unsigned mask)
{
	struct {
		struct posix_acl_xattr_header head;
		struct posix_acl_xattr_entry entry[5];
	} acl = {.head = {htole32(POSIX_ACL_XATTR_VERSION)},
		 .entry = {{htole16(ACL_USER_OBJ), htole16(6), 0},
			   {htole16(ACL_USER), htole16((uint16_t)named), htole32(uid)},
			   {htole16(ACL_GROUP_OBJ), 0, 0},
			   {htole16(ACL_MASK), htole16((uint16_t)mask), 0},
			   {htole16(ACL_OTHER), htole16(4), 0}}};

	assert_int_equal(setxattr(path, "system.posix_acl_access", &acl, sizeof(acl), 0), 0);
}

static uint32_t rights_of(struct place *place, const struct vfs_object *object)
{
	struct vfs_request *request = fs_new(&place->fs, VFS_ACCESS, object);

	request->rights = VFS_READ_DATA | VFS_WRITE_DATA;
	assert_int_equal(fs_submit(&place->fs), 0);
	return request->rights;
}

static void rights(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, file, folder;
	char text[8];

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	write_file(at(&place, "file"), "secret");
	assert_int_equal(chmod(at(&place, "file"), 0640), 0);
	assert_int_equal(mkdir(at(&place, "folder"), 0700), 0);
	write_file(at(&place, "folder/in"), "x");
	file = find(&place, &root, "file");
	folder = find(&place, &root, "folder");
	fs->who = (struct vfs_credentials){.uid = 1000, .gid = 1000};
	assert_int_equal(fs_read(fs, &file, 0, text, 6), -EACCES);
	assert_int_equal(rights_of(&place, &file), 0);
	assert_int_equal(fs_lookup(fs, &folder, "in", NULL), -EACCES);
	assert_int_equal(fs_readdir(fs, &folder, 0, 4096, 0), -EACCES);
	fs->who.gid = getegid();
	assert_int_equal(fs_read(fs, &file, 0, text, 6), 6);
	assert_int_equal(rights_of(&place, &file), VFS_READ_DATA);
	fs->who.gid = 1000;
	/* An ACL: named users have what it says, and the group's bits of the mode are its mask. */
	set_acl(at(&place, "file"), 1000, 4, 4);
	assert_int_equal(fs_read(fs, &file, 0, text, 6), 6);
	set_acl(at(&place, "file"), 1000, 4, 0);
	assert_int_equal(fs_read(fs, &file, 0, text, 6), -EACCES);
	set_acl(at(&place, "file"), 1001, 6, 6);
	assert_int_equal(fs_read(fs, &file, 0, text, 6), 6); /* everybody else may read */
	fs->who.gid = getegid(); /* the owning group may not, though the mode says rw for it */
	assert_int_equal(fs_getattr(fs, &file).mode & 0070, 0060);
	assert_int_equal(fs_read(fs, &file, 0, text, 6), -EACCES);
	assert_int_equal(rights_of(&place, &file), 0);
	fs->who = (struct vfs_credentials){0};
	assert_int_equal(fs_read(fs, &file, 0, text, 6), 6);
	close_place(&place);
}

/* ---- listing */

#define MANY 10000u

/* Lists all in pieces of @room, calls @meanwhile after the first one; how often each was seen. */
static unsigned list_all(struct place *place, uint32_t room, unsigned flags, uint8_t *seen,
			 void (*meanwhile)(struct place *place))
{
	struct fs_bench *fs = &place->fs;
	struct vfs_object root = fs->vfs->root;
	uint64_t cookie = 0;
	unsigned pieces = 0;

	memset(seen, 0, MANY);
	do {
		const uint8_t *entry = fs->data;

		assert_int_equal(fs_readdir(fs, &root, cookie, room, flags), 0);
		assert_true(fs->request.entry_count > 0 || fs->request.eof);
		for (unsigned i = 0; i < fs->request.entry_count; i++) {
			const struct vfs_dirent *one = (const void *)entry;
			unsigned long number = strtoul(one->name + 1, NULL, 10);

			assert_true(one->cookie > 2 && one->cookie <= INT64_MAX);
			assert_int_equal(one->name_length, strlen(one->name));
			assert_int_equal(one->attr.type, flags ? VFS_REGULAR : VFS_NONE);
			assert_int_equal(one->type, VFS_REGULAR);
			if (one->name[0] == 'f' && number < MANY)
				seen[number]++;
			cookie = one->cookie;
			entry += one->next;
		}
		assert_true(pieces < MANY);
		if (++pieces == 1 && meanwhile)
			meanwhile(place);
	} while (!fs->request.eof);
	return pieces;
}

/* Every odd one goes; others come. */
static void disturb(struct place *place)
{
	char name[32];

	for (unsigned i = 1; i < MANY; i += 2) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(unlink(at(place, name)), 0);
	}
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		write_file(at(place, name), "");
	}
}

static void many_entries(void **state)
{
	static uint8_t seen[MANY];
	struct place place;
	char name[32];

	(void)state;
	OPEN_OR_SKIP(&place);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		write_file(at(&place, name), "");
	}
	assert_true(list_all(&place, 8192, 0, seen, NULL) > 10);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(seen[i], 1);
	list_all(&place, sizeof(place.fs.data), VFS_WANT_ATTR, seen, NULL);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(seen[i], 1);
	list_all(&place, 16384, VFS_WANT_ATTR, seen, disturb);
	for (unsigned i = 0; i < MANY; i += 2)
		assert_int_equal(seen[i], 1);
	assert_int_equal(fs_readdir(&place.fs, &place.fs.vfs->root, 0, 16, 0), -ERANGE);
	assert_int_equal(fs_readdir(&place.fs, &place.fs.vfs->root, UINT64_MAX, 4096, 0), -EINVAL);
	close_place(&place);
}

/* The objects that a listing gives are those that are found by name. */
static void listed_objects(void **state)
{
	struct place place;
	struct fs_bench *fs = &place.fs;
	struct vfs_object root, listed;
	char name[32];

	(void)state;
	OPEN_OR_SKIP(&place);
	root = fs->vfs->root;
	assert_int_equal(fs_readdir(fs, &root, 0, 4096, VFS_WANT_ATTR), 0);
	assert_true(fs->request.eof);
	assert_int_equal(fs->request.entry_count, 0);
	write_file(at(&place, "one"), "1");
	assert_int_equal(fs_readdir(fs, &root, 0, 4096, VFS_WANT_ATTR), 0);
	assert_int_equal(fs->request.entry_count, 1);
	listed = ((struct vfs_dirent *)(void *)fs->data)->object;
	snprintf(name, sizeof(name), "%s", ((struct vfs_dirent *)(void *)fs->data)->name);
	assert_string_equal(name, "one");
	root = find(&place, &root, name);
	assert_true(vfs_object_equal(&listed, &root));
	close_place(&place);
}

/* ---- many at a time, from one loop, and taken back */

struct crowd {
	struct message message;
	struct place *place;
	struct vfs_object file;
	struct vfs_request requests[200];
	unsigned done, good, cancelled;
};

static struct crowd *crowd_now;

static void crowd_done(struct vfs_request *request, int result)
{
	(void)request;
	crowd_now->done++;
	crowd_now->good += result == 0;
	crowd_now->cancelled += result == -ECANCELED;
}

static void crowd_begin(struct message *message)
{
	struct crowd *crowd = container_of(message, struct crowd, message);

	for (unsigned i = 0; i < 200; i++) {
		struct vfs_request *request = &crowd->requests[i];

		memset(request, 0, sizeof(*request));
		request->op = VFS_GETATTR;
		request->object = crowd->file;
		request->credentials = &crowd->place->fs.who;
		request->done = crowd_done;
		vfs_submit(crowd->place->fs.vfs, request);
	}
	for (unsigned i = 100; i < 200; i++) {
		vfs_cancel(&crowd->requests[i]);
		vfs_cancel(&crowd->requests[i]);
	}
	assert_int_equal(crowd->done, 0);
}

static void a_crowd(void **state)
{
	static struct crowd crowd;
	struct place place;

	(void)state;
	OPEN_OR_SKIP(&place);
	memset(&crowd, 0, sizeof(crowd));
	write_file(at(&place, "file"), "x");
	crowd.file = find(&place, &place.fs.vfs->root, "file");
	crowd.place = &place;
	crowd_now = &crowd;
	loop_post(place.fs.loop, &crowd.message, crowd_begin);
	for (unsigned i = 0; i < 20000 && crowd.done < 200; i++)
		loop_poll(place.fs.loop, 1000000);
	assert_int_equal(crowd.done, 200);
	assert_int_equal(crowd.good + crowd.cancelled, 200);
	assert_true(crowd.good >= 100); /* those that nobody took back */
	close_place(&place);
}

/* A vfs that can not have its memory says so, and leaves nothing behind. */
static void short_of_memory(void **state)
{
	struct place place;
	struct vfs *vfs;

	(void)state;
	OPEN_OR_SKIP(&place);
	heap_fail_after(0);
	assert_int_equal(host_directory_open(&place.options, &vfs, &place.fs.err), -ENOMEM);
	assert_int_equal(getattr(&place, &place.fs.vfs->root), -ENOMEM);
	heap_fail_after(-1);
	assert_int_equal(getattr(&place, &place.fs.vfs->root), 0);
	close_place(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(contents_and_names),
	    cmocka_unit_test(scattered_read),
	    cmocka_unit_test(holes),
	    cmocka_unit_test(stale_handles),
	    cmocka_unit_test(forged_handles),
	    cmocka_unit_test(moved_out),
	    cmocka_unit_test(symbolic_links),
	    cmocka_unit_test(held),
	    cmocka_unit_test(changes),
	    cmocka_unit_test(change_attribute),
	    cmocka_unit_test(rights),
	    cmocka_unit_test(many_entries),
	    cmocka_unit_test(listed_objects),
	    cmocka_unit_test(a_crowd),
	    cmocka_unit_test(short_of_memory),
	};

	umask(022);
	return cmocka_run_group_tests_name("shares/host_directory", tests, NULL, NULL);
}
