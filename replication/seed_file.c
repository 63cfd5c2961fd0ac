/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/seed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fiber.h"

enum what { OPEN, READ, WRITE, CUT, FINISH, KIND };

/* On the fiber's stack: it waits for it. */
struct errand {
	struct message message;
	struct loop *loop;
	struct fiber *fiber;
	enum what what;
	enum seed_file_mode mode;
	int fd;
	const char *path, *name;
	void *data;
	size_t length;
	uint64_t offset;
	int64_t result;
	bool over;
};

static int64_t do_open(const struct errand *errand)
{
	static const int flags[] = {[SEED_FILE_READ] = O_RDONLY,
				    [SEED_FILE_NEW] = O_RDWR | O_CREAT | O_EXCL,
				    [SEED_FILE_AGAIN] = O_RDWR};
	struct stat stat;
	int fd =
	    open(errand->path, flags[errand->mode] | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

static int64_t do_read(const struct errand *errand)
{
	size_t done = 0;

	while (done < errand->length) {
		ssize_t part = pread(errand->fd, (char *)errand->data + done, errand->length - done,
				     (off_t)(errand->offset + done));

		if (part < 0 && errno == EINTR)
			continue;
		if (part < 0)
			return -errno;
		if (part == 0)
			break;
		done += (size_t)part;
	}
	return (int64_t)done;
}

static int64_t do_write(const struct errand *errand)
{
	size_t done = 0;

	while (done < errand->length) {
		ssize_t part = pwrite(errand->fd, (char *)errand->data + done,
				      errand->length - done, (off_t)(errand->offset + done));

		if (part < 0 && errno == EINTR)
			continue;
		if (part < 0)
			return -errno;
		done += (size_t)part;
	}
	return 0;
}

static int sync_directory(const char *path)
{
	char copy[PATH_MAX];
	int fd, result;

	snprintf(copy, sizeof copy, "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	result = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return result == -EINVAL ? 0 : result; /* a file system that has no such thing */
}

/* Not every file system has RENAME_NOREPLACE, nor links: a look before is enough for files of one
 * administrator. */
static int64_t do_finish(const struct errand *errand)
{
	struct stat stat;

	if (fsync(errand->fd) < 0)
		return -errno;
	if (lstat(errand->name, &stat) == 0)
		return -EEXIST;
	if (rename(errand->path, errand->name) < 0)
		return -errno;
	return sync_directory(errand->name);
}

static int64_t do_kind(const struct errand *errand)
{
	struct stat found;

	if (stat(errand->path, &found) < 0)
		return errno == ENOENT ? SEED_NOTHING : -errno;
	return S_ISDIR(found.st_mode)   ? SEED_DIRECTORY
	       : S_ISREG(found.st_mode) ? SEED_FILE
					: SEED_OTHER;
}

static void finished(struct message *message)
{
	struct errand *errand = container_of(message, struct errand, message);

	errand->over = true;
	fiber_wake(errand->fiber);
}

static void *run(void *context)
{
	struct errand *errand = context;

	switch (errand->what) {
	case OPEN:
		errand->result = do_open(errand);
		break;
	case READ:
		errand->result = do_read(errand);
		break;
	case WRITE:
		errand->result = do_write(errand);
		break;
	case CUT:
		errand->result = ftruncate(errand->fd, (off_t)errand->offset) < 0 ? -errno : 0;
		break;
	case FINISH:
		errand->result = do_finish(errand);
		break;
	case KIND:
		errand->result = do_kind(errand);
		break;
	}
	loop_post(errand->loop, &errand->message, finished);
	return NULL;
}

static int64_t send_off(struct errand *errand)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int result;

	errand->fiber = fiber_current();
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&thread, &attributes, run, errand);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (result != 0)
		return -result;
	while (!errand->over)
		fiber_wait();
	return errand->result;
}

int seed_file_open(struct loop *loop, const char *path, enum seed_file_mode mode)
{
	struct errand errand = {.loop = loop, .what = OPEN, .path = path, .mode = mode};

	return (int)send_off(&errand);
}

void seed_file_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

int64_t seed_file_read(struct loop *loop, int fd, void *data, size_t length, uint64_t offset)
{
	struct errand errand = {
	    .loop = loop, .what = READ, .fd = fd, .data = data, .length = length, .offset = offset};

	return send_off(&errand);
}

int seed_file_write(struct loop *loop, int fd, const void *data, size_t length, uint64_t offset)
{
	struct errand errand = {.loop = loop,
				.what = WRITE,
				.fd = fd,
				.data = (void *)(uintptr_t)data,
				.length = length,
				.offset = offset};

	return (int)send_off(&errand);
}

int seed_file_cut(struct loop *loop, int fd, uint64_t length)
{
	struct errand errand = {.loop = loop, .what = CUT, .fd = fd, .offset = length};

	return (int)send_off(&errand);
}

int seed_file_finish(struct loop *loop, int fd, const char *part, const char *name)
{
	struct errand errand = {.loop = loop, .what = FINISH, .fd = fd, .path = part, .name = name};

	return (int)send_off(&errand);
}

int seed_file_kind(struct loop *loop, const char *path)
{
	struct errand errand = {.loop = loop, .what = KIND, .path = path};

	return (int)send_off(&errand);
}
