/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* Portal groups of a target: access states (SPC-4 5.15) that the administrator sets. What is set
 * is in the store; what a host sets (SET TARGET PORT GROUPS) lasts until the daemon stops. */

static struct model_target *find_target(struct api_request *request)
{
	struct model_target *target = model_target_find(request->model, request->match.param[0]);

	if (!target)
		api_reply_error(request, 404, "target_not_found", "no target named %s",
				request->match.param[0]);
	else if (!target->live)
		api_reply_error(request, 409, "target_unavailable",
				"target %s is not available: %s", target->iqn, target->reason);
	return target && target->live ? target : NULL;
}

static json_t *show_group(const struct scsi_group_info *info)
{
	return json_pack("{s:i,s:s,s:b}", "group", (int)info->group, "access",
			 scsi_access_name(info->access), "preferred", info->preferred);
}

json_t *groups_show_wanted(const struct model_target *target)
{
	struct scsi_group_info info = {0};
	json_t *list = json_array();

	while (target->live &&
	       scsi_target_next_group(iscsi_target_scsi(target->live), info.group, &info))
		json_array_append_new(list, show_group(&info));
	return list;
}

void api_group_list(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct scsi_group_info info = {0};
	json_t *list;

	if (!target)
		return;
	list = json_array();
	while (scsi_target_next_group(iscsi_target_scsi(target->live), info.group, &info))
		json_array_append_new(list, show_group(&info));
	api_reply(request, 200, list);
}

static bool find_group(struct api_request *request, struct model_target *target,
		       struct scsi_group_info *ret_info)
{
	char *end;
	unsigned long group = strtoul(request->match.param[1], &end, 10);

	ret_info->group = 0;
	while (scsi_target_next_group(iscsi_target_scsi(target->live), ret_info->group, ret_info))
		if (*end == '\0' && ret_info->group == group)
			return true;
	api_reply_error(request, 404, "group_not_found", "target %s has no portal group %s",
			target->iqn, request->match.param[1]);
	return false;
}

static bool read_access(struct api_request *request, const char *name, enum scsi_access *ret_access)
{
	for (enum scsi_access i = SCSI_OPTIMIZED; i <= SCSI_UNAVAILABLE; i++) {
		if (strcmp(name, scsi_access_name(i)) == 0) {
			*ret_access = i;
			return true;
		}
	}
	api_reply_error(request, 400, "bad_access",
			"an access state is optimized, non-optimized, standby or unavailable");
	return false;
}

static int store_group(struct api_request *request, const char *iqn,
		       const struct scsi_group_info *info)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = config_run(config, &request->err,
				    "insert or replace into portal_group(target, tag, access,"
				    " preferred) values(?, ?, ?, ?)",
				    "siii", iqn, (int)info->group, (int)info->access,
				    (int)info->preferred);
	return result == 0 ? api_commit(request) : result;
}

void api_group_set(struct api_request *request)
{
	struct model_target *target = find_target(request);
	struct scsi_group_info info;
	const char *access = NULL;
	int preferred = -1;
	json_t *before;

	if (!target || !find_group(request, target, &info) ||
	    !api_unpack(request, "{s?:s,s?:b}", "access", &access, "preferred", &preferred))
		return;
	before = show_group(&info);
	if (access && !read_access(request, access, &info.access)) {
		json_decref(before);
		return;
	}
	if (preferred >= 0)
		info.preferred = preferred;
	if (store_group(request, target->iqn, &info) < 0) {
		json_decref(before);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request,
			      json_sprintf("portal group %u of target %s", info.group, target->iqn),
			      before, show_group(&info));
		return;
	}
	json_decref(before);
	/* The live group is there, so nothing can fail after the store. */
	if (scsi_target_set_access(iscsi_target_scsi(target->live), info.group, info.access,
				   info.preferred, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("audit: %s set portal group %u of target %s to %s%s", request->who.name,
		   info.group, target->iqn, scsi_access_name(info.access),
		   info.preferred ? ", preferred" : "");
	api_reply(request, 200, show_group(&info));
}

int group_restore(struct config *config, struct model_target *target, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config, "select tag, access, preferred from portal_group where target = ?", &statement,
	    err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, target->iqn);
	while ((result = config_step(statement, err)) > 0) {
		int64_t tag = config_number(statement, 0), access = config_number(statement, 1);

		if (tag >= 1 && tag <= ISCSI_GROUP_MAX && access >= 0 && access <= SCSI_UNAVAILABLE)
			result = scsi_target_set_access(iscsi_target_scsi(target->live),
							(uint16_t)tag, (enum scsi_access)access,
							config_number(statement, 2) != 0, err);
		if (result < 0)
			break;
	}
	config_finish(statement);
	return result;
}
