/* SPDX-License-Identifier: Apache-2.0 */
/* rbd_io.c: the way of a request to librbd and back (R1 to R3 in rbd.h). */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/qos.h"
#include "volumes/rbd.h"

/* One request at librbd. Changed on the loop that submitted it, but for result, which librbd's
 * callback sets before it posts the message; whoever takes it from the pool's list of unused ones
 * owns it. */
struct rbd_op {
	struct message message;
	struct rbd_op *next; /* unused */
	struct list link;    /* pool->in_flight */
	struct rbd_pool *pool;
	struct rbd_volume *volume;
	struct volume_request *request; /* NULL: let go */
	struct loop *loop;
	uint64_t started_ns; /* of the loop's clock */
	uint64_t handed_ns;  /* likewise: to librbd; pauses are over */
	int result;
	unsigned size_class;
	bool change;
	bool parked; /* pool->lock: it waits for its volume, which is paused */
	unsigned extent_max, extent_count;
	uint64_t offset, length;
	uint8_t *data;
};

static size_t class_bytes(unsigned size_class)
{
	return (size_t)4096 << 2 * size_class;
}

/* ---- operations and their buffers */

static unsigned class_of(uint64_t bytes)
{
	unsigned size_class = 0;

	while (class_bytes(size_class) < bytes)
		size_class++;
	return size_class;
}

static struct rbd_op *op_make(unsigned size_class)
{
	struct rbd_op *op = heap_zalloc(sizeof *op);

	if (!op)
		return NULL;
	op->size_class = size_class;
	op->data = heap_aligned(4096, class_bytes(size_class));
	if (!op->data) {
		heap_free(op);
		return NULL;
	}
	return op;
}

static void op_free(struct rbd_op *op)
{
	heap_free(op->data);
	heap_free(op);
}

static bool is_change(const struct volume_request *request)
{
	return request->op != VOLUME_READ && request->op != VOLUME_EXTENTS;
}

/* NULL: no memory, or as much as is allowed is with librbd already. */
static struct rbd_op *op_get(struct rbd_volume *volume, struct volume_request *request,
			     uint64_t bytes)
{
	struct rbd_pool *pool = volume->pool;
	unsigned size_class = class_of(bytes);
	struct rbd_op *op;
	bool room;

	pthread_mutex_lock(&pool->lock);
	room = pool->buffer_bytes + class_bytes(size_class) <= RBD_BUFFERS_MAX;
	op = room ? pool->unused[size_class] : NULL;
	if (op) {
		pool->unused[size_class] = op->next;
		pool->unused_count[size_class]--;
	}
	if (room)
		pool->buffer_bytes += class_bytes(size_class);
	pthread_mutex_unlock(&pool->lock);
	if (room && !op && !(op = op_make(size_class))) {
		pthread_mutex_lock(&pool->lock);
		pool->buffer_bytes -= class_bytes(size_class);
		pthread_mutex_unlock(&pool->lock);
	}
	if (!op)
		return NULL;
	op->pool = pool;
	op->volume = volume;
	op->request = request;
	op->loop = request->loop;
	op->started_ns = op->handed_ns = loop_now(request->loop);
	op->offset = request->op == VOLUME_FLUSH ? 0 : request->offset;
	op->length = request->op == VOLUME_FLUSH ? 0 : request->length;
	request->backend = op;
	pthread_mutex_lock(&pool->lock);
	op->change = is_change(request);
	op->parked = volume->paused && op->change;
	list_push_back(&pool->in_flight, &op->link);
	pthread_mutex_unlock(&pool->lock);
	return op;
}

static void op_put(struct rbd_op *op)
{
	struct rbd_pool *pool = op->pool;
	bool keep;

	pthread_mutex_lock(&pool->lock);
	list_remove(&op->link);
	pool->buffer_bytes -= class_bytes(op->size_class);
	keep = pool->unused_count[op->size_class] < RBD_KEEP;
	if (keep) {
		op->next = pool->unused[op->size_class];
		pool->unused[op->size_class] = op;
		pool->unused_count[op->size_class]++;
	}
	pthread_mutex_unlock(&pool->lock);
	if (!keep)
		op_free(op);
}

void rbd_io_finish(struct rbd_pool *pool)
{
	for (unsigned i = 0; i < RBD_CLASSES; i++) {
		while (pool->unused[i]) {
			struct rbd_op *op = pool->unused[i];

			pool->unused[i] = op->next;
			op_free(op);
		}
		pool->unused_count[i] = 0;
	}
}

bool rbd_io_idle(struct rbd_pool *pool)
{
	bool idle;

	pthread_mutex_lock(&pool->lock);
	idle = list_empty(&pool->in_flight);
	pthread_mutex_unlock(&pool->lock);
	return idle;
}

bool rbd_io_clear(struct rbd_volume *volume, uint64_t end)
{
	struct rbd_pool *pool = volume->pool;
	bool clear = true;

	pthread_mutex_lock(&pool->lock);
	list_for_each (it, &pool->in_flight) {
		const struct rbd_op *op = list_entry(it, struct rbd_op, link);

		if (op->volume == volume && op->offset + op->length > end)
			clear = false;
	}
	pthread_mutex_unlock(&pool->lock);
	return clear;
}

/* ---- while snapshots are made */

void rbd_io_pause(struct rbd_volume *volume)
{
	pthread_mutex_lock(&volume->pool->lock);
	volume->paused = true;
	pthread_mutex_unlock(&volume->pool->lock);
}

bool rbd_io_is_quiet(struct rbd_volume *volume)
{
	bool quiet = true;

	pthread_mutex_lock(&volume->pool->lock);
	list_for_each (it, &volume->pool->in_flight) {
		const struct rbd_op *op = list_entry(it, struct rbd_op, link);

		if (op->volume == volume && !op->parked && (op->change || volume->of))
			quiet = false;
	}
	pthread_mutex_unlock(&volume->pool->lock);
	return quiet;
}

static struct rbd_op *next_parked(struct rbd_volume *volume)
{
	struct rbd_op *found = NULL;

	pthread_mutex_lock(&volume->pool->lock);
	volume->paused = false;
	list_for_each (it, &volume->pool->in_flight) {
		struct rbd_op *op = list_entry(it, struct rbd_op, link);

		if (!found && op->volume == volume && op->parked)
			found = op;
	}
	if (found)
		found->parked = false;
	pthread_mutex_unlock(&volume->pool->lock);
	return found;
}

/* On the loop that submitted. */
static void go_on(struct message *message);

void rbd_io_resume(struct rbd_volume *volume)
{
	struct rbd_op *op;

	while ((op = next_parked(volume)))
		loop_post(op->loop, &op->message, go_on);
}

/* Home loop, once a second: is the oldest request late? Said once each way. */
void rbd_io_look_at_age(struct rbd_pool *pool)
{
	uint64_t now = loop_now(pool->home), since = now;
	bool slow;

	pthread_mutex_lock(&pool->lock);
	if (!list_empty(&pool->in_flight))
		since = list_entry(pool->in_flight.next, struct rbd_op, link)->started_ns;
	pthread_mutex_unlock(&pool->lock);
	slow = now > since && now - since > RBD_SLOW_NS;
	if (slow == __atomic_load_n(&pool->slow, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&pool->slow, slow, __ATOMIC_RELAXED);
	if (slow)
		log_warning("pool %s: the cluster has not answered for %u s; requests wait",
			    pool->name, (unsigned)((now - since) / 1000000000));
	else
		log_notice("pool %s: the cluster answers again", pool->name);
}

/* ---- data between the caller's pieces and the operation's buffer */

static void gather(struct rbd_op *op, const struct volume_request *request)
{
	uint8_t *to = op->data;

	for (unsigned i = 0; i < request->iov_count; i++) {
		memcpy(to, request->iov[i].iov_base, request->iov[i].iov_len);
		to += request->iov[i].iov_len;
	}
}

static void scatter(const struct rbd_op *op, struct volume_request *request)
{
	const uint8_t *from = op->data;

	for (unsigned i = 0; i < request->iov_count; i++) {
		memcpy(request->iov[i].iov_base, from, request->iov[i].iov_len);
		from += request->iov[i].iov_len;
	}
}

/* ---- ends */

int rbd_errno(struct rbd_pool *pool, int result)
{
	switch (result) {
	case -EDQUOT:
	case -ENOSPC:
		return -ENOSPC;
	case -ENOMEM:
	case -EINVAL:
	case -EROFS:
		return result;
	case -ESHUTDOWN: /* blocklisted: another gateway has taken over */
		if (!__atomic_exchange_n(&pool->blocklisted, 1, __ATOMIC_RELAXED))
			log_error("pool %s: the cluster has shut this gateway out", pool->name);
		return -EIO;
	default:
		return result < 0 ? -EIO : 0;
	}
}

/* What a request hears. Shut out or without the lock: another gateway serves the volume, and
 * whoever asked finds it there; nothing was done here. */
static int io_result(struct rbd_pool *pool, int result)
{
	int code = rbd_errno(pool, result);

	return result == -ESHUTDOWN || result == -EROFS || result == -EREMOTE ? -EREMOTE : code;
}

/* Said once each way. */
static void note_space(struct rbd_pool *pool, bool full)
{
	if (full == __atomic_load_n(&pool->full, __ATOMIC_RELAXED) ||
	    full == __atomic_exchange_n(&pool->full, full, __ATOMIC_RELAXED))
		return;
	if (full)
		log_warning("pool %s: the cluster is full; writes are refused", pool->name);
	else
		log_notice("pool %s: the cluster takes writes again", pool->name);
}

static void finish(struct rbd_op *op, struct volume_request *request)
{
	int result = io_result(op->pool, op->result);

	if (result == 0 && request->op == VOLUME_READ)
		scatter(op, request);
	if (result == 0 && request->op == VOLUME_EXTENTS) {
		memcpy(request->extents, op->data, op->extent_count * sizeof *request->extents);
		request->extent_count = op->extent_count;
	}
	if (request->op == VOLUME_WRITE && (result == 0 || result == -ENOSPC))
		note_space(op->pool, result == -ENOSPC);
	if (request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD)
		__atomic_store_n(&op->volume->used_stale, 1, __ATOMIC_RELAXED);
	request->device_from_ns = op->handed_ns;
	request->device_to_ns = loop_now(op->loop);
	request->backend = NULL;
	op_put(op);
	request->done(request, result);
}

/* On the loop that submitted. */
static void op_done(struct message *message)
{
	struct rbd_op *op = container_of(message, struct rbd_op, message);
	struct rbd_volume *volume = op->volume;

	if (op->request) {
		finish(op, op->request);
		return;
	}
	__atomic_store_n(&volume->used_stale, 1, __ATOMIC_RELAXED);
	op_put(op);
	volume_unref(&volume->volume); /* the reference of rbd_cancel() */
}

/* On a thread of librbd's. */
static void completed(rbd_completion_t completion, void *context)
{
	struct rbd_op *op = context;

	op->result = (int)ceph.rbd_aio_get_return_value(completion);
	ceph.rbd_aio_release(completion);
	loop_post(op->loop, &op->message, op_done);
}

/* ---- start */

static rbd_image_t image_of(const struct rbd_op *op)
{
	return __atomic_load_n(&op->volume->image, __ATOMIC_ACQUIRE);
}

static int start(struct rbd_op *op, const struct volume_request *request,
		 rbd_completion_t completion)
{
	rbd_image_t image = image_of(op);

	switch (request->op) {
	case VOLUME_READ:
		return ceph.rbd_aio_read(image, op->offset, op->length, (char *)op->data,
					 completion);
	case VOLUME_WRITE:
		gather(op, request);
		return ceph.rbd_aio_write(image, op->offset, op->length, (const char *)op->data,
					  completion);
	case VOLUME_DISCARD: /* not rbd_aio_discard: that may leave parts of objects as they were */
		return ceph.rbd_aio_write_zeroes(image, op->offset, op->length, completion, 0, 0);
	default:
		return ceph.rbd_aio_flush(image, completion);
	}
}

/* On the looking worker. */
static void look(struct message *message)
{
	struct rbd_op *op = container_of(message, struct rbd_op, message);

	op->result = op->volume->image ? 0 : -ENXIO;
	if (op->volume->of && !op->volume->image)
		op->result = rbd_snap_open(op->volume);
	if (op->result == 0)
		op->result = rbd_image_extents(op->volume, op->offset, op->length,
					       (struct volume_extent *)op->data, op->extent_max,
					       &op->extent_count);
	loop_post(op->loop, &op->message, op_done);
}

/* After the operation is on the list of those in flight: an image is closed only when that list is
 * empty and the volume was standby before, and shrunk only when nothing on it reaches behind the
 * end that the volume had before. */
static int can_start(const struct rbd_op *op)
{
	const struct volume *volume = &op->volume->volume;

	if (volume_standby(volume))
		return -EREMOTE;
	return op->offset + op->length > volume_size(volume) ? -EINVAL : 0;
}

static void submit_look(struct rbd_volume *volume, struct volume_request *request)
{
	size_t room = class_bytes(RBD_CLASSES - 1) / sizeof(struct volume_extent);
	unsigned max = request->extent_max < room ? request->extent_max : (unsigned)room;
	struct rbd_op *op = op_get(volume, request, max * sizeof(struct volume_extent));
	int result = op ? can_start(op) : -ENOMEM;

	if (result < 0) {
		if (op)
			op_put(op);
		request->backend = NULL;
		volume_refuse(request, result);
		return;
	}
	op->extent_max = max;
	loop_post(volume->pool->look.loop, &op->message, look);
}

static uint64_t bytes_of(const struct volume_request *request)
{
	return request->op == VOLUME_READ || request->op == VOLUME_WRITE ? request->length : 0;
}

static void open_first(struct message *message);

/* To librbd. The request, if there is one still, gets what comes of it. */
static int hand_over(struct rbd_op *op)
{
	rbd_completion_t completion;
	int result = can_start(op);

	op->handed_ns = loop_now(op->loop);
	if (result == 0 && op->volume->of && !image_of(op)) {
		loop_post(op->pool->look.loop, &op->message, open_first);
		return 0;
	}
	if (result == 0)
		result = ceph.rbd_aio_create_completion(op, completed, &completion);
	if (result < 0)
		return result;
	result = start(op, op->request, completion);
	if (result < 0)
		ceph.rbd_aio_release(completion);
	return result < 0 ? result : 0;
}

static void go_on(struct message *message)
{
	struct rbd_op *op = container_of(message, struct rbd_op, message);
	struct rbd_volume *volume = op->volume;
	struct volume_request *request = op->request;
	int result;

	if (!request) { /* let go while it waited: it never was */
		op_put(op);
		volume_unref(&volume->volume);
		return;
	}
	result = hand_over(op);
	if (result == 0)
		return;
	request->backend = NULL;
	op_put(op);
	request->done(request, io_result(volume->pool, result));
}

/* On the looking worker: a snapshot is read for the first time. */
static void open_first(struct message *message)
{
	struct rbd_op *op = container_of(message, struct rbd_op, message);

	op->result = op->volume->image ? 0 : rbd_snap_open(op->volume);
	loop_post(op->loop, &op->message, op->result < 0 ? op_done : go_on);
}

static void rbd_submit(struct volume *base, struct volume_request *request)
{
	struct rbd_volume *volume = (struct rbd_volume *)base;
	struct rbd_op *op;
	int result;

	if (request->op == VOLUME_EXTENTS) {
		submit_look(volume, request);
		return;
	}
	op = op_get(volume, request, bytes_of(request));
	if (op && op->parked)
		return; /* rbd_io_resume() */
	result = op ? hand_over(op) : -ENOMEM;
	if (result == 0)
		return;
	if (op)
		op_put(op);
	request->backend = NULL;
	volume_refuse(request, io_result(volume->pool, result));
}

/* The request is over; its operation stays with librbd, and the volume with it. A write that was
 * let go may still take effect, before anything that is submitted from now on. */
static void rbd_cancel(struct volume *volume, struct volume_request *request)
{
	struct rbd_op *op = request->backend;

	if (!op)
		return; /* refused, or over */
	op->request = NULL;
	request->backend = NULL;
	volume_ref(volume);
	volume_refuse(request, -ECANCELED);
}

static void rbd_release(struct volume *base)
{
	rbd_snapshots_drop((struct rbd_volume *)base);
	qos_free(base->qos);
	heap_free(base);
}

const struct volume_ops rbd_volume_ops = {
    .name = "rbd",
    .submit = rbd_submit,
    .cancel = rbd_cancel,
    .release = rbd_release,
};
