/* SPDX-License-Identifier: Apache-2.0 */
/* format.c: superblock, bitmaps, log. Offsets are those of docs/FORMAT.md. */
#include "shares/format.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"

static const uint8_t superblock_magic[8] = "GRSHARE1";
#define BITMAP_MAGIC 0x42535247u /* "GRSB" */
#define LOG_MAGIC    0x4c535247u /* "GRSL" */

/* The crc stands in the first four bytes and covers the rest. */
static void seal(uint8_t *block, size_t length)
{
	put32(block, crc32c(0, block + 4, length - 4));
}

static bool is_sealed(const uint8_t *block, size_t length)
{
	return get32(block) == crc32c(0, block + 4, length - 4);
}

/* ---- keys ---- */
void key_encode(const struct key *key, uint8_t bytes[KEY_BYTES])
{
	put64(bytes, key->object);
	bytes[8] = key->type;
	put64(bytes + 9, key->offset);
}

/* ---- superblock ---- */
#define SB_COPIES 512u /* offset of bitmap_copy */

void share_superblock_encode(const struct superblock *sb, uint8_t block[BLOCK_SIZE])
{
	memset(block, 0, BLOCK_SIZE);
	memcpy(block + 8, superblock_magic, 8);
	put32(block + 16, sb->version);
	put32(block + 20, sb->clean ? 1 : 0);
	memcpy(block + 24, sb->uuid, 16);
	memcpy(block + 40, sb->secret, 16);
	put64(block + 56, sb->generation);
	put64(block + 64, sb->volume_blocks);
	put64(block + 72, sb->log_blocks);
	put64(block + 80, sb->bitmap_start);
	put64(block + 88, sb->bitmap_blocks);
	put64(block + 96, sb->node_start);
	put64(block + 104, sb->node_blocks);
	put64(block + 112, sb->data_start);
	put64(block + 120, sb->root);
	put64(block + 128, sb->root_generation);
	put64(block + 136, sb->root_level);
	put64(block + 144, sb->log_block);
	put64(block + 152, sb->log_sequence);
	put64(block + 160, sb->quota_blocks);
	put64(block + 168, sb->mounts);
	put32(block + 176, sb->bitmap_used);
	for (unsigned i = 0; i < COUNTERS_LOGGED; i++)
		put64(block + 192 + 8 * i, sb->counters[i]);
	memcpy(block + SB_COPIES, sb->bitmap_copy, sizeof(sb->bitmap_copy));
	seal(block, BLOCK_SIZE);
}

static bool layout_holds(const struct superblock *sb, uint64_t volume_blocks)
{
	return sb->version >= FORMAT_PLAIN && sb->volume_blocks <= volume_blocks &&
	       sb->volume_blocks >= 1024 && sb->volume_blocks <= 1ull << 40 &&
	       sb->log_blocks >= LOG_BLOCKS_MIN && sb->log_blocks <= LOG_BLOCKS_MAX &&
	       sb->bitmap_start == LOG_START + sb->log_blocks && sb->bitmap_blocks >= 1 &&
	       sb->bitmap_blocks <= BITMAP_BLOCKS_MAX && sb->bitmap_used <= sb->bitmap_blocks &&
	       sb->node_start == sb->bitmap_start + 2 * sb->bitmap_blocks &&
	       sb->node_blocks >= 16 && sb->node_blocks <= sb->bitmap_blocks * BITMAP_BITS &&
	       sb->data_start == sb->node_start + sb->node_blocks &&
	       sb->data_start < sb->volume_blocks && sb->root >= sb->node_start &&
	       sb->root < sb->data_start && sb->root_level < 16 &&
	       sb->root_generation <= sb->generation && sb->log_block < sb->log_blocks &&
	       sb->counters[COUNT_NEXT_INODE] > ROOT_INODE;
}

int share_superblock_decode(const uint8_t block[BLOCK_SIZE], uint64_t volume_blocks,
			    struct superblock *sb)
{
	if (!format_is_share(block))
		return -EPROTO;
	if (get32(block + 16) > FORMAT_VERSION)
		return -ENOTSUP;
	if (!is_sealed(block, BLOCK_SIZE) || get64(block + 136) > 15)
		return -EUCLEAN;
	memset(sb, 0, sizeof(*sb));
	sb->version = get32(block + 16);
	sb->clean = get32(block + 20) & 1;
	memcpy(sb->uuid, block + 24, 16);
	memcpy(sb->secret, block + 40, 16);
	sb->generation = get64(block + 56);
	sb->volume_blocks = get64(block + 64);
	sb->log_blocks = get64(block + 72);
	sb->bitmap_start = get64(block + 80);
	sb->bitmap_blocks = get64(block + 88);
	sb->node_start = get64(block + 96);
	sb->node_blocks = get64(block + 104);
	sb->data_start = get64(block + 112);
	sb->root = get64(block + 120);
	sb->root_generation = get64(block + 128);
	sb->root_level = (uint8_t)get64(block + 136);
	sb->log_block = get64(block + 144);
	sb->log_sequence = get64(block + 152);
	sb->quota_blocks = get64(block + 160);
	sb->mounts = get64(block + 168);
	sb->bitmap_used = get32(block + 176);
	for (unsigned i = 0; i < COUNTERS_LOGGED; i++)
		sb->counters[i] = get64(block + 192 + 8 * i);
	memcpy(sb->bitmap_copy, block + SB_COPIES, sizeof(sb->bitmap_copy));
	return layout_holds(sb, volume_blocks) ? 0 : -EUCLEAN;
}

bool format_is_share(const uint8_t block[BLOCK_SIZE])
{
	return memcmp(block + 8, superblock_magic, 8) == 0;
}

/* Nodes get a 64th of the volume: some 40 bytes of metadata for each 4 KiB block of data, much
 * more than extents need. Addresses cost nothing on a thin volume. */
int share_superblock_layout(uint64_t volume_blocks, uint64_t log_blocks, struct superblock *sb)
{
	uint64_t nodes = volume_blocks / 64, limit = (uint64_t)BITMAP_BLOCKS_MAX * BITMAP_BITS;

	if (volume_blocks < SHARE_SIZE_MIN / BLOCK_SIZE)
		return -EINVAL;
	if (!log_blocks)
		log_blocks = volume_blocks / 64;
	if (log_blocks < LOG_BLOCKS_MIN)
		log_blocks = LOG_BLOCKS_MIN;
	if (log_blocks > LOG_BLOCKS_MAX)
		log_blocks = LOG_BLOCKS_MAX;
	if (nodes < 512)
		nodes = 512;
	if (nodes > limit)
		nodes = limit;
	sb->volume_blocks = volume_blocks;
	sb->log_blocks = log_blocks;
	sb->bitmap_start = LOG_START + log_blocks;
	sb->bitmap_blocks = (nodes + BITMAP_BITS - 1) / BITMAP_BITS;
	sb->node_start = sb->bitmap_start + 2 * sb->bitmap_blocks;
	sb->node_blocks = nodes;
	sb->data_start = sb->node_start + nodes;
	return 0;
}

/* ---- bitmaps: crc, magic, uuid, index, generation, bits ---- */
void bitmap_encode(const uint8_t uuid[16], uint64_t index, uint64_t generation, const uint8_t *bits,
		   uint8_t block[BLOCK_SIZE])
{
	memset(block, 0, BLOCK_SIZE);
	put32(block + 4, BITMAP_MAGIC);
	memcpy(block + 8, uuid, 16);
	put64(block + 24, index);
	put64(block + 32, generation);
	memcpy(block + 64, bits, BITMAP_BYTES);
	seal(block, BLOCK_SIZE);
}

int bitmap_decode(const uint8_t block[BLOCK_SIZE], const uint8_t uuid[16], uint64_t index,
		  uint64_t max_generation, uint8_t *ret_bits)
{
	if (!is_sealed(block, BLOCK_SIZE) || get32(block + 4) != BITMAP_MAGIC ||
	    memcmp(block + 8, uuid, 16) != 0 || get64(block + 24) != index ||
	    get64(block + 32) > max_generation)
		return -EUCLEAN;
	memcpy(ret_bits, block + 64, BITMAP_BYTES);
	return 0;
}

/* ---- log: crc, magic, uuid, sequence, length, counters, records ---- */
void log_encode(const uint8_t uuid[16], const struct log_header *header, uint8_t *commit)
{
	memset(commit, 0, LOG_HEADER_BYTES);
	put32(commit + 4, LOG_MAGIC);
	memcpy(commit + 8, uuid, 16);
	put64(commit + 24, header->sequence);
	put32(commit + 32, header->length);
	for (unsigned i = 0; i < COUNTERS_LOGGED; i++)
		put64(commit + 40 + 8 * i, header->counters[i]);
	seal(commit, header->length);
}

uint32_t log_peek(const uint8_t *commit, const uint8_t uuid[16], uint64_t *ret_sequence)
{
	uint32_t length = get32(commit + 32);

	if (get32(commit + 4) != LOG_MAGIC || memcmp(commit + 8, uuid, 16) != 0 ||
	    length < LOG_HEADER_BYTES || length > LOG_COMMIT_MAX)
		return 0;
	*ret_sequence = get64(commit + 24);
	return length;
}

int log_decode(const uint8_t *commit, size_t room, const uint8_t uuid[16],
	       struct log_header *ret_header)
{
	uint64_t sequence;
	uint32_t length;

	if (room < LOG_HEADER_BYTES)
		return -EUCLEAN;
	length = log_peek(commit, uuid, &sequence);
	if (!length || length > room || !is_sealed(commit, length))
		return -EUCLEAN;
	ret_header->sequence = sequence;
	ret_header->length = length;
	for (unsigned i = 0; i < COUNTERS_LOGGED; i++)
		ret_header->counters[i] = get64(commit + 40 + 8 * i);
	return 0;
}

size_t log_record_encode(const struct log_record *record, uint8_t *bytes)
{
	bytes[0] = (uint8_t)record->type;
	key_encode(&record->key, bytes + 1);
	put16(bytes + 1 + KEY_BYTES, record->length);
	if (record->length)
		memcpy(bytes + LOG_RECORD_BYTES, record->value, record->length);
	return LOG_RECORD_BYTES + record->length;
}

int log_record_decode(const uint8_t **cursor, const uint8_t *end, struct log_record *ret_record)
{
	const uint8_t *bytes = *cursor;

	if (bytes == end)
		return 0;
	if ((size_t)(end - bytes) < LOG_RECORD_BYTES ||
	    (bytes[0] != LOG_PUT && bytes[0] != LOG_DELETE))
		return -EUCLEAN;
	ret_record->type = bytes[0];
	key_decode(bytes + 1, &ret_record->key);
	ret_record->length = get16(bytes + 1 + KEY_BYTES);
	ret_record->value = bytes + LOG_RECORD_BYTES;
	if (ret_record->length > VALUE_MAX ||
	    (size_t)(end - bytes) < LOG_RECORD_BYTES + ret_record->length)
		return -EUCLEAN;
	*cursor = bytes + LOG_RECORD_BYTES + ret_record->length;
	return 1;
}
