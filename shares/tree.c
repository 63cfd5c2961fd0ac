/* SPDX-License-Identifier: Apache-2.0 */
/* tree.c: pages in memory, and the b+tree they make. A page lives in the hash by its block; a
 * change begins with way_open(), which takes every page from the root to the leaf to the current
 * generation. Pages split one at a time, the topmost first, and the change starts over: what does
 * not fit after one split fits after the next. Pages that a transaction emptied go at its end; thin
 * ones stay. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "shares/store.h"

/* From the root (0) to the leaf. */
struct way {
	struct node *node[PAGE_LEVELS];
	unsigned index[PAGE_LEVELS]; /* of the child that was taken */
	unsigned depth;              /* nodes; the leaf is the last */
};

static struct list *bucket(struct store *store, uint64_t block)
{
	return &store->hash[block * 0x9e3779b97f4a7c15ull >> 50 & (NODE_BUCKETS - 1)];
}

struct node *node_find(struct store *store, uint64_t block)
{
	list_for_each (it, bucket(store, block)) {
		struct node *node = list_entry(it, struct node, hash);

		if (node->block == block)
			return node;
	}
	return NULL;
}

static void node_free(struct store *store, struct node *node)
{
	list_remove(&node->hash);
	list_remove(&node->lru);
	if (node->generation == store->generation)
		store->dirty_count--;
	store->node_count--;
	heap_free(node->page);
	heap_free(node);
}

static struct node *node_new(struct store *store, uint64_t block, uint64_t generation)
{
	struct node *node = heap_zalloc(sizeof(*node));

	if (!node)
		return NULL;
	node->page = heap_aligned(BLOCK_SIZE, BLOCK_SIZE);
	if (!node->page) {
		heap_free(node);
		return NULL;
	}
	node->block = block;
	node->generation = generation;
	list_push_front(bucket(store, block), &node->hash);
	store->node_count++;
	if (generation == store->generation) {
		list_push_front(&store->dirty, &node->lru);
		store->dirty_count++;
	} else {
		list_push_front(&store->lru, &node->lru);
	}
	return node;
}

/* A page of the generation that is written now stays: its block may not hold it yet. */
void btree_trim(struct store *store)
{
	struct list *it = store->lru.prev;

	for (unsigned looked = 0;
	     store->node_count > store->node_max && it != &store->lru && looked < 64; looked++) {
		struct node *node = list_entry(it, struct node, lru);

		it = it->prev;
		if (node->generation <= store->sb.generation)
			node_free(store, node);
	}
}

void btree_free(struct store *store)
{
	struct list *lists[] = {&store->lru, &store->dirty};

	for (unsigned i = 0; i < 2; i++)
		while (!list_empty(lists[i]))
			node_free(store, list_entry(lists[i]->next, struct node, lru));
}

/* ---- loading ---- */
static struct loading *loading_find(struct store *store, uint64_t block)
{
	list_for_each (it, &store->loadings) {
		struct loading *loading = list_entry(it, struct loading, link);

		if (loading->block == block)
			return loading;
	}
	return NULL;
}

static int load(struct store *store, const struct missing *missing, uint8_t *page)
{
	int result = -EUCLEAN;

	/* once more: a transfer can go wrong without the medium */
	for (unsigned attempt = 0; attempt < 2 && result < 0; attempt++) {
		result = store_io(store, VOLUME_READ, 0, missing->child.block * BLOCK_SIZE, page,
				  BLOCK_SIZE);
		if (result == 0)
			result = page_check(page, missing->child.block, missing->child.generation,
					    store->sb.uuid, missing->level);
	}
	return result;
}

int store_load_page(struct store *store, const struct missing *missing)
{
	struct loading mine = {.block = missing->child.block}, *other;
	struct node *node = NULL;
	uint8_t *page;
	int result = 0;

	store_lock(store);
	other = loading_find(store, mine.block);
	if (other || node_find(store, mine.block)) {
		struct waiter waiter;

		if (other) {
			waiter_wait(store, &waiter, &other->waiters);
			result = waiter.result;
		}
		store_unlock(store);
		return result;
	}
	list_init(&mine.waiters);
	list_push_back(&store->loadings, &mine.link);
	store_unlock(store);
	page = heap_aligned(BLOCK_SIZE, BLOCK_SIZE);
	result = page ? load(store, missing, page) : -ENOMEM;
	store_lock(store);
	list_remove(&mine.link);
	if (result == 0) {
		node = node_new(store, mine.block, missing->child.generation);
		if (node)
			memcpy(node->page, page, BLOCK_SIZE);
		else
			result = -ENOMEM;
	}
	waiters_resume(&mine.waiters, result);
	store_unlock(store);
	heap_free(page);
	return result;
}

/* ---- looking ---- */
static int node_get(struct store *store, const struct page_child *child, uint8_t level,
		    struct node **ret_node)
{
	struct node *node;

	if (child->block < store->sb.node_start || child->block >= store->sb.data_start)
		return -EUCLEAN;
	node = node_find(store, child->block);
	if (!node) {
		store->missing = (struct missing){.child = *child, .level = level};
		return -EINPROGRESS;
	}
	/* two parents of one page: only a damaged volume has that */
	if (node->generation != child->generation || page_level(node->page) != level)
		return -EUCLEAN;
	if (node->generation != store->generation && store->lru.next != &node->lru) {
		list_remove(&node->lru);
		list_push_front(&store->lru, &node->lru);
	}
	*ret_node = node;
	return 0;
}

int btree_page(struct store *store, const struct page_child *child, uint8_t level,
	       const uint8_t **ret_page)
{
	struct node *node;
	int result = node_get(store, child, level, &node);

	if (result == 0)
		*ret_page = node->page;
	return result;
}

static int way_find(struct store *store, const struct key *key, struct way *way)
{
	struct page_child child = store->root;

	way->depth = 0;
	for (uint8_t level = store->root_level;; level--) {
		struct node *node;
		int result = node_get(store, &child, level, &node);

		if (result)
			return result;
		way->node[way->depth] = node;
		way->index[way->depth++] = 0;
		if (level == 0)
			return 0;
		way->index[way->depth - 1] = page_find_child(node->page, key);
		page_child(node->page, way->index[way->depth - 1], &child);
	}
}

static const struct node *leaf_of(const struct way *way)
{
	return way->node[way->depth - 1];
}

int btree_get(struct store *store, const struct key *key, const uint8_t **ret_value,
	      size_t *ret_length)
{
	struct way way;
	bool equal;
	unsigned index;
	int result = way_find(store, key, &way);

	if (result)
		return result;
	index = page_find(leaf_of(&way)->page, key, &equal);
	if (!equal)
		return -ENOENT;
	*ret_value = page_value(leaf_of(&way)->page, index, ret_length);
	return 0;
}

/* The leaf beside @way's: @step 1 or -1. */
static int way_step(struct store *store, struct way *way, int step)
{
	int depth = (int)way->depth - 2;
	struct page_child child;

	while (depth >= 0 && (step > 0 ? way->index[depth] + 1 >= page_count(way->node[depth]->page)
				       : way->index[depth] == 0))
		depth--;
	if (depth < 0)
		return -ENOENT;
	way->index[depth] += (unsigned)step;
	for (unsigned at = (unsigned)depth; at + 1 < way->depth; at++) {
		struct node *node;
		int result;

		page_child(way->node[at]->page, way->index[at], &child);
		result = node_get(store, &child, (uint8_t)(way->depth - 2 - at), &node);
		if (result)
			return result;
		way->node[at + 1] = node;
		way->index[at + 1] =
		    step > 0 || page_count(node->page) == 0 ? 0 : page_count(node->page) - 1;
	}
	return 0;
}

int btree_next(struct store *store, struct key *key, const uint8_t **ret_value, size_t *ret_length)
{
	struct way way;
	bool equal;
	unsigned index;
	int result = way_find(store, key, &way);

	if (result)
		return result;
	index = page_find(leaf_of(&way)->page, key, &equal);
	while (index == page_count(leaf_of(&way)->page)) {
		result = way_step(store, &way, 1);
		if (result)
			return result;
		index = page_find(leaf_of(&way)->page, key, &equal);
	}
	page_key(leaf_of(&way)->page, index, key);
	*ret_value = page_value(leaf_of(&way)->page, index, ret_length);
	return 0;
}

int btree_previous(struct store *store, struct key *key, const uint8_t **ret_value,
		   size_t *ret_length)
{
	struct way way;
	bool equal;
	unsigned index;
	int result = way_find(store, key, &way);

	if (result)
		return result;
	index = page_find(leaf_of(&way)->page, key, &equal) + (equal ? 1 : 0);
	while (index == 0) {
		result = way_step(store, &way, -1);
		if (result)
			return result;
		index = page_find(leaf_of(&way)->page, key, &equal) + (equal ? 1 : 0);
	}
	page_key(leaf_of(&way)->page, index - 1, key);
	*ret_value = page_value(leaf_of(&way)->page, index - 1, ret_length);
	return 0;
}

/* ---- changing ---- */
/* @node, at @depth of @way, gets a block of its own in the current generation. */
static int node_copy_on_write(struct store *store, struct way *way, unsigned depth)
{
	struct node *node = way->node[depth];
	struct page_child child = {.generation = store->generation};
	int result;

	if (node->generation == store->generation)
		return 0;
	result = bitmap_take(store, &child.block);
	if (result)
		return result;
	bitmap_give(store, node->block);
	list_remove(&node->hash);
	list_remove(&node->lru);
	node->block = child.block;
	node->generation = store->generation;
	list_push_front(bucket(store, node->block), &node->hash);
	list_push_front(&store->dirty, &node->lru);
	store->dirty_count++;
	page_set_place(node->page, node->block, node->generation, store->sb.uuid);
	if (depth == 0)
		store->root = child;
	else
		page_set_child(way->node[depth - 1]->page, way->index[depth - 1], &child);
	return 0;
}

static int way_open(struct store *store, const struct key *key, struct way *way)
{
	int result = way_find(store, key, way);

	for (unsigned depth = 0; depth < way->depth && result == 0; depth++)
		result = node_copy_on_write(store, way, depth);
	return result;
}

static int dirty_node_new(struct store *store, uint8_t level, struct node **ret_node)
{
	uint64_t block;
	int result = bitmap_take(store, &block);

	if (result)
		return result;
	*ret_node = node_new(store, block, store->generation);
	if (!*ret_node) {
		bitmap_give(store, block);
		return -ENOMEM;
	}
	page_init((*ret_node)->page, level);
	page_set_place((*ret_node)->page, block, store->generation, store->sb.uuid);
	return 0;
}

int btree_make_root(struct store *store)
{
	struct node *node;
	int result = dirty_node_new(store, 0, &node);

	if (result)
		return result;
	store->root = (struct page_child){node->block, node->generation};
	store->root_level = 0;
	return 0;
}

static int grow_root(struct store *store, struct node *old)
{
	struct page_child child = {old->block, old->generation};
	uint8_t value[CHILD_BYTES];
	struct key lowest = {0};
	struct node *root;
	int result;

	if (store->root_level + 1u >= PAGE_LEVELS)
		return -ENOSPC;
	result = dirty_node_new(store, store->root_level + 1, &root);
	if (result)
		return result;
	page_child_encode(&child, value);
	page_insert(root->page, 0, &lowest, value, CHILD_BYTES);
	store->root = (struct page_child){root->block, root->generation};
	store->root_level++;
	return 0;
}

/* Make room at @depth for a cell @key that goes to @index: one step of it. */
static int split(struct store *store, struct way *way, unsigned depth, unsigned index,
		 const struct key *key)
{
	struct node *node = way->node[depth], *right, *parent;
	uint8_t value[CHILD_BYTES];
	struct page_child child;
	struct key first = *key;
	int result;

	if (depth == 0)
		return grow_root(store, node);
	parent = way->node[depth - 1];
	if (!page_fits(parent->page, CHILD_BYTES))
		return split(store, way, depth - 1, way->index[depth - 1] + 1, key);
	result = dirty_node_new(store, page_level(node->page), &right);
	if (result)
		return result;
	page_split(node->page, right->page, index);
	if (page_count(right->page) > 0) /* else @key, which is appended, will be its first */
		page_key(right->page, 0, &first);
	child = (struct page_child){right->block, right->generation};
	page_child_encode(&child, value);
	page_insert(parent->page, way->index[depth - 1] + 1, &first, value, CHILD_BYTES);
	return 0;
}

int btree_put(struct store *store, const struct key *key, const uint8_t *value, size_t length)
{
	for (unsigned attempt = 0; attempt < 4 * PAGE_LEVELS; attempt++) {
		struct way way;
		struct node *leaf;
		bool equal;
		unsigned index;
		int result = way_open(store, key, &way);

		if (result)
			return result;
		leaf = way.node[way.depth - 1];
		index = page_find(leaf->page, key, &equal);
		if (equal && page_fits_replaced(leaf->page, index, length)) {
			page_replace(leaf->page, index, value, length);
			return 0;
		}
		if (!equal && page_fits(leaf->page, length)) {
			page_insert(leaf->page, index, key, value, length);
			return 0;
		}
		result = split(store, &way, way.depth - 1, index, key);
		if (result)
			return result;
	}
	return -EUCLEAN;
}

/* Pages that became empty go, up to the root; a root with one child makes way for it. */
static void prune(struct store *store, struct way *way)
{
	unsigned depth = way->depth - 1;

	while (depth > 0 && page_count(way->node[depth]->page) == 0) {
		struct node *node = way->node[depth];

		if (node->generation != store->generation)
			return;
		bitmap_give(store, node->block);
		node_free(store, node);
		depth--;
		page_remove(way->node[depth]->page, way->index[depth]);
	}
	while (store->root_level > 0) {
		struct node *root = node_find(store, store->root.block);
		unsigned count = root ? page_count(root->page) : 2;

		if (count == 0) { /* nothing is left at all: it becomes the leaf */
			page_init(root->page, 0);
			page_set_place(root->page, root->block, root->generation, store->sb.uuid);
			store->root_level = 0;
		}
		if (count != 1)
			return;
		page_child(root->page, 0, &store->root);
		store->root_level--;
		bitmap_give(store, root->block);
		node_free(store, root);
	}
}

void btree_prune(struct store *store, const struct key *key)
{
	struct way way;

	if (way_find(store, key, &way) == 0 && page_count(leaf_of(&way)->page) == 0)
		prune(store, &way);
}

int btree_delete(struct store *store, const struct key *key)
{
	struct way way;
	bool equal;
	unsigned index;
	int result = way_find(store, key, &way);

	if (result)
		return result;
	page_find(leaf_of(&way)->page, key, &equal);
	if (!equal)
		return -ENOENT;
	result = way_open(store, key, &way);
	if (result)
		return result;
	index = page_find(leaf_of(&way)->page, key, &equal);
	page_remove(way.node[way.depth - 1]->page, index);
	return 0;
}
