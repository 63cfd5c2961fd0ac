/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/route.h"

#include <string.h>

#include "webadmin/api.h"

/* A row without a body or an answer leaves those members out. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define BODY(...)                                                                                  \
	(const struct route_field[])                                                               \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			NULL, 0, false, NULL                                                       \
		}                                                                                  \
	}

static const struct route table[] = {
#define V1 "/api/v1"
    {"GET", V1 "/status", api_status_show, ROLE_VIEWER, 0,
     "The daemon, its endpoints, pools, targets and sessions", NULL, "Status"},
    {"GET", V1 "/routes", api_routes_list, ROLE_VIEWER, 0, "This table", NULL, "[Route]"},
    {"GET", V1 "/openapi.json", api_openapi_show, ROLE_NOBODY, 0,
     "This API as an OpenAPI 3.1 document"},
    {"GET", "/metrics", api_metrics_show, ROLE_VIEWER, ROUTE_TEXT,
     "Counters and gauges in Prometheus' text format"},

    {"GET", V1 "/setup", api_setup_show, ROLE_NOBODY, 0, "Is the first account still to be made?"},
    {"POST", V1 "/setup", api_set_up, ROLE_NOBODY, ROUTE_CHANGE | ROUTE_SECRET,
     "Make the first account with the set-up code, and sign in",
     BODY({"code", FIELD_TEXT, true, "the code that the first start printed"},
	  {"name", FIELD_TEXT, true, "name of the account"},
	  {"password", FIELD_TEXT, true, "10 to 256 bytes"}),
     "Me"},
    {"POST", V1 "/login", api_login, ROLE_NOBODY, ROUTE_AUDIT | ROUTE_SECRET, "Sign in",
     BODY({"name", FIELD_TEXT, true, "name of the account"},
	  {"password", FIELD_TEXT, true, "its password"}),
     "Me"},
    {"POST", V1 "/logout", api_logout, ROLE_VIEWER, ROUTE_AUDIT, "Sign out"},
    {"GET", V1 "/me", api_me_show, ROLE_VIEWER, 0, "Who am I?", NULL, "Me"},
    {"POST", V1 "/me/password", api_me_password, ROLE_VIEWER, ROUTE_CHANGE | ROUTE_SECRET,
     "Change one's own password; one's other sessions end",
     BODY({"old", FIELD_TEXT, true, "the password so far"},
	  {"new", FIELD_TEXT, true, "10 to 256 bytes"}),
     "Account"},
    {"GET", V1 "/accounts", api_account_list, ROLE_ADMIN, ROUTE_PAGED, "All accounts", NULL,
     "[Account]"},
    {"POST", V1 "/accounts", api_account_create, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_SECRET,
     "Make an account",
     BODY({"name", FIELD_TEXT, true, "its name"},
	  {"role", FIELD_TEXT, true, "viewer, provisioner, operator or admin"},
	  {"password", FIELD_TEXT, true, "10 to 256 bytes"}),
     "Account"},
    {"PATCH", V1 "/accounts/{name}", api_account_change, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_SECRET,
     "Change an account's role or password; its sessions end",
     BODY({"role", FIELD_TEXT, false, "new role"}, {"password", FIELD_TEXT, false, "new password"}),
     "Account"},
    {"DELETE", V1 "/accounts/{name}", api_account_delete, ROLE_ADMIN, ROUTE_CHANGE,
     "Delete an account; its sessions end"},
    {"GET", V1 "/tokens", api_token_list, ROLE_ADMIN, ROUTE_PAGED, "All API tokens", NULL,
     "[Token]"},
    {"POST", V1 "/tokens", api_token_create, ROLE_ADMIN, ROUTE_CHANGE | ROUTE_SECRET,
     "Make an API token; it is shown this once",
     BODY({"name", FIELD_TEXT, true, "its name"},
	  {"role", FIELD_TEXT, true, "viewer, provisioner, operator or admin"},
	  {"days", FIELD_NUMBER, false, "days until it expires (default 90)"}),
     "Token"},
    {"DELETE", V1 "/tokens/{name}", api_token_delete, ROLE_ADMIN, ROUTE_CHANGE,
     "Delete an API token"},
    {"GET", V1 "/audit", api_audit_list, ROLE_OPERATOR, 0,
     "The audit log: newest first, or from ?after=ID on", NULL, "[AuditEntry]"},
    {"GET", V1 "/audit/check", api_audit_check, ROLE_OPERATOR, 0,
     "Does the audit log's chain of hashes hold?", NULL, "AuditCheck"},

    {"POST", V1 "/provision", api_provision, ROLE_PROVISIONER, ROUTE_CHANGE,
     "A volume, a target of its own, LUN 0 and a rule per host, all or nothing",
     BODY({"purpose", FIELD_TEXT, true, "what for: vm-disks"},
	  {"name", FIELD_TEXT, true, "name of the volume; the target is named after it"},
	  {"size", FIELD_SIZE, true, "size of the volume"},
	  {"hosts", FIELD_TEXTS, true, "who may log in: initiator names, addresses or networks"},
	  {"pool", FIELD_TEXT, false, "pool; without it the one with the most free space"}),
     "Provisioned"},

    {"GET", V1 "/pools", api_pool_list, ROLE_VIEWER, 0, "All pools with their space", NULL,
     "[Pool]"},
    {"POST", V1 "/pools", api_pool_create, ROLE_ADMIN, ROUTE_CHANGE,
     "Create a pool on devices or files",
     BODY({"name", FIELD_TEXT, true, "name of the pool"},
	  {"devices", FIELD_DEVICES, true, "devices or files; a file with a size is created"},
	  {"force", FIELD_SWITCH, false, "write over another pool or file system"}),
     "Pool"},
    {"POST", V1 "/pools/import", api_pool_import, ROLE_ADMIN, ROUTE_CHANGE,
     "Take in a pool that already is on devices or files",
     BODY({"devices", FIELD_DEVICES, true, "its devices or files"}), "Pool"},
    {"GET", V1 "/pools/{pool}", api_pool_show, ROLE_VIEWER, 0, "One pool", NULL, "Pool"},
    {"DELETE", V1 "/pools/{pool}", api_pool_delete, ROLE_ADMIN, ROUTE_CHANGE,
     "Close and forget a pool without volumes"},
    {"POST", V1 "/pools/{pool}/check", api_pool_check, ROLE_OPERATOR, ROUTE_CHANGE,
     "Walk a pool's structures and compare them",
     BODY({"data", FIELD_SWITCH, false, "verify every block's checksum too"})},

    {"GET", V1 "/volumes", api_volume_list, ROLE_VIEWER, ROUTE_PAGED, "All volumes", NULL,
     "[Volume]"},
    {"POST", V1 "/volumes", api_volume_create, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Create a thin volume",
     BODY({"pool", FIELD_TEXT, true, "name of the pool"},
	  {"name", FIELD_TEXT, true, "name of the volume"},
	  {"size", FIELD_SIZE, true, "1 MiB to 64 TiB"}),
     "Volume"},
    {"GET", V1 "/volumes/{pool}/{volume}", api_volume_show, ROLE_VIEWER, 0, "One volume", NULL,
     "Volume"},
    {"PATCH", V1 "/volumes/{pool}/{volume}", api_volume_change, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Resize or rename a volume",
     BODY({"name", FIELD_TEXT, false, "new name"}, {"size", FIELD_SIZE, false, "new size"}),
     "Volume"},
    {"DELETE", V1 "/volumes/{pool}/{volume}", api_volume_delete, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Delete a volume and its data"},

    {"GET", V1 "/targets", api_target_list, ROLE_VIEWER, ROUTE_PAGED, "All targets", NULL,
     "[Target]"},
    {"POST", V1 "/targets", api_target_create, ROLE_PROVISIONER, ROUTE_CHANGE, "Create a target",
     BODY({"iqn", FIELD_TEXT, true, "its name"}, {"alias", FIELD_TEXT, false, "a name for people"}),
     "Target"},
    {"GET", V1 "/targets/{iqn}", api_target_show, ROLE_VIEWER, 0,
     "One target with its LUNs and rules", NULL, "Target"},
    {"DELETE", V1 "/targets/{iqn}", api_target_delete, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Drop a target's sessions and delete it; volumes stay"},
    {"GET", V1 "/targets/{iqn}/rules", api_rule_list, ROLE_VIEWER, 0, "Who may log in to a target",
     NULL, "[Rule]"},
    {"POST", V1 "/targets/{iqn}/rules", api_rule_add, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Let initiators log in; the same initiator and network again replaces the rule",
     BODY({"initiator", FIELD_TEXT, false, "initiator name, or any"},
	  {"network", FIELD_TEXT, false, "network in CIDR form, or any"},
	  {"chap_user", FIELD_TEXT, false, "ask for CHAP with this user name"},
	  {"chap_secret", FIELD_TEXT, false, "12 to 255 bytes"},
	  {"mutual_user", FIELD_TEXT, false, "answer mutual CHAP with this user name"},
	  {"mutual_secret", FIELD_TEXT, false, "12 to 255 bytes, another one"}),
     "Target"},
    {"DELETE", V1 "/targets/{iqn}/rules", api_rule_remove, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Take a rule away",
     BODY({"all", FIELD_SWITCH, false, "all rules"},
	  {"rule", FIELD_NUMBER, false, "the rule with this id"},
	  {"initiator", FIELD_TEXT, false, "the rule for this initiator"},
	  {"network", FIELD_TEXT, false, "the rule for this network"}),
     "Target"},
    {"GET", V1 "/targets/{iqn}/luns", api_lun_list, ROLE_VIEWER, 0, "A target's LUNs", NULL,
     "[Lun]"},
    {"POST", V1 "/targets/{iqn}/luns", api_lun_map, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Show a volume as a LUN",
     BODY({"pool", FIELD_TEXT, true, "name of the pool"},
	  {"volume", FIELD_TEXT, true, "name of the volume"},
	  {"lun", FIELD_NUMBER, false, "number; without it the lowest free one"})},
    {"DELETE", V1 "/targets/{iqn}/luns/{lun}", api_lun_unmap, ROLE_PROVISIONER, ROUTE_CHANGE,
     "Take a LUN away; the volume stays"},

    {"GET", V1 "/initiators", api_initiator_list, ROLE_VIEWER, ROUTE_PAGED,
     "Initiators named in rules or logged in", NULL, "[Initiator]"},
    {"GET", V1 "/sessions", api_session_list, ROLE_VIEWER, ROUTE_PAGED, "Live sessions", NULL,
     "[Session]"},
    {"DELETE", V1 "/sessions/{id}", api_session_drop, ROLE_OPERATOR, ROUTE_CHANGE,
     "Drop a session (the initiator may come back)"},
#undef V1
};

static const char *const roles[] = {
    [ROLE_NOBODY] = "nobody",     [ROLE_VIEWER] = "viewer", [ROLE_PROVISIONER] = "provisioner",
    [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin",
};

const char *role_name(enum role role)
{
	return roles[role];
}

bool role_parse(const char *name, enum role *ret_role)
{
	for (unsigned i = ROLE_VIEWER; i < sizeof roles / sizeof *roles; i++) {
		if (strcmp(roles[i], name) == 0) {
			*ret_role = i;
			return true;
		}
	}
	return false;
}

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
