/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* The iSNS server that targets are registered with (RFC 4171): rows of the setting table, and the
 * client of the iSCSI server. */

#define SERVER "isns.server"
#define ESI    "isns.esi_port"
#define ENTITY "isns.entity" /* stays: who comes back is known */

#define SERVER_TEXT_MAX 80

static void server_text(const struct iscsi_isns_options *options, char text[SERVER_TEXT_MAX])
{
	bool six = strchr(options->address, ':');

	snprintf(text, SERVER_TEXT_MAX, six ? "[%s]:%u" : "%s:%u", options->address, options->port);
}

/* What is set of it; @options NULL: nothing. */
static json_t *show_settings(const struct iscsi_isns_options *options)
{
	char text[SERVER_TEXT_MAX] = "";

	if (options)
		server_text(options, text);
	return json_pack("{s:s,s:i}", "server", text, "esi_port",
			 options ? (int)options->esi_port : 0);
}

json_t *isns_show_wanted(struct webadmin *admin)
{
	struct iscsi_isns_info info;
	bool set = iscsi_isns_show(admin->options.iscsi, &info);

	return show_settings(set ? &info.options : NULL);
}

static void reply_dry(struct api_request *request, const struct iscsi_isns_options *options)
{
	struct iscsi_isns_info info;
	bool set = iscsi_isns_show(request->admin->options.iscsi, &info);

	api_reply_dry(request, json_string("iSNS"), show_settings(set ? &info.options : NULL),
		      show_settings(options));
}

static void reply(struct api_request *request)
{
	struct iscsi_isns_info info = {.state = "none", .reason = ""};
	char text[SERVER_TEXT_MAX] = "";

	if (iscsi_isns_show(request->admin->options.iscsi, &info))
		server_text(&info.options, text);
	api_reply(request, 200,
		  json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:I,s:i,s:I}", "server", text, "state",
			    info.state, "reason", info.reason, "entity", info.options.entity,
			    "targets", (int)info.targets, "portals", (int)info.portals,
			    "period_seconds", (int)info.period, "contact",
			    (json_int_t)(info.contact_ns / 1000000000u), "esi_port",
			    (int)info.options.esi_port, "esi_answered",
			    (json_int_t)info.esi_answered));
}

void api_isns_show(struct api_request *request)
{
	reply(request);
}

/* The same name for as long as the store lives. */
static int entity_of(struct webadmin *admin, char entity[ISCSI_ISNS_ENTITY_MAX + 1],
		     struct err *err)
{
	uint64_t random;

	webadmin_setting(admin, ENTITY, entity, ISCSI_ISNS_ENTITY_MAX + 1);
	if (entity[0])
		return 0;
	loop_random(admin->options.control, &random, sizeof random);
	snprintf(entity, ISCSI_ISNS_ENTITY_MAX + 1, "granary-%016llx", (unsigned long long)random);
	return webadmin_set_setting(admin, ENTITY, entity, err);
}

static int store(struct api_request *request, struct iscsi_isns_options *options)
{
	struct webadmin *admin = request->admin;
	struct config *config = admin->options.config;
	struct err *err = &request->err;
	char text[SERVER_TEXT_MAX], port[8];
	int result = config_begin(config, err);

	server_text(options, text);
	snprintf(port, sizeof port, "%u", options->esi_port);
	if (result == 0)
		result = entity_of(admin, options->entity, err);
	if (result == 0)
		result = webadmin_set_setting(admin, SERVER, text, err);
	if (result == 0)
		result = webadmin_set_setting(admin, ESI, port, err);
	return result < 0 ? result : api_commit(request);
}

void api_isns_set(struct api_request *request)
{
	struct iscsi_isns_options options = {0};
	const char *server;
	json_int_t port = 0;

	if (!api_unpack(request, "{s:s,s?:I}", "server", &server, "esi_port", &port))
		return;
	if (iscsi_isns_parse(server, &options, &request->err) < 0) {
		api_reply_failure(request, "bad_address");
		return;
	}
	if (port > 65535) {
		api_reply_error(request, 400, "bad_port", "a port is at most 65535");
		return;
	}
	options.esi_port = (uint16_t)port;
	if (store(request, &options) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		reply_dry(request, &options);
		return;
	}
	if (iscsi_isns_set(request->admin->options.iscsi, &options, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("audit: %s registers the targets with the iSNS server %s", request->who.name,
		   server);
	reply(request);
}

void api_isns_remove(struct api_request *request)
{
	if (api_is_dry(request)) {
		reply_dry(request, NULL);
		return;
	}
	if (config_run(request->admin->options.config, &request->err,
		       "delete from setting where name in ('" SERVER "', '" ESI "')", "") < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	iscsi_isns_remove(request->admin->options.iscsi);
	log_notice("audit: %s registers the targets with no iSNS server", request->who.name);
	reply(request);
}

/* Nothing else depends on it, so what can not be read is only logged. */
void isns_load(struct webadmin *admin)
{
	struct iscsi_isns_options options = {0};
	char text[SERVER_TEXT_MAX], port[8];
	struct err err = {0};

	webadmin_setting(admin, SERVER, text, sizeof text);
	if (text[0] == '\0')
		return;
	webadmin_setting(admin, ESI, port, sizeof port);
	options.esi_port = (uint16_t)strtoul(port, NULL, 10);
	if (iscsi_isns_parse(text, &options, &err) < 0 ||
	    entity_of(admin, options.entity, &err) < 0 ||
	    iscsi_isns_set(admin->options.iscsi, &options, &err) < 0)
		log_error("the targets are not registered with an iSNS server: %s", err.text);
}
