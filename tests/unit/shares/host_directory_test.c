/* SPDX-License-Identifier: Apache-2.0 */
/* The host directory over a folder of this machine, which the test changes beside it. Opening by
 * handle takes CAP_DAC_READ_SEARCH: without, what needs it is skipped. */
#include "shares/host_directory.h"

#include <endian.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#include "shares/host.h"
#include "tests/unit/shares/fs_bench.h"

static const uint8_t uuid[16] = {7}, secret[16] = {8}, other_secret[16] = {9};

struct place {
	struct fs_bench fs;
	char base[64], path[80]; /* a folder of the test's own; what is served in it */
	const char *allowed[1];
	struct host_directory_options options;
};

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
	(void)about;
	(void)kind;
	(void)walk;
	return remove(path);
}

/* FTW_MOUNT: nothing of another file system is touched. */
static void remove_tree(const char *path)
{
	assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), 0);
}

static void make_place(struct place *place)
{
	const char *folder = getenv("TMPDIR");

	memset(place, 0, sizeof(*place));
	fs_start(&place->fs);
	snprintf(place->base, sizeof(place->base), "%.40s/host.XXXXXX", folder ? folder : "/tmp");
	assert_non_null(mkdtemp(place->base));
	snprintf(place->path, sizeof(place->path), "%s/served", place->base);
	assert_int_equal(mkdir(place->path, 0755), 0);
	place->allowed[0] = place->base;
	place->options = (struct host_directory_options){.allowed = place->allowed,
							 .allowed_count = 1,
							 .path = place->path,
							 .uuid = uuid,
							 .secret = secret};
}

/* False: this process may not. Anything else that fails is a failure. */
static bool open_place(struct place *place)
{
	int result;

	make_place(place);
	result = host_directory_open(&place->options, &place->fs.vfs, &place->fs.err);
	if (result == -EPERM && geteuid() != 0) {
		remove_tree(place->base);
		loop_destroy(place->fs.loop);
		return false;
	}
	if (result)
		fail_msg("%s", place->fs.err.text);
	return true;
}

#define OPEN_OR_SKIP(place)                                                                        \
	do                                                                                         \
		if (!open_place(place))                                                            \
			skip();                                                                    \
	while (0)

static void close_place(struct place *place)
{
	fs_stop(&place->fs);
	remove_tree(place->base);
}

static const char *at(const struct place *place, const char *name)
{
	static char text[4][400];
	static unsigned next;
	char *made = text[next++ % 4];

	snprintf(made, sizeof(text[0]), "%s/%s", place->path, name);
	return made;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static struct vfs_object find(struct place *place, const struct vfs_object *directory,
			      const char *name)
{
	struct vfs_object found = {0};

	assert_int_equal(fs_lookup(&place->fs, directory, name, &found), 0);
	return found;
}

static int getattr(struct place *place, const struct vfs_object *object)
{
	fs_new(&place->fs, VFS_GETATTR, object);
	return fs_submit(&place->fs);
}

/* ---- what may be opened */

static void only_what_is_allowed(void **state)
{
	static const struct {
		const char *path, *allowed;
		int result;
	} rows[] = {
	    {"served", NULL, -EACCES},    /* nothing is, unless it is said */
	    {"served", "other", -EACCES}, /* beside it */
	    {"served", "serve", -EACCES}, /* a beginning of a name is no directory above */
	    {"link", "", -ELOOP},         /* a symbolic link is not followed */
	    {"link/in", "", -ELOOP},      /* in the middle neither */
	    {"served/../../etc", "served", -EINVAL}, /* nor does it lead out */
	    {"served/.", "served", -EINVAL},         /* a directory has one name */
	    {"served/", "served", -EINVAL},
	    {"/served", "", -EINVAL},
	    {"absent", "", -ENOENT},
	    {"file", "", -ENOTDIR},
	};
	struct place place;
	char base[100], path[160];

	(void)state;
	make_place(&place);
	place.options.allowed = place.allowed;
	snprintf(base, sizeof(base), "%s/link", place.base);
	assert_int_equal(symlink(place.path, base), 0);
	assert_int_equal(mkdir(at(&place, "in"), 0755), 0);
	snprintf(base, sizeof(base), "%s/file", place.base);
	write_file(base, "x");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(base, sizeof(base), "%s/%s", place.base,
			 rows[i].allowed ? rows[i].allowed : "");
		snprintf(path, sizeof(path), "%s/%s", place.base, rows[i].path);
		place.allowed[0] = base;
		place.options.allowed_count = rows[i].allowed ? 1 : 0;
		place.options.path = path;
		assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err),
				 rows[i].result);
		assert_non_null(strstr(place.fs.err.text, path));
	}
	place.options.allowed_count = 1;
	place.options.path = "served";
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err),
			 -EINVAL);
	place.allowed[0] = "/";
	place.options.path = "/proc/self"; /* a symbolic link */
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err), -ELOOP);
	close_place(&place);
}

static void check_refused(struct place *place, const char *path, const char *why)
{
	place->options.path = path;
	assert_int_equal(host_directory_open(&place->options, &place->fs.vfs, &place->fs.err),
			 -EACCES);
	if (!strstr(place->fs.err.text, why))
		fail_msg("%s: %s", path, place->fs.err.text);
}

/* Neither what is guarded, nor what is in it, nor what it is in; by whatever way it is named. */
static void never_served(void **state)
{
	struct place place;
	char secret_file[100], link[100], inner[120];
	const char *guarded[2] = {NULL, "/absent/file"};

	(void)state;
	make_place(&place);
	place.allowed[0] = "/";
	place.options.path = "/";
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err),
			 -EINVAL);
	check_refused(&place, "/proc/sys", "it is in /proc");
	check_refused(&place, "/dev", "it is in /dev");
	check_refused(&place, "/etc", "it is in /etc");
	place.options.guarded = guarded;
	place.options.guarded_count = 2;
	guarded[0] = place.path;
	check_refused(&place, place.path, "it is in");
	check_refused(&place, place.base, "is in it");
	snprintf(inner, sizeof(inner), "%s", at(&place, "inner"));
	assert_int_equal(mkdir(inner, 0755), 0);
	check_refused(&place, inner, "it is in");
	snprintf(secret_file, sizeof(secret_file), "%s/secret", place.base);
	write_file(secret_file, "x");
	snprintf(link, sizeof(link), "%s/link", place.path);
	assert_int_equal(symlink(secret_file, link), 0);
	guarded[0] = link; /* what a link leads to is what is guarded, not where the link is */
	check_refused(&place, place.base, "is in it");
	close_place(&place);
}

/* What is not there does not matter, and what is guarded beside it neither. */
static void served_beside(void **state)
{
	struct place place;
	char beside[100];
	const char *guarded[2] = {beside, "/absent/file"};

	(void)state;
	OPEN_OR_SKIP(&place);
	snprintf(beside, sizeof(beside), "%s/beside", place.base);
	write_file(beside, "x");
	place.options.guarded = guarded;
	place.options.guarded_count = 2;
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), 0);
	close_place(&place);
}

/* A disk that is mounted later, a folder that another one has taken the place of. */
static void looked_at(void **state)
{
	struct place place;
	char aside[100];

	(void)state;
	OPEN_OR_SKIP(&place);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), 0);
	snprintf(aside, sizeof(aside), "%s/aside", place.base);
	assert_int_equal(rename(place.path, aside), 0);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), -ENOENT);
	assert_int_equal(mkdir(place.path, 0755), 0);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err),
			 -ENOTUNIQ);
	assert_int_equal(rmdir(place.path), 0);
	assert_int_equal(rename(aside, place.path), 0);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), 0);
	close_place(&place);
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

/* ---- mounts: in a child with its own view of them; nothing is left when it ends */

static void check_mounts(struct place *place)
{
	struct fs_bench *fs = &place->fs;
	struct vfs_object root = fs->vfs->root, covered;
	uint8_t seen = 0;

	assert_int_equal(mkdir(at(place, "disk"), 0755), 0);
	write_file(at(place, "file"), "below");
	write_file(at(place, "plain"), "plain");
	covered = find(place, &root, "disk");
	assert_int_equal(mount("none", at(place, "disk"), "tmpfs", 0, ""), 0);
	write_file(at(place, "disk/strange"), "of another file system");
	assert_int_equal(mount(at(place, "plain"), at(place, "file"), NULL, MS_BIND, NULL), 0);
	assert_int_equal(fs_lookup(fs, &root, "disk", NULL), -ENOENT);
	assert_int_equal(fs_lookup(fs, &root, "file", NULL), -ENOENT);
	/* what was found before is the directory below, not what is mounted on it */
	assert_int_equal(fs_lookup(fs, &covered, "strange", NULL), -ENOENT);
	for (unsigned flags = 0; flags <= VFS_WANT_ATTR; flags += VFS_WANT_ATTR) {
		assert_int_equal(fs_readdir(fs, &root, 0, 4096, flags), 0);
		assert_true(fs->request.eof);
		assert_int_equal(fs->request.entry_count, 1);
		seen += strcmp(((struct vfs_dirent *)(void *)fs->data)->name, "plain") == 0;
	}
	assert_int_equal(seen, 2);
	assert_int_equal(umount(at(place, "file")), 0);
	assert_int_equal(umount(at(place, "disk")), 0);
	covered = find(place, &root, "file");
}

/* What is mounted from elsewhere is still in what it is in. */
static void check_guarded_mounts(struct place *place)
{
	struct host_directory_options *options = &place->options;
	const char *guarded[1];
	struct vfs *vfs;
	char state[100], elsewhere[100];

	options->guarded = guarded;
	options->guarded_count = 1;
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", place->base);
	snprintf(state, sizeof(state), "%s/state", place->path);
	assert_int_equal(mkdir(elsewhere, 0755), 0);
	assert_int_equal(mkdir(state, 0755), 0);
	assert_int_equal(mkdir(at(place, "state/below"), 0755), 0);
	/* the guarded one is in what is served, and reached by another way */
	guarded[0] = elsewhere;
	assert_int_equal(mount(state, elsewhere, NULL, MS_BIND, NULL), 0);
	assert_int_equal(host_directory_open(options, &vfs, &place->fs.err), -EACCES);
	assert_non_null(strstr(place->fs.err.text, "is in it"));
	assert_int_equal(umount(elsewhere), 0);
	assert_int_equal(host_directory_look(place->fs.vfs, options, &place->fs.err), 0);
	/* what is to be served is a part of the guarded one */
	guarded[0] = state;
	options->path = elsewhere;
	assert_int_equal(mount(at(place, "state/below"), elsewhere, NULL, MS_BIND, NULL), 0);
	assert_int_equal(host_directory_open(options, &vfs, &place->fs.err), -EACCES);
	assert_non_null(strstr(place->fs.err.text, "it is in"));
	assert_int_equal(umount(elsewhere), 0);
	/* and beside it is beside it */
	assert_int_equal(mkdir(at(place, "beside"), 0755), 0);
	assert_int_equal(mount(at(place, "beside"), elsewhere, NULL, MS_BIND, NULL), 0);
	assert_int_equal(host_directory_open(options, &vfs, &place->fs.err), 0);
	vfs_unref(vfs);
	assert_int_equal(umount(elsewhere), 0);
}

static void with_own_mounts(void (*check)(struct place *place))
{
	struct place place;
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip();
	child = fork(); /* before there are threads */
	assert_true(child >= 0);
	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(77);
		if (!open_place(&place))
			_exit(77);
		check(&place);
		close_place(&place);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void mount_points(void **state)
{
	(void)state;
	with_own_mounts(check_mounts);
}

static void guarded_mounts(void **state)
{
	(void)state;
	with_own_mounts(check_guarded_mounts);
}

/* Without CAP_DAC_READ_SEARCH it is said what is missing. */
static void check_privilege(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	struct place place;

	make_place(&place);
	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[0].effective &= ~(1u << CAP_DAC_READ_SEARCH);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err), -EPERM);
	assert_non_null(strstr(place.fs.err.text, "CAP_DAC_READ_SEARCH"));
	close_place(&place);
}

static void without_privilege(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		check_privilege();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
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
	    cmocka_unit_test(mount_points),
	    cmocka_unit_test(guarded_mounts),
	    cmocka_unit_test(without_privilege),
	    cmocka_unit_test(only_what_is_allowed),
	    cmocka_unit_test(never_served),
	    cmocka_unit_test(served_beside),
	    cmocka_unit_test(looked_at),
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
