/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_EXPORT_H
#define WEBADMIN_EXPORT_H

#include "webadmin/share.h"

/* Inside webadmin/: who may use which share over NFS. A share with a rule is exported as /NAME; one
 * without is not. The rules stand in the store beside the share; what is exported follows them
 * in one step. */

/* export_apply: export what the model says, but for @without (NULL: all). gone(): nothing uses what
 * was exported before any more; at once when there is no NFS server. */
int export_apply(struct webadmin *admin, const struct model_share *without,
		 void (*gone)(void *context), void *context, struct err *err);
/* export_prepare_rules: all of export_set_rules() that can refuse: a transaction with the rules in
 * the store, to be committed or aborted. */
int export_prepare_rules(struct webadmin *admin, const struct model_share *share,
			 const struct nfs_rule *rules, unsigned count, struct err *err);
/* export_set_rules: @rules (heap) become the share's, in the store, the model and the server, or
 * none of it. -EEXIST: a share of another pool is exported under this name. */
int export_set_rules(struct webadmin *admin, struct model_share *share, struct nfs_rule *rules,
		     unsigned count, struct err *err);
/* For a share that is just being made: whether it may have rules at all, and @rules in the store,
 * in the transaction that is open. */
int export_check_name(struct model *model, const struct model_share *share, struct err *err);
int export_store_rules(struct config *config, const struct model_share *share,
		       const struct nfs_rule *rules, unsigned count, struct err *err);
/* export_set_versions: the same for the versions of NFS that it is served with.
 * @dry: only whether that would be done. */
int export_set_versions(struct webadmin *admin, struct model_share *share, unsigned versions,
			bool dry, struct err *err);
/* Lists like ["3", "4.1"]. read_share_versions: 0 for one that names none, or others. */
json_t *show_share_versions(unsigned versions);
unsigned read_share_versions(const json_t *list);
/* any, tls or mtls; false: none of them. */
const char *export_show_security(enum nfs_security security);
bool export_read_security(const char *text, enum nfs_security *ret_security);
int store_load_share_rule(struct config_statement *statement, struct model *model);
/* The rules, and for names of hosts the addresses that @admin's server knows; NULL: as they were
 * set, no more. */
json_t *show_share_rules(const struct webadmin *admin, const struct model_share *share);

#endif
