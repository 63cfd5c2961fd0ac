/* SPDX-License-Identifier: Apache-2.0 */
/* What programs may rely on of a file system, case by case, on any mounted one. Linked statically.
 *
 *	file_cases names FOLDER          trees, names, attributes, directories, open files
 *	file_cases locks FOLDER OTHER    fcntl locks of two processes; OTHER is the same folder, by
 *	                                 another mount where the server is to be asked
 *
 * Prints "ok - ..." or "not ok - ..." for each case; ends with 1 when one failed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK    4096u
#define PATIENCE 60 /* s that a lock is waited for */

static unsigned failed;
static char why[200];

/* Remembers the first thing that was not so, and goes on to say it. */
#define WANT(what)                                                                                 \
	do {                                                                                       \
		errno = 0;                                                                         \
		if (!(what)) {                                                                     \
			snprintf(why, sizeof(why), "line %d: %s: %s", __LINE__, #what,             \
				 strerror(errno));                                                 \
			return false;                                                              \
		}                                                                                  \
	} while (0)

#define FAILS(call, error) ((call) < 0 && errno == (error))

static int touch(const char *path)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);

	return fd < 0 ? fd : close(fd);
}

/* *ret_number: what follows @prefix in @name. */
static bool numbered(const char *name, const char *prefix, unsigned *ret_number)
{
	size_t length = strlen(prefix);
	char *end;

	if (strncmp(name, prefix, length) != 0)
		return false;
	*ret_number = (unsigned)strtoul(name + length, &end, 10);
	return end != name + length && *end == 0;
}

static bool is_there(const char *path)
{
	struct stat seen;

	return lstat(path, &seen) == 0;
}

static unsigned count_names(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* ---- names ---- */
static bool makes_tree(const char *at, unsigned levels)
{
	char path[256];

	for (unsigned i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/file.%u", at, i);
		WANT(touch(path) == 0);
	}
	for (unsigned i = 0; levels > 1 && i < 2; i++) {
		snprintf(path, sizeof(path), "%s/dir.%u", at, i);
		WANT(mkdir(path, 0777) == 0);
		if (!makes_tree(path, levels - 1))
			return false;
	}
	return true;
}

static bool removes_tree(const char *at)
{
	char path[600];
	struct dirent *found;
	DIR *dir = opendir(at);

	WANT(dir != NULL);
	while ((found = readdir(dir)) != NULL) { /* removing what is being listed */
		if (found->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", at, found->d_name);
		if (found->d_type == DT_DIR) {
			if (!removes_tree(path))
				return false;
		} else {
			WANT(unlink(path) == 0);
		}
	}
	closedir(dir);
	WANT(rmdir(at) == 0);
	return true;
}

static bool case_tree(void)
{
	WANT(mkdir("tree", 0777) == 0);
	if (!makes_tree("tree", 5))
		return false;
	WANT(FAILS(rmdir("tree"), ENOTEMPTY) || errno == EEXIST);
	return removes_tree("tree");
}

static bool case_working_directory(void)
{
	char before[600], seen[600];

	WANT(getcwd(before, sizeof(before)) != NULL);
	WANT(mkdir("cwd", 0777) == 0 && chdir("cwd") == 0);
	for (unsigned i = 0; i < 50; i++) {
		WANT(getcwd(seen, sizeof(seen)) && strcmp(strrchr(seen, '/'), "/cwd") == 0);
		WANT(chdir("..") == 0 && getcwd(seen, sizeof(seen)) && strcmp(seen, before) == 0);
		WANT(chdir("cwd") == 0);
	}
	WANT(chdir("..") == 0 && rmdir("cwd") == 0);
	return true;
}

static bool case_modes(void)
{
	struct stat seen;

	WANT(touch("mode") == 0);
	for (unsigned i = 0; i < 20; i++) {
		WANT(chmod("mode", 0) == 0 && stat("mode", &seen) == 0);
		WANT((seen.st_mode & 07777) == 0);
		WANT(chmod("mode", 0666) == 0 && stat("mode", &seen) == 0);
		WANT((seen.st_mode & 07777) == 0666);
	}
	WANT(unlink("mode") == 0);
	return true;
}

static bool case_large(void)
{
	static uint8_t piece[65536], back[65536];
	int fd = open("large", O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644);
	struct stat seen;

	WANT(fd >= 0);
	for (unsigned i = 0; i < 64; i++) {
		memset(piece, (int)(i + 1), sizeof(piece));
		WANT(write(fd, piece, sizeof(piece)) == (ssize_t)sizeof(piece));
	}
	WANT(close(fd) == 0 && stat("large", &seen) == 0 && seen.st_size == 64 * 65536);
	WANT((fd = open("large", O_RDONLY | O_CLOEXEC)) >= 0);
	for (unsigned i = 0; i < 64; i++) {
		memset(piece, (int)(i + 1), sizeof(piece));
		WANT(read(fd, back, sizeof(back)) == (ssize_t)sizeof(back));
		WANT(memcmp(piece, back, sizeof(piece)) == 0);
	}
	WANT(read(fd, back, 1) == 0 && close(fd) == 0 && unlink("large") == 0);
	return true;
}

static bool case_listing(void)
{
	bool removed[200] = {false}, listed[200] = {false};
	struct dirent *found;
	unsigned number = 0;
	char path[32];
	DIR *dir;

	WANT(mkdir("list", 0777) == 0 && chdir("list") == 0);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "entry.%u", i);
		WANT(touch(path) == 0);
	}
	for (unsigned round = 0; round < 10; round++) {
		WANT((dir = opendir(".")) != NULL);
		memset(listed, 0, sizeof(listed));
		while ((found = readdir(dir)) != NULL) {
			if (found->d_name[0] == '.')
				continue;
			WANT(numbered(found->d_name, "entry.", &number) && number < 200);
			WANT(!listed[number] && !removed[number]);
			listed[number] = true;
		}
		WANT(closedir(dir) == 0);
		for (unsigned i = 0; i < 200; i++)
			WANT(listed[i] == !removed[i]);
		for (unsigned i = round * 20; i < round * 20 + 20; i++) {
			snprintf(path, sizeof(path), "entry.%u", i);
			WANT(unlink(path) == 0);
			removed[i] = true;
		}
	}
	WANT(chdir("..") == 0 && rmdir("list") == 0);
	return true;
}

/* What stays is listed once, whatever comes and goes meanwhile. */
static bool case_listing_changes(void)
{
	unsigned seen[600] = {0}, number = 0, count = 0;
	struct dirent *found;
	char path[32];
	DIR *dir;

	WANT(mkdir("moving", 0777) == 0 && chdir("moving") == 0);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(path, sizeof(path), "e%u", i);
		WANT(touch(path) == 0);
	}
	WANT((dir = opendir(".")) != NULL);
	while ((found = readdir(dir)) != NULL) {
		if (!numbered(found->d_name, "e", &number))
			continue;
		WANT(number < 600);
		seen[number]++;
		if (number % 2) { /* the odd ones go as they come */
			WANT(unlink(found->d_name) == 0);
			snprintf(path, sizeof(path), "new%u", count++);
			WANT(count > 1000 || touch(path) == 0);
		}
	}
	WANT(closedir(dir) == 0);
	for (unsigned i = 0; i < 600; i++)
		WANT(seen[i] == 1);
	WANT(chdir("..") == 0);
	return removes_tree("moving");
}

static bool case_positions(void)
{
	char path[300], after[300][256];
	struct dirent *found;
	long places[301];
	unsigned count = 0, gone;
	DIR *dir;

	WANT(mkdir("places", 0777) == 0);
	for (unsigned i = 0; i < 298; i++) {
		snprintf(path, sizeof(path), "places/a-longer-name-of-a-file.%u", i);
		WANT(touch(path) == 0);
	}
	WANT((dir = opendir("places")) != NULL);
	for (places[0] = telldir(dir); count < 300 && (found = readdir(dir)) != NULL;
	     places[++count] = telldir(dir))
		snprintf(after[count], sizeof(after[0]), "%s", found->d_name);
	WANT(count == 300 && readdir(dir) == NULL);
	for (unsigned i = 0, at = 7; i < 300; i++, at = (at + 77) % 300) {
		seekdir(dir, places[at]);
		WANT((found = readdir(dir)) != NULL && strcmp(found->d_name, after[at]) == 0);
	}
	for (gone = 10; after[gone][0] == '.'; gone++)
		;
	snprintf(path, sizeof(path), "places/%s", after[gone]);
	WANT(unlink(path) == 0);
	seekdir(dir, places[200]); /* the others stay where they are */
	WANT((found = readdir(dir)) != NULL && strcmp(found->d_name, after[200]) == 0);
	rewinddir(dir);
	for (count = 0; readdir(dir) != NULL; count++)
		;
	WANT(count == 299 && closedir(dir) == 0);
	return removes_tree("places");
}

static bool case_links(void)
{
	struct stat one, two;

	WANT(touch("from") == 0 && link("from", "to") == 0);
	WANT(stat("from", &one) == 0 && stat("to", &two) == 0);
	WANT(one.st_ino == two.st_ino && one.st_nlink == 2 && two.st_nlink == 2);
	WANT(FAILS(link("from", "to"), EEXIST) && FAILS(link("none", "x"), ENOENT));
	WANT(rename("from", "to") == 0 && is_there("from") && is_there("to"));
	WANT(unlink("from") == 0 && stat("to", &two) == 0 && two.st_nlink == 1);
	WANT(rename("to", "third") == 0 && !is_there("to") && stat("third", &two) == 0);
	WANT(two.st_ino == one.st_ino && two.st_nlink == 1);
	WANT(FAILS(rename("none", "x"), ENOENT) && unlink("third") == 0);
	return true;
}

static bool case_symbolic(void)
{
	char target[1024], seen[1100];
	struct stat status;

	for (unsigned length = 1; length < sizeof(target); length = length * 2 + 1) {
		memset(target, 'x', length);
		target[length] = 0;
		WANT(symlink(target, "soft") == 0 && lstat("soft", &status) == 0);
		WANT(S_ISLNK(status.st_mode) && status.st_size == (off_t)length);
		WANT(readlink("soft", seen, sizeof(seen)) == (ssize_t)length);
		WANT(memcmp(seen, target, length) == 0);
		WANT(FAILS(symlink("y", "soft"), EEXIST) && unlink("soft") == 0);
	}
	WANT(symlink("loop", "loop") == 0 && FAILS(open("loop", O_RDONLY), ELOOP));
	WANT(FAILS(readlink(".", seen, sizeof(seen)), EINVAL) && unlink("loop") == 0);
	return true;
}

static bool case_space(void)
{
	struct statvfs space;

	WANT(statvfs(".", &space) == 0 && space.f_blocks > 0 && space.f_bfree <= space.f_blocks);
	WANT(space.f_bavail <= space.f_bfree && space.f_namemax == 255 && space.f_bsize >= 512);
	return true;
}

static bool case_open_unlinked(void)
{
	int fd = open("going", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	struct stat seen;
	char back[8];

	WANT(fd >= 0 && write(fd, "before", 6) == 6 && unlink("going") == 0 && !is_there("going"));
	WANT(pwrite(fd, "after!", 6, 6) == 6 && fstat(fd, &seen) == 0 && seen.st_size == 12);
	WANT(fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
	WANT(pread(fd, back, 6, 6) == 6 && memcmp(back, "after!", 6) == 0);
	WANT(touch("going") == 0 && stat("going", &seen) == 0 && seen.st_size == 0);
	WANT(close(fd) == 0 && unlink("going") == 0 && count_names(".") == 2);
	return true;
}

static bool case_renamed_over(void)
{
	int fd, other;
	char back[8];

	WANT((fd = open("old", O_CREAT | O_RDWR | O_CLOEXEC, 0644)) >= 0);
	WANT(write(fd, "older", 5) == 5 && fsync(fd) == 0);
	WANT((other = open("new", O_CREAT | O_RDWR | O_CLOEXEC, 0644)) >= 0);
	WANT(write(other, "newer", 5) == 5 && close(other) == 0 && rename("new", "old") == 0);
	WANT(pread(fd, back, 5, 0) == 5 && memcmp(back, "older", 5) == 0);
	WANT(pwrite(fd, "still", 5, 0) == 5 && fsync(fd) == 0);
	WANT((other = open("old", O_RDONLY | O_CLOEXEC)) >= 0 && pread(other, back, 5, 0) == 5);
	WANT(memcmp(back, "newer", 5) == 0 && close(other) == 0 && close(fd) == 0);
	WANT(unlink("old") == 0 && count_names(".") == 2);
	return true;
}

static bool case_open_changed(void)
{
	int fd;
	char back[8];

	WANT((fd = open("kept", O_CREAT | O_RDWR | O_CLOEXEC, 0644)) >= 0);
	WANT(write(fd, "data", 4) == 4 && chmod("kept", 0) == 0); /* who has it open keeps it */
	WANT(write(fd, "more", 4) == 4 && fsync(fd) == 0 && pread(fd, back, 8, 0) == 8);
	WANT(rename("kept", "named") == 0 && pwrite(fd, "x", 1, 0) == 1);
	WANT(truncate("named", 3) == 0 && pread(fd, back, 8, 0) == 3);
	WANT(memcmp(back, "xat", 3) == 0 && ftruncate(fd, 6) == 0 && pread(fd, back, 8, 0) == 6);
	WANT(memcmp(back, "xat\0\0\0", 6) == 0 && close(fd) == 0 && unlink("named") == 0);
	return true;
}

/* Of eight that create a name at once one does. */
static bool case_exclusive(void)
{
	int status, made = 0;
	char path[32];

	for (unsigned round = 0; round < 4; round++) {
		snprintf(path, sizeof(path), "one.%u", round);
		for (unsigned i = 0; i < 4; i++)
			if (fork() == 0) {
				int result = touch(path);

				_exit(result == 0 ? 1 : errno == EEXIST ? 0 : 2);
			}
		for (unsigned i = 0; i < 4; i++) {
			WANT(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) < 2);
			made += WEXITSTATUS(status);
		}
		WANT(made == (int)round + 1 && unlink(path) == 0);
	}
	WANT(FAILS(open(".", O_CREAT | O_RDWR, 0644), EISDIR));
	return true;
}

static bool case_holes(void)
{
	uint8_t back[BLOCK];
	struct stat seen;
	int fd;

	WANT((fd = open("hole", O_CREAT | O_RDWR | O_CLOEXEC, 0644)) >= 0);
	for (unsigned i = 0; i < 20; i++)
		WANT(pwrite(fd, "data", 4, (off_t)i * 100000 + 50000) == 4);
	WANT(close(fd) == 0 && (fd = open("hole", O_RDWR | O_CLOEXEC)) >= 0);
	WANT(fstat(fd, &seen) == 0 && seen.st_size == 19 * 100000 + 50004);
	for (unsigned i = 0; i < 20; i++) {
		WANT(pread(fd, back, 100, (off_t)i * 100000 + 49950) == (i == 19 ? 54 : 100));
		for (unsigned at = 0; at < 50; at++)
			WANT(back[at] == 0);
		WANT(memcmp(back + 50, "data", 4) == 0);
	}
	WANT(pwrite(fd, "end", 3, ((off_t)1 << 40) + 5) == 3 && fsync(fd) == 0);
	WANT(pread(fd, back, 8, ((off_t)1 << 40)) == 8 && memcmp(back, "\0\0\0\0\0end", 8) == 0);
	WANT(lseek(fd, 0, SEEK_END) == ((off_t)1 << 40) + 8);
	WANT(FAILS(lseek(fd, -1, SEEK_SET), EINVAL) && FAILS(pread(fd, back, 1, -1), EINVAL));
	WANT(FAILS(ftruncate(fd, -1), EINVAL) && pread(fd, back, 1, (off_t)1 << 41) == 0);
	WANT(close(fd) == 0 && unlink("hole") == 0);
	return true;
}

static bool case_too_large(void)
{
	int fd = open("huge", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	struct stat seen;

	WANT(fd >= 0);
	/* A size that is not there is refused, and nothing is changed. */
	if (ftruncate(fd, INT64_MAX) < 0)
		WANT(FAILS(ftruncate(fd, INT64_MAX), EFBIG) || errno == EINVAL);
	else
		WANT(ftruncate(fd, 0) == 0);
	WANT(fstat(fd, &seen) == 0 && seen.st_size == 0 && close(fd) == 0 && unlink("huge") == 0);
	return true;
}

static bool case_times(void)
{
	struct timespec set[2] = {{.tv_sec = 1000000000, .tv_nsec = 1}, {.tv_nsec = UTIME_OMIT}};
	struct stat one, two;
	int fd;

	WANT((fd = open("times", O_CREAT | O_RDWR | O_CLOEXEC, 0644)) >= 0 && fstat(fd, &one) == 0);
	usleep(30000);
	WANT(write(fd, "x", 1) == 1 && fsync(fd) == 0 && fstat(fd, &two) == 0);
	WANT(two.st_mtim.tv_sec > one.st_mtim.tv_sec || two.st_mtim.tv_nsec > one.st_mtim.tv_nsec);
	WANT(two.st_ctim.tv_sec > one.st_ctim.tv_sec || two.st_ctim.tv_nsec > one.st_ctim.tv_nsec);
	WANT(futimens(fd, set) == 0 && fstat(fd, &one) == 0 && one.st_atim.tv_sec == 1000000000);
	WANT(one.st_atim.tv_nsec == 1 && one.st_mtim.tv_nsec == two.st_mtim.tv_nsec);
	usleep(30000);
	WANT(link("times", "times2") == 0 && fstat(fd, &two) == 0);
	WANT(two.st_ctim.tv_sec > one.st_ctim.tv_sec || two.st_ctim.tv_nsec > one.st_ctim.tv_nsec);
	WANT(close(fd) == 0 && unlink("times") == 0 && unlink("times2") == 0);
	return true;
}

static bool case_errors(void)
{
	char name[300];

	memset(name, 'n', sizeof(name));
	name[256] = 0;
	WANT(FAILS(touch(name), ENAMETOOLONG) && FAILS(mkdir(name, 0755), ENAMETOOLONG));
	name[255] = 0;
	WANT(touch(name) == 0 && unlink(name) == 0);
	WANT(touch("plain") == 0 && FAILS(touch("plain/x"), ENOTDIR));
	WANT(FAILS(open("plain", O_RDONLY | O_DIRECTORY), ENOTDIR) &&
	     FAILS(rmdir("plain"), ENOTDIR));
	WANT(mkdir("folder", 0755) == 0 && FAILS(open("folder", O_WRONLY), EISDIR));
	WANT(FAILS(rename("folder", "folder/in"), EINVAL));
	WANT(FAILS(rename("folder", "plain"), ENOTDIR) && FAILS(rename("plain", "folder"), EISDIR));
	WANT(FAILS(rmdir("folder/."), EINVAL) && FAILS(unlink("none"), ENOENT));
	WANT(rmdir("folder") == 0 && unlink("plain") == 0);
	return true;
}

static bool case_append(void)
{
	uint32_t value;
	bool seen[300] = {false};
	int fd, status;

	WANT(touch("log") == 0);
	for (uint32_t i = 0; i < 3; i++)
		if (fork() == 0) {
			fd = open("log", O_WRONLY | O_APPEND | O_CLOEXEC);
			for (uint32_t j = i * 100; j < i * 100 + 100; j++)
				if (write(fd, &j, sizeof(j)) != (ssize_t)sizeof(j))
					_exit(1);
			_exit(close(fd) != 0);
		}
	for (unsigned i = 0; i < 3; i++)
		WANT(wait(&status) > 0 && status == 0);
	WANT((fd = open("log", O_RDONLY | O_CLOEXEC)) >= 0);
	for (unsigned i = 0; i < 300; i++) {
		WANT(read(fd, &value, sizeof(value)) == (ssize_t)sizeof(value) && value < 300);
		WANT(!seen[value]);
		seen[value] = true;
	}
	WANT(close(fd) == 0 && unlink("log") == 0);
	return true;
}

/* ---- locks: this process, and another that does what it is told ---- */
#define FAR INT64_MAX

static int mine; /* the file, here */
static int to_other, of_other;

struct order {
	char verb; /* s: set, w: set and wait, g: get, c: close and open, q: end */
	short type;
	int64_t start, length;
};

static int set(int fd, int how, short type, int64_t start, int64_t length)
{
	struct flock lock = {
	    .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, how, &lock) == 0 ? 0 : errno == EACCES ? EAGAIN : errno;
}

static void woken(int number)
{
	(void)number;
}

static int carry_out(int fd, const struct order *order)
{
	struct flock lock = {.l_type = order->type,
			     .l_whence = SEEK_SET,
			     .l_start = order->start,
			     .l_len = order->length};

	if (order->verb == 's')
		return set(fd, F_SETLK, order->type, order->start, order->length);
	if (order->verb == 'w') {
		int result;

		alarm(PATIENCE);
		result = set(fd, F_SETLKW, order->type, order->start, order->length);
		alarm(0);
		return result;
	}
	if (fcntl(fd, F_GETLK, &lock) != 0)
		return -errno;
	return lock.l_type;
}

static void other_process(const char *path, int from, int to)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), result = 0;
	struct sigaction action = {.sa_handler = woken};
	struct order order;

	sigaction(SIGALRM, &action, NULL);
	while (read(from, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
		if (order.verb == 'c') {
			close(fd);
			fd = open(path, O_RDWR | O_CLOEXEC);
			result = fd < 0 ? errno : 0;
		} else {
			result = fd < 0 ? EBADF : carry_out(fd, &order);
		}
		if (write(to, &result, sizeof(result)) != (ssize_t)sizeof(result))
			break;
	}
	_exit(0);
}

static bool tell(char verb, short type, int64_t start, int64_t length)
{
	struct order order = {verb, type, start, length};

	return write(to_other, &order, sizeof(order)) == (ssize_t)sizeof(order);
}

static int heard(void)
{
	int result = -1;

	return read(of_other, &result, sizeof(result)) == (ssize_t)sizeof(result) ? result : -1;
}

static int theirs(short type, int64_t start, int64_t length)
{
	return tell('s', type, start, length) ? heard() : -1;
}

static int ours(short type, int64_t start, int64_t length)
{
	return set(mine, F_SETLK, type, start, length);
}

static bool nothing_locked(void)
{
	WANT(ours(F_UNLCK, 0, 0) == 0 && theirs(F_UNLCK, 0, 0) == 0);
	return true;
}

static bool case_whole(void)
{
	WANT(ours(F_WRLCK, 0, 0) == 0 && theirs(F_WRLCK, 0, 1) == EAGAIN);
	WANT(theirs(F_RDLCK, 1 << 20, 1) == EAGAIN && theirs(F_WRLCK, FAR, 1) == EAGAIN);
	WANT(ours(F_UNLCK, 0, 0) == 0 && theirs(F_WRLCK, 0, 0) == 0);
	WANT(ours(F_RDLCK, 0, 0) == EAGAIN && theirs(F_UNLCK, 0, 0) == 0);
	return nothing_locked();
}

static bool case_neighbours(void)
{
	WANT(ours(F_WRLCK, 10, 10) == 0 && theirs(F_WRLCK, 0, 10) == 0);
	WANT(theirs(F_WRLCK, 20, 10) == 0 && theirs(F_WRLCK, 19, 1) == EAGAIN);
	WANT(theirs(F_WRLCK, 10, 1) == EAGAIN && theirs(F_WRLCK, 0, 0) == EAGAIN);
	WANT(ours(F_WRLCK, 9, 1) == EAGAIN && ours(F_WRLCK, 20, 1) == EAGAIN);
	return nothing_locked();
}

static bool case_shared(void)
{
	WANT(ours(F_RDLCK, 0, 100) == 0 && theirs(F_RDLCK, 50, 100) == 0);
	WANT(theirs(F_WRLCK, 60, 1) == EAGAIN && ours(F_WRLCK, 60, 1) == EAGAIN);
	WANT(ours(F_WRLCK, 0, 50) == 0 && theirs(F_RDLCK, 49, 1) == EAGAIN); /* upgrade */
	WANT(ours(F_RDLCK, 0, 50) == 0 && theirs(F_RDLCK, 49, 1) == 0);      /* downgrade */
	WANT(theirs(F_UNLCK, 0, 0) == 0 && ours(F_WRLCK, 0, 100) == 0);
	return nothing_locked();
}

static bool case_parts(void)
{
	WANT(ours(F_WRLCK, 0, 100) == 0 && ours(F_UNLCK, 40, 20) == 0); /* split */
	WANT(theirs(F_WRLCK, 40, 20) == 0 && theirs(F_WRLCK, 39, 1) == EAGAIN);
	WANT(theirs(F_WRLCK, 60, 1) == EAGAIN && ours(F_UNLCK, 0, 10) == 0);
	WANT(theirs(F_WRLCK, 0, 10) == 0 && theirs(F_WRLCK, 10, 1) == EAGAIN);
	WANT(theirs(F_UNLCK, 0, 0) == 0 && ours(F_WRLCK, 30, 40) == 0); /* joined again */
	WANT(theirs(F_WRLCK, 45, 1) == EAGAIN && ours(F_UNLCK, 20, 60) == 0);
	WANT(theirs(F_WRLCK, 20, 60) == 0 && theirs(F_WRLCK, 10, 10) == EAGAIN);
	WANT(theirs(F_WRLCK, 80, 20) == EAGAIN && theirs(F_WRLCK, 100, 0) == 0);
	return nothing_locked();
}

static bool case_nothing_to_unlock(void)
{
	WANT(ours(F_UNLCK, 5, 5) == 0 && ours(F_WRLCK, 0, 10) == 0 && ours(F_WRLCK, 0, 10) == 0);
	WANT(theirs(F_UNLCK, 0, 10) == 0 && theirs(F_WRLCK, 0, 10) == EAGAIN);
	WANT(ours(F_UNLCK, 0, 10) == 0 && theirs(F_WRLCK, 0, 10) == 0);
	return nothing_locked();
}

static bool case_far(void)
{
	WANT(ours(F_WRLCK, FAR, 1) == 0 && theirs(F_WRLCK, FAR, 1) == EAGAIN);
	WANT(theirs(F_WRLCK, FAR - 1, 1) == 0 && theirs(F_WRLCK, FAR - 1, 0) == EAGAIN);
	WANT(ours(F_WRLCK, FAR, 2) == EOVERFLOW || errno == EINVAL);
	WANT(theirs(F_UNLCK, 0, 0) == 0 && ours(F_UNLCK, FAR, 0) == 0);
	WANT(ours(F_WRLCK, 0x7fffffff, 1) == 0 && theirs(F_WRLCK, 0x80000000, 0x80000000) == 0);
	WANT(ours(F_WRLCK, 0x100000000, 0) == 0 && theirs(F_WRLCK, FAR, 1) == EAGAIN);
	WANT(theirs(F_WRLCK, 0x7fffffff, 1) == EAGAIN && ours(F_UNLCK, 0x100000001, 0) == 0);
	WANT(theirs(F_WRLCK, FAR, 1) == 0 && theirs(F_WRLCK, 0x100000000, 1) == EAGAIN);
	WANT(ours(F_UNLCK, 0, FAR) == 0 && theirs(F_WRLCK, 0, 0) == 0);
	return nothing_locked();
}

static bool case_backwards(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -10, .l_len = -10};

	WANT(ftruncate(mine, 1000) == 0 && fcntl(mine, F_SETLK, &lock) == 0); /* 980 to 989 */
	WANT(theirs(F_WRLCK, 980, 1) == EAGAIN && theirs(F_WRLCK, 989, 1) == EAGAIN);
	WANT(theirs(F_WRLCK, 970, 10) == 0 && theirs(F_WRLCK, 990, 10) == 0);
	WANT(ours(F_WRLCK, -1, 1) == EINVAL && ours(F_WRLCK, 5, -6) == EINVAL);
	return nothing_locked();
}

static bool case_tested(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};

	WANT(theirs(F_WRLCK, 100, 50) == 0 && fcntl(mine, F_GETLK, &lock) == 0);
	WANT(lock.l_type == F_WRLCK && lock.l_start == 100 && lock.l_len == 50);
	WANT(theirs(F_RDLCK, 100, 50) == 0);
	lock = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
	WANT(fcntl(mine, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK);
	lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 120, .l_len = 1};
	WANT(fcntl(mine, F_GETLK, &lock) == 0 && lock.l_type == F_RDLCK && lock.l_start == 100);
	WANT(ours(F_RDLCK, 0, 10) == 0 && tell('g', F_RDLCK, 0, 10) && heard() == F_UNLCK);
	WANT(tell('g', F_WRLCK, 0, 10) && heard() == F_RDLCK);
	return nothing_locked();
}

/* Who waits gets it when it is free, by unlocking and by closing. */
static bool case_waiting(void)
{
	int again;

	WANT(ours(F_WRLCK, 0, 10) == 0 && tell('w', F_WRLCK, 5, 10));
	usleep(300000);
	WANT(ours(F_UNLCK, 0, 10) == 0 && heard() == 0);
	WANT(ours(F_WRLCK, 5, 1) == EAGAIN && ours(F_WRLCK, 0, 5) == 0);
	WANT(theirs(F_UNLCK, 0, 0) == 0 && ours(F_WRLCK, 0, 10) == 0 && tell('w', F_RDLCK, 0, 10));
	usleep(300000);
	WANT(ours(F_RDLCK, 0, 10) == 0 && heard() == 0 && theirs(F_UNLCK, 0, 0) == 0);
	WANT(ours(F_WRLCK, 0, 10) == 0 && tell('w', F_WRLCK, 0, 0));
	usleep(300000);
	WANT((again = dup(mine)) >= 0 && close(again) == 0 && heard() == 0); /* any close */
	WANT(ours(F_RDLCK, 1 << 20, 1) == EAGAIN && tell('c', 0, 0, 0) && heard() == 0);
	WANT(ours(F_WRLCK, 0, 0) == 0);
	return nothing_locked();
}

/* One that dies has nothing locked. */
static bool case_death(void)
{
	pid_t child = fork();
	int status;

	WANT(child >= 0);
	if (child == 0)
		_exit(ours(F_WRLCK, 0, 100));
	WANT(waitpid(child, &status, 0) == child && status == 0);
	WANT(theirs(F_WRLCK, 0, 100) == 0);
	WANT(ours(F_WRLCK, 99, 1) == EAGAIN);
	return nothing_locked();
}

static bool case_rights(void)
{
	int fd = open("locked", O_RDONLY | O_CLOEXEC);

	WANT(fd >= 0 && set(fd, F_SETLK, F_WRLCK, 0, 1) == EBADF);
	WANT(set(fd, F_SETLK, F_RDLCK, 0, 1) == 0 && theirs(F_WRLCK, 0, 1) == EAGAIN);
	WANT(close(fd) == 0 && theirs(F_WRLCK, 0, 1) == 0);
	return nothing_locked();
}

static bool case_many(void)
{
	for (int64_t i = 0; i < 100; i++)
		WANT(ours(F_WRLCK, i * 10, 5) == 0 &&
		     theirs(i % 2 ? F_RDLCK : F_WRLCK, i * 10 + 5, 5) == 0);
	for (int64_t i = 0; i < 100; i++)
		WANT(ours(F_RDLCK, i * 10 + 5, 1) == (i % 2 ? 0 : EAGAIN));
	WANT(ours(F_UNLCK, 0, 0) == 0 && theirs(F_WRLCK, 0, 0) == 0);
	return nothing_locked();
}

/* What one writes under its lock the other reads under its own. */
static bool case_seen(const char *other)
{
	char back[32], text[32];
	int fd = -1, status;

	for (int i = 0; i < 5; i++) {
		pid_t child;

		WANT(ours(F_WRLCK, 0, 0) == 0);
		snprintf(text, sizeof(text), "turn %d of this file", i);
		WANT(pwrite(mine, text, strlen(text), 0) == (ssize_t)strlen(text));
		WANT(ours(F_UNLCK, 0, 0) == 0 && (child = fork()) >= 0);
		if (child == 0) {
			fd = open(other, O_RDWR | O_CLOEXEC);
			if (set(fd, F_SETLKW, F_RDLCK, 0, 0) != 0)
				_exit(1);
			_exit(pread(fd, back, strlen(text), 0) != (ssize_t)strlen(text) ||
			      memcmp(back, text, strlen(text)) != 0);
		}
		WANT(waitpid(child, &status, 0) == child && status == 0);
	}
	return true;
}

struct test {
	bool (*run)(void);
	const char *text;
};

static const struct test names[] = {
    {case_tree, "trees are made, and removed while they are listed"},
    {case_working_directory, "the working directory has its name"},
    {case_modes, "modes are set and seen"},
    {case_links, "hard links, renames"},
    {case_symbolic, "symbolic links of any length"},
    {case_space, "how much space there is"},
    {case_large, "a large file comes back"},
    {case_listing, "a directory lists what is there, as it goes"},
    {case_listing_changes, "and what stays once, while others come and go"},
    {case_positions, "telldir and seekdir find the place again"},
    {case_open_unlinked, "an open file that is removed"},
    {case_renamed_over, "an open file that another is renamed over"},
    {case_open_changed, "an open file that is closed to others, renamed, cut"},
    {case_exclusive, "O_EXCL lets one in"},
    {case_holes, "holes, and places that are not there"},
    {case_too_large, "a size beyond any"},
    {case_times, "times go on, and are set"},
    {case_append, "who appends overwrites nobody"},
    {case_errors, "what is refused, and how"},
};

static const struct test locks[] = {
    {case_whole, "the whole file"},
    {case_neighbours, "ranges side by side, and over each other"},
    {case_shared, "readers together; up to a writer, and down"},
    {case_parts, "unlocked in the middle, at the ends, joined again"},
    {case_nothing_to_unlock, "what was not locked is unlocked; the same twice"},
    {case_far, "up to the last byte of 2^63"},
    {case_backwards, "from the end, backwards"},
    {case_tested, "who is in the way"},
    {case_waiting, "waiting, until it is unlocked, made a reader's, closed"},
    {case_death, "one that dies has none"},
    {case_rights, "a lock wants the file open for it"},
    {case_many, "two hundred of them"},
};

static void say(bool good, const char *text)
{
	if (good)
		printf("ok - %s\n", text);
	else
		printf("not ok - %s\n# %s\n", text, why);
	failed += !good;
}

static void run_locks(const char *folder, const char *other)
{
	char path[600];
	int there[2], back[2];

	mine = open("locked", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	snprintf(path, sizeof(path), "%s/locked", other);
	if (mine < 0 || pipe(there) != 0 || pipe(back) != 0) {
		printf("not ok - %s: %s\n", folder, strerror(errno));
		exit(1);
	}
	if (fork() == 0) {
		close(there[1]);
		other_process(path, there[0], back[1]);
	}
	to_other = there[1];
	of_other = back[0];
	for (unsigned i = 0; i < sizeof(locks) / sizeof(locks[0]); i++) {
		say(locks[i].run(), locks[i].text);
		nothing_locked();
	}
	say(case_seen(path), "what one writes under its lock the other sees");
	close(to_other);
	unlink("locked");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3 || chdir(argv[2]) != 0) {
		fprintf(stderr, "usage: file_cases names FOLDER\n"
				"       file_cases locks FOLDER OTHER\n");
		return 2;
	}
	umask(022);
	if (argc == 4 && strcmp(argv[1], "locks") == 0)
		run_locks(argv[2], argv[3]);
	for (unsigned i = 0; argc == 3 && i < sizeof(names) / sizeof(names[0]); i++)
		say(names[i].run(), names[i].text);
	return failed != 0;
}
