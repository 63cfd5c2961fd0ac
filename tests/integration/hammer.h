/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_INTEGRATION_HAMMER_H
#define TESTS_INTEGRATION_HAMMER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the hammers have in common (scsi_hammer.c, mcs_hammer.c): the time, chance, and CDBs. */

static inline double hammer_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static inline uint64_t hammer_seed(const char *seed, unsigned number)
{
	return (strtoull(seed, NULL, 10) + number + 1) * 0x9e3779b97f4a7c15ull | 1;
}

static inline uint32_t hammer_chance(uint64_t *state, uint32_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 11) % below;
}

static inline unsigned hammer_cdb_length(uint8_t opcode)
{
	static const uint8_t lengths[8] = {6, 10, 10, 16, 16, 12, 16, 16};

	return lengths[opcode >> 5];
}

static inline bool hammer_moves_out(uint8_t opcode)
{
	static const uint8_t list[] = {0x0a, 0x15, 0x2a, 0x2e, 0x41, 0x42, 0x48, 0x55, 0x5f, 0x83,
				       0x89, 0x8a, 0x8b, 0x8e, 0x93, 0x9c, 0xa4, 0xaa, 0xae};

	return memchr(list, opcode, sizeof(list)) != NULL;
}

/* One of @opcodes, mostly near the front and short, so that it does something; now and then
 * anything. Returns its length. */
static inline unsigned hammer_cdb(uint64_t *state, const uint8_t *opcodes, unsigned count,
				  uint8_t cdb[16])
{
	static const uint8_t places[17] = {[6] = 4, [10] = 8, [12] = 9, [16] = 13};
	unsigned length;

	memset(cdb, 0, 16);
	cdb[0] = opcodes[hammer_chance(state, count)];
	if (cdb[0] == 0x48 && hammer_chance(state, 50)) /* SANITIZE, seldom: it takes a while */
		cdb[0] = 0;
	length = hammer_cdb_length(cdb[0]);
	if (hammer_chance(state, 12) == 0) {
		for (unsigned i = 1; i < length; i++)
			cdb[i] = (uint8_t)hammer_chance(state, 256);
		return length;
	}
	/* Of what has no address or length these bytes are reserved: not always. */
	if (hammer_chance(state, 2))
		cdb[length == 6 ? 3 : length == 16 ? 8 : 4] = (uint8_t)hammer_chance(state, 64);
	if (hammer_chance(state, 4))
		cdb[places[length]] = (uint8_t)(1 + hammer_chance(state, 32));
	if ((cdb[0] & 0xbf) == 0x1a) /* MODE SENSE: all pages */
		cdb[2] = 0x3f;
	if (cdb[0] == 0x89) /* COMPARE AND WRITE: so that it may find what it expects */
		cdb[13] = 1;
	if (cdb[0] && strchr("\x48\x5e\x5f\x83\x84\x9e\xa3\xa4", cdb[0]))
		cdb[1] = (uint8_t)hammer_chance(state, 32);
	if (cdb[0] == 0x5f) { /* PERSISTENT RESERVE OUT: a type, and the length of its list */
		cdb[2] = (uint8_t)(1 + hammer_chance(state, 8));
		memset(cdb + 4, 0, 4);
		cdb[8] = 24;
	}
	return length;
}

#endif
