/* SPDX-License-Identifier: Apache-2.0 */
#include "core/crc32c.h"

#include <limits.h>

#include <isa-l/crc.h>

/* The library takes the way that suits the processor, wants the register instead of the checksum,
 * counts in int, and has forgotten its const. */
uint32_t crc32c(uint32_t crc, const void *data, size_t length)
{
	unsigned char *at = (unsigned char *)data;

	crc = ~crc;
	for (; length > INT_MAX; at += INT_MAX, length -= INT_MAX)
		crc = crc32_iscsi(at, INT_MAX, crc);
	return ~crc32_iscsi(at, (int)length, crc);
}

uint32_t crc32c_iov(uint32_t crc, const struct iovec *iov, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		crc = crc32c(crc, iov[i].iov_base, iov[i].iov_len);
	return crc;
}
