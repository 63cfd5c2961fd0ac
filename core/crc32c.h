/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_CRC32C_H
#define CORE_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* CRC-32C (Castagnoli; RFC 3720 appendix B.4 test vectors), reflected, initial and final
 * value all ones. Chained: crc32c(crc32c(0, a), b) == crc32c(0, ab). Hardware where the
 * processor has it. Context: any. */
uint32_t crc32c(uint32_t crc, const void *data, size_t length);
uint32_t crc32c_iov(uint32_t crc, const struct iovec *iov, unsigned count);

/* For tests: in one of the ways there are; each needs more of the processor than the one before.
 * False: this one has not what it takes. */
enum crc32c_way {
	CRC32C_TABLES,
	CRC32C_WORDS, /* SSE 4.2: three streams of its instruction */
	CRC32C_FOLDS, /* AVX2 and VPCLMULQDQ: 128 bytes at a time */
};
bool crc32c_by(enum crc32c_way way, uint32_t *crc, const void *data, size_t length);

#endif
