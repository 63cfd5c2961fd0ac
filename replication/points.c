/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/points.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "volumes/pool_wait.h"

struct point {
	uint64_t epoch, wall_ms;
	bool in_use; /* P2 */
};

/* ---- rules and names ---- */
int points_parse(const char *text, struct keep *ret_keep, struct err *err)
{
	struct keep keep = {0};
	uint64_t total = 0;
	char *end;
	unsigned long last = strtoul(text, &end, 10);

	if (text[0] >= '0' && text[0] <= '9' && !*end && last <= POINTS_MAX) {
		keep.count[KEEP_LAST] = (unsigned)last;
	} else {
		int result = keep_parse(text, &keep, err);

		if (result < 0)
			return result;
		for (unsigned i = 0; i < KEEP_KINDS; i++)
			total += keep.count[i];
		if (total == 0 || total > POINTS_MAX)
			return err_set(err, -EINVAL, "a group keeps 0 to %u points, not %s",
				       POINTS_MAX, text);
	}
	*ret_keep = keep;
	return 0;
}

void points_name(const uint8_t group[16], uint64_t epoch, uint64_t wall_ns,
		 char name[SNAPSHOT_NAME_MAX + 1])
{
	snprintf(name, SNAPSHOT_NAME_MAX + 1, "point-%02x%02x%02x%02x-%" PRIu64 "-%" PRIu64,
		 group[0], group[1], group[2], group[3], epoch, wall_ns / 1000000);
}

bool points_name_read(const char *name, const uint8_t group[16], uint64_t *ret_epoch,
		      uint64_t *ret_wall_ms)
{
	char again[SNAPSHOT_NAME_MAX + 1];
	const char *at = strncmp(name, "point-", 6) == 0 ? strchr(name + 6, '-') : NULL;
	uint64_t epoch, wall_ms;
	char *end;

	if (!at)
		return false;
	epoch = strtoull(at + 1, &end, 10);
	if (*end != '-')
		return false;
	wall_ms = strtoull(end + 1, NULL, 10);
	if (wall_ms > UINT64_MAX / 1000000)
		return false;
	points_name(group, epoch, wall_ms * 1000000, again);
	if (strcmp(again, name) != 0)
		return false;
	*ret_epoch = epoch;
	*ret_wall_ms = wall_ms;
	return true;
}

bool replication_owns_snapshot(const char *name)
{
	static const char *const prefixes[] = {"point-", "seed-", "conflict-"};
	bool owns = false;

	for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		owns |= strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
	return owns;
}

/* ---- which there are ---- */
/* The next snapshot of @member behind @previous that is of a point; NULL: none. As
 * snapshot_next(). */
static struct volume *next_of(const struct seat *seat, struct volume *member,
			      struct volume *previous, struct point *ret_point)
{
	struct snapshot_info info;

	while ((previous = snapshot_next(member, previous))) {
		if (!snapshot_get_info(previous, &info) ||
		    !points_name_read(info.name, seat->group.uuid, &ret_point->epoch,
				      &ret_point->wall_ms))
			continue;
		/* A LUN, a share or a reader has a reference of its own. */
		ret_point->in_use = info.clones || info.held || info.in_use;
		return previous;
	}
	return NULL;
}

static void enter(struct point *points, unsigned *count, const struct point *point)
{
	for (unsigned i = 0; i < *count; i++) {
		if (points[i].epoch != point->epoch)
			continue;
		points[i].in_use |= point->in_use;
		return;
	}
	if (*count < 2 * POINTS_MAX)
		points[(*count)++] = *point;
}

static int newest_first(const void *a, const void *b)
{
	const struct point *one = a, *two = b;

	return one->epoch < two->epoch ? 1 : one->epoch > two->epoch ? -1 : 0;
}

/* Of all members, the newest first; the caller's. NULL: no memory. */
static struct point *list_points(const struct seat *seat, unsigned *ret_count)
{
	struct point *points = heap_zalloc_array((size_t)2 * POINTS_MAX, sizeof *points), point;

	*ret_count = 0;
	for (unsigned i = 0; points && i < seat->group.member_max; i++) {
		struct volume *member = seat->group.members[i].volume, *snapshot = NULL;

		while (member && (snapshot = next_of(seat, member, snapshot, &point)))
			enter(points, ret_count, &point);
	}
	if (points)
		qsort(points, *ret_count, sizeof *points, newest_first);
	return points;
}

/* The snapshots of @epoch, a reference each, as their members are in the group; their number. */
static unsigned collect(const struct seat *seat, uint64_t epoch,
			struct volume *ret_snapshots[WIRE_MEMBERS_MAX])
{
	unsigned count = 0;

	for (unsigned i = 0; i < seat->group.member_max; i++) {
		struct volume *member = seat->group.members[i].volume, *snapshot = NULL;
		struct point point;

		while (member && (snapshot = next_of(seat, member, snapshot, &point)) &&
		       point.epoch != epoch)
			;
		if (member && snapshot)
			ret_snapshots[count++] = snapshot;
	}
	return count;
}

/* ---- keeping and letting go ---- */
static void trouble(struct seat *seat, const char *what, const char *why)
{
	seat->points_failed = true;
	if (!seat->points_trouble[0])
		log_warning("group %s: a point could not be %s: %s", seat->group.name, what, why);
	snprintf(seat->points_trouble, sizeof seat->points_trouble, "%.190s", why);
}

static void let_go(struct seat *seat, uint64_t epoch)
{
	struct volume *snapshots[WIRE_MEMBERS_MAX];
	unsigned count = collect(seat, epoch, snapshots);
	struct pool_wait *waits = heap_zalloc_array(count + 1, sizeof *waits);
	struct err err = {0};

	for (unsigned i = 0; waits && i < count; i++) {
		waits[i] = (struct pool_wait)POOL_WAIT;
		snapshot_delete(snapshots[i], &waits[i].call);
	}
	for (unsigned i = 0; i < count; i++) {
		int result = waits ? pool_wait(&waits[i], &err) : -ENOMEM;

		if (result < 0)
			volume_unref(snapshots[i]);
		if (result < 0 && result != -EBUSY)
			trouble(seat, "deleted", err.text);
	}
	heap_free(waits);
}

static void thin(struct seat *seat)
{
	unsigned count;
	struct point *points = list_points(seat, &count);
	int64_t *times = heap_zalloc_array(count + 1, sizeof *times);
	bool *kept = heap_zalloc_array(count + 1, sizeof *kept);
	bool any = false;

	for (unsigned i = 0; i < KEEP_KINDS; i++)
		any |= seat->keep.count[i] > 0;
	for (unsigned i = 0; points && times && i < count; i++)
		times[i] = (int64_t)(points[i].wall_ms / 1000);
	if (points && times && kept && any) /* else: none is kept, not all */
		keep_choose(&seat->keep, NULL, times, count, kept);
	for (unsigned i = 0; points && times && kept && i < count; i++) {
		if (!kept[i] && !points[i].in_use)
			let_go(seat, points[i].epoch);
	}
	heap_free(points);
	heap_free(times);
	heap_free(kept);
}

static bool is_kept(const struct seat *seat, uint64_t epoch)
{
	struct volume *snapshots[WIRE_MEMBERS_MAX];
	unsigned count = collect(seat, epoch, snapshots);

	for (unsigned i = 0; i < count; i++)
		volume_unref(snapshots[i]);
	return count > 0;
}

void points_sealed(struct seat *seat)
{
	struct group *group = &seat->group;
	char name[SNAPSHOT_NAME_MAX + 1];
	struct err err = {0};
	bool any = false;
	int result = 0;

	for (unsigned i = 0; i < KEEP_KINDS; i++)
		any |= seat->keep.count[i] > 0;
	if (!any && !seat->points_kept)
		return;
	if (any && !is_kept(seat, group->staging.sealed)) {
		points_name(group->uuid, group->staging.sealed, group->staging.sealed_wall_ns,
			    name);
		result = seat_snapshot(seat, name, &err);
	}
	seat->points_failed = false;
	if (result < 0)
		trouble(seat, "kept", err.text);
	thin(seat);
	if (!seat->points_failed)
		seat->points_trouble[0] = '\0';
	seat->points_kept = any; /* once more when the rule has gone, never after that */
}

/* ---- what is shown ---- */
static json_t *show_point(const struct seat *seat, const struct point *point)
{
	struct volume *snapshots[WIRE_MEMBERS_MAX];
	unsigned count = collect(seat, point->epoch, snapshots);
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++) {
		json_array_append_new(
		    list, json_sprintf("%s/%s", pool_name(snapshots[i]->pool), snapshots[i]->name));
		volume_unref(snapshots[i]);
	}
	return json_pack("{s:I,s:I,s:I,s:b,s:o}", "epoch", (json_int_t)point->epoch, "time",
			 (json_int_t)(point->wall_ms / 1000), "time_ms", (json_int_t)point->wall_ms,
			 "in_use", (int)point->in_use, "snapshots", list);
}

json_t *replication_group_points(struct replication *replication, const char *name)
{
	struct seat *seat = seat_find(replication, name);
	struct point *points;
	json_t *list;
	unsigned count;

	if (!seat)
		return NULL;
	points = list_points(seat, &count);
	list = json_array();
	for (unsigned i = 0; points && i < count; i++)
		json_array_append_new(list, show_point(seat, &points[i]));
	heap_free(points);
	return list;
}

/* ---- clones ---- */
static int clone_name(const struct volume *snapshot, uint64_t epoch, const char *wanted,
		      char name[VOLUME_PATH_MAX + 1], struct err *err)
{
	const char *pool = pool_name(snapshot->pool), *slash = wanted ? strchr(wanted, '/') : NULL;
	int of = (int)strcspn(snapshot->name, "@");

	if (slash && (strlen(pool) != (size_t)(slash - wanted) ||
		      memcmp(pool, wanted, (size_t)(slash - wanted)) != 0))
		return err_set(err, -EINVAL, "a clone of %s is in its pool %s, not in that of %s",
			       snapshot->name, pool, wanted);
	if (wanted)
		snprintf(name, VOLUME_PATH_MAX + 1, "%s", slash ? slash + 1 : wanted);
	else
		snprintf(name, VOLUME_PATH_MAX + 1, "%.*s-%" PRIu64, of, snapshot->name, epoch);
	return volume_name_check(name, err);
}

/* @name: of the clone; *ret_clone: NULL when it is only tried. */
static int clone_one(struct volume *snapshot, bool dry, const char *name, struct volume **ret_clone,
		     struct err *err)
{
	struct pool_wait waiting = POOL_WAIT;
	int result;

	waiting.call.dry = dry;
	volume_clone(snapshot, name, &waiting.call);
	result = pool_wait(&waiting, err);
	if (result == 0)
		*ret_clone = dry ? NULL : waiting.call.volume;
	return result;
}

static void take_back(struct volume *clone)
{
	struct pool_wait waiting = POOL_WAIT;
	struct err err = {0};

	volume_delete(clone, &waiting.call);
	if (pool_wait(&waiting, &err) == 0)
		return;
	log_warning("volume %s could not be deleted: %s", clone->name, err.text);
	volume_unref(clone);
}

static json_t *show_clone(const struct volume *snapshot, const char *clone)
{
	const char *pool = pool_name(snapshot->pool); /* the clone's too */

	return json_pack("{s:o,s:o}", "snapshot", json_sprintf("%s/%s", pool, snapshot->name),
			 "volume", json_sprintf("%s/%s", pool, clone));
}

/* Two of one point that are to be named alike: the pool would see it with the second only. */
static int names_differ(const json_t *list, const json_t *clone, struct err *err)
{
	const char *volume = json_string_value(json_object_get(clone, "volume"));
	json_t *other;
	size_t at;

	json_array_foreach((json_t *)list, at, other)
	{
		if (strcmp(json_string_value(json_object_get(other, "volume")), volume) == 0)
			return err_set(err, -EEXIST, "two clones are named %s", volume);
	}
	return 0;
}

int points_clone(struct seat *seat, uint64_t epoch, const json_t *names, bool dry,
		 json_t **ret_reply, struct err *err)
{
	struct volume *snapshots[WIRE_MEMBERS_MAX], *clones[WIRE_MEMBERS_MAX];
	unsigned count = collect(seat, epoch, snapshots), made = 0;
	json_t *list = json_array();
	int result = 0;

	if (count == 0)
		result = err_set(err, -ENOENT, "group %s keeps no point of epoch %" PRIu64 " here",
				 seat->group.name, epoch);
	else if (json_array_size(names) != 0 && json_array_size(names) != count)
		result = err_set(err, -EINVAL, "the point has %u volumes: that many names, or none",
				 count);
	while (result == 0 && made < count) {
		const char *wanted = json_string_value(json_array_get(names, made));
		char name[VOLUME_PATH_MAX + 1];
		json_t *shown;

		result = clone_name(snapshots[made], epoch, wanted, name, err);
		if (result < 0)
			break;
		shown = show_clone(snapshots[made], name);
		result = names_differ(list, shown, err);
		json_array_append_new(list, shown);
		if (result == 0)
			result = clone_one(snapshots[made], dry, name, &clones[made], err);
		made += result == 0;
	}
	for (unsigned i = 0; i < made && !dry; i++) {
		if (result < 0)
			take_back(clones[i]);
		else
			volume_unref(clones[i]);
	}
	for (unsigned i = 0; i < count; i++)
		volume_unref(snapshots[i]);
	if (result < 0)
		json_decref(list);
	else if (dry)
		*ret_reply = dry_reply(json_object(), json_pack("{s:o}", "volumes", list));
	else
		*ret_reply = list;
	return result;
}
