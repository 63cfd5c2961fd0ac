/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_MODEL_H
#define WEBADMIN_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"
#include "core/list.h"
#include "core/loop.h"
#include "iscsi/iscsi.h"
#include "volumes/pool.h"
#include "webadmin/expiry.h"
#include "webadmin/scrub_plan.h"
#include "webadmin/secret.h"

/* Inside webadmin/: what is configured, and beside each thing its live object or the reason why
 * there is none.
 * M1 After every request the model, the store and the live objects agree; what is in the store
 *    and has no live object says why (reason).
 * M2 The model holds no reference to a volume: the LUN map of scsi_target does.
 * M3 A LUN names its volume by UUID, so a rename does not touch it; volume_name is for people
 *    while the pool is away. */

#define MODEL_REASON_MAX    512
#define HOST_GROUP_NAME_MAX 63

struct model {
	struct iscsi_rule discovery; /* CHAP of discovery; no user: none is asked */
	struct list hosts;           /* struct model_host, by name */
	bool plain_secrets;          /* the store was read with secrets that are not sealed */
	struct list pools, targets;  /* by name */
	struct list shares;          /* share.h, by name */
	struct list directories;     /* directory.h, by name */
	struct list moves;           /* move.h */
};

struct model_pool {
	struct list link;
	char name[POOL_NAME_MAX + 1];
	uint8_t uuid[16];
	char **paths;
	unsigned path_count;
	struct pool *pool; /* NULL: not open, see reason */
	char reason[MODEL_REASON_MAX];
	struct pool_call call; /* opening and closing */
	bool busy;             /* call is under way */
	/* start.c: who opens it, and until when "in use" is tried again (loop_now() scale) */
	struct webadmin *opening;
	struct timer retry;
	uint64_t busy_limit_ns;
	bool late;          /* the start has gone on without it */
	int64_t full_hours; /* usage.h: until it is full, -1: not known */
	struct expiry expiry;
	struct list bin; /* bin.h */
	unsigned undelete_hours;
	struct scrub_plan scrub_plan;
};

struct model_lun {
	struct list link;
	unsigned lun;
	char pool[POOL_NAME_MAX + 1];
	uint8_t volume[16];
	char volume_name[VOLUME_PATH_MAX + 1];
	bool mapped;
	struct scsi_lun_mode mode;
	char (
	    *hosts)[HOST_GROUP_NAME_MAX + 1]; /* groups it is shown to (host.h); none: everybody */
	unsigned host_count;
	struct scsi_names names; /* their initiators */
	uint64_t ended;          /* commands, at the last look round */
	char reason[MODEL_REASON_MAX];
};

/* What can not be opened with the key there is, kept for the day the right one is back. */
struct model_sealed {
	uint8_t bytes[SECRET_SEALED];
	unsigned length; /* 0: it was opened */
};

struct model_rule {
	int64_t id; /* never used again on this machine */
	struct iscsi_rule rule;
	struct model_sealed chap, mutual;
};

struct model_target {
	struct list link;
	char iqn[SCSI_NAME_MAX + 1];
	char alias[SCSI_NAME_MAX + 1];
	char redirect[ISCSI_REDIRECT_MAX + 1]; /* where logins are sent; "": nowhere */
	bool async_events;                     /* sessions hear of LUNs by message */
	struct iscsi_session_limits limits;
	struct iscsi_target *live; /* NULL: see reason */
	char reason[MODEL_REASON_MAX];
	struct list luns; /* by number */
	struct model_rule *rules;
	unsigned rule_count;
};

void model_init(struct model *model);
void model_finish(struct model *model);

struct model_pool *model_pool_add(struct model *model, const char *name);
int model_pool_add_path(struct model_pool *pool, const char *path);
struct model_pool *model_pool_find(struct model *model, const char *name);
const char *model_pool_kind(const struct model_pool *pool); /* "native", "rbd", .. */
void model_pool_remove(struct model_pool *pool);            /* NULL is fine */

struct model_target *model_target_add(struct model *model, const char *iqn, const char *alias);
struct model_target *model_target_find(struct model *model, const char *iqn);
void model_target_remove(struct model_target *target);
/* model_target_swap_rules: @rules (heap) become the target's; the old secrets are wiped. */
void model_target_swap_rules(struct model_target *target, struct model_rule *rules, unsigned count);
void model_rules_free(struct model_rule *rules, unsigned count);

struct model_lun *model_lun_add(struct model_target *target, unsigned lun);
struct model_lun *model_lun_find(struct model_target *target, unsigned lun);
void model_lun_remove(struct model_lun *lun);
/* Where a volume is mapped: the next LUN after @previous (NULL first) over all targets. */
struct model_lun *model_lun_of_volume(struct model *model, const uint8_t uuid[16],
				      struct model_lun *previous, struct model_target **ret_target);

/* model_find_volume: a reference to "POOL", "NAME"; NULL with @err and a stable code in
 * *ret_code. model_pool_usable: the open pool, or NULL likewise. */
struct pool *model_pool_usable(struct model *model, const char *name, const char **ret_code,
			       struct err *err);
struct volume *model_find_volume(struct model *model, const char *pool, const char *name,
				 const char **ret_code, struct err *err);

/* Live objects. model_lun_connect: map @volume; on failure the LUN keeps the reason.
 * model_lun_check: would that be done?
 * model_target_connect: create the live target and its rules (not its LUNs). */
int model_target_connect(struct model_target *target, struct iscsi_server *iscsi, struct err *err);
int model_target_apply_rules(struct model_target *target, const struct model_rule *rules,
			     unsigned count, struct err *err);
int model_lun_check(struct model_target *target, const struct model_lun *lun, struct volume *volume,
		    struct err *err);
int model_lun_connect(struct model_target *target, struct model_lun *lun, struct volume *volume,
		      struct err *err);
/* model_target_disconnect: unmap all LUNs and destroy the live target, then done(). */
void model_target_disconnect(struct model_target *target, void (*done)(void *context),
			     void *context);

/* The store: rows. All but store_load() inside a transaction of the caller. */
const struct config_migration *store_schema(unsigned *ret_count);
int store_load(struct config *config, struct model *model, struct err *err);
/* A share that was in the bin comes back into the model as @name, with its rules; *ret_share (NULL:
 * not asked for) is the model's. Its row gets the name, in the caller's transaction. */
struct model_share;
int store_load_share_of(struct config *config, struct model *model, const uint8_t volume[16],
			const char *name, struct model_share **ret_share, struct err *err);
int store_add_pool(struct config *config, const struct model_pool *pool, struct err *err);
/* pool_paths_sync: what is kept of a pool's paths becomes what the open pool has; after a crash in
 * the middle of a change of its devices they differ, which an open does not mind. A failure is
 * logged: the next start tries again. pool_paths_add: @count more, kept before the pool itself is
 * changed. 0 or -errno, with @err. */
void pool_paths_sync(struct config *config, struct model_pool *pool);
int pool_paths_add(struct config *config, struct model_pool *pool,
		   const struct pool_device *devices, unsigned count, struct err *err);
/* The pool's devices are where @pool->paths say now. */
int store_set_pool_paths(struct config *config, const struct model_pool *pool, struct err *err);
int store_remove_pool(struct config *config, const char *name, struct err *err);
int store_add_target(struct config *config, const struct model_target *target, struct err *err);
/* What PATCH changes: redirection, asynchronous events, limits of sessions. */
int store_set_target(struct config *config, const struct model_target *target, struct err *err);
int store_remove_target(struct config *config, const char *iqn, struct err *err);
/* Replaces the target's rules; rules with id 0 are given one. */
int store_set_rules(struct config *config, const char *iqn, struct model_rule *rules,
		    unsigned count, struct err *err);
/* Every rule once more, with its secrets sealed; a transaction of its own. */
int store_seal_secrets(struct config *config, struct model *model, struct err *err);
int store_add_lun(struct config *config, const char *iqn, const struct model_lun *lun,
		  struct err *err);
int store_set_lun_mode(struct config *config, const char *iqn, const struct model_lun *lun,
		       struct err *err);
int store_remove_lun(struct config *config, const char *iqn, unsigned lun, struct err *err);
int store_rename_volume(struct config *config, const uint8_t uuid[16], const char *name,
			struct err *err);

/* api_discovery.c: into the model and the server. */
int discovery_load(struct config *config, struct model *model, struct iscsi_server *iscsi,
		   struct err *err);
/* api_group.c: the access states that were set, on the target's live object. */
int group_restore(struct config *config, struct model_target *target, struct err *err);

/* show.c: JSON, no secrets. New references; NULL when memory is short. */
json_t *show_pool(const struct model_pool *pool);
json_t *show_pools(struct model *model);
const char *show_checksum(enum volume_checksum checksum);
json_t *show_scrub(struct pool *pool);
json_t *show_evacuation(struct pool *pool); /* as a job; NULL: none */
json_t *show_findings(struct pool *pool);
json_t *show_volume(struct model *model, struct volume *volume);
void show_volume_limits(json_t *object, const struct volume_limits *limits); /* into a volume's */
/* For a list of them: show_all_mappings() once, then each with it. */
json_t *show_all_mappings(struct model *model);
json_t *show_volume_mapped(struct volume *volume, const json_t *all);
json_t *show_target(const struct model_target *target);
json_t *show_targets(struct model *model);
json_t *show_luns(const struct model_target *target);
json_t *show_lun(const struct model_target *target, const struct model_lun *lun);
json_t *show_lun_name(const struct model_target *target, const struct model_lun *lun); /* a text */
json_t *show_rules(const struct model_target *target);
json_t *show_session(const struct iscsi_session_info *session);

#endif
