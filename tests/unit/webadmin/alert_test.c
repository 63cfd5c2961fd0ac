/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "webadmin/alert_channel.h"
#include "webadmin/usage.h"
#include "webadmin/webadmin.h"

/* The table of rules, the states of alerts by a clock of the test's, their rows, and what is said
 * of them in each kind of channel. */

#define WALL 1800000000

static unsigned rule(const char *code)
{
	int found = alert_rule_find(code);

	assert_true(found >= 0);
	return (unsigned)found;
}

/* Every row whole, in both languages, with the same places to fill in. */
static bool is_chinese(const char *text)
{
	while (*text && (unsigned char)*text < 0x80)
		text++;
	return *text != '\0';
}

static void the_table_is_whole(void **state)
{
	static const char *const places[] = {"{object}", "{value}", "{detail}"};
	unsigned count;
	const struct alert_rule *rules = alert_rules(&count);

	(void)state;
	assert_true(count > 15 && count <= ALERT_RULES_MAX);
	for (unsigned i = 0; i < count; i++) {
		const struct alert_rule *row = &rules[i];

		assert_int_equal(alert_rule_find(row->code), (int)i);
		for (unsigned language = 0; language < ALERT_LANGUAGES; language++) {
			assert_true(strlen(row->text[language]) > 5);
			assert_true(strlen(row->todo[language]) > 5);
		}
		for (unsigned j = 0; j < sizeof places / sizeof *places; j++) {
			assert_true(!strstr(row->text[0], places[j]) ==
				    !strstr(row->text[1], places[j]));
			assert_true(!strstr(row->todo[0], places[j]) ==
				    !strstr(row->todo[1], places[j]));
		}
		assert_true(is_chinese(row->text[1]) && is_chinese(row->todo[1]));
	}
	assert_int_equal(alert_rule_find("nonsense"), -1);
}

/* One round in which @object is so (2: begins, 1: stays, 0: is well, -1: nobody knows). */
static void turn(struct alerts *alerts, unsigned index, int so, int64_t now)
{
	alerts_begin(alerts);
	if (so > 0)
		alerts_observe(alerts, index, "tank", so == 2, 7, "why");
	if (so < 0)
		alerts_unknown(alerts, index, "tank");
	alerts_end(alerts, now, WALL + now);
}

static unsigned firing(const struct alerts *alerts)
{
	unsigned count = 0;

	list_for_each (it, (struct list *)&alerts->active)
		count += list_entry(it, struct alert, link)->on;
	return count;
}

static void it_fires_late_and_clears_late(void **state)
{
	struct alerts alerts;
	unsigned index = rule("pool-metadata");

	(void)state;
	alerts_init(&alerts);
	alerts.tuning[index].after_s = 10;
	alerts.tuning[index].clear_s = 5;
	for (int64_t now = 0; now < 10; now++)
		turn(&alerts, index, 2, now);
	assert_int_equal(firing(&alerts), 0);
	turn(&alerts, index, 0, 10); /* well for a moment: it begins anew */
	assert_int_equal(alerts.active_count, 0);
	for (int64_t now = 11; now <= 20; now++)
		turn(&alerts, index, 2, now);
	assert_int_equal(firing(&alerts), 0);
	turn(&alerts, index, 2, 21);
	assert_int_equal(firing(&alerts), 1);
	assert_true(alerts.changed);
	turn(&alerts, index, 2, 22);
	assert_false(alerts.changed);
	/* below what makes it fire, not yet below what makes it clear */
	for (int64_t now = 23; now < 100; now++)
		turn(&alerts, index, 1, now);
	assert_int_equal(firing(&alerts), 1);
	for (int64_t now = 100; now < 105; now++)
		turn(&alerts, index, 0, now);
	turn(&alerts, index, 1, 105);
	for (int64_t now = 106; now < 200; now++) /* nobody can tell: all stays */
		turn(&alerts, index, -1, now);
	assert_int_equal(firing(&alerts), 1);
	for (int64_t now = 200; now <= 205; now++)
		turn(&alerts, index, 0, now);
	assert_int_equal(firing(&alerts), 0);
	assert_int_equal(alerts.cleared_count, 1);
	turn(&alerts, index, 1, 206); /* between the two it does not begin */
	assert_int_equal(alerts.active_count, 0);
	alerts_finish(&alerts);
}

/* The members that say when @alerts' first one is over; -1: null. */
static void says_when(const struct alerts *alerts, int64_t clears, int64_t below)
{
	const struct alert *alert = list_entry(alerts->active.next, struct alert, link);
	json_t *shown = alert_show(alerts, alert, WALL), *value;

	value = json_object_get(shown, "clears");
	assert_int_equal(json_is_null(value) ? -1 : json_integer_value(value), clears);
	value = json_object_get(shown, "clears_below");
	assert_int_equal(json_is_null(value) ? -1 : json_integer_value(value), below);
	json_decref(shown);
}

static void it_says_when_it_is_over(void **state)
{
	struct alerts alerts;
	unsigned index = rule("pool-metadata");

	(void)state;
	alerts_init(&alerts);
	alerts.tuning[index].after_s = 0;
	alerts.tuning[index].clear_s = 600;
	alerts.tuning[index].level = 90;
	turn(&alerts, index, 2, 10);
	says_when(&alerts, -1, -1);
	turn(&alerts, index, 1, 20); /* better, and not over */
	says_when(&alerts, -1, 90 - (int64_t)ALERT_MARGIN);
	turn(&alerts, index, 0, 30);
	says_when(&alerts, WALL + 630, -1);
	turn(&alerts, index, 0, 130);
	says_when(&alerts, WALL + 630, -1);
	turn(&alerts, index, -1, 131); /* nobody can tell */
	says_when(&alerts, -1, -1);
	turn(&alerts, index, 2, 140);
	says_when(&alerts, -1, -1);
	alerts_finish(&alerts);
}

static void each_object_has_one(void **state)
{
	struct alerts alerts;
	unsigned index = rule("pool-findings");
	char name[32];

	(void)state;
	alerts_init(&alerts);
	for (unsigned round = 0; round < 3; round++) {
		alerts_begin(&alerts);
		for (unsigned i = 0; i < ALERT_ACTIVE_MAX + 10; i++) {
			snprintf(name, sizeof name, "pool%u", i);
			alerts_observe(&alerts, index, name, true, i, "\xff bytes\nof any kind");
		}
		alerts_end(&alerts, round, WALL);
	}
	assert_int_equal(firing(&alerts), ALERT_ACTIVE_MAX);
	assert_int_equal(alerts.left_out, 10);
	for (int64_t id = 1; id <= ALERT_ACTIVE_MAX; id++) {
		struct alert *alert = alerts_find(&alerts, id);
		json_t *shown;

		assert_non_null(alert);
		shown = alert_show(&alerts, alert, WALL);
		assert_string_equal(json_string_value(json_object_get(shown, "detail")),
				    "? bytes?of any kind");
		json_decref(shown);
	}
	for (unsigned round = 0; round < 2; round++)
		turn(&alerts, index, 0, 10 + round);
	assert_int_equal(alerts.active_count, 0);
	assert_int_equal(alerts.cleared_count, ALERT_ACTIVE_MAX); /* to be told and stored first */
	list_for_each (it, &alerts.cleared)
		list_entry(it, struct alert, link)->dirty = false;
	alerts.tuning[index].enabled = false;
	turn(&alerts, index, 2, 20);
	assert_int_equal(alerts.cleared_count, ALERT_KEPT_MAX);
	assert_int_equal(list_entry(alerts.cleared.next, struct alert, link)->id, ALERT_ACTIVE_MAX);
	assert_int_equal(alerts.active_count, 0);
	alerts_finish(&alerts);
}

/* What is kept of a name need not be the name: still it is the same object. */
static void names_that_are_cut_are_found_again(void **state)
{
	static const char *const tails[] = {"", "\xe4", "\n", "\xe4\xb8\xad"};
	unsigned index = rule("pool-findings");

	(void)state;
	for (unsigned i = 0; i < sizeof tails / sizeof *tails; i++) {
		char name[2 * ALERT_OBJECT_MAX];
		struct alerts alerts;

		memset(name, 'x', sizeof name);
		snprintf(name + (i ? ALERT_OBJECT_MAX - 3 : sizeof name - 4), 4, "%s", tails[i]);
		alerts_init(&alerts);
		for (unsigned round = 0; round < 5; round++) {
			alerts_begin(&alerts);
			alerts_observe(&alerts, index, name, true, 0, "");
			alerts_end(&alerts, round, WALL);
			assert_int_equal(alerts.active_count, 1);
		}
		for (unsigned round = 5; round < 100; round++) {
			alerts_begin(&alerts);
			alerts_unknown(&alerts, index, name);
			alerts_end(&alerts, round, WALL);
		}
		assert_int_equal(firing(&alerts), 1);
		assert_int_equal(alerts.last_id, 1);
		alerts_finish(&alerts);
	}
}

static void states_have_names(void **state)
{
	struct alert_silence *silence = heap_zalloc(sizeof *silence);
	struct alerts alerts;
	struct alert *alert;

	(void)state;
	alerts_init(&alerts);
	turn(&alerts, rule("pool-findings"), 2, 0);
	alert = alerts_find(&alerts, 1);
	assert_string_equal(alert_state(&alerts, alert, WALL), "firing");
	alert->acked = WALL;
	assert_string_equal(alert_state(&alerts, alert, WALL), "acknowledged");
	snprintf(silence->rule, sizeof silence->rule, "pool-findings");
	snprintf(silence->object, sizeof silence->object, "other");
	silence->until = WALL + 10;
	list_push_back(&alerts.silences, &silence->link);
	assert_false(alerts_silenced(&alerts, alert, WALL));
	silence->object[0] = '\0';
	assert_string_equal(alert_state(&alerts, alert, WALL), "silenced");
	assert_false(alerts_silenced(&alerts, alert, WALL + 10));
	silence->rule[0] = '\0';
	assert_true(alerts_silenced(&alerts, alert, WALL));
	snprintf(silence->rule, sizeof silence->rule, "pool-full");
	assert_false(alerts_silenced(&alerts, alert, WALL));
	alerts_finish(&alerts);
}

static void rows_bring_them_back(void **state)
{
	char path[] = "/tmp/alert_test.XXXXXX";
	unsigned count;
	const struct config_migration *schema = webadmin_schema(&count);
	struct config *config;
	struct alerts alerts, again;
	struct alert *alert;
	struct err err = {0};

	(void)state;
	close(mkstemp(path));
	unlink(path);
	assert_int_equal(config_open(path, schema, count, &config, &err), 0);
	alerts_init(&alerts);
	turn(&alerts, rule("pool-findings"), 2, 0);
	alert = alerts_find(&alerts, 1);
	alert->acked = WALL + 1;
	alert->told = ALERT_TOLD_FIRED;
	snprintf(alert->acked_by, sizeof alert->acked_by, "me");
	assert_int_equal(alert_store(config, alert, &err), 0);
	alerts.tuning[rule("pool-full")] = (struct alert_tuning){false, ALERT_INFO, 3, 4, 5};
	assert_int_equal(
	    alert_store_tuning(config, rule("pool-full"), &alerts.tuning[rule("pool-full")], &err),
	    0);
	alerts_init(&again);
	assert_int_equal(alerts_load(config, &again, &err), 0);
	alert = alerts_find(&again, 1);
	assert_non_null(alert);
	assert_true(alert->on && alert->acked == WALL + 1 && alert->told == ALERT_TOLD_FIRED);
	assert_string_equal(alert->object, "tank");
	assert_string_equal(alert->acked_by, "me");
	assert_int_equal(again.tuning[rule("pool-full")].clear_s, 4);
	assert_false(again.tuning[rule("pool-full")].enabled);
	turn(&again, rule("pool-findings"), 2, 0); /* the same one, not another */
	assert_int_equal(firing(&again), 1);
	assert_int_equal(again.last_id, 1);
	alerts_finish(&alerts);
	alerts_finish(&again);
	config_close(config);
	unlink(path);
	for (unsigned i = 0; i < 2; i++) {
		char beside[64];

		snprintf(beside, sizeof beside, "%s-%s", path, i ? "wal" : "shm");
		unlink(beside);
	}
}

/* ---- what is said ---- */
static struct alert_channel_message message_of(enum alert_channel_event event, const char *detail)
{
	struct alert_channel_message message = {.event = event, .host = "box", .wall = WALL};

	message.alert = (struct alert){.id = 7,
				       .rule = rule("pool-read-only"),
				       .value = 81,
				       .severity = ALERT_CRITICAL,
				       .fired = WALL,
				       .cleared = event == CHANNEL_CLEARED ? WALL + 60 : 0};
	snprintf(message.alert.object, sizeof message.alert.object, "tank");
	snprintf(message.alert.detail, sizeof message.alert.detail, "%s", detail);
	return message;
}

static void it_is_said_in_words(void **state)
{
	struct alert_channel_settings settings = {.kind = CHANNEL_EMAIL};
	struct alert_channel_message message = message_of(CHANNEL_FIRED, "{object} {detail}");
	char *text = alert_channel_text(&settings, &message);

	(void)state;
	assert_string_equal(text,
			    "[Granary box] CRITICAL: Pool tank is read-only: {object} {detail}\n"
			    "What to do: A device failed while it was written to. Check its cables "
			    "and its log, then restart the service.\nSince: 2027-01-15T08:00:00Z");
	heap_free(text);
	message = message_of(CHANNEL_CLEARED, "x");
	settings.language = ALERT_CHINESE;
	text = alert_channel_text(&settings, &message);
	assert_non_null(strstr(text, "已解除: 存储池 tank"));
	assert_non_null(strstr(text, "2027-01-15T08:01:00Z"));
	heap_free(text);
}

/* A name or a reason with line ends can not add a header. Lines stay within 998 octets, encoded
 * words within 75 (RFC 5322 2.1.1, RFC 2047 2). */
static void a_mail_is_well_made(void **state)
{
	struct alert_channel_settings settings = {.kind = CHANNEL_EMAIL, .language = ALERT_CHINESE};
	struct alert_channel_message message = message_of(CHANNEL_FIRED, "");
	char *mail, *end, *next;

	(void)state;
	for (unsigned i = 0; i < 130; i++)
		memcpy(message.alert.detail + (size_t)3 * i, "\xe4\xb8\xad", 3);
	snprintf(settings.from, sizeof settings.from, "a@b.c");
	for (unsigned i = 0; i < 20; i++)
		snprintf(settings.to + strlen(settings.to),
			 sizeof settings.to - strlen(settings.to),
			 "%sperson%u@a-long-name.example.org", i ? "," : "", i);
	mail = alert_channel_mail(&settings, &message);
	assert_non_null(mail);
	assert_non_null(strstr(mail, "\r\nSubject: =?UTF-8?B?"));
	assert_non_null(strstr(mail, "\r\n\r\n"));
	for (char *line = mail; *line; line = next) {
		end = strstr(line, "\r\n");
		assert_non_null(end);
		assert_true(end - line <= 100);
		assert_null(memchr(line, '\n', (size_t)(end - line)));
		next = end + 2;
	}
	heap_free(mail);
}

static json_t *body_of(enum alert_channel_preset preset, const char *secret)
{
	struct alert_channel_settings settings = {.kind = CHANNEL_WEBHOOK, .preset = preset};
	struct alert_channel_message message = message_of(CHANNEL_FIRED, "\"quoted\" \\");
	char *text;
	json_t *body;

	snprintf(settings.secret, sizeof settings.secret, "%s", secret);
	text = alert_channel_body(&settings, &message);
	assert_non_null(text);
	body = json_loads(text, 0, NULL);
	heap_free(text);
	assert_non_null(body);
	return body;
}

/* Signatures against values worked out by another program. */
static void webhooks_are_signed(void **state)
{
	struct alert_channel_settings settings = {.kind = CHANNEL_WEBHOOK,
						  .preset = PRESET_DINGTALK,
						  .url = "https://x/send?access_token=a",
						  .secret = "SECxyz"};
	struct alert_channel_message message = message_of(CHANNEL_FIRED, "");
	char *url = alert_channel_url(&settings, &message), hex[65];
	json_t *body = body_of(PRESET_FEISHU, "SECxyz");

	(void)state;
	assert_string_equal(url, "https://x/send?access_token=a&timestamp=1800000000000&sign="
				 "ohljy3jqGpZTcUaGBF%2FYS8IfZTIce7pPxcdLhLcZuWw%3D");
	heap_free(url);
	assert_string_equal(json_string_value(json_object_get(body, "sign")),
			    "innvjkl/YReb9mB2VZaP6eHc2SQWotSdoroi6+KUyuE=");
	json_decref(body);
	alert_channel_signature("key", "The quick brown fox jumps over the lazy dog", hex);
	assert_string_equal(hex,
			    "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
}

static void each_preset_has_its_shape(void **state)
{
	json_t *body = body_of(PRESET_GENERIC, "");

	(void)state;
	assert_string_equal(json_string_value(json_object_get(body, "event")), "alert.fired");
	assert_string_equal(json_string_value(json_object_get(body, "detail")), "\"quoted\" \\");
	assert_true(json_is_null(json_object_get(body, "cleared")));
	json_decref(body);
	body = body_of(PRESET_WECOM, "");
	assert_string_equal(json_string_value(json_object_get(body, "msgtype")), "text");
	json_decref(body);
	body = body_of(PRESET_SLACK, "");
	assert_non_null(json_string_value(json_object_get(body, "text")));
	json_decref(body);
	assert_true(alert_channel_accepted(PRESET_WECOM, "{\"errcode\":0,\"errmsg\":\"ok\"}"));
	assert_false(alert_channel_accepted(PRESET_WECOM, "{\"errcode\":1}"));
	assert_false(alert_channel_accepted(PRESET_DINGTALK, "<html>"));
	assert_false(alert_channel_accepted(PRESET_FEISHU, "{}"));
	assert_true(alert_channel_accepted(PRESET_FEISHU, "{\"StatusCode\":0}"));
	assert_true(alert_channel_accepted(PRESET_SLACK, ""));
}

/* ---- traps ---- */
/* The longest of everything: it is cut, and fits into a datagram with all its lengths right. */
static void a_trap_is_never_too_long(void **state)
{
	static struct alert_channel_settings settings;
	static struct alert_channel_message message;
	uint8_t trap[CHANNEL_TRAP_MAX];
	size_t length;

	(void)state;
	memset(settings.secret, 'c', CHANNEL_COMMUNITY_MAX);
	memset(message.host, 'h', sizeof message.host - 1);
	memset(message.alert.object, 'o', sizeof message.alert.object - 1);
	memset(message.alert.detail, 'd', sizeof message.alert.detail - 1);
	message.alert.id = INT64_MAX;
	message.wall = INT64_MAX;
	for (unsigned count, i = 0; alert_rules(&count), i < count; i++) {
		for (unsigned language = 0; language < ALERT_LANGUAGES; language++) {
			settings.language = language;
			message.alert.rule = i;
			length = alert_channel_trap(&settings, &message, UINT32_MAX, trap);
			assert_in_range(length, 300, CHANNEL_TRAP_MAX);
			assert_int_equal(trap[0], 0x30);
			assert_int_equal(trap[1], 0x82);
			assert_int_equal((size_t)trap[2] << 8 | trap[3], length - 4);
		}
	}
}

/* ---- how full pools will be ---- */
static void a_forecast_is_a_line(void **state)
{
	struct usage rows[FORECAST_HOURS];

	(void)state;
	for (unsigned i = 0; i < FORECAST_HOURS; i++)
		rows[i] = (struct usage){1000 + i, 100 + 2 * (uint64_t)i, 2000};
	assert_int_equal(usage_forecast(rows, 0), -1);
	assert_int_equal(usage_forecast(rows, FORECAST_LEAST), -1); /* a row short */
	assert_int_equal(usage_forecast(rows, FORECAST_LEAST + 1), (2000 - 148) / 2);
	assert_int_equal(usage_forecast(rows, 100), (2000 - 298) / 2);
	rows[99].used = 2500; /* more than there is: now */
	assert_int_equal(usage_forecast(rows, 100), 0);
	for (unsigned i = 0; i < FORECAST_HOURS; i++)
		rows[i].used = 1000 - i;
	assert_int_equal(usage_forecast(rows, 100), -1);
	for (unsigned i = 0; i < FORECAST_HOURS; i++)
		rows[i] = (struct usage){i, 1ull << 40 | i, UINT64_MAX / 2};
	assert_int_equal(usage_forecast(rows, 100), -1); /* for ages */
	for (unsigned i = 0; i < FORECAST_HOURS; i++)
		rows[i].hour = 7;
	assert_int_equal(usage_forecast(rows, 100), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_table_is_whole),
	    cmocka_unit_test(it_fires_late_and_clears_late),
	    cmocka_unit_test(it_says_when_it_is_over),
	    cmocka_unit_test(each_object_has_one),
	    cmocka_unit_test(names_that_are_cut_are_found_again),
	    cmocka_unit_test(states_have_names),
	    cmocka_unit_test(rows_bring_them_back),
	    cmocka_unit_test(it_is_said_in_words),
	    cmocka_unit_test(a_mail_is_well_made),
	    cmocka_unit_test(webhooks_are_signed),
	    cmocka_unit_test(each_preset_has_its_shape),
	    cmocka_unit_test(a_trap_is_never_too_long),
	    cmocka_unit_test(a_forecast_is_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
