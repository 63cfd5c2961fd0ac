/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include "bench/options.h"
#include "core/err.h"

/* floor_serve: serve options->floor_file on options->host and port until killed, with nothing but
 * one recv(), one pread() or pwrite() per I/O and one send() per round. It trusts its client: for
 * measuring on 127.0.0.1, never for anything else. Returns only on failure. */
int floor_serve(const struct options *options, struct err *err) __attribute__((warn_unused_result));

#endif
