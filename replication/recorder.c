/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/recorder_log.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "replication/order.h"

/*~ Changes come from all I/O loops; the owner reads on its own. One mutex per group covers the
 * epochs, the marks and the lists of what is in flight. It is held for memory work only (a copy
 * of one write at most), and only by groups that are replicated: what the epochs promise (R1) is
 * an order over all loops, and a mutex is the plainest way to have one. */

/* ---- telling the owner ---- */
static void woken(struct message *message)
{
	struct recorder *recorder = container_of(message, struct recorder, message);

	bool retired;

	pthread_mutex_lock(&recorder->lock);
	recorder->posted = false;
	retired = recorder->retired;
	pthread_mutex_unlock(&recorder->lock);
	if (!retired)
		recorder->options.wake(recorder->options.context);
}

static void wake(struct recorder *recorder)
{
	if (recorder->posted || recorder->retired)
		return;
	recorder->posted = true;
	loop_post(recorder->options.loop, &recorder->message, woken);
}

/* ---- marks ---- */
static void mark(struct member *member, uint64_t offset, uint64_t length)
{
	if (offset + length > member->marks.size && marks_grow(&member->marks, offset + length) < 0)
		member->lost = true;
	marks_set(&member->marks, offset, length);
}

static void fall_behind(struct recorder *recorder, uint64_t epoch)
{
	if (recorder->logging)
		wake(recorder);
	if (epoch < recorder->spoiled)
		recorder->spoiled = epoch;
	recorder->logging = false;
}

static void record_change(struct member *member, struct recorder_epoch *epoch,
			  const struct volume_request *request, int result)
{
	struct recorder *recorder = member->recorder;

	if (!epoch->first_wall_ns)
		epoch->first_wall_ns = loop_wall(request->loop);
	if (recorder->until_wall_ns != RECORDER_FREE)
		recorder->last_wall_ns = loop_wall(request->loop);
	if (recorder->logging && result == 0 && recorder_log_change(member, epoch, request))
		return;
	if (ORDER(unlogged_change_is_marked))
		mark(member, request->offset, request->length);
	fall_behind(recorder, epoch->number);
}

/* ---- what is in flight ---- */
static struct list *bucket_of(struct member *member, uint64_t offset)
{
	return &member->busy[(offset / VOLUME_TRANSFER_MAX) % BUCKETS];
}

static bool overlaps(const struct volume_request *a, const struct volume_request *b)
{
	return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

static bool list_overlaps(struct list *list, const struct volume_request *request)
{
	list_for_each (it, list) {
		if (overlaps(list_entry(it, struct volume_request, tap_link), request))
			return true;
	}
	return false;
}

/* A write is at most VOLUME_TRANSFER_MAX long, so what overlaps one begins in the same MiB, the
 * one before it or one of those it reaches into. */
static bool must_wait(struct member *member, const struct volume_request *request)
{
	uint64_t first = request->offset / VOLUME_TRANSFER_MAX;
	uint64_t last = (request->offset + request->length - 1) / VOLUME_TRANSFER_MAX;

	if (member->recorder->retired || member->gone || !ORDER(overlapping_changes_take_turns))
		return false;
	if (list_overlaps(&member->wide, request))
		return true;
	first -= first > 0;
	if (last - first >= BUCKETS)
		last = first + BUCKETS - 1;
	for (uint64_t i = first; i <= last; i++) {
		if (list_overlaps(&member->busy[i % BUCKETS], request))
			return true;
	}
	return false;
}

static void let_in(struct member *member, struct volume_request *request)
{
	struct recorder *recorder = member->recorder;

	request->tap_ticket = recorder->open; /* R1 */
	epoch_at(recorder, recorder->open)->in_flight++;
	member->in_flight++;
	if (recorder->retired || member->gone)
		volume_tap_left(request->volume, 1);
	if (request->op == VOLUME_DISCARD)
		list_push_back(&member->wide, &request->tap_link);
	else
		list_push_back(bucket_of(member, request->offset), &request->tap_link);
}

static void go_on(struct message *message)
{
	struct volume_request *request = container_of(message, struct volume_request, tap_message);
	enum tap_state state = request->tap_state;

	if (state == TAP_REFUSED) {
		volume_refuse(request, -EROFS);
		return;
	}
	if (state == TAP_ENDED) {
		recorder_end_kept(request);
		return;
	}
	request->tap_state = TAP_PASSED;
	volume_pass(request);
}

void recorder_post(struct volume_request *request, enum tap_state state)
{
	request->tap_state = state;
	loop_post(request->loop, &request->tap_message, go_on);
}

/* Those that waited and need not any more, in their order. */
static void let_in_waiting(struct member *member)
{
	list_for_each_safe (it, &member->waiting) {
		struct volume_request *request = list_entry(it, struct volume_request, tap_link);

		if (must_wait(member, request))
			continue;
		list_remove(&request->tap_link);
		let_in(member, request);
		recorder_post(request, TAP_POSTED);
	}
}

static bool over(struct recorder *recorder)
{
	return recorder->until_wall_ns != RECORDER_FREE &&
	       loop_wall(recorder->options.loop) > recorder->until_wall_ns;
}

static bool admit_change(struct member *member, struct volume_request *request)
{
	struct recorder *recorder = member->recorder;

	if (!member->gone && !recorder->retired &&
	    (recorder->mode == RECORDER_HOLDS || over(recorder) ||
	     recorder_lease_over(recorder, request->loop))) {
		request->tap_state = TAP_HELD;
		list_push_back(&recorder->held, &request->tap_link);
		return false;
	}
	if (must_wait(member, request)) {
		request->tap_state = TAP_WAITS;
		recorder->delayed++;
		list_push_back(&member->waiting, &request->tap_link);
		return false;
	}
	let_in(member, request);
	request->tap_state = TAP_PASSED;
	return true;
}

static bool admit(struct volume_tap *tap, struct volume_request *request)
{
	struct member *member = container_of(tap, struct member, tap);
	struct recorder *recorder = member->recorder;
	bool change = request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD, pass = true;

	pthread_mutex_lock(&recorder->lock);
	request->tap_ticket = 0;
	request->tap_state = TAP_PASSED;
	if (!member->gone && !recorder->retired &&
	    (recorder->mode == RECORDER_REFUSES ||
	     (change && recorder->lease_refuses && recorder_lease_over(recorder, request->loop)))) {
		request->tap_state = TAP_REFUSED;
		pass = false;
	} else if (change) {
		pass = admit_change(member, request);
	}
	change = request->tap_state == TAP_REFUSED;
	pthread_mutex_unlock(&recorder->lock);
	if (change)
		volume_refuse(request, request->op == VOLUME_READ ? -EAGAIN : -EROFS);
	return pass;
}

static void change_over(struct member *member, struct volume_request *request, int result)
{
	struct recorder *recorder = member->recorder;
	struct recorder_epoch *epoch;

	epoch = epoch_at(recorder, request->tap_ticket);
	if (recorder->retired || member->gone)
		volume_tap_left(request->volume, -1);
	else
		record_change(member, epoch, request, result);
	list_remove(&request->tap_link);
	member->in_flight--;
	if (--epoch->in_flight == 0 && epoch->closed)
		wake(recorder);
	let_in_waiting(member);
}

static bool completed(struct volume_tap *tap, struct volume_request *request, int result)
{
	struct member *member = container_of(tap, struct member, tap);
	struct recorder *recorder = member->recorder;
	bool change = request->tap_ticket != 0, told = true; /* no change, or refused */

	if (!change && (result < 0 || !__atomic_load_n(&recorder->leased, __ATOMIC_ACQUIRE)))
		return true;
	pthread_mutex_lock(&recorder->lock);
	if (change)
		change_over(member, request, result);
	if (result == 0)
		told = !recorder_keep(member, request);
	pthread_mutex_unlock(&recorder->lock);
	return told;
}

static bool cancel(struct volume_tap *tap, struct volume_request *request)
{
	struct member *member = container_of(tap, struct member, tap);
	enum tap_state state;

	pthread_mutex_lock(&member->recorder->lock);
	state = request->tap_state;
	if (state == TAP_WAITS || state == TAP_HELD || state == TAP_KEPT) {
		list_remove(&request->tap_link);
		request->tap_state = TAP_REFUSED;
	}
	pthread_mutex_unlock(&member->recorder->lock);
	if (state == TAP_WAITS || state == TAP_HELD)
		volume_refuse(request, -ECANCELED);
	if (state == TAP_KEPT)
		volume_end(request, -ECANCELED);
	return state != TAP_PASSED;
}

static const struct volume_tap_ops tap_ops = {admit, completed, cancel};

/* ---- the owner's side ---- */
/* As many slots as the log has room for. */
static unsigned fold_entries(uint64_t budget_bytes)
{
	unsigned entries = 64;

	while (entries < FOLD_ENTRIES && entries < budget_bytes / VOLUME_SLOT)
		entries *= 2;
	return entries;
}

int recorder_create(const struct recorder_options *options, struct recorder **ret_recorder)
{
	struct recorder *recorder = heap_zalloc(sizeof *recorder);

	if (!recorder)
		return -ENOMEM;
	recorder->options = *options;
	recorder->fold_entries = fold_entries(options->budget_bytes);
	recorder->folds = heap_zalloc_array(recorder->fold_entries, sizeof *recorder->folds);
	if (!recorder->folds) {
		heap_free(recorder);
		return -ENOMEM;
	}
	pthread_mutex_init(&recorder->lock, NULL);
	list_init(&recorder->held);
	list_init(&recorder->kept);
	recorder->until_wall_ns = RECORDER_FREE;
	recorder->segments_max = options->budget_bytes / RECORDER_SEGMENT;
	recorder->open = recorder->oldest = options->first_epoch ? options->first_epoch : 1;
	epoch_at(recorder, recorder->open)->number = recorder->open;
	recorder->fold_stamp = 1;
	*ret_recorder = recorder;
	return 0;
}

static void tell_volume(const struct recorder *recorder, struct member *member)
{
	static const enum volume_guests guests[] = {
	    [RECORDER_RECORDS] = VOLUME_GUESTS_HERE,
	    [RECORDER_HOLDS] = VOLUME_GUESTS_LEAVE,
	    [RECORDER_REFUSES] = VOLUME_GUESTS_AWAY,
	};

	if (member && member->volume)
		volume_set_guests(member->volume, guests[recorder->mode]);
}

/* The tap is off; requests that went by it may be under way. */
static void member_leave(struct member *member)
{
	if (!member || !member->volume)
		return;
	volume_unwatch(&member->watcher);
	volume_set_guests(member->volume, VOLUME_GUESTS_HERE);
	if (member->volume->tap == &member->tap)
		volume_tap_set(member->volume, NULL);
	volume_unref(member->volume);
	member->volume = NULL;
}

static void log_free(struct recorder *recorder)
{
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (recorder->members[i])
			marks_finish(&recorder->members[i]->marks);
	}
	for (unsigned i = 0; i < RECORDER_EPOCHS; i++)
		recorder_log_free(recorder, &recorder->epochs[i]);
	while (recorder->free) {
		struct segment *segment = recorder->free;

		recorder->free = segment->next;
		heap_free(segment);
	}
	heap_free(recorder->folds);
	recorder->folds = NULL;
}

static void finish(struct recorder *recorder)
{
	log_free(recorder);
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++)
		heap_free(recorder->members[i]);
	while (recorder->gone) {
		struct member *member = recorder->gone;

		recorder->gone = member->next;
		heap_free(member);
	}
	/* A wake that is still on its way would find nothing. */
	while (recorder->posted)
		loop_poll(recorder->options.loop, 0);
	pthread_mutex_destroy(&recorder->lock);
	heap_free(recorder);
}

void recorder_destroy(struct recorder *recorder)
{
	if (!recorder)
		return;
	recorder_set_mode(recorder, RECORDER_REFUSES);
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++)
		member_leave(recorder->members[i]);
	finish(recorder);
}

/* A rollback is no request: all of the member may be different. No epoch can be closed between it
 * and this, for both run on the control loop. What a member grows by reads as zeros, which the
 * standby's may not, when it has been larger before. */
static void volume_changed(struct volume_watcher *watcher, struct volume *volume,
			   enum volume_change change)
{
	struct member *member = container_of(watcher, struct member, watcher);

	uint64_t before = member->size;

	member->size = volume_size(volume);
	if (change == VOLUME_ROLLED_BACK)
		recorder_mark(member->recorder, member->index, 0, member->size);
	else if (change == VOLUME_RESIZED && member->size > before)
		recorder_mark(member->recorder, member->index, before, member->size - before);
}

int recorder_add(struct recorder *recorder, unsigned index, struct volume *volume, bool marked)
{
	struct member *member;

	assert(index < WIRE_MEMBERS_MAX && !recorder->members[index]);
	if (__atomic_load_n(&volume->tap, __ATOMIC_SEQ_CST))
		return -EBUSY;
	member = heap_zalloc(sizeof *member);
	if (!member || marks_init(&member->marks, volume_size(volume)) < 0) {
		heap_free(member);
		return -ENOMEM;
	}
	member->tap.ops = &tap_ops;
	member->recorder = recorder;
	member->index = index;
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&member->busy[i]);
	list_init(&member->wide);
	list_init(&member->waiting);
	member->volume = volume_ref(volume);
	member->size = volume_size(volume);
	member->watcher.changed = volume_changed;
	volume_watch(volume, &member->watcher);
	if (marked)
		marks_set_all(&member->marks);
	pthread_mutex_lock(&recorder->lock);
	recorder->members[index] = member;
	/* What is in the log is of the others: sealed on its own it would be an image without this
	 * one, or with what it was when it left. */
	if (marked && ORDER(joining_member_comes_first)) {
		recorder->logging = false;
		recorder->spoiled = 0;
	}
	tell_volume(recorder, member);
	pthread_mutex_unlock(&recorder->lock);
	volume_tap_set(volume, &member->tap);
	return 0;
}

/* Some may have to wait on. */
void recorder_held_let_go(struct recorder *recorder)
{
	struct list waited, *link;

	list_init(&waited);
	list_splice_back(&waited, &recorder->held);
	while ((link = list_pop_front(&waited))) {
		struct volume_request *request = list_entry(link, struct volume_request, tap_link);
		struct member *member = container_of(request->tap, struct member, tap);

		if (recorder->mode == RECORDER_REFUSES ||
		    (recorder->lease_refuses &&
		     recorder_lease_over(recorder, recorder->options.loop)))
			recorder_post(request, TAP_REFUSED);
		else if (admit_change(member, request))
			recorder_post(request, TAP_POSTED);
	}
}

/* What of @member waits for another mode goes on. */
static void held_leave(struct member *member)
{
	list_for_each_safe (it, &member->recorder->held) {
		struct volume_request *request = list_entry(it, struct volume_request, tap_link);

		if (request->tap != &member->tap)
			continue;
		list_remove(&request->tap_link);
		let_in(member, request);
		recorder_post(request, TAP_POSTED);
	}
	list_for_each_safe (it, &member->recorder->kept) {
		struct volume_request *request = list_entry(it, struct volume_request, tap_link);

		if (request->tap != &member->tap)
			continue;
		list_remove(&request->tap_link);
		recorder_post(request, TAP_ENDED);
	}
}

void recorder_remove(struct recorder *recorder, unsigned index)
{
	struct member *member = recorder->members[index];

	if (!member)
		return;
	pthread_mutex_lock(&recorder->lock);
	member->gone = true;
	volume_tap_left(member->volume, (int)member->in_flight);
	let_in_waiting(member);
	held_leave(member);
	recorder_log_forget(recorder, index);
	marks_finish(&member->marks);
	recorder->members[index] = NULL;
	member->next = recorder->gone;
	recorder->gone = member;
	pthread_mutex_unlock(&recorder->lock);
	member_leave(member);
}

void recorder_set_mode(struct recorder *recorder, enum recorder_mode mode)
{
	pthread_mutex_lock(&recorder->lock);
	recorder->mode = mode;
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++)
		tell_volume(recorder, recorder->members[i]);
	if (mode != RECORDER_HOLDS)
		recorder_held_let_go(recorder);
	recorder_kept_let_go(recorder);
	pthread_mutex_unlock(&recorder->lock);
}

void recorder_protect(struct recorder *recorder, uint64_t until_wall_ns)
{
	pthread_mutex_lock(&recorder->lock);
	if (recorder->until_wall_ns == RECORDER_FREE)
		recorder->last_wall_ns = loop_wall(recorder->options.loop);
	recorder->until_wall_ns = until_wall_ns;
	if (recorder->mode != RECORDER_HOLDS && !list_empty(&recorder->held) && !over(recorder))
		recorder_held_let_go(recorder);
	pthread_mutex_unlock(&recorder->lock);
}

/* From here on the volumes count what this recorder let in, so that whoever sets the next tap
 * waits for it (recorder_quiet). */
void recorder_retire(struct recorder *recorder, struct recorder **retired)
{
	if (!recorder)
		return;
	pthread_mutex_lock(&recorder->lock);
	recorder->retired = true;
	recorder->logging = false;
	recorder->mode = RECORDER_RECORDS;
	recorder->until_wall_ns = RECORDER_FREE;
	recorder_kept_let_go(recorder);
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		struct member *member = recorder->members[i];

		if (!member)
			continue;
		volume_tap_left(member->volume, (int)member->in_flight);
		let_in_waiting(member);
	}
	recorder_held_let_go(recorder);
	log_free(recorder);
	pthread_mutex_unlock(&recorder->lock);
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++)
		member_leave(recorder->members[i]);
	recorder->next = *retired;
	*retired = recorder;
}

void recorder_destroy_retired(struct recorder *retired)
{
	while (retired) {
		struct recorder *next = retired->next;

		finish(retired);
		retired = next;
	}
}

enum recorder_mode recorder_mode(struct recorder *recorder)
{
	enum recorder_mode mode;

	pthread_mutex_lock(&recorder->lock);
	mode = recorder->mode;
	pthread_mutex_unlock(&recorder->lock);
	return mode;
}

bool recorder_quiet(struct recorder *recorder)
{
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (recorder->members[i] && !volume_tap_quiet(recorder->members[i]->volume))
			return false;
	}
	return true;
}

static uint64_t close_epoch(struct recorder *recorder, bool used_only)
{
	uint64_t closed = 0;

	pthread_mutex_lock(&recorder->lock);
	if ((!used_only || epoch_at(recorder, recorder->open)->records > 0) &&
	    recorder->open + 1 - recorder->oldest < RECORDER_EPOCHS) {
		struct recorder_epoch *epoch = epoch_at(recorder, recorder->open);

		closed = recorder->open++;
		epoch->closed = true;
		epoch->closed_wall_ns = loop_wall(recorder->options.loop);
		*epoch_at(recorder, recorder->open) =
		    (struct recorder_epoch){.number = recorder->open};
		recorder->fold_stamp++;
	}
	pthread_mutex_unlock(&recorder->lock);
	return closed;
}

uint64_t recorder_close(struct recorder *recorder)
{
	return close_epoch(recorder, false);
}

uint64_t recorder_close_used(struct recorder *recorder)
{
	return close_epoch(recorder, true);
}

uint64_t recorder_oldest_epoch(struct recorder *recorder)
{
	uint64_t oldest;

	pthread_mutex_lock(&recorder->lock);
	oldest = recorder->oldest;
	pthread_mutex_unlock(&recorder->lock);
	return oldest;
}

static bool is_complete(struct recorder *recorder, uint64_t epoch)
{
	bool complete = epoch < recorder->open;

	for (uint64_t i = recorder->oldest; complete && i <= epoch; i++)
		complete = epoch_at(recorder, i)->in_flight == 0 || !ORDER(seal_waits_for_flight);
	return complete;
}

bool recorder_complete(struct recorder *recorder, uint64_t epoch)
{
	bool complete;

	pthread_mutex_lock(&recorder->lock);
	complete = is_complete(recorder, epoch);
	pthread_mutex_unlock(&recorder->lock);
	return complete;
}

uint64_t recorder_open_epoch(struct recorder *recorder)
{
	uint64_t open;

	pthread_mutex_lock(&recorder->lock);
	open = recorder->open;
	pthread_mutex_unlock(&recorder->lock);
	return open;
}

static bool marked_any(struct recorder *recorder)
{
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (recorder->members[i] &&
		    (recorder->members[i]->marks.count || recorder->members[i]->lost))
			return true;
	}
	return false;
}

bool recorder_idle(struct recorder *recorder)
{
	bool idle;

	pthread_mutex_lock(&recorder->lock);
	idle = recorder->spoiled == UINT64_MAX && !marked_any(recorder);
	for (uint64_t i = recorder->oldest; idle && i <= recorder->open; i++) {
		const struct recorder_epoch *epoch = epoch_at(recorder, i);

		idle = epoch->records == 0 && epoch->in_flight == 0;
	}
	pthread_mutex_unlock(&recorder->lock);
	return idle;
}

bool recorder_busy(struct recorder *recorder)
{
	bool busy = false;

	pthread_mutex_lock(&recorder->lock);
	for (unsigned i = 0; i < RECORDER_EPOCHS && !busy; i++)
		busy = recorder->epochs[i].in_flight > 0;
	pthread_mutex_unlock(&recorder->lock);
	return busy;
}

const struct recorder_epoch *recorder_epoch(struct recorder *recorder, uint64_t number)
{
	const struct recorder_epoch *epoch = NULL;

	pthread_mutex_lock(&recorder->lock);
	if (number >= recorder->oldest && number < recorder->open)
		epoch = epoch_at(recorder, number);
	pthread_mutex_unlock(&recorder->lock);
	return epoch;
}

void recorder_drop(struct recorder *recorder, uint64_t epoch)
{
	pthread_mutex_lock(&recorder->lock);
	for (; recorder->oldest <= epoch && recorder->oldest < recorder->open; recorder->oldest++)
		recorder_log_free(recorder, epoch_at(recorder, recorder->oldest));
	pthread_mutex_unlock(&recorder->lock);
}

void recorder_skip(struct recorder *recorder, uint64_t epoch)
{
	pthread_mutex_lock(&recorder->lock);
	if (epoch >= recorder->open) {
		/* Only the number changes: what is in flight keeps its slot of the ring. */
		uint64_t shift = epoch + 1 - recorder->open;

		shift = (shift + RECORDER_EPOCHS - 1) / RECORDER_EPOCHS * RECORDER_EPOCHS;
		for (uint64_t i = recorder->oldest; i <= recorder->open; i++)
			epoch_at(recorder, i)->number += shift;
		recorder->spoiled += recorder->spoiled == UINT64_MAX ? 0 : shift;
		recorder->oldest += shift;
		recorder->open += shift;
	}
	pthread_mutex_unlock(&recorder->lock);
}

bool recorder_spoiled(struct recorder *recorder, uint64_t epoch)
{
	bool spoiled;

	pthread_mutex_lock(&recorder->lock);
	spoiled = recorder->spoiled <= epoch;
	pthread_mutex_unlock(&recorder->lock);
	return spoiled;
}

enum recorder_step recorder_next_step(struct recorder *recorder, uint64_t epoch)
{
	enum recorder_step step = RECORDER_WAIT;

	pthread_mutex_lock(&recorder->lock);
	if (recorder->spoiled <= epoch || (recorder->spoiled == UINT64_MAX && marked_any(recorder)))
		step = RECORDER_SYNC;
	else if (is_complete(recorder, epoch))
		step = RECORDER_SEND;
	pthread_mutex_unlock(&recorder->lock);
	return step;
}

void recorder_fall_back(struct recorder *recorder)
{
	pthread_mutex_lock(&recorder->lock);
	recorder->logging = false;
	recorder->spoiled = 0;
	for (uint64_t i = recorder->oldest; i <= recorder->open; i++) {
		struct recorder_epoch *epoch = epoch_at(recorder, i);
		struct recorder_cursor cursor = {0};
		const struct record *record;

		while (ORDER(fall_back_marks_the_log) && (record = recorder_next(epoch, &cursor)))
			if (record->member != RECORD_NOBODY)
				mark(recorder->members[record->member], record->offset,
				     record->length);
		recorder_log_free(recorder, epoch);
	}
	/* The numbers of what lies in marks now are free, but for what is still in flight. */
	while (recorder->oldest < recorder->open &&
	       epoch_at(recorder, recorder->oldest)->in_flight == 0)
		recorder->oldest++;
	recorder->fold_stamp++;
	pthread_mutex_unlock(&recorder->lock);
}

void recorder_forget(struct recorder *recorder)
{
	pthread_mutex_lock(&recorder->lock);
	for (; recorder->oldest < recorder->open; recorder->oldest++)
		recorder_log_free(recorder, epoch_at(recorder, recorder->oldest));
	recorder_log_free(recorder, epoch_at(recorder, recorder->open));
	recorder->fold_stamp++;
	recorder->spoiled = UINT64_MAX;
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (!recorder->members[i])
			continue;
		marks_clear_all(&recorder->members[i]->marks);
		recorder->members[i]->lost = false;
	}
	pthread_mutex_unlock(&recorder->lock);
}

void recorder_log_again(struct recorder *recorder)
{
	pthread_mutex_lock(&recorder->lock);
	recorder->logging = true;
	recorder->spoiled = UINT64_MAX;
	pthread_mutex_unlock(&recorder->lock);
}

bool recorder_take(struct recorder *recorder, unsigned index, uint64_t from, uint64_t most,
		   uint64_t *ret_offset, uint64_t *ret_length)
{
	struct member *member = recorder->members[index];
	bool found = false;

	pthread_mutex_lock(&recorder->lock);
	if (member && member->lost) {
		if (marks_grow(&member->marks, volume_size(member->volume)) == 0) {
			member->lost = false;
			marks_set_all(&member->marks);
		}
	}
	if (member)
		found = marks_next(&member->marks, from, most, ret_offset, ret_length) &&
			marks_clear(&member->marks, *ret_offset, *ret_length) == 0;
	pthread_mutex_unlock(&recorder->lock);
	return found;
}

void recorder_mark(struct recorder *recorder, unsigned index, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&recorder->lock);
	mark(recorder->members[index], offset, length);
	recorder->logging = false;
	recorder->spoiled = 0;
	pthread_mutex_unlock(&recorder->lock);
}

/* Also what a member has grown by: its marks know of that only where something was marked. */
static void mark_whole(struct member *member)
{
	if (marks_grow(&member->marks, volume_size(member->volume)) < 0)
		member->lost = true;
	marks_set_all(&member->marks);
}

void recorder_mark_all(struct recorder *recorder)
{
	pthread_mutex_lock(&recorder->lock);
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (recorder->members[i])
			mark_whole(recorder->members[i]);
	}
	recorder->logging = false;
	recorder->spoiled = 0;
	pthread_mutex_unlock(&recorder->lock);
}

static void touch_list(const struct recorder_touch *touched, struct list *list)
{
	list_for_each (it, list) {
		const struct volume_request *request =
		    list_entry(it, struct volume_request, tap_link);

		recorder_touch(touched, request->offset, request->length);
	}
}

void recorder_touched(struct recorder *recorder, unsigned index, uint64_t offset, unsigned slots,
		      bool *ret_touched)
{
	struct recorder_touch touched = {offset, slots, ret_touched};
	struct member *member = recorder->members[index];

	pthread_mutex_lock(&recorder->lock);
	for (unsigned i = 0; i < slots; i++)
		ret_touched[i] = member->lost ||
				 marks_any(&member->marks, offset + i * VOLUME_SLOT, VOLUME_SLOT);
	touch_list(&touched, &member->wide);
	for (unsigned i = 0; i < BUCKETS; i++)
		touch_list(&touched, &member->busy[i]);
	for (uint64_t i = recorder->oldest; i <= recorder->open; i++)
		recorder_log_touch(&touched, index, epoch_at(recorder, i));
	pthread_mutex_unlock(&recorder->lock);
}

/* What R5 holds. */
static void look_at_held(struct recorder *recorder, struct recorder_lag *lag)
{
	bool busy = false;

	if (!over(recorder))
		return;
	for (unsigned i = 0; i < RECORDER_EPOCHS && !busy; i++)
		busy = recorder->epochs[i].in_flight > 0;
	lag->held_wall_ns = recorder->until_wall_ns;
	lag->still_wall_ns = busy ? 0 : recorder->last_wall_ns;
	list_for_each (it, &recorder->held)
		lag->held++;
}

void recorder_lag(struct recorder *recorder, struct recorder_lag *ret_lag)
{
	struct recorder_lag lag = {0};

	pthread_mutex_lock(&recorder->lock);
	for (unsigned i = 0; i < WIRE_MEMBERS_MAX; i++) {
		if (recorder->members[i])
			lag.marked_bytes += marks_bytes(&recorder->members[i]->marks);
	}
	for (uint64_t i = recorder->oldest; i <= recorder->open; i++) {
		const struct recorder_epoch *epoch = epoch_at(recorder, i);

		lag.log_bytes += epoch->bytes;
		lag.zeroed_bytes += epoch->zeroed;
		if (!lag.oldest_wall_ns)
			lag.oldest_wall_ns = epoch->first_wall_ns;
	}
	lag.open_bytes = epoch_at(recorder, recorder->open)->bytes;
	lag.delayed = recorder->delayed;
	look_at_held(recorder, &lag);
	recorder_look_at_parked(recorder, &lag);
	pthread_mutex_unlock(&recorder->lock);
	*ret_lag = lag;
}
