/* SPDX-License-Identifier: Apache-2.0 */
/* reopen.c: a share's store is closed and opened anew under a share that stays: requests wait
 * meanwhile, no reference goes and no handle is forgotten. For revive.c, and for going back: the
 * volume becomes what it was; afterwards the objects that are in the snapshot are what they were
 * then, and all others are stale. */
#include <errno.h>

#include "core/log.h"
#include "shares/internal.h"

void share_not_open(struct share *share)
{
	share_stop(share);
	store_free(share->store);
	share->store = NULL;
	share->stopping = false;
}

static int open_to(struct share *share, bool read_only, struct err *err)
{
	struct store_options options = {
	    .volume = share->volume, .loop = share->home, .read_only = read_only};
	int result = store_open(&options, &share->store, err);

	share->stopping = false;
	if (result == 0) {
		__atomic_store_n(&share->vfs.verifier, share_make_verifier(share),
				 __ATOMIC_RELEASE);
		result = share_go(share, read_only);
		if (result)
			share_can_not_open(share, result, err);
	}
	if (result)
		share_not_open(share);
	return result;
}

void share_no_space(struct share *share)
{
	store_lock(share->store);
	share->store->failed = true;
	share->store->error = -ENOSPC;
	share->store->read_only = false; /* a store that failed is one that would be written */
	store_unlock(share->store);
}

static int open_again(struct share *share, struct err *err)
{
	int result = open_to(share, false, err);
	struct err not_told = {0};

	if (result == -ENOSPC && open_to(share, true, &not_told) == 0)
		share_no_space(share);
	return result;
}

int share_open_anew(struct share *share, unsigned calls, void (*between)(void *context),
		    void *context, struct err *err)
{
	bool takes_changes = share->keepers != 0;
	int result;

	while (share->calls > calls) /* those that are under way keep the store */
		fiber_sleep(1000000);
	share_pause(share);
	share_stop(share);
	result = share->store ? store_close(share->store) : 0;
	if (result && takes_changes) /* that it does not any more is one reason to be here */
		log_warning("share on volume %s: what it is now was not closed cleanly",
			    share->volume->name);
	store_free(share->store);
	share->store = NULL;
	if (between)
		between(context);
	result = open_again(share, err);
	share_go_on(share);
	return result;
}

static void volume_went_back(struct pool_call *pool_call, int result)
{
	struct share_call *call = container_of(pool_call, struct share_call, pool_call);

	call->pool_result = result;
	call->pool_done = true;
	fiber_wake(call->fiber);
}

static void volume_goes_back(void *context)
{
	struct share_call *call = context;

	call->fiber = fiber_current();
	call->pool_call = (struct pool_call){.done = volume_went_back, .dry = call->dry};
	volume_rollback(call->share->volume, call->snapshot, call->keep, &call->pool_call);
	while (!call->pool_done)
		fiber_wait();
}

static void rollback_main(void *context)
{
	struct share_call *call = context;
	struct share *share = call->share;
	struct err err = {0};
	int result, opened;

	if (share->going_back) {
		share_ended(call, err_set(&call->err, -EBUSY, "the share is going back already"));
		return;
	}
	share->going_back = true;
	result = snapshots_try(share, call->snapshot);
	if (result) {
		share->going_back = false;
		share_ended(call, err_set(&call->err, result,
					  "snapshot %s holds no share that can "
					  "be opened",
					  call->snapshot->name));
		return;
	}
	if (call->dry) {
		volume_goes_back(call);
		share->going_back = false;
		call->err = call->pool_call.err;
		share_ended(call, call->pool_result);
		return;
	}
	opened = share_open_anew(share, 1, volume_goes_back, call, &err);
	share->going_back = false;
	if (opened == -ENOSPC) {
		log_warning("%s: it takes no changes until its pool has space", err.text);
		share_revive(share);
		opened = share->store ? 0 : opened; /* it has gone back, and is read */
	}
	result = call->pool_result;
	call->err = result ? call->pool_call.err : err;
	share_ended(call, result ? result : opened);
}

void share_rollback(struct vfs *vfs, struct volume *snapshot, const char *keep,
		    struct share_call *call)
{
	call->snapshot = snapshot;
	call->keep = keep;
	call->pool_done = false;
	share_start_on(vfs, call, rollback_main);
}
