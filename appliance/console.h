/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_CONSOLE_H
#define APPLIANCE_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

/* What granary-console's files share. Context: its one thread; everything blocks. */
#define STATE_DIR   "/var/lib/granary"
#define DAEMON      STATE_DIR "/control.sock"
#define SCREEN_SIZE 16384

enum text {
	TEXT_ADDRESSES,
	TEXT_NO_ADDRESS,
	TEXT_WEB,
	TEXT_FINGERPRINT,
	TEXT_SETUP_CODE,
	TEXT_POOLS,
	TEXT_NO_POOL,
	TEXT_TARGETS,
	TEXT_SESSIONS,
	TEXT_DOWN,
	TEXT_READY,
	TEXT_KEYS,
	TEXT_LANGUAGE,
	TEXT_SURE_RESTART,
	TEXT_SURE_OFF,
	TEXT_SHELL,
	TEXTS
};

/* text: a sentence in the language that was chosen (text_chinese()). */
const char *text(enum text which);
void text_chinese(bool chinese);

/* The screen is built in memory; what does not fit is cut off. */
struct screen {
	char text[SCREEN_SIZE];
	size_t length;
};
void put(struct screen *screen, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* screen_compose: what the machine is and how to reach it, 24 lines of 80 columns.
 * @language: the key that changes it is offered. */
void screen_compose(struct screen *screen, bool language);

/* qr_put: @text as a QR code (ISO/IEC 18004, error correction L) in half blocks, its upper left
 * corner at @row and @column of the terminal, light modules drawn, two of them around it. A text
 * that is too long for @lines is left out. */
void qr_put(struct screen *screen, const char *text, unsigned row, unsigned column, unsigned lines);

#endif
