/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/totp.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "webadmin/access.h"

uint32_t totp_code(const uint8_t key[TOTP_KEY], uint64_t step)
{
	uint8_t counter[8], digest[EVP_MAX_MD_SIZE];
	unsigned length = 0, offset;

	for (unsigned i = 0; i < 8; i++)
		counter[i] = (uint8_t)(step >> (56 - 8 * i));
	if (!HMAC(EVP_sha1(), key, TOTP_KEY, counter, sizeof counter, digest, &length) ||
	    length != 20)
		return UINT32_MAX; /* equals no code */
	offset = digest[19] & 15u;
	return (((uint32_t)digest[offset] & 0x7fu) << 24 | (uint32_t)digest[offset + 1] << 16 |
		(uint32_t)digest[offset + 2] << 8 | digest[offset + 3]) %
	       1000000u;
}

static bool read_code(const char *text, uint32_t *ret_code)
{
	if (strlen(text) != 6 || strspn(text, "0123456789") != 6)
		return false;
	*ret_code = 0;
	for (; *text; text++)
		*ret_code = *ret_code * 10 + (uint32_t)(*text - '0');
	return true;
}

static bool take_recovery(struct totp *totp, const char *text)
{
	char plain[32];
	uint8_t hash[32];
	size_t length = 0;

	for (; *text && length + 1 < sizeof plain; text++) {
		if (isalnum((unsigned char)*text))
			plain[length++] = (char)toupper((unsigned char)*text);
	}
	plain[length] = '\0';
	access_digest(plain, hash);
	explicit_bzero(plain, sizeof plain);
	for (unsigned i = 0; i < totp->recovery_count; i++) {
		if (CRYPTO_memcmp(totp->recovery[i], hash, sizeof hash) != 0)
			continue;
		memmove(totp->recovery[i], totp->recovery[--totp->recovery_count], sizeof hash);
		return true;
	}
	return false;
}

enum totp_verdict totp_check(struct totp *totp, const char *text, uint64_t wall_seconds)
{
	uint64_t now = wall_seconds / TOTP_STEP_SECONDS;
	uint32_t code;

	if (!read_code(text, &code))
		return take_recovery(totp, text) ? TOTP_RECOVERED : TOTP_WRONG;
	for (uint64_t step = now ? now - 1 : 0; step <= now + 1; step++) {
		if (step <= totp->last_step || totp_code(totp->key, step) != code)
			continue;
		totp->last_step = step;
		return TOTP_GOOD;
	}
	return TOTP_WRONG;
}

void totp_base32(const uint8_t key[TOTP_KEY], char text[TOTP_BASE32])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned out = 0, bits = 0;
	uint32_t held = 0;

	for (unsigned i = 0; i < TOTP_KEY; i++) {
		held = held << 8 | key[i];
		for (bits += 8; bits >= 5; bits -= 5)
			text[out++] = digits[held >> (bits - 5) & 31u];
	}
	text[out] = '\0';
}
