/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/grubenv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char signature[] = "# GRUB Environment Block\n";

static bool is_slot(char c)
{
	return c == 'a' || c == 'b';
}

static void take(struct grubenv *env, const char *name, size_t length, char value)
{
	if (length == 4 && memcmp(name, "slot", 4) == 0 && is_slot(value))
		env->slot = value;
	else if (length == 6 && memcmp(name, "failed", 6) == 0 && is_slot(value))
		env->failed = value;
	else if (length == 4 && memcmp(name, "half", 4) == 0 && is_slot(value))
		env->half = value;
	else if (length == 4 && memcmp(name, "good", 4) == 0)
		env->good = value == '1';
	else if (length == 5 && memcmp(name, "tries", 5) == 0 && value >= '0' && value <= '9')
		env->tries = (unsigned)(value - '0');
}

int grubenv_parse(const char *block, struct grubenv *ret_env, struct err *err)
{
	const char *end = block + GRUBENV_SIZE, *line = block + sizeof signature - 1;
	struct grubenv env = {0};

	if (memcmp(block, signature, sizeof signature - 1) != 0)
		return err_set(err, -EUCLEAN, "no GRUB environment block");
	while (line < end && *line != '#') {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		const char *equals = stop ? memchr(line, '=', (size_t)(stop - line)) : NULL;

		if (!stop)
			break;
		if (equals)
			take(&env, line, (size_t)(equals - line), equals[1]);
		line = stop + 1;
	}
	if (!env.slot)
		return err_set(err, -EUCLEAN, "the GRUB environment block names no slot");
	*ret_env = env;
	return 0;
}

void grubenv_format(const struct grubenv *env, char block[GRUBENV_SIZE])
{
	char text[GRUBENV_SIZE];
	int length = snprintf(text, sizeof text, "%sslot=%c\ngood=%d\ntries=%u\n", signature,
			      env->slot, env->good, env->tries % 10);

	if (env->failed)
		length += snprintf(text + length, sizeof text - (size_t)length, "failed=%c\n",
				   env->failed);
	if (env->half)
		length +=
		    snprintf(text + length, sizeof text - (size_t)length, "half=%c\n", env->half);
	memset(block, '#', GRUBENV_SIZE);
	memcpy(block, text, (size_t)length);
}
