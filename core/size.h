/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SIZE_H
#define CORE_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* The one way to read and show sizes and times.
 * Sizes: digits, optional fraction, unit. K M G T P (and KiB MiB ..) are powers of 1024;
 * kB MB GB TB PB are powers of 1000; no unit is bytes. "1.5T" is fine; overflow, negative
 * numbers, blanks inside and unknown units are refused with a sentence. */
int size_parse(const char *text, uint64_t *ret_bytes, struct err *err);
/* "20 GiB", "1.5 TiB", "512 B": at most one decimal. @buffer >= 32 bytes; returned. */
const char *size_format(uint64_t bytes, char *buffer, size_t length);
/* Durations: "500ms", "5s", "10m", "2h", "7d"; no unit is seconds. */
int duration_parse(const char *text, uint64_t *ret_ns, struct err *err);

#endif
