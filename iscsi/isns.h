/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_ISNS_H
#define ISCSI_ISNS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The wire format of iSNS (RFC 4171 section 5): messages, each one or more PDUs of a header and a
 * piece of the payload; the payload is attributes of tag, length and value. Pure code, no I/O, any
 * context. All fields are big-endian on the wire. */

#define ISNS_HEADER      12u
#define ISNS_PAYLOAD_MAX 65532u /* of one PDU: what its length can say, in words */
#define ISNS_VERSION     1u

enum isns_function {
	ISNS_REGISTER = 0x0001,   /* DevAttrReg */
	ISNS_QUERY = 0x0002,      /* DevAttrQry */
	ISNS_DEREGISTER = 0x0004, /* DevDereg */
	ISNS_ESI = 0x000d,        /* entity status inquiry, from the server */
	ISNS_RESPONSE = 0x8000,   /* or'ed to the request's */
};

enum isns_flags {
	ISNS_CLIENT = 0x8000,
	ISNS_SERVER = 0x4000,
	ISNS_REPLACE = 0x1000, /* DevAttrReg: what it does not name goes */
	ISNS_LAST = 0x0800,
	ISNS_FIRST = 0x0400,
};

enum isns_tag { /* RFC 4171 6.1 */
		ISNS_DELIMITER = 0,
		ISNS_ENTITY = 1,
		ISNS_ENTITY_PROTOCOL = 2,
		ISNS_PERIOD = 6, /* seconds */
		ISNS_PORTAL_ADDRESS = 16,
		ISNS_PORTAL_PORT = 17,
		ISNS_ESI_INTERVAL = 19,
		ISNS_ESI_PORT = 20,
		ISNS_NAME = 32,
		ISNS_NODE_TYPE = 33,
		ISNS_ALIAS = 34,
		ISNS_GROUP_ADDRESS = 49,
		ISNS_GROUP_PORT = 50,
		ISNS_GROUP_TAG = 51,
};

#define ISNS_PROTOCOL_ISCSI 2u
#define ISNS_NODE_TARGET    1u

enum isns_status { /* RFC 4171 5.4 */
		   ISNS_GOOD = 0,
		   ISNS_NOT_SUPPORTED = 15, /* the function */
};
const char *isns_status_text(uint32_t status);

struct isns_header {
	uint16_t function, length, flags, xid, sequence;
};
void isns_header_put(const struct isns_header *header, uint8_t bytes[ISNS_HEADER]);
/* isns_header_get: -EPROTO: another version, or no whole words. */
int isns_header_get(const uint8_t bytes[ISNS_HEADER], struct isns_header *ret_header);

struct isns_attribute {
	uint32_t tag, length;
	const uint8_t *value; /* inside the bytes */
};
/* isns_attribute_next: walk @bytes from *@at (0 first). 1 = *ret_attribute is set, 0 = end,
 * -EINVAL = one that leaves the bytes or is no whole words; *@at stays then. */
int isns_attribute_next(const uint8_t *bytes, size_t length, size_t *at,
			struct isns_attribute *ret_attribute);
/* isns_attribute_find: the first of @tag with at least @least bytes. */
bool isns_attribute_find(const uint8_t *bytes, size_t length, uint32_t tag, uint32_t least,
			 struct isns_attribute *ret_attribute);
uint32_t isns_attribute_number(const struct isns_attribute *attribute); /* 4 bytes are there */
/* Is it this text, with its NUL and padding? */
bool isns_attribute_is(const struct isns_attribute *attribute, const char *text);

/* A payload being written; memory that can not be had is remembered. */
struct isns_writer {
	uint8_t *bytes; /* heap */
	size_t length, room;
	bool failed;
};
void isns_put_empty(struct isns_writer *writer, uint32_t tag);
void isns_put_number(struct isns_writer *writer, uint32_t tag, uint32_t number);
void isns_put_text(struct isns_writer *writer, uint32_t tag, const char *text);
/* IPv4 is mapped (RFC 4171 6.3.1). */
void isns_put_address(struct isns_writer *writer, uint32_t tag, const struct in6_addr *address);
/* isns_message: the payload as a message of as many PDUs as it takes. NULL: no memory, or the
 * writer has failed. Owns: the result is the caller's (heap); the writer is finished. */
uint8_t *isns_message(struct isns_writer *writer, uint16_t function, uint16_t flags, uint16_t xid,
		      size_t *ret_length);
void isns_writer_finish(struct isns_writer *writer);

/* isns_answer: what a server asks of us, in one PDU at the front of @bytes, and the answer: an ESI
 * gets its own attributes back (RFC 4171 5.7.5.13), anything else "not supported". Returns the
 * bytes that are used up, 0 when the PDU is not whole yet, -EPROTO when it is none or too long. */
#define ISNS_REQUEST_MAX 2048u /* payload */
#define ISNS_ANSWER_MAX  (ISNS_HEADER + 4 + ISNS_REQUEST_MAX)
int isns_answer(const uint8_t *bytes, size_t length, uint8_t answer[ISNS_ANSWER_MAX],
		size_t *ret_length);

#endif
