/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.c: the changed pages go to their new blocks, then the superblock names the new root.
 *
 *   freeze (no transaction between commits) -> pages, bitmaps -> flush -> superblock, FUA
 *
 * Until the superblock is written, a crash finds the old root, none of whose blocks was touched
 * (S3), and the log behind it. Changes go on meanwhile, in the next generation. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "shares/order.h"
#include "shares/store.h"

#define RUN_MAX (256u << 10) /* bytes of one write of pages */

struct image {
	uint64_t block;
	uint8_t *page;
};

struct freeze {
	struct superblock sb;
	struct image *images;
	unsigned count;
	uint8_t *pages; /* of all images */
	uint64_t log_used;
	bool no_memory;
};

static int by_block(const void *a, const void *b)
{
	const struct image *one = a, *other = b;

	return one->block < other->block ? -1 : one->block > other->block;
}

/* Wait for a moment between commits with everything in the log. Under the lock. */
static void wait_quiet(struct store *store)
{
	store->freezing = true;
	while (!store->failed && (store->committing || store->open.length > LOG_HEADER_BYTES)) {
		struct waiter waiter;

		commit_start(store);
		if (store->committing)
			waiter_wait(store, &waiter, &store->quiet);
	}
}

static void freeze_superblock(struct store *store, struct freeze *freeze, bool clean)
{
	struct superblock *sb = &freeze->sb;

	*sb = store->sb;
	sb->generation = store->generation;
	sb->root = store->root.block;
	sb->root_generation = store->root.generation;
	sb->root_level = store->root_level;
	sb->clean = clean;
	sb->quota_blocks = store->quota_blocks;
	sb->version = store->version;
	sb->log_block = store->log_head;
	sb->log_sequence = store->open.sequence;
	memcpy(sb->counters, store->counters, sizeof(sb->counters));
	for (uint64_t i = 0; i < sb->bitmap_blocks; i++) {
		if (!store->bitmaps[i] || !store->bitmaps[i]->freezing)
			continue;
		sb->bitmap_copy[i / 8] ^= (uint8_t)(1u << i % 8);
		if (sb->bitmap_used <= i)
			sb->bitmap_used = (uint32_t)i + 1;
	}
	freeze->log_used = store->log_used;
}

/* All under the lock: copies of pages, nothing that waits. */
static void freeze_pages(struct store *store, struct freeze *freeze)
{
	freeze->images = heap_zalloc_array(store->dirty_count + 1u, sizeof(*freeze->images));
	freeze->pages = heap_aligned(BLOCK_SIZE, ((size_t)store->dirty_count + 1) * BLOCK_SIZE);
	if (!freeze->images || !freeze->pages) {
		freeze->no_memory = true;
		return;
	}
	while (!list_empty(&store->dirty)) {
		struct node *node = list_entry(store->dirty.next, struct node, lru);
		struct image *image = &freeze->images[freeze->count];

		image->block = node->block;
		image->page = freeze->pages + (size_t)freeze->count++ * BLOCK_SIZE;
		memcpy(image->page, node->page, BLOCK_SIZE);
		list_remove(&node->lru);
		list_push_front(&store->lru, &node->lru);
	}
	store->dirty_count = 0;
	bitmaps_freeze(store);
}

static int write_pages(struct store *store, struct freeze *freeze)
{
	int result = 0;

	/* neighbours go in one write: order the copies by block first */
	for (unsigned i = 0; i < freeze->count; i++)
		page_sum(freeze->images[i].page);
	qsort(freeze->images, freeze->count, sizeof(*freeze->images), by_block);
	for (unsigned i = 0; i < freeze->count && result == 0;) {
		struct iovec iov[RUN_MAX / BLOCK_SIZE];
		unsigned run = 0;

		while (i + run < freeze->count && run < RUN_MAX / BLOCK_SIZE &&
		       freeze->images[i + run].block == freeze->images[i].block + run) {
			iov[run] = (struct iovec){.iov_base = freeze->images[i + run].page,
						  .iov_len = BLOCK_SIZE};
			run++;
		}
		result = store_io_vector(store, VOLUME_WRITE, VOLUME_VITAL,
					 freeze->images[i].block * BLOCK_SIZE, iov, run,
					 (uint64_t)run * BLOCK_SIZE);
		i += run;
	}
	return result;
}

static int write_bitmaps(struct store *store, struct freeze *freeze, uint8_t *block)
{
	struct superblock *sb = &freeze->sb;
	int result = 0;

	for (uint64_t i = 0; i < sb->bitmap_blocks && result == 0; i++) {
		unsigned copy = sb->bitmap_copy[i / 8] >> i % 8 & 1;

		if (!store->bitmaps[i] || !store->bitmaps[i]->freezing)
			continue;
		bitmap_encode(sb->uuid, i, sb->generation, store->bitmaps[i]->frozen, block);
		result =
		    store_io(store, VOLUME_WRITE, VOLUME_VITAL,
			     (sb->bitmap_start + 2 * i + copy) * BLOCK_SIZE, block, BLOCK_SIZE);
	}
	return result;
}

static int write_all(struct store *store, struct freeze *freeze)
{
	uint8_t *block = heap_aligned(BLOCK_SIZE, BLOCK_SIZE);
	uint64_t copy = KEEPS(share_superblock_alternates) ? freeze->sb.generation % 2 : 0;
	uint64_t place = copy * SUPERBLOCK_B * BLOCK_SIZE;
	int result;

	if (!block)
		return -ENOMEM;
	result = KEEPS(share_pages_before_superblock) ? write_pages(store, freeze) : 0;
	if (result == 0)
		result = write_bitmaps(store, freeze, block);
	if (result == 0)
		result = store_io(store, VOLUME_FLUSH, 0, 0, NULL, 0);
	if (result == 0) {
		share_superblock_encode(&freeze->sb, block);
		result = store_io(store, VOLUME_WRITE, VOLUME_VITAL | VOLUME_FUA, place, block,
				  BLOCK_SIZE);
	}
	if (!KEEPS(share_pages_before_superblock))
		result = write_pages(store, freeze);
	heap_free(block);
	return result;
}

int store_checkpoint(struct store *store, bool clean)
{
	struct freeze freeze = {0};
	int result;

	store_lock(store);
	while (store->checkpointing) {
		struct waiter waiter;

		waiter_wait(store, &waiter, &store->checkpointed);
	}
	store->checkpointing = true;
	wait_quiet(store);
	if (!store->failed)
		freeze_pages(store, &freeze);
	if (!store->failed && !freeze.no_memory) {
		freeze_superblock(store, &freeze, clean);
		store->generation++;
	}
	store->freezing = false;
	store->checkpoint_wanted = false;
	result = store->failed ? store_refusal(store) : freeze.no_memory ? -ENOMEM : 0;
	waiters_resume(&store->room, 0);
	store_unlock(store);
	if (result == 0)
		result = write_all(store, &freeze);
	store_lock(store);
	if (result == 0) {
		store->sb = freeze.sb;
		bitmaps_frozen_is_durable(store);
		store->log_used -= freeze.log_used;
		store->checkpoints++;
	} else if (!freeze.no_memory) {
		store_fail(store, result);
	}
	store->checkpointing = false;
	waiters_resume(&store->checkpointed, 0);
	waiters_resume(&store->room, 0);
	store_unlock(store);
	heap_free(freeze.images);
	heap_free(freeze.pages);
	return result;
}

/* A checkpoint may be on its way without it: three see to it, or the store has no memory. */
int store_need_version(struct store *store, uint32_t version)
{
	int result = 0;

	store_lock(store);
	for (unsigned i = 0; i < 3 && store->sb.version < version && !store->failed; i++) {
		struct waiter waiter;

		if (store->version < version)
			store->version = version;
		store->checkpoint_wanted = true;
		store->kick(store);
		waiter_wait(store, &waiter, &store->checkpointed);
	}
	if (store->sb.version < version)
		result = store->failed ? store_refusal(store) : -ENOMEM;
	store_unlock(store);
	return result;
}
