/* SPDX-License-Identifier: Apache-2.0 */
/* lock.c: block ranges of one logical unit that are in use. Every request on the volume holds its
 * range shared; a command that reads, decides and writes (COMPARE AND WRITE, ORWRITE ...) holds it
 * exclusively from before its read to after its write. First come, first served among those that
 * are in each other's way, so that a stream of reads can not starve a COMPARE AND WRITE.
 *
 * The mutex is taken twice a command, for a few instructions: a list is as short as the queue, and
 * is walked only while somebody wants a range for himself. It is what makes a command of one loop
 * wait for another's, and there is nothing else that could. No other lock is taken under it. */
#include "target/internal.h"

void lock_table_init(struct scsi_lock_table *table)
{
	pthread_mutex_init(&table->mutex, NULL);
	list_init(&table->active);
	list_init(&table->waiting);
	table->exclusive = 0;
}

void lock_table_finish(struct scsi_lock_table *table)
{
	assert(list_empty(&table->active) && list_empty(&table->waiting));
	pthread_mutex_destroy(&table->mutex);
}

static bool conflict(const struct scsi_range *a, const struct scsi_range *b)
{
	return (a->exclusive || b->exclusive) && a->lba < b->lba + b->blocks &&
	       b->lba < a->lba + a->blocks;
}

/* Does anything in @head before @end stand in the way of @range? */
static bool blocked_by(const struct scsi_range *range, const struct list *head,
		       const struct list *end)
{
	for (const struct list *it = head->next; it != end; it = it->next)
		if (conflict(range, list_entry(it, struct scsi_range, link)))
			return true;
	return false;
}

bool lock_acquire(struct scsi_lock_table *table, struct scsi_range *range)
{
	bool wait;

	range->table = table;
	pthread_mutex_lock(&table->mutex);
	table->exclusive += range->exclusive;
	wait = table->exclusive > 0 && (blocked_by(range, &table->active, &table->active) ||
					blocked_by(range, &table->waiting, &table->waiting));
	range->state = wait ? RANGE_WAITING : RANGE_HELD;
	list_push_back(wait ? &table->waiting : &table->active, &range->link);
	pthread_mutex_unlock(&table->mutex);
	return !wait;
}

/* After one has left either list. Mutex held. */
static void grant(struct scsi_lock_table *table)
{
	list_for_each_safe (it, &table->waiting) {
		struct scsi_range *range = list_entry(it, struct scsi_range, link);

		if (blocked_by(range, &table->active, &table->active) ||
		    blocked_by(range, &table->waiting, it))
			continue;
		list_remove(it);
		list_push_back(&table->active, it);
		range->state = RANGE_HELD;
		loop_post(range->loop, &range->message, range->granted);
	}
}

static void leave(struct scsi_lock_table *table, struct scsi_range *range)
{
	list_remove(&range->link);
	range->state = RANGE_FREE;
	table->exclusive -= range->exclusive;
	if (!list_empty(&table->waiting))
		grant(table);
}

void lock_release(struct scsi_range *range)
{
	struct scsi_lock_table *table = range->table;

	pthread_mutex_lock(&table->mutex);
	leave(table, range);
	pthread_mutex_unlock(&table->mutex);
}

bool lock_give_up(struct scsi_range *range)
{
	struct scsi_lock_table *table = range->table;
	bool waiting;

	pthread_mutex_lock(&table->mutex);
	waiting = range->state == RANGE_WAITING;
	if (waiting)
		leave(table, range);
	pthread_mutex_unlock(&table->mutex);
	return waiting;
}
