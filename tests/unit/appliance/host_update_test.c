/* SPDX-License-Identifier: Apache-2.0 */
/* Updates as granary-hostd is asked for them: a bundle comes in pieces and is gone on with, what it
 * has to be is checked, granary-update is told what to do, and what it says is told again; one at a
 * time, and one that died is no update under way. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "appliance/host_update.h"
#include "appliance/report.h"

#define NOW    (100 * 1000000000ull)
#define ABC    "YWJj"                                                             /* "abc" */
#define SHA256 "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721" /* "abcdef" */

static char folder[] = "/tmp/granary-host-update-XXXXXX";
static char settings[64];
static struct host_update update;
static unsigned started;
static int start_result;

static int fake_start(struct err *err)
{
	started++;
	return start_result < 0 ? err_set(err, start_result, "there is no such unit") : 0;
}

static void file_of(const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", folder, name);
}

static int setup(void **state)
{
	static const char *const names[] = {REPORT_ASK, REPORT_UPDATE, REPORT_BOOT};

	(void)state;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		char path[128];

		file_of(names[i], path);
		unlink(path);
	}
	update_init(&update, settings, folder, fake_start);
	unlink(update.bundle);
	unlink(update.note);
	started = 0;
	start_result = 0;
	return 0;
}

typedef json_t *serve(struct host_update *update, const json_t *body, uint64_t now);

static char code[32]; /* of the last problem, else "" */
static json_t *shown; /* the last body; freed with the next */

static int call_at(serve *what, const char *body, uint64_t now)
{
	json_t *asked = body ? json_loads(body, 0, NULL) : NULL, *reply;
	int status;

	assert_true(asked || !body);
	reply = what(&update, asked, now);
	assert_non_null(reply);
	status = (int)json_integer_value(json_object_get(reply, "status"));
	json_decref(shown);
	shown = json_incref(json_object_get(reply, "body"));
	snprintf(code, sizeof code, "%s",
		 status >= 400 ? json_string_value(json_object_get(shown, "code")) : "");
	json_decref(reply);
	json_decref(asked);
	return status;
}

static int call(serve *what, const char *body)
{
	return call_at(what, body, NOW);
}

static json_int_t received(void)
{
	return json_integer_value(json_object_get(shown, "received_bytes"));
}

static const char *state_of(void)
{
	return json_string_value(json_object_get(json_object_get(shown, "update"), "state"));
}

/* Of "abc" (FIPS 180-4's first example). */
#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void upload(void)
{
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":6}"), 201);
	assert_int_equal(call(bundle_piece, "{\"data\":\"" ABC "\",\"offset\":0}"), 200);
	assert_int_equal(call(bundle_piece, "{\"data\":\"ZGVm\",\"offset\":3}"), 200);
}

static void comes_in_pieces(void **state)
{
	char data[8] = "";
	int fd;

	(void)state;
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":6}"), 201);
	assert_int_equal(received(), 0);
	assert_int_equal(call(bundle_piece, "{\"data\":\"" ABC "\",\"offset\":0}"), 200);
	assert_int_equal(received(), 3);
	assert_int_equal(call(bundle_end, "{}"), 409);
	assert_string_equal(code, "not_all_there");
	assert_int_equal(call(update_ask, "{}"), 409);
	assert_string_equal(code, "not_all_there");
	/* Another helper, as after a restart. */
	update_init(&update, settings, folder, fake_start);
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":6}"), 201);
	assert_int_equal(received(), 3);
	assert_string_equal(json_string_value(json_object_get(shown, "received_sha256")),
			    ABC_SHA256);
	assert_int_equal(call(bundle_piece, "{\"data\":\"ZGVm\",\"offset\":3}"), 200);
	update_init(&update, settings, folder, fake_start);
	assert_int_equal(call(bundle_end, "{}"), 400);
	assert_string_equal(code, "checksum_needed");
	assert_int_equal(call(bundle_end, "{\"sha256\":\"" SHA256 "\"}"), 201);
	assert_true(json_is_true(json_object_get(shown, "checked")));
	fd = open(update.bundle, O_RDONLY);
	assert_int_equal(read(fd, data, sizeof data), 6);
	close(fd);
	assert_string_equal(data, "abcdef");
	assert_int_equal(call(update_show, NULL), 200);
	assert_true(json_is_true(json_object_get(json_object_get(shown, "bundle"), "complete")));
}

static void pieces_that_are_refused(void **state)
{
	(void)state;
	assert_int_equal(call(bundle_piece, "{\"data\":\"" ABC "\",\"offset\":0}"), 409);
	assert_string_equal(code, "upload_gone");
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":0}"), 400);
	assert_int_equal(call(bundle_begin, "{\"name\":\"\",\"size\":6}"), 400);
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":5000000000}"), 400);
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":4}"), 201);
	assert_int_equal(call(bundle_piece, "{\"data\":\"" ABC "\",\"offset\":1}"), 409);
	assert_string_equal(code, "wrong_offset");
	assert_int_equal(call(bundle_piece, "{\"data\":\"a,b=\",\"offset\":0}"), 400);
	assert_string_equal(code, "bad_piece");
	assert_int_equal(call(bundle_piece, "{\"data\":\"" ABC "\",\"offset\":0}"), 200);
	assert_int_equal(call(bundle_piece, "{\"data\":\"" ABC "\",\"offset\":3}"), 400);
	assert_string_equal(code, "too_long");
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":4,\"anew\":true}"), 201);
	assert_int_equal(received(), 0);
	assert_int_equal(call(bundle_piece, "{\"data\":\"" ABC "\",\"offset\":0}"), 200);
	/* One of another size is another one. */
	assert_int_equal(call(bundle_begin, "{\"name\":\"one\",\"size\":6}"), 201);
	assert_int_equal(received(), 0);
}

static void another_checksum_is_not_kept(void **state)
{
	(void)state;
	upload();
	assert_int_equal(call(bundle_end, "{\"sha256\":\"00\"}"), 422);
	assert_string_equal(code, "checksum_differs");
	assert_int_equal(access(update.bundle, F_OK), -1);
	assert_int_equal(call(update_ask, "{}"), 409);
	assert_string_equal(code, "nothing_uploaded");
	assert_int_equal(started, 0);
}

static void what_is_asked_for(void **state)
{
	char path[128];
	json_t *ask;

	(void)state;
	upload();
	assert_int_equal(call(bundle_end, "{}"), 201);
	assert_int_equal(call(update_ask, "{\"allow_older\":true}"), 202);
	assert_int_equal(started, 1);
	assert_string_equal(state_of(), "starting");
	file_of(REPORT_ASK, path);
	ask = json_load_file(path, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(ask, "source")), update.bundle);
	assert_true(json_is_true(json_object_get(ask, "upload")));
	assert_true(json_is_true(json_object_get(ask, "allow_older")));
	assert_true(json_is_false(json_object_get(ask, "dry_run")));
	json_decref(ask);
	/* It has not begun, and is under way all the same; for so long. */
	assert_int_equal(call(update_ask, "{\"url\":\"https://h/b\"}"), 409);
	assert_string_equal(code, "update_under_way");
	assert_int_equal(call(bundle_drop, NULL), 409);
	assert_int_equal(call_at(update_show, NULL, NOW + UPDATE_START_NS), 200);
	assert_string_equal(state_of(), "failed");
	assert_false(json_is_true(json_object_get(shown, "under_way")));
	assert_int_equal(call_at(bundle_drop, NULL, NOW + UPDATE_START_NS), 200);
}

static void urls(void **state)
{
	char path[128];
	json_t *ask;

	(void)state;
	assert_int_equal(call(update_ask, "{\"url\":\"http://h/b\"}"), 400);
	assert_string_equal(code, "bad_url");
	assert_int_equal(call(update_ask, "{\"url\":\"/etc/shadow\"}"), 400);
	assert_int_equal(started, 0);
	assert_int_equal(call(update_ask, "{\"url\":\"https://h/b\",\"dry_run\":true}"), 202);
	file_of(REPORT_ASK, path);
	ask = json_load_file(path, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(ask, "source")), "https://h/b");
	assert_true(json_is_false(json_object_get(ask, "upload")));
	assert_true(json_is_true(json_object_get(ask, "dry_run")));
	json_decref(ask);
}

static void a_unit_that_does_not_start(void **state)
{
	(void)state;
	start_result = -ENOENT;
	assert_int_equal(call(update_rollback, "{}"), 500);
	assert_int_equal(call(update_show, NULL), 200);
	assert_string_equal(state_of(), "failed");
	start_result = 0;
	assert_int_equal(call(update_rollback, "{}"), 202);
}

/* As granary-update does: the lock as long as it is at work, its reports beside. */
static void under_way(void **state)
{
	struct report report = {.state = REPORT_WRITING,
				.version = "2",
				.slot = 'b',
				.done = 1,
				.size = 4,
				.started = time(NULL) - 12,
				.began = time(NULL) - 10};
	json_int_t eta;
	struct grubenv env = {.slot = 'b'};
	int lock, second;

	(void)state;
	upload();
	assert_int_equal(report_lock(folder, &lock, NULL), 0);
	assert_int_equal(report_lock(folder, &second, NULL), -EBUSY);
	assert_int_equal(report_tell(folder, &report, NULL), 0);
	assert_int_equal(call(update_show, NULL), 200);
	assert_true(json_is_true(json_object_get(shown, "under_way")));
	assert_string_equal(state_of(), "writing");
	eta = json_integer_value(json_object_get(json_object_get(shown, "update"), "eta_seconds"));
	assert_in_range(eta, 30, 45); /* a quarter took ten seconds */
	assert_int_equal(call(update_ask, "{\"url\":\"https://h/b\"}"), 409);
	assert_int_equal(call(update_rollback, "{}"), 409);
	assert_int_equal(call(bundle_begin, "{\"name\":\"two\",\"size\":6}"), 409);
	assert_int_equal(call(bundle_end, "{}"), 409);
	assert_int_equal(started, 0);
	report_go(folder);
	assert_int_equal(call(update_cancel, NULL), 202);
	assert_true(report_stopped(folder));
	report.rollback = true; /* is done before anybody could say so */
	report_go(folder);
	assert_int_equal(report_tell(folder, &report, NULL), 0);
	assert_int_equal(call(update_cancel, NULL), 409);
	assert_false(report_stopped(folder));
	report.rollback = false;
	assert_int_equal(report_tell(folder, &report, NULL), 0);
	close(lock); /* killed: its report stays */
	assert_int_equal(call(update_show, NULL), 200);
	assert_false(json_is_true(json_object_get(shown, "under_way")));
	assert_string_equal(state_of(), "failed");
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(shown, "update"), "eta_seconds")),
	    0);
	assert_int_equal(call(update_cancel, NULL), 409);
	report.state = REPORT_DONE;
	assert_int_equal(report_tell(folder, &report, NULL), 0);
	assert_int_equal(report_boot(folder, "1", 'a', &env, NULL), 0);
	assert_int_equal(call(update_show, NULL), 200);
	assert_string_equal(state_of(), "done");
	assert_string_equal(json_string_value(json_object_get(shown, "slot")), "a");
	assert_string_equal(json_string_value(json_object_get(shown, "next")), "b");
	assert_true(json_is_true(json_object_get(shown, "on_trial")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(comes_in_pieces, setup),
	    cmocka_unit_test_setup(pieces_that_are_refused, setup),
	    cmocka_unit_test_setup(another_checksum_is_not_kept, setup),
	    cmocka_unit_test_setup(what_is_asked_for, setup),
	    cmocka_unit_test_setup(urls, setup),
	    cmocka_unit_test_setup(a_unit_that_does_not_start, setup),
	    cmocka_unit_test_setup(under_way, setup),
	};
	char lock[128];
	int failed;

	if (!mkdtemp(folder))
		return 1;
	snprintf(settings, sizeof settings, "%s/settings.json", folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	json_decref(shown);
	setup(NULL);
	file_of(REPORT_LOCK, lock);
	unlink(lock);
	rmdir(folder);
	return failed;
}
