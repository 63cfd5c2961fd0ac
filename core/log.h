/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stddef.h>

/* The one way to log: one line to stderr, written by one write(2), prefixed "<N>" for the
 * journal when stderr is not a terminal. Codecs and core never log above debug; whoever owns
 * the session or volume logs each failure once, and names it. Context: any; never blocks on
 * anything but stderr. Bytes below 0x20 from outside are escaped. */

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

void log_set_level(enum log_level level); /* default: LOG_LEVEL_INFO */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* log_tail: the newest whole lines of this process's log, at most @size - 1 bytes of the LOG_KEPT
 * that are kept, each with its time (UTC) and level before it. @out ends with '\0'. Returns how
 * many bytes. Context: any. */
#define LOG_KEPT (256u << 10)
size_t log_tail(char *out, size_t size);

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
