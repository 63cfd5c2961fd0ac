/* SPDX-License-Identifier: Apache-2.0 */
/* store.c: waiting, formatting, opening with the replay of the log, closing. */
#include "shares/store.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "core/log.h"

#define NODES_DEFAULT 16384u /* 64 MiB of pages */
#define NODES_MIN     256u
#define DIRTY_DEFAULT 2048u
#define ZEROS_BYTES   (64u << 10)
/* Commits of an earlier life must never look like the next one. */
#define SEQUENCE_GAP (1u << 20)

/* ---- waiting ---- */
void waiter_wait(struct store *store, struct waiter *waiter, struct list *list)
{
	waiter->fiber = fiber_current();
	waiter->loop = loop_current();
	waiter->result = 0;
	assert(waiter->fiber);
	list_push_back(list, &waiter->link);
	store_unlock(store);
	fiber_wait();
	store_lock(store);
}

static void waiter_message(struct message *message)
{
	fiber_wake(container_of(message, struct waiter, message)->fiber);
}

void waiters_resume(struct list *list, int result)
{
	struct list *link;

	while ((link = list_pop_front(list)) != NULL) {
		struct waiter *waiter = list_entry(link, struct waiter, link);

		waiter->result = result;
		if (waiter->loop == loop_current())
			fiber_wake(waiter->fiber);
		else
			loop_post(waiter->loop, &waiter->message, waiter_message);
	}
}

struct store_wait_io {
	struct volume_request request;
	struct fiber *fiber;
	int result;
	bool done;
};

static void io_done(struct volume_request *request, int result)
{
	struct store_wait_io *io = container_of(request, struct store_wait_io, request);

	io->result = result;
	io->done = true;
	fiber_wake(io->fiber);
}

/* Submits io->request, and waits for it. */
static int io_run(struct volume *volume, struct store_wait_io *io)
{
	io->fiber = fiber_current();
	io->request.done = io_done;
	volume_submit(volume, &io->request);
	while (!io->done)
		fiber_wait();
	return io->result;
}

static int volume_io(struct volume *volume, enum volume_op op, unsigned flags, uint64_t offset,
		     const struct iovec *iov, unsigned iov_count, uint64_t length)
{
	struct store_wait_io io = {.request = {.op = op,
					       .flags = flags,
					       .offset = offset,
					       .length = length,
					       .iov = iov,
					       .iov_count = iov_count}};

	return io_run(volume, &io);
}

int store_io_vector(struct store *store, enum volume_op op, unsigned flags, uint64_t offset,
		    const struct iovec *iov, unsigned iov_count, uint64_t length)
{
	return volume_io(store->volume, op, flags, offset, iov, iov_count, length);
}

int store_io(struct store *store, enum volume_op op, unsigned flags, uint64_t offset, void *memory,
	     uint64_t length)
{
	struct iovec iov = {.iov_base = memory, .iov_len = length};

	return store_io_vector(store, op, flags, offset, &iov, memory ? 1 : 0, length);
}

int store_extents(struct store *store, uint64_t offset, uint64_t length,
		  struct volume_extent *extents, unsigned max, unsigned *ret_count)
{
	struct store_wait_io io = {.request = {.op = VOLUME_EXTENTS,
					       .offset = offset,
					       .length = length,
					       .extents = extents,
					       .extent_max = max}};
	int result = io_run(store->volume, &io);

	*ret_count = result ? 0 : io.request.extent_count;
	return result == 0 && *ret_count == 0 ? -EIO : result;
}

int store_zeros(struct store *store, uint64_t offset, uint64_t length)
{
	_Alignas(BLOCK_SIZE) static uint8_t zeros[ZEROS_BYTES];
	struct iovec iov[VOLUME_TRANSFER_MAX / ZEROS_BYTES];
	int result = 0;

	for (uint64_t done = 0, part; done < length && result == 0; done += part) {
		unsigned count = 0;

		part = length - done < VOLUME_TRANSFER_MAX ? length - done : VOLUME_TRANSFER_MAX;
		for (uint64_t left = part; left > 0; left -= iov[count++].iov_len)
			iov[count] = (struct iovec){
			    .iov_base = zeros, .iov_len = left < ZEROS_BYTES ? left : ZEROS_BYTES};
		result = store_io_vector(store, VOLUME_WRITE, 0, offset + done, iov, count, part);
	}
	return result;
}

void store_fail(struct store *store, int error)
{
	if (store->failed)
		return;
	store->failed = true;
	store->error = error;
	if (error == -ENOSPC)
		log_error("share on volume %s: its pool has no space for it; it takes no changes "
			  "until there is some",
			  store->volume->name);
	else
		log_error("share on volume %s: error %d; it takes no further changes",
			  store->volume->name, -error);
	waiters_resume(&store->open.waiters, store_refusal(store));
	waiters_resume(&store->room, 0);
	waiters_resume(&store->quiet, 0);
	waiters_resume(&store->checkpointed, 0);
}

int store_refusal(const struct store *store)
{
	return store->failed && store->error == -ENOSPC ? -ENOSPC : -EROFS;
}

/* ---- superblock ---- */
static void share_superblock_pick(const uint8_t *block, uint64_t blocks, struct superblock *best,
				  int *ret_result)
{
	struct superblock found;
	int result = share_superblock_decode(block, blocks, &found);

	if (result == 0 && (*ret_result != 0 || found.generation > best->generation)) {
		*best = found;
		*ret_result = 0;
	} else if (*ret_result != 0 && *ret_result != -EUCLEAN && *ret_result != -ENOTSUP) {
		*ret_result = result;
	}
}

static int share_superblock_load(struct volume *volume, struct superblock *ret_superblock)
{
	uint64_t blocks = volume_size(volume) / BLOCK_SIZE;
	uint8_t *block = heap_aligned(BLOCK_SIZE, BLOCK_SIZE);
	struct iovec iov = {.iov_base = block, .iov_len = BLOCK_SIZE};
	struct superblock best = {0};
	int result = -EPROTO;

	if (!block)
		return -ENOMEM;
	for (unsigned copy = 0; copy < 2 && blocks >= SHARE_SIZE_MIN / BLOCK_SIZE; copy++) {
		int error =
		    volume_io(volume, VOLUME_READ, 0, (uint64_t)copy * SUPERBLOCK_B * BLOCK_SIZE,
			      &iov, 1, BLOCK_SIZE);

		if (error == 0)
			share_superblock_pick(block, blocks, &best, &result);
		else if (result == -EPROTO)
			result = error;
	}
	if (result == 0)
		*ret_superblock = best;
	heap_free(block);
	return result;
}

int share_superblock_read(struct volume *volume, struct superblock *ret_superblock, struct err *err)
{
	int result = share_superblock_load(volume, ret_superblock);

	if (result == -EPROTO)
		return err_set(err, result, "volume %s holds no share", volume->name);
	if (result == -ENOTSUP)
		return err_set(err, result, "the share on volume %s is of a newer version",
			       volume->name);
	if (result)
		return err_set(err, result, "the share on volume %s is damaged (superblock)",
			       volume->name);
	return 0;
}

/* ---- opening ---- */
static void no_kick(struct store *store)
{
	(void)store;
}

static struct store *store_new(const struct store_options *options)
{
	struct store *store = heap_zalloc(sizeof(*store));
	pthread_mutexattr_t kind;

	if (!store)
		return NULL;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&store->lock, &kind);
	pthread_mutexattr_destroy(&kind);
	store->volume = options->volume;
	store->home = options->loop;
	store->read_only = options->read_only;
	store->node_max = options->node_max ? options->node_max : NODES_DEFAULT;
	if (store->node_max < NODES_MIN)
		store->node_max = NODES_MIN;
	store->dirty_max =
	    store->node_max / 2 < DIRTY_DEFAULT ? store->node_max / 2 : DIRTY_DEFAULT;
	store->kick = no_kick;
	for (unsigned i = 0; i < NODE_BUCKETS; i++)
		list_init(&store->hash[i]);
	list_init(&store->lru);
	list_init(&store->dirty);
	list_init(&store->loadings);
	list_init(&store->room);
	list_init(&store->quiet);
	list_init(&store->checkpointed);
	return store;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	btree_free(store);
	for (uint64_t i = 0; store->bitmaps && i < store->sb.bitmap_blocks; i++)
		heap_free(store->bitmaps[i]);
	heap_free(store->bitmaps);
	commit_finish(store);
	pthread_mutex_destroy(&store->lock);
	heap_free(store);
}

static int setup(struct store *store)
{
	store->bitmaps = heap_zalloc_array(store->sb.bitmap_blocks, sizeof(*store->bitmaps));
	if (!store->bitmaps)
		return -ENOMEM;
	store->generation = store->sb.generation + 1;
	store->root = (struct page_child){store->sb.root, store->sb.root_generation};
	store->root_level = store->sb.root_level;
	store->quota_blocks = store->sb.quota_blocks;
	memcpy(store->counters, store->sb.counters, sizeof(store->sb.counters));
	store->version = store->sb.version;
	store->next_sequence = store->open.sequence = store->sb.log_sequence;
	store->durable_sequence = store->sb.log_sequence - 1;
	store->log_head = store->sb.log_block;
	return commit_setup(store);
}

static int read_bitmaps(struct store *store)
{
	uint8_t *block = heap_aligned(BLOCK_SIZE, BLOCK_SIZE);
	struct superblock *sb = &store->sb;
	int result = block ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < sb->bitmap_used && result == 0; i++) {
		unsigned copy = sb->bitmap_copy[i / 8] >> i % 8 & 1;
		struct bitmap *bitmap;

		result = bitmap_need(store, i, &bitmap);
		if (result == 0)
			result = store_io(store, VOLUME_READ, 0,
					  (sb->bitmap_start + 2 * i + copy) * BLOCK_SIZE, block,
					  BLOCK_SIZE);
		if (result == 0)
			result = bitmap_decode(block, sb->uuid, i, sb->generation, bitmap->current);
		if (result == 0)
			memcpy(bitmap->durable, bitmap->current, BITMAP_BYTES);
	}
	heap_free(block);
	return result;
}

/* ---- replay ---- */
struct replay {
	struct store *store;
	uint8_t *commit;
	struct log_header header;
	struct log_record record;
};

static int replay_record(void *context)
{
	struct replay *replay = context;
	struct log_record *record = &replay->record;
	int result;

	if (record->type == LOG_PUT)
		return store_put(replay->store, &record->key, record->value, record->length);
	result = store_delete(replay->store, &record->key);
	return result == -ENOENT ? -EUCLEAN : result;
}

static int replay_commit(struct replay *replay)
{
	const uint8_t *cursor = replay->commit + LOG_HEADER_BYTES;
	const uint8_t *end = replay->commit + replay->header.length;
	int result;

	while ((result = log_record_decode(&cursor, end, &replay->record)) == 1) {
		result = store_transact(replay->store, replay_record, replay, NULL);
		if (result < 0)
			return result;
	}
	if (result == 0)
		memcpy(replay->store->counters, replay->header.counters,
		       sizeof(replay->header.counters));
	return result;
}

/* Is the next commit at block @at of the ring? 1: it is read; 0: no. A block that can not be read
 * is no commit: the last one may be torn. */
static int replay_read(struct replay *replay, uint64_t at)
{
	struct store *store = replay->store;
	uint64_t room = (store->sb.log_blocks - at) * BLOCK_SIZE, sequence, length;
	uint64_t offset = (LOG_START + at) * BLOCK_SIZE;
	int result = store_io(store, VOLUME_READ, 0, offset, replay->commit, BLOCK_SIZE);

	if (result < 0)
		return result == -EILSEQ || result == -EIO ? 0 : result;
	length = log_peek(replay->commit, store->sb.uuid, &sequence);
	if (!length || sequence != store->open.sequence || length > room ||
	    length > store->commit_max)
		return 0;
	length = (length + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	if (length > BLOCK_SIZE)
		result = store_io(store, VOLUME_READ, 0, offset, replay->commit, length);
	if (result < 0)
		return result == -EILSEQ || result == -EIO ? 0 : result;
	return log_decode(replay->commit, length, store->sb.uuid, &replay->header) == 0;
}

/* A block that can not be read says nothing, and hides none of those beside it. */
static int look_at_blocks(struct replay *replay, uint64_t at, uint64_t count)
{
	struct store *store = replay->store;
	int result = store_io(store, VOLUME_READ, 0, (LOG_START + at) * BLOCK_SIZE, replay->commit,
			      count * BLOCK_SIZE);
	bool ahead = false;

	if (result < 0 && count == 1)
		return 0;
	for (uint64_t i = 0; i < count && !ahead; i++) {
		uint64_t sequence;

		if (result < 0)
			ahead = look_at_blocks(replay, at + i, 1) != 0;
		else
			ahead =
			    log_peek(replay->commit + i * BLOCK_SIZE, store->sb.uuid, &sequence) &&
			    sequence > store->open.sequence;
	}
	return ahead ? -EUCLEAN : 0;
}

/* S2: a commit behind the end means that one before it was lost after it had been durable. In
 * pieces: where the volume is far away each read takes its time, and who opens the share waits. */
static int replay_look_behind(struct replay *replay)
{
	struct store *store = replay->store;
	uint64_t most = store->commit_max / BLOCK_SIZE, left;
	int result = 0;

	for (uint64_t at = 0; at < store->sb.log_blocks && result == 0; at += most) {
		left = store->sb.log_blocks - at;
		result = look_at_blocks(replay, at, left < most ? left : most);
	}
	return result;
}

static int replay_all(struct replay *replay)
{
	struct store *store = replay->store;

	for (;;) {
		uint64_t at = store->log_head, blocks;
		int result = replay_read(replay, at);

		if (result == 0 && at != 0) {
			at = 0;
			result = replay_read(replay, at);
		}
		if (result <= 0)
			return result < 0 ? result : replay_look_behind(replay);
		result = replay_commit(replay);
		if (result < 0)
			return result;
		blocks = (replay->header.length + BLOCK_SIZE - 1) / BLOCK_SIZE;
		if (at == 0 && store->log_head != 0)
			store->log_used += store->sb.log_blocks - store->log_head;
		store->log_used += blocks;
		store->log_head = (at + blocks) % store->sb.log_blocks;
		store->durable_sequence = store->open.sequence;
		store->open.sequence = ++store->next_sequence;
	}
}

static int replay_log(struct store *store)
{
	struct replay replay = {.store = store};
	bool read_only = store->read_only;
	int result;

	replay.commit = heap_aligned(BLOCK_SIZE, store->commit_max);
	if (!replay.commit)
		return -ENOMEM;
	store->replaying = true;
	store->read_only = false; /* in memory */
	result = replay_all(&replay);
	store->replaying = false;
	store->read_only = read_only;
	heap_free(replay.commit);
	return result;
}

/* The counter that is in the tree. */
static int shared_count_load(void *context)
{
	struct store *store = context;
	struct key key = {SPACE_OBJECT, KEY_SHARED, 0};
	const uint8_t *value;
	size_t length;
	int result = btree_get(store, &key, &value, &length);

	if (result)
		return result == -ENOENT ? 0 : result;
	if (length != 8)
		return -EUCLEAN;
	store->counters[COUNT_SHARED_BLOCKS] = get64(value);
	return 0;
}

static int users_counted_load(void *context)
{
	struct store *store = context;
	struct key key = {ORPHAN_OBJECT, KEY_USER, USERS_COUNTED};
	const uint8_t *value;
	size_t length;
	int result = btree_get(store, &key, &value, &length);

	if (result)
		return result == -ENOENT ? 0 : result;
	if (length != 8 || get64(value) != 1)
		return -EUCLEAN;
	store->counters[COUNT_USERS] = 1;
	return 0;
}

static int start(struct store *store)
{
	int result = read_bitmaps(store);

	if (result == 0 && !store->sb.clean)
		result = replay_log(store);
	if (result == 0)
		result = store_look(store, shared_count_load, store);
	if (result == 0)
		result = store_look(store, users_counted_load, store);
	if (result || store->read_only)
		return result;
	store->next_sequence += SEQUENCE_GAP;
	store->open.sequence = store->next_sequence;
	store->durable_sequence = store->next_sequence - 1;
	store->sb.mounts++;
	return store_checkpoint(store, false);
}

int store_open(const struct store_options *options, struct store **ret_store, struct err *err)
{
	struct store *store = store_new(options);
	int result;

	if (!store)
		return err_set(err, -ENOMEM, "no memory for a share");
	result = share_superblock_read(options->volume, &store->sb, err);
	if (result) {
		store_free(store);
		return result;
	}
	result = setup(store);
	if (result == 0)
		result = start(store);
	if (result) {
		store_free(store);
		return err_set(err, result,
			       result == -EUCLEAN ? "the share on volume %s is damaged"
						  : "the share on volume %s can not be opened",
			       options->volume->name);
	}
	*ret_store = store;
	return 0;
}

int store_close(struct store *store)
{
	if (store->read_only)
		return 0;
	return store->failed ? -EROFS : store_checkpoint(store, true);
}

/* ---- formatting ---- */

static int format_space(void *context)
{
	struct store *store = context;
	struct key key = {SPACE_OBJECT, KEY_FREE, store->sb.data_start};
	uint8_t value[8];

	put64(value, store->sb.volume_blocks - store->sb.data_start);
	return store_put(store, &key, value, sizeof(value));
}

int store_format(const struct store_options *options, const uint8_t uuid[16],
		 const uint8_t secret[16], struct err *err)
{
	struct store *store = store_new(options);
	struct superblock *sb;
	int result;

	if (!store)
		return err_set(err, -ENOMEM, "no memory for a share");
	sb = &store->sb;
	result = share_superblock_layout(volume_size(options->volume) / BLOCK_SIZE,
					 options->log_blocks, sb);
	if (result) {
		store_free(store);
		return err_set(err, result, "a share needs a volume of at least 16 MiB");
	}
	memcpy(sb->uuid, uuid, 16);
	memcpy(sb->secret, secret, 16);
	sb->quota_blocks = options->quota_blocks;
	sb->version = FORMAT_PLAIN;
	sb->log_sequence = 1;
	sb->counters[COUNT_NEXT_INODE] = ROOT_INODE + 1;
	sb->counters[COUNT_FREE_BLOCKS] = sb->volume_blocks - sb->data_start;
	result = setup(store);
	if (result == 0)
		result = btree_make_root(store);
	store->replaying = true; /* no log: the checkpoint is the first state there is */
	if (result == 0)
		result = store_transact(store, format_space, store, NULL);
	store->replaying = false;
	/* both superblocks: nothing of what the volume held before may be taken for a share */
	if (result == 0)
		result = store_checkpoint(store, true);
	if (result == 0)
		result = store_checkpoint(store, true);
	store_free(store);
	return result ? err_set(err, result, "the volume can not be written") : 0;
}
