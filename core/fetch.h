/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_FETCH_H
#define CORE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* What a URL gives, for programs that have become nobody (core/confine.h) before: a stranger's
 * answer is read. Who calls it links libcurl. */

struct fetch {
	const char *url;
	uint64_t size_max;
	bool https_only; /* else http too; who asked for https is not sent on to anything less */
	/* The next bytes. < 0 ends it, and is what fetch_url() returns. Required. */
	int (*take)(void *context, const void *data, size_t length);
	/* Now and then; @total: of all of it, 0: not known. True ends it. Required. */
	bool (*watch)(void *context, uint64_t total);
	void *context;
};

/* fetch_url: all of it, redirected FETCH_REDIRECTS times at most. -EINTR: watch() has ended it;
 * -EIO, -ENOMEM with a sentence; what take() says, without one. Blocking; Context: any. */
#define FETCH_REDIRECTS 5l
int fetch_url(const struct fetch *fetch, struct err *err) __attribute__((warn_unused_result));

#endif
