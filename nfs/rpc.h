/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_RPC_H
#define NFS_RPC_H

#include "nfs/xdr.h"

/* ONC RPC version 2 (RFC 5531): call headers, replies, record marks. Pure functions. */

#define RPC_VERSION      2u
#define RPC_AUTH_MAX     400u /* bytes of an opaque_auth (RFC 5531 8.2) */
#define RPC_MACHINE_MAX  255u
#define RPC_GROUPS_MAX   16u /* RFC 5531 A */
#define RPC_MARK_LENGTH  4u
#define RPC_MARK_LAST    0x80000000u
#define RPC_REPLY_LENGTH 24u /* of an accepted reply with a null verifier, up to its results */

enum rpc_message { RPC_CALL = 0, RPC_REPLY = 1 };
enum rpc_auth_flavor { RPC_AUTH_NONE = 0, RPC_AUTH_SYS = 1, RPC_AUTH_TLS = 7 };
enum rpc_accept {
	RPC_SUCCESS = 0,
	RPC_PROG_UNAVAIL = 1,
	RPC_PROG_MISMATCH = 2,
	RPC_PROC_UNAVAIL = 3,
	RPC_GARBAGE_ARGS = 4,
	RPC_SYSTEM_ERR = 5
};
enum rpc_auth_stat {
	RPC_AUTH_OK = 0,
	RPC_AUTH_BADCRED = 1,
	RPC_AUTH_REJECTEDCRED = 2,
	RPC_AUTH_BADVERF = 3,
	RPC_AUTH_TOOWEAK = 5
};

enum rpc_program_number {
	RPC_PORTMAP = 100000,
	RPC_NFS = 100003,
	RPC_MOUNT = 100005,
	RPC_RQUOTA = 100011,
	RPC_NLM = 100021,
	RPC_NSM = 100024
};

struct rpc_header {
	uint32_t xid, rpc_version, program, version, procedure;
	uint32_t flavor;
	enum rpc_auth_stat auth; /* not RPC_AUTH_OK: the credential or verifier is refused */
	/* AUTH_SYS; AUTH_NONE leaves group_count 0 and the ids those of nobody */
	uint32_t uid, gid, group_count;
	uint32_t groups[RPC_GROUPS_MAX];
	uint32_t machine_length;
	char machine[RPC_MACHINE_MAX + 1];
};
#define RPC_NOBODY 65534u

/* rpc_header_decode: everything up to the arguments. 0; -EBADMSG: this is no call that can be
 * answered (the connection can not be trusted further); with another RPC version than 2 only xid
 * and rpc_version are filled. */
int rpc_header_decode(struct xdr_in *in, struct rpc_header *ret_header);

/* Reply headers, without the record mark. */
void rpc_put_accepted(struct xdr_out *out, uint32_t xid, enum rpc_accept state);
/* .. to AUTH_TLS on NULL (RFC 9289 4.1): yes. */
void rpc_put_starttls(struct xdr_out *out, uint32_t xid);
void rpc_put_program_mismatch(struct xdr_out *out, uint32_t xid, uint32_t low, uint32_t high);
void rpc_put_version_mismatch(struct xdr_out *out, uint32_t xid);
void rpc_put_auth_error(struct xdr_out *out, uint32_t xid, enum rpc_auth_stat why);

/* rpc_find_payload: where the bulk data of a WRITE call (NFSv3; NFSv4 as first operation behind
 * SEQUENCE and PUTFH) lies: @data is the beginning of a record of @record_length bytes. True with
 * the offset of the data and its length (without padding) when all of it is inside the record. */
bool rpc_find_payload(const void *data, size_t length, size_t record_length, size_t *ret_offset,
		      uint32_t *ret_length);
#define RPC_PAYLOAD_BEFORE 1024u /* it is found within this many bytes or not at all */

#endif
