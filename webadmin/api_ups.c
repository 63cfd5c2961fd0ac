/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/ups.h"

static void put_number(json_t *object, const char *name, int number)
{
	if (number >= 0)
		json_object_set_new(object, name, json_integer(number));
}

/* In words: what a UPS is at is most of all whether there is power. */
static const char *state_of(const struct ups_shown *shown)
{
	if (shown->powering_off)
		return "powering-off";
	if (!shown->asked)
		return "asking";
	if (!shown->reading.reached)
		return "unreachable";
	if (ups_has(shown->reading.status, "OB"))
		return ups_has(shown->reading.status, "LB") ? "battery-low" : "on-battery";
	return "online";
}

static json_t *show_ups(const struct ups_shown *shown)
{
	const struct ups_settings *settings = &shown->settings;
	json_t *object = json_pack("{s:s,s:i,s:s,s:s,s:s,s:s,s:I}", "host", settings->host, "port",
				   (int)settings->port, "ups", settings->name, "state",
				   state_of(shown), "status", shown->reading.status, "reason",
				   shown->reading.reached ? "" : shown->reading.error,
				   "battery_seconds", (json_int_t)shown->battery_seconds);

	if (!object)
		return NULL;
	json_object_set_new(object, "shutdown_at",
			    settings->seconds ? json_sprintf("%u", settings->seconds)
					      : json_string("low"));
	put_number(object, "charge_percent", shown->reading.charge);
	put_number(object, "runtime_seconds", shown->reading.runtime);
	put_number(object, "load_percent", shown->reading.load);
	return object;
}

void api_ups_show(struct api_request *request)
{
	struct ups_shown shown;

	if (ups_show(request->admin, &shown))
		api_reply(request, 200, show_ups(&shown));
	else
		api_reply_error(request, 404, "no_ups", "no UPS is set");
}

/* "low", or seconds. */
static bool read_limit(const char *text, unsigned *seconds)
{
	char *end;
	unsigned long value;

	*seconds = 0;
	if (strcmp(text, "low") == 0)
		return true;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || value < 1 || value > UPS_SECONDS_MAX)
		return false;
	*seconds = (unsigned)value;
	return true;
}

/* What is set of it; empty: there is none. */
static json_t *show_settings(const struct ups_settings *settings)
{
	return settings->host[0]
		   ? json_pack("{s:s,s:i,s:s,s:o}", "host", settings->host, "port",
			       (int)settings->port, "ups", settings->name, "shutdown_at",
			       settings->seconds ? json_sprintf("%u", settings->seconds)
						 : json_string("low"))
		   : json_object();
}

json_t *ups_show_wanted(struct webadmin *admin)
{
	struct ups_shown shown;

	return ups_show(admin, &shown) ? show_settings(&shown.settings)
				       : json_pack("{s:s}", "host", "");
}

static void reply_dry(struct api_request *request, const struct ups_settings *settings)
{
	struct ups_shown shown;
	bool set = ups_show(request->admin, &shown);

	api_reply_dry(request, json_string("UPS"),
		      set ? show_settings(&shown.settings) : json_object(),
		      show_settings(settings));
}

void api_ups_set(struct api_request *request)
{
	struct ups_settings settings = {.port = UPS_PORT};
	const char *host, *name, *limit = "low";
	json_int_t port = UPS_PORT;

	if (!api_unpack(request, "{s:s,s:s,s?:I,s?:s}", "host", &host, "ups", &name, "port", &port,
			"shutdown_at", &limit))
		return;
	if (strlen(host) >= sizeof settings.host || strlen(name) >= sizeof settings.name ||
	    port < 1 || port > 65535 || !read_limit(limit, &settings.seconds)) {
		api_reply_error(request, 400, "bad_ups",
				"host and ups are names, port is one, shutdown_at is \"low\" or "
				"seconds, at most %u",
				UPS_SECONDS_MAX);
		return;
	}
	settings.port = (uint16_t)port;
	snprintf(settings.host, sizeof settings.host, "%s", host);
	snprintf(settings.name, sizeof settings.name, "%s", name);
	if (ups_check(&settings, &request->err) < 0)
		api_reply_failure(request, request->err.code == -EINVAL ? "bad_ups" : NULL);
	else if (api_is_dry(request))
		reply_dry(request, &settings);
	else if (ups_set(request->admin, &settings, &request->err) < 0)
		api_reply_failure(request, request->err.code == -EINVAL ? "bad_ups" : NULL);
	else
		api_ups_show(request);
}

void api_ups_clear(struct api_request *request)
{
	const struct ups_settings none = {.host = ""};

	if (api_is_dry(request))
		reply_dry(request, &none);
	else if (ups_set(request->admin, &none, &request->err) < 0)
		api_reply_failure(request, NULL);
	else
		api_reply(request, 200, json_object());
}
