/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_TEXT_H
#define ISCSI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The text format of login and text requests (RFC 7143 6.1): key=value pairs, each ended by a
 * NUL. Pure code, any context. */

#define TEXT_KEY_MAX   63   /* bytes of a key name */
#define TEXT_VALUE_MAX 255  /* bytes of a value ... */
#define TEXT_LARGE_MAX 2100 /* ... except the binary values CHAP_C and CHAP_R */
#define TEXT_PAIRS_MAX 64   /* in one negotiation request, all its PDUs together */

struct text_pair {
	const char *key, *value; /* NUL-terminated, inside the parsed bytes */
};

/* text_parse: split @data (changed in place) into @pairs. Returns how many, or -EINVAL: not
 * terminated, no '=', empty or overlong or ill-spelled key, overlong value, one key twice;
 * -E2BIG: more than TEXT_PAIRS_MAX. */
int text_parse(char *data, size_t length, struct text_pair pairs[TEXT_PAIRS_MAX]);

/* The value of @key, NULL without. */
const char *text_find(const struct text_pair *pairs, unsigned count, const char *key);

/* text_number: decimal or 0x hexadecimal (RFC 7143 6.1 numerical-value), whole text. -EINVAL. */
int text_number(const char *text, uint32_t *ret_number);

/* text_list_has: @list is comma-separated. */
bool text_list_has(const char *list, const char *item);
/* Copy item @index of @list to @item (room bytes); false past the end or when it is too long. */
bool text_list_item(const char *list, unsigned index, char *item, size_t room);

/* Binary values: 0x hexadecimal or 0b base64. text_decode: -EINVAL ill-formed, -E2BIG over
 * @room bytes. text_encode: as 0x hexadecimal; @text needs 2 * length + 3 bytes. */
int text_decode(const char *text, uint8_t *data, size_t room, size_t *ret_length);
void text_encode(const uint8_t *data, size_t length, char *text);

/* A reply being written. Overflow is remembered, never written. */
struct text_writer {
	char *data;
	size_t length, room;
	bool overflow;
};
void text_add(struct text_writer *writer, const char *key, const char *value);
void text_add_number(struct text_writer *writer, const char *key, uint32_t number);

#endif
