/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"

#define VERSION_MOST 999999

static const struct {
	const char *before, *behind; /* the version */
} kinds[] = {
    [CONFIG_COPY] = {".v", ""},
    [CONFIG_COPY_KEPT] = {".v", ".kept"},
    [CONFIG_COPY_NEWER] = {".newer-v", ""},
};

/* Of @path, the name in its folder. */
static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void folder_of(const char *path, char folder[PATH_MAX])
{
	size_t length = (size_t)(base_of(path) - path);

	snprintf(folder, PATH_MAX, "%.*s", length ? (int)length : 1, length ? path : ".");
}

/* 0: @name is another file. */
static int64_t version_of(const char *name, const char *base, enum config_copy kind)
{
	size_t length = strlen(base), before = strlen(kinds[kind].before);
	int64_t version = 0;

	if (strncmp(name, base, length) != 0 ||
	    strncmp(name + length, kinds[kind].before, before) != 0)
		return 0;
	name += length + before;
	if (*name == '0')
		return 0;
	for (; *name >= '0' && *name <= '9' && version <= VERSION_MOST; name++)
		version = 10 * version + (*name - '0');
	return version <= VERSION_MOST && strcmp(name, kinds[kind].behind) == 0 ? version : 0;
}

int64_t config_copy_find(const char *path, enum config_copy kind, int64_t most)
{
	char folder[PATH_MAX];
	int64_t found = 0;
	struct dirent *entry;
	DIR *dir;

	folder_of(path, folder);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir))) {
		int64_t version = version_of(entry->d_name, base_of(path), kind);

		if (version > found && version <= most)
			found = version;
	}
	if (dir)
		closedir(dir);
	return found;
}

char *config_copy_name(const char *path, enum config_copy kind, int64_t version)
{
	return heap_printf("%s%s%" PRId64 "%s", path, kinds[kind].before, version,
			   kinds[kind].behind);
}

void config_copy_prune(const char *path, enum config_copy kind)
{
	int64_t version = INT64_MAX;

	for (unsigned kept = 0; (version = config_copy_find(path, kind, version - 1)); kept++) {
		char *name = kept < CONFIG_COPIES ? NULL : config_copy_name(path, kind, version);

		if (name)
			unlink(name);
		heap_free(name);
	}
}

/* Of any kind: with what SQLite keeps beside it, and .part and .old of core/config.c. */
static bool is_copy(const char *name, const char *base)
{
	size_t length = strlen(base), digits;

	if (strncmp(name, base, length) != 0)
		return false;
	name += length;
	for (unsigned kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
		size_t before = strlen(kinds[kind].before);

		if (strncmp(name, kinds[kind].before, before) != 0)
			continue;
		digits = strspn(name + before, "0123456789");
		if (digits > 0 && strchr(".-", name[before + digits])) /* or it ends there */
			return true;
	}
	return false;
}

int config_copy_forget(const char *path, struct err *err)
{
	char folder[PATH_MAX];
	int result = 0;
	struct dirent *entry;
	DIR *dir;

	folder_of(path, folder);
	dir = opendir(folder);
	if (!dir)
		return err_set(err, -errno, "%s: %s", folder, strerror(errno));
	while (result == 0 && (entry = readdir(dir))) {
		if (!is_copy(entry->d_name, base_of(path)))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0 && errno != ENOENT)
			result = err_set(err, -errno, "%s/%s: %s", folder, entry->d_name,
					 strerror(errno));
		else
			rewinddir(dir); /* what is taken away may let another one be skipped */
	}
	closedir(dir);
	return result;
}

int config_copy_sync(const char *path, struct err *err)
{
	char folder[PATH_MAX];
	int fd, result = 0;

	folder_of(path, folder);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		result = err_set(err, -errno, "%s: %s", folder, strerror(errno));
	if (fd >= 0)
		close(fd);
	return result;
}

int config_copy_confirm(const char *path, struct err *err)
{
	int64_t version = INT64_MAX;
	int result = 0;
	bool any = false;

	while (result == 0 && (version = config_copy_find(path, CONFIG_COPY, version - 1))) {
		char *copy = config_copy_name(path, CONFIG_COPY, version);
		char *kept = config_copy_name(path, CONFIG_COPY_KEPT, version);

		if (!copy || !kept)
			result = err_set(err, -ENOMEM, "out of memory");
		else if (rename(copy, kept) < 0)
			result = err_set(err, -errno, "%s: %s", copy, strerror(errno));
		heap_free(copy);
		heap_free(kept);
		any = true;
	}
	if (result < 0 || !any)
		return result;
	config_copy_prune(path, CONFIG_COPY_KEPT);
	return config_copy_sync(path, err);
}
