/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_LAG_H
#define REPLICATION_LAG_H

#include <stdbool.h>
#include <stdint.h>

/* Inside replication/: how many bytes a standby is behind. Only its primary knows, and that is gone
 * when it matters: so it tells (LAG), as often as epochs are closed and when one is acknowledged,
 * and the standby keeps what was said last, also when the session is over. Bytes at the most: what
 * was changed twice may count twice, and marks are of whole chunks. Context: the group's loop. */

struct group;
struct channel;
struct wire_message;

/* The primary's side, of one session. */
struct lag_told {
	bool on; /* the standby is past its greeting */
	uint64_t epoch, bytes, ns;
};
/* lag_bytes: that are newer than the image which the standby is known to have sealed. */
uint64_t lag_bytes(const struct group *group);
/* lag_tell: when it has changed, and from time to time while there are some. Does not wait: left
 * out when the network is behind, and with a peer that does not know of it. */
void lag_tell(struct lag_told *told, const struct group *group, struct channel *channel);

/* The standby's: wall times are the primary's; epoch 0: it has said nothing. Not of a primary of
 * before, nor of before a start. */
struct lag_heard {
	uint64_t epoch, wall_ns, bytes;
	uint64_t level_epoch, level_wall_ns; /* by the pings: nothing was newer than that epoch */
};
void lag_hear(struct lag_heard *heard, const struct wire_message *message);
void lag_hear_pings(struct lag_heard *heard, const struct channel *channel);
/* lag_known: what was newer than the sealed image at *ret_wall_ns, when the primary spoke last;
 * -ENODATA: that is not known. */
int lag_known(const struct group *group, uint64_t *ret_bytes, uint64_t *ret_wall_ns);

#endif
