/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/medium.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "appliance/slot.h"

#define LOOK_MS 200 /* whether it is to be given up, while a server sends nothing */

int medium_read(int fd, void *data, size_t length)
{
	uint8_t *at = data;

	while (length) {
		ssize_t n = read(fd, at, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

int medium_take(const struct medium *medium, void *data, size_t length)
{
	struct pollfd wait = {.fd = medium->source, .events = POLLIN};
	uint8_t *at = data;

	while (length) {
		ssize_t n;

		if (medium->stopped && medium->stopped())
			return -ECANCELED;
		if (poll(&wait, 1, LOOK_MS) == 0)
			continue;
		n = read(medium->source, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

static int read_bundle(void *context, void *data, size_t length, struct err *err)
{
	const struct medium *medium = context;
	int result = medium_take(medium, data, length);

	if (result == -ENODATA)
		return err_set(err, result, "the bundle ends too early: it was cut off on its way");
	if (result < 0)
		return err_set(err, result, "the bundle can not be read: %s", strerror(-result));
	return 0;
}

/* What is there is written over: a power cut between taking a file away and writing the next one
 * would leave its clusters nobody's, and after a few of them the ESP would be full. */
static int open_boot_file(const struct medium *medium, enum bundle_file file, uint64_t size,
			  struct err *err)
{
	char name[32];
	int fd;

	snprintf(name, sizeof name, "%c", medium->target);
	if (mkdirat(medium->esp, name, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "the boot partition: %s", strerror(errno));
	snprintf(name, sizeof name, "%c/%s", medium->target, bundle_file_name(file));
	fd = openat(medium->esp, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
		return fd;
	err_set(err, -errno, "the boot partition: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return err->code;
}

static int open_root(const struct medium *medium, uint64_t size, struct err *err)
{
	uint64_t room = 0;
	char path[64];
	int fd;

	slot_root_path(medium->target, path);
	fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (ioctl(fd, BLKGETSIZE64, &room) == 0 && room >= size)
		return fd;
	close(fd);
	return err_set(err, -ENOSPC, "the release is larger than its slot %s (%" PRIu64 " bytes)",
		       path, room);
}

static int begin(void *context, enum bundle_file file, uint64_t size, struct err *err)
{
	struct medium *medium = context;
	struct err mine = {0};

	medium->fd = file == BUNDLE_ROOT ? open_root(medium, size, &mine)
					 : open_boot_file(medium, file, size, &mine);
	if (medium->fd < 0)
		return err_set(err, mine.code, "%s", mine.text);
	printf("%s: %" PRIu64 " bytes\n", bundle_file_name(file), size);
	fflush(stdout);
	return 0;
}

static int write_part(void *context, const void *data, size_t length, struct err *err)
{
	const struct medium *medium = context;

	errno = 0;
	if (write(medium->fd, data, length) == (ssize_t)length)
		return 0;
	return err_set(err, errno ? -errno : -EIO, "can not be written: %s", strerror(errno));
}

/* What comes back has to come from the medium, not from memory. */
static int sync_part(void *context, struct err *err)
{
	const struct medium *medium = context;

	if (fsync(medium->fd) < 0 || lseek(medium->fd, 0, SEEK_SET) < 0)
		return err_set(err, -errno, "is not durable: %s", strerror(errno));
	return -posix_fadvise(medium->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int read_back(void *context, void *data, size_t length, struct err *err)
{
	const struct medium *medium = context;
	int result = medium_read(medium->fd, data, length);

	return result < 0 ? err_set(err, result, "can not be read back: %s", strerror(-result)) : 0;
}

static int end(void *context, struct err *err)
{
	const struct medium *medium = context;

	return close(medium->fd) < 0 ? err_set(err, -errno, "%s", strerror(errno)) : 0;
}

static int read_env(void *context, struct grubenv *ret_env, struct err *err)
{
	const struct medium *medium = context;

	return env_read(medium->esp, ret_env, err);
}

static int write_env(void *context, const struct grubenv *env, struct err *err)
{
	const struct medium *medium = context;

	return env_write(medium->esp, env, err);
}

int medium_forget(const struct medium *medium, struct err *err)
{
	static const enum bundle_file boots[] = {BUNDLE_KERNEL, BUNDLE_INITRD};
	char name[32];

	for (unsigned i = 0; i < sizeof boots / sizeof *boots; i++) {
		snprintf(name, sizeof name, "%c/%s", medium->target, bundle_file_name(boots[i]));
		if (unlinkat(medium->esp, name, 0) < 0 && errno != ENOENT)
			return err_set(err, -errno, "the boot partition: %s: %s", name,
				       strerror(errno));
	}
	if (syncfs(medium->esp) < 0)
		return err_set(err, -errno, "the boot partition: %s", strerror(errno));
	return 0;
}

const struct install_ops medium_ops = {
    .read_bundle = read_bundle,
    .begin = begin,
    .write = write_part,
    .sync = sync_part,
    .read_back = read_back,
    .end = end,
    .read_env = read_env,
    .write_env = write_env,
};
