/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CRC32C_H
#define CORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* CRC-32C (Castagnoli; RFC 3720 appendix B.4 test vectors), reflected, initial and final
 * value all ones. Chained: crc32c(crc32c(0, a), b) == crc32c(0, ab). Hardware where the
 * processor has it. Context: any. */
uint32_t crc32c(uint32_t crc, const void *data, size_t length);
uint32_t crc32c_iov(uint32_t crc, const struct iovec *iov, unsigned count);

#endif
