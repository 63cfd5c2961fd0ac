/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_HOST_H
#define WEBADMIN_HOST_H

#include "webadmin/model.h"

/* Inside webadmin/: host groups, and LUNs that only some of them see. A host group is a name for
 * initiators; an initiator is in one group at most. A LUN without a list is everybody's who may
 * log in. */

#define HOSTS_MAX           1024u
#define HOST_INITIATORS_MAX 256u

struct model_host {
	struct list link;
	char name[HOST_GROUP_NAME_MAX + 1];
	struct scsi_names initiators;
};

struct model_host *model_host_find(struct model *model, const char *name);
struct model_host *model_host_add(struct model *model, const char *name); /* NULL: no memory */
void model_host_remove(struct model_host *host);
/* The group that @initiator is in; NULL: none. */
struct model_host *model_host_of(struct model *model, const char *initiator);
int model_host_add_initiator(struct model_host *host, const char *initiator); /* -ENOMEM */
void model_host_remove_initiator(struct model_host *host, const char *initiator);
bool model_lun_shown_to(const struct model_lun *lun, const struct model_host *host);

/* host_resolve: whom @lun is shown to, from its groups, into lun->names. host_apply: the same for
 * each LUN that names @host, and to its live mapping. -ENOMEM. */
int host_resolve(struct model *model, struct model_lun *lun);
int host_apply(struct model *model, const struct model_host *host, struct err *err);

/* Rows. host_load: after store_load(). The others: inside a transaction of the caller. */
int host_load(struct config *config, struct model *model, struct err *err);
int store_set_host(struct config *config, const struct model_host *host, struct err *err);
int store_remove_host(struct config *config, const char *name, struct err *err);
int store_set_mask(struct config *config, const char *iqn, unsigned lun,
		   char (*hosts)[HOST_GROUP_NAME_MAX + 1], unsigned count, struct err *err);

json_t *show_host(const struct model_host *host);

struct api_request;
/* api_read_hosts: the names of host groups in @list as an array (heap); false: answered. */
bool api_read_hosts(struct api_request *request, const json_t *list,
		    char (**ret_hosts)[HOST_GROUP_NAME_MAX + 1]);

#endif
