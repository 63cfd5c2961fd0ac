/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/alone.h"
#include "volumes/native.h"

/* Which devices a pool has gone on without, as one of the others knows by itself: by its newest
 * label, and by the journal that follows it. The record that a device has gone is durable before
 * anything is answered without it (away.c, A2), the root that says so comes later, or never, where
 * the pool went down. So before a device is taken for one that has missed something, it is asked
 * whether it is the others that have.
 *
 * One whose word does not count for good reasons calls nobody away: it went, or was opened without,
 * when all others were there, and a root that says that one is back is on it before that. */

#define RUN_BLOCKS 64u

struct ring {
	struct disk *disk;
	const struct superblock *sb;
	struct native *native;
	struct lane *lane;
	uint8_t *run;
	uint64_t at; /* sequence number of the first block in run */
	unsigned count;
};

static int read_run(struct ring *ring, uint64_t seq)
{
	const struct superblock *sb = ring->sb;
	uint64_t place = seq % sb->journal_blocks, left = sb->journal_blocks - place;

	if (seq - ring->at < ring->count)
		return 0;
	if (ring->native && ring->native->checkpoint_due) { /* the journal's room does not wait */
		int result = checkpoint_run(ring->native, ring->lane, false);

		if (result < 0)
			return result;
	}
	ring->at = seq;
	ring->count = left < RUN_BLOCKS ? (unsigned)left : RUN_BLOCKS;
	return disk_io(ring->disk, DISK_READ, 0, sb->journal_offset + place * BLOCK, ring->run,
		       (uint64_t)ring->count * BLOCK);
}

static void look_at(const struct superblock *sb, const uint8_t *block,
		    const struct journal_header *header, uint64_t *rows)
{
	size_t at = JOURNAL_HEADER, end = at + header->used, length;
	struct record record;

	for (unsigned i = 0; i < header->count; i++, at += length) {
		if (record_decode(block + at, end - at, &record, &length) < 0)
			return;
		if (record.type != RECORD_DEVICE || record.where >= sb->pv_count)
			continue;
		*rows &= ~(1ull << record.where);
		if (record.chunk & PV_AWAY)
			*rows |= 1ull << record.where;
	}
}

static int walk(struct ring *ring, uint64_t *rows)
{
	const struct superblock *sb = ring->sb;
	uint64_t hash = format_pool_hash(&sb->pool_uuid), lsn = sb->next_lsn;
	uint32_t previous = 0, mine;

	for (uint64_t seq = sb->journal_tail; seq - sb->journal_tail < sb->journal_blocks; seq++) {
		struct journal_header header;
		const uint8_t *block;
		int result = read_run(ring, seq);

		if (result < 0)
			return result;
		block = ring->run + (seq - ring->at) * BLOCK;
		if (journal_block_open(block, &header, &mine) < 0 || header.pool_hash != hash ||
		    header.epoch != sb->epoch || header.seq != seq || header.first_lsn != lsn ||
		    (seq != sb->journal_tail && header.previous_hash != previous))
			return 0;
		look_at(sb, block, &header, rows);
		previous = mine;
		lsn += header.count;
	}
	return 0;
}

int alone_rows(struct disk *disk, const struct superblock *sb, struct native *native,
	       struct lane *lane, uint64_t *ret_rows)
{
	struct ring ring = {.disk = disk, .sb = sb, .native = native, .lane = lane};
	uint64_t rows = 0;
	int result = 0;

	for (unsigned i = 0; i < sb->pv_count; i++)
		if (sb->pv[i].flags & PV_AWAY)
			rows |= 1ull << i;
	if (sb->pv_index == 0 || sb->pv_index == sb->journal_row) {
		ring.run = heap_aligned(BLOCK, RUN_BLOCKS * BLOCK);
		result = ring.run ? walk(&ring, &rows) : -ENOMEM;
		heap_free(ring.run);
	}
	if (result == 0)
		*ret_rows = rows & ~(1ull << sb->pv_index);
	return result;
}
