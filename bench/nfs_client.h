/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_NFS_CLIENT_H
#define BENCH_NFS_CLIENT_H

#include "bench/nfs_wire.h"
#include "bench/options.h"
#include "core/err.h"

/* A mount, and what a load needs of it: a folder with a large file, some small ones, and a folder
 * of this run's own. Everything here waits for its answer. */

#define NFS_NAMES     256u /* small files, looked up one after the other */
#define NFS_NAME_ROOM 32u
#define NFS_CALL_ROOM 512u /* of a call without its data */

struct nfs_client {
	const struct options *options;
	int fd;
	uint32_t xid;
	struct nfs_handle folder, file; /* "load" in the root of the export; "data" in it */
	struct nfs_handle own;          /* for CREATE */
	/* version 4.1 */
	uint64_t client_id;
	uint8_t session[NFS_SESSION], stateid[NFS_STATEID];
	uint32_t slots, sequence; /* sequence: of slot 0 */
	char owner[64];
};

/* nfs_client_open: connected, mounted, with what nfs_client_prepare() has made looked up and, in
 * version 4.1, opened. @number: of this connection in this process. */
int nfs_client_open(const struct options *options, unsigned number, struct nfs_client *ret_client,
		    struct err *err) __attribute__((warn_unused_result));
void nfs_client_close(struct nfs_client *client);
/* nfs_client_prepare: makes the folder, the small files and the large one, of --span bytes, and
 * proves that what was written is what is read. */
int nfs_client_prepare(const struct options *options, struct err *err)
    __attribute__((warn_unused_result));
void nfs_name(unsigned number, char ret_name[NFS_NAME_ROOM]);

#endif
