/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_PACK_H
#define REPLICATION_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "replication/wire.h"

/* Records of an epoch in a row, compressed as one: what a PACKED message carries (docs/FORMAT.md,
 * "Replication protocol"). A record is a head of PACK_HEAD bytes, little-endian, and its data:
 *
 *   0 member(2)  2 zeros(1): no data follows  3 zero(1)  4 length(8)  12 offset(8)
 *
 * What does not get smaller is not packed: its records are sent as they are. Context: any one
 * thread at a time; nothing allocates but where it says so. */

#define PACK_HEAD 20u

enum pack_kind { PACK_OFF, PACK_LZ4, PACK_ZSTD, PACK_KINDS };

/* pack_kind_parse: "off", "lz4", "zstd"; -EINVAL. */
int pack_kind_parse(const char *text, enum pack_kind *ret_kind, struct err *err)
    __attribute__((warn_unused_result));
const char *pack_kind_name(enum pack_kind kind);

struct pack_record {
	unsigned member;
	uint64_t offset, length;
	const uint8_t *data; /* borrowed; NULL: zeros */
};

/* pack_message: @record as a message of its own: WRITE, or ZERO. */
struct wire_message pack_message(const struct pack_record *record);
/* pack_next: the record at *@at of @length bytes, which moves behind it. 1; 0: there is none any
 * more; -EPROTO: that is no record. */
int pack_next(const uint8_t *raw, size_t length, size_t *at, struct pack_record *ret_record)
    __attribute__((warn_unused_result));

/* ---- packing ---- */
struct packer {
	enum pack_kind kind;
	void *state;           /* LZ4's or Zstandard's */
	uint8_t *raw, *packed; /* WIRE_RAW_MAX each */
	size_t used;           /* of raw */
	uint64_t plain;        /* bytes on the link of what is in it, were it sent as it is */
	unsigned misses, skip; /* what did not get smaller lately; so many are not tried */
};

/* packer_open: for @kind; PACK_OFF takes nothing. -ENOMEM. packer_close: also of one that is zeroed
 * or could not be opened. */
int packer_open(struct packer *packer, enum pack_kind kind) __attribute__((warn_unused_result));
void packer_close(struct packer *packer);
/* packer_add: false: there is no room for it until packer_clear(). An empty one has room for a
 * record of WIRE_DATA_MAX. */
bool packer_add(struct packer *packer, const struct pack_record *record);
void packer_clear(struct packer *packer);
/* packer_squeeze: bytes in packed; 0: it is not worth it. */
size_t packer_squeeze(struct packer *packer);

/* ---- unpacking ---- */
struct unpacker {
	void *zstd;   /* NULL until it is needed */
	uint8_t *raw; /* WIRE_RAW_MAX; likewise */
};

/* unpack: @message, a PACKED one, to exactly its length bytes in raw; never more than WIRE_RAW_MAX,
 * whatever it says. -EPROTO, -ENOMEM. */
int unpack(struct unpacker *unpacker, const struct wire_message *message)
    __attribute__((warn_unused_result));
void unpacker_close(struct unpacker *unpacker);

#endif
