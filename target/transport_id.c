/* SPDX-License-Identifier: Apache-2.0 */
/* transport_id.c: TransportIDs of iSCSI initiator ports (SPC-4 7.6.4.5): a node's name, or with
 * its ISID ("NAME,i,0xISID"), as the transport names its nexuses. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

#define PROTOCOL_ISCSI 5
#define HEADER         4u
#define LENGTH_MIN     20u
#define SEPARATOR      ",i,0x"
#define ISID_DIGITS    12

/* The ISID after @text in the twelve lower-case digits that nexuses are named with. */
static bool normalize_isid(const char *text, char ret_digits[ISID_DIGITS + 1])
{
	size_t digits = strspn(text, "0123456789abcdef");

	if (digits == 0 || digits > ISID_DIGITS || text[digits])
		return false;
	memset(ret_digits, '0', ISID_DIGITS);
	memcpy(ret_digits + ISID_DIGITS - digits, text, digits);
	ret_digits[ISID_DIGITS] = '\0';
	return true;
}

static bool split_name(char *text, bool port, char ret_name[SCSI_PORT_NAME_MAX])
{
	char digits[ISID_DIGITS + 1] = "";
	char *separator;

	for (char *c = text; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	separator = strstr(text, SEPARATOR);
	if (port != (separator != NULL))
		return false;
	if (separator) {
		if (!normalize_isid(separator + strlen(SEPARATOR), digits))
			return false;
		*separator = '\0';
	}
	if (text[0] == '\0' || strlen(text) > SCSI_NAME_MAX)
		return false;
	snprintf(ret_name, SCSI_PORT_NAME_MAX, "%.*s%s%s", SCSI_NAME_MAX, text,
		 port ? SEPARATOR : "", digits);
	return true;
}

size_t transport_id_parse(const uint8_t *bytes, size_t length, char ret_name[SCSI_PORT_NAME_MAX],
			  bool *ret_port)
{
	char text[TRANSPORT_ID_MAX] = "";
	unsigned format;
	size_t name;

	if (length < HEADER + LENGTH_MIN)
		return 0;
	format = bytes[0] >> 6;
	name = get_be16(bytes + 2);
	if ((bytes[0] & 0x3f) != PROTOCOL_ISCSI || format > 1 || name < LENGTH_MIN || name % 4 ||
	    name > length - HEADER || name > TRANSPORT_ID_MAX - HEADER)
		return 0;
	memcpy(text, bytes + HEADER, name);
	if (!memchr(text, '\0', name) || !split_name(text, format == 1, ret_name))
		return 0;
	*ret_port = format == 1;
	return HEADER + name;
}

unsigned transport_id_write(const char *initiator_port, uint8_t ret_bytes[TRANSPORT_ID_MAX])
{
	size_t name = strnlen(initiator_port, SCSI_PORT_NAME_MAX - 1);
	size_t padded = (name + 1 + 3) & ~(size_t)3;

	if (padded < LENGTH_MIN)
		padded = LENGTH_MIN;
	memset(ret_bytes, 0, HEADER + padded);
	ret_bytes[0] = (uint8_t)(PROTOCOL_ISCSI | (strstr(initiator_port, ",i,") ? 0x40 : 0));
	put_be16(ret_bytes + 2, (uint16_t)padded);
	memcpy(ret_bytes + HEADER, initiator_port, name);
	return (unsigned)(HEADER + padded);
}
