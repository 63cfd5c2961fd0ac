/* SPDX-License-Identifier: Apache-2.0 */
/* host_guard.c: what is never served, whatever is allowed: the machine as a whole, and what holds
 * its secrets or ours. Directories are told by what they are, not by their names, so that neither a
 * link nor a bind mount is a way round: where one of the two is mounted from elsewhere, the way up
 * from it leads past the other, so each is looked for from the other's mount as well. */
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

/* Is @fd (taken) @above, or below it? What can not be looked at counts as if it were; not so what
 * its mount does not lead up from, if that @may_be_cut_off. */
static bool is_at_or_below(int fd, const struct host_place *above, bool may_be_cut_off)
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
		if (up < 0 && errno == ENOENT && may_be_cut_off)
			found = false;
		close(fd);
		fd = up;
	}
	if (fd >= 0)
		close(fd);
	return found;
}

union any_handle {
	struct file_handle handle;
	uint8_t bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

/* The directory @fd as it is in the mount of @above_fd. -ENOENT: it is not; nor where there are no
 * handles, or no privilege to open them: then nothing is served at all. */
static int seen_from(int above_fd, int fd)
{
	union any_handle box = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount, seen, by, error;

	if (name_to_handle_at(fd, "", &box.handle, &mount, AT_EMPTY_PATH) < 0)
		return errno == EOPNOTSUPP ? -ENOENT : -errno;
	by = openat(above_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (by < 0)
		return errno == EACCES ? -ENOENT : -errno;
	seen = open_by_handle_at(by, &box.handle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	error = errno;
	close(by);
	if (seen < 0)
		return error == ESTALE || error == EPERM ? -ENOENT : -error;
	return seen;
}

/* Is the directory @fd at @above_fd, or below it, whatever mounts they were reached by? < 0: it can
 * not be looked at. */
static int is_within(int fd, int above_fd)
{
	struct host_place here, above;
	int seen;

	if (!host_place_of(fd, &here) || !host_place_of(above_fd, &above))
		return -errno;
	if (is_at_or_below(fcntl(fd, F_DUPFD_CLOEXEC, 0), &above, false))
		return 1;
	if (here.major != above.major || here.minor != above.minor)
		return 0;
	seen = seen_from(above_fd, fd);
	if (seen < 0)
		return seen == -ENOENT ? 0 : seen;
	return is_at_or_below(seen, &above, true);
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

static int check_one(int root_fd, const char *path, const char *served, struct err *err)
{
	bool directory;
	int fd = open_guarded(path, &directory), within = fd;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd >= 0)
		within = directory ? is_within(root_fd, fd) : 0;
	if (within > 0)
		err_set(err, -EACCES, "%s is not served: it is in %s", served, path);
	if (within == 0 && (within = is_within(fd, root_fd)) > 0)
		err_set(err, -EACCES, "%s is not served: %s is in it", served, path);
	if (within < 0)
		err_set(err, within, "%s can not be looked at: %s", path, strerror(-within));
	if (fd >= 0)
		close(fd);
	return within > 0 ? -EACCES : within;
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
		result = check_one(root_fd, always[i], options->path, err);
	for (unsigned i = 0; i < options->guarded_count && result == 0; i++)
		result = check_one(root_fd, options->guarded[i], options->path, err);
	return result;
}
