/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/node.h"

/* What the primary of before exported, as its definition said last. A promotion is saved with it,
 * then it is made here, and when all of it is made, durably, it is dropped: from then on exports
 * are this node's own and change here. So a primary whose saved definition has some was promoted
 * and ended before that: its start goes on with them. */

#define RETRY_NS (5 * 1000000000ull)

/* What was said is not to come back, should a handover come to nothing. */
static bool drop(struct seat *seat)
{
	json_t *definition = json_loads(seat->definition, 0, NULL);
	char *text, *copy;

	json_object_del(definition, "exports");
	text = json_dumps(definition, JSON_COMPACT);
	json_decref(definition);
	copy = text ? heap_strdup(text) : NULL;
	free(text);
	if (!copy)
		return false;
	heap_free(seat->definition);
	seat->definition = copy;
	seat_access_drop(seat);
	return seat_save(&seat->group) == 0;
}

static void made(void *waiting, int result)
{
	struct seat *seat = waiting;

	seat->exporting = false;
	seat->exports_retry_ns = loop_now(seat->replication->options.loop) + RETRY_NS;
	if (!seat->gone && seat->exports_due && !seat->exports_void && result == 0)
		seat->exports_due = !drop(seat);
	seat_leave(seat);
}

static void make(struct seat *seat)
{
	const struct replication_host *host = &seat->replication->options.host;
	json_t *definition = json_loads(seat->definition, 0, NULL);
	json_t *access = seat_access_open(seat);
	uint8_t uuids[WIRE_MEMBERS_MAX][16];
	unsigned count = seat_member_uuids(seat, uuids);

	seat_enter(seat);
	seat->exporting = true;
	seat->exports_void = false;
	host->exports_apply(host->context, json_object_get(definition, "exports"), access,
			    (const uint8_t(*)[16])uuids, count, made, seat);
	json_decref(definition);
	json_decref(access);
}

void exports_look(struct seat *seat)
{
	json_t *definition = seat->definition ? json_loads(seat->definition, 0, NULL) : NULL;
	enum group_role role = seat->group.role;

	seat->exports_due = (role == GROUP_PRIMARY || role == GROUP_HANDOVER) &&
			    (seat->access || json_object_get(definition, "exports"));
	if (role == GROUP_STANDBY) /* what is told from now on is another thing */
		seat->exports_void = true;
	json_decref(definition);
}

void exports_follow(struct seat *seat, uint64_t now)
{
	const struct group *group = &seat->group;

	if (seat->exports_due && !seat->exporting && now >= seat->exports_retry_ns &&
	    seat->started && group_serves(group) && !group->starting && !group->stopping)
		make(seat);
}
