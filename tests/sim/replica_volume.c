/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/replica_volume.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_world.h"
#include "volumes/backend.h"

struct pending {
	struct list link;
	struct timer timer;
	struct replica_volume *owner;
	struct volume_request *request;
	uint64_t submitted, rest; /* rest: from its effect to its answer */
	bool effected;
	int result;
};

struct dirty {
	struct list link;
	uint64_t completed, offset, length;
	bool zeros;   /* no data */
	bool durable; /* by itself; kept for its place among the others */
	uint8_t data[];
};

/* ---- images: what was never touched is zeros; kept for the next volume of that size ---- */
#define SPARE_MAX 48u

static struct spare {
	uint64_t size;
	uint8_t *image;
} spares[SPARE_MAX];

static uint8_t *image_get(uint64_t size)
{
	uint8_t *image = NULL;

	for (unsigned i = 0; i < SPARE_MAX && !image; i++) {
		if (spares[i].size != size)
			continue;
		image = spares[i].image;
		spares[i] = (struct spare){0};
	}
	return image ? image : calloc(1, size);
}

static void image_put(const struct replica_volume *volume, uint8_t *image)
{
	unsigned i = 0;

	while (i < SPARE_MAX && spares[i].image)
		i++;
	if (i == SPARE_MAX) {
		free(image);
		return;
	}
	for (unsigned t = 0; t < volume->touched_count; t++)
		memset(image + (uint64_t)volume->touched_slots[t] * VOLUME_SLOT, 0, VOLUME_SLOT);
	spares[i] = (struct spare){volume->size, image};
}

void replica_volume_touch(struct replica_volume *volume, uint64_t slot)
{
	if (volume->touched[slot])
		return;
	volume->touched[slot] = true;
	volume->touched_slots[volume->touched_count++] = (uint32_t)slot;
}

static void clear(const struct replica_volume *volume, uint8_t *image, uint64_t offset,
		  uint64_t length)
{
	uint64_t end = offset + length;

	while (offset < end) {
		uint64_t next = offset - offset % VOLUME_SLOT + VOLUME_SLOT;

		next = next < end ? next : end;
		if (volume->touched[offset / VOLUME_SLOT])
			memset(image + offset, 0, next - offset);
		offset = next;
	}
}

/* To @image of @volume. */
static void apply(const struct replica_volume *volume, uint8_t *image, const struct dirty *dirty,
		  uint64_t at, uint64_t length)
{
	if (dirty->zeros)
		clear(volume, image, dirty->offset + at, length);
	else
		memcpy(image + dirty->offset + at, dirty->data + at, length);
}

static void iov_copy(const struct volume_request *request, uint8_t *flat, bool out)
{
	for (unsigned i = 0; i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];

		if (out)
			memcpy(iov->iov_base, flat, iov->iov_len);
		else
			memcpy(flat, iov->iov_base, iov->iov_len);
		flat += iov->iov_len;
	}
}

static struct dirty *dirty_make(const struct volume_request *request)
{
	bool zeros = request->op == VOLUME_DISCARD;
	struct dirty *dirty = malloc(sizeof *dirty + (zeros ? 0 : request->length));

	assert(dirty);
	*dirty = (struct dirty){.zeros = zeros};
	dirty->offset = request->offset;
	dirty->length = request->length;
	if (!zeros)
		iov_copy(request, dirty->data, false);
	return dirty;
}

static void map(struct replica_volume *volume, const struct volume_request *request)
{
	uint64_t first = request->offset / VOLUME_SLOT;
	uint64_t end = (request->offset + request->length + VOLUME_SLOT - 1) / VOLUME_SLOT;

	for (uint64_t i = first; i < end; i++) {
		bool whole = request->offset <= i * VOLUME_SLOT &&
			     request->offset + request->length >= (i + 1) * VOLUME_SLOT;

		if (request->op == VOLUME_WRITE) {
			volume->mapped[i] = true;
			replica_volume_touch(volume, i);
		} else if (whole) {
			volume->mapped[i] = false;
		}
	}
}

static void change(struct replica_volume *volume, const struct volume_request *request)
{
	struct dirty *dirty = dirty_make(request);

	apply(volume, volume->live, dirty, 0, dirty->length);
	map(volume, request);
	dirty->completed = ++volume->submitted;
	list_push_back(&volume->dirty, &dirty->link);
	dirty->durable = (request->flags & VOLUME_FUA) != 0;
	if (dirty->durable)
		apply(volume, volume->durable, dirty, 0, dirty->length);
}

static void flush(struct replica_volume *volume, uint64_t submitted)
{
	list_for_each_safe (it, &volume->dirty) {
		struct dirty *dirty = list_entry(it, struct dirty, link);

		if (dirty->completed > submitted)
			continue;
		apply(volume, volume->durable, dirty, 0, dirty->length);
		list_remove(&dirty->link);
		free(dirty);
	}
}

static void extents(struct replica_volume *volume, struct volume_request *request)
{
	uint64_t at = request->offset, end = request->offset + request->length;

	while (at < end && request->extent_count < request->extent_max) {
		bool mapped = volume->mapped[at / VOLUME_SLOT];
		uint64_t from = at;

		while (at < end && volume->mapped[at / VOLUME_SLOT] == mapped)
			at += VOLUME_SLOT - at % VOLUME_SLOT;
		if (at > end)
			at = end;
		request->extents[request->extent_count++] =
		    (struct volume_extent){from, at - from, mapped};
	}
}

/* What has its place needs no space. */
static bool mapped_whole(const struct replica_volume *volume, const struct volume_request *request)
{
	uint64_t end = request->offset + request->length;

	for (uint64_t at = request->offset; at < end; at += VOLUME_SLOT - at % VOLUME_SLOT) {
		if (!volume->mapped[at / VOLUME_SLOT])
			return false;
	}
	return true;
}

static bool is_dead(const struct replica_volume *volume)
{
	return volume->dead || (volume->power && volume->power->lost);
}

static int perform(struct replica_volume *volume, struct pending *pending)
{
	struct volume_request *request = pending->request;

	if (is_dead(volume))
		return -EIO;
	switch (request->op) {
	case VOLUME_READ:
		iov_copy(request, volume->live + request->offset, true);
		return 0;
	case VOLUME_WRITE:
		if (volume->full_after && volume->submitted > volume->full_after &&
		    !mapped_whole(volume, request))
			return -ENOSPC;
		change(volume, request);
		return 0;
	case VOLUME_DISCARD:
		change(volume, request);
		return 0;
	case VOLUME_FLUSH:
		flush(volume, pending->submitted);
		return 0;
	case VOLUME_EXTENTS:
		extents(volume, request);
		return 0;
	}
	return -EINVAL;
}

static void finish(struct timer *timer)
{
	struct pending *pending = container_of(timer, struct pending, timer);
	struct volume_request *request = pending->request;
	int result = pending->result;

	/* It takes effect at one moment and is answered at a later one. */
	if (!pending->effected) {
		pending->effected = true;
		pending->result = perform(pending->owner, pending);
		timer_start(timer, pending->rest);
		return;
	}
	if (is_dead(pending->owner))
		result = -EIO;
	list_remove(&pending->link);
	free(pending);
	request->done(request, result);
}

static void submit(struct volume *base, struct volume_request *request)
{
	struct replica_volume *volume = container_of(base, struct replica_volume, volume);
	struct pending *pending = calloc(1, sizeof *pending);
	uint64_t delay = rng_range(volume->rng, 5000, 200000);

	assert(pending);
	if (volume->power && volume->power->left && --volume->power->left == 0)
		volume->power->lost = true;
	pending->owner = volume;
	pending->request = request;
	pending->submitted = volume->submitted;
	list_push_back(&volume->pending, &pending->link);
	timer_init(&pending->timer, volume->loop, finish);
	if (rng_one_in(volume->rng, 40))
		delay *= 30;
	delay *= volume->slow ? volume->slow : 1;
	pending->rest = rng_below(volume->rng, delay);
	timer_start(&pending->timer, delay - pending->rest);
}

static void snapshots_let_go(struct replica_volume *volume)
{
	list_for_each_safe (it, &volume->snapshots) {
		struct replica_volume *snapshot =
		    list_entry(it, struct replica_volume, snapshot_link);

		list_remove(it);
		volume_unref(&snapshot->volume);
	}
}

static void release(struct volume *base)
{
	struct replica_volume *volume = container_of(base, struct replica_volume, volume);

	assert(list_empty(&volume->pending));
	snapshots_let_go(volume);
	flush(volume, UINT64_MAX);
	image_put(volume, volume->live);
	image_put(volume, volume->durable);
	free(volume->mapped);
	free(volume->touched);
	free(volume->touched_slots);
	free(volume);
}

static const struct volume_ops ops = {.name = "replica", .submit = submit, .release = release};

/* ---- snapshots ---- */
/* A call of the pool that is under way. */
struct question {
	struct timer timer;
	struct pool_call *call;
	struct replica_volume *volume; /* a reference */
	struct volume_diff *diff;      /* or NULL: @volume is deleted */
};

static void ask(struct replica_volume *volume, struct volume_diff *diff, struct pool_call *call,
		void (*answer)(struct timer *timer))
{
	struct question *question = malloc(sizeof *question);

	assert(question);
	*question = (struct question){.call = call, .volume = volume, .diff = diff};
	volume_ref(&volume->volume);
	if (volume->power && volume->power->left && --volume->power->left == 0)
		volume->power->lost = true;
	timer_init(&question->timer, volume->loop, answer);
	timer_start(&question->timer, rng_range(volume->rng, 5000, 200000));
}

static void answer(struct question *question, int result)
{
	struct pool_call *call = question->call;

	volume_unref(&question->volume->volume);
	free(question);
	if (result < 0)
		err_set(&call->err, result, "no power");
	call->done(call, result);
}

static bool slots_differ(const struct replica_volume *a, const struct replica_volume *b,
			 uint64_t slot)
{
	if (!a->touched[slot] && !b->touched[slot])
		return false;
	return memcmp(a->live + slot * VOLUME_SLOT, b->live + slot * VOLUME_SLOT, VOLUME_SLOT) != 0;
}

/* A few slots at a time, whatever room there is for extents: others are at it meanwhile. */
static void differ(struct timer *timer)
{
	struct question *question = container_of(timer, struct question, timer);
	const struct replica_volume *from = container_of(question->diff->from,
							 struct replica_volume, volume),
				    *to = question->volume;
	struct volume_diff *diff = question->diff;
	uint64_t slot = diff->offset / VOLUME_SLOT, slots = to->size / VOLUME_SLOT;
	uint64_t end = slot + 1 + rng_below(to->rng, 8);

	for (; slot < slots && slot < end && diff->extent_count < diff->extent_max; slot++) {
		if (slots_differ(from, to, slot))
			diff->extents[diff->extent_count++] = (struct volume_extent){
			    slot * VOLUME_SLOT, VOLUME_SLOT, to->mapped[slot]};
	}
	diff->offset = slot * VOLUME_SLOT;
	diff->finished = slot == slots;
	answer(question, is_dead(to) ? -EIO : 0);
}

static void diff_begin(struct volume_diff *diff, struct pool_call *call)
{
	ask(container_of(diff->to, struct replica_volume, volume), diff, call, differ);
}

static void go(struct timer *timer)
{
	struct question *question = container_of(timer, struct question, timer);
	struct replica_volume *snapshot = question->volume;
	int result = is_dead(snapshot) ? -EIO : 0;

	if (result == 0) { /* the list's reference, and the caller's */
		list_remove(&snapshot->snapshot_link);
		list_init(&snapshot->snapshot_link);
		volume_unref(&snapshot->volume);
		volume_unref(&snapshot->volume);
	}
	answer(question, result);
}

static void delete_begin(struct volume *snapshot, struct pool_call *call)
{
	ask(container_of(snapshot, struct replica_volume, volume), NULL, call, go);
}

static struct volume *next_snapshot(struct volume *base, struct volume *previous)
{
	struct replica_volume *volume = container_of(base, struct replica_volume, volume);
	struct list *it =
	    previous ? container_of(previous, struct replica_volume, volume)->snapshot_link.next
		     : volume->snapshots.next;
	struct volume *next = NULL;

	if (it != &volume->snapshots)
		next = volume_ref(&list_entry(it, struct replica_volume, snapshot_link)->volume);
	volume_unref(previous);
	return next;
}

static bool snapshot_info(struct volume *base, struct snapshot_info *ret_info)
{
	const struct replica_volume *snapshot = container_of(base, struct replica_volume, volume);

	if (!snapshot->snapshot[0])
		return false;
	*ret_info =
	    (struct snapshot_info){.size_bytes = volume_size(base), .in_use = base->refs > 2};
	memcpy(ret_info->name, snapshot->snapshot, sizeof ret_info->name);
	return true;
}

static const struct pool_ops pool_ops = {.name = "replica",
					 .snapshot_next = next_snapshot,
					 .snapshot_get_info = snapshot_info,
					 .snapshot_delete = delete_begin,
					 .volume_diff = diff_begin};
static struct pool pool = {&pool_ops};

/* What @from holds, as a snapshot of @of. */
static void snapshot_add(struct replica_volume *of, const struct replica_volume *from,
			 const char *name)
{
	struct replica_volume *snapshot =
	    replica_volume_create(of->loop, of->rng, of->volume.name, of->size);

	snapshot->volume.size_bytes = from->volume.size_bytes;
	snapshot->power = of->power;
	for (unsigned t = 0; t < from->touched_count; t++) {
		uint64_t slot = from->touched_slots[t], at = slot * VOLUME_SLOT;

		replica_volume_touch(snapshot, slot);
		snapshot->mapped[slot] = from->mapped[slot];
		memcpy(snapshot->live + at, from->live + at, VOLUME_SLOT);
		memcpy(snapshot->durable + at, from->live + at, VOLUME_SLOT);
	}
	snprintf(snapshot->snapshot, sizeof snapshot->snapshot, "%s", name);
	list_push_back(&of->snapshots, &snapshot->snapshot_link);
}

int replica_volume_snapshot(struct replica_volume *volume, const char *name)
{
	if (is_dead(volume))
		return -EIO;
	list_for_each (it, &volume->snapshots) {
		if (strcmp(list_entry(it, struct replica_volume, snapshot_link)->snapshot, name) ==
		    0)
			return -EEXIST;
	}
	snapshot_add(volume, volume, name);
	return 0;
}

struct replica_volume *replica_volume_create(struct loop *loop, struct rng *rng, const char *name,
					     uint64_t size)
{
	struct replica_volume *volume = calloc(1, sizeof *volume);

	assert(volume);
	volume->volume.ops = &ops;
	volume->volume.size_bytes = volume->size = size;
	volume->volume.thin = true;
	volume->volume.refs = 1;
	memcpy(volume->volume.name, name, strlen(name) + 1);
	list_init(&volume->volume.watchers);
	volume->volume.pool = &pool;
	list_init(&volume->snapshots);
	list_init(&volume->snapshot_link);
	volume->loop = loop;
	volume->rng = rng;
	volume->live = image_get(size);
	volume->durable = image_get(size);
	volume->mapped = calloc(size / VOLUME_SLOT, sizeof *volume->mapped);
	volume->touched = calloc(size / VOLUME_SLOT, sizeof *volume->touched);
	volume->touched_slots = malloc(size / VOLUME_SLOT * sizeof *volume->touched_slots);
	assert(volume->live && volume->durable && volume->mapped && volume->touched &&
	       volume->touched_slots);
	list_init(&volume->pending);
	list_init(&volume->dirty);
	return volume;
}

/* What may be of a write after the power was lost: all, nothing, or any of its sectors. */
static void survive(struct rng *rng, struct replica_volume *after, const struct dirty *dirty)
{
	unsigned fate = dirty->durable ? 1 : (unsigned)rng_below(rng, 3);

	for (uint64_t at = 0; at < dirty->length && fate > 0; at += 512) {
		if (fate == 1 || rng_one_in(rng, 2))
			apply(after, after->durable, dirty, at, 512);
		if (!dirty->zeros)
			replica_volume_touch(after, (dirty->offset + at) / VOLUME_SLOT);
	}
}

struct replica_volume *replica_volume_crash(struct replica_volume *volume)
{
	struct replica_volume *after =
	    replica_volume_create(volume->loop, volume->rng, volume->volume.name, volume->size);

	after->volume.size_bytes = volume->volume.size_bytes;
	after->power = volume->power;
	for (unsigned t = 0; t < volume->touched_count; t++) {
		uint64_t slot = volume->touched_slots[t], at = slot * VOLUME_SLOT;

		memcpy(after->durable + at, volume->durable + at, VOLUME_SLOT);
		replica_volume_touch(after, slot);
	}
	list_for_each (it, &volume->dirty)
		survive(volume->rng, after, list_entry(it, struct dirty, link));
	list_for_each (it, &volume->pending) {
		struct pending *pending = list_entry(it, struct pending, link);

		if (!pending->effected && (pending->request->op == VOLUME_WRITE ||
					   pending->request->op == VOLUME_DISCARD)) {
			struct dirty *dirty = dirty_make(pending->request);

			survive(volume->rng, after, dirty);
			free(dirty);
		}
		pending->rest = pending->rest < 1000 ? pending->rest : 1000;
		timer_start(&pending->timer, 1000);
	}
	/* The map is metadata: a slot that holds anything is mapped. */
	for (unsigned t = 0; t < after->touched_count; t++) {
		uint64_t i = after->touched_slots[t];
		const uint8_t *slot = after->durable + i * VOLUME_SLOT;

		memcpy(after->live + i * VOLUME_SLOT, slot, VOLUME_SLOT);
		after->mapped[i] = slot[0] || memcmp(slot, slot + 1, VOLUME_SLOT - 1) != 0;
	}
	volume->dead = true;
	volume->slow = 0; /* what still comes is not waited for */
	list_for_each (it, &volume->snapshots) {
		struct replica_volume *snapshot =
		    list_entry(it, struct replica_volume, snapshot_link);

		snapshot_add(after, snapshot, snapshot->snapshot);
		snapshot->dead = true;
	}
	return after;
}
