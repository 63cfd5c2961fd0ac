/* SPDX-License-Identifier: Apache-2.0 */
/* keeper.c: what a share does by itself, in two fibers of its home loop. The keeper: commits that
 * nobody waits for, and checkpoints. The cleaner: the end of deleted inodes, and the way of freed
 * space back to the free (S4). */
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "shares/internal.h"

#define ROUND_NS    1000000000ull /* commits that nobody waits for */
#define DISCARD_MAX 256u          /* freed pieces in one round */

/* ---- waking ---- */
static void wake(struct share *share)
{
	struct store *store = share->store;

	store_lock(store);
	share->keeper_posted = false;
	waiters_resume(&share->keeper_sleeps, 0);
	store_unlock(store);
}

static void posted(struct message *message)
{
	wake(container_of(message, struct share, keeper_message));
}

static void fired(struct timer *timer)
{
	wake(container_of(timer, struct share, keeper_timer));
}

void share_keeper_kick(struct share *share)
{
	if (share->keeper_posted || !share->keepers)
		return;
	share->keeper_posted = true;
	loop_post(share->home, &share->keeper_message, posted);
}

static void kicked(struct store *store)
{
	share_keeper_kick(store->kick_context);
}

/* ---- deleted inodes ---- */
struct reap {
	struct share *share;
	uint64_t number; /* from here on; then: this one */
	uint8_t kind;
};

static int orphan_next(void *context)
{
	struct reap *reap = context;
	struct share *share = reap->share;
	struct key key = {ORPHAN_OBJECT, KEY_ORPHAN, reap->number};

	for (;;) {
		struct inode_state *state;
		const uint8_t *value;
		size_t length;
		int result = btree_next(share->store, &key, &value, &length);

		if (result)
			return result;
		if (key.object != ORPHAN_OBJECT || key.type != KEY_ORPHAN)
			return -ENOENT;
		if (length != 1)
			return -EUCLEAN;
		reap->number = key.offset;
		reap->kind = value[0];
		state = state_find(share, key.offset);
		if (reap->kind != ORPHAN_DELETED || !state || !state->holds)
			return 0;
		key.offset++;
	}
}

static int reap_step(void *context)
{
	struct reap *reap = context;
	struct share *share = reap->share;
	struct inode_state *state = state_find(share, reap->number);
	struct inode inode;
	int result = inode_load(share, reap->number, &inode);

	if (result == 0 && inode.attr.links == 0 && (!state || !state->holds))
		result = inode_destroy_step(share, &inode);
	else if (result == 0)
		return 0; /* held again */
	if (result == 0 || result == -ENOENT)
		result = orphan_delete(share, reap->number);
	return result;
}

static void reap_all(struct share *share)
{
	struct reap reap = {.share = share};

	while (!share->stopping && store_look(share->store, orphan_next, &reap) == 0) {
		struct range range;
		int result = 0;

		/* never waiting for a request: it may wait for the space that this sets free */
		if (reap.kind == ORPHAN_DELETED &&
		    range_try_lock(share, reap.number, &range) == 0) {
			do
				result = store_transact(share->store, reap_step, &reap, NULL);
			while (result == 1);
			range_unlock(share, &range);
		}
		if (result < 0)
			break;
		reap.number++;
	}
}

int share_keeper_finish_truncations(struct share *share)
{
	struct reap reap = {.share = share};
	int result;

	while ((result = store_look(share->store, orphan_next, &reap)) == 0) {
		if (reap.kind == ORPHAN_TRUNCATED)
			result = file_resize_steps(share, reap.number);
		if (result < 0)
			break;
		reap.number++;
	}
	share->reap_wanted = share->discard_wanted = true; /* what the last life left */
	return result == -ENOENT ? 0 : result;
}

/* ---- freed space ---- */
struct discards {
	struct share *share;
	struct {
		uint64_t block, count;
	} piece[DISCARD_MAX];
	unsigned count, done;
	uint64_t sequence;
};

static int pending_look(void *context)
{
	struct discards *discards = context;
	struct store *store = discards->share->store;
	struct key key = {SPACE_OBJECT, KEY_PENDING, 0};

	discards->count = 0;
	discards->sequence = store_last_sequence(store);
	while (discards->count < DISCARD_MAX) {
		const uint8_t *value;
		size_t length;
		uint64_t count;
		int result = btree_next(store, &key, &value, &length);

		if (result && result != -ENOENT)
			return result;
		if (result || key.object != SPACE_OBJECT || key.type != KEY_PENDING)
			break;
		count = length == 8 ? get64(value) : 0;
		if (count == 0 || key.offset < store->sb.data_start ||
		    key.offset >= store->sb.volume_blocks ||
		    count > store->sb.volume_blocks - key.offset)
			return -EUCLEAN;
		discards->piece[discards->count].block = key.offset;
		discards->piece[discards->count++].count = count;
		key.offset++;
	}
	return 0;
}

/* Whoever began to read before now has ended. */
static void drain(struct share *share)
{
	struct store *store = share->store;
	struct waiter waiter;
	unsigned old;

	store_lock(store);
	old = share->epoch & 1;
	share->epoch++;
	while (share->readers[old])
		waiter_wait(store, &waiter, &share->drained);
	store_unlock(store);
}

static int pending_to_free(void *context)
{
	struct discards *discards = context;
	int result = 0;

	for (unsigned i = 0; i < discards->count && result == 0; i++)
		result = blocks_return(discards->share, discards->piece[i].block,
				       discards->piece[i].count);
	return result;
}

/* 1: there may be more. A volume that can not discard now keeps the space pending. */
static int discard_round(struct share *share, struct discards *discards)
{
	int result = store_look(share->store, pending_look, discards);

	if (result || discards->count == 0)
		return result;
	result = store_wait(share->store, discards->sequence);
	if (result)
		return result;
	drain(share);
	for (unsigned i = 0; i < discards->count && result == 0; i++)
		result =
		    store_io(share->store, VOLUME_DISCARD, 0, discards->piece[i].block * BLOCK_SIZE,
			     NULL, discards->piece[i].count * BLOCK_SIZE);
	if (result == 0)
		result = store_transact(share->store, pending_to_free, discards, NULL);
	return result < 0 ? result : discards->count == DISCARD_MAX;
}

/* ---- a full pool ---- */
/* share->full, as it is now: so that logs and trees of files that nobody can fill do not take what
 * a full pool has left for those that are there. */
static void look_at_pool(struct share *share)
{
	bool full = share_pool_room(share) == 0;

	store_lock(share->store);
	share->full = full;
	store_unlock(share->store);
}

/* ---- the fibers ---- */
static bool flag_take(struct share *share, bool *flag)
{
	bool set;

	store_lock(share->store);
	set = *flag;
	*flag = false;
	store_unlock(share->store);
	return set;
}

static void sleep_until_kicked(struct share *share)
{
	struct waiter waiter;

	waiter_wait(share->store, &waiter, &share->keeper_sleeps);
}

static void keeper_main(void *context)
{
	struct share *share = context;
	struct store *store = share->store;
	uint64_t looked = 0;

	store_lock(store);
	while (!share->stopping) {
		commit_start(store);
		if (store->checkpoint_wanted && !store->failed) {
			store_unlock(store);
			(void)store_checkpoint(store, false);
			store_lock(store);
			continue;
		}
		if (loop_now(share->home) - looked >= ROUND_NS) {
			looked = loop_now(share->home);
			store_unlock(store);
			look_at_pool(share);
			share_revive(share);
			store_lock(store);
			continue;
		}
		timer_start(&share->keeper_timer, ROUND_NS);
		sleep_until_kicked(share);
		timer_stop(&share->keeper_timer);
	}
	share->keepers--;
	store_unlock(store);
}

/* False: what is freed could not be discarded; again, when some time has passed. */
static bool clean(struct share *share, struct discards *discards)
{
	struct store *store = share->store;
	int result = 0;

	if (flag_take(share, &share->reap_wanted))
		reap_all(share);
	store_lock(store);
	share->discarding = 1;
	store_unlock(store);
	while (result >= 0 && flag_take(share, &share->discard_wanted) && !share->stopping)
		do
			result = discard_round(share, discards);
		while (result == 1);
	store_lock(store);
	share->discarding = 0;
	if (result < 0)
		share->discard_wanted = true;
	waiters_resume(&share->space, 0);
	store_unlock(store);
	return result >= 0;
}

static void cleaner_main(void *context)
{
	struct share *share = context;
	struct discards discards;

	discards.share = share;
	store_lock(share->store);
	while (!share->stopping) {
		bool cleaned;

		store_unlock(share->store);
		cleaned = clean(share, &discards);
		store_lock(share->store);
		if (!share->stopping &&
		    (!cleaned || (!share->reap_wanted && !share->discard_wanted)))
			sleep_until_kicked(share);
	}
	waiters_resume(&share->space, 0);
	share->keepers--;
	store_unlock(share->store);
}

int share_keeper_start(struct share *share)
{
	int result;

	timer_init(&share->keeper_timer, share->home, fired);
	share->store->kick = kicked;
	share->store->kick_context = share;
	share->keepers = 1;
	result = fiber_start(share->home, keeper_main, share);
	if (result) {
		share->keepers = 0;
		return result;
	}
	share->keepers = 2;
	result = fiber_start(share->home, cleaner_main, share);
	if (result)
		share->keepers = 1;
	return result;
}
