/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_TOTP_H
#define WEBADMIN_TOTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Inside webadmin/: codes that change with the time (RFC 6238: HMAC-SHA-1, 30 s, 6 digits, which
 * is what authenticator applications take), and recovery codes beside them. */

#define TOTP_KEY            20u /* bytes */
#define TOTP_STEP_SECONDS   30u
#define TOTP_RECOVERY_CODES 10u
#define TOTP_BASE32         (TOTP_KEY / 5 * 8 + 1)

struct totp {
	bool on;
	uint8_t key[TOTP_KEY];
	uint64_t last_step; /* of the newest code that was taken: none works twice */
	uint8_t recovery[TOTP_RECOVERY_CODES][32]; /* SHA-256 of those that are left */
	unsigned recovery_count;
};

/* The code of a step (RFC 4226 5.3), 0 .. 999999. */
uint32_t totp_code(const uint8_t key[TOTP_KEY], uint64_t step);

enum totp_verdict { TOTP_WRONG, TOTP_GOOD, TOTP_RECOVERED };
/* totp_check: is @text the code of now, of the step before or after, or a recovery code? What was
 * taken is marked so in @totp; after TOTP_RECOVERED it has to be stored before it counts. */
enum totp_verdict totp_check(struct totp *totp, const char *text, uint64_t wall_seconds);

void totp_base32(const uint8_t key[TOTP_KEY], char text[TOTP_BASE32]);

#endif
