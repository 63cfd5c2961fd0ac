/* SPDX-License-Identifier: Apache-2.0 */
/* What a backup would change is told, and one that the next start could not open is refused: any of
 * its databases. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "webadmin/backup.h"

static void add(struct backup *backup, const char *name, const void *data, size_t length)
{
	struct backup_part *part = &backup->parts[backup->count++];

	snprintf(part->name, sizeof part->name, "%s", name);
	part->data = heap_alloc(length + 1);
	assert_non_null(part->data);
	memcpy(part->data, data, length);
	part->length = length;
}

static void add_text(struct backup *backup, const char *name, const char *text)
{
	add(backup, name, text, strlen(text));
}

static void add_database(struct backup *backup, const char *name, unsigned version)
{
	sqlite3_int64 length;
	sqlite3 *database;
	unsigned char *bytes;
	char sql[128];

	snprintf(sql, sizeof sql,
		 "create table setting(name text, value text);"
		 "insert into setting values('a', 'b'); pragma user_version = %u",
		 version);
	assert_int_equal(sqlite3_open(":memory:", &database), SQLITE_OK);
	assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
	bytes = sqlite3_serialize(database, "main", &length, 0);
	assert_non_null(bytes);
	add(backup, name, bytes, (size_t)length);
	sqlite3_free(bytes);
	sqlite3_close(database);
}

static const char *const databases[] = {"config.db", "access.db", "reservations.db",
					"replication.db"};
#define DATABASES (sizeof databases / sizeof *databases)

static struct backup all_of(unsigned version)
{
	struct backup backup = {.count = 0};

	for (unsigned i = 0; i < DATABASES; i++)
		add_database(&backup, databases[i], version);
	return backup;
}

static void databases_that_can_not_be(void **state)
{
	struct backup now = all_of(5);

	(void)state;
	for (unsigned i = 0; i < DATABASES; i++) {
		struct backup then = all_of(5);
		struct backup_part *part = &then.parts[i];
		struct err err = {0};
		json_t *changes = backup_changes(&now, &then, &err);

		assert_non_null(changes);
		assert_int_equal(json_array_size(changes), 0);
		json_decref(changes);
		part->data[63] = 6; /* user_version */
		assert_null(backup_changes(&now, &then, &err));
		assert_int_equal(err.code, -EPROTO);
		assert_non_null(strstr(err.text, "newer version"));
		part->data[63] = 5;
		memset(part->data + part->length - 4096, 0xff, 4096);
		assert_null(backup_changes(&now, &then, &err));
		assert_non_null(strstr(err.text, databases[i]));
		backup_free(&then);
	}
	backup_free(&now);
}

static bool says(const json_t *changes, const char *name, const char *change)
{
	size_t at;
	json_t *one;

	json_array_foreach(changes, at, one)
	{
		if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0 &&
		    strcmp(json_string_value(json_object_get(one, "change")), change) == 0)
			return true;
	}
	return false;
}

/* Whom NFS over TLS believes, and as whom it shows itself. */
static void files(void **state)
{
	struct backup now = all_of(5), then = all_of(5);
	struct err err = {0};
	json_t *changes;

	(void)state;
	add_text(&now, "nfs-tls.pem", "one pair");
	add_text(&now, "nfs-tls-clients.pem", "somebody");
	add_text(&then, "nfs-tls.pem", "another");
	changes = backup_changes(&now, &then, &err);
	assert_int_equal(json_array_size(changes), 2);
	assert_true(says(changes, "nfs-tls.pem", "changes"));
	assert_true(says(changes, "nfs-tls-clients.pem", "goes"));
	json_decref(changes);
	backup_free(&now);
	backup_free(&then);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(databases_that_can_not_be),
	    cmocka_unit_test(files),
	};

	return cmocka_run_group_tests_name("webadmin/backup", tests, NULL, NULL);
}
