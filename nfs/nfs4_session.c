/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_session.c: the operations of clients and sessions (RFC 8881 18.33 to 18.37, 18.46, 18.50,
 * 18.51; RFC 7530 16.28, 16.33, 16.34). */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "nfs/nfs4_state.h"

#define EXCHGID_UPDATE       0x40000000u
#define EXCHGID_CONFIRMED    0x80000000u
#define EXCHGID_KNOWN        0x40070103u /* flags a client may set */
#define EXCHGID_USE_NON_PNFS 0x00010000u
#define CHANNEL_MIN          128u
#define BACK_MIN             512u /* bytes of a call to a client, and of its answer */
#define SESSION_BACK         2u   /* CREATE_SESSION4_FLAG_CONN_BACK_CHAN */
#define SESSION_FLAGS        7u
#define RPC_GSS              6u
#define ADDRESS_MAX          64u

/* Who we are: the same after a restart, or clients do not claim what they had. */
static void put_server_owner(struct nfs_call *call)
{
	const uint8_t *identity = call->conn->server->options.identity;

	xdr_put_u64(&call->out, 0); /* minor id */
	xdr_put_opaque(&call->out, identity, NFS_IDENTITY);
	xdr_put_opaque(&call->out, identity, NFS_IDENTITY); /* scope */
	xdr_put_u32(&call->out, 0);                         /* no implementation id */
}

/* state_protect_how4. A machine's credential is one of RPCSEC_GSS, which nobody has here, and of
 * the algorithms of SP4_SSV there is none (RFC 8881 18.35.3). */
static int check_protection(uint32_t how)
{
	enum { NONE, MACHINE_CREDENTIAL, SECRET };

	return how == NONE                 ? NFS4_OK
	       : how == MACHINE_CREDENTIAL ? NFS4ERR_INVAL
	       : how == SECRET             ? NFS4ERR_ENCR_ALG_UNSUPP
					   : NFS4ERR_BADXDR;
}

int nfs4_op_exchange_id(struct nfs_call *call)
{
	struct nfs4_exchange exchange = {0};
	const uint8_t *verifier = xdr_get_fixed(&call->in, 8);
	uint32_t flags, count, length;
	int status;

	exchange.owner = xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &exchange.owner_length);
	flags = xdr_get_u32(&call->in);
	status = check_protection(xdr_get_u32(&call->in));
	if (!call->in.bad && status != NFS4_OK)
		return status;
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
	exchange.peer = call->conn->address;
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

static void get_sys(struct xdr_in *in, struct nfs4_back_how *how)
{
	uint32_t uid, gid, groups, length;

	xdr_get_u32(in); /* stamp */
	xdr_get_opaque(in, RPC_MACHINE_MAX, &length);
	uid = xdr_get_u32(in);
	gid = xdr_get_u32(in);
	groups = xdr_get_u32(in);
	in->bad = in->bad || groups > RPC_GROUPS_MAX;
	xdr_get_fixed(in, groups > RPC_GROUPS_MAX ? 0 : 4ull * groups);
	if (how->usable && how->flavor == RPC_AUTH_SYS)
		return;
	how->usable = true;
	how->flavor = RPC_AUTH_SYS;
	how->uid = uid;
	how->gid = gid;
}

/* callback_sec_parms4<>: whom the client takes calls from. AUTH_SYS if it lets us. */
static void get_callback(struct xdr_in *in, struct nfs4_back_how *how)
{
	uint32_t count, length;

	*how = (struct nfs4_back_how){.program = xdr_get_u32(in)};
	count = xdr_get_u32(in);
	for (uint32_t i = 0; i < count && !in->bad; i++) {
		switch (xdr_get_u32(in)) {
		case RPC_AUTH_NONE:
			how->usable = true;
			break;
		case RPC_AUTH_SYS:
			get_sys(in, how);
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

/* Is there room for our calls? */
static bool fits(const struct nfs4_channel *back)
{
	return back->request >= BACK_MIN && back->reply >= BACK_MIN && back->operations >= 2 &&
	       back->requests >= 1;
}

int nfs4_op_create_session(struct nfs_call *call)
{
	struct nfs4_session_args args = {.client = xdr_get_u64(&call->in)};
	struct nfs4_channel *fore = &args.fore, *back = &args.back;
	uint32_t flags;
	int status;

	args.sequence = xdr_get_u32(&call->in);
	flags = xdr_get_u32(&call->in);
	get_channel(&call->in, fore);
	get_channel(&call->in, back);
	get_callback(&call->in, &args.how);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (flags & ~SESSION_FLAGS)
		return NFS4ERR_INVAL;
	if (fore->request < CHANNEL_MIN || fore->reply < CHANNEL_MIN || fore->operations < 2 ||
	    fore->requests == 0)
		return NFS4ERR_TOOSMALL;
	/* None at all is fine: then nothing is delegated. */
	if ((back->request && back->request < CHANNEL_MIN) || back->operations == 1)
		return NFS4ERR_TOOSMALL;
	args.back_fits = fits(back);
	args.how.usable = args.how.usable && args.back_fits;
	args.bind_back = flags & SESSION_BACK;
	status = nfs4_create_session(call, &args);
	if (status != NFS4_OK)
		return status;
	xdr_put_fixed(&call->out, args.session, sizeof(args.session));
	xdr_put_u32(&call->out, args.sequence);
	xdr_put_u32(&call->out, args.bind_back ? SESSION_BACK : 0); /* never persistent */
	put_channel(&call->out, fore);
	put_channel(&call->out, back);
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
	return nfs4_destroy_session(call, id);
}

int nfs4_op_destroy_clientid(struct nfs_call *call)
{
	uint64_t client = xdr_get_u64(&call->in);

	return call->in.bad ? NFS4ERR_BADXDR : nfs4_destroy_clientid(nfs4_server_of(call), client);
}

/* Any connection may carry any session's requests; calls to the client those that are bound so. */
int nfs4_op_bind_conn(struct nfs_call *call)
{
	enum { FORE = 1, BACK = 2, FORE_OR_BOTH = 3, BACK_OR_BOTH = 7, BOTH = 3 };
	const uint8_t *id = xdr_get_fixed(&call->in, 16);
	uint32_t direction = xdr_get_u32(&call->in);
	bool back = direction != FORE;
	int status;

	xdr_get_bool(&call->in);
	if (call->in.bad || (direction != FORE && direction != BACK && direction != FORE_OR_BOTH &&
			     direction != BACK_OR_BOTH))
		return NFS4ERR_BADXDR;
	status = nfs4_bind_conn(call, id, &back);
	if (status != NFS4_OK)
		return status;
	if (direction == BACK && !back)
		return NFS4ERR_INVAL; /* the session can not be called over */
	xdr_put_fixed(&call->out, id, 16);
	xdr_put_u32(&call->out, direction == BACK ? BACK : back ? BOTH : FORE);
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
	xdr_put_u32(&call->out, sequence.flags);
	return NFS4_OK;
}

int nfs4_op_reclaim_complete(struct nfs_call *call)
{
	bool one_fs = xdr_get_bool(&call->in);

	return call->in.bad ? NFS4ERR_BADXDR : nfs4_reclaim_complete(call, one_fs);
}

/* From now on the client is called like this. What is already on its way goes as before. */
int nfs4_op_backchannel_ctl(struct nfs_call *call)
{
	struct nfs4_back_how how;

	get_callback(&call->in, &how);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (!how.usable) /* nothing but handles of RPCSEC_GSS, and there are none of those */
		return NFS4ERR_NOENT;
	nfs4_backchannel_ctl(call, &how);
	return NFS4_OK;
}

/* ---- v4.0 */

/* An address and its port, "127.0.0.1.8.1" or "::1.8.1" (RFC 5665 5.2.3.3, 5.2.3.4). */
static bool parse_universal(const uint8_t *text, uint32_t length, struct nfs_address *address)
{
	unsigned numbers[2] = {0}, dots = 0;
	char host[ADDRESS_MAX + 1];
	uint32_t at = length;

	while (at > 0 && dots < 2) {
		unsigned scale = 1, value = 0;

		for (; at > 0 && text[at - 1] >= '0' && text[at - 1] <= '9' && scale <= 100;
		     at--, scale *= 10)
			value += (text[at - 1] - '0') * scale;
		if (scale == 1 || value > 255 || at == 0 || text[at - 1] != '.')
			return false;
		numbers[dots++] = value;
		at--;
	}
	if (dots < 2 || at == 0 || at > ADDRESS_MAX)
		return false;
	memcpy(host, text, at);
	host[at] = '\0';
	memset(address, 0, sizeof(*address));
	address->family = memchr(host, ':', at) ? AF_INET6 : AF_INET;
	address->port = (uint16_t)(numbers[1] << 8 | numbers[0]);
	return address->port && inet_pton(address->family, host, address->bytes) == 1;
}

/* cb_client4. Only the host that asks is called: nobody makes us connect to others. One that came
 * in TLS is not: the call would be in clear. */
static void get_target(struct nfs_call *call, struct nfs4_target *target)
{
	const struct nfs_address *asking = &call->conn->address;
	uint32_t netid, length;
	const uint8_t *text;

	memset(target, 0, sizeof(*target));
	target->program = xdr_get_u32(&call->in);
	xdr_get_opaque(&call->in, 256, &netid);
	text = xdr_get_opaque(&call->in, 256, &length);
	target->ident = xdr_get_u32(&call->in);
	if (call->in.bad || call->conn->secure || !parse_universal(text, length, &target->peer) ||
	    target->peer.family != asking->family ||
	    memcmp(target->peer.bytes, asking->bytes, sizeof(asking->bytes)) != 0)
		target->peer.family = AF_UNSPEC;
	if (!nfs_address_from((struct sockaddr *)&call->conn->local, &target->local))
		target->local.family = AF_UNSPEC;
}

/* client_using: a failure with results. */
static int in_use(struct nfs_call *call, const struct nfs_address *using)
{
	char host[INET6_ADDRSTRLEN] = "0.0.0.0", text[INET6_ADDRSTRLEN + 8];

	inet_ntop(using->family, using->bytes, host, sizeof(host));
	snprintf(text, sizeof(text), "%s.%u.%u", host, using->port >> 8, using->port & 0xffu);
	xdr_put_string(&call->out, using->family == AF_INET6 ? "tcp6" : "tcp");
	xdr_put_string(&call->out, text);
	call->compound.keep_body = true;
	return NFS4ERR_CLID_INUSE;
}

int nfs4_op_setclientid(struct nfs_call *call)
{
	struct nfs4_exchange exchange = {0};
	struct nfs4_target target;
	const uint8_t *verifier = xdr_get_fixed(&call->in, 8);
	uint8_t confirm[8];
	int status;

	exchange.owner = xdr_get_opaque(&call->in, NFS4_OWNER_MAX, &exchange.owner_length);
	get_target(call, &target);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	memcpy(exchange.verifier, verifier, 8);
	exchange.principal = nfs4_principal_of(call);
	exchange.peer = call->conn->address;
	status = nfs4_set_clientid(nfs4_server_of(call), &exchange, &target, confirm,
				   nfs_call_now(call));
	if (status == NFS4ERR_CLID_INUSE)
		return in_use(call, &exchange.peer);
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
