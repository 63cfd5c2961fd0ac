/* SPDX-License-Identifier: Apache-2.0 */
/* A backup comes back with its passphrase and with no other; what is no backup, cut off or changed
 * in any byte is refused; a state directory in use is left alone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/backup.h"
#include "core/heap.h"

static uint8_t *data;
static size_t length;

static struct backup example(void)
{
	struct backup backup = {.count = 2};

	snprintf(backup.parts[0].name, BACKUP_NAME, "config.db");
	backup.parts[0].data = (uint8_t *)heap_strdup("the configuration");
	backup.parts[0].length = 17;
	snprintf(backup.parts[1].name, BACKUP_NAME, "web/key.pem");
	backup.parts[1].data = (uint8_t *)heap_strdup("");
	return backup;
}

static int seal(void **state)
{
	struct backup backup = example();
	int result = backup_seal(&backup, "correct horse", &data, &length, NULL);

	(void)state;
	backup_free(&backup);
	return result;
}

static int unseal(void **state)
{
	(void)state;
	heap_free(data);
	return 0;
}

static void comes_back(void **state)
{
	struct backup seen;

	(void)state;
	assert_int_equal(backup_open(data, length, "correct horse", &seen, NULL), 0);
	assert_int_equal(seen.count, 2);
	assert_string_equal(seen.parts[0].name, "config.db");
	assert_int_equal(seen.parts[0].length, 17);
	assert_memory_equal(seen.parts[0].data, "the configuration", 17);
	assert_string_equal(seen.parts[1].name, "web/key.pem");
	assert_int_equal(seen.parts[1].length, 0);
	backup_free(&seen);
	assert_null(memmem(data, length, "configuration", 13));
}

static void refusals(void **state)
{
	struct backup seen;

	(void)state;
	assert_int_equal(backup_open(data, length, "correct house", &seen, NULL), -EBADMSG);
	assert_int_equal(backup_open(data, 20, "correct horse", &seen, NULL), -EPROTO);
	assert_int_equal(backup_open(data, length - 1, "correct horse", &seen, NULL), -EBADMSG);
	for (size_t at = 0; at < length; at += at < 16 ? 1 : 9) {
		int result;

		if (at == 9)
			continue; /* the cost: another key, and minutes of it */
		data[at] ^= 0x40;
		result = backup_open(data, length, "correct horse", &seen, NULL);
		data[at] ^= 0x40;
		if (result != -EBADMSG && result != -EPROTO)
			fail_msg("byte %zu changed: %d", at, result);
	}
	data[9] = 40;
	assert_int_equal(backup_open(data, length, "correct horse", &seen, NULL), -EPROTO);
}

static void in_use(void **state)
{
	char folder[] = "/tmp/granary-backup-XXXXXX", path[64];
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct backup backup = example();
	struct err err = {0};
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/granaryd.lock", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(backup_put(folder, &backup, &err), -EBUSY);
	assert_int_equal(backup_reset(folder, &err), -EBUSY);
	close(fd);
	assert_int_equal(backup_put(folder, &backup, &err), 0);
	backup_free(&backup);
	snprintf(path, sizeof path, "%s/config.db", folder);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(backup_reset(folder, &err), 0);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/granaryd.lock", folder);
	unlink(path);
	snprintf(path, sizeof path, "%s/web", folder);
	rmdir(path);
	snprintf(path, sizeof path, "%s/host", folder);
	rmdir(path);
	assert_int_equal(rmdir(folder), 0);
}

static bool rename_fails;

/* In the place of libc's: the power goes there. */
int rename(const char *from, const char *to)
{
	if (rename_fails) {
		errno = EIO;
		return -1;
	}
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static void put(const char *folder, const char *name, const char *text)
{
	char path[96];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static bool holds(const char *folder, const char *name, const char *text)
{
	char path[96], line[64] = "";
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(line, sizeof line, file))
		line[0] = '\0';
	fclose(file);
	return strcmp(line, text) == 0;
}

/* What is there stays until what comes is there; a log left over is not applied to it. */
static void replaced_at_once(void **state)
{
	char folder[] = "/tmp/granary-backup-XXXXXX", path[96];
	static const char *const all[] = {"granaryd.lock", "config.db", "web/key.pem", "web",
					  "host"};
	struct backup backup = example();
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	put(folder, "config.db", "the old one");
	put(folder, "config.db-wal", "its log");
	put(folder, "replication.db", "a pairing");
	put(folder, "nfs-identity", "somebody");
	rename_fails = true;
	assert_int_equal(backup_put(folder, &backup, &err), -EIO);
	rename_fails = false;
	assert_true(holds(folder, "config.db", "the old one"));
	assert_int_equal(backup_put(folder, &backup, &err), 0);
	assert_true(holds(folder, "config.db", "the configuration"));
	assert_false(holds(folder, "config.db-wal", "its log"));
	assert_false(holds(folder, "replication.db", "a pairing"));
	assert_false(holds(folder, "nfs-identity", "somebody"));
	backup_free(&backup);
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, all[i]);
		assert_int_equal(remove(path), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void take_all_away(const char *folder, const char *const *names, unsigned count)
{
	char path[96];

	for (unsigned i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		assert_int_equal(remove(path), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

/* What says which parts come is whole, or nothing is touched: what it does not name goes. It is put
 * aside, so that the daemon starts. */
static void damaged_marker(void **state)
{
	static const char *const markers[] = {"", "\n", "config.db", "web/key.pem\nconfig.d",
					      "something else\n"};
	static const char *const left[] = {"restore.damaged", "config.db", "secret.key"};
	char folder[] = "/tmp/granary-backup-XXXXXX";
	enum backup_taken taken;
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	put(folder, "config.db", "the only one");
	put(folder, "secret.key", "its key");
	for (unsigned i = 0; i < sizeof markers / sizeof *markers; i++) {
		taken = BACKUP_IN_PLACE;
		put(folder, "config.db.next", "another");
		put(folder, "secret.key.next", "another");
		put(folder, "restore.ready", markers[i]);
		assert_int_equal(backup_take_staged(folder, &taken, &err), 0);
		assert_int_equal(taken, BACKUP_PUT_ASIDE);
		assert_non_null(strstr(err.text, "restore.damaged"));
		assert_true(backup_is_aside(folder));
		assert_false(backup_is_staged(folder));
		assert_true(holds(folder, "config.db", "the only one"));
		assert_true(holds(folder, "secret.key", "its key"));
		assert_int_equal(backup_take_staged(folder, &taken, &err), 0);
		assert_int_equal(taken, BACKUP_NONE);
	}
	take_all_away(folder, left, sizeof left / sizeof *left);
}

/* With the first part in place nobody knows any more what else was to come, and to go. */
static void damaged_when_begun(void **state)
{
	static const char *const left[] = {"restore.ready", "config.db", "secret.key",
					   "secret.key.next"};
	char folder[] = "/tmp/granary-backup-XXXXXX";
	enum backup_taken taken = BACKUP_NONE;
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	put(folder, "config.db", "the new one");
	put(folder, "secret.key", "its old key");
	put(folder, "secret.key.next", "its key");
	put(folder, "restore.ready", "config.d");
	assert_int_equal(backup_take_staged(folder, &taken, &err), -EUCLEAN);
	assert_int_equal(taken, BACKUP_NONE);
	assert_non_null(strstr(err.text, "granary config restore"));
	assert_true(holds(folder, "secret.key", "its old key"));
	assert_true(holds(folder, "secret.key.next", "its key"));
	take_all_away(folder, left, sizeof left / sizeof *left);
}

/* Whoever restores or resets by hand has the last word: nothing that was staged comes over it. */
static void by_hand_when_staged(void **state)
{
	static const char *const left[] = {"granaryd.lock", "web", "host"};
	char folder[] = "/tmp/granary-backup-XXXXXX";
	struct backup backup = example();
	enum backup_taken taken;
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	for (unsigned i = 0; i < 2; i++) {
		put(folder, "restore.ready", "config.db\naccess.db\n");
		put(folder, "restore.damaged", "");
		put(folder, "config.db.next", "staged");
		put(folder, "access.db.next", "staged");
		assert_int_equal(i ? backup_reset(folder, &err) : backup_put(folder, &backup, &err),
				 0);
		assert_int_equal(backup_take_staged(folder, &taken, &err), 0);
		assert_int_equal(taken, BACKUP_NONE);
		assert_false(backup_is_aside(folder));
		assert_false(holds(folder, "config.db", "staged"));
		assert_false(holds(folder, "access.db", "staged"));
	}
	backup_free(&backup);
	take_all_away(folder, left, sizeof left / sizeof *left);
}

/* Accounts and secrets lie in what migrations and the way back have left, too. */
static void reset_forgets_copies(void **state)
{
	static const char *const gone[] = {
	    "config.db",
	    "config.db.v7",
	    "config.db.v12",
	    "config.db.v5.kept",
	    "config.db.newer-v9",
	    "config.db.newer-v9.old",
	    "config.db.v8.part",
	    "config.db.v7-wal",
	    "config.db.newer-v9-shm",
	    "config.db.v8.part-journal",
	    "access.db.v2",
	    "access.db.v3",
	    "reservations.db.v1",
	    "replication.db.v6",
	    "history.db.v1",
	    "host/settings.json",
	    "host/settings.json.bad",
	    "host/settings.json.cards",
	};
	static const char *const stays[] = {
	    "granaryd.lock",     "tank.pool",     "config.db.vault",
	    "config.db.v",       "config.db.v7x", "old.config.db.v7",
	    "config.db.newer-v", "secret.key.v1", "host"};
	char folder[] = "/tmp/granary-backup-XXXXXX", path[96];
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/host", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	for (unsigned i = 0; i < sizeof gone / sizeof *gone; i++)
		put(folder, gone[i], "a secret");
	for (unsigned i = 0; i < sizeof stays / sizeof *stays - 1; i++)
		put(folder, stays[i], "");
	assert_int_equal(backup_reset(folder, &err), 0);
	for (unsigned i = 0; i < sizeof gone / sizeof *gone; i++)
		if (holds(folder, gone[i], "a secret"))
			fail_msg("%s is there still", gone[i]);
	/* The folder holds what it is to hold, and nothing else. */
	take_all_away(folder, stays, sizeof stays / sizeof *stays);
}

/* A copy that can not be taken away is said, and what is in force stays until it has gone. */
static void reset_says_what_stays(void **state)
{
	static const char *const left[] = {"config.db.v7", "config.db", "granaryd.lock"};
	char folder[] = "/tmp/granary-backup-XXXXXX", path[96];
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	put(folder, "config.db", "in force");
	snprintf(path, sizeof path, "%s/config.db.v7", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(backup_reset(folder, &err) < 0);
	assert_non_null(strstr(err.text, "config.db.v7"));
	assert_true(holds(folder, "config.db", "in force"));
	take_all_away(folder, left, sizeof left / sizeof *left);
}

/* What can not be written is said with its reason. */
static void can_not_be_written(void **state)
{
	static const char *const left[] = {"config.db.next", "granaryd.lock", "web", "host"};
	char folder[] = "/tmp/granary-backup-XXXXXX", path[96];
	struct backup backup = example();
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/config.db.next", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(backup_put(folder, &backup, &err), -EISDIR);
	assert_non_null(strstr(err.text, strerror(EISDIR)));
	assert_int_equal(backup_stage(folder, &backup, &err), -EISDIR);
	assert_false(backup_is_staged(folder));
	backup_free(&backup);
	take_all_away(folder, left, sizeof left / sizeof *left);
}

static unsigned open_files(void)
{
	unsigned count = 0;
	DIR *all = opendir("/proc/self/fd");

	assert_non_null(all);
	while (readdir(all))
		count++;
	closedir(all);
	return count;
}

/* A database that can not be read leaves nothing open. */
static void can_not_be_read(void **state)
{
	static const char *const left[] = {"config.db"};
	char folder[] = "/tmp/granary-backup-XXXXXX";
	struct backup backup;
	struct err err = {0};
	unsigned before;

	(void)state;
	assert_non_null(mkdtemp(folder));
	put(folder, "config.db",
	    "this is no database, and long enough to be looked at as one.....");
	before = open_files();
	for (unsigned i = 0; i < 3; i++)
		assert_true(backup_collect(folder, &backup, &err) < 0);
	assert_int_equal(open_files(), before);
	take_all_away(folder, left, sizeof left / sizeof *left);
}

static void owned_by(const char *folder, const char *name, uid_t uid)
{
	char path[64];
	struct stat info;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_uid, uid);
	assert_int_equal(info.st_gid, uid);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
	(void)info;
	(void)kind;
	(void)where;
	return remove(path);
}

/* The web front, which is no longer root, reads its key after a restart too. */
static void the_folders_owner(void **state)
{
	enum { FRONT = 996 };
	char folder[] = "/tmp/granary-backup-XXXXXX", path[64];
	struct backup backup = example();
	enum backup_taken taken;

	(void)state;
	if (geteuid() != 0) {
		backup_free(&backup);
		skip();
	}
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/web", folder);
	assert_int_equal(mkdir(path, 0711), 0);
	assert_int_equal(chown(path, FRONT, FRONT), 0);
	assert_int_equal(backup_put(folder, &backup, NULL), 0);
	owned_by(folder, "web/key.pem", FRONT);
	owned_by(folder, "config.db", 0);
	assert_int_equal(backup_stage(folder, &backup, NULL), 0);
	assert_int_equal(backup_take_staged(folder, &taken, NULL), 0);
	assert_int_equal(taken, BACKUP_IN_PLACE);
	owned_by(folder, "web/key.pem", FRONT);
	backup_free(&backup);
	assert_int_equal(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(comes_back, seal, unseal),
	    cmocka_unit_test_setup_teardown(refusals, seal, unseal),
	    cmocka_unit_test(in_use),
	    cmocka_unit_test(replaced_at_once),
	    cmocka_unit_test(damaged_marker),
	    cmocka_unit_test(damaged_when_begun),
	    cmocka_unit_test(by_hand_when_staged),
	    cmocka_unit_test(reset_forgets_copies),
	    cmocka_unit_test(reset_says_what_stays),
	    cmocka_unit_test(can_not_be_written),
	    cmocka_unit_test(can_not_be_read),
	    cmocka_unit_test(the_folders_owner),
	};

	return cmocka_run_group_tests_name("core/backup", tests, NULL, NULL);
}
