/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/keeper.h"
#include "volumes/spread.h"

/* A pool gets larger: devices are added, or have grown. In the keeper's fiber, beside the guests'
 * I/O.
 *
 *   rooms for what is to come -> labels on the new devices -> rows in the table -> two roots
 *   -> space is taken from the rows
 *
 * What a root says is read from the newest superblock on any device, so all devices it names have
 * a label of the pool before it is written: those of generations 0 and 1, older than any root. A
 * crash leaves a root without the new rows (then their devices are not the pool's, and do not
 * matter to an open) or one with them. Nothing refers to the new chunks before both roots that
 * could be opened have the rows. */

#define GROWTH_MIN 256u /* chunks */

/* All that is by chunk or by group, larger than it was. */
struct rooms {
	uint64_t chunks, ag_count, space_leaves, hot_regions;
	struct ag *ag;
	struct node **space;
	uint8_t *hot;
};

static void rooms_free(struct rooms *rooms)
{
	heap_free(rooms->ag);
	heap_free(rooms->space);
	heap_free(rooms->hot);
}

static int grow_tree(struct tree *tree, uint64_t leaves)
{
	int result = 0;

	while (result == 0 && tree_capacity(tree) < leaves)
		result = tree_grow(tree);
	return result;
}

static int grow_trees(struct native *native, const struct rooms *rooms)
{
	int result = grow_tree(&native->tree[ROOT_SPACE], rooms->space_leaves);

	if (result == 0)
		result = grow_tree(&native->tree[ROOT_META], rooms->ag_count);
	if (result == 0)
		result = grow_tree(&native->tree[ROOT_CSUM], rooms->hot_regions);
	if (result == 0)
		result = grow_tree(&native->tree[ROOT_HOT],
				   (rooms->hot_regions + HOT_REGIONS - 1) / HOT_REGIONS);
	if (result == 0 && native->mirrored)
		result = grow_tree(&native->tree[ROOT_MIRROR], rooms->chunks / FORWARD_CHUNKS + 1);
	return result;
}

/* For the table as in @sb. */
static int rooms_make(struct native *native, struct lane *lane, const struct superblock *sb,
		      struct rooms *rooms)
{
	const struct format_pv *last = &sb->pv[sb->pv_count - 1];
	int result;

	rooms->chunks = last->first_chunk + last->chunks;
	rooms->ag_count = pv_fill_ags(sb->pv, 0, sb->pv_count, NULL);
	rooms->space_leaves = (rooms->chunks + SPACE_CHUNKS - 1) / SPACE_CHUNKS;
	rooms->hot_regions = (rooms->chunks + CSUM_CHUNKS - 1) / CSUM_CHUNKS;
	rooms->ag = heap_zalloc_array(rooms->ag_count, sizeof(*rooms->ag));
	rooms->space = heap_zalloc_array(rooms->space_leaves, sizeof(*rooms->space));
	rooms->hot = heap_zalloc(rooms->hot_regions);
	if (!rooms->ag || !rooms->space || !rooms->hot || native->hot_befores == POOL_DEVICES_MAX)
		return -ENOMEM;
	pv_fill_ags(sb->pv, 0, sb->pv_count, rooms->ag);
	native_lock(native);
	result = grow_trees(native, rooms);
	native_unlock(lane);
	return result;
}

/* Under the lock: space is taken from the rows from @first on. */
static void activate(struct native *native, struct rooms *rooms, unsigned first)
{
	uint64_t before = native->chunks;

	for (uint64_t i = 0; i < native->ag_count; i++)
		rooms->ag[i] = native->ag[i];
	memcpy(rooms->space, native->space, native->space_leaves * sizeof(*rooms->space));
	memcpy(rooms->hot, native->hot, native->hot_regions);
	heap_free(native->ag);
	heap_free(native->space);
	native->hot_before[native->hot_befores++] = native->hot;
	native->ag = rooms->ag;
	native->space = rooms->space;
	__atomic_store_n(&native->hot, rooms->hot, __ATOMIC_RELEASE);
	native->chunks = rooms->chunks;
	native->ag_count = rooms->ag_count;
	native->space_leaves = rooms->space_leaves;
	native->hot_regions = rooms->hot_regions;
	*rooms = (struct rooms){0};
	space_activate(native, first, before);
}

/* The table of @sb becomes the pool's; rows from @first on are new, their disks in @disks. Under
 * the lock. */
static void take_rows(struct native *native, const struct superblock *sb, unsigned first,
		      struct disk **disks)
{
	for (unsigned i = 0; i < sb->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		unsigned device = sb->pv[i].device ? sb->pv[i].device - 1u : i;

		if (i >= first || pv->format.size != sb->pv[i].size)
			pv->since = native->sb.generation + 2;
		pv->format = sb->pv[i];
		if (i < first) /* it may have gone away since @sb was taken */
			pv->format.flags = native->sb.pv[i].flags;
		native->sb.pv[i] = pv->format;
		if (i < first)
			continue;
		pv->device = &native->pv[device];
		pv_attach(native, i, disks[i - first]);
	}
	native->sb.pv_count = sb->pv_count;
	__atomic_store_n(&native->pv_count, sb->pv_count, __ATOMIC_RELEASE);
}

/* Both roots get the table, then the space is there. */
static int become(struct native *native, struct lane *lane, const struct superblock *sb,
		  struct disk **disks, struct rooms *rooms)
{
	unsigned first = native->pv_count;
	int result;

	native_lock(native);
	take_rows(native, sb, first, disks);
	if (!ORDER(added_in_both_roots))
		activate(native, rooms, first);
	native_unlock(lane);
	result = checkpoint_run(native, lane, false);
	if (result == 0)
		result = checkpoint_run(native, lane, false);
	if (result < 0 || !rooms->ag)
		return result;
	native_lock(native);
	activate(native, rooms, first);
	native_unlock(lane);
	return 0;
}

static struct format_pv *add_row(struct superblock *sb)
{
	struct format_pv *row = &sb->pv[sb->pv_count];
	const struct format_pv *last = row - 1;

	*row = (struct format_pv){.first_chunk = last->first_chunk + last->chunks};
	sb->pv_count++;
	return row;
}

/* ---- devices ---- */
static int take_device(struct native_call *mine, struct lane *lane, const struct new_device *device,
		       struct superblock *sb, struct disk **ret_disk)
{
	struct native *native = mine->native;
	struct err *err = &mine->call->err;
	struct format_pv *row;
	uint64_t size;
	int result = pv_open_new(native->world, device->path, device->size, mine->call->dry,
				 ret_disk, &size, err);

	if (result < 0)
		return result;
	if (size < POOL_SIZE_MIN)
		return err_set(err, -EINVAL, "%s is too small: a pool's device has at least 64 MiB",
			       device->path);
	if (!mine->force && *ret_disk)
		result = pv_check_empty(*ret_disk, &native->sb, err);
	if (result < 0)
		return result;
	row = add_row(sb);
	loop_random(native->home, &row->uuid, sizeof(row->uuid));
	row->size = size / BLOCK * BLOCK;
	row->data_offset = PV_AREA + pv_journal_room(sb, sb->pv_count - 1);
	row->chunks = (row->size - row->data_offset - PV_AREA) / CHUNK;
	if (row->data_offset == PV_AREA || mine->call->dry)
		return 0;
	return journal_clear(native, lane, *ret_disk, row->size);
}

/* Older than every root, and on both sides: no other pool's copy stays. */
static int write_label(struct native *native, const struct superblock *sb, unsigned row,
		       struct disk *disk)
{
	struct superblock label = *sb;
	int result = 0;

	native->pv[row].device = &native->pv[row];
	native->pv[row].format = sb->pv[row];
	pv_attach(native, row, disk);
	for (label.generation = 0; label.generation < 2 && result == 0; label.generation++)
		result = superblock_write_one(native, &label, row);
	return result;
}

static int prepare_devices(struct native_call *mine, struct lane *lane, struct superblock *sb,
			   struct disk **disks, struct rooms *rooms)
{
	struct native *native = mine->native;
	int result = 0;

	if (native->pv_count + mine->count > POOL_DEVICES_MAX)
		return err_set(&mine->call->err, -EINVAL,
			       "the table of devices of pool %s is full: it has %d rows, one for "
			       "each device, each removed one and each time one has grown",
			       native->sb.name, POOL_DEVICES_MAX);
	for (unsigned i = 0; i < mine->count && result == 0; i++)
		result = take_device(mine, lane, &mine->devices[i], sb, &disks[i]);
	if (mine->call->dry)
		return result;
	if (result == 0 && !mine->label)
		result = rooms_make(native, lane, sb, rooms);
	for (unsigned i = 0; i < mine->count && result == 0 && ORDER(label_before_root); i++)
		result = write_label(native, sb, native->pv_count + i, disks[i]);
	return result;
}

int extend_add(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct superblock *sb = heap_alloc(sizeof(*sb));
	struct disk *disks[POOL_DEVICES_MAX] = {0};
	struct rooms rooms = {0};
	unsigned rows = native->pv_count;
	int result = !sb ? -ENOMEM : native->read_only ? -EROFS : 0;

	if (result == 0)
		result = away_refuse(native, &mine->call->err);
	if (result == 0) {
		*sb = native->sb;
		result = prepare_devices(mine, lane, sb, disks, &rooms);
	}
	if (result == 0 && !mine->label && !mine->call->dry)
		result = become(native, lane, sb, disks, &rooms);
	else
		for (unsigned i = 0; i < mine->count; i++)
			disk_close(disks[i]);
	if (result == 0 && !mine->label && !mine->call->dry)
		log_notice("pool %s: %u more device%s, %llu bytes", native->sb.name, mine->count,
			   mine->count == 1 ? "" : "s",
			   (unsigned long long)((native->chunks - native->sb.pv[rows].first_chunk) *
						CHUNK));
	rooms_free(&rooms);
	heap_free(sb);
	return result;
}

/* ---- growth ---- */
static int grow_device(struct native_call *mine, struct superblock *sb, unsigned index,
		       struct disk **disks)
{
	struct native *native = mine->native;
	unsigned first = native->pv_count;
	struct pv *pv = &native->pv[index];
	uint64_t before = pv->format.size, size;
	struct format_pv *row;
	int result = disk_rescan(pv->disk);

	if (result < 0)
		return err_set(&mine->call->err, result, "%s: its size can not be found out",
			       pv->disk->path);
	size = pv->disk->size / BLOCK * BLOCK;
	if (size < before)
		return err_set(&mine->call->err, -EINVAL,
			       "%s is smaller than it was: %llu bytes, the pool needs %llu",
			       pv->disk->path, (unsigned long long)size,
			       (unsigned long long)before);
	if (size - before < PV_AREA + (uint64_t)GROWTH_MIN * CHUNK)
		return 0;
	if (sb->pv_count == POOL_DEVICES_MAX)
		return err_set(&mine->call->err, -EINVAL, "the table of devices of pool %s is full",
			       native->sb.name);
	disks[sb->pv_count - first] = pv->disk;
	row = add_row(sb);
	row->uuid = sb->pv[index].uuid;
	row->device = (uint8_t)(index + 1);
	row->size = size;
	row->data_offset = before; /* the tail that was there stays: an older root may need it */
	row->chunks = (size - PV_AREA - before) / CHUNK;
	for (unsigned i = 0; i < sb->pv_count; i++)
		if (i == index || sb->pv[i].device == index + 1)
			sb->pv[i].size = size;
	mine->call->total += size - before;
	return 0;
}

int extend_grow(struct native_call *mine, struct lane *lane)
{
	struct native *native = mine->native;
	struct superblock *sb = heap_alloc(sizeof(*sb));
	struct disk *disks[POOL_DEVICES_MAX] = {0};
	struct rooms rooms = {0};
	unsigned rows = native->pv_count;
	int result = !sb ? -ENOMEM : native->read_only ? -EROFS : 0;

	mine->call->total = 0;
	if (result == 0)
		result = away_refuse(native, &mine->call->err);
	if (result == 0)
		*sb = native->sb;
	for (unsigned i = 0; i < rows && result == 0; i++)
		if (pv_is_device(&native->pv[i]) && native->pv[i].allocates)
			result = grow_device(mine, sb, i, disks);
	if (mine->call->dry)
		rows = sb ? sb->pv_count : 0; /* what has been found is told, and no more */
	if (result == 0 && sb->pv_count > rows)
		result = rooms_make(native, lane, sb, &rooms);
	if (result == 0 && sb->pv_count > rows)
		result = become(native, lane, sb, disks, &rooms);
	rooms_free(&rooms);
	heap_free(sb);
	return result;
}

/* ---- pool.h ---- */
void native_add(struct pool *pool, const struct pool_device *devices, unsigned count, bool force,
		bool label, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_ADD);
	int result = 0;

	if (!mine)
		return;
	mine->label = label;
	mine->force = force;
	mine->count = count;
	if (count == 0 || count >= POOL_DEVICES_MAX)
		result =
		    err_set(&call->err, -EINVAL, "a pool has 1 to %d devices", POOL_DEVICES_MAX);
	if (result == 0)
		mine->devices = heap_zalloc_array(count, sizeof(*mine->devices));
	if (result == 0 && !mine->devices)
		result = err_set(&call->err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < count && result == 0; i++) {
		struct new_device *device = &mine->devices[i];

		device->size = devices[i].size;
		if ((size_t)snprintf(device->path, sizeof(device->path), "%s", devices[i].path) >=
		    sizeof(device->path))
			result =
			    err_set(&call->err, -ENAMETOOLONG, "the path of a device is too long");
	}
	if (result < 0)
		call_refuse(mine, result);
	else
		call_queue(mine);
}

void native_grow(struct pool *pool, struct pool_call *call)
{
	struct native_call *mine = call_new(native_of(pool), call, CALL_GROW);

	if (mine)
		call_queue(mine);
}

/* The @index-th device that is there, NULL past the end. */
static struct pv *device_at(struct native *native, unsigned index)
{
	for (unsigned i = 0; i < native->pv_count; i++)
		if (pv_is_device(&native->pv[i]) && index-- == 0)
			return &native->pv[i];
	return NULL;
}

const char *native_device_path(const struct pool *pool, unsigned index)
{
	const struct pv *pv = device_at(native_of((struct pool *)pool), index);

	return pv ? pv->disk ? pv->disk->path : pv->path ? pv->path : "(missing)" : NULL;
}

bool native_device_info(struct pool *pool, unsigned index, struct pool_device_info *ret_info)
{
	struct native *native = native_of(pool);
	struct pool_device_info info = {0};
	struct pv *pv;

	native_lock(native);
	pv = device_at(native, index);
	for (unsigned i = 0; pv && i < native->pv_count; i++) {
		if (native->pv[i].device != pv)
			continue;
		info.data_bytes += native->pv[i].data_chunks * CHUNK;
		info.free_bytes += native->pv[i].free_chunks * CHUNK;
	}
	if (pv) {
		info.size_bytes = pv->format.size;
		evacuate_info(native, (unsigned)(pv - native->pv), &info);
		away_info(native, (unsigned)(pv - native->pv), &info);
		spread_info(native, pv, &info);
		speed_info(native, pv, &info);
	}
	pthread_mutex_unlock(&native->lock);
	if (!pv)
		return false;
	*ret_info = info;
	return true;
}
