/* SPDX-License-Identifier: Apache-2.0 */
/* host_guard.c: what is never served, whatever is allowed: the machine as a whole, and what holds
 * its secrets or ours. Directories are told by what they are, not by their names, so that neither a
 * bind mount nor a link is a way round. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shares/host.h"
#include "shares/host_directory.h"

bool host_place_of(int fd, struct host_place *ret_place)
{
	struct statx about;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &about) < 0)
		return false;
	*ret_place = (struct host_place){about.stx_ino, about.stx_dev_major, about.stx_dev_minor};
	return true;
}

bool host_same_place(const struct host_place *a, const struct host_place *b)
{
	return a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}

/* Is @fd (taken) @above, or below it? What can not be looked at counts as if it were. */
static bool is_at_or_below(int fd, const struct host_place *above)
{
	struct host_place here, before = {0};
	bool found = true;

	for (unsigned i = 0; i < HOST_DEPTH_MAX && fd >= 0 && host_place_of(fd, &here); i++) {
		int up;

		found = host_same_place(&here, above);
		if (found || host_same_place(&here, &before)) /* the root is its own parent */
			break;
		found = true;
		before = here;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = up;
	}
	if (fd >= 0)
		close(fd);
	return found;
}

/* The directory @path, or the one that the file @path is in; behind symbolic links, for it is what
 * they lead to that matters. */
static int open_guarded(const char *path, bool *ret_directory)
{
	char real[PATH_MAX], *slash;
	int fd;

	if (!realpath(path, real))
		return -errno;
	fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*ret_directory = fd >= 0;
	if (fd >= 0 || errno != ENOTDIR)
		return fd < 0 ? -errno : fd;
	slash = strrchr(real, '/');
	slash[slash == real] = '\0';
	fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int check_one(int root_fd, const struct host_place *root, const char *path,
		     const char *served, struct err *err)
{
	bool directory;
	struct host_place guarded;
	int fd = open_guarded(path, &directory);

	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0 || !host_place_of(fd, &guarded)) {
		int result = fd < 0 ? fd : -errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, result, "%s can not be looked at: %s", path, strerror(-result));
	}
	if (directory && is_at_or_below(openat(root_fd, ".", O_PATH | O_CLOEXEC), &guarded)) {
		close(fd);
		return err_set(err, -EACCES, "%s is not served: it is in %s", served, path);
	}
	if (is_at_or_below(fd, root))
		return err_set(err, -EACCES, "%s is not served: %s is in it", served, path);
	return 0;
}

int host_check_guarded(int root_fd, const struct host_directory_options *options, struct err *err)
{
	static const char *const always[] = {"/proc", "/sys",  "/dev", "/run",
					     "/etc",  "/boot", "/root"};
	struct host_place root = {0}, machine = {0};
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), result = 0;

	if (fd < 0 || !host_place_of(fd, &machine) || !host_place_of(root_fd, &root))
		result = err_set(err, -EIO, "statx: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	if (result == 0 && host_same_place(&root, &machine))
		result = err_set(err, -EACCES, "%s is the whole machine, which is not served",
				 options->path);
	for (unsigned i = 0; i < sizeof(always) / sizeof(always[0]) && result == 0; i++)
		result = check_one(root_fd, &root, always[i], options->path, err);
	for (unsigned i = 0; i < options->guarded_count && result == 0; i++)
		result = check_one(root_fd, &root, options->guarded[i], options->path, err);
	return result;
}
