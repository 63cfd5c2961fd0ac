/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/staging.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/heap.h"
#include "replication/order.h"
#include "volumes/volume_io.h"

#define HEADER_SIZE  4096u
#define HEADER_MAGIC 0x5453524755ull
#define BLOCK_MAGIC  0x4b4c4253u
#define VERSION      1u

/* A block: a head of SECTOR bytes (magic, crc32c of all behind it, bytes used, its place in the
 * log, the header's generation when it was written: the seal's is the next); then records, each a
 * head of SECTOR bytes and its data, which is aligned that way as volumes want it. A record does
 * not cross blocks. */
#define SECTOR      512u
#define APPLY_DEPTH 16u

/* ---- headers ---- */
enum {
	H_MAGIC = 0,
	H_VERSION = 8,
	H_CRC = 12,
	H_GENERATION = 16,
	H_GROUP = 24,
	H_SEALED = 40,
	H_APPLIED = 48,
	H_WALL = 56,
	H_BLOCKS = 64,
	H_SEEDING = 72,  /* bits, see below */
	H_IMAGE = 80,    /* without IMAGE_KNOWN: 0: all members, of a log that is older than it */
	H_LINEAGE = 128, /* count, then UUID and fork of each */
};
#define SEEDING     1u
#define IMAGE_KNOWN 2u /* H_IMAGE is what it says */

static uint32_t header_crc(const uint8_t *bytes)
{
	uint32_t crc = crc32c(0, bytes, H_CRC);

	return crc32c(crc, bytes + H_CRC + 4, HEADER_SIZE - H_CRC - 4);
}

static void lineage_put(uint8_t *bytes, const struct wire_lineage *lineage)
{
	put32(bytes, lineage->count);
	for (unsigned i = 0; i < lineage->count; i++) {
		memcpy(bytes + 8 + (size_t)24 * i, lineage->link[i].uuid, 16);
		put64(bytes + 24 + (size_t)24 * i, lineage->link[i].fork);
	}
}

static void lineage_get(const uint8_t *bytes, struct wire_lineage *lineage)
{
	lineage->count = get32(bytes) <= WIRE_LINEAGE_MAX ? get32(bytes) : 0;
	for (unsigned i = 0; i < lineage->count; i++) {
		memcpy(lineage->link[i].uuid, bytes + 8 + (size_t)24 * i, 16);
		lineage->link[i].fork = get64(bytes + 24 + (size_t)24 * i);
	}
}

static int header_write(struct staging *staging)
{
	uint64_t slot = (staging->generation + 1) % 2;
	uint8_t *bytes = staging->block; /* nothing of an open epoch is in it now */

	memset(bytes, 0, HEADER_SIZE);
	staging->used = 0;
	put64(bytes + H_MAGIC, HEADER_MAGIC);
	put32(bytes + H_VERSION, VERSION);
	put64(bytes + H_GENERATION, ++staging->generation);
	memcpy(bytes + H_GROUP, staging->group, 16);
	put64(bytes + H_SEALED, staging->sealed);
	put64(bytes + H_APPLIED, staging->applied);
	put64(bytes + H_WALL, staging->sealed_wall_ns);
	put64(bytes + H_BLOCKS, staging->blocks);
	bytes[H_SEEDING] = IMAGE_KNOWN | (staging->seeding ? SEEDING : 0);
	put64(bytes + H_IMAGE, staging->image);
	lineage_put(bytes + H_LINEAGE, &staging->lineage);
	put32(bytes + H_CRC, header_crc(bytes));
	return volume_io(staging->volume, VOLUME_WRITE, ORDER(header_is_durable) ? VOLUME_FUA : 0,
			 slot * HEADER_SIZE, bytes, HEADER_SIZE);
}

/* The header in @bytes, if it is a newer one than what @staging has. */
static int header_take(struct staging *staging, const uint8_t *bytes, struct err *err)
{
	if (get64(bytes + H_MAGIC) != HEADER_MAGIC || header_crc(bytes) != get32(bytes + H_CRC))
		return 0;
	if (get32(bytes + H_VERSION) != VERSION)
		return err_set(err, -EPROTO, "the staging log has format %u; this is %u",
			       get32(bytes + H_VERSION), VERSION);
	if (memcmp(bytes + H_GROUP, staging->group, 16) != 0)
		return err_set(err, -EPROTO, "the staging log belongs to another group");
	if (get64(bytes + H_GENERATION) <= staging->generation)
		return 0;
	staging->generation = get64(bytes + H_GENERATION);
	staging->sealed = get64(bytes + H_SEALED);
	staging->applied = get64(bytes + H_APPLIED);
	staging->sealed_wall_ns = get64(bytes + H_WALL);
	staging->blocks = get64(bytes + H_BLOCKS);
	staging->seeding = bytes[H_SEEDING] & SEEDING;
	staging->image = get64(bytes + H_IMAGE);
	if (staging->image == 0 && !(bytes[H_SEEDING] & IMAGE_KNOWN))
		staging->image = UINT64_MAX;
	lineage_get(bytes + H_LINEAGE, &staging->lineage);
	return 0;
}

static int headers_read(struct staging *staging, struct err *err)
{
	uint8_t *bytes = staging->block;
	int result =
	    volume_io(staging->volume, VOLUME_READ, 0, 0, bytes, (uint64_t)2 * HEADER_SIZE);

	if (result < 0)
		return err_set(err, result, "the staging log can not be read");
	for (unsigned i = 0; i < 2 && result == 0; i++)
		result = header_take(staging, bytes + (size_t)i * HEADER_SIZE, err);
	/* The first header goes to the second place: while the first is untouched, what is in the
	 * second at most is one that was being written when the power went. */
	if (result == 0 && staging->generation == 0 && !all_zero(bytes, HEADER_SIZE))
		result = err_set(err, -EPROTO, "the staging log has no valid header");
	return result;
}

int staging_open(struct staging *staging, struct volume *volume, const uint8_t group[16],
		 struct volume **members, unsigned member_max, struct err *err)
{
	int result;

	*staging = (struct staging){.volume = volume, .members = members, .touched = UINT64_MAX};
	staging->member_max = member_max;
	memcpy(staging->group, group, 16);
	staging->block = heap_scratch(4096, STAGING_BLOCK);
	if (!staging->block)
		return err_set(err, -ENOMEM, "out of memory");
	result = headers_read(staging, err);
	if (result < 0)
		staging_close(staging);
	return result;
}

void staging_close(struct staging *staging)
{
	heap_free(staging->block);
	staging->block = NULL;
}

/* ---- the open epoch ---- */
void staging_begin(struct staging *staging)
{
	staging->used = 0;
	staging->open_blocks = 0;
}

static uint64_t block_offset(uint64_t index)
{
	return (index + 1) * STAGING_BLOCK;
}

static int block_write(struct staging *staging)
{
	uint64_t length = (staging->used + VOLUME_SLOT - 1) / VOLUME_SLOT * VOLUME_SLOT;
	int result;

	if (staging->used == 0)
		return 0;
	if (block_offset(staging->open_blocks) + STAGING_BLOCK > volume_size(staging->volume))
		return -ENOSPC;
	memset(staging->block + staging->used, 0, length - staging->used);
	memset(staging->block, 0, SECTOR);
	put32(staging->block, BLOCK_MAGIC);
	put32(staging->block + 8, (uint32_t)staging->used);
	put64(staging->block + 16, staging->open_blocks);
	put64(staging->block + 24, staging->generation);
	put32(staging->block + 4, crc32c(0, staging->block + 8, staging->used - 8));
	result = volume_io(staging->volume, VOLUME_WRITE, 0, block_offset(staging->open_blocks),
			   staging->block, length);
	staging->open_blocks++;
	if (staging->touched < staging->open_blocks)
		staging->touched = staging->open_blocks;
	staging->used = 0;
	return result;
}

int staging_add(struct staging *staging, uint32_t member, uint64_t offset, uint64_t length,
		const void *data)
{
	uint64_t size = SECTOR + (data ? length : 0);
	uint8_t *to;

	if (staging->used == 0)
		staging->used = SECTOR;
	if (STAGING_BLOCK - staging->used < size) {
		int result = block_write(staging);

		if (result < 0)
			return result;
		staging->used = SECTOR;
	}
	to = staging->block + staging->used;
	memset(to, 0, SECTOR);
	put32(to, member);
	put32(to + 4, data != NULL);
	put64(to + 8, offset);
	put64(to + 16, length);
	if (data)
		memcpy(to + SECTOR, data, length);
	staging->used += size;
	return 0;
}

bool staging_has(const struct staging *staging, unsigned member)
{
	return staging->image >> member & 1;
}

int staging_leave_out(struct staging *staging, unsigned member)
{
	if (!staging_has(staging, member))
		return 0;
	staging->image &= ~((uint64_t)1 << member);
	return header_write(staging);
}

static uint64_t present(const struct staging *staging)
{
	uint64_t members = 0;

	for (unsigned i = 0; i < staging->member_max; i++)
		members |= (uint64_t)(staging->members[i] != NULL) << i;
	return members;
}

/* S5 */
static int joining_flush(struct staging *staging)
{
	int result = 0;

	for (unsigned i = 0; i < staging->member_max && result == 0; i++) {
		if (staging->members[i] && !staging_has(staging, i) && ORDER(joining_member_flush))
			result = volume_io(staging->members[i], VOLUME_FLUSH, 0, 0, NULL, 0);
	}
	return result;
}

int staging_seal(struct staging *staging, uint64_t epoch, uint64_t wall_ns,
		 const struct wire_lineage *lineage)
{
	int result = block_write(staging);

	if (result == 0 && ORDER(staging_flush_before_seal))
		result = volume_io(staging->volume, VOLUME_FLUSH, 0, 0, NULL, 0);
	if (result == 0)
		result = joining_flush(staging);
	if (result < 0)
		return result;
	staging->image = present(staging);
	staging->sealed = epoch;
	staging->sealed_wall_ns = wall_ns;
	staging->lineage = *lineage;
	staging->blocks = staging->open_blocks;
	return header_write(staging);
}

/* ---- applying ---- */
struct parsed {
	uint32_t member;
	uint64_t offset, length;
	uint8_t *data; /* NULL: zeros */
};

/* The record at @at of a block that is in memory; false: it can not be one. */
static bool record_parse(const struct staging *staging, uint8_t *block, uint64_t at, uint64_t used,
			 struct parsed *parsed)
{
	const uint8_t *from = block + at;

	if (used - at < SECTOR)
		return false;
	parsed->member = get32(from);
	parsed->offset = get64(from + 8);
	parsed->length = get64(from + 16);
	parsed->data = get32(from + 4) ? block + at + SECTOR : NULL;
	return parsed->member < staging->member_max && staging->members[parsed->member] &&
	       (!parsed->data || parsed->length <= used - at - SECTOR);
}

struct apply {
	struct volume_io io[APPLY_DEPTH];
	struct parsed parsed[APPLY_DEPTH];
	unsigned next;
};

static bool parsed_overlap(const struct parsed *a, const struct parsed *b)
{
	return a->member == b->member && a->offset < b->offset + b->length &&
	       b->offset < a->offset + a->length;
}

static int apply_wait(struct apply *apply, unsigned i)
{
	return apply->io[i].fiber ? volume_io_wait(&apply->io[i]) : 0;
}

static int apply_record(struct staging *staging, struct apply *apply, const struct parsed *parsed)
{
	unsigned slot = apply->next++ % APPLY_DEPTH;
	int result = apply_wait(apply, slot);

	/* In the order of the log where two touch the same place. */
	for (unsigned i = 0; i < APPLY_DEPTH && result == 0; i++) {
		if (apply->io[i].busy && parsed_overlap(&apply->parsed[i], parsed))
			result = apply_wait(apply, i);
	}
	if (result < 0)
		return result;
	apply->parsed[slot] = *parsed;
	volume_io_start(&apply->io[slot], staging->members[parsed->member],
			parsed->data ? VOLUME_WRITE : VOLUME_DISCARD, 0, parsed->offset,
			parsed->data, parsed->length);
	return 0;
}

static int apply_wait_all(struct apply *apply, int result)
{
	for (unsigned i = 0; i < APPLY_DEPTH; i++) {
		int one = apply_wait(apply, i);

		result = result ? result : one;
		apply->io[i].fiber = NULL;
	}
	return result;
}

/* Reads block @index to @block and looks whether it is the one that was written there. */
static int block_read(struct staging *staging, uint8_t *block, uint64_t index, uint64_t *ret_used)
{
	uint64_t offset = block_offset(index), used, rest;
	int result = volume_io(staging->volume, VOLUME_READ, 0, offset, block, VOLUME_SLOT);

	if (result < 0)
		return result;
	used = get32(block + 8);
	if (get32(block) != BLOCK_MAGIC || used < SECTOR || used > STAGING_BLOCK ||
	    get64(block + 16) != index || get64(block + 24) + 1 != staging->generation)
		return -EUCLEAN;
	rest = (used + VOLUME_SLOT - 1) / VOLUME_SLOT * VOLUME_SLOT - VOLUME_SLOT;
	if (rest)
		result = volume_io(staging->volume, VOLUME_READ, 0, offset + VOLUME_SLOT,
				   block + VOLUME_SLOT, rest);
	if (result == 0 && crc32c(0, block + 8, used - 8) != get32(block + 4))
		result = -EUCLEAN;
	*ret_used = used;
	return result;
}

static int apply_block(struct staging *staging, struct apply *apply, uint64_t index)
{
	uint8_t *block = staging->block; /* no epoch is open while one is applied */
	uint64_t used, at = SECTOR;
	int result = block_read(staging, block, index, &used);

	while (result == 0 && at < used) {
		struct parsed parsed;

		if (!record_parse(staging, block, at, used, &parsed)) {
			result = -EUCLEAN;
			break;
		}
		at += SECTOR + (parsed.data ? parsed.length : 0);
		result = apply_record(staging, apply, &parsed);
	}
	return apply_wait_all(apply, result);
}

static int members_flush(struct staging *staging)
{
	int result = 0;

	for (unsigned i = 0; i < staging->member_max && result == 0; i++) {
		if (staging->members[i] && ORDER(members_flush_before_applied))
			result = volume_io(staging->members[i], VOLUME_FLUSH, 0, 0, NULL, 0);
	}
	return result;
}

/* The space comes back, that of larger epochs that broke off too; a log that keeps some is no
 * worse. */
static void blocks_discard(struct staging *staging)
{
	uint64_t most = (volume_size(staging->volume) - block_offset(0)) / STAGING_BLOCK;
	uint64_t blocks = staging->touched < most ? staging->touched : most;

	if (blocks)
		volume_io(staging->volume, VOLUME_DISCARD, 0, block_offset(0), NULL,
			  blocks * STAGING_BLOCK);
	staging->touched = 0;
}

int staging_apply(struct staging *staging)
{
	uint64_t blocks = staging->blocks;
	struct apply *apply;
	int result = 0;

	if (staging->applied == staging->sealed)
		return 0;
	apply = heap_zalloc(sizeof *apply);
	if (!apply)
		return -ENOMEM;
	for (uint64_t i = 0; i < blocks && result == 0; i++)
		result = apply_block(staging, apply, i);
	heap_free(apply);
	if (result == 0)
		result = members_flush(staging);
	if (result < 0)
		return result;
	staging->applied = staging->sealed;
	staging->blocks = 0;
	result = header_write(staging);
	if (result == 0)
		blocks_discard(staging);
	return result;
}

/* ---- seeding ---- */
int staging_seed_begin(struct staging *staging)
{
	staging_begin(staging);
	staging->seeding = true;
	return header_write(staging);
}

int staging_seed_end(struct staging *staging, uint64_t epoch, uint64_t wall_ns,
		     const struct wire_lineage *lineage)
{
	int result = members_flush(staging);

	if (result < 0)
		return result;
	staging->seeding = false;
	staging->image = present(staging);
	staging->sealed = staging->applied = epoch;
	staging->sealed_wall_ns = wall_ns;
	staging->lineage = *lineage;
	staging->blocks = 0;
	return header_write(staging);
}

int staging_restart(struct staging *staging, uint64_t epoch, uint64_t wall_ns,
		    const struct wire_lineage *lineage)
{
	staging_begin(staging);
	staging->seeding = false;
	staging->image = present(staging);
	staging->sealed = staging->applied = epoch;
	staging->sealed_wall_ns = wall_ns;
	staging->lineage = *lineage;
	staging->blocks = 0;
	return header_write(staging);
}
