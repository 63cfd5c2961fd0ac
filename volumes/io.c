/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/io.h"
#include "volumes/guard.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/crc32c.h"

/* Requests, pieces, reads, flushes, discards and extents. Writes are in io_write.c. */

#define SLAB_COUNT     32
#define DISCARD_PIECES 32 /* of one request under way at a time */

/* ---- free lists ---- */
static struct list *take(struct lane *lane, struct list *list, size_t size, size_t link)
{
	if (list_empty(list)) {
		char *slab = heap_zalloc(sizeof(struct list) + SLAB_COUNT * size);

		if (!slab)
			return NULL;
		list_push_back(&lane->slabs, (struct list *)(void *)slab);
		for (unsigned i = 0; i < SLAB_COUNT; i++)
			list_push_back(list, (struct list *)(void *)(slab + sizeof(struct list) +
								     i * size + link));
	}
	return list_pop_front(list);
}

static struct io *io_take(struct lane *lane)
{
	struct list *link = take(lane, &lane->ios, sizeof(struct io), offsetof(struct io, link));

	return link ? list_entry(link, struct io, link) : NULL;
}

static struct transfer *transfer_take(struct lane *lane)
{
	struct list *link =
	    take(lane, &lane->transfers, sizeof(struct transfer), offsetof(struct transfer, link));

	return link ? list_entry(link, struct transfer, link) : NULL;
}

/* ---- the end of a request ---- */
static void io_finish(struct io *io)
{
	list_push_back(&io->lane->finished, &io->link);
	loop_defer(io->lane->loop, &io->lane->finish);
}

void lane_finish_run(struct deferred *deferred)
{
	struct lane *lane = container_of(deferred, struct lane, finish);
	struct list finished;

	if (lane->commit) {
		lane->commit = false;
		native_lock(lane->native);
		lane->native->journal.commit_due = true;
		native_unlock(lane);
	}
	list_init(&finished);
	list_splice_back(&finished, &lane->finished);
	while (!list_empty(&finished)) {
		struct io *io = list_entry(list_pop_front(&finished), struct io, link);
		struct volume_request *request = io->request;
		int result = io->result;

		list_push_front(&lane->ios, &io->link);
		__atomic_sub_fetch(&io->volume->requests, 1, __ATOMIC_ACQ_REL);
		__atomic_sub_fetch(&lane->native->requests, 1, __ATOMIC_ACQ_REL);
		request->done(request, result);
	}
}

static void discard_step(struct io *io);

static void durable(struct waiter *waiter)
{
	struct io *io = container_of(waiter, struct io, waiter);

	if (waiter->result < 0)
		io->result = waiter->result;
	else if (!io->volume->volume.mirror &&
		 (io->lost || away_flush_failed(io->volume, io->rows, io->aways)))
		io->result = -EIO; /* a device that is gone had what was to be durable */
	io_finish(io);
}

static void written(struct waiter *waiter)
{
	struct io *io = container_of(waiter, struct io, waiter);

	io->result = waiter->result;
	io_finish(io);
}

/* What a host was told is done outlives this process, for no host sends it again when the next
 * process answers its SYNCHRONIZE CACHE: so its records are written, though not flushed. A discard
 * may have found nothing to do because of one that is not answered yet: it waits for all. */
static bool waits_for_record(struct io *io)
{
	struct native *native = io->volume->native;
	int result;

	if ((!io->needed_lsn && io->request->op != VOLUME_DISCARD) ||
	    !ORDER(answer_waits_for_record))
		return false;
	waiter_init(&io->waiter, io->lane, written);
	native_lock(native);
	if (io->request->op == VOLUME_DISCARD)
		io->needed_lsn = native->journal.next_lsn - 1;
	result = journal_wait_written(native, io->needed_lsn, &io->waiter);
	native_unlock(io->lane);
	if (result == -EINPROGRESS)
		return true;
	io->result = result;
	return false;
}

static void io_drop(struct io *io)
{
	struct native *native = io->volume->native;

	if (--io->pending)
		return;
	if (io->request->op == VOLUME_DISCARD && io->result == 0 && io->next < io->next_end) {
		discard_step(io);
		return;
	}
	if (io->result == 0 && io->request->flags & VOLUME_FUA && io->request->op != VOLUME_READ &&
	    ORDER(fua_joins_cycle)) {
		waiter_init(&io->waiter, io->lane, durable);
		native_lock(native);
		flush_join(native, &io->waiter);
		native_unlock(io->lane);
		return;
	}
	if (io->result == 0 && waits_for_record(io))
		return;
	io_finish(io);
}

void piece_done(struct piece *piece, int result, unsigned slot)
{
	struct io *io = piece->io;

	assert(!piece->registered && io->pending);
	if (result < 0 && io->result == 0) {
		uint64_t offset = piece->chunk * CHUNK + slot * VOLUME_SLOT;

		io->result = result;
		io->request->error_offset =
		    offset < io->request->offset ? io->request->offset : offset;
	}
	buf_unref(piece->bounce);
	piece->bounce = NULL;
	list_push_front(&io->lane->pieces, &piece->link);
	io_drop(io);
}

/* ---- pieces ---- */
struct piece *piece_new(struct io *io, enum piece_kind kind, uint64_t offset, uint64_t end)
{
	struct lane *lane = io->lane;
	struct list *link =
	    take(lane, &lane->pieces, sizeof(struct piece), offsetof(struct piece, link));
	struct piece *piece = link ? list_entry(link, struct piece, link) : NULL;

	if (!piece)
		return NULL;
	piece->io = io;
	piece->kind = kind;
	piece->leader = piece;
	piece->sibling = NULL;
	piece->chunk = offset / CHUNK;
	piece->begin = (uint32_t)(offset % CHUNK);
	piece->end = (uint32_t)(end - piece->chunk * CHUNK);
	piece->mask = piece->partial = 0;
	for (unsigned slot = piece->begin / VOLUME_SLOT; slot * VOLUME_SLOT < piece->end; slot++) {
		piece->mask |= (uint16_t)(1u << slot);
		if (slot * VOLUME_SLOT < piece->begin || (slot + 1) * VOLUME_SLOT > piece->end)
			piece->partial |= (uint16_t)(1u << slot);
	}
	piece->registered = piece->waiting = piece->summed = piece->merged = false;
	piece->unsummed = piece->degraded = false;
	piece->mending = io->request->flags & REQUEST_BOTH_COPIES && io->volume->volume.mirror;
	memset(piece->writing, 0, sizeof(piece->writing));
	piece->attempts = piece->transfers = piece->batch = piece->records = 0;
	piece->space_waits = 0;
	piece->bounce = NULL;
	piece->result = 0;
	piece->reserved = SLOT_NONE;
	list_init(&piece->bucket);
	list_init(&piece->data.link);
	list_init(&piece->reader.link);
	io->pending++;
	return piece;
}

static struct list *bucket_at(const struct nvolume *volume, uint64_t chunk)
{
	uint64_t hash = (chunk ^ volume->id << 24) * 0x9e3779b97f4a7c15ull;

	return &volume->native->inflight[hash >> 52];
}

static struct list *bucket_of(const struct piece *piece)
{
	return bucket_at(piece->io->volume, piece->chunk);
}
_Static_assert(TABLE_BUCKETS == 4096, "bucket_at takes 12 bits");

static bool overlap(const struct piece *a, const struct piece *b)
{
	return a->chunk == b->chunk && a->io->volume == b->io->volume && a->mask & b->mask;
}

/* Is an earlier piece that changes one of our slots still at it? Reads are registered only while
 * they wait; a change waits for those, or they might be overtaken for ever. */
bool piece_blocked(const struct piece *piece)
{
	if (!ORDER(write_waits_for_overlap))
		return false;
	list_for_each (it, bucket_of(piece)) {
		const struct piece *other = list_entry(it, struct piece, bucket);

		if (other == piece)
			return false;
		if (other->kind == PIECE_READ && piece->kind == PIECE_READ)
			continue;
		if (other->leader != piece->leader && overlap(piece, other))
			return true;
	}
	return false;
}

bool io_changes(const struct nvolume *volume, uint64_t chunk, uint16_t mask)
{
	list_for_each (it, bucket_at(volume, chunk)) {
		const struct piece *piece = list_entry(it, struct piece, bucket);

		if (piece->kind != PIECE_READ && !piece->waiting && piece->chunk == chunk &&
		    piece->io->volume == volume && piece->mask & mask)
			return true;
	}
	return false;
}

void piece_register(struct piece *piece)
{
	if (piece->registered)
		return;
	piece->registered = true;
	list_push_back(bucket_of(piece), &piece->bucket);
}

void piece_unregister(struct piece *piece)
{
	if (!piece->registered)
		return;
	piece->registered = false;
	list_remove(&piece->bucket);
	list_for_each (it, bucket_of(piece)) {
		struct piece *other = list_entry(it, struct piece, bucket);

		if (other->waiting && overlap(piece, other) && !piece_blocked(other)) {
			other->waiting = false;
			waiter_wake(&other->waiter, 0);
		}
	}
}

/* ---- memory ---- */
static unsigned request_iov(const struct volume_request *request, uint64_t offset, uint64_t length,
			    struct iovec *iov, unsigned max)
{
	unsigned count = 0;

	for (unsigned i = 0; i < request->iov_count && length; i++) {
		uint64_t have = request->iov[i].iov_len, part;

		if (offset >= have) {
			offset -= have;
			continue;
		}
		part = have - offset < length ? have - offset : length;
		if (count == max)
			return 0;
		iov[count++] = (struct iovec){.iov_base = (char *)request->iov[i].iov_base + offset,
					      .iov_len = (size_t)part};
		length -= part;
		offset = 0;
	}
	return count;
}

unsigned piece_iov(const struct piece *piece, unsigned slot, unsigned count, struct iovec *iov,
		   unsigned max)
{
	uint64_t offset;

	if (piece->bounce) {
		iov[0] = (struct iovec){
		    .iov_base = piece->memory + (size_t)(slot - piece_first(piece)) * VOLUME_SLOT,
		    .iov_len = (size_t)count * VOLUME_SLOT};
		return 1;
	}
	offset = piece->chunk * CHUNK + slot * VOLUME_SLOT - piece->io->request->offset;
	return request_iov(piece->io->request, offset, (uint64_t)count * VOLUME_SLOT, iov, max);
}

uint32_t piece_crc(const struct piece *piece, unsigned slot)
{
	struct iovec iov[VOLUME_SLOT / VOLUME_BLOCK];
	unsigned count = piece_iov(piece, slot, 1, iov, VOLUME_SLOT / VOLUME_BLOCK);

	if (count == 1)
		return csum_of(crc32c(0, iov[0].iov_base, VOLUME_SLOT));
	return csum_of(crc32c_iov(0, iov, count));
}

bool piece_needs_bounce(const struct piece *piece)
{
	const struct native *native = piece->io->volume->native;
	struct iovec iov[TRANSFER_IOVS];
	unsigned count;

	if (piece->partial || piece->kind == PIECE_ZERO)
		return true;
	count = piece_iov(piece, piece_first(piece), (unsigned)__builtin_popcount(piece->mask), iov,
			  TRANSFER_IOVS);
	for (unsigned i = 0; i < count; i++)
		for (unsigned row = 0; row < pv_rows(native); row++) {
			const struct pv *pv = &native->pv[row];

			if (pv->disk && ((uintptr_t)iov[i].iov_base % pv->memory_alignment ||
					 iov[i].iov_len % pv->logical_block))
				return true;
		}
	return count == 0;
}

void piece_set_bounce(struct piece *piece, struct buf *buf, char *memory)
{
	piece->bounce = buf;
	piece->memory = memory;
}

int piece_bounce(struct piece *piece, void (*ready)(struct buf_waiter *waiter, struct buf *buf))
{
	struct buf_pool *pool = loop_buffers(piece->io->lane->loop);
	size_t size = (size_t)__builtin_popcount(piece->mask) * VOLUME_SLOT;
	struct buf *buf = buf_get(pool, size);

	if (buf) {
		piece_set_bounce(piece, buf, buf->data);
		return 0;
	}
	piece->buf_waiter =
	    (struct buf_waiter){.size = size, .stage = BUF_FOR_PIECE, .ready = ready};
	buf_wait(pool, &piece->buf_waiter);
	return -EINPROGRESS;
}

void piece_copy(struct piece *piece, bool to_request)
{
	const struct volume_request *request = piece->io->request;
	uint64_t offset = piece->chunk * CHUNK + piece->begin - request->offset;
	char *bounce = piece->memory + piece->begin - piece_first(piece) * VOLUME_SLOT;
	uint64_t left = piece->end - piece->begin;

	if (piece->kind == PIECE_ZERO) {
		memset(bounce, 0, left);
		return;
	}
	while (left) {
		struct iovec iov;
		unsigned count = 0;

		for (unsigned i = 0, at = 0; i < request->iov_count;
		     at += (unsigned)request->iov[i++].iov_len)
			if (offset < at + request->iov[i].iov_len) {
				iov = request->iov[i];
				iov.iov_base = (char *)iov.iov_base + (offset - at);
				iov.iov_len -= offset - at;
				count = 1;
				break;
			}
		if (!count)
			return;
		if (iov.iov_len > left)
			iov.iov_len = left;
		if (to_request)
			memcpy(iov.iov_base, bounce, iov.iov_len);
		else
			memcpy(bounce, iov.iov_base, iov.iov_len);
		bounce += iov.iov_len;
		offset += iov.iov_len;
		left -= iov.iov_len;
	}
}

/* ---- transfers ---- */
/* One of two copies may fail with its device; of what has one, none. */
static int write_ended(struct piece *piece, const struct transfer *transfer, int result)
{
	pv_wrote(transfer->pv);
	if (!transfer->paired)
		return result < 0 ? result : away_plain_written(piece->io->volume, transfer->pv);
	piece->degraded |= result < 0;
	return result < 0 ? away_lost(piece->io->lane, transfer->pv, result) : 0;
}

bool transfer_end(struct disk_request *request, int result, struct piece **ret_piece)
{
	struct transfer *transfer = container_of(request, struct transfer, request);
	struct piece *piece = transfer->piece;
	uint64_t now = loop_now(piece->io->lane->loop);

	if (request->op == DISK_WRITE && result == 0)
		speed_count(transfer->pv->device, request->length, now - transfer->begun_ns);
	if (request->op == DISK_WRITE)
		result = write_ended(piece, transfer, result);
	pv_leave(transfer->pv);
	piece->io->request->device_to_ns = now;
	if (result < 0 && piece->result == 0)
		piece->result = result;
	list_push_front(&piece->io->lane->transfers, &transfer->link);
	*ret_piece = piece;
	return --piece->transfers == 0;
}

int piece_transfer_to(struct piece *piece, enum disk_op op, unsigned slot, unsigned count,
		      const struct pv_place *place, bool paired,
		      void (*done)(struct disk_request *request, int result))
{
	struct lane *lane = piece->io->lane;
	struct transfer *transfer;

	pv_enter(place->pv); /* before the look: its disk may be taken out */
	transfer = pv_is_here(place->pv) ? transfer_take(lane) : NULL;
	if (!transfer) {
		bool here = pv_is_here(place->pv);

		pv_leave(place->pv);
		return here ? -ENOMEM : -EIO;
	}
	transfer->piece = piece;
	transfer->pv = place->pv;
	transfer->paired = paired;
	transfer->request = (struct disk_request){.op = op,
						  .offset = place->offset,
						  .length = (uint64_t)count * VOLUME_SLOT,
						  .iov = transfer->iov,
						  .done = done};
	if (piece->io->request->flags & VOLUME_FUA) /* one commit for all of a batch */
		transfer->request.flags = DISK_GROUP;
	transfer->request.iov_count = piece_iov(piece, slot, count, transfer->iov, TRANSFER_IOVS);
	piece->transfers++;
	if (!piece->io->request->device_from_ns)
		piece->io->request->device_from_ns = loop_now(lane->loop);
	transfer->begun_ns = loop_now(lane->loop);
	disk_submit(lane->loop, place->pv->disk, &transfer->request);
	return 0;
}

/* What is written to a chunk that is being moved goes to its new place, too. A copy there does not
 * count when its device goes. */
static int write_moving(struct piece *piece, unsigned slot, unsigned count,
			const struct pv_place *place, bool paired,
			void (*done)(struct disk_request *request, int result))
{
	int result = 0;

	if (ORDER(moving_is_written_twice))
		result = piece_transfer_to(piece, DISK_WRITE, slot, count, place, paired, done);
	return result == -EIO && paired && !pv_is_here(place->pv) ? 0 : result;
}

/* To both copies, or to the one there is when the other one's device is away. */
static int write_pair(struct piece *piece, unsigned slot, unsigned count,
		      void (*done)(struct disk_request *request, int result))
{
	const struct native *native = piece->io->lane->native;
	uint64_t address = piece->address[slot], chunk = address / CHUNK_SLOTS;
	unsigned missing = 0;
	int result = 0;

	for (unsigned copy = 0; copy < 2; copy++) {
		struct pv_place places[2];
		unsigned have = copy ? mirror_places(native, address, places)
				     : pv_places(native, address, places);
		int here = -EIO;

		if (copy && !ORDER(mirror_writes_both))
			continue;
		if (have)
			here = piece_transfer_to(piece, DISK_WRITE, slot, count, &places[0], true,
						 done);
		if (here == -EIO && away_has(native, copy ? mirror_of(native, chunk) : chunk))
			missing++;
		else if (here < 0)
			result = here;
		if (result == 0 && have == 2)
			result = write_moving(piece, slot, count, &places[1], true, done);
	}
	piece->degraded |= missing != 0;
	return missing == 2 ? -EIO : result;
}

static int read_pair(struct piece *piece, unsigned slot, unsigned count,
		     void (*done)(struct disk_request *request, int result))
{
	const struct native *native = piece->io->lane->native;
	uint64_t address = piece->address[slot];
	unsigned usable = mirror_usable(native, address);
	struct pv_place place;
	int result;

	if (!usable || !(usable & 1 ? pv_locate(native, address, &place.pv, &place.offset)
				    : mirror_place(native, address, &place)))
		return -EIO;
	result = piece_transfer_to(piece, DISK_READ, slot, count, &place, true, done);
	if (result == -EIO && mirror_usable(native, address) != usable) /* it went just now */
		return read_pair(piece, slot, count, done);
	return result;
}

static void transfer_start(struct piece *piece, enum disk_op op, unsigned slot, unsigned count,
			   void (*done)(struct disk_request *request, int result))
{
	const struct native *native = piece->io->lane->native;
	struct pv_place places[2];
	bool paired = mirror_of(native, piece->address[slot] / CHUNK_SLOTS) != 0;
	unsigned have = paired ? 0 : pv_places(native, piece->address[slot], places);
	int result;

	if (paired)
		result = op == DISK_WRITE ? write_pair(piece, slot, count, done)
					  : read_pair(piece, slot, count, done);
	else
		result = have ? piece_transfer_to(piece, op, slot, count, &places[0], false, done)
			      : -EIO;
	if (result == 0 && have == 2 && op == DISK_WRITE)
		result = write_moving(piece, slot, count, &places[1], false, done);
	if (result < 0 && piece->result == 0)
		piece->result = result;
}

void piece_transfer(struct piece *piece, enum disk_op op, uint16_t mask,
		    void (*done)(struct disk_request *request, int result))
{
	for (unsigned slot = 0; slot < CHUNK_SLOTS;) {
		unsigned count = 1;

		if (!(mask & 1u << slot)) {
			slot++;
			continue;
		}
		while (slot + count < CHUNK_SLOTS && mask & 1u << (slot + count) &&
		       piece->address[slot + count] == piece->address[slot] + count &&
		       piece->address[slot + count] % CHUNK_SLOTS)
			count++;
		transfer_start(piece, op, slot, count, done);
		slot += count;
	}
}

/* ---- reads ---- */
static void read_start(struct piece *piece);

/* Reads without checksums stay registered all the time: a write that came in between could not be
 * told from what was asked for. So do those that may mend what they find. */
static void read_end(struct piece *piece, int result, unsigned slot)
{
	if (piece->registered) {
		native_lock(piece->io->volume->native);
		piece_unregister(piece);
		native_unlock(piece->io->lane);
	}
	piece_done(piece, result, slot);
}

static void read_resume(struct waiter *waiter)
{
	struct piece *piece = container_of(waiter, struct piece, waiter);

	if (waiter->result < 0)
		read_end(piece, waiter->result, piece_first(piece));
	else
		read_start(piece);
}

static void read_buffer_ready(struct buf_waiter *waiter, struct buf *buf)
{
	struct piece *piece = container_of(waiter, struct piece, buf_waiter);

	piece_set_bounce(piece, buf, buf->data);
	read_start(piece);
}

static void read_drop_ticket(struct piece *piece)
{
	struct native *native = piece->io->volume->native;

	list_remove(&piece->reader.link);
	if (!list_empty(&native->quarantine))
		space_release(native);
}

/* The slot does not hold what we were told. Somebody may have written or freed it since: look
 * again. Believed only when nothing has changed between two looks. */
static bool read_is_bad(struct piece *piece, unsigned slot)
{
	bool same = piece->attempts && piece->old[slot] == piece->address[slot] &&
		    piece->old_crc[slot] == piece->crc[slot];

	piece->old[slot] = piece->address[slot];
	piece->old_crc[slot] = piece->crc[slot];
	return same;
}

/* A suspect region after a crash: what is there is what counts. 1: summed again; 0: look again,
 * for the checksum was evicted, or is another one by now (a read beside this one has been here);
 * -1: the slot is bad. */
static int read_resum(struct piece *piece, unsigned slot, uint32_t crc)
{
	struct native *native = piece->io->volume->native;
	uint64_t chunk = piece->address[slot] / CHUNK_SLOTS;
	struct node *node;
	int result = -1;

	if (piece_checksum(piece) != VOLUME_CHECKSUM_STANDARD)
		return -1;
	native_lock(native);
	if (!native->read_only && hot_suspect(native, chunk)) {
		int found = csum_find(native, chunk, false, &piece->waiter, &node);
		uint32_t *now = found == 0 && node
				    ? &csum_at(node, chunk)[piece->address[slot] % CHUNK_SLOTS]
				    : NULL;

		if (found == -EINPROGRESS) {
			list_remove(&piece->waiter.link);
			result = 0;
		} else if (now && *now != piece->crc[slot]) {
			result = 0;
		} else if (now && node_touch(node) == 0) {
			*now = crc;
			native->hot_resummed++;
			result = 1;
		}
	}
	native_unlock(piece->io->lane);
	return result;
}

void piece_finding(const struct piece *piece, enum pool_finding_kind kind, unsigned slot,
		   unsigned slots)
{
	struct native *native = piece->io->volume->native;
	struct finding finding = {.kind = (uint8_t)kind,
				  .volume = piece->io->volume->id,
				  .offset = piece->chunk * CHUNK + slot * VOLUME_SLOT,
				  .length = (uint64_t)slots * VOLUME_SLOT};

	native_lock(native);
	if (kind == FINDING_DATA)
		native->checksum_errors++;
	finding_note(native, &finding);
	native_unlock(piece->io->lane);
}

/* The piece is bad in the first copy, so both are read, with writes to it kept away. */
static void read_mend(struct piece *piece)
{
	piece->mending = true;
	read_start(piece);
}

static void read_mended(struct piece *piece, int result, unsigned slot)
{
	struct native *native = piece->io->volume->native;
	int resummed = -1;

	if (result == -EILSEQ)
		resummed = read_resum(piece, slot, piece_crc(piece, slot));
	if (resummed == 1) {
		mend_accept(piece);
		return;
	}
	native_lock(native);
	read_drop_ticket(piece);
	native_unlock(piece->io->lane);
	if (resummed == 0) {
		read_start(piece);
		return;
	}
	if (result == -EILSEQ || result == -EIO)
		piece_finding(piece, result == -EIO ? FINDING_MEDIUM : FINDING_DATA, slot, 1);
	if (result == 0 && piece->bounce)
		piece_copy(piece, true);
	read_end(piece, result, result < 0 ? slot : 0);
}

static void read_verify(struct piece *piece)
{
	bool again = false, unchecked = piece_checksum(piece) == VOLUME_CHECKSUM_OFF;

	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint32_t crc;
		int resummed;
		bool bad;

		if (!(piece->valid & 1u << slot) || unchecked)
			continue;
		crc = piece_crc(piece, slot);
		if (crc == piece->crc[slot])
			continue;
		bad = read_is_bad(piece, slot);
		if (bad && piece_mirrored(piece)) {
			read_mend(piece);
			return;
		}
		resummed = bad ? read_resum(piece, slot, crc) : 0;
		if (resummed == 1)
			continue;
		if (resummed == 0) {
			again = true;
			continue;
		}
		piece_finding(piece, FINDING_DATA, slot, 1);
		read_end(piece, -EILSEQ, slot);
		return;
	}
	if (again) {
		piece->attempts++;
		read_start(piece);
		return;
	}
	if (piece->bounce)
		piece_copy(piece, true);
	read_end(piece, 0, 0);
}

static void read_transfer_done(struct disk_request *request, int result)
{
	struct piece *piece;

	if (!transfer_end(request, result, &piece))
		return;
	native_lock(piece->io->volume->native);
	read_drop_ticket(piece);
	native_unlock(piece->io->lane);
	if (piece->result == -EIO && piece_mirrored(piece)) {
		read_mend(piece);
		return;
	}
	if (piece->result == -EIO && !away_any(piece->io->volume->native))
		piece_finding(piece, FINDING_MEDIUM, piece_first(piece),
			      (unsigned)__builtin_popcount(piece->mask));
	if (piece->result < 0)
		read_end(piece, piece->result, piece_first(piece));
	else
		read_verify(piece);
}

/* Under the lock: where the slots are and what they must sum to. */
static int read_plan(struct piece *piece)
{
	struct nvolume *volume = piece->io->volume;
	struct native *native = volume->native;
	struct node *leaf, *sums = NULL;
	const struct map_entry *entry;
	bool unchecked = piece_checksum(piece) == VOLUME_CHECKSUM_OFF;
	bool registered = unchecked || piece->mending;
	int result;

	piece->valid = 0;
	if (registered)
		piece_register(piece);
	if (piece_blocked(piece)) {
		piece_register(piece);
		piece->waiting = true;
		return -EINPROGRESS;
	}
	if (!registered)
		piece_unregister(piece);
	result = tree_find(&volume->map, piece->chunk / MAP_CHUNKS, false, &piece->waiter, &leaf);
	if (result < 0 || !leaf)
		return result;
	entry = &leaf->body->map.entry[piece->chunk % MAP_CHUNKS];
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		uint64_t chunk;

		if (!(piece->mask & 1u << slot) || !map_slot(entry, slot, &piece->address[slot]))
			continue;
		chunk = piece->address[slot] / CHUNK_SLOTS;
		if (!unchecked && (!sums || sums->index != chunk / CSUM_CHUNKS)) {
			result = csum_find(native, chunk, false, &piece->waiter, &sums);
			if (result < 0)
				return result;
		}
		piece->crc[slot] =
		    sums ? csum_at(sums, chunk)[piece->address[slot] % CHUNK_SLOTS] : 0;
		piece->valid |= (uint16_t)(1u << slot);
	}
	if (piece->valid) {
		piece->reader.ticket = native->next_ticket++;
		list_push_back(&native->readers, &piece->reader.link);
	}
	return 0;
}

static void read_zero(struct piece *piece, uint16_t mask)
{
	for (unsigned slot = 0; slot < CHUNK_SLOTS; slot++) {
		struct iovec iov[VOLUME_SLOT / VOLUME_BLOCK];
		unsigned count;

		if (!(mask & 1u << slot))
			continue;
		count = piece_iov(piece, slot, 1, iov, VOLUME_SLOT / VOLUME_BLOCK);
		for (unsigned i = 0; i < count; i++)
			memset(iov[i].iov_base, 0, iov[i].iov_len);
	}
}

static void read_start(struct piece *piece)
{
	struct native *native = piece->io->volume->native;
	int result;

	if (!piece->bounce && piece_needs_bounce(piece) &&
	    piece_bounce(piece, read_buffer_ready) < 0)
		return;
	waiter_init(&piece->waiter, piece->io->lane, read_resume);
	native_lock(native);
	nodes_evict(native);
	result = read_plan(piece);
	native_unlock(piece->io->lane);
	if (result == -EINPROGRESS)
		return;
	if (result < 0) {
		read_end(piece, result, piece_first(piece));
		return;
	}
	read_zero(piece, piece->mask & (uint16_t)~piece->valid);
	if (!piece->valid) {
		read_verify(piece);
		return;
	}
	if (piece->mending) {
		mend_start(piece, piece->crc, read_mended);
		return;
	}
	piece->result = 0;
	piece->transfers = 1;
	piece_transfer(piece, DISK_READ, piece->valid, read_transfer_done);
	if (--piece->transfers == 0) { /* nothing could be started */
		native_lock(native);
		read_drop_ticket(piece);
		native_unlock(piece->io->lane);
		read_end(piece, piece->result ? piece->result : -EIO, piece_first(piece));
	}
}

/* ---- discard ---- */
static bool discard_piece(struct io *io, enum piece_kind kind, uint64_t offset, uint64_t end)
{
	struct piece *piece = piece_new(io, kind, offset, end);

	if (!piece) {
		io->result = -ENOMEM;
		return false;
	}
	write_start(piece);
	return true;
}

static void discard_run(struct io *io);

static void discard_resume(struct waiter *waiter)
{
	struct io *io = container_of(waiter, struct io, waiter);

	if (waiter->result < 0 && io->result == 0)
		io->result = waiter->result;
	discard_run(io);
}

static void discard_yielded(struct message *message)
{
	discard_run(container_of(message, struct io, yield));
}

/* The next chunk at or after io->next that may hold something; moves io->next there. */
static int discard_seek(struct io *io)
{
	struct nvolume *volume = io->volume;
	uint64_t chunk = io->next / CHUNK, index, leaf;
	struct node *node;
	int result;

	waiter_init(&io->waiter, io->lane, discard_resume);
	native_lock(volume->native);
	for (;;) {
		leaf = chunk / MAP_CHUNKS;
		result = tree_next(&volume->map, leaf, &io->waiter, &index);
		if (result < 0)
			break;
		if (index == UINT64_MAX || index * MAP_CHUNKS * CHUNK >= io->next_end) {
			io->next = io->next_end;
			break;
		}
		if (index != leaf)
			chunk = index * MAP_CHUNKS;
		result = tree_find(&volume->map, index, false, &io->waiter, &node);
		if (result < 0)
			break;
		while (node && chunk / MAP_CHUNKS == index &&
		       !node->body->map.entry[chunk % MAP_CHUNKS].mask)
			chunk++;
		if (chunk / MAP_CHUNKS != index)
			continue;
		if (chunk * CHUNK > io->next)
			io->next = chunk * CHUNK < io->next_end ? chunk * CHUNK : io->next_end;
		break;
	}
	native_unlock(io->lane);
	return result;
}

/* The next piece of a discard: the rest of a slot, or whole slots of a chunk. */
static bool discard_next(struct io *io)
{
	uint64_t slot = io->next / VOLUME_SLOT * VOLUME_SLOT, from = io->next;
	uint64_t end = (from / CHUNK + 1) * CHUNK;

	end = end < io->next_end ? end : io->next_end;
	if (from != slot || end < slot + VOLUME_SLOT) {
		io->next = slot + VOLUME_SLOT < end ? slot + VOLUME_SLOT : end;
		return discard_piece(io, PIECE_ZERO, from, io->next);
	}
	io->next = end / VOLUME_SLOT * VOLUME_SLOT;
	return discard_piece(io, PIECE_UNMAP, slot, io->next);
}

/* A bounded number of pieces is in flight, and a bounded number is done per round of the loop.
 * The run holds one count of io->pending. */
static void discard_run(struct io *io)
{
	unsigned budget = 8 * DISCARD_PIECES;

	while (io->next < io->next_end && io->pending <= DISCARD_PIECES && io->result == 0) {
		int result = discard_seek(io);

		if (result == -EINPROGRESS)
			return; /* discard_resume() goes on */
		if (result < 0)
			io->result = result;
		if (result < 0 || io->next >= io->next_end || !discard_next(io))
			break;
		if (--budget == 0) {
			loop_post(io->lane->loop, &io->yield, discard_yielded);
			return;
		}
	}
	if (io->result < 0)
		io->next = io->next_end;
	io_drop(io);
}

static void discard_step(struct io *io)
{
	io->pending++;
	discard_run(io);
}

/* ---- extents ---- */
static void extents_step(struct io *io);

static void extents_resume(struct waiter *waiter)
{
	struct io *io = container_of(waiter, struct io, waiter);

	if (waiter->result == 0) {
		extents_step(io);
		return;
	}
	io->result = waiter->result;
	io_finish(io);
}

/* @length bytes from @offset on are @mapped; false when there is no room for another extent. */
static bool extent_add(struct volume_request *request, uint64_t offset, uint64_t end, bool mapped)
{
	struct volume_extent *last =
	    request->extent_count ? &request->extents[request->extent_count - 1] : NULL;

	if (offset < request->offset)
		offset = request->offset;
	if (end > request->offset + request->length)
		end = request->offset + request->length;
	if (last && last->mapped == mapped) {
		last->length = end - last->offset;
		return true;
	}
	if (request->extent_count == request->extent_max)
		return false;
	request->extents[request->extent_count++] =
	    (struct volume_extent){.offset = offset, .length = end - offset, .mapped = mapped};
	return true;
}

/* One leaf: 8 MiB of the volume. */
static bool extents_leaf(struct io *io, const struct node *node)
{
	uint64_t leaf = io->next / (MAP_CHUNKS * CHUNK_SLOTS);

	while (io->next < io->next_end && io->next / (MAP_CHUNKS * CHUNK_SLOTS) == leaf) {
		unsigned chunk = (unsigned)(io->next / CHUNK_SLOTS % MAP_CHUNKS);
		bool mapped = node->body->map.entry[chunk].mask & 1u << io->next % CHUNK_SLOTS;

		if (!extent_add(io->request, io->next * VOLUME_SLOT, (io->next + 1) * VOLUME_SLOT,
				mapped))
			return false;
		io->next++;
	}
	return true;
}

static void extents_step(struct io *io)
{
	struct nvolume *volume = io->volume;
	const uint64_t leaf_slots = MAP_CHUNKS * CHUNK_SLOTS;
	bool more = true;

	waiter_init(&io->waiter, io->lane, extents_resume);
	while (more && io->next < io->next_end) {
		uint64_t leaf = io->next / leaf_slots, found;
		struct node *node = NULL;
		int result;

		native_lock(volume->native);
		result = tree_next(&volume->map, leaf, &io->waiter, &found);
		if (result == 0 && found == leaf)
			result = tree_find(&volume->map, leaf, false, &io->waiter, &node);
		if (result == 0 && node) {
			more = extents_leaf(io, node);
		} else if (result == 0) {
			uint64_t end = found == UINT64_MAX ? io->next_end : found * leaf_slots;

			if (end > io->next_end)
				end = io->next_end;
			more = extent_add(io->request, io->next * VOLUME_SLOT, end * VOLUME_SLOT,
					  false);
			io->next = end;
		}
		native_unlock(io->lane);
		if (result == -EINPROGRESS)
			return;
		if (result < 0) {
			io->result = result;
			break;
		}
	}
	io_finish(io);
}

/* ---- submission ---- */
static void flush_start(struct io *io)
{
	struct native *native = io->volume->native;
	bool needed;

	waiter_init(&io->waiter, io->lane, durable);
	native_lock(native);
	io->rows = away_flush_begin(io->volume, &io->lost);
	needed = flush_needed(native) || native->read_only || io->rows || io->lost;
	if (needed)
		flush_join(native, &io->waiter);
	native_unlock(io->lane);
	if (!needed)
		io_finish(io);
}

static void transfer_request(struct io *io)
{
	struct volume_request *request = io->request;
	bool write = request->op == VOLUME_WRITE;
	bool atomic = write && request->flags & VOLUME_ATOMIC;
	uint64_t at = request->offset, end = at + request->length;
	struct piece *leader = NULL, *last = NULL;

	io->pending = 1;
	while (at < end) {
		uint64_t stop = (at / CHUNK + 1) * CHUNK;
		struct piece *piece =
		    piece_new(io, write ? PIECE_WRITE : PIECE_READ, at, stop < end ? stop : end);

		if (!piece) {
			io->result = -ENOMEM;
			break;
		}
		at = stop;
		if (atomic) {
			leader = leader ? leader : piece;
			piece->leader = leader;
			if (last)
				last->sibling = piece;
			last = piece;
		} else if (write) {
			write_start(piece);
		} else {
			read_start(piece);
		}
	}
	if (leader && io->result == 0)
		write_start(leader); /* ends all its pieces, perhaps at once */
	else
		for (struct piece *piece = leader, *next; piece; piece = next) {
			next = piece->sibling;
			piece_done(piece, io->result, 0);
		}
	io_drop(io);
}

static void io_start(struct io *io)
{
	struct volume_request *request = io->request;

	switch (request->op) {
	case VOLUME_FLUSH:
		flush_start(io);
		return;
	case VOLUME_EXTENTS:
		io->next = request->offset / VOLUME_SLOT;
		io->next_end = (request->offset + request->length + VOLUME_SLOT - 1) / VOLUME_SLOT;
		extents_step(io);
		return;
	case VOLUME_DISCARD:
		io->next = request->offset;
		io->next_end = request->offset + request->length;
		discard_step(io);
		return;
	default:
		transfer_request(io);
	}
}

/* The volume is about to become another one (io_stop()): what comes now waits. */
static bool io_waits(struct io *io)
{
	struct nvolume *volume = io->volume;
	bool waits;

	if (!__atomic_load_n(&volume->stopped, __ATOMIC_SEQ_CST))
		return false;
	native_lock(volume->native);
	waits = volume->stopped;
	if (waits) {
		list_push_back(&volume->waiting, &io->link);
		__atomic_sub_fetch(&volume->requests, 1, __ATOMIC_SEQ_CST);
	}
	native_unlock(io->lane);
	return waits;
}

/* It may be smaller than when the request was looked at. */
static void io_resume(struct waiter *waiter)
{
	struct io *io = container_of(waiter, struct io, waiter);
	const struct volume_request *request = io->request;

	if (request->op != VOLUME_FLUSH &&
	    request->offset + request->length > volume_size(&io->volume->volume)) {
		io->result = -EINVAL;
		io_finish(io);
		return;
	}
	io_start(io);
}

void io_stop(struct nvolume *volume)
{
	__atomic_store_n(&volume->stopped, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&volume->requests, __ATOMIC_SEQ_CST))
		fiber_sleep(POLL_NS);
}

void io_go(struct nvolume *volume, struct lane *lane)
{
	native_lock(volume->native);
	__atomic_store_n(&volume->stopped, false, __ATOMIC_SEQ_CST);
	while (!list_empty(&volume->waiting)) {
		struct io *io = list_entry(list_pop_front(&volume->waiting), struct io, link);

		__atomic_add_fetch(&volume->requests, 1, __ATOMIC_SEQ_CST);
		waiter_init(&io->waiter, io->lane, io_resume);
		waiter_wake(&io->waiter, 0);
	}
	native_unlock(lane);
}

void io_submit(struct volume *volume, struct volume_request *request)
{
	struct nvolume *mine = nvolume_of(volume);
	struct lane *lane = lane_get(mine->native);
	struct io *io = lane ? io_take(lane) : NULL;

	if (!io) {
		volume_refuse(request, -ENOMEM);
		return;
	}
	__atomic_add_fetch(&mine->native->requests, 1, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&mine->requests, 1, __ATOMIC_SEQ_CST);
	io->lane = lane;
	io->volume = mine;
	io->request = request;
	io->pending = 0;
	io->result = 0;
	io->needed_lsn = 0;
	io->rows = 0;
	io->lost = false;
	io->aways = __atomic_load_n(&mine->native->aways, __ATOMIC_SEQ_CST);
	request->backend = io;
	if (!io_waits(io))
		io_start(io);
}

/* ---- for fibers ---- */
/* The caller's request in one of ours, which knows the fiber. */
struct fiber_io {
	struct volume_request request;
	struct fiber *fiber;
	int result;
	bool done;
};

static void fiber_io_done(struct volume_request *request, int result)
{
	struct fiber_io *wait = container_of(request, struct fiber_io, request);

	wait->result = result;
	wait->done = true;
	fiber_wake(wait->fiber);
}

int io_request_fiber(struct nvolume *volume, struct volume_request *request)
{
	struct fiber_io wait = {.request = *request, .fiber = fiber_current()};

	wait.request.volume = &volume->volume;
	wait.request.loop = fiber_loop(wait.fiber);
	wait.request.done = fiber_io_done;
	io_submit(&volume->volume, &wait.request);
	while (!wait.done)
		fiber_wait();
	request->extent_count = wait.request.extent_count;
	request->error_offset = wait.request.error_offset;
	return wait.result;
}
