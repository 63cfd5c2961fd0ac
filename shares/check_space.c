/* SPDX-License-Identifier: Apache-2.0 */
/* check_space.c: every block of the data area is one file's, free, reserved, or pointed to by as
 * many extents as its run says. */
#include <string.h>

#include "core/bytes.h"
#include "shares/check.h"

#define EXTENTS_MAX 32u

struct span {
	uint64_t block, count;
};

/* Where extents that may share, and runs of shared blocks, begin and end. */
struct edge {
	uint64_t block;
	int32_t extents, runs;
	int64_t owners;
};

void check_space_own(struct checker *checker, uint64_t block, uint64_t count)
{
	struct span *span = check_array_add(checker, &checker->spans, sizeof(*span));

	if (span)
		*span = (struct span){block, count};
}

void check_space_aside(struct checker *checker, uint64_t block, uint64_t count)
{
	struct span *span = check_array_add(checker, &checker->aside, sizeof(*span));

	if (span)
		*span = (struct span){block, count};
}

static int look_at_promise(struct checker *checker, const struct span *span)
{
	uint64_t at = span->block * BLOCK_SIZE, end = at + span->count * BLOCK_SIZE;
	int result = 0;

	while (at < end && result == 0) {
		struct volume_extent extents[EXTENTS_MAX];
		unsigned count;

		result = store_extents(checker->store, at, end - at, extents, EXTENTS_MAX, &count);
		for (unsigned i = 0; i < count; i++) {
			at = extents[i].offset + extents[i].length;
			if (!extents[i].mapped)
				checker->report->unbacked_bytes += extents[i].length;
		}
	}
	return result;
}

int check_space_promised(struct checker *checker)
{
	const struct span *spans = checker->aside.items;
	int result = 0;

	for (size_t i = 0; i < checker->aside.count && result == 0; i++)
		result = look_at_promise(checker, &spans[i]);
	return result;
}

static void edges_add(struct checker *checker, uint64_t block, uint64_t count, int32_t extents,
		      uint32_t owners)
{
	for (int sign = 1; sign >= -1; sign -= 2) {
		struct edge *edge = check_array_add(checker, &checker->edges, sizeof(*edge));

		if (edge)
			*edge = (struct edge){.block = sign > 0 ? block : block + count,
					      .extents = sign * extents,
					      .runs = owners ? sign : 0,
					      .owners = (int64_t)sign * owners};
	}
}

void check_space_share(struct checker *checker, uint64_t block, uint64_t count)
{
	edges_add(checker, block, count, 1, 0);
}

static void see_run(struct checker *checker, const struct key *key, const uint8_t *value,
		    size_t length)
{
	struct superblock *sb = &checker->store->sb;
	struct shared run;

	if (key->offset == 0 && length == 8) {
		checker->shared_counted = get64(value);
		return;
	}
	if (shared_decode(key->offset, value, length, sb->data_start, sb->volume_blocks, &run) <
	    0) {
		check_found(checker, "the run of shared blocks at %llu can not be read",
			    (unsigned long long)key->offset);
		return;
	}
	checker->shared_blocks += run.count * (run.owners - 1);
	edges_add(checker, run.block, run.count, 0, run.owners);
}

void check_space_see(struct checker *checker, const struct key *key, const uint8_t *value,
		     size_t length)
{
	uint64_t count = length == 8 ? get64(value) : 0;
	struct superblock *sb = &checker->store->sb;

	if (key->type == KEY_SHARED) {
		see_run(checker, key, value, length);
		return;
	}
	if ((key->type != KEY_FREE && key->type != KEY_PENDING) || count == 0 ||
	    key->offset < sb->data_start || key->offset >= sb->volume_blocks ||
	    count > sb->volume_blocks - key->offset) {
		check_found(checker, "free space at block %llu can not be read",
			    (unsigned long long)key->offset);
		return;
	}
	checker->free_blocks += count;
	check_space_own(checker, key->offset, count);
}

/* What holds from one edge to the next: as many extents as the run there says. */
static void compare_stretch(struct checker *checker, uint64_t block, uint64_t end,
			    const struct edge *now)
{
	unsigned long long from = block, count = end - block;
	int64_t counted = now->owners ? now->owners : 1;

	if (now->runs > 1)
		check_found(checker, "%llu blocks from %llu on are counted as shared twice", count,
			    from);
	else if (now->extents && counted != now->extents)
		check_found(checker,
			    "%llu blocks from %llu on have %lld owners, they are counted as %lld",
			    count, from, (long long)now->extents, (long long)counted);
	else if (!now->extents && now->runs)
		check_found(checker, "%llu blocks from %llu on are counted as shared and are not",
			    count, from);
	if (now->extents)
		check_space_own(checker, block, end - block);
}

static void compare_shared(struct checker *checker)
{
	struct edge *edges, now = {0};

	check_array_sort(&checker->edges);
	edges = checker->edges.items;
	for (size_t i = 0; i < checker->edges.count; i++) {
		now.extents += edges[i].extents;
		now.runs += edges[i].runs;
		now.owners += edges[i].owners;
		if (i + 1 < checker->edges.count && edges[i + 1].block > edges[i].block)
			compare_stretch(checker, edges[i].block, edges[i + 1].block, &now);
	}
	if (checker->shared_blocks != checker->shared_counted ||
	    checker->shared_blocks != checker->store->counters[COUNT_SHARED_BLOCKS])
		check_found(checker,
			    "%llu owners of blocks beside the first, the share counts %llu",
			    (unsigned long long)checker->shared_blocks,
			    (unsigned long long)checker->shared_counted);
}

void check_space_compare(struct checker *checker)
{
	struct superblock *sb = &checker->store->sb;
	uint64_t at = sb->data_start;
	struct span *spans;

	compare_shared(checker);
	check_array_sort(&checker->spans);
	spans = checker->spans.items;
	for (size_t i = 0; i < checker->spans.count; i++) {
		if (spans[i].block < at)
			check_found(checker, "blocks from %llu on have two owners",
				    (unsigned long long)spans[i].block);
		else if (spans[i].block > at)
			check_found(checker, "%llu blocks from %llu on have no owner",
				    (unsigned long long)(spans[i].block - at),
				    (unsigned long long)at);
		if (spans[i].block + spans[i].count > at)
			at = spans[i].block + spans[i].count;
	}
	if (at != sb->volume_blocks)
		check_found(checker, "%llu blocks from %llu on have no owner",
			    (unsigned long long)(sb->volume_blocks - at), (unsigned long long)at);
}
