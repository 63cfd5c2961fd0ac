/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_WEBADMIN_H
#define WEBADMIN_WEBADMIN_H

#include <jansson.h>

#include "core/config.h"
#include "core/control.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/world.h"
#include "iscsi/iscsi.h"
#include "nfs/nfs.h"

/* The administration of a running daemon: what is configured (pools, targets, LUNs, rules), the
 * live objects made from it, and the one table of API routes that shows and changes both.
 * Context of everything here: the control loop. */
struct webadmin;

struct webadmin_options {
	const char *state_dir, *version;
	const struct world_ops *world;
	struct loop *control;
	struct config *config;      /* opened with webadmin_schema(); borrowed */
	struct iscsi_server *iscsi; /* borrowed */
	struct nfs_server *nfs;     /* borrowed; NULL: nothing is exported */
	const char *control_path;   /* the control socket, for the list of endpoints */
	unsigned io_loops;
	/* Absolute: directories of this machine that those that are exported have to be in; none:
	 * none is. Borrowed. */
	const char *const *directories;
	unsigned directory_count;
	/* Optional: ask the local mounts of @vfs to end; again later: end them. A share that has to
	 * be closed here is not closed while it is mounted. */
	void (*unmount)(const struct vfs *vfs);
};

/* The configuration's schema versions, for config_open(). */
const struct config_migration *webadmin_schema(unsigned *ret_count);
/* Likewise the newest of access.db; @ret_from: NULL, or the oldest whose programs can go on with
 * it. */
unsigned webadmin_access_schema(unsigned *ret_from);
/* For config_open_or_back(): a volume on its way to another pool would be served from the wrong one
 * of its two places by a configuration of another time. */
const char *webadmin_settled(void);
/* webadmin_went_back: @config is a copy that was made at @copied (seconds since 1970); the alert
 * says so. Durable. */
int webadmin_went_back(struct config *config, int64_t copied, struct err *err);

int webadmin_create(const struct webadmin_options *options, struct webadmin **ret_admin,
		    struct err *err) __attribute__((warn_unused_result));

/* webadmin_start: bring up what is configured: open the pools (all at once), then create the
 * targets with their rules and LUNs. What can not be brought up is logged, shown with its reason
 * in the status, and never stops the rest. started() is called once. */
void webadmin_start(struct webadmin *admin, void (*started)(void *context), void *context);

/* webadmin_stop: give back every LUN and target, then checkpoint and close every pool; then
 * stopped(@failures), the number of pools that did not close cleanly. The iSCSI server must be
 * stopped before. */
void webadmin_stop(struct webadmin *admin, void (*stopped)(void *context, unsigned failures),
		   void *context);
void webadmin_destroy(struct webadmin *admin); /* after stopped(), or a start that never was */

/* webadmin_listen_replication: take connections of paired nodes there too. @ret_port: the real
 * one. */
int webadmin_listen_replication(struct webadmin *admin, const char *address, uint16_t port,
				uint16_t *ret_port, struct err *err);

/* webadmin_progress: one line on what is under way ("opening pool tank: 40 %"), false when
 * nothing is. */
bool webadmin_progress(struct webadmin *admin, char *line, size_t size);

/* webadmin_serve: control_server_open()'s serve(); @context is the struct webadmin. */
void webadmin_serve(struct control_request *request, const json_t *message, void *context);

/* webadmin_serve_front: the same for the socket of the web front, which anybody may reach who
 * reaches the front: each request brings its session or token, and its role decides. */
void webadmin_serve_front(struct control_request *request, const json_t *message, void *context);

/* webadmin_share: a reference to the open file system of share @pool/@name; NULL with a sentence.
 */
struct vfs *webadmin_share(struct webadmin *admin, const char *pool, const char *name,
			   struct err *err);

/* webadmin_setup_code: what the first account is made with; NULL when there is one. Borrowed. */
const char *webadmin_setup_code(struct webadmin *admin);

/* webadmin_call: the same routes from inside the process. @body is stolen (NULL = none).
 * done() runs later or inside this call; the reply's body is borrowed. */
void webadmin_call(struct webadmin *admin, const char *method, const char *path, json_t *body,
		   void (*done)(void *context, int status, const json_t *body), void *context);

/* Small facts that must survive a restart (the setting table). webadmin_setting: @value as it is
 * stored, "" when it is not. */
void webadmin_setting(struct webadmin *admin, const char *name, char *value, size_t size);
int webadmin_set_setting(struct webadmin *admin, const char *name, const char *value,
			 struct err *err) __attribute__((warn_unused_result));

#endif
