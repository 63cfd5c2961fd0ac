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
 * and rules. What it does not name stays, a member of an object that is left out too; with @prune
 * targets, host groups and exports of directories go. Data is never deleted: a volume or share has
 * its own route. Pools are not made either: they have to be there.
 */

/* plan_make: the steps, [{"method", "path", "body", "text"}], new; NULL with @err: the document is
 * not one, or wants what can not be. */
json_t *plan_make(const json_t *current, const json_t *wanted, bool prune, struct err *err);

#endif
