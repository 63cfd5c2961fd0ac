/* SPDX-License-Identifier: Apache-2.0 */
/* revive.c: the log and the tree of a share may use what a full pool keeps back (VOLUME_VITAL).
 * When that is used up too, by snapshots for example, the store has failed (S5): changes hear
 * -ENOSPC, what is there is still read, with the few changes that were refused when it failed. Here
 * is the way out of it: when the pool has space again, the store is opened anew under the share, as
 * after a crash. What was durable is there; UNSTABLE writes have to be written again
 * (vfs_verifier()). Requests wait meanwhile, handles and opens stay good. When there is not enough
 * after all, what is durable is read until the next try (reopen.c). */
#include <errno.h>

#include "core/log.h"
#include "shares/internal.h"

#define LOOK_NS  1000000000ull
#define SLEEP_NS 20000000ull /* somebody who closes the share waits for this */

static bool has_failed(struct share *share)
{
	struct store *store = share->store;
	bool failed;

	if (!store) /* it was not opened again: another try */
		return true;
	store_lock(store);
	failed = store->failed && store->error == -ENOSPC;
	store_unlock(store);
	return failed;
}

/* Enough for its log and the pages that go with it; else what fails is the opening. */
static bool has_space(const struct share *share)
{
	uint64_t log = share->store ? share->store->sb.log_blocks * BLOCK_SIZE : 0;

	return share_pool_room(share) / 2 >= log && share_pool_room(share) > 0;
}

/* True: there is nothing to do any more. */
static bool revive(struct share *share)
{
	struct err err = {0};
	bool is_news;
	int result;

	if (share->going_back)
		return false;
	if (!has_failed(share))
		return true;
	if (!has_space(share))
		return false;
	share->going_back = true;
	is_news = share->keepers != 0;
	result = share_open_anew(share, 0, NULL, NULL, &err);
	share->going_back = false;
	if (result < 0 && is_news)
		log_error("%s", err.text);
	if (result == 0)
		log_notice("share on volume %s: there is space again, it takes changes",
			   share->volume->name);
	return result == 0;
}

static void revive_main(void *context)
{
	struct share *share = context;

	while (!share->restores_end && !revive(share))
		for (uint64_t slept = 0; slept < LOOK_NS && !share->restores_end; slept += SLEEP_NS)
			fiber_sleep(SLEEP_NS);
	share->reviving = false;
}

void share_revive(struct share *share)
{
	if (share->reviving || !has_failed(share))
		return;
	share->reviving = true;
	if (fiber_start(share->home, revive_main, share))
		share->reviving = false;
}
