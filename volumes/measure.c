/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "volumes/keeper.h"

/* What a snapshot holds alone, and what the pool gets back when it goes.
 *
 * exclusive: slots that are mapped in it and nowhere else: what it owns (younger than its parent)
 * and the one that stands on it does not have at the same place. A snapshot starts with none; the
 * volume above it counts what it gives up of it (measure_changed()), and from the next snapshot
 * on the number stands still. So it is known all the time, but after an open, and after a
 * neighbour has gone: then both maps are compared, beside all else, some leaves at a time. (Where
 * clones stand on it, too, it is compared with all of them, and again when one gives something up.)
 *
 * reclaimable: of the chunks that those slots are in, the ones that are in use for nothing else:
 * they are free when it goes. A comparison finds them; it holds until a chunk that is in use in
 * part is used or given up (native->partial_changes).
 *
 * Who asks waits in measure_calls; what is to be looked at, in measuring. All under the lock and on
 * the home loop, but for the two functions that writes call. */

#define LOOKS_PER_STEP 256u
#define TRIES_MAX      3u /* until the pool has held still for a moment */
#define TABLE_MIN      256u
#define TABLE_MAX      (1u << 20) /* entries: 16 MiB; more chunks take more than one pass */

struct given_up {
	uint64_t chunk; /* 0: none (chunk 0 is metadata) */
	uint16_t mask;
};

struct measure {
	struct nvolume *subject;
	struct nvolume *last; /* that was begun with; only to be compared, it may have gone */
	uint64_t at, slots;   /* leaves that were looked at, and what they gave */
	uint64_t chunks, epoch;
	uint64_t from, to; /* the chunks that this pass looks for */
	unsigned tries;
	int result;
	size_t size, used, counted;
	struct given_up *table;
};

/* ---- chunks that are given up ---- */
static struct given_up *place_of(struct given_up *table, size_t size, uint64_t chunk)
{
	size_t at = (size_t)(chunk * 0x9e3779b97f4a7c15ull >> 20) & (size - 1);

	while (table[at].chunk && table[at].chunk != chunk)
		at = (at + 1) & (size - 1);
	return &table[at];
}

/* A larger table, or as large as it may be, and only the lower half of what was looked for. */
static int make_room(struct measure *measure)
{
	size_t size = measure->size ? measure->size * 2 : TABLE_MIN, used = 0;
	struct given_up *table;

	if (size > TABLE_MAX) {
		size = TABLE_MAX;
		measure->to = measure->from + (measure->to - measure->from + 1) / 2;
	}
	table = heap_zalloc_array(size, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < measure->size; i++) {
		const struct given_up *old = &measure->table[i];

		if (!old->chunk || old->chunk >= measure->to)
			continue;
		*place_of(table, size, old->chunk) = *old;
		used++;
	}
	heap_free(measure->table);
	measure->table = table;
	measure->size = size;
	measure->used = used;
	return 0;
}

void measure_slot(struct measure *measure, uint64_t address)
{
	uint64_t chunk = address / CHUNK_SLOTS;
	struct given_up *place;

	while (measure->result == 0 && chunk >= measure->from && chunk < measure->to &&
	       measure->used * 4 >= measure->size * 3)
		measure->result = make_room(measure);
	if (measure->result < 0 || chunk < measure->from || chunk >= measure->to)
		return;
	place = place_of(measure->table, measure->size, chunk);
	measure->used += !place->chunk;
	place->chunk = chunk;
	place->mask |= (uint16_t)(1u << address % CHUNK_SLOTS);
}

static void table_clear(struct measure *measure)
{
	heap_free(measure->table);
	measure->table = NULL;
	measure->size = measure->used = measure->counted = 0;
}

/* ---- who may be looked at ---- */
static bool is_going(const struct nvolume *volume)
{
	return volume && volume->state == VOLUME_STATE_DELETING &&
	       nvolume_has_one_child_at_most(volume);
}

/* Not beside one that is being taken apart: what that leaves to it is not its own yet. */
static bool may_look(const struct nvolume *snapshot)
{
	const struct nvolume *child = nvolume_child(snapshot);

	return !is_going(snapshot->parent) && !is_going(child) && !(child && child->pending) &&
	       !snapshot->pending;
}

static bool is_known(const struct nvolume *snapshot)
{
	return snapshot->measured && measure_reclaimable(snapshot, NULL);
}

bool measure_reclaimable(const struct nvolume *snapshot, uint64_t *ret_chunks)
{
	const struct native *native = snapshot->native;
	bool none = snapshot->exclusive_slots == 0 || !nvolume_has_one_child_at_most(snapshot);

	if (!snapshot->measured ||
	    (!none && snapshot->reclaim_epoch != native->partial_changes + 1))
		return false;
	if (ret_chunks)
		*ret_chunks = none ? 0 : snapshot->reclaim_chunks;
	return true;
}

/* ---- what changes ---- */
void measure_forget(struct nvolume *snapshot)
{
	struct measure *measure;

	if (!snapshot)
		return;
	measure = snapshot->native->measure;
	snapshot->measured = false;
	if (measure && measure->subject == snapshot)
		measure->subject = NULL; /* from the beginning */
}

bool measure_follows(const struct nvolume *snapshot, uint64_t leaf)
{
	const struct measure *measure = snapshot->native->measure;

	if (snapshot->state != VOLUME_STATE_SNAPSHOT)
		return false;
	return snapshot->measured ||
	       (measure && measure->subject == snapshot && leaf < measure->at);
}

void measure_changed(struct nvolume *snapshot, int slots)
{
	struct native *native = snapshot->native;

	if (!nvolume_has_one_child_at_most(snapshot))
		measure_forget(snapshot);
	else if (snapshot->measured)
		snapshot->exclusive_slots += (uint64_t)(int64_t)slots;
	else
		native->measure->slots += (uint64_t)(int64_t)slots;
	native->partial_changes++;
}

/* ---- the walk ---- */
static void begin(struct measure *measure, struct nvolume *subject)
{
	table_clear(measure);
	measure->subject = subject;
	measure->at = measure->slots = measure->chunks = measure->from = 0;
	measure->to = subject->native->chunks;
	measure->epoch = subject->native->partial_changes;
	measure->result = 0;
}

/* Of the chunks that were found, those that are in use for nothing else; a mirrored one is two. */
static bool count_some(struct measure *measure)
{
	const struct native *native = measure->subject->native;
	unsigned looks = 4096;

	for (; measure->counted < measure->size && looks--; measure->counted++) {
		const struct given_up *found = &measure->table[measure->counted];

		if (found->chunk &&
		    !(space_used_slots(native, found->chunk) & (uint16_t)~found->mask))
			measure->chunks += mirror_of(native, found->chunk) ? 2 : 1;
	}
	return measure->counted == measure->size;
}

/* At the end of the map. True: all is known, or as much as can be. */
static bool end_pass(struct measure *measure)
{
	struct nvolume *subject = measure->subject;
	struct native *native = subject->native;

	if (!subject->measured) {
		subject->measured = true;
		subject->exclusive_slots = measure->slots;
	}
	if (!count_some(measure))
		return false;
	if (measure->to < native->chunks) {
		measure->from = measure->to;
		measure->to = native->chunks;
		measure->at = 0;
		table_clear(measure);
		return false;
	}
	subject->reclaim_chunks = measure->chunks;
	subject->reclaim_epoch = measure->epoch + 1;
	if (measure->epoch == native->partial_changes || ++measure->tries >= TRIES_MAX)
		return true;
	begin(measure, subject);
	return false;
}

static void leave_queue(struct nvolume *snapshot)
{
	struct measure *measure = snapshot->native->measure;

	list_remove(&snapshot->measure_link);
	if (!measure)
		return;
	measure->last = NULL;
	if (measure->subject == snapshot)
		measure->subject = NULL;
}

/* ---- who asks ---- */
static bool is_queued(const struct nvolume *snapshot)
{
	return !list_empty(&snapshot->measure_link);
}

static void enqueue(struct nvolume *snapshot)
{
	if (snapshot->state == VOLUME_STATE_SNAPSHOT && !is_known(snapshot) && !is_queued(snapshot))
		list_push_back(&snapshot->native->measuring, &snapshot->measure_link);
}

static bool all_are_known(const struct nvolume *volume)
{
	const struct list *all = &volume->snapshots;

	for (const struct list *it = all->prev; it != all; it = it->prev) /* the last to be seen */
		if (is_queued(list_entry(it, struct nvolume, listed)))
			return false;
	return true;
}

static bool is_answered(const struct native_call *mine, bool looked)
{
	if (loop_now(mine->native->home) >= mine->until_ns)
		return true;
	return mine->kind == CALL_MEASURE ? !is_queued(mine->volume)
					  : looked && all_are_known(mine->volume);
}

/* @looked: something has left the queue. @lost: whose map can not be read, or NULL. */
static void answer(struct native *native, bool looked, const struct nvolume *lost)
{
	list_for_each_safe (it, &native->measure_calls) {
		struct native_call *mine = list_entry(it, struct native_call, link);

		if (!is_answered(mine, looked))
			continue;
		list_remove(&mine->link);
		call_end(mine,
			 lost && mine->kind == CALL_MEASURE && mine->volume == lost ? -EIO : 0);
	}
}

void measure_ask(struct native_call *mine)
{
	struct native *native = mine->native;

	native_lock(native);
	if (mine->kind == CALL_MEASURE)
		enqueue(mine->volume);
	else
		list_for_each (it, &mine->volume->snapshots)
			enqueue(list_entry(it, struct nvolume, listed));
	pthread_mutex_unlock(&native->lock);
	list_push_back(&native->measure_calls, &mine->link);
	answer(native, true, NULL);
}

bool measure_is_due(const struct native *native)
{
	return !list_empty(&native->measuring) || !list_empty(&native->measure_calls);
}

static struct nvolume *choose(struct native *native)
{
	if (native->measure->subject)
		return native->measure->subject;
	list_for_each (it, &native->measuring) {
		struct nvolume *snapshot = list_entry(it, struct nvolume, measure_link);

		if (may_look(snapshot))
			return snapshot;
	}
	return NULL;
}

/* Under the lock. 0: go on; 1: this one is over; or an error. */
static int look(struct measure *measure, struct waiter *waiter)
{
	struct nvolume *subject = measure->subject;
	int result = 0;

	if (measure->at >= tree_capacity(&subject->map))
		return end_pass(measure);
	if (nvolume_has_one_child_at_most(subject))
		result = reap_look(subject, waiter, measure, &measure->at, &measure->slots);
	else
		result = reap_look_many(subject, waiter, &measure->at, &measure->slots);
	return result < 0 ? result : measure->result;
}

/* Some leaves of @subject. */
static int step(struct native *native, struct lane *lane, struct nvolume *subject)
{
	struct measure *measure = native->measure;
	int result = 0;

	for (unsigned looks = LOOKS_PER_STEP; looks && result == 0; looks--) {
		struct fiber_waiter wait;

		fiber_waiter_init(&wait, lane);
		native_lock(native);
		nodes_evict(native);
		if (measure->subject != subject) { /* a neighbour has changed meanwhile */
			measure->tries = measure->last == subject ? measure->tries + 1 : 0;
			measure->last = subject;
			begin(measure, subject);
		}
		/* A clone that is written to takes all back each time: it is not known then. */
		result = measure->tries > TRIES_MAX ? 1 : look(measure, &wait.waiter);
		native_unlock(lane);
		if (result == -EINPROGRESS)
			result = fiber_waiter_wait(&wait);
	}
	return result;
}

bool measure_some(struct native *native, struct lane *lane)
{
	struct nvolume *subject;
	int result;

	if (!measure_is_due(native))
		return false;
	native_lock(native);
	if (!native->measure)
		native->measure = heap_zalloc(sizeof(*native->measure));
	subject = native->measure ? choose(native) : NULL;
	native_unlock(lane);
	result = subject ? step(native, lane, subject) : 0;
	if (result < 0)
		log_warning("pool %s: the map of snapshot %s can not be read (error %d)",
			    native->sb.name, subject->volume.name, -result);
	native_lock(native);
	if (result)
		leave_queue(subject);
	if (!subject || list_empty(&native->measuring))
		measure_free(native);
	native_unlock(lane);
	answer(native, result != 0 || !subject, result < 0 ? subject : NULL);
	if (subject) /* others on this loop, and guests first */
		fiber_sleep(__atomic_load_n(&native->requests, __ATOMIC_ACQUIRE) ? POLL_NS : 0);
	return subject != NULL;
}

void measure_free(struct native *native)
{
	struct measure *measure = native->measure;

	if (measure)
		table_clear(measure);
	native->measure = NULL;
	heap_free(measure);
}
