/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/guard.h"
#include "volumes/spread.h"

/* The journal: one stream, a ring of 4 KiB blocks on PV 0; the block with sequence number s is
 * at s modulo the ring's size. Records get consecutive LSNs under the lock, in the order in
 * which map, space and checksums change.
 *
 * A pool with mirrored volumes has the ring once more, on another device, at the same place: what
 * is written is written to both, at the same time, so that the pool goes on without either
 * (away.c).
 *   J1 A root that names the row of the second copy has a tail from which on all blocks are in
 *      both. So writing to both begins before the freeze of the first such root, and ends when no
 *      root that could be opened names it any more.
 *   J2 The first device may go once both roots name the row: with the older one, which does not,
 *      the records since would be on the other device and nobody would look there.
 *   J3 What is not in a copy is known by itself: a block continues the chain or does not. So replay
 *      takes a block from whichever copy has it; of a device that was away, too, but for one that
 *      the root it begins with calls away (replay.c).
 *
 *   append -> open block -> sealed -> (commit: one run of blocks at a time) written -> flushed
 *
 * written_lsn        <= the record is on its way through the device's cache
 * confirmed          <= record and its data are durable (I4)
 * confirmed_durable  <= and replay will know that, from a block header on disk (I2)
 *
 * A commit starts when somebody waits for it, or when a fair amount has gathered; a commit that
 * ends with more waiting starts the next. Nobody's request waits for a timer. */

#define COMMIT_BLOCKS   256u
#define COMMIT_GATHER   16u /* sealed blocks that start a commit nobody waits for */
#define REQUEST_BLOCKS  64u
#define REQUESTS        (COMMIT_BLOCKS / REQUEST_BLOCKS + 2)
#define COPIES          2u
#define RING_RESERVE    32u
#define SEALED_MAX      2048u
#define SPARE_KEPT      64u
#define DIRTY_NODES_MAX 16384u /* in memory, before a checkpoint is wanted */

struct journal_part {
	struct disk_request request;
	struct iovec iov[REQUEST_BLOCKS];
	struct native *native;
	struct pv *pv;
};

struct journal_write {
	struct journal_part part[COPIES][REQUESTS];
};

int journal_setup(struct native *native)
{
	struct journal *journal = &native->journal;

	journal->offset = native->sb.journal_offset;
	journal->blocks = native->sb.journal_blocks;
	journal->twin = native->sb.journal_row;
	journal->twin_since = native->sb.generation; /* the older root is not asked: one more */
	list_init(&journal->sealed);
	list_init(&journal->writing);
	list_init(&journal->spare);
	list_init(&journal->outstanding);
	list_init(&journal->waiters);
	list_init(&journal->unwritten);
	journal->write = heap_zalloc(sizeof(*journal->write));
	return journal->write ? 0 : -ENOMEM;
}

static void block_free(struct journal_block *block)
{
	heap_free(block->data);
	heap_free(block);
}

static void blocks_free(struct list *list)
{
	if (!list->next)
		return;
	while (!list_empty(list))
		block_free(list_entry(list_pop_front(list), struct journal_block, link));
}

void journal_finish(struct native *native)
{
	struct journal *journal = &native->journal;

	if (journal->open)
		block_free(journal->open);
	blocks_free(&journal->sealed);
	blocks_free(&journal->writing);
	blocks_free(&journal->spare);
	heap_free(journal->write);
}

static int add_spares(struct journal *journal, unsigned count)
{
	for (; journal->spare_count < count; journal->spare_count++) {
		struct journal_block *block = heap_zalloc(sizeof(*block));

		if (block)
			block->data = heap_aligned(BLOCK, BLOCK);
		if (!block || !block->data) {
			heap_free(block);
			return -ENOMEM;
		}
		list_push_back(&journal->spare, &block->link);
	}
	return 0;
}

int journal_reserve(struct native *native, struct waiter *waiter)
{
	struct journal *journal = &native->journal;
	uint64_t used = journal->next_seq - journal->tail_seq;

	if (native->read_only)
		return -EROFS;
	if (used * 2 >= journal->blocks || native->dirty->count > DIRTY_NODES_MAX)
		checkpoint_want(native);
	if (used + RING_RESERVE >= journal->blocks || journal->sealed_count >= SEALED_MAX) {
		if (journal->sealed_count)
			journal->commit_due = true;
		list_push_back(&journal->waiters, &waiter->link);
		return -EINPROGRESS;
	}
	return add_spares(journal, 4);
}

int journal_reserve_now(struct native *native)
{
	struct journal *journal = &native->journal;

	if (journal->next_seq - journal->tail_seq + 4 >= journal->blocks)
		return -ENOSPC;
	return add_spares(journal, 2);
}

static void seal(struct journal *journal)
{
	list_push_back(&journal->sealed, &journal->open->link);
	journal->open = NULL;
	if (++journal->sealed_count >= COMMIT_GATHER)
		journal->commit_due = true;
}

static void open_block(struct journal *journal)
{
	struct journal_block *block =
	    list_entry(list_pop_front(&journal->spare), struct journal_block, link);

	journal->spare_count--;
	block->seq = journal->next_seq++;
	block->first_lsn = journal->next_lsn;
	block->count = block->used = 0;
	journal->open = block;
}

uint64_t journal_append(struct native *native, struct record *records, unsigned count)
{
	struct journal *journal = &native->journal;
	uint64_t first = journal->next_lsn;
	size_t total = 0;

	for (unsigned i = 0; i < count; i++)
		total += record_length(&records[i]);
	assert(total <= JOURNAL_BODY);
	if (journal->open && journal->open->used + total > JOURNAL_BODY)
		seal(journal);
	if (!journal->open)
		open_block(journal);
	for (unsigned i = 0; i < count; i++) {
		struct journal_block *block = journal->open;

		record_encode(&records[i], block->data + JOURNAL_HEADER + block->used);
		block->used += (uint16_t)record_length(&records[i]);
		block->count++;
		journal->next_lsn++;
	}
	return first;
}

uint64_t journal_freeze(struct native *native, uint64_t *ret_tail)
{
	struct journal *journal = &native->journal;

	if (journal->open)
		seal(journal);
	*ret_tail = journal->next_seq;
	return journal->next_lsn - 1;
}

void journal_tail_moved(struct native *native, uint64_t tail, uint64_t lsn)
{
	struct journal *journal = &native->journal;

	journal->tail_seq = tail;
	if (journal->confirmed < lsn)
		journal->confirmed = lsn;
	/* This root knows; the one before only reads the journal, and is to lose nothing either
	 * should this one be lost. So a block of the journal has to say it before slots are
	 * overwritten in place (I2). */
	if (!ORDER(checkpoint_confirms_by_journal) && journal->confirmed_durable < lsn)
		journal->confirmed_durable = lsn;
	confirmed_advance(native);
	waiters_wake(&journal->waiters, 0);
	flush_kick(native);
}

bool journal_pending(const struct native *native)
{
	const struct journal *journal = &native->journal;

	return journal->open || journal->committing || !list_empty(&journal->sealed);
}

/* ---- data in flight ---- */
void journal_outstanding(struct native *native, struct outstanding *data, uint64_t lsn)
{
	data->lsn = lsn;
	list_push_back(&native->journal.outstanding, &data->link);
}

void journal_data_done(struct native *native, struct outstanding *data)
{
	uint64_t complete;

	list_remove(&data->link);
	if (list_empty(&native->checkpoint_waiters))
		return;
	complete = journal_complete_lsn(native);
	list_for_each_safe (it, &native->checkpoint_waiters) {
		struct waiter *waiter = list_entry(it, struct waiter, link);

		if (waiter->lsn <= complete)
			waiter_wake(waiter, 0);
	}
}

uint64_t journal_complete_lsn(const struct native *native)
{
	const struct journal *journal = &native->journal;

	if (list_empty(&journal->outstanding))
		return journal->next_lsn - 1;
	return list_entry(journal->outstanding.next, struct outstanding, link)->lsn - 1;
}

/* ---- the second copy ---- */
unsigned journal_copies(const struct native *native, struct pv *ret_copies[2])
{
	unsigned twin = __atomic_load_n(&native->journal.twin, __ATOMIC_ACQUIRE);

	ret_copies[0] = (struct pv *)&native->pv[0];
	ret_copies[1] = (struct pv *)&native->pv[twin];
	return twin ? 2 : 1;
}

bool journal_spares(const struct native *native, const struct pv *device)
{
	if (device != native->pv)
		return true; /* the first one's copy is looked at in any case */
	return native->sb.journal_row && (native->sb.generation > native->journal.twin_since ||
					  !ORDER(journal_named_by_both_roots));
}

bool journal_twin_due(const struct native *native)
{
	return !native->sb.journal_row && native->mirrored && mirror_any(native) &&
	       !away_any(native) && superblock_journal_room(&native->sb);
}

unsigned journal_complete_copies(const struct native *native)
{
	const struct pv *twin = &native->pv[native->sb.journal_row];

	if (!journal_spares(native, native->pv))
		return 1;
	return 2u - pv_is_stale(native->pv) - pv_is_stale(twin);
}

void journal_twin_look(struct native *native, uint64_t generation)
{
	struct journal *journal = &native->journal;
	bool wanted = native->mirrored && mirror_any(native), quiet = !away_any(native);
	unsigned row = wanted ? superblock_journal_room(&native->sb) : 0;

	if (native->sb.journal_row && !wanted && quiet) {
		native->sb.journal_row = 0;
		journal->twin_since = generation;
	} else if (!native->sb.journal_row && journal->twin != row &&
		   (native->sb.generation > journal->twin_since ||
		    !ORDER(journal_left_by_both_roots))) {
		__atomic_store_n(&journal->twin, 0, __ATOMIC_RELEASE); /* both roots know */
	}
	if (native->sb.journal_row || !row || !quiet || (journal->twin && journal->twin != row))
		return;
	__atomic_store_n(&journal->twin, row, __ATOMIC_RELEASE);
	journal->twin_since = generation;
	native->sb.journal_row = row;
	native->sb.version = FORMAT_VERSION;
	spread_doubt(native);
}

#define CLEAR_BYTES (1u << 20)

int journal_clear(struct native *native, struct lane *lane, struct disk *disk, uint64_t size)
{
	uint64_t at = LEDGER_OFFSET, end = native->journal.offset + native->journal.blocks * BLOCK;
	uint8_t *zeros = heap_aligned(BLOCK, CLEAR_BYTES);
	int result = zeros ? pv_wipe_labels(disk, size) : -ENOMEM;

	if (!ORDER(journal_cleared_of_others))
		at = end;
	if (zeros)
		memset(zeros, 0, CLEAR_BYTES);
	while (at < end && result == 0) {
		uint64_t length = end - at < CLEAR_BYTES ? end - at : CLEAR_BYTES;

		if (native->checkpoint_due) /* the journal's room is not to wait for this */
			result = checkpoint_run(native, lane, false);
		if (result == 0)
			result = disk_io(disk, DISK_WRITE, 0, at, zeros, length);
		at += length;
	}
	heap_free(zeros);
	return result == 0 ? disk_io(disk, DISK_FLUSH, 0, 0, NULL, 0) : result;
}

bool journal_wants_root(const struct native *native)
{
	return native->sb.journal_row && native->sb.generation == native->journal.twin_since;
}

/* ---- commit ---- */
int journal_wait_written(struct native *native, uint64_t lsn, struct waiter *waiter)
{
	struct journal *journal = &native->journal;

	if (journal->written_lsn >= lsn)
		return 0;
	if (native->read_only)
		return -EROFS;
	waiter->lsn = lsn;
	list_push_back(&journal->unwritten, &waiter->link);
	journal->commit_due = true;
	return -EINPROGRESS;
}

static void wake_written(struct journal *journal)
{
	list_for_each_safe (it, &journal->unwritten) {
		struct waiter *waiter = list_entry(it, struct waiter, link);

		if (waiter->lsn <= journal->written_lsn)
			waiter_wake(waiter, 0);
	}
	if (!list_empty(&journal->unwritten))
		journal->commit_due = true;
}

static void commit_finish(struct native *native)
{
	struct journal *journal = &native->journal;
	struct lane *leader = journal->leader;

	native_lock(native);
	if (journal->result < 0)
		native_fail(native, "the journal can not be written (error %d)", -journal->result);
	while (!list_empty(&journal->writing)) {
		struct journal_block *block =
		    list_entry(list_pop_front(&journal->writing), struct journal_block, link);

		if (journal->result == 0 && block->count)
			journal->written_lsn = block->first_lsn + block->count - 1;
		if (journal->spare_count >= SPARE_KEPT) {
			block_free(block);
			continue;
		}
		list_push_back(&journal->spare, &block->link);
		journal->spare_count++;
	}
	if (journal->result == 0)
		journal->confirmed_written = journal->commit_confirmed;
	journal->committing = false;
	if (journal->sealed_count >= COMMIT_GATHER)
		journal->commit_due = true;
	wake_written(journal);
	if (journal->next_seq - journal->tail_seq + RING_RESERVE < journal->blocks)
		waiters_wake(&journal->waiters, 0);
	flush_commit_done(native);
	native_unlock(leader);
}

/* One of two copies may fail with its device. */
static void part_done(struct disk_request *request, int result)
{
	struct journal_part *part = container_of(request, struct journal_part, request);
	struct native *native = part->native;
	struct journal *journal = &native->journal;

	pv_wrote(part->pv);
	if (result < 0 && away_lost(journal->leader, part->pv, result) < 0)
		journal->result = result;
	pv_leave(part->pv);
	if (--journal->requests == 0)
		commit_finish(native);
}

/* Blocks to write now; under the lock. */
static void commit_take(struct native *native)
{
	struct journal *journal = &native->journal;
	unsigned count = 0;

	if (journal->open && journal->open->count)
		seal(journal);
	if (list_empty(&journal->sealed) && journal->confirm_wanted && !journal->open &&
	    journal->next_seq - journal->tail_seq + RING_RESERVE / 2 < journal->blocks &&
	    add_spares(journal, 1) == 0) {
		open_block(journal);
		seal(journal);
	}
	journal->confirm_wanted = false;
	journal->commit_due = false;
	while (!list_empty(&journal->sealed) && count++ < COMMIT_BLOCKS) {
		list_push_back(&journal->writing, list_pop_front(&journal->sealed));
		journal->sealed_count--;
	}
	journal->commit_confirmed =
	    list_empty(&journal->writing) ? journal->confirmed_written : journal->confirmed;
	journal->result = 0;
}

/* The blocks that are to be written, sealed, as requests for one copy: runs of neighbours. */
static unsigned commit_parts(struct native *native, struct journal_part *part)
{
	struct journal *journal = &native->journal;
	unsigned parts = 0;

	list_for_each (it, &journal->writing) {
		struct journal_block *block = list_entry(it, struct journal_block, link);
		struct journal_header header = {.pool_hash = native->hash,
						.epoch = journal->epoch,
						.seq = block->seq,
						.confirmed = journal->commit_confirmed,
						.first_lsn = block->first_lsn,
						.previous_hash = journal->hash,
						.count = block->count,
						.used = block->used};
		uint64_t offset = journal->offset + block->seq % journal->blocks * BLOCK;
		struct disk_request *request = parts ? &part[parts - 1].request : NULL;

		journal->hash = journal_block_seal(block->data, &header);
		if (!request || request->iov_count == REQUEST_BLOCKS ||
		    request->offset + request->length != offset) {
			request = &part[parts].request;
			*request = (struct disk_request){.op = DISK_WRITE,
							 .offset = offset,
							 .iov = part[parts].iov,
							 .done = part_done};
			part[parts++].native = native;
		}
		part[parts - 1].iov[request->iov_count++] =
		    (struct iovec){.iov_base = block->data, .iov_len = BLOCK};
		request->length += BLOCK;
	}
	return parts;
}

static void copy_parts(struct journal_part *to, const struct journal_part *from, unsigned parts)
{
	for (unsigned i = 0; i < parts; i++) {
		to[i] = from[i];
		to[i].request.iov = to[i].iov;
	}
}

/* False: the device is away, or goes meanwhile. */
static bool submit_parts(struct lane *lane, struct pv *pv, struct journal_part *part,
			 unsigned parts)
{
	for (unsigned i = 0; i < parts; i++) {
		pv_enter(pv); /* before the look: its disk may be taken out */
		if (!pv_is_here(pv)) {
			pv_leave(pv);
			lane->native->journal.requests -= parts - i;
			return false;
		}
		part[i].pv = pv;
		disk_submit(lane->loop, pv->disk, &part[i].request);
	}
	return true;
}

void journal_commit(struct lane *lane)
{
	struct native *native = lane->native;
	struct journal *journal = &native->journal;
	struct journal_part(*part)[REQUESTS] = journal->write->part;
	struct pv *pv[COPIES];
	unsigned copies, parts, submitted = 0;

	native_lock(native);
	commit_take(native);
	copies = journal_copies(native, pv);
	pthread_mutex_unlock(&native->lock);
	journal->leader = lane;
	parts = commit_parts(native, part[0]);
	if (copies > 1)
		copy_parts(part[1], part[0], parts);
	journal->requests = 1 + copies * parts;
	for (unsigned copy = 0; copy < copies; copy++)
		if (copy && !ORDER(journal_writes_both))
			journal->requests -= parts;
		else
			submitted += submit_parts(lane, pv[copy], part[copy], parts);
	if (!submitted)
		journal->result = -EIO;
	if (--journal->requests == 0)
		commit_finish(native);
}

/* ---- what replay might still undo (I2) ---- */
static struct list *bucket(struct native *native, uint64_t chunk)
{
	return &native->unconfirmed_table[chunk % TABLE_BUCKETS];
}

static struct unconfirmed *unconfirmed_find(struct native *native, uint64_t chunk)
{
	list_for_each (it, bucket(native, chunk)) {
		struct unconfirmed *item = list_entry(it, struct unconfirmed, bucket);

		if (item->chunk == chunk)
			return item;
	}
	return NULL;
}

int unconfirmed_prepare(struct native *native, unsigned count)
{
	for (; native->unconfirmed_spares < count; native->unconfirmed_spares++) {
		struct unconfirmed *item = heap_alloc(sizeof(*item));

		if (!item)
			return -ENOMEM;
		list_push_back(&native->unconfirmed_spare, &item->link);
	}
	return 0;
}

void unconfirmed_add(struct native *native, uint64_t chunk, uint16_t mask, uint64_t lsn)
{
	struct unconfirmed *item = unconfirmed_find(native, chunk);

	if (!item) {
		item = list_entry(list_pop_front(&native->unconfirmed_spare), struct unconfirmed,
				  link);
		native->unconfirmed_spares--;
		item->chunk = chunk;
		item->mask = 0;
		list_push_back(bucket(native, chunk), &item->bucket);
	}
	list_remove(&item->link);
	list_push_back(&native->unconfirmed, &item->link);
	item->mask |= mask;
	item->lsn = lsn;
}

uint64_t unconfirmed_lsn(struct native *native, uint64_t chunk, uint16_t mask)
{
	struct unconfirmed *item = unconfirmed_find(native, chunk);

	return item && item->mask & mask ? item->lsn : 0;
}

void confirmed_advance(struct native *native)
{
	while (!list_empty(&native->unconfirmed)) {
		struct unconfirmed *item =
		    list_entry(native->unconfirmed.next, struct unconfirmed, link);

		if (item->lsn > native->journal.confirmed_durable)
			break;
		list_remove(&item->link);
		list_remove(&item->bucket);
		if (native->unconfirmed_spares >= 4096) {
			heap_free(item);
			continue;
		}
		list_push_front(&native->unconfirmed_spare, &item->link);
		native->unconfirmed_spares++;
	}
	space_release(native);
}
