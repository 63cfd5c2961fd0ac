/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a guest did to its LUNs, as tests/guest/traces.py recorded it between initiator and target.
 * The order of the events is the order in which they went by: a command is there before the target
 * had all of it, its acknowledgement before the initiator heard of it. So whatever stands behind an
 * acknowledgement may rely on it, and whatever stands before may not.
 *
 *	file:   magic, u32 volumes, u32 0, volumes times {u64 bytes, char name[16]}, events
 *	event:  u8 kind, u8 volume, u16 flags, u32 id, u64 offset, u32 length, u32 payload,
 *		then as many bytes as payload says; all little-endian, offset and length in bytes */
#define TRACE_MAGIC   "GRTRACE1"
#define TRACE_VOLUMES 8

enum trace_kind {
	TRACE_WRITE = 'W',   /* a payload shorter than length is repeated */
	TRACE_DISCARD = 'D', /* reads as zeros afterwards */
	TRACE_FLUSH = 'F',
	TRACE_ACK = 'A',  /* the command with this id has ended well */
	TRACE_MARK = 'M', /* the guest says something: text, no NUL */
};
#define TRACE_FUA 1u

struct trace_event {
	enum trace_kind kind;
	unsigned volume, flags;
	uint32_t id, length, payload;
	uint64_t offset;
	const uint8_t *data;
};

struct trace {
	uint8_t *bytes; /* of the file */
	struct trace_event *events;
	size_t count;
	uint32_t ids; /* above all ids */
	unsigned volumes;
	char name[TRACE_VOLUMES][17];
	uint64_t size[TRACE_VOLUMES];
};

/* trace_load: NULL, or what is wrong with it. trace_finish: also after a failure. */
const char *trace_load(struct trace *trace, const char *path);
void trace_finish(struct trace *trace);

#endif
