/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_DIRECTORY_H
#define WEBADMIN_DIRECTORY_H

#include "nfs/nfs.h"
#include "webadmin/model.h"

/* Inside webadmin/: directories of this machine that are exported read-only, as /NAME
 * (shares/host_directory.h). They belong to no pool; what may be served is said by whoever starts
 * the daemon (webadmin_options.directories), and without that nothing is.
 *
 * D1 Whatever touches the directory is done on a thread of its own, for a disk may not answer: the
 *    daemon starts, stops, and serves all else without it.
 * D2 A directory is looked at again every few seconds. One that is not there (its disk is not
 *    mounted) or may not be served any more is withdrawn; its clients are told to come again, and
 *    find it when it is back. One whose path leads elsewhere by now is served from there.
 * D3 Its identity and secret are in the store, the latter sealed: handles outlive the daemon. */
struct webadmin;

#define DIRECTORIES_MAX      32u
#define DIRECTORY_LOOKS_MAX  64u /* threads that look at one; some of them may hang */
#define DIRECTORY_LOOK_NS    (5 * 1000000000ull)
#define DIRECTORY_SILENCE_NS (10 * 1000000000ull) /* then it is said that it does not answer */

struct directory_look;

struct model_directory {
	struct list link;
	char name[VOLUME_NAME_MAX + 1];
	char *path; /* heap */
	uint8_t uuid[16], secret[16];
	struct vfs *vfs; /* NULL: see reason */
	char reason[MODEL_REASON_MAX];
	struct nfs_rule *rules; /* who may use it: export.h */
	unsigned rule_count;
	unsigned versions;           /* of NFS that it is served with: enum nfs_versions */
	bool hidden;                 /* it is being made, or taken away: nobody sees it */
	struct webadmin *admin;      /* NULL: nothing looks at it */
	struct directory_look *look; /* under way */
	uint64_t look_began_ns;
	struct timer next;
};

/* @path is copied. NULL: no memory. */
struct model_directory *model_directory_add(struct model *model, const char *name,
					    const char *path);
/* One that is hidden is not found. */
struct model_directory *model_directory_find(struct model *model, const char *name);
void model_directory_remove(struct model_directory *directory); /* not while it is looked at */
/* It is on its disk, and does not answer. */
bool model_directory_is_silent(const struct model_directory *directory);

/* directory_serve: look at it from now on. directories_start: at all that are configured.
 * directories_stop: at none any more; what hangs is left to itself. */
void directory_serve(struct webadmin *admin, struct model_directory *directory);
void directory_unserve(struct model_directory *directory);
void directories_start(struct webadmin *admin);
void directories_stop(struct webadmin *admin);

/* A look at a directory, on a thread. done() runs on the control loop, once, never inside
 * directory_look(), and not after directory_look_leave(); the look is gone after it. */
struct directory_look {
	void (*done)(struct directory_look *look, int result, struct err *err);
	void *context;
	struct vfs *vfs; /* what was opened, done()'s to keep; NULL: it is what it was */
};
/* directory_look: @seen (NULL: nothing) is what is served now. NULL with @err. */
struct directory_look *
directory_look(struct webadmin *admin, const struct model_directory *directory, struct vfs *seen,
	       void (*done)(struct directory_look *look, int result, struct err *err),
	       void *context, struct err *err);
void directory_look_leave(struct directory_look *look);

/* The store, in a transaction of the caller, but for loading. */
int directories_load(struct config *config, struct model *model, struct err *err);
int store_add_directory(struct config *config, const struct model_directory *directory,
			struct err *err);
int store_set_directory_versions(struct config *config, const struct model_directory *directory,
				 unsigned versions, struct err *err);
int store_remove_directory(struct config *config, const char *name, struct err *err);
int store_set_directory_rules(struct config *config, const struct model_directory *directory,
			      const struct nfs_rule *rules, unsigned count, struct err *err);

json_t *show_directory(const struct model_directory *directory);

#endif
