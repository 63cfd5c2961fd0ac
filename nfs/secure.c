/* SPDX-License-Identifier: Apache-2.0 */
/* secure.c: a connection that went over to TLS. Between the socket and conn.c:
 *
 *   stream -> received() -> open -> conn.c's record, in place where it has one, else by way of rest
 *   reply -> sealed, in pieces of 128 KiB -> stream; it is through when its last piece is
 *
 * Nothing is sealed ahead of the reply it belongs to, and nothing that came is opened while conn.c
 * has stopped reading: what is in between is bounded by what it charges. */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/internal.h"
#include "nfs/tls.h"

#define PIECE_MAX ((128u << 10) - (unsigned)sizeof(struct piece))
#define PIECE_MIN (4096u - (unsigned)sizeof(struct piece))
#define REST_MAX  (RPC_PAYLOAD_BEFORE + RPC_MARK_LENGTH + NFS_TLS_RECORD)
#define OWN_MAX   (64u << 10) /* bytes of TLS's own, behind the handshake, that are not taken yet */

/* Bytes for the socket. */
struct piece {
	struct stream_send send;
	struct buf *buf;           /* NULL: of the heap */
	struct stream_send *owner; /* is through with this */
	struct nfs_secure *secure;
	size_t length, room, own; /* own: counted in secure->own */
	uint8_t data[];
};

struct nfs_secure {
	struct nfs_conn *conn;
	struct nfs_tls_end *end;
	struct piece *piece; /* being filled */
	size_t want;         /* what more will come into it */
	bool sealing;        /* it is for a reply, which is counted where replies are */
	size_t own;          /* of pieces on their way that are for none */
	struct deferred pump;
	bool shaken;
	struct nfs_peer peer;
	size_t rest_at, rest_end; /* opened, and not taken yet */
	uint8_t rest[REST_MAX];
};

/* ---- out */

static void piece_free(struct piece *piece)
{
	if (piece && piece->buf)
		buf_unref(piece->buf);
	else
		heap_free(piece);
}

/* Buffers are the pool's, as those of plain replies; when it has none left a reply that is there
 * already is not to wait for another. */
static struct piece *piece_new(struct nfs_secure *secure, size_t room)
{
	struct buf *buf =
	    buf_get(loop_buffers(secure->conn->io->loop), sizeof(struct piece) + room);
	struct piece *piece = buf ? buf->data : heap_alloc(sizeof(*piece) + room);

	if (!piece)
		return NULL;
	*piece = (struct piece){.buf = buf, .secure = secure, .room = room};
	return piece;
}

static void piece_sent(struct stream_send *send, int result)
{
	struct piece *piece = container_of(send, struct piece, send);
	struct stream_send *owner = piece->owner;

	piece->secure->own -= piece->own;
	piece_free(piece);
	if (owner)
		owner->done(owner, result);
}

/* @owner: has nothing behind this; NULL: nobody's end. */
static void flush(struct nfs_secure *secure, struct stream_send *owner)
{
	struct piece *piece = secure->piece;
	struct nfs_conn *conn = secure->conn;

	if (!piece)
		return;
	secure->piece = NULL;
	piece->owner = owner;
	piece->own = secure->shaken && !secure->sealing ? sizeof(*piece) + piece->room : 0;
	secure->own += piece->own;
	piece->send.iov[0] = (struct iovec){piece->data, piece->length};
	piece->send.done = piece_sent;
	if (stream_send_pending(conn->stream) == 0)
		conn->sent_ns = loop_now(conn->io->loop);
	stream_send(conn->stream, &piece->send);
}

static uint8_t *room_for(void *context, size_t length)
{
	struct nfs_secure *secure = context;
	size_t want = secure->want > length ? secure->want : length;
	struct piece *piece = secure->piece;
	uint8_t *at;

	if (piece && piece->room - piece->length < length)
		flush(secure, NULL);
	if (!secure->piece) {
		want = want > PIECE_MAX ? PIECE_MAX : want;
		secure->piece = piece_new(secure, want < PIECE_MIN ? PIECE_MIN : want);
	}
	piece = secure->piece;
	if (!piece || piece->room - piece->length < length)
		return NULL;
	at = piece->data + piece->length;
	piece->length += length;
	secure->want -= length < secure->want ? length : secure->want;
	return at;
}

static const struct nfs_tls_end_ops end_ops = {.room = room_for};

/* Pieces that are small, a record's header and what is behind it, become one record. */
static int seal(struct nfs_tls_end *end, const struct stream_send *send)
{
	uint8_t joined[NFS_TLS_RECORD];
	size_t used = 0;

	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *data = send->iov[i].iov_base;
		size_t left = send->iov[i].iov_len, part = sizeof(joined) - used;

		part = left < part ? left : part;
		if (part == 0)
			continue;
		memcpy(joined + used, data, part);
		used += part;
		if (used < sizeof(joined))
			continue;
		if (nfs_tls_end_write(end, joined, used) < 0 ||
		    nfs_tls_end_write(end, data + part, left - part) < 0)
			return -EPROTO;
		used = 0;
	}
	return nfs_tls_end_write(end, joined, used);
}

static size_t length_of(const struct stream_send *send)
{
	return send->iov[0].iov_len + send->iov[1].iov_len + send->iov[2].iov_len +
	       send->iov[3].iov_len;
}

size_t nfs_secure_charge(const struct stream_send *send)
{
	return nfs_tls_sealed(length_of(send));
}

void nfs_secure_send(struct nfs_secure *secure, struct stream_send *send)
{
	int result = -ENOTCONN;

	secure->want = nfs_secure_charge(send);
	secure->sealing = true;
	if (secure->shaken)
		result = seal(secure->end, send);
	secure->want = 0;
	if (result == 0 && secure->piece)
		flush(secure, send);
	else
		result = result < 0 ? result : -ENOMEM;
	secure->sealing = false;
	if (result == 0)
		return;
	nfs_conn_fail(secure->conn, "a reply could not be sealed");
	send->done(send, result);
}

void nfs_secure_finish(struct nfs_secure *secure)
{
	nfs_tls_end_finish(secure->end);
	flush(secure, NULL);
}

/* ---- in */

static void shake(struct nfs_secure *secure)
{
	struct nfs_conn *conn = secure->conn;
	struct err err = {0};
	int result = nfs_tls_end_shake(secure->end, &secure->peer, &err);

	flush(secure, NULL);
	if (result == -EAGAIN)
		return;
	if (result < 0) {
		nfs_conn_refuse(conn, err.text);
		return;
	}
	secure->shaken = true;
	conn->shaking_ns = 0;
	conn->peer_tls = &secure->peer;
	log_info("NFS client %s: TLS%s%s", conn->peer_text,
		 secure->peer.proved ? ", with the certificate of " : "",
		 !secure->peer.proved          ? ""
		 : secure->peer.name_count > 0 ? secure->peer.names[0]
					       : "one without a name");
}

/* Where what is opened next goes: to the record itself, if it is known and nothing is before it. */
static void *place(struct nfs_secure *secure, size_t *ret_room, bool *ret_direct)
{
	void *room = NULL;

	if (secure->rest_at == secure->rest_end)
		room = nfs_conn_room(secure->conn, ret_room);
	*ret_direct = room;
	if (room)
		return room;
	memmove(secure->rest, secure->rest + secure->rest_at, secure->rest_end - secure->rest_at);
	secure->rest_end -= secure->rest_at;
	secure->rest_at = 0;
	*ret_room = sizeof(secure->rest) - secure->rest_end;
	return secure->rest + secure->rest_end;
}

/* False: nothing more for now. */
static bool open_some(struct nfs_secure *secure)
{
	struct nfs_conn *conn = secure->conn;
	struct err err = {0};
	size_t room;
	bool direct;
	void *to = place(secure, &room, &direct);
	int64_t length = room ? nfs_tls_end_read(secure->end, to, room, &err) : -EMSGSIZE;

	flush(secure, NULL);
	/* Each KeyUpdate that asks for one is answered (RFC 8446 4.6.3), whoever takes the answers.
	 */
	if (secure->own > OWN_MAX) {
		nfs_conn_fail(conn, "TLS: it asks for new keys and does not take the answers");
		return false;
	}
	if (length == -EAGAIN)
		return false;
	if (length <= 0) {
		if (length == 0)
			nfs_conn_refuse(conn, NULL);
		else
			nfs_conn_refuse(conn, err.text);
		return false;
	}
	if (direct)
		nfs_conn_filled(conn, (size_t)length);
	else
		secure->rest_end += (size_t)length;
	return true;
}

static void run(struct nfs_secure *secure)
{
	struct nfs_conn *conn = secure->conn;

	if (!secure->shaken)
		shake(secure);
	while (secure->shaken && conn->state == NFS_CONN_OPEN && !conn->paused) {
		size_t rest = secure->rest_end - secure->rest_at;

		if (rest > 0)
			secure->rest_at +=
			    nfs_conn_take(conn, secure->rest + secure->rest_at, rest);
		if (conn->state != NFS_CONN_OPEN || conn->paused || !open_some(secure))
			break;
	}
}

size_t nfs_secure_received(struct nfs_secure *secure, const void *data, size_t length)
{
	nfs_tls_end_feed(secure->end, data, length);
	run(secure);
	length -= nfs_tls_end_left(secure->end);
	nfs_tls_end_feed(secure->end, NULL, 0);
	return length;
}

static void pump(struct deferred *deferred)
{
	struct nfs_secure *secure = container_of(deferred, struct nfs_secure, pump);

	if (secure->conn->state == NFS_CONN_OPEN)
		run(secure);
}

void nfs_secure_resume(struct nfs_secure *secure)
{
	loop_defer(secure->conn->io->loop, &secure->pump);
}

/* ---- beginning and end */

int nfs_secure_create(struct nfs_conn *conn, struct nfs_tls *tls, struct nfs_secure **ret_secure)
{
	struct nfs_secure *secure = heap_zalloc(sizeof(*secure));

	if (!secure || nfs_tls_end_create(tls, &end_ops, secure, &secure->end) < 0) {
		heap_free(secure);
		return -ENOMEM;
	}
	secure->conn = conn;
	deferred_init(&secure->pump, pump);
	*ret_secure = secure;
	return 0;
}

void nfs_secure_free(struct nfs_secure *secure)
{
	if (!secure)
		return;
	deferred_cancel(&secure->pump);
	piece_free(secure->piece);
	nfs_tls_end_free(secure->end);
	heap_free(secure);
}
