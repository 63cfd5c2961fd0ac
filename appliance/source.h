/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_SOURCE_H
#define APPLIANCE_SOURCE_H

#include <sys/types.h>

#include "core/err.h"

/* Where a bundle comes from: a file, a disk, or an https URL. A URL is fetched by a process that is
 * nobody, through a pipe: what writes to disks does not speak to web servers. */
#define SOURCE_MOST (4ull << 30) /* bytes of what a URL gives */

struct source {
	int fd;      /* read from here; private from here on */
	pid_t child; /* 0: none */
	struct err *told;
};

/* source_open: @name as the administrator gave it. Context: before there are threads.
 * source_close: ends it. @err: what a bundle that was cut off failed with; when the cause is the
 * fetching, it is that instead, as -ENETUNREACH. */
int source_open(const char *name, struct source *ret_source, struct err *err)
    __attribute__((warn_unused_result));
void source_close(struct source *source, struct err *err);

#endif
