/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "shares/shares.h"
#include "tests/unit/shares/fs_bench.h"

/* Several loops, each a thread, do everything to the same few names and files at once, for a while.
 * What they are answered is theirs; afterwards the check is clean, and nothing hangs. */
#define LOOPS    3u
#define CLIENTS  12u /* of a loop */
#define NAMES    6u
#define FILE_MAX (300u << 10)

static struct volume *volume;
static struct vfs *vfs;
static struct loop *home;

struct client {
	struct vfs_request request;
	struct hammer *hammer;
	struct iovec iov;
	char name[8], name2[8];
	struct vfs_object file;
	uint8_t *data;
};
struct hammer {
	struct message message;
	struct loop *loop;
	struct client client[CLIENTS];
	uint64_t random, left, busy;
	uint64_t good, bad;
	bool done;
};

static uint64_t draw(struct hammer *hammer, uint64_t below)
{
	hammer->random = hammer->random * 6364136223846793005ull + 1442695040888963407ull;
	return (hammer->random >> 33) % below;
}

static void next(struct client *client);

static bool expected(int result)
{
	static const int fine[] = {0,       -ENOENT, -EEXIST, -ESTALE,    -ENOTDIR,
				   -EISDIR, -EINVAL, -ENXIO,  -ENOTEMPTY, -ENODATA};

	for (unsigned i = 0; i < sizeof(fine) / sizeof(*fine); i++)
		if (fine[i] == result)
			return true;
	return false;
}

static void client_done(struct vfs_request *request, int result)
{
	struct client *client = container_of(request, struct client, request);
	struct hammer *hammer = client->hammer;

	if (!expected(result)) {
		print_message("operation %d: %s\n", request->op, strerror(-result));
		hammer->bad++;
	}
	hammer->good += result == 0;
	if (result == 0 && request->result_object.length &&
	    (request->op == VFS_CREATE || request->op == VFS_LOOKUP) &&
	    request->result_attr.type == VFS_REGULAR)
		client->file = request->result_object;
	hammer->busy--;
	next(client);
}

static void on_names(struct client *client, struct vfs_request *request)
{
	struct hammer *hammer = client->hammer;
	static const enum vfs_op ops[] = {VFS_CREATE, VFS_LOOKUP, VFS_LOOKUP,
					  VFS_REMOVE, VFS_RENAME, VFS_LINK};

	request->op = ops[draw(hammer, 6)];
	request->object = vfs->root;
	snprintf(client->name, sizeof(client->name), "f%u", (unsigned)draw(hammer, NAMES));
	snprintf(client->name2, sizeof(client->name2), "f%u", (unsigned)draw(hammer, NAMES));
	fs_name(request, client->name);
	fs_name2(request, &vfs->root, client->name2);
	request->type = VFS_REGULAR;
	request->create_how = VFS_CREATE_UNCHECKED;
	request->set.mask = draw(hammer, 2) ? VFS_SET_SIZE : 0;
	if (request->op == VFS_LINK)
		request->object = client->file;
}

static void on_file(struct client *client, struct vfs_request *request)
{
	struct hammer *hammer = client->hammer;
	static const enum vfs_op ops[] = {
	    VFS_READ, VFS_READ,     VFS_WRITE,      VFS_WRITE, VFS_WRITE,   VFS_SETATTR, VFS_COMMIT,
	    VFS_SEEK, VFS_ALLOCATE, VFS_DEALLOCATE, VFS_WRITE, VFS_READDIR, VFS_CLONE,   VFS_CLONE};

	request->op = ops[draw(hammer, 14)];
	request->object = client->file;
	request->offset = draw(hammer, FILE_MAX - (70 << 10));
	request->length = draw(hammer, 70 << 10) + 1;
	client->iov = (struct iovec){.iov_base = client->data, .iov_len = request->length};
	request->iov = &client->iov;
	request->iov_count = 1;
	request->stable = (enum vfs_stable)draw(hammer, 3);
	request->set = (struct vfs_set){.mask = VFS_SET_SIZE, .size = draw(hammer, FILE_MAX)};
	if (request->op == VFS_CLONE) {
		request->object2 = hammer->client[draw(hammer, CLIENTS)].file;
		request->offset &= ~4095ull;
		request->offset2 = draw(hammer, FILE_MAX - (70 << 10)) & ~4095ull;
		request->length &= ~4095ull; /* 0: to the end */
	}
	if (request->op == VFS_READDIR) {
		request->object = vfs->root;
		request->data = client->data;
		request->data_room = 4096;
		request->flags = VFS_WANT_ATTR;
	}
}

static void next(struct client *client)
{
	struct hammer *hammer = client->hammer;
	struct vfs_request *request = &client->request;
	static const struct vfs_credentials superuser;

	if (hammer->left == 0) {
		if (hammer->busy == 0)
			__atomic_store_n(&hammer->done, true, __ATOMIC_RELEASE);
		return;
	}
	hammer->left--;
	hammer->busy++;
	memset(request, 0, sizeof(*request));
	if (client->file.length == 0 || draw(hammer, 3) == 0)
		on_names(client, request);
	else
		on_file(client, request);
	if (request->op == VFS_LINK && !request->object.length)
		request->op = VFS_LOOKUP, request->object = vfs->root;
	request->credentials = &superuser;
	request->done = client_done;
	vfs_submit(vfs, request);
}

static void hammer_start(struct message *message)
{
	struct hammer *hammer = container_of(message, struct hammer, message);

	hammer->busy++; /* nothing is over before all have begun */
	for (unsigned i = 0; i < CLIENTS; i++) {
		hammer->client[i].hammer = hammer;
		hammer->client[i].data = heap_aligned(4096, 80 << 10);
		next(&hammer->client[i]);
	}
	hammer->busy--;
}

/* ---- calls of the home loop, which runs on a thread too ---- */
struct work {
	struct message message;
	struct share_call call;
	struct share_check_report report;
	enum { FORMAT, OPEN, CHECK, CLOSE } what;
	int result;
	bool done;
};

static void work_done(struct share_call *call, int result)
{
	struct work *work = container_of(call, struct work, call);

	work->result = result;
	__atomic_store_n(&work->done, true, __ATOMIC_RELEASE);
}

static void work_run(struct message *message)
{
	struct work *work = container_of(message, struct work, message);

	if (work->what == FORMAT)
		share_format(volume, home, 0, &work->call);
	else if (work->what == OPEN)
		share_open(volume, home, false, &work->call);
	else if (work->what == CHECK)
		share_check(vfs, &work->report, &work->call);
	else
		share_close(vfs, &work->call);
}

static void show(struct share_check_report *report, const char *sentence)
{
	(void)report;
	print_message("check: %s\n", sentence);
}

static void wait_for(const bool *flag)
{
	for (unsigned i = 0; i < 60000 && !__atomic_load_n(flag, __ATOMIC_ACQUIRE); i++)
		usleep(1000);
	assert_true(__atomic_load_n(flag, __ATOMIC_ACQUIRE));
}

static void must(int what)
{
	struct work work = {.what = what, .call.done = work_done, .report.finding = show};

	loop_post(home, &work.message, work_run);
	wait_for(&work.done);
	assert_int_equal(work.result, 0);
	assert_int_equal(work.report.errors, 0);
	if (what == OPEN)
		vfs = work.call.vfs;
}

static void hammered(void **state)
{
	static struct hammer hammer[LOOPS];
	const struct world_ops *world;
	struct err err;
	uint64_t good = 0;

	(void)state;
	assert_int_equal(world_select("auto", &world, &err), 0);
	assert_int_equal(loop_create(world, &home, &err), 0);
	assert_int_equal(memory_volume_create("v", 64 << 20, &volume, &err), 0);
	assert_int_equal(loop_start_thread(home, "home", &err), 0);
	must(FORMAT);
	must(OPEN);
	for (unsigned i = 0; i < LOOPS; i++) {
		hammer[i].left = getenv("GRANARY_TEST_QUICK") ? 3000 : 30000;
		hammer[i].random = i + 1;
		assert_int_equal(loop_create(world, &hammer[i].loop, &err), 0);
		assert_int_equal(loop_start_thread(hammer[i].loop, "io", &err), 0);
		loop_post(hammer[i].loop, &hammer[i].message, hammer_start);
	}
	for (unsigned i = 0; i < 3; i++)
		must(CHECK); /* meanwhile */
	for (unsigned i = 0; i < LOOPS; i++)
		wait_for(&hammer[i].done);
	must(CHECK);
	must(CLOSE);
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_join(hammer[i].loop);
		loop_destroy(hammer[i].loop);
		assert_int_equal(hammer[i].bad, 0);
		good += hammer[i].good;
		for (unsigned k = 0; k < CLIENTS; k++)
			heap_free(hammer[i].client[k].data);
	}
	must(OPEN);
	must(CHECK);
	must(CLOSE);
	loop_join(home);
	loop_destroy(home);
	volume_unref(volume);
	print_message("%llu operations succeeded\n", (unsigned long long)good);
	assert_true(good > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(hammered)};

	return cmocka_run_group_tests_name("shares/hammer", tests, NULL, NULL);
}
