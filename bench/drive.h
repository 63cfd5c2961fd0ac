/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_DRIVE_H
#define BENCH_DRIVE_H

#include <stdint.h>

#include "bench/histogram.h"
#include "bench/options.h"
#include "bench/process.h"
#include "core/err.h"

/* What a run came to, over the measured time only. */
struct result {
	uint64_t ios, elapsed_ns;
	struct histogram latency;
	uint64_t client_cpu_ns;
	struct process_usage server;  /* all 0 without --server-pid */
	uint64_t verified, unwritten; /* reads: proved, and found never written */
	uint64_t snapshots;           /* made meanwhile */
};

/* drive: the whole run, connect to log out. Single-threaded; blocks. */
int drive(const struct options *options, struct result *ret_result, struct err *err)
    __attribute__((warn_unused_result));

#endif
