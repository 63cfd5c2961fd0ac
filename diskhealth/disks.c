/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diskhealth/diskhealth.h"

/* Devices of their own: not what is made of others, in memory, or of a network. */
static bool is_disk(const char *name)
{
	static const char *const others[] = {".",    "loop", "ram", "sr",  "fd",
					     "zram", "dm-",  "md",  "nbd", "rbd"};

	for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return false;
	return strlen(name) < SMART_NAME;
}

static int by_name(const void *one, const void *other)
{
	return strcmp(one, other);
}

unsigned smart_find_disks(char names[][SMART_NAME], unsigned most)
{
	DIR *list = opendir("/sys/block");
	const struct dirent *entry;
	unsigned count = 0;

	while (list && count < most && (entry = readdir(list)) != NULL)
		if (is_disk(entry->d_name))
			snprintf(names[count++], SMART_NAME, "%.63s", entry->d_name);
	if (list)
		closedir(list);
	qsort(names, count, SMART_NAME, by_name);
	return count;
}
