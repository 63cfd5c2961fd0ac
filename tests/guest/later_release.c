/* SPDX-License-Identifier: Apache-2.0 */
/* The granaryd of a later release that does not work, for tests/appliance/schema_test.py: as a
 *release does it, it copies the configuration, brings it to a schema that no release knows, and
 *writes to it; then it ends, and does so each time it is started again. Linked statically.
 *
 *	later_release --state FOLDER ... */
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SINCE "iqn.2026-11.org.example:since-the-update"

static int fail(sqlite3 *database, const char *what)
{
	fprintf(stderr, "later_release: %s: %s\n", what, sqlite3_errmsg(database));
	sqlite3_close(database);
	return 1;
}

static int number(sqlite3 *database, const char *query)
{
	sqlite3_stmt *statement;
	int found = -1;

	if (sqlite3_prepare_v2(database, query, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		found = sqlite3_column_int(statement, 0);
	sqlite3_finalize(statement);
	return found;
}

static int sync_path(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC), result = fd < 0 ? -1 : fsync(fd);

	if (fd >= 0)
		close(fd);
	return result;
}

/* core/config.c, keep_copy() and migrate(). */
static int migrate(const char *folder, sqlite3 *database, int version)
{
	char part[PATH_MAX], copy[PATH_MAX + 16], sql[2 * PATH_MAX];

	snprintf(copy, sizeof copy, "%s/config.db.v%d", folder, version);
	snprintf(part, sizeof part, "%s/config.db.v%d.part", folder, version);
	unlink(part);
	snprintf(sql, sizeof sql, "vacuum into '%s'", part);
	if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(database, part);
	if (sync_path(part, O_RDONLY) < 0 || rename(part, copy) < 0 ||
	    sync_path(folder, O_RDONLY | O_DIRECTORY) < 0)
		return fail(database, copy);
	snprintf(sql, sizeof sql,
		 "begin immediate; create table later_thing(name text);"
		 "insert into step(version, summary, beyond) values(%d, 'later things', null);"
		 "insert into target(iqn) values('" SINCE "');"
		 "pragma user_version = %d; commit",
		 version + 1, version + 1);
	return sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(database, sql);
}

int main(int argc, char **argv)
{
	const char *folder = argc >= 3 && strcmp(argv[1], "--state") == 0 ? argv[2] : NULL;
	char path[PATH_MAX - 32];
	sqlite3 *database;
	int version;

	if (!folder || snprintf(path, sizeof path, "%s/config.db", folder) >= (int)sizeof path)
		return 2;
	umask(0077);
	if (sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		return fail(database, path);
	version = number(database, "pragma user_version");
	if (number(database, "select count(*) from sqlite_master where name = 'later_thing'") !=
	    0) {
		fprintf(stderr, "later_release: at schema version %d, and broken\n", version);
		sqlite3_close(database);
		return 1;
	}
	if (version <= 0 || migrate(folder, database, version) != 0)
		return 1;
	fprintf(stderr, "later_release: migrated to schema version %d\n", version + 1);
	sqlite3_close(database);
	return 1;
}
