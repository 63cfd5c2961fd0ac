/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_REPLICA_H
#define WEBADMIN_REPLICA_H

#include "replication/replication.h"
#include "webadmin/admin.h"

/* Inside webadmin/: what replication needs of the model (pools, volumes, exports). */
int replica_create(struct webadmin *admin, struct err *err) __attribute__((warn_unused_result));

#endif
