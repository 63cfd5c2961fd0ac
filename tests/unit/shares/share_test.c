/* SPDX-License-Identifier: Apache-2.0 */
#include "core/bytes.h"
#include "shares/shares.h"
#include "tests/unit/shares/contract.h"

/* The share over a volume in RAM: the contract, and what only a share has. */
static struct volume *volume;

struct call {
	struct share_call call;
	int result;
	bool done;
};

static void call_done(struct share_call *call, int result)
{
	struct call *mine = container_of(call, struct call, call);

	mine->result = result;
	mine->done = true;
}

static int call_wait(struct fs_bench *fs, struct call *call)
{
	for (unsigned i = 0; i < 20000 && !call->done; i++)
		loop_poll(fs->loop, 1000000);
	assert_true(call->done);
	fs->err = call->call.err;
	return call->result;
}

struct start {
	struct message message;
	struct fs_bench *fs;
	struct call call;
	uint64_t quota;
	enum { FORMAT, OPEN, OPEN_READ_ONLY, CLOSE, CHECK, SET_USER, LIST_USERS } what;
	struct share_check_report report;
	struct share_user user, *users;
};

static void start_run(struct message *message)
{
	struct start *start = container_of(message, struct start, message);
	struct share_call *call = &start->call.call;

	call->done = call_done;
	if (start->what == FORMAT)
		share_format(volume, start->fs->loop, start->quota, call);
	else if (start->what == CLOSE)
		share_close(start->fs->vfs, call);
	else if (start->what == SET_USER)
		share_set_user(start->fs->vfs, &start->user, call);
	else if (start->what == LIST_USERS)
		share_list_users(start->fs->vfs, start->users, 8, call);
	else if (start->what == CHECK)
		share_check(start->fs->vfs, &start->report, call);
	else
		share_open(volume, start->fs->loop, start->what == OPEN_READ_ONLY, call);
}

static void show_finding(struct share_check_report *report, const char *sentence)
{
	(void)report;
	print_message("check: %s\n", sentence);
}

static int start(struct fs_bench *fs, int what, uint64_t quota)
{
	struct start start = {
	    .fs = fs, .quota = quota, .what = what, .report.finding = show_finding};

	loop_post(fs->loop, &start.message, start_run);
	call_wait(fs, &start.call);
	if (start.call.result == 0 && (what == OPEN || what == OPEN_READ_ONLY))
		fs->vfs = start.call.call.vfs;
	if (start.call.result == 0 && what == CLOSE)
		fs->vfs = NULL;
	assert_int_equal(start.report.unbacked_bytes, 0);
	return start.call.result ? start.call.result : (int)start.report.errors;
}

static void begin(struct fs_bench *fs, uint64_t size, uint64_t quota)
{
	fs_start(fs);
	assert_int_equal(memory_volume_create("v", size, &volume, &fs->err), 0);
	assert_int_equal(start(fs, FORMAT, quota), 0);
	assert_int_equal(start(fs, OPEN, 0), 0);
}

static void end(struct fs_bench *fs)
{
	if (fs->vfs && !fs->vfs->read_only)
		assert_int_equal(start(fs, CHECK, 0), 0);
	if (fs->vfs)
		assert_int_equal(start(fs, CLOSE, 0), 0);
	volume_unref(volume);
	loop_destroy(fs->loop);
}

static void contract_open(struct fs_bench *fs)
{
	assert_int_equal(memory_volume_create("v", 1ull << 40, &volume, &fs->err), 0);
	assert_int_equal(start(fs, FORMAT, 0), 0);
	assert_int_equal(start(fs, OPEN, 0), 0);
}

static void contract_close(struct fs_bench *fs)
{
	assert_int_equal(start(fs, CHECK, 0), 0);
	assert_int_equal(start(fs, CLOSE, 0), 0);
	volume_unref(volume);
	loop_destroy(fs->loop);
}

static void keeps_everything(void **state)
{
	static uint8_t data[1 << 20], back[1 << 20];
	struct fs_bench fs;
	struct vfs_object root, file, found;
	uint64_t verifier;
	char name[32];

	(void)state;
	begin(&fs, 1ull << 36, 0);
	root = fs.vfs->root;
	verifier = vfs_verifier(fs.vfs);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 13 / 7);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(fs_create(&fs, &root, name, VFS_REGULAR, 0600, &file), 0);
	}
	assert_int_equal(fs_write(&fs, &file, 12345, data, sizeof(data) - 777), 0);
	assert_int_equal(start(&fs, CLOSE, 0), 0);
	assert_int_equal(start(&fs, OPEN, 0), 0);
	assert_true(vfs_verifier(fs.vfs) != verifier);
	assert_true(vfs_object_equal(&fs.vfs->root, &root));
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(fs_lookup(&fs, &root, name, &found), 0);
	}
	assert_true(vfs_object_equal(&found, &file));
	assert_int_equal(fs_read(&fs, &file, 12345, back, sizeof(back)), sizeof(data) - 777);
	assert_memory_equal(back, data, sizeof(data) - 777);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(fs_remove(&fs, &root, name), 0);
	}
	assert_int_equal(fs_getattr(&fs, &root).size, 0);
	assert_int_equal(start(&fs, CLOSE, 0), 0);
	assert_int_equal(start(&fs, OPEN_READ_ONLY, 0), 0);
	assert_int_equal(fs_create(&fs, &root, "x", VFS_REGULAR, 0600, &file), -EROFS);
	assert_int_equal(fs_readdir(&fs, &root, 0, 4096, 0), 0);
	assert_true(fs.request.eof);
	end(&fs);
}

static void quota(void **state)
{
	static uint8_t data[1 << 20];
	struct fs_bench fs;
	struct vfs_object root, file;

	(void)state;
	begin(&fs, 1ull << 30, 1 << 20);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, data, sizeof(data)), 0);
	assert_int_equal(fs_write(&fs, &file, sizeof(data), data, 1), -EDQUOT);
	assert_int_equal(fs_write(&fs, &file, 5, data, 100000), 0);
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, 0, 2 << 20), -EDQUOT);
	fs_new(&fs, VFS_FSSTAT, &root);
	assert_int_equal(fs_submit(&fs), 0);
	assert_int_equal(fs.request.fsstat.total_bytes, 1 << 20);
	assert_int_equal(fs.request.fsstat.free_bytes, 0);
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &file, 0, 8192), 0);
	assert_int_equal(fs_write(&fs, &file, sizeof(data), data, 8192), 0);
	end(&fs);
}

static int limit(struct fs_bench *fs, uint32_t uid, uint64_t bytes, uint64_t files)
{
	struct start start = {.fs = fs,
			      .what = SET_USER,
			      .user = {.uid = uid,
				       .set = SHARE_USER_BYTES | SHARE_USER_FILES,
				       .limit_bytes = bytes,
				       .limit_files = files}};

	loop_post(fs->loop, &start.message, start_run);
	return call_wait(fs, &start.call);
}

/* What user @uid has, as it is listed; all zeros: it is not. */
static struct share_user user_of(struct fs_bench *fs, uint32_t uid)
{
	struct share_user users[8];
	struct start start = {.fs = fs, .what = LIST_USERS, .users = users};

	loop_post(fs->loop, &start.message, start_run);
	assert_int_equal(call_wait(fs, &start.call), 0);
	for (unsigned i = 0; i < start.call.call.user_count; i++)
		if (users[i].uid == uid)
			return users[i];
	return (struct share_user){0};
}

static void has(struct fs_bench *fs, uint32_t uid, uint64_t bytes, uint64_t files)
{
	struct share_user user = user_of(fs, uid);

	assert_int_equal(user.used_bytes, bytes);
	assert_int_equal(user.files, files);
	assert_int_equal(start(fs, CHECK, 0), 0);
}

static int own(struct fs_bench *fs, const struct vfs_object *object, uint32_t uid)
{
	return fs_set(fs, object, (struct vfs_set){.mask = VFS_SET_UID, .uid = uid});
}

/* Counting begins with the first limit, with what is there; every way that a file's owner, blocks
 * or existence change is counted, and no limit is passed by a block. */
static void users(void **state)
{
	static uint8_t data[1 << 20];
	struct fs_bench fs;
	struct vfs_object root, file, other, folder;

	(void)state;
	begin(&fs, 1ull << 30, 0);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, data, 65536), 0);
	assert_int_equal(own(&fs, &file, 7), 0);
	assert_int_equal(user_of(&fs, 7).files, 0); /* nobody counts yet */

	assert_int_equal(limit(&fs, 7, 100 << 10, 3), 0);
	assert_int_equal(user_of(&fs, 7).limit_bytes, 100 << 10);
	has(&fs, 7, 65536, 1);
	has(&fs, 0, 0, 1); /* the root's folder */

	assert_int_equal(fs_write(&fs, &file, 65536, data, 36864), 0); /* 100 KiB, exactly */
	assert_int_equal(fs_write(&fs, &file, 102400, data, 1), -EDQUOT);
	assert_int_equal(fs_write(&fs, &file, 5, data, 100000), 0); /* nothing new */
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, 0, 200 << 10), -EDQUOT);
	has(&fs, 7, 100 << 10, 1);
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &file, 0, 8192), 0);
	has(&fs, 7, 92 << 10, 1);
	assert_int_equal(fs_write(&fs, &file, 200 << 10, data, 8192), 0);
	assert_int_equal(fs_write(&fs, &file, 300 << 10, data, 1), -EDQUOT);
	assert_int_equal(fs_truncate(&fs, &file, 10 << 10), 0);
	has(&fs, 7, 4096, 1);

	assert_int_equal(fs_create(&fs, &root, "g", VFS_REGULAR, 0600, &other), 0);
	assert_int_equal(fs_write(&fs, &other, 0, data, 100 << 10), 0);
	has(&fs, 0, 100 << 10, 2);
	assert_int_equal(own(&fs, &other, 7), -EDQUOT); /* as many as it may have, and 4096 */
	has(&fs, 0, 100 << 10, 2);
	assert_int_equal(fs_truncate(&fs, &other, 90 << 10), 0);
	assert_int_equal(own(&fs, &other, 7), 0);
	has(&fs, 0, 0, 1);
	has(&fs, 7, 96 << 10, 2);
	assert_int_equal(fs_clone(&fs, &other, 0, &file, 16 << 10, 64 << 10), -EDQUOT);
	assert_int_equal(fs_clone(&fs, &other, 0, &file, 16 << 10, 4 << 10), 0);
	has(&fs, 7, 100 << 10, 2);

	assert_int_equal(fs_create(&fs, &root, "d", VFS_DIRECTORY, 0700, &folder), 0);
	assert_int_equal(own(&fs, &folder, 7), 0);
	assert_int_equal(fs_create(&fs, &root, "h", VFS_REGULAR, 0600, &folder), 0);
	assert_int_equal(own(&fs, &folder, 7), -EDQUOT); /* a fourth one */
	assert_int_equal(fs_remove(&fs, &root, "h"), 0);
	assert_int_equal(fs_remove(&fs, &root, "d"), 0);
	assert_int_equal(fs_remove(&fs, &root, "g"), 0);
	has(&fs, 7, 8192, 1);

	assert_int_equal(limit(&fs, 7, 4096, 0), 0); /* less than there is: it stays, and no more */
	assert_int_equal(fs_write(&fs, &file, 500 << 10, data, 1), -EDQUOT);
	assert_int_equal(limit(&fs, 7, 0, 0), 0);
	assert_int_equal(fs_write(&fs, &file, 500 << 10, data, sizeof(data)), 0);
	assert_int_equal(start(&fs, CLOSE, 0), 0);
	assert_int_equal(start(&fs, OPEN, 0), 0);
	has(&fs, 7, 8192 + sizeof(data), 1);
	assert_int_equal(fs_remove(&fs, &root, "f"), 0);
	assert_int_equal(user_of(&fs, 7).files, 0);
	assert_int_equal(user_of(&fs, 9).uid, 0);
	end(&fs);
}

/* What a user sees of the share is what he may still have. */
static void users_fsstat_shows(void **state)
{
	static uint8_t data[8192];
	struct fs_bench fs;
	struct vfs_object root, file;

	(void)state;
	begin(&fs, 1ull << 30, 0);
	root = fs.vfs->root;
	fs_new(&fs, VFS_FSSTAT, &root);
	assert_int_equal(fs_submit(&fs), 0);
	assert_false(fs.request.fsstat.user_counted);
	assert_int_equal(limit(&fs, 0, 65536, 5), 0);
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, data, sizeof(data)), 0);
	fs_new(&fs, VFS_FSSTAT, &root);
	assert_int_equal(fs_submit(&fs), 0);
	assert_true(fs.request.fsstat.user_counted);
	assert_int_equal(fs.request.fsstat.user_limit_bytes, 65536);
	assert_int_equal(fs.request.fsstat.user_used_bytes, 8192);
	assert_int_equal(fs.request.fsstat.available_bytes, 65536 - 8192);
	assert_int_equal(fs.request.fsstat.user_files, 2);
	assert_int_equal(fs.request.fsstat.available_files, 3);
	end(&fs);
}

/* A small volume: space that was freed is used again, many times over. */
static void space_comes_back(void **state)
{
	static uint8_t data[1 << 20];
	struct fs_bench fs;
	struct vfs_object root, file;

	(void)state;
	begin(&fs, 24 << 20, 0);
	root = fs.vfs->root;
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
		for (unsigned k = 0; k < 5; k++)
			assert_int_equal(fs_write(&fs, &file, k << 20, data, sizeof(data)), 0);
		assert_int_equal(fs_remove(&fs, &root, "f"), 0);
	}
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	for (unsigned k = 0; fs.result == 0; k++)
		(void)fs_write(&fs, &file, k << 20, data, sizeof(data));
	assert_int_equal(fs.result, -ENOSPC);
	assert_int_equal(fs_truncate(&fs, &file, 100), 0);
	assert_int_equal(fs_write(&fs, &file, 0, data, sizeof(data)), 0);
	end(&fs);
}

/* What is set aside has blocks of the volume; what there is no room for is not begun. */
static void set_aside(void **state)
{
	static uint8_t data[1 << 20];
	const uint64_t length = 88 << 20;
	struct fs_bench fs;
	struct vfs_object root, file, other;
	struct vfs_attr attr;

	(void)state;
	begin(&fs, 130 << 20, 0);
	root = fs.vfs->root;
	assert_true(fs.vfs->can & VFS_CAN_ALLOCATE);
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_create(&fs, &root, "g", VFS_REGULAR, 0600, &other), 0);
	assert_int_equal(fs_write(&fs, &file, 5000, data, 10), 0);
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, 100, 1ull << 30), -ENOSPC);
	assert_int_equal(fs.request.offset, 100);
	attr = fs_getattr(&fs, &file);
	assert_int_equal(attr.used, 4096);
	assert_int_equal(attr.size, 5010);
	/* a large one takes two requests, and the size grows with the last */
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &file, 0, length), 0);
	assert_in_range(fs.request.offset, 64 << 20, length - 1);
	assert_int_equal(fs_getattr(&fs, &file).size, 5010);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	assert_int_equal(
	    fs_range(&fs, VFS_ALLOCATE, &file, fs.request.offset, length - fs.request.offset), 0);
	assert_int_equal(fs.request.offset, length);
	attr = fs_getattr(&fs, &file);
	assert_int_equal(attr.size, length);
	assert_int_equal(attr.used, length);
	assert_int_equal(fs_seek(&fs, &file, VFS_SEEK_DATA, 8192), -ENXIO);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	/* what others take is not what was set aside */
	for (unsigned k = 0; fs_write(&fs, &other, k << 20, data, sizeof(data)) == 0;)
		k++;
	assert_int_equal(fs.result, -ENOSPC);
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &other, 100ull << 20, 1 << 20), -ENOSPC);
	for (uint64_t at = 0; at < length; at += 8 << 20)
		assert_int_equal(fs_write(&fs, &file, at, data, sizeof(data)), 0);
	assert_int_equal(fs_getattr(&fs, &file).used, length);
	/* holes, what is written and what is set aside, in turn: more than a transaction takes */
	assert_int_equal(fs_truncate(&fs, &other, 0), 0);
	for (uint64_t block = 0; block < 600; block += 3)
		assert_int_equal(fs_write(&fs, &other, block * 4096, data, 4096), 0);
	assert_int_equal(fs_range(&fs, VFS_ALLOCATE, &other, 5000, 590 * 4096), 0);
	assert_int_equal(fs.request.offset, 5000 + 590 * 4096);
	assert_int_equal(fs_getattr(&fs, &other).used, (592 + 2) * 4096);
	/* behind the end of the file space can be given back, too */
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &other, UINT64_MAX - 5, 5), 0);
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &file, length, 1 << 20), 0);
	assert_int_equal(fs_getattr(&fs, &file).used, length);
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &file, 0, UINT64_MAX), 0);
	assert_int_equal(fs_getattr(&fs, &file).used, 0);
	end(&fs);
}

static uint64_t names_listed(struct fs_bench *fs, const struct vfs_object *directory)
{
	uint64_t cookie = VFS_COOKIE_START, count = 0;

	do {
		uint32_t at = 0;

		assert_int_equal(fs_readdir(fs, directory, cookie, sizeof(fs->data), 0), 0);
		while (at < fs->request.data_length) {
			struct vfs_dirent *entry = (void *)(fs->data + at);

			at += entry->next;
			cookie = entry->cookie;
			count++;
		}
	} while (!fs->request.eof);
	return count;
}

/* A directory of many names is as fast at its end as at its beginning. */
static void many_names(void **state)
{
	unsigned count = getenv("GRANARY_TEST_QUICK") ? 5000 : 100000;
	struct fs_bench fs;
	struct vfs_object directory;
	uint64_t began, first = 0, last;
	char name[48];

	(void)state;
	begin(&fs, 1ull << 40, 0);
	assert_int_equal(fs_create(&fs, &fs.vfs->root, "d", VFS_DIRECTORY, 0755, &directory), 0);
	began = loop_now(fs.loop);
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "a rather ordinary name %u", i);
		assert_int_equal(fs_create(&fs, &directory, name, VFS_REGULAR, 0600, NULL), 0);
		if (i == count / 10)
			first = loop_now(fs.loop) - began;
		if (i == count - count / 10)
			began = loop_now(fs.loop);
	}
	last = loop_now(fs.loop) - began;
	print_message("the first tenth took %llu us, the last one %llu us\n",
		      (unsigned long long)first / 1000, (unsigned long long)last / 1000);
	assert_true(last < 4 * first + 500000000);
	assert_int_equal(names_listed(&fs, &directory), count);
	for (unsigned i = 0; i < count; i += 7) {
		snprintf(name, sizeof(name), "a rather ordinary name %u", i);
		assert_int_equal(fs_lookup(&fs, &directory, name, NULL), 0);
		assert_int_equal(fs_remove(&fs, &directory, name), 0);
	}
	assert_int_equal(names_listed(&fs, &directory), count - (count + 6) / 7);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	end(&fs);
}

static struct vfs_fsstat space(struct fs_bench *fs)
{
	fs_new(fs, VFS_FSSTAT, &fs->vfs->root);
	assert_int_equal(fs_submit(fs), 0);
	return fs->request.fsstat;
}

static void again(struct fs_bench *fs)
{
	assert_int_equal(start(fs, CHECK, 0), 0);
	assert_int_equal(start(fs, CLOSE, 0), 0);
	assert_int_equal(start(fs, OPEN, 0), 0);
	assert_int_equal(start(fs, CHECK, 0), 0);
}

struct superblock_read {
	struct volume_request request;
	struct message message;
	int result;
	bool done;
};

static void superblock_done(struct volume_request *request, int result)
{
	struct superblock_read *read = container_of(request, struct superblock_read, request);

	read->result = result;
	read->done = true;
}

static void superblock_submit(struct message *message)
{
	volume_submit(volume, &container_of(message, struct superblock_read, message)->request);
}

/* The newer of the two superblocks' version (docs/FORMAT.md). */
static unsigned format_version(struct fs_bench *fs)
{
	static _Alignas(4096) uint8_t block[4096];
	uint64_t generation = 0;
	unsigned version = 0;

	for (unsigned copy = 0; copy < 2; copy++) {
		struct iovec iov = {block, 4096};
		struct superblock_read read = {.request = {.op = VOLUME_READ,
							   .offset = copy * 16ull * 4096,
							   .length = 4096,
							   .iov = &iov,
							   .iov_count = 1,
							   .done = superblock_done}};

		loop_post(fs->loop, &read.message, superblock_submit);
		for (unsigned i = 0; i < 20000 && !read.done; i++)
			loop_poll(fs->loop, 1000000);
		assert_int_equal(read.result, 0);
		if (get64(block + 56) >= generation) {
			generation = get64(block + 56);
			version = get32(block + 16);
		}
	}
	return version;
}

static uint8_t pattern(unsigned file, uint64_t block)
{
	return (uint8_t)(file * 41 + block * 7 + 1);
}

static void write_block(struct fs_bench *fs, const struct vfs_object *file, uint64_t block,
			uint8_t value)
{
	uint8_t data[4096];

	memset(data, value, sizeof(data));
	assert_int_equal(fs_io(fs, VFS_WRITE, file, block * 4096, data, sizeof(data), VFS_UNSTABLE),
			 0);
}

static uint8_t read_block(struct fs_bench *fs, const struct vfs_object *file, uint64_t block)
{
	uint8_t data[4096];

	assert_int_equal(fs_read(fs, file, block * 4096, data, sizeof(data)), 4096);
	assert_memory_equal(data, data + 1, sizeof(data) - 1);
	return data[0];
}

/* Clones take no space until they change, whoever of them goes first; and all of it comes back. */
static void clones(void **state)
{
	static uint8_t data[1 << 20];
	struct fs_bench fs;
	struct vfs_object root, file[6];
	struct vfs_fsstat empty, one, now;
	char name[8];

	(void)state;
	begin(&fs, 1ull << 36, 0);
	root = fs.vfs->root;
	empty = space(&fs);
	assert_int_equal(fs_create(&fs, &root, "0", VFS_REGULAR, 0600, &file[0]), 0);
	for (unsigned i = 0; i < 256; i++)
		memset(data + (size_t)i * 4096, pattern(0, i), 4096);
	assert_int_equal(fs_write(&fs, &file[0], 0, data, sizeof(data)), 0);
	again(&fs);
	assert_int_equal(format_version(&fs), 1); /* as it was before there were clones */
	one = space(&fs);
	assert_int_equal(one.total_bytes, empty.total_bytes);
	for (unsigned i = 1; i < 6; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(fs_create(&fs, &root, name, VFS_REGULAR, 0600, &file[i]), 0);
		assert_int_equal(fs_clone(&fs, &file[i / 2], 0, &file[i], 0, 0), 0);
		assert_int_equal(fs_getattr(&fs, &file[i]).used, 1 << 20);
	}
	assert_int_equal(format_version(&fs), 2);
	now = space(&fs);
	assert_int_equal(now.free_bytes, one.free_bytes);
	assert_int_equal(now.total_bytes, one.total_bytes);
	again(&fs);
	for (unsigned i = 0; i < 6; i++)
		for (unsigned block = i; block < 256; block += 5 + i)
			write_block(&fs, &file[i], block, pattern(i, block + 100));
	again(&fs);
	for (unsigned i = 0; i < 6; i++) {
		unsigned gone = (i * 5 + 3) % 6; /* in another order */

		for (unsigned block = 0; block < 256; block++)
			assert_int_equal(read_block(&fs, &file[gone], block),
					 block >= gone && (block - gone) % (5 + gone) == 0
					     ? pattern(gone, block + 100)
					     : pattern(0, block));
		snprintf(name, sizeof(name), "%u", gone);
		assert_int_equal(fs_remove(&fs, &root, name), 0);
		assert_int_equal(start(&fs, CHECK, 0), 0);
	}
	again(&fs);
	for (unsigned i = 0; i < 200 && now.free_bytes != empty.free_bytes; i++) {
		loop_poll(fs.loop, 1000000);
		now = space(&fs);
	}
	assert_int_equal(now.free_bytes, empty.free_bytes);
	assert_int_equal(now.total_bytes, empty.total_bytes);
	end(&fs);
}

/* Thousands of extents: several transactions to clone, and to delete what is shared in shreds. */
static void clones_in_shreds(void **state)
{
	const unsigned count = 6000;
	struct fs_bench fs;
	struct vfs_object root, a, b, c;

	(void)state;
	begin(&fs, 1ull << 30, 0);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "a", VFS_REGULAR, 0600, &a), 0);
	assert_int_equal(fs_create(&fs, &root, "b", VFS_REGULAR, 0600, &b), 0);
	assert_int_equal(fs_create(&fs, &root, "c", VFS_REGULAR, 0600, &c), 0);
	for (unsigned i = 0; i < count; i++)
		write_block(&fs, &a, 2 * i, pattern(1, i));
	write_block(&fs, &b, 3, 9); /* what is there goes */
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 0, 0), 0);
	assert_int_equal(fs.request.after[1].used, (uint64_t)count * 4096);
	assert_int_equal(fs_clone(&fs, &a, 0, &c, 4096, 0), 0);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	for (unsigned i = 0; i < count; i += 3)
		write_block(&fs, &b, 2 * i, pattern(2, i));
	for (unsigned i = 0; i < count; i += 97) {
		assert_int_equal(read_block(&fs, &a, 2 * i), pattern(1, i));
		assert_int_equal(read_block(&fs, &b, 2 * i), pattern(i % 3 ? 1 : 2, i));
		assert_int_equal(read_block(&fs, &c, 2 * i + 1), pattern(1, i));
		assert_int_equal(i ? read_block(&fs, &c, 2 * i) : 0, 0);
	}
	assert_int_equal(fs_seek(&fs, &b, VFS_SEEK_HOLE, 0), 4096);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	/* one extent of many owners: what is shared is in as many runs as the others have holes */
	assert_int_equal(fs_remove(&fs, &root, "b"), 0);
	assert_int_equal(fs_range(&fs, VFS_DEALLOCATE, &c, 0, 3000 * 4096), 0);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	assert_int_equal(fs_truncate(&fs, &a, 8192), 0);
	assert_int_equal(fs_getattr(&fs, &a).used, 4096);
	again(&fs);
	assert_int_equal(read_block(&fs, &c, 3001), pattern(1, 1500));
	assert_int_equal(fs_remove(&fs, &root, "a"), 0);
	assert_int_equal(fs_remove(&fs, &root, "c"), 0);
	end(&fs);
}

/* One long extent whose blocks have other owners here and there: it goes in steps. */
static void shreds_of_one_extent(void **state)
{
	static uint8_t data[1 << 20];
	struct fs_bench fs;
	struct vfs_object root, a, b;

	(void)state;
	begin(&fs, 1ull << 30, 0);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "a", VFS_REGULAR, 0600, &a), 0);
	assert_int_equal(fs_create(&fs, &root, "b", VFS_REGULAR, 0600, &b), 0);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(fs_write(&fs, &a, (uint64_t)i << 20, data, sizeof(data)), 0);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(fs_clone(&fs, &a, (uint64_t)i * 8192, &b, i * 4096ull, 4096), 0);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	assert_int_equal(fs_remove(&fs, &root, "a"), 0);
	again(&fs);
	assert_int_equal(fs_getattr(&fs, &b).used, 2000 * 4096);
	end(&fs);
}

/* Each owner's use counts in full; what is refused changes nothing. */
static void clones_and_quota(void **state)
{
	static uint8_t data[512 << 10];
	struct fs_bench fs;
	struct vfs_object root, a, b;

	(void)state;
	begin(&fs, 1ull << 30, 1 << 20);
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "a", VFS_REGULAR, 0600, &a), 0);
	assert_int_equal(fs_create(&fs, &root, "b", VFS_REGULAR, 0600, &b), 0);
	assert_int_equal(fs_write(&fs, &a, 0, data, sizeof(data)), 0);
	assert_int_equal(fs_write(&fs, &b, 0, data, 4096), 0);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 4096, 0), -EDQUOT);
	assert_int_equal(fs_getattr(&fs, &b).used, 4096);
	assert_int_equal(fs_getattr(&fs, &b).size, 4096);
	assert_int_equal(start(&fs, CHECK, 0), 0);
	assert_int_equal(fs_clone(&fs, &a, 0, &b, 0, 0), 0);
	assert_int_equal(space(&fs).free_bytes, 0);
	assert_int_equal(fs_write(&fs, &b, 0, data, sizeof(data)), 0); /* no more than before */
	assert_int_equal(fs_write(&fs, &b, sizeof(data), data, 1), -EDQUOT);
	assert_int_equal(fs_clone(&fs, &b, 0, &a, 0, 4096), 0);
	end(&fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {CONTRACT_TESTS,
					   cmocka_unit_test(keeps_everything),
					   cmocka_unit_test(quota),
					   cmocka_unit_test(users),
					   cmocka_unit_test(users_fsstat_shows),
					   cmocka_unit_test(space_comes_back),
					   cmocka_unit_test(set_aside),
					   cmocka_unit_test(many_names),
					   cmocka_unit_test(clones),
					   cmocka_unit_test(clones_in_shreds),
					   cmocka_unit_test(shreds_of_one_extent),
					   cmocka_unit_test(clones_and_quota)};

	return cmocka_run_group_tests_name("shares/share", tests, NULL, NULL);
}
