/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/lag.h"

#include <errno.h>

#include "replication/group.h"

uint64_t lag_bytes(const struct group *group)
{
	struct recorder_lag lag = {0};
	uint64_t bytes;

	if (group->recorder)
		recorder_lag(group->recorder, &lag);
	bytes = lag.marked_bytes + lag.log_bytes + lag.zeroed_bytes;
	/* What a sync has carried there is not in the image before it is sealed. */
	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume)
			bytes += marks_bytes(&group->members[i].sent);
	}
	return bytes;
}

void lag_tell(struct lag_told *told, const struct group *group, struct channel *channel)
{
	struct wire_message message = {.type = WIRE_LAG, .epoch = group->acked};
	uint64_t now = loop_now(group->loop);

	if (!told->on || group->role != GROUP_PRIMARY || group->spoken < WIRE_VERSION_LAG)
		return;
	message.wall_ns = loop_wall(group->loop); /* first: what comes after it is newer */
	message.records = lag_bytes(group);
	if (message.epoch == told->epoch && message.records == told->bytes &&
	    (message.records == 0 || now - told->ns < CHANNEL_PING_NS))
		return;
	if (!channel_tell(channel, &message))
		return;
	*told = (struct lag_told){true, message.epoch, message.records, now};
}

void lag_hear(struct lag_heard *heard, const struct wire_message *message)
{
	heard->epoch = message->epoch;
	heard->wall_ns = message->wall_ns;
	heard->bytes = message->records;
}

void lag_hear_pings(struct lag_heard *heard, const struct channel *channel)
{
	if (!channel->peer_epoch)
		return;
	heard->level_epoch = channel->peer_epoch;
	heard->level_wall_ns = channel->peer_wall_ns;
}

/* What was newer than an older epoch then is all that may be newer than the sealed one. */
int lag_known(const struct group *group, uint64_t *ret_bytes, uint64_t *ret_wall_ns)
{
	const struct lag_heard *heard = &group->heard;
	uint64_t sealed = group->staging_good ? group->staging.sealed : 0;
	bool level = heard->level_epoch == sealed && heard->level_wall_ns >= heard->wall_ns;

	if (!sealed || !heard->epoch || heard->epoch > sealed)
		return -ENODATA;
	*ret_bytes = level ? 0 : heard->bytes;
	*ret_wall_ns = level ? heard->level_wall_ns : heard->wall_ns;
	return 0;
}
