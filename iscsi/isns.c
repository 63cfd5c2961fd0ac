/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/isns.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "iscsi/pdu.h"

#define ATTRIBUTE_HEADER 8u
#define GROWTH           4096u

const char *isns_status_text(uint32_t status)
{
	static const char *const texts[] = {
	    [0] = "successful",
	    [1] = "unknown error",
	    [2] = "message format error",
	    [3] = "invalid registration",
	    [5] = "invalid query",
	    [6] = "source unknown",
	    [7] = "source absent",
	    [8] = "source unauthorized",
	    [9] = "no such entry",
	    [10] = "version not supported",
	    [11] = "internal error",
	    [12] = "busy",
	    [13] = "option not understood",
	    [14] = "invalid update",
	    [15] = "message not supported",
	    [16] = "SCN event rejected",
	    [17] = "SCN registration rejected",
	    [18] = "attribute not implemented",
	    [21] = "ESI not available",
	    [22] = "invalid deregistration",
	    [23] = "registration feature not supported",
	};
	const char *text = status < sizeof(texts) / sizeof(texts[0]) ? texts[status] : NULL;

	return text ? text : "unknown status";
}

/* ---- headers */

void isns_header_put(const struct isns_header *header, uint8_t bytes[ISNS_HEADER])
{
	pdu_put16(bytes, ISNS_VERSION);
	pdu_put16(bytes + 2, header->function);
	pdu_put16(bytes + 4, header->length);
	pdu_put16(bytes + 6, header->flags);
	pdu_put16(bytes + 8, header->xid);
	pdu_put16(bytes + 10, header->sequence);
}

int isns_header_get(const uint8_t bytes[ISNS_HEADER], struct isns_header *ret_header)
{
	struct isns_header header = {
	    .function = pdu_get16(bytes + 2),
	    .length = pdu_get16(bytes + 4),
	    .flags = pdu_get16(bytes + 6),
	    .xid = pdu_get16(bytes + 8),
	    .sequence = pdu_get16(bytes + 10),
	};

	if (pdu_get16(bytes) != ISNS_VERSION || header.length % 4)
		return -EPROTO;
	*ret_header = header;
	return 0;
}

/* ---- attributes */

int isns_attribute_next(const uint8_t *bytes, size_t length, size_t *at,
			struct isns_attribute *ret_attribute)
{
	size_t left = length - *at;
	uint32_t value;

	if (left == 0)
		return 0;
	if (left < ATTRIBUTE_HEADER)
		return -EINVAL;
	value = pdu_get32(bytes + *at + 4);
	if (value % 4 || value > left - ATTRIBUTE_HEADER)
		return -EINVAL;
	*ret_attribute = (struct isns_attribute){
	    .tag = pdu_get32(bytes + *at),
	    .length = value,
	    .value = bytes + *at + ATTRIBUTE_HEADER,
	};
	*at += ATTRIBUTE_HEADER + value;
	return 1;
}

bool isns_attribute_find(const uint8_t *bytes, size_t length, uint32_t tag, uint32_t least,
			 struct isns_attribute *ret_attribute)
{
	struct isns_attribute attribute;
	size_t at = 0;

	while (isns_attribute_next(bytes, length, &at, &attribute) > 0) {
		if (attribute.tag != tag || attribute.length < least)
			continue;
		*ret_attribute = attribute;
		return true;
	}
	return false;
}

uint32_t isns_attribute_number(const struct isns_attribute *attribute)
{
	return pdu_get32(attribute->value);
}

bool isns_attribute_is(const struct isns_attribute *attribute, const char *text)
{
	size_t length = strlen(text);

	return length < attribute->length && memcmp(attribute->value, text, length) == 0 &&
	       attribute->value[length] == '\0';
}

/* ---- writing */

/* @size zeroed bytes at the end; NULL: no memory. */
static uint8_t *extend(struct isns_writer *writer, size_t size)
{
	uint8_t *at;

	if (!writer->failed && writer->room - writer->length < size) {
		size_t room = writer->length + size + writer->length / 2 + GROWTH;
		uint8_t *grown = heap_resize(writer->bytes, room);

		writer->failed = !grown;
		if (grown) {
			writer->bytes = grown;
			writer->room = room;
		}
	}
	if (writer->failed)
		return NULL;
	at = writer->bytes + writer->length;
	memset(at, 0, size);
	writer->length += size;
	return at;
}

static void put(struct isns_writer *writer, uint32_t tag, const void *value, size_t length,
		size_t padded)
{
	uint8_t *at = extend(writer, ATTRIBUTE_HEADER + padded);

	if (!at)
		return;
	pdu_put32(at, tag);
	pdu_put32(at + 4, (uint32_t)padded);
	if (length)
		memcpy(at + ATTRIBUTE_HEADER, value, length);
}

void isns_put_empty(struct isns_writer *writer, uint32_t tag)
{
	put(writer, tag, NULL, 0, 0);
}

void isns_put_number(struct isns_writer *writer, uint32_t tag, uint32_t number)
{
	uint8_t bytes[4];

	pdu_put32(bytes, number);
	put(writer, tag, bytes, sizeof(bytes), sizeof(bytes));
}

/* With its NUL, then to whole words. */
void isns_put_text(struct isns_writer *writer, uint32_t tag, const char *text)
{
	size_t length = strlen(text);

	put(writer, tag, text, length, (length + 4) & ~(size_t)3);
}

void isns_put_address(struct isns_writer *writer, uint32_t tag, const struct in6_addr *address)
{
	put(writer, tag, address, sizeof(*address), sizeof(*address));
}

void isns_writer_finish(struct isns_writer *writer)
{
	heap_free(writer->bytes);
	*writer = (struct isns_writer){0};
}

uint8_t *isns_message(struct isns_writer *writer, uint16_t function, uint16_t flags, uint16_t xid,
		      size_t *ret_length)
{
	size_t pdus =
	    writer->length ? (writer->length + ISNS_PAYLOAD_MAX - 1) / ISNS_PAYLOAD_MAX : 1;
	size_t length = writer->length + pdus * ISNS_HEADER;
	uint8_t *message = writer->failed ? NULL : heap_alloc(length), *at = message;

	for (size_t i = 0; message && i < pdus; i++) {
		size_t from = i * ISNS_PAYLOAD_MAX, piece = writer->length - from;
		struct isns_header header = {.function = function, .xid = xid};

		if (piece > ISNS_PAYLOAD_MAX)
			piece = ISNS_PAYLOAD_MAX;
		header.length = (uint16_t)piece;
		header.sequence = (uint16_t)i;
		header.flags =
		    (uint16_t)(flags | (i == 0 ? ISNS_FIRST : 0) | (i + 1 == pdus ? ISNS_LAST : 0));
		isns_header_put(&header, at);
		if (piece)
			memcpy(at + ISNS_HEADER, writer->bytes + from, piece);
		at += ISNS_HEADER + piece;
	}
	isns_writer_finish(writer);
	*ret_length = length;
	return message;
}

/* ---- answering */

int isns_answer(const uint8_t *bytes, size_t length, uint8_t answer[ISNS_ANSWER_MAX],
		size_t *ret_length)
{
	struct isns_header header;
	bool inquiry;

	if (length < ISNS_HEADER)
		return 0;
	if (isns_header_get(bytes, &header) < 0 || header.length > ISNS_REQUEST_MAX ||
	    (header.function & ISNS_RESPONSE) || !(header.flags & ISNS_LAST))
		return -EPROTO;
	if (length - ISNS_HEADER < header.length)
		return 0;
	inquiry = header.function == ISNS_ESI;
	*ret_length = ISNS_HEADER + 4u + (inquiry ? header.length : 0u);
	pdu_put32(answer + ISNS_HEADER, inquiry ? ISNS_GOOD : ISNS_NOT_SUPPORTED);
	if (inquiry)
		memcpy(answer + ISNS_HEADER + 4, bytes + ISNS_HEADER, header.length);
	isns_header_put(&(struct isns_header){.function = header.function | ISNS_RESPONSE,
					      .length = (uint16_t)(*ret_length - ISNS_HEADER),
					      .flags = ISNS_CLIENT | ISNS_FIRST | ISNS_LAST,
					      .xid = header.xid},
			answer);
	return (int)(ISNS_HEADER + header.length);
}
