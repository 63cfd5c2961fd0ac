/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/size.h"
#include "iscsi/iscsi.h"
#include "snapshots/snapshots.h"

#define PATH_ROOM 2048

struct plan {
	json_t *steps;
	const json_t *volumes; /* that are there */
	char where[64];        /* what is looked at: "volumes[3]" */
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
	err_set(plan->err, -EINVAL, "%s%s%s", plan->where, plan->where[0] ? ": " : "", text);
}

static void look_at(struct plan *plan, const char *list, size_t index)
{
	snprintf(plan->where, sizeof plan->where, "%s[%zu]", list, index);
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

static uint64_t number_of(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static bool same_texts(const json_t *a, const json_t *b)
{
	json_t *one = texts_without(a, b), *other = texts_without(b, a);
	bool same = !json_array_size(one) && !json_array_size(other);

	json_decref(one);
	json_decref(other);
	return same;
}

/* --- topics --------------------------------------------------------------------------------- */

/* Its devices are only for where it is not there yet: a disk has another name on each machine. */
static void plan_pools(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *pool;

	json_array_foreach((json_t *)list_of(plan, wanted, "pools"), index, pool)
	{
		const char *name = text_of(pool, "name"), *marks = text_of(pool, "watermarks");
		const json_t *there = find(list_of(plan, now, "pools"), pool, "name", NULL);
		json_t *devices = json_object_get(pool, "devices");

		look_at(plan, "pools", index);
		if (!there && !json_array_size(devices))
			refuse(plan,
			       "pool %s is missing: make it with \"granary pool create "
			       "%s DEVICE...\", or name its devices in the document",
			       name, name);
		else if (!there)
			step(plan, "POST", "/pools", PARTS(""),
			     json_pack("{s:s,s:O}", "name", name, "devices", devices),
			     "create pool %s", name);
		if (*marks && strcmp(marks, text_of(there, "watermarks")) != 0)
			step(plan, "PATCH", "/pools/%", PARTS(name),
			     json_pack("{s:s}", "watermarks", marks), "pool %s: watermarks %s",
			     name, marks);
	}
	plan->where[0] = 0;
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

		look_at(plan, "hosts", index);
		if (!there)
			step(plan, "POST", "/hosts", PARTS(""),
			     json_pack("{s:s,s:O}", "name", name, "initiators", add),
			     "create host group %s", name);
		else if (new && (json_array_size(add) || json_array_size(remove)))
			step(plan, "PATCH", "/hosts/%", PARTS(name),
			     json_pack("{s:O,s:O}", "add", add, "remove", remove),
			     "change host group %s", name);
		json_decref(add);
		json_decref(remove);
	}
	plan->where[0] = 0;
}

/* @name of the document where it has it, else what is there; 0 for neither. */
static uint64_t wanted_number(struct plan *plan, const json_t *wanted, const json_t *there,
			      const char *name)
{
	uint64_t number = number_of(there, name);

	if (json_object_get(wanted, name))
		read_size(plan, wanted, name, &number);
	return number;
}

/* A size that need not be there. */
static void want_size(struct plan *plan, const json_t *volume, const char *name, const char *option,
		      json_t *body)
{
	uint64_t bytes = wanted_number(plan, volume, NULL, name);

	if (bytes)
		json_object_set_new(body, option, json_integer((json_int_t)bytes));
}

static void create_volume(struct plan *plan, const json_t *volume, uint64_t size)
{
	const char *pool = text_of(volume, "pool"), *name = text_of(volume, "name");
	const char *checksum = text_of(volume, "checksum");
	json_t *body = json_pack("{s:s,s:s,s:I,s:s*}", "pool", pool, "name", name, "size",
				 (json_int_t)size, "checksum", *checksum ? checksum : NULL);

	if (json_is_true(json_object_get(volume, "mirror")))
		json_object_set_new(body, "mirror", json_true());
	want_size(plan, volume, "reserve_bytes", "reserve", body);
	want_size(plan, volume, "quota_bytes", "quota", body);
	step(plan, "POST", "/volumes", PARTS(""), body, "create volume %s/%s", pool, name);
}

/* False: it is refused. */
static bool compare_mirror(struct plan *plan, const char *what, const json_t *there,
			   const json_t *wanted)
{
	const json_t *mirror = json_object_get(wanted, "mirror");

	if (!mirror || json_is_true(mirror) == json_is_true(json_object_get(there, "mirror")))
		return true;
	refuse(plan, "%s %s/%s: a %s does not become mirrored, or cease to be", what,
	       text_of(wanted, "pool"), text_of(wanted, "name"), what);
	return false;
}

/* What a volume is made with stays: a document that wants it otherwise can not be carried out. */
static void compare_volume(struct plan *plan, const json_t *there, const json_t *volume,
			   uint64_t size)
{
	const char *pool = text_of(volume, "pool"), *name = text_of(volume, "name");
	const char *checksum = text_of(volume, "checksum");
	uint64_t old = number_of(there, "size_bytes");

	if (*checksum && strcmp(checksum, text_of(there, "checksum")) != 0)
		refuse(plan, "volume %s/%s: the checksums of a volume do not change", pool, name);
	else if (!compare_mirror(plan, "volume", there, volume))
		return;
	else if (size < old)
		refuse(plan, "volume %s/%s would shrink; a document never takes data away", pool,
		       name);
	else if (size > old)
		step(plan, "PATCH", "/volumes/%/%", PARTS(pool, name),
		     json_pack("{s:I}", "size", (json_int_t)size), "grow volume %s/%s", pool, name);
}

static void plan_limits(struct plan *plan, const json_t *there, const json_t *volume)
{
	const char *pool = text_of(volume, "pool"), *name = text_of(volume, "name");
	uint64_t iops = wanted_number(plan, volume, there, "iops_limit");
	uint64_t bandwidth = wanted_number(plan, volume, there, "bandwidth_limit_bytes");
	uint64_t burst = wanted_number(plan, volume, there, "burst_ms");
	json_t *body;

	if (iops == number_of(there, "iops_limit") &&
	    bandwidth == number_of(there, "bandwidth_limit_bytes") &&
	    burst == number_of(there, "burst_ms"))
		return;
	body = json_pack("{s:I,s:I}", "iops", (json_int_t)iops, "bandwidth", (json_int_t)bandwidth);
	if (burst)
		json_object_set_new(body, "burst",
				    json_sprintf("%llums", (unsigned long long)burst));
	step(plan, "PATCH", "/volumes/%/%", PARTS(pool, name), body, "volume %s/%s: limits", pool,
	     name);
}

/* Its share of the pool: what it reserves, and its quota. A new one has them from the start. */
static void plan_space(struct plan *plan, const json_t *there, const json_t *volume)
{
	const char *pool = text_of(volume, "pool"), *name = text_of(volume, "name");
	uint64_t reserve = wanted_number(plan, volume, there, "reserve_bytes");
	uint64_t quota = wanted_number(plan, volume, there, "quota_bytes");

	if (reserve != number_of(there, "reserve_bytes") ||
	    quota != number_of(there, "quota_bytes"))
		step(plan, "PATCH", "/volumes/%/%", PARTS(pool, name),
		     json_pack("{s:I,s:I}", "reserve", (json_int_t)reserve, "quota",
			       (json_int_t)quota),
		     "volume %s/%s: reservation and quota", pool, name);
}

static void plan_volume(struct plan *plan, const json_t *there, const json_t *volume)
{
	uint64_t size;

	if (!read_size(plan, volume, "size_bytes", &size))
		return;
	if (there) {
		compare_volume(plan, there, volume, size);
		plan_space(plan, there, volume);
	} else {
		create_volume(plan, volume, size);
	}
	plan_limits(plan, there, volume);
}

static void plan_volumes(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = list_of(plan, now, "volumes");
	size_t index;
	json_t *volume;

	json_array_foreach((json_t *)list_of(plan, wanted, "volumes"), index, volume)
	{
		look_at(plan, "volumes", index);
		plan_volume(plan, find(current, volume, "pool", "name"), volume);
	}
	plan->where[0] = 0;
}

/* The rules of what is called @what ("share tank/files"), whose routes begin with @pattern. */
static void plan_clients(struct plan *plan, const json_t *there, const json_t *wanted,
			 const char *what, const char *pattern, const char *const *parts)
{
	const json_t *old = list_of(plan, there, "rules"), *new = list_of(plan, wanted, "rules");
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)new, index, rule)
	{
		json_t *same = find(old, rule, "client", NULL);
		json_t *whole = same ? json_copy(same) : json_object();

		json_object_update(whole, rule); /* the members it does not name stay */
		if (!same || !json_equal(same, whole))
			step(plan, "POST", pattern, parts, json_incref(whole), "%s: allow %s", what,
			     text_of(rule, "client"));
		json_decref(whole);
	}
	json_array_foreach((json_t *)old, index, rule)
	{
		if (!find(new, rule, "client", NULL))
			step(plan, "DELETE", pattern, parts,
			     json_pack("{s:s}", "client", text_of(rule, "client")), "%s: deny %s",
			     what, text_of(rule, "client"));
	}
}

static void plan_share_rules(struct plan *plan, const json_t *there, const json_t *share)
{
	const char *pool = text_of(share, "pool"), *name = text_of(share, "name");
	char what[400];

	snprintf(what, sizeof what, "share %s/%s", pool, name);
	plan_clients(plan, there, share, what, "/shares/%/%/rules", PARTS(pool, name));
}

/* The members of a POST (@there NULL) or PATCH that make the share what @share says. */
static json_t *share_members(struct plan *plan, const json_t *there, const json_t *share)
{
	json_t *body = json_object(), *versions = json_object_get(share, "versions");
	bool named = json_object_get(share, "quota_bytes") != NULL;
	uint64_t quota = 0;

	if (named && read_size(plan, share, "quota_bytes", &quota) &&
	    quota != number_of(there, "quota_bytes"))
		json_object_set_new(body, "quota", json_integer((json_int_t)quota));
	if (versions && !same_texts(versions, json_object_get(there, "versions")))
		json_object_set(body, "versions", versions);
	return body;
}

/* Hidden, where nobody has said another thing yet. */
static void plan_share_snapshots(struct plan *plan, const json_t *there, const json_t *share)
{
	const char *wanted = text_of(share, "snapshots");
	const char *is = there ? text_of(there, "snapshots") : "hidden";

	if (*wanted && strcmp(wanted, is) != 0)
		step(plan, "PATCH", "/shares/%/%",
		     PARTS(text_of(share, "pool"), text_of(share, "name")),
		     json_pack("{s:s}", "snapshots", wanted), "share %s/%s: snapshots are %s",
		     text_of(share, "pool"), text_of(share, "name"), wanted);
}

static void plan_share(struct plan *plan, const json_t *there, const json_t *share)
{
	const char *pool = text_of(share, "pool"), *name = text_of(share, "name");
	json_t *body = share_members(plan, there, share);

	if (!there) {
		json_object_set_new(body, "pool", json_string(pool));
		json_object_set_new(body, "name", json_string(name));
		if (json_is_true(json_object_get(share, "mirror")))
			json_object_set_new(body, "mirror", json_true());
		step(plan, "POST", "/shares", PARTS(""), json_incref(body), "create share %s/%s",
		     pool, name);
	} else if (json_object_size(body)) {
		step(plan, "PATCH", "/shares/%/%", PARTS(pool, name), json_incref(body),
		     "share %s/%s: %s", pool, name,
		     json_object_get(body, "quota") ? "quota" : "versions");
	}
	json_decref(body);
	if (there)
		(void)compare_mirror(plan, "share", there, share);
	plan_share_snapshots(plan, there, share);
	if (json_object_get(share, "rules"))
		plan_share_rules(plan, there, share);
}

static void plan_shares(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = list_of(plan, now, "shares");
	size_t index;
	json_t *share;

	json_array_foreach((json_t *)list_of(plan, wanted, "shares"), index, share)
	{
		look_at(plan, "shares", index);
		plan_share(plan, find(current, share, "pool", "name"), share);
	}
	plan->where[0] = 0;
}

/* One whose path is another one is made anew: what clients have of it is stale either way. */
static void plan_directory(struct plan *plan, const json_t *there, const json_t *directory)
{
	const char *name = text_of(directory, "name"), *path = text_of(directory, "path");
	json_t *versions = json_object_get(directory, "versions");
	char what[300];

	if (there && *path && strcmp(path, text_of(there, "path")) != 0) {
		step(plan, "DELETE", "/directories/%", PARTS(name), NULL, "remove directory %s",
		     name);
		there = NULL;
	}
	if (!there)
		step(plan, "POST", "/directories", PARTS(""),
		     json_pack("{s:s,s:s,s:O*}", "name", name, "path", path, "versions", versions),
		     "add directory %s: %s", name, path);
	else if (versions && !same_texts(versions, json_object_get(there, "versions")))
		step(plan, "PATCH", "/directories/%", PARTS(name),
		     json_pack("{s:O}", "versions", versions), "directory %s: versions", name);
	snprintf(what, sizeof what, "directory %s", name);
	if (json_object_get(directory, "rules"))
		plan_clients(plan, there, directory, what, "/directories/%/rules", PARTS(name));
}

static void plan_directories(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = list_of(plan, now, "directories");
	size_t index;
	json_t *directory;

	json_array_foreach((json_t *)list_of(plan, wanted, "directories"), index, directory)
	{
		look_at(plan, "directories", index);
		plan_directory(plan, find(current, directory, "name", NULL), directory);
	}
	plan->where[0] = 0;
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

/* Was the LUN's volume there before the document? */
static bool is_there(const struct plan *plan, const json_t *lun)
{
	size_t index;
	json_t *volume;

	json_array_foreach((json_t *)plan->volumes, index, volume)
	{
		if (strcmp(text_of(volume, "pool"), text_of(lun, "pool")) == 0 &&
		    strcmp(text_of(volume, "name"), text_of(lun, "volume")) == 0)
			return true;
	}
	return false;
}

/* The cache is the volume's: one that was there already may have any. */
static void plan_cache(struct plan *plan, const char *iqn, const char *digits, const json_t *old,
		       const json_t *lun)
{
	const json_t *wanted = json_object_get(lun, "write_cache");
	const json_t *is = json_object_get(old, "write_cache");
	bool fresh = !is_there(plan, lun);

	if (wanted && strcmp(text_of(lun, "type"), "cdrom") == 0)
		refuse(plan, "LUN %s: a CD-ROM has no write cache", digits);
	if (!wanted || (is ? json_equal(wanted, is) : !old && fresh && json_is_true(wanted)))
		return;
	step(plan, "PATCH", "/targets/%/luns/%", PARTS(iqn, digits),
	     json_pack("{s:O}", "write_cache", wanted),
	     "target %s: the write cache of LUN %s is %s", iqn, digits,
	     json_is_true(wanted) ? "on" : "off");
}

static void map_lun(struct plan *plan, const char *iqn, const json_t *old, const json_t *lun)
{
	const char *pool = text_of(lun, "pool"), *volume = text_of(lun, "volume");
	const json_t *hosts = json_object_get(lun, "hosts"), *had = json_object_get(old, "hosts");
	json_t *type = json_object_get(lun, "type"), *mode = json_object_get(lun, "read_only");
	int number = (int)json_integer_value(json_object_get(lun, "lun"));
	char digits[16];

	snprintf(digits, sizeof digits, "%d", number);
	if (!old)
		step(plan, "POST", "/targets/%/luns", PARTS(iqn),
		     json_pack("{s:s,s:s,s:i,s:O*,s:O*}", "pool", pool, "volume", volume, "lun",
			       number, "type", type, "read_only", mode),
		     "target %s: LUN %d is %s/%s", iqn, number, pool, volume);
	else if (mode && !json_equal(mode, json_object_get(old, "read_only")))
		step(plan, "PATCH", "/targets/%/luns/%", PARTS(iqn, digits),
		     json_pack("{s:O}", "read_only", mode), "target %s: LUN %d is %s", iqn, number,
		     json_is_true(mode) ? "read only" : "writable");
	plan_cache(plan, iqn, digits, old, lun);
	if (hosts && !same_texts(hosts, had))
		step(plan, "PUT", "/targets/%/luns/%/hosts", PARTS(iqn, digits),
		     json_pack("{s:O}", "hosts", hosts), "target %s: whom LUN %d is shown to", iqn,
		     number);
}

/* A LUN that can stay where it is: the same volume as the same type of device. */
static bool same_lun(const json_t *wanted, const json_t *there)
{
	const char *type = text_of(wanted, "type");

	return wanted && there && strcmp(text_of(wanted, "pool"), text_of(there, "pool")) == 0 &&
	       strcmp(text_of(wanted, "volume"), text_of(there, "volume")) == 0 &&
	       (!*type || strcmp(type, text_of(there, "type")) == 0);
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

		if (same_lun(find_lun(new, number), lun))
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
			map_lun(plan, iqn, same_lun(lun, same) ? same : NULL, lun);
	}
}

/* A rule that does not name one of the two is for any. */
static const char *peer_of(const json_t *rule, const char *name)
{
	const char *text = text_of(rule, name);

	return *text ? text : "any";
}

static json_t *find_rule(const json_t *list, const json_t *like)
{
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)list, index, rule)
	{
		if (strcmp(peer_of(rule, "initiator"), peer_of(like, "initiator")) == 0 &&
		    strcmp(peer_of(rule, "network"), peer_of(like, "network")) == 0)
			return rule;
	}
	return NULL;
}

static bool names_other(const json_t *rule, const json_t *there, const char *name)
{
	return json_object_get(rule, name) && strcmp(text_of(rule, name), text_of(there, name));
}

static void plan_rules(struct plan *plan, const char *iqn, const json_t *there,
		       const json_t *target)
{
	const json_t *old = list_of(plan, there, "rules"), *new = list_of(plan, target, "rules");
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)new, index, rule)
	{
		const json_t *same = find_rule(old, rule);

		if (!same || names_other(rule, same, "chap_user") ||
		    names_other(rule, same, "mutual_user"))
			step(plan, "POST", "/targets/%/rules", PARTS(iqn), json_incref(rule),
			     "target %s: allow %s from %s", iqn, peer_of(rule, "initiator"),
			     peer_of(rule, "network"));
	}
	json_array_foreach((json_t *)old, index, rule)
	{
		if (!find_rule(new, rule))
			step(plan, "DELETE", "/targets/%/rules", PARTS(iqn),
			     json_pack("{s:s,s:s}", "initiator", peer_of(rule, "initiator"),
				       "network", peer_of(rule, "network")),
			     "target %s: deny %s from %s", iqn, peer_of(rule, "initiator"),
			     peer_of(rule, "network"));
	}
}

/* How many sessions there may be. */
static void plan_limit(struct plan *plan, const json_t *there, const json_t *target,
		       const char *name, json_t *body)
{
	const json_t *limit = json_object_get(target, name);

	if (limit && number_of(target, name) > ISCSI_SESSION_LIMIT_MAX)
		refuse(plan, "%s: at most %u", name, ISCSI_SESSION_LIMIT_MAX);
	if (limit && number_of(target, name) != number_of(there, name))
		json_object_set(body, name, (json_t *)limit);
}

/* Where logins are sent, how many are let in, and whether sessions are told of changes. */
static void plan_logins(struct plan *plan, const json_t *there, const json_t *target)
{
	const char *iqn = text_of(target, "iqn");
	const json_t *redirect = json_object_get(target, "redirect");
	const json_t *events = json_object_get(target, "async_events");
	char address[ISCSI_REDIRECT_MAX + 1] = "";
	json_t *body = json_object();
	struct err err = {0};

	if (*text_of(target, "redirect") &&
	    iscsi_redirect_check(text_of(target, "redirect"), address, &err) < 0)
		refuse(plan, "redirect: %s", err.text);
	if (redirect && strcmp(address, text_of(there, "redirect")) != 0)
		json_object_set_new(body, "redirect", json_string(address));
	if (events && json_is_true(events) != json_is_true(json_object_get(there, "async_events")))
		json_object_set(body, "async_events", (json_t *)events);
	plan_limit(plan, there, target, "max_sessions", body);
	plan_limit(plan, there, target, "max_sessions_per_initiator", body);
	if (json_object_size(body))
		step(plan, "PATCH", "/targets/%", PARTS(iqn), json_incref(body),
		     "target %s: redirection, events and limits", iqn);
	json_decref(body);
}

static void plan_targets(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *target;

	json_array_foreach((json_t *)list_of(plan, wanted, "targets"), index, target)
	{
		const char *iqn = text_of(target, "iqn"), *alias = text_of(target, "alias");
		const json_t *there = find(list_of(plan, now, "targets"), target, "iqn", NULL);

		look_at(plan, "targets", index);
		if (!there)
			step(plan, "POST", "/targets", PARTS(""),
			     json_pack("{s:s,s:s*}", "iqn", iqn, "alias", *alias ? alias : NULL),
			     "create target %s", iqn);
		else if (json_object_get(target, "alias") &&
			 strcmp(alias, text_of(there, "alias")) != 0)
			refuse(plan, "the alias of a target does not change");
		if (json_object_get(target, "luns"))
			plan_luns(plan, iqn, there, target);
		if (json_object_get(target, "rules"))
			plan_rules(plan, iqn, there, target);
		plan_logins(plan, there, target);
	}
	plan->where[0] = 0;
}

/* --- schedules of snapshots ----------------------------------------------------------------- */

/* In the order in which they are shown, so that a document that has another one asks for nothing.
 */
static bool same_keep(const char *wanted, const char *there)
{
	char text[KEEP_TEXT_MAX];
	struct keep keep;

	if (keep_parse(wanted, &keep, NULL) < 0)
		return false; /* the step will say why */
	keep_print(&keep, text);
	return strcmp(text, there) == 0;
}

static bool schedule_differs(const char *name, const json_t *wanted, const json_t *there)
{
	if (strcmp(name, "volumes") == 0)
		return !same_texts(wanted, there);
	if (strcmp(name, "keep") == 0)
		return !same_keep(json_string_value(wanted), json_string_value(there));
	return !json_equal(wanted, there);
}

static void plan_schedule(struct plan *plan, const json_t *there, const json_t *schedule)
{
	static const char *const names[] = {"volumes", "every", "keep",
					    "prefix",  "zone",  "expendable"};
	const char *name = text_of(schedule, "name");
	json_t *body = json_object();

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		json_t *value = json_object_get(schedule, names[i]);

		if (value &&
		    (!there || schedule_differs(names[i], value, json_object_get(there, names[i]))))
			json_object_set(body, names[i], value);
	}
	if (!there) {
		json_object_set_new(body, "name", json_string(name));
		step(plan, "POST", "/snapshot-schedules", PARTS(""), json_incref(body),
		     "create snapshot schedule %s", name);
	} else if (json_object_size(body)) {
		step(plan, "PATCH", "/snapshot-schedules/%", PARTS(name), json_incref(body),
		     "change snapshot schedule %s", name);
	}
	json_decref(body);
}

static void plan_schedules(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = list_of(plan, now, "schedules");
	size_t index;
	json_t *schedule;

	json_array_foreach((json_t *)list_of(plan, wanted, "schedules"), index, schedule)
	{
		look_at(plan, "schedules", index);
		plan_schedule(plan, find(current, schedule, "name", NULL), schedule);
	}
	plan->where[0] = 0;
}

/* --- the iSNS server ------------------------------------------------------------------------ */

static void plan_isns(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *isns = json_object_get(wanted, "isns"), *there = json_object_get(now, "isns");
	const char *server = text_of(isns, "server"), *old = text_of(there, "server");
	struct iscsi_isns_options one = {.port = 0}, other = {.port = 0};
	json_t *port = json_object_get(isns, "esi_port");
	struct err err = {0};

	if (!isns)
		return;
	if (!*server && *old)
		step(plan, "DELETE", "/isns", PARTS(""), NULL, "no iSNS server");
	if (!*server)
		return;
	if (iscsi_isns_parse(server, &one, &err) < 0) {
		refuse(plan, "isns.server: %s", err.text);
		return;
	}
	if (*old && iscsi_isns_parse(old, &other, &err) == 0 &&
	    strcmp(one.address, other.address) == 0 && one.port == other.port &&
	    (!port || json_equal(port, json_object_get(there, "esi_port"))))
		return;
	if (!port)
		port = json_object_get(there, "esi_port");
	step(plan, "PUT", "/isns", PARTS(""),
	     json_pack("{s:s,s:O*}", "server", server, "esi_port", port), "iSNS server %s", server);
}

static void prune_list(struct plan *plan, const json_t *now, const json_t *wanted, const char *list,
		       const char *what, const char *key, const char *pattern)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)list_of(plan, now, list), index, item)
	{
		if (!find(list_of(plan, wanted, list), item, key, NULL))
			step(plan, "DELETE", pattern, PARTS(text_of(item, key)), NULL,
			     "delete %s %s", what, text_of(item, key));
	}
}

json_t *plan_make(const json_t *current, const json_t *wanted, bool prune, struct err *err)
{
	struct plan plan = {.err = err};

	if (plan_check(wanted, err) < 0)
		return NULL;
	plan.steps = json_array();
	plan.volumes = list_of(&plan, current, "volumes");
	plan_pools(&plan, current, wanted);
	plan_hosts(&plan, current, wanted);
	plan_volumes(&plan, current, wanted);
	plan_shares(&plan, current, wanted);
	if (prune) /* first, for one of them may come back by another name */
		prune_list(&plan, current, wanted, "directories", "directory", "name",
			   "/directories/%");
	if (prune) /* likewise: a prefix may pass from one to another */
		prune_list(&plan, current, wanted, "schedules", "snapshot schedule", "name",
			   "/snapshot-schedules/%");
	plan_directories(&plan, current, wanted);
	plan_targets(&plan, current, wanted);
	plan_schedules(&plan, current, wanted);
	plan_isns(&plan, current, wanted);
	if (prune)
		prune_list(&plan, current, wanted, "targets", "target", "iqn", "/targets/%");
	if (prune)
		prune_list(&plan, current, wanted, "hosts", "host", "name", "/hosts/%");
	if (!plan.failed)
		return plan.steps;
	json_decref(plan.steps);
	return NULL;
}
