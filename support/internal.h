/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPPORT_INTERNAL_H
#define SUPPORT_INTERNAL_H

#include <stdbool.h>

#include "support/support.h"

/* Inside support/. */
struct support_file {
	char name[SUPPORT_NAME];
	enum support_kind kind;
	char *text;          /* heap */
	size_t length, from; /* of a log that was cut: where it begins */
	bool cut;
};

struct support_secret {
	void *bytes; /* heap; wiped at the end */
	size_t length;
};

struct support {
	struct support_file *files;
	unsigned count, left_out;
	struct support_secret *secrets;
	unsigned secret_count;
	bool secrets_lost; /* one could not be noted: nothing may be added any more */
	int64_t now;       /* seconds since 1970: the files' time */
};

/* scrub.c: @text without secrets, and without bytes that are no text; a new one (heap, NULL: no
 * memory). */
char *scrub_text(const struct support *support, const char *text, size_t length,
		 size_t *ret_length);
/* A copy of @value likewise; a new reference. */
json_t *scrub_json(const struct support *support, const json_t *value);

/* tar.c: the files as gzip'ed ustar into @data; returns its length, 0 when @room is too little,
 * -errno. */
int64_t tar_write(const struct support_file *files, unsigned count, int64_t now, uint8_t *data,
		  size_t room);

#endif
