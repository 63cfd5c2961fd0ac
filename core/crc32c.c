/* SPDX-License-Identifier: Apache-2.0 */
#include "core/crc32c.h"

#include <pthread.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* Reflected polynomial 0x1EDC6F41. */
#define POLYNOMIAL 0x82f63b78u

/* The hardware instruction has a latency of three cycles and a throughput of one, so three
 * independent streams run at full speed; their results are joined by multiplying with
 * x^(8 * distance) modulo the polynomial, which a 4 x 256 table does for a fixed distance. */
#define STRIPE 1360u /* bytes, multiple of 8: three of them cover most of a 4 KiB slot */

static uint32_t byte_table[8][256];
static uint32_t stripe_table[4][256];
static enum crc32c_way able, best; /* what the processor can do; what it is quickest at */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Advance @crc over @length zero bytes, bit by bit; only used to make the table. */
static uint32_t shift_zeros(uint32_t crc, size_t length)
{
	while (length--)
		crc = byte_table[0][crc & 0xff] ^ (crc >> 8);
	return crc;
}

#ifdef __x86_64__
/* Four registers of two lanes of 16 bytes each: so many are taken at a time. */
#define FOLD 128u

/* What moves the low and the high half of a lane on by FOLD bytes, by 32, and by 16. */
static uint64_t fold_far[4], fold_near[4], fold_last[4];

/* x^@bits modulo the polynomial, in the place that carry-less products of reflected values want. */
static uint64_t fold_key(unsigned bits)
{
	uint32_t power = 1u << 31;

	while (bits--)
		power = (power >> 1) ^ (power & 1 ? POLYNOMIAL : 0);
	return (uint64_t)power << 1;
}

/* A lane's low half is the earlier one, and so 64 bits further from where both go; the checksum
 * itself stands 32 bits behind what it is of. */
static void make_fold_keys(void)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned to = i % 2 ? 0 : 64;

		fold_far[i] = fold_key(8 * FOLD - 32 + to);
		fold_near[i] = fold_key(8 * 32 - 32 + to);
		if (i < 2)
			fold_last[i] = fold_key(8 * 16 - 32 + to);
	}
}
#endif

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

/* The lanes of @now, moved on as @keys say, and added to @next. */
__attribute__((target("avx2,vpclmulqdq"))) static inline __m256i fold(__m256i now, __m256i keys,
								      __m256i next)
{
	return _mm256_xor_si256(_mm256_xor_si256(_mm256_clmulepi64_epi128(now, keys, 0x00), next),
				_mm256_clmulepi64_epi128(now, keys, 0x11));
}

__attribute__((target("avx2"))) static inline __m256i load_lanes(const void *data)
{
	return _mm256_loadu_si256(data);
}

/* A checksum is the rest of a division; so data may be replaced by other data that leaves the same
 * rest. FOLD bytes are made part of the next, eight lanes of them at once, until there are no
 * more; then the lanes are made part of the last one, whose checksum is that of all. */
__attribute__((target("avx2,vpclmulqdq,sse4.2"))) static uint32_t
update_folding(uint32_t start, const uint8_t *data, size_t length)
{
	__m256i far, near, a, b, c, d;
	uint64_t lanes[2], crc;

	if (length < FOLD)
		return update_hardware(start, data, length);
	far = load_lanes(fold_far);
	near = load_lanes(fold_near);
	a = _mm256_xor_si256(load_lanes(data),
			     _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)start)));
	b = load_lanes(data + 32);
	c = load_lanes(data + 64);
	d = load_lanes(data + 96);
	for (data += FOLD, length -= FOLD; length >= FOLD; data += FOLD, length -= FOLD) {
		a = fold(a, far, load_lanes(data));
		b = fold(b, far, load_lanes(data + 32));
		c = fold(c, far, load_lanes(data + 64));
		d = fold(d, far, load_lanes(data + 96));
	}
	d = fold(fold(fold(a, near, b), near, c), near, d);
	/* The first of the two is made part of the last. */
	d = fold(d, load_lanes(fold_last), _mm256_zextsi128_si256(_mm256_extracti128_si256(d, 1)));
	_mm_storeu_si128((__m128i *)(void *)lanes, _mm256_castsi256_si128(d));
	_mm256_zeroupper(); /* the compiler forgets it before a call in place of a return */
	crc = __builtin_ia32_crc32di(0, lanes[0]);
	crc = __builtin_ia32_crc32di(crc, lanes[1]);
	return update_hardware((uint32_t)crc, data, length);
}
#endif

static uint32_t update(enum crc32c_way way, uint32_t crc, const void *data, size_t length)
{
#ifdef __x86_64__
	if (way == CRC32C_FOLDS)
		return ~update_folding(~crc, data, length);
	if (way == CRC32C_WORDS)
		return ~update_hardware(~crc, data, length);
#endif
	(void)way;
	return ~update_tables(~crc, data, length);
}

#ifdef __x86_64__
static uint64_t ticks_of(enum crc32c_way way)
{
	static uint8_t slot[4096];
	volatile uint32_t crc = 0;
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < 16; i++) {
		uint64_t ticks = __builtin_ia32_rdtsc();

		crc = update(way, crc, slot, sizeof(slot));
		ticks = __builtin_ia32_rdtsc() - ticks;
		least = ticks < least ? ticks : least;
	}
	return least;
}

/* Carry-less products of wide registers are no quicker than narrow ones on some processors, so it
 * is tried out: some microseconds. */
static void choose(void)
{
	if (__builtin_cpu_supports("sse4.2"))
		able = best = CRC32C_WORDS;
	if (!able || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("vpclmulqdq"))
		return;
	make_fold_keys();
	able = CRC32C_FOLDS;
	if (ticks_of(CRC32C_FOLDS) < ticks_of(CRC32C_WORDS))
		best = CRC32C_FOLDS;
}
#endif

static void start(void)
{
	make_tables();
#ifdef __x86_64__
	choose();
#endif
}

uint32_t crc32c(uint32_t crc, const void *data, size_t length)
{
	pthread_once(&once, start);
	return update(best, crc, data, length);
}

bool crc32c_by(enum crc32c_way way, uint32_t *crc, const void *data, size_t length)
{
	pthread_once(&once, start);
	if (way > able)
		return false;
	*crc = update(way, *crc, data, length);
	return true;
}

uint32_t crc32c_iov(uint32_t crc, const struct iovec *iov, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		crc = crc32c(crc, iov[i].iov_base, iov[i].iov_len);
	return crc;
}
