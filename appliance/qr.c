/* SPDX-License-Identifier: Apache-2.0 */
#include <qrencode.h>

#include "appliance/console.h"

#define QUIET 2 /* modules; readers want a border, and the screen around it is dark */

static bool light(const QRcode *code, int quiet, int x, int y)
{
	x -= quiet;
	y -= quiet;
	if (x < 0 || y < 0 || x >= code->width || y >= code->width)
		return true;
	return !(code->data[y * code->width + x] & 1);
}

/* Two modules above each other are one character. */
static void put_line(struct screen *screen, const QRcode *code, int quiet, int y)
{
	static const char *const halves[] = {" ", "▄", "▀", "█"};
	int width = code->width + 2 * quiet;

	for (int x = 0; x < width; x++) {
		bool below = y + 1 < width && light(code, quiet, x, y + 1);

		put(screen, "%s", halves[2 * light(code, quiet, x, y) + below]);
	}
}

void qr_put(struct screen *screen, const char *text, int row, int right, int most)
{
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
	int quiet = code && code->width + 2 * QUIET <= most ? QUIET : QUIET - 1;
	int width = code ? code->width + 2 * quiet : 0;

	for (int y = 0; width <= most && y < width; y += 2) {
		put(screen, "\033[%d;%dH", row + y / 2, right + 1 - width);
		put_line(screen, code, quiet, y);
	}
	QRcode_free(code);
}
