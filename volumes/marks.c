/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/marks.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"

#define WORDS       512u
#define LEAF_CHUNKS (WORDS * 64u) /* 2 GiB */

static uint64_t marks_all[1];

static uint64_t chunks_of(const struct marks *marks)
{
	return (marks->size + MARKS_CHUNK - 1) / MARKS_CHUNK;
}

/* Chunks that leaf @index stands for: the last one may have fewer. */
static uint64_t leaf_chunks(const struct marks *marks, uint64_t index)
{
	uint64_t left = chunks_of(marks) - index * LEAF_CHUNKS;

	return left < LEAF_CHUNKS ? left : LEAF_CHUNKS;
}

static uint64_t leaves_for(uint64_t size)
{
	return (size + (uint64_t)LEAF_CHUNKS * MARKS_CHUNK - 1) /
	       ((uint64_t)LEAF_CHUNKS * MARKS_CHUNK);
}

int marks_init(struct marks *marks, uint64_t size_bytes)
{
	*marks = (struct marks){.size = size_bytes, .leaf_count = leaves_for(size_bytes)};
	marks->leaves =
	    heap_zalloc_array(marks->leaf_count ? marks->leaf_count : 1, sizeof *marks->leaves);
	return marks->leaves ? 0 : -ENOMEM;
}

void marks_finish(struct marks *marks)
{
	for (uint64_t i = 0; marks->leaves && i < marks->leaf_count; i++) {
		if (marks->leaves[i] != marks_all)
			heap_free(marks->leaves[i]);
	}
	heap_free(marks->leaves);
	*marks = (struct marks){0};
}

static uint64_t leaf_count_marked(const uint64_t *leaf)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < WORDS; i++)
		count += (uint64_t)__builtin_popcountll(leaf[i]);
	return count;
}

/* A leaf with bits of its own in place of "all". */
static uint64_t *leaf_spell_out(struct marks *marks, uint64_t index)
{
	uint64_t *leaf = heap_zalloc(WORDS * sizeof *leaf);

	for (uint64_t i = 0; leaf && i < leaf_chunks(marks, index); i++)
		leaf[i / 64] |= 1ull << i % 64;
	if (leaf)
		marks->leaves[index] = leaf;
	return leaf;
}

static void leaf_fill(struct marks *marks, uint64_t index)
{
	uint64_t *leaf = marks->leaves[index];

	if (leaf == marks_all)
		return;
	marks->count += leaf_chunks(marks, index) - (leaf ? leaf_count_marked(leaf) : 0);
	heap_free(leaf);
	marks->leaves[index] = marks_all;
}

int marks_grow(struct marks *marks, uint64_t size_bytes)
{
	uint64_t leaf_count = leaves_for(size_bytes);
	uint64_t **leaves;

	if (size_bytes <= marks->size)
		return 0;
	/* "All" means another number of chunks soon. */
	if (marks->leaf_count && marks->leaves[marks->leaf_count - 1] == marks_all &&
	    !leaf_spell_out(marks, marks->leaf_count - 1))
		return -ENOMEM;
	leaves = heap_resize(marks->leaves, (leaf_count ? leaf_count : 1) * sizeof *leaves);
	if (!leaves)
		return -ENOMEM;
	for (uint64_t i = marks->leaf_count; i < leaf_count; i++)
		leaves[i] = NULL;
	marks->leaves = leaves;
	marks->leaf_count = leaf_count;
	marks->size = size_bytes;
	return 0;
}

static void set_chunk(struct marks *marks, uint64_t chunk)
{
	uint64_t index = chunk / LEAF_CHUNKS, bit = chunk % LEAF_CHUNKS;
	uint64_t *leaf = marks->leaves[index];

	if (leaf == marks_all)
		return;
	if (!leaf) {
		leaf = marks->leaves[index] = heap_zalloc(WORDS * sizeof *leaf);
		if (!leaf) {
			leaf_fill(marks, index);
			return;
		}
	}
	if (!(leaf[bit / 64] >> bit % 64 & 1))
		marks->count++;
	leaf[bit / 64] |= 1ull << bit % 64;
}

void marks_set(struct marks *marks, uint64_t offset, uint64_t length)
{
	uint64_t first = offset / MARKS_CHUNK, end, chunks = chunks_of(marks);

	if (length == 0 || first >= chunks)
		return;
	end = (offset + length - 1) / MARKS_CHUNK + 1;
	if (end > chunks)
		end = chunks;
	while (first < end) {
		uint64_t index = first / LEAF_CHUNKS;

		if (first % LEAF_CHUNKS == 0 && end - first >= leaf_chunks(marks, index)) {
			leaf_fill(marks, index);
			first += leaf_chunks(marks, index);
		} else {
			set_chunk(marks, first++);
		}
	}
}

int marks_clear(struct marks *marks, uint64_t offset, uint64_t length)
{
	uint64_t first = (offset + MARKS_CHUNK - 1) / MARKS_CHUNK;
	uint64_t end =
	    offset + length >= marks->size ? chunks_of(marks) : (offset + length) / MARKS_CHUNK;

	while (first < end) {
		uint64_t index = first / LEAF_CHUNKS, bit = first % LEAF_CHUNKS;
		uint64_t *leaf = marks->leaves[index], room = LEAF_CHUNKS - bit;

		if (room > end - first)
			room = end - first;
		if (leaf && bit == 0 && room >= leaf_chunks(marks, index)) {
			marks->count -= leaf == marks_all ? room : leaf_count_marked(leaf);
			if (leaf != marks_all)
				heap_free(leaf);
			marks->leaves[index] = leaf = NULL;
		}
		if (leaf == marks_all && !(leaf = leaf_spell_out(marks, index)))
			return -ENOMEM;
		for (uint64_t i = bit; leaf && i < bit + room; i++) {
			marks->count -= leaf[i / 64] >> i % 64 & 1;
			leaf[i / 64] &= ~(1ull << i % 64);
		}
		first += room;
	}
	return 0;
}

void marks_set_all(struct marks *marks)
{
	marks_set(marks, 0, marks->size);
}

void marks_clear_all(struct marks *marks)
{
	(void)!marks_clear(marks, 0, marks->size); /* whole leaves need no memory */
}

static bool chunk_marked(const struct marks *marks, uint64_t chunk)
{
	const uint64_t *leaf = marks->leaves[chunk / LEAF_CHUNKS];
	uint64_t bit = chunk % LEAF_CHUNKS;

	return leaf && (leaf == marks_all || (leaf[bit / 64] >> bit % 64 & 1));
}

/* The first chunk from @chunk on that is marked, or is not; @end when none is in front of it. */
static uint64_t find(const struct marks *marks, uint64_t chunk, uint64_t end, bool marked)
{
	while (chunk < end) {
		const uint64_t *leaf = marks->leaves[chunk / LEAF_CHUNKS];
		uint64_t bit = chunk % LEAF_CHUNKS;

		if (!leaf || leaf == marks_all) {
			if ((leaf != NULL) == marked)
				return chunk;
			chunk += LEAF_CHUNKS - bit;
		} else if (bit % 64 == 0 && leaf[bit / 64] == (marked ? 0 : UINT64_MAX)) {
			chunk += 64;
		} else if (chunk_marked(marks, chunk) == marked) {
			return chunk;
		} else {
			chunk++;
		}
	}
	return end;
}

bool marks_any(const struct marks *marks, uint64_t offset, uint64_t length)
{
	uint64_t chunks = chunks_of(marks), end = (offset + length - 1) / MARKS_CHUNK + 1;

	if (end > chunks)
		end = chunks;
	return length > 0 && find(marks, offset / MARKS_CHUNK, end, true) < end;
}

bool marks_next(const struct marks *marks, uint64_t from, uint64_t most, uint64_t *ret_offset,
		uint64_t *ret_length)
{
	uint64_t chunks = chunks_of(marks), first, stop, end;

	/* The last chunk may be short: behind its end there is nothing, though it is marked. */
	if (marks->count == 0 || from >= marks->size)
		return false;
	first = find(marks, from / MARKS_CHUNK, chunks, true);
	if (first >= chunks)
		return false;
	/* No further than @most: the rest of a long run is looked at when it is its turn. */
	stop = most / MARKS_CHUNK < chunks - first ? first + most / MARKS_CHUNK + 1 : chunks;
	end = find(marks, first, stop, false) * MARKS_CHUNK;
	*ret_offset = first * MARKS_CHUNK;
	if (end > marks->size)
		end = marks->size;
	*ret_length = end - *ret_offset < most ? end - *ret_offset : most;
	return true;
}

uint64_t marks_bytes(const struct marks *marks)
{
	uint64_t bytes = marks->count * MARKS_CHUNK;

	return bytes < marks->size ? bytes : marks->size;
}
