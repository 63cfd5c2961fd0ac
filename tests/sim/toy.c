/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/toy.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/disk.h"
#include "volumes/backend.h"

/* One volume, identity mapped to the first disk behind one block that says how large it is.
 * Requests go to the disk as they come; overlapping ones are left to the disk, which serves a
 * request whole. */

#define TOY_VOLUME_BYTES (1u << 20)
#define TOY_START        4096u

struct toy {
	struct pool pool;
	struct volume volume;
	struct disk *disk;
	enum toy_bug bug;
	struct pool_call *call;
	struct message message;
	uint64_t requests;
	unsigned flushes;
	struct {
		uint64_t offset, length, number;
		uint8_t *data;
	} stale; /* what a read returned some time ago */
};

/* Requests need no memory of their own here, but it is a toy. */
struct toy_request {
	struct disk_request disk;
	struct volume_request *request;
	struct toy *toy;
	struct deferred deferred;
	bool then_flush;
};

static enum toy_bug toy_bug;
static const struct pool_ops toy_pool_ops;
static const struct volume_ops toy_volume_ops;

static void toy_answer(struct toy_request *sub, int result)
{
	struct volume_request *request = sub->request;

	if (request->op == VOLUME_DISCARD)
		free(sub->disk.own_iov.iov_base);
	free(sub);
	request->done(request, result);
}

static void toy_remember(struct toy *toy, const struct volume_request *request)
{
	if (toy->stale.data && toy->requests < toy->stale.number + 200)
		return;
	free(toy->stale.data);
	toy->stale.data = malloc(request->iov[0].iov_len);
	assert(toy->stale.data);
	memcpy(toy->stale.data, request->iov[0].iov_base, request->iov[0].iov_len);
	toy->stale.offset = request->offset;
	toy->stale.length = request->iov[0].iov_len;
	toy->stale.number = toy->requests;
}

/* Answer a read of the same place out of the memory. */
static bool toy_recall(struct toy *toy, const struct volume_request *request)
{
	if (request->op != VOLUME_READ || !toy->stale.data ||
	    request->offset != toy->stale.offset || request->length > toy->stale.length ||
	    request->iov_count != 1 || toy->requests < toy->stale.number + 20)
		return false;
	memcpy(request->iov[0].iov_base, toy->stale.data, request->length);
	return true;
}

static void toy_done(struct disk_request *disk, int result)
{
	struct toy_request *sub = container_of(disk, struct toy_request, disk);
	struct volume_request *request = sub->request;

	if (disk->op == DISK_FLUSH)
		sub->toy->flushes--;
	if (request->op == VOLUME_READ && sub->toy->bug == TOY_READ_STALE)
		toy_remember(sub->toy, request);
	toy_answer(sub, result);
}

static void toy_deferred(struct deferred *deferred)
{
	toy_answer(container_of(deferred, struct toy_request, deferred), 0);
}

static void toy_answer_now(struct toy_request *sub)
{
	deferred_init(&sub->deferred, toy_deferred);
	loop_defer(loop_current(), &sub->deferred);
}

static void toy_zeros(struct toy_request *sub)
{
	struct volume_request *request = sub->request;

	sub->disk.own_iov.iov_base = aligned_alloc(4096, (request->length + 4095) & ~4095ull);
	assert(sub->disk.own_iov.iov_base);
	memset(sub->disk.own_iov.iov_base, 0, request->length);
	sub->disk.own_iov.iov_len = request->length;
	sub->disk.iov = &sub->disk.own_iov;
	sub->disk.iov_count = 1;
}

static bool toy_misbehaves(struct toy_request *sub)
{
	struct volume_request *request = sub->request;
	struct toy *toy = sub->toy;

	if (toy->bug == TOY_FLUSH_LIES && request->op == VOLUME_FLUSH)
		return true;
	if (toy->bug == TOY_FLUSH_EARLY && request->op == VOLUME_FLUSH && toy->flushes > 0)
		return true;
	if (toy->bug == TOY_FORGETS_DISCARD && request->op == VOLUME_DISCARD) {
		sub->disk.own_iov.iov_base = NULL;
		return true;
	}
	return toy_recall(toy, request);
}

static struct toy_request *toy_translate(struct toy *toy, struct volume_request *request)
{
	struct toy_request *sub = calloc(1, sizeof(*sub));

	assert(sub);
	sub->request = request;
	sub->toy = toy;
	sub->disk = (struct disk_request){
	    .op = request->op == VOLUME_READ    ? DISK_READ
		  : request->op == VOLUME_FLUSH ? DISK_FLUSH
						: DISK_WRITE,
	    .flags = request->flags & VOLUME_FUA && toy->bug != TOY_FUA_LIES ? DISK_FUA : 0,
	    .offset = request->op == VOLUME_FLUSH ? 0 : TOY_START + request->offset,
	    .length = request->length,
	    .iov = request->iov,
	    .iov_count = request->iov_count,
	    .done = toy_done,
	};
	return sub;
}

static void toy_submit(struct volume *volume, struct volume_request *request)
{
	struct toy *toy = volume->private_data;
	struct toy_request *sub = toy_translate(toy, request);
	uint64_t number = toy->requests++;

	if (request->op == VOLUME_EXTENTS) {
		request->extents[0] =
		    (struct volume_extent){request->offset, request->length, true};
		request->extent_count = 1;
		toy_answer_now(sub);
		return;
	}
	if (toy_misbehaves(sub)) {
		toy_answer_now(sub);
		return;
	}
	if (request->op == VOLUME_DISCARD)
		toy_zeros(sub);
	if (toy->bug == TOY_WRITE_ASTRAY && request->op == VOLUME_WRITE && number % 300 == 299)
		sub->disk.offset += 512;
	if (toy->bug == TOY_HANGS && request->op == VOLUME_WRITE && number > 300) {
		free(sub);
		return;
	}
	toy->flushes += sub->disk.op == DISK_FLUSH;
	disk_submit(loop_current(), toy->disk, &sub->disk);
}

static void toy_release(struct volume *volume)
{
	(void)volume;
}

/* Administration: all of it answers at once. */

static void toy_called(struct message *message)
{
	struct pool_call *call = container_of(message, struct toy, message)->call;

	call->done(call, 0);
}

static void toy_call(struct toy *toy, struct pool_call *call)
{
	toy->call = call;
	loop_post(loop_current(), &toy->message, toy_called);
}

static void toy_begin(const struct world_ops *world, const char *path, struct pool_call *call)
{
	struct toy *toy = calloc(1, sizeof(*toy));

	assert(toy);
	toy->bug = toy_bug;
	toy->pool.ops = &toy_pool_ops;
	toy->volume = (struct volume){.ops = &toy_volume_ops,
				      .pool = &toy->pool,
				      .name = "vol0",
				      .identity.uuid = "toy",
				      .size_bytes = TOY_VOLUME_BYTES,
				      .refs = 1,
				      .private_data = toy};
	list_init(&toy->volume.watchers);
	if (disk_open(world, path, DISK_EXCLUSIVE, 0, &toy->disk, &call->err) != 0)
		abort();
	call->pool = &toy->pool;
	toy_call(toy, call);
}

static void toy_create(const struct world_ops *world, struct loop *loop,
		       const struct pool_create_options *options, struct pool_call *call)
{
	(void)loop;
	toy_begin(world, options->devices[0].path, call);
}

static void toy_open(const struct world_ops *world, struct loop *loop, const char *const *paths,
		     unsigned path_count, struct pool_call *call)
{
	(void)loop, (void)path_count;
	toy_begin(world, paths[0], call);
}

static void toy_closed(struct message *message)
{
	struct toy *toy = container_of(message, struct toy, message);
	struct pool_call *call = toy->call;

	disk_close(toy->disk);
	free(toy->stale.data);
	free(toy);
	call->done(call, 0);
}

static void toy_flushed(struct disk_request *disk, int result)
{
	struct toy_request *sub = container_of(disk, struct toy_request, disk);
	assert(result == 0);
	loop_post(loop_current(), &sub->toy->message, toy_closed);
	free(sub);
}

static void toy_close(struct pool *pool, struct pool_call *call)
{
	struct toy *toy = container_of(pool, struct toy, pool);
	struct toy_request *sub = calloc(1, sizeof(*sub));

	assert(sub);
	toy->call = call;
	sub->toy = toy;
	sub->disk = (struct disk_request){.op = DISK_FLUSH, .done = toy_flushed};
	disk_submit(loop_current(), toy->disk, &sub->disk);
}

static void toy_volume_create(struct pool *pool, const struct volume_spec *spec,
			      struct pool_call *call)
{
	struct toy *toy = container_of(pool, struct toy, pool);

	(void)spec;
	call->volume = volume_ref(&toy->volume);
	toy_call(toy, call);
}

static struct volume *toy_volume_next(struct pool *pool, struct volume *previous)
{
	struct toy *toy = container_of(pool, struct toy, pool);

	if (previous) {
		volume_unref(previous);
		return NULL;
	}
	return volume_ref(&toy->volume);
}

static void toy_get_info(struct pool *pool, struct pool_info *ret_info)
{
	(void)pool;
	*ret_info = (struct pool_info){.name = "toy", .size_bytes = 1, .free_bytes = 1};
}

static const struct volume_ops toy_volume_ops = {
    .name = "toy", .submit = toy_submit, .release = toy_release};
static const struct pool_ops toy_pool_ops = {
    .name = "toy",
    .close = toy_close,
    .volume_create = toy_volume_create,
    .volume_next = toy_volume_next,
    .get_info = toy_get_info,
};

const struct subject *toy_subject(enum toy_bug bug)
{
	static const struct subject subject = {"toy", toy_create, toy_open, true, NULL};

	toy_bug = bug;
	return &subject;
}
