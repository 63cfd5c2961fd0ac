/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_GRACE_H
#define NFS_GRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"

/* Who holds state on which share, kept on the share itself, and the grace period behind a start
 * (RFC 8881 8.4.2, 9.6; X/Open NSM for NFSv3).
 *
 * A record is an extended attribute of the share's root whose name begins with NFS_RECORD_MARK;
 * clients can neither see nor make such names. It is durable before its client gets its first
 * state on the share, and gone before anybody gets what was taken from that client. A share that
 * comes with records is in grace until every one of them has been heard of, at most
 * @grace_seconds, or twice that for as long as somebody claims; then the records that were not
 * claimed go. Where the share is served next, they are there.
 *
 * Context: any thread but where it says otherwise. */

struct nfs_grace;
struct nfs_server;
struct nfs_table;
struct nfs_call;

#define NFS_RECORD_MARK  '\1'
#define NFS_RECORD_NAME  112u /* with its NUL */
#define NFS_RECORDS_MAX  600u /* of a share */
#define NFS_RECORD_VALUE 128u

int nfs_grace_create(struct nfs_server *server, unsigned grace_seconds,
		     struct nfs_grace **ret_grace);
void nfs_grace_destroy(struct nfs_grace *grace); /* no share is left; NULL is fine */
/* Another table of exports is in force. Context: control loop. */
void nfs_grace_set_table(struct nfs_grace *grace, struct nfs_table *table);

/* Names of records: of a client of NFSv4, from what it calls itself; of a host of NFSv3 with locks,
 * from its address and the one of ours that it uses. nfs_record_host: the two of such a name. */
void nfs_record_name4(const void *owner, uint32_t length, char name[NFS_RECORD_NAME]);
void nfs_record_name3(const char *host, const char *local, char name[NFS_RECORD_NAME]);
bool nfs_record_host(const char *name, char host[NFS_RECORD_NAME], char local[NFS_RECORD_NAME]);

/* Is the share in grace (or not yet known well enough to say no)? */
bool nfs_grace_running(struct nfs_grace *grace, uint64_t volume);
/* In grace, and the client had state when the server stopped. Who asks and may claims something:
 * its record outlives this grace period. */
bool nfs_grace_may_reclaim(struct nfs_grace *grace, uint64_t volume, const char *name);
/* The client has reclaimed all it wants: on @volume, on all of them with 0. */
void nfs_grace_complete(struct nfs_grace *grace, uint64_t volume, const char *name);

bool nfs_record_has(struct nfs_grace *grace, uint64_t volume, const char *name);
/* nfs_record_add: the record is durable (or can not be: then reclaiming will be refused). */
void nfs_record_add(struct nfs_grace *grace, uint64_t volume, const char *name);
/* nfs_record_drop: on every share; nfs_record_settled() is false until it is gone from @volume. */
void nfs_record_drop(struct nfs_grace *grace, const char *name);
bool nfs_record_settled(struct nfs_grace *grace, uint64_t volume);

/* nfs_record_store: make the record of @name on the call's export, then done(call). The caller has
 * an idle call->vfs, which is overwritten. Context: the call's loop. */
void nfs_record_store(struct nfs_call *call, const char *name, const void *value, uint32_t length,
		      void (*done)(struct nfs_call *call, int result));

#endif
