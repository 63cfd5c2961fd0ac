/* SPDX-License-Identifier: Apache-2.0 */
#include "core/stream_base.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/heap.h"

#define BACKLOG_FIRST 4096u

static struct stream_base *base_of(struct stream *stream)
{
	return container_of(stream, struct stream_base, head);
}

static size_t backlog_length(const struct stream_base *base)
{
	return base->end - base->begin;
}

static void pump_run(struct deferred *deferred)
{
	struct stream_base *base = container_of(deferred, struct stream_base, pump);

	stream_base_feed(base, NULL, 0);
}

static void drain_expired(struct timer *timer)
{
	stream_base_close(&container_of(timer, struct stream_base, drain_timer)->head);
}

void stream_base_init(struct stream_base *base, const struct stream_base_ops *ops,
		      struct loop *loop, int fd, const struct stream_handlers *handlers,
		      void *context)
{
	base->head =
	    (struct stream){.loop = loop, .handlers = handlers, .context = context, .fd = fd};
	base->ops = ops;
	list_init(&base->sends);
	deferred_init(&base->pump, pump_run);
	timer_init(&base->drain_timer, loop, drain_expired);
}

enum stream_wants stream_base_wants(const struct stream_base *base)
{
	if (base->closing || base->eof)
		return STREAM_WANTS_NOTHING;
	if (base->draining)
		return STREAM_WANTS_ANY; /* nothing but the peer's end */
	if (base->into)
		return backlog_length(base) ? STREAM_WANTS_NOTHING : STREAM_WANTS_INTO;
	return base->paused ? STREAM_WANTS_NOTHING : STREAM_WANTS_ANY;
}

/* Receiving */

static int backlog_grow(struct stream_base *base, size_t length)
{
	size_t kept = backlog_length(base), capacity = base->capacity;
	uint8_t *bigger;

	if (base->begin) {
		memmove(base->backlog, base->backlog + base->begin, kept);
		base->begin = 0;
		base->end = kept;
	}
	if (capacity - kept >= length)
		return 0;
	if (!capacity)
		capacity = BACKLOG_FIRST;
	while (capacity - kept < length)
		capacity *= 2;
	bigger = heap_resize(base->backlog, capacity);
	if (!bigger)
		return -ENOMEM;
	base->backlog = bigger;
	base->capacity = capacity;
	return 0;
}

static int stash(struct stream_base *base, const void *data, size_t length)
{
	if (length == 0)
		return 0;
	if (base->capacity - base->end < length && backlog_grow(base, length) < 0)
		return -ENOMEM;
	memcpy(base->backlog + base->end, data, length);
	base->end += length;
	return 0;
}

/* After the last byte; the handler may close and so must come last. */
static void tell_end(struct stream_base *base)
{
	struct stream_receive *into = base->into;

	if (base->ended || base->closing)
		return;
	base->ended = true;
	base->paused = false;
	if (into) {
		base->into = NULL;
		into->done(into, base->eof_error ? base->eof_error : -ECONNRESET);
	}
	if (base->draining)
		stream_base_close(&base->head);
	if (!base->closing)
		base->head.handlers->ended(&base->head, base->eof_error);
}

static void fail(struct stream_base *base, int error)
{
	base->eof = true;
	base->eof_error = error;
	base->begin = base->end = 0;
	tell_end(base);
}

static void into_advance(struct stream_receive *into, size_t length)
{
	into->length -= length;
	while (length > 0) {
		size_t n = length < into->iov->iov_len ? length : into->iov->iov_len;

		into->iov->iov_base = (char *)into->iov->iov_base + n;
		into->iov->iov_len -= n;
		length -= n;
		if (into->iov->iov_len == 0 && into->iov_count > 1) {
			into->iov++;
			into->iov_count--;
		}
	}
}

static size_t into_copy(struct stream_receive *into, const uint8_t *data, size_t length)
{
	size_t copied = 0;

	while (copied < length && into->length > 0) {
		size_t n = length - copied;

		while (into->iov->iov_len == 0) {
			into->iov++;
			into->iov_count--;
		}
		if (n > into->iov->iov_len)
			n = into->iov->iov_len;
		memcpy(into->iov->iov_base, data + copied, n);
		into_advance(into, n);
		copied += n;
	}
	return copied;
}

static void into_finish(struct stream_base *base)
{
	struct stream_receive *into = base->into;

	if (into->length > 0)
		return;
	base->into = NULL;
	into->done(into, 0);
}

/* What is offered next: the backlog if there is one, else the new bytes. */
struct offer {
	const uint8_t *data;
	size_t length;
};

static void take(struct stream_base *base, struct offer *fresh, size_t count)
{
	if (backlog_length(base)) {
		base->begin += count;
		if (base->begin == base->end)
			base->begin = base->end = 0;
	} else {
		fresh->data += count;
		fresh->length -= count;
	}
}

/* One step; false when nothing more can be delivered now. */
static bool feed_step(struct stream_base *base, struct offer *fresh)
{
	struct offer offer = *fresh;
	size_t taken, shown;

	if (backlog_length(base)) {
		if (!base->into && stash(base, fresh->data, fresh->length) < 0) {
			fail(base, -ENOMEM);
			return false;
		}
		if (!base->into)
			fresh->length = 0;
		offer = (struct offer){base->backlog + base->begin, backlog_length(base)};
	}
	if (offer.length == 0 || base->closing || base->ended)
		return false;
	if (base->into) {
		take(base, fresh, into_copy(base->into, offer.data, offer.length));
		into_finish(base);
		return true;
	}
	if (base->paused)
		return false;
	shown = offer.length < STREAM_UNCONSUMED_MAX ? offer.length : STREAM_UNCONSUMED_MAX;
	taken = base->head.handlers->received(&base->head, offer.data, shown);
	if (base->closing)
		return false;
	assert(taken <= shown);
	take(base, fresh, taken);
	if (taken == 0 && shown == STREAM_UNCONSUMED_MAX && !base->into && !base->paused) {
		fail(base, -EMSGSIZE);
		return false;
	}
	return base->into || taken == shown || shown == STREAM_UNCONSUMED_MAX;
}

void stream_base_feed(struct stream_base *base, const void *data, size_t length)
{
	struct offer fresh = {data, length};

	if (base->closing || base->feeding || base->ended)
		return;
	deferred_cancel(&base->pump);
	if (base->draining)
		fresh.length = base->begin = base->end = 0; /* not heard any more */
	base->feeding = true;
	while (feed_step(base, &fresh))
		;
	base->feeding = false;
	if (base->closing || base->ended)
		return;
	if (stash(base, fresh.data, fresh.length) < 0)
		fail(base, -ENOMEM);
	else if (base->eof && (base->eof_error || !base->paused))
		tell_end(base);
	if (!base->closing)
		base->ops->receive_changed(base);
}

void stream_base_fed_into(struct stream_base *base, size_t length, const void *rest,
			  size_t rest_length)
{
	if (base->closing || !base->into)
		return;
	into_advance(base->into, length);
	base->feeding = true;
	into_finish(base);
	base->feeding = false;
	if (!base->closing)
		stream_base_feed(base, rest, rest_length);
}

void stream_base_eof(struct stream_base *base, int error)
{
	if (base->closing || base->eof)
		return;
	base->eof = true;
	base->eof_error = error;
	stream_base_feed(base, NULL, 0);
}

/* The iovecs are the owner's and may hold more than is wanted: the last one is cut. */
static void trim_into(struct stream_receive *into)
{
	size_t left = into->length;

	for (unsigned i = 0; i < into->iov_count; i++) {
		if (into->iov[i].iov_len > left)
			into->iov[i].iov_len = left;
		left -= into->iov[i].iov_len;
		if (left == 0)
			into->iov_count = i + 1;
	}
}

void stream_base_receive_into(struct stream *stream, struct stream_receive *receive)
{
	struct stream_base *base = base_of(stream);

	assert(!base->into && receive->length > 0 && receive->iov_count > 0);
	trim_into(receive);
	base->into = receive;
	if (base->feeding || base->closing)
		return;
	if (backlog_length(base) || base->eof)
		loop_defer(stream->loop, &base->pump);
	else
		base->ops->receive_changed(base);
}

void stream_base_pause(struct stream *stream)
{
	struct stream_base *base = base_of(stream);

	base->paused = true;
	if (!base->feeding && !base->closing)
		base->ops->receive_changed(base);
}

void stream_base_resume(struct stream *stream)
{
	struct stream_base *base = base_of(stream);

	if (!base->paused || base->closing)
		return;
	base->paused = false;
	if (base->feeding)
		return;
	if (backlog_length(base) || base->eof)
		loop_defer(stream->loop, &base->pump);
	base->ops->receive_changed(base);
}

/* Sending */

static size_t send_length(const struct stream_send *send)
{
	return send->iov[0].iov_len + send->iov[1].iov_len + send->iov[2].iov_len +
	       send->iov[3].iov_len;
}

void stream_base_send(struct stream *stream, struct stream_send *send)
{
	struct stream_base *base = base_of(stream);

	send->sent = 0;
	stream->send_pending += send_length(send);
	list_push_back(&base->sends, &send->link);
	if (!base->closing)
		base->ops->send_queued(base);
}

static unsigned gather_one(const struct stream_send *send, struct iovec *iov, unsigned max,
			   size_t *bytes)
{
	size_t skip = send->sent;
	unsigned count = 0;

	for (unsigned i = 0; i < 4 && count < max; i++) {
		size_t length = send->iov[i].iov_len;

		if (skip >= length) {
			skip -= length;
			continue;
		}
		iov[count].iov_base = (char *)send->iov[i].iov_base + skip;
		iov[count].iov_len = length - skip;
		*bytes += iov[count++].iov_len;
		skip = 0;
	}
	return count;
}

unsigned stream_base_gather(struct stream_base *base, struct iovec *iov, unsigned max,
			    size_t *ret_bytes)
{
	unsigned count = 0;

	*ret_bytes = 0;
	list_for_each (it, &base->sends) {
		count += gather_one(list_entry(it, struct stream_send, link), iov + count,
				    max - count, ret_bytes);
		if (count == max)
			break;
	}
	return count;
}

/* Everything is out: say so to the peer, and wait for its end, so that closing with unread
 * bytes does not reset the connection under the last response. */
static void drain_step(struct stream_base *base)
{
	if (!base->draining || base->drained_out || base->closing || !list_empty(&base->sends))
		return;
	base->drained_out = true;
	shutdown(base->head.fd, SHUT_WR);
	if (base->eof)
		stream_base_close(&base->head);
}

void stream_base_sent(struct stream_base *base, size_t bytes)
{
	base->head.send_pending -= bytes;
	while (!list_empty(&base->sends)) {
		struct stream_send *send = list_entry(base->sends.next, struct stream_send, link);
		size_t left = send_length(send) - send->sent;

		if (bytes < left) {
			send->sent += bytes;
			break;
		}
		bytes -= left;
		send->sent += left;
		list_remove(&send->link);
		send->done(send, 0);
	}
	drain_step(base);
}

static void hand_back_sends(struct stream_base *base, int result)
{
	struct list batch, *link;

	list_init(&batch);
	list_splice_back(&batch, &base->sends);
	while ((link = list_pop_front(&batch))) {
		struct stream_send *send = list_entry(link, struct stream_send, link);

		base->head.send_pending -= send_length(send) - send->sent;
		send->done(send, result);
	}
}

void stream_base_send_failed(struct stream_base *base, int error)
{
	if (base->closing)
		return;
	hand_back_sends(base, error);
	stream_base_eof(base, error);
}

/* The end */

void stream_base_close(struct stream *stream)
{
	struct stream_base *base = base_of(stream);

	if (base->closing)
		return;
	base->closing = true;
	timer_stop(&base->drain_timer);
	deferred_cancel(&base->pump);
	base->ops->close(base);
}

void stream_base_drain(struct stream *stream, uint64_t limit_ns)
{
	struct stream_base *base = base_of(stream);

	if (base->closing || base->draining)
		return;
	base->draining = true;
	timer_start(&base->drain_timer, limit_ns);
	if (base->ended && base->eof_error) {
		stream_base_close(stream);
		return;
	}
	drain_step(base);
	if (!base->feeding && !base->closing)
		base->ops->receive_changed(base);
}

void stream_base_finish(struct stream_base *base)
{
	struct stream_receive *into = base->into;

	hand_back_sends(base, -ECANCELED);
	base->into = NULL;
	if (into)
		into->done(into, -ECANCELED);
	/* Callbacks may have queued more. */
	hand_back_sends(base, -ECANCELED);
	deferred_cancel(&base->pump);
	timer_stop(&base->drain_timer);
	close(base->head.fd);
	base->head.fd = -1;
	if (base->head.handlers->closed)
		base->head.handlers->closed(&base->head);
	heap_free(base->backlog);
	base->ops->free(base);
}
