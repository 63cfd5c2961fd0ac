/* SPDX-License-Identifier: Apache-2.0 */
#include "core/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FRACTION_DIGITS_MAX 9

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"K", 1ull << 10},
    {"KiB", 1ull << 10},
    {"M", 1ull << 20},
    {"MiB", 1ull << 20},
    {"G", 1ull << 30},
    {"GiB", 1ull << 30},
    {"T", 1ull << 40},
    {"TiB", 1ull << 40},
    {"P", 1ull << 50},
    {"PiB", 1ull << 50},
    {"kB", 1000ull},
    {"MB", 1000000ull},
    {"GB", 1000000000ull},
    {"TB", 1000000000000ull},
    {"PB", 1000000000000000ull},
    {NULL, 0},
};

static const struct unit duration_units[] = {
    {"", 1000000000ull},
    {"ns", 1},
    {"us", 1000ull},
    {"ms", 1000000ull},
    {"s", 1000000000ull},
    {"m", 60000000000ull},
    {"h", 3600000000000ull},
    {"d", 86400000000000ull},
    {NULL, 0},
};

static const struct unit *find_unit(const struct unit *units, const char *name)
{
	for (; units->name; units++)
		if (strcmp(units->name, name) == 0)
			return units;
	return NULL;
}

/* number[.fraction]unit as whole multiples of the base unit, rounded down. */
static int parse(const struct unit *units, const char *what, const char *example, const char *text,
		 uint64_t *ret_value, struct err *err)
{
	uint64_t whole = 0, fraction = 0, scale = 1, value;
	const char *at = text;
	const struct unit *unit;

	if (!isdigit((unsigned char)*at))
		return err_set(err, -EINVAL, "\"%.40s\" is not a %s: write it like %s", text, what,
			       example);
	for (; isdigit((unsigned char)*at); at++)
		if (__builtin_mul_overflow(whole, 10u, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*at - '0'), &whole))
			return err_set(err, -ERANGE, "\"%.40s\" is too large a %s", text, what);
	if (*at == '.') {
		int digits = 0;

		for (at++; isdigit((unsigned char)*at); at++)
			if (digits++ < FRACTION_DIGITS_MAX) {
				fraction = fraction * 10 + (uint64_t)(*at - '0');
				scale *= 10;
			}
		if (!digits)
			return err_set(err, -EINVAL, "\"%.40s\" is not a %s: write it like %s",
				       text, what, example);
	}
	unit = find_unit(units, at);
	if (!unit)
		return err_set(err, -EINVAL, "\"%.40s\" has an unknown unit: write a %s like %s",
			       text, what, example);
	if (__builtin_mul_overflow(whole, unit->factor, &value) ||
	    __builtin_add_overflow(
		value, (uint64_t)((unsigned __int128)fraction * unit->factor / scale), &value))
		return err_set(err, -ERANGE, "\"%.40s\" is too large a %s", text, what);
	*ret_value = value;
	return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes, struct err *err)
{
	return parse(size_units, "size", "512M, 20G or 1.5TiB", text, ret_bytes, err);
}

int duration_parse(const char *text, uint64_t *ret_ns, struct err *err)
{
	return parse(duration_units, "duration", "500ms, 5s, 10m or 2h", text, ret_ns, err);
}

const char *size_format(uint64_t bytes, char *buffer, size_t length)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;
	uint64_t scaled = bytes;

	while (scaled >= 1024 && unit < 6) {
		scaled >>= 10;
		unit++;
	}
	if (unit == 0 || (bytes & ((1ull << (10 * unit)) - 1)) == 0) {
		snprintf(buffer, length, "%llu %s", (unsigned long long)scaled, names[unit]);
		return buffer;
	}
	snprintf(buffer, length, "%.1f %s", (double)bytes / (double)(1ull << (10 * unit)),
		 names[unit]);
	return buffer;
}
