/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_back.c: calls to clients. A call belongs to the loop it is made on: that of the connection
 * (v4.1), or the first I/O loop (v4.0, callout.c); what comes of it is noted under the lock.
 *
 *   nfs4_back_call() -> post -> run() -> sent, answered | timed out | connection gone -> end()
 *
 * A call is found again by its transaction id; a session and a connection of it are looked up anew
 * at each step, as either may have gone. */
#include "nfs/nfs4_back.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/callout.h"
#include "nfs/nfs4_deleg.h"
#include "nfs/nfs4_offload.h"

#define CB_VERSION     1u
#define CB_OP_RECALL   4u
#define CB_OP_SEQUENCE 11u
#define CB_OP_OFFLOAD  15u
#define RECORD_MAX     448u
#define AUTH_SYS_BODY  28u

#define SEQ4_CB_PATH_DOWN         0x001u
#define SEQ4_RECALLABLE_REVOKED   0x040u
#define SEQ4_CB_PATH_DOWN_SESSION 0x200u

struct back_call {
	struct list link; /* the connection's, or nfs4->callouts */
	struct nfs4_server *nfs4;
	struct loop *loop;
	struct message message;
	struct nfs4_back_about about;
	uint64_t client;
	uint32_t xid;
	int result;
	uint32_t status;
	/* v4.1 */
	struct nfs_conn *conn; /* known by its address only, until it is found in the session */
	uint8_t session[16];
	uint32_t slot, sequence; /* sequence 0: none */
	bool spent;              /* the client has seen the number */
	bool sending, ended;
	struct stream_send send;
	struct timer timer;
	size_t length;
	uint8_t record[RECORD_MAX];
	/* v4.0 */
	struct callout *callout;
};

/* ---- paths */

uint32_t nfs4_back_flags(const struct nfs4_session *session)
{
	const struct nfs4_client *client = session->client;
	uint32_t flags = client->revoked ? SEQ4_RECALLABLE_REVOKED : 0;
	bool bound = false;

	if (!session->back.wanted)
		return flags;
	for (unsigned i = 0; i < NFS4_BACK_CONNS; i++)
		bound = bound || session->back.conns[i].conn;
	if (client->path == NFS4_PATH_DOWN)
		flags |= SEQ4_CB_PATH_DOWN;
	return bound ? flags : flags | SEQ4_CB_PATH_DOWN_SESSION;
}

void nfs4_back_judge(struct nfs4_server *nfs4, struct nfs4_client *client)
{
	bool wanted = false, bound = false, good = false;

	if (client->minor == 0)
		return;
	for (unsigned i = 0; i < NFS4_SESSIONS_MAX; i++) {
		const struct nfs4_session *session = nfs4->sessions[i];

		if (!session || session->client != client)
			continue;
		wanted = wanted || session->back.wanted;
		for (unsigned k = 0; k < NFS4_BACK_CONNS; k++) {
			bound = bound || session->back.conns[k].conn;
			good = good || session->back.conns[k].good;
		}
	}
	client->path = good     ? NFS4_PATH_UP
		       : bound  ? NFS4_PATH_ASKED
		       : wanted ? NFS4_PATH_DOWN
				: NFS4_PATH_NONE;
}

/* Where @conn stands in the session, NFS4_BACK_CONNS: nowhere. NULL: a free place. */
static unsigned place_of(const struct nfs4_session *session, const struct nfs_conn *conn)
{
	unsigned i = 0;

	while (i < NFS4_BACK_CONNS && session->back.conns[i].conn != conn)
		i++;
	return i;
}

static void unbind(struct nfs4_session *session, const struct nfs_conn *conn)
{
	unsigned place = place_of(session, conn);

	if (place == NFS4_BACK_CONNS)
		return;
	session->back.conns[place].conn = NULL;
	session->back.conns[place].good = false;
}

/* ---- the end of a call */

static void stopped(struct message *message)
{
	struct nfs4_server *nfs4 = container_of(message, struct nfs4_server, back_stopped_message);

	nfs4->back_stopped(nfs4->server);
}

/* Under the lock. */
static void stop_if_quiet(struct nfs4_server *nfs4)
{
	if (nfs4->back_end != NFS4_BACK_CANCELLED || nfs4->back_calls)
		return;
	nfs4->back_end = NFS4_BACK_OVER;
	loop_post(nfs4->server->options.control, &nfs4->back_stopped_message, stopped);
}

/* A slot whose call was not answered is used for the same number again: either the client has not
 * seen it, or it says that it has, and the number is spent. */
static void free_slot(struct nfs4_session *session, const struct back_call *call)
{
	if (!call->sequence)
		return;
	session->back.slots[call->slot].busy = false;
	if (call->spent)
		session->back.slots[call->slot].sequence = call->sequence;
}

static void note_path(struct nfs4_server *nfs4, struct nfs4_client *client,
		      const struct back_call *call)
{
	struct nfs4_session *session;
	unsigned place;

	if (client->minor == 0) {
		client->calling--;
		client->path = call->result == 0 ? NFS4_PATH_UP : NFS4_PATH_DOWN;
		return;
	}
	session = nfs4_session_by_id(nfs4, call->session);
	if (!session)
		return;
	free_slot(session, call);
	place = place_of(session, call->conn);
	if (place < NFS4_BACK_CONNS && call->result == 0) {
		session->back.conns[place].good = true;
		call->conn->back_client = client->id;
	} else {
		unbind(session, call->conn);
	}
	nfs4_back_judge(nfs4, client);
}

static void note_end(struct back_call *call)
{
	struct nfs4_server *nfs4 = call->nfs4;
	uint64_t now = loop_now(call->loop);
	struct nfs4_client *client;

	pthread_mutex_lock(&nfs4->lock);
	client = nfs4_client_by_id(nfs4, call->client);
	if (client)
		note_path(nfs4, client, call);
	if (call->about.kind == NFS4_BACK_RECALL)
		nfs4_recall_answered(nfs4, &call->about, call->result, call->status, now);
	if (call->about.kind == NFS4_BACK_OFFLOAD)
		nfs4_copy_told(nfs4, &call->about, call->result, call->status);
	nfs4->back_calls--;
	if (client && client->path == NFS4_PATH_UP)
		nfs4_recall_again(nfs4, client, now);
	stop_if_quiet(nfs4);
	pthread_mutex_unlock(&nfs4->lock);
}

static void free_call(struct back_call *call)
{
	if (call->sending || !call->ended)
		return;
	heap_free(call->callout);
	heap_free(call);
}

static void end(struct back_call *call, int result)
{
	list_remove(&call->link);
	timer_stop(&call->timer);
	call->result = result;
	note_end(call);
	call->ended = true;
	free_call(call);
}

/* ---- what a client answers */

/* What CB_SEQUENCE said. A number that was spent already was so on a call whose answer was lost. */
static int understand_sequence(struct back_call *call, uint32_t status)
{
	call->spent = status != NFS4ERR_DELAY;
	if (status == NFS4_OK)
		return 0;
	call->status = NFS4ERR_DELAY;
	return status == NFS4ERR_DELAY || status == NFS4ERR_RETRY_UNCACHED_REP ||
		       status == NFS4ERR_SEQ_MISORDERED || status == NFS4ERR_SEQ_FALSE_RETRY
		   ? 0
		   : -EPROTO;
}

/* CB_COMPOUND4res: its status is that of the last operation. */
static int understand(struct back_call *call, struct xdr_in *in)
{
	uint32_t length, count, first;

	if (call->about.kind == NFS4_BACK_PROBE)
		return 0;
	call->status = first = xdr_get_u32(in);
	xdr_get_opaque(in, NFS4_TAG_MAX, &length);
	count = xdr_get_u32(in);
	if (call->sequence && count) {
		xdr_get_u32(in);
		first = xdr_get_u32(in);
	}
	if (in->bad)
		return -EBADMSG;
	return call->sequence ? understand_sequence(call, first) : 0;
}

static struct back_call *call_by_xid(struct nfs_conn *conn, uint32_t xid)
{
	list_for_each (it, &conn->back_calls) {
		struct back_call *call = list_entry(it, struct back_call, link);

		if (call->xid == xid)
			return call;
	}
	return NULL;
}

/* One that nobody waits for (any more) is passed over. */
void nfs4_back_answer(struct nfs_conn *conn, const uint8_t *record, size_t length)
{
	uint32_t kind, denied, verifier, state;
	struct back_call *call;
	struct xdr_in in;

	xdr_in_init(&in, record, length);
	call = call_by_xid(conn, xdr_get_u32(&in));
	kind = xdr_get_u32(&in);
	denied = xdr_get_u32(&in);
	xdr_get_u32(&in);
	xdr_get_opaque(&in, RPC_AUTH_MAX, &verifier);
	state = xdr_get_u32(&in);
	if (call && (in.bad || kind != RPC_REPLY || denied || state != RPC_SUCCESS))
		end(call, -EPROTO);
	else if (call)
		end(call, understand(call, &in));
}

void nfs4_back_conn_gone(struct nfs_conn *conn)
{
	struct nfs4_server *nfs4 = conn->server->nfs4;

	while (!list_empty(&conn->back_calls))
		end(list_entry(conn->back_calls.next, struct back_call, link), -ECONNRESET);
	if (!conn->back_bound && !conn->fore_bound)
		return;
	pthread_mutex_lock(&nfs4->lock);
	for (unsigned i = 0; i < NFS4_SESSIONS_MAX; i++) {
		struct nfs4_session *session = nfs4->sessions[i];

		if (!session)
			continue;
		nfs4_session_leave(session, conn);
		if (place_of(session, conn) == NFS4_BACK_CONNS)
			continue;
		unbind(session, conn);
		nfs4_back_judge(nfs4, session->client);
	}
	pthread_mutex_unlock(&nfs4->lock);
}

/* ---- arguments */

static void put_recall(struct xdr_out *out, const struct nfs4_back_about *about)
{
	xdr_put_u32(out, CB_OP_RECALL);
	xdr_put_u32(out, about->stateid.seqid);
	xdr_put_fixed(out, about->stateid.other, sizeof(about->stateid.other));
	xdr_put_bool(out, false); /* it is not about to be truncated */
	xdr_put_opaque(out, about->handle.bytes, about->handle.length);
}

/* write_response4, or how far it came. */
static void put_offload(struct xdr_out *out, const struct nfs4_back_about *about)
{
	xdr_put_u32(out, CB_OP_OFFLOAD);
	xdr_put_opaque(out, about->handle.bytes, about->handle.length);
	xdr_put_u32(out, about->stateid.seqid);
	xdr_put_fixed(out, about->stateid.other, sizeof(about->stateid.other));
	xdr_put_u32(out, about->status);
	if (about->status == NFS4_OK)
		xdr_put_u32(out, 0); /* no call-back id any more */
	xdr_put_u64(out, about->count);
	if (about->status != NFS4_OK)
		return;
	xdr_put_u32(out, VFS_UNSTABLE);
	xdr_put_u64(out, about->verifier);
}

static void (*const put_operation[NFS4_BACK_KINDS])(struct xdr_out *out,
						    const struct nfs4_back_about *about) = {
    [NFS4_BACK_RECALL] = put_recall,
    [NFS4_BACK_OFFLOAD] = put_offload,
};

static void put_sequence(struct xdr_out *out, const struct back_call *call, uint32_t highest)
{
	xdr_put_u32(out, CB_OP_SEQUENCE);
	xdr_put_fixed(out, call->session, sizeof(call->session));
	xdr_put_u32(out, call->sequence);
	xdr_put_u32(out, call->slot);
	xdr_put_u32(out, highest);
	xdr_put_bool(out, false); /* nor is the reply to be kept */
	xdr_put_u32(out, 0);      /* referring calls */
}

static void put_compound(struct xdr_out *out, const struct back_call *call, uint32_t minor,
			 uint32_t ident, uint32_t highest)
{
	xdr_put_u32(out, 0); /* tag */
	xdr_put_u32(out, minor);
	xdr_put_u32(out, ident);
	xdr_put_u32(out, minor ? 2 : 1);
	if (minor)
		put_sequence(out, call, highest);
	put_operation[call->about.kind](out, &call->about);
}

static void put_credential(struct xdr_out *out, const struct nfs4_back_how *how)
{
	xdr_put_u32(out, how->flavor);
	if (how->flavor == RPC_AUTH_SYS) {
		xdr_put_u32(out, AUTH_SYS_BODY);
		xdr_put_u32(out, 0); /* stamp */
		xdr_put_string(out, "granary");
		xdr_put_u32(out, how->uid);
		xdr_put_u32(out, how->gid);
		xdr_put_u32(out, 0);
	} else {
		xdr_put_u32(out, 0);
	}
	xdr_put_u32(out, RPC_AUTH_NONE); /* verifier */
	xdr_put_u32(out, 0);
}

/* ---- v4.1: over a connection of the session */

static void sent(struct stream_send *send, int result)
{
	struct back_call *call = container_of(send, struct back_call, send);

	(void)result; /* a connection that fails ends its calls */
	call->sending = false;
	free_call(call);
}

static void timed_out(struct timer *timer)
{
	end(container_of(timer, struct back_call, timer), -ETIMEDOUT);
}

/* The connection, if it still is one of the session's; then it is this loop's. */
static bool is_bound(struct back_call *call)
{
	struct nfs4_server *nfs4 = call->nfs4;
	const struct nfs4_session *session;
	bool bound;

	pthread_mutex_lock(&nfs4->lock);
	session = nfs4->back_end ? NULL : nfs4_session_by_id(nfs4, call->session);
	bound = session && place_of(session, call->conn) < NFS4_BACK_CONNS &&
		call->conn->io->loop == call->loop;
	pthread_mutex_unlock(&nfs4->lock);
	return bound;
}

static void run(struct message *message)
{
	struct back_call *call = container_of(message, struct back_call, message);

	timer_init(&call->timer, call->loop, timed_out);
	list_init(&call->link);
	if (!is_bound(call) || call->conn->state != NFS_CONN_OPEN || call->conn->stream_closed) {
		end(call, -ENOTCONN);
		return;
	}
	list_push_back(&call->conn->back_calls, &call->link);
	call->send.iov[0] = (struct iovec){call->record, call->length};
	call->send.done = sent;
	call->sending = true;
	timer_start(&call->timer, NFS4_BACK_NS);
	nfs_conn_push(call->conn, &call->send);
}

static void put_record(struct back_call *call, const struct nfs4_session *session)
{
	const struct nfs4_back_how *how = &session->back.how;
	struct xdr_out out;

	xdr_out_init(&out, call->record, sizeof(call->record));
	xdr_put_room(&out, RPC_MARK_LENGTH);
	xdr_put_u32(&out, call->xid);
	xdr_put_u32(&out, RPC_CALL);
	xdr_put_u32(&out, RPC_VERSION);
	xdr_put_u32(&out, how->program);
	xdr_put_u32(&out, CB_VERSION);
	xdr_put_u32(&out, call->about.kind == NFS4_BACK_PROBE ? 0 : 1);
	put_credential(&out, how);
	if (call->about.kind != NFS4_BACK_PROBE)
		put_compound(&out, call, session->minor, 0, session->back.slot_count - 1);
	call->length = xdr_length(&out);
	xdr_patch_u32(&out, 0, RPC_MARK_LAST | (uint32_t)(call->length - RPC_MARK_LENGTH));
}

static struct back_call *new_call(struct nfs4_server *nfs4, const struct nfs4_client *client,
				  const struct nfs4_back_about *about)
{
	struct back_call *call;

	if (nfs4->back_end || nfs4->back_calls >= NFS4_BACK_CALLS_MAX ||
	    !(call = heap_zalloc(sizeof(*call))))
		return NULL;
	call->nfs4 = nfs4;
	call->client = client->id;
	call->about = *about;
	call->xid = ++nfs4->back_xid;
	nfs4->back_calls++;
	return call;
}

static bool call_over(struct nfs4_server *nfs4, struct nfs4_session *session, struct nfs_conn *conn,
		      const struct nfs4_back_about *about, uint32_t slot)
{
	struct back_call *call = new_call(nfs4, session->client, about);

	if (!call)
		return false;
	call->conn = conn;
	call->loop = conn->io->loop;
	nfs4_session_id(session, call->session);
	if (about->kind != NFS4_BACK_PROBE) {
		call->slot = slot;
		call->sequence = session->back.slots[slot].sequence + 1;
		if (call->sequence == 0)
			call->sequence = 1;
		session->back.slots[slot].busy = true;
	}
	put_record(call, session);
	loop_post(call->loop, &call->message, run);
	return true;
}

static bool call_session(struct nfs4_server *nfs4, struct nfs4_session *session,
			 const struct nfs4_back_about *about)
{
	uint32_t slot = 0;

	while (slot < session->back.slot_count && session->back.slots[slot].busy)
		slot++;
	if (slot == session->back.slot_count)
		return false;
	for (unsigned i = 0; i < NFS4_BACK_CONNS; i++)
		if (session->back.conns[i].good)
			return call_over(nfs4, session, session->back.conns[i].conn, about, slot);
	return false;
}

bool nfs4_back_bind(struct nfs4_session *session, struct nfs_conn *conn)
{
	static const struct nfs4_back_about probe = {.kind = NFS4_BACK_PROBE};
	struct nfs4_server *nfs4 = conn->server->nfs4;
	unsigned place = place_of(session, conn);

	if (!session->back.how.usable || session->back.slot_count == 0)
		return false;
	if (place < NFS4_BACK_CONNS)
		return true;
	place = place_of(session, NULL);
	if (place == NFS4_BACK_CONNS)
		return false;
	session->back.conns[place].conn = conn;
	session->back.conns[place].good = conn->back_client == session->client->id;
	session->back.wanted = conn->back_bound = true;
	if (!call_over(nfs4, session, conn, &probe, 0))
		unbind(session, conn);
	nfs4_back_judge(nfs4, session->client);
	return session->back.conns[place].conn == conn;
}

/* ---- v4.0: over a connection of its own */

static void called_out(struct callout *callout, int result, const uint8_t *results, size_t length)
{
	struct back_call *call = callout->context;
	struct xdr_in in;

	xdr_in_init(&in, results, length);
	end(call, result < 0 ? result : understand(call, &in));
}

static bool is_stopping(struct nfs4_server *nfs4)
{
	bool stopping;

	pthread_mutex_lock(&nfs4->lock);
	stopping = nfs4->back_end != NFS4_BACK_RUNS;
	pthread_mutex_unlock(&nfs4->lock);
	return stopping;
}

static void run_out(struct message *message)
{
	struct back_call *call = container_of(message, struct back_call, message);

	timer_init(&call->timer, call->loop, timed_out);
	list_push_back(&call->nfs4->callouts, &call->link);
	if (is_stopping(call->nfs4))
		end(call, -ECANCELED);
	else
		callout_start(call->callout);
}

static bool call_target(struct nfs4_server *nfs4, struct nfs4_client *client,
			const struct nfs4_back_about *about)
{
	struct callout *callout;
	struct back_call *call;
	struct xdr_out out;

	if (client->target.peer.family == AF_UNSPEC || client->calling >= NFS4_BACK_CALLS ||
	    !(callout = heap_zalloc(sizeof(*callout))))
		return false;
	call = new_call(nfs4, client, about);
	if (!call) {
		heap_free(callout);
		return false;
	}
	call->callout = callout;
	call->loop = nfs4->server->options.io_loops[0];
	callout->loop = call->loop;
	callout->context = call;
	callout->peer = client->target.peer;
	callout->local = client->target.local;
	callout->known_port = client->target.peer.port;
	callout->program = client->target.program;
	callout->version = CB_VERSION;
	callout->as_root = true;
	callout->procedure = about->kind == NFS4_BACK_PROBE ? 0 : 1;
	callout->done = called_out;
	xdr_out_init(&out, callout->arguments, sizeof(callout->arguments));
	if (about->kind != NFS4_BACK_PROBE)
		put_compound(&out, call, 0, client->target.ident, 0);
	callout->length = (uint32_t)xdr_length(&out);
	client->calling++;
	loop_post(call->loop, &call->message, run_out);
	return true;
}

void nfs4_back_probe(struct nfs4_server *nfs4, struct nfs4_client *client, uint64_t now)
{
	static const struct nfs4_back_about probe = {.kind = NFS4_BACK_PROBE};

	client->asked_ns = now;
	if (client->target.peer.family == AF_UNSPEC)
		client->path = NFS4_PATH_NONE;
	else if (call_target(nfs4, client, &probe) && client->path == NFS4_PATH_NONE)
		client->path = NFS4_PATH_ASKED;
}

bool nfs4_back_call(struct nfs4_server *nfs4, struct nfs4_client *client,
		    const struct nfs4_back_about *about)
{
	if (client->minor == 0)
		return call_target(nfs4, client, about);
	for (unsigned i = 0; i < NFS4_SESSIONS_MAX; i++)
		if (nfs4->sessions[i] && nfs4->sessions[i]->client == client &&
		    call_session(nfs4, nfs4->sessions[i], about))
			return true;
	return false;
}

/* ---- stopping */

static void cancel_all(struct message *message)
{
	struct nfs4_server *nfs4 = container_of(message, struct nfs4_server, back_stop_message);

	list_for_each_safe (it, &nfs4->callouts)
		callout_cancel(list_entry(it, struct back_call, link)->callout);
	pthread_mutex_lock(&nfs4->lock);
	nfs4->back_end = NFS4_BACK_CANCELLED;
	stop_if_quiet(nfs4);
	pthread_mutex_unlock(&nfs4->lock);
}

void nfs4_back_stop(struct nfs4_server *nfs4, void (*stopped)(struct nfs_server *server))
{
	pthread_mutex_lock(&nfs4->lock);
	nfs4->back_end = NFS4_BACK_STOPPING;
	nfs4->back_stopped = stopped;
	pthread_mutex_unlock(&nfs4->lock);
	loop_post(nfs4->server->options.io_loops[0], &nfs4->back_stop_message, cancel_all);
}
