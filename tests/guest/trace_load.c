/* SPDX-License-Identifier: Apache-2.0 */
/* Load for a guest whose disks are recorded (traces.py), with a word on the marks' disk for each
 * promise that the guest was given. Linked statically.
 *
 *	trace_load mark MARKS TEXT              TEXT is said
 *	trace_load files FOLDER NAME SEED N MARKS
 *	trace_load sqlite FOLDER NAME SEED N MARKS
 *
 * files: N steps, each one of
 *	put K V    FOLDER/put.K is replaced as programs do it that must not lose a file: written
 *	           aside, fsync, renamed over the old one, fsync of the folder. Said when it is
 *done. drop K V   said before put.K is unlinked; gone K V: said when the folder is synced log N
 *FOLDER/log has N records of LOG_RECORD bytes, appended and fdatasync'ed noise      files and
 *folders made, cut, moved and removed, without any sync sqlite: N transactions in turn on
 *FOLDER/a.db (rollback journal, synchronous=EXTRA) and b.db (write-ahead log, synchronous=FULL):
 *rows in, old rows out, money from one account to another. txn F N    COMMIT of transaction N of
 *file F has returned Every mark begins with NAME. What a file or row holds is a function of its
 *numbers. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK_SIZE  4096u
#define MARK_SLOTS 1024u
#define KEYS       24u
#define LOG_RECORD 64u
#define NOISE      40u
#define ACCOUNTS   20u
#define WINDOW     60u /* a transaction's rows stay for so many transactions */

static const char *name;
static int marks;
static uint64_t state;

static void __attribute__((noreturn)) stop(const char *what)
{
	printf("trace_load %s: %s: %s\n", name ? name : "", what, strerror(errno));
	exit(1);
}

static void need(bool good, const char *what)
{
	if (!good)
		stop(what);
}

static unsigned below(unsigned limit)
{
	uint64_t x = state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (unsigned)((x ^ (x >> 31)) % limit);
}

/* ---- marks ---- */
static void marks_open(const char *path)
{
	marks = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	need(marks >= 0, path);
}

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	static _Alignas(4096) char block[MARK_SIZE];
	static unsigned slot;
	off_t at;
	va_list args;

	memset(block, 0, sizeof(block));
	va_start(args, format);
	vsnprintf(block, sizeof(block), format, args);
	va_end(args);
	at = (off_t)(((unsigned)getpid() * 64u + slot++) % MARK_SLOTS) * MARK_SIZE;
	need(pwrite(marks, block, MARK_SIZE, at) == MARK_SIZE, "the marks' disk");
}

/* ---- files ---- */
static unsigned version[KEYS], counter, records;

static void sync_folder(void)
{
	int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	need(folder >= 0 && fsync(folder) == 0, "fsync of the folder");
	close(folder);
}

static void step_put(unsigned key)
{
	unsigned lines = below(8) == 0 ? 200 + below(2000) : below(120);
	char path[32], aside[32];
	FILE *file;

	version[key] = ++counter;
	snprintf(path, sizeof(path), "put.%u", key);
	snprintf(aside, sizeof(aside), "put.%u.new", key);
	file = fopen(aside, "w");
	need(file != NULL, aside);
	fprintf(file, "%u %u %u\n", key, counter, lines);
	for (unsigned i = 0; i < lines; i++)
		fprintf(file, "%u %u %u\n", key, counter, i);
	need(fflush(file) == 0 && fsync(fileno(file)) == 0 && fclose(file) == 0, "fsync");
	need(rename(aside, path) == 0, "rename");
	sync_folder();
	say("%s put %u %u", name, key, counter);
}

static void step_drop(unsigned key)
{
	char path[32];

	if (!version[key])
		return;
	snprintf(path, sizeof(path), "put.%u", key);
	version[key] = 0;
	say("%s drop %u %u", name, key, ++counter);
	need(unlink(path) == 0, path);
	sync_folder();
	say("%s gone %u %u", name, key, counter);
}

static void step_log(int file)
{
	char record[LOG_RECORD + 1];

	for (unsigned count = 1 + below(40); count > 0; count--, records++) {
		snprintf(record, sizeof(record), "%08u", records);
		memset(record + 8, 'a' + (int)(records % 26), LOG_RECORD - 9);
		record[LOG_RECORD - 1] = '\n';
		need(write(file, record, LOG_RECORD) == LOG_RECORD, "log");
	}
	need(fdatasync(file) == 0, "fdatasync");
	say("%s log %u", name, records);
}

/* Nobody is promised anything about these. */
static void step_noise(void)
{
	static char data[65536];
	unsigned which = below(NOISE);
	char path[48], other[48];
	int file;

	snprintf(path, sizeof(path), "noise.%u", which);
	snprintf(other, sizeof(other), "folder.%u", which % 7);
	if (below(4) == 0) {
		(void)mkdir(other, 0755);
		snprintf(other, sizeof(other), "folder.%u/moved.%u", which % 7, below(NOISE));
		(void)rename(path, other);
		return;
	}
	if (below(6) == 0) {
		snprintf(other, sizeof(other), "folder.%u/moved.%u", which % 7, below(NOISE));
		(void)unlink(other);
		return;
	}
	file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	need(file >= 0, path);
	memset(data, (int)('A' + which % 26), sizeof(data));
	if (below(3) == 0)
		need(ftruncate(file, (off_t)below(100000)) == 0, "ftruncate");
	else if (below(4) == 0)
		(void)fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)below(40000), (off_t)1 + below(40000));
	else
		need(pwrite(file, data, 1 + below(sizeof(data)), (off_t)below(100000)) > 0,
		     "noise");
	close(file);
}

static void files(unsigned steps)
{
	int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	need(log >= 0, "log");
	sync_folder();
	for (unsigned i = 0; i < steps; i++) {
		unsigned what = below(100);

		if (what < 35)
			step_put(below(KEYS));
		else if (what < 45)
			step_drop(below(KEYS));
		else if (what < 65)
			step_log(log);
		else
			step_noise();
	}
	close(log);
}

/* ---- a database ---- */
static void run(sqlite3 *db, const char *format, ...)
{
	char *error = NULL, *sql;
	va_list args;

	va_start(args, format);
	sql = sqlite3_vmprintf(format, args);
	va_end(args);
	if (!sql || sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
		printf("trace_load %s: %s: %s\n", name, sql ? sql : "", error ? error : "");
		exit(1);
	}
	sqlite3_free(sql);
}

static sqlite3 *database(const char *path, const char *pragmas)
{
	sqlite3 *db = NULL;

	need(sqlite3_open(path, &db) == SQLITE_OK, path);
	run(db, "%s", pragmas);
	run(db, "BEGIN; CREATE TABLE part(txn INTEGER, part INTEGER, body TEXT);"
		"CREATE INDEX part_txn ON part(txn);"
		"CREATE TABLE account(id INTEGER PRIMARY KEY, money INTEGER);"
		"CREATE TABLE done(n INTEGER); INSERT INTO done VALUES(0);");
	for (unsigned i = 0; i < ACCOUNTS; i++)
		run(db, "INSERT INTO account VALUES(%u, 1000)", i);
	run(db, "COMMIT");
	return db;
}

static void transaction(sqlite3 *db, unsigned number)
{
	unsigned from = below(ACCOUNTS), to = below(ACCOUNTS), money = below(100);

	run(db, "BEGIN IMMEDIATE");
	for (unsigned i = 0; i <= number % 5; i++)
		run(db, "INSERT INTO part VALUES(%u, %u, '%u.%u:' || printf('%%.*c', %u, 'x'))",
		    number, i, number, i, (number * 37 + i * 11) % 900);
	run(db, "UPDATE account SET money = money - %u WHERE id = %u", money, from);
	run(db, "UPDATE account SET money = money + %u WHERE id = %u", money, to);
	if (number > WINDOW)
		run(db, "DELETE FROM part WHERE txn <= %u", number - WINDOW);
	run(db, "UPDATE done SET n = %u", number);
	run(db, "COMMIT");
}

static void databases(unsigned transactions)
{
	sqlite3 *a = database("a.db", "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;");
	sqlite3 *b = database("b.db", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
				      "PRAGMA wal_autocheckpoint=60;");

	sync_folder();
	say("%s txn a 0", name);
	say("%s txn b 0", name);
	for (unsigned i = 1; i <= transactions; i++) {
		bool first = below(2) == 0;

		/* Each has numbers of its own. */
		static unsigned number[2];

		transaction(first ? a : b, ++number[first]);
		say("%s txn %c %u", name, first ? 'a' : 'b', number[first]);
	}
	sqlite3_close(a);
	sqlite3_close(b);
}

int main(int argc, char **argv)
{
	unsigned count;

	if (argc == 4 && strcmp(argv[1], "mark") == 0) {
		marks_open(argv[2]);
		say("%s", argv[3]);
		return 0;
	}
	if (argc != 7)
		return 2;
	name = argv[3];
	state = strtoull(argv[4], NULL, 0);
	count = (unsigned)strtoul(argv[5], NULL, 0);
	marks_open(argv[6]);
	need(chdir(argv[2]) == 0, argv[2]);
	if (strcmp(argv[1], "files") == 0)
		files(count);
	else
		databases(count);
	return 0;
}
