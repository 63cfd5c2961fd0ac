/* SPDX-License-Identifier: Apache-2.0 */
#include "core/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "core/heap.h"
#include "core/list.h"
#include "core/loop.h"

/* A buddy allocator over 1 MiB slabs. A slab of 256 pages carries one struct buf per page; the
 * buffer that starts at a page uses that page's header. Slabs stay until the pool goes.
 * In front of it each class keeps a short stack of free buffers, so that the usual get and
 * unref touch nothing else. */

#define PAGE_SIZE   4096u
#define SLAB_PAGES  (BUF_MAX / PAGE_SIZE)
#define CLASS_COUNT 9u         /* 4 KiB .. 1 MiB */
#define CACHE_BYTES (1u << 20) /* per class */

enum page_state { PAGE_INSIDE, PAGE_FREE, PAGE_USED, PAGE_CACHED };

struct slab_page {
	struct buf buf;
	struct list link; /* in the class's free list while PAGE_FREE */
	struct slab *slab;
	enum page_state state;
};

struct slab {
	struct slab *next;
	char *memory;
	struct slab_page pages[SLAB_PAGES];
};

struct buf_pool {
	size_t budget, used, slab_bytes;
	struct slab *slabs;
	struct list free[CLASS_COUNT];
	struct buf *cache[CLASS_COUNT];
	size_t cached[CLASS_COUNT]; /* buffers */
	struct buf_waiter *first_waiter, **last_waiter;
	struct loop *loop;
	struct deferred wake;
};

static size_t class_size(unsigned class_index)
{
	return (size_t)PAGE_SIZE << class_index;
}

static unsigned class_of(size_t size)
{
	unsigned class_index = 0;

	while (class_size(class_index) < size)
		class_index++;
	return class_index;
}

static struct slab_page *page_of(struct buf *buf)
{
	return container_of(buf, struct slab_page, buf);
}

static void call_waiters(struct buf_pool *pool)
{
	struct buf_waiter *waiter = pool->first_waiter;

	pool->first_waiter = NULL;
	pool->last_waiter = &pool->first_waiter;
	while (waiter) {
		struct buf_waiter *next = waiter->next;

		waiter->ready(waiter);
		waiter = next;
	}
}

static void wake_run(struct deferred *deferred)
{
	call_waiters(container_of(deferred, struct buf_pool, wake));
}

int buf_pool_create(size_t budget_bytes, struct buf_pool **ret_pool)
{
	struct buf_pool *pool = heap_zalloc(sizeof *pool);

	if (!pool)
		return -ENOMEM;
	pool->budget = budget_bytes;
	pool->last_waiter = &pool->first_waiter;
	for (unsigned i = 0; i < CLASS_COUNT; i++)
		list_init(&pool->free[i]);
	deferred_init(&pool->wake, wake_run);
	*ret_pool = pool;
	return 0;
}

void buf_pool_destroy(struct buf_pool *pool)
{
	if (!pool)
		return;
	assert(pool->used == 0);
	deferred_cancel(&pool->wake);
	while (pool->slabs) {
		struct slab *slab = pool->slabs;

		pool->slabs = slab->next;
		heap_free(slab->memory);
		heap_free(slab);
	}
	heap_free(pool);
}

void buf_pool_set_budget(struct buf_pool *pool, size_t budget_bytes)
{
	pool->budget = budget_bytes;
}

void buf_pool_set_loop(struct buf_pool *pool, struct loop *loop)
{
	pool->loop = loop;
}

size_t buf_pool_used(const struct buf_pool *pool)
{
	return pool->used;
}

static void put_free(struct buf_pool *pool, struct slab_page *page, unsigned class_index)
{
	page->state = PAGE_FREE;
	page->buf.class_index = class_index;
	list_push_front(&pool->free[class_index], &page->link);
}

/* Join @page with its free buddies as far as it goes, and file what comes out. */
static void merge(struct buf_pool *pool, struct slab_page *page)
{
	struct slab *slab = page->slab;
	unsigned class_index = page->buf.class_index;
	size_t index = (size_t)(page - slab->pages);

	while (class_index + 1 < CLASS_COUNT) {
		struct slab_page *buddy = &slab->pages[index ^ ((size_t)1 << class_index)];

		if (buddy->state != PAGE_FREE || buddy->buf.class_index != class_index)
			break;
		list_remove(&buddy->link);
		buddy->state = PAGE_INSIDE;
		slab->pages[index].state = PAGE_INSIDE;
		index &= ~((size_t)1 << class_index);
		class_index++;
	}
	put_free(pool, &slab->pages[index], class_index);
}

static int slab_add(struct buf_pool *pool)
{
	struct slab *slab;

	if (pool->slab_bytes + BUF_MAX > pool->budget)
		return -ENOBUFS;
	slab = heap_zalloc(sizeof *slab);
	if (!slab)
		return -ENOMEM;
	slab->memory = heap_aligned(PAGE_SIZE, BUF_MAX);
	if (!slab->memory) {
		heap_free(slab);
		return -ENOMEM;
	}
	for (size_t i = 0; i < SLAB_PAGES; i++) {
		slab->pages[i].slab = slab;
		slab->pages[i].buf.pool = pool;
		slab->pages[i].buf.data = slab->memory + i * PAGE_SIZE;
		list_init(&slab->pages[i].link);
	}
	slab->next = pool->slabs;
	pool->slabs = slab;
	pool->slab_bytes += BUF_MAX;
	put_free(pool, &slab->pages[0], CLASS_COUNT - 1);
	return 0;
}

/* Take a buffer of @class_index out of the free lists, splitting a larger one if need be. */
static struct buf *split_out(struct buf_pool *pool, unsigned class_index)
{
	unsigned from = class_index;
	struct slab_page *page;

	while (from < CLASS_COUNT && list_empty(&pool->free[from]))
		from++;
	if (from == CLASS_COUNT)
		return NULL;
	page = list_entry(list_pop_front(&pool->free[from]), struct slab_page, link);
	while (from > class_index) {
		from--;
		put_free(pool, page + ((size_t)1 << from), from);
	}
	page->buf.class_index = class_index;
	return &page->buf;
}

static void drop_caches(struct buf_pool *pool)
{
	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		while (pool->cache[i]) {
			struct buf *buf = pool->cache[i];

			pool->cache[i] = buf->next;
			merge(pool, page_of(buf));
		}
		pool->cached[i] = 0;
	}
}

static struct buf *find(struct buf_pool *pool, unsigned class_index)
{
	struct buf *buf = pool->cache[class_index];

	if (buf) {
		pool->cache[class_index] = buf->next;
		pool->cached[class_index]--;
		return buf;
	}
	buf = split_out(pool, class_index);
	if (!buf && slab_add(pool) == 0)
		buf = split_out(pool, class_index);
	if (!buf) {
		drop_caches(pool);
		buf = split_out(pool, class_index);
	}
	return buf;
}

struct buf *buf_get(struct buf_pool *pool, size_t size)
{
	unsigned class_index;
	struct buf *buf;

	assert(size <= BUF_MAX);
	class_index = class_of(size);
	if (pool->used + class_size(class_index) > pool->budget)
		return NULL;
	buf = find(pool, class_index);
	if (!buf)
		return NULL;
	page_of(buf)->state = PAGE_USED;
	buf->size = class_size(class_index);
	buf->refs = 1;
	buf->next = NULL;
	pool->used += buf->size;
	return buf;
}

struct buf *buf_ref(struct buf *buf)
{
	assert(buf->refs > 0);
	buf->refs++;
	return buf;
}

static void give_back(struct buf_pool *pool, struct buf *buf)
{
	unsigned class_index = buf->class_index;

	pool->used -= buf->size;
	if (pool->cached[class_index] * buf->size >= CACHE_BYTES) {
		merge(pool, page_of(buf));
		return;
	}
	page_of(buf)->state = PAGE_CACHED;
	buf->next = pool->cache[class_index];
	pool->cache[class_index] = buf;
	pool->cached[class_index]++;
}

void buf_unref(struct buf *buf)
{
	struct buf_pool *pool;

	if (!buf)
		return;
	assert(buf->refs > 0);
	if (--buf->refs)
		return;
	pool = buf->pool;
	assert(page_of(buf)->state == PAGE_USED);
	give_back(pool, buf);
	if (!pool->first_waiter)
		return;
	if (pool->loop)
		loop_defer(pool->loop, &pool->wake);
	else
		call_waiters(pool);
}

void buf_wait(struct buf_pool *pool, struct buf_waiter *waiter)
{
	waiter->next = NULL;
	*pool->last_waiter = waiter;
	pool->last_waiter = &waiter->next;
}
