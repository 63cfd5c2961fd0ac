/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

static struct model_target *find_target(struct api_request *request)
{
	struct model_target *target = model_target_find(request->model, request->match.param[0]);

	if (!target)
		api_reply_error(request, 404, "target_not_found", "no target named %s",
				request->match.param[0]);
	return target;
}

void api_target_list(struct api_request *request)
{
	api_reply(request, 200, show_targets(request->model));
}

void api_target_show(struct api_request *request)
{
	struct model_target *target = find_target(request);

	if (target)
		api_reply(request, 200, show_target(target));
}

static void ignore(void *context)
{
	(void)context;
}

/* In a dry run all but what others would see of it. */
static int target_bring_up(struct api_request *request, struct model_target *target)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = store_add_target(config, target, &request->err);
	if (result == 0 && api_is_dry(request))
		return 0;
	if (result == 0)
		result = model_target_connect(target, request->admin->options.iscsi, &request->err);
	if (result < 0)
		return result;
	result = config_commit(config, &request->err);
	if (result < 0)
		model_target_disconnect(target, ignore, NULL);
	return result;
}

void api_target_create(struct api_request *request)
{
	const char *iqn, *alias = "";
	struct model_target *target;

	if (!api_unpack(request, "{s:s,s?:s}", "iqn", &iqn, "alias", &alias))
		return;
	if (iscsi_name_check(iqn, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return;
	}
	if (strlen(alias) > SCSI_NAME_MAX) {
		api_reply_error(request, 400, "bad_name", "an alias has at most %d bytes",
				SCSI_NAME_MAX);
		return;
	}
	if (model_target_find(request->model, iqn)) {
		api_reply_error(request, 409, "target_exists", "there is a target named %s already",
				iqn);
		return;
	}
	target = model_target_add(request->model, iqn, alias);
	if (!target) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (target_bring_up(request, target) < 0) {
		model_target_remove(target);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		json_t *after =
		    json_pack("{s:s,s:s,s:o,s:o}", "iqn", target->iqn, "alias", target->alias,
			      "luns", show_luns(target), "rules", show_rules(target));

		model_target_remove(target);
		api_reply_dry(request, json_sprintf("target %s", iqn), json_object(), after);
		return;
	}
	log_notice("target %s created", iqn);
	api_reply(request, 201, show_target(target));
}

/* What PATCH can change. */
struct settings {
	char redirect[ISCSI_REDIRECT_MAX + 1];
	bool async_events;
	struct iscsi_session_limits limits;
};

static void settings_apply(struct model_target *target, const struct settings *settings)
{
	memcpy(target->redirect, settings->redirect, sizeof target->redirect);
	target->async_events = settings->async_events;
	target->limits = settings->limits;
}

static int settings_live(const struct model_target *target, struct err *err)
{
	if (!target->live)
		return 0;
	scsi_target_set_events(iscsi_target_scsi(target->live), target->async_events);
	iscsi_target_limit_sessions(target->live, &target->limits);
	return iscsi_target_redirect(target->live, target->redirect, err);
}

static int settings_change(struct api_request *request, struct model_target *target)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = store_set_target(config, target, &request->err);
	if (result == 0 && api_is_dry(request))
		return 0;
	if (result == 0)
		result = settings_live(target, &request->err);
	return result < 0 ? result : config_commit(config, &request->err);
}

/* false = a 400 has been sent. */
static bool limit_ok(struct api_request *request, const char *member, json_int_t limit)
{
	if (limit >= 0 && limit <= ISCSI_SESSION_LIMIT_MAX)
		return true;
	api_reply_error(request, 400, "bad_limit", "%s is a number from 0 (no limit) to %u", member,
			ISCSI_SESSION_LIMIT_MAX);
	return false;
}

/* false = a 400 has been sent. */
static bool settings_read(struct api_request *request, struct settings *settings)
{
	const char *address = NULL;
	int events = settings->async_events;
	json_int_t all = settings->limits.target, own = settings->limits.initiator;

	if (!api_unpack(request, "{s?:s,s?:b,s?:I,s?:I}", "redirect", &address, "async_events",
			&events, "max_sessions", &all, "max_sessions_per_initiator", &own) ||
	    !limit_ok(request, "max_sessions", all) ||
	    !limit_ok(request, "max_sessions_per_initiator", own))
		return false;
	settings->async_events = events;
	settings->limits = (struct iscsi_session_limits){(unsigned)all, (unsigned)own};
	if (address)
		settings->redirect[0] = '\0';
	if (!address || !address[0] ||
	    iscsi_redirect_check(address, settings->redirect, &request->err) == 0)
		return true;
	api_reply_failure(request, "bad_address");
	return false;
}

void api_target_change(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct settings before, after;
	struct err undo = {0};
	json_t *shown;

	if (!target)
		return;
	memcpy(before.redirect, target->redirect, sizeof before.redirect);
	before.async_events = target->async_events;
	before.limits = target->limits;
	after = before;
	if (!settings_read(request, &after))
		return;
	shown = api_is_dry(request) ? show_target(target) : NULL;
	settings_apply(target, &after);
	if (settings_change(request, target) < 0) {
		settings_apply(target, &before);
		if (settings_live(target, &undo) < 0)
			log_error("target %s: %s", target->iqn, undo.text);
		json_decref(shown);
		api_reply_failure(request, NULL);
		return;
	}
	if (shown) {
		json_t *changed = show_target(target);

		settings_apply(target, &before);
		api_reply_dry(request, json_sprintf("target %s", target->iqn), shown, changed);
		return;
	}
	log_notice("target %s: logins are %s%s, asynchronous events are %s, sessions at most: %u, "
		   "of an initiator: %u (0: no limit)",
		   target->iqn, target->redirect[0] ? "sent to " : "served here", target->redirect,
		   target->async_events ? "sent" : "not sent", target->limits.target,
		   target->limits.initiator);
	api_reply(request, 200, show_target(target));
}

static void target_deleted(void *context)
{
	struct api_request *request = context;

	log_notice("target %s deleted", request->match.param[0]);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[0]));
}

/* The store first: once that is durable nothing can go wrong any more. */
struct ending {
	struct api_request *request;
	const char *iqn;
	json_t *sessions;
};

static void ending_sessions(void *context, const struct iscsi_session_info *sessions,
			    unsigned count)
{
	struct ending *ending = context;
	struct api_request *request = ending->request;
	const struct model_target *target = model_target_find(request->model, ending->iqn);

	for (unsigned i = 0; i < count; i++)
		if (strcmp(sessions[i].target, ending->iqn) == 0)
			json_array_append_new(ending->sessions, json_string(sessions[i].initiator));
	api_reply(request, 200,
		  json_pack("{s:b,s:s,s:o,s:o}", "dry_run", 1, "deleted", ending->iqn, "luns",
			    target ? show_luns(target) : json_array(), "sessions",
			    ending->sessions));
}

/* Whose sessions would end, and which LUNs go. */
static void reply_dry(struct api_request *request)
{
	struct ending *ending = heap_zalloc(sizeof *ending);

	request->state = ending;
	if (!ending) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	*ending = (struct ending){request, request->match.param[0], json_array()};
	iscsi_session_list(request->admin->options.iscsi, ending_sessions, ending);
}

void api_target_delete(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct model_target *target = find_target(request);

	if (!target)
		return;
	if (api_is_dry(request)) {
		reply_dry(request);
		return;
	}
	if (config_begin(config, &request->err) < 0 ||
	    store_remove_target(config, target->iqn, &request->err) < 0 ||
	    config_commit(config, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	list_remove(&target->link); /* nobody finds it any more */
	model_target_disconnect(target, target_deleted, request);
	model_target_remove(target);
}

void api_rule_list(struct api_request *request)
{
	struct model_target *target = find_target(request);

	if (target)
		api_reply(request, 200, show_rules(target));
}

/* A text into a fixed field; false = a 400 has been sent. */
static bool copy_text(struct api_request *request, const char *what, const char *text, char *to,
		      size_t size)
{
	if (strlen(text) >= size) {
		api_reply_error(request, 400, "bad_rule", "%s is longer than %zu bytes", what,
				size - 1);
		return false;
	}
	memcpy(to, text, strlen(text) + 1);
	return true;
}

static bool copy_secret(struct api_request *request, const char *what, const char *secret,
			uint8_t to[256], unsigned *ret_length)
{
	size_t length = strlen(secret);

	if (length > 255) {
		api_reply_error(request, 400, "bad_rule", "%s is longer than 255 bytes", what);
		return false;
	}
	memcpy(to, secret, length);
	*ret_length = (unsigned)length;
	return true;
}

/* "any" and "" are the same. */
static const char *plain(const char *text)
{
	return strcmp(text, "any") == 0 ? "" : text;
}

bool api_read_rule(struct api_request *request, struct iscsi_rule *rule)
{
	const char *initiator = "", *network = "", *user = "", *secret = "";
	const char *mutual_user = "", *mutual_secret = "";

	if (!api_unpack(request, "{s?:s,s?:s,s?:s,s?:s,s?:s,s?:s}", "initiator", &initiator,
			"network", &network, "chap_user", &user, "chap_secret", &secret,
			"mutual_user", &mutual_user, "mutual_secret", &mutual_secret))
		return false;
	if (!copy_text(request, "the initiator's name", plain(initiator), rule->initiator,
		       sizeof rule->initiator) ||
	    !copy_text(request, "the network", plain(network), rule->network,
		       sizeof rule->network) ||
	    !copy_text(request, "the CHAP user", user, rule->chap_user, sizeof rule->chap_user) ||
	    !copy_secret(request, "the CHAP secret", secret, rule->chap_secret,
			 &rule->chap_secret_length) ||
	    !copy_text(request, "the mutual CHAP user", mutual_user, rule->mutual_user,
		       sizeof rule->mutual_user) ||
	    !copy_secret(request, "the mutual CHAP secret", mutual_secret, rule->mutual_secret,
			 &rule->mutual_secret_length))
		return false;
	if (iscsi_rule_check(rule, &request->err) == 0)
		return true;
	api_reply_failure(request, "bad_rule");
	return false;
}

/* What @rules (taken over) would make of the target. */
static void reply_dry_rules(struct api_request *request, struct model_target *target,
			    struct model_rule *rules, unsigned count)
{
	struct model_rule *held = target->rules;
	unsigned held_count = target->rule_count;
	json_t *before = show_target(target), *after;

	target->rules = rules;
	target->rule_count = count;
	after = show_target(target);
	target->rules = held;
	target->rule_count = held_count;
	model_rules_free(rules, count);
	api_reply_dry(request, json_sprintf("target %s", target->iqn), before, after);
}

/* Put @rules (heap; taken over) in force: store, live target, model; all or nothing. 1: it was a
 * dry run and has been answered. */
static int replace_rules(struct api_request *request, struct model_target *target,
			 struct model_rule *rules, unsigned count)
{
	struct config *config = request->admin->options.config;
	struct err undo = {0};
	int result = 0;

	if (!target->live)
		result = err_set(&request->err, -ENXIO, "target %s is not available: %s",
				 target->iqn, target->reason);
	if (result == 0)
		result = config_begin(config, &request->err);
	if (result == 0)
		result = store_set_rules(config, target->iqn, rules, count, &request->err);
	if (result == 0 && api_is_dry(request)) {
		reply_dry_rules(request, target, rules, count);
		return 1;
	}
	if (result == 0)
		result = model_target_apply_rules(target, rules, count, &request->err);
	if (result == 0) {
		result = config_commit(config, &request->err);
		if (result < 0 &&
		    model_target_apply_rules(target, target->rules, target->rule_count, &undo) < 0)
			log_error("target %s: its old rules could not be put back: %s", target->iqn,
				  undo.text);
	}
	if (result < 0)
		model_rules_free(rules, count);
	else
		model_target_swap_rules(target, rules, count);
	return result;
}

#define RULES_MAX 1024u

/* A copy of the rules with room for one more. */
static struct model_rule *copy_rules(struct api_request *request, const struct model_target *target)
{
	struct model_rule *rules = NULL;

	if (target->rule_count >= RULES_MAX) {
		api_reply_error(request, 409, "too_many_rules", "target %s has %u rules already",
				target->iqn, RULES_MAX);
		return NULL;
	}
	rules = heap_zalloc_array(target->rule_count + 1, sizeof *rules);
	if (!rules)
		api_reply_error(request, 503, "no_memory", "out of memory");
	else if (target->rule_count)
		memcpy(rules, target->rules, target->rule_count * sizeof *rules);
	return rules;
}

static bool same_peers(const struct iscsi_rule *a, const char *initiator, const char *network)
{
	return strcmp(a->initiator, initiator) == 0 && strcmp(a->network, network) == 0;
}

void api_rule_add(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct iscsi_rule rule = {0};
	struct model_rule *rules;
	unsigned count, at = 0;
	int result;

	if (!target || !api_read_rule(request, &rule) || !(rules = copy_rules(request, target)))
		goto out;
	count = target->rule_count;
	while (at < count && !same_peers(&rules[at].rule, rule.initiator, rule.network))
		at++;
	rules[at].rule = rule;
	rules[at].chap.length = rules[at].mutual.length = 0; /* what could not be opened is over */
	result = replace_rules(request, target, rules, at == count ? count + 1 : count);
	if (result < 0)
		api_reply_failure(request, NULL);
	if (result)
		goto out;
	log_notice("target %s: rule %lld lets in initiator %s, network %s%s", target->iqn,
		   (long long)target->rules[at].id, rule.initiator[0] ? rule.initiator : "any",
		   rule.network[0] ? rule.network : "any", rule.chap_user[0] ? ", with CHAP" : "");
	api_reply(request, at == count ? 201 : 200, show_target(target));
out:
	explicit_bzero(&rule, sizeof rule);
}

struct rule_choice {
	int all;
	json_int_t id;
	const char *initiator, *network;
};

static bool chosen(const struct rule_choice *choice, const struct model_rule *rule)
{
	if (choice->all)
		return true;
	if (choice->id)
		return rule->id == choice->id;
	return same_peers(&rule->rule, plain(choice->initiator), plain(choice->network));
}

void api_rule_remove(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct rule_choice choice = {.initiator = "", .network = ""};
	struct model_rule *rules;
	unsigned kept = 0, removed;
	int result;

	if (!target ||
	    !api_unpack(request, "{s?:b,s?:I,s?:s,s?:s}", "all", &choice.all, "rule", &choice.id,
			"initiator", &choice.initiator, "network", &choice.network))
		return;
	rules = heap_zalloc_array(target->rule_count + 1, sizeof *rules);
	if (!rules) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	for (unsigned i = 0; i < target->rule_count; i++) {
		if (!chosen(&choice, &target->rules[i]))
			rules[kept++] = target->rules[i];
	}
	removed = target->rule_count - kept;
	if (removed == 0) {
		model_rules_free(rules, kept);
		api_reply_error(request, 404, "rule_not_found", "target %s has no such rule",
				target->iqn);
		return;
	}
	result = replace_rules(request, target, rules, kept);
	if (result < 0)
		api_reply_failure(request, NULL);
	if (result)
		return;
	log_notice("target %s: %u rules taken away, %u left", target->iqn, removed, kept);
	api_reply(request, 200, show_target(target));
}
