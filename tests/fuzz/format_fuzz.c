/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "volumes/format.h"

/* Hostile bytes in every decoder of the on-disk format. The first byte chooses; checksums are
 * made to fit half of the time, so that the fields behind them are reached. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int set_entry(void *context, unsigned index, const struct map_entry *entry)
{
	unsigned *count = context;

	if (index >= MAP_CHUNKS || !entry->mask)
		abort();
	(*count)++;
	return 0;
}

static void fuzz_records(const uint8_t *bytes, size_t left)
{
	struct record record;
	size_t length;

	while (record_decode(bytes, left, &record, &length) == 0) {
		uint8_t again[JOURNAL_BODY];

		if (length == 0 || length > left || length != record_length(&record))
			abort();
		record_encode(&record, again);
		bytes += length;
		left -= length;
	}
}

static void fuzz_superblock(uint8_t *block)
{
	struct superblock sb;
	struct err err;

	if (superblock_decode(block, &sb, &err) == 0) {
		if (sb.pv_count > POOL_DEVICES_MAX || sb.pv_index >= sb.pv_count)
			abort();
		superblock_encode(&sb, block);
		if (superblock_decode(block, &sb, &err) != 0)
			abort();
	}
}

static void fuzz_journal(uint8_t *block, bool fit)
{
	struct journal_header header = {.used = (uint16_t)(block[54] | block[55] << 8),
					.count = block[52]};
	uint32_t hash;

	if (fit && header.used <= JOURNAL_BODY)
		journal_block_seal(block, &header);
	if (journal_block_open(block, &header, &hash) == 0)
		fuzz_records(block + JOURNAL_HEADER, header.used);
}

static void fuzz_node(uint8_t *node, size_t size, bool fit)
{
	struct node_header header = {.kind = NODE_MAP, .length = (uint32_t)size};
	struct node_pointer pointer = {.generation = 0, .length = (uint32_t)size};
	unsigned count = 0;

	if (size < NODE_HEADER)
		return;
	if (fit)
		pointer.crc = node_seal(node, &header);
	(void)node_verify(node, size, &pointer, 0, &header);
	(void)map_decode(node + NODE_HEADER, size - NODE_HEADER, set_entry, &count);
	if (count > MAP_CHUNKS)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t room[NODE_LENGTH_MAX];
	struct volume_record volume;
	struct node_pointer pointer;
	size_t length;

	if (size < 1)
		return 0;
	memset(room, 0, sizeof(room));
	length = size - 1 < sizeof(room) ? size - 1 : sizeof(room);
	memcpy(room, data + 1, length);
	switch (data[0] % 8) {
	case 0:
		fuzz_superblock(room);
		break;
	case 1:
	case 2:
		fuzz_journal(room, data[0] % 8 == 2);
		break;
	case 3:
	case 4:
		fuzz_node(room, length, data[0] % 8 == 4);
		break;
	case 5:
		fuzz_records(room, length);
		break;
	case 6:
		(void)volume_record_decode(room, &volume);
		break;
	default:
		(void)node_pointer_decode(room, &pointer);
	}
	return 0;
}
