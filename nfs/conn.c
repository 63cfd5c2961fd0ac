/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c: one connection: records in (RFC 5531 11), replies out, and its beginning and end.
 *
 *   OPEN -> DRAINING (calls that run are answered) -> CLOSING
 *
 * A record goes to the memory of its call. The data of a large WRITE is found in the first bytes
 * and received apart, into an aligned buffer. Reading stops (back-pressure) while a connection
 * or its loop has too much in flight, or buffers are short. */
#include <endian.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/internal.h"

#define INTO_MIN (16u << 10) /* a remainder this long is received in place */
#define TICK_NS  (5ull * 1000000000)
#define DRAIN_NS (2ull * 1000000000)

static const struct stream_handlers handlers;

/* ---- back-pressure */

/* What a connection may have: no more than it leaves to all others, so that those whose calls hang
 * in a back end do not take all. One call it may always have. */
static bool has_its_part(const struct nfs_conn *conn)
{
	size_t all = conn->io->bytes;
	size_t left = all < NFS_IO_BYTES_MAX ? NFS_IO_BYTES_MAX - all : 0;

	return conn->call_count > 0 &&
	       conn->bytes > (left < NFS_CONN_BYTES_MAX ? left : NFS_CONN_BYTES_MAX);
}

static bool must_pause(const struct nfs_conn *conn)
{
	return conn->call_count >= NFS_CALLS_MAX || has_its_part(conn) || conn->io->waiting;
}

static void update_pause(struct nfs_conn *conn)
{
	bool pause = must_pause(conn);

	if (conn->state != NFS_CONN_OPEN || pause == conn->paused || conn->stream_closed)
		return;
	conn->paused = pause;
	if (pause) {
		conn->io->paused++;
		stream_pause(conn->stream);
	} else {
		conn->io->paused--;
		if (conn->record_ns)
			conn->record_ns = loop_now(conn->io->loop);
		stream_resume(conn->stream);
		if (conn->secure)
			nfs_secure_resume(conn->secure);
	}
}

static void update_all(struct nfs_io *io)
{
	if (!io->paused)
		return;
	list_for_each (it, &io->conns)
		update_pause(list_entry(it, struct nfs_conn, link));
}

static void drop_spare(struct nfs_conn *conn)
{
	buf_unref(conn->spare);
	conn->spare = NULL;
}

static void buffer_here(struct buf_waiter *waiter, struct buf *buf)
{
	struct nfs_io *io = container_of(waiter, struct nfs_io, waiter);
	struct nfs_conn *conn = io->waits;

	io->waiting = false;
	io->waits = NULL;
	if (conn)
		conn->spare = buf;
	else
		buf_unref(buf);
	update_all(io);
	if (conn && conn->paused) /* for something else, which may take long */
		drop_spare(conn);
}

/* The first that waits does so for the others too: they look again when it has got its buffer. */
static void wait_for_buffer(struct nfs_conn *conn, size_t size)
{
	struct nfs_io *io = conn->io;

	if (!io->waiting) {
		io->waiting = true;
		io->waits = conn;
		io->waiter = (struct buf_waiter){
		    .size = size < BUF_MAX ? size : BUF_MAX,
		    .stage = BUF_FOR_INPUT,
		    .ready = buffer_here,
		};
		buf_wait(loop_buffers(io->loop), &io->waiter);
	}
	update_pause(conn);
}

void nfs_conn_charge(struct nfs_conn *conn, struct nfs_call *call, size_t bytes)
{
	call->charged += bytes;
	conn->bytes += bytes;
	conn->io->bytes += bytes;
}

/* ---- the end */

static void try_finish(struct nfs_conn *conn)
{
	struct nfs_io *io = conn->io;

	if (conn->finished || !conn->stream_closed || conn->call_count > 0)
		return;
	conn->finished = true;
	nfs4_back_conn_gone(conn);
	if (conn->rx)
		nfs_call_free(io, conn->rx);
	conn->rx = NULL;
	drop_spare(conn);
	if (io->waits == conn)
		io->waits = NULL;
	if (conn->paused)
		io->paused--;
	timer_stop(&conn->timer);
	nfs_secure_free(conn->secure);
	conn->secure = NULL;
	conn->peer_tls = NULL;
	list_remove(&conn->link);
	nfs_server_conn_gone(conn);
	update_all(io);
}

static void close_conn(struct nfs_conn *conn)
{
	if (conn->state == NFS_CONN_CLOSING)
		return;
	conn->state = NFS_CONN_CLOSING;
	timer_stop(&conn->timer);
	stream_close(conn->stream);
}

void nfs_conn_fail(struct nfs_conn *conn, const char *why)
{
	if (conn->state == NFS_CONN_CLOSING || conn->datagram)
		return;
	log_notice("NFS client %s: %s; connection dropped", conn->peer_text, why);
	close_conn(conn);
}

static void drain(struct nfs_conn *conn)
{
	if (conn->secure)
		nfs_secure_finish(conn->secure);
	stream_drain(conn->stream, DRAIN_NS);
}

void nfs_conn_refuse(struct nfs_conn *conn, const char *why)
{
	if (conn->state == NFS_CONN_CLOSING)
		return;
	if (why)
		log_notice("NFS client %s: %s; connection dropped", conn->peer_text, why);
	conn->state = NFS_CONN_CLOSING;
	timer_stop(&conn->timer);
	drain(conn);
}

static void drain_if_quiet(struct nfs_conn *conn)
{
	if (conn->state == NFS_CONN_DRAINING && conn->call_count == 0 && !conn->stream_closed)
		drain(conn);
}

void nfs_conn_drop(struct message *message)
{
	struct nfs_conn *conn = container_of(message, struct nfs_conn, drop_message);

	if (conn->state != NFS_CONN_OPEN)
		return;
	conn->state = NFS_CONN_DRAINING;
	timer_stop(&conn->timer);
	if (!conn->paused) {
		conn->paused = true;
		conn->io->paused++;
		stream_pause(conn->stream);
	}
	drain_if_quiet(conn);
}

void nfs_conn_free(struct message *message)
{
	heap_free(container_of(message, struct nfs_conn, message));
}

static void closed(struct stream *stream)
{
	struct nfs_conn *conn = stream_context(stream);

	conn->stream_closed = true;
	conn->state = NFS_CONN_CLOSING;
	try_finish(conn);
}

static void ended(struct stream *stream, int error)
{
	struct nfs_conn *conn = stream_context(stream);

	if (error)
		log_debug("NFS client %s: %s", conn->peer_text, strerror(-error));
	close_conn(conn);
}

static const char *too_slow(const struct nfs_conn *conn)
{
	uint64_t now = loop_now(conn->io->loop);

	if (!conn->heard_call && now - conn->opened_ns > NFS_FIRST_CALL_NS)
		return "no request after connecting";
	if (conn->shaking_ns && now - conn->shaking_ns > NFS_HANDSHAKE_NS)
		return "the handshake of TLS does not come to its end";
	if (conn->record_ns && !conn->paused && now - conn->record_ns > NFS_RECORD_NS)
		return "a request does not come to its end";
	if (stream_send_pending(conn->stream) > 0 && now - conn->sent_ns > NFS_SEND_NS)
		return "replies are not taken";
	if (conn->call_count == 0 && now - conn->heard_ns > NFS_IDLE_NS)
		return "idle";
	return NULL;
}

static void tick(struct timer *timer)
{
	struct nfs_conn *conn = container_of(timer, struct nfs_conn, timer);
	const char *why = too_slow(conn);

	if (why)
		nfs_conn_fail(conn, why);
	else
		timer_start(timer, TICK_NS);
}

/* ---- sending */

void nfs_conn_call_end(struct nfs_conn *conn, struct nfs_call *call)
{
	struct nfs_io *io = conn->io;
	bool scarce = io->bytes > NFS_IO_BYTES_MAX - NFS_CONN_BYTES_MAX;

	conn->call_count--;
	list_remove(&call->link);
	nfs_call_free(io, call);
	if (scarce) /* there is more for each */
		update_all(io);
	if (conn->datagram) {
		nfs_datagram_end(conn);
		return;
	}
	update_pause(conn);
	drain_if_quiet(conn);
	try_finish(conn);
}

static void sent(struct stream_send *send, int result)
{
	struct nfs_call *call = container_of(send, struct nfs_call, send);

	if (result == 0)
		call->conn->sent_ns = loop_now(call->conn->io->loop);
	nfs_conn_call_end(call->conn, call);
}

void nfs_conn_push(struct nfs_conn *conn, struct stream_send *send)
{
	if (conn->secure) {
		nfs_secure_send(conn->secure, send);
		return;
	}
	if (stream_send_pending(conn->stream) == 0)
		conn->sent_ns = loop_now(conn->io->loop);
	stream_send(conn->stream, send);
}

void nfs_conn_send(struct nfs_conn *conn, struct nfs_call *call)
{
	if (conn->datagram) {
		nfs_datagram_reply(conn, call);
		return;
	}
	if (conn->stream_closed || conn->state == NFS_CONN_CLOSING) {
		nfs_conn_call_end(conn, call);
		return;
	}
	call->send.done = sent;
	if (conn->secure)
		nfs_conn_charge(conn, call, nfs_secure_charge(&call->send));
	nfs_conn_push(conn, &call->send);
}

/* ---- receiving */

static void rx_add(struct nfs_conn *conn, void *base, size_t length)
{
	if (length == 0)
		return;
	conn->rx_iov[conn->rx_count++] = (struct iovec){base, length};
	conn->rx_left += length;
}

/* The data of a large WRITE apart; false: the record is taken as a whole. */
static bool split_payload(struct nfs_conn *conn, struct nfs_call *call, const uint8_t *data,
			  size_t length, size_t record)
{
	uint32_t bytes, padding;
	size_t at;

	if (record < INTO_MIN || !rpc_find_payload(data, length, record, &at, &bytes) ||
	    bytes < INTO_MIN / 2 || bytes > NFS_TRANSFER_MAX)
		return false;
	padding = xdr_padding(bytes);
	if (record - bytes - padding > NFS_CALL_SMALL)
		return false;
	call->payload = buf_get(loop_buffers(conn->io->loop), bytes);
	if (!call->payload)
		return false;
	call->payload_at = at;
	call->payload_length = bytes;
	call->record_length = record - bytes - padding;
	rx_add(conn, call->record, at);
	rx_add(conn, call->payload->data, bytes);
	rx_add(conn, conn->rx_padding, padding);
	rx_add(conn, call->record + at, call->record_length - at);
	return true;
}

/* The first fragment of a record. 0: not now. */
static bool begin_record(struct nfs_conn *conn, const uint8_t *data, size_t length,
			 uint32_t fragment)
{
	struct nfs_call *call;
	size_t peek = fragment < RPC_PAYLOAD_BEFORE ? fragment : RPC_PAYLOAD_BEFORE;

	if (conn->rx_last && fragment >= INTO_MIN && length < peek)
		return false;
	call = nfs_call_create(conn);
	if (!call) {
		nfs_conn_fail(conn, "no memory for a request");
		return false;
	}
	if (!(conn->rx_last && split_payload(conn, call, data, length, fragment))) {
		if (!nfs_call_reserve(call, fragment)) {
			nfs_call_free(conn->io, call);
			wait_for_buffer(conn, fragment);
			return false;
		}
		rx_add(conn, call->record, fragment);
		call->record_length = fragment;
	}
	drop_spare(conn);
	nfs_conn_charge(conn, call, fragment);
	conn->rx = call;
	conn->rx_fragments = 1;
	return true;
}

static bool next_fragment(struct nfs_conn *conn, uint32_t fragment)
{
	struct nfs_call *call = conn->rx;
	size_t length = call->record_length + fragment;

	if (++conn->rx_fragments > NFS_FRAGMENTS_MAX || length > NFS_RECORD_MAX) {
		nfs_conn_fail(conn, "a request longer than allowed");
		return false;
	}
	if (!nfs_call_reserve(call, length)) {
		nfs_conn_fail(conn, "no memory for a request");
		return false;
	}
	rx_add(conn, call->record + call->record_length, fragment);
	call->record_length = length;
	nfs_conn_charge(conn, call, fragment);
	return true;
}

/* A record of TLS with a handshake in it. */
static bool is_hello(const uint8_t *data)
{
	return data[0] == 22 && data[1] == 3;
}

/* Bytes of the mark, 0: more are needed, or there is no room for what it announces. */
static size_t begin_fragment(struct nfs_conn *conn, const uint8_t *data, size_t length)
{
	uint32_t mark, fragment;

	if (length < RPC_MARK_LENGTH)
		return 0;
	memcpy(&mark, data, sizeof(mark));
	mark = be32toh(mark);
	fragment = mark & ~RPC_MARK_LAST;
	if (fragment > NFS_RECORD_MAX) {
		nfs_conn_fail(conn, is_hello(data) && !conn->secure
					? "TLS without asking for it first (RFC 9289: AUTH_TLS)"
					: "a request longer than allowed");
		return 0;
	}
	conn->rx_last = mark & RPC_MARK_LAST;
	conn->rx_at = conn->rx_count = 0;
	conn->rx_left = 0;
	if (!(conn->rx
		  ? next_fragment(conn, fragment)
		  : begin_record(conn, data + RPC_MARK_LENGTH, length - RPC_MARK_LENGTH, fragment)))
		return 0;
	conn->rx_fragment = true;
	return RPC_MARK_LENGTH;
}

static void fragment_complete(struct nfs_conn *conn)
{
	struct nfs_call *call = conn->rx;

	conn->rx_fragment = false;
	if (!conn->rx_last)
		return;
	conn->rx = NULL;
	conn->record_ns = 0;
	conn->heard_call = true;
	conn->call_count++;
	list_push_back(&conn->calls, &call->link);
	nfs_call_start(call);
	update_pause(conn);
}

static size_t take_bytes(struct nfs_conn *conn, const uint8_t *data, size_t length)
{
	size_t taken = 0;

	while (taken < length && conn->rx_left > 0) {
		struct iovec *iov = &conn->rx_iov[conn->rx_at];
		size_t n = length - taken < iov->iov_len ? length - taken : iov->iov_len;

		memcpy(iov->iov_base, data + taken, n);
		iov->iov_base = (uint8_t *)iov->iov_base + n;
		iov->iov_len -= n;
		if (iov->iov_len == 0)
			conn->rx_at++;
		taken += n;
		conn->rx_left -= n;
	}
	return taken;
}

static void into_done(struct stream_receive *receive, int result)
{
	struct nfs_conn *conn = container_of(receive, struct nfs_conn, rx_into);

	if (result < 0 || conn->state != NFS_CONN_OPEN)
		return;
	conn->heard_ns = loop_now(conn->io->loop);
	conn->rx_left = 0;
	fragment_complete(conn);
}

static void receive_in_place(struct nfs_conn *conn)
{
	conn->rx_into = (struct stream_receive){
	    .iov = &conn->rx_iov[conn->rx_at],
	    .iov_count = conn->rx_count - conn->rx_at,
	    .length = conn->rx_left,
	    .done = into_done,
	};
	stream_receive_into(conn->stream, &conn->rx_into);
}

size_t nfs_conn_take(struct nfs_conn *conn, const uint8_t *data, size_t length)
{
	const struct nfs_secure *secure = conn->secure;
	size_t used = 0;

	/* What follows a call that asked for TLS is not read as a call. */
	while (conn->state == NFS_CONN_OPEN && !conn->paused && used < length &&
	       conn->secure == secure) {
		if (!conn->record_ns)
			conn->record_ns = conn->heard_ns;
		if (!conn->rx_fragment) {
			size_t mark = begin_fragment(conn, data + used, length - used);

			used += mark;
			if (mark == 0)
				break;
		}
		used += take_bytes(conn, data + used, length - used);
		if (conn->rx_left >= INTO_MIN && !conn->secure) {
			receive_in_place(conn);
			break;
		}
		if (conn->rx_left > 0)
			break;
		fragment_complete(conn);
	}
	return used;
}

void *nfs_conn_room(struct nfs_conn *conn, size_t *ret_room)
{
	struct iovec *iov = &conn->rx_iov[conn->rx_at];

	if (conn->rx_left == 0)
		return NULL;
	*ret_room = iov->iov_len < conn->rx_left ? iov->iov_len : conn->rx_left;
	return iov->iov_base;
}

void nfs_conn_filled(struct nfs_conn *conn, size_t length)
{
	struct iovec *iov = &conn->rx_iov[conn->rx_at];

	iov->iov_base = (uint8_t *)iov->iov_base + length;
	iov->iov_len -= length;
	if (iov->iov_len == 0)
		conn->rx_at++;
	conn->rx_left -= length;
	if (conn->rx_left == 0)
		fragment_complete(conn);
}

static size_t received(struct stream *stream, const void *data, size_t length)
{
	struct nfs_conn *conn = stream_context(stream);
	size_t used = 0;

	conn->heard_ns = loop_now(conn->io->loop);
	if (!conn->secure)
		used = nfs_conn_take(conn, data, length);
	if (conn->secure && conn->state == NFS_CONN_OPEN)
		used +=
		    nfs_secure_received(conn->secure, (const uint8_t *)data + used, length - used);
	return conn->state == NFS_CONN_OPEN ? used : length;
}

static const struct stream_handlers handlers = {
    .received = received,
    .ended = ended,
    .closed = closed,
};

/* ---- the beginning */

void nfs_conn_attach(struct message *message)
{
	struct nfs_conn *conn = container_of(message, struct nfs_conn, attach_message);
	struct err err = {0};

	list_init(&conn->calls);
	list_init(&conn->back_calls);
	list_push_back(&conn->io->conns, &conn->link);
	timer_init(&conn->timer, conn->io->loop, tick);
	conn->opened_ns = conn->heard_ns = conn->sent_ns = loop_now(conn->io->loop);
	if (stream_attach(conn->io->loop, conn->fd, &handlers, conn, &conn->stream, &err) < 0) {
		log_warning("NFS client %s: %s", conn->peer_text, err.text);
		close(conn->fd);
		conn->state = NFS_CONN_CLOSING;
		conn->stream_closed = true;
		try_finish(conn);
		return;
	}
	timer_start(&conn->timer, TICK_NS);
}
