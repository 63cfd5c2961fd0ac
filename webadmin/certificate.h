/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_CERTIFICATE_H
#define WEBADMIN_CERTIFICATE_H

#include <jansson.h>

#include "core/err.h"

/* Inside webadmin/: key and certificate of the web front, as files of STATE/web. The front reads
 * them before it confines itself; one that is running is given a new pair with the next answer it
 * gets (it says with each request which one it has). */

#define FINGERPRINT_TEXT 96 /* SHA-256, hex with colons */

struct certificate {
	char *chain, *key; /* PEM; heap; NULL until one was set in this life of the daemon */
	char fingerprint[FINGERPRINT_TEXT];
};
void certificate_finish(struct certificate *certificate);

/* certificate_check: do @chain and @key fit each other and the time (@wall_seconds)?
 * Errors: -EINVAL with what is wrong. */
int certificate_check(const char *chain, const char *key, int64_t wall_seconds,
		      char fingerprint[FINGERPRINT_TEXT], struct err *err)
    __attribute__((warn_unused_result));
/* certificate_end: until when the first of @chain is good, seconds since 1970; 0: it can not be
 * read.
 */
int64_t certificate_end(const char *chain);
/* What people want to know of the first certificate in @chain; NULL when there is none. */
json_t *certificate_show(const char *chain);

#endif
