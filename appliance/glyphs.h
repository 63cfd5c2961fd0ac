/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_GLYPHS_H
#define APPLIANCE_GLYPHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Chinese on the kernel's own screen. Its font has 256 glyphs of 8 by 16 and room for as many
 * again, which is too few for Chinese, and enough for what stands on one screen of it: there the
 * halves of each character that is shown are put, when it is. What the font has by itself stays,
 * for the programs that share the screen. Context: any; one thread. */
#define GLYPH_BYTES  32  /* of the screen's font: 16 lines of one byte, and room */
#define GLYPH_PLACES 256 /* of the font, and as many of ours behind them */
#define GLYPH_RECORD 34  /* of the file: UTF-16LE, 16 lines of two bytes; ascending */

struct glyphs {
	uint8_t *file;
	size_t count; /* records in it */
	unsigned used;
	bool changed; /* the font, since it was last handed to the kernel */
	uint8_t font[2 * GLYPH_PLACES][GLYPH_BYTES];
};

/* glyphs_load: @file (stolen, of heap_alloc()) of @length bytes. False, and nothing is taken, when
 * that is no such file. */
bool glyphs_load(struct glyphs *glyphs, uint8_t *file, size_t length);

/* glyphs_clear: the screen is empty; all of our places are free. */
void glyphs_clear(struct glyphs *glyphs);

/* glyphs_show: the UTF-8 @text with the two places of each character that the file has, in code
 * points that Linux takes as places in the font, into @out. What can not be placed any more is
 * "??". Cut off at a whole character when @size is too little. */
void glyphs_show(struct glyphs *glyphs, const char *text, char *out, size_t size);

/* glyphs_open: reads @path and the font of the screen @fd, and gives it the room. NULL when it is
 * no such screen, or one with glyphs of another size. glyphs_load_font: hands it over when it has
 * changed. */
struct glyphs *glyphs_open(const char *path, int fd);
void glyphs_load_font(struct glyphs *glyphs, int fd);

#endif
