/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/disks.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_line(const char *disk, const char *name, char *line, size_t size)
{
	char path[300];
	FILE *file;

	line[0] = '\0';
	snprintf(path, sizeof path, "/sys/block/%.64s/%s", disk, name);
	file = fopen(path, "re");
	if (!file)
		return;
	if (!fgets(line, (int)size, file))
		line[0] = '\0';
	fclose(file);
	for (size_t length = strlen(line); length && strchr(" \n", line[length - 1]);)
		line[--length] = '\0';
}

static bool is_disk(const char *name)
{
	static const char *const others[] = {"loop", "ram", "sr", "fd", "zram", "dm-", "md", "nbd"};
	char line[32];

	for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return false;
	read_line(name, "ro", line, sizeof line);
	return name[0] != '.' && strcmp(line, "0") == 0;
}

/* In the order of their names, so that the list looks the same each time. */
static int by_name(const void *one, const void *other)
{
	return strcmp(((const struct host_disk *)one)->name,
		      ((const struct host_disk *)other)->name);
}

unsigned disks_find(struct host_disk *disks, unsigned most, uint64_t least)
{
	DIR *list = opendir("/sys/block");
	const struct dirent *entry;
	unsigned count = 0;
	char line[32];

	while (list && count < most && (entry = readdir(list)) != NULL) {
		struct host_disk *disk = &disks[count];

		if (strlen(entry->d_name) >= sizeof disk->name || !is_disk(entry->d_name))
			continue;
		snprintf(disk->name, sizeof disk->name, "%s", entry->d_name);
		read_line(disk->name, "size", line, sizeof line);
		disk->size = strtoull(line, NULL, 10) * 512;
		read_line(disk->name, "device/model", disk->model, sizeof disk->model);
		read_line(disk->name, "device/serial", disk->serial, sizeof disk->serial);
		if (disk->size >= least)
			count++;
	}
	if (list)
		closedir(list);
	qsort(disks, count, sizeof *disks, by_name);
	return count;
}
