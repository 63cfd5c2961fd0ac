/* SPDX-License-Identifier: Apache-2.0 */
/* callout.c: calls to clients. Connecting has no completion in a world: the socket is asked again
 * every few milliseconds; clients are few, and so are these calls. */
#include "nfs/callout.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "nfs/rpc.h"

#define LIMIT_NS     (10ull * 1000000000)
#define ASK_NS       (5ull * 1000000)
#define PORTMAP_PORT 111u
#define PROTOCOL_TCP 6u

static void begin(struct callout *callout);

static socklen_t make_address(const struct nfs_address *from, uint16_t port,
			      struct sockaddr_storage *to)
{
	memset(to, 0, sizeof(*to));
	to->ss_family = (sa_family_t)from->family;
	if (from->family == AF_INET6) {
		struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;

		memcpy(&six->sin6_addr, from->bytes, 16);
		six->sin6_port = htobe16(port);
		return sizeof(*six);
	}
	memcpy(&((struct sockaddr_in *)to)->sin_addr, from->bytes, 4);
	((struct sockaddr_in *)to)->sin_port = htobe16(port);
	return sizeof(struct sockaddr_in);
}

static void end(struct callout *callout)
{
	const uint8_t *results = callout->reply + RPC_REPLY_LENGTH;
	size_t length = callout->result ? 0 : callout->reply_length - RPC_REPLY_LENGTH;

	callout->active = false;
	callout->done(callout, callout->result, results, length);
}

/* The portmapper's answer is the port to go on with. */
static void next_step(struct callout *callout)
{
	struct xdr_in in;

	if (callout->result || callout->port) {
		end(callout);
		return;
	}
	xdr_in_init(&in, callout->reply + RPC_REPLY_LENGTH,
		    callout->reply_length - RPC_REPLY_LENGTH);
	callout->port = (uint16_t)xdr_get_u32(&in);
	if (in.bad || callout->port == 0) {
		callout->result = -ENOENT;
		end(callout);
		return;
	}
	begin(callout);
}

static void fail(struct callout *callout, int result)
{
	timer_stop(&callout->timer);
	if (!callout->answered)
		callout->result = result;
	if (callout->stream) {
		stream_close(callout->stream);
		return;
	}
	if (callout->fd >= 0)
		close(callout->fd);
	callout->fd = -1;
	end(callout);
}

/* ---- the connection */

static void closed(struct stream *stream)
{
	struct callout *callout = stream_context(stream);

	callout->stream = NULL;
	callout->fd = -1;
	next_step(callout);
}

static void ended(struct stream *stream, int error)
{
	fail(stream_context(stream), error ? error : -ECONNRESET);
}

/* One fragment, one accepted reply. */
static bool understand(struct callout *callout, const uint8_t *data, size_t length)
{
	struct xdr_in in;
	uint32_t verifier;
	bool good;

	xdr_in_init(&in, data, length);
	good = xdr_get_u32(&in) == callout->xid && xdr_get_u32(&in) == RPC_REPLY &&
	       xdr_get_u32(&in) == 0;
	xdr_get_u32(&in);
	xdr_get_opaque(&in, 0, &verifier);
	good = good && xdr_get_u32(&in) == RPC_SUCCESS && !in.bad;
	if (!good || length > sizeof(callout->reply))
		return false;
	memcpy(callout->reply, data, length);
	callout->reply_length = length;
	return true;
}

static size_t received(struct stream *stream, const void *data, size_t length)
{
	struct callout *callout = stream_context(stream);
	uint32_t mark, fragment;

	if (length < RPC_MARK_LENGTH)
		return 0;
	memcpy(&mark, data, sizeof(mark));
	mark = be32toh(mark);
	fragment = mark & ~RPC_MARK_LAST;
	if (!(mark & RPC_MARK_LAST) || fragment > CALLOUT_REPLY_MAX) {
		fail(callout, -EBADMSG);
		return length;
	}
	if (length < RPC_MARK_LENGTH + fragment)
		return 0;
	callout->answered = understand(callout, (const uint8_t *)data + RPC_MARK_LENGTH, fragment);
	callout->result = callout->answered ? 0 : -EBADMSG;
	fail(callout, -EBADMSG);
	return length;
}

static const struct stream_handlers handlers = {
    .received = received,
    .ended = ended,
    .closed = closed,
};

static void sent(struct stream_send *send, int result)
{
	(void)send;
	(void)result;
}

static void put_credential(struct xdr_out *out, bool as_root)
{
	xdr_put_u32(out, as_root ? RPC_AUTH_SYS : RPC_AUTH_NONE);
	xdr_put_u32(out, as_root ? 20 : 0);
	for (unsigned i = 0; as_root && i < 5; i++) /* stamp, no name, uid, gid, no groups */
		xdr_put_u32(out, 0);
	xdr_put_u32(out, RPC_AUTH_NONE); /* verifier */
	xdr_put_u32(out, 0);
}

static void put_call(struct callout *callout, struct xdr_out *out)
{
	bool asking = callout->port == 0;

	xdr_put_room(out, RPC_MARK_LENGTH);
	xdr_put_u32(out, callout->xid);
	xdr_put_u32(out, RPC_CALL);
	xdr_put_u32(out, RPC_VERSION);
	xdr_put_u32(out, asking ? (uint32_t)RPC_PORTMAP : callout->program);
	xdr_put_u32(out, asking ? 2 : callout->version);
	xdr_put_u32(out, asking ? 3 : callout->procedure);
	put_credential(out, callout->as_root && !asking);
	if (!asking) {
		xdr_put_fixed(out, callout->arguments, callout->length);
		return;
	}
	xdr_put_u32(out, callout->program);
	xdr_put_u32(out, callout->version);
	xdr_put_u32(out, PROTOCOL_TCP);
	xdr_put_u32(out, 0);
}

static void connected(struct callout *callout)
{
	struct xdr_out out;
	struct err err = {0};
	int result =
	    stream_attach(callout->loop, callout->fd, &handlers, callout, &callout->stream, &err);

	if (result < 0) {
		fail(callout, result);
		return;
	}
	loop_random(callout->loop, &callout->xid, sizeof(callout->xid));
	xdr_out_init(&out, callout->record, sizeof(callout->record));
	put_call(callout, &out);
	xdr_patch_u32(&out, 0, RPC_MARK_LAST | (uint32_t)(xdr_length(&out) - RPC_MARK_LENGTH));
	memset(&callout->send, 0, sizeof(callout->send));
	callout->send.iov[0] = (struct iovec){out.base, xdr_length(&out)};
	callout->send.done = sent;
	stream_send(callout->stream, &callout->send);
	timer_start(&callout->timer, LIMIT_NS);
}

static void ask(struct timer *timer)
{
	struct callout *callout = container_of(timer, struct callout, timer);
	struct sockaddr_storage peer;
	socklen_t length;

	if (callout->fd < 0 || callout->stream || loop_now(callout->loop) > callout->deadline) {
		fail(callout, callout->fd < 0 ? -EMFILE : -ETIMEDOUT);
		return;
	}
	length = make_address(&callout->peer, callout->port ? callout->port : PORTMAP_PORT, &peer);
	if (connect(callout->fd, (struct sockaddr *)&peer, length) == 0 || errno == EISCONN)
		connected(callout);
	else if (errno == EINPROGRESS || errno == EALREADY)
		timer_start(timer, ASK_NS);
	else
		fail(callout, -errno);
}

static void begin(struct callout *callout)
{
	struct sockaddr_storage local;
	socklen_t length;

	callout->answered = false;
	callout->fd = socket(callout->peer.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (callout->fd >= 0 && callout->local.family == callout->peer.family) {
		length = make_address(&callout->local, 0, &local);
		/* Where it can not be bound any more the kernel chooses. */
		if (bind(callout->fd, (struct sockaddr *)&local, length) < 0)
			callout->local.family = AF_UNSPEC;
	}
	timer_start(&callout->timer, 0);
}

void callout_start(struct callout *callout)
{
	callout->port = callout->known_port;
	callout->stream = NULL;
	callout->result = 0;
	callout->active = true;
	callout->deadline = loop_now(callout->loop) + LIMIT_NS;
	timer_init(&callout->timer, callout->loop, ask);
	begin(callout);
}

void callout_cancel(struct callout *callout)
{
	if (callout->active)
		fail(callout, -ECANCELED);
}
