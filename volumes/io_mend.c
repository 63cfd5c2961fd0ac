/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/guard.h"
#include "volumes/io.h"

#include <errno.h>

/* Reading both copies of a mirrored volume's slots, and mending the bad one from the good one: when
 * a read has met a bad slot, and for a scrub. One slot after the other, in the piece's memory,
 * which holds the good contents at the end:
 *
 *   second --> first --> (first is bad:) second again --> the bad one is written --> next slot
 *
 * Whoever begins this has the piece registered, so that no write to these slots is in flight and
 * none begins; a reader's ticket, or the piece's being a write, keeps them from being given to
 * somebody else. What is written is what the checksum says of a slot at rest. */

static void mend_step(struct piece *piece);

static bool fits(const struct piece *piece)
{
	unsigned slot = piece->mend.slot;

	return piece->result == 0 && piece_crc(piece, slot) == piece->mend.crc[slot];
}

static void mend_end(struct piece *piece, int result)
{
	unsigned slot = piece->mend.slot < CHUNK_SLOTS ? piece->mend.slot : piece_first(piece);

	piece->mend.done(piece, result, slot);
}

static void next_slot(struct piece *piece)
{
	do
		piece->mend.slot++;
	while (piece->mend.slot < CHUNK_SLOTS && !(piece->valid & 1u << piece->mend.slot));
	piece->mend.step = MEND_SECOND;
	piece->mend.good[0] = piece->mend.good[1] = piece->mend.accepted = false;
	piece->mend.unreadable = piece->mend.single = false;
	mend_step(piece);
}

/* One line a second at most; all of them are in the ledger. */
static void note_mended(const struct piece *piece, int result)
{
	struct native *native = piece->io->volume->native;
	struct finding finding = {.kind = result < 0 ? FINDING_MEDIUM : FINDING_DATA_REPAIRED,
				  .volume = piece->io->volume->id,
				  .offset = piece->chunk * CHUNK + piece->mend.slot * VOLUME_SLOT,
				  .length = VOLUME_SLOT};
	bool scrubbing = piece->io->request->flags & REQUEST_BOTH_COPIES;
	uint64_t now = loop_now(piece->io->lane->loop);
	bool tell;

	native_lock(native);
	native->data_repairs += result == 0;
	finding_note(native, &finding);
	if (scrubbing && native->ledger) {
		native->ledger->scrub.errors++;
		native->ledger->scrub.repaired += result == 0;
	}
	tell = !native->repair_logged_ns || now - native->repair_logged_ns >= 1000000000ull;
	if (tell)
		native->repair_logged_ns = now;
	native_unlock(piece->io->lane);
	if (tell)
		log_warning("volume %s: one copy of the data at byte %llu was bad and %s",
			    piece->io->volume->volume.name, (unsigned long long)finding.offset,
			    result < 0 ? "can not be written again"
				       : "has been written again from the other");
}

static void written(struct disk_request *request, int result)
{
	const struct pv *pv = container_of(request, struct transfer, request)->pv;
	struct piece *piece;

	transfer_end(request, result, &piece);
	if (!piece->mend.accepted && (result == 0 || pv_is_here(pv)))
		note_mended(piece, result);
	piece->result = 0;
	next_slot(piece);
}

/* What a read of one copy has brought. */
static void looked(struct disk_request *request, int result)
{
	struct piece *piece;

	transfer_end(request, result, &piece);
	switch (piece->mend.step) {
	case MEND_SECOND:
		piece->mend.good[1] = fits(piece);
		/* it may be the newer one: then what fits nothing is not accepted */
		piece->mend.unreadable = result < 0;
		piece->mend.step = MEND_FIRST;
		break;
	case MEND_FIRST:
		piece->mend.good[0] = fits(piece);
		piece->mend.unreadable |= result < 0;
		piece->mend.step = piece->mend.good[0]   ? MEND_WRITE
				   : piece->mend.good[1] ? MEND_AGAIN
							 : MEND_BAD;
		break;
	default:
		piece->mend.unreadable = true; /* what is in memory is not the first copy */
		piece->mend.step = fits(piece) ? MEND_WRITE : MEND_BAD;
	}
	piece->result = 0;
	mend_step(piece);
}

static void start(struct piece *piece, enum disk_op op, unsigned copy)
{
	const struct native *native = piece->io->lane->native;
	unsigned slot = piece->mend.slot;
	struct pv_place place;
	bool there = copy ? mirror_place(native, piece->address[slot], &place)
			  : pv_locate(native, piece->address[slot], &place.pv, &place.offset);
	int result = there ? piece_transfer_to(piece, op, slot, 1, &place, true,
					       op == DISK_WRITE ? written : looked)
			   : -EIO;

	if (result == -EIO && op == DISK_WRITE && !pv_is_here(place.pv)) {
		next_slot(piece); /* the copy is made good when its device is back */
	} else if (result == -EIO && there && !pv_is_here(place.pv)) {
		mend_step(piece); /* its device went just now: the other copy */
	} else if (result < 0) {
		piece->result = 0;
		mend_end(piece, result);
	}
}

static void mend_step(struct piece *piece)
{
	const struct native *native = piece->io->lane->native;
	const bool *good = piece->mend.good;
	unsigned usable;

	if (piece->mend.slot >= CHUNK_SLOTS) {
		mend_end(piece, 0);
		return;
	}
	usable = mirror_usable(native, piece->address[piece->mend.slot]);
	/* one that counts again since was made good from the other, and was not looked at here */
	piece->mend.single |= usable != 3;
	if (!usable) {
		mend_end(piece, -EIO);
		return;
	}
	switch (piece->mend.step) {
	case MEND_SECOND:
	case MEND_AGAIN:
		if (usable != 3) {
			piece->mend.step = MEND_FIRST;
			piece->mend.good[1] = false;
		}
		start(piece, DISK_READ, usable != 1);
		break;
	case MEND_FIRST:
		start(piece, DISK_READ, usable == 2);
		break;
	case MEND_WRITE:
		if (piece->mend.single || (good[0] && good[1]) || native->read_only)
			next_slot(piece);
		else
			start(piece, DISK_WRITE, good[0] || piece->mend.accepted);
		break;
	default:
		mend_end(piece, piece->mend.unreadable ? -EIO : -EILSEQ);
	}
}

void mend_start(struct piece *piece, const uint32_t *crc,
		void (*done)(struct piece *piece, int result, unsigned slot))
{
	piece->mend.crc = crc;
	piece->mend.done = done;
	piece->mend.slot = UINT32_MAX;
	piece->result = 0;
	piece->transfers = 0;
	next_slot(piece);
}

void mend_accept(struct piece *piece)
{
	piece->mend.accepted = true;
	piece->mend.step = MEND_WRITE;
	mend_step(piece);
}
