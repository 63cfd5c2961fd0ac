/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_PDU_H
#define ISCSI_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The wire format of RFC 7143 section 11: basic header segment, additional header segments,
 * digests, padding. Pure code, no I/O, any context. All fields are big-endian on the wire. */

#define PDU_BHS_LENGTH    48u
#define PDU_AHS_MAX       1020u /* TotalAHSLength is one byte of 4-byte words */
#define PDU_DIGEST_LENGTH 4u
#define PDU_HEADER_MAX    (PDU_BHS_LENGTH + PDU_AHS_MAX + PDU_DIGEST_LENGTH)
#define PDU_TAG_NONE      0xffffffffu

enum pdu_opcode {
	PDU_NOP_OUT = 0x00,
	PDU_SCSI_COMMAND = 0x01,
	PDU_TASK_MANAGEMENT = 0x02,
	PDU_LOGIN = 0x03,
	PDU_TEXT = 0x04,
	PDU_DATA_OUT = 0x05,
	PDU_LOGOUT = 0x06,
	PDU_SNACK = 0x10,
	PDU_NOP_IN = 0x20,
	PDU_SCSI_RESPONSE = 0x21,
	PDU_TASK_MANAGEMENT_RESPONSE = 0x22,
	PDU_LOGIN_RESPONSE = 0x23,
	PDU_TEXT_RESPONSE = 0x24,
	PDU_DATA_IN = 0x25,
	PDU_LOGOUT_RESPONSE = 0x26,
	PDU_R2T = 0x31,
	PDU_ASYNC = 0x32,
	PDU_REJECT = 0x3f,
};

/* Byte offsets in the BHS. The first group is common; the others belong to the PDU named. */
enum pdu_offset {
	PDU_AT_OPCODE = 0,
	PDU_AT_FLAGS = 1,
	PDU_AT_AHS_LENGTH = 4,
	PDU_AT_DATA_LENGTH = 5,
	PDU_AT_LUN = 8,
	PDU_AT_ITT = 16,
	PDU_AT_TTT = 20,
	PDU_AT_CMDSN = 24, /* requests */
	PDU_AT_EXPSTATSN = 28,
	PDU_AT_STATSN = 24, /* responses */
	PDU_AT_EXPCMDSN = 28,
	PDU_AT_MAXCMDSN = 32,
	PDU_AT_DATASN = 36,   /* Data-In, Data-Out, R2T (as R2TSN), response (as ExpDataSN) */
	PDU_AT_OFFSET = 40,   /* Data-In, Data-Out, R2T */
	PDU_AT_RESIDUAL = 44, /* Data-In, response; R2T: desired length */
	PDU_AT_EDTL = 20,     /* SCSI command */
	PDU_AT_CDB = 32,
	PDU_AT_ISID = 8, /* login */
	PDU_AT_TSIH = 14,
	PDU_AT_CID = 20,
	PDU_AT_STATUS_CLASS = 36,
	PDU_AT_REFERENCED_TAG = 20, /* task management */
	PDU_AT_REFERENCED_CMDSN = 32,
	PDU_AT_ASYNC_EVENT = 36, /* asynchronous message */
	PDU_AT_ASYNC_PARAMETER = 38,
};

#define PDU_IMMEDIATE      0x40 /* in the opcode byte */
#define PDU_FINAL          0x80 /* in the flags byte, most PDUs */
#define PDU_CONTINUE       0x40 /* login and text */
#define PDU_READ           0x40 /* SCSI command */
#define PDU_WRITE          0x20
#define PDU_ATTRIBUTES     0x07
#define PDU_DATA_IN_STATUS 0x01
#define PDU_OVERFLOW       0x04 /* Data-In with status, SCSI response */
#define PDU_UNDERFLOW      0x02

enum pdu_reject_reason { /* RFC 7143 11.17.1 */
			 PDU_REJECT_DATA_DIGEST = 0x02,
			 PDU_REJECT_SNACK = 0x03,
			 PDU_REJECT_PROTOCOL_ERROR = 0x04,
			 PDU_REJECT_NOT_SUPPORTED = 0x05,
			 PDU_REJECT_IMMEDIATE = 0x06,
			 PDU_REJECT_TASK_IN_PROGRESS = 0x07,
			 PDU_REJECT_INVALID_DATA_ACK = 0x08,
			 PDU_REJECT_INVALID_FIELD = 0x09,
			 PDU_REJECT_NO_RESOURCE = 0x0a,
			 PDU_REJECT_NEGOTIATION_RESET = 0x0b,
			 PDU_REJECT_WAITING_FOR_LOGOUT = 0x0c,
};

static inline uint16_t pdu_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t pdu_get24(const uint8_t *at)
{
	return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

static inline uint32_t pdu_get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | pdu_get24(at + 1);
}

static inline void pdu_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void pdu_put24(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 16);
	pdu_put16(at + 1, (uint16_t)value);
}

static inline void pdu_put32(uint8_t *at, uint32_t value)
{
	pdu_put16(at, (uint16_t)(value >> 16));
	pdu_put16(at + 2, (uint16_t)value);
}

static inline uint8_t pdu_opcode(const uint8_t *bhs)
{
	return bhs[PDU_AT_OPCODE] & 0x3f;
}

static inline bool pdu_immediate(const uint8_t *bhs)
{
	return bhs[PDU_AT_OPCODE] & PDU_IMMEDIATE;
}

static inline size_t pdu_ahs_length(const uint8_t *bhs)
{
	return (size_t)bhs[PDU_AT_AHS_LENGTH] * 4;
}

static inline uint32_t pdu_data_length(const uint8_t *bhs)
{
	return pdu_get24(bhs + PDU_AT_DATA_LENGTH);
}

static inline uint32_t pdu_padding(uint32_t data_length)
{
	return -data_length & 3;
}

/* Bytes of everything before the data segment: BHS, AHS and, if on, the header digest. Needs
 * the first PDU_BHS_LENGTH bytes only. */
size_t pdu_header_length(const uint8_t *bhs, bool header_digest);

/* pdu_header_digest_ok: @header is pdu_header_length(bhs, true) bytes. */
bool pdu_header_digest_ok(const uint8_t *header);

/* Digests travel with their least significant byte first (RFC 7143 appendix; RFC 3385). */
void pdu_put_digest(uint8_t at[4], uint32_t crc);
uint32_t pdu_get_digest(const uint8_t at[4]);

/* pdu_data_digest: over data and padding. @data is @length bytes in @iov pieces. */
uint32_t pdu_data_digest(const struct iovec *iov, unsigned count, uint32_t length);

/* Additional header segments (RFC 7143 11.2.2). */
enum pdu_ahs_type { PDU_AHS_EXTENDED_CDB = 1, PDU_AHS_BIDIRECTIONAL_READ = 2 };

struct pdu_ahs {
	uint8_t type;
	const uint8_t *data; /* after the type-specific byte */
	size_t length;
};

/* pdu_ahs_next: walk @ahs from *@at (0 first). 1 = *ret_ahs is set, 0 = end, -EINVAL = a length
 * that leaves the segment or is zero. */
int pdu_ahs_next(const uint8_t *ahs, size_t length, size_t *at, struct pdu_ahs *ret_ahs);

/* Serial number arithmetic on 32 bits (RFC 1982): is @a before @b. */
static inline bool pdu_sn_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* The command window of one session (RFC 7143 4.2.2.1). MaxCmdSN never moves back. */
struct pdu_window {
	uint32_t expected; /* ExpCmdSN */
	uint32_t maximum;  /* MaxCmdSN */
};

enum pdu_window_place { PDU_WINDOW_OUTSIDE, PDU_WINDOW_NEXT, PDU_WINDOW_AHEAD };
void pdu_window_init(struct pdu_window *window, uint32_t first, uint32_t depth);
/* Where a non-immediate command with @cmdsn stands: outside (drop it in silence), the next to
 * run, or ahead of a gap. */
enum pdu_window_place pdu_window_place(const struct pdu_window *window, uint32_t cmdsn);

#endif
