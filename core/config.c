/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/config_copy.h"
#include "core/heap.h"
#include "core/log.h"

/* Invariants:
 * C1 The schema version is sqlite's user_version; it changes in the same transaction as the
 *    schema, so a crash in a migration leaves the old store whole. What an older program has to
 *    know of a row is in step, in the same transaction.
 * C2 The application id marks the file as ours; another program's database is left alone.
 * C3 The file may hold CHAP secrets: it is created 0600 and tightened to that at every open
 *    (sqlite gives its WAL the same mode).
 * C4 Before the first statement of a migration changes anything, a whole copy of the older store is
 *    durable under its name: written beside it, synced, renamed, the folder synced.
 * C5 Going back: the newer store has no log left and a second name, both durable, before the copy
 *    takes its name in one rename. At every moment PATH is one of the two, whole; a log of one is
 *    never beside the other. */
#define CONFIG_APPLICATION_ID 0x4752414e /* "GRAN" */
#define CONFIG_BUSY_MS        2000

struct config {
	sqlite3 *db;
	char *path;
	bool in_transaction;
};

struct config_statement {
	struct config *config;
	sqlite3_stmt *statement;
};

static const struct {
	int sqlite; /* primary or extended code */
	int error;
} error_table[] = {
    {SQLITE_CONSTRAINT_UNIQUE, -EEXIST},
    {SQLITE_CONSTRAINT_PRIMARYKEY, -EEXIST},
    {SQLITE_CONSTRAINT_FOREIGNKEY, -ENOENT},
    {SQLITE_CONSTRAINT, -EINVAL},
    {SQLITE_FULL, -ENOSPC},
    {SQLITE_BUSY, -EBUSY},
    {SQLITE_LOCKED, -EBUSY},
    {SQLITE_READONLY, -EROFS},
    {SQLITE_CANTOPEN, -EACCES},
    {SQLITE_PERM, -EACCES},
    {SQLITE_NOTADB, -EPROTO},
    {SQLITE_CORRUPT, -EUCLEAN},
    {SQLITE_NOMEM, -ENOMEM},
    {SQLITE_TOOBIG, -E2BIG},
    {SQLITE_MISUSE, -EINVAL},
};

static int error_number(sqlite3 *db)
{
	int code = sqlite3_extended_errcode(db);
	int system = sqlite3_system_errno(db);

	if (((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN) &&
	    (system == ENOSPC || system == EDQUOT))
		return -ENOSPC;
	for (unsigned i = 0; i < sizeof error_table / sizeof *error_table; i++) {
		if (code == error_table[i].sqlite || (code & 0xff) == error_table[i].sqlite)
			return error_table[i].error;
	}
	return -EIO;
}

static int fail(struct config *config, struct err *err)
{
	int error = error_number(config->db);

	if (error == -ENOSPC)
		return err_set(err, error, "configuration %s: no space left on its file system",
			       config->path);
	if (error == -EUCLEAN)
		return err_set(err, error, "configuration %s is damaged (%s)", config->path,
			       sqlite3_errmsg(config->db));
	return err_set(err, error, "configuration %s: %s", config->path,
		       sqlite3_errmsg(config->db));
}

static int execute(struct config *config, const char *sql, struct err *err)
{
	if (sqlite3_exec(config->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(config, err);
	return 0;
}

int config_prepare(struct config *config, const char *sql, struct config_statement **ret_statement,
		   struct err *err)
{
	struct config_statement *statement = heap_zalloc(sizeof *statement);

	if (!statement)
		return err_set(err, -ENOMEM, "out of memory");
	statement->config = config;
	if (sqlite3_prepare_v2(config->db, sql, -1, &statement->statement, NULL) != SQLITE_OK) {
		fail(config, err);
		heap_free(statement);
		return error_number(config->db);
	}
	*ret_statement = statement;
	return 0;
}

void config_bind_text(struct config_statement *statement, int index, const char *text)
{
	if (text)
		sqlite3_bind_text(statement->statement, index, text, -1, SQLITE_TRANSIENT);
	else
		sqlite3_bind_null(statement->statement, index);
}

void config_bind_number(struct config_statement *statement, int index, int64_t number)
{
	sqlite3_bind_int64(statement->statement, index, number);
}

void config_bind_blob(struct config_statement *statement, int index, const void *data, int length)
{
	if (length)
		sqlite3_bind_blob(statement->statement, index, data, length, SQLITE_TRANSIENT);
	else
		sqlite3_bind_zeroblob(statement->statement, index, 0);
}

int config_step(struct config_statement *statement, struct err *err)
{
	int code = sqlite3_step(statement->statement);

	if (code == SQLITE_ROW)
		return 1;
	if (code == SQLITE_DONE)
		return 0;
	return fail(statement->config, err);
}

const char *config_text(struct config_statement *statement, int column)
{
	return (const char *)sqlite3_column_text(statement->statement, column);
}

int64_t config_number(struct config_statement *statement, int column)
{
	return sqlite3_column_int64(statement->statement, column);
}

const void *config_blob(struct config_statement *statement, int column, int *ret_length)
{
	const void *data = sqlite3_column_blob(statement->statement, column);

	*ret_length = sqlite3_column_bytes(statement->statement, column);
	return data;
}

void config_finish(struct config_statement *statement)
{
	if (!statement)
		return;
	sqlite3_finalize(statement->statement);
	heap_free(statement);
}

int config_run(struct config *config, struct err *err, const char *sql, const char *types, ...)
{
	struct config_statement *statement;
	va_list values;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	va_start(values, types);
	for (int i = 0; types[i]; i++) {
		if (types[i] == 's')
			config_bind_text(statement, i + 1, va_arg(values, const char *));
		else
			config_bind_number(statement, i + 1, va_arg(values, int));
	}
	va_end(values);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int config_begin(struct config *config, struct err *err)
{
	int result;

	if (config->in_transaction)
		return err_set(err, -EBUSY, "another configuration change is under way");
	result = execute(config, "begin immediate", err);
	config->in_transaction = result == 0;
	return result;
}

int config_commit(struct config *config, struct err *err)
{
	int result;

	if (!config->in_transaction)
		return err_set(err, -EINVAL, "no configuration change is under way");
	result = execute(config, "commit", err);
	if (result < 0) {
		config_abort(config);
		return result;
	}
	config->in_transaction = false;
	return 0;
}

void config_abort(struct config *config)
{
	if (!config || !config->in_transaction)
		return;
	/* sqlite may have rolled back by itself (full disk): that error is harmless. */
	sqlite3_exec(config->db, "rollback", NULL, NULL, NULL);
	config->in_transaction = false;
}

/* One number out of a pragma or a count. */
static int query_number(struct config *config, const char *sql, int64_t *ret_number,
			struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	result = config_step(statement, err);
	if (result > 0)
		*ret_number = config_number(statement, 0);
	config_finish(statement);
	if (result == 0)
		return err_set(err, -EIO, "configuration %s: no answer to %s", config->path, sql);
	return result < 0 ? result : 0;
}

/* The file comes into being with its final mode (C3), before sqlite sees it. */
static int prepare_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat info;
	int result = 0;

	if (fd < 0)
		return err_set(err, -errno, "configuration %s: %s", path, strerror(errno));
	if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
		result = err_set(err, -EINVAL, "configuration %s is not a file", path);
	else if ((info.st_mode & 0077) && fchmod(fd, 0600) < 0)
		result = err_set(err, -errno, "configuration %s: can not make it private: %s", path,
				 strerror(errno));
	close(fd);
	return result;
}

static int check_identity(struct config *config, int64_t *ret_version, struct err *err)
{
	int64_t id, version, tables;
	int result = query_number(config, "pragma application_id", &id, err);

	if (result == 0)
		result = query_number(config, "pragma user_version", &version, err);
	if (result == 0)
		result = query_number(config, "select count(*) from sqlite_master", &tables, err);
	if (result < 0)
		return result;
	if (version < 0 ||
	    (id != CONFIG_APPLICATION_ID && (id != 0 || version != 0 || tables != 0)))
		return err_set(err, -EPROTO, "%s is not a Granary configuration", config->path);
	*ret_version = version;
	return 0;
}

/* The text of a query's one row: what a newer program has left about schema version @version. */
static int find_step(struct config *config, int64_t version, char **ret_summary, char **ret_beyond,
		     struct err *err)
{
	struct config_statement *statement;
	const char *summary, *beyond;
	int64_t kept;
	int result = query_number(
	    config, "select count(*) from sqlite_master where type = 'table' and name = 'step'",
	    &kept, err);

	if (result < 0 || kept == 0)
		return result;
	result = config_prepare(config, "select summary, beyond from step where version = ?",
				&statement, err);
	if (result < 0)
		return result;
	config_bind_number(statement, 1, version);
	result = config_step(statement, err);
	if (result > 0) {
		summary = config_text(statement, 0);
		beyond = config_text(statement, 1);
		*ret_summary = summary ? heap_strdup(summary) : NULL;
		*ret_beyond = beyond ? heap_strdup(beyond) : NULL;
		if ((summary && !*ret_summary) || (beyond && !*ret_beyond))
			result = err_set(err, -ENOMEM, "out of memory");
	}
	config_finish(statement);
	return result < 0 ? result : 0;
}

/* How much of what schema version @version brought is in use; -1: it can not be passed over. */
static int count_beyond(struct config *config, const char *beyond, int64_t *ret_count,
			struct err *err)
{
	struct config_statement *statement;
	int result;

	*ret_count = -1;
	if (!beyond)
		return 0;
	result = config_prepare(config, beyond, &statement, err);
	if (result < 0)
		return result;
	if (sqlite3_stmt_readonly(statement->statement))
		result = config_step(statement, err);
	if (result > 0)
		*ret_count = config_number(statement, 0);
	config_finish(statement);
	return result < 0 ? result : 0;
}

/* A newer program has migrated the store. Nothing is changed in it before this is clear. */
static int check_newer(struct config *config, int64_t version, unsigned known, struct err *err)
{
	int64_t count = 0;

	for (int64_t next = (int64_t)known + 1; next <= version && count == 0; next++) {
		char *summary = NULL, *beyond = NULL;
		int result = find_step(config, next, &summary, &beyond, err);

		if (result == 0)
			result = count_beyond(config, beyond, &count, err);
		if (result == 0 && count != 0)
			result = err_set(
			    err, -EPROTO,
			    "configuration %s was written by a newer Granary: it has schema "
			    "version %lld, this program knows up to %u and would pass over "
			    "\"%s\"%s. Start the newer release again, or stop using that there "
			    "first%s",
			    config->path, (long long)version, known, summary ? summary : "?",
			    count > 0 ? ", which is in use" : "",
			    config_copy_find(config->path, CONFIG_COPY, known) > 0
				? "; a copy from before lies beside it"
				: "");
		heap_free(summary);
		heap_free(beyond);
		if (result < 0)
			return result;
	}
	return 0;
}

static int check_health(struct config *config, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "pragma quick_check(1)", &statement, err);
	const char *verdict;

	if (result < 0)
		return result;
	result = config_step(statement, err);
	verdict = result > 0 ? config_text(statement, 0) : NULL;
	if (result >= 0 && (!verdict || strcmp(verdict, "ok") != 0))
		result = err_set(err, -EUCLEAN, "configuration %s is damaged (%s)", config->path,
				 verdict ? verdict : "no verdict");
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int sync_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int result = 0;

	if (fd < 0 || fsync(fd) < 0)
		result = err_set(err, -errno, "configuration copy %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return result;
}

/* A whole copy beside the store, for the way back after a migration (C4). */
static int keep_copy(struct config *config, int64_t version, struct err *err)
{
	char *target = config_copy_name(config->path, CONFIG_COPY, version);
	char *part = heap_printf("%s.v%lld.part", config->path, (long long)version);
	int result = -ENOMEM;

	if (!target || !part)
		err_set(err, -ENOMEM, "out of memory");
	else if ((unlink(part) < 0 && errno != ENOENT) || prepare_file(part, err) < 0)
		result = err_set(err, -EIO, "configuration copy %s can not be written", part);
	else
		result = config_run(config, err, "vacuum into ?", "s", part);
	if (result == 0)
		result = sync_file(part, err); /* whatever sqlite has done of it */
	if (result == 0 && rename(part, target) < 0)
		result = err_set(err, -errno, "configuration copy %s: %s", target, strerror(errno));
	if (result == 0)
		result = config_copy_sync(config->path, err);
	if (result == 0)
		config_copy_prune(config->path, CONFIG_COPY);
	heap_free(target);
	heap_free(part);
	return result;
}

/* What an older program is told of the row. */
static int keep_step(struct config *config, unsigned version, const struct config_migration *row,
		     struct err *err)
{
	int result = execute(config,
			     "create table if not exists step(version integer primary key,"
			     "  summary text not null, beyond text)",
			     err);

	return result < 0
		   ? result
		   : config_run(
			 config, err,
			 "insert or replace into step(version, summary, beyond) values(?, ?, ?)",
			 "iss", (int)version, row->summary, row->beyond);
}

static int migrate(struct config *config, int64_t version, const struct config_migration *table,
		   unsigned count, struct err *err)
{
	char pragma[96];
	int result;

	if (version >= (int64_t)count)
		return 0;
	if (version > 0 && (result = keep_copy(config, version, err)) < 0)
		return result;
	result = config_begin(config, err);
	for (unsigned i = (unsigned)version; result == 0 && i < count; i++) {
		result = execute(config, table[i].sql, err);
		if (result == 0)
			result = keep_step(config, i + 1, &table[i], err);
		if (result < 0)
			err_wrap(err, "schema version %u (%s)", i + 1, table[i].summary);
	}
	snprintf(pragma, sizeof pragma, "pragma application_id = %d; pragma user_version = %u",
		 CONFIG_APPLICATION_ID, count);
	if (result == 0)
		result = execute(config, pragma, err);
	if (result == 0)
		return config_commit(config, err);
	config_abort(config);
	return result;
}

static int open_file(struct config *config, int flags, int64_t *ret_version, struct err *err)
{
	if (sqlite3_open_v2(config->path, &config->db, flags | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK)
		return config->db ? fail(config, err) : err_set(err, -ENOMEM, "out of memory");
	sqlite3_extended_result_codes(config->db, 1);
	sqlite3_busy_timeout(config->db, CONFIG_BUSY_MS);
	return check_identity(config, ret_version, err);
}

/* --- going back ------------------------------------------------------------------------------- */

/* Nothing is under way in the store that its other version would go on with from the wrong end. */
static int check_settled(struct config *config, const char *sql, struct err *err)
{
	int64_t count = 0;
	int result = sql ? query_number(config, sql, &count, err) : 0;

	if (result == 0 && count)
		result =
		    err_set(err, -EBUSY, "in %s something is under way (%s)", config->path, sql);
	return result;
}

static int check_copy(const char *path, int64_t version, const char *settled, struct err *err)
{
	struct config copy = {.path = heap_strdup(path)};
	int64_t found = 0;
	int result = copy.path ? open_file(&copy, SQLITE_OPEN_READONLY, &found, err)
			       : err_set(err, -ENOMEM, "out of memory");

	if (result == 0 && found != version)
		result =
		    err_set(err, -EPROTO, "%s has schema version %lld", path, (long long)found);
	if (result == 0)
		result = check_health(&copy, err);
	if (result == 0)
		result = check_settled(&copy, settled, err);
	sqlite3_close_v2(copy.db);
	heap_free(copy.path);
	return result;
}

static bool has_log(const char *path)
{
	static const char *const logs[] = {"-wal", "-journal"};
	bool any = false;

	for (unsigned i = 0; i < sizeof logs / sizeof *logs; i++) {
		char *log = heap_printf("%s%s", path, logs[i]);

		any |= !log || access(log, F_OK) == 0;
		heap_free(log);
	}
	return any;
}

/* What its log holds is in the file itself, and it has none any more. The store is closed. */
static int fold_log(struct config *config, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "pragma journal_mode = delete", &statement, err);

	if (result < 0)
		return result;
	result = config_step(statement, err);
	if (result > 0)
		result = strcmp(config_text(statement, 0), "delete") == 0 ? 0 : -EBUSY;
	config_finish(statement);
	sqlite3_close_v2(config->db);
	config->db = NULL;
	if (result == -EBUSY || (result == 0 && has_log(config->path)))
		return err_set(err, -EBUSY, "the log of %s can not be folded in", config->path);
	return result;
}

/* The second name. It is there already when this was cut off before; one of another time that had
 * it keeps a name. */
static int name_newer(const char *path, const char *newer, struct err *err)
{
	char *old = heap_printf("%s.old", newer);
	struct stat now, there;
	int result = 0;

	if (!old)
		return err_set(err, -ENOMEM, "out of memory");
	if (stat(path, &now) < 0)
		result = -errno;
	else if (lstat(newer, &there) == 0 && there.st_dev == now.st_dev &&
		 there.st_ino == now.st_ino)
		result = 0;
	else if ((rename(newer, old) < 0 && errno != ENOENT) || link(path, newer) < 0)
		result = -errno;
	heap_free(old);
	return result < 0 ? err_set(err, result, "%s: %s", newer, strerror(-result)) : 0;
}

/* C5 */
static int swap(const char *path, const char *copy, const char *newer, struct err *err)
{
	int result = name_newer(path, newer, err);

	if (result < 0)
		return result;
	result = config_copy_sync(path, err);
	if (result == 0 && rename(copy, path) < 0)
		result = err_set(err, -errno, "%s: %s", path, strerror(errno));
	return result < 0 ? result : config_copy_sync(path, err);
}

/* From @version to a copy of a schema that is known. The store is closed then. */
static int go_back(struct config *config, int64_t version, unsigned known, struct config_back *back,
		   struct err *err)
{
	int64_t to = config_copy_find(config->path, CONFIG_COPY, known);
	char *copy = config_copy_name(config->path, CONFIG_COPY, to);
	char *newer = config_copy_name(config->path, CONFIG_COPY_NEWER, version);
	struct stat info;
	struct err why = {0};
	int result = 0;

	if (!copy || !newer)
		result = err_set(&why, -ENOMEM, "out of memory");
	else if (lstat(copy, &info) < 0 || !S_ISREG(info.st_mode))
		result = err_set(&why, -EINVAL, "%s is not a file", copy);
	if (result == 0)
		result = check_copy(copy, to, back->settled, &why);
	if (result == 0)
		result = check_settled(config, back->settled, &why);
	if (result == 0)
		result = fold_log(config, &why);
	if (result == 0)
		result = swap(config->path, copy, newer, &why);
	if (result == 0) {
		back->from = version;
		back->to = to;
		back->copied = (int64_t)info.st_mtime;
		config_copy_prune(config->path, CONFIG_COPY_NEWER);
	} else {
		err_set(
		    err, result,
		    "configuration %s has schema version %lld, this program knows up to %u, and "
		    "can not go back to the copy of version %lld beside it: %s",
		    config->path, (long long)version, known, (long long)to, why.text);
	}
	heap_free(copy);
	heap_free(newer);
	return result;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* @back: NULL: a newer store is refused. */
static int open_store(struct config *config, const struct config_migration *migrations,
		      unsigned count, struct config_back *back, struct err *err)
{
	int64_t version = 0;
	int result = prepare_file(config->path, err);

	if (result == 0)
		result = open_file(config, SQLITE_OPEN_READWRITE, &version, err);
	/* Identity first: nothing is changed in a file that is not ours or is newer. */
	if (result == 0 && version > (int64_t)count) {
		result = check_newer(config, version, count, err);
		if (result == 0)
			log_warning("configuration %s was written by a newer Granary (schema "
				    "version %lld, this program knows up to %u); nothing of what "
				    "is new there is in use",
				    config->path, (long long)version, count);
		if (result == -EPROTO && back &&
		    config_copy_find(config->path, CONFIG_COPY, count)) {
			result = go_back(config, version, count, back, err);
			if (result == 0)
				result = open_file(config, SQLITE_OPEN_READWRITE, &version, err);
		}
	}
	if (result == 0)
		result = execute(config,
				 "pragma journal_mode = wal; pragma synchronous = full;"
				 "pragma foreign_keys = on; pragma trusted_schema = off;"
				 "pragma cell_size_check = on; pragma secure_delete = on",
				 err);
	if (result == 0)
		result = check_health(config, err);
	if (result == 0)
		result = migrate(config, version, migrations, count, err);
	return result;
}

int config_check(const char *path, unsigned known, struct err *err)
{
	struct config config = {.path = heap_strdup(path)};
	int64_t version = 0;
	int result = 0;

	if (!config.path)
		result = err_set(err, -ENOMEM, "out of memory");
	else if (access(path, F_OK) == 0)
		result = open_file(&config, SQLITE_OPEN_READWRITE, &version, err);
	if (result == 0 && version > (int64_t)known)
		result = check_newer(&config, version, known, err);
	sqlite3_close_v2(config.db);
	heap_free(config.path);
	return result;
}

unsigned config_goes_back_to(const struct config_migration *migrations, unsigned count)
{
	while (count > 1 && migrations[count - 1].beyond)
		count--;
	return count;
}

int config_open_or_back(const char *path, const struct config_migration *migrations, unsigned count,
			struct config_back *back, struct config **ret_config, struct err *err)
{
	struct config *config = heap_zalloc(sizeof *config);
	int result;

	if (!config || !(config->path = heap_strdup(path))) {
		heap_free(config);
		return err_set(err, -ENOMEM, "out of memory");
	}
	result = open_store(config, migrations, count, back, err);
	if (result < 0) {
		config_close(config);
		return result;
	}
	*ret_config = config;
	return 0;
}

int config_open(const char *path, const struct config_migration *migrations, unsigned count,
		struct config **ret_config, struct err *err)
{
	return config_open_or_back(path, migrations, count, NULL, ret_config, err);
}

void config_close(struct config *config)
{
	if (!config)
		return;
	config_abort(config);
	sqlite3_close_v2(config->db);
	heap_free(config->path);
	heap_free(config);
}
