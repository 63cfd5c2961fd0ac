/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/bytes.h"
#include "volumes/format.h"

/* The superblock: 4 KiB, fixed fields, then the table of PVs. Offsets as in docs/FORMAT.md. */
static const char superblock_magic[8] = {'G', 'R', 'A', 'N', 'A', 'R', 'Y', 'P'};

enum {
	SB_MAGIC = 0,
	SB_VERSION = 8,
	SB_CRC = 12,
	SB_POOL_UUID = 16,
	SB_NAME = 32,
	SB_GENERATION = 96,
	SB_EPOCH = 104,
	SB_TAIL = 112,
	SB_NEXT_LSN = 120,
	SB_JOURNAL_OFFSET = 128,
	SB_JOURNAL_BLOCKS = 136,
	SB_NEXT_VOLUME = 144,
	SB_HOST = 152,
	SB_HEARTBEAT = 160,
	SB_LINEAGE = 168,
	SB_CLEAN = 176,
	SB_PV_INDEX = 180,
	SB_PV_COUNT = 184,
	SB_WATERMARK = 188,
	SB_ROOTS = 192,
	SB_ROOT_SIZE = 40,
	SB_JOURNAL_ROW = 472,
	SB_LINEAGES = 476,
	SB_LINEAGE_SIZE = 12,
	SB_PVS = 512,
	SB_PV_SIZE = 48,
	SB_PV_STATES = SB_PVS + POOL_DEVICES_MAX * SB_PV_SIZE,
	SB_PV_STATE_SIZE = 8,
};
_Static_assert(SB_ROOTS + ROOT_COUNT * SB_ROOT_SIZE <= SB_JOURNAL_ROW, "roots fit");
_Static_assert(SB_LINEAGES + (LINEAGES - 1) * SB_LINEAGE_SIZE <= SB_PVS, "lineages fit");
_Static_assert(SB_PV_STATES + POOL_DEVICES_MAX * SB_PV_STATE_SIZE <= BLOCK, "PVs fit");

static uint32_t superblock_crc(const uint8_t block[BLOCK])
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, block, SB_CRC);

	crc = crc32c(crc, zero, 4);
	return crc32c(crc, block + SB_CRC + 4, BLOCK - SB_CRC - 4);
}

/* The version that a reader has to know: at least FORMAT_DEVICES as soon as a row is more than a
 * device. */
static uint32_t version_of(const struct superblock *sb)
{
	uint32_t version = sb->version ? sb->version : FORMAT_PLAIN;
	bool devices = sb->root[ROOT_FORWARD].pointer.generation != 0;

	if (sb->root[ROOT_MIRROR].pointer.generation && version < FORMAT_MIRRORS)
		version = FORMAT_MIRRORS;
	if (sb->journal_row || sb->lineage[0])
		version = FORMAT_VERSION;
	for (unsigned i = 0; i < sb->pv_count; i++) {
		devices |= sb->pv[i].state || sb->pv[i].flags || sb->pv[i].device;
		if (sb->pv[i].flags & (PV_AWAY | PV_STALE) && version < FORMAT_AWAY)
			version = FORMAT_AWAY;
	}
	return devices && version < FORMAT_DEVICES ? FORMAT_DEVICES : version;
}

static void encode_pv(const struct format_pv *pv, uint8_t *at, uint8_t *state)
{
	memcpy(at, pv->uuid.bytes, 16);
	put64(at + 16, pv->size);
	put64(at + 24, pv->data_offset);
	put64(at + 32, pv->first_chunk);
	put64(at + 40, pv->chunks);
	state[0] = pv->state;
	state[1] = pv->flags;
	state[2] = pv->device;
}

void superblock_encode(const struct superblock *sb, uint8_t block[BLOCK])
{
	memset(block, 0, BLOCK);
	memcpy(block + SB_MAGIC, superblock_magic, 8);
	put32(block + SB_VERSION, version_of(sb));
	memcpy(block + SB_POOL_UUID, sb->pool_uuid.bytes, 16);
	memcpy(block + SB_NAME, sb->name, sizeof(sb->name));
	put64(block + SB_GENERATION, sb->generation);
	put64(block + SB_EPOCH, sb->epoch);
	put64(block + SB_TAIL, sb->journal_tail);
	put64(block + SB_NEXT_LSN, sb->next_lsn);
	put64(block + SB_JOURNAL_OFFSET, sb->journal_offset);
	put64(block + SB_JOURNAL_BLOCKS, sb->journal_blocks);
	put64(block + SB_NEXT_VOLUME, sb->next_volume_id);
	put64(block + SB_HOST, sb->host_id);
	put64(block + SB_HEARTBEAT, sb->heartbeat);
	put32(block + SB_LINEAGE, sb->lineage[0]);
	put32(block + SB_CLEAN, sb->clean);
	put32(block + SB_PV_INDEX, sb->pv_index);
	put32(block + SB_PV_COUNT, sb->pv_count);
	put32(block + SB_JOURNAL_ROW, sb->journal_row);
	for (unsigned i = 1; i < LINEAGES; i++) {
		put32(block + SB_LINEAGES + (i - 1) * SB_LINEAGE_SIZE, sb->lineage[i]);
		put64(block + SB_LINEAGES + (i - 1) * SB_LINEAGE_SIZE + 4, sb->left[i]);
	}
	memcpy(block + SB_WATERMARK, sb->watermark, WATERMARKS);
	for (unsigned i = 0; i < ROOT_COUNT; i++) {
		uint8_t *at = block + SB_ROOTS + i * SB_ROOT_SIZE;

		node_pointer_encode(&sb->root[i].pointer, at);
		put32(at + 32, sb->root[i].levels);
	}
	for (unsigned i = 0; i < sb->pv_count; i++)
		encode_pv(&sb->pv[i], block + SB_PVS + i * SB_PV_SIZE,
			  block + SB_PV_STATES + i * SB_PV_STATE_SIZE);
	put32(block + SB_CRC, superblock_crc(block));
}

/* A device of its own, or behind everything that earlier rows have of their common device. */
static bool row_plausible(const struct superblock *sb, unsigned index)
{
	const struct format_pv *pv = &sb->pv[index];
	unsigned device = pv->device ? pv->device - 1u : index;

	if (pv->state > PV_STATE_REMOVED ||
	    pv->flags & ~(PV_PAUSED | PV_AWAY | PV_STALE | PV_PINNED) ||
	    (pv->flags & PV_AWAY && !(pv->flags & PV_STALE)) ||
	    (pv->flags & PV_PINNED && !sb->journal_row) || device > index ||
	    sb->pv[device].device || sb->pv[device].state != pv->state)
		return false;
	if (index == 0 && (pv->state != PV_STATE_ACTIVE ||
			   (pv->flags & (PV_AWAY | PV_STALE) && !sb->journal_row)))
		return false; /* the journal is there, and nowhere else */
	if (pv->device && pv->flags & (PV_AWAY | PV_STALE | PV_PINNED))
		return false; /* its device's row says so */
	for (unsigned i = device; i < index; i++)
		if ((i == device || sb->pv[i].device == pv->device) &&
		    pv->data_offset < sb->pv[i].data_offset + sb->pv[i].chunks * CHUNK)
			return false;
	return true;
}

static bool has_journal_room(const struct superblock *sb, unsigned row)
{
	const struct format_pv *pv = &sb->pv[row];

	return row && row < sb->pv_count && !pv->device && pv->state == PV_STATE_ACTIVE &&
	       pv->data_offset >= sb->journal_offset + sb->journal_blocks * BLOCK;
}

unsigned superblock_journal_room(const struct superblock *sb)
{
	for (unsigned i = 1; i < sb->pv_count; i++)
		if (has_journal_room(sb, i))
			return i;
	return 0;
}

/* The PV table has to make sense before anybody computes an offset from it. */
static bool pvs_plausible(const struct superblock *sb)
{
	uint64_t chunk = 0;

	if (sb->pv_count == 0 || sb->pv_count > POOL_DEVICES_MAX || sb->pv_index >= sb->pv_count)
		return false;
	for (unsigned i = 0; i < sb->pv_count; i++) {
		const struct format_pv *pv = &sb->pv[i];

		if (pv->size > 1ull << 56 || pv->size % BLOCK || pv->size < POOL_SIZE_MIN ||
		    pv->data_offset % BLOCK || pv->data_offset < PV_AREA ||
		    pv->data_offset > pv->size || pv->first_chunk != chunk ||
		    pv->chunks > (pv->size - pv->data_offset) / CHUNK || !row_plausible(sb, i))
			return false;
		chunk += pv->chunks;
	}
	return sb->journal_offset % BLOCK == 0 && sb->journal_offset >= PV_AREA &&
	       sb->journal_blocks >= 256 && sb->journal_blocks < 1u << 24 &&
	       sb->journal_offset + sb->journal_blocks * BLOCK <= sb->pv[0].data_offset &&
	       (!sb->journal_row || has_journal_room(sb, sb->journal_row));
}

static void superblock_fields(const uint8_t block[BLOCK], struct superblock *sb)
{
	memcpy(sb->pool_uuid.bytes, block + SB_POOL_UUID, 16);
	memcpy(sb->name, block + SB_NAME, sizeof(sb->name));
	memcpy(sb->watermark, block + SB_WATERMARK, WATERMARKS);
	sb->generation = get64(block + SB_GENERATION);
	sb->epoch = get64(block + SB_EPOCH);
	sb->journal_tail = get64(block + SB_TAIL);
	sb->next_lsn = get64(block + SB_NEXT_LSN);
	sb->journal_offset = get64(block + SB_JOURNAL_OFFSET);
	sb->journal_blocks = get64(block + SB_JOURNAL_BLOCKS);
	sb->next_volume_id = get64(block + SB_NEXT_VOLUME);
	sb->version = get32(block + SB_VERSION);
	sb->host_id = get64(block + SB_HOST);
	sb->heartbeat = get64(block + SB_HEARTBEAT);
	sb->clean = get32(block + SB_CLEAN);
	sb->pv_index = get32(block + SB_PV_INDEX);
	sb->pv_count = get32(block + SB_PV_COUNT);
	if (sb->version < FORMAT_VERSION)
		return;
	sb->journal_row = get32(block + SB_JOURNAL_ROW);
	sb->lineage[0] = get32(block + SB_LINEAGE);
	for (unsigned i = 1; i < LINEAGES; i++) {
		sb->lineage[i] = get32(block + SB_LINEAGES + (i - 1) * SB_LINEAGE_SIZE);
		sb->left[i] = get64(block + SB_LINEAGES + (i - 1) * SB_LINEAGE_SIZE + 4);
	}
}

static void superblock_pvs(const uint8_t block[BLOCK], struct superblock *sb)
{
	for (unsigned i = 0; i < sb->pv_count && i < POOL_DEVICES_MAX; i++) {
		const uint8_t *at = block + SB_PVS + i * SB_PV_SIZE;
		struct format_pv *pv = &sb->pv[i];

		memcpy(pv->uuid.bytes, at, 16);
		pv->size = get64(at + 16);
		pv->data_offset = get64(at + 24);
		pv->first_chunk = get64(at + 32);
		pv->chunks = get64(at + 40);
		at = block + SB_PV_STATES + i * SB_PV_STATE_SIZE;
		pv->state = at[0];
		pv->flags = at[1];
		pv->device = at[2];
	}
}

int superblock_decode(const uint8_t block[BLOCK], struct superblock *ret_sb, struct err *err)
{
	struct superblock sb = {0};

	if (memcmp(block + SB_MAGIC, superblock_magic, 8) != 0)
		return err_set(err, -ENODATA, "there is no Granary label");
	if (superblock_crc(block) != get32(block + SB_CRC))
		return err_set(err, -EBADMSG, "the superblock is damaged (checksum)");
	if (get32(block + SB_VERSION) < FORMAT_PLAIN || get32(block + SB_VERSION) > FORMAT_VERSION)
		return err_set(
		    err, -EPROTO,
		    "the pool has on-disk format %u, this program knows formats up to %u",
		    get32(block + SB_VERSION), FORMAT_VERSION);
	superblock_fields(block, &sb);
	superblock_pvs(block, &sb);
	if (memchr(sb.name, 0, sizeof(sb.name)) == NULL || !sb.name[0] || !pvs_plausible(&sb))
		return err_set(err, -EBADMSG, "the superblock is damaged (geometry)");
	for (unsigned i = 0; i < ROOT_COUNT; i++) {
		const uint8_t *at = block + SB_ROOTS + i * SB_ROOT_SIZE;

		sb.root[i].levels = get32(at + 32);
		if (node_pointer_decode(at, &sb.root[i].pointer) < 0 ||
		    sb.root[i].levels > NODE_LEVELS_MAX)
			return err_set(err, -EBADMSG, "the superblock is damaged (roots)");
	}
	*ret_sb = sb;
	return 0;
}

uint64_t superblock_position(uint64_t device_size, unsigned copy)
{
	uint64_t area = copy < 2 ? 0 : device_size / BLOCK * BLOCK - PV_AREA;

	return area + (uint64_t)(copy % 2 + 1) * PV_COPY_OFFSET;
}

void superblock_fork(struct superblock *sb, uint32_t lineage)
{
	for (unsigned i = LINEAGES - 1; i > 0; i--) {
		sb->lineage[i] = sb->lineage[i - 1];
		sb->left[i] = sb->left[i - 1];
	}
	sb->left[1] = sb->generation;
	sb->lineage[0] = lineage;
}

bool superblock_succeeds(const struct superblock *sb, const struct superblock *older)
{
	if (older->generation <= 1) /* of a device that no root knew yet */
		return true;
	if (sb->lineage[0] == older->lineage[0])
		return older->generation <= sb->generation + 1;
	for (unsigned i = 1; i < LINEAGES; i++)
		if (sb->left[i] && sb->lineage[i] == older->lineage[0])
			return older->generation <= sb->left[i] + 1;
	return false;
}

uint64_t format_pool_hash(const struct uuid *uuid)
{
	return get64(uuid->bytes) ^ (get64(uuid->bytes + 8) * 0x9e3779b97f4a7c15ull);
}

uint64_t format_meta_chunks(uint64_t chunks)
{
	uint64_t share = chunks / 50, floor = chunks / 8 < 256 ? chunks / 8 : 256;

	return share > floor ? share : floor;
}
