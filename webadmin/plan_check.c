/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "webadmin/plan.h"

/* The shape of a document: one table of what its objects may have. What means nothing is refused
 * rather than passed over, for it is mostly a slip of the pen, and its author believes that it was
 * carried out. */

enum kind { TEXT, NUMBER, SIZE, SWITCH, TEXTS, DEVICES, NOTES, OBJECT, OBJECTS };

struct member {
	const char *name; /* NULL ends the list */
	enum kind kind;
	bool needed;
	const struct member *members; /* of OBJECT, OBJECTS */
};

#define MUST(name, kind)                                                                           \
	{                                                                                          \
		name, kind, true, NULL                                                             \
	}
#define MAY(name, kind)                                                                            \
	{                                                                                          \
		name, kind, false, NULL                                                            \
	}
#define HOLDS(name, kind, members)                                                                 \
	{                                                                                          \
		name, kind, false, members                                                         \
	}
#define END                                                                                        \
	{                                                                                          \
		NULL, TEXT, false, NULL                                                            \
	}

static const struct member pool_members[] = {MUST("name", TEXT),
					     MAY("watermarks", TEXT),
					     MAY("scrub_every", TEXT),
					     MAY("undelete_hours", NUMBER),
					     MAY("devices", DEVICES),
					     MAY("metadata", NOTES),
					     END};
static const struct member host_members[] = {MUST("name", TEXT), MAY("initiators", TEXTS),
					     MAY("metadata", NOTES), END};
static const struct member volume_members[] = {
    MUST("pool", TEXT),       MUST("name", TEXT),        MUST("size_bytes", SIZE),
    MAY("checksum", TEXT),    MAY("mirror", SWITCH),     MAY("reserve_bytes", SIZE),
    MAY("quota_bytes", SIZE), MAY("iops_limit", NUMBER), MAY("bandwidth_limit_bytes", SIZE),
    MAY("burst_ms", NUMBER),  MAY("metadata", NOTES),    END};
static const struct member client_members[] = {
    MUST("client", TEXT),  MAY("read_only", SWITCH), MAY("insecure", SWITCH), MAY("squash", TEXT),
    MAY("security", TEXT), MAY("anon_uid", NUMBER),  MAY("anon_gid", NUMBER), END};
static const struct member share_members[] = {MUST("pool", TEXT),
					      MUST("name", TEXT),
					      MAY("quota_bytes", SIZE),
					      MAY("mirror", SWITCH),
					      MAY("versions", TEXTS),
					      MAY("snapshots", TEXT),
					      HOLDS("rules", OBJECTS, client_members),
					      MAY("metadata", NOTES),
					      END};
static const struct member directory_members[] = {
    MUST("name", TEXT),     MAY("path", TEXT),
    MAY("versions", TEXTS), HOLDS("rules", OBJECTS, client_members),
    MAY("metadata", NOTES), END};
static const struct member lun_members[] = {
    MUST("lun", NUMBER), MUST("pool", TEXT),       MUST("volume", TEXT),       MAY("hosts", TEXTS),
    MAY("type", TEXT),   MAY("read_only", SWITCH), MAY("write_cache", SWITCH), END};
static const struct member rule_members[] = {MAY("initiator", TEXT),
					     MAY("network", TEXT),
					     MAY("chap_user", TEXT),
					     MAY("chap_secret", TEXT),
					     MAY("mutual_user", TEXT),
					     MAY("mutual_secret", TEXT),
					     END};
static const struct member group_members[] = {MUST("group", NUMBER), MAY("access", TEXT),
					      MAY("preferred", SWITCH), END};
static const struct member target_members[] = {MUST("iqn", TEXT),
					       MAY("alias", TEXT),
					       MAY("redirect", TEXT),
					       MAY("async_events", SWITCH),
					       MAY("max_sessions", NUMBER),
					       MAY("max_sessions_per_initiator", NUMBER),
					       HOLDS("luns", OBJECTS, lun_members),
					       HOLDS("rules", OBJECTS, rule_members),
					       HOLDS("groups", OBJECTS, group_members),
					       MAY("metadata", NOTES),
					       END};
static const struct member isns_members[] = {MUST("server", TEXT), MAY("esi_port", NUMBER), END};
static const struct member schedule_members[] = {
    MUST("name", TEXT),        MUST("volumes", TEXTS), MUST("every", TEXT),
    MAY("keep", TEXT),         MAY("prefix", TEXT),    MAY("zone", TEXT),
    MAY("expendable", SWITCH), MAY("metadata", NOTES), END};
static const struct member alert_rule_members[] = {MUST("rule", TEXT),
						   MAY("enabled", SWITCH),
						   MAY("severity", TEXT),
						   MAY("after_seconds", NUMBER),
						   MAY("clear_seconds", NUMBER),
						   MAY("level", NUMBER),
						   END};
static const struct member channel_members[] = {
    MUST("name", TEXT),     MUST("kind", TEXT),     MAY("url", TEXT),
    MAY("preset", TEXT),    MAY("from", TEXT),      MAY("to", TEXTS),
    MAY("user", TEXT),      MAY("secret", TEXT),    MAY("tls", SWITCH),
    MAY("audit", SWITCH),   MAY("language", TEXT),  MAY("severity", TEXT),
    MAY("enabled", SWITCH), MAY("metadata", NOTES), END};
static const struct member ups_members[] = {MUST("host", TEXT), MAY("ups", TEXT),
					    MAY("port", NUMBER), MAY("shutdown_at", TEXT), END};
static const struct member document_members[] = {MUST("version", NUMBER),
						 MAY("note", TEXT),
						 HOLDS("pools", OBJECTS, pool_members),
						 HOLDS("hosts", OBJECTS, host_members),
						 HOLDS("volumes", OBJECTS, volume_members),
						 HOLDS("shares", OBJECTS, share_members),
						 HOLDS("directories", OBJECTS, directory_members),
						 HOLDS("targets", OBJECTS, target_members),
						 HOLDS("schedules", OBJECTS, schedule_members),
						 HOLDS("isns", OBJECT, isns_members),
						 HOLDS("alert_rules", OBJECTS, alert_rule_members),
						 HOLDS("alert_channels", OBJECTS, channel_members),
						 MAY("slow_limit", TEXT),
						 HOLDS("ups", OBJECT, ups_members),
						 END};

#define PATH_MAX_HERE 200

static int check_object(const json_t *object, const struct member *members, const char *path,
			struct err *err);

static int refuse(struct err *err, const char *path, const char *what)
{
	return err_set(err, -EINVAL, "%s: %s", path, what);
}

static int check_list(const json_t *list, const struct member *member, const char *path,
		      struct err *err)
{
	size_t index;
	json_t *item;

	if (!json_is_array(list))
		return refuse(err, path, "this has to be a list");
	json_array_foreach((json_t *)list, index, item)
	{
		char inner[PATH_MAX_HERE];
		int result = 0;

		snprintf(inner, sizeof inner, "%.180s[%u]", path, (unsigned)index);
		if (member->kind == OBJECTS)
			result = check_object(item, member->members, inner, err);
		else if (!json_is_string(item) && (member->kind == TEXTS || !json_is_object(item)))
			result = refuse(err, inner, "this has to be a text");
		if (result < 0)
			return result;
	}
	return 0;
}

/* Texts by name; how long they may be is the step's to say. */
static int check_notes(const json_t *notes, const char *path, struct err *err)
{
	const char *name;
	json_t *text;

	if (!json_is_object(notes))
		return refuse(err, path, "this has to be an object of texts by name");
	json_object_foreach((json_t *)notes, name, text)
	{
		char inner[PATH_MAX_HERE];

		snprintf(inner, sizeof inner, "%.90s.%.100s", path, name);
		if (!json_is_string(text))
			return refuse(err, inner, "this has to be a text");
	}
	return 0;
}

static int check_value(const json_t *value, const struct member *member, const char *path,
		       struct err *err)
{
	bool count = json_is_integer(value) && json_integer_value(value) >= 0;

	switch (member->kind) {
	case TEXT:
		return json_is_string(value) ? 0 : refuse(err, path, "this has to be a text");
	case NUMBER:
		return count ? 0 : refuse(err, path, "this has to be a number, not below 0");
	case SIZE: /* what text is a size is seen when it is used */
		return count || json_is_string(value)
			   ? 0
			   : refuse(err, path, "this has to be a size: bytes, or as 20G");
	case SWITCH:
		return json_is_boolean(value) ? 0
					      : refuse(err, path, "this has to be true or false");
	case NOTES:
		return check_notes(value, path, err);
	case OBJECT:
		return check_object(value, member->members, path, err);
	default:
		return check_list(value, member, path, err);
	}
}

static const struct member *find_member(const struct member *members, const char *name)
{
	while (members->name && strcmp(members->name, name) != 0)
		members++;
	return members->name ? members : NULL;
}

static int check_object(const json_t *object, const struct member *members, const char *path,
			struct err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return refuse(err, path, "this has to be an object with members");
	json_object_foreach((json_t *)object, key, value)
	{
		const struct member *member = find_member(members, key);
		char inner[PATH_MAX_HERE];
		int result;

		snprintf(inner, sizeof inner, "%.90s%s%.100s", path, *path ? "." : "", key);
		result = member ? check_value(value, member, inner, err)
				: refuse(err, inner, "a member of this name means nothing here");
		if (result < 0)
			return result;
	}
	for (; members->name; members++)
		if (members->needed && !json_object_get(object, members->name))
			return err_set(err, -EINVAL, "%s%smember \"%s\" is missing", path,
				       *path ? ": " : "", members->name);
	return 0;
}

int plan_check(const json_t *document, struct err *err)
{
	int result = check_object(document, document_members, "", err);

	if (result == 0 && json_integer_value(json_object_get(document, "version")) != 1)
		return refuse(err, "version", "this has to be 1");
	return result;
}
