/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "webadmin/alert_channel.h"

/* An alert as a trap of SNMPv2c (RFC 3416 4.2.6, RFC 1901), in BER (X.690 8.1, RFC 3417 8: definite
 * lengths, the shortest form). It is written from the end of the buffer to its beginning: what is
 * inside is there, and its length known, when its header is put before it.
 * docs/GRANARY-ALERT-MIB.txt says what it means.
 *
 * No enterprise number has been assigned: the module stands in the arc that Net-SNMP leaves free
 * for such (1.3.6.1.4.1.8072.9999.9999). */

enum tag {
	TAG_INTEGER = 0x02,
	TAG_OCTETS = 0x04,
	TAG_OID = 0x06,
	TAG_SEQUENCE = 0x30,
	TAG_GAUGE = 0x42,
	TAG_TICKS = 0x43,
	TAG_TRAP = 0xa7,
};

#define OWN      1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 7420
#define SUBS_MAX 16u

struct oid {
	unsigned count;
	uint32_t sub[SUBS_MAX];
};
#define OID(...)                                                                                   \
	{                                                                                          \
		sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t),                              \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static const struct oid up_time = OID(1, 3, 6, 1, 2, 1, 1, 3, 0);
static const struct oid trap_oid = OID(1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0);
static const struct oid traps[] = {[CHANNEL_FIRED] = OID(OWN, 0, 1),
				   [CHANNEL_CLEARED] = OID(OWN, 0, 2),
				   [CHANNEL_TEST] = OID(OWN, 0, 3)};
enum object {
	ALERT_HOST = 1,
	ALERT_TEXT,
	ALERT_RULE,
	ALERT_SEVERITY,
	ALERT_WHAT,
	ALERT_TODO,
	ALERT_ID
};

/* ---- BER ---- */
struct ber {
	uint8_t *begin, *at; /* what is written is [at, end) */
	bool full;
};

static void put(struct ber *ber, const void *bytes, size_t length)
{
	if ((size_t)(ber->at - ber->begin) < length) {
		ber->full = true;
		return;
	}
	ber->at -= length;
	memcpy(ber->at, bytes, length);
}

static void put_byte(struct ber *ber, unsigned value)
{
	uint8_t byte = (uint8_t)value;

	put(ber, &byte, 1);
}

/* The header of what was written since @end. */
static void put_header(struct ber *ber, enum tag tag, const uint8_t *end)
{
	size_t length = (size_t)(end - ber->at);

	if (length > 0xffff)
		ber->full = true;
	if (length < 0x80) {
		put_byte(ber, (unsigned)length);
	} else {
		put_byte(ber, length & 0xff);
		if (length > 0xff)
			put_byte(ber, (length >> 8) & 0xff);
		put_byte(ber, length > 0xff ? 0x82 : 0x81);
	}
	put_byte(ber, tag);
}

/* Two's complement, the shortest: an unsigned one with its top bit set has a zero before it. */
static void put_number(struct ber *ber, enum tag tag, uint32_t value)
{
	const uint8_t *end = ber->at;

	do {
		put_byte(ber, value & 0xff);
		value >>= 8;
	} while (value);
	if (*ber->at & 0x80 && !ber->full)
		put_byte(ber, 0);
	put_header(ber, tag, end);
}

static void put_octets(struct ber *ber, const char *text, size_t length)
{
	const uint8_t *end = ber->at;

	put(ber, text, length);
	put_header(ber, TAG_OCTETS, end);
}

/* The first two in one, each of the others in sevens of bits. */
static void put_oid(struct ber *ber, const struct oid *oid)
{
	const uint8_t *end = ber->at;

	for (unsigned i = oid->count; i-- > 2;) {
		uint32_t sub = oid->sub[i];

		put_byte(ber, sub & 0x7f);
		while (sub >>= 7)
			put_byte(ber, 0x80 | (sub & 0x7f));
	}
	put_byte(ber, 40 * oid->sub[0] + oid->sub[1]);
	put_header(ber, TAG_OID, end);
}

/* ---- variables ---- */
/* DisplayString and SnmpAdminString: 255 bytes at most, cut between two characters of UTF-8. */
#define TEXT_MAX 255u

static void bind_text(struct ber *ber, enum object object, const char *text)
{
	const struct oid name = OID(OWN, 1, object, 0);
	const uint8_t *end = ber->at;
	size_t length = strlen(text);

	if (length > TEXT_MAX)
		length = TEXT_MAX;
	while (length && text[length] && ((unsigned char)text[length] & 0xc0) == 0x80)
		length--;
	put_octets(ber, text, length);
	put_oid(ber, &name);
	put_header(ber, TAG_SEQUENCE, end);
}

static void bind_number(struct ber *ber, const struct oid *name, enum tag tag, uint32_t value)
{
	const uint8_t *end = ber->at;

	put_number(ber, tag, value);
	put_oid(ber, name);
	put_header(ber, TAG_SEQUENCE, end);
}

static void bind_oid(struct ber *ber, const struct oid *name, const struct oid *value)
{
	const uint8_t *end = ber->at;

	put_oid(ber, value);
	put_oid(ber, name);
	put_header(ber, TAG_SEQUENCE, end);
}

static void bind_alert(struct ber *ber, const struct alert_channel_settings *settings,
		       const struct alert_channel_message *message)
{
	static const struct oid severity = OID(OWN, 1, ALERT_SEVERITY, 0);
	static const struct oid id = OID(OWN, 1, ALERT_ID, 0);
	const struct alert *alert = &message->alert;
	unsigned count;
	const struct alert_rule *rule = &alert_rules(&count)[alert->rule];
	char todo[1024];

	alert_expand(alert, rule->todo[settings->language], todo, sizeof todo);
	bind_number(ber, &id, TAG_GAUGE, (uint32_t)alert->id);
	bind_text(ber, ALERT_TODO, todo);
	bind_text(ber, ALERT_WHAT, alert->object);
	bind_number(ber, &severity, TAG_INTEGER, (uint32_t)alert->severity + 1);
	bind_text(ber, ALERT_RULE, rule->code);
}

/* In the order of RFC 3416 4.2.6, so from behind. */
static void put_variables(struct ber *ber, const struct alert_channel_settings *settings,
			  const struct alert_channel_message *message, uint32_t ticks)
{
	const uint8_t *end = ber->at;
	char text[1024];

	if (message->event != CHANNEL_TEST)
		bind_alert(ber, settings, message);
	alert_channel_what(settings, message, text, sizeof text);
	bind_text(ber, ALERT_TEXT, text);
	bind_text(ber, ALERT_HOST, message->host);
	bind_oid(ber, &trap_oid, &traps[message->event]);
	bind_number(ber, &up_time, TAG_TICKS, ticks);
	put_header(ber, TAG_SEQUENCE, end);
}

size_t alert_channel_trap(const struct alert_channel_settings *settings,
			  const struct alert_channel_message *message, uint32_t ticks,
			  uint8_t trap[CHANNEL_TRAP_MAX])
{
	struct ber ber = {trap, trap + CHANNEL_TRAP_MAX, false};
	const uint8_t *end = ber.at;
	const char *community = settings->secret[0] ? settings->secret : "public";
	/* Tells one from another at the receiver; never negative. */
	uint32_t request =
	    ((uint32_t)message->wall ^ ((uint32_t)message->alert.id << 8)) & 0x7fffffff;
	size_t length;

	put_variables(&ber, settings, message, ticks);
	put_number(&ber, TAG_INTEGER, 0); /* error-index */
	put_number(&ber, TAG_INTEGER, 0); /* error-status */
	put_number(&ber, TAG_INTEGER, request);
	put_header(&ber, TAG_TRAP, end);
	put_octets(&ber, community, strlen(community));
	put_number(&ber, TAG_INTEGER, 1); /* v2c */
	put_header(&ber, TAG_SEQUENCE, end);
	if (ber.full)
		return 0;
	length = (size_t)(end - ber.at);
	memmove(trap, ber.at, length);
	return length;
}
