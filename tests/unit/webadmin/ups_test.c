/* SPDX-License-Identifier: Apache-2.0 */
/* A UPS: lines of NUT's protocol, hostile ones too, and when the machine is to be powered off. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "webadmin/ups.h"

static void line(const char *text, int expected, const char *value)
{
	struct err err = {0};
	char got[32] = "";

	assert_int_equal(ups_line(text, "su700", "ups.status", got, sizeof got, &err), expected);
	if (expected == 0)
		assert_string_equal(got, value);
	else
		assert_true(err.text[0] != '\0');
}

static void lines(void **state)
{
	(void)state;
	line("VAR su700 ups.status \"OL CHRG\"", 0, "OL CHRG");
	line("VAR su700 ups.status \"\"", 0, "");
	line("VAR su700 ups.status \"a\\\"b\\\\c\"", 0, "a\"b\\c");
	line("ERR DATA-STALE", -ENOENT, NULL);
	line("VAR su701 ups.status \"OL\"", -EPROTO, NULL);
	line("VAR su700 ups.load \"OL\"", -EPROTO, NULL);
	line("VAR su700 ups.status OL", -EPROTO, NULL);
	line("VAR su700 ups.status \"OL", -EPROTO, NULL);
	line("VAR su700 ups.status \"OL\" x", -EPROTO, NULL);
	line("VAR su700 ups.status \"O\tL\"", -EPROTO, NULL);
	line("VAR su700 ups.status \"0123456789012345678901234567890123456789\"", -EPROTO, NULL);
	line("", -EPROTO, NULL);
	line("HTTP/1.1 400 Bad Request", -EPROTO, NULL);
}

static void flags(void **state)
{
	(void)state;
	assert_true(ups_has("OB LB DISCHRG", "LB"));
	assert_true(ups_has("OB", "OB"));
	assert_false(ups_has("OBX", "OB"));
	assert_false(ups_has("", "OB"));
	assert_false(ups_has("OL  BOOST", "OB"));
}

/* One life: what is told at each second, "-" is silence, and the verdict. */
struct moment {
	int64_t at;
	const char *status;
	enum ups_verdict expected;
};

static void live(unsigned seconds, const struct moment *moments, unsigned count)
{
	struct ups_settings settings = {.host = "h", .name = "u", .seconds = seconds};
	struct ups_watch watch = {0};

	for (unsigned i = 0; i < count; i++) {
		struct ups_reading reading = {.reached = moments[i].status[0] != '-'};

		snprintf(reading.status, sizeof reading.status, "%s", moments[i].status);
		assert_int_equal(ups_judge(&watch, &settings, &reading, moments[i].at),
				 moments[i].expected);
	}
}

#define LIVE(seconds, ...)                                                                         \
	live(seconds, (const struct moment[]){__VA_ARGS__},                                        \
	     sizeof((const struct moment[]){__VA_ARGS__}) / sizeof(struct moment))

static void verdicts(void **state)
{
	(void)state;
	LIVE(0, {1, "OL", UPS_FINE}, {6, "OB", UPS_ON_BATTERY}, {9999, "OB", UPS_ON_BATTERY},
	     {10000, "OB LB", UPS_POWER_OFF});
	LIVE(0, {1, "OB", UPS_ON_BATTERY}, {6, "OL LB", UPS_FINE}, {11, "OL FSD", UPS_POWER_OFF});
	LIVE(300, {1, "OB", UPS_ON_BATTERY}, {300, "OB", UPS_ON_BATTERY},
	     {301, "OB", UPS_POWER_OFF});
	/* Power that comes back begins anew. */
	LIVE(300, {1, "OB", UPS_ON_BATTERY}, {200, "OL", UPS_FINE}, {205, "OB", UPS_ON_BATTERY},
	     {500, "OB", UPS_ON_BATTERY}, {505, "OB", UPS_POWER_OFF});
	LIVE(300, {1, "OB LB", UPS_POWER_OFF});
	/* Silence means nothing while there is power, and the end on battery. */
	LIVE(0, {1, "-", UPS_SILENT}, {9999, "-", UPS_SILENT}, {10000, "OL", UPS_FINE},
	     {10005, "-", UPS_SILENT}, {99999, "-", UPS_SILENT});
	LIVE(0, {1, "OB", UPS_ON_BATTERY}, {6, "-", UPS_ON_BATTERY}, {65, "-", UPS_ON_BATTERY},
	     {66, "-", UPS_POWER_OFF});
	LIVE(0, {1, "OB", UPS_ON_BATTERY}, {6, "-", UPS_ON_BATTERY}, {60, "OB", UPS_ON_BATTERY},
	     {66, "-", UPS_ON_BATTERY}, {125, "-", UPS_ON_BATTERY}, {126, "-", UPS_POWER_OFF});
	LIVE(20, {1, "OB", UPS_ON_BATTERY}, {6, "-", UPS_ON_BATTERY}, {21, "-", UPS_POWER_OFF});
	/* A calibration drains the battery while there is power. */
	LIVE(20, {1, "OB CAL", UPS_FINE}, {99, "OB CAL LB", UPS_FINE},
	     {104, "CAL FSD", UPS_POWER_OFF});
	/* A driver that starts says nothing of power; a bypass is fed by the mains. */
	LIVE(0, {1, "OB", UPS_ON_BATTERY}, {6, "", UPS_ON_BATTERY}, {12, "-", UPS_ON_BATTERY},
	     {72, "-", UPS_POWER_OFF});
	LIVE(20, {1, "WAIT", UPS_FINE}, {6, "OB", UPS_ON_BATTERY}, {11, "WAIT", UPS_ON_BATTERY},
	     {26, "OB", UPS_POWER_OFF});
	LIVE(0, {1, "OB", UPS_ON_BATTERY}, {6, "BYPASS", UPS_FINE}, {12, "-", UPS_SILENT},
	     {72, "-", UPS_SILENT});
}

static void settings(void **state)
{
	struct ups_settings good = {.host = "2001:db8::1", .port = UPS_PORT, .name = "su-700.a"};
	struct ups_settings bad;

	(void)state;
	assert_int_equal(ups_check(&good, NULL), 0);
	bad = good;
	bad.name[2] = ' ';
	assert_int_equal(ups_check(&bad, NULL), -EINVAL);
	bad = good;
	bad.name[2] = '\n';
	assert_int_equal(ups_check(&bad, NULL), -EINVAL);
	bad = good;
	bad.host[0] = '"';
	assert_int_equal(ups_check(&bad, NULL), -EINVAL);
	bad = good;
	bad.host[0] = '\0';
	assert_int_equal(ups_check(&bad, NULL), -EINVAL);
	bad = good;
	bad.port = 0;
	assert_int_equal(ups_check(&bad, NULL), -EINVAL);
	bad = good;
	bad.seconds = UPS_SECONDS_MAX + 1;
	assert_int_equal(ups_check(&bad, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines),
	    cmocka_unit_test(flags),
	    cmocka_unit_test(verdicts),
	    cmocka_unit_test(settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
