/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool key_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr(".-+@_#", c));
}

static size_t value_max(const char *key)
{
	if (!strcmp(key, "CHAP_C") || !strcmp(key, "CHAP_R"))
		return TEXT_LARGE_MAX;
	return TEXT_VALUE_MAX;
}

/* One "key=value" of @length bytes, NUL after it. */
static int split_pair(char *item, size_t length, struct text_pair *pair)
{
	char *equals = memchr(item, '=', length);
	size_t key_length = equals ? (size_t)(equals - item) : 0;

	if (key_length == 0 || key_length > TEXT_KEY_MAX)
		return -EINVAL;
	for (size_t i = 0; i < key_length; i++)
		if (!key_character(item[i]))
			return -EINVAL;
	*equals = '\0';
	pair->key = item;
	pair->value = equals + 1;
	return length - key_length - 1 > value_max(item) ? -EINVAL : 0;
}

int text_parse(char *data, size_t length, struct text_pair pairs[TEXT_PAIRS_MAX])
{
	unsigned count = 0;

	for (size_t at = 0; at < length;) {
		char *end = memchr(data + at, '\0', length - at);

		if (!end)
			return -EINVAL;
		if (end == data + at) { /* some initiators pad with NULs */
			at++;
			continue;
		}
		if (count == TEXT_PAIRS_MAX)
			return -E2BIG;
		if (split_pair(data + at, (size_t)(end - data) - at, &pairs[count]) < 0)
			return -EINVAL;
		if (text_find(pairs, count, pairs[count].key))
			return -EINVAL;
		count++;
		at = (size_t)(end - data) + 1;
	}
	return (int)count;
}

const char *text_find(const struct text_pair *pairs, unsigned count, const char *key)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(pairs[i].key, key))
			return pairs[i].value;
	return NULL;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

static bool has_prefix(const char *text, char lower)
{
	return text[0] == '0' && (text[1] | 0x20) == lower;
}

int text_number(const char *text, uint32_t *ret_number)
{
	bool hex = has_prefix(text, 'x');
	int base = hex ? 16 : 10;
	uint64_t number = 0;

	if (hex)
		text += 2;
	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		int digit = digit_value(*text);

		if (digit >= base)
			return -EINVAL;
		number = number * (unsigned)base + (unsigned)digit;
		if (number > UINT32_MAX)
			return -EINVAL;
	}
	*ret_number = (uint32_t)number;
	return 0;
}

bool text_list_item(const char *list, unsigned index, char *item, size_t room)
{
	size_t length;

	for (; index > 0; index--) {
		list = strchr(list, ',');
		if (!list)
			return false;
		list++;
	}
	length = strcspn(list, ",");
	if (length >= room)
		length = 0; /* no item of ours is that long: an empty one matches none */
	memcpy(item, list, length);
	item[length] = '\0';
	return true;
}

bool text_list_has(const char *list, const char *item)
{
	char one[TEXT_KEY_MAX + 1];

	for (unsigned i = 0; text_list_item(list, i, one, sizeof(one)); i++)
		if (!strcmp(one, item))
			return true;
	return false;
}

/* An odd number of digits is legal: the first stands alone (RFC 7143 6.1 hex-constant). */
static int decode_hex(const char *text, uint8_t *data, size_t room, size_t *ret_length)
{
	size_t digits = strlen(text), length = (digits + 1) / 2;

	if (length > room)
		return -E2BIG;
	memset(data, 0, length);
	for (size_t i = 0; i < digits; i++) {
		int digit = digit_value(text[i]);
		size_t place = i + (digits & 1);

		if (digit > 15)
			return -EINVAL;
		data[place / 2] = (uint8_t)(data[place / 2] << 4 | digit);
	}
	*ret_length = length;
	return 0;
}

static int base64_value(char c)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

static int decode_base64(const char *text, uint8_t *data, size_t room, size_t *ret_length)
{
	size_t characters = strcspn(text, "="), padding = strlen(text) - characters;
	size_t length = characters * 6 / 8;
	uint32_t bits = 0;

	if (padding > 2 || strspn(text + characters, "=") != padding || characters % 4 == 1)
		return -EINVAL;
	if (padding > 0 && (characters + padding) % 4 != 0)
		return -EINVAL;
	if (length > room)
		return -E2BIG;
	for (size_t i = 0, out = 0, have = 0; i < characters; i++) {
		int value = base64_value(text[i]);

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			data[out++] = (uint8_t)(bits >> have);
		}
	}
	*ret_length = length;
	return 0;
}

int text_decode(const char *text, uint8_t *data, size_t room, size_t *ret_length)
{
	if (!text[0] || !text[1] || !text[2])
		return -EINVAL;
	if (has_prefix(text, 'x'))
		return decode_hex(text + 2, data, room, ret_length);
	if (has_prefix(text, 'b'))
		return decode_base64(text + 2, data, room, ret_length);
	return -EINVAL;
}

void text_encode(const uint8_t *data, size_t length, char *text)
{
	static const char digits[] = "0123456789abcdef";

	*text++ = '0';
	*text++ = 'x';
	for (size_t i = 0; i < length; i++) {
		*text++ = digits[data[i] >> 4];
		*text++ = digits[data[i] & 15];
	}
	*text = '\0';
}

void text_add(struct text_writer *writer, const char *key, const char *value)
{
	size_t key_length = strlen(key), value_length = strlen(value);
	char *at = writer->data + writer->length;

	if (writer->room - writer->length < key_length + value_length + 2) {
		writer->overflow = true;
		return;
	}
	memcpy(at, key, key_length);
	at[key_length] = '=';
	memcpy(at + key_length + 1, value, value_length + 1);
	writer->length += key_length + value_length + 2;
}

void text_add_number(struct text_writer *writer, const char *key, uint32_t number)
{
	char value[12];

	snprintf(value, sizeof(value), "%u", number);
	text_add(writer, key, value);
}
