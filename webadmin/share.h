/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_SHARE_H
#define WEBADMIN_SHARE_H

#include "nfs/nfs.h"
#include "shares/shares.h"
#include "webadmin/model.h"

/* Inside webadmin/: the shares that are configured, and their live file systems. A share is its
 * volume: it has the volume's name, and a volume that is a share is never a LUN. */
struct webadmin;

struct model_share {
	struct list link;
	char pool[POOL_NAME_MAX + 1], name[VOLUME_NAME_MAX + 1];
	uint8_t volume[16];
	struct vfs *vfs; /* NULL: see reason */
	char reason[MODEL_REASON_MAX];
	struct share_call call; /* opening, closing */
	bool away;              /* another node or gateway serves it, or is about to */
	bool elsewhere;         /* the latter, for its volume is another gateway's */
	bool opening, leaving;  /* under way: it is being opened; closed for that */
	bool deleting;          /* under way: nobody gets it any more */
	struct timer retry;     /* somebody uses it still */
	struct volume *shared; /* of a pool that other gateways serve too: referenced and watched */
	struct volume_watcher watcher;
	bool keeps;             /* it, while the share is open */
	struct nfs_rule *rules; /* who may use it: export.h */
	unsigned rule_count;
	unsigned versions; /* of NFS that it is served with: enum nfs_versions */
	enum share_snapshots snapshots;
	struct webadmin *admin;
};

struct model_share *model_share_add(struct model *model, const char *pool, const char *name,
				    const uint8_t volume[16]);
struct model_share *model_share_find(struct model *model, const char *pool, const char *name);
struct model_share *model_share_of_volume(struct model *model, const uint8_t volume[16]);
void model_share_remove(struct model_share *share);

/* Open what is configured, on pools that are open; then done(). webadmin_stop_shares: close them
 * all; done(@failures): how many could not be closed cleanly. */
void webadmin_start_shares(struct webadmin *admin, void (*done)(struct webadmin *admin));
/* Those of a pool that came later. */
void webadmin_start_pool_shares(struct webadmin *admin, const char *pool);
/* A share has one node that serves it: the primary of its volume's replication group, of several
 * gateways the one that serves its volume.
 * webadmin_follow_shares: groups have changed, or a share is new: those that another node serves
 * are closed once no request uses them, those that came (back) to this one are opened.
 * webadmin_share_settled: that is done with @share.
 * webadmin_share_forget_volume: it is closed, and its volume is to be deleted. */
void webadmin_follow_shares(struct webadmin *admin);
bool webadmin_share_settled(const struct model_share *share);
void webadmin_share_forget_volume(struct model_share *share);
void webadmin_stop_shares(struct webadmin *admin, void (*done)(struct webadmin *admin));

int store_add_share(struct config *config, const struct model_share *share, struct err *err);
int store_set_share_versions(struct config *config, const struct model_share *share,
			     unsigned versions, struct err *err);
/* share_set_snapshots: how clients see them, in the store, the model and the open share.
 * @dry: only whether that would be done. */
int share_set_snapshots(struct webadmin *admin, struct model_share *share,
			enum share_snapshots snapshots, bool dry, struct err *err);
/* "hidden", "visible", "none". False: none of them. */
bool read_share_snapshots(const char *text, enum share_snapshots *ret_snapshots);
int store_remove_share(struct config *config, const uint8_t volume[16], struct err *err);

json_t *show_share(const struct model_share *share);

/* api_share.c, for provision.c: a share laid out for images, which @clients may read, all or
 * nothing; @request is answered. */
struct api_request;
void share_provision(struct api_request *request, struct pool *pool, const char *name,
		     uint64_t quota, bool mirror, const json_t *clients);
/* share_read_clients: @clients as rules, at least one; false: it was answered. *ret_rules: heap. */
bool share_read_clients(struct api_request *request, const json_t *clients,
			struct nfs_rule **ret_rules, unsigned *ret_count);

#endif
