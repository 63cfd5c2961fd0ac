/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/bin.h"
#include "webadmin/export.h"
#include "webadmin/move.h"
#include "webadmin/preset.h"
#include "webadmin/replica.h"

#define FINDINGS_MAX 1000u

/* A request's steps: of the pool and of the share. */
struct share_work {
	struct api_request *request;
	struct share_call call;
	struct volume_spec spec;
	uint64_t quota;
	unsigned versions;
	struct model_share *share;
	struct preset_run preset; /* .preset NULL: none */
	struct nfs_rule *rules;   /* of a share that is provisioned; heap, NULL: none */
	unsigned rule_count;
	bool provisions; /* it was asked for by POST /provision */
	bool was_open;   /* before it was to be deleted */
	struct share_check_report report;
	json_t *findings;
};

static struct model_share *find_share(struct api_request *request)
{
	struct model_share *share =
	    model_share_find(request->model, request->match.param[0], request->match.param[1]);

	if (!share)
		api_reply_error(request, 404, "share_not_found", "no share named %s/%s",
				request->match.param[0], request->match.param[1]);
	return share;
}

static struct model_share *find_open_share(struct api_request *request)
{
	struct model_share *share = find_share(request);

	if (!share || (share->vfs && !share->away && !share->deleting))
		return share;
	api_reply_error(request, 409, "share_unavailable", "share %s/%s is not available: %s",
			share->pool, share->name, share->reason);
	return NULL;
}

static struct share_work *work_new(struct api_request *request,
				   void (*done)(struct share_call *call, int result))
{
	struct share_work *work = heap_zalloc(sizeof *work);

	request->state = work;
	if (!work) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return NULL;
	}
	work->request = request;
	work->call.done = done;
	return work;
}

static void work_failed(struct share_work *work, int result)
{
	struct api_request *request = work->request;

	request->err = work->call.err;
	request->err.code = result;
	api_reply_failure(request, result == -EBUSY ? "share_in_use" : NULL);
}

void api_share_list(struct api_request *request)
{
	json_t *shares = json_array();

	list_for_each (it, &request->model->shares)
		json_array_append_new(shares, show_share(list_entry(it, struct model_share, link)));
	api_reply(request, 200, shares);
}

void api_share_show(struct api_request *request)
{
	struct model_share *share = find_share(request);

	if (share)
		api_reply(request, 200, show_share(share));
}

/* ---- create: volume -> format -> record -> open; what fails takes the volume back ---- */
static void create_undone(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct share_work *work = request->state;

	if (result == 0) /* the reference went with it */
		request->volume = NULL;
	else
		log_error("the volume of a share that could not be made is left: %s",
			  call->err.text);
	request->err = work->call.err;
	api_reply_failure(request, NULL);
}

static void create_undo(struct share_work *work, int result)
{
	struct api_request *request = work->request;

	heap_free(work->rules);
	work->rules = NULL;
	if (work->share)
		model_share_remove(work->share);
	work->call.err.code = result;
	request->call = (struct pool_call){.done = create_undone};
	volume_delete(request->volume, &request->call);
}

static int record(struct share_work *work)
{
	struct api_request *request = work->request;
	struct config *config = request->admin->options.config;
	struct err *err = &work->call.err;
	int result;

	work->share = model_share_add(request->model, pool_name(request->volume->pool),
				      request->volume->name, request->volume->identity.uuid);
	if (!work->share)
		return err_set(err, -ENOMEM, "out of memory");
	if (work->versions)
		work->share->versions = work->versions;
	result = work->rules ? export_check_name(request->model, work->share, err) : 0;
	if (result == 0)
		result = config_begin(config, err);
	if (result == 0)
		result = store_add_share(config, work->share, err);
	if (result == 0 && work->rules)
		result =
		    export_store_rules(config, work->share, work->rules, work->rule_count, err);
	if (result == 0)
		result = config_commit(config, err);
	return result;
}

static void provisioned(struct share_work *work)
{
	const struct model_share *share = work->share;
	json_t *clients = json_array();

	for (unsigned i = 0; i < share->rule_count; i++)
		json_array_append_new(clients, json_string(share->rules[i].client));
	log_notice("share %s/%s provisioned for images", share->pool, share->name);
	api_reply(work->request, 201,
		  json_pack("{s:s,s:s,s:s,s:o,s:o,s:o}", "purpose", "iso-library", "pool",
			    share->pool, "share", share->name, "path",
			    json_sprintf("/%s", share->name), "hosts", clients, "portals",
			    json_array()));
}

static void create_told(struct share_work *work, const char *advice)
{
	json_t *share;

	if (work->provisions) {
		provisioned(work);
		return;
	}
	share = show_share(work->share);
	if (advice)
		json_object_set_new(share, "advice", json_string(advice));
	log_notice("share %s/%s created", work->share->pool, work->share->name);
	api_reply(work->request, 201, share);
}

/* The share is there: that it is not laid out is told, and can be done by hand. */
static const char not_laid_out[] = "it could not be laid out as its preset says: see the log";

static void preset_done(struct preset_run *run, int result)
{
	struct share_work *work = container_of(run, struct share_work, preset);

	if (result < 0)
		log_warning("share %s/%s: preset %s: %s", work->share->pool, work->share->name,
			    run->preset->name, strerror(-result));
	create_told(work, result < 0 ? not_laid_out : run->preset->advice);
}

/* What is in the store already is served too; if it can not be now, the next change does. */
static void take_rules(struct share_work *work)
{
	struct err err = {0};

	if (!work->rules)
		return;
	work->share->rules = work->rules;
	work->share->rule_count = work->rule_count;
	work->rules = NULL;
	if (export_apply(work->request->admin, NULL, NULL, NULL, &err) < 0)
		log_error("exports: %s", err.text);
}

/* It is recorded: if it can not be opened now, that is shown and tried again at the next start. */
static void create_opened(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);
	struct model_share *share = work->share;

	if (result < 0)
		snprintf(share->reason, sizeof share->reason, "%s", call->err.text);
	else
		share->reason[0] = '\0';
	share->vfs = result < 0 ? NULL : call->vfs;
	take_rules(work);
	webadmin_follow_shares(work->request->admin);
	if (!share->vfs || !work->preset.preset) {
		create_told(work, work->preset.preset ? not_laid_out : NULL);
		return;
	}
	work->preset.vfs = share->vfs;
	work->preset.done = preset_done;
	preset_apply(&work->preset);
}

static void create_formatted(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);
	struct api_request *request = work->request;

	if (result == 0)
		result = record(work);
	if (result < 0) {
		create_undo(work, result);
		return;
	}
	work->call = (struct share_call){.done = create_opened};
	share_open(request->volume, request->admin->options.control, false, &work->call);
}

static void reply_dry_create(struct api_request *request)
{
	const struct share_work *work = request->state;
	const char *pool = json_string_value(json_object_get(request->body, "pool"));
	json_t *after =
	    json_pack("{s:s,s:s,s:b,s:I}", "pool", pool, "name", work->spec.name, "mirror",
		      work->spec.mirror, "quota_bytes", (json_int_t)work->quota);

	if (after && work->versions)
		json_object_set_new(after, "versions", show_share_versions(work->versions));
	if (after && work->preset.preset)
		json_object_set_new(after, "preset", json_string(work->preset.preset->name));
	api_reply_dry(request, json_sprintf("share %s/%s", pool, work->spec.name), json_object(),
		      after);
}

static void create_has_volume(struct pool_call *call, int result)
{
	struct api_request *request = api_request_of(call);
	struct share_work *work = request->state;

	if (result < 0) {
		heap_free(work->rules);
		request->err = call->err;
		request->err.code = result;
		api_reply_failure(request, result == -EEXIST ? "volume_exists" : NULL);
		return;
	}
	if (call->dry) {
		reply_dry_create(request);
		return;
	}
	request->volume = call->volume;
	share_format(request->volume, request->admin->options.control, work->quota, &work->call);
}

bool export_read_versions(struct api_request *request, const json_t *list, unsigned *ret_versions)
{
	*ret_versions = read_share_versions(list);
	if (*ret_versions)
		return true;
	api_reply_error(request, 400, "bad_versions",
			"versions is a list of 3, 4.0, 4.1, 4.2 with at least one");
	return false;
}

/* False: a 400 has been sent. */
static bool take_preset(struct api_request *request, const char *name, struct share_work *work)
{
	work->preset.preset = name ? preset_find(name) : NULL;
	if (name && !work->preset.preset) {
		api_reply_error(request, 400, "bad_preset",
				"preset is iso, xenserver, ovirt, proxmox or esxi");
		return false;
	}
	if (name && !work->versions)
		work->versions = work->preset.preset->versions;
	return true;
}

void api_share_create(struct api_request *request)
{
	const char *pool_text, *name, *preset = NULL, *code = NULL;
	json_t *quota = NULL, *versions = NULL;
	struct share_work *work;
	struct pool *pool;
	int mirror = 0;

	if (!api_unpack(request, "{s:s,s:s,s?:o,s?:o,s?:s,s?:b}", "pool", &pool_text, "name", &name,
			"quota", &quota, "versions", &versions, "preset", &preset, "mirror",
			&mirror) ||
	    !(work = work_new(request, create_formatted)))
		return;
	if ((quota && !api_is_none(quota) && !api_size(request, quota, &work->quota)) ||
	    (versions && !export_read_versions(request, versions, &work->versions)) ||
	    !take_preset(request, preset, work))
		return;
	if (volume_name_check(name, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return;
	}
	pool = model_pool_usable(request->model, pool_text, &code, &request->err);
	if (!pool) {
		api_reply_failure(request, code);
		return;
	}
	work->spec =
	    (struct volume_spec){.name = name, .size_bytes = SHARE_VOLUME_BYTES, .mirror = mirror};
	volume_create(pool, &work->spec, api_pool_call(request, create_has_volume));
}

/* ---- provision: the same for images, with who may read them ---- */
#define CLIENTS_MAX 64u

bool share_read_clients(struct api_request *request, const json_t *clients,
			struct nfs_rule **ret_rules, unsigned *ret_count)
{
	size_t count = json_array_size(clients);
	struct nfs_rule *rules;

	if (count < 1 || count > CLIENTS_MAX) {
		api_reply_error(request, 400, "bad_host", "give 1 to %u hosts", CLIENTS_MAX);
		return false;
	}
	rules = heap_zalloc_array(count, sizeof *rules);
	if (!rules) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return false;
	}
	*ret_count = 0;
	for (size_t i = 0; i < count; i++) {
		const char *client = json_string_value(json_array_get(clients, i));
		struct nfs_rule *rule = &rules[*ret_count];
		bool seen = false;

		for (unsigned j = 0; j < *ret_count; j++)
			seen = seen || strcmp(rules[j].client, client) == 0;
		if (seen)
			continue;

		*rule = (struct nfs_rule){
		    .read_only = true, .anon_uid = NFS_ANON_ID, .anon_gid = NFS_ANON_ID};
		snprintf(rule->client, sizeof rule->client, "%s", client);
		++*ret_count;
		if (strlen(client) < sizeof rule->client &&
		    nfs_rule_check(rule, &request->err) == 0)
			continue;
		heap_free(rules);
		api_reply_error(request, 400, "bad_host",
				"\"%.200s\" is no host that can mount: an address, a network, a "
				"name or *",
				client);
		return false;
	}
	*ret_rules = rules;
	return true;
}

void share_provision(struct api_request *request, struct pool *pool, const char *name,
		     uint64_t quota, bool mirror, const json_t *clients)
{
	struct share_work *work = work_new(request, create_formatted);

	if (!work || !share_read_clients(request, clients, &work->rules, &work->rule_count))
		return;
	work->provisions = true;
	work->quota = quota;
	work->preset.preset = preset_find("iso");
	work->versions = work->preset.preset->versions;
	work->spec =
	    (struct volume_spec){.name = name, .size_bytes = SHARE_VOLUME_BYTES, .mirror = mirror};
	request->call = (struct pool_call){.done = create_has_volume};
	volume_create(pool, &work->spec, &request->call);
}

/* ---- import: a share that came with its pool: open -> record ---- */
static void import_undone(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);

	if (result < 0)
		log_error("closing a share that could not be recorded: %s", call->err.text);
	api_reply_failure(work->request, NULL);
}

static void import_opened(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);
	struct api_request *request = work->request;
	struct vfs *vfs = call->vfs;

	if (result < 0) {
		work_failed(work, result);
		return;
	}
	result = record(work);
	if (result < 0) {
		request->err = call->err;
		request->err.code = result;
		if (work->share)
			model_share_remove(work->share);
		work->call = (struct share_call){.done = import_undone};
		share_close(vfs, &work->call);
		return;
	}
	work->share->vfs = vfs;
	work->share->reason[0] = '\0';
	webadmin_follow_shares(request->admin); /* its group may have been handed over meanwhile */
	log_notice("share %s/%s imported", work->share->pool, work->share->name);
	api_reply(request, 201, show_share(work->share));
}

void api_share_import(struct api_request *request)
{
	const char *pool, *name, *code = NULL;
	struct model_target *target;
	struct share_work *work;

	if (!api_unpack(request, "{s:s,s:s}", "pool", &pool, "name", &name) ||
	    !(work = work_new(request, import_opened)))
		return;
	request->volume = model_find_volume(request->model, pool, name, &code, &request->err);
	if (!request->volume) {
		api_reply_failure(request, code);
		return;
	}
	code = move_blocks(request->model, request->volume, &request->err);
	if (code) {
		api_reply_failure(request, code);
		return;
	}
	if (model_share_of_volume(request->model, request->volume->identity.uuid)) {
		api_reply_error(request, 409, "share_exists", "%s/%s is a share already", pool,
				name);
		return;
	}
	if (model_lun_of_volume(request->model, request->volume->identity.uuid, NULL, &target)) {
		api_reply_error(request, 409, "volume_mapped", "volume %s/%s is a LUN of target %s",
				pool, name, target->iqn);
		return;
	}
	share_open(request->volume, request->admin->options.control, false, &work->call);
}

/* ---- quota, versions ---- */
static void reply_dry_change(struct api_request *request)
{
	const struct share_work *work = request->state;
	json_t *before = show_share(work->share), *after = json_copy(before);
	json_t *snapshots = json_object_get(request->body, "snapshots");

	if (json_object_get(request->body, "quota"))
		json_object_set_new(after, "quota_bytes", json_integer((json_int_t)work->quota));
	if (work->versions)
		json_object_set_new(after, "versions", show_share_versions(work->versions));
	if (snapshots)
		json_object_set(after, "snapshots", snapshots);
	api_reply_dry(request, json_sprintf("share %s/%s", work->share->pool, work->share->name),
		      before, after);
}

static void quota_set(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);

	if (result < 0)
		work_failed(work, result);
	else if (call->dry)
		reply_dry_change(work->request);
	else
		api_reply(work->request, 200, show_share(work->share));
}

void api_share_change(struct api_request *request)
{
	struct model_share *share = find_open_share(request);
	struct share_work *work;
	bool dry = share && api_is_dry(request); /* else the request has ended */
	uint64_t quota = 0;
	json_t *size = NULL, *list = NULL;
	const char *shown = NULL;
	enum share_snapshots snapshots = SHARE_SNAPSHOTS_HIDDEN;
	unsigned versions = 0;

	if (!share ||
	    !api_unpack(request, "{s?:o,s?:o,s?:s}", "quota", &size, "versions", &list, "snapshots",
			&shown) ||
	    (size && !api_is_none(size) && !api_size(request, size, &quota)) ||
	    (list && !export_read_versions(request, list, &versions)))
		return;
	if (shown && !read_share_snapshots(shown, &snapshots)) {
		api_reply_error(request, 400, "bad_snapshots",
				"snapshots are hidden, visible or none");
		return;
	}
	if (!(work = work_new(request, quota_set)))
		return;
	if ((shown &&
	     share_set_snapshots(request->admin, share, snapshots, dry, &request->err) < 0) ||
	    (versions &&
	     export_set_versions(request->admin, share, versions, dry, &request->err) < 0)) {
		api_reply_failure(request, NULL);
		return;
	}
	work->share = share;
	work->quota = quota;
	work->versions = versions;
	work->call.dry = dry;
	if (size)
		share_set_quota(share->vfs, quota, &work->call);
	else if (dry)
		reply_dry_change(request);
	else
		api_reply(request, 200, show_share(share));
}

/* ---- delete: withdraw -> close -> volume -> forget; what stays is served as before ---- */
static void export_again(struct api_request *request)
{
	struct err err = {0};

	if (export_apply(request->admin, NULL, NULL, NULL, &err) < 0)
		log_error("exports: %s", err.text);
}

/* It is as it was, and goes where its group is if that has changed meanwhile. */
static void delete_ended(struct share_work *work)
{
	work->share->deleting = false;
	if (!work->share
		 ->vfs) { /* it is there still, or another gateway's: that is heard of again */
		work->share->away = true;
		work->share->elsewhere = false;
	}
	export_again(work->request);
	webadmin_follow_shares(work->request->admin);
}

static void share_forget(struct share_work *work)
{
	struct api_request *request = work->request;
	struct config *config = request->admin->options.config;
	struct model_share *share = work->share;

	if (config_begin(config, &request->err) < 0 ||
	    store_remove_share(config, share->volume, &request->err) < 0 ||
	    config_commit(config, &request->err) < 0) {
		snprintf(share->reason, sizeof share->reason, "its volume is deleted");
		share->deleting = false; /* for the next one to forget it */
		api_reply_failure(request, NULL);
		return;
	}
	model_share_remove(share);
	log_notice("share %s/%s deleted", request->match.param[0], request->match.param[1]);
	api_reply(request, 200, bin_answer(request->match.param[0], request->match.param[1], NULL));
}

static void delete_reopened(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);
	struct api_request *request = work->request;

	if (result < 0) {
		snprintf(work->share->reason, sizeof work->share->reason, "%s", call->err.text);
	} else {
		work->share->vfs = call->vfs;
		work->share->reason[0] = '\0';
		share_show_snapshots(call->vfs, work->share->snapshots);
	}
	delete_ended(work);
	api_reply_failure(request, NULL);
}

/* It could not be deleted: it is served as before. */
static void delete_failed(struct share_work *work)
{
	struct api_request *request = work->request;

	if (!work->was_open) {
		delete_ended(work);
		api_reply_failure(request, NULL);
		return;
	}
	work->call = (struct share_call){.done = delete_reopened};
	share_open(request->volume, request->admin->options.control, false, &work->call);
}

static void delete_volume_gone(struct api_request *request, int result)
{
	if (result == 0)
		share_forget(request->state);
	else
		delete_failed(request->state);
}

/* Its rows stay, for the day it comes back. */
static void delete_binned(struct api_request *request, struct bin_entry *entry)
{
	struct share_work *work = request->state;

	if (!entry) {
		delete_failed(work);
		return;
	}
	model_share_remove(work->share);
	log_notice("share %s/%s deleted, and kept in the bin for a while", request->match.param[0],
		   entry->name);
	api_reply(request, 200, bin_answer(request->match.param[0], entry->name, entry));
}

static void delete_closed(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);
	struct api_request *request = work->request;

	if (result == -EBUSY) {
		work->share->reason[0] = '\0';
		delete_ended(work);
		work_failed(work, result);
		return;
	}
	work->share->vfs = NULL; /* gone, cleanly or not: it is to be deleted */
	webadmin_share_forget_volume(work->share);
	if (!request->volume) {
		share_forget(work);
		return;
	}
	if (bin_wanted(request, request->match.param[0]))
		bin_put(request, true, delete_binned);
	else
		bin_purge(request, delete_volume_gone);
}

/* No client uses it any more. */
static void delete_withdrawn(void *context)
{
	struct share_work *work = context;

	share_close(work->share->vfs, &work->call);
}

/* Nobody gets it from here on: closing asks once who uses it. */
static void delete_begin(struct share_work *work)
{
	struct api_request *request = work->request;
	struct model_share *share = work->share;

	share->deleting = true;
	if (!share->vfs) {
		delete_closed(&work->call, 0);
		return;
	}
	snprintf(share->reason, sizeof share->reason, "it is being deleted");
	if (export_apply(request->admin, share, delete_withdrawn, work, &request->err) == 0)
		return;
	share->deleting = false;
	share->reason[0] = '\0';
	api_reply_failure(request, NULL);
}

void api_share_delete(struct api_request *request)
{
	struct model_share *share = find_share(request);
	struct share_work *work;
	const char *code = NULL;

	if (!share || !(work = work_new(request, delete_closed)))
		return;
	work->share = share;
	work->was_open = share->vfs != NULL;
	/* A share whose volume is gone is forgotten. */
	request->volume =
	    model_find_volume(request->model, share->pool, share->name, &code, &request->err);
	/* Said before anything is closed; the volume has the last word. */
	if (request->volume &&
	    (bin_refuses(request, true) || bin_missing(request, request->match.param[0]) ||
	     replica_refuses(request, request->volume, REPLICA_DELETE)))
		return;
	if (share->opening || share->leaving || share->deleting)
		api_reply_error(request, 409, "share_unavailable",
				"share %s/%s is being opened or closed; try again in a second",
				share->pool, share->name);
	else if (api_is_dry(request))
		bin_reply_dry(request, "share", request->volume);
	else
		delete_begin(work);
}

/* ---- one file of a snapshot ---- */
static void restored(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);
	struct api_request *request = work->request;
	const char *path = json_string_value(json_object_get(request->body, "path"));
	const char *to = json_string_value(json_object_get(request->body, "to"));
	const struct model_share *share;

	if (result < 0) {
		work_failed(work, result);
		return;
	}
	share = model_share_find(request->model, request->match.param[0], request->match.param[1]);
	if (share && share->vfs)
		nfs_share_changed(request->admin->options.nfs, share->vfs);
	log_notice("share %s/%s: %s restored from snapshot %s", request->match.param[0],
		   request->match.param[1], to ? to : path, call->snapshot_name);
	api_reply(request, 200,
		  json_pack("{s:s,s:I}", "restored", to ? to : path, "bytes",
			    (json_int_t)call->restored_bytes));
}

void api_share_restore(struct api_request *request)
{
	struct model_share *share = find_open_share(request);
	const char *snapshot, *path, *to = NULL;
	struct share_work *work;

	if (!share ||
	    !api_unpack(request, "{s:s,s:s,s?:s}", "snapshot", &snapshot, "path", &path, "to",
			&to) ||
	    !(work = work_new(request, restored)))
		return;
	share_restore(share->vfs, snapshot, path, to, &work->call);
}

/* ---- check ---- */
static void check_finding(struct share_check_report *report, const char *sentence)
{
	struct share_work *work = container_of(report, struct share_work, report);

	if (json_array_size(work->findings) < FINDINGS_MAX)
		json_array_append_new(work->findings, json_string(sentence));
}

static void check_done(struct share_call *call, int result)
{
	struct share_work *work = container_of(call, struct share_work, call);
	struct share_check_report *report = &work->report;

	if (result < 0) {
		json_decref(work->findings);
		work_failed(work, result);
		return;
	}
	api_reply(work->request, 200,
		  json_pack("{s:s,s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:o}", "pool",
			    work->request->match.param[0], "share", work->request->match.param[1],
			    "clean", report->errors == 0, "inodes", (json_int_t)report->inodes,
			    "extents", (json_int_t)report->extents, "pages",
			    (json_int_t)report->pages, "unbacked_bytes",
			    (json_int_t)report->unbacked_bytes, "errors",
			    (json_int_t)report->errors, "findings", work->findings));
}

void api_share_check(struct api_request *request)
{
	struct model_share *share = find_share(request);
	struct share_work *work;
	const char *code = NULL;

	if (!share || !(work = work_new(request, check_done)))
		return;
	work->findings = json_array();
	work->report.finding = check_finding;
	if (share->vfs) {
		share_check(share->vfs, &work->report, &work->call);
		return;
	}
	request->volume =
	    model_find_volume(request->model, share->pool, share->name, &code, &request->err);
	if (!request->volume) {
		json_decref(work->findings);
		api_reply_failure(request, code);
		return;
	}
	share_check_volume(request->volume, request->admin->options.control, &work->report,
			   &work->call);
}
