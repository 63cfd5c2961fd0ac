/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_SPREAD_H
#define VOLUMES_SPREAD_H

#include "volumes/native.h"

/* The device that has both copies of a node, or a part of both; NULL: none has. Under the lock. */
struct pv *spread_pin(const struct native *native, const struct node_pointer *pointer);
/* Are there mirrored volumes, and is there another device? Without the lock. */
bool spread_is_wanted(struct native *native);
/* In the keeper's fiber, or at the end of an open; where it is wanted: which devices have such
 * nodes (pv->pinned), when those that can be written anew were. All, when that can not be found
 * out. */
void spread_run(struct native *native, struct lane *lane);

#endif
