/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/size.h"

#define PATH_ROOM 2048

struct plan {
	json_t *steps;
	struct err *err;
	bool failed;
};

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static void refuse(struct plan *plan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void refuse(struct plan *plan, const char *format, ...)
{
	char text[400];
	va_list values;

	if (plan->failed)
		return;
	plan->failed = true;
	va_start(values, format);
	vsnprintf(text, sizeof text, format, values);
	va_end(values);
	err_set(plan->err, -EINVAL, "%s", text);
}

/* --- steps ---------------------------------------------------------------------------------- */

static void append_part(char *path, const char *text)
{
	size_t at = strlen(path);

	for (; *text && at + 4 < PATH_ROOM; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~:", *text))
			path[at++] = *text;
		else
			at += (size_t)snprintf(path + at, PATH_ROOM - at, "%%%02X",
					       (unsigned char)*text);
	}
	path[at] = '\0';
}

/* "/volumes/%/%": each "%" is the next text, encoded. */
static void fill_path(char path[PATH_ROOM], const char *pattern, const char *const *parts)
{
	snprintf(path, PATH_ROOM, "/api/v1");
	for (; *pattern; pattern++) {
		size_t at = strlen(path);

		if (*pattern == '%') {
			append_part(path, *parts++);
		} else if (at + 1 < PATH_ROOM) {
			path[at] = *pattern;
			path[at + 1] = '\0';
		}
	}
}

#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Steals @body (NULL: none). */
static void step(struct plan *plan, const char *method, const char *pattern,
		 const char *const *parts, json_t *body, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
static void step(struct plan *plan, const char *method, const char *pattern,
		 const char *const *parts, json_t *body, const char *format, ...)
{
	char path[PATH_ROOM], text[700];
	va_list values;

	fill_path(path, pattern, parts);
	va_start(values, format);
	vsnprintf(text, sizeof text, format, values);
	va_end(values);
	json_array_append_new(plan->steps,
			      json_pack("{s:s,s:s,s:o,s:s}", "method", method, "path", path, "body",
					body ? body : json_object(), "text", text));
}

/* --- looking things up ---------------------------------------------------------------------- */

/* A member that is a list of objects, empty when it is not there; borrowed. */
static const json_t *list_of(struct plan *plan, const json_t *object, const char *name)
{
	const json_t *list = json_object_get(object, name);
	size_t index;
	json_t *item;

	if (list && !json_is_array(list))
		refuse(plan, "\"%s\" is a list", name);
	json_array_foreach((json_t *)list, index, item)
	{
		if (!json_is_object(item))
			refuse(plan, "\"%s\" is a list of objects", name);
	}
	return plan->failed ? NULL : list;
}

/* The object of @list whose texts @a and @b (NULL: only @a) are those of @like. */
static json_t *find(const json_t *list, const json_t *like, const char *a, const char *b)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)list, index, item)
	{
		if (strcmp(text_of(item, a), text_of(like, a)) == 0 &&
		    (!b || strcmp(text_of(item, b), text_of(like, b)) == 0))
			return item;
	}
	return NULL;
}

static bool has_text(const json_t *list, const char *text)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)list, index, item)
	{
		const char *one = json_string_value(item);

		if (one && strcmp(one, text) == 0)
			return true;
	}
	return false;
}

/* The texts of @a that @b lacks; new. */
static json_t *texts_without(const json_t *a, const json_t *b)
{
	json_t *rest = json_array(), *item;
	size_t index;

	json_array_foreach((json_t *)a, index, item)
	{
		if (json_is_string(item) && !has_text(b, json_string_value(item)))
			json_array_append(rest, item);
	}
	return rest;
}

static bool read_size(struct plan *plan, const json_t *object, const char *name, uint64_t *ret_size)
{
	const json_t *value = json_object_get(object, name);
	struct err err = {0};

	*ret_size = 0;
	if (json_is_integer(value) && json_integer_value(value) >= 0)
		*ret_size = (uint64_t)json_integer_value(value);
	else if (!json_is_string(value) || size_parse(json_string_value(value), ret_size, &err) < 0)
		refuse(plan, "%s of %s is no size", name, text_of(object, "name"));
	return !plan->failed;
}

/* --- topics --------------------------------------------------------------------------------- */

static void plan_pools(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *pool;

	json_array_foreach((json_t *)list_of(plan, wanted, "pools"), index, pool)
	{
		const char *name = text_of(pool, "name"), *marks = text_of(pool, "watermarks");
		const json_t *there = find(list_of(plan, now, "pools"), pool, "name", NULL);

		if (!there)
			refuse(plan, "pool %s is not there; a document makes no pools", name);
		else if (*marks && strcmp(marks, text_of(there, "watermarks")) != 0)
			step(plan, "PATCH", "/pools/%", PARTS(name),
			     json_pack("{s:s}", "watermarks", marks), "pool %s: watermarks %s",
			     name, marks);
	}
}

static void plan_hosts(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *host;

	json_array_foreach((json_t *)list_of(plan, wanted, "hosts"), index, host)
	{
		const char *name = text_of(host, "name");
		const json_t *there = find(list_of(plan, now, "hosts"), host, "name", NULL);
		const json_t *new = json_object_get(host, "initiators");
		const json_t *old = json_object_get(there, "initiators");
		json_t *add = texts_without(new, old), *remove = texts_without(old, new);

		if (!there)
			step(plan, "POST", "/hosts", PARTS(""),
			     json_pack("{s:s,s:O}", "name", name, "initiators", add),
			     "create host group %s", name);
		else if (json_array_size(add) || json_array_size(remove))
			step(plan, "PATCH", "/hosts/%", PARTS(name),
			     json_pack("{s:O,s:O}", "add", add, "remove", remove),
			     "change host group %s", name);
		json_decref(add);
		json_decref(remove);
	}
}

static void plan_volume(struct plan *plan, const json_t *there, const json_t *volume)
{
	const char *pool = text_of(volume, "pool"), *name = text_of(volume, "name");
	const char *checksum = text_of(volume, "checksum");
	uint64_t size, old;

	if (!read_size(plan, volume, "size_bytes", &size))
		return;
	if (!there) {
		step(plan, "POST", "/volumes", PARTS(""),
		     json_pack("{s:s,s:s,s:I,s:s*}", "pool", pool, "name", name, "size",
			       (json_int_t)size, "checksum", *checksum ? checksum : NULL),
		     "create volume %s/%s", pool, name);
		return;
	}
	old = (uint64_t)json_integer_value(json_object_get(there, "size_bytes"));
	if (size < old)
		refuse(plan, "volume %s/%s would shrink; a document never takes data away", pool,
		       name);
	else if (size > old)
		step(plan, "PATCH", "/volumes/%/%", PARTS(pool, name),
		     json_pack("{s:I}", "size", (json_int_t)size), "grow volume %s/%s", pool, name);
}

static void plan_volumes(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = list_of(plan, now, "volumes");
	size_t index;
	json_t *volume;

	json_array_foreach((json_t *)list_of(plan, wanted, "volumes"), index, volume)
	    plan_volume(plan, find(current, volume, "pool", "name"), volume);
}

static void plan_share_rules(struct plan *plan, const json_t *there, const json_t *share)
{
	const char *pool = text_of(share, "pool"), *name = text_of(share, "name");
	const json_t *old = list_of(plan, there, "rules"), *new = list_of(plan, share, "rules");
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)new, index, rule)
	{
		const json_t *same = find(old, rule, "client", NULL);

		if (!same || !json_equal(same, rule))
			step(plan, "POST", "/shares/%/%/rules", PARTS(pool, name),
			     json_incref(rule), "share %s/%s: allow %s", pool, name,
			     text_of(rule, "client"));
	}
	json_array_foreach((json_t *)old, index, rule)
	{
		if (!find(new, rule, "client", NULL))
			step(plan, "DELETE", "/shares/%/%/rules", PARTS(pool, name),
			     json_pack("{s:s}", "client", text_of(rule, "client")),
			     "share %s/%s: deny %s", pool, name, text_of(rule, "client"));
	}
}

static void plan_shares(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *share;

	json_array_foreach((json_t *)list_of(plan, wanted, "shares"), index, share)
	{
		const char *pool = text_of(share, "pool"), *name = text_of(share, "name");
		const json_t *there = find(list_of(plan, now, "shares"), share, "pool", "name");
		uint64_t quota = 0;

		if (json_object_get(share, "quota_bytes") &&
		    !read_size(plan, share, "quota_bytes", &quota))
			return;
		if (!there)
			step(plan, "POST", "/shares", PARTS(""),
			     quota ? json_pack("{s:s,s:s,s:I}", "pool", pool, "name", name, "quota",
					       (json_int_t)quota)
				   : json_pack("{s:s,s:s}", "pool", pool, "name", name),
			     "create share %s/%s", pool, name);
		else if (quota !=
			 (uint64_t)json_integer_value(json_object_get(there, "quota_bytes")))
			step(plan, "PATCH", "/shares/%/%", PARTS(pool, name),
			     json_pack("{s:o}", "quota",
				       quota ? json_integer((json_int_t)quota) : json_string("0")),
			     "share %s/%s: quota", pool, name);
		plan_share_rules(plan, there, share);
	}
}

static json_t *find_lun(const json_t *luns, json_int_t number)
{
	size_t index;
	json_t *lun;

	json_array_foreach((json_t *)luns, index, lun)
	{
		if (json_integer_value(json_object_get(lun, "lun")) == number)
			return lun;
	}
	return NULL;
}

static bool same_hosts(const json_t *a, const json_t *b)
{
	json_t *one = texts_without(a, b), *other = texts_without(b, a);
	bool same = !json_array_size(one) && !json_array_size(other);

	json_decref(one);
	json_decref(other);
	return same;
}

static void map_lun(struct plan *plan, const char *iqn, const json_t *old, const json_t *lun)
{
	const char *pool = text_of(lun, "pool"), *volume = text_of(lun, "volume");
	const json_t *hosts = json_object_get(lun, "hosts"), *had = json_object_get(old, "hosts");
	int number = (int)json_integer_value(json_object_get(lun, "lun"));
	char digits[16];

	snprintf(digits, sizeof digits, "%d", number);
	if (!old)
		step(plan, "POST", "/targets/%/luns", PARTS(iqn),
		     json_pack("{s:s,s:s,s:i}", "pool", pool, "volume", volume, "lun", number),
		     "target %s: LUN %d is %s/%s", iqn, number, pool, volume);
	if (!same_hosts(hosts, had))
		step(plan, "PUT", "/targets/%/luns/%/hosts", PARTS(iqn, digits),
		     json_pack("{s:o}", "hosts",
			       hosts ? json_incref((json_t *)hosts) : json_array()),
		     "target %s: whom LUN %d is shown to", iqn, number);
}

static bool same_volume(const json_t *a, const json_t *b)
{
	return a && b && strcmp(text_of(a, "pool"), text_of(b, "pool")) == 0 &&
	       strcmp(text_of(a, "volume"), text_of(b, "volume")) == 0;
}

static void plan_luns(struct plan *plan, const char *iqn, const json_t *there, const json_t *target)
{
	const json_t *old = list_of(plan, there, "luns"), *new = list_of(plan, target, "luns");
	size_t index;
	json_t *lun;

	json_array_foreach((json_t *)old, index, lun)
	{
		json_int_t number = json_integer_value(json_object_get(lun, "lun"));
		char digits[32];

		if (same_volume(find_lun(new, number), lun))
			continue;
		snprintf(digits, sizeof digits, "%lld", (long long)number);
		step(plan, "DELETE", "/targets/%/luns/%", PARTS(iqn, digits), NULL,
		     "target %s: take LUN %s away", iqn, digits);
	}
	json_array_foreach((json_t *)new, index, lun)
	{
		json_t *same = find_lun(old, json_integer_value(json_object_get(lun, "lun")));

		if (!json_is_integer(json_object_get(lun, "lun")))
			refuse(plan, "a LUN of target %s has no number", iqn);
		else
			map_lun(plan, iqn, same_volume(same, lun) ? same : NULL, lun);
	}
}

static void plan_rules(struct plan *plan, const char *iqn, const json_t *there,
		       const json_t *target)
{
	const json_t *old = list_of(plan, there, "rules"), *new = list_of(plan, target, "rules");
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)new, index, rule)
	{
		const json_t *same = find(old, rule, "initiator", "network");

		if (!same || strcmp(text_of(same, "chap_user"), text_of(rule, "chap_user")) != 0 ||
		    strcmp(text_of(same, "mutual_user"), text_of(rule, "mutual_user")) != 0)
			step(plan, "POST", "/targets/%/rules", PARTS(iqn), json_incref(rule),
			     "target %s: allow %s from %s", iqn, text_of(rule, "initiator"),
			     text_of(rule, "network"));
	}
	json_array_foreach((json_t *)old, index, rule)
	{
		if (!find(new, rule, "initiator", "network"))
			step(plan, "DELETE", "/targets/%/rules", PARTS(iqn),
			     json_pack("{s:s,s:s}", "initiator", text_of(rule, "initiator"),
				       "network", text_of(rule, "network")),
			     "target %s: deny %s from %s", iqn, text_of(rule, "initiator"),
			     text_of(rule, "network"));
	}
}

static void plan_targets(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *target;

	json_array_foreach((json_t *)list_of(plan, wanted, "targets"), index, target)
	{
		const char *iqn = text_of(target, "iqn"), *alias = text_of(target, "alias");
		const json_t *there = find(list_of(plan, now, "targets"), target, "iqn", NULL);

		if (!there)
			step(plan, "POST", "/targets", PARTS(""),
			     json_pack("{s:s,s:s*}", "iqn", iqn, "alias", *alias ? alias : NULL),
			     "create target %s", iqn);
		plan_luns(plan, iqn, there, target);
		plan_rules(plan, iqn, there, target);
	}
}

static void prune_list(struct plan *plan, const json_t *now, const json_t *wanted, const char *list,
		       const char *key, const char *pattern)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)list_of(plan, now, list), index, item)
	{
		if (!find(list_of(plan, wanted, list), item, key, NULL))
			step(plan, "DELETE", pattern, PARTS(text_of(item, key)), NULL,
			     "delete %.*s %s", (int)strlen(list) - 1, list, text_of(item, key));
	}
}

static const char *const members[] = {"version", "pools", "hosts", "volumes", "shares", "targets"};

static void check_members(struct plan *plan, const json_t *wanted)
{
	const char *key;
	json_t *value;

	if (json_integer_value(json_object_get(wanted, "version")) != 1)
		refuse(plan, "the document's \"version\" is not 1");
	json_object_foreach((json_t *)wanted, key, value)
	{
		bool known = false;

		for (unsigned i = 0; i < sizeof members / sizeof *members; i++)
			known = known || strcmp(members[i], key) == 0;
		if (!known)
			refuse(plan, "the document has a member \"%.100s\" that means nothing",
			       key);
	}
}

json_t *plan_make(const json_t *current, const json_t *wanted, bool prune, struct err *err)
{
	struct plan plan = {json_array(), err, false};

	check_members(&plan, wanted);
	plan_pools(&plan, current, wanted);
	plan_hosts(&plan, current, wanted);
	plan_volumes(&plan, current, wanted);
	plan_shares(&plan, current, wanted);
	plan_targets(&plan, current, wanted);
	if (prune)
		prune_list(&plan, current, wanted, "targets", "iqn", "/targets/%");
	if (prune)
		prune_list(&plan, current, wanted, "hosts", "name", "/hosts/%");
	if (!plan.failed)
		return plan.steps;
	json_decref(plan.steps);
	return NULL;
}
