/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdint.h>

/* What the load generator says and hears on the wire (RFC 7143 clause 11). On purpose not the
 * server's codec: a shared mistake would hide itself. */

#define WIRE_HEADER      48u
#define WIRE_DIGEST      4u
#define WIRE_SEGMENT_MAX (256u << 10) /* MaxRecvDataSegmentLength we declare */
#define WIRE_NO_TAG      0xffffffffu

enum wire_opcode {
	WIRE_NOP_OUT = 0x00,
	WIRE_COMMAND = 0x01,
	WIRE_LOGIN = 0x03,
	WIRE_DATA_OUT = 0x05,
	WIRE_LOGOUT = 0x06,
	WIRE_NOP_IN = 0x20,
	WIRE_RESPONSE = 0x21,
	WIRE_LOGIN_RESPONSE = 0x23,
	WIRE_DATA_IN = 0x25,
	WIRE_LOGOUT_RESPONSE = 0x26,
	WIRE_R2T = 0x31,
	WIRE_ASYNC = 0x32,
	WIRE_REJECT = 0x3f,
	WIRE_OPCODE_MASK = 0x3f,
	WIRE_IMMEDIATE = 0x40, /* bit I of byte 0 */
};

#define WIRE_FINAL  0x80 /* byte 1 */
#define WIRE_READ   0x40 /* SCSI command, byte 1 */
#define WIRE_WRITE  0x20
#define WIRE_SIMPLE 0x01
#define WIRE_STATUS 0x01 /* Data-In, byte 1: S, the status comes with it */

static inline void wire_put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void wire_put24(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 16);
	wire_put16(at + 1, value);
}

static inline void wire_put32(uint8_t *at, uint32_t value)
{
	wire_put16(at, value >> 16);
	wire_put16(at + 2, value);
}

static inline void wire_put64(uint8_t *at, uint64_t value)
{
	wire_put32(at, (uint32_t)(value >> 32));
	wire_put32(at + 4, (uint32_t)value);
}

static inline uint32_t wire_get24(const uint8_t *at)
{
	return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

static inline uint32_t wire_get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | wire_get24(at + 1);
}

static inline uint64_t wire_get64(const uint8_t *at)
{
	return (uint64_t)wire_get32(at) << 32 | wire_get32(at + 4);
}

/* Digests travel least significant byte first (RFC 7143 13.1). */
static inline void wire_put_digest(uint8_t *at, uint32_t crc)
{
	at[0] = (uint8_t)crc;
	at[1] = (uint8_t)(crc >> 8);
	at[2] = (uint8_t)(crc >> 16);
	at[3] = (uint8_t)(crc >> 24);
}

static inline uint32_t wire_get_digest(const uint8_t *at)
{
	return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static inline uint32_t wire_padded(uint32_t length)
{
	return (length + 3u) & ~3u;
}

#endif
