/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "volumes/alone.h"
#include "volumes/bytes.h"
#include "volumes/guard.h"
#include "volumes/spread.h"

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
	bool degraded; /* an administrator consents to one device's being missing */
	bool check_data;
	struct pool_check_report *report;  /* a check of closed devices */
	struct superblock older;           /* the root before the newest, where there is one */
	struct superblock root;            /* the newest, as it is on the devices .. */
	uint8_t missing[POOL_DEVICES_MAX]; /* .. by row: the copies where it should be and is not */
	uint64_t journal_bytes;
	char name[POOL_NAME_MAX + 1];
	unsigned count;
	struct {
		char *path;
		uint64_t size;
	} device[POOL_DEVICES_MAX];
	struct disk *disk[POOL_DEVICES_MAX]; /* by path, until the pool has it */
	uint64_t size[POOL_DEVICES_MAX];     /* of those a new pool is made of */
	unsigned failures, failed; /* how many paths can not be used, and the last of them */
	int failure; /* why the first of the paths can not be used, if the pool should need it */
	struct err why;
};

static struct err *text(struct opening *opening)
{
	return &opening->call->err;
}

/* A path that is not the pool's any more, or not yet, does no harm: what matters is that the pool
 * finds all it needs. */
static void set_aside(struct opening *opening, unsigned index, int result, const struct err *why)
{
	if (!opening->failure) {
		opening->failure = result;
		opening->why = *why;
	}
	opening->failures++;
	opening->failed = index;
	disk_close(opening->disk[index]);
	opening->disk[index] = NULL;
}

static int open_disks(struct opening *opening)
{
	struct native *native = opening->native;

	for (unsigned i = 0; i < opening->count; i++) {
		bool looks = opening->report || opening->call->dry;
		unsigned flags = DISK_EXCLUSIVE | (looks ? DISK_READ_ONLY : 0);
		struct err why = {0};
		int result = disk_open(native->world, opening->device[i].path, flags, 0,
				       &opening->disk[i], &why);

		if (result < 0)
			set_aside(opening, i, result, &why);
	}
	return 0;
}

/* One that would be made, twice: the second time it would be in use. */
static bool is_named_before(const struct opening *opening, unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (strcmp(opening->device[i].path, opening->device[index].path) == 0)
			return true;
	return false;
}

static int open_new_disks(struct opening *opening)
{
	int result = 0;

	for (unsigned i = 0; i < opening->count && result == 0; i++) {
		result = pv_open_new(opening->native->world, opening->device[i].path,
				     opening->device[i].size, opening->call->dry, &opening->disk[i],
				     &opening->size[i], text(opening));
		if (result == 0 && !opening->disk[i] && is_named_before(opening, i))
			result = err_set(text(opening), -EBUSY, "%s is named twice",
					 opening->device[i].path);
	}
	return result;
}

/* ---- create ---- */
static int check_devices(struct opening *opening)
{
	int result = 0;

	for (unsigned i = 0; i < opening->count && result == 0; i++) {
		struct disk *disk = opening->disk[i];

		if (opening->size[i] < POOL_SIZE_MIN)
			result = err_set(text(opening), -EINVAL,
					 "%s is too small: a pool's device has at least 64 MiB",
					 opening->device[i].path);
		else if (!opening->force && disk)
			result = pv_check_empty(disk, NULL, text(opening));
	}
	return result;
}

/* Is the device of a row away, and was it before? */
static void take_flags(struct opening *opening, unsigned row)
{
	struct native *native = opening->native;
	struct pv *pv = &native->pv[row];

	pv->was_away = pv->format.flags & PV_AWAY;
	pv->pinned = pv->format.flags & PV_PINNED; /* from here on (spread_say()) */
	native->sb.pv[row].flags &= (uint8_t)~PV_PINNED;
	pv->format.flags &= (uint8_t)~PV_PINNED;
	if (!pv->disk && opening->failures == 1)
		pv->path = heap_strdup(opening->device[opening->failed].path);
	if (!pv->disk || pv->format.flags & (PV_AWAY | PV_STALE))
		away_set(native, row, pv->format.flags & (PV_AWAY | PV_STALE));
}

/* The rows of the table get their disks; @disks by row, which are the pool's from here on. */
static void take_disks(struct opening *opening, struct disk **disks)
{
	struct native *native = opening->native;
	const struct superblock *sb = &native->sb;

	for (unsigned i = 0; i < sb->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		unsigned device = sb->pv[i].device ? sb->pv[i].device - 1u : i;

		pv->format = sb->pv[i];
		pv->device = &native->pv[device];
		if (disks[device])
			pv_attach(native, i, disks[device]);
		pv->allocates = pv->format.state == PV_STATE_ACTIVE;
	}
	native->pv_count = sb->pv_count;
	for (unsigned i = 0; i < sb->pv_count; i++)
		if (pv_is_device(&native->pv[i]))
			take_flags(opening, i);
	for (unsigned i = 0; i < opening->count; i++)
		opening->disk[i] = NULL;
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
	sb->pv_count = opening->count;
	sb->epoch = sb->journal_tail = sb->next_lsn = sb->next_volume_id = sb->clean = 1;
	for (unsigned i = 0; i < sb->pv_count; i++) {
		loop_random(native->home, &sb->pv[i].uuid, sizeof(sb->pv[i].uuid));
		sb->pv[i].size = opening->size[i] / BLOCK * BLOCK;
	}
	result = pv_layout(sb, text(opening));
	if (result < 0 || opening->call->dry)
		return result;
	take_disks(opening, opening->disk);
	chunks = sb->pv[sb->pv_count - 1].first_chunk + sb->pv[sb->pv_count - 1].chunks;
	sb->root[ROOT_SPACE].levels = pv_levels_for((chunks + SPACE_CHUNKS - 1) / SPACE_CHUNKS);
	sb->root[ROOT_META].levels = pv_levels_for(chunks / AG_CHUNKS + POOL_DEVICES_MAX);
	sb->root[ROOT_CSUM].levels = pv_levels_for((chunks + CSUM_CHUNKS - 1) / CSUM_CHUNKS);
	sb->root[ROOT_HOT].levels =
	    pv_levels_for((chunks / CSUM_CHUNKS + 1 + HOT_REGIONS - 1) / HOT_REGIONS);
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
	if (labels->generation[side] < (sb->generation ? sb->generation : 1))
		labels->generation[side] = sb->generation ? sb->generation : 1;
}

/* The superblocks on a device. -ENODATA: it has none; -EPROTO: of a newer format; -EUCLEAN: all are
 * damaged. */
static int read_label(struct opening *opening, struct disk *disk, struct labels *ret_labels,
		      struct err *why)
{
	uint8_t *block = heap_aligned(BLOCK, BLOCK);
	uint64_t tail = disk->size; /* what it ends behind, had the device grown since */
	struct labels labels = {0};
	bool found = false, damaged = false, ours = false;
	int result = block ? 0 : -ENOMEM;

	for (unsigned copy = 0; copy < 4 && result != -EPROTO && block; copy++) {
		struct superblock sb;
		uint64_t size = copy < 2 || !labels.size[copy - 2] ? tail : labels.size[copy - 2];

		result = disk_io(disk, DISK_READ, 0, superblock_position(size, copy), block, BLOCK);
		if (result == 0)
			result = superblock_decode(block, &sb, why);
		damaged |= result < 0;
		ours |= result == -EBADMSG;
		if (result < 0)
			continue;
		tail = sb.pv[sb.pv_index].size;
		if (copy < 2)
			labels.size[copy] = tail;
		keep_label(&labels, &sb);
		labels.copy[copy].generation = sb.generation;
		labels.copy[copy].epoch = sb.epoch;
		found = true;
	}
	heap_free(block);
	if (result == -EPROTO)
		return err_wrap(why, "%s", disk->path);
	if (!block || found) {
		opening->native->metadata_repairs += found && damaged;
		*ret_labels = labels;
		return block ? 0 : -ENOMEM;
	}
	if (ours)
		return err_set(why, -EUCLEAN, "%s: all copies of the superblock are damaged",
			       disk->path);
	return err_set(why, -ENODATA, "%s is not part of a Granary pool", disk->path);
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

/* Is @label one of a row that the pool has? Else it is what an interrupted pool_add() or
 * pool_remove() has left. */
static bool is_member(const struct superblock *label, const struct superblock *sb)
{
	unsigned index = label->pv_index;

	return index < sb->pv_count && sb->pv[index].state != PV_STATE_REMOVED &&
	       memcmp(&label->pv[index].uuid, &sb->pv[index].uuid, sizeof(struct uuid)) == 0;
}

/* The copies, of the side of root @sb, that hold something else: as bits. */
static uint8_t missing_copies(const struct labels *labels, const struct superblock *sb)
{
	uint8_t missing = 0;

	for (unsigned copy = sb->generation & 1; copy < 4; copy += 2)
		if (labels->copy[copy].generation != sb->generation ||
		    labels->copy[copy].epoch != sb->epoch)
			missing |= (uint8_t)(1u << copy);
	return missing;
}

/* Which path is which row: into disks[]. */
static int sort_devices(struct opening *opening, struct labels *labels, struct disk **disks)
{
	struct native *native = opening->native;

	for (unsigned i = 0; i < opening->count; i++) {
		const struct superblock *label = &labels[i].newest;
		struct disk *disk = opening->disk[i];

		if (!disk)
			continue;
		if (memcmp(&label->pool_uuid, &native->sb.pool_uuid, sizeof(struct uuid)) != 0)
			return err_set(text(opening), -EINVAL, "%s belongs to pool %s, not to %s",
				       disk->path, label->name, native->sb.name);
		if (!is_member(label, &native->sb)) {
			log_notice("pool %s: %s is not, or no more, a part of it", native->sb.name,
				   disk->path);
			memset(labels[i].generation, 0, sizeof(labels[i].generation));
			disk_close(disk);
			opening->disk[i] = NULL;
			continue;
		}
		if (disks[label->pv_index])
			return err_set(text(opening), -EINVAL, "%s is a copy of another device",
				       disk->path);
		disks[label->pv_index] = disk;
		opening->missing[label->pv_index] = missing_copies(&labels[i], &native->sb);
	}
	return 0;
}

/* May the pool do without the device of row @index, which is not there? It did before, or it is
 * asked for, and what has two copies has one that counts. */
static bool does_without(struct opening *opening, unsigned index)
{
	struct native *native = opening->native;
	const struct superblock *sb = &native->sb;

	if (sb->pv[index].flags & PV_AWAY) {
		native->consent = opening->degraded; /* the journal may say that it was back */
		return opening->failure != -EBUSY;   /* it is there, somebody is just letting go */
	}
	for (unsigned i = 0; i < sb->pv_count; i++)
		if (i != index && sb->pv[i].flags & PV_STALE && ORDER(stale_needs_the_other))
			return false;
	if (!opening->degraded || opening->report || native->newly_missing ||
	    sb->version < FORMAT_MIRRORS || (index == 0 && !sb->journal_row))
		return false;
	native->newly_missing = index + 1;
	return true;
}

/* All rows that are devices have one, as large as it was. */
static int check_complete(struct opening *opening, struct disk **disks)
{
	struct native *native = opening->native;

	for (unsigned i = 0; i < native->sb.pv_count; i++) {
		const struct format_pv *row = &native->sb.pv[i];

		if (row->device || row->state == PV_STATE_REMOVED ||
		    (!disks[i] && does_without(opening, i)))
			continue;
		if (!disks[i] && opening->failure) {
			*text(opening) = opening->why;
			return opening->failure;
		}
		if (!disks[i])
			return err_set(text(opening), -ENOENT,
				       "device %u of the %u of pool %s is missing", i + 1,
				       native->sb.pv_count, native->sb.name);
		if (disks[i]->size < row->size)
			return err_set(text(opening), -EUCLEAN,
				       "%s has been cut short: %llu bytes, the pool needs %llu",
				       disks[i]->path, (unsigned long long)disks[i]->size,
				       (unsigned long long)row->size);
	}
	if (opening->failure)
		log_notice("pool %s: %s", native->sb.name, opening->why.text);
	return 0;
}

static bool is_same_pool(const struct superblock *a, const struct superblock *b)
{
	return memcmp(&a->pool_uuid, &b->pool_uuid, sizeof(struct uuid)) == 0;
}

/* Has the row of @label another device, as @other says? */
static bool was_replaced(const struct superblock *label, const struct superblock *other)
{
	unsigned index = label->pv_index;

	return index < other->pv_count &&
	       memcmp(&label->pv[index].uuid, &other->pv[index].uuid, sizeof(struct uuid)) != 0;
}

/* Went the pool on without the device of @label, as @other says? */
static bool is_away(const struct superblock *label, const struct superblock *other)
{
	return label->pv_index != other->pv_index && is_member(label, other) &&
	       other->pv[label->pv_index].flags & PV_AWAY;
}

/* Of two labels of one generation the one of the later life: what it was written over, where that
 * was not cut off, is the other. */
static bool is_newer(const struct superblock *a, const struct superblock *b)
{
	if (a->generation != b->generation || a->epoch != b->epoch)
		return a->generation > b->generation ||
		       (a->generation == b->generation && a->epoch > b->epoch);
	return a->lineage[0] != b->lineage[0] && superblock_succeeds(a, b);
}

/* The device with the newest label that counts; their number when there is none. */
static unsigned newest_of(const struct opening *opening, const struct labels *labels,
			  const bool *forgotten)
{
	unsigned newest = opening->count;

	for (unsigned i = 0; i < opening->count; i++)
		if (opening->disk[i] && !forgotten[i] &&
		    (newest == opening->count ||
		     is_newer(&labels[i].newest, &labels[newest].newest)))
			newest = i;
	return newest;
}

static int refuse_split(struct opening *opening, const struct labels *labels, unsigned a,
			unsigned b)
{
	return err_set(text(opening), -EUCLEAN,
		       "%s and %s went on as pool %s without each other, and what was written to "
		       "one since is not on the other: import the pool from the one that is to "
		       "stay, and give it the other as a new device (pool replace --force)",
		       opening->disk[a]->path, opening->disk[b]->path, labels[a].newest.name);
}

/* Who says that @newest is away? opening->count: nobody does. */
static unsigned doubter_of(const struct opening *opening, const struct labels *labels,
			   const bool *forgotten, unsigned newest)
{
	for (unsigned i = 0; i < opening->count; i++)
		if (opening->disk[i] && !forgotten[i] &&
		    is_same_pool(&labels[i].newest, &labels[newest].newest) &&
		    is_away(&labels[newest].newest, &labels[i].newest))
			return i;
	return opening->count;
}

/* One that the pool went on without may have gone on, too, and only its journal says so. Where that
 * can not be read the pool still goes on without it. */
static int check_forgotten(struct opening *opening, const struct labels *labels, unsigned newest,
			   unsigned index)
{
	struct err why = {0};
	uint64_t alone = 0;
	int result = alone_rows(opening->disk[index], &labels[index].newest, NULL, NULL, &alone);

	if (result == 0)
		return alone ? refuse_split(opening, labels, newest, index) : 0;
	if (result == -ENOMEM)
		return result;
	err_set(&why, result, "the journal on %s can not be read", opening->disk[index]->path);
	set_aside(opening, index, result, &why);
	return 0;
}

/* What the pool went on without, or has replaced, has taken no part since: its labels say nothing
 * of roots. The newest label says what that is; one that the others call away is not taken for the
 * newest (the root that says that it is back was cut off). Two that call each other away, or
 * neither of which has been what the other is, have both gone on, by an administrator's word:
 * neither is older, whatever other devices each has now. */
static int forget_away(struct opening *opening, struct labels *labels)
{
	bool forgotten[POOL_DEVICES_MAX] = {false};
	unsigned newest, doubter;
	int result = 0;

	for (;;) {
		newest = newest_of(opening, labels, forgotten);
		if (newest == opening->count)
			return 0;
		doubter = doubter_of(opening, labels, forgotten, newest);
		if (doubter == opening->count)
			break;
		if (is_away(&labels[doubter].newest, &labels[newest].newest) ||
		    was_replaced(&labels[doubter].newest, &labels[newest].newest) ||
		    !superblock_succeeds(&labels[doubter].newest, &labels[newest].newest))
			return refuse_split(opening, labels, newest, doubter);
		forgotten[newest] = true;
	}
	for (unsigned i = 0; i < opening->count; i++) {
		if (!opening->disk[i] || i == newest ||
		    !is_same_pool(&labels[i].newest, &labels[newest].newest))
			continue;
		if (!superblock_succeeds(&labels[newest].newest, &labels[i].newest))
			return refuse_split(opening, labels, newest, i);
		forgotten[i] |= was_replaced(&labels[i].newest, &labels[newest].newest) ||
				is_away(&labels[i].newest, &labels[newest].newest);
	}
	for (unsigned i = 0; i < opening->count && result == 0; i++) {
		if (!forgotten[i])
			continue;
		result = check_forgotten(opening, labels, newest, i);
		labels[i].newest.generation = labels[i].older.generation = 0;
		memset(labels[i].generation, 0, sizeof(labels[i].generation));
	}
	return result;
}

/* Put the devices in the order of the pool's table and find the newest root. */
static int assemble(struct opening *opening, struct labels *labels)
{
	struct native *native = opening->native;
	struct disk *disks[POOL_DEVICES_MAX] = {0};
	const bool all[POOL_DEVICES_MAX] = {false};
	int result = forget_away(opening, labels);
	unsigned newest = newest_of(opening, labels, all);

	if (result < 0)
		return result;
	if (newest == opening->count) {
		*text(opening) = opening->why;
		return opening->failure;
	}
	native->sb = opening->root = labels[newest].newest;
	opening->older = *older_of(labels, opening->count, native->sb.generation);
	result = sort_devices(opening, labels, disks);
	if (result == 0)
		result = check_complete(opening, disks);
	if (result == 0)
		take_disks(opening, disks);
	return result;
}

/* Devices of which only the labels say that no newer root is lost. One that was away when that root
 * was written knows nothing of it: the journal tells (away_record()). */
static uint64_t doubted_rows(const struct opening *opening, struct labels *labels)
{
	uint64_t rows = 0;

	for (unsigned i = 0; i < opening->count && !opening->rewind; i++) {
		struct labels kept = labels[i];

		memset(labels[i].generation, 0, sizeof(labels[i].generation));
		if (rewind_side_is_lost(labels, opening->count, opening->native->sb.generation))
			rows |= 1ull << kept.newest.pv_index;
		labels[i] = kept;
	}
	return rows;
}

/* A side without a superblock that can be read: it may have held a newer root. */
static int check_sides(struct opening *opening, struct labels *labels)
{
	struct native *native = opening->native;
	unsigned long long generation = native->sb.generation;

	native->doubted = doubted_rows(opening, labels);
	if (!rewind_side_is_lost(labels, opening->count, generation))
		return 0;
	if (!opening->rewind)
		return rewind_refuse(native, text(opening));
	native->sb.clean = 0; /* the root may be, its successor was not */
	log_warning("pool %s goes back to its root of generation %llu: the last change of volumes "
		    "may be lost",
		    native->sb.name, generation);
	return 0;
}

static int read_labels(struct opening *opening)
{
	struct labels *labels = heap_zalloc_array(opening->count, sizeof(*labels));
	int result = labels ? 0 : -ENOMEM;

	for (unsigned i = 0; i < opening->count && result == 0; i++) {
		struct err why = {0};

		if (!opening->disk[i])
			continue;
		result = read_label(opening, opening->disk[i], &labels[i], &why);
		if (result == -ENODATA || result == -EUCLEAN) {
			set_aside(opening, i, result == -ENODATA ? -EPROTO : result, &why);
			result = 0;
		} else if (result < 0) {
			*text(opening) = why;
		}
	}
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
	static const enum node_kind kinds[ROOT_COUNT] = {
	    [ROOT_VOLUMES] = NODE_VOLUMES, [ROOT_SPACE] = NODE_SPACE, [ROOT_META] = NODE_META,
	    [ROOT_CSUM] = NODE_CSUM,       [ROOT_HOT] = NODE_HOT,     [ROOT_FORWARD] = NODE_FORWARD,
	    [ROOT_MIRROR] = NODE_MIRROR};

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
	/* The first says where to find some of the others. */
	static const unsigned resident[] = {ROOT_FORWARD, ROOT_META,   ROOT_SPACE,
					    ROOT_HOT,     ROOT_MIRROR, ROOT_VOLUMES};
	int result = native->sb.root[ROOT_FORWARD].pointer.generation ? forward_rooms(native) : 0;

	if (result == 0 && native->sb.version >= FORMAT_MIRRORS)
		result = mirror_rooms(native);

	for (unsigned i = 0; i < sizeof(resident) / sizeof(resident[0]) && result == 0; i++)
		result = tree_load_all(&native->tree[resident[i]], lane);
	if (result == 0)
		result = forward_setup(native);
	if (result == 0)
		result = mirror_setup(native);
	if (result == 0)
		result = space_setup(native);
	return result == 0 ? hot_setup(native) : result;
}

/* A crash has left the newest root in some copies only. The next root goes to the other side, the
 * one after it to these again: so that a crash in that one leaves a readable copy of this side, on
 * each device by itself (they may be opened alone), all have this one first. */
static int complete_root(struct opening *opening)
{
	struct native *native = opening->native;
	struct superblock *root = &opening->root;
	uint8_t *block = heap_aligned(BLOCK, BLOCK);
	int result = block ? 0 : -ENOMEM;

	for (unsigned i = 0; i < root->pv_count * 4 && result == 0; i++) {
		struct pv *pv = &native->pv[i / 4];

		if (!(opening->missing[i / 4] & 1u << i % 4) || !pv_is_here(pv) ||
		    pv_is_stale(pv) || !ORDER(root_whole_before_next))
			continue;
		root->pv_index = i / 4;
		superblock_encode(root, block);
		result = pv_io(pv, DISK_WRITE, DISK_FUA,
			       superblock_position(root->pv[i / 4].size, i % 4), block, BLOCK);
	}
	heap_free(block);
	return result;
}

/* The device that is missing may go on elsewhere: from here on the two are different pools. Known
 * before anything else is written. */
static int fork_pool(struct native *native)
{
	uint32_t lineage = 0;

	while (!lineage)
		loop_random(native->home, &lineage, sizeof(lineage));
	if (ORDER(opened_alone_is_another))
		superblock_fork(&native->sb, lineage);
	native->sb.version = FORMAT_VERSION;
	return ORDER(consent_before_writes) ? superblock_write_all(native, &native->sb) : 0;
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
	quota_setup(native);
	reserve_setup(native);
	if (result == 0)
		result = replay_run(native, lane, text(opening));
	if (result == 0) {
		native_lock(native);
		space_replayed(native);
		mirror_sweep(native);
		forward_sweep(native);
		result = evacuate_opened(native);
		native_unlock(lane);
	}
	if (result == 0 && !opening->create)
		result = complete_root(opening);
	if (result == 0 && native->newly_missing) {
		log_warning("pool %s is opened without device %u, which is missing%s",
			    native->sb.name, native->newly_missing,
			    native->pv[native->newly_missing - 1].pinned
				? ": metadata may have both copies there, and what it is of can "
				  "not be read"
				: "");
		result = fork_pool(native);
	}
	if (result == 0)
		result = checkpoint_run(native, lane, false);
	if (result == 0) {
		native_lock(native);
		spread_again(native);
		native_unlock(lane);
	}
	return result;
}

/* The newest root as it is on disk; nothing is written. */
static int load_closed(struct opening *opening, struct lane **ret_lane)
{
	struct native *native = opening->native;
	int result = init_trees(native);

	native->read_only = true; /* copies that are bad are told, not mended */
	*ret_lane = result == 0 ? lane_get(native) : NULL;
	if (result == 0 && !*ret_lane)
		result = -ENOMEM;
	if (result == 0)
		result = load_trees(native, *ret_lane);
	if (result < 0 && result != -ENOMEM)
		return err_set(text(opening), -EUCLEAN,
			       "both copies of a metadata node of pool %s are damaged",
			       native->sb.name);
	if (result == 0 && native_link_volumes(native) < 0)
		return err_set(text(opening), -EUCLEAN,
			       "the table of volumes of pool %s makes no sense", native->sb.name);
	return result;
}

static int check_closed(struct opening *opening)
{
	struct native *native = opening->native;
	struct pool_check_report *report = opening->report;
	bool data = opening->check_data && native->sb.clean;
	struct lane *lane;
	int result = load_closed(opening, &lane);

	if (result == 0)
		result = check_run(native, lane, data, report);
	if (result == 0 && opening->check_data && !data && report->finding)
		report->finding(report, "the pool was not closed in an orderly way: its data was "
					"not verified, import it and scrub it");
	return result;
}

/* ---- dry ---- */
static int would_create(struct opening *opening)
{
	struct pool_info *info = opening->call->would;
	const struct superblock *sb = &opening->native->sb;

	if (!info)
		return 0;
	*info = (struct pool_info){.kind = "native", .device_count = sb->pv_count};
	memcpy(info->name, sb->name, sizeof(info->name));
	return 0;
}

static int would_open(struct opening *opening)
{
	struct native *native = opening->native;
	struct lane *lane;
	int result = load_closed(opening, &lane);

	if (result == 0 && opening->call->would)
		pool_get_info(&native->pool, opening->call->would);
	return result;
}

static int run(struct opening *opening)
{
	int result = opening->create ? open_new_disks(opening) : open_disks(opening);

	if (result == 0 && opening->create)
		result = check_devices(opening);
	if (result == 0)
		result = opening->create ? label(opening) : read_labels(opening);
	if (result == 0 && opening->report)
		return check_closed(opening);
	if (result == 0 && opening->call->dry)
		return opening->create ? would_create(opening) : would_open(opening);
	return result == 0 ? start(opening) : result;
}

static void opening_free(struct opening *opening)
{
	for (unsigned i = 0; i < opening->count; i++) {
		disk_close(opening->disk[i]);
		heap_free(opening->device[i].path);
	}
	heap_free(opening);
}

static void opening_main(void *context)
{
	struct opening *opening = context;
	struct pool_call *call = opening->call;
	struct native *native = opening->native;
	int result = run(opening);

	if (opening->report || call->dry) {
		native_free(native);
		if (result < 0 && !call->err.code)
			err_set(&call->err, result, "the pool can not be %s: %s",
				opening->report ? "checked" : "opened", strerror(-result));
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

static void open_paths(const struct world_ops *world, struct loop *loop, const char *const *paths,
		       unsigned path_count, struct opening how, struct pool_call *call)
{
	struct opening *opening = opening_new(world, loop, call);
	int result = 0;

	if (!opening) {
		pool_answer(call, err_set(&call->err, -ENOMEM, "out of memory"));
		return;
	}
	opening->rewind = how.rewind;
	opening->degraded = how.degraded;
	if (path_count == 0 || path_count > POOL_DEVICES_MAX)
		result =
		    err_set(&call->err, -EINVAL, "a pool has 1 to %d devices", POOL_DEVICES_MAX);
	for (unsigned i = 0; i < path_count && result == 0; i++)
		result = add_device(opening, paths[i], 0);
	opening_start(opening, result);
}

static void native_open(const struct world_ops *world, struct loop *loop, const char *const *paths,
			unsigned path_count, bool rewind, struct pool_call *call)
{
	open_paths(world, loop, paths, path_count, (struct opening){.rewind = rewind}, call);
}

static void native_open_degraded(const struct world_ops *world, struct loop *loop,
				 const char *const *paths, unsigned path_count,
				 struct pool_call *call)
{
	open_paths(world, loop, paths, path_count, (struct opening){.degraded = true}, call);
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
	uint64_t data_chunks, meta_moved = 0;

	native_lock(native);
	memcpy(info.name, native->sb.name, sizeof(info.name));
	memcpy(info.uuid, native->sb.pool_uuid.bytes, 16);
	for (unsigned i = 0; i < native->pv_count; i++)
		info.device_count += pv_is_device(&native->pv[i]);
	for (unsigned i = 0; i < native->pv_count; i++)
		meta_moved += native->pv[i].meta_moved;
	data_chunks = native->chunks_total - native->slop_chunks;
	info.size_bytes = (data_chunks - meta_moved) * CHUNK;
	info.quotas = native->quotas;
	info.used_bytes = (native->chunks_used - meta_moved) * CHUNK;
	info.free_bytes =
	    native->chunks_used < data_chunks ? (data_chunks - native->chunks_used) * CHUNK : 0;
	info.reserved_bytes = reserve_chunks(native) * CHUNK;
	info.mirror_free_bytes = reserve_mirror_room(native, &info.mirror_size_bytes) * CHUNK;
	info.mirror_size_bytes *= CHUNK;
	info.mirrors = native->mirrors || native->promised_pairs;
	info.watermark_level = native->watermark_level;
	info.reclaiming = !list_empty(&native->deleting);
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
	info.data_repairs = native->data_repairs;
	info.hot_resummed = native->hot_resummed;
	info.replayed_records = native->replayed_records;
	info.degraded = away_any(native) && !pv_is_here(away_any(native));
	info.resilvering = away_any(native) && !info.degraded;
	info.journal_copies = journal_complete_copies(native);
	info.read_only = native->read_only;
	memcpy(info.read_only_reason, native->read_only_reason, sizeof(info.read_only_reason));
	pthread_mutex_unlock(&native->lock);
	*ret_info = info;
}

static const char *native_name(const struct pool *pool)
{
	return native_of((struct pool *)pool)->sb.name;
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
    .own_blocks = true,
    .dry = true,
    .create = native_create,
    .open = native_open,
    .open_degraded = native_open_degraded,
    .close = native_close,
    .volume_create = native_volume_create,
    .volume_delete = native_volume_delete,
    .volume_resize = native_volume_resize,
    .volume_set_space = native_volume_set_space,
    .quota_used = native_quota_used,
    .volume_shrink = native_volume_shrink,
    .volume_rename = native_volume_rename,
    .snapshot_create = native_snapshot_create,
    .snapshot_next = native_snapshot_next,
    .snapshot_get_info = native_snapshot_info,
    .snapshot_of = native_snapshot_of,
    .snapshot_delete = native_snapshot_delete,
    .snapshot_rename = native_snapshot_rename,
    .snapshot_hold = native_snapshot_hold,
    .snapshot_approve = native_snapshot_approve,
    .snapshot_release = native_snapshot_release,
    .snapshot_measure = native_snapshot_measure,
    .snapshot_measure_all = native_snapshot_measure_all,
    .volume_clone = native_volume_clone,
    .volume_promote = native_volume_promote,
    .volume_rollback = native_volume_rollback,
    .volume_diff = native_volume_diff,
    .set_watermarks = native_set_watermarks,
    .rename = native_rename,
    .find_volume = native_find_volume,
    .volume_next = native_volume_next,
    .get_info = native_get_info,
    .pool_name = native_name,
    .device_path = native_device_path,
    .device_info = native_device_info,
    .add = native_add,
    .grow = native_grow,
    .evacuate = native_evacuate,
    .remove = native_remove,
    .online = native_online,
    .offline = native_offline,
    .replace = native_replace,
    .volume_used_bytes = native_used_bytes,
    .check = native_check,
    .check_devices = native_check_devices,
    .checkpoint = native_checkpoint,
    .scrub = native_scrub,
    .scrub_info = native_scrub_info,
    .finding = native_finding,
    .findings_clear = native_findings_clear,
};
