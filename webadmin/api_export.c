/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/export.h"
#include "webadmin/nfs_tls.h"

static struct model_share *find_share(struct api_request *request)
{
	struct model_share *share =
	    model_share_find(request->model, request->match.param[0], request->match.param[1]);

	if (!share)
		api_reply_error(request, 404, "share_not_found", "no share named %s/%s",
				request->match.param[0], request->match.param[1]);
	return share;
}

void api_share_rules(struct api_request *request)
{
	struct model_share *share = find_share(request);

	if (share)
		api_reply(request, 200, show_share_rules(request->admin, share));
}

/* ---- allow, deny */

static bool read_squash(const char *text, enum nfs_squash *ret_squash)
{
	static const struct {
		const char *name;
		enum nfs_squash squash;
	} names[] = {
	    {"root", NFS_ROOT_SQUASH}, {"all", NFS_ALL_SQUASH}, {"none", NFS_NO_ROOT_SQUASH}};

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(text, names[i].name) == 0) {
			*ret_squash = names[i].squash;
			return true;
		}
	}
	return false;
}

static bool read_id(struct api_request *request, json_int_t value, uint32_t *ret_id)
{
	if (value < 0 || value > UINT32_MAX) {
		api_reply_error(request, 400, "bad_id", "an id is a number from 0 to 4294967295");
		return false;
	}
	*ret_id = (uint32_t)value;
	return true;
}

bool export_read_rule(struct api_request *request, struct nfs_rule *rule)
{
	const char *client, *squash = "root", *security = "any";
	int read_only = 0, insecure = 0;
	json_int_t uid = NFS_ANON_ID, gid = NFS_ANON_ID;

	if (!api_unpack(request, "{s:s,s?:b,s?:b,s?:s,s?:s,s?:I,s?:I}", "client", &client,
			"read_only", &read_only, "insecure", &insecure, "squash", &squash,
			"security", &security, "anon_uid", &uid, "anon_gid", &gid))
		return false;
	*rule = (struct nfs_rule){.read_only = read_only != 0, .insecure = insecure != 0};
	snprintf(rule->client, sizeof rule->client, "%s", client);
	if (strlen(client) >= sizeof rule->client || nfs_rule_check(rule, &request->err) < 0) {
		api_reply_error(request, 400, "bad_client",
				"\"%.300s\" is no client: an address, a network like 10.0.0.0/8 "
				"or fd00::/8, the name of a host, *, or cert:NAME for whoever has "
				"a certificate with that name (no netgroups, no patterns)",
				client);
		return false;
	}
	if (!read_squash(squash, &rule->squash)) {
		api_reply_error(request, 400, "bad_squash", "squash is root, all or none");
		return false;
	}
	if (!export_read_security(security, &rule->security)) {
		api_reply_error(request, 400, "bad_security",
				"security is any, tls (only over TLS) or mtls (and with a "
				"certificate of the client's)");
		return false;
	}
	if (strncmp(client, NFS_CERTIFICATE, sizeof NFS_CERTIFICATE - 1) == 0)
		rule->security = NFS_SECURITY_MTLS;
	return read_id(request, uid, &rule->anon_uid) && read_id(request, gid, &rule->anon_gid);
}

struct nfs_rule *export_without(struct api_request *request, const struct nfs_rule *rules,
				unsigned rule_count, const char *client, unsigned *ret_count)
{
	struct nfs_rule *rest = heap_zalloc_array(rule_count + 1, sizeof *rest);

	*ret_count = 0;
	if (!rest) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return NULL;
	}
	for (unsigned i = 0; i < rule_count; i++)
		if (strcmp(rules[i].client, client) != 0)
			rest[(*ret_count)++] = rules[i];
	return rest;
}

/* What @rules (taken over) would make of the share's. */
static void reply_dry(struct api_request *request, struct model_share *share,
		      struct nfs_rule *rules, unsigned count)
{
	struct nfs_rule *held = share->rules;
	unsigned held_count = share->rule_count;
	json_t *before = show_share_rules(NULL, share), *after;

	share->rules = rules;
	share->rule_count = count;
	after = show_share_rules(NULL, share);
	share->rules = held;
	share->rule_count = held_count;
	heap_free(rules);
	api_reply_dry(request, json_sprintf("share %s/%s", share->pool, share->name),
		      json_pack("{s:o}", "rules", before), json_pack("{s:o}", "rules", after));
}

/* False: it has been answered. */
static bool set_rules(struct api_request *request, struct model_share *share,
		      struct nfs_rule *rules, unsigned count)
{
	if (api_is_dry(request) &&
	    export_prepare_rules(request->admin, share, rules, count, &request->err) == 0) {
		reply_dry(request, share, rules, count);
		return false;
	}
	if (!api_is_dry(request) &&
	    export_set_rules(request->admin, share, rules, count, &request->err) == 0)
		return true;
	heap_free(rules);
	api_reply_failure(request, NULL);
	return false;
}

void api_share_allow(struct api_request *request)
{
	struct model_share *share = find_share(request);
	struct nfs_rule rule, *rules;
	unsigned count;

	if (!share || !export_read_rule(request, &rule))
		return;
	rules = export_without(request, share->rules, share->rule_count, rule.client, &count);
	if (!rules)
		return;
	if (count == NFS_RULES_MAX) {
		heap_free(rules);
		api_reply_error(request, 409, "too_many_rules", "a share has at most %u rules",
				NFS_RULES_MAX);
		return;
	}
	rules[count++] = rule;
	if (!set_rules(request, share, rules, count))
		return;
	log_notice("share %s/%s: %s may use it%s", share->pool, share->name, rule.client,
		   rule.read_only ? ", read-only" : "");
	api_reply(request, 201, show_share_rules(request->admin, share));
}

void api_share_deny(struct api_request *request)
{
	struct model_share *share = find_share(request);
	const char *client;
	struct nfs_rule *rules;
	unsigned count;

	if (!share || !api_unpack(request, "{s:s}", "client", &client))
		return;
	rules = export_without(request, share->rules, share->rule_count, client, &count);
	if (!rules)
		return;
	if (count == share->rule_count) {
		heap_free(rules);
		api_reply_error(request, 404, "rule_not_found", "share %s/%s has no rule for %s",
				share->pool, share->name, client);
		return;
	}
	if (!set_rules(request, share, rules, count))
		return;
	log_notice("share %s/%s: the rule for %s is gone", share->pool, share->name, client);
	api_reply(request, 200, show_share_rules(request->admin, share));
}

/* ---- explain */

struct words {
	char text[1500];
	size_t length;
};

static __attribute__((format(printf, 2, 3))) void say(struct words *words, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(words->text + words->length, sizeof words->text - words->length, format,
			   arguments);
	va_end(arguments);
	words->length += length < 0 ? 0 : (size_t)length;
	if (words->length >= sizeof words->text)
		words->length = sizeof words->text - 1;
}

/* " (HOST is ADDRESS, ADDRESS)", if the rule names a host. */
static void say_host(struct words *words, const struct webadmin *admin, const char *client)
{
	struct nfs_host host;

	if (!nfs_host(admin->options.nfs, client, &host))
		return;
	say(words, " (%s ", client);
	for (unsigned i = 0; i < host.count; i++)
		say(words, "%s%s", i ? ", " : "is ", host.addresses[i]);
	if (!host.answered)
		say(words, "is being looked up");
	else if (host.trouble[0])
		say(words, "%sdoes not resolve: %s", host.count ? " of late; it " : "",
		    host.trouble);
	say(words, ")");
}

/* What a connection has to be, and what is missing here for one to be that. */
static void say_security(struct words *words, const struct webadmin *admin,
			 const struct nfs_rule *rule)
{
	bool mutual = rule->security == NFS_SECURITY_MTLS;

	if (rule->security == NFS_SECURITY_ANY)
		return;
	say(words,
	    ", only over TLS%s (mount -o xprtsec=%s); other connections are refused: "
	    "MNT3ERR_ACCES, AUTH_TOOWEAK, NFS4ERR_WRONGSEC",
	    mutual ? " with a certificate that the server believes" : "", mutual ? "mtls" : "tls");
	if (!nfs_tls_expires(admin))
		say(words, "; but the server has no certificate: see \"granary share tls\"");
	else if (mutual && !nfs_tls_believes(admin))
		say(words, "; but nobody's certificate is believed yet: granary share tls set "
			   "--clients-file FILE");
}

/* Why a client without a rule may have expected one. */
static void say_certificates(struct words *words, const struct exported *share)
{
	for (unsigned i = 0; i < share->rule_count; i++) {
		if (strncmp(share->rules[i].client, NFS_CERTIFICATE, sizeof NFS_CERTIFICATE - 1))
			continue;
		say(words,
		    "; a rule for a certificate (%s) is for connections in TLS that prove "
		    "the name, whatever their address",
		    share->rules[i].client);
		return;
	}
}

static void say_why(const struct webadmin *admin, const struct exported *share, const char *client,
		    int index, struct words *words)
{
	const struct nfs_rule *rule = index < 0 ? NULL : &share->rules[index];

	if (!share->available)
		say(words, "the %s is not available: %.300s", share->what, share->reason);
	else if (!share->rule_count)
		say(words, "the %s is not exported: it has no rule", share->what);
	else if (!rule) {
		say(words, "no rule matches %s", client);
		say_certificates(words, share);
		for (unsigned i = 0; i < share->rule_count; i++)
			say_host(words, admin, share->rules[i].client);
	} else {
		say(words, "the rule for %s decides: %s, %s%s", rule->client,
		    rule->read_only ? "read-only" : "read and write",
		    rule->squash == NFS_NO_ROOT_SQUASH ? "root is root"
		    : rule->squash == NFS_ALL_SQUASH   ? "everybody is the anonymous user"
						       : "root is the anonymous user",
		    rule->insecure ? "" : ", from ports below 1024 only");
		say_security(words, admin, rule);
		say_host(words, admin, rule->client);
	}
}

void export_explain(struct api_request *request, const struct exported *share, const char *client)
{
	char path[VOLUME_NAME_MAX + 2];
	struct words why = {0};
	const struct nfs_rule *rule;
	int index = -1;

	if (nfs_explain(request->admin->options.nfs, share->rules, share->rule_count, client,
			&index, &request->err) < 0) {
		api_reply_failure(request, "bad_client");
		return;
	}
	if (!share->available)
		index = -1;
	rule = index < 0 ? NULL : &share->rules[index];
	say_why(request->admin, share, client, index, &why);
	snprintf(path, sizeof path, "/%s", share->name);
	api_reply(request, 200,
		  json_pack("{s:s,s:s,s:b,s:s,s:b,s:b,s:s,s:o,s:s}", "client", client, "path", path,
			    "allowed", rule != NULL, "rule", rule ? rule->client : "", "read_only",
			    rule && rule->read_only, "insecure", rule && rule->insecure, "security",
			    export_show_security(rule ? rule->security : NFS_SECURITY_ANY),
			    "versions", show_share_versions(share->versions), "reason", why.text));
}

void api_share_explain(struct api_request *request)
{
	struct model_share *share = find_share(request);

	if (share)
		export_explain(request,
			       &(struct exported){.name = share->name,
						  .what = "share",
						  .available = share->vfs != NULL,
						  .reason = share->reason,
						  .rules = share->rules,
						  .rule_count = share->rule_count,
						  .versions = share->versions},
			       request->match.param[2]);
}
