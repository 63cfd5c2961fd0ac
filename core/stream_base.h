/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_STREAM_BASE_H
#define CORE_STREAM_BASE_H

#include "core/stream.h"
#include "core/world.h"

/* What every world's stream does alike: who gets which bytes, and the queue of sends. It moves
 * no bytes through the kernel itself. A world embeds struct stream_base at the start of its
 * stream and hears about changes through stream_base_ops. */

#define LISTENER_BACK_OFF_NS 100000000u /* after an accept that failed: 100 ms */

struct stream_base;

struct stream_base_ops {
	/* What is wanted from the socket may have changed: stream_base_wants(). */
	void (*receive_changed)(struct stream_base *base);
	/* Something was queued to send. */
	void (*send_queued)(struct stream_base *base);
	/* stream_close() or the end of a drain: stop all kernel operations; when none is left call
	 * stream_base_finish(), later, not inside. */
	void (*close)(struct stream_base *base);
	void (*free)(struct stream_base *base);
};

struct stream_base {
	struct stream head;
	const struct stream_base_ops *ops;

	/* bytes that were received and not consumed: backlog[begin .. end) */
	uint8_t *backlog;
	size_t begin, end, capacity;
	struct stream_receive *into; /* under way */
	bool paused, closing, feeding;
	bool eof, ended; /* the peer is through; the owner was told */
	int eof_error;
	struct deferred pump; /* deliver from the backlog, outside of the caller's call */

	struct list sends;
	bool draining, drained_out; /* all is sent, the peer's end is awaited */
	struct timer drain_timer;
};

enum stream_wants { STREAM_WANTS_NOTHING, STREAM_WANTS_ANY, STREAM_WANTS_INTO };

void stream_base_init(struct stream_base *base, const struct stream_base_ops *ops,
		      struct loop *loop, int fd, const struct stream_handlers *handlers,
		      void *context);
enum stream_wants stream_base_wants(const struct stream_base *base);

/* stream_base_feed: @length bytes have come. May call any handler. */
void stream_base_feed(struct stream_base *base, const void *data, size_t length);
/* stream_base_fed_into: @length bytes were received directly into base->into, and behind them
 * @rest_length bytes of what follows into @rest. */
void stream_base_fed_into(struct stream_base *base, size_t length, const void *rest,
			  size_t rest_length);
/* The peer closed (0) or the connection failed (-errno). */
void stream_base_eof(struct stream_base *base, int error);

/* stream_base_gather: the unsent bytes as at most @max iovecs; returns how many. */
unsigned stream_base_gather(struct stream_base *base, struct iovec *iov, unsigned max,
			    size_t *ret_bytes);
/* @bytes more are sent: hand back what is through. */
void stream_base_sent(struct stream_base *base, size_t bytes);
void stream_base_send_failed(struct stream_base *base, int error);

/* stream_base_finish: every kernel operation has ended: hand back everything, close, closed(),
 * free. */
void stream_base_finish(struct stream_base *base);

/* The calls of stream.h that need nothing of the world. */
void stream_base_send(struct stream *stream, struct stream_send *send);
void stream_base_receive_into(struct stream *stream, struct stream_receive *receive);
void stream_base_pause(struct stream *stream);
void stream_base_resume(struct stream *stream);
void stream_base_close(struct stream *stream);
void stream_base_drain(struct stream *stream, uint64_t limit_ns);

#endif
