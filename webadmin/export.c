/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/export.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"

static const char *const squashes[] = {
    [NFS_ROOT_SQUASH] = "root", [NFS_ALL_SQUASH] = "all", [NFS_NO_ROOT_SQUASH] = "none"};
static const char *const securities[] = {
    [NFS_SECURITY_ANY] = "any", [NFS_SECURITY_TLS] = "tls", [NFS_SECURITY_MTLS] = "mtls"};

const char *export_show_security(enum nfs_security security)
{
	return securities[security];
}

bool export_read_security(const char *text, enum nfs_security *ret_security)
{
	for (unsigned i = 0; i < sizeof securities / sizeof *securities; i++)
		if (strcmp(text, securities[i]) == 0) {
			*ret_security = (enum nfs_security)i;
			return true;
		}
	return false;
}

/* ---- to the server */

struct export_list {
	struct nfs_share *shares;
	char (*paths)[VOLUME_NAME_MAX + 2];
	unsigned count;
};

static bool is_exported(const struct model_share *share, const struct model_share *without)
{
	return share != without && !share->deleting && share->rule_count > 0 &&
	       (share->vfs || share->away);
}

static int collect(struct model *model, const struct model_share *without, struct export_list *list)
{
	unsigned room = 1;

	list_for_each (it, &model->shares)
		room++;
	list->shares = heap_zalloc_array(room, sizeof *list->shares);
	list->paths = heap_zalloc_array(room, sizeof *list->paths);
	if (!list->shares || !list->paths)
		return -ENOMEM;
	list_for_each (it, &model->shares) {
		struct model_share *share = list_entry(it, struct model_share, link);
		unsigned at = list->count;

		if (!is_exported(share, without))
			continue;
		snprintf(list->paths[at], sizeof list->paths[at], "/%s", share->name);
		list->shares[at] = (struct nfs_share){
		    .path = list->paths[at],
		    .vfs = share->away ? NULL : share->vfs,
		    .rules = share->rules,
		    .rule_count = share->rule_count,
		    .versions = share->versions,
		};
		list->count++;
	}
	return 0;
}

int export_apply(struct webadmin *admin, const struct model_share *without,
		 void (*gone)(void *context), void *context, struct err *err)
{
	struct export_list list = {0};
	int result;

	if (!admin->options.nfs) {
		if (gone)
			gone(context);
		return 0;
	}
	result = collect(&admin->model, without, &list);
	if (result < 0)
		err_set(err, result, "no memory for exports");
	else
		result =
		    nfs_shares_set(admin->options.nfs, list.shares, list.count, gone, context, err);
	heap_free(list.shares);
	heap_free(list.paths);
	return result;
}

/* ---- the store */

static int store_one(struct config *config, const struct model_share *share, unsigned position,
		     const struct nfs_rule *rule, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert into share_rule(volume, position, client, read_only, insecure, squash,"
	    " anon_uid, anon_gid, security) values(?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, share->volume, 16);
	config_bind_number(statement, 2, position);
	config_bind_text(statement, 3, rule->client);
	config_bind_number(statement, 4, rule->read_only);
	config_bind_number(statement, 5, rule->insecure);
	config_bind_number(statement, 6, rule->squash);
	config_bind_number(statement, 7, rule->anon_uid);
	config_bind_number(statement, 8, rule->anon_gid);
	config_bind_number(statement, 9, rule->security);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int export_store_rules(struct config *config, const struct model_share *share,
		       const struct nfs_rule *rules, unsigned count, struct err *err)
{
	struct config_statement *statement;
	int result =
	    config_prepare(config, "delete from share_rule where volume = ?", &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, share->volume, 16);
	result = config_step(statement, err);
	config_finish(statement);
	for (unsigned i = 0; result >= 0 && i < count; i++)
		result = store_one(config, share, i, &rules[i], err);
	return result < 0 ? result : 0;
}

/* volume, client, read_only, insecure, squash, anon_uid, anon_gid, security */
int store_load_share_rule(struct config_statement *statement, struct model *model)
{
	struct model_share *share;
	struct nfs_rule *rules;
	int length;
	const void *volume = config_blob(statement, 0, &length);

	share = volume && length == 16 ? model_share_of_volume(model, volume) : NULL;
	if (!share || share->rule_count == NFS_RULES_MAX)
		return -EINVAL;
	rules = heap_resize(share->rules, (share->rule_count + 1) * sizeof *rules);
	if (!rules)
		return -ENOMEM;
	share->rules = rules;
	rules += share->rule_count++;
	*rules = (struct nfs_rule){
	    .read_only = config_number(statement, 2) != 0,
	    .insecure = config_number(statement, 3) != 0,
	    .squash = (enum nfs_squash)config_number(statement, 4),
	    .anon_uid = (uint32_t)config_number(statement, 5),
	    .anon_gid = (uint32_t)config_number(statement, 6),
	    .security = (enum nfs_security)config_number(statement, 7),
	};
	snprintf(rules->client, sizeof rules->client, "%s", config_text(statement, 1));
	return rules->squash > NFS_NO_ROOT_SQUASH || rules->security > NFS_SECURITY_MTLS ? -EINVAL
											 : 0;
}

/* ---- both */

int export_check_name(struct model *model, const struct model_share *share, struct err *err)
{
	list_for_each (it, &model->shares) {
		const struct model_share *other = list_entry(it, struct model_share, link);

		if (other != share && other->rule_count && strcmp(other->name, share->name) == 0)
			return err_set(err, -EEXIST, "/%s is the export of share %s/%s",
				       share->name, other->pool, other->name);
	}
	return 0;
}

int export_prepare_rules(struct webadmin *admin, const struct model_share *share,
			 const struct nfs_rule *rules, unsigned count, struct err *err)
{
	struct config *config = admin->options.config;
	int result = count ? export_check_name(&admin->model, share, err) : 0;

	if (result == 0)
		result = config_begin(config, err);
	if (result == 0)
		result = export_store_rules(config, share, rules, count, err);
	if (result < 0)
		config_abort(config);
	return result;
}

int export_set_rules(struct webadmin *admin, struct model_share *share, struct nfs_rule *rules,
		     unsigned count, struct err *err)
{
	struct config *config = admin->options.config;
	struct nfs_rule *before = share->rules;
	unsigned before_count = share->rule_count;
	struct err put_back = {0};
	int result = export_prepare_rules(admin, share, rules, count, err);

	if (result < 0)
		return result;
	share->rules = rules;
	share->rule_count = count;
	result = export_apply(admin, NULL, NULL, NULL, err);
	if (result == 0)
		result = config_commit(config, err);
	else
		config_abort(config);
	if (result == 0) {
		heap_free(before);
		return 0;
	}
	share->rules = before;
	share->rule_count = before_count;
	if (export_apply(admin, NULL, NULL, NULL, &put_back) < 0)
		log_error("exports: %s", put_back.text);
	return result;
}

int export_set_versions(struct webadmin *admin, struct model_share *share, unsigned versions,
			bool dry, struct err *err)
{
	struct config *config = admin->options.config;
	unsigned before = share->versions;
	struct err put_back = {0};
	int result = config_begin(config, err);

	if (result < 0)
		return result;
	result = store_set_share_versions(config, share, versions, err);
	if (dry) {
		config_abort(config);
		return result;
	}
	share->versions = versions;
	if (result == 0)
		result = export_apply(admin, NULL, NULL, NULL, err);
	if (result == 0)
		result = config_commit(config, err);
	else
		config_abort(config);
	if (result == 0)
		return 0;
	share->versions = before;
	if (export_apply(admin, NULL, NULL, NULL, &put_back) < 0)
		log_error("exports: %s", put_back.text);
	return result;
}

static const struct {
	const char *name;
	unsigned version;
} versions_by_name[] = {{"3", NFS_VERSION_3},
			{"4.0", NFS_VERSION_4_0},
			{"4.1", NFS_VERSION_4_1},
			{"4.2", NFS_VERSION_4_2}};
#define VERSION_COUNT (sizeof versions_by_name / sizeof *versions_by_name)

json_t *show_share_versions(unsigned versions)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < VERSION_COUNT; i++)
		if (versions & versions_by_name[i].version)
			json_array_append_new(list, json_string(versions_by_name[i].name));
	return list;
}

unsigned read_share_versions(const json_t *list)
{
	unsigned versions = 0;
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)list, index, item)
	{
		const char *text = json_string_value(item);
		unsigned one = 0;

		for (unsigned i = 0; text && i < VERSION_COUNT; i++)
			if (strcmp(text, versions_by_name[i].name) == 0)
				one = versions_by_name[i].version;
		if (!one)
			return 0;
		versions |= one;
	}
	return versions;
}

/* "addresses" and "trouble" of a rule whose client is the name of a host. */
static void show_host(const struct webadmin *admin, const struct nfs_rule *rule, json_t *object)
{
	struct nfs_host host;
	json_t *list;

	if (!admin || !nfs_host(admin->options.nfs, rule->client, &host))
		return;
	list = json_array();
	for (unsigned i = 0; i < host.count; i++)
		json_array_append_new(list, json_string(host.addresses[i]));
	json_object_set_new(object, "addresses", list);
	json_object_set_new(object, "trouble",
			    json_string(host.answered ? host.trouble : "being looked up"));
}

json_t *show_share_rules(const struct webadmin *admin, const struct model_share *share)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < share->rule_count; i++) {
		const struct nfs_rule *rule = &share->rules[i];

		json_t *object = json_pack(
		    "{s:s,s:b,s:b,s:s,s:s,s:I,s:I}", "client", rule->client, "read_only",
		    rule->read_only, "insecure", rule->insecure, "squash", squashes[rule->squash],
		    "security", export_show_security(rule->security), "anon_uid",
		    (json_int_t)rule->anon_uid, "anon_gid", (json_int_t)rule->anon_gid);

		show_host(admin, rule, object);
		json_array_append_new(list, object);
	}
	return list;
}
