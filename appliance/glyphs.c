/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/glyphs.h"

#include <fcntl.h>
#include <linux/kd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/heap.h"

#define LINES    16
#define FILE_MAX (4u << 20)
/* Linux, Documentation/admin-guide/unicode.rst: U+F000 to U+F1FF are places in the font. */
#define PLACES      0xf000u
#define KERNEL_MOST 32 /* columns and lines of a glyph that the kernel may have */

bool glyphs_load(struct glyphs *glyphs, uint8_t *file, size_t length)
{
	if (length == 0 || length % GLYPH_RECORD)
		return false;
	for (size_t at = GLYPH_RECORD; at < length; at += GLYPH_RECORD)
		if (get16(file + at) <= get16(file + at - GLYPH_RECORD))
			return false;
	glyphs->file = file;
	glyphs->count = length / GLYPH_RECORD;
	return true;
}

void glyphs_clear(struct glyphs *glyphs)
{
	glyphs->used = 0;
}

static const uint8_t *find(const struct glyphs *glyphs, unsigned code)
{
	size_t low = 0, high = glyphs->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const uint8_t *record = glyphs->file + middle * GLYPH_RECORD;

		if (get16(record) == code)
			return record + 2;
		if (get16(record) < code)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Where that half of a character is in the font; 0: nowhere, there is no room. */
static unsigned place(struct glyphs *glyphs, const uint8_t *lines, unsigned half)
{
	uint8_t glyph[GLYPH_BYTES] = {0};
	unsigned at;

	for (unsigned line = 0; line < LINES; line++)
		glyph[line] = lines[2 * line + half];
	for (at = 0; at < glyphs->used; at++)
		if (memcmp(glyphs->font[GLYPH_PLACES + at], glyph, sizeof glyph) == 0)
			return GLYPH_PLACES + at;
	if (at == GLYPH_PLACES)
		return 0;
	glyphs->used++;
	if (memcmp(glyphs->font[GLYPH_PLACES + at], glyph, sizeof glyph) != 0) {
		memcpy(glyphs->font[GLYPH_PLACES + at], glyph, sizeof glyph);
		glyphs->changed = true;
	}
	return GLYPH_PLACES + at;
}

/* Bytes of the character that @text begins with. */
static size_t length_of(const char *text)
{
	size_t length = 1;

	while (((unsigned char)text[length] & 0xc0) == 0x80)
		length++;
	return length;
}

/* Of three bytes, as all that the file has are; 0 for others. */
static unsigned code_of(const char *text, size_t length)
{
	const unsigned char *byte = (const unsigned char *)text;

	if (length != 3 || (byte[0] & 0xf0) != 0xe0)
		return 0;
	return (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
}

static void put_place(char *out, unsigned at)
{
	unsigned code = PLACES + at;

	out[0] = (char)(0xe0 | code >> 12);
	out[1] = (char)(0x80 | (code >> 6 & 0x3f));
	out[2] = (char)(0x80 | (code & 0x3f));
}

void glyphs_show(struct glyphs *glyphs, const char *text, char *out, size_t size)
{
	while (*text) {
		size_t length = length_of(text);
		unsigned code = code_of(text, length);
		const uint8_t *lines = code ? find(glyphs, code) : NULL;
		unsigned left = lines ? place(glyphs, lines, 0) : 0;
		unsigned right = left ? place(glyphs, lines, 1) : 0;
		char two[6] = "??";
		size_t wanted = right ? 6 : lines ? 2 : length;

		if (wanted >= size)
			break;
		if (right) {
			put_place(two, left);
			put_place(two + 3, right);
		}
		memcpy(out, lines ? two : text, wanted);
		out += wanted;
		size -= wanted;
		text += length;
	}
	*out = '\0';
}

/* --- the screen ------------------------------------------------------------------------------ */

static bool read_font(struct glyphs *glyphs, int fd)
{
	static uint8_t data[2 * GLYPH_PLACES * KERNEL_MOST * KERNEL_MOST / 8];
	struct console_font_op op = {.op = KD_FONT_OP_GET,
				     .width = KERNEL_MOST,
				     .height = KERNEL_MOST,
				     .charcount = 2 * GLYPH_PLACES,
				     .data = data};

	if (ioctl(fd, KDFONTOP, &op) < 0 || op.width != 8 || op.height != LINES ||
	    op.charcount < GLYPH_PLACES)
		return false;
	memcpy(glyphs->font, data, (size_t)GLYPH_PLACES * GLYPH_BYTES);
	return true;
}

static bool write_font(struct glyphs *glyphs, int fd)
{
	struct console_font_op op = {.op = KD_FONT_OP_SET,
				     .width = 8,
				     .height = LINES,
				     .charcount = 2 * GLYPH_PLACES,
				     .data = glyphs->font[0]};

	glyphs->changed = false;
	return ioctl(fd, KDFONTOP, &op) == 0;
}

static uint8_t *read_file(const char *path, size_t *ret_length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat info;
	uint8_t *file = NULL;
	size_t length = 0;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &info) == 0 && info.st_size > 0 && info.st_size <= FILE_MAX) {
		length = (size_t)info.st_size;
		file = heap_alloc(length);
	}
	if (file && read(fd, file, length) != (ssize_t)length) {
		heap_free(file);
		file = NULL;
	}
	close(fd);
	*ret_length = length;
	return file;
}

struct glyphs *glyphs_open(const char *path, int fd)
{
	struct glyphs *glyphs = heap_zalloc(sizeof *glyphs);
	size_t length = 0;
	uint8_t *file = glyphs ? read_file(path, &length) : NULL;

	if (file && glyphs_load(glyphs, file, length) && read_font(glyphs, fd) &&
	    write_font(glyphs, fd))
		return glyphs;
	heap_free(file);
	heap_free(glyphs);
	return NULL;
}

void glyphs_load_font(struct glyphs *glyphs, int fd)
{
	if (glyphs->changed)
		write_font(glyphs, fd);
}
