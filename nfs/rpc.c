/* SPDX-License-Identifier: Apache-2.0 */
#include "nfs/rpc.h"

#include <errno.h>
#include <string.h>

enum { MSG_ACCEPTED = 0, MSG_DENIED = 1 };
enum { RPC_MISMATCH = 0, AUTH_ERROR = 1 };

static void decode_sys(const uint8_t *body, uint32_t length, struct rpc_header *header)
{
	struct xdr_in in;
	const uint8_t *machine;

	xdr_in_init(&in, body, length);
	xdr_get_u32(&in); /* stamp */
	machine = xdr_get_opaque(&in, RPC_MACHINE_MAX, &header->machine_length);
	header->uid = xdr_get_u32(&in);
	header->gid = xdr_get_u32(&in);
	header->group_count = xdr_get_u32(&in);
	if (header->group_count > RPC_GROUPS_MAX)
		in.bad = true;
	for (uint32_t i = 0; !in.bad && i < header->group_count; i++)
		header->groups[i] = xdr_get_u32(&in);
	if (in.bad) {
		header->auth = RPC_AUTH_BADCRED;
		header->group_count = header->machine_length = 0;
		return;
	}
	memcpy(header->machine, machine, header->machine_length);
	header->machine[header->machine_length] = '\0';
}

static void decode_auth(struct xdr_in *in, struct rpc_header *header)
{
	const uint8_t *body;
	uint32_t length, verifier;

	header->flavor = xdr_get_u32(in);
	body = xdr_get_opaque(in, RPC_AUTH_MAX, &length);
	header->uid = header->gid = RPC_NOBODY;
	header->group_count = header->machine_length = 0;
	header->machine[0] = '\0';
	header->auth = RPC_AUTH_OK;
	verifier = xdr_get_u32(in); /* says nothing with AUTH_NONE and AUTH_SYS */
	if (header->flavor == RPC_AUTH_TLS)
		header->auth = length ? RPC_AUTH_BADCRED : RPC_AUTH_OK;
	else if (header->flavor > RPC_AUTH_SYS)
		header->auth = RPC_AUTH_BADCRED;
	else if (!in->bad && header->flavor == RPC_AUTH_SYS)
		decode_sys(body, length, header);
	xdr_get_opaque(in, RPC_AUTH_MAX, &length);
	if (header->flavor == RPC_AUTH_TLS && header->auth == RPC_AUTH_OK &&
	    (verifier != RPC_AUTH_NONE || length))
		header->auth = RPC_AUTH_BADVERF;
}

int rpc_header_decode(struct xdr_in *in, struct rpc_header *ret_header)
{
	ret_header->xid = xdr_get_u32(in);
	if (xdr_get_u32(in) != RPC_CALL)
		return -EBADMSG;
	ret_header->rpc_version = xdr_get_u32(in);
	if (in->bad)
		return -EBADMSG;
	if (ret_header->rpc_version != RPC_VERSION)
		return 0;
	ret_header->program = xdr_get_u32(in);
	ret_header->version = xdr_get_u32(in);
	ret_header->procedure = xdr_get_u32(in);
	decode_auth(in, ret_header);
	return in->bad ? -EBADMSG : 0;
}

static void put_head(struct xdr_out *out, uint32_t xid, uint32_t kind)
{
	xdr_put_u32(out, xid);
	xdr_put_u32(out, RPC_REPLY);
	xdr_put_u32(out, kind);
}

void rpc_put_accepted(struct xdr_out *out, uint32_t xid, enum rpc_accept state)
{
	put_head(out, xid, MSG_ACCEPTED);
	xdr_put_u32(out, RPC_AUTH_NONE);
	xdr_put_u32(out, 0);
	xdr_put_u32(out, state);
}

void rpc_put_starttls(struct xdr_out *out, uint32_t xid)
{
	put_head(out, xid, MSG_ACCEPTED);
	xdr_put_u32(out, RPC_AUTH_NONE);
	xdr_put_opaque(out, "STARTTLS", 8);
	xdr_put_u32(out, RPC_SUCCESS);
}

void rpc_put_program_mismatch(struct xdr_out *out, uint32_t xid, uint32_t low, uint32_t high)
{
	rpc_put_accepted(out, xid, RPC_PROG_MISMATCH);
	xdr_put_u32(out, low);
	xdr_put_u32(out, high);
}

void rpc_put_version_mismatch(struct xdr_out *out, uint32_t xid)
{
	put_head(out, xid, MSG_DENIED);
	xdr_put_u32(out, RPC_MISMATCH);
	xdr_put_u32(out, RPC_VERSION);
	xdr_put_u32(out, RPC_VERSION);
}

void rpc_put_auth_error(struct xdr_out *out, uint32_t xid, enum rpc_auth_stat why)
{
	put_head(out, xid, MSG_DENIED);
	xdr_put_u32(out, AUTH_ERROR);
	xdr_put_u32(out, why);
}

/* ---- where a WRITE's data is */

enum {
	NFS3_WRITE = 7,
	NFS4_COMPOUND = 1,
	NFS4_OP_PUTFH = 22,
	NFS4_OP_WRITE = 38,
	NFS4_OP_SEQUENCE = 53
};

static bool skip_to_write3(struct xdr_in *in)
{
	uint32_t length;

	xdr_get_opaque(in, 64, &length);
	xdr_get_fixed(in, 8 + 4 + 4); /* offset, count, stable */
	return !in->bad;
}

static bool skip_to_write4(struct xdr_in *in)
{
	uint32_t length, op;

	xdr_get_opaque(in, RPC_PAYLOAD_BEFORE, &length); /* tag */
	xdr_get_u32(in);                                 /* minor version */
	if (xdr_get_u32(in) < 2)
		return false;
	op = xdr_get_u32(in);
	if (op == NFS4_OP_SEQUENCE) {
		xdr_get_fixed(in, 16 + 16);
		op = xdr_get_u32(in);
	}
	if (op != NFS4_OP_PUTFH)
		return false;
	xdr_get_opaque(in, 128, &length);
	if (xdr_get_u32(in) != NFS4_OP_WRITE)
		return false;
	xdr_get_fixed(in, 16 + 8 + 4); /* stateid, offset, stable */
	return !in->bad;
}

bool rpc_find_payload(const void *data, size_t length, size_t record_length, size_t *ret_offset,
		      uint32_t *ret_length)
{
	struct rpc_header header;
	struct xdr_in in;
	uint32_t bytes;
	size_t offset;

	xdr_in_init(&in, data, length < RPC_PAYLOAD_BEFORE ? length : RPC_PAYLOAD_BEFORE);
	if (rpc_header_decode(&in, &header) < 0 || header.rpc_version != RPC_VERSION ||
	    header.program != RPC_NFS)
		return false;
	if (!(header.version == 3 && header.procedure == NFS3_WRITE && skip_to_write3(&in)) &&
	    !(header.version == 4 && header.procedure == NFS4_COMPOUND && skip_to_write4(&in)))
		return false;
	bytes = xdr_get_u32(&in);
	offset = (size_t)(in.at - (const uint8_t *)data);
	if (in.bad || offset > record_length ||
	    (uint64_t)bytes + xdr_padding(bytes) > record_length - offset)
		return false;
	*ret_offset = offset;
	*ret_length = bytes;
	return true;
}
