/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/host.h"

/* Host groups and whom a LUN is shown to. The store is changed first; what follows live can only
 * run short of memory, and then shows at the host's next login. */

static struct model_host *find_host(struct api_request *request)
{
	struct model_host *host = model_host_find(request->model, request->match.param[0]);

	if (!host)
		api_reply_error(request, 404, "host_not_found", "no host group named %s",
				request->match.param[0]);
	return host;
}

void api_host_list(struct api_request *request)
{
	json_t *list = json_array();

	list_for_each (it, &request->model->hosts)
		json_array_append_new(list, show_host(list_entry(it, struct model_host, link)));
	api_reply(request, 200, list);
}

static json_t *what(const struct model_host *host)
{
	return json_sprintf("host group %s", host->name);
}

/* The host's row as @changed has it; then the model and what is live. */
static bool commit(struct api_request *request, const struct model_host *changed)
{
	struct config *config = request->admin->options.config;

	if (config_begin(config, &request->err) == 0 &&
	    store_set_host(config, changed, &request->err) == 0 && api_commit(request) == 0)
		return true;
	config_abort(config);
	api_reply_failure(request, NULL);
	return false;
}

/* @names into @host; a name must be one and in no other group. */
static bool add_initiators(struct api_request *request, struct model_host *host,
			   const struct model_host *self, const json_t *names)
{
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));
		const struct model_host *other = model_host_of(request->model, name);

		if (iscsi_name_check(name, &request->err) < 0) {
			api_reply_failure(request, "bad_initiator");
			return false;
		}
		if (other && other != self) {
			api_reply_error(request, 409, "initiator_taken",
					"initiator %s is in host group %s", name, other->name);
			return false;
		}
		if (host->initiators.count >= HOST_INITIATORS_MAX) {
			api_reply_error(request, 409, "too_many_initiators",
					"a host group has at most %u initiators",
					HOST_INITIATORS_MAX);
			return false;
		}
		if (model_host_add_initiator(host, name) < 0) {
			api_reply_error(request, 503, "no_memory", "out of memory");
			return false;
		}
	}
	return true;
}

static bool name_good(struct api_request *request, const char *name)
{
	bool good = name[0] != '\0' && strlen(name) <= HOST_GROUP_NAME_MAX;

	for (const char *c = name; *c && good; c++)
		good = isalnum((unsigned char)*c) || (strchr("-_.", *c) && c != name);
	if (!good)
		api_reply_error(request, 400, "bad_name",
				"a host group's name has 1 to %d letters, digits, - _ .",
				HOST_GROUP_NAME_MAX);
	else if (model_host_find(request->model, name))
		api_reply_error(request, 409, "host_exists", "there is a host group %s", name);
	else
		return true;
	return false;
}

static unsigned count_hosts(const struct model *model)
{
	unsigned count = 0;

	list_for_each (it, &model->hosts)
		count++;
	return count;
}

void api_host_create(struct api_request *request)
{
	const char *name;
	json_t *initiators = NULL;
	struct model_host *host;

	if (!api_unpack(request, "{s:s,s?:o}", "name", &name, "initiators", &initiators) ||
	    !name_good(request, name))
		return;
	if (count_hosts(request->model) >= HOSTS_MAX) {
		api_reply_error(request, 409, "too_many_hosts", "there are %u host groups",
				HOSTS_MAX);
		return;
	}
	host = model_host_add(request->model, name);
	if (!host) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	if (!add_initiators(request, host, host, initiators) || !commit(request, host)) {
		model_host_remove(host);
		return;
	}
	if (api_is_dry(request)) {
		json_t *made = what(host), *after = show_host(host);

		model_host_remove(host);
		api_reply_dry(request, made, json_object(), after);
		return;
	}
	log_notice("audit: %s created host group %s", request->who.name, host->name);
	api_reply(request, 201, show_host(host));
}

/* @to owns no more than its initiators' names. */
static int copy_host(const struct model_host *from, struct model_host *to)
{
	*to = (struct model_host){0};
	memcpy(to->name, from->name, sizeof to->name);
	for (unsigned i = 0; i < from->initiators.count; i++) {
		if (model_host_add_initiator(to, from->initiators.names[i]) < 0) {
			heap_free(to->initiators.names);
			return -ENOMEM;
		}
	}
	return 0;
}

void api_host_show(struct api_request *request)
{
	struct model_host *host = find_host(request);

	if (host)
		api_reply(request, 200, show_host(host));
}

void api_host_change(struct api_request *request)
{
	struct model_host *host = find_host(request), changed;
	json_t *added = NULL, *removed = NULL;

	if (!host || !api_unpack(request, "{s?:o,s?:o}", "add", &added, "remove", &removed))
		return;
	if (copy_host(host, &changed) < 0) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	for (size_t i = 0; i < json_array_size(removed); i++)
		model_host_remove_initiator(&changed,
					    json_string_value(json_array_get(removed, i)));
	if (!add_initiators(request, &changed, host, added) || !commit(request, &changed)) {
		heap_free(changed.initiators.names);
		return;
	}
	if (api_is_dry(request)) {
		json_t *after = show_host(&changed);

		heap_free(changed.initiators.names);
		api_reply_dry(request, what(host), show_host(host), after);
		return;
	}
	heap_free(host->initiators.names);
	host->initiators = changed.initiators;
	if (host_apply(request->model, host, &request->err) < 0)
		log_error("host group %s: %s", host->name, request->err.text);
	log_notice("audit: %s changed host group %s", request->who.name, host->name);
	api_reply(request, 200, show_host(host));
}

static const struct model_lun *lun_of(struct model *model, const struct model_host *host,
				      const struct model_target **ret_target)
{
	list_for_each (t, &model->targets) {
		struct model_target *target = list_entry(t, struct model_target, link);

		list_for_each (l, &target->luns) {
			struct model_lun *lun = list_entry(l, struct model_lun, link);

			*ret_target = target;
			if (model_lun_shown_to(lun, host))
				return lun;
		}
	}
	return NULL;
}

void api_host_delete(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct model_host *host = find_host(request);
	const struct model_target *target;
	const struct model_lun *lun;

	if (!host)
		return;
	lun = lun_of(request->model, host, &target);
	if (lun) {
		api_reply_error(request, 409, "host_in_use",
				"LUN %u of target %s is shown to host group %s", lun->lun,
				target->iqn, host->name);
		return;
	}
	if (config_begin(config, &request->err) < 0 ||
	    store_remove_host(config, host->name, &request->err) < 0 || api_commit(request) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, what(host), show_host(host), json_object());
		return;
	}
	model_host_remove(host);
	log_notice("audit: %s deleted host group %s", request->who.name, request->match.param[0]);
	api_reply(request, 200, json_pack("{s:s}", "deleted", request->match.param[0]));
}

/* ---- whom a LUN is shown to */

static struct model_lun *find_lun(struct api_request *request, struct model_target **ret_target)
{
	struct model_target *target = model_target_find(request->model, request->match.param[0]);
	char *end;
	unsigned long number = strtoul(request->match.param[1], &end, 10);
	struct model_lun *lun = NULL;

	if (target && *end == '\0' && number <= SCSI_LUN_MAX)
		lun = model_lun_find(target, (unsigned)number);
	if (!lun)
		api_reply_error(request, 404, target ? "lun_not_found" : "target_not_found",
				target ? "target %s has no LUN %s" : "no target named %s",
				request->match.param[0], request->match.param[1]);
	*ret_target = target;
	return lun;
}

bool api_read_hosts(struct api_request *request, const json_t *list,
		    char (**ret_hosts)[HOST_GROUP_NAME_MAX + 1])
{
	size_t count = json_array_size(list);
	char(*hosts)[HOST_GROUP_NAME_MAX + 1] = heap_zalloc_array(count ? count : 1, sizeof *hosts);

	if (!hosts) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (!model_host_find(request->model, name)) {
			api_reply_error(request, 404, "host_not_found", "no host group named %s",
					name);
			heap_free(hosts);
			return false;
		}
		memcpy(hosts[i], name, strlen(name) + 1);
	}
	*ret_hosts = hosts;
	return true;
}

void api_lun_mask(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct model_target *target;
	struct model_lun *lun = find_lun(request, &target);
	char(*hosts)[HOST_GROUP_NAME_MAX + 1];
	json_t *list;
	unsigned count;

	if (!lun || !api_unpack(request, "{s:o}", "hosts", &list) ||
	    !api_read_hosts(request, list, &hosts))
		return;
	count = (unsigned)json_array_size(list);
	if (config_begin(config, &request->err) < 0 ||
	    store_set_mask(config, target->iqn, lun->lun, hosts, count, &request->err) < 0 ||
	    api_commit(request) < 0) {
		heap_free(hosts);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		json_t *before = show_lun(target, lun), *after = json_copy(before);

		heap_free(hosts);
		json_object_set(after, "hosts", list);
		api_reply_dry(request, show_lun_name(target, lun), before, after);
		return;
	}
	heap_free(lun->hosts);
	lun->hosts = hosts;
	lun->host_count = count;
	if (host_resolve(request->model, lun) < 0 ||
	    (lun->mapped && scsi_target_mask(iscsi_target_scsi(target->live), lun->lun,
					     count ? &lun->names : NULL, &request->err) < 0))
		log_error("target %s LUN %u: out of memory for its mask", target->iqn, lun->lun);
	log_notice("audit: %s shows target %s LUN %u to %u host groups", request->who.name,
		   target->iqn, lun->lun, count);
	api_reply(
	    request, 200,
	    json_pack("{s:s,s:i,s:O}", "target", target->iqn, "lun", (int)lun->lun, "hosts", list));
}
