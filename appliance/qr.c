/* SPDX-License-Identifier: Apache-2.0 */
#include <qrencode.h>

#include "appliance/console.h"

#define QUIET 2 /* modules; readers want a border, and the screen around it is dark */

static bool light(const QRcode *code, int x, int y)
{
	x -= QUIET;
	y -= QUIET;
	if (x < 0 || y < 0 || x >= code->width || y >= code->width)
		return true;
	return !(code->data[y * code->width + x] & 1);
}

/* Two modules above each other are one character. */
static void put_line(struct screen *screen, const QRcode *code, int y)
{
	static const char *const halves[] = {" ", "▄", "▀", "█"};
	int width = code->width + 2 * QUIET;

	for (int x = 0; x < width; x++) {
		bool below = y + 1 < width && light(code, x, y + 1);

		put(screen, "%s", halves[2 * light(code, x, y) + below]);
	}
}

void qr_put(struct screen *screen, const char *text, unsigned row, unsigned column, unsigned lines)
{
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
	int width = code ? code->width + 2 * QUIET : 0;

	if (code && (unsigned)(width + 1) / 2 <= lines) {
		for (int y = 0; y < width; y += 2) {
			put(screen, "\033[%u;%uH", row + (unsigned)y / 2, column);
			put_line(screen, code, y);
		}
	}
	QRcode_free(code);
}
