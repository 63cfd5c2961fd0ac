/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "shares/host_directory.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/directory.h"
#include "webadmin/export.h"
#include "webadmin/share.h"

/* Directories of this machine, exported read-only. Whoever may do this may show others what is in
 * those directories, whosever files they are: that is the administrator's, below what the one said
 * who starts the daemon. */

static struct model_directory *find_directory(struct api_request *request)
{
	struct model_directory *directory =
	    model_directory_find(request->model, request->match.param[0]);

	if (!directory)
		api_reply_error(request, 404, "directory_not_found", "no directory named %s",
				request->match.param[0]);
	return directory;
}

void api_directory_list(struct api_request *request)
{
	json_t *list = json_array();

	list_for_each (it, &request->model->directories) {
		const struct model_directory *directory =
		    list_entry(it, struct model_directory, link);

		if (!directory->hidden)
			json_array_append_new(list, show_directory(directory));
	}
	api_reply(request, 200, list);
}

void api_directory_show(struct api_request *request)
{
	struct model_directory *directory = find_directory(request);

	if (directory)
		api_reply(request, 200, show_directory(directory));
}

/* ---- create: looked at -> recorded -> served ---- */
struct create {
	struct api_request *request;
	struct model_directory *directory; /* hidden until it is recorded */
	struct directory_look *look;
	struct timer limit;
};

/* What is in the model and was not recorded goes again. */
static void create_undo(struct create *create)
{
	model_directory_remove(create->directory);
	create->directory = NULL;
}

static int record(struct create *create, struct err *err)
{
	struct config *config = create->request->admin->options.config;
	int result = config_begin(config, err);

	return result < 0 ? result : store_add_directory(config, create->directory, err);
}

static void created(struct create *create)
{
	struct api_request *request = create->request;
	struct model_directory *directory = create->directory;

	directory->hidden = false;
	directory->reason[0] = '\0';
	directory_serve(request->admin, directory);
	log_notice("directory %s: %s is served, read-only", directory->name, directory->path);
	api_reply(request, 201, show_directory(directory));
}

static void create_looked(struct directory_look *look, int result, struct err *err)
{
	struct create *create = look->context;
	struct api_request *request = create->request;
	json_t *after;

	timer_stop(&create->limit);
	if (result < 0) {
		create_undo(create);
		api_reply_error(request, 422, "directory_unusable", "%s", err->text);
		return;
	}
	create->directory->vfs = look->vfs;
	if (record(create, &request->err) < 0) {
		create_undo(create);
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		create->directory->reason[0] = '\0';
		after = show_directory(create->directory);
		create_undo(create);
		api_reply_dry(
		    request,
		    json_sprintf("directory %s", json_string_value(json_object_get(after, "name"))),
		    json_object(), after);
		return;
	}
	if (config_commit(request->admin->options.config, &request->err) < 0) {
		create_undo(create);
		api_reply_failure(request, NULL);
		return;
	}
	created(create);
}

static void create_silent(struct timer *timer)
{
	struct create *create = container_of(timer, struct create, limit);
	struct api_request *request = create->request;

	directory_look_leave(create->look);
	create_undo(create);
	api_reply_error(request, 503, "directory_silent",
			"its disk does not answer; nothing was changed");
}

/* False: it has been answered. */
static bool create_good(struct api_request *request, const char *name, const char *path)
{
	unsigned count = 0;

	if (volume_name_check(name, &request->err) < 0) {
		api_reply_failure(request, "bad_name");
		return false;
	}
	if (host_directory_check_path(path, &request->err) < 0) {
		api_reply_failure(request, "bad_path");
		return false;
	}
	list_for_each (it, &request->model->directories) {
		const struct model_directory *other = list_entry(it, struct model_directory, link);

		count++;
		if (strcmp(other->name, name) == 0 || strcmp(other->path, path) == 0) {
			api_reply_error(request, 409, "directory_exists",
					"there is a directory %s: %s", other->name, other->path);
			return false;
		}
	}
	list_for_each (it, &request->model->shares) {
		const struct model_share *share = list_entry(it, struct model_share, link);

		if (strcmp(share->name, name) == 0) {
			api_reply_error(request, 409, "share_exists",
					"/%s would be the export of share %s/%s too", name,
					share->pool, share->name);
			return false;
		}
	}
	if (count < DIRECTORIES_MAX)
		return true;
	api_reply_error(request, 409, "too_many_directories", "there are %u directories",
			DIRECTORIES_MAX);
	return false;
}

void api_directory_create(struct api_request *request)
{
	const char *name, *path;
	json_t *list = NULL;
	unsigned versions = NFS_VERSIONS_ALL;
	struct loop *loop = request->admin->options.control;
	struct create *create;

	if (!api_unpack(request, "{s:s,s:s,s?:o}", "name", &name, "path", &path, "versions",
			&list) ||
	    (list && !export_read_versions(request, list, &versions)) ||
	    !create_good(request, name, path))
		return;
	if (!request->admin->options.directory_count) {
		api_reply_error(request, 409, "directories_off",
				"no directory of this machine may be exported: granaryd was "
				"started without --directories-in");
		return;
	}
	create = request->state = heap_zalloc(sizeof *create);
	if (create)
		create->directory = model_directory_add(request->model, name, path);
	if (!create || !create->directory) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	create->request = request;
	create->directory->hidden = true;
	create->directory->versions = versions;
	loop_random(loop, create->directory->uuid, sizeof create->directory->uuid);
	loop_random(loop, create->directory->secret, sizeof create->directory->secret);
	create->look = directory_look(request->admin, create->directory, NULL, create_looked,
				      create, &request->err);
	if (!create->look) {
		create_undo(create);
		api_reply_error(request, 503, "no_memory", "%s", request->err.text);
		return;
	}
	timer_init(&create->limit, loop, create_silent);
	timer_start(&create->limit, DIRECTORY_SILENCE_NS);
}

/* ---- change, delete ---- */
static void reply_dry_versions(struct api_request *request, struct model_directory *directory,
			       unsigned versions)
{
	unsigned before = directory->versions;
	json_t *was = show_directory(directory), *will;

	directory->versions = versions;
	will = show_directory(directory);
	directory->versions = before;
	api_reply_dry(request, json_sprintf("directory %s", directory->name), was, will);
}

void api_directory_change(struct api_request *request)
{
	struct model_directory *directory = find_directory(request);
	json_t *list;
	unsigned versions;

	if (!directory || !api_unpack(request, "{s:o}", "versions", &list) ||
	    !export_read_versions(request, list, &versions))
		return;
	if (api_is_dry(request)) {
		reply_dry_versions(request, directory, versions);
		return;
	}
	if (directory_set_versions(request->admin, directory, versions, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("directory %s: its versions of NFS have changed", directory->name);
	api_reply(request, 200, show_directory(directory));
}

void api_directory_delete(struct api_request *request)
{
	struct model_directory *directory = find_directory(request);
	json_t *answer;

	if (!directory)
		return;
	if (api_is_dry(request)) {
		api_reply_dry(request, json_sprintf("directory %s", directory->name),
			      show_directory(directory), json_object());
		return;
	}
	if (directory_export_stop(request->admin, directory, &request->err) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("directory %s: %s is served no more", directory->name, directory->path);
	answer = json_pack("{s:s,s:s}", "name", directory->name, "path", directory->path);
	directory_unserve(directory);
	model_directory_remove(directory);
	api_reply(request, 200, answer);
}

/* ---- who may use it ---- */
static json_t *directory_rules(struct webadmin *admin, const struct model_directory *directory)
{
	return show_rules_of(admin, directory->rules, directory->rule_count);
}

void api_directory_rules(struct api_request *request)
{
	struct model_directory *directory = find_directory(request);

	if (directory)
		api_reply(request, 200, directory_rules(request->admin, directory));
}

/* @rules (heap) become the directory's, or are shown. False: it has been answered. */
static bool set_rules(struct api_request *request, struct model_directory *directory,
		      struct nfs_rule *rules, unsigned count)
{
	struct webadmin *admin = request->admin;
	bool dry = api_is_dry(request);
	int result = dry ? directory_prepare_rules(admin, directory, rules, count, &request->err)
			 : directory_set_rules(admin, directory, rules, count, &request->err);

	if (result == 0 && !dry)
		return true;
	if (result < 0)
		api_reply_failure(request, NULL);
	else
		api_reply_dry(request, json_sprintf("directory %s", directory->name),
			      json_pack("{s:o}", "rules", directory_rules(NULL, directory)),
			      json_pack("{s:o}", "rules", show_rules_of(NULL, rules, count)));
	heap_free(rules);
	return false;
}

void api_directory_allow(struct api_request *request)
{
	struct model_directory *directory = find_directory(request);
	struct nfs_rule rule, *rules;
	unsigned count;

	if (!directory || !export_read_rule(request, &rule))
		return;
	rule.read_only = true;
	rules =
	    export_without(request, directory->rules, directory->rule_count, rule.client, &count);
	if (!rules)
		return;
	if (count == NFS_RULES_MAX) {
		heap_free(rules);
		api_reply_error(request, 409, "too_many_rules", "a directory has at most %u rules",
				NFS_RULES_MAX);
		return;
	}
	rules[count++] = rule;
	if (!set_rules(request, directory, rules, count))
		return;
	log_notice("directory %s: %s may read it", directory->name, rule.client);
	api_reply(request, 201, directory_rules(request->admin, directory));
}

void api_directory_deny(struct api_request *request)
{
	struct model_directory *directory = find_directory(request);
	const char *client;
	struct nfs_rule *rules;
	unsigned count;

	if (!directory || !api_unpack(request, "{s:s}", "client", &client))
		return;
	rules = export_without(request, directory->rules, directory->rule_count, client, &count);
	if (!rules)
		return;
	if (count == directory->rule_count) {
		heap_free(rules);
		api_reply_error(request, 404, "rule_not_found", "directory %s has no rule for %s",
				directory->name, client);
		return;
	}
	if (!set_rules(request, directory, rules, count))
		return;
	log_notice("directory %s: the rule for %s is gone", directory->name, client);
	api_reply(request, 200, directory_rules(request->admin, directory));
}

void api_directory_explain(struct api_request *request)
{
	struct model_directory *directory = find_directory(request);

	if (directory)
		export_explain(request,
			       &(struct exported){.name = directory->name,
						  .what = "directory",
						  .available = directory->vfs != NULL,
						  .reason = directory->reason,
						  .rules = directory->rules,
						  .rule_count = directory->rule_count,
						  .versions = directory->versions},
			       request->match.param[1]);
}
