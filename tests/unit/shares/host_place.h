/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SHARES_HOST_PLACE_H
#define TESTS_UNIT_SHARES_HOST_PLACE_H

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "shares/host_directory.h"
#include "tests/unit/shares/fs_bench.h"

/* A folder of the test's own, and one in it that is served. Opening by handle takes
 * CAP_DAC_READ_SEARCH: without, what needs it is skipped. */
static const uint8_t uuid[16] = {7}, secret[16] = {8};

struct place {
	struct fs_bench fs;
	char base[64], path[80]; /* a folder of the test's own; what is served in it */
	const char *allowed[1];
	struct host_directory_options options;
};

static inline int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
	(void)about;
	(void)kind;
	(void)walk;
	return remove(path);
}

/* FTW_MOUNT: nothing of another file system is touched. */
static inline void remove_tree(const char *path)
{
	assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), 0);
}

static inline void make_place(struct place *place)
{
	const char *folder = getenv("TMPDIR");

	memset(place, 0, sizeof(*place));
	fs_start(&place->fs);
	snprintf(place->base, sizeof(place->base), "%.40s/host.XXXXXX", folder ? folder : "/tmp");
	assert_non_null(mkdtemp(place->base));
	snprintf(place->path, sizeof(place->path), "%s/served", place->base);
	assert_int_equal(mkdir(place->path, 0755), 0);
	place->allowed[0] = place->base;
	place->options = (struct host_directory_options){.allowed = place->allowed,
							 .allowed_count = 1,
							 .path = place->path,
							 .uuid = uuid,
							 .secret = secret};
}

/* False: this process may not. Anything else that fails is a failure. */
static inline bool open_place(struct place *place)
{
	int result;

	make_place(place);
	result = host_directory_open(&place->options, &place->fs.vfs, &place->fs.err);
	if (result == -EPERM && geteuid() != 0) {
		remove_tree(place->base);
		loop_destroy(place->fs.loop);
		return false;
	}
	if (result)
		fail_msg("%s", place->fs.err.text);
	return true;
}

#define OPEN_OR_SKIP(place)                                                                        \
	do                                                                                         \
		if (!open_place(place))                                                            \
			skip();                                                                    \
	while (0)

static inline void close_place(struct place *place)
{
	fs_stop(&place->fs);
	remove_tree(place->base);
}

static const char *at(const struct place *place, const char *name)
{
	static char text[4][400];
	static unsigned next;
	char *made = text[next++ % 4];

	snprintf(made, sizeof(text[0]), "%s/%s", place->path, name);
	return made;
}

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static inline struct vfs_object find(struct place *place, const struct vfs_object *directory,
				     const char *name)
{
	struct vfs_object found = {0};

	assert_int_equal(fs_lookup(&place->fs, directory, name, &found), 0);
	return found;
}

#endif
