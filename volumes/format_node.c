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

/* A map leaf's payload: per entry {u8 index, u8 shape, u16 mask, u32 0, u64 birth}, then the
 * chunk, or the addresses of the mapped slots in order, and their ages unless all are 0. */
enum { SHAPE_COMPACT, SHAPE_EXPLODED, SHAPE_AGED };

static uint8_t shape_of(const struct map_entry *entry)
{
	if (!entry->slots)
		return SHAPE_COMPACT;
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (entry->mask & 1u << slot && map_ages(entry)[slot])
			return SHAPE_AGED;
	return SHAPE_EXPLODED;
}

static uint8_t *encode_ages(const struct map_entry *entry, uint8_t *at)
{
	unsigned count = 0;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (entry->mask & 1u << slot) {
			put32(at, map_ages(entry)[slot]);
			at += 4;
			count++;
		}
	if (count % 2) {
		put32(at, 0);
		at += 4;
	}
	return at;
}

size_t map_encode(const struct map_entry entries[MAP_CHUNKS], uint8_t *bytes)
{
	uint8_t *at = bytes;

	for (unsigned i = 0; i < MAP_CHUNKS; i++) {
		const struct map_entry *entry = &entries[i];
		uint8_t shape;

		if (!entry->mask)
			continue;
		at[0] = (uint8_t)i;
		shape = shape_of(entry);
		at[1] = shape;
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
		if (shape == SHAPE_AGED)
			at = encode_ages(entry, at);
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
		uint64_t slots[MAP_SLOTS_SIZE / sizeof(uint64_t)] = {0};
		struct map_entry entry = {0};
		size_t words, count;
		int index, status;
		bool aged;

		if (end - at < 16)
			return -EBADMSG;
		index = at[0];
		entry.mask = get16(at + 2);
		entry.birth = get64(at + 8);
		count = (size_t)__builtin_popcount((unsigned)entry.mask);
		words = at[1] ? count : 1;
		if (at[1] == SHAPE_AGED)
			words += (count + 1) / 2;
		aged = at[1] == SHAPE_AGED;
		if (index <= previous || index >= (int)MAP_CHUNKS || at[1] > SHAPE_AGED ||
		    !entry.mask || (size_t)(end - at) < 16 + 8 * words)
			return -EBADMSG;
		previous = index;
		entry.slots = at[1] ? slots : NULL;
		at += 16;
		for (unsigned slot = 0; entry.slots && slot < CHUNK_SLOTS; slot++) {
			slots[slot] = entry.mask & 1u << slot ? get64(at) : SLOT_NONE;
			if (entry.mask & 1u << slot)
				at += 8;
		}
		for (unsigned slot = 0; aged && slot < CHUNK_SLOTS; slot++)
			if (entry.mask & 1u << slot) {
				map_ages(&entry)[slot] = get32(at);
				at += 4;
			}
		if (aged && count % 2)
			at += 4;
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
	VR_PARENT = 264,
	VR_FAMILY = 272,
	VR_OF = 280,
	VR_GENERATION = 288,
	VR_CREATED = 296,
	VR_HOLD_UNTIL = 304,
	VR_OWNED = 312,
	VR_REAPED = 320,
	VR_REAPED_SLOTS = 328,
	VR_FLAGS = 336,
	VR_CHECKSUM = 480,
	VR_MIRROR = 481,
	VR_RESERVE = 488,
	VR_QUOTA = 496,
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
	bytes[VR_MIRROR] = record->mirror;
	put64(bytes + VR_RESERVE, record->reserve_bytes);
	put64(bytes + VR_QUOTA, record->quota_bytes);
	put64(bytes + VR_PARENT, record->parent);
	put64(bytes + VR_FAMILY, record->family);
	put64(bytes + VR_OF, record->of);
	put64(bytes + VR_GENERATION, record->generation);
	put64(bytes + VR_CREATED, record->created_ns);
	put64(bytes + VR_HOLD_UNTIL, record->hold_until_ns);
	put64(bytes + VR_OWNED, record->owned_slots);
	put64(bytes + VR_REAPED, record->reaped);
	put64(bytes + VR_REAPED_SLOTS, record->reaped_slots);
	put32(bytes + VR_FLAGS, record->flags);
}

int volume_record_decode(const uint8_t bytes[VOLUME_RECORD], struct volume_record *ret_record)
{
	struct volume_record record = {.id = get64(bytes + VR_ID),
				       .state = get32(bytes + VR_STATE),
				       .levels = get32(bytes + VR_LEVELS),
				       .size_bytes = get64(bytes + VR_SIZE),
				       .used_slots = get64(bytes + VR_USED),
				       .checksum = bytes[VR_CHECKSUM],
				       .mirror = bytes[VR_MIRROR],
				       .reserve_bytes = get64(bytes + VR_RESERVE),
				       .quota_bytes = get64(bytes + VR_QUOTA),
				       .parent = get64(bytes + VR_PARENT),
				       .family = get64(bytes + VR_FAMILY),
				       .of = get64(bytes + VR_OF),
				       .generation = get64(bytes + VR_GENERATION),
				       .created_ns = get64(bytes + VR_CREATED),
				       .hold_until_ns = get64(bytes + VR_HOLD_UNTIL),
				       .owned_slots = get64(bytes + VR_OWNED),
				       .reaped = get64(bytes + VR_REAPED),
				       .reaped_slots = get64(bytes + VR_REAPED_SLOTS),
				       .flags = get32(bytes + VR_FLAGS)};

	memcpy(record.name, bytes + VR_NAME, sizeof(record.name));
	memcpy(record.identity.uuid, bytes + VR_UUID, 16);
	memcpy(record.identity.naa, bytes + VR_NAA, 16);
	memcpy(record.identity.serial, bytes + VR_SERIAL, 33);
	if (record.id &&
	    (node_pointer_decode(bytes + VR_ROOT, &record.root) < 0 ||
	     record.state < VOLUME_STATE_LIVE || record.state > VOLUME_STATE_SNAPSHOT ||
	     (record.state == VOLUME_STATE_SNAPSHOT &&
	      strnlen(record.name, sizeof(record.name)) > SNAPSHOT_NAME_MAX) ||
	     record.levels > NODE_LEVELS_MAX || record.size_bytes > VOLUME_SIZE_MAX ||
	     record.size_bytes % VOLUME_SLOT || record.checksum > VOLUME_CHECKSUM_STRICT ||
	     record.mirror > 1 || record.reserve_bytes > VOLUME_SIZE_MAX ||
	     record.quota_bytes > VOLUME_QUOTA_MAX ||
	     !memchr(record.name, 0, sizeof(record.name)) ||
	     !memchr(record.identity.serial, 0, sizeof(record.identity.serial))))
		return -EBADMSG;
	*ret_record = record;
	return 0;
}
