/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/payload.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "core/crc32c.h"

#define MAGIC UINT64_C(0x4752414e4c4f4144) /* "GRANLOAD" */
#define WORDS (PAYLOAD_BLOCK / sizeof(uint64_t))

/* In the generator's own byte order: a run is written and read by the same machine. */
struct block {
	uint64_t magic, lba, generation;
	uint64_t filling[WORDS - 4];
	uint64_t crc; /* of everything before */
};
_Static_assert(sizeof(struct block) == PAYLOAD_BLOCK, "a block is a sector");

static uint32_t block_crc(const struct block *block)
{
	return crc32c(0, block, offsetof(struct block, crc));
}

static void fill_block(struct block *block, uint64_t lba, uint64_t generation)
{
	uint64_t word = (lba + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ generation;

	block->magic = MAGIC;
	block->lba = lba;
	block->generation = generation;
	for (unsigned i = 0; i < WORDS - 4; i++) {
		word ^= word << 13;
		word ^= word >> 7;
		word ^= word << 17;
		block->filling[i] = word;
	}
	block->crc = block_crc(block);
}

void payload_fill(void *data, size_t length, uint64_t lba, uint64_t generation)
{
	struct block block;

	assert(length % PAYLOAD_BLOCK == 0);
	for (size_t at = 0; at < length; at += PAYLOAD_BLOCK) {
		fill_block(&block, lba + at / PAYLOAD_BLOCK, generation);
		memcpy((char *)data + at, &block, sizeof(block));
	}
}

static bool all_zero(const uint8_t *data, size_t length)
{
	return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

static enum payload_state check_block(const struct block *block, uint64_t lba, uint64_t generation,
				      struct err *err)
{
	if (block->magic != MAGIC || block->crc != block_crc(block))
		err_set(err, -EILSEQ, "block %" PRIu64 " is damaged", lba);
	else if (block->lba != lba)
		err_set(err, -EILSEQ, "block %" PRIu64 " holds what belongs to block %" PRIu64, lba,
			block->lba);
	else if (generation != PAYLOAD_ANY && block->generation != generation)
		err_set(err, -EILSEQ,
			"block %" PRIu64 " holds write %" PRIu64 ", the last one was %" PRIu64, lba,
			block->generation, generation);
	else
		return PAYLOAD_OK;
	return PAYLOAD_BAD;
}

enum payload_state payload_check(const void *data, size_t length, uint64_t lba, uint64_t generation,
				 struct err *err)
{
	struct block block;

	assert(length > 0 && length % PAYLOAD_BLOCK == 0);
	if (all_zero(data, length))
		return PAYLOAD_UNWRITTEN;
	for (size_t at = 0; at < length; at += PAYLOAD_BLOCK) {
		memcpy(&block, (const char *)data + at, sizeof(block));
		if (check_block(&block, lba + at / PAYLOAD_BLOCK, generation, err) != PAYLOAD_OK)
			return PAYLOAD_BAD;
	}
	return PAYLOAD_OK;
}
