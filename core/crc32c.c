/* SPDX-License-Identifier: Apache-2.0 */
#include "core/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* Reflected polynomial 0x1EDC6F41. */
#define POLYNOMIAL 0x82f63b78u

/* The hardware instruction has a latency of three cycles and a throughput of one, so three
 * independent streams run at full speed; their results are joined by multiplying with
 * x^(8 * distance) modulo the polynomial, which a 4 x 256 table does for a fixed distance. */
#define STRIPE 1360u /* bytes, multiple of 8: three of them cover most of a 4 KiB slot */

static uint32_t byte_table[8][256];
static uint32_t stripe_table[4][256];
static bool hardware;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Advance @crc over @length zero bytes, bit by bit; only used to make the table. */
static uint32_t shift_zeros(uint32_t crc, size_t length)
{
	while (length--)
		crc = byte_table[0][crc & 0xff] ^ (crc >> 8);
	return crc;
}

static void make_tables(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
		byte_table[0][i] = crc;
	}
	for (unsigned i = 0; i < 256; i++)
		for (unsigned n = 1; n < 8; n++)
			byte_table[n][i] = byte_table[0][byte_table[n - 1][i] & 0xff] ^
					   (byte_table[n - 1][i] >> 8);
	for (unsigned n = 0; n < 4; n++)
		for (unsigned i = 0; i < 256; i++)
			stripe_table[n][i] = shift_zeros(i << (8 * n), STRIPE);
#ifdef __x86_64__
	hardware = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t update_tables(uint32_t crc, const uint8_t *data, size_t length)
{
	for (; length >= 8; data += 8, length -= 8) {
		uint64_t word;

		memcpy(&word, data, 8);
		word ^= crc;
		crc = 0;
		for (unsigned n = 0; n < 8; n++)
			crc ^= byte_table[7 - n][(word >> (8 * n)) & 0xff];
	}
	while (length--)
		crc = byte_table[0][(crc ^ *data++) & 0xff] ^ (crc >> 8);
	return crc;
}

#ifdef __x86_64__
static uint32_t join(uint32_t crc)
{
	return stripe_table[0][crc & 0xff] ^ stripe_table[1][(crc >> 8) & 0xff] ^
	       stripe_table[2][(crc >> 16) & 0xff] ^ stripe_table[3][crc >> 24];
}

static uint64_t load(const uint8_t *data)
{
	uint64_t word;

	memcpy(&word, data, 8);
	return word;
}

__attribute__((target("sse4.2"))) static uint32_t
update_hardware(uint32_t start, const uint8_t *data, size_t length)
{
	uint64_t crc = start;

	for (; length >= 3 * STRIPE; data += 3 * STRIPE, length -= 3 * STRIPE) {
		uint64_t second = 0, third = 0;

		for (unsigned i = 0; i < STRIPE; i += 8) {
			crc = __builtin_ia32_crc32di(crc, load(data + i));
			second = __builtin_ia32_crc32di(second, load(data + STRIPE + i));
			third = __builtin_ia32_crc32di(third, load(data + 2 * STRIPE + i));
		}
		crc = join((uint32_t)crc) ^ second;
		crc = join((uint32_t)crc) ^ third;
	}
	for (; length >= 8; data += 8, length -= 8)
		crc = __builtin_ia32_crc32di(crc, load(data));
	while (length--)
		crc = __builtin_ia32_crc32qi((uint32_t)crc, *data++);
	return (uint32_t)crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t length)
{
	pthread_once(&once, make_tables);
#ifdef __x86_64__
	if (hardware)
		return ~update_hardware(~crc, data, length);
#endif
	return ~update_tables(~crc, data, length);
}

uint32_t crc32c_iov(uint32_t crc, const struct iovec *iov, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		crc = crc32c(crc, iov[i].iov_base, iov[i].iov_len);
	return crc;
}
