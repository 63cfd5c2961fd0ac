/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/native.h"

/* Physical volumes: where things are on them, and a fiber's way to read and write them. */

struct pv *pv_of(const struct native *native, uint64_t chunk)
{
	unsigned rows = pv_rows(native);

	for (unsigned i = 0; i < rows; i++) {
		const struct format_pv *format = &native->pv[i].format;

		if (chunk - format->first_chunk < format->chunks)
			return (struct pv *)&native->pv[i];
	}
	return NULL;
}

/* Follows the entries of moved chunks; a target may have been moved since. Returns the last entry.
 */
static struct pv *follow(const struct native *native, uint64_t *chunk, uint64_t *ret_entry)
{
	struct pv *pv = pv_of(native, *chunk);

	*ret_entry = 0;
	for (unsigned hops = 0; pv && hops < POOL_DEVICES_MAX; hops++) {
		*ret_entry = pv_forward(pv, *chunk);
		if (!*ret_entry || *ret_entry & ~FORWARD_TARGET)
			return pv;
		*chunk = *ret_entry;
		pv = pv_of(native, *chunk);
	}
	return NULL;
}

uint64_t pv_resolve(const struct native *native, uint64_t chunk)
{
	uint64_t entry;

	follow(native, &chunk, &entry);
	return chunk;
}

static struct pv_place place_of(struct pv *pv, uint64_t chunk, uint64_t slot)
{
	return (struct pv_place){.pv = pv,
				 .offset = pv->format.data_offset +
					   (chunk - pv->format.first_chunk) * CHUNK +
					   slot % CHUNK_SLOTS * BLOCK};
}

unsigned pv_places(const struct native *native, uint64_t slot, struct pv_place ret_places[2])
{
	uint64_t chunk = slot / CHUNK_SLOTS, entry;
	struct pv *pv = follow(native, &chunk, &entry);

	if (!pv || !pv->disk)
		return 0;
	ret_places[0] = place_of(pv, chunk, slot);
	if (!(entry & FORWARD_BOTH))
		return 1;
	chunk = entry & FORWARD_TARGET;
	pv = pv_of(native, chunk);
	if (!pv || !pv->disk)
		return 0;
	ret_places[1] = place_of(pv, chunk, slot);
	return 2;
}

bool pv_locate(const struct native *native, uint64_t slot, struct pv **ret_pv, uint64_t *ret_offset)
{
	struct pv_place places[2];

	if (!pv_places(native, slot, places))
		return false;
	*ret_pv = places[0].pv;
	*ret_offset = places[0].offset;
	return true;
}

void pv_attach(struct native *native, unsigned index, struct disk *disk)
{
	struct pv *pv = &native->pv[index];

	pv->disk = disk;
	speed_forget(pv);
	/* What the process before has written may still be in its cache. Replay takes what it reads
	 * for written, and the first root says so: not before it is durable (I4). */
	__atomic_store_n(&pv->dirty, true, __ATOMIC_RELEASE);
	pv->needs_flush = disk->volatile_cache;
	pv->memory_alignment = disk->memory_alignment;
	pv->logical_block = disk->logical_block;
}

struct fiber_request {
	struct disk_request request;
	struct fiber *fiber;
	int result;
	bool done;
};

static void fiber_request_done(struct disk_request *request, int result)
{
	struct fiber_request *wait = container_of(request, struct fiber_request, request);

	wait->result = result;
	wait->done = true;
	fiber_wake(wait->fiber);
}

int disk_io(struct disk *disk, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	    uint64_t length)
{
	struct fiber_request wait = {.request = {.op = op,
						 .flags = flags,
						 .offset = offset,
						 .length = length,
						 .done = fiber_request_done},
				     .fiber = fiber_current()};

	if (buffer) {
		wait.request.own_iov =
		    (struct iovec){.iov_base = buffer, .iov_len = (size_t)length};
		wait.request.iov = &wait.request.own_iov;
		wait.request.iov_count = 1;
	}
	disk_submit(fiber_loop(wait.fiber), disk, &wait.request);
	while (!wait.done)
		fiber_wait();
	return wait.result;
}

int pv_io(struct pv *pv, enum disk_op op, unsigned flags, uint64_t offset, void *buffer,
	  uint64_t length)
{
	int result;

	pv_enter(pv);
	if (!pv_is_here(pv)) {
		pv_leave(pv);
		return -EIO;
	}
	result = disk_io(pv->disk, op, flags, offset, buffer, length);
	if (op == DISK_WRITE)
		pv_wrote(pv);
	pv_leave(pv);
	return result;
}

uint64_t pv_node_part(uint64_t address, uint64_t length)
{
	uint64_t part = (CHUNK_SLOTS - address % CHUNK_SLOTS) * BLOCK;

	return part < length ? part : length;
}

int pv_node_io(struct native *native, enum disk_op op, unsigned flags, uint64_t address,
	       uint8_t *buffer, uint64_t length)
{
	int result = 0;

	while (length && result == 0) {
		uint64_t part = pv_node_part(address, length), offset;
		struct pv *pv;

		if (!pv_locate(native, address, &pv, &offset))
			return -EBADMSG;
		result = pv_io(pv, op, flags, offset, buffer, part);
		address += part / BLOCK;
		buffer += part;
		length -= part;
	}
	return result;
}

int pv_flush_all(struct native *native)
{
	int result = 0;

	for (unsigned i = 0; i < native->pv_count && result == 0; i++) {
		struct pv *pv = &native->pv[i];

		if (pv_is_device(pv) && pv_is_here(pv) &&
		    __atomic_exchange_n(&pv->dirty, false, __ATOMIC_ACQ_REL) && pv->needs_flush)
			result = pv_io(pv, DISK_FLUSH, 0, 0, NULL, 0);
	}
	return result;
}

/* A device that may have to stand in for the first one: the first other that is large enough. A
 * pool gets its second copy of the journal with its first mirrored volume; there is room for it
 * before, for none can be made where there is data. */
uint64_t pv_journal_room(struct superblock *sb, unsigned row)
{
	uint64_t journal = sb->journal_blocks * BLOCK;
	unsigned rows = sb->pv_count, other;

	sb->pv_count = row;
	other = superblock_journal_room(sb);
	sb->pv_count = rows;
	return other || journal > sb->pv[row].size / 2 ? 0 : journal;
}

#define JOURNAL_MIN (4ull << 20)
#define JOURNAL_MAX (1ull << 30)

int pv_layout(struct superblock *sb, struct err *err)
{
	uint64_t total = 0, journal, chunk = 0;

	for (unsigned i = 0; i < sb->pv_count; i++) {
		if (sb->pv[i].size < POOL_SIZE_MIN)
			return err_set(err, -EINVAL, "a pool's device has at least 64 MiB");
		total += sb->pv[i].size;
	}
	journal = total / 100;
	journal = journal < JOURNAL_MIN   ? JOURNAL_MIN
		  : journal > JOURNAL_MAX ? JOURNAL_MAX
					  : journal;
	if (sb->journal_blocks) /* asked for */
		journal = sb->journal_blocks * BLOCK;
	journal = journal >> 20 << 20;
	if (journal > sb->pv[0].size / 2)
		journal = sb->pv[0].size / 2 >> 20 << 20;
	if (journal == 0 || journal > JOURNAL_MAX)
		return err_set(err, -EINVAL, "a journal has 1 MiB to 1 GiB");
	sb->journal_offset = PV_AREA;
	sb->journal_blocks = journal / BLOCK;
	for (unsigned i = 0; i < sb->pv_count; i++) {
		struct format_pv *pv = &sb->pv[i];

		pv->data_offset = PV_AREA + (i == 0 ? journal : pv_journal_room(sb, i));
		pv->first_chunk = chunk;
		pv->chunks = (pv->size - pv->data_offset - PV_AREA) / CHUNK;
		chunk += pv->chunks;
	}
	return 0;
}

unsigned pv_levels_for(uint64_t leaves)
{
	unsigned levels = 0;

	while (1ull << (6 * levels) < leaves)
		levels++;
	return levels;
}

uint64_t pv_fill_ags(const struct format_pv *rows, unsigned first, unsigned end, struct ag *ag)
{
	uint64_t count = 0;

	for (unsigned i = first; i < end; i++)
		for (uint64_t at = 0; at < rows[i].chunks; at += AG_CHUNKS, count++) {
			uint64_t left = rows[i].chunks - at;

			if (!ag)
				continue;
			ag[count].pv = i;
			ag[count].first = rows[i].first_chunk + at;
			ag[count].chunks = left < AG_CHUNKS ? left : AG_CHUNKS;
			ag[count].meta = format_meta_chunks(ag[count].chunks);
		}
	return count;
}

int pv_make_ags(struct native *native)
{
	const struct superblock *sb = &native->sb;
	const struct format_pv *last = &sb->pv[sb->pv_count - 1];

	native->ag_count = pv_fill_ags(sb->pv, 0, sb->pv_count, NULL);
	native->ag = heap_zalloc_array(native->ag_count, sizeof(*native->ag));
	if (!native->ag)
		return -ENOMEM;
	pv_fill_ags(sb->pv, 0, sb->pv_count, native->ag);
	native->chunks = last->first_chunk + last->chunks;
	return 0;
}

/* ---- what is on a device ---- */
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

int pv_wipe_labels(struct disk *disk, uint64_t size)
{
	uint8_t *block = heap_aligned(BLOCK, BLOCK);
	int result = block ? 0 : -ENOMEM;

	if (block)
		memset(block, 0, BLOCK);
	for (unsigned i = 0; i < 8 && result == 0; i++)
		result =
		    disk_io(disk, DISK_WRITE, DISK_FUA,
			    superblock_position(i < 4 ? size : disk->size, i % 4), block, BLOCK);
	heap_free(block);
	return result;
}

/* A label of this pool for a row that the pool has not got: it was removed, and a crash came before
 * its labels were wiped, or it never was the pool's, for those of generations 0 and 1 are written
 * before a root knows of the device. Any other that a root wrote is of a device that another took
 * the place of, or is another half's, and may have what is nowhere else. */
static bool is_left_over(const struct superblock *label, const struct superblock *pool)
{
	const struct uuid *row = &label->pv[label->pv_index].uuid;

	if (!pool || memcmp(&label->pool_uuid, &pool->pool_uuid, sizeof(*row)) != 0)
		return false;
	for (unsigned i = 0; i < pool->pv_count; i++)
		if (memcmp(&pool->pv[i].uuid, row, sizeof(*row)) == 0)
			return pool->pv[i].state == PV_STATE_REMOVED &&
			       superblock_succeeds(pool, label);
	return label->generation <= 1;
}

static int check_labels(struct disk *disk, const struct superblock *pool, uint8_t *buffer,
			struct err *err)
{
	bool left_over = false, other = false;
	unsigned damaged = 0;

	for (unsigned copy = 0; copy < 4; copy++) {
		struct superblock sb;
		int result = disk_io(disk, DISK_READ, 0, superblock_position(disk->size, copy),
				     buffer, BLOCK);

		if (result < 0)
			return err_set(err, result, "%s can not be read", disk->path);
		result = superblock_decode(buffer, &sb, NULL);
		if (result == 0 && is_left_over(&sb, pool))
			left_over = true;
		else if (result == -EBADMSG)
			damaged++;
		else
			other |= result != -ENODATA;
	}
	/* One may be torn where it was interrupted, and be the first that was to be written. */
	if (other || (damaged > 1 && !left_over))
		return err_set(err, -EEXIST, "%s belongs to a Granary pool already", disk->path);
	return 0;
}

int pv_check_empty(struct disk *disk, const struct superblock *sb, struct err *err)
{
	uint8_t *buffer = heap_aligned(BLOCK, 2 * CHUNK);
	int result;

	if (!buffer)
		return -ENOMEM;
	result = disk_io(disk, DISK_READ, 0, 0, buffer, 2 * CHUNK);
	if (result < 0)
		result = err_set(err, result, "%s can not be read", disk->path);
	for (unsigned i = 0; i < sizeof(signatures) / sizeof(signatures[0]) && result == 0; i++)
		if (memcmp(buffer + signatures[i].offset, signatures[i].bytes,
			   signatures[i].length) == 0)
			result =
			    err_set(err, -EEXIST, "%s holds %s", disk->path, signatures[i].what);
	if (result == 0)
		result = check_labels(disk, sb, buffer, err);
	heap_free(buffer);
	return result;
}

int pv_open_new(const struct world_ops *world, const char *path, uint64_t size, bool dry,
		struct disk **ret_disk, uint64_t *ret_size, struct err *err)
{
	unsigned create = size == 0 ? 0 : dry ? DISK_WOULD_CREATE : DISK_CREATE;
	int result = disk_open(world, path, DISK_EXCLUSIVE | create, size, ret_disk, err);

	if (result == 0)
		*ret_size = *ret_disk && (*ret_disk)->size ? (*ret_disk)->size : size;
	return result;
}

/* AGs are in order of their chunks; all but the last of a PV have the same size. */
uint64_t ag_of(const struct native *native, uint64_t chunk)
{
	uint64_t low = 0, high = native->ag_count;

	while (high - low > 1) {
		uint64_t middle = (low + high) / 2;

		if (native->ag[middle].first <= chunk)
			low = middle;
		else
			high = middle;
	}
	return low;
}
