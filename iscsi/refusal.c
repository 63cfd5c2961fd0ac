/* SPDX-License-Identifier: Apache-2.0 */
/* refusal.c: initiators that came and were not let in, the last REFUSALS_MAX of them, for the
 * administrator who is to say whether they may. One entry for an initiator and what it asked for;
 * names come from the network and are kept only when they are names (RFC 7143 4.2.7). */
#include <stdio.h>
#include <string.h>

#include "iscsi/internal.h"

void refusals_init(struct refusals *refusals)
{
	pthread_mutex_init(&refusals->lock, NULL);
}

void refusals_finish(struct refusals *refusals)
{
	pthread_mutex_destroy(&refusals->lock);
}

/* Lock held. The entry of the two, else the one that has not been used longest. */
static struct iscsi_refusal *entry_of(struct refusals *refusals, const char *initiator,
				      const char *target)
{
	struct iscsi_refusal *oldest = &refusals->entries[0];

	for (unsigned i = 0; i < ISCSI_REFUSALS_MAX; i++) {
		struct iscsi_refusal *entry = &refusals->entries[i];

		if (entry->count && strcmp(entry->initiator, initiator) == 0 &&
		    strcmp(entry->target, target) == 0)
			return entry;
		if (entry->at_ns < oldest->at_ns)
			oldest = entry;
	}
	memset(oldest, 0, sizeof *oldest);
	snprintf(oldest->initiator, sizeof oldest->initiator, "%s", initiator);
	snprintf(oldest->target, sizeof oldest->target, "%s", target);
	return oldest;
}

/* Beyond ASCII a name could be more than a name to whoever is shown it, and nobody has let it in.
 */
static bool is_plain(const char *name)
{
	while (*name && !((unsigned char)*name & 0x80))
		name++;
	return !*name;
}

void refusals_note(struct refusals *refusals, const char *initiator, const char *target,
		   const char *peer, enum iscsi_refusal_reason reason, uint64_t now)
{
	struct err err = {0};
	struct iscsi_refusal *entry;

	if (iscsi_name_check(initiator, &err) < 0 || !is_plain(initiator))
		return;
	if (*target && (iscsi_name_check(target, &err) < 0 || !is_plain(target)))
		target = "";
	pthread_mutex_lock(&refusals->lock);
	entry = entry_of(refusals, initiator, target);
	snprintf(entry->peer, sizeof entry->peer, "%s", peer);
	entry->reason = reason;
	entry->at_ns = now;
	entry->count++;
	pthread_mutex_unlock(&refusals->lock);
}

bool iscsi_refusal_get(struct iscsi_server *server, unsigned index,
		       struct iscsi_refusal *ret_refusal)
{
	struct refusals *refusals = &server->refusals;

	if (index >= ISCSI_REFUSALS_MAX)
		return false;
	pthread_mutex_lock(&refusals->lock);
	*ret_refusal = refusals->entries[index];
	pthread_mutex_unlock(&refusals->lock);
	return true;
}
