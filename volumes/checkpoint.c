/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/spread.h"

/* A checkpoint moves what the journal says into the trees (I7):
 *
 *   freeze -> data of frozen records complete, journal flushed -> nodes written, both copies
 *          -> flush -> superblocks (FUA) -> the journal's tail moves, old space is free again
 *
 * Freezing is swapping the lists of dirty nodes: what is touched afterwards belongs to the next
 * checkpoint and leaves its frozen bytes behind (node.c). Reads and writes go on all the time.
 * Runs in the keeper's fiber, one at a time. A failure anywhere makes the pool read-only; the
 * state on disk is the last root and the journal. */

#define WRITES_MAX 64u /* node copies in flight */

struct checkpoint {
	struct native *native;
	struct lane *lane;
	struct fiber *fiber;
	struct superblock sb;
	unsigned in_flight;
	int result;
	uint64_t last_lsn, tail;
};

struct node_write {
	struct disk_request request;
	struct checkpoint *checkpoint;
	struct pv *pv;
	bool paired; /* its other copy is on another device, which is there */
	uint8_t *bytes;
};

/* ---- freeze ---- */
static int freeze_volumes(struct native *native)
{
	while (!list_empty(&native->dirty_volumes)) {
		struct nvolume *volume =
		    list_entry(native->dirty_volumes.next, struct nvolume, dirty_link);
		struct tree *tree = &native->tree[ROOT_VOLUMES];
		struct node *node;
		int result =
		    tree_find(tree, (volume->id - 1) / VOLUMES_PER_LEAF, true, NULL, &node);

		if (result < 0)
			return result;
		node_mark_dirty(node);
		volume->frozen_used = volume->used_slots;
		volume->frozen_owned = volume->owned_slots;
		volume->dirty = false;
		list_remove(&volume->dirty_link);
	}
	return 0;
}

static int freeze(struct checkpoint *checkpoint)
{
	struct native *native = checkpoint->native;
	struct dirty_lists *dirty;
	int result = hot_freeze(native);

	for (unsigned i = 0; i < native->pv_count; i++)
		checkpoint->sb.pv[i].flags = native->sb.pv[i].flags; /* may be new */
	journal_twin_look(native, checkpoint->sb.generation);
	checkpoint->sb.journal_row = native->sb.journal_row;
	checkpoint->sb.version = native->sb.version;
	if (result == 0) {
		snapshots_freeze(native, &checkpoint->sb);
		result = freeze_volumes(native);
	}
	if (result < 0)
		return result;
	dirty = native->dirty;
	native->dirty = native->frozen;
	native->frozen = dirty;
	/* Metadata space is not frozen: this checkpoint changes it, and writes it last. */
	for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++)
		list_splice_back(&native->dirty->list[DIRTY_META][level],
				 &dirty->list[DIRTY_META][level]);
	for (unsigned class = 0; class < DIRTY_CLASSES; class ++)
		for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++)
			list_for_each (it, &dirty->list[class][level]) {
				struct node *node = list_entry(it, struct node, dirty_link);

				node->dirty = false;
				node->frozen = true;
			}
	/* The frozen nodes move to their other link, so that they can be dirty again. */
	for (unsigned class = 0; class < DIRTY_CLASSES; class ++)
		for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++) {
			struct list *from = &dirty->list[class][level], moved;

			list_init(&moved);
			while (!list_empty(from)) {
				struct node *node = list_entry(from->next, struct node, dirty_link);

				list_remove(&node->dirty_link);
				list_push_back(&moved, &node->frozen_link);
			}
			list_splice_back(from, &moved);
		}
	dirty->count = 0;
	native->meta_pending = 0;
	checkpoint->last_lsn = journal_freeze(native, &checkpoint->tail);
	checkpoint->sb.next_volume_id = native->next_volume_id;
	native->generation = checkpoint->sb.generation + 1;
	return 0;
}

/* ---- writing nodes ---- */
static void node_written(struct disk_request *request, int result)
{
	struct node_write *write = container_of(request, struct node_write, request);
	struct checkpoint *checkpoint = write->checkpoint;

	pv_wrote(write->pv);
	if (result < 0 && (!write->paired || away_lost(checkpoint->lane, write->pv, result) < 0))
		checkpoint->result = result;
	checkpoint->in_flight--;
	heap_free(write->bytes);
	heap_free(write);
	fiber_wake(checkpoint->fiber);
}

/* Is there a copy at @address, on another device than @pv's, that counts on being written? */
static bool has_other(const struct native *native, const struct pv *pv, uint64_t address)
{
	const struct pv *other = pv_of(native, pv_resolve(native, address / CHUNK_SLOTS));

	return other && other->device != pv->device && pv_is_here(other);
}

/* The copy at @address; the other one is at @other. What would go to a device that is away is made
 * good when it is back. */
static int write_copy(struct checkpoint *checkpoint, const uint8_t *image, size_t length,
		      uint64_t address, uint64_t other)
{
	struct node_write *write;
	size_t padded = (length + BLOCK - 1) / BLOCK * BLOCK;

	if (away_has(checkpoint->native, address / CHUNK_SLOTS))
		return away_has(checkpoint->native, other / CHUNK_SLOTS) ? -EIO : 0;
	write = heap_zalloc(sizeof(*write));
	if (!write)
		return -ENOMEM;
	write->bytes = heap_aligned(BLOCK, padded);
	if (!write->bytes ||
	    !pv_locate(checkpoint->native, address, &write->pv, &write->request.offset)) {
		heap_free(write->bytes);
		heap_free(write);
		return -ENOMEM;
	}
	write->paired = has_other(checkpoint->native, write->pv, other);
	memcpy(write->bytes, image, length);
	node_set_address(write->bytes, address);
	write->checkpoint = checkpoint;
	write->request.op = DISK_WRITE;
	write->request.length = padded;
	write->request.own_iov = (struct iovec){.iov_base = write->bytes, .iov_len = padded};
	write->request.iov = &write->request.own_iov;
	write->request.iov_count = 1;
	write->request.done = node_written;
	checkpoint->in_flight++;
	disk_submit(checkpoint->lane->loop, write->pv->disk, &write->request);
	return 0;
}

static void free_copies(struct native *native, const struct node_pointer *pointer)
{
	if (!pointer->generation)
		return;
	meta_free(native, pointer->address[0], blocks_of(pointer->length));
	meta_free(native, pointer->address[1], blocks_of(pointer->length));
}

static void note_pinned(struct native *native, const struct node_pointer *pointer)
{
	struct pv *device = spread_pin(native, pointer);

	if (device)
		device->pinned = device->pinned_again = true;
}

static int place(struct checkpoint *checkpoint, struct node_pointer *pointer, size_t length)
{
	struct native *native = checkpoint->native;
	int result;

	pointer->generation = checkpoint->sb.generation;
	pointer->length = (uint32_t)length;
	result = meta_allocate(native, blocks_of(length), 0, SLOT_NONE, &pointer->address[0]);
	if (result == 0)
		result = meta_allocate(native, blocks_of(length), 1, pointer->address[0],
				       &pointer->address[1]);
	if (result == 0)
		note_pinned(native, pointer);
	return result;
}

/* What a node was written as goes, unless a snapshot has it. */
static void free_old(struct checkpoint *checkpoint, struct node *node)
{
	if (!node_is_shared(node, checkpoint->sb.generation))
		free_copies(checkpoint->native, node_where(node));
}

/* Encode, place and write one node; its pointer goes to its parent. Under the lock, which the
 * writes do not need. @placed: META nodes have their address already. */
static int write_node(struct checkpoint *checkpoint, struct node *node, uint8_t *image, bool placed)
{
	struct node_pointer *where = node_where(node), fresh = *where;
	struct node_header header;
	size_t length;
	int result = 0;

	if (node->image) {
		memcpy(image, node->image, node->image_length);
		length = node->image_length;
	} else {
		length = node_encode(node, image);
	}
	heap_free(node->image);
	node->image = NULL;
	if (length == NODE_HEADER || (node->level && node_empty(node))) { /* nothing left in it */
		free_old(checkpoint, node);
		*where = (struct node_pointer){0};
		return 0;
	}
	if (!placed) {
		free_old(checkpoint, node);
		result = place(checkpoint, &fresh, length);
	}
	if (result < 0)
		return result;
	node_header_of(node, &header);
	header.length = (uint32_t)length;
	header.generation = checkpoint->sb.generation;
	fresh.crc = node_seal(image, &header);
	*where = fresh;
	result = write_copy(checkpoint, image, length, fresh.address[0], fresh.address[1]);
	return result < 0
		   ? result
		   : write_copy(checkpoint, image, length, fresh.address[1], fresh.address[0]);
}

static void wait_writes(struct checkpoint *checkpoint, unsigned limit)
{
	while (checkpoint->in_flight > limit)
		fiber_wait();
}

/* All frozen nodes of a class, leaves first; children are placed before their parents. */
static int write_class(struct checkpoint *checkpoint, unsigned class, uint8_t *image)
{
	struct native *native = checkpoint->native;

	for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++) {
		struct list *list = &native->frozen->list[class][level];

		for (;;) {
			struct node *node;
			int result;

			native_lock(native);
			if (list_empty(list)) {
				native_unlock(checkpoint->lane);
				break;
			}
			node = list_entry(list_pop_front(list), struct node, frozen_link);
			result = write_node(checkpoint, node, image, false);
			node->frozen = false;
			native_unlock(checkpoint->lane);
			wait_writes(checkpoint, WRITES_MAX);
			if (result < 0 || checkpoint->result < 0)
				return result < 0 ? result : checkpoint->result;
		}
	}
	return 0;
}

/* The metadata bitmaps describe themselves: placing one may dirty another. Everything dirty is
 * placed first, until nothing new turns up (each node is placed once, so that ends), and only
 * then encoded. */
static int place_meta(struct checkpoint *checkpoint, struct list placed[NODE_LEVELS_MAX + 1])
{
	struct native *native = checkpoint->native;
	bool more = true;

	while (more) {
		more = false;
		for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++) {
			struct list *list = &native->dirty->list[DIRTY_META][level];

			while (!list_empty(list)) {
				struct node *node = list_entry(list->next, struct node, dirty_link);
				struct node_pointer fresh = {0};
				size_t length = level ? NODE_HEADER + 32 * NODE_FANOUT
						      : NODE_HEADER + 2 * SPACE_CHUNKS;
				int result;

				list_remove(&node->dirty_link);
				list_push_back(&placed[level], &node->frozen_link);
				/* still marked dirty, so that it is not listed again */
				free_copies(native, node_where(node));
				result = place(checkpoint, &fresh, length);
				if (result < 0)
					return result;
				*node_where(node) = fresh;
				more = true;
			}
		}
	}
	return 0;
}

static int write_meta(struct checkpoint *checkpoint, uint8_t *image)
{
	struct native *native = checkpoint->native;
	struct list placed[NODE_LEVELS_MAX + 1];
	int result;

	for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++)
		list_init(&placed[level]);
	native_lock(native);
	result = place_meta(checkpoint, placed);
	for (unsigned level = 0; level <= NODE_LEVELS_MAX; level++)
		while (!list_empty(&placed[level])) {
			struct node *node =
			    list_entry(list_pop_front(&placed[level]), struct node, frozen_link);

			if (result == 0)
				result = write_node(checkpoint, node, image, true);
			node->dirty = false;
		}
	native_unlock(checkpoint->lane);
	return result;
}

/* ---- superblocks ---- */
struct label_write {
	struct disk_request request;
	struct label_writes *all;
	struct pv *pv;
};

struct label_writes {
	struct label_write copy[2 * POOL_DEVICES_MAX];
	struct native *native;
	struct fiber *fiber;
	unsigned in_flight;
	int result;
};

static void label_written(struct disk_request *request, int result)
{
	struct label_write *write = container_of(request, struct label_write, request);
	struct label_writes *all = write->all;
	struct lane *lane = result < 0 ? lane_get(all->native) : NULL;

	if (result < 0 && (!lane || away_lost(lane, write->pv, result) < 0))
		all->result = result;
	all->in_flight--;
	fiber_wake(all->fiber);
}

static void label_write(struct label_writes *all, struct pv *pv, unsigned copy, uint8_t *block)
{
	struct label_write *write = &all->copy[all->in_flight++];

	write->all = all;
	write->pv = pv;
	pv_wrote(pv);
	write->request = (struct disk_request){.op = DISK_WRITE,
					       .flags = ORDER(superblock_fua) ? DISK_FUA : 0,
					       .offset = superblock_position(pv->format.size, copy),
					       .length = BLOCK,
					       .iov_count = 1,
					       .own_iov = {.iov_base = block, .iov_len = BLOCK},
					       .done = label_written};
	write->request.iov = &write->request.own_iov;
	disk_submit(fiber_loop(all->fiber), pv->disk, &write->request);
}

/* Heads of all PVs first, then tails: a crash tears one copy of each PV at most, which the next
 * open mends (open.c, complete_root()). So when all copies of a generation are unreadable, it was
 * not a crash, and a newer root than the one at hand may be lost (rewind.c). What changes between
 * two roots lies in a block's first 512 bytes, which disks write whole, so that on most of them no
 * crash could tell: no ORDER() here. */
static int write_labels(struct native *native, const struct superblock *sb, unsigned first,
			unsigned end)
{
	uint8_t *blocks = heap_aligned(BLOCK, (size_t)end * BLOCK);
	struct label_writes *all = heap_zalloc(sizeof(*all));
	struct superblock mine = *sb;
	unsigned side = ORDER(superblock_alternates) ? sb->generation & 1 : 0;
	int result = blocks && all ? 0 : -ENOMEM;

	spread_say(native, &mine);
	for (unsigned copy = side; copy < 4 && result == 0; copy += 2) {
		all->fiber = fiber_current();
		all->native = native;
		for (unsigned i = first; i < end; i++) {
			uint8_t *block = blocks + (size_t)i * BLOCK;

			if (!pv_is_device(&native->pv[i]) || !pv_is_here(&native->pv[i]))
				continue;
			mine.pv_index = i;
			superblock_encode(&mine, block);
			label_write(all, &native->pv[i], copy, block);
		}
		while (all->in_flight)
			fiber_wait();
		result = all->result;
	}
	heap_free(all);
	heap_free(blocks);
	return result;
}

int superblock_write_all(struct native *native, const struct superblock *sb)
{
	return write_labels(native, sb, 0, native->pv_count);
}

int superblock_write_one(struct native *native, const struct superblock *sb, unsigned index)
{
	return write_labels(native, sb, index, index + 1);
}

/* ---- the whole ---- */
static int flush_cycle(struct checkpoint *checkpoint)
{
	struct fiber_waiter wait;

	fiber_waiter_init(&wait, checkpoint->lane);
	native_lock(checkpoint->native);
	flush_join(checkpoint->native, &wait.waiter);
	native_unlock(checkpoint->lane);
	return fiber_waiter_wait(&wait);
}

/* Data of all frozen records complete; and an undo of one that failed is in the journal. */
static int wait_data(struct checkpoint *checkpoint)
{
	struct native *native = checkpoint->native;
	struct fiber_waiter wait;
	bool complete;

	if (!ORDER(checkpoint_waits_for_data))
		return 0;
	fiber_waiter_init(&wait, checkpoint->lane);
	native_lock(native);
	complete = journal_complete_lsn(native) >= checkpoint->last_lsn;
	wait.waiter.lsn = checkpoint->last_lsn;
	if (!complete)
		list_push_back(&native->checkpoint_waiters, &wait.waiter.link);
	native_unlock(checkpoint->lane);
	if (!complete && fiber_waiter_wait(&wait) < 0)
		return -EIO;
	/* What has no record would change a snapshot of this moment when it lands. Every checkpoint
	 * waits, for the next one tells only its own from those that come later. */
	while (ORDER(snapshot_waits_for_unsummed) && !native->read_only &&
	       native->unsummed[checkpoint->sb.generation & 1])
		fiber_sleep(POLL_NS);
	return flush_cycle(checkpoint);
}

/* Nodes that the last root but one used and the last one does not, and (with this checkpoint)
 * what the last one used and the new one does not: the first may go. */
static void release_nodes(struct native *native)
{
	struct list *old = &native->meta_freed[1]; /* freed by the checkpoint before this one */

	if (!ORDER(nodes_reused_after_next))
		list_splice_back(old, &native->meta_freed[0]);

	while (!list_empty(old)) {
		struct meta_extent *extent =
		    list_entry(list_pop_front(old), struct meta_extent, link);
		struct ag *ag = &native->ag[ag_of(native, extent->address / CHUNK_SLOTS)];
		uint64_t first = extent->address - ag->first * CHUNK_SLOTS;

		for (uint64_t slot = first; slot < first + extent->slots; slot++)
			ag->node->body->space.held[slot / CHUNK_SLOTS] &=
			    (uint16_t) ~(1u << slot % CHUNK_SLOTS);
		ag->hint[0] = ag->hint[1] = 0;
		for (uint64_t chunk = extent->address / CHUNK_SLOTS;
		     chunk <= (extent->address + extent->slots - 1) / CHUNK_SLOTS; chunk++)
			forward_drop(native, chunk);
		heap_free(extent);
	}
	list_splice_back(&native->meta_freed[1], &native->meta_freed[0]);
}

static int write_trees(struct checkpoint *checkpoint)
{
	struct native *native = checkpoint->native;
	uint8_t *image = heap_aligned(BLOCK, NODE_LENGTH_MAX);
	int result;

	if (!image)
		return -ENOMEM;
	result = write_class(checkpoint, DIRTY_TREES, image);
	if (result == 0) {
		native_lock(native);
		snapshots_written(native);
		native_unlock(checkpoint->lane);
		result = write_class(checkpoint, DIRTY_VOLUMES, image);
	}
	if (result == 0)
		result = write_meta(checkpoint, image);
	wait_writes(checkpoint, 0);
	heap_free(image);
	for (unsigned i = 0; i < ROOT_COUNT; i++) {
		checkpoint->sb.root[i].pointer = native->tree[i].root;
		checkpoint->sb.root[i].levels = native->tree[i].levels;
	}
	return result < 0 ? result : checkpoint->result;
}

/* One that has gone since the freeze has not all nodes of this root, nor, if it is back, the
 * journal from its tail on. The record of that is read after the nodes are. */
static void note_gone(struct checkpoint *checkpoint)
{
	struct native *native = checkpoint->native;
	struct superblock *sb = &checkpoint->sb;

	native_lock(native);
	for (unsigned i = 0; i < native->pv_count; i++)
		if (native->sb.pv[i].flags & PV_STALE && !(sb->pv[i].flags & PV_STALE) &&
		    ORDER(gone_is_said_by_the_root)) {
			sb->pv[i].flags |= PV_AWAY | PV_STALE;
			sb->version = native->sb.version;
		}
	native_unlock(checkpoint->lane);
}

static int steps(struct checkpoint *checkpoint)
{
	struct native *native = checkpoint->native;
	int result;

	while (native->repairs_in_flight)
		fiber_sleep(POLL_NS);
	native_lock(native);
	result = freeze(checkpoint);
	if (!ORDER(tail_moves_after_superblock))
		journal_tail_moved(native, checkpoint->tail, 0);
	native_unlock(checkpoint->lane);
	if (result == 0)
		result = wait_data(checkpoint);
	if (result == 0)
		result = write_trees(checkpoint);
	if (result == 0 && ORDER(checkpoint_flush_before_superblock))
		result = flush_cycle(checkpoint);
	if (result < 0)
		return result;
	checkpoint->sb.journal_tail = checkpoint->tail;
	checkpoint->sb.next_lsn = checkpoint->last_lsn + 1;
	checkpoint->sb.epoch = native->journal.epoch;
	note_gone(checkpoint);
	return superblock_write_all(native, &checkpoint->sb);
}

int checkpoint_run(struct native *native, struct lane *lane, bool clean)
{
	struct checkpoint checkpoint = {
	    .native = native, .lane = lane, .fiber = fiber_current(), .sb = native->sb};
	int result;

	if (native->read_only)
		return -EROFS;
	checkpoint.sb.generation++;
	checkpoint.sb.clean = clean;
	__atomic_store_n(&native->checkpointing, true, __ATOMIC_RELEASE);
	result = steps(&checkpoint);
	native_lock(native);
	__atomic_store_n(&native->checkpointing, false, __ATOMIC_RELEASE);
	native->checkpoint_due = false;
	if (result == 0) {
		for (unsigned i = 0; i < native->pv_count; i++)
			checkpoint.sb.pv[i].flags = native->sb.pv[i].flags;
		checkpoint.sb.version = native->sb.version;
		native->sb = checkpoint.sb;
		release_nodes(native);
		space_retired_release(native);
		waiters_wake(&native->space_waiters, 0);
		if (space_retired_presses(native) || journal_wants_root(native))
			checkpoint_want(native);
		journal_tail_moved(native, checkpoint.tail, checkpoint.last_lsn);
	} else {
		native_fail(native, "a checkpoint failed (error %d)", -result);
	}
	native_unlock(lane);
	return result;
}
