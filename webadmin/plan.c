/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/size.h"
#include "iscsi/iscsi.h"
#include "snapshots/snapshots.h"
#include "webadmin/plan_step.h"

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
		plan_refuse(plan, "%s of %s is no size", name, plan_text(object, "name"));
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

static void pool_settings(struct plan *plan, const json_t *there, const json_t *pool)
{
	static const char *const names[] = {"watermarks", "scrub_every", "undelete_hours"};
	json_t *body = json_object();

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		json_t *value = json_object_get(pool, names[i]);

		if (value && !json_equal(value, json_object_get(there, names[i])))
			json_object_set(body, names[i], value);
	}
	if (json_object_size(body))
		plan_step(plan, "PATCH", "/pools/%", PARTS(plan_text(pool, "name")),
			  json_incref(body), "pool %s: settings", plan_text(pool, "name"));
	json_decref(body);
}

/* Its devices are only for where it is not there yet: a disk has another name on each machine. */
static void plan_pools(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *pool;

	json_array_foreach((json_t *)plan_list(plan, wanted, "pools"), index, pool)
	{
		const char *name = plan_text(pool, "name");
		const json_t *there = plan_find(plan_list(plan, now, "pools"), pool, "name", NULL);
		json_t *devices = json_object_get(pool, "devices");

		plan_look_at(plan, "pools", index);
		if (!there && !json_array_size(devices))
			plan_refuse(plan,
				    "pool %s is missing: make it with \"granary pool create "
				    "%s DEVICE...\", or name its devices in the document",
				    name, name);
		else if (!there)
			plan_step(plan, "POST", "/pools", PARTS(""),
				  json_pack("{s:s,s:O}", "name", name, "devices", devices),
				  "create pool %s", name);
		pool_settings(plan, there, pool);
	}
	plan->where[0] = 0;
}

static void plan_hosts(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *host;

	json_array_foreach((json_t *)plan_list(plan, wanted, "hosts"), index, host)
	{
		const char *name = plan_text(host, "name");
		const json_t *there = plan_find(plan_list(plan, now, "hosts"), host, "name", NULL);
		const json_t *new = json_object_get(host, "initiators");
		const json_t *old = json_object_get(there, "initiators");
		json_t *add = texts_without(new, old), *remove = texts_without(old, new);

		plan_look_at(plan, "hosts", index);
		if (!there)
			plan_step(plan, "POST", "/hosts", PARTS(""),
				  json_pack("{s:s,s:O}", "name", name, "initiators", add),
				  "create host group %s", name);
		else if (new && (json_array_size(add) || json_array_size(remove)))
			plan_step(plan, "PATCH", "/hosts/%", PARTS(name),
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
	const char *pool = plan_text(volume, "pool"), *name = plan_text(volume, "name");
	const char *checksum = plan_text(volume, "checksum");
	json_t *body = json_pack("{s:s,s:s,s:I,s:s*}", "pool", pool, "name", name, "size",
				 (json_int_t)size, "checksum", *checksum ? checksum : NULL);

	if (json_is_true(json_object_get(volume, "mirror")))
		json_object_set_new(body, "mirror", json_true());
	want_size(plan, volume, "reserve_bytes", "reserve", body);
	want_size(plan, volume, "quota_bytes", "quota", body);
	plan_step(plan, "POST", "/volumes", PARTS(""), body, "create volume %s/%s", pool, name);
}

/* False: it is refused. */
static bool compare_mirror(struct plan *plan, const char *what, const json_t *there,
			   const json_t *wanted)
{
	const json_t *mirror = json_object_get(wanted, "mirror");

	if (!mirror || json_is_true(mirror) == json_is_true(json_object_get(there, "mirror")))
		return true;
	plan_refuse(plan, "%s %s/%s: a %s does not become mirrored, or cease to be", what,
		    plan_text(wanted, "pool"), plan_text(wanted, "name"), what);
	return false;
}

/* What a volume is made with stays: a document that wants it otherwise can not be carried out. */
static void compare_volume(struct plan *plan, const json_t *there, const json_t *volume,
			   uint64_t size)
{
	const char *pool = plan_text(volume, "pool"), *name = plan_text(volume, "name");
	const char *checksum = plan_text(volume, "checksum");
	uint64_t old = number_of(there, "size_bytes");

	if (*checksum && strcmp(checksum, plan_text(there, "checksum")) != 0)
		plan_refuse(plan, "volume %s/%s: the checksums of a volume do not change", pool,
			    name);
	else if (!compare_mirror(plan, "volume", there, volume))
		return;
	else if (size < old)
		plan_refuse(plan, "volume %s/%s would shrink; a document never takes data away",
			    pool, name);
	else if (size > old)
		plan_step(plan, "PATCH", "/volumes/%/%", PARTS(pool, name),
			  json_pack("{s:I}", "size", (json_int_t)size), "grow volume %s/%s", pool,
			  name);
}

static void plan_limits(struct plan *plan, const json_t *there, const json_t *volume)
{
	const char *pool = plan_text(volume, "pool"), *name = plan_text(volume, "name");
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
	plan_step(plan, "PATCH", "/volumes/%/%", PARTS(pool, name), body, "volume %s/%s: limits",
		  pool, name);
}

/* Its share of the pool: what it reserves, and its quota. A new one has them from the start. */
static void plan_space(struct plan *plan, const json_t *there, const json_t *volume)
{
	const char *pool = plan_text(volume, "pool"), *name = plan_text(volume, "name");
	uint64_t reserve = wanted_number(plan, volume, there, "reserve_bytes");
	uint64_t quota = wanted_number(plan, volume, there, "quota_bytes");

	if (reserve != number_of(there, "reserve_bytes") ||
	    quota != number_of(there, "quota_bytes"))
		plan_step(plan, "PATCH", "/volumes/%/%", PARTS(pool, name),
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
	const json_t *current = plan_list(plan, now, "volumes");
	size_t index;
	json_t *volume;

	json_array_foreach((json_t *)plan_list(plan, wanted, "volumes"), index, volume)
	{
		plan_look_at(plan, "volumes", index);
		plan_volume(plan, plan_find(current, volume, "pool", "name"), volume);
	}
	plan->where[0] = 0;
}

/* The rules of what is called @what ("share tank/files"), whose routes begin with @pattern. */
static void plan_clients(struct plan *plan, const json_t *there, const json_t *wanted,
			 const char *what, const char *pattern, const char *const *parts)
{
	const json_t *old = plan_list(plan, there, "rules"),
		     *new = plan_list(plan, wanted, "rules");
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)new, index, rule)
	{
		json_t *same = plan_find(old, rule, "client", NULL);
		json_t *whole = same ? json_copy(same) : json_object();

		json_object_update(whole, rule); /* the members it does not name stay */
		if (!same || !json_equal(same, whole))
			plan_step(plan, "POST", pattern, parts, json_incref(whole), "%s: allow %s",
				  what, plan_text(rule, "client"));
		json_decref(whole);
	}
	json_array_foreach((json_t *)old, index, rule)
	{
		if (!plan_find(new, rule, "client", NULL))
			plan_step(plan, "DELETE", pattern, parts,
				  json_pack("{s:s}", "client", plan_text(rule, "client")),
				  "%s: deny %s", what, plan_text(rule, "client"));
	}
}

static void plan_share_rules(struct plan *plan, const json_t *there, const json_t *share)
{
	const char *pool = plan_text(share, "pool"), *name = plan_text(share, "name");
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
	const char *wanted = plan_text(share, "snapshots");
	const char *is = there ? plan_text(there, "snapshots") : "hidden";

	if (*wanted && strcmp(wanted, is) != 0)
		plan_step(plan, "PATCH", "/shares/%/%",
			  PARTS(plan_text(share, "pool"), plan_text(share, "name")),
			  json_pack("{s:s}", "snapshots", wanted), "share %s/%s: snapshots are %s",
			  plan_text(share, "pool"), plan_text(share, "name"), wanted);
}

static void plan_share(struct plan *plan, const json_t *there, const json_t *share)
{
	const char *pool = plan_text(share, "pool"), *name = plan_text(share, "name");
	json_t *body = share_members(plan, there, share);

	if (!there) {
		json_object_set_new(body, "pool", json_string(pool));
		json_object_set_new(body, "name", json_string(name));
		if (json_is_true(json_object_get(share, "mirror")))
			json_object_set_new(body, "mirror", json_true());
		plan_step(plan, "POST", "/shares", PARTS(""), json_incref(body),
			  "create share %s/%s", pool, name);
	} else if (json_object_size(body)) {
		plan_step(plan, "PATCH", "/shares/%/%", PARTS(pool, name), json_incref(body),
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
	const json_t *current = plan_list(plan, now, "shares");
	size_t index;
	json_t *share;

	json_array_foreach((json_t *)plan_list(plan, wanted, "shares"), index, share)
	{
		plan_look_at(plan, "shares", index);
		plan_share(plan, plan_find(current, share, "pool", "name"), share);
	}
	plan->where[0] = 0;
}

/* One whose path is another one is made anew: what clients have of it is stale either way. */
static void plan_directory(struct plan *plan, const json_t *there, const json_t *directory)
{
	const char *name = plan_text(directory, "name"), *path = plan_text(directory, "path");
	json_t *versions = json_object_get(directory, "versions");
	char what[300];

	if (there && *path && strcmp(path, plan_text(there, "path")) != 0) {
		plan_step(plan, "DELETE", "/directories/%", PARTS(name), NULL,
			  "remove directory %s", name);
		there = NULL;
	}
	if (!there)
		plan_step(
		    plan, "POST", "/directories", PARTS(""),
		    json_pack("{s:s,s:s,s:O*}", "name", name, "path", path, "versions", versions),
		    "add directory %s: %s", name, path);
	else if (versions && !same_texts(versions, json_object_get(there, "versions")))
		plan_step(plan, "PATCH", "/directories/%", PARTS(name),
			  json_pack("{s:O}", "versions", versions), "directory %s: versions", name);
	snprintf(what, sizeof what, "directory %s", name);
	if (json_object_get(directory, "rules"))
		plan_clients(plan, there, directory, what, "/directories/%/rules", PARTS(name));
}

static void plan_directories(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = plan_list(plan, now, "directories");
	size_t index;
	json_t *directory;

	json_array_foreach((json_t *)plan_list(plan, wanted, "directories"), index, directory)
	{
		plan_look_at(plan, "directories", index);
		plan_directory(plan, plan_find(current, directory, "name", NULL), directory);
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
		if (strcmp(plan_text(volume, "pool"), plan_text(lun, "pool")) == 0 &&
		    strcmp(plan_text(volume, "name"), plan_text(lun, "volume")) == 0)
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

	if (wanted && strcmp(plan_text(lun, "type"), "cdrom") == 0)
		plan_refuse(plan, "LUN %s: a CD-ROM has no write cache", digits);
	if (!wanted || (is ? json_equal(wanted, is) : !old && fresh && json_is_true(wanted)))
		return;
	plan_step(plan, "PATCH", "/targets/%/luns/%", PARTS(iqn, digits),
		  json_pack("{s:O}", "write_cache", wanted),
		  "target %s: the write cache of LUN %s is %s", iqn, digits,
		  json_is_true(wanted) ? "on" : "off");
}

static void map_lun(struct plan *plan, const char *iqn, const json_t *old, const json_t *lun)
{
	const char *pool = plan_text(lun, "pool"), *volume = plan_text(lun, "volume");
	const json_t *hosts = json_object_get(lun, "hosts"), *had = json_object_get(old, "hosts");
	json_t *type = json_object_get(lun, "type"), *mode = json_object_get(lun, "read_only");
	int number = (int)json_integer_value(json_object_get(lun, "lun"));
	char digits[16];

	snprintf(digits, sizeof digits, "%d", number);
	if (!old)
		plan_step(plan, "POST", "/targets/%/luns", PARTS(iqn),
			  json_pack("{s:s,s:s,s:i,s:O*,s:O*}", "pool", pool, "volume", volume,
				    "lun", number, "type", type, "read_only", mode),
			  "target %s: LUN %d is %s/%s", iqn, number, pool, volume);
	else if (mode && !json_equal(mode, json_object_get(old, "read_only")))
		plan_step(plan, "PATCH", "/targets/%/luns/%", PARTS(iqn, digits),
			  json_pack("{s:O}", "read_only", mode), "target %s: LUN %d is %s", iqn,
			  number, json_is_true(mode) ? "read only" : "writable");
	plan_cache(plan, iqn, digits, old, lun);
	if (hosts && !same_texts(hosts, had))
		plan_step(plan, "PUT", "/targets/%/luns/%/hosts", PARTS(iqn, digits),
			  json_pack("{s:O}", "hosts", hosts), "target %s: whom LUN %d is shown to",
			  iqn, number);
}

/* A LUN that can stay where it is: the same volume as the same type of device. */
static bool same_lun(const json_t *wanted, const json_t *there)
{
	const char *type = plan_text(wanted, "type");

	return wanted && there &&
	       strcmp(plan_text(wanted, "pool"), plan_text(there, "pool")) == 0 &&
	       strcmp(plan_text(wanted, "volume"), plan_text(there, "volume")) == 0 &&
	       (!*type || strcmp(type, plan_text(there, "type")) == 0);
}

static void plan_luns(struct plan *plan, const char *iqn, const json_t *there, const json_t *target)
{
	const json_t *old = plan_list(plan, there, "luns"), *new = plan_list(plan, target, "luns");
	size_t index;
	json_t *lun;

	json_array_foreach((json_t *)old, index, lun)
	{
		json_int_t number = json_integer_value(json_object_get(lun, "lun"));
		char digits[32];

		if (same_lun(find_lun(new, number), lun))
			continue;
		snprintf(digits, sizeof digits, "%lld", (long long)number);
		plan_step(plan, "DELETE", "/targets/%/luns/%", PARTS(iqn, digits), NULL,
			  "target %s: take LUN %s away", iqn, digits);
	}
	json_array_foreach((json_t *)new, index, lun)
	{
		json_t *same = find_lun(old, json_integer_value(json_object_get(lun, "lun")));

		if (!json_is_integer(json_object_get(lun, "lun")))
			plan_refuse(plan, "a LUN of target %s has no number", iqn);
		else
			map_lun(plan, iqn, same_lun(lun, same) ? same : NULL, lun);
	}
}

/* A rule that does not name one of the two is for any. */
static const char *peer_of(const json_t *rule, const char *name)
{
	const char *text = plan_text(rule, name);

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
	return json_object_get(rule, name) && strcmp(plan_text(rule, name), plan_text(there, name));
}

static void plan_rules(struct plan *plan, const char *iqn, const json_t *there,
		       const json_t *target)
{
	const json_t *old = plan_list(plan, there, "rules"),
		     *new = plan_list(plan, target, "rules");
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)new, index, rule)
	{
		const json_t *same = find_rule(old, rule);

		if (!same || names_other(rule, same, "chap_user") ||
		    names_other(rule, same, "mutual_user"))
			plan_step(plan, "POST", "/targets/%/rules", PARTS(iqn), json_incref(rule),
				  "target %s: allow %s from %s", iqn, peer_of(rule, "initiator"),
				  peer_of(rule, "network"));
	}
	json_array_foreach((json_t *)old, index, rule)
	{
		if (!find_rule(new, rule))
			plan_step(plan, "DELETE", "/targets/%/rules", PARTS(iqn),
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
		plan_refuse(plan, "%s: at most %u", name, ISCSI_SESSION_LIMIT_MAX);
	if (limit && number_of(target, name) != number_of(there, name))
		json_object_set(body, name, (json_t *)limit);
}

/* Where logins are sent, how many are let in, and whether sessions are told of changes. */
static void plan_logins(struct plan *plan, const json_t *there, const json_t *target)
{
	const char *iqn = plan_text(target, "iqn");
	const json_t *redirect = json_object_get(target, "redirect");
	const json_t *events = json_object_get(target, "async_events");
	char address[ISCSI_REDIRECT_MAX + 1] = "";
	json_t *body = json_object();
	struct err err = {0};

	if (*plan_text(target, "redirect") &&
	    iscsi_redirect_check(plan_text(target, "redirect"), address, &err) < 0)
		plan_refuse(plan, "redirect: %s", err.text);
	if (redirect && strcmp(address, plan_text(there, "redirect")) != 0)
		json_object_set_new(body, "redirect", json_string(address));
	if (events && json_is_true(events) != json_is_true(json_object_get(there, "async_events")))
		json_object_set(body, "async_events", (json_t *)events);
	plan_limit(plan, there, target, "max_sessions", body);
	plan_limit(plan, there, target, "max_sessions_per_initiator", body);
	if (json_object_size(body))
		plan_step(plan, "PATCH", "/targets/%", PARTS(iqn), json_incref(body),
			  "target %s: redirection, events and limits", iqn);
	json_decref(body);
}

/* A portal group that is not mentioned where it is shown is as it was made. */
static void plan_groups(struct plan *plan, const json_t *there, const json_t *target)
{
	const json_t *old = plan_list(plan, there, "groups");
	size_t index, other;
	json_t *group, *one;

	json_array_foreach((json_t *)plan_list(plan, target, "groups"), index, group)
	{
		json_t *access = json_object_get(group, "access");
		json_t *preferred = json_object_get(group, "preferred"), *body = json_object();
		const char *is = "optimized";
		bool was = false;
		char digits[24];

		json_array_foreach((json_t *)old, other, one)
		{
			if (number_of(one, "group") == number_of(group, "group")) {
				is = plan_text(one, "access");
				was = json_is_true(json_object_get(one, "preferred"));
			}
		}
		if (access && strcmp(json_string_value(access), is) != 0)
			json_object_set(body, "access", access);
		if (preferred && json_is_true(preferred) != was)
			json_object_set(body, "preferred", preferred);
		snprintf(digits, sizeof digits, "%llu",
			 (unsigned long long)number_of(group, "group"));
		if (json_object_size(body))
			plan_step(plan, "PATCH", "/targets/%/groups/%",
				  PARTS(plan_text(target, "iqn"), digits), json_incref(body),
				  "target %s: portal group %s", plan_text(target, "iqn"), digits);
		json_decref(body);
	}
}

static void plan_targets(struct plan *plan, const json_t *now, const json_t *wanted)
{
	size_t index;
	json_t *target;

	json_array_foreach((json_t *)plan_list(plan, wanted, "targets"), index, target)
	{
		const char *iqn = plan_text(target, "iqn"), *alias = plan_text(target, "alias");
		const json_t *there =
		    plan_find(plan_list(plan, now, "targets"), target, "iqn", NULL);

		plan_look_at(plan, "targets", index);
		if (!there)
			plan_step(
			    plan, "POST", "/targets", PARTS(""),
			    json_pack("{s:s,s:s*}", "iqn", iqn, "alias", *alias ? alias : NULL),
			    "create target %s", iqn);
		else if (json_object_get(target, "alias") &&
			 strcmp(alias, plan_text(there, "alias")) != 0)
			plan_refuse(plan, "the alias of a target does not change");
		if (json_object_get(target, "luns"))
			plan_luns(plan, iqn, there, target);
		if (json_object_get(target, "rules"))
			plan_rules(plan, iqn, there, target);
		plan_logins(plan, there, target);
		plan_groups(plan, there, target);
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
	const char *name = plan_text(schedule, "name");
	json_t *body = json_object();

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		json_t *value = json_object_get(schedule, names[i]);

		if (value &&
		    (!there || schedule_differs(names[i], value, json_object_get(there, names[i]))))
			json_object_set(body, names[i], value);
	}
	if (!there) {
		json_object_set_new(body, "name", json_string(name));
		plan_step(plan, "POST", "/snapshot-schedules", PARTS(""), json_incref(body),
			  "create snapshot schedule %s", name);
	} else if (json_object_size(body)) {
		plan_step(plan, "PATCH", "/snapshot-schedules/%", PARTS(name), json_incref(body),
			  "change snapshot schedule %s", name);
	}
	json_decref(body);
}

static void plan_schedules(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *current = plan_list(plan, now, "schedules");
	size_t index;
	json_t *schedule;

	json_array_foreach((json_t *)plan_list(plan, wanted, "schedules"), index, schedule)
	{
		plan_look_at(plan, "schedules", index);
		plan_schedule(plan, plan_find(current, schedule, "name", NULL), schedule);
	}
	plan->where[0] = 0;
}

/* --- the iSNS server ------------------------------------------------------------------------ */

static void plan_isns(struct plan *plan, const json_t *now, const json_t *wanted)
{
	const json_t *isns = json_object_get(wanted, "isns"), *there = json_object_get(now, "isns");
	const char *server = plan_text(isns, "server"), *old = plan_text(there, "server");
	struct iscsi_isns_options one = {.port = 0}, other = {.port = 0};
	json_t *port = json_object_get(isns, "esi_port");
	struct err err = {0};

	if (!isns)
		return;
	if (!*server && *old)
		plan_step(plan, "DELETE", "/isns", PARTS(""), NULL, "no iSNS server");
	if (!*server)
		return;
	if (iscsi_isns_parse(server, &one, &err) < 0) {
		plan_refuse(plan, "isns.server: %s", err.text);
		return;
	}
	if (*old && iscsi_isns_parse(old, &other, &err) == 0 &&
	    strcmp(one.address, other.address) == 0 && one.port == other.port &&
	    (!port || json_equal(port, json_object_get(there, "esi_port"))))
		return;
	if (!port)
		port = json_object_get(there, "esi_port");
	plan_step(plan, "PUT", "/isns", PARTS(""),
		  json_pack("{s:s,s:O*}", "server", server, "esi_port", port), "iSNS server %s",
		  server);
}

static void prune_list(struct plan *plan, const json_t *now, const json_t *wanted, const char *list,
		       const char *what, const char *key, const char *pattern)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)plan_list(plan, now, list), index, item)
	{
		if (!plan_find(plan_list(plan, wanted, list), item, key, NULL))
			plan_step(plan, "DELETE", pattern, PARTS(plan_text(item, key)), NULL,
				  "delete %s %s", what, plan_text(item, key));
	}
}

json_t *plan_make(const json_t *current, const json_t *wanted, bool prune, struct err *err)
{
	struct plan plan = {.err = err};

	if (plan_check(wanted, err) < 0)
		return NULL;
	plan.steps = json_array();
	plan.volumes = plan_list(&plan, current, "volumes");
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
	plan_settings(&plan, current, wanted);
	if (prune && json_object_get(wanted, "alert_channels"))
		prune_list(&plan, current, wanted, "alert_channels", "alert channel", "name",
			   "/alert-channels/%");
	if (prune)
		prune_list(&plan, current, wanted, "targets", "target", "iqn", "/targets/%");
	if (prune)
		prune_list(&plan, current, wanted, "hosts", "host", "name", "/hosts/%");
	if (!plan.failed)
		return plan.steps;
	json_decref(plan.steps);
	return NULL;
}
