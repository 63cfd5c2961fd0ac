/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NFS_STATS_H
#define NFS_STATS_H

#include "nfs/nfs.h"

/* Inside nfs/: counting. */

struct nfs_call;
struct nfs_conn;
struct nfs_export;
struct nfs_table;
struct nfs_stats;
struct nfs_loop_stats;
struct nfs_share_stats;

enum nfs_stats_version { NFS_STATS_3, NFS_STATS_4 }; /* 4.0; the minor version on top of it */

/* nfs_stats_end: what @call has asked for since call->begun_ns has been done: procedure or
 * operation @operation, about @export if not NULL, which moved call->moved bytes. Context: the
 * connection's loop. */
void nfs_stats_end(struct nfs_call *call, enum nfs_stats_version version, unsigned operation,
		   const struct nfs_export *export, bool failed);

/* Of an enum nfs_stats_version, with the minor version on top: "4.1"; of an operation of it: NULL:
 * there is none. Static. */
const char *nfs_stats_version(unsigned version);
const char *nfs_stats_name(unsigned version, unsigned operation);

/* Context of these: control loop. nfs_stats_create: -ENOMEM. nfs_stats_of_loop: NULL: no memory.
 * nfs_stats_follow: the shares of @table are those that are counted from now on; who was counted
 * before goes on. */
int nfs_stats_create(struct nfs_stats **ret_stats);
void nfs_stats_destroy(struct nfs_stats *stats); /* no connection is left; NULL is fine */
struct nfs_loop_stats *nfs_stats_of_loop(void);
void nfs_stats_follow(struct nfs_server *server, struct nfs_table *table);
void nfs_stats_conn_comes(struct nfs_conn *conn);
void nfs_stats_conn_goes(struct nfs_conn *conn);
/* Any thread; NULL is fine. */
void nfs_share_stats_unref(struct nfs_share_stats *share);

#endif
