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
 * unref touch nothing else. Each stage has a slab of its own, with free lists of its own, which
 * only its oldest waiter takes from whose owner has not got its part.
 *
 * An owner's part goes by what is free, as in the shared memory of a switch (Choudhury and Hahne,
 * Dynamic Queue Length Thresholds, 1998): no number has to be chosen for how many there will be. */

#define PAGE_SIZE   4096u
#define SLAB_PAGES  (BUF_MAX / PAGE_SIZE)
#define CLASS_COUNT 9u         /* 4 KiB .. 1 MiB */
#define CACHE_BYTES (1u << 20) /* per class */
#define SHARE_COUNT (1u + BUF_STAGES)
#define OWNER_LISTS 64u

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

struct queue {
	struct buf_waiter *first, **last;
	struct buf_waiter **at; /* while it is served: who is next */
	size_t count;
};

/* Who has buffers, or waits for some. */
struct buf_owner {
	struct buf_owner *next; /* in its list, or among the spare ones */
	const void *key;
	size_t held;      /* bytes */
	size_t waiting;   /* in all queues */
	uint64_t skipped; /* the pass in which one of its own could not have any */
};

struct buf_pool {
	size_t budget, used, slab_bytes; /* without the stages' own */
	size_t lent;                     /* of those */
	struct slab *slabs;
	struct list free[SHARE_COUNT][CLASS_COUNT]; /* the first: of the budget */
	struct buf *cache[CLASS_COUNT];
	size_t cached[CLASS_COUNT]; /* buffers */
	struct queue queues[BUF_STAGES];
	size_t waiting; /* in all queues */
	uint64_t passes;
	struct buf_owner *owners[OWNER_LISTS], *spare_owners;
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

static void owners_free(struct buf_owner **list)
{
	while (*list) {
		struct buf_owner *owner = *list;

		*list = owner->next;
		heap_free(owner);
	}
}

void buf_pool_destroy(struct buf_pool *pool)
{
	if (!pool)
		return;
	assert(pool->used + pool->lent == 0);
	deferred_cancel(&pool->wake);
	while (pool->slabs) {
		struct slab *slab = pool->slabs;

		pool->slabs = slab->next;
		heap_free(slab->memory);
		heap_free(slab);
	}
	owners_free(&pool->spare_owners);
	for (unsigned i = 0; i < OWNER_LISTS; i++) /* who waits still */
		owners_free(&pool->owners[i]);
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
	return pool->used + pool->lent;
}

static void put_free(struct buf_pool *pool, struct slab_page *page, unsigned class_index)
{
	page->state = PAGE_FREE;
	page->buf.class_index = (uint16_t)class_index;
	list_push_front(&pool->free[page->buf.share][class_index], &page->link);
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

static int slab_add(struct buf_pool *pool, unsigned share)
{
	struct slab *slab = heap_zalloc(sizeof *slab);

	if (!slab)
		return -ENOMEM;
	/* Touched now if it is of the budget, as it is about to be used; a stage's own hardly ever
	 * is. */
	slab->memory = share ? heap_scratch(PAGE_SIZE, BUF_MAX) : heap_aligned(PAGE_SIZE, BUF_MAX);
	if (!slab->memory) {
		heap_free(slab);
		return -ENOMEM;
	}
	for (size_t i = 0; i < SLAB_PAGES; i++) {
		slab->pages[i].slab = slab;
		slab->pages[i].buf.pool = pool;
		slab->pages[i].buf.share = (uint16_t)share;
		slab->pages[i].buf.data = slab->memory + i * PAGE_SIZE;
		list_init(&slab->pages[i].link);
	}
	slab->next = pool->slabs;
	pool->slabs = slab;
	put_free(pool, &slab->pages[0], CLASS_COUNT - 1);
	return 0;
}

static int grow(struct buf_pool *pool)
{
	int result;

	if (pool->slab_bytes + BUF_MAX > pool->budget)
		return -ENOBUFS;
	result = slab_add(pool, 0);
	if (result == 0)
		pool->slab_bytes += BUF_MAX;
	return result;
}

/* Take a buffer of @class_index out of the free lists, splitting a larger one if need be. */
static struct buf *split_out(struct buf_pool *pool, unsigned share, unsigned class_index)
{
	struct list *lists = pool->free[share];
	unsigned from = class_index;
	struct slab_page *page;

	while (from < CLASS_COUNT && list_empty(&lists[from]))
		from++;
	if (from == CLASS_COUNT)
		return NULL;
	page = list_entry(list_pop_front(&lists[from]), struct slab_page, link);
	while (from > class_index) {
		from--;
		put_free(pool, page + ((size_t)1 << from), from);
	}
	page->buf.class_index = (uint16_t)class_index;
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
	buf = split_out(pool, 0, class_index);
	if (!buf && grow(pool) == 0)
		buf = split_out(pool, 0, class_index);
	if (!buf) {
		drop_caches(pool);
		buf = split_out(pool, 0, class_index);
	}
	return buf;
}

static struct buf *hand_out(struct buf *buf)
{
	page_of(buf)->state = PAGE_USED;
	buf->size = class_size(buf->class_index);
	buf->refs = 1;
	buf->next = NULL;
	buf->owner = NULL;
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
	pool->used += class_size(class_index);
	return hand_out(buf);
}

/* ---- owners */

static struct buf_owner **owner_list(struct buf_pool *pool, const void *key)
{
	return &pool->owners[((uintptr_t)key >> 4) * 0x9e3779b97f4a7c15ull >> 58];
}

/* NULL: it has nothing and does not wait. */
static struct buf_owner *owner_find(struct buf_pool *pool, const void *key)
{
	struct buf_owner *owner = key ? *owner_list(pool, key) : NULL;

	while (owner && owner->key != key)
		owner = owner->next;
	return owner;
}

/* NULL: no memory. */
static struct buf_owner *owner_make(struct buf_pool *pool, const void *key)
{
	struct buf_owner *owner = owner_find(pool, key);

	if (owner)
		return owner;
	owner = pool->spare_owners;
	if (owner)
		pool->spare_owners = owner->next;
	else
		owner = heap_alloc(sizeof(*owner));
	if (!owner)
		return NULL;
	*owner = (struct buf_owner){.key = key, .next = *owner_list(pool, key)};
	*owner_list(pool, key) = owner;
	return owner;
}

static void owner_look(struct buf_pool *pool, struct buf_owner *owner)
{
	struct buf_owner **at = owner_list(pool, owner->key);

	if (owner->held || owner->waiting)
		return;
	while (*at != owner)
		at = &(*at)->next;
	*at = owner->next;
	owner->next = pool->spare_owners;
	pool->spare_owners = owner;
}

static bool owner_may(const struct buf_pool *pool, const struct buf_owner *owner, size_t size)
{
	size_t left = pool->budget > pool->used ? pool->budget - pool->used : 0;

	return !owner || owner->held == 0 || owner->held + class_size(class_of(size)) <= left;
}

static void charge(struct buf_owner *owner, struct buf *buf)
{
	if (!owner)
		return;
	owner->held += buf->size;
	buf->owner = owner;
}

struct buf *buf_get_for(struct buf_pool *pool, const void *key, size_t size)
{
	struct buf_owner *owner = owner_find(pool, key);
	struct buf *buf = NULL;

	if (owner && (owner->waiting || !owner_may(pool, owner, size)))
		return NULL;
	buf = buf_get(pool, size);
	if (buf && key)
		charge(owner ? owner : owner_make(pool, key), buf);
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
	struct buf_owner *owner = buf->owner;

	if (owner) {
		owner->held -= buf->size;
		owner_look(pool, owner);
	}
	if (buf->share) {
		pool->lent -= buf->size;
		merge(pool, page_of(buf));
		return;
	}
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
	if (pool->waiting)
		loop_defer(pool->loop, &pool->wake);
}

/* ---- those who wait */

static struct buf *get_own(struct buf_pool *pool, enum buf_stage stage, unsigned class_index)
{
	struct buf *buf = split_out(pool, 1 + stage, class_index);

	if (!buf)
		return NULL;
	pool->lent += class_size(class_index);
	return hand_out(buf);
}

static void queue_remove(struct buf_pool *pool, struct queue *queue, struct buf_waiter **at)
{
	struct buf_waiter *waiter = *at;
	struct buf_owner *owner = owner_find(pool, waiter->owner);

	*at = waiter->next;
	if (queue->last == &waiter->next)
		queue->last = at;
	if (queue->at == &waiter->next)
		queue->at = at;
	queue->count--;
	pool->waiting--;
	if (owner) {
		owner->waiting--;
		owner_look(pool, owner);
	}
}

/* One that is called gets it at once, so @queue may have changed. */
static void call(struct buf_pool *pool, struct queue *queue, struct buf *buf)
{
	struct buf_waiter *waiter = *queue->at;

	charge(owner_find(pool, waiter->owner), buf);
	queue_remove(pool, queue, queue->at);
	waiter->ready(waiter, buf);
}

/* Those who come while the others are called have their turn the next time. */
static void serve(struct buf_pool *pool, enum buf_stage stage)
{
	struct queue *queue = &pool->queues[stage];
	size_t missed = BUF_MAX + 1; /* the budget has nothing as large as this */
	bool first = true;           /* of those whose owners have not got their part */

	pool->passes++;
	queue->at = &queue->first;
	for (size_t left = queue->count; left > 0 && *queue->at; left--) {
		struct buf_waiter *waiter = *queue->at;
		struct buf_owner *owner = owner_find(pool, waiter->owner);
		struct buf *buf = NULL;

		if (owner &&
		    (owner->skipped == pool->passes || !owner_may(pool, owner, waiter->size))) {
			owner->skipped = pool->passes;
			queue->at = &waiter->next;
			continue;
		}
		if (waiter->size < missed)
			buf = buf_get(pool, waiter->size);
		if (!buf && waiter->size < missed)
			missed = waiter->size;
		if (!buf && first)
			buf = get_own(pool, stage, class_of(waiter->size));
		if (buf) {
			call(pool, queue, buf);
		} else {
			first = false;
			queue->at = &waiter->next;
		}
	}
	queue->at = NULL;
}

/* What a later stage gets gives back what the earlier ones wait for. */
static void wake_run(struct deferred *deferred)
{
	struct buf_pool *pool = container_of(deferred, struct buf_pool, wake);

	for (unsigned stage = BUF_STAGES; stage-- > 0;)
		serve(pool, stage);
}

static bool own_is_there(const struct buf_pool *pool, enum buf_stage stage)
{
	return !list_empty(&pool->free[1 + stage][CLASS_COUNT - 1]);
}

void buf_wait(struct buf_pool *pool, struct buf_waiter *waiter)
{
	struct queue *queue = &pool->queues[waiter->stage];
	struct buf_owner *owner = waiter->owner ? owner_make(pool, waiter->owner) : NULL;

	assert(pool->loop && waiter->size <= BUF_MAX);
	if (owner)
		owner->waiting++;
	else
		waiter->owner = NULL; /* no memory: it waits as nobody's */
	waiter->next = NULL;
	*queue->last = waiter;
	queue->last = &waiter->next;
	pool->waiting++;
	if (queue->count++ == 0 || own_is_there(pool, waiter->stage))
		loop_defer(pool->loop, &pool->wake);
}

bool buf_wait_cancel(struct buf_pool *pool, struct buf_waiter *waiter)
{
	struct queue *queue = &pool->queues[waiter->stage];
	struct buf_waiter **at = &queue->first;

	while (*at && *at != waiter)
		at = &(*at)->next;
	if (!*at)
		return false;
	queue_remove(pool, queue, at);
	if (queue->count) /* it may have been in the way of others */
		loop_defer(pool->loop, &pool->wake);
	return true;
}

/* ---- a pool */

int buf_pool_create(size_t budget_bytes, struct buf_pool **ret_pool)
{
	struct buf_pool *pool = heap_zalloc(sizeof *pool);
	int result = 0;

	if (!pool)
		return -ENOMEM;
	pool->budget = budget_bytes;
	for (unsigned share = 0; share < SHARE_COUNT; share++)
		for (unsigned i = 0; i < CLASS_COUNT; i++)
			list_init(&pool->free[share][i]);
	for (unsigned stage = 0; stage < BUF_STAGES; stage++)
		pool->queues[stage].last = &pool->queues[stage].first;
	deferred_init(&pool->wake, wake_run);
	/* All of it now: it is what is there when nothing else is. */
	for (unsigned share = 1; share < SHARE_COUNT && result == 0; share++)
		result = slab_add(pool, share);
	if (result < 0)
		buf_pool_destroy(pool);
	else
		*ret_pool = pool;
	return result;
}
