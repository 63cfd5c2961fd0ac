/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/share.h"

/* One request for what a newcomer wants: a volume, a target of its own with it as LUN 0, and a
 * rule per host; or a share for images and who may mount it (api_share.c).
 *
 *   check everything -> create the volume -> in one transaction of the store: rows, live target,
 *   LUN, and last the rules (nobody can log in before all is there) -> commit -> answer
 *        any failure: the live target goes, the transaction is aborted, the volume is deleted */

#define IQN_PREFIX "iqn.2026-11.org.granary:"
#define HOSTS_MAX  64u

struct provision {
	struct volume_spec spec;
	struct pool *pool;
	char iqn[SCSI_NAME_MAX + 1];
	const char *purpose;
	struct model_rule rules[HOSTS_MAX];
	unsigned rule_count;
	struct model_target *target;
};

/* The open pool with the most free space, for volumes with two copies if @mirror. */
static struct pool *roomiest_pool(struct model *model, bool mirror)
{
	struct pool *best = NULL;
	uint64_t most = 0;

	list_for_each (it, &model->pools) {
		struct pool *pool = list_entry(it, struct model_pool, link)->pool;
		struct pool_info info;
		uint64_t free;

		if (!pool)
			continue;
		pool_get_info(pool, &info);
		free = mirror ? info.mirror_free_bytes : info.free_bytes;
		if (!info.read_only && (!best || free > most)) {
			best = pool;
			most = free;
		}
	}
	return best;
}

static struct pool *choose_pool(struct api_request *request, const char *name, bool mirror)
{
	const char *code = NULL;
	struct pool *pool;

	if (name) {
		pool = model_pool_usable(request->model, name, &code, &request->err);
		if (!pool)
			api_reply_failure(request, code);
		return pool;
	}
	pool = roomiest_pool(request->model, mirror);
	if (!pool)
		api_reply_error(request, 409, "no_pool", "there is no pool that can take a volume");
	return pool;
}

/* "VM_1" becomes "...:vm-1", and "...:vm-1-2" when that is another one's. */
static bool choose_iqn(struct api_request *request, const char *name, char iqn[SCSI_NAME_MAX + 1])
{
	char stem[SCSI_NAME_MAX + 1];
	size_t length = (size_t)snprintf(stem, sizeof stem, IQN_PREFIX "%s", name);

	for (size_t i = strlen(IQN_PREFIX); i < length; i++) {
		stem[i] = (char)tolower((unsigned char)stem[i]);
		if (!isalnum((unsigned char)stem[i]) && stem[i] != '.')
			stem[i] = '-';
	}
	snprintf(iqn, SCSI_NAME_MAX + 1, "%s", stem);
	for (unsigned i = 2; i < 1000; i++) {
		if (!model_target_find(request->model, iqn))
			return true;
		snprintf(iqn, SCSI_NAME_MAX + 1, "%.200s-%u", stem, i);
	}
	api_reply_error(request, 409, "target_exists", "there are too many targets named %s", stem);
	return false;
}

static bool is_initiator(const char *host)
{
	return strncmp(host, "iqn.", 4) == 0 || strncmp(host, "eui.", 4) == 0 ||
	       strncmp(host, "naa.", 4) == 0;
}

static bool read_host(struct api_request *request, const char *host, struct iscsi_rule *rule)
{
	if (!*host || strlen(host) > SCSI_NAME_MAX ||
	    (!is_initiator(host) && strlen(host) >= sizeof rule->network)) {
		api_reply_error(request, 400, "bad_host",
				"a host is an initiator name, an address or a network");
		return false;
	}
	if (is_initiator(host))
		snprintf(rule->initiator, sizeof rule->initiator, "%s", host);
	else
		snprintf(rule->network, sizeof rule->network, "%.63s", host);
	if (iscsi_rule_check(rule, &request->err) == 0)
		return true;
	api_reply_failure(request, "bad_host");
	return false;
}

static bool read_hosts(struct api_request *request, const json_t *hosts,
		       struct provision *provision)
{
	size_t count = json_array_size(hosts);

	if (count < 1 || count > HOSTS_MAX) {
		api_reply_error(request, 400, "bad_host", "give 1 to %u hosts", HOSTS_MAX);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		const char *host = json_string_value(json_array_get(hosts, i));
		struct model_rule *rule = &provision->rules[provision->rule_count];
		bool seen = false;

		if (!read_host(request, host, &rule->rule))
			return false;
		for (unsigned j = 0; j < provision->rule_count; j++)
			seen = seen || memcmp(&provision->rules[j].rule, &rule->rule,
					      sizeof rule->rule) == 0;
		if (seen)
			memset(rule, 0, sizeof *rule);
		else
			provision->rule_count++;
	}
	return true;
}

static json_t *show_portals(struct iscsi_server *iscsi)
{
	json_t *portals = json_array();
	struct iscsi_portal_info portal;

	for (unsigned i = 0; iscsi_portal_next(iscsi, i, &portal); i++)
		json_array_append_new(portals, json_pack("{s:s,s:i,s:i}", "address", portal.address,
							 "port", (int)portal.port, "portal_group",
							 (int)portal.group));
	return portals;
}

static json_t *show_provisioned(struct api_request *request, struct provision *provision)
{
	json_t *hosts = json_array(), *reply;

	for (unsigned i = 0; i < provision->target->rule_count; i++) {
		const struct iscsi_rule *rule = &provision->target->rules[i].rule;

		json_array_append_new(
		    hosts, json_string(rule->initiator[0] ? rule->initiator : rule->network));
	}
	reply = json_pack("{s:s,s:s,s:s,s:i,s:o,s:o,s:o}", "purpose", "vm-disks", "pool",
			  pool_name(request->volume->pool), "target", provision->iqn, "lun", 0,
			  "hosts", hosts, "portals", show_portals(request->admin->options.iscsi),
			  "volume", show_volume(request->model, request->volume));
	return reply;
}

static void volume_undone(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct provision *provision = request->state;

	if (result == 0) /* the reference went with it */
		request->volume = NULL;
	else
		log_error("volume %s of a provisioning that failed could not be deleted: %s",
			  provision->spec.name, call->err.text);
	api_reply_failure(request, NULL);
}

/* The target has gone; its LUN held a reference of its own. */
static void target_undone(void *context)
{
	struct api_request *request = context;
	struct provision *provision = request->state;

	model_target_remove(provision->target);
	provision->target = NULL;
	request->call = (struct pool_call){.done = volume_undone};
	volume_delete(request->volume, &request->call);
}

static struct model_lun *add_lun(struct api_request *request, struct model_target *target)
{
	struct model_lun *lun = model_lun_add(target, 0);

	if (!lun)
		return NULL;
	snprintf(lun->pool, sizeof lun->pool, "%s", pool_name(request->volume->pool));
	snprintf(lun->volume_name, sizeof lun->volume_name, "%s", request->volume->name);
	memcpy(lun->volume, request->volume->identity.uuid, 16);
	return lun;
}

static int store_all(struct api_request *request, struct provision *provision,
		     const struct model_lun *lun)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = store_add_target(config, provision->target, &request->err);
	if (result == 0)
		result = store_add_lun(config, provision->iqn, lun, &request->err);
	if (result == 0)
		result = store_set_rules(config, provision->iqn, provision->rules,
					 provision->rule_count, &request->err);
	return result;
}

static int bring_up(struct api_request *request, struct provision *provision)
{
	struct model_target *target = provision->target;
	struct model_lun *lun = add_lun(request, target);
	unsigned count = provision->rule_count;
	struct model_rule *rules = heap_zalloc_array(count, sizeof *rules);
	int result;

	if (!lun || !rules) {
		heap_free(rules);
		return err_set(&request->err, -ENOMEM, "out of memory");
	}
	result = store_all(request, provision, lun);
	if (result == 0)
		result = model_target_connect(target, request->admin->options.iscsi, &request->err);
	if (result == 0)
		result = model_lun_connect(target, lun, request->volume, &request->err);
	if (result == 0)
		result = model_target_apply_rules(target, provision->rules, count, &request->err);
	if (result == 0)
		result = config_commit(request->admin->options.config, &request->err);
	if (result < 0) {
		heap_free(rules);
		return result;
	}
	memcpy(rules, provision->rules, count * sizeof *rules);
	model_target_swap_rules(target, rules, count);
	return 0;
}

static void show_dry(struct api_request *request, const struct provision *provision);

static void volume_made(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct provision *provision = request->state;

	if (result < 0) {
		request->err = call->err;
		request->err.code = result;
		api_reply_failure(request, result == -EEXIST ? "volume_exists" : NULL);
		return;
	}
	if (call->dry) {
		show_dry(request, provision);
		return;
	}
	request->volume = call->volume;
	provision->target = model_target_add(request->model, provision->iqn, provision->spec.name);
	if (!provision->target) {
		err_set(&request->err, -ENOMEM, "out of memory");
		target_undone(request);
	} else if (bring_up(request, provision) < 0) {
		config_abort(request->admin->options.config);
		model_target_disconnect(provision->target, target_undone, request);
	} else {
		log_notice("volume %s/%s provisioned as LUN 0 of target %s",
			   pool_name(request->volume->pool), request->volume->name, provision->iqn);
		api_reply(request, 201, show_provisioned(request, provision));
	}
}

static bool read_request(struct api_request *request, struct provision *provision)
{
	const char *name, *pool = NULL;
	json_t *size, *hosts;
	struct pool *home;
	int mirror = 0;

	if (!api_unpack(request, "{s:s,s:s,s:o,s:o,s?:s,s?:b}", "purpose", &provision->purpose,
			"name", &name, "size", &size, "hosts", &hosts, "pool", &pool, "mirror",
			&mirror))
		return false;
	provision->spec.mirror = mirror;
	if (strcmp(provision->purpose, "vm-disks") != 0) {
		api_reply_error(request, 422, "purpose_unknown",
				"the purposes there are: vm-disks, iso-library");
		return false;
	}
	if (volume_name_check(name, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return false;
	}
	provision->spec.name = name;
	if (!api_size(request, size, &provision->spec.size_bytes) ||
	    !api_volume_size_good(request, provision->spec.size_bytes) ||
	    !choose_iqn(request, name, provision->iqn) || !read_hosts(request, hosts, provision))
		return false;
	home = choose_pool(request, pool, mirror);
	if (home) /* else it has been answered, and @provision is gone */
		provision->pool = home;
	return home != NULL;
}

/* What would be made; nothing is. */
static void show_dry(struct api_request *request, const struct provision *provision)
{
	const struct volume_spec *spec = &provision->spec;
	const char *pool = pool_name(provision->pool);
	json_t *hosts = json_array();

	for (unsigned i = 0; i < provision->rule_count; i++) {
		const struct iscsi_rule *rule = &provision->rules[i].rule;

		json_array_append_new(
		    hosts, json_string(rule->initiator[0] ? rule->initiator : rule->network));
	}
	api_reply(request, 200,
		  json_pack("{s:b,s:s,s:s,s:s,s:i,s:o,s:o,s:{s:s,s:s,s:I,s:b}}", "dry_run", 1,
			    "purpose", provision->purpose, "pool", pool, "target", provision->iqn,
			    "lun", 0, "hosts", hosts, "portals",
			    show_portals(request->admin->options.iscsi), "volume", "pool", pool,
			    "name", spec->name, "size_bytes", (json_int_t)spec->size_bytes,
			    "mirror", spec->mirror));
}

/* ---- iso-library: a share for images, exported to its hosts ---- */
struct library {
	struct volume_spec spec;
	struct pool *pool;
	uint64_t quota;
	json_t *hosts; /* the body's */
};

/* The volume could be made. */
static void library_dry(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	const struct library *library = request->state;
	const char *name = library->spec.name;

	if (result < 0) {
		request->err = call->err;
		request->err.code = result;
		api_reply_failure(request, result == -EEXIST ? "volume_exists" : NULL);
		return;
	}
	api_reply(request, 200,
		  json_pack("{s:b,s:s,s:s,s:s,s:o,s:I,s:b,s:O,s:[]}", "dry_run", 1, "purpose",
			    "iso-library", "pool", pool_name(library->pool), "share", name, "path",
			    json_sprintf("/%s", name), "quota_bytes", (json_int_t)library->quota,
			    "mirror", library->spec.mirror, "hosts", library->hosts, "portals"));
}

static void try_library(struct api_request *request, struct library *library)
{
	struct nfs_rule *rules;
	unsigned count;

	if (!share_read_clients(request, library->hosts, &rules, &count))
		return;
	heap_free(rules);
	library->spec.size_bytes = SHARE_VOLUME_BYTES;
	volume_create(library->pool, &library->spec, api_pool_call(request, library_dry));
}

static bool read_library(struct api_request *request, struct library *library)
{
	const char *purpose, *pool = NULL;
	json_t *size;
	int mirror = 0;

	if (!api_unpack(request, "{s:s,s:s,s:o,s:o,s?:s,s?:b}", "purpose", &purpose, "name",
			&library->spec.name, "size", &size, "hosts", &library->hosts, "pool", &pool,
			"mirror", &mirror) ||
	    !api_size(request, size, &library->quota))
		return false;
	if (volume_name_check(library->spec.name, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return false;
	}
	library->spec.mirror = mirror;
	library->pool = choose_pool(request, pool, mirror);
	return library->pool != NULL;
}

static void provision_library(struct api_request *request)
{
	struct library library = {0}, *kept;

	if (!read_library(request, &library))
		return;
	if (!api_is_dry(request)) {
		share_provision(request, library.pool, library.spec.name, library.quota,
				library.spec.mirror, library.hosts);
		return;
	}
	kept = heap_alloc(sizeof *kept);
	if (!kept) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	*kept = library;
	request->state = kept;
	try_library(request, kept);
}

static bool wants_library(const struct api_request *request)
{
	const char *purpose = json_string_value(json_object_get(request->body, "purpose"));

	return purpose && strcmp(purpose, "iso-library") == 0;
}

void api_provision(struct api_request *request)
{
	struct provision *provision;

	if (wants_library(request)) {
		provision_library(request);
		return;
	}
	provision = heap_zalloc(sizeof *provision);
	if (!provision) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	request->state = provision;
	if (read_request(request, provision))
		volume_create(provision->pool, &provision->spec,
			      api_pool_call(request, volume_made));
}
