/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/config.h"

static const struct config_migration versions[] = {
    {"first",
     "create table item(name text primary key, number integer, data blob);"
     "create table part(item text references item(name), name text)",
     NULL},
    {"colours", "alter table item add column colour text not null default 'grey'",
     "select count(*) from item where colour <> 'grey'"},
    {"broken", "create table half(a); insert into nowhere values(1)", NULL},
};

/* What programs of the future may do. */
static const struct config_migration later[] = {
    {"first",
     "create table item(name text primary key, number integer, data blob);"
     "create table part(item text references item(name), name text)",
     NULL},
    {"colours", "alter table item add column colour text not null default 'grey'",
     "select count(*) from item where colour <> 'grey'"},
    {"shapes", "create table shape(name text)", "select count(*) from shape"},
    {"names of two words", "alter table part rename column name to names", NULL},
    {"a beyond that writes", "select 1", "delete from item returning 0"},
};

struct fixture {
	char dir[64], path[128], copy[160];
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);

	snprintf(fixture->dir, sizeof(fixture->dir), "%s", "/tmp/config_test.XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	snprintf(fixture->path, sizeof fixture->path, "%s/config.db", fixture->dir);
	snprintf(fixture->copy, sizeof fixture->copy, "%s.v1", fixture->path);
	*state = fixture;
	return 0;
}

static int take_down(void **state)
{
	static const char *const endings[] = {"",    "-wal", "-shm", ".v1",
					      ".v2", ".v3",  ".v4",  ".v1.part"};
	struct fixture *fixture = *state;
	char path[200];

	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		snprintf(path, sizeof path, "%s%s", fixture->path, endings[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(fixture->dir), 0);
	free(fixture);
	return 0;
}

static struct config *open_with(const char *path, const struct config_migration *table,
				unsigned count)
{
	struct config *config = NULL;
	struct err err = {0};

	if (config_open(path, table, count, &config, &err) < 0)
		fail_msg("config_open: %s", err.text);
	return config;
}

static struct config *open_good(const char *path, unsigned count)
{
	return open_with(path, versions, count);
}

static int open_bad(const char *path, unsigned count, const char *says)
{
	struct config *config = NULL;
	struct err err = {0};
	int result = config_open(path, versions, count, &config, &err);

	assert_true(result < 0);
	assert_null(config);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
	return result;
}

static int64_t count_items(struct config *config)
{
	struct config_statement *statement;
	int64_t count;

	assert_int_equal(config_prepare(config, "select count(*) from item", &statement, NULL), 0);
	assert_int_equal(config_step(statement, NULL), 1);
	count = config_number(statement, 0);
	config_finish(statement);
	return count;
}

static void add_item(struct config *config, const char *name)
{
	assert_int_equal(
	    config_run(config, NULL, "insert into item(name, number) values(?, ?)", "si", name, 7),
	    0);
}

static void values_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_good(fixture->path, 1);
	struct config_statement *statement;
	const void *data;
	int length;

	assert_int_equal(
	    config_prepare(config, "insert into item values(?, ?, ?)", &statement, NULL), 0);
	config_bind_text(statement, 1, "it's; drop table item");
	config_bind_number(statement, 2, INT64_MIN);
	config_bind_blob(statement, 3, "a\0b", 3);
	assert_int_equal(config_step(statement, NULL), 0);
	config_finish(statement);
	config_close(config);

	config = open_good(fixture->path, 1);
	assert_int_equal(config_prepare(config, "select * from item", &statement, NULL), 0);
	assert_int_equal(config_step(statement, NULL), 1);
	assert_string_equal(config_text(statement, 0), "it's; drop table item");
	assert_true(config_number(statement, 1) == INT64_MIN);
	data = config_blob(statement, 2, &length);
	assert_int_equal(length, 3);
	assert_memory_equal(data, "a\0b", 3);
	assert_int_equal(config_step(statement, NULL), 0);
	config_finish(statement);
	config_close(config);
}

static void store_is_private(void **state)
{
	struct fixture *fixture = *state;
	struct stat info;

	close(open(fixture->path, O_CREAT | O_RDWR, 0644));
	config_close(open_good(fixture->path, 1));
	assert_int_equal(stat(fixture->path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
}

static void abort_takes_everything_back(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_good(fixture->path, 1);

	assert_int_equal(config_begin(config, NULL), 0);
	assert_int_equal(config_begin(config, NULL), -EBUSY);
	add_item(config, "a");
	config_abort(config);
	config_abort(config);
	assert_int_equal(count_items(config), 0);
	assert_int_equal(config_begin(config, NULL), 0);
	add_item(config, "a");
	assert_int_equal(config_commit(config, NULL), 0);
	assert_int_equal(config_commit(config, NULL), -EINVAL);
	assert_int_equal(count_items(config), 1);
	assert_int_equal(config_begin(config, NULL), 0);
	add_item(config, "b");
	config_close(config); /* an open transaction does not survive */
	config = open_good(fixture->path, 1);
	assert_int_equal(count_items(config), 1);
	config_close(config);
}

static void constraints_have_their_errno(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_good(fixture->path, 1);

	add_item(config, "a");
	assert_int_equal(config_run(config, NULL, "insert into item(name) values(?)", "s", "a"),
			 -EEXIST);
	assert_int_equal(config_run(config, NULL, "insert into part values(?, ?)", "ss", "b", "x"),
			 -ENOENT);
	config_close(config);
}

static void older_store_is_migrated_and_copied(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_good(fixture->path, 1);
	struct config_statement *statement;
	struct stat info;

	add_item(config, "kept");
	config_close(config);
	config = open_good(fixture->path, 2);
	assert_int_equal(config_prepare(config, "select colour from item", &statement, NULL), 0);
	assert_int_equal(config_step(statement, NULL), 1);
	assert_string_equal(config_text(statement, 0), "grey");
	config_finish(statement);
	config_close(config);

	assert_int_equal(stat(fixture->copy, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	config = open_good(fixture->copy, 1); /* still the old version, with its row */
	assert_int_equal(count_items(config), 1);
	config_close(config);
}

static void failed_migration_leaves_the_old_store(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_good(fixture->path, 1);

	add_item(config, "kept");
	config_close(config);
	open_bad(fixture->path, 3, "broken");
	config = open_good(fixture->path, 1);
	assert_int_equal(count_items(config), 1);
	config_close(config);
}

/* The release before is started again, and writes; then the newer one once more. */
static void newer_store_is_gone_on_with(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_with(fixture->path, later, 1);
	struct config_statement *statement;

	add_item(config, "kept");
	config_close(config);
	config_close(open_with(fixture->path, later, 3));
	config = open_good(fixture->path, 1);
	add_item(config, "of the release before");
	assert_int_equal(count_items(config), 2);
	config_close(config);
	config = open_with(fixture->path, later, 3);
	assert_int_equal(config_prepare(config, "select count(*) from item where colour = 'grey'",
					&statement, NULL),
			 0);
	assert_int_equal(config_step(statement, NULL), 1);
	assert_int_equal(config_number(statement, 0), 2);
	config_finish(statement);
	config_close(config);
}

static void newer_store_is_refused_untouched(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_with(fixture->path, later, 3);

	add_item(config, "red one");
	assert_int_equal(config_run(config, NULL, "update item set colour = 'red'", ""), 0);
	config_close(config);
	assert_int_equal(open_bad(fixture->path, 1, "\"colours\", which is in use"), -EPROTO);
	config = open_good(fixture->path, 2); /* knows colours; shapes are not used */
	assert_int_equal(config_run(config, NULL, "insert into shape values('round')", ""), 0);
	config_close(config);
	assert_int_equal(open_bad(fixture->path, 2, "\"shapes\", which is in use"), -EPROTO);
	config = open_with(fixture->path, later, 3);
	assert_int_equal(count_items(config), 1);
	config_close(config);
}

static void newer_store_that_can_not_be_passed_over(void **state)
{
	struct fixture *fixture = *state;
	struct config *config;

	config_close(open_with(fixture->path, later, 4));
	assert_int_equal(open_bad(fixture->path, 2, "pass over \"names of two words\". "), -EPROTO);
	config = open_with(fixture->path, later, 5);
	add_item(config, "kept");
	config_close(config);
	config = NULL;
	assert_int_equal(config_open(fixture->path, later, 4, &config, NULL), -EPROTO);
	config = open_with(fixture->path, later, 5);
	assert_int_equal(count_items(config), 1);
	/* as those were that said nothing */
	assert_int_equal(config_run(config, NULL, "drop table step", ""), 0);
	config_close(config);
	assert_int_equal(open_bad(fixture->path, 2, "newer Granary"), -EPROTO);
}

static void write_file(const char *path, const char *text, size_t length)
{
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, length), (ssize_t)length);
	close(fd);
}

static void other_files_are_refused(void **state)
{
	struct fixture *fixture = *state;
	char text[8192];

	memset(text, 'x', sizeof text);
	write_file(fixture->path, text, sizeof text);
	assert_int_equal(open_bad(fixture->path, 1, fixture->path), -EPROTO);
	open_bad("/proc/no/such", 1, "/proc/no/such");
	open_bad(fixture->dir, 1, fixture->dir);
}

static void damaged_store_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct config *config = open_good(fixture->path, 1);
	struct stat info;
	char junk[512];
	int fd;

	for (int i = 0; i < 400; i++) {
		char name[80];

		snprintf(name, sizeof name, "a rather long name so that pages fill up: %d", i);
		add_item(config, name);
	}
	config_close(config);
	assert_int_equal(stat(fixture->path, &info), 0);
	memset(junk, 0x5a, sizeof junk);
	fd = open(fixture->path, O_RDWR);
	for (off_t at = 4096; at < info.st_size; at += 4096)
		assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
	close(fd);
	assert_int_equal(open_bad(fixture->path, 1, "damaged"), -EUCLEAN);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, take_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(values_come_back),
	    TEST(store_is_private),
	    TEST(abort_takes_everything_back),
	    TEST(constraints_have_their_errno),
	    TEST(older_store_is_migrated_and_copied),
	    TEST(failed_migration_leaves_the_old_store),
	    TEST(newer_store_is_gone_on_with),
	    TEST(newer_store_is_refused_untouched),
	    TEST(newer_store_that_can_not_be_passed_over),
	    TEST(other_files_are_refused),
	    TEST(damaged_store_is_refused),
	};

	return cmocka_run_group_tests_name("core/config", tests, NULL, NULL);
}
