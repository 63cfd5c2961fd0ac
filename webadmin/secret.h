/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_SECRET_H
#define WEBADMIN_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* CHAP secrets at rest: AES-256-GCM under a key in a file of its own (secret.key, 0600), so that
 * a copy of the configuration alone gives nothing away. Context: control loop. */

#define SECRET_MAX    255u
#define SECRET_SEALED (1 + 12 + SECRET_MAX + 16) /* version, nonce, text, tag */

/* secret_open: read the key of @state_dir, or make one; durable before it is used. */
int secret_open(const char *state_dir, struct err *err) __attribute__((warn_unused_result));
void secret_close(void); /* forgets the key */

/* secret_seal: returns how many bytes of @ret_sealed are to be stored, 0 for no secret, -EIO.
 * @owner and @kind are bound to it: it opens for nothing else. */
int secret_seal(const uint8_t *plain, unsigned length, const char *owner, const char *kind,
		uint8_t ret_sealed[SECRET_SEALED]);
/* secret_unseal: false when it was not sealed with this key for this use. */
bool secret_unseal(const uint8_t *sealed, unsigned length, const char *owner, const char *kind,
		   uint8_t ret_plain[SECRET_MAX + 1], unsigned *ret_length);
/* secret_seal_bytes, secret_unseal_bytes: the same for something longer: heap. -EIO, -ENOMEM. */
int secret_seal_bytes(const uint8_t *plain, size_t length, const char *owner, const char *kind,
		      uint8_t **ret_sealed, size_t *ret_length);
int secret_unseal_bytes(const uint8_t *sealed, size_t length, const char *owner, const char *kind,
			uint8_t **ret_plain, size_t *ret_length);
/* A secret nobody knows, in place of one that can not be read: whoever has to give it is refused.
 */
void secret_impossible(uint8_t ret_plain[SECRET_MAX + 1], unsigned *ret_length);

#endif
