/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_KEYS_H
#define ISCSI_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "iscsi/text.h"
#include "target/target.h"

/* The text keys of RFC 7143 section 13 and how each is negotiated: one table (keys.c), one row
 * a key. Pure code, any context. */

#define KEYS_RECEIVE_MAX 262144u /* our MaxRecvDataSegmentLength, bytes */
#define KEYS_LOGIN_MAX   8192u   /* data segment of either side during login */
#define KEYS_BURST_MAX   1048576u
#define KEYS_FIRST_BURST 262144u
#define KEYS_R2T_MAX     8u

/* What both sides agreed on; keys_defaults() is what holds without a word. */
struct iscsi_params {
	uint32_t header_digest, data_digest; /* 1 = CRC32C */
	uint32_t max_connections;
	uint32_t initial_r2t, immediate_data; /* booleans are 0 and 1 */
	uint32_t send_max;                    /* the initiator's MaxRecvDataSegmentLength */
	uint32_t max_burst, first_burst;
	uint32_t max_outstanding_r2t;
	uint32_t time2wait, time2retain; /* s */
	uint32_t error_recovery_level;
	uint32_t pdu_in_order, sequence_in_order;
	uint32_t protocol_level;
	char initiator[SCSI_NAME_MAX + 1];
	char initiator_alias[TEXT_VALUE_MAX + 1];
	char target[SCSI_NAME_MAX + 1];
	bool discovery;
	bool joins; /* a session that is there: keys_join() */
};

void keys_defaults(struct iscsi_params *params);

enum keys_phase { KEYS_LOGIN, KEYS_FULL_FEATURE };

/* keys_answer: negotiate one offered pair: update @params, write our answer (if the key takes
 * one) to @reply. @seen (one bit a row) refuses a key negotiated twice.
 * Returns 0; -EPROTO: a key only targets send, sent twice, or not allowed in this phase. */
int keys_answer(struct iscsi_params *params, uint64_t *seen, enum keys_phase phase,
		const struct text_pair *pair, struct text_writer *reply);

/* Before the first offer is answered: @session is what the leading connection agreed on. */
void keys_join(struct iscsi_params *params, const struct iscsi_params *session);

/* After the last exchange: relations between keys (FirstBurstLength <= MaxBurstLength). */
void keys_settle(struct iscsi_params *params);

#endif
