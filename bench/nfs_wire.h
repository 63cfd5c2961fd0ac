/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_NFS_WIRE_H
#define BENCH_NFS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The client's half of ONC RPC (RFC 5531), XDR (RFC 4506), NFSv3 (RFC 1813) and NFSv4.1
 * (RFC 8881), as far as a load needs it. Written apart from the server's, so that a mistake there
 * is not repeated here. */

#define NFS_HANDLE_ROOM 128u
#define NFS_STATEID     16u
#define NFS_SESSION     16u
#define NFS_REPLY_FIXED 24u /* accepted, null verifier: up to the results */

/* Both ways: out of room, or out of bytes, is remembered. */
struct xdr {
	uint8_t *at, *end;
	bool bad;
};

struct nfs_handle {
	uint32_t length;
	uint8_t bytes[NFS_HANDLE_ROOM];
};

void put_u32(struct xdr *out, uint32_t value);
void put_u64(struct xdr *out, uint64_t value);
void put_fixed(struct xdr *out, const void *data, uint32_t length); /* padded */
void put_opaque(struct xdr *out, const void *data, uint32_t length);
void put_string(struct xdr *out, const char *text);
uint32_t get_u32(struct xdr *in);
uint64_t get_u64(struct xdr *in);
uint8_t *get_fixed(struct xdr *in, uint32_t length); /* NULL: not there */
void get_skip(struct xdr *in, uint32_t length);
void get_handle(struct xdr *in, struct nfs_handle *ret_handle);

enum { RPC_NFS = 100003, RPC_MOUNT = 100005 };

/* nfs_call: a record mark (filled in by nfs_call_end) and a call's header, as root by AUTH_SYS. */
void nfs_call(struct xdr *out, uint32_t xid, uint32_t program, uint32_t version,
	      uint32_t procedure);
/* nfs_call_end: the record is from @base to @out->at, and @more bytes that follow. */
void nfs_call_end(uint8_t *base, const struct xdr *out, uint32_t more);

enum nfs3_procedure {
	NFS3_NULL = 0,
	NFS3_GETATTR = 1,
	NFS3_LOOKUP = 3,
	NFS3_READ = 6,
	NFS3_WRITE = 7,
	NFS3_CREATE = 8,
	NFS3_MKDIR = 9
};
/* Behind the handle and the name of CREATE and MKDIR: mode, nothing else. */
void nfs3_put_sattr(struct xdr *out, uint32_t mode);
/* Past a post_op_attr, a wcc_data. */
void nfs3_skip_attr(struct xdr *in);
void nfs3_skip_wcc(struct xdr *in);

enum nfs4_operation {
	NFS4_CLOSE = 4,
	NFS4_CREATE = 6,
	NFS4_GETATTR = 9,
	NFS4_GETFH = 10,
	NFS4_LOOKUP = 15,
	NFS4_OPEN = 18,
	NFS4_PUTFH = 22,
	NFS4_PUTROOTFH = 24,
	NFS4_READ = 25,
	NFS4_WRITE = 38,
	NFS4_EXCHANGE_ID = 42,
	NFS4_CREATE_SESSION = 43,
	NFS4_SEQUENCE = 53,
	NFS4_RECLAIM_COMPLETE = 58
};
/* nfs4_compound: the head of a COMPOUND of @count operations of minor version 1. */
void nfs4_compound(struct xdr *out, uint32_t count);
void nfs4_put_sequence(struct xdr *out, const uint8_t session[NFS_SESSION], uint32_t sequence,
		       uint32_t slot, uint32_t highest);
void nfs4_putfh(struct xdr *out, const struct nfs_handle *handle);
/* GETATTR of what Linux asks for. */
void nfs4_put_getattr(struct xdr *out);
/* OPEN for reading and writing, made if it is not there (UNCHECKED), no delegation wanted. */
void nfs4_put_open(struct xdr *out, uint64_t client, const char *owner, const char *name);
void nfs4_put_mkdir(struct xdr *out, const char *name);
/* CLOSE of what this COMPOUND has opened (the current stateid, RFC 8881 16.2.3.1.2). */
void nfs4_put_close(struct xdr *out);
/* nfs4_result: at the next result of a COMPOUND; its status. Bad when it is of another operation.
 * nfs4_skip_sequence: past the result of SEQUENCE. */
uint32_t nfs4_result(struct xdr *in, uint32_t operation);
void nfs4_skip_sequence(struct xdr *in);

#endif
