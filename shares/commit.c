/* SPDX-License-Identifier: Apache-2.0 */
/* commit.c: transactions, and the log they gather in. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "shares/order.h"
#include "shares/store.h"

#define COMMIT_EAGER (64u << 10) /* bytes: this much is written though nobody waits */

/* ---- growing memory of the transaction ---- */
static int bytes_need(struct bytes *bytes, size_t more)
{
	size_t room = bytes->room ? bytes->room : 4096;
	uint8_t *data;

	while (room < bytes->length + more)
		room *= 2;
	if (room == bytes->room)
		return 0;
	data = heap_resize(bytes->data, room);
	if (!data)
		return -ENOMEM;
	bytes->data = data;
	bytes->room = room;
	return 0;
}

/* How a key was: a log record, and its length behind it, to be read from the end. */
static int undo_note(struct store *store, const struct key *key)
{
	struct log_record record = {.type = LOG_PUT, .key = *key};
	struct bytes *undo = &store->undo;
	size_t length = 0;
	int result = btree_get(store, key, &record.value, &length);

	if (result == -ENOENT)
		record.type = LOG_DELETE;
	else if (result)
		return result;
	record.length = (uint16_t)length;
	if (bytes_need(undo, LOG_RECORD_BYTES + length + 4) < 0)
		return -ENOMEM;
	length = log_record_encode(&record, undo->data + undo->length);
	put32(undo->data + undo->length + length, (uint32_t)length);
	undo->length += length + 4;
	return 0;
}

static void undo_drop_last(struct store *store)
{
	struct bytes *undo = &store->undo;

	undo->length -= get32(undo->data + undo->length - 4) + 4;
}

static int change(struct store *store, const struct log_record *record)
{
	struct bytes *redo = &store->redo;
	int result;

	assert(store->in_transaction && record->length <= VALUE_MAX);
	if (!store->replaying &&
	    redo->length + LOG_RECORD_BYTES + record->length > store->commit_max / 2)
		return -E2BIG;
	if (bytes_need(redo, LOG_RECORD_BYTES + record->length) < 0)
		return -ENOMEM;
	result = undo_note(store, &record->key);
	if (result)
		return result;
	result = record->type == LOG_PUT
		     ? btree_put(store, &record->key, record->value, record->length)
		     : btree_delete(store, &record->key);
	if (result)
		undo_drop_last(store);
	else
		redo->length += log_record_encode(record, redo->data + redo->length);
	return result;
}

int store_put(struct store *store, const struct key *key, const uint8_t *value, size_t length)
{
	struct log_record record = {
	    .type = LOG_PUT, .key = *key, .value = value, .length = (uint16_t)length};

	return change(store, &record);
}

int store_delete(struct store *store, const struct key *key)
{
	struct log_record record = {.type = LOG_DELETE, .key = *key};

	return change(store, &record);
}

/* ---- transactions ---- */
static uint64_t log_room(const struct store *store)
{
	return (store->sb.log_blocks - store->log_used) * BLOCK_SIZE;
}

bool store_ready(struct store *store)
{
	if (store->failed || store->replaying)
		return true;
	if (store->freezing ||
	    (store->held && !(store->holder && store->holder == fiber_current())))
		return false;
	/* this one, the commit in flight, and what is lost at the end of the ring */
	if (log_room(store) < 4ull * store->commit_max ||
	    store->dirty_count > 2 * store->dirty_max) {
		store->checkpoint_wanted = true;
		store->kick(store);
		return false;
	}
	if (store->open.length > store->commit_max / 2) {
		commit_start(store);
		return store->open.length <= store->commit_max / 2;
	}
	return true;
}

void store_begin(struct store *store)
{
	assert(!store->in_transaction);
	store->in_transaction = true;
	store->undo.length = store->redo.length = 0;
	memcpy(store->saved_counters, store->counters, sizeof(store->counters));
}

static void prune_deleted(struct store *store)
{
	const uint8_t *cursor = store->redo.data, *end;
	struct log_record record;

	if (!store->redo.length)
		return;
	end = cursor + store->redo.length;
	while (log_record_decode(&cursor, end, &record) == 1)
		if (record.type == LOG_DELETE)
			btree_prune(store, &record.key);
}

uint64_t store_last_sequence(const struct store *store)
{
	return store->open.length > LOG_HEADER_BYTES ? store->open.sequence
						     : store->open.sequence - 1;
}

uint64_t store_end(struct store *store)
{
	struct commit *open = &store->open;

	prune_deleted(store);
	store->in_transaction = false;
	if (store->redo.length && !store->replaying) {
		memcpy(open->data + open->length, store->redo.data, store->redo.length);
		open->length += (uint32_t)store->redo.length;
		if (open->length > COMMIT_EAGER)
			commit_start(store);
	}
	if (store->dirty_count > store->dirty_max && !store->checkpoint_wanted &&
	    !store->replaying) {
		store->checkpoint_wanted = true;
		store->kick(store);
	}
	btree_trim(store);
	return open->length > LOG_HEADER_BYTES ? open->sequence : open->sequence - 1;
}

void store_abort(struct store *store)
{
	struct bytes *undo = &store->undo;

	while (undo->length) {
		uint32_t length = get32(undo->data + undo->length - 4);
		const uint8_t *cursor = undo->data + undo->length - 4 - length;
		struct log_record record;
		int result = log_record_decode(&cursor, undo->data + undo->length - 4, &record);

		if (result == 1)
			result = record.type == LOG_PUT
				     ? btree_put(store, &record.key, record.value, record.length)
				     : btree_delete(store, &record.key);
		/* its pages are in memory, and what was there has room: never seen, never hidden */
		if (result < 0)
			store_fail(store, result);
		undo->length -= length + 4;
	}
	memcpy(store->counters, store->saved_counters, sizeof(store->counters));
	store->in_transaction = false;
}

/* The counter that is in the tree, if it has changed. */
static int shared_count_keep(struct store *store)
{
	struct key key = {SPACE_OBJECT, KEY_SHARED, 0};
	uint64_t count = store->counters[COUNT_SHARED_BLOCKS];
	uint8_t value[8];

	if (count == store->saved_counters[COUNT_SHARED_BLOCKS])
		return 0;
	put64(value, count);
	return store_put(store, &key, value, sizeof(value));
}

static int attempt(struct store *store, int (*body)(void *context), void *context,
		   uint64_t *ret_sequence)
{
	struct waiter waiter;
	uint64_t sequence;
	int result;

	while (!store_ready(store))
		waiter_wait(store, &waiter, &store->room);
	if (store->failed || store->read_only)
		return store_refusal(store);
	store_begin(store);
	result = body(context);
	if (result >= 0) {
		int kept = shared_count_keep(store);

		result = kept ? kept : result;
	}
	if (result < 0) {
		store_abort(store);
		return result;
	}
	sequence = store_end(store);
	if (ret_sequence)
		*ret_sequence = sequence;
	return result;
}

int store_transact(struct store *store, int (*body)(void *context), void *context,
		   uint64_t *ret_sequence)
{
	int result;

	store_lock(store);
	for (;;) {
		struct missing missing;

		result = attempt(store, body, context, ret_sequence);
		if (result != -EINPROGRESS)
			break;
		missing = store->missing;
		store_unlock(store);
		result = store_load_page(store, &missing);
		store_lock(store);
		if (result < 0)
			break;
	}
	store_unlock(store);
	return result;
}

int store_look(struct store *store, int (*body)(void *context), void *context)
{
	int result;

	store_lock(store);
	for (;;) {
		struct missing missing;

		result = body(context);
		if (result != -EINPROGRESS)
			break;
		missing = store->missing;
		store_unlock(store);
		result = store_load_page(store, &missing);
		store_lock(store);
		if (result < 0)
			break;
	}
	btree_trim(store);
	store_unlock(store);
	return result;
}

/* ---- the log ---- */
int commit_setup(struct store *store)
{
	uint64_t ring = store->sb.log_blocks * BLOCK_SIZE;

	/* many of them must fit the ring, see store_ready() */
	store->commit_max = ring / 16 < LOG_COMMIT_MAX ? (uint32_t)(ring / 16) : LOG_COMMIT_MAX;
	store->commit_max -= store->commit_max % BLOCK_SIZE;
	list_init(&store->open.waiters);
	list_init(&store->writing.waiters);
	store->open.data = heap_aligned(BLOCK_SIZE, store->commit_max);
	store->writing.data = heap_aligned(BLOCK_SIZE, store->commit_max);
	store->open.length = LOG_HEADER_BYTES;
	return store->open.data && store->writing.data ? 0 : -ENOMEM;
}

void commit_finish(struct store *store)
{
	heap_free(store->open.data);
	heap_free(store->writing.data);
	heap_free(store->undo.data);
	heap_free(store->redo.data);
}

static void commit_done(struct volume_request *request, int result)
{
	struct store *store = container_of(request, struct store, request);

	store_lock(store);
	store->committing = false;
	if (result < 0)
		store_fail(store, result);
	else
		store->durable_sequence = store->writing.sequence;
	waiters_resume(&store->writing.waiters, store->failed ? store_refusal(store) : 0);
	if (!list_empty(&store->open.waiters) || store->freezing)
		commit_start(store); /* what gathered meanwhile */
	if (!store->committing)
		waiters_resume(&store->quiet, 0);
	waiters_resume(&store->room, 0);
	store_unlock(store);
}

/* Where the next commit goes; what does not fit at the end of the ring begins it anew. */
static uint64_t log_place(struct store *store, uint64_t blocks)
{
	uint64_t at = store->log_head;

	if (at + blocks > store->sb.log_blocks) {
		store->log_used += store->sb.log_blocks - at;
		at = 0;
	}
	store->log_head = (at + blocks) % store->sb.log_blocks;
	store->log_used += blocks;
	return at;
}

static void commit_swap(struct store *store)
{
	struct commit *open = &store->open, *writing = &store->writing;
	uint8_t *data = writing->data;

	assert(list_empty(&writing->waiters));
	writing->data = open->data;
	writing->length = open->length;
	writing->sequence = open->sequence;
	list_splice_back(&writing->waiters, &open->waiters);
	open->data = data;
	open->length = LOG_HEADER_BYTES;
	open->sequence = ++store->next_sequence;
}

void commit_start(struct store *store)
{
	struct commit *writing = &store->writing;
	struct log_header header;
	uint64_t blocks, at;

	if (store->committing || store->failed || store->open.length == LOG_HEADER_BYTES)
		return;
	commit_swap(store);
	header = (struct log_header){.sequence = writing->sequence, .length = writing->length};
	memcpy(header.counters, store->counters, sizeof(header.counters));
	log_encode(store->sb.uuid, &header, writing->data);
	blocks = (writing->length + BLOCK_SIZE - 1) / BLOCK_SIZE;
	memset(writing->data + writing->length, 0, blocks * BLOCK_SIZE - writing->length);
	at = log_place(store, blocks);
	store->committing = true;
	store->commits++;
	store->log_written += blocks;
	store->iov = (struct iovec){.iov_base = writing->data, .iov_len = blocks * BLOCK_SIZE};
	store->request = (struct volume_request){
	    .op = VOLUME_WRITE,
	    .flags = VOLUME_VITAL | (KEEPS(share_commit_fua) ? VOLUME_FUA : 0),
	    .offset = (LOG_START + at) * BLOCK_SIZE,
	    .length = blocks * BLOCK_SIZE,
	    .iov = &store->iov,
	    .iov_count = 1,
	    .done = commit_done};
	volume_submit(store->volume, &store->request);
	if (log_room(store) < store->sb.log_blocks * BLOCK_SIZE / 2 && !store->checkpoint_wanted) {
		store->checkpoint_wanted = true;
		store->kick(store);
	}
}

int store_wait(struct store *store, uint64_t sequence)
{
	int result = 0;

	if (!KEEPS(share_wait_for_commit))
		return 0;
	store_lock(store);
	while (store->durable_sequence < sequence && !store->failed) {
		struct waiter waiter = {.sequence = sequence};
		bool writing = store->committing && store->writing.sequence >= sequence;

		if (!writing)
			commit_start(store);
		if (store->durable_sequence >= sequence)
			break;
		waiter_wait(store, &waiter,
			    store->committing && store->writing.sequence >= sequence
				? &store->writing.waiters
				: &store->open.waiters);
	}
	if (store->durable_sequence < sequence)
		result = store_refusal(store);
	store_unlock(store);
	return result;
}
