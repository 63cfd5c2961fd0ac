/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/bytes.h"
#include "volumes/format.h"

enum {
	JB_MAGIC = 0,
	JB_CRC = 4,
	JB_POOL = 8,
	JB_EPOCH = 16,
	JB_SEQ = 24,
	JB_CONFIRMED = 32,
	JB_FIRST_LSN = 40,
	JB_PREVIOUS = 48,
	JB_COUNT = 52,
	JB_USED = 54,
};
#define JOURNAL_MAGIC 0x4a525247u /* "GRRJ" */

/* A record: {u8 type, u8 group, u16 mask, u32 volume, u64 chunk, u64 where}, then crcs or
 * addresses of the slots in the mask, padded to 8. */
#define RECORD_FIXED 24u

static size_t record_tail(uint8_t type, unsigned slots)
{
	switch (type) {
	case RECORD_MAP:
	case RECORD_MAP_RUN:
	case RECORD_OVERWRITE:
		return (slots * 4u + 7) & ~7u;
	case RECORD_REMAP:
		return slots * 8u;
	case RECORD_RESTORE:
		return (slots * 12u + 7) & ~7u;
	default:
		return 0;
	}
}

size_t record_length(const struct record *record)
{
	return RECORD_FIXED + record_tail(record->type, (unsigned)__builtin_popcount(record->mask));
}

void record_encode(const struct record *record, uint8_t *bytes)
{
	uint8_t *at = bytes + RECORD_FIXED;
	bool births = record->type == RECORD_RESTORE;
	bool addresses = births || record->type == RECORD_REMAP;
	bool crcs = !addresses && record_tail(record->type, 1) != 0;

	bytes[0] = record->type;
	bytes[1] = record->group;
	put16(bytes + 2, record->mask);
	put32(bytes + 4, (uint32_t)record->volume);
	put64(bytes + 8, record->chunk);
	put64(bytes + 16, record->where);
	for (unsigned mask = record->mask; mask && (addresses || crcs); mask &= mask - 1) {
		unsigned slot = (unsigned)__builtin_ctz(mask);

		if (addresses)
			put64(at, record->slot[slot]);
		else
			put32(at, record->crc[slot]);
		at += addresses ? 8 : 4;
		if (births) {
			put32(at, record->birth[slot]);
			at += 4;
		}
	}
	if ((at - bytes) % 8)
		put32(at, 0);
}

int record_decode(const uint8_t *bytes, size_t available, struct record *ret_record,
		  size_t *ret_length)
{
	struct record record = {0};
	const uint8_t *at = bytes + RECORD_FIXED;
	size_t length;

	if (available < RECORD_FIXED)
		return -EBADMSG;
	record.type = bytes[0];
	record.group = bytes[1];
	record.mask = get16(bytes + 2);
	record.volume = get32(bytes + 4);
	record.chunk = get64(bytes + 8);
	record.where = get64(bytes + 16);
	length = record_length(&record);
	if (record.type == 0 || record.type >= RECORD_TYPES || length > available ||
	    record.group > RECORD_GROUP_MAX ||
	    (record.type != RECORD_HOT && record.type != RECORD_MIRROR &&
	     record.type != RECORD_DEVICE && (!record.mask || !record.volume)))
		return -EBADMSG;
	for (unsigned mask = record.mask; mask && length > RECORD_FIXED; mask &= mask - 1) {
		unsigned slot = (unsigned)__builtin_ctz(mask);

		if (record.type != RECORD_REMAP && record.type != RECORD_RESTORE) {
			record.crc[slot] = get32(at);
			at += 4;
			continue;
		}
		record.slot[slot] = get64(at);
		at += 8;
		if (record.type == RECORD_RESTORE) {
			record.birth[slot] = get32(at);
			at += 4;
		}
	}
	*ret_record = record;
	*ret_length = length;
	return 0;
}

static uint32_t block_crc(const uint8_t block[BLOCK])
{
	static const uint8_t zero[4];

	return crc32c(crc32c(crc32c(0, block, 4), zero, 4), block + 8, BLOCK - 8);
}

uint32_t journal_block_seal(uint8_t block[BLOCK], const struct journal_header *header)
{
	uint32_t crc;

	memset(block, 0, JOURNAL_HEADER);
	memset(block + JOURNAL_HEADER + header->used, 0, JOURNAL_BODY - header->used);
	put32(block + JB_MAGIC, JOURNAL_MAGIC);
	put64(block + JB_POOL, header->pool_hash);
	put64(block + JB_EPOCH, header->epoch);
	put64(block + JB_SEQ, header->seq);
	put64(block + JB_CONFIRMED, header->confirmed);
	put64(block + JB_FIRST_LSN, header->first_lsn);
	put32(block + JB_PREVIOUS, header->previous_hash);
	put16(block + JB_COUNT, header->count);
	put16(block + JB_USED, header->used);
	crc = block_crc(block);
	put32(block + JB_CRC, crc);
	return crc;
}

int journal_block_open(const uint8_t block[BLOCK], struct journal_header *ret_header,
		       uint32_t *ret_hash)
{
	struct journal_header header = {.pool_hash = get64(block + JB_POOL),
					.epoch = get64(block + JB_EPOCH),
					.seq = get64(block + JB_SEQ),
					.confirmed = get64(block + JB_CONFIRMED),
					.first_lsn = get64(block + JB_FIRST_LSN),
					.previous_hash = get32(block + JB_PREVIOUS),
					.count = get16(block + JB_COUNT),
					.used = get16(block + JB_USED)};

	if (get32(block + JB_MAGIC) != JOURNAL_MAGIC || header.used > JOURNAL_BODY ||
	    block_crc(block) != get32(block + JB_CRC))
		return -EBADMSG;
	*ret_header = header;
	*ret_hash = get32(block + JB_CRC);
	return 0;
}
