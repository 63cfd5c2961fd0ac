/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/model.h"

/* From the model to live objects of iscsi/ and target/, and back. */

int model_target_apply_rules(struct model_target *target, const struct model_rule *rules,
			     unsigned count, struct err *err)
{
	struct iscsi_rule *plain = heap_zalloc_array(count ? count : 1, sizeof *plain);
	int result;

	if (!plain)
		return err_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < count; i++)
		plain[i] = rules[i].rule;
	result = iscsi_target_set_rules(target->live, plain, count, err);
	explicit_bzero(plain, count * sizeof *plain);
	heap_free(plain);
	return result;
}

static void ignore(void *context)
{
	(void)context;
}

int model_target_connect(struct model_target *target, struct iscsi_server *iscsi, struct err *err)
{
	int result = iscsi_target_create(iscsi, target->iqn, target->alias, &target->live, err);

	if (result < 0)
		return result;
	result = model_target_apply_rules(target, target->rules, target->rule_count, err);
	if (result == 0)
		result = iscsi_target_redirect(target->live, target->redirect, err);
	scsi_target_set_events(iscsi_target_scsi(target->live), target->async_events);
	iscsi_target_limit_sessions(target->live, &target->limits);
	if (result < 0) {
		iscsi_target_destroy(target->live, ignore, NULL);
		target->live = NULL;
	}
	return result;
}

int model_lun_check(struct model_target *target, const struct model_lun *lun, struct volume *volume,
		    struct err *err)
{
	if (!target->live)
		return err_set(err, -ENXIO, "target %s is not available: %s", target->iqn,
			       target->reason);
	return scsi_target_map_check(iscsi_target_scsi(target->live), volume, lun->lun, &lun->mode,
				     err);
}

int model_lun_connect(struct model_target *target, struct model_lun *lun, struct volume *volume,
		      struct err *err)
{
	unsigned number;
	int result = -ENXIO;

	lun->mapped = false;
	if (!target->live)
		err_set(err, result, "target %s is not available: %s", target->iqn, target->reason);
	else
		result = scsi_target_map_as(iscsi_target_scsi(target->live), volume, (int)lun->lun,
					    lun->host_count ? &lun->names : NULL, &lun->mode,
					    &number, err);
	if (result < 0) {
		snprintf(lun->reason, sizeof lun->reason, "%s", err->text);
		return result;
	}
	lun->mapped = true;
	lun->reason[0] = '\0';
	return 0;
}

/* A target on its way out: LUNs first, so that the volumes are free when done() runs. */
struct disconnect {
	struct iscsi_target *live;
	unsigned pending;
	void (*done)(void *context);
	void *context;
};

static void target_gone(void *context)
{
	struct disconnect *disconnect = context;

	disconnect->done(disconnect->context);
	heap_free(disconnect);
}

static void lun_gone(void *context)
{
	struct disconnect *disconnect = context;

	if (--disconnect->pending == 0)
		iscsi_target_destroy(disconnect->live, target_gone, disconnect);
}

void model_target_disconnect(struct model_target *target, void (*done)(void *context),
			     void *context)
{
	struct disconnect *disconnect = heap_zalloc(sizeof *disconnect);
	struct iscsi_target *live = target->live;

	target->live = NULL;
	if (!live || !disconnect) {
		heap_free(disconnect);
		if (live)
			iscsi_target_destroy(live, done, context);
		else
			done(context);
		return;
	}
	*disconnect = (struct disconnect){live, 1, done, context};
	list_for_each (it, &target->luns) {
		struct model_lun *lun = list_entry(it, struct model_lun, link);
		struct err err = {0};

		if (!lun->mapped)
			continue;
		lun->mapped = false;
		disconnect->pending++;
		if (scsi_target_unmap(iscsi_target_scsi(live), lun->lun, lun_gone, disconnect,
				      &err) < 0) {
			log_error("target %s LUN %u: %s", target->iqn, lun->lun, err.text);
			disconnect->pending--;
		}
	}
	lun_gone(disconnect);
}
