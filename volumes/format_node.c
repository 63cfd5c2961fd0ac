/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/bytes.h"
#include "volumes/format.h"

enum {
	NODE_AT_MAGIC = 0,
	NODE_AT_CRC = 4,
	NODE_AT_ADDRESS = 8, /* the crc is taken with crc and address as zeros */
	NODE_AT_POOL = 16,
	NODE_AT_KIND = 24,
	NODE_AT_LEVEL = 25,
	NODE_AT_LENGTH = 28,
	NODE_AT_OWNER = 32,
	NODE_AT_INDEX = 40,
	NODE_AT_GENERATION = 48,
};
#define NODE_MAGIC 0x4e525247u /* "GRRN" */

static uint32_t node_crc(const uint8_t *node, size_t length)
{
	uint8_t head[NODE_HEADER];

	memcpy(head, node, NODE_HEADER);
	memset(head + NODE_AT_CRC, 0, 12);
	return crc32c(crc32c(0, head, NODE_HEADER), node + NODE_HEADER, length - NODE_HEADER);
}

uint32_t node_seal(uint8_t *node, const struct node_header *header)
{
	uint32_t crc;

	memset(node, 0, NODE_HEADER);
	put32(node + NODE_AT_MAGIC, NODE_MAGIC);
	put64(node + NODE_AT_POOL, header->pool_hash);
	node[NODE_AT_KIND] = header->kind;
	node[NODE_AT_LEVEL] = header->level;
	put32(node + NODE_AT_LENGTH, header->length);
	put64(node + NODE_AT_OWNER, header->owner);
	put64(node + NODE_AT_INDEX, header->index);
	put64(node + NODE_AT_GENERATION, header->generation);
	crc = node_crc(node, header->length);
	put32(node + NODE_AT_CRC, crc);
	return crc;
}

void node_set_address(uint8_t *node, uint64_t address)
{
	put64(node + NODE_AT_ADDRESS, address);
}

int node_verify(const uint8_t *node, size_t available, const struct node_pointer *pointer,
		uint64_t address, const struct node_header *expected)
{
	if (pointer->length < NODE_HEADER || pointer->length > available ||
	    get32(node + NODE_AT_MAGIC) != NODE_MAGIC || get64(node + NODE_AT_ADDRESS) != address ||
	    get64(node + NODE_AT_POOL) != expected->pool_hash ||
	    node[NODE_AT_KIND] != expected->kind || node[NODE_AT_LEVEL] != expected->level ||
	    get32(node + NODE_AT_LENGTH) != pointer->length ||
	    get64(node + NODE_AT_OWNER) != expected->owner ||
	    get64(node + NODE_AT_INDEX) != expected->index ||
	    get64(node + NODE_AT_GENERATION) != pointer->generation ||
	    get32(node + NODE_AT_CRC) != pointer->crc ||
	    node_crc(node, pointer->length) != pointer->crc)
		return -EBADMSG;
	return 0;
}

void node_pointer_encode(const struct node_pointer *pointer, uint8_t bytes[32])
{
	put64(bytes, pointer->address[0]);
	put64(bytes + 8, pointer->address[1]);
	put64(bytes + 16, pointer->generation);
	put32(bytes + 24, pointer->crc);
	put32(bytes + 28, pointer->length);
}

int node_pointer_decode(const uint8_t bytes[32], struct node_pointer *ret_pointer)
{
	struct node_pointer pointer = {.address = {get64(bytes), get64(bytes + 8)},
				       .generation = get64(bytes + 16),
				       .crc = get32(bytes + 24),
				       .length = get32(bytes + 28)};

	if (pointer.generation &&
	    (pointer.length < NODE_HEADER || pointer.length > NODE_LENGTH_MAX))
		return -EBADMSG;
	*ret_pointer = pointer;
	return 0;
}

/* A map leaf's payload: per entry {u8 index, u8 exploded, u16 mask, u32 0, u64 birth}, then the
 * chunk, or the addresses of the mapped slots in order. */
size_t map_encode(const struct map_entry entries[MAP_CHUNKS], uint8_t *bytes)
{
	uint8_t *at = bytes;

	for (unsigned i = 0; i < MAP_CHUNKS; i++) {
		const struct map_entry *entry = &entries[i];

		if (!entry->mask)
			continue;
		at[0] = (uint8_t)i;
		at[1] = entry->slots != NULL;
		put16(at + 2, (uint16_t)entry->mask);
		put32(at + 4, 0);
		put64(at + 8, entry->birth);
		at += 16;
		if (!entry->slots) {
			put64(at, entry->chunk);
			at += 8;
			continue;
		}
		for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
			if (entry->mask & 1u << slot) {
				put64(at, entry->slots[slot]);
				at += 8;
			}
	}
	return (size_t)(at - bytes);
}

int map_decode(const uint8_t *bytes, size_t length,
	       int (*set)(void *context, unsigned index, const struct map_entry *entry),
	       void *context)
{
	const uint8_t *at = bytes, *end = bytes + length;
	int previous = -1;

	while (at != end) {
		uint64_t slots[CHUNK_SLOTS];
		struct map_entry entry = {0};
		size_t words;
		int index, status;

		if (end - at < 16)
			return -EBADMSG;
		index = at[0];
		entry.mask = get16(at + 2);
		entry.birth = get64(at + 8);
		words = at[1] ? (size_t)__builtin_popcount((unsigned)entry.mask) : 1;
		if (index <= previous || index >= (int)MAP_CHUNKS || at[1] > 1 || !entry.mask ||
		    (size_t)(end - at) < 16 + 8 * words)
			return -EBADMSG;
		previous = index;
		entry.slots = at[1] ? slots : NULL;
		at += 16;
		for (unsigned slot = 0; entry.slots && slot < CHUNK_SLOTS; slot++) {
			slots[slot] = entry.mask & 1u << slot ? get64(at) : SLOT_NONE;
			if (entry.mask & 1u << slot)
				at += 8;
		}
		if (!entry.slots) {
			entry.chunk = get64(at) & CHUNK_NONE;
			at += 8;
		}
		status = set(context, (unsigned)index, &entry);
		if (status < 0)
			return status;
	}
	return 0;
}

enum {
	VR_ID = 0,
	VR_STATE = 8,
	VR_LEVELS = 12,
	VR_NAME = 16,
	VR_UUID = 144,
	VR_NAA = 160,
	VR_SERIAL = 176, /* 33 bytes */
	VR_SIZE = 216,
	VR_USED = 224,
	VR_ROOT = 232,
	VR_CHECKSUM = 480,
	VR_RESERVE = 488,
};

void volume_record_encode(const struct volume_record *record, uint8_t bytes[VOLUME_RECORD])
{
	memset(bytes, 0, VOLUME_RECORD);
	put64(bytes + VR_ID, record->id);
	put32(bytes + VR_STATE, record->state);
	put32(bytes + VR_LEVELS, record->levels);
	memcpy(bytes + VR_NAME, record->name, sizeof(record->name));
	memcpy(bytes + VR_UUID, record->identity.uuid, 16);
	memcpy(bytes + VR_NAA, record->identity.naa, 16);
	memcpy(bytes + VR_SERIAL, record->identity.serial, 33);
	put64(bytes + VR_SIZE, record->size_bytes);
	put64(bytes + VR_USED, record->used_slots);
	node_pointer_encode(&record->root, bytes + VR_ROOT);
	bytes[VR_CHECKSUM] = record->checksum;
	put64(bytes + VR_RESERVE, record->reserve_bytes);
}

int volume_record_decode(const uint8_t bytes[VOLUME_RECORD], struct volume_record *ret_record)
{
	struct volume_record record = {.id = get64(bytes + VR_ID),
				       .state = get32(bytes + VR_STATE),
				       .levels = get32(bytes + VR_LEVELS),
				       .size_bytes = get64(bytes + VR_SIZE),
				       .used_slots = get64(bytes + VR_USED),
				       .checksum = bytes[VR_CHECKSUM],
				       .reserve_bytes = get64(bytes + VR_RESERVE)};

	memcpy(record.name, bytes + VR_NAME, sizeof(record.name));
	memcpy(record.identity.uuid, bytes + VR_UUID, 16);
	memcpy(record.identity.naa, bytes + VR_NAA, 16);
	memcpy(record.identity.serial, bytes + VR_SERIAL, 33);
	if (record.id &&
	    (node_pointer_decode(bytes + VR_ROOT, &record.root) < 0 ||
	     (record.state != VOLUME_STATE_LIVE && record.state != VOLUME_STATE_DELETING) ||
	     record.levels > NODE_LEVELS_MAX || record.size_bytes > VOLUME_SIZE_MAX ||
	     record.size_bytes % VOLUME_SLOT || record.checksum > VOLUME_CHECKSUM_STRICT ||
	     record.reserve_bytes > VOLUME_SIZE_MAX ||
	     !memchr(record.name, 0, sizeof(record.name)) ||
	     !memchr(record.identity.serial, 0, sizeof(record.identity.serial))))
		return -EBADMSG;
	*ret_record = record;
	return 0;
}
