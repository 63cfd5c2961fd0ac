/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes/prove_trace.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"

/* A world whose every disk is the one device, and which keeps what is sent there. */

struct passing {
	struct disk_request inner;
	struct disk_request *outer;
	struct prove_trace *trace;
	size_t event; /* SIZE_MAX: it is not recorded */
	bool refuse;
};

struct shown_disk {
	struct disk base;
	struct prove_trace *trace;
	bool limited;
};

static _Thread_local struct prove_trace *used;

void prove_trace_use(struct prove_trace *trace)
{
	used = trace;
}

static int open_shown(const char *path, unsigned flags, uint64_t size, struct disk **ret_disk,
		      struct err *err)
{
	struct shown_disk *shown = heap_zalloc(sizeof *shown);

	(void)flags;
	(void)size;
	if (!shown)
		return err_set(err, -ENOMEM, "out of memory");
	shown->trace = used;
	shown->base = *used->real;
	shown->base.world = loop_world(loop_current());
	shown->base.path = heap_strdup(path);
	if (!shown->base.path) {
		heap_free(shown);
		return err_set(err, -ENOMEM, "out of memory");
	}
	shown->limited = used->limit != 0;
	if (shown->limited) {
		shown->base.size = shown->base.exact_size = used->limit;
		shown->base.volatile_cache = true; /* whatever it has: flushes are to be seen */
		shown->base.discards = false;
	}
	*ret_disk = &shown->base;
	return 0;
}

static void close_shown(struct disk *disk)
{
	heap_free(disk->path);
	heap_free(container_of(disk, struct shown_disk, base));
}

static uint8_t *copy_of(const struct disk_request *request)
{
	uint8_t *data = heap_alloc(request->length), *at = data;

	for (unsigned i = 0; data && i < request->iov_count; i++) {
		memcpy(at, request->iov[i].iov_base, request->iov[i].iov_len);
		at += request->iov[i].iov_len;
	}
	return data;
}

static size_t record(struct prove_trace *trace, const struct disk_request *request, uint8_t *data)
{
	struct prove_event *event;

	if (trace->count == trace->room) {
		size_t room = trace->room * 2 + 1024;
		struct prove_event *grown = heap_resize(trace->events, room * sizeof *grown);

		if (!grown) {
			trace->result = -ENOMEM;
			heap_free(data);
			return SIZE_MAX;
		}
		trace->events = grown;
		trace->room = room;
	}
	event = &trace->events[trace->count];
	*event = (struct prove_event){.flush = request->op == DISK_FLUSH,
				      .forced = request->flags & DISK_FUA,
				      .offset = request->offset,
				      .length = data ? request->length : 0,
				      .submitted = ++trace->clock,
				      .completed = UINT64_MAX,
				      .data = data};
	trace->bytes += event->length;
	return trace->count++;
}

static void passed(struct disk_request *request, int result)
{
	struct passing *passing = container_of(request, struct passing, inner);
	struct disk_request *outer = passing->outer;

	if (passing->event != SIZE_MAX && result == 0)
		passing->trace->events[passing->event].completed = ++passing->trace->clock;
	if (passing->refuse)
		result = outer->flags & DISK_ZERO ? -EOPNOTSUPP : 0;
	heap_free(passing);
	outer->done(outer, result);
}

static void keep(struct passing *passing)
{
	struct prove_trace *trace = passing->trace;
	const struct disk_request *request = passing->outer;
	uint8_t *data = NULL;

	if (request->op == DISK_WRITE) {
		data = copy_of(request);
		if (!data) {
			trace->result = -ENOMEM;
			return;
		}
		if (trace->image)
			memcpy(trace->image + request->offset, data, request->length);
	}
	if (trace->records && request->op != DISK_READ)
		passing->event = record(trace, request, data);
	else
		heap_free(data);
}

/* The scratch of a request is its world's, which is this one. */
static void refuse_later(struct deferred *deferred)
{
	struct disk_request *request =
	    container_of((uint64_t *)deferred, struct disk_request, scratch[0]);

	request->done(request, -ENOMEM);
}
_Static_assert(sizeof(struct deferred) <= sizeof(((struct disk_request *)0)->scratch),
	       "room for it");

static void submit_shown(struct loop *loop, struct disk *disk, struct disk_request *request)
{
	const struct shown_disk *shown = container_of(disk, struct shown_disk, base);
	struct prove_trace *trace = shown->trace;
	struct passing *passing = heap_zalloc(sizeof *passing);

	if (!passing) {
		struct deferred *later = (struct deferred *)request->scratch;

		deferred_init(later, refuse_later);
		loop_defer(loop, later);
		return;
	}
	passing->outer = request;
	passing->trace = trace;
	passing->event = SIZE_MAX;
	passing->inner = (struct disk_request){.op = request->op,
					       .flags = request->flags,
					       .offset = request->offset,
					       .length = request->length,
					       .iov = request->iov,
					       .iov_count = request->iov_count,
					       .done = passed,
					       .loop = loop,
					       .disk = trace->real};
	list_init(&passing->inner.link);
	if (shown->limited && request->op == DISK_DISCARD) {
		passing->refuse = true;
		passing->inner.op = DISK_FLUSH;
	} else if (request->op == DISK_WRITE || request->op == DISK_FLUSH) {
		keep(passing);
	}
	trace->outer->disk_submit(loop, trace->real, &passing->inner);
}

void prove_trace_world(const struct world_ops *outer, struct world_ops *ret_world)
{
	*ret_world = *outer;
	ret_world->disk_open = open_shown;
	ret_world->disk_close = close_shown;
	ret_world->disk_rescan = NULL;
	ret_world->disk_submit = submit_shown;
}

void prove_trace_forget(struct prove_trace *trace)
{
	for (size_t i = 0; i < trace->count; i++)
		heap_free(trace->events[i].data);
	heap_free(trace->events);
	trace->events = NULL;
	trace->count = trace->room = 0;
	trace->bytes = 0;
}

/* ---- crashes ---- */
static uint64_t draw(uint64_t *random)
{
	return prove_mix(*random += 0x9e3779b97f4a7c15ull);
}

/* When the last flush was asked for that is through at @at. */
static uint64_t flushed_until(const struct prove_trace *trace, uint64_t at)
{
	uint64_t until = 0;

	for (size_t i = 0; i < trace->count; i++) {
		const struct prove_event *event = &trace->events[i];

		if (event->flush && event->completed <= at && event->submitted > until)
			until = event->submitted;
	}
	return until;
}

void prove_trace_crash(const struct prove_trace *trace, uint64_t at, uint32_t torn_at,
		       uint64_t *random, uint8_t *image, uint64_t size)
{
	uint64_t flushed = flushed_until(trace, at);

	memset(image, 0, size);
	for (size_t i = 0; i < trace->count; i++) {
		const struct prove_event *event = &trace->events[i];
		bool durable =
		    event->completed < flushed || (event->forced && event->completed <= at);
		uint64_t chance;

		if (event->flush || event->submitted > at)
			continue;
		chance = draw(random) % 4; /* whole, torn, nothing, nothing */
		for (uint64_t from = 0; from < event->length; from += torn_at) {
			uint64_t part =
			    event->length - from < torn_at ? event->length - from : torn_at;

			if (durable || chance == 0 || (chance == 1 && draw(random) & 1))
				memcpy(image + event->offset + from, event->data + from, part);
		}
	}
}
