/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/replica.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/access.h"
#include "webadmin/bin.h"
#include "webadmin/export.h"
#include "webadmin/move.h"
#include "webadmin/replica_access.h"
#include "webadmin/share.h"

/* What of the exports travels with a group: targets that show a member, with its LUN number, and
 * their rules but for those with CHAP; shares on members with who may use them. Rules with CHAP,
 * and so once more all of them in their order, are what replica_access.c tells. The promoted node
 * makes what it does not have, by the same routes as everybody. */

static struct pool *host_pool(void *context, const char *name)
{
	struct webadmin *admin = context;
	struct model_pool *named = model_pool_find(&admin->model, name);
	struct pool *best = NULL;
	uint64_t most = 0;

	if (named && named->pool)
		return named->pool;
	list_for_each (it, &admin->model.pools) {
		struct model_pool *pool = list_entry(it, struct model_pool, link);
		struct pool_info info;

		if (!pool->pool)
			continue;
		pool_get_info(pool->pool, &info);
		if (!best || info.free_bytes > most) {
			best = pool->pool;
			most = info.free_bytes;
		}
	}
	return best;
}

static struct volume *host_volume(void *context, const uint8_t uuid[16])
{
	struct webadmin *admin = context;

	list_for_each (it, &admin->model.pools) {
		struct pool *pool = list_entry(it, struct model_pool, link)->pool;
		struct volume *volume = NULL;

		while (pool && (volume = pool_volume_next(pool, volume))) {
			if (memcmp(volume->identity.uuid, uuid, 16) == 0 &&
			    !model_hides(&admin->model, volume))
				return volume;
		}
	}
	return NULL;
}

static void uuid_write(const uint8_t uuid[16], char text[33])
{
	for (unsigned i = 0; i < 16; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", uuid[i]);
}

/* The volume that @item names by UUID, a reference; NULL: it is not here. */
static struct volume *volume_of(struct webadmin *admin, const json_t *item)
{
	const char *text = json_string_value(json_object_get(item, "volume"));
	uint8_t uuid[16] = {0};

	if (!text || strlen(text) != 32)
		return NULL;
	for (unsigned i = 0; i < 16; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		uuid[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return host_volume(admin, uuid);
}

bool replica_lists(const uint8_t (*uuids)[16], unsigned count, const uint8_t uuid[16])
{
	for (unsigned i = 0; i < count; i++) {
		if (memcmp(uuids[i], uuid, 16) == 0)
			return true;
	}
	return false;
}

/* A peer of before NFS over TLS knows nothing of it, and needs not where a rule asks for nothing.
 */
static json_t *export_share_rules(const struct model_share *share)
{
	json_t *rules = show_share_rules(NULL, share), *rule;
	size_t index;

	json_array_foreach(rules, index, rule)
	{
		if (share->rules[index].security == NFS_SECURITY_ANY)
			json_object_del(rule, "security");
	}
	return rules;
}

static json_t *export_rules(const struct model_target *target)
{
	json_t *rules = json_array();

	for (unsigned i = 0; i < target->rule_count; i++) {
		const struct iscsi_rule *rule = &target->rules[i].rule;

		if (!rule->chap_user[0])
			json_array_append_new(
			    rules, json_pack("{s:s,s:s}", "initiator",
					     rule->initiator[0] ? rule->initiator : "any",
					     "network", rule->network[0] ? rule->network : "any"));
	}
	return rules;
}

static json_t *export_luns(const struct model_target *target, const uint8_t (*uuids)[16],
			   unsigned count)
{
	json_t *luns = json_array();

	list_for_each (it, &target->luns) {
		const struct model_lun *lun = list_entry(it, struct model_lun, link);
		char uuid[33];

		uuid_write(lun->volume, uuid);
		if (replica_lists(uuids, count, lun->volume))
			json_array_append_new(
			    luns, json_pack("{s:i,s:s,s:b,s:s}", "lun", (int)lun->lun, "volume",
					    uuid, "read_only", lun->mode.read_only, "type",
					    lun->mode.cdrom ? "cdrom" : "disk"));
	}
	return luns;
}

static json_t *host_exports(void *context, const uint8_t (*uuids)[16], unsigned count)
{
	struct webadmin *admin = context;
	json_t *targets = json_array(), *shares = json_array();

	list_for_each (it, &admin->model.targets) {
		const struct model_target *target = list_entry(it, struct model_target, link);
		json_t *luns = export_luns(target, uuids, count);

		if (json_array_size(luns) == 0) {
			json_decref(luns);
			continue;
		}
		json_array_append_new(targets, json_pack("{s:s,s:s,s:o,s:o}", "iqn", target->iqn,
							 "alias", target->alias, "luns", luns,
							 "rules", export_rules(target)));
	}
	list_for_each (it, &admin->model.shares) {
		const struct model_share *share = list_entry(it, struct model_share, link);
		char uuid[33];

		uuid_write(share->volume, uuid);
		if (replica_lists(uuids, count, share->volume))
			json_array_append_new(
			    shares, json_pack("{s:s,s:s,s:o}", "name", share->name, "volume", uuid,
					      "rules", export_share_rules(share)));
	}
	return json_pack("{s:o,s:o}", "targets", targets, "shares", shares);
}

/* What one promotion has to make. */
struct replica_batch {
	struct webadmin *admin;
	unsigned left; /* calls; and one while there may be more */
	int result;
	json_t *exports, *access; /* what is still to be made; NULL: nothing */
	void (*done)(void *waiting, int result);
	void *waiting;
};

static void make_exports(struct replica_batch *batch);

static void batch_leave(struct replica_batch *batch)
{
	if (--batch->left > 0)
		return;
	if (batch->exports) { /* a number that was taken is free now */
		make_exports(batch);
		return;
	}
	batch->done(batch->waiting, batch->result);
	heap_free(batch);
}

static void applied(void *context, int status, const json_t *body)
{
	const char *detail = json_string_value(json_object_get(body, "detail"));
	struct replica_batch *batch = context;

	batch->admin->replica_calls--;
	/* What is there already is no failure: a group may come back to a node. */
	if (status >= 400 && status != 409)
		log_warning("an export of a promoted group could not be made: %s",
			    detail ? detail : "?");
	if (status == 503) /* out of memory, or about to stop */
		batch->result = -EAGAIN;
	batch_leave(batch);
}

void replica_call(struct webadmin *admin, const char *method, const char *path, json_t *body)
{
	admin->replica_calls++;
	admin->replica_batch->left++;
	webadmin_call(admin, method, path, body, applied, admin->replica_batch);
}

static void call(struct webadmin *admin, json_t *body, const char *path)
{
	replica_call(admin, "POST", path, body);
}

/* Whom it is shown to is the old primary's last word, for a LUN that is there already as well. */
static void apply_lun(struct webadmin *admin, const char *iqn, json_t *lun, const json_t *access)
{
	struct volume *volume = volume_of(admin, lun);
	const char *uuid = json_string_value(json_object_get(lun, "volume"));
	json_t *number = json_object_get(lun, "lun");
	struct model_target *target = model_target_find(&admin->model, iqn);
	const struct model_lun *here =
	    target ? model_lun_find(target, (unsigned)json_integer_value(number)) : NULL;
	json_t *hosts = volume ? access_mask(access, iqn, uuid) : NULL;
	char path[SCSI_NAME_MAX + 64];

	if (volume && here && memcmp(here->volume, volume->identity.uuid, 16) == 0) {
		snprintf(path, sizeof path, "/api/v1/targets/%s/luns/%u/hosts", iqn, here->lun);
		if (hosts)
			replica_call(admin, "PUT", path, json_pack("{s:O}", "hosts", hosts));
	} else if (volume) {
		snprintf(path, sizeof path, "/api/v1/targets/%s/luns", iqn);
		call(admin,
		     json_pack("{s:s,s:s,s:O,s:O*,s:O*,s:O*}", "pool", pool_name(volume->pool),
			       "volume", volume->name, "lun", number, "read_only",
			       json_object_get(lun, "read_only"), "type",
			       json_object_get(lun, "type"), "hosts", hosts),
		     path);
	}
	json_decref(hosts);
	volume_unref(volume);
}

static void apply_target(struct webadmin *admin, json_t *target, const json_t *access)
{
	const char *iqn = json_string_value(json_object_get(target, "iqn"));
	char path[SCSI_NAME_MAX + 64];
	json_t *item;
	size_t index;

	if (!iqn || strlen(iqn) > SCSI_NAME_MAX)
		return;
	call(admin, json_pack("{s:s,s:O}", "iqn", iqn, "alias", json_object_get(target, "alias")),
	     "/api/v1/targets");
	json_array_foreach(json_object_get(target, "luns"), index, item)
	    apply_lun(admin, iqn, item, access);
	if (access_apply_rules(admin, access, iqn, json_object_get(target, "luns")))
		return;
	snprintf(path, sizeof path, "/api/v1/targets/%s/rules", iqn);
	json_array_foreach(json_object_get(target, "rules"), index, item)
	    call(admin, json_incref(item), path);
}

static bool names_client(const json_t *rules, const char *client)
{
	json_t *rule;
	size_t index;

	json_array_foreach((json_t *)rules, index, rule)
	{
		const char *other = json_string_value(json_object_get(rule, "client"));

		if (other && strcmp(other, client) == 0)
			return true;
	}
	return false;
}

/* The rules become those of the old primary: one that was taken away there lets nobody in here. */
static void apply_share_rules(struct webadmin *admin, const struct volume *volume,
			      const json_t *rules)
{
	struct model_share *share = model_share_of_volume(&admin->model, volume->identity.uuid);
	char path[POOL_NAME_MAX + VOLUME_NAME_MAX + 32];
	json_t *rule;
	size_t index;

	if (!json_is_array(rules)) /* a primary of before */
		return;
	snprintf(path, sizeof path, "/api/v1/shares/%s/%s/rules", pool_name(volume->pool),
		 volume->name);
	json_array_foreach((json_t *)rules, index, rule) call(admin, json_incref(rule), path);
	/* From the last one: a call may take its rule away at once, and those behind it move. */
	for (unsigned i = share ? share->rule_count : 0; i-- > 0;) {
		if (names_client(rules, share->rules[i].client))
			continue;
		replica_call(admin, "DELETE", path,
			     json_pack("{s:s}", "client", share->rules[i].client));
	}
}

static void apply_share(struct webadmin *admin, const json_t *share)
{
	struct volume *volume = volume_of(admin, share);

	if (volume) {
		call(admin,
		     json_pack("{s:s,s:s}", "pool", pool_name(volume->pool), "name", volume->name),
		     "/api/v1/shares/import");
		apply_share_rules(admin, volume, json_object_get(share, "rules"));
	}
	volume_unref(volume);
}

/* Does @exports show @lun at @iqn? */
static bool names_lun(const json_t *exports, const char *iqn, const struct model_lun *lun)
{
	json_t *target, *item;
	char uuid[33];
	size_t i, j;

	uuid_write(lun->volume, uuid);
	json_array_foreach(json_object_get(exports, "targets"), i, target)
	{
		const char *name = json_string_value(json_object_get(target, "iqn"));

		if (!name || strcmp(name, iqn) != 0)
			continue;
		json_array_foreach(json_object_get(target, "luns"), j, item)
		{
			const char *volume = json_string_value(json_object_get(item, "volume"));

			if (volume && strcmp(volume, uuid) == 0 &&
			    json_integer_value(json_object_get(item, "lun")) == lun->lun)
				return true;
		}
	}
	return false;
}

/* What the old primary did not show any more is not shown again because this node once did. */
static void unmap_others(struct webadmin *admin, const json_t *exports, const uint8_t (*uuids)[16],
			 unsigned count)
{
	char path[SCSI_NAME_MAX + 64];

	if (!json_is_array(json_object_get(exports, "targets")))
		return;
	list_for_each (it, &admin->model.targets) {
		struct model_target *target = list_entry(it, struct model_target, link);

		list_for_each_safe (at, &target->luns) {
			const struct model_lun *lun = list_entry(at, struct model_lun, link);

			if (!replica_lists(uuids, count, lun->volume) ||
			    names_lun(exports, target->iqn, lun))
				continue;
			snprintf(path, sizeof path, "/api/v1/targets/%s/luns/%u", target->iqn,
				 lun->lun);
			replica_call(admin, "DELETE", path, NULL);
		}
	}
}

static void make_exports(struct replica_batch *batch)
{
	json_t *exports = batch->exports, *access = batch->access, *item;
	struct webadmin *admin = batch->admin;
	size_t index;

	batch->exports = batch->access = NULL;
	batch->left = 1;
	admin->replica_batch = batch;
	access_apply_hosts(admin, access);
	json_array_foreach(json_object_get(exports, "targets"), index, item)
	    apply_target(admin, item, access);
	json_array_foreach(json_object_get(exports, "shares"), index, item)
	    apply_share(admin, item);
	json_decref(exports);
	json_decref(access);
	batch_leave(batch);
}

static void host_exports_apply(void *context, const json_t *exports, const json_t *access,
			       const uint8_t (*uuids)[16], unsigned count,
			       void (*done)(void *waiting, int result), void *waiting)
{
	struct replica_batch *batch = heap_zalloc(sizeof *batch);
	struct webadmin *admin = context;
	/* Kept while numbers become free. Rules may be known alone. */
	json_t *kept = exports ? json_incref((json_t *)exports) : json_object();

	if (!batch || !kept) {
		json_decref(kept);
		heap_free(batch);
		done(waiting, -EAGAIN);
		return;
	}
	*batch = (struct replica_batch){.admin = admin,
					.left = 1,
					.exports = kept,
					.access = json_incref((json_t *)access),
					.done = done,
					.waiting = waiting};
	admin->replica_batch = batch;
	unmap_others(admin, exports, uuids, count);
	batch_leave(batch);
}

static void host_serving_changed(void *context)
{
	webadmin_follow_shares(context);
}

static bool host_settled(void *context, const uint8_t (*uuids)[16], unsigned count)
{
	struct webadmin *admin = context;
	bool settled = admin->replica_calls == 0;

	for (unsigned i = 0; i < count && settled; i++) {
		const struct model_share *share = model_share_of_volume(&admin->model, uuids[i]);

		settled = !share || webadmin_share_settled(share);
	}
	return settled;
}

/* A change of the daemon's own: its line in the audit log. */
static void host_promoted(void *context, const char *group)
{
	const struct identity self = {.role = ROLE_ADMIN, .name = "granaryd"};
	struct webadmin *admin = context;
	char path[128];

	snprintf(path, sizeof path, "/api/v1/replica/groups/%s", group);
	audit_add(admin->access, &self, "PROMOTE", path, 200, NULL);
}

int replica_create(struct webadmin *admin, struct err *err)
{
	struct replication_options options = {
	    .loop = admin->options.control,
	    .state_dir = admin->options.state_dir,
	    .host = {.pool = host_pool,
		     .volume = host_volume,
		     .exports = host_exports,
		     .access = access_describe,
		     .access_check = access_check,
		     .seal = access_seal,
		     .unseal = access_unseal,
		     .reserve = access_reserve,
		     .exports_apply = host_exports_apply,
		     .serving_changed = host_serving_changed,
		     .settled = host_settled,
		     .promoted = host_promoted,
		     .context = admin},
	};

	return replication_create(&options, &admin->replication, err);
}

int webadmin_listen_replication(struct webadmin *admin, const char *address, uint16_t port,
				uint16_t *ret_port, struct err *err)
{
	return replication_listen(admin->replication, address, port, ret_port, err);
}
