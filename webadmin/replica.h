/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_REPLICA_H
#define WEBADMIN_REPLICA_H

#include "replication/replication.h"
#include "webadmin/admin.h"

struct api_request;
/* What a group's volume may not be: its staging log given to guests, a member made smaller, what a
 * standby holds rolled back, either deleted. True: it is one of these, and 409 has been sent. */
enum replica_change { REPLICA_MAP, REPLICA_SHRINK, REPLICA_ROLLBACK, REPLICA_DELETE };
bool replica_refuses(struct api_request *request, const struct volume *volume,
		     enum replica_change change);

/* Inside webadmin/: what replication needs of the model (pools, volumes, exports). */
int replica_create(struct webadmin *admin, struct err *err) __attribute__((warn_unused_result));

#endif
