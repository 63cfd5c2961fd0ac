/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/backup.h"
#include "core/config.h"
#include "core/config_copy.h"

/* A migration and the way back from it, ended at each call that changes names or makes something
 * durable: sqlite's too, for this program's fsync, fdatasync, sync, unlink, unlinkat, rename and
 * link come before libc's. So is a restore, which must not leave the way back to a copy of another
 * configuration. */
#define CALLS_MOST 200

static const struct config_migration versions[] = {
    {"first", "create table item(name text primary key); create table busy(a)", NULL},
    {"colours", "alter table item add column colour text not null default 'grey'", NULL},
    {"sizes", "alter table item add column size integer not null default 0", NULL},
};
#define SETTLED "select count(*) from busy"

static char dir[64], path[96];
static char trace[8192];    /* what was called, a line each; empty names are left out */
static unsigned calls, cut; /* cut: the process ends before that call; 0: never */

static void note(const char *call, const char *name)
{
	const char *slash = strrchr(name, '/');
	size_t length = strlen(trace);

	if (++calls == cut)
		_exit(77);
	snprintf(trace + length, sizeof trace - length, "%s %s\n", call, slash ? slash + 1 : name);
}

static int note_sync(const char *call, int fd, long number)
{
	char link_path[64], name[256] = "";

	snprintf(link_path, sizeof link_path, "/proc/self/fd/%d", fd);
	if (readlink(link_path, name, sizeof name - 1) > 0)
		note(call, strcmp(name, dir) == 0 ? "FOLDER" : name);
	return (int)syscall(number, fd);
}

int fsync(int fd)
{
	return note_sync("sync", fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return note_sync("sync", fd, SYS_fdatasync);
}

void sync(void)
{
	note("sync", "ALL");
	syscall(SYS_sync);
}

int unlinkat(int folder, const char *name, int flags)
{
	note("unlink", name);
	return (int)syscall(SYS_unlinkat, folder, name, flags);
}

int unlink(const char *name)
{
	note("unlink", name);
	return (int)syscall(SYS_unlink, name);
}

int rename(const char *from, const char *to)
{
	note("rename to", to);
	return (int)syscall(SYS_rename, from, to);
}

int link(const char *from, const char *to)
{
	note("link", to);
	return (int)syscall(SYS_link, from, to);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "%s", "/tmp/config_back.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/config.db", dir);
	calls = cut = 0;
	trace[0] = '\0';
	return 0;
}

static int remove_one(const char *name, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info;
	(void)kind;
	(void)walk;
	return remove(name);
}

static int take_down(void **state)
{
	(void)state;
	cut = 0;
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *beside(const char *ending)
{
	static char name[128];

	snprintf(name, sizeof name, "%s%s", path, ending);
	return name;
}

static bool there(const char *ending)
{
	return access(beside(ending), F_OK) == 0;
}

static struct config *open_good(unsigned count)
{
	struct config *config = NULL;
	struct err err = {0};

	if (config_open(path, versions, count, &config, &err) < 0)
		fail_msg("%s", err.text);
	return config;
}

static int back_to(unsigned count, struct config_back *back, struct err *err)
{
	struct config *config = NULL;
	int result;

	*back = (struct config_back){.settled = SETTLED};
	result = config_open_or_back(path, versions, count, back, &config, err);
	config_close(config);
	return result;
}

static void run(struct config *config, const char *sql)
{
	struct err err = {0};

	if (config_run(config, &err, sql, "") < 0)
		fail_msg("%s: %s", sql, err.text);
}

/* Of the store at @ending, which @count migrations know; -1: none. */
static int64_t items(const char *ending, unsigned count)
{
	struct config_statement *statement;
	struct config *config = NULL;
	char name[128];
	int64_t found;

	snprintf(name, sizeof name, "%s", beside(ending));
	if (!there(ending) || config_open(name, versions, count, &config, NULL) < 0)
		return -1;
	assert_int_equal(config_prepare(config, "select count(*) from item", &statement, NULL), 0);
	assert_int_equal(config_step(statement, NULL), 1);
	found = config_number(statement, 0);
	config_finish(statement);
	config_close(config);
	return found;
}

/* In a child, so that nothing is closed behind it: @count migrations, and another item whose commit
 * is in the log alone. */
static void leave_open(unsigned count, const char *sql)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		run(open_good(count), sql);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(there("-wal"));
}

/* Schema 1 with one item, then 2 with two. */
static void make_both(void)
{
	struct config *config = open_good(1);

	run(config, "insert into item values('old')");
	config_close(config);
	leave_open(2, "insert into item(name) values('new')");
	assert_true(there(".v1"));
}

static const char *place(const char *line)
{
	const char *at = strstr(trace, line);

	if (!at)
		fail_msg("no \"%s\" in\n%s", line, trace);
	return at;
}

static void copy_is_durable_before_the_migration(void **state)
{
	struct config *config = open_good(1);
	const char *renamed;

	(void)state;
	run(config, "insert into item values('old')");
	config_close(config);
	trace[0] = '\0';
	config = open_good(2);
	config_close(config);
	renamed = place("rename to config.db.v1\n");
	assert_true(place("sync config.db.v1.part\n") < renamed);
	renamed = strstr(renamed, "sync FOLDER\n");
	assert_non_null(renamed);
	assert_true(renamed < place("sync config.db-wal\n"));
	assert_int_equal(items(".v1", 1), 1);
}

static void goes_back_with_a_log_beside_it(void **state)
{
	struct config_back back;
	struct err err = {0};
	const char *linked, *renamed, *unlinked;

	(void)state;
	make_both();
	trace[0] = '\0';
	if (back_to(1, &back, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(back.from, 2);
	assert_int_equal(back.to, 1);
	assert_true(back.copied > 1600000000);
	unlinked = place("unlink config.db-wal\n");
	linked = place("link config.db.newer-v2\n");
	renamed = place("rename to config.db\n");
	assert_true(unlinked < linked && linked < renamed);
	assert_true(strstr(linked, "sync FOLDER\n") < renamed);
	assert_non_null(strstr(renamed, "sync FOLDER\n"));
	assert_int_equal(items("", 1), 1);
	assert_int_equal(items(".newer-v2", 2), 2); /* what was in its log alone is in it */
	assert_false(there(".v1"));

	assert_int_equal(back_to(1, &back, &err), 0); /* once */
	assert_int_equal(back.from, 0);
}

/* @open in a child that ends before call @at; false: it had no so many. */
static bool cut_at(unsigned at, void (*open)(void))
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		calls = 0;
		cut = at;
		open();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 77;
}

static void open_2(void)
{
	struct config *config = NULL;

	if (config_open(path, versions, 2, &config, NULL) < 0)
		_exit(1);
	config_close(config);
}

static void open_back(void)
{
	struct config_back back;

	if (back_to(1, &back, NULL) < 0)
		_exit(1);
}

static void again(void)
{
	take_down(NULL);
	set_up(NULL);
}

static void cut_off_migration(void **state)
{
	unsigned at;

	(void)state;
	for (at = 1; at < CALLS_MOST; at++) {
		struct config *config = open_good(1);
		struct config_back back;
		struct err err = {0};
		bool was_cut;

		run(config, "insert into item values('old')");
		config_close(config);
		was_cut = cut_at(at, open_2);
		/* Whichever release starts next has the item. */
		if (at % 2)
			config_close(open_good(2));
		if (back_to(1, &back, &err) < 0)
			fail_msg("cut before call %u: %s", at, err.text);
		assert_int_equal(items("", 1), 1);
		again();
		if (!was_cut)
			break;
	}
	assert_true(at > 8 && at < CALLS_MOST);
}

static void cut_off_on_the_way_back(void **state)
{
	unsigned at;

	(void)state;
	for (at = 1; at < CALLS_MOST; at++) {
		struct config_back back;
		struct err err = {0};
		bool was_cut;

		make_both();
		was_cut = cut_at(at, open_back);
		if (at % 2) { /* the newer one starts in between, where it is still in its place */
			int64_t found = items("", 2);

			if (!(there(".newer-v2") ? found == 2 || found == 1 : found == 2))
				fail_msg("cut before call %u: %lld items", at, (long long)found);
		}
		if (back_to(1, &back, &err) < 0)
			fail_msg("cut before call %u: %s", at, err.text);
		assert_int_equal(items("", 1), 1);
		assert_true(items(".newer-v2", 2) == 2 || items(".newer-v2.old", 2) == 2);
		again();
		if (!was_cut)
			break;
	}
	assert_true(at > 8 && at < CALLS_MOST);
}

/* --- a restore ------------------------------------------------------------------------------- */

static struct backup backup; /* schema 2 with three items */

static void make_backup(void)
{
	struct config *config = open_good(2);
	struct err err = {0};

	run(config, "insert into item(name) values('a'), ('b'), ('c')");
	config_close(config);
	if (backup_collect(dir, &backup, &err) < 0)
		fail_msg("%s", err.text);
	again();
}

static void restore(void)
{
	if (backup_put(dir, &backup, NULL) < 0)
		_exit(1);
}

static void stage(void)
{
	struct err err = {0};

	if (backup_stage(dir, &backup, &err) < 0)
		fail_msg("%s", err.text);
}

/* What each start does first. */
static void take_staged(void)
{
	enum backup_taken taken;
	struct err err = {0};

	if (backup_take_staged(dir, &taken, &err) < 0)
		fail_msg("%s", err.text);
}

/* Whatever is in force: the release before goes back to that one's own copy, or not at all. */
static void its_own_copy_or_none(unsigned at)
{
	int64_t in_force = items("", 2);
	struct config_back back;
	int result = back_to(1, &back, NULL);

	if (in_force != 2 && in_force != 3)
		fail_msg("cut before call %u: %lld items", at, (long long)in_force);
	if (in_force == 3 && (result == 0 || there(".v1") || there(".newer-v2")))
		fail_msg("cut before call %u: a copy of another configuration", at);
	assert_int_equal(items("", 2), result == 0 ? 1 : in_force);
}

static void cut_off_restore(void **state)
{
	unsigned at;

	(void)state;
	make_backup();
	for (at = 1; at < CALLS_MOST; at++) {
		bool was_cut;

		make_both();
		was_cut = cut_at(at, restore);
		if (!was_cut)
			assert_int_equal(items("", 2), 3);
		take_staged();
		its_own_copy_or_none(at);
		again();
		if (!was_cut)
			break;
	}
	assert_true(at > 8 && at < CALLS_MOST);
	backup_free(&backup);
}

/* The next start, of either release, puts the rest in place. */
static void cut_off_staged_restore(void **state)
{
	unsigned at;

	(void)state;
	make_backup();
	for (at = 1; at < CALLS_MOST; at++) {
		bool was_cut;

		make_both();
		stage();
		assert_true(there(".v1")); /* until it is in place */
		was_cut = cut_at(at, take_staged);
		take_staged();
		assert_int_equal(items("", 2), 3);
		its_own_copy_or_none(at);
		again();
		if (!was_cut)
			break;
	}
	assert_true(at > 4 && at < CALLS_MOST);
	backup_free(&backup);
}

/* Copies have gone for good before the first part is another. */
static void forgets_before_it_restores(void **state)
{
	(void)state;
	make_backup();
	for (int staged = 0; staged < 2; staged++) {
		const char *unlinked, *synced;

		make_both();
		if (staged)
			stage();
		trace[0] = '\0';
		if (staged)
			take_staged();
		else
			restore();
		unlinked = place("unlink config.db.v1\n");
		synced = strstr(unlinked, "sync ALL\n");
		assert_non_null(synced);
		assert_true(synced < place("unlink config.db-wal\n"));
		assert_true(synced < place("rename to config.db\n"));
		again();
	}
	backup_free(&backup);
}

/* The same release once more, and back once more: neither of its two is lost. */
static void twice(void **state)
{
	struct config_back back;
	struct err err = {0};

	(void)state;
	make_both();
	assert_int_equal(back_to(1, &back, &err), 0);
	leave_open(2, "delete from item");
	assert_int_equal(back_to(1, &back, &err), 0);
	assert_int_equal(items("", 1), 1);
	assert_int_equal(items(".newer-v2", 2), 0);
	assert_int_equal(items(".newer-v2.old", 2), 2);
}

static void refused(unsigned count, const char *says)
{
	struct config_back back;
	struct err err = {0};

	assert_true(back_to(count, &back, &err) < 0);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
	assert_int_equal(back.from, 0);
	assert_false(there(".newer-v2"));
	assert_int_equal(items("", 2), 2);
}

static void no_copy(void **state)
{
	(void)state;
	make_both();
	assert_int_equal(unlink(beside(".v1")), 0);
	refused(1, "newer Granary");
}

static void only_who_asks_goes_back(void **state)
{
	struct config *config = NULL;
	struct err err = {0};

	(void)state;
	make_both();
	assert_int_equal(config_open(path, versions, 1, &config, &err), -EPROTO);
	assert_non_null(strstr(err.text, "a copy from before lies beside it"));
	assert_int_equal(items("", 2), 2);
	assert_true(there(".v1"));
}

static void overwrite(const char *ending, off_t from, off_t to)
{
	int fd = open(beside(ending), O_RDWR);
	char junk[256];

	memset(junk, 0x5a, sizeof junk);
	assert_true(fd >= 0);
	for (; from < to; from += (off_t)sizeof junk)
		assert_int_equal(pwrite(fd, junk, sizeof junk, from), sizeof junk);
	close(fd);
}

static void damaged_copy(void **state)
{
	struct config_back back;
	struct config *config;
	struct err err = {0};
	struct stat info;

	(void)state;
	make_both();
	assert_int_equal(stat(beside(".v1"), &info), 0);
	overwrite(".v1", 4096, info.st_size);
	refused(1, "can not go back to the copy of version 1");
	again();
	make_both();
	assert_int_equal(truncate(beside(".v1"), 4096), 0);
	refused(1, "can not go back to the copy of version 1");
	again();
	make_both();
	overwrite(".v1", 0, 256);
	refused(1, "can not go back to the copy of version 1");
	again();
	config = open_good(1);
	for (int i = 0; i < 400; i++)
		run(config, "insert into item values(hex(randomblob(60)))");
	config_close(config);
	config_close(open_good(2));
	assert_int_equal(stat(beside(".v1"), &info), 0);
	overwrite(".v1", info.st_size - 4096, info.st_size); /* nothing but rows */
	assert_true(back_to(1, &back, &err) < 0);
	assert_non_null(strstr(err.text, "config.db.v1 is damaged"));
	assert_int_equal(items("", 2), 400);
}

/* One of the same name that is no copy of that version. */
static void wrong_copy(void **state)
{
	(void)state;
	make_both();
	assert_int_equal(items(".v1", 2), 1); /* migrates it */
	refused(1, "config.db.v1 has schema version 2");
	again();
	make_both();
	assert_int_equal(unlink(beside(".v1")), 0);
	assert_int_equal(symlink("/etc/passwd", beside(".v1")), 0);
	refused(1, "is not a file");
}

static void not_while_something_is_under_way(void **state)
{
	struct config *config;

	(void)state;
	make_both();
	config = open_good(2);
	run(config, "insert into busy values(1)");
	config_close(config);
	refused(1, "under way");
	again();
	config = open_good(1);
	run(config, "insert into item values('old')");
	run(config, "insert into busy values(1)");
	config_close(config);
	config = open_good(2);
	run(config, "delete from busy");
	run(config, "insert into item(name) values('new')");
	config_close(config);
	refused(1, "under way");
}

static void confirmed_copies_are_for_people(void **state)
{
	struct err err = {0};

	(void)state;
	make_both();
	if (config_copy_confirm(path, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(there(".v1"));
	refused(1, "newer Granary");
	assert_int_equal(items(".v1.kept", 1), 1);
	assert_int_equal(config_copy_confirm(path, &err), 0);
}

static void so_many_are_kept(void **state)
{
	(void)state;
	for (int64_t version = 1; version <= 12; version++) {
		for (enum config_copy kind = CONFIG_COPY; kind <= CONFIG_COPY_NEWER; kind++) {
			char *name = config_copy_name(path, kind, version);

			close(open(name, O_CREAT | O_RDWR, 0600));
			free(name);
		}
	}
	close(open(beside(".v13.part"), O_CREAT | O_RDWR, 0600));
	close(open(beside(".v14x"), O_CREAT | O_RDWR, 0600));
	assert_int_equal(config_copy_find(path, CONFIG_COPY, INT64_MAX), 12);
	assert_int_equal(config_copy_find(path, CONFIG_COPY, 7), 7);
	for (enum config_copy kind = CONFIG_COPY; kind <= CONFIG_COPY_NEWER; kind++) {
		config_copy_prune(path, kind);
		assert_int_equal(config_copy_find(path, kind, INT64_MAX), 12);
		assert_int_equal(config_copy_find(path, kind, 10), 10);
		assert_int_equal(config_copy_find(path, kind, 9), 0);
	}
	assert_true(there(".v13.part") && there(".v14x"));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, take_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(copy_is_durable_before_the_migration),
	    TEST(goes_back_with_a_log_beside_it),
	    TEST(cut_off_migration),
	    TEST(cut_off_on_the_way_back),
	    TEST(cut_off_restore),
	    TEST(cut_off_staged_restore),
	    TEST(forgets_before_it_restores),
	    TEST(twice),
	    TEST(no_copy),
	    TEST(only_who_asks_goes_back),
	    TEST(damaged_copy),
	    TEST(wrong_copy),
	    TEST(not_while_something_is_under_way),
	    TEST(confirmed_copies_are_for_people),
	    TEST(so_many_are_kept),
	};

	return cmocka_run_group_tests_name("core/config going back", tests, NULL, NULL);
}
