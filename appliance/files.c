/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_new(int folder, const char *name, const char *data, size_t length, unsigned mode)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	int result = 0;

	if (fd < 0)
		return -errno;
	errno = 0;
	if (write(fd, data, length) != (ssize_t)length)
		result = errno ? -errno : -ENOSPC;
	if (result == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		result = -errno;
	close(fd);
	return result;
}

int file_replace(const char *path, const char *data, size_t length, unsigned mode, struct err *err)
{
	char folder_path[PATH_MAX], next[NAME_MAX + 1];
	const char *name = strrchr(path, '/');
	int folder, result;

	if (!name || name - path >= PATH_MAX || strlen(name + 1) > NAME_MAX - 5)
		return err_set(err, -ENAMETOOLONG, "%s: no path", path);
	snprintf(folder_path, sizeof folder_path, "%.*s", (int)(name - path), path);
	snprintf(next, sizeof next, "%s.next", name + 1);
	if (mkdir(folder_path, 0755) < 0 && errno != EEXIST)
		return err_set(err, -errno, "%s: %s", folder_path, strerror(errno));
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return err_set(err, -errno, "%s: %s", folder_path, strerror(errno));
	result = write_new(folder, next, data, length, mode);
	if (result == 0 && (renameat(folder, next, folder, name + 1) < 0 || fsync(folder) < 0))
		result = -errno;
	if (result < 0) {
		unlinkat(folder, next, 0);
		err_set(err, result, "%s: %s", path, strerror(-result));
	}
	close(folder);
	return result;
}
