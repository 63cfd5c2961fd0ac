/* SPDX-License-Identifier: Apache-2.0 */
/* The console's screen: sizes in units that fit, alerts that are read to their end as long as the
 * screen has rows for them, and 25 rows whatever the machine has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

#define SEED_ERROR "user-data: line 3: " GIVEN_UP ", " GIVEN_UP
#define CUT_OFF                                                                                    \
	"a restore was cut off half way, /var/lib/granary has parts of two configurations: "       \
	"restore the backup once more with granary config restore, or forget all of it with "      \
	"granary config reset"

static struct screen screen;

/* What the machine of a test has. */
struct machine {
	unsigned addresses, pools, cards;
	bool certificate, setup, seed;
	const json_t *alerts;
	const char *failure; /* the daemon does not serve */
};

static json_t *some_pools(unsigned count)
{
	json_t *pools = json_array();
	char name[16];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "pool%u", i);
		json_array_append_new(pools, json_pack("{s:s,s:s,s:I,s:I}", "name", name, "state",
						       "online", "used_bytes", (json_int_t)0,
						       "size_bytes", (json_int_t)1 << 34));
	}
	return pools;
}

static json_t *some_cards(unsigned count)
{
	json_t *cards = json_array();
	char port[16];

	for (unsigned i = 0; i < count; i++) {
		snprintf(port, sizeof port, "ens%u", i);
		json_array_append_new(cards,
				      json_pack("{s:s,s:s,s:s}", "port", port, "was",
						"52:54:00:00:00:01", "is", "52:54:00:00:00:02"));
	}
	return cards;
}

static void draw_status(const struct machine *machine, json_t *status)
{
	struct screen_facts facts = {
	    .host = "barn",
	    .addresses = machine->addresses,
	    .certificate = machine->certificate,
	    .state_mounted = true,
	    .status = status,
	    .setup = machine->setup ? json_pack("{s:s}", "code", "1234-5678") : NULL,
	    .alerts = status ? json_incref((json_t *)machine->alerts) : NULL,
	    .seed = machine->seed ? json_pack("{s:s}", "error", SEED_ERROR) : NULL,
	    .cards = some_cards(machine->cards),
	};

	for (unsigned i = 0; i < SCREEN_ADDRESSES && i < machine->addresses; i++) {
		snprintf(facts.address[i].ip, sizeof facts.address[i].ip, "192.0.2.%u", i + 1);
		snprintf(facts.address[i].port, sizeof facts.address[i].port, "ens%u", i);
	}
	snprintf(facts.failure, sizeof facts.failure, "%s",
		 machine->failure ? machine->failure : "");
	screen_draw(&screen, &facts, true);
	json_decref(facts.setup);
	json_decref(facts.alerts);
	json_decref(facts.seed);
	json_decref(facts.cards);
	json_decref(status);
}

static void draw(const struct machine *machine)
{
	draw_status(machine,
		    machine->failure
			? NULL
			: json_pack("{s:{s:s},s:o,s:[],s:[]}", "daemon", "version", "0.1.0",
				    "pools", some_pools(machine->pools), "targets", "sessions"));
}

static void shows_pool(json_int_t used, json_int_t size, const char *what)
{
	struct machine machine = {.addresses = 1};

	draw_status(&machine, json_pack("{s:[{s:s,s:s,s:I,s:I}]}", "pools", "name", "tank", "state",
					"online", "used_bytes", used, "size_bytes", size));
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

/* The last one has no line end. */
static unsigned rows(void)
{
	unsigned count = 1;

	for (const char *at = screen.text; (at = strchr(at, '\n')); at++)
		count++;
	return count;
}

/* Where that begins on the screen. */
static const char *place(const char *what)
{
	const char *at = strstr(screen.text, what);

	if (!at)
		fail_msg("no \"%s\" in\n%s", what, screen.text);
	return at;
}

static json_t *two_alerts(void)
{
	json_t *all = json_pack(
	    "[{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:s}]", "severity", "warning",
	    "state", "firing", "text", GIVEN_UP, "text_zh", "更新未能启动", "severity", "critical",
	    "state", "cleared", "text", "over", "text_zh", "over", "severity", "critical", "state",
	    "firing", "text", WENT_BACK, "text_zh", WENT_BACK_ZH);

	assert_non_null(all);
	return all;
}

/* Of a machine with so many addresses and pools: what is on the rows of the alerts. */
static void alerts(unsigned addresses, unsigned pools, const char *what)
{
	json_t *all = two_alerts();
	struct machine machine = {.addresses = addresses,
				  .pools = pools,
				  .certificate = true,
				  .setup = true,
				  .alerts = all};

	draw(&machine);
	json_decref(all);
	place(what);
}

#define WRAPPED                                                                                    \
	"\0338\r\n"                                                                                \
	"  ! granaryd has its configuration from before the update again, what was\r\n"            \
	"    changed since is missing: 2026-11-23T21:00:00Z (config.db.newer-v27)\r\n"             \
	"  ! " GIVEN_UP "\r\n\r\n"

static void wrapped(void **state)
{
	(void)state;
	alerts(2, 1, WRAPPED);
	assert_int_equal(rows(), 24);
	alerts(3, 1, WRAPPED);
	assert_int_equal(rows(), 25);
}

/* What scrolls off at the top takes a part of the QR code along. */
static void no_row_is_left(void **state)
{
	static const char once[] =
	    "\0338\r\n"
	    "  ! granaryd has its configuration from before the update again, what was..\r\n"
	    "  ! " GIVEN_UP "\r\n\r\n";

	(void)state;
	alerts(3, 2, once);
	assert_int_equal(rows(), 25);
	place("    192.0.2.3  (ens2)\r\n");
	place("    pool1  online  0 B / 16 GiB\r\n\r\n");
	alerts(3, 5, once);
	assert_int_equal(rows(), 25);
	place("    192.0.2.3  (ens2)\r\n");
	place("    pool0  online  0 B / 16 GiB\r\n    ... 4 more\r\n\r\n");
}

/* How many lines begin with that; each of them is one of its things. */
static unsigned lines_with(const char *from, const char *what)
{
	unsigned count = 0;

	for (const char *at = from; (at = strstr(at, what)); at++)
		count++;
	return count;
}

static unsigned more_behind(const char *title)
{
	const char *at = place(title), *end = strstr(at, "\r\n\r\n");
	const char *more = strstr(at, "    ... ");
	unsigned count = 0;

	if (more && (!end || more < end))
		count = (unsigned)strtoul(more + strlen("    ... "), NULL, 10);
	return count;
}

static void fits(const struct machine *machine)
{
	draw(machine);
	if (rows() > 25)
		fail_msg("%u addresses, %u pools, %u cards: %u rows\n%s", machine->addresses,
			 machine->pools, machine->cards, rows(), screen.text);
	/* Nothing is left out without a word, and nothing while there are rows. */
	assert_int_equal(lines_with(screen.text, "    192.0.2.") + more_behind("Addresses"),
			 machine->addresses);
	assert_int_equal(lines_with(screen.text, "    pool") + more_behind("Pools"),
			 machine->pools);
	if (rows() < 25 && strstr(screen.text, "Targets")) {
		assert_int_equal(more_behind("Addresses") > 0, machine->addresses > 3);
		assert_int_equal(more_behind("Pools") > 0, machine->pools > 4);
	}
	if (machine->cards) {
		place("Ports have other cards");
		assert_int_equal(lines_with(screen.text, " -> ") +
				     more_behind("Ports have other cards"),
				 machine->cards);
	}
	if (machine->seed)
		place("  ! user-data: line 3");
	if (machine->alerts)
		place("  ! granaryd has its configuration");
	place("READY");
	place("p power off");
}

static void whatever_a_machine_has(void **state)
{
	json_t *all = two_alerts();

	(void)state;
	for (unsigned bits = 0; bits < 16; bits++)
		for (unsigned count = 0; count < 7 * 7 * 6; count++) {
			struct machine machine = {
			    .addresses = count % 7,
			    .pools = count / 7 % 7,
			    .cards = count / 49,
			    .certificate = bits & 1,
			    .setup = bits & 2,
			    .seed = bits & 4,
			    .alerts = bits & 8 ? all : NULL,
			};

			fits(&machine);
		}
	json_decref(all);
}

/* Read to its end, however long. */
static void why_it_does_not_serve(void **state)
{
	struct machine machine = {
	    .addresses = 6, .certificate = true, .cards = 1, .failure = CUT_OFF};

	(void)state;
	draw(&machine);
	assert_true(rows() <= 25);
	place("  ! a restore was cut off half way, /var/lib/granary has parts of two\r\n"
	      "    configurations: restore the backup once more with granary config restore,\r\n"
	      "    or forget all of it with granary config reset\r\n"
	      "  In the shell: granary config restore FILE");
	place("is not running");
	machine.failure = "configuration /var/lib/granary/config.db: file is not a database";
	draw(&machine);
	place("  ! configuration /var/lib/granary/config.db: file is not a database\r\n");
}

static void in_chinese(void **state)
{
	(void)state;
	text_chinese(true);
	alerts(1, 1,
	       "\r\n"
	       "  ! granaryd 已恢复为更新前的配置，此后的更改均已丢失：2026-11-23T21:00:00Z\r\n"
	       "    (config.db.newer-v27)\r\n"
	       "  ! 更新未能启动\r\n");
	alerts(3, 6, "    ... 5 项未显示\r\n");
	assert_int_equal(rows(), 25);
	text_chinese(false);
}

static void one_alert(const char *said, const char *what)
{
	json_t *all =
	    json_pack("[{s:s,s:s,s:s}]", "severity", "warning", "state", "firing", "text", said);
	struct machine machine = {.addresses = 1, .alerts = all};

	assert_non_null(all);
	draw(&machine);
	json_decref(all);
	place(what);
}

static void long_words_and_what_a_terminal_obeys(void **state)
{
	char word[201], expected[300];

	(void)state;
	memset(word, 'x', 200);
	word[200] = '\0';
	snprintf(expected, sizeof expected, "\r\n  ! %.73s\r\n    %.73s..\r\n", word, word);
	one_alert(word, expected);
	word[73] = '\0'; /* as much as a line has */
	snprintf(expected, sizeof expected, "\r\n  ! %s\r\n", word);
	one_alert(word, expected);
	one_alert("a\033[2Jb\xc2\x9b"
		  "c",
		  "\r\n  ! a?[2Jb?c\r\n");
	one_alert("", "READY");
	assert_null(strstr(screen.text, "!"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_of_pools),
	    cmocka_unit_test(wrapped),
	    cmocka_unit_test(no_row_is_left),
	    cmocka_unit_test(whatever_a_machine_has),
	    cmocka_unit_test(why_it_does_not_serve),
	    cmocka_unit_test(in_chinese),
	    cmocka_unit_test(long_words_and_what_a_terminal_obeys),
	};

	return cmocka_run_group_tests_name("appliance/screen", tests, NULL, NULL);
}
