/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/recorder_log.h"

#include <string.h>

#include "core/heap.h"

/*~ The log: records of one epoch behind each other in segments of memory. Everything here is called
 * with the recorder's lock held, or by the owner on an epoch that does not change any more (R4). */

static struct segment *segment_get(struct recorder *recorder)
{
	struct segment *segment = recorder->free;

	if (segment) {
		recorder->free = segment->next;
	} else if (recorder->segments < recorder->segments_max) {
		segment = heap_alloc(RECORDER_SEGMENT);
		recorder->segments += segment != NULL;
	}
	if (segment) {
		segment->next = NULL;
		segment->used = 0;
	}
	return segment;
}

void recorder_log_free(struct recorder *recorder, struct recorder_epoch *epoch)
{
	while (epoch->first) {
		struct segment *segment = epoch->first;

		epoch->first = segment->next;
		segment->next = recorder->free;
		recorder->free = segment;
	}
	epoch->last = NULL;
	epoch->bytes = epoch->zeroed = epoch->records = 0;
}

static size_t record_size(uint64_t data)
{
	return (sizeof(struct record) + data + 7) & ~7ull;
}

static struct record *record_add(struct recorder *recorder, struct recorder_epoch *epoch,
				 uint64_t data)
{
	size_t size = record_size(data);
	struct record *record;

	if (!epoch->last || SEGMENT_ROOM - epoch->last->used < size) {
		struct segment *segment = segment_get(recorder);

		if (!segment)
			return NULL;
		if (epoch->last)
			epoch->last->next = segment;
		else
			epoch->first = segment;
		epoch->last = segment;
	}
	record = (struct record *)(void *)(epoch->last->bytes + epoch->last->used);
	epoch->last->used += size;
	epoch->bytes += data;
	epoch->records++;
	return record;
}

/* Folding: a slot written again within an epoch is sent once. A record may be written over when
 * it is the last one on each slot it touches; whoever comes later on a slot takes the entry. */
static struct fold *fold_find(struct recorder *recorder, unsigned member, uint64_t slot, bool make)
{
	uint64_t at = (slot * 0x9e3779b97f4a7c15ull ^ member * 0xc2b2ae3d27d4eb4full) >> 32;

	for (unsigned i = 0; recorder->folds && i < FOLD_PROBES; i++) {
		struct fold *fold = &recorder->folds[(at + i) % recorder->fold_entries];

		if (fold->stamp != recorder->fold_stamp) {
			if (!make)
				return NULL;
			*fold = (struct fold){recorder->fold_stamp, slot, member, NULL};
			return fold;
		}
		if (fold->slot == slot && fold->member == member)
			return fold;
	}
	return NULL;
}

static struct record *fold_target(struct recorder *recorder, unsigned member, uint64_t offset,
				  uint64_t length)
{
	uint64_t slot = offset / VOLUME_SLOT, end = (offset + length - 1) / VOLUME_SLOT;
	struct fold *fold = fold_find(recorder, member, slot, false);
	struct record *record = fold ? fold->record : NULL;

	if (!record || record->offset != offset || record->length != length)
		return NULL;
	while (++slot <= end) {
		fold = fold_find(recorder, member, slot, false);
		if (!fold || fold->record != record)
			return NULL;
	}
	return record;
}

static void fold_enter(struct recorder *recorder, struct record *record)
{
	uint64_t end = (record->offset + record->length - 1) / VOLUME_SLOT;

	for (uint64_t slot = record->offset / VOLUME_SLOT; slot <= end; slot++) {
		struct fold *fold = fold_find(recorder, record->member, slot, true);

		if (fold)
			fold->record = record;
	}
}

static void copy_out(const struct volume_request *request, uint64_t skip, uint64_t length,
		     uint8_t *to)
{
	for (unsigned i = 0; i < request->iov_count && length > 0; i++) {
		const struct iovec *iov = &request->iov[i];
		uint64_t part;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - skip < length ? iov->iov_len - skip : length;
		memcpy(to, (const uint8_t *)iov->iov_base + skip, part);
		to += part;
		length -= part;
		skip = 0;
	}
}

static bool log_piece(struct member *member, struct recorder_epoch *epoch,
		      const struct volume_request *request, uint64_t skip, uint64_t length)
{
	struct recorder *recorder = member->recorder;
	bool open = epoch->number == recorder->open;
	uint64_t offset = request->offset + skip;
	struct record *record = open ? fold_target(recorder, member->index, offset, length) : NULL;

	if (!record) {
		record = record_add(recorder, epoch, length);
		if (!record)
			return false;
		*record = (struct record){.offset = offset, .length = length};
		record->member = member->index;
		if (open)
			fold_enter(recorder, record);
	}
	copy_out(request, skip, length, record->data);
	return true;
}

bool recorder_log_change(struct member *member, struct recorder_epoch *epoch,
			 const struct volume_request *request)
{
	if (request->op == VOLUME_DISCARD) {
		struct record *record = record_add(member->recorder, epoch, 0);

		if (!record)
			return false;
		*record = (struct record){.offset = request->offset, .length = request->length};
		record->member = member->index;
		record->zeros = 1;
		epoch->zeroed += request->length;
		member->recorder->fold_stamp++; /* nothing folds into what came before it */
		return true;
	}
	for (uint64_t skip = 0; skip < request->length; skip += RECORD_MAX) {
		uint64_t left = request->length - skip;

		if (!log_piece(member, epoch, request, skip, left < RECORD_MAX ? left : RECORD_MAX))
			return false;
	}
	return true;
}

const struct record *recorder_next(const struct recorder_epoch *epoch,
				   struct recorder_cursor *cursor)
{
	const struct record *record;

	if (!cursor->segment)
		cursor->segment = epoch->first;
	else if (cursor->at == cursor->segment->used && cursor->segment->next)
		*cursor = (struct recorder_cursor){cursor->segment->next, 0};
	if (!cursor->segment || cursor->at == cursor->segment->used)
		return NULL;
	record = (const void *)(cursor->segment->bytes + cursor->at);
	cursor->at += record_size(record->zeros ? 0 : record->length);
	return record;
}

void recorder_touch(const struct recorder_touch *touched, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, last = touched->offset + touched->slots * VOLUME_SLOT;

	end = end < last ? end : last;
	offset = offset > touched->offset ? offset : touched->offset;
	for (uint64_t at = offset - offset % VOLUME_SLOT; at < end; at += VOLUME_SLOT)
		touched->touched[(at - touched->offset) / VOLUME_SLOT] = true;
}

void recorder_log_touch(const struct recorder_touch *touched, unsigned index,
			const struct recorder_epoch *epoch)
{
	for (const struct segment *segment = epoch->first; segment; segment = segment->next) {
		for (size_t at = 0; at < segment->used;) {
			const struct record *record = (const void *)(segment->bytes + at);

			if (record->member == index)
				recorder_touch(touched, record->offset, record->length);
			at += record_size(record->zeros ? 0 : record->length);
		}
	}
}

void recorder_log_forget(struct recorder *recorder, unsigned index)
{
	for (uint64_t i = recorder->oldest; i <= recorder->open; i++) {
		struct segment *segment = epoch_at(recorder, i)->first;

		for (; segment; segment = segment->next) {
			for (size_t at = 0; at < segment->used;) {
				struct record *record = (void *)(segment->bytes + at);

				if (record->member == index)
					record->member = RECORD_NOBODY;
				at += record_size(record->zeros ? 0 : record->length);
			}
		}
	}
	recorder->fold_stamp++;
}
