/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_session.c: the operations of clients and sessions (RFC 8881 18.33 to 18.37, 18.46, 18.50,
 * 18.51; RFC 7530 16.28, 16.33, 16.34). There is no back channel: nothing is delegated, so nothing
 * is called back. */
#include <string.h>

#include "nfs/nfs4_state.h"

#define EXCHGID_UPDATE       0x40000000u
#define EXCHGID_CONFIRMED    0x80000000u
#define EXCHGID_KNOWN        0x40070103u /* flags a client may set */
#define EXCHGID_USE_NON_PNFS 0x00010000u
#define CHANNEL_MIN          128u
#define RPC_GSS              6u

/* Who we are: the same after a restart, or clients do not claim what they had. */
static void put_server_owner(struct nfs_call *call)
{
	const uint8_t *identity = call->conn->server->options.identity;

	xdr_put_u64(&call->out, 0); /* minor id */
	xdr_put_opaque(&call->out, identity, NFS_IDENTITY);
	xdr_put_opaque(&call->out, identity, NFS_IDENTITY); /* scope */
	xdr_put_u32(&call->out, 0);                         /* no implementation id */
}

/* Nobody's state protection but SP4_NONE. */
int nfs4_op_exchange_id(struct nfs_call *call)
{
	struct nfs4_exchange exchange = {0};
	const uint8_t *verifier = xdr_get_fixed(&call->in, 8);
	uint32_t flags, protect, count, length;
	int status;

	exchange.owner = xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &exchange.owner_length);
	flags = xdr_get_u32(&call->in);
	protect = xdr_get_u32(&call->in);
	if (!call->in.bad && protect != 0)
		return protect > 2 ? NFS4ERR_BADXDR : NFS4ERR_NOTSUPP;
	count = xdr_get_u32(&call->in);
	if (count > 1)
		return NFS4ERR_BADXDR;
	if (count == 1) {
		xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &length);
		xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &length);
		xdr_get_fixed(&call->in, 12);
	}
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (flags & ~EXCHGID_KNOWN)
		return NFS4ERR_INVAL;
	memcpy(exchange.verifier, verifier, 8);
	exchange.principal = nfs4_principal_of(call);
	exchange.minor = 1;
	exchange.update = flags & EXCHGID_UPDATE;
	status = nfs4_exchange_id(nfs4_server_of(call), &exchange, nfs_call_now(call));
	if (status != NFS4_OK)
		return status;
	xdr_put_u64(&call->out, exchange.id);
	xdr_put_u32(&call->out, exchange.sequence);
	xdr_put_u32(&call->out,
		    EXCHGID_USE_NON_PNFS | (exchange.confirmed ? EXCHGID_CONFIRMED : 0));
	xdr_put_u32(&call->out, 0); /* SP4_NONE */
	put_server_owner(call);
	return NFS4_OK;
}

static void get_channel(struct xdr_in *in, struct nfs4_channel *channel)
{
	uint32_t count;

	xdr_get_u32(in); /* header padding */
	channel->request = xdr_get_u32(in);
	channel->reply = xdr_get_u32(in);
	channel->cached = xdr_get_u32(in);
	channel->operations = xdr_get_u32(in);
	channel->requests = xdr_get_u32(in);
	count = xdr_get_u32(in);
	if (count > 1)
		in->bad = true;
	else if (count)
		xdr_get_u32(in);
}

static void put_channel(struct xdr_out *out, const struct nfs4_channel *channel)
{
	xdr_put_u32(out, 0);
	xdr_put_u32(out, channel->request);
	xdr_put_u32(out, channel->reply);
	xdr_put_u32(out, channel->cached);
	xdr_put_u32(out, channel->operations);
	xdr_put_u32(out, channel->requests);
	xdr_put_u32(out, 0);
}

static void skip_callback_security(struct xdr_in *in)
{
	uint32_t count = xdr_get_u32(in), length, groups;

	for (uint32_t i = 0; i < count && !in->bad; i++) {
		switch (xdr_get_u32(in)) {
		case RPC_AUTH_NONE:
			break;
		case RPC_AUTH_SYS:
			xdr_get_u32(in);
			xdr_get_opaque(in, RPC_MACHINE_MAX, &length);
			xdr_get_fixed(in, 8);
			groups = xdr_get_u32(in);
			in->bad = in->bad || groups > RPC_GROUPS_MAX;
			xdr_get_fixed(in, groups > RPC_GROUPS_MAX ? 0 : 4ull * groups);
			break;
		case RPC_GSS: /* service, handles of both sides */
			xdr_get_u32(in);
			xdr_get_opaque(in, RPC_AUTH_MAX, &length);
			xdr_get_opaque(in, RPC_AUTH_MAX, &length);
			break;
		default:
			in->bad = true;
		}
	}
}

int nfs4_op_create_session(struct nfs_call *call)
{
	uint64_t client = xdr_get_u64(&call->in);
	uint32_t sequence = xdr_get_u32(&call->in), flags = xdr_get_u32(&call->in);
	struct nfs4_channel fore, back;
	uint8_t id[16];
	int status;

	get_channel(&call->in, &fore);
	get_channel(&call->in, &back);
	xdr_get_u32(&call->in); /* callback program */
	skip_callback_security(&call->in);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (flags & ~7u)
		return NFS4ERR_INVAL;
	if (fore.request < CHANNEL_MIN || fore.reply < CHANNEL_MIN || fore.operations < 2 ||
	    fore.requests == 0)
		return NFS4ERR_TOOSMALL;
	/* Of the one that is not used: what could carry nothing; none at all is fine. */
	if ((back.request && back.request < CHANNEL_MIN) || back.operations == 1)
		return NFS4ERR_TOOSMALL;
	status = nfs4_create_session(call, client, sequence, &fore, id);
	if (status != NFS4_OK)
		return status;
	xdr_put_fixed(&call->out, id, sizeof(id));
	xdr_put_u32(&call->out, sequence);
	xdr_put_u32(&call->out, 0); /* neither persistent nor a back channel */
	put_channel(&call->out, &fore);
	put_channel(&call->out, &back);
	return NFS4_OK;
}

int nfs4_op_destroy_session(struct nfs_call *call)
{
	const uint8_t *id = xdr_get_fixed(&call->in, 16);

	if (call->in.bad)
		return NFS4ERR_BADXDR;
	/* Its own only at the end of a compound (RFC 8881 18.37.3). */
	if (call->compound.session && call->compound.index < call->compound.count &&
	    nfs4_session_is(nfs4_server_of(call), id, call->compound.session))
		return NFS4ERR_NOT_ONLY_OP;
	return nfs4_destroy_session(nfs4_server_of(call), id, call->compound.session);
}

int nfs4_op_destroy_clientid(struct nfs_call *call)
{
	uint64_t client = xdr_get_u64(&call->in);

	return call->in.bad ? NFS4ERR_BADXDR : nfs4_destroy_clientid(nfs4_server_of(call), client);
}

/* Any connection may carry any session's requests. */
int nfs4_op_bind_conn(struct nfs_call *call)
{
	const uint8_t *id = xdr_get_fixed(&call->in, 16);
	uint32_t direction = xdr_get_u32(&call->in);

	xdr_get_bool(&call->in);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (!nfs4_session_is(nfs4_server_of(call), id, NULL))
		return NFS4ERR_BADSESSION;
	if (direction == 2) /* the back channel alone */
		return NFS4ERR_INVAL;
	xdr_put_fixed(&call->out, id, 16);
	xdr_put_u32(&call->out, 1); /* fore */
	xdr_put_bool(&call->out, false);
	return NFS4_OK;
}

int nfs4_op_sequence(struct nfs_call *call)
{
	struct nfs4_sequence sequence;
	const uint8_t *id = xdr_get_fixed(&call->in, 16);
	int status;

	sequence.sequence = xdr_get_u32(&call->in);
	sequence.slot = xdr_get_u32(&call->in);
	xdr_get_u32(&call->in); /* the client's highest slot: we keep what we have given */
	sequence.cache_this = xdr_get_bool(&call->in);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	memcpy(sequence.session, id, 16);
	status = nfs4_slot_take(call, &sequence, nfs_call_now(call));
	if (status == NFS4_PENDING) { /* a retry: the whole answer is there */
		nfs_call_reply(call);
		return NFS4_PENDING;
	}
	if (status != NFS4_OK)
		return status;
	xdr_put_fixed(&call->out, id, 16);
	xdr_put_u32(&call->out, sequence.sequence);
	xdr_put_u32(&call->out, sequence.slot);
	xdr_put_u32(&call->out, sequence.highest_slot);
	xdr_put_u32(&call->out, sequence.highest_slot);
	xdr_put_u32(&call->out, 0); /* status flags */
	return NFS4_OK;
}

int nfs4_op_reclaim_complete(struct nfs_call *call)
{
	bool one_fs = xdr_get_bool(&call->in);

	return call->in.bad ? NFS4ERR_BADXDR : nfs4_reclaim_complete(call, one_fs);
}

/* There is no back channel that it could be about, but nothing wrong with saying so. */
int nfs4_op_backchannel_ctl(struct nfs_call *call)
{
	xdr_get_u32(&call->in); /* callback program */
	skip_callback_security(&call->in);
	return call->in.bad ? NFS4ERR_BADXDR : NFS4_OK;
}

/* ---- v4.0 */

int nfs4_op_setclientid(struct nfs_call *call)
{
	struct nfs4_exchange exchange = {0};
	const uint8_t *verifier = xdr_get_fixed(&call->in, 8);
	uint8_t confirm[8];
	uint32_t length;
	int status;

	exchange.owner = xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &exchange.owner_length);
	xdr_get_u32(&call->in); /* callback: program, netid, address, ident; never called */
	xdr_get_opaque(&call->in, 256, &length);
	xdr_get_opaque(&call->in, 256, &length);
	xdr_get_u32(&call->in);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	memcpy(exchange.verifier, verifier, 8);
	exchange.principal = nfs4_principal_of(call);
	status = nfs4_set_clientid(nfs4_server_of(call), &exchange, confirm, nfs_call_now(call));
	if (status != NFS4_OK)
		return status;
	xdr_put_u64(&call->out, exchange.id);
	xdr_put_fixed(&call->out, confirm, sizeof(confirm));
	return NFS4_OK;
}

int nfs4_op_setclientid_confirm(struct nfs_call *call)
{
	uint64_t id = xdr_get_u64(&call->in);
	const uint8_t *confirm = xdr_get_fixed(&call->in, 8);

	return call->in.bad ? NFS4ERR_BADXDR : nfs4_confirm_clientid(call, id, confirm);
}

int nfs4_op_renew(struct nfs_call *call)
{
	uint64_t id = xdr_get_u64(&call->in);

	return call->in.bad ? NFS4ERR_BADXDR
			    : nfs4_renew(nfs4_server_of(call), id, nfs_call_now(call));
}
