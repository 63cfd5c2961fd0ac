/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "fusemount/fusemount.h"

/* A node's address is its number; the root's is FUSE's own. */
static struct node root;
static struct node **table;
static size_t buckets, count;

#define BUCKETS_FIRST 1024u

static size_t hash_of(const struct vfs_object *object)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (unsigned i = 0; i < object->length; i++)
		hash = (hash ^ object->bytes[i]) * 0x100000001b3u;
	return (size_t)(hash ^ hash >> 32);
}

int nodes_start(const struct vfs_object *object)
{
	root = (struct node){.object = *object, .lookups = 1};
	buckets = BUCKETS_FIRST;
	table = heap_zalloc_array(buckets, sizeof(struct node *));
	return table ? 0 : -ENOMEM;
}

struct node *node_of(fuse_ino_t number)
{
	return number == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)number;
}

fuse_ino_t node_number(const struct node *node)
{
	return node == &root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)node;
}

/* A table that can not grow only gets slower. */
static void grow(void)
{
	size_t more = buckets * 4;
	struct node **grown = heap_zalloc_array(more, sizeof(struct node *));

	if (!grown)
		return;
	for (size_t i = 0; i < buckets; i++) {
		while (table[i]) {
			struct node *node = table[i];
			struct node **to = &grown[hash_of(&node->object) % more];

			table[i] = node->next;
			node->next = *to;
			*to = node;
		}
	}
	heap_free(table);
	table = grown;
	buckets = more;
}

struct node *node_look_up(const struct vfs_object *object)
{
	struct node **bucket, *node;

	if (vfs_object_equal(object, &root.object))
		return &root;
	bucket = &table[hash_of(object) % buckets];
	for (node = *bucket; node && !vfs_object_equal(&node->object, object); node = node->next)
		;
	if (!node) {
		node = heap_zalloc(sizeof *node);
		if (!node)
			return NULL;
		node->object = *object;
		node->next = *bucket;
		*bucket = node;
		if (++count > buckets)
			grow();
	}
	node->lookups++;
	return node;
}

void node_forget(struct node *node, uint64_t lookups)
{
	struct node **at;

	if (node == &root)
		return;
	node->lookups -= lookups < node->lookups ? lookups : node->lookups;
	if (node->lookups)
		return;
	at = &table[hash_of(&node->object) % buckets];
	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	count--;
	heap_free(node);
}
