/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SHARES_FS_BENCH_H
#define TESTS_UNIT_SHARES_FS_BENCH_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/heap.h"
#include "core/world.h"
#include "shares/vfs.h"

/* A vfs driven by the test's own thread: each helper submits one request and waits for it. The
 * last request stays in bench->request for a look at its results. */
struct fs_bench {
	const struct world_ops *world;
	struct loop *loop;
	struct vfs *vfs;
	struct vfs_credentials who; /* of the next requests; zeroed: the superuser */
	struct vfs_request request;
	struct err err;
	int result;
	bool done;
	uint32_t refs; /* the vfs's, in done() */
	_Alignas(8) uint8_t data[128 << 10];
};

static inline void fs_start(struct fs_bench *fs)
{
	memset(fs, 0, sizeof(*fs));
	assert_int_equal(world_select("auto", &fs->world, &fs->err), 0);
	assert_int_equal(loop_create(fs->world, &fs->loop, &fs->err), 0);
}

static inline void fs_stop(struct fs_bench *fs)
{
	vfs_unref(fs->vfs);
	loop_destroy(fs->loop);
}

static void fs_done(struct vfs_request *request, int result)
{
	struct fs_bench *fs = container_of(request, struct fs_bench, request);

	fs->result = result;
	fs->done = true;
	fs->refs = fs->vfs->refs;
}

struct fs_job {
	struct message message;
	struct fs_bench *fs;
};

static void fs_run(struct message *message)
{
	struct fs_job *job = container_of(message, struct fs_job, message);

	vfs_submit(job->fs->vfs, &job->fs->request);
	assert_false(job->fs->done);
}

/* Submit fs->request, wait, return its result. */
static inline int fs_submit(struct fs_bench *fs)
{
	struct fs_job job = {.fs = fs};

	fs->request.credentials = &fs->who;
	fs->request.done = fs_done;
	fs->done = false;
	loop_post(fs->loop, &job.message, fs_run);
	for (unsigned i = 0; i < 20000 && !fs->done; i++)
		loop_poll(fs->loop, 1000000);
	assert_true(fs->done);
	return fs->result;
}

static inline struct vfs_request *fs_new(struct fs_bench *fs, enum vfs_op op,
					 const struct vfs_object *object)
{
	memset(&fs->request, 0, sizeof(fs->request));
	fs->request.op = op;
	fs->request.object = *object;
	return &fs->request;
}

static inline void fs_name(struct vfs_request *request, const char *name)
{
	request->name = name;
	request->name_length = (unsigned)strlen(name);
}

static inline void fs_name2(struct vfs_request *request, const struct vfs_object *object,
			    const char *name)
{
	request->object2 = *object;
	request->name2 = name;
	request->name2_length = (unsigned)strlen(name);
}

static inline struct vfs_attr fs_getattr(struct fs_bench *fs, const struct vfs_object *object)
{
	fs_new(fs, VFS_GETATTR, object);
	assert_int_equal(fs_submit(fs), 0);
	return fs->request.after[0];
}

static inline int fs_lookup(struct fs_bench *fs, const struct vfs_object *directory,
			    const char *name, struct vfs_object *ret_object)
{
	struct vfs_request *request = fs_new(fs, VFS_LOOKUP, directory);

	fs_name(request, name);
	if (fs_submit(fs) == 0 && ret_object)
		*ret_object = request->result_object;
	return fs->result;
}

static inline int fs_create(struct fs_bench *fs, const struct vfs_object *directory,
			    const char *name, enum vfs_type type, uint32_t mode,
			    struct vfs_object *ret_object)
{
	struct vfs_request *request = fs_new(fs, VFS_CREATE, directory);

	fs_name(request, name);
	request->type = type;
	request->create_how = VFS_CREATE_GUARDED;
	request->set.mask = VFS_SET_MODE;
	request->set.mode = mode;
	if (type == VFS_SYMLINK) {
		request->data = (void *)"the/target";
		request->data_length = 10;
	}
	if (fs_submit(fs) == 0 && ret_object)
		*ret_object = request->result_object;
	return fs->result;
}

static inline int fs_remove(struct fs_bench *fs, const struct vfs_object *directory,
			    const char *name)
{
	fs_name(fs_new(fs, VFS_REMOVE, directory), name);
	return fs_submit(fs);
}

static inline int fs_rename(struct fs_bench *fs, const struct vfs_object *from, const char *name,
			    const struct vfs_object *to, const char *name2)
{
	struct vfs_request *request = fs_new(fs, VFS_RENAME, from);

	fs_name(request, name);
	fs_name2(request, to, name2);
	return fs_submit(fs);
}

static inline int fs_link(struct fs_bench *fs, const struct vfs_object *object,
			  const struct vfs_object *directory, const char *name)
{
	fs_name2(fs_new(fs, VFS_LINK, object), directory, name);
	return fs_submit(fs);
}

static inline int fs_io(struct fs_bench *fs, enum vfs_op op, const struct vfs_object *object,
			uint64_t offset, void *data, uint64_t length, enum vfs_stable stable)
{
	struct vfs_request *request = fs_new(fs, op, object);
	struct iovec iov = {.iov_base = data, .iov_len = length};

	request->offset = offset;
	request->length = length;
	request->iov = &iov;
	request->iov_count = 1;
	request->stable = stable;
	return fs_submit(fs);
}

static inline int fs_write(struct fs_bench *fs, const struct vfs_object *object, uint64_t offset,
			   const void *data, uint64_t length)
{
	return fs_io(fs, VFS_WRITE, object, offset, (void *)data, length, VFS_FILE_SYNC);
}

/* Bytes read, or the error. */
static inline int fs_read(struct fs_bench *fs, const struct vfs_object *object, uint64_t offset,
			  void *data, uint64_t length)
{
	int result = fs_io(fs, VFS_READ, object, offset, data, length, VFS_UNSTABLE);

	return result ? result : (int)fs->request.count;
}

static inline int fs_range(struct fs_bench *fs, enum vfs_op op, const struct vfs_object *object,
			   uint64_t offset, uint64_t length)
{
	struct vfs_request *request = fs_new(fs, op, object);

	request->offset = offset;
	request->length = length;
	return fs_submit(fs);
}

static inline int fs_clone(struct fs_bench *fs, const struct vfs_object *from, uint64_t offset,
			   const struct vfs_object *to, uint64_t offset2, uint64_t length)
{
	struct vfs_request *request = fs_new(fs, VFS_CLONE, from);

	request->object2 = *to;
	request->offset = offset;
	request->offset2 = offset2;
	request->length = length;
	return fs_submit(fs);
}

static inline int fs_set(struct fs_bench *fs, const struct vfs_object *object, struct vfs_set set)
{
	fs_new(fs, VFS_SETATTR, object)->set = set;
	return fs_submit(fs);
}

static inline int fs_truncate(struct fs_bench *fs, const struct vfs_object *object, uint64_t size)
{
	return fs_set(fs, object, (struct vfs_set){.mask = VFS_SET_SIZE, .size = size});
}

static inline int64_t fs_seek(struct fs_bench *fs, const struct vfs_object *object,
			      enum vfs_seek seek, uint64_t offset)
{
	struct vfs_request *request = fs_new(fs, VFS_SEEK, object);

	request->seek = seek;
	request->offset = offset;
	return fs_submit(fs) ? fs->result : (int64_t)request->offset;
}

static inline int fs_readdir(struct fs_bench *fs, const struct vfs_object *directory,
			     uint64_t cookie, uint32_t room, unsigned flags)
{
	struct vfs_request *request = fs_new(fs, VFS_READDIR, directory);

	request->cookie = cookie;
	request->data = fs->data;
	request->data_room = room;
	request->flags = flags;
	return fs_submit(fs);
}

static inline int fs_xattr(struct fs_bench *fs, enum vfs_op op, const struct vfs_object *object,
			   const char *name, const void *data, uint32_t length,
			   enum vfs_xattr_how how)
{
	struct vfs_request *request = fs_new(fs, op, object);

	fs_name(request, name);
	request->data = (void *)data;
	request->data_room = request->data_length = length;
	request->xattr_how = how;
	return fs_submit(fs);
}

#endif
