/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/heap.h"
#include "core/utf8.h"
#include "support/internal.h"

/* What makes a text fit to be shown. It rather takes away too much: who looks for a fault asks
 * again, a secret that is out is out. */

static const char removed[] = SUPPORT_REMOVED;
#define REMOVED (sizeof removed - 1)

/* What stands behind one of these and a "=" or ":" goes, to the end of the line. */
static const char *const words[] = {
    "password",     "passwd",        "passphrase",    "pass phrase", "secret",      "token",
    "credential",   "cookie",        "authorization", "private key", "private_key", "api key",
    "api_key",      "apikey",        "set-up code",   "setup code",  "setup_code",  "setup code",
    "pairing code", "recovery code", "recovery_code", "psk",
};

struct out {
	char *text;
	size_t length, room;
	bool bad; /* no memory */
};

static void add(struct out *out, const char *bytes, size_t length)
{
	if (out->length + length + 1 > out->room) {
		size_t room = (out->length + length + 1) * 2;
		char *more = heap_resize(out->text, room);

		if (!more) {
			out->bad = true;
			return;
		}
		out->text = more;
		out->room = room;
	}
	memcpy(out->text + out->length, bytes, length);
	out->length += length;
}

/* --- what is known to be a secret ------------------------------------------------------------ */

/* The length of the secret that stands at @at, 0: none does. */
static size_t known_secret(const struct support *support, const char *at, size_t left)
{
	size_t longest = 0;

	for (unsigned i = 0; i < support->secret_count; i++) {
		const struct support_secret *secret = &support->secrets[i];

		if (secret->length > longest && secret->length <= left &&
		    *(const char *)secret->bytes == *at &&
		    memcmp(at, secret->bytes, secret->length) == 0)
			longest = secret->length;
	}
	return longest;
}

/* --- what looks like one --------------------------------------------------------------------- */

static size_t line_left(const char *at, size_t left)
{
	const char *end = memchr(at, '\n', left);

	return end ? (size_t)(end - at) : left;
}

/* A word of the table, what may stand around it, and "=" or ":"; returns how much of it is shown,
 * 0: it is none. */
static size_t named_secret(const char *at, size_t left)
{
	for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
		size_t length = strlen(words[i]);

		if (length >= left || strncasecmp(at, words[i], length) != 0)
			continue;
		while (length < left &&
		       (isalnum((unsigned char)at[length]) || strchr("\"'_- \t", at[length])) &&
		       length < 40 && at[length])
			length++;
		if (length < left && (at[length] == '=' || at[length] == ':') &&
		    strncmp(at + length, "://", left - length < 3 ? left - length : 3) != 0)
			return length + 1;
	}
	return 0;
}

/* What is followed by one: the first start's line, headers, an API token. */
static size_t marked_secret(const char *at, size_t left)
{
	static const char *const marks[] = {"SETUP code=", "Bearer ", "Basic ", "gry_"};

	for (unsigned i = 0; i < sizeof marks / sizeof *marks; i++) {
		size_t length = strlen(marks[i]);

		if (length < left && strncasecmp(at, marks[i], length) == 0)
			return length;
	}
	return 0;
}

static bool ends_url(char c)
{
	return isspace((unsigned char)c) || c == '"' || c == '\'' || c == '>' || c == '\0';
}

/* @at is behind "://": all but host and port goes. Returns how much was taken. */
static size_t take_url(struct out *out, const char *at, size_t left)
{
	size_t whole = 0, host = 0, end;

	while (whole < left && !ends_url(at[whole]))
		whole++;
	end = 0;
	while (end < whole && !strchr("/?#", at[end]))
		end++;
	for (size_t i = 0; i < end; i++)
		if (at[i] == '@')
			host = i + 1;
	if (host)
		add(out, removed, REMOVED);
	if (host)
		add(out, "@", 1);
	add(out, at + host, end - host);
	if (whole > end + 1) {
		add(out, at + end, 1);
		add(out, removed, REMOVED);
	} else {
		add(out, at + end, whole - end);
	}
	return whole;
}

static bool starts(const char *at, size_t left, const char *text)
{
	size_t length = strlen(text);

	return left >= length && memcmp(at, text, length) == 0;
}

/* A PEM block that holds a private key: how long it is; to the end of the text when its own end is
 * missing. */
static size_t pem_key(const char *at, size_t left)
{
	static const char end[] = "-----END ";
	const char *line_end, *found;

	if (!starts(at, left, "-----BEGIN "))
		return 0;
	line_end = at + line_left(at, left);
	if (!memmem(at, (size_t)(line_end - at), "PRIVATE KEY", 11))
		return 0;
	found = memmem(at, left, end, sizeof end - 1);
	if (!found)
		return left;
	return (size_t)(found - at) + line_left(found, left - (size_t)(found - at));
}

/* --- a text ---------------------------------------------------------------------------------- */

static size_t plain_bytes(struct out *out, const char *at, size_t left)
{
	size_t length = utf8_length(at, left);
	unsigned char c = (unsigned char)*at;

	if (!length || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
		add(out, "?", 1);
		return 1;
	}
	add(out, at, length);
	return length;
}

/* One step: what stands at @at is written, or what stands for it; returns how much it was. */
static size_t step(const struct support *support, struct out *out, const char *at, size_t left)
{
	size_t length = known_secret(support, at, left), shown;

	if (!length)
		length = pem_key(at, left);
	if (length) {
		add(out, removed, REMOVED);
		return length;
	}
	if (starts(at, left, "://")) {
		add(out, "://", 3);
		return 3 + take_url(out, at + 3, left - 3);
	}
	shown = named_secret(at, left);
	if (!shown)
		shown = marked_secret(at, left);
	if (!shown)
		return plain_bytes(out, at, left);
	length = line_left(at, left);
	if (shown >= length) { /* nothing stands behind it */
		add(out, at, length);
		return length;
	}
	for (size_t i = 0; i < shown;)
		i += plain_bytes(out, at + i, shown - i);
	add(out, removed, REMOVED);
	return length;
}

char *scrub_text(const struct support *support, const char *text, size_t length, size_t *ret_length)
{
	struct out out = {.text = heap_alloc(length + 64), .room = length + 64};

	if (!out.text)
		return NULL;
	for (size_t at = 0; !out.bad && at < length;)
		at += step(support, &out, text + at, length - at);
	if (out.bad) {
		heap_free(out.text);
		return NULL;
	}
	out.text[out.length] = '\0';
	*ret_length = out.length;
	return out.text;
}

/* --- JSON ------------------------------------------------------------------------------------ */

static bool names_secret(const char *name)
{
	static const char *const parts[] = {"secret",  "password",   "passphrase", "token",
					    "private", "credential", "cookie",     "hash",
					    "salt",    "recovery"};

	for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++)
		if (strcasestr(name, parts[i]))
			return true;
	return strcmp(name, "key") == 0 || strcmp(name, "setup_code") == 0;
}

static json_t *scrub_string(const struct support *support, const json_t *value)
{
	size_t length;
	char *text =
	    scrub_text(support, json_string_value(value), json_string_length(value), &length);
	json_t *string = text ? json_stringn(text, length) : NULL;

	heap_free(text);
	return string ? string : json_string(removed);
}

static json_t *scrub_object(const struct support *support, const json_t *value)
{
	json_t *copy = json_object(), *item;
	const char *name;

	json_object_foreach((json_t *)value, name, item)
	{
		size_t length = 0;
		char *shown = scrub_text(support, name, strlen(name), &length);
		json_t *inside = names_secret(name) && (json_is_string(item) || json_is_array(item))
				     ? json_string(removed)
				     : scrub_json(support, item);

		json_object_set_new(copy, shown ? shown : removed, inside);
		heap_free(shown);
	}
	return copy;
}

json_t *scrub_json(const struct support *support, const json_t *value)
{
	json_t *copy, *item;
	size_t index;

	if (json_is_string(value))
		return scrub_string(support, value);
	if (json_is_object(value))
		return scrub_object(support, value);
	if (!json_is_array(value))
		return json_deep_copy(value);
	copy = json_array();
	json_array_foreach((json_t *)value, index, item)
	    json_array_append_new(copy, scrub_json(support, item));
	return copy;
}
