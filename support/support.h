/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPPORT_SUPPORT_H
#define SUPPORT_SUPPORT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* A support bundle: what somebody needs who is to find out what is wrong with a machine, and
 * nothing that has to stay a secret, as one gzip'ed tar (POSIX.1-1988 ustar).
 *
 * S1 Whatever is added goes through scrub.c: no secret that support_secret() named stands in any
 *    file, and nothing that looks like one (a private key, what follows "password=", a URL's user,
 *    path and query).
 * S2 It is at most SUPPORT_BUNDLE_MAX bytes: logs are cut from their old end until it is, and a
 *    file that is cut says so in contents.json.
 * Context: any one thread at a time; adding and finishing block, for seconds. */

#define SUPPORT_BUNDLE_MAX (2800u << 10) /* as base64 it fits into one control message */
#define SUPPORT_FILE_MAX   (4u << 20)    /* of one file, before it is compressed */
#define SUPPORT_FILES      512u
#define SUPPORT_SECRETS    4096u
#define SUPPORT_NAME       96u
#define SUPPORT_REMOVED    "(removed)"

struct support;

/* Names of what may be cut, as a bundle's files. */
enum support_kind {
	SUPPORT_FACT, /* kept whole up to SUPPORT_FILE_MAX, else its beginning */
	SUPPORT_LOG   /* newest lines last: its end is kept */
};

int support_create(struct support **ret_support, struct err *err)
    __attribute__((warn_unused_result));
void support_free(struct support *support);

/* support_secret: @length bytes that must not be in any file that is added from now on; a text of
 * less than 4 bytes can not be told from others and is passed over. */
void support_secret(struct support *support, const void *secret, size_t length);

/* support_add: the file @name ("logs/kernel.txt": letters, digits and "._-/"; other bytes become
 * "_"). What there is no room or memory for is counted in contents.json. */
void support_add(struct support *support, const char *name, enum support_kind kind,
		 const char *text, size_t length);
/* Members whose names say that they are secrets lose their texts. @value is borrowed. */
void support_add_json(struct support *support, const char *name, const json_t *value);

/* machine.c: what the kernel says of the machine, each file bounded. */
void support_add_machine(struct support *support);
/* journal.c: the newest messages of the kernel and of the services that are ours or that ours stand
 * on, from the journal in @folder (NULL: the machine's own), by libsystemd, which is loaded for it.
 * Where there is none to be read, the file says why. */
void support_add_journal(struct support *support, const char *folder);

/* support_finish: the bundle's bytes (the caller heap_free()s them). Nothing is added afterwards.
 * Errors: -ENOMEM, -EFBIG (facts alone are too much). */
int support_finish(struct support *support, uint8_t **ret_data, size_t *ret_length, struct err *err)
    __attribute__((warn_unused_result));

#endif
