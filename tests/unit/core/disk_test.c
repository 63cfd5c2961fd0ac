/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/disk.h"
#include "core/disk_file.h"
#include "core/world.h"

/* Disks in both real worlds, on a file with a device under it (the build folder's file system)
 * and on one in memory (/dev/shm). */

#define MIB (1ull << 20)

struct place {
	const struct world_ops *world;
	const char *folder;
};

static struct place place;
static struct loop *loop;
static char path[256];

static int open_loop(void **state)
{
	place = *(struct place *)*state;
	snprintf(path, sizeof path, "%s/granary-disk-test.%d", place.folder, (int)getpid());
	unlink(path);
	return loop_create(place.world, &loop, NULL);
}

static int close_loop(void **state)
{
	(void)state;
	loop_destroy(loop);
	unlink(path);
	return 0;
}

struct request {
	struct disk_request request;
	struct buf *buf;
	int result;
};

static int outstanding;
static bool submitting;

static void done(struct disk_request *request, int result)
{
	struct request *r = container_of(request, struct request, request);

	assert_false(submitting);
	assert_ptr_equal(request->loop, loop);
	r->result = result;
	outstanding--;
}

static void submit(struct disk *disk, struct request *r)
{
	r->request.done = done;
	r->result = 1;
	outstanding++;
	submitting = true;
	disk_submit(loop, disk, &r->request);
	submitting = false;
}

static void wait_all(void)
{
	while (outstanding > 0)
		loop_poll(loop, UINT64_MAX);
}

static void prepare(struct request *r, enum disk_op op, uint64_t offset, size_t length)
{
	if (!r->buf && (op == DISK_READ || op == DISK_WRITE))
		r->buf = buf_get(loop_buffers(loop), length);
	r->request.op = op;
	r->request.offset = offset;
	r->request.length = length;
	r->request.iov = &r->request.own_iov;
	r->request.iov_count = 1;
	if (r->buf)
		r->request.own_iov = (struct iovec){r->buf->data, length};
}

static int run(struct disk *disk, struct request *r, enum disk_op op, uint64_t offset,
	       size_t length)
{
	prepare(r, op, offset, length);
	submit(disk, r);
	wait_all();
	return r->result;
}

static void drop(struct request *r)
{
	buf_unref(r->buf);
	r->buf = NULL;
}

static struct disk *open_disk(unsigned flags, uint64_t size)
{
	struct disk *disk;
	struct err err = {0};
	int r = disk_open(place.world, path, flags, size, &disk, &err);

	if (r < 0)
		fail_msg("%s", err.text);
	return disk;
}

static void writes_are_read_back(void **state)
{
	struct disk *disk = open_disk(DISK_CREATE | DISK_EXCLUSIVE, 8 * MIB + 100);
	static struct request requests[256];
	uint32_t seed = 1;

	(void)state;
	assert_int_equal(disk->size, 8 * MIB);
	assert_false(disk->block_device);
	assert_true(disk->discards);
	assert_int_equal(disk->volatile_cache, strcmp(place.folder, "/dev/shm") != 0);
	for (int i = 0; i < 256; i++) {
		prepare(&requests[i], DISK_WRITE, (uint64_t)i * 4096, 4096);
		memset(requests[i].buf->data, i ^ 0x5a, 4096);
		requests[i].request.flags = (seed = seed * 69069 + 1) & 0x10000 ? DISK_FUA : 0;
		submit(disk, &requests[i]);
	}
	wait_all();
	for (int i = 0; i < 256; i++) {
		assert_int_equal(requests[i].result, 0);
		memset(requests[i].buf->data, 0, 4096);
		requests[i].request.flags = 0;
		prepare(&requests[i], DISK_READ, (uint64_t)i * 4096, 4096);
		submit(disk, &requests[i]);
	}
	wait_all();
	for (int i = 0; i < 256; i++) {
		uint8_t *data = requests[i].buf->data;

		assert_int_equal(requests[i].result, 0);
		assert_int_equal(data[0], i ^ 0x5a);
		assert_int_equal(data[4095], i ^ 0x5a);
		drop(&requests[i]);
	}
	assert_int_equal(run(disk, &requests[0], DISK_FLUSH, 0, 0), 0);
	disk_close(disk);
}

static void vectors_are_kept_in_order(void **state)
{
	struct disk *disk = open_disk(DISK_CREATE, MIB);
	struct buf *bufs[3];
	struct iovec iov[3];
	struct request r = {0};

	(void)state;
	for (int i = 0; i < 3; i++) {
		bufs[i] = buf_get(loop_buffers(loop), 8192);
		memset(bufs[i]->data, 'a' + i, 8192);
		iov[i] = (struct iovec){bufs[i]->data, i == 1 ? 8192 : 4096};
	}
	r.request = (struct disk_request){
	    .op = DISK_WRITE, .offset = 4096, .length = 16384, .iov = iov, .iov_count = 3};
	submit(disk, &r);
	wait_all();
	assert_int_equal(r.result, 0);
	assert_int_equal(run(disk, &r, DISK_READ, 0, 32768), 0);
	for (int i = 0; i < 32768; i++) {
		static const char expect[] = {0, 'a', 'b', 'b', 'c', 0, 0, 0};

		assert_int_equal(((char *)r.buf->data)[i], expect[i / 4096]);
	}
	drop(&r);
	for (int i = 0; i < 3; i++)
		buf_unref(bufs[i]);
	disk_close(disk);
}

static void discard_returns_space(void **state)
{
	struct disk *disk = open_disk(DISK_CREATE, 4 * MIB);
	struct request r = {0};
	struct stat before, after;

	(void)state;
	prepare(&r, DISK_WRITE, 0, MIB);
	memset(r.buf->data, 1, MIB);
	assert_int_equal(run(disk, &r, DISK_WRITE, 0, MIB), 0);
	assert_int_equal(run(disk, &r, DISK_FLUSH, 0, 0), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(run(disk, &r, DISK_DISCARD, 0, MIB / 2), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(run(disk, &r, DISK_READ, 0, MIB), 0);
	assert_int_equal(((char *)r.buf->data)[0], 0);
	assert_int_equal(((char *)r.buf->data)[MIB / 2 - 1], 0);
	assert_int_equal(((char *)r.buf->data)[MIB / 2], 1);
	assert_int_equal(run(disk, &r, DISK_DISCARD, 0, 0), 0);
	drop(&r);
	disk_close(disk);
}

static void bad_requests_are_refused(void **state)
{
	struct disk *disk = open_disk(DISK_CREATE, MIB);
	struct request r = {0};

	(void)state;
	assert_int_equal(run(disk, &r, DISK_READ, MIB, 4096), -EINVAL);
	assert_int_equal(run(disk, &r, DISK_READ, UINT64_MAX - 4095, 4096), -EINVAL);
	assert_int_equal(run(disk, &r, DISK_WRITE, MIB - 4096, 8192), -EINVAL);
	assert_int_equal(run(disk, &r, DISK_WRITE, 100, 4096), -EINVAL);
	assert_int_equal(run(disk, &r, DISK_READ, 0, 0), -EINVAL);
	assert_int_equal(run(disk, &r, DISK_DISCARD, 0, 2 * MIB), -EINVAL);
	prepare(&r, DISK_READ, 0, 4096);
	r.request.length = 8192;
	submit(disk, &r);
	wait_all();
	assert_int_equal(r.result, -EINVAL);
	assert_int_equal(run(disk, &r, DISK_READ, MIB - 4096, 4096), 0);
	drop(&r);
	disk_close(disk);
}

/* Somebody truncates the file behind us: what is there is read, then -EIO, never zeros. */
static void truncated_file_is_an_error(void **state)
{
	struct disk *disk = open_disk(DISK_CREATE, MIB);
	struct request r = {0};

	(void)state;
	assert_int_equal(truncate(path, 65536), 0);
	assert_int_equal(run(disk, &r, DISK_READ, 0, 65536), 0);
	assert_int_equal(run(disk, &r, DISK_READ, 65536 - 4096, 65536), -EIO);
	assert_int_equal(run(disk, &r, DISK_READ, 65536, 4096), -EIO);
	drop(&r);
	disk_close(disk);
}

/* Direct I/O tells what kind of a device error it was; to those above it is one. */
static void device_errors_are_one(void **state)
{
	struct disk *disk = open_disk(DISK_CREATE, MIB);
	struct disk_request request = {.op = DISK_READ, .length = 4096, .disk = disk};
	int result = 0;

	(void)state;
	assert_true(file_disk_advance(&request, -ENODATA, &result));
	assert_int_equal(result, -EIO);
	assert_true(file_disk_advance(&request, -EREMOTEIO, &result));
	assert_int_equal(result, -EIO);
	assert_true(file_disk_advance(&request, -ENOSPC, &result));
	assert_int_equal(result, -EIO); /* a read wants no space */
	request.op = DISK_WRITE;
	assert_true(file_disk_advance(&request, -ENOSPC, &result));
	assert_int_equal(result, -ENOSPC);
	disk_close(disk);
}

static void write_to_read_only_fails(void **state)
{
	struct disk *disk;
	struct request r = {0};

	(void)state;
	disk_close(open_disk(DISK_CREATE, MIB));
	disk = open_disk(DISK_READ_ONLY, 0);
	assert_int_equal(run(disk, &r, DISK_READ, 0, 4096), 0);
	assert_int_equal(run(disk, &r, DISK_WRITE, 0, 4096), -EBADF);
	drop(&r);
	disk_close(disk);
}

static void open_errors_have_a_sentence(void **state)
{
	struct disk *first = open_disk(DISK_CREATE | DISK_EXCLUSIVE, MIB), *second = NULL;
	struct err err = {0};

	(void)state;
	assert_int_equal(disk_open(place.world, path, DISK_EXCLUSIVE, 0, &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, path));
	disk_close(first);
	assert_int_equal(disk_open(place.world, path, DISK_EXCLUSIVE, 0, &second, &err), 0);
	assert_int_equal(second->size, MIB);
	disk_close(second);
	second = NULL;
	assert_int_equal(disk_open(place.world, "/no/such/file", 0, 0, &second, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/no/such/file"));
	assert_int_equal(disk_open(place.world, "/dev/null", 0, 0, &second, &err), -EINVAL);
	assert_int_equal(disk_open(place.world, "/tmp", 0, 0, &second, &err), -EINVAL);
	assert_null(second);
	disk_close(NULL);
}

/* More requests than any ring has entries, from inside done() too. */
static int left_to_chain;
static struct disk *chain_disk;

static void chain(struct disk_request *request, int result)
{
	assert_int_equal(result, 0);
	if (left_to_chain-- > 0) {
		request->offset = (request->offset + 4096) % MIB;
		disk_submit(loop, chain_disk, request);
	} else {
		outstanding--;
	}
}

static void many_requests(void **state)
{
	static struct request requests[3000];
	struct buf *buf = buf_get(loop_buffers(loop), 4096);

	(void)state;
	chain_disk = open_disk(DISK_CREATE, MIB);
	left_to_chain = 10000;
	for (int i = 0; i < 3000; i++) {
		requests[i].request = (struct disk_request){.op = DISK_READ,
							    .offset = (uint64_t)i % 256 * 4096,
							    .length = 4096,
							    .iov = &requests[i].request.own_iov,
							    .iov_count = 1,
							    .done = chain};
		requests[i].request.own_iov = (struct iovec){buf->data, 4096};
		outstanding++;
		disk_submit(loop, chain_disk, &requests[i].request);
	}
	wait_all();
	buf_unref(buf);
	disk_close(chain_disk);
}

/* A file in memory answers at once; while no more than one stream is heard a round hands back a
 * part of a batch only, so that answers can leave meanwhile, but all of those that want one commit.
 */
static void a_batch_comes_in_portions(void **state)
{
	static struct request requests[60];
	struct disk *disk;

	(void)state;
	disk = open_disk(DISK_CREATE, MIB);
	for (unsigned together = 0; together < 2; together++) {
		for (unsigned i = 0; i < 60; i++) {
			prepare(&requests[i], DISK_READ, i * 4096u, 4096);
			requests[i].request.flags = together ? DISK_GROUP : 0;
			submit(disk, &requests[i]);
		}
		loop_poll(loop, UINT64_MAX);
		assert_true(together ? outstanding == 0 : outstanding >= 30 && outstanding < 60);
		for (unsigned rounds = 0; rounds < 10 && outstanding; rounds++)
			loop_poll(loop, UINT64_MAX);
		assert_int_equal(outstanding, 0);
		for (unsigned i = 0; i < 60; i++)
			assert_int_equal(requests[i].result, 0);
	}
	for (unsigned i = 0; i < 60; i++)
		drop(&requests[i]);
	disk_close(disk);
}

static struct place places[] = {{&world_uring, "/dev/shm"},
				{&world_uring, "/tmp"},
				{&world_aio, "/dev/shm"},
				{&world_aio, "/tmp"}};

#define AT(test, n, name)                                                                          \
	{                                                                                          \
#test " (" name ")", test, open_loop, close_loop, &places[n]                       \
	}
#define ALL(test)                                                                                  \
	AT(test, 0, "uring, memory"), AT(test, 1, "uring, file"), AT(test, 2, "aio, memory"),      \
	    AT(test, 3, "aio, file")

int main(void)
{
	const struct CMUnitTest tests[] = {
	    ALL(writes_are_read_back),        ALL(vectors_are_kept_in_order),
	    ALL(discard_returns_space),       ALL(bad_requests_are_refused),
	    ALL(truncated_file_is_an_error),  ALL(write_to_read_only_fails),
	    ALL(open_errors_have_a_sentence), ALL(many_requests),
	    ALL(device_errors_are_one),       AT(a_batch_comes_in_portions, 0, "uring, memory"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
