/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "webadmin/admin.h"
#include "webadmin/alert.h"
#include "webadmin/api.h"

/* How the disks say they are: granary-smart reports, everybody may look. */

#define NAME_MOST   63u
#define DETAIL_MOST 300u

static const char *text_of(const json_t *report, const char *name)
{
	const char *text = json_string_value(json_object_get(report, name));

	return text ? text : "";
}

static bool is_stale(struct webadmin *admin)
{
	return !admin->health.disks ||
	       loop_now(admin->options.control) - admin->health.heard_ns > HEALTH_STALE_NS;
}

const json_t *health_of(struct webadmin *admin, const char *name)
{
	return is_stale(admin) ? NULL : json_object_get(admin->health.disks, name);
}

void health_finish(struct webadmin *admin)
{
	json_decref(admin->health.disks);
}

/* Of @object nothing is known now (NULL: of none, in this life): its alerts stay as they are. */
static void keep(struct alerts *alerts, unsigned failing, unsigned warning, const char *object)
{
	size_t length = object ? strlen(object) : 0;

	list_for_each (it, &alerts->active) {
		struct alert *alert = list_entry(it, struct alert, link);

		if ((alert->rule == failing || alert->rule == warning) &&
		    alerts->tuning[alert->rule].enabled &&
		    (!object || (strncmp(alert->object, object, length) == 0 &&
				 (!alert->object[length] || alert->object[length] == ' '))))
			alert->unknown = true;
	}
}

void health_look(struct webadmin *admin, struct alerts *alerts, unsigned failing, unsigned warning)
{
	bool stale = is_stale(admin);
	const char *name;
	json_t *report;

	if (!admin->health.disks)
		keep(alerts, failing, warning, NULL);
	json_object_foreach(admin->health.disks, name, report)
	{
		const char *status = text_of(report, "status"), *serial = text_of(report, "serial");
		unsigned rule = strcmp(status, "failing") == 0 ? failing : warning;
		char object[ALERT_OBJECT_MAX];

		snprintf(object, sizeof object, *serial ? "%s (%s)" : "%s", name, serial);
		if (strcmp(status, "unknown") == 0) /* a dying disk stops answering */
			keep(alerts, failing, warning, object);
		if (strcmp(status, "failing") != 0 && strcmp(status, "warning") != 0)
			continue;
		if (stale)
			alerts_unknown(alerts, rule, object);
		else
			alerts_observe(alerts, rule, object, true, 0, text_of(report, "detail"));
	}
}

/* ---- a report ---- */
static bool known_status(const char *status)
{
	static const char *const known[] = {"good", "failing", "warning", "unknown"};

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(status, known[i]) == 0)
			return true;
	return false;
}

/* A copy of what is known of a report; NULL: it is none. */
static json_t *read_report(const json_t *from)
{
	static const char *const numbers[] = {"temperature_c", "power_on_hours", "wear_percent",
					      "sectors"};
	const char *name = text_of(from, "name"), *status = text_of(from, "status");
	json_t *report;

	if (!*name || strlen(name) > NAME_MOST || !known_status(status) ||
	    strlen(text_of(from, "detail")) > DETAIL_MOST ||
	    strlen(text_of(from, "model")) > NAME_MOST ||
	    strlen(text_of(from, "serial")) > NAME_MOST)
		return NULL;
	report = json_pack("{s:s,s:s,s:s,s:s,s:s}", "name", name, "status", status, "detail",
			   text_of(from, "detail"), "model", text_of(from, "model"), "serial",
			   text_of(from, "serial"));
	for (unsigned i = 0; report && i < sizeof numbers / sizeof *numbers; i++) {
		json_t *number = json_object_get(from, numbers[i]);

		if (json_is_integer(number))
			json_object_set(report, numbers[i], number);
	}
	return report;
}

static json_t *read_reports(const json_t *list)
{
	json_t *disks = json_object(), *from;
	size_t index;

	json_array_foreach((json_t *)list, index, from)
	{
		json_t *report = read_report(from);

		if (!report || json_object_set_new(disks, text_of(report, "name"), report) < 0) {
			json_decref(disks);
			return NULL;
		}
	}
	return disks;
}

void api_health_report(struct api_request *request)
{
	struct disk_health *health = &request->admin->health;
	const json_t *list = json_object_get(request->body, "disks");
	json_t *disks;

	if (!request->local) {
		api_reply_error(request, 403, "local_only", "this is for granary-smart alone");
		return;
	}
	disks = json_array_size(list) <= HEALTH_DISKS_MAX ? read_reports(list) : NULL;
	if (!disks) {
		api_reply_error(request, 400, "invalid", "this is no report of disks");
		return;
	}
	json_decref(health->disks);
	health->disks = disks;
	health->heard_ns = loop_now(request->admin->options.control);
	health->heard = (int64_t)(loop_wall(request->admin->options.control) / 1000000000u);
	api_reply(request, 200, json_object());
}

void api_health_show(struct api_request *request)
{
	const struct disk_health *health = &request->admin->health;
	json_t *list = json_array(), *report;
	const char *name;

	json_object_foreach(health->disks, name, report) json_array_append(list, report);
	api_reply(request, 200,
		  json_pack("{s:I,s:b,s:o}", "reported", (json_int_t)health->heard, "stale",
			    is_stale(request->admin), "disks", list));
}
