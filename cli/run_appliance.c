/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#define PATH "/api/v1/appliance"

static const struct column columns[] = {
    {"NAME", "name", TEXT},
    {"TIME ZONE", "timezone", TEXT},
    {"TIME SERVERS", "time_servers", JOINED},
    {"DNS", "dns", JOINED},
};
static const struct column link_columns[] = {
    {"LINK", "name", TEXT},
    {"KIND", "kind", TEXT},
    {"IPV4", "ipv4", TEXT},
    {"IPV6", "ipv6", TEXT},
    {"ADDRESSES", "addresses", JOINED},
    {"GATEWAYS", "gateways", JOINED},
    {"MEMBERS", "members", JOINED},
};

static int show(struct command *command, json_t *reply)
{
	json_t *settings = json_object_get(reply, "settings");
	const json_t *links = json_object_get(settings, "links");
	int status;

	if (command->json || !settings) /* of a dry run: what would be different */
		return table_print(command, reply, columns, 1);
	status =
	    table_print(command, json_incref(settings), columns, sizeof columns / sizeof *columns);
	if (json_array_size(links))
		table_rows(links, link_columns, sizeof link_columns / sizeof *link_columns);
	json_decref(reply);
	return status;
}

int run_appliance_show(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "GET", NULL, &reply, PATH);

	return status ? status : show(command, reply);
}

/* What "show" prints may be edited and given back: of a whole answer, the links and the name
 * servers are taken. */
int run_appliance_network(struct command *command)
{
	json_error_t where;
	json_t *file = json_load_file(command->position[0], 0, &where), *from, *body, *reply;
	int status;

	if (!file)
		return command_fail("%s: line %d: %s", command->position[0], where.line,
				    where.text);
	from = json_object_get(file, "settings");
	if (!from)
		from = file;
	body = json_pack("{s:O?}", "links",
			 json_is_array(from) ? from : json_object_get(from, "links"));
	if (json_is_array(json_object_get(from, "dns")))
		json_object_set(body, "dns", json_object_get(from, "dns"));
	json_decref(file);
	status = command_call(command, "PUT", body, &reply, PATH "/network");
	return status ? status
		      : say(command, reply,
			    "in force for a minute; \"granary appliance confirm\" keeps it");
}

int run_appliance_confirm(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", NULL, &reply, PATH "/network/confirm");

	return status ? status : say(command, reply, "the network is kept");
}

int run_appliance_revert(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "POST", NULL, &reply, PATH "/network/revert");

	return status ? status : say(command, reply, "back to the network before");
}

int run_appliance_time(struct command *command)
{
	const char *zone = command_option(command, "timezone");
	json_t *servers = json_array(), *body, *reply;
	int status;

	for (unsigned i = 0; i < command->count; i++)
		json_array_append_new(servers, json_string(command->position[i]));
	body = json_pack("{s:o}", "time_servers", servers);
	if (zone)
		json_object_set_new(body, "timezone", json_string(zone));
	status = command_call(command, "PUT", body, &reply, PATH "/time");
	return status ? status : show(command, reply);
}

int run_appliance_name(struct command *command)
{
	json_t *reply;
	int status = command_call(command, "PUT", json_pack("{s:s}", "name", command->position[0]),
				  &reply, PATH "/name");

	return status ? status : show(command, reply);
}

int run_appliance_restart(struct command *command)
{
	json_t *reply;
	int status =
	    command_confirm(command, "Restart the appliance? Guests wait until it is back.");

	if (status >= 0)
		return status;
	status = command_call(command, "POST", NULL, &reply, PATH "/restart");
	return status ? status : say(command, reply, "it restarts");
}

int run_appliance_poweroff(struct command *command)
{
	json_t *reply;
	int status = command_confirm(command, "Power the appliance off? Guests lose their disks.");

	if (status >= 0)
		return status;
	status = command_call(command, "POST", NULL, &reply, PATH "/poweroff");
	return status ? status : say(command, reply, "it powers off");
}
