/* SPDX-License-Identifier: Apache-2.0 */
/* A restore or a reset that is cut off, or that fails, at each call that changes names or makes
 * something durable; also with its list damaged by then, and the next one cut off as well. A start
 * finds all of one configuration, or it refuses and says what to do: never parts of two. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/backup.h"
#include "core/heap.h"

#define CALLS_MOST 200
#ifdef __SANITIZE_ADDRESS__
#define EACH 7 /* a fork takes ten times as long */
#else
#define EACH 1
#endif
#define ALWAYS (1u << 31) /* in at: each call from then on fails */

/* At that call the process ends, or the call fails; 0: never. */
static enum { CUT, FAIL } what;
static unsigned calls, at;
static char failed[96]; /* which call it was */

/* These come before libc's. */
static bool happens(const char *call, const char *name, int cut_fd)
{
	unsigned first = at & ~ALWAYS;

	calls++;
	if (first == 0 || calls < first || (calls > first && !(at & ALWAYS)))
		return false;
	if (what == CUT) {
		/* What was written is durable in part. */
		if (cut_fd >= 0 && ftruncate(cut_fd, lseek(cut_fd, 0, SEEK_END) / 2) < 0)
			_exit(1);
		_exit(77);
	}
	if (calls == first)
		snprintf(failed, sizeof failed, "%s %s", call, strrchr(name, '/') + 1);
	errno = EIO;
	return true;
}

int fsync(int fd)
{
	return happens("sync", "/", fd) ? -1 : 0;
}

void sync(void)
{
	if (what == CUT)
		happens("sync", "/", -1);
}

int unlink(const char *name)
{
	return happens("unlink", name, -1) ? -1 : (int)syscall(SYS_unlink, name);
}

int rename(const char *from, const char *to)
{
	return happens("rename", to, -1) ? -1 : (int)syscall(SYS_rename, from, to);
}

/* --- configurations -------------------------------------------------------------------------- */

static char dir[64];

/* A has a log, too. What B and C do not have goes. */
static const struct {
	const char *name, *of;
} files[] = {
    {"config.db", "ABC"},      {"access.db", "ABC"},      {"reservations.db", "A"},
    {"secret.key", "AC"},      {"web/key.pem", "BC"},     {"host/settings.json", "AB"},
    {"host/seed.json", "B"},   {"nfs-tls.pem", "A"},      {"config.db-wal", "A"},
    {"config.db-journal", ""}, {"config.db-wal.old", ""}, {"access.db-journal", "A"},
};
#define FILES (sizeof files / sizeof *files)

static char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static bool there(const char *name)
{
	return access(path_of(name), F_OK) == 0;
}

static void put(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static char read_one(const char *name)
{
	FILE *file = fopen(path_of(name), "r");
	int letter = file ? fgetc(file) : ' ';

	if (file)
		fclose(file);
	return letter == EOF ? '?' : (char)letter;
}

static bool is_all_of(char which)
{
	for (unsigned i = 0; i < FILES; i++)
		if (read_one(files[i].name) != (strchr(files[i].of, which) ? which : ' '))
			return false;
	return true;
}

/* Which of them is there, '0' for none; '?': parts of two. */
static char found(void)
{
	for (const char *one = "ABC"; *one; one++)
		if (is_all_of(*one))
			return *one;
	for (unsigned i = 0; i < FILES; i++)
		if (there(files[i].name))
			return '?';
	return '0';
}

static void make(struct backup *backup, char which)
{
	backup->count = 0;
	for (unsigned i = 0; i < 8; i++) {
		struct backup_part *part = &backup->parts[backup->count];

		if (!strchr(files[i].of, which))
			continue;
		snprintf(part->name, sizeof part->name, "%s", files[i].name);
		part->data = heap_alloc(3);
		memset(part->data, which, 2);
		part->length = 2;
		backup->count++;
	}
}

static int remove_one(const char *name, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info;
	(void)kind;
	(void)walk;
	return remove(name);
}

static void begin(void)
{
	snprintf(dir, sizeof dir, "/tmp/granary-cut-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(mkdir(path_of("web"), 0711), 0);
	assert_int_equal(mkdir(path_of("host"), 0711), 0);
	for (unsigned i = 0; i < FILES; i++)
		if (strchr(files[i].of, 'A'))
			put(files[i].name, "A");
	assert_int_equal(found(), 'A');
}

static void end(void)
{
	at = 0;
	assert_int_equal(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* --- what is done ---------------------------------------------------------------------------- */

static int restore_of(char which, struct err *err)
{
	struct backup backup;
	int result;

	make(&backup, which);
	result = backup_put(dir, &backup, err);
	backup_free(&backup);
	return result;
}

static int restore_b(struct err *err)
{
	return restore_of('B', err);
}

static int restore_c(struct err *err)
{
	return restore_of('C', err);
}

static int reset(struct err *err)
{
	return backup_reset(dir, err);
}

static int stage_b(struct err *err)
{
	struct backup backup;
	int result;

	make(&backup, 'B');
	result = backup_stage(dir, &backup, err);
	backup_free(&backup);
	return result;
}

static int start(struct err *err)
{
	enum backup_taken taken;

	return backup_take_staged(dir, &taken, err);
}

typedef int (*step)(struct err *err);

/* In a child, which ends before that call; false: it had no so many. */
static bool cut(step one, unsigned when)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		what = CUT;
		calls = 0;
		at = when;
		one(NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 0);
	return WEXITSTATUS(status) == 77;
}

static int fails(step one, unsigned when, struct err *err)
{
	int result;

	what = FAIL;
	calls = 0;
	at = when;
	failed[0] = '\0';
	result = one(err);
	at = 0;
	return result;
}

static bool is_marked(void)
{
	struct backup backup;
	bool begun = there("restore.begun");

	/* Nor is a backup made of parts of two. */
	if (begun)
		assert_int_equal(backup_collect(dir, &backup, NULL), -EUCLEAN);
	return begun;
}

static void damage(const char *bytes)
{
	static const char *const marks[] = {"restore.ready", "restore.begun"};

	for (unsigned i = 0; i < 2; i++)
		if (there(marks[i]))
			put(marks[i], bytes);
}

/* What the next start makes of it: all of one of @good, or it says what to do. */
static bool starts(const char *good, bool may_refuse, const char *when)
{
	struct err err = {0};
	int result = start(&err);
	char is = found();

	if (result == 0 && !strchr(good, is))
		fail_msg("%s: %c", when, is);
	if (result == 0 && (is_marked() || there("restore.ready") || there("config.db.next")))
		fail_msg("%s: started, and something is left", when);
	if (result == 0)
		return true;
	if (!may_refuse || result != -EUCLEAN || !strstr(err.text, "granary config restore"))
		fail_msg("%s: %d %s", when, result, err.text);
	return false;
}

/* --- cut off --------------------------------------------------------------------------------- */

static void cut_off(step one, const char *good)
{
	unsigned when = 0;
	char text[64];

	for (bool was_cut = true; was_cut; end()) {
		begin();
		was_cut = cut(one, ++when);
		snprintf(text, sizeof text, "cut before call %u", when);
		if (!was_cut)
			assert_int_equal(found(), good[1]);
		starts(good, false, text);
	}
	assert_true(when > 20 && when < CALLS_MOST);
}

static void cut_off_once(void **state)
{
	(void)state;
	cut_off(restore_b, "AB");
	cut_off(reset, "A0");
}

/* The first cut off at @first, its list damaged by then (@bytes is NULL: no, and no start came
 * either), the second at @second; false: that one had
 * no so many calls. */
static bool twice(step one, unsigned first, const char *bytes, unsigned second, bool again)
{
	struct err err = {0};
	char text[96];
	bool was_cut;

	snprintf(text, sizeof text, "cut before calls %u and %u%s", first, second,
		 again ? ", damaged twice" : "");
	begin();
	cut(one, first);
	if (bytes) {
		damage(bytes);
		starts("AB0", true, text);
	}
	was_cut = cut(restore_c, second);
	if (bytes && again)
		damage(bytes);
	if (!starts("AB0C", true, text))
		if (restore_c(&err) < 0 || found() != 'C' || !starts("C", false, text))
			fail_msg("%s: not restored (%c): %s", text, found(), err.text);
	end();
	return was_cut;
}

static void cut_off_twice(void **state)
{
	static const char *const bytes[] = {NULL, "", "config.d", "secret.key\n"};
	static const step ones[] = {restore_b, reset};
	unsigned second;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned first = 1; first < 56; first += i ? 4 * EACH : EACH) {
			second = 1;
			while (twice(ones[i], first, bytes[first % 4], second, second % 3 == 0))
				second++;
			assert_true(second > 20 && second < CALLS_MOST);
		}
}

/* A reset ends what a restore has begun, too. */
static void reset_after_a_cut(void **state)
{
	struct err err = {0};

	(void)state;
	for (unsigned first = 1; first < 56; first++) {
		begin();
		cut(restore_b, first);
		damage("");
		starts("AB", true, "first");
		if (reset(&err) < 0 || found() != '0' || is_marked())
			fail_msg("cut before call %u: %c %s", first, found(), err.text);
		starts("0", false, "reset");
		end();
	}
}

/* --- errors ---------------------------------------------------------------------------------- */

/* It failed: all of what there was is there still, with its logs, or a start goes on with it. */
static void failed_at(unsigned when, step one, const char *good)
{
	struct err err = {0};
	char text[160];
	int result;

	begin();
	result = fails(one, when, &err);
	snprintf(text, sizeof text, "%s failed%s", failed,
		 when & ALWAYS ? ", and all after it" : "");
	if (result == 0 && found() != good[1])
		fail_msg("%s: %c", text, found());
	if (result < 0 && !is_marked() && found() != 'A')
		fail_msg("%s: not marked, and %c", text, found());
	if (result < 0 && is_marked() && !strstr(err.text, "granary config restore"))
		fail_msg("%s: %s", text, err.text);
	starts(good, false, text);
	end();
}

static void errors(void **state)
{
	static const step ones[] = {restore_b, reset};
	static const char *const goods[] = {"AB", "A0"};

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned when = 1; when < 60; when++) {
			failed_at(when, ones[i], goods[i]);
			failed_at(when | ALWAYS, ones[i], goods[i]);
		}
}

/* The database in force keeps its log when the one that comes can not take its place. */
static void log_stays_with_its_database(void **state)
{
	struct err err = {0};
	bool seen = false;

	(void)state;
	for (unsigned when = 1; when < 60; when++) {
		begin();
		if (fails(restore_b, when, &err) < 0 && strcmp(failed, "rename config.db") == 0) {
			assert_int_equal(err.code, -EIO);
			assert_int_equal(found(), 'A');
			assert_false(is_marked());
			starts("A", false, failed);
			seen = true;
		}
		end();
	}
	assert_true(seen);
}

/* A start that fails leaves the rest to the next one, and says so. */
static void errors_at_the_start(void **state)
{
	unsigned refused = 0;

	(void)state;
	for (unsigned when = 1; when < 60; when++) {
		struct err err = {0};

		begin();
		assert_int_equal(stage_b(NULL), 0);
		if (fails(start, when | ALWAYS, &err) < 0) {
			refused++;
			if (is_marked())
				assert_non_null(strstr(err.text, "granary config restore"));
			else
				assert_int_equal(found(), 'A');
		}
		starts("B", false, failed);
		end();
	}
	assert_true(refused > 5);
}

/* --- staged ---------------------------------------------------------------------------------- */

/* A part that comes has gone before the restore began: nothing of it is taken. */
static void a_part_is_missing(void **state)
{
	enum backup_taken taken;
	struct err err = {0};

	(void)state;
	begin();
	assert_int_equal(stage_b(NULL), 0);
	assert_int_equal(unlink(path_of("access.db.next")), 0);
	assert_int_equal(backup_take_staged(dir, &taken, &err), 0);
	assert_int_equal(taken, BACKUP_PUT_ASIDE);
	assert_int_equal(found(), 'A');
	end();
}

/* What was begun is not taken back. */
static void not_unstaged_when_begun(void **state)
{
	unsigned begun = 0;

	(void)state;
	for (unsigned when = 1; when < 60; when++) {
		begin();
		assert_int_equal(stage_b(NULL), 0);
		cut(start, when);
		if (there("restore.begun")) {
			assert_int_equal(backup_unstage(dir, NULL), -EUCLEAN);
			starts("B", false, "begun");
			begun++;
		} else {
			assert_int_equal(backup_unstage(dir, NULL), 0);
			starts("AB", false, "not begun, or finished");
		}
		end();
	}
	assert_true(begun > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cut_off_once),
	    cmocka_unit_test(cut_off_twice),
	    cmocka_unit_test(reset_after_a_cut),
	    cmocka_unit_test(errors),
	    cmocka_unit_test(log_stays_with_its_database),
	    cmocka_unit_test(errors_at_the_start),
	    cmocka_unit_test(a_part_is_missing),
	    cmocka_unit_test(not_unstaged_when_begun),
	};

	return cmocka_run_group_tests_name("core/backup cut off", tests, NULL, NULL);
}
