/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TARGET_STORM_MODEL_H
#define TESTS_UNIT_TARGET_STORM_MODEL_H

/* What storm_test.c compares the target with: bytes, a flag a slot, copy tokens, and who has
 * registered and reserved what. Written from the standards' text, not from target/. */

#include "tests/unit/target/rig.h"

#define BLOCKS (RIG_SIZE / 512)
#define SLOTS  (RIG_SIZE / 4096)

/* ---- data */

static uint8_t model[RIG_SIZE];
static bool mapped[SLOTS];
static bool unsure[SLOTS]; /* mapped or not: the standard lets the target choose */

struct range {
	uint64_t lba;
	uint32_t blocks;
	uint8_t cdb[16];
};

/* ---- tokens: point in time copy, change vulnerable */

#define TOKEN        512u
#define TOKEN_RANGES 3u

static struct model_token {
	bool there, revoked;
	unsigned count;
	struct {
		uint64_t lba;
		uint32_t blocks;
	} range[TOKEN_RANGES];
	uint64_t blocks;
	uint8_t bytes[TOKEN];
} tokens[4];

static bool token_touches(const struct model_token *token, uint64_t lba, uint64_t blocks)
{
	for (unsigned i = 0; i < token->count; i++)
		if (lba < token->range[i].lba + token->range[i].blocks &&
		    token->range[i].lba < lba + blocks)
			return true;
	return false;
}

/* The LBA of block @at of what the token stands for. */
static uint64_t token_lba(const struct model_token *token, uint64_t at)
{
	unsigned i = 0;

	while (at >= token->range[i].blocks)
		at -= token->range[i++].blocks;
	return token->range[i].lba + at;
}

/* ---- changes */

static void model_touch(uint64_t lba, uint64_t blocks)
{
	for (unsigned i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		if (blocks > 0 && token_touches(&tokens[i], lba, blocks))
			tokens[i].revoked = true;
}

static void model_map(const struct range *range)
{
	model_touch(range->lba, range->blocks);
	if (range->blocks == 0)
		return;
	for (uint64_t slot = range->lba / 8; slot <= (range->lba + range->blocks - 1) / 8; slot++)
		mapped[slot] = true, unsure[slot] = false;
}

static void model_discard(uint64_t lba, uint64_t blocks)
{
	model_touch(lba, blocks);
	memset(model + lba * 512, 0, blocks * 512);
	for (uint64_t slot = (lba + 7) / 8; (slot + 1) * 8 <= lba + blocks; slot++)
		mapped[slot] = unsure[slot] = false;
}

/* Holes go along where whole slots are copied and nothing overlaps; otherwise the target may map
 * more than it has to. */
static void model_copy(uint64_t from, uint64_t to, uint32_t blocks)
{
	bool exact =
	    ((from | to | blocks) & 7) == 0 && (from + blocks <= to || to + blocks <= from);

	model_touch(to, blocks);
	memmove(model + to * 512, model + from * 512, blocks * 512ull);
	for (uint64_t slot = to / 8; slot * 8 < to + blocks; slot++) {
		uint64_t source = (slot * 8 - to + from) / 8;

		unsure[slot] = !exact || unsure[source];
		if (exact)
			mapped[slot] = mapped[source];
	}
}

/* ---- persistent reservations of two hosts (SPC-4 5.12, 6.16) */

enum { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_AND_IGNORE };
enum { NOBODY = -1 };
/* Classes of the table of commands allowed beside a reservation. */
enum reach { REACH_NOTHING, REACH_READS, REACH_WRITES };

static struct {
	uint64_t key[2]; /* 0: not registered */
	unsigned type;   /* 0: nothing is reserved */
	int holder;      /* NOBODY of an all-registrants type: whoever is registered */
} pr = {.holder = NOBODY};

struct pr_outcome {
	enum scsi_status status;
	uint16_t asc;   /* of CHECK CONDITION */
	uint16_t other; /* unit attention for the other host, 0: none */
};

static bool is_all(unsigned type)
{
	return type == 7 || type == 8;
}

static bool is_shared(unsigned type)
{
	return type >= 5 && type <= 8;
}

static bool is_type(unsigned type)
{
	return type == 1 || type == 3 || is_shared(type);
}

static bool pr_holds(int host)
{
	return pr.type && pr.key[host] && (is_all(pr.type) || pr.holder == host);
}

static bool pr_forbids(int host, enum reach reach)
{
	if (!pr.type || reach == REACH_NOTHING || pr_holds(host) ||
	    (is_shared(pr.type) && pr.key[host]))
		return false;
	return reach == REACH_WRITES || pr.type == 3 || pr.type == 6 || pr.type == 8;
}

static void pr_release(int host, struct pr_outcome *outcome)
{
	if (is_shared(pr.type) && pr.key[!host])
		outcome->other = 0x2a04;
	pr.type = 0;
	pr.holder = NOBODY;
}

static void pr_register(int host, uint64_t key, struct pr_outcome *outcome)
{
	bool held = pr.holder == host;

	pr.key[host] = key;
	if (key == 0 && pr.type && (held || (!pr.key[0] && !pr.key[1])))
		pr_release(host, outcome);
}

static struct pr_outcome sense_outcome(uint16_t asc)
{
	return (struct pr_outcome){SCSI_CHECK_CONDITION, asc, 0};
}

/* The reservation becomes @host's; @key names who loses his registration, 0: all others. */
static struct pr_outcome pr_take_over(int host, uint64_t key, unsigned type)
{
	struct pr_outcome outcome = {0};

	if (!is_type(type))
		return sense_outcome(0x2400);
	if (pr.key[!host] && (key == 0 || key == pr.key[!host])) {
		pr.key[!host] = 0;
		outcome.other = 0x2a05;
	} else if (pr.key[!host] && type != pr.type) {
		outcome.other = 0x2a04;
	}
	pr.type = type;
	pr.holder = is_all(type) ? NOBODY : host;
	return outcome;
}

static struct pr_outcome pr_preempt(int host, uint64_t key, unsigned type)
{
	struct pr_outcome outcome = {0};
	bool any = false;

	if (pr.type && (is_all(pr.type) ? key == 0 : key == pr.key[pr.holder]))
		return pr_take_over(host, key, type);
	if (key == 0)
		return sense_outcome(0x2600);
	for (int i = 0; i < 2; i++) {
		if (pr.key[i] != key)
			continue;
		any = true;
		pr.key[i] = 0;
		if (i != host)
			outcome.other = 0x2a05;
	}
	if (!any)
		outcome.status = SCSI_RESERVATION_CONFLICT;
	else if (pr.type && !pr.key[0] && !pr.key[1])
		pr.type = 0;
	return outcome;
}

static struct pr_outcome reserve_out(int host, unsigned action, unsigned type, uint64_t key,
				     uint64_t action_key)
{
	struct pr_outcome outcome = {0};

	if (action != REGISTER_AND_IGNORE &&
	    (key != pr.key[host] || (action != REGISTER && !pr.key[host]))) {
		outcome.status = SCSI_RESERVATION_CONFLICT;
		return outcome;
	}
	switch (action) {
	case REGISTER:
	case REGISTER_AND_IGNORE:
		pr_register(host, action_key, &outcome);
		break;
	case RESERVE:
		if (!is_type(type))
			return sense_outcome(0x2400);
		if (pr.type && !(pr_holds(host) && pr.type == type)) {
			outcome.status = SCSI_RESERVATION_CONFLICT;
		} else if (!pr.type) {
			pr.type = type;
			pr.holder = is_all(type) ? NOBODY : host;
		}
		break;
	case RELEASE:
		if (!is_type(type))
			return sense_outcome(0x2400);
		if (pr_holds(host) && type != pr.type)
			return sense_outcome(0x2604);
		if (pr_holds(host))
			pr_release(host, &outcome);
		break;
	case CLEAR:
		if (pr.key[!host])
			outcome.other = 0x2a03;
		pr.key[0] = pr.key[1] = 0;
		pr.type = 0;
		pr.holder = NOBODY;
		break;
	default:
		return pr_preempt(host, action_key, type);
	}
	return outcome;
}

#endif
