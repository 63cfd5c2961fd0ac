/* SPDX-License-Identifier: Apache-2.0 */
#include "shares/shares.h"
#include "tests/unit/shares/fs_bench.h"
#include "tests/unit/volumes/bench_pool.h"

/* A share on a native pool that goes back to a snapshot. */
#define LOAD_COUNT 200u

static struct bench bench;
static struct fs_bench fs;
static struct volume *snapshot;

struct errand {
	struct message message;
	struct share_call call;
	struct share_check_report report;
	enum { FORMAT, OPEN, CLOSE, CHECK, ROLLBACK, LIMIT, LIST } what;
	const char *keep;
	struct share_user user, users[4];
	int result;
	bool done;
};

static void errand_done(struct share_call *call, int result)
{
	struct errand *errand = container_of(call, struct errand, call);

	errand->result = result;
	errand->done = true;
}

static void errand_run(struct message *message)
{
	struct errand *errand = container_of(message, struct errand, message);
	struct share_call *call = &errand->call;

	call->done = errand_done;
	if (errand->what == FORMAT)
		share_format(bench.volume, fs.loop, 0, call);
	else if (errand->what == OPEN)
		share_open(bench.volume, fs.loop, false, call);
	else if (errand->what == CLOSE)
		share_close(fs.vfs, call);
	else if (errand->what == CHECK)
		share_check(fs.vfs, &errand->report, call);
	else if (errand->what == LIMIT)
		share_set_user(fs.vfs, &errand->user, call);
	else if (errand->what == LIST)
		share_list_users(fs.vfs, errand->users, 4, call);
	else
		share_rollback(fs.vfs, snapshot, errand->keep, call);
}

static void do_errand(int what)
{
	struct errand errand = {.what = what};

	loop_post(fs.loop, &errand.message, errand_run);
	for (unsigned i = 0; i < 20000 && !errand.done; i++)
		loop_poll(fs.loop, 1000000);
	assert_true(errand.done);
	assert_int_equal(errand.result, 0);
	assert_int_equal(errand.report.errors, 0);
	if (what == OPEN)
		fs.vfs = errand.call.vfs;
}

static void begin(void)
{
	bench_setup(&bench);
	assert_int_equal(bench_create(&bench, 1, 256ull << 20), 0);
	assert_int_equal(bench_volume(&bench, "files", 64ull << 20), 0);
	memset(&fs, 0, sizeof(fs));
	fs.loop = bench.loop;
	do_errand(FORMAT);
	do_errand(OPEN);
}

static void take_snapshot(void)
{
	struct snapshot_spec spec = {.volume = bench.volume, .name = "then"};
	struct bench_call call = {.call.done = bench_call_done};

	snapshot_create(bench.pool, &spec, 1, &call.call);
	assert_int_equal(bench_ended(&bench, &call), 0);
	snapshot = pool_find_volume(bench.pool, "files@then");
	assert_non_null(snapshot);
}

static void end(void)
{
	do_errand(CHECK);
	do_errand(CLOSE);
	volume_unref(snapshot);
	assert_int_equal(bench_close(&bench), 0);
	bench_finish(&bench);
}

/* What a client has seen of a file never stands for other contents: a number that the change
 * attribute had before the rollback does not come again after it. */
static void change_rises(void **state)
{
	struct vfs_object file, root, fresh;
	uint64_t then, seen, went_back;
	char text[8] = {0};

	(void)state;
	begin();
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, "good", 4), 0);
	then = fs_getattr(&fs, &file).change;
	take_snapshot();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(fs_write(&fs, &file, 0, "oops", 4), 0);
	assert_int_equal(fs_create(&fs, &root, "later", VFS_REGULAR, 0600, &fresh), 0);
	seen = fs_getattr(&fs, &file).change;
	assert_true(seen >= then + 20);
	do_errand(ROLLBACK);
	assert_int_equal(fs_read(&fs, &file, 0, text, 8), 4);
	assert_string_equal(text, "good");
	went_back = fs_getattr(&fs, &file).change;
	assert_true(went_back == then || went_back > seen);
	assert_int_equal(fs_write(&fs, &file, 0, "more", 4), 0);
	assert_true(fs.request.after[0].change > seen);
	assert_int_equal(fs_truncate(&fs, &file, 2), 0);
	assert_true(fs.request.after[0].change > seen + 1);
	fs_new(&fs, VFS_GETATTR, &fresh);
	assert_int_equal(fs_submit(&fs), -ESTALE);
	end();
}

/* ---- with requests at work ---- */
static struct vfs_request requests[LOAD_COUNT];
static unsigned load_left;

static void load_done(struct vfs_request *request, int result)
{
	(void)request;
	assert_int_equal(result, 0);
	load_left--;
}

static void load_run(void *context)
{
	(void)context;
	for (unsigned i = 0; i < LOAD_COUNT; i++)
		vfs_submit(fs.vfs, &requests[i]);
}

/* They wait for room in the log, and so for a checkpoint, while the share is closed to go back. */
static void goes_back_under_load(void **state)
{
	static uint8_t value[32 << 10];
	static const struct vfs_credentials superuser;
	struct vfs_object root, files[8];
	char name[8];

	(void)state;
	begin();
	root = fs.vfs->root;
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fs_create(&fs, &root, name, VFS_REGULAR, 0600, &files[i]), 0);
	}
	take_snapshot();
	for (unsigned i = 0; i < LOAD_COUNT; i++)
		requests[i] = (struct vfs_request){.op = VFS_XATTR_SET,
						   .object = files[i % 8],
						   .credentials = &superuser,
						   .name = "a",
						   .name_length = 1,
						   .data = value,
						   .data_length = sizeof(value),
						   .done = load_done};
	load_left = LOAD_COUNT;
	bench_run(&bench, load_run, NULL);
	do_errand(ROLLBACK);
	for (unsigned i = 0; i < 20000 && load_left; i++)
		loop_poll(fs.loop, 1000000);
	assert_int_equal(load_left, 0);
	end();
}

/* It is asked for while the share is on its way, as by a group that is handed over then. */
static void is_not_closed_on_its_way(void **state)
{
	struct errand back = {.what = ROLLBACK}, close = {.what = CLOSE};

	(void)state;
	begin();
	take_snapshot();
	loop_post(fs.loop, &back.message, errand_run);
	loop_post(fs.loop, &close.message, errand_run);
	for (unsigned i = 0; i < 20000 && !(back.done && close.done); i++)
		loop_poll(fs.loop, 1000000);
	assert_true(back.done && close.done);
	assert_int_equal(back.result, 0);
	assert_int_equal(close.result, -EBUSY);
	end();
}

/* The first limit walks all of the share, which goes back meanwhile, before or after that. */
static void calls_keep_the_store(void **state)
{
	struct vfs_object root, file;
	char name[8], keep[16];

	(void)state;
	begin();
	root = fs.vfs->root;
	for (unsigned i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fs_create(&fs, &root, name, VFS_REGULAR, 0600, &file), 0);
	}
	take_snapshot();
	for (unsigned polls = 0; polls < 12; polls++) {
		struct errand errands[] = {
		    {.what = LIMIT, .user = {.set = SHARE_USER_FILES, .limit_files = 1000}},
		    {.what = CHECK},
		    {.what = LIST},
		    {.what = ROLLBACK, .keep = keep},
		    {.what = ROLLBACK},
		    {.what = LIMIT, .user = {.set = SHARE_USER_FILES, .limit_files = 1000}}};
		unsigned left = 6;

		snprintf(keep, sizeof(keep), "kept%u", polls);
		for (unsigned i = 0; i < 6; i++) {
			loop_post(fs.loop, &errands[i].message, errand_run);
			for (unsigned j = 0; i == 0 && j < polls; j++)
				loop_poll(fs.loop, 0);
		}
		for (unsigned i = 0; i < 20000 && left; i++) {
			loop_poll(fs.loop, 1000000);
			left = 6;
			for (unsigned j = 0; j < 6; j++)
				left -= errands[j].done;
		}
		assert_int_equal(left, 0);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(errands[i].result, 0);
			assert_int_equal(errands[i].report.errors, 0);
		}
		assert_int_equal(errands[4].result, -EBUSY);
		assert_int_equal(errands[5].result, -EIO);
	}
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(change_rises), cmocka_unit_test(goes_back_under_load),
	    cmocka_unit_test(is_not_closed_on_its_way), cmocka_unit_test(calls_keep_the_store)};

	return cmocka_run_group_tests_name("shares/rollback", tests, NULL, NULL);
}
