/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/alert.h"

/* Alerts, what was made of their rules, and silences, as rows. */

static int finish(struct config_statement *statement, struct err *err)
{
	int result = config_step(statement, err);

	config_finish(statement);
	return result < 0 ? result : 0;
}

/* A row of a rule that this version does not have is left alone. */
static int load_alert(struct config_statement *statement, struct alerts *alerts)
{
	int rule = alert_rule_find(config_text(statement, 1));
	struct alert *alert;

	if (config_number(statement, 0) > alerts->last_id)
		alerts->last_id = config_number(statement, 0);
	if (rule < 0)
		return 0;
	alert = heap_zalloc(sizeof *alert);
	if (!alert)
		return -ENOMEM;
	alert->id = config_number(statement, 0);
	alert->rule = (unsigned)rule;
	alert->turned = -1;
	snprintf(alert->object, sizeof alert->object, "%s", config_text(statement, 2));
	snprintf(alert->detail, sizeof alert->detail, "%s", config_text(statement, 3));
	alert->value = config_number(statement, 4);
	if (!alert_severity_parse(config_text(statement, 5), &alert->severity))
		alert->severity = ALERT_WARNING;
	alert->fired = config_number(statement, 6);
	alert->cleared = config_number(statement, 7);
	alert->acked = config_number(statement, 8);
	snprintf(alert->acked_by, sizeof alert->acked_by, "%s", config_text(statement, 9));
	alert->told = (unsigned)config_number(statement, 10);
	alert->on = !alert->cleared;
	if (alert->on) {
		list_push_back(&alerts->active, &alert->link);
		alerts->active_count++;
	} else {
		list_push_front(&alerts->cleared, &alert->link);
		alerts->cleared_count++;
	}
	return 0;
}

static int load_tuning(struct config_statement *statement, struct alerts *alerts)
{
	int rule = alert_rule_find(config_text(statement, 0));
	struct alert_tuning tuning = {.enabled = config_number(statement, 1) != 0,
				      .after_s = (unsigned)config_number(statement, 3),
				      .clear_s = (unsigned)config_number(statement, 4),
				      .level = (unsigned)config_number(statement, 5)};

	if (!alert_severity_parse(config_text(statement, 2), &tuning.severity))
		return -EINVAL;
	if (rule >= 0)
		alerts->tuning[rule] = tuning;
	return 0;
}

static int load_silence(struct config_statement *statement, struct alerts *alerts)
{
	struct alert_silence *silence = heap_zalloc(sizeof *silence);

	if (!silence)
		return -ENOMEM;
	silence->id = config_number(statement, 0);
	snprintf(silence->rule, sizeof silence->rule, "%s", config_text(statement, 1));
	snprintf(silence->object, sizeof silence->object, "%s", config_text(statement, 2));
	silence->until = config_number(statement, 3);
	snprintf(silence->by, sizeof silence->by, "%s", config_text(statement, 4));
	snprintf(silence->reason, sizeof silence->reason, "%s", config_text(statement, 5));
	list_push_back(&alerts->silences, &silence->link);
	alerts->silence_count++;
	return 0;
}

static int load(struct config *config, struct alerts *alerts, const char *sql,
		int (*row)(struct config_statement *statement, struct alerts *alerts),
		struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		result = row(statement, alerts);
		if (result < 0) {
			err_set(err, result, "alerts: %s",
				result == -ENOMEM ? "out of memory" : "a row makes no sense");
			break;
		}
	}
	config_finish(statement);
	return result < 0 ? result : 0;
}

int alerts_load(struct config *config, struct alerts *alerts, struct err *err)
{
	int result = load(config, alerts,
			  "select id, rule, object, detail, value, severity, fired, cleared, acked,"
			  " acked_by, told from alert order by id",
			  load_alert, err);

	if (result == 0)
		result = load(config, alerts,
			      "select rule, enabled, severity, after, clear, level from alert_rule",
			      load_tuning, err);
	if (result == 0)
		result = load(config, alerts,
			      "select id, rule, object, until, maker, reason from alert_silence"
			      " order by id",
			      load_silence, err);
	return result;
}

int alert_store(struct config *config, const struct alert *alert, struct err *err)
{
	unsigned count;
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert or replace into alert(id, rule, object, detail, value, severity, fired,"
	    " cleared, acked, acked_by, told) values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_number(statement, 1, alert->id);
	config_bind_text(statement, 2, alert_rules(&count)[alert->rule].code);
	config_bind_text(statement, 3, alert->object);
	config_bind_text(statement, 4, alert->detail);
	config_bind_number(statement, 5, alert->value);
	config_bind_text(statement, 6, alert_severity_name(alert->severity));
	config_bind_number(statement, 7, alert->fired);
	config_bind_number(statement, 8, alert->cleared);
	config_bind_number(statement, 9, alert->acked);
	config_bind_text(statement, 10, alert->acked_by);
	config_bind_number(statement, 11, alert->told);
	return finish(statement, err);
}

/* The ids of those that are left are the highest: none is used again. */
int alerts_prune(struct config *config, struct err *err)
{
	return config_run(config, err,
			  "delete from alert where cleared > 0 and id not in"
			  " (select id from alert where cleared > 0 order by cleared desc, id desc"
			  " limit ?)",
			  "i", (int)ALERT_KEPT_MAX);
}

int alert_store_tuning(struct config *config, unsigned rule, const struct alert_tuning *tuning,
		       struct err *err)
{
	unsigned count;

	return config_run(config, err,
			  "insert or replace into alert_rule(rule, enabled, severity, after, clear,"
			  " level) values(?, ?, ?, ?, ?, ?)",
			  "sisiii", alert_rules(&count)[rule].code, (int)tuning->enabled,
			  alert_severity_name(tuning->severity), (int)tuning->after_s,
			  (int)tuning->clear_s, (int)tuning->level);
}

int alert_store_silence(struct config *config, struct alert_silence *silence, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "insert into alert_silence(rule, object, until, maker, reason)"
				    " values(?, ?, ?, ?, ?) returning id",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, silence->rule);
	config_bind_text(statement, 2, silence->object);
	config_bind_number(statement, 3, silence->until);
	config_bind_text(statement, 4, silence->by);
	config_bind_text(statement, 5, silence->reason);
	result = config_step(statement, err);
	if (result > 0)
		silence->id = config_number(statement, 0);
	config_finish(statement);
	return result < 0 ? result : 0;
}
