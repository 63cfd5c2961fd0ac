/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "volumes/native.h"

/* Flush cycles (I4, I5). All who want durability share them: one cycle runs, those who come
 * meanwhile wait for the next.
 *
 *   idle -> commit (journal up to the target is written) -> flush of every dirty PV -> idle
 *
 * What was complete when the flush was issued is confirmed when it ends. A failed flush makes
 * the pool read-only (I8): it is never tried again. Where the pool can go on without the device
 * that failed it (away.c), nothing is confirmed by that cycle, and who waits for it waits for one
 * more, of the other devices, which has the record that the device is away. */

void flush_setup(struct native *native)
{
	list_init(&native->cycle.current);
	list_init(&native->cycle.next);
	list_init(&native->cycle.confirm);
}

static void begin(struct native *native)
{
	struct cycle *cycle = &native->cycle;
	struct journal *journal = &native->journal;

	list_splice_back(&cycle->current, &cycle->next);
	cycle->target = journal->next_lsn - 1;
	cycle->result = 0;
	cycle->again = false;
	cycle->state = CYCLE_COMMIT;
	journal->confirm_wanted =
	    !list_empty(&cycle->confirm) && journal->confirmed > journal->confirmed_written;
	if ((journal->written_lsn >= cycle->target && !journal->confirm_wanted) ||
	    (!list_empty(&cycle->current) && !ORDER(cycle_commit_before_flush)))
		cycle->state = CYCLE_FLUSH_DUE;
	else
		journal->commit_due = true;
}

void flush_commit_done(struct native *native)
{
	struct cycle *cycle = &native->cycle;

	if (native->read_only || cycle->state != CYCLE_COMMIT)
		return;
	if (native->journal.written_lsn >= cycle->target && !native->journal.confirm_wanted)
		cycle->state = CYCLE_FLUSH_DUE;
	else
		native->journal.commit_due = true;
}

void flush_join(struct native *native, struct waiter *waiter)
{
	struct cycle *cycle = &native->cycle;

	if (native->read_only) {
		waiter_wake(waiter, -EROFS);
		return;
	}
	if (!ORDER(cycle_flush_takes_new_cycle) && cycle->state == CYCLE_FLUSHING) {
		list_push_back(&cycle->current, &waiter->link);
		return;
	}
	list_push_back(&cycle->next, &waiter->link);
	if (cycle->state == CYCLE_IDLE)
		begin(native);
}

void flush_confirm(struct native *native, uint64_t lsn, struct waiter *waiter)
{
	waiter->lsn = lsn;
	if (native->read_only) {
		waiter_wake(waiter, -EROFS);
		return;
	}
	list_push_back(&native->cycle.confirm, &waiter->link);
	flush_kick(native);
}

/* Would another cycle bring those who wait for a confirmation any further? */
static bool confirm_progress(const struct native *native)
{
	const struct journal *journal = &native->journal;

	if (journal->next_seq - journal->tail_seq + 32 >= journal->blocks)
		return false; /* a checkpoint is due, and confirms */
	return journal->confirmed > journal->confirmed_durable ||
	       journal_complete_lsn(native) > journal->confirmed;
}

static void wake_confirmed(struct native *native)
{
	list_for_each_safe (it, &native->cycle.confirm) {
		struct waiter *waiter = list_entry(it, struct waiter, link);

		if (waiter->lsn <= native->journal.confirmed_durable)
			waiter_wake(waiter, 0);
	}
}

void flush_kick(struct native *native)
{
	struct cycle *cycle = &native->cycle;

	wake_confirmed(native);
	if (cycle->state != CYCLE_IDLE || native->read_only)
		return;
	if (!list_empty(&cycle->next) || (!list_empty(&cycle->confirm) && confirm_progress(native)))
		begin(native);
}

bool flush_needed(const struct native *native)
{
	if (native->cycle.state != CYCLE_IDLE || journal_pending(native) ||
	    native->journal.written_lsn + 1 != native->journal.next_lsn)
		return true;
	for (unsigned i = 0; i < native->pv_count; i++)
		if (pv_is_device(&native->pv[i]) && pv_is_here(&native->pv[i]) &&
		    __atomic_load_n(&native->pv[i].dirty, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/* A device went away after the target was set: its cache was not flushed, and the record by which
 * the next life would not take its copies for good is not durable yet. */
static bool misses_away(const struct native *native)
{
	return native->away_pending && native->cycle.flushing_lsn < native->away_lsn;
}

static void finish(struct native *native)
{
	struct cycle *cycle = &native->cycle;
	struct journal *journal = &native->journal;
	struct lane *leader = cycle->leader;

	native_lock(native);
	cycle->state = CYCLE_IDLE;
	if (cycle->result < 0) {
		native_fail(native, "a device flush failed (error %d)", -cycle->result);
	} else if ((cycle->again || misses_away(native)) && !native->read_only) {
		list_splice_back(&cycle->current, &cycle->next);
		list_splice_back(&cycle->next, &cycle->current);
	} else if (!native->read_only) {
		if (cycle->flushing_lsn >= native->away_lsn)
			native->away_pending = false;
		if (journal->confirmed < cycle->candidate)
			journal->confirmed = cycle->candidate;
		if (journal->confirmed_durable < cycle->candidate_written)
			journal->confirmed_durable = cycle->candidate_written;
		hot_warmed(native, cycle->flushing_lsn);
		confirmed_advance(native);
	}
	waiters_wake(&cycle->current, native->read_only ? -EIO : 0);
	flush_kick(native);
	native_unlock(leader);
}

static void flushed(struct disk_request *request, int result)
{
	struct native *native = (struct native *)(uintptr_t)request->iov;
	struct cycle *cycle = &native->cycle;
	struct pv *pv = &native->pv[request - cycle->request];

	if (result < 0 && away_lost(cycle->leader, pv, result) < 0)
		cycle->result = result;
	else if (result < 0)
		cycle->again = true; /* what was in its cache may be lost, which is to be known */
	pv_leave(pv);
	if (__atomic_sub_fetch(&cycle->requests, 1, __ATOMIC_ACQ_REL) == 0)
		finish(native);
}

void flush_devices(struct lane *lane)
{
	struct native *native = lane->native;
	struct cycle *cycle = &native->cycle;
	struct journal *journal = &native->journal;

	native_lock(native);
	cycle->candidate = journal_complete_lsn(native);
	if (!ORDER(cycle_confirm_only_complete))
		cycle->candidate = journal->next_lsn - 1;
	if (cycle->candidate > journal->written_lsn)
		cycle->candidate = journal->written_lsn;
	cycle->candidate_written = journal->confirmed_written;
	cycle->flushing_lsn = journal->written_lsn;
	pthread_mutex_unlock(&native->lock);
	cycle->leader = lane;
	cycle->requests = 1;
	for (unsigned i = 0; i < pv_rows(native); i++) {
		struct pv *pv = &native->pv[i];

		pv_enter(pv); /* before the look: one that is taken out is waited for */
		if (!pv_is_here(pv) || !__atomic_exchange_n(&pv->dirty, false, __ATOMIC_ACQ_REL) ||
		    !pv->needs_flush || !ORDER(cycle_flush_devices)) {
			pv_leave(pv);
			continue;
		}
		cycle->request[i] =
		    (struct disk_request){.op = DISK_FLUSH, .iov = (void *)native, .done = flushed};
		cycle->requests++;
		disk_submit(lane->loop, pv->disk, &cycle->request[i]);
	}
	if (--cycle->requests == 0)
		finish(native);
}
