/* SPDX-License-Identifier: Apache-2.0 */
/* shared.c: blocks that several extents point to, since a CLONE. KEY_SHARED has runs of them, with
 * the number of their owners; a block in none has one owner at most. Runs do not overlap, and those
 * that adjoin differ in their owners. Every extent that points into a run is EXTENT_SHARED; one
 * that is may be the last owner. */
#include <errno.h>

#include "shares/internal.h"
#include "shares/order.h"

static int decode(struct share *share, const struct key *key, const uint8_t *value, size_t length,
		  struct shared *ret_run)
{
	return shared_decode(key->offset, value, length, share->store->sb.data_start,
			     share->store->sb.volume_blocks, ret_run);
}

static bool is_run(const struct key *key)
{
	return key->object == SPACE_OBJECT && key->type == KEY_SHARED && key->offset != 0;
}

/* The run that @block is in, or the first one behind it. */
static int run_from(struct share *share, uint64_t block, struct shared *ret_run)
{
	struct key key = {SPACE_OBJECT, KEY_SHARED, block};
	const uint8_t *value;
	size_t length;
	int result = btree_previous(share->store, &key, &value, &length);

	if (result == 0 && is_run(&key)) {
		result = decode(share, &key, value, length, ret_run);
		if (result || block < ret_run->block + ret_run->count)
			return result;
	}
	if (result && result != -ENOENT)
		return result;
	key = (struct key){SPACE_OBJECT, KEY_SHARED, block};
	result = btree_next(share->store, &key, &value, &length);
	if (result)
		return result;
	return is_run(&key) ? decode(share, &key, value, length, ret_run) : -ENOENT;
}

static int run_store(struct share *share, const struct shared *run)
{
	struct key key = {SPACE_OBJECT, KEY_SHARED, run->block};
	uint8_t value[SHARED_BYTES];

	if (run->count == 0 || run->owners < 2)
		return 0;
	shared_encode(run, value);
	return store_put(share->store, &key, value, sizeof(value));
}

static int run_delete(struct share *share, const struct shared *run)
{
	struct key key = {SPACE_OBJECT, KEY_SHARED, run->block};

	return store_delete(share->store, &key);
}

/* @run, one with its neighbours that have as many owners. */
static int run_join(struct share *share, struct shared run)
{
	struct shared other;
	int result = run_from(share, run.block - 1, &other);

	if (result == 0 && other.block + other.count == run.block && other.owners == run.owners) {
		result = run_delete(share, &other);
		run.block = other.block;
		run.count += other.count;
	}
	if (result && result != -ENOENT)
		return result;
	result = run_from(share, run.block + run.count, &other);
	if (result == 0 && other.block == run.block + run.count && other.owners == run.owners) {
		result = run_delete(share, &other);
		run.count += other.count;
	}
	if (result && result != -ENOENT)
		return result;
	return run_store(share, &run);
}

/* *ret_owners and *count as shared_look() has them; *ret_run: the run they are in (owners over 1).
 */
static int look(struct share *share, uint64_t block, uint64_t *count, uint32_t *ret_owners,
		struct shared *ret_run)
{
	int result = run_from(share, block, ret_run);
	bool inside = result == 0 && ret_run->block <= block;
	uint64_t left = *count;

	if (result && result != -ENOENT)
		return result;
	*ret_owners = inside ? ret_run->owners : 1;
	if (result == 0)
		left = (inside ? ret_run->block + ret_run->count : ret_run->block) - block;
	if (left < *count)
		*count = left;
	return 0;
}

int shared_look(struct share *share, uint64_t block, uint64_t *count, uint32_t *ret_owners)
{
	struct shared run;

	return look(share, block, count, ret_owners, &run);
}

bool shared_in_place(const struct share *share, uint32_t owners)
{
	if (owners > 1 || share->readers[0] || share->readers[1])
		return false;
	return share->unshared <= share->store->durable_sequence ||
	       !KEEPS(share_unshared_is_durable);
}

/* The blocks of @part, which had @before owners and were in @run if that is over 1. */
static int set_owners(struct share *share, const struct shared *part, uint32_t before,
		      const struct shared *run)
{
	uint64_t end = part->block + part->count;
	int result = 0;

	if (before > 1) {
		struct shared left = {run->block, part->block - run->block, before};
		struct shared right = {end, run->block + run->count - end, before};

		result = run_delete(share, run);
		if (result == 0)
			result = run_store(share, &left);
		if (result == 0)
			result = run_store(share, &right);
	}
	if (result == 0 && part->owners > 1)
		result = run_join(share, *part);
	share->store->counters[COUNT_SHARED_BLOCKS] += part->count * part->owners;
	share->store->counters[COUNT_SHARED_BLOCKS] -= part->count * before;
	return result;
}

int shared_add(struct share *share, uint64_t block, uint64_t *count)
{
	struct shared run, part = {.block = block};
	uint32_t owners;
	int result = look(share, block, count, &owners, &run);

	if (result)
		return result;
	if (owners == UINT32_MAX)
		return -EMLINK;
	part.count = *count;
	part.owners = owners + 1;
	return set_owners(share, &part, owners, &run);
}

int shared_drop(struct share *share, uint64_t block, uint64_t count)
{
	struct shared run, part = {.block = block, .count = count};
	uint32_t owners;
	int result = look(share, block, &count, &owners, &run);

	if (result)
		return result;
	if (count != part.count)
		return -EUCLEAN;
	if (owners == 1)
		return blocks_free(share, block, count);
	part.owners = owners - 1;
	if (part.owners == 1)
		share->unshared = share->store->open.sequence;
	return set_owners(share, &part, owners, &run);
}
