/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/backup.h"
#include "core/config_copy.h"
#include "core/heap.h"

/* What of a state directory is configuration. Pools that lie beside it are not. */
static const struct {
	const char *name;
	bool database;
	unsigned mode;
} parts[] = {
    {"config.db", true, 0600},           {"access.db", true, 0600},
    {"reservations.db", true, 0600},     {"secret.key", false, 0600},
    {"web/key.pem", false, 0600},        {"web/cert.pem", false, 0644},
    {"host/settings.json", false, 0600}, {"replication.db", true, 0600},
    {"nfs-identity", false, 0600},       {"host/seed.json", false, 0600},
    {"nfs-tls.pem", false, 0600},        {"nfs-tls-clients.pem", false, 0600},
};
#define PARTS (sizeof parts / sizeof *parts)

/* Beside what is there, while a restore is not finished, a file says how far it is. In it are the
 * names of the parts that come, a line each; what is not among them goes.
 *
 *   restore.ready    each part that comes lies there whole, as NAME.next; nothing was touched yet
 *   restore.begun    the same file, renamed: parts are being replaced, in their order
 *   restore.damaged  what restore.ready was, when its list could not be read
 *
 * Invariants:
 * B1 While restore.begun is there, parts may be of two configurations. A start goes on by its list,
 *    or refuses when that can not be read; only who brings all parts of one configuration, or takes
 *    all of them away, takes it away, and last.
 * B2 Nothing is written to or taken away from the parts that come while a whole list names them: a
 *    restore that comes after one that was cut off empties its list first.
 * B3 Each step is durable before the next. */
#define STAGED "restore.ready"
#define BEGUN  "restore.begun"
#define ASIDE  "restore.damaged"
#define RESET  "reset\n" /* in restore.begun: all parts go, by backup_reset() */
#define MEND                                                                                       \
	"restore the backup once more with granary config restore, or forget all of it with "      \
	"granary config reset"

static bool exists(const char *dir, const char *name, const char *suffix)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s%s", dir, name, suffix);
	return access(path, F_OK) == 0;
}

/* Releases before this one had no restore.begun: config.db is the first part and in every backup,
 * so it was begun when its .next has gone and another is left. */
static bool is_begun(const char *dir)
{
	bool left = false;

	if (exists(dir, BEGUN, ""))
		return true;
	for (unsigned i = 1; i < PARTS; i++)
		left |= exists(dir, parts[i].name, ".next");
	return left && exists(dir, STAGED, "") && !exists(dir, parts[0].name, ".next");
}

static int refuse_begun(const char *dir, struct err *err)
{
	if (!is_begun(dir))
		return 0;
	return err_set(err, -EUCLEAN,
		       "a restore was cut off half way, %s has parts of two configurations: " MEND,
		       dir);
}

/* --- collecting ------------------------------------------------------------------------------ */

/* A copy as of one moment, whoever writes to it meanwhile. */
static int read_database(const char *path, struct backup_part *part, struct err *err)
{
	sqlite3 *from = NULL, *copy = NULL;
	sqlite3_backup *run = NULL;
	sqlite3_int64 length = 0;
	unsigned char *bytes = NULL;
	int result = 0;
	bool whole;

	if (sqlite3_open_v2(path, &from, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
	    sqlite3_busy_timeout(from, 5000) == SQLITE_OK &&
	    sqlite3_open(":memory:", &copy) == SQLITE_OK)
		run = sqlite3_backup_init(copy, "main", from, "main");
	whole = run && sqlite3_backup_step(run, -1) == SQLITE_DONE;
	/* Also one that failed: else neither database is closed. */
	if (sqlite3_backup_finish(run) != SQLITE_OK || !whole)
		result = err_set(err, -EIO, "%s: %s", path, sqlite3_errmsg(copy ? copy : from));
	if (result == 0)
		bytes = sqlite3_serialize(copy, "main", &length, 0);
	part->data = bytes ? heap_alloc((size_t)length + 1) : NULL;
	if (part->data) {
		memcpy(part->data, bytes, (size_t)length);
		part->length = (size_t)length;
	} else if (result == 0) {
		result = err_set(err, -ENOMEM, "out of memory");
	}
	sqlite3_free(bytes);
	sqlite3_close(copy);
	sqlite3_close(from);
	return result;
}

static int read_file(const char *path, struct backup_part *part, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat info;
	int result = 0;

	if (fd < 0 || fstat(fd, &info) < 0 || info.st_size > (off_t)BACKUP_MOST)
		result = err_set(err, fd < 0 ? -errno : -EFBIG, "%s: %s", path, strerror(errno));
	else
		part->data = heap_alloc((size_t)info.st_size + 1);
	if (result == 0 && !part->data)
		result = err_set(err, -ENOMEM, "out of memory");
	if (result == 0 && read(fd, part->data, (size_t)info.st_size) != info.st_size)
		result = err_set(err, -EIO, "%s: %s", path, strerror(errno));
	if (result == 0)
		part->length = (size_t)info.st_size;
	if (fd >= 0)
		close(fd);
	return result;
}

int backup_collect(const char *dir, struct backup *ret_backup, struct err *err)
{
	struct backup backup = {.count = 0};
	int result = refuse_begun(dir, err);

	for (unsigned i = 0; result == 0 && i < PARTS; i++) {
		struct backup_part *part = &backup.parts[backup.count];
		char path[PATH_MAX];

		snprintf(path, sizeof path, "%s/%s", dir, parts[i].name);
		if (access(path, F_OK) < 0 && errno == ENOENT)
			continue;
		snprintf(part->name, sizeof part->name, "%s", parts[i].name);
		result =
		    parts[i].database ? read_database(path, part, err) : read_file(path, part, err);
		backup.count++;
	}
	if (result == 0 && backup.count == 0)
		result = err_set(err, -ENOENT, "%s holds no configuration", dir);
	if (result < 0)
		backup_free(&backup);
	else
		*ret_backup = backup;
	return result;
}

/* --- putting back ---------------------------------------------------------------------------- */

/* The daemon's own lock, so that none starts meanwhile either. */
static int take_lock(const char *dir, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof path, "%s/granaryd.lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return fd;
	close(fd);
	return err_set(err, -EBUSY, "granaryd runs on %s: stop it first", dir);
}

/* Who owns the folder has to read what lies in it: the web front is a user of its own. Nothing of
 * his is written to or handed over that he had there before. */
static int hand_over(int fd, const char *path)
{
	char folder[PATH_MAX];
	struct stat owner, info;
	char *slash;

	snprintf(folder, sizeof folder, "%s", path);
	slash = strrchr(folder, '/');
	if (geteuid() != 0 || !slash)
		return 0;
	*slash = '\0';
	if (stat(folder, &owner) < 0 || fstat(fd, &info) < 0)
		return -1;
	if (owner.st_uid == info.st_uid && owner.st_gid == info.st_gid)
		return 0;
	return fchown(fd, owner.st_uid, owner.st_gid);
}

static int write_file(const char *path, const void *data, size_t length, unsigned mode,
		      struct err *err)
{
	ssize_t written;
	int fd, why = 0;

	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	written = fd < 0 ? -1 : write(fd, data, length);
	if (written < 0)
		why = errno;
	else if ((size_t)written != length)
		why = ENOSPC;
	else if (hand_over(fd, path) < 0 || fsync(fd) < 0)
		why = errno;
	if (fd >= 0)
		close(fd);
	return why ? err_set(err, -why, "%s: %s", path, strerror(why)) : 0;
}

static const struct backup_part *find_part(const struct backup *backup, const char *name)
{
	for (unsigned i = 0; i < backup->count; i++)
		if (strcmp(backup->parts[i].name, name) == 0)
			return &backup->parts[i];
	return NULL;
}

/* All of it beside what is there, before the first of it counts. */
static int write_all(const char *dir, const struct backup *backup, struct err *err)
{
	char path[PATH_MAX];
	int result = 0;

	for (unsigned i = 0; i < PARTS; i++) {
		const char *slash = strchr(parts[i].name, '/');

		if (!slash)
			continue;
		snprintf(path, sizeof path, "%s/%.*s", dir, (int)(slash - parts[i].name),
			 parts[i].name);
		if (mkdir(path, 0711) < 0 && errno != EEXIST)
			return err_set(err, -errno, "%s: %s", path, strerror(errno));
	}
	for (unsigned i = 0; result == 0 && i < PARTS; i++) {
		const struct backup_part *part = find_part(backup, parts[i].name);

		snprintf(path, sizeof path, "%s/%s.next", dir, parts[i].name);
		if (part)
			result = write_file(path, part->data, part->length, parts[i].mode, err);
	}
	return result;
}

static int take_away(const char *dir, const char *name, const char *suffix, struct err *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s%s", dir, name, suffix);
	if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

/* Transactions of the database before, which must not be applied to the one that comes. */
static const char *const logs[] = {"-wal", "-journal"};
#define LOGS (sizeof logs / sizeof *logs)

static int move(const char *dir, const char *name, const char *from, const char *to,
		struct err *err)
{
	char source[PATH_MAX], target[PATH_MAX];

	snprintf(source, sizeof source, "%s/%s%s", dir, name, from);
	snprintf(target, sizeof target, "%s/%s%s", dir, name, to);
	if (rename(source, target) < 0)
		return err_set(err, -errno, "%s: %s", target, strerror(errno));
	return 0;
}

/* To NAME-wal.old, NAME-journal.old, as long as the database that it belongs to is there. */
static int put_logs_aside(const char *dir, unsigned which, struct err *err)
{
	int result = 0;

	for (unsigned i = 0; result == 0 && parts[which].database && i < LOGS; i++) {
		char aside[16];

		snprintf(aside, sizeof aside, "%s.old", logs[i]);
		if (exists(dir, parts[which].name, logs[i]))
			result = move(dir, parts[which].name, logs[i], aside, err);
	}
	return result;
}

static void put_logs_back(const char *dir, unsigned which)
{
	for (unsigned i = 0; parts[which].database && i < LOGS; i++) {
		char aside[16];

		snprintf(aside, sizeof aside, "%s.old", logs[i]);
		if (exists(dir, parts[which].name, aside))
			move(dir, parts[which].name, aside, logs[i], NULL);
	}
}

static bool logs_are_aside(const char *dir, unsigned which)
{
	bool any = false;

	for (unsigned i = 0; i < LOGS; i++) {
		char aside[16];

		snprintf(aside, sizeof aside, "%s.old", logs[i]);
		any |= exists(dir, parts[which].name, aside);
	}
	return any;
}

static int remove_logs(const char *dir, unsigned which, struct err *err)
{
	static const char *const all[] = {"-wal", "-journal", "-shm", "-wal.old", "-journal.old"};
	int result = 0;

	for (unsigned i = 0; result == 0 && parts[which].database && i < sizeof all / sizeof *all;
	     i++)
		result = take_away(dir, parts[which].name, all[i], err);
	return result;
}

static int remove_part(const char *dir, unsigned which, struct err *err)
{
	int result = take_away(dir, parts[which].name, "", err);

	return result == 0 ? remove_logs(dir, which, err) : result;
}

/* Copies from before migrations, and newer ones that gave way, have accounts and secrets too; and
 * config_open_or_back() would take one of a configuration that is not the one in force any more. So
 * they have gone for good before the stores themselves change. What is cut off in between has no
 * copy to go back to, and is never another configuration's. */
static int forget_copies(const char *dir, const char *name, struct err *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return config_copy_forget(path, err);
}

static int forget_all_copies(const char *dir, struct err *err)
{
	int result = 0;

	for (unsigned i = 0; result == 0 && i < PARTS; i++)
		if (parts[i].database)
			result = forget_copies(dir, parts[i].name, err);
	sync();
	return result;
}

/* --- staged: put in place by the next start -------------------------------------------------- */

static int write_mark(const char *dir, const char *mark, const char *list, struct err *err)
{
	char next[PATH_MAX], path[PATH_MAX];
	int result;

	snprintf(next, sizeof next, "%s/%s.next", dir, mark);
	snprintf(path, sizeof path, "%s/%s", dir, mark);
	result = write_file(next, list, strlen(list), 0600, err);
	if (result == 0 && rename(next, path) < 0)
		result = err_set(err, -errno, "%s: %s", path, strerror(errno));
	sync();
	return result;
}

static int write_list(const char *dir, const char *mark, const struct backup *backup,
		      struct err *err)
{
	char names[PARTS * BACKUP_NAME] = "";
	size_t length = 0;

	for (unsigned i = 0; i < PARTS; i++)
		if (find_part(backup, parts[i].name))
			length += (size_t)snprintf(names + length, sizeof names - length, "%s\n",
						   parts[i].name);
	return write_mark(dir, mark, names, err);
}

static void remove_staged_parts(const char *dir)
{
	for (unsigned i = 0; i < PARTS; i++)
		take_away(dir, parts[i].name, ".next", NULL);
}

/* What was staged, and was not begun, counts no more. Of what was begun there stays that it was. */
static int clear(const char *dir, struct err *err)
{
	int result = is_begun(dir) ? write_mark(dir, BEGUN, "", err) : 0;

	if (result == 0)
		result = take_away(dir, STAGED, "", err);
	sync();
	if (result < 0)
		return result;
	take_away(dir, ASIDE, "", NULL);
	remove_staged_parts(dir);
	sync();
	return 0;
}

int backup_unstage(const char *dir, struct err *err)
{
	int result = refuse_begun(dir, err);

	return result == 0 ? clear(dir, err) : result;
}

bool backup_is_staged(const char *dir)
{
	return exists(dir, STAGED, "");
}

bool backup_is_aside(const char *dir)
{
	return exists(dir, ASIDE, "");
}

int backup_stage(const char *dir, const struct backup *backup, struct err *err)
{
	int result;

	if (!find_part(backup, parts[0].name))
		return err_set(err, -EPROTO, "the backup holds no configuration");
	result = clear(dir, err);
	if (result == 0)
		result = write_all(dir, backup, err);
	sync();
	if (result == 0)
		result = write_list(dir, is_begun(dir) ? BEGUN : STAGED, backup, err);
	if (result < 0)
		clear(dir, NULL);
	return result;
}

static bool is_named(const char *names, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = names; *at; at += strcspn(at, "\n") + 1)
		if (strncmp(at, name, length) == 0 && at[length] == '\n')
			return true;
	return false;
}

/* What there was goes in the same moment as what comes is there: a part is never without a file.
 * One that was switched already, before somebody pulled the plug, has no .next any more. */
static int take_part(const char *dir, unsigned which, const char *names, struct err *err)
{
	const char *name = parts[which].name;
	char next[PATH_MAX];
	int result = 0;

	if (!is_named(names, name))
		return remove_part(dir, which, err);
	snprintf(next, sizeof next, "%s/%s.next", dir, name);
	if (access(next, F_OK) == 0) {
		result = put_logs_aside(dir, which, err);
		if (result == 0)
			result = move(dir, name, ".next", "", err);
		if (result < 0)
			put_logs_back(dir, which);
	} else if (errno != ENOENT) {
		result = err_set(err, -errno, "%s: %s", next, strerror(errno));
	}
	return result == 0 ? remove_logs(dir, which, err) : result;
}

static int put_aside(const char *dir, enum backup_taken *ret_taken, struct err *err)
{
	char path[PATH_MAX], aside[PATH_MAX];

	snprintf(path, sizeof path, "%s/" STAGED, dir);
	snprintf(aside, sizeof aside, "%s/" ASIDE, dir);
	if (rename(path, aside) < 0)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	sync();
	remove_staged_parts(dir);
	err_set(err, -EUCLEAN,
		"%s is damaged and was put aside as %s: nothing was restored, the configuration is "
		"what it was",
		path, ASIDE);
	*ret_taken = BACKUP_PUT_ASIDE;
	return 0;
}

/* All parts are of one configuration. */
static int finish(const char *dir, struct err *err)
{
	int result;

	sync();
	result = take_away(dir, STAGED, "", err); /* of a release before this one */
	if (result == 0)
		result = take_away(dir, BEGUN, "", err);
	sync();
	return result;
}

static int take_parts(const char *dir, const char *names, struct err *err)
{
	char staged[PATH_MAX], begun[PATH_MAX];
	int result = forget_all_copies(dir, err);

	snprintf(staged, sizeof staged, "%s/" STAGED, dir);
	snprintf(begun, sizeof begun, "%s/" BEGUN, dir);
	if (result == 0 && !exists(dir, BEGUN, "") && rename(staged, begun) < 0)
		result = err_set(err, -errno, "%s: %s", begun, strerror(errno));
	sync();
	for (unsigned i = 0; result == 0 && i < PARTS; i++)
		result = take_part(dir, i, names, err);
	return result == 0 ? finish(dir, err) : result;
}

static int remove_all(const char *dir, struct err *err)
{
	/* What the box has measured is in no backup: it is of this machine, not of its settings. */
	static const char *const history[] = {"", "-wal", "-shm"};
	/* granary-hostd's: settings that it could not read, and the cards of the ports in them. */
	static const char *const beside[] = {".bad", ".cards"};
	int result = 0;

	for (unsigned i = 0; result == 0 && i < PARTS; i++)
		result = remove_part(dir, i, err);
	for (unsigned i = 0; result == 0 && i < sizeof beside / sizeof *beside; i++)
		result = take_away(dir, "host/settings.json", beside[i], err);
	for (unsigned i = 0; result == 0 && i < sizeof history / sizeof *history; i++)
		result = take_away(dir, "history.db", history[i], err);
	return result == 0 ? finish(dir, err) : result;
}

/* *ret_mark: which of them was read, BEGUN before STAGED; NULL: there is none. What can be no list
 * is "". */
static int read_mark(const char *dir, char *list, size_t size, const char **ret_mark,
		     struct err *err)
{
	static const char *const marks[] = {BEGUN, STAGED};
	unsigned which = exists(dir, BEGUN, "") ? 0 : 1;
	char path[PATH_MAX];
	ssize_t length;
	int fd, result = 0;

	snprintf(path, sizeof path, "%s/%s", dir, marks[which]);
	*ret_mark = marks[which];
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		*ret_mark = NULL;
		return 0;
	}
	length = fd < 0 ? -1 : read(fd, list, size - 1);
	if (length < 0)
		result = err_set(err, -errno, "%s: %s", path, strerror(errno));
	else
		list[length] = '\0';
	if (result == 0 && strlen(list) != (size_t)length)
		list[0] = '\0';
	if (fd >= 0)
		close(fd);
	return result;
}

/* backup_stage() takes no backup without config.db; and what is not named goes. */
static bool is_list(const char *list)
{
	size_t length = strlen(list);

	return length > 0 && list[length - 1] == '\n' && is_named(list, parts[0].name);
}

/* Before it is begun, all that it names lies there. */
static bool is_whole(const char *dir, const char *mark, const char *list)
{
	bool whole = is_list(list);

	if (strcmp(mark, STAGED) == 0 && exists(dir, parts[0].name, ".next"))
		for (unsigned i = 0; i < PARTS; i++)
			whole &=
			    !is_named(list, parts[i].name) || exists(dir, parts[i].name, ".next");
	return whole;
}

static int take(const char *dir, enum backup_taken *ret_taken, struct err *err)
{
	char list[PARTS * BACKUP_NAME + 1];
	const char *mark;
	int result = read_mark(dir, list, sizeof list, &mark, err);

	if (result < 0)
		return result;
	*ret_taken = BACKUP_NONE;
	if (!mark) {
		remove_staged_parts(dir); /* of staging that was cut off */
		return 0;
	}
	if (strcmp(mark, BEGUN) == 0 && strcmp(list, RESET) == 0) {
		*ret_taken = BACKUP_WAS_RESET;
		return remove_all(dir, err);
	}
	if (is_whole(dir, mark, list)) {
		*ret_taken = BACKUP_IN_PLACE;
		return take_parts(dir, list, err);
	}
	result = refuse_begun(dir, err);
	return result == 0 ? put_aside(dir, ret_taken, err) : result;
}

/* Why it goes no further, and what can be done: -EUCLEAN has said it. */
static int explain(const char *dir, int result, struct err *err)
{
	struct err why;

	if (result == 0 || result == -EUCLEAN || !err || !is_begun(dir))
		return result;
	why = *err;
	return err_set(
	    err, result,
	    "%.200s: a restore or reset is not finished. The next start of granaryd goes "
	    "on with it; if that fails again, " MEND,
	    why.text);
}

int backup_take_staged(const char *dir, enum backup_taken *ret_taken, struct err *err)
{
	enum backup_taken taken = BACKUP_NONE;
	int result = take(dir, &taken, err);

	if (result == 0)
		*ret_taken = taken;
	return explain(dir, result, err);
}

/* Nothing of what there was has been replaced by what lies beside it. */
static bool is_untouched(const char *dir)
{
	return exists(dir, parts[0].name, ".next") && !logs_are_aside(dir, 0);
}

/* What was cut off goes on with the next start, so that there never are parts of two. What failed
 * before anything was replaced is not gone on with: whoever restores by hand sees the error. */
static int stage_and_take(const char *dir, const struct backup *backup, struct err *err)
{
	enum backup_taken taken = BACKUP_NONE;
	bool begun = is_begun(dir);
	int result = backup_stage(dir, backup, err);

	if (result == 0)
		result = take(dir, &taken, err);
	if (result == 0 && taken != BACKUP_IN_PLACE)
		result = -EUCLEAN; /* and @err says it */
	if (result < 0 && !begun && is_untouched(dir)) {
		take_away(dir, BEGUN, "", NULL);
		sync();
		clear(dir, NULL);
	}
	return explain(dir, result, err);
}

int backup_put(const char *dir, const struct backup *backup, struct err *err)
{
	int lock = take_lock(dir, err), result;

	if (lock < 0)
		return lock;
	result = stage_and_take(dir, backup, err);
	close(lock);
	return result;
}

int backup_reset(const char *dir, struct err *err)
{
	int lock = take_lock(dir, err), result;

	if (lock < 0)
		return lock;
	result = clear(dir, err);
	if (result == 0)
		result = forget_copies(dir, "history.db", err);
	if (result == 0)
		result = forget_all_copies(dir, err);
	if (result == 0)
		result = write_mark(dir, BEGUN, RESET, err);
	if (result == 0)
		result = remove_all(dir, err);
	close(lock);
	return explain(dir, result, err);
}
