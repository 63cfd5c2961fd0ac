/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/shares/errand.h"
#include "tests/unit/volumes/bench_pool.h"
#include "volumes/backend.h"

/* A share on a native pool that goes back to a snapshot. */
#define LOAD_COUNT 200u

static struct bench bench;
static struct fs_bench fs;
static struct volume *snapshot;

static struct errand to_do(int what)
{
	return (struct errand){
	    .fs = &fs, .volume = bench.volume, .snapshot = snapshot, .what = what};
}

static void do_errand(int what)
{
	struct errand errand = to_do(what);

	errand_begin(&errand);
	assert_int_equal(errand_wait(&errand), 0);
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
	struct errand back, close;

	(void)state;
	begin();
	take_snapshot();
	back = to_do(ROLLBACK);
	close = to_do(CLOSE);
	errand_begin(&back);
	errand_begin(&close);
	assert_int_equal(errand_wait(&back), 0);
	assert_int_equal(errand_wait(&close), -EBUSY);
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
		struct errand errands[] = {to_do(LIMIT),    to_do(CHECK),    to_do(LIST),
					   to_do(ROLLBACK), to_do(ROLLBACK), to_do(LIMIT)};
		const int results[] = {0, 0, 0, 0, -EBUSY, -EIO};

		snprintf(keep, sizeof(keep), "kept%u", polls);
		errands[3].keep = keep;
		for (unsigned i = 0; i < 6; i++) {
			errands[i].user =
			    (struct share_user){.set = SHARE_USER_FILES, .limit_files = 1000};
			errand_begin(&errands[i]);
			for (unsigned j = 0; i == 0 && j < polls; j++)
				loop_poll(fs.loop, 0);
		}
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(errand_wait(&errands[i]), results[i]);
	}
	end();
}

/* ---- without space for the share itself ---- */
static struct volume_ops scarce_ops;
static const struct volume_ops *plenty_ops;
static bool none_vital;

static void scarce_submit(struct volume *to, struct volume_request *request)
{
	if (none_vital && request->op == VOLUME_WRITE && request->flags & VOLUME_VITAL)
		volume_refuse(request, -ENOSPC);
	else
		plenty_ops->submit(to, request);
}

/* The volume has gone back, and what was then is read; changes wait for space. */
static void goes_back_without_space(void **state)
{
	struct vfs_object file, root;
	char text[8] = {0};
	int result = -1;

	(void)state;
	begin();
	plenty_ops = bench.volume->ops;
	scarce_ops = *plenty_ops;
	scarce_ops.submit = scarce_submit;
	bench.volume->ops = &scarce_ops;
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, "good", 4), 0);
	take_snapshot();
	assert_int_equal(fs_write(&fs, &file, 0, "oops", 4), 0);
	none_vital = true;
	do_errand(ROLLBACK);
	assert_int_equal(fs_read(&fs, &file, 0, text, 8), 4);
	assert_string_equal(text, "good");
	assert_int_equal(fs_write(&fs, &file, 0, "more", 4), -ENOSPC);
	none_vital = false;
	for (unsigned i = 0; i < 20000 && result; i++) {
		loop_poll(fs.loop, 1000000);
		result = fs_write(&fs, &file, 0, "more", 4);
	}
	assert_int_equal(result, 0);
	bench.volume->ops = plenty_ops;
	for (unsigned i = 0; i < 100; i++) /* for who looks for space to end */
		loop_poll(fs.loop, 1000000);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(change_rises), cmocka_unit_test(goes_back_under_load),
	    cmocka_unit_test(is_not_closed_on_its_way), cmocka_unit_test(calls_keep_the_store),
	    cmocka_unit_test(goes_back_without_space)};

	return cmocka_run_group_tests_name("shares/rollback", tests, NULL, NULL);
}
