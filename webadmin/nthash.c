/* SPDX-License-Identifier: Apache-2.0 */
/* nthash.c: MD4 is in no provider that OpenSSL 3 loads by itself; one message of a few blocks needs
 * no more than this. */
#include "webadmin/nthash.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define BLOCK 64u

static uint32_t rotate(uint32_t value, unsigned bits)
{
	return value << bits | value >> (32 - bits);
}

static uint32_t mix(unsigned round, uint32_t x, uint32_t y, uint32_t z)
{
	if (round == 0)
		return (x & y) | (~x & z);
	if (round == 1)
		return (x & y) | (x & z) | (y & z);
	return x ^ y ^ z;
}

/* RFC 1320 3.4: 48 steps; which word of the block, and how far its sum is rotated. */
static void md4_block(uint32_t state[4], const uint8_t *block)
{
	static const uint8_t order[3][16] = {
	    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	    {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
	    {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15},
	};
	static const uint8_t shift[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
	static const uint32_t add[3] = {0, 0x5a827999u, 0x6ed9eba1u};
	uint32_t words[16], now[4];

	memcpy(words, block, BLOCK);
	for (unsigned i = 0; i < 16; i++)
		words[i] = le32toh(words[i]);
	memcpy(now, state, sizeof now);
	for (unsigned i = 0; i < 48; i++) {
		unsigned round = i / 16, at = i % 16;
		uint32_t sum = now[0] + mix(round, now[1], now[2], now[3]) +
			       words[order[round][at]] + add[round];

		now[0] = now[3];
		now[3] = now[2];
		now[2] = now[1];
		now[1] = rotate(sum, shift[round][at % 4]);
	}
	for (unsigned i = 0; i < 4; i++)
		state[i] += now[i];
}

static void md4(const uint8_t *data, size_t length, uint8_t hash[NTHASH_LENGTH])
{
	uint32_t state[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
	uint8_t last[2 * BLOCK] = {0x80};
	size_t whole = length - length % BLOCK, rest = length % BLOCK, room;
	uint64_t bits = htole64((uint64_t)length * 8);

	for (size_t at = 0; at < whole; at += BLOCK)
		md4_block(state, data + at);
	memcpy(last, data + whole, rest);
	memset(last + rest, 0, sizeof last - rest);
	last[rest] = 0x80;
	room = rest + 1 + sizeof bits <= BLOCK ? BLOCK : 2 * BLOCK;
	memcpy(last + room - sizeof bits, &bits, sizeof bits);
	for (size_t at = 0; at < room; at += BLOCK)
		md4_block(state, last + at);
	for (unsigned i = 0; i < 4; i++)
		state[i] = htole32(state[i]);
	memcpy(hash, state, NTHASH_LENGTH);
	explicit_bzero(last, sizeof last);
}

/* One character of UTF-8; its bytes, 0: it is none. */
static unsigned take_character(const uint8_t *text, uint32_t *ret_character)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	unsigned more = text[0] < 0x80             ? 0
			: (text[0] & 0xe0) == 0xc0 ? 1
			: (text[0] & 0xf0) == 0xe0 ? 2
						   : 3;
	uint32_t character = more ? text[0] & (0x3fu >> more) : text[0];

	if (more == 3 && (text[0] & 0xf8) != 0xf0)
		return 0;
	for (unsigned i = 1; i <= more; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		character = character << 6 | (text[i] & 0x3f);
	}
	if (character < least[more] || character > 0x10ffff ||
	    (character >= 0xd800 && character < 0xe000))
		return 0;
	*ret_character = character;
	return more + 1;
}

bool nthash(const char *password, uint8_t hash[NTHASH_LENGTH])
{
	uint8_t text[2 * NTHASH_PASSWORD_MAX];
	const uint8_t *at = (const uint8_t *)password;
	unsigned units = 0;

	while (*at) {
		uint32_t character;
		unsigned bytes = take_character(at, &character), wanted;
		uint16_t pair[2];

		wanted = character > 0xffff ? 2 : 1;
		if (bytes == 0 || units + wanted > NTHASH_PASSWORD_MAX)
			return false;
		pair[0] = htole16((uint16_t)character);
		if (wanted == 2) {
			pair[0] = htole16((uint16_t)(0xd7c0 + (character >> 10)));
			pair[1] = htole16((uint16_t)(0xdc00 | (character & 0x3ff)));
		}
		memcpy(text + (size_t)2 * units, pair, (size_t)2 * wanted);
		units += wanted;
		at += bytes;
	}
	md4(text, (size_t)2 * units, hash);
	explicit_bzero(text, sizeof text);
	return true;
}
