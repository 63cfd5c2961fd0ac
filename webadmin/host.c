/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"

/* ---- model */

struct model_host *model_host_find(struct model *model, const char *name)
{
	list_for_each (it, &model->hosts) {
		struct model_host *host = list_entry(it, struct model_host, link);

		if (strcmp(host->name, name) == 0)
			return host;
	}
	return NULL;
}

struct model_host *model_host_add(struct model *model, const char *name)
{
	struct model_host *host = heap_zalloc(sizeof *host);
	struct list *before = &model->hosts;

	if (!host)
		return NULL;
	snprintf(host->name, sizeof host->name, "%s", name);
	list_for_each (it, &model->hosts) {
		if (strcmp(list_entry(it, struct model_host, link)->name, name) < 0)
			before = it;
	}
	list_insert_after(before, &host->link);
	return host;
}

void model_host_remove(struct model_host *host)
{
	if (!host)
		return;
	list_remove(&host->link);
	heap_free(host->initiators.names);
	heap_free(host);
}

static bool has_initiator(const struct model_host *host, const char *initiator)
{
	for (unsigned i = 0; i < host->initiators.count; i++) {
		if (strcmp(host->initiators.names[i], initiator) == 0)
			return true;
	}
	return false;
}

struct model_host *model_host_of(struct model *model, const char *initiator)
{
	list_for_each (it, &model->hosts) {
		struct model_host *host = list_entry(it, struct model_host, link);

		if (has_initiator(host, initiator))
			return host;
	}
	return NULL;
}

/* One more name at the end. */
static int add_name(struct scsi_names *names, const char *name)
{
	void *grown = heap_resize(names->names, (names->count + 1) * sizeof *names->names);

	if (!grown)
		return -ENOMEM;
	names->names = grown;
	snprintf(names->names[names->count++], sizeof *names->names, "%s", name);
	return 0;
}

int model_host_add_initiator(struct model_host *host, const char *initiator)
{
	return has_initiator(host, initiator) ? 0 : add_name(&host->initiators, initiator);
}

void model_host_remove_initiator(struct model_host *host, const char *initiator)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < host->initiators.count; i++) {
		if (strcmp(host->initiators.names[i], initiator) == 0)
			continue;
		if (kept != i)
			memcpy(host->initiators.names[kept], host->initiators.names[i],
			       sizeof *host->initiators.names);
		kept++;
	}
	host->initiators.count = kept;
}

bool model_lun_shown_to(const struct model_lun *lun, const struct model_host *host)
{
	for (unsigned i = 0; i < lun->host_count; i++) {
		if (strcmp(lun->hosts[i], host->name) == 0)
			return true;
	}
	return false;
}

int host_resolve(struct model *model, struct model_lun *lun)
{
	struct scsi_names names = {0};

	for (unsigned i = 0; i < lun->host_count; i++) {
		const struct model_host *host = model_host_find(model, lun->hosts[i]);

		for (unsigned j = 0; host && j < host->initiators.count; j++) {
			if (add_name(&names, host->initiators.names[j]) < 0) {
				heap_free(names.names);
				return -ENOMEM;
			}
		}
	}
	heap_free(lun->names.names);
	lun->names = names;
	return 0;
}

static int apply(struct model *model, struct model_target *target, struct model_lun *lun,
		 struct err *err)
{
	if (host_resolve(model, lun) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (!lun->mapped)
		return 0;
	return scsi_target_mask(iscsi_target_scsi(target->live), lun->lun,
				lun->host_count ? &lun->names : NULL, err);
}

int host_apply(struct model *model, const struct model_host *host, struct err *err)
{
	int result = 0;

	list_for_each (t, &model->targets) {
		struct model_target *target = list_entry(t, struct model_target, link);

		list_for_each (l, &target->luns) {
			struct model_lun *lun = list_entry(l, struct model_lun, link);

			if (model_lun_shown_to(lun, host) && apply(model, target, lun, err) < 0)
				result = -ENOMEM;
		}
	}
	return result;
}

/* ---- rows */

static int load_host(struct config_statement *statement, struct model *model)
{
	const char *name = config_text(statement, 0);

	return strlen(name) > HOST_GROUP_NAME_MAX ? -EINVAL
	       : model_host_add(model, name)      ? 0
						  : -ENOMEM;
}

static int load_initiator(struct config_statement *statement, struct model *model)
{
	struct model_host *host = model_host_find(model, config_text(statement, 0));
	const char *initiator = config_text(statement, 1);

	return host && strlen(initiator) <= SCSI_NAME_MAX
		   ? model_host_add_initiator(host, initiator)
		   : -EINVAL;
}

static int load_mask(struct config_statement *statement, struct model *model)
{
	struct model_target *target = model_target_find(model, config_text(statement, 0));
	struct model_lun *lun =
	    target ? model_lun_find(target, (unsigned)config_number(statement, 1)) : NULL;
	const char *name = config_text(statement, 2);
	void *grown;

	if (!lun || !model_host_find(model, name))
		return -EINVAL;
	grown = heap_resize(lun->hosts, (lun->host_count + 1) * sizeof *lun->hosts);
	if (!grown)
		return -ENOMEM;
	lun->hosts = grown;
	snprintf(lun->hosts[lun->host_count++], sizeof *lun->hosts, "%s", name);
	return host_resolve(model, lun);
}

int host_load(struct config *config, struct model *model, struct err *err)
{
	static const struct {
		const char *sql;
		int (*row)(struct config_statement *statement, struct model *model);
	} parts[] = {
	    {"select name from host order by name desc", load_host},
	    {"select host, initiator from host_initiator order by host, initiator", load_initiator},
	    {"select target, lun, host from lun_host order by target, lun, host", load_mask},
	};

	for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
		struct config_statement *statement;
		int result = config_prepare(config, parts[i].sql, &statement, err);

		if (result < 0)
			return result;
		while ((result = config_step(statement, err)) > 0) {
			result = parts[i].row(statement, model);
			if (result < 0) {
				err_set(err, result, "configuration: a host group makes no sense");
				break;
			}
		}
		config_finish(statement);
		if (result < 0)
			return result;
	}
	return 0;
}

int store_set_host(struct config *config, const struct model_host *host, struct err *err)
{
	int result =
	    config_run(config, err, "insert or ignore into host(name) values(?)", "s", host->name);

	if (result == 0)
		result = config_run(config, err, "delete from host_initiator where host = ?", "s",
				    host->name);
	for (unsigned i = 0; result == 0 && i < host->initiators.count; i++)
		result = config_run(config, err,
				    "insert into host_initiator(host, initiator) values(?, ?)",
				    "ss", host->name, host->initiators.names[i]);
	return result;
}

int store_remove_host(struct config *config, const char *name, struct err *err)
{
	return config_run(config, err, "delete from host where name = ?", "s", name);
}

int store_set_mask(struct config *config, const char *iqn, unsigned lun,
		   char (*hosts)[HOST_GROUP_NAME_MAX + 1], unsigned count, struct err *err)
{
	int result = config_run(config, err, "delete from lun_host where target = ? and lun = ?",
				"si", iqn, (int)lun);

	for (unsigned i = 0; result == 0 && i < count; i++)
		result = config_run(config, err,
				    "insert into lun_host(target, lun, host) values(?, ?, ?)",
				    "sis", iqn, (int)lun, hosts[i]);
	return result;
}

json_t *show_host(const struct model_host *host)
{
	json_t *initiators = json_array();

	for (unsigned i = 0; i < host->initiators.count; i++)
		json_array_append_new(initiators, json_string(host->initiators.names[i]));
	return json_pack("{s:s,s:o}", "name", host->name, "initiators", initiators);
}
