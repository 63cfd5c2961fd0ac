/* SPDX-License-Identifier: Apache-2.0 */
#include "core/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *format, ...)
{
	va_list args;

	assert(code < 0);
	if (!err)
		return code;
	err->code = code;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return code;
}

int err_wrap(struct err *err, const char *format, ...)
{
	char text[sizeof(err->text)];
	va_list args;
	size_t length, room;

	if (!err || !err->code)
		return 0;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	length = strlen(text);
	/* Where both do not fit, the end of the cause is cut, never the context alone kept. */
	room = sizeof(err->text) - 1;
	if (length + 2 >= room)
		return err->code;
	memmove(err->text + length + 2, err->text, room - length - 2);
	memcpy(err->text, text, length);
	memcpy(err->text + length, ": ", 2);
	err->text[room] = '\0';
	return err->code;
}
