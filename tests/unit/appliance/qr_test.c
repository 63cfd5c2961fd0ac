/* SPDX-License-Identifier: Apache-2.0 */
/* The console's QR code ends at the screen's last column whatever the address is: a code that goes
 * beyond it is drawn over itself, and no reader takes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/console.h"

#define RIGHT 80
#define MOST  31

/* The columns of each line that is drawn; 0 when none is. */
static int width_of(const char *text)
{
	static struct screen screen;
	const char *at;
	int lines = 0, width = 0;

	memset(&screen, 0, sizeof screen);
	qr_put(&screen, text, 2, RIGHT, MOST);
	for (at = screen.text; *at; lines++) {
		int cells = 0;
		char *end;
		long column;

		assert_memory_equal(at, "\033[", 2);
		assert_int_equal(strtol(at + 2, &end, 10), 2 + lines);
		assert_int_equal(*end, ';');
		column = strtol(end + 1, &end, 10);
		assert_int_equal(*end, 'H');
		for (at = end + 1; *at && *at != '\033'; at++)
			cells += ((unsigned char)*at & 0xc0) != 0x80;
		assert_int_equal(column + cells - 1, RIGHT);
		assert_true(width == 0 || cells == width);
		width = cells;
	}
	assert_int_equal(lines, (width + 1) / 2);
	return width;
}

static void test_widths(void **state)
{
	char longest[200];

	(void)state;
	assert_int_equal(width_of("https://10.0.2.15/"), 29);
	assert_int_equal(width_of("https://192.168.100.200/"), 29);
	assert_int_equal(width_of("https://[2001:db8:1234:5678:5054:ff:fe12:3456]/"), 31);
	assert_int_equal(width_of("https://[2001:db8:1234:5678:9abc:def0:1234:5678]/"), 31);
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(width_of(longest), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_widths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
