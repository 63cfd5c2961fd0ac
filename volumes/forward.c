/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/evacuate.h"

/* The FORWARD tree: where the contents of a chunk are that is not where its number says.
 *
 * Nothing that refers to a chunk is changed when it moves: maps, snapshots, clones, checksums,
 * pairs and node pointers keep its number, and pv_places() asks here. So shared or not, data or
 * metadata, a chunk is moved by one entry (relocate.c):
 *
 *   0 --chosen--> BUSY --copied, compared--> BOTH --two roots have the entry--> moved
 *                  |                           |
 *                  +- writes to it wait        +- writes go to both places, reads to the old one
 *
 * A target is a chunk of another device that counts as used. When the last slot of a moved chunk is
 * given up, its entry goes and the target with it; of a pair, after the pair has been undone
 * (mirror.c): while there is one, each of its chunks is where the entry says, and these are on two
 * devices. */

void forward_leaf_init(struct native *native, struct node *node)
{
	uint64_t first = node->index * FORWARD_CHUNKS, end = first + FORWARD_CHUNKS;

	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t row = pv->format.first_chunk;

		if (pv->forward && first < row + pv->format.chunks && end > row)
			__atomic_store_n(&pv->forward[node->index - row / FORWARD_CHUNKS], node,
					 __ATOMIC_RELEASE);
	}
}

int forward_rooms(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk;
		struct node **leaves;

		if (pv->forward)
			continue;
		leaves = heap_zalloc_array((first + pv->format.chunks - 1) / FORWARD_CHUNKS -
					       first / FORWARD_CHUNKS + 1,
					   sizeof(*leaves));
		if (!leaves)
			return -ENOMEM;
		__atomic_store_n(&pv->forward, leaves, __ATOMIC_RELEASE);
	}
	return 0;
}

int forward_entry(struct native *native, uint64_t chunk, uint64_t **ret_entry)
{
	struct node *leaf;
	int result =
	    tree_find(&native->tree[ROOT_FORWARD], chunk / FORWARD_CHUNKS, true, NULL, &leaf);

	if (result == 0)
		result = node_touch(leaf);
	if (result == 0)
		*ret_entry = &leaf->body->forward.target[chunk % FORWARD_CHUNKS];
	return result;
}

static bool is_moved(uint64_t entry)
{
	return entry && !(entry & ~FORWARD_TARGET);
}

uint64_t *forward_count(struct native *native, uint64_t chunk)
{
	struct pv *pv = pv_of(native, chunk);

	return space_chunk_is_data(native, chunk) ? &pv->moved : &pv->meta_moved;
}

void forward_drop(struct native *native, uint64_t chunk)
{
	struct pv *pv = pv_of(native, chunk);
	uint64_t target = pv ? pv_forward(pv, chunk) : 0, *entry = NULL;

	if (!is_moved(target) || space_chunk_in_use(native, chunk) || mirror_of(native, chunk) ||
	    space_prepare_frees(native, 2) < 0 || space_touch(native, target) < 0 ||
	    forward_entry(native, chunk, &entry) < 0)
		return; /* it stays, and may be used again */
	forward_set(entry, 0);
	*forward_count(native, chunk) -= 1;
	space_retire(native, target, 0xffff);
	/* A root with the entry would look elsewhere for what is written to the chunk itself. */
	if (space_chunk_is_data(native, chunk))
		space_retire(native, chunk, 0xffff);
	if (pv->allocates)
		space_totals(native);
}

/* The first chunk of @pv from @chunk on with an entry; the end of its chunks when there is none. */
static uint64_t next_entry(const struct pv *pv, uint64_t chunk)
{
	uint64_t end = pv->format.first_chunk + pv->format.chunks;

	while (chunk < end) {
		if (!pv_forward_leaf(pv, chunk))
			chunk = (chunk / FORWARD_CHUNKS + 1) * FORWARD_CHUNKS;
		else if (pv_forward(pv, chunk))
			return chunk;
		else
			chunk++;
	}
	return end;
}

uint64_t forward_targets(const struct native *native,
			 bool (*is_one)(const struct native *native, uint64_t chunk))
{
	uint64_t count = 0;

	for (unsigned i = 0; i < native->pv_count; i++) {
		const struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = next_entry(pv, first); at < end; at = next_entry(pv, at + 1))
			count += is_one(native, pv_forward(pv, at) & FORWARD_TARGET);
	}
	return count;
}

/* After replay, before anything is written: what was given up meanwhile. */
void forward_sweep(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = next_entry(pv, first); at < end; at = next_entry(pv, at + 1))
			forward_drop(native, at);
	}
}

/* As loaded: how many there are, each to a place that makes sense. */
int forward_setup(struct native *native)
{
	for (unsigned i = 0; i < native->pv_count; i++) {
		struct pv *pv = &native->pv[i];
		uint64_t first = pv->format.first_chunk, end = first + pv->format.chunks;

		for (uint64_t at = next_entry(pv, first); at < end; at = next_entry(pv, at + 1)) {
			uint64_t target = pv_forward(pv, at);

			if (!space_chunk_is_data(native, target) || pv_of(native, target) == pv)
				return -EIO;
			*forward_count(native, at) += 1;
		}
	}
	return 0;
}
