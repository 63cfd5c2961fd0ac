/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/wire.h"

#include <errno.h>
#include <stdio.h>

#include "core/bytes.h"
#include "core/crc32c.h"

/* A cursor over a payload that never leaves it. */
struct cursor {
	uint8_t *to;         /* encoding */
	const uint8_t *from; /* decoding */
	size_t left;
	bool bad;
};

static bool take(struct cursor *cursor, size_t length)
{
	if (cursor->left < length)
		cursor->bad = true;
	if (cursor->bad)
		return false;
	cursor->left -= length;
	return true;
}

static void code_bytes(struct cursor *cursor, void *field, size_t length)
{
	if (!take(cursor, length))
		return;
	if (cursor->to) {
		memcpy(cursor->to, field, length);
		cursor->to += length;
	} else {
		memcpy(field, cursor->from, length);
		cursor->from += length;
	}
}

static void code8(struct cursor *cursor, uint8_t *field)
{
	code_bytes(cursor, field, 1);
}

static void code16(struct cursor *cursor, uint16_t *field)
{
	uint8_t bytes[2];

	put16(bytes, *field);
	code_bytes(cursor, bytes, sizeof bytes);
	*field = get16(bytes);
}

static void code64(struct cursor *cursor, uint64_t *field)
{
	uint8_t bytes[8];

	put64(bytes, *field);
	code_bytes(cursor, bytes, sizeof bytes);
	*field = get64(bytes);
}

static void code_flag(struct cursor *cursor, bool *field)
{
	uint8_t byte = *field;

	code8(cursor, &byte);
	if (byte > 1)
		cursor->bad = true;
	*field = byte;
}

static void code_lineage(struct cursor *cursor, struct wire_lineage *lineage)
{
	uint8_t count = (uint8_t)lineage->count;

	code8(cursor, &count);
	if (count > WIRE_LINEAGE_MAX)
		cursor->bad = true;
	lineage->count = cursor->bad ? 0 : count;
	for (unsigned i = 0; i < lineage->count; i++) {
		code_bytes(cursor, lineage->link[i].uuid, 16);
		code64(cursor, &lineage->link[i].fork);
	}
}

/* The fields of each message: one table for both directions, bits in the order they are sent. */
enum {
	F_NODE = 1,
	F_GROUP = 2,
	F_VERSION = 4,
	F_KIND = 8,
	F_FRESH = 16,
	F_MEMBER = 32,
	F_EPOCH = 64,
	F_OFFSET = 128,
	F_LENGTH = 256,
	F_WALL = 512,
	F_RECORDS = 1024,
	F_DIGEST = 2048,
	F_LINEAGE = 4096,
	F_DATA = 8192, /* the rest of the payload */
};

static const struct {
	const char *name;
	unsigned fields;
	size_t data_max;
} types[WIRE_TYPE_END] = {
    [WIRE_HELLO] = {"HELLO", F_NODE | F_GROUP | F_VERSION | F_EPOCH | F_LINEAGE, 0},
    [WIRE_WELCOME] = {"WELCOME", F_NODE | F_VERSION | F_KIND | F_EPOCH | F_LINEAGE, 0},
    [WIRE_REFUSE] = {"REFUSE", F_KIND | F_LINEAGE | F_DATA, 512},
    [WIRE_DEFINE] = {"DEFINE", F_DATA, WIRE_TEXT_MAX},
    [WIRE_READY] = {"READY", F_FRESH, 0},
    [WIRE_BEGIN] = {"BEGIN", F_KIND, 0},
    [WIRE_WRITE] = {"WRITE", F_MEMBER | F_OFFSET | F_DATA, WIRE_DATA_MAX},
    [WIRE_ZERO] = {"ZERO", F_MEMBER | F_OFFSET | F_LENGTH, 0},
    [WIRE_SEAL] = {"SEAL", F_EPOCH | F_WALL | F_RECORDS | F_DIGEST, 0},
    [WIRE_ACK] = {"ACK", F_EPOCH, 0},
    [WIRE_HASH_ASK] = {"HASH_ASK", F_MEMBER | F_OFFSET | F_LENGTH, 0},
    [WIRE_HASHES] = {"HASHES", F_MEMBER | F_OFFSET | F_DATA, WIRE_HASH *WIRE_HASH_SLOTS},
    [WIRE_PING] = {"PING", F_EPOCH | F_WALL, 0},
    [WIRE_SWITCH] = {"SWITCH", F_EPOCH, 0},
    [WIRE_SWITCHED] = {"SWITCHED", F_LINEAGE, 0},
    [WIRE_PAIR] = {"PAIR", F_NODE | F_VERSION | F_EPOCH | F_DIGEST | F_DATA, 64},
    [WIRE_PAIRED] = {"PAIRED", F_NODE | F_VERSION | F_DIGEST | F_DATA, 64},
    [WIRE_PACKED] = {"PACKED", F_KIND | F_LENGTH | F_DATA, WIRE_RAW_MAX},
    [WIRE_LEASE_ASK] = {"LEASE_ASK",
			F_NODE | F_GROUP | F_KIND | F_EPOCH | F_LENGTH | F_WALL | F_RECORDS |
			    F_LINEAGE,
			0},
    [WIRE_LEASE] = {"LEASE",
		    F_NODE | F_KIND | F_FRESH | F_EPOCH | F_LENGTH | F_WALL | F_RECORDS | F_LINEAGE,
		    0},
    [WIRE_REKEY] = {"REKEY", F_NODE | F_VERSION | F_DIGEST, 0},
    [WIRE_REKEYED] = {"REKEYED", F_NODE | F_DIGEST, 0},
    [WIRE_ACCESS] = {"ACCESS", F_FRESH | F_DATA, WIRE_TEXT_MAX},
    [WIRE_LAG] = {"LAG", F_EPOCH | F_WALL | F_RECORDS, 0},
};

static void code(struct cursor *cursor, unsigned fields, struct wire_message *message)
{
	if (fields & F_NODE)
		code_bytes(cursor, message->node, 16);
	if (fields & F_GROUP)
		code_bytes(cursor, message->group, 16);
	if (fields & F_VERSION)
		code16(cursor, &message->version);
	if (fields & F_KIND)
		code8(cursor, &message->kind);
	if (fields & F_FRESH)
		code_flag(cursor, &message->fresh);
	if (fields & F_MEMBER)
		code16(cursor, &message->member);
	if (fields & F_EPOCH)
		code64(cursor, &message->epoch);
	if (fields & F_OFFSET)
		code64(cursor, &message->offset);
	if (fields & F_LENGTH)
		code64(cursor, &message->length);
	if (fields & F_WALL)
		code64(cursor, &message->wall_ns);
	if (fields & F_RECORDS)
		code64(cursor, &message->records);
	if (fields & F_DIGEST)
		code_bytes(cursor, message->digest, WIRE_DIGEST);
	if (fields & F_LINEAGE)
		code_lineage(cursor, &message->lineage);
}

size_t wire_encode(const struct wire_message *message, uint8_t head[WIRE_HEAD_MAX])
{
	struct wire_message copy = *message;
	struct cursor cursor = {.to = head + WIRE_HEADER, .left = WIRE_HEAD_MAX - WIRE_HEADER};
	size_t length, data = 0;
	uint32_t crc;

	code(&cursor, types[message->type].fields, &copy);
	if (types[message->type].fields & F_DATA)
		data = message->data_length;
	length = WIRE_HEAD_MAX - cursor.left;
	memset(head, 0, WIRE_HEADER);
	put32(head, WIRE_MAGIC);
	head[4] = (uint8_t)message->type;
	head[5] = WIRE_FRAME;
	put32(head + 8, (uint32_t)(length - WIRE_HEADER + data));
	put64(head + 16, message->sequence);
	crc = crc32c(0, head, length);
	if (data)
		crc = crc32c(crc, message->data, data);
	put32(head + 12, crc);
	return length;
}

static uint32_t frame_crc(const uint8_t *bytes, size_t length)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, bytes, 12);

	crc = crc32c(crc, zero, sizeof zero);
	return crc32c(crc, bytes + 16, length - 16);
}

/* What a message can not say, whoever sends it. */
static bool sane(const struct wire_message *message)
{
	unsigned fields = types[message->type].fields;

	if (fields & F_MEMBER && message->member >= WIRE_MEMBERS_MAX)
		return false;
	if (fields & F_OFFSET && message->offset > UINT64_MAX / 2)
		return false;
	if (fields & F_LENGTH && (message->length == 0 || message->length > UINT64_MAX / 4))
		return false;
	if (message->type == WIRE_WRITE && (message->length == 0 || message->length % 512))
		return false;
	if (message->type == WIRE_HASH_ASK && message->length > (uint64_t)WIRE_HASH_SLOTS * 4096)
		return false;
	if (message->type == WIRE_HASHES && message->data_length % WIRE_HASH)
		return false;
	if (message->type == WIRE_PACKED)
		return message->length <= WIRE_RAW_MAX && message->data_length > 0;
	if (fields & F_OFFSET && (message->offset % 512 || message->length % 512))
		return message->type == WIRE_HASHES && message->offset % 512 == 0;
	return true;
}

static int decode_payload(const uint8_t *payload, size_t length, struct wire_message *message)
{
	struct cursor cursor = {.from = payload, .left = length};
	unsigned fields = types[message->type].fields;

	code(&cursor, fields, message);
	if (cursor.bad)
		return -EPROTO;
	if (fields & F_DATA) {
		if (cursor.left > types[message->type].data_max)
			return -EPROTO;
		message->data = cursor.from;
		message->data_length = cursor.left;
		cursor.left = 0;
	}
	if (message->type == WIRE_WRITE || message->type == WIRE_HASHES)
		message->length = message->data_length;
	/* More than we know of is a later version's; it has no business in this one. */
	return cursor.left == 0 && sane(message) ? 0 : -EPROTO;
}

int64_t wire_decode(const uint8_t *bytes, size_t length, struct wire_message *ret_message)
{
	struct wire_message message = {0};
	size_t payload;
	int result;

	if (length < WIRE_HEADER)
		return length >= 4 && get32(bytes) != WIRE_MAGIC ? -EBADMSG : 0;
	payload = get32(bytes + 8);
	if (get32(bytes) != WIRE_MAGIC || payload > WIRE_PAYLOAD_MAX)
		return -EBADMSG;
	if (length < WIRE_HEADER + payload)
		return 0;
	if (frame_crc(bytes, WIRE_HEADER + payload) != get32(bytes + 12))
		return -EBADMSG;
	if (bytes[5] != WIRE_FRAME)
		return -EPROTONOSUPPORT;
	if (bytes[4] == 0 || bytes[4] >= WIRE_TYPE_END || get16(bytes + 6) != 0)
		return -EPROTO;
	message.type = (enum wire_type)bytes[4];
	message.sequence = get64(bytes + 16);
	result = decode_payload(bytes + WIRE_HEADER, payload, &message);
	if (result < 0)
		return result;
	*ret_message = message;
	return (int64_t)(WIRE_HEADER + payload);
}

const char *wire_type_name(unsigned type)
{
	return type > 0 && type < WIRE_TYPE_END ? types[type].name : "?";
}
