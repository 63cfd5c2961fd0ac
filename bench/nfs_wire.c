/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/nfs_wire.h"

#include <endian.h>
#include <string.h>

#define MARK_LAST     0x80000000u
#define CREDENTIAL    (5u * 4u) /* of AUTH_SYS: stamp, empty name, uid, gid, no groups */
#define ACCESS_BOTH   3u
#define NO_DELEGATION 0x400u
#define MODE_FILE     0644u
#define MODE_FOLDER   0755u

static uint8_t *room(struct xdr *xdr, uint32_t length)
{
	uint8_t *at = xdr->at;

	if (xdr->bad || (size_t)(xdr->end - at) < length) {
		xdr->bad = true;
		return NULL;
	}
	xdr->at += length;
	return at;
}

void put_u32(struct xdr *out, uint32_t value)
{
	uint8_t *at = room(out, 4);

	value = htobe32(value);
	if (at)
		memcpy(at, &value, 4);
}

void put_u64(struct xdr *out, uint64_t value)
{
	put_u32(out, (uint32_t)(value >> 32));
	put_u32(out, (uint32_t)value);
}

void put_fixed(struct xdr *out, const void *data, uint32_t length)
{
	uint32_t padding = -length & 3u;
	uint8_t *at = room(out, length + padding);

	if (!at)
		return;
	memcpy(at, data, length);
	memset(at + length, 0, padding);
}

void put_opaque(struct xdr *out, const void *data, uint32_t length)
{
	put_u32(out, length);
	put_fixed(out, data, length);
}

void put_string(struct xdr *out, const char *text)
{
	put_opaque(out, text, (uint32_t)strlen(text));
}

uint32_t get_u32(struct xdr *in)
{
	const uint8_t *at = room(in, 4);
	uint32_t value = 0;

	if (at)
		memcpy(&value, at, 4);
	return be32toh(value);
}

uint64_t get_u64(struct xdr *in)
{
	uint64_t high = get_u32(in);

	return high << 32 | get_u32(in);
}

uint8_t *get_fixed(struct xdr *in, uint32_t length)
{
	return room(in, length);
}

void get_skip(struct xdr *in, uint32_t length)
{
	room(in, length);
}

void get_handle(struct xdr *in, struct nfs_handle *ret_handle)
{
	uint32_t length = get_u32(in);
	const uint8_t *bytes = length <= NFS_HANDLE_ROOM ? room(in, length + (-length & 3u)) : NULL;

	if (!bytes) {
		in->bad = true;
		return;
	}
	ret_handle->length = length;
	memcpy(ret_handle->bytes, bytes, length);
}

void nfs_call(struct xdr *out, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure)
{
	const uint32_t words[] = {0,          xid, 0, 2, program, version, procedure, 1,
				  CREDENTIAL, 0,   0, 0, 0,       0,       0,         0};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		put_u32(out, words[i]);
}

void nfs_call_end(uint8_t *base, const struct xdr *out, uint32_t more)
{
	uint32_t mark = htobe32(MARK_LAST | ((uint32_t)(out->at - base) - 4 + more));

	memcpy(base, &mark, 4);
}

/* ---- version 3 */

void nfs3_put_sattr(struct xdr *out, uint32_t mode)
{
	put_u32(out, 1);
	put_u32(out, mode);
	for (unsigned i = 0; i < 5; i++)
		put_u32(out, 0); /* uid, gid, size, atime, mtime: the server's choice */
}

void nfs3_skip_attr(struct xdr *in)
{
	if (get_u32(in))
		get_skip(in, 84);
}

void nfs3_skip_wcc(struct xdr *in)
{
	if (get_u32(in))
		get_skip(in, 24);
	nfs3_skip_attr(in);
}

/* ---- version 4.1 */

void nfs4_compound(struct xdr *out, uint32_t count)
{
	put_u32(out, 0); /* no tag */
	put_u32(out, 1);
	put_u32(out, count);
}

void nfs4_put_sequence(struct xdr *out, const uint8_t session[NFS_SESSION], uint32_t sequence,
		       uint32_t slot, uint32_t highest)
{
	put_u32(out, NFS4_SEQUENCE);
	put_fixed(out, session, NFS_SESSION);
	put_u32(out, sequence);
	put_u32(out, slot);
	put_u32(out, highest);
	put_u32(out, 0); /* need not be kept for a retry */
}

void nfs4_putfh(struct xdr *out, const struct nfs_handle *handle)
{
	put_u32(out, NFS4_PUTFH);
	put_opaque(out, handle->bytes, handle->length);
}

void nfs4_put_getattr(struct xdr *out)
{
	put_u32(out, NFS4_GETATTR);
	put_u32(out, 2);
	put_u32(out, 0x0010011a);
	put_u32(out, 0x00b0a23a);
}

/* fattr4 with a mode. */
static void put_mode(struct xdr *out, uint32_t mode)
{
	put_u32(out, 2);
	put_u32(out, 0);
	put_u32(out, 1u << (33 - 32));
	put_u32(out, 4);
	put_u32(out, mode);
}

void nfs4_put_open(struct xdr *out, uint64_t client, const char *owner, const char *name)
{
	put_u32(out, NFS4_OPEN);
	put_u32(out, 0);
	put_u32(out, ACCESS_BOTH | NO_DELEGATION);
	put_u32(out, 0);
	put_u64(out, client);
	put_string(out, owner);
	put_u32(out, 1); /* create ... */
	put_u32(out, 0); /* ... unchecked */
	put_mode(out, MODE_FILE);
	put_u32(out, 0); /* by name in the current folder */
	put_string(out, name);
}

void nfs4_put_mkdir(struct xdr *out, const char *name)
{
	put_u32(out, NFS4_CREATE);
	put_u32(out, 2);
	put_string(out, name);
	put_mode(out, MODE_FOLDER);
}

void nfs4_put_close(struct xdr *out)
{
	put_u32(out, NFS4_CLOSE);
	put_u32(out, 0);
	put_u32(out, 1); /* seqid 1, other 0: the current stateid */
	put_u64(out, 0);
	put_u32(out, 0);
}

uint32_t nfs4_result(struct xdr *in, uint32_t operation)
{
	if (get_u32(in) != operation)
		in->bad = true;
	return get_u32(in);
}

void nfs4_skip_sequence(struct xdr *in)
{
	if (nfs4_result(in, NFS4_SEQUENCE) == 0)
		get_skip(in, NFS_SESSION + 5 * 4);
}
