/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "webadmin/admin.h"
#include "webadmin/api.h"

static void sessions_listed(void *context, const struct iscsi_session_info *sessions,
			    unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, show_session(&sessions[i]));
	api_reply(context, 200, list);
}

void api_session_list(struct api_request *request)
{
	iscsi_session_list(request->admin->options.iscsi, sessions_listed, request);
}

static void session_sought(void *context, const struct iscsi_session_info *sessions, unsigned count)
{
	struct api_request *request = context;
	json_t *found = NULL;
	char id[24];

	for (unsigned i = 0; i < count && !found; i++) {
		snprintf(id, sizeof id, "%llu", (unsigned long long)sessions[i].id);
		if (strcmp(id, request->match.param[0]) == 0)
			found = show_session(&sessions[i]);
	}
	if (found)
		api_reply_dry(request, json_sprintf("session %s", request->match.param[0]), found,
			      json_object());
	else
		api_reply_error(request, 404, "session_not_found", "no session with id %s",
				request->match.param[0]);
}

void api_session_drop(struct api_request *request)
{
	char *end;
	unsigned long long id = strtoull(request->match.param[0], &end, 10);

	if (api_is_dry(request))
		iscsi_session_list(request->admin->options.iscsi, session_sought, request);
	else if (*end || iscsi_session_drop(request->admin->options.iscsi, id, &request->err) < 0)
		api_reply_error(request, 404, "session_not_found", "no session with id %s",
				request->match.param[0]);
	else
		api_reply(request, 200, json_pack("{s:s}", "dropped", request->match.param[0]));
}

/* An initiator's entry in the list under way; borrowed. */
static json_t *initiator_entry(json_t *list, const char *name)
{
	size_t index;
	json_t *entry;

	json_array_foreach(list, index, entry)
	{
		if (strcmp(json_string_value(json_object_get(entry, "initiator")), name) == 0)
			return entry;
	}
	entry = json_pack("{s:s,s:i,s:[]}", "initiator", name, "sessions", 0, "rules");
	if (entry)
		json_array_append_new(list, entry);
	return entry;
}

static void add_rules(json_t *list, const struct model_target *target)
{
	for (unsigned i = 0; i < target->rule_count; i++) {
		const char *name = target->rules[i].rule.initiator;
		json_t *entry = name[0] ? initiator_entry(list, name) : NULL;

		if (entry)
			json_array_append_new(json_object_get(entry, "rules"),
					      json_string(target->iqn));
	}
}

/* Who was not let in: the last time of each. One that has sessions since needs nobody's consent. */
static void add_refusals(json_t *list, struct iscsi_server *iscsi)
{
	static const char *const reasons[] = {
	    [ISCSI_REFUSED_RULE] = "no_rule",     [ISCSI_REFUSED_CHAP] = "chap",
	    [ISCSI_REFUSED_ABSENT] = "no_target", [ISCSI_REFUSED_OTHER] = "other",
	    [ISCSI_REFUSED_FULL] = "too_many",    [ISCSI_SHOWN_NOTHING] = "nothing_shown",
	};
	struct iscsi_refusal refusal;

	for (unsigned i = 0; iscsi_refusal_get(iscsi, i, &refusal); i++) {
		json_int_t at = (json_int_t)(refusal.at_ns / 1000000000u);
		json_t *entry = refusal.count ? initiator_entry(list, refusal.initiator) : NULL;
		json_t *before = json_object_get(entry, "refused");

		if (!entry || (before && json_integer_value(json_object_get(before, "at")) >= at))
			continue;
		json_object_set_new(entry, "refused",
				    json_pack("{s:I,s:s,s:s,s:s,s:I}", "at", at, "target",
					      refusal.target, "address", refusal.peer, "reason",
					      reasons[refusal.reason], "count",
					      (json_int_t)refusal.count));
	}
}

static void initiators_listed(void *context, const struct iscsi_session_info *sessions,
			      unsigned count)
{
	struct api_request *request = context;
	json_t *list = json_array();

	list_for_each (it, &request->model->targets)
		add_rules(list, list_entry(it, struct model_target, link));
	for (unsigned i = 0; i < count; i++) {
		json_t *entry = initiator_entry(list, sessions[i].initiator);
		json_t *number = entry ? json_object_get(entry, "sessions") : NULL;

		if (number)
			json_integer_set(number, json_integer_value(number) + 1);
	}
	add_refusals(list, request->admin->options.iscsi);
	api_reply(request, 200, list);
}

void api_initiator_list(struct api_request *request)
{
	iscsi_session_list(request->admin->options.iscsi, initiators_listed, request);
}
