/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/share.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/bin.h"
#include "webadmin/directory.h"
#include "webadmin/host.h"
#include "webadmin/move.h"
#include "webadmin/passthrough.h"

void model_init(struct model *model)
{
	list_init(&model->pools);
	list_init(&model->targets);
	list_init(&model->hosts);
	list_init(&model->shares);
	list_init(&model->directories);
	list_init(&model->moves);
}

void model_finish(struct model *model)
{
	explicit_bzero(&model->discovery, sizeof model->discovery);
	while (!list_empty(&model->moves))
		model_move_remove(list_entry(model->moves.next, struct model_move, link));
	while (!list_empty(&model->shares))
		model_share_remove(list_entry(model->shares.next, struct model_share, link));
	while (!list_empty(&model->directories))
		model_directory_remove(
		    list_entry(model->directories.next, struct model_directory, link));
	while (!list_empty(&model->hosts))
		model_host_remove(list_entry(model->hosts.next, struct model_host, link));
	while (!list_empty(&model->targets))
		model_target_remove(list_entry(model->targets.next, struct model_target, link));
	while (!list_empty(&model->pools))
		model_pool_remove(list_entry(model->pools.next, struct model_pool, link));
}

struct model_pool *model_pool_find(struct model *model, const char *name)
{
	list_for_each (it, &model->pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);

		if (strcmp(pool->name, name) == 0)
			return pool;
	}
	return NULL;
}

struct model_pool *model_pool_add(struct model *model, const char *name)
{
	struct model_pool *pool = heap_zalloc(sizeof *pool);
	struct list *before = &model->pools;

	if (!pool)
		return NULL;
	snprintf(pool->name, sizeof pool->name, "%s", name);
	pool->full_hours = -1;
	pool->undelete_hours = BIN_HOURS_DEFAULT;
	list_init(&pool->bin);
	list_for_each (it, &model->pools) {
		if (strcmp(list_entry(it, struct model_pool, link)->name, name) < 0)
			before = it;
	}
	list_insert_after(before, &pool->link);
	return pool;
}

int model_pool_add_path(struct model_pool *pool, const char *path)
{
	char **grown = heap_resize(pool->paths, (pool->path_count + 1) * sizeof *grown);
	char *copy = heap_strdup(path);

	if (grown)
		pool->paths = grown;
	if (!grown || !copy) {
		heap_free(copy);
		return -ENOMEM;
	}
	pool->paths[pool->path_count++] = copy;
	return 0;
}

const char *model_pool_kind(const struct model_pool *pool)
{
	if (model_pool_is_passthrough(pool))
		return PASSTHROUGH_POOL;
	return pool->path_count && pool_is_remote(pool->paths[0]) ? "rbd" : "native";
}

void model_pool_remove(struct model_pool *pool)
{
	if (!pool)
		return;
	timer_stop(&pool->retry);
	bin_finish(pool);
	list_remove(&pool->link);
	for (unsigned i = 0; i < pool->path_count; i++)
		heap_free(pool->paths[i]);
	heap_free(pool->paths);
	heap_free(pool);
}

struct model_target *model_target_find(struct model *model, const char *iqn)
{
	list_for_each (it, &model->targets) {
		struct model_target *target = list_entry(it, struct model_target, link);

		if (strcmp(target->iqn, iqn) == 0)
			return target;
	}
	return NULL;
}

struct model_target *model_target_add(struct model *model, const char *iqn, const char *alias)
{
	struct model_target *target = heap_zalloc(sizeof *target);
	struct list *before = &model->targets;

	if (!target)
		return NULL;
	snprintf(target->iqn, sizeof target->iqn, "%s", iqn);
	snprintf(target->alias, sizeof target->alias, "%s", alias ? alias : "");
	list_init(&target->luns);
	list_for_each (it, &model->targets) {
		if (strcmp(list_entry(it, struct model_target, link)->iqn, iqn) < 0)
			before = it;
	}
	list_insert_after(before, &target->link);
	return target;
}

void model_rules_free(struct model_rule *rules, unsigned count)
{
	if (rules)
		explicit_bzero(rules, count * sizeof *rules);
	heap_free(rules);
}

void model_target_swap_rules(struct model_target *target, struct model_rule *rules, unsigned count)
{
	model_rules_free(target->rules, target->rule_count);
	target->rules = rules;
	target->rule_count = count;
}

void model_target_remove(struct model_target *target)
{
	if (!target)
		return;
	while (!list_empty(&target->luns))
		model_lun_remove(list_entry(target->luns.next, struct model_lun, link));
	model_target_swap_rules(target, NULL, 0);
	list_remove(&target->link);
	heap_free(target);
}

struct model_lun *model_lun_find(struct model_target *target, unsigned lun)
{
	list_for_each (it, &target->luns) {
		struct model_lun *entry = list_entry(it, struct model_lun, link);

		if (entry->lun == lun)
			return entry;
	}
	return NULL;
}

struct model_lun *model_lun_add(struct model_target *target, unsigned lun)
{
	struct model_lun *entry = heap_zalloc(sizeof *entry);
	struct list *before = target->luns.prev; /* usually it is the highest */

	if (!entry)
		return NULL;
	entry->lun = lun;
	while (before != &target->luns && list_entry(before, struct model_lun, link)->lun > lun)
		before = before->prev;
	list_insert_after(before, &entry->link);
	return entry;
}

void model_lun_remove(struct model_lun *lun)
{
	if (!lun)
		return;
	heap_free(lun->hosts);
	heap_free(lun->names.names);
	list_remove(&lun->link);
	heap_free(lun);
}

struct model_lun *model_lun_of_volume(struct model *model, const uint8_t uuid[16],
				      struct model_lun *previous, struct model_target **ret_target)
{
	bool seen = previous == NULL;

	list_for_each (t, &model->targets) {
		struct model_target *target = list_entry(t, struct model_target, link);

		list_for_each (it, &target->luns) {
			struct model_lun *lun = list_entry(it, struct model_lun, link);

			if (lun == previous) {
				seen = true;
			} else if (seen && memcmp(lun->volume, uuid, 16) == 0) {
				*ret_target = target;
				return lun;
			}
		}
	}
	return NULL;
}

struct pool *model_pool_usable(struct model *model, const char *name, const char **ret_code,
			       struct err *err)
{
	struct model_pool *pool = model_pool_find(model, name);

	if (!pool) {
		*ret_code = "pool_not_found";
		err_set(err, -ENOENT, "no pool named %s", name);
		return NULL;
	}
	if (!pool->pool) {
		*ret_code = "pool_unavailable";
		err_set(err, -ENXIO, "pool %s is not available: %s", name, pool->reason);
	}
	return pool->pool;
}

struct volume *model_find_volume(struct model *model, const char *pool_name, const char *name,
				 const char **ret_code, struct err *err)
{
	struct pool *pool = model_pool_usable(model, pool_name, ret_code, err);
	struct volume *volume;

	if (!pool)
		return NULL;
	volume = pool_find_volume(pool, name);
	if (volume && model_hides(model, volume)) {
		volume_unref(volume);
		volume = NULL;
	}
	if (!volume) {
		*ret_code = "volume_not_found";
		err_set(err, -ENOENT, "no volume named %s/%s", pool_name, name);
	}
	return volume;
}
