/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/bytes.h"
#include "volumes/guard.h"

/* Metadata nodes in memory. A tree is a radix tree: the place of a leaf follows from its index
 * alone, so nothing ever splits, merges or moves, and no change concerns two nodes at once.
 *
 *   absent --load--> loading --> clean --node_touch--> dirty --freeze--> frozen --> clean
 *                       |          |  ^                  ^                  |
 *                       v          v  |                  +---- node_touch --+ (image kept)
 *                    (failed)   evicted
 *
 * Invariants: a node's parent is in memory; a dirty node's ancestors are dirty; only the
 * checkpoint changes the pointers in an interior node; a frozen node that is touched leaves its
 * frozen bytes in node->image first. */

static size_t body_size(enum node_kind kind, unsigned level)
{
	struct node *node;

	if (level)
		return sizeof(node->body->inner);
	switch (kind) {
	case NODE_MAP:
		return sizeof(node->body->map);
	case NODE_SPACE:
	case NODE_META:
		return sizeof(node->body->space);
	case NODE_CSUM:
		return sizeof(node->body->csum);
	case NODE_HOT:
		return sizeof(node->body->hot);
	case NODE_FORWARD:
	case NODE_MIRROR:
		return sizeof(node->body->forward);
	default:
		return sizeof(node->body->volumes);
	}
}

static size_t node_size(const struct node *node)
{
	return sizeof(*node) + body_size(node->tree->kind, node->level);
}

static unsigned dirty_class(const struct node *node)
{
	if (node->tree->kind == NODE_VOLUMES)
		return DIRTY_VOLUMES;
	return node->tree->kind == NODE_META ? DIRTY_META : DIRTY_TREES;
}

void tree_init(struct tree *tree, struct native *native, enum node_kind kind, uint64_t owner,
	       unsigned levels, const struct node_pointer *root)
{
	*tree = (struct tree){.native = native, .kind = kind, .owner = owner, .levels = levels};
	if (root)
		tree->root = *root;
	tree->resident = kind != NODE_MAP && kind != NODE_CSUM;
}

uint64_t tree_capacity(const struct tree *tree)
{
	return 1ull << (6 * tree->levels);
}

struct node_pointer *node_where(struct node *node)
{
	if (!node->parent)
		return &node->tree->root;
	return &node->parent->body->inner.pointer[node->index % NODE_FANOUT];
}

void node_header_of(const struct node *node, struct node_header *ret_header)
{
	*ret_header = (struct node_header){.kind = (uint8_t)node->tree->kind,
					   .level = node->level,
					   .owner = node->tree->owner,
					   .index = node->index,
					   .pool_hash = node->tree->native->hash};
}

/* Of a volume's map; 0: one of the pool's trees. */
uint64_t tree_volume_id(const struct tree *tree)
{
	return tree->kind == NODE_MAP ? container_of(tree, struct nvolume, map)->id : 0;
}

/* Does the node on disk belong to a snapshot, so that it stays when it is written anew? A snapshot
 * made by the checkpoint @making gets the new one. */
bool node_is_shared(struct node *node, uint64_t making)
{
	const struct nvolume *volume;

	if (node->tree->kind != NODE_MAP || !ORDER(shared_node_is_kept))
		return false;
	volume = container_of(node->tree, struct nvolume, map);
	while (making && volume->parent && volume->parent->generation == making)
		volume = volume->parent;
	return node_where(node)->generation <=
	       nvolume_limit(volume, (node->index + 1) << (6 * node->level));
}

static struct node *node_new(struct tree *tree, struct node *parent, unsigned level, uint64_t index)
{
	struct native *native = tree->native;
	struct node *node = heap_zalloc(sizeof(*node) + body_size(tree->kind, level));

	if (!node)
		return NULL;
	node->tree = tree;
	node->parent = parent;
	node->level = (uint8_t)level;
	node->index = index;
	list_init(&node->lru);
	list_init(&node->dirty_link);
	list_init(&node->frozen_link);
	list_init(&node->waiters);
	if (parent) {
		parent->body->inner.child[index % NODE_FANOUT] = node;
		parent->children++;
	} else {
		tree->node = node;
	}
	native->cache_bytes += node_size(node);
	list_push_back(&native->lru, &node->lru);
	if (level == 0 && tree->kind == NODE_SPACE)
		space_leaf_init(native, node);
	if (level == 0 && tree->kind == NODE_META)
		meta_leaf_init(native, node);
	if (level == 0 && tree->kind == NODE_FORWARD)
		forward_leaf_init(native, node);
	if (level == 0 && tree->kind == NODE_MIRROR)
		mirror_leaf_init(native, node);
	return node;
}

static void entries_free(struct node *node)
{
	for (unsigned i = 0; i < MAP_CHUNKS; i++) {
		if (node->body->map.entry[i].slots)
			node->tree->native->cache_bytes -= MAP_SLOTS_SIZE;
		heap_free(node->body->map.entry[i].slots);
	}
}

void node_drop(struct node *node)
{
	struct native *native = node->tree->native;

	if (node->level == 0 && node->tree->kind == NODE_MAP)
		entries_free(node);
	if (node->parent) {
		node->parent->body->inner.child[node->index % NODE_FANOUT] = NULL;
		node->parent->children--;
	} else {
		node->tree->node = NULL;
	}
	list_remove(&node->lru);
	list_remove(&node->dirty_link);
	list_remove(&node->frozen_link);
	native->cache_bytes -= node_size(node);
	heap_free(node->image);
	heap_free(node);
}

static void drop_all(struct node *node)
{
	for (unsigned i = 0; node->level && i < NODE_FANOUT; i++)
		if (node->body->inner.child[i])
			drop_all(node->body->inner.child[i]);
	node_drop(node);
}

void tree_drop(struct tree *tree)
{
	if (tree->node)
		drop_all(tree->node);
}

/* Second chance: a node used since the last look is passed over once. */
void nodes_evict(struct native *native)
{
	unsigned looks = 64;

	while (native->cache_bytes > native->cache_budget && looks-- && !list_empty(&native->lru)) {
		struct node *node = list_entry(native->lru.next, struct node, lru);

		list_remove(&node->lru);
		list_push_back(&native->lru, &node->lru);
		if (node->referenced || node->tree->resident || node->dirty || node->frozen ||
		    node->loading || node->children)
			node->referenced = false;
		else
			node_drop(node);
	}
}

/* ---- bodies ---- */
static void record_of(const struct nvolume *volume, struct volume_record *ret_record)
{
	const struct volume *public = &volume->volume;
	const char *name = strchr(public->name, '@');

	*ret_record = (struct volume_record){.id = volume->id,
					     .state = volume->state,
					     .identity = public->identity,
					     .size_bytes = volume->stored_size,
					     .used_slots = volume->frozen_used,
					     .levels = volume->map.levels,
					     .checksum = (uint8_t) public->checksum,
					     .mirror = public->mirror,
					     .reserve_bytes = public->reserve_bytes,
					     .quota_bytes = public->quota_bytes,
					     .root = volume->map.root,
					     .parent = volume->parent ? volume->parent->id : 0,
					     .family = volume->map.owner,
					     .of = volume->of ? volume->of->id : 0,
					     .generation = volume->generation,
					     .created_ns = volume->created_ns,
					     .hold_until_ns = volume->hold_until_ns,
					     .owned_slots = volume->frozen_owned,
					     .reaped = volume->reaped,
					     .reaped_slots = volume->reaped_slots,
					     .flags = volume->flags};
	name = name ? name + 1 : public->name;
	memcpy(ret_record->name, name, strnlen(name, VOLUME_NAME_MAX));
}

/* An entry as the next root has it: what is just being copied is at its old place. */
static uint64_t forward_lasting(uint64_t entry)
{
	return entry & FORWARD_BUSY ? 0 : entry & FORWARD_TARGET;
}

size_t node_encode(struct node *node, uint8_t *bytes)
{
	uint8_t *at = bytes + NODE_HEADER;

	if (node->level) {
		for (unsigned i = 0; i < NODE_FANOUT; i++)
			node_pointer_encode(&node->body->inner.pointer[i], at + 32 * i);
		return NODE_HEADER + 32 * NODE_FANOUT;
	}
	switch (node->tree->kind) {
	case NODE_MAP:
		return NODE_HEADER + map_encode(node->body->map.entry, at);
	case NODE_SPACE:
	case NODE_META:
		for (unsigned i = 0; i < SPACE_CHUNKS; i++)
			put16(at + 2 * i, node->body->space.used[i]);
		return NODE_HEADER + 2 * SPACE_CHUNKS;
	case NODE_CSUM:
		for (unsigned i = 0; i < CSUM_CHUNKS * CHUNK_SLOTS; i++)
			put32(at + 4 * i, node->body->csum.crc[i]);
		return NODE_HEADER + 4 * CSUM_CHUNKS * CHUNK_SLOTS;
	case NODE_HOT:
		memcpy(at, node->body->hot.bits, sizeof(node->body->hot.bits));
		return NODE_HEADER + sizeof(node->body->hot.bits);
	case NODE_FORWARD:
	case NODE_MIRROR:
		for (unsigned i = 0; i < FORWARD_CHUNKS; i++)
			put64(at + 8 * i, forward_lasting(node->body->forward.target[i]));
		return NODE_HEADER + 8 * FORWARD_CHUNKS;
	default:
		for (unsigned i = 0; i < VOLUMES_PER_LEAF; i++) {
			struct volume_record record = {0};

			if (node->body->volumes.volume[i])
				record_of(node->body->volumes.volume[i], &record);
			volume_record_encode(&record, at + VOLUME_RECORD * i);
		}
		return NODE_HEADER + VOLUME_RECORD * VOLUMES_PER_LEAF;
	}
}

static int set_entry(void *context, unsigned index, const struct map_entry *entry)
{
	struct node *node = context;
	struct map_entry *mine = &node->body->map.entry[index];

	*mine = *entry;
	mine->slots = NULL;
	if (entry->slots) {
		mine->slots = heap_alloc(MAP_SLOTS_SIZE);
		if (!mine->slots) {
			mine->mask = 0;
			return -ENOMEM;
		}
		memcpy(mine->slots, entry->slots, MAP_SLOTS_SIZE);
		node->tree->native->cache_bytes += MAP_SLOTS_SIZE;
	}
	return 0;
}

static int decode_volumes(struct node *node, const uint8_t *at)
{
	struct native *native = node->tree->native;

	for (unsigned i = 0; i < VOLUMES_PER_LEAF; i++) {
		struct volume_record record;
		struct nvolume *volume;

		if (volume_record_decode(at + VOLUME_RECORD * i, &record) < 0)
			return -EBADMSG;
		if (!record.id)
			continue;
		if (record.id != node->index * VOLUMES_PER_LEAF + i + 1)
			return -EBADMSG;
		volume = nvolume_create(native, record.id, record.name, record.size_bytes);
		if (!volume)
			return -ENOMEM;
		volume->state = record.state;
		volume->doomed = native->sb.generation;
		volume->volume.identity = record.identity;
		volume->volume.checksum = (enum volume_checksum)record.checksum;
		volume->volume.mirror = record.mirror;
		volume->volume.reserve_bytes = record.reserve_bytes;
		volume->volume.quota_bytes = record.quota_bytes;
		volume->used_slots = volume->frozen_used = record.used_slots;
		volume->owned_slots = record.parent ? record.owned_slots : record.used_slots;
		volume->frozen_owned = volume->owned_slots;
		volume->map.levels = record.levels;
		volume->map.root = record.root;
		volume->map.owner = record.family ? record.family : record.id;
		volume->parent_id = record.parent;
		volume->of_id = record.of;
		volume->generation = record.generation;
		volume->created_ns = record.created_ns;
		volume->hold_until_ns = record.hold_until_ns;
		volume->reaped = record.reaped;
		volume->reaped_slots = record.reaped_slots;
		volume->flags = record.flags;
		node->body->volumes.volume[i] = volume;
	}
	return 0;
}

static int node_decode(struct node *node, const uint8_t *bytes, size_t length)
{
	const uint8_t *at = bytes + NODE_HEADER;

	if (node->level == 0 && node->tree->kind == NODE_MAP)
		return map_decode(at, length - NODE_HEADER, set_entry, node);
	if (node->level) {
		if (length != NODE_HEADER + 32 * NODE_FANOUT)
			return -EBADMSG;
		for (unsigned i = 0; i < NODE_FANOUT; i++)
			if (node_pointer_decode(at + 32 * i, &node->body->inner.pointer[i]) < 0)
				return -EBADMSG;
		return 0;
	}
	switch (node->tree->kind) {
	case NODE_SPACE:
	case NODE_META:
		if (length != NODE_HEADER + 2 * SPACE_CHUNKS)
			return -EBADMSG;
		for (unsigned i = 0; i < SPACE_CHUNKS; i++)
			node->body->space.used[i] = get16(at + 2 * i);
		return 0;
	case NODE_CSUM:
		if (length != NODE_HEADER + 4 * CSUM_CHUNKS * CHUNK_SLOTS)
			return -EBADMSG;
		for (unsigned i = 0; i < CSUM_CHUNKS * CHUNK_SLOTS; i++)
			node->body->csum.crc[i] = get32(at + 4 * i);
		return 0;
	case NODE_HOT:
		if (length != NODE_HEADER + sizeof(node->body->hot.bits))
			return -EBADMSG;
		memcpy(node->body->hot.bits, at, sizeof(node->body->hot.bits));
		return 0;
	case NODE_FORWARD:
	case NODE_MIRROR:
		if (length != NODE_HEADER + 8 * FORWARD_CHUNKS)
			return -EBADMSG;
		for (unsigned i = 0; i < FORWARD_CHUNKS; i++)
			node->body->forward.target[i] = get64(at + 8 * i);
		return 0;
	default:
		if (length != NODE_HEADER + VOLUME_RECORD * VOLUMES_PER_LEAF)
			return -EBADMSG;
		return decode_volumes(node, at);
	}
}

bool node_empty(const struct node *node)
{
	static const uint8_t zero[256];

	if (node->level) {
		for (unsigned i = 0; i < NODE_FANOUT; i++)
			if (node->body->inner.pointer[i].generation)
				return false;
		return true;
	}
	if (node->tree->kind == NODE_MAP) {
		for (unsigned i = 0; i < MAP_CHUNKS; i++)
			if (node->body->map.entry[i].mask)
				return false;
		return true;
	}
	if (node->tree->kind == NODE_VOLUMES) {
		for (unsigned i = 0; i < VOLUMES_PER_LEAF; i++)
			if (node->body->volumes.volume[i])
				return false;
		return true;
	}
	if (node->tree->kind == NODE_FORWARD || node->tree->kind == NODE_MIRROR) {
		for (unsigned i = 0; i < FORWARD_CHUNKS; i++)
			if (node->body->forward.target[i])
				return false;
		return true;
	}
	if (node->tree->kind == NODE_HOT) {
		for (size_t i = 0; i < sizeof(node->body->hot.bits); i += 64)
			if (memcmp(node->body->hot.bits + i, zero, 64) != 0)
				return false;
		return true;
	}
	return false;
}

/* ---- loading ---- */
struct load {
	struct disk_request request;
	struct node *node;
	struct lane *lane;
	struct node_pointer pointer;
	struct node_header header;
	struct pv *pv; /* that it is on its way to or from */
	unsigned copy;
	bool repairing;
	uint8_t *buffer;
	size_t length, at; /* @at: so much of it has been transferred */
};

static void note(struct load *load, enum pool_finding_kind kind)
{
	const struct node_header *header = &load->header;
	struct finding finding = {.kind = (uint8_t)kind,
				  .volume = tree_volume_id(load->node->tree),
				  .offset = header->index,
				  .tree = header->kind,
				  .level = header->level};

	finding_note(load->lane->native, &finding);
}

static void load_finish(struct load *load, int result)
{
	struct node *node = load->node;

	if (result == -EIO)
		note(load, FINDING_NODE_LOST);
	node->loading = false;
	node->tree->loads--;
	waiters_wake(&node->waiters, result);
	if (result < 0)
		node_drop(node);
}

static void load_free(struct load *load)
{
	heap_free(load->buffer);
	heap_free(load);
}

static void load_submit(struct load *load);

/* The next piece: up to the end of a chunk, for the one behind it may be elsewhere. */
static bool load_aim(struct load *load, unsigned copy)
{
	uint64_t address = load->pointer.address[copy] + load->at / BLOCK;

	load->request.length = pv_node_part(address, load->length - load->at);
	load->request.own_iov =
	    (struct iovec){.iov_base = load->buffer + load->at, .iov_len = load->request.length};
	load->request.iov = &load->request.own_iov;
	load->request.iov_count = 1;
	return pv_locate(load->lane->native, address, &load->pv, &load->request.offset);
}

static bool repair_submit(struct load *load);

static void repair_done(struct disk_request *request, int result)
{
	struct load *load = container_of(request, struct load, request);
	struct native *native = load->lane->native;

	pv_wrote(load->pv);
	pv_leave(load->pv);
	native_lock(native);
	load->at += load->request.length;
	if (result == 0 && load->at < load->length) {
		if (repair_submit(load)) {
			native_unlock(load->lane);
			return;
		}
		result = -EIO;
	}
	native->repairs_in_flight--;
	if (result == 0 && !pv_is_stale(load->pv)) { /* of a stale one that was to be expected */
		native->metadata_repairs++;
		note(load, FINDING_NODE_REPAIRED);
	}
	native_unlock(load->lane);
	load_free(load);
}

static bool repair_submit(struct load *load)
{
	if (!load_aim(load, 0) || !pv_is_here(load->pv))
		return false;
	load->request.op = DISK_WRITE;
	load->request.done = repair_done;
	pv_enter(load->pv);
	disk_submit(load->lane->loop, load->pv->disk, &load->request);
	return true;
}

/* The copy that was bad is written again from the good one. */
static bool load_repair(struct load *load)
{
	struct native *native = load->lane->native;

	if (native->read_only)
		return false;
	node_set_address(load->buffer, load->pointer.address[0]);
	load->at = 0;
	if (!repair_submit(load))
		return false;
	native->repairs_in_flight++;
	return true;
}

static void load_done(struct disk_request *request, int result)
{
	struct load *load = container_of(request, struct load, request);
	struct native *native = load->lane->native;
	bool keep = false;

	pv_leave(load->pv);
	native_lock(native);
	load->at += load->request.length;
	if (result == 0 && load->at < load->length) {
		load_submit(load);
		native_unlock(load->lane);
		return;
	}
	node_header_of(load->node, &load->header);
	if (result == 0)
		result = node_verify(load->buffer, load->length, &load->pointer,
				     load->pointer.address[load->copy], &load->header);
	if (result < 0 && load->copy == 0) {
		load->copy = 1;
		load->at = 0;
		load_submit(load);
		native_unlock(load->lane);
		return;
	}
	if (result == 0)
		result = node_decode(load->node, load->buffer, load->pointer.length);
	if (result == 0 && load->copy == 1)
		keep = load_repair(load);
	load_finish(load, result == -ENOMEM ? result : result < 0 ? -EIO : 0);
	native_unlock(load->lane);
	if (!keep)
		load_free(load);
}

/* Any: one at most is away. */
static struct pv *one_that_is_here(struct native *native)
{
	struct pv *pv = native->pv;

	while (!pv_is_device(pv) || !pv_is_here(pv))
		pv++;
	return pv;
}

static void load_submit(struct load *load)
{
	if (!load_aim(load, load->copy) || !pv_is_here(load->pv)) {
		/* a pointer to nowhere, or it is away: have the request refused by a disk */
		load->pv = one_that_is_here(load->lane->native);
		load->request.offset = load->pv->disk->size;
	}
	load->request.op = DISK_READ;
	load->request.done = load_done;
	pv_enter(load->pv);
	disk_submit(load->lane->loop, load->pv->disk, &load->request);
}

static int node_load(struct tree *tree, struct node *parent, unsigned level, uint64_t index,
		     struct waiter *waiter)
{
	struct load *load = heap_zalloc(sizeof(*load));
	struct node *node;

	if (!load)
		return -ENOMEM;
	load->lane = waiter->lane;
	load->pointer = parent ? parent->body->inner.pointer[index % NODE_FANOUT] : tree->root;
	load->length = (load->pointer.length + BLOCK - 1) / BLOCK * BLOCK;
	load->buffer = heap_aligned(BLOCK, load->length);
	node = load->buffer ? node_new(tree, parent, level, index) : NULL;
	if (!node) {
		load_free(load);
		return -ENOMEM;
	}
	load->node = node;
	node->loading = true;
	tree->loads++;
	list_push_back(&node->waiters, &waiter->link);
	load_submit(load);
	return -EINPROGRESS;
}

/* One step down: the node at @level with @index below @parent (NULL: the root). */
static int step(struct tree *tree, struct node *parent, unsigned level, uint64_t index, bool create,
		struct waiter *waiter, struct node **ret_node)
{
	unsigned slot = index % NODE_FANOUT;
	struct node *node = parent ? parent->body->inner.child[slot] : tree->node;
	const struct node_pointer *pointer =
	    parent ? &parent->body->inner.pointer[slot] : &tree->root;

	if (!node && pointer->generation)
		return node_load(tree, parent, level, index, waiter);
	if (!node && create) {
		node = node_new(tree, parent, level, index);
		if (!node)
			return -ENOMEM;
	}
	if (node && node->loading) {
		list_push_back(&node->waiters, &waiter->link);
		return -EINPROGRESS;
	}
	if (node)
		node->referenced = true;
	*ret_node = node;
	return 0;
}

int tree_find(struct tree *tree, uint64_t index, bool create, struct waiter *waiter,
	      struct node **ret_node)
{
	struct node *node = NULL;

	if (index >= tree_capacity(tree)) {
		*ret_node = NULL;
		return create ? -EINVAL : 0;
	}
	for (unsigned level = tree->levels + 1; level-- > 0;) {
		int result = step(tree, node, level, index >> (6 * level), create, waiter, &node);

		if (result < 0)
			return result;
		if (!node)
			break;
	}
	*ret_node = node;
	return 0;
}

int tree_pointer(struct tree *tree, unsigned level, uint64_t index, struct waiter *waiter,
		 struct node_pointer *ret_pointer)
{
	struct node *node = NULL;

	*ret_pointer = (struct node_pointer){0};
	if (level > tree->levels || index >> (6 * (tree->levels - level)))
		return 0;
	for (unsigned at = tree->levels; at > level; at--) {
		uint64_t here = index >> (6 * (at - level));
		struct node *child =
		    node ? node->body->inner.child[here % NODE_FANOUT] : tree->node;
		int result;

		if (!waiter && (!child || child->loading))
			return -ENOENT;
		result = step(tree, node, at, here, false, waiter, &node);
		if (result < 0 || !node)
			return result;
	}
	*ret_pointer = node ? node->body->inner.pointer[index % NODE_FANOUT] : tree->root;
	return 0;
}

int tree_place(struct tree *tree, unsigned level, uint64_t index, struct waiter *waiter,
	       struct node_pointer *ret_pointer, struct node **ret_node)
{
	struct node *node = NULL;

	*ret_node = NULL;
	*ret_pointer = (struct node_pointer){0};
	if (level > tree->levels || index >> (6 * (tree->levels - level)))
		return 0;
	for (unsigned at = tree->levels; at > level; at--) {
		int result =
		    step(tree, node, at, index >> (6 * (at - level)), false, waiter, &node);

		if (result < 0 || !node)
			return result;
	}
	*ret_pointer = node ? node->body->inner.pointer[index % NODE_FANOUT] : tree->root;
	*ret_node = node ? node->body->inner.child[index % NODE_FANOUT] : tree->node;
	return 0;
}

int tree_next(struct tree *tree, uint64_t index, struct waiter *waiter, uint64_t *ret_index)
{
	while (index < tree_capacity(tree)) {
		struct node *node = NULL;
		unsigned level = tree->levels + 1;

		while (level-- > 0) {
			int result =
			    step(tree, node, level, index >> (6 * level), false, waiter, &node);

			if (result < 0)
				return result;
			if (!node)
				break;
			if (level == 0) {
				*ret_index = index;
				return 0;
			}
		}
		/* nothing below this pointer: on to the next of its level */
		index = ((index >> (6 * level)) + 1) << (6 * level);
	}
	*ret_index = UINT64_MAX;
	return 0;
}

/* ---- changing ---- */
void node_mark_dirty(struct node *node)
{
	struct dirty_lists *dirty = node->tree->native->dirty;

	for (; node && !node->dirty; node = node->parent) {
		node->dirty = true;
		dirty->count++;
		if (!node_where(node)->generation)
			node->tree->native->meta_pending++;
		else if (node_is_shared(node, 0))
			node->tree->native->meta_pending += blocks_of(node_where(node)->length);
		list_push_back(&dirty->list[dirty_class(node)][node->level], &node->dirty_link);
	}
}

int node_touch(struct node *node)
{
	if (node->frozen && !node->image) {
		uint8_t *image = heap_aligned(BLOCK, NODE_LENGTH_MAX);

		if (!image)
			return -ENOMEM;
		node->image_length = (uint32_t)node_encode(node, image);
		node->image = image;
	}
	node_mark_dirty(node);
	return 0;
}

int tree_grow(struct tree *tree)
{
	struct node *old = tree->node, *root;
	struct node_pointer pointer = tree->root;

	if (tree->levels == NODE_LEVELS_MAX)
		return -EINVAL;
	tree->node = NULL;
	root = node_new(tree, NULL, tree->levels + 1, 0);
	if (!root) {
		tree->node = old;
		return -ENOMEM;
	}
	tree->levels++;
	root->body->inner.pointer[0] = pointer;
	tree->root = (struct node_pointer){0};
	if (old) {
		root->body->inner.child[0] = old;
		root->children = 1;
		old->parent = root;
	}
	node_mark_dirty(root);
	return 0;
}

int tree_load_all(struct tree *tree, struct lane *lane)
{
	uint64_t index = 0;

	for (;;) {
		struct fiber_waiter wait;
		int result;

		fiber_waiter_init(&wait, lane);
		native_lock(tree->native);
		result = tree_next(tree, index, &wait.waiter, &index);
		native_unlock(lane);
		if (result == -EINPROGRESS)
			result = fiber_waiter_wait(&wait);
		else if (result == 0 && index == UINT64_MAX)
			return 0;
		else if (result == 0)
			index++;
		if (result < 0)
			return result;
	}
}

int node_read_copy(struct native *native, const struct node_pointer *pointer, unsigned copy,
		   const struct node_header *expected, uint8_t *buffer)
{
	size_t length = (pointer->length + BLOCK - 1) / BLOCK * BLOCK;
	int result = pv_node_io(native, DISK_READ, 0, pointer->address[copy], buffer, length);

	if (result < 0)
		return result;
	return node_verify(buffer, length, pointer, pointer->address[copy], expected);
}
