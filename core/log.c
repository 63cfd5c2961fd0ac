/* SPDX-License-Identifier: Apache-2.0 */
#include "core/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static atomic_int threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store(&threshold, (int)level);
}

/* Text from outside must not forge lines or drive the terminal. */
static size_t escape(char *out, size_t room, const char *text)
{
	size_t used = 0;

	for (; *text && used + 5 < room; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c != 0x7f)
			out[used++] = (char)c;
		else
			used += (size_t)snprintf(out + used, 5, "\\x%02x", c);
	}
	return used;
}

/* The newest lines, in a ring, for who is to find a fault later. */
static struct {
	pthread_mutex_t lock; /* over what follows; held for copies alone */
	uint64_t end;         /* bytes that ever came */
	char bytes[LOG_KEPT];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void keep_bytes(const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		kept.bytes[kept.end++ % LOG_KEPT] = bytes[i];
}

static void keep(enum log_level level, const char *line, size_t length)
{
	time_t now = time(NULL);
	char stamp[48];
	struct tm parts;
	size_t stamped = 0;

	if (gmtime_r(&now, &parts))
		stamped = strftime(stamp, sizeof stamp - 8, "%Y-%m-%dT%H:%M:%SZ", &parts);
	stamped += (size_t)snprintf(stamp + stamped, sizeof stamp - stamped, " <%d> ", (int)level);
	pthread_mutex_lock(&kept.lock);
	keep_bytes(stamp, stamped);
	keep_bytes(line, length);
	pthread_mutex_unlock(&kept.lock);
}

size_t log_tail(char *out, size_t size)
{
	size_t length = 0;
	bool whole;
	uint64_t at;

	pthread_mutex_lock(&kept.lock);
	at = kept.end > LOG_KEPT ? kept.end - LOG_KEPT : 0;
	if (kept.end - at > size - 1)
		at = kept.end - (size - 1);
	whole = at == 0; /* else the first line has lost its beginning */
	for (; at < kept.end; at++) {
		char c = kept.bytes[at % LOG_KEPT];

		if (whole)
			out[length++] = c;
		whole |= c == '\n';
	}
	pthread_mutex_unlock(&kept.lock);
	out[length] = '\0';
	return length;
}

void log_line(enum log_level level, const char *format, ...)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 8];
	size_t used = 0, marked;
	va_list args;

	if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!isatty(STDERR_FILENO))
		used = (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);
	marked = used;
	used += escape(line + used, sizeof(line) - used - 1, text);
	line[used++] = '\n';
	keep(level, line + marked, used - marked);
	/* A log that can not be written has nowhere to report that. */
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}
