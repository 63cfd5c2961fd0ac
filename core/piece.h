/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_PIECE_H
#define CORE_PIECE_H

#include <stddef.h>
#include <stdint.h>

/* A piece of a file that is uploaded: bytes over HTTPS, base64 on the sockets. */

/* piece_decode: the bytes that @text stands for, 1 to @most of them; *ret_data is the caller's
 * (heap_free). -EINVAL: it is no base64, or stands for none or too many. -ENOMEM. Hostile input
 * welcome. Context: any. */
int piece_decode(const char *text, size_t most, uint8_t **ret_data, size_t *ret_length)
    __attribute__((warn_unused_result));

#endif
