/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_DEVICES_INTERNAL_H
#define VOLUMES_DEVICES_INTERNAL_H

#include "volumes/devices.h"

/* Inside devices*.c; everything here may block. Context: the reading thread. */

/* devices.c's own list of what there is; grows in steps. */
struct device_table {
	struct device_info *devices;
	unsigned count, room;
};
/* device_add: a zeroed row; NULL when memory is short or there are DEVICES_MAX. */
struct device_info *device_add(struct device_table *table);

/* device_sysfs.c. sysfs_scan: every block device of sysfs. sysfs_uses: who uses them, into
 * used_by, as far as sysfs, mounts and swap tell. */
int sysfs_scan(struct device_table *table, struct err *err);
void sysfs_uses(struct device_table *table);

/* device_probe.c: open @info->path, tell what it carries, and whether somebody holds it for
 * himself alone. Devices that can not be opened say so in carries. */
void device_probe(struct device_info *info);

#endif
