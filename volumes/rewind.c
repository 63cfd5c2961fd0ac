/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/bytes.h"
#include "volumes/native.h"

/* The last two roots. Superblock copies are written one at a time (superblock_write_all()), so a
 * crash leaves a readable copy of either generation on both sides. When one side can not be read
 * at all, its root is lost, and nobody can say whether it was the newer or the older one: the
 * open is refused until an administrator asks for what is left (pool_rewind()). What that root
 * says about data is whole, for its journal is, or the open is refused again (replay.c); what
 * is lost then is the last change of volumes: a creation, deletion, new size or new name.
 *
 * The nodes of the older root stay as they are until the newer one has a successor: a checkpoint
 * sees to that while the pool is open, and rewind_hold() after an open. */

/* Is there a superblock of the side that does not hold @newest? */
bool rewind_side_is_lost(const struct labels *labels, unsigned count, uint64_t newest)
{
	unsigned side = ~newest & 1;

	for (unsigned i = 0; i < count; i++)
		if (labels[i].generation[side] && labels[i].generation[side] + 1 >= newest)
			return false; /* older ones are of a device that was added since */
	return true;
}

int rewind_refuse(const struct native *native, struct err *err)
{
	return err_set(err, -EUCLEAN,
		       "the newest root of pool %s may be lost: all copies of one superblock are "
		       "damaged, generation %llu is left. Opening that one (import with --rewind) "
		       "keeps the data, but may lose the last change of volumes: a creation, "
		       "deletion, new size or new name",
		       native->sb.name, (unsigned long long)native->sb.generation);
}

/* One node of the older root's META tree, the good copy in @buffer. */
static int read_node(struct native *native, const struct node_pointer *pointer, unsigned level,
		     uint64_t index, uint8_t *buffer)
{
	struct node_header expected = {
	    .kind = NODE_META, .level = (uint8_t)level, .index = index, .pool_hash = native->hash};
	int result = node_read_copy(native, pointer, 0, &expected, buffer);

	return result < 0 ? node_read_copy(native, pointer, 1, &expected, buffer) : result;
}

static int hold_run(struct native *native, struct ag *ag, unsigned first, unsigned slots)
{
	struct meta_extent *extent = heap_alloc(sizeof(*extent));

	if (!extent)
		return -ENOMEM;
	extent->address = ag->first * CHUNK_SLOTS + first;
	extent->slots = slots;
	list_push_back(&native->meta_freed[1], &extent->link);
	for (unsigned slot = first; slot < first + slots; slot++)
		ag->node->body->space.held[slot / CHUNK_SLOTS] |=
		    (uint16_t)(1u << slot % CHUNK_SLOTS);
	return 0;
}

/* What the older root uses of a group and the newest does not. */
static int hold_group(struct native *native, uint64_t index, const uint8_t *payload)
{
	struct ag *ag = &native->ag[index];
	unsigned run = 0, total = (unsigned)(ag->meta * CHUNK_SLOTS);
	int result = 0;

	if (!ag->node)
		result = tree_find(&native->tree[ROOT_META], index, true, NULL, &ag->node);
	for (unsigned slot = 0; slot <= total && result == 0; slot++) {
		uint16_t bit = (uint16_t)(1u << slot % CHUNK_SLOTS);
		unsigned chunk = slot / CHUNK_SLOTS;

		if (slot < total && get16(payload + 2 * chunk) & bit &&
		    !(ag->node->body->space.used[chunk] & bit)) {
			run++;
			continue;
		}
		if (run)
			result = hold_run(native, ag, slot - run, run);
		run = 0;
	}
	return result;
}

static int hold_tree(struct native *native, const struct node_pointer *pointer, unsigned level,
		     uint64_t index)
{
	uint8_t *buffer;
	int result;

	if (!pointer->generation)
		return 0;
	buffer = heap_aligned(BLOCK, NODE_LENGTH_MAX);
	result = buffer ? read_node(native, pointer, level, index, buffer) : -ENOMEM;
	if (result == 0 && level == 0)
		result =
		    pointer->length == NODE_HEADER + 2 * SPACE_CHUNKS && index < native->ag_count
			? hold_group(native, index, buffer + NODE_HEADER)
			: -EBADMSG;
	if (result == 0 && level && pointer->length != NODE_HEADER + 32 * NODE_FANOUT)
		result = -EBADMSG;
	for (unsigned i = 0; level && result == 0 && i < NODE_FANOUT; i++) {
		struct node_pointer child;

		result = node_pointer_decode(buffer + NODE_HEADER + 32 * i, &child);
		if (result == 0)
			result = hold_tree(native, &child, level - 1, index * NODE_FANOUT + i);
	}
	heap_free(buffer);
	return result;
}

int rewind_hold(struct native *native, const struct superblock *older)
{
	int result;

	if (!ORDER(older_root_held_at_open) || older->generation + 1 != native->sb.generation)
		return 0;
	result =
	    hold_tree(native, &older->root[ROOT_META].pointer, older->root[ROOT_META].levels, 0);
	if (result == -ENOMEM)
		return result;
	if (result < 0)
		log_warning("pool %s: the root before the newest is damaged and can not be gone "
			    "back to",
			    native->sb.name);
	return 0;
}
