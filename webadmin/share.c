/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/share.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/export.h"
#include "webadmin/replica.h"

#define LEAVE_AGAIN_NS (200 * 1000000ull)

struct model_share *model_share_add(struct model *model, const char *pool, const char *name,
				    const uint8_t volume[16])
{
	struct model_share *share = heap_zalloc(sizeof *share);
	struct list *before = model->shares.next;

	if (!share)
		return NULL;
	snprintf(share->pool, sizeof share->pool, "%s", pool);
	snprintf(share->name, sizeof share->name, "%s", name);
	memcpy(share->volume, volume, 16);
	snprintf(share->reason, sizeof share->reason, "not opened yet");
	share->versions = NFS_VERSIONS_ALL;
	while (before != &model->shares &&
	       strcmp(list_entry(before, struct model_share, link)->name, name) < 0)
		before = before->next;
	list_push_back(before, &share->link);
	return share;
}

struct model_share *model_share_find(struct model *model, const char *pool, const char *name)
{
	list_for_each (it, &model->shares) {
		struct model_share *share = list_entry(it, struct model_share, link);

		if (strcmp(share->pool, pool) == 0 && strcmp(share->name, name) == 0)
			return share;
	}
	return NULL;
}

struct model_share *model_share_of_volume(struct model *model, const uint8_t volume[16])
{
	list_for_each (it, &model->shares) {
		struct model_share *share = list_entry(it, struct model_share, link);

		if (memcmp(share->volume, volume, 16) == 0)
			return share;
	}
	return NULL;
}

/* ---- the volume, where several gateways have it ---- */
static void access_changed(struct volume_watcher *watcher, struct volume *volume,
			   enum volume_change change);

static void unkeep_volume(struct model_share *share)
{
	if (share->keeps)
		volume_unkeep(share->shared);
	share->keeps = false;
}

void webadmin_share_forget_volume(struct model_share *share)
{
	unkeep_volume(share);
	if (!share->shared)
		return;
	volume_unwatch(&share->watcher);
	volume_unref(share->shared);
	share->shared = NULL;
}

/* It is heard of, and not given away before the share is closed. */
static void keep_volume(struct model_share *share, struct volume *volume)
{
	if (!volume->shared)
		return;
	if (share->shared != volume) {
		webadmin_share_forget_volume(share);
		share->shared = volume_ref(volume);
		share->watcher.changed = access_changed;
		list_init(&share->watcher.link);
		volume_watch(volume, &share->watcher);
	}
	if (!share->keeps)
		volume_keep(volume);
	share->keeps = true;
}

void model_share_remove(struct model_share *share)
{
	webadmin_share_forget_volume(share);
	list_remove(&share->link);
	heap_free(share->rules);
	heap_free(share);
}

/* ---- start and stop ---- */
static void start_share(struct webadmin *admin, struct model_share *share);
static void stop_share(struct webadmin *admin, struct model_share *share);
static void follow(struct webadmin *admin, struct model_share *share);
static void late_shares_opened(struct webadmin *admin);
static bool is_served_here(struct webadmin *admin, const struct model_share *share);
static void stay_away(struct model_share *share);

static void one_done(struct webadmin *admin)
{
	void (*done)(struct webadmin * admin) = admin->shares_done;

	if (--admin->shares_pending == 0)
		done(admin);
}

static void opened(struct share_call *call, int result)
{
	struct model_share *share = container_of(call, struct model_share, call);

	share->opening = false;
	if (result < 0) {
		snprintf(share->reason, sizeof share->reason, "%s", call->err.text);
		log_error("share %s/%s is not served: %s", share->pool, share->name, share->reason);
		unkeep_volume(share);
		share->elsewhere = share->shared && volume_standby(share->shared);
		if (!is_served_here(share->admin, share)) /* or it would not come back with it */
			stay_away(share);
		if (share->admin->shares_stopping)
			webadmin_share_forget_volume(share);
	} else {
		share->vfs = call->vfs;
		share->reason[0] = '\0';
		share_show_snapshots(share->vfs, share->snapshots);
		follow(share->admin, share); /* its group may have been handed over meanwhile */
		if (share->admin->shares_stopping)
			stop_share(share->admin, share);
	}
	one_done(share->admin);
}

static void late_work_begins(struct webadmin *admin)
{
	if (admin->shares_pending++ == 0)
		admin->shares_done = late_shares_opened;
}

/* A share has one writer: who has the volume. */
static void access_changed(struct volume_watcher *watcher, struct volume *volume,
			   enum volume_change change)
{
	struct model_share *share = container_of(watcher, struct model_share, watcher);

	if (change == VOLUME_LEAVING && !share->vfs && !share->opening && !share->deleting) {
		webadmin_share_forget_volume(share); /* deleted where it is served */
		share->away = true;
		share->elsewhere = false; /* if it stays, the next look at shares finds it */
		return;
	}
	if (change != VOLUME_ACCESS && change != VOLUME_WANTED)
		return;
	share->elsewhere = change == VOLUME_WANTED || volume_standby(volume);
	follow(share->admin, share);
}

/* ---- where it is served ---- */
static bool is_served_here(struct webadmin *admin, const struct model_share *share)
{
	struct replication_hold hold;

	return !share->elsewhere &&
	       (!replication_holds(admin->replication, share->volume, &hold) || hold.primary);
}

static void stay_away(struct model_share *share)
{
	share->away = true;
	snprintf(share->reason, sizeof share->reason, "%s",
		 share->elsewhere ? "another gateway serves it"
				  : "this node is not the primary of its replication group");
}

static void close_again(struct timer *timer);

static void left(struct share_call *call, int result)
{
	struct model_share *share = container_of(call, struct model_share, call);
	struct webadmin *admin = share->admin;

	if (result == -EBUSY) { /* a restore, a check, a local mount */
		if (admin->options.unmount)
			admin->options.unmount(share->vfs);
		timer_init(&share->retry, admin->options.control, close_again);
		timer_start(&share->retry, LEAVE_AGAIN_NS);
		return;
	}
	/* Guests' last words may not have reached the volume any more: its image is whole. */
	if (result < 0)
		log_warning("share %s/%s: %s", share->pool, share->name, call->err.text);
	share->vfs = NULL;
	share->leaving = false;
	stay_away(share);
	unkeep_volume(share);
	if (admin->shares_stopping)
		webadmin_share_forget_volume(share);
	log_notice("share %s/%s: not served here any more", share->pool, share->name);
	follow(admin, share);
	one_done(admin);
}

/* No client uses it any more. */
static void withdrawn(void *context)
{
	struct model_share *share = context;

	share->call = (struct share_call){.done = left};
	share_close(share->vfs, &share->call);
}

static void close_again(struct timer *timer)
{
	withdrawn(container_of(timer, struct model_share, retry));
}

static void withdraw(struct model_share *share);

static void withdraw_again(struct timer *timer)
{
	withdraw(container_of(timer, struct model_share, retry));
}

static void withdraw(struct model_share *share)
{
	struct webadmin *admin = share->admin;
	struct err err = {0};

	if (export_apply(admin, NULL, withdrawn, share, &err) == 0)
		return;
	timer_init(&share->retry, admin->options.control, withdraw_again);
	log_error("share %s/%s can not be withdrawn yet: %s", share->pool, share->name, err.text);
	timer_start(&share->retry, LEAVE_AGAIN_NS);
}

/* One that was opened by whomever is followed from here on. */
static void follow_volume(struct webadmin *admin, struct model_share *share)
{
	struct model_pool *pool = model_pool_find(&admin->model, share->pool);
	struct volume *volume = share->vfs && !share->keeps && pool && pool->pool
				    ? pool_find_volume(pool->pool, share->name)
				    : NULL;

	if (!volume)
		return;
	keep_volume(share, volume);
	share->elsewhere = volume_standby(volume);
	volume_unref(volume);
}

/* One step towards where the share should be; when that has ended, the next one. */
static void follow(struct webadmin *admin, struct model_share *share)
{
	bool here;

	if (share->opening || share->leaving || share->deleting || admin->shares_stopping)
		return;
	share->admin = admin;
	follow_volume(admin, share);
	here = is_served_here(admin, share);
	if (!here && share->vfs) {
		late_work_begins(admin);
		stay_away(share); /* from here on: closing asks once who uses it */
		share->leaving = true;
		withdraw(share);
	} else if (here && share->away) {
		share->away = false;
		late_work_begins(admin);
		start_share(admin, share);
		one_done(admin);
	} else if (share->elsewhere) {
		stay_away(share); /* or it would not come back with its volume */
	}
}

void webadmin_follow_shares(struct webadmin *admin)
{
	list_for_each (it, &admin->model.shares)
		follow(admin, list_entry(it, struct model_share, link));
}

bool webadmin_share_settled(const struct model_share *share)
{
	return !share->opening && !share->leaving;
}

static void start_share(struct webadmin *admin, struct model_share *share)
{
	struct model_pool *pool = model_pool_find(&admin->model, share->pool);
	struct volume *volume =
	    pool && pool->pool ? pool_find_volume(pool->pool, share->name) : NULL;

	share->admin = admin;
	if (!volume || memcmp(volume->identity.uuid, share->volume, 16) != 0) {
		snprintf(share->reason, sizeof share->reason,
			 pool && pool->pool ? "its volume is not there any more"
					    : "pool %s is not available",
			 share->pool);
		log_error("share %s/%s is not served: %s", share->pool, share->name, share->reason);
		volume_unref(volume);
		return;
	}
	keep_volume(share, volume);
	share->elsewhere = volume_standby(volume);
	if (!is_served_here(admin, share)) {
		unkeep_volume(share);
		stay_away(share);
		volume_unref(volume);
		return;
	}
	admin->shares_pending++;
	share->away = false;
	share->opening = true;
	share->call = (struct share_call){.done = opened};
	share_open(volume, admin->options.control, false, &share->call);
	volume_unref(volume); /* the open share has a reference of its own */
}

void webadmin_start_shares(struct webadmin *admin, void (*done)(struct webadmin *admin))
{
	admin->shares_done = done;
	admin->shares_pending = 1;
	list_for_each (it, &admin->model.shares)
		start_share(admin, list_entry(it, struct model_share, link));
	one_done(admin);
}

/* Whoever may use them is told after the last one is open. */
static void late_shares_opened(struct webadmin *admin)
{
	struct err err = {0};

	if (export_apply(admin, NULL, NULL, NULL, &err) < 0)
		log_error("shares are not exported: %s", err.text);
}

void webadmin_start_pool_shares(struct webadmin *admin, const char *pool)
{
	late_work_begins(admin);
	list_for_each (it, &admin->model.shares) {
		struct model_share *share = list_entry(it, struct model_share, link);

		if (!share->vfs && !share->opening && strcmp(share->pool, pool) == 0)
			start_share(admin, share);
	}
	one_done(admin);
}

static void closed(struct share_call *call, int result)
{
	struct model_share *share = container_of(call, struct model_share, call);

	if (result < 0) {
		share->admin->failures++;
		log_error("share %s/%s: %s", share->pool, share->name, call->err.text);
	}
	if (result != -EBUSY)
		share->vfs = NULL;
	webadmin_share_forget_volume(share);
	one_done(share->admin);
}

static void stop_share(struct webadmin *admin, struct model_share *share)
{
	share->admin = admin;
	admin->shares_pending++;
	share->call = (struct share_call){.done = closed};
	share_close(share->vfs, &share->call);
}

void webadmin_stop_shares(struct webadmin *admin, void (*done)(struct webadmin *admin))
{
	admin->shares_done = done;
	admin->shares_stopping = true;
	admin->shares_pending++;
	list_for_each (it, &admin->model.shares) {
		struct model_share *share = list_entry(it, struct model_share, link);

		if (share->vfs && !share->leaving)
			stop_share(admin, share);
		else if (!share->opening && !share->leaving)
			webadmin_share_forget_volume(share);
	}
	one_done(admin);
}

struct vfs *webadmin_share(struct webadmin *admin, const char *pool, const char *name,
			   struct err *err)
{
	struct model_share *share = model_share_find(&admin->model, pool, name);

	if (!share) {
		err_set(err, -ENOENT, "no share named %s/%s", pool, name);
		return NULL;
	}
	/* One that is being closed has its file system still, but not for long. */
	if (!share->vfs || share->away || share->deleting) {
		err_set(err, -EAGAIN, "share %s/%s is not available: %s", pool, name,
			share->reason);
		return NULL;
	}
	return vfs_ref(share->vfs);
}

/* ---- the store ---- */
int store_add_share(struct config *config, const struct model_share *share, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config, "insert into share(volume, pool, name, versions) values(?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, share->volume, 16);
	config_bind_text(statement, 2, share->pool);
	config_bind_text(statement, 3, share->name);
	config_bind_number(statement, 4, share->versions);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_set_share_versions(struct config *config, const struct model_share *share,
			     unsigned versions, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "update share set versions = ? where volume = ?",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_number(statement, 1, versions);
	config_bind_blob(statement, 2, share->volume, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int store_set_snapshots(struct config *config, const struct model_share *share,
			       enum share_snapshots snapshots, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "update share set snapshots = ? where volume = ?",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_number(statement, 1, snapshots);
	config_bind_blob(statement, 2, share->volume, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int share_set_snapshots(struct webadmin *admin, struct model_share *share,
			enum share_snapshots snapshots, bool dry, struct err *err)
{
	struct config *config = admin->options.config;
	int result = config_begin(config, err);

	if (result < 0)
		return result;
	result = store_set_snapshots(config, share, snapshots, err);
	if (result == 0 && !dry)
		result = config_commit(config, err);
	else
		config_abort(config);
	if (result < 0 || dry)
		return result;
	share->snapshots = snapshots;
	if (share->vfs)
		share_show_snapshots(share->vfs, snapshots);
	return 0;
}

static const char *const snapshots_by_number[] = {[SHARE_SNAPSHOTS_HIDDEN] = "hidden",
						  [SHARE_SNAPSHOTS_VISIBLE] = "visible",
						  [SHARE_SNAPSHOTS_NONE] = "none"};

bool read_share_snapshots(const char *text, enum share_snapshots *ret_snapshots)
{
	for (unsigned i = 0; i <= SHARE_SNAPSHOTS_NONE; i++) {
		if (strcmp(text, snapshots_by_number[i]) == 0) {
			*ret_snapshots = (enum share_snapshots)i;
			return true;
		}
	}
	return false;
}

int store_remove_share(struct config *config, const uint8_t volume[16], struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "delete from share where volume = ?", &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, volume, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

json_t *show_share(const struct model_share *share)
{
	struct share_info info = {0};
	const char *state = "unavailable";
	json_t *object;

	if (share->vfs) {
		share_get_info(share->vfs, &info);
		state = info.failed ? "read-only" : "online";
	}
	object = json_pack("{s:s,s:s,s:s,s:s}", "pool", share->pool, "name", share->name, "state",
			   state, "reason",
			   info.no_space ? "its pool has no space for it"
			   : info.failed ? "a write of its metadata failed"
					 : share->reason);
	if (object)
		json_object_set_new(object, "versions", show_share_versions(share->versions));
	if (object)
		json_object_set_new(object, "snapshots",
				    json_string(snapshots_by_number[share->snapshots]));
	if (!object || !share->vfs)
		return object;
	json_object_set_new(object, "mirror", json_boolean(info.mirror));
	json_object_set_new(object, "quota_bytes", json_integer((json_int_t)info.quota_bytes));
	json_object_set_new(object, "used_bytes", json_integer((json_int_t)info.used_bytes));
	json_object_set_new(object, "files", json_integer((json_int_t)info.files));
	return object;
}
