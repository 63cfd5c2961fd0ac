/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/devices_internal.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "volumes/format.h"

/* What a device carries: a Granary label first (libblkid does not know it), then what libblkid
 * finds. */

static bool find_label(int fd, struct device_info *info)
{
	uint8_t block[BLOCK];
	struct superblock sb;

	for (unsigned copy = 0; info->size >= POOL_SIZE_MIN && copy < 4; copy++) {
		uint64_t at = superblock_position(info->size / BLOCK * BLOCK, copy);
		struct err why = {0};
		int result;

		if (pread(fd, block, sizeof block, (off_t)at) != (ssize_t)sizeof block)
			continue;
		result = superblock_decode(block, &sb, &why);
		if (result == -ENODATA)
			continue;
		if (result < 0) {
			snprintf(info->carries, sizeof info->carries,
				 "a Granary pool's label (%.150s)", why.text);
			continue; /* another copy may tell more */
		}
		snprintf(info->pool, sizeof info->pool, "%s", sb.name);
		snprintf(info->carries, sizeof info->carries, "Granary pool %s (device %u of %u)",
			 sb.name, sb.pv_index + 1, sb.pv_count);
		return true;
	}
	return info->carries[0] != '\0';
}

static const char *value_of(blkid_probe probe, const char *name)
{
	const char *value;

	return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? value : "";
}

static void tell_signature(blkid_probe probe, struct device_info *info)
{
	static const struct {
		const char *type, *words;
	} known[] = {{"LVM2_member", "an LVM physical volume"},
		     {"linux_raid_member", "a part of an md array"},
		     {"crypto_LUKS", "an encrypted (LUKS) volume"},
		     {"mpath_member", "a path of a multipath device"},
		     {"swap", "swap space"}};
	const char *type = value_of(probe, "TYPE"), *label = value_of(probe, "LABEL");
	const char *table = value_of(probe, "PTTYPE");
	size_t at;

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(type, known[i].type) == 0)
			snprintf(info->carries, sizeof info->carries, "%s", known[i].words);
	if (!info->carries[0] && type[0])
		snprintf(info->carries, sizeof info->carries, "%s %.40s%s",
			 strchr("aeiouAEIOUX", type[0]) ? "an" : "a", type,
			 strcmp(value_of(probe, "USAGE"), "filesystem") == 0 ? " file system"
									     : " signature");
	at = strlen(info->carries);
	if (type[0] && label[0])
		snprintf(info->carries + at, sizeof info->carries - at, " (label %.60s)", label);
	if (!type[0] && table[0])
		snprintf(info->carries, sizeof info->carries, "a %s partition table",
			 strcmp(table, "gpt") == 0   ? "GPT"
			 : strcmp(table, "dos") == 0 ? "DOS"
						     : table);
}

static void find_signature(int fd, struct device_info *info)
{
	blkid_probe probe = blkid_new_probe();
	int result = -1;

	if (probe && blkid_probe_set_device(probe, fd, 0, 0) == 0) {
		blkid_probe_enable_superblocks(probe, 1);
		blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID |
							     BLKID_SUBLKS_TYPE |
							     BLKID_SUBLKS_USAGE);
		blkid_probe_enable_partitions(probe, 1);
		result = blkid_do_safeprobe(probe);
	}
	if (result == 0)
		tell_signature(probe, info);
	else if (result == -2)
		snprintf(info->carries, sizeof info->carries, "several signatures at once");
	else if (result < 0)
		snprintf(info->carries, sizeof info->carries, "something that can not be read");
	if (probe)
		blkid_free_probe(probe);
}

/* O_EXCL on a block device fails while anybody holds it: a mount, a holder, another program. */
static void find_claim(struct device_info *info)
{
	int fd = open(info->path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		close(fd);
	else if (errno == EBUSY)
		snprintf(info->used_by, sizeof info->used_by, "open by a program for itself alone");
}

static void size_of(int fd, struct device_info *info)
{
	uint64_t bytes;

	if (info->kind != DEVICE_FILE && ioctl(fd, BLKGETSIZE64, &bytes) == 0)
		info->size = bytes;
}

void device_probe(struct device_info *info)
{
	int fd = open(info->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		if (errno != ENOMEDIUM)
			snprintf(info->carries, sizeof info->carries,
				 "something that can not be read: %.100s", strerror(errno));
		return;
	}
	size_of(fd, info);
	if (!find_label(fd, info) && info->size)
		find_signature(fd, info);
	close(fd);
	if (!info->used_by[0] && info->kind != DEVICE_FILE)
		find_claim(info);
}
