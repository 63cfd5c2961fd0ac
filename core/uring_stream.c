/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/stream_base.h"
#include "core/uring.h"

/* Streams on io_uring.
 *
 * Receiving is in one of three ways, one at a time per stream, so that bytes can not overtake
 * each other:
 *   many   a multishot receive into the loop's ring of provided buffers: no submission per
 *          message. The usual way.
 *   one    a single receive of at most HEADER_BYTES into a provided buffer.
 *   into   a receive straight into the owner's buffers.
 * Multishot would swallow the payload of a large write before its header is read. So the first
 * large stream_receive_into() puts the stream into bulk mode: one (the header) and into (the
 * payload) take turns until BULK_PATIENCE headers came without a large payload.
 *
 * What is wanted may change while a receive is armed: it is cancelled, and its last completion
 * (which may still carry bytes) arms the right one.
 *
 * Sending: streams with something queued are on engine->sending; uring_streams_flush() makes
 * one SENDMSG of all of it, at most one in flight per stream. */

#define BUFFER_GROUP  0
#define INTO_MIN      (16u << 10) /* below this a copy is cheaper than changing over */
#define HEADER_BYTES  (4u << 10)
#define BULK_PATIENCE 64
#define SEND_IOV_MAX  1024u
#define SEVERAL_NS    1000000u  /* two streams heard within this keep both sides busy */
#define SHORT_NS      20000000u /* so long after they ran out more buffers stay in the ring */

enum receive_state { RECEIVE_IDLE, RECEIVE_MANY, RECEIVE_ONE, RECEIVE_INTO };

struct uring_stream {
	struct stream_base base;
	struct uring_engine *engine;
	struct list sending_link;
	enum receive_state receive;
	bool cancelling; /* of the armed receive */
	unsigned bulk;   /* headers left in bulk mode */
	bool send_armed;
	struct msghdr send_message, receive_message;
	struct deferred finish;
};

struct uring_listener {
	struct listener head;
	struct uring_engine *engine;
	bool armed, closing;
	struct timer again;
	struct deferred finish;
};

static struct uring_stream *stream_of(struct stream_base *base)
{
	return container_of(base, struct uring_stream, base);
}

/* The ring of provided buffers. The kernel takes them in turn, so that all that are in the ring go
 * through the processor's cache one after another: few are enough for a round, and stay in the
 * cache. When they run out (many streams at once) more are put in, for as long as that happens. */

static void provide(struct uring_engine *engine, unsigned id)
{
	io_uring_buf_ring_add(engine->receive_ring,
			      engine->receive_memory + (size_t)id * URING_RECEIVE_SIZE,
			      URING_RECEIVE_SIZE, (unsigned short)id, URING_RECEIVE_BUFFERS - 1, 0);
	io_uring_buf_ring_advance(engine->receive_ring, 1);
}

static void provide_spares(struct uring_engine *engine)
{
	while (engine->receive_spares > URING_RECEIVE_BUFFERS - engine->receive_wanted)
		provide(engine, engine->receive_spare[--engine->receive_spares]);
}

static void give_back(struct uring_engine *engine, unsigned id)
{
	if (engine->receive_wanted > URING_RECEIVE_HOT &&
	    loop_now(engine->loop) - engine->receive_short > SHORT_NS)
		engine->receive_wanted = URING_RECEIVE_HOT;
	engine->receive_spare[engine->receive_spares++] = (uint16_t)id;
	provide_spares(engine);
}

/* A receive found the ring empty. */
static void provide_more(struct uring_engine *engine)
{
	engine->receive_short = loop_now(engine->loop);
	if (engine->receive_wanted < URING_RECEIVE_BUFFERS)
		engine->receive_wanted *= 2;
	provide_spares(engine);
}

int uring_streams_open(struct uring_engine *engine, struct err *err)
{
	struct io_uring_buf_reg reg = {.ring_entries = URING_RECEIVE_BUFFERS, .bgid = BUFFER_GROUP};
	int r = -ENOMEM;

	engine->receive_ring =
	    heap_aligned(4096, URING_RECEIVE_BUFFERS * sizeof(struct io_uring_buf));
	engine->receive_memory =
	    heap_aligned(4096, (size_t)URING_RECEIVE_BUFFERS * URING_RECEIVE_SIZE);
	engine->send_iov = heap_zalloc_array(URING_SEND_IOVECS, sizeof *engine->send_iov);
	if (!engine->receive_ring || !engine->receive_memory || !engine->send_iov)
		goto fail;
	reg.ring_addr = (uint64_t)(uintptr_t)engine->receive_ring;
	r = io_uring_register_buf_ring(&engine->ring, &reg, 0);
	if (r < 0)
		goto fail;
	io_uring_buf_ring_init(engine->receive_ring);
	engine->receive_wanted = URING_RECEIVE_HOT;
	for (unsigned id = URING_RECEIVE_BUFFERS; id-- > 0;)
		engine->receive_spare[engine->receive_spares++] = (uint16_t)id;
	provide_spares(engine);
	return 0;

fail:
	uring_streams_close(engine);
	return err_set(err, r, "io_uring's receive buffers: %s", strerror(-r));
}

/* After the ring has gone, and the buffers' registration with it. */
void uring_streams_close(struct uring_engine *engine)
{
	heap_free(engine->receive_ring);
	heap_free(engine->receive_memory);
	heap_free(engine->send_iov);
	engine->receive_ring = NULL;
}

/* Receiving */

static void arm_provided(struct uring_stream *stream, enum receive_state state)
{
	struct io_uring_sqe *sqe = uring_sqe(stream->engine, URING_RECEIVE, stream);
	uint64_t user_data = sqe->user_data;
	int fd = stream->base.head.fd;

	if (state == RECEIVE_MANY)
		io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	else
		io_uring_prep_recv(sqe, fd, NULL, HEADER_BYTES, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFFER_GROUP;
	sqe->user_data = user_data;
	stream->receive = state;
}

static void arm_into(struct uring_stream *stream)
{
	struct io_uring_sqe *sqe = uring_sqe(stream->engine, URING_RECEIVE_INTO, stream);
	struct stream_receive *into = stream->base.into;
	uint64_t user_data = sqe->user_data;

	stream->receive_message =
	    (struct msghdr){.msg_iov = into->iov, .msg_iovlen = into->iov_count};
	io_uring_prep_recvmsg(sqe, stream->base.head.fd, &stream->receive_message, 0);
	sqe->user_data = user_data;
	stream->receive = RECEIVE_INTO;
}

static bool wants_into(const struct uring_stream *stream, enum stream_wants wants)
{
	return wants == STREAM_WANTS_INTO &&
	       (stream->base.into->length >= INTO_MIN || stream->receive == RECEIVE_INTO);
}

static enum receive_state wanted_state(struct uring_stream *stream)
{
	enum stream_wants wants = stream_base_wants(&stream->base);

	if (wants == STREAM_WANTS_NOTHING)
		return RECEIVE_IDLE;
	if (wants_into(stream, wants))
		return RECEIVE_INTO;
	return stream->bulk ? RECEIVE_ONE : RECEIVE_MANY;
}

static void cancel_receive(struct uring_stream *stream)
{
	if (stream->cancelling)
		return;
	stream->cancelling = true;
	uring_cancel(stream->engine,
		     stream->receive == RECEIVE_INTO ? URING_RECEIVE_INTO : URING_RECEIVE, stream);
}

static void finish_if_quiet(struct uring_stream *stream)
{
	if (stream->base.closing && stream->receive == RECEIVE_IDLE && !stream->send_armed)
		loop_defer(stream->base.head.loop, &stream->finish);
}

static void receive_changed(struct stream_base *base)
{
	struct uring_stream *stream = stream_of(base);
	enum receive_state wanted = wanted_state(stream);

	if (wanted == RECEIVE_INTO)
		stream->bulk = BULK_PATIENCE;
	if (stream->receive != RECEIVE_IDLE) {
		if (stream->receive != wanted &&
		    !(stream->receive == RECEIVE_MANY && wanted == RECEIVE_ONE))
			cancel_receive(stream);
		return;
	}
	stream->cancelling = false;
	if (wanted == RECEIVE_INTO) {
		arm_into(stream);
	} else if (wanted != RECEIVE_IDLE) {
		if (stream->bulk)
			stream->bulk--;
		arm_provided(stream, wanted);
	}
}

/* The receive that was armed is through; its result is one of the stream's last words. */
static void receive_ended(struct uring_stream *stream, int result)
{
	struct stream_base *base = &stream->base;

	if (base->closing)
		finish_if_quiet(stream);
	else if (result == 0)
		stream_base_eof(base, 0);
	else if (result < 0 && result != -ECANCELED && result != -ENOBUFS && result != -EINTR &&
		 result != -EAGAIN)
		stream_base_eof(base, result);
	else if (result < 0)
		receive_changed(base);
}

/* Does one peer alone talk to this loop? Any stream but the last one heard says no, for a while. */
bool uring_one_stream(const struct uring_engine *engine)
{
	return loop_now(engine->loop) >= engine->several_until;
}

static void hear(struct uring_engine *engine, const struct uring_stream *stream)
{
	if (engine->heard == stream)
		return;
	engine->heard = stream;
	engine->several_until = loop_now(engine->loop) + SEVERAL_NS;
}

void uring_complete_receive(struct uring_engine *engine, void *object,
			    const struct io_uring_cqe *cqe)
{
	struct uring_stream *stream = object;
	bool more = cqe->flags & IORING_CQE_F_MORE;
	unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

	if (!more)
		stream->receive = RECEIVE_IDLE;
	hear(engine, stream);
	if (cqe->res > 0)
		stream_base_feed(&stream->base,
				 engine->receive_memory + (size_t)id * URING_RECEIVE_SIZE,
				 (size_t)cqe->res);
	if (cqe->flags & IORING_CQE_F_BUFFER)
		give_back(engine, id);
	if (cqe->res == -ENOBUFS)
		provide_more(engine);
	if (!more)
		receive_ended(stream, cqe->res);
}

void uring_complete_receive_into(void *object, int result)
{
	struct uring_stream *stream = object;

	stream->receive = RECEIVE_IDLE;
	if (result > 0)
		stream_base_fed_into(&stream->base, (size_t)result, NULL, 0);
	receive_ended(stream, result);
}

/* Sending */

static void send_queued(struct stream_base *base)
{
	struct uring_stream *stream = stream_of(base);

	if (!stream->send_armed && list_empty(&stream->sending_link))
		list_push_back(&stream->engine->sending, &stream->sending_link);
}

static void arm_send(struct uring_engine *engine, struct uring_stream *stream)
{
	struct iovec *iov = engine->send_iov + engine->send_iov_used;
	size_t bytes;
	unsigned count = stream_base_gather(&stream->base, iov, SEND_IOV_MAX, &bytes);
	struct io_uring_sqe *sqe;
	uint64_t user_data;

	if (count == 0) {
		stream_base_sent(&stream->base, 0);
		return;
	}
	sqe = uring_sqe(engine, URING_SEND, stream);
	user_data = sqe->user_data;
	stream->send_message = (struct msghdr){.msg_iov = iov, .msg_iovlen = count};
	io_uring_prep_sendmsg(sqe, stream->base.head.fd, &stream->send_message, MSG_NOSIGNAL);
	sqe->user_data = user_data;
	engine->send_iov_used += count;
	stream->send_armed = true;
}

/* The iovecs are needed until the kernel has taken the entries (SUBMIT_STABLE): when they run
 * out, what is queued is submitted and they are used again. */
void uring_streams_flush(struct uring_engine *engine)
{
	struct list *link;

	engine->send_iov_used = 0;
	while ((link = list_pop_front(&engine->sending))) {
		if (URING_SEND_IOVECS - engine->send_iov_used < SEND_IOV_MAX) {
			while (io_uring_sq_ready(&engine->ring))
				io_uring_submit(&engine->ring);
			engine->send_iov_used = 0;
		}
		arm_send(engine, list_entry(link, struct uring_stream, sending_link));
	}
}

void uring_complete_send(void *object, int result)
{
	struct uring_stream *stream = object;
	struct stream_base *base = &stream->base;

	stream->send_armed = false;
	if (result >= 0)
		stream_base_sent(base, (size_t)result);
	else if (result != -EINTR && result != -EAGAIN && result != -ECANCELED)
		stream_base_send_failed(base, result);
	if (base->closing)
		finish_if_quiet(stream);
	else if (!list_empty(&base->sends))
		send_queued(base);
}

/* Opening and closing */

static void close_stream(struct stream_base *base)
{
	struct uring_stream *stream = stream_of(base);

	list_remove(&stream->sending_link);
	if (stream->receive != RECEIVE_IDLE)
		cancel_receive(stream);
	if (stream->send_armed)
		uring_cancel(stream->engine, URING_SEND, stream);
	finish_if_quiet(stream);
}

static void free_stream(struct stream_base *base)
{
	heap_free(stream_of(base));
}

static void finish_run(struct deferred *deferred)
{
	struct uring_stream *stream = container_of(deferred, struct uring_stream, finish);

	stream_base_finish(&stream->base);
}

static const struct stream_base_ops uring_stream_ops = {
    .receive_changed = receive_changed,
    .send_queued = send_queued,
    .close = close_stream,
    .free = free_stream,
};

int uring_stream_attach(struct loop *loop, int fd, const struct stream_handlers *handlers,
			void *context, struct stream **ret_stream, struct err *err)
{
	struct uring_stream *stream = heap_zalloc(sizeof *stream);

	if (!stream)
		return err_set(err, -ENOMEM, "no memory for a connection");
	stream->engine = loop_engine(loop);
	list_init(&stream->sending_link);
	deferred_init(&stream->finish, finish_run);
	stream_base_init(&stream->base, &uring_stream_ops, loop, fd, handlers, context);
	receive_changed(&stream->base);
	*ret_stream = &stream->base.head;
	return 0;
}

/* Listeners */

static void arm_accept(struct uring_listener *listener)
{
	struct io_uring_sqe *sqe = uring_sqe(listener->engine, URING_ACCEPT, listener);
	uint64_t user_data = sqe->user_data;

	io_uring_prep_multishot_accept(sqe, listener->head.fd, NULL, NULL,
				       SOCK_CLOEXEC | SOCK_NONBLOCK);
	sqe->user_data = user_data;
	listener->armed = true;
}

static void accept_again(struct timer *timer)
{
	arm_accept(container_of(timer, struct uring_listener, again));
}

static void hand_over(struct uring_listener *listener, int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof peer;

	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0) {
		close(fd); /* gone already */
		return;
	}
	listener->head.handlers->accepted(&listener->head, fd, (struct sockaddr *)&peer, length);
}

static void listener_finish(struct deferred *deferred)
{
	struct uring_listener *listener = container_of(deferred, struct uring_listener, finish);

	heap_free(listener);
}

void uring_complete_accept(void *object, const struct io_uring_cqe *cqe)
{
	struct uring_listener *listener = object;

	if (!(cqe->flags & IORING_CQE_F_MORE))
		listener->armed = false;
	if (cqe->res >= 0 && listener->closing)
		close(cqe->res);
	else if (cqe->res >= 0)
		hand_over(listener, cqe->res);
	if (listener->armed)
		return;
	if (listener->closing)
		loop_defer(listener->head.loop, &listener->finish);
	else if (cqe->res >= 0)
		arm_accept(listener);
	else /* out of descriptors or memory: the backlog waits a moment */
		timer_start(&listener->again, LISTENER_BACK_OFF_NS);
}

int uring_listener_open(struct loop *loop, int fd, const struct listener_handlers *handlers,
			void *context, struct listener **ret_listener, struct err *err)
{
	struct uring_listener *listener = heap_zalloc(sizeof *listener);

	if (!listener)
		return err_set(err, -ENOMEM, "no memory for a listener");
	listener->head =
	    (struct listener){.loop = loop, .handlers = handlers, .context = context, .fd = fd};
	listener->engine = loop_engine(loop);
	timer_init(&listener->again, loop, accept_again);
	deferred_init(&listener->finish, listener_finish);
	arm_accept(listener);
	*ret_listener = &listener->head;
	return 0;
}

/* shutdown() frees the port at once, and ends the multishot accept. */
void uring_listener_close(struct listener *head)
{
	struct uring_listener *listener = container_of(head, struct uring_listener, head);

	listener->closing = true;
	timer_stop(&listener->again);
	shutdown(head->fd, SHUT_RDWR);
	close(head->fd);
	if (listener->armed)
		uring_cancel(listener->engine, URING_ACCEPT, listener);
	else
		loop_defer(head->loop, &listener->finish);
}
