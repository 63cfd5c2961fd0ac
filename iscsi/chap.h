/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_CHAP_H
#define ISCSI_CHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iscsi/iscsi.h"
#include "iscsi/text.h"

/* CHAP (RFC 1994 as profiled by RFC 7143 12.1.3), one way and mutual; response =
 * hash(identifier, secret, challenge). Pure code but for the random bytes it is given. Secrets
 * and responses are never logged. Any context. */

#define CHAP_CHALLENGE_LENGTH 32u
#define CHAP_CHALLENGE_MAX    1024u
#define CHAP_HASH_MAX         32u

/* chap_response: @algorithm is the CHAP_A number: 5 MD5, 6 SHA1, 7 SHA-256, 8 SHA3-256.
 * -EINVAL for another number, -EIO when the library fails. */
int chap_response(unsigned algorithm, uint8_t id, const uint8_t *secret, size_t secret_length,
		  const uint8_t *challenge, size_t challenge_length, uint8_t hash[CHAP_HASH_MAX],
		  size_t *ret_length);

enum chap_state { CHAP_EXPECT_ALGORITHM, CHAP_EXPECT_RESPONSE, CHAP_PASSED };

/* The target's side of one exchange. */
struct chap {
	enum chap_state state;
	unsigned algorithms; /* enum iscsi_chap bits on offer */
	unsigned algorithm;  /* chosen CHAP_A number */
	uint8_t id;
	uint8_t challenge[CHAP_CHALLENGE_LENGTH];
};

/* chap_begin: @random is CHAP_CHALLENGE_LENGTH + 1 unpredictable bytes. */
void chap_begin(struct chap *chap, unsigned algorithms, const uint8_t *random);

/* chap_step: one request's CHAP keys against @rule; our keys go to @reply.
 * Returns 0 (look at chap->state), -EACCES: authentication failed, -EPROTO: keys missing or out
 * of order. */
int chap_step(struct chap *chap, const struct iscsi_rule *rule, const struct text_pair *pairs,
	      unsigned count, struct text_writer *reply);

#endif
