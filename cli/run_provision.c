/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static json_t *hosts_of(const struct command *command)
{
	json_t *hosts = json_array();

	for (unsigned i = 2; i < command->count; i++)
		json_array_append_new(hosts, json_string(command->position[i]));
	return hosts;
}

static int print_result(struct command *command, json_t *reply)
{
	json_t *volume = json_object_get(reply, "volume"), *portal;
	size_t index;

	if (command->json)
		return table_print(command, reply, NULL, 0);
	if (json_object_get(reply, "share")) {
		printf("share    %s/%s, exported as %s\n",
		       json_string_value(json_object_get(reply, "pool")),
		       json_string_value(json_object_get(reply, "share")),
		       json_string_value(json_object_get(reply, "path")));
		json_decref(reply);
		return EXIT_GOOD;
	}
	printf("volume   %s/%s, SCSI ID %s\ntarget   %s, LUN 0\n",
	       json_string_value(json_object_get(reply, "pool")),
	       json_string_value(json_object_get(volume, "name")),
	       json_string_value(json_object_get(volume, "scsi_id")),
	       json_string_value(json_object_get(reply, "target")));
	json_array_foreach(json_object_get(reply, "portals"), index, portal)
	{
		const char *address = json_string_value(json_object_get(portal, "address"));

		printf(address && strchr(address, ':') ? "portal   [%s]:%d\n" : "portal   %s:%d\n",
		       address, (int)json_integer_value(json_object_get(portal, "port")));
	}
	json_decref(reply);
	return EXIT_GOOD;
}

int run_provision(struct command *command)
{
	const char *pool = command_option(command, "pool");
	const char *purpose = command_option(command, "purpose");
	json_t *body =
	    json_pack("{s:s,s:s,s:s,s:o,s:s*}", "purpose", purpose ? purpose : "vm-disks", "name",
		      command->position[0], "size", command->position[1], "hosts",
		      hosts_of(command), "pool", pool);
	json_t *reply;
	int status;

	if (command_option(command, "mirror"))
		json_object_set_new(body, "mirror", json_true());
	status = command_call(command, "POST", body, &reply, "/api/v1/provision");
	return status ? status : print_result(command, reply);
}
