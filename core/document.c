/* SPDX-License-Identifier: Apache-2.0 */
#include "core/document.h"

#include <string.h>

#include "core/control.h"

/* What is a text wherever the document has it: nobody has to quote a volume that is named 0815. */
static bool is_text(const char *member)
{
	static const char *const names[] = {
	    "alias",    "chap_secret", "chap_user",   "checksum",      "client",
	    "devices",  "every",       "hosts",       "initiator",     "initiators",
	    "iqn",      "keep",        "mutual_user", "mutual_secret", "name",
	    "network",  "note",        "path",        "pool",          "prefix",
	    "redirect", "security",    "server",      "snapshots",     "squash",
	    "type",     "versions",    "volume",      "volumes",       "watermarks",
	    "zone",     NULL};

	for (unsigned i = 0; names[i]; i++)
		if (strcmp(names[i], member) == 0)
			return true;
	return false;
}

const struct yaml_rules document_rules = {
    .core = true,
    .depth_max = CONTROL_JSON_DEPTH_MAX - 4, /* it is sent inside others */
    .values_max = CONTROL_JSON_VALUES_MAX,
    .is_text = is_text,
};
