/* SPDX-License-Identifier: Apache-2.0 */
/* The console's screen: sizes in units that fit, and alerts that are read to their end as long as
 * the screen has rows for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "appliance/console.h"

#define WENT_BACK                                                                                  \
	"granaryd has its configuration from before the update again, what was changed since is "  \
	"missing: 2026-11-23T21:00:00Z (config.db.newer-v27)"
#define WENT_BACK_ZH                                                                                    \
	"granaryd 已恢复为更新前的配置，此后的更改均已丢失：2026-11-23T21:00:00Z " \
	"(config.db.newer-v27)"
#define GIVEN_UP "The update of granary did not come up: the release before it runs"

static struct screen screen;

static void clear(unsigned rows)
{
	memset(&screen, 0, sizeof screen);
	while (rows-- > 0)
		put(&screen, "\r\n");
}

static void shows_pool(json_int_t used, json_int_t size, const char *what)
{
	json_t *pools = json_pack("[{s:s,s:s,s:I,s:I}]", "name", "tank", "state", "online",
				  "used_bytes", used, "size_bytes", size);

	clear(0);
	screen_pools(&screen, pools);
	json_decref(pools);
	if (!strstr(screen.text, what))
		fail_msg("no \"%s\" in\n%s", what, screen.text);
}

static void sizes_of_pools(void **state)
{
	const json_int_t mib = 1 << 20, gib = 1 << 30, tib = gib << 10;

	(void)state;
	shows_pool(5 * mib + mib / 2, 256 * mib, "tank  online  5.5 MiB / 256 MiB\r\n");
	shows_pool(0, 20 * gib, "tank  online  0 B / 20 GiB\r\n");
	shows_pool(300 * gib, tib + tib / 2, "tank  online  300 GiB / 1.5 TiB\r\n");
	shows_pool(0, 0, "tank  online\r\n"); /* not there: nothing is known */
}

static unsigned rows(void)
{
	unsigned count = 0;

	for (const char *at = screen.text; (at = strchr(at, '\n')); at++)
		count++;
	return count;
}

/* After @above rows, with 3 to come: what is on the rows of the alerts. */
static const char *alerts(unsigned above)
{
	json_t *all = json_pack(
	    "[{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:s}]", "severity", "warning",
	    "state", "firing", "text", GIVEN_UP, "text_zh", "更新未能启动", "severity", "critical",
	    "state", "cleared", "text", "over", "text_zh", "over", "severity", "critical", "state",
	    "firing", "text", WENT_BACK, "text_zh", WENT_BACK_ZH);

	assert_non_null(all);
	clear(above);
	assert_true(screen_alerts(&screen, all, 3));
	json_decref(all);
	return screen.text + 2 * (size_t)above;
}

static void wrapped(void **state)
{
	(void)state;
	assert_string_equal(
	    alerts(17),
	    "\r\n"
	    "  ! granaryd has its configuration from before the update again, what was\r\n"
	    "    changed since is missing: 2026-11-23T21:00:00Z (config.db.newer-v27)\r\n"
	    "  ! " GIVEN_UP "\r\n");
	assert_int_equal(rows() + 3, 24);
	assert_non_null(strstr(alerts(18), "(config.db.newer-v27)"));
	assert_int_equal(rows() + 3, 25);
}

/* What scrolls off at the top takes a part of the QR code along. */
static void no_row_is_left(void **state)
{
	(void)state;
	assert_string_equal(
	    alerts(19),
	    "\r\n"
	    "  ! granaryd has its configuration from before the update again, what was..\r\n"
	    "  ! " GIVEN_UP "\r\n");
	assert_int_equal(rows() + 3, 25);
	alerts(30);
	assert_int_equal(rows(), 33);
}

static void in_chinese(void **state)
{
	(void)state;
	text_chinese(true);
	assert_string_equal(
	    alerts(10),
	    "\r\n"
	    "  ! granaryd 已恢复为更新前的配置，此后的更改均已丢失：2026-11-23T21:00:00Z\r\n"
	    "    (config.db.newer-v27)\r\n"
	    "  ! 更新未能启动\r\n");
	text_chinese(false);
}

static void one_alert(unsigned above, const char *said, const char *what)
{
	json_t *all =
	    json_pack("[{s:s,s:s,s:s}]", "severity", "warning", "state", "firing", "text", said);

	assert_non_null(all);
	clear(above);
	screen_alerts(&screen, all, 3);
	json_decref(all);
	assert_string_equal(screen.text + 2 * (size_t)above, what);
}

static void long_words_and_what_a_terminal_obeys(void **state)
{
	char word[201], expected[300];

	(void)state;
	memset(word, 'x', 200);
	word[200] = '\0';
	snprintf(expected, sizeof expected, "\r\n  ! %.73s\r\n    %.73s..\r\n", word, word);
	one_alert(3, word, expected);
	word[73] = '\0'; /* as much as a line has */
	snprintf(expected, sizeof expected, "\r\n  ! %s\r\n", word);
	one_alert(3, word, expected);
	one_alert(3,
		  "a\033[2Jb\xc2\x9b"
		  "c",
		  "\r\n  ! a?[2Jb?c\r\n");
	one_alert(3, "", "");
	memset(&screen, 0, sizeof screen);
	assert_false(screen_alerts(&screen, NULL, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_of_pools),
	    cmocka_unit_test(wrapped),
	    cmocka_unit_test(no_row_is_left),
	    cmocka_unit_test(in_chinese),
	    cmocka_unit_test(long_words_and_what_a_terminal_obeys),
	};

	return cmocka_run_group_tests_name("appliance/screen", tests, NULL, NULL);
}
