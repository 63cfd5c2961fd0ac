/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/devices_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What the kernel tells of its block devices: sysfs, /proc/self/mountinfo, /proc/swaps. Device
 * mapper says in its uuid who made a device ("LVM-", "CRYPT-", "mpath-"), so that its library is
 * not needed to tell a stack. */

#define SYSFS "/sys/class/block"

/* One line of @form's file, without white space around it; false when there is none. */
static bool read_line(char *line, size_t size, const char *form, const char *name)
{
	char path[PATH_MAX], *end;
	FILE *file;
	bool got;
	size_t skip;

	snprintf(path, sizeof path, form, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	got = fgets(line, (int)size, file) != NULL;
	fclose(file);
	if (!got)
		return false;
	for (end = line + strlen(line); end > line && (end[-1] == '\n' || end[-1] == ' '); end--)
		;
	*end = '\0';
	skip = strspn(line, " ");
	memmove(line, line + skip, strlen(line + skip) + 1);
	return line[0] != '\0';
}

static void first_line(char *line, size_t size, const char *const *forms, const char *name)
{
	for (; *forms; forms++)
		if (read_line(line, size, *forms, name))
			return;
	line[0] = '\0';
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static enum device_kind mapped_kind(const char *name)
{
	static const struct {
		const char *prefix;
		enum device_kind kind;
	} makers[] = {{"LVM-", DEVICE_LVM},
		      {"CRYPT-", DEVICE_CRYPT},
		      {"mpath-", DEVICE_MULTIPATH},
		      {"part", DEVICE_PART}};
	char uuid[160];

	if (!read_line(uuid, sizeof uuid, SYSFS "/%s/dm/uuid", name))
		return DEVICE_MAPPED;
	for (unsigned i = 0; i < sizeof makers / sizeof *makers; i++)
		if (starts(uuid, makers[i].prefix))
			return makers[i].kind;
	return DEVICE_MAPPED;
}

static enum device_kind kind_of(const char *name, bool partition)
{
	if (partition)
		return DEVICE_PART;
	if (starts(name, "dm-"))
		return mapped_kind(name);
	if (starts(name, "loop"))
		return DEVICE_LOOP;
	if (starts(name, "md"))
		return DEVICE_RAID;
	if (starts(name, "sr"))
		return DEVICE_ROM;
	if (starts(name, "ram") || starts(name, "zram"))
		return DEVICE_RAM;
	return DEVICE_DISK;
}

/* The disk that partition @info is a part of: the folder above its own. */
static void find_parent(struct device_info *info)
{
	char link[PATH_MAX], path[PATH_MAX], *slash;
	ssize_t length;

	snprintf(path, sizeof path, SYSFS "/%s", info->name);
	length = readlink(path, link, sizeof link - 1);
	if (length < 0)
		return;
	link[length] = '\0';
	for (int i = 0; i < 2; i++) {
		slash = strrchr(link, '/');
		if (!slash)
			return;
		if (i == 1)
			snprintf(info->parent, sizeof info->parent, "%.63s", slash + 1);
		*slash = '\0';
	}
}

static void describe(struct device_info *info)
{
	static const char *const models[] = {
	    SYSFS "/%s/device/model", SYSFS "/%s/loop/backing_file", SYSFS "/%s/dm/name", NULL};
	static const char *const serials[] = {SYSFS "/%s/serial", SYSFS "/%s/device/serial", NULL};
	static const char *const names[] = {SYSFS "/%s/wwid", SYSFS "/%s/device/wwid", NULL};
	char line[160];

	first_line(info->model, sizeof info->model, models, info->name);
	first_line(info->serial, sizeof info->serial, serials, info->name);
	first_line(info->wwid, sizeof info->wwid, names, info->name);
	info->read_only =
	    read_line(line, sizeof line, SYSFS "/%s/ro", info->name) && line[0] == '1';
	info->rotational = read_line(line, sizeof line, SYSFS "/%s/queue/rotational", info->name) &&
			   line[0] == '1';
	if (read_line(line, sizeof line, SYSFS "/%s/dm/name", info->name))
		snprintf(info->path, sizeof info->path, "/dev/mapper/%s", line);
	else
		snprintf(info->path, sizeof info->path, "/dev/%s", info->name);
	for (char *at = info->path; *at; at++) /* sysfs writes '/' in names as '!' */
		if (*at == '!')
			*at = '/';
}

/* "8:1" */
static dev_t parse_number(const char *text)
{
	char *end;
	unsigned long high = strtoul(text, &end, 10);

	return *end == ':' ? makedev((unsigned)high, (unsigned)strtoul(end + 1, NULL, 10)) : 0;
}

static void add(struct device_table *table, const char *name)
{
	char line[160];
	unsigned long long sectors;
	dev_t number;
	struct device_info *info;

	if (strlen(name) >= sizeof info->name ||
	    !read_line(line, sizeof line, SYSFS "/%s/size", name))
		return;
	sectors = strtoull(line, NULL, 10);
	number = read_line(line, sizeof line, SYSFS "/%s/dev", name) ? parse_number(line) : 0;
	if (sectors == 0 || !number)
		return;
	info = device_add(table);
	if (!info)
		return;
	memcpy(info->name, name, strlen(name) + 1); /* it fits, see above */
	info->number = number;
	info->size = sectors * 512;
	info->kind = kind_of(name, read_line(line, sizeof line, SYSFS "/%s/partition", name));
	if (info->kind == DEVICE_PART && !starts(name, "dm-"))
		find_parent(info);
	describe(info);
}

/* The link with the most telling name: wwn- and dm-uuid- names are the fall back. */
static bool better_link(const char *name, const char *present)
{
	bool plain = !starts(name, "wwn-") && !starts(name, "dm-uuid-") &&
		     !starts(name, "lvm-pv-uuid-") && !starts(name, "nvme-eui.");

	return !present[0] || (plain && strlen(name) > strlen(present));
}

static void find_links(struct device_table *table)
{
	static const char folder[] = "/dev/disk/by-id";
	DIR *directory = opendir(folder);
	struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		char path[sizeof folder + sizeof entry->d_name + 1];
		struct stat status;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (stat(path, &status) < 0 || !S_ISBLK(status.st_mode))
			continue;
		for (unsigned i = 0; i < table->count; i++) {
			struct device_info *info = &table->devices[i];
			const char *present =
			    info->by_id[0] ? info->by_id + sizeof folder : info->by_id;

			if (info->number == status.st_rdev && strlen(path) < sizeof info->by_id &&
			    better_link(entry->d_name, present))
				memcpy(info->by_id, path, strlen(path) + 1);
		}
	}
	if (directory)
		closedir(directory);
}

int sysfs_scan(struct device_table *table, struct err *err)
{
	DIR *directory = opendir(SYSFS);
	struct dirent *entry;

	if (!directory)
		return err_set(err, -errno, "%s: %s", SYSFS, strerror(errno));
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			add(table, entry->d_name);
	closedir(directory);
	find_links(table);
	return 0;
}

/* ---- who uses them ---- */
static struct device_info *find_number(struct device_table *table, dev_t number)
{
	for (unsigned i = 0; number && i < table->count; i++)
		if (table->devices[i].number == number)
			return &table->devices[i];
	return NULL;
}

static struct device_info *find_name(struct device_table *table, const char *name)
{
	for (unsigned i = 0; i < table->count; i++)
		if (strcmp(table->devices[i].name, name) == 0)
			return &table->devices[i];
	return NULL;
}

static void use(struct device_info *info, const char *form, const char *what)
{
	if (info && !info->used_by[0])
		snprintf(info->used_by, sizeof info->used_by, form, what);
}

static dev_t number_of(const char *path)
{
	struct stat status;

	return path[0] == '/' && stat(path, &status) == 0 && S_ISBLK(status.st_mode)
		   ? status.st_rdev
		   : 0;
}

/* proc(5): ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS [TAGS]... - TYPE SOURCE OPTIONS. A file
 * system over several devices has a number of its own; then the source counts. */
static void mount_line(struct device_table *table, const char *line)
{
	char number[32], where[200], source[256] = "";
	const char *dash = strstr(line, " - ");

	if (sscanf(line, "%*s %*s %31s %*s %199s", number, where) != 2)
		return;
	if (dash)
		sscanf(dash, " - %*s %255s", source);
	use(find_number(table, parse_number(number)), "mounted on %s", where);
	use(find_number(table, number_of(source)), "mounted on %s", where);
}

static void swap_line(struct device_table *table, const char *line)
{
	char path[256];

	if (sscanf(line, "%255s", path) == 1)
		use(find_number(table, number_of(path)), "%s", "swap space");
}

static void each_line(struct device_table *table, const char *path,
		      void (*take)(struct device_table *table, const char *line))
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;

	while (file && getline(&line, &room, file) > 0)
		take(table, line);
	free(line);
	if (file)
		fclose(file);
}

static void find_holders(struct device_table *table, struct device_info *info)
{
	char path[PATH_MAX];
	DIR *directory;
	struct dirent *entry;

	snprintf(path, sizeof path, SYSFS "/%s/holders", info->name);
	directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		const struct device_info *holder = find_name(table, entry->d_name);
		char what[400];

		if (entry->d_name[0] == '.')
			continue;
		if (holder)
			snprintf(what, sizeof what, "%s device %s", device_kind_name(holder->kind),
				 starts(holder->name, "dm-") ? holder->model : holder->name);
		else
			snprintf(what, sizeof what, "device %s", entry->d_name);
		use(info, "part of %.200s", what);
	}
	if (directory)
		closedir(directory);
}

void sysfs_uses(struct device_table *table)
{
	each_line(table, "/proc/self/mountinfo", mount_line);
	each_line(table, "/proc/swaps", swap_line);
	for (unsigned i = 0; i < table->count; i++)
		find_holders(table, &table->devices[i]);
	/* A disk is as busy as its partitions, and they as it is. */
	for (unsigned i = 0; i < table->count; i++) {
		struct device_info *part = &table->devices[i];
		struct device_info *disk = part->parent[0] ? find_name(table, part->parent) : NULL;
		char what[400];

		if (!disk)
			continue;
		if (part->used_by[0]) {
			snprintf(what, sizeof what, "%s is %s", part->name, part->used_by);
			use(disk, "its partition %.200s", what);
		} else if (disk->used_by[0] && !starts(disk->used_by, "its partition")) {
			snprintf(what, sizeof what, "%s is %s", disk->name, disk->used_by);
			use(part, "its disk %.200s", what);
		}
	}
}
