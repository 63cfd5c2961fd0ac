/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "volumes/native.h"

/* Replay, at open: the journal from the root's tail to the end of its chain.
 *
 * Records up to the confirmed LSN (the highest in a block header) are applied as they are. Behind
 * it the record may be on disk and its data not (I1). Those records are looked at from the last
 * to the first, keeping per slot whether a later record has settled it:
 *   - new mapping, not settled: the slot is read back. Its crc fits: settled. It does not: the
 *     mapping is undone, and an earlier record decides. An atomic group is undone as a whole.
 *   - unmapped, remapped: settled (nothing to read).
 *   - overwritten in place: may hold the old data or that of any of the records; whichever crc
 *     fits counts. When none does, a slot in a hot region is summed again, others stay as they
 *     are and will be reported when read.
 * A settled record that was overtaken is applied without looking, in order: what it frees may
 * have been reused behind it. An undone one can not have been overtaken by a reuse, because
 * space is reused only behind confirmed records (I3), which are never undone.
 *
 * Slots of mirrored volumes are looked at in both copies: one that fits is enough, and what decided
 * becomes the other one, too. So what was read once after a crash is read ever after.
 *
 * Where the journal is on two devices, a block may be in one copy only: one was away then, or has
 * rotted, or the last commit was cut off. It is taken from whichever has one that continues the
 * chain, of which there are never two that differ; that a device has been away is in the journal of
 * the other. But what is newer than the chain in either copy says that the root is an old one: of a
 * device that was away, the copy may hold all of the chain that has been written over in the other,
 * and the changes that were made since would be gone.
 *
 * Of a device that the root itself calls away nothing continues the chain. The root may have been
 * opened without it, when the crash had left the end of the chain in its copy only: then those
 * changes did not happen, that was seen, and when the root of that open is lost they are not to
 * come back with the device. Nothing durable is missed: the other one does not go before two roots
 * more say that this one is back (away.c, A7). What counts has to be readable where the other copy
 * has nothing, then: an error that passes would be such an open without it, and no root says so.
 *
 * Then hot regions are looked through for overwrites whose record was lost, and a checkpoint
 * under a new epoch makes sure that no block of the old chain's end is ever taken for new. */

#define RUN_BLOCKS       64u
#define HOT_LOOK_REGIONS 256u /* looked through at open: 1 GiB; more are looked at when read */

struct pending {
	struct record record;
	uint64_t lsn;
	uint16_t reverted;
	unsigned unit; /* index of the first record of its group, or its own */
	bool atomic;
};

/* Slots of (volume, chunk) that a later record has settled. */
struct settled {
	struct settled *next;
	uint64_t volume, chunk;
	uint16_t mask;
};

/* An in-place slot with its candidates. */
struct candidate {
	struct candidate *next;
	uint64_t address;
	unsigned count, room;
	uint32_t *crc;
	uint32_t verdict;
	bool settled;
};

/* A copy of the journal, and the piece of it that was read last. */
struct ring {
	struct pv *pv;
	uint8_t *run;
	uint64_t run_at; /* sequence number of run's first block, SLOT_NONE */
	unsigned run_count;
};

struct replay {
	struct native *native;
	struct lane *lane;
	struct err *err;
	uint8_t *run; /* RUN_BLOCKS blocks; the first copy's, and room for a chunk */
	struct ring copy[2];
	unsigned copies;
	uint64_t end_seq, end_lsn, confirmed;
	struct pending *pending;
	size_t count, room;
	bool away; /* what would have to be looked at is on a device that is away */
	struct settled **settled;
	struct candidate **candidates;
	uint8_t *slot;
};

/* ---- the chain ---- */
/* NULL: it can not be read. Only the block itself is asked for when its neighbours can not. */
static const uint8_t *read_block(struct replay *replay, struct ring *ring, uint64_t seq)
{
	struct journal *journal = &replay->native->journal;
	uint64_t place = seq % journal->blocks;

	if (seq - ring->run_at >= ring->run_count) {
		unsigned count = RUN_BLOCKS;
		int result = -EIO;

		if (place + RUN_BLOCKS > journal->blocks)
			count = (unsigned)(journal->blocks - place);
		ring->run_at = seq;
		ring->run_count = 0;
		for (; result < 0 && count; count = count > 1 ? 1 : 0) {
			result = pv_io(ring->pv, DISK_READ, 0, journal->offset + place * BLOCK,
				       ring->run, (uint64_t)count * BLOCK);
			if (result == 0)
				ring->run_count = count;
		}
		if (result < 0)
			return NULL;
	}
	return ring->run + (seq - ring->run_at) * BLOCK;
}

/* A valid block where the chain ends, from after what this root knows: the root is an old one. */
static bool newer_block(const struct replay *replay, const struct journal_header *header,
			uint64_t seq)
{
	const struct superblock *sb = &replay->native->sb;

	return header->pool_hash == replay->native->hash &&
	       ((header->epoch > sb->epoch && header->seq >= seq) ||
		(header->epoch == sb->epoch && header->seq > seq));
}

/* The end of the chain that is walked, so far. */
struct chain {
	uint64_t seq, lsn;
	uint32_t previous;
};

static bool continues(const struct replay *replay, const struct chain *chain,
		      const struct journal_header *header)
{
	const struct superblock *sb = &replay->native->sb;

	return header->pool_hash == replay->native->hash && header->epoch == sb->epoch &&
	       header->seq == chain->seq && header->first_lsn == chain->lsn &&
	       (chain->seq == sb->journal_tail || header->previous_hash == chain->previous);
}

static int moved_on(struct replay *replay)
{
	return err_set(
	    replay->err, -EUCLEAN,
	    "the newest root of the pool is lost and the journal has moved on from generation %llu",
	    (unsigned long long)replay->native->sb.generation);
}

/* Does what is in this copy continue the chain? */
static bool counts(const struct pv *pv)
{
	return !pv->was_away || !ORDER(away_adds_no_journal);
}

/* The chain may be longer than it looks: what is not read now would be there when the same root is
 * opened again, and what has been read of the pool meanwhile would turn out not to have been. One
 * that is being made good has the journal, too (away.c, A6). */
static int unreadable(struct replay *replay, const struct pv *pv, const struct pv *other)
{
	bool spare = other != pv && other->disk && counts(other) && !pv_is_stale(other);

	return err_set(replay->err, -EIO, "the journal can not be read from %s%s", away_path(pv),
		       spare ? ": if it stays so, import the pool without that device (--degraded)"
			     : "");
}

/* The block that continues the chain, NULL at its end. */
static int find_block(struct replay *replay, const struct chain *chain, const uint8_t **ret_block,
		      struct journal_header *ret_header, uint32_t *ret_hash)
{
	const struct pv *failed = NULL;

	*ret_block = NULL;
	for (unsigned i = 0; i < replay->copies; i++) {
		struct ring *ring = &replay->copy[i];
		const uint8_t *block;
		struct journal_header header;
		uint32_t hash;

		if (!ring->pv->disk || (*ret_block && !ORDER(replay_looks_at_both)))
			continue;
		block = read_block(replay, ring, chain->seq);
		if (!block && counts(ring->pv))
			failed = ring->pv;
		if (!block || journal_block_open(block, &header, &hash) < 0)
			continue;
		if (newer_block(replay, &header, chain->seq))
			return moved_on(replay);
		if (*ret_block || !continues(replay, chain, &header) || !counts(ring->pv))
			continue;
		*ret_block = block;
		*ret_header = header;
		*ret_hash = hash;
	}
	if (!failed || *ret_block)
		return 0;
	return unreadable(replay, failed, replay->copy[failed == replay->copy[0].pv].pv);
}

/* Walk the chain; @visit (may be NULL) sees each block. */
static int walk(struct replay *replay,
		int (*visit)(struct replay *replay, const struct journal_header *header,
			     const uint8_t *block))
{
	struct native *native = replay->native;
	struct chain chain = {.seq = native->sb.journal_tail, .lsn = native->sb.next_lsn};

	while (chain.seq - native->sb.journal_tail < native->journal.blocks) {
		struct journal_header header;
		const uint8_t *block;
		uint32_t hash = 0;
		int result = find_block(replay, &chain, &block, &header, &hash);

		if (result == 0 && !block)
			break;
		if (result == 0 && visit)
			result = visit(replay, &header, block);
		if (result < 0)
			return result;
		if (replay->confirmed < header.confirmed)
			replay->confirmed = header.confirmed;
		chain.previous = hash;
		chain.lsn += header.count;
		chain.seq++;
	}
	replay->end_seq = chain.seq;
	replay->end_lsn = chain.lsn;
	return 0;
}

/* ---- applying ---- */
struct nvolume *nvolume_by_id(struct native *native, uint64_t id)
{
	struct node *node;

	if (id == 0 ||
	    tree_find(&native->tree[ROOT_VOLUMES], (id - 1) / VOLUMES_PER_LEAF, false, NULL,
		      &node) < 0 ||
	    !node)
		return NULL;
	return node->body->volumes.volume[(id - 1) % VOLUMES_PER_LEAF];
}

static int apply(struct replay *replay, const struct record *record, uint64_t lsn)
{
	struct native *native = replay->native;
	struct nvolume *volume;
	int result = 0;

	if (record->type == RECORD_HOT) {
		if (record->where < native->hot_regions)
			result = hot_set(native, record->where, HOT_HOT);
		if (result == 0 && record->where < native->hot_regions)
			native->hot[record->where] |= HOT_SUSPECT;
		return result;
	}
	if (record->type == RECORD_DEVICE)
		return 0; /* it counts from when it was seen on */
	if (record->type == RECORD_MIRROR) {
		native_lock(native);
		result = mirror_apply(native, record);
		native_unlock(replay->lane);
		return result;
	}
	volume = nvolume_by_id(native, record->volume);
	if (!volume || volume->state == VOLUME_STATE_SNAPSHOT ||
	    record->chunk / MAP_CHUNKS >= tree_capacity(&volume->map))
		return 0;
	for (;;) {
		struct fiber_waiter wait;

		fiber_waiter_init(&wait, replay->lane);
		native_lock(native);
		nodes_evict(native);
		result = map_prepare(volume, record, &wait.waiter);
		if (result == 0)
			map_apply(volume, record, lsn);
		native_unlock(replay->lane);
		if (result != -EINPROGRESS)
			return result;
		result = fiber_waiter_wait(&wait);
		if (result < 0)
			return result;
	}
}

static int keep_pending(struct replay *replay, const struct record *record, uint64_t lsn)
{
	if (replay->count == replay->room) {
		size_t room = replay->room * 2 + 256;
		struct pending *grown =
		    heap_resize(replay->pending, room * sizeof(*replay->pending));

		if (!grown)
			return -ENOMEM;
		replay->pending = grown;
		replay->room = room;
	}
	replay->pending[replay->count] =
	    (struct pending){.record = *record, .lsn = lsn, .unit = (unsigned)replay->count};
	replay->count++;
	return 0;
}

static bool record_plausible(const struct native *native, const struct record *record)
{
	uint64_t chunk =
	    record->type == RECORD_MAP_RUN ? record->where / CHUNK_SLOTS : record->where;
	unsigned count = (unsigned)__builtin_popcount(record->mask);

	if (record->type == RECORD_DEVICE)
		return true; /* away_record() says */
	if (record->type == RECORD_MIRROR)
		return mirror_plausible(native, record->chunk, record->where);
	if (record->type == RECORD_MAP || record->type == RECORD_MAP_RUN)
		return space_chunk_is_data(native, chunk) &&
		       (record->type == RECORD_MAP ||
			record->where % CHUNK_SLOTS + count <= CHUNK_SLOTS);
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if ((record->type == RECORD_REMAP || record->type == RECORD_RESTORE) &&
		    record->mask & 1u << slot &&
		    !space_chunk_is_data(native, record->slot[slot] / CHUNK_SLOTS))
			return false;
	return true;
}

/* What is looked at behind the confirmed records has its second copy there already. */
static int link(struct replay *replay, const struct record *record)
{
	int result;

	native_lock(replay->native);
	result = mirror_link(replay->native, record);
	native_unlock(replay->lane);
	return result;
}

static int visit_block(struct replay *replay, const struct journal_header *header,
		       const uint8_t *block)
{
	const uint8_t *at = block + JOURNAL_HEADER;
	size_t left = header->used;
	unsigned group_left = 0, group_first = 0;

	for (unsigned i = 0; i < header->count; i++) {
		uint64_t lsn = header->first_lsn + i;
		struct record record;
		size_t length;
		int result = record_decode(at, left, &record, &length);

		if (result < 0 || !record_plausible(replay->native, &record))
			return err_set(replay->err, -EUCLEAN,
				       "the journal holds a record that "
				       "makes no sense");
		at += length;
		left -= length;
		replay->native->replayed_records++;
		result = record.type == RECORD_MIRROR   ? link(replay, &record)
			 : record.type == RECORD_DEVICE ? away_record(replay->native, &record)
							: 0;
		if (result == -ENOENT)
			return err_set(replay->err, result,
				       "a device of pool %s that was away and came back is missing",
				       replay->native->sb.name);
		if (result == -ESTALE)
			return rewind_refuse(replay->native, replay->err);
		if (result < 0)
			return err_set(replay->err, result, "the journal can not be replayed");
		result = lsn <= replay->confirmed ? apply(replay, &record, lsn)
						  : keep_pending(replay, &record, lsn);
		if (result < 0)
			return err_set(replay->err, result, "the journal can not be replayed");
		if (lsn <= replay->confirmed)
			continue;
		if (record.group) {
			group_left = record.group;
			group_first = (unsigned)replay->count - 1;
		}
		if (group_left) {
			group_left--;
			replay->pending[replay->count - 1].unit = group_first;
			replay->pending[replay->count - 1].atomic = true;
		}
	}
	return 0;
}

/* ---- settling what is not confirmed ---- */
static struct settled *settled_of(struct replay *replay, const struct record *record)
{
	uint64_t hash = (record->chunk ^ record->volume << 24) * 0x9e3779b97f4a7c15ull;
	struct settled **slot = &replay->settled[hash >> 52], *item;

	for (item = *slot; item; item = item->next)
		if (item->chunk == record->chunk && item->volume == record->volume)
			return item;
	item = heap_zalloc(sizeof(*item));
	if (!item)
		return NULL;
	item->volume = record->volume;
	item->chunk = record->chunk;
	item->next = *slot;
	*slot = item;
	return item;
}

/* Is it @crc that the slot holds, in one of its copies? Then in both. */
static bool slot_holds(struct replay *replay, uint64_t address, uint32_t crc)
{
	struct copies copies = {.data = replay->slot};

	mirror_read(replay->native, address, &copies);
	replay->away |= !copies.usable && away_any(replay->native);
	for (unsigned i = 0; i < copies.count; i++)
		if (copies.crc[i] == crc) {
			mirror_level(replay->native, &copies, i);
			return true;
		}
	return false;
}

/* Slots of a new mapping, not settled, whose data is not there. */
static uint16_t missing(struct replay *replay, const struct record *record, uint16_t settled)
{
	uint64_t address = record->where;
	uint16_t bad = 0;

	if (!ORDER(replay_verifies_unconfirmed))
		return 0;
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint64_t here = record->where * CHUNK_SLOTS + slot;

		if (!(record->mask & 1u << slot))
			continue;
		if (record->type == RECORD_MAP_RUN)
			here = address++;
		if (!(settled & 1u << slot) && !slot_holds(replay, here, record->crc[slot]))
			bad |= (uint16_t)(1u << slot);
	}
	return bad;
}

/* Where the slot of a volume is now, and its crc. */
static int look_up(struct replay *replay, const struct record *record, unsigned slot,
		   uint64_t *ret_address, uint32_t *ret_crc)
{
	struct native *native = replay->native;
	struct nvolume *volume = nvolume_by_id(native, record->volume);

	for (;;) {
		struct fiber_waiter wait;
		struct node *leaf = NULL, *sums = NULL;
		bool mapped = false;
		int result;

		fiber_waiter_init(&wait, replay->lane);
		native_lock(native);
		result = volume ? tree_find(&volume->map, record->chunk / MAP_CHUNKS, false,
					    &wait.waiter, &leaf)
				: 0;
		if (result == 0 && leaf)
			mapped = map_slot(&leaf->body->map.entry[record->chunk % MAP_CHUNKS], slot,
					  ret_address);
		if (mapped)
			result = csum_find(native, *ret_address / CHUNK_SLOTS, false, &wait.waiter,
					   &sums);
		*ret_crc = 0;
		if (result == 0 && sums)
			*ret_crc =
			    csum_at(sums, *ret_address / CHUNK_SLOTS)[*ret_address % CHUNK_SLOTS];
		native_unlock(replay->lane);
		if (result == -EINPROGRESS)
			result = fiber_waiter_wait(&wait);
		else if (result == 0)
			return mapped ? 0 : -ENOENT;
		if (result < 0)
			return result;
	}
}

static int candidate_add(struct candidate *candidate, uint32_t crc)
{
	if (candidate->count == candidate->room) {
		uint32_t *grown = heap_resize(candidate->crc, (candidate->room * 2 + 4) * 4);

		if (!grown)
			return -ENOMEM;
		candidate->crc = grown;
		candidate->room = candidate->room * 2 + 4;
	}
	candidate->crc[candidate->count++] = crc;
	return 0;
}

static int add_candidates(struct replay *replay, const struct record *record, uint16_t settled)
{
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		struct candidate **head, *candidate;
		uint64_t address = 0;
		uint32_t crc;
		int result;

		if (!(record->mask & ~settled & 1u << slot))
			continue;
		result = look_up(replay, record, slot, &address, &crc);
		if (result == -ENOENT)
			continue;
		if (result < 0)
			return result;
		head = &replay->candidates[address * 0x9e3779b97f4a7c15ull >> 52];
		for (candidate = *head; candidate && candidate->address != address;)
			candidate = candidate->next;
		if (!candidate) {
			candidate = heap_zalloc(sizeof(*candidate));
			if (!candidate)
				return -ENOMEM;
			candidate->address = address;
			candidate->next = *head;
			*head = candidate;
			if (candidate_add(candidate, crc) < 0)
				return -ENOMEM;
		}
		if (candidate_add(candidate, record->crc[slot]) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* One record, or all of a group: [first, end) of pending. */
static int settle_unit(struct replay *replay, size_t first, size_t end)
{
	bool group_bad = false;

	for (size_t i = first; i < end; i++) {
		struct pending *pending = &replay->pending[i];
		struct settled *settled = settled_of(replay, &pending->record);
		uint8_t type = pending->record.type;

		if (!settled)
			return -ENOMEM;
		if (type == RECORD_MAP || type == RECORD_MAP_RUN)
			pending->reverted = missing(replay, &pending->record, settled->mask);
		group_bad |= pending->reverted != 0;
	}
	for (size_t i = first; i < end; i++) {
		struct pending *pending = &replay->pending[i];
		struct settled *settled = settled_of(replay, &pending->record);
		uint8_t type = pending->record.type;
		int result;

		if (type == RECORD_HOT || type == RECORD_MIRROR || type == RECORD_DEVICE)
			continue;
		if (type == RECORD_OVERWRITE) {
			result = add_candidates(replay, &pending->record, settled->mask);
			if (result < 0)
				return result;
			continue;
		}
		if (group_bad && pending->atomic && ORDER(replay_reverts_whole_group) &&
		    (type == RECORD_MAP || type == RECORD_MAP_RUN))
			pending->reverted = pending->record.mask;
		settled->mask |= pending->record.mask & (uint16_t)~pending->reverted;
	}
	return 0;
}

static int settle(struct replay *replay)
{
	size_t end = replay->count;

	while (end) {
		size_t first = replay->pending[end - 1].unit;
		int result = settle_unit(replay, first, end);

		if (result < 0)
			return result;
		end = first;
	}
	return 0;
}

static int apply_pending(struct replay *replay)
{
	for (size_t i = 0; i < replay->count; i++) {
		struct pending *pending = &replay->pending[i];
		struct record part = pending->record;
		uint64_t address = part.where;
		int result = 0;

		part.mask &= (uint16_t)~pending->reverted;
		if (!pending->reverted || part.type != RECORD_MAP_RUN) {
			if (part.mask || part.type == RECORD_HOT || part.type == RECORD_MIRROR)
				result = apply(replay, &part, pending->lsn);
			if (result < 0)
				return result;
			continue;
		}
		for (unsigned slot = 0; slot < CHUNK_SLOTS && result == 0; slot++) {
			if (!(pending->record.mask & 1u << slot))
				continue;
			part.mask = (uint16_t)(1u << slot);
			part.where = address++;
			if (!(pending->reverted & part.mask))
				result = apply(replay, &part, pending->lsn);
		}
		if (result < 0)
			return result;
	}
	return 0;
}

/* ---- checksums ---- */
static int set_crc(struct replay *replay, uint64_t address, uint32_t crc)
{
	for (;;) {
		struct fiber_waiter wait;
		struct node *node;
		int result;

		fiber_waiter_init(&wait, replay->lane);
		native_lock(replay->native);
		result =
		    csum_find(replay->native, address / CHUNK_SLOTS, true, &wait.waiter, &node);
		if (result == 0)
			result = node_touch(node);
		if (result == 0)
			csum_at(node, address / CHUNK_SLOTS)[address % CHUNK_SLOTS] = crc;
		native_unlock(replay->lane);
		if (result != -EINPROGRESS)
			return result;
		result = fiber_waiter_wait(&wait);
		if (result < 0)
			return result;
	}
}

static bool is_candidate(const struct candidate *item, uint32_t crc)
{
	bool fits = false;

	for (unsigned i = 0; i < item->count; i++)
		fits |= item->crc[i] == crc;
	return fits;
}

/* Of two copies that count one can not be read. The other may be what a device that is good again
 * still had of old (away.c, skipped): it is not believed when it fits nothing. */
static bool one_unread(const struct copies *copies)
{
	return copies->usable == 3 && (!copies->crc[0] || !copies->crc[1]);
}

static int settle_candidate(struct replay *replay, const struct candidate *item)
{
	struct native *native = replay->native;
	struct copies copies = {.data = replay->slot};
	uint8_t hot = native->hot[item->address / CHUNK_SLOTS / CSUM_CHUNKS];
	unsigned good = 0;

	mirror_read(native, item->address, &copies);
	replay->away |= !copies.usable && away_any(native);
	while (good < copies.count && !(copies.crc[good] && is_candidate(item, copies.crc[good])))
		good++;
	if (good == copies.count) {
		good = copies.usable == 2;
		if (copies.crc[good] == 0 || one_unread(&copies) || (hot & HOT_STATE) == HOT_COLD)
			return 0;
		native->hot_resummed++;
	}
	mirror_level(native, &copies, good);
	return set_crc(replay, item->address, copies.crc[good]);
}

static int settle_candidates(struct replay *replay)
{
	int result = 0;

	for (unsigned i = 0; i < TABLE_BUCKETS; i++)
		for (struct candidate *item = replay->candidates[i]; item && result == 0;
		     item = item->next)
			result = settle_candidate(replay, item);
	return result;
}

/* A slot of a suspect region that is not what its checksum says. */
static int look_at_slot(struct replay *replay, uint64_t address, uint32_t expected, bool resum)
{
	struct native *native = replay->native;
	struct copies copies = {.data = replay->slot};
	unsigned good = 0;

	mirror_read(native, address, &copies);
	while (good < copies.count && copies.crc[good] != expected)
		good++;
	if (good < copies.count) {
		mirror_level(native, &copies, good);
		return 0;
	}
	good = copies.usable == 2;
	if (!resum || !copies.crc[good] || one_unread(&copies))
		return 0;
	mirror_level(native, &copies, good);
	native->hot_resummed++;
	return set_crc(replay, address, copies.crc[good]);
}

/* Overwrites whose record was lost: every slot with a checksum in @chunk. Of two copies one that
 * fits counts; !@resum: nothing else does. */
static int look_at_chunk(struct replay *replay, uint64_t chunk, bool resum)
{
	struct native *native = replay->native;
	struct node *space = native->space[chunk / SPACE_CHUNKS], *sums = NULL;
	uint16_t used = space ? space->body->space.used[chunk % SPACE_CHUNKS] : 0;
	uint32_t expected[CHUNK_SLOTS];
	bool mirror = mirror_of(native, chunk) != 0;
	uint64_t offset;
	struct pv *pv;

	if ((!resum && !mirror) || !used || !space_chunk_is_data(native, chunk) ||
	    (!mirror && !pv_locate(native, chunk * CHUNK_SLOTS, &pv, &offset)))
		return 0;
	for (;;) {
		struct fiber_waiter wait;
		int result;

		fiber_waiter_init(&wait, replay->lane);
		native_lock(native);
		result = csum_find(native, chunk, false, &wait.waiter, &sums);
		if (result == 0 && sums)
			memcpy(expected, csum_at(sums, chunk), sizeof(expected));
		native_unlock(replay->lane);
		if (result == -EINPROGRESS)
			result = fiber_waiter_wait(&wait);
		else if (result == 0)
			break;
		if (result < 0)
			return result;
	}
	if (!sums || (!mirror && pv_io(pv, DISK_READ, 0, offset, replay->run, CHUNK) < 0))
		return 0;
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		const uint8_t *data = replay->run + slot * VOLUME_SLOT;
		int result;

		if (!(used & 1u << slot) || !expected[slot] ||
		    (!mirror && csum_of(crc32c(0, data, VOLUME_SLOT)) == expected[slot]))
			continue;
		result = look_at_slot(replay, chunk * CHUNK_SLOTS + slot, expected[slot], resum);
		if (result < 0)
			return result;
	}
	return 0;
}
_Static_assert(RUN_BLOCKS *BLOCK >= CHUNK, "a chunk fits in the run buffer");

/* By physical place one can not tell whose slot it is, and a strict volume's is never summed again:
 * then suspect regions are left to reads, which know. */
static bool any_strict(const struct native *native)
{
	list_for_each (it, &native->volumes)
		if (list_entry(it, struct nvolume, link)->volume.checksum == VOLUME_CHECKSUM_STRICT)
			return true;
	return false;
}

static int look_at_hot(struct replay *replay, bool resum)
{
	struct native *native = replay->native;
	unsigned looks = HOT_LOOK_REGIONS;

	for (size_t i = 0; i < native->hot_count && looks; i++) {
		uint64_t region = native->hot_list[i];

		if (!(native->hot[region] & HOT_SUSPECT))
			continue;
		looks--;
		for (uint64_t chunk = region * CSUM_CHUNKS; chunk < (region + 1) * CSUM_CHUNKS;
		     chunk++) {
			int result =
			    chunk < native->chunks ? look_at_chunk(replay, chunk, resum) : 0;

			if (result < 0)
				return result;
		}
		if (resum)
			hot_look_done(native, region);
	}
	return 0;
}

/* As the chunk of its number: used, there, in a hot region, and without a second one. */
static bool is_plain_in_flight(const struct native *native, uint64_t chunk)
{
	return native->hot[chunk / CSUM_CHUNKS] & HOT_STATE && space_chunk_is_data(native, chunk) &&
	       away_has(native, chunk) && !mirror_of(native, chunk) &&
	       space_used_slots(native, chunk);
}

/* Without a device that went while the pool was down: what has one copy, there, in a hot region may
 * have been in flight, and would be taken for bad later, when nobody knows that any more. What is a
 * second copy, or was moved there, is looked at by the number it goes by. */
static bool plain_in_flight(const struct native *native)
{
	uint64_t plain = 0;

	for (size_t i = 0; i < native->hot_count; i++) {
		uint64_t first = native->hot_list[i] * CSUM_CHUNKS;

		for (uint64_t chunk = first; chunk < first + CSUM_CHUNKS && chunk < native->chunks;
		     chunk++)
			plain += is_plain_in_flight(native, chunk);
	}
	return plain > mirror_seconds(native, is_plain_in_flight) +
			   forward_targets(native, is_plain_in_flight);
}

static int check_away(struct replay *replay)
{
	struct native *native = replay->native;
	unsigned stale = 0;

	for (unsigned i = 0; i < native->pv_count; i++)
		stale += pv_is_device(&native->pv[i]) && pv_is_stale(&native->pv[i]);
	if (stale > 1)
		return err_set(replay->err, -EUCLEAN,
			       "pool %s can not be opened without the device that is missing: "
			       "another one is not whole",
			       native->sb.name);
	if (!replay->away &&
	    !(native->newly_missing && !native->sb.clean && plain_in_flight(native)))
		return 0;
	return err_set(
	    replay->err, -EUCLEAN,
	    "writes were under way on the device that is missing, to volumes that have one "
	    "copy, when pool %s went down: it can not be opened without that device",
	    native->sb.name);
}

/* ---- the whole ---- */
static int steps(struct replay *replay)
{
	struct native *native = replay->native;
	int result;

	result = walk(replay, NULL);
	if (result == 0)
		result = walk(replay, visit_block);
	if (result < 0)
		return result;
	result = settle(replay);
	if (result == 0)
		result = apply_pending(replay);
	if (result == 0)
		result = settle_candidates(replay);
	if (result == 0) {
		result = check_away(replay);
		if (result < 0)
			return result;
	}
	if (result == 0 && !native->sb.clean && (native->mirrors || !any_strict(native)))
		result = look_at_hot(replay, !any_strict(native));
	if (result < 0)
		return err_set(replay->err, result == -EIO ? -EUCLEAN : result,
			       "the journal can not be replayed: a structure it needs is lost");
	return 0;
}

static void replay_free(struct replay *replay)
{
	for (unsigned i = 0; i < TABLE_BUCKETS; i++) {
		while (replay->settled && replay->settled[i]) {
			struct settled *item = replay->settled[i];

			replay->settled[i] = item->next;
			heap_free(item);
		}
		while (replay->candidates && replay->candidates[i]) {
			struct candidate *item = replay->candidates[i];

			replay->candidates[i] = item->next;
			heap_free(item->crc);
			heap_free(item);
		}
	}
	heap_free(replay->settled);
	heap_free(replay->candidates);
	heap_free(replay->pending);
	heap_free(replay->copy[1].run);
	heap_free(replay->run);
	heap_free(replay->slot);
}

static int copies_setup(struct replay *replay)
{
	struct pv *pv[2];

	replay->copies = journal_copies(replay->native, pv);
	replay->copy[0] = (struct ring){.pv = pv[0], .run = replay->run, .run_at = SLOT_NONE};
	replay->copy[1] = (struct ring){.pv = pv[1], .run_at = SLOT_NONE};
	if (replay->copies > 1)
		replay->copy[1].run = heap_aligned(BLOCK, RUN_BLOCKS * BLOCK);
	return replay->run && (replay->copies == 1 || replay->copy[1].run) ? 0 : -ENOMEM;
}

int replay_run(struct native *native, struct lane *lane, struct err *err)
{
	struct replay replay = {.native = native,
				.lane = lane,
				.err = err,
				.run = heap_aligned(BLOCK, RUN_BLOCKS * BLOCK),
				.slot = heap_aligned(BLOCK, 2 * VOLUME_SLOT),
				.settled = heap_zalloc_array(TABLE_BUCKETS, sizeof(void *)),
				.candidates = heap_zalloc_array(TABLE_BUCKETS, sizeof(void *))};
	struct journal *journal = &native->journal;
	int result = copies_setup(&replay);

	if (result == 0 && replay.slot && replay.settled && replay.candidates)
		result = steps(&replay);
	else
		result = -ENOMEM;
	/* Blocks behind the end of the chain may be left over; the new epoch tells them from those
	 * to come (the hash of the block before would, too), and tells the root before this one
	 * that its journal has ended. */
	journal->epoch = native->sb.epoch + ORDER(replay_new_epoch);
	journal->tail_seq = native->sb.journal_tail;
	journal->next_seq = replay.end_seq;
	journal->next_lsn = replay.end_lsn;
	journal->written_lsn = replay.end_lsn - 1;
	replay_free(&replay);
	return result;
}
