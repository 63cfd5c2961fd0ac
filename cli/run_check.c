/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"

static const struct column columns[] = {
    {"CHECK", "name", TEXT},
    {"VERDICT", "verdict", TEXT},
    {"WHAT CAME", "text", TEXT},
    {"WHAT IT IS FOR", "purpose", TEXT},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

/* The verdict is the exit status. */
int run_lun_check(struct command *command)
{
	const char *profile = command_option(command, "profile");
	struct lun_name lun;
	json_t *reply;
	bool fits;
	int status = command_lun(command, &lun);

	if (status)
		return status;

	if (!profile) {
		fprintf(stderr, "granary: say which kind of host: --profile esxi, xenserver, "
				"windows, ovirt, proxmox or kvm\n");
		return EXIT_USAGE;
	}
	status = command_call(command, "POST", json_pack("{s:s}", "profile", profile), &reply,
			      "/api/v1/targets/%s/luns/%s/check", lun.iqn, lun.lun);
	if (status)
		return status;
	fits = json_is_true(json_object_get(reply, "fits"));
	if (command->json) {
		status = table_print(command, reply, columns, COLUMN_COUNT);
		return status ? status : fits ? EXIT_GOOD : EXIT_FAILED;
	}
	table_rows(json_object_get(reply, "checks"), columns, COLUMN_COUNT);
	printf("\nLUN %s %s for %s.\n", lun.lun,
	       fits ? "does all that is needed" : "does not do what is needed", profile);
	json_decref(reply);
	return fits ? EXIT_GOOD : EXIT_FAILED;
}
