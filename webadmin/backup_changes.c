/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "webadmin/backup.h"

/* What a row is known by, and what is said to have changed. */
static const struct {
	const char *part, *table, *key, *what;
} rows[] = {
    {"config.db", "pool", "name", "pool"},
    {"config.db", "target", "iqn", "target"},
    {"config.db", "lun", "target || ' LUN ' || lun", "lun"},
    {"config.db", "rule", "target || ' ' || initiator || ' ' || network", "rule"},
    {"config.db", "share", "pool || '/' || name", "share"},
    {"config.db", "share_rule", "hex(volume) || ' ' || client", "share-rule"},
    {"config.db", "directory", "name", "directory"},
    {"config.db", "directory_rule", "directory || ' ' || client", "directory-rule"},
    {"config.db", "host", "name", "host"},
    {"config.db", "host_initiator", "initiator", "initiator"},
    {"config.db", "snapshot_schedule", "name", "schedule"},
    {"config.db", "alert_channel", "name", "channel"},
    {"config.db", "smb_user", "name", "smb-user"},
    {"config.db", "setting", "name", "setting"},
    {"access.db", "account", "name", "account"},
    {"access.db", "token", "name", "token"},
};
/* What is compared as a whole. */
static const char *const wholes[] = {"secret.key",         "web/key.pem",        "web/cert.pem",
				     "host/settings.json", "nfs-identity",       "replication.db",
				     "nfs-tls.pem",        "nfs-tls-clients.pem"};
/* What the next start has to be able to open. */
static const char *const databases[] = {"config.db", "access.db", "replication.db",
					"reservations.db"};

static const struct backup_part *find_part(const struct backup *backup, const char *name)
{
	for (unsigned i = 0; i < backup->count; i++)
		if (strcmp(backup->parts[i].name, name) == 0)
			return &backup->parts[i];
	return NULL;
}

/* A copy in memory, read only; NULL with @err. */
static sqlite3 *open_part(const struct backup_part *part, struct err *err)
{
	sqlite3_int64 length = part ? (sqlite3_int64)part->length : 0;
	unsigned char *copy = length >= 100 ? sqlite3_malloc64((sqlite3_uint64)length) : NULL;
	sqlite3 *database = NULL;

	if (copy)
		memcpy(copy, part->data, part->length);
	if (copy)
		copy[18] = copy[19] = 1; /* what is in memory has no log beside it */
	if (!copy || sqlite3_open(":memory:", &database) != SQLITE_OK) {
		sqlite3_free(copy);
	} else if (sqlite3_deserialize(database, "main", copy, length, length,
				       SQLITE_DESERIALIZE_READONLY |
					   SQLITE_DESERIALIZE_FREEONCLOSE) == SQLITE_OK) {
		sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		return database;
	}
	sqlite3_close(database);
	err_set(err, -EPROTO, "%s of the backup can not be read", part ? part->name : "a part");
	return NULL;
}

static int64_t number_of(sqlite3 *database, const char *sql)
{
	sqlite3_stmt *statement = NULL;
	int64_t number = -1;

	if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

static bool is_whole(sqlite3 *database)
{
	sqlite3_stmt *statement = NULL;
	bool whole = false;

	if (sqlite3_prepare_v2(database, "pragma quick_check(1)", -1, &statement, NULL) ==
		SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		whole = strcmp((const char *)sqlite3_column_text(statement, 0), "ok") == 0;
	sqlite3_finalize(statement);
	return whole;
}

/* FNV-1a, for "is it the same?" among rows of one's own. */
static uint64_t mix(uint64_t hash, const void *data, size_t length)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ull;
	return hash;
}

static uint64_t hash_row(sqlite3_stmt *statement, int from)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (int i = from; i < sqlite3_column_count(statement); i++) {
		int type = sqlite3_column_type(statement, i);
		const void *data = sqlite3_column_blob(statement, i);

		hash = mix(hash, &type, sizeof type);
		if (data)
			hash = mix(hash, data, (size_t)sqlite3_column_bytes(statement, i));
	}
	return hash;
}

/* Each row's key and what is in it; an id of its own says nothing. A table that is not there yet
 * is empty. */
static json_t *read_rows(sqlite3 *database, unsigned which)
{
	json_t *all = json_object();
	sqlite3_stmt *statement = NULL;
	char sql[256];

	snprintf(sql, sizeof sql, "select %s, * from \"%s\"", rows[which].key, rows[which].table);
	if (!database || sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK) {
		sqlite3_finalize(statement);
		return all;
	}
	while (sqlite3_step(statement) == SQLITE_ROW) {
		const char *key = (const char *)sqlite3_column_text(statement, 0);
		bool has_id = strcmp(sqlite3_column_name(statement, 1), "id") == 0;

		if (key)
			json_object_set_new(
			    all, key,
			    json_integer((json_int_t)(hash_row(statement, has_id ? 2 : 1) >> 1)));
	}
	sqlite3_finalize(statement);
	return all;
}

static void say(json_t *changes, const char *what, const char *name, const char *change)
{
	if (json_array_size(changes) < BACKUP_CHANGES_MAX)
		json_array_append_new(changes, json_pack("{s:s,s:s,s:s}", "what", what, "name",
							 name, "change", change));
}

static void compare_rows(json_t *changes, unsigned which, sqlite3 *now, sqlite3 *then)
{
	json_t *before = read_rows(now, which), *after = read_rows(then, which), *value;
	const char *key;

	json_object_foreach(after, key, value)
	{
		const json_t *old = json_object_get(before, key);

		if (!old)
			say(changes, rows[which].what, key, "comes");
		else if (!json_equal(old, value))
			say(changes, rows[which].what, key, "changes");
	}
	json_object_foreach(before, key, value)
	{
		if (!json_object_get(after, key))
			say(changes, rows[which].what, key, "goes");
	}
	json_decref(before);
	json_decref(after);
}

static void compare_whole(json_t *changes, const char *name, const struct backup_part *now,
			  const struct backup_part *then)
{
	if (!now && then)
		say(changes, "file", name, "comes");
	else if (now && !then)
		say(changes, "file", name, "goes");
	else if (now &&
		 (now->length != then->length || memcmp(now->data, then->data, now->length) != 0))
		say(changes, "file", name, "changes");
}

/* A database that this program can use: whole, and of no newer version. */
static bool is_good(const char *name, sqlite3 *now, sqlite3 *then, struct err *err)
{
	if (!is_whole(then))
		err_set(err, -EUCLEAN, "%s of the backup is damaged", name);
	else if (now &&
		 number_of(then, "pragma user_version") > number_of(now, "pragma user_version"))
		err_set(err, -EPROTO, "the backup is of a newer version of Granary");
	else
		return true;
	return false;
}

static bool compare_database(json_t *changes, const char *name, const struct backup *now,
			     const struct backup *then, struct err *err)
{
	struct err ignored = {0};
	const struct backup_part *part = find_part(then, name);
	sqlite3 *before = open_part(find_part(now, name), &ignored);
	sqlite3 *after = part ? open_part(part, err) : NULL;
	bool good = !part || (after && is_good(name, before, after, err));

	for (unsigned i = 0; good && i < sizeof rows / sizeof *rows; i++)
		if (strcmp(rows[i].part, name) == 0)
			compare_rows(changes, i, before, after);
	sqlite3_close(before);
	sqlite3_close(after);
	return good;
}

json_t *backup_changes(const struct backup *now, const struct backup *then, struct err *err)
{
	json_t *changes = json_array();

	if (!find_part(then, "config.db")) {
		err_set(err, -EPROTO, "the backup holds no configuration");
		json_decref(changes);
		return NULL;
	}
	for (unsigned i = 0; i < sizeof databases / sizeof *databases; i++) {
		if (compare_database(changes, databases[i], now, then, err))
			continue;
		json_decref(changes);
		return NULL;
	}
	for (unsigned i = 0; i < sizeof wholes / sizeof *wholes; i++)
		compare_whole(changes, wholes[i], find_part(now, wholes[i]),
			      find_part(then, wholes[i]));
	return changes;
}
