/* SPDX-License-Identifier: Apache-2.0 */
/* api_smb.c: shares over SMB. Here it is only written down who may use which share and with what
 * password; granary-smb asks for it, mounts the shares and runs Samba (smbfront/). It is asked for
 * about once a second, and kept nowhere but in the store. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/nthash.h"
#include "webadmin/secret.h"
#include "webadmin/share.h"

#define SMB_SHARES_MAX   64u /* as smbfront/smbfront.h has it */
#define SMB_USERS_MAX    256u
#define SMB_NAME_MAX     32u
#define SMB_UID_FIRST    70001
#define SMB_UID_MAX      4294967294ll
#define SMB_PASSWORD_MIN 10u
#define SMB_QUIET_NS     (10 * 1000000000ull) /* longer, and granary-smb is not there */
#define SECRET_KIND      "smb"

static struct config *store_of(struct api_request *request)
{
	return request->admin->options.config;
}

static struct model_share *find_share(struct api_request *request)
{
	struct model_share *share =
	    model_share_find(request->model, request->match.param[0], request->match.param[1]);

	if (!share)
		api_reply_error(request, 404, "share_not_found", "no share named %s/%s",
				request->match.param[0], request->match.param[1]);
	return share;
}

/* ---- showing ---- */
/* Every row of @sql, as @row makes an item of it; NULL: it failed. @blob: the one parameter, NULL:
 * none. */
static json_t *collect(struct config *config, const char *sql, const uint8_t blob[16],
		       json_t *(*row)(struct config *config, struct config_statement *statement),
		       struct err *err)
{
	struct config_statement *statement;
	json_t *list = json_array();
	int result = config_prepare(config, sql, &statement, err);

	if (result == 0) {
		if (blob)
			config_bind_blob(statement, 1, blob, 16);
		while ((result = config_step(statement, err)) == 1)
			json_array_append_new(list, row(config, statement));
		config_finish(statement);
	}
	if (result == 0)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *name_row(struct config *config, struct config_statement *statement)
{
	(void)config;
	return json_string(config_text(statement, 0));
}

static json_t *share_row(struct config *config, struct config_statement *statement)
{
	int length = 0;
	const uint8_t *volume = config_blob(statement, 0, &length);
	json_t *users = length == 16 ? collect(config,
					       "select name from smb_share_user where volume = ?"
					       " order by name",
					       volume, name_row, NULL)
				     : NULL;

	return json_pack("{s:s,s:s,s:b,s:b,s:o}", "pool", config_text(statement, 1), "name",
			 config_text(statement, 2), "guest", (int)config_number(statement, 3),
			 "read_only", (int)config_number(statement, 4), "users",
			 users ? users : json_array());
}

static json_t *user_row(struct config *config, struct config_statement *statement)
{
	(void)config;
	return json_pack("{s:s,s:I,s:I}", "name", config_text(statement, 0), "uid",
			 (json_int_t)config_number(statement, 1), "gid",
			 (json_int_t)config_number(statement, 2));
}

/* The same with what the password is known by, for granary-smb alone. */
static json_t *secret_row(struct config *config, struct config_statement *statement)
{
	const char *name = config_text(statement, 0);
	uint8_t plain[SECRET_MAX + 1];
	unsigned length = 0;
	int sealed_length = 0;
	const void *sealed = config_blob(statement, 3, &sealed_length);
	char digits[2 * NTHASH_LENGTH + 1] = "";
	json_t *user = user_row(config, statement);

	if (sealed &&
	    secret_unseal(sealed, (unsigned)sealed_length, name, SECRET_KIND, plain, &length) &&
	    length == NTHASH_LENGTH)
		for (unsigned i = 0; i < NTHASH_LENGTH; i++)
			snprintf(digits + (size_t)2 * i, 3, "%02X", plain[i]);
	explicit_bzero(plain, sizeof plain);
	json_object_set_new(user, "hash", json_string(digits));
	return user;
}

static const char shares_sql[] =
    "select share.volume, pool, name, guest, read_only from smb_share join share"
    " on share.volume = smb_share.volume where share.volume not in (select volume from bin)"
    " order by pool, name";
static const char users_sql[] = "select name, uid, gid, hash from smb_user order by name";

/* Of the list that @sql makes with @row the one whose @member is @value: in an open transaction as
 * it would be. Empty: there is none. */
static json_t *one_of(struct api_request *request, const char *sql,
		      json_t *(*row)(struct config *config, struct config_statement *statement),
		      const char *member, const char *value)
{
	json_t *list = collect(store_of(request), sql, NULL, row, NULL), *item, *found = NULL;
	size_t index;

	json_array_foreach(list, index, item)
	{
		const char *text = json_string_value(json_object_get(item, member));

		if (!found && text && strcmp(text, value) == 0)
			found = json_incref(item);
	}
	json_decref(list);
	return found ? found : json_object();
}

static json_t *show_share_of(struct api_request *request, const struct model_share *share)
{
	/* A share's name is one's own among those that SMB shows (name_free). */
	return one_of(request, shares_sql, share_row, "name", share->name);
}

static void reply_dry_share(struct api_request *request, const struct model_share *share,
			    json_t *before)
{
	api_reply_dry(request, json_sprintf("SMB of share %s/%s", share->pool, share->name), before,
		      show_share_of(request, share));
}

static void reply_dry_user(struct api_request *request, const char *name, json_t *before)
{
	api_reply_dry(request, json_sprintf("SMB user %s", name), before,
		      one_of(request, users_sql, user_row, "name", name));
}

/* What granary-smb does with it. */
static json_t *show_service(struct webadmin *admin)
{
	const struct smb_report *report = &admin->smb;
	bool there =
	    report->heard_ns && loop_now(admin->options.control) - report->heard_ns < SMB_QUIET_NS;

	return json_pack("{s:b,s:i,s:s}", "running", there && report->port, "port",
			 there ? (int)report->port : 0, "reason",
			 there ? report->reason : "granary-smb does not run");
}

void api_smb_show(struct api_request *request)
{
	struct config *config = store_of(request);
	json_t *shares = collect(config, shares_sql, NULL, share_row, &request->err);
	json_t *users = collect(config, users_sql, NULL, user_row, &request->err);

	if (shares && users) {
		api_reply(request, 200,
			  json_pack("{s:o,s:o,s:o}", "shares", shares, "users", users, "service",
				    show_service(request->admin)));
		return;
	}
	json_decref(shares);
	json_decref(users);
	api_reply_failure(request, NULL);
}

/* ---- granary-smb: says how it goes, and hears what is to be ---- */
/* The last of a share's users may have been deleted. */
static bool somebody_may(const json_t *share)
{
	return json_is_true(json_object_get(share, "guest")) ||
	       json_array_size(json_object_get(share, "users"));
}

/* A share that can not be served now is left out: it has nothing to mount. */
static json_t *only_open(struct model *model, json_t *shares)
{
	json_t *open = json_array(), *share;
	size_t index;

	json_array_foreach(shares, index, share)
	{
		const struct model_share *known =
		    model_share_find(model, json_string_value(json_object_get(share, "pool")),
				     json_string_value(json_object_get(share, "name")));

		if (known && known->vfs && !known->away && !known->deleting && somebody_may(share))
			json_array_append(open, share);
	}
	json_decref(shares);
	return open;
}

void api_smb_serve(struct api_request *request)
{
	struct config *config = store_of(request);
	struct smb_report *report = &request->admin->smb;
	json_t *shares, *users;
	const char *reason = "";
	json_int_t port = 0;

	if (!request->local) {
		api_reply_error(request, 403, "local_only", "this is for granary-smb alone");
		return;
	}
	if (!api_unpack(request, "{s?:I,s?:s}", "port", &port, "reason", &reason))
		return;
	report->heard_ns = loop_now(request->admin->options.control);
	report->port = (uint16_t)port;
	snprintf(report->reason, sizeof report->reason, "%s", reason);
	shares = collect(config, shares_sql, NULL, share_row, &request->err);
	users = collect(config, users_sql, NULL, secret_row, &request->err);
	if (shares && users) {
		api_reply(request, 200,
			  json_pack("{s:o,s:o}", "shares", only_open(request->model, shares),
				    "users", users));
		return;
	}
	json_decref(shares);
	json_decref(users);
	api_reply_failure(request, NULL);
}

/* ---- shares ---- */
static bool user_known(struct config *config, const char *name)
{
	struct config_statement *statement;
	bool known;

	if (config_prepare(config, "select 1 from smb_user where name = ?", &statement, NULL) < 0)
		return false;
	config_bind_text(statement, 1, name);
	known = config_step(statement, NULL) == 1;
	config_finish(statement);
	return known;
}

/* False: an error has been sent. */
static bool users_good(struct api_request *request, const json_t *users, bool guest)
{
	size_t index;
	json_t *user;

	if (!guest && json_array_size(users) == 0) {
		api_reply_error(request, 400, "nobody_may",
				"say who may use it: users, or guest for everybody");
		return false;
	}
	json_array_foreach((json_t *)users, index, user)
	{
		if (user_known(store_of(request), json_string_value(user)))
			continue;
		api_reply_error(request, 404, "smb_user_not_found", "no SMB user named %.32s",
				json_string_value(user));
		return false;
	}
	return true;
}

/* What smb.conf(5) reads as more than a share's name. False: a 400 has been sent. */
static bool name_good(struct api_request *request, const char *name)
{
	static const char *const taken[] = {"global", "globals", "homes", "printers"};

	for (unsigned i = 0; i < sizeof taken / sizeof *taken; i++) {
		if (strcasecmp(name, taken[i]) != 0)
			continue;
		api_reply_error(
		    request, 400, "bad_name",
		    "over SMB no share can be named global, globals, homes or printers");
		return false;
	}
	return true;
}

/* SMB knows shares by their last name alone. */
static bool name_free(struct api_request *request, const struct model_share *share)
{
	json_t *shares = collect(store_of(request), shares_sql, NULL, share_row, NULL), *other;
	bool is_free = true;
	size_t index;

	json_array_foreach(shares, index, other)
	{
		const char *pool = json_string_value(json_object_get(other, "pool"));
		const char *name = json_string_value(json_object_get(other, "name"));

		if (strcasecmp(name, share->name) != 0 ||
		    (strcmp(name, share->name) == 0 && strcmp(pool, share->pool) == 0))
			continue;
		api_reply_error(request, 409, "smb_name_taken",
				"share %s/%s has that name over SMB already", pool, name);
		is_free = false;
		break;
	}
	json_decref(shares);
	return is_free;
}

/* granary-smb has a row for each. False: a 409 has been sent. */
static bool room_left(struct api_request *request, const struct model_share *share)
{
	json_t *shares = collect(store_of(request), shares_sql, NULL, share_row, NULL), *other;
	unsigned others = 0;
	size_t index;

	json_array_foreach(shares, index, other)
	{
		const char *pool = json_string_value(json_object_get(other, "pool"));
		const char *name = json_string_value(json_object_get(other, "name"));

		if (strcmp(name, share->name) != 0 || strcmp(pool, share->pool) != 0)
			others++;
	}
	json_decref(shares);
	if (others < SMB_SHARES_MAX)
		return true;
	api_reply_error(request, 409, "too_many_smb_shares", "there are %u shares over SMB already",
			SMB_SHARES_MAX);
	return false;
}

static int run_with_volume(struct config *config, const char *sql, const uint8_t volume[16],
			   const char *text, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, volume, 16);
	if (text)
		config_bind_text(statement, 2, text);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int add_share(struct config *config, const struct model_share *share, int guest,
		     int read_only, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config, "insert or replace into smb_share(volume, guest, read_only) values(?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, share->volume, 16);
	config_bind_number(statement, 2, guest);
	config_bind_number(statement, 3, read_only);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int put_share(struct api_request *request, const struct model_share *share, int guest,
		     int read_only, const json_t *users)
{
	struct config *config = store_of(request);
	struct err *err = &request->err;
	int result = config_begin(config, err);
	size_t index;
	json_t *user;

	if (result < 0)
		return result;
	result = run_with_volume(config, "delete from smb_share where volume = ?", share->volume,
				 NULL, err);
	if (result == 0)
		result = add_share(config, share, guest, read_only, err);
	json_array_foreach((json_t *)users, index, user)
	{
		if (result == 0)
			result = run_with_volume(
			    config, "insert into smb_share_user(volume, name) values(?, ?)",
			    share->volume, json_string_value(user), err);
	}
	if (result == 0)
		return api_commit(request);
	config_abort(config);
	return result;
}

/* Over NFS others can write what is written here, and neither sees the other's locks. */
static const char *warning_of(const struct model_share *share, bool read_only)
{
	if (read_only)
		return "";
	for (unsigned i = 0; i < share->rule_count; i++)
		if (!share->rules[i].read_only)
			return "clients of NFS can write to this share too, and locks of SMB and "
			       "NFS do not see each other: let only one of them write a file, "
			       "or enable SMB read-only";
	return "";
}

void api_share_smb_set(struct api_request *request)
{
	struct model_share *share = find_share(request);
	json_t *users = NULL, *before;
	int guest = 0, read_only = 0;

	if (!share || !api_unpack(request, "{s?:b,s?:b,s?:o}", "guest", &guest, "read_only",
				  &read_only, "users", &users))
		return;
	if (!name_good(request, share->name) || !users_good(request, users, guest) ||
	    !name_free(request, share) || !room_left(request, share))
		return;
	before = show_share_of(request, share);
	if (put_share(request, share, guest, read_only, users) < 0) {
		json_decref(before);
		api_reply_failure(request, request->err.code == -EEXIST ? "same_user_twice" : NULL);
		return;
	}
	if (api_is_dry(request)) {
		reply_dry_share(request, share, before);
		return;
	}
	json_decref(before);
	log_notice("share %s/%s is served over SMB%s%s", share->pool, share->name,
		   guest ? ", to guests" : "", read_only ? ", read-only" : "");
	api_reply(request, 200,
		  json_pack("{s:s,s:s,s:b,s:b,s:O*,s:s,s:o}", "pool", share->pool, "name",
			    share->name, "guest", guest, "read_only", read_only, "users", users,
			    "warning", warning_of(share, read_only), "service",
			    show_service(request->admin)));
}

void api_share_smb_clear(struct api_request *request)
{
	struct model_share *share = find_share(request);
	struct config *config = store_of(request);
	json_t *before;
	int result;

	if (!share)
		return;
	before = show_share_of(request, share);
	result = config_begin(config, &request->err);
	if (result == 0)
		result = run_with_volume(config, "delete from smb_share where volume = ?",
					 share->volume, NULL, &request->err);
	if (result == 0 && api_is_dry(request)) {
		reply_dry_share(request, share, before);
		return;
	}
	json_decref(before);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0) { /* what is left of it the end of the request aborts */
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("share %s/%s is not served over SMB", share->pool, share->name);
	api_reply(request, 200, json_pack("{s:s,s:s}", "pool", share->pool, "name", share->name));
}

/* ---- users ---- */
static bool user_name_good(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > SMB_NAME_MAX || !islower((unsigned char)name[0]) ||
	    strcmp(name, "root") == 0 || strcmp(name, "nobody") == 0)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
		    name[i] != '-' && name[i] != '_')
			return false;
	return true;
}

/* A number of the store, @otherwise when there is none. */
static int64_t number_of(struct config *config, const char *sql, const char *text,
			 int64_t otherwise)
{
	struct config_statement *statement;

	if (config_prepare(config, sql, &statement, NULL) < 0)
		return otherwise;
	if (text)
		config_bind_text(statement, 1, text);
	if (config_step(statement, NULL) == 1)
		otherwise = config_number(statement, 0);
	config_finish(statement);
	return otherwise;
}

static int put_user(struct api_request *request, const char *name, int64_t uid, int64_t gid,
		    const uint8_t hash[NTHASH_LENGTH])
{
	struct config *config = store_of(request);
	struct err *err = &request->err;
	struct config_statement *statement;
	uint8_t sealed[SECRET_SEALED];
	int length = secret_seal(hash, NTHASH_LENGTH, name, SECRET_KIND, sealed), result;

	if (length <= 0)
		return err_set(err, -EIO, "the password could not be sealed");
	result = config_begin(config, err);
	if (result < 0)
		return result;
	result = config_prepare(config,
				"insert into smb_user(name, uid, gid, hash) values(?, ?, ?, ?)"
				" on conflict(name) do update set uid = excluded.uid,"
				" gid = excluded.gid, hash = excluded.hash",
				&statement, err);
	if (result == 0) {
		config_bind_text(statement, 1, name);
		config_bind_number(statement, 2, uid);
		config_bind_number(statement, 3, gid);
		config_bind_blob(statement, 4, sealed, length);
		result = config_step(statement, err);
		config_finish(statement);
	}
	if (result >= 0)
		return api_commit(request);
	config_abort(config);
	return result;
}

/* False: a 400 has been sent. */
static bool take_ids(struct api_request *request, const char *name, json_int_t *uid,
		     json_int_t *gid)
{
	struct config *config = store_of(request);

	if (*gid < 0)
		*gid = number_of(config, "select gid from smb_user where name = ?", name, -1);
	if (*uid < 0)
		*uid = number_of(config, "select uid from smb_user where name = ?", name, -1);
	if (*uid < 0)
		*uid = number_of(
		    config, "select coalesce(max(uid) + 1, 70001) from smb_user where uid >= 70001",
		    NULL, SMB_UID_FIRST);
	if (*gid < 0)
		*gid = *uid;
	if (*uid >= 1 && *uid <= SMB_UID_MAX && *gid >= 1 && *gid <= SMB_UID_MAX)
		return true;
	api_reply_error(request, 400, "bad_id", "an SMB user's ids are from 1 to 4294967294");
	return false;
}

void api_smb_user_set(struct api_request *request)
{
	const char *name = request->match.param[0], *password;
	struct config *config = store_of(request);
	uint8_t hash[NTHASH_LENGTH];
	json_int_t uid = -1, gid = -1;
	json_t *before;
	int result;

	if (!api_unpack(request, "{s:s,s?:I,s?:I}", "password", &password, "uid", &uid, "gid",
			&gid))
		return;
	if (!user_name_good(name)) {
		api_reply_error(request, 400, "bad_name",
				"an SMB user's name has at most 32 characters, a-z, 0-9, - and _, "
				"begins with a letter, and is neither root nor nobody");
		return;
	}
	if (strlen(password) < SMB_PASSWORD_MIN || !nthash(password, hash)) {
		api_reply_error(request, 400, "bad_password",
				"a password has %u bytes at least, at most %u characters of UTF-8",
				SMB_PASSWORD_MIN, NTHASH_PASSWORD_MAX);
		return;
	}
	if (!user_known(config, name) &&
	    number_of(config, "select count(*) from smb_user", NULL, 0) >= SMB_USERS_MAX) {
		explicit_bzero(hash, sizeof hash);
		api_reply_error(request, 409, "too_many_users", "there are %u SMB users already",
				SMB_USERS_MAX);
		return;
	}
	if (!take_ids(request, name, &uid, &gid)) {
		explicit_bzero(hash, sizeof hash);
		return;
	}
	before = one_of(request, users_sql, user_row, "name", name);
	result = put_user(request, name, uid, gid, hash);
	explicit_bzero(hash, sizeof hash);
	if (result == 0 && api_is_dry(request)) {
		reply_dry_user(request, name, before);
		return;
	}
	json_decref(before);
	if (result < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("SMB user %s has a new password", name);
	api_reply(request, 200, json_pack("{s:s,s:I,s:I}", "name", name, "uid", uid, "gid", gid));
}

void api_smb_user_delete(struct api_request *request)
{
	const char *name = request->match.param[0];
	struct config *config = store_of(request);
	json_t *before;
	int result;

	if (!user_known(config, name)) {
		api_reply_error(request, 404, "smb_user_not_found", "no SMB user named %.32s",
				name);
		return;
	}
	before = one_of(request, users_sql, user_row, "name", name);
	result = config_begin(config, &request->err);
	if (result == 0)
		result = config_run(config, &request->err, "delete from smb_user where name = ?",
				    "s", name);
	if (result == 0 && api_is_dry(request)) {
		reply_dry_user(request, name, before);
		return;
	}
	json_decref(before);
	if (result == 0)
		result = config_commit(config, &request->err);
	if (result < 0) { /* what is left of it the end of the request aborts */
		api_reply_failure(request, NULL);
		return;
	}
	log_notice("SMB user %s is gone", name);
	api_reply(request, 200, json_pack("{s:s}", "deleted", name));
}
