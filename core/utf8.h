/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_UTF8_H
#define CORE_UTF8_H

#include <stddef.h>

/* utf8_length: bytes of the UTF-8 sequence at @at, of which @left (1 at least) are there; 0: it is
 * none, or is cut off (RFC 3629: the shortest form alone, no surrogates). Context: any. */
size_t utf8_length(const void *at, size_t left) __attribute__((nonnull));

#endif
