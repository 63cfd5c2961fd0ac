/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/aio.h"
#include "core/heap.h"
#include "core/stream_base.h"

/* Streams on epoll, edge-triggered: one epoll_ctl per connection, ever. What the last edge said
 * is kept in `readable` and `writable` until the socket answers EAGAIN (or less than asked,
 * which says the same; epoll(7)).
 *
 * A receive_into reads the payload into the owner's buffers and what follows it into the shared
 * receive memory, in one system call. */

#define RECEIVE_SIZE  (64u << 10)
#define SEND_IOV_MAX  1024u
#define READS_A_ROUND 8 /* of one stream, before the others get their turn */
#define ACCEPTS       64

struct aio_stream {
	struct stream_base base;
	struct aio_engine *engine;
	struct aio_watch watch;
	struct list sending_link, reading_link;
	bool readable, writable, hang_up;
	struct deferred finish;
};

struct aio_listener {
	struct listener head;
	struct aio_engine *engine;
	struct aio_watch watch;
	bool closing;
	struct timer again;
	struct deferred finish;
};

static struct aio_stream *stream_of(struct stream_base *base)
{
	return container_of(base, struct aio_stream, base);
}

int aio_streams_open(struct aio_engine *engine, struct err *err)
{
	list_init(&engine->sending);
	list_init(&engine->reading);
	engine->receive_memory = heap_aligned(4096, RECEIVE_SIZE);
	engine->send_iov = heap_zalloc_array(SEND_IOV_MAX, sizeof *engine->send_iov);
	if (engine->receive_memory && engine->send_iov)
		return 0;
	aio_streams_close(engine);
	return err_set(err, -ENOMEM, "no memory for an event loop's streams");
}

void aio_streams_close(struct aio_engine *engine)
{
	heap_free(engine->receive_memory);
	heap_free(engine->send_iov);
	engine->receive_memory = NULL;
	engine->send_iov = NULL;
}

/* Receiving */

static void receive_changed(struct stream_base *base)
{
	struct aio_stream *stream = stream_of(base);

	if (stream_base_wants(base) == STREAM_WANTS_NOTHING || !stream->readable)
		list_remove(&stream->reading_link);
	else if (list_empty(&stream->reading_link))
		list_push_back(&stream->engine->reading, &stream->reading_link);
}

/* Returns what recvmsg() does, or -errno; *ret_room is what it could have been. */
static ssize_t receive(struct aio_stream *stream, size_t *ret_room)
{
	struct stream_receive *into = stream->base.into;
	struct iovec *iov = stream->engine->send_iov;
	struct msghdr message = {.msg_iov = iov};
	ssize_t n;

	*ret_room = RECEIVE_SIZE;
	if (into) {
		unsigned count =
		    into->iov_count < SEND_IOV_MAX ? into->iov_count : SEND_IOV_MAX - 1;

		memcpy(iov, into->iov, count * sizeof *iov);
		for (unsigned i = 0; i < count; i++)
			*ret_room += iov[i].iov_len;
		message.msg_iovlen = count;
		/* More pieces than fit: nothing may follow them yet. */
		if (count < into->iov_count)
			*ret_room -= RECEIVE_SIZE;
	}
	if (!into || message.msg_iovlen == into->iov_count)
		iov[message.msg_iovlen++] =
		    (struct iovec){stream->engine->receive_memory, RECEIVE_SIZE};
	n = recvmsg(stream->base.head.fd, &message, MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

static void deliver(struct aio_stream *stream, size_t length)
{
	struct stream_base *base = &stream->base;
	struct stream_receive *into = base->into;
	size_t direct = 0;

	if (into) {
		direct = length < into->length ? length : into->length;
		stream_base_fed_into(base, direct, stream->engine->receive_memory, length - direct);
	} else {
		stream_base_feed(base, stream->engine->receive_memory, length);
	}
}

/* One read; false when the socket has no more for now. */
static bool read_once(struct aio_stream *stream)
{
	size_t room;
	ssize_t n = receive(stream, &room);

	if (n == -EINTR)
		return true;
	if (n == -EAGAIN) {
		stream->readable = false;
		return false;
	}
	if (n > 0) {
		if ((size_t)n < room && !stream->hang_up)
			stream->readable = false;
		deliver(stream, (size_t)n);
		return stream->readable;
	}
	stream->readable = false;
	stream_base_eof(&stream->base, (int)n);
	return false;
}

bool aio_streams_read(struct aio_engine *engine)
{
	struct list batch, *link;
	bool any = false;

	list_init(&batch);
	list_splice_back(&batch, &engine->reading);
	while ((link = list_pop_front(&batch))) {
		struct aio_stream *stream = list_entry(link, struct aio_stream, reading_link);

		for (unsigned i = 0; i < READS_A_ROUND; i++)
			if (stream_base_wants(&stream->base) == STREAM_WANTS_NOTHING ||
			    !read_once(stream))
				break;
		if (!stream->base.closing)
			receive_changed(&stream->base);
		any = true;
	}
	return any;
}

static void stream_ready(struct aio_watch *watch, uint32_t events)
{
	struct aio_stream *stream = container_of(watch, struct aio_stream, watch);

	if (stream->base.closing)
		return;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		stream->hang_up = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		stream->readable = true;
		receive_changed(&stream->base);
	}
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
		stream->writable = true;
		if (!list_empty(&stream->base.sends))
			stream->base.ops->send_queued(&stream->base);
	}
}

/* Sending */

static void send_queued(struct stream_base *base)
{
	struct aio_stream *stream = stream_of(base);

	if (stream->writable && list_empty(&stream->sending_link))
		list_push_back(&stream->engine->sending, &stream->sending_link);
}

static void send_all(struct aio_stream *stream)
{
	struct stream_base *base = &stream->base;

	while (!base->closing && !list_empty(&base->sends)) {
		struct msghdr message = {.msg_iov = stream->engine->send_iov};
		size_t bytes;
		ssize_t n = 0;

		message.msg_iovlen =
		    stream_base_gather(base, message.msg_iov, SEND_IOV_MAX, &bytes);
		if (bytes > 0)
			n = sendmsg(base->head.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			stream->writable = false;
			return;
		}
		if (n < 0) {
			stream_base_send_failed(base, -errno);
			return;
		}
		stream_base_sent(base, (size_t)n);
	}
}

void aio_streams_flush(struct aio_engine *engine)
{
	struct list batch, *link;

	list_init(&batch);
	list_splice_back(&batch, &engine->sending);
	while ((link = list_pop_front(&batch)))
		send_all(list_entry(link, struct aio_stream, sending_link));
}

/* Opening and closing */

static void close_stream(struct stream_base *base)
{
	struct aio_stream *stream = stream_of(base);

	list_remove(&stream->sending_link);
	list_remove(&stream->reading_link);
	epoll_ctl(stream->engine->epoll_fd, EPOLL_CTL_DEL, base->head.fd, NULL);
	loop_defer(base->head.loop, &stream->finish);
}

static void free_stream(struct stream_base *base)
{
	heap_free(stream_of(base));
}

/* Deferred work runs after the last event of the batch that may name this stream. */
static void finish_run(struct deferred *deferred)
{
	stream_base_finish(&container_of(deferred, struct aio_stream, finish)->base);
}

static const struct stream_base_ops aio_stream_ops = {
    .receive_changed = receive_changed,
    .send_queued = send_queued,
    .close = close_stream,
    .free = free_stream,
};

int aio_stream_attach(struct loop *loop, int fd, const struct stream_handlers *handlers,
		      void *context, struct stream **ret_stream, struct err *err)
{
	struct aio_stream *stream = heap_zalloc(sizeof *stream);
	int r;

	if (!stream)
		return err_set(err, -ENOMEM, "no memory for a connection");
	stream->engine = loop_engine(loop);
	stream->watch.ready = stream_ready;
	stream->writable = true;
	list_init(&stream->sending_link);
	list_init(&stream->reading_link);
	deferred_init(&stream->finish, finish_run);
	stream_base_init(&stream->base, &aio_stream_ops, loop, fd, handlers, context);
	r = aio_watch_add(stream->engine, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
			  &stream->watch);
	if (r < 0) {
		heap_free(stream);
		return err_set(err, r, "can not watch a connection: %s", strerror(-r));
	}
	*ret_stream = &stream->base.head;
	return 0;
}

/* Listeners */

static void accept_again(struct timer *timer)
{
	struct aio_listener *listener = container_of(timer, struct aio_listener, again);

	if (aio_watch_add(listener->engine, listener->head.fd, EPOLLIN, &listener->watch) < 0)
		timer_start(timer, LISTENER_BACK_OFF_NS);
}

static bool accept_one(struct aio_listener *listener)
{
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof peer;
	int fd = accept4(listener->head.fd, (struct sockaddr *)&peer, &length,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		listener->head.handlers->accepted(&listener->head, fd, (struct sockaddr *)&peer,
						  length);
		return true;
	}
	if (errno == EAGAIN)
		return false;
	if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO)
		return true;
	/* Out of descriptors or memory: the backlog waits a moment. */
	epoll_ctl(listener->engine->epoll_fd, EPOLL_CTL_DEL, listener->head.fd, NULL);
	timer_start(&listener->again, LISTENER_BACK_OFF_NS);
	return false;
}

static void listener_ready(struct aio_watch *watch, uint32_t events)
{
	struct aio_listener *listener = container_of(watch, struct aio_listener, watch);

	(void)events;
	for (unsigned i = 0; i < ACCEPTS && !listener->closing; i++)
		if (!accept_one(listener))
			break;
}

static void listener_finish(struct deferred *deferred)
{
	heap_free(container_of(deferred, struct aio_listener, finish));
}

int aio_listener_open(struct loop *loop, int fd, const struct listener_handlers *handlers,
		      void *context, struct listener **ret_listener, struct err *err)
{
	struct aio_listener *listener = heap_zalloc(sizeof *listener);
	int r;

	if (!listener)
		return err_set(err, -ENOMEM, "no memory for a listener");
	listener->head =
	    (struct listener){.loop = loop, .handlers = handlers, .context = context, .fd = fd};
	listener->engine = loop_engine(loop);
	listener->watch.ready = listener_ready;
	timer_init(&listener->again, loop, accept_again);
	deferred_init(&listener->finish, listener_finish);
	r = aio_watch_add(listener->engine, fd, EPOLLIN, &listener->watch);
	if (r < 0) {
		heap_free(listener);
		return err_set(err, r, "can not watch a listener: %s", strerror(-r));
	}
	*ret_listener = &listener->head;
	return 0;
}

void aio_listener_close(struct listener *head)
{
	struct aio_listener *listener = container_of(head, struct aio_listener, head);

	listener->closing = true;
	timer_stop(&listener->again);
	close(head->fd);
	loop_defer(head->loop, &listener->finish);
}
