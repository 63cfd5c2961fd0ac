/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/directory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/export.h"
#include "webadmin/secret.h"

#define SECRET_KIND "directory"

/* ---- the model ---- */
struct model_directory *model_directory_add(struct model *model, const char *name, const char *path)
{
	struct model_directory *directory = heap_zalloc(sizeof *directory);
	struct list *before = model->directories.next;

	if (!directory || !(directory->path = heap_strdup(path))) {
		heap_free(directory);
		return NULL;
	}
	snprintf(directory->name, sizeof directory->name, "%s", name);
	snprintf(directory->reason, sizeof directory->reason, "not opened yet");
	directory->versions = NFS_VERSIONS_ALL;
	while (before != &model->directories &&
	       strcmp(list_entry(before, struct model_directory, link)->name, name) < 0)
		before = before->next;
	list_push_back(before, &directory->link);
	return directory;
}

struct model_directory *model_directory_find(struct model *model, const char *name)
{
	list_for_each (it, &model->directories) {
		struct model_directory *directory = list_entry(it, struct model_directory, link);

		if (!directory->hidden && strcmp(directory->name, name) == 0)
			return directory;
	}
	return NULL;
}

void model_directory_remove(struct model_directory *directory)
{
	if (!directory)
		return;
	list_remove(&directory->link);
	vfs_unref(directory->vfs);
	explicit_bzero(directory->secret, sizeof directory->secret);
	heap_free(directory->rules);
	heap_free(directory->path);
	heap_free(directory);
}

bool model_directory_is_silent(const struct model_directory *directory)
{
	return directory->look && loop_now(directory->admin->options.control) >
				      directory->look_began_ns + DIRECTORY_SILENCE_NS;
}

/* ---- live ---- */
/* What is served of it is @vfs from now on, which is the directory's. */
static void serve(struct model_directory *directory, struct vfs *vfs)
{
	struct vfs *before = directory->vfs;
	struct err err = {0};

	directory->vfs = vfs;
	if (export_apply(directory->admin, NULL, NULL, NULL, &err) < 0)
		log_error("exports: %s", err.text);
	vfs_unref(before); /* clients' last requests have references of their own */
}

/* Nothing is known of the directory by this: it is a matter of the machine's, and of the moment. */
static bool is_ours(int result)
{
	return result == -ENOMEM || result == -EMFILE || result == -ENFILE || result == -EAGAIN;
}

static void look_again(struct timer *timer);

static void looked(struct directory_look *look, int result, struct err *err)
{
	struct model_directory *directory = look->context;

	directory->look = NULL;
	timer_start(&directory->next, DIRECTORY_LOOK_NS);
	if (result == 0 && look->vfs) {
		log_notice("directory %s: %s is served", directory->name, directory->path);
		directory->reason[0] = '\0';
		serve(directory, look->vfs);
	} else if (result < 0 && !(directory->vfs && is_ours(result))) {
		if (strcmp(directory->reason, err->text) != 0)
			log_warning("directory %s is not served: %s", directory->name, err->text);
		snprintf(directory->reason, sizeof directory->reason, "%s", err->text);
		if (directory->vfs)
			serve(directory, NULL);
	}
}

static void look_now(struct model_directory *directory)
{
	struct err err = {0};

	directory->look_began_ns = loop_now(directory->admin->options.control);
	directory->look =
	    directory_look(directory->admin, directory, directory->vfs, looked, directory, &err);
	if (directory->look)
		return;
	if (!directory->vfs)
		snprintf(directory->reason, sizeof directory->reason, "%s", err.text);
	timer_start(&directory->next, DIRECTORY_LOOK_NS);
}

static void look_again(struct timer *timer)
{
	look_now(container_of(timer, struct model_directory, next));
}

void directory_serve(struct webadmin *admin, struct model_directory *directory)
{
	directory->admin = admin;
	timer_init(&directory->next, admin->options.control, look_again);
	if (directory->vfs) /* it has just been opened */
		timer_start(&directory->next, DIRECTORY_LOOK_NS);
	else
		look_now(directory);
}

void directory_unserve(struct model_directory *directory)
{
	if (directory->admin)
		timer_stop(&directory->next);
	if (directory->look)
		directory_look_leave(directory->look);
	directory->look = NULL;
}

void directories_start(struct webadmin *admin)
{
	list_for_each (it, &admin->model.directories)
		directory_serve(admin, list_entry(it, struct model_directory, link));
}

void directories_stop(struct webadmin *admin)
{
	list_for_each (it, &admin->model.directories)
		directory_unserve(list_entry(it, struct model_directory, link));
}

/* ---- the store ---- */
static int load_secret(struct config_statement *statement, struct model_directory *directory)
{
	uint8_t plain[SECRET_MAX + 1];
	unsigned length = 0;
	int sealed_length;
	const void *sealed = config_blob(statement, 3, &sealed_length);

	if (!sealed || sealed_length < 0)
		return -EINVAL;
	if (secret_unseal(sealed, (unsigned)sealed_length, directory->name, SECRET_KIND, plain,
			  &length) &&
	    length == sizeof directory->secret) {
		memcpy(directory->secret, plain, length);
	} else {
		/* Another machine's key: what clients have of that one's is stale here, then. */
		log_warning("directory %s: its secret can not be opened with secret.key: handles "
			    "that clients have are stale",
			    directory->name);
		secret_impossible(plain, &length);
		memcpy(directory->secret, plain, sizeof directory->secret);
	}
	explicit_bzero(plain, sizeof plain);
	return 0;
}

/* name, path, uuid, secret, versions */
static int load_directory(struct config_statement *statement, struct model *model)
{
	struct model_directory *directory =
	    model_directory_add(model, config_text(statement, 0), config_text(statement, 1));
	int64_t versions = config_number(statement, 4);
	int length;
	const void *uuid = config_blob(statement, 2, &length);

	if (!directory)
		return -ENOMEM;
	if (!uuid || length != 16 || versions <= 0 || versions & ~(int64_t)NFS_VERSIONS_ALL)
		return -EINVAL;
	memcpy(directory->uuid, uuid, 16);
	directory->versions = (unsigned)versions;
	return load_secret(statement, directory);
}

/* directory, client, insecure, squash, anon_uid, anon_gid, security */
static int load_rule(struct config_statement *statement, struct model *model)
{
	struct model_directory *directory = model_directory_find(model, config_text(statement, 0));
	struct nfs_rule *rules, *rule;

	if (!directory || directory->rule_count == NFS_RULES_MAX)
		return -EINVAL;
	rules = heap_resize(directory->rules, (directory->rule_count + 1) * sizeof *rules);
	if (!rules)
		return -ENOMEM;
	directory->rules = rules;
	rule = &rules[directory->rule_count++];
	*rule = (struct nfs_rule){
	    .read_only = true,
	    .insecure = config_number(statement, 2) != 0,
	    .squash = (enum nfs_squash)config_number(statement, 3),
	    .anon_uid = (uint32_t)config_number(statement, 4),
	    .anon_gid = (uint32_t)config_number(statement, 5),
	    .security = (enum nfs_security)config_number(statement, 6),
	};
	snprintf(rule->client, sizeof rule->client, "%s", config_text(statement, 1));
	return rule->squash > NFS_NO_ROOT_SQUASH || rule->security > NFS_SECURITY_MTLS ? -EINVAL
										       : 0;
}

static int each_row(struct config *config, struct model *model, const char *sql,
		    int (*row)(struct config_statement *statement, struct model *model),
		    struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		result = row(statement, model);
		if (result < 0) {
			err_set(err, result, "configuration: %s",
				result == -ENOMEM ? "out of memory"
						  : "a directory's row makes no sense");
			break;
		}
	}
	config_finish(statement);
	return result < 0 ? result : 0;
}

int directories_load(struct config *config, struct model *model, struct err *err)
{
	int result =
	    each_row(config, model, "select name, path, uuid, secret, versions from directory",
		     load_directory, err);

	if (result < 0)
		return result;
	return each_row(config, model,
			"select directory, client, insecure, squash, anon_uid, anon_gid, security"
			" from directory_rule order by directory, position",
			load_rule, err);
}

int store_add_directory(struct config *config, const struct model_directory *directory,
			struct err *err)
{
	uint8_t sealed[SECRET_SEALED];
	int length = secret_seal(directory->secret, sizeof directory->secret, directory->name,
				 SECRET_KIND, sealed);
	struct config_statement *statement;
	int result;

	if (length <= 0)
		return err_set(err, -EIO, "a secret can not be encrypted");
	result = config_prepare(
	    config,
	    "insert into directory(name, path, uuid, secret, versions) values(?, ?, ?, ?, ?)",
	    &statement, err);
	if (result < 0)
		return result;
	config_bind_text(statement, 1, directory->name);
	config_bind_text(statement, 2, directory->path);
	config_bind_blob(statement, 3, directory->uuid, 16);
	config_bind_blob(statement, 4, sealed, length);
	config_bind_number(statement, 5, directory->versions);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_set_directory_versions(struct config *config, const struct model_directory *directory,
				 unsigned versions, struct err *err)
{
	return config_run(config, err, "update directory set versions = ? where name = ?", "is",
			  (int)versions, directory->name);
}

int store_remove_directory(struct config *config, const char *name, struct err *err)
{
	return config_run(config, err, "delete from directory where name = ?", "s", name);
}

static int store_rule(struct config *config, const char *name, unsigned position,
		      const struct nfs_rule *rule, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert into directory_rule(directory, position, client, insecure, squash, anon_uid,"
	    " anon_gid, security) values(?, ?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, name);
	config_bind_number(statement, 2, position);
	config_bind_text(statement, 3, rule->client);
	config_bind_number(statement, 4, rule->insecure);
	config_bind_number(statement, 5, rule->squash);
	config_bind_number(statement, 6, rule->anon_uid);
	config_bind_number(statement, 7, rule->anon_gid);
	config_bind_number(statement, 8, rule->security);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_set_directory_rules(struct config *config, const struct model_directory *directory,
			      const struct nfs_rule *rules, unsigned count, struct err *err)
{
	int result = config_run(config, err, "delete from directory_rule where directory = ?", "s",
				directory->name);

	for (unsigned i = 0; result == 0 && i < count; i++)
		result = store_rule(config, directory->name, i, &rules[i], err);
	return result;
}

/* ---- JSON ---- */
json_t *show_directory(const struct model_directory *directory)
{
	bool silent = model_directory_is_silent(directory);

	return json_pack("{s:s,s:s,s:s,s:s,s:o}", "name", directory->name, "path", directory->path,
			 "state", directory->vfs ? "online" : "unavailable", "reason",
			 silent ? "its disk does not answer" : directory->reason, "versions",
			 show_share_versions(directory->versions));
}
