/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/bytes.h"
#include "volumes/guard.h"

/* Creating and opening pools, and what pool.h asks of an open one. Both run in a fiber:
 *
 *   create: disks -> no foreign signature -> layout -> superblocks of generation 0 and 1 -> start
 *   open:   disks -> superblocks, newest root -> start
 *   start:  trees that stay in memory -> replay -> checkpoint under a new epoch -> serve */

struct opening {
	struct native *native;
	struct pool_call *call;
	struct err *err;
	bool create, force, rewind;
	bool check_data;
	struct pool_check_report *report; /* a check of closed devices */
	struct superblock older;          /* the root before the newest, where there is one */
	uint64_t journal_bytes;
	char name[POOL_NAME_MAX + 1];
	unsigned count;
	struct {
		char *path;
		uint64_t size;
	} device[POOL_DEVICES_MAX];
};

static struct err *text(struct opening *opening)
{
	return &opening->call->err;
}

static int open_disks(struct opening *opening)
{
	struct native *native = opening->native;

	for (unsigned i = 0; i < opening->count; i++) {
		unsigned flags = DISK_EXCLUSIVE | (opening->report ? DISK_READ_ONLY : 0);
		int result;

		if (opening->device[i].size)
			flags |= DISK_CREATE;
		result = disk_open(native->world, opening->device[i].path, flags,
				   opening->device[i].size, &native->pv[i].disk, text(opening));
		if (result < 0)
			return result;
		native->pv[i].needs_flush = native->pv[i].disk->volatile_cache;
		native->pv_count = i + 1;
	}
	return 0;
}

/* ---- create ---- */
struct signature {
	const char *what;
	unsigned offset, length;
	const char *bytes;
};
static const struct signature signatures[] = {
    {"an XFS file system", 0, 4, "XFSB"},
    {"an ext2/3/4 file system", 1080, 2, "\x53\xef"},
    {"a partition table", 510, 2, "\x55\xaa"},
    {"a GUID partition table", 512, 8, "EFI PART"},
    {"an LVM physical volume", 512, 8, "LABELONE"},
    {"a btrfs file system", 65600, 8, "_BHRfS_M"},
    {"swap space", 4086, 10, "SWAPSPACE2"},
    {"an encrypted (LUKS) volume", 0, 6, "LUKS\xba\xbe"},
};

static int check_empty(struct opening *opening, struct disk *disk, uint8_t *buffer)
{
	struct superblock sb;
	int result = disk_io(disk, DISK_READ, 0, 0, buffer, 2 * CHUNK);

	if (result < 0)
		return err_set(text(opening), result, "%s can not be read", disk->path);
	for (unsigned i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++)
		if (memcmp(buffer + signatures[i].offset, signatures[i].bytes,
			   signatures[i].length) == 0)
			return err_set(text(opening), -EEXIST, "%s holds %s", disk->path,
				       signatures[i].what);
	for (unsigned copy = 0; copy < 4; copy++) {
		result = disk_io(disk, DISK_READ, 0, superblock_position(disk->size, copy), buffer,
				 BLOCK);
		if (result == 0 && superblock_decode(buffer, &sb, NULL) != -ENODATA)
			return err_set(text(opening), -EEXIST,
				       "%s belongs to a Granary pool already", disk->path);
	}
	return 0;
}

static int check_devices(struct opening *opening)
{
	struct native *native = opening->native;
	uint8_t *buffer = heap_aligned(BLOCK, 2 * CHUNK);
	int result = buffer ? 0 : -ENOMEM;

	for (unsigned i = 0; i < native->pv_count && result == 0; i++) {
		struct disk *disk = native->pv[i].disk;

		if (disk->size < POOL_SIZE_MIN)
			result = err_set(text(opening), -EINVAL,
					 "%s is too small: a pool's device has at least 64 MiB",
					 disk->path);
		else if (!opening->force)
			result = check_empty(opening, disk, buffer);
	}
	heap_free(buffer);
	return result;
}

static unsigned levels_for(uint64_t leaves)
{
	unsigned levels = 0;

	while (1ull << (6 * levels) < leaves)
		levels++;
	return levels;
}

static int label(struct opening *opening)
{
	struct native *native = opening->native;
	struct superblock *sb = &native->sb;
	uint64_t chunks;
	int result;

	loop_random(native->home, &sb->pool_uuid, sizeof(sb->pool_uuid));
	snprintf(sb->name, sizeof(sb->name), "%s", opening->name);
	sb->journal_blocks = opening->journal_bytes / BLOCK;
	sb->pv_count = native->pv_count;
	sb->epoch = sb->journal_tail = sb->next_lsn = sb->next_volume_id = sb->clean = 1;
	for (unsigned i = 0; i < sb->pv_count; i++) {
		loop_random(native->home, &sb->pv[i].uuid, sizeof(sb->pv[i].uuid));
		sb->pv[i].size = native->pv[i].disk->size / BLOCK * BLOCK;
	}
	result = pv_layout(sb, text(opening));
	if (result < 0)
		return result;
	for (unsigned i = 0; i < sb->pv_count; i++)
		native->pv[i].format = sb->pv[i];
	chunks = sb->pv[sb->pv_count - 1].first_chunk + sb->pv[sb->pv_count - 1].chunks;
	sb->root[ROOT_SPACE].levels = levels_for((chunks + SPACE_CHUNKS - 1) / SPACE_CHUNKS);
	sb->root[ROOT_META].levels = levels_for(chunks / AG_CHUNKS + POOL_DEVICES_MAX);
	sb->root[ROOT_CSUM].levels = levels_for((chunks + CSUM_CHUNKS - 1) / CSUM_CHUNKS);
	sb->root[ROOT_HOT].levels =
	    levels_for((chunks / CSUM_CHUNKS + 1 + HOT_REGIONS - 1) / HOT_REGIONS);
	result = superblock_write_all(native, sb); /* no older pool's copy may stay */
	sb->generation = 1;
	if (result == 0)
		result = superblock_write_all(native, sb);
	if (result == 0)
		result = pv_flush_all(native);
	return result < 0 ? err_set(text(opening), result, "the labels can not be written") : 0;
}

/* ---- open ---- */
static void keep_label(struct labels *labels, const struct superblock *sb)
{
	unsigned side = sb->generation & 1;

	if (!labels->generation[0] && !labels->generation[1]) {
		labels->newest = *sb;
	} else if (sb->generation > labels->newest.generation) {
		labels->older = labels->newest;
		labels->newest = *sb;
	} else if (sb->generation < labels->newest.generation &&
		   sb->generation >= labels->older.generation) {
		labels->older = *sb;
	}
	labels->generation[side] = sb->generation ? sb->generation : 1;
}

/* The superblocks on a device. */
static int read_label(struct opening *opening, struct disk *disk, struct labels *ret_labels)
{
	struct native *native = opening->native;
	uint8_t *block = heap_aligned(BLOCK, BLOCK);
	uint64_t size = disk->size;
	struct labels labels = {0};
	bool found = false, damaged = false;

	if (!block)
		return -ENOMEM;
	for (unsigned copy = 0; copy < 4; copy++) {
		struct superblock sb;
		struct err why = {0};
		int result =
		    disk_io(disk, DISK_READ, 0, superblock_position(size, copy), block, BLOCK);

		if (result == 0)
			result = superblock_decode(block, &sb, &why);
		if (result == -EPROTO) {
			heap_free(block);
			return err_set(text(opening), -EPROTO, "%s: %s", disk->path, why.text);
		}
		damaged |= result < 0;
		if (result < 0)
			continue;
		size = sb.pv[sb.pv_index].size; /* where the tail is, had the device grown */
		keep_label(&labels, &sb);
		found = true;
	}
	if (found) {
		native->metadata_repairs += damaged; /* the next two checkpoints write it again */
		*ret_labels = labels;
		heap_free(block);
		return 0;
	}
	memset(block, 0, BLOCK);
	if (disk_io(disk, DISK_READ, 0, superblock_position(size, 0), block, BLOCK) == 0 &&
	    superblock_decode(block, &labels.newest, NULL) == -EBADMSG) {
		heap_free(block);
		return err_set(text(opening), -EUCLEAN,
			       "%s: all copies of the superblock are damaged", disk->path);
	}
	heap_free(block);
	return err_set(text(opening), -EPROTO, "%s is not part of a Granary pool", disk->path);
}

/* The highest generation but @newest's, on any device: a crash may leave one behind the others. */
static const struct superblock *older_of(const struct labels *labels, unsigned count,
					 uint64_t newest)
{
	const struct superblock *older = &labels[0].older;

	for (unsigned i = 0; i < count; i++) {
		const struct superblock *mine =
		    labels[i].newest.generation < newest ? &labels[i].newest : &labels[i].older;

		if (mine->generation > older->generation)
			older = mine;
	}
	return older;
}

/* Put the devices in the order of the pool's table and find the newest root. */
static int assemble(struct opening *opening, const struct labels *labels)
{
	struct native *native = opening->native;
	struct disk *disks[POOL_DEVICES_MAX] = {0};
	unsigned newest = 0;

	for (unsigned i = 0; i < native->pv_count; i++)
		if (labels[i].newest.generation > labels[newest].newest.generation)
			newest = i;
	native->sb = labels[newest].newest;
	opening->older = *older_of(labels, native->pv_count, native->sb.generation);
	for (unsigned i = 0; i < native->pv_count; i++) {
		unsigned index = labels[i].newest.pv_index;

		if (memcmp(&labels[i].newest.pool_uuid, &native->sb.pool_uuid,
			   sizeof(struct uuid)) != 0)
			return err_set(text(opening), -EINVAL, "%s belongs to pool %s, not to %s",
				       native->pv[i].disk->path, labels[i].newest.name,
				       native->sb.name);
		if (index >= native->sb.pv_count || disks[index])
			return err_set(text(opening), -EINVAL, "%s is a copy of another device",
				       native->pv[i].disk->path);
		disks[index] = native->pv[i].disk;
	}
	for (unsigned i = 0; i < native->sb.pv_count; i++)
		if (!disks[i])
			return err_set(text(opening), -ENOENT,
				       "device %u of the %u of pool %s is missing", i + 1,
				       native->sb.pv_count, native->sb.name);
	for (unsigned i = 0; i < native->pv_count; i++) {
		native->pv[i].disk = disks[i];
		native->pv[i].needs_flush = disks[i]->volatile_cache;
		native->pv[i].format = native->sb.pv[i];
		if (disks[i]->size < native->sb.pv[i].size)
			return err_set(text(opening), -EUCLEAN,
				       "%s has been cut short: %llu bytes, the pool needs %llu",
				       disks[i]->path, (unsigned long long)disks[i]->size,
				       (unsigned long long)native->sb.pv[i].size);
	}
	return 0;
}

/* A side without a superblock that can be read: it may have held a newer root. */
static int check_sides(struct opening *opening, const struct labels *labels)
{
	struct native *native = opening->native;
	unsigned long long generation = native->sb.generation;

	if (!rewind_side_is_lost(labels, native->pv_count, generation))
		return 0;
	if (!opening->rewind)
		return err_set(text(opening), -EUCLEAN,
			       "the newest root of pool %s may be lost: all copies of one "
			       "superblock are damaged, generation %llu is left. Opening that one "
			       "(import with --rewind) keeps the data, but may lose the last "
			       "change of volumes: a creation, deletion, new size or new name",
			       native->sb.name, generation);
	native->sb.clean = 0; /* the root may be, its successor was not */
	log_warning("pool %s goes back to its root of generation %llu: the last change of volumes "
		    "may be lost",
		    native->sb.name, generation);
	return 0;
}

static int read_labels(struct opening *opening)
{
	struct native *native = opening->native;
	struct labels *labels = heap_zalloc_array(native->pv_count, sizeof(*labels));
	int result = labels ? 0 : -ENOMEM;

	for (unsigned i = 0; i < native->pv_count && result == 0; i++)
		result = read_label(opening, native->pv[i].disk, &labels[i]);
	if (result == 0)
		result = assemble(opening, labels);
	if (result == 0)
		result = check_sides(opening, labels);
	heap_free(labels);
	return result;
}

/* ---- start ---- */
static int init_trees(struct native *native)
{
	static const enum node_kind kinds[ROOT_COUNT] = {[ROOT_VOLUMES] = NODE_VOLUMES,
							 [ROOT_SPACE] = NODE_SPACE,
							 [ROOT_META] = NODE_META,
							 [ROOT_CSUM] = NODE_CSUM,
							 [ROOT_HOT] = NODE_HOT};

	native->hash = format_pool_hash(&native->sb.pool_uuid);
	native->next_volume_id = native->sb.next_volume_id;
	native->generation = native->sb.generation + 1;
	if (pv_make_ags(native) < 0)
		return -ENOMEM;
	native->space_leaves = (native->chunks + SPACE_CHUNKS - 1) / SPACE_CHUNKS;
	native->hot_regions = (native->chunks + CSUM_CHUNKS - 1) / CSUM_CHUNKS;
	native->space = heap_zalloc_array(native->space_leaves, sizeof(*native->space));
	native->hot = heap_zalloc(native->hot_regions);
	if (!native->space || !native->hot)
		return -ENOMEM;
	for (unsigned i = 0; i < ROOT_COUNT; i++)
		tree_init(&native->tree[i], native, kinds[i], 0, native->sb.root[i].levels,
			  &native->sb.root[i].pointer);
	return journal_setup(native);
}

static int load_trees(struct native *native, struct lane *lane)
{
	static const unsigned resident[] = {ROOT_META, ROOT_SPACE, ROOT_HOT, ROOT_VOLUMES};
	int result = 0;

	for (unsigned i = 0; i < sizeof(resident) / sizeof(resident[0]) && result == 0; i++)
		result = tree_load_all(&native->tree[resident[i]], lane);
	if (result == 0)
		result = space_setup(native);
	return result == 0 ? hot_setup(native) : result;
}

static int start(struct opening *opening)
{
	struct native *native = opening->native;
	struct lane *lane;
	int result = init_trees(native);

	if (result < 0)
		return result;
	lane = lane_get(native);
	if (!lane || ledger_read(native) < 0)
		return -ENOMEM;
	result = load_trees(native, lane);
	if (result < 0)
		return err_set(text(opening), result == -ENOMEM ? result : -EUCLEAN,
			       "both copies of a metadata node of pool %s are damaged",
			       native->sb.name);
	if (!opening->create)
		result = rewind_hold(native, &opening->older);
	if (result == 0 && native_link_volumes(native) < 0)
		result = err_set(text(opening), -EUCLEAN,
				 "the table of volumes of pool %s makes no sense", native->sb.name);
	reserve_setup(native);
	if (result == 0)
		result = replay_run(native, lane, text(opening));
	if (result == 0)
		result = checkpoint_run(native, lane, false);
	return result;
}

/* The newest root as it is on disk; nothing is written. */
static int check_closed(struct opening *opening)
{
	struct native *native = opening->native;
	struct pool_check_report *report = opening->report;
	bool data = opening->check_data && native->sb.clean;
	struct lane *lane;
	int result = init_trees(native);

	native->read_only = true; /* copies that are bad are told, not mended */
	lane = result == 0 ? lane_get(native) : NULL;
	if (result == 0 && !lane)
		result = -ENOMEM;
	if (result == 0)
		result = load_trees(native, lane);
	if (result == -EIO)
		return err_set(text(opening), -EUCLEAN,
			       "both copies of a metadata node of pool %s are damaged",
			       native->sb.name);
	if (result == 0 && native_link_volumes(native) < 0)
		return err_set(text(opening), -EUCLEAN,
			       "the table of volumes of pool %s makes no sense", native->sb.name);
	if (result == 0)
		result = check_run(native, lane, data, report);
	if (result == 0 && opening->check_data && !data && report->finding)
		report->finding(report, "the pool was not closed in an orderly way: its data was "
					"not verified, import it and scrub it");
	return result;
}

static int run(struct opening *opening)
{
	int result = open_disks(opening);

	if (result == 0 && opening->create)
		result = check_devices(opening);
	if (result == 0)
		result = opening->create ? label(opening) : read_labels(opening);
	if (result == 0 && opening->report)
		return check_closed(opening);
	return result == 0 ? start(opening) : result;
}

static void opening_free(struct opening *opening)
{
	for (unsigned i = 0; i < opening->count; i++)
		heap_free(opening->device[i].path);
	heap_free(opening);
}

static void opening_main(void *context)
{
	struct opening *opening = context;
	struct pool_call *call = opening->call;
	struct native *native = opening->native;
	int result = run(opening);

	if (opening->report) {
		native_free(native);
		if (result < 0 && !call->err.code)
			err_set(&call->err, result, "the pool can not be checked: %s",
				strerror(-result));
	} else if (result == 0) {
		call->pool = &native->pool;
		keeper_start(native);
	} else {
		while (native->repairs_in_flight || native->journal.committing)
			fiber_sleep(POLL_NS);
		native_free(native);
		if (!call->err.code)
			err_set(&call->err, result, "the pool can not be opened: %s",
				strerror(-result));
	}
	opening_free(opening);
	pool_answer(call, result);
}

static struct opening *opening_new(const struct world_ops *world, struct loop *loop,
				   struct pool_call *call)
{
	struct opening *opening = heap_zalloc(sizeof(*opening));

	call->loop = loop;
	call->err.code = 0;
	call->err.text[0] = 0;
	call->pool = NULL;
	call->volume = NULL;
	if (opening)
		opening->native = native_new(world, loop);
	if (opening && !opening->native) {
		heap_free(opening);
		return NULL;
	}
	if (opening)
		opening->call = call;
	return opening;
}

static void opening_start(struct opening *opening, int result)
{
	struct pool_call *call = opening->call;

	if (result == 0)
		result = fiber_start(opening->native->home, opening_main, opening);
	if (result == 0)
		return;
	if (!call->err.code)
		err_set(&call->err, result, "out of memory");
	native_free(opening->native);
	opening_free(opening);
	pool_answer(call, result);
}

static int add_device(struct opening *opening, const char *path, uint64_t size)
{
	opening->device[opening->count].path = heap_strdup(path);
	opening->device[opening->count].size = size;
	return opening->device[opening->count++].path ? 0 : -ENOMEM;
}

static void native_create(const struct world_ops *world, struct loop *loop,
			  const struct pool_create_options *options, struct pool_call *call)
{
	struct opening *opening = opening_new(world, loop, call);
	int result = 0;

	if (!opening) {
		pool_answer(call, err_set(&call->err, -ENOMEM, "out of memory"));
		return;
	}
	opening->create = true;
	opening->force = options->force;
	opening->journal_bytes = options->journal_bytes;
	result = volume_name_check(options->name, &call->err);
	if (result == 0 && strlen(options->name) > POOL_NAME_MAX)
		result = err_set(&call->err, -EINVAL, "a pool name has at most %d characters",
				 POOL_NAME_MAX);
	if (result == 0 && (options->device_count == 0 || options->device_count > POOL_DEVICES_MAX))
		result =
		    err_set(&call->err, -EINVAL, "a pool has 1 to %d devices", POOL_DEVICES_MAX);
	if (result == 0)
		snprintf(opening->name, sizeof(opening->name), "%s", options->name);
	for (unsigned i = 0; i < options->device_count && result == 0; i++)
		result = add_device(opening, options->devices[i].path, options->devices[i].size);
	opening_start(opening, result);
}

static void native_open(const struct world_ops *world, struct loop *loop, const char *const *paths,
			unsigned path_count, bool rewind, struct pool_call *call)
{
	struct opening *opening = opening_new(world, loop, call);
	int result = 0;

	if (!opening) {
		pool_answer(call, err_set(&call->err, -ENOMEM, "out of memory"));
		return;
	}
	opening->rewind = rewind;
	if (path_count == 0 || path_count > POOL_DEVICES_MAX)
		result =
		    err_set(&call->err, -EINVAL, "a pool has 1 to %d devices", POOL_DEVICES_MAX);
	for (unsigned i = 0; i < path_count && result == 0; i++)
		result = add_device(opening, paths[i], 0);
	opening_start(opening, result);
}

static void native_check_devices(const struct world_ops *world, struct loop *loop,
				 const char *const *paths, unsigned path_count, bool data,
				 struct pool_check_report *report, struct pool_call *call)
{
	struct opening *opening = opening_new(world, loop, call);
	int result = 0;

	if (!opening) {
		pool_answer(call, err_set(&call->err, -ENOMEM, "out of memory"));
		return;
	}
	opening->report = report;
	opening->check_data = data;
	if (path_count == 0 || path_count > POOL_DEVICES_MAX)
		result =
		    err_set(&call->err, -EINVAL, "a pool has 1 to %d devices", POOL_DEVICES_MAX);
	for (unsigned i = 0; i < path_count && result == 0; i++)
		result = add_device(opening, paths[i], 0);
	opening_start(opening, result);
}

/* ---- information ---- */
static void native_get_info(struct pool *pool, struct pool_info *ret_info)
{
	struct native *native = native_of(pool);
	struct pool_info info = {0};
	uint64_t data_chunks;

	native_lock(native);
	memcpy(info.name, native->sb.name, sizeof(info.name));
	memcpy(info.uuid, native->sb.pool_uuid.bytes, 16);
	info.device_count = native->pv_count;
	data_chunks = native->chunks_total - native->slop_chunks;
	info.size_bytes = data_chunks * CHUNK;
	info.used_bytes = native->chunks_used * CHUNK;
	info.free_bytes =
	    native->chunks_used < data_chunks ? (data_chunks - native->chunks_used) * CHUNK : 0;
	info.reserved_bytes = reserve_chunks(native) * CHUNK;
	info.watermark_level = native->watermark_level;
	memcpy(info.watermark, watermarks_of(native), sizeof(info.watermark));
	list_for_each (it, &native->volumes) {
		info.volume_count++;
		info.provisioned_bytes += list_entry(it, struct nvolume, link)->volume.size_bytes;
	}
	info.metadata_size_bytes = native->meta_total * BLOCK;
	info.metadata_used_bytes = native->meta_used * BLOCK;
	info.generation = native->sb.generation;
	info.checksum_errors = __atomic_load_n(&native->checksum_errors, __ATOMIC_RELAXED);
	info.metadata_repairs = native->metadata_repairs;
	info.hot_resummed = native->hot_resummed;
	info.replayed_records = native->replayed_records;
	info.read_only = native->read_only;
	memcpy(info.read_only_reason, native->read_only_reason, sizeof(info.read_only_reason));
	pthread_mutex_unlock(&native->lock);
	*ret_info = info;
}

static const char *native_name(const struct pool *pool)
{
	return native_of((struct pool *)pool)->sb.name;
}

static const char *native_device_path(const struct pool *pool, unsigned index)
{
	const struct native *native = native_of((struct pool *)pool);

	return index < native->pv_count ? native->pv[index].disk->path : NULL;
}

static uint64_t native_used_bytes(struct volume *volume)
{
	struct nvolume *mine = nvolume_of(volume);
	uint64_t slots;

	native_lock(mine->native);
	slots = mine->used_slots;
	pthread_mutex_unlock(&mine->native->lock);
	return slots * VOLUME_SLOT;
}

const struct pool_ops native_pool_ops = {
    .name = "native",
    .create = native_create,
    .open = native_open,
    .close = native_close,
    .volume_create = native_volume_create,
    .volume_delete = native_volume_delete,
    .volume_resize = native_volume_resize,
    .volume_shrink = native_volume_shrink,
    .volume_rename = native_volume_rename,
    .snapshot_create = native_snapshot_create,
    .snapshot_next = native_snapshot_next,
    .snapshot_get_info = native_snapshot_info,
    .snapshot_of = native_snapshot_of,
    .snapshot_delete = native_snapshot_delete,
    .snapshot_rename = native_snapshot_rename,
    .snapshot_hold = native_snapshot_hold,
    .snapshot_release = native_snapshot_release,
    .snapshot_measure = native_snapshot_measure,
    .volume_clone = native_volume_clone,
    .volume_promote = native_volume_promote,
    .volume_rollback = native_volume_rollback,
    .volume_diff = native_volume_diff,
    .set_watermarks = native_set_watermarks,
    .find_volume = native_find_volume,
    .volume_next = native_volume_next,
    .get_info = native_get_info,
    .pool_name = native_name,
    .device_path = native_device_path,
    .volume_used_bytes = native_used_bytes,
    .check = native_check,
    .check_devices = native_check_devices,
    .checkpoint = native_checkpoint,
    .scrub = native_scrub,
    .scrub_info = native_scrub_info,
    .finding = native_finding,
    .findings_clear = native_findings_clear,
};
