/* SPDX-License-Identifier: Apache-2.0 */
/* limit.c: how often one source may fail to log in. Every refused or unfinished login moves the
 * source's theoretical arrival time on by an interval (the generic cell rate algorithm); a source
 * that is a whole burst ahead of the clock is not listened to until it has caught up. Good logins
 * cost nothing, and sources do not pay for each other, but for those who share a slot once more
 * of them fail at a time than the table holds. */
#include <netinet/in.h>
#include <string.h>

#include "iscsi/internal.h"

static const struct sockaddr_in6 *six(const struct sockaddr *peer)
{
	return (const struct sockaddr_in6 *)(const void *)peer;
}

/* An IPv4 address, or the network of an IPv6 one, which is what one host can have all of. */
static uint64_t source_of(const struct sockaddr *peer)
{
	uint64_t source = 0;

	if (peer->sa_family == AF_INET6)
		memcpy(&source, &six(peer)->sin6_addr, sizeof(source));
	else if (peer->sa_family == AF_INET)
		source =
		    1ull << 32 | ((const struct sockaddr_in *)(const void *)peer)->sin_addr.s_addr;
	return source;
}

void limit_init(struct login_limit *limit)
{
	pthread_mutex_init(&limit->lock, NULL);
}

void limit_finish(struct login_limit *limit)
{
	pthread_mutex_destroy(&limit->lock);
}

/* Lock held. The source's slot, or the one that has waited longest, or NULL with @find. */
static struct login_source *slot_of(struct login_limit *limit, uint64_t source, bool find)
{
	struct login_source *oldest = &limit->sources[0];

	for (unsigned i = 0; i < ISCSI_LOGIN_SOURCES; i++) {
		struct login_source *slot = &limit->sources[i];

		if (slot->until && slot->source == source)
			return slot;
		if (slot->until < oldest->until)
			oldest = slot;
	}
	return find ? NULL : oldest;
}

bool limit_allows(struct login_limit *limit, const struct sockaddr *peer, uint64_t now)
{
	const struct login_source *slot;
	bool allowed;

	pthread_mutex_lock(&limit->lock);
	slot = slot_of(limit, source_of(peer), true);
	allowed = !slot || slot->until <= now + ISCSI_LOGIN_BURST * ISCSI_LOGIN_INTERVAL_NS;
	pthread_mutex_unlock(&limit->lock);
	return allowed;
}

void limit_failed(struct login_limit *limit, const struct sockaddr *peer, uint64_t now)
{
	uint64_t source = source_of(peer);
	struct login_source *slot;

	pthread_mutex_lock(&limit->lock);
	slot = slot_of(limit, source, false);
	if (slot->source != source || slot->until < now)
		slot->until = now;
	slot->source = source;
	slot->until += ISCSI_LOGIN_INTERVAL_NS;
	pthread_mutex_unlock(&limit->lock);
}
