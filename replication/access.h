/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_ACCESS_H
#define REPLICATION_ACCESS_H

#include "replication/channel.h"
#include "replication/wire.h"

/* Inside replication/: who is let in to a group's members and what is reserved there, told by the
 * primary beside its definition: before an epoch and soon when nothing is sent, when it has
 * changed, and last of all before the group is handed over. So the standby has it at least as new
 * as its image. It holds secrets: the definition, which is shown and kept as it is, does not. */

#define ACCESS_MAX     (16u << 20) /* bytes */
#define ACCESS_LOOKS   50u         /* while it is being changed */
#define ACCESS_LOOK_NS 2000000ull

/* The primary's side. */
struct access_told {
	bool any, pending; /* pending: it could not be looked at */
	uint8_t digest[WIRE_DIGEST];
};
/* access_is_new: it is not what the last call had; from now on it is.
 * access_look: what there is to be told to the peer; false: nothing new. The caller's, heap_wipe().
 * Fiber; waits a little while it is being changed.
 * access_send: as ACCESS messages; one at least. 0 or the channel's error. */
struct group;
bool access_is_new(struct access_told *told, const uint8_t *data, size_t length);
bool access_look(struct access_told *told, struct group *group, uint8_t **ret_data,
		 size_t *ret_length);
int access_send(struct channel *channel, const uint8_t *data, size_t length);

/* The standby's. */
struct access_heard {
	uint8_t *data; /* heap_wipe() */
	size_t length;
	bool whole, ever; /* ever: in this session */
};
/* access_add: one more part. -ENOMEM; -EFBIG: more than ACCESS_MAX. access_clear: nothing is left
 * of it in memory. */
int access_add(struct access_heard *heard, const struct wire_message *message);
void access_clear(struct access_heard *heard);

#endif
