/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_SPREAD_H
#define VOLUMES_SPREAD_H

#include "volumes/native.h"

/* Which devices may have both copies of a node: pv->pinned, on the home loop. */

/* The device that has both copies of a node, or a part of both; NULL: none has. Under the lock. */
struct pv *spread_pin(const struct native *native, const struct node_pointer *pointer);
/* Under the lock: nothing is known of any. */
void spread_doubt(struct native *native);
/* In the keeper's fiber, without the lock: @look, under it, at the pointer to each node there is.
 * Its errors; -EINTR: somebody calls, and it has to be begun anew. Nodes below one that can not be
 * read are not looked at. */
typedef int spread_look_fn(struct native *native, const struct node_pointer *pointer);
int spread_each(struct native *native, struct lane *lane, spread_look_fn *look);
/* Under the lock: @device may have both copies of a node from the next root on (S2). */
void spread_pinned(struct native *native, struct pv *device);
/* Under the lock: it may be that fewer have any, now. */
void spread_again(struct native *native);
/* @sb, which is to be written, says what is known. */
void spread_say(const struct native *native, struct superblock *sb);
/* Under the lock: is a look at all nodes to be made, and can it be? */
bool spread_due(const struct native *native);
/* In the keeper's fiber, without the lock: make it, or begin it, as long as nobody calls. */
void spread_some(struct native *native, struct lane *lane);
/* Under the lock: does the pool depend on the device, and why? */
void spread_info(const struct native *native, const struct pv *device,
		 struct pool_device_info *info);

#endif
