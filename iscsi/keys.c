/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/keys.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "iscsi/iscsi.h"

/* How the result comes about (RFC 7143 6.2). */
enum key_kind {
	KEY_MINIMUM, /* the smaller of both numbers */
	KEY_MAXIMUM, /* the larger */
	KEY_AND,
	KEY_OR,          /* booleans */
	KEY_DIGEST,      /* list of CRC32C and None; the first we know */
	KEY_DECLARED,    /* a number of the initiator's own; not answered */
	KEY_HANDLED,     /* taken by login.c (names, AuthMethod); not answered here */
	KEY_CHAP,        /* likewise; chap.c keeps their order, so they may come again */
	KEY_TARGET_ONLY, /* only we may send it */
	KEY_REFUSED_NO,  /* obsolete boolean: No */
	KEY_IRRELEVANT,  /* obsolete number */
	KEY_REPORTING,   /* TaskReporting: RFC3720 */
};

enum key_flags {
	IN_LOGIN = 1,
	IN_FULL_FEATURE = 2,
	NORMAL_ONLY = 4, /* Irrelevant in a discovery session */
	LEADING = 8,     /* only the leading connection of a session settles it */
};

struct key_row {
	const char *name;
	enum key_kind kind;
	unsigned flags;
	uint32_t low, high, ours;
	size_t offset;
};

#define AT(field) offsetof(struct iscsi_params, field)

static const struct key_row table[] = {
    {"HeaderDigest", KEY_DIGEST, IN_LOGIN, 0, 0, 0, AT(header_digest)},
    {"DataDigest", KEY_DIGEST, IN_LOGIN, 0, 0, 0, AT(data_digest)},
    {"MaxConnections", KEY_MINIMUM, IN_LOGIN | NORMAL_ONLY | LEADING, 1, 65535,
     ISCSI_SESSION_CONNECTIONS_MAX, AT(max_connections)},
    {"InitialR2T", KEY_OR, IN_LOGIN | NORMAL_ONLY | LEADING, 0, 1, 0, AT(initial_r2t)},
    {"ImmediateData", KEY_AND, IN_LOGIN | NORMAL_ONLY | LEADING, 0, 1, 1, AT(immediate_data)},
    {"MaxRecvDataSegmentLength", KEY_DECLARED, IN_LOGIN | IN_FULL_FEATURE, 512, 16777215, 0,
     AT(send_max)},
    {"MaxBurstLength", KEY_MINIMUM, IN_LOGIN | NORMAL_ONLY | LEADING, 512, 16777215, KEYS_BURST_MAX,
     AT(max_burst)},
    {"FirstBurstLength", KEY_MINIMUM, IN_LOGIN | NORMAL_ONLY | LEADING, 512, 16777215,
     KEYS_FIRST_BURST, AT(first_burst)},
    {"DefaultTime2Wait", KEY_MAXIMUM, IN_LOGIN | LEADING, 0, 3600, 2, AT(time2wait)},
    {"DefaultTime2Retain", KEY_MINIMUM, IN_LOGIN | LEADING, 0, 3600, 0, AT(time2retain)},
    {"MaxOutstandingR2T", KEY_MINIMUM, IN_LOGIN | NORMAL_ONLY | LEADING, 1, 65535, KEYS_R2T_MAX,
     AT(max_outstanding_r2t)},
    {"DataPDUInOrder", KEY_OR, IN_LOGIN | NORMAL_ONLY | LEADING, 0, 1, 1, AT(pdu_in_order)},
    {"DataSequenceInOrder", KEY_OR, IN_LOGIN | NORMAL_ONLY | LEADING, 0, 1, 1,
     AT(sequence_in_order)},
    {"ErrorRecoveryLevel", KEY_MINIMUM, IN_LOGIN | LEADING, 0, 2, 0, AT(error_recovery_level)},
    {"iSCSIProtocolLevel", KEY_MINIMUM, IN_LOGIN | LEADING, 0, 31, 2, AT(protocol_level)},
    {"TaskReporting", KEY_REPORTING, IN_LOGIN | NORMAL_ONLY, 0, 0, 0, 0},
    {"InitiatorName", KEY_HANDLED, IN_LOGIN, 0, 0, 0, 0},
    {"InitiatorAlias", KEY_HANDLED, IN_LOGIN | IN_FULL_FEATURE, 0, 0, 0, 0},
    {"TargetName", KEY_HANDLED, IN_LOGIN, 0, 0, 0, 0},
    {"SessionType", KEY_HANDLED, IN_LOGIN, 0, 0, 0, 0},
    {"AuthMethod", KEY_HANDLED, IN_LOGIN, 0, 0, 0, 0},
    {"CHAP_A", KEY_CHAP, IN_LOGIN, 0, 0, 0, 0},
    {"CHAP_I", KEY_CHAP, IN_LOGIN, 0, 0, 0, 0},
    {"CHAP_C", KEY_CHAP, IN_LOGIN, 0, 0, 0, 0},
    {"CHAP_N", KEY_CHAP, IN_LOGIN, 0, 0, 0, 0},
    {"CHAP_R", KEY_CHAP, IN_LOGIN, 0, 0, 0, 0},
    {"SendTargets", KEY_HANDLED, IN_FULL_FEATURE, 0, 0, 0, 0},
    {"TargetAlias", KEY_TARGET_ONLY, 0, 0, 0, 0, 0},
    {"TargetAddress", KEY_TARGET_ONLY, 0, 0, 0, 0, 0},
    {"TargetPortalGroupTag", KEY_TARGET_ONLY, 0, 0, 0, 0, 0},
    {"IFMarker", KEY_REFUSED_NO, IN_LOGIN, 0, 0, 0, 0},
    {"OFMarker", KEY_REFUSED_NO, IN_LOGIN, 0, 0, 0, 0},
    {"IFMarkInt", KEY_IRRELEVANT, IN_LOGIN, 0, 0, 0, 0},
    {"OFMarkInt", KEY_IRRELEVANT, IN_LOGIN, 0, 0, 0, 0},
};

#define ROWS (sizeof(table) / sizeof(table[0]))
_Static_assert(ROWS <= 64, "one bit a row in seen");

void keys_defaults(struct iscsi_params *params)
{
	*params = (struct iscsi_params){
	    .max_connections = 1,
	    .initial_r2t = 1,
	    .immediate_data = 1,
	    .send_max = KEYS_LOGIN_MAX,
	    .max_burst = 262144,
	    .first_burst = 65536,
	    .max_outstanding_r2t = 1,
	    .time2wait = 2,
	    .time2retain = 20,
	    .pdu_in_order = 1,
	    .sequence_in_order = 1,
	    .protocol_level = 1,
	};
}

static const struct key_row *find_row(const char *name)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

/* On a connection that joins a session what the leading one settled stays: an offer that comes to
 * the same is answered with it, any other is refused. */
static bool settled_otherwise(const struct iscsi_params *params, const struct key_row *row,
			      uint32_t before, uint32_t result)
{
	return params->joins && (row->flags & LEADING) && result != before;
}

static void answer_number(const struct key_row *row, const struct iscsi_params *params,
			  uint32_t *field, const char *value, struct text_writer *reply)
{
	uint32_t ours = params->joins && (row->flags & LEADING) ? *field : row->ours;
	uint32_t offered, result;

	if (text_number(value, &offered) < 0 || offered < row->low || offered > row->high) {
		text_add(reply, row->name, "Reject");
		return;
	}
	if (row->kind == KEY_DECLARED) {
		*field = offered;
		return;
	}
	if (row->kind == KEY_MINIMUM)
		result = offered < ours ? offered : ours;
	else
		result = offered > ours ? offered : ours;
	if (settled_otherwise(params, row, *field, result)) {
		text_add(reply, row->name, "Reject");
		return;
	}
	*field = result;
	text_add_number(reply, row->name, *field);
}

static void answer_boolean(const struct key_row *row, const struct iscsi_params *params,
			   uint32_t *field, const char *value, struct text_writer *reply)
{
	uint32_t offered = !strcmp(value, "Yes");
	uint32_t ours = params->joins ? *field : row->ours;
	uint32_t result = row->kind == KEY_AND ? offered & ours : offered | ours;

	if ((!offered && strcmp(value, "No") != 0) ||
	    settled_otherwise(params, row, *field, result)) {
		text_add(reply, row->name, "Reject");
		return;
	}
	*field = result;
	text_add(reply, row->name, *field ? "Yes" : "No");
}

static void answer_digest(const struct key_row *row, uint32_t *field, const char *value,
			  struct text_writer *reply)
{
	char item[TEXT_KEY_MAX + 1];

	for (unsigned i = 0; text_list_item(value, i, item, sizeof(item)); i++) {
		bool crc = !strcmp(item, "CRC32C");

		if (!crc && strcmp(item, "None") != 0)
			continue;
		*field = crc;
		text_add(reply, row->name, item);
		return;
	}
	text_add(reply, row->name, "Reject");
}

static void answer_reporting(const char *value, struct text_writer *reply)
{
	text_add(reply, "TaskReporting", text_list_has(value, "RFC3720") ? "RFC3720" : "Reject");
}

static void answer_row(const struct key_row *row, struct iscsi_params *params, const char *value,
		       struct text_writer *reply)
{
	uint32_t *field = (uint32_t *)((char *)params + row->offset);

	switch (row->kind) {
	case KEY_MINIMUM:
	case KEY_MAXIMUM:
	case KEY_DECLARED:
		answer_number(row, params, field, value, reply);
		break;
	case KEY_AND:
	case KEY_OR:
		answer_boolean(row, params, field, value, reply);
		break;
	case KEY_DIGEST:
		answer_digest(row, field, value, reply);
		break;
	case KEY_REPORTING:
		answer_reporting(value, reply);
		break;
	case KEY_REFUSED_NO:
		text_add(reply, row->name, "No");
		break;
	case KEY_IRRELEVANT:
		text_add(reply, row->name, "Irrelevant");
		break;
	case KEY_HANDLED:
	case KEY_CHAP:
	case KEY_TARGET_ONLY:
		break;
	}
}

/* An answer to an offer we never made, or a word that is only an answer. */
static bool is_answer_word(const char *value)
{
	return !strcmp(value, "NotUnderstood") || !strcmp(value, "Irrelevant") ||
	       !strcmp(value, "Reject");
}

int keys_answer(struct iscsi_params *params, uint64_t *seen, enum keys_phase phase,
		const struct text_pair *pair, struct text_writer *reply)
{
	const struct key_row *row = find_row(pair->key);
	unsigned needed = phase == KEYS_LOGIN ? IN_LOGIN : IN_FULL_FEATURE;
	uint64_t bit;

	if (!row) {
		if (!is_answer_word(pair->value))
			text_add(reply, pair->key, "NotUnderstood");
		return 0;
	}
	if (row->kind == KEY_TARGET_ONLY || !(row->flags & needed))
		return -EPROTO;
	bit = 1ull << (row - table);
	if ((*seen & bit) && row->kind != KEY_CHAP)
		return -EPROTO;
	*seen |= bit;
	if (params->discovery && (row->flags & NORMAL_ONLY)) {
		text_add(reply, row->name, "Irrelevant");
		return 0;
	}
	answer_row(row, params, pair->value, reply);
	return 0;
}

void keys_join(struct iscsi_params *params, const struct iscsi_params *session)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (table[i].flags & LEADING)
			*(uint32_t *)((char *)params + table[i].offset) =
			    *(const uint32_t *)((const char *)session + table[i].offset);
	params->joins = true;
}

void keys_settle(struct iscsi_params *params)
{
	if (params->first_burst > params->max_burst)
		params->first_burst = params->max_burst;
}
