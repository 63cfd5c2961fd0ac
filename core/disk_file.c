/* SPDX-License-Identifier: Apache-2.0 */
#include "core/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/world.h"

#define SIZE_UNIT   4096u
#define RETRIES_MAX 1000 /* of EAGAIN and EINTR on one request */

/* Opening */

struct opening {
	const char *path;
	unsigned flags;
	uint64_t size;
	struct file_disk *disk;
	bool created;
	struct err *err;
};

static int fail(const struct opening *o, int code, const char *what)
{
	return err_set(o->err, code, "%s: %s: %s", o->path, what, strerror(-code));
}

static bool is_memory(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

static int open_with(struct opening *o, int extra)
{
	int flags = (o->flags & DISK_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
	int fd = open(o->path, flags | extra);

	if (fd >= 0 || errno != ENOENT || !(o->flags & DISK_CREATE))
		return fd < 0 ? -errno : fd;
	fd = open(o->path, flags | (extra & ~O_EXCL) | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return -errno;
	o->created = true;
	return fd;
}

/* 1: yes, which is all that was asked. */
static int could_create(struct opening *o)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof copy, "%s", o->path) >= (int)sizeof copy)
		return fail(o, -ENAMETOOLONG, "can not open");
	if (access(dirname(copy), W_OK | X_OK) < 0)
		return fail(o, -errno, "can not open");
	return o->size > INT64_MAX ? fail(o, -EFBIG, "can not set the size") : 1;
}

/* O_EXCL on a block device claims it; on a file without O_CREAT it means nothing and is left
 * out. Some file systems refuse O_DIRECT: then buffered, with RWF_DSYNC and fdatasync as ever. */
static int open_file(struct opening *o)
{
	struct stat st;
	int extra = 0, fd;

	if (stat(o->path, &st) == 0) {
		if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
			return err_set(o->err, -EINVAL, "%s is neither a file nor a block device",
				       o->path);
		if (S_ISBLK(st.st_mode) && o->flags & DISK_EXCLUSIVE)
			extra = O_EXCL;
	}
	fd = open_with(o, extra | O_DIRECT);
	if (fd == -EINVAL)
		fd = open_with(o, extra);
	if (fd == -ENOENT && o->flags & DISK_WOULD_CREATE)
		return could_create(o);
	if (fd == -EBUSY)
		return err_set(o->err, -EBUSY, "%s is in use by something else (mounted, or open)",
			       o->path);
	if (fd < 0)
		return fail(o, fd, "can not open");
	o->disk->fd = fd;
	return 0;
}

static int lock_file(struct opening *o)
{
	struct flock lock = {.l_type = o->flags & DISK_READ_ONLY ? F_RDLCK : F_WRLCK,
			     .l_whence = SEEK_SET};

	if (fcntl(o->disk->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(o->err, -EBUSY, "%s is open in another process", o->path);
	return fail(o, -errno, "can not lock");
}

static int sync_directory(struct opening *o)
{
	char copy[PATH_MAX];
	int fd, r = 0;

	if (snprintf(copy, sizeof copy, "%s", o->path) >= (int)sizeof copy)
		return fail(o, -ENAMETOOLONG, "can not create");
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(o, -errno, "can not open the folder of the new file");
	if (fsync(fd) < 0)
		r = fail(o, -errno, "can not make the new file durable");
	close(fd);
	return r;
}

static int size_new_file(struct opening *o)
{
	if (o->size > INT64_MAX)
		return fail(o, -EFBIG, "can not set the size");
	if (ftruncate(o->disk->fd, (off_t)o->size) < 0)
		return fail(o, -errno, "can not set the size");
	if (o->disk->memory)
		return 0;
	if (fsync(o->disk->fd) < 0)
		return fail(o, -errno, "can not make the new file durable");
	return sync_directory(o);
}

/* Describing */

/* One line of sysfs about the queue of device @major:@minor, or of the disk it is a part of. */
static bool read_queue_file(dev_t device, const char *name, char *line, int size)
{
	static const char *const forms[] = {"/sys/dev/block/%u:%u/queue/%s",
					    "/sys/dev/block/%u:%u/../queue/%s"};

	for (unsigned i = 0; i < 2; i++) {
		char path[128];
		FILE *file;
		bool got;

		snprintf(path, sizeof path, forms[i], major(device), minor(device), name);
		file = fopen(path, "re");
		if (!file)
			continue;
		got = fgets(line, size, file) != NULL;
		fclose(file);
		if (got)
			return true;
	}
	return false;
}

static uint32_t queue_number(dev_t device, const char *name)
{
	char line[64];
	unsigned long value = 0;

	if (read_queue_file(device, name, line, sizeof line))
		value = strtoul(line, NULL, 10);
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void describe_queue(struct disk *disk, dev_t device)
{
	char line[64];

	disk->rotational =
	    read_queue_file(device, "rotational", line, sizeof line) && line[0] == '1';
	disk->physical_block = queue_number(device, "physical_block_size");
	disk->atomic_write = queue_number(device, "atomic_write_unit_max_bytes");
	if (!disk->block_device)
		return;
	disk->memory = major(device) == RAMDISK_MAJOR;
	/* When in doubt there is a cache and a flush is worth its while. */
	disk->volatile_cache = !read_queue_file(device, "write_cache", line, sizeof line) ||
			       strncmp(line, "write through", 13) != 0;
	disk->discards =
	    read_queue_file(device, "discard_max_bytes", line, sizeof line) && line[0] != '0';
}

static int describe_block(struct opening *o)
{
	struct disk *disk = &o->disk->base;
	uint64_t size;
	int logical;

	if (ioctl(o->disk->fd, BLKGETSIZE64, &size) < 0 ||
	    ioctl(o->disk->fd, BLKSSZGET, &logical) < 0)
		return fail(o, -errno, "can not ask the device its size");
	disk->size = size;
	disk->logical_block = (uint32_t)logical;
	disk->memory_alignment = disk->logical_block;
	return 0;
}

/* The rules of direct I/O on this file. Kernels before 6.1, and some file systems, do not tell:
 * a page always works then. */
static void describe_file(struct opening *o, uint64_t size)
{
	struct disk *disk = &o->disk->base;
	struct statx sx = {0};

	disk->size = size;
	disk->discards = true;
	if (o->disk->memory || !(fcntl(o->disk->fd, F_GETFL) & O_DIRECT)) {
		disk->logical_block = 512;
		disk->memory_alignment = 1;
	} else if (statx(o->disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
		   sx.stx_mask & STATX_DIOALIGN && sx.stx_dio_offset_align) {
		disk->logical_block = sx.stx_dio_offset_align < 512 ? 512 : sx.stx_dio_offset_align;
		disk->memory_alignment = sx.stx_dio_mem_align;
	} else {
		disk->logical_block = SIZE_UNIT;
		disk->memory_alignment = SIZE_UNIT;
	}
	disk->volatile_cache = !o->disk->memory;
	disk->memory = o->disk->memory;
}

static int describe(struct opening *o)
{
	struct disk *disk = &o->disk->base;
	struct stat st;
	int r;

	if (fstat(o->disk->fd, &st) < 0)
		return fail(o, -errno, "can not stat");
	disk->block_device = S_ISBLK(st.st_mode);
	if (disk->block_device) {
		r = describe_block(o);
		if (r < 0)
			return r;
	} else {
		describe_file(o, (uint64_t)st.st_size);
	}
	describe_queue(disk, disk->block_device ? st.st_rdev : st.st_dev);
	disk_gate_init(&o->disk->gate, disk->block_device ? st.st_rdev : st.st_dev);
	if (disk->logical_block > SIZE_UNIT)
		return err_set(o->err, -EINVAL, "%s wants blocks of %u bytes; at most 4096 work",
			       o->path, disk->logical_block);
	disk->exact_size = disk->size - disk->size % disk->logical_block;
	disk->size -= disk->size % SIZE_UNIT;
	return 0;
}

static int prepare(struct opening *o)
{
	struct stat st;
	int r;

	if (fstat(o->disk->fd, &st) < 0)
		return fail(o, -errno, "can not stat");
	if (S_ISREG(st.st_mode)) {
		o->disk->memory = is_memory(o->disk->fd);
		r = o->flags & DISK_EXCLUSIVE ? lock_file(o) : 0;
		if (r == 0 && o->flags & DISK_CREATE && st.st_size == 0 && o->size)
			r = size_new_file(o);
		if (r < 0)
			return r;
	}
	return describe(o);
}

int file_disk_open(const struct world_ops *world, const char *path, unsigned flags, uint64_t size,
		   struct disk **ret_disk, struct err *err)
{
	struct opening o = {.path = path, .flags = flags, .size = size, .err = err};
	int r;

	o.disk = heap_zalloc(sizeof *o.disk);
	if (!o.disk)
		return err_set(err, -ENOMEM, "no memory to open %s", path);
	o.disk->fd = -1;
	o.disk->base.world = world;
	o.disk->base.path = heap_strdup(path);
	r = o.disk->base.path ? open_file(&o) : err_set(err, -ENOMEM, "no memory to open %s", path);
	if (r == 0)
		r = prepare(&o);
	if (r != 0) {
		if (o.created)
			unlink(path);
		file_disk_close(&o.disk->base);
		if (r > 0)
			*ret_disk = NULL;
		return r < 0 ? r : 0;
	}
	*ret_disk = &o.disk->base;
	return 0;
}

void file_disk_close(struct disk *disk)
{
	struct file_disk *file = container_of(disk, struct file_disk, base);

	if (file->fd >= 0)
		close(file->fd);
	disk_gate_destroy(&file->gate);
	heap_free(disk->path);
	heap_free(file);
}

int file_disk_rescan(struct disk *disk)
{
	struct file_disk *file = container_of(disk, struct file_disk, base);
	uint64_t size;
	struct stat st;

	if (disk->block_device) {
		if (ioctl(file->fd, BLKGETSIZE64, &size) < 0)
			return -errno;
	} else {
		if (fstat(file->fd, &st) < 0)
			return -errno;
		size = (uint64_t)st.st_size;
	}
	__atomic_store_n(&disk->exact_size, size - size % disk->logical_block, __ATOMIC_RELEASE);
	__atomic_store_n(&disk->size, size - size % SIZE_UNIT, __ATOMIC_RELEASE);
	return 0;
}

/* Requests */

static uint64_t iov_total(const struct disk_request *request)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < request->iov_count; i++)
		total += request->iov[i].iov_len;
	return total;
}

int file_disk_check(const struct disk *disk, const struct disk_request *request)
{
	uint64_t mask = disk->logical_block - 1;
	uint64_t size = __atomic_load_n(&disk->exact_size, __ATOMIC_RELAXED);

	if (request->op == DISK_FLUSH)
		return 0;
	if (request->offset > size || request->length > size - request->offset)
		return -EINVAL;
	if ((request->offset | request->length) & mask)
		return -EINVAL;
	if (request->op == DISK_DISCARD)
		return 0;
	if (request->length == 0 || request->length > INT32_MAX)
		return -EINVAL;
	if (request->iov_count == 0 || request->iov_count > IOV_MAX ||
	    iov_total(request) != request->length)
		return -EINVAL;
	return 0;
}

struct iovec file_disk_rest(const struct disk_request *request)
{
	uint64_t skip = request->progress;
	const struct iovec *iov = request->iov;

	while (skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
	}
	return (struct iovec){(char *)iov->iov_base + skip, iov->iov_len - skip};
}

/* scratch[9] counts the retries of a request; worlds use scratch[0..8]. */
static bool try_again(struct disk_request *request)
{
	return ++request->scratch[9] < RETRIES_MAX;
}

static bool finish(int result, int *ret_result)
{
	*ret_result = result;
	return true;
}

/* What drivers call a medium, a target or a path that failed, in one word. A read wants no space.
 */
static int device_error(enum disk_op op, int error)
{
	switch (error) {
	case -ENOSPC:
		return op == DISK_READ ? -EIO : error;
	case -ENODATA:
	case -EREMOTEIO:
	case -ENOLINK:
	case -ETIMEDOUT:
	case -EILSEQ:
	case -EBADE:
	case -ENODEV:
	case -ENXIO:
	case -ENOTCONN: /* what served the file is gone: FUSE, NFS */
	case -ECONNABORTED:
	case -ESTALE:
		return -EIO;
	default:
		return error;
	}
}

bool file_disk_advance(struct disk_request *request, int64_t count, int *ret_result)
{
	struct file_disk *file = container_of(request->disk, struct file_disk, base);

	if (count == -EINTR || count == -EAGAIN)
		return try_again(request) ? false : finish(-EIO, ret_result);
	if (request->op == DISK_DISCARD && (count == -EOPNOTSUPP || count == -ENODEV)) {
		file->refuses_discard = true;
		return finish(request->flags & DISK_ZERO ? -EOPNOTSUPP : 0, ret_result);
	}
	if (count < 0)
		return finish(device_error(request->op, (int)count), ret_result);
	if (request->op == DISK_FLUSH || request->op == DISK_DISCARD)
		return finish(0, ret_result);
	request->progress += (uint64_t)count;
	if (request->progress >= request->length)
		return finish(0, ret_result);
	/* Direct I/O goes on at a block boundary; no progress is the end of a truncated file. */
	request->progress -= request->progress % request->disk->logical_block;
	if (count < request->disk->logical_block)
		return finish(-EIO, ret_result);
	return false;
}

static int64_t transfer(struct disk_request *request, int flags)
{
	struct file_disk *file = container_of(request->disk, struct file_disk, base);
	off_t at = (off_t)(request->offset + request->progress);
	struct iovec rest;
	const struct iovec *iov = request->iov;
	int count = (int)request->iov_count;
	ssize_t n;

	if (request->progress) {
		rest = file_disk_rest(request);
		iov = &rest;
		count = 1;
	}
	/* One buffer is the usual case, and cheaper for the kernel without a vector. */
	if (request->op == DISK_READ)
		n = count == 1 ? pread(file->fd, iov->iov_base, iov->iov_len, at)
			       : preadv(file->fd, iov, count, at);
	else if (count == 1 && !flags)
		n = pwrite(file->fd, iov->iov_base, iov->iov_len, at);
	else
		n = pwritev2(file->fd, iov, count, at, flags);
	return n < 0 ? -errno : n;
}

bool file_disk_at_once(const struct disk_request *request)
{
	const struct file_disk *file = container_of(request->disk, struct file_disk, base);

	if (request->op == DISK_FLUSH)
		return !request->disk->volatile_cache;
	if (request->op == DISK_DISCARD)
		return request->length == 0 || file->refuses_discard;
	return file->memory;
}

bool file_disk_now(struct disk_request *request, int *ret_result)
{
	request->scratch[9] = 0;
	if (!file_disk_at_once(request))
		return false;
	if (request->op == DISK_DISCARD && request->length && request->flags & DISK_ZERO)
		return finish(-EOPNOTSUPP, ret_result); /* at once because it is refused */
	if (request->op == DISK_FLUSH || request->op == DISK_DISCARD)
		return finish(0, ret_result);
	while (!file_disk_advance(request, transfer(request, 0), ret_result))
		;
	return true;
}

static int64_t block_once(struct disk_request *request)
{
	struct file_disk *file = container_of(request->disk, struct file_disk, base);

	if (request->op == DISK_FLUSH)
		return fdatasync(file->fd) < 0 ? -errno : 0;
	if (request->op == DISK_DISCARD)
		return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)request->offset, (off_t)request->length) < 0
			   ? -errno
			   : 0;
	return transfer(request, request->flags & DISK_FUA ? RWF_DSYNC : 0);
}

int file_disk_block(struct disk_request *request)
{
	int result;

	while (!file_disk_advance(request, block_once(request), &result))
		;
	return result;
}
