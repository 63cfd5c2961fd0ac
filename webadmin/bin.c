/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/bin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/export.h"
#include "webadmin/move.h"

#define NS_PER_S 1000000000ull

bool bin_offered(const struct model_pool *pool)
{
	/* Where snapshots can be given up, what is deleted can: what a cluster holds has a trash of
	 * its own, and the data of a device stays on it. */
	return pool->pool && pool_can(pool->pool, POOL_EXPENDABLES);
}

/* ---- which ---- */
static bool is_kept_as(const struct bin_entry *entry, const char *name)
{
	size_t length = strlen(entry->kept_as);

	return strncmp(entry->kept_as, name, length) == 0 &&
	       (name[length] == '\0' || name[length] == '@');
}

bool model_hides(struct model *model, const struct volume *volume)
{
	struct model_pool *pool;

	if (move_hides(model, volume))
		return true;
	pool = volume->pool ? model_pool_find(model, pool_name(volume->pool)) : NULL;
	if (!pool)
		return false;
	list_for_each (it, &pool->bin) {
		if (is_kept_as(list_entry(it, struct bin_entry, link), volume->name))
			return true;
	}
	return false;
}

unsigned bin_count(const struct model_pool *pool)
{
	unsigned count = 0;

	list_for_each (it, &pool->bin)
		count++;
	return count;
}

const char *bin_id(const struct bin_entry *entry, char text[BIN_ID])
{
	for (unsigned i = 0; i < sizeof entry->uuid; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", entry->uuid[i]);
	return text;
}

struct bin_entry *bin_find(struct model_pool *pool, const char *text)
{
	struct bin_entry *named = NULL;

	list_for_each (it, &pool->bin) {
		struct bin_entry *entry = list_entry(it, struct bin_entry, link);
		char id[BIN_ID];

		if (strcmp(bin_id(entry, id), text) == 0)
			return entry;
		if (strcmp(entry->name, text) == 0)
			named = entry;
	}
	return named;
}

struct volume *bin_volume(struct model_pool *pool, const struct bin_entry *entry)
{
	struct volume *volume = pool->pool ? pool_find_volume(pool->pool, entry->kept_as) : NULL;

	if (volume && memcmp(volume->identity.uuid, entry->uuid, 16) != 0) {
		volume_unref(volume);
		volume = NULL;
	}
	return volume;
}

struct bin_entry *bin_next(struct webadmin *admin, struct model_pool *pool, bool spends)
{
	int64_t wall = (int64_t)(loop_wall(admin->options.control) / NS_PER_S);
	uint64_t now = loop_now(admin->options.control);
	unsigned count = bin_count(pool);

	list_for_each (it, &pool->bin) {
		struct bin_entry *entry = list_entry(it, struct bin_entry, link);

		if (now >= entry->rest_ns && (spends || count > BIN_MAX || entry->until <= wall))
			return entry;
	}
	return NULL;
}

/* ---- showing ---- */
json_t *bin_show(struct model_pool *pool, const struct bin_entry *entry)
{
	struct volume *volume = bin_volume(pool, entry), *it = NULL;
	char id[BIN_ID];
	unsigned snapshots = 0;
	json_t *object;

	while (volume && (it = snapshot_next(volume, it)))
		snapshots++;
	object = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:i,s:s}", "pool", pool->name, "name",
			   entry->name, "id", bin_id(entry, id), "kind",
			   entry->share ? "share" : "volume", "deleted", (json_int_t)entry->deleted,
			   "until", (json_int_t)entry->until, "by", entry->who, "snapshots",
			   (int)snapshots, "reason", entry->reason);
	if (object && volume) {
		json_object_set_new(object, "size_bytes",
				    json_integer((json_int_t)volume_size(volume)));
		json_object_set_new(object, "used_bytes",
				    json_integer((json_int_t)volume_used_bytes(volume)));
	}
	volume_unref(volume);
	return object;
}

void bin_show_pool(json_t *object, const struct model_pool *pool)
{
	uint64_t used = 0;
	unsigned count = 0;

	list_for_each (it, &pool->bin) {
		struct volume *volume =
		    bin_volume((struct model_pool *)pool, list_entry(it, struct bin_entry, link));

		if (volume)
			used += volume_used_bytes(volume);
		volume_unref(volume);
		count++;
	}
	json_object_set_new(object, "undelete_hours", json_integer(pool->undelete_hours));
	json_object_set_new(object, "bin_volumes", json_integer(count));
	json_object_set_new(object, "bin_used_bytes", json_integer((json_int_t)used));
}

/* ---- rows ---- */
void bin_drop(struct bin_entry *entry)
{
	if (!entry)
		return;
	list_remove(&entry->link);
	heap_free(entry);
}

void bin_finish(struct model_pool *pool)
{
	while (!list_empty(&pool->bin))
		bin_drop(list_entry(pool->bin.next, struct bin_entry, link));
}

static int load_entry(struct config_statement *statement, struct model *model)
{
	struct model_pool *pool = model_pool_find(model, config_text(statement, 1));
	struct bin_entry *entry;
	int length;
	const void *uuid = config_blob(statement, 0, &length);

	if (!pool || length != 16)
		return -EINVAL;
	entry = heap_zalloc(sizeof *entry);
	if (!entry)
		return -ENOMEM;
	memcpy(entry->uuid, uuid, 16);
	snprintf(entry->name, sizeof entry->name, "%s", config_text(statement, 2));
	snprintf(entry->kept_as, sizeof entry->kept_as, "%s", config_text(statement, 3));
	snprintf(entry->who, sizeof entry->who, "%s", config_text(statement, 4));
	entry->deleted = config_number(statement, 5);
	entry->until = config_number(statement, 6);
	entry->share = config_number(statement, 7) != 0;
	list_push_back(&pool->bin, &entry->link);
	return 0;
}

static int run_for(struct config *config, const char *sql, const uint8_t uuid[16], struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, uuid, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int bin_remove_row(struct config *config, const uint8_t uuid[16], struct err *err)
{
	return run_for(config, "delete from bin where volume = ?", uuid, err);
}

int bin_forget(struct config *config, const uint8_t uuid[16], struct err *err)
{
	int result = bin_remove_row(config, uuid, err);

	if (result == 0)
		result = store_remove_share(config, uuid, err);
	return result == 0 ? run_for(config, "delete from volume_limit where volume = ?", uuid, err)
			   : result;
}

int bin_add_row(struct config *config, const char *pool, const struct bin_entry *entry,
		struct err *err)
{
	struct config_statement *statement;
	int result =
	    config_prepare(config,
			   "insert into bin(volume, pool, name, kept_as, who, deleted, until)"
			   " values(?, ?, ?, ?, ?, ?, ?)",
			   &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, entry->uuid, 16);
	config_bind_text(statement, 2, pool);
	config_bind_text(statement, 3, entry->name);
	config_bind_text(statement, 4, entry->kept_as);
	config_bind_text(statement, 5, entry->who);
	config_bind_number(statement, 6, entry->deleted);
	config_bind_number(statement, 7, entry->until);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int load_hours(struct config *config, struct model *model, struct err *err)
{
	struct config_statement *statement;
	int result =
	    config_prepare(config, "select name, undelete_hours from pool", &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		struct model_pool *pool = model_pool_find(model, config_text(statement, 0));

		if (pool)
			pool->undelete_hours = (unsigned)config_number(statement, 1);
	}
	config_finish(statement);
	return result;
}

int bin_load(struct config *config, struct model *model, struct err *err)
{
	struct config_statement *statement;
	int result = load_hours(config, model, err);

	if (result == 0)
		result = config_prepare(
		    config,
		    "select bin.volume, bin.pool, bin.name, kept_as, who, deleted, until,"
		    " share.volume is not null from bin left join share on share.volume = "
		    "bin.volume"
		    " order by deleted, bin.rowid",
		    &statement, err);
	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		result = load_entry(statement, model);
		if (result < 0) {
			err_set(err, result, "configuration: %s",
				result == -ENOMEM ? "out of memory"
						  : "a row of the bin makes no sense");
			break;
		}
	}
	config_finish(statement);
	return result;
}

int bin_set_hours(struct webadmin *admin, struct model_pool *pool, unsigned hours, struct err *err)
{
	int result = config_run(admin->options.config, err,
				"update pool set undelete_hours = ? where name = ?", "is",
				(int)hours, pool->name);

	if (result == 0)
		pool->undelete_hours = hours;
	return result;
}

/* What a daemon that was cut off, or a configuration of another day, has left. */
static void settle(struct webadmin *admin, struct model_pool *pool, struct bin_entry *entry)
{
	struct config *config = admin->options.config;
	struct volume *kept = bin_volume(pool, entry), *other = NULL;
	struct model_share *share = NULL;
	struct err err = {0};
	int result;

	if (kept) {
		volume_unref(kept);
		return;
	}
	while ((other = pool_volume_next(pool->pool, other)))
		if (memcmp(other->identity.uuid, entry->uuid, 16) == 0)
			break;
	result = config_begin(config, &err);
	if (result == 0)
		result = bin_remove_row(config, entry->uuid, &err);
	if (result == 0 && !other)
		result = bin_forget(config, entry->uuid, &err);
	if (result == 0 && other && entry->share)
		result = store_load_share_of(config, &admin->model, entry->uuid, other->name,
					     &share, &err);
	if (result == 0)
		result = config_commit(config, &err);
	if (result < 0) {
		config_abort(config);
		log_error("pool %s: the bin: %s", pool->name, err.text);
	}
	if (share && share->rule_count && export_check_name(&admin->model, share, &err) < 0) {
		log_error("share %s/%s is not exported: %s", pool->name, share->name, err.text);
		heap_free(share->rules);
		share->rules = NULL;
		share->rule_count = 0;
	}
	log_notice("pool %s: %s is not in the bin any more: %s", pool->name, entry->name,
		   other ? other->name : "it is gone");
	volume_unref(other);
	bin_drop(entry);
}

void bin_settle(struct webadmin *admin, struct model_pool *pool)
{
	struct list *next;

	if (!pool->pool)
		return;
	for (struct list *it = pool->bin.next; it != &pool->bin; it = next) {
		next = it->next;
		settle(admin, pool, list_entry(it, struct bin_entry, link));
	}
}
