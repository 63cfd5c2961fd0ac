/* SPDX-License-Identifier: Apache-2.0 */
#include "core/disk.h"

#include <assert.h>

#include "core/world.h"

int disk_open(const struct world_ops *world, const char *path, unsigned flags, uint64_t size,
	      struct disk **ret_disk, struct err *err)
{
	return world->disk_open(path, flags, size, ret_disk, err);
}

void disk_close(struct disk *disk)
{
	if (disk)
		disk->world->disk_close(disk);
}

int disk_rescan(struct disk *disk)
{
	return disk->world->disk_rescan ? disk->world->disk_rescan(disk) : 0;
}

void disk_submit(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	assert(loop_world(loop) == disk->world);
	request->loop = loop;
	request->disk = disk;
	request->progress = 0;
	list_init(&request->link);
	disk->world->disk_submit(loop, disk, request);
}
