/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"

/* What a process has used since it started, all threads together. */
struct process_usage {
	uint64_t cpu_ns;   /* user and system */
	uint64_t switches; /* context switches of the threads alive now */
};

/* process_usage: read it from /proc. -ENOENT: there is no such process (any more). */
int process_usage(pid_t pid, struct process_usage *ret_usage, struct err *err)
    __attribute__((warn_unused_result));

#endif
