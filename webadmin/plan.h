/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_PLAN_H
#define WEBADMIN_PLAN_H

#include <jansson.h>
#include <stdbool.h>

#include "core/err.h"

/* Inside webadmin/: from what is configured to what a document wants, as steps of the API. Pure:
 * both sides are the JSON of GET /configuration.
 *
 * What the document names is made so: host groups, volumes (grown, never shrunk) with their limits,
 * shares with their rules, directories of the machine with theirs, targets with exactly its LUNs
 * and rules, schedules of snapshots, the iSNS server. What it does not name stays, a member of an
 * object that is left out too; with @prune targets, host groups, exports of directories and
 * schedules go. Data is never deleted: a volume or share has its own route. A pool has to be there,
 * or is made of the devices that the document says; those of one that is there are not looked at.
 */

/* plan_make: the steps, [{"method", "path", "body", "text"}], new; NULL with @err: the document is
 * not one, or wants what can not be. The sentence begins with the path of what is meant, where it
 * is one thing: "volumes[3].name: ...". */
json_t *plan_make(const json_t *current, const json_t *wanted, bool prune, struct err *err);
/* plan_check.c: has it the shape of a document? -EINVAL. */
int plan_check(const json_t *document, struct err *err) __attribute__((warn_unused_result));

#endif
