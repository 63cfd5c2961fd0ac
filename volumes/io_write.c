/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/io.h"

#include <errno.h>
#include <string.h>

/* Writes, zeroed edges and unmaps.
 *
 * A batch is one piece, or all pieces of an atomic write. Its way:
 *
 *   1. registered in the in-flight table; waits for earlier overlapping changes
 *   2. slots covered only in part are read, verified and merged
 *   3. planned: which slots are written in place, which get new space; everything the change
 *      needs is loaded, reserved, confirmed (I2) and hot
 *   4. under one holding of the lock: journal records appended, map, space and checksums changed
 *   5. the data is written, in parallel with the journal (I1)
 *   6. the records' data is complete; waiters on the slots go on
 *   7. when all is done, and records that it would be lost without are written, it is answered
 *
 * Whoever has to wait before 4 starts again from 1. Nothing is changed before 4. */

static void write_resume(struct waiter *waiter);

/* ---- ends ---- */
static void unreserve(struct piece *piece)
{
	struct native *native = piece->io->volume->native;
	uint16_t mask = 0xffff;

	if (piece->reserved == SLOT_NONE)
		return;
	if (piece->reserved_slots)
		mask = (uint16_t)(((1u << piece->reserved_slots) - 1)
				  << piece->reserved % CHUNK_SLOTS);
	space_unhold(native, piece->reserved / CHUNK_SLOTS, mask);
	mirror_drop(native, piece->reserved / CHUNK_SLOTS);
	piece->reserved = SLOT_NONE;
}

/* A chunk is copied elsewhere when no write to it is in flight, and those that come wait. */
static void count_writes(struct piece *piece)
{
	struct native *native = piece->io->volume->native;
	uint16_t mask = piece->in_place | piece->fresh;
	uint64_t last = CHUNK_NONE;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		unsigned bucket;

		if (!(mask & 1u << slot) || piece->address[slot] / CHUNK_SLOTS == last)
			continue;
		last = piece->address[slot] / CHUNK_SLOTS;
		bucket = native_bucket(pv_resolve(native, last));
		native->writes[bucket]++;
		piece->writing[slot] = (uint16_t)(bucket + 1);
	}
}

static void uncount_writes(struct piece *piece)
{
	struct native *native = piece->io->volume->native;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		if (!piece->writing[slot])
			continue;
		native->writes[piece->writing[slot] - 1]--;
		piece->writing[slot] = 0;
	}
}

static bool is_busy(const struct native *native, uint64_t chunk)
{
	return native_bucket(pv_resolve(native, chunk)) == native->busy_bucket;
}

/* Give everything back and end the batch; without the lock. */
static void batch_end(struct piece *leader, int result, unsigned slot)
{
	struct native *native = leader->io->volume->native;
	struct lane *lane = leader->io->lane;
	struct piece *next;

	native_lock(native);
	for (struct piece *piece = leader; piece; piece = piece->sibling) {
		unreserve(piece);
		if (piece->unsummed)
			native->unsummed[piece->generation & 1]--;
		piece->unsummed = false;
		uncount_writes(piece);
		if (!list_empty(&piece->data.link)) {
			journal_data_done(native, &piece->data);
			flush_kick(native);
		}
		piece_unregister(piece);
	}
	native_unlock(lane);
	for (struct piece *piece = leader; piece; piece = next) {
		next = piece->sibling;
		piece_done(piece, result, slot);
		slot = piece_first(next ? next : piece);
	}
}

static void write_resume(struct waiter *waiter)
{
	struct piece *piece = container_of(waiter, struct piece, waiter);

	if (waiter->result < 0)
		batch_end(piece->leader, waiter->result, piece_first(piece->leader));
	else
		write_start(piece->leader);
}

static void write_buffer_ready(struct buf_waiter *waiter, struct buf *buf)
{
	struct piece *piece = container_of(waiter, struct piece, buf_waiter);

	piece_set_bounce(piece, buf, buf->data);
	write_start(piece->leader);
}

/* ---- merging partial slots ---- */
static void merged(struct piece *piece)
{
	piece_copy(piece, false);
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (piece->mask & 1u << slot)
			piece->crc[slot] = piece_crc(piece, slot);
	piece->merged = piece->summed = true;
}

static void merge_read(struct piece *piece);

/* After a crash what is there of a slot in a suspect region counts. */
static bool merge_accepts(const struct piece *piece, unsigned slot)
{
	return piece_checksum(piece) != VOLUME_CHECKSUM_STRICT &&
	       hot_suspect(piece->io->volume->native, piece->address[slot] / CHUNK_SLOTS);
}

static void merge_mended(struct piece *piece, int result, unsigned slot)
{
	if (result == -EILSEQ && merge_accepts(piece, slot)) {
		mend_accept(piece);
		return;
	}
	if (result == -EILSEQ || result == -EIO)
		piece_finding(piece, result == -EIO ? FINDING_MEDIUM : FINDING_DATA, slot, 1);
	if (result < 0) {
		batch_end(piece->leader, result, slot);
		return;
	}
	merged(piece);
	write_start(piece->leader);
}

static void merge_done(struct disk_request *request, int result)
{
	struct piece *piece;
	unsigned bad = CHUNK_SLOTS;

	if (!transfer_end(request, result, &piece))
		return;
	for (unsigned slot = 0; slot < CHUNK_SLOTS && piece->result == 0 &&
				piece_checksum(piece) != VOLUME_CHECKSUM_OFF;
	     slot++)
		if (piece->valid & 1u << slot && piece_crc(piece, slot) != piece->old_crc[slot])
			bad = slot;
	if (bad < CHUNK_SLOTS && piece->attempts++ == 0) {
		merge_read(piece); /* once more: a transfer can go wrong without the medium */
		return;
	}
	if ((bad < CHUNK_SLOTS || piece->result == -EIO) && piece_mirrored(piece)) {
		mend_start(piece, piece->old_crc, merge_mended);
		return;
	}
	if (bad < CHUNK_SLOTS && !merge_accepts(piece, bad)) {
		piece_finding(piece, FINDING_DATA, bad, 1);
		piece->result = -EILSEQ;
	}
	if (piece->result < 0) {
		batch_end(piece->leader, piece->result, bad % CHUNK_SLOTS);
		return;
	}
	merged(piece);
	write_start(piece->leader);
}

static void merge_read(struct piece *piece)
{
	piece->result = 0;
	piece->transfers = 1;
	piece_transfer(piece, DISK_READ, piece->valid, merge_done);
	if (--piece->transfers == 0)
		batch_end(piece->leader, piece->result ? piece->result : -EIO, piece_first(piece));
}

/* Under the lock: where the old contents of the partial slots are. */
static int merge_plan(struct piece *piece)
{
	struct nvolume *volume = piece->io->volume;
	struct node *leaf, *sums;
	const struct map_entry *entry;
	int result = tree_find(&volume->map, piece->chunk / MAP_CHUNKS, false,
			       &piece->leader->waiter, &leaf);

	piece->valid = 0;
	if (result < 0 || !leaf)
		return result;
	entry = &leaf->body->map.entry[piece->chunk % MAP_CHUNKS];
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint64_t chunk, lsn;

		if (!(piece->partial & 1u << slot) || !map_slot(entry, slot, &piece->address[slot]))
			continue;
		chunk = piece->address[slot] / CHUNK_SLOTS;
		lsn = unconfirmed_lsn(volume->native, chunk,
				      (uint16_t)(1u << piece->address[slot] % CHUNK_SLOTS));
		if (lsn) {
			/* the copy would outlive a write that replay undoes */
			flush_confirm(volume->native, lsn, &piece->leader->waiter);
			return -EINPROGRESS;
		}
		sums = NULL;
		if (piece_checksum(piece) != VOLUME_CHECKSUM_OFF)
			result =
			    csum_find(volume->native, chunk, false, &piece->leader->waiter, &sums);
		if (result < 0)
			return result;
		piece->old_crc[slot] =
		    sums ? csum_at(sums, chunk)[piece->address[slot] % CHUNK_SLOTS] : 0;
		piece->valid |= (uint16_t)(1u << slot);
	}
	return 0;
}

/* ---- planning ---- */
static bool is_atomic(const struct piece *piece)
{
	return piece->kind == PIECE_WRITE && piece->io->request->flags & VOLUME_ATOMIC;
}

/* Is what is mapped written elsewhere, and the map changed? */
static bool redirects(const struct piece *piece)
{
	return is_atomic(piece) ||
	       (piece_checksum(piece) == VOLUME_CHECKSUM_STRICT && ORDER(strict_never_in_place));
}

static bool stays(const struct piece *piece)
{
	return piece->kind == PIECE_WRITE && piece->io->request->flags & VOLUME_IN_PLACE;
}

/* In-place slots: mapping confirmed (I2), region hot. */
static int plan_in_place(struct piece *piece, const struct map_entry *entry)
{
	struct native *native = piece->io->volume->native;
	struct waiter *waiter = &piece->leader->waiter;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint64_t address, lsn;
		int result;

		if (!(piece->in_place & 1u << slot) || !map_slot(entry, slot, &address))
			continue;
		lsn = unconfirmed_lsn(native, address / CHUNK_SLOTS,
				      (uint16_t)(1u << address % CHUNK_SLOTS));
		if (lsn && ORDER(overwrite_waits_for_confirm)) {
			flush_confirm(native, lsn, waiter);
			return -EINPROGRESS;
		}
		if (piece_checksum(piece) == VOLUME_CHECKSUM_OFF)
			continue;
		result = hot_check(native, address / CHUNK_SLOTS, waiter);
		if (result < 0)
			return result;
	}
	return 0;
}

#define SPACE_WAITS_MAX 8 /* two bring what is given up now; others may be faster */

/* There is none, but there will be: what was given up is free when it is confirmed, or when no root
 * has it any more. */
static int wait_for_space(struct piece *piece, enum room room)
{
	struct native *native = piece->io->volume->native;

	if ((list_empty(&native->quarantine) && list_empty(&native->retired)) ||
	    !reserve_room(native, piece->io->volume, room) ||
	    piece->leader->space_waits >= SPACE_WAITS_MAX)
		return -ENOSPC;
	piece->leader->space_waits++;
	list_push_back(&native->space_waiters, &piece->leader->waiter.link);
	checkpoint_want(native);
	return -EINPROGRESS;
}

/* Space for the fresh slots: their own chunk, the chunk the entry has, or a run of slots. */
static int plan_fresh(struct piece *piece, const struct map_entry *entry, struct record *record)
{
	struct nvolume *volume = piece->io->volume;
	struct native *native = volume->native;
	struct waiter *waiter = &piece->leader->waiter;
	bool whole = !entry || !entry->mask || (piece->replaced && piece->fresh == 0xffff);
	unsigned count = (unsigned)__builtin_popcount(piece->fresh);
	bool own = entry && !map_shared(volume, piece->chunk, entry);
	enum room room = piece->fresh == piece->replaced && !piece->shared ? ROOM_EXCHANGE
			 : piece->io->request->flags & VOLUME_VITAL        ? ROOM_VITAL
									   : ROOM_PLAIN;
	int result = 0;

	record->type = RECORD_MAP;
	record->mask = piece->fresh;
	if (room == ROOM_PLAIN && !quota_allows(volume, count)) {
		unreserve(piece);
		return -ENOSPC;
	}
	if (!whole && !entry->slots && !piece->replaced && own) {
		uint64_t lsn = unconfirmed_lsn(native, entry->chunk, piece->fresh);

		unreserve(piece);
		record->where = entry->chunk;
		if (!lsn || !ORDER(remap_waits_for_confirm))
			return 0;
		flush_confirm(native, lsn, waiter); /* of its unmapping */
		return -EINPROGRESS;
	}
	if (piece->reserved != SLOT_NONE && piece->reserved_slots != (whole ? 0 : count))
		unreserve(piece);
	if (piece->reserved == SLOT_NONE) {
		piece->reserved_slots = whole ? 0 : count;
		if (!meta_room(native, piece->replaced && !piece->shared ? 4 : 16))
			return -ENOSPC;
		if (whole)
			result = space_take_chunk(native, volume, room, waiter, &piece->reserved);
		else
			result =
			    space_take_slots(native, volume, count, room, waiter, &piece->reserved);
		if (result < 0) {
			piece->reserved = SLOT_NONE;
			return result == -ENOSPC ? wait_for_space(piece, room) : result;
		}
		if (whole)
			piece->reserved *= CHUNK_SLOTS;
	}
	if (!whole)
		record->type = RECORD_MAP_RUN;
	record->where = whole ? piece->reserved / CHUNK_SLOTS : piece->reserved;
	return 0;
}

static int plan_write(struct piece *piece, const struct map_entry *entry)
{
	uint16_t mapped = entry ? (uint16_t)entry->mask & piece->mask : 0;
	struct record *record = piece->record;
	int result = 0;

	piece->shared = entry ? map_shared(piece->io->volume, piece->chunk, entry) & mapped : 0;
	piece->replaced = redirects(piece) ? mapped : piece->shared;
	if (stays(piece) && piece->replaced)
		return -EBUSY;
	piece->in_place = mapped & (uint16_t)~piece->replaced;
	piece->fresh = piece->mask & (uint16_t)~piece->in_place;
	if (piece->kind == PIECE_ZERO || stays(piece))
		piece->fresh = piece->replaced; /* what is not mapped reads as zeros already */
	if (piece->in_place && piece_checksum(piece) != VOLUME_CHECKSUM_OFF) {
		record->type = RECORD_OVERWRITE;
		record->mask = piece->in_place;
		record++;
	}
	if (piece->fresh) {
		result = plan_fresh(piece, entry, record++);
		if (result < 0)
			return result;
	}
	piece->records = (unsigned)(record - piece->record);
	return 0;
}

static void plan_unmap(struct piece *piece, const struct map_entry *entry)
{
	uint16_t mapped = entry ? (uint16_t)entry->mask & piece->mask : 0;

	piece->in_place = piece->fresh = piece->replaced = 0;
	piece->records = mapped ? 1 : 0;
	piece->record[0].type = RECORD_UNMAP;
	piece->record[0].mask = mapped;
}

static int plan(struct piece *piece)
{
	struct nvolume *volume = piece->io->volume;
	struct waiter *waiter = &piece->leader->waiter;
	const struct map_entry *entry = NULL;
	struct node *leaf;
	int result = tree_find(&volume->map, piece->chunk / MAP_CHUNKS, false, waiter, &leaf);

	if (result < 0)
		return result;
	if (leaf)
		entry = &leaf->body->map.entry[piece->chunk % MAP_CHUNKS];
	memset(piece->record, 0, sizeof(piece->record));
	if (piece->kind == PIECE_UNMAP) {
		plan_unmap(piece, entry);
		/* a snapshot's node stays beside the new one */
		if (piece->records && map_shared(volume, piece->chunk, entry) &&
		    !meta_room(volume->native, 16))
			result = -ENOSPC;
	} else {
		result = plan_write(piece, entry);
	}
	for (unsigned i = 0; i < piece->records && result == 0; i++) {
		struct record *record = &piece->record[i];

		record->volume = volume->id;
		record->chunk = piece->chunk;
		memcpy(record->crc, piece->crc, sizeof(record->crc));
		result = map_prepare(volume, record, waiter);
	}
	if (result == 0 && piece->in_place)
		result = plan_in_place(piece, entry);
	return result;
}

/* ---- applying ---- */
static const struct map_entry *entry_now(struct piece *piece)
{
	struct node *leaf;

	if (tree_find(&piece->io->volume->map, piece->chunk / MAP_CHUNKS, false, NULL, &leaf) < 0 ||
	    !leaf)
		return NULL;
	return &leaf->body->map.entry[piece->chunk % MAP_CHUNKS];
}

/* What an undo would need. */
static void remember(struct piece *piece)
{
	const struct map_entry *entry = entry_now(piece);
	struct native *native = piece->io->volume->native;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		struct node *sums;

		piece->old[slot] = SLOT_NONE;
		if (entry && entry->mask & 1u << slot)
			piece->old_birth[slot] = (uint32_t)map_birth(entry, slot);
		if (!entry || !(piece->mask & 1u << slot) ||
		    !map_slot(entry, slot, &piece->old[slot]) || !(piece->in_place & 1u << slot) ||
		    piece_checksum(piece) == VOLUME_CHECKSUM_OFF)
			continue;
		if (csum_find(native, piece->old[slot] / CHUNK_SLOTS, false, NULL, &sums) == 0 &&
		    sums)
			piece->old_crc[slot] = csum_at(
			    sums, piece->old[slot] / CHUNK_SLOTS)[piece->old[slot] % CHUNK_SLOTS];
	}
}

/* Would a planned piece write to the chunk that is just being copied? */
static bool meets_copy(struct piece *piece)
{
	const struct native *native = piece->io->volume->native;
	const struct map_entry *entry = entry_now(piece);
	uint64_t address;

	for (unsigned i = 0; i < piece->records; i++) {
		const struct record *record = &piece->record[i];

		if ((record->type == RECORD_MAP && is_busy(native, record->where)) ||
		    (record->type == RECORD_MAP_RUN &&
		     is_busy(native, record->where / CHUNK_SLOTS)))
			return true;
	}
	for (unsigned slot = 0; slot < CHUNK_SLOTS && entry; slot++)
		if (piece->in_place & 1u << slot && map_slot(entry, slot, &address) &&
		    is_busy(native, address / CHUNK_SLOTS))
			return true;
	return false;
}

/* Would a planned piece write to what has one copy, on a device that is away? */
static bool meets_away(struct piece *piece)
{
	const struct native *native = piece->io->volume->native;
	const struct map_entry *entry = entry_now(piece);
	uint64_t address;

	for (unsigned i = 0; i < piece->records; i++) {
		const struct record *record = &piece->record[i];

		if ((record->type == RECORD_MAP && away_from(native, record->where)) ||
		    (record->type == RECORD_MAP_RUN &&
		     away_from(native, record->where / CHUNK_SLOTS)))
			return true;
	}
	for (unsigned slot = 0; slot < CHUNK_SLOTS && entry; slot++)
		if (piece->in_place & 1u << slot && map_slot(entry, slot, &address) &&
		    away_from(native, address / CHUNK_SLOTS))
			return true;
	return false;
}

static void find_addresses(struct piece *piece)
{
	const struct map_entry *entry = entry_now(piece);

	for (unsigned slot = 0; slot < CHUNK_SLOTS && entry; slot++)
		map_slot(entry, slot, &piece->address[slot]);
}

static void apply_piece(struct piece *piece, uint64_t lsn)
{
	remember(piece);
	for (unsigned i = 0; i < piece->records; i++)
		map_apply(piece->io->volume, &piece->record[i], lsn + i);
	piece->reserved = SLOT_NONE; /* used now */
	find_addresses(piece);
	if (piece->in_place | piece->fresh)
		journal_outstanding(piece->io->volume->native, &piece->data, lsn);
}

static void apply_all(struct piece *leader)
{
	struct native *native = leader->io->volume->native;
	struct record group[RECORD_GROUP_MAX];
	unsigned count = 0;
	uint64_t lsn;

	if (leader->io->request->flags & VOLUME_FUA)
		native->journal.commit_due = true; /* beside the data */
	if (!is_atomic(leader)) {
		if (leader->records) {
			lsn = journal_append(native, leader->record, leader->records);
			apply_piece(leader, lsn);
		} else if (leader->in_place) { /* without a checksum there is nothing to say */
			remember(leader);
			find_addresses(leader);
			leader->unsummed = true; /* a snapshot has to wait for it */
			leader->generation = native->generation;
			native->unsummed[native->generation & 1]++;
		}
		return;
	}
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		group[count++] = piece->record[0]; /* an atomic piece has exactly one */
	group[0].group = (uint8_t)count;
	lsn = journal_append(native, group, count);
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		apply_piece(piece, lsn++);
}

/* What is overwritten in place is there without its record (replay.c, hot regions); what is not is
 * answered when that is written (io.c), which is begun beside the data. */
static void apply(struct piece *leader)
{
	struct lane *lane = leader->io->lane;
	bool fresh = false;

	apply_all(leader);
	for (struct piece *piece = leader; piece; piece = piece->sibling) {
		count_writes(piece);
		fresh |= piece->fresh != 0;
	}
	if (!fresh)
		return;
	leader->io->needed_lsn = lane->native->journal.next_lsn - 1;
	lane->commit = true;
	loop_defer(lane->loop, &lane->finish);
}

/* ---- undo after a failed data write ---- */
static unsigned undo_records(struct piece *piece, struct record *records)
{
	struct record base = {.volume = piece->io->volume->id, .chunk = piece->chunk};
	unsigned count = 0;

	if (piece->in_place && piece_checksum(piece) != VOLUME_CHECKSUM_OFF) {
		records[count] = base;
		records[count].type = RECORD_OVERWRITE;
		records[count].mask = piece->in_place;
		memcpy(records[count++].crc, piece->old_crc, sizeof(base.crc));
	}
	if (piece->fresh & ~piece->replaced) {
		records[count] = base;
		records[count].type = RECORD_UNMAP;
		records[count++].mask = piece->fresh & (uint16_t)~piece->replaced;
	}
	if (piece->replaced) {
		records[count] = base;
		records[count].type = piece->io->volume->parent ? RECORD_RESTORE : RECORD_REMAP;
		records[count].mask = piece->replaced;
		memcpy(records[count].birth, piece->old_birth, sizeof(base.birth));
		memcpy(records[count++].slot, piece->old, sizeof(base.slot));
	}
	return count;
}

static void undo_resume(struct waiter *waiter);

/* The write has failed; what the disk holds is unknown. Map and checksums go back to what they
 * were, by records of their own. Under the lock. */
static int undo(struct piece *leader)
{
	struct native *native = leader->io->volume->native;
	struct nvolume *volume = leader->io->volume;
	struct record records[2 * RECORD_GROUP_MAX];
	unsigned count = 0;
	uint64_t lsn;
	int result = 0;

	waiter_init(&leader->waiter, leader->io->lane, undo_resume);
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		count += undo_records(piece, records + count);
	volume->undone = true;
	if (!count)
		return 0;
	for (unsigned i = 0; i < count && result == 0; i++)
		result = map_prepare(volume, &records[i], &leader->waiter);
	if (result == 0)
		result = journal_reserve(native, &leader->waiter);
	if (result < 0)
		return result;
	if (is_atomic(leader) && count <= RECORD_GROUP_MAX)
		records[0].group = (uint8_t)count;
	lsn = journal_append(native, records, count);
	for (unsigned i = 0; i < count; i++)
		map_apply(volume, &records[i], lsn + i);
	return 0;
}

static void undo_start(struct piece *leader)
{
	struct native *native = leader->io->volume->native;
	int result;

	native_lock(native);
	result = native->read_only ? -EROFS : undo(leader);
	if (result < 0 && result != -EINPROGRESS && result != -EROFS)
		native_fail(native, "a failed write could not be undone (error %d)", -result);
	native_unlock(leader->io->lane);
	if (result != -EINPROGRESS)
		batch_end(leader, leader->result, piece_first(leader));
}

static void undo_resume(struct waiter *waiter)
{
	undo_start(container_of(waiter, struct piece, waiter));
}

/* ---- data ---- */
static void away_durable(struct waiter *waiter)
{
	struct piece *leader = container_of(waiter, struct piece, waiter)->leader;

	batch_end(leader, waiter->result < 0 || stays(leader) ? -EIO : 0, piece_first(leader));
}

/* What is in one of two copies is not answered before the disk knows that the other's device is
 * away. What was to leave nothing of the data before it has failed (erase.c). */
static void end_degraded(struct piece *leader)
{
	struct native *native = leader->io->volume->native;
	bool pending;

	native_lock(native);
	pending = native->away_pending;
	if (pending) {
		waiter_init(&leader->waiter, leader->io->lane, away_durable);
		flush_join(native, &leader->waiter);
	}
	native_unlock(leader->io->lane);
	if (!pending)
		batch_end(leader, stays(leader) ? -EIO : 0, piece_first(leader));
}

static void data_drop(struct piece *leader)
{
	bool degraded = false;

	if (--leader->batch)
		return;
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		degraded |= piece->degraded;
	if (leader->result < 0)
		undo_start(leader);
	else if (degraded)
		end_degraded(leader);
	else
		batch_end(leader, 0, 0);
}

static void write_transfer_done(struct disk_request *request, int result)
{
	struct piece *piece;

	if (!transfer_end(request, result, &piece))
		return;
	if (piece->result < 0 && piece->leader->result == 0)
		piece->leader->result = piece->result;
	data_drop(piece->leader);
}

static void write_data(struct piece *leader)
{
	leader->batch = 1;
	for (struct piece *piece = leader; piece; piece = piece->sibling) {
		uint16_t mask = piece->in_place | piece->fresh;

		piece->result = 0;
		piece->transfers = 1;
		leader->batch++;
		if (mask)
			piece_transfer(piece, DISK_WRITE, mask, write_transfer_done);
		if (--piece->transfers == 0) {
			if (piece->result < 0 && leader->result == 0)
				leader->result = piece->result;
			leader->batch--;
		}
	}
	data_drop(leader);
}

/* ---- buffers */
static bool lacks_bounce(const struct piece *piece)
{
	return !piece->summed && !piece->bounce && piece_needs_bounce(piece);
}

/* One behind the other, for those it has room for. */
static void batch_share(struct piece *leader, struct buf *buf)
{
	size_t at = 0;

	for (struct piece *piece = leader; piece; piece = piece->sibling) {
		size_t bytes = (size_t)__builtin_popcount(piece->mask) * VOLUME_SLOT;

		if (!lacks_bounce(piece) || at + bytes > buf->size)
			continue;
		piece_set_bounce(piece, buf_ref(buf), (char *)buf->data + at);
		at += bytes;
	}
	buf_unref(buf);
}

static void batch_buffer_ready(struct buf_waiter *waiter, struct buf *buf)
{
	struct piece *leader = container_of(waiter, struct piece, buf_waiter);

	batch_share(leader, buf);
	write_start(leader);
}

/* The pieces of a batch begin together, so one of them must not wait for a buffer of its kind
 * while others hold such: they share one. What a batch of VOLUME_TRANSFER_MAX has beyond it, for
 * it begins within a slot, is in its last piece, which gets its own as any piece does. */
static int batch_bounce(struct piece *leader)
{
	struct buf_pool *pool = loop_buffers(leader->io->lane->loop);
	size_t size = 0;
	struct buf *buf;

	for (struct piece *piece = leader; piece; piece = piece->sibling) {
		if (piece->bounce)
			return 0; /* has been here */
		if (lacks_bounce(piece))
			size += (size_t)__builtin_popcount(piece->mask) * VOLUME_SLOT;
	}
	if (!size)
		return 0;
	size = size < BUF_MAX ? size : BUF_MAX;
	buf = buf_get(pool, size);
	if (buf) {
		batch_share(leader, buf);
		return 0;
	}
	leader->buf_waiter =
	    (struct buf_waiter){.size = size, .stage = BUF_FOR_BATCH, .ready = batch_buffer_ready};
	buf_wait(pool, &leader->buf_waiter);
	return -EINPROGRESS;
}

/* Buffers and checksums, outside the lock. */
static int make_ready(struct piece *piece)
{
	if (piece->kind == PIECE_UNMAP || piece->summed)
		return 0;
	if (!piece->bounce && piece_needs_bounce(piece) &&
	    piece_bounce(piece, write_buffer_ready) < 0)
		return -EINPROGRESS;
	if (piece->partial)
		return 0;
	if (piece->bounce)
		piece_copy(piece, false);
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
		if (piece->mask & 1u << slot)
			piece->crc[slot] = piece_crc(piece, slot);
	piece->summed = true;
	return 0;
}

/* Under the lock. 0: applied. -EINPROGRESS: parked. 1: *ret_merge is to be read first. */
static int attempt(struct piece *leader, struct piece **ret_merge)
{
	struct native *native = leader->io->volume->native;
	int result;

	if (native->read_only)
		return -EROFS;
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		piece_register(piece);
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		if (piece_blocked(piece)) {
			if (piece != leader)
				waiter_init(&piece->waiter, piece->io->lane, write_resume);
			piece->waiting = true;
			return -EINPROGRESS;
		}
	for (struct piece *piece = leader; piece; piece = piece->sibling) {
		if (piece->kind == PIECE_UNMAP || !piece->partial || piece->merged)
			continue;
		result = merge_plan(piece);
		*ret_merge = piece;
		return result < 0 ? result : 1;
	}
	for (struct piece *piece = leader; piece; piece = piece->sibling) {
		result = plan(piece);
		if (result < 0)
			return result;
	}
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		if (native->busy && ORDER(writes_wait_for_copy) && meets_copy(piece)) {
			list_push_back(&native->busy_waiters, &leader->waiter.link);
			return -EINPROGRESS;
		}
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		if (native->mirrored && away_any(native) && meets_away(piece))
			return -EIO;
	result = journal_reserve(native, &leader->waiter);
	if (result == 0)
		apply(leader);
	return result;
}

void write_start(struct piece *leader)
{
	struct native *native = leader->io->volume->native;
	struct piece *merge = NULL;
	int result;

	if (leader->sibling && batch_bounce(leader) < 0)
		return;
	for (struct piece *piece = leader; piece; piece = piece->sibling)
		if (make_ready(piece) < 0)
			return;
	do {
		waiter_init(&leader->waiter, leader->io->lane, write_resume);
		native_lock(native);
		nodes_evict(native);
		result = attempt(leader, &merge);
		native_unlock(leader->io->lane);
		if (result == 1 && merge->valid != merge->partial)
			for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++)
				if (merge->partial & ~merge->valid & 1u << slot)
					memset(merge->memory +
						   (slot - piece_first(merge)) * VOLUME_SLOT,
					       0, VOLUME_SLOT);
		if (result == 1 && !merge->valid)
			merged(merge);
	} while (result == 1 && merge->merged);
	if (result == 1)
		merge_read(merge);
	else if (result == 0)
		write_data(leader);
	else if (result != -EINPROGRESS)
		batch_end(leader, result, piece_first(leader));
}
