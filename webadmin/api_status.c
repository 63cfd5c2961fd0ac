/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "webadmin/admin.h"
#include "webadmin/api.h"

static json_t *show_endpoints(struct webadmin *admin)
{
	json_t *endpoints = json_array();
	struct iscsi_portal_info portal;
	struct iscsi_isns_info isns;

	for (unsigned i = 0; iscsi_portal_next(admin->options.iscsi, i, &portal); i++)
		json_array_append_new(endpoints,
				      json_pack("{s:s,s:s,s:i,s:i}", "protocol", "iscsi", "address",
						portal.address, "port", (int)portal.port,
						"portal_group", (int)portal.group));
	if (iscsi_isns_show(admin->options.iscsi, &isns) && isns.options.esi_port)
		json_array_append_new(endpoints,
				      json_pack("{s:s,s:s,s:i}", "protocol", "isns-esi", "address",
						"", "port", (int)isns.options.esi_port));
	return endpoints;
}

static json_t *show_daemon(struct webadmin *admin)
{
	const struct webadmin_options *options = &admin->options;
	uint64_t now = loop_wall(options->control);
	json_t *directories = json_array();

	for (unsigned i = 0; i < options->directory_count; i++)
		json_array_append_new(directories, json_string(options->directories[i]));
	return json_pack("{s:i,s:s,s:s,s:s,s:i,s:s,s:s,s:I,s:o}", "pid", (int)getpid(), "version",
			 options->version, "state", admin->phase ? admin->phase : "running",
			 "io_engine", options->world->name, "io_loops", (int)options->io_loops,
			 "state_dir", options->state_dir, "control_socket", options->control_path,
			 "uptime_seconds",
			 (json_int_t)((now - admin->started_wall_ns) / 1000000000u),
			 "directories_in", directories);
}

static void status_sessions(void *context, const struct iscsi_session_info *sessions,
			    unsigned count)
{
	struct api_request *request = context;
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, show_session(&sessions[i]));
	api_reply(request, 200,
		  json_pack("{s:o,s:o,s:o,s:o,s:o}", "daemon", show_daemon(request->admin),
			    "endpoints", show_endpoints(request->admin), "pools",
			    show_pools(request->model), "targets", show_targets(request->model),
			    "sessions", list));
}

void api_status_show(struct api_request *request)
{
	iscsi_session_list(request->admin->options.iscsi, status_sessions, request);
}

void api_routes_list(struct api_request *request)
{
	unsigned count;
	const struct route *routes = route_table(&count);
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(
		    list, json_pack("{s:s,s:s,s:s,s:b,s:s}", "method", routes[i].method, "path",
				    routes[i].path, "role", role_name(routes[i].role),
				    "replication", role_may(ROLE_REPLICATION, &routes[i]),
				    "summary", routes[i].summary));
	api_reply(request, 200, list);
}
