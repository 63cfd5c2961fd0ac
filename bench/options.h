/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"

#define OPTIONS_DEPTH_MAX       1024u
#define OPTIONS_CONNECTIONS_MAX 64u
#define OPTIONS_BLOCK_MAX       (1u << 20)

enum pattern { PATTERN_RANDREAD, PATTERN_RANDWRITE, PATTERN_RANDRW, PATTERN_READ, PATTERN_WRITE };

struct options {
	const char *host, *port, *target, *initiator;
	const char *floor_file;  /* serve this file instead of loading a server */
	const char *engine_file; /* load the volume engine in this process */
	const char *io_engine;
	const char *nfs; /* an operation: load an NFS server with it */
	const char *mount_port, *path;
	enum pattern pattern;
	uint64_t block_bytes, depth, connections, lun;
	uint64_t offset_bytes, span_bytes; /* span 0: to the end of the LUN */
	uint64_t warmup_ns, run_ns, limit_ns;
	uint64_t snapshot_ns; /* 0: none are made */
	uint64_t count;       /* 0 = by time */
	uint64_t seed, server_pid, nfs_version;
	bool header_digest, data_digest, initial_r2t, verify, once, fua, raw;
};

/* options_parse: 0, or -EINVAL with text; 1 when help was asked for and printed. */
int options_parse(int argc, char **argv, struct options *ret_options, struct err *err)
    __attribute__((warn_unused_result));
const char *pattern_name(enum pattern pattern);
bool pattern_random(enum pattern pattern);

#endif
