/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include "bench/drive.h"
#include "bench/options.h"
#include "core/err.h"

/* engine: the same load without a network, straight on a volume of a new pool in
 * options->engine_file, or (options->raw) on the file itself through the same disk seam. What
 * the two differ by is the volume engine. The span (64 MiB if not given) is written before it is
 * measured. One loop on this thread; the file must not exist and is left behind. */
int engine(const struct options *options, struct result *ret_result, struct err *err)
    __attribute__((warn_unused_result));

#endif
