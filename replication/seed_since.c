/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "replication/order.h"
#include "replication/seed.h"
#include "volumes/pool_wait.h"

#define EXTENTS     64u
#define PREFIX_TEXT 16

static void prefix_of(const struct group *group, char prefix[PREFIX_TEXT])
{
	snprintf(prefix, PREFIX_TEXT, "seed-%02x%02x%02x%02x-", group->uuid[0], group->uuid[1],
		 group->uuid[2], group->uuid[3]);
}

void seed_snapshot_name(const struct group *group, uint64_t epoch, char name[SNAPSHOT_NAME_MAX + 1])
{
	char prefix[PREFIX_TEXT];

	prefix_of(group, prefix);
	snprintf(name, SNAPSHOT_NAME_MAX + 1, "%s%" PRIu64, prefix, epoch);
}

struct volume *seed_snapshot_find(struct volume *volume, const char *name)
{
	struct volume *snapshot = NULL;
	struct snapshot_info info;

	while ((snapshot = snapshot_next(volume, snapshot))) {
		if (snapshot_get_info(snapshot, &info) && strcmp(info.name, name) == 0)
			break;
	}
	return snapshot;
}

/* One that is of an export, but not @but; NULL: none. */
static struct volume *find_other(const struct group *group, struct volume *volume, const char *but)
{
	struct volume *snapshot = NULL;
	struct snapshot_info info;
	char prefix[PREFIX_TEXT];

	prefix_of(group, prefix);
	while ((snapshot = snapshot_next(volume, snapshot))) {
		if (snapshot_get_info(snapshot, &info) &&
		    strncmp(info.name, prefix, strlen(prefix)) == 0 &&
		    strcmp(info.name, but) != 0 && !info.in_use && !info.held && !info.clones)
			break;
	}
	return snapshot;
}

void seed_snapshots_drop(struct group *group, uint64_t epoch)
{
	char but[SNAPSHOT_NAME_MAX + 1];

	seed_snapshot_name(group, epoch, but);
	for (unsigned i = 0; i < group->member_max; i++) {
		struct volume *snapshot;

		while (group->members[i].volume &&
		       (snapshot = find_other(group, group->members[i].volume, but))) {
			struct pool_wait waiting = POOL_WAIT;
			struct err err = {0};

			snapshot_delete(snapshot, &waiting.call);
			if (pool_wait(&waiting, &err) == 0)
				continue;
			log_warning("group %s: snapshot %s could not be deleted: %s", group->name,
				    snapshot->name, err.text);
			volume_unref(snapshot);
			break;
		}
	}
}

/* ---- what has changed since ---- */
static int mark_difference(struct group *group, unsigned member, struct volume *from)
{
	struct volume_extent extents[EXTENTS];
	struct volume_diff diff = {.from = from,
				   .to = group->members[member].volume,
				   .extents = extents,
				   .extent_max = EXTENTS};
	int result = 0;

	while (result == 0 && !diff.finished) {
		struct pool_wait waiting = POOL_WAIT;
		struct err err = {0};

		diff.extent_count = 0;
		volume_diff(&diff, &waiting.call);
		result = pool_wait(&waiting, &err);
		for (unsigned i = 0; i < diff.extent_count && result == 0; i++)
			recorder_mark(group->recorder, member, extents[i].offset,
				      extents[i].length);
		if (result < 0)
			log_warning("group %s: volume %s can not be compared with its seed: %s",
				    group->name, group->members[member].volume->name, err.text);
	}
	return result;
}

static void clear_marks(struct group *group, unsigned member)
{
	uint64_t offset, length;

	while (recorder_take(group->recorder, member, 0, UINT64_MAX, &offset, &length))
		;
	marks_clear_all(&group->members[member].sent);
}

/* The marks go first: whatever changes from then on is marked again, and what had changed before is
 * in the difference. */
static int mark_member(struct group *group, unsigned member, struct volume *from)
{
	int result = 0;

	if (ORDER(seed_clears_before_it_marks))
		clear_marks(group, member);
	if (from)
		result = mark_difference(group, member, from);
	else /* it has joined since */
		recorder_mark(group->recorder, member, 0,
			      volume_size(group->members[member].volume));
	if (!ORDER(seed_clears_before_it_marks))
		clear_marks(group, member);
	return result;
}

int seed_mark_since(struct group *group, uint64_t epoch)
{
	struct volume *from[WIRE_MEMBERS_MAX] = {0};
	char name[SNAPSHOT_NAME_MAX + 1];
	int result = -ENOENT;

	seed_snapshot_name(group, epoch, name);
	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume)
			from[i] = seed_snapshot_find(group->members[i].volume, name);
		if (from[i])
			result = 0;
	}
	if (result == 0)
		recorder_fall_back(group->recorder);
	for (unsigned i = 0; i < group->member_max; i++) {
		if (group->members[i].volume && result == 0)
			result = mark_member(group, i, from[i]);
		volume_unref(from[i]);
	}
	if (result < 0 && result != -ENOENT)
		recorder_mark_all(group->recorder);
	return result;
}
