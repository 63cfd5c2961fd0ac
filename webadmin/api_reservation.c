/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* Who has reserved a LUN; taking that away when the host that did is gone for good. */

static struct model_lun *find_lun(struct api_request *request)
{
	struct model_target *target = model_target_find(request->model, request->match.param[0]);
	struct model_lun *lun = NULL;
	char *end;

	if (target) {
		unsigned long number = strtoul(request->match.param[1], &end, 10);

		if (*end == '\0' && number <= SCSI_LUN_MAX)
			lun = model_lun_find(target, (unsigned)number);
	}
	if (!target)
		api_reply_error(request, 404, "target_not_found", "no target named %s",
				request->match.param[0]);
	else if (!lun)
		api_reply_error(request, 404, "lun_not_found", "target %s has no LUN %s",
				target->iqn, request->match.param[1]);
	return lun;
}

static json_t *show_registration(const struct scsi_registration *entry)
{
	char key[20];

	snprintf(key, sizeof key, "0x%016llx", (unsigned long long)entry->key);
	return json_pack("{s:s,s:s,s:s,s:i,s:b,s:b}", "key", key, "initiator_port",
			 entry->initiator_port, "target", entry->target, "port",
			 (int)entry->relative_port, "holder", entry->holder, "connected",
			 entry->connected);
}

/* NULL: it was answered. */
static json_t *show_reservations(struct api_request *request, const struct model_lun *lun)
{
	struct scsi_reservations *all = scsi_reservations_get(lun->volume);
	json_t *list, *object;

	if (!all) {
		api_reply_error(request, 409, "lun_unavailable", "LUN %u is not served: %s",
				lun->lun, lun->reason);
		return NULL;
	}
	list = json_array();
	for (unsigned i = 0; i < all->count; i++)
		json_array_append_new(list, show_registration(&all->registrations[i]));
	object = json_pack("{s:s,s:b,s:I,s:s,s:o}", "type", all->type, "persistent",
			   all->persistent, "generation", (json_int_t)all->generation, "reserve6",
			   all->reserve6, "registrations", list);
	heap_free(all);
	return object;
}

void api_reservation_show(struct api_request *request)
{
	struct model_lun *lun = find_lun(request);
	json_t *shown = lun ? show_reservations(request, lun) : NULL;

	if (shown)
		api_reply(request, 200, shown);
}

/* Whoever is registered would be so no more. */
static void reply_dry(struct api_request *request, const struct model_lun *lun)
{
	json_t *before = show_reservations(request, lun), *after;

	if (!before)
		return;
	after = json_copy(before);
	json_object_set_new(after, "type", json_string("none"));
	json_object_set_new(after, "reserve6", json_string(""));
	json_object_set_new(after, "registrations", json_array());
	api_reply_dry(request,
		      json_sprintf("reservations of LUN %s of target %s", request->match.param[1],
				   request->match.param[0]),
		      before, after);
}

static void cleared(void *context, int result)
{
	struct api_request *request = context;

	if (result < 0) {
		err_set(&request->err, result, "the reservations can not be cleared: %s",
			strerror(-result));
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("audit: %s cleared the reservations of target %s LUN %s",
		   request->who.name[0] ? request->who.name : "somebody", request->match.param[0],
		   request->match.param[1]);
	api_reply(request, 200,
		  json_pack("{s:s,s:s}", "target", request->match.param[0], "cleared",
			    request->match.param[1]));
}

void api_reservation_clear(struct api_request *request)
{
	struct model_lun *lun = find_lun(request);

	if (lun && api_is_dry(request))
		reply_dry(request, lun);
	else if (lun)
		scsi_reservations_clear(lun->volume, cleared, request);
}
