/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "iscsi/iscsi.h"

static bool all_of(const char *text, const char *allowed)
{
	return text[strspn(text, allowed)] == '\0';
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGIT "0123456789"

/* iqn.yyyy-mm.reversed.domain[:anything] (RFC 7143 4.2.7.5). */
static bool iqn_good(const char *name)
{
	const char *date = name + 4, *domain;

	if (strspn(date, DIGIT) != 4 || date[4] != '-' || strspn(date + 5, DIGIT) != 2 ||
	    date[7] != '.')
		return false;
	domain = date + 8;
	/* Beyond ASCII, RFC 3722 needs its stringprep; bytes of UTF-8 are let through. */
	for (const char *at = domain; *at; at++)
		if (!((unsigned char)*at >= 0x80 || strchr(LOWER DIGIT "-.:", *at)))
			return false;
	return domain[0] && domain[0] != ':';
}

static bool naa_good(const char *name)
{
	size_t digits = strlen(name + 4);

	return (digits == 16 || digits == 32) && all_of(name + 4, "0123456789abcdef");
}

static bool eui_good(const char *name)
{
	return strlen(name + 4) == 16 && all_of(name + 4, "0123456789abcdef");
}

int iscsi_name_check(const char *name, struct err *err)
{
	if (strlen(name) > SCSI_NAME_MAX)
		return err_set(err, -EINVAL, "an iSCSI name has at most %d bytes", SCSI_NAME_MAX);
	if ((!strncmp(name, "iqn.", 4) && iqn_good(name)) ||
	    (!strncmp(name, "naa.", 4) && naa_good(name)) ||
	    (!strncmp(name, "eui.", 4) && eui_good(name)))
		return 0;
	return err_set(err, -EINVAL,
		       "\"%.64s\" is no iSCSI name like iqn.2026-11.org.example:disk (lower case "
		       "letters, digits, '-', '.', ':'), naa.<hex> or eui.<hex>",
		       name);
}
