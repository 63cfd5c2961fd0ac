/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/route.h"

#include <string.h>

#include "webadmin/api.h"

static const struct route table[] = {
#define V1 "/api/v1"
    {"GET", V1 "/status", api_status_show, ROLE_READER, 0,
     "The daemon, its endpoints, pools, targets and sessions"},
    {"GET", V1 "/routes", api_routes_list, ROLE_READER, 0, "This table"},

    {"GET", V1 "/pools", api_pool_list, ROLE_READER, 0, "All pools with their space"},
    {"POST", V1 "/pools", api_pool_create, ROLE_ADMIN, ROUTE_CHANGE,
     "Create a pool on devices or files"},
    {"POST", V1 "/pools/import", api_pool_import, ROLE_ADMIN, ROUTE_CHANGE,
     "Take in a pool that already is on devices or files"},
    {"GET", V1 "/pools/{pool}", api_pool_show, ROLE_READER, 0, "One pool"},
    {"DELETE", V1 "/pools/{pool}", api_pool_delete, ROLE_ADMIN, ROUTE_CHANGE,
     "Close and forget a pool without volumes"},
    {"POST", V1 "/pools/{pool}/check", api_pool_check, ROLE_OPERATOR, ROUTE_CHANGE,
     "Walk a pool's structures and compare them"},
    {"GET", V1 "/pools/{pool}/scrub", api_scrub_show, ROLE_READER, 0,
     "How far a pool's scrub is, and what it found"},
    {"POST", V1 "/pools/{pool}/scrub", api_scrub_change, ROLE_OPERATOR, ROUTE_CHANGE,
     "Start, pause, resume or stop the scrub of a pool"},
    {"GET", V1 "/pools/{pool}/findings", api_finding_list, ROLE_READER, 0,
     "Damage that reads and scrubs have met"},
    {"DELETE", V1 "/pools/{pool}/findings", api_finding_clear, ROLE_OPERATOR, ROUTE_CHANGE,
     "Forget the findings"},

    {"GET", V1 "/volumes", api_volume_list, ROLE_READER, 0, "All volumes"},
    {"POST", V1 "/volumes", api_volume_create, ROLE_ADMIN, ROUTE_CHANGE, "Create a thin volume"},
    {"GET", V1 "/volumes/{pool}/{volume}", api_volume_show, ROLE_READER, 0, "One volume"},
    {"PATCH", V1 "/volumes/{pool}/{volume}", api_volume_change, ROLE_ADMIN, ROUTE_CHANGE,
     "Resize or rename a volume"},
    {"DELETE", V1 "/volumes/{pool}/{volume}", api_volume_delete, ROLE_ADMIN, ROUTE_CHANGE,
     "Delete a volume and its data"},

    {"GET", V1 "/targets", api_target_list, ROLE_READER, 0, "All targets"},
    {"POST", V1 "/targets", api_target_create, ROLE_ADMIN, ROUTE_CHANGE, "Create a target"},
    {"GET", V1 "/targets/{iqn}", api_target_show, ROLE_READER, 0,
     "One target with its LUNs and rules"},
    {"DELETE", V1 "/targets/{iqn}", api_target_delete, ROLE_ADMIN, ROUTE_CHANGE,
     "Drop a target's sessions and delete it; volumes stay"},
    {"GET", V1 "/targets/{iqn}/rules", api_rule_list, ROLE_READER, 0, "Who may log in to a target"},
    {"POST", V1 "/targets/{iqn}/rules", api_rule_add, ROLE_ADMIN, ROUTE_CHANGE,
     "Let initiators log in; the same initiator and network again replaces the rule"},
    {"DELETE", V1 "/targets/{iqn}/rules", api_rule_remove, ROLE_ADMIN, ROUTE_CHANGE,
     "Take a rule away"},
    {"GET", V1 "/targets/{iqn}/luns", api_lun_list, ROLE_READER, 0, "A target's LUNs"},
    {"POST", V1 "/targets/{iqn}/luns", api_lun_map, ROLE_ADMIN, ROUTE_CHANGE,
     "Show a volume as a LUN"},
    {"DELETE", V1 "/targets/{iqn}/luns/{lun}", api_lun_unmap, ROLE_ADMIN, ROUTE_CHANGE,
     "Take a LUN away; the volume stays"},

    {"GET", V1 "/initiators", api_initiator_list, ROLE_READER, 0,
     "Initiators named in rules or logged in"},
    {"GET", V1 "/sessions", api_session_list, ROLE_READER, 0, "Live sessions"},
    {"DELETE", V1 "/sessions/{id}", api_session_drop, ROLE_OPERATOR, ROUTE_CHANGE,
     "Drop a session (the initiator may come back)"},
#undef V1
};

const struct route *route_table(unsigned *ret_count)
{
	*ret_count = sizeof table / sizeof *table;
	return table;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One percent-decoded segment; false for a bad escape, a control character, "/" or too long. */
static bool decode_segment(const char *from, size_t length, char *to)
{
	size_t out = 0;

	for (size_t i = 0; i < length; i++) {
		int c = (unsigned char)from[i];

		if (c == '%') {
			int high = i + 1 < length ? hex_digit(from[i + 1]) : -1;
			int low = i + 2 < length ? hex_digit(from[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = high * 16 + low;
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || c == '/' || out + 1 >= ROUTE_PARAM_LENGTH)
			return false;
		to[out++] = (char)c;
	}
	to[out] = '\0';
	return out > 0;
}

static bool match_path(const char *pattern, const char *path, struct route_match *match)
{
	unsigned params = 0;

	while (*pattern == '/' && *path == '/') {
		size_t want = strcspn(++pattern, "/"), have = strcspn(++path, "/");

		if (*pattern == '{') {
			if (params == ROUTE_PARAMS_MAX ||
			    !decode_segment(path, have, match->param[params++]))
				return false;
		} else if (want != have || memcmp(pattern, path, want) != 0) {
			return false;
		}
		pattern += want;
		path += have;
	}
	return *pattern == '\0' && *path == '\0';
}

void route_find(const char *method, const char *path, struct route_match *ret_match)
{
	ret_match->route = NULL;
	ret_match->path_known = false;
	if (strlen(path) > ROUTE_PATH_MAX)
		return;
	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
		if (!match_path(table[i].path, path, ret_match))
			continue;
		ret_match->path_known = true;
		if (strcmp(table[i].method, method) == 0) {
			ret_match->route = &table[i];
			return;
		}
	}
}
