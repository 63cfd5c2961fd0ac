/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHARES_SIPHASH_H
#define SHARES_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-2-4 (Aumasson, Bernstein 2012): a keyed hash of 64 bits. */
uint64_t siphash(const uint8_t key[16], const void *data, size_t length);

#endif
