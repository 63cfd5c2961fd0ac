/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/shares/errand.h"
#include "volumes/backend.h"

/* A share on a volume whose pool has no space when the test says so: for data, for the share
 * itself (then the pool says that it is full), or for what a discard needs. */
#define MIB (1ull << 20)

static struct fs_bench fs;
static struct volume *volume;
static struct volume_ops scarce_ops;
static const struct volume_ops *plenty_ops;
static unsigned data_writes; /* that still find space */
static bool none_vital, none_for_discards;
static unsigned refused;            /* of the share's own */
static uint64_t written, discarded; /* bytes of data */
static bool holding;                /* requests about what is mapped wait */
static struct volume_request *held;

static void get_info(struct pool *pool, struct pool_info *ret_info)
{
	(void)pool;
	*ret_info =
	    (struct pool_info){.size_bytes = 64 * MIB, .free_bytes = none_vital ? 0 : 64 * MIB};
}

static struct volume *no_volume(struct pool *pool, struct volume *previous)
{
	(void)pool;
	volume_unref(previous);
	return NULL;
}

static const struct pool_ops pool_ops = {
    .name = "test", .get_info = get_info, .volume_next = no_volume};
static struct pool test_pool = {.ops = &pool_ops};

static int refusal(const struct volume_request *request)
{
	if (request->op == VOLUME_DISCARD)
		return none_for_discards ? -ENOSPC : 0;
	if (request->op != VOLUME_WRITE)
		return 0;
	if (request->flags & VOLUME_VITAL) {
		refused += none_vital;
		return none_vital ? -ENOSPC : 0;
	}
	if (!data_writes)
		return -ENOSPC;
	data_writes--;
	return 0;
}

static void scarce_submit(struct volume *to, struct volume_request *request)
{
	int result = refusal(request);

	if (result) {
		volume_refuse(request, result);
		return;
	}
	if (request->op == VOLUME_EXTENTS && holding && !held) {
		held = request;
		return;
	}
	if (request->op == VOLUME_WRITE && !(request->flags & VOLUME_VITAL))
		written += request->length;
	if (request->op == VOLUME_DISCARD)
		discarded += request->length;
	plenty_ops->submit(to, request);
}

static int do_errand(int what)
{
	struct errand errand = {.fs = &fs, .volume = volume, .what = what};

	errand_begin(&errand);
	return errand_wait(&errand);
}

static void begin(void)
{
	fs_start(&fs);
	assert_int_equal(memory_volume_create("v", 64 * MIB, &volume, &fs.err), 0);
	plenty_ops = volume->ops;
	scarce_ops = *plenty_ops;
	scarce_ops.submit = scarce_submit;
	volume->ops = &scarce_ops;
	volume->pool = &test_pool;
	data_writes = UINT32_MAX;
	none_vital = none_for_discards = holding = false;
	held = NULL;
	assert_int_equal(do_errand(FORMAT), 0);
	assert_int_equal(do_errand(OPEN), 0);
	written = discarded = 0;
}

static void end(void)
{
	assert_int_equal(do_errand(CHECK), 0);
	assert_int_equal(do_errand(CLOSE), 0);
	volume_unref(volume);
	loop_destroy(fs.loop);
}

static int allocate(const struct vfs_object *file, uint64_t length)
{
	struct vfs_request *request = fs_new(&fs, VFS_ALLOCATE, file);

	request->length = length;
	return fs_submit(&fs);
}

/* Others take what there is while it is being set aside: what was filled so far is given back. */
static void half_an_allocation(void **state)
{
	struct vfs_object root, file;

	(void)state;
	begin();
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	data_writes = 5;
	assert_int_equal(allocate(&file, 12 * MIB), -ENOSPC);
	assert_int_equal(written, 5 * MIB);
	assert_int_equal(fs_getattr(&fs, &file).used, 0);
	assert_int_equal(fs_getattr(&fs, &file).size, 0);
	for (unsigned i = 0; i < 20000 && discarded < written; i++)
		loop_poll(fs.loop, 1000000);
	assert_in_range(discarded, written, 16 * MIB);
	data_writes = UINT32_MAX;
	assert_int_equal(allocate(&file, 12 * MIB), 0);
	assert_int_equal(fs_getattr(&fs, &file).used, 12 * MIB);
	end();
}

/* What can not be discarded now is discarded later, also when nothing else is freed. */
static void discards_come_later(void **state)
{
	static uint8_t data[MIB];
	struct vfs_object root, file;

	(void)state;
	begin();
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, data, sizeof(data)), 0);
	none_for_discards = true;
	assert_int_equal(fs_remove(&fs, &root, "f"), 0);
	for (unsigned i = 0; i < 200; i++)
		loop_poll(fs.loop, 1000000);
	assert_int_equal(discarded, 0);
	none_for_discards = false;
	for (unsigned i = 0; i < 20000 && discarded < MIB; i++)
		loop_poll(fs.loop, 1000000);
	assert_true(discarded >= MIB);
	end();
}

static int soon(int (*attempt)(void *context), void *context)
{
	int result = -1;

	for (unsigned i = 0; i < 2000 && result; i++) {
		for (unsigned k = 0; k < 10; k++)
			loop_poll(fs.loop, 1000000);
		result = attempt(context);
	}
	return result;
}

static int write_again(void *context)
{
	return fs_write(&fs, context, 4096, "more", 4);
}

/* Calls that come before it is all there again hear -EIO. */
static int check_again(void *context)
{
	(void)context;
	return do_errand(CHECK);
}

/* Not even the share itself finds space: changes are refused with that, what is there is read; and
 * when there is space again the share goes on, under the same handles, with a new verifier. */
static void none_for_itself(void **state)
{
	struct vfs_object root, file, other;
	uint64_t verifier;
	char text[4];

	(void)state;
	begin();
	root = fs.vfs->root;
	verifier = vfs_verifier(fs.vfs);
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, "kept", 4), 0);
	none_vital = true;
	assert_int_equal(fs_create(&fs, &root, "g", VFS_REGULAR, 0600, &other), -ENOSPC);
	assert_int_equal(fs_remove(&fs, &root, "f"), -ENOSPC);
	assert_int_equal(fs_read(&fs, &file, 0, text, 4), 4);
	assert_memory_equal(text, "kept", 4);
	none_vital = false;
	assert_int_equal(soon(write_again, &file), 0);
	assert_int_equal(soon(check_again, NULL), 0);
	assert_true(vfs_verifier(fs.vfs) != verifier);
	assert_int_equal(fs_read(&fs, &file, 0, text, 4), 4);
	assert_memory_equal(text, "kept", 4);
	assert_int_equal(fs_lookup(&fs, &root, "g", NULL), -ENOENT);
	assert_int_equal(fs_create(&fs, &root, "g", VFS_REGULAR, 0600, &other), 0);
	assert_int_equal(fs_remove(&fs, &root, "f"), 0);
	end();
}

/* A file that could not be made is held by nobody: the next one, which has its number, goes. */
static void nothing_held(void **state)
{
	static uint8_t data[MIB];
	struct vfs_object root, file, other;
	struct vfs_request *request;

	(void)state;
	begin();
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, "kept", 4), 0);
	none_vital = true;
	request = fs_new(&fs, VFS_CREATE, &root);
	fs_name(request, "g");
	request->type = VFS_REGULAR;
	request->flags = VFS_HOLD_RESULT;
	assert_int_equal(fs_submit(&fs), -ENOSPC);
	none_vital = false;
	assert_int_equal(soon(write_again, &file), 0);
	assert_int_equal(fs_create(&fs, &root, "h", VFS_REGULAR, 0600, &other), 0);
	assert_int_equal(fs_write(&fs, &other, 0, data, sizeof(data)), 0);
	discarded = 0;
	assert_int_equal(fs_remove(&fs, &root, "h"), 0);
	for (unsigned i = 0; i < 20000 && discarded < MIB; i++)
		loop_poll(fs.loop, 1000000);
	assert_true(discarded >= MIB);
	end();
}

/* A pool that seems to have space and has none: the share is tried anew, and read all the time. */
static void fail_and_try(const struct vfs_object *file)
{
	struct vfs_object root = fs.vfs->root, other;
	char text[4];

	assert_int_equal(fs_write(&fs, file, 0, "kept", 4), 0);
	none_vital = true;
	assert_int_equal(fs_create(&fs, &root, "g", VFS_REGULAR, 0600, &other), -ENOSPC);
	for (unsigned i = 0; i < 2000; i++) /* it looks for space */
		loop_poll(fs.loop, 1000000);
	volume->pool = NULL; /* of this one nobody knows that it is full: it is tried */
	refused = 0;
	for (unsigned i = 0; i < 20000 && refused < 3; i++) {
		loop_poll(fs.loop, 1000000);
		assert_int_equal(fs_read(&fs, file, 0, text, 4), 4);
		assert_memory_equal(text, "kept", 4);
	}
	assert_true(refused >= 3);
	assert_int_equal(fs_create(&fs, &root, "g", VFS_REGULAR, 0600, &other), -ENOSPC);
	assert_int_equal(fs_write(&fs, file, 8 * MIB, "more", 4), -ENOSPC);
	assert_int_equal(fs_remove(&fs, &root, "f"), -ENOSPC);
	assert_int_equal(soon(check_again, NULL), 0);
}

/* It is closed while it waits for space, and opened when there is some. */
static void closed_meanwhile(void **state)
{
	struct vfs_object file;

	(void)state;
	begin();
	assert_int_equal(fs_create(&fs, &fs.vfs->root, "f", VFS_REGULAR, 0600, &file), 0);
	fail_and_try(&file);
	assert_int_not_equal(do_errand(CLOSE), 0); /* not cleanly */
	volume->pool = &test_pool;
	none_vital = false;
	assert_int_equal(do_errand(OPEN), 0);
	assert_int_equal(fs_lookup(&fs, &fs.vfs->root, "f", NULL), 0);
	end();
}

/* ... and it takes changes again when there is some, under the same handles. */
static void read_meanwhile(void **state)
{
	struct vfs_object file;

	(void)state;
	begin();
	assert_int_equal(fs_create(&fs, &fs.vfs->root, "f", VFS_REGULAR, 0600, &file), 0);
	fail_and_try(&file);
	volume->pool = &test_pool;
	none_vital = false;
	assert_int_equal(soon(write_again, &file), 0);
	assert_int_equal(soon(check_again, NULL), 0);
	assert_int_equal(fs_remove(&fs, &fs.vfs->root, "f"), 0);
	end();
}

/* It is opened, as after a restart, when there is no space: read, and changed when there is some.
 */
static void opened_without_space(void **state)
{
	struct vfs_object root, file;
	char text[4];

	(void)state;
	begin();
	root = fs.vfs->root;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(fs_write(&fs, &file, 0, "kept", 4), 0);
	assert_int_equal(do_errand(CLOSE), 0);
	none_vital = true;
	assert_int_equal(do_errand(OPEN), 0);
	assert_int_equal(fs_lookup(&fs, &fs.vfs->root, "f", &file), 0);
	assert_int_equal(fs_read(&fs, &file, 0, text, 4), 4);
	assert_memory_equal(text, "kept", 4);
	assert_int_equal(fs_write(&fs, &file, 0, "more", 4), -ENOSPC);
	none_vital = false;
	assert_int_equal(soon(write_again, &file), 0);
	assert_int_equal(soon(check_again, NULL), 0);
	end();
}

/* What is set aside and freed while a check looks whether it is there was there. */
static void checked_meanwhile(void **state)
{
	struct errand check = {.fs = &fs, .what = CHECK};
	struct vfs_object root, file;
	struct vfs_request *request;
	struct fs_job job = {.fs = &fs};

	(void)state;
	begin();
	root = fs.vfs->root;
	check.volume = volume;
	assert_int_equal(fs_create(&fs, &root, "f", VFS_REGULAR, 0600, &file), 0);
	assert_int_equal(allocate(&file, MIB), 0);
	discarded = 0;
	holding = true;
	errand_begin(&check);
	for (unsigned i = 0; i < 20000 && !held; i++)
		loop_poll(fs.loop, 1000000);
	assert_non_null(held);
	request = fs_new(&fs, VFS_REMOVE, &root);
	fs_name(request, "f");
	request->credentials = &fs.who;
	request->done = fs_done;
	fs.done = false;
	loop_post(fs.loop, &job.message, fs_run);
	for (unsigned i = 0; i < 1000 && discarded < MIB; i++)
		loop_poll(fs.loop, 1000000);
	plenty_ops->submit(volume, held);
	assert_int_equal(errand_wait(&check), 0);
	for (unsigned i = 0; i < 20000 && discarded < MIB; i++)
		loop_poll(fs.loop, 1000000);
	assert_true(fs.done && discarded >= MIB);
	assert_int_equal(fs.result, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(half_an_allocation),   cmocka_unit_test(discards_come_later),
	    cmocka_unit_test(none_for_itself),      cmocka_unit_test(nothing_held),
	    cmocka_unit_test(closed_meanwhile),     cmocka_unit_test(read_meanwhile),
	    cmocka_unit_test(opened_without_space), cmocka_unit_test(checked_meanwhile)};

	return cmocka_run_group_tests_name("shares/scarce", tests, NULL, NULL);
}
