/* SPDX-License-Identifier: Apache-2.0 */
/* Chinese for the kernel's own screen: characters become places of its font, each half of one once;
 * what has no room or no glyph is said so; a file that is none is not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "appliance/glyphs.h"
#include "core/bytes.h"
#include "core/heap.h"

#define FIRST 0x4e00
#define MANY  300 /* more than there are places for */

static struct glyphs glyphs;

/* Of the character @i, two halves that no other has; of the first one, the right half is empty. */
static void draw(uint8_t *record, unsigned i)
{
	put16(record, (uint16_t)(FIRST + i));
	memset(record + 2, 0, GLYPH_RECORD - 2);
	record[2] = record[3] = (uint8_t)i;
	record[4] = (uint8_t)(i >> 8);
	record[5] = 0x80;
	if (i == 0) {
		memset(record + 2, 0, GLYPH_RECORD - 2);
		record[2] = 0xff;
	}
}

static int prepare(void **state)
{
	uint8_t *file = heap_zalloc((size_t)MANY * GLYPH_RECORD);

	(void)state;
	assert_non_null(file);
	memset(&glyphs, 0, sizeof glyphs);
	for (unsigned i = 0; i < MANY; i++)
		draw(file + (size_t)i * GLYPH_RECORD, i);
	assert_true(glyphs_load(&glyphs, file, (size_t)MANY * GLYPH_RECORD));
	return 0;
}

static int finish(void **state)
{
	(void)state;
	heap_free(glyphs.file);
	return 0;
}

static void encode(char *out, unsigned code)
{
	out[0] = (char)(0xe0 | code >> 12);
	out[1] = (char)(0x80 | (code >> 6 & 0x3f));
	out[2] = (char)(0x80 | (code & 0x3f));
}

/* The place that a code point of Linux's direct range means; places of ours are the upper ones. */
static unsigned place_at(const char *text)
{
	const unsigned char *byte = (const unsigned char *)text;
	unsigned code = (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);

	assert_in_range(code, 0xf000 + GLYPH_PLACES, 0xf000 + 2 * GLYPH_PLACES - 1);
	return code - 0xf000;
}

static void test_halves(void **state)
{
	char text[] = "a???b", out[64];
	const uint8_t *left, *right;

	(void)state;
	encode(text + 1, FIRST + 7);
	glyphs_show(&glyphs, text, out, sizeof out);
	assert_int_equal(strlen(out), 8);
	assert_int_equal(out[0], 'a');
	assert_int_equal(out[7], 'b');
	left = glyphs.font[place_at(out + 1)];
	right = glyphs.font[place_at(out + 4)];
	assert_int_equal(left[0], 7);
	assert_int_equal(left[1], 0);
	assert_int_equal(right[0], 7);
	assert_int_equal(right[1], 0x80);
	assert_int_equal(right[2], 0);
	assert_true(glyphs.changed);
	/* Shown once more it is there already, and after a clear, too: the kernel has it. */
	glyphs.changed = false;
	glyphs_show(&glyphs, text, out, sizeof out);
	assert_int_equal(glyphs.used, 2);
	glyphs_clear(&glyphs);
	glyphs_show(&glyphs, text, out, sizeof out);
	assert_int_equal(glyphs.used, 2);
	assert_false(glyphs.changed);
}

static void test_own_glyphs_stay(void **state)
{
	char text[MANY * 3 + 1] = "", out[MANY * 6 + 1];
	uint8_t before[GLYPH_PLACES][GLYPH_BYTES];

	(void)state;
	memset(glyphs.font, 0x55, sizeof before);
	memcpy(before, glyphs.font, sizeof before);
	for (unsigned i = 0; i < MANY; i++)
		encode(text + (size_t)i * 3, FIRST + i);
	text[(size_t)MANY * 3] = '\0';
	glyphs_show(&glyphs, text, out, sizeof out);
	assert_int_equal(glyphs.used, GLYPH_PLACES);
	assert_memory_equal(glyphs.font, before, sizeof before);
	/* 128 have their places, the others are said to have none. */
	for (unsigned i = 0; i < 128; i++) {
		place_at(out + (size_t)i * 6);
		place_at(out + (size_t)i * 6 + 3);
	}
	assert_string_equal(out + 128 * 6 + 2 * (MANY - 128 - 1), "??");
	glyphs_clear(&glyphs);
	glyphs_show(&glyphs, text + (size_t)(MANY - 1) * 3, out, sizeof out);
	place_at(out);
}

static void test_others(void **state)
{
	static const char text[] =
	    "READY \xe2\x96\x88 \xc3\xa9 \xe4\x80\x80 \xf0\x9f\x98\x80 \xe4\xb8";
	char out[64];

	(void)state;
	glyphs_show(&glyphs, text, out, sizeof out);
	assert_string_equal(out, text);
	assert_int_equal(glyphs.used, 0);
	/* It is cut off where a character ends. */
	glyphs_show(&glyphs, text, out, 9);
	assert_string_equal(out, "READY ");
	glyphs_show(&glyphs, text, out, 10);
	assert_string_equal(out, "READY \xe2\x96\x88");
	glyphs_show(&glyphs, text, out, 1);
	assert_string_equal(out, "");
}

static void test_wrong_files(void **state)
{
	uint8_t file[2 * GLYPH_RECORD] = {0};
	struct glyphs other = {.count = 0};

	(void)state;
	draw(file, 1);
	draw(file + GLYPH_RECORD, 1);
	assert_false(glyphs_load(&other, file, sizeof file)); /* twice the same */
	draw(file, 2);
	assert_false(glyphs_load(&other, file, sizeof file)); /* in disorder */
	draw(file, 0);
	assert_false(glyphs_load(&other, file, sizeof file - 1));
	assert_false(glyphs_load(&other, file, 0));
	assert_null(other.file);
	assert_true(glyphs_load(&other, file, sizeof file));
}

static void test_no_screen(void **state)
{
	char path[] = "/tmp/granary-glyphs-XXXXXX";
	size_t size = glyphs.count * GLYPH_RECORD;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, glyphs.file, size), (ssize_t)size);
	assert_null(glyphs_open(path, fd)); /* a file has no font */
	assert_null(glyphs_open("/nowhere/glyphs", fd));
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_halves, prepare, finish),
	    cmocka_unit_test_setup_teardown(test_own_glyphs_stay, prepare, finish),
	    cmocka_unit_test_setup_teardown(test_others, prepare, finish),
	    cmocka_unit_test(test_wrong_files),
	    cmocka_unit_test_setup_teardown(test_no_screen, prepare, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
