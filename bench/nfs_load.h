/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_NFS_LOAD_H
#define BENCH_NFS_LOAD_H

#include "bench/drive.h"

/* nfs_load: a whole run against an NFS server, --depth calls outstanding on each of --connections.
 * One thread; blocks. With --nfs prepare: makes what the other operations work on. */
int nfs_load(const struct options *options, struct result *ret_result, struct err *err)
    __attribute__((warn_unused_result));

#endif
