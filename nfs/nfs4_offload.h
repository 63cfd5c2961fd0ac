/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_NFS4_OFFLOAD_H
#define NFS_NFS4_OFFLOAD_H

#include "nfs/nfs4_back.h"

/* Copies that go on in the background (RFC 7862 4.8, 15.8, 15.9, 16.1). Each is a call of its own
 * on the loop of the connection it came over, without a connection that anybody could answer on:
 *
 *   nfs4_copy_begin() -> step, step, ... -> nfs4_copy_ended() -> CB_OFFLOAD until it is answered
 *
 * Between two steps it looks whether its client still is, whether it may still use the share, and
 * takes the exports of now; so nobody waits for more than a step of it. */

#define NFS4_COPIES_RUNNING 16u
#define NFS4_COPIES_ONE     8u /* of a client; running: half of them */

/* compound.numbers and argument of a COPY; COPY_FLAGS: 1 source, 2 destination opened;
 * COPY_VERIFIER: before the first byte; COPY_APART: the client would wait for a call. */
enum { COPY_FROM, COPY_TO, COPY_LEFT, COPY_FLAGS };
enum { COPY_ASKED, COPY_HOLE, COPY_VERIFIER, COPY_APART };

/* nfs4_copy_begin: the copy that @call is about goes on with @step. False: not now, or the client
 * can not be called. */
bool nfs4_copy_begin(struct nfs_call *call, void (*step)(struct nfs_call *call),
		     struct nfs4_stateid *ret_stateid);
/* Of a call of such a copy. nfs4_copy_next: a step is done. nfs4_copy_ended: all is, or it can not
 * go on (@result); what will pass is waited for. */
void nfs4_copy_next(struct nfs_call *call, void (*step)(struct nfs_call *call));
void nfs4_copy_ended(struct nfs_call *call, int result, void (*step)(struct nfs_call *call));

/* Under the lock. nfs4_drop_copies: of a client that goes. nfs4_copy_told: what became of a call.
 */
void nfs4_drop_copies(struct nfs4_server *nfs4, const struct nfs4_client *client);
void nfs4_copy_told(struct nfs4_server *nfs4, const struct nfs4_back_about *about, int result,
		    uint32_t status);
/* All end soon; then stopped() on the control loop, where it is called. */
void nfs4_copies_stop(struct nfs4_server *nfs4, void (*stopped)(struct nfs_server *server));

#endif
