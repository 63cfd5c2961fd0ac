/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/host.h"
#include "webadmin/replica.h"
#include "webadmin/share.h"

static struct model_target *find_target(struct api_request *request)
{
	struct model_target *target = model_target_find(request->model, request->match.param[0]);

	if (!target)
		api_reply_error(request, 404, "target_not_found", "no target named %s",
				request->match.param[0]);
	return target;
}

void api_lun_list(struct api_request *request)
{
	struct model_target *target = find_target(request);

	if (target)
		api_reply(request, 200, show_luns(target));
}

/* The lowest number that no LUN has, those included that are not served at present. */
static unsigned lowest_free(struct model_target *target)
{
	unsigned number = 0;

	list_for_each (it, &target->luns) {
		if (list_entry(it, struct model_lun, link)->lun != number)
			break;
		number++;
	}
	return number;
}

static bool number_good(struct api_request *request, struct model_target *target, json_int_t number)
{
	if (number < 0 || number > SCSI_LUN_MAX) {
		api_reply_error(request, 400, "bad_lun", "a LUN is a number from 0 to %d",
				SCSI_LUN_MAX);
		return false;
	}
	if (model_lun_find(target, (unsigned)number)) {
		api_reply_error(request, 409, "lun_exists", "target %s has a LUN %lld already",
				target->iqn, (long long)number);
		return false;
	}
	return true;
}

static void ignore(void *context)
{
	(void)context;
}

static int lun_bring_up(struct api_request *request, struct model_target *target,
			struct model_lun *lun)
{
	struct config *config = request->admin->options.config;
	struct err undo = {0};
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = store_add_lun(config, target->iqn, lun, &request->err);
	if (result == 0 && lun->host_count)
		result = store_set_mask(config, target->iqn, lun->lun, lun->hosts, lun->host_count,
					&request->err);
	if (result == 0 && api_is_dry(request))
		return model_lun_check(target, lun, request->volume, &request->err);
	if (result == 0)
		result = model_lun_connect(target, lun, request->volume, &request->err);
	if (result < 0)
		return result;
	result = config_commit(config, &request->err);
	if (result < 0 &&
	    scsi_target_unmap(iscsi_target_scsi(target->live), lun->lun, ignore, NULL, &undo) < 0)
		log_error("target %s LUN %u could not be taken back: %s", target->iqn, lun->lun,
			  undo.text);
	return result;
}

static bool already_mapped(struct api_request *request, struct model_target *target)
{
	list_for_each (it, &target->luns) {
		struct model_lun *lun = list_entry(it, struct model_lun, link);

		if (memcmp(lun->volume, request->volume->identity.uuid, 16) == 0) {
			api_reply_error(request, 409, "volume_mapped",
					"volume %s/%s is LUN %u of this target already", lun->pool,
					lun->volume_name, lun->lun);
			return true;
		}
	}
	return false;
}

static bool read_mode(struct api_request *request, const char *type, bool read_only,
		      struct scsi_lun_mode *ret_mode)
{
	if (type && strcmp(type, "disk") != 0 && strcmp(type, "cdrom") != 0) {
		api_reply_error(request, 400, "bad_type", "a LUN is a disk or a cdrom, not %.50s",
				type);
		return false;
	}
	*ret_mode = (struct scsi_lun_mode){
	    .read_only = read_only,
	    .cdrom = type && strcmp(type, "cdrom") == 0,
	};
	return true;
}

static void reply_dry_map(struct api_request *request, struct model_target *target,
			  struct model_lun *lun)
{
	json_t *what = show_lun_name(target, lun);
	json_t *after = json_pack("{s:s,s:i,s:s,s:s,s:b,s:s}", "target", target->iqn, "lun",
				  (int)lun->lun, "pool", lun->pool, "volume", lun->volume_name,
				  "read_only", lun->mode.read_only || lun->mode.cdrom, "type",
				  lun->mode.cdrom ? "cdrom" : "disk");

	if (lun->host_count)
		json_object_set(after, "hosts", json_object_get(request->body, "hosts"));
	model_lun_remove(lun);
	api_reply_dry(request, what, json_object(), after);
}

/* Whom it is shown to, from @list; NULL: everybody. False: answered. */
static bool read_mask(struct api_request *request, const json_t *list, struct model_lun *lun)
{
	if (!list)
		return true;
	if (!api_read_hosts(request, list, &lun->hosts))
		return false;
	lun->host_count = (unsigned)json_array_size(list);
	if (host_resolve(request->model, lun) == 0)
		return true;
	api_reply_error(request, 503, "no_memory", "out of memory");
	return false;
}

void api_lun_map(struct api_request *request)
{
	struct model_target *target = find_target(request);
	const char *pool, *name, *type = NULL, *code = NULL;
	json_t *hosts = NULL;
	struct model_lun *lun;
	json_int_t number = -1;
	struct scsi_lun_mode mode;
	int read_only = 0;

	if (!target ||
	    !api_unpack(request, "{s:s,s:s,s?:I,s?:b,s?:s,s?:o}", "pool", &pool, "volume", &name,
			"lun", &number, "read_only", &read_only, "type", &type, "hosts", &hosts) ||
	    !read_mode(request, type, read_only != 0, &mode))
		return;
	if (json_object_get(request->body, "lun") && number == -1)
		number = -2;
	if (number == -1)
		number = lowest_free(target);
	if (!number_good(request, target, number))
		return;
	request->volume = model_find_volume(request->model, pool, name, &code, &request->err);
	if (!request->volume) {
		api_reply_failure(request, code);
		return;
	}
	if (model_share_of_volume(request->model, request->volume->identity.uuid)) {
		api_reply_error(request, 409, "volume_is_share",
				"volume %s/%s is a share; it is never a LUN too", pool, name);
		return;
	}
	if (replica_refuses(request, request->volume, REPLICA_MAP) ||
	    already_mapped(request, target))
		return;
	lun = model_lun_add(target, (unsigned)number);
	if (!lun) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	snprintf(lun->pool, sizeof lun->pool, "%s", pool);
	snprintf(lun->volume_name, sizeof lun->volume_name, "%s", request->volume->name);
	memcpy(lun->volume, request->volume->identity.uuid, 16);
	lun->mode = mode;
	if (!read_mask(request, hosts, lun)) {
		model_lun_remove(lun);
		return;
	}
	if (lun_bring_up(request, target, lun) < 0) {
		model_lun_remove(lun);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		reply_dry_map(request, target, lun);
		return;
	}
	log_notice("target %s: LUN %u is volume %s/%s", target->iqn, lun->lun, lun->pool,
		   lun->volume_name);
	api_reply(request, 201,
		  json_pack("{s:s,s:i,s:s,s:s}", "target", target->iqn, "lun", (int)lun->lun,
			    "pool", lun->pool, "volume", lun->volume_name));
}

static void lun_unmapped(void *context)
{
	struct api_request *request = context;

	log_notice("target %s: LUN %s taken away", request->match.param[0],
		   request->match.param[1]);
	api_reply(request, 200,
		  json_pack("{s:s,s:s}", "target", request->match.param[0], "unmapped",
			    request->match.param[1]));
}

static struct model_lun *find_lun(struct api_request *request, struct model_target *target)
{
	char *end;
	unsigned long number = strtoul(request->match.param[1], &end, 10);
	struct model_lun *lun =
	    *end || number > SCSI_LUN_MAX ? NULL : model_lun_find(target, (unsigned)number);

	if (!lun)
		api_reply_error(request, 404, "lun_not_found", "target %s has no LUN %s",
				target->iqn, request->match.param[1]);
	return lun;
}

static int set_mode(struct api_request *request, const struct model_target *target,
		    struct model_lun *lun)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = store_set_lun_mode(config, target->iqn, lun, &request->err);
	if (result == 0 && api_is_dry(request))
		return 0;
	if (result == 0 && lun->mapped)
		result = scsi_target_set_read_only(iscsi_target_scsi(target->live), lun->lun,
						   lun->mode.read_only, &request->err);
	return result < 0 ? result : config_commit(config, &request->err);
}

static bool set_read_only(struct api_request *request, struct model_target *target,
			  struct model_lun *lun, bool read_only)
{
	bool before = lun->mode.read_only;
	struct err undo = {0};

	lun->mode.read_only = read_only;
	if (set_mode(request, target, lun) == 0) {
		log_notice("target %s: LUN %u is %s now", target->iqn, lun->lun,
			   read_only ? "read only" : "writable");
		return true;
	}
	lun->mode.read_only = before;
	if (lun->mapped &&
	    scsi_target_set_read_only(iscsi_target_scsi(target->live), lun->lun, before, &undo) < 0)
		log_error("target %s LUN %u: %s", target->iqn, lun->lun, undo.text);
	api_reply_failure(request, NULL);
	return false;
}

static void lun_is_set(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct model_lun *lun = target ? find_lun(request, target) : NULL;
	const json_t *read_only;
	json_t *cache, *reply;

	if (!lun) /* the request has been answered and is gone */
		return;
	read_only = json_object_get(request->body, "read_only");
	cache = json_object_get(request->body, "write_cache");
	if (read_only && !set_read_only(request, target, lun, json_is_true(read_only)))
		return;
	reply = json_pack("{s:s,s:i,s:b}", "target", target->iqn, "lun", (int)lun->lun, "read_only",
			  lun->mode.read_only);
	if (reply && cache)
		json_object_set(reply, "write_cache", cache);
	api_reply(request, 200, reply);
}

static void reply_dry_set(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct model_lun *lun = target ? find_lun(request, target) : NULL;
	const json_t *read_only = json_object_get(request->body, "read_only");
	json_t *before, *after;
	int result = 0;

	if (!lun) /* the request has been answered and is gone */
		return;
	if (read_only) {
		bool now = lun->mode.read_only;

		lun->mode.read_only = json_is_true(read_only);
		result = set_mode(request, target, lun);
		lun->mode.read_only = now;
	}
	if (result < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	before = show_lun(target, lun);
	after = json_copy(before);
	json_object_update(after, request->body);
	api_reply_dry(request, show_lun_name(target, lun), before, after);
}

static void cache_is_set(void *context, int result)
{
	struct api_request *request = context;

	if (result < 0) {
		err_set(&request->err, result, "the write cache can not be switched: %s",
			strerror(-result));
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		reply_dry_set(request);
		return;
	}
	log_notice("target %s LUN %s: the write cache is %s now", request->match.param[0],
		   request->match.param[1],
		   json_is_true(json_object_get(request->body, "write_cache")) ? "on" : "off");
	lun_is_set(request);
}

void api_lun_set(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct model_lun *lun = target ? find_lun(request, target) : NULL;
	const json_t *read_only, *cache;

	if (!lun) /* the request has been answered and is gone */
		return;
	read_only = json_object_get(request->body, "read_only");
	cache = json_object_get(request->body, "write_cache");
	if (!read_only && !cache) {
		api_reply_error(request, 400, "nothing_to_change",
				"say read_only, write_cache or both");
		return;
	}
	if (lun->mode.cdrom) {
		api_reply_error(request, 409, "lun_is_cdrom", "a CD-ROM is always read only");
		return;
	}
	if (cache && !lun->mapped) {
		api_reply_error(request, 409, "lun_unavailable", "LUN %u is not served: %s",
				lun->lun, lun->reason);
		return;
	}
	/* The cache first: when that fails nothing else has been changed. */
	if (cache)
		scsi_write_cache_set(lun->volume, json_is_true(cache), api_is_dry(request),
				     cache_is_set, request);
	else if (api_is_dry(request))
		reply_dry_set(request);
	else
		lun_is_set(request);
}

/* The store first: once that is durable nothing can go wrong any more. */
void api_lun_unmap(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	struct model_target *target = find_target(request);
	struct model_lun *lun;
	unsigned number;
	bool mapped;

	lun = target ? find_lun(request, target) : NULL;
	if (!lun)
		return;
	number = lun->lun;
	if (config_begin(config, &request->err) < 0 ||
	    store_remove_lun(config, target->iqn, lun->lun, &request->err) < 0 ||
	    api_commit(request) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, show_lun_name(target, lun), show_lun(target, lun),
			      json_object());
		return;
	}
	mapped = lun->mapped;
	model_lun_remove(lun);
	if (!mapped)
		lun_unmapped(request);
	else if (scsi_target_unmap(iscsi_target_scsi(target->live), number, lun_unmapped, request,
				   &request->err) < 0)
		api_reply_failure(request, NULL);
}

/* ---- does it do what a kind of host asks of it? */

static void checked(void *context, const struct scsi_report *report)
{
	static const char *const verdicts[] = {
	    [SCSI_FITS] = "good",
	    [SCSI_FITS_LESS] = "less",
	    [SCSI_UNFIT] = "bad",
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < report->count; i++) {
		const struct scsi_finding *finding = &report->findings[i];

		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "name", finding->name,
						      "verdict", verdicts[finding->verdict], "text",
						      finding->text, "purpose", finding->purpose));
	}
	api_reply(context, 200,
		  json_pack("{s:s,s:b,s:o}", "profile", report->profile, "fits", (int)report->fits,
			    "checks", list));
}

static bool known_profile(struct api_request *request, const char *profile)
{
	const char *name;

	for (unsigned i = 0; (name = scsi_profile_name(i)); i++)
		if (strcmp(name, profile) == 0)
			return true;
	api_reply_error(request, 400, "bad_profile", "there is no host profile %.50s", profile);
	return false;
}

void api_lun_check(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct model_lun *lun = target ? find_lun(request, target) : NULL;
	const char *profile;

	if (!lun || !api_unpack(request, "{s:s}", "profile", &profile) ||
	    !known_profile(request, profile))
		return;
	if (!lun->mapped) {
		api_reply_error(request, 409, "lun_unavailable", "LUN %u is not served: %s",
				lun->lun, lun->reason);
		return;
	}
	if (scsi_profile_check(iscsi_target_scsi(target->live), lun->lun, profile, checked, request,
			       &request->err) < 0)
		api_reply_failure(request, NULL);
}
