/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NFS4_BACK_H
#define NFS_NFS4_BACK_H

#include "nfs/nfs4_state.h"

/* Calls to clients of NFSv4 (RFC 8881 20, RFC 7530 17): over a session's own connections, or for
 * v4.0 over one made to the address the client named, if that is the host it comes from. A call
 * ends within NFS4_BACK_NS (v4.0: twice that), and there are never more than NFS4_BACK_CALLS_MAX
 * of them. All functions: under nfs4->lock; nothing waits. */

enum nfs4_back_kind { NFS4_BACK_PROBE, NFS4_BACK_RECALL, NFS4_BACK_OFFLOAD, NFS4_BACK_KINDS };

/* What a call is about. */
struct nfs4_back_about {
	enum nfs4_back_kind kind;
	uint32_t index, number; /* which delegation, or copy */
	struct nfs4_stateid stateid;
	struct handle handle;
	uint32_t status; /* of the copy */
	uint64_t count, verifier;
};

/* nfs4_back_call: false: not now; there is no way to it, or too much is on its way. Otherwise what
 * comes of it is told: nfs4_recall_answered(), nfs4_copy_told(). */
bool nfs4_back_call(struct nfs4_server *nfs4, struct nfs4_client *client,
		    const struct nfs4_back_about *about);
/* nfs4_back_bind: @conn may carry calls of the session, once the client has answered over it; it is
 * asked now. False: not this session, or too many connections. */
bool nfs4_back_bind(struct nfs4_session *session, struct nfs_conn *conn);
/* nfs4_back_probe: v4.0: is the client where it says? */
void nfs4_back_probe(struct nfs4_server *nfs4, struct nfs4_client *client, uint64_t now);
/* nfs4_back_judge: client->path, after a session or a connection of it has gone. */
void nfs4_back_judge(struct nfs4_server *nfs4, struct nfs4_client *client);
/* SEQ4_STATUS_... of a SEQUENCE on @session. */
uint32_t nfs4_back_flags(const struct nfs4_session *session);

#endif
