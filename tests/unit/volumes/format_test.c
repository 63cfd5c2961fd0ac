/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "volumes/format.h"

static struct superblock sample(void)
{
	struct superblock sb = {.name = "tank",
				.generation = 7,
				.epoch = 3,
				.journal_tail = 99,
				.next_lsn = 1234,
				.journal_offset = PV_AREA,
				.journal_blocks = 1024,
				.journal_row = 1,
				.lineage = {11, 12, 13, 14},
				.left = {0, 5, 3, 2},
				.next_volume_id = 5,
				.version = FORMAT_VERSION,
				.pv_index = 1,
				.pv_count = 2};

	for (unsigned i = 0; i < 2; i++)
		sb.pv[i] = (struct format_pv){.size = 96u << 20,
					      .data_offset = PV_AREA + (4u << 20),
					      .first_chunk = i * 1000,
					      .chunks = 1000 + i};
	sb.root[ROOT_CSUM].pointer = (struct node_pointer){
	    .address = {17, 33}, .generation = 6, .crc = 0xabcd, .length = 4096};
	sb.root[ROOT_CSUM].levels = 2;
	return sb;
}

static void test_superblock(void **state)
{
	struct superblock sb = sample(), back;
	uint8_t block[BLOCK];
	struct err err;

	(void)state;
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, &err), 0);
	assert_memory_equal(&sb, &back, sizeof(sb));
	for (unsigned bit = 0; bit < 600 * 8; bit += 7) {
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_true(superblock_decode(block, &back, &err) < 0);
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	sb.pv[1].first_chunk = 1;
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, &err), -EBADMSG);
	memset(block, 0, sizeof(block));
	assert_int_equal(superblock_decode(block, &back, &err), -ENODATA);
}

/* The first device goes only where the journal is somewhere else, which older programs do not
 * know of. */
static void test_journal_row(void **state)
{
	struct superblock sb = sample(), back;
	uint8_t block[BLOCK];

	(void)state;
	sb.version = FORMAT_MIRRORS;
	superblock_encode(&sb, block);
	assert_int_equal(block[8], 6);
	assert_int_equal(superblock_decode(block, &back, NULL), 0);
	assert_int_equal(back.journal_row, 1);
	sb.pv[0].flags = PV_AWAY | PV_STALE;
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, NULL), 0);
	sb.journal_row = 0;
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, NULL), -EBADMSG);
	sb.pv[0].flags = PV_PINNED; /* likewise */
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, NULL), -EBADMSG);
	sb.journal_row = 1;
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, NULL), 0);
	assert_int_equal(back.pv[0].flags, PV_PINNED);
	sb.journal_row = 0;
	sb.pv[0].flags = 0;
	superblock_encode(&sb, block);
	assert_int_equal(block[8], 6); /* for its lineage */
	sb.lineage[0] = 0;
	superblock_encode(&sb, block);
	assert_int_equal(block[8], FORMAT_MIRRORS);
	assert_int_equal(superblock_decode(block, &back, NULL), 0);
	assert_int_equal(superblock_journal_room(&sb), 1);
	sb.journal_row = 1;
	sb.pv[1].data_offset -= BLOCK; /* there is no room */
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, NULL), -EBADMSG);
	assert_int_equal(superblock_journal_room(&sb), 0);
	sb = sample();
	sb.journal_row = 2; /* no such row */
	superblock_encode(&sb, block);
	assert_int_equal(superblock_decode(block, &back, NULL), -EBADMSG);
}

/* What a pool has been, and what it has not. */
static void test_lineage(void **state)
{
	struct superblock sb = sample(), older = sample();

	(void)state;
	memset(sb.lineage, 0, sizeof(sb.lineage));
	memset(sb.left, 0, sizeof(sb.left));
	older = sb;
	assert_true(superblock_succeeds(&sb, &older));
	older.generation = 8;
	assert_true(superblock_succeeds(&sb, &older));
	older.generation = 9;
	assert_false(superblock_succeeds(&sb, &older));
	superblock_fork(&sb, 101);
	sb.generation = 40;
	assert_false(superblock_succeeds(&sb, &older)); /* it has gone on since */
	older.generation = 8;
	assert_true(superblock_succeeds(&sb, &older));
	assert_false(superblock_succeeds(&older, &sb));
	superblock_fork(&older, 102); /* so has this one, as another */
	assert_false(superblock_succeeds(&sb, &older));
	assert_false(superblock_succeeds(&older, &sb));
	for (unsigned i = 0; i < LINEAGES - 1; i++) {
		older = sb;
		superblock_fork(&sb, 200 + i);
		assert_true(superblock_succeeds(&sb, &older));
		assert_false(superblock_succeeds(&older, &sb));
	}
	older.lineage[0] = 101;
	assert_true(superblock_succeeds(&sb, &older));
	older.lineage[0] = 0; /* that is forgotten, and not taken for known */
	assert_false(superblock_succeeds(&sb, &older));
	older.generation = 1; /* a device that no root knew */
	assert_true(superblock_succeeds(&sb, &older));
}

static void test_records(void **state)
{
	(void)state;
	for (unsigned type = RECORD_MAP; type < RECORD_TYPES; type++) {
		struct record record = {.type = (uint8_t)type,
					.group = 2,
					.mask = 0x8421,
					.volume = 9,
					.chunk = 77,
					.where = 5};
		struct record back;
		uint8_t bytes[256];
		size_t length = 0;

		for (unsigned slot = 0; slot < CHUNK_SLOTS; slot += 5) {
			if (type == RECORD_REMAP || type == RECORD_RESTORE)
				record.slot[slot] = 1000 + slot;
			if (type == RECORD_RESTORE)
				record.birth[slot] = 70 + slot;
			else if (type <= RECORD_OVERWRITE)
				record.crc[slot] = 500 + slot;
		}
		record_encode(&record, bytes);
		assert_int_equal(record_decode(bytes, sizeof(bytes), &back, &length), 0);
		assert_int_equal(length, record_length(&record));
		assert_int_equal(length % 8, 0);
		assert_memory_equal(&record, &back, sizeof(record));
		assert_int_equal(record_decode(bytes, length - 1, &back, &length), -EBADMSG);
		bytes[0] = RECORD_TYPES;
		assert_int_equal(record_decode(bytes, sizeof(bytes), &back, &length), -EBADMSG);
	}
}

static void test_journal_block(void **state)
{
	struct journal_header header = {.pool_hash = 1,
					.epoch = 2,
					.seq = 3,
					.confirmed = 4,
					.first_lsn = 5,
					.previous_hash = 6,
					.count = 1,
					.used = 40};
	struct journal_header back;
	uint8_t block[BLOCK];
	uint32_t hash, again;

	(void)state;
	memset(block, 0x5a, sizeof(block));
	hash = journal_block_seal(block, &header);
	assert_int_equal(journal_block_open(block, &back, &again), 0);
	assert_int_equal(hash, again);
	assert_memory_equal(&header, &back, sizeof(header));
	block[4000] ^= 1;
	assert_int_equal(journal_block_open(block, &back, &again), -EBADMSG);
}

struct seen {
	struct map_entry entry[MAP_CHUNKS];
	uint64_t slots[MAP_CHUNKS][MAP_SLOTS_SIZE / sizeof(uint64_t)];
};

static int see(void *context, unsigned index, const struct map_entry *entry)
{
	struct seen *seen = context;

	seen->entry[index] = *entry;
	if (entry->slots)
		memcpy(seen->slots[index], entry->slots, sizeof(seen->slots[index]));
	return 0;
}

static void test_map_leaf(void **state)
{
	static struct map_entry entries[MAP_CHUNKS];
	static uint64_t slots[MAP_CHUNKS][MAP_SLOTS_SIZE / sizeof(uint64_t)];
	static uint8_t bytes[NODE_LENGTH_MAX];
	static struct seen seen;
	size_t length;

	(void)state;
	for (unsigned i = 0; i < MAP_CHUNKS; i++) {
		entries[i] = (struct map_entry){.birth = i, .chunk = 1000 + i, .mask = 0xffff};
		if (i % 2) {
			entries[i].chunk = 0;
			entries[i].slots = slots[i];
			for (unsigned j = 0; j < CHUNK_SLOTS; j++)
				slots[i][j] = i * 100 + j;
			for (unsigned j = 0; i % 4 == 1 && j < CHUNK_SLOTS; j++)
				map_ages(&entries[i])[j] = i * j;
		}
	}
	entries[4].mask = 0;
	length = map_encode(entries, bytes);
	assert_true(length <= NODE_LENGTH_MAX - NODE_HEADER);
	assert_int_equal(map_decode(bytes, length, see, &seen), 0);
	assert_int_equal(seen.entry[4].mask, 0);
	assert_int_equal(seen.entry[6].chunk, 1006);
	assert_memory_equal(seen.slots[7], slots[7], sizeof(slots[7]));
	assert_memory_equal(seen.slots[9], slots[9], sizeof(slots[9]));
	assert_int_equal(map_birth(&entries[9], 3), 9 + 27);
	assert_int_equal(map_decode(bytes, length - 1, see, &seen), -EBADMSG);
	bytes[0] = 200;
	assert_int_equal(map_decode(bytes, length, see, &seen), -EBADMSG);
}

static void test_node(void **state)
{
	struct node_header header = {.kind = NODE_CSUM,
				     .length = BLOCK,
				     .owner = 0,
				     .index = 12,
				     .generation = 8,
				     .pool_hash = 99};
	struct node_pointer pointer = {.address = {50, 60}, .generation = 8, .length = BLOCK};
	static uint8_t node[BLOCK];

	(void)state;
	pointer.crc = node_seal(node, &header);
	node_set_address(node, 60);
	assert_int_equal(node_verify(node, BLOCK, &pointer, 60, &header), 0);
	assert_int_equal(node_verify(node, BLOCK, &pointer, 50, &header),
			 -EBADMSG); /* misdirected */
	pointer.generation = 9;
	assert_int_equal(node_verify(node, BLOCK, &pointer, 60, &header), -EBADMSG); /* stale */
	pointer.generation = 8;
	node[3000] ^= 4;
	assert_int_equal(node_verify(node, BLOCK, &pointer, 60, &header), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_superblock),    cmocka_unit_test(test_journal_row),
	    cmocka_unit_test(test_lineage),       cmocka_unit_test(test_records),
	    cmocka_unit_test(test_journal_block), cmocka_unit_test(test_map_leaf),
	    cmocka_unit_test(test_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
