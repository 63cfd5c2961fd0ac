/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_NTHASH_H
#define WEBADMIN_NTHASH_H

#include <stdbool.h>
#include <stdint.h>

/* What SMB knows a password by: MD4 (RFC 1320) over it in UTF-16, little-endian ([MS-NLMP] 3.3.1,
 * NTOWFv1). It is as good as the password to whoever has it, so it is kept like one. */
#define NTHASH_LENGTH       16u
#define NTHASH_PASSWORD_MAX 127u /* UTF-16 units */

/* False: @password is not UTF-8, or too long. */
bool nthash(const char *password, uint8_t hash[NTHASH_LENGTH]);

#endif
